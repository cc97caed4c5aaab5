/* Growing, shrinking and scanning of the table; the look-ups are in the header.
 *
 * Shape. A primary bucket and its chained ones are *compact*: items fill the slots from the first
 * bucket on, without holes, and the last bucket of a chain holds at least two (a single item would
 * fit in the slot that links to its bucket). So whether a bucket has room, where the last item is
 * and how many buckets a number of items takes all follow from the tags.
 *
 * Addressing. With 2^level <= bucket_count < 2^(level+1), buckets below bucket_count - 2^level have
 * been split and, with their other halves from 2^level on, take level + 1 low bits of the hash; the
 * rest take `level` bits. A split moves about half of bucket (bucket_count - 2^level) to the new
 * bucket at the end; a merge is the reverse. */
#include "shard/type/table.h"

#include <assert.h>

#include "proto/mem.h"

#define POSITION_BITS 48
_Static_assert(TABLE_POINT_END == (uint64_t)1 << POSITION_BITS, "points end with the bits");
#define LAST_SLOT (TABLE_SLOTS - 1)

/* How far ahead of a split (in eighths of an item) its items are prefetched. */
#define PREFETCH_AHEAD_8TH 24

/* ---- Memory: segments, and the directory of them ---- */

/* The first segment starts with one bucket and doubles, so a small table is small. */
static uint64_t segment_size(uint64_t segment, uint64_t bucket_count)
{
    if (segment > 0 || bucket_count >= TABLE_SEGMENT_BUCKETS)
        return TABLE_SEGMENT_BUCKETS;
    uint64_t size = 1;
    while (size < bucket_count)
        size *= 2;
    return size;
}

static struct table_bucket *segment_alloc(uint64_t bucket_count)
{
    return mem_alloc_aligned(bucket_count * sizeof(struct table_bucket),
                             sizeof(struct table_bucket));
}

static void resize_first_segment(struct table *t, uint64_t size)
{
    struct table_bucket *bigger = segment_alloc(size);
    uint64_t kept = size < t->bucket_count ? size : t->bucket_count;
    memcpy(bigger, t->segments[0], kept * sizeof(*bigger));
    mem_free(t->segments[0]);
    t->segments[0] = bigger;
}

static void resize_directory(struct table *t, uint64_t cap)
{
    t->segments = mem_realloc(t->segments, cap * sizeof(*t->segments));
    t->segments_cap = cap;
}

/* Makes memory for one bucket more. The bucket is not touched before a split fills it. */
static void reserve_bucket(struct table *t)
{
    uint64_t index = t->bucket_count;
    uint64_t segment = index / TABLE_SEGMENT_BUCKETS;
    if (index % TABLE_SEGMENT_BUCKETS == 0) {
        if (segment == t->segments_cap)
            resize_directory(t, segment ? 2 * segment : 1);
        t->segments[segment] = segment_alloc(segment_size(segment, index + 1));
    } else if (segment == 0 && segment_size(0, index) != segment_size(0, index + 1)) {
        resize_first_segment(t, segment_size(0, index + 1));
    }
}

/* Gives back what the bucket just dropped from the end of the table leaves unused. */
static void release_bucket(struct table *t)
{
    uint64_t count = t->bucket_count;
    uint64_t segments = count / TABLE_SEGMENT_BUCKETS;
    if (count % TABLE_SEGMENT_BUCKETS == 0) {
        mem_free_now(t->segments[segments]);
        if (segments <= t->segments_cap / 4)
            resize_directory(t, t->segments_cap / 2);
    } else if (segments == 0 && segment_size(0, count) != segment_size(0, count + 1)) {
        resize_first_segment(t, segment_size(0, count));
    }
}

static struct table_bucket *chained_create(struct table *t)
{
    struct table_bucket *b = segment_alloc(1);
    memset(b, 0, sizeof(*b));
    t->chained_count++;
    return b;
}

static void chained_destroy(struct table *t, struct table_bucket *b)
{
    mem_free(b);
    t->chained_count--;
}

/* ---- Buckets and chains ---- */

static void slot_move(struct table_bucket *to, uint32_t to_slot, const struct table_bucket *from,
                      uint32_t from_slot)
{
    to->tags[to_slot] = from->tags[from_slot];
    table_slot_set(to, to_slot, table_slot(from, from_slot));
}

