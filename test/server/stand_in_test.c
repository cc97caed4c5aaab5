/* Running a session's requests on shards held together, without threads: core 0 is this thread's,
 * the others are asleep or awake as a test says. */
#include "server/stand_in.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "server/bundle.h"
#include "server/owner.h"
#include "server/server.h"
#include "server/session.h"

#define CORES 4
#define TEXT_SIZE 4096
#define REQUESTS_MAX 80
/* One more than a core runs for others. */
#define TOO_MANY 65

/* What was parsed from one session. `text` is the source; arguments are spans of it. */
struct batch {
    char text[TEXT_SIZE];
    size_t size;
    struct slice argv[REQUESTS_MAX * 4];
    uint32_t argv_count;
    struct request requests[REQUESTS_MAX];
    uint32_t count;
    struct core_mask mask;
};

static void put_to_sleep(uint32_t core)
{
    owner_release(&server->cores[core]->owner);
}

static void awaken(uint32_t core)
{
    owner_claim(&server->cores[core]->owner);
}

static void start_cores(void)
{
    struct config config;
    char error[256];
    config_init(&config);
    config.shards = CORES;
    cr_assert(server_create(&config, error, sizeof(error)), "%s", error);
    config_deinit(&config);
    server->backend = RING_EPOLL;
    cr_assert(core_start(server->cores[0], 1, false));
    for (uint32_t i = 1; i < CORES; i++) {
        shard_init(&server->cores[i]->shard, i, &server->keyspace, i);
        server->cores[i]->shard.now_ms = server->cores[0]->shard.now_ms;
        put_to_sleep(i);
    }
}

static void stop_cores(void)
{
    struct core *c = server->cores[0];
    while (c->sessions) {
        struct session *s = c->sessions;
        if (s->bundle)
            bundle_destroy(s->bundle);
        s->bundle = NULL;
        session_closed(c, s);
    }
    for (uint32_t i = 1; i < CORES; i++)
        shard_deinit(&server->cores[i]->shard);
    core_finish(server->cores[0]);
    server_destroy();
}

TestSuite(stand_in, .init = start_cores, .fini = stop_cores);

static uint32_t shard_of(struct slice key)
{
    return keyspace_shard(&server->keyspace, key);
}

/* Adds a word. "@2x" is a key of shard 2, another for each x. */
static struct slice add_word(struct batch *b, const char *word, size_t size)
{
    char *at = b->text + b->size;
    if (size == 3 && word[0] == '@') {
        for (unsigned n = 0;; n++) {
            size = (size_t)snprintf(at, 32, "%c%u", word[2], n);
            if (shard_of((struct slice){at, size}) == word[1] - '0' + 0u)
                break;
        }
    } else {
        memcpy(at, word, size);
    }
    b->size += size + 2;
    return (struct slice){at, size};
}

/* Adds a request, words divided by blanks, on the shards that its "@" words name. */
static void add(struct batch *b, struct session *s, const char *words)
{
    struct request *r = &b->requests[b->count++];
    struct core_mask own = {0};
    *r = (struct request){.session = s, .argv = &b->argv[b->argv_count]};
    while (*words) {
        size_t size = strcspn(words, " ");
        if (*words == '@')
            core_mask_add(&own, (uint32_t)(words[1] - '0'));
        b->argv[b->argv_count++] = add_word(b, words, size);
        words += size + (words[size] == ' ');
        r->argc++;
    }
    r->end = b->size;
    r->command = registry_resolve(server->registry, r->argv, r->argc);
    cr_assert_not_null(r->command);
    r->shard = core_mask_count(&own) == 1 ? core_mask_first(&own) : BUNDLE_SHARD_MANY;
    core_mask_unite(&b->mask, &own);
}

static struct session *new_session(void)
{
    static uint64_t id;
    return session_create(server->cores[0], -1, ++id);
}

static bool run(struct session *s, struct batch *b)
{
    return stand_in_run(server->cores[0], s, b->requests, b->count, &b->mask);
}

static void cr_expect_output(struct session *s, const char *expected)
{
    struct slice out = buf_slice(&s->out);
    cr_expect(slice_equal(out, slice_of(expected)), "got \"%.*s\", not \"%s\"", (int)out.size,
              out.data ? out.data : "", expected);
    s->out.size = 0;
}

