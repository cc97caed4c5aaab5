/* /metrics: the figures by name. Names are Prometheus': base units, _total where it counts. A
 * figure that there is for each shard has no sum of its own beside it: sum() makes that. */
#include <stdio.h>
#include <sys/resource.h>

#include "net/ring.h"
#include "proto/mem.h"
#include "server/metrics/inside.h"
#include "server/metrics/prometheus.h"
#include "server/persist/save.h"
#include "server/server.h"

#define COUNTER "counter"
#define GAUGE "gauge"

static void put(struct prometheus *p, const char *name, const char *type, double value,
                const char *help)
{
    prometheus_begin(p, name, type, help);
    prometheus_put(p, value);
}

static void put_server(struct prometheus *p, const struct metrics *m)
{
    prometheus_begin(p, "lasca_build_info", GAUGE, "Always 1; its labels say what runs.");
    buf_printf(p->to,
               "lasca_build_info{version=\"%s\",redis_version=\"%s\",io_backend=\"%s\","
               "allocator=\"%s\"} 1\n",
               LASCA_VERSION, SERVER_REDIS_VERSION,
               server->backend == RING_URING ? "io_uring" : "epoll", m->memory.allocator);
    put(p, "lasca_start_time_seconds", GAUGE, (double)server->started_ms / 1000,
        "When the server started, seconds since 1970.");
    put(p, "lasca_shards", GAUGE, server->core_count, "Shards, each with a core of its own.");
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    prometheus_begin(p, "lasca_cpu_seconds_total", COUNTER, "CPU time of the process.");
    prometheus_put_labelled(p, "mode", "user",
                            (double)own.ru_utime.tv_sec + (double)own.ru_utime.tv_usec / 1e6);
    prometheus_put_labelled(p, "mode", "system",
                            (double)own.ru_stime.tv_sec + (double)own.ru_stime.tv_usec / 1e6);
}

static void put_clients(struct prometheus *p, const struct metrics *m)
{
    const struct info_core *t = &m->total;
    put(p, "lasca_connected_clients", GAUGE, (double)t->sessions.count, "Clients connected.");
    put(p, "lasca_blocked_clients", GAUGE, (double)t->sessions.blocked,
        "Clients that wait in a command that blocks, or are held by CLIENT PAUSE.");
    put(p, "lasca_tracking_clients", GAUGE, (double)t->tracking,
        "Clients with client-side caching on.");
    put(p, "lasca_max_clients", GAUGE, (double)m->slots[0].latest->maxclients,
        "How many may be connected: maxclients.");
    put(p, "lasca_connections_accepted_total", COUNTER,
        (double)atomic_load_explicit(&server->accepted_count, memory_order_relaxed),
        "Connections accepted.");
    put(p, "lasca_connections_rejected_total", COUNTER,
        (double)atomic_load_explicit(&server->rejected_count, memory_order_relaxed),
        "Connections refused: maxclients, protected mode.");
    prometheus_begin(p, "lasca_clients_closed_total", COUNTER,
                     "Clients that were disconnected for a limit.");
    prometheus_put_labelled(p, "limit", "query_buffer", (double)t->stats.query_limit_closed);
    prometheus_put_labelled(p, "limit", "output_buffer", (double)t->stats.output_limit_closed);
    prometheus_put_labelled(p, "limit", "clients_memory", (double)t->stats.evicted_clients);
    put(p, "lasca_auth_failures_total", COUNTER, (double)t->stats.auth_failures,
        "Passwords that were wrong.");
    put(p, "lasca_network_input_bytes_total", COUNTER, (double)t->stats.input_bytes,
        "Bytes received from clients.");
    put(p, "lasca_network_output_bytes_total", COUNTER, (double)t->stats.output_bytes,
        "Bytes sent to clients.");
}

static void put_memory(struct prometheus *p, const struct metrics *m)
{
    const struct info_memory_report *r = &m->memory;
    put(p, "lasca_memory_used_bytes", GAUGE, (double)r->used, "Memory in use, as INFO counts it.");
    put(p, "lasca_memory_peak_bytes", GAUGE, (double)r->peak, "The most that was in use.");
    put(p, "lasca_memory_dataset_bytes", GAUGE, (double)r->dataset, "Keys and values.");
    put(p, "lasca_memory_clients_bytes", GAUGE, (double)r->clients, "Clients' buffers.");
    put(p, "lasca_memory_resident_bytes", GAUGE, (double)r->rss, "Resident set size.");
    put(p, "lasca_memory_committed_bytes", GAUGE, (double)r->committed,
        "What the allocator may touch.");
    put(p, "lasca_memory_max_bytes", GAUGE, (double)m->slots[0].latest->maxmemory,
        "The limit, maxmemory; 0: none.");
    put(p, "lasca_lazyfree_pending_objects", GAUGE, (double)m->total.garbage,
        "Values and databases that are being freed.");
}

