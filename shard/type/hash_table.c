/* Large hashes: a table of items, see hash.h.
 *
 * An item is one field with its value, in one allocation (sizes in bytes):
 *
 *     0  header, 4:  flags 8 bits | field size 8 | value size 16
 *     4  expiry, 8, ms since the epoch, only with ITEM_EXPIRES
 *        field size, 8, only with ITEM_WIDE_FIELD (then the header's field size is 0)
 *        field
 *        value: the bytes, or with ITEM_BLOCK a pointer to a block of its own
 *
 * The earliest expiry is a bound, not exact: it takes a round over the marked items to find the
 * next one, and fields_remove_due goes that round in slices, by scan position, so that a hash of
 * millions of fields holds no one up. What is set while a round is under way lowers both bounds. */
#include "shard/type/hash_inside.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/type/view_hook.h"

#define ITEM_EXPIRES 1u
#define ITEM_WIDE_FIELD 2u
#define ITEM_BLOCK 4u

/* A longer value gets a block of its own, and is overwritten without touching the item. */
#define INLINE_SIZE_MAX ((size_t)512)

/* A slice of a round: buckets, and the items gathered from them. */
#define SLICE_BUCKETS 16
#define SLICE_DUE_MAX 256

struct field_item {
    uint8_t flags;
    uint8_t field_size;
    uint16_t value_size;
    char bytes[];
};
_Static_assert(sizeof(struct field_item) == 4, "the header is four bytes");

struct value_block {
    size_t size;
    char bytes[];
};

/* --- Items --- */

static struct slice item_field(const struct field_item *item)
{
    const char *at = item->bytes + ((item->flags & ITEM_EXPIRES) ? sizeof(int64_t) : 0);
    if (__builtin_expect(item->flags & ITEM_WIDE_FIELD, 0)) {
        size_t size;
        memcpy(&size, at, sizeof(size));
        return (struct slice){at + sizeof(size), size};
    }
    return (struct slice){at, item->field_size};
}

static char *item_area(const struct field_item *item)
{
    struct slice field = item_field(item);
    return (char *)field.data + field.size;
}

static int64_t item_expiry(const struct field_item *item)
{
    if (!(item->flags & ITEM_EXPIRES))
        return HASH_NO_EXPIRY;
    int64_t expires_ms;
    memcpy(&expires_ms, item->bytes, sizeof(expires_ms));
    return expires_ms;
}

static struct value_block *item_block(const struct field_item *item)
{
    if (!(item->flags & ITEM_BLOCK))
        return NULL;
    struct value_block *block;
    memcpy(&block, item_area(item), sizeof(block));
    return block;
}

static struct slice item_value(const struct field_item *item)
{
    const struct value_block *block = item_block(item);
    if (__builtin_expect(block != NULL, 0))
        return (struct slice){block->bytes, block->size};
    return (struct slice){item_area(item), item->value_size};
}

static bool item_live(const struct field_item *item, int64_t now_ms)
{
    return __builtin_expect(!(item->flags & ITEM_EXPIRES), 1) || item_expiry(item) >= now_ms;
}

void fields_read(const struct field_item *item, struct hash_pair *pair)
{
    pair->field = item_field(item);
    pair->value = item_value(item);
    pair->expires_ms = item_expiry(item);
}

static void copy_bytes(char *to, struct slice from)
{
    if (from.size)
        memcpy(to, from.data, from.size);
}

static struct value_block *block_create(struct fields *f, struct slice value)
{
    struct value_block *block = mem_alloc(sizeof(*block) + value.size);
    block->size = value.size;
    copy_bytes(block->bytes, value);
    f->item_bytes += mem_usable(block);
    return block;
}

static void block_destroy(struct fields *f, struct value_block *block)
{
    f->item_bytes -= mem_usable(block);
    mem_free(block);
}

