/* Set commands. What they reply is compared with Redis elsewhere; here stand properties of random
 * replies, scans and what changes are told of. */
#include <criterion/criterion.h>

#include "shard/snapshot.h"
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

TestSuite(set_cmd, .init = start, .fini = stop);
TestSuite(set_algebra, .init = start, .fini = stop);

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

/* Runs the line, of which so many keys are to be told changed. */
static void expect_changes(const char *line, uint64_t count)
{
    uint64_t before = changes();
    run(line);
    cr_expect_eq(changes() - before, count, "%s", line);
}

/* SADD key prefix<from> ... */
static void add_many(const char *key, const char *prefix, int from, int to)
{
    char line[100];
    for (int i = from; i < to; i++) {
        snprintf(line, sizeof(line), "SADD %s %s%d", key, prefix, i);
        run(line);
    }
}

#define ELEMENTS_MAX 4000

/* The bulks of a reply, as the numbers behind their first `skip` bytes. */
struct elements {
    int numbers[ELEMENTS_MAX];
    int count;
};

static void read_elements(struct elements *e, const char *reply, size_t skip)
{
    e->count = 0;
    for (const char *at = reply; (at = strchr(at, '$')); at++) {
        at = strchr(at, '\n') + 1;
        cr_assert_lt(e->count, ELEMENTS_MAX);
        e->numbers[e->count++] = atoi(at + skip);
    }
}

/* How many different numbers there are; all are within [0, bound). */
static int different(const struct elements *e, int bound)
{
    static bool seen[ELEMENTS_MAX];
    memset(seen, 0, sizeof(seen));
    int count = 0;
    for (int i = 0; i < e->count; i++) {
        cr_assert(e->numbers[i] >= 0 && e->numbers[i] < bound, "%d", e->numbers[i]);
        count += !seen[e->numbers[i]];
        seen[e->numbers[i]] = true;
    }
    return count;
}

/* A set of each encoding, with the members 0 ... or m0 .... */
static const struct {
    const char *encoding, *prefix;
    int count;
} shapes[] = {
    {"$6\r\nintset\r\n", "", 100},
    {"$8\r\nlistpack\r\n", "m", 100},
    {"$9\r\nhashtable\r\n", "m", 1000},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void make_shape(size_t i)
{
    run("DEL s");
    add_many("s", shapes[i].prefix, 0, shapes[i].count);
    expect("OBJECT ENCODING s", shapes[i].encoding);
}

Test(set_cmd, sadd_and_srem_count_and_tell_of_changes)
{
    expect("SADD s a b a", ":2\r\n");
    expect_changes("SADD s a b", 0);
    expect_changes("SADD s b c d", 1);
    expect("SCARD s", ":4\r\n");
    expect("SISMEMBER s c", ":1\r\n");
    expect("SMISMEMBER s a x d", "*3\r\n:1\r\n:0\r\n:1\r\n");
    expect("SMISMEMBER none a", "*1\r\n:0\r\n");
    expect_changes("SREM s x y", 0);
    expect_changes("SREM none x", 0);
    expect_changes("SREM s a x b", 1);
    expect("SREM s c d e c", ":2\r\n");
    expect("EXISTS s", ":0\r\n");
    cr_expect_eq(world.shards[0].block_bytes, 0);
}

Test(set_cmd, memory_is_given_back)
{
    for (size_t i = 0; i < SHAPES; i++) {
        make_shape(i);
        run("SPOP s 30");
        run("SPOP s 60");
        run("SREM s 1 2 3 m1 m2 m3");
        run("SPOP s 100000");
    }
    make_shape(2);
    run("SPOP s 950");
    run("DEL s");
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++) {
        while (garbage_collect(&world.shards[i], 100))
            continue;
        cr_expect_eq(world.shards[i].block_bytes, 0);
    }
}

Test(set_cmd, set_replies_of_resp3)
{
    run("SADD s a");
    expect("SMEMBERS s", "*1\r\n$1\r\na\r\n");
    world.protocol = 3;
    expect("SMEMBERS s", "~1\r\n$1\r\na\r\n");
    expect("SMEMBERS none", "~0\r\n");
    expect("SUNION s none", "~1\r\n$1\r\na\r\n");
    expect("SINTER s s", "~1\r\n$1\r\na\r\n");
    expect("SDIFF s none", "~1\r\n$1\r\na\r\n");
    expect("SRANDMEMBER s 2", "*1\r\n$1\r\na\r\n");
    expect("SRANDMEMBER none", "_\r\n");
    expect("SISMEMBER s a", ":1\r\n");
    expect("SPOP s 0", "~0\r\n");
    expect("SPOP s 2", "~1\r\n$1\r\na\r\n");
    expect("SPOP s 2", "~0\r\n");
    expect("SPOP s", "_\r\n");
}

