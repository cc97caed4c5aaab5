/* What is pending in a group: XPENDING shows it, XCLAIM and XAUTOCLAIM give it to another consumer.
 *
 * The reply of a claim says what was claimed, so nothing of it may fail once a message was: all
 * arguments are checked before. A pending message that was deleted from the stream is no longer
 * pending when a claim comes upon it. */
#include <assert.h>

#include "shard/cmd/stream_group_cmd.h"

/* --- XPENDING --- */

struct pending_args {
    struct stream_id start, end;
    int64_t count;
    int64_t idle_ms;        /* at least; 0: any */
    uint32_t consumer_arg;  /* 0: any */
};

/* Redis checks them in this order. Without IDLE, arguments behind the consumer are ignored. */
static bool read_pending_range(struct call *c, struct pending_args *a)
{
    uint32_t at = 3;
    if (call_arg_is(c, at, "IDLE")) {
        if (!call_arg_integer(c, at + 1, &a->idle_ms))
            return false;
        if (c->argc < 8) {
            reply_error_syntax(&c->reply);
            return false;
        }
        at += 2;
    }
    if (!call_arg_integer(c, at + 2, &a->count) || !stream_arg_bound(c, at, false, &a->start) ||
        !stream_arg_bound(c, at + 1, true, &a->end))
        return false;
    a->consumer_arg = at + 3 < c->argc ? at + 3 : 0;
    return true;
}

static void reply_pending_summary(struct reply *r, const struct stream_group *g)
{
    reply_array(r, 4);
    reply_integer(r, (int64_t)g->pel.count);
    struct stream_id first, last;
    if (!stream_pel_seek(&g->pel, STREAM_ID_MIN, &first)) {
        reply_null(r);
        reply_null(r);
        reply_null_array(r);
        return;
    }
    stream_pel_last(&g->pel, &last);
    stream_reply_id(r, first);
    stream_reply_id(r, last);

    size_t start = stream_array_begin(r), count = 0;
    struct stream_consumer *consumer = NULL;
    while ((consumer = stream_consumer_next(g, consumer))) {
        if (!consumer->pel.count)
            continue;
        reply_array(r, 2);
        reply_bulk(r, stream_consumer_name(consumer));
        reply_bulk_integer(r, (int64_t)consumer->pel.count);
        count++;
    }
    stream_array_end(r, start, count);
}

/* The clock may have been set back since. */
static int64_t idle_of(const struct stream_nack *n, int64_t now_ms)
{
    return now_ms - n->delivered_ms;
}

static void reply_pending_range(struct call *c, const struct rax *pel, const struct pending_args *a)
{
    struct reply *r = &c->reply;
    struct stream_id id, from = a->start;
    struct stream_nack *nack;
    size_t start = stream_array_begin(r);
    int64_t count = 0;
    bool more = true;
    while (more && count < a->count && (nack = stream_pel_seek(pel, from, &id)) &&
           stream_id_compare(id, a->end) <= 0) {
        from = id;
        more = stream_id_increment(&from);
        int64_t idle_ms = idle_of(nack, c->now_ms);
        if (a->idle_ms && idle_ms < a->idle_ms)
            continue;
        reply_array(r, 4);
        stream_reply_id(r, id);
        reply_bulk(r, stream_consumer_name(nack->consumer));
        reply_integer(r, idle_ms < 0 ? 0 : idle_ms);
        reply_integer(r, (int64_t)nack->deliveries);
        count++;
    }
    stream_array_end(r, start, (uint64_t)count);
}

static void xpending(struct call *c)
{
    struct pending_args a = {0};
    bool summary = c->argc == 3;
    if (!summary && (c->argc < 6 || c->argc > 9)) {
        reply_error_syntax(&c->reply);
        return;
    }
    if (!summary && !read_pending_range(c, &a))
        return;
    struct group_place g;
    if (!group_place_require(c, 1, 2, DB_READ, &g))
        return;

    if (summary) {
        reply_pending_summary(&c->reply, g.group);
        return;
    }
    struct stream_consumer *consumer = NULL;
    if (a.consumer_arg)
        consumer = stream_consumer_find(g.group, c->argv[a.consumer_arg]);
    if (a.consumer_arg && !consumer)
        reply_array(&c->reply, 0);
    else
        reply_pending_range(c, consumer ? &consumer->pel : &g.group->pel, &a);
}

