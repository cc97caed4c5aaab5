/* The B+ tree against a sorted array. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/type/btree.h"

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct btree_item *make_item(uint64_t number, double score)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    struct btree_item *item = mem_alloc(offsetof(struct btree_item, bytes) + (size_t)size);
    item->score = score;
    item->size = (uint32_t)size;
    memcpy(item->bytes, text, (size_t)size);
    return item;
}

static int compare_items(const struct btree_item *a, const struct btree_item *b)
{
    if (a->score != b->score)
        return a->score < b->score ? -1 : 1;
    return btree_compare(btree_member(a), btree_member(b));
}

struct model {
    struct btree tree;
    struct btree_item **items; /* in order */
    size_t count;
    uint64_t state; /* of the random sequence */
    uint64_t next_number;
    uint64_t scores; /* how many different ones */
};

static void model_init(struct model *m, size_t max, uint64_t scores)
{
    *m = (struct model){.state = scores, .scores = scores};
    m->items = mem_alloc(max * sizeof(*m->items));
    btree_init(&m->tree);
}

static void model_deinit(struct model *m)
{
    uint64_t budget = UINT64_MAX;
    for (size_t i = 0; i < m->count; i++)
        mem_free(m->items[i]);
    cr_assert(btree_free_some(&m->tree, &budget));
    cr_assert_eq(m->tree.node_bytes, 0);
    mem_free(m->items);
}

static uint64_t below(struct model *m, uint64_t bound)
{
    return next_random(&m->state) % bound;
}

static double random_score(struct model *m)
{
    return (double)below(m, m->scores) - (double)m->scores / 2;
}

static void model_put(struct model *m, struct btree_item *item)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_items(m->items[middle], item) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    memmove(m->items + low + 1, m->items + low, (m->count - low) * sizeof(*m->items));
    m->items[low] = item;
    m->count++;
}

static void model_take(struct model *m, size_t rank, size_t count)
{
    m->count -= count;
    memmove(m->items + rank, m->items + rank + count, (m->count - rank) * sizeof(*m->items));
}

static void insert(struct model *m, double score)
{
    struct btree_item *item = make_item(m->next_number++, score);
    btree_insert(&m->tree, item);
    model_put(m, item);
}

static void remove_one(struct model *m)
{
    size_t rank = below(m, m->count);
    struct btree_item *item = m->items[rank];
    btree_remove(&m->tree, item);
    model_take(m, rank, 1);
    mem_free(item);
}

/* Small and large steps: within a leaf, and to another one. */
static void move_one(struct model *m)
{
    size_t rank = below(m, m->count);
    struct btree_item *item = m->items[rank];
    double score = below(m, 2) ? random_score(m) : item->score + (double)below(m, 9) - 4;
    model_take(m, rank, 1);
    if (score != item->score)
        btree_move(&m->tree, item, score);
    model_put(m, item);
}

static void remove_run(struct model *m)
{
    struct btree_item *items[BTREE_NODE_MAX];
    size_t rank = below(m, m->count);
    uint64_t max = 1 + below(m, 2 * BTREE_NODE_MAX);
    uint32_t count = btree_remove_run(&m->tree, rank, max, items);
    cr_assert(count >= 1 && count <= max && count <= m->count - rank);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(items[i], m->items[rank + i]);
        mem_free(items[i]);
    }
    model_take(m, rank, count);
}

static void check_order(const struct model *m)
{
    btree_check(&m->tree);
    cr_assert_eq(m->tree.count, m->count);
    struct btree_place at = btree_place_of_rank(&m->tree, 0);
    for (size_t i = 0; i < m->count; i++)
        cr_assert_eq(btree_next(&at), m->items[i]);
    cr_assert_null(btree_next(&at));
    at = btree_place_of_rank(&m->tree, m->count);
    for (size_t i = m->count; i-- > 0;)
        cr_assert_eq(btree_previous(&at), m->items[i]);
    cr_assert_null(btree_previous(&at));
}

static void check_ranks(struct model *m)
{
    size_t rank = below(m, m->count + 1);
    struct btree_place at = btree_place_of_rank(&m->tree, rank);
    cr_assert_eq(btree_next(&at), rank < m->count ? m->items[rank] : NULL);
    if (rank < m->count)
        cr_assert_eq(btree_rank(&m->tree, m->items[rank]), rank);
    double score = random_score(m) + (below(m, 2) ? 0.5 : 0);
    size_t lower = 0, upper = 0;
    for (size_t i = 0; i < m->count; i++) {
        lower += m->items[i]->score < score;
        upper += m->items[i]->score <= score;
    }
    cr_assert_eq(btree_count_scores(&m->tree, score, false), lower);
    cr_assert_eq(btree_count_scores(&m->tree, score, true), upper);
}

