/* MEMORY: what keys take, and what the server takes as a whole. */
#include <inttypes.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/cmd/info.h"
#include "server/cmd/tables.h"
#include "server/script/store.h"
#include "server/server.h"
#include "shard/db.h"

/* ---- USAGE ---- */

/* The sizes of nested values are accounted for, so there is nothing to sample: the option is
 * checked as Redis does, and changes nothing. */
static bool read_samples(struct call *c)
{
    for (uint32_t i = 3; i < c->argc; i += 2) {
        int64_t samples;
        if (!call_arg_is(c, i, "samples") || i + 1 == c->argc) {
            reply_error_syntax(&c->reply);
            return false;
        }
        if (!call_arg_integer(c, i + 1, &samples))
            return false;
        if (samples < 0) {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

static void usage_run(struct call *c)
{
    if (!read_samples(c))
        return;
    struct place p = db_find(c, 2, DB_PEEK);
    if (!p.entry) {
        reply_null(&c->reply);
        return;
    }

    reply_integer(&c->reply, (int64_t)db_memory(&p));
}

/* ---- STATS ---- */

static void put_integer(struct reply *r, const char *name, uint64_t value)
{
    reply_bulk_text(r, name);
    reply_integer(r, (int64_t)value);
}

static void put_ratio(struct reply *r, const char *ratio, const char *bytes, uint64_t a,
                      uint64_t b)
{
    reply_bulk_text(r, ratio);
    reply_double(r, info_ratio(a, b));
    put_integer(r, bytes, a - b);
}

/* Keys and their expiries are in one table, which knows no slots. */
static void put_databases(struct reply *r, const struct info *info)
{
    for (uint32_t i = 0; i < info->total.db_count; i++) {
        char name[32];
        if (!info->dbs[i].keys)
            continue;
        snprintf(name, sizeof(name), "db.%" PRIu32, i);
        reply_bulk_text(r, name);
        reply_map(r, 3);
        put_integer(r, "overhead.hashtable.main", info->dbs[i].table_bytes);
        put_integer(r, "overhead.hashtable.expires", 0);
        put_integer(r, "overhead.hashtable.slot-to-keys", 0);
    }
}

static void put_totals(struct reply *r, const struct info *info,
                       const struct info_memory_report *m)
{
    uint64_t net = m->used - m->startup;
    put_integer(r, "overhead.total", m->overhead);
    put_integer(r, "keys.count", info->total.keys);
    put_integer(r, "keys.bytes-per-key", info->total.keys ? net / info->total.keys : 0);
    put_integer(r, "dataset.bytes", m->dataset);
    reply_bulk_text(r, "dataset.percentage");
    reply_double(r, 100 * info_ratio(m->dataset, net));
    reply_bulk_text(r, "peak.percentage");
    reply_double(r, 100 * info_ratio(m->used, m->peak));
}

static void put_allocator(struct reply *r, const struct info_memory_report *m)
{
    put_integer(r, "allocator.allocated", m->used);
    put_integer(r, "allocator.active", m->active);
    put_integer(r, "allocator.resident", m->resident);
    put_ratio(r, "allocator-fragmentation.ratio", "allocator-fragmentation.bytes", m->active,
              m->used);
    put_ratio(r, "allocator-rss.ratio", "allocator-rss.bytes", m->resident, m->active);
    put_ratio(r, "rss-overhead.ratio", "rss-overhead.bytes", m->rss, m->resident);
    put_ratio(r, "fragmentation", "fragmentation.bytes", m->rss, m->used);
}

static void leave_part(struct call *c)
{
    info_leave_part(c, 0);
}

static void stats_merge(struct call *c, const struct split_parts *parts)
{
    struct info info;
    struct info_memory_report m;
    info_collect(c, parts, &info);
    info_report_memory(&info.total, &m);
    struct reply *r = &c->reply;
    uint32_t dbs = 0;
    for (uint32_t i = 0; i < info.total.db_count; i++)
        dbs += info.dbs[i].keys > 0;
    reply_map(r, 27 + dbs);
    put_integer(r, "peak.allocated", m.peak);
    put_integer(r, "total.allocated", m.used);
    put_integer(r, "startup.allocated", m.startup);
    put_integer(r, "replication.backlog", 0);
    put_integer(r, "clients.slaves", 0);
    put_integer(r, "clients.normal", m.clients);
    put_integer(r, "cluster.links", 0);
    put_integer(r, "aof.buffer", m.aof_buffer);
    put_integer(r, "lua.caches", m.eval);
    put_integer(r, "functions.caches", m.functions);
    put_databases(r, &info);
    put_totals(r, &info, &m);
    put_allocator(r, &m);
}

/* ---- DOCTOR ---- */

/* Below it all ratios are about what a server needs to run at all. */
#define DOCTOR_USED_MIN (UINT64_C(5) << 20)
/* What is wasted matters from so much on. */
#define DOCTOR_WASTE_MIN (UINT64_C(10) << 20)
#define DOCTOR_CLIENT_MAX (UINT64_C(200) << 10)
#define DOCTOR_SCRIPTS_MAX 1000
/* The fullest shard, against the mean. */
#define DOCTOR_SKEW 2.0

static bool wastes(uint64_t held, uint64_t needed, double ratio)
{
    return held > needed + DOCTOR_WASTE_MIN && info_ratio(held, needed) > ratio;
}

static void advise_on_system(struct buf *to, const struct info_memory_report *m)
{
    if (info_ratio(m->peak, m->used) > 1.5)
        buf_append_text(to, " * Peak memory: the server has held more than one and a half times "
                            "what it holds now. The difference may still be resident; it will be "
                            "used again as data comes. MEMORY PURGE gives back what is free in "
                            "whole pages.\n\n");
    if (wastes(m->resident, m->used, 1.4))
        buf_printf(to, " * High total RSS: beside the program itself, the process takes more than "
                       "1.4 times the memory that it has use for. After a peak (see above, if it "
                       "is listed) or after much was deleted that is free room within pages that "
                       "are partly used, and it fills up again. Otherwise look at the next "
                       "entries. The allocator is %s.\n\n", m->allocator);
    if (wastes(m->active, m->used, 1.1))
        buf_append_text(to, " * High allocator fragmentation: the pages that keys are in have more "
                            "than 1.1 times the size of the keys. Deleting many of them leaves "
                            "such gaps, which new keys of about the same sizes use.\n\n");
    if (wastes(m->resident, m->active, 1.1))
        buf_append_text(to, " * High allocator RSS: much more is resident than is in use. Values "
                            "that were deleted leave such gaps: MEMORY PURGE gives back those "
                            "that are whole pages, and new values use the others.\n\n");
}

static void advise_on_use(struct buf *to, const struct info *info,
                          const struct info_memory_report *m)
{
    uint64_t clients = info->total.sessions.count;
    if (clients && m->clients / clients > DOCTOR_CLIENT_MAX)
        buf_append_text(to, " * Big client buffers: the clients' buffers take more than 200 KB "
                            "each on average. Subscribers that are too slow, large replies and "
                            "long pipelines do that: CLIENT LIST has each one's, and "
                            "client-output-buffer-limit and maxmemory-clients bound them.\n\n");
    if (scripts_count(server->scripts) > DOCTOR_SCRIPTS_MAX)
        buf_append_text(to, " * Many scripts: more than 1000 are cached. Scripts that are made up "
                            "for each call instead of getting KEYS and ARGV stay until SCRIPT "
                            "FLUSH.\n\n");
    uint64_t most = 0, sum = 0;
    for (uint32_t i = 0; i < info->core_count; i++) {
        const struct core_memory *x = &info->cores[i].memory;
        uint64_t data = x->entries + x->blocks + x->tables;
        most = data > most ? data : most;
        sum += data;
    }
    if (info->core_count > 1 && most > DOCTOR_WASTE_MIN &&
        (double)most * info->core_count > DOCTOR_SKEW * (double)sum)
        buf_append_text(to, " * One shard is full: it holds more than twice the mean of all. Keys "
                            "with the same {tag} are on one shard, and so is one huge key: INFO "
                            "shards shows which, redis-cli --memkeys finds huge keys.\n\n");
}

static void doctor_merge(struct call *c, const struct split_parts *parts)
{
    struct info info;
    struct info_memory_report m;
    struct buf text;
    info_collect(c, parts, &info);
    info_report_memory(&info.total, &m);
    buf_init(&text);
    if (m.used < DOCTOR_USED_MIN) {
        buf_append_text(&text, "This instance is empty or is using very little memory: there is "
                               "nothing to be found out about it yet. Ask again when it holds "
                               "data.\n");
    } else {
        advise_on_system(&text, &m);
        advise_on_use(&text, &info, &m);
        if (!text.size)
            buf_append_text(&text, "No memory issue was found in this instance.\n");
    }
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

/* ---- PURGE, MALLOC-STATS, HELP ---- */

/* An allocator's free pages are given back by their thread: where another one runs this, the core
 * does it at its next cron. */
static void purge_run(struct call *c)
{
    struct core *core = server->cores[c->shard->index];
    if (core == core_self()) {
        uintptr_t from = 0;
        heap_trim(&c->shard->heap);
        while (mem_trim(&core->moving, &from))
            continue;
        return;
    }
    core->trim_asked = true;
    core->next_cron_us = 0;
}

static void append_piece(const char *text, void *context)
{
    buf_append_text(context, text);
}

static void malloc_stats_run(struct call *c)
{
    struct buf text;
    buf_init(&text);
    mem_print_statistics(append_piece, &text);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

static void help_run(struct call *c)
{
    static const char *const lines[] = {
        "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Say what looks wrong about the use of memory, and what helps.",
        "MALLOC-STATS",
        "    Return the allocator's own statistics.",
        "PURGE",
        "    Give memory that is free back to the system, on all cores.",
        "STATS",
        "    Return figures on the server's memory.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return the bytes that <key> and its value take. They are accounted for, nested",
        "    values too: SAMPLES changes nothing.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define SUBCOMMAND(word, body, args) .name = word, .run = body, .arity = args, .group = "server"
#define FROM_ALL .route = ROUTE_ALL, .split = SPLIT_MERGE
#define TIPS "nondeterministic_output request_policy:all_shards response_policy:special"

static const struct command memory_subcommands[] = {
    {SUBCOMMAND("doctor", leave_part, 2), FROM_ALL, .merge = doctor_merge,
     .since = "4.0.0", .complexity = "O(1)",
     .summary = "Returns advice on the use of memory.", .tips = TIPS},
    {SUBCOMMAND("help", help_run, 2), .route = ROUTE_SESSION, .flags = CMD_LOADING | CMD_STALE,
     .since = "4.0.0", .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {SUBCOMMAND("malloc-stats", malloc_stats_run, 2), .route = ROUTE_SESSION,
     .since = "4.0.0", .complexity = "Depends on how much memory is allocated, could be slow",
     .summary = "Returns the allocator's statistics.", .tips = TIPS},
    {SUBCOMMAND("purge", purge_run, 2), .route = ROUTE_ALL, .split = SPLIT_OK,
     .since = "4.0.0", .complexity = "Depends on how much memory is allocated, could be slow",
     .summary = "Gives free memory back to the system.",
     .tips = "request_policy:all_shards response_policy:all_succeeded"},
    {SUBCOMMAND("stats", leave_part, 2), FROM_ALL, .merge = stats_merge,
     .since = "4.0.0", .complexity = "O(1)",
     .summary = "Returns figures on the use of memory.", .tips = TIPS},
    {SUBCOMMAND("usage", usage_run, -3), .route = ROUTE_KEY, .flags = CMD_READONLY,
     .keys = {{.flags = KEY_RO, .begin = 2, .find = KEY_FIND_RANGE, .step = 1}},
     .since = "4.0.0", .complexity = "O(1)", .syntax = "key [SAMPLES count]",
     .summary = "Returns the bytes that a key and its value take."},
    {.name = NULL},
};

const struct command memory_commands[] = {
    {.name = "memory", .arity = -2, .route = ROUTE_KEY, .group = "server",
     .since = "4.0.0", .complexity = "Depends on subcommand.",
     .summary = "A container for commands on memory.",
     .subcommands = memory_subcommands},
    {.name = NULL},
};
