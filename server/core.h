/* A core: one thread, its shard, its ring, its sessions, and the loop that drives them.
 *
 * The loop's four steps, in this order (docs/architecture.md says why the order is what makes it
 * correct):
 *   gather   reap completions, feed sessions, route what they asked, take what the mesh brought
 *   order    walk the order log to its end, run this shard's part of each entry that names it
 *   run      run the single-shard requests gathered, local ones and those that came over the mesh
 *   flush    send replies, hand messages to other cores, wake those that sleep
 *
 * Everything in struct core belongs to its thread, but for the shard, which goes with `owner`
 * (owner.h), and the atomics at its end. Sleep: a core lets go of its shard, then looks once more
 * at its queues and the log, then waits; whoever gives it work publishes that first and then looks
 * at `owner`. Both sides use sequentially consistent operations, so one of the two sees the other.
 * */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "net/mesh.h"
#include "net/ring.h"
#include "server/order.h"
#include "shard/call.h"
#include "shard/shard.h"

struct blocked;
struct bundle;
struct effects;
struct function_core;
struct inner;
struct pubsub;
struct script_core;
struct session;
struct tracking_core;

/* A message between cores: what travels, and what the receiver does with it. */
struct core_message {
    struct mesh_message link; /* first */
    void (*receive)(struct core_message *m);
    uint64_t must; /* the commit without which nobody may learn of it: see persist/journal.h */
};

/* A request gathered for the run step: a command on this core. */
struct request {
    struct session *session;
    const struct command *command; /* NULL: unknown; session_run says the error */
    const struct slice *argv;
    uint32_t argc;
    size_t end;      /* offset behind it in what was fed: where the next request begins */
    uint32_t shard;  /* routing: the one shard it needs, or BUNDLE_SHARD_MANY */
    uint8_t kind;    /* routing: enum route_kind of route.c */
    const char *refusal; /* routing: why it may not run; whatever changes until it would, it was
                          * sent nowhere. NULL: it may */
    uint64_t hash;   /* run step: of its first key, where `hashed` */
    bool hashed;
    bool away;       /* run step: its shards are to be borrowed, or it goes there ... */
    uint16_t group;  /* ... with so many, itself the first, that come behind it; 0: alone */
    uint8_t track;   /* enum tracking_mark: whether what it reads is tracked */
};

/* How many of the run list go together, this one being the first. */
static inline uint32_t request_span(const struct request *r)
{
    return r->away ? r->group : 1;
}

/* Memory for one iteration's arguments: chunks that are reused, never moved. */
struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t cap;
    char bytes[];
};

struct arena {
    struct arena_chunk *first;
    struct arena_chunk *current;
};

struct command_stats {
    uint64_t calls;
    uint64_t ticks; /* of core_ticks */
    uint64_t rejected;
    uint64_t failed;
};

#define CORE_POOL_SIZE 64
#define CORE_OUTPUT_SIZE 16384 /* bytes of a pooled output buffer */
#define ERROR_KINDS_MAX 128

struct error_stats {
    char code[24]; /* "WRONGTYPE" */
    uint64_t count;
};

/* Counters of one core, summed by INFO. */
struct core_stats {
    uint64_t commands;
    uint64_t hops_sent;       /* requests dispatched to another core */
    uint64_t splits;          /* bundles published as split */
    uint64_t crosses;         /* cross transactions published */
    uint64_t input_bytes;
    uint64_t output_bytes;
    uint64_t error_replies;
    uint64_t iterations;
    uint64_t sleeps;
    uint64_t wakes_sent;
    uint64_t borrows;         /* times another core's shard was borrowed while that slept */
    uint64_t query_limit_closed;
    uint64_t output_limit_closed;
    uint64_t auth_failures;
    /* For instantaneous_*: a ring of samples 100 ms apart. */
    uint64_t sample_commands[16], sample_input[16], sample_output[16];
    int64_t sample_ms[16];
    uint32_t sample_index;
};

struct journal_flush;

