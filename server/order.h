/* The order log: one sequence for all work that spans shards.
 *
 * A bounded ring of entries in shared memory and one ticket counter. A core that has built work for
 * several shards publishes it: takes the next ticket, fills that ticket's entry, marks it
 * published. Every core steps over every entry, in ticket order, each with its own cursor, and acts
 * on those that name it. The end of the log is the first entry not yet published: a core that took
 * a ticket and was delayed holds the others' walk there, never their other work.
 *
 * Room. Ticket t uses entry t mod capacity, so it must not be taken before every cursor has passed
 * t - capacity. Each core may hold capacity / cores unretired tickets, an unretired ticket being
 * one not below the lowest cursor. All unretired tickets together are then at most the capacity,
 * which is the condition; no core looks at another's count.
 *
 * Memory order. order_publish stores `published` with release; order_next loads it with acquire:
 * what the publisher wrote before is seen by whoever acts on the entry. A core stores its cursor
 * with release after it has acted; the publisher that reuses the entry has loaded all cursors with
 * acquire. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shard/keyspace.h"

#define ORDER_MASK_WORDS (SHARD_COUNT_MAX / 64)

struct order;

/* A set of cores. */
struct core_mask {
    uint64_t words[ORDER_MASK_WORDS];
};

static inline void core_mask_add(struct core_mask *m, uint32_t core)
{
    m->words[core / 64] |= UINT64_C(1) << (core % 64);
}

static inline bool core_mask_has(const struct core_mask *m, uint32_t core)
{
    return m->words[core / 64] >> (core % 64) & 1;
}

static inline bool core_mask_empty(const struct core_mask *m)
{
    uint64_t any = 0;
    for (int i = 0; i < ORDER_MASK_WORDS; i++)
        any |= m->words[i];
    return any == 0;
}

static inline uint32_t core_mask_count(const struct core_mask *m)
{
    uint32_t n = 0;
    for (int i = 0; i < ORDER_MASK_WORDS; i++)
        n += (uint32_t)__builtin_popcountll(m->words[i]);
    return n;
}

static inline void core_mask_unite(struct core_mask *m, const struct core_mask *other)
{
    for (int i = 0; i < ORDER_MASK_WORDS; i++)
        m->words[i] |= other->words[i];
}

static inline void core_mask_intersect(struct core_mask *m, const struct core_mask *other)
{
    for (int i = 0; i < ORDER_MASK_WORDS; i++)
        m->words[i] &= other->words[i];
}

static inline bool core_mask_equal(const struct core_mask *a, const struct core_mask *b)
{
    uint64_t differ = 0;
    for (int i = 0; i < ORDER_MASK_WORDS; i++)
        differ |= a->words[i] ^ b->words[i];
    return differ == 0;
}

/* The lowest core of a set that is not empty. */
static inline uint32_t core_mask_first(const struct core_mask *m)
{
    uint32_t i = 0;
    while (i < ORDER_MASK_WORDS - 1 && !m->words[i])
        i++;
    return i * 64 + (uint32_t)__builtin_ctzll(m->words[i]);
}

/* How many of the set come before `core`: its index among the participants. */
static inline uint32_t core_mask_rank(const struct core_mask *m, uint32_t core)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < core / 64; i++)
        n += (uint32_t)__builtin_popcountll(m->words[i]);
    uint64_t below = (UINT64_C(1) << (core % 64)) - 1;
    return n + (uint32_t)__builtin_popcountll(m->words[core / 64] & below);
}

/* `capacity` entries, a power of two, at least 4 a core; 0: 4096, or 64 a core if that is more. */
struct order *order_create(uint32_t core_count, uint32_t capacity);
void order_destroy(struct order *o);

/* True where `self` may publish now. When false: wake the cores that order_behind names, go on with
 * the iteration, try in the next. */
bool order_has_room(struct order *o, uint32_t self);
/* Cores whose cursors keep `self` from publishing. */
struct core_mask order_behind(const struct order *o, uint32_t self);
/* Publishes `work` for the cores in `mask` and returns its ticket. order_has_room was true. */
uint64_t order_publish(struct order *o, uint32_t self, void *work, const struct core_mask *mask);

/* The next published entry that names `self`, or NULL at the end of the log. *ticket receives its
 * ticket. The caller acts on it before it calls again; the cursor passes it then. */
void *order_next(struct order *o, uint32_t self, uint64_t *ticket);
/* Takes the last order_next back: the cursor stays before that entry, and the next call returns it.
 * */
void order_stay(struct order *o, uint32_t self);
/* Looks ahead: the work of `ticket` and whom it names, or NULL where it is not published. By who
 * holds a shard that has not passed it, so that its entry is not reused meanwhile. */
void *order_peek(const struct order *o, uint64_t ticket, struct core_mask *mask);
/* Carries a shard on from the entry that it acts on to a later one, as if it acted on that now. By
 * who holds the shard and has done what the entries up to there ask of it. */
void order_carry(struct order *o, uint32_t self, uint64_t ticket);
/* True where a ticket has been taken that `self` has not passed, published or not: the last look
 * before sleeping. A core may not sleep behind a ticket that is not published yet: its publisher
 * will wake those whom *that* entry names, and nobody looks after those that come behind it. */
bool order_has_entries(const struct order *o, uint32_t self);
/* True where what `self` has not passed begins with an entry that is not published yet: there is
 * nothing to do but to look again soon. */
bool order_is_held(const struct order *o, uint32_t self);
/* The first ticket that `self` has not passed. */
uint64_t order_cursor(const struct order *o, uint32_t self);
/* Tickets taken so far. */
uint64_t order_count(const struct order *o);