/* Items in a bucket, not counting further ones. */
static uint32_t bucket_used(const struct table_bucket *b)
{
    uint32_t free_slots = table_match(b, 0);
    return free_slots ? (uint32_t)__builtin_ctz(free_slots) : TABLE_SLOTS;
}

static struct table_bucket *chain_tail(struct table_bucket *b)
{
    for (struct table_bucket *next; (next = table_chained(b));)
        b = next;
    return b;
}

/* Links a new bucket behind a full one; the item whose slot the link takes moves there. */
static struct table_bucket *chain_extend(struct table *t, struct table_bucket *b)
{
    struct table_bucket *next = chained_create(t);
    slot_move(next, 0, b, LAST_SLOT);
    b->tags[LAST_SLOT] = 0;
    b->control |= TABLE_CHAINED;
    table_slot_set(b, LAST_SLOT, (uintptr_t)next);
    return next;
}

/* Puts an item behind the last of a chain; `tail` is the chain's last bucket. */
static struct table_place chain_append(struct table *t, struct table_bucket *tail, uint8_t tag,
                                       uint64_t word)
{
    uint32_t slot = bucket_used(tail);
    if (slot == TABLE_SLOTS) {
        tail = chain_extend(t, tail);
        slot = 1;
    }
    tail->tags[slot] = tag;
    table_slot_set(tail, slot, word);
    return (struct table_place){tail, slot};
}

/* Takes the item at a place out and moves the chain's last item there. */
static void chain_remove(struct table *t, struct table_bucket *first, struct table_place at)
{
    struct table_bucket *before = NULL;
    struct table_bucket *tail = first;
    for (struct table_bucket *next; (next = table_chained(tail));) {
        before = tail;
        tail = next;
    }
    uint32_t last = bucket_used(tail) - 1;
    slot_move(at.bucket, at.slot, tail, last);
    tail->tags[last] = 0;
    if (before && last == 1) {
        slot_move(before, LAST_SLOT, tail, 0);
        before->control &= (uint8_t)~TABLE_CHAINED;
        chained_destroy(t, tail);
    }
}

/* ---- Growing and shrinking ---- */

static inline uint64_t next_to_split(const struct table *t)
{
    return t->bucket_count - (t->split_mask + 1);
}

/* Deals the items of a bucket out over itself and a new one, by the next bit of their hashes. */
static void split(struct table *t)
{
    reserve_bucket(t);
    struct table_bucket *from = table_bucket_at(t, next_to_split(t));
    struct table_bucket *to[2] = {from, table_bucket_at(t, t->bucket_count)};
    struct table_bucket old = *from;
    uint64_t bit = t->split_mask + 1;
    memset(to[0], 0, sizeof(*to[0]));
    memset(to[1], 0, sizeof(*to[1]));
    for (bool more = true; more;) {
        uint32_t used = bucket_used(&old);
        for (uint32_t slot = 0; slot < used; slot++) {
            void *item = table_item((struct table_place){&old, slot});
            unsigned half = (t->type->hash(item, t->context) & bit) != 0;
            to[half] = chain_append(t, to[half], old.tags[slot], table_slot(&old, slot)).bucket;
        }
        struct table_bucket *next = table_chained(&old);
        more = next != NULL;
        if (more) {
            old = *next;
            chained_destroy(t, next);
        }
    }
    t->bucket_count++;
    if (t->bucket_count == 2 * bit)
        t->split_mask = 2 * bit - 1;
    table_prefetch(table_bucket_at(t, next_to_split(t)));
}

/* Moves the items of the last bucket to the one that it was split from. */
static void merge(struct table *t)
{
    if (t->bucket_count == t->split_mask + 1)
        t->split_mask /= 2;
    t->bucket_count--;
    struct table_bucket *from = table_bucket_at(t, t->bucket_count);
    struct table_bucket *tail = chain_tail(table_bucket_at(t, next_to_split(t)));
    for (bool primary = true; from; primary = false) {
        uint32_t used = bucket_used(from);
        for (uint32_t slot = 0; slot < used; slot++)
            tail = chain_append(t, tail, from->tags[slot], table_slot(from, slot)).bucket;
        struct table_bucket *next = table_chained(from);
        if (!primary)
            chained_destroy(t, from);
        from = next;
    }
    release_bucket(t);
    table_prefetch(table_bucket_at(t, t->bucket_count - 1));
}