Test(set_cmd, spop_removes_what_it_returns)
{
    static const int counts[] = {1, 2, 4, 5, 30, 50, 84, 99, 1000};
    struct elements e;
    char line[60];
    for (size_t i = 0; i < SHAPES; i++) {
        for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
            make_shape(i);
            run("EXPIRE s 100");
            int all = shapes[i].count, count = counts[n] * (all / 100);
            int popped = count < all ? count : all;
            snprintf(line, sizeof(line), "SPOP s %d", count);
            uint64_t before = changes();
            read_elements(&e, run(line), strlen(shapes[i].prefix));
            cr_expect_eq(changes(), before + 1);
            cr_expect_eq(different(&e, all), popped);
            for (int k = 0; k < e.count; k++) {
                snprintf(line, sizeof(line), "SISMEMBER s %s%d", shapes[i].prefix, e.numbers[k]);
                expect(line, ":0\r\n");
            }
            read_elements(&e, run("SMEMBERS s"), strlen(shapes[i].prefix));
            cr_expect_eq(different(&e, all), all - popped);
            expect("TTL s", popped < all ? ":100\r\n" : ":-2\r\n");
        }
    }
}

/* The set is written through a view, which the commands must not free it under. */
Test(set_cmd, spop_of_nearly_all_leaves_a_snapshot_its_set)
{
    struct snapshot_options options = {0};
    struct shard *s = world.pointers[keyspace_shard(&world.keyspace, SLICE("s"))];
    struct buf out = {0};
    struct snapshot_piece at;
    add_many("s", "m", 0, 3000);
    snapshot_begin(s, &options);
    run("SPOP s");
    run("SPOP s 2700");
    expect("SCARD s", ":299\r\n");
    while (snapshot_step(s, 1000))
        continue;
    snapshot_take_output(s, &out, &at);

    /* Type, key, 3000. */
    cr_assert(memmem(out.data, out.size, "\2\1s\x4b\xb8", 5));
    cr_assert(out.size > 3000 * strlen("m1000"));
    buf_deinit(&out);
}

Test(set_cmd, spop_alone_returns_each_member_once)
{
    struct elements e;
    for (size_t i = 0; i < SHAPES; i++) {
        bool seen[ELEMENTS_MAX] = {false};
        make_shape(i);
        for (int k = 0; k < shapes[i].count; k++) {
            read_elements(&e, run("SPOP s"), strlen(shapes[i].prefix));
            cr_assert(e.count == 1 && !seen[e.numbers[0]]);
            seen[e.numbers[0]] = true;
        }
        expect("EXISTS s", ":0\r\n");
    }
}

Test(set_cmd, srandmember_changes_nothing)
{
    static const int counts[] = {1, 2, 5, 24, 26, 50, 99, 100, 200};
    struct elements e;
    char line[60];
    for (size_t i = 0; i < SHAPES; i++) {
        make_shape(i);
        uint64_t before = changes();
        int all = shapes[i].count;
        size_t skip = strlen(shapes[i].prefix);
        for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
            int count = counts[n] * (all / 100);
            snprintf(line, sizeof(line), "SRANDMEMBER s %d", count);
            read_elements(&e, run(line), skip);
            cr_expect_eq(e.count, count < all ? count : all);
            cr_expect_eq(different(&e, all), e.count);
            snprintf(line, sizeof(line), "SRANDMEMBER s -%d", count);
            read_elements(&e, run(line), skip);
            cr_expect_eq(e.count, count);
            different(&e, all);
        }
        read_elements(&e, run("SRANDMEMBER s"), skip);
        cr_expect_eq(e.count, 1);
        read_elements(&e, run("SMEMBERS s"), skip);
        cr_expect_eq(different(&e, all), all);
        cr_expect_eq(changes(), before);
    }
    expect("SRANDMEMBER s -9223372036854775808",
           "-ERR value is out of range, value must between -9223372036854775807 and "
           "9223372036854775807\r\n");
}

