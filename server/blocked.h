/* Commands that block: from their first run that finds nothing to their answer.
 *
 * A blocking command is dispatched alone. When its body asks to wait (call_wait), its bundle is
 * *parked*: not sent home, but put in the lines of its keys, on their shards, while whoever ran it
 * still holds those shards. The home core is told by a message, and keeps the time.
 *
 * After every command, and at the end of a cross transaction while all its shards stand still, the
 * ready lines of the shards at hand are served: from the front of each, a waiter is *claimed* and
 * its command run again. Where it finds what it wants the bundle leaves the lines within reach and
 * goes home with the reply; else it keeps its places. A waiter whose command needs shards that are
 * not at hand (BLMOVE to a list elsewhere) is published as a cross transaction, its place in the
 * line reserved until that has run: who blocks later does not overtake it.
 *
 * Exactly once. `state` decides who ends a wait: WAITING -> CLAIMED by a shard that serves, WAITING
 * -> ENDED by the home core (timeout, disconnect, CLIENT UNBLOCK). Both are compare-and-swaps, so
 * one wins. A home core that finds it claimed makes it RECALLED: a shard that then found nothing
 * sends it home instead of letting it wait on. A shard that meets a waiter which another has
 * claimed awaits the outcome, lest its element is passed over. Only whoever claimed it runs the
 * command; so an element is taken for a client that waits, or not at all. The claim is
 * acquire-release: what one claimer wrote in the bundle the next one sees.
 *
 * A bundle that has ended may still stand in lines of shards that were not at hand. Its home core
 * asks those to take it out, and frees it when all have. */
#pragma once

#include "server/bundle.h"
#include "shard/wait.h"

enum blocked_state { BLOCKED_WAITING, BLOCKED_CLAIMED, BLOCKED_RECALLED, BLOCKED_ENDED };

enum blocked_end {
    BLOCKED_TIMEOUT, /* answered as the command says */
    BLOCKED_ERROR,   /* CLIENT UNBLOCK ... ERROR */
    BLOCKED_AOF_OFF, /* WAITAOF, and the append-only file was turned off */
    BLOCKED_GONE,    /* nobody is there to answer */
};

/* A place in the line of one key. Touched by whoever holds that shard. */
struct blocked_link {
    struct wait_link link; /* first */
    uint32_t shard;
    bool reserved; /* its line keeps the place while the command is run elsewhere */
};

/* What a parked bundle has besides. */
struct blocked {
    struct bundle *bundle;
    _Atomic uint32_t state; /* enum blocked_state */

    /* As call_wait said. */
    uint8_t type;
    bool on_removal;
    uint8_t reply;
    bool for_sync;
    uint64_t commit;
    int64_t timeout_ms;
    int64_t deadline_ms;         /* wall clock */
    struct call_wait_arg *args;  /* arguments that were changed */

    /* Of whoever has claimed or ended it. */
    bool recalled;               /* it comes home without a reply */
    struct core_mask linked;     /* shards where it stands in lines */

    /* At home. */
    struct core_message parked;  /* tells the home core of it */
    struct core_message recall;  /* goes round the shards that it is still linked on */
    enum blocked_end how;
    bool noted;                  /* `parked` has come */
    bool recalling;              /* `recall` is under way */
    int64_t deadline_us;         /* monotonic */
    uint32_t timer;              /* its place in the core's heap, from 1; 0: none */
    struct blocked *sync_next, **sync_at; /* in the core's list of those that wait for a sync;
                                           * sync_at NULL: it does not */

    uint32_t link_count;
    struct blocked_link links[];
};

/* After a run that asked to wait (call->wait.asked), by whoever holds the shards of its keys: parks
 * the bundle and takes over call->wait.args. */
void blocked_park(struct core *c, struct bundle *b, struct call *call);
/* After a repeated run as a cross transaction. True where the bundle goes home. */
bool blocked_settle_cross(struct core *c, struct bundle *b, struct call *call,
                          struct shard *const *shards);

/* Serves those whom ready lines of the shards at hand concern: of `shard`, or where that is NULL of
 * those in `shards` (by index, NULL where not at hand). */
void blocked_serve(struct core *c, struct shard *shard, struct shard *const *shards);
/* The usual case: nobody's line is ready. */
static inline void blocked_look(struct core *c, struct shard *shard, struct shard *const *shards)
{
    if (__builtin_expect(!shard || shard->waits.ready_first, 0))
        blocked_serve(c, shard, shards);
}

/* At home. Ends a wait; false where that is not in our hands: it is being served, and will come
 * home. With BLOCKED_ERROR and by_client it is left alone then. */
bool blocked_cancel(struct core *c, struct session *s, enum blocked_end how, bool by_client);
/* The parked bundle has come home and was answered: frees it, at once or when it can be. */
void blocked_dispose(struct core *c, struct bundle *b);
/* What it is answered where it was recalled; false where the bundle has its reply. */
bool blocked_answer_recalled(struct core *c, struct session *s, struct bundle *b);

/* Ends the waits whose time has come. */
void blocked_run_timers(struct core *c);
/* When the next one ends: monotonic microseconds, INT64_MAX for never. */
int64_t blocked_next_us(const struct core *c);
