/* Quicklists: nodes, their compression, and changes of the chain.
 *
 * Every change of a node's bytes lies between node_open and node_close, which keep the account of
 * memory. Which nodes are compressed is put right at the end of a change: `settle` for the two ends
 * of the chain, which shift as nodes come and go, and `repack` for nodes that were opened. */
#include "shard/type/quicklist.h"

#include <assert.h>
#include <liblzf/lzf.h>

#include "proto/mem.h"
#include "shard/type/view_hook.h"

/* What a small element's encoding may add to its text: an estimate, the same as Redis's, so that
 * nodes end where Redis ends them. */
#define ELEMENT_OVERHEAD 8
/* A node of more bytes is not pushed to at the front of the list. */
#define FRONT_SIZE_MAX 2048
#define LISTPACK_EMPTY_SIZE (LISTPACK_HEADER_SIZE + 1)

/* Smaller nodes, and those that would save less, stay as they are. */
#define COMPRESS_SIZE_MIN 48
#define COMPRESS_SAVING_MIN 8

/* What `bytes` of a compressed node points to. */
struct packed {
    size_t size;
    unsigned char bytes[];
};

/* Nodes. */

static struct quicklist_node *node_of(unsigned char *bytes, size_t size, uint32_t count, bool plain)
{
    struct quicklist_node *n = mem_alloc(sizeof(*n));
    *n = (struct quicklist_node){.bytes = bytes, .size = size, .count = count, .plain = plain};
    return n;
}

static bool is_large(const struct quicklist_limits *limits, struct slice value)
{
    return value.size >= limits->plain_min;
}

static struct quicklist_node *node_of_plain(struct slice value)
{
    unsigned char *bytes = mem_alloc(value.size);
    if (value.size > 0)
        memcpy(bytes, value.data, value.size);
    return node_of(bytes, value.size, 1, true);
}

static struct quicklist_node *node_of_value(const struct quicklist_limits *limits,
                                            struct slice value)
{
    if (is_large(limits, value))
        return node_of_plain(value);
    unsigned char *lp = listpack_create(value.size + ELEMENT_OVERHEAD);
    listpack_append(&lp, value);
    return node_of(lp, listpack_size(lp), 1, false);
}

static size_t node_held(const struct quicklist_node *n)
{
    return mem_usable(n) + mem_usable(n->bytes);
}

void quicklist_free_node(struct quicklist_node *n)
{
    mem_free(n->bytes);
    mem_free(n);
}

/* Links a node in before another one; NULL: at the end. */
static void link_before(struct quicklist *q, struct quicklist_node *n, struct quicklist_node *next)
{
    n->next = next;
    n->previous = next ? next->previous : q->last;
    *(n->previous ? &n->previous->next : &q->first) = n;
    *(n->next ? &n->next->previous : &q->last) = n;
    n->stamp = q->stamp;
    q->node_count++;
    q->count += n->count;
    q->memory += node_held(n);
}

/* A view has yet to write the node as it is. */
static bool is_awaited(const struct quicklist *q, const struct quicklist_node *n)
{
    return __builtin_expect(q->view != NULL, 0) && n->stamp != q->stamp;
}

static void remove_node(struct quicklist *q, struct quicklist_node *n)
{
    *(n->previous ? &n->previous->next : &q->first) = n->next;
    *(n->next ? &n->next->previous : &q->last) = n->previous;
    if (q->moving == n)
        q->moving = n->next;
    q->node_count--;
    q->count -= n->count;
    q->memory -= node_held(n);
    bool awaited = is_awaited(q, n);
    if (__builtin_expect(q->view != NULL, 0))
        view_remove_node(q->view, n, n->next, awaited ? n : NULL);
    if (!awaited)
        quicklist_free_node(n);
}

/* Compression. */

static unsigned char *unpacked(const struct quicklist_node *n)
{
    const struct packed *p = (const struct packed *)(const void *)n->bytes;
    unsigned char *bytes = mem_alloc(n->size);
    unsigned size = lzf_decompress(p->bytes, (unsigned)p->size, bytes, (unsigned)n->size);
    assert(size == n->size);
    return bytes;
}

