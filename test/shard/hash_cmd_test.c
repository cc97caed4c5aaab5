/* Hash commands. What they reply is compared with Redis elsewhere; here stand properties of random
 * replies, scans, what changes are told of, and expiries that HSET and its kin keep or end. */
#include <criterion/criterion.h>

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

TestSuite(hash_cmd, .init = start, .fini = stop);

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
    return world.shards[0].stats.changes + world.shards[1].stats.changes;
}

/* Runs the line, of which so many keys are to be told changed. */
static void expect_changes(const char *line, uint64_t count)
{
    uint64_t before = changes();
    run(line);
    cr_expect_eq(changes() - before, count, "%s", line);
}

/* HSET h f<i> v<i> */
static void fill(int from, int to)
{
    char line[100];
    for (int i = from; i < to; i++) {
        snprintf(line, sizeof(line), "HSET h f%d v%d", i, i);
        run(line);
    }
}

#define FIELDS_MAX 2000

/* Notes the bulks "<letter><number>" of a reply; how many there are. */
static int note_bulks(const char *reply, char letter, int *counts)
{
    int bulks = 0;
    for (const char *at = reply; (at = strchr(at, '$')); at++) {
        const char *text = strchr(at, '\n') + 1;
        if (*text != letter)
            continue;
        int n = atoi(text + 1);
        cr_assert(n >= 0 && n < FIELDS_MAX);
        counts[n]++;
        bulks++;
    }
    return bulks;
}

Test(hash_cmd, a_write_is_told_of_once_and_only_if_something_changed)
{
    expect_changes("HSET h a 1 b 2", 1);
    expect_changes("HSET h a 1", 1);
    expect_changes("HSETNX h a 2", 0);
    expect_changes("HSETNX h c 2", 1);
    expect_changes("HDEL h x y", 0);
    expect_changes("HDEL h a b x", 1);
    expect_changes("HINCRBY h n 5", 1);
    expect_changes("HINCRBY h c x", 0);
    expect_changes("HINCRBYFLOAT h n 0.5", 1);
    expect_changes("HINCRBY h n 1", 0);
    expect_changes("HGET h n", 0);
    expect_changes("HDEL h c n", 1);
    expect("EXISTS h", ":0\r\n");
    expect_changes("HINCRBY h n x", 0);
    expect("EXISTS h", ":0\r\n");
}

