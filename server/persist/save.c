/* The cut, the sweep and the end of a save: see save.h. */
#include "server/persist/save.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/persist/save_inside.h"
#include "server/persist/stand.h"
#include "server/server.h"
#include "shard/snapshot.h"

/* How long a core sweeps at a time where nobody has asked for anything for ASKED_US; where somebody
 * has, a shorter while, and then it pauses a multiple of what that took: so clients have the larger
 * part of the core, and their own threads that of the CPU. The multiple doubles with each slice
 * that begins more than LATE_US after it was due, which is where CPUs or the core are short, and
 * falls by one with each that does not. */
#define SLICE_US 250
#define BUSY_SLICE_US 50
#define BUSY_SHARE_MIN 4
#define BUSY_SHARE_MAX 16
#define LATE_US 150
#define PAUSE_US_MAX 10000 /* however long the core was kept from its CPU within the slice */
#define ASKED_US 1000
/* So many requests within so long are a load, which is taken to go on for a while: clients that are
 * kept from their CPU by the sweep fall silent, and silence must not make it faster. */
#define LOAD_COMMANDS 20
#define LOAD_WINDOW_US 10000
#define LOAD_GOES_ON_US 100000
/* In what steps it looks at the clock. */
#define STEP_SIZE ((size_t)4 << 10)
/* Output is handed over in pieces of about this. */
#define PIECE_SIZE ((size_t)256 << 10)

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct save *save_create(void)
{
    size_t size = sizeof(struct save) + server->core_count * sizeof(struct save_core);
    struct save *s = mem_alloc_aligned(size, 64);
    memset(s, 0, size);
    saver_init(&s->saver);
    pthread_mutex_init(&s->mutex, NULL);
    s->report = (struct save_report){
        .last_ok = true, .last_save_s = time(NULL), .last_time_s = -1};
    return s;
}

void save_destroy(struct save *s)
{
    saver_deinit(&s->saver);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

void save_stop(void)
{
    saver_close(&server->save->saver);
}

void save_call_core_0(void)
{
    atomic_fetch_or(&server->save->attention, SAVE_CALL_CORE_0);
    ring_wake(server->cores[0]->ring);
}

bool save_in_progress(void)
{
    return atomic_load(&server->save->in_progress);
}

enum save_kind save_kind_now(void)
{
    return (enum save_kind)atomic_load(&server->save->kind);
}

/* --- The cut --- */

static void wake_core(uint32_t core)
{
    ring_wake(server->cores[core]->ring);
}

/* The saver has ended: perhaps without waiting for what there still is. */
static void wake_all(void)
{
    save_call_core_0();
    for (uint32_t i = 1; i < server->core_count; i++)
        wake_core(i);
}

void save_plan_rdb(struct save_plan *plan)
{
    *plan = (struct save_plan){.kind = SAVE_RDB};
    snprintf(plan->path, sizeof(plan->path), "%s/%s", server->config.dir,
             server->config.dbfilename);
}

/* In the directory of the file itself, so that it can be renamed. */
void save_name_temp(struct saver_options *o, const struct save_plan *plan)
{
    const char *slash = strrchr(plan->path, '/');
    int directory = slash ? (int)(slash - plan->path) + 1 : 0;
    const char *form =
        plan->kind == SAVE_RDB ? "%.*stemp-%d.rdb" : "%.*stemp-rewriteaof-bg-%d.aof";
    snprintf(o->temp, sizeof(o->temp), form, directory, plan->path, (int)getpid());
    snprintf(o->path, sizeof(o->path), "%s", plan->path);
}

void save_remove_temp(void)
{
    struct saver_options options;
    struct save_plan plan;
    save_plan_rdb(&plan);
    save_name_temp(&options, &plan);
    unlink(options.temp);
}

static bool start_saver(struct save *s, struct shard *const *shards, const struct save_plan *plan)
{
    struct saver_options options = {
        .checksum = server->config.rdbchecksum, .as_commands = plan->as_commands,
        .told_s = server->config.aof_timestamp_enabled ? core_self()->wall_ms / 1000 : -1,
        .room = wake_core, .ended = wake_all,
    };
    save_name_temp(&options, plan);
    struct buf header;
    buf_init(&header);
    save_write_header(&header, plan, shards);
    bool started = saver_start(&s->saver, &options, &header);
    if (!started)
        log_write(&server->log, LOG_WARNING, "Can't save: no thread: %s", strerror(errno));
    buf_deinit(&header);
    return started;
}

/* Whether idle times or frequencies are written: those that the policy goes by. */
static bool writes_clocks(void)
{
    switch ((enum config_policy)server->config.maxmemory_policy) {
    case POLICY_ALLKEYS_LRU:
    case POLICY_VOLATILE_LRU:
    case POLICY_ALLKEYS_LFU:
    case POLICY_VOLATILE_LFU: return true;
    default: return false;
    }
}

static void turn_colours(struct save *s, struct shard *const *shards, bool as_commands)
{
    /* Commands are made of whole records. */
    struct snapshot_options options = {
        .compress = server->config.rdbcompression, .clocks = writes_clocks(),
        .whole_max = as_commands ? 0 : PIECE_SIZE};
    uint64_t keys = 0;
    s->cut_changes = 0;
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct snapshot_counts counts;
        snapshot_begin(shards[i], &options);
        snapshot_count(shards[i], &counts);
        keys += counts.keys_total;
        s->cut_changes += shards[i]->stats.changes;
        s->cores[i].dropped = s->cores[i].full = false;
        s->cores[i].next_us = 0;
        s->cores[i].share = BUSY_SHARE_MIN;
        atomic_store_explicit(&s->cores[i].memory, 0, memory_order_relaxed);
        atomic_store_explicit(&s->cores[i].keys_done, 0, memory_order_relaxed);
        server->cores[i]->saving = true;
    }
    pthread_mutex_lock(&s->mutex);
    s->report.keys_total = keys;
    s->report.memory_peak = 0;
    pthread_mutex_unlock(&s->mutex);
}

