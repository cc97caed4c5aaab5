/* INFO's texts, a function a section. Names, order and units are Redis 7.2's.
 *
 * Memory: used_memory is what keys, values, their tables and the clients' buffers take, in the
 * sizes they were allocated with, and what each core has of its own. It leaves out free room within
 * the shards' pages, the code, the stacks, the mesh and the order log, and the receive buffers,
 * which are mapped once: all that is in used_memory_rss, which the kernel counts.
 * used_memory_startup is the cores' own, used_memory_overhead all but keys and values. The peak is
 * the sum of the cores' peaks: a little more than the true one where they were reached at different
 * times. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "net/ring.h"
#include "server/cmd/info.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/script/function.h"
#include "server/script/store.h"
#include "server/server.h"
#include "shard/type/entry.h"

#ifdef LASCA_SYSTEM_MALLOC
#define ALLOCATOR "libc"
#else
#define ALLOCATOR "mimalloc"
#endif

static void append_value(void *context, const char *name, const char *value)
{
    buf_append_text(context, value);
}

/* An option's value as CONFIG GET prints it. */
static void append_option(struct buf *to, const char *field, const char *option)
{
    struct slice name = slice_of(option);
    buf_append_text(to, field);
    config_get(&server->config, &name, 1, append_value, to);
    buf_append_text(to, "\r\n");
}

/* 1024-based, two digits behind the point: "1.50K". */
static void append_human(struct buf *to, const char *field, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    unsigned unit = 0;
    double n = (double)bytes;
    while (n >= 1024 && units[unit + 1]) {
        n /= 1024;
        unit++;
    }
    buf_printf(to, unit ? "%s:%.2f%c\r\n" : "%s:%.0f%c\r\n", field, n, units[unit]);
}

