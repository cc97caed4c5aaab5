/* The core's loop: see core.h. */
#include "server/core.h"

#include <assert.h>
#include <time.h>

#include "proto/mem.h"
#include "server/accept.h"
#include "server/blocked.h"
#include "server/broken.h"
#include "server/bundle.h"
#include "server/client_memory.h"
#include "server/compact.h"
#include "server/serve.h"
#include "server/cron.h"
#include "server/effects.h"
#include "server/evict.h"
#include "server/execute.h"
#include "server/monitor.h"
#include "server/observe.h"
#include "server/owner.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/pubsub.h"
#include "server/script/function_core.h"
#include "server/script/script.h"
#include "server/server.h"
#include "server/session.h"
#include "server/session_table.h"
#include "server/session_tls.h"
#include "server/stand_in.h"
#include "server/tracking.h"

#define RECEIVE_BUFFER_COUNT 64
#define RECEIVE_BUFFER_SIZE 16384
/* Requests hashed and prefetched ahead of the one that runs. */
#define PREFETCH_DEPTH 16
/* A core spins before sleeping only where messages come more often than this, and so long. */
#define SPIN_US 20
#define ARENA_CHUNK_SIZE 32768
/* How long to let a publisher that was preempted go on before looking at its entry again. */
#define HELD_WAIT_US 50
/* The wall clock is read so often; between, it is taken to go on like the monotonic one. */
#define WALL_READ_US 10000
/* A wall clock that goes back by less than this is taken to stand still. */
#define CLOCK_STEP_MS 1000
/* How long to wait at a time for a shard that was borrowed. */
#define CLAIM_WAIT_US 50000

static _Thread_local struct core *this_core;

struct core *core_self(void)
{
    return this_core;
}

/* The arena. */

void *arena_alloc_slow(struct arena *a, size_t size)
{
    size_t cap = size > ARENA_CHUNK_SIZE ? size : ARENA_CHUNK_SIZE;
    struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + cap);
    *chunk = (struct arena_chunk){.cap = cap, .used = size};
    if (a->current)
        a->current->next = chunk;
    else
        a->first = chunk;
    a->current = chunk;
    return chunk->bytes;
}

void arena_shrink(struct arena *a, const void *at, size_t used)
{
    size_t end = (size_t)((const char *)at - a->current->bytes) + used;
    end = (end + 7) & ~(size_t)7;
    assert(end <= a->current->used);
    a->current->used = end;
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk) {
        struct arena_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
}

void arena_reset(struct arena *a)
{
    if (!a->first)
        return;
    free_chunks(a->first->next);
    a->first->next = NULL;
    a->first->used = 0;
    a->current = a->first;
    if (a->first->cap > ARENA_CHUNK_SIZE)
        arena_deinit(a);
}

void arena_cut(struct arena *a, struct arena_mark mark)
{
    if (!mark.chunk) {
        arena_reset(a);
        return;
    }
    free_chunks(mark.chunk->next);
    mark.chunk->next = NULL;
    mark.chunk->used = mark.used;
    a->current = mark.chunk;
}

void arena_deinit(struct arena *a)
{
    free_chunks(a->first);
    *a = (struct arena){0};
}

/* Time. */

static int64_t clock_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void read_clock(struct core *c)
{
    c->now_us = clock_us(CLOCK_MONOTONIC);
    if (c->now_us - c->wall_read_us > WALL_READ_US || !c->wall_read_us) {
        c->wall_read_us = c->now_us;
        c->wall_offset_us = clock_us(CLOCK_REALTIME) - c->now_us;
    }
    int64_t wall_ms = (c->now_us + c->wall_offset_us) / 1000;
    if (wall_ms > c->wall_ms || wall_ms < c->wall_ms - CLOCK_STEP_MS)
        c->wall_ms = wall_ms;
}

static void refresh_time(struct core *c)
{
    read_clock(c);
    core_agree_on_time(c, &c->shard);
}

void core_pass_time(struct core *c, struct shard *shard, struct shard *const *shards)
{
    read_clock(c);
    if (shards)
        core_agree_on_times(c, shards);
    else if (shard)
        core_agree_on_time(c, shard);
}

