/* The times of commands: LATENCY HISTOGRAM and INFO latencystats.
 *
 * Each core has noted its own, in ticks (core.command_stats). Both forms are Redis's: HISTOGRAM's
 * bounds are those of a histogram of nanoseconds with two significant digits that is walked in
 * powers of two from 1024 on; so "33" and "66" where one would expect 32 and 64. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cmd/latency.h"
#include "server/server.h"
#include "shard/type/histogram.h"

#define BOUND_NS 1024
#define BOUND_PARTS 128 /* two digits: a bound is known to within so many of itself */

/* --- Parts --- */

struct packed {
    uint32_t id;
    uint32_t count; /* of struct packed_bucket, which follow */
};

struct packed_bucket {
    uint64_t count;
    uint64_t bucket;
};

static void pack(struct buf *to, uint32_t id, const struct histogram *h)
{
    struct packed p = {.id = id};
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        p.count += h->counts[i] != 0;
    if (p.count == 0)
        return;
    buf_append(to, &p, sizeof(p));
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        struct packed_bucket b = {h->counts[i], i};
        if (b.count)
            buf_append(to, &b, sizeof(b));
    }
}

void latency_pack_times(const struct core *c, struct buf *to)
{
    for (uint32_t i = 0; i < registry_count(server->registry); i++)
        if (c->command_stats[i].times)
            pack(to, i, c->command_stats[i].times);
}

static void *zeroed(size_t size)
{
    return memset(arena_alloc(&core_self()->arena, size), 0, size);
}

struct histogram **latency_make_times(void)
{
    return zeroed(registry_count(server->registry) * sizeof(struct histogram *));
}

void latency_add_times(struct histogram **times, struct slice part)
{
    const char *at = part.data, *end = at + part.size;
    while (at < end) {
        struct packed p;
        memcpy(&p, at, sizeof(p));
        at += sizeof(p);
        if (!times[p.id])
            times[p.id] = zeroed(sizeof(struct histogram));
        for (uint32_t i = 0; i < p.count; i++, at += sizeof(struct packed_bucket)) {
            struct packed_bucket b;
            memcpy(&b, at, sizeof(b));
            times[p.id]->counts[b.bucket] += b.count;
        }
    }
}

/* --- HISTOGRAM --- */

static double ns_of(uint64_t ticks)
{
    return (double)ticks * 1000 / server->ticks_per_us;
}

/* The bucket's middle stands for all that is in it. */
static double bucket_ns(uint32_t bucket)
{
    return ns_of(histogram_low(bucket) / 2 + histogram_high(bucket) / 2);
}

/* Calls `visit` for each bound below which there is more than below the one before. */
static uint32_t visit_bounds(const struct histogram *h,
                             void (*visit)(void *context, int64_t us, uint64_t calls),
                             void *context)
{
    uint64_t total = histogram_total(h), seen = 0;
    uint32_t next = 0, count = 0;
    for (uint64_t bound = BOUND_NS; seen < total; bound *= 2) {
        uint64_t highest = bound + bound / BOUND_PARTS - 1, before = seen;
        for (; next < HISTOGRAM_BUCKETS && bucket_ns(next) <= (double)highest; next++)
            seen += h->counts[next];
        if (seen == before)
            continue;
        count++;
        if (visit)
            visit(context, (int64_t)(highest / 1000), seen);
    }
    return count;
}

static void reply_bound(void *context, int64_t us, uint64_t calls)
{
    reply_integer(context, us);
    reply_integer(context, (int64_t)calls);
}

static void reply_histogram(struct reply *reply, const struct command *row,
                            const struct histogram *h)
{
    reply_bulk_text(reply, row->full_name);
    reply_map(reply, 2);
    reply_bulk_text(reply, "calls");
    reply_integer(reply, (int64_t)histogram_total(h));
    reply_bulk_text(reply, "histogram_usec");
    reply_map(reply, visit_bounds(h, NULL, NULL));
    visit_bounds(h, reply_bound, reply);
}

void latency_histogram(struct call *c)
{
    latency_pack_times(server->cores[c->shard->index], c->reply.out);
}

/* Writes the histograms of a command and its subcommands where there is a reply; returns how many.
 * */
static uint32_t reply_of(struct reply *reply, const struct command *row,
                         struct histogram *const *times)
{
    uint32_t count = times[row->id] != NULL;
    if (reply && times[row->id])
        reply_histogram(reply, row, times[row->id]);
    for (uint32_t i = 0; row->subcommands && i < row->subcommand_count; i++) {
        const struct command *sub = &row->subcommands[i];
        count += times[sub->id] != NULL;
        if (reply && times[sub->id])
            reply_histogram(reply, sub, times[sub->id]);
    }
    return count;
}

static uint32_t reply_asked(struct reply *reply, const struct call *c,
                            struct histogram *const *times)
{
    uint32_t count = 0;
    if (c->argc == 2)
        for (uint32_t i = 0; i < registry_top_count(server->registry); i++)
            count += reply_of(reply, registry_top_at(server->registry, i), times);
    for (uint32_t i = 2; i < c->argc; i++) {
        const struct command *row = registry_find_full(server->registry, c->argv[i]);
        if (row)
            count += reply_of(reply, row, times);
    }
    return count;
}

void latency_histogram_merge(struct call *c, const struct split_parts *parts)
{
    struct histogram **times = latency_make_times();
    for (uint32_t i = 0; i < parts->count; i++)
        latency_add_times(times, (struct slice){parts->sections[i].data, parts->sections[i].size});
    reply_map(&c->reply, reply_asked(NULL, c, times));
    reply_asked(&c->reply, c, times);
}

/* --- INFO latencystats --- */

static void append_percentile(struct buf *to, double percentile, const struct histogram *h)
{
    char text[64];
    snprintf(text, sizeof(text), "%f", percentile);
    char *end = text + strlen(text);
    while (end[-1] == '0')
        *--end = '\0';
    if (end[-1] == '.')
        end[-1] = '\0';
    buf_printf(to, "p%s=%.3f", text, ns_of(histogram_percentile(h, percentile)) / 1000);
}

static void append_command(struct buf *to, const struct command *row, const struct histogram *h)
{
    buf_printf(to, "latency_percentiles_usec_%s:", row->full_name);
    const char *at = server->config.latency_tracking_info_percentiles;
    const char *comma = "";
    for (char *end; *at; at = end) {
        double percentile = strtod(at, &end);
        if (end == at)
            break;
        buf_append_text(to, comma);
        append_percentile(to, percentile, h);
        comma = ",";
    }
    buf_append_text(to, "\r\n");
}

void latency_append_percentiles(struct buf *to, struct histogram *const *times)
{
    for (uint32_t i = 0; i < registry_count(server->registry); i++)
        if (times[i])
            append_command(to, registry_at(server->registry, i), times[i]);
}
