/* ZADD, ZINCRBY, ZREM, ZSCORE, ZRANK, ZRANDMEMBER, ZSCAN. Their replies are compared with Redis's
 * in test/compare; here is what chance and the keyspace have to do with them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/shard/cmd_driver.h"

static struct world world;

static void start(void)
{
    world_init(&world, 2);
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(zset_cmd, .init = start, .fini = stop);

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

/* Members m0 ... with their number as the score. */
static void fill(const char *key, int count)
{
    for (int i = 0; i < count; i++) {
        char line[64];
        snprintf(line, sizeof(line), "ZADD %s %d m%d", key, i, i);
        run(line);
    }
}

Test(zset_cmd, zadd_counts_what_is_new_or_with_ch_what_changed)
{
    expect("ZADD z 1 a 2 b 3 a", ":2\r\n");
    expect("ZADD z CH 3 a 5 b 1 c", ":2\r\n");
    expect("ZSCORE z a", "$1\r\n3\r\n");
    expect("ZCARD z", ":3\r\n");
}

Test(zset_cmd, a_wrong_score_changes_nothing)
{
    expect("ZADD z 1 a x b", "-ERR value is not a valid float\r\n");
    expect("EXISTS z", ":0\r\n");
    for (int i = 0; i < 100; i++)
        run("ZADD z 1 a 2 b");
    expect("ZADD z 5 a nan b", "-ERR value is not a valid float\r\n");
    expect("ZSCORE z a", "$1\r\n1\r\n");
}

Test(zset_cmd, only_a_change_counts_as_one)
{
    run("ZADD z 1 a 2 b");
    uint64_t before = changes();
    run("ZADD z 1 a");
    run("ZADD z NX 5 a");
    run("ZADD z XX 5 c");
    run("ZADD z GT 0 a");
    run("ZADD z INCR 0 a");
    run("ZINCRBY z 0 b");
    run("ZREM z c");
    run("ZADD nokey XX 1 a");
    cr_expect_eq(changes(), before);
    run("ZADD z 3 a 4 b");
    run("ZREM z a b");
    cr_expect_eq(changes(), before + 2);
    expect("EXISTS z", ":0\r\n");
}

Test(zset_cmd, an_increment_to_no_number_leaves_the_score)
{
    run("ZADD z inf a");
    expect("ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)\r\n");
    expect("ZADD z INCR -inf a", "-ERR resulting score is not a number (NaN)\r\n");
    expect("ZSCORE z a", "$3\r\ninf\r\n");
}

Test(zset_cmd, ranks_come_with_scores_on_request)
{
    fill("z", 300);
    expect("ZRANK z m250", ":250\r\n");
    expect("ZREVRANK z m250", ":49\r\n");
    expect("ZRANK z m250 withscore", "*2\r\n:250\r\n$3\r\n250\r\n");
    expect("ZRANK z none WITHSCORE", "*-1\r\n");
    expect("ZRANK z none", "$-1\r\n");
    expect("ZRANK z m1 WITHSCORE more",
           "-ERR wrong number of arguments for 'zrank' command\r\n");
}

/* Notes the members m0 ... of a flat RESP2 reply of `seen`'s size at most; returns their count. */
static int note_members(const char *reply, int *seen)
{
    int count = 0;
    for (const char *at = reply; (at = strstr(at, "\r\nm")); at += 3) {
        seen[atoi(at + 3)]++;
        count++;
    }
    return count;
}

static void expect_distinct(const char *key, int size, int count)
{
    int seen[2000] = {0};
    char line[64];
    snprintf(line, sizeof(line), "ZRANDMEMBER %s %d", key, count);
    cr_expect_eq(note_members(run(line), seen), count < size ? count : size);
    for (int i = 0; i < size; i++)
        cr_expect_leq(seen[i], 1);
}

Test(zset_cmd, random_members_differ_unless_the_count_is_negative)
{
    static const int counts[] = {1, 2, 9, 50, 99, 100, 250, 499, 500, 501, 1999, 2000, 3000};
    fill("small", 100);
    fill("large", 2000);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        expect_distinct("small", 100, counts[i]);
        expect_distinct("large", 2000, counts[i]);
    }
    int seen[2000] = {0};
    cr_expect_eq(note_members(run("ZRANDMEMBER small -1000"), seen), 1000);
    cr_expect_eq(note_members(run("ZRANDMEMBER large -1000 WITHSCORES"), seen), 1000);
}

/* Each of 20 members is expected in a quarter of 4,000 samples: 1,000 times, with a standard
 * deviation of 27. */
static void expect_fair(const char *line, int size, int expected)
{
    int seen[2000] = {0};
    for (int i = 0; i < 4000; i++)
        note_members(run(line), seen);
    for (int i = 0; i < size; i++)
        cr_expect(abs(seen[i] - expected) < 200, "%s: m%d %d times", line, i, seen[i]);
}

Test(zset_cmd, random_members_are_equally_likely)
{
    fill("z", 20);
    expect_fair("ZRANDMEMBER z 5", 20, 1000);
    expect_fair("ZRANDMEMBER z -5", 20, 1000);
    world.keyspace.options.zset_max_listpack_entries = 0;
    fill("t", 20);
    expect_fair("ZRANDMEMBER t 5", 20, 1000);
    expect_fair("ZRANDMEMBER t 4", 20, 800);
    expect_fair("ZRANDMEMBER t -5", 20, 1000);
}

Test(zset_cmd, zscan_goes_through_a_changing_tree)
{
    int seen[2000] = {0};
    char line[64] = "ZSCAN z 0";
    int steps = 0;
    fill("z", 1000);
    for (;;) {
        const char *reply = run(line);
        note_members(reply, seen);
        unsigned long long cursor = strtoull(strchr(strchr(reply, '$'), '\n') + 1, NULL, 10);
        if (cursor == 0)
            break;
        snprintf(line, sizeof(line), "ZREM z m%d", 999 - steps);
        run(line);
        snprintf(line, sizeof(line), "ZADD z 1 m%d", 1000 + steps++);
        run(line);
        snprintf(line, sizeof(line), "ZSCAN z %llu COUNT 10", cursor);
    }
    cr_expect_geq(steps, 50);
    for (int i = 0; i < 1000 - steps; i++)
        cr_expect_geq(seen[i], 1, "m%d", i);
}

Test(zset_cmd, a_large_set_is_gone_at_once_and_freed_in_steps)
{
    fill("z", 1000);
    run("UNLINK z");
    expect("EXISTS z", ":0\r\n");
    struct shard *s = &world.shards[0];
    if (s->garbage.count == 0)
        s = &world.shards[1];
    cr_expect_eq(s->garbage.count, 1);
    int steps = 0;
    while (garbage_collect(s, 100))
        steps++;
    cr_expect_geq(steps, 5);
    cr_expect_eq(s->garbage.count, 0);
}
