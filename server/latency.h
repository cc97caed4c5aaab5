/* The latency monitor: what took latency-monitor-threshold milliseconds or more, by kind of event.
 *
 * Each core notes its own events, the last LATENCY_SAMPLES seconds that had any of a kind, the
 * worst of each second, as Redis does; LATENCY puts those of all cores together: the worst of a
 * second is the worst of any core. */
#pragma once

#include "server/core.h"

#define LATENCY_SAMPLES 160
#define LATENCY_EVENTS_MAX 32 /* kinds; the server names no more */

struct latency_sample {
    int64_t time_s; /* since the epoch; 0: none */
    int64_t ms;
};

struct latency_event {
    const char *name; /* constant */
    int64_t max_ms;   /* since the last reset */
    uint32_t next;    /* where the next sample goes */
    struct latency_sample samples[LATENCY_SAMPLES];
};

struct latency {
    struct latency_event events[LATENCY_EVENTS_MAX];
    uint32_t count;
};

/* Notes an event where it took as long as the threshold. On the core's thread. `event` is a
 * constant: "command", "expire-cycle", "aof-fsync-always", ... */
void latency_note(struct core *c, const char *event, int64_t duration_us);
/* Forgets an event's samples. */
void latency_forget(struct core *c, uint32_t index);
void latency_finish(struct core *c);
/* The time by which durations are taken, in microseconds. */
int64_t latency_now_us(void);
