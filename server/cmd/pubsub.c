/* SUBSCRIBE, PUBLISH and their kin: see server/pubsub.h.
 *
 * SUBSCRIBE and UNSUBSCRIBE run on the session's core. PUBLISH runs where somebody may have
 * subscribed. PUBSUB asks all cores; what several of them have is told apart by its hash. */
#include "server/pubsub.h"

#include <stdlib.h>

#include "proto/glob.h"
#include "server/cmd/tables.h"
#include "server/server.h"
#include "server/session.h"
#include "shard/call.h"

/* --- Subscribing --- */

static uint32_t count_of(const struct session *s, enum pubsub_kind kind)
{
    if (kind == PUBSUB_SHARD_CHANNEL)
        return pubsub_subscription_count(s, kind);
    return pubsub_subscription_count(s, PUBSUB_CHANNEL) +
           pubsub_subscription_count(s, PUBSUB_PATTERN);
}

static void reply_change(struct call *c, const char *word, const struct slice *name,
                         enum pubsub_kind kind)
{
    reply_push(&c->reply, 3);
    reply_bulk_text(&c->reply, word);
    if (name)
        reply_bulk(&c->reply, *name);
    else
        reply_null(&c->reply);
    reply_integer(&c->reply, count_of(c->session, kind));
}

static bool is_within(const struct call *c)
{
    return !c->may_wait;
}

/* These replies are pushes: CLIENT REPLY does not hold them back. */
static void settle(struct call *c)
{
    pubsub_settle(core_self(), c->session, is_within(c));
    c->session->pushed = c->session->reply_mode != REPLY_ON;
}

static void subscribe(struct call *c, enum pubsub_kind kind, const char *word)
{
    settle(c);
    for (uint32_t i = 1; i < c->argc; i++) {
        pubsub_join(core_self(), c->session, kind, c->argv[i]);
        reply_change(c, word, &c->argv[i], kind);
    }
    session_restrict(c->session);
}

static void unsubscribe_all(struct call *c, enum pubsub_kind kind, const char *word)
{
    struct core *core = core_self();
    struct slice name;
    if (!pubsub_oldest(c->session, kind, &name))
        reply_change(c, word, NULL, kind);
    while (pubsub_oldest(c->session, kind, &name)) {
        struct buf copy;
        buf_init(&copy);
        buf_append_slice(&copy, name);
        name = buf_slice(&copy);
        pubsub_part(core, c->session, kind, name);
        reply_change(c, word, &name, kind);
        buf_deinit(&copy);
    }
}

static void unsubscribe(struct call *c, enum pubsub_kind kind, const char *word)
{
    settle(c);
    if (c->argc == 1)
        unsubscribe_all(c, kind, word);
    for (uint32_t i = 1; i < c->argc; i++) {
        pubsub_part(core_self(), c->session, kind, c->argv[i]);
        reply_change(c, word, &c->argv[i], kind);
    }
    session_restrict(c->session);
}

static void run_subscribe(struct call *c)
{
    subscribe(c, PUBSUB_CHANNEL, "subscribe");
}

static void run_psubscribe(struct call *c)
{
    subscribe(c, PUBSUB_PATTERN, "psubscribe");
}

