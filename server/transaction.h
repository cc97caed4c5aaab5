/* Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * Commands behind MULTI are checked and queued as they are parsed, in the gather step: nothing of
 * them goes anywhere before EXEC. EXEC then takes the cheapest of three ways: all on one shard, its
 * body runs there (in place or as a hop); single-key commands on several shards without a WATCH go
 * as a split bundle, one ticket and no stop; anything else is a cross transaction of the shards
 * concerned, those with watched keys among them. Where commands look at the session or the server
 * (CLIENT, CONFIG, SUBSCRIBE, ...) the home core takes part and runs it.
 *
 * What WATCH has seen lies with the shards (shard/watch.h); the session remembers its token and on
 * which shards. They are asked when the transaction runs, so a change between EXEC's arrival and
 * its run is noticed too.
 *
 * While EXEC or WATCH is under way the home core changes neither session->transaction nor the
 * token: whoever runs the command reads them, and runs the queued commands from where they lie.
 * What the run leaves for the session (its database) is taken over at home, when the reply is. */
#pragma once

#include "server/core.h"
#include "server/order.h"

struct transaction; /* what is queued */

/* --- Gather step, on the home core --- */

/* Whether a parsed request is for transaction_take: MULTI, or anything behind it. */
static inline bool transaction_concerns(const struct transaction *t, const struct command *row);

enum transaction_step {
    TRANSACTION_TAKEN, /* queued, or MULTI: it was answered */
    TRANSACTION_ROUTE, /* to be routed, the last of its batch: EXEC and its kin, what is refused */
    TRANSACTION_LATER, /* to be parsed again once those before it are done, or may be */
};

/* Deals with a request; `before`: so many of its batch go before it. */
enum transaction_step transaction_take(struct core *c, struct session *s, struct request *r,
                                       uint32_t before);
/* Those that are not queued: MULTI, EXEC, DISCARD, WATCH; QUIT and RESET. UNWATCH is. */
bool transaction_acts_at_once(const struct command *row);

/* EXEC's cores: of its commands and its watches. For the command row's `reach`. */
void transaction_reach(struct session *s, const struct slice *argv, uint32_t argc,
                       struct core_mask *mask);
/* WATCH's; the session notes them. */
void transaction_reach_watch(struct session *s, const struct slice *argv, uint32_t argc,
                             struct core_mask *mask);
/* The flags of a request, with those of the commands that it runs: for CLIENT PAUSE. */
uint32_t transaction_flags(const struct request *r);
/* True where something queued may not run while data are loaded. */
bool transaction_needs_data(const struct session *s);
/* What a request needs that may be an EXEC. True where the home core must run it. */
bool transaction_needs_home(const struct request *r);
/* False where it is an EXEC too long for borrowed shards, or one not of single shards' data. */
bool transaction_may_borrow(const struct request *r, uint32_t commands_max);
/* False where it is an EXEC of a transaction without scripts: it has named all its shards. */
bool transaction_may_stray(const struct request *r);
/* Sends an EXEC of several shards on its way as a split bundle; false where it cannot go so. */
bool transaction_dispatch(struct core *c, const struct request *r, const struct core_mask *mask);

/* --- At home, with nothing under way but the command that asks --- */

/* EXEC has run, here or elsewhere: the session goes on without the transaction. Where none has,
 * nothing happens. */
void transaction_settle(struct core *c, struct session *s);
/* The same for one that ran as a split bundle. */
void transaction_settle_split(struct core *c, struct session *s);
/* Lets go of what is queued and watched: DISCARD, RESET, and where a session ends. */
void transaction_discard(struct core *c, struct session *s);
/* UNWATCH: the shards are told, and forget it some time later. */
void transaction_unwatch(struct core *c, struct session *s);
/* EXEC itself is refused, for `refusal`: writes the error, and the transaction is over once it is
 * settled. Also on another core that has the request. */
void transaction_refuse(struct session *s, const char *refusal, struct reply *reply);
/* A command was refused that would have been queued. */
void transaction_spoil(struct session *s);

/* Commands queued, -1 where there is no MULTI; bytes held. Also while a dispatch is under way. */
int64_t transaction_count(const struct session *s);
size_t transaction_memory(const struct session *s);

/* Bodies, named here because rows are recognised by them. */
void transaction_run_multi(struct call *call);
void transaction_run_exec(struct call *call);
void transaction_run_watch(struct call *call);

/* --- Inline bodies --- */

static inline bool transaction_concerns(const struct transaction *t, const struct command *row)
{
    return t || (row && row->run == transaction_run_multi);
}
