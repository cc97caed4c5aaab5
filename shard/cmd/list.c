/* Commands on one list: LPUSH, RPUSH, LPUSHX, RPUSHX, LPOP, RPOP, LLEN, LRANGE, LINDEX, LSET,
 * LINSERT, LREM, LTRIM, LPOS. */
#include "shard/cmd/list_cmd.h"
#include "shard/cmd/told.h"

#include "proto/mem.h"
#include "proto/number.h"

static const struct keyspace_options *options(const struct call *c)
{
    return &c->keyspace->options;
}

/* Ranges and indexes. */

/* A range of elements, of Redis's inclusive bounds that may count from the end and lie outside. */
struct range {
    uint64_t first, count;
};

static struct range range_within(int64_t start, int64_t stop, uint64_t count)
{
    int64_t length = (int64_t)count;
    if (start < 0)
        start += length;
    if (start < 0)
        start = 0;
    if (stop < 0)
        stop += length;
    if (stop >= length)
        stop = length - 1;
    if (start > stop)
        return (struct range){0, 0};
    return (struct range){(uint64_t)start, (uint64_t)(stop - start) + 1};
}

/* An index that may count from the end; false where it is outside of the list. */
static bool index_within(int64_t index, uint64_t count, uint64_t *at)
{
    if (index < 0)
        index += (int64_t)count;
    *at = (uint64_t)index;
    return index >= 0 && *at < count;
}

/* Pushing. */

static void push(struct call *c, enum list_end end, bool only_to_present)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    if (only_to_present && !p.entry) {
        reply_integer(&c->reply, 0);
        return;
    }

    struct value v = db_value(&p, TYPE_LIST);
    list_push(&v, options(c), end, c->argv + 2, c->argc - 2);
    uint64_t count = list_count(&v);
    db_keep(&p, &v);
    db_changed(c, &p);
    list_notify_push(&p, end);

    reply_integer(&c->reply, (int64_t)count);
}

static void lpush(struct call *c)
{
    push(c, LIST_HEAD, false);
}

static void rpush(struct call *c)
{
    push(c, LIST_TAIL, false);
}

static void lpushx(struct call *c)
{
    push(c, LIST_HEAD, true);
}

static void rpushx(struct call *c)
{
    push(c, LIST_TAIL, true);
}

/* The index of the first element that equals `value`; false where none does. */
static bool find_element(const struct value *v, struct slice value, uint64_t *index)
{
    struct list_cursor cursor;
    *index = 0;
    list_cursor_start(&cursor, v, 0, false);
    while (!list_cursor_ended(&cursor) && !list_cursor_equal(&cursor, value)) {
        list_cursor_next(&cursor);
        ++*index;
    }
    bool found = !list_cursor_ended(&cursor);
    list_cursor_stop(&cursor);
    return found;
}

static void linsert(struct call *c)
{
    bool after = call_arg_is(c, 2, "after");
    if (!after && !call_arg_is(c, 2, "before")) {
        reply_error_syntax(&c->reply);
        return;
    }

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    if (!p.entry) {
        reply_integer(&c->reply, 0);
        return;
    }
    struct value v = db_value(&p, TYPE_LIST);
    uint64_t index;
    if (!find_element(&v, c->argv[3], &index)) {
        reply_integer(&c->reply, -1);
        return;
    }
    list_insert(&v, options(c), index + after, c->argv[4]);
    uint64_t count = list_count(&v);
    db_keep(&p, &v);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_LIST, "linsert");

    reply_integer(&c->reply, (int64_t)count);
}

static void lset(struct call *c)
{
    /* As in Redis, a wrong index for an absent key is not looked at. */
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    if (!p.entry) {
        reply_error(&c->reply, "ERR no such key");
        return;
    }
    int64_t index;
    if (!call_arg_integer(c, 2, &index))
        return;
    struct value v = db_value(&p, TYPE_LIST);
    uint64_t at;
    if (!index_within(index, list_count(&v), &at)) {
        reply_error(&c->reply, "ERR index out of range");
        return;
    }

    list_replace(&v, options(c), at, c->argv[3]);
    db_keep(&p, &v);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_LIST, "lset");

    reply_ok(&c->reply);
}

/* Removing. */

