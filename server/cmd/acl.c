/* ACL: what changes the users and the small subcommands; what shows them is in acl_show.c. */
#include "server/acl.h"

#include <sys/random.h>

#include "proto/number.h"
#include "server/cmd/acl_show.h"
#include "server/cmd/tables.h"
#include "server/server.h"
#include "shard/call.h"

#define GENPASS_BITS 256
#define GENPASS_BITS_MAX 4096

static const char no_file[] =
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
    "via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
    "configuration file set) in order to store users in the Redis configuration.";

static void reply_text_error(struct call *c, struct buf *text)
{
    reply_error(&c->reply, "ERR %.*s", (int)text->size, text->data);
}

/* Those that change users run while all cores stand still. */

static void acl_setuser(struct call *c)
{
    if (!acl_name_valid(c->argv[2])) {
        reply_error(&c->reply, "ERR Usernames can't contain spaces or null characters");
        return;
    }
    struct buf error;
    buf_init(&error);
    if (acl_set_user(c->argv[2], c->argv + 3, c->argc - 3, c->session, &error))
        reply_ok(&c->reply);
    else
        reply_text_error(c, &error);
    buf_deinit(&error);
}

static void acl_deluser(struct call *c)
{
    for (uint32_t i = 2; i < c->argc; i++)
        if (slice_equal(c->argv[i], SLICE("default"))) {
            reply_error(&c->reply, "ERR The 'default' user cannot be removed");
            return;
        }
    int64_t deleted = 0;
    for (uint32_t i = 2; i < c->argc; i++)
        deleted += acl_delete_user(c->argv[i], c->session);
    reply_integer(&c->reply, deleted);
}

static void acl_load(struct call *c)
{
    if (!server->config.aclfile[0]) {
        reply_error(&c->reply, "%s", no_file);
        return;
    }
    struct buf error;
    buf_init(&error);
    if (acl_load_file(c->session, &error))
        reply_ok(&c->reply);
    else
        reply_text_error(c, &error);
    buf_deinit(&error);
}

static void acl_save(struct call *c)
{
    if (!server->config.aclfile[0])
        reply_error(&c->reply, "%s", no_file);
    else if (acl_save_file())
        reply_ok(&c->reply);
    else
        reply_error(&c->reply, "ERR There was an error trying to save the ACLs. Please check the "
                               "server logs for more information");
}

static void acl_genpass(struct call *c)
{
    int64_t bits = GENPASS_BITS;
    if (c->argc > 3) {
        acl_reply_too_many(c);
        return;
    }
    if (c->argc == 3 && !call_arg_integer(c, 2, &bits))
        return;
    if (bits <= 0 || bits > GENPASS_BITS_MAX) {
        reply_error(&c->reply,
                    "ERR ACL GENPASS argument must be the number of bits for the output password, "
                    "a positive number up to %d",
                    GENPASS_BITS_MAX);
        return;
    }
    size_t digits = (size_t)(bits + 3) / 4, got = 0, size = (digits + 1) / 2;
    unsigned char random[GENPASS_BITS_MAX / 8];
    while (got < size) {
        ssize_t n = getrandom(random + got, size - got, 0);
        got += n > 0 ? (size_t)n : 0;
    }
    char text[GENPASS_BITS_MAX / 4];
    for (size_t i = 0; i < digits; i++)
        text[i] = "0123456789abcdef"[random[i / 2] >> (i % 2 ? 0 : 4) & 15];
    reply_bulk(&c->reply, (struct slice){text, digits});
}

static void acl_whoami(struct call *c)
{
    reply_bulk(&c->reply, acl_user_name(c->session));
}

static void acl_log(struct call *c)
{
    int64_t count = 10;
    if (c->argc > 3) {
        acl_reply_too_many(c);
        return;
    }
    if (c->argc == 3 && call_arg_is(c, 2, "reset")) {
        acl_log_reset(server->acl->log);
        reply_ok(&c->reply);
        return;
    }
    if (c->argc == 3 && !call_arg_integer(c, 2, &count))
        return;
    acl_log_reply(server->acl->log, &c->reply, count < 0 ? 0 : (uint64_t)count, c->now_ms);
}

static void reply_verdict(struct call *c, const struct acl_user *u, const struct command *row,
                          enum acl_verdict verdict, struct slice arg)
{
    struct buf text;
    buf_init(&text);
    buf_printf(&text, "User %.*s has no permissions to ", (int)u->name.size, u->name.data);
    if (verdict == ACL_DENIED_COMMAND) {
        buf_printf(&text, "run the '%s' command", row->full_name);
    } else {
        buf_append_text(&text, "access the '");
        buf_append_slice(&text, arg);
        buf_append_text(&text, verdict == ACL_DENIED_KEY ? "' key" : "' channel");
    }
    reply_bulk(&c->reply, buf_slice(&text));
    buf_deinit(&text);
}

static void acl_dryrun(struct call *c)
{
    const struct acl_user *u = acl_find(c->argv[2]);
    const struct slice *argv = c->argv + 3;
    uint32_t argc = c->argc - 3, arg;
    if (!u) {
        reply_error(&c->reply, "ERR User '%.*s' not found", (int)c->argv[2].size,
                    c->argv[2].data);
        return;
    }
    const struct command *row = registry_resolve(server->registry, argv, argc);
    if (!row || (argc > 1 && row->subcommand_count && !row->parent)) {
        reply_error(&c->reply, "ERR Command '%.*s' not found", (int)argv[0].size, argv[0].data);
        return;
    }
    if (row->arity > 0 ? argc != (uint32_t)row->arity : argc < (uint32_t)-row->arity) {
        reply_error(&c->reply, "ERR wrong number of arguments for '%s' command", row->full_name);
        return;
    }

    enum acl_verdict verdict = acl_user_check(u, row, argv, argc, &arg);
    if (verdict == ACL_PERMITTED)
        reply_ok(&c->reply);
    else
        reply_verdict(c, u, row, verdict, argv[arg]);
}

