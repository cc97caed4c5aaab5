/* An index of a set, for many look-ups while it does not change: what set algebra asks.
 *
 * A look-up in a listpack takes time in proportion to its members, which over all members of
 * another set makes a product. So after some look-ups in a listpack worth it, the index hashes its
 * members' positions, and answers from then on in O(1). Sets of other encodings it asks as they
 * are. */
#pragma once

#include "shard/type/set.h"

struct set_index {
    const struct value *v;
    uint32_t *positions; /* by hash, open addressing; NULL: not built */
    uint32_t mask;
    uint32_t asked;      /* look-ups so far */
};

/* The set is borrowed. Allocates nothing yet. */
void set_index_start(struct set_index *x, const struct value *v);
void set_index_end(struct set_index *x);
bool set_index_has(struct set_index *x, const struct keyspace *k, const struct set_member *m);
