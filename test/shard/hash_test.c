/* Hashes against a model: what each of a fixed universe of fields holds, and until when.
 *
 * Field n of the universe is a text made from n, a value is a text made from a seed: integers,
 * short and long strings, and the sizes at which something changes. The clock is the test's own.
 * A field of the model whose time has come may or may not be in memory still, so that value_count
 * is only known within bounds until all that is due is removed. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/mem.h"
#include "shard/type/hash.h"

#define UNIVERSE 2000
#define TEXT_MAX 5000

static struct keyspace keyspace;
static uint64_t random_state;
static char field_text[TEXT_MAX], value_text[TEXT_MAX];

static uint64_t next_random(void *context)
{
    uint64_t *state = context;
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static const struct value_random randomness = {next_random, &random_state};

static uint64_t below(uint64_t bound)
{
    return value_random_below(&randomness, bound);
}

static void start(void)
{
    unsigned char secret[HASH_SECRET_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 37 + 11);
    keyspace_init(&keyspace, 1, 1, secret);
    random_state = 1;
}

TestSuite(hash, .init = start);

/* --- Texts --- */

static const size_t field_sizes[] = {0, 1, 63, 64, 65, 254, 255, 256, 257, 4000};
#define EDGES (sizeof(field_sizes) / sizeof(field_sizes[0]))

static const size_t value_sizes[] = {0, 1, 63, 64, 65, 300, 511, 512, 513, 520, 1000, 2000, 4999};
#define VALUE_SIZES (sizeof(value_sizes) / sizeof(value_sizes[0]))

/* The text of field `n`; good until the next call. The first ones are the edges. */
static struct slice field_of(uint64_t n)
{
    if (n < EDGES) {
        memset(field_text, 'e', field_sizes[n]);
        return (struct slice){field_text, field_sizes[n]};
    }
    int size = sprintf(field_text, n % 3 ? "f%llu" : "%llu", (unsigned long long)n);
    return (struct slice){field_text, (size_t)size};
}

static uint64_t number_of(struct slice text)
{
    for (uint64_t n = 0; n < EDGES; n++)
        if (text.size == field_sizes[n] && (text.size == 0 || text.data[0] == 'e'))
            return n;
    uint64_t n = 0;
    for (size_t i = text.data[0] == 'f'; i < text.size; i++)
        n = 10 * n + (uint64_t)(text.data[i] - '0');
    return n;
}

/* Small where a packed hash is to stay so. */
static struct slice value_of(uint32_t seed)
{
    if (seed % 4 < 2) {
        int size = sprintf(value_text, "%lld", (long long)seed * (seed % 4 ? 1 : -1000003));
        return (struct slice){value_text, (size_t)size};
    }
    size_t size = seed % 4 == 2 ? seed % 50 : value_sizes[seed / 4 % VALUE_SIZES];
    memset(value_text, 'a' + seed % 26, size);
    return (struct slice){value_text, size};
}

/* --- The model --- */

struct cell {
    bool has;
    uint32_t seed;
    int64_t expires_ms;
    uint32_t visits;
};

struct model {
    struct value v;
    struct cell cells[UNIVERSE];
    uint64_t range;   /* fields in use: the first ones, or those after the edges */
    bool large;       /* edges and large values too */
    int64_t now_ms;
    uint64_t visited;
};

static bool live(const struct model *m, const struct cell *cell)
{
    return cell->has && cell->expires_ms >= m->now_ms;
}

static uint64_t live_count(const struct model *m)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < UNIVERSE; i++)
        count += live(m, &m->cells[i]);
    return count;
}

static struct cell *expect_pair(struct model *m, const struct hash_pair *pair)
{
    uint64_t n = number_of(pair->field);
    cr_assert_lt(n, UNIVERSE);
    struct cell *cell = &m->cells[n];
    cr_assert(live(m, cell), "%llu", (unsigned long long)n);
    cr_assert(slice_equal(pair->value, value_of(cell->seed)));
    cr_assert_eq(pair->expires_ms, cell->expires_ms);
    return cell;
}

static void visit(void *context, const struct hash_pair *pair)
{
    struct model *m = context;
    struct cell *cell = expect_pair(m, pair);
    cr_assert_eq(cell->visits, 0);
    cell->visits = 1;
    m->visited++;
}

