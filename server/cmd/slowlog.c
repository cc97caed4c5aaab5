/* SLOWLOG: see server/slowlog.h. Each core leaves the newest of its entries as records; the merge
 * sorts them by their numbers. */
#include "server/slowlog.h"

#include <stdlib.h>

#include "proto/number.h"
#include "server/cmd/tables.h"
#include "server/server.h"

#define GET_COUNT 10

/* An entry in a part: this, the sizes of its arguments, then peer, name and arguments. */
struct record {
    uint64_t number;
    int64_t time_s, us;
    uint32_t argc, peer_size, name_size;
};

/* The most entries that GET asks for; false, having replied. */
static bool read_count(struct call *c, uint64_t *count)
{
    int64_t asked = GET_COUNT;
    uint64_t kept = (uint64_t)server->config.slowlog_max_len;
    if (c->argc > 3) {
        reply_error(&c->reply,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG "
                    "HELP.", (int)c->argv[1].size, c->argv[1].data);
        return false;
    }
    if (c->argc == 3 && (!number_parse_integer(c->argv[2], &asked) || asked < -1)) {
        reply_error(&c->reply, "ERR count should be greater than or equal to -1");
        return false;
    }
    *count = asked == -1 || (uint64_t)asked > kept ? kept : (uint64_t)asked;
    return true;
}

static void append_record(struct buf *to, const struct slowlog_entry *e)
{
    struct record r = {
        .number = e->number, .time_s = e->time_s, .us = e->us, .argc = e->argc,
        .peer_size = (uint32_t)e->peer.size, .name_size = (uint32_t)e->name.size,
    };
    buf_append(to, &r, sizeof(r));
    for (uint32_t i = 0; i < e->argc; i++) {
        uint32_t size = (uint32_t)e->argv[i].size;
        buf_append(to, &size, sizeof(size));
    }
    buf_append_slice(to, e->peer);
    buf_append_slice(to, e->name);
    for (uint32_t i = 0; i < e->argc; i++)
        buf_append_slice(to, e->argv[i]);
}

static void slowlog_get(struct call *c)
{
    uint64_t count;
    if (!read_count(c, &count))
        return;
    const struct slowlog *log = server->cores[c->shard->index]->slowlog;
    if (!log)
        return;
    uint64_t skipped = log->count > count ? log->count - count : 0;
    for (const struct slowlog_entry *e = log->oldest; e; e = e->newer) {
        if (skipped > 0)
            skipped--;
        else
            append_record(c->reply.out, e);
    }
}

static const char *take(const char **at, size_t size)
{
    const char *taken = *at;
    *at += size;
    return taken;
}

/* Writes the entry at `at` where there is a reply; returns what is behind it. */
static const char *read_entry(const char *at, struct record *r, struct reply *reply)
{
    memcpy(r, take(&at, sizeof(*r)), sizeof(*r));
    const char *sizes = take(&at, r->argc * sizeof(uint32_t));
    struct slice peer = {take(&at, r->peer_size), r->peer_size};
    struct slice name = {take(&at, r->name_size), r->name_size};
    if (reply) {
        reply_array(reply, 6);
        reply_integer(reply, (int64_t)r->number);
        reply_integer(reply, r->time_s);
        reply_integer(reply, r->us);
        reply_array(reply, r->argc);
    }
    for (uint32_t i = 0; i < r->argc; i++) {
        uint32_t size;
        memcpy(&size, sizes + i * sizeof(size), sizeof(size));
        struct slice arg = {take(&at, size), size};
        if (reply)
            reply_bulk(reply, arg);
    }
    if (reply) {
        reply_bulk(reply, peer);
        reply_bulk(reply, name);
    }
    return at;
}

struct place {
    uint64_t number;
    const char *at;
};

/* Newest first. */
static int compare_places(const void *a, const void *b)
{
    uint64_t x = ((const struct place *)a)->number, y = ((const struct place *)b)->number;
    return (x < y) - (x > y);
}

