/* What sorted sets cost: ns an operation, and bytes a member, at several sizes.
 *
 * Members have 16 bytes and random scores; they are asked for in random order. The same operations
 * on the tree alone would cost less by the hash and the table's cache misses. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shard/type/zset.h"

#define LOOKUPS 1000000u

struct bench {
    struct keyspace k;
    struct value v;
    uint64_t count;
    uint64_t state; /* of the random sequence */
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct slice member_of(uint64_t number, uint64_t words[2])
{
    words[0] = number * 0x9e3779b97f4a7c15u;
    words[1] = number;
    return (struct slice){(const char *)words, 16};
}

static struct slice random_member(struct bench *b, uint64_t words[2])
{
    return member_of(next_random(&b->state) % b->count, words);
}

static double random_score(struct bench *b)
{
    return (double)(next_random(&b->state) >> 11);
}

static void report(const char *what, uint64_t start, uint64_t operations)
{
    printf("  %-28s %7.1f ns\n", what, (double)(now_ns() - start) / (double)operations);
}

enum fill { FILL_RANDOM, FILL_ASCENDING, FILL_EQUAL };

static void bench_fill(struct bench *b, enum fill fill, const char *what)
{
    uint64_t words[2], start = now_ns();
    b->v = zset_ops.create(&b->k);
    for (uint64_t i = 0; i < b->count; i++) {
        double score = fill == FILL_RANDOM ? random_score(b) : fill == FILL_EQUAL ? 0 : (double)i;
        zset_put(&b->v, &b->k, member_of(i, words), score);
    }
    report(what, start, b->count);
    printf("  %-28s %7.1f\n", "  bytes a member",
           (double)zset_ops.memory(&b->v) / (double)b->count);
}

static void bench_rank(struct bench *b)
{
    uint64_t words[2], rank, sum = 0, start = now_ns();
    double score;
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        bool found = zset_rank(&b->v, &b->k, random_member(b, words), false, &rank, &score);
        assert(found);
        sum += rank;
    }
    report("rank", start, LOOKUPS);
    assert(sum > 0);
}

static void bench_score(struct bench *b)
{
    uint64_t words[2], start = now_ns();
    double score;
    for (uint32_t i = 0; i < LOOKUPS; i++)
        zset_score(&b->v, &b->k, random_member(b, words), &score);
    report("score", start, LOOKUPS);
}

static void bench_move(struct bench *b)
{
    uint64_t words[2], start = now_ns();
    for (uint32_t i = 0; i < LOOKUPS; i++)
        zset_put(&b->v, &b->k, random_member(b, words), random_score(b));
    report("put, other score", start, LOOKUPS);
    start = now_ns();
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        double score = 1;
        zset_change(&b->v, &b->k, random_member(b, words), ZSET_INCREMENT, &score);
    }
    report("increment by 1", start, LOOKUPS);
}

static void bench_walk(struct bench *b)
{
    uint64_t start = now_ns(), read = 0;
    struct slice member;
    double score;
    for (uint32_t i = 0; i < LOOKUPS / 100; i++) {
        struct zset_walk w;
        zset_walk_start(&w, &b->v, next_random(&b->state) % b->count, i % 2);
        for (int j = 0; j < 100 && zset_walk_next(&w, &member, &score); j++)
            read += (unsigned char)member.data[0];
    }
    report("walk of 100, a member", start, LOOKUPS);
    assert(read > 0);
}

static void bench_remove(struct bench *b)
{
    uint64_t words[2], start = now_ns();
    for (uint64_t i = 0; i < b->count / 2; i++)
        zset_remove(&b->v, &b->k, member_of(i * 2, words));
    report("remove", start, b->count / 2);
    start = now_ns();
    uint64_t left = zset_count(&b->v);
    zset_remove_ranks(&b->v, &b->k, 0, left);
    report("remove by rank, a member", start, left);
    value_free(&b->v);
}

static void bench_copy(struct bench *b)
{
    uint64_t start = now_ns();
    struct value copy = zset_ops.copy(&b->v);
    report("copy, a member", start, b->count);
    start = now_ns();
    value_free(&copy);
    report("free, a member", start, b->count);
}

static void bench_size(uint64_t count)
{
    unsigned char secret[HASH_SECRET_SIZE];
    struct bench b = {.count = count, .state = count};
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)next_random(&b.state);
    keyspace_init(&b.k, 1, 1, secret);
    printf("%llu members\n", (unsigned long long)count);
    bench_fill(&b, FILL_ASCENDING, "put, scores ascending");
    value_free(&b.v);
    bench_fill(&b, FILL_EQUAL, "put, scores equal");
    bench_rank(&b);
    value_free(&b.v);
    bench_fill(&b, FILL_RANDOM, "put, scores random");
    bench_rank(&b);
    bench_score(&b);
    bench_move(&b);
    bench_walk(&b);
    bench_copy(&b);
    bench_remove(&b);
}

int main(void)
{
    bench_size(100);
    bench_size(10000);
    bench_size(100000);
    bench_size(1000000);
    return 0;
}
