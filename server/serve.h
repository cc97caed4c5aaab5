/* Scripts that run for long: who is served meanwhile, and how.
 *
 * A script past `busy-reply-threshold` says so on each core whose shard it holds (core.held_by).
 * From then on those cores answer from within their wait: the core that runs the script at every
 * look of its hook, cores that stand still for it, and cores that woke and found their shard
 * borrowed. They take what arrives, answer what may be run now (CMD_ALLOW_BUSY: SCRIPT KILL,
 * SHUTDOWN, ...), send requests for the shard of a core that is not busy there, and give everything
 * else Redis's BUSY error. Cores that are not busy refuse what needs a busy shard. What was
 * gathered before and has not begun is answered likewise, requests and hops; entries of the order
 * log wait. A core that stands still for such an entry, whose turn has not come, serves as if its
 * own shard were held.
 *
 * While a core serves like that it touches no shard, and its own sessions and subscriptions only
 * under `serve_mutex`, which the script takes too when it needs the core (PUBLISH, INFO). Whoever
 * goes on with a core's shard, and whatever else is that core's, has seen to it first that the core
 * has ended to serve: at the end of the script, and at the begin of a cross transaction. */
#pragma once

#include "server/core.h"

struct inner;

enum held_kind { HELD_NOT, HELD_BY_SCRIPT, HELD_BY_FUNCTION };

/* The script that runs in `in` has taken longer than the threshold: tells the cores it holds. */
void serve_announce(struct inner *in, enum held_kind kind);
/* From its hook: answers what has arrived. `running` is the session whose reply is being written
 * on this core, or NULL. */
void serve_meanwhile(struct core *c, struct session *running);
/* It is over: no core serves for it any more. */
void serve_end(struct inner *in);
/* The cores of a cross transaction stand still, and `c` is to run it: they serve no more, but for
 * what it announces itself. */
void serve_stand_back(struct core *c, const struct core_mask *reach);

/* From a wait within the order: where that may be for such a script, what has arrived is answered.
 * True where our shard is held, and some milliseconds were spent; else the caller waits in its own
 * way. */
bool serve_wait(struct core *c);
/* The core has woken and found its shard borrowed. True where such a script has it: what arrives
 * now is served like that, within the ring's handler; then serve_locked_out goes on until it is
 * free. */
bool serve_lock_out(struct core *c);
void serve_locked_out(struct core *c);
/* While it serves: takes a message, or keeps it for the next gather. */
void serve_take(struct core *c, struct core_message *m);
/* At the next gather: takes what was kept. */
void serve_kept(struct core *c);

/* For bytes that arrive while the core serves: takes what is in the session's query buffer. */
void serve_feed(struct core *c, struct session *s);

/* The kind of script that keeps a core's shard; HELD_NOT: none. Any thread. */
static inline enum held_kind serve_held(const struct core *c)
{
    /* Pairs with the release in serve_announce and serve_end. */
    return (enum held_kind)atomic_load_explicit(&c->held_by, memory_order_acquire);
}
/* The kind of script that runs for long now, anywhere; HELD_NOT: none. */
enum held_kind serve_busy(void);
/* The kind of script that keeps any of these shards. */
enum held_kind serve_held_of(const struct core_mask *mask);
/* Answers a request with Redis's error. */
void serve_refuse(struct core *c, struct request *r, enum held_kind kind);
/* The text of that. */
const char *serve_refusal(enum held_kind kind);
