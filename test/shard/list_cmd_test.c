/* Commands on lists: what they reply and leave behind, over shards, and what they ask for when they
 * would wait. The comparison with redis-server (test/compare/cases/list.txt) covers the rest. */
#include <criterion/criterion.h>

#include "test/shard/cmd_driver.h"

#include "shard/type/list.h"

static struct world world;

static void start(void)
{
    world_init(&world, 4);
    world.keyspace.options.list_max_listpack_size = -2;
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(list_cmd, .init = start, .fini = stop);
TestSuite(list_wait, .init = start, .fini = stop);
TestSuite(rows);

static const char *run(const char *line)
{
    return world_run(&world, line);
}

static void expect(const char *line, const char *reply)
{
    const char *got = run(line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

static uint64_t changes(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++)
        sum += world.shards[i].stats.changes;
    return sum;
}

/* Bytes that all shards account for, of which nothing may be left once all keys are gone. */
static size_t held(void)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++)
        sum += world.shards[i].block_bytes;
    return sum;
}

Test(list_cmd, pushes_from_either_end_and_pops_in_order)
{
    expect("RPUSH k b c", ":2\r\n");
    expect("LPUSH k a 1", ":4\r\n");
    expect("LRANGE k 0 -1", "*4\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    expect("RPOP k 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n");
    expect("LPOP k", "$1\r\n1\r\n");
    expect("LPOP k", "$1\r\na\r\n");
    expect("LPOP k", "$-1\r\n");
    expect("EXISTS k", ":0\r\n");
}

Test(list_cmd, counts_a_change_only_where_something_changed)
{
    run("RPUSH k a b c");
    uint64_t before = changes();
    static const char *const idle[] = {
        "LPUSHX none v",   "LPOP none",      "LPOP k 0",       "LREM k 0 z",
        "LTRIM k 0 -1",    "LSET k 9 v",     "LSET none 0 v",  "LINSERT k AFTER z v",
        "LRANGE k 0 -1",   "LPOS k a",       "LINDEX k 0",     "LLEN k",
        "LMPOP 1 no LEFT", "RPOPLPUSH no k", "BLPOP no 0",     "BLMOVE no k LEFT LEFT 0",
    };
    for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++) {
        run(idle[i]);
        cr_expect_eq(changes(), before, "%s", idle[i]);
    }
    run("LSET k 0 v");
    run("LREM k 0 b");
    run("LTRIM k 0 0");
    cr_expect_eq(changes(), before + 3);
    run("LMOVE k other LEFT RIGHT");
    cr_expect_eq(changes(), before + 4, "a move counts as one");
}