/* --- Claiming --- */

struct claim_args {
    int64_t idle_ms;       /* at least; 0: any */
    int64_t delivered_ms;  /* what is said of what was claimed */
    int64_t deliveries;    /* the same; negative: once more than before */
    bool force;            /* what is not pending becomes so */
    bool just_ids;         /* and deliveries stay */
    struct stream_id last_id;
};

/* The time, which is argument 4. */
static bool read_min_idle(struct call *c, struct claim_args *a)
{
    if (!number_parse_integer(c->argv[4], &a->idle_ms)) {
        const char *name = c->command->name;
        reply_error(&c->reply, "ERR Invalid min-idle-time argument for %s",
                    strcmp(name, "xclaim") == 0 ? "XCLAIM" : "XAUTOCLAIM");
        return false;
    }
    if (a->idle_ms < 0)
        a->idle_ms = 0;
    return true;
}

static void reply_claimed(struct call *c, const struct stream *s, struct stream_id id,
                          const struct claim_args *a)
{
    if (a->just_ids) {
        stream_reply_id(&c->reply, id);
        return;
    }
    struct stream_walk w;
    struct stream_id found;
    uint32_t pairs;
    stream_walk_start(&w, s, id, id, false);
    bool there = stream_walk_next(&w, &found, &pairs);
    assert(there);
    stream_reply_message(&c->reply, &w, id, pairs);
}

/* Gives a pending message to the consumer and replies with it. */
static void claim(struct call *c, struct group_place *g, struct stream_nack *nack,
                  struct stream_consumer *consumer, struct stream_id id, const struct claim_args *a,
                  struct group_claims *claims)
{
    stream_pel_touch(g->group, nack, id);
    stream_pel_move(g->group, nack, id, consumer);
    nack->delivered_ms = a->delivered_ms;
    if (a->deliveries >= 0)
        nack->deliveries = (uint64_t)a->deliveries;
    else if (!a->just_ids)
        nack->deliveries++;
    consumer->active_ms = c->now_ms;
    g->changed = true;
    group_claims_add(claims, id, nack);
    reply_claimed(c, g->stream, id, a);
}

/* --- XCLAIM --- */

/* An integer with an error of its own. */
static bool read_claim_integer(struct call *c, uint32_t arg, const char *option, int64_t *value)
{
    if (number_parse_integer(c->argv[arg], value))
        return true;
    reply_error(&c->reply, "ERR Invalid %s option argument for XCLAIM", option);
    return false;
}

/* Clients may compute a time by clocks of their own: one that cannot be counts as this moment. But
 * a journal may be loaded by a clock that has been set back. */
static int64_t clamp_time(const struct call *c, int64_t time_ms)
{
    bool ahead = time_ms > c->now_ms && !c->keyspace->options.loading;
    return time_ms < 0 || ahead ? c->now_ms : time_ms;
}

/* Reads the option at *i and moves *i to its last argument; false having replied. */
static bool read_claim_option(struct call *c, uint32_t *i, struct claim_args *a)
{
    uint32_t at = *i;
    bool operand = at + 1 < c->argc;
    if (call_arg_is(c, at, "FORCE")) {
        a->force = true;
        return true;
    }
    if (call_arg_is(c, at, "JUSTID")) {
        a->just_ids = true;
        return true;
    }
    *i += 1;
    int64_t ms;
    if (operand && call_arg_is(c, at, "IDLE")) {
        if (!read_claim_integer(c, at + 1, "IDLE", &ms))
            return false;
        if (__builtin_sub_overflow(c->now_ms, ms, &ms))
            ms = c->now_ms;
        a->delivered_ms = clamp_time(c, ms);
        return true;
    }
    if (operand && call_arg_is(c, at, "TIME")) {
        if (!read_claim_integer(c, at + 1, "TIME", &ms))
            return false;
        a->delivered_ms = clamp_time(c, ms);
        return true;
    }
    if (operand && call_arg_is(c, at, "RETRYCOUNT"))
        return read_claim_integer(c, at + 1, "RETRYCOUNT", &a->deliveries);
    if (operand && call_arg_is(c, at, "LASTID"))
        return stream_arg_id(c, at + 1, 0, &a->last_id);
    reply_error(&c->reply, "ERR Unrecognized XCLAIM option '%.*s'", (int)c->argv[at].size,
                c->argv[at].data);
    return false;
}