void list_reply_range(struct call *c, const struct value *v, uint64_t index, uint64_t count,
                      bool backward)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor cursor;
    reply_array(&c->reply, count);
    list_cursor_start(&cursor, v, index, backward);
    for (; count > 0; count--) {
        reply_bulk(&c->reply, list_cursor_text(&cursor, scratch));
        list_cursor_next(&cursor);
    }
    list_cursor_stop(&cursor);
}

void list_tell_pop(struct call *c, const struct place *p, enum list_end end, uint64_t count)
{
    char text[NUMBER_INTEGER_SIZE_MAX];
    struct slice pop = end == LIST_HEAD ? SLICE("LPOP") : SLICE("RPOP");
    if (count == 1)
        told(c, p, pop, p->key);
    else
        told(c, p, pop, p->key, told_number(text, (int64_t)count));
}

void list_pop(struct call *c, struct place *p, enum list_end end)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct value v = db_value(p, TYPE_LIST);
    reply_bulk(&c->reply, list_peek(&v, end, scratch));
    list_drop(&v, options(c), end);
    db_keep(p, &v);
    db_changed(c, p);
    list_notify_pop(p, end);
}

void list_pop_many(struct call *c, struct place *p, enum list_end end, uint64_t count)
{
    struct value v = db_value(p, TYPE_LIST);
    uint64_t length = list_count(&v);
    if (count > length)
        count = length;
    list_reply_range(c, &v, end == LIST_HEAD ? 0 : length - 1, count, end == LIST_TAIL);
    list_delete(&v, options(c), end == LIST_HEAD ? 0 : length - count, count);
    db_keep(p, &v);
    db_changed(c, p);
    list_notify_pop(p, end);
}

static void pop_counted(struct call *c, enum list_end end)
{
    int64_t count;
    if (c->argc > 3) {
        reply_error(&c->reply, "ERR wrong number of arguments for '%s' command", c->command->name);
        return;
    }
    if (!call_arg_integer_in(c, 2, 0, INT64_MAX, &count))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    if (!p.entry)
        reply_null_array(&c->reply);
    else if (count == 0)
        reply_array(&c->reply, 0);
    else
        list_pop_many(c, &p, end, (uint64_t)count);
}

static void pop(struct call *c, enum list_end end)
{
    if (c->argc > 2) {
        pop_counted(c, end);
        return;
    }
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    if (p.entry)
        list_pop(c, &p, end);
    else
        reply_null(&c->reply);
}

static void lpop(struct call *c)
{
    pop(c, LIST_HEAD);
}

static void rpop(struct call *c)
{
    pop(c, LIST_TAIL);
}

static void lrem(struct call *c)
{
    int64_t count;
    if (!call_arg_integer(c, 2, &count))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    uint64_t removed = 0;
    if (p.entry) {
        uint64_t max = count > 0 ? (uint64_t)count : count < 0 ? 0 - (uint64_t)count : UINT64_MAX;
        struct value v = db_value(&p, TYPE_LIST);
        removed = list_remove(&v, options(c), c->argv[3], max, count < 0);
        db_keep(&p, &v);
    }
    if (removed > 0) {
        db_changed(c, &p);
        db_notify_taken(&p, NOTIFY_LIST, "lrem");
    }

    reply_integer(&c->reply, (int64_t)removed);
}

static void ltrim(struct call *c)
{
    int64_t start, stop;
    if (!call_arg_integer(c, 2, &start) || !call_arg_integer(c, 3, &stop))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_LIST);
        uint64_t count = list_count(&v);
        struct range kept = range_within(start, stop, count);
        uint64_t end = kept.first + kept.count;
        list_delete(&v, options(c), end, count - end);
        list_delete(&v, options(c), 0, kept.first);
        db_keep(&p, &v);
        if (kept.count < count)
            db_changed(c, &p);
        /* As in Redis, whether or not anything went. */
        db_notify_taken(&p, NOTIFY_LIST, "ltrim");
    }

    reply_ok(&c->reply);
}

/* Reading. */

static void llen(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_LIST, &p))
        return;
    uint64_t count = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_LIST);
        count = list_count(&v);
    }

    reply_integer(&c->reply, (int64_t)count);
}

