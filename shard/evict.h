/* Eviction: which key of a shard goes when memory is short, and its going.
 *
 * The choice is the approximation that Redis's documentation describes ("Key eviction"): a few keys
 * are looked at, and the best candidates seen so far are remembered in a small pool. Here the keys
 * that are looked at are those of the next buckets in the table's scan order, which is the order of
 * a seeded hash: as good as random, one cache miss for all keys of a bucket, and every key has its
 * turn before any has two. A candidate is remembered by its hash, and judged again before it goes:
 * one that was used meanwhile steps back.
 *
 * Scores of different shards compare: the server lets the shard go first whose candidate has the
 * highest (server/evict.h). When memory is short, and for how long this goes on, is the server's
 * business. Single-threaded, like all of the shard. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define EVICT_POOL_SIZE 16

enum evict_order {
    EVICT_NOTHING,     /* noeviction */
    EVICT_BY_IDLE,     /* least recently used first */
    EVICT_BY_FREQUENCY, /* least frequently used first */
    EVICT_BY_TTL,      /* next to expire first */
    EVICT_AT_RANDOM,
};

/* Scores: the higher, the sooner to go. */
#define EVICT_SCORE_NONE 0    /* there is nothing to evict */
#define EVICT_SCORE_UNSEEN 1  /* there is, and it has not been met yet */
#define EVICT_SCORE_BASE 2    /* the lowest of a key */
#define EVICT_SCORE_EXPIRED UINT64_MAX

struct shard;

struct evict_candidate {
    uint64_t score;
    uint64_t hash;
    uint32_t db;
};

/* In order of score, the best last. */
struct evict_pool {
    struct evict_candidate candidates[EVICT_POOL_SIZE];
    uint32_t count;
    uint32_t next_db;     /* random policies take the databases in turn */
    uint8_t order;        /* the policy that the scores are of */
    bool volatile_only;   /* ... */
};

/* The score of the best candidate. Looks at some keys (maxmemory-samples) where none is known. */
uint64_t evict_best(struct shard *s);
/* Looks at some keys and removes the best candidate: an eviction, or an expiry where its time had
 * come. False where there is none within sight. */
bool evict_one(struct shard *s);
/* Keys that the policy may evict. */
uint64_t evict_count(const struct shard *s);
/* How far below another shard's best score one may be and count as good. */
uint64_t evict_tolerance(const struct shard *s, uint64_t score);