static void cr_expect_run(struct session *s, struct batch *b, const char *expected)
{
    uint64_t tickets = order_count(server->order);
    cr_expect(run(s, b));
    cr_expect_output(s, expected);
    cr_expect_eq(order_count(server->order), tickets);
    cr_expect_null(s->bundle);
}

/* One request, which is run. */
static void cr_expect_reply(struct session *s, const char *words, const char *expected)
{
    struct batch b = {0};
    add(&b, s, words);
    cr_expect_run(s, &b, expected);
}

/* Nothing came of it, and nothing stays behind. */
static void cr_expect_refused(struct session *s, struct batch *b)
{
    uint64_t borrows = server->cores[0]->stats.borrows;
    cr_expect_not(run(s, b));
    cr_expect_output(s, "");
    cr_expect_null(s->bundle);
    cr_expect_eq(s->commands, 0);
    cr_expect_eq(server->cores[0]->stats.borrows, borrows);
}

static void cr_expect_owners(const enum owner_state *states)
{
    for (uint32_t i = 0; i < CORES; i++)
        cr_expect_eq(atomic_load(&server->cores[i]->owner), states[i], "core %u", i);
}

static void cr_expect_all_asleep(void)
{
    static const enum owner_state states[] = {OWNER_OWNED, OWNER_FREE, OWNER_FREE, OWNER_FREE};
    cr_expect_owners(states);
}

/* Publishes a batch in the log, as one whose owners have to act on it. */
static struct bundle *publish(enum bundle_kind kind, struct batch *b)
{
    struct core *c = server->cores[0];
    struct session *s = b->requests[0].session;
    struct bundle *bundle = bundle_create(c, s, kind, &b->mask, b->requests, b->count,
                                          (struct slice){b->text, b->size}, true);
    bundle_dispatch(c, bundle);
    return bundle;
}

static void cr_expect_cursor(uint32_t core, uint64_t cursor)
{
    cr_expect_eq(order_cursor(server->order, core), cursor, "core %u", core);
}

/* What is run. */

Test(stand_in, runs_a_pipeline_over_three_shards_in_the_order_sent)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "SET @2a two");
    add(&b, s, "SET @0a zero");
    add(&b, s, "APPEND @2a +");
    add(&b, s, "INCR @1n");
    add(&b, s, "GET @0a");
    add(&b, s, "INCRBY @1n 5");
    add(&b, s, "GET @2a");
    add(&b, s, "GETDEL @0a");
    add(&b, s, "GET @0a");
    cr_expect_run(s, &b,
                  "+OK\r\n+OK\r\n:4\r\n:1\r\n$4\r\nzero\r\n:6\r\n$4\r\ntwo+\r\n$4\r\nzero\r\n"
                  "$-1\r\n");
    cr_expect_all_asleep();
    cr_expect_eq(s->commands, 9);
    cr_expect_eq(server->cores[0]->stats.borrows, 1);
    cr_expect_eq(server->cores[0]->stats.splits, 0);
}

Test(stand_in, puts_each_value_on_the_shard_of_its_key)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "MSET @0a x @1a y @1b z @3a w");
    cr_expect_run(s, &b, "+OK\r\n");
    static const uint64_t counts[] = {1, 2, 0, 1};
    for (uint32_t i = 0; i < CORES; i++)
        cr_expect_eq(server->cores[i]->shard.dbs[0].keys.count, counts[i], "shard %u", i);
    cr_expect_all_asleep();
}

Test(stand_in, runs_commands_on_several_shards_whole)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "MSET @1a x @2a y @0a z");
    add(&b, s, "GET @2a");
    add(&b, s, "MGET @0a @3a @1a @2a @1a");
    add(&b, s, "EXISTS @3a @2a @1a @1a");
    add(&b, s, "DEL @1a @3a @2a");
    add(&b, s, "MGET @1a @0a");
    cr_expect_run(s, &b,
                  "+OK\r\n$1\r\ny\r\n"
                  "*5\r\n$1\r\nz\r\n$-1\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nx\r\n"
                  ":3\r\n:2\r\n*2\r\n$-1\r\n$1\r\nz\r\n");
    cr_expect_all_asleep();
}

