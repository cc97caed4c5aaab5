/* Following and keeping the limit on memory: see evict.h. */
#include "server/evict.h"

#include <math.h>
#include <time.h>

#include "proto/mem.h"
#include "server/client_memory.h"
#include "server/effects.h"
#include "server/latency.h"
#include "server/owner.h"
#include "server/persist/journal.h"
#include "server/session.h"
#include "server/write_fault.h"

/* All shards together may keep back such a part of the limit, but each so much at least and at
 * most. */
#define STEP_SHARE 1024
#define STEP_MIN 512
#define STEP_MAX (UINT64_C(64) << 10)
/* Beyond the limit a shard evicts whatever it has; until there it waits for better candidates of
 * others. */
#define MARGIN_SHARE 128
#define MARGIN_MAX (UINT64_C(8) << 20)
/* How long a core's iteration evicts at a time. */
#define SLICE_US 500
/* Evictions between looks at the clock, after which what was done is told as well. */
#define CLOCK_EVERY 8
/* What a shard said of its candidates holds for so long; before OOM is said, for so long. */
#define LOOK_US 10000
#define SURE_US 2000
#define WAIT_NS 20000
/* For an awake core with better candidates one waits so long at most: it may be kept by a command,
 * and whoever waits serves nobody. */
#define WAIT_MAX_US 10000
/* Allocations freed in one step of what is put aside. */
#define COLLECT_STEP 256
/* From an idle core's own shard on, so many evictions while another's is borrowed. */
#define BORROW_EVICTIONS 8
/* tenacity: so long for each step up to 10, then by such a factor, as Redis documents it. */
#define TENACITY_US 50
#define TENACITY_LINEAR 10
#define TENACITY_FACTOR 1.15
#define TENACITY_MAX 100

static struct evict *state(void)
{
    return server->evict;
}

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- What is used --- */

/* The sum of what counts; exact as the invariants say, and only where maxmemory is set. */
static uint64_t used_now(void)
{
    return atomic_load_explicit(&state()->used, memory_order_relaxed);
}

static bool is_over(void)
{
    return atomic_load(&state()->used) > state()->limit && state()->limit;
}

static bool is_far_over(void)
{
    return used_now() > state()->limit + state()->margin;
}

static void end_exceeding(void)
{
    struct evict *e = state();
    int64_t since = atomic_exchange(&e->exceeded_since_us, 0);
    if (since)
        atomic_fetch_add(&e->exceeded_us, (uint64_t)(monotonic_us() - since));
}

/* Sets or clears the bit by what is used now. A change of `used` that comes between a look and the
 * bit's change is seen by the second look, or has its own mark behind it. */
static void mark(void)
{
    for (;;) {
        bool over = is_over();
        uint32_t faults = atomic_load(&server->write_faults);
        if (over == ((faults & WRITE_FAULT_MEMORY) != 0))
            return;
        if (over) {
            atomic_fetch_or(&server->write_faults, WRITE_FAULT_MEMORY);
        } else {
            atomic_fetch_and(&server->write_faults, ~(WRITE_FAULT_MEMORY | WRITE_FAULT_OOM));
            end_exceeding();
        }
    }
}

static void add(uint64_t difference)
{
    if (!difference)
        return;
    atomic_fetch_add(&state()->used, difference);
    mark();
}

/* By whoever holds the shard. */
static void tell(struct shard *s)
{
    uint64_t bytes = shard_bytes(s), before = s->told_bytes;
    s->told_data = shard_data(s);
    s->told_bytes = bytes;
    add(bytes - before);
}

static inline void look_at(struct shard *s)
{
    uint64_t step = state()->step;
    if (shard_data(s) - s->told_data + step > 2 * step)
        tell(s);
}

void evict_look(struct shard *shard, struct shard *const *shards)
{
    if (shard)
        look_at(shard);
    for (uint32_t i = 0; !shard && shards && i < server->core_count; i++)
        if (shards[i])
            look_at(shards[i]);
}

void evict_tell_core(struct core *c)
{
    struct core_memory m;
    core_measure(c, &m);
    uint64_t now = m.fixed + client_memory_lasting(c), before = c->told_other;
    /* Only what stays: evictions make invalidation messages, which may take more than the keys that
     * have gone. If those counted before they are sent, they would make further keys go. */
    uint64_t other = now < c->measured_other ? now : c->measured_other;
    c->measured_other = now;
    c->told_other = other;
    add(other - before);
}

