/* When fields of hashes end: HEXPIRE and its kin, HTTL and its kin, HPERSIST, as in Redis 7.4.
 *
 * Each answers with an array, a number a field: -2 no such field; -1 the field has no expiry; 0 the
 * condition does not hold; 1 done; 2 the time is past, so the field is gone. An absent key has no
 * fields. The commands differ in their unit (seconds or milliseconds) and in what they count from
 * (now or the epoch). */
#include "shard/cmd/hash_cmd.h"
#include "shard/cmd/told.h"

enum answer {
    ANSWER_ABSENT = -2,
    ANSWER_STAYS = -1,
    ANSWER_NO = 0,
    ANSWER_DONE = 1,
    ANSWER_GONE = 2,
};

enum condition { CONDITION_NONE, CONDITION_NX, CONDITION_XX, CONDITION_GT, CONDITION_LT };

/* --- Arguments --- */

bool hash_fields_read(struct call *c, uint32_t at, const char *count_error, uint32_t *first)
{
    if (!call_arg_is(c, at, "fields")) {
        reply_error(&c->reply,
                    "ERR Mandatory argument FIELDS is missing or not at the right position");
        return false;
    }
    int64_t count;
    if (at + 1 == c->argc || !number_parse_integer(c->argv[at + 1], &count) || count < 1) {
        reply_error(&c->reply, "ERR %s", count_error);
        return false;
    }
    if (count != (int64_t)c->argc - at - 2) {
        reply_error(&c->reply, "ERR The `numfields` parameter must match the number of arguments");
        return false;
    }
    *first = at + 2;
    return true;
}

bool hash_expiry_read(struct call *c, uint32_t arg, enum hash_unit unit, int64_t base_ms,
                      int64_t *expires_ms)
{
    int64_t time;
    if (!call_arg_integer(c, arg, &time))
        return false;
    if (time < 0) {
        reply_error(&c->reply, "ERR invalid expire time, must be >= 0");
        return false;
    }
    if (time > HASH_EXPIRY_MAX / unit || time * unit > HASH_EXPIRY_MAX - base_ms) {
        reply_error(&c->reply, "ERR invalid expire time in '%s' command", c->command->name);
        return false;
    }
    *expires_ms = time * unit + base_ms;
    return true;
}

static enum condition read_condition(const struct call *c, uint32_t arg)
{
    static const char *const words[] = {
        [CONDITION_NX] = "nx", [CONDITION_XX] = "xx", [CONDITION_GT] = "gt", [CONDITION_LT] = "lt",
    };
    for (enum condition i = CONDITION_NX; i <= CONDITION_LT; i++)
        if (call_arg_is(c, arg, words[i]))
            return i;
    return CONDITION_NONE;
}

/* --- Setting --- */

/* HASH_NO_EXPIRY is later than all times, so that GT never holds for a field that stays, and LT
 * does. */
static bool condition_holds(enum condition condition, int64_t present_ms, int64_t expires_ms)
{
    switch (condition) {
    case CONDITION_NX:
        return present_ms == HASH_NO_EXPIRY;
    case CONDITION_XX:
        return present_ms != HASH_NO_EXPIRY;
    case CONDITION_GT:
        return expires_ms > present_ms;
    case CONDITION_LT:
        return expires_ms < present_ms;
    default:
        return true;
    }
}

static enum answer expire_field(const struct call *c, struct value *v, struct slice field,
                                enum condition condition, int64_t expires_ms)
{
    struct hash_pair found;
    if (!hash_get(v, c->keyspace, field, call_due_ms(c), &found))
        return ANSWER_ABSENT;
    if (!condition_holds(condition, found.expires_ms, expires_ms))
        return ANSWER_NO;
    if (hash_expiry_past(c, expires_ms)) {
        hash_remove(v, c->keyspace, field, call_due_ms(c));
        return ANSWER_GONE;
    }
    hash_set_expiry(v, c->keyspace, field, expires_ms, call_due_ms(c));
    return ANSWER_DONE;
}

static void reply_absent(struct call *c, uint32_t first)
{
    reply_array(&c->reply, c->argc - first);
    for (uint32_t i = first; i < c->argc; i++)
        reply_integer(&c->reply, ANSWER_ABSENT);
}

static void tell_ending(struct call *c, const struct place *p, struct slice field,
                        enum answer answer, int64_t expires_ms)
{
    char text[NUMBER_INTEGER_SIZE_MAX];
    if (answer == ANSWER_GONE)
        told(c, p, SLICE("HDEL"), p->key, field);
    else
        told(c, p, SLICE("HPEXPIREAT"), p->key, told_number(text, expires_ms), SLICE("FIELDS"),
             SLICE("1"), field);
}

static void run_expire(struct call *c, enum hash_unit unit, int64_t base_ms)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p))
        return;
    int64_t expires_ms;
    uint32_t first;
    enum condition condition = read_condition(c, 3);
    if (!hash_expiry_read(c, 2, unit, base_ms, &expires_ms) ||
        !hash_fields_read(c, condition == CONDITION_NONE ? 3 : 4,
                          "Parameter `numFields` should be greater than 0", &first))
        return;
    if (!p.entry) {
        reply_absent(c, first);
        return;
    }

    struct value v = db_value(&p, TYPE_HASH);
    const char *event = NULL;
    reply_array(&c->reply, c->argc - first);
    for (uint32_t i = first; i < c->argc; i++) {
        enum answer answer = expire_field(c, &v, c->argv[i], condition, expires_ms);
        if (answer == ANSWER_DONE || answer == ANSWER_GONE) {
            event = answer == ANSWER_DONE ? "hexpire" : "hdel";
            tell_ending(c, &p, c->argv[i], answer, expires_ms);
        }
        reply_integer(&c->reply, answer);
    }
    hash_keep(c, &p, &v, event);
}

