/* Commands on keys whatever their type: COPY, DEL, EXISTS, MOVE, RENAME, RENAMENX, TOUCH, TYPE,
 * UNLINK. */
#include "shard/cmd/lookup.h"

/* Removes this shard's keys of those named. */
static void remove_keys(struct call *c, bool lazy)
{
    int64_t removed = 0;
    uint32_t at = 0;
    for (uint32_t arg; (arg = call_next_key(c, &at, NULL));) {
        struct place p = db_find(c, arg, DB_WRITE);
        if (!p.entry)
            continue;
        db_delete_as(&p, lazy);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_GENERIC, "del");
        removed++;
    }

    c->value = removed;
}

static void del_run(struct call *c)
{
    remove_keys(c, c->keyspace->options.lazy_user_del);
}

static void unlink_run(struct call *c)
{
    remove_keys(c, true);
}

static void exists_run(struct call *c)
{
    int64_t found = 0;
    uint32_t at = 0;
    for (uint32_t arg; (arg = call_next_key(c, &at, NULL));)
        found += lookup_untouched(c, arg).entry != NULL;

    c->value = found;
}

/* Touches even for a client that asked for CLIENT NO-TOUCH. */
static void touch_run(struct call *c)
{
    bool no_touch = c->no_touch;
    c->no_touch = false;
    int64_t found = 0;
    uint32_t at = 0;
    for (uint32_t arg; (arg = call_next_key(c, &at, NULL));)
        found += db_find(c, arg, DB_READ).entry != NULL;
    c->no_touch = no_touch;

    c->value = found;
}

static void type_run(struct call *c)
{
    struct place p = lookup_untouched(c, 1);

    reply_simple(&c->reply, p.entry ? db_type_name(&p) : "none");
}

static bool same_key(const struct call *c)
{
    return slice_equal(c->argv[1], c->argv[2]);
}

static void move_to(struct call *c, struct place *from, struct place *to)
{
    db_move(from, to);
    db_changed_too(c, from);
    db_changed(c, to);
}

static void rename_to(struct call *c, struct place *from, struct place *to)
{
    move_to(c, from, to);
    db_notify(from, NOTIFY_GENERIC, "rename_from");
    db_notify(to, NOTIFY_GENERIC, "rename_to");
}

static void rename_run(struct call *c)
{
    struct place from = db_find(c, 1, DB_WRITE);
    if (!from.entry) {
        reply_error(&c->reply, "ERR no such key");
        return;
    }
    if (!same_key(c)) {
        struct place to = db_find(c, 2, DB_WRITE);
        rename_to(c, &from, &to);
    }

    reply_ok(&c->reply);
}

static void renamenx_run(struct call *c)
{
    struct place from = db_find(c, 1, DB_WRITE);
    if (!from.entry) {
        reply_error(&c->reply, "ERR no such key");
        return;
    }
    struct place to = db_find(c, 2, DB_WRITE);
    bool renamed = !to.entry;
    if (renamed)
        rename_to(c, &from, &to);

    reply_integer(&c->reply, renamed);
}

/* Argument `arg` as the number of a database. */
static bool read_db(struct call *c, uint32_t arg, uint32_t *db)
{
    int64_t value;
    if (!call_arg_integer_in(c, arg, INT32_MIN, INT32_MAX, &value))
        return false;
    if (value < 0 || value >= (int64_t)c->keyspace->db_count) {
        reply_error(&c->reply, "ERR DB index is out of range");
        return false;
    }
    *db = (uint32_t)value;
    return true;
}

static void move_run(struct call *c)
{
    uint32_t db;
    if (!read_db(c, 2, &db))
        return;
    if (db == c->db) {
        reply_error(&c->reply, "ERR source and destination objects are the same");
        return;
    }

    struct place from = db_find(c, 1, DB_WRITE);
    struct place to = db_find_key(c, c->argv[1], db, DB_WRITE);
    bool moved = from.entry && !to.entry;
    if (moved) {
        move_to(c, &from, &to);
        db_notify(&from, NOTIFY_GENERIC, "move_from");
        db_notify(&to, NOTIFY_GENERIC, "move_to");
    }

    reply_integer(&c->reply, moved);
}

