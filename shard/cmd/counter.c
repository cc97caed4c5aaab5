/* Counters: strings read as numbers, changed and written back, their expiry kept.
 *
 * The integer ones work on signed 64-bit numbers and never wrap: what would overflow is refused.
 * INCRBYFLOAT works on long doubles (80 bits on x86-64) and writes 17 digits after the point, as
 * Redis does, so that a value read back adds up the same. */
#include "shard/call.h"
#include "shard/db.h"

#include <math.h>

#include "proto/number.h"
#include "shard/cmd/told.h"

/* The string at the place as an integer, 0 where there is no key; false, having replied with the
 * error, where it is none. */
static bool read_integer(struct call *c, const struct place *p, int64_t *value)
{
    *value = 0;
    if (!p->entry)
        return true;
    if (!db_is_string(p)) {
        reply_error_wrong_type(&c->reply);
        return false;
    }
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (db_string_integer(p, value) || number_parse_integer(db_string(p, scratch), value))
        return true;
    reply_error_integer(&c->reply);
    return false;
}

static void add(struct call *c, int64_t amount)
{
    struct place p = db_find(c, 1, DB_WRITE);
    int64_t value;
    if (!read_integer(c, &p, &value))
        return;
    if (__builtin_add_overflow(value, amount, &value)) {
        reply_error(&c->reply, "ERR increment or decrement would overflow");
        return;
    }
    db_put_integer(&p, value, DB_KEEP_EXPIRY);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_STRING, "incrby");

    reply_integer(&c->reply, value);
}

static void incr(struct call *c)
{
    add(c, 1);
}

static void decr(struct call *c)
{
    add(c, -1);
}

static void incrby(struct call *c)
{
    int64_t amount;
    if (call_arg_integer(c, 2, &amount))
        add(c, amount);
}

static void decrby(struct call *c)
{
    int64_t amount;
    if (!call_arg_integer(c, 2, &amount))
        return;
    if (amount == INT64_MIN) {
        reply_error(&c->reply, "ERR decrement would overflow");
        return;
    }

    add(c, -amount);
}

static void incrbyfloat(struct call *c)
{
    struct place p = db_find(c, 1, DB_WRITE);
    if (p.entry && !db_is_string(&p)) {
        reply_error_wrong_type(&c->reply);
        return;
    }
    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    long double value = 0, amount;
    if ((p.entry && !number_parse_long_double(db_string(&p, text), &value)) ||
        !number_parse_long_double(c->argv[2], &amount)) {
        reply_error_float(&c->reply);
        return;
    }
    value += amount;
    if (!isfinite(value)) {
        reply_error(&c->reply, "ERR increment would produce NaN or Infinity");
        return;
    }

    struct slice written = {text, number_format_long_double(text, value)};
    db_put_text(&p, written, DB_KEEP_EXPIRY);
    db_changed(c, &p);
    told_string(c, &p, written, DB_KEEP_EXPIRY);
    db_notify(&p, NOTIFY_STRING, "incrbyfloat");

    reply_bulk(&c->reply, written);
}

const struct command counter_commands[] = {
    {
        .name = "incr",
        .run = incr,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Adds one to the integer value of a key. A key that doesn't exist counts as 0.",
    },
    {
        .name = "decr",
        .run = decr,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Takes one from the integer value of a key. "
                   "A key that doesn't exist counts as 0.",
    },
    {
        .name = "incrby",
        .run = incrby,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key increment",
        .summary = "Adds to the integer value of a key. A key that doesn't exist counts as 0.",
    },
    {
        .name = "decrby",
        .run = decrby,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key decrement",
        .summary = "Takes from the integer value of a key. A key that doesn't exist counts as 0.",
    },
    {
        .name = "incrbyfloat",
        .run = incrbyfloat,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "string",
        .since = "2.6.0",
        .complexity = "O(1)",
        .syntax = "key increment",
        .summary = "Adds to the floating-point value of a key. "
                   "A key that doesn't exist counts as 0.",
    },
    {0},
};