void core_agree_on_time(struct core *c, struct shard *s)
{
    if (s->now_ms < c->wall_ms || s->now_ms > c->wall_ms + CLOCK_STEP_MS)
        s->now_ms = c->wall_ms;
    else
        c->wall_ms = s->now_ms;
}

void core_agree_on_times(struct core *c, struct shard *const *shards)
{
    int64_t before_ms = c->wall_ms;
    for (uint32_t i = 0; i < server->core_count; i++)
        if (shards[i])
            core_agree_on_time(c, shards[i]);
    for (uint32_t i = 0; i < server->core_count && c->wall_ms != before_ms; i++)
        if (shards[i])
            shards[i]->now_ms = c->wall_ms;
}

int64_t core_clock_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

double core_ticks_per_us(void)
{
    int64_t us = clock_us(CLOCK_MONOTONIC);
    uint64_t ticks = core_ticks();
    while (clock_us(CLOCK_MONOTONIC) - us < 2000)
        ;
    return (double)(core_ticks() - ticks) / (double)(clock_us(CLOCK_MONOTONIC) - us);
}

/* Messages. */

/* A full fence between publishing and looking. The thread sanitizer does not know fences: for it, a
 * read-modify-write of a word that nobody else uses. */
static void core_fence(struct core *c)
{
#ifdef __SANITIZE_THREAD__
    atomic_fetch_add(&c->fence, 1);
#else
    (void)c;
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

void core_wake(struct core *c, uint32_t to)
{
    struct core *other = server->cores[to];
    core_fence(c);
    if (!owner_asleep(&other->owner))
        return;
    c->stats.wakes_sent++;
    ring_wake(other->ring);
}

void core_post(struct core *c, uint32_t to, struct core_message *m)
{
    m->must = c->journal.must; /* to itself, too: serve_take may keep it, or takes it as received */
    if (to == c->index && c->serving)
        serve_take(c, m);
    else if (to == c->index)
        m->receive(m);
    else
        mesh_post(server->mesh, c->index, to, &m->link);
}

void core_receive(struct core *c, struct core_message *m)
{
    if (m->must > c->journal.must)
        c->journal.must = m->must;
    m->receive(m);
}

void core_resume(struct core *c, struct session *s)
{
    if (s->in_resume)
        return;
    s->in_resume = true;
    s->next_resume = c->resume;
    c->resume = s;
}

/* Sees to it that those concerned by what was published act on it: who sleeps is stood in for, or
 * woken. */
static void attend_touched(struct core *c)
{
    for (uint32_t w = 0; w < ORDER_MASK_WORDS; w++) {
        while (c->touched.words[w]) {
            uint32_t to = w * 64 + (uint32_t)__builtin_ctzll(c->touched.words[w]);
            c->touched.words[w] &= c->touched.words[w] - 1;
            if (to != c->index && !stand_in_walk(c, to))
                core_wake(c, to);
        }
    }
}

/* Step 1. */

/* The first event after a sleep: from here on the shard is ours again. But where it was borrowed
 * for a script that takes long: then the events are served as far as that can be without it. */
static void wake_up(struct core *c)
{
    if (!c->asleep || c->locked_out)
        return;
    while (!owner_claim_within(&c->owner, CLAIM_WAIT_US)) {
        if (serve_held(c) != HELD_NOT && serve_lock_out(c))
            return;
    }
    c->asleep = false;
    refresh_time(c);
}

static void on_accepted(void *context, int fd, unsigned tag)
{
    wake_up(context);
    accept_connection(context, fd, tag);
}

static void on_received(void *context, struct conn *conn, const char *data, size_t size)
{
    struct session *s = (struct session *)conn;
    wake_up(context);
    if (__builtin_expect(s->tls != NULL, 0))
        session_tls_received(context, s, data, size);
    else
        session_received(context, s, data, size);
}

static void on_sent(void *context, struct conn *conn, int error)
{
    wake_up(context);
    session_sent(context, (struct session *)conn, error);
}

static void on_closed(void *context, struct conn *conn)
{
    wake_up(context);
    session_closed(context, (struct session *)conn);
}

static const struct ring_handler handler = {on_accepted, on_received, on_sent, on_closed};

static bool has_work(const struct core *c)
{
    return c->resume || c->touched_sessions || c->deferred_first || c->mesh_backlog ||
           c->effects_held || c->kept_first ||
           c->request_count || c->hop_count || cron_in_haste(c) || save_in_haste(c) ||
           load_in_haste(c);
}

static bool others_gave_work(const struct core *c)
{
    return mesh_has_messages(server->mesh, c->index) ||
           order_has_entries(server->order, c->index) || journal_has_news(c);
}

static unsigned sleep_until_event(struct core *c)
{
    int64_t timeout_us = blocked_next_us(c);
    int64_t until_us = timeout_us < c->next_cron_us ? timeout_us : c->next_cron_us;
    int64_t commit_us = journal_next_us(c);
    until_us = until_us < commit_us ? until_us : commit_us;
    int64_t save_us = save_next_us(c);
    until_us = until_us < save_us ? until_us : save_us;
    int64_t lines_us = monitor_next_us(c);
    until_us = until_us < lines_us ? until_us : lines_us;
    int64_t wait_us = until_us - c->now_us;
    if (wait_us <= 0)
        return ring_poll(c->ring, 0);
    c->asleep = true;
    owner_release(&c->owner);
    /* Pairs with core_fence in core_wake: either we see its work here, or it sees us asleep. */
    core_fence(c);
    bool sleeps = !others_gave_work(c);
    unsigned events = ring_poll(c->ring, sleeps ? wait_us : 0);
    wake_up(c);
    if (c->locked_out)
        serve_locked_out(c);
    c->stats.sleeps += sleeps; /* now that no borrower reads it for INFO */
    return events;
}

/* Looks around for a short while where messages come often and CPUs are to spare. */
static unsigned spin(struct core *c)
{
    if (!c->spins || c->mesh_gap_us > SPIN_US)
        return 0;
    int64_t end_us = clock_us(CLOCK_MONOTONIC) + SPIN_US;
    unsigned events;
    while ((events = ring_poll(c->ring, 0)) == 0 && !others_gave_work(c))
        if (clock_us(CLOCK_MONOTONIC) >= end_us)
            break;
    return events;
}

static void receive_messages(struct core *c)
{
    struct mesh_message *m = mesh_receive(server->mesh, c->index);
    if (m && c->spins) {
        int64_t gap_us = c->now_us - c->last_message_us;
        c->mesh_gap_us += (gap_us - c->mesh_gap_us) / 8;
        c->last_message_us = c->now_us;
    }
    while (m) {
        struct mesh_message *next = m->next;
        core_receive(c, (struct core_message *)m);
        m = next;
    }
}

static void feed_resumed(struct core *c)
{
    struct session *s = c->resume;
    c->resume = NULL;
    while (s) {
        struct session *next = s->next_resume;
        s->in_resume = false;
        session_resume(c, s);
        session_touch(c, s); /* replies may have waited for more */
        s = next;
    }
}

/* An iteration has come to its end: the clock has just been read. */
static void note_turn(struct core *c)
{
    struct core_stats *st = &c->stats;
    uint64_t us = (uint64_t)(c->now_us - c->turn_began_us);
    uint64_t commands = st->commands - st->turn_commands;
    if (us > st->turn_us_max)
        st->turn_us_max = us;
    if (commands > st->turn_commands_max)
        st->turn_commands_max = commands;
    st->turn_commands = st->commands;
    c->turn_began_us = c->now_us;
}

static void wait_for_event(struct core *c)
{
    refresh_time(c);
    note_turn(c);
    if (spin(c) == 0)
        sleep_until_event(c);
    c->turn_began_us = c->now_us;
}

/* What ring_poll reaps is routed at once; replies that came home let their sessions go on, and
 * those are fed in this step too, so that all of it stands before the order walk. */
static void gather(struct core *c)
{
    bool waits = false;
    if (has_work(c) || mesh_has_messages(server->mesh, c->index))
        ring_poll(c->ring, 0);
    else if (order_has_entries(server->order, c->index))
        ring_poll(c->ring, order_is_held(server->order, c->index) ? HELD_WAIT_US : 0);
    else
        waits = true;
    if (waits)
        wait_for_event(c);
    refresh_time(c);
    if (!waits)
        note_turn(c);
    if (__builtin_expect(c->kept_first != NULL, 0))
        serve_kept(c);
    session_tls_take(c);
    receive_messages(c);
    feed_resumed(c);
    bundle_dispatch_deferred(c);
}

/* Step 2. */

void core_walk(struct core *c)
{
    c->repeat_published = false;
    journal_note_walk(c);
    uint64_t ticket;
    struct bundle *b;
    do {
        attend_touched(c); /* by the entry before too: the next may make us stand still */
        b = order_next(server->order, c->index, &ticket);
        if (b)
            bundle_act(c, &c->shard, b, ticket);
    } while (b);
}

/* Step 3. */

static void prefetch_requests(struct core *c, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        struct request *r = &c->requests[i];
        uint32_t key = r->command && !r->away ? command_first_key(r->command, r->argc) : 0;
        r->hashed = key != 0;
        if (!r->hashed)
            continue;
        r->hash = keyspace_hash(c->shard.keyspace, r->argv[key]);
        shard_prefetch_bucket(&c->shard, r->session->db, r->hash);
    }
    for (uint32_t i = from; i < to; i++)
        if (c->requests[i].hashed)
            shard_prefetch_entry(&c->shard, c->requests[i].session->db, c->requests[i].hash);
}

