/* Taking members from the ends of sorted sets: ZPOPMIN, ZPOPMAX, ZMPOP, and BZPOPMIN, BZPOPMAX,
 * BZMPOP, which wait for a member where there is none. */
#include "shard/cmd/told.h"
#include "shard/cmd/zset_result.h"

/* What the reply has around the members. */
enum pop_shape {
    SHAPE_MEMBER,  /* nothing: ZPOPMIN without a count */
    SHAPE_MEMBERS, /* ZPOPMIN with a count: pairs in RESP3 */
    SHAPE_KEYED,   /* BZPOPMIN: the key before them */
    SHAPE_NESTED,  /* ZMPOP: the key, then an array of pairs */
};

struct pop {
    bool max;       /* from the end with the highest scores */
    int64_t count;
    enum pop_shape shape;
};

/* Opens the reply; returns whether each member and its score are an array. */
static bool open_reply(struct reply *r, struct slice key, const struct pop *pop, uint64_t count)
{
    switch (pop->shape) {
    case SHAPE_MEMBER:
        reply_array(r, 2 * count);
        return false;
    case SHAPE_MEMBERS:
        zset_reply_open(r, count, true);
        return r->protocol >= 3;
    case SHAPE_KEYED:
        reply_array(r, 1 + 2 * count);
        reply_bulk(r, key);
        return false;
    default:
        reply_array(r, 2);
        reply_bulk(r, key);
        reply_array(r, count);
        return true;
    }
}

/* Takes members from a set that is not empty, and replies them. */
static void pop_members(struct call *c, struct place *p, const struct pop *pop)
{
    struct value v = db_value(p, TYPE_ZSET);
    uint64_t held = zset_count(&v);
    uint64_t count = (uint64_t)pop->count < held ? (uint64_t)pop->count : held;
    bool paired = open_reply(&c->reply, p->key, pop, count);
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, &v, 0, pop->max);
    for (uint64_t i = 0; i < count && zset_walk_next(&w, &member, &score); i++) {
        if (paired)
            reply_array(&c->reply, 2);
        reply_bulk(&c->reply, member);
        reply_double(&c->reply, score);
    }

    uint64_t first = pop->max ? held - count : 0;
    zset_remove_ranks(&v, c->keyspace, first, first + count);
    db_keep(p, &v);
    db_changed(c, p);
    char text[NUMBER_INTEGER_SIZE_MAX];
    told(c, p, pop->max ? SLICE("ZPOPMAX") : SLICE("ZPOPMIN"), p->key,
         told_number(text, (int64_t)count));
    db_notify_taken(p, NOTIFY_ZSET, pop->max ? "zpopmax" : "zpopmin");
}

static void pop_one_key(struct call *c, bool max)
{
    struct pop pop = {.max = max, .count = 1, .shape = SHAPE_MEMBER};
    if (c->argc > 3) {
        reply_error_syntax(&c->reply);
        return;
    }
    if (c->argc == 3) {
        pop.shape = SHAPE_MEMBERS;
        if (!call_arg_integer_in(c, 2, 0, INT64_MAX, &pop.count))
            return;
    }

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_ZSET, &p))
        return;
    if (!p.entry || pop.count == 0)
        reply_array(&c->reply, 0);
    else
        pop_members(c, &p, &pop);
}

static void zpopmin_run(struct call *c)
{
    pop_one_key(c, false);
}

static void zpopmax_run(struct call *c)
{
    pop_one_key(c, true);
}

/* Pops from the first of the keys that is there. True when that gave a reply, be it the error that
 * a key is of another type. */
static bool pop_first(struct call *c, uint32_t first_key, uint32_t key_count,
                      const struct pop *pop, bool waits)
{
    for (uint32_t i = first_key; i < first_key + key_count; i++) {
        if (waits && !call_may_take(c, i))
            continue;
        struct place p;
        if (!db_find_type(c, i, DB_WRITE, TYPE_ZSET, &p))
            return true;
        if (!p.entry)
            continue;
        pop_members(c, &p, pop);
        return true;
    }
    return false;
}

static void wait_for_members(struct call *c, uint32_t first_key, uint32_t key_count,
                             int64_t timeout_ms)
{
    call_wait(c, (struct call_wait){
                     .type = TYPE_ZSET,
                     .reply = WAIT_NULL_ARRAY,
                     .first_key = first_key,
                     .key_count = key_count,
                     .timeout_ms = timeout_ms,
                 });
}

static void pop_or_wait(struct call *c, bool max)
{
    struct pop pop = {.max = max, .count = 1, .shape = SHAPE_KEYED};
    uint32_t key_count = c->argc - 2;
    int64_t timeout_ms;
    if (!call_arg_timeout(c, c->argc - 1, &timeout_ms))
        return;

    if (!pop_first(c, 1, key_count, &pop, true))
        wait_for_members(c, 1, key_count, timeout_ms);
}

static void bzpopmin_run(struct call *c)
{
    pop_or_wait(c, false);
}

static void bzpopmax_run(struct call *c)
{
    pop_or_wait(c, true);
}