static void run_ssubscribe(struct call *c)
{
    if (is_within(c)) {
        reply_error(&c->reply, "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
        return;
    }
    subscribe(c, PUBSUB_SHARD_CHANNEL, "ssubscribe");
}

static void run_unsubscribe(struct call *c)
{
    unsubscribe(c, PUBSUB_CHANNEL, "unsubscribe");
}

static void run_punsubscribe(struct call *c)
{
    unsubscribe(c, PUBSUB_PATTERN, "punsubscribe");
}

static void run_sunsubscribe(struct call *c)
{
    unsubscribe(c, PUBSUB_SHARD_CHANNEL, "sunsubscribe");
}

/* --- Publishing --- */

static void reach_subscribers(struct session *s, const struct slice *argv, uint32_t argc,
                              struct core_mask *mask)
{
    pubsub_interest(argv[1], false, mask);
}

static void reach_shard_subscribers(struct session *s, const struct slice *argv, uint32_t argc,
                                    struct core_mask *mask)
{
    pubsub_interest(argv[1], true, mask);
}

/* A core that sleeps is to send what others have put into its inbox. */
static void post(struct call *c, uint32_t to, bool sharded)
{
    struct core *self = core_self();
    uint32_t receivers = pubsub_post(server->cores[to], c->argv[1], c->argv[2], sharded);
    c->value += receivers;
    if (receivers && to != self->index)
        core_mask_add(&self->waking, to);
}

static void publish(struct call *c, bool sharded)
{
    if (c->shard)
        post(c, c->shard->index, sharded);
    for (uint32_t i = 0; !c->shard && i < server->core_count; i++)
        if (c->shards[i])
            post(c, i, sharded);
}

static void run_publish(struct call *c)
{
    publish(c, false);
}

static void run_spublish(struct call *c)
{
    publish(c, true);
}

/* --- Asking --- */

/* What a part of a list leaves of each topic; behind it stands the name. */
struct record {
    uint64_t hash;
    uint64_t size;
};

struct lister {
    struct buf *to;
    const struct slice *pattern; /* NULL: all */
    bool named;
};

static void list_topic(void *context, struct slice name, uint64_t hash)
{
    const struct lister *l = context;
    if (l->pattern && !glob_match(*l->pattern, name, false))
        return;
    struct record r = {hash, l->named ? name.size : 0};
    buf_append(l->to, &r, sizeof(r));
    buf_append(l->to, name.data, r.size);
}

static void list_topics(struct call *c, enum pubsub_kind kind, bool named)
{
    struct lister l = {c->reply.out, c->argc > 2 ? &c->argv[2] : NULL, named};
    pubsub_visit(server->cores[c->shard->index], kind, list_topic, &l);
}

static void list_channels(struct call *c, enum pubsub_kind kind)
{
    if (c->argc > 3)
        reply_error(&c->reply,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try PUBSUB "
                    "HELP.",
                    (int)c->argv[1].size, c->argv[1].data);
    else
        list_topics(c, kind, true);
}

static void run_channels(struct call *c)
{
    list_channels(c, PUBSUB_CHANNEL);
}

static void run_shardchannels(struct call *c)
{
    list_channels(c, PUBSUB_SHARD_CHANNEL);
}

static void run_numpat(struct call *c)
{
    list_topics(c, PUBSUB_PATTERN, false);
}

struct found {
    uint64_t hash;
    struct slice name;
};

static int compare_found(const void *a, const void *b)
{
    uint64_t x = ((const struct found *)a)->hash, y = ((const struct found *)b)->hash;
    return (x > y) - (x < y);
}

/* The records of a part, into `to` where it is not NULL. Returns how many. */
static size_t read_section(const struct split_section *x, struct found *to)
{
    size_t n = 0;
    struct record r;
    for (size_t at = 0; at < x->size; at += sizeof(r) + r.size) {
        memcpy(&r, x->data + at, sizeof(r));
        if (to)
            to[n] = (struct found){r.hash, {x->data + at + sizeof(r), r.size}};
        n++;
    }
    return n;
}

/* What the parts have found, each topic once. */
static struct found *gather_found(const struct split_parts *parts, size_t *count)
{
    size_t all = 0, n = 0;
    for (uint32_t i = 0; i < parts->count; i++)
        all += read_section(&parts->sections[i], NULL);
    struct found *found = arena_alloc(&core_self()->arena, (all + 1) * sizeof(*found));
    for (uint32_t i = 0; i < parts->count; i++)
        n += read_section(&parts->sections[i], found + n);
    *count = n;
    if (parts->count == 1)
        return found;
    qsort(found, all, sizeof(*found), compare_found);
    n = 0;
    for (size_t i = 0; i < all; i++)
        if (i == 0 || found[i].hash != found[i - 1].hash)
            found[n++] = found[i];
    *count = n;
    return found;
}

static void merge_channels(struct call *c, const struct split_parts *parts)
{
    size_t count;
    const struct found *found = gather_found(parts, &count);
    reply_array(&c->reply, count);
    for (size_t i = 0; i < count; i++)
        reply_bulk(&c->reply, found[i].name);
}

static void merge_numpat(struct call *c, const struct split_parts *parts)
{
    size_t count;
    gather_found(parts, &count);
    reply_integer(&c->reply, (int64_t)count);
}

static void count_subscribers(struct call *c, bool sharded)
{
    const struct core *core = server->cores[c->shard->index];
    for (uint32_t i = 2; i < c->argc; i++) {
        uint32_t n = pubsub_subscribers(core, c->argv[i], sharded);
        buf_append(c->reply.out, &n, sizeof(n));
    }
}

static void run_numsub(struct call *c)
{
    count_subscribers(c, false);
}

static void run_shardnumsub(struct call *c)
{
    count_subscribers(c, true);
}

static void merge_numsub(struct call *c, const struct split_parts *parts)
{
    uint32_t names = c->argc - 2;
    reply_array(&c->reply, (size_t)names * 2);
    for (uint32_t i = 0; i < names; i++) {
        int64_t sum = 0;
        for (uint32_t k = 0; k < parts->count; k++) {
            uint32_t n;
            memcpy(&n, parts->sections[k].data + i * sizeof(n), sizeof(n));
            sum += n;
        }
        reply_bulk(&c->reply, c->argv[i + 2]);
        reply_integer(&c->reply, sum);
    }
}

static void run_help(struct call *c)
{
    static const char *const lines[] = {
        "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHANNELS [<pattern>]",
        "    Return the channels with subscribers, of those matching <pattern>.",
        "NUMPAT",
        "    Return how many different patterns are subscribed to.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers of each channel, patterns not counted.",
        "SHARDCHANNELS [<pattern>]",
        "    Return the shard channels with subscribers, of those matching <pattern>.",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers of each shard channel.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

/* --- Rows --- */

#define USUAL (CMD_LOADING | CMD_STALE)
#define PUBSUB(f) .flags = CMD_PUBSUB | USUAL | (f), .group = "pubsub"
#define CHANGES(body, n)                                                              \
    .run = body, .arity = n, .route = ROUTE_SESSION, PUBSUB(CMD_NOSCRIPT | CMD_FOR_LISTENERS | \
                                                            CMD_SENTINEL)
#define SUBCOMMAND(word, body, n) .name = word, .run = body, .arity = n, .group = "pubsub"
#define ON_ALL(f) .route = ROUTE_ALL, .split = SPLIT_MERGE, .flags = CMD_PUBSUB | USUAL, .merge = f

static const struct command pubsub_subcommands[] = {
    {SUBCOMMAND("channels", run_channels, -2), ON_ALL(merge_channels), .since = "2.8.0",
     .complexity = "O(N) where N is the number of active channels, and assuming constant time "
                   "pattern matching (relatively short channels and patterns)",
     .syntax = "[pattern]", .summary = "Lists the channels that have subscribers."},
    {SUBCOMMAND("help", run_help, 2), .route = ROUTE_SESSION, .flags = USUAL, .since = "6.2.0",
     .complexity = "O(1)", .syntax = "", .summary = "Explains the subcommands."},
    {SUBCOMMAND("numpat", run_numpat, 2), ON_ALL(merge_numpat), .since = "2.8.0",
     .complexity = "O(1)", .syntax = "",
     .summary = "Returns the number of different patterns subscribed to."},
    {SUBCOMMAND("numsub", run_numsub, -2), ON_ALL(merge_numsub), .since = "2.8.0",
     .complexity = "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
     .syntax = "[channel [channel ...]]",
     .summary = "Returns the number of subscribers of channels."},
    {SUBCOMMAND("shardchannels", run_shardchannels, -2), ON_ALL(merge_channels), .since = "7.0.0",
     .complexity = "O(N) where N is the number of active shard channels, and assuming constant "
                   "time pattern matching (relatively short shard channels).",
     .syntax = "[pattern]", .summary = "Lists the shard channels that have subscribers."},
    {SUBCOMMAND("shardnumsub", run_shardnumsub, -2), ON_ALL(merge_numsub), .since = "7.0.0",
     .complexity = "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard "
                   "channels",
     .syntax = "[shardchannel [shardchannel ...]]",
     .summary = "Returns the number of subscribers of shard channels."},
    {.name = NULL},
};

const struct command pubsub_commands[] = {
    {.name = "subscribe", CHANGES(run_subscribe, -2), .since = "2.0.0",
     .complexity = "O(N) where N is the number of channels to subscribe to.",
     .syntax = "channel [channel ...]", .summary = "Listens to channels."},
    {.name = "unsubscribe", CHANGES(run_unsubscribe, -1), .since = "2.0.0",
     .complexity = "O(N) where N is the number of channels to unsubscribe.",
     .syntax = "[channel [channel ...]]", .summary = "Stops listening to channels, or to all."},
    {.name = "psubscribe", CHANGES(run_psubscribe, -2), .since = "2.0.0",
     .complexity = "O(N) where N is the number of patterns to subscribe to.",
     .syntax = "pattern [pattern ...]", .summary = "Listens to all channels that match patterns."},
    {.name = "punsubscribe", CHANGES(run_punsubscribe, -1), .since = "2.0.0",
     .complexity = "O(N) where N is the number of patterns to unsubscribe.",
     .syntax = "[pattern [pattern ...]]",
     .summary = "Stops listening to what matches patterns, or to all of them."},
    {.name = "ssubscribe", CHANGES(run_ssubscribe, -2), .keys = KEYS_ALL(KEY_NOT_KEY),
     .since = "7.0.0",
     .complexity = "O(N) where N is the number of shard channels to subscribe to.",
     .syntax = "shardchannel [shardchannel ...]", .summary = "Listens to shard channels."},
    {.name = "sunsubscribe", CHANGES(run_sunsubscribe, -1), .keys = KEYS_ALL(KEY_NOT_KEY),
     .since = "7.0.0", .complexity = "O(N) where N is the number of shard channels to unsubscribe.",
     .syntax = "[shardchannel [shardchannel ...]]",
     .summary = "Stops listening to shard channels, or to all."},
    {.name = "publish", .run = run_publish, .arity = 3, .route = ROUTE_ALL, .split = SPLIT_SUM,
     PUBSUB(CMD_FAST | CMD_MAY_REPLICATE | CMD_SENTINEL), .reach = reach_subscribers,
     .since = "2.0.0",
     .complexity = "O(N+M) where N is the number of clients subscribed to the receiving channel "
                   "and M is the total number of subscribed patterns (by any client).",
     .syntax = "channel message", .summary = "Sends a message to those who listen to a channel."},
    {.name = "spublish", .run = run_spublish, .arity = 3, .route = ROUTE_ALL, .split = SPLIT_SUM,
     PUBSUB(CMD_FAST | CMD_MAY_REPLICATE), .keys = KEYS_ONE(KEY_NOT_KEY),
     .reach = reach_shard_subscribers, .since = "7.0.0",
     .complexity = "O(N) where N is the number of clients subscribed to the receiving shard "
                   "channel.",
     .syntax = "shardchannel message",
     .summary = "Sends a message to those who listen to a shard channel."},
    {.name = "pubsub", .arity = -2, .route = ROUTE_SESSION, .group = "pubsub", .since = "2.8.0",
     .complexity = "Depends on subcommand.", .syntax = "",
     .summary = "A container for commands on subscriptions.", .subcommands = pubsub_subcommands},
    {.name = NULL},
};
