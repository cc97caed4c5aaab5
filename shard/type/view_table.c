/* Views of tables: sets, hashes and sorted sets (by their table of members).
 *
 * The order of elements in a file is free, so the view scans the table: its position is a point in
 * the table's scan order (table.h), and an element is written when the scan comes by its point.
 * Before an element is changed, removed or added, view_note_hash *notes* its hash: unless the
 * position is beyond it or it is noted already, all elements of that hash are written to a side
 * queue as they are, and the scan passes over that hash from then on. So at any time the elements
 * of the cut are those that are written, those in the queue, and those of the table that are not
 * behind the position and not noted; and each is in one of the three alone. (Noting hashes rather
 * than elements needs neither their bytes nor any room in them. Two elements of one hash are noted
 * together, which keeps this exact.)
 *
 * A bucket that was merged with one that is behind the position is met a second time; what is
 * behind the position in it is passed over by its point. */
#include <assert.h>

#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/type/hash_inside.h"
#include "shard/type/set_table.h"
#include "shard/type/view_hashes.h"
#include "shard/type/view_hook.h"
#include "shard/type/view_inside.h"
#include "shard/type/zset_inside.h"

/* Buckets that are read at once, so that their elements are fetched side by side. */
#define BATCH_BUCKETS 4
/* What passing over an element costs, in the bytes of the budget. */
#define PASSING_COST 16
/* A longer text is not compressed while a command waits for its own change. */
#define HASTY_COMPRESS_MAX 4096

struct element {
    const void *item;
    uint64_t hash;
};

struct view_table {
    struct view view;
    struct table *table;
    void (*write)(const struct view_table *w, struct buf *out, const void *item,
                  size_t compress_max);
    bool expiring;     /* hashes: fields with times, */
    int64_t due_ms;    /* none of which is before this one */
    uint64_t position; /* points below it are done; TABLE_POINT_END: all are */
    uint64_t left;     /* elements not yet written */
    struct view_hashes noted;
    struct view_queue side;
    struct element *batch;
    size_t batch_count, batch_cap;
};

/* --- Elements in RDB's form --- */

static void write_text(struct buf *out, struct slice text, size_t compress_max)
{
    rdb_write_string(out, text, text.size <= compress_max);
}

static void write_member(const struct view_table *w, struct buf *out, const void *item,
                         size_t compress_max)
{
    write_text(out, set_table_text(item), compress_max);
}

static void write_scored(const struct view_table *w, struct buf *out, const void *item,
                         size_t compress_max)
{
    const struct btree_item *scored = item;
    write_text(out, btree_member(scored), compress_max);
    buf_append(out, &scored->score, sizeof(scored->score));
}

static void write_field(const struct view_table *w, struct buf *out, const void *item,
                        size_t compress_max)
{
    struct hash_pair pair;
    fields_read(item, &pair);
    if (w->expiring)
        rdb_write_length(out, pair.expires_ms == HASH_NO_EXPIRY
                                  ? 0
                                  : (uint64_t)(pair.expires_ms - w->due_ms) + 1);
    write_text(out, pair.field, compress_max);
    write_text(out, pair.value, compress_max);
}

/* --- Noting --- */

static size_t compress_max(const struct view_table *w, size_t max)
{
    return w->view.compress ? max : 0;
}

static uint64_t hash_of(const struct view_table *w, const void *item)
{
    return w->table->type->hash(item, w->table->context);
}

static void count_written(struct view_table *w, uint64_t count)
{
    assert(count <= w->left);
    w->left -= count;
}

void view_note_hash(struct view *view, uint64_t hash)
{
    struct view_table *w = (struct view_table *)view;
    assert(!view->owned);
    if (table_point(hash) < w->position || !view_hashes_add(&w->noted, hash))
        return;
    struct table_probe probe;
    table_probe_start(&probe, w->table, hash);
    for (const void *item; (item = table_probe_next(&probe));) {
        if (hash_of(w, item) != hash)
            continue;
        w->write(w, view_queue_begin(&w->side), item, compress_max(w, HASTY_COMPRESS_MAX));
        view_queue_end(&w->side);
        count_written(w, 1);
    }
}

/* --- Scanning --- */

