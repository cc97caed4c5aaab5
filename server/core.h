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
#include <time.h>

#include "net/mesh.h"
#include "net/ring.h"
#include "proto/mem.h"
#include "server/order.h"
#include "shard/call.h"
#include "shard/shard.h"

struct blocked;
struct bundle;
struct client_memory;
struct effects;
struct function_core;
struct heavy;
struct histogram;
struct inner;
struct latency;
struct monitors;
struct pubsub;
struct script_core;
struct session;
struct session_tls;
struct slowlog;
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
    struct histogram *times; /* of each call, in ticks; NULL: none were noted */
};

#define CORE_POOL_SIZE 64
#define CORE_OUTPUT_SIZE 16384 /* bytes of a pooled output buffer */
#define ERROR_KINDS_MAX 128 /* and one for the rest */

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
    uint64_t turn_us_max;     /* the longest iteration */
    uint64_t turn_commands_max, turn_commands; /* most in one; all by the end of the last */
    uint64_t cron_us;         /* spent in what comes round ten times a second */
    uint64_t aof_us;          /* ... in writing the append only file */
    uint64_t sleeps;
    uint64_t wakes_sent;
    uint64_t borrows;         /* times another core's shard was borrowed while that slept */
    uint64_t query_limit_closed;
    uint64_t output_limit_closed;
    uint64_t evicted_clients;
    uint64_t auth_failures;
    uint64_t hops_received;   /* requests of other cores that came as messages */
    uint64_t reads, writes;   /* pieces taken from, and given to, sockets */
    uint64_t replies_grown;   /* reply buffers that outgrew their usual size, and so were given up
                               * for one of that size once they were sent */
    uint64_t sweep_us;        /* spent in looking for what has expired */
    uint64_t sweeps_cut;      /* rounds of that which used up their time */
    uint64_t cpu_base_us;     /* the thread's CPU time when these counters began */
    uint64_t acl_denied_command, acl_denied_key, acl_denied_channel;
    /* For instantaneous_*: a ring of samples 100 ms apart. */
    uint64_t sample_commands[16], sample_input[16], sample_output[16];
    uint64_t sample_iterations[16], sample_cpu_us[16];
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
    struct blocked *sync_waits;    /* WAITAOFs of its sessions that end with a sync */
    _Atomic bool listens;          /* there are any of these: news wake this core. Pairs with
                                    * journal_tell's look */
};

/* A core's handshakes: see session_tls.h. */
struct core_tls {
    struct session_tls *first, *last; /* under way, the oldest first */
    struct session_tls *_Atomic done; /* back from a helper: see tls_helper.h */
};

struct core {
    uint32_t index;
    int thread_id;             /* the kernel's, for the crash report */
    struct shard shard;
    struct ring *ring;

    /* Time, refreshed once an iteration. */
    int64_t now_us;          /* monotonic */
    int64_t wall_offset_us;  /* wall clock less monotonic, when last read at wall_read_us */
    int64_t wall_read_us;
    int64_t wall_ms;         /* since the epoch; the shard gets it when it is ours */
    int64_t next_cron_us;
    int64_t turn_began_us;     /* this iteration, for turn_us_max */

    /* This iteration. */
    struct arena arena;
    struct request *batch;    /* what one session was parsed into: BUNDLE_ITEMS_MAX of them */
    struct request *requests; /* the run list */
    uint32_t request_count, request_cap;
    uint32_t request_next;    /* the first that was not begun */
    struct bundle **hops;     /* bundles from other cores to run */
    uint32_t hop_count, hop_cap;
    uint32_t hop_next;        /* likewise */
    struct bundle *acting;    /* whose part is run now, of the order or a hop: for crash reports */
    struct core_mask touched; /* participants of what was published: attended before the walk */
    struct core_mask outgoing_mask;     /* cores with hops in `outgoing` */
    struct bundle *outgoing[SHARD_COUNT_MAX]; /* by core: a chain, newest first */

    struct core_journal journal;
    struct core_tls tls;

