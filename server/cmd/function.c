/* FUNCTION, FCALL.
 *
 * What changes the libraries is a cross transaction of all shards: every core stands still, and the
 * one that runs it may change what all of them read. FCALL is one of the shards that the function
 * needs (server/script/script.h). */
#include "proto/glob.h"
#include "server/cmd/tables.h"
#include "server/script/busy.h"
#include "server/script/function_call.h"
#include "server/script/function_core.h"
#include "server/script/function_dump.h"
#include "server/script/function_load.h"
#include "server/script/script.h"
#include "server/server.h"
#include "shard/journal.h"

#define PRINTED_MAX 128

static void reply_syntax(struct call *c)
{
    struct slice word = c->argv[1];
    int size = (int)(word.size < PRINTED_MAX ? word.size : PRINTED_MAX);
    reply_error(&c->reply,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. "
                "Try FUNCTION HELP.",
                size, word.data);
}

/* --- Changing the libraries --- */

static void run_load(struct call *c)
{
    for (uint32_t i = 2; i + 1 < c->argc; i++) {
        if (!call_arg_is(c, i, "replace")) {
            reply_error(&c->reply, "ERR Unknown option given: %.*s", (int)c->argv[i].size,
                        c->argv[i].data);
            return;
        }
    }
    struct buf error;
    buf_init(&error);
    const struct library *l = function_load(server->functions, c->argv[c->argc - 1], c->argc > 3,
                                            FUNCTION_LOAD_MS, &error);
    if (l) {
        reply_bulk(&c->reply, l->name);
        call_journal(c, NULL, c->argv, c->argc);
    } else {
        reply_error(&c->reply, "ERR %.*s", (int)error.size, error.data);
    }
    buf_deinit(&error);
}

static void run_delete(struct call *c)
{
    struct library *l = functions_find_library(server->functions, c->argv[2]);
    if (!l) {
        reply_error(&c->reply, "ERR Library not found");
        return;
    }
    functions_unlink(server->functions, l);
    library_destroy(l);
    call_journal(c, NULL, c->argv, c->argc);
    reply_ok(&c->reply);
}

static void run_flush(struct call *c)
{
    if (c->argc > 3) {
        reply_syntax(c);
        return;
    }
    if (c->argc == 3 && !call_arg_is(c, 2, "sync") && !call_arg_is(c, 2, "async")) {
        reply_error(&c->reply, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
        return;
    }
    function_flush();
    call_journal(c, NULL, c->argv, c->argc);
    reply_ok(&c->reply);
}

static bool read_policy(const struct call *c, enum function_policy *policy)
{
    static const char *const words[] = {
        [FUNCTION_APPEND] = "append", [FUNCTION_REPLACE] = "replace", [FUNCTION_FLUSH] = "flush"};
    *policy = FUNCTION_APPEND;
    if (c->argc < 4)
        return true;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (call_arg_is(c, 3, words[i])) {
            *policy = (enum function_policy)i;
            return true;
        }
    }
    return false;
}

static void run_restore(struct call *c)
{
    enum function_policy policy;
    if (c->argc > 4) {
        reply_syntax(c);
        return;
    }
    if (!read_policy(c, &policy)) {
        reply_error(&c->reply, "ERR Wrong restore policy given, value should be either FLUSH, "
                               "APPEND or REPLACE.");
        return;
    }
    struct buf error;
    buf_init(&error);
    if (function_restore(c->argv[2], policy, &error)) {
        call_journal(c, NULL, c->argv, c->argc);
        reply_ok(&c->reply);
    } else {
        reply_error(&c->reply, "ERR %.*s", (int)error.size, error.data);
    }
    buf_deinit(&error);
}

/* --- Telling of them --- */

static void run_dump(struct call *c)
{
    struct buf payload;
    buf_init(&payload);
    function_dump(server->functions, true, &payload);
    reply_bulk(&c->reply, buf_slice(&payload));
    buf_deinit(&payload);
}

struct list_options {
    bool with_code, by_pattern;
    struct slice pattern;
};

static bool read_list_options(struct call *c, struct list_options *o)
{
    *o = (struct list_options){.with_code = false};
    for (uint32_t i = 2; i < c->argc; i++) {
        if (!o->with_code && call_arg_is(c, i, "withcode")) {
            o->with_code = true;
        } else if (!o->by_pattern && call_arg_is(c, i, "libraryname")) {
            if (i + 1 == c->argc) {
                reply_error(&c->reply, "ERR library name argument was not given");
                return false;
            }
            o->by_pattern = true;
            o->pattern = c->argv[++i];
        } else {
            reply_error(&c->reply, "ERR Unknown argument %.*s", (int)c->argv[i].size,
                        c->argv[i].data);
            return false;
        }
    }
    return true;
}

