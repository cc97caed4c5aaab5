/* The rewrite of the append-only file: see aof_inside.h for its steps.
 *
 * Whatever fails leaves a manifest whose files make a whole: an increment that was listed stays
 * listed, also where the journal has never come to it. */
#include "server/persist/aof_inside.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/server.h"

/* After AOF_FAILURES_MAX failures in a row automatic rewrites wait: a minute, then twice as long
 * each time, up to an hour. What Redis does. */
#define RETRY_DELAY_S 60
#define RETRY_DELAY_S_MAX 3600

static int64_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec;
}

void aof_count_on(struct aof *a)
{
    const struct aof_file *base = aof_manifest_last(&a->manifest, AOF_BASE);
    const struct aof_file *increment = aof_manifest_last(&a->manifest, AOF_INCREMENT);
    a->base_sequence = base ? base->sequence : 0;
    a->increment_sequence = increment ? increment->sequence : 0;
}

/* ---- The helper ---- */

struct job {
    struct aof *a;
    void (*run)(struct aof *a);
    pthread_t before; /* the last helper, which may still be giving back blocks */
    bool has_before;
};

static void *run_job(void *argument)
{
    struct job job = *(struct job *)argument;
    mem_free(argument);
    if (job.has_before)
        pthread_join(job.before, NULL);
    job.run(job.a);
    return NULL;
}

static void start_helper(struct aof *a, void (*run)(struct aof *a))
{
    if (a->stopping)
        return;
    struct job *job = mem_alloc(sizeof(*job));
    *job = (struct job){a, run, a->helper, a->helper_started};
    a->helper_started = true;
    int failed = pthread_create(&a->helper, NULL, run_job, job);
    if (!failed)
        return;
    /* Short of threads, which a server that has started hardly is: better slow than not at all. */
    log_write(&server->log, LOG_WARNING, "Can't start a thread for the AOF rewrite: %s",
              strerror(failed));
    a->helper_started = false;
    aof_unlock(a);
    run_job(job);
    aof_lock(a);
}

void aof_stop(struct aof *a)
{
    aof_lock(a);
    a->stopping = true;
    bool started = a->helper_started;
    a->helper_started = false;
    aof_unlock(a);
    if (started)
        pthread_join(a->helper, NULL);
}

/* ---- Ends ---- */

static void end_rewrite(struct aof *a)
{
    a->step = REWRITE_NONE;
    a->abandoned = false;
    a->last_s = now_s() - a->began_s;
}

/* `a` is locked. While the first base is awaited there is another try. */
static void fail(struct aof *a)
{
    if (!a->abandoned) {
        a->last_ok = false;
        a->failures++;
        if (a->mode == AOF_WAITING)
            a->scheduled = true;
    }
    end_rewrite(a);
}

/* What is of use only while a first base is awaited, and to nobody now. */
static void drop_temporary_increment(struct aof *a)
{
    char name[AOF_PATH_SIZE];
    aof_files_temporary_increment(a, name);
    log_write(&server->log, LOG_NOTICE, "Removing the temp incr aof file %s in the background",
              name);
    aof_files_remove(a, name);
}

/* A save that nobody wants, or that failed: the helper removes what there is of it. */
static void clear_away(struct aof *a)
{
    char name[AOF_PATH_SIZE];
    aof_files_temporary_base(a, name);
    aof_files_remove(a, name);
    if (a->rewrite_mode == AOF_WAITING)
        drop_temporary_increment(a);
    aof_lock(a);
    if (a->rewrite_mode == AOF_WAITING)
        aof_rewrite_drop_increment(a);
    fail(a);
    aof_unlock(a);
}

/* ---- PREPARING ---- */

/* The increment is listed from here on, behind the one that the journal still writes to. */
static bool list_increment(struct aof *a, char *error, size_t error_size)
{
    struct aof_manifest m;
    char name[AOF_PATH_SIZE];
    bool placed;
    uint64_t sequence = a->increment_sequence;
    aof_manifest_copy(&m, &a->manifest);
    aof_files_next_increment(a, &m, &sequence, name);
    int fd = aof_files_create(a, name, error, error_size);
    if (fd < 0) {
        aof_manifest_deinit(&m);
        return false;
    }
    aof_manifest_add(&m, name, sequence, AOF_INCREMENT);
    if (!aof_files_persist(a, &m, &placed, error, error_size)) {
        close(fd);
        aof_manifest_deinit(&m);
        return false;
    }
    log_write(&server->log, LOG_NOTICE, "Creating AOF incr file %s on background rewrite", name);
    aof_lock(a);
    aof_manifest_deinit(&a->manifest);
    a->manifest = m;
    a->increment_sequence = sequence;
    a->fd = fd;
    a->fd_turn = a->rewrite_turn;
    aof_unlock(a);
    return true;
}

