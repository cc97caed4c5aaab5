/* Unions, intersections and differences, against arrays indexed by member. */
#include <criterion/criterion.h>
#include <math.h>

#include "test/shard/cmd_driver.h"

#define MEMBERS 40
#define SOURCES 4

static struct world world;

static void start(void)
{
    world_init(&world, 4);
    world.keyspace.options.zset_max_listpack_entries = 12;
    world.keyspace.options.zset_max_listpack_value = 64;
    world.keyspace.options.set_max_intset_entries = 8;
    world.keyspace.options.set_max_listpack_entries = 12;
    world.keyspace.options.set_max_listpack_value = 64;
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(zset_algebra_cmd, .init = start, .fini = stop);

static void expect(const char *line, const char *reply)
{
    const char *got = world_run(&world, line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

static uint64_t random_state = 88172645463325252u;

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state % bound);
}

/* A member's score by member; NAN: not in the set. Members are 10 to 49, so that their order as
 * text is their order as numbers. */
struct model {
    double scores[MEMBERS];
};

/* Key `k` becomes a sorted set or a set, of a random size, 0 included. Scores and weights are odd,
 * so that no product is a zero of either sign. */
static struct model fill(int k)
{
    struct model m;
    char line[64];
    snprintf(line, sizeof(line), "DEL k%d", k);
    world_run(&world, line);
    bool plain = random_below(3) == 0;
    uint32_t share = random_below(12);
    for (int i = 0; i < MEMBERS; i++) {
        m.scores[i] = NAN;
        if (random_below(10) >= share)
            continue;
        m.scores[i] = plain ? 1 : 2 * (double)random_below(5) - 5;
        if (plain)
            snprintf(line, sizeof(line), "SADD k%d %d", k, i + 10);
        else
            snprintf(line, sizeof(line), "ZADD k%d %g %d", k, m.scores[i], i + 10);
        world_run(&world, line);
    }
    return m;
}

static const char *listed(const struct model *m)
{
    static char text[8192];
    int count = 0;
    char body[8000];
    size_t at = 0;
    for (int score = -400; score <= 400; score++) {
        for (int i = 0; i < MEMBERS; i++) {
            if (isnan(m->scores[i]) || (int)m->scores[i] != score)
                continue;
            char number[16];
            int size = snprintf(number, sizeof(number), "%d", score);
            at += (size_t)snprintf(body + at, sizeof(body) - at, "$2\r\n%d\r\n$%d\r\n%s\r\n",
                                   i + 10, size, number);
            count++;
        }
    }
    body[at] = '\0';
    snprintf(text, sizeof(text), "*%d\r\n%s", 2 * count, body);
    return text;
}

enum operation { UNION, INTER, DIFF };

static double combine(int aggregate, double a, double b)
{
    return aggregate == 0 ? a + b : aggregate == 1 ? fmin(a, b) : fmax(a, b);
}

static struct model apply(enum operation operation, int aggregate, const struct model *sources,
                          const int *weights, int count)
{
    struct model result;
    for (int i = 0; i < MEMBERS; i++) {
        double score = NAN;
        int found = 0;
        for (int k = 0; k < count; k++) {
            double held = sources[k].scores[i];
            if (isnan(held))
                continue;
            held *= operation == DIFF ? 1 : weights[k];
            score = found++ ? combine(aggregate, score, held) : held;
        }
        bool in_first = !isnan(sources[0].scores[i]);
        bool subtracted = operation == DIFF && (!in_first || found > 1);
        if (subtracted || (operation == INTER && found < count))
            score = NAN;
        result.scores[i] = score;
    }
    return result;
}

static int model_count(const struct model *m)
{
    int count = 0;
    for (int i = 0; i < MEMBERS; i++)
        count += !isnan(m->scores[i]);
    return count;
}

Test(zset_algebra_cmd, results_are_those_of_arrays)
{
    static const char *const names[] = {"ZUNION", "ZINTER", "ZDIFF"};
    static const char *const aggregates[] = {"SUM", "MIN", "MAX"};
    for (int round = 0; round < 400; round++) {
        struct model sources[SOURCES];
        int weights[SOURCES];
        char keys[64] = "", weighed[64] = "", line[256], reply[32];
        int count = 1 + (int)random_below(SOURCES);
        for (int k = 0; k < count; k++) {
            sources[k] = fill(k);
            weights[k] = 2 * (int)random_below(4) - 3;
            snprintf(keys + strlen(keys), sizeof(keys) - strlen(keys), " k%d", k);
            snprintf(weighed + strlen(weighed), sizeof(weighed) - strlen(weighed), " %d",
                     weights[k]);
        }
        enum operation operation = (enum operation)random_below(3);
        int aggregate = (int)random_below(3);
        struct model result = apply(operation, aggregate, sources, weights, count);

        char options[128] = "";
        if (operation != DIFF)
            snprintf(options, sizeof(options), " WEIGHTS%s AGGREGATE %s", weighed,
                     aggregates[aggregate]);
        snprintf(line, sizeof(line), "%s %d%s%s WITHSCORES", names[operation], count, keys,
                 options);
        expect(line, listed(&result));
        snprintf(line, sizeof(line), "%sSTORE dst %d%s%s", names[operation], count, keys, options);
        snprintf(reply, sizeof(reply), ":%d\r\n", model_count(&result));
        expect(line, reply);
        expect("ZRANGE dst 0 -1 WITHSCORES", listed(&result));
        if (operation == INTER) {
            snprintf(line, sizeof(line), "ZINTERCARD %d%s", count, keys);
            expect(line, reply);
            snprintf(line, sizeof(line), "ZINTERCARD %d%s LIMIT 3", count, keys);
            snprintf(reply, sizeof(reply), ":%d\r\n",
                     model_count(&result) < 3 ? model_count(&result) : 3);
            expect(line, reply);
        }
    }
}

Test(zset_algebra_cmd, what_is_no_number_counts_as_zero)
{
    world_run(&world, "ZADD up inf a inf b");
    world_run(&world, "ZADD down -inf a 5 b");
    expect("ZUNION 2 up down WITHSCORES", "*4\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\nb\r\n$3\r\ninf\r\n");
    expect("ZINTER 2 up down WITHSCORES", "*4\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\nb\r\n$3\r\ninf\r\n");
    expect("ZUNION 1 up WEIGHTS 0 WITHSCORES",
           "*4\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\nb\r\n$1\r\n0\r\n");
}

Test(zset_algebra_cmd, the_destination_may_be_a_source_and_may_vanish)
{
    world_run(&world, "ZADD a 1 x 2 y");
    expect("ZUNIONSTORE a 2 a a", ":2\r\n");
    expect("ZRANGE a 0 -1 WITHSCORES", "*4\r\n$1\r\nx\r\n$1\r\n2\r\n$1\r\ny\r\n$1\r\n4\r\n");
    expect("ZDIFFSTORE a 2 a a", ":0\r\n");
    expect("EXISTS a", ":0\r\n");
    world_run(&world, "SADD s x");
    expect("ZINTERSTORE s 1 s", ":1\r\n");
    expect("TYPE s", "+zset\r\n");
}

Test(zset_algebra_cmd, a_wrong_type_is_found_before_wrong_options)
{
    world_run(&world, "SET str v");
    world_run(&world, "SET dst v");
    const char *wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    expect("ZUNION 1 str FOO", wrong);
    expect("ZUNIONSTORE dst 2 str x WEIGHTS a b", wrong);
    expect("ZUNION 2 a b WEIGHTS 1", "-ERR syntax error\r\n");
    expect("ZUNION 2 a b WEIGHTS 1 x", "-ERR weight value is not a float\r\n");
    expect("ZINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative\r\n");
    expect("ZDIFF 2 a", "-ERR syntax error\r\n");
    expect("GET dst", "$1\r\nv\r\n");
}
