/* Command rows: everything the server knows about a command, in one place.
 *
 * A command is one function and one row in its family's file, the rows as a table at that file's
 * end. The rows feed look-up, arity errors, routing, ACL categories, COMMAND, docs/commands.md,
 * statistics, the fuzzer's dictionary, and the check that each command has a test. Rows are
 * constant; the registry (server/registry.h) copies them and fills the fields at the end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct call;
struct core_mask;
struct session;
struct slice;
struct split_parts;
struct undo_command;

enum command_route {
    ROUTE_SESSION, /* on the connection's home core, not on data */
    ROUTE_KEY,     /* on the shard of its key */
    ROUTE_SPLIT,   /* a part on each shard that has one of its keys */
    ROUTE_ALL,     /* a part on every shard */
    ROUTE_CROSS,   /* the shards concerned (CMD_EVERY_SHARD: all) meet, one thread runs it */
};

/* How the parts of a split command make one reply. */
enum command_split {
    SPLIT_NONE,
    SPLIT_SUM,    /* parts set call.value; the reply is the integer sum */
    SPLIT_OK,     /* parts leave nothing; the reply is OK */
    SPLIT_ITEMS,  /* parts write one reply a key and say call_item_end; the reply is their array */
    SPLIT_CONCAT, /* parts write elements and set call.value to their count; one array of all */
    SPLIT_MERGE,  /* parts write bytes of their own choice; the row's `merge` makes the reply */
};
/* A part of any kind may write an error instead (reply_error): then that is the whole reply. Checks
 * of arguments come out alike on every shard, so no part has changed anything when one of them
 * fails. */

/* Redis's command flags (COMMAND INFO names them), then our own. */
#define CMD_WRITE (1u << 0)
#define CMD_READONLY (1u << 1)
#define CMD_DENYOOM (1u << 2)
#define CMD_ADMIN (1u << 3)
#define CMD_PUBSUB (1u << 4)
#define CMD_NOSCRIPT (1u << 5)
#define CMD_BLOCKING (1u << 6)
#define CMD_LOADING (1u << 7)
#define CMD_STALE (1u << 8)
#define CMD_SKIP_MONITOR (1u << 9)
#define CMD_SKIP_SLOWLOG (1u << 10)
#define CMD_ASKING (1u << 11)
#define CMD_FAST (1u << 12)
#define CMD_NO_AUTH (1u << 13)
#define CMD_MAY_REPLICATE (1u << 14)
#define CMD_NO_ASYNC_LOADING (1u << 15)
#define CMD_NO_MULTI (1u << 16)
#define CMD_MOVABLE_KEYS (1u << 17)
#define CMD_ALLOW_BUSY (1u << 18)
#define CMD_SENTINEL (1u << 19)
#define CMD_NO_MANDATORY_KEYS (1u << 20)
#define CMD_LATER (1u << 21)         /* ours: answered later, when a save or load has ended */
#define CMD_SYSTEM (1u << 22)        /* ours: COMMAND DOCS calls it a syscmd: not for clients */
#define CMD_PARSED_APART (1u << 23) /* ours, filled by the registry: a pipeline is not parsed past
                                    * it without a look at it (MULTI, scripts, what blocks, AUTH) */
#define CMD_FOR_LISTENERS (1u << 24) /* ours: a subscribed RESP2 client may use it */
#define CMD_BLOCK_OPTION (1u << 25) /* ours: blocks only where an argument is BLOCK */
#define CMD_ANY_KEY (1u << 26)     /* ours: blocks, and any one of its keys can end the wait */
#define CMD_PATTERN_KEYS (1u << 27) /* ours: CROSS; a '*' in an argument names further keys, on any
                                    * shard (SORT) */
#define CMD_CURSOR (1u << 28)      /* ours: CROSS; it begins with the shard that the cursor in
                                    * argv[1] names, and goes on to others where it must (SCAN) */
#define CMD_EVERY_SHARD (1u << 29) /* ours: a cross transaction of all shards */
#define CMD_PLAIN_KEYS (1u << 30)  /* ours, filled by the registry: the key triple says exactly
                                    * which args are keys (see command_key_range) */
#define CMD_RENAMED (1u << 31)     /* ours, filled by the registry: clients know it by another name
                                    * (a subcommand: its container) */

/* ACL categories, in Redis's order. Those that flags imply (write, read, admin, dangerous, fast,
 * slow, blocking, pubsub) are added by the registry, as Redis does; a row names the rest. */
#define ACL_KEYSPACE (1u << 0)
#define ACL_READ (1u << 1)
#define ACL_WRITE (1u << 2)
#define ACL_SET (1u << 3)
#define ACL_SORTEDSET (1u << 4)
#define ACL_LIST (1u << 5)
#define ACL_HASH (1u << 6)
#define ACL_STRING (1u << 7)
#define ACL_BITMAP (1u << 8)
#define ACL_HYPERLOGLOG (1u << 9)
#define ACL_GEO (1u << 10)
#define ACL_STREAM (1u << 11)
#define ACL_PUBSUB (1u << 12)
#define ACL_ADMIN (1u << 13)
#define ACL_FAST (1u << 14)
#define ACL_SLOW (1u << 15)
#define ACL_BLOCKING (1u << 16)
#define ACL_DANGEROUS (1u << 17)
#define ACL_CONNECTION (1u << 18)
#define ACL_TRANSACTION (1u << 19)
#define ACL_SCRIPTING (1u << 20)

