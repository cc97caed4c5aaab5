/* DEBUG: for tests of servers and clients. Off unless enable-debug-command allows it.
 *
 * It runs while all cores stand still, so DEBUG SLEEP stops the whole server, as it does Redis, and
 * DEBUG DIGEST sees one moment. */
#include "server/cmd/config.h"
#include "server/cmd/debug.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/glob.h"
#include "proto/mem.h"
#include "proto/number.h"
#include "server/accept.h"
#include "server/cmd/tables.h"
#include "server/server.h"
#include "server/session.h"
#include "shard/db.h"

#define SLEEP_S_MAX 1e8
#define UNKNOWN_SIZE_MAX 128 /* bytes of an unknown name that are shown */
#define STRINGMATCH_MAX (1 << 20)
#define STRINGMATCH_ROUNDS 100000
#define PACKED_THRESHOLD_MAX ((UINT64_C(1) << 32) - (1 << 20))

/* An argument as a C number, as lenient as C is: what is none is 0. */
static double lenient_number(struct slice text)
{
    char copy[64];
    size_t size = text.size < sizeof(copy) - 1 ? text.size : sizeof(copy) - 1;
    memcpy(copy, text.data, size);
    copy[size] = '\0';
    return strtod(copy, NULL);
}

static void debug_sleep(struct call *c)
{
    double seconds = lenient_number(c->argv[2]);
    if (seconds > 0) {
        if (seconds > SLEEP_S_MAX)
            seconds = SLEEP_S_MAX;
        struct timespec t = {.tv_sec = (time_t)seconds};
        t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
        while (nanosleep(&t, &t) != 0 && errno == EINTR)
            ; /* a signal asked for this thread's stack */
    }
    reply_ok(&c->reply);
}

/* A precision for printing an argument's bytes. */
static int printed_size(struct slice text, int max)
{
    return text.size < (size_t)max ? (int)text.size : max;
}

static void debug_error(struct call *c)
{
    reply_error(&c->reply, "%.*s", printed_size(c->argv[2], INT_MAX), c->argv[2].data);
}

static void debug_log(struct call *c)
{
    log_write(&server->log, LOG_WARNING, "DEBUG LOG: %.*s",
              printed_size(c->argv[2], LOG_LINE_SIZE_MAX), c->argv[2].data);
    reply_ok(&c->reply);
}

static void debug_pause_cron(struct call *c)
{
    server->cron_paused = (int)lenient_number(c->argv[2]) != 0;
    reply_ok(&c->reply);
}

static void reply_unknown(struct call *c)
{
    reply_error(&c->reply,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try DEBUG HELP.",
                printed_size(c->argv[1], UNKNOWN_SIZE_MAX), c->argv[1].data);
}

/* There is nothing to do: a reply buffer is held only while something is in it, and then given to
 * the next client. */
static void debug_replybuffer(struct call *c)
{
    bool peak = call_arg_is(c, 2, "PEAK-RESET-TIME");
    int64_t ms;
    if (!peak && !call_arg_is(c, 2, "RESIZING"))
        reply_unknown(c);
    else if (!peak || call_arg_is(c, 3, "NEVER") || call_arg_is(c, 3, "RESET") ||
             call_arg_integer(c, 3, &ms))
        reply_ok(&c->reply);
}

static void debug_set_active_expire(struct call *c)
{
    server->active_expire = (int)lenient_number(c->argv[2]) != 0;
    server_apply_config();
    reply_ok(&c->reply);
}

static void debug_set_skip_checksum(struct call *c)
{
    server->restores_unchecked = (int)lenient_number(c->argv[2]) != 0;
    server_apply_config();
    reply_ok(&c->reply);
}

/* Redis lets scripts use all commands then; here DEBUG itself, whose replies of all types are what
 * that is for. */
static void debug_set_disable_deny_scripts(struct call *c)
{
    server->scripts_debug = (int)lenient_number(c->argv[2]) != 0;
    reply_ok(&c->reply);
}

/* 0 sets the default. A threshold beyond what a listpack can hold is refused. */
static void debug_quicklist_packed_threshold(struct call *c)
{
    uint64_t bytes;
    if (!number_parse_memory(c->argv[2], &bytes) || bytes > PACKED_THRESHOLD_MAX) {
        reply_error(&c->reply,
                    "ERR argument must be a memory value bigger than 1 and smaller than 4gb");
        return;
    }
    server->list_packed_max = (uint32_t)bytes;
    server_apply_config();
    reply_ok(&c->reply);
}

/* ---- DEBUG POPULATE ---- */

struct population {
    int64_t count;
    struct slice prefix;
    int64_t size; /* of values; 0: as long as their texts */
};