static void hexpire_run(struct call *c)
{
    run_expire(c, HASH_UNIT_SECONDS, c->now_ms);
}

static void hexpireat_run(struct call *c)
{
    run_expire(c, HASH_UNIT_SECONDS, 0);
}

static void hpexpire_run(struct call *c)
{
    run_expire(c, HASH_UNIT_MS, c->now_ms);
}

static void hpexpireat_run(struct call *c)
{
    run_expire(c, HASH_UNIT_MS, 0);
}

static void hpersist_run(struct call *c)
{
    struct place p;
    uint32_t first;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p) ||
        !hash_fields_read(c, 2, "Number of fields must be a positive integer", &first))
        return;
    if (!p.entry) {
        reply_absent(c, first);
        return;
    }

    struct value v = db_value(&p, TYPE_HASH);
    bool changed = false;
    reply_array(&c->reply, c->argc - first);
    for (uint32_t i = first; i < c->argc; i++) {
        struct hash_pair found;
        enum answer answer = ANSWER_ABSENT;
        if (hash_get(&v, c->keyspace, c->argv[i], call_due_ms(c), &found))
            answer = found.expires_ms == HASH_NO_EXPIRY ? ANSWER_STAYS : ANSWER_DONE;
        if (answer == ANSWER_DONE)
            hash_set_expiry(&v, c->keyspace, c->argv[i], HASH_NO_EXPIRY, call_due_ms(c));
        changed |= answer == ANSWER_DONE;
        reply_integer(&c->reply, answer);
    }
    db_keep(&p, &v);
    if (changed) {
        db_changed(c, &p);
        db_notify(&p, NOTIFY_HASH, "hpersist");
    }
}

/* --- Asking --- */

/* The expiry less `base_ms`, seconds rounded up. */
static void run_ttl(struct call *c, enum hash_unit unit, int64_t base_ms)
{
    struct place p;
    uint32_t first;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p) ||
        !hash_fields_read(c, 2, "Number of fields must be a positive integer", &first))
        return;
    if (!p.entry) {
        reply_absent(c, first);
        return;
    }
    struct value v = db_value(&p, TYPE_HASH);

    reply_array(&c->reply, c->argc - first);
    for (uint32_t i = first; i < c->argc; i++) {
        struct hash_pair found;
        int64_t answer = ANSWER_ABSENT;
        if (hash_get(&v, c->keyspace, c->argv[i], call_due_ms(c), &found))
            answer = found.expires_ms == HASH_NO_EXPIRY
                         ? ANSWER_STAYS
                         : (found.expires_ms - base_ms + unit - 1) / unit;
        reply_integer(&c->reply, answer);
    }
}

static void httl_run(struct call *c)
{
    run_ttl(c, HASH_UNIT_SECONDS, c->now_ms);
}

static void hpttl_run(struct call *c)
{
    run_ttl(c, HASH_UNIT_MS, c->now_ms);
}

static void hexpiretime_run(struct call *c)
{
    run_ttl(c, HASH_UNIT_SECONDS, 0);
}

static void hpexpiretime_run(struct call *c)
{
    run_ttl(c, HASH_UNIT_MS, 0);
}

const struct command hash_expire_commands[] = {
    {
        .name = "hexpire",
        .run = hexpire_run,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        .summary = "Sets in how many seconds fields of a hash end.",
    },
    {
        .name = "hexpireat",
        .run = hexpireat_run,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        .summary = "Sets the Unix time, in seconds, at which fields of a hash end.",
    },
    {
        .name = "hexpiretime",
        .run = hexpiretime_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key FIELDS numfields field [field ...]",
        .summary = "Returns the Unix time, in seconds, at which fields of a hash end.",
    },
    {
        .name = "hpersist",
        .run = hpersist_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key FIELDS numfields field [field ...]",
        .summary = "Makes fields of a hash stay until they are removed.",
    },
    {
        .name = "hpexpire",
        .run = hpexpire_run,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        .summary = "Sets in how many milliseconds fields of a hash end.",
    },
    {
        .name = "hpexpireat",
        .run = hpexpireat_run,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field "
                  "...]",
        .summary = "Sets the Unix time, in milliseconds, at which fields of a hash end.",
    },
    {
        .name = "hpexpiretime",
        .run = hpexpiretime_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key FIELDS numfields field [field ...]",
        .summary = "Returns the Unix time, in milliseconds, at which fields of a hash end.",
    },
    {
        .name = "hpttl",
        .run = hpttl_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key FIELDS numfields field [field ...]",
        .summary = "Returns how many milliseconds fields of a hash have left.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "httl",
        .run = httl_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "7.4.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key FIELDS numfields field [field ...]",
        .summary = "Returns how many seconds fields of a hash have left.",
        .tips = "nondeterministic_output",
    },
    {0},
};