static void begin_visits(struct model *m)
{
    m->visited = 0;
    for (uint64_t i = 0; i < UNIVERSE; i++)
        m->cells[i].visits = 0;
}

static void compare(struct model *m)
{
    uint64_t count = live_count(m), held = value_count(&m->v);
    hash_check(&m->v, &keyspace);
    begin_visits(m);
    hash_each(&m->v, m->now_ms, visit, m);
    cr_assert_eq(m->visited, count);
    cr_assert_eq(hash_live_count(&m->v, m->now_ms, UINT64_MAX), count);
    uint64_t max = below(count + 3);
    cr_assert_eq(hash_live_count(&m->v, m->now_ms, max), max < count ? max : count);
    cr_assert_geq(held, count);

    int64_t due_ms = hash_ops.next_due_ms(&m->v);
    int64_t earliest_ms = HASH_NO_EXPIRY;
    for (uint64_t i = 0; i < UNIVERSE; i++)
        if (live(m, &m->cells[i]) && m->cells[i].expires_ms < earliest_ms)
            earliest_ms = m->cells[i].expires_ms;
    cr_assert_leq(due_ms, earliest_ms);
    if (held > count)
        cr_assert_lt(due_ms, m->now_ms);
    else if (m->v.encoding != ENC_TABLE)
        cr_assert_eq(due_ms, earliest_ms);
}

/* --- Steps --- */

static int64_t some_expiry(const struct model *m)
{
    return m->now_ms + (int64_t)below(below(3) ? 200 : 100000);
}

static void step_set(struct model *m, struct cell *cell, struct slice field)
{
    static const int64_t choices[] = {HASH_NO_EXPIRY, HASH_KEEP_EXPIRY, 0};
    int64_t expires_ms = choices[below(3)];
    if (expires_ms == 0)
        expires_ms = some_expiry(m);
    uint32_t seed = (uint32_t)below(100000);
    if (!m->large)
        seed -= seed % 4 == 3;
    bool was_live = live(m, cell);
    cr_assert_eq(hash_set(&m->v, &keyspace, field, value_of(seed), expires_ms, m->now_ms),
                 !was_live);
    if (expires_ms == HASH_KEEP_EXPIRY)
        expires_ms = was_live ? cell->expires_ms : HASH_NO_EXPIRY;
    *cell = (struct cell){.has = true, .seed = seed, .expires_ms = expires_ms};
}

static void step_field(struct model *m, unsigned what)
{
    uint64_t n = (m->large ? 0 : EDGES) + below(m->range);
    struct cell *cell = &m->cells[n];
    struct slice field = field_of(n);
    bool was_live = live(m, cell);
    struct hash_pair pair;
    cr_assert_eq(hash_get(&m->v, &keyspace, field, m->now_ms, &pair), was_live);
    if (was_live)
        expect_pair(m, &pair);
    if (what < 5) {
        step_set(m, cell, field);
    } else if (what < 8) {
        cr_assert_eq(hash_remove(&m->v, &keyspace, field, m->now_ms), was_live);
        cell->has &= !was_live;
    } else {
        int64_t expires_ms = below(4) ? some_expiry(m) : HASH_NO_EXPIRY;
        cr_assert_eq(hash_set_expiry(&m->v, &keyspace, field, expires_ms, m->now_ms), was_live);
        if (was_live)
            cell->expires_ms = expires_ms;
    }
}

static void step_remove_due(struct model *m)
{
    bool all = below(2);
    uint64_t before = value_count(&m->v), due = before - live_count(m);
    uint64_t max = all ? UINT64_MAX : 1 + below(40);
    uint64_t removed = hash_ops.remove_due(&m->v, m->now_ms, max, NULL);
    cr_assert_eq(value_count(&m->v), before - removed);
    cr_assert(all ? removed == due : removed <= due);
    if (all)
        cr_assert_geq(hash_ops.next_due_ms(&m->v), m->now_ms);
}

