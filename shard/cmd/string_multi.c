/* Several string keys in one command: MGET, MSET, MSETNX, MSETEX.
 *
 * MGET and MSET are split: each shard does the keys that are its own. MSETNX and MSETEX decide on
 * all their keys before they write any, so they are cross transactions. */
#include "shard/cmd/string_cmd.h"

#include "proto/number.h"
#include "shard/cmd/told.h"

static void mget(struct call *c)
{
    uint32_t at = 0, nth, arg;
    while ((arg = call_next_key(c, &at, &nth)) != 0) {
        size_t start = c->reply.out->size;
        struct place p = db_find(c, arg, DB_READ);
        char scratch[NUMBER_INTEGER_SIZE_MAX];
        if (p.entry && db_is_string(&p))
            reply_bulk(&c->reply, db_string(&p, scratch));
        else
            reply_null(&c->reply);
        call_item_end(c, nth, start);
    }
}

/* True, having replied, where a key of MSET or MSETNX has no value. */
static bool refuse_pairs(struct call *c)
{
    if (c->argc % 2 == 1)
        return false;
    reply_error(&c->reply, "ERR wrong number of arguments for '%s' command", c->command->name);
    return true;
}

/* Writes the key at `arg` with the value after it. */
static void put_pair(struct call *c, uint32_t arg, int64_t expires_ms)
{
    struct place p = db_find(c, arg, DB_WRITE);
    db_put_string(&p, c->argv[arg + 1], expires_ms);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_STRING, "set");
    if (expires_ms >= 0)
        db_notify(&p, NOTIFY_GENERIC, "expire");
}

static void mset(struct call *c)
{
    if (refuse_pairs(c))
        return;

    uint32_t at = 0, arg;
    while ((arg = call_next_key(c, &at, NULL)) != 0)
        put_pair(c, arg, DB_NO_EXPIRY);
}

/* Writes the pairs of arguments from `first` up to `end`, if the condition (NX: no key exists, XX:
 * all do) holds, and replies whether it did. */
static bool put_pairs_if(struct call *c, uint32_t first, uint32_t end, enum string_option condition,
                         int64_t expires_ms)
{
    bool holds = true;
    for (uint32_t arg = first; arg < end && condition != OPTION_NONE && holds; arg += 2) {
        bool absent = !db_find(c, arg, DB_WRITE).entry;
        holds = absent == (condition == OPTION_NX);
    }
    for (uint32_t arg = first; arg < end && holds; arg += 2)
        put_pair(c, arg, expires_ms);

    reply_integer(&c->reply, holds);
    return holds;
}

static void msetnx(struct call *c)
{
    if (refuse_pairs(c))
        return;

    put_pairs_if(c, 1, c->argc, OPTION_NX, DB_NO_EXPIRY);
}

static void msetex(struct call *c)
{
    int64_t count;
    if (!number_parse_integer(c->argv[1], &count) || count < 1 || count > INT32_MAX) {
        reply_error(&c->reply, "ERR invalid numkeys value");
        return;
    }
    if (2 * count > (int64_t)c->argc - 2) {
        reply_error(&c->reply, "ERR wrong number of key-value pairs");
        return;
    }
    uint32_t end = 2 + 2 * (uint32_t)count;
    unsigned allowed = OPTION_BITS_EXIST | OPTION_BITS_TIME | OPTION_BIT(OPTION_KEEPTTL);
    struct string_options o = {0};
    int64_t expires_ms;
    if (!string_options_read(c, end, allowed, &o) ||
        !string_expiry_read(c, o.expiry, o.expiry_arg, &expires_ms))
        return;

    if (!put_pairs_if(c, 2, end, o.condition, expires_ms))
        return;
    for (uint32_t arg = 2; arg < end; arg += 2) {
        struct place p = {.key = c->argv[arg]};
        told_string(c, &p, c->argv[arg + 1], expires_ms);
    }
}

const struct command string_multi_commands[] = {
    {
        .name = "mget",
        .run = mget,
        .arity = -2,
        .route = ROUTE_SPLIT,
        .split = SPLIT_ITEMS,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ALL(KEY_RO | KEY_ACCESS),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of keys to retrieve.",
        .syntax = "key [key ...]",
        .summary = "Returns the string values of one or more keys, atomically.",
        .tips = "request_policy:multi_shard",
    },
    {
        .name = "mset",
        .run = mset,
        .arity = -3,
        .route = ROUTE_SPLIT,
        .split = SPLIT_OK,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STRING,
        .keys = KEYS_PAIRS(KEY_OW | KEY_UPDATE),
        .group = "string",
        .since = "1.0.1",
        .complexity = "O(N) where N is the number of keys to set.",
        .syntax = "key value [key value ...]",
        .summary = "Sets the string values of one or more keys, atomically.",
        .tips = "request_policy:multi_shard response_policy:all_succeeded",
    },
    {
        .name = "msetnx",
        .run = msetnx,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STRING,
        .keys = KEYS_PAIRS(KEY_OW | KEY_INSERT),
        .group = "string",
        .since = "1.0.1",
        .complexity = "O(N) where N is the number of keys to set.",
        .syntax = "key value [key value ...]",
        .summary = "Sets the string values of one or more keys only when none of them exists.",
    },
    {
        .name = "msetex",
        .run = msetex,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STRING,
        .keys = {{
            .flags = KEY_OW | KEY_UPDATE,
            .begin = 1,
            .find = KEY_FIND_COUNT,
            .step = 2,
            .first = 1,
        }},
        .group = "string",
        .since = "8.4.0",
        .complexity = "O(N) where N is the number of keys to set.",
        .syntax = "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | "
                  "EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        .summary = "Sets the string values of one or more keys with one expiration for all, "
                   "optionally only when none or all of them exist.",
        .tips = "request_policy:multi_shard response_policy:all_succeeded",
    },
    {0},
};
