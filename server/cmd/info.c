/* INFO: each core leaves its numbers, the home core adds them up and writes the text.
 *
 * The numbers of all cores are of one moment: INFO is an entry of the order like any other.
 * Sections and fields are Redis 7.2's; what this version does not have is shown as a stand-alone
 * Redis without it shows it, and what it does not count is left out. */
#include "server/cmd/info.h"

#include <assert.h>
#include <stdlib.h>

#include "server/cmd/latency.h"
#include "server/cmd/tables.h"
#include "server/evict.h"
#include "server/server.h"
#include "server/session.h"
#include "server/tracking.h"
#include "shard/call.h"
#include "shard/db.h"

/* Rates are taken against the oldest sample that is not older than this. */
#define RATE_SPAN_MS 2000
#define SAMPLE_COUNT 16

/* ---- Which sections ---- */

static const struct {
    const char *name;
    enum info_section section;
} section_names[] = {
    {"server", INFO_SERVER}, {"clients", INFO_CLIENTS}, {"memory", INFO_MEMORY},
    {"persistence", INFO_PERSISTENCE}, {"stats", INFO_STATS}, {"replication", INFO_REPLICATION},
    {"cpu", INFO_CPU}, {"modules", INFO_MODULES}, {"module_list", INFO_MODULES},
    {"commandstats", INFO_COMMANDSTATS}, {"errorstats", INFO_ERRORSTATS},
    {"latencystats", INFO_LATENCYSTATS},
    {"cluster", INFO_CLUSTER}, {"shards", INFO_SHARDS}, {"keyspace", INFO_KEYSPACE},
    {"debug", INFO_DEBUG},
};

/* Debug is shown where it is named, only. */
#define ALL_SECTIONS (((1u << INFO_SECTION_COUNT) - 1) & ~(1u << INFO_DEBUG))
#define DEFAULT_SECTIONS (ALL_SECTIONS & ~(1u << INFO_COMMANDSTATS | 1u << INFO_SHARDS | \
                                           1u << INFO_LATENCYSTATS))

/* A bit a section; a name that is none asks for nothing, as in Redis. */
static unsigned wanted_sections(const struct call *c)
{
    unsigned wanted = c->argc == 1 ? DEFAULT_SECTIONS : 0;
    for (uint32_t i = 1; i < c->argc; i++) {
        if (call_arg_is(c, i, "default"))
            wanted |= DEFAULT_SECTIONS;
        if (call_arg_is(c, i, "all") || call_arg_is(c, i, "everything"))
            wanted |= ALL_SECTIONS;
        for (size_t k = 0; k < sizeof(section_names) / sizeof(section_names[0]); k++)
            if (call_arg_is(c, i, section_names[k].name))
                wanted |= 1u << section_names[k].section;
    }
    return wanted;
}

/* ---- A core's part ---- */

struct info_sessions info_measure_sessions(const struct core *c)
{
    struct info_sessions x = {0};
    for (const struct session *s = c->sessions; s; s = s->next) {
        if (s->closing || s->close_asked)
            continue;
        size_t output = session_output_size(s);
        x.count++;
        x.blocked += s->in_held || s->blocked;
        x.memory += session_memory(s);
        x.input_max = s->query.cap > x.input_max ? s->query.cap : x.input_max;
        x.output_max = output > x.output_max ? output : x.output_max;
    }
    return x;
}

static double a_second(uint64_t now, uint64_t then, int64_t ms)
{
    return (double)(now - then) * 1000 / (double)ms;
}

static struct info_rates measure_rates(const struct core *c)
{
    const struct core_stats *st = &c->stats;
    int64_t now_ms = c->now_us / 1000;
    uint32_t count = st->sample_index < SAMPLE_COUNT ? st->sample_index : SAMPLE_COUNT;
    for (uint32_t age = count; age > 0; age--) {
        uint32_t i = (st->sample_index - age) % SAMPLE_COUNT;
        int64_t ms = now_ms - st->sample_ms[i];
        if (ms > RATE_SPAN_MS || ms <= 0)
            continue;
        return (struct info_rates){
            .commands = a_second(st->commands, st->sample_commands[i], ms),
            .input = a_second(st->input_bytes, st->sample_input[i], ms),
            .output = a_second(st->output_bytes, st->sample_output[i], ms),
            .iterations = a_second(st->iterations, st->sample_iterations[i], ms),
            .cpu_us = a_second(core_cpu_us(c), st->sample_cpu_us[i], ms),
        };
    }
    return (struct info_rates){0};
}

