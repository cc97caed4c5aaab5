/* What views cost: a collection of each kind of a million elements is written at once, and through
 * a view while it is being changed all the time.
 *
 * Prints a line a kind: milliseconds that writing at once takes; microseconds that opening
 * takes; milliseconds of all steps (of 16 KiB) together, and microseconds of the longest;
 * microseconds of the longest change, and nanoseconds of a change on average, with a view open
 * and without one (reading the clock, some hundred, included). The best of three runs counts. */
#include "shard/type/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shard/rdb.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream_group.h"
#include "shard/type/zset.h"

#define RUNS 3
#define STEP_SIZE 16384
#define CHANGES_A_STEP 100

struct kind {
    const char *name;
    enum entry_type_id type;
    void (*change)(struct value *v, const struct keyspace *k, uint64_t number);
};

struct figures {
    double whole_ms, open_us, steps_ms, step_max_us;
    double change_max_us, change_ns, plain_max_us, plain_ns;
};

static uint64_t elements = 1000000;
static uint64_t state;

/* Of this thread's CPU time: what else runs on the machine is left out. */
static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static uint64_t random_number(void)
{
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct slice text_of(uint64_t number, char text[64])
{
    return (struct slice){text, (size_t)sprintf(text, "element:%012lu", number)};
}

static void change_set(struct value *v, const struct keyspace *k, uint64_t number)
{
    char text[64];
    if (!set_add(v, k, text_of(number, text)) && number % 2)
        set_remove(v, k, text_of(number, text));
}

static void change_hash(struct value *v, const struct keyspace *k, uint64_t number)
{
    char field[64], value[64];
    hash_set(v, k, text_of(number, field), text_of(random_number() % 1000, value),
             HASH_NO_EXPIRY, 0);
}

static void change_zset(struct value *v, const struct keyspace *k, uint64_t number)
{
    char text[64];
    zset_put(v, k, text_of(number, text), (double)(random_number() % 1000000));
}

static void change_list(struct value *v, const struct keyspace *k, uint64_t number)
{
    char text[64];
    struct slice value = text_of(number, text);
    uint64_t count = list_count(v);
    if (count < elements || number % 3 == 0)
        list_push(v, &k->options, LIST_TAIL, &value, 1);
    else if (number % 3 == 1)
        list_drop(v, &k->options, LIST_HEAD);
    else
        list_replace(v, &k->options, number % 2 ? number % 20000 : count - 1 - number % 20000,
                     value);
}

static void append(struct stream *s, const struct keyspace *k, uint64_t number)
{
    char text[64];
    struct slice fields[2] = {SLICE("field"), text_of(number, text)};
    stream_append(s, k, (struct stream_id){s->last_id.ms + 1, 0}, fields, 1);
}

static void change_stream(struct value *v, const struct keyspace *k, uint64_t number)
{
    struct stream *s = stream_of(v);
    if (s->length < elements || number % 2)
        append(s, k, number);
    else
        stream_delete(s, (struct stream_id){1 + number % s->last_id.ms, 0});
}

/* All that was ever added is pending. */
static void change_pending(struct value *v, const struct keyspace *k, uint64_t number)
{
    struct stream *s = stream_of(v);
    struct stream_group *g = stream_group_find(s, SLICE("group"));
    if (!g)
        g = stream_group_create(s, SLICE("group"), STREAM_ID_MIN, 0);
    char text[64];
    struct slice name = text_of(number % 10, text);
    struct stream_consumer *c = stream_consumer_find(g, name);
    if (!c)
        c = stream_consumer_create(g, name, 0);
    if (s->length < elements) {
        append(s, k, number);
        stream_pel_deliver(g, c, s->last_id, (int64_t)number);
        return;
    }
    struct stream_id id = {1 + number % s->last_id.ms, 0};
    if (number % 3 || !stream_pel_ack(g, id))
        stream_pel_deliver(g, c, id, (int64_t)number);
}

static struct value build(const struct kind *kind, const struct keyspace *k)
{
    struct value v = value_ops_of(kind->type)->create(k);
    for (uint64_t i = 0; i < elements; i++)
        kind->change(&v, k, i);
    return v;
}

static void change_some(const struct kind *kind, struct value *v, const struct keyspace *k,
                        struct figures *f, uint64_t *changes)
{
    double before = now_us(), start = before;
    for (int i = 0; i < CHANGES_A_STEP; i++) {
        kind->change(v, k, random_number() % (elements * 5 / 4));
        double now = now_us();
        if (now - before > f->change_max_us)
            f->change_max_us = now - before;
        before = now;
    }
    *changes += CHANGES_A_STEP;
    f->change_ns += (before - start) * 1e3;
}

static void write_steps(const struct kind *kind, struct value *v, const struct keyspace *k,
                        struct figures *f)
{
    struct buf out = {0};
    uint64_t changes = 0;
    double start = now_us();
    struct view *w = view_open(v, true);
    f->open_us = now_us() - start;
    bool whole = false;
    while (!whole) {
        change_some(kind, v, k, f, &changes);
        double before = now_us();
        out.size = 0;
        whole = view_write(w, &out, STEP_SIZE);
        double took = now_us() - before;
        f->steps_ms += took / 1e3;
        if (took > f->step_max_us)
            f->step_max_us = took;
    }
    f->change_ns /= (double)changes;
    struct value owned;
    view_close(w, &owned);
    buf_deinit(&out);
}

static struct figures run(const struct kind *kind, const struct keyspace *k)
{
    struct figures f = {0};
    struct value v = build(kind, k);
    struct buf out = {0};
    buf_reserve(&out, 2 * value_memory(&v));
    double start = now_us();
    rdb_write_value(&out, &v, true);
    f.whole_ms = (now_us() - start) / 1e3;
    buf_deinit(&out);
    write_steps(kind, &v, k, &f);
    struct figures plain = {0};
    uint64_t changes = 0;
    while (changes < 200000)
        change_some(kind, &v, k, &plain, &changes);
    f.plain_ns = plain.change_ns / (double)changes;
    f.plain_max_us = plain.change_max_us;
    value_free(&v);
    return f;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static void report(const struct kind *kind, const struct keyspace *k)
{
    struct figures best = run(kind, k);
    for (int i = 1; i < RUNS; i++) {
        struct figures f = run(kind, k);
        best = (struct figures){
            least(f.whole_ms, best.whole_ms), least(f.open_us, best.open_us),
            least(f.steps_ms, best.steps_ms), least(f.step_max_us, best.step_max_us),
            least(f.change_max_us, best.change_max_us), least(f.change_ns, best.change_ns),
            least(f.plain_max_us, best.plain_max_us), least(f.plain_ns, best.plain_ns),
        };
    }
    printf("%-8s whole %6.1f ms | open %5.1f us | steps %6.1f ms, longest %6.1f us | "
           "changes: longest %6.1f us, %4.0f ns, without a view %6.1f us, %4.0f ns\n",
           kind->name, best.whole_ms, best.open_us, best.steps_ms, best.step_max_us,
           best.change_max_us, best.change_ns, best.plain_max_us, best.plain_ns);
}

int main(int argc, char **argv)
{
    static const struct kind kinds[] = {
        {"set", TYPE_SET, change_set},          {"hash", TYPE_HASH, change_hash},
        {"zset", TYPE_ZSET, change_zset},       {"list", TYPE_LIST, change_list},
        {"stream", TYPE_STREAM, change_stream}, {"pending", TYPE_STREAM, change_pending},
    };
    static struct keyspace k;
    unsigned char secret[HASH_SECRET_SIZE] = {1};
    keyspace_init(&k, 1, 1, secret);
    if (argc > 1)
        elements = strtoull(argv[1], NULL, 10);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        report(&kinds[i], &k);
    return 0;
}