/* --- Options --- */

struct evict *evict_create(uint32_t shard_count)
{
    struct evict *e = mem_alloc_aligned(sizeof(*e), 64);
    memset(e, 0, sizeof(*e));
    e->shards = mem_alloc_aligned(shard_count * sizeof(*e->shards), 64);
    memset(e->shards, 0, shard_count * sizeof(*e->shards));
    return e;
}

void evict_destroy(struct evict *e)
{
    mem_free(e->shards);
    mem_free(e);
}

static uint64_t at_most(uint64_t n, uint64_t max)
{
    return n < max ? n : max;
}

static int64_t budget_of(int64_t tenacity)
{
    if (tenacity >= TENACITY_MAX)
        return INT64_MAX / 2;
    if (tenacity <= TENACITY_LINEAR)
        return TENACITY_US * tenacity;
    return (int64_t)(TENACITY_US * TENACITY_LINEAR *
                     pow(TENACITY_FACTOR, (double)(tenacity - TENACITY_LINEAR)));
}

static void warn(uint64_t limit)
{
    uint64_t used = used_now();
    if (used > limit)
        log_write(&server->log, LOG_WARNING,
                  "WARNING: the new maxmemory value set via CONFIG SET (%llu) is smaller than the "
                  "current memory usage (%llu). This will result in key eviction and/or the "
                  "inability to accept new write commands depending on the maxmemory-policy.",
                  (unsigned long long)limit, (unsigned long long)used);
}

void evict_apply_config(void)
{
    struct evict *e = state();
    const struct config *config = &server->config;
    uint64_t before = e->limit;
    e->limit = (uint64_t)config->maxmemory;
    e->margin = at_most(e->limit / MARGIN_SHARE, MARGIN_MAX);
    e->step = at_most(e->limit / STEP_SHARE / server->core_count, STEP_MAX);
    e->step = e->step < STEP_MIN ? STEP_MIN : e->step;
    e->budget_us = budget_of(config->maxmemory_eviction_tenacity);
    for (uint32_t i = 0; i < server->core_count; i++) {
        atomic_store(&e->shards[i].best, EVICT_SCORE_UNSEEN);
        atomic_store(&e->shards[i].looked_us, 0);
        struct core *c = server->cores[i];
        c->evicting = false; /* without a limit no evict_step will say so */
        if (e->limit && c->ring) {
            tell(&c->shard);
            c->measured_other = UINT64_MAX;
            evict_tell_core(c);
        }
    }
    mark();
    if (e->limit && e->limit != before)
        warn(e->limit);
}

void evict_exceeded(int64_t now_us, uint64_t *total_us, uint64_t *current_us)
{
    struct evict *e = state();
    int64_t since = atomic_load(&e->exceeded_since_us);
    *current_us = since && now_us > since ? (uint64_t)(now_us - since) : 0;
    *total_us = atomic_load(&e->exceeded_us) + *current_us;
}

void evict_reset_stats(void)
{
    atomic_store(&state()->exceeded_since_us, 0);
    atomic_store(&state()->exceeded_us, 0);
}

/* --- Who evicts --- */

/* How an attempt to free memory ended. */
enum evict_end {
    EVICT_OK,      /* within the limit; or nothing may be evicted now, and nothing refused */
    EVICT_RUNNING, /* over it, and it is being freed */
    EVICT_FAIL,    /* over it, and there is nothing to evict */
};

/* One attempt. */
struct attempt {
    struct core *core;
    struct shard *shard; /* at hand */
    bool alone;          /* no other may be touched, nor waited for */
    int64_t start_us, end_us;
    uint32_t freed;      /* steps that have freed something */
};

/* What one step of it has come to. */
enum step {
    STEP_FREED,
    STEP_OTHERS,  /* an awake core has better candidates, or may have some */
    STEP_NOTHING,
};

static const struct evict_shard *told(uint32_t index)
{
    return &state()->shards[index];
}

static uint64_t best_of(uint32_t index)
{
    return atomic_load_explicit(&told(index)->best, memory_order_relaxed);
}

/* Looks at the shard's candidates, and says what it has. */
static uint64_t look(struct shard *s, int64_t now_us)
{
    struct evict_shard *e = &state()->shards[s->index];
    uint64_t best = evict_best(s);
    atomic_store_explicit(&e->best, best, memory_order_relaxed);
    atomic_store_explicit(&e->count, evict_count(s), memory_order_relaxed);
    atomic_store_explicit(&e->looked_us, now_us, memory_order_relaxed);
    return best;
}

