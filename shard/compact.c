/* See compact.h. */
#include "shard/compact.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/db_value.h"
#include "shard/snapshot.h"
#include "shard/type/view.h"

/* Collections of more allocations than this would hold up commands for too long. */
#define PARTS_MAX 256
/* Longer strings fill pages of their own. */
#define STRING_MAX ((size_t)64 * 1024)
#define SLICE_BUCKETS 4

void compact_start(struct shard *s, const struct mem_move *values)
{
    s->compaction = (struct compaction){.on = true, .values = values};
    heap_evacuate(&s->heap);
}

static struct entry *move_entry(struct shard *s, struct entry *e, struct table_place at)
{
    size_t size = entry_size(e);
    if (!heap_evacuates(e, size))
        return e;
    struct entry *moved = heap_alloc(&s->heap, size);
    memcpy(moved, e, size);
    table_replace(at, moved, entry_marked(moved));
    heap_free(&s->heap, e, size);
    return moved;
}

static void move_string(struct shard *s, struct entry *e)
{
    struct entry_block *b = entry_pointer(e);
    if (b->size > STRING_MAX || !mem_move_wants(s->compaction.values, b))
        return;
    struct entry_block *moved = mem_alloc(sizeof(*b) + b->size);
    memcpy(moved, b, sizeof(*b) + b->size);
    s->block_bytes += mem_usable(moved) - mem_usable(b);
    memcpy(entry_value(e), &moved, sizeof(moved));
    mem_free(b);
}

static void move_collection(struct shard *s, struct entry *e)
{
    struct value v = db_value_of(e);
    const struct value_ops *ops = value_ops_of(v.type);
    if (!mem_move_wants(s->compaction.values, v.data) || ops->parts(&v) > PARTS_MAX)
        return;
    assert(!view_of(&v));
    struct value moved = ops->copy(&v);
    assert(ops->count(&moved) == ops->count(&v));
    s->block_bytes += value_memory(&moved) - value_memory(&v);
    e->encoding = moved.encoding & 15;
    memcpy(entry_value(e), &moved.data, sizeof(moved.data));
    value_free(&v);
}

static void move(void *context, void *item, struct table_place at)
{
    struct shard *s = context;
    struct entry *e = move_entry(s, item, at);
    if (!s->compaction.values)
        return;
    if (e->type != TYPE_STRING)
        move_collection(s, e);
    else if (e->encoding == ENC_BLOCK)
        move_string(s, e);
}

bool compact_step(struct shard *s, uint64_t buckets)
{
    struct compaction *c = &s->compaction;
    assert(!snapshot_active(s));
    for (uint64_t done = 0; c->on && done < buckets; done += SLICE_BUCKETS) {
        struct table *keys = &s->dbs[c->db].keys;
        c->position = table_scan(keys, c->position, 0, SLICE_BUCKETS, false, move, s);
        if (c->position == 0 && ++c->db == s->keyspace->db_count) {
            c->on = false;
            heap_evacuate_end(&s->heap);
        }
    }
    return c->on;
}
