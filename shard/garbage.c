/* Freeing in steps: see garbage.h. */
#include "shard/garbage.h"

#include "proto/mem.h"
#include "shard/db_value.h"

/* A value, or the keys of a database. */
struct garbage_item {
    struct garbage_item *next;
    bool is_value;
    uint64_t bytes;
    struct value value;
    struct table keys;
};

static struct garbage_item *add(struct shard *s, uint64_t bytes)
{
    struct garbage_item *item = mem_alloc_zeroed(sizeof(*item));
    struct garbage *g = &s->garbage;
    if (g->last)
        g->last->next = item;
    else
        g->first = item;
    g->last = item;
    g->count++;
    g->bytes += bytes;
    item->bytes = bytes;
    s->stats.freed_later++;
    return item;
}

void garbage_add_value(struct shard *s, struct value v)
{
    struct garbage_item *item = add(s, value_memory(&v));
    item->is_value = true;
    item->value = v;
}

void garbage_add_keys(struct shard *s, struct table *keys)
{
    struct garbage_item *item = add(s, table_memory(keys));
    item->keys = *keys;
    table_init(keys, item->keys.type, item->keys.context);
}

/* A large value among the keys goes to the end of the list. */
static void free_entry(void *context, void *item)
{
    struct shard *s = context;
    struct entry *e = item;
    db_release_value(s, e, true);
    heap_free(&s->heap, e, entry_size(e));
}

static bool free_keys(struct shard *s, struct table *keys, uint64_t *budget)
{
    uint64_t before = keys->count;
    table_drain(keys, *budget, free_entry, s);
    uint64_t freed = before - keys->count;
    *budget -= freed < *budget ? freed : *budget;
    return keys->count == 0;
}

bool garbage_collect(struct shard *s, uint64_t budget)
{
    struct garbage *g = &s->garbage;
    while (g->first && budget > 0) {
        struct garbage_item *item = g->first;
        bool freed = item->is_value
                         ? value_ops_of(item->value.type)->free_some(&item->value, &budget)
                         : free_keys(s, &item->keys, &budget);
        if (!freed)
            break;
        g->first = item->next;
        if (!g->first)
            g->last = NULL;
        g->count--;
        g->bytes -= item->bytes;
        mem_free(item);
    }
    return g->first != NULL;
}
