/* Hashes: HSET, HGET and their kin.
 *
 * The other files of the family are hash_counter.c, hash_random.c, hash_expire.c (the expiry of
 * fields) and hash_getex.c (commands that read or write fields and set their expiry at once). A
 * field whose time has come is absent for all of them. */
#include "shard/cmd/hash_cmd.h"

#include "shard/cmd/scan_options.h"

void hash_keep(struct call *c, struct place *p, struct value *v, const char *event)
{
    bool present = p->entry;
    uint64_t expired = 0;
    if (hash_live_count(v, call_due_ms(c), 1) == 0)
        expired = hash_ops.remove_due(v, call_due_ms(c), UINT64_MAX, NULL);
    p->shard->stats.expired_fields += expired;
    db_keep(p, v);
    if (event || expired)
        db_changed(c, p);
    if (event)
        db_notify(p, NOTIFY_HASH, event);
    if (expired)
        db_notify(p, NOTIFY_HASH, "hexpired");
    if (present && !p->entry)
        db_notify(p, NOTIFY_GENERIC, "del");
}

/* --- Writing --- */

/* Sets all pairs; false, having replied, where that cannot be. */
static bool set_pairs(struct call *c, int64_t *added)
{
    if (c->argc % 2) {
        reply_error(&c->reply, "ERR wrong number of arguments for '%s' command",
                    c->command->name);
        return false;
    }
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p))
        return false;
    struct value v = db_value(&p, TYPE_HASH);
    hash_prepare(&v, c->keyspace, c->argv + 2, (c->argc - 2) / 2);
    *added = 0;
    for (uint32_t i = 2; i < c->argc; i += 2)
        *added += hash_set(&v, c->keyspace, c->argv[i], c->argv[i + 1], HASH_NO_EXPIRY,
                           call_due_ms(c));
    db_keep(&p, &v);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_HASH, "hset");
    return true;
}

static void hset_run(struct call *c)
{
    int64_t added;
    if (set_pairs(c, &added))
        reply_integer(&c->reply, added);
}

static void hmset_run(struct call *c)
{
    int64_t added;
    if (set_pairs(c, &added))
        reply_ok(&c->reply);
}

static void hsetnx_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p))
        return;

    struct value v = db_value(&p, TYPE_HASH);
    struct hash_pair present;
    bool absent = !hash_get(&v, c->keyspace, c->argv[2], call_due_ms(c), &present);
    if (absent) {
        hash_set(&v, c->keyspace, c->argv[2], c->argv[3], HASH_NO_EXPIRY, call_due_ms(c));
        db_keep(&p, &v);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_HASH, "hset");
    }

    reply_integer(&c->reply, absent);
}

static void hdel_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p))
        return;

    int64_t removed = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_HASH);
        for (uint32_t i = 2; i < c->argc; i++)
            removed += hash_remove(&v, c->keyspace, c->argv[i], call_due_ms(c));
        hash_keep(c, &p, &v, removed ? "hdel" : NULL);
    }

    reply_integer(&c->reply, removed);
}

/* --- Reading fields --- */

/* False where the key or the field is absent. */
static bool get(struct call *c, const struct place *p, struct slice field,
                struct hash_pair *found)
{
    if (!p->entry)
        return false;
    struct value v = db_value(p, TYPE_HASH);
    return hash_get(&v, c->keyspace, field, call_due_ms(c), found);
}

void hash_reply_value(struct call *c, const struct place *p, struct slice field)
{
    struct hash_pair found;
    if (get(c, p, field, &found))
        reply_bulk(&c->reply, found.value);
    else
        reply_null(&c->reply);
}

static void hget_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;

    hash_reply_value(c, &p, c->argv[2]);
}

static void hmget_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;

    reply_array(&c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++)
        hash_reply_value(c, &p, c->argv[i]);
}

static void hexists_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;

    struct hash_pair found;
    reply_integer(&c->reply, get(c, &p, c->argv[2], &found));
}

static void hstrlen_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;

    struct hash_pair found;
    bool present = get(c, &p, c->argv[2], &found);
    reply_integer(&c->reply, present ? (int64_t)found.value.size : 0);
}

/* Counts fields that have expired but are in memory still, as Redis does: to know how many those
 * are takes a look at each. */
static void hlen_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;

    int64_t count = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_HASH);
        count = (int64_t)value_count(&v);
    }

    reply_integer(&c->reply, count);
}

/* --- Reading all --- */

static void reply_pair(void *context, const struct hash_pair *pair)
{
    reply_bulk(context, pair->field);
    reply_bulk(context, pair->value);
}

static void reply_field(void *context, const struct hash_pair *pair)
{
    reply_bulk(context, pair->field);
}

static void reply_value(void *context, const struct hash_pair *pair)
{
    reply_bulk(context, pair->value);
}

