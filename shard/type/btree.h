/* A B+ tree of a sorted set's members, in the order of score, then of the member's bytes.
 *
 * Source: R. Bayer and E. McCreight, "Organization and Maintenance of Large Ordered Indices", 1972;
 * D. Comer, "The Ubiquitous B-Tree", 1979. Items are in the leaves, which are linked both ways. An
 * inner node holds for each child the child's first item and the number of items below it, so that
 * ranks are found on the way down (an order-statistic tree). Every node has the scores of its items
 * side by side: a search reads scores, and an item itself only where scores are equal. There are no
 * parent pointers: a change keeps the path that it came down by.
 *
 * The tree holds pointers to items and frees none: the caller owns them, and reads an item's score
 * freely but has it changed by btree_move. All items differ in their bytes. Single-threaded. */
#pragma once

#include "proto/slice.h"

/* Entries of a node. With 62 a leaf takes 1 KiB and an inner node 2 KiB. */
#define BTREE_NODE_MAX 62u
/* A node with fewer takes from a neighbour or joins it; at the tree's edges some have fewer. */
#define BTREE_NODE_MIN 15u

struct btree_item {
    double score;
    uint32_t size;
    char bytes[];
};

/* Of a leaf, its items; of an inner node, the first item below each child. */
struct btree_node {
    uint32_t count;
    double scores[BTREE_NODE_MAX];
    struct btree_item *items[BTREE_NODE_MAX];
};

struct btree_leaf {
    struct btree_node node;
    struct btree_leaf *previous, *next;
};

struct btree {
    struct btree_node *root; /* NULL: no items */
    uint64_t count;          /* items */
    uint64_t node_count;
    size_t node_bytes;       /* held by nodes */
    uint32_t height;         /* levels of inner nodes */
};

/* Between two items, or before or behind all. Good until the tree changes. */
struct btree_place {
    struct btree_leaf *leaf; /* NULL in an empty tree */
    uint32_t at;             /* the item behind the place; at the count, the next leaf's first */
};

/* -1, 0, 1 as `a` stands before, at or behind `b`: bytes are unsigned, a prefix comes first. */
static inline int btree_compare(struct slice a, struct slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.data, b.data, size) : 0;
    return order ? (order > 0) - (order < 0) : (a.size > b.size) - (a.size < b.size);
}

static inline struct slice btree_member(const struct btree_item *item)
{
    return (struct slice){item->bytes, item->size};
}

void btree_init(struct btree *t);
/* Frees about *budget nodes and takes them off; true when none is left. Until then the tree can
 * only be freed on. Items may be gone before. */
bool btree_free_some(struct btree *t, uint64_t *budget);

/* Adds an item that is not in the tree. */
void btree_insert(struct btree *t, struct btree_item *item);
/* Adds an item that stands behind all others. */
void btree_append(struct btree *t, struct btree_item *item);
/* Takes an item of the tree out. */
void btree_remove(struct btree *t, const struct btree_item *item);
/* Gives an item of the tree another score. */
void btree_move(struct btree *t, struct btree_item *item, double score);
/* Takes items from `rank` on out, `max` of them at most or as many as share a leaf, and gives them
 * to `items`. Returns how many; at least 1, where there are any. */
uint32_t btree_remove_run(struct btree *t, uint64_t rank, uint64_t max,
                          struct btree_item *items[BTREE_NODE_MAX]);

/* The items before this one. */
uint64_t btree_rank(const struct btree *t, const struct btree_item *item);
/* The items of a lower score; with `inclusive` also those of this one. */
uint64_t btree_count_scores(const struct btree *t, double score, bool inclusive);
/* The items whose bytes come before these, with `inclusive` also these: of a tree in which all
 * scores are equal; of another one, some number. */
uint64_t btree_count_members(const struct btree *t, struct slice member, bool inclusive);
/* The place before the item of this rank; from the count on, behind all. */
struct btree_place btree_place_of_rank(const struct btree *t, uint64_t rank);
/* The item behind the place, which moves on past it; NULL at the end. */
static inline struct btree_item *btree_next(struct btree_place *p);
/* The item before the place, which moves back before it; NULL at the start. */
static inline struct btree_item *btree_previous(struct btree_place *p);

/* Compaction: moves the leaf that holds this rank, which is below the count, and its items, as `m`
 * wants it, and with the first leaf below it an inner node. `moves` is told of each item before it
 * is freed. Returns the rank behind the leaf's last item. */
struct mem_move;
uint64_t btree_move_memory(struct btree *t, uint64_t rank, const struct mem_move *m,
                           void (*moves)(void *context, const struct btree_item *from,
                                         struct btree_item *to),
                           void *context);

/* For tests: aborts on a broken invariant. */
void btree_check(const struct btree *t);

/* ---- Inline bodies ---- */

/* Whoever walks reads the items one after the other, and they lie anywhere in memory. */
#define BTREE_AHEAD 6u

static inline struct btree_item *btree_next(struct btree_place *p)
{
    if (p->leaf && p->at == p->leaf->node.count)
        *p = (struct btree_place){p->leaf->next, 0};
    if (!p->leaf)
        return NULL;
    if (p->at + BTREE_AHEAD < p->leaf->node.count)
        __builtin_prefetch(p->leaf->node.items[p->at + BTREE_AHEAD]);
    return p->leaf->node.items[p->at++];
}

static inline struct btree_item *btree_previous(struct btree_place *p)
{
    if (p->leaf && p->at == 0) {
        struct btree_leaf *previous = p->leaf->previous;
        *p = (struct btree_place){previous, previous ? previous->node.count : 0};
    }
    if (!p->leaf)
        return NULL;
    if (p->at > BTREE_AHEAD)
        __builtin_prefetch(p->leaf->node.items[p->at - 1 - BTREE_AHEAD]);
    return p->leaf->node.items[--p->at];
}
