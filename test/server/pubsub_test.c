/* Subscriptions and messages against a simple model, without threads: all cores are this thread's.
 * What a session would send is compared to the byte. */
#include "server/pubsub.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/glob.h"
#include "server/server.h"
#include "server/session.h"

#define CORES 3
#define SESSIONS 5 /* a core */
#define NAMES 8    /* a kind */
#define STEPS 20000

static const char *const names[PUBSUB_KINDS][NAMES] = {
    {"a", "b", "ab", "a1", "b1", "c", "", "abc"},
    {"a", "b*", "c?", "ab*", "a[0-9]", "", "\\*", "nothing*"}, /* each name matches one at most */
    {"a", "b", "ab", "a1", "b1", "c", "", "abc"},
};

struct model {
    struct session *session;
    bool has[PUBSUB_KINDS][NAMES];
    struct buf expected;
};

static struct model models[CORES][SESSIONS];
static uint64_t random_state;

static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % bound;
}

static void start(void)
{
    struct config config;
    char error[256];
    config_init(&config);
    config.shards = CORES;
    cr_assert(server_create(&config, error, sizeof(error)), "%s", error);
    config_deinit(&config);
    for (uint32_t i = 0; i < CORES; i++)
        for (uint32_t k = 0; k < SESSIONS; k++) {
            models[i][k] = (struct model){
                .session = session_create(server->cores[i], -1, i * SESSIONS + k + 1)};
            models[i][k].session->protocol = 2 + k % 2;
        }
}

/* All that the session would send, in order. */
static struct buf output_of(const struct session *s)
{
    struct buf b;
    buf_init(&b);
    for (const struct output_chunk *chunk = s->chunks; chunk; chunk = chunk->next)
        buf_append_slice(&b, buf_slice(&chunk->buf));
    if (s->pending)
        buf_append(&b, s->pending->bytes, s->pending->size);
    buf_append_slice(&b, buf_slice(&s->out));
    return b;
}

static void check_output(struct core *c, struct model *m)
{
    struct buf got = output_of(m->session);
    cr_assert(slice_equal(buf_slice(&got), buf_slice(&m->expected)), "session %d: %.*s\nnot %.*s",
              (int)m->session->id, (int)got.size, got.data, (int)m->expected.size,
              m->expected.data);
    cr_assert_eq(session_output_size(m->session), got.size);
    buf_deinit(&got);
    buf_deinit(&m->expected);
    session_drop_output(c, m->session);
}

static void stop(void)
{
    for (uint32_t i = 0; i < CORES; i++) {
        struct core *c = server->cores[i];
        pubsub_deliver(c);
        for (uint32_t k = 0; k < SESSIONS; k++) {
            check_output(c, &models[i][k]);
            session_closed(c, models[i][k].session);
        }
        for (unsigned kind = 0; kind < PUBSUB_KINDS; kind++)
            cr_assert_eq(pubsub_topic_count(c, (enum pubsub_kind)kind), 0);
        pubsub_finish(c);
    }
    struct core_mask mask;
    pubsub_interest(SLICE("a"), false, &mask);
    cr_assert(core_mask_empty(&mask));
    pubsub_interest(SLICE("a"), true, &mask);
    cr_assert(core_mask_empty(&mask));
    server_destroy();
}

TestSuite(pubsub, .init = start, .fini = stop);

static void expect(struct model *m, const char *word, const char *pattern, struct slice channel,
                   struct slice text)
{
    struct reply r = {.out = &m->expected, .protocol = m->session->protocol};
    reply_push(&r, pattern ? 4 : 3);
    reply_bulk_text(&r, word);
    if (pattern)
        reply_bulk_text(&r, pattern);
    reply_bulk(&r, channel);
    reply_bulk(&r, text);
}

/* What the sessions of a core get; returns how many receive it. */
static uint32_t expect_message(uint32_t core, uint32_t name, struct slice text, bool sharded)
{
    enum pubsub_kind kind = sharded ? PUBSUB_SHARD_CHANNEL : PUBSUB_CHANNEL;
    struct slice channel = slice_of(names[kind][name]);
    uint32_t n = 0;
    for (uint32_t k = 0; k < SESSIONS; k++) {
        struct model *m = &models[core][k];
        if (m->has[kind][name]) {
            expect(m, sharded ? "smessage" : "message", NULL, channel, text);
            n++;
        }
        for (uint32_t i = 0; i < NAMES && !sharded; i++) {
            const char *pattern = names[PUBSUB_PATTERN][i];
            if (!m->has[PUBSUB_PATTERN][i] || !glob_match(slice_of(pattern), channel, false))
                continue;
            expect(m, "pmessage", pattern, channel, text);
            n++;
        }
    }
    return n;
}

