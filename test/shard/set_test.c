/* Sets against a model: which of a fixed universe of members are there.
 *
 * Member n of the universe is a text made from n: an integer, a short or a long string, or one at
 * an edge of the sizes that members are held with. Thresholds are small, so that a run goes through
 * all encodings. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/mem.h"
#include "shard/type/set_index.h"

#define UNIVERSE 3000
#define TEXT_MAX 70000

static struct keyspace keyspace;
static uint64_t random_state;
static char *long_text;

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
    long_text = mem_alloc(TEXT_MAX + 1);
}

static void stop(void)
{
    mem_free(long_text);
}

TestSuite(set, .init = start, .fini = stop);

static const size_t edge_sizes[] = {
    0, 1, 63, 64, 65, 66, 100, 252, 253, 254, 255, 256, 65534, 65535, 65536, 69999,
};
#define EDGES (sizeof(edge_sizes) / sizeof(edge_sizes[0]))

/* The text of member `n`; good until the next call. The first ones are the edges. */
static struct slice text_of(uint64_t n)
{
    if (n < EDGES) {
        memset(long_text, 'e', edge_sizes[n]);
        return (struct slice){long_text, edge_sizes[n]};
    }
    int size;
    if (n % 3 == 0)
        size = sprintf(long_text, "%lld", (long long)n * (n % 2 ? 1 : -1000003));
    else if (n % 3 == 1)
        size = sprintf(long_text, "m%llu", (unsigned long long)n);
    else
        size = sprintf(long_text, "%llu, of some more bytes than the others",
                       (unsigned long long)n);
    return (struct slice){long_text, (size_t)size};
}

/* The number of the member whose text this is. */
static uint64_t number_of(struct slice text)
{
    for (uint64_t n = 0; n < EDGES; n++)
        if (text.size == edge_sizes[n] && (text.size == 0 || text.data[0] == 'e'))
            return n;
    char digits[24] = {0};
    size_t skip = text.data[0] == 'm';
    memcpy(digits, text.data + skip, text.size - skip < 20 ? text.size - skip : 20);
    long long number = strtoll(digits, NULL, 10);
    return (uint64_t)(number < 0 ? number / -1000003 : number);
}

static uint64_t number_of_member(const struct set_member *m)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    return number_of(set_member_text(m, scratch));
}

struct model {
    bool has[UNIVERSE];
    uint64_t count;
};

static struct value make(void)
{
    return set_ops.create(&keyspace);
}

/* Walks and compares all. */
static void compare(const struct value *v, const struct model *model)
{
    struct set_walk w;
    struct set_member m;
    uint64_t members = 0;
    set_check(v, &keyspace);
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m)) {
        uint64_t n = number_of_member(&m);
        cr_assert(n < UNIVERSE && model->has[n], "%llu", (unsigned long long)n);
        members++;
    }
    cr_assert_eq(members, model->count);
    cr_assert_eq(set_count(v), model->count);
}

/* Adds, removes or asks about a member among the first `range`. */
static void step(struct value *v, struct model *model, uint64_t range, bool grow)
{
    uint64_t n = below(range);
    bool add = below(8) < (grow ? 6 : 2);
    struct slice text = text_of(n);
    cr_assert_eq(set_has(v, &keyspace, text), model->has[n]);
    if (add)
        cr_assert_eq(set_add(v, &keyspace, text), !model->has[n]);
    else
        cr_assert_eq(set_remove(v, &keyspace, text), model->has[n]);
    model->count += (uint64_t)add - model->has[n];
    model->has[n] = add;
}

Test(set, holds_what_a_model_holds)
{
    keyspace.options.set_max_intset_entries = 20;
    keyspace.options.set_max_listpack_entries = 40;
    unsigned seen = 0;
    for (int run = 0; run < 12; run++) {
        struct value v = make();
        struct model model = {.count = 0};
        uint64_t range = run % 3 == 0 ? 60 : run % 3 == 1 ? 200 : UNIVERSE;
        for (int i = 0; i < 2500; i++) {
            step(&v, &model, range, i / 600 % 2 == 0);
            seen |= 1u << v.encoding;
            if (i < 100 || i % 16 == 0)
                compare(&v, &model);
        }
        compare(&v, &model);
        value_free(&v);
    }
    cr_expect_eq(seen, 1u << ENC_LISTPACK | 1u << ENC_TABLE | 1u << ENC_INTSET);
}