static void run_gathered(struct core *c)
{
    execute_start_clock(c);
    for (uint32_t i = 0, fetched = 0; i < c->request_count;) {
        if (i >= fetched) {
            fetched = i + PREFETCH_DEPTH < c->request_count ? i + PREFETCH_DEPTH : c->request_count;
            prefetch_requests(c, i, fetched);
        }
        const uint32_t count = request_span(&c->requests[i]);
        c->request_next = i + count;
        session_run(c, &c->requests[i]);
        i += count;
        if (__builtin_expect(c->repeat_published, 0))
            core_walk(c);
    }
    c->request_count = c->request_next = 0;
    for (uint32_t i = 0; i < c->hop_count; i++) {
        c->hop_next = i + 1;
        bundle_run_hop(c, &c->shard, c->hops[i]);
    }
    c->hop_count = c->hop_next = 0;
}

/* Step 4. */

static void on_handed(void *context, uint32_t to)
{
    core_wake(context, to);
}

/* Those who were given something while they slept, by whoever held their shards: they are stood in
 * for once more, or woken. */
static void wake_receivers(struct core *c)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(&c->waking, i) && !stand_in_deliver(c, i))
            core_wake(c, i);
    c->waking = (struct core_mask){0};
}

static void flush(struct core *c)
{
    c->stats.iterations++;
    stand_in_send_outgoing(c); /* before the effects: what it runs has some, too */
    if (__builtin_expect(!effects_flush(c), 0)) {
        arena_reset(&c->arena);
        c->effects_held = true;
        return;
    }
    c->effects_held = false;
    pubsub_deliver(c);
    tracking_deliver(c);
    if (monitor_has_lines(c))
        monitor_deliver(c);
    if (__builtin_expect(c->tells, 0)) {
        c->tells = false;
        mesh_flush(server->mesh, c->index, on_handed, c);
    }
    if (__builtin_expect(!core_mask_empty(&c->waking), 0))
        wake_receivers(c);
    struct session *s = c->touched_sessions;
    c->touched_sessions = NULL;
    while (s) {
        struct session *next = s->next_touched;
        s->in_touched = false;
        session_flush(c, s);
        s = next;
    }
    if (__builtin_expect(server->client_memory_max != 0, 0))
        client_memory_limit(c, false);
    c->mesh_backlog = mesh_flush(server->mesh, c->index, on_handed, c);
    arena_reset(&c->arena);
}

