/* See compact.h. */
#include "server/compact.h"

#include <assert.h>
#include <pthread.h>
#include <time.h>

#include "proto/mem.h"
#include "server/latency.h"
#include "server/server.h"
#include "shard/compact.h"
#include "shard/snapshot.h"

/* How often a core looks: the walk over the allocator's pages takes up to 1 ms a gigabyte. */
#define LOOK_US 2000000
/* ... and how soon after its last look where another core calls. */
#define CALLED_LOOK_US 300000
/* How often what is free is given back while commands run; sooner when they have ceased. */
#define TRIM_US 10000000
/* What is idle is worth a pass from here on: so much, and such a part of the data; less of it where
 * no more commands have run since the last look than that. */
#define IDLE_MIN (UINT64_C(192) << 10)
#define IDLE_SHARE 16
#define IDLE_SHARE_QUIET 32
#define QUIET_COMMANDS 1000
/* A pass was of use that has made such a part of what was idle less, or in whose time such a part
 * of the data has come or gone. Others have a pause behind them, doubled each time; what is idle
 * ends it early where it has grown by that part. */
#define USE_SHARE 4
#define CHANGED_SHARE 16
#define PAUSE_MIN_US 4000000
#define PAUSE_MAX_US 64000000
/* How long a slice holds the loop, and all of them in a cron's period of 100 ms. */
#define SLICE_US 200
#define PERIOD_US 10000

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* What is thin, for all cores to see: a shard's values are also in the pages of threads that have
 * had it borrowed. */
struct compact_shared {
    pthread_mutex_t lock;   /* of thin */
    struct mem_map *thin;   /* by core */
    /* Count passes that began by themselves, and passes that ended. Relaxed: who sees it a look
     * later does then what it would have done now. */
    _Atomic uint32_t begun, ended;
};