static void fill(struct value *v, const char *format, int from, int to)
{
    char text[100];
    for (int i = from; i < to; i++) {
        int size = snprintf(text, sizeof(text), format, i);
        set_add(v, &keyspace, (struct slice){text, (size_t)size});
    }
}

static void expect_encoding(const struct value *v, const char *name)
{
    cr_expect_str_eq(set_ops.encoding_name(v), name);
    set_check(v, &keyspace);
}

Test(set, encodings_follow_the_thresholds)
{
    struct value v = make();
    expect_encoding(&v, "intset");
    fill(&v, "%d", 0, 512);
    expect_encoding(&v, "intset");
    fill(&v, "%d", 512, 513);
    expect_encoding(&v, "hashtable");
    value_free(&v);

    v = make();
    fill(&v, "%d", 0, 127);
    fill(&v, "m%d", 0, 1);
    expect_encoding(&v, "listpack");
    fill(&v, "m%d", 1, 2);
    expect_encoding(&v, "hashtable");
    cr_expect_eq(set_count(&v), 129);
    value_free(&v);

    v = make();
    fill(&v, "%d", 0, 128);
    fill(&v, "m%d", 0, 1);
    expect_encoding(&v, "hashtable");
    value_free(&v);

    v = make();
    fill(&v, "m%064d", 0, 1);
    expect_encoding(&v, "hashtable");
    value_free(&v);
}

Test(set, an_expected_number_chooses_the_encoding)
{
    struct value v = make();
    set_expect(&v, &keyspace, SLICE("1"), 512);
    expect_encoding(&v, "intset");
    set_expect(&v, &keyspace, SLICE("1"), 513);
    expect_encoding(&v, "hashtable");
    value_free(&v);

    v = make();
    set_expect(&v, &keyspace, SLICE("a"), 128);
    expect_encoding(&v, "listpack");
    fill(&v, "%d", 0, 5);
    expect_encoding(&v, "listpack");
    set_expect(&v, &keyspace, SLICE("a"), 129);
    expect_encoding(&v, "hashtable");
    cr_expect_eq(set_count(&v), 5);
    value_free(&v);
}

/* Sets of the three encodings, with `count` members n0 ... or 0 ... */
static struct value make_encoded(unsigned encoding, int count)
{
    keyspace.options.set_max_intset_entries = encoding == ENC_INTSET ? 100000 : 0;
    keyspace.options.set_max_listpack_entries = encoding == ENC_LISTPACK ? 100000 : 0;
    struct value v = make();
    fill(&v, encoding == ENC_INTSET ? "%d" : "n%d", 0, count);
    cr_assert_eq(v.encoding, encoding);
    return v;
}

static const unsigned encodings[] = {ENC_INTSET, ENC_LISTPACK, ENC_TABLE};
#define EACH_ENCODING(e) (unsigned e##_i = 0, e; e##_i < 3 && (e = encodings[e##_i], true); e##_i++)

static int index_of(const struct set_member *m)
{
    char digits[24] = {0};
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice text = set_member_text(m, scratch);
    memcpy(digits, text.data, text.size);
    return atoi(digits + (digits[0] == 'n'));
}

Test(set, a_copy_is_a_set_of_its_own)
{
    struct value empty = make();
    struct value copied = set_ops.copy(&empty);
    cr_expect_eq(set_count(&copied), 0);
    value_free(&copied);
    for EACH_ENCODING(e) {
        struct value v = make_encoded(e, 300);
        struct value copy = set_ops.copy(&v);
        cr_expect_eq(copy.encoding, e);
        struct set_member m;
        set_random(&copy, &randomness, &m);
        set_remove_at(&copy, &keyspace, &m);
        cr_expect_eq(set_count(&v), 300);
        cr_expect_eq(set_count(&copy), 299);
        set_check(&v, &keyspace);
        set_check(&copy, &keyspace);
        cr_expect_geq(value_memory(&v), set_ops.parts(&v) * 8);
        value_free(&v);
        value_free(&copy);
    }
}

