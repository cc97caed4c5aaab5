/* The radix tree: see rax.h.
 *
 * A node in memory: the header, the children (by kind), the bytes of its compressed path.
 *
 *     LEAF                                  only a path, and the value of the key that ends there
 *     NODE_4, NODE_16   pointers, bytes     sorted by byte
 *     NODE_48           pointers, index     index[byte] is a place + 1, or 0; places have no gaps
 *     NODE_256          pointers            NULL where there is no child
 *
 * A pointer to a child is a node, or, with its lowest bit set, the value of a key that ends with
 * the child's byte. A branch has at least two of: children, and a value of its own. */
#include "shard/type/rax.h"

#include <assert.h>

#include "proto/mem.h"

enum { LEAF, NODE_4, NODE_16, NODE_48, NODE_256 };

struct rax_node {
    uint8_t kind;
    uint16_t count; /* children */
    uint32_t path_size;
    void *value; /* of the key that ends here; NULL: none does */
};

static const uint16_t capacity[] = {0, 4, 16, 48, 256};
/* A node of so few children becomes one of the kind below: some less than fit there, so that a
 * child that comes and goes does not rebuild it each time. */
static const uint16_t shrink_count[] = {0, 0, 3, 12, 40};
static const uint16_t body_size[] = {
    0, 4 * sizeof(void *) + 4, 16 * sizeof(void *) + 16, 48 * sizeof(void *) + 256,
    256 * sizeof(void *),
};

static void **children(const struct rax_node *n)
{
    return (void **)(uintptr_t)(n + 1);
}

/* The bytes of a NODE_4 or NODE_16, the index of a NODE_48. */
static unsigned char *bytes(const struct rax_node *n)
{
    return (unsigned char *)(children(n) + capacity[n->kind]);
}

static unsigned char *path(const struct rax_node *n)
{
    return (unsigned char *)children(n) + body_size[n->kind];
}

static bool is_value(const void *child)
{
    return (uintptr_t)child & 1;
}

static void *mark_value(void *value)
{
    assert(value && !is_value(value));
    return (char *)value + 1;
}

static void *value_of(void *child)
{
    return (char *)child - 1;
}

static void copy_bytes(unsigned char *to, const void *from, size_t size)
{
    if (size && to)
        memcpy(to, from, size);
}

/* --- Nodes --- */

/* In Redis's tree a compressed path is a node before the branch or the value that it leads to. */
static uint64_t weight(const struct rax_node *n)
{
    return 1 + (n->path_size != 0);
}

static struct rax_node *node_create(struct rax *r, unsigned kind, size_t path_size, void *value)
{
    assert(path_size <= UINT32_MAX);
    struct rax_node *n = mem_alloc(sizeof(*n) + body_size[kind] + path_size);
    *n = (struct rax_node){.kind = (uint8_t)kind, .path_size = (uint32_t)path_size, .value = value};
    if (kind >= NODE_48)
        memset(n + 1, 0, body_size[kind]);
    r->nodes += weight(n);
    r->account->bytes += mem_usable(n);
    r->account->allocations++;
    return n;
}

static void node_destroy(struct rax *r, struct rax_node *n)
{
    r->nodes -= weight(n);
    r->account->bytes -= mem_usable(n);
    r->account->allocations--;
    mem_free(n);
}

static void *leaf_create(struct rax *r, const void *text, size_t size, void *value)
{
    if (size == 0) {
        r->nodes++;
        return mark_value(value);
    }
    struct rax_node *n = node_create(r, LEAF, size, value);
    memcpy(path(n), text, size);
    return n;
}

static void copy_body(struct rax_node *to, const struct rax_node *from)
{
    assert(to->kind == from->kind);
    to->count = from->count;
    copy_bytes((unsigned char *)(to + 1), from + 1, body_size[from->kind]);
}

/* --- Children --- */

/* The place of the first of the sorted bytes at or above `byte`. */
static unsigned sorted_place(const struct rax_node *n, unsigned byte)
{
    const unsigned char *b = bytes(n);
    unsigned i = 0;
    while (i < n->count && b[i] < byte)
        i++;
    return i;
}

/* Where the child of a byte is held; NULL: there is none. */
static void **child_find(const struct rax_node *n, unsigned byte)
{
    unsigned i;
    switch (n->kind) {
    case LEAF:
        return NULL;
    case NODE_4:
    case NODE_16:
        i = sorted_place(n, byte);
        return i < n->count && bytes(n)[i] == byte ? children(n) + i : NULL;
    case NODE_48:
        i = bytes(n)[byte];
        return i ? children(n) + i - 1 : NULL;
    default:
        return children(n)[byte] ? children(n) + byte : NULL;
    }
}