static void append_dbs(struct buf *to, const struct shard *s)
{
    for (uint32_t i = 0; i < s->keyspace->db_count; i++) {
        const struct db *db = &s->dbs[i];
        if (db->keys.count == 0)
            continue;
        struct info_db d = {i, db->keys.count, db->expiring_count, db->avg_ttl_ms,
                            table_memory(&db->keys)};
        buf_append(to, &d, sizeof(d));
    }
}

static void append_hash(void *context, struct slice name, uint64_t hash)
{
    buf_append(context, &hash, sizeof(hash));
}

static uint64_t command_us(const struct core *core)
{
    uint64_t ticks = 0;
    for (uint32_t i = 0; i < registry_count(server->registry); i++)
        ticks += core->command_stats[i].ticks;
    return (uint64_t)((double)ticks / server->ticks_per_us);
}

static void count_keys(const struct shard *s, struct info_core *x)
{
    for (uint32_t i = 0; i < s->keyspace->db_count; i++) {
        x->keys += s->dbs[i].keys.count;
        x->expiring += s->dbs[i].expiring_count;
        x->db_count += s->dbs[i].keys.count > 0;
    }
}

void info_measure(const struct core *core, struct info_core *x)
{
    *x = (struct info_core){
        .rates = measure_rates(core),
        .data_peak = core->data_peak,
        .startup_bytes = core->startup_bytes,
        .cpu_us = core_cpu_us(core) - core->stats.cpu_base_us,
        .command_us = command_us(core),
        .mesh_depth = mesh_depth(server->mesh, core->index),
        .order_depth = order_count(server->order) - order_cursor(server->order, core->index),
        .stats = core->stats,
        .shard = core->shard.stats,
        .timeouts = core->timer_count,
        .waited_keys = wait_line_count(&core->shard.waits),
        .waited_removals = core->shard.waits.removal_count,
        .tracking = tracking_count(core),
        .tracked_keys = core->shard.tracks.keys.count,
        .tracked_items = core->shard.tracks.client_count,
        .prefixes = core->index == 0 ? track_prefix_kinds(&core->shard.tracks) : 0,
        .garbage = core->shard.garbage.count,
        .shard_index = core->index,
    };
    for (unsigned i = 0; i < PUBSUB_KINDS; i++)
        x->topics[i] = pubsub_topic_count(core, (enum pubsub_kind)i);
    core_measure(core, &x->memory);
    count_keys(&core->shard, x);
    x->stale = core->stale_share * (double)x->expiring;
}

void info_leave_part(struct call *c, unsigned with)
{
    struct core *core = server->cores[c->shard->index];
    struct buf *out = c->reply.out;
    struct info_core x;
    if (server->keyspace.options.limited)
        evict_tell_core(core);
    info_measure(core, &x);
    x.sessions = info_measure_sessions(core);
    x.order_depth -= x.order_depth > 0; /* the one that this is a part of */
    x.error_count = core->error_kinds;
    x.command_count = with & INFO_WITH_COMMANDS ? registry_count(server->registry) : 0;
    x.with_times = with & INFO_WITH_TIMES;
    x.with_hashes = server->core_count > 1 && with & INFO_WITH_TOPICS;
    buf_append(out, &x, sizeof(x));
    append_dbs(out, &core->shard);
    buf_append(out, core->errors, x.error_count * sizeof(*core->errors));
    buf_append(out, core->command_stats, x.command_count * sizeof(*core->command_stats));
    for (unsigned i = 0; x.with_hashes && i < PUBSUB_KINDS; i++)
        pubsub_visit(core, (enum pubsub_kind)i, append_hash, out);
    if (x.with_times)
        latency_pack_times(core, out);
}

static void info_run(struct call *c)
{
    unsigned wanted = wanted_sections(c);
    info_leave_part(c, (wanted & 1u << INFO_COMMANDSTATS ? INFO_WITH_COMMANDS : 0) |
                           (wanted & 1u << INFO_LATENCYSTATS ? INFO_WITH_TIMES : 0) |
                           (wanted & 1u << INFO_STATS ? INFO_WITH_TOPICS : 0));
}

/* ---- Adding up ---- */

