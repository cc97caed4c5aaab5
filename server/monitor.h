/* MONITOR: each command that runs, as a line to the sessions that asked for it.
 *
 * A line is written where the command ran, once it has (a script's before those of the commands
 * that it calls), and posted to the cores that have such sessions. Those hold it for some
 * milliseconds, for others may be on their way that are older, and send what they have in the order
 * of its times. So commands on one key, and those that a connection sends one after the other, are
 * shown in the order of execution; of a pipeline or transaction that went to several shards at
 * once, each shard's are. A line that comes later than that (its core was kept busy by a long
 * command) is out of place, and its time says so. What runs within a script or transaction that may
 * be taken back is kept until it stands.
 *
 * The cores with monitors are in server->observing, which changes only while all cores stand still:
 * when the last session of a core has gone, a transaction of the server's own takes the core out.
 * */
#pragma once

#include "server/core.h"
#include "shard/call.h"

/* All shards stand still: the session begins to monitor. */
void monitor_join(struct session *s);
/* It ends to, if it did: it is over, or reset. On its home core. */
void monitor_leave(struct core *c, struct session *s);

void monitor_show(struct core *c, const struct call *call);
/* The outermost command that others ran within has ended: what it kept is posted, or dropped where
 * it was taken back. */
void monitor_settle(struct core *c, bool stands);
/* Step 4: gives what has come, and is due, to the sessions of this core. */
void monitor_deliver(struct core *c);
/* By when that is to be called again, by the core's clock; INT64_MAX: nothing waits. */
int64_t monitor_next_us(const struct core *c);
void monitor_finish(struct core *c);

struct monitor_line;

struct monitor_member {
    struct session *session;
    int64_t since_us; /* what ran before is not shown to it */
};

/* A core's. */
struct monitors {
    struct monitor_member *members;
    uint32_t count, cap;
    struct monitor_line *first, *last;           /* come, to be sent */
    uint32_t line_count;
    int64_t due_us; /* when the oldest of them is */
    struct monitor_line *kept, *kept_last; /* of what runs here and may be taken back */
};

static inline bool monitor_has_lines(const struct core *c)
{
    return __builtin_expect(c->monitors != NULL, 0) && c->monitors->first;
}
