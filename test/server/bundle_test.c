/* Bundles, without threads: how they are laid out, and their way to the shards and home again, each
 * core's steps made by hand. Only core 0 has a thread (this one) and is everybody's home. */
#include "server/bundle.h"
#include "server/stand_in.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/owner.h"
#include "server/server.h"
#include "server/session.h"

#define CORES 3
#define HOP_TO 1
#define TEXT_SIZE 4096

/* What was parsed from one session. `text` is the source; arguments are spans of it. */
struct batch {
    char text[TEXT_SIZE];
    size_t size;
    struct slice argv[64];
    uint32_t argv_count;
    struct request requests[16];
    uint32_t count;
    struct core_mask mask;
};

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

TestSuite(bundle, .init = start_cores, .fini = stop_cores);
TestSuite(bundle_way, .init = start_cores, .fini = stop_cores);

/* Adds a request: words divided by blanks. A word "@2x" is a key of shard 2, another for each x. */
static struct slice add_word(struct batch *b, const char *word, size_t size)
{
    char *at = b->text + b->size;
    if (size == 3 && word[0] == '@') {
        for (unsigned n = 0;; n++) {
            size = (size_t)snprintf(at, 32, "%c%u", word[2], n);
            if (keyspace_shard(&server->keyspace, (struct slice){at, size}) == word[1] - '0' + 0u)
                break;
        }
    } else {
        memcpy(at, word, size);
    }
    b->size += size + 2;
    return (struct slice){at, size};
}

static void add(struct batch *b, uint32_t shard, const char *words)
{
    struct request *r = &b->requests[b->count++];
    *r = (struct request){.argv = &b->argv[b->argv_count], .shard = shard};
    while (*words) {
        size_t size = strcspn(words, " ");
        b->argv[b->argv_count++] = add_word(b, words, size);
        words += size + (words[size] == ' ');
        r->argc++;
    }
    r->end = b->size;
    r->command = registry_resolve(server->registry, r->argv, r->argc);
    cr_assert_not_null(r->command);
    for (uint32_t i = 0; i < CORES; i++)
        if (shard == i || shard == BUNDLE_SHARD_MANY)
            core_mask_add(&b->mask, i);
}

static struct session *new_session(void)
{
    static uint64_t id;
    return session_create(server->cores[0], -1, ++id);
}

static struct slice source_of(const struct batch *batch)
{
    return (struct slice){batch->text, batch->size};
}

static struct bundle *make(struct session *s, enum bundle_kind kind, struct batch *batch,
                           bool copy)
{
    return bundle_create(server->cores[0], s, kind, &batch->mask, batch->requests, batch->count,
                         source_of(batch), copy);
}

/* Masks. */

Test(core_mask, adds_and_finds_cores_in_every_word)
{
    static const uint32_t cores[] = {0, 1, 63, 64, 127, 128, 255};
    struct core_mask m = {0};
    for (uint32_t i = 0; i < 7; i++) {
        cr_expect_not(core_mask_has(&m, cores[i]));
        core_mask_add(&m, cores[i]);
        core_mask_add(&m, cores[i]);
        cr_expect(core_mask_has(&m, cores[i]));
        cr_expect_eq(core_mask_count(&m), i + 1);
    }
    cr_expect_not(core_mask_has(&m, 2));
    cr_expect_not(core_mask_has(&m, 65));
    cr_expect_not(core_mask_has(&m, 254));
}

Test(core_mask, ranks_count_those_before)
{
    struct core_mask m = {0};
    for (uint32_t i = 3; i < 256; i += 4)
        core_mask_add(&m, i);
    uint32_t before = 0;
    for (uint32_t i = 0; i < 256; i++) {
        cr_expect_eq(core_mask_rank(&m, i), before, "core %u", i);
        before += core_mask_has(&m, i);
    }
}

/* Layout. */

/* The item of the nth request: the next of its part. One on all shards is an item of each part. */
static const struct bundle_item *item_of(const struct bundle *b, uint32_t nth)
{
    uint32_t rank = b->order ? b->order[nth] : 0;
    uint32_t in_part = rank == BUNDLE_RANK_ALL ? 0 : rank, at = 0;
    for (uint32_t i = 0; i < nth; i++)
        at += !b->order || b->order[i] == BUNDLE_RANK_ALL || b->order[i] == in_part;
    cr_assert_lt(at, b->parts[in_part].item_count);
    return &b->parts[in_part].items[at];
}