Test(stand_in, runs_what_takes_a_value_from_one_shard_to_another)
{
    struct session *s = new_session();
    cr_expect_reply(s, "SET @1a x", "+OK\r\n");
    cr_expect_reply(s, "RENAME @1a @2a", "+OK\r\n");
    cr_expect_reply(s, "MGET @1a @2a", "*2\r\n$-1\r\n$1\r\nx\r\n");
    cr_expect_reply(s, "RENAME @2a @0a", "+OK\r\n");
    cr_expect_reply(s, "MGET @0a @2a", "*2\r\n$1\r\nx\r\n$-1\r\n");
    cr_expect_reply(s, "RENAME @1a @2a", "-ERR no such key\r\n");
    cr_expect_eq(server->cores[0]->stats.crosses, 0);
    cr_expect_all_asleep();
}

Test(stand_in, goes_on_behind_an_error)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "SET @1a x");
    add(&b, s, "INCR @1a");
    add(&b, s, "MSET @1a y @2a");
    add(&b, s, "GET @1a");
    cr_expect_run(s, &b,
                  "+OK\r\n-ERR value is not an integer or out of range\r\n"
                  "-ERR wrong number of arguments for 'mset' command\r\n$1\r\nx\r\n");
    cr_expect_eq(server->cores[0]->stats.error_replies, 2);
    cr_expect_all_asleep();
}

Test(stand_in, drops_replies_that_the_client_does_not_want)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "INCR @1n");
    add(&b, s, "INCR @2n");
    s->reply_mode = REPLY_SKIP;
    cr_expect_run(s, &b, ":1\r\n");
    s->reply_mode = REPLY_OFF;
    cr_expect_run(s, &b, "");
    s->reply_mode = REPLY_ON;
    cr_expect_run(s, &b, ":3\r\n:3\r\n");
}

Test(stand_in, brings_this_cores_time_to_shards_that_slept)
{
    struct core *c = server->cores[0];
    struct session *s = new_session();
    struct batch get = {0};
    cr_expect_reply(s, "SET @1a x PX 10", "+OK\r\n");
    cr_expect_reply(s, "SET @2a y PX 100000", "+OK\r\n");
    c->wall_ms += 50;
    add(&get, s, "GET @1a");
    add(&get, s, "GET @2a");
    cr_expect_run(s, &get, "$-1\r\n$1\r\ny\r\n");
    cr_expect_eq(server->cores[2]->shard.now_ms, c->wall_ms);
}

Test(stand_in, takes_the_later_time_of_a_shard_over)
{
    struct core *c = server->cores[0];
    struct session *s = new_session();
    struct batch get = {0};
    cr_expect_reply(s, "SET @2a y PX 1000", "+OK\r\n");
    server->cores[2]->shard.now_ms = c->wall_ms + 5;
    add(&get, s, "PTTL @2a");
    cr_expect_run(s, &get, ":995\r\n");
}

Test(stand_in, leaves_a_time_behind_that_was_set_back)
{
    struct core *c = server->cores[0];
    struct session *s = new_session();
    struct batch get = {0};
    cr_expect_reply(s, "SET @2a y PX 1000", "+OK\r\n");
    server->cores[2]->shard.now_ms = c->wall_ms + 3600000;
    add(&get, s, "PTTL @2a");
    cr_expect_run(s, &get, ":1000\r\n");
}

/* The log. */

Test(stand_in, walks_the_log_for_all_held_shards_before_it_runs)
{
    struct session *first = new_session(), *second = new_session();
    struct batch set = {0}, b = {0};
    add(&set, first, "SET @0a zero");
    add(&set, first, "SET @1a one");
    add(&set, first, "SET @2a two");
    publish(BUNDLE_SPLIT, &set);
    add(&b, second, "APPEND @1a !");
    add(&b, second, "MGET @2a @0a");
    cr_expect_run(second, &b, ":4\r\n*2\r\n$3\r\ntwo\r\n$4\r\nzero\r\n");
    cr_expect_null(first->bundle);
    cr_expect_output(first, "+OK\r\n+OK\r\n+OK\r\n");
    for (uint32_t i = 0; i < 3; i++)
        cr_expect_cursor(i, 1);
    cr_expect_cursor(3, 0);
    cr_expect_all_asleep();
}

