/* HyperLogLogs: PFADD, PFCOUNT, PFMERGE, and PFDEBUG and PFSELFTEST for tests.
 *
 * A sketch is an ordinary string whose bytes are Redis's (shard/type/hyperloglog.h), so GET, SET
 * and DUMP carry it from server to server. Any other string may stand where one is expected: the
 * header is looked at before anything else, and what cannot be seen there comes to light as the
 * runs are read. */
#include "shard/type/hyperloglog.h"

#include <math.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "shard/db.h"

static bool reply_corrupt(struct call *c)
{
    reply_error(&c->reply, "INVALIDOBJ Corrupted HLL object detected");
    return false;
}

/* The bytes of the place's sketch, which exists; false, having replied with the error, where it is
 * none. Good until the key changes. */
static bool read_sketch(struct call *c, const struct place *p, struct slice *bytes)
{
    if (!db_is_string(p)) {
        reply_error_wrong_type(&c->reply);
        return false;
    }
    /* A string that is held as an integer has no magic word. */
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    *bytes = db_string(p, scratch);
    if (hyperloglog_is(*bytes))
        return true;
    reply_error(&c->reply, "WRONGTYPE Key is not a valid HyperLogLog string value.");
    return false;
}

static unsigned char *resize_string(void *owner, size_t size)
{
    return (unsigned char *)db_string_bytes(owner, size);
}

/* The place's sketch, to be changed: a new one where the key is absent. False, having replied with
 * the error, where it is none. */
static bool open_sketch(struct call *c, struct place *p, struct hyperloglog *h)
{
    struct slice bytes = {NULL, HYPERLOGLOG_EMPTY_SIZE};
    bool absent = !p->entry;
    if (!absent && !read_sketch(c, p, &bytes))
        return false;
    *h = (struct hyperloglog){
        .bytes = resize_string(p, bytes.size),
        .size = bytes.size,
        .sparse_max = c->keyspace->options.hll_sparse_max_bytes,
        .resize = resize_string,
        .owner = p,
    };
    if (absent)
        hyperloglog_clear(h->bytes);
    return true;
}

static void pfadd_run(struct call *c)
{
    struct place p = db_find(c, 1, DB_WRITE);
    bool changed = !p.entry;
    struct hyperloglog h;
    if (!open_sketch(c, &p, &h))
        return;
    enum hyperloglog_result result = HYPERLOGLOG_SAME;
    for (uint32_t i = 2; i < c->argc && result != HYPERLOGLOG_CORRUPT; i++) {
        result = hyperloglog_add(&h, c->argv[i]);
        changed |= result == HYPERLOGLOG_CHANGED;
    }
    if (changed) {
        hyperloglog_forget(h.bytes);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_STRING, "pfadd");
    }

    if (result == HYPERLOGLOG_CORRUPT)
        reply_corrupt(c);
    else
        reply_integer(&c->reply, changed);
}

/* Merges the sketches of the keys from argument 1 on, absent ones as empty. *dense: one of them is
 * dense. False, having replied with the error, where one is wrong. */
static bool merge_keys(struct call *c, struct hyperloglog_registers *all, bool *dense)
{
    memset(all, 0, sizeof(*all));
    *dense = false;
    for (uint32_t i = 1; i < c->argc; i++) {
        struct place p = db_find(c, i, DB_READ);
        struct slice bytes;
        if (!p.entry)
            continue;
        if (!read_sketch(c, &p, &bytes))
            return false;
        *dense |= hyperloglog_is_dense(bytes);
        if (!hyperloglog_merge(all, bytes))
            return reply_corrupt(c);
    }
    return true;
}

/* Counts one key, and keeps the answer in its value for the next time: a change, as in Redis. */
static void count_key(struct call *c)
{
    struct place p = db_find(c, 1, DB_READ);
    uint64_t count = 0;
    struct slice bytes;
    if (p.entry) {
        if (!read_sketch(c, &p, &bytes))
            return;
        if (!hyperloglog_cached(bytes, &count)) {
            if (!hyperloglog_count(bytes, &count)) {
                reply_corrupt(c);
                return;
            }
            hyperloglog_cache(resize_string(&p, bytes.size), count);
            db_changed(c, &p);
        }
    }

    reply_integer(&c->reply, (int64_t)count);
}

static void pfcount_run(struct call *c)
{
    if (c->argc == 2) {
        count_key(c);
        return;
    }
    struct hyperloglog_registers all;
    bool dense;
    if (!merge_keys(c, &all, &dense))
        return;

    reply_integer(&c->reply, (int64_t)hyperloglog_count_registers(&all));
}

