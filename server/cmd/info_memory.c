/* INFO's section `memory`, and the figures that MEMORY shares with it.
 *
 * used_memory is what keys, values, their tables and the clients' buffers take, in the sizes they
 * were allocated with, and what each core has of its own. It leaves out free room within the
 * shards' pages, the code, the stacks, the mesh and the order log, and the receive buffers, which
 * are mapped once: all that is in used_memory_rss, which the kernel counts. used_memory_startup is
 * what the cores had of their own before they served anybody, used_memory_overhead all but keys and
 * values. The peak is the sum of the cores' peaks: a little more than the true one where they were
 * reached at different times.
 *
 * Redis's allocator_* are three views of one allocator. Here: what is counted as used; that with
 * the free room in the shards' pages; and what of the process is resident and in no file, nearly
 * all of it the allocator's. What mimalloc calls committed is no such view: it commits 32 MiB at a
 * time and touches what it needs. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/cmd/info.h"
#include "server/persist/journal.h"
#include "server/script/function.h"
#include "server/script/store.h"
#include "server/server.h"

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

/* "1.50K": 1024-based, two digits behind the point. */
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

double info_ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

static int64_t difference(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b);
}

/* /proc/self/statm, in pages: size, resident, and how much of that is in files; 0 where it cannot
 * be read. */
static void read_resident(struct info_memory_report *r)
{
    unsigned long long resident = 0, in_files = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (fscanf(f, "%*u %llu %llu", &resident, &in_files) == 2 && resident >= in_files) {
        r->rss = resident * page;
        r->resident = (resident - in_files) * page;
    }
    fclose(f);
}

void info_look_at_shared(struct info_memory_report *r)
{
    struct journal_report journal;
    journal_report(&journal);
    r->eval = scripts_memory(server->scripts);
    r->functions = functions_memory(server->functions);
    r->aof_buffer = journal.buffered;
}

void info_look_at_system(struct info_memory_report *r)
{
    struct mem_report allocator;
    mem_report(&allocator);
    r->committed = allocator.committed;
    memcpy(r->allocator, allocator.name, sizeof(r->allocator));
    read_resident(r);
}

void info_count_memory(const struct info_core *total, struct info_memory_report *r)
{
    const struct core_memory *m = &total->memory;
    r->clients = total->sessions.memory;
    r->tables = m->tables;
    r->startup = total->startup_bytes;
    r->dataset = m->entries + m->blocks;
    r->used = r->dataset + m->tables + m->fixed + r->clients;
    r->peak = total->data_peak + m->fixed + r->clients;
    r->active = r->used + m->slack;
    r->overhead = r->used - r->dataset;
}

void info_report_memory(const struct info_core *total, struct info_memory_report *r)
{
    *r = (struct info_memory_report){0};
    info_look_at_shared(r);
    info_look_at_system(r);
    info_count_memory(total, r);
}

static void append_used(struct buf *to, const struct info_memory_report *r)
{
    append_bytes(to, "used_memory", r->used);
    append_bytes(to, "used_memory_rss", r->rss);
    append_bytes(to, "used_memory_peak", r->peak);
    buf_printf(to, "used_memory_peak_perc:%.2f%%\r\n", 100 * info_ratio(r->used, r->peak));
    buf_printf(to, "used_memory_overhead:%" PRIu64 "\r\nused_memory_startup:%" PRIu64 "\r\n",
               r->overhead, r->startup);
    buf_printf(to, "used_memory_dataset:%" PRIu64 "\r\nused_memory_dataset_perc:%.2f%%\r\n",
               r->dataset, 100 * info_ratio(r->dataset, r->used - r->startup));
    buf_printf(to,
               "allocator_allocated:%" PRIu64 "\r\nallocator_active:%" PRIu64
               "\r\nallocator_resident:%" PRIu64 "\r\n",
               r->used, r->active, r->resident);
    append_bytes(to, "total_system_memory",
                 (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* Interpreters, and the texts that they have run. */
static void append_scripts(struct buf *to, const struct core_memory *m,
                           const struct info_memory_report *r)
{
    buf_printf(to, "used_memory_vm_eval:%" PRIu64 "\r\n", m->scripts);
    append_bytes(to, "used_memory_lua", m->scripts);
    buf_printf(to,
               "used_memory_scripts_eval:%" PRIu64 "\r\nnumber_of_cached_scripts:%" PRIu64 "\r\n"
               "number_of_functions:%" PRIu32 "\r\nnumber_of_libraries:%" PRIu32 "\r\n"
               "used_memory_vm_functions:%" PRIu64 "\r\n",
               r->eval, scripts_count(server->scripts), server->functions->registered_count,
               server->functions->library_count, m->functions);
    append_bytes(to, "used_memory_vm_total", m->scripts + m->functions);
    buf_printf(to, "used_memory_functions:%" PRIu64 "\r\n", r->functions);
    append_bytes(to, "used_memory_scripts", r->eval + r->functions);
}

static void append_ratio(struct buf *to, const char *ratio, const char *bytes, uint64_t a,
                         uint64_t b)
{
    buf_printf(to, "%s:%.2f\r\n%s:%" PRId64 "\r\n", ratio, info_ratio(a, b), bytes,
               difference(a, b));
}

void info_append_memory(struct buf *to, const struct info *info)
{
    struct info_memory_report r;
    info_report_memory(&info->total, &r);
    append_used(to, &r);
    append_scripts(to, &info->total.memory, &r);
    append_bytes(to, "maxmemory", (uint64_t)server->config.maxmemory);
    append_option(to, "maxmemory_policy:", "maxmemory-policy");
    append_ratio(to, "allocator_frag_ratio", "allocator_frag_bytes", r.active, r.used);
    append_ratio(to, "allocator_rss_ratio", "allocator_rss_bytes", r.resident, r.active);
    append_ratio(to, "rss_overhead_ratio", "rss_overhead_bytes", r.rss, r.resident);
    append_ratio(to, "mem_fragmentation_ratio", "mem_fragmentation_bytes", r.rss, r.used);
    buf_printf(to,
               "mem_not_counted_for_evict:0\r\nmem_replication_backlog:0\r\n"
               "mem_total_replication_buffers:0\r\nmem_clients_slaves:0\r\n"
               "mem_clients_normal:%" PRIu64 "\r\nmem_cluster_links:0\r\n"
               "mem_aof_buffer:%" PRIu64 "\r\nmem_allocator:%s\r\nactive_defrag_running:0\r\n",
               r.clients, r.aof_buffer, r.allocator);
    buf_printf(to, "lazyfree_pending_objects:%" PRIu64 "\r\nlazyfreed_objects:%" PRIu64 "\r\n",
               info->total.garbage, info->total.shard.freed_later - info->total.garbage);
}
