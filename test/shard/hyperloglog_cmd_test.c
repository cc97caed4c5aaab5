/* PFADD, PFCOUNT, PFMERGE, PFDEBUG, PFSELFTEST over several shards. The bytes and the estimates are
 * compared with Redis's elsewhere (test/compare); here is what needs a look inside. */
#include <criterion/criterion.h>

#include "test/shard/cmd_driver.h"

static struct world world;

static void start(void)
{
    world_init(&world, 4);
    world.keyspace.options.hll_sparse_max_bytes = 3000;
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(hyperloglog_cmd, .init = start, .fini = stop);

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

static void set_bytes(const char *key, const void *bytes, size_t size)
{
    const struct slice argv[] = {SLICE("SET"), slice_of(key), {bytes, size}};
    world_run_args(&world, argv, 3);
}

static void add_many(const char *key, int from, int to)
{
    char line[64];
    for (int i = from; i < to; i++) {
        snprintf(line, sizeof(line), "PFADD %s element%d", key, i);
        run(line);
    }
}

Test(hyperloglog_cmd, only_what_changes_something_counts_as_a_change)
{
    uint64_t before = changes();
    expect("PFADD h", ":1\r\n");
    expect("PFADD h", ":0\r\n");
    expect("PFADD h a b", ":1\r\n");
    expect("PFADD h a b a", ":0\r\n");
    cr_expect_eq(changes(), before + 2);
    expect("PFCOUNT h", ":2\r\n");
    cr_expect_eq(changes(), before + 3, "the estimate was kept");
    expect("PFCOUNT h", ":2\r\n");
    expect("PFCOUNT none", ":0\r\n");
    expect("PFCOUNT h none", ":2\r\n");
    cr_expect_eq(changes(), before + 3);
    expect("PFMERGE h", "+OK\r\n");
    cr_expect_eq(changes(), before + 4);
}

Test(hyperloglog_cmd, a_kept_estimate_is_what_pfcount_answers)
{
    set_bytes("h", "HYLL\1\0\0\0\x39\x30\0\0\0\0\0\0\x7f\xff", 18);
    expect("PFCOUNT h", ":12345\r\n");
    expect("PFCOUNT h h", ":0\r\n");
    expect("PFADD h a", ":1\r\n");
    expect("PFCOUNT h", ":1\r\n");
}

Test(hyperloglog_cmd, several_keys_count_as_their_merge)
{
    add_many("a", 0, 600);
    add_many("b", 400, 1000);
    add_many("all", 0, 1000);
    add_many("dense", 0, 1000);
    expect("PFDEBUG TODENSE dense", ":1\r\n");
    expect("PFDEBUG TODENSE dense", ":0\r\n");
    char all[32];
    snprintf(all, sizeof(all), "%s", run("PFCOUNT all"));
    expect("PFCOUNT a b", all);
    expect("PFCOUNT b a none", all);
    expect("PFCOUNT dense", all);
    expect("PFCOUNT dense a", all);
    expect("PFMERGE c a b none", "+OK\r\n");
    expect("PFCOUNT c", all);
    expect("PFDEBUG ENCODING c", "+sparse\r\n");
    expect("PFMERGE c dense", "+OK\r\n");
    expect("PFDEBUG ENCODING c", "+dense\r\n");
    expect("PFCOUNT c", all);
    expect("STRLEN c", ":12304\r\n");
}

Test(hyperloglog_cmd, a_corrupt_one_is_found_and_nothing_else_changed)
{
    run("PFADD h a");
    set_bytes("bad", "HYLL\1\0\0\0\0\0\0\0\0\0\0\x80\x7f\xfe", 18);
    const char *corrupt = "-INVALIDOBJ Corrupted HLL object detected\r\n";
    expect("PFCOUNT bad", corrupt);
    expect("PFCOUNT h bad", corrupt);
    uint64_t before = changes();
    expect("PFMERGE h bad", corrupt);
    expect("PFMERGE new bad", corrupt);
    expect("EXISTS new", ":0\r\n");
    expect("PFDEBUG TODENSE bad", corrupt);
    expect("PFDEBUG GETREG bad", corrupt);
    cr_expect_eq(changes(), before);
    set_bytes("bad", "HYLL\1\0\0\0\0\0\0\0\0\0\0\x80", 16);
    expect("PFADD bad a", corrupt);
    expect("PFDEBUG DECODE bad", "$0\r\n\r\n");
    cr_expect_eq(changes(), before + 1);
}

Test(hyperloglog_cmd, other_strings_are_refused)
{
    const char *refused = "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n";
    run("SET s text");
    run("SET i 12345");
    expect("PFADD s a", refused);
    expect("PFADD i", refused);
    expect("PFCOUNT s", refused);
    expect("PFMERGE s", refused);
    expect("PFMERGE h i", refused);
    expect("PFDEBUG NOPE s", refused);
    expect("GET s", "$4\r\ntext\r\n");
    expect("EXISTS h", ":0\r\n");
}

Test(hyperloglog_cmd, pfdebug_shows_registers_and_runs)
{
    run("PFADD h a");
    expect("PFDEBUG DECODE h", "$20\r\nZ:12711 v:2,1 Z:3672\r\n");
    expect("PFDEBUG NOPE h", "-ERR Unknown PFDEBUG subcommand 'NOPE'\r\n");
    expect("PFDEBUG GETREG none", "-ERR The specified key does not exist\r\n");
    const char *registers = run("PFDEBUG GETREG h");
    cr_expect_eq(strncmp(registers, "*16384\r\n:0\r\n", 12), 0);
    cr_expect(strstr(registers, "\r\n:2\r\n"));
    expect("PFDEBUG ENCODING h", "+dense\r\n");
    expect("PFDEBUG DECODE h", "-ERR HLL encoding is not sparse\r\n");
}

Test(hyperloglog_cmd, the_expiry_is_kept)
{
    run("PFADD h a");
    run("EXPIRE h 100");
    add_many("h", 0, 1000);
    run("PFMERGE h h");
    run("PFCOUNT h");
    run("PFDEBUG TODENSE h");
    expect("TTL h", ":100\r\n");
}

Test(hyperloglog_cmd, the_self_test_passes)
{
    expect("PFSELFTEST", "+OK\r\n");
}
