/* Records of an RDB file put into a shard.
 *
 * Whoever reads the file has found where each record begins and ends, and that its key is this
 * shard's; here its value is made, and the key inserted. A run of records is worked on together:
 * keys are hashed and their buckets and entries prefetched before the first is inserted. */
#pragma once

#include "shard/rdb.h"
#include "shard/shard.h"

struct rdb_record {
    const char *at;     /* key and value */
    size_t size;
    uint64_t offset;    /* in the file */
    int64_t expires_ms; /* -1: it does not */
    int64_t idle_s;     /* -1: not told */
    uint32_t db;
    int16_t frequency;  /* -1: not told */
    uint8_t type;       /* enum rdb_type */
};

struct rdb_load {
    int64_t now_ms;   /* what has expired before is left out; 0: nothing is */
    bool replaces;    /* a key that is there gets the new value; else that is an error */
    void (*leaves_out)(void *context, struct slice key); /* an empty collection; or NULL */
    void *context;

    uint64_t loaded, expired, empty; /* counted on */
    const struct rdb_record *failed;
    const char *error;               /* constant text */
};

/* False with `failed` and `error`, where those before were inserted. */
bool rdb_load_records(struct shard *s, struct rdb_load *l, const struct rdb_record *records,
                      uint32_t count);