Test(stand_in, leaves_parts_of_shards_that_are_not_held)
{
    struct session *first = new_session(), *second = new_session();
    struct batch set = {0}, b = {0};
    add(&set, first, "MSET @1a one @3a three");
    struct bundle *bundle = publish(BUNDLE_SPLIT, &set);
    add(&b, second, "MGET @1a @2a");
    cr_expect_run(second, &b, "*2\r\n$3\r\none\r\n$-1\r\n");
    cr_expect_eq(first->bundle, bundle);
    cr_expect_eq(atomic_load(&bundle->pending), 1);
    cr_expect(stand_in_walk(server->cores[0], 3));
    cr_expect_output(first, "+OK\r\n");
    cr_expect_all_asleep();
}

Test(stand_in, passes_a_cross_transaction_of_others)
{
    struct session *first = new_session(), *second = new_session();
    struct batch rename = {0}, b = {0};
    add(&rename, first, "RENAME @2a @3a");
    struct bundle *bundle = publish(BUNDLE_CROSS, &rename);
    add(&b, second, "MSET @0a x @1a y");
    cr_expect_run(second, &b, "+OK\r\n");
    cr_expect_eq(atomic_load(&bundle->pending), 2);
    cr_expect_cursor(0, 1);
    cr_expect_cursor(1, 1);
    cr_expect_all_asleep();
}

/* A cross entry on shards `words` keeps requests on 0, 1 and 2 from being run. */
static void cr_expect_stop_at_cross(const char *words, uint32_t stops_at)
{
    struct session *first = new_session(), *second = new_session();
    struct batch rename = {0}, b = {0};
    add(&rename, first, words);
    struct bundle *bundle = publish(BUNDLE_CROSS, &rename);
    add(&b, second, "MSET @0a x @1a y @2a z");
    cr_expect_refused(second, &b);
    cr_expect_refused(second, &b);
    cr_expect_eq(atomic_load(&bundle->pending), 2);
    cr_expect_all_asleep();
    uint64_t ticket;
    cr_expect_cursor(stops_at, 0);
    cr_expect_eq(order_next(server->order, stops_at, &ticket), bundle);
    cr_expect_eq(ticket, 0);
}

Test(stand_in, stays_before_a_cross_transaction_of_a_sleeper)
{
    cr_expect_stop_at_cross("RENAME @2a @3a", 2);
}

Test(stand_in, stays_before_a_cross_transaction_of_its_own)
{
    cr_expect_stop_at_cross("RENAME @0a @3a", 0);
}

Test(stand_in, does_what_lies_before_a_cross_transaction_once)
{
    struct session *first = new_session(), *second = new_session(), *third = new_session();
    struct batch set = {0}, rename = {0}, b = {0};
    add(&set, first, "INCR @1n");
    add(&set, first, "INCR @2n");
    add(&rename, second, "RENAME @2a @3a");
    publish(BUNDLE_SPLIT, &set);
    publish(BUNDLE_CROSS, &rename);
    add(&b, third, "INCR @1n");
    add(&b, third, "INCR @2n");
    cr_expect_refused(third, &b);
    cr_expect_refused(third, &b);
    cr_expect_output(first, ":1\r\n:1\r\n");
    cr_expect_cursor(1, 2);
    cr_expect_cursor(2, 1);
    cr_expect_all_asleep();
}

Test(stand_in, leaves_long_work_in_the_log_to_its_owner)
{
    struct session *first = new_session(), *second = new_session();
    struct batch many = {0}, b = {0};
    for (uint32_t i = 0; i < TOO_MANY; i++)
        add(&many, first, i % 2 ? "INCR @1n" : "INCR @2n");
    struct bundle *bundle = publish(BUNDLE_SPLIT, &many);
    add(&b, second, "MSET @0a x @1a y");
    cr_expect_refused(second, &b);
    cr_expect_eq(atomic_load(&bundle->pending), 2);
    cr_expect_cursor(1, 0);
    cr_expect_all_asleep();
}

/* All or none. */