/* Replies with what `visit` writes of each field, after the head for as many. */
static void reply_all(struct call *c, void (*head)(struct reply *r, size_t count),
                      void (*visit)(void *context, const struct hash_pair *pair))
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;

    if (!p.entry) {
        head(&c->reply, 0);
        return;
    }
    struct value v = db_value(&p, TYPE_HASH);

    head(&c->reply, hash_live_count(&v, call_due_ms(c), UINT64_MAX));
    hash_each(&v, call_due_ms(c), visit, &c->reply);
}

static void hgetall_run(struct call *c)
{
    reply_all(c, reply_map, reply_pair);
}

static void hkeys_run(struct call *c)
{
    reply_all(c, reply_array, reply_field);
}

static void hvals_run(struct call *c)
{
    reply_all(c, reply_array, reply_value);
}

struct scanning {
    struct scan_options options;
    struct scan_reply found;
};

static void scan_pair(void *context, const struct hash_pair *pair)
{
    struct scanning *s = context;
    if (!scan_options_match(&s->options, pair->field))
        return;
    reply_bulk(&s->found.elements, pair->field);
    s->found.count++;
    if (s->options.no_values)
        return;
    reply_bulk(&s->found.elements, pair->value);
    s->found.count++;
}

static void hscan_run(struct call *c)
{
    uint64_t cursor;
    struct place p;
    if (!scan_cursor_read(c, 2, &cursor) || !db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;
    if (!p.entry) {
        scan_reply_empty(c);
        return;
    }
    struct scanning s;
    if (!scan_options_read(c, 3, SCAN_NOVALUES, &s.options))
        return;

    struct value v = db_value(&p, TYPE_HASH);
    scan_reply_start(&s.found, c);
    uint64_t position = scan_cursor_position(cursor);
    position = hash_scan(&v, position, s.options.count, call_due_ms(c), scan_pair, &s);
    scan_reply_end(&s.found, c, scan_position_cursor(position));
}

const struct command hash_commands[] = {
    {
        .name = "hset",
        .run = hset_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(1) for each field/value pair added, so O(N) to add N field/value pairs "
                      "when the command is called with multiple field/value pairs.",
        .syntax = "key field value [field value ...]",
        .summary = "Sets fields of a hash to values, and creates the hash where there is none.",
    },
    {
        .name = "hmset",
        .run = hmset_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(N) where N is the number of fields being set.",
        .syntax = "key field value [field value ...]",
        .summary = "Sets fields of a hash to values.",
        .deprecated_since = "4.0.0",
        .replaced_by = "`HSET` with multiple field-value pairs",
    },
    {
        .name = "hsetnx",
        .run = hsetnx_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(1)",
        .syntax = "key field value",
        .summary = "Sets a field of a hash to a value unless the field exists.",
    },
    {
        .name = "hget",
        .run = hget_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(1)",
        .syntax = "key field",
        .summary = "Returns the value of a field of a hash.",
    },
    {
        .name = "hmget",
        .run = hmget_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(N) where N is the number of fields being requested.",
        .syntax = "key field [field ...]",
        .summary = "Returns the values of the given fields of a hash.",
    },
    {
        .name = "hgetall",
        .run = hgetall_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(N) where N is the size of the hash.",
        .syntax = "key",
        .summary = "Returns all fields and values of a hash.",
        .tips = "nondeterministic_output_order",
    },
    {
        .name = "hkeys",
        .run = hkeys_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(N) where N is the size of the hash.",
        .syntax = "key",
        .summary = "Returns all fields of a hash.",
        .tips = "nondeterministic_output_order",
    },
    {
        .name = "hvals",
        .run = hvals_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(N) where N is the size of the hash.",
        .syntax = "key",
        .summary = "Returns all values of a hash.",
        .tips = "nondeterministic_output_order",
    },
    {
        .name = "hlen",
        .run = hlen_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the number of fields of a hash.",
    },
    {
        .name = "hstrlen",
        .run = hstrlen_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO),
        .group = "hash",
        .since = "3.2.0",
        .complexity = "O(1)",
        .syntax = "key field",
        .summary = "Returns the length of the value of a field of a hash.",
    },
    {
        .name = "hexists",
        .run = hexists_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(1)",
        .syntax = "key field",
        .summary = "Says whether a field of a hash exists.",
    },
    {
        .name = "hdel",
        .run = hdel_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "hash",
        .since = "2.0.0",
        .complexity = "O(N) where N is the number of fields to be removed.",
        .syntax = "key field [field ...]",
        .summary = "Removes fields of a hash, and the hash with its last field.",
    },
    {
        .name = "hscan",
        .run = hscan_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "2.8.0",
        .complexity = "O(1) for every call. O(N) for a complete iteration, including enough "
                      "command calls for the cursor to return back to 0. N is the number of "
                      "elements inside the collection.",
        .syntax = "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        .summary = "Goes through the fields and values of a hash in steps.",
        .tips = "nondeterministic_output",
    },
    {0},
};
