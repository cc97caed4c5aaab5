/* Searching, growing and shrinking of the tree.
 *
 * Invariants. Entry i of an inner node is the first item below child i, exactly, for every i; so an
 * item belongs below the last child whose entry does not stand behind it. Inner nodes have at least
 * two children, other nodes at least BTREE_NODE_MIN entries, but for those at the left and right
 * edge of the tree, which have at least one: a full node there, to whose outer end something is
 * added, is left full and its new neighbour begins almost empty. Members that arrive in order, up
 * or down, so leave full nodes behind; others leave them 69% full. */
#include "shard/type/btree.h"

#include <assert.h>

#include "proto/mem.h"

/* Nodes off the edges have BTREE_NODE_MIN children or more: 15^16 items are out of reach. */
#define HEIGHT_MAX 16
/* Neighbours that together have no more than this are joined. */
#define JOIN_MAX (BTREE_NODE_MAX * 3 / 4)

struct inner {
    struct btree_node node;
    struct btree_node *children[BTREE_NODE_MAX];
    uint64_t counts[BTREE_NODE_MAX]; /* items below each child */
};

_Static_assert(sizeof(struct btree_leaf) <= 1024, "a leaf fills a class of the allocator");
_Static_assert(sizeof(struct inner) <= 2048, "an inner node does too");
_Static_assert(2 * BTREE_NODE_MIN <= JOIN_MAX, "what is evened out is not joined right after");

/* The way down to a leaf: path->at[i] is the child taken in path->nodes[i], the root's first. */
struct path {
    struct inner *nodes[HEIGHT_MAX];
    uint32_t at[HEIGHT_MAX];
    struct btree_leaf *leaf;
    uint32_t leaf_at;
};

/* ---- Search ---- */

enum key_kind { KEY_ITEM, KEY_SCORE, KEY_MEMBER };

/* What an item is compared with: a score and a member, a score alone, or a member alone. */
struct key {
    enum key_kind kind;
    bool inclusive; /* what equals the key counts as before it */
    double score;
    struct slice member;
};

static struct key key_of(const struct btree_item *item, bool inclusive)
{
    return (struct key){KEY_ITEM, inclusive, item->score, btree_member(item)};
}

/* The scores below this one, of `count` in ascending order. The halves are chosen without a branch,
 * which nothing could predict. */
static inline uint32_t scores_below(const double *scores, uint32_t count, double score)
{
    const double *base = scores;
    while (count > 1) {
        uint32_t half = count / 2;
        base += base[half - 1] < score ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - scores) + (count && *base < score);
}

/* The scores up to and with this one. */
static inline uint32_t scores_through(const double *scores, uint32_t count, double score)
{
    const double *base = scores;
    while (count > 1) {
        uint32_t half = count / 2;
        base += base[half - 1] <= score ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - scores) + (count && *base <= score);
}

/* How many of the entries from `low` to below `high`, which have one score, stand before the key's
 * member; counted from entry 0. */