static bool looked_since(uint32_t index, int64_t us)
{
    return atomic_load_explicit(&told(index)->looked_us, memory_order_relaxed) >= us;
}

/* Another core's shard, where that sleeps. Its log is not walked: an eviction may stand anywhere in
 * the serial order, so it stands where the shard is. NULL: it is not to be had. */
static struct shard *borrow(const struct attempt *a, uint32_t index)
{
    struct core *other = server->cores[index];
    if (index == a->core->index)
        return &other->shard;
    if (!owner_borrow(&other->owner))
        return NULL;
    core_agree_on_time(a->core, &other->shard);
    return &other->shard;
}

static void give_back(const struct attempt *a, struct shard *s)
{
    effects_look(a->core, s, NULL);
    effects_settle(a->core);
    if (s->index == a->core->index)
        return;
    a->core->stats.borrows++;
    owner_return(&server->cores[s->index]->owner);
}

/* Looks for shards whose cores sleep, where it was last done before `since_us`. */
static void look_around(const struct attempt *a, int64_t since_us, int64_t now_us)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (i == a->shard->index || looked_since(i, since_us))
            continue;
        struct shard *s = borrow(a, i);
        if (!s)
            continue;
        look(s, now_us);
        if (i != a->core->index)
            owner_return(&server->cores[i]->owner);
    }
}

/* With random policies every key is as good: each shard's turn comes by the number of its keys. */
static uint32_t draw(struct shard *s)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < server->core_count; i++)
        total += atomic_load_explicit(&told(i)->count, memory_order_relaxed);
    uint64_t number = total ? shard_random(s) % total : 0;
    for (uint32_t i = 0; total && i < server->core_count; i++) {
        uint64_t count = atomic_load_explicit(&told(i)->count, memory_order_relaxed);
        if (number < count)
            return i;
        number -= count;
    }
    return s->index;
}

/* The shard that is to be evicted from: the one at hand where its best candidate, `own`, is as good
 * as any. */
static uint32_t choose(struct shard *s, uint64_t own)
{
    uint64_t best = own;
    uint32_t index = s->index;
    if (server->keyspace.options.evict_order == EVICT_AT_RANDOM)
        return draw(s);
    for (uint32_t i = 0; i < server->core_count; i++) {
        uint64_t other = best_of(i);
        if (other > best) {
            best = other;
            index = i;
        }
    }
    return own >= EVICT_SCORE_BASE && best - own <= evict_tolerance(s, best) ? s->index : index;
}

/* --- Freeing --- */

static bool evict_from(struct attempt *a, struct shard *s)
{
    bool times = server->config.latency_monitor_threshold != 0;
    int64_t start_us = times ? monotonic_us() : 0;
    if (!evict_one(s))
        return false;
    if (times)
        latency_note(a->core, "eviction-del", monotonic_us() - start_us);
    tell(s);
    a->freed++;
    return true;
}

/* What was put aside is freed before anything else goes. */
static bool collect(struct attempt *a, struct shard *s)
{
    if (!s->garbage.first)
        return false;
    garbage_collect(s, COLLECT_STEP);
    tell(s);
    a->freed++;
    return true;
}

/* While its candidates are the better ones. */
static bool free_elsewhere(struct attempt *a, uint32_t index)
{
    struct shard *s = borrow(a, index);
    if (!s)
        return false;
    bool freed = collect(a, s);
    for (uint32_t n = 0; n < BORROW_EVICTIONS && is_over() && evict_from(a, s); n++) {
        freed = true;
        if (choose(s, look(s, a->start_us)) != index)
            break;
    }
    look(s, a->start_us);
    give_back(a, s);
    return freed;
}

static bool evict_here(struct attempt *a)
{
    return evict_from(a, a->shard) || evict_count(a->shard) > 0;
}

/* Nobody has said that there is anything to evict: true where all were asked. */
static bool nobody_has(const struct attempt *a)
{
    if (!a->alone)
        look_around(a, INT64_MAX, a->start_us);
    for (uint32_t i = 0; i < server->core_count; i++)
        if (best_of(i) != EVICT_SCORE_NONE || !looked_since(i, a->start_us - SURE_US))
            return false;
    return true;
}

