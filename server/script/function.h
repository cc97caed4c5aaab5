/* Function libraries: what FUNCTION LOAD has brought, for all cores.
 *
 * A library is a piece of Lua that registers functions when it is run. Its text and what is
 * known of its functions are the server's; the functions themselves live in interpreters. Each
 * core has one for them (function_core.h), and runs a library's text there when it is first
 * asked for one of its functions; `refs` is where it then finds them.
 *
 * What is here changes only while all cores stand still (FUNCTION LOAD, DELETE, FLUSH and
 * RESTORE are cross transactions of all shards), and is read by any core otherwise; but for the
 * atomics. */
#pragma once

#include <stdatomic.h>

#include "proto/buf.h"
#include "server/order.h"
#include "server/script/store.h"

struct library;

struct function {
    struct slice name; /* owned, as the next; with a terminator */
    struct slice description;
    bool described;
    uint32_t flags;    /* SCRIPT_... of store.h */
    uint32_t index;    /* in its library */
    struct library *library;
    /* Whether it keeps to its keys. Written by cores that have run it, read by those that route it;
     * relaxed: what is read late costs a second run and no more. */
    _Atomic uint8_t conduct;
    _Atomic bool publishes;
};

struct library {
    struct slice name; /* owned */
    struct slice code; /* owned; with its first line */
    size_t line_size;  /* of that line, which is no Lua */
    struct function **functions; /* as registered */
    uint32_t function_count;
    uint32_t core_count;
    /* By core, then by function: references in that core's interpreter. NULL: the core has not run
     * it yet. Each written by its core alone, or while that stands still. */
    int **refs;
};

/* A set of libraries: the server's, or that of a payload which is being restored. */
struct functions {
    struct library **libraries; /* by name */
    uint32_t library_count;
    struct function **functions; /* by name, without regard to case; of two in one library that
                                  * differ in case only, the first */
    uint32_t function_count;
    uint32_t registered_count;   /* with those that are hidden by others */
};

struct functions *functions_create(void);
/* Destroys its libraries as well. */
void functions_destroy(struct functions *f);

struct library *functions_find_library(const struct functions *f, struct slice name);
/* Any case. */
struct function *functions_find(const struct functions *f, struct slice name);
void functions_link(struct functions *f, struct library *l);
void functions_unlink(struct functions *f, struct library *l);
/* Moves all libraries of `from` to `to`, or none where one cannot be: then `error` says why. */
bool functions_join(struct functions *to, struct functions *from, bool replace, struct buf *error);

/* Reads the first line of a library's text. A library without functions, or NULL with Redis's words
 * in `error`. */
struct library *library_create(struct slice code, uint32_t core_count, struct buf *error);
/* Lets go of the functions in all interpreters: while all cores stand still, or end. */
void library_destroy(struct library *l);
/* False with the reason in `error`. */
bool library_add(struct library *l, const struct function *function, struct buf *error);
struct function *library_find(const struct library *l, struct slice name);
/* Bytes that they take, without what interpreters have of them. */
uint64_t functions_memory(const struct functions *f);
