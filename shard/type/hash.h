/* Hashes: fields with values, each of which may have an expiry of its own.
 *
 * Encodings.
 *   ENC_LISTPACK ("listpack")       field, value, field, value, ... in the order of their coming.
 *   ENC_LISTPACK_EX ("listpackex")  field, value, expiry, ... with the earliest expiry beside them:
 *                                   what a packed hash becomes with its first expiring field.
 *   ENC_TABLE ("hashtable")         a table of items, each one allocation: above
 *                                   hash-max-listpack-entries fields, or with a field or value of
 *                                   more than hash-max-listpack-value bytes.
 * Nothing changes back by removing, nor by making the fields stay.
 *
 * Expiry. A field whose time has come is as absent for every function that takes `now_ms`, and
 * remains in memory until it is set again or remove_due of hash_ops takes it. As with keys, a field
 * lives in the very millisecond of its expiry. value_count counts what is in memory,
 * hash_live_count what is there to be seen.
 *
 * A function that changes the hash may change its encoding and its memory even where it says that
 * nothing was found: put the value back (db_keep) whatever it says. */
#pragma once

#include "proto/number.h"
#include "shard/type/value.h"

/* A field that stays. As a time it is later than all others. */
#define HASH_NO_EXPIRY INT64_MAX
/* hash_set: the expiry that the field has. */
#define HASH_KEEP_EXPIRY INT64_MIN
/* The latest expiry that a client can set, in ms since the epoch: Redis's own bound. */
#define HASH_EXPIRY_MAX (((int64_t)1 << 46) - 1)

/* A field as it is held. The slices may point into `scratch`: a pair is not to be copied. Good
 * until the hash changes. */
struct hash_pair {
    struct slice field, value;
    int64_t expires_ms; /* since the epoch, or HASH_NO_EXPIRY */
    char scratch[2][NUMBER_INTEGER_SIZE_MAX];
};

/* False where there is no such field. `found->field` is what was asked for. */
bool hash_get(const struct value *v, const struct keyspace *k, struct slice field, int64_t now_ms,
              struct hash_pair *found);
/* Fields that have not expired, or `max` where there are at least so many. O(1) where none is due,
 * else it looks at fields until it has found as many. */
uint64_t hash_live_count(const struct value *v, int64_t now_ms, uint64_t max);

/* Before `count` fields with their values are set, pair after pair: a hash that could not stay
 * packed becomes a table at once. */
void hash_prepare(struct value *v, const struct keyspace *k, const struct slice *pairs,
                  uint64_t count);
/* Sets the field to a value which is no part of the hash, with an expiry in ms since the epoch, or
 * HASH_NO_EXPIRY, or HASH_KEEP_EXPIRY. True where there was no such field. */
bool hash_set(struct value *v, const struct keyspace *k, struct slice field, struct slice value,
              int64_t expires_ms, int64_t now_ms);
/* Gives the field another expiry, or HASH_NO_EXPIRY. False where there is no such field. */
bool hash_set_expiry(struct value *v, const struct keyspace *k, struct slice field,
                     int64_t expires_ms, int64_t now_ms);
/* True where there was such a field. */
bool hash_remove(struct value *v, const struct keyspace *k, struct slice field, int64_t now_ms);

/* Visits all fields that have not expired, hash_live_count of them. `visit` must not change the
 * hash. */
void hash_each(const struct value *v, int64_t now_ms,
               void (*visit)(void *context, const struct hash_pair *pair), void *context);
/* As table_scan: visits about `count` fields from `position` (0 to start) on; the next position, 0
 * at the end. A packed hash is visited whole. */
uint64_t hash_scan(const struct value *v, uint64_t position, uint64_t count, int64_t now_ms,
                   void (*visit)(void *context, const struct hash_pair *pair), void *context);

/* Fields at random, each with about the same chance, every one independent of those before. */
struct hash_random {
    const struct value *v;
    struct value_random random;
    int64_t now_ms;
    uintptr_t *fields; /* what can be drawn, listed; NULL: drawn from the hash itself */
    uint64_t count;
};

/* Until hash_random_end the hash must not change. `draws` is about how many will be asked for. */
void hash_random_start(struct hash_random *r, const struct value *v, int64_t now_ms,
                       struct value_random random, uint64_t draws);
/* False where there are no fields. */
bool hash_random_next(struct hash_random *r, struct hash_pair *pair);
void hash_random_end(struct hash_random *r);
/* Visits `count` different fields at random, or all where there are fewer. */
void hash_sample(const struct value *v, uint64_t count, int64_t now_ms, struct value_random random,
                 void (*visit)(void *context, const struct hash_pair *pair), void *context);

/* Of ENC_LISTPACK_EX: a new listpack of field, value, expiry (0: none), the earliest first and
 * those without one last. That order is what RDB files promise. */
unsigned char *hash_listpack_by_expiry(const struct value *v);

/* For tests: aborts on a broken invariant. */
void hash_check(const struct value *v, const struct keyspace *k);