static void gather(void *context, void *item, struct table_place at)
{
    struct view_table *w = context;
    (void)at;
    table_prefetch(item);
    table_prefetch((const char *)item + TABLE_ITEM_AHEAD);
    if (w->batch_count == w->batch_cap) {
        w->batch_cap = w->batch_cap ? 2 * w->batch_cap : 8 * BATCH_BUCKETS;
        w->batch = mem_realloc(w->batch, w->batch_cap * sizeof(*w->batch));
    }
    w->batch[w->batch_count++].item = item;
}

/* Leaves in the batch what is to be written of it. */
static void select_batch(struct view_table *w)
{
    size_t count = 0;
    for (size_t i = 0; i < w->batch_count; i++) {
        struct element e = {w->batch[i].item, hash_of(w, w->batch[i].item)};
        if (table_point(e.hash) >= w->position && !view_hashes_have(&w->noted, e.hash))
            w->batch[count++] = e;
    }
    w->batch_count = count;
}

static bool is_among(const struct element *elements, size_t count, uint64_t hash)
{
    for (size_t i = 0; i < count; i++)
        if (elements[i].hash == hash)
            return true;
    return false;
}

/* Ends a batch of which only so many are written: they are noted, so that the scan can come by
 * again. */
static void break_off(struct view_table *w, struct buf *out, size_t written)
{
    for (size_t i = written; i < w->batch_count; i++) {
        if (!is_among(w->batch, written, w->batch[i].hash))
            continue;
        w->write(w, out, w->batch[i].item, compress_max(w, SIZE_MAX));
        count_written(w, 1);
    }
    for (size_t i = 0; i < written; i++)
        view_hashes_add(&w->noted, w->batch[i].hash);
}

/* One batch. False where it was broken off, for the size of its elements. */
static bool scan_batch(struct view_table *w, struct buf *out, size_t size_max)
{
    w->batch_count = 0;
    uint64_t next = table_scan(w->table, w->position, 0, BATCH_BUCKETS, false, gather, w);
    select_batch(w);
    for (size_t i = 0; i < w->batch_count; i++) {
        w->write(w, out, w->batch[i].item, compress_max(w, SIZE_MAX));
        count_written(w, 1);
        if (out->size >= size_max && i + 1 < w->batch_count) {
            break_off(w, out, i + 1);
            return false;
        }
    }
    w->position = next ? next : TABLE_POINT_END;
    return true;
}

static bool write_table(struct view *view, struct buf *out, size_t budget)
{
    struct view_table *w = (struct view_table *)view;
    size_t end = out->size + budget, passed = 0;
    if (!view_queue_drain(&w->side, out, end))
        return false;
    while (w->position < TABLE_POINT_END) {
        if (out->size + passed >= end || !scan_batch(w, out, end + budget))
            return false;
        passed += PASSING_COST * (w->batch_count + BATCH_BUCKETS);
    }
    assert(w->left == 0);
    return true;
}

/* --- Opening and closing --- */

static size_t memory_of(const struct view *view)
{
    const struct view_table *w = (const struct view_table *)view;
    return mem_usable(w) + mem_usable(w->batch) + w->noted.memory + w->side.memory;
}

static void destroy(struct view *view)
{
    struct view_table *w = (struct view_table *)view;
    view_hashes_deinit(&w->noted);
    view_queue_deinit(&w->side);
    mem_free(w->batch);
    mem_free(w);
}

static const struct view_kind table_kind = {write_table, memory_of, destroy};

static void open_hash(struct view_table *w, struct fields *f, struct buf *head)
{
    w->table = &f->table;
    w->write = write_field;
    w->expiring = f->due_ms != HASH_NO_EXPIRY;
    w->due_ms = f->due_ms;
    if (w->expiring)
        buf_append(head, &f->due_ms, sizeof(f->due_ms));
}

struct view *view_table_open(const struct value *v, bool compress)
{
    struct view_table *w = mem_alloc_zeroed(sizeof(*w));
    w->view = (struct view){.kind = &table_kind, .compress = compress};
    struct buf *head = view_queue_begin(&w->side);
    if (v->type == TYPE_HASH) {
        open_hash(w, v->data, head);
    } else if (v->type == TYPE_SET) {
        w->table = &((struct set_table *)v->data)->members;
        w->write = write_member;
    } else {
        w->table = &((struct zset *)v->data)->members;
        w->write = write_scored;
    }
    w->left = w->table->count;
    rdb_write_length(head, w->left);
    view_queue_end(&w->side);
    return &w->view;
}
