/* The commands of replication, of a server that is a master without replicas and stays one.
 *
 * ROLE, REPLCONF, FAILOVER and REPLICAOF NO ONE answer what a Redis that stands alone answers.
 * REPLICAOF with an address, SYNC and PSYNC are refused with an error: a server that said OK would
 * have an operator believe in a copy that is not there. WAIT and WAITAOF are in wait.c. */
#include "proto/number.h"
#include "server/cmd/tables.h"
#include "server/config_option.h"
#include "server/server.h"
#include "shard/call.h"

#define HOST_SIZE_MAX 255 /* of REPLCONF ip-address */
#define SHOWN_SIZE_MAX 128 /* bytes of an argument that an error shows */

static int shown_size(struct slice text)
{
    return text.size < SHOWN_SIZE_MAX ? (int)text.size : SHOWN_SIZE_MAX;
}

static void run_role(struct call *c)
{
    reply_array(&c->reply, 3);
    reply_bulk_text(&c->reply, "master");
    reply_integer(&c->reply, 0); /* as INFO's master_repl_offset: nothing was replicated */
    reply_array(&c->reply, 0);
}

static void run_replicaof(struct call *c)
{
    int64_t port;
    if (call_arg_is(c, 1, "no") && call_arg_is(c, 2, "one"))
        reply_ok(&c->reply); /* it is a master already */
    else if (!number_parse_integer(c->argv[2], &port) || port < 0 || port > 65535)
        reply_error(&c->reply, "ERR Invalid master port");
    else
        reply_error(&c->reply, "ERR REPLICAOF is not supported: this server has no replication, "
                               "and stays a master");
}

/* A replica, or redis-cli --rdb, shows the error and gives up. */
static void run_sync(struct call *c)
{
    if (c->argc > 3 && call_arg_is(c, 3, "failover"))
        reply_error(&c->reply, "ERR PSYNC FAILOVER can't be sent to a master.");
    else
        reply_error(&c->reply, "ERR SYNC and PSYNC are not supported: this server has no "
                               "replication, and cannot feed replicas");
}

/* ---- REPLCONF ---- */

/* What a replica wants of a snapshot: Redis knows "functions" alone. */
static bool check_filter(struct call *c, struct slice filter)
{
    struct config_words words;
    bool ok = config_words_split(&words, filter);
    if (!ok) {
        reply_error(&c->reply, "ERR Missing rdb-filter-only values");
        return false;
    }
    for (size_t i = 0; i < words.count && ok; i++) {
        ok = slice_is(words.items[i], "functions");
        if (!ok)
            reply_error(&c->reply, "ERR Unsupported rdb-filter-only option: %.*s",
                        shown_size(words.items[i]), words.items[i].data);
    }
    config_words_deinit(&words);
    return ok;
}

/* False where there is an error, or no reply at all. */
static bool check_option(struct call *c, uint32_t i)
{
    int64_t number;
    if (call_arg_is(c, i, "listening-port"))
        return call_arg_integer(c, i + 1, &number);
    if (call_arg_is(c, i, "rdb-only"))
        return call_arg_integer_in(c, i + 1, 0, 1, &number);
    if (call_arg_is(c, i, "rdb-filter-only"))
        return check_filter(c, c->argv[i + 1]);
    if (call_arg_is(c, i, "capa"))
        return true;
    if (call_arg_is(c, i, "ip-address")) {
        if (c->argv[i + 1].size <= HOST_SIZE_MAX)
            return true;
        reply_error(&c->reply, "ERR REPLCONF ip-address provided by replica instance is too long: "
                               "%zu bytes", c->argv[i + 1].size);
        return false;
    }
    reply_error(&c->reply, "ERR Unrecognized REPLCONF option: %.*s", shown_size(c->argv[i]),
                c->argv[i].data);
    return false;
}

/* ACK and GETACK are not answered: their senders do not wait. Within a transaction something must
 * stand in the array of replies. */
