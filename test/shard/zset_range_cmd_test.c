/* Commands on ranges of sorted sets and on their ends, against a sorted array that does the same
 * the slow way, in both encodings. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "test/shard/cmd_driver.h"

#define MEMBERS_MAX 60
#define ROUNDS 1500

static struct world world;

static void start(void)
{
    world_init(&world, 4);
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(zset_range_cmd, .init = start, .fini = stop);

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

/* --- The model --- */

struct model_item {
    int member, score;
};

struct model {
    struct model_item items[MEMBERS_MAX];
    int count;
};

static int model_compare(const void *a, const void *b)
{
    const struct model_item *x = a, *y = b;
    return x->score != y->score ? x->score - y->score : x->member - y->member;
}

/* A sorted set of random members m00 to m59, under the key "z". */
static struct model fill(int score_max)
{
    struct model m = {.count = 0};
    world_run(&world, "DEL z");
    for (int i = 0; i < MEMBERS_MAX; i++) {
        if (random_below(3) == 0)
            continue;
        struct model_item item = {i, (int)random_below((uint32_t)score_max)};
        m.items[m.count++] = item;
        char line[64];
        snprintf(line, sizeof(line), "ZADD z %d m%02d", item.score, item.member);
        world_run(&world, line);
    }
    qsort(m.items, (size_t)m.count, sizeof(m.items[0]), model_compare);
    return m;
}

/* The reply that lists items `first` to below `end`, or backwards. */
static const char *listed(const struct model *m, int first, int end, bool reverse, bool scores)
{
    static char text[16384];
    if (end < first)
        end = first;
    size_t at = (size_t)snprintf(text, sizeof(text), "*%d\r\n", (end - first) * (scores ? 2 : 1));
    for (int i = 0; i < end - first; i++) {
        const struct model_item *item = &m->items[reverse ? end - 1 - i : first + i];
        at += (size_t)snprintf(text + at, sizeof(text) - at, "$3\r\nm%02d\r\n", item->member);
        char score[16];
        int size = snprintf(score, sizeof(score), "%d", item->score);
        if (scores)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "$%d\r\n%s\r\n", size, score);
    }
    return text;
}

static int clamp(int64_t value, int min, int max)
{
    return value < min ? min : value > max ? max : (int)value;
}

static void check_ranks(const struct model *m)
{
    int start_rank = (int)random_below(160) - 80, stop_rank = (int)random_below(160) - 80;
    int first = clamp(start_rank < 0 ? start_rank + m->count : start_rank, 0, m->count);
    int end = clamp((stop_rank < 0 ? stop_rank + m->count : stop_rank) + 1, 0, m->count);
    char line[96];
    snprintf(line, sizeof(line), "ZRANGE z %d %d WITHSCORES", start_rank, stop_rank);
    expect(line, listed(m, first, end, false, true));
    if (end < first)
        end = first;
    snprintf(line, sizeof(line), "ZREVRANGE z %d %d", start_rank, stop_rank);
    expect(line, listed(m, m->count - end, m->count - first, true, false));
}

static void check_scores(const struct model *m, int score_max)
{
    int min = (int)random_below((uint32_t)score_max + 4) - 2;
    int max = (int)random_below((uint32_t)score_max + 4) - 2;
    bool min_open = random_below(2), max_open = random_below(2);
    int first = 0, end = m->count;
    while (first < m->count && m->items[first].score < min + min_open)
        first++;
    while (end > 0 && m->items[end - 1].score > max - max_open)
        end--;
    if (end < first)
        end = first;
    char line[128], reply[32], low[16], high[16];
    snprintf(low, sizeof(low), "%s%d", min_open ? "(" : "", min);
    snprintf(high, sizeof(high), "%s%d", max_open ? "(" : "", max);
    snprintf(line, sizeof(line), "ZCOUNT z %s %s", low, high);
    snprintf(reply, sizeof(reply), ":%d\r\n", end - first);
    expect(line, reply);

    int offset = (int)random_below(8), limit = (int)random_below(30) - 5;
    int left = clamp(end - first - offset, 0, limit < 0 ? MEMBERS_MAX : limit);
    snprintf(line, sizeof(line), "ZRANGEBYSCORE z %s %s LIMIT %d %d", low, high, offset, limit);
    expect(line, listed(m, first + offset, first + offset + left, false, false));
    snprintf(line, sizeof(line), "ZRANGE z %s %s BYSCORE REV WITHSCORES LIMIT %d %d", high, low,
             offset, limit);
    expect(line, listed(m, end - offset - left, end - offset, true, true));
}

static void check_lex(const struct model *m)
{
    int min = (int)random_below(MEMBERS_MAX), max = (int)random_below(MEMBERS_MAX);
    bool min_open = random_below(2), max_open = random_below(2);
    int first = 0, end = m->count;
    while (first < m->count && m->items[first].member < min + min_open)
        first++;
    while (end > 0 && m->items[end - 1].member > max - max_open)
        end--;
    char line[96];
    snprintf(line, sizeof(line), "ZRANGEBYLEX z %cm%02d %cm%02d", min_open ? '(' : '[', min,
             max_open ? '(' : '[', max);
    expect(line, listed(m, first, end, false, false));
    snprintf(line, sizeof(line), "ZREVRANGEBYLEX z %cm%02d %cm%02d", max_open ? '(' : '[', max,
             min_open ? '(' : '[', min);
    expect(line, listed(m, first, end, true, false));
}

/* Takes items out of the model as commands take them out of the set. */
static void model_cut(struct model *m, int first, int end)
{
    memmove(&m->items[first], &m->items[end], (size_t)(m->count - end) * sizeof(m->items[0]));
    m->count -= end - first;
}

