/* Heavy hitters: the keys that turn up most often in a stream, in a fixed amount of memory.
 *
 * The Space-Saving algorithm (A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of
 * Frequent and Top-k Elements in Data Streams", 2005): HEAVY_SLOTS counters. A key that has one
 * adds to it; another takes over the smallest, and its count with it, as `error`. So a count is
 * never too low, too high by `error` at most, and every key that makes up more than 1/HEAVY_SLOTS
 * of the stream is there.
 *
 * The counters are in a row and searched by a 64-bit hash: the stream is a sample of what a shard
 * does, so that a look at every slot is cheap enough. */
#pragma once

#include <stdint.h>

#include "proto/slice.h"

#define HEAVY_SLOTS 128
/* Longer keys are kept cut; their hash is of the whole. */
#define HEAVY_KEY_MAX 256

struct heavy_slot {
    uint64_t count; /* 0: free */
    uint64_t error; /* of the count: so much of it may be others' */
    uint32_t db;
    uint32_t size;  /* of the key, whole */
    uint32_t kept;  /* bytes of it in `key` */
    uint32_t room;
    char *key;      /* owned */
};

struct heavy {
    uint64_t hashes[HEAVY_SLOTS]; /* apart from the slots: what a search reads */
    struct heavy_slot slots[HEAVY_SLOTS];
    uint32_t used;
    uint64_t total; /* keys noted */
};

/* Zeroed memory is an empty one. */
void heavy_deinit(struct heavy *h);
void heavy_reset(struct heavy *h);
/* `hash` is of the key; databases are told apart here. */
void heavy_note(struct heavy *h, uint32_t db, struct slice key, uint64_t hash);
