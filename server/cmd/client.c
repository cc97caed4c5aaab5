/* CLIENT: what a connection says of itself, and CLIENT PAUSE. All of CLIENT's rows are here. */
#include "proto/number.h"
#include "server/blocked.h"
#include "server/cmd/client.h"
#include "server/cmd/tables.h"
#include "server/server.h"
#include "server/session_table.h"

/* Too many arguments for a subcommand whose row cannot say how many it takes at most. */
static void reply_wrong_count(struct call *c)
{
    reply_error(&c->reply,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try CLIENT HELP.",
                client_quote_size(c->argv[1]), c->argv[1].data);
}

/* Sets what argument 2 says, ON or OFF, and replies. */
static void set_switch(struct call *c, bool *to)
{
    bool on = call_arg_is(c, 2, "ON");
    if (!on && !call_arg_is(c, 2, "OFF")) {
        reply_error_syntax(&c->reply);
        return;
    }

    *to = on;
    reply_ok(&c->reply);
}

static void client_id(struct call *c)
{
    reply_integer(&c->reply, (int64_t)c->session->id);
}

static void client_getname(struct call *c)
{
    if (c->session->name.size)
        reply_bulk(&c->reply, c->session->name);
    else
        reply_null(&c->reply);
}

static void client_setname(struct call *c)
{
    if (!session_name_valid(c->argv[2])) {
        reply_error(&c->reply,
                    "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }

    session_set_text(&c->session->name, c->argv[2]);
    reply_ok(&c->reply);
}

static void client_setinfo(struct call *c)
{
    struct slice *field = NULL;
    if (call_arg_is(c, 2, "LIB-NAME"))
        field = &c->session->lib_name;
    else if (call_arg_is(c, 2, "LIB-VER"))
        field = &c->session->lib_version;
    if (!field) {
        reply_error(&c->reply, "ERR Unrecognized option '%.*s'", client_quote_size(c->argv[2]),
                    c->argv[2].data);
        return;
    }
    if (!session_name_valid(c->argv[3])) {
        reply_error(&c->reply, "ERR %.*s cannot contain spaces, newlines or special characters.",
                    client_quote_size(c->argv[2]), c->argv[2].data);
        return;
    }

    session_set_text(field, c->argv[3]);
    reply_ok(&c->reply);
}

static void client_no_evict(struct call *c)
{
    set_switch(c, &c->session->no_evict);
}

static void client_no_touch(struct call *c)
{
    set_switch(c, &c->session->no_touch);
}

/* What is written here is dropped by session_reply_end, where the new mode says so. */
static void client_reply(struct call *c)
{
    struct session *s = c->session;
    if (call_arg_is(c, 2, "ON")) {
        s->reply_mode = REPLY_ON;
        reply_ok(&c->reply);
    } else if (call_arg_is(c, 2, "OFF")) {
        s->reply_mode = REPLY_OFF;
    } else if (!call_arg_is(c, 2, "SKIP")) {
        reply_error_syntax(&c->reply);
    } else if (s->reply_mode != REPLY_OFF) {
        s->reply_mode = REPLY_SKIP_NEXT;
    }
}

/* Every core looks among its own sessions. */
static void client_unblock(struct call *c)
{
    enum blocked_end how = BLOCKED_TIMEOUT;
    if (c->argc > 4) {
        reply_wrong_count(c);
        return;
    }
    if (c->argc == 4 && call_arg_is(c, 3, "ERROR")) {
        how = BLOCKED_ERROR;
    } else if (c->argc == 4 && !call_arg_is(c, 3, "TIMEOUT")) {
        reply_error(&c->reply, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        return;
    }
    int64_t id;
    if (!call_arg_integer(c, 2, &id))
        return;

    struct core *core = server->cores[c->shard->index];
    struct session *s = session_table_find(core, (uint64_t)id);
    if (s && s->blocked)
        c->value = blocked_cancel(core, s, how, true);
}

/* CLIENT PAUSE and UNPAUSE: cross transactions of all shards, so no core runs beside them. */

static bool read_pause(struct call *c, int64_t *timeout_ms, bool *all)
{
    if (c->argc > 4) {
        reply_wrong_count(c);
        return false;
    }
    *all = c->argc == 3 || call_arg_is(c, 3, "ALL");
    if (!*all && !call_arg_is(c, 3, "WRITE")) {
        reply_error(&c->reply, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return false;
    }
    if (!number_parse_integer(c->argv[2], timeout_ms)) {
        reply_error(&c->reply, "ERR timeout is not an integer or out of range");
        return false;
    }
    if (*timeout_ms < 0 || *timeout_ms > INT64_MAX - c->now_ms) {
        reply_error(&c->reply, "ERR timeout is %s", *timeout_ms < 0 ? "negative" : "out of range");
        return false;
    }
    return true;
}

/* A pause under way is never shortened, nor made less strict. */
static void client_pause(struct call *c)
{
    int64_t timeout_ms;
    bool all;
    if (!read_pause(c, &timeout_ms, &all))
        return;

    bool under_way = server->pause_until_ms > c->now_ms;
    server->pause_all = all || (under_way && server->pause_all);
    if (!under_way || c->now_ms + timeout_ms > server->pause_until_ms)
        server->pause_until_ms = c->now_ms + timeout_ms;
    server->keyspace.options.stays_until_ms = server->pause_until_ms;
    reply_ok(&c->reply);
}

static void client_unpause(struct call *c)
{
    server->pause_until_ms = server->keyspace.options.stays_until_ms = 0;
    server->pause_all = false;
    /* Each core's next cron lets its held sessions go on. */
    for (uint32_t i = 0; i < server->core_count; i++)
        server->cores[i]->next_cron_us = 0;
    reply_ok(&c->reply);
}

static void client_help(struct call *c)
{
    static const char *const lines[] = {
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CACHING (YES|NO)",
        "    Say whether what the next command reads is tracked (OPTIN and OPTOUT modes).",
        "GETNAME",
        "    Return the name of this connection.",
        "GETREDIR",
        "    Return the id of the connection that invalidations are redirected to.",
        "ID",
        "    Return the id of this connection.",
        "INFO",
        "    Return this connection's line of CLIENT LIST.",
        "KILL <ip:port>",
        "    Close the connection from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close the connections that match all the options:",
        "    * ADDR <ip:port>",
        "      Made from this address.",
        "    * ID <client-id>",
        "      With this id.",
        "    * LADDR <ip:port>",
        "      Made to this address of the server.",
        "    * MAXAGE <seconds>",
        "      At least so old.",
        "    * SKIPME (YES|NO)",
        "      Whether this connection is spared (default: yes).",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Of this type.",
        "    * USER <username>",
        "      Authenticated as this user.",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> [<client-id> ...]]",
        "    Return a line of information on each connection.",
        "NO-EVICT (ON|OFF)",
        "    Spare this connection when the memory of connections is limited.",
        "NO-TOUCH (ON|OFF)",
        "    Do not count this connection's reads as uses of the keys.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Hold back the commands of all connections, or only writes, for <timeout> ms.",
        "REPLY (ON|OFF|SKIP)",
        "    Say whether this connection gets replies.",
        "SETINFO (LIB-NAME|LIB-VER) <value>",
        "    Name the client library of this connection, or its version.",
        "SETNAME <name>",
        "    Name this connection.",
        ("TRACKING (ON|OFF) [REDIRECT <client-id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] "
         "[OPTOUT] [NOLOOP]"),
        "    Have invalidations sent of what this connection has read, or of keys with a prefix.",
        "TRACKINGINFO",
        "    Return how this connection tracks.",
        "UNBLOCK <client-id> [TIMEOUT|ERROR]",
        "    Unblock a connection that waits in a blocking command.",
        "UNPAUSE",
        "    End a pause.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define USUAL_FLAGS (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_SENTINEL)
#define SUBCOMMAND(word, body, args, f) \
    .name = word, .run = body, .arity = args, .flags = (f), .acl = ACL_CONNECTION, \
    .group = "connection"
#define SET_ON_ALL_NODES "request_policy:all_nodes response_policy:all_succeeded"

static const struct command client_subcommands[] = {
    {SUBCOMMAND("caching", client_caching, 3, USUAL_FLAGS),
     .since = "6.0.0", .complexity = "O(1)", .syntax = "<YES | NO>",
     .summary = "Says whether the next request's reads are tracked."},
    {SUBCOMMAND("getname", client_getname, 2, USUAL_FLAGS),
     .since = "2.6.9", .complexity = "O(1)",
     .summary = "Returns the name of the connection."},
    {SUBCOMMAND("getredir", client_getredir, 2, USUAL_FLAGS),
     .since = "6.0.0", .complexity = "O(1)",
     .summary = "Returns the id of the connection that invalidations are redirected to."},
    {SUBCOMMAND("help", client_help, 2, CMD_LOADING | CMD_STALE | CMD_SENTINEL),
     .since = "5.0.0", .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {SUBCOMMAND("id", client_id, 2, USUAL_FLAGS),
     .since = "5.0.0", .complexity = "O(1)",
     .summary = "Returns the connection's id: no two connections have had the same."},
    {SUBCOMMAND("info", client_info, 2, USUAL_FLAGS),
     .since = "6.2.0", .complexity = "O(1)",
     .summary = "Returns information about the connection.",
     .tips = "nondeterministic_output"},
    {SUBCOMMAND("kill", client_kill, -3, USUAL_FLAGS | CMD_ADMIN),
     .route = ROUTE_ALL, .split = SPLIT_MERGE, .merge = client_kill_merge,
     .since = "2.4.0", .complexity = "O(N) where N is the number of client connections",
     .syntax = "<ip:port | <[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | "
               "[USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME <YES | NO>] | "
               "[MAXAGE maxage] [[ID client-id] | [TYPE <NORMAL | MASTER | SLAVE | REPLICA | "
               "PUBSUB>] | [USER username] | [ADDR ip:port] | [LADDR ip:port] | "
               "[SKIPME <YES | NO>] | [MAXAGE maxage] ...]>>",
     .summary = "Closes connections."},
    {SUBCOMMAND("list", client_list, -2, USUAL_FLAGS | CMD_ADMIN),
     .route = ROUTE_ALL, .split = SPLIT_MERGE, .merge = client_list_merge,
     .since = "2.4.0", .complexity = "O(N) where N is the number of client connections",
     .syntax = "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
     .summary = "Lists the connections.", .tips = "nondeterministic_output"},
    {SUBCOMMAND("no-evict", client_no_evict, 3, USUAL_FLAGS | CMD_ADMIN),
     .since = "7.0.0", .complexity = "O(1)", .syntax = "<ON | OFF>",
     .summary = "Sets whether the connection is spared when clients' memory is limited."},
    {SUBCOMMAND("no-touch", client_no_touch, 3, CMD_NOSCRIPT | CMD_LOADING | CMD_STALE),
     .since = "7.2.0", .complexity = "O(1)", .syntax = "<ON | OFF>",
     .summary = "Sets whether the connection's reads count as uses of the keys."},
    {SUBCOMMAND("pause", client_pause, -3, USUAL_FLAGS | CMD_ADMIN | CMD_EVERY_SHARD),
     .route = ROUTE_CROSS, .since = "3.0.0", .complexity = "O(1)",
     .syntax = "timeout [WRITE | ALL]",
     .summary = "Holds back the commands of all connections for a while."},
    {SUBCOMMAND("reply", client_reply, 3, USUAL_FLAGS),
     .since = "3.2.0", .complexity = "O(1)", .syntax = "<ON | OFF | SKIP>",
     .summary = "Sets whether the connection gets replies."},
    {SUBCOMMAND("setinfo", client_setinfo, 4, USUAL_FLAGS),
     .since = "7.2.0", .complexity = "O(1)", .syntax = "<LIB-NAME libname | LIB-VER libver>",
     .summary = "Names the connection's client library, or its version.",
     .tips = SET_ON_ALL_NODES},
    {SUBCOMMAND("setname", client_setname, 3, USUAL_FLAGS),
     .since = "2.6.9", .complexity = "O(1)", .syntax = "connection-name",
     .summary = "Names the connection.", .tips = SET_ON_ALL_NODES},
    {SUBCOMMAND("tracking", client_tracking, -3, USUAL_FLAGS),
     .route = ROUTE_CROSS, .reach = client_tracking_reach, .since = "6.0.0",
     .complexity = "O(1). Some options may introduce additional complexity.",
     .syntax = "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] "
               "[OPTIN] [OPTOUT] [NOLOOP]",
     .summary = "Has invalidations sent of what the connection may have cached."},
    {SUBCOMMAND("trackinginfo", client_trackinginfo, 2, USUAL_FLAGS),
     .since = "6.2.0", .complexity = "O(1)",
     .summary = "Returns how the connection tracks."},
    {SUBCOMMAND("unblock", client_unblock, -3, USUAL_FLAGS | CMD_ADMIN),
     .route = ROUTE_ALL, .split = SPLIT_SUM, .since = "5.0.0",
     .complexity = "O(log N) where N is the number of client connections",
     .syntax = "client-id [TIMEOUT | ERROR]",
     .summary = "Unblocks a connection that waits in a blocking command."},
    {SUBCOMMAND("unpause", client_unpause, 2, USUAL_FLAGS | CMD_ADMIN | CMD_EVERY_SHARD),
     .route = ROUTE_CROSS, .since = "6.2.0",
     .complexity = "O(N) where N is the number of paused connections",
     .summary = "Ends a pause: commands held back go on."},
    {.name = NULL},
};

const struct command client_commands[] = {
    {.name = "client", .arity = -2, .route = ROUTE_SESSION, .flags = CMD_SENTINEL,
     .group = "connection", .since = "2.4.0", .complexity = "Depends on subcommand.",
     .summary = "A container for commands on connections.", .subcommands = client_subcommands},
    {.name = NULL},
};
