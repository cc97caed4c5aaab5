/* Commands that take from lists and wait where there is nothing: BLPOP, BRPOP, BLMPOP, BLMOVE,
 * BRPOPLPUSH.
 *
 * Each is its sister that does not wait, with the wait in place of the null. A repeated run does
 * what the first one does. */
#include "shard/cmd/list_cmd.h"
#include "shard/cmd/told.h"

/* Popping from one of several. */

/* The first of the keys that holds a list and may be taken from: its place, and its argument in
 * *arg. False where the reply is an error; a place without an entry where there is none. */
static bool find_list(struct call *c, uint32_t first_key, uint32_t key_count, struct place *p,
                      uint32_t *arg)
{
    for (*arg = first_key; *arg < first_key + key_count; ++*arg) {
        if (!call_may_take(c, *arg))
            continue;
        if (!db_find_type(c, *arg, DB_WRITE, TYPE_LIST, p))
            return false;
        if (p->entry)
            return true;
    }
    p->entry = NULL;
    return true;
}

static void wait_for_any(struct call *c, uint32_t first_key, uint32_t key_count,
                         int64_t timeout_ms)
{
    call_wait(c, (struct call_wait){
                     .type = TYPE_LIST,
                     .reply = WAIT_NULL_ARRAY,
                     .first_key = first_key,
                     .key_count = key_count,
                     .timeout_ms = timeout_ms,
                 });
}

static void pop_or_wait(struct call *c, enum list_end end)
{
    int64_t timeout_ms;
    uint32_t key_count = c->argc - 2;
    if (!call_arg_timeout(c, c->argc - 1, &timeout_ms))
        return;

    struct place p;
    uint32_t arg;
    if (!find_list(c, 1, key_count, &p, &arg))
        return;
    if (!p.entry) {
        wait_for_any(c, 1, key_count, timeout_ms);
        return;
    }
    reply_array(&c->reply, 2);
    reply_bulk(&c->reply, c->argv[arg]);
    list_pop(c, &p, end);
    list_tell_pop(c, &p, end, 1);
}

static void blpop(struct call *c)
{
    pop_or_wait(c, LIST_HEAD);
}

static void brpop(struct call *c)
{
    pop_or_wait(c, LIST_TAIL);
}

static void blmpop(struct call *c)
{
    struct list_mpop m;
    int64_t timeout_ms;
    if (!list_mpop_read(c, 2, &m) || !call_arg_timeout(c, 1, &timeout_ms))
        return;

    struct place p;
    uint32_t arg;
    if (!find_list(c, m.first_key, m.key_count, &p, &arg))
        return;
    if (p.entry)
        list_mpop(c, arg, &p, &m);
    else
        wait_for_any(c, m.first_key, m.key_count, timeout_ms);
}

/* Moving. */

/* Redis answers a timeout with a null array here, too, but a command that must not wait with a
 * plain null. */
static void wait_for_source(struct call *c, int64_t timeout_ms)
{
    if (c->may_wait)
        wait_for_any(c, 1, 1, timeout_ms);
    else
        reply_null(&c->reply);
}

/* True where an element was moved. */
static bool move_or_wait(struct call *c, struct list_move m, int64_t timeout_ms)
{
    struct place p;
    uint32_t arg;
    if (!find_list(c, 1, 1, &p, &arg))
        return false;
    if (!p.entry) {
        wait_for_source(c, timeout_ms);
        return false;
    }
    list_move(c, &p, m);
    return !c->reply.errors;
}

/* By the sister's name, with as many of the arguments. */
static void tell_move(struct call *c, struct slice name, uint32_t args)
{
    struct slice words[5] = {name};
    for (uint32_t i = 1; i <= args; i++)
        words[i] = c->argv[i];
    call_journal(c, NULL, words, 1 + args);
}

static void blmove(struct call *c)
{
    struct list_move m;
    int64_t timeout_ms;
    if (!list_move_read(c, &m) || !call_arg_timeout(c, 5, &timeout_ms))
        return;
    if (move_or_wait(c, m, timeout_ms))
        tell_move(c, SLICE("LMOVE"), 4);
}

static void brpoplpush(struct call *c)
{
    int64_t timeout_ms;
    if (!call_arg_timeout(c, 3, &timeout_ms))
        return;
    if (move_or_wait(c, (struct list_move){LIST_TAIL, LIST_HEAD}, timeout_ms))
        tell_move(c, SLICE("RPOPLPUSH"), 2);
}

#define KEYS_POP                                                                  \
    {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .find = KEY_FIND_RANGE, \
      .last = -2, .step = 1}}

const struct command list_block_commands[] = {
    {
        .name = "blpop",
        .run = blpop,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_BLOCKING | CMD_ANY_KEY,
        .acl = ACL_LIST,
        .keys = KEYS_POP,
        .group = "list",
        .since = "2.0.0",
        .complexity = "O(N) where N is the number of provided keys.",
        .syntax = "key [key ...] timeout",
        .summary = "Removes and returns the first element of the first list that has any. "
                   "Waits for one otherwise.",
    },
    {
        .name = "brpop",
        .run = brpop,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_BLOCKING | CMD_ANY_KEY,
        .acl = ACL_LIST,
        .keys = KEYS_POP,
        .group = "list",
        .since = "2.0.0",
        .complexity = "O(N) where N is the number of provided keys.",
        .syntax = "key [key ...] timeout",
        .summary = "Removes and returns the last element of the first list that has any. "
                   "Waits for one otherwise.",
    },
    {
        .name = "blmpop",
        .run = blmpop,
        .arity = -5,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_BLOCKING | CMD_ANY_KEY,
        .acl = ACL_LIST,
        .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 2,
                  .find = KEY_FIND_COUNT, .first = 1, .step = 1}},
        .group = "list",
        .since = "7.0.0",
        .complexity = "O(N+M) where N is the number of provided keys and M is the number of "
                      "elements returned.",
        .syntax = "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        .summary = "Removes and returns elements of the first list that has any. "
                   "Waits for one otherwise.",
    },
    {
        .name = "blmove",
        .run = blmove,
        .arity = 6,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_BLOCKING,
        .acl = ACL_LIST,
        .keys = LIST_KEYS_MOVE,
        .group = "list",
        .since = "6.2.0",
        .complexity = "O(1)",
        .syntax = "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        .summary = "Moves an element from an end of one list to an end of another and returns it. "
                   "Waits for one otherwise.",
    },
    {
        .name = "brpoplpush",
        .run = brpoplpush,
        .arity = 4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_BLOCKING,
        .acl = ACL_LIST,
        .keys = LIST_KEYS_MOVE,
        .group = "list",
        .since = "2.2.0",
        .complexity = "O(1)",
        .syntax = "source destination timeout",
        .summary = "Moves the last element of one list to the head of another and returns it. "
                   "Waits for one otherwise.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
    },
    {0},
};
