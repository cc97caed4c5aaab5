/* WAIT and WAITAOF: until replicas, or the append-only file, have what this client wrote.
 *
 * There are no replicas: a wait for some ends by its timeout, CLIENT UNBLOCK or with its client.
 * WAITAOF with numlocal 1 waits until the commit is synced that the client's last write is part
 * of. As in Redis it does not make a sync happen: with appendfsync everysec the next one comes
 * within a second or so, with `no` none does. */
#include "server/cmd/tables.h"
#include "server/persist/journal.h"
#include "server/server.h"
#include "server/session.h"
#include "shard/call.h"

static void run_wait(struct call *c)
{
    int64_t replicas, timeout_ms;
    if (!call_arg_integer(c, 1, &replicas) || !call_arg_timeout_ms(c, 2, &timeout_ms))
        return;
    if (replicas > 0 && c->may_wait)
        call_wait(c, (struct call_wait){.reply = WAIT_REPLICAS, .timeout_ms = timeout_ms});
    else
        reply_integer(&c->reply, 0);
}

static void run_waitaof(struct call *c)
{
    int64_t local, replicas, timeout_ms;
    if (!call_arg_integer_in(c, 1, 0, 1, &local) ||
        !call_arg_integer_in(c, 2, 0, INT64_MAX, &replicas) ||
        !call_arg_timeout_ms(c, 3, &timeout_ms))
        return;
    if (local && !server->config.appendonly) {
        reply_error(&c->reply, "%s", JOURNAL_IS_OFF_TEXT);
        return;
    }

    uint64_t wrote = c->session->wrote;
    if (c->may_wait && (replicas > 0 || (local && !journal_has_synced(wrote))))
        call_wait(c, (struct call_wait){.reply = WAIT_SYNC, .timeout_ms = timeout_ms,
                                        .commit = wrote, .for_sync = local && replicas == 0});
    else
        journal_reply_synced(&c->reply, wrote);
}

#define WAITING(f) \
    .route = ROUTE_SESSION, .flags = CMD_LATER | (f), .acl = ACL_CONNECTION, .group = "generic", \
    .complexity = "O(1)", .tips = "request_policy:all_shards response_policy:agg_min"

const struct command wait_commands[] = {
    {.name = "wait", .run = run_wait, .arity = 3, WAITING(0), .since = "3.0.0",
     .syntax = "numreplicas timeout",
     .summary = "Waits until replicas have what this connection has written."},
    {.name = "waitaof", .run = run_waitaof, .arity = 4, WAITING(CMD_NOSCRIPT), .since = "7.2.0",
     .syntax = "numlocal numreplicas timeout",
     .summary = "Waits until what this connection has written is in append-only files on disk."},
    {.name = NULL},
};
