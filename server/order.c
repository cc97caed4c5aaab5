/* The order log: see order.h for the contract and why reuse of entries is safe. */
#include "server/order.h"

#include <assert.h>

#include "proto/mem.h"

#define CAPACITY_MIN 4096
/* What a core can publish between two loops of the slowest one: pipelines of 50 connections. */
#define SHARE_MIN 64

struct order_entry {
    _Atomic uint64_t published; /* ticket + 1; pairs with order_next's acquire */
    void *work;
    struct core_mask mask;
} __attribute__((aligned(64)));

/* One core's side. The cursor is on its own line: others read it only when they are short of room.
 * */
struct order_core {
    _Atomic uint64_t cursor; /* first ticket this core has not passed */
    bool acting;             /* order_next returned the entry at the cursor */
    /* The core's own unretired tickets, oldest first, in a ring of `share` places. */
    uint64_t *tickets;
    uint32_t tickets_first;
    uint32_t tickets_count;
} __attribute__((aligned(64)));

struct order {
    _Atomic uint64_t next __attribute__((aligned(64)));
    uint64_t capacity __attribute__((aligned(64)));
    uint32_t core_count;
    uint32_t share;
    struct order_entry *entries;
    struct order_core *cores;
};

struct order *order_create(uint32_t core_count, uint32_t capacity)
{
    if (capacity == 0)
        for (capacity = CAPACITY_MIN; capacity < core_count * SHARE_MIN;)
            capacity *= 2;
    assert((capacity & (capacity - 1)) == 0 && capacity >= core_count * 4);
    struct order *o = mem_alloc_aligned(sizeof(*o), 64);
    memset(o, 0, sizeof(*o));
    o->capacity = capacity;
    o->core_count = core_count;
    o->share = capacity / core_count;
    o->entries = mem_alloc_aligned(capacity * sizeof(*o->entries), 64);
    o->cores = mem_alloc_aligned(core_count * sizeof(*o->cores), 64);
    memset(o->cores, 0, core_count * sizeof(*o->cores));
    for (uint32_t i = 0; i < capacity; i++)
        atomic_init(&o->entries[i].published, 0);
    for (uint32_t i = 0; i < core_count; i++)
        o->cores[i].tickets = mem_alloc(o->share * sizeof(uint64_t));
    return o;
}

void order_destroy(struct order *o)
{
    for (uint32_t i = 0; i < o->core_count; i++)
        mem_free(o->cores[i].tickets);
    mem_free(o->cores);
    mem_free(o->entries);
    mem_free(o);
}

static uint64_t lowest_cursor(const struct order *o)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < o->core_count; i++) {
        /* Pairs with the release in order_next: that core no longer looks at entries below. */
        uint64_t c = atomic_load_explicit(&o->cores[i].cursor, memory_order_acquire);
        if (c < lowest)
            lowest = c;
    }
    return lowest;
}

static void retire_tickets(const struct order *o, struct order_core *own, uint64_t lowest)
{
    while (own->tickets_count && own->tickets[own->tickets_first] < lowest) {
        own->tickets_first = (own->tickets_first + 1) % o->share;
        own->tickets_count--;
    }
}

bool order_has_room(struct order *o, uint32_t self)
{
    struct order_core *own = &o->cores[self];
    if (own->tickets_count < o->share)
        return true;
    retire_tickets(o, own, lowest_cursor(o));
    return own->tickets_count < o->share;
}

struct core_mask order_behind(const struct order *o, uint32_t self)
{
    struct core_mask behind = {0};
    const struct order_core *own = &o->cores[self];
    if (own->tickets_count == 0)
        return behind;
    uint64_t oldest = own->tickets[own->tickets_first];
    for (uint32_t i = 0; i < o->core_count; i++)
        if (atomic_load_explicit(&o->cores[i].cursor, memory_order_acquire) <= oldest)
            core_mask_add(&behind, i);
    return behind;
}

uint64_t order_publish(struct order *o, uint32_t self, void *work, const struct core_mask *mask)
{
    struct order_core *own = &o->cores[self];
    assert(own->tickets_count < o->share);
    assert(work != NULL && !core_mask_empty(mask));
    /* The entry may be reused because some core, not always this one, has looked at the cursors.
     * Acquire and release pass that look on from ticket to ticket. */
    uint64_t ticket = atomic_fetch_add_explicit(&o->next, 1, memory_order_acq_rel);
    struct order_entry *e = &o->entries[ticket & (o->capacity - 1)];
    e->work = work;
    e->mask = *mask;
    /* Pairs with the acquire in order_next and order_has_entries. */
    atomic_store_explicit(&e->published, ticket + 1, memory_order_release);
    own->tickets[(own->tickets_first + own->tickets_count) % o->share] = ticket;
    own->tickets_count++;
    return ticket;
}

void *order_next(struct order *o, uint32_t self, uint64_t *ticket)
{
    struct order_core *own = &o->cores[self];
    uint64_t cursor = atomic_load_explicit(&own->cursor, memory_order_relaxed);
    uint64_t start = cursor;
    void *work = NULL;
    if (own->acting)
        cursor++;
    own->acting = false;
    for (;;) {
        struct order_entry *e = &o->entries[cursor & (o->capacity - 1)];
        /* Pairs with the release in order_publish. */
        if (atomic_load_explicit(&e->published, memory_order_acquire) != cursor + 1)
            break;
        if (core_mask_has(&e->mask, self)) {
            own->acting = true;
            *ticket = cursor;
            work = e->work;
            break;
        }
        cursor++;
    }
    /* Pairs with the acquire in lowest_cursor: we are done with the entries below. */
    if (cursor != start)
        atomic_store_explicit(&own->cursor, cursor, memory_order_release);
    return work;
}

void order_stay(struct order *o, uint32_t self)
{
    assert(o->cores[self].acting);
    o->cores[self].acting = false;
}

void *order_peek(const struct order *o, uint64_t ticket, struct core_mask *mask)
{
    struct order_entry *e = &o->entries[ticket & (o->capacity - 1)];
    /* Pairs with the release in order_publish. */
    if (atomic_load_explicit(&e->published, memory_order_acquire) != ticket + 1)
        return NULL;
    *mask = e->mask;
    return e->work;
}

void order_carry(struct order *o, uint32_t self, uint64_t ticket)
{
    struct order_core *own = &o->cores[self];
    assert(own->acting);
    assert(atomic_load_explicit(&own->cursor, memory_order_relaxed) < ticket);
    /* Pairs with the acquire in lowest_cursor: nobody looks at the entries below for that shard. */
    atomic_store_explicit(&own->cursor, ticket, memory_order_release);
}

bool order_has_entries(const struct order *o, uint32_t self)
{
    uint64_t cursor = atomic_load_explicit(&o->cores[self].cursor, memory_order_relaxed);
    /* Sequentially consistent: the last look before sleeping, against the publisher's look at
     * `owner` (core.h). */
    return atomic_load(&o->next) != cursor;
}

bool order_is_held(const struct order *o, uint32_t self)
{
    uint64_t cursor = atomic_load_explicit(&o->cores[self].cursor, memory_order_relaxed);
    const struct order_entry *e = &o->entries[cursor & (o->capacity - 1)];
    return atomic_load(&o->next) != cursor &&
           atomic_load_explicit(&e->published, memory_order_acquire) != cursor + 1;
}

uint64_t order_cursor(const struct order *o, uint32_t self)
{
    return atomic_load_explicit(&o->cores[self].cursor, memory_order_relaxed);
}

uint64_t order_count(const struct order *o)
{
    return atomic_load_explicit(&o->next, memory_order_relaxed);
}