/* A commit that everybody waits for: meanwhile this core is taken to be asleep. */
static void write_journal(struct core *c)
{
    ring_submit(c->ring);
    c->asleep = true;
    owner_release(&c->owner);
    int64_t began_us = clock_us(CLOCK_MONOTONIC);
    journal_write_now(c);
    int64_t us = clock_us(CLOCK_MONOTONIC) - began_us;
    wake_up(c);
    c->stats.aof_us += (uint64_t)us;
    if (c->locked_out)
        serve_locked_out(c);
}

/* Last, so that no reply waits for it. */
static void sweep(struct core *c)
{
    ring_submit(c->ring);
    save_sweep(c);
}

/* The whole. */

struct core *core_create(uint32_t index)
{
    struct core *c = mem_alloc_aligned(sizeof(*c), 64);
    memset(c, 0, sizeof(*c));
    c->index = index;
    c->script_random = script_random_start(index);
    c->journal.ticket = JOURNAL_NO_TICKET;
    c->batch = mem_alloc(BUNDLE_ITEMS_MAX * sizeof(*c->batch));
    c->command_stats = mem_alloc_zeroed(registry_count(server->registry) *
                                        sizeof(*c->command_stats));
    buf_init(&c->scratch);
    pthread_mutex_init(&c->serve_mutex, NULL);
    session_table_init(c);
    c->client_memory = client_memory_create();
    return c;
}