bool save_begin(struct core *c, struct shard *const *shards, const struct save_plan *plan)
{
    struct save *s = server->save;
    if (atomic_load(&s->in_progress))
        return false;
    bool ok = start_saver(s, shards, plan);
    save_note_begun(plan, ok);
    if (!ok)
        return false;
    s->plan = *plan;
    s->begun_us = monotonic_us();
    turn_colours(s, shards, plan->as_commands);
    atomic_store(&s->kind, plan->kind);
    atomic_store(&s->given_up, false);
    atomic_store(&s->sweeping, server->core_count);
    atomic_store(&s->in_progress, true);
    if (plan->at_cut)
        plan->at_cut(c, shards, plan->context);
    for (uint32_t i = 0; i < server->core_count; i++)
        wake_core(i);
    return true;
}

void save_abandon(void)
{
    struct save *s = server->save;
    if (!atomic_load(&s->in_progress))
        return;
    atomic_store(&s->given_up, true);
    saver_give_up(&s->saver);
    for (uint32_t i = 0; i < server->core_count; i++)
        wake_core(i);
}

/* --- A core's sweep --- */

static void note_figures(struct save *s, struct save_core *k, const struct shard *shard)
{
    struct snapshot_counts counts;
    snapshot_count(shard, &counts);
    atomic_store_explicit(&k->memory, counts.memory, memory_order_relaxed);
    atomic_store_explicit(&k->keys_done, counts.keys_written, memory_order_relaxed);
    uint64_t sum = atomic_load_explicit(&s->saver.queued, memory_order_relaxed);
    for (uint32_t i = 0; i < server->core_count; i++)
        sum += atomic_load_explicit(&s->cores[i].memory, memory_order_relaxed);
    pthread_mutex_lock(&s->mutex);
    if (sum > s->report.memory_peak)
        s->report.memory_peak = sum;
    pthread_mutex_unlock(&s->mutex);
}

static void hand_over(struct save *s, struct save_core *k, struct shard *shard)
{
    struct buf piece;
    struct snapshot_piece at;
    buf_init(&piece);
    note_figures(s, k, shard);
    while (snapshot_take_output(shard, &piece, &at))
        saver_give(&s->saver, &piece, at);
}

/* A save slowed down by rdb-key-save-delay: as many keys as one process would have written by now,
 * this shard's share of them. False at the end. */
static bool step_slowly(struct save *s, struct save_core *k, struct shard *shard, int64_t now_us)
{
    int64_t delay = server->config.rdb_key_save_delay;
    int64_t cores = server->core_count, gone_us = now_us - s->begun_us;
    struct snapshot_counts counts;
    snapshot_count(shard, &counts);
    if (counts.keys_written >= counts.keys_total)
        return snapshot_step(shard, STEP_SIZE);
    int64_t due = delay > 0 ? gone_us / (delay * cores) : gone_us * -delay / cores;
    bool more = true;
    while (more && (int64_t)counts.keys_written < due) {
        more = snapshot_step(shard, 1);
        snapshot_count(shard, &counts);
    }
    if (delay > 0)
        k->next_us = s->begun_us + (due + 1) * delay * cores;
    else
        k->next_us = now_us + 1000;
    note_figures(s, k, shard);
    return more;
}

static void note_load(struct save *s, struct save_core *k, int64_t now_us)
{
    if (now_us - k->window_us >= LOAD_WINDOW_US) {
        k->window_us = now_us;
        k->window_commands = k->commands;
    } else if (k->commands - k->window_commands >= LOAD_COMMANDS) {
        k->window_us = 0; /* said once a window: others read it */
        atomic_store_explicit(&s->loaded_us, now_us, memory_order_relaxed);
    }
}

/* Whether anything was asked for a short while ago, of this core; or much, of any. */
static bool is_asked(struct core *c, struct save *s, struct save_core *k, int64_t now_us)
{
    if (c->stats.commands != k->commands)
        k->asked_us = now_us;
    k->commands = c->stats.commands;
    note_load(s, k, now_us);
    int64_t loaded_us = atomic_load_explicit(&s->loaded_us, memory_order_relaxed);
    return now_us - k->asked_us < ASKED_US || now_us - loaded_us < LOAD_GOES_ON_US;
}

