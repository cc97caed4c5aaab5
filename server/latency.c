/* The latency monitor: see latency.h. */
#include "server/latency.h"

#include <string.h>
#include <time.h>

#include "proto/mem.h"
#include "server/server.h"

int64_t latency_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct latency_event *find(struct latency *l, const char *name)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (strcmp(l->events[i].name, name) == 0)
            return &l->events[i];
    if (l->count == LATENCY_EVENTS_MAX)
        return NULL;
    struct latency_event *e = &l->events[l->count++];
    *e = (struct latency_event){.name = name};
    return e;
}

static void add(struct latency_event *e, int64_t time_s, int64_t ms)
{
    if (ms > e->max_ms)
        e->max_ms = ms;
    struct latency_sample *last =
        &e->samples[(e->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES];
    if (last->time_s == time_s) {
        last->ms = ms > last->ms ? ms : last->ms;
        return;
    }
    e->samples[e->next] = (struct latency_sample){time_s, ms};
    e->next = (e->next + 1) % LATENCY_SAMPLES;
}

void latency_note(struct core *c, const char *event, int64_t duration_us)
{
    int64_t threshold_ms = server->config.latency_monitor_threshold;
    if (threshold_ms == 0 || duration_us < threshold_ms * 1000)
        return;
    if (!c->latency)
        c->latency = mem_alloc_zeroed(sizeof(*c->latency));
    struct latency_event *e = find(c->latency, event);
    if (e)
        add(e, c->wall_ms / 1000, duration_us / 1000);
}

void latency_forget(struct core *c, uint32_t index)
{
    c->latency->events[index] = c->latency->events[--c->latency->count];
}

void latency_finish(struct core *c)
{
    mem_free(c->latency);
    c->latency = NULL;
}