/* The child of the lowest byte that is `from` (to 256) or above; NULL: there is none. */
static void *child_above(const struct rax_node *n, unsigned from, unsigned char *byte)
{
    if (n->kind <= NODE_16) {
        unsigned i = sorted_place(n, from);
        if (i == n->count)
            return NULL;
        *byte = bytes(n)[i];
        return children(n)[i];
    }
    for (unsigned b = from; b < 256; b++) {
        void **child = child_find(n, b);
        if (child) {
            *byte = (unsigned char)b;
            return *child;
        }
    }
    return NULL;
}

/* The child of the highest byte below `end` (to 256); NULL: there is none. */
static void *child_below(const struct rax_node *n, unsigned end, unsigned char *byte)
{
    if (n->kind <= NODE_16) {
        unsigned i = sorted_place(n, end);
        if (i == 0)
            return NULL;
        *byte = bytes(n)[i - 1];
        return children(n)[i - 1];
    }
    for (unsigned b = end; b-- > 0;) {
        void **child = child_find(n, b);
        if (child) {
            *byte = (unsigned char)b;
            return *child;
        }
    }
    return NULL;
}

/* The node has room. */
static void child_insert(struct rax_node *n, unsigned char byte, void *child)
{
    assert(n->count < capacity[n->kind]);
    if (n->kind <= NODE_16) {
        unsigned i = sorted_place(n, byte), behind = n->count - i;
        memmove(children(n) + i + 1, children(n) + i, behind * sizeof(void *));
        memmove(bytes(n) + i + 1, bytes(n) + i, behind);
        children(n)[i] = child;
        bytes(n)[i] = byte;
    } else if (n->kind == NODE_48) {
        children(n)[n->count] = child;
        bytes(n)[byte] = (unsigned char)(n->count + 1);
    } else {
        children(n)[byte] = child;
    }
    n->count++;
}

/* The last place goes where a gap would be. */
static void remove_indexed(struct rax_node *n, unsigned char byte)
{
    unsigned char *index = bytes(n);
    unsigned place = index[byte], last = n->count;
    index[byte] = 0;
    if (place == last)
        return;
    unsigned char *moved = memchr(index, (int)last, 256);
    assert(moved);
    *moved = (unsigned char)place;
    children(n)[place - 1] = children(n)[last - 1];
}

static void child_remove(struct rax_node *n, unsigned char byte)
{
    if (n->kind <= NODE_16) {
        unsigned i = sorted_place(n, byte), behind = n->count - i - 1u;
        memmove(children(n) + i, children(n) + i + 1, behind * sizeof(void *));
        memmove(bytes(n) + i, bytes(n) + i + 1, behind);
    } else if (n->kind == NODE_48) {
        remove_indexed(n, byte);
    } else {
        children(n)[byte] = NULL;
    }
    n->count--;
}

/* Makes it another kind, with room for its children. */
static struct rax_node *node_resize(struct rax *r, struct rax_node *n, unsigned kind)
{
    assert(n->count <= capacity[kind]);
    struct rax_node *resized = node_create(r, kind, n->path_size, n->value);
    copy_bytes(path(resized), path(n), n->path_size);
    unsigned char byte;
    void *child;
    for (unsigned from = 0; (child = child_above(n, from, &byte)); from = byte + 1u)
        child_insert(resized, byte, child);
    node_destroy(r, n);
    return resized;
}

static void child_add(struct rax *r, void **slot, unsigned char byte, void *child)
{
    struct rax_node *n = *slot;
    if (n->count == capacity[n->kind])
        *slot = n = node_resize(r, n, n->kind + 1u);
    child_insert(n, byte, child);
}

/* --- Finding --- */

void rax_init(struct rax *r, struct rax_account *account)
{
    *r = (struct rax){.nodes = 1, .account = account};
}

static size_t common_size(const struct rax_node *n, struct slice rest)
{
    const unsigned char *p = path(n);
    size_t max = n->path_size < rest.size ? n->path_size : rest.size, i = 0;
    while (i < max && p[i] == (unsigned char)rest.data[i])
        i++;
    return i;
}

static struct slice skip(struct slice s, size_t n)
{
    return (struct slice){s.data + n, s.size - n};
}