static bool read_copy_options(struct call *c, uint32_t *db, bool *replace)
{
    *db = c->db;
    *replace = false;
    for (uint32_t i = 3; i < c->argc; i++) {
        if (call_arg_is(c, i, "replace")) {
            *replace = true;
        } else if (call_arg_is(c, i, "db") && i + 1 < c->argc) {
            if (!read_db(c, ++i, db))
                return false;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

static void copy_run(struct call *c)
{
    uint32_t db;
    bool replace;
    if (!read_copy_options(c, &db, &replace))
        return;
    if (db == c->db && same_key(c)) {
        reply_error(&c->reply, "ERR source and destination objects are the same");
        return;
    }

    struct place from = db_find(c, 1, DB_READ);
    struct place to = db_find_key(c, c->argv[2], db, DB_WRITE);
    bool copied = from.entry && (!to.entry || replace);
    if (copied) {
        db_copy(&from, &to);
        db_changed(c, &to);
        db_notify(&to, NOTIFY_GENERIC, "copy_to");
    }

    reply_integer(&c->reply, copied);
}

/* Two keys at args 1 and 2, with an access each. */
#define KEYS_TWO(f, g)                                                          \
    {{.flags = (f), .begin = 1, .find = KEY_FIND_RANGE, .last = 0, .step = 1}, \
     {.flags = (g), .begin = 2, .find = KEY_FIND_RANGE, .last = 0, .step = 1}}

const struct command generic_commands[] = {
    {
        .name = "copy",
        .run = copy_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_TWO(KEY_RO | KEY_ACCESS, KEY_OW | KEY_UPDATE),
        .group = "generic",
        .since = "6.2.0",
        .complexity = "O(N) where N is the number of elements. O(1) for strings.",
        .syntax = "source destination [DB destination-db] [REPLACE]",
        .summary = "Copies a value, with its expiry, to another key.",
    },
    {
        .name = "del",
        .run = del_run,
        .arity = -2,
        .route = ROUTE_SPLIT,
        .split = SPLIT_SUM,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ALL(KEY_RM | KEY_DELETE),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of keys, plus O(M) for each key of M elements "
                      "that is no string.",
        .syntax = "key [key ...]",
        .summary = "Removes keys and returns how many there were.",
        .tips = "request_policy:multi_shard response_policy:agg_sum",
    },
    {
        .name = "exists",
        .run = exists_run,
        .arity = -2,
        .route = ROUTE_SPLIT,
        .split = SPLIT_SUM,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ALL(KEY_RO),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of keys.",
        .syntax = "key [key ...]",
        .summary = "Counts how many of the keys named exist.",
        .tips = "request_policy:multi_shard response_policy:agg_sum",
    },
    {
        .name = "move",
        .run = move_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key db",
        .summary = "Moves a key to another database.",
    },
    {
        .name = "rename",
        .run = rename_run,
        .arity = 3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_TWO(KEY_RW | KEY_ACCESS | KEY_DELETE, KEY_OW | KEY_UPDATE),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key newkey",
        .summary = "Renames a key, replacing any key of the new name.",
    },
    {
        .name = "renamenx",
        .run = renamenx_run,
        .arity = 3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_TWO(KEY_RW | KEY_ACCESS | KEY_DELETE, KEY_OW | KEY_INSERT),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key newkey",
        .summary = "Renames a key unless the new name is taken.",
    },
    {
        .name = "touch",
        .run = touch_run,
        .arity = -2,
        .route = ROUTE_SPLIT,
        .split = SPLIT_SUM,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ALL(KEY_RO),
        .group = "generic",
        .since = "3.2.1",
        .complexity = "O(N) where N is the number of keys.",
        .syntax = "key [key ...]",
        .summary = "Marks keys as used just now and returns how many exist.",
        .tips = "request_policy:multi_shard response_policy:agg_sum",
    },
    {
        .name = "type",
        .run = type_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RO),
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the type of the value of a key.",
    },
    {
        .name = "unlink",
        .run = unlink_run,
        .arity = -2,
        .route = ROUTE_SPLIT,
        .split = SPLIT_SUM,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ALL(KEY_RM | KEY_DELETE),
        .group = "generic",
        .since = "4.0.0",
        .complexity = "O(N) where N is the number of keys, plus O(M) for each key of M elements "
                      "that is no string.",
        .syntax = "key [key ...]",
        .summary = "Removes keys and returns how many there were.",
        .tips = "request_policy:multi_shard response_policy:agg_sum",
    },
    {0},
};
