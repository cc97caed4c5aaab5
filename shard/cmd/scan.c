/* Going through all keys: SCAN, KEYS, RANDOMKEY.
 *
 * SCAN visits the shards one after the other. A cursor holds the shard and the position in it
 * (scan.h). A call begins on that shard, and goes on to the next ones until it has seen COUNT keys:
 * so a database of fewer keys takes one call, as with Redis. Where the first shard is not enough
 * and no other is at hand, it has only read, drops what it found, and strays: it runs again, from
 * the same cursor, as a cross transaction of all shards. That is once a shard in a pass over many
 * keys. A call is of a bounded length: it stops in the bucket where it has seen COUNT keys.
 *
 * The invariant is each shard's: all keys of the shards before the cursor's, and those of its shard
 * before the position, that have been there since the pass began were returned. So Redis's
 * guarantee carries over: a key that is there from the first call to the last is returned at least
 * once. */
#include "shard/cmd/scan.h"

#include "proto/number.h"
#include "shard/cmd/scan_options.h"
#include "shard/db.h"

#define SHARD_BITS 8

_Static_assert(SHARD_COUNT_MAX <= 1 << SHARD_BITS, "a cursor has room for every shard");

struct cursor {
    uint64_t position;
    uint32_t shard;
};

static uint64_t cursor_pack(struct cursor at)
{
    return scan_position_cursor(at.position) << SHARD_BITS | at.shard;
}

/* False where the value is no cursor of ours: it has more bits, or its shard does not exist. */
static bool cursor_unpack(uint64_t value, uint32_t shard_count, struct cursor *at)
{
    at->shard = (uint32_t)(value & ((1u << SHARD_BITS) - 1));
    at->position = scan_cursor_position(value >> SHARD_BITS);
    return at->shard < shard_count && value >> SHARD_BITS >> SCAN_POSITION_BITS == 0;
}

uint32_t scan_cursor_shard(const struct call *c)
{
    uint64_t value;
    struct cursor at;
    if (!scan_cursor_parse(c->argv[1], &value) ||
        !cursor_unpack(value, c->keyspace->shard_count, &at))
        return 0;
    return at.shard;
}

/* Keys that pass the filters, collected as elements of a reply. */
struct collector {
    struct scan_options options;
    struct reply *reply;
    size_t count;
};

static void collect(void *context, struct entry *e)
{
    struct collector *k = context;
    const struct place p = {.entry = e};
    if (!k->options.any_type && !slice_is(k->options.type, db_type_name(&p)))
        return;
    struct slice key = entry_key(e);
    if (!scan_options_match(&k->options, key))
        return;
    reply_bulk(k->reply, key);
    k->count++;
}

static struct shard *at_hand(const struct call *c, uint32_t index)
{
    if (c->shards)
        return c->shards[index];
    return c->shard->index == index ? c->shard : NULL;
}

/* Visits about COUNT keys from `*at` on, over as many shards as that takes, and moves it: to 0 of
 * the next shard when one is done, to 0 of shard 0 when all are. False where a shard is needed that
 * is not at hand. */
static bool scan_from(struct call *c, struct cursor *at, struct collector *k)
{
    uint64_t left = k->options.count;
    for (;;) {
        struct shard *s = at_hand(c, at->shard);
        if (!s)
            return false;
        uint64_t seen = db_scan(s, c->db, &at->position, left, collect, k);
        if (at->position)
            return true;
        at->shard = at->shard + 1 < c->keyspace->shard_count ? at->shard + 1 : 0;
        if (at->shard == 0 || seen >= left)
            return true;
        left -= seen;
    }
}

static void scan_run(struct call *c)
{
    uint64_t value;
    struct collector found = {.count = 0};
    if (!scan_cursor_read(c, 1, &value) || !scan_options_read(c, 2, SCAN_TYPE, &found.options))
        return;

    struct scan_reply r;
    scan_reply_start(&r, c);
    found.reply = &r.elements;
    struct cursor at;
    if (!cursor_unpack(value, c->keyspace->shard_count, &at)) {
        at = (struct cursor){0};
    } else if (!scan_from(c, &at, &found)) {
        scan_reply_drop(&r);
        c->strayed = true; /* it runs again, with all shards */
        return;
    }

    r.count = found.count;
    scan_reply_end(&r, c, cursor_pack(at));
}

/* Writes this shard's matching keys; the parts become one array. */
static void keys_run(struct call *c)
{
    struct collector found = {.reply = &c->reply};
    scan_options_match_only(&found.options, c->argv[1]);
    uint64_t position = 0;
    do {
        db_scan(c->shard, c->db, &position, found.options.count, collect, &found);
    } while (position);

    c->value = (int64_t)found.count;
}

/* A part of RANDOMKEY: a key of this shard, after a random number for the merge to choose with. The
 * part's value is the count of keys that this one stands for. */
static void randomkey_run(struct call *c)
{
    struct entry *e = db_random(c->shard, c->db);
    if (!e) {
        c->value = 0;
        return;
    }

    uint64_t random = shard_random(c->shard);
    buf_append(c->reply.out, &random, sizeof(random));
    buf_append_slice(c->reply.out, entry_key(e));
    c->value = (int64_t)db_key_count(c->shard, c->db);
}

static void randomkey_merge(struct call *c, const struct split_parts *parts)
{
    uint64_t total = 0, random = 0;
    for (uint32_t i = 0; i < parts->count; i++) {
        uint64_t part = 0;
        if (parts->sections[i].value)
            memcpy(&part, parts->sections[i].data, sizeof(part));
        random ^= part;
        total += (uint64_t)parts->sections[i].value;
    }
    if (total == 0) {
        reply_null(&c->reply);
        return;
    }

    const struct split_section *chosen = parts->sections;
    uint64_t left = random % total;
    while (left >= (uint64_t)chosen->value)
        left -= (uint64_t)chosen++->value;
    struct slice key = {chosen->data + sizeof(random), chosen->size - sizeof(random)};
    reply_bulk(&c->reply, key);
}

const struct command scan_commands[] = {
    {
        .name = "keys",
        .run = keys_run,
        .arity = 2,
        .route = ROUTE_ALL,
        .split = SPLIT_CONCAT,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE | ACL_DANGEROUS,
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of keys in the database.",
        .syntax = "pattern",
        .summary = "Returns all keys that match a pattern.",
        .tips = "request_policy:all_shards nondeterministic_output_order",
    },
    {
        .name = "randomkey",
        .run = randomkey_run,
        .arity = 1,
        .route = ROUTE_ALL,
        .split = SPLIT_MERGE,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE,
        .merge = randomkey_merge,
        .group = "generic",
        .since = "1.0.0",
        .complexity = "O(1)",
        .summary = "Returns a random key of the database.",
        .tips = "request_policy:all_shards response_policy:special nondeterministic_output",
    },
    {
        .name = "scan",
        .run = scan_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY | CMD_CURSOR,
        .acl = ACL_KEYSPACE,
        .group = "generic",
        .since = "2.8.0",
        .complexity = "O(1) for every call. O(N) for a whole pass, where N is the number of keys "
                      "in the database.",
        .syntax = "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        .summary = "Goes through the keys of the database, some at a time.",
        .tips = "nondeterministic_output request_policy:special response_policy:special",
    },
    {0},
};
