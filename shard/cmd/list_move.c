/* Commands on several lists that do not wait: LMOVE, RPOPLPUSH, LMPOP. */
#include "shard/cmd/list_cmd.h"

#include "proto/number.h"

bool list_arg_end(struct call *c, uint32_t arg, enum list_end *end)
{
    *end = call_arg_is(c, arg, "left") ? LIST_HEAD : LIST_TAIL;
    if (*end == LIST_HEAD || call_arg_is(c, arg, "right"))
        return true;
    reply_error_syntax(&c->reply);
    return false;
}

/* Moving. */

bool list_move_read(struct call *c, struct list_move *m)
{
    return list_arg_end(c, 3, &m->from) && list_arg_end(c, 4, &m->to);
}

/* Within one list: from one end to the other, or to where it was. */
static void move_within(struct call *c, struct place *p, struct list_move m)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct value v = db_value(p, TYPE_LIST);
    reply_bulk(&c->reply, list_peek(&v, m.from, scratch));
    if (m.from != m.to)
        list_rotate(&v, &c->keyspace->options, m.from);
    db_keep(p, &v);
    db_changed(c, p);
    list_notify_push(p, m.to);
    list_notify_pop(p, m.from);
}

void list_move(struct call *c, struct place *from, struct list_move m)
{
    if (slice_equal(c->argv[1], c->argv[2])) {
        move_within(c, from, m);
        return;
    }
    struct place to;
    if (!db_find_type(c, 2, DB_WRITE, TYPE_LIST, &to))
        return;

    const struct keyspace_options *o = &c->keyspace->options;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct value source = db_value(from, TYPE_LIST);
    struct slice element = list_peek(&source, m.from, scratch);
    reply_bulk(&c->reply, element);

    struct value target = db_value(&to, TYPE_LIST);
    list_push(&target, o, m.to, &element, 1);
    db_keep(&to, &target);
    list_drop(&source, o, m.from);
    db_keep(from, &source);
    db_changed(c, &to);
    db_changed_too(c, from);
    list_notify_push(&to, m.to);
    list_notify_pop(from, m.from);
}

static void move_or_null(struct call *c, struct list_move m)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_LIST, &p))
        return;
    if (p.entry)
        list_move(c, &p, m);
    else
        reply_null(&c->reply);
}

static void lmove(struct call *c)
{
    struct list_move m;
    if (list_move_read(c, &m))
        move_or_null(c, m);
}

static void rpoplpush(struct call *c)
{
    move_or_null(c, (struct list_move){LIST_TAIL, LIST_HEAD});
}

/* Popping from one of several. */

/* A number above 0, with one error for all that is not. */
static bool read_positive(struct call *c, uint32_t arg, const char *name, int64_t *value)
{
    if (number_parse_integer(c->argv[arg], value) && *value > 0)
        return true;
    reply_error(&c->reply, "ERR %s should be greater than 0", name);
    return false;
}

static bool read_mpop_count(struct call *c, uint32_t arg, struct list_mpop *m)
{
    m->count = 1;
    if (arg == c->argc)
        return true;
    if (!call_arg_is(c, arg, "count") || arg + 1 == c->argc) {
        reply_error_syntax(&c->reply);
        return false;
    }
    if (!read_positive(c, arg + 1, "count", &m->count))
        return false;
    if (arg + 2 < c->argc)
        reply_error_syntax(&c->reply);
    return arg + 2 == c->argc;
}

bool list_mpop_read(struct call *c, uint32_t arg, struct list_mpop *m)
{
    int64_t key_count;
    if (!read_positive(c, arg, "numkeys", &key_count))
        return false;
    if (key_count >= (int64_t)(c->argc - arg - 1)) {
        reply_error_syntax(&c->reply);
        return false;
    }
    m->first_key = arg + 1;
    m->key_count = (uint32_t)key_count;
    uint32_t end_arg = m->first_key + m->key_count;
    return list_arg_end(c, end_arg, &m->end) && read_mpop_count(c, end_arg + 1, m);
}

void list_mpop(struct call *c, uint32_t arg, struct place *p, const struct list_mpop *m)
{
    reply_array(&c->reply, 2);
    reply_bulk(&c->reply, c->argv[arg]);
    struct value v = db_value(p, TYPE_LIST);
    uint64_t length = list_count(&v), count = (uint64_t)m->count;
    list_pop_many(c, p, m->end, count);
    list_tell_pop(c, p, m->end, count < length ? count : length);
}

static void lmpop(struct call *c)
{
    struct list_mpop m;
    if (!list_mpop_read(c, 1, &m))
        return;

    for (uint32_t i = 0; i < m.key_count; i++) {
        struct place p;
        if (!db_find_type(c, m.first_key + i, DB_WRITE, TYPE_LIST, &p))
            return;
        if (p.entry) {
            list_mpop(c, m.first_key + i, &p, &m);
            return;
        }
    }

    reply_null_array(&c->reply);
}

const struct command list_move_commands[] = {
    {
        .name = "lmove",
        .run = lmove,
        .arity = 5,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_LIST,
        .keys = LIST_KEYS_MOVE,
        .group = "list",
        .since = "6.2.0",
        .complexity = "O(1)",
        .syntax = "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        .summary = "Moves an element from an end of one list to an end of another and returns it.",
    },
    {
        .name = "rpoplpush",
        .run = rpoplpush,
        .arity = 3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_LIST,
        .keys = LIST_KEYS_MOVE,
        .group = "list",
        .since = "1.2.0",
        .complexity = "O(1)",
        .syntax = "source destination",
        .summary = "Moves the last element of one list to the head of another and returns it.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`LMOVE` with the `RIGHT` and `LEFT` arguments",
    },
    {
        .name = "lmpop",
        .run = lmpop,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE,
        .acl = ACL_LIST,
        .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1,
                  .find = KEY_FIND_COUNT, .first = 1, .step = 1}},
        .group = "list",
        .since = "7.0.0",
        .complexity = "O(N+M) where N is the number of provided keys and M is the number of "
                      "elements returned.",
        .syntax = "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        .summary = "Removes and returns elements of the first list that has any.",
    },
    {0},
};
