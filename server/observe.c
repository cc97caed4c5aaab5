/* Observing commands: see observe.h. */
#include "server/observe.h"

#include "proto/mem.h"
#include "server/hotkeys.h"
#include "server/latency.h"
#include "server/monitor.h"
#include "server/server.h"
#include "server/session.h"
#include "server/slowlog.h"
#include "shard/call.h"
#include "shard/type/histogram.h"

/* What takes less is all at one time: expiries are in milliseconds. */
#define MOMENT_US 1000
/* More microseconds than any command takes: their ticks still fit. */
#define THRESHOLD_US_MAX (INT64_C(1) << 40)

static uint64_t ticks_of(int64_t us)
{
    return us > THRESHOLD_US_MAX ? UINT64_MAX : (uint64_t)((double)us * server->ticks_per_us);
}

static void apply_to(struct core *c)
{
    const struct observing *o = &server->observing;
    bool all = o->monitored || o->hot_interval;
    uint64_t slow = o->slowlog_ticks < o->latency_ticks ? o->slowlog_ticks : o->latency_ticks;
    if (slow > o->moment_ticks)
        slow = o->moment_ticks;
    c->look_ticks = all ? 0 : slow;
    c->notes_times = server->config.latency_tracking;
    if (!c->notes_times)
        observe_forget_times(c);
}

void observe_apply(void)
{
    const struct config *config = &server->config;
    struct observing *o = &server->observing;
    o->slowlog_ticks = config->slowlog_log_slower_than < 0
                           ? UINT64_MAX : ticks_of(config->slowlog_log_slower_than);
    o->latency_ticks = config->latency_monitor_threshold == 0
                           ? UINT64_MAX : ticks_of(config->latency_monitor_threshold * 1000);
    o->moment_ticks = ticks_of(MOMENT_US);
    o->monitored = !core_mask_empty(&o->monitors);
    for (uint32_t i = 0; server->cores && i < server->core_count; i++)
        apply_to(server->cores[i]);
}

/* What the server does of its own accord (notifications), or has read from a file, is nobody's. */
static bool is_anybodys(const struct call *call)
{
    return call->session && !call->session->replay;
}

static void note_slow(struct core *c, const struct call *call, uint64_t ticks)
{
    const struct observing *o = &server->observing;
    int64_t us = (int64_t)((double)ticks / server->ticks_per_us);
    if (ticks >= o->slowlog_ticks && !(call->command->flags & CMD_SKIP_SLOWLOG))
        slowlog_add(c, call, us);
    if (ticks >= o->latency_ticks)
        latency_note(c, call->command->flags & CMD_FAST ? "fast-command" : "command", us);
}

static bool is_shown(const struct call *call)
{
    return server->observing.monitored && !(call->command->flags & (CMD_SKIP_MONITOR | CMD_ADMIN));
}

void observe_call(struct core *c, const struct call *call, uint64_t ticks)
{
    /* Commands within a script or transaction are all at the time of that, as in Redis. */
    if (ticks >= server->observing.moment_ticks && !c->inner)
        core_pass_time(c, call->shard, call->shards);
    if (!is_anybodys(call))
        return;
    note_slow(c, call, ticks);
    if (server->observing.hot_interval)
        hotkeys_note(call);
    if (!call->repeated && is_shown(call))
        monitor_show(c, call);
}

void observe_wait(struct core *c, const struct call *call)
{
    if (is_anybodys(call) && !call->repeated && is_shown(call))
        monitor_show(c, call);
}

void observe_part(struct core *c, const struct call *call, bool first)
{
    if (!is_anybodys(call))
        return;
    if (server->observing.hot_interval)
        hotkeys_note(call);
    if (first && is_shown(call))
        monitor_show(c, call);
}

void observe_split(struct core *c, const struct call *call, uint64_t ticks)
{
    if (is_anybodys(call))
        note_slow(c, call, ticks);
}

void observe_script(struct core *c, const struct call *call)
{
    if (is_anybodys(call) && server->observing.monitored)
        monitor_show(c, call);
}

void observe_first_time(struct command_stats *st, uint64_t ticks)
{
    st->times = mem_alloc_zeroed(sizeof(*st->times));
    histogram_note(st->times, ticks);
}

void observe_forget_times(struct core *c)
{
    for (uint32_t i = 0; i < registry_count(server->registry); i++) {
        mem_free(c->command_stats[i].times);
        c->command_stats[i].times = NULL;
    }
}

void observe_finish(struct core *c)
{
    observe_forget_times(c);
    slowlog_finish(c);
    latency_finish(c);
    monitor_finish(c);
    hotkeys_finish(c);
}