/* The manifest is read here where the server has run without an append-only file so far. */
static bool know(struct aof *a, char *error, size_t error_size)
{
    struct aof_manifest m;
    bool found;
    if (a->known)
        return true;
    if (!aof_files_read_manifest(a, &m, &found, error, error_size))
        return false;
    aof_lock(a);
    if (!a->known)
        a->manifest = m;
    else
        aof_manifest_deinit(&m);
    a->known = true;
    aof_count_on(a);
    aof_unlock(a);
    return true;
}

static bool prepare_increment(struct aof *a, char *error, size_t error_size)
{
    char name[AOF_PATH_SIZE];
    if (a->fd >= 0 || a->rewrite_mode == AOF_OFF)
        return true;
    if (a->rewrite_mode == AOF_ON)
        return list_increment(a, error, error_size);
    aof_files_temporary_increment(a, name);
    a->fd = aof_files_create(a, name, error, error_size);
    a->fd_turn = a->rewrite_turn;
    if (a->fd >= 0)
        log_write(&server->log, LOG_NOTICE, "Creating AOF incr file %s on background rewrite",
                  name);
    return a->fd >= 0;
}

static void ask(struct aof *a);

static void prepare(struct aof *a)
{
    char error[AOF_ERROR_SIZE];
    bool ok = aof_files_make_directory(a, error, sizeof(error)) &&
              know(a, error, sizeof(error)) && prepare_increment(a, error, sizeof(error));
    if (!ok) {
        log_write(&server->log, LOG_WARNING, "%s", error);
        clear_away(a);
        return;
    }
    aof_lock(a);
    bool abandoned = a->abandoned;
    a->step = REWRITE_ASKING;
    aof_unlock(a);
    if (abandoned)
        clear_away(a);
    else
        ask(a);
}

/* ---- ASKING to WRITING ---- */

/* All shards stand still. */
static void at_cut(struct core *c, struct shard *const *shards, void *context)
{
    struct aof *a = context;
    struct journal_report j = {0};
    journal_report(&j);
    aof_lock(a);
    int fd = a->abandoned ? -1 : a->fd;
    a->step = REWRITE_WRITING;
    if (fd >= 0) {
        if (a->journaling)
            a->settled_size += j.size;
        a->journaling = true;
        a->fd = -1;
    }
    aof_unlock(a);
    if (fd >= 0)
        journal_switch(c, fd, 0);
}

static void finish(struct aof *a);

/* On core 0. */
static void base_is_done(void *context, bool ok, const char *error)
{
    struct aof *a = context;
    aof_lock(a);
    if (ok && !a->abandoned) {
        log_write(&server->log, LOG_NOTICE, "Background AOF rewrite terminated with success");
        a->step = REWRITE_FINISHING;
        start_helper(a, finish);
    } else {
        if (!a->abandoned)
            log_write(&server->log, LOG_WARNING, "Background AOF rewrite terminated with error%s%s",
                      error && *error ? ": " : "", error ? error : "");
        a->step = REWRITE_FINISHING;
        start_helper(a, clear_away);
    }
    aof_unlock(a);
}

/* Asks for the save; where another is under way the cron asks again. */
static void ask(struct aof *a)
{
    struct save_plan plan = {.kind = SAVE_AOF_BASE, .at_cut = at_cut, .done = base_is_done,
                             .context = a};
    char name[AOF_PATH_SIZE];
    aof_files_temporary_base(a, name);
    aof_lock(a);
    aof_files_path(a, name, plan.path);
    plan.as_commands = a->as_commands;
    bool mine = a->step == REWRITE_ASKING;
    if (mine)
        a->step = REWRITE_ASKED;
    aof_unlock(a);
    if (!mine || save_ask(&plan))
        return;
    aof_lock(a);
    a->step = REWRITE_ASKING;
    aof_unlock(a);
}

/* ---- FINISHING ---- */

/* The manifest that the finished rewrite leads to, and its files given their names. `last`: the
 * increment that the journal was switched to stays one. */
struct outcome {
    struct aof_manifest m;
    uint64_t base_sequence, increment_sequence;
    char base[AOF_PATH_SIZE];
    char increment[AOF_PATH_SIZE]; /* "": it has its name already, or there is none */
};

