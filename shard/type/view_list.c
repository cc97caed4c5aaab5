/* Views of lists: the chain of their nodes, as a value of type RDB_LIST_QUICKLIST_2. */
#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/type/quicklist.h"
#include "shard/type/view_chain.h"

/* What a node in a file is. */
#define CONTAINER_PLAIN 1
#define CONTAINER_PACKED 2

static void *next_node(const void *node)
{
    return ((const struct quicklist_node *)node)->next;
}

static uint32_t *node_stamp(void *node)
{
    return &((struct quicklist_node *)node)->stamp;
}

static void write_node(struct buf *out, const void *node, bool compress)
{
    const struct quicklist_node *n = node;
    rdb_write_length(out, n->plain ? CONTAINER_PLAIN : CONTAINER_PACKED);
    if (n->compressed)
        rdb_write_compressed(out, quicklist_packed(n), n->size);
    else
        rdb_write_string(out, (struct slice){(const char *)n->bytes, n->size}, compress);
}

static void destroy_node(void *node)
{
    quicklist_free_node(node);
}

static size_t node_memory(const void *node)
{
    return mem_usable(node) + mem_usable(((const struct quicklist_node *)node)->bytes);
}

static const struct view_chain_type node_type = {next_node, node_stamp, write_node, destroy_node,
                                                 node_memory};

struct view_list {
    struct view_nodes nodes;
    bool begun;
};

static bool write_list(struct view *view, struct buf *out, size_t budget)
{
    struct view_list *w = (struct view_list *)view;
    size_t end = out->size + budget;
    if (!w->begun)
        rdb_write_length(out, w->nodes.chain.left);
    w->begun = true;
    return view_chain_write(&w->nodes.chain, out, end, view->compress);
}

static size_t memory_of(const struct view *view)
{
    return mem_usable(view) + view_chain_memory(&((const struct view_nodes *)view)->chain);
}

static void destroy(struct view *view)
{
    view_chain_deinit(&((struct view_nodes *)view)->chain);
    mem_free(view);
}

static const struct view_kind list_kind = {write_list, memory_of, destroy};

struct view *view_list_open(const struct value *v, bool compress)
{
    struct quicklist *q = v->data;
    struct view_list *w = mem_alloc_zeroed(sizeof(*w));
    w->nodes.view = (struct view){.kind = &list_kind, .compress = compress};
    view_chain_init(&w->nodes.chain, &node_type, q->first, q->node_count, ++q->stamp);
    return &w->nodes.view;
}
