/* See cron.h. A core wakes ten times a second while it has something to look after, else once. */
#include "server/cron.h"

#include "proto/mem.h"
#include "server/blocked.h"
#include "server/client_memory.h"
#include "server/compact.h"
#include "server/effects.h"
#include "server/latency.h"
#include "server/evict.h"
#include "server/listeners.h"
#include "server/metrics/metrics.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/save.h"
#include "server/server.h"
#include "server/session.h"
#include "server/session_tls.h"
#include "server/tracking.h"

#include <time.h>

#define BUSY_PERIOD_US 100000
#define IDLE_PERIOD_US 1000000
#define SWEEP_BUCKETS 128
/* How long the sweep may hold the loop at a time, and of each period, by effort 1 to 10. */
#define SWEEP_SLICE_US 500
#define SWEEP_SHARE_US_BASE 5000
#define SWEEP_SHARE_US_STEP 2000
/* A sweep's share in the running estimate of what has expired and is still there. */
#define STALE_WEIGHT 0.05
/* How long freeing may hold the loop at a time, and in what steps the clock is looked at. */
#define COLLECT_SLICE_US 500
#define COLLECT_STEP 256
/* Iterations until the ring has let go of the listeners. */
#define STOP_ROUNDS 3
/* Freed since the allocator was last trimmed: so much of data, and such a part of what was held; so
 * much of clients' buffers. */
#define TRIM_DATA_MIN (1u << 20)
#define TRIM_SIZE (32u << 20)
#define TRIM_SHARE 4
/* A clean stop waits so long for slow readers. */
#define STOP_US 5000000

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* What a round of the sweep found, as a part of the running mean: the weight is Redis's. */
static void note_stale(struct core *c, const struct shard_stats *before)
{
    uint64_t stale = c->shard.stats.expired_swept - before->expired_swept;
    uint64_t seen = stale + c->shard.stats.swept_live - before->swept_live;
    if (seen)
        c->stale_share += ((double)stale / (double)seen - c->stale_share) * STALE_WEIGHT;
}

/* Goes on while a good part of what it sees has expired, in slices between iterations. */
static void sweep(struct core *c)
{
    const struct keyspace_options *o = &server->keyspace.options;
    if (!o->active_expire || o->loading || server->cron_paused || c->wall_ms < o->stays_until_ms ||
        !shard_has_expiring(&c->shard)) {
        c->sweeping = false;
        return;
    }
    int64_t share_us = SWEEP_SHARE_US_BASE + SWEEP_SHARE_US_STEP * (o->active_expire_effort - 1);
    int64_t start_us = monotonic_us();
    int64_t now_us = start_us;
    const struct shard_stats before = c->shard.stats;
    bool fruitful = true;
    while (fruitful && now_us - start_us < SWEEP_SLICE_US) {
        uint64_t visited;
        uint64_t removed = shard_sweep(&c->shard, SWEEP_BUCKETS, &visited);
        fruitful = removed * 4 > visited && visited > 0;
        now_us = monotonic_us();
    }
    note_stale(c, &before);
    c->sweep_used_us += now_us - start_us;
    latency_note(c, "expire-cycle", now_us - start_us);
    c->stats.sweep_us += (uint64_t)(now_us - start_us);
    c->sweeping = fruitful && c->sweep_used_us < share_us;
    c->stats.sweeps_cut += fruitful && !c->sweeping;
    if (c->shard.waits.ready_first) {
        blocked_serve(c, &c->shard, NULL);
        c->mesh_backlog = true; /* who was served may be told by a message: no sleep before that */
    }
    if (server->keyspace.options.journal)
        journal_look(c, &c->shard, NULL);
}

static void sample(struct core *c)
{
    uint32_t i = c->stats.sample_index++ % 16;
    c->stats.sample_ms[i] = c->now_us / 1000;
    c->stats.sample_commands[i] = c->stats.commands;
    c->stats.sample_input[i] = c->stats.input_bytes;
    c->stats.sample_output[i] = c->stats.output_bytes;
    c->stats.sample_iterations[i] = c->stats.iterations;
    c->stats.sample_cpu_us[i] = core_cpu_us(c);
}

static void close_idle(struct core *c)
{
    int64_t timeout_ms = server->config.timeout * 1000;
    if (timeout_ms == 0)
        return;
    for (struct session *s = c->sessions; s; s = s->next)
        if (!s->bundle && !s->subscriptions && !s->monitors &&
            c->wall_ms - s->last_active_ms > timeout_ms)
            session_end(c, s, false);
}

/* A client that neither reads nor sends is looked at here: flushing it applies the limit. */
static void check_soft_limits(struct core *c)
{
    for (struct session *s = c->sessions; s && c->over_soft_limit; s = s->next)
        if (s->soft_limit_since_us)
            session_touch(c, s);
}

/* Not at once, or a client that sends long commands would make its parser grow for each. */
static void trim_parsers(struct core *c)
{
    if (!c->parsers_grown)
        return;
    c->parsers_grown = false;
    for (struct session *s = c->sessions; s; s = s->next)
        if (resp_has_grown(&s->parser) && !resp_trim(&s->parser))
            c->parsers_grown = true;
}

static void end_pause(struct core *c)
{
    if (c->held && server->pause_until_ms <= c->wall_ms)
        session_release_held(c);
}

/* The two clocks may part company: each cron looks at the wall clock again. */
void cron_await_pause_end(struct core *c)
{
    int64_t left_ms = server->pause_until_ms - c->wall_ms;
    int64_t wait_us = BUSY_PERIOD_US;
    if (left_ms < BUSY_PERIOD_US / 1000)
        wait_us = left_ms > 0 ? left_ms * 1000 : 0;
    if (c->now_us + wait_us < c->next_cron_us)
        c->next_cron_us = c->now_us + wait_us;
}