/* An argument from 1 on; the error is the same whatever else it is. */
static bool read_positive(struct call *c, uint32_t i, const char *name, int64_t *value)
{
    if (number_parse_integer(c->argv[i], value) && *value >= 1)
        return true;
    reply_error(&c->reply, "ERR %s should be greater than 0", name);
    return false;
}

/* Reads "numkeys key [key ...] MIN|MAX [COUNT count]" from argument `at` on. */
static bool read_mpop(struct call *c, uint32_t at, uint32_t *key_count, struct pop *pop)
{
    *pop = (struct pop){.count = 1, .shape = SHAPE_NESTED};
    int64_t keys;
    if (!read_positive(c, at, "numkeys", &keys))
        return false;
    if (keys >= (int64_t)(c->argc - at - 1)) {
        reply_error_syntax(&c->reply);
        return false;
    }
    *key_count = (uint32_t)keys;
    uint32_t i = at + 1 + *key_count;
    pop->max = call_arg_is(c, i, "max");
    bool counted = i + 1 < c->argc;
    if ((!pop->max && !call_arg_is(c, i, "min")) ||
        (counted && (!call_arg_is(c, i + 1, "count") || i + 2 >= c->argc))) {
        reply_error_syntax(&c->reply);
        return false;
    }
    if (counted && !read_positive(c, i + 2, "count", &pop->count))
        return false;
    if (counted && i + 3 < c->argc) {
        reply_error_syntax(&c->reply);
        return false;
    }
    return true;
}

static void zmpop_run(struct call *c)
{
    uint32_t key_count;
    struct pop pop;
    if (!read_mpop(c, 1, &key_count, &pop))
        return;

    if (!pop_first(c, 2, key_count, &pop, false))
        reply_null_array(&c->reply);
}

static void bzmpop_run(struct call *c)
{
    uint32_t key_count;
    struct pop pop;
    int64_t timeout_ms;
    if (!read_mpop(c, 2, &key_count, &pop) || !call_arg_timeout(c, 1, &timeout_ms))
        return;

    if (!pop_first(c, 3, key_count, &pop, true))
        wait_for_members(c, 3, key_count, timeout_ms);
}

const struct command zset_pop_commands[] = {
    {
        .name = "bzmpop",
        .run = bzmpop_run,
        .arity = -5,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_BLOCKING | CMD_ANY_KEY,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 2, .find = KEY_FIND_COUNT,
                 .first = 1, .step = 1},
            },
        .group = "sorted-set",
        .since = "7.0.0",
        .complexity = "O(K) + O(M*log(N)) where K is the number of provided keys, N being the "
                      "number of elements in the sorted set, and M being the number of elements "
                      "popped.",
        .syntax = "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        .summary = "Removes and returns members of the first sorted set that is not empty, or "
                   "waits for one.",
    },
    {
        .name = "bzpopmax",
        .run = bzpopmax_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_BLOCKING | CMD_FAST | CMD_ANY_KEY,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .find = KEY_FIND_RANGE,
                 .last = -2, .step = 1},
            },
        .group = "sorted-set",
        .since = "5.0.0",
        .complexity = "O(log(N)) with N being the number of elements in the sorted set.",
        .syntax = "key [key ...] timeout",
        .summary = "Removes and returns the member with the highest score of the first sorted set "
                   "that is not empty, or waits for one.",
    },
    {
        .name = "bzpopmin",
        .run = bzpopmin_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_BLOCKING | CMD_FAST | CMD_ANY_KEY,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .find = KEY_FIND_RANGE,
                 .last = -2, .step = 1},
            },
        .group = "sorted-set",
        .since = "5.0.0",
        .complexity = "O(log(N)) with N being the number of elements in the sorted set.",
        .syntax = "key [key ...] timeout",
        .summary = "Removes and returns the member with the lowest score of the first sorted set "
                   "that is not empty, or waits for one.",
    },
    {
        .name = "zmpop",
        .run = zmpop_run,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .find = KEY_FIND_COUNT,
                 .first = 1, .step = 1},
            },
        .group = "sorted-set",
        .since = "7.0.0",
        .complexity = "O(K) + O(M*log(N)) where K is the number of provided keys, N being the "
                      "number of elements in the sorted set, and M being the number of elements "
                      "popped.",
        .syntax = "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        .summary = "Removes and returns members of the first sorted set that is not empty.",
    },
    {
        .name = "zpopmax",
        .run = zpopmax_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_DELETE),
        .group = "sorted-set",
        .since = "5.0.0",
        .complexity = "O(log(N)*M) with N being the number of elements in the sorted set, and M "
                      "being the number of elements popped.",
        .syntax = "key [count]",
        .summary = "Removes and returns the members with the highest scores.",
    },
    {
        .name = "zpopmin",
        .run = zpopmin_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_DELETE),
        .group = "sorted-set",
        .since = "5.0.0",
        .complexity = "O(log(N)*M) with N being the number of elements in the sorted set, and M "
                      "being the number of elements popped.",
        .syntax = "key [count]",
        .summary = "Removes and returns the members with the lowest scores.",
    },
    {0},
};
