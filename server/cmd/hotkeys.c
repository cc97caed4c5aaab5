/* HOTKEYS: which shards are busy, and with which keys: see server/hotkeys.h. Lasca's own. */
#include "server/hotkeys.h"

#include <stdlib.h>

#include "server/cmd/tables.h"
#include "server/server.h"

#define GET_COUNT 10
#define INTERVAL 64
#define INTERVAL_MAX 1000000

/* All shards stand still. */
static void hotkeys_start(struct call *c)
{
    int64_t interval = INTERVAL;
    if (c->argc == 4 && call_arg_is(c, 2, "SAMPLE")) {
        if (!call_arg_integer_in(c, 3, 1, INTERVAL_MAX, &interval))
            return;
    } else if (c->argc != 2) {
        reply_error_syntax(&c->reply);
        return;
    }
    server->observing.hot_interval = (uint32_t)interval;
    for (uint32_t i = 0; i < server->core_count; i++)
        hotkeys_begin(server->cores[i]);
    observe_apply();
    reply_ok(&c->reply);
}

/* What was noted stays, to be looked at. */
static void hotkeys_stop(struct call *c)
{
    server->observing.hot_interval = 0;
    observe_apply();
    reply_ok(&c->reply);
}

static void hotkeys_reset(struct call *c)
{
    struct core *core = server->cores[c->shard->index];
    if (core->hot_keys)
        heavy_reset(core->hot_keys);
}

/* --- GET --- */

static bool read_count(struct call *c, int64_t *count)
{
    *count = GET_COUNT;
    if (c->argc == 4 && call_arg_is(c, 2, "COUNT"))
        return call_arg_integer_in(c, 3, 1, HEAVY_SLOTS, count);
    if (c->argc != 2)
        reply_error_syntax(&c->reply);
    return c->argc == 2;
}

/* Most frequent first. */
static int compare_slots(const void *a, const void *b)
{
    const struct heavy_slot *x = *(const struct heavy_slot *const *)a;
    const struct heavy_slot *y = *(const struct heavy_slot *const *)b;
    return (x->count < y->count) - (x->count > y->count);
}

/* In percent, with two digits. */
static double share(uint64_t part, uint64_t whole)
{
    uint64_t hundredths = whole ? (part * 20000 + whole) / (2 * whole) : 0;
    return (double)hundredths / 100;
}

/* A part is its shard's keys, a reply each; `value` is the number of keys noted. */
static void hotkeys_get(struct call *c)
{
    int64_t count;
    if (!read_count(c, &count))
        return;
    const struct heavy *h = server->cores[c->shard->index]->hot_keys;
    uint32_t used = h ? h->used : 0;
    const struct heavy_slot *slots[HEAVY_SLOTS];
    for (uint32_t i = 0; i < used; i++)
        slots[i] = &h->slots[i];
    if (used)
        qsort(slots, used, sizeof(slots[0]), compare_slots);
    uint32_t shown = used < count ? used : (uint32_t)count;
    reply_array(&c->reply, shown);
    for (uint32_t i = 0; i < shown; i++) {
        reply_array(&c->reply, 4);
        reply_bulk(&c->reply, (struct slice){slots[i]->key, slots[i]->kept});
        reply_integer(&c->reply, slots[i]->db);
        reply_double(&c->reply, share(slots[i]->count, h->total));
        reply_double(&c->reply, share(slots[i]->error, h->total));
    }
    c->value = h ? (int64_t)h->total : 0;
}

static void hotkeys_get_merge(struct call *c, const struct split_parts *parts)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < parts->count; i++)
        total += (uint64_t)parts->sections[i].value;
    reply_array(&c->reply, parts->count);
    for (uint32_t i = 0; i < parts->count; i++) {
        const struct split_section *part = &parts->sections[i];
        reply_map(&c->reply, 4);
        reply_bulk_text(&c->reply, "shard");
        reply_integer(&c->reply, part->shard);
        reply_bulk_text(&c->reply, "samples");
        reply_integer(&c->reply, part->value);
        reply_bulk_text(&c->reply, "share");
        reply_double(&c->reply, share((uint64_t)part->value, total));
        reply_bulk_text(&c->reply, "keys");
        buf_append(c->reply.out, part->data, part->size);
    }
}

static void hotkeys_help(struct call *c)
{
    static const char *const lines[] = {
        "HOTKEYS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "START [SAMPLE <n>]",
        "    Begin anew to note which keys commands name, one in about <n> (default: 64).",
        "STOP",
        "    Note no more. What was noted stays.",
        "GET [COUNT <count>]",
        "    Return, shard by shard: its number, the keys noted, their share of those of all",
        "    shards in percent, and its <count> (default: 10) most frequent keys: name, database,",
        "    share of the shard's in percent, and by how much that may be too high.",
        "RESET",
        "    Forget what was noted.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define ADMIN_FLAGS (CMD_ADMIN | CMD_NOSCRIPT)
#define SUBCOMMAND(word, body, args, f) \
    .name = word, .run = body, .arity = args, .flags = (f), .group = "server", .since = "7.2.0"

static const struct command hotkeys_subcommands[] = {
    {SUBCOMMAND("get", hotkeys_get, -2, ADMIN_FLAGS), .merge = hotkeys_get_merge,
     .route = ROUTE_ALL, .split = SPLIT_MERGE, .complexity = "O(1)", .syntax = "[COUNT count]",
     .summary = "Returns the keys that each shard is busy with.",
     .tips = "nondeterministic_output"},
    {SUBCOMMAND("help", hotkeys_help, 2, CMD_LOADING | CMD_STALE),
     .route = ROUTE_SESSION, .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {SUBCOMMAND("reset", hotkeys_reset, 2, ADMIN_FLAGS),
     .route = ROUTE_ALL, .split = SPLIT_OK, .complexity = "O(1)",
     .summary = "Forgets the keys noted."},
    {SUBCOMMAND("start", hotkeys_start, -2, ADMIN_FLAGS | CMD_EVERY_SHARD),
     .route = ROUTE_CROSS, .complexity = "O(1)", .syntax = "[SAMPLE interval]",
     .summary = "Begins to note which keys commands name."},
    {SUBCOMMAND("stop", hotkeys_stop, 2, ADMIN_FLAGS | CMD_EVERY_SHARD),
     .route = ROUTE_CROSS, .complexity = "O(1)",
     .summary = "Ends to note keys."},
    {.name = NULL},
};

const struct command hotkeys_commands[] = {
    {.name = "hotkeys", .arity = -2, .route = ROUTE_SESSION, .group = "server", .since = "7.2.0",
     .complexity = "Depends on subcommand.",
     .summary = "A container for commands on the keys that shards are busy with.",
     .subcommands = hotkeys_subcommands},
    {.name = NULL},
};
