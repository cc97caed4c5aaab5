/* Events: what commands notify of and in which order, by the cases of notify_cases.h; which classes
 * are recorded; and the list that holds them. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "test/shard/cmd_driver.h"
#include "test/shard/notify_cases.h"

#define EVERYTHING (NOTIFY_KEYSPACE | NOTIFY_KEYEVENT | NOTIFY_ALL | NOTIFY_NEW | NOTIFY_KEY_MISS)

/* Takes the events of all shards, one shard's behind the other's. */
static void take(struct world *w, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++) {
        struct event *e = event_take(&w->shards[i]);
        while (e) {
            struct event *next = e->next;
            at += (size_t)snprintf(text + at, size - at, "%s%s %.*s", at ? "," : "", e->name,
                                   (int)e->key_size, e->key);
            if (e->db != w->db)
                at += (size_t)snprintf(text + at, size - at, "@%u", e->db);
            event_free(e);
            e = next;
        }
    }
}

static void run_all(struct world *w, const char *commands)
{
    char line[256];
    for (size_t size; *commands; commands += size + (commands[size] == ';')) {
        size = strcspn(commands, ";");
        snprintf(line, sizeof(line), "%.*s", (int)size, commands);
        const char *reply = world_run(w, line);
        cr_assert_neq(reply[0], '-', "%s: %s", line, reply);
    }
}

static void expect_events(struct world *w, const char *what, const char *expected)
{
    char events[512];
    take(w, events, sizeof(events));
    cr_expect_str_eq(events, expected, "%s: '%s' instead of '%s'", what, events, expected);
}

Test(event, commands_notify_of_what_they_did)
{
    for (size_t i = 0; i < NOTIFY_CASES; i++) {
        const struct notify_case *n = &notify_cases[i];
        struct world w;
        world_init(&w, 1);
        run_all(&w, n->before);
        w.keyspace.options.notify = EVERYTHING;
        world_run(&w, n->command);
        expect_events(&w, n->command, n->events);
        world_deinit(&w);
    }
}

/* But for misses, and for LTRIM, which tells even where nothing went. */
static bool tells_of_a_change(const char *events)
{
    for (; *events; events += strcspn(events, ","), events += *events == ',')
        if (strncmp(events, "keymiss ", 8) != 0)
            return strncmp(events, "ltrim ", 6) != 0;
    return false;
}

Test(event, what_is_told_of_counts_as_a_change)
{
    for (size_t i = 0; i < NOTIFY_CASES; i++) {
        const struct notify_case *n = &notify_cases[i];
        struct world w;
        world_init(&w, 1);
        run_all(&w, n->before);
        uint64_t before = w.shards[0].stats.changes;
        world_run(&w, n->command);
        if (tells_of_a_change(n->events))
            cr_expect_gt(w.shards[0].stats.changes, before, "%s", n->command);
        world_deinit(&w);
    }
}

Test(event, nothing_is_recorded_that_nobody_asked_for)
{
    for (size_t i = 0; i < NOTIFY_CASES; i++) {
        struct world w;
        world_init(&w, 1);
        run_all(&w, notify_cases[i].before);
        world_run(&w, notify_cases[i].command);
        cr_expect_null(w.shards[0].events.first);
        world_deinit(&w);
    }
}

Test(event, only_the_classes_asked_for_are_recorded)
{
    struct world w;
    world_init(&w, 1);
    w.keyspace.options.notify = NOTIFY_KEYEVENT | NOTIFY_GENERIC;
    run_all(&w, "set k v EX 10;rpush l a;lpop l;get none;del k");
    expect_events(&w, "g", "expire k,del l,del k");
    w.keyspace.options.notify = NOTIFY_KEYEVENT | NOTIFY_LIST | NOTIFY_NEW;
    run_all(&w, "set k v EX 10;rpush l a;lpop l;get none;del k");
    expect_events(&w, "ln", "new k,new l,rpush l,lpop l");
    w.keyspace.options.notify = NOTIFY_KEYSPACE | NOTIFY_KEY_MISS;
    run_all(&w, "set k v;get none;get k");
    expect_events(&w, "m", "keymiss none");
    world_deinit(&w);
}

Test(event, an_event_says_which_channels_it_is_for)
{
    struct world w;
    world_init(&w, 1);
    w.keyspace.options.notify = NOTIFY_KEYEVENT | NOTIFY_GENERIC;
    run_all(&w, "set k v;del k");
    w.keyspace.options.notify = NOTIFY_KEYSPACE | NOTIFY_STRING;
    run_all(&w, "set k v");
    cr_expect_eq(w.shards[0].events.first->channels, NOTIFY_KEYEVENT);
    cr_expect_eq(w.shards[0].events.last->channels, NOTIFY_KEYSPACE);
    world_deinit(&w);
}