static void reply_flags(struct reply *r, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {
        {SCRIPT_NO_WRITES, "no-writes"},     {SCRIPT_ALLOW_OOM, "allow-oom"},
        {SCRIPT_ALLOW_STALE, "allow-stale"}, {SCRIPT_NO_CLUSTER, "no-cluster"},
        {SCRIPT_ALLOW_CROSS_SLOT, "allow-cross-slot-keys"},
    };
    reply_set(r, (size_t)__builtin_popcount(flags));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (flags & names[i].flag)
            reply_simple(r, names[i].name);
}

static void reply_library(struct reply *r, const struct library *l, bool with_code)
{
    reply_map(r, with_code ? 4 : 3);
    reply_bulk_text(r, "library_name");
    reply_bulk(r, l->name);
    reply_bulk_text(r, "engine");
    reply_bulk_text(r, "LUA");
    reply_bulk_text(r, "functions");
    reply_array(r, l->function_count);
    for (uint32_t i = 0; i < l->function_count; i++) {
        const struct function *f = l->functions[i];
        reply_map(r, 3);
        reply_bulk_text(r, "name");
        reply_bulk(r, f->name);
        reply_bulk_text(r, "description");
        if (f->described)
            reply_bulk(r, f->description);
        else
            reply_null(r);
        reply_bulk_text(r, "flags");
        reply_flags(r, f->flags);
    }
    if (!with_code)
        return;
    reply_bulk_text(r, "library_code");
    reply_bulk(r, l->code);
}

static bool is_listed(const struct list_options *o, const struct library *l)
{
    return !o->by_pattern || glob_match(o->pattern, l->name, true);
}

static void run_list(struct call *c)
{
    const struct functions *f = server->functions;
    struct list_options o;
    uint32_t count = 0;
    if (!read_list_options(c, &o))
        return;
    for (uint32_t i = 0; i < f->library_count; i++)
        count += is_listed(&o, f->libraries[i]);
    reply_array(&c->reply, count);
    for (uint32_t i = 0; i < f->library_count; i++)
        if (is_listed(&o, f->libraries[i]))
            reply_library(&c->reply, f->libraries[i], o.with_code);
}

static void run_stats(struct call *c)
{
    struct reply *r = &c->reply;
    struct buf running;
    buf_init(&running);
    if (!busy_tell_function(&(struct reply){.out = &running, .protocol = r->protocol})) {
        reply_error(r, "BUSY Redis is busy running a script. You can only call SCRIPT KILL or "
                       "SHUTDOWN NOSAVE.");
        return;
    }
    reply_map(r, 2);
    reply_bulk_text(r, "running_script");
    if (running.size)
        buf_append_slice(r->out, buf_slice(&running));
    else
        reply_null(r);
    buf_deinit(&running);
    reply_bulk_text(r, "engines");
    reply_map(r, 1);
    reply_bulk_text(r, "LUA");
    reply_map(r, 2);
    reply_bulk_text(r, "libraries_count");
    reply_integer(r, server->functions->library_count);
    reply_bulk_text(r, "functions_count");
    reply_integer(r, server->functions->registered_count);
}

static void run_kill(struct call *c)
{
    busy_kill(true, &c->reply);
}