/* The packed form, or NULL where there is no use in it. */
static struct packed *packed_of(const struct quicklist_node *n)
{
    if (n->size < COMPRESS_SIZE_MIN || n->size > UINT32_MAX)
        return NULL;
    size_t size_max = n->size - COMPRESS_SAVING_MIN;
    struct packed *p = mem_alloc(sizeof(*p) + size_max);
    p->size = lzf_compress(n->bytes, (unsigned)n->size, p->bytes, (unsigned)size_max);
    if (p->size == 0) {
        mem_free(p);
        return NULL;
    }
    return mem_realloc(p, sizeof(*p) + p->size);
}

static void exchange_bytes(struct quicklist *q, struct quicklist_node *n, void *bytes)
{
    q->memory += mem_usable(bytes) - mem_usable(n->bytes);
    mem_free(n->bytes);
    n->bytes = bytes;
    n->compressed = !n->compressed;
}

static void decompress(struct quicklist *q, struct quicklist_node *n)
{
    if (n->compressed)
        exchange_bytes(q, n, unpacked(n));
}

static void compress(struct quicklist *q, struct quicklist_node *n)
{
    if (n->compressed)
        return;
    struct packed *p = packed_of(n);
    if (p)
        exchange_bytes(q, n, p);
}

/* True where the node is to be compressed: further from both ends than the depth. */
static bool is_inner(const struct quicklist *q, const struct quicklist_node *n)
{
    if (q->depth == 0 || q->node_count <= 2 * (uint64_t)q->depth)
        return false;
    const struct quicklist_node *front = q->first, *back = q->last;
    for (uint32_t i = 0; i < q->depth; i++) {
        if (front == n || back == n)
            return false;
        front = front->next;
        back = back->previous;
    }
    return true;
}

static void repack(struct quicklist *q, struct quicklist_node *n)
{
    if (n && is_inner(q, n))
        compress(q, n);
}

/* After nodes were linked or removed: those near the ends are open, and those behind them
 * compressed. A change links two nodes at most, so it moves no more than two across the border. */
static void settle(struct quicklist *q)
{
    if (q->depth == 0)
        return;
    struct quicklist_node *front = q->first, *back = q->last;
    for (uint32_t i = 0; i < q->depth && front; i++) {
        decompress(q, front);
        decompress(q, back);
        front = front->next;
        back = back->previous;
    }
    for (int i = 0; i < 2 && front; i++) {
        repack(q, front);
        repack(q, back);
        front = front->next;
        back = back->previous;
    }
}

/* Changes of one node. */

struct quicklist_node *quicklist_twin(const struct quicklist_node *n)
{
    size_t size = n->size;
    if (n->compressed)
        size = sizeof(struct packed) + ((const struct packed *)(const void *)n->bytes)->size;
    unsigned char *bytes = mem_alloc(size);
    if (size > 0)
        memcpy(bytes, n->bytes, size);
    struct quicklist_node *twin = node_of(bytes, n->size, n->count, n->plain);
    twin->compressed = n->compressed;
    return twin;
}

/* Before the node's elements change. */
static void keep_for_view(struct quicklist *q, struct quicklist_node *n)
{
    if (!is_awaited(q, n))
        return;
    view_keep_node(q->view, n, quicklist_twin(n));
    n->stamp = q->stamp;
}

static unsigned char **node_open(struct quicklist *q, struct quicklist_node *n)
{
    assert(!n->plain);
    keep_for_view(q, n);
    decompress(q, n);
    q->memory -= mem_usable(n->bytes);
    return &n->bytes;
}

static void node_close(struct quicklist *q, struct quicklist_node *n, int64_t added)
{
    q->memory += mem_usable(n->bytes);
    n->size = listpack_size(n->bytes);
    n->count += (uint32_t)added;
    q->count += (uint64_t)added;
}