/* A split hashes the items of a whole bucket, which nothing else may have touched lately. */
static void prefetch_split(const struct table *t)
{
    const struct table_bucket *b = table_bucket_at(t, next_to_split(t));
    for (; b; b = table_chained(b)) {
        uint32_t used = bucket_used(b);
        for (uint32_t slot = 0; slot < used; slot++)
            table_prefetch((const void *)(uintptr_t)table_slot(b, slot));
    }
}

/* Makes room for one item more. */
static void grow(struct table *t)
{
    if (t->bucket_count == 0) {
        reserve_bucket(t);
        memset(t->segments[0], 0, sizeof(struct table_bucket));
        t->bucket_count = 1;
        return;
    }
    uint64_t limit = t->bucket_count * TABLE_FILL_MAX_8TH;
    uint64_t wanted = (t->count + 1) * 8;
    if (wanted > limit)
        split(t);
    else if (limit - wanted < PREFETCH_AHEAD_8TH && limit - wanted >= PREFETCH_AHEAD_8TH - 8)
        prefetch_split(t);
}

/* ---- The interface ---- */

void table_init(struct table *t, const struct table_type *type, const void *context)
{
    *t = (struct table){.type = type, .context = context};
}

void table_deinit(struct table *t)
{
    for (uint64_t index = 0; index < t->bucket_count; index++) {
        struct table_bucket *b = table_chained(table_bucket_at(t, index));
        while (b) {
            struct table_bucket *next = table_chained(b);
            chained_destroy(t, b);
            b = next;
        }
    }
    assert(t->chained_count == 0);
    for (uint64_t first = 0; first < t->bucket_count; first += TABLE_SEGMENT_BUCKETS)
        mem_free_now(t->segments[first / TABLE_SEGMENT_BUCKETS]);
    mem_free(t->segments);
    table_init(t, t->type, t->context);
}

struct table_place table_add(struct table *t, uint64_t hash, void *item, bool mark)
{
    uint64_t word = (uint64_t)(uintptr_t)item;
    assert(word && (word & 7) == 0 && word >> 48 == 0);
    grow(t);
    struct table_bucket *first = table_bucket_at(t, table_index(t, hash));
    t->count++;
    return chain_append(t, chain_tail(first), table_tag(hash), word | mark);
}

void table_remove(struct table *t, struct table_place at, uint64_t hash)
{
    assert(at.bucket && at.bucket->tags[at.slot] == table_tag(hash));
    chain_remove(t, table_bucket_at(t, table_index(t, hash)), at);
    t->count--;
    if (t->count == 0)
        table_deinit(t);
    else if (t->count * 8 < t->bucket_count * TABLE_FILL_MIN_8TH && t->bucket_count > 1)
        merge(t);
}

static uint64_t drain_chain(struct table *t, struct table_bucket *first,
                            void (*visit)(void *context, void *item), void *context)
{
    uint64_t visited = 0;
    for (struct table_bucket *b = first, *next; b; b = next) {
        uint32_t used = bucket_used(b);
        for (uint32_t slot = 0; slot < used; slot++)
            visit(context, table_item((struct table_place){b, slot}));
        visited += used;
        next = table_chained(b);
        if (b != first)
            chained_destroy(t, b);
    }
    memset(first, 0, sizeof(*first));
    return visited;
}

void table_drain(struct table *t, uint64_t items, void (*visit)(void *context, void *item),
                 void *context)
{
    uint64_t visited = 0;
    while (t->bucket_count && visited < items) {
        uint64_t last = t->bucket_count - 1;
        uint64_t out = drain_chain(t, table_bucket_at(t, last), visit, context);
        visited += out;
        t->count -= out;
        if (last == 0) {
            table_deinit(t);
            return;
        }
        if (t->bucket_count == t->split_mask + 1)
            t->split_mask /= 2;
        t->bucket_count = last;
        release_bucket(t);
    }
}

/* ---- Scanning ---- */

