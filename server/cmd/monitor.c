/* MONITOR: see server/monitor.h. */
#include "server/monitor.h"

#include "server/cmd/tables.h"
#include "server/server.h"
#include "server/session.h"

/* All shards stand still. Who monitors already is told so again; Redis says nothing then, and
 * leaves a client that awaits a reply waiting. */
static void run_monitor(struct call *c)
{
    if (!c->may_wait) {
        reply_error(&c->reply, "ERR MONITOR isn't allowed for DENY BLOCKING client");
        return;
    }
    monitor_join(c->session);
    reply_ok(&c->reply);
}

const struct command monitor_commands[] = {
    {.name = "monitor", .run = run_monitor, .arity = 1, .route = ROUTE_CROSS,
     .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_EVERY_SHARD,
     .group = "server", .since = "1.0.0",
     .summary = "Shows all commands as they run."},
    {.name = NULL},
};