/* True where the node has room for an element that is not large. */
static bool has_room(const struct quicklist_node *n, const struct quicklist_limits *limits,
                     struct slice value)
{
    return !n->plain && n->size + value.size + ELEMENT_OVERHEAD <= limits->size_max &&
           n->count < limits->count_max;
}

static void insert_in(struct quicklist *q, struct quicklist_node *n, uint32_t offset,
                      struct slice value)
{
    unsigned char **lp = node_open(q, n);
    uint32_t at = offset < n->count ? listpack_seek(*lp, offset) : listpack_end(*lp);
    listpack_insert(lp, at, value);
    node_close(q, n, 1);
}

static void delete_in(struct quicklist *q, struct quicklist_node *n, uint32_t offset,
                      uint32_t count)
{
    unsigned char **lp = node_open(q, n);
    listpack_delete(lp, listpack_seek(*lp, offset), count);
    node_close(q, n, -(int64_t)count);
}

/* Splitting and merging. */

static bool can_merge(const struct quicklist_node *a, const struct quicklist_node *b,
                      size_t size_max, uint32_t count_max)
{
    return a && b && !a->plain && !b->plain &&
           a->size + b->size - LISTPACK_EMPTY_SIZE <= size_max &&
           (uint64_t)a->count + b->count <= count_max;
}

/* Takes the second node's elements into the first, its neighbour. */
static void merge(struct quicklist *q, struct quicklist_node *a, struct quicklist_node *b)
{
    assert(a->next == b);
    decompress(q, b);
    unsigned char **lp = node_open(q, a);
    listpack_append_all(lp, b->bytes);
    node_close(q, a, b->count);
    remove_node(q, b);
}

/* Returns the node that has the elements of `n` then. */
static struct quicklist_node *merge_with_previous(struct quicklist *q,
                                                  const struct quicklist_limits *limits,
                                                  struct quicklist_node *n)
{
    struct quicklist_node *previous = n ? n->previous : NULL;
    if (!can_merge(previous, n, limits->size_max, limits->count_max))
        return n;
    merge(q, previous, n);
    return previous;
}

static struct quicklist_node *merge_with_next(struct quicklist *q,
                                              const struct quicklist_limits *limits,
                                              struct quicklist_node *n)
{
    if (n && can_merge(n, n->next, limits->size_max, limits->count_max))
        merge(q, n, n->next);
    return n;
}

static struct quicklist_limits half_of(const struct quicklist_limits *limits)
{
    return (struct quicklist_limits){limits->size_max / 2, limits->count_max / 2,
                                     limits->plain_min};
}

/* After a removal: neighbours that fit in half a node become one. Two nodes stay two, for whether a
 * list is one node is what its encoding depends on. */
static struct quicklist_node *join_small(struct quicklist *q,
                                         const struct quicklist_limits *limits,
                                         struct quicklist_node *n)
{
    struct quicklist_limits half = half_of(limits);
    if (q->node_count > 2)
        n = merge_with_previous(q, &half, n);
    if (q->node_count > 2)
        n = merge_with_next(q, &half, n);
    return n;
}

/* Makes the elements from `offset` on a node of their own, the next; returns that. */
static struct quicklist_node *split(struct quicklist *q, struct quicklist_node *n, uint32_t offset)
{
    uint32_t moved = n->count - offset;
    unsigned char **lp = node_open(q, n);
    unsigned char *other = listpack_copy(*lp);
    listpack_delete(lp, listpack_seek(*lp, offset), moved);
    listpack_delete(&other, listpack_first(other), offset);
    node_close(q, n, -(int64_t)moved);
    struct quicklist_node *second = node_of(other, listpack_size(other), moved, false);
    link_before(q, second, n->next);
    return second;
}

/* Merges a new node, and its neighbours, with what is beside them, and compresses what shall be. */
static void settle_around(struct quicklist *q, const struct quicklist_limits *limits,
                          struct quicklist_node *n)
{
    n = merge_with_previous(q, limits, n);
    n = merge_with_next(q, limits, n);
    merge_with_previous(q, limits, n->previous);
    merge_with_next(q, limits, n->next);
    settle(q);
    repack(q, n->previous);
    repack(q, n);
    repack(q, n->next);
}