static void step_random(struct model *m)
{
    struct hash_random r;
    struct hash_pair pair;
    uint64_t draws = 1 + below(5);
    hash_random_start(&r, &m->v, m->now_ms, randomness, draws);
    for (uint64_t i = 0; i < draws; i++) {
        bool found = hash_random_next(&r, &pair);
        cr_assert_eq(found, live_count(m) > 0);
        if (found)
            expect_pair(m, &pair);
    }
    hash_random_end(&r);

    uint64_t count = below(m->range + 2), there = live_count(m);
    if (below(2))
        count = below(3);
    begin_visits(m);
    hash_sample(&m->v, count, m->now_ms, randomness, visit, m);
    cr_assert_eq(m->visited, count < there ? count : there);
}

static void step_scan(struct model *m)
{
    begin_visits(m);
    uint64_t position = 0;
    do {
        position = hash_scan(&m->v, position, 1 + below(20), m->now_ms, visit, m);
    } while (position);
    cr_assert_eq(m->visited, live_count(m));
}

static void step_copy(struct model *m)
{
    struct value copy = hash_ops.copy(&m->v);
    cr_assert_eq(copy.encoding, m->v.encoding);
    cr_assert_eq(value_count(&copy), value_count(&m->v));
    struct value original = m->v;
    m->v = copy;
    hash_check(&m->v, &keyspace);
    compare(m);
    if (below(2)) {
        m->v = original;
        value_free(&copy);
    } else {
        value_free(&original);
    }
}

static void step(struct model *m)
{
    unsigned what = (unsigned)below(28);
    if (what < 20)
        step_field(m, what % 10);
    else if (what < 22)
        m->now_ms += (int64_t)below(60);
    else if (what < 24)
        step_remove_due(m);
    else if (what < 25)
        step_random(m);
    else if (what < 26)
        step_scan(m);
    else if (what < 27)
        step_copy(m);
    else
        hash_prepare(&m->v, &keyspace, NULL, 0);
}

static struct value make(void)
{
    return hash_ops.create(&keyspace);
}

/* Runs so many steps with the thresholds; the encodings that were seen, a bit each. */
static unsigned run_model(uint32_t entries, uint32_t value, uint64_t range, bool large, int steps,
                          int check_every)
{
    keyspace.options.hash_max_listpack_entries = entries;
    keyspace.options.hash_max_listpack_value = value;
    struct model *m = mem_alloc_zeroed(sizeof(*m));
    m->v = make();
    m->range = range;
    m->large = large;
    m->now_ms = 1700000000000;
    unsigned seen = 0;
    for (int i = 0; i < steps; i++) {
        step(m);
        seen |= 1u << m->v.encoding;
        if (i % check_every == 0)
            compare(m);
    }
    m->now_ms = INT64_MAX - 1;
    hash_ops.remove_due(&m->v, m->now_ms, UINT64_MAX, NULL);
    compare(m);
    cr_assert_eq(value_count(&m->v), live_count(m));
    value_free(&m->v);
    mem_free(m);
    return seen;
}

#define SEEN_PACKED (1u << ENC_LISTPACK | 1u << ENC_LISTPACK_EX)
#define SEEN_TABLE (1u << ENC_TABLE)

Test(hash, holds_what_a_model_holds_packed)
{
    for (int i = 0; i < 6; i++) {
        cr_expect_eq(run_model(100, 64, 30, false, 1500, 1), SEEN_PACKED);
        cr_expect_eq(run_model(1000, TEXT_MAX, 40, true, 700, 1), SEEN_PACKED);
    }
}

Test(hash, holds_what_a_model_holds_in_a_table)
{
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(run_model(0, 64, 40, true, 2000, 1) & SEEN_TABLE, SEEN_TABLE);
        run_model(0, 64, 600, false, 3000, 2);
        run_model(0, 64, UNIVERSE - EDGES, true, 6000, 24);
    }
}

Test(hash, holds_what_a_model_holds_through_all_encodings)
{
    unsigned seen = 0;
    for (int i = 0; i < 40; i++) {
        seen |= run_model(12, 64, 40, false, 250, 1);
        seen |= run_model(30, 64, 100, i % 2, 200, 1);
    }
    cr_expect_eq(seen, SEEN_PACKED | SEEN_TABLE);
}

/* --- Encodings --- */

static void fill(struct value *v, int from, int to, int64_t expires_ms)
{
    char text[40];
    for (int i = from; i < to; i++) {
        struct slice field = {text, (size_t)sprintf(text, "n%d", i)};
        hash_set(v, &keyspace, field, SLICE("value"), expires_ms, 0);
    }
}