/* An item whose value is still to be written to its area, of `area_size` bytes. */
static struct field_item *item_alloc(struct fields *f, struct slice field, size_t area_size,
                                     int64_t expires_ms)
{
    bool expires = expires_ms != HASH_NO_EXPIRY;
    bool wide = field.size > UINT8_MAX;
    struct field_item *item = mem_alloc(sizeof(*item) + (expires ? sizeof(expires_ms) : 0) +
                                        (wide ? sizeof(size_t) : 0) + field.size + area_size);
    item->flags = (uint8_t)((expires ? ITEM_EXPIRES : 0) | (wide ? ITEM_WIDE_FIELD : 0));
    item->field_size = (uint8_t)(wide ? 0 : field.size);
    item->value_size = 0;
    char *to = item->bytes;
    if (expires) {
        memcpy(to, &expires_ms, sizeof(expires_ms));
        to += sizeof(expires_ms);
    }
    if (wide) {
        memcpy(to, &field.size, sizeof(field.size));
        to += sizeof(field.size);
    }
    copy_bytes(to, field);
    f->item_bytes += mem_usable(item);
    return item;
}

static struct field_item *item_with_block(struct fields *f, struct slice field,
                                          struct value_block *block, int64_t expires_ms)
{
    struct field_item *item = item_alloc(f, field, sizeof(block), expires_ms);
    item->flags |= ITEM_BLOCK;
    memcpy(item_area(item), &block, sizeof(block));
    return item;
}

static struct field_item *item_create(struct fields *f, struct slice field, struct slice value,
                                      int64_t expires_ms)
{
    if (__builtin_expect(value.size > INLINE_SIZE_MAX, 0))
        return item_with_block(f, field, block_create(f, value), expires_ms);
    struct field_item *item = item_alloc(f, field, value.size, expires_ms);
    item->value_size = (uint16_t)value.size;
    copy_bytes(item_area(item), value);
    return item;
}

/* Frees the item, but not its block. */
static void item_release(struct fields *f, struct field_item *item)
{
    f->item_bytes -= mem_usable(item);
    mem_free(item);
}

static void item_destroy(struct fields *f, struct field_item *item)
{
    struct value_block *block = item_block(item);
    if (block)
        block_destroy(f, block);
    item_release(f, item);
}

/* --- The table --- */

static uint64_t hash_item(const void *item, const void *context)
{
    return keyspace_hash(context, item_field(item));
}

static const struct table_type fields_type = {.hash = hash_item};

struct fields *fields_create(const struct keyspace *k)
{
    struct fields *f = mem_alloc_zeroed(sizeof(*f));
    table_init(&f->table, &fields_type, k);
    f->due_ms = f->round_due_ms = HASH_NO_EXPIRY;
    return f;
}

static uint64_t hash_field(const struct fields *f, struct slice field)
{
    return keyspace_hash(f->table.context, field);
}

/* NULL where the field is not in the table; `at` is then not to be used. */
static struct field_item *find(const struct fields *f, struct slice field, uint64_t hash,
                               struct table_place *at)
{
    struct table_probe probe;
    table_probe_start(&probe, &f->table, hash);
    struct field_item *item;
    while ((item = table_probe_next(&probe)) && !slice_equal(item_field(item), field))
        continue;
    *at = table_probe_place(&probe);
    return item;
}

bool fields_get(const struct fields *f, struct slice field, int64_t now_ms,
                struct hash_pair *pair)
{
    struct table_place at;
    const struct field_item *item = find(f, field, hash_field(f, field), &at);
    if (!item || !item_live(item, now_ms))
        return false;
    pair->field = field;
    pair->value = item_value(item);
    pair->expires_ms = item_expiry(item);
    return true;
}

/* Before the fields of this hash change. */
static inline void note_change(const struct fields *f, uint64_t hash)
{
    if (__builtin_expect(f->view != NULL, 0))
        view_note_hash(f->view, hash);
}

