/* Sets, one at a time: SADD SCARD SISMEMBER SMISMEMBER SMEMBERS SPOP SRANDMEMBER SREM SSCAN, and
 * SMOVE between two. */
#include "shard/cmd/scan_options.h"
#include "shard/cmd/set_cmd.h"
#include "shard/cmd/told.h"
#include "shard/snapshot.h"

/* Up to so many members of a listpack are popped one by one, each for a walk and a move; for more,
 * the rest is written anew. */
#define POP_EACH_MAX 4
/* A table is dealt out when this many times what is left would be popped. */
#define POP_SPLIT_RATIO 5

static uint64_t next_random(void *shard)
{
    return shard_random(shard);
}

static struct value_random random_of(const struct place *p)
{
    return (struct value_random){next_random, p->shard};
}

/* A visitor that replies. */
static void reply_member(void *reply, const struct set_member *m)
{
    set_reply_member(reply, m);
}

static void sadd_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_SET, &p))
        return;
    struct value v = db_value(&p, TYPE_SET);
    int64_t added = 0;
    set_expect(&v, c->keyspace, c->argv[2], c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++)
        added += set_add(&v, c->keyspace, c->argv[i]);
    db_keep(&p, &v);
    if (added) {
        db_changed(c, &p);
        db_notify(&p, NOTIFY_SET, "sadd");
    }

    reply_integer(&c->reply, added);
}

static void srem_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_SET, &p))
        return;
    int64_t removed = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_SET);
        for (uint32_t i = 2; i < c->argc && set_count(&v) > 0; i++)
            removed += set_remove(&v, c->keyspace, c->argv[i]);
        if (removed) {
            db_keep(&p, &v);
            db_changed(c, &p);
            db_notify_taken(&p, NOTIFY_SET, "srem");
        }
    }

    reply_integer(&c->reply, removed);
}

static void scard_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_SET, &p))
        return;
    uint64_t count = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_SET);
        count = set_count(&v);
    }

    reply_integer(&c->reply, (int64_t)count);
}

static bool is_member(const struct call *c, const struct place *p, uint32_t arg)
{
    if (!p->entry)
        return false;
    struct value v = db_value(p, TYPE_SET);
    return set_has(&v, c->keyspace, c->argv[arg]);
}

static void sismember_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_SET, &p))
        return;

    reply_integer(&c->reply, is_member(c, &p, 2));
}

static void smismember_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_SET, &p))
        return;

    reply_array(&c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++)
        reply_integer(&c->reply, is_member(c, &p, i));
}

static void smembers_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_SET, &p))
        return;
    if (!p.entry) {
        reply_set(&c->reply, 0);
        return;
    }

    struct value v = db_value(&p, TYPE_SET);
    reply_set(&c->reply, set_count(&v));
    set_reply_members(&c->reply, &v);
}

/* What was popped is replied and told as removed. */
struct popping {
    struct reply *reply;
    struct told_list removed;
};

static void popping_start(struct popping *pop, struct call *c, const struct place *p,
                          uint64_t count)
{
    pop->reply = &c->reply;
    told_list_start(&pop->removed, c, p, SLICE("SREM"), count);
}

static void take_popped(void *context, const struct set_member *m)
{
    struct popping *pop = context;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    set_reply_member(pop->reply, m);
    told_list_add(&pop->removed, set_member_text(m, scratch));
}

static void pop_one(struct call *c, struct value *v, const struct value_random *random,
                    struct popping *pop)
{
    struct set_member m;
    set_random(v, random, &m);
    take_popped(pop, &m);
    set_remove_at(v, c->keyspace, &m);
}

/* Pops some, but not all, of the members of `p`. */
static void pop_some(struct call *c, struct place *p, uint64_t count)
{
    struct value v = db_value(p, TYPE_SET);
    struct value_random random = random_of(p);
    uint64_t left = set_count(&v) - count;
    struct popping pop;
    popping_start(&pop, c, p, count);
    bool each = v.encoding == ENC_LISTPACK ? count <= POP_EACH_MAX
                                           : left > count / POP_SPLIT_RATIO;
    if (each) {
        for (uint64_t i = 0; i < count; i++)
            pop_one(c, &v, &random, &pop);
    } else {
        struct value rest = set_ops.create(c->keyspace);
        set_split(&v, c->keyspace, count, &random, &rest, take_popped, &pop);
        if (!snapshot_adopt(p->shard, &v))
            value_free(&v);
        v = rest;
    }
    db_keep(p, &v);
}