static void expect_encoding(const struct value *v, const char *name)
{
    cr_expect_str_eq(hash_ops.encoding_name(v), name);
    hash_check(v, &keyspace);
}

Test(hash, encodings_follow_the_thresholds)
{
    keyspace.options.hash_max_listpack_entries = 8;
    struct value v = make();
    expect_encoding(&v, "listpack");
    fill(&v, 0, 8, HASH_NO_EXPIRY);
    expect_encoding(&v, "listpack");
    cr_expect(hash_set_expiry(&v, &keyspace, SLICE("n3"), HASH_NO_EXPIRY, 0));
    cr_expect_not(hash_set_expiry(&v, &keyspace, SLICE("n9"), 5, 0));
    expect_encoding(&v, "listpack");
    cr_expect(hash_set_expiry(&v, &keyspace, SLICE("n3"), 500, 0));
    expect_encoding(&v, "listpackex");
    cr_expect(hash_set_expiry(&v, &keyspace, SLICE("n3"), HASH_NO_EXPIRY, 0));
    expect_encoding(&v, "listpackex");
    fill(&v, 8, 9, HASH_NO_EXPIRY);
    expect_encoding(&v, "hashtable");
    while (value_count(&v) > 1) {
        char text[40];
        struct slice field = {text, (size_t)sprintf(text, "n%d", (int)value_count(&v) - 1)};
        cr_assert(hash_remove(&v, &keyspace, field, 0));
    }
    expect_encoding(&v, "hashtable");
    value_free(&v);
}

Test(hash, a_long_field_or_value_makes_a_table)
{
    char text[65];
    memset(text, 'x', sizeof(text));
    for (int which = 0; which < 2; which++) {
        for (size_t size = 64; size <= 65; size++) {
            struct value v = make();
            struct slice longer = {text, size};
            hash_set(&v, &keyspace, which ? longer : SLICE("f"), which ? SLICE("v") : longer, 1000,
                     0);
            expect_encoding(&v, size == 64 ? "listpackex" : "hashtable");
            value_free(&v);
        }
    }
}

Test(hash, many_pairs_to_come_make_a_table_at_once)
{
    struct slice pairs[] = {SLICE("a"), SLICE("b"), SLICE("c"), SLICE("d"), SLICE("e"), SLICE("f")};
    keyspace.options.hash_max_listpack_entries = 2;
    struct value v = make();
    hash_prepare(&v, &keyspace, pairs, 2);
    expect_encoding(&v, "listpack");
    hash_set(&v, &keyspace, SLICE("kept"), SLICE("v"), 77, 0);
    hash_prepare(&v, &keyspace, pairs, 3);
    expect_encoding(&v, "hashtable");
    struct hash_pair pair;
    cr_expect(hash_get(&v, &keyspace, SLICE("kept"), 77, &pair));
    cr_expect_eq(pair.expires_ms, 77);
    cr_expect_not(hash_get(&v, &keyspace, SLICE("kept"), 78, &pair));
    value_free(&v);

    keyspace.options.hash_max_listpack_value = 0;
    v = make();
    hash_prepare(&v, &keyspace, pairs, 1);
    expect_encoding(&v, "hashtable");
    value_free(&v);
}

/* --- Whole values --- */

static struct value make_encoded(unsigned encoding, int count)
{
    keyspace.options.hash_max_listpack_entries = encoding == ENC_TABLE ? 0 : 100000;
    struct value v = make();
    fill(&v, 0, count, encoding == ENC_LISTPACK ? HASH_NO_EXPIRY : 1000);
    cr_assert_eq(v.encoding, encoding);
    return v;
}

static const unsigned encodings[] = {ENC_LISTPACK, ENC_LISTPACK_EX, ENC_TABLE};
#define EACH_ENCODING(e) (unsigned e##_i = 0, e; e##_i < 3 && (e = encodings[e##_i], true); e##_i++)