static uint64_t find_entries(const struct split_parts *parts, struct place *places)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < parts->count; i++) {
        const char *at = parts->sections[i].data, *end = at + parts->sections[i].size;
        while (at < end) {
            struct record r;
            const char *begin = at;
            at = read_entry(at, &r, NULL);
            if (places)
                places[n] = (struct place){r.number, begin};
            n++;
        }
    }
    return n;
}

static void slowlog_get_merge(struct call *c, const struct split_parts *parts)
{
    uint64_t asked;
    if (!read_count(c, &asked))
        return;
    uint64_t count = find_entries(parts, NULL);
    struct place *places = arena_alloc(&core_self()->arena, (count + 1) * sizeof(*places));
    find_entries(parts, places);
    qsort(places, count, sizeof(*places), compare_places);
    count = count < asked ? count : asked;
    reply_array(&c->reply, count);
    for (uint64_t i = 0; i < count; i++) {
        struct record r;
        read_entry(places[i].at, &r, &c->reply);
    }
}

static void slowlog_len(struct call *c)
{
    const struct slowlog *log = server->cores[c->shard->index]->slowlog;
    c->value = log ? (int64_t)log->count : 0;
}

static void slowlog_len_merge(struct call *c, const struct split_parts *parts)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < parts->count; i++)
        count += parts->sections[i].value;
    int64_t kept = server->config.slowlog_max_len;
    reply_integer(&c->reply, count < kept ? count : kept);
}

/* All shards stand still: what ran before is forgotten, entries under way among it, and nothing
 * that runs after. */
static void slowlog_reset_run(struct call *c)
{
    slowlog_reset();
    reply_ok(&c->reply);
}

static void slowlog_help(struct call *c)
{
    static const char *const lines[] = {
        "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define ADMIN_FLAGS (CMD_ADMIN | CMD_LOADING | CMD_STALE)
#define SUBCOMMAND(word, body, args, f) \
    .name = word, .run = body, .arity = args, .flags = (f), .group = "server"

static const struct command slowlog_subcommands[] = {
    {SUBCOMMAND("get", slowlog_get, -2, ADMIN_FLAGS), .merge = slowlog_get_merge,
     .route = ROUTE_ALL, .split = SPLIT_MERGE, .since = "2.2.12",
     .complexity = "O(N) where N is the number of entries returned", .syntax = "[count]",
     .summary = "Returns the newest entries of the slow log.",
     .tips = "request_policy:all_nodes nondeterministic_output"},
    {SUBCOMMAND("help", slowlog_help, 2, CMD_LOADING | CMD_STALE),
     .route = ROUTE_SESSION, .since = "6.2.0", .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {SUBCOMMAND("len", slowlog_len, 2, ADMIN_FLAGS), .merge = slowlog_len_merge,
     .route = ROUTE_ALL, .split = SPLIT_MERGE, .since = "2.2.12", .complexity = "O(1)",
     .summary = "Returns the number of entries in the slow log.",
     .tips = "request_policy:all_nodes response_policy:agg_sum nondeterministic_output"},
    {SUBCOMMAND("reset", slowlog_reset_run, 2, ADMIN_FLAGS | CMD_EVERY_SHARD),
     .route = ROUTE_CROSS, .since = "2.2.12",
     .complexity = "O(N) where N is the number of entries in the slowlog",
     .summary = "Clears the slow log.",
     .tips = "request_policy:all_nodes response_policy:all_succeeded"},
    {.name = NULL},
};

const struct command slowlog_commands[] = {
    {.name = "slowlog", .arity = -2, .route = ROUTE_SESSION, .group = "server", .since = "2.2.12",
     .complexity = "Depends on subcommand.",
     .summary = "A container for commands on the slow log.", .subcommands = slowlog_subcommands},
    {.name = NULL},
};