    /* Session lists. */
    struct session *sessions;  /* all, newest first */
    uint32_t session_count;
    struct table session_ids;  /* the same: session_table.h */
    struct client_memory *client_memory; /* ... and what they take: client_memory.h */
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
    uint64_t script_random;    /* math.random's 48 bits: they outlive SCRIPT FLUSH, as in Redis */
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
    uint64_t look_ticks;       /* a command that took so long is looked at: observe.h. 0: each is */
    bool notes_times;          /* latency-tracking */
    struct slowlog *slowlog;   /* slowlog.h; made when first needed, as the next two */
    struct latency *latency;   /* latency.h */
    struct monitors *monitors; /* monitor.h */
    struct heavy *hot_keys;    /* of the shard, and goes with it: hotkeys.h. NULL: never watched */
    uint32_t hot_countdown;    /* keys until the next one is noted, likewise */
    int64_t mesh_gap_us;       /* running mean between messages; decides on spinning */
    int64_t last_message_us;
    bool spins;                /* there are CPUs to spare */
    bool mesh_backlog;         /* a full queue left messages behind */
    struct core_stats stats;
    struct command_stats *command_stats; /* by command id */
    struct error_stats errors[ERROR_KINDS_MAX + 1];
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
    bool evicting;             /* the last slice of evict_step freed some, and more is to go */
    bool compacting;           /* a slice of compact.h is due */
    int64_t compact_looked_us, compact_used_us; /* last look; of this period */
    uint32_t compact_seen_begun, compact_seen_ended; /* of all cores' passes: see compact.c */
    uint64_t compact_begun_data; /* of the shard, at the last pass's begin */
    uint64_t compact_begun, compact_left; /* idle before the last pass and after it, bytes */
    int64_t compact_pause_us, compact_again_us; /* after passes of no use: how long, until when */
    bool trimming_memory;      /* mem_trim is to go on */
    uintptr_t trim_from;       /* ... there */
    int64_t trim_again_us;     /* when it is due while commands run */
    uint64_t trimmed_commands, compact_commands; /* run by the last trim; by the last look */
    struct mem_move moving;    /* of the pass that is on */
    bool sweeping;             /* the last sweep slice was fruitful: another one is due */
    int64_t sweep_used_us;     /* in this period */
    uint64_t cron_commands;    /* stats.commands at the last cron */
    uint64_t trim_mark;        /* the most data held since the allocator was last trimmed */
    uint64_t told_other;       /* see evict.h: what was told of all but the shard */
    uint64_t measured_other;   /* ... as it was last measured */
    int64_t evict_failed_us;   /* now_us when there was nothing to evict ... */
    uint64_t evict_failed_at;  /* ... and stats.commands */
    uint64_t dropped_bytes;    /* of clients' large buffers, since the allocator was trimmed ... */
    uint64_t dropped_seen;     /* ... and at the last cron */
    uint64_t data_peak;        /* bytes of keys and values, the most that a cron has seen */
    uint64_t startup_bytes;    /* what it had of its own before it began to serve */
    clockid_t cpu_clock;       /* its thread's CPU time; any thread may read it */
    double stale_share;        /* of keys with an expiry: how many have expired and are still there,
                                * a running mean over what the sweep sees */
    bool trim_asked;           /* by MEMORY PURGE, which ran on another thread */

    /* Read and written by other threads. */
    _Atomic uint32_t owner __attribute__((aligned(64))); /* of the shard: enum owner_state */
    _Atomic uint64_t released; /* ticket + 1 of the last cross transaction released; a futex */
    _Atomic uint32_t held_by;  /* enum held_kind: what keeps the shard for long */
    _Atomic bool begun;        /* the cross transaction that it stands still for: see serve.h */
    pthread_mutex_t serve_mutex; /* see serve.h */
    _Atomic uint32_t arrivals; /* at a cross transaction that this core is to run; a futex */
    _Atomic uint32_t fence;    /* stands for full fences in thread-sanitizer builds */
    _Atomic uint64_t rounds;   /* of cron: relaxed, the supervisor looks whether it grows */
    _Atomic uint32_t load;     /* sessions, as core 0 sees them when it spreads connections */
    _Atomic bool metrics_asked; /* for a copy of its figures: see metrics/sample.c */
    _Atomic int64_t turned_ms; /* monotonic: about when it last went round. Relaxed, for /healthz
                               * and the watchdog */
};

/* Bytes in use. Receive buffers are the kernel's business as much as ours, and not among them. */
struct core_memory {
    uint64_t entries; /* keys with the values inside them */
    uint64_t blocks;  /* values beside their entries, those too that are being freed */
    uint64_t tables;
    uint64_t slack;   /* free room in the pages that keys are in, and in buffers kept for reuse */
    uint64_t fixed;   /* what a core has without keys and sessions */
    uint64_t scripts, functions; /* interpreters, in `fixed` too */
};

/* On the core's thread, or while it stands still. */
void core_measure(const struct core *c, struct core_memory *m);
/* CPU time that the core's thread has used. Any thread, while the core runs. */
uint64_t core_cpu_us(const struct core *c);

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

/* Where the chunk at hand has no room. `size`: a multiple of 8. */
void *arena_alloc_slow(struct arena *a, size_t size);
static inline void *arena_alloc(struct arena *a, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    struct arena_chunk *chunk = a->current;
    if (__builtin_expect(!chunk || chunk->cap - chunk->used < size, 0))
        return arena_alloc_slow(a, size);
    void *at = chunk->bytes + chunk->used;
    chunk->used += size;
    return at;
}
void arena_reset(struct arena *a);
/* Gives back the end of what was allocated last, of which `used` bytes were needed. */
void arena_shrink(struct arena *a, const void *at, size_t used);
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
/* The shard's time and the core's become the later of both, before the core runs something on it:
 * what ran there is never in the future. Unless by more than a clock can be off: that was set back,
 * and the core's counts. By who holds the shard. */
void core_agree_on_time(struct core *c, struct shard *s);
/* The same of all of them (NULL: not held), which are to be at one time. */
void core_agree_on_times(struct core *c, struct shard *const *shards);
/* What ran on this shard, or on all of these, took long: what follows in this iteration comes
 * later, for keys that expire above all. */
void core_pass_time(struct core *c, struct shard *shard, struct shard *const *shards);
/* The monotonic clock, read now: later than now_us. */
int64_t core_clock_us(void);