Test(hash, a_copy_is_a_hash_of_its_own)
{
    for EACH_ENCODING(e) {
        struct value v = make_encoded(e, 200);
        struct value copy = hash_ops.copy(&v);
        cr_expect_eq(copy.encoding, e);
        cr_expect_eq(hash_ops.next_due_ms(&copy), hash_ops.next_due_ms(&v));
        cr_assert(hash_remove(&copy, &keyspace, SLICE("n7"), 0));
        hash_set(&copy, &keyspace, SLICE("n8"), SLICE("another"), HASH_KEEP_EXPIRY, 0);
        struct hash_pair pair;
        cr_expect(hash_get(&v, &keyspace, SLICE("n7"), 0, &pair));
        cr_expect(hash_get(&v, &keyspace, SLICE("n8"), 0, &pair));
        cr_expect(slice_equal(pair.value, SLICE("value")));
        cr_expect_eq(value_count(&v), 200);
        cr_expect_eq(value_count(&copy), 199);
        hash_check(&v, &keyspace);
        hash_check(&copy, &keyspace);
        value_free(&v);
        value_free(&copy);
    }
}

Test(hash, a_large_hash_is_freed_in_steps)
{
    struct value v = make_encoded(ENC_TABLE, 20000);
    cr_expect_geq(hash_ops.parts(&v), 20000);
    int steps = 0;
    for (bool done = false; !done; steps++) {
        uint64_t budget = 500;
        done = hash_ops.free_some(&v, &budget);
        cr_assert_leq(budget, 500);
        cr_assert(done || budget == 0);
    }
    cr_expect(steps >= 35 && steps <= 41, "%d", steps);
    for EACH_ENCODING(e) {
        v = make_encoded(e, 3);
        uint64_t budget = 10;
        cr_expect(hash_ops.free_some(&v, &budget));
        cr_expect_lt(budget, 10);
    }
}

Test(hash, memory_is_what_the_fields_take)
{
    for EACH_ENCODING(e) {
        struct value v = make_encoded(e, 100);
        size_t before = value_memory(&v);
        cr_expect_geq(before, 100 * 8);
        char text[3000] = "";
        hash_set(&v, &keyspace, SLICE("large"), (struct slice){text, sizeof(text)},
                 HASH_NO_EXPIRY, 0);
        cr_expect_geq(value_memory(&v), before + sizeof(text));
        hash_set(&v, &keyspace, SLICE("large"), SLICE(""), HASH_NO_EXPIRY, 0);
        if (e == ENC_TABLE)
            cr_expect_lt(value_memory(&v), before + sizeof(text) / 2);
        hash_check(&v, &keyspace);
        value_free(&v);
    }
}

/* --- Expiry --- */

Test(hash, a_field_lives_in_the_millisecond_of_its_expiry)
{
    for EACH_ENCODING(e) {
        if (e == ENC_LISTPACK)
            continue;
        struct value v = make_encoded(e, 10);
        struct hash_pair pair;
        cr_expect(hash_get(&v, &keyspace, SLICE("n1"), 1000, &pair));
        cr_expect_eq(hash_ops.remove_due(&v, 1000, 100, NULL), 0);
        cr_expect_not(hash_get(&v, &keyspace, SLICE("n1"), 1001, &pair));
        cr_expect_eq(hash_live_count(&v, 1001, 100), 0);
        cr_expect_eq(value_count(&v), 10);
        cr_expect(hash_set(&v, &keyspace, SLICE("n1"), SLICE("new"), HASH_KEEP_EXPIRY, 1001));
        cr_expect(hash_get(&v, &keyspace, SLICE("n1"), 1001, &pair));
        cr_expect_eq(pair.expires_ms, HASH_NO_EXPIRY);
        cr_expect_eq(hash_ops.remove_due(&v, 1001, 100, NULL), 9);
        cr_expect_eq(hash_ops.next_due_ms(&v), HASH_NO_EXPIRY);
        hash_check(&v, &keyspace);
        value_free(&v);
    }
}

/* A slice looks at few fields, and the next goes on from there. */
Test(hash, what_is_due_goes_in_slices)
{
    struct value v = make_encoded(ENC_TABLE, 1);
    fill(&v, 0, 20000, 1000);
    fill(&v, 20000, 30000, 2000);
    uint64_t removed = 0;
    int calls = 0;
    for (; hash_ops.next_due_ms(&v) < 1500; calls++) {
        uint64_t one = hash_ops.remove_due(&v, 1500, 200, NULL);
        cr_assert_leq(one, 200 + 300);
        removed += one;
        if (calls % 50 == 0)
            hash_check(&v, &keyspace);
    }
    cr_expect_eq(removed, 20000);
    cr_expect_eq(value_count(&v), 10000);
    cr_expect_eq(hash_ops.next_due_ms(&v), 2000);
    cr_expect_gt(calls, 40);
    value_free(&v);
}

