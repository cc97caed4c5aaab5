/* Streams and their groups against arrays. */
#include "shard/type/stream.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/type/listpack.h"
#include "shard/type/stream_group.h"

#define MESSAGES_MAX 6000
#define PAIRS_MAX 4

static uint64_t state = 88172645463325252;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static uint64_t below(uint64_t bound)
{
    return next_random() % bound;
}

/* What a message has, by which its fields can be told. */
struct message {
    struct stream_id id;
    unsigned seed;
};

struct model {
    struct message messages[MESSAGES_MAX];
    size_t count;
    struct stream_id last_id, max_deleted_id;
    uint64_t added;
};

static struct keyspace limits(uint64_t bytes, uint32_t entries)
{
    struct keyspace k = {0};
    k.options.stream_node_max_bytes = bytes;
    k.options.stream_node_max_entries = entries;
    return k;
}

struct content {
    char text[2 * PAIRS_MAX][80];
    struct slice slices[2 * PAIRS_MAX];
    uint32_t pairs;
};

/* Mostly the fields of the others; values that are numbers, words and long. */
static void make_content(struct content *c, unsigned seed)
{
    bool usual = seed % 3 != 0;
    c->pairs = usual ? 2 : 1 + seed % PAIRS_MAX;
    for (uint32_t i = 0; i < 2 * c->pairs; i++) {
        int size;
        if (i % 2 == 0)
            size = snprintf(c->text[i], sizeof(c->text[i]), usual ? "field%u" : "%u", i);
        else if (seed % 5 == 0)
            size = snprintf(c->text[i], sizeof(c->text[i]), "%070u", seed);
        else
            size = snprintf(c->text[i], sizeof(c->text[i]), seed % 2 ? "%u" : "word%u", seed * i);
        c->slices[i] = (struct slice){c->text[i], (size_t)size};
    }
}

static void expect_content(struct stream_walk *w, uint32_t pairs, unsigned seed)
{
    struct content c;
    make_content(&c, seed);
    cr_assert_eq(pairs, c.pairs);
    for (uint32_t i = 0; i < pairs; i++) {
        struct slice field, value;
        stream_walk_field(w, &field, &value);
        cr_assert(slice_equal(field, c.slices[2 * i]));
        cr_assert(slice_equal(value, c.slices[2 * i + 1]));
    }
}

static void expect_message(struct stream_walk *w, const struct message *m)
{
    struct stream_id id;
    uint32_t pairs;
    cr_assert(stream_walk_next(w, &id, &pairs));
    cr_assert(stream_id_equal(id, m->id));
    if (below(2))
        expect_content(w, pairs, m->seed);
}

/* The place of the first message at `id` or above. */
static size_t place(const struct model *m, struct stream_id id)
{
    size_t i = 0;
    while (i < m->count && stream_id_compare(m->messages[i].id, id) < 0)
        i++;
    return i;
}

static void check_range(const struct stream *s, const struct model *m, struct stream_id start,
                        struct stream_id end)
{
    size_t first = place(m, start), stop = first;
    while (stop < m->count && stream_id_compare(m->messages[stop].id, end) <= 0)
        stop++;
    struct stream_walk w;
    struct stream_id id;
    uint32_t pairs;
    stream_walk_start(&w, s, start, end, false);
    for (size_t i = first; i < stop; i++)
        expect_message(&w, &m->messages[i]);
    cr_assert(!stream_walk_next(&w, &id, &pairs));
    stream_walk_start(&w, s, start, end, true);
    for (size_t i = stop; i-- > first;)
        expect_message(&w, &m->messages[i]);
    cr_assert(!stream_walk_next(&w, &id, &pairs));
}

static struct stream_id some_id(const struct model *m)
{
    if (m->count && below(3))
        return m->messages[below(m->count)].id;
    return (struct stream_id){below(m->last_id.ms + 2), below(3) ? below(4) : UINT64_MAX};
}

