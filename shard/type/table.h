/* A hash table of pointers to items, grown and shrunk a bucket at a time: linear hashing.
 *
 * Source: W. Litwin, "Linear Hashing: A New Tool for File and Table Addressing", VLDB 1980. A
 * bucket is one cache line of nine slots: nine one-byte tags (0: free), a control byte, nine 48-bit
 * pointers. A full bucket chains another through its last slot. Buckets lie in segments of 256, so
 * growth allocates one segment now and then and never copies the table. The mean fill is held near
 * TABLE_FILL_MAX_8TH while growing; below TABLE_FILL_MIN_8TH the table shrinks.
 *
 * Items are 8-byte aligned pointers below 2^48; bit 0 of the stored pointer is the item's *mark*,
 * which the keyspace uses for "has an expiry", so that a sweep touches only such items.
 *
 * Scan order is that of the bit-reversed hash: every bucket covers one contiguous run of it,
 * however far the table has grown or shrunk. A scan position is a point in that order,
 * which is why a scan over a changing table meets each item that stays at least once.
 *
 * Single-threaded. A table_place is good until the next add or remove on the same table. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TABLE_SLOTS 9
#define TABLE_SEGMENT_BUCKETS 256

/* Items a primary bucket, in eighths: an add splits a bucket above the first, a remove merges one
 * below the second. Within a doubling the buckets not yet split hold up to twice the mean, so a
 * higher fill mostly trades primary buckets for chained ones: at 6.75 the table takes 10.9 to 11.6
 * bytes an item and a hit looks at 1.07 to 1.13 buckets; at 6, 11.6 to 12.3 and 1.04 to 1.09. */
#define TABLE_FILL_MAX_8TH 54
#define TABLE_FILL_MIN_8TH 18

struct table_bucket {
    uint8_t tags[TABLE_SLOTS]; /* 0: free, else from the hash */
    uint8_t control;           /* bit 0: the last slot points to a further bucket */
    uint8_t slots[TABLE_SLOTS][6];
};
_Static_assert(sizeof(struct table_bucket) == 64, "a bucket is a cache line");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "slots are the low bytes of a pointer");

struct mem_move;

struct table_type {
    /* The hash of an item: the same as it was added with. `context` is the table's. */
    uint64_t (*hash)(const void *item, const void *context);
};

struct table {
    const struct table_type *type;
    const void *context;
    struct table_bucket **segments;
    uint64_t count;        /* items */
    uint64_t bucket_count; /* primary buckets; 0: nothing allocated */
    uint64_t split_mask;   /* 2^level - 1: buckets below bucket_count - 2^level have been split */
    uint64_t chained_count; /* buckets beyond the primary ones */
    uint64_t segments_cap;
};

struct table_place {
    struct table_bucket *bucket; /* NULL: not in the table */
    uint32_t slot;
};

/* Goes through the items whose tag matches a hash. */
struct table_probe {
    struct table_bucket *bucket;
    uint32_t matches; /* bits of slots still to look at */
    uint8_t tag;
    uint32_t slot;    /* of the item last returned */
};

void table_init(struct table *t, const struct table_type *type, const void *context);
/* Frees the table's own memory, not the items. */
void table_deinit(struct table *t);

static inline void table_probe_start(struct table_probe *p, const struct table *t, uint64_t hash);
/* The next candidate, or NULL. The caller compares keys. */
static inline void *table_probe_next(struct table_probe *p);
/* Where the item last returned is; after NULL, the place that says "not in the table". */
static inline struct table_place table_probe_place(const struct table_probe *p)
{
    return (struct table_place){p->bucket, p->slot};
}

/* Adds an item known to be absent. May grow the table by a bucket. */
struct table_place table_add(struct table *t, uint64_t hash, void *item, bool mark);
/* Puts another item (same key, same hash) in a place. */
static inline void table_replace(struct table_place at, void *item, bool mark);
static inline void *table_item(struct table_place at);
static inline bool table_mark(struct table_place at);
/* Takes the item out. May shrink the table by a bucket. */
void table_remove(struct table *t, struct table_place at, uint64_t hash);

/* The two steps that hide the cache misses of a batch: the first for all its hashes, then the
 * second for all, then the look-ups. */
static inline void table_prefetch_bucket(const struct table *t, uint64_t hash);
static inline void table_prefetch_items(const struct table *t, uint64_t hash);

/* Visits the items of the buckets from `position` on (0 to start), whole buckets, until at least
 * `items` were visited or `buckets` buckets looked at (each: 0 for no such bound). With
 * `marked_only`, only marked items. Returns the next position, 0 at the end; positions are below
 * 2^48. `visit` may replace the item it is given in its place, and nothing else. */
uint64_t table_scan(struct table *t, uint64_t position, uint64_t items, uint64_t buckets,
                    bool marked_only,
                    void (*visit)(void *context, void *item, struct table_place at), void *context);
/* Compaction: a table_scan of `buckets` buckets at least 1 that also moves the table's own memory
 * as `m` wants it. `visit` may be NULL. */
uint64_t table_move(struct table *t, uint64_t position, uint64_t buckets, const struct mem_move *m,
                    void (*visit)(void *context, void *item, struct table_place at),
                    void *context);
/* The point in scan order at which a scan comes by the items of this hash: those with points below
 * a scan's position are behind it. */
uint64_t table_point(uint64_t hash);
/* Beyond all points. */
#define TABLE_POINT_END ((uint64_t)1 << 48)
/* An item picked at random (each with about the same chance), or NULL of an empty table. */
void *table_random(const struct table *t, uint64_t (*random)(void *context), void *context);
/* Takes items out, whole buckets from the last on, until at least `items` are out or none is left:
 * how a large table is freed in steps. A table not emptied by it can only be drained on. */