/* A core's side of the journal: see persist/journal.h. */
struct core_journal {
    uint64_t ticket;   /* of the entry of the order that it acts on, or JOURNAL_NO_TICKET */
    uint64_t stamp;    /* the last one given */
    uint64_t clock_ns; /* the time, read since the last walk of a log; 0: not yet */
    uint64_t looked;   /* the commit that what ran last has to wait for */
    uint64_t must;     /* ... and anything that ran here, or that a message told of */
    uint64_t durable;  /* what journal.durable was when last looked at */
    uint64_t want;     /* the commit that what was appended here will be part of */
    int64_t want_us;   /* since when; 0: it is not */
    bool writes;       /* journal_write_now is due */
    uint32_t news;     /* journal.news when last looked at */
    struct session *gated;         /* sessions with output that waits for a commit */
    struct journal_flush *flushes; /* asked for here and not answered */
    _Atomic bool listens;          /* there are any of these: news wake this core. Pairs with
                                    * journal_tell's look */
};

struct core {
    uint32_t index;
    struct shard shard;
    struct ring *ring;

    /* Time, refreshed once an iteration. */
    int64_t now_us;          /* monotonic */
    int64_t wall_offset_us;  /* wall clock less monotonic, when last read at wall_read_us */
    int64_t wall_read_us;
    int64_t wall_ms;         /* since the epoch; the shard gets it when it is ours */
    int64_t next_cron_us;

    /* This iteration. */
    struct arena arena;
    struct request *batch;    /* what one session was parsed into: BUNDLE_ITEMS_MAX of them */
    struct request *requests; /* the run list */
    uint32_t request_count, request_cap;
    uint32_t request_next;    /* the first that was not begun */
    struct bundle **hops;     /* bundles from other cores to run */
    uint32_t hop_count, hop_cap;
    uint32_t hop_next;        /* likewise */
    struct core_mask touched; /* participants of what was published: attended before the walk */
    struct core_mask outgoing_mask;     /* cores with hops in `outgoing` */
    struct bundle *outgoing[SHARD_COUNT_MAX]; /* by core: a chain, newest first */

    struct core_journal journal;

    /* Session lists. */
    struct session *sessions;  /* all, newest first */
    uint32_t session_count;
    struct table session_ids;  /* the same: session_table.h */
    struct session *resume;    /* to be fed from their query buffers at the next gather */
    struct session *touched_sessions; /* ran something or have output: flushed in step 4 */
    struct session *held;      /* held back by CLIENT PAUSE */
    struct bundle *deferred_first, *deferred_last; /* wait for room in the order log */
    uint32_t dispatched;       /* bundles under way, those that wait among them */
    uint32_t blocked_count;    /* sessions that wait */
    uint64_t watch_rounds;     /* tokens of WATCH drawn here */
    bool repeat_published;     /* in this run step, for a waiter of our shard: see core_walk */
    bool effects_held;         /* what was done waits for room in the order log: nothing leaves */
    bool parsers_grown;        /* some session's parser has, and is to be trimmed */
    struct core_mask waking;   /* cores given something to send, to be woken in step 4 */
    struct inner *inner;       /* what runs commands within another now: see inner.h */
    struct effects *effects;   /* see effects.h; made when first needed */
    struct pubsub *pubsub;     /* see pubsub.h */
    struct tracking_core *tracking; /* see tracking.h; made when first needed */
    struct script_core *scripts; /* see script/script.h; made when first needed */
    struct function_core *functions; /* see script/function_core.h; made when first needed */
    struct blocked **timers;   /* a heap of the timeouts: blocked_timers.h */
    uint32_t timer_count, timer_cap;

