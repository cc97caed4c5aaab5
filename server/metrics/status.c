/* /status.json: what the page of `/` shows. Counters as they are; the page makes rates of them. */
#include <inttypes.h>

#include "net/ring.h"
#include "proto/mem.h"
#include "server/metrics/inside.h"
#include "server/server.h"

/* RFC 8259. What is no UTF-8 is left to the reader, who puts U+FFFD in its place. */
static void append_string(struct buf *to, const char *text)
{
    buf_append_text(to, "\"");
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (*s < 0x20)
            buf_printf(to, "\\u%04x", *s);
        else if (*s == '"' || *s == '\\')
            buf_printf(to, "\\%c", *s);
        else
            buf_append(to, s, 1);
    }
    buf_append_text(to, "\"");
}

static void append_number(struct buf *to, const char *name, uint64_t value)
{
    buf_printf(to, ",\"%s\":%" PRIu64, name, value);
}

static void append_server(struct buf *to, const struct metrics *m)
{
    struct buf reasons;
    buf_init(&reasons);
    bool well = metrics_write_health(m, &reasons);
    buf_append(&reasons, "", 1);
    reasons.data[reasons.size - 2] = '\0'; /* the last line's end */
    buf_printf(to,
               "\"version\":\"%s\",\"redis_version\":\"%s\",\"backend\":\"%s\","
               "\"started_ms\":%" PRId64 ",\"monotonic_ms\":%" PRId64
               ",\"healthy\":%s,\"health\":",
               LASCA_VERSION, SERVER_REDIS_VERSION,
               server->backend == RING_URING ? "io_uring" : "epoll", server->started_ms,
               m->asked_ms, well ? "true" : "false");
    append_string(to, reasons.data);
    buf_deinit(&reasons);
}

static void append_totals(struct buf *to, const struct metrics *m)
{
    const struct info_core *t = &m->total;
    const struct info_memory_report *r = &m->memory;
    append_number(to, "clients", t->sessions.count);
    append_number(to, "clients_max", (uint64_t)m->slots[0].latest->maxclients);
    append_number(to, "blocked", t->sessions.blocked);
    append_number(to, "keys", t->keys);
    append_number(to, "commands", t->stats.commands);
    append_number(to, "hits", t->shard.hits);
    append_number(to, "misses", t->shard.misses);
    append_number(to, "expired", t->shard.expired);
    append_number(to, "evicted", t->shard.evicted);
    append_number(to, "errors", t->stats.error_replies);
    append_number(to, "input_bytes", t->stats.input_bytes);
    append_number(to, "output_bytes", t->stats.output_bytes);
    append_number(to, "memory_used", r->used);
    append_number(to, "memory_peak", r->peak);
    append_number(to, "memory_rss", r->rss);
    append_number(to, "memory_max", (uint64_t)m->slots[0].latest->maxmemory);
}

static void append_shards(struct buf *to, const struct metrics *m)
{
    buf_append_text(to, ",\"shards\":[");
    for (uint32_t i = 0; i < server->core_count; i++) {
        const struct metrics_core *c = m->slots[i].latest;
        const struct info_core *x = &c->info;
        buf_printf(to, "%s{\"shard\":%" PRIu32 ",\"stale\":%s", i ? "," : "", i,
                   metrics_is_stale(m, i) ? "true" : "false");
        append_number(to, "taken_ms", (uint64_t)c->taken_ms);
        append_number(to, "keys", x->keys);
        append_number(to, "memory", x->memory.entries + x->memory.blocks + x->memory.tables);
        append_number(to, "clients", x->sessions.count);
        append_number(to, "commands", x->stats.commands);
        append_number(to, "hops_sent", x->stats.hops_sent);
        append_number(to, "hops_received", x->stats.hops_received);
        append_number(to, "busy_us", x->cpu_us);
        append_number(to, "sleeps", x->stats.sleeps);
        append_number(to, "queue", x->mesh_depth);
        append_number(to, "order", x->order_depth);
        append_number(to, "hits", x->shard.hits);
        append_number(to, "misses", x->shard.misses);
        buf_append_text(to, "}");
    }
    buf_append_text(to, "]");
}

static void append_commands(struct buf *to, const struct metrics *m)
{
    struct command_stats *sums = metrics_sum_commands(m);
    const char *comma = "";
    buf_append_text(to, ",\"by_command\":[");
    for (uint32_t i = 0; i < registry_count(server->registry); i++) {
        if (!sums[i].calls && !sums[i].rejected)
            continue;
        buf_printf(to, "%s{\"name\":", comma);
        append_string(to, registry_at(server->registry, i)->full_name);
        append_number(to, "calls", sums[i].calls);
        append_number(to, "us", (uint64_t)((double)sums[i].ticks / server->ticks_per_us));
        append_number(to, "failed", sums[i].failed);
        append_number(to, "rejected", sums[i].rejected);
        buf_append_text(to, "}");
        comma = ",";
    }
    buf_append_text(to, "]");
    mem_free(sums);
}

static void append_errors(struct buf *to, const struct metrics *m)
{
    uint32_t count;
    struct error_stats *sums = metrics_sum_errors(m, &count);
    buf_append_text(to, ",\"by_error\":[");
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(to, "%s{\"code\":", i ? "," : "");
        append_string(to, sums[i].code);
        append_number(to, "count", sums[i].count);
        buf_append_text(to, "}");
    }
    buf_append_text(to, "]");
    mem_free(sums);
}

void metrics_write_status(const struct metrics *m, struct buf *to)
{
    buf_append_text(to, "{");
    append_server(to, m);
    append_totals(to, m);
    append_shards(to, m);
    append_commands(to, m);
    append_errors(to, m);
    buf_append_text(to, "}\n");
}
