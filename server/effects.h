/* Effects: what a command causes for clients other than its own: messages of keyspace
 * notifications, invalidations of cached keys.
 *
 * After each command (of a transaction or script: once it has ended) the events of the shards at
 * hand are taken and become messages here, on the core that ran it. Before this core's replies and
 * messages leave, notifications are published through the order log, as one split bundle of
 * PUBLISHes: nobody can know of the change before its notification has its place, and all cores see
 * all of them in one order. Invalidations are posted to the home cores of the clients concerned.
 *
 * On the core's thread. */
#pragma once

#include "server/blocked.h"
#include "server/core.h"
#include "server/evict.h"
#include "server/persist/journal.h"
#include "server/server.h"

/* Takes the events of `shard`, or of those in `shards` (by index, NULL where not at hand). */
void effects_take(struct core *c, struct shard *shard, struct shard *const *shards);
/* After a command: serves those who waited for what it changed, and takes the events it left. */
static inline void effects_look(struct core *c, struct shard *shard, struct shard *const *shards)
{
    blocked_look(c, shard, shards);
    if (__builtin_expect(server->keyspace.options.limited, 0))
        evict_look(shard, shards);
    if (__builtin_expect(server->keyspace.options.journal, 0))
        journal_look(c, shard, shards);
    if (__builtin_expect(!shard || shard->events.first, 0))
        effects_take(c, shard, shards);
}

/* Before something is published in the middle of an iteration that comes of what was done: gives
 * what was done on the shards at hand its place in the order first. */
void effects_precede(struct core *c, struct shard *shard, struct shard *const *shards);
/* Before other cores can see what was done: the end of a cross transaction or of a part, a borrowed
 * shard that goes back. */
void effects_settle(struct core *c);
/* Step 4: sends them on their way. False where the order log has no room: then nothing else may
 * leave this core in this iteration. */
bool effects_flush(struct core *c);
/* Frees what is left at the end. */
void effects_finish(struct core *c);
