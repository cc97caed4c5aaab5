/* Sorted sets, in both encodings, against a sorted array of members. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "shard/type/zset.h"

#define MEMBERS 700 /* different ones */

struct pair {
    uint32_t number; /* which member */
    double score;
};

struct model {
    struct keyspace k;
    struct value v;
    struct pair pairs[MEMBERS]; /* in order */
    size_t count;
    uint64_t state; /* of the random sequence */
    uint64_t scores;
};

static uint64_t below(struct model *m, uint64_t bound)
{
    uint64_t x = m->state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % bound;
}

/* Numbers as they are, so that a listpack holds integers, and texts. */
static struct slice member_of(uint32_t number, char text[32])
{
    int size = snprintf(text, 32, number % 3 ? "%u" : "member:%u", number);
    return (struct slice){text, (size_t)size};
}

static int compare_members(struct slice a, struct slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.data, b.data, size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    char s[32], t[32];
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return compare_members(member_of(x->number, s), member_of(y->number, t));
}

static void keyspace_of(struct keyspace *k, uint32_t entries)
{
    unsigned char secret[HASH_SECRET_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 7 + 1);
    keyspace_init(k, 1, 1, secret);
    k->options.zset_max_listpack_entries = entries;
}

static void model_init(struct model *m, uint32_t entries, uint64_t scores)
{
    *m = (struct model){.state = scores + entries, .scores = scores};
    keyspace_of(&m->k, entries);
    m->v = zset_ops.create(&m->k);
}

static double random_score(struct model *m)
{
    uint64_t kind = below(m, 40);
    if (kind == 0)
        return below(m, 2) ? HUGE_VAL : -HUGE_VAL;
    double score = (double)below(m, m->scores) - (double)m->scores / 2;
    return kind < 20 ? score : score + 0.1;
}

static size_t model_find(const struct model *m, uint32_t number)
{
    size_t i = 0;
    while (i < m->count && m->pairs[i].number != number)
        i++;
    return i;
}

static void put(struct model *m)
{
    char text[32];
    struct pair p = {(uint32_t)below(m, MEMBERS), random_score(m)};
    size_t at = model_find(m, p.number);
    bool fresh = at == m->count;
    cr_assert_eq(zset_put(&m->v, &m->k, member_of(p.number, text), p.score), fresh);
    if (fresh)
        m->count++;
    m->pairs[at] = p;
    qsort(m->pairs, m->count, sizeof(p), compare_pairs);
}

static void model_take(struct model *m, size_t rank, size_t count)
{
    m->count -= count;
    memmove(m->pairs + rank, m->pairs + rank + count, (m->count - rank) * sizeof(*m->pairs));
}

static void take_out(struct model *m)
{
    char text[32];
    uint32_t number = (uint32_t)below(m, MEMBERS);
    size_t at = model_find(m, number);
    cr_assert_eq(zset_remove(&m->v, &m->k, member_of(number, text)), at < m->count);
    if (at < m->count)
        model_take(m, at, 1);
}

static void take_ranks(struct model *m)
{
    uint64_t first = below(m, m->count + 1);
    uint64_t end = first + below(m, below(m, 8) ? 6 : 300);
    zset_remove_ranks(&m->v, &m->k, first, end);
    if (end > m->count)
        end = m->count;
    if (first < end)
        model_take(m, first, end - first);
}

static void expect_pair(const struct pair *p, struct slice member, double score)
{
    char text[32];
    cr_assert(slice_equal(member, member_of(p->number, text)));
    cr_assert_eq(score, p->score);
}

static void check_walk(struct model *m)
{
    struct zset_walk w;
    struct slice member;
    double score;
    bool reverse = below(m, 2);
    uint64_t rank = below(m, m->count + 2);
    zset_walk_start(&w, &m->v, rank, reverse);
    for (; rank < m->count; rank++) {
        cr_assert(zset_walk_next(&w, &member, &score));
        expect_pair(&m->pairs[reverse ? m->count - 1 - rank : rank], member, score);
    }
    cr_assert_not(zset_walk_next(&w, &member, &score));
}

static void check_member(struct model *m)
{
    char text[32];
    uint32_t number = (uint32_t)below(m, MEMBERS);
    struct slice member = member_of(number, text);
    size_t at = model_find(m, number);
    bool present = at < m->count, reverse = below(m, 2);
    double score;
    uint64_t rank;
    cr_assert_eq(zset_score(&m->v, &m->k, member, &score), present);
    if (present)
        cr_assert_eq(score, m->pairs[at].score);
    cr_assert_eq(zset_rank(&m->v, &m->k, member, reverse, &rank, &score), present);
    if (present) {
        cr_assert_eq(rank, reverse ? m->count - 1 - at : at);
        cr_assert_eq(score, m->pairs[at].score);
    }
}