static bool is_unanswered(const struct call *c, uint32_t i)
{
    return c->may_wait && (call_arg_is(c, i, "ack") || call_arg_is(c, i, "getack"));
}

static void run_replconf(struct call *c)
{
    if (c->argc % 2 == 0) {
        reply_error_syntax(&c->reply);
        return;
    }
    for (uint32_t i = 1; i < c->argc; i += 2)
        if (is_unanswered(c, i) || !check_option(c, i))
            return;
    reply_ok(&c->reply);
}

/* ---- FAILOVER ---- */

static bool check_failover(struct call *c)
{
    bool timeout = false, to = false, force = false;
    int64_t number;
    for (uint32_t i = 1; i < c->argc; i++) {
        if (call_arg_is(c, i, "timeout") && i + 1 < c->argc && !timeout) {
            if (!call_arg_integer(c, ++i, &number))
                return false;
            if (number <= 0) {
                reply_error(&c->reply, "ERR FAILOVER timeout must be greater than 0");
                return false;
            }
            timeout = true;
        } else if (call_arg_is(c, i, "to") && i + 2 < c->argc && !to) {
            i += 2;
            if (!call_arg_integer(c, i, &number))
                return false;
            to = true;
        } else if (call_arg_is(c, i, "force") && !force) {
            force = true;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

static void run_failover(struct call *c)
{
    if (c->argc == 2 && call_arg_is(c, 1, "abort"))
        reply_error(&c->reply, "ERR No failover in progress.");
    else if (check_failover(c))
        reply_error(&c->reply, "ERR FAILOVER requires connected replicas.");
}

#define REPLICATION(word, body, args, f, version) \
    .name = word, .run = body, .arity = args, .route = ROUTE_SESSION, .flags = (f), \
    .group = "server", .since = version
#define OF_REPLICAS (CMD_NO_ASYNC_LOADING | CMD_ADMIN | CMD_NOSCRIPT | CMD_STALE)
#define OF_STREAM (CMD_NO_ASYNC_LOADING | CMD_ADMIN | CMD_NO_MULTI | CMD_NOSCRIPT)

const struct command replication_commands[] = {
    {REPLICATION("failover", run_failover, -1, CMD_ADMIN | CMD_NOSCRIPT | CMD_STALE, "6.2.0"),
     .complexity = "O(1)", .syntax = "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
     .summary = "Hands the role of a master over to one of its replicas."},
    {REPLICATION("psync", run_sync, -3, OF_STREAM, "2.8.0"),
     .syntax = "replicationid offset",
     .summary = "Asks for the stream of replication; servers use it among themselves."},
    {REPLICATION("replconf", run_replconf, -1,
                 CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_ALLOW_BUSY | CMD_SYSTEM,
                 "3.0.0"),
     .complexity = "O(1)",
     .summary = "Says what a replica can do; servers use it among themselves."},
    {REPLICATION("replicaof", run_replicaof, 3, OF_REPLICAS, "5.0.0"), .complexity = "O(1)",
     .syntax = "<host port | NO ONE>",
     .summary = "Makes the server a replica of another one, or a master."},
    {REPLICATION("role", run_role, 1,
                 CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_SENTINEL, "2.8.12"),
     .acl = ACL_ADMIN | ACL_DANGEROUS, .complexity = "O(1)",
     .summary = "Returns the server's role in replication."},
    {REPLICATION("slaveof", run_replicaof, 3, OF_REPLICAS, "1.0.0"), .complexity = "O(1)",
     .syntax = "<host port | NO ONE>",
     .summary = "Makes the server a replica of another one, or a master.",
     .deprecated_since = "5.0.0", .replaced_by = "`REPLICAOF`"},
    {REPLICATION("sync", run_sync, 1, OF_STREAM, "1.0.0"),
     .summary = "Asks for the stream of replication; servers use it among themselves."},
    {.name = NULL},
};