static void put_save(struct prometheus *p, const struct metrics *m)
{
    struct save_report r;
    save_report(&r);
    uint64_t changes = m->total.shard.changes;
    changes = changes > r.changes_saved ? changes - r.changes_saved : 0;
    put(p, "lasca_rdb_changes_since_last_save", GAUGE, (double)changes,
        "Changes that the last good snapshot lacks.");
    put(p, "lasca_rdb_last_save_timestamp_seconds", GAUGE, (double)r.last_save_s,
        "When that was made, seconds since 1970.");
    put(p, "lasca_rdb_last_save_success", GAUGE, r.last_ok,
        "1 where the last snapshot was written.");
    put(p, "lasca_rdb_saves_total", COUNTER, (double)r.saves, "Snapshots written.");
    prometheus_begin(p, "lasca_save_in_progress", GAUGE, "1 while a file is being written.");
    prometheus_put_labelled(p, "kind", "rdb", r.in_progress && r.kind == SAVE_RDB);
    prometheus_put_labelled(p, "kind", "aof_base", r.in_progress && r.kind == SAVE_AOF_BASE);
    put(p, "lasca_save_memory_bytes", GAUGE, (double)r.memory, "What it holds beside the data.");
}

static void put_persistence(struct prometheus *p, const struct metrics *m)
{
    const struct metrics_core *x = m->slots[0].latest;
    uint32_t faults = atomic_load_explicit(&server->write_faults, memory_order_relaxed);
    put(p, "lasca_loading", GAUGE, x->load.loading, "1 while the dataset is being loaded.");
    put_save(p, m);
    put(p, "lasca_aof_enabled", GAUGE, x->aof.enabled, "1 where there is an append-only file.");
    put(p, "lasca_aof_last_write_success", GAUGE, x->journal.last_write_ok,
        "1 where the last write to it succeeded.");
    put(p, "lasca_aof_current_size_bytes", GAUGE, (double)x->aof.current_size, "Its files' size.");
    put(p, "lasca_aof_base_size_bytes", GAUGE, (double)x->aof.base_size,
        "That size after the last rewrite, or at the start.");
    put(p, "lasca_aof_buffer_bytes", GAUGE, (double)x->journal.buffered,
        "What is still to be written to it.");
    put(p, "lasca_aof_rewrites_total", COUNTER, (double)x->aof.rewrites, "Rewrites of it.");
    put(p, "lasca_aof_rewrite_in_progress", GAUGE, x->aof.rewriting, "1 during one.");
    put(p, "lasca_aof_delayed_fsyncs_total", COUNTER, (double)x->journal.delayed_fsync,
        "Syncs that a write had to wait for.");
    prometheus_begin(p, "lasca_writes_refused", GAUGE,
                     "1 while commands that write get MISCONF, OOM (memory) or NOREPLICAS "
                     "(replicas: min-replicas-to-write), and why.");
    prometheus_put_labelled(p, "reason", "snapshot", (faults & WRITE_FAULT_SAVE) != 0);
    prometheus_put_labelled(p, "reason", "append_only_file", (faults & WRITE_FAULT_AOF) != 0);
    prometheus_put_labelled(p, "reason", "memory", (faults & WRITE_FAULT_OOM) != 0);
    prometheus_put_labelled(p, "reason", "replicas", (faults & WRITE_FAULT_REPLICAS) != 0);
}

/* ---- Shards ---- */

struct shard_metric {
    const char *name, *type, *help;
    double (*value)(const struct metrics *m, uint32_t i);
};

static const struct info_core *at(const struct metrics *m, uint32_t i)
{
    return &m->slots[i].latest->info;
}

#define OF_SHARD(name, expression) \
    static double name(const struct metrics *m, uint32_t i) \
    { \
        const struct info_core *x = at(m, i); \
        return (double)(expression); \
    }