static void cr_expect_arguments(const struct bundle *b, struct batch *batch)
{
    cr_assert_eq(b->item_count, batch->count);
    for (uint32_t i = 0; i < b->item_count; i++) {
        const struct request *r = &batch->requests[i];
        const struct bundle_item *item = item_of(b, i);
        cr_expect_eq(item->command, r->command);
        cr_assert_eq(item->argc, r->argc);
        for (uint32_t k = 0; k < r->argc; k++)
            cr_expect(slice_equal(item->argv[k], r->argv[k]), "item %u, argument %u", i, k);
    }
}

static void cr_expect_inside(const struct bundle *b, struct batch *batch, bool inside)
{
    struct slice source = source_of(batch);
    for (uint32_t i = 0; i < b->item_count; i++) {
        for (uint32_t k = 0; k < item_of(b, i)->argc; k++) {
            const char *at = item_of(b, i)->argv[k].data;
            cr_expect_eq(at >= source.data && at <= source.data + source.size, inside);
        }
    }
}

static void drop(struct session *s, struct bundle *b)
{
    bundle_destroy(b);
    s->bundle = NULL;
    server->cores[0]->dispatched--;
}

Test(bundle, refers_to_bytes_that_stay)
{
    struct batch batch = {0};
    struct session *s = new_session();
    add(&batch, 1, "SET @1a value");
    add(&batch, 1, "GET @1a");
    struct bundle *b = make(s, BUNDLE_HOP, &batch, false);
    cr_expect_eq(s->bundle, b);
    cr_expect_eq(server->cores[0]->dispatched, 1);
    cr_expect_eq(b->home, 0);
    cr_expect_eq(b->session, s);
    cr_expect_arguments(b, &batch);
    cr_expect_inside(b, &batch, true);
    drop(s, b);
}

Test(bundle, copies_bytes_that_do_not_stay)
{
    struct batch batch = {0}, before;
    struct session *s = new_session();
    add(&batch, 1, "SET @1a value");
    add(&batch, 2, "APPEND @2b tail");
    struct bundle *b = make(s, BUNDLE_SPLIT, &batch, true);
    cr_expect_arguments(b, &batch);
    cr_expect_inside(b, &batch, false);
    before = batch;
    for (uint32_t i = 0; i < before.argv_count; i++)
        before.argv[i].data = before.text + (batch.argv[i].data - batch.text);
    for (uint32_t i = 0; i < before.count; i++)
        before.requests[i].argv = before.argv + (batch.requests[i].argv - batch.argv);
    memset(batch.text, '#', sizeof(batch.text));
    cr_expect_arguments(b, &before);
    drop(s, b);
}

Test(bundle, copies_words_that_lie_outside_of_the_source)
{
    struct batch batch = {0}, inline_words = {0};
    struct session *s = new_session();
    add(&inline_words, 1, "SET @1a inline");
    add(&batch, 1, "GET @1a");
    batch.requests[batch.count] = inline_words.requests[0];
    batch.requests[batch.count++].end = batch.size;
    for (int copy = 0; copy < 2; copy++) {
        struct bundle *b = make(s, BUNDLE_HOP, &batch, copy);
        cr_expect_arguments(b, &batch);
        const char *word = item_of(b, 1)->argv[2].data;
        cr_expect(word < inline_words.text || word >= inline_words.text + TEXT_SIZE);
        cr_expect_eq(item_of(b, 0)->argv[0].data == batch.text, !copy);
        drop(s, b);
    }
}

Test(bundle, takes_empty_and_binary_arguments)
{
    struct batch batch = {0};
    struct session *s = new_session();
    add(&batch, 1, "SET @1a 123456");
    memcpy((char *)batch.argv[2].data, "\0\r\n\xff\0", 6);
    add(&batch, 1, "SET @1a ?");
    batch.argv[5].size = 0;
    batch.argv[5].data = batch.text + batch.size;
    for (int copy = 0; copy < 2; copy++) {
        struct bundle *b = make(s, BUNDLE_HOP, &batch, copy);
        cr_expect_arguments(b, &batch);
        cr_expect_inside(b, &batch, !copy);
        drop(s, b);
    }
}