Test(hash_cmd, replies_of_resp3_are_maps_and_pairs)
{
    run("HSET h f v");
    world.protocol = 3;
    expect("HGETALL h", "%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
    expect("HGETALL nokey", "%0\r\n");
    expect("HGET h x", "_\r\n");
    expect("HRANDFIELD h 2 WITHVALUES", "*1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    expect("HRANDFIELD h -1 WITHVALUES", "*1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    expect("HRANDFIELD nokey", "_\r\n");
    expect("HSCAN h 0", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
}

static void expect_randoms(int held)
{
    char line[100];
    for (int size = 1; size <= held + 1; size += 1 + size / 3) {
        int counts[FIELDS_MAX] = {0};
        int due = size < held ? size : held;
        snprintf(line, sizeof(line), "HRANDFIELD h %d", size);
        cr_expect_eq(note_bulks(run(line), 'f', counts), due, "%d of %d", size, held);
        for (int i = 0; i < FIELDS_MAX; i++)
            cr_expect_leq(counts[i], 1);

        int values[FIELDS_MAX] = {0}, fields[FIELDS_MAX] = {0};
        snprintf(line, sizeof(line), "HRANDFIELD h -%d WITHVALUES", size);
        const char *reply = run(line);
        cr_expect_eq(note_bulks(reply, 'f', fields), size);
        cr_expect_eq(note_bulks(reply, 'v', values), size);
        cr_expect_arr_eq(fields, values, sizeof(fields));
    }
}

Test(hash_cmd, random_fields_differ_or_repeat_as_asked_for)
{
    fill(0, 30);
    expect_randoms(30);
    fill(30, 600);
    expect("OBJECT ENCODING h", "$9\r\nhashtable\r\n");
    expect_randoms(600);
}

/* Goes through the hash, and changes it between the calls as told; how often each field came. */
static void scan(const char *options, int *counts, int grow_to, int shrink_to)
{
    char line[120], cursor[32] = "0";
    int grown = 1000, removed = 999;
    do {
        snprintf(line, sizeof(line), "HSCAN h %s %s", cursor, options);
        const char *reply = run(line);
        sscanf(strchr(reply, '\n') + 1, "%*s %31s", cursor);
        note_bulks(reply, 'f', counts);
        for (int i = 0; i < 20 && grown < grow_to; i++, grown++)
            fill(grown, grown + 1);
        for (int i = 0; i < 20 && removed >= shrink_to; i++, removed--) {
            snprintf(line, sizeof(line), "HDEL h f%d", removed);
            run(line);
        }
    } while (strcmp(cursor, "0") != 0);
}

Test(hash_cmd, a_scan_meets_every_field_that_stays)
{
    static const struct { int grow_to, shrink_to; } ways[] = {{0, 1000}, {2000, 1000}, {0, 500}};
    for (int way = 0; way < 3; way++) {
        int counts[FIELDS_MAX] = {0};
        run("DEL h");
        fill(0, 1000);
        scan("COUNT 10", counts, ways[way].grow_to, ways[way].shrink_to);
        for (int i = 0; i < ways[way].shrink_to && i < 1000; i++)
            cr_expect(way ? counts[i] >= 1 : counts[i] == 1, "way %d, field %d", way, i);
    }
}

Test(hash_cmd, a_scan_can_leave_the_values_out)
{
    int counts[FIELDS_MAX] = {0};
    fill(0, 3);
    const char *reply = run("HSCAN h 0 NOVALUES");
    cr_expect_eq(note_bulks(reply, 'v', counts), 0);
    cr_expect_eq(note_bulks(reply, 'f', counts), 3);
    expect("HSCAN h 0 NOVALUES MATCH f1", "*2\r\n$1\r\n0\r\n*1\r\n$2\r\nf1\r\n");
    expect("HSCAN h 0 MATCH f1", "*2\r\n$1\r\n0\r\n*2\r\n$2\r\nf1\r\n$2\r\nv1\r\n");
}

Test(hash_cmd, setting_takes_the_expiry_away_and_counting_keeps_it)
{
    run("HSET h a 1 b 2 c 3 d 4");
    run("HPEXPIREAT h 1700000005000 FIELDS 4 a b c d");
    run("HSET h a 9");
    run("HSETNX h b 9");
    run("HINCRBY h c 9");
    run("HINCRBYFLOAT h d 0.5");
    expect("HPTTL h FIELDS 4 a b c d", "*4\r\n:-1\r\n:5000\r\n:5000\r\n:5000\r\n");
    world.now_ms += 5001;
    expect("HINCRBY h c 1", ":1\r\n");
    expect("HINCRBYFLOAT h d 1", "$1\r\n1\r\n");
    expect("HSETNX h b 7", ":1\r\n");
    expect("HPTTL h FIELDS 4 a b c d", "*4\r\n:-1\r\n:-1\r\n:-1\r\n:-1\r\n");
}

Test(hash_cmd, fields_that_have_expired_are_not_there)
{
    for (int large = 0; large < 2; large++) {
        run("DEL h");
        fill(0, large ? 600 : 20);
        run("HPEXPIREAT h 1700000000100 FIELDS 3 f1 f2 f3");
        int64_t before_ms = world.now_ms;
        world.now_ms = 1700000000101;
        expect("HGET h f1", "$-1\r\n");
        expect("HMGET h f1 f4", "*2\r\n$-1\r\n$2\r\nv4\r\n");
        expect("HEXISTS h f2", ":0\r\n");
        expect("HSTRLEN h f3", ":0\r\n");
        expect("HDEL h f1", ":0\r\n");
        int held = large ? 597 : 17;
        int counts[FIELDS_MAX] = {0};
        cr_expect_eq(note_bulks(run("HKEYS h"), 'f', counts), held);
        cr_expect_eq(note_bulks(run("HVALS h"), 'v', counts), held);
        cr_expect_eq(note_bulks(run("HRANDFIELD h 1000"), 'f', counts), held);
        scan("COUNT 100", counts, 0, 1000);
        cr_expect_eq(counts[1] + counts[2] + counts[3], 0);
        world.now_ms = before_ms;
    }
}

Test(hash_cmd, a_hash_of_which_only_expired_fields_are_left_goes_with_a_removal)
{
    run("HSET h a 1 b 2");
    run("HPEXPIREAT h 1700000000100 FIELDS 1 a");
    world.now_ms = 1700000000101;
    expect("HDEL h b", ":1\r\n");
    expect("EXISTS h", ":0\r\n");
    cr_expect_eq(world.shards[0].stats.expired_fields + world.shards[1].stats.expired_fields, 1);
}
