/* The connection group, but for CLIENT: who is there, which database, which protocol. */
#include "proto/mem.h"
#include "proto/number.h"
#include "server/acl.h"
#include "server/cmd/tables.h"
#include "server/monitor.h"
#include "server/pubsub.h"
#include "server/server.h"
#include "server/tracking.h"
#include "server/session.h"
#include "server/transaction.h"
#include "shard/call.h"

static void run_ping(struct call *c)
{
    if (c->argc > 2) {
        reply_error(&c->reply, "ERR wrong number of arguments for 'ping' command");
        return;
    }
    const struct session *s = c->session;
    if (s->subscriptions && s->protocol == 2) {
        reply_array(&c->reply, 2);
        reply_bulk_text(&c->reply, "pong");
        reply_bulk(&c->reply, c->argc == 2 ? c->argv[1] : SLICE(""));
    } else if (c->argc == 2)
        reply_bulk(&c->reply, c->argv[1]);
    else
        reply_simple(&c->reply, "PONG");
}

static void run_echo(struct call *c)
{
    reply_bulk(&c->reply, c->argv[1]);
}

static void run_quit(struct call *c)
{
    reply_ok(&c->reply);
    session_end(core_self(), c->session, true);
}

static void run_select(struct call *c)
{
    int64_t db;
    if (!call_arg_integer_in(c, 1, INT32_MIN, INT32_MAX, &db))
        return;
    if (db < 0 || db >= c->keyspace->db_count) {
        reply_error(&c->reply, "ERR DB index is out of range");
        return;
    }
    c->session->db = (uint32_t)db;
    reply_ok(&c->reply);
}