static uint32_t members_before(const struct btree_node *n, uint32_t low, uint32_t high,
                               const struct key *k)
{
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = btree_compare(btree_member(n->items[middle]), k->member);
        if (order < 0 || (order == 0 && k->inclusive))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The entries of a node that stand before the key. */
static inline uint32_t node_before(const struct btree_node *n, const struct key *k)
{
    if (k->kind == KEY_MEMBER)
        return members_before(n, 0, n->count, k);
    if (k->kind == KEY_SCORE)
        return k->inclusive ? scores_through(n->scores, n->count, k->score)
                            : scores_below(n->scores, n->count, k->score);
    uint32_t low = scores_below(n->scores, n->count, k->score);
    if (low == n->count || n->scores[low] != k->score)
        return low;
    uint32_t run = scores_through(n->scores + low, n->count - low, k->score);
    return members_before(n, low, low + run, k);
}

static inline uint64_t sum_counts(const struct inner *inner, uint32_t from, uint32_t end)
{
    uint64_t sum = 0;
    for (uint32_t i = from; i < end; i++)
        sum += inner->counts[i];
    return sum;
}

/* The child below which the key belongs. */
static inline uint32_t child_before(const struct inner *inner, const struct key *k)
{
    uint32_t before = node_before(&inner->node, k);
    return before ? before - 1 : 0;
}

/* The lines that a search may read are asked for at once, rather than one after the other. */
static inline void prefetch_node(const struct btree_node *n)
{
    for (size_t at = 0; at < offsetof(struct btree_node, items); at += 64)
        __builtin_prefetch((const char *)n + at);
}

/* The leaf where the key belongs, of a tree that has one; adds the items before it to *before. */
static inline const struct btree_node *descend(const struct btree *t, const struct key *k,
                                               uint64_t *before)
{
    const struct btree_node *n = t->root;
    for (uint32_t level = 0; level < t->height; level++) {
        const struct inner *inner = (const struct inner *)n;
        uint32_t at = child_before(inner, k);
        n = inner->children[at];
        prefetch_node(n);
        *before += sum_counts(inner, 0, at);
    }
    return n;
}

/* Where an item is in its leaf. Among several of its score it is known by its address: the others
 * are not read, nor is the list of items where its score is the only one. */
static inline uint32_t leaf_find(const struct btree_node *leaf, const struct btree_item *item)
{
    uint32_t at = scores_below(leaf->scores, leaf->count, item->score);
    if (at + 1 < leaf->count && leaf->scores[at + 1] == item->score)
        while (at + 1 < leaf->count && leaf->items[at] != item)
            at++;
    assert(at < leaf->count && leaf->scores[at] == item->score);
    return at;
}

uint64_t btree_rank(const struct btree *t, const struct btree_item *item)
{
    struct key k = key_of(item, true);
    uint64_t before = 0;
    assert(t->root);
    const struct btree_node *leaf = descend(t, &k, &before);
    return before + leaf_find(leaf, item);
}

static uint64_t count_before(const struct btree *t, const struct key *k)
{
    uint64_t before = 0;
    if (!t->root)
        return 0;
    const struct btree_node *leaf = descend(t, k, &before);
    return before + node_before(leaf, k);
}

uint64_t btree_count_scores(const struct btree *t, double score, bool inclusive)
{
    struct key k = {.kind = KEY_SCORE, .inclusive = inclusive, .score = score};
    return count_before(t, &k);
}

uint64_t btree_count_members(const struct btree *t, struct slice member, bool inclusive)
{
    struct key k = {.kind = KEY_MEMBER, .inclusive = inclusive, .member = member};
    return count_before(t, &k);
}

/* The way to the leaf where the key belongs. The tree has a root. */
static void find_leaf(const struct btree *t, const struct key *k, struct path *path)
{
    struct btree_node *n = t->root;
    for (uint32_t level = 0; level < t->height; level++) {
        struct inner *inner = (struct inner *)n;
        path->nodes[level] = inner;
        path->at[level] = child_before(inner, k);
        n = inner->children[path->at[level]];
        prefetch_node(n);
    }
    path->leaf = (struct btree_leaf *)n;
}

/* The way to an item of the tree. */
static void find_item(const struct btree *t, const struct btree_item *item, struct path *path)
{
    struct key k = key_of(item, true);
    assert(t->root);
    find_leaf(t, &k, path);
    path->leaf_at = leaf_find(&path->leaf->node, item);
    assert(path->leaf->node.items[path->leaf_at] == item);
}

/* The way to the item of a rank below the count, or behind all. The tree has a root. */
static void find_rank(const struct btree *t, uint64_t rank, struct path *path)
{
    struct btree_node *n = t->root;
    for (uint32_t level = 0; level < t->height; level++) {
        struct inner *inner = (struct inner *)n;
        uint32_t at = 0;
        while (at + 1 < n->count && rank >= inner->counts[at])
            rank -= inner->counts[at++];
        path->nodes[level] = inner;
        path->at[level] = at;
        n = inner->children[at];
    }
    path->leaf = (struct btree_leaf *)n;
    path->leaf_at = rank < n->count ? (uint32_t)rank : n->count;
}

struct btree_place btree_place_of_rank(const struct btree *t, uint64_t rank)
{
    struct path path;
    if (!t->root)
        return (struct btree_place){NULL, 0};
    find_rank(t, rank, &path);
    return (struct btree_place){path.leaf, path.leaf_at};
}

/* ---- Nodes ---- */

static void *node_create(struct btree *t, size_t size)
{
    struct btree_node *n = mem_alloc(size);
    n->count = 0;
    t->node_count++;
    t->node_bytes += mem_usable(n);
    return n;
}

static void node_destroy(struct btree *t, struct btree_node *n)
{
    t->node_count--;
    t->node_bytes -= mem_usable(n);
    mem_free(n);
}

static struct btree_node *leaf_create(struct btree *t)
{
    struct btree_leaf *leaf = node_create(t, sizeof(*leaf));
    leaf->previous = leaf->next = NULL;
    return &leaf->node;
}

static struct btree_node *inner_create(struct btree *t)
{
    return node_create(t, sizeof(struct inner));
}

/* Copies entries, within a node too; the counts are the caller's to set. */
static void entries_copy(struct btree_node *to, uint32_t to_at, const struct btree_node *from,
                         uint32_t from_at, uint32_t count, bool inner)
{
    memmove(to->scores + to_at, from->scores + from_at, count * sizeof(*to->scores));
    memmove(to->items + to_at, from->items + from_at, count * sizeof(*to->items));
    if (!inner)
        return;
    struct inner *a = (struct inner *)to;
    const struct inner *b = (const struct inner *)from;
    memmove(a->children + to_at, b->children + from_at, count * sizeof(*a->children));
    memmove(a->counts + to_at, b->counts + from_at, count * sizeof(*a->counts));
}

static void entries_open(struct btree_node *n, uint32_t at, uint32_t count, bool inner)
{
    entries_copy(n, at + count, n, at, n->count - at, inner);
    n->count += count;
}

static void entries_close(struct btree_node *n, uint32_t at, uint32_t count, bool inner)
{
    entries_copy(n, at, n, at + count, n->count - at - count, inner);
    n->count -= count;
}

static void entry_set(struct btree_node *n, uint32_t at, double score, struct btree_item *item)
{
    n->scores[at] = score;
    n->items[at] = item;
}

/* Makes entry `at` of an inner node the first item below its child. */
static void entry_refresh(struct inner *inner, uint32_t at)
{
    const struct btree_node *child = inner->children[at];
    entry_set(&inner->node, at, child->scores[0], child->items[0]);
}

/* The first item of child `at` of path->nodes[level - 1] has changed: so may have those above. */
static void refresh_above(const struct path *path, uint32_t level, uint32_t at)
{
    while (level > 0) {
        entry_refresh(path->nodes[level - 1], at);
        if (at > 0)
            return;
        level--;
        at = level > 0 ? path->at[level - 1] : 0;
    }
}

/* The same for the path's leaf. */
static void refresh_path(const struct btree *t, const struct path *path)
{
    refresh_above(path, t->height, t->height ? path->at[t->height - 1] : 0);
}

/* ---- Growing ---- */

/* Moves the entries from `keep` on to a new node. */
static struct btree_node *split(struct btree *t, struct btree_node *n, uint32_t keep, bool inner)
{
    struct btree_node *right = inner ? inner_create(t) : leaf_create(t);
    right->count = n->count - keep;
    entries_copy(right, 0, n, keep, right->count, inner);
    n->count = keep;
    return right;
}

/* Opens a gap for an entry that belongs at *at of a leaf, and moves *leaf and *at to where it then
 * is. Returns the new neighbour to the right, where the leaf was full. */
static struct btree_node *leaf_open(struct btree *t, struct btree_leaf **leaf, uint32_t *at)
{
    struct btree_leaf *left = *leaf;
    struct btree_node *fresh = NULL;
    if (left->node.count == BTREE_NODE_MAX) {
        bool first = *at == 0 && !left->previous, last = *at == BTREE_NODE_MAX && !left->next;
        uint32_t keep = first ? 0 : last ? BTREE_NODE_MAX : BTREE_NODE_MAX / 2;
        fresh = split(t, &left->node, keep, false);
        struct btree_leaf *right = (struct btree_leaf *)fresh;
        right->previous = left;
        right->next = left->next;
        if (right->next)
            right->next->previous = right;
        left->next = right;
        if (*at > keep || last) {
            *at -= keep;
            *leaf = right;
        }
    }
    entries_open(&(*leaf)->node, *at, 1, false);
    return fresh;
}

/* Puts a child behind child `at` - 1 of a node. Returns the new neighbour to the right, where the
 * node was full. `first` and `last`: the node is at that edge of the tree. */
static struct btree_node *inner_insert(struct btree *t, struct inner *inner, uint32_t at,
                                       struct btree_node *child, uint64_t count, bool first,
                                       bool last)
{
    struct btree_node *fresh = NULL;
    if (inner->node.count == BTREE_NODE_MAX) {
        /* Both nodes have two children at least, once the new one is in. */
        uint32_t keep = BTREE_NODE_MAX / 2;
        if (first && at == 1)
            keep = 1;
        else if (last && at == BTREE_NODE_MAX)
            keep = BTREE_NODE_MAX - 1;
        fresh = split(t, &inner->node, keep, true);
        if (at > keep) {
            at -= keep;
            inner = (struct inner *)fresh;
        }
    }
    entries_open(&inner->node, at, 1, true);
    inner->children[at] = child;
    inner->counts[at] = count;
    entry_refresh(inner, at);
    return fresh;
}

static void grow_root(struct btree *t, struct btree_node *right, uint64_t right_count)
{
    struct inner *root = (struct inner *)inner_create(t);
    root->node.count = 2;
    root->children[0] = t->root;
    root->children[1] = right;
    root->counts[0] = t->count - right_count;
    root->counts[1] = right_count;
    entry_refresh(root, 0);
    entry_refresh(root, 1);
    t->root = &root->node;
    t->height++;
    assert(t->height < HEIGHT_MAX);
}

static uint64_t items_below(const struct btree_node *n, bool inner)
{
    return inner ? sum_counts((const struct inner *)n, 0, n->count) : n->count;
}

/* Counts an added item in the nodes above the leaf, and puts the leaf's new neighbour there. */
static void insert_above(struct btree *t, const struct path *path, struct btree_node *fresh)
{
    for (uint32_t level = t->height; level-- > 0;) {
        struct inner *inner = path->nodes[level];
        uint32_t at = path->at[level];
        inner->counts[at]++;
        if (!fresh)
            continue;
        bool first = true, last = true;
        for (uint32_t above = 0; above < level; above++) {
            first = first && path->at[above] == 0;
            last = last && path->at[above] + 1 == path->nodes[above]->node.count;
        }
        uint64_t count = items_below(fresh, level + 1 < t->height);
        inner->counts[at] -= count;
        fresh = inner_insert(t, inner, at + 1, fresh, count, first, last);
    }
    if (fresh)
        grow_root(t, fresh, items_below(fresh, t->height > 0));
}

static void insert_at(struct btree *t, const struct path *path, struct btree_item *item)
{
    struct btree_leaf *leaf = path->leaf;
    uint32_t at = path->leaf_at;
    struct btree_node *fresh = leaf_open(t, &leaf, &at);
    entry_set(&leaf->node, at, item->score, item);
    t->count++;
    /* Only before the whole tree: anywhere else the item belongs to the leaf on its left. */
    if (path->leaf_at == 0)
        refresh_path(t, path);
    insert_above(t, path, fresh);
}

static void ensure_root(struct btree *t)
{
    if (!t->root)
        t->root = leaf_create(t);
}

void btree_init(struct btree *t)
{
    *t = (struct btree){0};
}

void btree_insert(struct btree *t, struct btree_item *item)
{
    struct path path;
    struct key k = key_of(item, false);
    ensure_root(t);
    find_leaf(t, &k, &path);
    path.leaf_at = node_before(&path.leaf->node, &k);
    insert_at(t, &path, item);
}

void btree_append(struct btree *t, struct btree_item *item)
{
    struct path path;
    ensure_root(t);
    find_rank(t, UINT64_MAX, &path);
    insert_at(t, &path, item);
}

/* ---- Shrinking ---- */

/* Joins child `at` + 1 of a node to child `at`. */
static void join(struct btree *t, struct inner *parent, uint32_t at, bool inner)
{
    struct btree_node *left = parent->children[at], *right = parent->children[at + 1];
    entries_copy(left, left->count, right, 0, right->count, inner);
    left->count += right->count;
    parent->counts[at] += parent->counts[at + 1];
    entries_close(&parent->node, at + 1, 1, true);
    if (!inner) {
        struct btree_leaf *leaf = (struct btree_leaf *)left;
        leaf->next = ((struct btree_leaf *)right)->next;
        if (leaf->next)
            leaf->next->previous = leaf;
    }
    node_destroy(t, right);
}

/* Gives children `at` and `at` + 1 of a node about as many entries each. */
static void even_out(struct inner *parent, uint32_t at, bool inner)
{
    struct btree_node *left = parent->children[at], *right = parent->children[at + 1];
    uint64_t total = parent->counts[at] + parent->counts[at + 1];
    uint32_t half = (left->count + right->count) / 2;
    if (left->count < half) {
        uint32_t moved = half - left->count;
        entries_copy(left, left->count, right, 0, moved, inner);
        left->count = half;
        entries_close(right, 0, moved, inner);
    } else {
        uint32_t moved = left->count - half;
        entries_open(right, 0, moved, inner);
        entries_copy(right, 0, left, half, moved, inner);
        left->count = half;
    }
    parent->counts[at] = items_below(left, inner);
    parent->counts[at + 1] = total - parent->counts[at];
    entry_refresh(parent, at + 1);
}

/* Nodes of the path that have become too small take from a neighbour or join it. */
static void rebalance(struct btree *t, const struct path *path)
{
    for (uint32_t level = t->height; level-- > 0;) {
        struct inner *parent = path->nodes[level];
        uint32_t at = path->at[level];
        if (parent->children[at]->count >= BTREE_NODE_MIN)
            break;
        at -= at > 0;
        bool inner = level + 1 < t->height;
        if (parent->children[at]->count + parent->children[at + 1]->count <= JOIN_MAX)
            join(t, parent, at, inner);
        else
            even_out(parent, at, inner);
        refresh_above(path, level + 1, at);
    }
    while (t->height > 0 && t->root->count == 1) {
        struct btree_node *root = t->root;
        t->root = ((struct inner *)root)->children[0];
        t->height--;
        node_destroy(t, root);
    }
}

/* Takes out `count` items of the path's leaf, from its place on. */
static void remove_at(struct btree *t, const struct path *path, uint32_t count)
{
    struct btree_node *n = &path->leaf->node;
    entries_close(n, path->leaf_at, count, false);
    t->count -= count;
    for (uint32_t level = 0; level < t->height; level++)
        path->nodes[level]->counts[path->at[level]] -= count;
    if (path->leaf_at == 0 && n->count > 0)
        refresh_path(t, path);
    if (n->count < BTREE_NODE_MIN)
        rebalance(t, path);
    if (t->count == 0) {
        node_destroy(t, t->root);
        t->root = NULL;
    }
}

void btree_remove(struct btree *t, const struct btree_item *item)
{
    struct path path;
    find_item(t, item, &path);
    remove_at(t, &path, 1);
}

uint32_t btree_remove_run(struct btree *t, uint64_t rank, uint64_t max,
                          struct btree_item *items[BTREE_NODE_MAX])
{
    struct path path;
    if (rank >= t->count || max == 0)
        return 0;
    find_rank(t, rank, &path);
    uint32_t count = path.leaf->node.count - path.leaf_at;
    if (max < count)
        count = (uint32_t)max;
    memcpy(items, path.leaf->node.items + path.leaf_at, count * sizeof(*items));
    remove_at(t, &path, count);
    return count;
}

/* ---- Other scores ---- */

/* Moves an entry to where it belongs in its own leaf; false where it may belong to another one. */
static bool move_within(const struct btree *t, const struct path *path, struct btree_item *item,
                        double score)
{
    struct btree_leaf *leaf = path->leaf;
    struct btree_node *n = &leaf->node;
    uint32_t from = path->leaf_at;
    struct key k = {KEY_ITEM, false, score, btree_member(item)};
    uint32_t to = node_before(n, &k);
    if ((to == 0 && leaf->previous) || (to == n->count && leaf->next))
        return false;
    if (to > from) {
        to--; /* the item itself was counted */
        entries_copy(n, from, n, from + 1, to - from, false);
    } else {
        entries_copy(n, to + 1, n, to, from - to, false);
    }
    item->score = score;
    entry_set(n, to, score, item);
    if (from == 0 || to == 0)
        refresh_path(t, path);
    return true;
}

void btree_move(struct btree *t, struct btree_item *item, double score)
{
    struct path path;
    find_item(t, item, &path);
    if (move_within(t, &path, item, score))
        return;
    remove_at(t, &path, 1);
    item->score = score;
    btree_insert(t, item);
}

/* ---- Freeing ---- */

/* Frees the last inner node that has leaves below it, with these; or one whose children are gone;
 * or a leaf that is the root. */
static uint64_t free_last(struct btree *t)
{
    struct inner *parent = NULL;
    struct btree_node *n = t->root;
    uint64_t freed = 1;
    for (uint32_t level = 0; level < t->height && n->count > 0; level++) {
        struct inner *inner = (struct inner *)n;
        if (level + 1 == t->height) {
            for (uint32_t i = 0; i < n->count; i++)
                node_destroy(t, inner->children[i]);
            freed += n->count;
            break;
        }
        parent = inner;
        n = inner->children[n->count - 1];
    }
    node_destroy(t, n);
    if (parent)
        parent->node.count--;
    else
        t->root = NULL;
    return freed;
}

bool btree_free_some(struct btree *t, uint64_t *budget)
{
    while (t->root && *budget > 0) {
        uint64_t freed = free_last(t);
        *budget -= freed < *budget ? freed : *budget;
    }
    return !t->root;
}

/* ---- Self-check ---- */

struct check {
    const struct btree *t;
    const struct btree_leaf *leaf; /* the one last met */
    const struct btree_item *item; /* the one last met */
    uint64_t node_count;
    size_t node_bytes;
};

static void check_item(struct check *c, const struct btree_node *n, uint32_t at)
{
    const struct btree_item *item = n->items[at];
    assert(n->scores[at] == item->score);
    if (c->item) {
        assert(c->item->score <= item->score);
        assert(c->item->score < item->score ||
               btree_compare(btree_member(c->item), btree_member(item)) < 0);
    }
    c->item = item;
}

static void check_leaf(struct check *c, const struct btree_leaf *leaf)
{
    assert(leaf->previous == c->leaf && (!c->leaf || c->leaf->next == leaf));
    for (uint32_t i = 0; i < leaf->node.count; i++)
        check_item(c, &leaf->node, i);
    c->leaf = leaf;
}

/* Returns the items below the node. `first`, `last`: it is at that edge of the tree. The depth is
 * bounded by HEIGHT_MAX. */
static uint64_t check_node(struct check *c, const struct btree_node *n, uint32_t level, bool first,
                           bool last)
{
    bool is_leaf = level == c->t->height;
    uint32_t min = first || last ? (is_leaf ? 1 : 2) : BTREE_NODE_MIN;
    assert(n->count >= min && n->count <= BTREE_NODE_MAX);
    c->node_count++;
    c->node_bytes += mem_usable(n);
    if (is_leaf) {
        check_leaf(c, (const struct btree_leaf *)n);
        return n->count;
    }
    const struct inner *inner = (const struct inner *)n;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct btree_node *child = inner->children[i];
        assert(n->scores[i] == child->scores[0] && n->items[i] == child->items[0]);
        uint64_t below = check_node(c, child, level + 1, first && i == 0,
                                    last && i + 1 == n->count);
        assert(below == inner->counts[i]);
        sum += below;
    }
    return sum;
}

