/* When a save begins, and what is known of the last ones: see save.h. */
#include <assert.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "server/persist/load.h"
#include "server/persist/save_inside.h"
#include "server/persist/stand.h"
#include "server/server.h"

/* After a failure, so many seconds are let go by before the next try by itself. */
#define RETRY_S 5

static bool has_points(void)
{
    return server->config.save[0] != '\0';
}

/* --- Status --- */

/* Under the mutex, or while all cores stand still. */
static void settle_fault(const struct save *s)
{
    bool refuses = !s->report.last_ok && has_points() && server->config.stop_writes_on_bgsave_error;
    if (refuses)
        atomic_fetch_or(&server->write_faults, WRITE_FAULT_SAVE);
    else
        atomic_fetch_and(&server->write_faults, ~WRITE_FAULT_SAVE);
}

void save_apply_config(void)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    settle_fault(s);
    pthread_mutex_unlock(&s->mutex);
}

void save_note_begun(const struct save_plan *plan, bool ok)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    s->begun_s = time(NULL);
    if (plan->kind == SAVE_RDB) {
        s->report.saves++;
        if (!plan->foreground)
            s->last_try_s = s->begun_s;
        if (!ok && !plan->foreground)
            s->report.last_ok = false;
        settle_fault(s);
    }
    pthread_mutex_unlock(&s->mutex);
    if (ok && plan->kind == SAVE_RDB && !plan->foreground)
        log_write(&server->log, LOG_NOTICE, "Background saving started");
}

void save_note_ended(const struct save_plan *plan, bool ok, bool given_up)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    struct save_report *r = &s->report;
    r->last_memory_peak[plan->kind] = r->memory_peak;
    r->memory_peak = 0;
    if (plan->kind == SAVE_RDB) {
        if (!plan->foreground)
            r->last_time_s = time(NULL) - s->begun_s;
        if (ok) {
            r->last_save_s = time(NULL);
            r->changes_saved = s->cut_changes;
            r->last_ok = true;
        } else if (!plan->foreground && !given_up) {
            r->last_ok = false;
        }
        settle_fault(s);
    }
    pthread_mutex_unlock(&s->mutex);
}

static uint64_t sum_of_changes(const struct save *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < server->core_count; i++)
        sum += atomic_load_explicit(&s->cores[i].changes, memory_order_relaxed);
    return sum;
}

void save_count_anew(void)
{
    struct save *s = server->save;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < server->core_count; i++)
        sum += server->cores[i]->shard.stats.changes;
    pthread_mutex_lock(&s->mutex);
    s->report.changes_saved = sum;
    pthread_mutex_unlock(&s->mutex);
}

void save_reset_stats(void)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    s->report.saves = 0;
    pthread_mutex_unlock(&s->mutex);
}

void save_report(struct save_report *r)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    *r = s->report;
    r->in_progress = atomic_load(&s->in_progress);
    r->kind = (enum save_kind)atomic_load(&s->kind);
    r->scheduled = s->scheduled;
    r->current_time_s = r->in_progress ? time(NULL) - s->begun_s : -1;
    pthread_mutex_unlock(&s->mutex);
    r->memory = r->keys_done = 0;
    if (!r->in_progress) {
        r->keys_total = 0;
        return;
    }
    r->memory = atomic_load_explicit(&s->saver.queued, memory_order_relaxed);
    for (uint32_t i = 0; i < server->core_count; i++) {
        r->memory += atomic_load_explicit(&s->cores[i].memory, memory_order_relaxed);
        r->keys_done += atomic_load_explicit(&s->cores[i].keys_done, memory_order_relaxed);
    }
    r->memory_peak = r->memory > r->memory_peak ? r->memory : r->memory_peak;
}

/* --- What was asked for --- */

static bool ask(const struct save_plan *plan, bool behind)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    bool taken = !s->asked && (behind || !atomic_load(&s->in_progress));
    if (taken) {
        s->asked = true;
        s->asked_plan = *plan;
    }
    pthread_mutex_unlock(&s->mutex);
    if (taken)
        save_call_core_0();
    return taken;
}

bool save_ask(const struct save_plan *plan)
{
    return ask(plan, false);
}

bool save_ask_next(const struct save_plan *plan)
{
    return ask(plan, true);
}

void save_schedule(void)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    s->scheduled = true;
    pthread_mutex_unlock(&s->mutex);
}

