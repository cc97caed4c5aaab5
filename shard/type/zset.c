/* The two encodings of sorted sets.
 *
 * ENC_LISTPACK: the value's data is the listpack itself. ENC_TREE: data is a struct zset, whose
 * table and tree share one item a member: bytes and score in one allocation, which the zset owns.
 * The score stands in the item for whoever comes by the table, and in the tree's leaf for whoever
 * searches there. */
#include "shard/type/zset.h"

#include <assert.h>
#include <math.h>

#include "proto/mem.h"
#include "shard/type/listpack.h"
#include "shard/type/view_hook.h"
#include "shard/type/zset_inside.h"

static struct zset *zset_of(const struct value *v)
{
    assert(v->encoding == ENC_TREE);
    return v->data;
}

static bool is_packed(const struct value *v)
{
    return v->encoding == ENC_LISTPACK;
}

/* What becomes of a member whose score is *old, or that is new (NULL), and the score it gets. */
static inline enum zset_outcome decide(unsigned conditions, const double *old, double *score)
{
    if (!old)
        return conditions & ZSET_ONLY_PRESENT ? ZSET_REFUSED : ZSET_ADDED;
    if (conditions & ZSET_ONLY_NEW)
        return ZSET_REFUSED;
    if (conditions & ZSET_INCREMENT) {
        double sum = *old + *score;
        if (isnan(sum))
            return ZSET_NAN;
        *score = sum;
    }
    if (((conditions & ZSET_ONLY_GREATER) && *score <= *old) ||
        ((conditions & ZSET_ONLY_LESS) && *score >= *old))
        return ZSET_REFUSED;
    return *score == *old ? ZSET_SAME : ZSET_MOVED;
}

/* ---- Tree: items and members ---- */

static uint64_t hash_item(const void *item, const void *context)
{
    return keyspace_hash(context, btree_member(item));
}

static const struct table_type member_type = {hash_item};

static struct zset *tree_create(const struct keyspace *k)
{
    struct zset *z = mem_alloc(sizeof(*z));
    table_init(&z->members, &member_type, k);
    btree_init(&z->tree);
    z->item_bytes = 0;
    z->view = NULL;
    return z;
}

static struct btree_item *item_create(struct zset *z, struct slice member, double score)
{
    assert(member.size <= UINT32_MAX);
    struct btree_item *item = mem_alloc(offsetof(struct btree_item, bytes) + member.size);
    item->score = score;
    item->size = (uint32_t)member.size;
    if (member.size)
        memcpy(item->bytes, member.data, member.size);
    z->item_bytes += mem_usable(item);
    return item;
}

static void item_destroy(struct zset *z, struct btree_item *item)
{
    z->item_bytes -= mem_usable(item);
    mem_free(item);
}

static struct btree_item *find_member(const struct zset *z, struct slice member, uint64_t hash,
                                      struct table_place *at)
{
    struct table_probe p;
    struct btree_item *item;
    table_probe_start(&p, &z->members, hash);
    while ((item = table_probe_next(&p)))
        if (slice_equal(btree_member(item), member))
            break;
    *at = table_probe_place(&p);
    return item;
}

static struct btree_item *find_item(const struct value *v, const struct keyspace *k,
                                    struct slice member)
{
    struct table_place at;
    return find_member(zset_of(v), member, keyspace_hash(k, member), &at);
}

/* Before the members of this hash change. */
static inline void note_change(const struct zset *z, uint64_t hash)
{
    if (__builtin_expect(z->view != NULL, 0))
        view_note_hash(z->view, hash);
}

static enum zset_outcome tree_change(struct zset *z, const struct keyspace *k,
                                     struct slice member, unsigned conditions, double *score)
{
    struct table_place at;
    uint64_t hash = keyspace_hash(k, member);
    struct btree_item *item = find_member(z, member, hash, &at);
    enum zset_outcome outcome = decide(conditions, item ? &item->score : NULL, score);
    if (outcome >= ZSET_MOVED)
        note_change(z, hash);
    if (outcome == ZSET_MOVED) {
        btree_move(&z->tree, item, *score);
    } else if (outcome == ZSET_ADDED) {
        item = item_create(z, member, *score);
        table_add(&z->members, hash, item, false);
        btree_insert(&z->tree, item);
    }
    return outcome;
}