void *rax_find(const struct rax *r, struct slice key)
{
    void *child = r->root;
    size_t at = 0;
    while (child) {
        if (is_value(child))
            return at == key.size ? value_of(child) : NULL;
        const struct rax_node *n = child;
        if (key.size - at < n->path_size || memcmp(path(n), key.data + at, n->path_size) != 0)
            return NULL;
        at += n->path_size;
        if (at == key.size)
            return n->value;
        void **found = child_find(n, (unsigned char)key.data[at++]);
        child = found ? *found : NULL;
    }
    return NULL;
}

/* --- Adding --- */

/* The node with only the end of its path, from `at` on. */
static void *without_head(struct rax *r, struct rax_node *n, size_t at)
{
    size_t size = n->path_size - at;
    if (n->kind == LEAF) {
        void *leaf = leaf_create(r, path(n) + at, size, n->value);
        node_destroy(r, n);
        return leaf;
    }
    struct rax_node *shorter = node_create(r, n->kind, size, n->value);
    copy_body(shorter, n);
    copy_bytes(path(shorter), path(n) + at, size);
    node_destroy(r, n);
    return shorter;
}

/* Puts a branch where the key leaves the node's path. */
static void split(struct rax *r, void **slot, size_t common, struct slice rest, void *value)
{
    struct rax_node *n = *slot;
    bool ends = common == rest.size;
    struct rax_node *branch = node_create(r, NODE_4, common, ends ? value : NULL);
    copy_bytes(path(branch), path(n), common);
    unsigned char byte = path(n)[common];
    child_insert(branch, byte, without_head(r, n, common + 1));
    *slot = branch;
    if (!ends) {
        struct slice tail = skip(rest, common + 1);
        child_insert(branch, (unsigned char)rest.data[common],
                     leaf_create(r, tail.data, tail.size, value));
    }
}

static void *replace(void **slot, void *value)
{
    void *former = *slot;
    *slot = value;
    return former;
}

/* Adds below the node, which has no child for the first byte of `rest`. */
static void add_below(struct rax *r, void **slot, struct slice rest, void *value)
{
    void *leaf = leaf_create(r, rest.data + 1, rest.size - 1, value);
    child_add(r, slot, (unsigned char)rest.data[0], leaf);
}

/* Makes a mere value a node, so that it can have children. */
static void grow_value(struct rax *r, void **slot)
{
    void *value = value_of(*slot);
    r->nodes--;
    *slot = node_create(r, NODE_4, 0, value);
}

void *rax_put(struct rax *r, struct slice key, void *value)
{
    void **slot = &r->root;
    struct slice rest = key;
    if (!*slot) {
        r->nodes = 0;
        *slot = leaf_create(r, key.data, key.size, value);
        r->count++;
        return NULL;
    }
    for (;;) {
        if (is_value(*slot)) {
            if (rest.size == 0)
                return value_of(replace(slot, mark_value(value)));
            grow_value(r, slot);
        }
        struct rax_node *n = *slot;
        size_t common = common_size(n, rest);
        if (common < n->path_size) {
            split(r, slot, common, rest, value);
            break;
        }
        rest = skip(rest, common);
        if (rest.size == 0) {
            void *former = replace(&n->value, value);
            r->count += !former;
            return former;
        }
        void **child = child_find(n, (unsigned char)rest.data[0]);
        if (!child) {
            add_below(r, slot, rest, value);
            break;
        }
        slot = child;
        rest = skip(rest, 1);
    }
    r->count++;
    return NULL;
}

/* --- Removing --- */

/* Joins a node with its only child. */
static void join(struct rax *r, void **slot)
{
    struct rax_node *n = *slot;
    unsigned char byte;
    void *only = child_above(n, 0, &byte);
    bool bare = is_value(only);
    struct rax_node *child = bare ? NULL : only;
    size_t tail = bare ? 0 : child->path_size;
    struct rax_node *joined = node_create(r, bare ? LEAF : child->kind, n->path_size + 1 + tail,
                                          bare ? value_of(only) : child->value);
    copy_bytes(path(joined), path(n), n->path_size);
    path(joined)[n->path_size] = byte;
    if (bare) {
        r->nodes--;
    } else {
        copy_body(joined, child);
        copy_bytes(path(joined) + n->path_size + 1, path(child), tail);
        node_destroy(r, child);
    }
    node_destroy(r, n);
    *slot = joined;
}

/* Gives a branch that has lost a child or its value the form that it should have. */
static void tidy(struct rax *r, void **slot)
{
    struct rax_node *n = *slot;
    if (n->count == 0) {
        *slot = leaf_create(r, path(n), n->path_size, n->value);
        node_destroy(r, n);
    } else if (n->count == 1 && !n->value) {
        join(r, slot);
    } else if (n->count <= shrink_count[n->kind]) {
        *slot = node_resize(r, n, n->kind - 1u);
    }
}