static void append(struct stream *s, const struct keyspace *k, struct model *m)
{
    struct message added = {.id = m->last_id, .seed = (unsigned)below(1000)};
    unsigned way = (unsigned)below(20);
    if (way < 10)
        added.id.seq++;
    else if (way == 10)
        added.id = (struct stream_id){added.id.ms + 1, UINT64_MAX - 9};
    else
        added.id = (struct stream_id){added.id.ms + below(5) + 1, below(3)};
    struct content c;
    make_content(&c, added.seed);
    cr_assert(stream_append(s, k, added.id, c.slices, c.pairs));
    m->messages[m->count++] = added;
    m->last_id = added.id;
    m->added++;
}

/* A message that comes and is taken back leaves nothing. */
static void append_in_vain(struct stream *s, const struct keyspace *k)
{
    struct stream_id before = s->last_id, id = {before.ms + below(3), before.seq + 1};
    struct content c;
    make_content(&c, (unsigned)below(1000));
    cr_assert(stream_append(s, k, id, c.slices, c.pairs));
    stream_take_last(s, before);
}

static void model_remove(struct model *m, size_t at, size_t count)
{
    memmove(m->messages + at, m->messages + at + count,
            (m->count - at - count) * sizeof(m->messages[0]));
    m->count -= count;
}

static void delete(struct stream *s, struct model *m)
{
    struct stream_id id = some_id(m);
    size_t at = place(m, id);
    bool has = at < m->count && stream_id_equal(m->messages[at].id, id);
    cr_assert_eq(stream_find(s, id), has);
    cr_assert_eq(stream_delete(s, id), has);
    if (!has)
        return;
    model_remove(m, at, 1);
    if (stream_id_compare(id, m->max_deleted_id) > 0)
        m->max_deleted_id = id;
}

/* Exact trimming is as the model's; approximate trimming takes no more than that, and a run of the
 * oldest. */
static void trim(struct stream *s, struct model *m)
{
    struct stream_trim t = {.by_id = below(2), .approximate = below(2)};
    size_t most;
    if (t.by_id) {
        t.min_id = m->count ? m->messages[below(m->count) / 3].id : STREAM_ID_MIN;
        most = place(m, t.min_id);
    } else {
        t.max_length = m->count - below(m->count / 3 + 1) + below(3);
        most = m->count > t.max_length ? m->count - (size_t)t.max_length : 0;
    }
    if (t.approximate && below(2))
        t.limit = below(40) + 1;
    uint64_t removed = stream_trim(s, &t);
    if (t.approximate)
        cr_assert_leq(removed, t.limit && t.limit < most ? t.limit : most);
    else
        cr_assert_eq(removed, most);
    model_remove(m, 0, (size_t)removed);
}

static void check_facts(const struct stream *s, const struct model *m)
{
    struct stream_id last;
    cr_assert_eq(s->length, m->count);
    cr_assert_eq(s->entries_added, m->added);
    cr_assert(stream_id_equal(s->last_id, m->last_id));
    cr_assert(stream_id_equal(s->max_deleted_id, m->max_deleted_id));
    cr_assert(stream_id_equal(s->first_id, m->count ? m->messages[0].id : STREAM_ID_MIN));
    cr_assert_eq(stream_last_message(s, &last), m->count > 0);
    if (m->count)
        cr_assert(stream_id_equal(last, m->messages[m->count - 1].id));
}

static void check_copy(const struct value *v, const struct model *m)
{
    struct value copy = stream_ops.copy(v);
    struct stream *s = stream_of(&copy);
    stream_check(s);
    check_facts(s, m);
    check_range(s, m, STREAM_ID_MIN, STREAM_ID_MAX);
    for (uint64_t budget = 3; !stream_ops.free_some(&copy, &budget); budget = 3)
        cr_assert_eq(budget, 0);
}