/* Fills every part's reply room, which must be nobody else's. */
Test(bundle, gives_each_part_reply_room_of_its_own)
{
    struct batch batch = {0};
    struct session *s = new_session();
    for (int i = 0; i < 5; i++)
        add(&batch, 0, "GET @0a");
    add(&batch, 2, "GET @2a");
    struct bundle *b = make(s, BUNDLE_SPLIT, &batch, true);
    cr_assert_eq(b->part_count, 2);
    cr_expect_eq(b->parts[0].out.cap, 5 * b->parts[1].out.cap);
    for (uint32_t i = 0; i < b->part_count; i++) {
        struct buf *out = &b->parts[i].out;
        cr_assert(out->borrowed && out->cap >= 32 && out->size == 0);
        cr_expect_eq((uintptr_t)&b->parts[i] % 64, 0);
        memset(out->data, 'a' + (int)i, out->cap);
        out->size = out->cap;
    }
    cr_expect_arguments(b, &batch);
    for (uint32_t i = 0; i < b->part_count; i++)
        for (size_t k = 0; k < b->parts[i].out.cap; k++)
            cr_assert_eq(b->parts[i].out.data[k], 'a' + (int)i);
    drop(s, b);
}

Test(bundle, notes_the_shard_of_each_key_of_a_split_item)
{
    struct batch batch = {0};
    struct session *s = new_session();
    add(&batch, BUNDLE_SHARD_MANY, "MSET @2a x @0b y @2c z");
    add(&batch, 1, "GET @1a");
    add(&batch, BUNDLE_SHARD_MANY, "DBSIZE");
    struct bundle *b = make(s, BUNDLE_SPLIT, &batch, true);
    cr_assert_eq(b->part_count, CORES);
    cr_expect_eq(atomic_load(&b->pending), CORES);
    const struct bundle_split *split = item_of(b, 0)->split, *all = item_of(b, 2)->split;
    cr_expect_null(item_of(b, 1)->split);
    cr_assert(split != NULL && all != NULL);
    cr_assert_eq(split->key_count, 3);
    cr_expect_eq(split->key_shards[0], 2);
    cr_expect_eq(split->key_shards[1], 0);
    cr_expect_eq(split->key_shards[2], 2);
    cr_expect_eq(all->key_count, 0);
    cr_expect_null(all->key_shards);
    for (uint32_t i = 0; i < CORES; i++) {
        cr_expect_eq(b->parts[i].item_count, i == 1 ? 3 : 2);
        cr_expect_eq(b->parts[i].items[0].split, split);
        cr_expect_eq(split->item_sizes[i], 0);
        cr_expect_eq(split->sections[i].size, 0);
        cr_expect_eq(all->sections[i].errors, 0);
    }
    drop(s, b);
}

Test(bundle, has_one_part_where_all_meet)
{
    struct batch batch = {0};
    struct session *s = new_session();
    add(&batch, BUNDLE_SHARD_MANY, "RENAME @1a @2b");
    struct bundle *b = make(s, BUNDLE_CROSS, &batch, true);
    cr_expect_eq(b->part_count, 1);
    cr_expect_eq(atomic_load(&b->pending), CORES);
    cr_expect_eq(b->parts[0].item_count, 1);
    cr_expect_null(b->parts[0].items[0].split);
    cr_expect_arguments(b, &batch);
    drop(s, b);
}

/* The way there and back. */

static void nobody(void *context, uint32_t to)
{
}

/* What other cores posted arrives at core 0. */
static void receive_at_home(void)
{
    for (uint32_t i = 1; i < CORES; i++)
        mesh_flush(server->mesh, i, nobody, NULL);
    struct mesh_message *m = mesh_receive(server->mesh, 0);
    while (m) {
        struct mesh_message *next = m->next;
        ((struct core_message *)m)->receive((struct core_message *)m);
        m = next;
    }
}

/* One core walks the log. */
static void walk_log(uint32_t self)
{
    struct core *c = server->cores[self];
    uint64_t ticket;
    struct bundle *b;
    c->wall_ms = server->cores[0]->wall_ms;
    while ((b = order_next(server->order, self, &ticket)) != NULL)
        bundle_act(c, &c->shard, b, ticket);
}

static void cr_expect_output(struct session *s, const char *expected)
{
    struct slice out = buf_slice(&s->out);
    cr_expect(slice_equal(out, slice_of(expected)), "got \"%.*s\", not \"%s\"", (int)out.size,
              out.data ? out.data : "", expected);
    s->out.size = 0;
}

