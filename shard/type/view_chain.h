/* Views of chains of nodes: what lists and streams have in common.
 *
 * Nodes are written in the order of the chain at the cut. The walk has a cursor, a node of the
 * chain as it is now; before a node that is still to be written changes, a copy of it is *kept*,
 * and a node that is removed is kept itself. What is kept is *anchored* to a node of the chain,
 * before which it is to be written: a copy to the very node it was made of, and when a node is
 * removed, all that is anchored to it goes to the next one, before what is there already, or to the
 * chain's end. So the order of the cut is held without an index, and opening takes no time.
 *
 * Which nodes are still to be written is told by their stamps: view_hook.h. */
#pragma once

#include "shard/type/table.h"
#include "shard/type/view_inside.h"

struct view_chain_type {
    void *(*next)(const void *node);
    uint32_t *(*stamp)(void *node);
    void (*write)(struct buf *out, const void *node, bool compress);
    void (*destroy)(void *node);
    size_t (*memory)(const void *node);
};

/* Kept nodes, in their order. */
struct view_kept {
    struct view_keeping *first, *last;
};

struct view_chain {
    const struct view_chain_type *type;
    void *cursor;         /* the node that comes next; NULL: the end */
    uint32_t stamp;       /* the collection's */
    uint64_t left;        /* nodes of the cut not yet written */
    struct table anchors; /* struct view_anchor by node */
    struct view_kept tail; /* anchored to the end */
    struct view_kept due;  /* come by */
    size_t memory;        /* of what is kept */
};

/* What the views of such collections begin with. */
struct view_nodes {
    struct view view;
    struct view_chain chain;
};

void view_chain_init(struct view_chain *c, const struct view_chain_type *type, void *first,
                     uint64_t count, uint32_t stamp);
/* Appends nodes until `out` has about `size_max` bytes; true when all are written. */
bool view_chain_write(struct view_chain *c, struct buf *out, size_t size_max, bool compress);
void view_chain_deinit(struct view_chain *c);
static inline size_t view_chain_memory(const struct view_chain *c)
{
    return c->memory + table_memory(&c->anchors);
}