static void check_scores(struct model *m)
{
    struct zset_score_range r = {random_score(m), random_score(m), below(m, 2), below(m, 2)};
    uint64_t first, end, in = 0;
    zset_ranks_of_scores(&m->v, &r, &first, &end);
    cr_assert(first <= end && end <= m->count);
    for (size_t i = 0; i < m->count; i++) {
        double s = m->pairs[i].score;
        bool inside = (r.min_open ? s > r.min : s >= r.min) &&
                      (r.max_open ? s < r.max : s <= r.max);
        in += inside;
        cr_assert_eq(inside, i >= first && i < end);
    }
    cr_assert_eq(in, end - first);
}

static struct zset_lex_bound random_bound(struct model *m, char text[32])
{
    return (struct zset_lex_bound){
        .text = member_of((uint32_t)below(m, MEMBERS), text),
        .infinite = below(m, 8) ? 0 : below(m, 2) ? 1 : -1,
        .open = below(m, 2),
    };
}

static bool is_behind(const struct zset_lex_bound *min, struct slice member)
{
    if (min->infinite)
        return min->infinite < 0;
    int order = compare_members(member, min->text);
    return min->open ? order > 0 : order >= 0;
}

static bool is_before(const struct zset_lex_bound *max, struct slice member)
{
    if (max->infinite)
        return max->infinite > 0;
    int order = compare_members(member, max->text);
    return max->open ? order < 0 : order <= 0;
}

/* Only where all scores are equal. */
static void check_lex(struct model *m)
{
    char min[32], max[32], text[32];
    struct zset_lex_range r = {random_bound(m, min), random_bound(m, max)};
    uint64_t first, end;
    zset_ranks_of_lex(&m->v, &r, &first, &end);
    cr_assert(first <= end && end <= m->count);
    for (size_t i = 0; i < m->count; i++) {
        struct slice member = member_of(m->pairs[i].number, text);
        bool inside = is_behind(&r.min, member) && is_before(&r.max, member);
        cr_assert_eq(inside, i >= first && i < end);
    }
}

static void run_model(uint32_t entries, uint64_t scores, int steps)
{
    static struct model m;
    bool grow = true;
    size_t peak = 0;
    model_init(&m, entries, scores);
    for (int i = 0; i < steps; i++) {
        if (i % 500 == 0)
            grow = !grow || i == 0;
        uint64_t choice = below(&m, 1000);
        if (choice < (grow ? 800u : 300u))
            put(&m);
        else if (choice < (grow ? 998u : 980u))
            take_out(&m);
        else
            take_ranks(&m);
        peak = m.count > peak ? m.count : peak;
        cr_assert_eq(zset_count(&m.v), m.count);
        zset_check(&m.v, &m.k);
        check_walk(&m);
        check_member(&m);
        check_scores(&m);
    }
    cr_expect_gt(peak, 200);
    value_free(&m.v);
}

Test(zset, packed_agrees_with_a_sorted_array)
{
    run_model(100000, 1000, 1500);
    run_model(100000, 3, 1500);
}

Test(zset, tree_agrees_with_a_sorted_array)
{
    run_model(0, 1000, 2500);
    run_model(0, 3, 2500);
}

Test(zset, agrees_with_a_sorted_array_through_a_conversion)
{
    run_model(100, 20, 3000);
}

static void run_lex_model(uint32_t entries)
{
    static struct model m;
    model_init(&m, entries, 1);
    char text[32];
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t number = i * 11 % MEMBERS;
        zset_put(&m.v, &m.k, member_of(number, text), 4);
        m.pairs[m.count++] = (struct pair){number, 4};
    }
    qsort(m.pairs, m.count, sizeof(*m.pairs), compare_pairs);
    for (int i = 0; i < 500; i++)
        check_lex(&m);
    value_free(&m.v);
}

Test(zset, ranges_of_members_are_runs_of_ranks)
{
    run_lex_model(100000);
    run_lex_model(10);
}

static struct value make_set(const struct keyspace *k, uint32_t count)
{
    struct value v = zset_ops.create(k);
    char text[32];
    for (uint32_t i = 0; i < count; i++)
        zset_put(&v, k, member_of(i, text), (double)(i * 7919 % count));
    return v;
}

Test(zset, becomes_a_tree_above_its_limits_and_stays_one)
{
    struct keyspace k;
    keyspace_of(&k, 4);
    struct value v = make_set(&k, 4);
    cr_expect_str_eq(zset_ops.encoding_name(&v), "listpack");
    zset_put(&v, &k, SLICE("1"), 100);
    cr_expect_str_eq(zset_ops.encoding_name(&v), "listpack");
    zset_put(&v, &k, SLICE("5"), 100);
    cr_expect_str_eq(zset_ops.encoding_name(&v), "skiplist");
    zset_remove_ranks(&v, &k, 1, 5);
    cr_expect_eq(zset_count(&v), 1);
    cr_expect_str_eq(zset_ops.encoding_name(&v), "skiplist");
    value_free(&v);

    v = zset_ops.create(&k);
    char text[80];
    memset(text, 'x', sizeof(text));
    zset_put(&v, &k, (struct slice){text, 64}, 1);
    cr_expect_str_eq(zset_ops.encoding_name(&v), "listpack");
    zset_put(&v, &k, (struct slice){text, 65}, 1);
    cr_expect_str_eq(zset_ops.encoding_name(&v), "skiplist");
    zset_check(&v, &k);
    value_free(&v);
}