/* Adds a member that is new and stands behind all others. */
static void tree_append(struct zset *z, struct slice member, double score)
{
    struct btree_item *item = item_create(z, member, score);
    table_add(&z->members, hash_item(item, z->members.context), item, false);
    btree_append(&z->tree, item);
}

static bool tree_remove(struct zset *z, const struct keyspace *k, struct slice member)
{
    struct table_place at;
    uint64_t hash = keyspace_hash(k, member);
    struct btree_item *item = find_member(z, member, hash, &at);
    if (!item)
        return false;
    note_change(z, hash);
    table_remove(&z->members, at, hash);
    btree_remove(&z->tree, item);
    item_destroy(z, item);
    return true;
}

static void forget_item(struct zset *z, struct btree_item *item, uint64_t hash)
{
    struct table_probe p;
    note_change(z, hash);
    table_probe_start(&p, &z->members, hash);
    while (table_probe_next(&p) != item)
        assert(p.bucket);
    table_remove(&z->members, table_probe_place(&p), hash);
    item_destroy(z, item);
}

/* A leaf's worth at a time: items and buckets lie anywhere, so all are asked for before the first
 * is needed. */
static void tree_remove_ranks(struct zset *z, const struct keyspace *k, uint64_t first,
                              uint64_t end)
{
    struct btree_item *items[BTREE_NODE_MAX];
    uint64_t hashes[BTREE_NODE_MAX];
    while (first < end) {
        uint32_t count = btree_remove_run(&z->tree, first, end - first, items);
        for (uint32_t i = 0; i < count; i++)
            table_prefetch(items[i]);
        for (uint32_t i = 0; i < count; i++) {
            hashes[i] = hash_item(items[i], k);
            table_prefetch_bucket(&z->members, hashes[i]);
        }
        for (uint32_t i = 0; i < count; i++)
            forget_item(z, items[i], hashes[i]);
        end -= count;
    }
}

static struct zset *tree_copy(const struct zset *from)
{
    struct zset *to = tree_create(from->members.context);
    struct btree_place at = btree_place_of_rank(&from->tree, 0);
    for (struct btree_item *item; (item = btree_next(&at));)
        tree_append(to, btree_member(item), item->score);
    return to;
}

/* ---- Packed ---- */

static double packed_score(const unsigned char *lp, uint32_t at)
{
    struct listpack_item item = listpack_get(lp, at);
    if (!item.text.data)
        return (double)item.integer;
    double score = 0;
    number_parse_double(item.text, &score);
    return score;
}

/* Whole scores below 2^62 are held as integers, as Redis does; -0 so becomes 0. */
static bool whole_score(double score, int64_t *value)
{
    const double limit = (double)(INT64_MAX / 2);
    if (score < -limit || score > limit)
        return false;
    *value = (int64_t)score;
    return (double)*value == score;
}

static void packed_insert_score(unsigned char **lp, uint32_t at, double score)
{
    int64_t integer;
    if (whole_score(score, &integer)) {
        listpack_insert_integer(lp, at, integer);
        return;
    }
    char text[NUMBER_DOUBLE_SIZE_MAX];
    listpack_insert(lp, at, (struct slice){text, number_format_double(text, score)});
}

/* The position of a member, with its rank. */
static uint32_t packed_find(const unsigned char *lp, struct slice member, uint64_t *rank)
{
    uint32_t at = listpack_first(lp);
    for (*rank = 0; at != LISTPACK_NONE && !listpack_equal(lp, at, member); ++*rank)
        at = listpack_next(lp, listpack_next(lp, at));
    return at;
}

/* Whether the member at a position stands behind a score and member. */
static bool packed_behind(const unsigned char *lp, uint32_t at, struct slice member, double score)
{
    double other = packed_score(lp, listpack_next(lp, at));
    if (other != score)
        return other > score;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    return btree_compare(listpack_text(lp, at, scratch), member) > 0;
}

