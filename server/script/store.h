/* The scripts that all cores share, by SHA1: their sources, and what is known of their conduct.
 *
 * A mutex guards the table; it is held to look up and to insert, never while a script runs. A
 * record stays where it is until SCRIPT FLUSH, which is a cross transaction of all shards: nobody
 * else holds a pointer to one then, but for what cores have compiled, and they look at `epoch`
 * before they use that. */
#pragma once

#include <stdatomic.h>

#include "proto/slice.h"

#define SCRIPT_SHA_SIZE 20
#define SCRIPT_NAME_SIZE 40 /* the same in hexadecimal */

/* Flags of a shebang line, and of functions. */
#define SCRIPT_NO_WRITES (1u << 0)
#define SCRIPT_ALLOW_OOM (1u << 1)
#define SCRIPT_ALLOW_STALE (1u << 2)
#define SCRIPT_NO_CLUSTER (1u << 3)
#define SCRIPT_ALLOW_CROSS_SLOT (1u << 4)
#define SCRIPT_COMPAT (1u << 5) /* there is no shebang line: what it does is not known */

/* Whether a script uses only the keys that it declares. */
enum script_conduct { SCRIPT_UNKNOWN, SCRIPT_KEEPS, SCRIPT_STRAYS };

struct script {
    struct script *next; /* in its slot */
    unsigned char sha[SCRIPT_SHA_SIZE];
    char name[SCRIPT_NAME_SIZE + 1];
    uint32_t flags;
    /* Written by cores that have run it, read by those that route it; relaxed: what is read late
     * costs a second run and no more. */
    _Atomic uint8_t conduct;
    _Atomic bool publishes;
    size_t shebang_size; /* bytes of the source's first line that are no Lua */
    size_t size;
    char source[];
};

struct scripts;

struct scripts *scripts_create(void);
void scripts_destroy(struct scripts *s);

/* The record, or NULL. */
struct script *scripts_find(struct scripts *s, const unsigned char sha[SCRIPT_SHA_SIZE]);
/* Inserts a script, or finds that it is there. */
struct script *scripts_insert(struct scripts *s, const unsigned char sha[SCRIPT_SHA_SIZE],
                              struct slice source, uint32_t flags, size_t shebang_size);
/* Forgets all; every core stands still. */
void scripts_flush(struct scripts *s);
/* Changes with each flush. */
uint64_t scripts_epoch(const struct scripts *s);
uint64_t scripts_count(struct scripts *s);
/* Bytes that they take. */
uint64_t scripts_memory(struct scripts *s);

/* A name in hexadecimal, any case; false where it is none. */
bool script_read_name(struct slice name, unsigned char sha[SCRIPT_SHA_SIZE]);
/* `to` has room for a terminator. */
void script_write_name(const unsigned char sha[SCRIPT_SHA_SIZE], char to[SCRIPT_NAME_SIZE + 1]);

/* The word's flag, or 0 where there is no such flag. */
uint32_t script_flag(struct slice word);
/* Reads "#!lua flags=...". False with Redis's words in `error` where it cannot be understood.
 * Without a shebang line the flags are SCRIPT_COMPAT. */
bool script_read_shebang(struct slice source, uint32_t *flags, size_t *size, char *error,
                         size_t error_size);
