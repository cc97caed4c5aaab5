/* MULTI, EXEC, DISCARD, WATCH, UNWATCH: their rows, and what the bodies have to say. MULTI takes
 * effect as it is parsed, and so does queueing: see server/transaction.h. */
#include "server/transaction.h"

#include <assert.h>

#include "server/cmd/tables.h"
#include "server/session.h"
#include "shard/call.h"

/* The one that opens a transaction does not come this far. */
void transaction_run_multi(struct call *c)
{
    assert(c->session->transaction);
    reply_error(&c->reply, "ERR MULTI calls can not be nested");
}

static void run_discard(struct call *c)
{
    if (!c->session->transaction) {
        reply_error(&c->reply, "ERR DISCARD without MULTI");
        return;
    }
    transaction_discard(core_self(), c->session);
    reply_ok(&c->reply);
}

static void run_unwatch(struct call *c)
{
    transaction_unwatch(core_self(), c->session);
    reply_ok(&c->reply);
}

#define TRANSACTION(f) .flags = CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | (f), \
    .acl = ACL_TRANSACTION, .group = "transactions"

const struct command transaction_commands[] = {
    {.name = "discard", .run = run_discard, .arity = 1, .route = ROUTE_SESSION,
     TRANSACTION(CMD_FAST | CMD_ALLOW_BUSY), .since = "2.0.0",
     .complexity = "O(N), when N is the number of queued commands", .syntax = "",
     .summary = "Discards a transaction."},
    {.name = "exec", .run = transaction_run_exec, .arity = 1, .route = ROUTE_CROSS,
     .reach = transaction_reach, TRANSACTION(CMD_SKIP_SLOWLOG), .since = "1.2.0",
     .complexity = "Depends on commands in the transaction", .syntax = "",
     .summary = "Runs all commands of a transaction."},
    {.name = "multi", .run = transaction_run_multi, .arity = 1, .route = ROUTE_SESSION,
     TRANSACTION(CMD_FAST | CMD_ALLOW_BUSY), .since = "1.2.0", .complexity = "O(1)", .syntax = "",
     .summary = "Starts a transaction."},
    {.name = "unwatch", .run = run_unwatch, .arity = 1, .route = ROUTE_SESSION,
     TRANSACTION(CMD_FAST | CMD_ALLOW_BUSY), .since = "2.2.0", .complexity = "O(1)", .syntax = "",
     .summary = "Forgets about watched keys of a transaction."},
    {.name = "watch", .run = transaction_run_watch, .arity = -2, .route = ROUTE_SPLIT,
     .split = SPLIT_OK, .reach = transaction_reach_watch,
     TRANSACTION(CMD_FAST | CMD_ALLOW_BUSY), .keys = KEYS_ALL(KEY_RO), .since = "2.2.0",
     .complexity = "O(1) for every key.", .syntax = "key [key ...]",
     .summary = "Monitors changes of keys, to decide whether a transaction runs."},
    {0},
};
