/* XREAD and XREADGROUP: what they reply, what they wait for, and what becomes pending. A random run
 * compares the delivery of messages to groups with a model. */
#include <criterion/criterion.h>

#include "shard/type/stream_group.h"
#include "test/shard/cmd_driver.h"

static struct world world;

static void start(void)
{
    world_init(&world, 4);
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(stream_read, .init = start, .fini = stop);

static const char *run(const char *line)
{
    return world_run(&world, line);
}

static void expect(const char *line, const char *reply)
{
    const char *got = run(line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static uint64_t changes(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++)
        sum += world.shards[i].stats.changes;
    return sum;
}

static uint32_t split(const char *line, struct slice *argv)
{
    uint32_t argc = 0;
    for (;;) {
        size_t size = strcspn(line, " ");
        argv[argc++] = (struct slice){line, size};
        if (!line[size])
            return argc;
        line += size + 1;
    }
}

/* Runs a line that may wait; `again`: on the shard of `key` alone, as one that has waited for it.
 * The reply is in world.out, empty where it waits. */
static struct call_wait run_waiting(const char *line, const char *again)
{
    struct slice argv[WORLD_ARGS_MAX];
    uint32_t argc = split(line, argv);
    buf_consume(&world.out, world.out.size);
    struct call c = world_call(&world, world_row(argv[0]), argv, argc, &world.out);
    c.may_wait = true;
    c.repeated = again != NULL;
    if (again)
        c.shard = &world.shards[keyspace_shard(&world.keyspace, slice_of(again))];
    else
        c.shards = world.pointers;
    c.command->run(&c);
    buf_append(&world.out, "", 1);
    return c.wait;
}

static void free_wait(struct call_wait *w)
{
    while (w->args) {
        struct call_wait_arg *next = w->args->next;
        mem_free(w->args);
        w->args = next;
    }
}

static void expect_waiting(const char *line, const char *again, bool waits)
{
    struct call_wait w = run_waiting(line, again);
    cr_expect_eq(w.asked, waits, "%s: %s", line, world.out.data);
    cr_expect_eq(strlen(world.out.data) == 0, waits, "%s: %s", line, world.out.data);
    free_wait(&w);
}

static void expect_again(const char *line, const char *again, const char *reply)
{
    struct call_wait w = run_waiting(line, again);
    cr_expect_not(w.asked);
    cr_expect_str_eq(world.out.data, reply, "%s: %s", line, world.out.data);
    free_wait(&w);
}

Test(stream_read, xread_replies_with_what_is_above_the_ids)
{
    run("XADD s 1-1 a 1");
    run("XADD s 2-1 b 2");
    run("XADD t 5-0 c 3");
    expect("XREAD STREAMS s 1-1",
           "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    expect("XREAD COUNT 1 STREAMS s x t 0 0 0",
           "*2\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"
           "*2\r\n$1\r\nt\r\n*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n");
    expect("XREAD STREAMS s $", "*-1\r\n");
    world.protocol = 3;
    expect("XREAD STREAMS t 0",
           "%1\r\n$1\r\nt\r\n*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nc\r\n$1\r\n3\r\n");
    expect("XREAD STREAMS s $", "_\r\n");
}

Test(stream_read, plus_is_the_last_message_there_is)
{
    run("XADD s 1-1 a 1");
    run("XADD s 2-1 b 2");
    run("XDEL s 2-1");
    expect("XREAD STREAMS s +",
           "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    run("XDEL s 1-1");
    expect("XREAD STREAMS s +", "*-1\r\n");
}

Test(stream_read, xread_waits_for_what_comes_after_the_last_id)
{
    run("XADD s 7-3 a 1");
    struct call_wait w = run_waiting("XREAD COUNT 2 BLOCK 50 STREAMS s t $ $", NULL);
    cr_expect(w.asked);
    cr_expect_eq(w.type, TYPE_STREAM);
    cr_expect_not(w.on_removal);
    cr_expect_eq(w.reply, WAIT_NULL_ARRAY);
    cr_expect_eq(w.first_key, 6);
    cr_expect_eq(w.key_count, 2);
    cr_expect_eq(w.timeout_ms, 50);
    cr_expect_eq(world.out.size, 1);
    uint32_t seen = 0;
    for (struct call_wait_arg *a = w.args; a; a = a->next, seen++) {
        struct slice text = {a->text, a->size};
        cr_expect(slice_equal(text, a->arg == 8 ? SLICE("7-3") : SLICE("0-0")));
        cr_expect(a->arg == 8 || a->arg == 9);
    }
    cr_expect_eq(seen, 2);
    free_wait(&w);
    expect_waiting("XREAD BLOCK 0 STREAMS s 7-2", NULL, false);
}

Test(stream_read, xread_does_not_wait_where_it_must_not)
{
    expect("XREAD BLOCK 0 STREAMS s $", "*-1\r\n");
    run("XGROUP CREATE s g $ MKSTREAM");
    expect("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "*-1\r\n");
}

Test(stream_read, run_again_it_looks_only_at_what_is_in_reach)
{
    run("XADD s 1-1 a 1");
    run("XADD t 1-1 a 1");
    cr_assert_neq(keyspace_shard(&world.keyspace, SLICE("s")),
                  keyspace_shard(&world.keyspace, SLICE("t")));
    expect_waiting("XREAD BLOCK 0 STREAMS s t 0 1-1", "t", true);
    expect_again("XREAD BLOCK 0 STREAMS s t 0 0", "t",
                 "*1\r\n*2\r\n$1\r\nt\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    run("XGROUP CREATE s g $");
    expect_waiting("XREADGROUP GROUP g c BLOCK 0 STREAMS s t > >", "s", true);
}

Test(stream_read, xreadgroup_waits_as_a_consumer_and_hears_of_removals)
{
    run("XGROUP CREATE s g $ MKSTREAM");
    const char *line = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >";
    struct call_wait w = run_waiting(line, NULL);
    cr_expect(w.asked && w.on_removal && !w.args);
    expect("XGROUP CREATECONSUMER s g c", ":0\r\n");
    uint64_t before = changes();
    expect_waiting(line, "s", true);
    cr_expect_eq(changes(), before, "nothing is changed by waiting on");
    run("XGROUP DESTROY s g");
    expect_again(line, "s",
                 "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP "
                 "option\r\n");
    run("DEL s");
    expect_again(line, "s",
                 "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP "
                 "option\r\n");
    run("SET s x");
    expect_again(line, "s",
                 "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
}

Test(stream_read, one_that_waits_for_a_group_does_not_overtake)
{
    run("XADD s 1-1 a 1");
    run("XGROUP CREATE s g 0");
    struct shard *s = &world.shards[keyspace_shard(&world.keyspace, SLICE("s"))];
    struct wait_link link;
    wait_join(s, 0, SLICE("s"), &link, NULL, false);
    link.line->reserved = 1;
    expect_waiting("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", NULL, true);
    expect_waiting("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0", NULL, false);
    expect_waiting("XREAD BLOCK 0 STREAMS s 0", NULL, false);
    expect_waiting("XREADGROUP GROUP g c STREAMS s >", NULL, false);
    link.line->reserved = 0;
    wait_leave(s, &link);
    for (struct wait_line *line; (line = wait_take_ready(s));)
        wait_release(s, line);
}

Test(stream_read, only_messages_and_the_end_of_a_group_wake_those_who_wait)
{
    static const struct {
        const char *line;
        bool wakes;
    } steps[] = {
        {"XGROUP CREATE s g 0 MKSTREAM", false},
        {"XADD s 1-1 a 1", true},
        {"XREADGROUP GROUP g c STREAMS s >", false},
        {"XREADGROUP GROUP g c STREAMS s 0", false},
        {"XCLAIM s g d 0 1-1", false},
        {"XAUTOCLAIM s g c 0 0", false},
        {"XACK s g 1-1", false},
        {"XGROUP DELCONSUMER s g c", false},
        {"XGROUP DESTROY s g", true},
        {"XGROUP DESTROY s g", false},
    };
    struct shard *s = &world.shards[keyspace_shard(&world.keyspace, SLICE("s"))];
    struct wait_link link;
    wait_join(s, 0, SLICE("s"), &link, NULL, true);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        run(steps[i].line);
        struct wait_line *ready = wait_take_ready(s);
        cr_expect_eq(ready != NULL, steps[i].wakes, "%s", steps[i].line);
        if (ready)
            wait_release(s, ready);
    }
    wait_leave(s, &link);
}

Test(stream_read, history_counts_deliveries_but_not_of_deleted_messages)
{
    run("XADD s 1-1 a 1");
    run("XADD s 2-1 b 2");
    run("XGROUP CREATE s g 0");
    run("XREADGROUP GROUP g c STREAMS s >");
    run("XDEL s 1-1");
    world.now_ms += 100;
    expect("XREADGROUP GROUP g c STREAMS s 0",
           "*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n"
           "*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    world.now_ms += 10;
    expect("XPENDING s g - + 9",
           "*2\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:110\r\n:1\r\n"
           "*4\r\n$3\r\n2-1\r\n$1\r\nc\r\n:10\r\n:2\r\n");
}

Test(stream_read, a_consumer_is_active_by_what_it_got_and_seen_by_what_it_tried)
{
    run("XADD s 1-1 a 1");
    run("XGROUP CREATE s g 0");
    run("XREADGROUP GROUP g c STREAMS s >");
    world.now_ms += 100;
    run("XREADGROUP GROUP g c STREAMS s 0");
    run("XREADGROUP GROUP g d STREAMS s >");
    world.now_ms += 5;
    expect("XINFO CONSUMERS s g",
           "*2\r\n*8\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:1\r\n$4\r\nidle\r\n:5\r\n"
           "$8\r\ninactive\r\n:105\r\n"
           "*8\r\n$4\r\nname\r\n$1\r\nd\r\n$7\r\npending\r\n:0\r\n$4\r\nidle\r\n:5\r\n"
           "$8\r\ninactive\r\n:-1\r\n");
}

Test(stream_read, more_keys_than_a_few_are_read_as_well)
{
    char line[200] = "XREAD STREAMS";
    for (int i = 0; i < 12; i++) {
        char add[32];
        snprintf(add, sizeof(add), "XADD k%d 1-1 a 1", i);
        run(add);
        snprintf(line + strlen(line), 8, " k%d", i);
    }
    strcat(line, " 0 0 0 0 0 0 0 0 0 0 0 0");
    cr_expect(starts_with(run(line), "*12\r\n*2\r\n$2\r\nk0\r\n*1\r\n"));
    run("XGROUP CREATE k3 g 0");
    const char *twice = run("XREADGROUP GROUP g c STREAMS k3 k3 k3 k3 k3 k3 > > > > > 0");
    cr_expect(starts_with(twice, "*2\r\n*2\r\n$2\r\nk3\r\n*1\r\n"), "%s", twice);
}

/* --- The model: who has what pending --- */

#define MESSAGES 200
#define CONSUMERS 3

struct model {
    int owner[MESSAGES + 1];      /* 0: nobody */
    int deliveries[MESSAGES + 1];
    bool deleted[MESSAGES + 1];
    int last, added;
};

static uint64_t random_state = 88172645463325252u;

static int random_below(int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (int)(random_state % (uint64_t)n);
}

static void check_stream(void)
{
    struct shard *s = &world.shards[keyspace_shard(&world.keyspace, SLICE("s"))];
    struct call c = {.shard = s, .keyspace = &world.keyspace, .now_ms = world.now_ms};
    struct place p = db_find_key(&c, SLICE("s"), 0, DB_PEEK);
    struct value v = db_value(&p, TYPE_STREAM);
    stream_check(stream_of(&v));
    cr_assert_eq(s->block_bytes, value_memory(&v));
}

static void check_pending(const struct model *m)
{
    struct buf want;
    buf_init(&want);
    int count = 0;
    for (int i = 1; i <= m->added; i++)
        count += m->owner[i] != 0;
    buf_printf(&want, "*%d\r\n", count);
    for (int i = 1; i <= m->added; i++) {
        char id[20];
        snprintf(id, sizeof(id), "%d-1", i);
        if (m->owner[i])
            buf_printf(&want, "*4\r\n$%zu\r\n%s\r\n$2\r\nc%d\r\n:0\r\n:%d\r\n", strlen(id), id,
                       m->owner[i], m->deliveries[i]);
    }
    buf_append(&want, "", 1);
    cr_assert_str_eq(run("XPENDING s g - + 1000"), want.data);
    buf_deinit(&want);
}

static void step_read(struct model *m, int consumer)
{
    char line[80];
    int count = 1 + random_below(4);
    bool noack = random_below(8) == 0;
    snprintf(line, sizeof(line), "XREADGROUP GROUP g c%d COUNT %d %sSTREAMS s >", consumer, count,
             noack ? "NOACK " : "");
    run(line);
    for (int i = m->last + 1; i <= m->added && count; i++) {
        if (m->deleted[i])
            continue;
        m->last = i;
        count--;
        if (noack)
            continue;
        m->owner[i] = consumer;
        m->deliveries[i] = 1;
    }
}

static void step_history(struct model *m, int consumer)
{
    char line[80];
    int from = random_below(m->added + 1);
    snprintf(line, sizeof(line), "XREADGROUP GROUP g c%d STREAMS s %d-1", consumer, from);
    run(line);
    for (int i = from + 1; i <= m->added; i++)
        m->deliveries[i] += m->owner[i] == consumer && !m->deleted[i];
}

static void step_claim(struct model *m, int consumer, int id)
{
    char line[80];
    bool force = random_below(2), just_id = random_below(2);
    snprintf(line, sizeof(line), "XCLAIM s g c%d 0 %d-1%s%s", consumer, id, force ? " FORCE" : "",
             just_id ? " JUSTID" : "");
    run(line);
    if (id > m->added)
        return;
    if (m->deleted[id]) {
        m->owner[id] = 0;
        return;
    }
    if (!m->owner[id] && !force)
        return;
    if (!m->owner[id])
        m->deliveries[id] = 1;
    m->owner[id] = consumer;
    m->deliveries[id] += !just_id;
}

static void step(struct model *m)
{
    char line[80];
    int consumer = 1 + random_below(CONSUMERS), id = 1 + random_below(m->added + 1);
    switch (random_below(8)) {
    case 0: case 1:
        if (m->added == MESSAGES)
            return;
        m->added++;
        snprintf(line, sizeof(line), "XADD s %d-1 f%d v", m->added, m->added % 3);
        run(line);
        return;
    case 2: case 3:
        step_read(m, consumer);
        return;
    case 4:
        step_history(m, consumer);
        return;
    case 5:
        step_claim(m, consumer, id);
        return;
    case 6:
        snprintf(line, sizeof(line), "XACK s g %d-1", id);
        run(line);
        m->owner[id] = 0;
        return;
    default:
        if (random_below(3) || id > m->added)
            return;
        snprintf(line, sizeof(line), "XDEL s %d-1", id);
        run(line);
        m->deleted[id] = true;
    }
}

Test(stream_read, a_group_delivers_as_the_model_says)
{
    for (int round = 0; round < 6; round++) {
        struct model m = {0};
        run("DEL s");
        run("XGROUP CREATE s g 0 MKSTREAM");
        for (int i = 0; i < 500; i++) {
            step(&m);
            check_pending(&m);
            check_stream();
        }
    }
}
