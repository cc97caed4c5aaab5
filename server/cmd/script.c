/* EVAL and its kin, SCRIPT.
 *
 * Scripts are cross transactions of the shards that they need (server/script/script.h); what is
 * loaded is known to all cores at once. */
#include "server/cmd/tables.h"
#include "server/script/busy.h"
#include "server/script/eval.h"
#include "server/script/script.h"
#include "server/server.h"

static void run_load(struct call *c)
{
    const struct script *script = eval_load(core_self(), c->argv[2], &c->reply);
    if (script)
        reply_bulk_text(&c->reply, script->name);
}

static void run_exists(struct call *c)
{
    reply_array(&c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        unsigned char sha[SCRIPT_SHA_SIZE];
        bool known = script_read_name(c->argv[i], sha) && scripts_find(server->scripts, sha);
        reply_integer(&c->reply, known);
    }
}

static void run_flush(struct call *c)
{
    bool told = c->argc == 3 && (call_arg_is(c, 2, "sync") || call_arg_is(c, 2, "async"));
    if (c->argc != 2 && !told) {
        reply_error(&c->reply, "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
        return;
    }
    scripts_flush(server->scripts);
    reply_ok(&c->reply);
}

static void run_kill(struct call *c)
{
    busy_kill(false, &c->reply);
}

static void run_debug(struct call *c)
{
    if (call_arg_is(c, 2, "no"))
        reply_ok(&c->reply);
    else if (call_arg_is(c, 2, "yes") || call_arg_is(c, 2, "sync"))
        reply_error(&c->reply, "ERR The script debugger is not supported");
    else
        reply_error(&c->reply, "ERR Use SCRIPT DEBUG YES/SYNC/NO");
}

static void run_help(struct call *c)
{
    static const char *const lines[] = {
        "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DEBUG (YES|SYNC|NO)",
        "    Set the debug mode for subsequent scripts executed.",
        "EXISTS <sha1> [<sha1> ...]",
        "    Return information about the existence of the scripts in the script cache.",
        "FLUSH [ASYNC|SYNC]",
        "    Flush the Lua scripts cache. Very dangerous on replicas.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the scripts cache.",
        "    * SYNC: Synchronously flush the scripts cache.",
        "KILL",
        "    Kill the currently executing Lua script.",
        "LOAD <script>",
        "    Load a script into the scripts cache without executing it.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define SUBCOMMAND(f) .flags = (f), .acl = ACL_SCRIPTING, .group = "scripting"

static const struct command subcommands[] = {
    {.name = "debug", .run = run_debug, .arity = 3, .route = ROUTE_SESSION,
     SUBCOMMAND(CMD_NOSCRIPT), .since = "3.2.0", .complexity = "O(1)",
     .syntax = "<YES | SYNC | NO>",
     .summary = "Turns the script debugger off."},
    {.name = "exists", .run = run_exists, .arity = -3, .route = ROUTE_SESSION,
     SUBCOMMAND(CMD_NOSCRIPT), .since = "2.6.0",
     .complexity = "O(N) with N being the number of scripts to check (so checking a single script "
                   "is an O(1) operation).",
     .syntax = "sha1 [sha1 ...]", .summary = "Tells which scripts are in the script cache.",
     .tips = "request_policy:all_shards response_policy:agg_logical_and"},
    {.name = "flush", .run = run_flush, .arity = -2, .route = ROUTE_CROSS,
     SUBCOMMAND(CMD_NOSCRIPT | CMD_EVERY_SHARD), .since = "2.6.0",
     .complexity = "O(N) with N being the number of scripts in cache",
     .syntax = "[ASYNC | SYNC]", .summary = "Removes all scripts from the script cache.",
     .tips = "request_policy:all_nodes response_policy:all_succeeded"},
    {.name = "help", .run = run_help, .arity = 2, .route = ROUTE_SESSION,
     SUBCOMMAND(CMD_LOADING | CMD_STALE), .since = "5.0.0", .complexity = "O(1)", .syntax = "",
     .summary = "Returns helpful text about the subcommands."},
    {.name = "kill", .run = run_kill, .arity = 2, .route = ROUTE_SESSION,
     SUBCOMMAND(CMD_NOSCRIPT | CMD_ALLOW_BUSY), .since = "2.6.0", .complexity = "O(1)",
     .syntax = "", .summary = "Ends a script that runs for long and has not written.",
     .tips = "request_policy:all_shards response_policy:one_succeeded"},
    {.name = "load", .run = run_load, .arity = 3, .route = ROUTE_SESSION,
     SUBCOMMAND(CMD_NOSCRIPT | CMD_STALE), .since = "2.6.0",
     .complexity = "O(N) with N being the length in bytes of the script body.",
     .syntax = "script", .summary = "Puts a script into the script cache.",
     .tips = "request_policy:all_nodes response_policy:all_succeeded"},
    {0},
};

#define SCRIPT_RUNNER(f)                                                                          \
    .run = eval_run, .arity = -3, .route = ROUTE_CROSS, .reach = script_reach,                    \
    .acl = ACL_SCRIPTING, .group = "scripting",                                                   \
    .complexity = "Depends on the script that is executed.",                                      \
    .flags = (f) | CMD_NOSCRIPT | CMD_SKIP_MONITOR | CMD_NO_MANDATORY_KEYS | CMD_STALE
#define COUNTED_KEYS(f, text)                                                                     \
    {{.flags = (f), .begin = 2, .find = KEY_FIND_COUNT, .first = 1, .step = 1, .notes = (text)}}
#define WRITES_NOTE "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE"
#define READS_NOTE "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS"

const struct command script_commands[] = {
    {.name = "eval", SCRIPT_RUNNER(CMD_MAY_REPLICATE),
     .keys = COUNTED_KEYS(KEY_RW | KEY_ACCESS | KEY_UPDATE, WRITES_NOTE), .since = "2.6.0",
     .syntax = "script numkeys [key [key ...]] [arg [arg ...]]",
     .summary = "Runs a Lua script."},
    {.name = "eval_ro", SCRIPT_RUNNER(CMD_READONLY),
     .keys = COUNTED_KEYS(KEY_RO | KEY_ACCESS, READS_NOTE), .since = "7.0.0",
     .syntax = "script numkeys [key [key ...]] [arg [arg ...]]",
     .summary = "Runs a Lua script that does not write."},
    {.name = "evalsha", SCRIPT_RUNNER(CMD_MAY_REPLICATE),
     .keys = COUNTED_KEYS(KEY_RW | KEY_ACCESS | KEY_UPDATE, NULL), .since = "2.6.0",
     .syntax = "sha1 numkeys [key [key ...]] [arg [arg ...]]",
     .summary = "Runs a Lua script that is in the script cache."},
    {.name = "evalsha_ro", SCRIPT_RUNNER(CMD_READONLY),
     .keys = COUNTED_KEYS(KEY_RO | KEY_ACCESS, NULL), .since = "7.0.0",
     .syntax = "sha1 numkeys [key [key ...]] [arg [arg ...]]",
     .summary = "Runs a Lua script that is in the script cache and does not write."},
    {.name = "script", .arity = -2, .route = ROUTE_SESSION, .group = "scripting",
     .since = "2.6.0", .complexity = "Depends on subcommand.", .syntax = "",
     .summary = "A container for the commands on the script cache.",
     .subcommands = subcommands},
    {0},
};
