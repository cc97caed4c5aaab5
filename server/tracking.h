/* Client-side caching: CLIENT TRACKING.
 *
 * Default mode: a read of a client that tracks leaves the client with the key, on the key's shard
 * (shard/track.h); a change of the key makes an event with those clients, which is posted to the
 * home core of each. BCAST mode: every shard knows the prefixes and the cores with clients that
 * want them; a change of such a key makes an event for those cores, which collect the keys of an
 * iteration and send them together.
 *
 * Whether a request's reads are tracked is decided at home, in the order of the requests, when it
 * is run in place or dispatched (tracking_mark); the mark travels with it.
 *
 * Never missed, never too early. The shard forgets the readers in the step that changes the key, so
 * a read is before that, and its reader is told, or behind it and sees the change. An invalidation
 * that comes home while the session has a dispatch under way is *held* and given out right behind
 * the replies of that, since they may hold the old value; else at once. While a command waits
 * (blocked.h) it is given out at once, and once more behind the reply where that is a read. What is
 * redirected leaves the session's core after the hold, for the core of the target.
 *
 * What a session has of it is its home core's, but for CLIENT TRACKING's body, which may run on any
 * thread while that core's shard is at hand. */
#pragma once

#include "server/core.h"
#include "server/session.h"

struct tracking {
    struct session *session;
    struct tracking *next, *previous; /* those of the core */
    bool bcast, optin, optout, noloop;
    bool broken;         /* the connection redirected to was found gone */
    bool caching;        /* CLIENT CACHING was given ... */
    bool caching_spent;  /* ... and was for the command that is under way */
    uint64_t redirect;   /* session id; 0: none */
    uint32_t redirect_home;
    struct slice *prefixes; /* BCAST: sorted, owned */
    uint32_t prefix_count;
    struct buf held;     /* invalidations: each a uint32_t size and so many bytes */
};

/* --- Of a session --- */

/* Tracks from now on; without prefixes yet. With the session's shard at hand. */
struct tracking *tracking_start(struct session *s);
/* Adds a prefix that the session has not, which overlaps with none of its own. With all shards. */
void tracking_add_prefix(struct tracking *t, struct slice prefix);
/* CLIENT TRACKING OFF: with all shards in BCAST mode, else with the session's. */
void tracking_stop(struct session *s);
/* A session is over, or reset. On its core. */
void tracking_leave(struct core *c, struct session *s);

/* What it takes for that. */
size_t tracking_memory(const struct session *s);

/* Whether a request's reads are tracked. */
enum tracking_mark { TRACKING_UNDECIDED, TRACKING_NOT, TRACKING_READS };

/* Decides it for the session's next requests, where it has not been. Those of a transaction, EXEC
 * or the commands that it consists of, count as one. */
void tracking_mark(struct session *s, struct request *requests, uint32_t count);
/* The same for what follows within a transaction, as call.track. */
uint64_t tracking_inner(const struct session *s);
/* True where tracking_inner may say something else behind the command. */
static inline bool tracking_is_changed_by(const struct command *row)
{
    return row->acl & ACL_CONNECTION && row->flags & CMD_NOSCRIPT;
}

/* The session waits in a command that blocks. */
void tracking_wait(struct core *c, struct session *s);
/* The wait has ended without a reply of its own. */
void tracking_drop_held(struct session *s);
/* The dispatch under way has been answered: what was held back goes out. */
void tracking_release(struct core *c, struct session *s);

/* For CLIENT LIST: letters; and where invalidations go: -1 without tracking, 0: here. */
void tracking_append_flags(struct buf *to, const struct session *s);
int64_t tracking_redirect(const struct session *s);

/* --- Of a core --- */

/* A command has run that is tracked: leaves its caller with the keys that it has read. By whoever
 * holds the shards. */
void tracking_remember(const struct call *call);
/* An invalidation that a shard has left: tells the home cores of the clients concerned. On the core
 * that took it. */
void tracking_post(struct core *c, const struct event *e);
/* Databases were flushed on all shards: tells all clients that track. */
void tracking_post_all(struct core *c);
/* Step 4: sends clients in BCAST mode what this iteration has collected. */
void tracking_deliver(struct core *c);
/* Between iterations: keeps to tracking-table-max-keys, a slice at a time; false where nothing is
 * left to do. */
bool tracking_trim(struct core *c);
/* tracking-table-max-keys may have changed: what clients are told of that precedes the reply to
 * whoever has changed it. All cores stand still. */
void tracking_apply_limit(void);
void tracking_finish(struct core *c);
/* Sessions of the core that track. */
uint32_t tracking_count(const struct core *c);