Test(event, a_key_found_to_have_expired_is_told_of_before_the_miss)
{
    struct world w;
    world_init(&w, 1);
    run_all(&w, "set k v PX 5;set l v PX 5");
    w.keyspace.options.notify = EVERYTHING;
    w.now_ms += 10;
    run_all(&w, "get k;set l w");
    expect_events(&w, "lazy", "expired k,keymiss k,expired l,new l,set l");
    world_deinit(&w);
}

Test(event, the_sweep_tells_of_keys_and_of_fields)
{
    struct world w;
    world_init(&w, 1);
    run_all(&w, "set a v PX 5");
    w.keyspace.options.notify = EVERYTHING;
    w.shards[0].now_ms = w.now_ms += 10;
    uint64_t visited;
    shard_sweep(&w.shards[0], 100000, &visited);
    expect_events(&w, "key", "expired a");
    run_all(&w, "hset h f v g w;hpexpire h 5 FIELDS 1 f");
    expect_events(&w, "hash", "new h,hset h,hexpire h");
    w.shards[0].now_ms = w.now_ms += 10;
    shard_sweep(&w.shards[0], 100000, &visited);
    expect_events(&w, "field", "hexpired h");
    run_all(&w, "hpexpire h 5 FIELDS 1 g");
    expect_events(&w, "field", "hexpire h");
    w.shards[0].now_ms = w.now_ms += 10;
    shard_sweep(&w.shards[0], 100000, &visited);
    expect_events(&w, "last field", "hexpired h,del h");
    world_deinit(&w);
}

Test(event, fields_that_expired_unseen_go_with_the_last_live_one)
{
    struct world w;
    world_init(&w, 1);
    run_all(&w, "hset h f v g w;hpexpire h 5 FIELDS 1 f");
    w.keyspace.options.notify = EVERYTHING;
    w.now_ms += 10;
    run_all(&w, "hdel h g");
    expect_events(&w, "hdel", "hdel h,hexpired h,del h");
    world_deinit(&w);
}

/* Two keys of different shards, the second of which is on the lower one. */
static void find_keys(const struct world *w, char *high, char *low)
{
    strcpy(high, "k0");
    strcpy(low, "k0");
    while (keyspace_shard(&w->keyspace, slice_of(high)) == 0)
        high[1]++;
    while (keyspace_shard(&w->keyspace, slice_of(low)) != 0)
        low[1]++;
}

Test(event, events_of_shards_that_work_together_stay_in_one_order)
{
    struct world w;
    world_init(&w, 3);
    char high[3], low[3], line[64], expected[128];
    find_keys(&w, high, low);
    w.keyspace.options.notify = EVERYTHING & ~NOTIFY_NEW;
    cr_assert(event_gather(w.pointers, 3));
    cr_expect_not(event_gather(w.pointers, 3), "within another there is nothing to begin or end");
    snprintf(line, sizeof(line), "set %s 1;set %s 2;set %s 3;rename %s %s", high, low, high, high,
             low);
    run_all(&w, line);
    event_gather_end(w.pointers, 3);
    cr_expect_null(w.shards[1].events.first);
    cr_expect_null(w.shards[2].events.first);
    snprintf(expected, sizeof(expected), "set %s,set %s,set %s,rename_from %s,rename_to %s", high,
             low, high, high, low);
    expect_events(&w, "together", expected);
    snprintf(line, sizeof(line), "set %s 1", high);
    run_all(&w, line);
    cr_expect_null(w.shards[0].events.first, "each has its own again");
    world_deinit(&w);
}

Test(event, gathering_is_not_begun_where_nobody_asked_for_notifications)
{
    struct world w;
    world_init(&w, 2);
    cr_expect_not(event_gather(w.pointers, 2));
    cr_expect_null(w.shards[1].events.instead);
    world_deinit(&w);
}

Test(event, a_cut_takes_back_what_came_after_the_mark)
{
    struct world w;
    world_init(&w, 1);
    w.keyspace.options.notify = EVERYTHING & ~NOTIFY_NEW;
    run_all(&w, "set a 1");
    struct event *mark = event_mark(&w.shards[0].events);
    run_all(&w, "set b 1;set c 1");
    event_cut(&w.shards[0], mark);
    run_all(&w, "set d 1");
    expect_events(&w, "cut", "set a,set d");
    run_all(&w, "set b 1");
    event_cut(&w.shards[0], NULL);
    expect_events(&w, "cut to nothing", "");
    world_deinit(&w);
}
