/* Observing commands: what SLOWLOG, LATENCY, MONITOR and HOTKEYS learn of them.
 *
 * The hot path has one comparison for all four: a command that took core.look_ticks or more is
 * handed over here, once it has run. Where somebody wants to see every command (MONITOR, HOTKEYS, a
 * slow log from 0 on) that is 0. Else it is a millisecond at most: a command that took so long has
 * the core look at its clock again, so that what comes behind it finds gone what has expired
 * meanwhile. Beside that, the time of each command goes into its histogram (latency-tracking): one
 * line of memory.
 *
 * What is wanted changes only while all cores stand still (CONFIG SET, MONITOR, HOTKEYS) and is
 * read by all of them as it is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/order.h"

struct call;
struct command_stats;
struct core;

/* The process's. */
struct observing {
    uint64_t slowlog_ticks;    /* a command that took so long is slow; UINT64_MAX: none is */
    uint64_t latency_ticks;    /* ... is an event of the latency monitor */
    uint64_t moment_ticks;     /* ... is not over in a moment: the core looks at its clock again */
    struct core_mask monitors; /* cores with sessions that MONITOR */
    bool monitored;            /* there are any */
    uint32_t hot_interval;     /* one key in so many is noted by HOTKEYS; 0: off */
};

/* Puts the configuration, the monitors and HOTKEYS in force. While all cores stand still, or before
 * they run. */
void observe_apply(void);

/* A command has run here, which took so long. */
void observe_call(struct core *c, const struct call *call, uint64_t ticks);
/* It waits; it is handed over once more when that has ended. */
void observe_wait(struct core *c, const struct call *call);
/* This shard's part of a split command; `first`: of all parts. Then the whole, at home. */
void observe_part(struct core *c, const struct call *call, bool first);
void observe_split(struct core *c, const struct call *call, uint64_t ticks);
/* A script begins: before the commands that it calls. */
void observe_script(struct core *c, const struct call *call);

/* The first time that is noted of a command here. */
void observe_first_time(struct command_stats *st, uint64_t ticks);
/* Forgets the times of all commands. On the core's thread, or while it stands still. */
void observe_forget_times(struct core *c);
/* Frees what all of them have, at the core's end. */
void observe_finish(struct core *c);
