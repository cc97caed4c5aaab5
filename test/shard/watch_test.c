/* Watches: each rule once, then a random run against a model that knows only which keys logically
 * exist and until when. */
#include <criterion/criterion.h>

#include "cmd_driver.h"
#include "shard/watch.h"

static struct world world;

static void set_up(void)
{
    world_init(&world, 1);
}

static void tear_down(void)
{
    world_deinit(&world);
}

TestSuite(watch, .init = set_up, .fini = tear_down);

static struct shard *shard(void)
{
    return &world.shards[0];
}

static void add(uint64_t token, const char *key)
{
    shard()->now_ms = world.now_ms;
    watch_add(shard(), token, world.db, slice_of(key), world.now_ms);
}

static bool broken(uint64_t token)
{
    return watch_broken(shard(), token, world.now_ms);
}

static void run(const char *line)
{
    cr_assert(world_run(&world, line)[0] != '-', "%s", line);
}

Test(watch, a_change_breaks_the_watches_of_its_key_alone)
{
    add(1, "a");
    add(2, "a");
    add(2, "b");
    add(3, "b");
    run("SET a 1");
    cr_expect(broken(1));
    cr_expect(broken(2));
    cr_expect_not(broken(3));
}

Test(watch, who_watches_nothing_is_never_broken)
{
    run("SET a 1");
    cr_expect_not(broken(1));
    watch_forget(shard(), 1);
    cr_expect_not(watch_any(&shard()->watches));
}

Test(watch, what_is_forgotten_costs_and_breaks_nothing)
{
    add(1, "a");
    add(1, "a");
    add(1, "b");
    cr_expect(watch_any(&shard()->watches));
    watch_forget(shard(), 1);
    cr_expect_not(watch_any(&shard()->watches));
    run("SET a 1");
    cr_expect_not(broken(1));
}

Test(watch, a_broken_client_holds_no_more_watches_until_it_is_forgotten)
{
    add(1, "a");
    add(1, "b");
    run("SET a 1");
    cr_expect_not(watch_any(&shard()->watches));
    add(1, "c");
    cr_expect_not(watch_any(&shard()->watches));
    cr_expect(broken(1));
    watch_forget(shard(), 1);
    cr_expect_not(broken(1));
}

Test(watch, the_same_key_of_another_database_is_another)
{
    add(1, "a");
    world.db = 1;
    run("SET a 1");
    cr_expect_not(broken(1));
}

Test(watch, a_key_that_expires_is_changed_though_nobody_has_looked)
{
    run("SET a 1 PX 10");
    add(1, "a");
    world.now_ms += 10;
    cr_expect_not(broken(1));
    world.now_ms += 1;
    cr_expect(broken(1));
    run("GET a");
    cr_expect(broken(1));
}

Test(watch, a_key_that_had_expired_is_not_changed_by_its_removal)
{
    run("SET a 1 PX 10");
    world.now_ms += 11;
    add(1, "a");
    cr_expect_not(broken(1));
    run("GET a");
    cr_expect_eq(db_key_count(shard(), 0), 0);
    cr_expect_not(broken(1));
    run("SET a 2");
    cr_expect(broken(1));
}

Test(watch, writing_to_a_key_that_had_expired_changes_it)
{
    run("SET a 1 PX 10");
    world.now_ms += 11;
    add(1, "a");
    run("APPEND a 2");
    cr_expect(broken(1));
}

Test(watch, emptying_a_database_changes_the_keys_in_it)
{
    run("SET a 1");
    add(1, "a");
    add(2, "none");
    run("FLUSHDB");
    cr_expect(broken(1));
    cr_expect_not(broken(2));
    run("SET none 1");
    cr_expect(broken(2));
}

Test(watch, a_key_that_had_expired_is_not_changed_by_emptying)
{
    run("SET a 1 PX 10");
    world.now_ms += 11;
    add(1, "a");
    run("FLUSHALL");
    cr_expect_not(broken(1));
    run("SET a 1");
    cr_expect(broken(1));
}

Test(watch, swapping_changes_what_is_there_before_or_after)
{
    run("SET before 1");
    add(1, "before");
    add(2, "after");
    add(3, "neither");
    world.db = 1;
    run("SET after 1");
    run("SWAPDB 0 1");
    cr_expect(broken(1));
    cr_expect(broken(2));
    cr_expect_not(broken(3));
}

Test(watch, an_expired_key_that_takes_the_place_of_none_is_none)
{
    run("SET a 1 PX 10");
    world.now_ms += 11;
    world.db = 1;
    add(1, "a");
    run("SWAPDB 0 1");
    cr_expect_not(broken(1));
    run("GET a");
    cr_expect_not(broken(1));
    run("SET a 1");
    cr_expect(broken(1));
}

Test(watch, fields_that_expire_change_their_key)
{
    run("HSET h f 1 g 2");
    run("HPEXPIRE h 10 FIELDS 1 f");
    add(1, "h");
    add(2, "h");
    world.now_ms += 10;
    cr_expect_not(broken(1));
    world.now_ms += 1;
    cr_expect(broken(1));
    add(3, "h");
    cr_expect_not(broken(3));
    cr_expect_str_eq(world_run(&world, "HLEN h"), ":1\r\n");
    cr_expect_not(broken(3));
    cr_expect(broken(2));
}

