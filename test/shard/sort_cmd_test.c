/* SORT and SORT_RO over several shards. What Redis answers is compared elsewhere (test/compare);
 * here is the order against a model, and what may go wrong between keys. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "test/shard/cmd_driver.h"

static struct world world;

static void start(void)
{
    world_init(&world, 4);
    world.keyspace.options.list_max_listpack_size = -2;
    world.keyspace.options.set_max_intset_entries = 512;
    world.keyspace.options.set_max_listpack_entries = 128;
    world.keyspace.options.set_max_listpack_value = 64;
    world.keyspace.options.zset_max_listpack_entries = 128;
    world.keyspace.options.zset_max_listpack_value = 64;
    world.keyspace.options.hash_max_listpack_entries = 128;
    world.keyspace.options.hash_max_listpack_value = 64;
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(sort_cmd, .init = start, .fini = stop);

static const char *run(const char *line)
{
    return world_run(&world, line);
}

static void expect(const char *line, const char *reply)
{
    const char *got = run(line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

/* The elements of an array of bulk strings, joined by blanks; nulls are "-". */
static const char *elements(const char *line)
{
    static char text[1 << 16];
    const char *p = run(line);
    char *to = text;
    cr_assert_eq(*p, '*', "%s: %s", line, p);
    for (p = strchr(p, '\n') + 1; *p; p = strchr(p, '\n') + 1) {
        cr_assert_eq(*p, '$');
        long size = atol(p + 1);
        to += to > text ? sprintf(to, " ") : 0;
        if (size < 0) {
            to += sprintf(to, "-");
            continue;
        }
        p = strchr(p, '\n') + 1;
        to += sprintf(to, "%.*s", (int)size, p);
        p += size;
    }
    *to = '\0';
    return text;
}

static void expect_elements(const char *line, const char *expected)
{
    const char *got = elements(line);
    cr_expect_str_eq(got, expected, "%s: %s", line, got);
}

Test(sort_cmd, patterns_find_keys_on_every_shard)
{
    run("RPUSH l 1 2 3 4 5 6 7 8");
    char line[64];
    for (int i = 1; i <= 8; i++) {
        snprintf(line, sizeof(line), "SET weight:%d %d", i, (i * 5) % 8);
        run(line);
        snprintf(line, sizeof(line), "HSET object:%d name n%d weight %d", i, i, -i);
        run(line);
    }
    expect_elements("SORT l BY weight:*", "8 5 2 7 4 1 6 3");
    expect_elements("SORT l BY weight:* DESC LIMIT 1 2", "6 1");
    expect_elements("SORT l BY object:*->weight GET object:*->name LIMIT 0 3", "n8 n7 n6");
    expect_elements("SORT l GET # GET object:*->nothing GET nothing:* LIMIT 0 2", "1 - - 2 - -");
    expect("SORT l BY weight:* STORE sorted", ":8\r\n");
    expect_elements("LRANGE sorted 0 -1", "8 5 2 7 4 1 6 3");
}

Test(sort_cmd, an_expired_weight_counts_as_none)
{
    run("RPUSH l 1 2 3");
    run("MSET w1 10 w2 5 w3 1");
    run("PEXPIRE w2 1");
    run("PEXPIRE w3 100000");
    world.now_ms += 100;
    expect_elements("SORT l BY w* GET # GET w*", "2 - 3 1 1 10");
    expect("DBSIZE", ":3\r\n");
}

Test(sort_cmd, the_result_may_replace_what_was_sorted)
{
    run("SADD s 3 1 2");
    run("EXPIRE s 100");
    expect("SORT s DESC STORE s", ":3\r\n");
    expect("TYPE s", "+list\r\n");
    expect("TTL s", ":-1\r\n");
    expect_elements("LRANGE s 0 -1", "3 2 1");
    expect("SORT s LIMIT 5 1 STORE s", ":0\r\n");
    expect("EXISTS s", ":0\r\n");
    expect("SORT s STORE s", ":0\r\n");
}

Test(sort_cmd, a_failure_stores_nothing)
{
    run("RPUSH l a b");
    run("SET dst kept");
    const char *error = "-ERR One or more scores can't be converted into double\r\n";
    expect("SORT l STORE dst", error);
    expect("SORT l LIMIT 0 0 STORE dst", error);
    expect("SORT l ALPHA LIMIT x 1 STORE dst",
           "-ERR value is not an integer or out of range\r\n");
    expect("SORT_RO l ALPHA STORE dst", "-ERR syntax error\r\n");
    expect("GET dst", "$4\r\nkept\r\n");
}

Test(sort_cmd, a_set_that_is_stored_unsorted_is_sorted_by_bytes)
{
    run("SADD s b 10 9 a");
    expect("SORT s BY nosort STORE dst", ":4\r\n");
    expect_elements("LRANGE dst 0 -1", "10 9 a b");
}

static int compare_numbers(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* `count` numbers in a collection, sorted, against qsort of the same. */
static void run_model(const char *add, int count, unsigned seed)
{
    int numbers[512];
    char line[64], expected[1 << 13] = "", *to = expected;
    run("DEL k");
    for (int i = 0; i < count; i++) {
        numbers[i] = (int)(((unsigned)i * 7919u + seed * 104729u) % 100003u) - 50000;
        snprintf(line, sizeof(line), add, numbers[i]);
        run(line);
    }
    qsort(numbers, (size_t)count, sizeof(numbers[0]), compare_numbers);
    int first = count / 3, length = count / 2;
    for (int i = first; i < first + length && i < count; i++)
        to += sprintf(to, i > first ? " %d" : "%d", numbers[i]);
    snprintf(line, sizeof(line), "SORT k LIMIT %d %d", first, length);
    expect_elements(line, expected);
    expect("SORT k STORE all", (snprintf(line, sizeof(line), ":%d\r\n", count), line));
    snprintf(line, sizeof(line), "LRANGE all %d %d", first, first + length - 1);
    if (length)
        expect_elements(line, expected);
}

Test(sort_cmd, numbers_come_in_the_order_of_a_model)
{
    const char *const adds[] = {"RPUSH k %d", "SADD k %d", "ZADD k 1 %d"};
    for (size_t i = 0; i < sizeof(adds) / sizeof(adds[0]); i++)
        for (unsigned seed = 1; seed <= 4; seed++)
            run_model(adds[i], (int)(seed * seed * 30), seed);
}