/* Where a key ends: what holds its value, and what holds the node above. */
struct found {
    void **slot, **above;
    unsigned char byte;
};

static bool find_slot(struct rax *r, struct slice key, struct found *f)
{
    *f = (struct found){.slot = &r->root};
    size_t at = 0;
    while (*f->slot) {
        if (is_value(*f->slot))
            return at == key.size;
        const struct rax_node *n = *f->slot;
        if (common_size(n, skip(key, at)) < n->path_size)
            return false;
        at += n->path_size;
        if (at == key.size)
            return n->value != NULL;
        void **child = child_find(n, (unsigned char)key.data[at]);
        if (!child)
            return false;
        *f = (struct found){child, f->slot, (unsigned char)key.data[at++]};
    }
    return false;
}

/* Takes away what has neither children nor a value any more. */
static void unlink_slot(struct rax *r, const struct found *f)
{
    if (!f->above) {
        r->root = NULL;
        r->nodes = 1;
        return;
    }
    child_remove(*f->above, f->byte);
    tidy(r, f->above);
}

void *rax_remove(struct rax *r, struct slice key)
{
    struct found f;
    if (!find_slot(r, key, &f))
        return NULL;

    r->count--;
    if (is_value(*f.slot)) {
        void *value = value_of(*f.slot);
        r->nodes--;
        unlink_slot(r, &f);
        return value;
    }
    struct rax_node *n = *f.slot;
    void *value = replace(&n->value, NULL);
    if (n->kind != LEAF) {
        tidy(r, f.slot);
        return value;
    }
    node_destroy(r, n);
    unlink_slot(r, &f);
    return value;
}

/* --- Seeking --- */

static void note(unsigned char *found, size_t at, unsigned char byte)
{
    if (found)
        found[at] = byte;
}

/* The lowest key below `child`, whose path so far is `at` bytes long. */
static void *lowest(void *child, unsigned char *found, size_t at)
{
    while (!is_value(child)) {
        const struct rax_node *n = child;
        copy_bytes(found ? found + at : NULL, path(n), n->path_size);
        at += n->path_size;
        if (n->value)
            return n->value;
        unsigned char byte = 0;
        child = child_above(n, 0, &byte);
        note(found, at++, byte);
    }
    return value_of(child);
}

static void *highest(void *child, unsigned char *found, size_t at)
{
    while (!is_value(child)) {
        const struct rax_node *n = child;
        copy_bytes(found ? found + at : NULL, path(n), n->path_size);
        at += n->path_size;
        unsigned char byte = 0;
        child = child_below(n, 256, &byte);
        if (!child)
            return n->value;
        note(found, at++, byte);
    }
    return value_of(child);
}

/* The nearest thing met beside the way to a key: where the seek ends when the way itself does. */
struct beside {
    void *child; /* NULL: the value */
    void *value; /* of the key that the way leads over, where that is nearest; or NULL */
    size_t at;   /* the way's bytes that its key begins with */
    unsigned char byte;
};

static void *take_beside(const struct beside *b, struct slice key, unsigned char *found,
                         void *(*edge)(void *, unsigned char *, size_t))
{
    copy_bytes(found, key.data, b->at);
    if (!b->child)
        return b->value;
    note(found, b->at, b->byte);
    return edge(b->child, found, b->at + 1);
}

/* Below a path that leaves the key's at `common`: true where the path is above the key. */
static bool leaves_above(const struct rax_node *n, size_t common, struct slice rest)
{
    return common == rest.size || path(n)[common] > (unsigned char)rest.data[common];
}

static void *seek_up(const struct rax *r, struct slice key, bool equal, unsigned char *found)
{
    struct beside b = {0};
    void *child = r->root;
    for (size_t at = 0; child; at++) {
        if (is_value(child)) {
            if (at < key.size || !equal)
                break;
            copy_bytes(found, key.data, at);
            return value_of(child);
        }
        const struct rax_node *n = child;
        struct slice rest = skip(key, at);
        size_t common = common_size(n, rest);
        if (common < n->path_size) {
            if (!leaves_above(n, common, rest))
                break;
            copy_bytes(found, key.data, at);
            return lowest(child, found, at);
        }
        at += common;
        bool ends = at == key.size;
        if (ends && equal && n->value) {
            copy_bytes(found, key.data, at);
            return n->value;
        }
        unsigned char byte;
        unsigned from = ends ? 0 : (unsigned char)key.data[at] + 1u;
        void *next = child_above(n, from, &byte);
        if (next)
            b = (struct beside){.child = next, .at = at, .byte = byte};
        void **slot = ends ? NULL : child_find(n, (unsigned char)key.data[at]);
        child = slot ? *slot : NULL;
    }
    return take_beside(&b, key, found, lowest);
}