Test(list_cmd, wrong_type_stops_a_move_before_it_begins)
{
    run("RPUSH from a b");
    run("SET to text");
    static const char *const wrong =
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    uint64_t before = changes();
    expect("LMOVE from to LEFT LEFT", wrong);
    expect("LMOVE to from LEFT LEFT", wrong);
    expect("BRPOPLPUSH from to 0", wrong);
    expect("LMPOP 2 to from LEFT", wrong);
    expect("BLPOP none to from 0", wrong);
    expect("LMOVE none to LEFT LEFT", "$-1\r\n");
    expect("LRANGE from 0 -1", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    cr_expect_eq(changes(), before);
}

Test(list_cmd, moves_between_shards_and_within_a_list)
{
    for (int i = 0; i < 20; i++) {
        char line[64];
        snprintf(line, sizeof(line), "RPUSH from%d a b c", i);
        run(line);
        snprintf(line, sizeof(line), "LMOVE from%d to RIGHT LEFT", i);
        expect(line, "$1\r\nc\r\n");
        snprintf(line, sizeof(line), "RPOPLPUSH from%d from%d", i, i);
        expect(line, "$1\r\nb\r\n");
        snprintf(line, sizeof(line), "LRANGE from%d 0 -1", i);
        expect(line, "*2\r\n$1\r\nb\r\n$1\r\na\r\n");
    }
    expect("LLEN to", ":20\r\n");
    expect("LMPOP 3 none to from1 LEFT COUNT 2", "*2\r\n$2\r\nto\r\n*2\r\n$1\r\nc\r\n$1\r\nc\r\n");
}

Test(list_cmd, null_of_each_protocol)
{
    expect("LPOP none 1", "*-1\r\n");
    expect("LMPOP 1 none LEFT", "*-1\r\n");
    expect("BLPOP none 0", "*-1\r\n");
    expect("BLMOVE none x LEFT LEFT 0", "$-1\r\n");
    expect("LPOS none v", "$-1\r\n");
    expect("LPOS none v COUNT 1", "*0\r\n");
    world.protocol = 3;
    expect("LPOP none 1", "_\r\n");
    expect("LPOP none", "_\r\n");
    expect("BLMPOP 0 1 none LEFT", "_\r\n");
}

Test(list_cmd, an_expiry_survives_changes_and_goes_with_the_list)
{
    run("RPUSH k a b c");
    run("PEXPIREAT k 1800000000000");
    run("LPUSH k z");
    run("LTRIM k 1 -1");
    expect("PEXPIRETIME k", ":1800000000000\r\n");
    run("LPOP k 3");
    run("RPUSH k a");
    expect("PEXPIRETIME k", ":-1\r\n");
    run("PEXPIRE k 10");
    world.now_ms += 11;
    expect("LLEN k", ":0\r\n");
    expect("RPUSHX k v", ":0\r\n");
}

Test(list_cmd, memory_is_given_back)
{
    world.keyspace.options.list_max_listpack_size = 4;
    world.keyspace.options.list_compress_depth = 1;
    for (int i = 0; i < 2000; i++) {
        char line[256];
        snprintf(line, sizeof(line), "RPUSH k%d element%d %0100d", i % 7, i, i);
        run(line);
        snprintf(line, sizeof(line), "LINSERT k%d BEFORE element%d x", i % 7, i / 2);
        run(line);
        snprintf(line, sizeof(line), "LMOVE k%d k%d LEFT RIGHT", i % 7, i % 5);
        run(line);
    }
    cr_expect_gt(held(), 20000);
    expect("COPY k1 copy", ":1\r\n");
    cr_expect_str_eq(run("OBJECT ENCODING copy"), "$9\r\nquicklist\r\n");
    run("DEL copy k0 k1 k2 k3 k4 k5 k6");
    cr_expect_eq(held(), 0);
}

/* Runs a command that may wait; true, with what it asks for, where it does. */
static bool waits(const char *const *words, uint32_t argc, struct call_wait *wait)
{
    struct slice argv[8];
    for (uint32_t i = 0; i < argc; i++)
        argv[i] = slice_of(words[i]);
    buf_consume(&world.out, world.out.size);
    struct call c = world_call(&world, world_row(argv[0]), argv, argc, &world.out);
    c.may_wait = true;
    world_run_row(&world, &c);
    *wait = c.wait;
    cr_expect_eq(world.out.size == 0, c.wait.asked);
    return c.wait.asked;
}

Test(list_wait, pops_ask_for_all_their_keys)
{
    struct call_wait w;
    cr_assert(waits((const char *[]){"BLPOP", "a", "b", "c", "1.5"}, 5, &w));
    cr_expect(w.type == TYPE_LIST && w.reply == WAIT_NULL_ARRAY && !w.on_removal);
    cr_expect(w.first_key == 1 && w.key_count == 3 && w.timeout_ms == 1500);
    cr_assert(waits((const char *[]){"BLMPOP", "0", "2", "a", "b", "RIGHT"}, 6, &w));
    cr_expect(w.first_key == 3 && w.key_count == 2 && w.timeout_ms == 0);
    run("RPUSH b x");
    cr_expect_not(waits((const char *[]){"BRPOP", "a", "b", "0"}, 4, &w));
    expect("EXISTS b", ":0\r\n");
}

Test(list_wait, moves_ask_for_their_source)
{
    struct call_wait w;
    run("RPUSH to x");
    cr_assert(waits((const char *[]){"BLMOVE", "from", "to", "LEFT", "LEFT", "0.001"}, 6, &w));
    cr_expect(w.first_key == 1 && w.key_count == 1 && w.timeout_ms == 1);
    cr_expect(w.reply == WAIT_NULL_ARRAY);
    cr_assert(waits((const char *[]){"BRPOPLPUSH", "from", "to", "0"}, 4, &w));
    cr_expect(w.first_key == 1 && w.key_count == 1 && w.timeout_ms == 0);
    expect("LLEN to", ":1\r\n");
}

Test(list_wait, wrong_arguments_do_not_wait)
{
    struct call_wait w;
    cr_expect_not(waits((const char *[]){"BLPOP", "a", "-1"}, 3, &w));
    cr_expect_not(waits((const char *[]){"BLPOP", "a", "x"}, 3, &w));
    cr_expect_not(waits((const char *[]){"BLMOVE", "a", "b", "UP", "LEFT", "0"}, 6, &w));
    cr_expect_not(waits((const char *[]){"BLMPOP", "0", "0", "a", "LEFT"}, 5, &w));
}

Test(rows, are_complete)
{
    static const struct command *const tables[] = {list_commands, list_move_commands,
                                                   list_block_commands};
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        for (const struct command *row = tables[i]; row->name; row++) {
            cr_expect(row->run && row->arity && row->since && row->complexity && row->summary &&
                      row->syntax && row->keys[0].flags, "%s", row->name);
            cr_expect_str_eq(row->group, "list");
            cr_expect_eq(row->acl, ACL_LIST);
        }
}