/* Adds a new member. Members often come in order, so the end is looked at first. */
static void packed_insert(unsigned char **lp, struct slice member, double score)
{
    uint32_t at = LISTPACK_NONE;
    uint32_t last = listpack_last(*lp);
    if (last != LISTPACK_NONE && packed_behind(*lp, listpack_previous(*lp, last), member, score)) {
        at = listpack_first(*lp);
        while (!packed_behind(*lp, at, member, score))
            at = listpack_next(*lp, listpack_next(*lp, at));
    }
    if (at == LISTPACK_NONE)
        at = listpack_end(*lp);
    /* The score first: what is inserted before it leaves the position good. */
    packed_insert_score(lp, at, score);
    listpack_insert(lp, at, member);
}

static void packed_replace_score(unsigned char **lp, uint32_t at, double score)
{
    int64_t integer;
    if (whole_score(score, &integer)) {
        listpack_replace_integer(lp, at, integer);
        return;
    }
    char text[NUMBER_DOUBLE_SIZE_MAX];
    listpack_replace(lp, at, (struct slice){text, number_format_double(text, score)});
}

/* Gives the member at a position, whose score was lower, another one. The place is sought from
 * where it was: most scores change by little. */
static void packed_raise(unsigned char **lp, uint32_t at, struct slice member, double score)
{
    uint32_t score_at = listpack_next(*lp, at), after = listpack_next(*lp, score_at), to = after;
    while (to != LISTPACK_NONE && !packed_behind(*lp, to, member, score))
        to = listpack_next(*lp, listpack_next(*lp, to));
    if (to == after) {
        packed_replace_score(lp, score_at, score);
        return;
    }
    if (to == LISTPACK_NONE)
        to = listpack_end(*lp);
    packed_insert_score(lp, to, score);
    listpack_insert(lp, to, member);
    listpack_delete(lp, at, 2);
}

/* The same where it was higher. */
static void packed_lower(unsigned char **lp, uint32_t at, struct slice member, double score)
{
    uint32_t to = at;
    for (uint32_t before; (before = listpack_previous(*lp, to)) != LISTPACK_NONE; to = before) {
        before = listpack_previous(*lp, before);
        if (!packed_behind(*lp, before, member, score))
            break;
    }
    if (to == at) {
        packed_replace_score(lp, listpack_next(*lp, at), score);
        return;
    }
    listpack_delete(lp, at, 2);
    packed_insert_score(lp, to, score);
    listpack_insert(lp, to, member);
}

static void packed_to_tree(struct value *v, const struct keyspace *k)
{
    struct zset *z = tree_create(k);
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, v, 0, false);
    while (zset_walk_next(&w, &member, &score))
        tree_append(z, member, score);
    mem_free(v->data);
    *v = (struct value){TYPE_ZSET, ENC_TREE, z};
}

/* Whether a packed set can take a further member. */
static bool packed_takes(const struct value *v, const struct keyspace *k, struct slice member)
{
    const struct keyspace_options *o = &k->options;
    size_t size = listpack_item_size(member) + listpack_item_size(SLICE("")) +
                  NUMBER_DOUBLE_SIZE_MAX;
    return zset_count(v) < o->zset_max_listpack_entries &&
           member.size <= o->zset_max_listpack_value && listpack_has_room(v->data, size);
}

static enum zset_outcome packed_change(struct value *v, const struct keyspace *k,
                                       struct slice member, unsigned conditions, double *score)
{
    unsigned char *lp = v->data;
    uint32_t at = listpack_find(lp, listpack_first(lp), member, 1);
    bool present = at != LISTPACK_NONE;
    double old = present ? packed_score(lp, listpack_next(lp, at)) : 0;
    enum zset_outcome outcome = decide(conditions, present ? &old : NULL, score);
    if (outcome < ZSET_MOVED)
        return outcome;
    if (!present && !packed_takes(v, k, member)) {
        packed_to_tree(v, k);
        return tree_change(v->data, k, member, 0, score);
    }
    if (!present)
        packed_insert(&lp, member, *score);
    else if (*score > old)
        packed_raise(&lp, at, member, *score);
    else
        packed_lower(&lp, at, member, *score);
    v->data = lp;
    return outcome;
}

