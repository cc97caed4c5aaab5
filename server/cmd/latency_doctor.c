/* LATENCY DOCTOR: the events in figures, and what an operator can do about them. Each advice is
 * given for a cause that the events, the options or the kernel show. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/cmd/latency.h"
#include "server/server.h"

#define LINE_SIZE 256

struct figures {
    int64_t low_ms, high_ms, mean_ms, deviation_ms;
    int64_t period_s; /* between two of them, on average; 0: there was one */
};

static struct figures measure(const struct latency_series *s)
{
    struct figures f = {.low_ms = s->samples[0].ms, .high_ms = s->samples[0].ms};
    int64_t sum = 0, deviations = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        int64_t ms = s->samples[i].ms;
        sum += ms;
        f.low_ms = ms < f.low_ms ? ms : f.low_ms;
        f.high_ms = ms > f.high_ms ? ms : f.high_ms;
    }
    f.mean_ms = sum / s->count;
    for (uint32_t i = 0; i < s->count; i++) {
        int64_t off = s->samples[i].ms - f.mean_ms;
        deviations += off < 0 ? -off : off;
    }
    f.deviation_ms = deviations / s->count;
    if (s->count > 1)
        f.period_s = (s->samples[s->count - 1].time_s - s->samples[0].time_s) / (s->count - 1);
    return f;
}

static void append_event(struct buf *to, uint32_t number, const struct latency_series *s)
{
    struct figures f = measure(s);
    buf_printf(to,
               "%u. %s: %u latency spikes (average %" PRId64 "ms, mean deviation %" PRId64
               "ms, period %" PRId64 " sec). Worst all time event %" PRId64 "ms.\n",
               number, s->name, s->count, f.mean_ms, f.deviation_ms, f.period_s, s->max_ms);
}

static bool has(const struct latency_all *all, const char *name)
{
    for (uint32_t i = 0; i < all->count; i++)
        if (strncmp(all->series[i].name, name, strlen(name)) == 0)
            return true;
    return false;
}

/* --- Advice --- */

static void advise_on_commands(struct buf *to)
{
    const struct config *c = &server->config;
    int64_t threshold_us = c->latency_monitor_threshold * 1000;
    if (c->slowlog_log_slower_than < 0)
        buf_printf(to,
                   "- Commands ran for long, and the slow log is off. Turn it on to learn which: "
                   "CONFIG SET slowlog-log-slower-than %" PRId64 "\n", threshold_us);
    else if (c->slowlog_log_slower_than > threshold_us)
        buf_printf(to,
                   "- Some of the commands that ran for long are too fast for the slow log. To see "
                   "them there: CONFIG SET slowlog-log-slower-than %" PRId64 "\n", threshold_us);
    else
        buf_append_text(to,
                        "- Look at the slow log for the commands that ran for long: SLOWLOG GET. "
                        "Commands on large values, KEYS, and scripts are the usual ones.\n");
    if (server->core_count > 1)
        buf_append_text(to,
                        "- Commands on keys of several shards, and scripts, stop those shards "
                        "while they run. Where SLOWLOG shows such commands, keys that are used "
                        "together can be kept on one shard by a common {tag}.\n");
}

static void advise_on_fast_commands(struct buf *to)
{
    buf_append_text(to,
                    "- Commands that touch little took long: the server was not given CPU time, or "
                    "waited for memory. See that other processes leave it the CPUs (and a virtual "
                    "machine its share), that no CPU quota cuts it short, and that nothing is "
                    "swapped.\n");
}

/* Bytes of the process that were swapped out, in kB; -1: not known. */
static long swapped_kb(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        return -1;
    char line[LINE_SIZE];
    long kb = -1;
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "VmSwap: %ld kB", &kb) == 1)
            break;
    fclose(f);
    return kb;
}

static void advise_on_memory(struct buf *to)
{
    long kb = swapped_kb();
    if (kb > 0)
        buf_printf(to,
                   "- %ld kB of the process are swapped out: whoever needs them waits for the "
                   "disk. Give the machine more memory, set maxmemory, or turn swap off.\n", kb);
}

static void advise_on_files(struct buf *to)
{
    const struct config *c = &server->config;
    buf_append_text(to,
                    "- Writing or syncing the append-only file took long. The disk is slow, or "
                    "busy with something else: use a local one, and see what else writes to it.\n");
    if (c->appendonly && c->appendfsync == SYNC_ALWAYS)
        buf_append_text(to,
                        "- appendfsync is 'always': each reply to a write waits for the disk. With "
                        "'everysec' none does, and a crash loses a second at most.\n");
    if (c->appendonly && !c->no_appendfsync_on_rewrite)
        buf_append_text(to,
                        "- Where the spikes fall together with snapshots and rewrites, "
                        "no-appendfsync-on-rewrite avoids them, for less safety meanwhile.\n");
}

static void advise_on_expiry(struct buf *to)
{
    buf_append_text(to,
                    "- Removing keys whose time has come took long: very large values are among "
                    "them, or a great many end at once. Spread the times, and set "
                    "lazyfree-lazy-expire so that large values are freed in steps.\n");
}

static void advise_on_eviction(struct buf *to)
{
    buf_append_text(to,
                    "- Making room under maxmemory took long. Sudden large writes, and values that "
                    "are large themselves, cause that; lazyfree-lazy-eviction frees them in "
                    "steps.\n");
}

static void append_advice(struct buf *to, const struct latency_all *all)
{
    size_t before = to->size;
    buf_append_text(to, "\nWhat can be done:\n\n");
    size_t begun = to->size;
    if (has(all, "command"))
        advise_on_commands(to);
    if (has(all, "fast-command"))
        advise_on_fast_commands(to);
    advise_on_memory(to);
    if (has(all, "aof-"))
        advise_on_files(to);
    if (has(all, "expire-"))
        advise_on_expiry(to);
    if (has(all, "eviction-"))
        advise_on_eviction(to);
    if (to->size == begun) {
        to->size = before;
        buf_append_text(to, "\nThere is no advice for these events.\n");
    }
}

void latency_report(struct call *c, const struct latency_all *all, struct buf *text)
{
    (void)c;
    int64_t threshold_ms = server->config.latency_monitor_threshold;
    if (all->count == 0 && threshold_ms == 0) {
        buf_append_text(text,
                        "Latency monitoring is disabled, so there is nothing to report. Turn it on "
                        "with CONFIG SET latency-monitor-threshold <milliseconds>.\n");
        return;
    }
    if (all->count == 0) {
        buf_printf(text, "No event has taken %" PRId64 " ms or more since it was last reset.\n",
                   threshold_ms);
        return;
    }
    buf_printf(text, "Events that took %" PRId64 " ms or more, over %u shards:\n\n", threshold_ms,
               all->cores);
    for (uint32_t i = 0; i < all->count; i++)
        append_event(text, i + 1, &all->series[i]);
    append_advice(text, all);
}