void core_destroy(struct core *c)
{
    while (c->pool_count)
        buf_deinit(&c->pool[--c->pool_count]);
    buf_deinit(&c->scratch);
    arena_deinit(&c->arena);
    session_table_deinit(c);
    client_memory_destroy(c->client_memory);
    mem_free(c->timers);
    mem_free(c->requests);
    mem_free(c->hops);
    mem_free(c->batch);
    mem_free(c->command_stats);
    pthread_mutex_destroy(&c->serve_mutex);
    mem_free(c);
}

uint64_t core_cpu_us(const struct core *c)
{
    return (uint64_t)clock_us(c->cpu_clock);
}

void core_measure(const struct core *c, struct core_memory *m)
{
    const struct shard *s = &c->shard;
    *m = (struct core_memory){
        .entries = s->heap.used_bytes,
        .blocks = s->block_bytes + s->garbage.bytes,
        .tables = shard_table_bytes(s),
    };
    if (s->heap.held_bytes > s->heap.used_bytes)
        m->slack = s->heap.held_bytes - s->heap.used_bytes;
    m->fixed = sizeof(*c) + BUNDLE_ITEMS_MAX * sizeof(*c->batch) + c->scratch.cap +
               registry_count(server->registry) * sizeof(*c->command_stats) +
               c->request_cap * sizeof(*c->requests) + c->hop_cap * sizeof(*c->hops) +
               s->keyspace->db_count * sizeof(*s->dbs);
    m->fixed += pubsub_core_memory(c);
    m->scripts = script_core_memory(c);
    m->functions = function_core_memory(c);
    m->fixed += m->scripts + m->functions;
    for (uint32_t i = 0; i < c->pool_count; i++)
        m->slack += c->pool[i].cap; /* free room, as in the allocator's pages */
    for (const struct arena_chunk *chunk = c->arena.first; chunk; chunk = chunk->next)
        m->fixed += sizeof(*chunk) + chunk->cap;
}

bool core_start(struct core *c, uint64_t seed, bool spins)
{
    this_core = c;
    c->spins = spins;
    c->mesh_gap_us = 1000;
    shard_init(&c->shard, c->index, &server->keyspace, seed);
    refresh_time(c);
    c->turn_began_us = c->now_us;
    pthread_getcpuclockid(pthread_self(), &c->cpu_clock);
    struct core_memory m;
    core_measure(c, &m);
    c->startup_bytes = m.fixed;
    struct ring_options options = {
        .backend = (enum ring_backend)server->backend,
        .handler = &handler,
        .context = c,
        .buffer_count = RECEIVE_BUFFER_COUNT,
        .buffer_size = RECEIVE_BUFFER_SIZE,
    };
    c->ring = ring_create(&options);
    return c->ring != NULL;
}

void core_run(struct core *c)
{
    while (!cron_finished(c)) {
        if (broken(BROKEN_WALK_BEFORE_GATHER))
            core_walk(c);
        gather(c);
        if (!broken(BROKEN_WALK_BEFORE_GATHER))
            core_walk(c);
        load_step(c);
        run_gathered(c);
        save_step(c);
        journal_step(c);
        if (__builtin_expect(server->keyspace.options.limited, 0))
            evict_step(c);
        flush(c);
        cron_run(c);
        if (__builtin_expect(c->journal.writes, 0))
            write_journal(c);
        if (__builtin_expect(c->saving, 0))
            sweep(c);
    }
}

void core_finish(struct core *c)
{
    save_core_finish(c);
    observe_finish(c);
    effects_finish(c);
    pubsub_finish(c);
    tracking_finish(c);
    script_core_finish(c);
    function_core_finish(c);
    journal_core_finish(c);
    compact_finish(c);
    ring_destroy(c->ring);
    shard_deinit(&c->shard);
    this_core = NULL;
}