static bool packed_remove(struct value *v, struct slice member)
{
    unsigned char *lp = v->data;
    uint32_t at = listpack_find(lp, listpack_first(lp), member, 1);
    if (at == LISTPACK_NONE)
        return false;
    listpack_delete(&lp, at, 2);
    v->data = lp;
    return true;
}

/* ---- Members ---- */

bool zset_score(const struct value *v, const struct keyspace *k, struct slice member,
                double *score)
{
    if (is_packed(v)) {
        const unsigned char *lp = v->data;
        uint32_t at = listpack_find(lp, listpack_first(lp), member, 1);
        if (at != LISTPACK_NONE)
            *score = packed_score(lp, listpack_next(lp, at));
        return at != LISTPACK_NONE;
    }
    const struct btree_item *item = find_item(v, k, member);
    if (item)
        *score = item->score;
    return item;
}

enum zset_outcome zset_change(struct value *v, const struct keyspace *k, struct slice member,
                              unsigned conditions, double *score)
{
    assert(!isnan(*score));
    return is_packed(v) ? packed_change(v, k, member, conditions, score)
                        : tree_change(zset_of(v), k, member, conditions, score);
}

bool zset_put(struct value *v, const struct keyspace *k, struct slice member, double score)
{
    return zset_change(v, k, member, 0, &score) == ZSET_ADDED;
}

void zset_reserve(struct value *v, const struct keyspace *k, uint64_t count)
{
    if (is_packed(v) && count > k->options.zset_max_listpack_entries)
        packed_to_tree(v, k);
}

bool zset_remove(struct value *v, const struct keyspace *k, struct slice member)
{
    return is_packed(v) ? packed_remove(v, member) : tree_remove(zset_of(v), k, member);
}

bool zset_rank(const struct value *v, const struct keyspace *k, struct slice member, bool reverse,
               uint64_t *rank, double *score)
{
    if (is_packed(v)) {
        const unsigned char *lp = v->data;
        uint32_t at = packed_find(lp, member, rank);
        if (at == LISTPACK_NONE)
            return false;
        *score = packed_score(lp, listpack_next(lp, at));
    } else {
        const struct btree_item *item = find_item(v, k, member);
        if (!item)
            return false;
        *rank = btree_rank(&zset_of(v)->tree, item);
        *score = item->score;
    }
    if (reverse)
        *rank = zset_count(v) - 1 - *rank;
    return true;
}

/* ---- Walks ---- */

/* The position of the member of a rank below the count. */
static uint32_t packed_seek(const unsigned char *lp, uint64_t rank)
{
    return listpack_seek(lp, (int64_t)(2 * rank));
}

void zset_walk_start(struct zset_walk *w, const struct value *v, uint64_t rank, bool reverse)
{
    uint64_t count = zset_count(v);
    w->v = v;
    w->reverse = reverse;
    w->node = NULL;
    w->at = LISTPACK_NONE;
    if (rank >= count)
        return;
    if (is_packed(v)) {
        w->at = packed_seek(v->data, reverse ? count - 1 - rank : rank);
        return;
    }
    uint64_t place = reverse ? count - rank : rank;
    struct btree_place at = btree_place_of_rank(&zset_of(v)->tree, place);
    w->node = at.leaf;
    w->at = at.at;
}

static bool packed_walk_next(struct zset_walk *w, struct slice *member, double *score)
{
    const unsigned char *lp = w->v->data;
    if (w->at == LISTPACK_NONE)
        return false;
    uint32_t score_at = listpack_next(lp, w->at);
    *member = listpack_text(lp, w->at, w->scratch);
    *score = packed_score(lp, score_at);
    if (!w->reverse) {
        w->at = listpack_next(lp, score_at);
        return true;
    }
    uint32_t before = listpack_previous(lp, w->at);
    w->at = before == LISTPACK_NONE ? before : listpack_previous(lp, before);
    return true;
}

bool zset_walk_next(struct zset_walk *w, struct slice *member, double *score)
{
    if (is_packed(w->v))
        return packed_walk_next(w, member, score);
    struct btree_place at = {w->node, w->at};
    const struct btree_item *item = w->reverse ? btree_previous(&at) : btree_next(&at);
    w->node = at.leaf;
    w->at = at.at;
    if (!item)
        return false;
    *member = btree_member(item);
    *score = item->score;
    return true;
}

