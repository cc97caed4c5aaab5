/* Parts of string values: their length, a range of their bytes, bytes written into them.
 *
 * Bytes are written in place (db_string_bytes), so that a log grown by APPEND costs what is added
 * to it. A string written so shows as "raw" from then on, as in Redis. */
#include "shard/cmd/string_cmd.h"

#include "proto/number.h"

/* True, having replied, where the key holds something that is not a string. */
static bool refuse_type(struct call *c, const struct place *p)
{
    if (!p->entry || db_is_string(p))
        return false;
    reply_error_wrong_type(&c->reply);
    return true;
}

/* True, having replied, where a string of `size` + `more` bytes would be too long. */
static bool refuse_size(struct call *c, uint64_t size, uint64_t more)
{
    uint64_t total;
    if (!__builtin_add_overflow(size, more, &total) &&
        total <= c->keyspace->options.bulk_size_max)
        return false;
    reply_error(&c->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return true;
}

static size_t string_size(const struct place *p)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    return p->entry ? db_string(p, scratch).size : 0;
}

static void append(struct call *c)
{
    struct slice more = c->argv[2];

    struct place p = db_find(c, 1, DB_WRITE);
    if (refuse_type(c, &p))
        return;
    size_t size = string_size(&p);
    if (p.entry && refuse_size(c, size, more.size))
        return;
    if (p.entry)
        memcpy(db_string_bytes(&p, size + more.size) + size, more.data, more.size);
    else
        db_put_string(&p, more, DB_NO_EXPIRY);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_STRING, "append");

    reply_integer(&c->reply, (int64_t)(size + more.size));
}

static void setrange(struct call *c)
{
    int64_t offset;
    struct slice bytes = c->argv[3];
    if (!call_arg_integer(c, 2, &offset))
        return;
    if (offset < 0) {
        reply_error(&c->reply, "ERR offset is out of range");
        return;
    }

    struct place p = db_find(c, 1, DB_WRITE);
    if (refuse_type(c, &p))
        return;
    size_t size = string_size(&p);
    if (bytes.size > 0) {
        if (refuse_size(c, (uint64_t)offset, bytes.size))
            return;
        size_t end = (size_t)offset + bytes.size;
        size = end > size ? end : size;
        memcpy(db_string_bytes(&p, size) + offset, bytes.data, bytes.size);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_STRING, "setrange");
    }

    reply_integer(&c->reply, (int64_t)size);
}

/* The bytes from `first` to `last`, both included; negative positions count from the end. */
static struct slice cut(struct slice s, int64_t first, int64_t last)
{
    struct slice empty = {s.data, 0};
    int64_t size = (int64_t)s.size;
    /* A range that is backwards is empty before it is clamped: -1 -5 of a short string too. */
    if (size == 0 || (first < 0 && last < 0 && first > last))
        return empty;

    first = first < 0 ? first + size : first;
    last = last < 0 ? last + size : last;
    first = first < 0 ? 0 : first;
    last = last < 0 ? 0 : last;
    last = last >= size ? size - 1 : last;
    if (first > last)
        return empty;
    return (struct slice){s.data + first, (size_t)(last - first + 1)};
}

static void getrange(struct call *c)
{
    int64_t first, last;
    if (!call_arg_integer(c, 2, &first) || !call_arg_integer(c, 3, &last))
        return;

    struct place p = db_find(c, 1, DB_READ);
    if (refuse_type(c, &p))
        return;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice value = p.entry ? db_string(&p, scratch) : SLICE("");

    reply_bulk(&c->reply, cut(value, first, last));
}

static void length(struct call *c)
{
    struct place p = db_find(c, 1, DB_READ);
    if (refuse_type(c, &p))
        return;

    reply_integer(&c->reply, (int64_t)string_size(&p));
}

const struct command string_range_commands[] = {
    {
        .name = "append",
        .run = append,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "string",
        .since = "2.0.0",
        .complexity = "O(N) where N is the length of the appended value.",
        .syntax = "key value",
        .summary = "Appends bytes to the string value of a key. "
                   "The key is created if it doesn't exist.",
    },
    {
        .name = "setrange",
        .run = setrange,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "string",
        .since = "2.2.0",
        .complexity = "O(N) where N is the length of the value, and of the zeros before it.",
        .syntax = "key offset value",
        .summary = "Overwrites a part of a string value from an offset on. "
                   "The key is created if it doesn't exist.",
    },
    {
        .name = "getrange",
        .run = getrange,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "string",
        .since = "2.4.0",
        .complexity = "O(N) where N is the length of the returned string.",
        .syntax = "key start end",
        .summary = "Returns a part of the string value of a key.",
    },
    {
        .name = "substr",
        .run = getrange,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "string",
        .since = "1.0.0",
        .complexity = "O(N) where N is the length of the returned string.",
        .syntax = "key start end",
        .summary = "Returns a part of the string value of a key.",
        .deprecated_since = "2.0.0",
        .replaced_by = "`GETRANGE`",
    },
    {
        .name = "strlen",
        .run = length,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RO),
        .group = "string",
        .since = "2.2.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the length of the string value of a key.",
    },
    {0},
};