/* Runs a split bundle, the cores walking in the order given, and looks at the replies. */
static void run_split(struct session *s, struct batch *batch, const uint32_t *walkers,
                      const char *expected)
{
    bundle_dispatch(server->cores[0], make(s, BUNDLE_SPLIT, batch, true));
    for (uint32_t i = 0; i < CORES; i++)
        walk_log(walkers[i]);
    receive_at_home();
    cr_expect_null(s->bundle);
    cr_expect_eq(server->cores[0]->dispatched, 0);
    cr_expect_output(s, expected);
}

static const uint32_t walks[][CORES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                        {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

Test(bundle_way, brings_replies_home_in_the_order_of_requests_whoever_is_last)
{
    struct session *s = new_session();
    for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
        struct batch batch = {0};
        add(&batch, 2, "SET @2a two");
        add(&batch, 0, "SET @0a zero");
        add(&batch, BUNDLE_SHARD_MANY, "MGET @0a @2a @1a @2a");
        add(&batch, 1, "GET @1a");
        add(&batch, BUNDLE_SHARD_MANY, "DBSIZE");
        add(&batch, BUNDLE_SHARD_MANY, "MSET @1a one @2a new");
        add(&batch, BUNDLE_SHARD_MANY, "DEL @2a @1a @1z");
        add(&batch, 0, "GET @0a");
        run_split(s, &batch, walks[i],
                  "+OK\r\n+OK\r\n*4\r\n$4\r\nzero\r\n$3\r\ntwo\r\n$-1\r\n$3\r\ntwo\r\n$-1\r\n:2\r\n"
                  "+OK\r\n:2\r\n$4\r\nzero\r\n");
    }
}

Test(bundle_way, moves_replies_that_outgrow_their_room)
{
    struct session *s = new_session();
    char value[1500], request[1600], expected[3200];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    snprintf(request, sizeof(request), "SET @1a %s", value);
    struct batch set = {0}, get = {0};
    add(&set, 1, request);
    add(&set, 2, "SET @2a x");
    run_split(s, &set, walks[0], "+OK\r\n+OK\r\n");
    add(&get, 1, "GET @1a");
    add(&get, BUNDLE_SHARD_MANY, "MGET @2a @1a");
    snprintf(expected, sizeof(expected), "$1499\r\n%s\r\n*2\r\n$1\r\nx\r\n$1499\r\n%s\r\n", value,
             value);
    run_split(s, &get, walks[3], expected);
}

Test(bundle_way, says_an_error_of_all_parts_once)
{
    struct session *s = new_session();
    struct batch batch = {0};
    add(&batch, BUNDLE_SHARD_MANY, "MSET @0a x @1a");
    add(&batch, 1, "GET @1a");
    run_split(s, &batch, walks[1],
              "-ERR wrong number of arguments for 'mset' command\r\n$-1\r\n");
    cr_expect_eq(server->cores[0]->stats.error_replies, 1);
}

static struct bundle *go_there(struct session *s, struct batch *batch)
{
    struct bundle *b = make(s, BUNDLE_HOP, batch, true);
    bundle_run_hop(server->cores[HOP_TO], &server->cores[HOP_TO]->shard, b);
    return b;
}

Test(bundle_way, hops_there_and_back)
{
    struct session *s = new_session();
    struct batch batch = {0};
    add(&batch, HOP_TO, "SET @1a x");
    add(&batch, HOP_TO, "INCR @1b");
    add(&batch, HOP_TO, "GET @1a");
    cr_expect_eq(s->bundle, NULL);
    cr_expect_eq(go_there(s, &batch), s->bundle);
    receive_at_home();
    cr_expect_null(s->bundle);
    cr_expect_output(s, "+OK\r\n:1\r\n$1\r\nx\r\n");
}

Test(bundle_way, drops_replies_that_the_client_does_not_want)
{
    struct session *s = new_session();
    struct batch batch = {0};
    add(&batch, HOP_TO, "INCR @1b");
    add(&batch, HOP_TO, "INCR @1b");
    s->reply_mode = REPLY_SKIP;
    go_there(s, &batch);
    receive_at_home();
    cr_expect_output(s, ":2\r\n");
    s->reply_mode = REPLY_OFF;
    go_there(s, &batch);
    receive_at_home();
    cr_expect_output(s, "");
}

Test(bundle_way, runs_a_cross_transaction_where_the_last_arrives)
{
    struct session *s = new_session();
    struct batch set = {0}, rename = {0}, get = {0};
    add(&set, 1, "SET @1a x");
    add(&set, 2, "SET @2a y");
    run_split(s, &set, walks[0], "+OK\r\n+OK\r\n");
    add(&rename, BUNDLE_SHARD_MANY, "RENAME @1a @2a");
    bundle_dispatch(server->cores[0], make(s, BUNDLE_CROSS, &rename, true));
    /* The others are released before they arrive, so that this thread does not stand still. */
    uint32_t word = (uint32_t)order_count(server->order);
    atomic_store(&server->cores[1]->released, word);
    atomic_store(&server->cores[2]->released, word);
    walk_log(1);
    walk_log(2);
    cr_expect_output(s, "");
    walk_log(0);
    cr_expect_output(s, "+OK\r\n");
    cr_expect_eq(atomic_load(&server->cores[2]->released), word);
    add(&get, BUNDLE_SHARD_MANY, "MGET @1a @2a");
    run_split(s, &get, walks[5], "*2\r\n$-1\r\n$1\r\nx\r\n");
}

/* Acts on the next entry alone, and stays at it, released. */
static void arrive_at_next(uint32_t self)
{
    struct core *c = server->cores[self];
    uint64_t ticket;
    struct bundle *b = order_next(server->order, self, &ticket);
    cr_assert_not_null(b);
    c->wall_ms = server->cores[0]->wall_ms;
    atomic_store(&c->released, ticket + 1);
    bundle_act(c, &c->shard, b, ticket);
}

Test(bundle_way, carries_those_who_stand_still_on_to_what_is_theirs_alone)
{
    struct session *s[4] = {new_session(), new_session(), new_session(), new_session()};
    struct batch set = {0}, there = {0}, get = {0}, back = {0}, two = {0};
    add(&set, 1, "SET @1a x");
    run_split(s[0], &set, walks[0], "+OK\r\n");
    add(&there, BUNDLE_SHARD_MANY, "RENAME @1a @2a");
    bundle_dispatch(server->cores[0], make(s[0], BUNDLE_CROSS, &there, true));
    add(&get, BUNDLE_SHARD_MANY, "MGET @0a @1a @2a");
    bundle_dispatch(server->cores[0], make(s[1], BUNDLE_SPLIT, &get, true));
    add(&back, BUNDLE_SHARD_MANY, "RENAME @2a @1b");
    bundle_dispatch(server->cores[0], make(s[2], BUNDLE_CROSS, &back, true));
    add(&two, 1, "SET @1c y");
    add(&two, 2, "SET @2c y");
    struct bundle *of_two = make(s[3], BUNDLE_CROSS, &two, true);
    bundle_dispatch(server->cores[0], of_two);
    arrive_at_next(1);
    arrive_at_next(2);
    walk_log(0);
    cr_expect_output(s[0], "+OK\r\n");
    cr_expect_output(s[1], "*3\r\n$-1\r\n$-1\r\n$1\r\nx\r\n");
    cr_expect_output(s[2], "+OK\r\n");
    cr_expect_eq(s[3]->bundle, of_two, "it does not need all who stand still");
    for (uint32_t i = 1; i < CORES; i++) {
        cr_expect_eq(order_cursor(server->order, i), order_count(server->order) - 2);
        arrive_at_next(i);
    }
    receive_at_home();
    cr_expect_null(s[3]->bundle);
}

Test(bundle_way, waits_for_room_in_the_log)
{
    struct core *c = server->cores[0];
    order_destroy(server->order);
    server->order = order_create(CORES, 16);
    struct session *sessions[7];
    for (uint32_t i = 0; i < 7; i++) {
        struct batch batch = {0};
        sessions[i] = new_session();
        add(&batch, 1, "INCR @1a");
        add(&batch, 0, "INCR @0a");
        bundle_dispatch(c, make(sessions[i], BUNDLE_SPLIT, &batch, true));
    }
    cr_expect_eq(order_count(server->order), 5);
    cr_expect_eq(c->deferred_first, sessions[5]->bundle);
    cr_expect_eq(c->deferred_last, sessions[6]->bundle);
    bundle_dispatch_deferred(c);
    cr_expect_eq(order_count(server->order), 5, "nobody has passed an entry");
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < CORES; i++)
            walk_log(i);
        bundle_dispatch_deferred(c);
    }
    cr_expect_eq(order_count(server->order), 7);
    cr_expect_null(c->deferred_first);
    cr_expect_null(c->deferred_last);
    receive_at_home();
    for (int i = 0; i < 7; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), ":%d\r\n:%d\r\n", i + 1, i + 1);
        cr_expect_output(sessions[i], expected);
    }
}

