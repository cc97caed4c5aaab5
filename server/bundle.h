/* A bundle: one dispatch of a session's requests to other cores, from its making to its replies.
 *
 * Made whole by the home core, in one allocation that holds the items, their arguments and room for
 * replies; never changed by two threads at once:
 *   hop    all items on one other shard: travels there and back over the mesh
 *   split  items (or their parts) on several shards: published in the order log; each participant
 * runs
 *          its part when it reaches the entry; the last to finish sends the bundle home
 *   cross  one item (of scripts: several) that needs several shards at once: each participant that
 * reaches the entry stops;
 *          the last to arrive (or, where it looks at the session, its home core) runs it and
 *          releases the others
 *
 * Hand-over: `pending` counts participants that have not finished (split) or arrived (cross). Each
 * subtracts one with acquire-release; whoever brings it to 0 sees all that the others wrote, and
 * alone goes on. After its subtraction a participant that was not last never looks at the bundle
 * again.
 *
 * Ids of memory: the bundle and its reply room are allocated and freed by the home core; a part
 * whose replies outgrow the room moves to memory of the core that ran it, freed by the home core.
 * */
#pragma once

#include <stdatomic.h>

#include "server/core.h"

#define BUNDLE_ITEMS_MAX 512
#define BUNDLE_SHARD_MANY UINT32_MAX
/* A source of requests whose arguments, wherever they lie, stay good until the bundle is done. */
#define BUNDLE_SOURCE_KEPT ((struct slice){NULL, SIZE_MAX})

enum bundle_kind { BUNDLE_HOP, BUNDLE_SPLIT, BUNDLE_CROSS };

/* One participant's share of the result of a split item. */
struct bundle_section {
    size_t size;   /* bytes in its part's out */
    int64_t value; /* call.value */
    uint64_t ticks; /* that its part took */
    uint32_t errors;
};

/* What a request on several shards has beside its arguments. */
struct bundle_split {
    uint32_t key_count;
    uint16_t *key_shards; /* shard of each key in turn; NULL: a part on every shard */
    uint32_t *item_sizes; /* reply size of each key (SPLIT_ITEMS) */
    struct bundle_section *sections; /* by rank of participant */
};

struct bundle_item {
    const struct command *command;
    const struct slice *argv;
    uint32_t argc;
    struct bundle_split *split; /* NULL: this shard's alone */
    bool track;                 /* what it reads is tracked: tracking.h */
};

/* One participant's work and what comes of it. Its items stand together, so that a core reads only
 * lines that are its own, and writes none that another core uses. */
struct bundle_part {
    const struct bundle_item *items;
    uint32_t item_count;
    bool flushed;   /* databases were flushed: every shard's part says so */
    uint32_t done;  /* items run: all of a part at once, but see bundle_run_hop */
    uint64_t must;  /* the commit that its replies must wait for: see persist/journal.h */
    size_t *sizes;  /* bytes of each item's reply in `out` */
    struct buf out;
} __attribute__((aligned(64)));

#define BUNDLE_RANK_ALL UINT16_MAX

/* What the server itself does while all shards stand still; on the core of any of them. */
typedef void bundle_act_fn(struct core *c, struct shard *const *shards, void *context);

struct bundle {
    struct core_message message; /* first */
    enum bundle_kind kind;
    uint32_t home;
    uint32_t db;
    unsigned protocol;
    bool no_touch;
    uint32_t acl_version; /* of the users that its requests were admitted under: see acl.h */
    bool borrowable;     /* short work on data alone: another core may do a sleeping shard's part */
    struct session *session;     /* NULL: its session does not wait for it any more */
    void (*act)(struct core *c, struct shard *s, struct bundle *b); /* instead of items; or NULL */
    void (*done)(struct core *c, struct bundle *b); /* instead of a session: it is done */
    struct blocked *blocked;     /* parked: see blocked.h */
    struct bundle *next;       /* in the home core's deferred or outgoing list */
    bool at_home;                /* cross: the home core takes part, and runs it */
    bool transaction;            /* split: its items are EXEC's, and one reply */
    bundle_act_fn *stand;        /* cross: what is run in place of items; else NULL */
    void *context;               /* ... is given to it */
    struct core_mask mask;     /* participants */
    struct core_mask reach;    /* whom its entry in the order log names: the participants, or all
                                * where a script strayed */
    uint32_t part_count;
    uint32_t item_count;
    uint16_t *order;           /* rank of each request's part, or BUNDLE_RANK_ALL; NULL: one part */
    struct bundle_part *parts; /* by rank of participant; a cross transaction has one */
    _Atomic uint32_t pending;
};

