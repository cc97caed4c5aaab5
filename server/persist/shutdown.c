/* A clean stop: see save.h.
 *
 * What anybody was told was done must be part of the last snapshot. So, before that is cut, clients
 * are held as by CLIENT PAUSE ALL, from one place in the order on; then each core lets what it had
 * taken before come to its end and says so; then comes the cut. What is left of the run after it
 * changes nothing. All of it is core 0's, step by step, each time it is called. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/reply.h"
#include "server/bundle.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save_inside.h"
#include "server/persist/stand.h"
#include "server/process_words.h"
#include "server/server.h"

struct bundle **shutdown_begin(const struct shutdown_plan *plan)
{
    struct shutdown *x = &server->save->shutdown;
    const struct core *self = core_self();
    pthread_mutex_lock(&server->save->mutex);
    bool free = atomic_load(&x->state) == SHUTDOWN_NONE;
    if (free) {
        x->plan = *plan;
        x->waiter = NULL;
        x->home = self ? self->index : UINT32_MAX;
        atomic_store(&x->state, SHUTDOWN_ASKED);
    }
    pthread_mutex_unlock(&server->save->mutex);
    if (!free)
        return NULL;
    save_call_core_0();
    return plan->waited ? &x->waiter : NULL;
}

void shutdown_by_signal(unsigned flags)
{
    struct shutdown_plan plan = {
        .save = (flags & PROCESS_SAVE) != 0,
        .nosave = (flags & PROCESS_NOSAVE) != 0,
        .force = (flags & PROCESS_FORCE) != 0,
    };
    shutdown_begin(&plan);
}

bool shutdown_in_progress(void)
{
    return atomic_load(&server->save->shutdown.state) != SHUTDOWN_NONE;
}

static bool journal_on(void)
{
    return server->keyspace.options.journal;
}

static bool plan_saves(const struct shutdown_plan *plan)
{
    return (plan->save || (!plan->nosave && server->config.save[0])) && !load_in_progress();
}

bool shutdown_is_trivial(const struct shutdown_plan *plan)
{
    return !plan_saves(plan) && !journal_on() && !aof_awaits_base();
}

static void stop_server(void)
{
    atomic_store(&server->shutdown_asked, true);
    kill(getpid(), SIGUSR2);
}

/* --- Clients held, and let go --- */

static void hold(struct core *c, struct shard *const *shards, void *context)
{
    struct save *s = server->save;
    stand_hold_clients();
    for (uint32_t i = 0; i < server->core_count; i++)
        atomic_store(&s->cores[i].quiet, false);
    atomic_fetch_or(&s->attention, SAVE_DRAINING);
}

static void let_go(struct core *c, struct shard *const *shards, void *context)
{
    stand_release_clients();
}

/* Bundles that are under way whatever clients do: those that wait, the stand's own, SHUTDOWN's. */
static bool is_quiet(const struct core *c)
{
    const struct save *s = server->save;
    uint32_t standing = c->blocked_count;
    if (c->index == 0)
        standing += stand_under_way();
    if (s->shutdown.plan.waited && s->shutdown.home == c->index)
        standing++;
    return c->request_count == 0 && c->hop_count == 0 && c->dispatched <= standing;
}

void shutdown_drain(struct core *c)
{
    struct save_core *k = &server->save->cores[c->index];
    if (atomic_load(&k->quiet) || !is_quiet(c))
        return;
    atomic_store(&k->quiet, true);
    save_call_core_0();
}

static bool all_quiet(const struct save *s)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (!atomic_load(&s->cores[i].quiet))
            return false;
    return true;
}

/* --- The last snapshot --- */

static void saved(void *context, bool ok, const char *error)
{
    struct shutdown *x = context;
    x->ok = ok;
    atomic_store(&x->state, SHUTDOWN_SAVED);
}

static void cut(struct core *c, struct shard *const *shards, void *context)
{
    struct shutdown *x = context;
    struct save_plan plan;
    save_plan_rdb(&plan);
    plan.foreground = true;
    plan.done = saved;
    plan.context = x;
    atomic_store(&x->state, SHUTDOWN_SAVING);
    if (!save_begin(c, shards, &plan))
        saved(x, false, NULL);
}

static void flushed(void *context, bool ok)
{
    struct shutdown *x = context;
    x->ok = ok;
    atomic_store(&x->state, SHUTDOWN_FLUSHED);
    save_call_core_0();
}

/* --- Answers --- */

static void write_nothing(struct reply *r, void *context)
{
}

static void write_refused(struct reply *r, void *context)
{
    reply_error(r, "ERR Errors trying to SHUTDOWN. Check logs.");
}

