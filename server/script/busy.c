/* Scripts that run for long: see busy.h. */
#include "server/script/busy.h"

#include <time.h>

#include "proto/mem.h"
#include "server/serve.h"
#include "server/server.h"

struct busy_scripts *busy_create(uint32_t core_count)
{
    size_t size = sizeof(struct busy_scripts) + core_count * sizeof(struct busy_place);
    struct busy_scripts *b = mem_alloc_aligned(size, _Alignof(struct busy_scripts));
    memset(b, 0, size);
    b->place_count = core_count;
    pthread_mutex_init(&b->story_lock, NULL);
    return b;
}

void busy_destroy(struct busy_scripts *b)
{
    pthread_mutex_destroy(&b->story_lock);
    mem_free(b);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct busy_place *place_of(const struct script_run *r)
{
    return &server->busy->places[r->inner.core->index];
}

static void enter(struct script_run *r, int64_t elapsed_ms)
{
    struct busy_place *p = place_of(r);
    log_write(&server->log, LOG_WARNING,
              "Slow script detected: still in execution after %lld milliseconds. You can try "
              "killing the script using the %s command. Script name is: %s.",
              (long long)elapsed_ms, r->is_function ? "FUNCTION KILL" : "SCRIPT KILL", r->name);
    r->busy = true;
    busy_story_keep(p, r);
    atomic_store(&p->started_us, r->started_us);
    atomic_store(&p->state, BUSY_RUNNING | (r->is_function ? BUSY_FUNCTION : 0) |
                                (r->inner.written ? BUSY_WRITTEN : 0));
    atomic_fetch_add(&server->busy->count, 1);
    serve_announce(&r->inner, r->is_function ? HELD_BY_FUNCTION : HELD_BY_SCRIPT);
}

bool busy_look(struct script_run *r)
{
    int64_t threshold_ms = server->config.busy_reply_threshold;
    if (!r->started_us)
        r->started_us = now_us(); /* short runs never get here, and pay for no clock */
    if (threshold_ms == 0)
        return false;
    int64_t elapsed_ms = (now_us() - r->started_us) / 1000;
    if (elapsed_ms < threshold_ms)
        return false;
    if (!r->busy)
        enter(r, elapsed_ms);
    serve_meanwhile(r->inner.core, r->inner.at_home ? r->inner.session : NULL);
    return (atomic_load(&place_of(r)->state) & BUSY_KILLED) ||
           atomic_load_explicit(&server->stopping, memory_order_relaxed);
}

bool busy_write(struct script_run *r)
{
    return !(atomic_fetch_or(&place_of(r)->state, BUSY_WRITTEN) & BUSY_KILLED);
}

void busy_end(struct script_run *r)
{
    atomic_store(&place_of(r)->state, 0);
    busy_story_drop(place_of(r));
    atomic_fetch_sub(&server->busy->count, 1);
}

/* What became of one place: the error that it gives, "" where it was asked to end, NULL where
 * nothing runs. */
static const char *kill_one(struct busy_place *p, bool function)
{
    uint32_t state = atomic_load(&p->state);
    do {
        if (!(state & BUSY_RUNNING))
            return NULL;
        if (state & BUSY_WRITTEN)
            return "UNKILLABLE Sorry the script already executed write commands against the "
                   "dataset. You can either wait the script termination or kill the server in a "
                   "hard way using the SHUTDOWN NOSAVE command.";
        if (!function && (state & BUSY_FUNCTION))
            return "BUSY Redis is busy running a script. You can only call FUNCTION KILL or "
                   "SHUTDOWN NOSAVE.";
        if (function && !(state & BUSY_FUNCTION))
            return "BUSY Redis is busy running a script. You can only call SCRIPT KILL or "
                   "SHUTDOWN NOSAVE.";
    } while (!atomic_compare_exchange_weak(&p->state, &state, state | BUSY_KILLED));
    return "";
}

void busy_kill(bool function, struct reply *reply)
{
    const char *error = NULL;
    bool killed = false;
    for (uint32_t i = 0; i < server->busy->place_count; i++) {
        const char *said = kill_one(&server->busy->places[i], function);
        killed |= said && !*said;
        error = said && *said ? said : error;
    }
    if (killed)
        reply_ok(reply);
    else
        reply_error(reply, "%s", error ? error : "NOTBUSY No scripts in execution right now.");
}