/* A field now has an expiry, HASH_NO_EXPIRY where it has none or has gone. */
static void note_expiry(struct fields *f, int64_t before_ms, int64_t after_ms)
{
    if (before_ms == after_ms)
        return;
    f->expiring -= before_ms != HASH_NO_EXPIRY;
    f->expiring += after_ms != HASH_NO_EXPIRY;
    if (after_ms < f->due_ms)
        f->due_ms = after_ms;
    if (after_ms < f->round_due_ms)
        f->round_due_ms = after_ms;
    if (f->expiring == 0) {
        f->due_ms = f->round_due_ms = HASH_NO_EXPIRY;
        f->due_position = 0;
    }
}

/* Writes over the value where the bytes that are there will do and would not mostly be wasted. */
static bool overwrite(struct field_item *item, struct slice value)
{
    struct value_block *block = item_block(item);
    if (block) {
        size_t cap = mem_usable(block) - sizeof(*block);
        if (value.size > cap || value.size <= INLINE_SIZE_MAX || value.size < cap / 2)
            return false;
        block->size = value.size;
        copy_bytes(block->bytes, value);
        return true;
    }
    char *area = item_area(item);
    size_t head = (size_t)(area - (char *)item);
    size_t usable = mem_usable(item);
    if (value.size > INLINE_SIZE_MAX || head + value.size > usable ||
        (value.size < item->value_size && head + value.size < usable / 2))
        return false;
    item->value_size = (uint16_t)value.size;
    copy_bytes(area, value);
    return true;
}

bool fields_set(struct fields *f, struct slice field, struct slice value, int64_t expires_ms,
                int64_t now_ms)
{
    uint64_t hash = hash_field(f, field);
    struct table_place at;
    struct field_item *old = find(f, field, hash, &at);
    int64_t before_ms = old ? item_expiry(old) : HASH_NO_EXPIRY;
    bool live = old && before_ms >= now_ms;
    if (expires_ms == HASH_KEEP_EXPIRY)
        expires_ms = live ? before_ms : HASH_NO_EXPIRY;
    note_change(f, hash);
    if (old && before_ms == expires_ms && overwrite(old, value))
        return !live;

    struct field_item *item = item_create(f, field, value, expires_ms);
    bool mark = expires_ms != HASH_NO_EXPIRY;
    if (old) {
        table_replace(at, item, mark);
        item_destroy(f, old);
    } else {
        table_add(&f->table, hash, item, mark);
    }
    note_expiry(f, before_ms, expires_ms);
    return !live;
}

/* The same field and value in an item with or without an expiry. */
static struct field_item *item_reshaped(struct fields *f, struct field_item *old,
                                        int64_t expires_ms)
{
    struct value_block *block = item_block(old);
    struct slice field = item_field(old);
    struct field_item *item = block ? item_with_block(f, field, block, expires_ms)
                                    : item_create(f, field, item_value(old), expires_ms);
    item_release(f, old);
    return item;
}

bool fields_set_expiry(struct fields *f, struct slice field, int64_t expires_ms, int64_t now_ms)
{
    uint64_t hash = hash_field(f, field);
    struct table_place at;
    struct field_item *item = find(f, field, hash, &at);
    if (!item || !item_live(item, now_ms))
        return false;
    note_change(f, hash);
    int64_t before_ms = item_expiry(item);
    if (before_ms != HASH_NO_EXPIRY && expires_ms != HASH_NO_EXPIRY)
        memcpy(item->bytes, &expires_ms, sizeof(expires_ms));
    else if (before_ms != expires_ms)
        table_replace(at, item_reshaped(f, item, expires_ms), expires_ms != HASH_NO_EXPIRY);
    note_expiry(f, before_ms, expires_ms);
    return true;
}

static void take_out(struct fields *f, struct field_item *item, struct table_place at,
                     uint64_t hash)
{
    int64_t before_ms = item_expiry(item);
    note_change(f, hash);
    table_remove(&f->table, at, hash);
    item_destroy(f, item);
    note_expiry(f, before_ms, HASH_NO_EXPIRY);
}

bool fields_remove(struct fields *f, struct slice field, int64_t now_ms)
{
    uint64_t hash = hash_field(f, field);
    struct table_place at;
    struct field_item *item = find(f, field, hash, &at);
    if (!item || !item_live(item, now_ms))
        return false;
    take_out(f, item, at, hash);
    return true;
}

