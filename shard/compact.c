/* See compact.h. */
#include "shard/compact.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/db_value.h"
#include "shard/snapshot.h"
#include "shard/type/view.h"

/* Collections of more allocations than this are moved in several steps. */
#define PARTS_MAX 32
/* Blocks of a large collection that a step looks at. */
#define STEP_BLOCKS 128
/* Longer strings fill pages of their own. */
#define STRING_MAX ((size_t)64 * 1024)

void compact_start(struct shard *s, const struct mem_move *values)
{
    compact_stop(s);
    s->compaction.on = true;
    s->compaction.values = values;
}

void compact_stop(struct shard *s)
{
    struct compaction *c = &s->compaction;
    for (uint32_t i = 0; i < c->large_count; i++)
        mem_free(c->large[i].key);
    mem_free(c->large);
    *c = (struct compaction){0};
    heap_evacuate_end(&s->heap);
}

static struct entry *move_entry(struct shard *s, struct entry *e, struct table_place at)
{
    size_t size = entry_size(e);
    if (!heap_evacuates(&s->heap, e, size))
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

/* A large collection is found again by its key: anything may become of it between two steps. */
static void put_off(struct shard *s, const struct entry *e)
{
    struct compaction *c = &s->compaction;
    struct slice key = entry_key(e);
    if (c->large_count == c->large_cap) {
        c->large_cap = c->large_cap ? 2 * c->large_cap : 16;
        c->large = mem_realloc(c->large, c->large_cap * sizeof(*c->large));
    }
    struct compact_large *l = &c->large[c->large_count++];
    *l = (struct compact_large){.key = mem_alloc(key.size), .key_size = key.size};
    if (key.size)
        memcpy(l->key, key.data, key.size);
}

static uint64_t move_value(struct shard *s, struct entry *e, uint64_t position, uint64_t budget)
{
    struct value v = db_value_of(e);
    if (view_of(&v))
        return 0;
    position = value_ops_of(v.type)->move(&v, position, &budget, s->compaction.values);
    memcpy(entry_value(e), &v.data, sizeof(v.data));
    return position;
}

static void move_collection(struct shard *s, struct entry *e)
{
    struct value v = db_value_of(e);
    if (value_ops_of(v.type)->parts(&v) > PARTS_MAX)
        put_off(s, e);
    else
        move_value(s, e, 0, UINT64_MAX);
}

/* Goes on with the large collection that was met last. */
static void step_large(struct shard *s)
{
    struct compaction *c = &s->compaction;
    struct compact_large *l = &c->large[c->large_count - 1];
    struct slice key = {l->key, l->key_size};
    struct place p = db_place_as_is(s, c->db, key, keyspace_hash(s->keyspace, key));
    if (p.entry && p.entry->type != TYPE_STRING)
        l->position = move_value(s, p.entry, l->position, STEP_BLOCKS);
    else
        l->position = 0;
    if (l->position)
        return;
    mem_free(l->key);
    c->large_count--;
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

static void step_bucket(struct shard *s)
{
    struct compaction *c = &s->compaction;
    static const struct mem_move none;
    const struct mem_move *m = c->values ? c->values : &none;
    c->position = table_move(&s->dbs[c->db].keys, c->position, 1, m, move, s);
    c->scanned = c->position == 0;
}

bool compact_step(struct shard *s, uint64_t buckets)
{
    struct compaction *c = &s->compaction;
    assert(!snapshot_active(s));
    for (uint64_t done = 0; c->on && done < buckets; done++) {
        if (c->large_count)
            step_large(s);
        else
            step_bucket(s);
        if (c->large_count || !c->scanned)
            continue;
        c->scanned = false;
        if (++c->db == s->keyspace->db_count)
            compact_stop(s);
    }
    return c->on;
}