/* Takes bytes off the front of a part. */
static void take(struct slice *from, void *to, size_t size)
{
    assert(from->size >= size);
    memcpy(to, from->data, size);
    *from = (struct slice){from->data + size, from->size - size};
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void add_stats(struct core_stats *to, const struct core_stats *x)
{
    to->commands += x->commands;
    to->hops_sent += x->hops_sent;
    to->splits += x->splits;
    to->crosses += x->crosses;
    to->input_bytes += x->input_bytes;
    to->output_bytes += x->output_bytes;
    to->error_replies += x->error_replies;
    to->iterations += x->iterations;
    to->turn_us_max = greater(to->turn_us_max, x->turn_us_max);
    to->turn_commands_max = greater(to->turn_commands_max, x->turn_commands_max);
    to->cron_us += x->cron_us;
    to->aof_us += x->aof_us;
    to->sleeps += x->sleeps;
    to->wakes_sent += x->wakes_sent;
    to->borrows += x->borrows;
    to->query_limit_closed += x->query_limit_closed;
    to->output_limit_closed += x->output_limit_closed;
    to->evicted_clients += x->evicted_clients;
    to->auth_failures += x->auth_failures;
    to->hops_received += x->hops_received;
    to->reads += x->reads;
    to->writes += x->writes;
    to->replies_grown += x->replies_grown;
    to->sweep_us += x->sweep_us;
    to->sweeps_cut += x->sweeps_cut;
    to->acl_denied_command += x->acl_denied_command;
    to->acl_denied_key += x->acl_denied_key;
    to->acl_denied_channel += x->acl_denied_channel;
}

void info_add_core(struct info_core *to, const struct info_core *x)
{
    to->sessions.count += x->sessions.count;
    to->sessions.blocked += x->sessions.blocked;
    to->sessions.memory += x->sessions.memory;
    to->sessions.input_max = greater(to->sessions.input_max, x->sessions.input_max);
    to->sessions.output_max = greater(to->sessions.output_max, x->sessions.output_max);
    to->rates.commands += x->rates.commands;
    to->rates.input += x->rates.input;
    to->rates.output += x->rates.output;
    to->rates.iterations += x->rates.iterations;
    to->rates.cpu_us += x->rates.cpu_us;
    to->memory.entries += x->memory.entries;
    to->memory.blocks += x->memory.blocks;
    to->memory.tables += x->memory.tables;
    to->memory.slack += x->memory.slack;
    to->memory.fixed += x->memory.fixed;
    to->memory.scripts += x->memory.scripts;
    to->memory.functions += x->memory.functions;
    to->data_peak += greater(x->data_peak, x->memory.entries + x->memory.blocks + x->memory.tables);
    to->startup_bytes += x->startup_bytes;
    to->cpu_us += x->cpu_us;
    to->command_us += x->command_us;
    to->stale += x->stale;
    to->expiring += x->expiring;
    to->mesh_depth += x->mesh_depth;
    to->order_depth += x->order_depth;
    to->keys += x->keys;
    to->shard.hits += x->shard.hits;
    to->shard.misses += x->shard.misses;
    to->shard.expired += x->shard.expired;
    to->shard.evicted += x->shard.evicted;
    to->shard.expired_swept += x->shard.expired_swept;
    to->shard.expired_fields += x->shard.expired_fields;
    to->shard.payloads_checked += x->shard.payloads_checked;
    to->shard.freed_later += x->shard.freed_later;
    to->timeouts += x->timeouts;
    to->waited_keys += x->waited_keys;
    to->waited_removals += x->waited_removals;
    to->tracking += x->tracking;
    to->tracked_keys += x->tracked_keys;
    to->tracked_items += x->tracked_items;
    to->prefixes += x->prefixes;
    to->garbage += x->garbage;
    to->shard.changes += x->shard.changes;
    for (unsigned i = 0; i < PUBSUB_KINDS; i++)
        to->topics[i] += x->topics[i];
    add_stats(&to->stats, &x->stats);
}

/* The mean of the shards' estimates, weighted by the keys that they stand for. */
static void add_db(struct info *info, const struct info_db *x)
{
    struct info_db *to = &info->dbs[x->db];
    uint64_t expiring = to->expiring + x->expiring;
    if (expiring)
        to->avg_ttl_ms = (int64_t)(((double)to->avg_ttl_ms * (double)to->expiring +
                                    (double)x->avg_ttl_ms * (double)x->expiring) /
                                   (double)expiring);
    to->keys += x->keys;
    to->table_bytes += x->table_bytes;
    to->expiring = expiring;
}

static void add_error(struct info *info, const struct error_stats *x)
{
    for (uint32_t i = 0; i < info->error_count; i++) {
        if (strcmp(info->errors[i].code, x->code) == 0) {
            info->errors[i].count += x->count;
            return;
        }
    }
    info->errors[info->error_count++] = *x;
}

static void add_part(struct info *info, struct slice part)
{
    struct info_core *x = &info->cores[info->core_count++];
    take(&part, x, sizeof(*x));
    info_add_core(&info->total, x);
    for (uint32_t i = 0; i < x->db_count; i++) {
        struct info_db d;
        take(&part, &d, sizeof(d));
        add_db(info, &d);
    }
    for (uint32_t i = 0; i < x->error_count; i++) {
        struct error_stats e;
        take(&part, &e, sizeof(e));
        add_error(info, &e);
    }
    for (uint32_t i = 0; i < x->command_count; i++) {
        struct command_stats st;
        take(&part, &st, sizeof(st));
        info->commands[i].calls += st.calls;
        info->commands[i].ticks += st.ticks;
        info->commands[i].rejected += st.rejected;
        info->commands[i].failed += st.failed;
    }
    for (unsigned i = 0; x->with_hashes && i < PUBSUB_KINDS; i++) {
        size_t size = x->topics[i] * sizeof(uint64_t);
        assert(part.size >= size);
        buf_append(&info->topics[i], part.data, size);
        part = (struct slice){part.data + size, part.size - size};
    }
    if (x->with_times)
        latency_add_times(info->times, part);
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

/* What sessions of several cores have subscribed to counts once. */
static void settle_topics(struct info *info)
{
    for (unsigned i = 0; i < PUBSUB_KINDS; i++) {
        struct buf *b = &info->topics[i];
        size_t count = b->size / sizeof(uint64_t);
        if (count)
            qsort(b->data, count, sizeof(uint64_t), compare_hashes);
        for (size_t k = 1; k < count; k++)
            if (compare_hashes(b->data + (k - 1) * sizeof(uint64_t),
                               b->data + k * sizeof(uint64_t)) == 0)
                info->total.topics[i]--;
        buf_deinit(b);
    }
}

static void *zeroed(size_t count, size_t size)
{
    void *p = arena_alloc(&core_self()->arena, count * size);
    memset(p, 0, count * size);
    return p;
}

static int compare_errors(const void *a, const void *b)
{
    return strcmp(((const struct error_stats *)a)->code, ((const struct error_stats *)b)->code);
}

void info_collect(struct call *c, const struct split_parts *parts, struct info *info)
{
    *info = (struct info){
        .now_ms = c->now_ms,
        .total.db_count = c->keyspace->db_count,
        .cores = zeroed(parts->count, sizeof(*info->cores)),
        .dbs = zeroed(c->keyspace->db_count, sizeof(*info->dbs)),
        .commands = zeroed(registry_count(server->registry), sizeof(*info->commands)),
        .times = latency_make_times(),
        .errors = zeroed((size_t)parts->count * (ERROR_KINDS_MAX + 1), sizeof(*info->errors)),
    };
    for (uint32_t i = 0; i < parts->count; i++)
        add_part(info, (struct slice){parts->sections[i].data, parts->sections[i].size});
    settle_topics(info);
    qsort(info->errors, info->error_count, sizeof(*info->errors), compare_errors);
}

static void info_merge(struct call *c, const struct split_parts *parts)
{
    struct info info;
    struct buf text;
    info_collect(c, parts, &info);
    buf_init(&text);
    unsigned wanted = wanted_sections(c);
    for (unsigned i = 0; i < INFO_SECTION_COUNT; i++) {
        if (!(wanted & 1u << i))
            continue;
        if (text.size)
            buf_append_text(&text, "\r\n");
        info_append_section(&text, &info, (enum info_section)i);
    }
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

const struct command info_commands[] = {
    {.name = "info", .run = info_run, .merge = info_merge, .arity = -1, .route = ROUTE_ALL,
     .split = SPLIT_MERGE, .flags = CMD_LOADING | CMD_STALE | CMD_SENTINEL, .acl = ACL_DANGEROUS,
     .group = "server", .since = "1.0.0", .complexity = "O(1)", .syntax = "[section [section ...]]",
     .summary = "Returns information and statistics on the server.",
     .tips = "nondeterministic_output request_policy:all_shards response_policy:special"},
    {.name = NULL},
};