static void *seek_down(const struct rax *r, struct slice key, bool equal, unsigned char *found)
{
    struct beside b = {0};
    void *child = r->root;
    for (size_t at = 0; child; at++) {
        if (is_value(child)) {
            if (at == key.size && !equal)
                break;
            copy_bytes(found, key.data, at);
            return value_of(child);
        }
        const struct rax_node *n = child;
        struct slice rest = skip(key, at);
        size_t common = common_size(n, rest);
        if (common < n->path_size) {
            if (leaves_above(n, common, rest))
                break;
            copy_bytes(found, key.data, at);
            return highest(child, found, at);
        }
        at += common;
        if (at == key.size) {
            if (!equal || !n->value)
                break;
            copy_bytes(found, key.data, at);
            return n->value;
        }
        unsigned char byte;
        void *next = child_below(n, (unsigned char)key.data[at], &byte);
        if (next)
            b = (struct beside){.child = next, .at = at, .byte = byte};
        else if (n->value)
            b = (struct beside){.value = n->value, .at = at};
        void **slot = child_find(n, (unsigned char)key.data[at]);
        child = slot ? *slot : NULL;
    }
    return take_beside(&b, key, found, highest);
}

void *rax_seek(const struct rax *r, struct slice key, enum rax_seek how, unsigned char *found)
{
    if (how == RAX_AT_LEAST || how == RAX_ABOVE)
        return seek_up(r, key, how == RAX_AT_LEAST, found);
    return seek_down(r, key, how == RAX_AT_MOST, found);
}

void *rax_first(const struct rax *r, unsigned char *found)
{
    return r->root ? lowest(r->root, found, 0) : NULL;
}

void *rax_last(const struct rax *r, unsigned char *found)
{
    return r->root ? highest(r->root, found, 0) : NULL;
}

/* --- Freeing --- */

static void drop_value(struct rax *r, void (*drop)(void *, void *), void *context, void *value)
{
    r->count--;
    if (drop)
        drop(context, value);
}

/* Goes down along the last children to one that has none, and takes that away. */
static void free_last(struct rax *r, void (*drop)(void *, void *), void *context)
{
    void **slot = &r->root;
    struct rax_node *above = NULL;
    unsigned char byte = 0;
    while (!is_value(*slot)) {
        struct rax_node *n = *slot;
        if (n->value)
            drop_value(r, drop, context, replace(&n->value, NULL));
        if (n->count == 0)
            break;
        above = n;
        child_below(n, 256, &byte);
        slot = child_find(n, byte);
    }
    if (is_value(*slot)) {
        drop_value(r, drop, context, value_of(*slot));
        r->nodes--;
    } else {
        node_destroy(r, *slot);
    }
    if (above)
        child_remove(above, byte);
    else
        *slot = NULL;
}

bool rax_free_some(struct rax *r, void (*drop)(void *context, void *value), void *context,
                   uint64_t *budget)
{
    while (r->root && *budget > 0) {
        free_last(r, drop, context);
        if (*budget > 0)
            --*budget;
    }
    if (r->root)
        return false;
    r->nodes = 1;
    return true;
}

/* --- Checking --- */

struct seen {
    uint64_t count, nodes;
};

static void check_child(void *child, struct seen *seen)
{
    assert(child);
    if (is_value(child)) {
        seen->count++;
        seen->nodes++;
        return;
    }
    const struct rax_node *n = child;
    assert(mem_usable(n) >= sizeof(*n) + body_size[n->kind] + n->path_size);
    assert(n->count <= capacity[n->kind]);
    seen->count += n->value != NULL;
    seen->nodes += weight(n);
    if (n->kind == LEAF) {
        assert(n->value && n->path_size);
        return;
    }
    assert(n->count + (n->value != NULL) >= 2);
    assert(n->count > shrink_count[n->kind]);
    unsigned count = 0, from = 0;
    unsigned char byte;
    for (void *c; (c = child_above(n, from, &byte)); from = byte + 1u, count++)
        check_child(c, seen);
    assert(count == n->count);
}

void rax_check(const struct rax *r)
{
    struct seen seen = {0};
    if (r->root)
        check_child(r->root, &seen);
    else
        seen.nodes = 1;
    assert(seen.count == r->count && seen.nodes == r->nodes);
}
