/* LATENCY: what took long, by kind of event: see server/latency.h. Each core leaves its events; the
 * merge puts them together. */
#include "server/cmd/latency.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cmd/tables.h"
#include "server/server.h"

#define GRAPH_COLUMNS 80
#define GRAPH_ROWS 4
#define GRAPH_STEPS 3 /* heights within a row */

/* --- Putting together --- */

static void leave_events(struct call *c)
{
    const struct latency *l = server->cores[c->shard->index]->latency;
    if (l)
        buf_append(c->reply.out, l->events, l->count * sizeof(l->events[0]));
}

static void *zeroed(size_t size)
{
    return memset(arena_alloc(&core_self()->arena, size + 1), 0, size);
}

static struct latency_series *series_of(struct latency_all *all, const char *name)
{
    for (uint32_t i = 0; i < all->count; i++)
        if (strcmp(all->series[i].name, name) == 0)
            return &all->series[i];
    struct latency_series *s = &all->series[all->count++];
    s->name = name;
    return s;
}

static int compare_samples(const void *a, const void *b)
{
    int64_t x = ((const struct latency_sample *)a)->time_s;
    int64_t y = ((const struct latency_sample *)b)->time_s;
    return (x > y) - (x < y);
}

/* Adds a core's samples: of one second the worst stays, of all the newest. */
static void add_event(struct latency_series *s, const struct latency_event *e)
{
    struct latency_sample both[2 * LATENCY_SAMPLES];
    uint32_t n = s->count, kept = 0;
    memcpy(both, s->samples, n * sizeof(both[0]));
    for (uint32_t i = 0; i < LATENCY_SAMPLES; i++)
        if (e->samples[i].time_s)
            both[n++] = e->samples[i];
    qsort(both, n, sizeof(both[0]), compare_samples);
    for (uint32_t i = 0; i < n; i++) {
        if (kept && both[kept - 1].time_s == both[i].time_s)
            both[kept - 1].ms = both[i].ms > both[kept - 1].ms ? both[i].ms : both[kept - 1].ms;
        else
            both[kept++] = both[i];
    }
    uint32_t over = kept > LATENCY_SAMPLES ? kept - LATENCY_SAMPLES : 0;
    s->count = kept - over;
    memcpy(s->samples, both + over, s->count * sizeof(both[0]));
    s->max_ms = e->max_ms > s->max_ms ? e->max_ms : s->max_ms;
}

static int compare_series(const void *a, const void *b)
{
    return strcmp(((const struct latency_series *)a)->name,
                  ((const struct latency_series *)b)->name);
}

static struct latency_all put_together(const struct split_parts *parts)
{
    struct latency_all all = {.cores = parts->count};
    all.series = zeroed(LATENCY_EVENTS_MAX * parts->count * sizeof(*all.series));
    for (uint32_t i = 0; i < parts->count; i++) {
        const struct split_section *part = &parts->sections[i];
        for (size_t at = 0; at < part->size; at += sizeof(struct latency_event)) {
            struct latency_event e;
            memcpy(&e, part->data + at, sizeof(e));
            add_event(series_of(&all, e.name), &e);
        }
    }
    qsort(all.series, all.count, sizeof(*all.series), compare_series);
    return all;
}

static const struct latency_series *find(const struct latency_all *all, struct slice name)
{
    for (uint32_t i = 0; i < all->count; i++)
        if (slice_equal(slice_of(all->series[i].name), name))
            return &all->series[i];
    return NULL;
}

/* --- LATEST, HISTORY --- */

static void latest_merge(struct call *c, const struct split_parts *parts)
{
    struct latency_all all = put_together(parts);
    reply_array(&c->reply, all.count);
    for (uint32_t i = 0; i < all.count; i++) {
        const struct latency_series *s = &all.series[i];
        reply_array(&c->reply, 4);
        reply_bulk_text(&c->reply, s->name);
        reply_integer(&c->reply, s->samples[s->count - 1].time_s);
        reply_integer(&c->reply, s->samples[s->count - 1].ms);
        reply_integer(&c->reply, s->max_ms);
    }
}