static void lrange(struct call *c)
{
    int64_t start, stop;
    if (!call_arg_integer(c, 2, &start) || !call_arg_integer(c, 3, &stop))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_LIST, &p))
        return;
    if (!p.entry) {
        reply_array(&c->reply, 0);
        return;
    }
    struct value v = db_value(&p, TYPE_LIST);
    struct range range = range_within(start, stop, list_count(&v));
    list_reply_range(c, &v, range.first, range.count, false);
}

static void lindex(struct call *c)
{
    /* As in Redis, a wrong index for an absent key is no error. */
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_LIST, &p))
        return;
    int64_t index;
    if (p.entry && !call_arg_integer(c, 2, &index))
        return;

    struct value v = {0};
    uint64_t at;
    if (p.entry)
        v = db_value(&p, TYPE_LIST);
    if (!p.entry || !index_within(index, list_count(&v), &at)) {
        reply_null(&c->reply);
        return;
    }
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor cursor;
    list_cursor_start(&cursor, &v, at, false);
    reply_bulk(&c->reply, list_cursor_text(&cursor, scratch));
    list_cursor_stop(&cursor);
}

struct lpos {
    uint64_t skip; /* matches before the first that counts */
    uint64_t max;  /* matches wanted */
    uint64_t length_max;
    bool array;
    bool backward;
};

static bool read_rank(struct call *c, uint32_t arg, struct lpos *o)
{
    int64_t rank;
    if (!call_arg_integer_in(c, arg, -INT64_MAX, INT64_MAX, &rank))
        return false;
    if (rank == 0) {
        reply_error(&c->reply,
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the "
                    "second ... or use negative to start from the end of the list");
        return false;
    }
    o->backward = rank < 0;
    o->skip = (uint64_t)(rank < 0 ? -rank : rank) - 1;
    return true;
}

/* A number that must not be negative; 0 is no bound at all. */
static bool read_bound(struct call *c, uint32_t arg, const char *name, uint64_t *bound)
{
    int64_t value;
    if (!number_parse_integer(c->argv[arg], &value) || value < 0) {
        reply_error(&c->reply, "ERR %s can't be negative", name);
        return false;
    }
    *bound = value > 0 ? (uint64_t)value : UINT64_MAX;
    return true;
}

static bool read_lpos(struct call *c, struct lpos *o)
{
    *o = (struct lpos){.max = 1, .length_max = UINT64_MAX};
    for (uint32_t i = 3; i < c->argc; i += 2) {
        bool read;
        if (i + 1 < c->argc && call_arg_is(c, i, "rank")) {
            read = read_rank(c, i + 1, o);
        } else if (i + 1 < c->argc && call_arg_is(c, i, "count")) {
            o->array = true;
            read = read_bound(c, i + 1, "COUNT", &o->max);
        } else if (i + 1 < c->argc && call_arg_is(c, i, "maxlen")) {
            read = read_bound(c, i + 1, "MAXLEN", &o->length_max);
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
        if (!read)
            return false;
    }
    return true;
}

/* Indexes that were found; more than fit in one array of them are rare. */
struct matches {
    uint64_t *items;
    uint64_t count, cap;
};

static void add_match(struct matches *m, uint64_t index)
{
    if (m->count == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 16;
        m->items = mem_realloc(m->items, m->cap * sizeof(m->items[0]));
    }
    m->items[m->count++] = index;
}

static struct matches find_matches(const struct value *v, struct slice value,
                                   const struct lpos *o)
{
    struct matches m = {0};
    uint64_t count = list_count(v), seen = 0;
    struct list_cursor cursor;
    list_cursor_start(&cursor, v, o->backward ? count - 1 : 0, o->backward);
    for (uint64_t i = 0; i < o->length_max && !list_cursor_ended(&cursor); i++) {
        if (list_cursor_equal(&cursor, value) && seen++ >= o->skip) {
            add_match(&m, o->backward ? count - 1 - i : i);
            if (m.count == o->max)
                break;
        }
        list_cursor_next(&cursor);
    }
    list_cursor_stop(&cursor);
    return m;
}

static void lpos(struct call *c)
{
    struct lpos o;
    if (!read_lpos(c, &o))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_LIST, &p))
        return;
    struct matches m = {0};
    if (p.entry) {
        struct value v = db_value(&p, TYPE_LIST);
        m = find_matches(&v, c->argv[2], &o);
    }

    if (o.array)
        reply_array(&c->reply, m.count);
    else if (m.count == 0)
        reply_null(&c->reply);
    for (uint64_t i = 0; i < m.count; i++)
        reply_integer(&c->reply, (int64_t)m.items[i]);
    mem_free(m.items);
}