/* The whole. */

struct quicklist *quicklist_create(uint32_t depth)
{
    struct quicklist *q = mem_alloc(sizeof(*q));
    *q = (struct quicklist){.memory = mem_usable(q), .depth = depth};
    return q;
}

struct quicklist *quicklist_copy(const struct quicklist *q)
{
    struct quicklist *copy = quicklist_create(q->depth);
    for (const struct quicklist_node *n = q->first; n; n = n->next)
        link_before(copy, quicklist_twin(n), NULL);
    return copy;
}

bool quicklist_free_some(struct quicklist *q, uint64_t *budget)
{
    assert(!q->view);
    while (q->first && *budget > 0) {
        struct quicklist_node *n = q->first;
        q->first = n->next;
        quicklist_free_node(n);
        *budget -= *budget < 2 ? *budget : 2;
    }
    if (q->first)
        return false;
    mem_free(q);
    return true;
}

static struct quicklist_node *move_node(struct quicklist *q, struct quicklist_node *n,
                                        const struct mem_move *m)
{
    n = mem_move_block(m, n);
    *(n->previous ? &n->previous->next : &q->first) = n;
    *(n->next ? &n->next->previous : &q->last) = n;
    n->bytes = mem_move_block(m, n->bytes);
    return n;
}

bool quicklist_move(struct quicklist *q, bool from_start, uint64_t *budget,
                    const struct mem_move *m)
{
    assert(!q->view);
    if (from_start)
        q->moving = q->first;
    for (; q->moving && *budget > 0; *budget -= *budget < 2 ? *budget : 2)
        q->moving = move_node(q, q->moving, m)->next;
    return q->moving != NULL;
}

void quicklist_append_listpack(struct quicklist *q, unsigned char *lp)
{
    uint32_t count = listpack_count(lp);
    assert(count > 0);
    link_before(q, node_of(lp, listpack_size(lp), count, false), NULL);
    settle(q);
}

unsigned char *quicklist_into_listpack(struct quicklist *q)
{
    struct quicklist_node *n = q->first;
    assert(q->node_count == 1 && !n->plain && !n->compressed);
    if (q->view) {
        keep_for_view(q, n);
        view_remove_node(q->view, n, NULL, NULL);
        view_leave(q->view);
    }
    unsigned char *lp = n->bytes;
    mem_free(n);
    mem_free(q);
    return lp;
}

/* Changes. */

/* A push to the front moves all of the node: in one of 8 KiB that would be a sixth of the command's
 * time. Where nodes are bounded by size, a new one is begun earlier at that end. */
static bool long_for_front(const struct quicklist_node *n, const struct quicklist_limits *limits)
{
    return n->size > FRONT_SIZE_MAX && limits->count_max == UINT32_MAX;
}

void quicklist_push(struct quicklist *q, const struct quicklist_limits *limits, bool head,
                    struct slice value)
{
    struct quicklist_node *n = head ? q->first : q->last;
    if (n && !is_large(limits, value) && has_room(n, limits, value) &&
        !(head && long_for_front(n, limits))) {
        insert_in(q, n, head ? 0 : n->count, value);
        return;
    }
    link_before(q, node_of_value(limits, value), head ? q->first : NULL);
    settle(q);
}

void quicklist_insert(struct quicklist *q, const struct quicklist_limits *limits, uint64_t index,
                      struct slice value)
{
    assert(index <= q->count);
    if (index == 0 || index == q->count) {
        quicklist_push(q, limits, index == 0, value);
        return;
    }
    uint32_t offset;
    struct quicklist_node *n = quicklist_seek(q, index, &offset);
    bool large = is_large(limits, value);
    if (!large && !has_room(n, limits, value) && offset == 0) {
        n = n->previous;
        offset = n->count;
    }
    if (!large && has_room(n, limits, value)) {
        insert_in(q, n, offset, value);
        repack(q, n);
        return;
    }
    struct quicklist_node *next = n;
    if (offset == n->count)
        next = n->next;
    else if (offset > 0)
        next = split(q, n, offset);
    struct quicklist_node *own = node_of_value(limits, value);
    link_before(q, own, next);
    settle_around(q, limits, own);
}

