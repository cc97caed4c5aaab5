/* Whole string values: GET, SET and their kin.
 *
 * SET and GET are what the server does most, so their plain forms do one look-up and nothing else;
 * all other commands here are SET or GET with one thing more. The compare-and-set options of SET,
 * and DELEX and DIGEST, are those of Redis 8.4; everything else is Redis 7.2's. */
#include "shard/cmd/string_cmd.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "proto/number.h"
#include "shard/cmd/told.h"

/* Options. */

struct option_word {
    struct slice word;
    enum string_option option;
    bool operand; /* the next argument belongs to it */
};

/* The common ones first. */
static const struct option_word option_words[] = {
    {{"EX", 2}, OPTION_EX, true},
    {{"PX", 2}, OPTION_PX, true},
    {{"NX", 2}, OPTION_NX, false},
    {{"XX", 2}, OPTION_XX, false},
    {{"GET", 3}, OPTION_GET, false},
    {{"EXAT", 4}, OPTION_EXAT, true},
    {{"PXAT", 4}, OPTION_PXAT, true},
    {{"KEEPTTL", 7}, OPTION_KEEPTTL, false},
    {{"PERSIST", 7}, OPTION_PERSIST, false},
    {{"IFEQ", 4}, OPTION_IFEQ, true},
    {{"IFNE", 4}, OPTION_IFNE, true},
    {{"IFDEQ", 5}, OPTION_IFDEQ, true},
    {{"IFDNE", 5}, OPTION_IFDNE, true},
};

static const struct option_word *find_option(struct slice arg)
{
    for (size_t i = 0; i < sizeof(option_words) / sizeof(option_words[0]); i++) {
        const struct option_word *w = &option_words[i];
        if (arg.size == w->word.size && strncasecmp(arg.data, w->word.data, arg.size) == 0)
            return w;
    }
    return NULL;
}

/* Takes the option into its group; false where the group has another one already. */
static bool take_option(struct string_options *o, enum string_option option, struct slice operand,
                        uint32_t operand_arg)
{
    unsigned bit = OPTION_BIT(option);
    if (option == OPTION_GET) {
        o->get = true;
        return true;
    }
    enum string_option *group = bit & OPTION_BITS_CONDITION ? &o->condition : &o->expiry;
    if (*group != OPTION_NONE && *group != option)
        return false;

    *group = option;
    if (bit & OPTION_BITS_COMPARE)
        o->operand = operand;
    if (bit & OPTION_BITS_TIME)
        o->expiry_arg = operand_arg;
    return true;
}