static void run_model(struct keyspace k, unsigned steps)
{
    struct model *m = calloc(1, sizeof(*m));
    struct value v = stream_ops.create(&k);
    struct stream *s = stream_of(&v);
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = (unsigned)below(100);
        if (what < 70 && m->count < MESSAGES_MAX)
            append(s, &k, m);
        else if (what < 99)
            delete(s, m);
        else
            trim(s, m);
        if (below(4) == 0)
            append_in_vain(s, &k);
        check_facts(s, m);
        if (i % 5 == 0)
            check_range(s, m, some_id(m), some_id(m));
        if (i % 10 == 0)
            stream_check(s);
    }
    check_range(s, m, STREAM_ID_MIN, STREAM_ID_MAX);
    check_copy(&v, m);
    value_free(&v);
    free(m);
}

Test(stream, is_what_an_array_is_with_the_usual_nodes)
{
    run_model(limits(4096, 100), 2500);
}

Test(stream, is_what_an_array_is_with_nodes_of_few_messages)
{
    run_model(limits(0, 3), 1500);
    run_model(limits(4096, 1), 700);
}

Test(stream, is_what_an_array_is_with_nodes_bounded_by_bytes)
{
    run_model(limits(200, 0), 1500);
    run_model(limits(1, 0), 500);
    run_model(limits(0, 0), 1500);
}

static void add_one(struct stream *s, const struct keyspace *k, uint64_t ms)
{
    const struct slice pair[] = {SLICE("f"), SLICE("1")};
    cr_assert(stream_append(s, k, (struct stream_id){ms, 0}, pair, 1));
}

/* The published layout: the master entry, then the messages. */
Test(stream, a_node_is_in_the_format_of_rdb_files)
{
    struct keyspace k = limits(4096, 100);
    struct value v = stream_ops.create(&k);
    struct stream *s = stream_of(&v);
    const struct slice other[] = {SLICE("g"), SLICE("x")};
    add_one(s, &k, 10);
    cr_assert(stream_append(s, &k, (struct stream_id){12, 5}, other, 1));
    stream_delete(s, (struct stream_id){10, 0});
    static const char *const expected[] = {"1", "1", "1", "f", "0", "3", "0", "0", "1", "4",
                                           "0", "2", "5", "1", "g", "x", "6"};
    const unsigned char *lp = s->first->listpack;
    uint32_t at = listpack_first(lp);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        cr_assert(listpack_equal(lp, at, slice_of(expected[i])), "element %zu", i);
        at = listpack_next(lp, at);
    }
    cr_assert_eq(at, LISTPACK_NONE);
    value_free(&v);
}

Test(stream, trimming_about_leaves_nodes_whole)
{
    struct keyspace k = limits(0, 10);
    struct value v = stream_ops.create(&k);
    struct stream *s = stream_of(&v);
    for (uint64_t i = 1; i <= 100; i++)
        add_one(s, &k, i);
    struct stream_trim t = {.approximate = true, .max_length = 55};
    cr_assert_eq(stream_trim(s, &t), 40);
    t = (struct stream_trim){.approximate = true, .by_id = true, .min_id = {75, 0}, .limit = 19};
    cr_assert_eq(stream_trim(s, &t), 10);
    cr_assert_eq(s->first_id.ms, 51);
    t = (struct stream_trim){.max_length = 0};
    cr_assert_eq(stream_trim(s, &t), 50);
    cr_assert_null(s->first);
    stream_check(s);
    value_free(&v);
}

Test(stream_id, neighbours_stop_at_the_ends)
{
    struct stream_id id = STREAM_ID_MAX;
    cr_assert(!stream_id_increment(&id));
    cr_assert(stream_id_decrement(&id) && id.seq == UINT64_MAX - 1);
    id = STREAM_ID_MIN;
    cr_assert(!stream_id_decrement(&id));
    id = (struct stream_id){5, UINT64_MAX};
    cr_assert(stream_id_increment(&id) && id.ms == 6 && id.seq == 0);
    cr_assert(stream_id_decrement(&id) && id.ms == 5 && id.seq == UINT64_MAX);
}

