/* The commands of fields' expiry, by a clock of the test's own: what they answer at which time,
 * what changes they tell of, and what becomes of the fields when a key is copied or renamed. */
#include <criterion/criterion.h>

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

TestSuite(hash_expire_cmd, .init = start, .fini = stop);

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

static void expect_changes(const char *line, uint64_t count)
{
    uint64_t before = changes();
    run(line);
    cr_expect_eq(changes() - before, count, "%s", line);
}

Test(hash_expire_cmd, times_are_asked_for_in_four_ways)
{
    run("HSET h a 1 b 2 c 3");
    expect("HEXPIRE h 10 FIELDS 1 a", "*1\r\n:1\r\n");
    expect("HPEXPIRE h 1500 FIELDS 2 b x", "*2\r\n:1\r\n:-2\r\n");
    expect("HTTL h FIELDS 4 a b c x", "*4\r\n:10\r\n:2\r\n:-1\r\n:-2\r\n");
    expect("HPTTL h FIELDS 3 a b c", "*3\r\n:10000\r\n:1500\r\n:-1\r\n");
    expect("HEXPIRETIME h FIELDS 3 a b c", "*3\r\n:1700000010\r\n:1700000002\r\n:-1\r\n");
    expect("HPEXPIRETIME h FIELDS 2 a b", "*2\r\n:1700000010000\r\n:1700000001500\r\n");
    expect("HEXPIREAT h 1700000020 FIELDS 1 a", "*1\r\n:1\r\n");
    expect("HPEXPIREAT h 1700000000007 FIELDS 1 b", "*1\r\n:1\r\n");
    expect("HPTTL h FIELDS 2 a b", "*2\r\n:20000\r\n:7\r\n");
    world.now_ms += 7;
    expect("HTTL h FIELDS 2 a b", "*2\r\n:20\r\n:0\r\n");
    world.now_ms += 1;
    expect("HTTL h FIELDS 2 a b", "*2\r\n:20\r\n:-2\r\n");
}

Test(hash_expire_cmd, conditions_compare_with_the_time_that_is_set)
{
    run("HSET h a 1 b 2");
    run("HPEXPIRE h 1000 FIELDS 1 a");
    expect("HPEXPIRE h 2000 NX FIELDS 2 a b", "*2\r\n:0\r\n:1\r\n");
    run("HPERSIST h FIELDS 1 b");
    expect("HPEXPIRE h 2000 XX FIELDS 2 a b", "*2\r\n:1\r\n:0\r\n");
    expect("HPEXPIRE h 2000 GT FIELDS 2 a b", "*2\r\n:0\r\n:0\r\n");
    expect("HPEXPIRE h 2001 GT FIELDS 2 a b", "*2\r\n:1\r\n:0\r\n");
    expect("HPEXPIRE h 2001 LT FIELDS 2 a b", "*2\r\n:0\r\n:1\r\n");
    expect("HPEXPIRE h 2000 LT FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n");
    expect("HPEXPIRE h 0 GT FIELDS 2 a b", "*2\r\n:0\r\n:0\r\n");
    expect("HPEXPIRE h 0 LT FIELDS 1 a", "*1\r\n:2\r\n");
    expect("HEXISTS h a", ":0\r\n");
}

Test(hash_expire_cmd, changes_are_told_of_once_and_only_where_there_are_any)
{
    run("HSET h a 1 b 2 c 3");
    expect_changes("HEXPIRE h 10 FIELDS 2 a b", 1);
    expect_changes("HEXPIRE h 10 FIELDS 1 x", 0);
    expect_changes("HEXPIRE h 10 NX FIELDS 2 a b", 0);
    expect_changes("HPERSIST h FIELDS 2 c x", 0);
    expect_changes("HPERSIST h FIELDS 2 c a", 1);
    expect_changes("HTTL h FIELDS 1 b", 0);
    expect_changes("HGETEX h FIELDS 1 b", 0);
    expect_changes("HGETEX h PERSIST FIELDS 1 a", 0);
    expect_changes("HGETEX h PERSIST FIELDS 1 b", 1);
    expect_changes("HGETEX h EX 5 FIELDS 2 b x", 1);
    expect_changes("HGETEX h PX 0 FIELDS 1 x", 0);
    expect_changes("HSETEX h FNX FIELDS 1 a 1", 0);
    expect_changes("HSETEX h FXX FIELDS 1 a 1", 1);
    expect_changes("HGETDEL h FIELDS 1 x", 0);
    expect_changes("HGETDEL h FIELDS 2 x c", 1);
    expect_changes("HEXPIRE h 0 FIELDS 2 a b", 1);
    expect("EXISTS h", ":0\r\n");
    expect_changes("HEXPIRE h 0 FIELDS 2 a b", 0);
    expect_changes("HSETEX h PXAT 1 FIELDS 1 a 1", 0);
    expect("EXISTS h", ":0\r\n");
}

Test(hash_expire_cmd, a_time_in_the_past_takes_the_field_and_the_last_one_the_key)
{
    static const char *const lines[] = {
        "HEXPIRE h 0 FIELDS 2 a b",          "HPEXPIRE h 0 FIELDS 2 a b",
        "HEXPIREAT h 1700000000 FIELDS 2 a b", "HPEXPIREAT h 0 FIELDS 2 a b",
        "HGETEX h EX 0 FIELDS 2 a b",        "HGETEX h PXAT 1699999999999 FIELDS 2 a b",
        "HSETEX h EXAT 1 FIELDS 2 a 1 b 2",  "HGETDEL h FIELDS 2 a b",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        run("HSET h a 1 b 2 c 3");
        run(lines[i]);
        expect("HKEYS h", "*1\r\n$1\r\nc\r\n");
        run("HDEL h c");
        run("HSET h a 1 b 2");
        run(lines[i]);
        expect("EXISTS h", ":0\r\n");
    }
}

