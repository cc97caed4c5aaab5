/* A call: one command being run on the data, as its body sees it.
 *
 * The body is written as if the server had one thread. It reads `argv`, finds keys through db.h and
 * writes one reply. It never asks where a key lives: in an ordinary call `shard` is the one shard
 * that all keys live on; in a cross transaction `shard` is NULL and db.h picks each key's shard,
 * all of which stand still meanwhile.
 *
 * Split commands (route SPLIT or ALL) are run once on each shard concerned, with the whole argv.
 * Their bodies go through their keys with call_next_key, which yields only those of this shard,
 * and leave their part of the result in the way that the row's `split` says (see command.h). */
#pragma once

#include "proto/reply.h"
#include "shard/command.h"
#include "shard/shard.h"

struct session; /* the server's: opaque here */

struct call {
    struct shard *shard;          /* NULL in a cross transaction */
    struct shard *const *shards;  /* all shards by index, for a cross transaction; else NULL */
    const struct keyspace *keyspace;
    const struct command *command;
    const struct slice *argv;     /* argv[0] is the command's name; of a subcommand, argv[1] too */
    uint32_t argc;
    uint32_t db;                  /* the session's database */
    int64_t now_ms;               /* wall clock, one value for the whole call */
    struct reply reply;
    uint64_t first_key_hash;      /* of the first key, where first_key_hashed */
    bool first_key_hashed;
    bool no_touch;                /* CLIENT NO-TOUCH: reads leave LRU and LFU alone */
    struct session *session;      /* the caller's; away from its home core only its id is read */

    /* Split parts. */
    const uint16_t *key_shards;   /* shard of each key in turn; NULL: all are this shard's */
    int64_t value;                /* SPLIT_SUM: this part's share */
    uint32_t *item_sizes;         /* SPLIT_ITEMS: where call_item_end notes sizes; may be NULL */
};

/* The arg index of the next key that is this shard's, after `*at` (start with 0), or 0 at the
 * end. `*nth` (may be NULL) receives which of the command's keys it is, from 0. Keys are those
 * of the row's first key spec. */
uint32_t call_next_key(const struct call *c, uint32_t *at, uint32_t *nth);
/* SPLIT_ITEMS: says that the reply of the nth key is complete; `start` is out->size before it. */
void call_item_end(struct call *c, uint32_t nth, size_t start);

/* True where argument `i` is the option word (any case). */
static inline bool call_arg_is(const struct call *c, uint32_t i, const char *word)
{
    return slice_is(c->argv[i], word);
}

/* Argument `i` as an integer; false, having replied with Redis's error, when it is none. */
bool call_arg_integer(struct call *c, uint32_t i, int64_t *value);
/* ... within a range; outside it the error is "ERR value is out of range, ..." as Redis words
 * it. */
bool call_arg_integer_in(struct call *c, uint32_t i, int64_t min, int64_t max, int64_t *value);
bool call_arg_double(struct call *c, uint32_t i, double *value);