Test(bundle_way, outlives_the_connection_and_ends_its_session)
{
    struct core *c = server->cores[0];
    struct session *s = new_session();
    struct batch batch = {0};
    atomic_fetch_add(&server->session_count, 1);
    add(&batch, HOP_TO, "SET @1a x");
    go_there(s, &batch);
    s->closing = true;
    session_closed(c, s);
    cr_expect_eq(c->session_count, 1, "its bundle is under way");
    receive_at_home();
    cr_expect_eq(c->session_count, 0);
    cr_expect_null(c->sessions);
    cr_expect_eq(c->dispatched, 0);
}

/* A sleeper's shard in the hands of core 0. */

static void put_to_sleep(uint32_t core)
{
    owner_release(&server->cores[core]->owner);
}

static void awaken(uint32_t core)
{
    owner_claim(&server->cores[core]->owner);
}

Test(bundle_way, runs_hops_here_on_the_shard_of_a_core_that_sleeps)
{
    struct core *c = server->cores[0];
    struct session *s = new_session();
    struct batch batch = {0};
    add(&batch, HOP_TO, "SET @1a x");
    add(&batch, HOP_TO, "GET @1a");
    put_to_sleep(HOP_TO);
    bundle_dispatch(c, make(s, BUNDLE_HOP, &batch, true));
    stand_in_send_outgoing(c);
    cr_expect_null(s->bundle);
    cr_expect_output(s, "+OK\r\n$1\r\nx\r\n");
    cr_expect(atomic_load(&server->cores[HOP_TO]->owner) == OWNER_FREE);
    awaken(HOP_TO);
}

