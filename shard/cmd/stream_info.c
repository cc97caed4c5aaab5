/* XINFO: what a stream, its groups and their consumers look like. A container command; its rows are
 * the subcommands. */
#include "shard/cmd/stream_group_cmd.h"

/* Finds the stream of a subcommand; false, having replied, where there is none. */
static bool find_stream(struct call *c, struct place *p, struct value *v)
{
    if (!db_find_type(c, 2, DB_READ, TYPE_STREAM, p))
        return false;
    if (!p->entry) {
        reply_error(&c->reply, "ERR no such key");
        return false;
    }
    *v = db_value(p, TYPE_STREAM);
    return true;
}

static void reply_field(struct reply *r, const char *name, int64_t value)
{
    reply_bulk_text(r, name);
    reply_integer(r, value);
}

static void reply_id_field(struct reply *r, const char *name, struct stream_id id)
{
    reply_bulk_text(r, name);
    stream_reply_id(r, id);
}

static void reply_name(struct reply *r, struct slice name)
{
    reply_bulk_text(r, "name");
    reply_bulk(r, name);
}

static void reply_known(struct reply *r, const char *name, bool known, int64_t value)
{
    reply_bulk_text(r, name);
    if (known)
        reply_integer(r, value);
    else
        reply_null(r);
}

/* What a group has read and has yet to read: null where that is unknown. */
static void reply_progress(struct reply *r, const struct stream *s, const struct stream_group *g)
{
    int64_t lag;
    bool known = stream_group_lag(s, g, &lag);
    reply_known(r, "entries-read", g->entries_read != STREAM_UNKNOWN, g->entries_read);
    reply_known(r, "lag", known, lag);
}

/* --- STREAM --- */

#define FULL_COUNT 10

/* FULL, and its COUNT: 0 for all; *full stays false where neither is given. */
static bool read_full(struct call *c, bool *full, uint64_t *count)
{
    *full = c->argc > 3;
    *count = FULL_COUNT;
    if (!*full)
        return true;
    bool counted = c->argc == 6 && call_arg_is(c, 4, "COUNT");
    if (!call_arg_is(c, 3, "FULL") || (c->argc != 4 && !counted)) {
        struct slice word = c->argv[1];
        reply_error(&c->reply,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. "
                    "Try XINFO HELP.",
                    (int)(word.size < 128 ? word.size : 128), word.data);
        return false;
    }
    int64_t given;
    if (counted && !call_arg_integer(c, 5, &given))
        return false;
    if (counted && given >= 0)
        *count = (uint64_t)given;
    return true;
}

static void reply_stream_head(struct reply *r, const struct stream *s)
{
    reply_field(r, "length", (int64_t)s->length);
    reply_field(r, "radix-tree-keys", (int64_t)s->nodes.count);
    reply_field(r, "radix-tree-nodes", (int64_t)s->nodes.nodes);
    reply_id_field(r, "last-generated-id", s->last_id);
    reply_id_field(r, "max-deleted-entry-id", s->max_deleted_id);
    reply_field(r, "entries-added", (int64_t)s->entries_added);
    reply_id_field(r, "recorded-first-entry-id", s->first_id);
}

/* The first message or, `reverse`, the last one: null in an empty stream. */
static void reply_edge(struct reply *r, const struct stream *s, bool reverse)
{
    struct stream_walk w;
    struct stream_id id;
    uint32_t pairs;
    stream_walk_start(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, reverse);
    if (stream_walk_next(&w, &id, &pairs))
        stream_reply_message(r, &w, id, pairs);
    else
        reply_null(r);
}

/* What is pending, at most `max` of it (0: all): in a group with the consumers' names. */
static void reply_pel(struct reply *r, const struct rax *pel, uint64_t max, bool names)
{
    struct stream_id id, from = STREAM_ID_MIN;
    struct stream_nack *nack;
    uint64_t left = max && max < pel->count ? max : pel->count;
    reply_bulk_text(r, "pending");
    reply_array(r, left);
    for (; left && (nack = stream_pel_seek(pel, from, &id)); left--) {
        reply_array(r, names ? 4 : 3);
        stream_reply_id(r, id);
        if (names)
            reply_bulk(r, stream_consumer_name(nack->consumer));
        reply_integer(r, nack->delivered_ms);
        reply_integer(r, (int64_t)nack->deliveries);
        from = id;
        stream_id_increment(&from);
    }
}

static void reply_full_consumer(struct reply *r, const struct stream_consumer *consumer,
                                uint64_t count)
{
    reply_map(r, 5);
    reply_name(r, stream_consumer_name(consumer));
    reply_field(r, "seen-time", consumer->seen_ms);
    reply_field(r, "active-time", consumer->active_ms);
    reply_field(r, "pel-count", (int64_t)consumer->pel.count);
    reply_pel(r, &consumer->pel, count, false);
}

static void reply_full_group(struct reply *r, const struct stream *s, const struct stream_group *g,
                             uint64_t count)
{
    reply_map(r, 7);
    reply_name(r, stream_group_name(g));
    reply_id_field(r, "last-delivered-id", g->last_id);
    reply_progress(r, s, g);
    reply_field(r, "pel-count", (int64_t)g->pel.count);
    reply_pel(r, &g->pel, count, true);
    reply_bulk_text(r, "consumers");
    reply_array(r, g->consumers.count);
    struct stream_consumer *consumer = NULL;
    while ((consumer = stream_consumer_next(g, consumer)))
        reply_full_consumer(r, consumer, count);
}