static enum step free_some(struct attempt *a)
{
    struct shard *s = a->shard;
    if (collect(a, s))
        return STEP_FREED;
    if (!a->alone)
        look_around(a, a->start_us - LOOK_US, a->start_us);
    uint64_t own = look(s, a->start_us);
    uint32_t index = choose(s, own);
    if (index != s->index && !a->alone && free_elsewhere(a, index))
        return STEP_FREED;
    if (own && (index == s->index || is_far_over()) && evict_here(a))
        return STEP_FREED;
    return !own && nobody_has(a) ? STEP_NOTHING : STEP_OTHERS;
}

static void wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL);
}

/* Beyond the margin, and where others can go on: while an entry of the order waits for this core,
 * those whose candidates are better may stand still until it has come there. */
static bool may_wait(const struct attempt *a)
{
    if (a->alone || !is_far_over() || order_has_entries(server->order, a->core->index))
        return false;
    int64_t now_us = monotonic_us();
    return now_us < a->end_us && now_us - a->start_us < WAIT_MAX_US;
}

static enum evict_end free_until(struct attempt *a)
{
    for (uint32_t n = 1; is_over(); n++) {
        enum step step = free_some(a);
        if (step == STEP_NOTHING)
            return EVICT_FAIL;
        if (step == STEP_OTHERS) {
            if (!may_wait(a))
                return EVICT_RUNNING;
            wait_a_little();
        }
        if (n % CLOCK_EVERY)
            continue;
        effects_look(a->core, a->shard, NULL);
        if (monotonic_us() >= a->end_us)
            return is_over() ? EVICT_RUNNING : EVICT_OK;
    }
    return EVICT_OK;
}

static bool is_prohibited(const struct core *c)
{
    return c->serving || c->inner || server->keyspace.options.loading ||
           server->pause_until_ms > c->wall_ms;
}

static void note_end(enum evict_end end, bool alone)
{
    int64_t none = 0;
    if (end == EVICT_FAIL && !alone)
        atomic_fetch_or(&server->write_faults, WRITE_FAULT_OOM);
    else if (end == EVICT_RUNNING && !alone)
        atomic_fetch_and(&server->write_faults, ~WRITE_FAULT_OOM);
    if (end != EVICT_OK)
        atomic_compare_exchange_strong(&state()->exceeded_since_us, &none, monotonic_us());
    mark();
}

static enum evict_end attempt(struct attempt *a, int64_t budget_us)
{
    tell(a->shard);
    if (!is_over() || is_prohibited(a->core))
        return EVICT_OK;
    enum evict_end end = EVICT_FAIL;
    if (server->keyspace.options.evict_order != EVICT_NOTHING) {
        a->start_us = monotonic_us();
        a->end_us = a->start_us + budget_us;
        end = free_until(a);
        if (a->freed)
            effects_look(a->core, a->shard, NULL);
        latency_note(a->core, "eviction-cycle", monotonic_us() - a->start_us);
    }
    note_end(end, a->alone);
    return end;
}

/* --- When --- */

bool evict_admit(struct core *c)
{
    /* Asked of each command several times: where nothing has happened since it was of no use, it is
     * of no use. */
    if (c->evict_failed_us == c->now_us && c->evict_failed_at == c->stats.commands && is_over())
        return true;
    struct attempt a = {.core = c, .shard = &c->shard};
    if (attempt(&a, state()->budget_us) != EVICT_FAIL)
        return false;
    c->evict_failed_us = c->now_us;
    c->evict_failed_at = c->stats.commands;
    return true;
}

bool evict_make_room(struct core *c, struct shard *s)
{
    struct attempt a = {.core = c, .shard = s, .alone = true};
    return attempt(&a, state()->budget_us) == EVICT_FAIL &&
           (server->keyspace.options.evict_order == EVICT_NOTHING || write_fault_is_oom());
}

void evict_step(struct core *c)
{
    struct shard *s = &c->shard;
    look_at(s);
    c->evicting = false;
    if (!write_fault_is_memory()) {
        if (used_now() + state()->margin > state()->limit &&
            !looked_since(c->index, c->now_us - LOOK_US))
            look(s, c->now_us);
        return;
    }
    struct attempt a = {.core = c, .shard = s};
    int64_t budget_us = state()->budget_us < SLICE_US ? state()->budget_us : SLICE_US;
    c->evicting = attempt(&a, budget_us) == EVICT_RUNNING && a.freed;
    if (a.freed)
        c->mesh_backlog = true; /* no sleep before what that has caused is on its way */
}