static void history_merge(struct call *c, const struct split_parts *parts)
{
    struct latency_all all = put_together(parts);
    const struct latency_series *s = find(&all, c->argv[2]);
    reply_array(&c->reply, s ? s->count : 0);
    for (uint32_t i = 0; s && i < s->count; i++) {
        reply_array(&c->reply, 2);
        reply_integer(&c->reply, s->samples[i].time_s);
        reply_integer(&c->reply, s->samples[i].ms);
    }
}

/* --- GRAPH --- */

/* How long ago, in at most three characters and a unit. */
static void print_age(char *to, size_t size, int64_t seconds)
{
    if (seconds < 60)
        snprintf(to, size, "%" PRId64 "s", seconds);
    else if (seconds < 3600)
        snprintf(to, size, "%" PRId64 "m", seconds / 60);
    else if (seconds < 86400)
        snprintf(to, size, "%" PRId64 "h", seconds / 3600);
    else
        snprintf(to, size, "%" PRId64 "d", seconds / 86400);
}

/* A column's character in a row, counted from the bottom. */
static char column_char(int64_t ms, int64_t low, int64_t high, int row)
{
    static const char tops[GRAPH_STEPS] = {'_', 'o', '#'};
    int64_t range = high > low ? high - low : 1;
    int height = (int)((ms - low) * (GRAPH_ROWS * GRAPH_STEPS - 1) / range);
    int step = height - row * GRAPH_STEPS;
    return step < 0 ? ' ' : step >= GRAPH_STEPS ? '|' : tops[step];
}

static void append_columns(struct buf *to, const struct latency_sample *samples, uint32_t count,
                           int64_t low, int64_t high)
{
    for (int row = GRAPH_ROWS - 1; row >= 0; row--) {
        for (uint32_t i = 0; i < count; i++) {
            char x = column_char(samples[i].ms, low, high, row);
            buf_append(to, &x, 1);
        }
        buf_append_text(to, "\n");
    }
    buf_append_text(to, "\n");
}

/* Under each column its age, from top to bottom. */
static void append_ages(struct buf *to, const struct latency_sample *samples, uint32_t count,
                        int64_t now_s)
{
    bool more = true;
    for (size_t line = 0; more; line++) {
        more = false;
        for (uint32_t i = 0; i < count; i++) {
            char age[32];
            print_age(age, sizeof(age), now_s - samples[i].time_s);
            size_t size = strlen(age);
            buf_append(to, line < size ? &age[line] : " ", 1);
            more |= line + 1 < size;
        }
        buf_append_text(to, "\n");
    }
}

static void append_graph(struct buf *to, const struct latency_series *s, int64_t now_s)
{
    int64_t low = s->samples[0].ms, high = low;
    for (uint32_t i = 0; i < s->count; i++) {
        low = s->samples[i].ms < low ? s->samples[i].ms : low;
        high = s->samples[i].ms > high ? s->samples[i].ms : high;
    }
    buf_printf(to,
               "%s - high %" PRId64 " ms, low %" PRId64 " ms (all time high %" PRId64 " ms)\n",
               s->name, high, low, s->max_ms);
    for (int i = 0; i < GRAPH_COLUMNS; i++)
        buf_append_text(to, "-");
    buf_append_text(to, "\n");
    for (uint32_t at = 0; at < s->count; at += GRAPH_COLUMNS) {
        uint32_t left = s->count - at, count = left < GRAPH_COLUMNS ? left : GRAPH_COLUMNS;
        append_columns(to, s->samples + at, count, low, high);
        append_ages(to, s->samples + at, count, now_s);
    }
}