/* What must be durable before its replies leave: of all parts. */
static inline uint64_t bundle_must(const struct bundle *b)
{
    uint64_t must = 0;
    for (uint32_t i = 0; i < b->part_count; i++)
        must = b->parts[i].must > must ? b->parts[i].must : must;
    return must;
}

/* True where one of its commands may write. */
static inline bool bundle_writes(const struct bundle *b)
{
    for (uint32_t k = 0; k < b->part_count; k++)
        for (uint32_t i = 0; i < b->parts[k].item_count; i++)
            if (!(b->parts[k].items[i].command->flags & CMD_READONLY))
                return true;
    return false;
}

/* Makes a bundle of `count` routed requests of a session (NULL: nobody awaits the replies), parsed
 * from `source`. `copy`: those bytes do not outlive the iteration and are copied; else they stay
 * good until the bundle is done (the pinned query buffer). Arguments outside of `source` (an inline
 * command's) are always copied. */
struct bundle *bundle_create(struct core *c, struct session *s, enum bundle_kind kind,
                             const struct core_mask *mask, struct request *requests,
                             uint32_t count, struct slice source, bool copy);
/* A cross transaction of all shards, of the server's own: nobody's commands. */
struct bundle *bundle_create_act(struct core *c, bundle_act_fn *act, void *context);
void bundle_destroy(struct bundle *b);

/* What its message does: at the core it hops to, and at home. */
void bundle_arrive(struct core_message *m);
void bundle_come_home(struct core_message *m);

/* Sends it on its way (or defers it, when the order log has no room). */
void bundle_dispatch(struct core *c, struct bundle *b);
/* Publishes deferred bundles as far as there is room. */
void bundle_dispatch_deferred(struct core *c);

/* Wakes the cores that keep this one from publishing. */
void bundle_wake_behind(struct core *c);

/* Step 2: acts on one entry of the order log for shard `s`: this core's, or one it has borrowed. */
void bundle_act(struct core *c, struct shard *s, struct bundle *b, uint64_t ticket);
/* Step 3: runs a hop that has arrived, and sends it back. On a borrowed shard the rest of it is
 * left to the owner behind an item that made work for the order log: see core_walk. */
void bundle_run_hop(struct core *c, struct shard *s, struct bundle *b);

/* Prepares the one command of a parked bundle to be run again; its shards are the caller's to set.
 */
void bundle_start_repeat(struct core *c, struct bundle *b, struct call *call);
/* True where the users have changed since it was sent on its way, and its one command is permitted
 * no more: the error is its reply. */
bool bundle_refuse_repeat(struct core *c, const struct bundle *b, struct call *call);
/* Its next item, a script, needs more shards than it had, and was taken back: the rest of the
 * bundle is published to run with all. */
void bundle_run_with_all(struct core *c, struct bundle *b);
/* Answers a bundle whose command asked for that to be done later (call.later), and sends it home.
 * On any core. */
void bundle_answer(struct core *c, struct bundle *b, void (*write)(struct reply *r, void *context),
                   void *context);
/* Sends it to its home core, done. */
void bundle_send_home(struct core *c, struct bundle *b);
/* At home: it was answered; frees it as soon as nobody needs it. */
void bundle_dispose(struct core *c, struct bundle *b);

/* At home: writes all replies in request order. */
void bundle_write_replies(struct core *c, struct bundle *b, struct session *s);
