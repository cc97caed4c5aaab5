/* Going through all keys: SCAN, KEYS, RANDOMKEY.
 *
 * SCAN visits the shards one after the other. A cursor holds the shard and the position in it
 * (scan.h); when a shard is done, the next cursor is the start of the next one. Redis's guarantee
 * carries over from each shard: a key that is there from the first call to the last is returned at
 * least once. */
#include "shard/cmd/scan.h"

#include <assert.h>

#include "proto/glob.h"
#include "proto/number.h"
#include "shard/db.h"

#define POSITION_BITS 48
#define SHARD_BITS 8

_Static_assert(SHARD_COUNT_MAX <= 1 << SHARD_BITS, "a cursor has room for every shard");

/* A SCAN call's work is bounded, whatever COUNT it gives. */
#define SCAN_COUNT_MAX (INT64_C(1) << 32)

struct cursor {
    uint64_t position;
    uint32_t shard;
};

static uint64_t reverse_position(uint64_t position)
{
    uint64_t reversed = 0;
    for (unsigned i = 0; i < POSITION_BITS; i++)
        reversed |= (position >> i & 1) << (POSITION_BITS - 1 - i);
    return reversed;
}

static uint64_t cursor_pack(struct cursor at)
{
    return reverse_position(at.position) << SHARD_BITS | at.shard;
}

/* False where the value is no cursor of ours: it has more bits, or its shard does not exist. */
static bool cursor_unpack(uint64_t value, uint32_t shard_count, struct cursor *at)
{
    at->shard = (uint32_t)(value & ((1u << SHARD_BITS) - 1));
    at->position = reverse_position(value >> SHARD_BITS);
    return at->shard < shard_count && value >> SHARD_BITS >> POSITION_BITS == 0;
}

/* Cursors are read as Redis reads them, with strtoul: a sign and leading zeros are allowed, and an
 * empty text is 0. */
static bool parse_cursor(struct slice text, uint64_t *value)
{
    size_t i = text.size > 1 && (text.data[0] == '-' || text.data[0] == '+');
    *value = 0;
    bool negative = i && text.data[0] == '-';
    for (; i < text.size; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(*value, UINT64_C(10), value) ||
            __builtin_add_overflow(*value, (uint64_t)digit, value))
            return false;
    }
    if (negative)
        *value = 0 - *value;
    return true;
}

uint32_t scan_cursor_shard(const struct call *c)
{
    uint64_t value;
    struct cursor at;
    if (!parse_cursor(c->argv[1], &value) || !cursor_unpack(value, c->keyspace->shard_count, &at))
        return 0;
    return at.shard;
}

/* Keys that pass the filters, collected as a reply's elements. */
struct collector {
    struct reply reply;
    int64_t count;
    bool any_key;         /* no pattern */
    struct slice pattern;
    bool any_type;
    struct slice type;
};

static void set_pattern(struct collector *k, struct slice pattern)
{
    k->pattern = pattern;
    k->any_key = slice_equal(pattern, SLICE("*"));
}

static void collect(void *context, struct entry *e)
{
    struct collector *k = context;
    const struct place p = {.entry = e};
    if (!k->any_type && !slice_is(k->type, db_type_name(&p)))
        return;
    struct slice key = entry_key(e);
    if (!k->any_key && !glob_match(k->pattern, key, false))
        return;
    reply_bulk(&k->reply, key);
    k->count++;
}

static bool read_scan_options(struct call *c, struct collector *k, int64_t *count)
{
    *count = 10;
    for (uint32_t i = 2; i < c->argc; i += 2) {
        bool has_value = i + 1 < c->argc;
        if (has_value && call_arg_is(c, i, "count")) {
            if (!call_arg_integer(c, i + 1, count))
                return false;
            if (*count < 1) {
                reply_error_syntax(&c->reply);
                return false;
            }
        } else if (has_value && call_arg_is(c, i, "match")) {
            set_pattern(k, c->argv[i + 1]);
        } else if (has_value && call_arg_is(c, i, "type")) {
            k->type = c->argv[i + 1];
            k->any_type = false;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

/* Visits about `count` keys from `*at` on, and moves it: to 0 of the next shard when this one is
 * done, to 0 of shard 0 when all are. */
static void scan_from(struct call *c, struct cursor *at, int64_t count, struct collector *k)
{
    struct shard *s = c->shard ? c->shard : c->shards[at->shard];
    assert(s->index == at->shard);
    uint64_t items = (uint64_t)(count < SCAN_COUNT_MAX ? count : SCAN_COUNT_MAX);
    db_scan(s, c->db, &at->position, items, collect, k);
    if (at->position == 0)
        at->shard = at->shard + 1 < c->keyspace->shard_count ? at->shard + 1 : 0;
}

static void scan_run(struct call *c)
{
    uint64_t value;
    if (!parse_cursor(c->argv[1], &value)) {
        reply_error(&c->reply, "ERR invalid cursor");
        return;
    }
    struct collector found = {.any_key = true, .any_type = true};
    int64_t count;
    if (!read_scan_options(c, &found, &count))
        return;

    struct buf elements;
    buf_init(&elements);
    found.reply = (struct reply){.out = &elements, .protocol = c->reply.protocol};
    struct cursor at;
    if (cursor_unpack(value, c->keyspace->shard_count, &at))
        scan_from(c, &at, count, &found);
    else
        at = (struct cursor){0};

    reply_array(&c->reply, 2);
    char digits[NUMBER_INTEGER_SIZE_MAX];
    reply_bulk(&c->reply, (struct slice){digits, number_format_unsigned(digits, cursor_pack(at))});
    reply_array(&c->reply, (size_t)found.count);
    buf_append_slice(c->reply.out, buf_slice(&elements));
    buf_deinit(&elements);
}

/* Writes this shard's matching keys; the parts become one array. */
static void keys_run(struct call *c)
{
    struct collector found = {.reply = c->reply, .any_type = true};
    set_pattern(&found, c->argv[1]);
    uint64_t position = 0;
    do {
        db_scan(c->shard, c->db, &position, SCAN_COUNT_MAX, collect, &found);
    } while (position);

    c->value = found.count;
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
        .route = ROUTE_KEY,
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