static void pfmerge_run(struct call *c)
{
    struct hyperloglog_registers all;
    bool dense;
    if (!merge_keys(c, &all, &dense))
        return;

    struct place p = db_find(c, 1, DB_WRITE);
    struct hyperloglog h;
    if (!open_sketch(c, &p, &h))
        return;
    /* The destination has been merged, so it is well-formed. */
    if (dense)
        hyperloglog_densify(&h);
    hyperloglog_raise(&h, &all);
    hyperloglog_forget(h.bytes);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_STRING, "pfadd");

    reply_ok(&c->reply);
}

/* ---- PFDEBUG ---- */

/* Makes the key's sketch dense; false, having replied with the error, where it cannot be. */
static bool densify_key(struct call *c, struct place *p, struct hyperloglog *h, bool *changed)
{
    if (!open_sketch(c, p, h))
        return false;
    enum hyperloglog_result result = hyperloglog_densify(h);
    if (result == HYPERLOGLOG_CORRUPT)
        return reply_corrupt(c);
    *changed = result == HYPERLOGLOG_CHANGED;
    if (*changed)
        db_changed(c, p);
    return true;
}

static void debug_getreg(struct call *c, struct place *p)
{
    struct hyperloglog h;
    bool changed;
    if (!densify_key(c, p, &h, &changed))
        return;
    struct hyperloglog_registers r = {.at = {0}};
    hyperloglog_merge(&r, (struct slice){(const char *)h.bytes, h.size});

    reply_array(&c->reply, HYPERLOGLOG_REGISTERS);
    for (uint32_t i = 0; i < HYPERLOGLOG_REGISTERS; i++)
        reply_integer(&c->reply, r.at[i]);
}

static void debug_todense(struct call *c, struct place *p)
{
    struct hyperloglog h;
    bool changed;
    if (densify_key(c, p, &h, &changed))
        reply_integer(&c->reply, changed);
}

static void debug_encoding(struct call *c, struct place *p)
{
    struct slice bytes;
    if (read_sketch(c, p, &bytes))
        reply_simple(&c->reply, hyperloglog_is_dense(bytes) ? "dense" : "sparse");
}

/* The runs: z and Z (in two bytes) for zeros with their length, v for value and length. */
static void debug_decode(struct call *c, struct place *p)
{
    struct slice bytes;
    if (!read_sketch(c, p, &bytes))
        return;
    if (hyperloglog_is_dense(bytes)) {
        reply_error(&c->reply, "ERR HLL encoding is not sparse");
        return;
    }

    struct buf text;
    buf_init(&text);
    struct hyperloglog_run run;
    for (size_t at = HYPERLOGLOG_HEADER_SIZE; hyperloglog_run_at(bytes, at, &run); at += run.size) {
        const char *blank = text.size ? " " : "";
        if (run.value)
            buf_printf(&text, "%sv:%u,%u", blank, run.value, run.length);
        else
            buf_printf(&text, "%s%c:%u", blank, run.wide ? 'Z' : 'z', run.length);
    }
    reply_bulk(&c->reply, buf_slice(&text));
    buf_deinit(&text);
}

static void pfdebug_run(struct call *c)
{
    static const struct {
        const char *name;
        void (*run)(struct call *c, struct place *p);
    } subcommands[] = {
        {"getreg", debug_getreg},
        {"decode", debug_decode},
        {"encoding", debug_encoding},
        {"todense", debug_todense},
    };
    struct place p = db_find(c, 2, DB_WRITE);
    struct slice bytes;
    if (!p.entry) {
        reply_error(&c->reply, "ERR The specified key does not exist");
        return;
    }
    if (!read_sketch(c, &p, &bytes))
        return;
    for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++) {
        if (call_arg_is(c, 1, subcommands[i].name)) {
            subcommands[i].run(c, &p);
            return;
        }
    }
    reply_error(&c->reply, "ERR Unknown PFDEBUG subcommand '%.*s'",
                (int)(c->argv[1].size < 128 ? c->argv[1].size : 128), c->argv[1].data);
}

/* ---- PFSELFTEST ---- */

#define SELFTEST_ELEMENTS 1000000u
/* Standard errors that an estimate may be off. */
#define SELFTEST_ERRORS 6

static unsigned char *resize_own(void *owner, size_t size)
{
    unsigned char **bytes = owner;
    return *bytes = mem_realloc(*bytes, size);
}

static struct hyperloglog create_own(struct call *c, unsigned char **bytes)
{
    *bytes = mem_alloc(HYPERLOGLOG_EMPTY_SIZE);
    hyperloglog_clear(*bytes);
    return (struct hyperloglog){
        .bytes = *bytes,
        .size = HYPERLOGLOG_EMPTY_SIZE,
        .sparse_max = c->keyspace->options.hll_sparse_max_bytes,
        .resize = resize_own,
        .owner = bytes,
    };
}