void table_drain(struct table *t, uint64_t items, void (*visit)(void *context, void *item),
                 void *context);
/* Bytes held, items not counted. */
size_t table_memory(const struct table *t);
/* Self-check for tests: aborts on a broken invariant. */
void table_check(const struct table *t);

/* ---- What the inline bodies below and table.c share ---- */

#define TABLE_CHAINED 1u
/* Small items mostly lie across two cache lines; this far into them is the second. */
#define TABLE_ITEM_AHEAD 48
#define TABLE_SLOT_MASK ((1u << TABLE_SLOTS) - 1)

/* gcc takes a function that only prefetches for one without effect and drops calls to it; the empty
 * statement is an effect. */
static inline void table_prefetch(const void *p)
{
    __builtin_prefetch(p);
    __asm__ volatile("");
}

/* 1 to 255, from bits that addressing does not use. */
static inline uint8_t table_tag(uint64_t hash)
{
    uint8_t tag = (uint8_t)(hash >> 56);
    return tag ? tag : 1;
}

/* The primary bucket of a hash. The table has at least one. */
static inline uint64_t table_index(const struct table *t, uint64_t hash)
{
    uint64_t index = hash & (2 * t->split_mask + 1);
    return index < t->bucket_count ? index : index & t->split_mask;
}

static inline struct table_bucket *table_bucket_at(const struct table *t, uint64_t index)
{
    return &t->segments[index / TABLE_SEGMENT_BUCKETS][index % TABLE_SEGMENT_BUCKETS];
}

/* The pointer and mark of a slot. Reads the eight bytes that *end* with the slot's six: never past
 * the bucket, and before slot 0 are tags. */
static inline uint64_t table_slot(const struct table_bucket *b, uint32_t slot)
{
    uint64_t word;
    memcpy(&word, (const char *)b + offsetof(struct table_bucket, slots) + slot * 6u - 2, 8);
    return word >> 16;
}

static inline void table_slot_set(struct table_bucket *b, uint32_t slot, uint64_t word)
{
    memcpy(b->slots[slot], &word, 6);
}

static inline struct table_bucket *table_chained(const struct table_bucket *b)
{
    if (!(b->control & TABLE_CHAINED))
        return NULL;
    return (struct table_bucket *)(uintptr_t)table_slot(b, TABLE_SLOTS - 1);
}

/* The slots whose tag is `tag`, a bit each. */
static inline uint32_t table_match(const struct table_bucket *b, uint8_t tag)
{
#ifdef __SSE2__
    __m128i tags = _mm_loadu_si128((const __m128i *)(const void *)b);
    __m128i equal = _mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag));
    return (uint32_t)_mm_movemask_epi8(equal) & TABLE_SLOT_MASK;
#else
    /* Eight tags at once: a byte of `differ` is zero where the tag matches. Adding 0x7f to its low
     * seven bits carries into bit 7 unless they are zero, and never into the next byte. */
    const uint64_t low7 = 0x7f7f7f7f7f7f7f7fu;
    uint64_t word;
    memcpy(&word, b->tags, 8);
    uint64_t differ = word ^ (tag * 0x0101010101010101u);
    uint64_t equal = ~(((differ & low7) + low7) | differ | low7);
    /* The multiplication gathers the eight bits, 8 apart, in the top byte. */
    uint32_t matches = (uint32_t)(((equal >> 7) * 0x0102040810204080u) >> 56);
    return matches | (uint32_t)(b->tags[8] == tag) << 8;
#endif
}

/* ---- Inline bodies ---- */

static inline void table_probe_start(struct table_probe *p, const struct table *t, uint64_t hash)
{
    p->tag = table_tag(hash);
    p->slot = 0;
    p->matches = 0;
    p->bucket = NULL;
    if (t->bucket_count == 0)
        return;
    p->bucket = table_bucket_at(t, table_index(t, hash));
    p->matches = table_match(p->bucket, p->tag);
}

static inline void *table_probe_next(struct table_probe *p)
{
    while (!p->matches) {
        if (!p->bucket)
            return NULL;
        p->bucket = table_chained(p->bucket);
        if (!p->bucket)
            return NULL;
        p->matches = table_match(p->bucket, p->tag);
    }
    p->slot = (uint32_t)__builtin_ctz(p->matches);
    p->matches &= p->matches - 1;
    return table_item(table_probe_place(p));
}

static inline void *table_item(struct table_place at)
{
    return (void *)(uintptr_t)(table_slot(at.bucket, at.slot) & ~(uint64_t)1);
}

static inline bool table_mark(struct table_place at)
{
    return at.bucket->slots[at.slot][0] & 1;
}

static inline void table_replace(struct table_place at, void *item, bool mark)
{
    table_slot_set(at.bucket, at.slot, (uint64_t)(uintptr_t)item | mark);
}

static inline void table_prefetch_bucket(const struct table *t, uint64_t hash)
{
    if (t->bucket_count)
        table_prefetch(table_bucket_at(t, table_index(t, hash)));
}

/* Without a match in the first bucket, the item is in the next of the chain or absent. */
static inline void table_prefetch_items(const struct table *t, uint64_t hash)
{
    if (t->bucket_count == 0)
        return;
    struct table_bucket *b = table_bucket_at(t, table_index(t, hash));
    uint32_t matches = table_match(b, table_tag(hash));
    if (!matches && (b->control & TABLE_CHAINED))
        table_prefetch(table_chained(b));
    for (; matches; matches &= matches - 1) {
        const char *item = table_item((struct table_place){b, (uint32_t)__builtin_ctz(matches)});
        table_prefetch(item);
        table_prefetch(item + TABLE_ITEM_AHEAD);
    }
}
