/* Standing in for cores that sleep: their work is done on their shards, which are borrowed for it.
 *
 * Waking a sleeping thread costs more than most work that it would be woken for. What is done here
 * is what the owner would have done, in the same order: the order log is walked for the borrowed
 * shard to its end, then the requests run. All of it was gathered before that walk. What only the
 * owner may do (stand still, answer for its sessions) and what is long stays with it: then these
 * functions say so, and it is woken.
 *
 * Called by a core that owns its own shard at the time, on its own thread. */
#pragma once

#include "server/core.h"

/* Runs requests of one session, gathered just now, on the shards in `mask` (ours may be among them)
 * where all of them can be held together; writes the replies. The log is walked to the same place
 * for each of those shards, so the requests stand at one place in the order, one after the other:
 * no ticket, no message, no copy. Returns how many were run: 0 where that cannot be, fewer than all
 * where one made work for the order log that comes before the next, or is run elsewhere with all
 * behind it (a script that strayed): then the session has a bundle under way. */
uint32_t stand_in_run(struct core *c, struct session *s, struct request *requests, uint32_t count,
                  const struct core_mask *mask);

/* Walks the order log for a sleeping core. False where that core is awake, or the log holds
 * something that it must do itself: then it must be woken. */
bool stand_in_walk(struct core *c, uint32_t sleeper);

/* Step 4: sends a sleeping core's sessions the messages that were put into its inbox, where they
 * are few. They are the owner's sessions and its ring's sockets; but it touches neither before it
 * has claimed its shard, which we hold. What a session still has to send stands before a message,
 * so only those are sent to that have nothing. False where the core is awake, or has something left
 * to do: then it must be woken. */
bool stand_in_deliver(struct core *c, uint32_t sleeper);

/* Step 4: hops gathered for other cores. Those for sleeping cores are run here, the others are
 * posted. */
void stand_in_send_outgoing(struct core *c);
/* Posts all of them, for a core that may touch no shard (serve.h). */
void stand_in_post_outgoing(struct core *c);