void btree_check(const struct btree *t)
{
    struct check c = {.t = t};
    if (t->root) {
        assert(check_node(&c, t->root, 0, true, true) == t->count);
        assert(c.leaf->next == NULL);
    } else {
        assert(t->count == 0 && t->height == 0);
    }
    assert(c.node_count == t->node_count && c.node_bytes == t->node_bytes);
}

/* ---- Compaction ---- */

/* Where the path's node of a level is pointed to from above. */
static struct btree_node **link_above(struct btree *t, const struct path *path, uint32_t level)
{
    return level ? &path->nodes[level - 1]->children[path->at[level - 1]] : &t->root;
}

/* An inner node is looked at with the first leaf below it. */
static void move_inner(struct btree *t, struct path *path, const struct mem_move *m)
{
    bool first = true;
    for (uint32_t level = t->height; level-- > 0 && first;) {
        first = path->at[level] == 0;
        if (!first)
            return;
        path->nodes[level] = mem_move_block(m, path->nodes[level]);
        *link_above(t, path, level) = &path->nodes[level]->node;
    }
}

static void move_leaf(struct btree *t, struct path *path, const struct mem_move *m)
{
    struct btree_leaf *leaf = mem_move_block(m, path->leaf);
    if (leaf == path->leaf)
        return;
    if (leaf->previous)
        leaf->previous->next = leaf;
    if (leaf->next)
        leaf->next->previous = leaf;
    *link_above(t, path, t->height) = &leaf->node;
    path->leaf = leaf;
}

uint64_t btree_move_memory(struct btree *t, uint64_t rank, const struct mem_move *m,
                           void (*moves)(void *context, const struct btree_item *from,
                                         struct btree_item *to),
                           void *context)
{
    struct path path;
    assert(rank < t->count);
    find_rank(t, rank, &path);
    move_inner(t, &path, m);
    move_leaf(t, &path, m);
    struct btree_node *n = &path.leaf->node;
    for (uint32_t i = 0; i < n->count; i++) {
        struct btree_item *from = n->items[i], *to = mem_move_copy(m, from);
        if (!to)
            continue;
        n->items[i] = to;
        if (i == 0)
            refresh_path(t, &path);
        moves(context, from, to);
        mem_free(from);
    }
    return rank - path.leaf_at + n->count;
}
