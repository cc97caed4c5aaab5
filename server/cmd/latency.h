/* What LATENCY's files share, and INFO latencystats with them.
 *
 *   latency.c         the commands on events; the rows
 *   latency_doctor.c  DOCTOR's report
 *   latency_times.c   HISTOGRAM; the histograms of commands, added up over the cores */
#pragma once

#include "server/latency.h"
#include "shard/call.h"

/* An event with the samples of all cores, oldest first. */
struct latency_series {
    const char *name;
    int64_t max_ms;
    uint32_t count;
    struct latency_sample samples[LATENCY_SAMPLES];
};

struct latency_all {
    struct latency_series *series; /* by name */
    uint32_t count;
    uint32_t cores;
};

void latency_report(struct call *c, const struct latency_all *all, struct buf *text);

void latency_histogram(struct call *c);
void latency_histogram_merge(struct call *c, const struct split_parts *parts);

/* Appends a core's histograms, of the commands that have any; and adds them to `times` (by command
 * id, in the arena). */
void latency_pack_times(const struct core *c, struct buf *to);
struct histogram **latency_make_times(void);
void latency_add_times(struct histogram **times, struct slice part);
/* INFO latencystats. */
void latency_append_percentiles(struct buf *to, struct histogram *const *times);
