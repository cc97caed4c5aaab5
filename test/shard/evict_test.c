/* Eviction: who goes first under each policy, and that who goes is told of. */
#include "shard/evict.h"

#include "shard/journal.h"
#include "shard/type/list.h"
#include "test/shard/one_shard.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define DBS 4

static void start(void)
{
    start_shard(DBS);
}

TestSuite(evict, .init = start, .fini = stop_shard);

static void set_policy(enum evict_order order, bool only_volatile)
{
    keyspace.options.evict_order = (uint8_t)order;
    keyspace.options.evict_volatile = only_volatile;
    keyspace.options.lfu = order == EVICT_BY_FREQUENCY;
}

static void set_time(int64_t after_ms)
{
    shard.now_ms = call.now_ms = START_MS + after_ms;
}

static struct place find(const char *name, int number, uint32_t db, enum db_mode mode)
{
    static char key[32];
    int size = snprintf(key, sizeof(key), "%s %d", name, number);
    return db_find_key(&call, (struct slice){key, (size_t)size}, db, mode);
}

static void add_keys(uint32_t db, const char *name, int count, int64_t ttl_ms)
{
    for (int i = 0; i < count; i++) {
        struct place p = find(name, i, db, DB_WRITE);
        db_put_string(&p, SLICE("value"), ttl_ms < 0 ? DB_NO_EXPIRY : START_MS + ttl_ms);
    }
}

static int count_keys(uint32_t db, const char *name, int count)
{
    int found = 0;
    for (int i = 0; i < count; i++)
        found += find(name, i, db, DB_PEEK).entry != NULL;
    return found;
}

static void evict(int count)
{
    for (int i = 0; i < count; i++)
        cr_assert(evict_one(&shard));
}

Test(evict, has_nothing_to_evict_without_a_policy_or_without_keys)
{
    add_keys(0, "key", 10, -1);
    set_policy(EVICT_NOTHING, false);
    cr_assert_not(evict_one(&shard));
    cr_assert_eq(evict_best(&shard), EVICT_SCORE_NONE);
    set_policy(EVICT_BY_IDLE, true);
    cr_assert_not(evict_one(&shard));
    cr_assert_eq(evict_best(&shard), EVICT_SCORE_NONE);
    cr_assert_eq(evict_count(&shard), 0);
    set_policy(EVICT_BY_IDLE, false);
    cr_assert_eq(evict_count(&shard), 10);
    evict(10);
    cr_assert_not(evict_one(&shard));
    cr_assert_eq(shard.stats.evicted, 10);
}

Test(evict, takes_the_keys_that_were_not_used_for_longest)
{
    set_policy(EVICT_BY_IDLE, false);
    add_keys(0, "old", 200, -1);
    set_time(100000);
    add_keys(0, "new", 200, -1);
    evict(150);
    cr_assert_geq(count_keys(0, "new", 200), 195);
    cr_assert_eq(count_keys(0, "new", 200) + count_keys(0, "old", 200), 250);
}

Test(evict, lets_a_candidate_step_back_that_was_used_since)
{
    set_policy(EVICT_BY_IDLE, false);
    add_keys(0, "key", 30, -1);
    set_time(50000);
    cr_assert_eq(evict_best(&shard), EVICT_SCORE_BASE + 50);
    for (int i = 0; i < 29; i++)
        find("key", i, 0, DB_READ);
    evict(1);
    cr_assert_eq(count_keys(0, "key", 29), 29);
    cr_assert_null(find("key", 29, 0, DB_PEEK).entry);
}

Test(evict, takes_the_keys_that_were_used_least)
{
    set_policy(EVICT_BY_FREQUENCY, false);
    add_keys(0, "rare", 200, -1);
    add_keys(0, "often", 200, -1);
    for (int i = 0; i < 200; i++)
        for (int times = 0; times < 50; times++)
            find("often", i, 0, DB_READ);
    evict(150);
    cr_assert_geq(count_keys(0, "often", 200), 195);
}

Test(evict, takes_the_keys_that_expire_next)
{
    set_policy(EVICT_BY_TTL, true);
    add_keys(0, "late", 200, 900000);
    add_keys(0, "soon", 200, 100000);
    add_keys(0, "never", 200, -1);
    evict(150);
    cr_assert_geq(count_keys(0, "late", 200), 195);
    cr_assert_eq(count_keys(0, "never", 200), 200);
}

