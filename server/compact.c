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
/* What is idle is worth a pass from here on: so much, and such a part of the data. */
#define IDLE_MIN (UINT64_C(512) << 10)
#define IDLE_SHARE 16
/* ... and by such a part more than the last pass has left, where that had changed less. */
#define LEFT_SHARE 4
#define CHANGED_SHARE 16
/* How long a slice holds the loop, and all of them in a cron's period of 100 ms. */
#define SLICE_US 200
#define PERIOD_US 10000
#define SLICE_BUCKETS 4

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
    struct mem_thin *thin;  /* by core */
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
        mem_free(s->thin[i].ranges);
    mem_free(s->thin);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static bool is_much(uint64_t idle, uint64_t data)
{
    return idle > IDLE_MIN && idle > data / IDLE_SHARE;
}

static bool is_worth(uint64_t idle, uint64_t data, uint64_t left)
{
    return is_much(idle, data) && idle > left + left / LEFT_SHARE;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
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
static bool is_called(struct core *c)
{
    uint32_t begun = atomic_load_explicit(&server->compaction->begun, memory_order_relaxed);
    bool called = begun != c->compact_seen_begun;
    c->compact_seen_begun = begun;
    return called && c->shard.block_bytes;
}

/* By itself: not because another core has begun, or they would call each other for ever. */
static void begin(struct core *c, bool values, bool by_itself)
{
    struct compact_shared *shared = server->compaction;
    if (values) {
        mem_move_start(&c->moving);
        pthread_mutex_lock(&shared->lock);
        mem_move_share(&c->moving, shared->thin, server->core_count, c->index);
        pthread_mutex_unlock(&shared->lock);
    }
    if (values && by_itself)
        c->compact_seen_begun =
            atomic_fetch_add_explicit(&shared->begun, 1, memory_order_relaxed) + 1;
    compact_start(&c->shard, values ? &c->moving : NULL);
    c->compacting = true;
}

void compact_look(struct core *c)
{
    struct shard *s = &c->shard;
    c->compact_used_us = 0;
    c->compacting = s->compaction.on;
    if (s->compaction.on || c->now_us - c->compact_looked_us < LOOK_US || !may_compact(c))
        return;
    c->compact_looked_us = c->now_us;
    note_ended(c);
    uint64_t data = shard_data(s);
    uint64_t slabs = heap_idle(&s->heap), values = mem_idle();
    /* What has gone since is nothing that a pass has failed to move. */
    c->compact_left_slabs = least(c->compact_left_slabs, slabs);
    c->compact_left_values = least(c->compact_left_values, values);
    bool own = s->block_bytes && is_worth(values, data, c->compact_left_values);
    bool called = is_called(c);
    if (!own && !called && !is_worth(slabs, data, c->compact_left_slabs))
        return;
    c->compact_begun_data = data;
    c->compact_begun_slabs = slabs;
    c->compact_begun_values = own || called ? values : 0;
    begin(c, own || called, own);
}

/* What the next pass is to be better than: nothing, where this one was of use. */
static uint64_t left(uint64_t begun, uint64_t idle)
{
    uint64_t part = begun / LEFT_SHARE;
    return idle < begun - part || idle > begun + part ? 0 : idle;
}

/* So much has come or gone during the pass that it says nothing of the next. */
static bool is_other(uint64_t begun, uint64_t data)
{
    uint64_t part = begun / CHANGED_SHARE;
    return data < begun - part || data > begun + part;
}

static void end(struct core *c)
{
    bool other = is_other(c->compact_begun_data, shard_data(&c->shard));
    mem_move_end(&c->moving);
    c->compacting = false;
    c->compact_left_slabs =
        other ? 0 : left(c->compact_begun_slabs, heap_idle(&c->shard.heap));
    if (!c->compact_left_slabs)
        c->compact_looked_us = 0; /* more may be to gain at once */
    if (!c->compact_begun_values)
        return;
    c->compact_left_values = other ? 0 : left(c->compact_begun_values, mem_idle());
    c->compact_seen_ended +=
        atomic_fetch_add_explicit(&server->compaction->ended, 1, memory_order_relaxed) ==
        c->compact_seen_ended;
}

void compact_slice(struct core *c)
{
    int64_t start_us = monotonic_us(), now_us = start_us;
    assert(!c->inner && !c->serving);
    if (!may_compact(c)) {
        c->compacting = false; /* until the next cron */
        return;
    }
    mem_move_begin(&c->moving);
    bool more = true;
    while (more && now_us - start_us < SLICE_US) {
        more = compact_step(&c->shard, SLICE_BUCKETS);
        now_us = monotonic_us();
    }
    mem_move_pause(&c->moving);
    latency_note(c, "active-defrag-cycle", now_us - start_us);
    c->compact_used_us += now_us - start_us;
    if (!more)
        end(c);
    else if (c->compact_used_us >= PERIOD_US)
        c->compacting = false;
}

void compact_finish(struct core *c)
{
    mem_move_end(&c->moving);
}