/* Grows to about `peak`, then shrinks, again and again. */
static void run_model(uint64_t scores, size_t peak, int steps)
{
    struct model m;
    bool grow = true;
    int peaks = 0;
    model_init(&m, 2 * peak, scores);
    for (int i = 0; i < steps; i++) {
        if (grow ? m.count >= peak : m.count == 0) {
            peaks += grow;
            grow = !grow;
        }
        uint64_t choice = below(&m, 1000);
        if (m.count == 0 || choice < (grow ? 700u : 200u))
            insert(&m, random_score(&m));
        else if (choice < 750)
            remove_one(&m);
        else if (choice < (grow ? 999u : 990u))
            move_one(&m);
        else
            remove_run(&m);
        btree_check(&m.tree);
        check_ranks(&m);
        if (i % 64 == 0)
            check_order(&m);
    }
    cr_expect_geq(peaks, 2);
    model_deinit(&m);
}

Test(btree, agrees_with_a_sorted_array_when_scores_differ)
{
    run_model(1000000, 2000, 15000);
}

Test(btree, agrees_with_a_sorted_array_when_many_scores_are_equal)
{
    run_model(5, 1500, 15000);
}

Test(btree, agrees_with_a_sorted_array_when_all_scores_are_equal)
{
    run_model(1, 600, 8000);
}

static void fill_in_order(double step)
{
    struct model m;
    size_t count = 20000;
    model_init(&m, count, 1);
    for (size_t i = 0; i < count; i++) {
        m.items[i] = make_item(i, (double)i * step);
        btree_insert(&m.tree, m.items[i]);
    }
    m.count = count;
    btree_check(&m.tree);
    /* Full leaves, and one inner node for each 62 of them. */
    cr_expect_leq(m.tree.node_bytes, (count / BTREE_NODE_MAX + 1) * 1120);
    for (size_t i = 0; i < count; i += 97)
        cr_assert_eq(btree_rank(&m.tree, m.items[i]), step > 0 ? i : count - 1 - i);
    model_deinit(&m);
}

Test(btree, ascending_items_fill_the_leaves)
{
    fill_in_order(1);
}

Test(btree, descending_items_fill_the_leaves)
{
    fill_in_order(-1);
}

Test(btree, appending_keeps_the_order)
{
    struct model m;
    model_init(&m, 5000, 1);
    for (size_t i = 0; i < 5000; i++) {
        m.items[m.count++] = make_item(i, (double)i);
        btree_append(&m.tree, m.items[i]);
    }
    check_order(&m);
    model_deinit(&m);
}

Test(btree, removing_from_the_ends_and_the_middle_empties_it)
{
    for (int from = 0; from < 3; from++) {
        struct model m;
        model_init(&m, 4000, 1000000);
        for (size_t i = 0; i < 4000; i++)
            insert(&m, random_score(&m));
        while (m.count > 0) {
            size_t rank = from == 0 ? 0 : from == 1 ? m.count - 1 : m.count / 2;
            struct btree_item *item = m.items[rank];
            btree_remove(&m.tree, item);
            model_take(&m, rank, 1);
            mem_free(item);
            if (m.count % 16 == 0)
                btree_check(&m.tree);
        }
        cr_assert_null(m.tree.root);
        model_deinit(&m);
    }
}

Test(btree, members_count_by_their_bytes_when_scores_are_equal)
{
    struct model m;
    model_init(&m, 1000, 1);
    for (size_t i = 0; i < 1000; i++)
        insert(&m, 0);
    for (size_t i = 0; i < m.count; i++) {
        struct slice member = btree_member(m.items[i]);
        cr_assert_eq(btree_count_members(&m.tree, member, false), i);
        cr_assert_eq(btree_count_members(&m.tree, member, true), i + 1);
    }
    cr_expect_eq(btree_count_members(&m.tree, SLICE(""), true), 0);
    cr_expect_eq(btree_count_members(&m.tree, SLICE("a"), false), 1000);
    model_deinit(&m);
}

Test(btree, bytes_compare_unsigned_and_a_prefix_first)
{
    cr_expect_eq(btree_compare(SLICE("a"), SLICE("a")), 0);
    cr_expect_eq(btree_compare(SLICE("a"), SLICE("ab")), -1);
    cr_expect_eq(btree_compare(SLICE("b"), SLICE("ab")), 1);
    cr_expect_eq(btree_compare(SLICE("\xff"), SLICE("a")), 1);
    cr_expect_eq(btree_compare(SLICE(""), SLICE("\0")), -1);
    cr_expect_eq(btree_compare((struct slice){NULL, 0}, SLICE("")), 0);
}

Test(btree, is_freed_in_steps)
{
    struct model m;
    model_init(&m, 10000, 1000000);
    for (size_t i = 0; i < 10000; i++)
        insert(&m, random_score(&m));
    int steps = 0;
    for (bool done = false; !done; steps++) {
        uint64_t before = m.tree.node_count, budget = 10;
        done = btree_free_some(&m.tree, &budget);
        cr_assert_leq(before - m.tree.node_count, 10 + BTREE_NODE_MAX + 1);
    }
    cr_expect_geq(steps, 4);
    model_deinit(&m);
}