static void answer(struct core *c, struct shutdown *x, bool stops)
{
    if (x->waiter)
        bundle_answer(c, x->waiter, stops ? write_nothing : write_refused, NULL);
    x->waiter = NULL;
}

/* --- The steps: each returns true where the next may be taken at once --- */

static bool step_asked(struct core *c, struct shutdown *x)
{
    x->saves = plan_saves(&x->plan);
    log_write(&server->log, LOG_NOTICE, "User requested shutdown...");
    /* (A waiter is certain to be there once its core has taken part in a transaction.) */
    if (shutdown_is_trivial(&x->plan) && !x->plan.waited) {
        atomic_store(&x->state, SHUTDOWN_STOPPING);
        stop_server();
        return false;
    }
    atomic_store(&x->state, SHUTDOWN_TAKEN);
    return true;
}

/* What failed is a reason to stay, but where it is forced. */
static bool may_go_on(struct shutdown *x, const char *error)
{
    if (x->ok)
        return true;
    log_write(&server->log, LOG_WARNING, "%s%s", error,
              x->plan.force ? ". Exit anyway." : ", can't exit.");
    if (x->plan.force)
        return true;
    log_write(&server->log, LOG_WARNING,
              "Errors trying to shut down the server. Check the logs for more information.");
    atomic_store(&x->state, SHUTDOWN_REFUSED);
    return false;
}

static void give_up_saves(void)
{
    if (!save_in_progress())
        return;
    log_write(&server->log, LOG_WARNING,
              save_kind_now() == SAVE_RDB ? "There is a child saving an .rdb. Killing it!"
                                          : "There is a child rewriting the AOF. Killing it!");
    save_abandon();
}

/* Clients are held. */
static bool step_held(struct shutdown *x)
{
    x->ok = !aof_awaits_base();
    if (!may_go_on(x, "Writing initial AOF"))
        return true;
    give_up_saves();
    atomic_store(&x->state, SHUTDOWN_DRAINING);
    return true;
}

static bool step_drained(struct core *c, struct save *s)
{
    if (!all_quiet(s) || save_in_progress())
        return false;
    if (!s->shutdown.saves) {
        atomic_store(&s->shutdown.state, SHUTDOWN_SAVED);
        s->shutdown.ok = true;
        return true;
    }
    if (!stand_publish(c, cut, &s->shutdown))
        return false;
    log_write(&server->log, LOG_NOTICE, "Saving the final RDB snapshot before exiting.");
    atomic_store(&s->shutdown.state, SHUTDOWN_CUTTING);
    return false;
}

static bool step_saved(struct core *c, struct shutdown *x)
{
    if (!may_go_on(x, "Error trying to save the DB"))
        return true;
    if (!journal_on()) {
        x->ok = true;
        atomic_store(&x->state, SHUTDOWN_FLUSHED);
        return true;
    }
    log_write(&server->log, LOG_NOTICE, "Calling fsync() on the AOF file.");
    atomic_store(&x->state, SHUTDOWN_FLUSHING);
    journal_flush(c, flushed, x);
    return false;
}

static bool step_flushed(struct core *c, struct save *s)
{
    struct shutdown *x = &s->shutdown;
    if (!may_go_on(x, "Error trying to write the append only file"))
        return true;
    atomic_fetch_and(&s->attention, ~SAVE_DRAINING);
    atomic_store(&x->state, SHUTDOWN_STOPPING);
    answer(c, x, true);
    stop_server();
    return false;
}

static bool step(struct core *c, struct save *s)
{
    struct shutdown *x = &s->shutdown;
    switch ((enum shutdown_state)atomic_load(&x->state)) {
    case SHUTDOWN_ASKED:
        return step_asked(c, x);
    case SHUTDOWN_TAKEN:
        if (stand_publish(c, hold, NULL))
            atomic_store(&x->state, SHUTDOWN_HOLDING);
        return false;
    case SHUTDOWN_HOLDING:
        return !stand_under_way() && step_held(x);
    case SHUTDOWN_DRAINING: return step_drained(c, s);
    case SHUTDOWN_SAVED: return step_saved(c, x);
    case SHUTDOWN_FLUSHED: return step_flushed(c, s);
    case SHUTDOWN_REFUSED:
        atomic_fetch_and(&s->attention, ~SAVE_DRAINING);
        if (stand_publish(c, let_go, NULL))
            atomic_store(&x->state, SHUTDOWN_REFUSING);
        return false;
    case SHUTDOWN_REFUSING:
        if (stand_under_way())
            return false;
        answer(c, x, false);
        atomic_store(&x->state, SHUTDOWN_NONE);
        return false;
    default: return false;
    }
}

void shutdown_step(struct core *c)
{
    while (step(c, server->save))
        continue;
}