/* SPOP with a count. */
static void pop_count(struct call *c)
{
    int64_t wanted;
    struct place p;
    if (!call_arg_integer_in(c, 2, 0, INT64_MAX, &wanted) ||
        !db_find_type(c, 1, DB_WRITE, TYPE_SET, &p))
        return;
    if (!p.entry || wanted == 0) {
        reply_set(&c->reply, 0);
        return;
    }

    struct value v = db_value(&p, TYPE_SET);
    uint64_t all = set_count(&v), count = (uint64_t)wanted;
    reply_set(&c->reply, count < all ? count : all);
    if (count < all) {
        pop_some(c, &p, count);
    } else {
        set_reply_members(&c->reply, &v);
        db_delete(&p);
        told_gone(c, &p);
    }
    db_changed(c, &p);
    db_notify_taken(&p, NOTIFY_SET, "spop");
}

static void spop_run(struct call *c)
{
    if (c->argc > 3) {
        reply_error_syntax(&c->reply);
        return;
    }
    if (c->argc == 3) {
        pop_count(c);
        return;
    }
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_SET, &p))
        return;
    if (!p.entry) {
        reply_null(&c->reply);
        return;
    }

    struct value v = db_value(&p, TYPE_SET);
    struct value_random random = random_of(&p);
    struct popping pop;
    popping_start(&pop, c, &p, 1);
    pop_one(c, &v, &random, &pop);
    db_keep(&p, &v);
    db_changed(c, &p);
    db_notify_taken(&p, NOTIFY_SET, "spop");
}

/* In pieces: the reply may become too long to be sent. */
static void reply_repeated(struct call *c, const struct value *v, uint64_t count,
                           const struct value_random *random)
{
    enum { PIECE = 1024 };
    while (count > 0 && !call_reply_is_vain(c)) {
        uint64_t n = count < PIECE ? count : PIECE;
        set_sample_repeated(v, n, random, reply_member, &c->reply);
        count -= n;
    }
}

/* SRANDMEMBER with a count; a negative one asks for that many with repetitions. */
static void random_count(struct call *c)
{
    int64_t wanted;
    struct place p;
    if (!call_arg_integer_in(c, 2, -INT64_MAX, INT64_MAX, &wanted) ||
        !db_find_type(c, 1, DB_READ, TYPE_SET, &p))
        return;
    if (!p.entry || wanted == 0) {
        reply_array(&c->reply, 0);
        return;
    }

    struct value v = db_value(&p, TYPE_SET);
    struct value_random random = random_of(&p);
    if (wanted < 0) {
        reply_array(&c->reply, (size_t)-wanted);
        reply_repeated(c, &v, (uint64_t)-wanted, &random);
        return;
    }
    uint64_t all = set_count(&v), count = (uint64_t)wanted < all ? (uint64_t)wanted : all;
    reply_array(&c->reply, count);
    set_sample(&v, count, &random, reply_member, &c->reply);
}

static void srandmember_run(struct call *c)
{
    if (c->argc > 3) {
        reply_error_syntax(&c->reply);
        return;
    }
    if (c->argc == 3) {
        random_count(c);
        return;
    }
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_SET, &p))
        return;
    if (!p.entry) {
        reply_null(&c->reply);
        return;
    }

    struct value v = db_value(&p, TYPE_SET);
    struct value_random random = random_of(&p);
    struct set_member m;
    set_random(&v, &random, &m);
    set_reply_member(&c->reply, &m);
}

/* Members that pass SSCAN's pattern. */
struct collector {
    struct scan_options options;
    struct scan_reply reply;
};

static void collect(void *context, const struct set_member *m)
{
    struct collector *k = context;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice text = set_member_text(m, scratch);
    if (!scan_options_match(&k->options, text))
        return;
    reply_bulk(&k->reply.elements, text);
    k->reply.count++;
}

static void sscan_run(struct call *c)
{
    uint64_t cursor;
    struct place p;
    if (!scan_cursor_read(c, 2, &cursor) || !db_find_type(c, 1, DB_READ, TYPE_SET, &p))
        return;
    if (!p.entry) {
        scan_reply_empty(c);
        return;
    }
    struct collector found;
    if (!scan_options_read(c, 3, 0, &found.options))
        return;

    struct value v = db_value(&p, TYPE_SET);
    scan_reply_start(&found.reply, c);
    uint64_t position = set_scan(&v, scan_cursor_position(cursor), found.options.count, collect,
                                 &found);
    scan_reply_end(&found.reply, c, scan_position_cursor(position));
}