Test(stream_id, reads_what_it_writes_and_no_nonsense)
{
    struct stream_id id;
    char text[STREAM_ID_SIZE_MAX];
    size_t size = stream_id_format(text, STREAM_ID_MAX);
    cr_assert_eq(size, STREAM_ID_SIZE_MAX);
    cr_assert(stream_id_parse((struct slice){text, size}, 0, &id));
    cr_assert(stream_id_equal(id, STREAM_ID_MAX));
    cr_assert(stream_id_parse(SLICE("007"), 9, &id) && id.ms == 7 && id.seq == 9);
    static const char *const bad[] = {"", "-", "+", "1-", "-1", "1-2-3", "a", "1-a", "1 ",
                                      "18446744073709551616", "0-18446744073709551616"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert(!stream_id_parse(slice_of(bad[i]), 0, &id), "%s", bad[i]);
    cr_assert(stream_id_parse_bound(SLICE("+"), 0, &id) && stream_id_equal(id, STREAM_ID_MAX));
}

/* --- Groups --- */

#define IDS 60
#define CONSUMERS 3
#define GROUPS 2

/* Which consumer has which id pending; -1: none. */
struct pending {
    int owner[IDS];
    uint64_t deliveries[IDS];
    bool exists[CONSUMERS];
};

static const char *const names[] = {"", "alice", "alice's friend"};

static struct stream_consumer *consumer_of(struct stream_group *g, struct pending *p, unsigned i)
{
    struct stream_consumer *c = stream_consumer_find(g, slice_of(names[i]));
    cr_assert_eq(c != NULL, p->exists[i]);
    if (!c)
        c = stream_consumer_create(g, slice_of(names[i]), 7);
    p->exists[i] = true;
    return c;
}

static void change_pending(struct stream_group *g, struct pending *p)
{
    unsigned at = (unsigned)below(IDS), who = (unsigned)below(CONSUMERS);
    struct stream_id id = {at / 8, at};
    struct stream_nack *n = stream_pel_find(&g->pel, id);
    cr_assert_eq(n != NULL, p->owner[at] >= 0);
    switch (below(8)) {
    case 0:
    case 1:
        cr_assert_eq(stream_pel_ack(g, id), n != NULL);
        p->owner[at] = -1;
        return;
    case 2:
        if (n) {
            stream_pel_move(g, n, id, consumer_of(g, p, who));
            n->deliveries++;
            p->owner[at] = (int)who;
            p->deliveries[at]++;
        }
        return;
    case 3:
        if (p->exists[who] && below(8) == 0) {
            stream_consumer_destroy(g, consumer_of(g, p, who));
            p->exists[who] = false;
            for (unsigned i = 0; i < IDS; i++)
                p->owner[i] = p->owner[i] == (int)who ? -1 : p->owner[i];
        }
        return;
    default:
        stream_pel_deliver(g, consumer_of(g, p, who), id, 5);
        p->owner[at] = (int)who;
        p->deliveries[at] = 1;
    }
}

static void check_pending(const struct stream_group *g, const struct pending *p)
{
    struct stream_id id = STREAM_ID_MIN;
    uint64_t count = 0;
    for (unsigned i = 0; i < IDS; i++) {
        if (p->owner[i] < 0)
            continue;
        count++;
        const struct stream_nack *n = stream_pel_seek(&g->pel, id, &id);
        cr_assert(n && id.seq == i && n->deliveries == p->deliveries[i]);
        cr_assert(slice_equal(stream_consumer_name(n->consumer), slice_of(names[p->owner[i]])));
        stream_id_increment(&id);
    }
    cr_assert_eq(count, g->pel.count);
    const struct stream_consumer *c = NULL;
    for (unsigned i = 0; i < CONSUMERS; i++) {
        if (!p->exists[i])
            continue;
        c = stream_consumer_next(g, c);
        cr_assert_eq(c, stream_consumer_find(g, slice_of(names[i])));
    }
    cr_assert_null(stream_consumer_next(g, c));
}

Test(stream_group, pending_messages_are_as_in_an_array)
{
    struct value v = stream_ops.create(NULL);
    struct stream *s = stream_of(&v);
    size_t empty = stream_ops.memory(&v);
    struct stream_group *groups[GROUPS];
    struct pending p[GROUPS] = {0};
    for (unsigned g = 0; g < GROUPS; g++) {
        groups[g] = stream_group_create(s, slice_of(g ? "g2" : "g"), STREAM_ID_MIN, 0);
        memset(p[g].owner, -1, sizeof(p[g].owner));
    }
    cr_assert_null(stream_group_create(s, SLICE("g"), STREAM_ID_MIN, 0));
    for (unsigned i = 0; i < 6000; i++) {
        unsigned g = (unsigned)below(GROUPS);
        change_pending(groups[g], &p[g]);
        check_pending(groups[g], &p[g]);
        if (i % 20 == 0)
            stream_check(s);
    }
    struct value copy = stream_ops.copy(&v);
    stream_check(stream_of(&copy));
    check_pending(stream_group_find(stream_of(&copy), SLICE("g2")), &p[1]);
    for (uint64_t budget = 2; !stream_ops.free_some(&copy, &budget); budget = 2)
        cr_assert_eq(budget, 0);
    for (unsigned g = 0; g < GROUPS; g++)
        stream_group_destroy(s, groups[g]);
    cr_assert_eq(stream_ops.memory(&v), empty);
    cr_assert_eq(stream_ops.parts(&v), 1);
    value_free(&v);
}

static void expect_lag(const struct stream *s, const struct stream_group *g, int64_t expected)
{
    int64_t lag;
    cr_assert(stream_group_lag(s, g, &lag));
    cr_assert_eq(lag, expected);
}

Test(stream_group, lag_is_told_where_it_can_be)
{
    int64_t lag;
    struct keyspace k = limits(4096, 100);
    struct value v = stream_ops.create(&k);
    struct stream *s = stream_of(&v);
    struct stream_group *g = stream_group_create(s, SLICE("g"), STREAM_ID_MIN, 0);
    expect_lag(s, g, 0);
    for (uint64_t i = 1; i <= 5; i++)
        add_one(s, &k, i);
    expect_lag(s, g, 5);
    stream_group_delivered(s, g, (struct stream_id){1, 0});
    stream_group_delivered(s, g, (struct stream_id){2, 0});
    cr_assert_eq(g->entries_read, 2);
    expect_lag(s, g, 3);
    stream_delete(s, (struct stream_id){3, 0});
    cr_assert(!stream_group_lag(s, g, &lag));
    g->entries_read = STREAM_UNKNOWN;
    stream_group_delivered(s, g, (struct stream_id){4, 0});
    cr_assert_eq(g->entries_read, STREAM_UNKNOWN);
    stream_group_delivered(s, g, (struct stream_id){5, 0});
    cr_assert_eq(g->entries_read, 5);
    expect_lag(s, g, 0);
    g->entries_read = 6;
    expect_lag(s, g, -1);
    cr_assert_eq(stream_entries_until(s, (struct stream_id){6, 0}), STREAM_UNKNOWN);
    value_free(&v);
}

Test(stream_group, a_message_is_acked_by_all_when_each_has_read_and_acked_it)
{
    struct value v = stream_ops.create(NULL);
    struct stream *s = stream_of(&v);
    struct stream_id id = {3, 0};
    cr_assert(stream_acked_by_all(s, id));
    struct stream_group *g = stream_group_create(s, SLICE("g"), STREAM_ID_MIN, 0);
    cr_assert(!stream_acked_by_all(s, id));
    g->last_id = id;
    cr_assert(stream_acked_by_all(s, id));
    stream_pel_deliver(g, stream_consumer_create(g, SLICE("c"), 1), id, 1);
    cr_assert(!stream_acked_by_all(s, id));
    cr_assert_eq(stream_forget_id(s, id), 1);
    cr_assert(stream_acked_by_all(s, id));
    value_free(&v);
}
