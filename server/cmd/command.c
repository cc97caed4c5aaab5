/* COMMAND: what the server says about its own commands. Source: the registry's rows. */
#include "proto/glob.h"
#include "proto/mem.h"
#include "server/cmd/tables.h"
#include "server/command_reply.h"
#include "server/server.h"
#include "shard/call.h"

#define UNKNOWN_SHOWN_MAX 128 /* bytes of an unknown word that an error repeats */

/* ---- COMMAND, COMMAND COUNT, COMMAND INFO, COMMAND DOCS ---- */

static void reply_all(struct call *c)
{
    uint32_t count = registry_top_count(server->registry);
    reply_array(&c->reply, count);
    for (uint32_t i = 0; i < count; i++)
        command_reply_info(&c->reply, registry_top_at(server->registry, i));
}

/* COMMAND alone. As a container that has a body it also gets what names no subcommand. */
static void command_all(struct call *c)
{
    if (c->argc == 1) {
        reply_all(c);
        return;
    }
    struct slice word = c->argv[1];
    int shown = word.size < UNKNOWN_SHOWN_MAX ? (int)word.size : UNKNOWN_SHOWN_MAX;
    reply_error(&c->reply, "ERR unknown subcommand '%.*s'. Try COMMAND HELP.", shown, word.data);
}

static void command_count(struct call *c)
{
    reply_integer(&c->reply, registry_top_count(server->registry));
}

static void command_info(struct call *c)
{
    if (c->argc == 2) {
        reply_all(c);
        return;
    }
    reply_array(&c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++)
        command_reply_info(&c->reply, registry_find_full(server->registry, c->argv[i]));
}

static void command_docs_of(struct call *c, const struct command *row)
{
    reply_bulk_text(&c->reply, row->full_name);
    command_reply_docs(&c->reply, row);
}

static void command_docs_all(struct call *c)
{
    uint32_t count = registry_top_count(server->registry);
    reply_map(&c->reply, count);
    for (uint32_t i = 0; i < count; i++)
        command_docs_of(c, registry_top_at(server->registry, i));
}

static void command_docs(struct call *c)
{
    if (c->argc == 2) {
        command_docs_all(c);
        return;
    }
    size_t found = 0;
    for (uint32_t i = 2; i < c->argc; i++)
        found += registry_find_full(server->registry, c->argv[i]) != NULL;
    reply_map(&c->reply, found);
    for (uint32_t i = 2; i < c->argc; i++) {
        const struct command *row = registry_find_full(server->registry, c->argv[i]);
        if (row)
            command_docs_of(c, row);
    }
}

/* ---- COMMAND LIST ---- */

enum list_filter { LIST_ALL, LIST_MODULE, LIST_CATEGORY, LIST_PATTERN };

static bool fits(const struct command *row, enum list_filter filter, struct slice word)
{
    switch (filter) {
    case LIST_ALL:
        return true;
    case LIST_MODULE:
        return false; /* there are no modules, so no command is of one */
    case LIST_CATEGORY:
        return row->acl & command_category(word);
    case LIST_PATTERN:
        return glob_match(word, slice_of(row->full_name), true);
    }
    return false;
}

static bool is_shown(const struct command *row, enum list_filter filter, struct slice word)
{
    return registry_is_listed(server->registry, row) && fits(row, filter, word);
}

/* FILTERBY's kind, or false, having replied. */
static bool read_filter(struct call *c, enum list_filter *filter)
{
    *filter = LIST_ALL;
    if (c->argc == 2)
        return true;
    if (c->argc == 5 && call_arg_is(c, 2, "filterby")) {
        if (call_arg_is(c, 3, "module"))
            *filter = LIST_MODULE;
        else if (call_arg_is(c, 3, "aclcat"))
            *filter = LIST_CATEGORY;
        else if (call_arg_is(c, 3, "pattern"))
            *filter = LIST_PATTERN;
    }
    if (*filter == LIST_ALL)
        reply_error_syntax(&c->reply);
    return *filter != LIST_ALL;
}

static void command_list(struct call *c)
{
    enum list_filter filter;
    if (!read_filter(c, &filter))
        return;
    struct slice word = filter == LIST_ALL ? (struct slice){NULL, 0} : c->argv[4];
    size_t listed = 0;
    for (uint32_t id = 0; id < registry_count(server->registry); id++)
        listed += is_shown(registry_at(server->registry, id), filter, word);
    reply_array(&c->reply, listed);
    for (uint32_t id = 0; id < registry_count(server->registry); id++) {
        const struct command *row = registry_at(server->registry, id);
        if (is_shown(row, filter, word))
            reply_bulk_text(&c->reply, row->full_name);
    }
}

/* ---- COMMAND GETKEYS, COMMAND GETKEYSANDFLAGS ---- */