static void check_removal(struct model *m)
{
    char line[64], reply[32];
    int pops = (int)random_below(4);
    int taken = clamp(pops, 0, m->count);
    snprintf(line, sizeof(line), "ZPOPMAX z %d", pops);
    expect(line, listed(m, m->count - taken, m->count, true, true));
    model_cut(m, m->count - taken, m->count);

    int first = (int)random_below(MEMBERS_MAX), end = first + (int)random_below(20);
    int from = clamp(first, 0, m->count), to = clamp(end, 0, m->count);
    snprintf(line, sizeof(line), "ZREMRANGEBYRANK z %d %d", first, end - 1);
    snprintf(reply, sizeof(reply), ":%d\r\n", first < end ? to - from : 0);
    if (end == 0)
        return;
    expect(line, reply);
    model_cut(m, from, to);
    expect("ZRANGE z 0 -1 WITHSCORES", listed(m, 0, m->count, false, true));
    snprintf(reply, sizeof(reply), ":%d\r\n", m->count > 0);
    expect("EXISTS z", reply);
}

Test(zset_range_cmd, ranges_are_those_of_a_sorted_array)
{
    for (int i = 0; i < ROUNDS / 10; i++) {
        world.keyspace.options.zset_max_listpack_entries = i % 2 ? 128 : 10;
        world.keyspace.options.zset_max_listpack_value = 64;
        struct model m = fill(i % 3 ? 20 : 1);
        for (int k = 0; k < 10; k++) {
            check_ranks(&m);
            check_scores(&m, 20);
            if (i % 3 == 0)
                check_lex(&m);
        }
        check_removal(&m);
    }
}

Test(zset_range_cmd, scores_are_pairs_in_resp3)
{
    world_run(&world, "ZADD z 1 a 2.5 b");
    expect("ZRANGE z 0 -1 WITHSCORES", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\n2.5\r\n");
    world.protocol = 3;
    expect("ZRANGE z 0 -1 WITHSCORES", "*2\r\n*2\r\n$1\r\na\r\n,1\r\n*2\r\n$1\r\nb\r\n,2.5\r\n");
    expect("ZPOPMIN z 1", "*1\r\n*2\r\n$1\r\na\r\n,1\r\n");
    expect("ZPOPMIN z", "*2\r\n$1\r\nb\r\n,2.5\r\n");
}

Test(zset_range_cmd, a_bound_may_be_open_infinite_or_nothing)
{
    world_run(&world, "ZADD z -inf low 0 zero inf high");
    expect("ZCOUNT z -inf +inf", ":3\r\n");
    expect("ZCOUNT z (-inf (+inf", ":1\r\n");
    expect("ZCOUNT z  ", ":1\r\n");
    expect("ZCOUNT z ( 1e999", ":1\r\n");
    expect("ZCOUNT z nan 1", "-ERR min or max is not a float\r\n");
    expect("ZLEXCOUNT z - +", ":3\r\n");
    expect("ZLEXCOUNT z + -", ":0\r\n");
    expect("ZLEXCOUNT z a +", "-ERR min or max not valid string range item\r\n");
}

Test(zset_range_cmd, options_that_do_not_go_together_are_refused)
{
    world_run(&world, "SET str v");
    expect("ZRANGE str 0 1 LIMIT 0 1", "-ERR syntax error, LIMIT is only supported in combination "
                                       "with either BYSCORE or BYLEX\r\n");
    expect("ZRANGE str - + BYLEX WITHSCORES",
           "-ERR syntax error, WITHSCORES not supported in combination with BYLEX\r\n");
    expect("ZREVRANGE str 0 1 REV", "-ERR syntax error\r\n");
    expect("ZRANGEBYSCORE str 0 1 LIMIT 0", "-ERR syntax error\r\n");
    expect("ZRANGESTORE dst str 0 1 WITHSCORES", "-ERR syntax error\r\n");
    expect("ZRANGE str 0 1", "-WRONGTYPE Operation against a key holding the wrong kind of "
                             "value\r\n");
}

Test(zset_range_cmd, storing_replaces_the_destination_whatever_it_was)
{
    world_run(&world, "ZADD z 1 a 2 b 3 c");
    world_run(&world, "SET dst v EX 100");
    expect("ZRANGESTORE dst z (1 3 BYSCORE", ":2\r\n");
    expect("ZRANGE dst 0 -1", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n");
    expect("TTL dst", ":-1\r\n");
    expect("ZRANGESTORE dst z 7 9", ":0\r\n");
    expect("EXISTS dst", ":0\r\n");
    expect("ZRANGESTORE z z 0 0 REV", ":1\r\n");
    expect("ZRANGE z 0 -1", "*1\r\n$1\r\nc\r\n");
}

Test(zset_range_cmd, the_first_key_that_is_there_is_popped_from)
{
    world_run(&world, "ZADD y 1 a 2 b");
    expect("ZMPOP 2 x y MAX COUNT 5", "*2\r\n$1\r\ny\r\n*2\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"
                                      "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    expect("ZMPOP 2 x y MAX", "*-1\r\n");
    world_run(&world, "ZADD y 1 a 2 b");
    expect("BZPOPMIN x y 0", "*3\r\n$1\r\ny\r\n$1\r\na\r\n$1\r\n1\r\n");
    expect("BZMPOP 0 1 y MIN", "*2\r\n$1\r\ny\r\n*1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    expect("BZPOPMAX x y 0", "*-1\r\n");
    expect("BZMPOP 0 1 y MIN COUNT 0", "-ERR count should be greater than 0\r\n");
}
