/* What it costs to be able to take writes back: ns for noting a command and letting the note go,
 * and, to compare, for the command itself. The best of several batches each. */
#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "proto/number.h"
#include "shard/undo.h"
#include "test/shard/cmd_driver.h"

#define BATCHES 40u
#define ROUNDS 20000u /* a batch */
#define ARGS_MAX 8

struct bench {
    struct world world;
    struct command row;
    struct slice argv[ARGS_MAX];
    uint32_t argc;
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The command of a line as the server has it at hand. */
static struct call prepare(struct bench *b, const char *line)
{
    b->argc = 0;
    while (*line) {
        size_t size = strcspn(line, " ");
        assert(b->argc < ARGS_MAX);
        b->argv[b->argc++] = (struct slice){line, size};
        line += size + (line[size] == ' ');
    }
    b->row = *world_row(b->argv[0]);
    b->row.undo = undo_command_of(b->row.name);
    b->row.first_key = 1;
    struct call c = world_call(&b->world, &b->row, b->argv, b->argc, &b->world.out);
    c.shard = &b->world.shards[0];
    c.shards = b->world.pointers;
    return c;
}

/* Notes the calls, all under one undo, and lets go. */
static void note(struct call *calls, uint32_t count)
{
    const uint32_t key = 1;
    struct undo u;
    undo_init(&u);
    for (uint32_t i = 0; i < count; i++) {
        bool noted = undo_note(&u, &calls[i], &key, 1);
        assert(noted);
    }
    undo_drop(&u);
}

static void run(struct call *calls, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        calls[i].reply.out->size = 0;
        calls[i].command->run(&calls[i]);
    }
}

static double best_ns(void (*what)(struct call *calls, uint32_t count), struct call *calls,
                      uint32_t count)
{
    uint64_t best = UINT64_MAX;
    for (uint32_t batch = 0; batch < BATCHES; batch++) {
        uint64_t start = now_ns();
        for (uint32_t i = 0; i < ROUNDS; i++)
            what(calls, count);
        uint64_t taken = now_ns() - start;
        best = taken < best ? taken : best;
    }
    return (double)best / ROUNDS;
}

static void bench_command(struct bench *b, const char *what, const char *line)
{
    struct call c = prepare(b, line);
    double noting = best_ns(note, &c, 1), running = best_ns(run, &c, 1);
    printf("%-20s %-36.36s %7.1f %7.1f\n", what, line, noting, running);
}

/* A rate limiter's two commands: the second finds its key noted. */
static void bench_pair(struct bench *b)
{
    static struct bench expire;
    expire.world = b->world;
    struct call calls[] = {prepare(b, "INCR counter"), prepare(&expire, "EXPIRE counter 60")};
    calls[1].shard = calls[0].shard;
    calls[1].keyspace = calls[0].keyspace;
    calls[1].reply.out = calls[0].reply.out;
    double noting = best_ns(note, calls, 2), running = best_ns(run, calls, 2);
    printf("%-20s %-36s %7.1f %7.1f\n", "counter", "INCR, EXPIRE", noting, running);
}

static void fill(struct bench *b)
{
    char line[128];
    world_run(&b->world, "SET counter 1");
    for (uint32_t i = 0; i < 20000; i++) {
        const char *const lines[] = {"HSET hash:%u field-%u value-%u", "ZADD zset:%u %u member-%u",
                                     "RPUSH list:%u element-%u-%u"};
        for (size_t n = 0; n < sizeof(lines) / sizeof(lines[0]); n++) {
            static const uint32_t sizes[] = {5, 300, 20000};
            for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
                if (i >= sizes[s])
                    continue;
                snprintf(line, sizeof(line), lines[n], sizes[s], i, i);
                world_run(&b->world, line);
            }
        }
    }
    world_run(&b->world, "SETRANGE string:1000 990 x");
    world_run(&b->world, "SETRANGE string:60000 59990 x");
}

int main(void)
{
    static struct bench b;
    world_init(&b.world, 1);
    fill(&b);
    printf("%-20s %-36s %7s %7s\n", "", "ns", "note", "run");
    bench_command(&b, "counter", "INCR counter");
    bench_command(&b, "counter", "EXPIRE counter 60");
    bench_pair(&b);
    bench_command(&b, "string of 1000", "SET string:1000 x XX KEEPTTL");
    bench_command(&b, "string of 60000", "SETRANGE string:60000 5 x");
    bench_command(&b, "hash of 5", "HSET hash:5 field-3 other");
    bench_command(&b, "hash of 300", "HSET hash:300 field-77 other");
    bench_command(&b, "hash of 20000", "HSET hash:20000 field-77 other");
    bench_command(&b, "sorted set of 5", "ZADD zset:5 7 member-3");
    bench_command(&b, "sorted set of 300", "ZADD zset:300 7 member-3");
    bench_command(&b, "sorted set of 300", "ZREMRANGEBYSCORE zset:300 -inf -1");
    bench_command(&b, "sorted set of 20000", "ZADD zset:20000 7 member-3");
    bench_command(&b, "list of 5", "LSET list:5 2 x");
    bench_command(&b, "list of 20000", "LSET list:20000 2 x");
    world_deinit(&b.world);
    return 0;
}