/* The ids, up to the first argument that is none, and the options behind them. */
static bool read_claim(struct call *c, struct claim_args *a, struct stream_ids *ids)
{
    stream_ids_init(ids, c->argc - 5);
    uint32_t i = 5;
    while (i < c->argc && stream_id_parse(c->argv[i], 0, &ids->ids[i - 5]))
        i++;
    ids->count = i - 5;
    for (; i < c->argc; i++) {
        if (!read_claim_option(c, &i, a)) {
            stream_ids_deinit(ids);
            return false;
        }
    }
    return true;
}

/* Claims a message if it can be; false, without a reply, where it cannot. */
static bool claim_id(struct call *c, struct group_place *g, struct stream_consumer *consumer,
                     struct stream_id id, const struct claim_args *a, struct group_claims *claims)
{
    if (!stream_find(g->stream, id)) {
        if (stream_pel_ack(g->group, id)) {
            stream_tell_acked(c, &g->place, c->argv[2], id);
            g->changed = true;
        }
        return false;
    }
    struct stream_nack *nack = stream_pel_find(&g->group->pel, id);
    if (!nack && !a->force)
        return false;
    if (!nack)
        nack = stream_pel_deliver(g->group, consumer, id, c->now_ms);
    else if (a->idle_ms && idle_of(nack, c->now_ms) < a->idle_ms)
        return false;
    claim(c, g, nack, consumer, id, a, claims);
    return true;
}

static void xclaim(struct call *c)
{
    struct group_place g;
    struct claim_args a = {.delivered_ms = c->now_ms, .deliveries = -1};
    struct stream_ids ids;
    if (!group_place_require(c, 1, 2, DB_UPDATE, &g) || !read_min_idle(c, &a) ||
        !read_claim(c, &a, &ids))
        return;

    if (stream_id_compare(a.last_id, g.group->last_id) > 0) {
        g.group->last_id = a.last_id;
        group_place_tell_read(c, &g);
        g.changed = true;
    }
    struct stream_consumer *consumer = group_place_consumer(c, &g, c->argv[3]);
    struct group_claims claims;
    group_claims_start(&claims, c, &g, consumer);
    size_t start = stream_array_begin(&c->reply), count = 0;
    for (uint32_t i = 0; i < ids.count; i++)
        count += claim_id(c, &g, consumer, ids.ids[i], &a, &claims);
    stream_array_end(&c->reply, start, count);
    group_claims_end(&claims);
    stream_ids_deinit(&ids);
    group_place_keep(c, &g);
}

/* --- XAUTOCLAIM --- */

#define AUTOCLAIM_COUNT 100
#define AUTOCLAIM_COUNT_MAX (INT64_MAX / 16)
/* It looks at so many pending messages for each one that it may claim. */
#define AUTOCLAIM_ATTEMPTS 10