    bool locked_out;           /* woken, but a script that runs for long has the shard: serve.h */
    bool serving;              /* within serve.h: no shard may be touched */
    struct core_message *kept_first, *kept_last; /* came meanwhile, for the next gather */
    bool asleep;               /* the shard was let go of and not claimed since */
    struct buf scratch;        /* for replies that are framed once they are whole */
    struct buf pool[CORE_POOL_SIZE]; /* empty output buffers, the warmest last */
    uint32_t pool_count;
    uint64_t clock_ticks;      /* when the command that runs began */
    int64_t mesh_gap_us;       /* running mean between messages; decides on spinning */
    int64_t last_message_us;
    bool spins;                /* there are CPUs to spare */
    bool mesh_backlog;         /* a full queue left messages behind */
    struct core_stats stats;
    struct command_stats *command_stats; /* by command id */
    struct error_stats errors[ERROR_KINDS_MAX];
    uint32_t error_kinds;
    uint32_t next_accept_core; /* core 0: where the next connection goes */
    bool drained;              /* stopping: counted in server->cores_drained */
    int64_t stop_deadline_us;
    uint32_t over_soft_limit;  /* sessions whose output is above their soft limit */
    int64_t http_told_us;      /* when the log last told of HTTP on this port; 0: never */
    uint32_t stop_rounds;      /* iterations since the stop began */
    bool tells;                /* invalidations are to be on their way before our replies */
    bool trimming;             /* what clients have cached is to be trimmed on: tracking.h */
    bool saving;               /* a snapshot is to be swept on: persist/save.h */
    bool sweeping;             /* the last sweep slice was fruitful: another one is due */
    int64_t sweep_used_us;     /* in this period */
    uint64_t cron_commands;    /* stats.commands at the last cron */
    uint64_t trim_mark;        /* the most data held since the allocator was last trimmed */
    uint64_t data_peak;        /* bytes of keys and values, the most that a cron has seen */

    /* Read and written by other threads. */
    _Atomic uint32_t owner __attribute__((aligned(64))); /* of the shard: enum owner_state */
    _Atomic uint64_t released; /* ticket + 1 of the last cross transaction released; a futex */
    _Atomic uint32_t held_by;  /* enum held_kind: what keeps the shard for long */
    _Atomic bool begun;        /* the cross transaction that it stands still for: see serve.h */
    pthread_mutex_t serve_mutex; /* see serve.h */
    _Atomic uint32_t arrivals; /* at a cross transaction that this core is to run; a futex */
    _Atomic uint32_t fence;    /* stands for full fences in thread-sanitizer builds */
    _Atomic uint32_t load;     /* sessions, as core 0 sees them when it spreads connections */
};

/* Bytes in use. Receive buffers are the kernel's business as much as ours, and not among them. */
struct core_memory {
    uint64_t entries; /* keys with the values inside them */
    uint64_t blocks;  /* values beside their entries */
    uint64_t tables;
    uint64_t fixed;   /* what a core has without keys and sessions */
    uint64_t scripts, functions; /* interpreters, in `fixed` too */
};

/* On the core's thread, or while it stands still. */
void core_measure(const struct core *c, struct core_memory *m);

/* The core of the calling thread; NULL on others. */
struct core *core_self(void);

struct core *core_create(uint32_t index);
void core_destroy(struct core *c);
/* On the core's thread: makes its shard and ring; false with errno when the kernel refuses the
 * ring. `spins`: there are CPUs to spare for a core that waits. */
bool core_start(struct core *c, uint64_t seed, bool spins);
/* The loop: returns when the server has stopped. */
void core_run(struct core *c);
/* Gives back what core_start made. */
void core_finish(struct core *c);

/* Walks the order log to its end for this core's shard, waking who is named by what it published.
 * Also within the run step, between two requests: those behind then stand later in the order. So
 * what a waiter is about to be given by a transaction is gone before anybody here asks for it. */
void core_walk(struct core *c);
/* Takes a message from another core. */
void core_receive(struct core *c, struct core_message *m);
/* Posts a message to another core, or receives it at once where `to` is the caller's. */
void core_post(struct core *c, uint32_t to, struct core_message *m);
/* Makes a core that sleeps go round once. Call after publishing what it shall see. */
void core_wake(struct core *c, uint32_t to);
/* Queues a session to be fed again at the next gather. */
void core_resume(struct core *c, struct session *s);

void *arena_alloc(struct arena *a, size_t size);
void arena_reset(struct arena *a);
/* What is allocated behind a mark goes with arena_cut. */
struct arena_mark {
    struct arena_chunk *chunk;
    size_t used;
};
static inline struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){a->current, a->current ? a->current->used : 0};
}
void arena_cut(struct arena *a, struct arena_mark mark);
void arena_deinit(struct arena *a);

/* A cheap tick counter for durations, and its rate. */
static inline uint64_t core_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
#error "no tick counter known for this processor"
#endif
}
/* Ticks a microsecond; measured once at start. */
double core_ticks_per_us(void);