/* For INFO's used_memory_peak; and gives back what a large removal has left with the allocator. */
static void note_memory(struct core *c)
{
    struct core_memory m;
    if (server->keyspace.options.limited)
        evict_tell_core(c);
    core_measure(c, &m);
    uint64_t data = m.entries + m.blocks + m.tables;
    if (data > c->data_peak)
        c->data_peak = data;
    if (data > c->trim_mark)
        c->trim_mark = data;
    bool much = c->trim_mark - data >= TRIM_DATA_MIN &&
                c->trim_mark - data >= c->trim_mark / TRIM_SHARE;
    /* While clients are busy with large buffers, the next will want the memory. */
    bool quiet = c->dropped_bytes >= TRIM_SIZE && c->dropped_bytes == c->dropped_seen;
    c->dropped_seen = c->dropped_bytes;
    if (!much && !quiet && !c->trim_asked)
        return;
    c->dropped_bytes = 0;
    c->trim_mark = data;
    c->trim_asked = false;
    compact_trim(c);
}

/* Frees what was put aside, for a little while. */
static void collect(struct core *c)
{
    int64_t end_us = monotonic_us() + COLLECT_SLICE_US;
    while (garbage_collect(&c->shard, COLLECT_STEP) && monotonic_us() < end_us)
        continue;
}

bool cron_in_haste(const struct core *c)
{
    return c->sweeping || c->evicting || c->compacting || c->trimming || c->shard.garbage.first ||
           (c->stop_rounds && c->stop_rounds <= STOP_ROUNDS);
}

/* A client that finds its connection closed and makes another at once is to be refused, not closed
 * again: all cores wait for core 0, which accepts. */
static bool stops_listening(struct core *c)
{
    if (c->index == 0 && !atomic_load(&server->deaf)) {
        listeners_stop(c);
        atomic_store(&server->deaf, true);
        for (uint32_t i = 1; i < server->core_count; i++)
            ring_wake(server->cores[i]->ring);
    }
    return atomic_load(&server->deaf);
}

/* No more is read; whoever is owed nothing goes. */
static void stop(struct core *c)
{
    if (!stops_listening(c))
        return;
    if (!c->stop_deadline_us)
        c->stop_deadline_us = c->now_us + STOP_US;
    bool late = c->now_us >= c->stop_deadline_us;
    for (struct session *s = c->sessions; s; s = s->next)
        session_end(c, s, !late);
    c->stop_rounds++;
    if (!cron_in_haste(c) && !c->drained && !c->sessions && !c->dispatched && journal_is_idle(c)) {
        c->drained = true;
        /* The last to come wakes the others: all look at the count. */
        if (atomic_fetch_add(&server->cores_drained, 1) + 1 == server->core_count)
            for (uint32_t i = 0; i < server->core_count; i++)
                ring_wake(server->cores[i]->ring);
    }
}

bool cron_finished(const struct core *c)
{
    return atomic_load(&server->cores_drained) == server->core_count && !c->sessions;
}

/* Of what was swept or forgotten. */
static void take_effects(struct core *c)
{
    if (!c->shard.events.first)
        return;
    effects_take(c, &c->shard, NULL);
    c->mesh_backlog = true; /* no sleep before they are on their way */
}

static void look_after(struct core *c)
{
    c->sweep_used_us = 0;
    sweep(c);
    c->trimming = tracking_trim(c);
    take_effects(c);
    sample(c);
    note_memory(c);
    compact_look(c);
    close_idle(c);
    check_soft_limits(c);
    trim_parsers(c);
    if (server->client_memory_max)
        client_memory_limit(c, true);
}

void cron_run(struct core *c)
{
    if (__builtin_expect(atomic_load_explicit(&server->stopping, memory_order_relaxed), 0))
        stop(c);
    if (c->sweeping)
        sweep(c);
    if (c->compacting)
        compact_slice(c);
    if (c->trimming)
        c->trimming = tracking_trim(c);
    if (c->shard.garbage.first)
        collect(c);
    take_effects(c);
    blocked_run_timers(c);
    if (__builtin_expect(c->tls.first != NULL, 0))
        session_tls_close_late(c);
    /* Something was done after an idle spell: what it left behind is looked after soon. */
    bool idle = c->next_cron_us > c->now_us + BUSY_PERIOD_US;
    if (idle && c->stats.commands != c->cron_commands)
        c->next_cron_us = c->now_us + BUSY_PERIOD_US;
    metrics_step(c);
    if (c->now_us < c->next_cron_us)
        return;
    atomic_fetch_add_explicit(&c->rounds, 1, memory_order_relaxed);
    atomic_store_explicit(&c->turned_ms, c->now_us / 1000, memory_order_relaxed);
    int64_t began_us = monotonic_us();
    if (!server->cron_paused)
        look_after(c);
    save_cron(c);
    journal_end_sync_waits(c); /* the helper that ends a first base tells nobody */
    if (c->index == 0)
        aof_cron(c);
    end_pause(c);
    bool busy = c->over_soft_limit || c->trim_asked || c->held || c->stop_deadline_us ||
                c->shard.compaction.on || c->trimming_memory || server->config.watchdog_period ||
                c->stats.commands != c->cron_commands || shard_has_expiring(&c->shard);
    c->cron_commands = c->stats.commands;
    c->stats.cron_us += (uint64_t)(monotonic_us() - began_us);
    c->next_cron_us = c->now_us + (busy ? BUSY_PERIOD_US : IDLE_PERIOD_US);
    if (c->held)
        cron_await_pause_end(c);
}
