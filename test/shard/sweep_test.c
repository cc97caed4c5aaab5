/* The sweep: it removes what is due and nothing else, within its budget and fairly. */
#include "test/shard/one_shard.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define DBS 16
#define NO_BUDGET_LIMIT UINT64_C(1000000)

static void start(void)
{
    start_shard(DBS);
}

TestSuite(sweep, .init = start, .fini = stop_shard);

/* Keys that expire `ttl_ms` from the start, or never. */
static void add_keys(uint32_t db, const char *name, int count, int64_t ttl_ms)
{
    char key[32];
    for (int i = 0; i < count; i++) {
        int size = snprintf(key, sizeof(key), "%s %d", name, i);
        struct place p = db_find_key(&call, (struct slice){key, (size_t)size}, db, DB_WRITE);
        db_put_string(&p, SLICE("value"), ttl_ms < 0 ? DB_NO_EXPIRY : START_MS + ttl_ms);
    }
}

static uint64_t sweep(uint64_t buckets)
{
    uint64_t visited;
    uint64_t removed = shard_sweep(&shard, buckets, &visited);
    cr_assert_leq(visited, buckets);
    return removed;
}

Test(sweep, does_nothing_where_nothing_expires)
{
    add_keys(0, "keeps", 1000, -1);
    uint64_t visited = 1;
    cr_assert_eq(shard_sweep(&shard, 100, &visited), 0);
    cr_assert_eq(visited, 0);
    cr_assert_not(shard_has_expiring(&shard));
}

Test(sweep, removes_what_is_due_and_nothing_else)
{
    add_keys(0, "keeps", 1000, -1);
    add_keys(0, "due", 1000, 10);
    add_keys(0, "later", 1000, 100000);
    cr_assert(shard_has_expiring(&shard));
    shard.now_ms += 10;
    cr_assert_eq(sweep(NO_BUDGET_LIMIT), 0);
    shard.now_ms += 1;
    uint64_t removed = 0;
    for (int i = 0; i < 3; i++)
        removed += sweep(NO_BUDGET_LIMIT);
    cr_assert_eq(removed, 1000);
    cr_assert_eq(shard.stats.expired, 1000);
    cr_assert_eq(shard.stats.expired_swept, 1000);
    cr_assert_eq(db_key_count(&shard, 0), 2000);
    cr_assert_eq(shard.dbs[0].expiring_count, 1000);
}

Test(sweep, empties_a_database_in_small_steps)
{
    add_keys(3, "due", 5000, 1);
    shard.now_ms += 2;
    uint64_t calls = 0, removed = 0;
    while (shard_has_expiring(&shard) && calls < 10000) {
        removed += sweep(7);
        calls++;
    }
    cr_assert_eq(removed, 5000);
    cr_assert_gt(calls, 20);
    cr_assert_lt(calls, 1000);
    cr_assert_eq(db_key_count(&shard, 3), 0);
    cr_assert_eq(shard.heap.used_bytes, 0);
}

Test(sweep, goes_on_where_it_stopped)
{
    add_keys(0, "later", 3000, 1000000);
    uint64_t buckets = shard.dbs[0].keys.bucket_count;
    uint64_t last = 0, calls = 0;
    do {
        cr_assert_eq(sweep(16), 0);
        cr_assert(shard.dbs[0].sweep_position > last || shard.dbs[0].sweep_position == 0);
        last = shard.dbs[0].sweep_position;
        calls++;
    } while (last != 0);
    cr_assert_eq(calls, (buckets + 15) / 16);
}

Test(sweep, is_fair_to_all_databases)
{
    for (uint32_t db = 0; db < DBS; db += 3)
        add_keys(db, "due", 2000, 1);
    shard.now_ms += 2;
    for (int i = 0; i < 30; i++)
        sweep(20);
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t db = 0; db < DBS; db += 3) {
        uint64_t left = db_key_count(&shard, db);
        least = left < least ? left : least;
        most = left > most ? left : most;
    }
    cr_assert_gt(least, 0);
    cr_assert_lt(most, 2000);
    cr_assert_lt(most - least, 300);
}

Test(sweep, reaches_every_database_with_one_bucket_a_call)
{
    for (uint32_t db = 0; db < DBS; db++)
        add_keys(db, "due", 1, 1);
    shard.now_ms += 2;
    for (uint32_t i = 0; i < DBS; i++)
        cr_assert_eq(sweep(1), 1);
    cr_assert_not(shard_has_expiring(&shard));
}

Test(sweep, a_small_database_leaves_its_share_to_a_large_one)
{
    add_keys(0, "later", 1, 100000);
    add_keys(1, "due", 5000, 1);
    shard.now_ms += 2;
    uint64_t visited;
    shard_sweep(&shard, 401, &visited);
    cr_assert_geq(visited, 400);
}

Test(sweep, estimates_the_mean_time_to_live)
{
    add_keys(0, "soon", 1000, 10000);
    add_keys(0, "late", 1000, 30000);
    for (int i = 0; i < 5; i++)
        sweep(NO_BUDGET_LIMIT);
    cr_assert_gt(shard.dbs[0].avg_ttl_ms, 17000);
    cr_assert_lt(shard.dbs[0].avg_ttl_ms, 23000);
    cr_assert_eq(shard.dbs[1].avg_ttl_ms, 0);
    shard.now_ms += 40000;
    for (int i = 0; i < 20; i++)
        sweep(NO_BUDGET_LIMIT);
    cr_assert_eq(db_key_count(&shard, 0), 0);
    cr_assert_eq(shard.dbs[0].avg_ttl_ms, 0);
}

Test(sweep, an_expiry_at_the_end_of_time_does_no_harm)
{
    struct place p = db_find_key(&call, SLICE("k"), 0, DB_WRITE);
    db_put_string(&p, SLICE("v"), INT64_MAX);
    cr_assert_eq(sweep(NO_BUDGET_LIMIT), 0);
    cr_assert_gt(shard.dbs[0].avg_ttl_ms, 0);
    cr_assert_eq(db_key_count(&shard, 0), 1);
}