Test(stand_in, holds_all_shards_or_none)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "SET @1a x");
    add(&b, s, "SET @2a y");
    add(&b, s, "SET @3a z");
    for (uint32_t awake = 1; awake < CORES; awake++) {
        enum owner_state states[] = {OWNER_OWNED, OWNER_FREE, OWNER_FREE, OWNER_FREE};
        states[awake] = OWNER_OWNED;
        awaken(awake);
        cr_expect_refused(s, &b);
        cr_expect_owners(states);
        put_to_sleep(awake);
    }
    cr_expect_run(s, &b, "+OK\r\n+OK\r\n+OK\r\n");
    cr_expect_all_asleep();
}

Test(stand_in, leaves_a_shard_that_another_core_holds)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "MSET @1a x @2a y");
    cr_assert(owner_borrow(&server->cores[2]->owner));
    cr_expect_refused(s, &b);
    static const enum owner_state lent[] = {OWNER_OWNED, OWNER_FREE, OWNER_BORROWED, OWNER_FREE};
    cr_expect_owners(lent);
    owner_return(&server->cores[2]->owner);
    cr_expect_run(s, &b, "+OK\r\n");
}

Test(stand_in, does_not_need_the_shards_of_others)
{
    struct session *s = new_session();
    awaken(3);
    cr_expect_reply(s, "MSET @0a x @1a y @2a z", "+OK\r\n");
    static const enum owner_state states[] = {OWNER_OWNED, OWNER_FREE, OWNER_FREE, OWNER_OWNED};
    cr_expect_owners(states);
}

Test(stand_in, leaves_long_pipelines_to_the_owners)
{
    struct session *s = new_session();
    struct batch b = {0};
    for (uint32_t i = 0; i < TOO_MANY; i++)
        add(&b, s, i % 2 ? "INCR @1n" : "INCR @2n");
    cr_expect_refused(s, &b);
    cr_expect_all_asleep();
    b.count--;
    cr_expect(run(s, &b));
    cr_expect_eq(s->commands, TOO_MANY - 1);
    cr_expect_all_asleep();
}

Test(stand_in, leaves_what_concerns_every_core_to_the_owners)
{
    struct session *s = new_session();
    struct batch b = {0};
    add(&b, s, "SET @1a x");
    add(&b, s, "DBSIZE");
    for (uint32_t i = 0; i < CORES; i++)
        core_mask_add(&b.mask, i);
    cr_expect_refused(s, &b);
    cr_expect_all_asleep();
}

/* The bundle of one session comes home while another's requests are run, within the same gather.
 * Its arguments are let go of only at the flush: bytes that come before that must wait. */
Test(stand_in, lets_bytes_wait_behind_a_bundle_that_came_home_meanwhile)
{
    struct core *c = server->cores[0];
    struct session *s = new_session(), *other = new_session();
    struct batch keys = {0}, b = {0};
    add(&keys, s, "MSET @1a @2a");
    char text[256];
    size_t size = (size_t)snprintf(
        text, sizeof(text),
        "*5\r\n$4\r\nMSET\r\n$2\r\n%.2s\r\n$1\r\nx\r\n$2\r\n%.2s\r\n$1\r\ny\r\n",
        keys.argv[1].data, keys.argv[2].data);
    cr_assert_eq(keys.argv[1].size, 2);
    cr_assert_eq(keys.argv[2].size, 2);

    awaken(1);
    awaken(2);
    session_received(c, s, text, 10);
    session_received(c, s, text + 10, size - 10);
    cr_assert_not_null(s->bundle);
    session_received(c, s, text, 10);
    put_to_sleep(1);
    put_to_sleep(2);
    add(&b, other, "MGET @1a @2a");
    cr_expect(run(other, &b));
    cr_expect_output(other, "*2\r\n$1\r\nx\r\n$1\r\ny\r\n");
    cr_expect_null(s->bundle);
    session_received(c, s, text + 10, size - 10);
    cr_expect_output(s, "+OK\r\n");

    session_continue(c, s);
    cr_expect(s->in_resume);
    s->in_resume = false;
    c->resume = NULL;
    session_resume(c, s);
    cr_expect_output(s, "+OK\r\n");
}
