/* Sorted sets: members with scores, in the order of score, then of the member's bytes (memcmp, a
 * prefix first).
 *
 * Encodings. ENC_LISTPACK: member, score, member, score, ... ascending, a whole score held as an
 * integer, others as the shortest text that reads back the same. ENC_TREE ("skiplist" to OBJECT
 * ENCODING): a B+ tree whose inner nodes count what is below each child, so ranks take O(log n),
 * and a table of the same members by hash (Comer, "The Ubiquitous B-Tree", 1979; the counts make it
 * an order-statistic tree). Adding changes to the second above zset-max-listpack-entries members or
 * a member longer than zset-max-listpack-value; nothing changes back by removing.
 *
 * Every range is a run of ranks: commands turn theirs into [first, end) and walk that. No score is
 * NaN: callers see to it. */
#pragma once

#include "proto/number.h"
#include "shard/type/value.h"

/* Scores from min to max; `_open`: the bound itself is left out. */
struct zset_score_range {
    double min, max;
    bool min_open, max_open;
};

/* A bound of a range of members: `infinite` -1 is before all members, 1 after all. */
struct zset_lex_bound {
    struct slice text;
    int infinite;
    bool open;
};

struct zset_lex_range {
    struct zset_lex_bound min, max;
};

/* A walk over neighbouring members. Good until the set changes. */
struct zset_walk {
    const struct value *v;
    void *node;    /* the tree's leaf, */
    uint32_t at;   /* and the place in it, or the listpack's position; the next to be given */
    bool reverse;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
};

static inline uint64_t zset_count(const struct value *v)
{
    return value_count(v);
}

/* How zset_change treats a member: Redis's NX, XX, GT, LT and INCR. */
#define ZSET_ONLY_NEW (1u << 0)
#define ZSET_ONLY_PRESENT (1u << 1)
#define ZSET_ONLY_GREATER (1u << 2) /* a present member's score may only grow */
#define ZSET_ONLY_LESS (1u << 3)
#define ZSET_INCREMENT (1u << 4)    /* adds to a present member's score */

enum zset_outcome {
    ZSET_REFUSED, /* a condition did not hold */
    ZSET_NAN,     /* the increment leads to no number: nothing was changed */
    ZSET_SAME,    /* the member has that score already */
    ZSET_MOVED,   /* it got another one */
    ZSET_ADDED,
};

/* False where it is no member. */
bool zset_score(const struct value *v, const struct keyspace *k, struct slice member,
                double *score);
/* Adds the member, or gives it another score. True where it was added. */
bool zset_put(struct value *v, const struct keyspace *k, struct slice member, double score);
/* The same under conditions. *score is the score or increment, and then the score that the member
 * has got, unless the outcome is ZSET_REFUSED or ZSET_NAN. */
enum zset_outcome zset_change(struct value *v, const struct keyspace *k, struct slice member,
                              unsigned conditions, double *score);
/* Says that `count` members are about to be put: a packed set for which these are too many becomes
 * a tree at once. */
void zset_reserve(struct value *v, const struct keyspace *k, uint64_t count);
/* True where it was a member. */
bool zset_remove(struct value *v, const struct keyspace *k, struct slice member);
/* How many members stand before it (after it, with `reverse`), and its score. False where it is no
 * member. O(log n). */
bool zset_rank(const struct value *v, const struct keyspace *k, struct slice member, bool reverse,
               uint64_t *rank, double *score);

/* Begins at the member of a rank counted from the first, or with `reverse` from the last one,
 * towards the first. O(log n). */
void zset_walk_start(struct zset_walk *w, const struct value *v, uint64_t rank, bool reverse);
/* False at the end. The member is good until the next call or change. */
bool zset_walk_next(struct zset_walk *w, struct slice *member, double *score);

/* The ranks of the members in a range: from *first to below *end. O(log n). Members are compared as
 * if all scores were equal; where they are not, the answer is some run of ranks. */
void zset_ranks_of_scores(const struct value *v, const struct zset_score_range *range,
                          uint64_t *first, uint64_t *end);
void zset_ranks_of_lex(const struct value *v, const struct zset_lex_range *range, uint64_t *first,
                       uint64_t *end);
/* Removes the members of ranks from `first` to below `end`. */
void zset_remove_ranks(struct value *v, const struct keyspace *k, uint64_t first, uint64_t end);

/* As table_scan over members: about `count` of them from `position` (0 to start) on; the next
 * position, 0 at the end. A packed set is visited whole. `visit` must not change the set. */
uint64_t zset_scan(const struct value *v, uint64_t position, uint64_t count,
                   void (*visit)(void *context, struct slice member, double score),
                   void *context);
/* For tests: aborts on a broken invariant. */
void zset_check(const struct value *v, const struct keyspace *k);
