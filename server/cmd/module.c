/* MODULE: as a Redis answers that has no module loaded and finds none to load. Tools ask for the
 * list to learn what a server can do. */
#include "server/accept.h"
#include "server/cmd/tables.h"
#include "server/server.h"
#include "shard/call.h"

/* False, having replied. */
static bool is_allowed(struct call *c)
{
    if (accept_allows(server->config.enable_module_command, c->session))
        return true;
    reply_error(&c->reply,
                "ERR MODULE command not allowed. If the enable-module-command option is set to "
                "\"local\", you can run it from a local connection, otherwise you need to set "
                "this option in the configuration file, and then restart the server.");
    return false;
}

static void module_list(struct call *c)
{
    reply_array(&c->reply, 0);
}

static void module_load(struct call *c)
{
    if (!is_allowed(c))
        return;
    struct slice path = c->argv[2];
    int shown = path.size < 200 ? (int)path.size : 200;
    log_write(&server->log, LOG_WARNING, "Module %.*s failed to load: this server has no modules",
              shown, path.data);
    reply_error(&c->reply, "ERR Error loading the extension. Please check the server logs.");
}

static void module_unload(struct call *c)
{
    if (is_allowed(c))
        reply_error(&c->reply, "ERR Error unloading module: no such module with that name");
}

static void module_help(struct call *c)
{
    static const char *const lines[] = {
        "MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LIST",
        "    Return the modules that are loaded: none, in this server.",
        "LOAD <path> [<arg> ...]",
        "    Fail: this server has no modules.",
        "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
        "    Likewise.",
        "UNLOAD <name>",
        "    Likewise.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define LOADING_FLAGS (CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_ASYNC_LOADING)
#define SUBCOMMAND(word, body, args, f) \
    .name = word, .run = body, .arity = args, .flags = (f), .group = "server"

static const struct command module_subcommands[] = {
    {SUBCOMMAND("help", module_help, 2, CMD_LOADING | CMD_STALE),
     .since = "5.0.0", .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {SUBCOMMAND("list", module_list, 2, CMD_ADMIN | CMD_NOSCRIPT),
     .since = "4.0.0", .complexity = "O(N) where N is the number of loaded modules.",
     .summary = "Returns the modules that are loaded.",
     .tips = "nondeterministic_output_order"},
    {SUBCOMMAND("load", module_load, -3, LOADING_FLAGS),
     .since = "4.0.0", .complexity = "O(1)", .syntax = "path [arg [arg ...]]",
     .summary = "Loads a module."},
    {SUBCOMMAND("loadex", module_load, -3, LOADING_FLAGS),
     .since = "7.0.0", .complexity = "O(1)",
     .syntax = "path [CONFIG name value [CONFIG name value ...]] [ARGS arg [arg ...]]",
     .summary = "Loads a module, with options for it."},
    {SUBCOMMAND("unload", module_unload, 3, LOADING_FLAGS),
     .since = "4.0.0", .complexity = "O(1)", .syntax = "name",
     .summary = "Unloads a module."},
    {.name = NULL},
};

const struct command module_commands[] = {
    {.name = "module", .arity = -2, .route = ROUTE_SESSION, .group = "server",
     .since = "4.0.0", .complexity = "Depends on subcommand.",
     .summary = "A container for commands on modules.",
     .subcommands = module_subcommands},
    {.name = NULL},
};
