/* The request parser: RESP arrays of bulks, and inline commands.
 *
 * Source: the Redis protocol specification; errors and limits are Redis 7.2's. One parser belongs
 * to one session and is used by one thread. It is resumable: a command may arrive in any pieces and
 * costs time linear in its bytes. It allocates only for arguments that have arrived, never for a
 * length or count that a client merely declares.
 *
 * Contract: call resp_parse with a run of bytes that begins where a command begins. On RESP_MORE
 * call it again with the same bytes (they may have moved) and more behind them, not before `needed`
 * bytes are there. On RESP_COMMAND, the arguments are `args` (spans into `base`), and the next
 * command begins at `consumed`. resp_parse resets itself for the next command. */
#pragma once

#include "proto/slice.h"

enum resp_status {
    RESP_COMMAND, /* a command is complete; args_count may be 0 (an empty line or *0): skip it */
    RESP_MORE,    /* bytes are missing */
    RESP_ERROR,   /* `error` says what; the connection must be closed after it is told */
};

struct resp_limits {
    uint64_t bulk_size_max;  /* bytes: proto-max-bulk-len, 16384 before AUTH */
    uint64_t args_count_max; /* 2^31 - 1; less means "before AUTH", where Redis allows 10 */
    uint32_t inline_size_max; /* bytes: 64 KiB, for inline commands and length lines; 16 or more */
};

/* Arguments that resp_trim leaves room for. */
#define RESP_ARGS_CAP_KEPT 64

struct resp_span {
    size_t offset;
    size_t size;
};

struct resp_parser {
    const char *base;        /* what the spans point into after RESP_COMMAND */
    struct resp_span *args;  /* owned; grows with what arrives */
    uint32_t args_count;
    uint32_t args_cap;
    size_t consumed;         /* after RESP_COMMAND: bytes of this command */
    size_t needed;           /* after RESP_MORE: least total bytes worth another call */
    const char *error;       /* after RESP_ERROR: "Protocol error: ...", to be told as "ERR %s" */
    /* Progress within an incomplete command. */
    int64_t args_left;       /* bulks still to come; -1: at the command's first byte */
    int64_t bulk_size;       /* the bulk being read; -1: at its length line */
    size_t at;               /* offset of the line or bulk being read */
    size_t scanned;          /* no end of that line before this offset */
    char *scratch;           /* owned: the unquoted arguments of an inline command */
    char error_text[64];
};

void resp_init(struct resp_parser *p);
void resp_deinit(struct resp_parser *p);
/* Gives back memory that an unusually large command made grow; `args` are good no longer. False
 * where that must wait, within a command. */
bool resp_trim(struct resp_parser *p);
enum resp_status resp_parse(struct resp_parser *p, const char *data, size_t size,
                            const struct resp_limits *limits);
/* Bytes of memory held, for CLIENT LIST's argv-mem. */
size_t resp_memory(const struct resp_parser *p);

/* Worth a resp_trim. */
static inline bool resp_has_grown(const struct resp_parser *p)
{
    return p->args_cap > RESP_ARGS_CAP_KEPT || p->scratch;
}