static bool authenticate(struct call *c, struct slice user, struct slice password)
{
    if (acl_authenticate(core_self(), c->session, user, password, c->argv[0]))
        return true;
    reply_error(&c->reply, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

static void run_auth(struct call *c)
{
    if (c->argc > 3) {
        reply_error_syntax(&c->reply);
        return;
    }
    if (c->argc == 2 && acl_is_open(server->acl)) {
        reply_error(&c->reply, "ERR AUTH <password> called without any password configured for "
                               "the default user. Are you sure your configuration is correct?");
        return;
    }
    struct slice user = c->argc == 3 ? c->argv[1] : SLICE("default");
    if (authenticate(c, user, c->argv[c->argc - 1]))
        reply_ok(&c->reply);
}

bool session_name_valid(struct slice name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < '!' || name.data[i] > '~')
            return false;
    return true;
}

void session_set_text(struct slice *field, struct slice value)
{
    mem_free((char *)field->data);
    *field = (struct slice){0};
    if (value.size == 0)
        return;
    char *copy = mem_alloc(value.size);
    memcpy(copy, value.data, value.size);
    *field = (struct slice){copy, value.size};
}

static void reply_hello(struct call *c)
{
    struct reply *r = &c->reply;
    reply_map(r, 7);
    reply_bulk_text(r, "server");
    reply_bulk_text(r, "redis");
    reply_bulk_text(r, "version");
    reply_bulk_text(r, SERVER_REDIS_VERSION);
    reply_bulk_text(r, "proto");
    reply_integer(r, r->protocol);
    reply_bulk_text(r, "id");
    reply_integer(r, (int64_t)c->session->id);
    reply_bulk_text(r, "mode");
    reply_bulk_text(r, "standalone");
    reply_bulk_text(r, "role");
    reply_bulk_text(r, "master");
    reply_bulk_text(r, "modules");
    reply_array(r, 0);
}

struct hello {
    int64_t protocol; /* 0: not given */
    bool auth;
    struct slice user, password;
    bool named;
    struct slice name;
};

static bool read_hello(struct call *c, struct hello *h)
{
    if (c->argc > 1) {
        if (!number_parse_integer(c->argv[1], &h->protocol)) {
            reply_error(&c->reply, "ERR Protocol version is not an integer or out of range");
            return false;
        }
        if (h->protocol < 2 || h->protocol > 3) {
            reply_error(&c->reply, "NOPROTO unsupported protocol version");
            return false;
        }
    }
    for (uint32_t i = 2; i < c->argc; i++) {
        uint32_t more = c->argc - 1 - i;
        if (call_arg_is(c, i, "AUTH") && more >= 2) {
            h->auth = true;
            h->user = c->argv[++i];
            h->password = c->argv[++i];
        } else if (call_arg_is(c, i, "SETNAME") && more >= 1) {
            h->named = true;
            h->name = c->argv[++i];
        } else {
            reply_error(&c->reply, "ERR Syntax error in HELLO option '%.*s'",
                        (int)(c->argv[i].size < 128 ? c->argv[i].size : 128), c->argv[i].data);
            return false;
        }
    }
    if (h->named && !session_name_valid(h->name)) {
        reply_error(&c->reply,
                    "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    return true;
}

static void run_hello(struct call *c)
{
    struct hello h = {0};
    if (!read_hello(c, &h))
        return;

    if (h.auth && !authenticate(c, h.user, h.password))
        return;
    if (!c->session->authenticated) {
        reply_error(&c->reply,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    "the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the "
                    "client and select the RESP protocol version at the same time");
        return;
    }

    if (h.named)
        session_set_text(&c->session->name, h.name);
    if (h.protocol)
        c->session->protocol = c->reply.protocol = (unsigned)h.protocol;
    session_restrict(c->session);
    reply_hello(c);
}

static void run_reset(struct call *c)
{
    struct session *s = c->session;
    pubsub_leave(core_self(), s);
    monitor_leave(core_self(), s);
    transaction_discard(core_self(), s);
    s->db = 0;
    s->protocol = c->reply.protocol = 2;
    s->reply_mode = REPLY_ON;
    s->no_evict = s->no_touch = false;
    tracking_leave(core_self(), s);
    session_set_text(&s->name, SLICE(""));
    acl_begin_session(s);
    reply_simple(&c->reply, "RESET");
}

#define CONNECTION(f) .flags = (f), .acl = ACL_CONNECTION, .group = "connection"

const struct command connection_commands[] = {
    {.name = "auth", .run = run_auth, .arity = -2, .route = ROUTE_SESSION,
     CONNECTION(CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_SENTINEL |
                CMD_ALLOW_BUSY),
     .since = "1.0.0", .complexity = "O(N) where N is the number of passwords defined for the user",
     .syntax = "[username] password", .summary = "Authenticates the connection."},
    {.name = "echo", .run = run_echo, .arity = 2, .route = ROUTE_SESSION,
     CONNECTION(CMD_LOADING | CMD_STALE | CMD_FAST),
     .since = "1.0.0", .complexity = "O(1)", .syntax = "message",
     .summary = "Returns the given string."},
    {.name = "hello", .run = run_hello, .arity = -1, .route = ROUTE_SESSION,
     CONNECTION(CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_SENTINEL |
                CMD_ALLOW_BUSY),
     .since = "6.0.0", .complexity = "O(1)",
     .syntax = "[protover [AUTH username password] [SETNAME clientname]]",
     .summary = "Agrees on the protocol, and may authenticate and name the connection."},
    {.name = "ping", .run = run_ping, .arity = -1, .route = ROUTE_SESSION,
     CONNECTION(CMD_FAST | CMD_SENTINEL | CMD_FOR_LISTENERS),
     .since = "1.0.0", .complexity = "O(1)", .syntax = "[message]",
     .summary = "Tells that the server is alive.",
     .tips = "request_policy:all_shards response_policy:all_succeeded"},
    {.name = "quit", .run = run_quit, .arity = -1, .route = ROUTE_SESSION,
     CONNECTION(CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY |
                CMD_FOR_LISTENERS),
     .since = "1.0.0", .complexity = "O(1)", .syntax = "",
     .summary = "Closes the connection.", .deprecated_since = "7.2.0",
     .replaced_by = "just closing the connection"},
    {.name = "reset", .run = run_reset, .arity = 1, .route = ROUTE_SESSION,
     CONNECTION(CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY |
                CMD_FOR_LISTENERS),
     .since = "6.2.0", .complexity = "O(1)", .syntax = "",
     .summary = "Puts the connection back into the state of a new one."},
    {.name = "select", .run = run_select, .arity = 2, .route = ROUTE_SESSION,
     CONNECTION(CMD_LOADING | CMD_STALE | CMD_FAST),
     .since = "1.0.0", .complexity = "O(1)", .syntax = "index",
     .summary = "Changes the connection's database."},
    {0},
};