static void graph_merge(struct call *c, const struct split_parts *parts)
{
    struct latency_all all = put_together(parts);
    const struct latency_series *s = find(&all, c->argv[2]);
    if (!s) {
        reply_error(&c->reply, "ERR No samples available for event '%.*s'",
                    (int)(c->argv[2].size < 128 ? c->argv[2].size : 128), c->argv[2].data);
        return;
    }
    struct buf text;
    buf_init(&text);
    append_graph(&text, s, c->now_ms / 1000);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

static void doctor_merge(struct call *c, const struct split_parts *parts)
{
    struct latency_all all = put_together(parts);
    struct buf text;
    buf_init(&text);
    latency_report(c, &all, &text);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

/* --- RESET --- */

static bool is_asked_for(const struct call *c, const char *name)
{
    for (uint32_t i = 2; i < c->argc; i++)
        if (slice_equal(c->argv[i], slice_of(name)))
            return true;
    return c->argc == 2;
}

/* Leaves the names of what was forgotten. */
static void reset_run(struct call *c)
{
    struct core *core = server->cores[c->shard->index];
    for (uint32_t i = core->latency ? core->latency->count : 0; i-- > 0;) {
        const char *name = core->latency->events[i].name;
        if (!is_asked_for(c, name))
            continue;
        buf_append(c->reply.out, &name, sizeof(name));
        latency_forget(core, i);
    }
}

static void reset_merge(struct call *c, const struct split_parts *parts)
{
    struct latency_all all = {
        .series = zeroed(LATENCY_EVENTS_MAX * parts->count * sizeof(*all.series)),
    };
    for (uint32_t i = 0; i < parts->count; i++) {
        for (size_t at = 0; at < parts->sections[i].size; at += sizeof(char *)) {
            const char *name;
            memcpy(&name, parts->sections[i].data + at, sizeof(name));
            series_of(&all, name);
        }
    }
    reply_integer(&c->reply, all.count);
}

static void latency_help(struct call *c)
{
    static const char *const lines[] = {
        "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return a report on what took long, with advice.",
        "GRAPH <event>",
        "    Return an ASCII graph of the latency of an <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of latencies in the format of a histogram for the "
        "specified command names.",
        "    If no commands are specified then all histograms are replied.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define ADMIN_FLAGS (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)
#define SPECIAL "nondeterministic_output request_policy:all_nodes response_policy:special"
#define MERGED(word, body, fold, args) \
    .name = word, .run = body, .merge = fold, .arity = args, .flags = ADMIN_FLAGS, \
    .route = ROUTE_ALL, .split = SPLIT_MERGE, .group = "server"

static const struct command latency_subcommands[] = {
    {MERGED("doctor", leave_events, doctor_merge, 2), .since = "2.8.13", .complexity = "O(1)",
     .summary = "Returns a report on what took long, for people.", .tips = SPECIAL},
    {MERGED("graph", leave_events, graph_merge, 3), .since = "2.8.13", .complexity = "O(1)",
     .syntax = "event", .summary = "Returns a graph of an event's latency.", .tips = SPECIAL},
    {.name = "help", .run = latency_help, .arity = 2, .flags = CMD_LOADING | CMD_STALE,
     .route = ROUTE_SESSION, .group = "server", .since = "2.8.13", .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {MERGED("histogram", latency_histogram, latency_histogram_merge, -2), .since = "7.0.0",
     .complexity =
         "O(N) where N is the number of commands with latency information being retrieved.",
     .syntax = "[command [command ...]]",
     .summary = "Returns the distribution of the times of some or all commands.", .tips = SPECIAL},
    {MERGED("history", leave_events, history_merge, 3), .since = "2.8.13", .complexity = "O(1)",
     .syntax = "event", .summary = "Returns an event's samples: times and latencies.",
     .tips = SPECIAL},
    {MERGED("latest", leave_events, latest_merge, 2), .since = "2.8.13", .complexity = "O(1)",
     .summary = "Returns the latest sample of each event.", .tips = SPECIAL},
    {MERGED("reset", reset_run, reset_merge, -2), .since = "2.8.13", .complexity = "O(1)",
     .syntax = "[event [event ...]]", .summary = "Forgets the samples of some or all events.",
     .tips = "request_policy:all_nodes response_policy:agg_sum"},
    {.name = NULL},
};

const struct command latency_commands[] = {
    {.name = "latency", .arity = -2, .route = ROUTE_SESSION, .group = "server", .since = "2.8.13",
     .complexity = "Depends on subcommand.",
     .summary = "A container for commands on what takes long.",
     .subcommands = latency_subcommands},
    {.name = NULL},
};