static bool replace_in(struct quicklist *q, const struct quicklist_limits *limits,
                       struct quicklist_node *n, uint32_t offset, struct slice value)
{
    if (n->plain || is_large(limits, value) ||
        (n->count > 1 && n->size + value.size + ELEMENT_OVERHEAD > limits->size_max))
        return false;
    unsigned char **lp = node_open(q, n);
    listpack_replace(lp, listpack_seek(*lp, offset), value);
    node_close(q, n, 0);
    repack(q, n);
    return true;
}

void quicklist_replace(struct quicklist *q, const struct quicklist_limits *limits, uint64_t index,
                       struct slice value)
{
    uint32_t offset;
    struct quicklist_node *n = quicklist_seek(q, index, &offset);
    if (replace_in(q, limits, n, offset, value))
        return;
    quicklist_insert(q, limits, index, value);
    quicklist_delete(q, limits, index + 1, 1);
}

void quicklist_drop(struct quicklist *q, bool head)
{
    struct quicklist_node *n = head ? q->first : q->last;
    if (n->count > 1) {
        unsigned char **lp = node_open(q, n);
        listpack_delete(lp, head ? listpack_first(*lp) : listpack_last(*lp), 1);
        node_close(q, n, -1);
    } else {
        remove_node(q, n);
        settle(q);
    }
}

void quicklist_delete(struct quicklist *q, const struct quicklist_limits *limits, uint64_t index,
                      uint64_t count)
{
    assert(count <= q->count && index <= q->count - count);
    if (count == 0)
        return;
    uint32_t offset;
    struct quicklist_node *n = quicklist_seek(q, index, &offset);
    struct quicklist_node *left = NULL, *right = NULL; /* those that lose a part */
    while (count > 0) {
        struct quicklist_node *next = n->next;
        uint32_t part = n->count - offset < count ? n->count - offset : (uint32_t)count;
        if (part == n->count) {
            remove_node(q, n);
        } else {
            delete_in(q, n, offset, part);
            *(offset > 0 ? &left : &right) = n;
        }
        count -= part;
        offset = 0;
        n = next;
    }
    n = join_small(q, limits, left ? left : right);
    settle(q);
    repack(q, n);
    repack(q, n ? n->next : NULL);
}

static uint64_t remove_forward(unsigned char **lp, struct slice value, uint64_t max)
{
    uint64_t removed = 0;
    uint32_t at = listpack_first(*lp);
    while (removed < max && (at = listpack_find(*lp, at, value, 0)) != LISTPACK_NONE) {
        /* Equal neighbours go together, so that a node of them is not moved once for each. */
        uint32_t run = 1;
        uint32_t next = listpack_next(*lp, at);
        while (next != LISTPACK_NONE && run < max - removed && listpack_equal(*lp, next, value)) {
            run++;
            next = listpack_next(*lp, next);
        }
        at = listpack_delete(lp, at, run);
        removed += run;
    }
    return removed;
}

static uint64_t remove_backward(unsigned char **lp, struct slice value, uint64_t max)
{
    uint64_t removed = 0;
    uint32_t at = listpack_last(*lp);
    while (removed < max && at != LISTPACK_NONE) {
        uint32_t previous = listpack_previous(*lp, at);
        if (!listpack_equal(*lp, at, value)) {
            at = previous;
            continue;
        }
        uint32_t run = 1;
        while (previous != LISTPACK_NONE && run < max - removed &&
               listpack_equal(*lp, previous, value)) {
            run++;
            at = previous;
            previous = listpack_previous(*lp, at);
        }
        listpack_delete(lp, at, run);
        at = previous;
        removed += run;
    }
    return removed;
}

uint64_t quicklist_remove_packed(unsigned char **lp, struct slice value, uint64_t max,
                                 bool backward)
{
    return backward ? remove_backward(lp, value, max) : remove_forward(lp, value, max);
}