/* The 48 low bits in reverse order, which is its own inverse. */
static uint64_t reverse48(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555u) | (x & 0x5555555555555555u) << 1;
    x = (x >> 2 & 0x3333333333333333u) | (x & 0x3333333333333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0fu) | (x & 0x0f0f0f0f0f0f0f0fu) << 4;
    return __builtin_bswap64(x) >> (64 - POSITION_BITS);
}

uint64_t table_point(uint64_t hash)
{
    return reverse48(hash);
}

/* Where the run of a bucket ends in scan order. */
static uint64_t run_end(const struct table *t, uint64_t index)
{
    /* The run's last hash: the bucket's low bits with all ones above. A split bucket ends where its
     * upper half begins; the upper half ends where the two together do. */
    uint64_t mask = index < next_to_split(t) ? 2 * t->split_mask + 1 : t->split_mask;
    return reverse48(index | ~mask) + 1;
}

static uint64_t visit_chain(struct table_bucket *b, bool marked_only,
                            void (*visit)(void *context, void *item, struct table_place at),
                            void *context)
{
    uint64_t visited = 0;
    for (; b; b = table_chained(b)) {
        uint32_t used = bucket_used(b);
        for (uint32_t slot = 0; slot < used; slot++) {
            struct table_place at = {b, slot};
            if (marked_only && !table_mark(at))
                continue;
            visit(context, table_item(at), at);
            visited++;
        }
    }
    return visited;
}

/* Why no item is missed. Give an item the point reverse48(hash). A bucket that takes n bits of the
 * hash holds exactly the items with its n low bits, the high bits of the point: so the bucket
 * is one run of 2^(48-n) consecutive points, and the buckets of any table divide all points among
 * them. The scan keeps this: every item that has been in the table since the scan began and whose
 * point is below `position` has been visited. It holds at 0. A step finds the bucket whose run
 * contains `position`, visits all of it, and goes on to the run's end, so it still holds. Between
 * steps the table may split or merge buckets, but points do not change. Where the bucket was merged
 * meanwhile, its run begins before `position`, and its first part is visited a second time; nothing
 * is skipped. When the position reaches 2^48, which is given as 0, every point is below it. */
uint64_t table_scan(struct table *t, uint64_t position, uint64_t items, uint64_t buckets,
                    bool marked_only,
                    void (*visit)(void *context, void *item, struct table_place at), void *context)
{
    if (t->bucket_count == 0 || position >> POSITION_BITS)
        return 0;
    uint64_t visited = 0;
    uint64_t looked_at = 0;
    uint64_t index = table_index(t, reverse48(position));
    for (;;) {
        struct table_bucket *b = table_bucket_at(t, index);
        position = run_end(t, index) & (((uint64_t)1 << POSITION_BITS) - 1);
        if (position) {
            index = table_index(t, reverse48(position));
            table_prefetch(table_bucket_at(t, index));
        }
        visited += visit_chain(b, marked_only, visit, context);
        looked_at++;
        if (!position || (items && visited >= items) || (buckets && looked_at >= buckets))
            return position;
    }
}

static void move_chain(struct table_bucket *b, const struct mem_move *m)
{
    for (struct table_bucket *next; (next = table_chained(b)); b = next) {
        next = mem_move_aligned(m, next, sizeof(*next), sizeof(*next));
        table_slot_set(b, LAST_SLOT, (uintptr_t)next);
    }
}

/* The segment of a bucket, with its first one, so that each is looked at once. */
static void move_segment(struct table *t, uint64_t index, const struct mem_move *m)
{
    uint64_t segment = index / TABLE_SEGMENT_BUCKETS;
    if (index % TABLE_SEGMENT_BUCKETS)
        return;
    size_t size = segment_size(segment, t->bucket_count) * sizeof(struct table_bucket);
    t->segments[segment] =
        mem_move_aligned(m, t->segments[segment], size, sizeof(struct table_bucket));
}

uint64_t table_move(struct table *t, uint64_t position, uint64_t buckets, const struct mem_move *m,
                    void (*visit)(void *context, void *item, struct table_place at),
                    void *context)
{
    if (t->bucket_count == 0 || position >> POSITION_BITS)
        return 0;
    if (position == 0)
        t->segments = mem_move_block(m, t->segments);
    for (; buckets > 0; buckets--) {
        uint64_t index = table_index(t, reverse48(position));
        move_segment(t, index, m);
        move_chain(table_bucket_at(t, index), m);
        if (visit)
            visit_chain(table_bucket_at(t, index), false, visit, context);
        position = run_end(t, index) & (((uint64_t)1 << POSITION_BITS) - 1);
        if (!position)
            return 0;
        table_prefetch(table_bucket_at(t, table_index(t, reverse48(position))));
    }
    return position;
}