Test(set_cmd, sscan_returns_all_members_of_a_large_set)
{
    struct elements e;
    static struct elements all;
    char line[100], cursor[30] = "0";
    add_many("s", "m", 0, 1000);
    int calls = 0;
    all.count = 0;
    do {
        snprintf(line, sizeof(line), "SSCAN s %s COUNT 20", cursor);
        const char *reply = run(line);
        sscanf(reply, "*2\r\n$%*d\r\n%29[0-9]", cursor);
        cr_assert_leq(strlen(cursor), 15);
        read_elements(&e, strchr(reply + 1, '*'), 1);
        for (int i = 0; i < e.count; i++)
            all.numbers[all.count++] = e.numbers[i];
        calls++;
    } while (strcmp(cursor, "0") != 0);
    cr_expect_eq(different(&all, 1000), 1000);
    cr_expect_eq(all.count, 1000);
    cr_expect(calls > 30 && calls <= 50, "%d", calls);
    expect("SSCAN s 0 COUNT 100000 MATCH m99", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nm99\r\n");
    expect("SSCAN s 18446744073709551615", "*2\r\n$1\r\n0\r\n*0\r\n");
}

Test(set_cmd, sscan_returns_a_small_set_whole)
{
    run("SADD s 1 2 3");
    expect("SSCAN s 0 COUNT 1", "*2\r\n$1\r\n0\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    expect("SSCAN s 99 MATCH 2", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\n2\r\n");
    expect("SSCAN s x", "-ERR invalid cursor\r\n");
    expect("SSCAN s 0 COUNT 0", "-ERR syntax error\r\n");
    expect("SSCAN s 0 NOVALUES", "-ERR syntax error\r\n");
    expect("SSCAN none 0 FOO", "*2\r\n$1\r\n0\r\n*0\r\n");
}

Test(set_cmd, smove_moves_between_shards)
{
    char line[60];
    run("SADD k0 x");
    for (int i = 0; i < 30; i++) {
        snprintf(line, sizeof(line), "SMOVE k%d k%d x", i, i + 1);
        expect_changes(line, 2);
    }
    expect("SMEMBERS k30", "*1\r\n$1\r\nx\r\n");
    expect("DBSIZE", ":1\r\n");
    run("SADD other x y");
    expect_changes("SMOVE other k30 x", 1);
    expect_changes("SMOVE other k30 none", 0);
    expect_changes("SMOVE other other y", 0);
    expect("SMOVE other other y", ":1\r\n");
    expect("SMOVE other other x", ":0\r\n");
    run("SET string v");
    expect("SMOVE none string x", ":0\r\n");
    expect("SMOVE other string y", "-WRONGTYPE Operation against a key holding the wrong kind of "
                                   "value\r\n");
    expect("SCARD other", ":1\r\n");
}

/* ---- Algebra against a model: sets of numbers as bits ---- */

#define MODEL_SETS 6
#define MODEL_NUMBERS 64

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Gives key `i` the numbers of `bits`, with a prefix or none. */
static void put_set(int i, uint64_t bits, const char *prefix)
{
    char line[60];
    snprintf(line, sizeof(line), "DEL k%d", i);
    run(line);
    for (int n = 0; n < MODEL_NUMBERS; n++) {
        snprintf(line, sizeof(line), "SADD k%d %s%d", i, prefix, n);
        if (bits >> n & 1)
            run(line);
    }
}

static uint64_t bits_of(const char *reply)
{
    struct elements e;
    uint64_t bits = 0;
    read_elements(&e, reply, 1);
    for (int i = 0; i < e.count; i++)
        bits |= (uint64_t)1 << e.numbers[i];
    cr_assert_eq(__builtin_popcountll(bits), e.count);
    return bits;
}

static uint64_t model_result(int op, const uint64_t *sets, const int *keys, int count)
{
    uint64_t bits = sets[keys[0]];
    for (int i = 1; i < count; i++) {
        uint64_t other = sets[keys[i]];
        bits = op == 0 ? bits & other : op == 1 ? bits | other : bits & ~other;
    }
    return bits;
}

/* One random operation over random keys: the reply, what is stored, and the number. */
static void check_operation(const uint64_t *sets, uint64_t *state)
{
    static const char *const names[] = {"SINTER", "SUNION", "SDIFF"};
    int op = (int)(next_random(state) % 3), count = 1 + (int)(next_random(state) % 12);
    int keys[12];
    char list[100] = "", line[200];
    for (int i = 0; i < count; i++) {
        keys[i] = (int)(next_random(state) % MODEL_SETS);
        sprintf(list + strlen(list), " k%d", keys[i]);
    }
    uint64_t bits = model_result(op, sets, keys, count);
    int size = __builtin_popcountll(bits);
    snprintf(line, sizeof(line), "%s%s", names[op], list);
    cr_assert_eq(bits_of(run(line)), bits, "%s", line);
    char number[20];
    snprintf(number, sizeof(number), ":%d\r\n", size);
    snprintf(line, sizeof(line), "%sSTORE to%s", names[op], list);
    expect(line, number);
    cr_assert_eq(bits_of(run("SMEMBERS to")), bits, "%s", line);
    if (op == 0) {
        snprintf(line, sizeof(line), "SINTERCARD %d%s", count, list);
        expect(line, number);
        snprintf(line, sizeof(line), "SINTERCARD %d%s LIMIT 3", count, list);
        snprintf(number, sizeof(number), ":%d\r\n", size < 3 ? size : 3);
        expect(line, number);
    }
}

/* Sets are large enough, and the packed encoding small enough, for the strategies of all operations
 * to take part. */
Test(set_algebra, does_what_bits_do)
{
    uint64_t state = 1;
    world.keyspace.options.set_max_listpack_entries = 20;
    for (int round = 0; round < 60; round++) {
        uint64_t sets[MODEL_SETS];
        for (int i = 0; i < MODEL_SETS; i++) {
            sets[i] = next_random(&state);
            for (uint64_t thin = next_random(&state) % 4; thin > 0; thin--)
                sets[i] &= next_random(&state);
            if (next_random(&state) % 8 == 0)
                sets[i] = 0;
            put_set(i, sets[i], "m");
        }
        for (int i = 0; i < 20; i++)
            check_operation(sets, &state);
    }
}

Test(set_algebra, integers_and_texts_are_the_same_members)
{
    run("SADD ints 1 2 3 4");
    run("SADD mixed 2 x 4");
    add_many("table", "t", 0, 200);
    run("SADD table 4 1");
    expect("SINTER ints mixed table", "*1\r\n$1\r\n4\r\n");
    expect("SINTER table ints mixed", "*1\r\n$1\r\n4\r\n");
    expect("SDIFF ints table mixed", "*1\r\n$1\r\n3\r\n");
    expect("SDIFF mixed ints table", "*1\r\n$1\r\nx\r\n");
    expect("SUNIONSTORE to mixed ints", ":5\r\n");
    expect("SINTERSTORE to table ints", ":2\r\n");
    expect("OBJECT ENCODING to", "$6\r\nintset\r\n");
    expect("SINTERSTORE to table mixed table", ":1\r\n");
    expect("SMEMBERS to", "*1\r\n$1\r\n4\r\n");
}

Test(set_algebra, a_destination_is_replaced_or_removed)
{
    run("SADD a 1 2");
    run("SADD b 2 3");
    run("SET to v EX 100");
    expect("SINTERSTORE to a b", ":1\r\n");
    expect("TTL to", ":-1\r\n");
    expect("SUNIONSTORE to to a b", ":3\r\n");
    expect("SDIFFSTORE to to a", ":1\r\n");
    expect("SMEMBERS to", "*1\r\n$1\r\n3\r\n");
    expect_changes("SDIFFSTORE to a a", 1);
    expect("EXISTS to", ":0\r\n");
    expect_changes("SINTERSTORE to a none", 0);
    expect_changes("SUNIONSTORE to a b", 1);
    run("SET string v");
    expect_changes("SUNIONSTORE to none string", 0);
    expect("SCARD to", ":3\r\n");
    expect("SUNIONSTORE string a", ":2\r\n");
    expect("TYPE string", "+set\r\n");
}

Test(set_algebra, a_wrong_type_is_told_even_after_an_absent_key)
{
    const char *wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    run("SET string v");
    expect("SINTER none string", wrong);
    expect("SUNION none string", wrong);
    expect("SDIFF none string", wrong);
    expect("SINTERCARD 2 none string", wrong);
    expect("SINTERCARD 0 string", "-ERR numkeys should be greater than 0\r\n");
    expect("SINTERCARD 3 none string",
           "-ERR Number of keys can't be greater than number of args\r\n");
    expect("SINTERCARD 1 string LIMIT -1", "-ERR LIMIT can't be negative\r\n");
    expect("SINTERCARD 1 none LIMIT", "-ERR syntax error\r\n");
}
