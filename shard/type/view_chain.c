/* Views of chains of nodes: see view_chain.h. */
#include "shard/type/view_chain.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/type/view_hook.h"

/* What passing over a node costs, in the bytes of the budget. */
#define PASSING_COST 16

struct view_keeping {
    struct view_keeping *next;
    void *node; /* in no chain any more */
};

struct view_anchor {
    const void *node;
    struct view_kept kept; /* not empty */
};

/* --- What is kept --- */

/* Puts the second behind the first. */
static struct view_kept joined(struct view_kept a, struct view_kept b)
{
    if (!a.first)
        return b;
    if (!b.first)
        return a;
    a.last->next = b.first;
    return (struct view_kept){a.first, b.last};
}

static struct view_kept keep(struct view_chain *c, void *node)
{
    struct view_keeping *k = mem_alloc(sizeof(*k));
    *k = (struct view_keeping){NULL, node};
    c->memory += mem_usable(k) + c->type->memory(node);
    return (struct view_kept){k, k};
}

static void *take_first(struct view_chain *c, struct view_kept *kept)
{
    struct view_keeping *k = kept->first;
    void *node = k->node;
    kept->first = k->next;
    if (!kept->first)
        kept->last = NULL;
    c->memory -= mem_usable(k) + c->type->memory(node);
    mem_free(k);
    return node;
}

static void destroy_all(struct view_chain *c, struct view_kept *kept)
{
    while (kept->first)
        c->type->destroy(take_first(c, kept));
}

/* --- Anchors --- */

static uint64_t hash_node(const void *node)
{
    uint64_t hash = (uint64_t)(uintptr_t)node * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static uint64_t hash_anchor(const void *item, const void *context)
{
    (void)context;
    return hash_node(((const struct view_anchor *)item)->node);
}

static const struct table_type anchor_type = {hash_anchor};

static struct view_anchor *find_anchor(const struct view_chain *c, const void *node,
                                       struct table_place *at)
{
    struct table_probe probe;
    struct view_anchor *a;
    table_probe_start(&probe, &c->anchors, hash_node(node));
    while ((a = table_probe_next(&probe)) && a->node != node)
        continue;
    *at = table_probe_place(&probe);
    return a;
}

/* What is anchored to a node (NULL: the end), which then has nothing any more. */
static struct view_kept take_anchored(struct view_chain *c, const void *node)
{
    struct view_kept kept = {0};
    if (!node) {
        kept = c->tail;
        c->tail = (struct view_kept){0};
    } else if (c->anchors.count > 0) {
        struct table_place at;
        struct view_anchor *a = find_anchor(c, node, &at);
        if (a) {
            kept = a->kept;
            table_remove(&c->anchors, at, hash_node(node));
            mem_free(a);
        }
    }
    return kept;
}

static void put_anchored(struct view_chain *c, const void *node, struct view_kept kept)
{
    if (!node) {
        c->tail = kept;
    } else if (kept.first) {
        struct view_anchor *a = mem_alloc(sizeof(*a));
        *a = (struct view_anchor){node, kept};
        table_add(&c->anchors, hash_node(node), a, false);
    }
}

void view_keep_node(struct view *w, void *node, void *twin)
{
    struct view_chain *c = &((struct view_nodes *)w)->chain;
    assert(!w->owned && c->left > 0);
    put_anchored(c, node, joined(take_anchored(c, node), keep(c, twin)));
}

void view_remove_node(struct view *w, const void *node, const void *next, void *kept)
{
    struct view_chain *c = &((struct view_nodes *)w)->chain;
    assert(!w->owned && (!kept || c->left > 0));
    struct view_kept moving = take_anchored(c, node);
    if (kept)
        moving = joined(moving, keep(c, kept));
    if (moving.first)
        put_anchored(c, next, joined(moving, take_anchored(c, next)));
    if (c->cursor == node)
        c->cursor = (void *)next;
}

/* --- Writing --- */

static void write_due(struct view_chain *c, struct buf *out, bool compress)
{
    void *node = take_first(c, &c->due);
    c->type->write(out, node, compress);
    c->type->destroy(node);
    assert(c->left > 0);
    c->left--;
}

/* Writes the node at the cursor, if it is of the cut, and goes on. True where it was. */
static bool pass_node(struct view_chain *c, struct buf *out, bool compress)
{
    void *node = c->cursor;
    uint32_t *stamp = c->type->stamp(node);
    bool awaited = *stamp != c->stamp;
    if (awaited) {
        c->type->write(out, node, compress);
        *stamp = c->stamp;
        assert(c->left > 0);
        c->left--;
    }
    c->cursor = c->type->next(node);
    return awaited;
}

bool view_chain_write(struct view_chain *c, struct buf *out, size_t size_max, bool compress)
{
    size_t passed = 0;
    while (c->left > 0) {
        if (out->size + passed >= size_max)
            return false;
        if (!c->due.first)
            c->due = take_anchored(c, c->cursor);
        if (c->due.first) {
            write_due(c, out, compress);
            continue;
        }
        assert(c->cursor);
        passed += pass_node(c, out, compress) ? 0 : PASSING_COST;
    }
    return true;
}

/* --- Opening and closing --- */

void view_chain_init(struct view_chain *c, const struct view_chain_type *type, void *first,
                     uint64_t count, uint32_t stamp)
{
    *c = (struct view_chain){.type = type, .cursor = first, .stamp = stamp, .left = count};
    table_init(&c->anchors, &anchor_type, NULL);
}

static void destroy_anchor(void *context, void *item)
{
    struct view_anchor *a = item;
    destroy_all(context, &a->kept);
    mem_free(a);
}

void view_chain_deinit(struct view_chain *c)
{
    destroy_all(c, &c->due);
    destroy_all(c, &c->tail);
    table_drain(&c->anchors, UINT64_MAX, destroy_anchor, c);
    table_deinit(&c->anchors);
    assert(c->memory == 0);
}