static bool read_autoclaim(struct call *c, struct claim_args *a, struct stream_id *start,
                           int64_t *count)
{
    if (!read_min_idle(c, a) || !stream_arg_bound(c, 5, false, start))
        return false;
    for (uint32_t i = 6; i < c->argc; i++) {
        if (i + 1 < c->argc && call_arg_is(c, i, "COUNT")) {
            i++;
            if (!number_parse_integer(c->argv[i], count) || *count < 1 ||
                *count > AUTOCLAIM_COUNT_MAX) {
                reply_error(&c->reply, "ERR COUNT must be > 0");
                return false;
            }
        } else if (call_arg_is(c, i, "JUSTID")) {
            a->just_ids = true;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

/* A walk over what is pending, of which a part is claimed. */
struct autoclaim {
    struct stream_id next; /* where it goes on */
    bool ended;
    uint64_t claimed, gone;
    struct reply gone_ids; /* those that are deleted from the stream */
    struct group_claims claims;
};

/* Claims from w->next on, `count` at most. The messages claimed go to the reply. */
static void claim_walk(struct call *c, struct group_place *g, struct stream_consumer *consumer,
                       const struct claim_args *a, int64_t count, struct autoclaim *w)
{
    int64_t attempts = count * AUTOCLAIM_ATTEMPTS;
    for (; attempts > 0 && count > 0 && !w->ended; attempts--) {
        struct stream_id id;
        struct stream_nack *nack = stream_pel_seek(&g->group->pel, w->next, &id);
        if (!nack) {
            w->ended = true;
            return;
        }
        w->next = id;
        w->ended = !stream_id_increment(&w->next);
        if (!stream_find(g->stream, id)) {
            stream_pel_ack(g->group, id);
            stream_tell_acked(c, &g->place, c->argv[2], id);
            stream_reply_id(&w->gone_ids, id);
            g->changed = true;
            w->gone++;
            count--;
        } else if (!a->idle_ms || idle_of(nack, c->now_ms) >= a->idle_ms) {
            claim(c, g, nack, consumer, id, a, &w->claims);
            w->claimed++;
            count--;
        }
    }
}

/* Where the next call is to start: 0-0 at the end. */
static struct stream_id next_pending(const struct stream_group *g, const struct autoclaim *w)
{
    struct stream_id id;
    return !w->ended && stream_pel_seek(&g->pel, w->next, &id) ? id : STREAM_ID_MIN;
}

static void xautoclaim(struct call *c)
{
    struct claim_args a = {.delivered_ms = c->now_ms, .deliveries = -1};
    struct autoclaim w = {0};
    int64_t count = AUTOCLAIM_COUNT;
    struct group_place g;
    if (!read_autoclaim(c, &a, &w.next, &count) || !group_place_require(c, 1, 2, DB_UPDATE, &g))
        return;

    struct buf gone, claimed;
    buf_init(&gone);
    buf_init(&claimed);
    w.gone_ids = (struct reply){.out = &gone, .protocol = c->reply.protocol};
    struct buf *out = c->reply.out;
    c->reply.out = &claimed;
    struct stream_consumer *consumer = group_place_consumer(c, &g, c->argv[3]);
    group_claims_start(&w.claims, c, &g, consumer);
    claim_walk(c, &g, consumer, &a, count, &w);
    group_claims_end(&w.claims);
    c->reply.out = out;

    reply_array(&c->reply, 3);
    stream_reply_id(&c->reply, next_pending(g.group, &w));
    reply_array(&c->reply, w.claimed);
    buf_append_slice(out, buf_slice(&claimed));
    reply_array(&c->reply, w.gone);
    buf_append_slice(out, buf_slice(&gone));
    buf_deinit(&gone);
    buf_deinit(&claimed);
    group_place_keep(c, &g);
}

const struct command stream_claim_commands[] = {
    {
        .name = "xpending",
        .run = xpending,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) with N the number of messages returned; with IDLE, of messages looked "
                      "at. The summary is O(C) with C the number of consumers.",
        .syntax = "key group [[IDLE min-idle-time] start end count [consumer]]",
        .summary = "Returns which messages are pending in a consumer group, or how many.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "xclaim",
        .run = xclaim,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(log N) with N the number of messages pending in the consumer group.",
        .syntax = "key group consumer min-idle-time id [id ...] [IDLE ms] "
                  "[TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] "
                  "[LASTID lastid]",
        .summary = "Gives messages that are pending in a consumer group to another consumer.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "xautoclaim",
        .run = xautoclaim,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "stream",
        .since = "6.2.0",
        .complexity = "O(1) if COUNT is small.",
        .syntax = "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        .summary = "Gives messages that have been pending in a consumer group for long to another "
                   "consumer, going on from where the last call ended.",
        .tips = "nondeterministic_output",
    },
    {0},
};