/* ---- Picking at random ---- */

/* Items in a bucket and its chain. */
static uint64_t chain_count(const struct table_bucket *b)
{
    uint64_t count = 0;
    for (; b; b = table_chained(b))
        count += bucket_used(b);
    return count;
}

static void *chain_item(struct table_bucket *b, uint64_t number)
{
    while (b->control & TABLE_CHAINED && number >= LAST_SLOT) {
        number -= LAST_SLOT;
        b = table_chained(b);
    }
    return table_item((struct table_place){b, (uint32_t)number});
}

/* Scales 32 random bits to [0, bound), for bounds below 2^32. */
static uint64_t scale(uint64_t random, uint64_t bound)
{
    return random * bound >> 32;
}

void *table_random(const struct table *t, uint64_t (*random)(void *context), void *context)
{
    if (t->count == 0)
        return NULL;
    /* A bucket is taken with a chance proportional to its items, up to a number that few exceed. */
    const uint64_t count_max = 2 * TABLE_SLOTS;
    for (;;) {
        uint64_t bits = random(context);
        uint64_t index = scale(bits >> 32, t->bucket_count);
        struct table_bucket *b = table_bucket_at(t, index);
        uint64_t count = chain_count(b);
        uint64_t number = scale(bits & UINT32_MAX, count > count_max ? count : count_max);
        if (number < count)
            return chain_item(b, number);
    }
}

/* ---- Accounting and self-check ---- */

size_t table_memory(const struct table *t)
{
    uint64_t segments = (t->bucket_count + TABLE_SEGMENT_BUCKETS - 1) / TABLE_SEGMENT_BUCKETS;
    uint64_t buckets = t->chained_count;
    if (segments)
        buckets += (segments - 1) * TABLE_SEGMENT_BUCKETS + segment_size(0, t->bucket_count);
    return buckets * sizeof(struct table_bucket) + t->segments_cap * sizeof(*t->segments);
}

/* Returns the number of items; adds the chained buckets to `chained`. */
static uint64_t check_chain(const struct table *t, uint64_t index, uint64_t *chained)
{
    uint64_t count = 0;
    bool first = true;
    for (struct table_bucket *b = table_bucket_at(t, index); b; b = table_chained(b)) {
        uint32_t used = bucket_used(b);
        uint32_t free_slots = TABLE_SLOT_MASK & ~((1u << used) - 1);
        assert((uintptr_t)b % sizeof(*b) == 0 && b->control <= TABLE_CHAINED);
        assert(table_match(b, 0) == free_slots);
        assert(b->control & TABLE_CHAINED ? used == LAST_SLOT : first || used >= 2);
        for (uint32_t slot = 0; slot < used; slot++) {
            const void *item = table_item((struct table_place){b, slot});
            uint64_t hash = t->type->hash(item, t->context);
            assert(table_index(t, hash) == index && b->tags[slot] == table_tag(hash));
        }
        *chained += !first;
        count += used;
        first = false;
    }
    return count;
}

void table_check(const struct table *t)
{
    if (t->bucket_count == 0) {
        assert(!t->segments && !t->segments_cap && !t->count && !t->chained_count);
        assert(!t->split_mask);
        return;
    }
    assert((t->split_mask & (t->split_mask + 1)) == 0);
    assert(t->split_mask < t->bucket_count && t->bucket_count < 2 * (t->split_mask + 1));
    assert(t->count > 0 && t->count * 8 <= t->bucket_count * TABLE_FILL_MAX_8TH);
    assert(t->bucket_count == 1 || t->count * 8 + 8 >= t->bucket_count * TABLE_FILL_MIN_8TH);
    assert(t->segments_cap * TABLE_SEGMENT_BUCKETS >= t->bucket_count);
    uint64_t count = 0;
    uint64_t chained = 0;
    for (uint64_t index = 0; index < t->bucket_count; index++)
        count += check_chain(t, index, &chained);
    assert(count == t->count && chained == t->chained_count);
}