static void publish(uint32_t name, struct slice text, bool sharded)
{
    struct slice channel = slice_of(names[PUBSUB_CHANNEL][name]);
    struct core_mask mask;
    pubsub_interest(channel, sharded, &mask);
    for (uint32_t i = 0; i < CORES; i++) {
        uint32_t n = expect_message(i, name, text, sharded);
        cr_assert(n == 0 || core_mask_has(&mask, i), "a core with subscribers is not asked");
        cr_assert_eq(pubsub_count(server->cores[i], channel, sharded), n);
        cr_assert_eq(pubsub_post(server->cores[i], channel, text, sharded), n);
    }
}

static void change(uint32_t core, uint32_t k, enum pubsub_kind kind, uint32_t name, bool join)
{
    struct core *c = server->cores[core];
    struct model *m = &models[core][k];
    struct slice text = slice_of(names[kind][name]);
    pubsub_settle(c, m->session, false);
    bool changed = join ? pubsub_join(c, m->session, kind, text)
                        : pubsub_part(c, m->session, kind, text);
    cr_assert_eq(changed, m->has[kind][name] != join);
    m->has[kind][name] = join;
    uint32_t count = 0;
    for (uint32_t i = 0; i < NAMES; i++)
        count += m->has[kind][i];
    cr_assert_eq(pubsub_subscription_count(m->session, kind), count);
}

static void step(const char *long_text)
{
    uint32_t core = random_below(CORES), k = random_below(SESSIONS), name = random_below(NAMES);
    enum pubsub_kind kind = (enum pubsub_kind)random_below(PUBSUB_KINDS);
    switch (random_below(16)) {
    case 0:
    case 1:
        change(core, k, kind, name, true);
        break;
    case 2:
        change(core, k, kind, name, false);
        break;
    case 3:
        pubsub_deliver(server->cores[core]);
        break;
    case 4:
        pubsub_deliver(server->cores[core]);
        check_output(server->cores[core], &models[core][k]);
        break;
    case 5:
        pubsub_leave(server->cores[core], models[core][k].session);
        memset(models[core][k].has, 0, sizeof(models[core][k].has));
        break;
    default:
        publish(name, (struct slice){long_text, random_below(8) ? random_below(100)
                                                                : random_below(9000)},
                random_below(4) == 0);
    }
}

Test(pubsub, a_random_run_gives_each_session_the_bytes_of_a_simple_model)
{
    static char text[9000];
    for (uint32_t i = 0; i < sizeof(text); i++)
        text[i] = (char)random_below(256);
    random_state = 7;
    for (uint32_t i = 0; i < STEPS; i++)
        step(text);
}

Test(pubsub, messages_side_by_side_to_one_channel_are_one_piece_for_all)
{
    for (uint32_t k = 0; k < SESSIONS; k++)
        change(0, k, PUBSUB_CHANNEL, 0, true);
    for (uint32_t i = 0; i < 100; i++)
        publish(0, SLICE("hello"), false);
    pubsub_deliver(server->cores[0]);
    const struct output_shared *shared = models[0][0].session->pending;
    cr_assert_not_null(shared);
    cr_assert_eq(shared, models[0][2].session->pending);
    cr_assert_eq(models[0][0].session->out.cap, 0);
    cr_assert_eq(shared->references, (SESSIONS + 1) / 2, "the other protocol has another");
}

Test(pubsub, what_is_held_back_comes_behind_the_reply_in_the_order_published)
{
    struct core *c = server->cores[0];
    struct model *m = &models[0][0];
    change(0, 0, PUBSUB_CHANNEL, 0, true);
    pubsub_settle(c, m->session, true);
    publish(0, SLICE("1"), false);
    publish(1, SLICE("x"), false);
    publish(0, SLICE("2"), false);
    pubsub_settle(c, m->session, true);
    publish(0, SLICE("3"), false);

    struct buf before = output_of(m->session);
    cr_assert_eq(before.size, 0);
    size_t mark;
    buf_append_text(session_reply_begin(c, m->session, &mark), "+reply\r\n");
    struct buf messages = m->expected;
    buf_init(&m->expected);
    buf_append_text(&m->expected, "+reply\r\n");
    buf_append_slice(&m->expected, buf_slice(&messages));
    buf_deinit(&messages);
    pubsub_deliver(c);
}