Test(bundle_way, walks_the_log_before_it_runs_hops_on_a_borrowed_shard)
{
    struct core *c = server->cores[0];
    struct session *first = new_session(), *second = new_session();
    struct batch set = {0}, get = {0};
    add(&set, HOP_TO, "SET @1a x");
    add(&set, 2, "SET @2a y");
    add(&get, HOP_TO, "GET @1a");
    bundle_dispatch(c, make(first, BUNDLE_SPLIT, &set, true));
    put_to_sleep(HOP_TO);
    bundle_dispatch(c, make(second, BUNDLE_HOP, &get, true));
    stand_in_send_outgoing(c);
    cr_expect_output(second, "$1\r\nx\r\n");
    cr_expect_not_null(first->bundle);
    put_to_sleep(2);
    cr_expect(stand_in_walk(c, 2));
    cr_expect_null(first->bundle);
    cr_expect_output(first, "+OK\r\n+OK\r\n");
    cr_expect_not(order_has_entries(server->order, HOP_TO));
    cr_expect_not(order_has_entries(server->order, 2));
    awaken(HOP_TO);
    awaken(2);
}

Test(bundle_way, leaves_what_stands_still_to_the_owner)
{
    struct core *c = server->cores[0];
    struct session *first = new_session(), *second = new_session();
    struct batch rename = {0}, get = {0};
    add(&rename, BUNDLE_SHARD_MANY, "RENAME @1a @2a");
    add(&get, HOP_TO, "GET @1a");
    bundle_dispatch(c, make(first, BUNDLE_CROSS, &rename, true));
    put_to_sleep(HOP_TO);
    cr_expect_not(stand_in_walk(c, HOP_TO));
    cr_expect_eq(atomic_load(&first->bundle->pending), CORES);
    bundle_dispatch(c, make(second, BUNDLE_HOP, &get, true));
    stand_in_send_outgoing(c);
    cr_expect_not_null(second->bundle);
    awaken(HOP_TO);
    cr_expect(order_has_entries(server->order, HOP_TO));
    uint64_t ticket;
    cr_expect_eq(order_next(server->order, HOP_TO, &ticket), first->bundle);
}

Test(bundle_way, does_not_stand_in_for_a_core_that_is_awake)
{
    cr_expect_not(stand_in_walk(server->cores[0], HOP_TO));
    put_to_sleep(HOP_TO);
    cr_expect(stand_in_walk(server->cores[0], HOP_TO));
    awaken(HOP_TO);
    cr_expect_not(stand_in_walk(server->cores[0], HOP_TO));
}