/* --- What is due --- */

struct gathering {
    struct fields *f;
    int64_t now_ms;
    uint64_t due_count;
    struct field_item *due[SLICE_DUE_MAX];
};

/* What finds no room counts as met, and makes the next round begin at once. */
static void gather(void *context, void *visited, struct table_place at)
{
    struct gathering *g = context;
    struct field_item *item = visited;
    int64_t expires_ms = item_expiry(item);
    if (expires_ms < g->now_ms && g->due_count < SLICE_DUE_MAX)
        g->due[g->due_count++] = item;
    else if (expires_ms < g->f->round_due_ms)
        g->f->round_due_ms = expires_ms;
}

static uint64_t remove_slice(struct fields *f, int64_t now_ms, const struct value_gone *gone)
{
    struct gathering g;
    g.f = f;
    g.now_ms = now_ms;
    g.due_count = 0;
    if (f->due_position == 0)
        f->round_due_ms = HASH_NO_EXPIRY;
    f->due_position =
        table_scan(&f->table, f->due_position, 0, SLICE_BUCKETS, true, gather, &g);
    bool round_ended = f->due_position == 0;
    for (uint64_t i = 0; i < g.due_count; i++) {
        struct slice field = item_field(g.due[i]);
        uint64_t hash = hash_field(f, field);
        struct table_place at;
        struct field_item *item = find(f, field, hash, &at);
        assert(item == g.due[i]);
        if (gone)
            gone->visit(gone->context, field);
        take_out(f, item, at, hash);
    }
    if (round_ended)
        f->due_ms = f->round_due_ms;
    return g.due_count;
}

uint64_t fields_remove_due(struct fields *f, int64_t now_ms, uint64_t max,
                           const struct value_gone *gone)
{
    uint64_t removed = 0;
    for (uint64_t buckets = 0; f->due_ms < now_ms && removed < max && buckets < max;
         buckets += SLICE_BUCKETS)
        removed += remove_slice(f, now_ms, gone);
    return removed;
}

struct counting {
    int64_t now_ms;
    uint64_t count;
};

static void count_live(void *context, void *item, struct table_place at)
{
    struct counting *counting = context;
    counting->count += item_live(item, counting->now_ms);
}

/* table_scan changes nothing that its visitor does not. */
static struct table *table_of(const struct fields *f)
{
    return (struct table *)&f->table;
}

uint64_t fields_count_live(const struct fields *f, int64_t now_ms, uint64_t max)
{
    uint64_t staying = f->table.count - f->expiring;
    if (f->due_ms >= now_ms || staying >= max)
        return f->table.count < max ? f->table.count : max;
    struct counting live = {.now_ms = now_ms, .count = staying};
    uint64_t position = 0;
    do {
        position = table_scan(table_of(f), position, 0, SLICE_BUCKETS, true, count_live, &live);
    } while (position && live.count < max);
    return live.count < max ? live.count : max;
}

/* --- Going through --- */

struct scanning {
    int64_t now_ms;
    hash_visit *visit;
    void (*visit_item)(void *context, const struct field_item *item);
    void *context;
};

static void scan_item(void *context, void *item, struct table_place at)
{
    const struct scanning *scanning = context;
    if (!item_live(item, scanning->now_ms))
        return;
    struct hash_pair pair;
    fields_read(item, &pair);
    scanning->visit(scanning->context, &pair);
}

uint64_t fields_scan(const struct fields *f, uint64_t position, uint64_t count, int64_t now_ms,
                     hash_visit *visit, void *context)
{
    struct scanning scanning = {.now_ms = now_ms, .visit = visit, .context = context};
    return table_scan(table_of(f), position, count, count * 10, false, scan_item, &scanning);
}

static void each_item(void *context, void *item, struct table_place at)
{
    const struct scanning *scanning = context;
    if (item_live(item, scanning->now_ms))
        scanning->visit_item(scanning->context, item);
}