/* Whether two sketches of `added` elements, one dense from the start, count them alike and well. */
static bool counts_well(struct call *c, const struct hyperloglog *a, const struct hyperloglog *b,
                        uint32_t added)
{
    uint64_t count, other;
    if (!hyperloglog_count((struct slice){(const char *)a->bytes, a->size}, &count) ||
        !hyperloglog_count((struct slice){(const char *)b->bytes, b->size}, &other) ||
        count != other) {
        reply_error(&c->reply, "ERR TESTFAILED dense/sparse disagree");
        return false;
    }
    double off = fabs((double)count - (double)added);
    double off_max = ceil(1.04 / sqrt(HYPERLOGLOG_REGISTERS) * SELFTEST_ERRORS * (double)added);
    if (off <= off_max)
        return true;
    reply_error(&c->reply, "ERR TESTFAILED Too big error. card:%u abserr:%.0f", added, off);
    return false;
}

static void pfselftest_run(struct call *c)
{
    unsigned char *bytes[2];
    struct hyperloglog sparse = create_own(c, &bytes[0]), dense = create_own(c, &bytes[1]);
    hyperloglog_densify(&dense);
    uint32_t added = 0;
    bool well = true;
    for (uint32_t checkpoint = 1; well && checkpoint <= SELFTEST_ELEMENTS; checkpoint *= 10) {
        for (; added < checkpoint; added++) {
            uint64_t element = added ^ (uint64_t)c->now_ms << 20;
            hyperloglog_add(&sparse, (struct slice){(const char *)&element, sizeof(element)});
            hyperloglog_add(&dense, (struct slice){(const char *)&element, sizeof(element)});
        }
        well = counts_well(c, &sparse, &dense, added);
    }
    mem_free(bytes[0]);
    mem_free(bytes[1]);

    if (well)
        reply_ok(&c->reply);
}

const struct command hyperloglog_commands[] = {
    {
        .name = "pfadd",
        .run = pfadd_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HYPERLOGLOG,
        .keys = KEYS_ONE(KEY_RW | KEY_INSERT),
        .group = "hyperloglog",
        .since = "2.8.9",
        .complexity = "O(1) to add every element.",
        .syntax = "key [element [element ...]]",
        .summary = "Adds elements to a HyperLogLog, creating it when there is none.",
    },
    {
        .name = "pfcount",
        .run = pfcount_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY | CMD_MAY_REPLICATE,
        .acl = ACL_HYPERLOGLOG,
        .keys = {{.flags = KEY_RW | KEY_ACCESS, .begin = 1, .find = KEY_FIND_RANGE, .last = -1,
                  .step = 1,
                  .notes = "RW because it may change the internal representation of the key, and "
                           "propagate to replicas"}},
        .group = "hyperloglog",
        .since = "2.8.9",
        .complexity = "O(1) with a single key, whose last answer is kept. O(N) with N being the "
                      "number of keys, when there are several.",
        .syntax = "key [key ...]",
        .summary = "Returns about how many distinct elements HyperLogLogs have seen.",
    },
    {
        .name = "pfdebug",
        .run = pfdebug_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_ADMIN | CMD_SYSTEM,
        .acl = ACL_HYPERLOGLOG,
        .keys = {{.flags = KEY_RW | KEY_ACCESS, .begin = 2, .find = KEY_FIND_RANGE, .step = 1}},
        .group = "hyperloglog",
        .since = "2.8.9",
        .complexity = "N/A",
        .syntax = "subcommand key",
        .summary = "Shows or changes how a HyperLogLog is held, for tests.",
    },
    {
        .name = "pfmerge",
        .run = pfmerge_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_HYPERLOGLOG,
        .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_INSERT, .begin = 1, .find = KEY_FIND_RANGE,
                  .step = 1},
                 {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_RANGE, .last = -1,
                  .step = 1}},
        .group = "hyperloglog",
        .since = "2.8.9",
        .complexity = "O(N) to merge N HyperLogLogs, but with high constant times.",
        .syntax = "destkey [sourcekey [sourcekey ...]]",
        .summary = "Merges HyperLogLogs into one.",
    },
    {
        .name = "pfselftest",
        .run = pfselftest_run,
        .arity = 1,
        .route = ROUTE_SESSION,
        .flags = CMD_ADMIN | CMD_SYSTEM,
        .acl = ACL_HYPERLOGLOG,
        .group = "hyperloglog",
        .since = "2.8.9",
        .complexity = "N/A",
        .summary = "Tests the server's HyperLogLogs.",
    },
    {0},
};
