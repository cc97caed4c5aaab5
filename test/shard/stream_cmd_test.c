/* Commands on messages: what a comparison with Redis does not see. */
#include "test/shard/cmd_driver.h"

#include <criterion/criterion.h>

#include "shard/type/stream_group.h"

static struct world world;

static void setup(void)
{
    world_init(&world, 4);
    world.keyspace.options.stream_node_max_bytes = 4096;
    world.keyspace.options.stream_node_max_entries = 100;
}

static void teardown(void)
{
    world_deinit(&world);
}

TestSuite(stream_cmd, .init = setup, .fini = teardown);

static void expect(const char *line, const char *reply)
{
    cr_assert_str_eq(world_run(&world, line), reply, "%s: %s", line, world.out.data);
}

static struct shard *shard_of(const char *key)
{
    return &world.shards[keyspace_shard(&world.keyspace, slice_of(key))];
}

/* The stream of a key, for what no command of this family does. */
static struct stream *stream_at(const char *key)
{
    struct slice argv[] = {slice_of("x"), slice_of(key)};
    struct call c = world_call(&world, NULL, argv, 2, &world.out);
    c.shard = shard_of(key);
    struct place p = db_find(&c, 1, DB_PEEK);
    struct value v = db_value(&p, TYPE_STREAM);
    return stream_of(&v);
}

Test(stream_cmd, ids_come_from_the_clock_and_never_go_back)
{
    expect("XADD s * f v", "$15\r\n1700000000000-0\r\n");
    expect("XADD s * f v", "$15\r\n1700000000000-1\r\n");
    world.now_ms -= 5;
    expect("XADD s * f v", "$15\r\n1700000000000-2\r\n");
    world.now_ms += 6;
    expect("XADD s * f v", "$15\r\n1700000000001-0\r\n");
    expect("XLEN s", ":4\r\n");
}

Test(stream_cmd, a_refused_message_leaves_nothing_behind)
{
    expect("XADD s 0-0 f v", "-ERR The ID specified in XADD must be greater than 0-0\r\n");
    expect("XADD s NOMKSTREAM 1-1 f v", "$-1\r\n");
    expect("EXISTS s", ":0\r\n");
    expect("XADD s 5-5 f v", "$3\r\n5-5\r\n");
    uint64_t changes = shard_of("s")->stats.changes;
    expect("XADD s 5-5 f v", "-ERR The ID specified in XADD is equal or smaller than the target "
                             "stream top item\r\n");
    expect("XDEL s 5-4", ":0\r\n");
    expect("XTRIM s MAXLEN 1", ":0\r\n");
    expect("XDELEX s DELREF IDS 1 5-4", "*1\r\n:-1\r\n");
    cr_assert_eq(shard_of("s")->stats.changes, changes);
}

Test(stream_cmd, long_replies_have_their_count_in_front)
{
    for (unsigned i = 1; i <= 12; i++) {
        char line[64];
        snprintf(line, sizeof(line), "XADD s %u-0 f v", i);
        world_run(&world, line);
    }
    const char *reply = world_run(&world, "XRANGE s - +");
    static const char start[] = "*12\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n*2\r\n";
    cr_assert_eq(strncmp(reply, start, sizeof(start) - 1), 0);
    cr_assert_eq(strlen(reply), 5 + 9 * 31 + 3 * 32);
    expect("XRANGE s 2 2", "*1\r\n*2\r\n$3\r\n2-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    expect("XRANGE s 13 14", "*0\r\n");
}

Test(stream_cmd, memory_is_accounted_for_to_the_byte)
{
    size_t before = shard_of("s")->block_bytes;
    char line[200];
    for (unsigned i = 1; i <= 1000; i++) {
        snprintf(line, sizeof(line), "XADD s %u-0 field%u %050u other %u", i, i % 3, i, i * i);
        world_run(&world, line);
    }
    struct value v = {TYPE_STREAM, ENC_STREAM, stream_at("s")};
    cr_assert_eq(shard_of("s")->block_bytes - before, value_memory(&v));
    stream_check(stream_of(&v));
    expect("XTRIM s MAXLEN 333", ":667\r\n");
    expect("XDEL s 1000 999 668", ":3\r\n");
    cr_assert_eq(shard_of("s")->block_bytes - before, value_memory(&v));
    stream_check(stream_of(&v));
    expect("DEL s", ":1\r\n");
    cr_assert_eq(shard_of("s")->block_bytes, before);
}

/* s with messages 1 to 4; the group has read 1 to 3 and acknowledged 1. */
static struct stream_group *grouped(void)
{
    static const char *const lines[] = {"XADD s 1 f v", "XADD s 2 f v", "XADD s 3 f v",
                                        "XADD s 4 f v"};
    for (size_t i = 0; i < 4; i++)
        world_run(&world, lines[i]);
    struct stream_group *g = stream_group_create(stream_at("s"), SLICE("g"),
                                                 (struct stream_id){3, 0}, 3);
    struct stream_consumer *c = stream_consumer_create(g, SLICE("c"), 1);
    stream_pel_deliver(g, c, (struct stream_id){2, 0}, 1);
    stream_pel_deliver(g, c, (struct stream_id){3, 0}, 1);
    struct shard *s = shard_of("s");
    struct value v = {TYPE_STREAM, ENC_STREAM, stream_at("s")};
    s->block_bytes = value_memory(&v); /* what no command has entered */
    return g;
}

Test(stream_cmd, xdelex_acked_keeps_what_a_group_has_not_done_with)
{
    grouped();
    expect("XDELEX s ACKED IDS 5 1 2 3 4 5", "*5\r\n:1\r\n:2\r\n:2\r\n:2\r\n:-1\r\n");
    expect("XLEN s", ":3\r\n");
}

Test(stream_cmd, xdelex_delref_empties_pending_lists)
{
    struct stream_group *g = grouped();
    expect("XDELEX s DELREF IDS 1 2", "*1\r\n:1\r\n");
    cr_assert_eq(g->pel.count, 1);
    expect("XDELEX s KEEPREF IDS 1 3", "*1\r\n:1\r\n");
    cr_assert_eq(g->pel.count, 1);
    uint64_t changes = shard_of("s")->stats.changes;
    expect("XDELEX s DELREF IDS 1 3", "*1\r\n:-1\r\n");
    cr_assert_eq(g->pel.count, 0);
    cr_assert_eq(shard_of("s")->stats.changes, changes + 1);
    stream_check(stream_at("s"));
}