Test(hash_expire_cmd, hsetex_keeps_replaces_or_ends_the_time)
{
    run("HSET h a 1");
    run("HPEXPIRE h 5000 FIELDS 1 a");
    expect("HSETEX h KEEPTTL FIELDS 2 a 2 b 2", ":1\r\n");
    expect("HPTTL h FIELDS 2 a b", "*2\r\n:5000\r\n:-1\r\n");
    expect("HSETEX h FXX PX 70 FIELDS 2 a 3 b 3", ":1\r\n");
    expect("HPTTL h FIELDS 2 a b", "*2\r\n:70\r\n:70\r\n");
    expect("HSETEX h FIELDS 1 a 4", ":1\r\n");
    expect("HPTTL h FIELDS 2 a b", "*2\r\n:-1\r\n:70\r\n");
    expect("HSETEX h FXX FIELDS 2 a 5 x 5", ":0\r\n");
    expect("HSETEX h FNX FIELDS 2 a 5 x 5", ":0\r\n");
    world.now_ms += 71;
    expect("HSETEX h FXX FIELDS 1 b 5", ":0\r\n");
    expect("HSETEX h FNX EXAT 1700000100 FIELDS 1 b 5", ":1\r\n");
    expect("HMGET h a b", "*2\r\n$1\r\n4\r\n$1\r\n5\r\n");
    expect("HEXPIRETIME h FIELDS 1 b", "*1\r\n:1700000100\r\n");
}

Test(hash_expire_cmd, a_field_named_twice_is_answered_twice)
{
    run("HSET h a 1 b 2");
    expect("HEXPIRE h 10 NX FIELDS 2 a a", "*2\r\n:1\r\n:0\r\n");
    expect("HPERSIST h FIELDS 2 a a", "*2\r\n:1\r\n:-1\r\n");
    expect("HGETDEL h FIELDS 2 a a", "*2\r\n$1\r\n1\r\n$-1\r\n");
    expect("HEXPIRE h 0 FIELDS 3 b b a", "*3\r\n:2\r\n:-2\r\n:-2\r\n");
    expect("EXISTS h", ":0\r\n");
}

/* From shard to shard, in both encodings. */
Test(hash_expire_cmd, copies_and_renamed_keys_keep_the_times)
{
    char line[100];
    for (int large = 0; large < 2; large++) {
        run("FLUSHALL");
        world.now_ms = 1700000000000;
        run("HSET h a 1 b 2 c 3");
        for (int i = 0; i < 600 * large; i++) {
            snprintf(line, sizeof(line), "HSET h f%d v", i);
            run(line);
        }
        run("HPEXPIRE h 500 FIELDS 1 a");
        run("HPEXPIRE h 900 FIELDS 1 b");
        for (int i = 0; i < 8; i++) {
            snprintf(line, sizeof(line), "COPY h copy%d", i);
            expect(line, ":1\r\n");
            snprintf(line, sizeof(line), "RENAME copy%d renamed%d", i, i);
            expect(line, "+OK\r\n");
            snprintf(line, sizeof(line), "HPTTL renamed%d FIELDS 3 a b c", i);
            expect(line, "*3\r\n:500\r\n:900\r\n:-1\r\n");
        }
        run("HPERSIST h FIELDS 1 a");
        world.now_ms += 501;
        expect("HGET h a", "$1\r\n1\r\n");
        expect("HMGET renamed3 a b", "*2\r\n$-1\r\n$1\r\n2\r\n");
    }
}

static uint64_t swept_fields(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++) {
        struct shard *s = &world.shards[i];
        s->now_ms = world.now_ms;
        for (int n = 0; n < 1000 && shard_has_expiring(s); n++) {
            uint64_t visited;
            shard_sweep(s, 64, &visited);
        }
        sum += s->stats.expired_fields;
    }
    return sum;
}

Test(hash_expire_cmd, the_sweep_takes_due_fields_and_emptied_keys)
{
    char line[100];
    for (int i = 0; i < 50; i++) {
        snprintf(line, sizeof(line), "HSETEX all%d PX 100 FIELDS 2 a 1 b 2", i);
        run(line);
        snprintf(line, sizeof(line), "HSETEX some%d PX 100 FIELDS 2 a 1 b 2", i);
        run(line);
        snprintf(line, sizeof(line), "HSET some%d c 3", i);
        run(line);
    }
    for (int i = 0; i < 3000; i++) {
        snprintf(line, sizeof(line), "HSETEX large PX %d FIELDS 1 f%d v", i % 3 ? 100 : 10000, i);
        run(line);
    }
    cr_expect_eq(swept_fields(), 0);
    world.now_ms += 101;
    cr_expect_eq(swept_fields(), 50 * 4 + 2000);
    expect("DBSIZE", ":51\r\n");
    expect("HLEN large", ":1000\r\n");
    expect("HLEN some7", ":1\r\n");
    world.now_ms += 10000;
    cr_expect_eq(swept_fields(), 50 * 4 + 3000);
    expect("DBSIZE", ":50\r\n");
}

Test(hash_expire_cmd, nothing_behind_the_last_argument_is_read)
{
    const struct slice argv[] = {SLICE("HGETEX"), SLICE("h"), SLICE("EX"), SLICE("5"),
                                 SLICE("FIELDS"), SLICE("7")};
    const char *got = world_run_args(&world, argv, 5);
    cr_expect_str_eq(got, "-ERR Number of fields must be a positive integer\r\n", "%s", got);
}