Test(set, a_large_set_is_freed_in_steps)
{
    struct value v = make_encoded(ENC_TABLE, 20000);
    cr_expect_geq(set_ops.parts(&v), 20000);
    int steps = 0;
    for (bool done = false; !done; steps++) {
        uint64_t budget = 500;
        done = set_ops.free_some(&v, &budget);
        cr_assert_leq(budget, 500);
        cr_assert(done || budget == 0);
    }
    cr_expect(steps >= 35 && steps <= 41, "%d", steps);
}

Test(set, an_emptied_table_is_freed)
{
    struct value v = make_encoded(ENC_TABLE, 1000);
    while (set_count(&v)) {
        struct set_member m;
        set_random(&v, &randomness, &m);
        set_remove_at(&v, &keyspace, &m);
    }
    set_check(&v, &keyspace);
    uint64_t budget = 1;
    cr_expect(set_ops.free_some(&v, &budget));
}

#define PICK_COUNT 40

struct tally {
    unsigned picked[PICK_COUNT];
    unsigned last[PICK_COUNT]; /* the round in which it was picked last */
    unsigned round;
    uint64_t visits;
};

static void tally_visit(void *context, const struct set_member *m)
{
    struct tally *t = context;
    int i = index_of(m);
    cr_assert(i >= 0 && i < PICK_COUNT);
    t->picked[i]++;
    t->last[i] = t->round;
    t->visits++;
}

static void tally_visit_once(void *context, const struct set_member *m)
{
    struct tally *t = context;
    cr_assert_neq(t->last[index_of(m)], t->round);
    tally_visit(context, m);
}

/* With so many rounds, the deviation of each count is below 3 % of it; allowed are 15. */
static void expect_even(const struct tally *t)
{
    double mean = (double)t->visits / PICK_COUNT;
    for (int i = 0; i < PICK_COUNT; i++)
        cr_expect(t->picked[i] > mean * 0.85 && t->picked[i] < mean * 1.15, "%d: %u of %f", i,
                  t->picked[i], mean);
}

Test(set, samples_are_different_members_each_as_likely)
{
    static const uint64_t sizes[] = {1, 3, 9, 20, 39, 40, 50};
    for EACH_ENCODING(e) {
        struct value v = make_encoded(e, PICK_COUNT);
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            struct tally t = {.round = 0};
            uint64_t size = sizes[s] < PICK_COUNT ? sizes[s] : PICK_COUNT;
            while (t.visits < 60000) {
                uint64_t before = t.visits;
                t.round++;
                set_sample(&v, sizes[s], &randomness, tally_visit_once, &t);
                cr_assert_eq(t.visits, before + size);
            }
            expect_even(&t);
        }
        value_free(&v);
    }
}

Test(set, repeated_samples_are_independent)
{
    for EACH_ENCODING(e) {
        struct value v = make_encoded(e, PICK_COUNT);
        struct tally t = {.round = 1};
        set_sample_repeated(&v, 59999, &randomness, tally_visit, &t);
        set_sample_repeated(&v, 1, &randomness, tally_visit, &t);
        cr_expect_eq(t.visits, 60000);
        expect_even(&t);
        value_free(&v);
    }
}

Test(set, a_split_deals_out_all_members)
{
    for EACH_ENCODING(e) {
        struct value v = make_encoded(e, PICK_COUNT);
        keyspace.options.set_max_intset_entries = 512;
        keyspace.options.set_max_listpack_entries = 30;
        struct tally t = {.round = 0};
        for (uint64_t round = 0; round < 4000; round++) {
            t.round++;
            struct value rest = make();
            uint64_t count = round % (PICK_COUNT + 1);
            uint64_t before = t.visits;
            set_split(&v, &keyspace, count, &randomness, &rest, tally_visit_once, &t);
            cr_assert_eq(t.visits, before + count);
            cr_assert_eq(set_count(&rest), PICK_COUNT - count);
            struct set_walk w;
            struct set_member m;
            set_walk_start(&w, &rest);
            while (set_walk_next(&w, &m))
                cr_assert_neq(t.last[index_of(&m)], t.round);
            set_check(&rest, &keyspace);
            if (e == ENC_TABLE)
                cr_assert_eq(rest.encoding, PICK_COUNT - count > 30 ? ENC_TABLE : ENC_LISTPACK);
            else
                cr_assert_eq(rest.encoding, e);
            value_free(&rest);
        }
        expect_even(&t);
        value_free(&v);
    }
}