/* The row of the request behind COMMAND GETKEYS, or NULL, having replied. */
static const struct command *read_request(struct call *c)
{
    const struct slice *argv = c->argv + 2;
    uint32_t argc = c->argc - 2;
    const struct command *row = registry_resolve(server->registry, argv, argc);
    bool unknown_sub = row && row->subcommand_count && argc > 1;
    bool arity_fits = row && (row->arity > 0 ? argc == (uint32_t)row->arity
                                             : argc >= (uint32_t)-row->arity);
    if (!row || unknown_sub)
        reply_error(&c->reply, "ERR Invalid command specified");
    else if (!command_has_keys(row))
        reply_error(&c->reply, "ERR The command has no key arguments");
    else if (!arity_fits)
        reply_error(&c->reply, "ERR Invalid number of arguments specified for command");
    else
        return row;
    return NULL;
}

/* Replies with the keys. No keys are an answer only where they are not mandatory (EVAL); there also
 * where they cannot be told. */
static void reply_keys(struct call *c, bool with_flags)
{
    const struct command *row = read_request(c);
    if (!row)
        return;
    const struct slice *argv = c->argv + 2;
    int64_t count = command_keys(row, argv, c->argc - 2, NULL, 0);
    if (count < 0 && (row->flags & CMD_NO_MANDATORY_KEYS))
        count = 0;
    if (count <= 0 && !(row->flags & CMD_NO_MANDATORY_KEYS)) {
        reply_error(&c->reply, "ERR Invalid arguments specified for command");
        return;
    }
    struct command_key *keys = mem_alloc((size_t)(count + 1) * sizeof(*keys));
    command_keys(row, argv, c->argc - 2, keys, (uint32_t)count);
    reply_array(&c->reply, (size_t)count);
    for (int64_t i = 0; i < count; i++) {
        if (with_flags)
            reply_array(&c->reply, 2);
        reply_bulk(&c->reply, argv[keys[i].arg]);
        if (with_flags)
            command_reply_key_flags(&c->reply, keys[i].flags);
    }
    mem_free(keys);
}

static void command_getkeys(struct call *c)
{
    reply_keys(c, false);
}

static void command_getkeysandflags(struct call *c)
{
    reply_keys(c, true);
}

/* ---- COMMAND HELP ---- */

static void command_help(struct call *c)
{
    static const char *const lines[] = {
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define SUBCOMMAND(word, body, args) \
    .name = word, .run = body, .arity = args, .route = ROUTE_SESSION, \
    .flags = CMD_LOADING | CMD_STALE | CMD_SENTINEL, .acl = ACL_CONNECTION, .group = "server"

static const struct command command_subcommands[] = {
    {SUBCOMMAND("count", command_count, 2),
     .since = "2.8.13", .complexity = "O(1)",
     .summary = "Returns a count of commands."},
    {SUBCOMMAND("docs", command_docs, -2),
     .since = "7.0.0", .complexity = "O(N) where N is the number of commands to look up",
     .syntax = "[command-name [command-name ...]]", .tips = "nondeterministic_output_order",
     .summary = "Returns documentary information about one, multiple or all commands."},
    {SUBCOMMAND("getkeys", command_getkeys, -3),
     .since = "2.8.13", .complexity = "O(N) where N is the number of arguments to the command",
     .syntax = "command [arg [arg ...]]",
     .summary = "Extracts the key names from an arbitrary command."},
    {SUBCOMMAND("getkeysandflags", command_getkeysandflags, -3),
     .since = "7.0.0", .complexity = "O(N) where N is the number of arguments to the command",
     .syntax = "command [arg [arg ...]]",
     .summary = "Extracts the key names and access flags for an arbitrary command."},
    {SUBCOMMAND("help", command_help, 2),
     .since = "5.0.0", .complexity = "O(1)",
     .summary = "Returns helpful text about the different subcommands."},
    {SUBCOMMAND("info", command_info, -2),
     .since = "2.8.13", .complexity = "O(N) where N is the number of commands to look up",
     .syntax = "[command-name [command-name ...]]", .tips = "nondeterministic_output_order",
     .summary = "Returns information about one, multiple or all commands."},
    {SUBCOMMAND("list", command_list, -2),
     .since = "7.0.0", .complexity = "O(N) where N is the total number of Redis commands",
     .syntax = "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
     .tips = "nondeterministic_output_order",
     .summary = "Returns a list of command names."},
    {.name = NULL},
};

const struct command command_commands[] = {
    {SUBCOMMAND("command", command_all, -1),
     .since = "2.8.13", .complexity = "O(N) where N is the total number of Redis commands",
     .tips = "nondeterministic_output_order", .subcommands = command_subcommands,
     .summary = "Returns detailed information about all commands."},
    {.name = NULL},
};