/* Whatever is set while a round is under way is in the bound that the round ends with. */
Test(hash, an_expiry_set_within_a_round_is_not_lost)
{
    for (int when = 0; when < 20; when++) {
        struct value v = make_encoded(ENC_TABLE, 2000);
        for (int i = 0; i < when; i++)
            hash_ops.remove_due(&v, 1500, 16, NULL);
        hash_set(&v, &keyspace, SLICE("late"), SLICE("v"), 1600, 1500);
        hash_set(&v, &keyspace, SLICE("n5"), SLICE("v"), 1700, 1500);
        while (hash_ops.next_due_ms(&v) < 1500)
            hash_ops.remove_due(&v, 1500, 16, NULL);
        cr_expect_eq(hash_ops.next_due_ms(&v), 1600);
        cr_expect_eq(value_count(&v), 2);
        cr_expect_eq(hash_ops.remove_due(&v, 1601, 100, NULL), 1);
        cr_expect_eq(hash_ops.next_due_ms(&v), 1700);
        hash_check(&v, &keyspace);
        value_free(&v);
    }
}

/* --- At random --- */

#define PICK_COUNT 40

struct tally {
    unsigned picked[PICK_COUNT];
    uint64_t visits;
};

static void tally(void *context, const struct hash_pair *pair)
{
    struct tally *t = context;
    char digits[24] = {0};
    memcpy(digits, pair->field.data, pair->field.size);
    int i = atoi(digits + 1);
    cr_assert(i >= 0 && i < PICK_COUNT);
    t->picked[i]++;
    t->visits++;
}

/* The deviation of each count is below 3 % of it; allowed are 15. */
static void expect_even(const struct tally *t)
{
    double mean = (double)t->visits / PICK_COUNT;
    for (int i = 0; i < PICK_COUNT; i++)
        cr_expect(t->picked[i] > mean * 0.85 && t->picked[i] < mean * 1.15, "%d: %u of %f", i,
                  t->picked[i], mean);
}

/* With `due` expired fields beside those that can be picked. */
static void expect_even_picks(unsigned encoding, int due)
{
    struct value v = make_encoded(encoding, PICK_COUNT);
    fill(&v, PICK_COUNT, PICK_COUNT + due, 500);
    struct tally t = {.visits = 0};
    struct hash_random r;
    struct hash_pair pair;
    hash_random_start(&r, &v, 700, randomness, 50000);
    while (t.visits < 50000) {
        cr_assert(hash_random_next(&r, &pair));
        tally(&t, &pair);
    }
    hash_random_end(&r);
    expect_even(&t);

    static const uint64_t sizes[] = {1, 3, 13, 14, 39, 40, 50};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        t = (struct tally){.visits = 0};
        while (t.visits < 50000) {
            uint64_t before = t.visits;
            hash_sample(&v, sizes[s], 700, randomness, tally, &t);
            cr_assert_eq(t.visits - before, sizes[s] < PICK_COUNT ? sizes[s] : PICK_COUNT);
        }
        expect_even(&t);
    }
    value_free(&v);
}

Test(hash, each_field_is_as_likely_to_be_picked)
{
    for EACH_ENCODING(e)
        expect_even_picks(e, 0);
}

Test(hash, expired_fields_are_not_picked)
{
    expect_even_picks(ENC_LISTPACK_EX, 30);
    expect_even_picks(ENC_TABLE, 30);
    expect_even_picks(ENC_TABLE, 400);
}

Test(hash, of_expired_fields_alone_none_is_picked)
{
    for EACH_ENCODING(e) {
        struct value v = make_encoded(e, e == ENC_LISTPACK ? 0 : 100);
        struct hash_random r;
        struct hash_pair pair;
        struct tally t = {.visits = 0};
        hash_random_start(&r, &v, 5000, randomness, 3);
        cr_expect_not(hash_random_next(&r, &pair));
        hash_random_end(&r);
        hash_sample(&v, 10, 5000, randomness, tally, &t);
        hash_sample(&v, 1000, 5000, randomness, tally, &t);
        cr_expect_eq(t.visits, 0);
        value_free(&v);
    }
}