bool string_options_read(struct call *c, uint32_t from, unsigned allowed, struct string_options *o)
{
    for (uint32_t i = from; i < c->argc; i++) {
        const struct option_word *w = find_option(c->argv[i]);
        if (w && w->operand)
            i++;
        if (!w || !(allowed & OPTION_BIT(w->option)) || i == c->argc ||
            !take_option(o, w->option, c->argv[i], i)) {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

bool string_expiry_read(struct call *c, enum string_option option, uint32_t arg,
                        int64_t *expires_ms)
{
    if (!(OPTION_BIT(option) & OPTION_BITS_TIME)) {
        *expires_ms = option == OPTION_KEEPTTL ? DB_KEEP_EXPIRY : DB_NO_EXPIRY;
        return true;
    }
    int64_t time;
    if (!call_arg_integer(c, arg, &time))
        return false;

    int64_t unit_ms = option == OPTION_EX || option == OPTION_EXAT ? 1000 : 1;
    int64_t start_ms = option == OPTION_EX || option == OPTION_PX ? c->now_ms : 0;
    if (time <= 0 || __builtin_mul_overflow(time, unit_ms, &time) ||
        __builtin_add_overflow(time, start_ms, expires_ms)) {
        reply_error(&c->reply, "ERR invalid expire time in '%s' command", c->command->name);
        return false;
    }
    return true;
}

/* Conditions. */

#define DIGEST_SIZE 16

/* The digest of Redis 8.4: XXH3 of the value, unseeded, as 16 hexadecimal digits. */
static void format_digest(struct slice value, char text[DIGEST_SIZE + 1])
{
    snprintf(text, DIGEST_SIZE + 1, "%016" PRIx64, (uint64_t)XXH3_64bits(value.data, value.size));
}

/* Whether the string at the place, which exists, is the operand of `compare` (IFEQ to IFDNE).
 * False, having replied with the error, where the operand cannot be a digest. */
static bool compare_string(struct call *c, const struct place *p, enum string_option compare,
                           struct slice operand, bool *holds)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice value = db_string(p, scratch);
    if (compare == OPTION_IFEQ || compare == OPTION_IFNE) {
        *holds = slice_equal(value, operand) == (compare == OPTION_IFEQ);
        return true;
    }
    if (operand.size != DIGEST_SIZE) {
        reply_error(&c->reply, "ERR must be exactly 16 hexadecimal characters");
        return false;
    }
    char text[DIGEST_SIZE + 1];
    format_digest(value, text);
    *holds = slice_is(operand, text) == (compare == OPTION_IFDEQ);
    return true;
}

/* Whether SET's condition holds; false, having replied with the error, where that cannot be said. A
 * key that is absent differs from every value. */
static bool check_condition(struct call *c, const struct place *p, const struct string_options *o,
                            bool *holds)
{
    bool absent = !p->entry;
    if (o->condition == OPTION_NX || o->condition == OPTION_XX) {
        *holds = absent == (o->condition == OPTION_NX);
        return true;
    }
    if (absent) {
        *holds = o->condition == OPTION_IFNE || o->condition == OPTION_IFDNE;
        return true;
    }
    if (!db_is_string(p)) {
        reply_error_wrong_type(&c->reply);
        return false;
    }
    return compare_string(c, p, o->condition, o->operand, holds);
}

/* Reading. */

/* Replies with the string, or null where there is none; false where the reply is an error. */
static bool reply_string(struct call *c, const struct place *p)
{
    if (!p->entry) {
        reply_null(&c->reply);
        return true;
    }
    if (!db_is_string(p)) {
        reply_error_wrong_type(&c->reply);
        return false;
    }
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    reply_bulk(&c->reply, db_string(p, scratch));
    return true;
}

static void get(struct call *c)
{
    struct place p = db_find(c, 1, DB_READ);
    reply_string(c, &p);
}

static void digest(struct call *c)
{
    struct place p = db_find(c, 1, DB_READ);
    if (!p.entry || !db_is_string(&p)) {
        reply_string(c, &p);
        return;
    }

    char scratch[NUMBER_INTEGER_SIZE_MAX], text[DIGEST_SIZE + 1];
    format_digest(db_string(&p, scratch), text);
    reply_bulk_text(&c->reply, text);
}

static void getdel(struct call *c)
{
    struct place p = db_find(c, 1, DB_READ);

    /* The reply comes first, while the value is there. */
    if (!reply_string(c, &p) || !p.entry)
        return;
    db_delete(&p);
    db_changed(c, &p);
    told_gone(c, &p);
    db_notify(&p, NOTIFY_GENERIC, "del");
}

static void getex(struct call *c)
{
    struct string_options o = {0};
    unsigned allowed = OPTION_BITS_TIME | OPTION_BIT(OPTION_PERSIST);
    if (!string_options_read(c, 2, allowed, &o))
        return;

    /* As in Redis, a wrong time for an absent key is no error. */
    struct place p = db_find(c, 1, DB_READ);
    int64_t expires_ms = DB_NO_EXPIRY;
    if (p.entry && db_is_string(&p) &&
        !string_expiry_read(c, o.expiry, o.expiry_arg, &expires_ms))
        return;
    if (!reply_string(c, &p) || !p.entry)
        return;

    bool persist = o.expiry == OPTION_PERSIST && db_expiry(&p) != DB_NO_EXPIRY;
    if (expires_ms == DB_NO_EXPIRY && !persist)
        return;
    if (expires_ms != DB_NO_EXPIRY && expires_ms <= call_due_ms(c)) {
        db_delete(&p);
        told_past(c, &p);
    } else {
        db_set_expiry(&p, expires_ms);
        told_expiry(c, &p, expires_ms);
    }
    db_changed(c, &p);
    db_notify(&p, NOTIFY_GENERIC, !p.entry ? "del" : persist ? "persist" : "expire");
}

/* Writing. A time in the past is written like any other: the next look for the key removes it. */

static void put(struct call *c, struct place *p, uint32_t value_arg, int64_t expires_ms)
{
    db_put_string(p, c->argv[value_arg], expires_ms);
    db_changed(c, p);
    db_notify(p, NOTIFY_STRING, "set");
    if (expires_ms >= 0)
        db_notify(p, NOTIFY_GENERIC, "expire");
}

static void set(struct call *c)
{
    struct string_options o = {0};
    int64_t expires_ms = DB_NO_EXPIRY;
    if (c->argc > 3) {
        unsigned allowed = OPTION_BITS_CONDITION | OPTION_BITS_TIME | OPTION_BIT(OPTION_KEEPTTL) |
                           OPTION_BIT(OPTION_GET);
        if (!string_options_read(c, 3, allowed, &o) ||
            !string_expiry_read(c, o.expiry, o.expiry_arg, &expires_ms))
            return;
    }

    struct place p = db_find(c, 1, o.get ? DB_READ : DB_WRITE);
    bool holds = true;
    if (o.condition != OPTION_NONE && !check_condition(c, &p, &o, &holds))
        return;
    if (o.get && !reply_string(c, &p))
        return;
    if (holds)
        put(c, &p, 2, expires_ms);
    if (holds && c->argc > 3)
        told_string(c, &p, c->argv[2], expires_ms);

    if (o.get)
        return;
    if (holds)
        reply_ok(&c->reply);
    else
        reply_null(&c->reply);
}

static void setnx(struct call *c)
{
    struct place p = db_find(c, 1, DB_WRITE);
    bool absent = !p.entry;
    if (absent)
        put(c, &p, 2, DB_NO_EXPIRY);

    reply_integer(&c->reply, absent);
}

static void set_expiring(struct call *c, enum string_option option)
{
    int64_t expires_ms;
    if (!string_expiry_read(c, option, 2, &expires_ms))
        return;

    struct place p = db_find(c, 1, DB_WRITE);
    put(c, &p, 3, expires_ms);
    told_string(c, &p, c->argv[3], expires_ms);

    reply_ok(&c->reply);
}

static void setex(struct call *c)
{
    set_expiring(c, OPTION_EX);
}

static void psetex(struct call *c)
{
    set_expiring(c, OPTION_PX);
}

static void getset(struct call *c)
{
    struct place p = db_find(c, 1, DB_READ);
    if (!reply_string(c, &p))
        return;
    put(c, &p, 2, DB_NO_EXPIRY);
    told_string(c, &p, c->argv[2], DB_NO_EXPIRY);
}

/* Whether DELEX's condition holds for the key, which exists. */
static bool check_delex(struct call *c, const struct place *p, bool *holds)
{
    if (!db_is_string(p)) {
        reply_error(&c->reply, "ERR Key should be of string type if conditions are specified");
        return false;
    }
    const struct option_word *w = find_option(c->argv[2]);
    if (!w || !(OPTION_BIT(w->option) & OPTION_BITS_COMPARE)) {
        reply_error(&c->reply, "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
        return false;
    }
    return compare_string(c, p, w->option, c->argv[3], holds);
}

static void delex(struct call *c)
{
    bool conditional = c->argc == 4;
    if (!conditional && c->argc != 2) {
        reply_error(&c->reply, "ERR wrong number of arguments for '%s' command", c->command->name);
        return;
    }

    struct place p = db_find(c, 1, conditional ? DB_READ : DB_WRITE);
    bool holds = p.entry;
    if (holds && conditional && !check_delex(c, &p, &holds))
        return;
    if (holds) {
        db_delete(&p);
        db_changed(c, &p);
        told_gone(c, &p);
        db_notify(&p, NOTIFY_GENERIC, "del");
    }

    reply_integer(&c->reply, holds);
}

const struct command string_commands[] = {
    {
        .name = "get",
        .run = get,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the string value of a key.",
    },
    {
        .name = "set",
        .run = set,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STRING,
        .keys = KEYS_ONE_NOTED(KEY_RW | KEY_ACCESS | KEY_UPDATE | KEY_VARIABLE_FLAGS,
                               "RW and ACCESS due to the optional `GET` argument"),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1); O(N) with IFEQ, IFNE, IFDEQ and IFDNE, where N is the value's length.",
        .syntax = "key value [NX | XX | IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | "
                  "IFDNE ifdne-digest] [GET] [EX seconds | PX milliseconds | "
                  "EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        .summary = "Sets the string value of a key, whatever its type was. "
                   "The key is created if it doesn't exist.",
    },
    {
        .name = "setnx",
        .run = setnx,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_OW | KEY_INSERT),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key value",
        .summary = "Sets the string value of a key only when the key doesn't exist.",
        .deprecated_since = "2.6.12",
        .replaced_by = "`SET` with the `NX` argument",
    },
    {
        .name = "setex",
        .run = setex,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_OW | KEY_UPDATE),
        .group = "string",
        .since = "2.0.0",
        .complexity = "O(1)",
        .syntax = "key seconds value",
        .summary = "Sets the string value of a key and its expiration in seconds.",
        .deprecated_since = "2.6.12",
        .replaced_by = "`SET` with the `EX` argument",
    },
    {
        .name = "psetex",
        .run = psetex,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_OW | KEY_UPDATE),
        .group = "string",
        .since = "2.6.0",
        .complexity = "O(1)",
        .syntax = "key milliseconds value",
        .summary = "Sets the string value of a key and its expiration in milliseconds.",
        .deprecated_since = "2.6.12",
        .replaced_by = "`SET` with the `PX` argument",
    },
    {
        .name = "getset",
        .run = getset,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key value",
        .summary = "Sets the string value of a key and returns the one it had.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`SET` with the `!GET` argument",
    },
    {
        .name = "getdel",
        .run = getdel,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_DELETE),
        .group = "string",
        .since = "6.2.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the string value of a key and deletes the key.",
    },
    {
        .name = "getex",
        .run = getex,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE_NOTED(KEY_RW | KEY_ACCESS | KEY_UPDATE,
                               "RW and UPDATE because it changes the TTL"),
        .group = "string",
        .since = "6.2.0",
        .complexity = "O(1)",
        .syntax = "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                  "PXAT unix-time-milliseconds | PERSIST]",
        .summary = "Returns the string value of a key and sets or removes its expiration.",
    },
    {
        .name = "delex",
        .run = delex,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE | KEY_VARIABLE_FLAGS),
        .group = "string",
        .since = "8.4.0",
        .complexity = "O(1); O(N) with a condition, where N is the value's length.",
        .syntax = "key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | "
                  "IFDNE ifdne-digest]",
        .summary = "Deletes a key if its string value, or the digest of it, compares as asked.",
    },
    {
        .name = "digest",
        .run = digest,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "string",
        .since = "8.4.0",
        .complexity = "O(N) where N is the length of the string value.",
        .syntax = "key",
        .summary = "Returns the XXH3 hash of a string value as hexadecimal digits.",
    },
    {0},
};
