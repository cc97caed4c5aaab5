/* When keys end: EXPIRE and its kin, TTL and its kin, PERSIST.
 *
 * An expiry is kept in milliseconds since the epoch. The commands differ in their unit (seconds or
 * milliseconds) and in what they count from (now or the epoch); each is one line over the same
 * body. */
#include "shard/cmd/lookup.h"
#include "shard/cmd/told.h"

enum unit { UNIT_MS = 1, UNIT_SECONDS = 1000 };

struct conditions {
    bool nx; /* only where the key has no expiry */
    bool xx; /* only where it has one */
    bool gt; /* only later than the present one; none counts as never */
    bool lt; /* only earlier */
};

static bool read_conditions(struct call *c, struct conditions *conditions)
{
    *conditions = (struct conditions){0};
    for (uint32_t i = 3; i < c->argc; i++) {
        if (call_arg_is(c, i, "nx")) {
            conditions->nx = true;
        } else if (call_arg_is(c, i, "xx")) {
            conditions->xx = true;
        } else if (call_arg_is(c, i, "gt")) {
            conditions->gt = true;
        } else if (call_arg_is(c, i, "lt")) {
            conditions->lt = true;
        } else {
            size_t shown = c->argv[i].size < 128 ? c->argv[i].size : 128;
            reply_error(&c->reply, "ERR Unsupported option %.*s", (int)shown, c->argv[i].data);
            return false;
        }
    }
    if (conditions->nx && (conditions->xx || conditions->gt || conditions->lt)) {
        reply_error(&c->reply,
                    "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (conditions->gt && conditions->lt) {
        reply_error(&c->reply, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* Argument 2 as ms since the epoch. A time before the epoch is allowed, one out of range is not. */
static bool read_time(struct call *c, enum unit unit, int64_t base_ms, int64_t *expires_ms)
{
    int64_t value;
    if (!call_arg_integer(c, 2, &value))
        return false;
    if (__builtin_mul_overflow(value, (int64_t)unit, &value) ||
        __builtin_add_overflow(value, base_ms, expires_ms)) {
        reply_error(&c->reply, "ERR invalid expire time in '%s' command", c->command->name);
        return false;
    }
    return true;
}

static bool conditions_hold(const struct conditions *conditions, int64_t present_ms,
                            int64_t expires_ms)
{
    bool expires = present_ms != DB_NO_EXPIRY;
    if ((conditions->nx && expires) || (conditions->xx && !expires))
        return false;
    if (conditions->gt && (!expires || expires_ms <= present_ms))
        return false;
    return !(conditions->lt && expires && expires_ms >= present_ms);
}

static void run_expire(struct call *c, enum unit unit, int64_t base_ms)
{
    struct conditions conditions;
    int64_t expires_ms;
    if (!read_conditions(c, &conditions) || !read_time(c, unit, base_ms, &expires_ms))
        return;

    struct place p = db_find(c, 1, DB_WRITE);
    bool done = p.entry && conditions_hold(&conditions, db_expiry(&p), expires_ms);
    if (done) {
        if (expires_ms < 0 || expires_ms <= call_due_ms(c)) {
            db_delete(&p);
            told_past(c, &p);
        } else {
            db_set_expiry(&p, expires_ms);
            told_expiry(c, &p, expires_ms);
        }
        db_changed(c, &p);
        db_notify(&p, NOTIFY_GENERIC, p.entry ? "expire" : "del");
    }

    reply_integer(&c->reply, done);
}

static void expire_run(struct call *c)
{
    run_expire(c, UNIT_SECONDS, c->now_ms);
}

static void expireat_run(struct call *c)
{
    run_expire(c, UNIT_SECONDS, 0);
}

static void pexpire_run(struct call *c)
{
    run_expire(c, UNIT_MS, c->now_ms);
}

static void pexpireat_run(struct call *c)
{
    run_expire(c, UNIT_MS, 0);
}

/* -2: no such key; -1: no expiry; else the expiry less `base_ms`, seconds rounded to the
 * nearest. */
static void run_ttl(struct call *c, enum unit unit, int64_t base_ms)
{
    struct place p = lookup_untouched(c, 1);
    int64_t answer = -2;
    if (p.entry) {
        int64_t left_ms = db_expiry(&p) - base_ms;
        bool round_up = unit > 1 && left_ms % unit >= unit / 2;
        answer = db_expiry(&p) == DB_NO_EXPIRY ? -1 : left_ms / unit + round_up;
    }

    reply_integer(&c->reply, answer);
}

static void ttl_run(struct call *c)
{
    run_ttl(c, UNIT_SECONDS, c->now_ms);
}

static void pttl_run(struct call *c)
{
    run_ttl(c, UNIT_MS, c->now_ms);
}

static void expiretime_run(struct call *c)
{
    run_ttl(c, UNIT_SECONDS, 0);
}

static void pexpiretime_run(struct call *c)
{
    run_ttl(c, UNIT_MS, 0);
}

static void persist_run(struct call *c)
{
    struct place p = db_find(c, 1, DB_WRITE);
    bool done = p.entry && db_expiry(&p) != DB_NO_EXPIRY;
    if (done) {
        db_set_expiry(&p, DB_NO_EXPIRY);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_GENERIC, "persist");
    }

    reply_integer(&c->reply, done);
}

const struct command expire_commands[] = {
    {
        .name = "expire",
        .run = expire_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key seconds [NX | XX | GT | LT]",
        .summary = "Sets in how many seconds a key ends.",
    },
    {
        .name = "expireat",
        .run = expireat_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "generic",
        .since = "1.2.0",
        .complexity = "O(1)",
        .syntax = "key unix-time-seconds [NX | XX | GT | LT]",
        .summary = "Sets the Unix time, in seconds, at which a key ends.",
    },
    {
        .name = "expiretime",
        .run = expiretime_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "generic",
        .since = "7.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the Unix time, in seconds, at which a key ends.",
    },
    {
        .name = "persist",
        .run = persist_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "generic",
        .since = "2.2.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Makes a key stay until it is removed.",
    },
    {
        .name = "pexpire",
        .run = pexpire_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(1)",
        .syntax = "key milliseconds [NX | XX | GT | LT]",
        .summary = "Sets in how many milliseconds a key ends.",
    },
    {
        .name = "pexpireat",
        .run = pexpireat_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(1)",
        .syntax = "key unix-time-milliseconds [NX | XX | GT | LT]",
        .summary = "Sets the Unix time, in milliseconds, at which a key ends.",
    },
    {
        .name = "pexpiretime",
        .run = pexpiretime_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "generic",
        .since = "7.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the Unix time, in milliseconds, at which a key ends.",
    },
    {
        .name = "pttl",
        .run = pttl_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns how many milliseconds a key has left.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "ttl",
        .run = ttl_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns how many seconds a key has left.",
        .tips = "nondeterministic_output",
    },
    {0},
};