/* ---- Ranges ---- */

/* The members of a lower score; with `inclusive` also those of this one. */
static uint64_t count_scores(const struct value *v, double score, bool inclusive)
{
    if (!is_packed(v))
        return btree_count_scores(&zset_of(v)->tree, score, inclusive);
    const unsigned char *lp = v->data;
    uint64_t count = 0;
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE; count++) {
        at = listpack_next(lp, at);
        double other = packed_score(lp, at);
        if (other > score || (other == score && !inclusive))
            break;
        at = listpack_next(lp, at);
    }
    return count;
}

void zset_ranks_of_scores(const struct value *v, const struct zset_score_range *range,
                          uint64_t *first, uint64_t *end)
{
    *first = count_scores(v, range->min, range->min_open);
    *end = count_scores(v, range->max, !range->max_open);
    if (*end < *first)
        *end = *first;
}

static uint64_t count_members(const struct value *v, struct slice member, bool inclusive)
{
    if (!is_packed(v))
        return btree_count_members(&zset_of(v)->tree, member, inclusive);
    const unsigned char *lp = v->data;
    uint64_t count = 0;
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE; count++) {
        char scratch[NUMBER_INTEGER_SIZE_MAX];
        int order = btree_compare(listpack_text(lp, at, scratch), member);
        if (order > 0 || (order == 0 && !inclusive))
            break;
        at = listpack_next(lp, listpack_next(lp, at));
    }
    return count;
}

/* The members before a bound; `inclusive`: those that equal it too. */
static uint64_t rank_of_bound(const struct value *v, const struct zset_lex_bound *bound,
                              bool inclusive)
{
    if (bound->infinite)
        return bound->infinite < 0 ? 0 : zset_count(v);
    return count_members(v, bound->text, inclusive);
}

void zset_ranks_of_lex(const struct value *v, const struct zset_lex_range *range, uint64_t *first,
                       uint64_t *end)
{
    *first = rank_of_bound(v, &range->min, range->min.open);
    *end = rank_of_bound(v, &range->max, !range->max.open);
    if (*end < *first)
        *end = *first;
}

void zset_remove_ranks(struct value *v, const struct keyspace *k, uint64_t first, uint64_t end)
{
    uint64_t count = zset_count(v);
    if (end > count)
        end = count;
    if (first >= end)
        return;
    if (!is_packed(v)) {
        tree_remove_ranks(zset_of(v), k, first, end);
        return;
    }
    unsigned char *lp = v->data;
    listpack_delete(&lp, packed_seek(lp, first), (uint32_t)(2 * (end - first)));
    v->data = lp;
}

/* ---- Scans ---- */

struct scan {
    void (*visit)(void *context, struct slice member, double score);
    void *context;
};

static void scan_item(void *context, void *pointer, struct table_place at)
{
    (void)at;
    const struct scan *s = context;
    const struct btree_item *item = pointer;
    s->visit(s->context, btree_member(item), item->score);
}

uint64_t zset_scan(const struct value *v, uint64_t position, uint64_t count,
                   void (*visit)(void *context, struct slice member, double score), void *context)
{
    if (!is_packed(v)) {
        struct scan s = {visit, context};
        return table_scan(&zset_of(v)->members, position, count, 0, false, scan_item, &s);
    }
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, v, 0, false);
    while (zset_walk_next(&w, &member, &score))
        visit(context, member, score);
    return 0;
}

/* ---- The type ---- */

static struct value create(const struct keyspace *k)
{
    (void)k;
    return (struct value){TYPE_ZSET, ENC_LISTPACK, listpack_create(0)};
}

static uint64_t count_of(const struct value *v)
{
    return is_packed(v) ? listpack_count(v->data) / 2 : zset_of(v)->members.count;
}

static size_t memory(const struct value *v)
{
    if (is_packed(v))
        return mem_usable(v->data);
    const struct zset *z = v->data;
    return mem_usable(z) + table_memory(&z->members) + z->tree.node_bytes + z->item_bytes;
}

