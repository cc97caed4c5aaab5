/* INFO's texts, a function a section; info_memory.c has that on memory. Names, order and units are
 * Redis 7.2's. */
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "net/ring.h"
#include "proto/crc64.h"
#include "server/cmd/info.h"
#include "server/evict.h"
#include "server/cmd/latency.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/server.h"
#include "server/supervise.h"
#include "shard/type/entry.h"

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* ---- Server ---- */

/* Numbered by kind, as with Redis. */
static void append_listener(struct buf *to, enum listener_kind kind, const char *name,
                            int64_t port)
{
    const struct config *config = &server->config;
    if (port == 0)
        return;
    buf_printf(to, "listener%d:name=%s", (int)kind, name);
    for (uint32_t i = 0; i < config->bind_count; i++)
        buf_printf(to, ",bind=%s", config->bind[i]);
    buf_printf(to, ",port=%" PRId64 "\r\n", port);
}

static void append_listeners(struct buf *to)
{
    const struct config *config = &server->config;
    append_listener(to, LISTENER_TCP, "tcp", config->port);
    if (config->unixsocket[0])
        buf_printf(to, "listener%d:name=unix,bind=%s\r\n", LISTENER_UNIX, config->unixsocket);
    append_listener(to, LISTENER_TLS, "tls", config->tls_port);
}

/* The same for builds of the same version by the same compiler. */
static uint64_t build_id(void)
{
    static const char build[] = "lasca " LASCA_VERSION " " __VERSION__;
    return crc64(0, (struct slice){build, sizeof(build) - 1});
}

