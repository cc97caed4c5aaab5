/* A transaction of the server's own: core 0 publishes it, all shards stand still, `run` is called
 * once with all of them at hand. One is under way at a time. */
#pragma once

#include "server/core.h"

typedef void stand_run(struct core *c, struct shard *const *shards, void *context);

/* On core 0. False where one is under way: ask again when that is over. */
bool stand_publish(struct core *c, stand_run *run, void *context);
/* On core 0: the same as soon as it can be. One at a time is wanted like that. */
void stand_want(stand_run *run, void *context);
/* On core 0, each time it looks around: lets go of one that is over, and
 * publishes the one that is wanted. */
void stand_settle(struct core *c);
/* True from stand_publish to stand_settle. On core 0. */
bool stand_under_way(void);

/* While all shards stand still: from here on no client's command is taken, as with CLIENT PAUSE
 * ALL, until as many calls of the other. */
void stand_hold_clients(void);
void stand_release_clients(void);