static void acl_help(struct call *c)
{
    static const char *const lines[] = {
        "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CAT [<category>]",
        "    List the categories of commands, or the commands of one.",
        "DELUSER <username> [<username> ...]",
        "    Delete users, and close their connections.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Tell whether a user may run a command, without running it.",
        "GETUSER <username>",
        "    Show a user's flags, password hashes and rules.",
        "GENPASS [<bits>]",
        "    Make a random password of 256 bits, or of <bits>.",
        "LIST",
        "    Show all users, each as a line of a configuration.",
        "LOAD",
        "    Read the users from the ACL file, in place of those there are.",
        "LOG [<count> | RESET]",
        "    Show the latest refusals, or forget them.",
        "SAVE",
        "    Write the users to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create a user, or change one.",
        "USERS",
        "    List the names of all users.",
        "WHOAMI",
        "    Return the name of the connection's user.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define OPEN_FLAGS (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)
#define ADMIN_FLAGS (CMD_ADMIN | OPEN_FLAGS)
#define SUBCOMMAND(word, body, args, f) \
    .name = word, .run = body, .arity = args, .flags = (f), .group = "server"
#define PER_USER "O(N). Where N is the number of configured users."

static const struct command acl_subcommands[] = {
    {SUBCOMMAND("cat", acl_cat, -2, OPEN_FLAGS),
     .since = "6.0.0", .complexity = "O(1) since the categories and commands are a fixed set.",
     .syntax = "[category]", .summary = "Lists the categories of commands, or one's commands."},
    {SUBCOMMAND("deluser", acl_deluser, -3, ADMIN_FLAGS | CMD_EVERY_SHARD), .route = ROUTE_CROSS,
     .since = "6.0.0", .complexity = "O(1) amortized time considering the typical user.",
     .syntax = "username [username ...]",
     .summary = "Deletes users, and closes their connections.",
     .tips = "request_policy:all_nodes response_policy:all_succeeded"},
    {SUBCOMMAND("dryrun", acl_dryrun, -4, ADMIN_FLAGS),
     .since = "7.0.0", .complexity = "O(1).", .syntax = "username command [arg [arg ...]]",
     .summary = "Tells whether a user may run a command, without running it."},
    {SUBCOMMAND("genpass", acl_genpass, -2, OPEN_FLAGS),
     .since = "6.0.0", .complexity = "O(1)", .syntax = "[bits]",
     .summary = "Makes a random password."},
    {SUBCOMMAND("getuser", acl_getuser, 3, ADMIN_FLAGS),
     .since = "6.0.0",
     .complexity = "O(N). Where N is the number of password, command and pattern rules that the "
                   "user has.",
     .syntax = "username", .summary = "Shows a user's rules."},
    {SUBCOMMAND("help", acl_help, 2, CMD_LOADING | CMD_STALE),
     .since = "6.0.0", .complexity = "O(1)", .syntax = "",
     .summary = "Returns a text on the subcommands."},
    {SUBCOMMAND("list", acl_list, 2, ADMIN_FLAGS),
     .since = "6.0.0", .complexity = PER_USER, .syntax = "",
     .summary = "Shows all users, each as a line of a configuration."},
    {SUBCOMMAND("load", acl_load, 2, ADMIN_FLAGS | CMD_EVERY_SHARD), .route = ROUTE_CROSS,
     .since = "6.0.0", .complexity = PER_USER, .syntax = "",
     .summary = "Reads the users from the ACL file."},
    {SUBCOMMAND("log", acl_log, -2, ADMIN_FLAGS),
     .since = "6.0.0", .complexity = "O(N) with N being the number of entries shown.",
     .syntax = "[count | RESET]", .summary = "Shows what was refused of late."},
    {SUBCOMMAND("save", acl_save, 2, ADMIN_FLAGS),
     .since = "6.0.0", .complexity = PER_USER, .syntax = "",
     .summary = "Writes the users to the ACL file.",
     .tips = "request_policy:all_nodes response_policy:all_succeeded"},
    {SUBCOMMAND("setuser", acl_setuser, -3, ADMIN_FLAGS | CMD_EVERY_SHARD), .route = ROUTE_CROSS,
     .since = "6.0.0", .complexity = "O(N). Where N is the number of rules provided.",
     .syntax = "username [rule [rule ...]]", .summary = "Creates a user, or changes one.",
     .tips = "request_policy:all_nodes response_policy:all_succeeded"},
    {SUBCOMMAND("users", acl_users, 2, ADMIN_FLAGS),
     .since = "6.0.0", .complexity = PER_USER, .syntax = "",
     .summary = "Lists the names of all users."},
    {SUBCOMMAND("whoami", acl_whoami, 2, OPEN_FLAGS),
     .since = "6.0.0", .complexity = "O(1)", .syntax = "",
     .summary = "Returns the name of the connection's user."},
    {.name = NULL},
};

const struct command acl_commands[] = {
    {.name = "acl", .arity = -2, .flags = CMD_SENTINEL, .route = ROUTE_SESSION, .group = "server",
     .since = "6.0.0", .complexity = "Depends on subcommand.",
     .summary = "A container for commands on users and what they may do.",
     .subcommands = acl_subcommands},
    {.name = NULL},
};