/* The field, and the one for people to read. */
static void append_bytes(struct buf *to, const char *field, uint64_t bytes)
{
    char human[64];
    snprintf(human, sizeof(human), "%s_human", field);
    buf_printf(to, "%s:%" PRIu64 "\r\n", field, bytes);
    append_human(to, human, bytes);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* ---- Server ---- */

static void append_listeners(struct buf *to)
{
    const struct config *config = &server->config;
    if (config->port == 0)
        return;
    buf_append_text(to, "listener0:name=tcp");
    for (uint32_t i = 0; i < config->bind_count; i++)
        buf_printf(to, ",bind=%s", config->bind[i]);
    buf_printf(to, ",port=%" PRId64 "\r\n", config->port);
}

static void append_build(struct buf *to)
{
    const char *backend = server->backend == RING_URING ? "io_uring" : "epoll";
    struct utsname os;
    uname(&os);
    buf_printf(to,
               "redis_version:%s\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\n"
               "lasca_version:%s\r\nredis_mode:standalone\r\nos:%s %s %s\r\narch_bits:%zu\r\n",
               SERVER_REDIS_VERSION, LASCA_VERSION, os.sysname, os.release, os.machine,
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
    buf_printf(to, "process_id:%d\r\nprocess_supervised:no\r\nrun_id:%s\r\n", (int)getpid(),
               server->run_id);
    buf_printf(to, "tcp_port:%" PRId64 "\r\nserver_time_usec:%" PRId64 "\r\n",
               server->config.port, info->now_ms * 1000);
    buf_printf(to, "uptime_in_seconds:%" PRId64 "\r\nuptime_in_days:%" PRId64 "\r\n", up_s,
               up_s / 86400);
    buf_printf(to, "hz:10\r\nconfigured_hz:10\r\nlru_clock:%u\r\n",
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

/* ---- Memory ---- */

/* Resident bytes, by /proc/self/statm; 0 where that cannot be read. */
static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t system_bytes(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void append_used(struct buf *to, const struct info *info, uint64_t used, uint64_t resident)
{
    const struct core_memory *m = &info->total.memory;
    uint64_t clients = info->total.sessions.memory;
    uint64_t peak = info->total.data_peak + clients + m->fixed;
    uint64_t dataset = m->entries + m->blocks;
    append_bytes(to, "used_memory", used);
    append_bytes(to, "used_memory_rss", resident);
    append_bytes(to, "used_memory_peak", peak);
    buf_printf(to, "used_memory_peak_perc:%.2f%%\r\n", percent(used, peak));
    buf_printf(to, "used_memory_overhead:%" PRIu64 "\r\nused_memory_startup:%" PRIu64 "\r\n",
               used - dataset, m->fixed);
    buf_printf(to, "used_memory_dataset:%" PRIu64 "\r\nused_memory_dataset_perc:%.2f%%\r\n",
               dataset, percent(dataset, used - m->fixed));
    append_bytes(to, "total_system_memory", system_bytes());
}

/* Interpreters, and the texts that they have run. */
static void append_scripts(struct buf *to, const struct core_memory *m)
{
    uint64_t eval = scripts_memory(server->scripts);
    uint64_t functions = functions_memory(server->functions);
    buf_printf(to, "used_memory_vm_eval:%" PRIu64 "\r\n", m->scripts);
    append_bytes(to, "used_memory_lua", m->scripts);
    buf_printf(to,
               "used_memory_scripts_eval:%" PRIu64 "\r\nnumber_of_cached_scripts:%" PRIu64 "\r\n"
               "number_of_functions:%" PRIu32 "\r\nnumber_of_libraries:%" PRIu32 "\r\n"
               "used_memory_vm_functions:%" PRIu64 "\r\n",
               eval, scripts_count(server->scripts), server->functions->registered_count,
               server->functions->library_count, m->functions);
    append_bytes(to, "used_memory_vm_total", m->scripts + m->functions);
    buf_printf(to, "used_memory_functions:%" PRIu64 "\r\n", functions);
    append_bytes(to, "used_memory_scripts", eval + functions);
}

static void append_memory(struct buf *to, const struct info *info)
{
    const struct core_memory *m = &info->total.memory;
    uint64_t clients = info->total.sessions.memory;
    uint64_t used = m->entries + m->blocks + m->tables + m->fixed + clients;
    uint64_t resident = resident_bytes();
    append_used(to, info, used, resident);
    append_scripts(to, m);
    buf_append_text(to, "maxmemory:0\r\nmaxmemory_human:0B\r\n");
    append_option(to, "maxmemory_policy:", "maxmemory-policy");
    buf_printf(to, "mem_fragmentation_ratio:%.2f\r\nmem_fragmentation_bytes:%" PRId64 "\r\n",
               (double)resident / (double)used, (int64_t)(resident - used));
    buf_printf(to,
               "mem_not_counted_for_evict:0\r\nmem_replication_backlog:0\r\n"
               "mem_total_replication_buffers:0\r\nmem_clients_slaves:0\r\n"
               "mem_clients_normal:%" PRIu64 "\r\nmem_cluster_links:0\r\nmem_aof_buffer:0\r\n"
               "mem_allocator:" ALLOCATOR "\r\nactive_defrag_running:0\r\n"
               "lazyfree_pending_objects:%" PRIu64 "\r\nlazyfreed_objects:%" PRIu64 "\r\n",
               clients, info->total.garbage, info->total.shard.freed_later - info->total.garbage);
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

static void append_stats(struct buf *to, const struct info *info)
{
    const struct info_core *t = &info->total;
    append_traffic(to, info);
    buf_append_text(to, "sync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\n");
    buf_printf(to,
               "expired_subkeys:%" PRIu64 "\r\nexpired_keys:%" PRIu64
               "\r\nevicted_keys:0\r\nevicted_clients:0\r\n"
               "total_eviction_exceeded_time:0\r\ncurrent_eviction_exceeded_time:0\r\n",
               t->shard.expired_fields, t->shard.expired);
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
               "\r\ntracking_total_prefixes:%" PRIu64 "\r\nunexpected_error_replies:0\r\n",
               t->tracked_keys, t->tracked_items, t->prefixes);
    buf_printf(to,
               "total_error_replies:%" PRIu64 "\r\ndump_payload_sanitizations:0\r\n"
               "io_threaded_reads_processed:0\r\nio_threaded_writes_processed:0\r\n",
               t->stats.error_replies);
    buf_printf(to,
               "client_query_buffer_limit_disconnections:%" PRIu64
               "\r\nclient_output_buffer_limit_disconnections:%" PRIu64 "\r\n",
               t->stats.query_limit_closed, t->stats.output_limit_closed);
    buf_printf(to,
               "eventloop_cycles:%" PRIu64 "\r\nacl_access_denied_auth:%" PRIu64
               "\r\nacl_access_denied_cmd:0\r\nacl_access_denied_key:0\r\n"
               "acl_access_denied_channel:0\r\n",
               t->stats.iterations, t->stats.auth_failures);
}

/* ---- Replication, CPU, modules, cluster ---- */

static void append_replication(struct buf *to, const struct info *info)
{
    buf_printf(to,
               "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n"
               "master_replid:%s\r\nmaster_replid2:%040d\r\nmaster_repl_offset:0\r\n"
               "second_repl_offset:-1\r\nrepl_backlog_active:0\r\nrepl_backlog_size:1048576\r\n"
               "repl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
               server->run_id, 0);
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

/* ---- Shards, keyspace ---- */

static void append_shards(struct buf *to, const struct info *info)
{
    for (uint32_t i = 0; i < info->core_count; i++) {
        const struct info_core *x = &info->cores[i];
        buf_printf(to,
                   "shard%u:keys=%" PRIu64 ",sessions=%" PRIu64 ",commands=%" PRIu64
                   ",hops_sent=%" PRIu64 ",splits=%" PRIu64 ",crosses=%" PRIu64 ",sleeps=%" PRIu64
                   ",wakes=%" PRIu64 ",borrows=%" PRIu64 "\r\n",
                   x->shard_index, x->keys, x->sessions.count, x->stats.commands,
                   x->stats.hops_sent, x->stats.splits, x->stats.crosses, x->stats.sleeps,
                   x->stats.wakes_sent, x->stats.borrows);
    }
}

static void append_keyspace(struct buf *to, const struct info *info)
{
    for (uint32_t i = 0; i < info->total.db_count; i++)
        if (info->dbs[i].keys)
            buf_printf(to, "db%u:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRId64 "\r\n", i,
                       info->dbs[i].keys, info->dbs[i].expiring, info->dbs[i].avg_ttl_ms);
}

void info_append_section(struct buf *to, const struct info *info, enum info_section section)
{
    static const struct {
        const char *heading;
        void (*append)(struct buf *to, const struct info *info);
    } sections[INFO_SECTION_COUNT] = {
        [INFO_SERVER] = {"Server", append_server},
        [INFO_CLIENTS] = {"Clients", append_clients},
        [INFO_MEMORY] = {"Memory", append_memory},
        [INFO_PERSISTENCE] = {"Persistence", append_persistence},
        [INFO_STATS] = {"Stats", append_stats},
        [INFO_REPLICATION] = {"Replication", append_replication},
        [INFO_CPU] = {"CPU", append_cpu},
        [INFO_MODULES] = {"Modules", append_nothing},
        [INFO_COMMANDSTATS] = {"Commandstats", append_commandstats},
        [INFO_ERRORSTATS] = {"Errorstats", append_errorstats},
        [INFO_CLUSTER] = {"Cluster", append_cluster},
        [INFO_SHARDS] = {"Shards", append_shards},
        [INFO_KEYSPACE] = {"Keyspace", append_keyspace},
    };
    buf_printf(to, "# %s\r\n", sections[section].heading);
    sections[section].append(to, info);
}