#define PUSH_COMPLEXITY \
    "O(1) for each element added, so O(N) to add N elements when the command is called with " \
    "multiple arguments."

const struct command list_commands[] = {
    {
        .name = "lpush",
        .run = lpush,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "list",
        .since = "1.0.0",
        .complexity = PUSH_COMPLEXITY,
        .syntax = "key element [element ...]",
        .summary = "Prepends elements to a list. The list is created if it doesn't exist.",
    },
    {
        .name = "rpush",
        .run = rpush,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "list",
        .since = "1.0.0",
        .complexity = PUSH_COMPLEXITY,
        .syntax = "key element [element ...]",
        .summary = "Appends elements to a list. The list is created if it doesn't exist.",
    },
    {
        .name = "lpushx",
        .run = lpushx,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "list",
        .since = "2.2.0",
        .complexity = PUSH_COMPLEXITY,
        .syntax = "key element [element ...]",
        .summary = "Prepends elements to a list only when it exists.",
    },
    {
        .name = "rpushx",
        .run = rpushx,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "list",
        .since = "2.2.0",
        .complexity = PUSH_COMPLEXITY,
        .syntax = "key element [element ...]",
        .summary = "Appends elements to a list only when it exists.",
    },
    {
        .name = "lpop",
        .run = lpop,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_DELETE),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of elements returned",
        .syntax = "key [count]",
        .summary = "Removes and returns the first elements of a list. "
                   "The list goes with its last element.",
    },
    {
        .name = "rpop",
        .run = rpop,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_DELETE),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of elements returned",
        .syntax = "key [count]",
        .summary = "Removes and returns the last elements of a list. "
                   "The list goes with its last element.",
    },
    {
        .name = "llen",
        .run = llen,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RO),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the length of a list.",
    },
    {
        .name = "lrange",
        .run = lrange,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(S+N) where S is the distance of start offset from HEAD for small lists, "
                      "from nearest end (HEAD or TAIL) for large lists; and N is the number of "
                      "elements in the specified range.",
        .syntax = "key start stop",
        .summary = "Returns a range of elements of a list.",
    },
    {
        .name = "lindex",
        .run = lindex,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of elements to traverse to get to the element at "
                      "index. This makes asking for the first or the last element of the list "
                      "O(1).",
        .syntax = "key index",
        .summary = "Returns an element of a list by its index.",
    },
    {
        .name = "lset",
        .run = lset,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(N) where N is the length of the list. Setting either the first or the "
                      "last element of the list is O(1).",
        .syntax = "key index element",
        .summary = "Sets the element of a list at an index.",
    },
    {
        .name = "linsert",
        .run = linsert,
        .arity = 5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "list",
        .since = "2.2.0",
        .complexity = "O(N) where N is the number of elements to traverse before seeing the value "
                      "pivot. This means that inserting somewhere on the left end on the list "
                      "(head) can be considered O(1) and inserting somewhere on the right end "
                      "(tail) is O(N).",
        .syntax = "key <BEFORE | AFTER> pivot element",
        .summary = "Inserts an element before or after another one of a list.",
    },
    {
        .name = "lrem",
        .run = lrem,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(N+M) where N is the length of the list and M is the number of elements "
                      "removed.",
        .syntax = "key count element",
        .summary = "Removes equal elements from a list. The list goes with its last element.",
    },
    {
        .name = "ltrim",
        .run = ltrim,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "list",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of elements to be removed by the operation.",
        .syntax = "key start stop",
        .summary = "Removes the elements outside of a range from a list. "
                   "The list goes with its last element.",
    },
    {
        .name = "lpos",
        .run = lpos,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_LIST,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "list",
        .since = "6.0.6",
        .complexity = "O(N) where N is the number of elements in the list, for the average case. "
                      "When searching for elements near the head or the tail of the list, or when "
                      "the MAXLEN option is provided, the command may run in constant time.",
        .syntax = "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        .summary = "Returns the indexes of matching elements of a list.",
    },
    {0},
};
