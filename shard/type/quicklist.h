/* Quicklists: a doubly linked chain of nodes, each a listpack of neighbouring elements.
 *
 * A list of millions of elements costs little more than their bytes, while a change moves only the
 * bytes of one node. An element that is large for a node has one of its own, a *plain* node, which
 * is just its text. Nodes know how many elements they hold, so that an index is found from the
 * nearer end in steps of a node. The idea and its name are Redis's.
 *
 * Nodes that are `depth` or more away from both ends (depth 0: none) are compressed with LZF, where
 * that saves something. Readers unpack a copy; a change unpacks the node and compresses it again.
 *
 * Limits are the caller's, and may differ from call to call; the depth stays. No node is empty.
 * Single-threaded. */
#pragma once

#include "shard/type/listpack.h"

struct quicklist_node {
    struct quicklist_node *next, *previous;
    unsigned char *bytes; /* owned: a listpack or a plain text; where compressed, its packed form */
    size_t size;          /* bytes when not compressed */
    uint32_t count;       /* elements; 1 where plain */
    uint32_t stamp;       /* see view_hook.h */
    bool plain;
    bool compressed;
};

struct view;

struct quicklist {
    struct quicklist_node *first, *last;
    uint64_t count;      /* elements */
    uint64_t node_count;
    size_t memory;       /* bytes held, itself included */
    uint32_t depth;
    uint32_t stamp;    /* of nodes that are new or not those of the view any more */
    struct view *view; /* open on it, or NULL */
    struct quicklist_node *moving; /* compaction goes on with it; NULL: none has begun */
};

/* What a node may hold. */
struct quicklist_limits {
    size_t size_max;    /* bytes of its listpack */
    uint32_t count_max; /* elements */
    size_t plain_min;   /* an element of so many bytes is large; not above LISTPACK_SIZE_MAX / 2 */
};

struct quicklist *quicklist_create(uint32_t depth);
struct quicklist *quicklist_copy(const struct quicklist *q);
/* A copy of one node, in no chain; and how such a node is freed. */
struct quicklist_node *quicklist_twin(const struct quicklist_node *n);
void quicklist_free_node(struct quicklist_node *n);
/* Frees nodes and takes their allocations off *budget until that is used up; true when all is
 * freed, the quicklist too. Until then it can only be freed on. */
bool quicklist_free_some(struct quicklist *q, uint64_t *budget);

/* Makes a listpack that is not empty the last node; takes it. */
void quicklist_append_listpack(struct quicklist *q, unsigned char *lp);
/* Takes the listpack out of a quicklist of one node, not plain, and frees the rest. */
unsigned char *quicklist_into_listpack(struct quicklist *q);

void quicklist_push(struct quicklist *q, const struct quicklist_limits *limits, bool head,
                    struct slice value);
/* Inserts before the element at `index`, or at the end where that is the count. */
void quicklist_insert(struct quicklist *q, const struct quicklist_limits *limits, uint64_t index,
                      struct slice value);
void quicklist_replace(struct quicklist *q, const struct quicklist_limits *limits, uint64_t index,
                       struct slice value);
/* Removes the first or the last element. */
void quicklist_drop(struct quicklist *q, bool head);
/* Removes `count` elements from `index` on, all of which exist. */
void quicklist_delete(struct quicklist *q, const struct quicklist_limits *limits, uint64_t index,
                      uint64_t count);
/* Removes the first `max` elements that equal `value`, or the last. Returns how many it was. */
uint64_t quicklist_remove(struct quicklist *q, const struct quicklist_limits *limits,
                          struct slice value, uint64_t max, bool backward);
/* The same in one listpack. */
uint64_t quicklist_remove_packed(unsigned char **lp, struct slice value, uint64_t max,
                                 bool backward);

struct mem_move;
/* Compaction: has nodes moved as `m` wants it, from the first on, or from where the last call
 * stopped, until *budget is used up. True where more are left. */
bool quicklist_move(struct quicklist *q, bool from_start, uint64_t *budget,
                    const struct mem_move *m);

/* The node of the element at `index`, which exists, and the element's index within it. */
struct quicklist_node *quicklist_seek(const struct quicklist *q, uint64_t index, uint32_t *offset);
/* The node's bytes, uncompressed. A compressed node leaves an allocation in *scratch, which the
 * caller frees; of others *scratch is NULL. */
const unsigned char *quicklist_view(const struct quicklist_node *n, unsigned char **scratch);
/* What a compressed node holds: one LZF block. */
struct slice quicklist_packed(const struct quicklist_node *n);

/* For tests: aborts on a broken invariant. */
void quicklist_check(const struct quicklist *q);
