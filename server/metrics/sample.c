/* How figures come from the cores: see metrics.h.
 *
 * One word a core, core.metrics_asked, hands a copy over and back: set, the core owns `fill` of its
 * slot and nobody else looks at it; clear, the asker does. So neither waits for the other, and
 * neither reads what is half written. */
#include <time.h>

#include "net/ring.h"
#include "proto/mem.h"
#include "server/metrics/inside.h"
#include "server/server.h"
#include "shard/shard.h"

/* How long a look waits for cores that are busy, and in what steps. */
#define WAIT_MS 250
#define STEP_NS 250000
/* Looks that follow each other faster are shown the same figures. */
#define ROUND_MS_MIN 100

const double metrics_bounds[METRICS_BOUNDS] = {
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3,
    2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1,
};

int64_t metrics_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct metrics_core *create_copy(void)
{
    struct metrics_core *x = mem_alloc_zeroed(sizeof(*x));
    x->commands = mem_alloc_zeroed(registry_count(server->registry) * sizeof(*x->commands));
    x->times = mem_alloc_zeroed(registry_count(server->registry) * sizeof(*x->times));
    x->errors = mem_alloc_zeroed(sizeof(server->cores[0]->errors));
    x->dbs = mem_alloc_zeroed(server->keyspace.db_count * sizeof(*x->dbs));
    return x;
}

static void destroy_copy(struct metrics_core *x)
{
    mem_free(x->commands);
    mem_free(x->times);
    mem_free(x->errors);
    mem_free(x->dbs);
    mem_free(x);
}

void metrics_sample_init(struct metrics *m)
{
    m->slots = mem_alloc(server->core_count * sizeof(*m->slots));
    for (uint32_t i = 0; i < server->core_count; i++)
        m->slots[i] = (struct metrics_slot){create_copy(), create_copy()};
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        double high_s = (double)histogram_high(bucket) / server->ticks_per_us / 1e6;
        while (m->class_of[bucket] < METRICS_BOUNDS &&
               high_s > metrics_bounds[m->class_of[bucket]])
            m->class_of[bucket]++;
    }
}

void metrics_sample_deinit(struct metrics *m)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        destroy_copy(m->slots[i].fill);
        destroy_copy(m->slots[i].latest);
    }
    mem_free(m->slots);
}

/* ---- The core's side ---- */

static void copy_dbs(const struct shard *s, struct info_db *to)
{
    for (uint32_t i = 0; i < s->keyspace->db_count; i++)
        to[i] = (struct info_db){i, s->dbs[i].keys.count, s->dbs[i].expiring_count,
                                 s->dbs[i].avg_ttl_ms, table_memory(&s->dbs[i].keys)};
}

/* Buckets are narrow beside the classes: one that lies across a bound counts above it. */
static void copy_times(const struct histogram *h, struct metrics_times *to)
{
    *to = (struct metrics_times){0};
    for (uint32_t i = 0; h && i < HISTOGRAM_BUCKETS; i++)
        to->counts[server->metrics->class_of[i]] += h->counts[i];
}

static void copy_shared(struct metrics_core *x)
{
    x->maxmemory = server->config.maxmemory;
    x->maxclients = server->config.maxclients;
    info_look_at_shared(&x->memory);
    load_report(&x->load);
    journal_report(&x->journal);
    aof_report(&x->aof);
}

void metrics_leave(struct core *c)
{
    /* Pairs with the release in `ask`: the slot's exchange, and that the last copy was read. */
    if (!atomic_load_explicit(&c->metrics_asked, memory_order_acquire))
        return;
    struct metrics_core *x = server->metrics->slots[c->index].fill;
    info_measure(c, &x->info);
    x->info.sessions = info_measure_sessions(c);
    x->info.error_count = c->error_kinds;
    memcpy(x->errors, c->errors, c->error_kinds * sizeof(*c->errors));
    memcpy(x->commands, c->command_stats,
           registry_count(server->registry) * sizeof(*x->commands));
    for (uint32_t i = 0; i < registry_count(server->registry); i++)
        copy_times(c->command_stats[i].times, &x->times[i]);
    copy_dbs(&c->shard, x->dbs);
    if (c->index == 0)
        copy_shared(x);
    x->taken_ms = c->now_us / 1000;
    /* Pairs with the acquire in `take`: the copy is whole. */
    atomic_store_explicit(&c->metrics_asked, false, memory_order_release);
}