/* --- The model --- */

#define KEYS 6
#define DBS 3
#define TOKENS 5

struct model {
    bool present[DBS][KEYS];
    int64_t expires_ms[DBS][KEYS]; /* 0: never */
    bool watched[TOKENS][DBS][KEYS];
    bool broken[TOKENS];
};

static void change(struct model *m, int db, int key)
{
    for (int t = 0; t < TOKENS; t++)
        m->broken[t] |= m->watched[t][db][key];
}

static void pass_time(struct model *m, int64_t now_ms)
{
    for (int db = 0; db < DBS; db++) {
        for (int k = 0; k < KEYS; k++) {
            int64_t expires_ms = m->expires_ms[db][k];
            if (!m->present[db][k] || !expires_ms || now_ms <= expires_ms)
                continue;
            m->present[db][k] = false;
            change(m, db, k);
        }
    }
}

static void model_swap(struct model *m, int a, int b)
{
    for (int k = 0; k < KEYS && a != b; k++) {
        if (m->present[a][k] || m->present[b][k]) {
            change(m, a, k);
            change(m, b, k);
        }
        bool present = m->present[a][k];
        int64_t expires_ms = m->expires_ms[a][k];
        m->present[a][k] = m->present[b][k];
        m->expires_ms[a][k] = m->expires_ms[b][k];
        m->present[b][k] = present;
        m->expires_ms[b][k] = expires_ms;
    }
}

static void model_set(struct model *m, int db, int key, int64_t expires_ms)
{
    change(m, db, key);
    m->present[db][key] = true;
    m->expires_ms[db][key] = expires_ms;
}

static void model_remove(struct model *m, int db, int key)
{
    if (m->present[db][key])
        change(m, db, key);
    m->present[db][key] = false;
}

static uint64_t random_below(uint64_t n)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

static void run_key(struct model *m, int db, int key)
{
    char line[64];
    switch (random_below(5)) {
    case 0:
        snprintf(line, sizeof(line), "SET key%d v", key);
        model_set(m, db, key, 0);
        break;
    case 1:
    case 2: {
        int64_t ms = 1 + (int64_t)random_below(20);
        snprintf(line, sizeof(line), "SET key%d v PX %d", key, (int)ms);
        model_set(m, db, key, world.now_ms + ms);
        break;
    }
    case 3:
        snprintf(line, sizeof(line), "DEL key%d", key);
        model_remove(m, db, key);
        break;
    default:
        snprintf(line, sizeof(line), "GET key%d", key);
    }
    run(line);
}

static void run_whole(struct model *m, int db)
{
    char line[64];
    if (random_below(2)) {
        run("FLUSHDB");
        for (int k = 0; k < KEYS; k++)
            model_remove(m, db, k);
        return;
    }
    int other = (int)random_below(DBS);
    snprintf(line, sizeof(line), "SWAPDB %d %d", db, other);
    run(line);
    model_swap(m, db, other);
}

static void note_token(void *context, uint64_t token)
{
    *(uint64_t *)context |= UINT64_C(1) << token;
}

Test(watch, the_tokens_whose_watches_were_broken_are_told)
{
    uint64_t told = 0;
    watch_each_broken(shard(), note_token, &told);
    add(1, "a");
    add(2, "b");
    add(3, "a");
    add(4, "a");
    run("SET a 1");
    watch_forget(shard(), 4);
    watch_each_broken(shard(), note_token, &told);
    cr_expect_eq(told, 1 << 1 | 1 << 3);
}

static void step(struct model *m)
{
    int db = (int)random_below(DBS), key = (int)random_below(KEYS);
    int token = (int)random_below(TOKENS);
    char name[16];
    snprintf(name, sizeof(name), "key%d", key);
    world.db = (uint32_t)db;
    uint64_t what = random_below(20);
    if (what < 7) {
        add((uint64_t)token + 1, name);
        m->watched[token][db][key] = true;
    } else if (what < 9) {
        watch_forget(shard(), (uint64_t)token + 1);
        memset(m->watched[token], 0, sizeof(m->watched[token]));
        m->broken[token] = false;
    } else if (what < 18) {
        run_key(m, db, key);
    } else {
        run_whole(m, db);
    }
}

Test(watch, a_random_run_agrees_with_the_model)
{
    struct model m = {0};
    for (int i = 0; i < 200000; i++) {
        if (random_below(4) == 0)
            world.now_ms += (int64_t)random_below(6);
        pass_time(&m, world.now_ms);
        step(&m);
        for (int t = 0; t < TOKENS; t++)
            cr_assert_eq(broken((uint64_t)t + 1), m.broken[t], "token %d, step %d", t, i);
    }
    for (uint64_t t = 1; t <= TOKENS; t++)
        watch_forget(shard(), t);
    cr_expect_not(watch_any(&shard()->watches));
    cr_expect_eq(shard()->watches.tokens.count, 0);
}