static void reply_full(struct reply *r, const struct stream *s, uint64_t count)
{
    struct stream_walk w;
    reply_map(r, 9);
    reply_stream_head(r, s);
    reply_bulk_text(r, "entries");
    stream_walk_start(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, false);
    stream_reply_range(r, &w, count);
    reply_bulk_text(r, "groups");
    reply_array(r, s->groups.count);
    struct stream_group *g = NULL;
    while ((g = stream_group_next(s, g)))
        reply_full_group(r, s, g, count);
}

static void stream_run(struct call *c)
{
    struct place p;
    struct value v;
    bool full;
    uint64_t count;
    if (!find_stream(c, &p, &v) || !read_full(c, &full, &count))
        return;

    const struct stream *s = stream_of(&v);
    if (full) {
        reply_full(&c->reply, s, count);
        return;
    }
    reply_map(&c->reply, 10);
    reply_stream_head(&c->reply, s);
    reply_field(&c->reply, "groups", (int64_t)s->groups.count);
    reply_bulk_text(&c->reply, "first-entry");
    reply_edge(&c->reply, s, false);
    reply_bulk_text(&c->reply, "last-entry");
    reply_edge(&c->reply, s, true);
}

/* --- GROUPS, CONSUMERS --- */

static void groups_run(struct call *c)
{
    struct place p;
    struct value v;
    if (!find_stream(c, &p, &v))
        return;

    const struct stream *s = stream_of(&v);
    struct reply *r = &c->reply;
    reply_array(r, s->groups.count);
    struct stream_group *g = NULL;
    while ((g = stream_group_next(s, g))) {
        reply_map(r, 6);
        reply_name(r, stream_group_name(g));
        reply_field(r, "consumers", (int64_t)g->consumers.count);
        reply_field(r, "pending", (int64_t)g->pel.count);
        reply_id_field(r, "last-delivered-id", g->last_id);
        reply_progress(r, s, g);
    }
}

/* Idle since it last tried to get something, inactive since it last got it. */
static void consumers_run(struct call *c)
{
    struct place p;
    struct value v;
    if (!find_stream(c, &p, &v))
        return;
    const struct stream_group *g = stream_group_find(stream_of(&v), c->argv[3]);
    if (!g) {
        stream_error_no_group(c, c->argv[3], c->argv[2]);
        return;
    }

    struct reply *r = &c->reply;
    reply_array(r, g->consumers.count);
    struct stream_consumer *consumer = NULL;
    while ((consumer = stream_consumer_next(g, consumer))) {
        int64_t idle_ms = c->now_ms - consumer->seen_ms;
        bool active = consumer->active_ms != STREAM_UNKNOWN;
        reply_map(r, 4);
        reply_name(r, stream_consumer_name(consumer));
        reply_field(r, "pending", (int64_t)consumer->pel.count);
        reply_field(r, "idle", idle_ms < 0 ? 0 : idle_ms);
        reply_field(r, "inactive", active ? c->now_ms - consumer->active_ms : -1);
    }
}

static void help_run(struct call *c)
{
    static const char *const lines[] = {
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <key> <group>",
        "    Show the consumers of a group.",
        "GROUPS <key>",
        "    Show the groups of a stream.",
        "STREAM <key> [FULL [COUNT <count>]]",
        "    Show what a stream looks like; FULL: with its messages, its groups and what is",
        "    pending in them, at most <count> of each (10 by default, 0 for all).",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

/* The key of a subcommand is its second argument. */
#define KEYS_XINFO {{.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_RANGE, .step = 1}}

static const struct command xinfo_subcommands[] = {
    {
        .name = "consumers",
        .run = consumers_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STREAM,
        .keys = KEYS_XINFO,
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) with N the number of consumers.",
        .syntax = "key group",
        .summary = "Returns a list of the consumers in a consumer group.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "groups",
        .run = groups_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STREAM,
        .keys = KEYS_XINFO,
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) with N the number of groups.",
        .syntax = "key",
        .summary = "Returns a list of the consumer groups of a stream.",
    },
    {
        .name = "help",
        .run = help_run,
        .arity = 2,
        .route = ROUTE_SESSION,
        .flags = CMD_LOADING | CMD_STALE,
        .acl = ACL_STREAM,
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1)",
        .summary = "Returns a text on the subcommands.",
    },
    {
        .name = "stream",
        .run = stream_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STREAM,
        .keys = KEYS_XINFO,
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1); with FULL, O(N) with N what is returned.",
        .syntax = "key [FULL [COUNT count]]",
        .summary = "Returns what a stream looks like.",
    },
    {0},
};

const struct command stream_info_commands[] = {
    {
        .name = "xinfo",
        .arity = -2,
        .route = ROUTE_KEY,
        .group = "stream",
        .since = "5.0.0",
        .complexity = "Depends on subcommand.",
        .summary = "A container for commands that look inside streams.",
        .subcommands = xinfo_subcommands,
    },
    {0},
};