/* Moves the member that is argument 3 from one set, which is there, to another, which may not be.
 * False where it is no member. */
static bool move_member(struct call *c, struct place *from, struct place *to)
{
    struct value v = db_value(from, TYPE_SET);
    if (!set_remove(&v, c->keyspace, c->argv[3]))
        return false;
    db_keep(from, &v);
    db_changed(c, from);
    db_notify_taken(from, NOTIFY_SET, "srem");
    v = db_value(to, TYPE_SET);
    bool added = set_add(&v, c->keyspace, c->argv[3]);
    db_keep(to, &v);
    if (added) {
        db_changed(c, to);
        db_notify(to, NOTIFY_SET, "sadd");
    }
    return true;
}

/* Of an absent source the destination's type does not matter. */
static void smove_run(struct call *c)
{
    struct place from, to;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_SET, &from))
        return;
    if (!from.entry) {
        reply_integer(&c->reply, 0);
        return;
    }
    if (slice_equal(c->argv[1], c->argv[2])) {
        reply_integer(&c->reply, is_member(c, &from, 3));
        return;
    }
    if (!db_find_type(c, 2, DB_WRITE, TYPE_SET, &to))
        return;

    bool moved = move_member(c, &from, &to);
    reply_integer(&c->reply, moved);
}

const struct command set_commands[] = {
    {
        .name = "sadd",
        .run = sadd_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "set",
        .since = "1.0.0",
        .complexity = "O(1) for each element added, so O(N) to add N elements when the command is "
                      "called with multiple arguments.",
        .syntax = "key member [member ...]",
        .summary = "Adds members to a set, which is created where there is none.",
    },
    {
        .name = "scard",
        .run = scard_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RO),
        .group = "set",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the number of members of a set.",
    },
    {
        .name = "sismember",
        .run = sismember_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RO),
        .group = "set",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "key member",
        .summary = "Says whether a value is a member of a set.",
    },
    {
        .name = "smembers",
        .run = smembers_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "set",
        .since = "1.0.0",
        .complexity = "O(N) where N is the set cardinality.",
        .syntax = "key",
        .summary = "Returns all members of a set.",
        .tips = "nondeterministic_output_order",
    },
    {
        .name = "smismember",
        .run = smismember_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "set",
        .since = "6.2.0",
        .complexity = "O(N) where N is the number of elements being checked for membership",
        .syntax = "key member [member ...]",
        .summary = "Says of each of several values whether it is a member of a set.",
    },
    {
        .name = "smove",
        .run = smove_run,
        .arity = 4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_SET,
        .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .find = KEY_FIND_RANGE,
                  .step = 1},
                 {.flags = KEY_RW | KEY_INSERT, .begin = 2, .find = KEY_FIND_RANGE, .step = 1}},
        .group = "set",
        .since = "1.0.0",
        .complexity = "O(1)",
        .syntax = "source destination member",
        .summary = "Moves a member from one set to another.",
    },
    {
        .name = "spop",
        .run = spop_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_DELETE),
        .group = "set",
        .since = "1.0.0",
        .complexity = "Without the count argument O(1), otherwise O(N) where N is the value of the "
                      "passed count.",
        .syntax = "key [count]",
        .summary = "Removes random members of a set and returns them.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "srandmember",
        .run = srandmember_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "set",
        .since = "1.0.0",
        .complexity = "Without the count argument O(1), otherwise O(N) where N is the absolute "
                      "value of the passed count.",
        .syntax = "key [count]",
        .summary = "Returns random members of a set.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "srem",
        .run = srem_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "set",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of members to be removed.",
        .syntax = "key member [member ...]",
        .summary = "Removes members from a set, and the key with the last of them.",
    },
    {
        .name = "sscan",
        .run = sscan_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "set",
        .since = "2.8.0",
        .complexity = "O(1) for every call. O(N) for a complete iteration, including enough "
                      "command calls for the cursor to return back to 0. N is the number of "
                      "elements inside the collection.",
        .syntax = "key cursor [MATCH pattern] [COUNT count]",
        .summary = "Goes through the members of a set, some at a time.",
        .tips = "nondeterministic_output",
    },
    {0},
};