struct compact_shared *compact_create(uint32_t core_count)
{
    struct compact_shared *s = mem_alloc_zeroed(sizeof(*s));
    s->thin = mem_alloc_zeroed(core_count * sizeof(*s->thin));
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void compact_destroy(struct compact_shared *s, uint32_t core_count)
{
    for (uint32_t i = 0; i < core_count; i++)
        mem_map_end(&s->thin[i]);
    mem_free(s->thin);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static bool is_much(uint64_t idle, uint64_t data, bool quiet)
{
    return idle > IDLE_MIN && idle > data / (quiet ? IDLE_SHARE_QUIET : IDLE_SHARE);
}

static bool may_compact(const struct core *c)
{
    return !snapshot_active(&c->shard) && !server->keyspace.options.loading;
}

/* What other cores' passes have freed of this thread's pages is collected when it trims. */
static void note_ended(struct core *c)
{
    uint32_t ended = atomic_load_explicit(&server->compaction->ended, memory_order_relaxed);
    if (ended != c->compact_seen_ended)
        c->trim_asked = true;
    c->compact_seen_ended = ended;
}

/* True where another core has begun a pass since this one last did: it may need our help, as the
 * blocks of this shard that lie in its pages are moved by us alone. */
static bool is_called(const struct core *c)
{
    uint32_t begun = atomic_load_explicit(&server->compaction->begun, memory_order_relaxed);
    return begun != c->compact_seen_begun && c->shard.block_bytes;
}

/* By itself: not because another core has begun, or they would call each other for ever. */
static void begin(struct core *c, bool values, bool by_itself)
{
    struct compact_shared *shared = server->compaction;
    if (values) {
        /* Word is left and taken, and the begin counted and seen, in one: whoever leaves word
         * later calls again. */
        pthread_mutex_lock(&shared->lock);
        mem_move_start(&c->moving, shared->thin, server->core_count, c->index);
        c->compact_seen_begun =
            by_itself ? atomic_fetch_add_explicit(&shared->begun, 1, memory_order_relaxed) + 1
                      : atomic_load_explicit(&shared->begun, memory_order_relaxed);
        pthread_mutex_unlock(&shared->lock);
    }
    compact_start(&c->shard, values ? &c->moving : NULL);
    c->compacting = true;
}

/* True while the last pass's being of no use keeps from another one. */
static bool is_pausing(struct core *c, uint64_t idle)
{
    /* What has gone since is nothing that a pass has failed to move. */
    if (idle < c->compact_left)
        c->compact_left = idle;
    return c->now_us < c->compact_again_us && idle <= c->compact_left + c->compact_left / USE_SHARE;
}

void compact_trim(struct core *c)
{
    heap_trim(&c->shard.heap);
    c->trimming_memory = c->compacting = true;
    c->trim_from = 0;
    c->trimmed_commands = c->stats.commands;
    c->trim_again_us = c->now_us + TRIM_US;
}

/* What commands have left free stays with the allocator otherwise, and is in no page that a look
 * would see. */
static void trim_now_and_then(struct core *c, bool quiet)
{
    if (c->trimmed_commands != c->stats.commands && (quiet || c->now_us >= c->trim_again_us))
        compact_trim(c);
}

void compact_look(struct core *c)
{
    struct shard *s = &c->shard;
    c->compact_used_us = 0;
    c->compacting = s->compaction.on || c->trimming_memory;
    bool called = is_called(c);
    if (s->compaction.on || !may_compact(c) ||
        c->now_us - c->compact_looked_us < (called ? CALLED_LOOK_US : LOOK_US))
        return;
    c->compact_looked_us = c->now_us;
    note_ended(c);
    bool quiet = c->stats.commands - c->compact_commands < QUIET_COMMANDS;
    c->compact_commands = c->stats.commands;
    uint64_t data = shard_data(s);
    uint64_t slabs = heap_idle(&s->heap), values = mem_move_look(&c->moving);
    bool own = is_much(values, data, quiet);
    bool pausing = is_pausing(c, slabs + values);
    if (!called && (pausing || (!own && !is_much(slabs, data, quiet)))) {
        mem_move_end(&c->moving);
        trim_now_and_then(c, quiet);
        return;
    }
    c->compact_begun_data = data;
    c->compact_begun = slabs + values;
    begin(c, own || called, own && !pausing);
}

static bool differs(uint64_t begun, uint64_t now, uint64_t share)
{
    uint64_t part = begun / share;
    return now < begun - part || now > begun + part;
}

/* After a pass: what it has emptied is no longer thin to others. */
static uint64_t look_again(struct core *c)
{
    struct compact_shared *shared = server->compaction;
    uint64_t idle = mem_move_look(&c->moving);
    pthread_mutex_lock(&shared->lock);
    mem_move_tell(&c->moving, &shared->thin[c->index]);
    pthread_mutex_unlock(&shared->lock);
    mem_move_end(&c->moving);
    return idle;
}

/* A pass that was of use may have left something that has become thin meanwhile: it is looked again
 * at once. So nothing thin is left for longer than PAUSE_MAX_US that a pass could move. */
static void end(struct core *c)
{
    struct shard *s = &c->shard;
    mem_move_end(&c->moving);
    c->compacting = false;
    c->compact_left = heap_idle(&s->heap) + look_again(c);
    if (differs(c->compact_begun, c->compact_left, USE_SHARE) ||
        differs(c->compact_begun_data, shard_data(s), CHANGED_SHARE))
        c->compact_pause_us = c->compact_again_us = c->compact_looked_us = 0;
    else
        c->compact_pause_us = c->compact_pause_us ? 2 * c->compact_pause_us : PAUSE_MIN_US;
    if (c->compact_pause_us > PAUSE_MAX_US)
        c->compact_pause_us = PAUSE_MAX_US;
    c->compact_again_us = c->now_us + c->compact_pause_us;
    compact_trim(c);
    c->compact_seen_ended +=
        atomic_fetch_add_explicit(&server->compaction->ended, 1, memory_order_relaxed) ==
        c->compact_seen_ended;
}

/* True where more is to be done. */
static bool pass_slice(struct core *c, int64_t end_us)
{
    bool more = true;
    mem_move_begin(&c->moving);
    while (more && monotonic_us() < end_us)
        more = compact_step(&c->shard, 1);
    mem_move_pause(&c->moving);
    return more;
}

void compact_slice(struct core *c)
{
    int64_t start_us = monotonic_us();
    bool ended = false;
    assert(!c->inner && !c->serving);
    if (c->trimming_memory)
        c->trimming_memory = mem_trim(&c->moving, &c->trim_from);
    else if (c->shard.compaction.on && may_compact(c))
        ended = !pass_slice(c, start_us + SLICE_US);
    else
        c->compacting = false; /* until the next cron */
    int64_t passed_us = monotonic_us() - start_us;
    latency_note(c, "active-defrag-cycle", passed_us);
    c->compact_used_us += passed_us;
    if (ended)
        end(c);
    else if (c->compact_used_us >= PERIOD_US)
        c->compacting = false;
}

void compact_finish(struct core *c)
{
    mem_move_end(&c->moving);
}