static void note_lateness(struct save_core *k, int64_t now_us)
{
    if (k->next_us && now_us - k->next_us > LATE_US)
        k->share *= 2;
    else if (k->share > BUSY_SHARE_MIN)
        k->share--;
    if (k->share > BUSY_SHARE_MAX)
        k->share = BUSY_SHARE_MAX;
}

/* A slice of the sweep. False at its end. */
static bool step(struct core *c, struct save *s, struct save_core *k, struct shard *shard)
{
    int64_t now_us = monotonic_us();
    bool asked = is_asked(c, s, k, now_us), more = true;
    int64_t begun_us = now_us, end_us = now_us + (asked ? BUSY_SLICE_US : SLICE_US);
    note_lateness(k, now_us);
    k->next_us = 0;
    if (server->config.rdb_key_save_delay && !k->dropped)
        return step_slowly(s, k, shard, now_us);
    while (more && now_us < end_us && snapshot_output_size(shard) < PIECE_SIZE) {
        more = snapshot_step(shard, STEP_SIZE);
        now_us = monotonic_us();
    }
    int64_t pause_us = (now_us - begun_us) * k->share;
    if (asked && more)
        k->next_us = now_us + (pause_us < PAUSE_US_MAX ? pause_us : PAUSE_US_MAX);
    return more;
}

static void end_sweep(struct core *c, struct save *s)
{
    c->saving = false;
    /* Pairs with core 0's look: all that this core gave stands before. */
    if (atomic_fetch_sub(&s->sweeping, 1) == 1) {
        saver_end_input(&s->saver);
        save_call_core_0();
    }
}

void save_sweep(struct core *c)
{
    struct save *s = server->save;
    struct save_core *k = &s->cores[c->index];
    struct shard *shard = &c->shard;
    if (!k->dropped && (atomic_load(&s->given_up) || atomic_load(&s->saver.over))) {
        k->dropped = true;
        snapshot_abandon(shard);
    }
    if (!k->dropped && k->next_us > c->now_us)
        return;
    k->full = !k->dropped && saver_is_full(&s->saver, c->index, snapshot_open_record(shard));
    bool more = k->full || step(c, s, k, shard);
    if (!more || snapshot_output_size(shard) >= PIECE_SIZE)
        hand_over(s, k, shard);
    if (!more)
        end_sweep(c, s);
}

bool save_in_haste(const struct core *c)
{
    if (!c->saving)
        return false;
    const struct save_core *k = &server->save->cores[c->index];
    return !k->full && k->next_us <= c->now_us;
}

int64_t save_next_us(const struct core *c)
{
    const struct save_core *k = &server->save->cores[c->index];
    return c->saving && !k->full ? k->next_us : INT64_MAX;
}

void save_core_finish(struct core *c)
{
    if (!c->saving)
        return;
    snapshot_abandon(&c->shard);
    while (snapshot_step(&c->shard, SIZE_MAX))
        continue;
    c->saving = false;
}

/* --- The end --- */

static void tell_end(const struct save_plan *plan, bool ok, bool given_up)
{
    if (ok && plan->kind == SAVE_RDB)
        log_write(&server->log, LOG_NOTICE, "DB saved on disk");
    if (plan->foreground || plan->kind != SAVE_RDB)
        return;
    if (ok)
        log_write(&server->log, LOG_NOTICE, "Background saving terminated with success");
    else
        log_write(&server->log, LOG_WARNING,
                  given_up ? "Background saving given up" : "Background saving error");
}

/* On core 0: the thread has ended, and no core sweeps any more. */
static void finish(struct save *s)
{
    saver_join(&s->saver);
    struct save_plan plan = s->plan;
    bool ok = s->saver.ok, given_up = !ok && atomic_load(&s->given_up);
    save_note_ended(&plan, ok, given_up);
    tell_end(&plan, ok, given_up);
    atomic_store(&s->in_progress, false);
    if (plan.done)
        plan.done(plan.context, ok, s->saver.error);
}

/* On core 0: looks at all that may have changed. */
static void look_around(struct core *c)
{
    struct save *s = server->save;
    atomic_fetch_and(&s->attention, ~SAVE_CALL_CORE_0);
    stand_settle(c);
    if (atomic_load(&s->in_progress) && atomic_load(&s->saver.over) &&
        atomic_load(&s->sweeping) == 0)
        finish(s);
    shutdown_step(c);
    save_begin_asked(c);
}

void save_step(struct core *c)
{
    uint32_t attention =
        atomic_load_explicit(&server->save->attention, memory_order_relaxed);
    if (__builtin_expect(!attention, 1))
        return;
    if (attention & SAVE_DRAINING)
        shutdown_drain(c);
    if (c->index == 0 && (attention & SAVE_CALL_CORE_0))
        look_around(c);
}