Test(zset, keeps_every_score_to_the_bit_but_the_sign_of_a_packed_zero)
{
    static const double scores[] = {0.1, 1e300, -1e300, 5e-324, 2.2250738585072014e-308, 1e17,
                                    9007199254740993.0, 4611686018427387904.0, -9.5e18, 1.0 / 3,
                                    HUGE_VAL, -HUGE_VAL, 0};
    for (uint32_t entries = 0; entries < 200; entries += 100) {
        struct keyspace k;
        keyspace_of(&k, entries);
        struct value v = zset_ops.create(&k);
        char text[32];
        for (uint32_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++)
            zset_put(&v, &k, member_of(i, text), scores[i]);
        zset_check(&v, &k);
        for (uint32_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++) {
            double score = -1;
            cr_expect(zset_score(&v, &k, member_of(i, text), &score));
            cr_expect_eq(score, scores[i]);
        }
        zset_put(&v, &k, SLICE("minus"), -0.0);
        double score = 1;
        zset_score(&v, &k, SLICE("minus"), &score);
        cr_expect_eq(signbit(score) != 0, entries == 0);
        value_free(&v);
    }
}

Test(zset, a_copy_is_its_own)
{
    for (uint32_t count = 50; count < 3000; count += 2000) {
        struct keyspace k;
        keyspace_of(&k, 128);
        struct value v = make_set(&k, count);
        struct value copy = zset_ops.copy(&v);
        cr_expect_eq(copy.encoding, v.encoding);
        zset_remove_ranks(&v, &k, 0, count - 1);
        zset_check(&copy, &k);
        zset_check(&v, &k);
        cr_expect_eq(zset_count(&copy), count);
        value_free(&v);
        zset_put(&copy, &k, SLICE("more"), 3);
        zset_check(&copy, &k);
        value_free(&copy);
    }
}

Test(zset, is_freed_in_steps)
{
    struct keyspace k;
    keyspace_of(&k, 128);
    struct value v = make_set(&k, 5000);
    cr_expect_geq(zset_ops.parts(&v), 5000);
    int steps = 0;
    uint64_t budget;
    do {
        budget = 100;
        steps++;
    } while (!zset_ops.free_some(&v, &budget));
    cr_expect(steps > 20 && steps < 100, "%d", steps);
}

Test(zset, memory_grows_and_shrinks_with_what_is_held)
{
    struct keyspace k;
    keyspace_of(&k, 128);
    struct value v = make_set(&k, 10000);
    size_t full = zset_ops.memory(&v);
    cr_expect(full > 10000 * 40 && full < 10000 * 90, "%zu", full);
    zset_remove_ranks(&v, &k, 10, 9990);
    zset_check(&v, &k);
    cr_expect_leq(zset_ops.memory(&v), 20000);
    value_free(&v);
}

static void see(void *context, struct slice member, double score)
{
    unsigned char *seen = context;
    char text[32];
    memcpy(text, member.data, member.size);
    text[member.size] = 0;
    unsigned long number = strtoul(strchr(text, ':') ? strchr(text, ':') + 1 : text, NULL, 10);
    seen[number]++;
    cr_assert_eq(score, (double)(number * 7919 % 1000));
}

Test(zset, scan_visits_every_member_that_stays)
{
    static unsigned char seen[1000];
    for (uint32_t entries = 0; entries <= 1000; entries += 1000) {
        struct keyspace k;
        keyspace_of(&k, entries);
        struct value v = make_set(&k, 1000);
        uint64_t position = 0;
        uint32_t steps = 0;
        memset(seen, 0, sizeof(seen));
        do {
            position = zset_scan(&v, position, 10, see, seen);
            steps++;
        } while (position);
        for (size_t i = 0; i < 1000; i++)
            cr_assert_eq(seen[i], 1);
        cr_expect(entries ? steps == 1 : steps > 20);
        value_free(&v);
    }
}

Test(zset, an_empty_member_is_a_member)
{
    for (uint32_t entries = 0; entries < 20; entries += 10) {
        struct keyspace k;
        keyspace_of(&k, entries);
        struct value v = zset_ops.create(&k);
        double score = 0;
        cr_expect(zset_put(&v, &k, (struct slice){NULL, 0}, 1));
        cr_expect_not(zset_put(&v, &k, SLICE(""), 2));
        cr_expect(zset_score(&v, &k, SLICE(""), &score) && score == 2);
        zset_check(&v, &k);
        cr_expect(zset_remove(&v, &k, SLICE("")));
        cr_expect_eq(zset_count(&v), 0);
        value_free(&v);
    }
}