static void append_build(struct buf *to)
{
    const char *backend = server->backend == RING_URING ? "io_uring" : "epoll";
    struct utsname os;
    uname(&os);
    buf_printf(to,
               "redis_version:%s\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\n"
               "redis_build_id:%" PRIx64 "\r\nlasca_version:%s\r\nredis_mode:standalone\r\n"
               "os:%s %s %s\r\narch_bits:%zu\r\n",
               SERVER_REDIS_VERSION, build_id(), LASCA_VERSION, os.sysname, os.release, os.machine,
               sizeof(void *) * 8);
    buf_printf(to,
               "monotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:%s\r\nio_backend:%s\r\n"
               "shards:%u\r\natomicvar_api:c11-builtin\r\ngcc_version:%d.%d.%d\r\n",
               backend, backend, server->core_count, __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
}

static void append_server(struct buf *to, const struct info *info)
{
    int64_t up_s = (info->now_ms - server->started_ms) / 1000;
    append_build(to);
    buf_printf(to, "process_id:%d\r\nprocess_supervised:%s\r\nrun_id:%s\r\n", (int)getpid(),
               supervise_name(server->supervisor), server->run_id);
    buf_printf(to, "tcp_port:%" PRId64 "\r\nserver_time_usec:%" PRId64 "\r\n",
               server->config.port ? server->config.port : server->config.tls_port,
               info->now_ms * 1000);
    buf_printf(to, "uptime_in_seconds:%" PRId64 "\r\nuptime_in_days:%" PRId64 "\r\n", up_s,
               up_s / 86400);
    buf_printf(to, "hz:10\r\nconfigured_hz:%" PRId64 "\r\nlru_clock:%u\r\n", server->config.hz,
               (unsigned)(info->now_ms / 1000) & ENTRY_CLOCK_MAX);
    buf_printf(to, "executable:%s\r\nconfig_file:%s\r\nio_threads_active:0\r\n", server->executable,
               server->config.config_file ? server->config.config_file : "");
    append_listeners(to);
}

/* ---- Clients ---- */

static void append_clients(struct buf *to, const struct info *info)
{
    const struct info_sessions *s = &info->total.sessions;
    buf_printf(to, "connected_clients:%" PRIu64 "\r\ncluster_connections:0\r\n", s->count);
    buf_printf(to, "maxclients:%" PRId64 "\r\n", server->config.maxclients);
    buf_printf(to,
               "client_recent_max_input_buffer:%" PRIu64
               "\r\nclient_recent_max_output_buffer:%" PRIu64 "\r\n",
               s->input_max, s->output_max);
    buf_printf(to, "blocked_clients:%" PRIu64 "\r\n", s->blocked);
    const struct info_core *t = &info->total;
    buf_printf(to,
               "tracking_clients:%" PRIu64 "\r\nclients_in_timeout_table:%" PRIu64
               "\r\ntotal_blocking_keys:%" PRIu64 "\r\ntotal_blocking_keys_on_nokey:%" PRIu64
               "\r\n",
               t->tracking, t->timeouts, t->waited_keys, t->waited_removals);
}

/* ---- Persistence ---- */

static const char *status(bool ok)
{
    return ok ? "ok" : "err";
}

/* Memory that a snapshot takes beside the data is told where Redis tells what its child has made
 * the kernel copy. */
static void append_save(struct buf *to, const struct info *info, const struct save_report *r)
{
    bool rdb = r->in_progress && r->kind == SAVE_RDB;
    uint64_t changes = info->total.shard.changes;
    changes = changes > r->changes_saved ? changes - r->changes_saved : 0;
    buf_printf(to,
               "current_cow_peak:%" PRIu64 "\r\ncurrent_cow_size:%" PRIu64
               "\r\ncurrent_cow_size_age:0\r\ncurrent_fork_perc:%.2f\r\n"
               "current_save_keys_processed:%" PRIu64 "\r\ncurrent_save_keys_total:%" PRIu64 "\r\n",
               r->in_progress ? r->memory_peak : 0, r->memory, percent(r->keys_done, r->keys_total),
               r->keys_done, r->keys_total);
    buf_printf(to,
               "rdb_changes_since_last_save:%" PRIu64 "\r\nrdb_bgsave_in_progress:%d\r\n"
               "rdb_last_save_time:%" PRId64 "\r\nrdb_last_bgsave_status:%s\r\n"
               "rdb_last_bgsave_time_sec:%" PRId64 "\r\nrdb_current_bgsave_time_sec:%" PRId64
               "\r\nrdb_saves:%" PRIu64 "\r\nrdb_last_cow_size:%" PRIu64 "\r\n",
               changes, rdb, r->last_save_s, status(r->last_ok), r->last_time_s,
               rdb ? r->current_time_s : -1, r->saves, r->last_memory_peak[SAVE_RDB]);
}

static void append_aof(struct buf *to, const struct save_report *s)
{
    struct aof_report a;
    struct journal_report j;
    aof_report(&a);
    journal_report(&j);
    buf_printf(to,
               "aof_enabled:%d\r\naof_rewrite_in_progress:%d\r\naof_rewrite_scheduled:%d\r\n"
               "aof_last_rewrite_time_sec:%" PRId64 "\r\naof_current_rewrite_time_sec:%" PRId64
               "\r\naof_last_bgrewrite_status:%s\r\naof_rewrites:%" PRIu64
               "\r\naof_rewrites_consecutive_failures:%" PRIu64 "\r\n",
               a.enabled, a.rewriting, a.scheduled, a.last_rewrite_s, a.current_rewrite_s,
               status(a.last_rewrite_ok), a.rewrites, a.consecutive_failures);
    buf_printf(to,
               "aof_last_write_status:%s\r\naof_last_cow_size:%" PRIu64
               "\r\nmodule_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\n",
               status(j.last_write_ok), s->last_memory_peak[SAVE_AOF_BASE]);
    if (!a.enabled)
        return;
    buf_printf(to,
               "aof_current_size:%" PRIu64 "\r\naof_base_size:%" PRIu64
               "\r\naof_pending_rewrite:%d\r\naof_buffer_length:%" PRIu64
               "\r\naof_pending_bio_fsync:%d\r\naof_delayed_fsync:%" PRIu64 "\r\n",
               a.current_size, a.base_size, a.scheduled, j.buffered, j.fsync_pending,
               j.delayed_fsync);
}

static void append_load(struct buf *to, const struct load_report *l)
{
    if (!l->loading)
        return;
    buf_printf(to,
               "loading_start_time:%" PRId64 "\r\nloading_total_bytes:%" PRIu64
               "\r\nloading_rdb_used_mem:%" PRIu64 "\r\nloading_loaded_bytes:%" PRIu64
               "\r\nloading_loaded_perc:%.2f\r\nloading_eta_seconds:%" PRId64 "\r\n",
               l->start_s, l->total_bytes, l->rdb_used_memory, l->loaded_bytes,
               percent(l->loaded_bytes, l->total_bytes), l->eta_s);
}

static void append_persistence(struct buf *to, const struct info *info)
{
    struct save_report save;
    struct load_report load;
    save_report(&save);
    load_report(&load);
    buf_printf(to, "loading:%d\r\nasync_loading:0\r\n", load.loading);
    append_save(to, info, &save);
    buf_printf(to,
               "rdb_last_load_keys_expired:%" PRIu64 "\r\nrdb_last_load_keys_loaded:%" PRIu64
               "\r\n", load.keys_expired, load.keys_loaded);
    append_aof(to, &save);
    append_load(to, &load);
}

/* ---- Stats ---- */

static void append_traffic(struct buf *to, const struct info *info)
{
    const struct info_core *t = &info->total;
    buf_printf(to,
               "total_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
               "\r\ninstantaneous_ops_per_sec:%.0f\r\n",
               atomic_load_explicit(&server->accepted_count, memory_order_relaxed),
               t->stats.commands, t->rates.commands);
    buf_printf(to,
               "total_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64
               "\r\ntotal_net_repl_input_bytes:0\r\ntotal_net_repl_output_bytes:0\r\n",
               t->stats.input_bytes, t->stats.output_bytes);
    buf_printf(to,
               "instantaneous_input_kbps:%.2f\r\ninstantaneous_output_kbps:%.2f\r\n"
               "instantaneous_input_repl_kbps:0.00\r\ninstantaneous_output_repl_kbps:0.00\r\n",
               t->rates.input / 1024, t->rates.output / 1024);
    buf_printf(to, "rejected_connections:%" PRIu64 "\r\n",
               atomic_load_explicit(&server->rejected_count, memory_order_relaxed));
}

static void append_gone(struct buf *to, const struct info_core *t)
{
    buf_printf(to,
               "expired_subkeys:%" PRIu64 "\r\nexpired_keys:%" PRIu64
               "\r\nexpired_stale_perc:%.2f\r\nexpired_time_cap_reached_count:%" PRIu64
               "\r\nexpire_cycle_cpu_milliseconds:%" PRIu64 "\r\n",
               t->shard.expired_fields, t->shard.expired,
               t->expiring ? 100 * t->stale / (double)t->expiring : 0, t->stats.sweeps_cut,
               t->stats.sweep_us / 1000);
    uint64_t exceeded_us, now_exceeded_us;
    evict_exceeded(core_self()->now_us, &exceeded_us, &now_exceeded_us);
    buf_printf(to, "evicted_keys:%" PRIu64 "\r\nevicted_clients:%" PRIu64 "\r\n",
               t->shard.evicted, t->stats.evicted_clients);
    buf_printf(to,
               "total_eviction_exceeded_time:%" PRIu64
               "\r\ncurrent_eviction_exceeded_time:%" PRIu64 "\r\n",
               exceeded_us / 1000, now_exceeded_us / 1000);
}

static void append_input_output(struct buf *to, const struct info_core *t)
{
    buf_printf(to,
               "unexpected_error_replies:0\r\ntotal_error_replies:%" PRIu64
               "\r\ndump_payload_sanitizations:%" PRIu64 "\r\ntotal_reads_processed:%" PRIu64
               "\r\ntotal_writes_processed:%" PRIu64 "\r\nio_threaded_reads_processed:0\r\n"
               "io_threaded_writes_processed:0\r\nreply_buffer_shrinks:%" PRIu64
               "\r\nreply_buffer_expands:%" PRIu64 "\r\n",
               t->stats.error_replies, t->shard.payloads_checked, t->stats.reads, t->stats.writes,
               t->stats.replies_grown, t->stats.replies_grown);
    buf_printf(to,
               "client_query_buffer_limit_disconnections:%" PRIu64
               "\r\nclient_output_buffer_limit_disconnections:%" PRIu64 "\r\n",
               t->stats.query_limit_closed, t->stats.output_limit_closed);
}

/* The event loops of all cores together: turns of them, and the CPU time of their threads. */
static void append_loops(struct buf *to, const struct info_core *t)
{
    double turn_us = t->rates.iterations > 0 ? t->rates.cpu_us / t->rates.iterations : 0;
    buf_printf(to,
               "eventloop_cycles:%" PRIu64 "\r\neventloop_duration_sum:%" PRIu64
               "\r\neventloop_duration_cmd_sum:%" PRIu64
               "\r\ninstantaneous_eventloop_cycles_per_sec:%.0f"
               "\r\ninstantaneous_eventloop_duration_usec:%.0f\r\n",
               t->stats.iterations, t->cpu_us, t->command_us, t->rates.iterations, turn_us);
    buf_printf(to,
               "acl_access_denied_auth:%" PRIu64 "\r\nacl_access_denied_cmd:%" PRIu64
               "\r\nacl_access_denied_key:%" PRIu64 "\r\nacl_access_denied_channel:%" PRIu64
               "\r\n",
               t->stats.auth_failures, t->stats.acl_denied_command, t->stats.acl_denied_key,
               t->stats.acl_denied_channel);
}

static void append_stats(struct buf *to, const struct info *info)
{
    const struct info_core *t = &info->total;
    append_traffic(to, info);
    buf_append_text(to, "sync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\n");
    append_gone(to, t);
    buf_printf(to, "keyspace_hits:%" PRIu64 "\r\nkeyspace_misses:%" PRIu64 "\r\n", t->shard.hits,
               t->shard.misses);
    buf_printf(to,
               "pubsub_channels:%" PRIu64 "\r\npubsub_patterns:%" PRIu64
               "\r\npubsubshard_channels:%" PRIu64 "\r\n",
               t->topics[PUBSUB_CHANNEL], t->topics[PUBSUB_PATTERN],
               t->topics[PUBSUB_SHARD_CHANNEL]);
    buf_append_text(to, "latest_fork_usec:0\r\ntotal_forks:0\r\nmigrate_cached_sockets:0\r\n"
                        "slave_expires_tracked_keys:0\r\nactive_defrag_hits:0\r\n"
                        "active_defrag_misses:0\r\nactive_defrag_key_hits:0\r\n"
                        "active_defrag_key_misses:0\r\ntotal_active_defrag_time:0\r\n"
                        "current_active_defrag_time:0\r\n");
    buf_printf(to,
               "tracking_total_keys:%" PRIu64 "\r\ntracking_total_items:%" PRIu64
               "\r\ntracking_total_prefixes:%" PRIu64 "\r\n",
               t->tracked_keys, t->tracked_items, t->prefixes);
    append_input_output(to, t);
    append_loops(to, t);
}

/* ---- Replication, CPU, modules, cluster ---- */

static void append_replication(struct buf *to, const struct info *info)
{
    const struct config *config = &server->config;
    buf_append_text(to, "role:master\r\nconnected_slaves:0\r\n");
    if (config->min_replicas_to_write && config->min_replicas_max_lag)
        buf_append_text(to, "min_slaves_good_slaves:0\r\n");
    buf_printf(to,
               "master_failover_state:no-failover\r\n"
               "master_replid:%s\r\nmaster_replid2:%040d\r\nmaster_repl_offset:0\r\n"
               "second_repl_offset:-1\r\nrepl_backlog_active:0\r\nrepl_backlog_size:1048576\r\n"
               "repl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
               server->replication_id, 0);
}

static void append_time(struct buf *to, const char *field, struct timeval t)
{
    buf_printf(to, "%s:%ld.%06ld\r\n", field, (long)t.tv_sec, (long)t.tv_usec);
}

static void append_cpu(struct buf *to, const struct info *info)
{
    struct rusage own, children;
    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    append_time(to, "used_cpu_sys", own.ru_stime);
    append_time(to, "used_cpu_user", own.ru_utime);
    append_time(to, "used_cpu_sys_children", children.ru_stime);
    append_time(to, "used_cpu_user_children", children.ru_utime);
    append_time(to, "used_cpu_sys_main_thread", own.ru_stime); /* all threads are alike */
    append_time(to, "used_cpu_user_main_thread", own.ru_utime);
}

static void append_nothing(struct buf *to, const struct info *info)
{
}

static void append_cluster(struct buf *to, const struct info *info)
{
    buf_append_text(to, "cluster_enabled:0\r\n");
}

/* ---- Commands, errors ---- */

static void append_commandstats(struct buf *to, const struct info *info)
{
    for (uint32_t i = 0; i < registry_count(server->registry); i++) {
        const struct command_stats *st = &info->commands[i];
        if (!st->calls && !st->rejected && !st->failed)
            continue;
        double us = (double)st->ticks / server->ticks_per_us;
        buf_printf(to,
                   "cmdstat_%s:calls=%" PRIu64 ",usec=%.0f,usec_per_call=%.2f"
                   ",rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64 "\r\n",
                   registry_at(server->registry, i)->full_name, st->calls, us,
                   st->calls ? us / (double)st->calls : 0, st->rejected, st->failed);
    }
}

/* ':' ends a field's name, and line breaks the line; clients choose codes by DEBUG ERROR. */
static void append_errorstats(struct buf *to, const struct info *info)
{
    for (uint32_t i = 0; i < info->error_count; i++) {
        char code[sizeof(info->errors[i].code)];
        memcpy(code, info->errors[i].code, sizeof(code));
        for (char *p = code; *p; p++)
            if (strchr("#:\n\r", *p))
                *p = '_';
        buf_printf(to, "errorstat_%s:count=%" PRIu64 "\r\n", code, info->errors[i].count);
    }
}

static void append_latencystats(struct buf *to, const struct info *info)
{
    latency_append_percentiles(to, info->times);
}

/* ---- Shards, keyspace ---- */

static void append_shards(struct buf *to, const struct info *info)
{
    for (uint32_t i = 0; i < info->core_count; i++) {
        const struct info_core *x = &info->cores[i];
        const struct core_memory *m = &x->memory;
        buf_printf(to,
                   "shard%u:keys=%" PRIu64 ",sessions=%" PRIu64 ",commands=%" PRIu64
                   ",hops_sent=%" PRIu64 ",splits=%" PRIu64 ",crosses=%" PRIu64 ",sleeps=%" PRIu64
                   ",wakes=%" PRIu64 ",borrows=%" PRIu64,
                   x->shard_index, x->keys, x->sessions.count, x->stats.commands,
                   x->stats.hops_sent, x->stats.splits, x->stats.crosses, x->stats.sleeps,
                   x->stats.wakes_sent, x->stats.borrows);
        buf_printf(to,
                   ",hops_received=%" PRIu64 ",memory=%" PRIu64 ",hits=%" PRIu64 ",misses=%" PRIu64
                   ",expired=%" PRIu64 ",evicted=%" PRIu64
                   ",ops_per_sec=%.0f,busy_perc=%.1f,cpu_seconds=%.3f,mesh_depth=%" PRIu64
                   ",order_depth=%" PRIu64 "\r\n",
                   x->stats.hops_received, m->entries + m->blocks + m->tables, x->shard.hits,
                   x->shard.misses, x->shard.expired, x->shard.evicted, x->rates.commands,
                   x->rates.cpu_us / 1e4, (double)x->cpu_us / 1e6, x->mesh_depth, x->order_depth);
    }
}

static void append_keyspace(struct buf *to, const struct info *info)
{
    for (uint32_t i = 0; i < info->total.db_count; i++)
        if (info->dbs[i].keys)
            buf_printf(to, "db%u:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRId64 "\r\n", i,
                       info->dbs[i].keys, info->dbs[i].expiring, info->dbs[i].avg_ttl_ms);
}

static void append_debug(struct buf *to, const struct info *info)
{
    const struct core_stats *st = &info->total.stats;
    buf_printf(to,
               "eventloop_duration_aof_sum:%" PRIu64 "\r\neventloop_duration_cron_sum:%" PRIu64
               "\r\neventloop_duration_max:%" PRIu64 "\r\neventloop_cmd_per_cycle_max:%" PRIu64
               "\r\n",
               st->aof_us, st->cron_us, st->turn_us_max, st->turn_commands_max);
}

void info_append_section(struct buf *to, const struct info *info, enum info_section section)
{
    static const struct {
        const char *heading;
        void (*append)(struct buf *to, const struct info *info);
    } sections[INFO_SECTION_COUNT] = {
        [INFO_SERVER] = {"Server", append_server},
        [INFO_CLIENTS] = {"Clients", append_clients},
        [INFO_MEMORY] = {"Memory", info_append_memory},
        [INFO_PERSISTENCE] = {"Persistence", append_persistence},
        [INFO_STATS] = {"Stats", append_stats},
        [INFO_REPLICATION] = {"Replication", append_replication},
        [INFO_CPU] = {"CPU", append_cpu},
        [INFO_MODULES] = {"Modules", append_nothing},
        [INFO_COMMANDSTATS] = {"Commandstats", append_commandstats},
        [INFO_ERRORSTATS] = {"Errorstats", append_errorstats},
        [INFO_LATENCYSTATS] = {"Latencystats", append_latencystats},
        [INFO_CLUSTER] = {"Cluster", append_cluster},
        [INFO_SHARDS] = {"Shards", append_shards},
        [INFO_KEYSPACE] = {"Keyspace", append_keyspace},
        [INFO_DEBUG] = {"Debug", append_debug},
    };
    buf_printf(to, "# %s\r\n", sections[section].heading);
    sections[section].append(to, info);
}