static bool node_has(const struct quicklist_node *n, struct slice value)
{
    if (n->plain && n->size != value.size)
        return false;
    unsigned char *scratch;
    const unsigned char *bytes = quicklist_view(n, &scratch);
    bool has;
    if (n->plain)
        has = slice_equal((struct slice){(const char *)bytes, n->size}, value);
    else
        has = listpack_find(bytes, listpack_first(bytes), value, 0) != LISTPACK_NONE;
    mem_free(scratch);
    return has;
}

/* Joins a node with the neighbour that a pass over the chain has behind it. */
static struct quicklist_node *join_passed(struct quicklist *q,
                                          const struct quicklist_limits *limits,
                                          struct quicklist_node *n, bool backward)
{
    struct quicklist_limits half = half_of(limits);
    if (q->node_count <= 2)
        return n;
    return backward ? merge_with_next(q, &half, n) : merge_with_previous(q, &half, n);
}

uint64_t quicklist_remove(struct quicklist *q, const struct quicklist_limits *limits,
                          struct slice value, uint64_t max, bool backward)
{
    uint64_t removed = 0;
    struct quicklist_node *next;
    for (struct quicklist_node *n = backward ? q->last : q->first; n && removed < max; n = next) {
        next = backward ? n->previous : n->next;
        if (!node_has(n, value))
            continue;
        uint64_t found = 1;
        if (!n->plain) {
            unsigned char **lp = node_open(q, n);
            found = quicklist_remove_packed(lp, value, max - removed, backward);
            node_close(q, n, -(int64_t)found);
        }
        removed += found;
        if (n->plain || n->count == 0)
            remove_node(q, n);
        else
            repack(q, join_passed(q, limits, n, backward));
    }
    settle(q);
    return removed;
}

/* Reading. */

struct quicklist_node *quicklist_seek(const struct quicklist *q, uint64_t index, uint32_t *offset)
{
    assert(index < q->count);
    struct quicklist_node *n;
    if (index < q->count / 2) {
        n = q->first;
        while (index >= n->count) {
            index -= n->count;
            n = n->next;
        }
    } else {
        n = q->last;
        uint64_t start = q->count - n->count; /* the index of the node's first element */
        while (index < start) {
            n = n->previous;
            start -= n->count;
        }
        index -= start;
    }
    *offset = (uint32_t)index;
    return n;
}

const unsigned char *quicklist_view(const struct quicklist_node *n, unsigned char **scratch)
{
    *scratch = n->compressed ? unpacked(n) : NULL;
    return n->compressed ? *scratch : n->bytes;
}

struct slice quicklist_packed(const struct quicklist_node *n)
{
    assert(n->compressed);
    const struct packed *p = (const struct packed *)(const void *)n->bytes;
    return (struct slice){(const char *)p->bytes, p->size};
}

/* Checking. */

static void check_node(const struct quicklist *q, const struct quicklist_node *n)
{
    unsigned char *scratch;
    const unsigned char *bytes = quicklist_view(n, &scratch);
    if (n->plain) {
        assert(n->count == 1);
    } else {
        assert(listpack_valid(bytes, n->size));
        assert(n->count > 0 && n->count == listpack_count(bytes));
    }
    mem_free(scratch);
    if (is_inner(q, n)) {
        struct packed *p = n->compressed ? NULL : packed_of(n);
        assert(!p);
    } else {
        assert(!n->compressed);
    }
}

void quicklist_check(const struct quicklist *q)
{
    uint64_t count = 0, node_count = 0;
    size_t memory = mem_usable(q);
    const struct quicklist_node *previous = NULL;
    for (const struct quicklist_node *n = q->first; n; n = n->next) {
        assert(n->previous == previous);
        check_node(q, n);
        count += n->count;
        node_count++;
        memory += node_held(n);
        previous = n;
    }
    assert(q->last == previous);
    assert(q->count == count && q->node_count == node_count && q->memory == memory);
}