OF_SHARD(shard_keys, x->keys)
OF_SHARD(shard_expiring, x->expiring)
OF_SHARD(shard_memory, x->memory.entries + x->memory.blocks + x->memory.tables)
OF_SHARD(shard_slack, x->memory.slack)
OF_SHARD(shard_sessions, x->sessions.count)
OF_SHARD(shard_commands, x->stats.commands)
OF_SHARD(shard_hops_sent, x->stats.hops_sent)
OF_SHARD(shard_hops_received, x->stats.hops_received)
OF_SHARD(shard_splits, x->stats.splits)
OF_SHARD(shard_crosses, x->stats.crosses)
OF_SHARD(shard_borrows, x->stats.borrows)
OF_SHARD(shard_turns, x->stats.iterations)
OF_SHARD(shard_sleeps, x->stats.sleeps)
OF_SHARD(shard_wakes, x->stats.wakes_sent)
OF_SHARD(shard_busy, (double)x->cpu_us / 1e6)
OF_SHARD(shard_command_seconds, (double)x->command_us / 1e6)
OF_SHARD(shard_mesh_depth, x->mesh_depth)
OF_SHARD(shard_order_depth, x->order_depth)
OF_SHARD(shard_hits, x->shard.hits)
OF_SHARD(shard_misses, x->shard.misses)
OF_SHARD(shard_expired, x->shard.expired)
OF_SHARD(shard_evicted, x->shard.evicted)

static double shard_stale(const struct metrics *m, uint32_t i)
{
    return metrics_is_stale(m, i);
}

static double shard_age(const struct metrics *m, uint32_t i)
{
    int64_t taken_ms = m->slots[i].latest->taken_ms;
    return taken_ms && m->now_ms > taken_ms ? (double)(m->now_ms - taken_ms) / 1000 : 0;
}

static const struct shard_metric shard_metrics[] = {
    {"lasca_shard_keys", GAUGE, "Keys, in all databases.", shard_keys},
    {"lasca_shard_expiring_keys", GAUGE, "Keys that have an expiry.", shard_expiring},
    {"lasca_shard_memory_bytes", GAUGE, "Keys, values and their tables.", shard_memory},
    {"lasca_shard_slack_bytes", GAUGE, "Free room in the pages that keys are in.", shard_slack},
    {"lasca_shard_clients", GAUGE, "Clients whose home is this core.", shard_sessions},
    {"lasca_shard_commands_total", COUNTER,
     "Commands that this core has run or put together; those run for a sleeping core too.",
     shard_commands},
    {"lasca_shard_hops_sent_total", COUNTER, "Requests sent to the core of another shard.",
     shard_hops_sent},
    {"lasca_shard_hops_received_total", COUNTER, "Requests that came from another core.",
     shard_hops_received},
    {"lasca_shard_splits_total", COUNTER, "Dispatches with parts on several shards.",
     shard_splits},
    {"lasca_shard_crosses_total", COUNTER,
     "Transactions that made the shards concerned wait for each other.", shard_crosses},
    {"lasca_shard_borrows_total", COUNTER, "Times that it did a sleeping core's work.",
     shard_borrows},
    {"lasca_shard_turns_total", COUNTER, "Turns of the core's loop.", shard_turns},
    {"lasca_shard_sleeps_total", COUNTER, "Times that it had nothing to do.", shard_sleeps},
    {"lasca_shard_wakes_total", COUNTER, "Times that it woke another core.", shard_wakes},
    {"lasca_shard_busy_seconds_total", COUNTER,
     "CPU time of the core's thread: its rate is the share of a CPU that it takes.", shard_busy},
    {"lasca_shard_command_seconds_total", COUNTER, "Time that it spent in commands.",
     shard_command_seconds},
    {"lasca_shard_queue_depth", GAUGE, "Batches of messages that wait for the core.",
     shard_mesh_depth},
    {"lasca_shard_order_backlog", GAUGE, "Entries of the order log that it has not passed.",
     shard_order_depth},
    {"lasca_shard_keyspace_hits_total", COUNTER, "Look-ups that found their key.", shard_hits},
    {"lasca_shard_keyspace_misses_total", COUNTER, "Look-ups that did not.", shard_misses},
    {"lasca_shard_expired_keys_total", COUNTER, "Keys removed because their time had come.",
     shard_expired},
    {"lasca_shard_evicted_keys_total", COUNTER, "Keys removed because memory was short.",
     shard_evicted},
    {"lasca_shard_sample_stale", GAUGE,
     "1 where the core was too busy to answer: its figures are older.", shard_stale},
    {"lasca_shard_sample_age_seconds", GAUGE, "How old its figures are.", shard_age},
};

