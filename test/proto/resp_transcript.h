/* What a parser made of a stream, as bytes that can be compared: one line a command, with each
 * argument's size before it, and the error's text where one ended the stream.
 *
 * Each call of the parser gets its own allocation of exactly the bytes it may see. So a sanitizer
 * finds a read beyond them, and a read through a pointer that an earlier call kept. */
#pragma once

#include <assert.h>

#include "proto/buf.h"
#include "proto/mem.h"
#include "proto/resp.h"

/* How many bytes of the stream are there after `have` were; more than `have`. */
struct pieces {
    size_t (*next)(void *state, size_t have);
    void *state;
};

static inline void transcript_command(struct buf *to, const struct resp_parser *p)
{
    buf_printf(to, "%u arguments:", p->args_count);
    for (uint32_t i = 0; i < p->args_count; i++) {
        buf_printf(to, " %zu:", p->args[i].size);
        buf_append(to, p->base + p->args[i].offset, p->args[i].size);
    }
    buf_append_text(to, "\n");
}

static inline enum resp_status transcript_step(struct buf *to, struct resp_parser *p,
                                               struct slice in, const struct resp_limits *limits)
{
    char *copy = mem_alloc(in.size);
    if (in.size)
        memcpy(copy, in.data, in.size);
    enum resp_status status = resp_parse(p, copy, in.size, limits);
    if (status == RESP_COMMAND) {
        assert(p->consumed > 0 && p->consumed <= in.size);
        transcript_command(to, p);
    } else if (status == RESP_ERROR) {
        buf_printf(to, "error: %s\n", p->error);
    } else {
        assert(p->needed > in.size);
    }
    mem_free(copy);
    return status;
}

/* Parses `stream` as it arrives in the given pieces, calling as seldom as the contract allows. */
static inline void transcript_write(struct buf *to, struct slice stream, struct pieces pieces,
                                    const struct resp_limits *limits)
{
    struct resp_parser p;
    resp_init(&p);
    size_t start = 0, needed = 0;
    for (size_t have = 0; have < stream.size;) {
        size_t now = pieces.next(pieces.state, have);
        have = now < stream.size ? now : stream.size;
        while (start < have && have - start >= needed) {
            struct slice in = {stream.data + start, have - start};
            enum resp_status status = transcript_step(to, &p, in, limits);
            if (status == RESP_ERROR) {
                resp_deinit(&p);
                return;
            }
            needed = status == RESP_MORE ? p.needed : 0;
            start += status == RESP_COMMAND ? p.consumed : 0;
        }
    }
    resp_deinit(&p);
}

static inline size_t pieces_next_whole(void *state, size_t have)
{
    return SIZE_MAX;
}

static inline size_t pieces_next_byte(void *state, size_t have)
{
    return have + 1;
}
