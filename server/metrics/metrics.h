/* Metrics over HTTP: what the server tells those who watch it, on a port of its own.
 *
 *   /metrics      every figure, in Prometheus' text format, version 0.0.4
 *   /healthz      200 where the server serves, 503 with the reasons where it does not
 *   /             a page for people, which asks for /status.json every two seconds
 *
 *   http.c        the port, requests, limits; libmicrohttpd's threads
 *   sample.c      how figures come from the cores to these
 *   text.c        /metrics: the figures by name
 *   prometheus.c  ... and how lines of that format are written
 *   status.c      /status.json
 *   health.c      /healthz
 *
 * Nothing here holds up a core. A thread of HTTP asks the cores for their figures and wakes them;
 * each leaves a copy at its next turn of its loop; who has not done so in time is shown as it was
 * before, and marked so. There is no transaction: the figures of two cores may be of moments some
 * microseconds apart. */
#pragma once

#include "server/config.h"
#include "server/core.h"

/* Connections at a time on each address; further ones wait until one of them ends. */
#define METRICS_CONNECTIONS_MAX 32
/* Descriptors that an address takes. */
#define METRICS_FILES (METRICS_CONNECTIONS_MAX + 4)

struct metrics;

/* Binds what metrics-port and metrics-bind name, if anything; false with the cure in `error`. Main
 * thread, before the cores run. */
bool metrics_open(char *error, size_t error_size);
/* Begins to answer: the cores' rings are there. False with the cause in `error`. */
bool metrics_start(char *error, size_t error_size);
/* Ends that, while the rings are there still. */
void metrics_stop(void);
/* Main thread, after the cores have ended. */
void metrics_destroy(void);
/* Descriptors that all of it takes, with this configuration. */
uint32_t metrics_files(const struct config *c);

/* The slow half of metrics_step. */
void metrics_leave(struct core *c);
/* Each iteration of each core: leaves a copy of the core's figures where they were asked for. */
static inline void metrics_step(struct core *c)
{
    /* Relaxed: metrics_leave looks again. */
    if (__builtin_expect(atomic_load_explicit(&c->metrics_asked, memory_order_relaxed), 0))
        metrics_leave(c);
}