void fields_each_item(const struct fields *f, int64_t now_ms,
                      void (*visit)(void *context, const struct field_item *item), void *context)
{
    struct scanning scanning = {.now_ms = now_ms, .visit_item = visit, .context = context};
    table_scan(table_of(f), 0, 0, 0, false, each_item, &scanning);
}

const struct field_item *fields_random(const struct fields *f, struct value_random random)
{
    return table_random(&f->table, random.next, random.context);
}

/* --- Whole values --- */

static void free_item(void *context, void *item)
{
    item_destroy(context, item);
}

bool fields_free_some(struct fields *f, uint64_t *budget)
{
    assert(!f->view);
    uint64_t before = f->table.count;
    table_drain(&f->table, *budget, free_item, f);
    uint64_t freed = before - f->table.count;
    *budget -= freed < *budget ? freed : *budget;
    if (f->table.count)
        return false;
    assert(f->item_bytes == 0);
    table_deinit(&f->table);
    mem_free(f);
    return true;
}

static void copy_item(void *context, void *visited, struct table_place at)
{
    struct fields *copy = context;
    const struct field_item *item = visited;
    struct slice field = item_field(item);
    int64_t expires_ms = item_expiry(item);
    table_add(&copy->table, hash_field(copy, field),
              item_create(copy, field, item_value(item), expires_ms),
              expires_ms != HASH_NO_EXPIRY);
}

struct fields *fields_copy(const struct fields *f)
{
    struct fields *copy = fields_create(f->table.context);
    table_scan(table_of(f), 0, 0, 0, false, copy_item, copy);
    copy->expiring = f->expiring;
    copy->due_ms = copy->round_due_ms = f->due_ms;
    return copy;
}

struct moving {
    const struct mem_move *m;
    uint64_t looked_at;
};

static void move_item(void *context, void *visited, struct table_place at)
{
    struct moving *moving = context;
    struct field_item *item = mem_move_block(moving->m, visited);
    if (item != visited)
        table_replace(at, item, table_mark(at));
    struct value_block *block = item_block(item);
    if (block) {
        block = mem_move_block(moving->m, block);
        memcpy(item_area(item), &block, sizeof(block));
    }
    moving->looked_at += block ? 2 : 1;
}

uint64_t fields_move(struct fields *f, uint64_t position, uint64_t *budget,
                     const struct mem_move *m)
{
    struct moving moving = {.m = m};
    assert(!f->view);
    do {
        moving.looked_at++;
        position = table_move(&f->table, position, 1, m, move_item, &moving);
    } while (position && moving.looked_at < *budget);
    value_spend(budget, moving.looked_at);
    return position;
}

size_t fields_memory(const struct fields *f)
{
    return mem_usable(f) + table_memory(&f->table) + f->item_bytes;
}

struct checking {
    const struct fields *f;
    uint64_t expiring;
    size_t item_bytes;
    int64_t due_ms;
};

static void check_item(void *context, void *visited, struct table_place at)
{
    struct checking *checking = context;
    const struct field_item *item = visited;
    const struct value_block *block = item_block(item);
    int64_t expires_ms = item_expiry(item);
    assert(table_mark(at) == (expires_ms != HASH_NO_EXPIRY));
    assert((block != NULL) == (item_value(item).size > INLINE_SIZE_MAX));
    checking->item_bytes += mem_usable(item) + mem_usable(block);
    checking->expiring += expires_ms != HASH_NO_EXPIRY;
    if (expires_ms < checking->due_ms)
        checking->due_ms = expires_ms;
}

void fields_check(const struct fields *f)
{
    table_check(&f->table);
    struct checking checking = {.f = f, .due_ms = HASH_NO_EXPIRY};
    table_scan(table_of(f), 0, 0, 0, false, check_item, &checking);
    assert(checking.item_bytes == f->item_bytes && checking.expiring == f->expiring);
    assert(f->due_ms <= checking.due_ms);
    assert(f->expiring || (f->due_ms == HASH_NO_EXPIRY && f->due_position == 0));
}