static uint64_t parts(const struct value *v)
{
    return is_packed(v) ? 1 : zset_of(v)->members.count + zset_of(v)->tree.node_count + 1;
}

static void free_item(void *context, void *item)
{
    uint64_t *budget = context;
    *budget -= *budget > 0;
    mem_free(item);
}

/* The nodes go last: with all items gone, the set has only its tree to be freed. */
static bool free_some(struct value *v, uint64_t *budget)
{
    if (is_packed(v)) {
        mem_free(v->data);
        v->data = NULL;
        *budget -= *budget > 0;
        return true;
    }
    struct zset *z = v->data;
    assert(!z->view);
    table_drain(&z->members, *budget, free_item, budget);
    if (z->members.count > 0 || !btree_free_some(&z->tree, budget))
        return false;
    mem_free(z);
    v->data = NULL;
    return true;
}

/* Positions from here on are ranks in the tree; below, points of the table. */
#define MOVE_TREE ((uint64_t)1 << 62)

static void replace_item(void *context, const struct btree_item *from, struct btree_item *to)
{
    struct zset *z = context;
    struct table_probe p;
    table_probe_start(&p, &z->members, hash_item(from, z->members.context));
    while (table_probe_next(&p) != from)
        assert(p.bucket);
    table_replace(table_probe_place(&p), to, false);
}

static uint64_t move(struct value *v, uint64_t position, uint64_t *budget,
                     const struct mem_move *m)
{
    if (position == 0)
        v->data = mem_move_block(m, v->data);
    value_spend(budget, 1);
    if (is_packed(v))
        return 0;
    struct zset *z = v->data;
    assert(!z->view);
    while (*budget && position < MOVE_TREE) {
        position = table_move(&z->members, position, 1, m, NULL, NULL);
        value_spend(budget, 1);
        if (position == 0)
            position = MOVE_TREE;
    }
    while (*budget && position - MOVE_TREE < z->tree.count) {
        uint64_t rank = position - MOVE_TREE;
        uint64_t next = btree_move_memory(&z->tree, rank, m, replace_item, z);
        position = MOVE_TREE + next;
        value_spend(budget, next - rank);
    }
    return position >= MOVE_TREE && position - MOVE_TREE >= z->tree.count ? 0 : position;
}

static struct value copy(const struct value *v)
{
    void *data = is_packed(v) ? (void *)listpack_copy(v->data) : tree_copy(v->data);
    return (struct value){TYPE_ZSET, v->encoding, data};
}

static const char *encoding_name(const struct value *v)
{
    return is_packed(v) ? "listpack" : "skiplist";
}

const struct value_ops zset_ops = {
    .create = create,
    .count = count_of,
    .memory = memory,
    .parts = parts,
    .free_some = free_some,
    .move = move,
    .copy = copy,
    .encoding_name = encoding_name,
};

/* ---- Self-check ---- */

static void check_tree(const struct zset *z, const struct keyspace *k)
{
    table_check(&z->members);
    btree_check(&z->tree);
    assert(z->members.count == z->tree.count);
    size_t bytes = 0;
    struct btree_place at = btree_place_of_rank(&z->tree, 0);
    for (struct btree_item *item; (item = btree_next(&at)); bytes += mem_usable(item)) {
        struct table_place place;
        struct slice member = btree_member(item);
        assert(find_member(z, member, keyspace_hash(k, member), &place) == item);
    }
    assert(bytes == z->item_bytes);
}

static void check_packed(const unsigned char *lp)
{
    listpack_check(lp);
    assert(listpack_count(lp) % 2 == 0);
    uint32_t at = listpack_first(lp);
    while (at != LISTPACK_NONE) {
        char scratch[NUMBER_INTEGER_SIZE_MAX];
        struct slice member = listpack_text(lp, at, scratch);
        uint32_t score_at = listpack_next(lp, at);
        at = listpack_next(lp, score_at);
        assert(at == LISTPACK_NONE || packed_behind(lp, at, member, packed_score(lp, score_at)));
    }
}

void zset_check(const struct value *v, const struct keyspace *k)
{
    assert(v->type == TYPE_ZSET);
    if (is_packed(v))
        check_packed(v->data);
    else
        check_tree(zset_of(v), k);
}
