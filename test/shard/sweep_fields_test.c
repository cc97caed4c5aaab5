/* The sweep of fields: a call removes few enough of them, and all go in the end. */
#include <criterion/criterion.h>

#include "test/shard/cmd_driver.h"

#define HASHES 40
#define FIELDS 400
#define DUE 390
/* What holds a shard for a moment only. */
#define CALL_MAX (1024 + 256)

static struct world world;

static void start(void)
{
    world_init(&world, 1);
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(sweep_fields, .init = start, .fini = stop);

static void run(const char *line)
{
    cr_assert_neq(world_run(&world, line)[0], '-', "%s: %s", line, world.out.data);
}

static void add_hash(int number)
{
    char line[128];
    for (int f = 0; f < FIELDS; f++) {
        snprintf(line, sizeof(line), "HSET hash%d field%d value", number, f);
        run(line);
        snprintf(line, sizeof(line), "HPEXPIRE hash%d %d FIELDS 1 field%d", number,
                 f < DUE ? 10 : 100000, f);
        run(line);
    }
}

static uint64_t count_fields(void)
{
    return world.shards[0].stats.expired_fields;
}

Test(sweep_fields, go_a_thousand_at_a_time_until_all_are_gone)
{
    for (int i = 0; i < HASHES; i++)
        add_hash(i);
    world.now_ms += 20;
    world.shards[0].now_ms = world.now_ms;

    uint32_t calls = 0;
    for (; count_fields() < (uint64_t)HASHES * DUE; calls++) {
        uint64_t before = count_fields(), visited;
        uint64_t removed = shard_sweep(&world.shards[0], 128, &visited);
        cr_assert_leq(count_fields() - before, CALL_MAX);
        cr_assert_gt(removed, 0, "the sweep passed what it had not removed");
        cr_assert_leq(visited, 128);
    }
    cr_expect_lt(calls, 2 * HASHES * DUE / 1000);
    cr_expect_str_eq(world_run(&world, "HLEN hash7"), ":10\r\n");
}