/* Key specifications, as COMMAND INFO shows them. */
#define KEY_RO (1u << 0)
#define KEY_RW (1u << 1)
#define KEY_OW (1u << 2)
#define KEY_RM (1u << 3)
#define KEY_ACCESS (1u << 4)
#define KEY_UPDATE (1u << 5)
#define KEY_INSERT (1u << 6)
#define KEY_DELETE (1u << 7)
#define KEY_NOT_KEY (1u << 8)
#define KEY_INCOMPLETE (1u << 9)
#define KEY_VARIABLE_FLAGS (1u << 10)

/* UNKNOWN: for COMMAND INFO; the keys are not found by the spec (command_keys has a rule). */
enum key_find { KEY_FIND_NONE, KEY_FIND_RANGE, KEY_FIND_COUNT, KEY_FIND_UNKNOWN };

struct key_spec {
    uint32_t flags;
    int16_t begin;      /* arg index of the first key; for KEY_FIND_COUNT, of the count */
    const char *keyword; /* begins after this word instead, searched from `begin`; NULL: by index */
    enum key_find find;
    int16_t last;       /* RANGE: relative to the first key; negative: from the end */
    int16_t step;       /* args from one key to the next */
    int16_t limit;      /* RANGE: 0, or only the first 1/limit of the args */
    int16_t first;      /* COUNT: first key, relative to the count */
    const char *notes;  /* what COMMAND INFO says of this spec, or NULL */
};

#define KEY_SPECS_MAX 3

/* One key at arg 1; keys from arg 1 to the end; keys at odd args to the end. */
#define KEYS_ONE(f) {{.flags = (f), .begin = 1, .find = KEY_FIND_RANGE, .last = 0, .step = 1}}
#define KEYS_ONE_NOTED(f, text) \
    {{.flags = (f), .begin = 1, .find = KEY_FIND_RANGE, .last = 0, .step = 1, .notes = (text)}}
#define KEYS_ALL(f) {{.flags = (f), .begin = 1, .find = KEY_FIND_RANGE, .last = -1, .step = 1}}
#define KEYS_PAIRS(f) {{.flags = (f), .begin = 1, .find = KEY_FIND_RANGE, .last = -1, .step = 2}}

struct command {
    const char *name; /* lower case; of a subcommand only its own word */
    void (*run)(struct call *c);
    int16_t arity; /* as in Redis: counts the name; negative: at least that many */
    uint8_t route; /* enum command_route */
    uint8_t split; /* enum command_split */
    uint32_t flags;
    uint32_t acl;
    struct key_spec keys[KEY_SPECS_MAX];
    void (*merge)(struct call *c, const struct split_parts *parts); /* SPLIT_MERGE */
    /* Says which shards it needs, where its keys alone do not (EXEC, EVAL, PUBLISH); or NULL. None:
     * the home core's. At home, in the gather step. */
    void (*reach)(struct session *s, const struct slice *argv, uint32_t argc,
                  struct core_mask *mask);
    const char *group;      /* "string", "generic", ... as COMMAND DOCS says it */
    const char *since;      /* Redis version */
    const char *complexity;
    const char *syntax;     /* arguments as the Redis documentation writes them, without the name */
    const char *summary;
    const char *tips;       /* space-separated COMMAND tips, or NULL */
    const char *deprecated_since; /* or NULL */
    const char *replaced_by;
    const struct command *subcommands; /* ends with a row without a name; or NULL */

    /* Filled by the registry. */
    const struct command *parent;
    const char *full_name; /* "client|list" */
    const struct undo_command *undo; /* of one that writes: how undo notes it; NULL: whole keys */
    uint16_t id;           /* index of its statistics */
    uint16_t subcommand_count;
    int16_t first_key, last_key, key_step; /* Redis's triple; 0, 0, 0 without keys */
};

/* What a merge sees: one section a participating shard, in shard order. */
struct split_section {
    const char *data;
    size_t size;
    int64_t value;
    uint32_t shard;
};

struct split_parts {
    const struct split_section *sections;
    uint32_t count;
};

/* The families of the shard room. Each array ends with a row without a name. */
extern const struct command string_commands[];
extern const struct command string_range_commands[];
extern const struct command string_multi_commands[];
extern const struct command lcs_commands[];
extern const struct command counter_commands[];
extern const struct command increx_commands[];
extern const struct command bitmap_commands[];
extern const struct command bitfield_commands[];
extern const struct command bitop_commands[];
extern const struct command generic_commands[];
extern const struct command expire_commands[];
extern const struct command scan_commands[];
extern const struct command object_commands[];
extern const struct command keyspace_commands[];
extern const struct command dump_commands[];
extern const struct command restore_commands[];
extern const struct command list_commands[];
extern const struct command list_move_commands[];
extern const struct command list_block_commands[];
extern const struct command set_commands[];
extern const struct command set_algebra_commands[];
extern const struct command hash_commands[];
extern const struct command hash_counter_commands[];
extern const struct command hash_random_commands[];
extern const struct command hash_expire_commands[];
extern const struct command hash_getex_commands[];
extern const struct command zset_commands[];
extern const struct command zset_range_commands[];
extern const struct command zset_algebra_commands[];
extern const struct command zset_pop_commands[];
extern const struct command stream_commands[];
extern const struct command stream_read_commands[];
extern const struct command stream_group_commands[];
extern const struct command stream_claim_commands[];
extern const struct command stream_info_commands[];
extern const struct command hyperloglog_commands[];
extern const struct command geo_commands[];
extern const struct command geo_search_commands[];
extern const struct command sort_commands[];
