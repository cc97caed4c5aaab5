/* HRANDFIELD: fields of a hash at random, one, some different ones, or some independent ones. */
#include "shard/cmd/hash_cmd.h"

static uint64_t next_random(void *context)
{
    return shard_random(context);
}

static struct value_random random_of(const struct place *p)
{
    return (struct value_random){next_random, p->shard};
}

/* A pair is two elements in RESP2, an array of two in RESP3. */
static void reply_pair(void *context, const struct hash_pair *pair)
{
    struct reply *r = context;
    if (r->protocol > 2)
        reply_array(r, 2);
    reply_bulk(r, pair->field);
    reply_bulk(r, pair->value);
}

static void reply_field(void *context, const struct hash_pair *pair)
{
    reply_bulk(context, pair->field);
}

static void reply_head(struct call *c, uint64_t count, bool with_values)
{
    reply_array(&c->reply, with_values && c->reply.protocol == 2 ? 2 * count : count);
}

static void reply_one(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;
    struct hash_pair pair;
    struct hash_random r;
    bool found = false;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_HASH);
        hash_random_start(&r, &v, call_due_ms(c), random_of(&p), 1);
        found = hash_random_next(&r, &pair);
        hash_random_end(&r);
    }

    if (found)
        reply_bulk(&c->reply, pair.field);
    else
        reply_null(&c->reply);
}

/* The same field may come more than once. */
static void reply_draws(struct call *c, const struct place *p, const struct value *v,
                        uint64_t count, bool with_values)
{
    struct hash_random r;
    hash_random_start(&r, v, call_due_ms(c), random_of(p), count);
    if (r.count == 0)
        count = 0;
    reply_head(c, count, with_values);
    struct hash_pair pair;
    for (uint64_t i = 0; i < count && hash_random_next(&r, &pair); i++) {
        if (call_reply_is_vain(c))
            break;
        if (with_values)
            reply_pair(&c->reply, &pair);
        else
            reply_field(&c->reply, &pair);
    }
    hash_random_end(&r);
}

static void reply_different(struct call *c, const struct place *p, const struct value *v,
                            uint64_t count, bool with_values)
{
    reply_head(c, hash_live_count(v, call_due_ms(c), count), with_values);
    hash_sample(v, count, call_due_ms(c), random_of(p), with_values ? reply_pair : reply_field,
                &c->reply);
}

static void reply_some(struct call *c, int64_t count, bool with_values)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_HASH, &p))
        return;
    if (!p.entry || count == 0) {
        reply_array(&c->reply, 0);
        return;
    }
    struct value v = db_value(&p, TYPE_HASH);

    if (count < 0)
        reply_draws(c, &p, &v, 0 - (uint64_t)count, with_values);
    else
        reply_different(c, &p, &v, (uint64_t)count, with_values);
}

static void hrandfield_run(struct call *c)
{
    if (c->argc == 2) {
        reply_one(c);
        return;
    }
    int64_t count;
    if (!call_arg_integer_in(c, 2, -INT64_MAX, INT64_MAX, &count))
        return;
    if (c->argc > 4 || (c->argc == 4 && !call_arg_is(c, 3, "withvalues"))) {
        reply_error_syntax(&c->reply);
        return;
    }
    bool with_values = c->argc == 4;
    if (with_values && (count < -INT64_MAX / 2 || count > INT64_MAX / 2)) {
        reply_error(&c->reply, "ERR value is out of range");
        return;
    }

    reply_some(c, count, with_values);
}

const struct command hash_random_commands[] = {
    {
        .name = "hrandfield",
        .run = hrandfield_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "hash",
        .since = "6.2.0",
        .complexity = "O(N) where N is the number of fields returned",
        .syntax = "key [count [WITHVALUES]]",
        .summary = "Returns random fields of a hash.",
        .tips = "nondeterministic_output",
    },
    {0},
};
