/* OBJECT: what a key looks like inside. A container command; its rows are the subcommands.
 *
 * None of them counts as a use of the key. */
#include "shard/db.h"
#include "shard/evict.h"

/* Finds the key of a subcommand; false, having replied null, where there is none. */
static bool find_object(struct call *c, struct place *p)
{
    *p = db_find(c, 2, DB_LOOK);
    if (!p->entry)
        reply_null(&c->reply);
    return p->entry;
}

static void encoding_run(struct call *c)
{
    struct place p;
    if (!find_object(c, &p))
        return;

    reply_bulk_text(&c->reply, db_encoding_name(&p));
}

static void freq_run(struct call *c)
{
    struct place p;
    if (!find_object(c, &p))
        return;
    if (!c->keyspace->options.lfu) {
        reply_error(&c->reply,
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                    "Please note that when switching between policies at runtime LRU and LFU data "
                    "will take some time to adjust.");
        return;
    }

    reply_integer(&c->reply, db_frequency(&p));
}

static void idletime_run(struct call *c)
{
    struct place p;
    if (!find_object(c, &p))
        return;
    if (c->keyspace->options.lfu) {
        reply_error(&c->reply,
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. "
                    "Please note that when switching between policies at runtime LRU and LFU data "
                    "will take some time to adjust.");
        return;
    }

    reply_integer(&c->reply, (int64_t)(db_idle_ms(&p) / 1000));
}

/* Redis has one object for each of the integers from 0 below 10000, with this count of references,
 * unless keys are evicted by when or how often they were used, which it notes in the object. Here
 * values are never shared, but whoever asks expects Redis's answer. */
#define SHARED_INTEGERS 10000
#define SHARED_REFCOUNT INT32_MAX

static void refcount_run(struct call *c)
{
    struct place p;
    if (!find_object(c, &p))
        return;

    int64_t value;
    const struct keyspace_options *o = &c->keyspace->options;
    bool by_use = o->limited &&
                  (o->evict_order == EVICT_BY_IDLE || o->evict_order == EVICT_BY_FREQUENCY);
    bool shared = !by_use && db_string_integer(&p, &value) && value >= 0 && value < SHARED_INTEGERS;
    reply_integer(&c->reply, shared ? SHARED_REFCOUNT : 1);
}

static void help_run(struct call *c)
{
    static const char *const lines[] = {
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the name of the form in which the value of <key> is held.",
        "FREQ <key>",
        "    Return the access frequency counter of <key>, which grows with the logarithm",
        "    of the accesses. Needs an LFU maxmemory-policy.",
        "IDLETIME <key>",
        "    Return the seconds since the last access to <key>. Needs a maxmemory-policy",
        "    other than LFU.",
        "REFCOUNT <key>",
        "    Return the number of references to the value of <key>.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

/* The key of a subcommand is its second argument. */
#define KEYS_OBJECT {{.flags = KEY_RO, .begin = 2, .find = KEY_FIND_RANGE, .step = 1}}

static const struct command object_subcommands[] = {
    {
        .name = "encoding",
        .run = encoding_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_OBJECT,
        .group = "generic",
        .since = "2.2.3",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the name of the form in which a value is held.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "freq",
        .run = freq_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_OBJECT,
        .group = "generic",
        .since = "4.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the logarithmic access counter of a key.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "help",
        .run = help_run,
        .arity = 2,
        .route = ROUTE_SESSION,
        .flags = CMD_LOADING | CMD_STALE,
        .acl = ACL_KEYSPACE,
        .group = "generic",
        .since = "6.2.0",
        .complexity = "O(1)",
        .summary = "Returns a text on the subcommands.",
    },
    {
        .name = "idletime",
        .run = idletime_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_OBJECT,
        .group = "generic",
        .since = "2.2.3",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the seconds since the last access to a key.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "refcount",
        .run = refcount_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_OBJECT,
        .group = "generic",
        .since = "2.2.3",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the number of references to a value.",
        .tips = "nondeterministic_output",
    },
    {0},
};

const struct command object_commands[] = {
    {
        .name = "object",
        .arity = -2,
        .route = ROUTE_KEY,
        .group = "generic",
        .since = "2.2.3",
        .complexity = "Depends on subcommand.",
        .summary = "A container for commands that look inside keys.",
        .subcommands = object_subcommands,
    },
    {0},
};