static bool read_population(struct call *c, struct population *p)
{
    *p = (struct population){.prefix = SLICE("key")};
    if (!call_arg_integer_in(c, 2, 0, INT64_MAX, &p->count))
        return false;
    if (c->argc > 3)
        p->prefix = c->argv[3];
    if (c->argc < 5)
        return true;
    if (!call_arg_integer_in(c, 4, 0, INT64_MAX, &p->size))
        return false;
    if ((uint64_t)p->size > c->keyspace->options.bulk_size_max) {
        reply_error(&c->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return false;
    }
    return true;
}

/* Adds prefix:i with the value value:i, cut or filled with zeros to the size asked for. */
static void populate_key(struct call *c, const struct population *all, int64_t i, struct buf *key)
{
    key->size = 0;
    buf_append_slice(key, all->prefix);
    buf_printf(key, ":%" PRId64, i);
    struct place p = db_find_key(c, buf_slice(key), c->db, DB_WRITE);
    if (p.entry)
        return;
    char text[32];
    size_t size = (size_t)snprintf(text, sizeof(text), "value:%" PRId64, i);
    if (all->size) {
        size_t asked = (size_t)all->size;
        memcpy(db_string_bytes(&p, asked), text, size < asked ? size : asked);
    } else {
        db_put_string(&p, (struct slice){text, size}, DB_NO_EXPIRY);
    }
    db_changed(c, &p);
}

static void debug_populate(struct call *c)
{
    struct population all;
    if (!read_population(c, &all))
        return;

    struct buf key;
    buf_init(&key);
    for (int64_t i = 0; i < all.count; i++)
        populate_key(c, &all, i, &key);
    buf_deinit(&key);
    reply_ok(&c->reply);
}

/* ---- DEBUG DIGEST ---- */

static void reply_digest(struct call *c, const unsigned char digest[DEBUG_DIGEST_SIZE])
{
    char text[2 * DEBUG_DIGEST_SIZE + 1];
    for (size_t i = 0; i < DEBUG_DIGEST_SIZE; i++)
        snprintf(text + i * 2, 3, "%02x", digest[i]);
    reply_simple(&c->reply, text);
}

static void debug_digest_run(struct call *c)
{
    unsigned char digest[DEBUG_DIGEST_SIZE];
    debug_digest(c, digest);
    reply_digest(c, digest);
}

static void debug_digest_value_run(struct call *c)
{
    reply_array(&c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        unsigned char digest[DEBUG_DIGEST_SIZE];
        debug_digest_value(c, c->argv[i], digest);
        reply_digest(c, digest);
    }
}

/* ---- DEBUG PROTOCOL ---- */

static void reply_numbers(struct reply *r)
{
    for (int i = 0; i < 3; i++)
        reply_integer(r, i);
}

static void protocol_string(struct reply *r)
{
    reply_bulk_text(r, "Hello World");
}

static void protocol_integer(struct reply *r)
{
    reply_integer(r, 12345);
}

static void protocol_double(struct reply *r)
{
    reply_double(r, 3.141);
}

static void protocol_bignum(struct reply *r)
{
    reply_big_number(r, SLICE("1234567999999999999999999999999999999"));
}

static void protocol_array(struct reply *r)
{
    reply_array(r, 3);
    reply_numbers(r);
}

static void protocol_set(struct reply *r)
{
    reply_set(r, 3);
    reply_numbers(r);
}

static void protocol_map(struct reply *r)
{
    reply_map(r, 3);
    for (int i = 0; i < 3; i++) {
        reply_integer(r, i);
        reply_bool(r, i == 1);
    }
}

/* An attribute or a push is no reply: one follows it. */
static void protocol_attrib(struct reply *r)
{
    if (r->protocol >= 3) {
        reply_attribute(r, 1);
        reply_bulk_text(r, "key-popularity");
        reply_array(r, 2);
        reply_bulk_text(r, "key:123");
        reply_integer(r, 90);
    }
    reply_bulk_text(r, "Some real reply following the attribute");
}

static void protocol_push(struct reply *r)
{
    if (r->protocol < 3) {
        reply_error(r, "ERR RESP2 is not supported by this command");
        return;
    }
    reply_push(r, 2);
    reply_bulk_text(r, "server-cpu-usage");
    reply_integer(r, 42);
    reply_bulk_text(r, "Some real reply following the push reply");
}

static void protocol_verbatim(struct reply *r)
{
    reply_verbatim(r, "txt", SLICE("This is a verbatim\nstring"));
}

static void protocol_true(struct reply *r)
{
    reply_bool(r, true);
}

static void protocol_false(struct reply *r)
{
    reply_bool(r, false);
}

static void debug_protocol(struct call *c)
{
    static const struct {
        const char *name;
        void (*write)(struct reply *r);
    } types[] = {
        {"string", protocol_string}, {"integer", protocol_integer}, {"double", protocol_double},
        {"bignum", protocol_bignum}, {"null", reply_null}, {"array", protocol_array},
        {"set", protocol_set}, {"map", protocol_map}, {"attrib", protocol_attrib},
        {"push", protocol_push}, {"verbatim", protocol_verbatim}, {"true", protocol_true},
        {"false", protocol_false},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (call_arg_is(c, 2, types[i].name)) {
            types[i].write(&c->reply);
            return;
        }
    }
    reply_error(&c->reply, "ERR Wrong protocol type name. Please use one of the following: "
                           "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|"
                           "true|false");
}

/* ---- DEBUG HTSTATS ---- */

static void debug_htstats(struct call *c)
{
    int64_t db;
    if (!call_arg_integer(c, 2, &db))
        return;
    if (db < 0 || db >= c->keyspace->db_count) {
        reply_error(&c->reply, "ERR Out of range database");
        return;
    }

    struct buf text;
    buf_init(&text);
    buf_append_text(&text, "[Dictionary HT]\n");
    for (uint32_t i = 0; i < c->keyspace->shard_count; i++) {
        const struct db *d = &c->shards[i]->dbs[db];
        buf_printf(&text,
                   "Shard %u: elements %" PRIu64 ", with an expiry %" PRIu64
                   ", buckets of %d slots %" PRIu64 ", chained buckets %" PRIu64 ", bytes %zu\n",
                   i, d->keys.count, d->expiring_count, TABLE_SLOTS, d->keys.bucket_count,
                   d->keys.chained_count, table_memory(&d->keys));
    }
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

/* ---- The whole ---- */

/* STRINGMATCH-LEN length pattern: matches as many bytes 'a' with the pattern, which shows what a
 * hostile pattern costs. */
static void debug_stringmatch_len(struct call *c)
{
    int64_t size;
    if (!call_arg_integer_in(c, 2, 0, STRINGMATCH_MAX, &size))
        return;

    char *text = mem_alloc((size_t)size + 1);
    memset(text, 'a', (size_t)size);
    bool matches = glob_match(c->argv[3], (struct slice){text, (size_t)size}, false);
    mem_free(text);

    reply_integer(&c->reply, matches);
}

/* STRINGMATCH-TEST: patterns and texts of a few hostile letters, many times over. */
static void debug_stringmatch_test(struct call *c)
{
    static const char letters[] = "ab*?[]^-\\";
    struct shard *s = &core_self()->shard;
    for (int round = 0; round < STRINGMATCH_ROUNDS; round++) {
        char pattern[32], text[32];
        for (size_t i = 0; i < sizeof(text); i++) {
            pattern[i] = letters[shard_random(s) % (sizeof(letters) - 1)];
            text[i] = letters[shard_random(s) % (sizeof(letters) - 1)];
        }
        glob_match((struct slice){pattern, shard_random(s) % sizeof(pattern)},
                   (struct slice){text, shard_random(s) % sizeof(text)}, round % 2);
    }

    reply_simple(&c->reply, "Apparently Redis did not crash: test passed");
}

static void debug_help(struct call *c)
{
    static const char *const lines[] = {
        "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ASSERT",
        "    End by a failed assertion.",
        "CHANGE-REPL-ID",
        "    Draw another replication id.",
        "CONFIG-REWRITE-FORCE-ALL",
        "    CONFIG REWRITE with options at their defaults, too.",
        "DIGEST",
        "    Return a hash of all data, in 40 hexadecimal digits: the one that Redis gives.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Return a hash of each key's value.",
        "ERROR <string>",
        "    Return <string> as an error.",
        "HTSTATS <db>",
        "    Return the state of a database's hash tables, shard by shard.",
        "HTSTATS-KEY <key>",
        "    Return the size of a large set, sorted set or hash.",
        "LISTPACK <key>",
        "    Write the elements of a packed collection to the log.",
        "LOADAOF",
        "    Remove all keys and load the append-only file.",
        "LOG <message>",
        "    Write <message> to the log.",
        "OBJECT <key>",
        "    Return how the value of <key> is held.",
        "OOM",
        "    Ask for more memory than there is.",
        "PANIC",
        "    End as where something is found broken.",
        "PAUSE-CRON (0|1)",
        "    Stop what the server does by the clock: removing expired keys, closing idle clients.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Create <count> strings named <prefix>:<number> (default: key), those that exist",
        "    spared, with values of <size> bytes.",
        "PROTOCOL <type>",
        "    Return an example of a reply type: string, integer, double, bignum, null, array, set,",
        "    map, attrib, push, verbatim, true or false.",
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "    Give list elements of more than <size> bytes a node of their own. 0: the default.",
        "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
        "    Save to the snapshot's file, remove everything, and load the file.",
        "REPLYBUFFER (RESIZING (0|1) | PEAK-RESET-TIME (<milliseconds>|NEVER|RESET))",
        "    Accepted, and without effect: no client keeps an empty reply buffer.",
        "SEGFAULT",
        "    End by an access to memory that there is not.",
        "SET-ACTIVE-EXPIRE (0|1)",
        "    Say whether expired keys are removed before somebody asks for them.",
        "SET-DISABLE-DENY-SCRIPTS (0|1)",
        "    Say whether scripts may use DEBUG.",
        "SET-SKIP-CHECKSUM-VALIDATION (0|1)",
        "    Say whether RESTORE takes payloads with wrong checksums.",
        "SLEEP <seconds>",
        "    Stop the whole server for <seconds>, which may have a fraction.",
        "STRINGMATCH-LEN <length> <pattern>",
        "    Match <length> letters 'a' with a glob-style pattern.",
        "STRINGMATCH-TEST",
        "    Match random patterns with random texts.",
        "STRUCTSIZE",
        "    Return the sizes of the server's structures.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

static void debug_config_rewrite(struct call *c)
{
    config_reply_rewrite(c, true);
}

static void debug_change_repl_id(struct call *c)
{
    server_change_replication_id();
    reply_ok(&c->reply);
}

static const struct debug_command {
    const char *name;
    void (*run)(struct call *c);
    uint32_t argc_min, argc_max; /* DEBUG and the name included */
} commands[] = {
    {"assert", debug_assert, 2, 2},
    {"change-repl-id", debug_change_repl_id, 2, 2},
    {"config-rewrite-force-all", debug_config_rewrite, 2, 2},
    {"digest", debug_digest_run, 2, 2},
    {"digest-value", debug_digest_value_run, 2, UINT32_MAX},
    {"error", debug_error, 3, 3},
    {"help", debug_help, 2, 2},
    {"htstats", debug_htstats, 3, 4},
    {"htstats-key", debug_htstats_key, 3, 4},
    {"listpack", debug_listpack, 3, 3},
    {"loadaof", debug_loadaof, 2, 2},
    {"log", debug_log, 3, 3},
    {"object", debug_object, 3, 3},
    {"oom", debug_oom, 2, 2},
    {"panic", debug_panic, 2, 2},
    {"pause-cron", debug_pause_cron, 3, 3},
    {"populate", debug_populate, 3, 5},
    {"protocol", debug_protocol, 3, 3},
    {"quicklist-packed-threshold", debug_quicklist_packed_threshold, 3, 3},
    {"reload", debug_reload, 2, UINT32_MAX},
    {"replybuffer", debug_replybuffer, 4, 4},
    {"segfault", debug_segfault, 2, 2},
    {"set-active-expire", debug_set_active_expire, 3, 3},
    {"set-disable-deny-scripts", debug_set_disable_deny_scripts, 3, 3},
    {"set-skip-checksum-validation", debug_set_skip_checksum, 3, 3},
    {"sleep", debug_sleep, 3, 3},
    {"stringmatch-len", debug_stringmatch_len, 4, 4},
    {"stringmatch-test", debug_stringmatch_test, 2, 2},
    {"structsize", debug_structsize, 2, 2},
};

static bool is_allowed(const struct call *c)
{
    int allowed = server->config.enable_debug_command;
    return allowed == DEBUG_YES ||
           (allowed == DEBUG_LOCAL && accept_is_local(c->session->conn.fd));
}

static void debug_run(struct call *c)
{
    if (!is_allowed(c)) {
        reply_error(&c->reply,
                    "ERR DEBUG command not allowed. If the enable-debug-command option is set to "
                    "\"local\", you can run it from a local connection, otherwise you need to set "
                    "this option in the configuration file, and then restart the server.");
        return;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct debug_command *d = &commands[i];
        if (call_arg_is(c, 1, d->name) && c->argc >= d->argc_min && c->argc <= d->argc_max) {
            d->run(c);
            return;
        }
    }
    reply_unknown(c);
}

const struct command debug_commands[] = {
    {.name = "debug", .run = debug_run, .arity = -2, .route = ROUTE_CROSS,
     .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_EVERY_SHARD | CMD_LATER |
              CMD_SYSTEM,
     .group = "server", .since = "1.0.0", .complexity = "Depends on subcommand.",
     .summary = "A container for commands that test servers and clients."},
    {.name = NULL},
};
