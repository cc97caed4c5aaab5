/* Fields of hashes as numbers: HINCRBY and HINCRBYFLOAT, which keep a field's expiry. What they
 * count with is that of INCRBY and INCRBYFLOAT (counter.c). */
#include "shard/cmd/hash_cmd.h"
#include "shard/cmd/told.h"

#include <math.h>

/* The field's value, "0" where there is none. */
static struct slice read_number(struct call *c, const struct value *v, struct hash_pair *found)
{
    if (hash_get(v, c->keyspace, c->argv[2], call_due_ms(c), found))
        return found->value;
    return SLICE("0");
}

/* Of an absent key, whose number is 0, no sum is refused: so a new value is always kept. */
static void put_number(struct call *c, struct place *p, struct value *v, struct slice text,
                       const char *event)
{
    hash_set(v, c->keyspace, c->argv[2], text, HASH_KEEP_EXPIRY, call_due_ms(c));
    db_keep(p, v);
    db_changed(c, p);
    db_notify(p, NOTIFY_HASH, event);
}

static void hincrby_run(struct call *c)
{
    int64_t amount, value;
    struct place p;
    if (!call_arg_integer(c, 3, &amount) || !db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p))
        return;
    struct value v = db_value(&p, TYPE_HASH);
    struct hash_pair found;
    if (!number_parse_integer(read_number(c, &v, &found), &value)) {
        reply_error(&c->reply, "ERR hash value is not an integer");
        return;
    }
    if (__builtin_add_overflow(value, amount, &value)) {
        reply_error(&c->reply, "ERR increment or decrement would overflow");
        return;
    }

    char text[NUMBER_INTEGER_SIZE_MAX];
    struct slice written = {text, number_format_integer(text, value)};
    put_number(c, &p, &v, written, "hincrby");

    reply_integer(&c->reply, value);
}

/* As HSET, which gives the field no expiry. */
static void tell_float(struct call *c, const struct place *p, struct slice written)
{
    struct hash_pair found;
    if (!journal_is_on(c))
        return;
    told(c, p, SLICE("HSET"), p->key, c->argv[2], written);
    struct value v = db_value(p, TYPE_HASH);
    hash_get(&v, c->keyspace, c->argv[2], call_due_ms(c), &found);
    if (found.expires_ms == HASH_NO_EXPIRY)
        return;
    char text[NUMBER_INTEGER_SIZE_MAX];
    told(c, p, SLICE("HPEXPIREAT"), p->key, told_number(text, found.expires_ms), SLICE("FIELDS"),
         SLICE("1"), c->argv[2]);
}

static void hincrbyfloat_run(struct call *c)
{
    long double amount, value;
    if (!number_parse_long_double(c->argv[3], &amount)) {
        reply_error_float(&c->reply);
        return;
    }
    if (!isfinite(amount)) {
        reply_error(&c->reply, "ERR value is NaN or Infinity");
        return;
    }
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p))
        return;
    struct value v = db_value(&p, TYPE_HASH);
    struct hash_pair found;
    if (!number_parse_long_double(read_number(c, &v, &found), &value)) {
        reply_error(&c->reply, "ERR hash value is not a float");
        return;
    }
    value += amount;
    if (!isfinite(value)) {
        reply_error(&c->reply, "ERR increment would produce NaN or Infinity");
        return;
    }

    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    struct slice written = {text, number_format_long_double(text, value)};
    put_number(c, &p, &v, written, "hincrbyfloat");
    tell_float(c, &p, written);

    reply_bulk(&c->reply, written);
}

const struct command hash_counter_commands[] = {
    {
        .name = "hincrby",
        .run = hincrby_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(1)",
        .syntax = "key field increment",
        .summary = "Adds to the integer value of a field of a hash. A field that doesn't exist "
                   "counts as 0.",
    },
    {
        .name = "hincrbyfloat",
        .run = hincrbyfloat_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "hash",
        .since = "2.6.0",
        .complexity = "O(1)",
        .syntax = "key field increment",
        .summary = "Adds to the floating-point value of a field of a hash. A field that doesn't "
                   "exist counts as 0.",
    },
    {0},
};