static void run_help(struct call *c)
{
    static const char *const lines[] = {
        "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LOAD [REPLACE] <library code>",
        "    Run a library's code, and keep the functions that it registers.",
        "DELETE <library name>",
        "    Delete a library and its functions.",
        "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
        "    Tell of the libraries, or of those whose names match: their functions, these with",
        "    flags and descriptions, and the code with WITHCODE.",
        "STATS",
        "    Tell which function is running, with what command and for how long, where one has",
        "    been running for long; and how many libraries and functions there are.",
        "KILL",
        "    End the function that is running, if it has not written.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all libraries.",
        "DUMP",
        "    Return all libraries in one payload for FUNCTION RESTORE.",
        "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
        "    Bring in the libraries of a payload. What is there already:",
        "    * FLUSH: goes, all of it.",
        "    * APPEND: stays, and nothing is brought in where a name is taken. The default.",
        "    * REPLACE: goes where a library has the same name. A function's name that is taken",
        "      in another library is still an error.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define SUBCOMMAND(f) .flags = (f), .acl = ACL_SCRIPTING, .group = "scripting", .since = "7.0.0"
#define CHANGES(f) \
    .route = ROUTE_CROSS, SUBCOMMAND(CMD_NOSCRIPT | CMD_WRITE | CMD_EVERY_SHARD | (f))
#define ON_ALL_SHARDS "request_policy:all_shards response_policy:all_succeeded"

static const struct command subcommands[] = {
    {.name = "delete", .run = run_delete, .arity = 3, CHANGES(0), .complexity = "O(1)",
     .syntax = "library-name", .summary = "Deletes a library and its functions.",
     .tips = ON_ALL_SHARDS},
    {.name = "dump", .run = run_dump, .arity = 2, SUBCOMMAND(CMD_NOSCRIPT),
     .complexity = "O(N) where N is the number of functions", .syntax = "",
     .summary = "Returns all libraries in one payload."},
    {.name = "flush", .run = run_flush, .arity = -2, CHANGES(0),
     .complexity = "O(N) where N is the number of functions deleted",
     .syntax = "[ASYNC | SYNC]", .summary = "Deletes all libraries and functions.",
     .tips = ON_ALL_SHARDS},
    {.name = "help", .run = run_help, .arity = 2, SUBCOMMAND(CMD_LOADING | CMD_STALE),
     .complexity = "O(1)", .syntax = "", .summary = "Returns a text on the subcommands."},
    {.name = "kill", .run = run_kill, .arity = 2, SUBCOMMAND(CMD_NOSCRIPT | CMD_ALLOW_BUSY),
     .complexity = "O(1)", .syntax = "",
     .summary = "Ends a function that runs for long and has not written.",
     .tips = "request_policy:all_shards response_policy:one_succeeded"},
    {.name = "list", .run = run_list, .arity = -2, SUBCOMMAND(CMD_NOSCRIPT),
     .complexity = "O(N) where N is the number of functions",
     .syntax = "[LIBRARYNAME library-name-pattern] [WITHCODE]",
     .summary = "Tells of all libraries.", .tips = "nondeterministic_output_order"},
    {.name = "load", .run = run_load, .arity = -3, CHANGES(CMD_DENYOOM),
     .complexity = "O(1) (considering compilation time is redundant)",
     .syntax = "[REPLACE] function-code", .summary = "Creates a library.",
     .tips = ON_ALL_SHARDS},
    {.name = "restore", .run = run_restore, .arity = -3, CHANGES(CMD_DENYOOM),
     .complexity = "O(N) where N is the number of functions on the payload",
     .syntax = "serialized-value [FLUSH | APPEND | REPLACE]",
     .summary = "Brings in the libraries of a payload.", .tips = ON_ALL_SHARDS},
    {.name = "stats", .run = run_stats, .arity = 2, SUBCOMMAND(CMD_NOSCRIPT | CMD_ALLOW_BUSY),
     .complexity = "O(1)", .syntax = "",
     .summary = "Tells which function is running, and how many there are.",
     .tips = "nondeterministic_output request_policy:all_shards response_policy:special"},
    {0},
};

#define CALLER(f)                                                                                 \
    .run = function_call_run, .arity = -3, .route = ROUTE_CROSS, .reach = function_reach,         \
    .acl = ACL_SCRIPTING, .group = "scripting", .since = "7.0.0",                                 \
    .complexity = "Depends on the function that is executed.",                                    \
    .syntax = "function numkeys [key [key ...]] [arg [arg ...]]",                                 \
    .flags = (f) | CMD_NOSCRIPT | CMD_SKIP_MONITOR | CMD_NO_MANDATORY_KEYS | CMD_STALE
#define COUNTED_KEYS(f, text)                                                                     \
    {{.flags = (f), .begin = 2, .find = KEY_FIND_COUNT, .first = 1, .step = 1, .notes = (text)}}

const struct command function_commands[] = {
    {.name = "fcall", CALLER(CMD_MAY_REPLICATE),
     .keys = COUNTED_KEYS(KEY_RW | KEY_ACCESS | KEY_UPDATE,
                          "We cannot tell how the keys will be used so we assume the worst, RW "
                          "and UPDATE"),
     .summary = "Calls a function."},
    {.name = "fcall_ro", CALLER(CMD_READONLY),
     .keys = COUNTED_KEYS(KEY_RO | KEY_ACCESS,
                          "We cannot tell how the keys will be used so we assume the worst, RO "
                          "and ACCESS"),
     .summary = "Calls a function that does not write."},
    {.name = "function", .arity = -2, .route = ROUTE_SESSION, .group = "scripting",
     .since = "7.0.0", .complexity = "Depends on subcommand.",
     .summary = "A container for the commands on function libraries.",
     .subcommands = subcommands},
    {0},
};