static void put_shards(struct prometheus *p, const struct metrics *m)
{
    for (size_t k = 0; k < sizeof(shard_metrics) / sizeof(shard_metrics[0]); k++) {
        const struct shard_metric *s = &shard_metrics[k];
        prometheus_begin(p, s->name, s->type, s->help);
        for (uint32_t i = 0; i < server->core_count; i++) {
            char number[16];
            snprintf(number, sizeof(number), "%u", i);
            prometheus_put_labelled(p, "shard", number, s->value(m, i));
        }
    }
}

/* ---- Commands, errors, databases ---- */

static void put_command_metric(struct prometheus *p, const struct command_stats *sums,
                               size_t offset, double scale)
{
    for (uint32_t i = 0; i < registry_count(server->registry); i++) {
        const struct command_stats *st = &sums[i];
        uint64_t value;
        memcpy(&value, (const char *)st + offset, sizeof(value));
        if (st->calls || st->rejected || st->failed)
            prometheus_put_labelled(p, "command", registry_at(server->registry, i)->full_name,
                                    (double)value * scale);
    }
}

/* What latency-tracking has noted. */
static void put_times(struct prometheus *p, const struct metrics *m,
                      const struct command_stats *sums)
{
    prometheus_begin(p, "lasca_command_duration_seconds", "histogram",
                     "How long calls of each command took.");
    for (uint32_t i = 0; i < registry_count(server->registry); i++) {
        struct metrics_times times = metrics_sum_times(m, i);
        uint64_t count = 0;
        for (uint32_t k = 0; k <= METRICS_BOUNDS; k++)
            count += times.counts[k];
        if (count)
            prometheus_put_histogram(p, "command", registry_at(server->registry, i)->full_name,
                                     metrics_bounds, times.counts, METRICS_BOUNDS,
                                     (double)sums[i].ticks / server->ticks_per_us / 1e6);
    }
}

static void put_commands(struct prometheus *p, const struct metrics *m)
{
    struct command_stats *sums = metrics_sum_commands(m);
    prometheus_begin(p, "lasca_command_calls_total", COUNTER, "Calls of each command.");
    put_command_metric(p, sums, offsetof(struct command_stats, calls), 1);
    prometheus_begin(p, "lasca_command_seconds_total", COUNTER, "Time spent in each command.");
    put_command_metric(p, sums, offsetof(struct command_stats, ticks),
                       1 / server->ticks_per_us / 1e6);
    prometheus_begin(p, "lasca_command_failures_total", COUNTER,
                     "Calls that ran and ended with an error.");
    put_command_metric(p, sums, offsetof(struct command_stats, failed), 1);
    prometheus_begin(p, "lasca_command_rejections_total", COUNTER, "Calls that were not run.");
    put_command_metric(p, sums, offsetof(struct command_stats, rejected), 1);
    put_times(p, m, sums);
    mem_free(sums);
}

/* Codes of several cores, each once. */
static void put_errors(struct prometheus *p, const struct metrics *m)
{
    uint32_t count;
    struct error_stats *sums = metrics_sum_errors(m, &count);
    put(p, "lasca_error_replies_total", COUNTER, (double)m->total.stats.error_replies,
        "Error replies.");
    prometheus_begin(p, "lasca_errors_total", COUNTER, "Error replies by their code.");
    for (uint32_t i = 0; i < count; i++)
        prometheus_put_labelled(p, "code", sums[i].code, (double)sums[i].count);
    mem_free(sums);
}

static void put_databases(struct prometheus *p, const struct metrics *m)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } of_each[] = {
        {"lasca_db_keys", "Keys of each database that has any.", offsetof(struct info_db, keys)},
        {"lasca_db_expiring_keys", "... and those of them that have an expiry.",
         offsetof(struct info_db, expiring)},
    };
    for (size_t k = 0; k < sizeof(of_each) / sizeof(of_each[0]); k++) {
        prometheus_begin(p, of_each[k].name, GAUGE, of_each[k].help);
        for (uint32_t d = 0; d < server->keyspace.db_count; d++) {
            struct info_db sum = metrics_sum_db(m, d);
            uint64_t value;
            char number[16];
            memcpy(&value, (const char *)&sum + of_each[k].offset, sizeof(value));
            snprintf(number, sizeof(number), "%u", d);
            if (sum.keys)
                prometheus_put_labelled(p, "db", number, (double)value);
        }
    }
}

void metrics_write_text(const struct metrics *m, struct buf *to)
{
    struct prometheus p = {.to = to};
    put_server(&p, m);
    put_clients(&p, m);
    put_memory(&p, m);
    put_persistence(&p, m);
    put_shards(&p, m);
    put_commands(&p, m);
    put_errors(&p, m);
    put_databases(&p, m);
}
