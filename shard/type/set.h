/* Sets: different members, in no order that anyone may rely on.
 *
 * Encodings, and what `data` is:
 *     ENC_INTSET    "intset": a struct intset, or NULL: a set that is empty so far. Members are all
 *                   integers, at most set-max-intset-entries.
 *     ENC_LISTPACK  "listpack": its elements are the members. At most set-max-listpack-entries,
 *                   none longer than set-max-listpack-value bytes.
 *     ENC_TABLE     "hashtable": a struct set_table. Each member is one allocation: its size in as
 *                   few bytes as that takes, then its bytes.
 * Adding changes from one to a later one by Redis 7.2's rules: an intset becomes a listpack for a
 * member that is no integer, where that fits, and otherwise a table. Nothing changes back by
 * removing. Every function that adds or looks up takes the keyspace, whose secret seeds the table's
 * hash and whose options are the thresholds.
 *
 * Members come out of a set as a struct set_member: text, or an integer where the set holds it as
 * one, so that set algebra need not format what it parses again. Whoever wants text asks
 * set_member_text.
 *
 * A walk goes through all members, each once: set_walk_start, then set_walk_next for each until it
 * is false. It borrows the value, allocates nothing and may be given up at any time; the set must
 * not change under it. Walks may be nested, over one set or several. */
#pragma once

#include "proto/number.h"
#include "shard/type/table.h"
#include "shard/type/value.h"

struct view;

/* A large set. Its own allocation; the members' bytes are counted, so that memory takes O(1). */
struct set_table {
    struct table members;
    size_t member_bytes; /* mem_usable of all members */
    struct view *view;   /* open on it, or NULL */
};

struct set_member {
    struct slice text; /* where it is held as an integer, data is NULL and size 0 */
    int64_t integer;
    uintptr_t at;      /* where it is: for set_remove_at */
};

static inline uint64_t set_count(const struct value *v)
{
    return value_count(v);
}

bool set_has(const struct value *v, const struct keyspace *k, struct slice member);
/* True where it was not there before. */
bool set_add(struct value *v, const struct keyspace *k, struct slice member);
/* True where it was there. */
bool set_remove(struct value *v, const struct keyspace *k, struct slice member);
/* The same for members out of (other) sets. */
bool set_has_member(const struct value *v, const struct keyspace *k, const struct set_member *m);
bool set_add_member(struct value *v, const struct keyspace *k, const struct set_member *m);
bool set_remove_member(struct value *v, const struct keyspace *k, const struct set_member *m);

/* Says that `count` members are about to be added, `first` first: the set takes an encoding that
 * has room for so many, as Redis's sets do whether or not the members turn out to be different. */
void set_expect(struct value *v, const struct keyspace *k, struct slice first, uint64_t count);

/* The member as text; `scratch` (NUMBER_INTEGER_SIZE_MAX bytes) is used for integers. Good as long
 * as both. */
struct slice set_member_text(const struct set_member *m, char *scratch);

/* A walk over all members. The fields are set_walk.c's. */
struct set_walk {
    const struct value *v;
    uint64_t next;               /* index, position or number of the primary bucket to come */
    struct table_bucket *bucket; /* of a table: where the walk is, */
    uint32_t slot;               /* and the slot to come */
};

void set_walk_start(struct set_walk *w, const struct value *v);
/* False at the end. A member is good until the set changes. */
bool set_walk_next(struct set_walk *w, struct set_member *m);

/* A member picked at random, each with about the same chance. The set is not empty. */
void set_random(const struct value *v, const struct value_random *random, struct set_member *m);
/* Removes a member that set_random or a walk over this very set gave, not having changed since. */
void set_remove_at(struct value *v, const struct keyspace *k, const struct set_member *m);

/* Visits `count` different members picked at random, at most all there are, in no order of note. */
void set_sample(const struct value *v, uint64_t count, const struct value_random *random,
                void (*visit)(void *context, const struct set_member *m), void *context);
/* Visits `count` members picked independently of each other. The set is not empty. */
void set_sample_repeated(const struct value *v, uint64_t count, const struct value_random *random,
                         void (*visit)(void *context, const struct set_member *m), void *context);
/* Deals the members out: visits `count` (at most all) different ones picked at random, and adds all
 * others to `rest`, an empty set, which begins in the encoding of `v` but for a table, which begins
 * as a listpack. `v` stays as it is. O(members). */
void set_split(const struct value *v, const struct keyspace *k, uint64_t count,
               const struct value_random *random, struct value *rest,
               void (*visit)(void *context, const struct set_member *m), void *context);

/* As table_scan over members: about `count` of them from `position` (0 to start) on; the next
 * position, 0 at the end. A packed set is visited whole. `visit` must not change the set. */
uint64_t set_scan(const struct value *v, uint64_t position, uint64_t count,
                  void (*visit)(void *context, const struct set_member *m), void *context);

/* For tests: aborts on a broken invariant. */
void set_check(const struct value *v, const struct keyspace *k);
