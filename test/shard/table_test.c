/* The table against simple models: an array of all items, each knowing whether it should be in. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mem.h"
#include "shard/type/table.h"

struct item {
    uint64_t hash;
    bool present;
    bool marked;
    bool steady; /* of a scan: stays in the table throughout */
    uint32_t seen;
};

static uint64_t hash_item(const void *item, const void *context)
{
    cr_assert_not_null(context);
    return ((const struct item *)item)->hash;
}

static const struct table_type item_type = {hash_item};
static const int context_word = 1;

static uint64_t next_random(void *context)
{
    uint64_t *state = context;
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct table make_table(void)
{
    struct table t;
    table_init(&t, &item_type, &context_word);
    return t;
}

/* `hash_mask` narrows the hashes, so that many collide. */
static struct item *make_items(size_t count, uint64_t hash_mask)
{
    struct item *items = mem_alloc_zeroed(count * sizeof(*items));
    uint64_t state = count;
    for (size_t i = 0; i < count; i++)
        items[i].hash = next_random(&state) & hash_mask;
    return items;
}

static struct table_place find(const struct table *t, const struct item *item)
{
    struct table_probe p;
    const struct item *candidate;
    table_probe_start(&p, t, item->hash);
    while ((candidate = table_probe_next(&p)))
        if (candidate == item)
            break;
    return table_probe_place(&p);
}

static void add(struct table *t, struct item *item)
{
    struct table_place at = table_add(t, item->hash, item, item->marked);
    cr_assert_eq(table_item(at), item);
    cr_assert_eq(table_mark(at), item->marked);
    item->present = true;
}

static void take_out(struct table *t, struct item *item)
{
    struct table_place at = find(t, item);
    cr_assert_not_null(at.bucket);
    table_remove(t, at, item->hash);
    item->present = false;
}

static void expect_as_modelled(const struct table *t, const struct item *item)
{
    struct table_place at = find(t, item);
    cr_assert_eq(at.bucket != NULL, item->present);
    if (at.bucket)
        cr_assert_eq(table_mark(at), item->marked);
}

/* Random adds, removes and changes of marks of `count` items. Each step checks the item touched,
 * and every `check_every` steps the whole table. */
static void run_model(size_t count, uint64_t hash_mask, int steps, int check_every)
{
    struct table t = make_table();
    struct item *items = make_items(count, hash_mask);
    uint64_t state = 7;
    uint64_t present = 0;
    for (int step = 0; step < steps; step++) {
        struct item *item = &items[next_random(&state) % count];
        /* The bias to adds or removes changes, so the table grows and shrinks again. */
        bool grow = next_random(&state) % 8 < (step / (int)count % 2 ? 2 : 6);
        expect_as_modelled(&t, item);
        if (item->present && !grow) {
            take_out(&t, item);
            present--;
        } else if (item->present) {
            item->marked = !item->marked;
            table_replace(find(&t, item), item, item->marked);
        } else if (grow) {
            add(&t, item);
            present++;
        }
        expect_as_modelled(&t, item);
        cr_assert_eq(t.count, present);
        if (step % check_every == 0)
            table_check(&t);
    }
    for (size_t i = 0; i < count; i++)
        expect_as_modelled(&t, &items[i]);
    table_deinit(&t);
    table_check(&t);
    mem_free(items);
}

Test(table, finds_what_was_added)
{
    struct table t = make_table();
    struct item *items = make_items(3, ~(uint64_t)0);
    add(&t, &items[0]);
    add(&t, &items[1]);
    expect_as_modelled(&t, &items[0]);
    expect_as_modelled(&t, &items[1]);
    expect_as_modelled(&t, &items[2]);
    table_deinit(&t);
    mem_free(items);
}

static void count_visit(void *context, void *item, struct table_place at)
{
    cr_assert_eq(table_item(at), item);
    ((struct item *)item)->seen++;
    if (context)
        ++*(uint64_t *)context;
}

Test(table, empty_table_holds_nothing_and_answers_everything)
{
    struct table t = make_table();
    struct item absent = {.hash = 5};
    uint64_t state = 1;
    cr_assert_null(find(&t, &absent).bucket);
    table_prefetch_bucket(&t, 5);
    table_prefetch_items(&t, 5);
    cr_assert_eq(table_scan(&t, 0, 0, 0, false, count_visit, NULL), 0);
    cr_assert_eq(table_scan(&t, 12345, 1, 1, false, count_visit, NULL), 0);
    cr_assert_null(table_random(&t, next_random, &state));
    cr_assert_eq(table_memory(&t), 0);
    table_check(&t);
    table_deinit(&t);
}

Test(table, probe_place_says_absent_after_the_last_candidate)
{
    struct table t = make_table();
    struct item *items = make_items(30, 0);
    for (int i = 0; i < 30; i++)
        add(&t, &items[i]);
    struct table_probe p;
    int candidates = 0;
    table_probe_start(&p, &t, 0);
    while (table_probe_next(&p))
        candidates++;
    cr_assert_eq(candidates, 30);
    cr_assert_null(table_probe_place(&p).bucket);
    cr_assert_null(table_probe_next(&p));
    table_deinit(&t);
    mem_free(items);
}

Test(table, one_item_costs_a_bucket)
{
    struct table t = make_table();
    struct item item = {.hash = 5};
    add(&t, &item);
    cr_assert_leq(table_memory(&t), sizeof(struct table_bucket) + sizeof(void *));
    table_check(&t);
    take_out(&t, &item);
    cr_assert_eq(table_memory(&t), 0);
    table_check(&t);
}

Test(table, small_table_agrees_with_a_model_at_every_step)
{
    run_model(10, ~(uint64_t)0, 5000, 1);
    run_model(100, ~(uint64_t)0, 20000, 1);
}

Test(table, large_table_agrees_with_a_model)
{
    run_model(30000, ~(uint64_t)0, 300000, 10000);
}

Test(table, agrees_with_a_model_where_hashes_collide)
{
    run_model(100, 0, 5000, 1);
    run_model(200, 0x8000000000000003u, 10000, 1);
    run_model(300, 0xff00000000000000u, 10000, 1);
}

Test(table, one_long_chain_works)
{
    const size_t count = 3000;
    struct table t = make_table();
    struct item *items = make_items(count, 0);
    for (size_t i = 0; i < count; i++)
        add(&t, &items[i]);
    table_check(&t);
    for (size_t i = 0; i < count; i++) {
        take_out(&t, &items[(i * 7) % count]);
        if (i % 500 == 0)
            table_check(&t);
    }
    cr_assert_eq(table_memory(&t), 0);
    mem_free(items);
}

Test(table, replaced_item_is_found_in_its_place)
{
    struct table t = make_table();
    struct item *items = make_items(100, ~(uint64_t)0);
    struct item *others = make_items(100, ~(uint64_t)0);
    for (int i = 0; i < 100; i++)
        add(&t, &items[i]);
    for (int i = 0; i < 100; i++)
        table_replace(find(&t, &items[i]), &others[i], i % 2);
    for (int i = 0; i < 100; i++) {
        cr_assert_null(find(&t, &items[i]).bucket);
        cr_assert_eq(table_mark(find(&t, &others[i])), i % 2);
    }
    table_check(&t);
    table_deinit(&t);
    mem_free(items);
    mem_free(others);
}

Test(table, grows_and_shrinks_back_to_nothing)
{
    const size_t count = 200000;
    struct table t = make_table();
    struct item *items = make_items(count, ~(uint64_t)0);
    size_t peak = 0;
    for (size_t i = 0; i < count; i++) {
        add(&t, &items[i]);
        if (i % 20000 == 0)
            table_check(&t);
        peak = i == count - 1 ? table_memory(&t) : peak;
    }
    table_check(&t);
    cr_assert_leq(peak, count * 12);
    for (size_t i = 0; i < count; i++) {
        take_out(&t, &items[i]);
        if (i % 20000 == 0)
            table_check(&t);
        if (i == count / 2 + count / 4)
            cr_assert_lt(table_memory(&t), peak);
    }
    cr_assert_eq(table_memory(&t), 0);
    table_check(&t);
    mem_free(items);
}

/* Removes and adds items that are not steady. `wanted` is the number of them to aim at. */
static void churn(struct table *t, struct item *items, size_t count, uint64_t *state,
                  uint64_t wanted)
{
    for (int i = 0; i < 400; i++) {
        struct item *item = &items[next_random(state) % count];
        if (item->steady)
            continue;
        if (item->present && t->count > wanted)
            take_out(t, item);
        else if (!item->present && t->count < wanted)
            add(t, item);
    }
}

/* A whole scan with changes between its steps. The table's size swings, starting as `phase` says,
 * so that buckets are split and merged in front of the position and behind it. */
static void scan_with_churn(struct table *t, struct item *items, size_t count, int phase)
{
    uint64_t state = (uint64_t)phase;
    uint64_t position = 0;
    for (size_t i = 0; i < count; i++)
        items[i].seen = 0;
    int step = phase * 3;
    do {
        uint64_t items_min = 1 + next_random(&state) % 20;
        position = table_scan(t, position, items_min, 0, false, count_visit, NULL);
        cr_assert_lt(position, (uint64_t)1 << 48);
        churn(t, items, count, &state, step++ / 12 % 2 ? count / 20 : count);
    } while (position);
    for (size_t i = 0; i < count; i++)
        if (items[i].steady)
            cr_assert_gt(items[i].seen, 0, "item %zu, phase %d", i, phase);
}

Test(table, scan_meets_every_item_that_stays)
{
    const size_t count = 3000;
    struct table t = make_table();
    struct item *items = make_items(count, ~(uint64_t)0);
    for (size_t i = 0; i < count; i++) {
        items[i].steady = i % 30 == 0;
        add(&t, &items[i]);
    }
    for (int phase = 0; phase < 24; phase++)
        scan_with_churn(&t, items, count, phase);
    table_check(&t);
    table_deinit(&t);
    mem_free(items);
}

Test(table, scan_of_an_unchanged_table_meets_each_item_once)
{
    struct table t = make_table();
    struct item *items = make_items(5000, ~(uint64_t)0);
    for (int i = 0; i < 5000; i++) {
        add(&t, &items[i]);
        if (i % 500 > 2)
            continue;
        uint64_t position = 0;
        do {
            position = table_scan(&t, position, 3, 0, false, count_visit, NULL);
        } while (position);
        for (int j = 0; j <= i; j++) {
            cr_assert_eq(items[j].seen, 1);
            items[j].seen = 0;
        }
    }
    table_deinit(&t);
    mem_free(items);
}

Test(table, scan_keeps_to_its_bounds)
{
    struct table t = make_table();
    struct item *items = make_items(1000, ~(uint64_t)0);
    for (int i = 0; i < 1000; i++)
        add(&t, &items[i]);
    uint64_t visited = 0;
    cr_assert_neq(table_scan(&t, 0, 50, 0, false, count_visit, &visited), 0);
    cr_assert(visited >= 50 && visited < 50 + 40);
    uint64_t steps = 0;
    uint64_t position = 0;
    do {
        position = table_scan(&t, position, 0, 1, false, count_visit, NULL);
        steps++;
    } while (position);
    cr_assert_eq(steps, t.bucket_count);
    visited = 0;
    cr_assert_eq(table_scan(&t, 0, 0, 0, false, count_visit, &visited), 0);
    cr_assert_eq(visited, 1000);
    table_deinit(&t);
    mem_free(items);
}

Test(table, scan_of_marked_items_meets_only_those)
{
    struct table t = make_table();
    struct item *items = make_items(2000, ~(uint64_t)0);
    for (int i = 0; i < 2000; i++) {
        items[i].marked = i % 7 == 0;
        add(&t, &items[i]);
    }
    uint64_t position = 0;
    do {
        position = table_scan(&t, position, 5, 10, true, count_visit, NULL);
    } while (position);
    for (int i = 0; i < 2000; i++)
        cr_assert_eq(items[i].seen, items[i].marked);
    table_deinit(&t);
    mem_free(items);
}

Test(table, scan_takes_any_position)
{
    struct table t = make_table();
    struct item *items = make_items(1000, ~(uint64_t)0);
    uint64_t state = 3;
    for (int i = 0; i < 1000; i++)
        add(&t, &items[i]);
    for (int i = 0; i < 1000; i++) {
        uint64_t position = next_random(&state) >> (i % 2 ? 16 : 0);
        uint64_t next = table_scan(&t, position, 1, 0, false, count_visit, NULL);
        cr_assert(next == 0 || next > position);
    }
    table_deinit(&t);
    mem_free(items);
}

/* Each of `count` items should be picked about as often as the others. */
static void expect_even_picks(size_t count)
{
    const uint32_t picks_each = 400;
    struct table t = make_table();
    struct item *items = make_items(count, ~(uint64_t)0);
    uint64_t state = 11;
    for (size_t i = 0; i < count; i++)
        add(&t, &items[i]);
    for (size_t i = 0; i < count * picks_each; i++)
        ((struct item *)table_random(&t, next_random, &state))->seen++;
    for (size_t i = 0; i < count; i++) {
        cr_assert_gt(items[i].seen, picks_each / 2, "%zu: %u", i, items[i].seen);
        cr_assert_lt(items[i].seen, picks_each * 2, "%zu: %u", i, items[i].seen);
    }
    table_deinit(&t);
    mem_free(items);
}

Test(table, random_picks_are_about_even)
{
    expect_even_picks(1);
    expect_even_picks(13);
    expect_even_picks(700);
    expect_even_picks(1500);
}

Test(table, random_pick_reaches_the_end_of_a_long_chain)
{
    struct table t = make_table();
    struct item *items = make_items(100, 0);
    uint64_t state = 1;
    for (int i = 0; i < 100; i++)
        add(&t, &items[i]);
    for (int i = 0; i < 3000; i++)
        ((struct item *)table_random(&t, next_random, &state))->seen++;
    for (int i = 0; i < 100; i++)
        cr_assert_gt(items[i].seen, 0);
    table_deinit(&t);
    mem_free(items);
}

Test(table, match_finds_exactly_the_slots_of_a_tag)
{
    struct table_bucket b;
    uint64_t state = 5;
    for (int round = 0; round < 100000; round++) {
        uint32_t expected = 0;
        uint64_t bits = next_random(&state);
        uint8_t tag = bits % 2 ? 0x80 : (uint8_t)(bits >> 56);
        memset(&b, tag, sizeof(b));
        for (uint32_t slot = 0; slot < TABLE_SLOTS; slot++) {
            uint8_t distance = (uint8_t)(next_random(&state) % 3) - 1;
            b.tags[slot] = tag + distance;
            expected |= (uint32_t)(distance == 0) << slot;
        }
        cr_assert_eq(table_match(&b, tag), expected);
    }
}
