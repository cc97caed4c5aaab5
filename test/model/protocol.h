/* A model of the cores' loop and the order log: what server/core.c, order.c and bundle.c do,
 * without memory, sockets and commands, in steps small enough that every interleaving that matters
 * can be had.
 *
 * One step is one access to what cores share (or several that nobody can tell apart from one).
 * Memory is sequentially consistent: which fences make it so is order.h's and core.h's business.
 * Clients send operations, each of which reads some keys and may write them; an operation's place
 * is chosen as route.c does: on shards held together, or run here, hop, split or cross. A state is
 * one flat struct, equal where its bytes are equal, so that an exhaustive search can know states
 * again. Sets of operations and of cores are bit masks.
 *
 * The protocol can be broken on purpose (enum breakage), which shows that the checks can fail. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* At most 8 of cores and keys, and 16 operations: their masks are that wide. */
#define CORES_MAX 4
#define CLIENTS_MAX 4
#define KEYS_MAX 4
#define OPS_MAX 12

enum breakage {
    BREAK_NOTHING,
    BREAK_ORDER_BEFORE_GATHER,  /* the log is walked first, then requests are gathered and run */
    BREAK_PASS_UNPUBLISHED,     /* the walk acts on what stands behind an unpublished entry */
    BREAK_NO_LAST_LOOK,         /* a core sleeps without looking again */
    BREAK_LOOK_AT_CURSOR,       /* the last look sees no further than an unpublished entry */
    BREAK_NO_STAND,             /* a participant of a cross transaction does not wait */
    BREAK_RUN_RESUMED,          /* replies are taken after the walk, their sessions go on at once */
    BREAK_STAND_IN_SHORT,       /* who stands in leaves an unpublished entry to the sleeper, and
                                 * does not wake it */
    BREAK_STAND_IN_UNWALKED,    /* requests run on a borrowed shard whose log was not walked */
    BREAK_HELD_APART,           /* shards held together are walked one after the other, and it is
                                 * not seen to it that this led to one place */
    BREAK_HELD_UNCLAIMED,       /* requests run on shards held together before the core that slept
                                 * has claimed its own, which is one of them */
    BREAK_CARRY_BEYOND,         /* who carries others on along the log runs a transaction of more
                                 * shards than those that stand still for it */
    BREAK_COUNT,
};

enum effect { EFFECT_READ, EFFECT_WRITE, EFFECT_ROTATE };

/* What a client asks for. Values are 0 at first; operation i writes i + 1. */
struct op {
    uint8_t client;
    uint8_t keys; /* mask */
    uint8_t effect;
    bool cross;   /* where it needs several shards: meet, instead of a part on each */
    bool owners;  /* only a shard's owner may run it (server/bundle.c: not borrowable) */
};

/* What is decided before a run. Key k is on shard k mod core_count. */
struct setup {
    enum breakage breakage;
    uint32_t core_count, client_count, key_count, op_count;
    uint32_t share; /* unretired tickets a core may hold */
    bool carries;   /* who runs a cross transaction carries the others on along the log */
    bool holds;     /* requests that need others' shards run here where all can be held together */
    struct op ops[OPS_MAX];
    uint8_t home[CLIENTS_MAX];
    bool pipelined[CLIENTS_MAX];                /* sends without waiting for replies */
    uint8_t ops_of[CLIENTS_MAX][OPS_MAX];
    uint8_t ops_of_count[CLIENTS_MAX];
};

struct model_core {
    uint8_t at;        /* enum place of protocol.c */
    uint8_t part;      /* of the gather: 0 not begun, 1 the sockets, 2 the queues */
    uint8_t owner;     /* of its shard: enum holder of protocol.c */
    uint8_t woken;     /* a wake-up its ring has not seen */
    uint8_t borrowed;  /* core whose shard this one holds, + 1 */
    uint8_t errand;    /* what it is borrowed for: enum errand of protocol.c */
    uint8_t walked;    /* ... and its log has been walked to the end */
    uint8_t stands;    /* ticket + 1 of the cross transaction that it stands still for */
    uint8_t released;  /* ticket + 1 of the last cross transaction that released it */
    uint8_t carrying;  /* shards that stand still for it, its own among them; mask */
    uint8_t carries_from; /* ticket + 1 at which they do */
    uint8_t touched;   /* cores to wake */
    uint8_t waking;    /* core just handed messages, + 1 */
    uint16_t passed;   /* tickets; all below the cursor, but for BREAK_PASS_UNPUBLISHED */
    uint16_t tickets;  /* own, unretired when last looked at */
    uint16_t unpublished; /* bundles without a ticket */
    uint8_t ticket_taken; /* + 1: of the bundle that is being published */
    uint16_t local;    /* to run: from sessions here */
    uint16_t hops;     /* to run: from other cores */
    uint16_t finished; /* replies that go out at the flush; their sessions wait for them */
    uint8_t serving;   /* client whose requests shards are being held for, + 1 */
    uint8_t needed;    /* ... the shards, our own among them; mask */
    uint8_t held;      /* ... those borrowed */
    uint8_t unwalked;  /* ... those whose log is to be walked in this round */
    uint8_t tries;     /* ... rounds that did not lead to one place */
    uint16_t prefix;   /* ... the requests, until they are run */
    uint16_t answered; /* replies of requests run so */
    uint16_t outgoing[CORES_MAX]; /* hops that may yet be run here, on a borrowed shard */
    uint16_t outbox[CORES_MAX];
    uint16_t inbox;
};

struct model_client {
    uint8_t sent;     /* operations sent */
    uint8_t received; /* ... taken from the socket */
    uint8_t fed;      /* ... begun */
    uint8_t busy;
};

struct model_op {
    uint16_t before; /* operations complete when it was sent */
    uint8_t hopping; /* on its way to the shard that runs it */
    uint8_t pending;
    uint8_t result[KEYS_MAX];
};

struct state {
    uint8_t values[KEYS_MAX];
    uint16_t complete;
    uint8_t next;                /* ticket */
    uint16_t published;          /* mask of tickets */
    uint8_t entries[OPS_MAX];    /* by ticket: the operation. Reuse of memory is not modelled, but
                                  * the rule of room that allows it is, and is checked */
    bool room_broken;
    struct model_core cores[CORES_MAX];
    struct model_client clients[CLIENTS_MAX];
    struct model_op ops[OPS_MAX];
};

/* Fills the fields of a setup that follow from its ops. */
void protocol_prepare(struct setup *u);
void protocol_start(struct state *s, const struct setup *u);

/* Actors: the cores, then the clients. */
static inline uint32_t protocol_actor_count(const struct setup *u)
{
    return u->core_count + u->client_count;
}
/* True where the actor has a step to make. */
bool protocol_can_step(const struct state *s, const struct setup *u, uint32_t actor);
void protocol_step(struct state *s, const struct setup *u, uint32_t actor);

/* Applies an operation, or its part on the keys of `mask`, to `values`; the values found go to
 * `result`. */
void protocol_apply(const struct setup *u, uint32_t op, uint8_t mask, uint8_t *values,
                    uint8_t *result);
/* True where a core sleeps while the log or its queue has work for it. */
bool protocol_overslept(const struct state *s, const struct setup *u);