/* Another may have begun since: then it stays asked for. */
static void cut_asked(struct core *c, struct shard *const *shards, void *context)
{
    struct save *s = server->save;
    if (atomic_load(&s->in_progress))
        return;
    pthread_mutex_lock(&s->mutex);
    struct save_plan plan = s->asked_plan;
    bool asked = s->asked;
    s->asked = false;
    pthread_mutex_unlock(&s->mutex);
    if (asked && !save_begin(c, shards, &plan) && plan.done)
        plan.done(plan.context, false, "it could not begin");
}

void save_begin_asked(struct core *c)
{
    struct save *s = server->save;
    pthread_mutex_lock(&s->mutex);
    bool asked = s->asked;
    pthread_mutex_unlock(&s->mutex);
    if (asked && !atomic_load(&s->in_progress) && !atomic_load(&server->stopping))
        stand_publish(c, cut_asked, NULL);
}

/* --- By itself --- */

static void begin_by_itself(void)
{
    struct save_plan plan;
    save_plan_rdb(&plan);
    save_ask(&plan);
}

static bool may_try(const struct save_report *r, const struct save *s, int64_t now_s)
{
    return r->last_ok || now_s - s->last_try_s > RETRY_S;
}

/* The first save point that is reached. */
static bool point_reached(const struct save_report *r, uint64_t changes, int64_t now_s,
                          struct config_save_point *p)
{
    const char *at = server->config.save;
    while (config_next_save_point(&at, p))
        if (changes >= (uint64_t)p->changes && now_s - r->last_save_s > p->seconds)
            return true;
    return false;
}

static void look_at_points(struct save *s)
{
    struct save_report r;
    struct config_save_point p;
    save_report(&r);
    if (r.in_progress || load_in_progress() || atomic_load(&s->shutdown.state) != SHUTDOWN_NONE ||
        atomic_load(&server->stopping))
        return;
    int64_t now_s = time(NULL);
    uint64_t sum = sum_of_changes(s);
    uint64_t changes = sum > r.changes_saved ? sum - r.changes_saved : 0;
    if (!may_try(&r, s, now_s))
        return;
    if (point_reached(&r, changes, now_s, &p)) {
        log_write(&server->log, LOG_NOTICE, "%lld changes in %lld seconds. Saving...",
                  (long long)p.changes, (long long)p.seconds);
        begin_by_itself();
    } else if (r.scheduled) {
        begin_by_itself();
    } else {
        return;
    }
    pthread_mutex_lock(&s->mutex);
    s->scheduled = false;
    pthread_mutex_unlock(&s->mutex);
}

void save_cron(struct core *c)
{
    struct save *s = server->save;
    atomic_store_explicit(&s->cores[c->index].changes, c->shard.stats.changes,
                          memory_order_relaxed);
    if (c->index == 0)
        look_at_points(s);
}

/* --- FLUSHALL --- */

void save_note_flushed(const struct shard *s)
{
    atomic_store_explicit(&server->save->cores[s->index].flushed, s->stats.changes,
                          memory_order_relaxed);
}

static bool write_empty_file(struct save *s)
{
    struct saver_options options = {.checksum = server->config.rdbchecksum};
    struct save_plan plan;
    save_plan_rdb(&plan);
    save_name_temp(&options, &plan);
    size_t size = strlen(options.temp);
    snprintf(options.temp + size, sizeof(options.temp) - size, ".%u", core_self()->index);
    struct buf text;
    buf_init(&text);
    save_write_empty_header(&text);
    char error[SAVER_ERROR_SIZE];
    bool ok = saver_write_whole(&s->saver, &options, &text, error);
    buf_deinit(&text);
    return ok;
}

void save_flushed(void)
{
    struct save *s = server->save;
    if (save_in_progress() && save_kind_now() == SAVE_RDB)
        save_abandon();
    if (!has_points() || load_in_progress())
        return;
    uint64_t changes = 0;
    for (uint32_t i = 0; i < server->core_count; i++)
        changes += atomic_load_explicit(&s->cores[i].flushed, memory_order_relaxed);
    bool ok = write_empty_file(s);
    pthread_mutex_lock(&s->mutex);
    s->report.saves++;
    if (ok) {
        s->report.last_save_s = time(NULL);
        s->report.last_ok = true;
        s->report.changes_saved = changes;
        settle_fault(s);
    }
    pthread_mutex_unlock(&s->mutex);
    if (ok)
        log_write(&server->log, LOG_NOTICE, "DB saved on disk");
}