Test(set, members_move_between_sets_of_all_encodings)
{
    for EACH_ENCODING(from_encoding) {
        for EACH_ENCODING(to_encoding) {
            struct value from = make_encoded(from_encoding, 50);
            struct value to = make_encoded(to_encoding, 20);
            struct set_walk w;
            struct set_member m;
            set_walk_start(&w, &from);
            while (set_walk_next(&w, &m)) {
                bool had = set_has_member(&to, &keyspace, &m);
                cr_assert_eq(set_add_member(&to, &keyspace, &m), !had);
                cr_assert(set_has_member(&to, &keyspace, &m));
            }
            set_check(&to, &keyspace);
            set_walk_start(&w, &from);
            while (set_walk_next(&w, &m))
                cr_assert(set_remove_member(&to, &keyspace, &m));
            set_check(&to, &keyspace);
            value_free(&from);
            value_free(&to);
        }
    }
}

Test(set, an_index_says_what_the_set_says)
{
    static const int counts[] = {0, 1, 15, 16, 17, 60, 500};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        keyspace.options.set_max_intset_entries = n % 2 ? 0 : 512;
        keyspace.options.set_max_listpack_entries = 1000;
        keyspace.options.set_max_listpack_value = TEXT_MAX;
        struct value v = make();
        for (int i = 0; i < counts[n]; i++)
            set_add(&v, &keyspace, text_of(below(800)));
        struct set_index x;
        set_index_start(&x, &v);
        for (int i = 0; i < 3000; i++) {
            uint64_t number = below(800);
            struct set_member m = {.text = text_of(number)};
            bool has = set_has(&v, &keyspace, m.text);
            cr_assert_eq(set_index_has(&x, &keyspace, &m), has);
            if (number_parse_integer(m.text, &m.integer))
                m.text = (struct slice){NULL, 0};
            cr_assert_eq(set_index_has(&x, &keyspace, &m), has);
        }
        cr_expect_eq(x.positions != NULL, v.encoding == ENC_LISTPACK && set_count(&v) >= 16);
        set_index_end(&x);
        value_free(&v);
    }
}

struct scan_seen {
    bool seen[20000];
    uint64_t visits;
};

static void scan_visit(void *context, const struct set_member *m)
{
    struct scan_seen *s = context;
    s->seen[index_of(m)] = true;
    s->visits++;
}

Test(set, a_scan_meets_all_members_that_stay)
{
    static struct scan_seen s;
    for (int shape = 0; shape < 3; shape++) {
        struct value v = make_encoded(ENC_TABLE, 2000);
        memset(&s, 0, sizeof(s));
        uint64_t position = 0;
        int other = 2000;
        do {
            position = set_scan(&v, position, 10, scan_visit, &s);
            if (shape == 1 && other < 19000)
                fill(&v, "n%d", other, other + 80);
            char text[20];
            for (int i = 0; shape == 2 && i < 30; i++) {
                int size = snprintf(text, sizeof(text), "n%d", 1000 + (int)below(1000));
                set_remove(&v, &keyspace, (struct slice){text, (size_t)size});
            }
            other += 80;
        } while (position);
        for (int i = 0; i < (shape == 2 ? 1000 : 2000); i++)
            cr_assert(s.seen[i], "%d of shape %d", i, shape);
        value_free(&v);
    }
}

Test(set, a_packed_set_is_scanned_whole)
{
    static struct scan_seen s;
    for (int i = 0; i < 2; i++) {
        struct value v = make_encoded(encodings[i], 100);
        memset(&s, 0, sizeof(s));
        cr_expect_eq(set_scan(&v, 12345, 1, scan_visit, &s), 0);
        cr_expect_eq(s.visits, 100);
        value_free(&v);
    }
}