Test(evict, leaves_keys_without_an_expiry_alone_where_the_policy_says_so)
{
    static const enum evict_order orders[] = {EVICT_BY_IDLE, EVICT_BY_FREQUENCY, EVICT_BY_TTL,
                                              EVICT_AT_RANDOM};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        set_policy(orders[i], true);
        add_keys(1, "stays", 3000, -1);
        add_keys(1, "goes", 20, 100000);
        for (int tries = 0; evict_count(&shard) && tries < 100000; tries++)
            evict_one(&shard);
        cr_assert_eq(count_keys(1, "stays", 3000), 3000);
        cr_assert_eq(count_keys(1, "goes", 20), 0);
    }
}

Test(evict, looks_into_all_databases)
{
    set_policy(EVICT_BY_IDLE, false);
    add_keys(3, "old", 50, -1);
    set_time(100000);
    add_keys(0, "new", 1000, -1);
    evict(40);
    cr_assert_geq(count_keys(0, "new", 1000), 990);
}

Test(evict, at_random_spreads_over_keys_and_databases)
{
    set_policy(EVICT_AT_RANDOM, false);
    add_keys(0, "key", 400, -1);
    add_keys(2, "key", 400, -1);
    evict(400);
    for (uint32_t db = 0; db <= 2; db += 2) {
        int left = count_keys(db, "key", 400);
        cr_assert(left > 150 && left < 250, "%d left", left);
        int first = count_keys(db, "key", 200);
        cr_assert(first > 50 && first < 150, "%d of the first half left", first);
    }
}

Test(evict, takes_what_has_expired_before_anything_else_as_an_expiry)
{
    set_policy(EVICT_BY_FREQUENCY, false);
    add_keys(0, "key", 20, -1);
    add_keys(0, "due", 5, 10);
    set_time(1000);
    cr_assert_eq(evict_best(&shard), EVICT_SCORE_EXPIRED);
    evict(5);
    cr_assert_eq(shard.stats.expired, 5);
    cr_assert_eq(shard.stats.evicted, 0);
    cr_assert_eq(count_keys(0, "key", 20), 20);
}

Test(evict, forgets_candidates_of_another_policy)
{
    set_policy(EVICT_BY_TTL, true);
    add_keys(0, "key", 40, 100000);
    cr_assert_geq(evict_best(&shard), EVICT_SCORE_BASE);
    set_policy(EVICT_BY_IDLE, false);
    set_time(7000);
    cr_assert_eq(evict_best(&shard), EVICT_SCORE_BASE + 7);
}

Test(evict, is_notified_of_and_journaled)
{
    set_policy(EVICT_BY_IDLE, false);
    keyspace.options.notify = NOTIFY_KEYEVENT | NOTIFY_EVICTED;
    keyspace.options.journal = true;
    keyspace.options.lazy_evict = false;
    add_keys(0, "key", 1, -1);
    evict(1);
    struct event *e = event_take(&shard);
    cr_assert_str_eq(e->name, "evicted");
    cr_assert(slice_equal((struct slice){e->key, e->key_size}, SLICE("key 0")));
    event_free(e);
    cr_assert(journal_has_open(&shard));
    struct slice out = buf_slice(&shard.journal.out);
    cr_assert_not_null(memmem(out.data, out.size, "DEL", 3));
    cr_assert_not_null(memmem(out.data, out.size, "key 0", 5));
}

Test(evict, large_values_count_until_they_are_freed)
{
    set_policy(EVICT_BY_IDLE, false);
    struct place p = find("list", 0, 0, DB_WRITE);
    struct value v = db_value(&p, TYPE_LIST);
    static char text[1000];
    struct slice element = {text, sizeof(text)};
    for (int i = 0; i < 1000; i++)
        list_push(&v, &keyspace.options, LIST_TAIL, &element, 1);
    db_keep(&p, &v);
    uint64_t before = shard_data(&shard);
    cr_assert_geq(before, 1000 * sizeof(text));
    evict(1);
    cr_assert_geq(shard_data(&shard) + 1000, before);
    garbage_collect(&shard, UINT64_MAX);
    cr_assert_eq(shard_data(&shard), 0);
}