static void make_history(struct aof_manifest *m, bool but_last)
{
    const struct aof_file *last = but_last ? aof_manifest_last(m, AOF_INCREMENT) : NULL;
    uint64_t kept = last ? last->sequence : 0;
    for (uint32_t i = 0; i < m->count;) {
        struct aof_file f = m->files[i];
        if (f.type == AOF_HISTORY || (f.type == AOF_INCREMENT && f.sequence == kept)) {
            i++;
            continue;
        }
        char *name = f.name;
        uint64_t sequence = f.sequence;
        m->files[i].name = NULL;
        aof_manifest_remove(m, i);
        aof_manifest_add(m, name, sequence, AOF_HISTORY);
        mem_free(name);
        i = 0;
    }
}

static bool name_files(struct aof *a, struct outcome *o, char *error, size_t error_size)
{
    char temporary[AOF_PATH_SIZE];
    aof_files_next_base(a, &o->m, &o->base_sequence, a->as_commands, o->base);
    make_history(&o->m, a->rewrite_mode == AOF_ON);
    if (!aof_files_begin(a, error, error_size))
        return false;
    if (a->rewrite_mode == AOF_WAITING) {
        aof_files_next_increment(a, &o->m, &o->increment_sequence, o->increment);
        aof_files_temporary_increment(a, temporary);
        if (!aof_files_rename(a, temporary, o->increment, error, error_size))
            return false;
        log_write(&server->log, LOG_NOTICE,
                  "Successfully renamed the temporary AOF incr file %s into %s", temporary,
                  o->increment);
        aof_manifest_add(&o->m, o->increment, o->increment_sequence, AOF_INCREMENT);
    }
    aof_files_temporary_base(a, temporary);
    if (!aof_files_rename(a, temporary, o->base, error, error_size))
        return false;
    log_write(&server->log, LOG_NOTICE,
              "Successfully renamed the temporary AOF base file %s into %s", temporary, o->base);
    aof_manifest_add(&o->m, o->base, o->base_sequence, AOF_BASE);
    return true;
}

/* `a` is locked. Sizes were asked for before. */
static void succeed(struct aof *a, uint64_t settled, uint64_t all)
{
    a->settled_size = settled;
    a->base_size = all;
    a->last_ok = true;
    a->failures = 0;
    if (a->mode == AOF_WAITING && a->turns == a->rewrite_turn)
        a->mode = AOF_ON;
    log_write(&server->log, LOG_NOTICE, "Background AOF rewrite finished successfully");
    end_rewrite(a);
}

/* The new manifest is on disk. */
static void put_in_place(struct aof *a, struct outcome *o)
{
    struct buf kept;
    char error[AOF_ERROR_SIZE];
    bool placed;
    bool has_last = a->rewrite_mode != AOF_OFF;
    buf_init(&kept);
    aof_files_remove_history(a, &o->m, &kept);
    if (!aof_files_persist(a, &o->m, &placed, error, sizeof(error)))
        log_write(&server->log, LOG_WARNING, "%s", error);
    uint64_t settled = aof_files_sum(a, &o->m, has_last);
    uint64_t all = aof_files_sum(a, &o->m, false);
    aof_lock(a);
    aof_manifest_deinit(&a->manifest);
    a->manifest = o->m;
    a->base_sequence = o->base_sequence;
    a->increment_sequence = o->increment_sequence;
    succeed(a, settled, all);
    aof_unlock(a);
    aof_files_let_go(&kept);
}

static void finish(struct aof *a)
{
    struct outcome o = {.base_sequence = a->base_sequence,
                        .increment_sequence = a->increment_sequence};
    char error[AOF_ERROR_SIZE];
    bool placed = false;
    aof_manifest_copy(&o.m, &a->manifest);
    if (name_files(a, &o, error, sizeof(error)) &&
        aof_files_persist(a, &o.m, &placed, error, sizeof(error))) {
        put_in_place(a, &o);
        return;
    }
    log_write(&server->log, LOG_WARNING, "%s", error);
    /* A manifest that may be in place needs its files. */
    if (!placed) {
        aof_files_remove(a, o.base);
        if (o.increment[0])
            aof_files_remove(a, o.increment);
    }
    aof_manifest_deinit(&o.m);
    clear_away(a);
}

/* ---- From outside ---- */

void aof_rewrite_drop_increment(struct aof *a)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
}

void aof_rewrite_begin(struct aof *a)
{
    char error[AOF_ERROR_SIZE];
    if (!a->journaling && !aof_files_locate(a, error, sizeof(error)))
        log_write(&server->log, LOG_WARNING, "%s", error);
    if (a->fd >= 0 && a->fd_turn != a->turns)
        aof_rewrite_drop_increment(a);
    a->step = REWRITE_PREPARING;
    a->rewrite_mode = a->mode;
    a->rewrite_turn = a->turns;
    a->as_commands = !server->config.aof_use_rdb_preamble;
    a->abandoned = false;
    a->scheduled = false;
    a->began_s = now_s();
    a->rewrites++;
    log_write(&server->log, LOG_NOTICE, "Background append only file rewriting started by pid %ld",
              (long)getpid());
    start_helper(a, prepare);
}