/* ---- The asker's side ---- */

static bool is_asked(uint32_t core)
{
    /* Pairs with the release in metrics_leave. */
    return atomic_load_explicit(&server->cores[core]->metrics_asked, memory_order_acquire);
}

/* A core that has not answered the last time is only woken once more. */
static void ask(struct metrics *m)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        /* Pairs with the acquire in metrics_leave. */
        if (!is_asked(i))
            atomic_store_explicit(&server->cores[i]->metrics_asked, true, memory_order_release);
        ring_wake(server->cores[i]->ring);
    }
}

/* Takes the copy of each core that has answered, once. */
static uint32_t take(struct metrics *m)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct metrics_slot *slot = &m->slots[i];
        if (is_asked(i)) {
            missing++;
        } else if (slot->fill->taken_ms > slot->latest->taken_ms) {
            struct metrics_core *x = slot->latest;
            slot->latest = slot->fill;
            slot->fill = x;
        }
    }
    return missing;
}

static void add_up(struct metrics *m)
{
    m->total = (struct info_core){0};
    for (uint32_t i = 0; i < server->core_count; i++)
        info_add_core(&m->total, &m->slots[i].latest->info);
    m->memory = m->slots[0].latest->memory;
    info_look_at_system(&m->memory);
    info_count_memory(&m->total, &m->memory);
}

void metrics_sample(struct metrics *m)
{
    take(m);
    m->now_ms = metrics_now_ms();
    if (m->now_ms - m->asked_ms >= ROUND_MS_MIN || !m->asked_ms) {
        m->asked_ms = m->now_ms;
        ask(m);
        while (take(m) && m->now_ms - m->asked_ms < WAIT_MS) {
            nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
            m->now_ms = metrics_now_ms();
        }
    }
    add_up(m);
}

bool metrics_is_stale(const struct metrics *m, uint32_t core)
{
    return is_asked(core) || !m->slots[core].latest->taken_ms;
}

/* ---- Sums ---- */

struct command_stats *metrics_sum_commands(const struct metrics *m)
{
    uint32_t count = registry_count(server->registry);
    struct command_stats *sums = mem_alloc_zeroed(count * sizeof(*sums));
    for (uint32_t i = 0; i < server->core_count; i++) {
        const struct command_stats *x = m->slots[i].latest->commands;
        for (uint32_t k = 0; k < count; k++) {
            sums[k].calls += x[k].calls;
            sums[k].ticks += x[k].ticks;
            sums[k].rejected += x[k].rejected;
            sums[k].failed += x[k].failed;
        }
    }
    return sums;
}

struct metrics_times metrics_sum_times(const struct metrics *m, uint32_t command)
{
    struct metrics_times sum = {0};
    for (uint32_t i = 0; i < server->core_count; i++)
        for (uint32_t k = 0; k <= METRICS_BOUNDS; k++)
            sum.counts[k] += m->slots[i].latest->times[command].counts[k];
    return sum;
}

static void add_error(struct error_stats *sums, uint32_t *count, const struct error_stats *x)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (strcmp(sums[i].code, x->code) == 0) {
            sums[i].count += x->count;
            return;
        }
    }
    sums[(*count)++] = *x;
}

struct error_stats *metrics_sum_errors(const struct metrics *m, uint32_t *count)
{
    uint32_t all = 0;
    for (uint32_t i = 0; i < server->core_count; i++)
        all += m->slots[i].latest->info.error_count;
    struct error_stats *sums = mem_alloc(all * sizeof(*sums));
    *count = 0;
    for (uint32_t i = 0; i < server->core_count; i++)
        for (uint32_t k = 0; k < m->slots[i].latest->info.error_count; k++)
            add_error(sums, count, &m->slots[i].latest->errors[k]);
    return sums;
}

struct info_db metrics_sum_db(const struct metrics *m, uint32_t db)
{
    struct info_db sum = {.db = db};
    for (uint32_t i = 0; i < server->core_count; i++) {
        sum.keys += m->slots[i].latest->dbs[db].keys;
        sum.expiring += m->slots[i].latest->dbs[db].expiring;
    }
    return sum;
}