/* In its last step it is let alone: that takes a moment, and what it leads to is as good. */
void aof_rewrite_abandon(struct aof *a)
{
    bool under_way = a->step != REWRITE_NONE && a->step != REWRITE_FINISHING && !a->abandoned;
    if (!under_way)
        return;
    log_write(&server->log, LOG_NOTICE, "Killing running AOF rewrite child: its save is given up");
    a->abandoned = true;
    if (a->step == REWRITE_WRITING) {
        aof_unlock(a);
        save_abandon();
        aof_lock(a);
    }
}

bool aof_rewrite_ask(struct core *c, bool *scheduled, const char **error)
{
    struct aof *a = server->aof;
    bool busy = save_in_progress();
    aof_lock(a);
    bool under_way = a->step != REWRITE_NONE && !a->abandoned;
    *scheduled = !under_way && (busy || a->step != REWRITE_NONE);
    if (under_way) {
        *error = "ERR Background append only file rewriting already in progress";
    } else if (*scheduled) {
        a->scheduled = true;
        a->failures = 0;
    } else {
        aof_rewrite_begin(a);
    }
    aof_unlock(a);
    return !under_way;
}

/* ---- The cron ---- */

/* Not yet: rewrites have failed again and again. */
static bool is_limited(struct aof *a)
{
    if (a->failures < AOF_FAILURES_MAX) {
        a->retry_delay_s = a->retry_at_s = 0;
        return false;
    }
    int64_t now = now_s();
    if (a->retry_at_s && now >= a->retry_at_s) {
        a->retry_at_s = 0;
        return false;
    }
    if (a->retry_at_s)
        return true;
    a->retry_delay_s = a->retry_delay_s ? a->retry_delay_s * 2 : RETRY_DELAY_S;
    if (a->retry_delay_s > RETRY_DELAY_S_MAX)
        a->retry_delay_s = RETRY_DELAY_S_MAX;
    a->retry_at_s = now + a->retry_delay_s;
    log_write(&server->log, LOG_WARNING,
              "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in "
              "%lld minutes", (long long)(a->retry_delay_s / 60));
    return true;
}

/* It has grown by as much as the configuration names. */
static bool has_grown(const struct aof *a, uint64_t size, uint64_t *growth)
{
    uint64_t percentage = (uint64_t)server->config.auto_aof_rewrite_percentage;
    if (a->mode != AOF_ON || percentage == 0 ||
        size <= (uint64_t)server->config.auto_aof_rewrite_min_size)
        return false;
    uint64_t base = a->base_size ? a->base_size : 1;
    if (size <= base)
        return false;
    *growth = (uint64_t)((double)(size - base) * 100 / (double)base);
    return *growth >= percentage;
}

static void begin_where_due(struct aof *a, uint64_t written)
{
    uint64_t growth;
    if (a->scheduled) {
        if (!is_limited(a))
            aof_rewrite_begin(a);
    } else if (has_grown(a, a->settled_size + written, &growth) && !is_limited(a)) {
        log_write(&server->log, LOG_NOTICE, "Starting automatic rewriting of AOF on %llu%% growth",
                  (unsigned long long)growth);
        aof_rewrite_begin(a);
    }
}

static void turn_on_after_load(struct aof *a)
{
    a->on_after_load = false;
    if (!server->config.appendonly || a->mode != AOF_OFF)
        return;
    a->turns++;
    a->mode = AOF_WAITING;
    a->scheduled = true;
}

void aof_cron(struct core *c)
{
    struct aof *a = server->aof;
    struct journal_report j = {0};
    bool saving = save_in_progress();
    bool saving_base = saving && save_kind_now() == SAVE_AOF_BASE;
    bool loading = load_in_progress();
    journal_report(&j);
    aof_lock(a);
    if (a->on_after_load && !loading)
        turn_on_after_load(a);
    if (a->step == REWRITE_NONE && !saving)
        begin_where_due(a, a->journaling ? j.size : 0);
    bool unwanted = a->abandoned && a->step == REWRITE_WRITING && saving_base;
    bool asking = a->step == REWRITE_ASKING && !a->abandoned && !saving;
    if (a->step == REWRITE_ASKING && a->abandoned) {
        a->step = REWRITE_FINISHING;
        start_helper(a, clear_away);
    }
    aof_unlock(a);
    if (unwanted)
        save_abandon();
    if (asking)
        ask(a);
}
