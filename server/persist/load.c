/* Loading: see load.h, and load_inside.h for its parts. Here: what is to be loaded, the loader's
 * thread and the lanes to the cores, and the end, at which all shards stand still. */
#include "server/persist/load.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/bundle.h"
#include "server/listeners.h"
#include "server/persist/aof.h"
#include "server/persist/load_inside.h"
#include "server/server.h"
#include "server/start_check.h"
#include "server/session.h"

/* How long a core may insert before it looks after its clients. */
#define SLICE_US 3000
/* How often the log tells of progress, and after how many records the clock is looked at. */
#define TELL_US 2000000
#define TELL_STEP 1024
/* How long the loader sleeps at a time where key-load-delay asks for more. */
#define DELAY_STEP_US 20000
#define FAILURE_SIZE_MAX 900

int64_t load_monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct load *load_create(void)
{
    struct load *l = mem_alloc_zeroed(sizeof(*l));
    uint32_t count = server->core_count;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->settled, NULL);
    pthread_mutex_init(&l->budget.mutex, NULL);
    pthread_cond_init(&l->budget.freed, NULL);
    l->lanes = mem_alloc_aligned(count * sizeof(*l->lanes), 64);
    memset(l->lanes, 0, count * sizeof(*l->lanes));
    for (uint32_t i = 0; i < count; i++)
        pthread_mutex_init(&l->lanes[i].mutex, NULL);
    l->open = mem_alloc_zeroed(count * sizeof(*l->open));
    atomic_init(&l->last_ms, -1);
    return l;
}

/* --- Batches and lanes --- */

struct load_batch *load_batch_create(enum load_batch_kind kind, uint32_t records,
                                     struct load_buffer *buffer)
{
    struct load_batch *b = mem_alloc(sizeof(*b) + records * sizeof(b->records[0]));
    *b = (struct load_batch){.kind = kind, .buffer = buffer ? load_buffer_keep(buffer) : NULL};
    return b;
}

static void batch_destroy(struct load_batch *b)
{
    if (b->buffer)
        load_buffer_release(b->buffer);
    buf_deinit(&b->code);
    mem_free(b);
}

void load_batch_done(struct load *l, struct load_batch *b)
{
    batch_destroy(b);
    pthread_mutex_lock(&l->mutex);
    if (--l->under_way == 0)
        pthread_cond_signal(&l->settled);
    pthread_mutex_unlock(&l->mutex);
}

void load_hand_out(struct load *l, uint32_t core, struct load_batch *b)
{
    struct load_lane *lane = &l->lanes[core];
    pthread_mutex_lock(&l->mutex);
    l->under_way++;
    pthread_mutex_unlock(&l->mutex);
    pthread_mutex_lock(&lane->mutex);
    bool abandoned = atomic_load(&l->abandoned);
    if (!abandoned) {
        *(lane->first ? &lane->last->next : &lane->first) = b;
        lane->last = b;
    }
    bool first = !abandoned && atomic_fetch_add_explicit(&lane->count, 1,
                                                         memory_order_relaxed) == 0;
    pthread_mutex_unlock(&lane->mutex);
    if (abandoned)
        load_batch_done(l, b);
    else if (first)
        ring_wake(server->cores[core]->ring);
}

struct load_batch *load_take(struct load_lane *lane)
{
    if (!atomic_load_explicit(&lane->count, memory_order_relaxed))
        return NULL;
    pthread_mutex_lock(&lane->mutex);
    struct load_batch *b = lane->first;
    if (b) {
        lane->first = b->next;
        atomic_fetch_sub_explicit(&lane->count, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&lane->mutex);
    return b;
}

void load_settle(struct load *l)
{
    pthread_mutex_lock(&l->mutex);
    while (l->under_way && !atomic_load(&l->abandoned))
        pthread_cond_wait(&l->settled, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
}

void load_stop(struct load *l)
{
    atomic_store(&l->abandoned, true);
    load_budget_end(&l->budget);
    pthread_mutex_lock(&l->mutex);
    pthread_cond_signal(&l->settled);
    pthread_mutex_unlock(&l->mutex);
    if (l->has_thread)
        pthread_join(l->thread, NULL);
    l->has_thread = false;
}

void load_destroy(struct load *l)
{
    load_drop_session(l, server->cores[0]);
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct load_lane *lane = &l->lanes[i];
        if (lane->in_hand)
            load_batch_done(l, lane->in_hand);
        struct load_batch *b;
        while ((b = load_take(lane)) != NULL)
            load_batch_done(l, b);
    }
    for (uint32_t i = 0; i < server->core_count; i++)
        pthread_mutex_destroy(&l->lanes[i].mutex);
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->settled);
    pthread_mutex_destroy(&l->budget.mutex);
    pthread_cond_destroy(&l->budget.freed);
    mem_free(l->lanes);
    mem_free(l->open);
    mem_free(l);
}

/* --- Failing --- */

void load_fail(struct load *l, const char *format, ...)
{
    char text[FAILURE_SIZE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (atomic_exchange(&l->failed, true))
        return; /* the first reason is the one to be told */
    log_write(&server->log, LOG_WARNING, "%s", text);
    if (!l->at_start)
        return;
    if (server->log.path || server->log.ident)
        fprintf(stderr, "lasca-server: %s\n", text);
    if (!l->from_aof)
        log_write(&server->log, LOG_WARNING,
                  "Terminating server after rdb file reading failure.");
    _exit(1);
}

bool load_is_over(struct load *l)
{
    return atomic_load_explicit(&l->failed, memory_order_relaxed) ||
           atomic_load_explicit(&l->abandoned, memory_order_relaxed);
}

/* --- The loader --- */

static void delay(struct load *l)
{
    int64_t left_us = atomic_load_explicit(&l->key_delay, memory_order_relaxed);
    if (left_us < 0)
        left_us = l->records % (uint64_t)-left_us == 0;
    while (left_us > 0 && !load_is_over(l)) {
        int64_t now_us = left_us < DELAY_STEP_US ? left_us : DELAY_STEP_US;
        usleep((useconds_t)now_us);
        left_us -= now_us;
        if (!atomic_load_explicit(&l->key_delay, memory_order_relaxed))
            return;
    }
}

static void tell_progress(struct load *l, const struct load_file *f)
{
    uint64_t at = load_file_offset(f, f->at);
    atomic_store_explicit(&l->loaded_bytes,
                          atomic_load_explicit(&l->bytes_before, memory_order_relaxed) + at,
                          memory_order_relaxed);
    int64_t now_us = load_monotonic_us();
    if (now_us - l->told_us < TELL_US)
        return;
    l->told_us = now_us;
    log_write(&server->log, LOG_NOTICE, "Loading %s: %d%% (%" PRIu64 " %s)", l->path,
              f->size ? (int)(at * 100 / f->size) : 100, l->records,
              l->now_ms || !l->from_aof ? "keys" : "keys and commands");
}

void load_progress(struct load *l, const struct load_file *f)
{
    bool slow = atomic_load_explicit(&l->key_delay, memory_order_relaxed) != 0;
    if (__builtin_expect(slow, 0))
        delay(l);
    if (slow || l->records % TELL_STEP == 0)
        tell_progress(l, f);
}

static bool load_one(struct load *l, struct load_file *f, bool last)
{
    bool is_rdb = load_file_need(f, 5) && memcmp(f->at, "REDIS", 5) == 0;
    if (!is_rdb && !l->from_aof) {
        /* The walk says what is wrong with it. */
        return load_rdb(l, f, false);
    }
    if (is_rdb && l->from_aof)
        log_write(&server->log, LOG_NOTICE, "Reading RDB base file on AOF loading...");
    if (is_rdb && !load_rdb(l, f, l->from_aof))
        return false;
    return !l->from_aof || load_commands(l, f, last);
}

static bool load_path(struct load *l, const char *path, bool last)
{
    struct load_file f;
    l->path = path;
    int64_t begun_us = load_monotonic_us();
    if (!load_file_open(&f, path, &l->budget)) {
        char user[START_USER_SIZE];
        int failed = errno;
        start_user_name(user);
        load_fail(l, "Fatal error: can't open %s for reading: %s%s%s%s", path, strerror(failed),
                  failed == EACCES ? ": give it to user " : "", failed == EACCES ? user : "",
                  failed == EACCES ? " (chown)" : "");
        return false;
    }
    bool good = load_one(l, &f, last);
    atomic_fetch_add_explicit(&l->bytes_before, f.size, memory_order_relaxed);
    load_file_close(&f);
    if (good && l->from_aof) {
        const char *name = strrchr(path, '/');
        name = name ? name + 1 : path;
        log_write(&server->log, LOG_NOTICE, "DB loaded from %s file %s: %.3f seconds",
                  strstr(name, ".incr.") ? "incr" : "base", name,
                  (double)(load_monotonic_us() - begun_us) / 1e6);
    }
    return good;
}

static void *loader_run(void *context)
{
    struct load *l = context;
    bool good = true;
    l->records = 0;
    l->told_us = load_monotonic_us();
    if (!l->from_aof)
        good = load_path(l, l->rdb_path, true);
    for (uint32_t i = 0; l->from_aof && good && i < l->aof_count; i++)
        good = load_path(l, l->aof_paths[i], i + 1 == l->aof_count);
    load_settle(l);
    if (atomic_load(&l->abandoned))
        return NULL;
    atomic_store_explicit(&l->phase, LOAD_READ, memory_order_release);
    ring_wake(server->cores[0]->ring);
    return NULL;
}

/* --- The begin --- */

/* Also of those that are not there: 0. */
static uint64_t size_of_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void plan(struct load *l, bool from_aof)
{
    const struct config *c = &server->config;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    l->from_aof = from_aof;
    l->verify = c->rdbchecksum;
    l->truncates = c->aof_load_truncated;
    atomic_store(&l->key_delay, c->key_load_delay);
    uint64_t total = from_aof ? 0 : size_of_file(l->rdb_path);
    for (uint32_t i = 0; from_aof && i < l->aof_count; i++)
        total += size_of_file(l->aof_paths[i]);
    atomic_store(&l->failed, false);
    atomic_store(&l->started_us, load_monotonic_us());
    atomic_store(&l->start_s, now.tv_sec);
    atomic_store(&l->total_bytes, total);
    atomic_store(&l->loaded_bytes, 0);
    atomic_store(&l->bytes_before, 0);
    atomic_store(&l->used_memory, 0);
    atomic_store(&l->keys_loaded, 0);
    atomic_store(&l->keys_expired, 0);
    atomic_store(&l->keys_empty, 0);
    atomic_store(&l->command_errors, 0);
    struct keyspace_options *o = &server->keyspace.options;
    l->journaled = o->journal;
    o->journal = false;
    o->loading = true;
    atomic_store(&l->phase, LOAD_PLANNED);
}

void load_plan_start(void)
{
    struct load *l = server->load;
    l->at_start = true;
    if (server->config.appendonly) {
        l->aof_count = aof_load_list(&l->aof_paths);
        plan(l, true);
        return;
    }
    snprintf(l->rdb_path, sizeof(l->rdb_path), "%s", server->config.dbfilename);
    if (access(l->rdb_path, F_OK) == 0 || errno != ENOENT)
        plan(l, false);
}

void load_announce(bool on)
{
    server->keyspace.options.loading = on;
}

static bool begin(struct load *l, bool from_aof, load_done *done, void *context)
{
    l->at_start = false;
    l->done = done;
    l->context = context;
    plan(l, from_aof);
    ring_wake(server->cores[0]->ring);
    return true;
}

bool load_begin(const char *rdb_path, bool replaces, load_done *done, void *context)
{
    struct load *l = server->load;
    if (atomic_load(&l->phase) != LOAD_IDLE || strlen(rdb_path) >= sizeof(l->rdb_path))
        return false;
    snprintf(l->rdb_path, sizeof(l->rdb_path), "%s", rdb_path);
    l->replaces = replaces;
    return begin(l, false, done, context);
}

bool load_begin_aof(load_done *done, void *context)
{
    struct load *l = server->load;
    if (atomic_load(&l->phase) != LOAD_IDLE)
        return false;
    l->aof_count = aof_load_list(&l->aof_paths);
    l->replaces = true;
    return begin(l, true, done, context);
}

bool load_in_progress(void)
{
    return atomic_load_explicit(&server->load->phase, memory_order_relaxed) != LOAD_IDLE;
}

/* --- The end --- */

static void tell_loaded(struct load *l, bool ok)
{
    double seconds = (double)(load_monotonic_us() - atomic_load(&l->started_us)) / 1e6;
    atomic_store(&l->last_ms, (int64_t)(seconds * 1000));
    uint64_t errors = atomic_load_explicit(&l->command_errors, memory_order_relaxed);
    if (errors)
        log_write(&server->log, LOG_WARNING,
                  "%" PRIu64 " commands of the append only file were answered with an error",
                  errors);
    if (!ok)
        log_write(&server->log, LOG_WARNING, "Loading has failed after %.3f seconds", seconds);
    else if (!l->from_aof)
        log_write(&server->log, LOG_NOTICE, "DB loaded from disk: %.3f seconds", seconds);
    else if (l->aof_count)
        log_write(&server->log, LOG_NOTICE, "DB loaded from append only file: %.3f seconds",
                  seconds);
}

/* All shards stand still. */
static void end(struct core *c, struct shard *const *shards, void *context)
{
    struct load *l = context;
    bool ok = !atomic_load(&l->failed);
    char error[1024] = "";
    tell_loaded(l, ok);
    server->keyspace.options.loading = false;
    server->keyspace.options.journal |= l->journaled;
    if (l->at_start && server->config.appendonly && !aof_start(c, error, sizeof(error))) {
        log_write(&server->log, LOG_WARNING, "%s", error);
        _exit(1);
    }
    if (l->at_start)
        server_log_ready();
    atomic_store_explicit(&l->phase, LOAD_IDLE, memory_order_release);
    if (l->done)
        l->done(l->context, ok);
}

/* --- The cores --- */

static void start_thread(struct load *l)
{
    atomic_store_explicit(&l->phase, LOAD_READING, memory_order_relaxed);
    if (l->has_thread)
        pthread_join(l->thread, NULL);
    int failed = pthread_create(&l->thread, NULL, loader_run, l);
    l->has_thread = failed == 0;
    if (!failed)
        return;
    load_fail(l, "Cannot load: no thread can be started for it: %s", strerror(failed));
    atomic_store_explicit(&l->phase, LOAD_READ, memory_order_relaxed);
}

/* Core 0 begins and ends it. */
static void lead(struct load *l, struct core *c)
{
    atomic_store_explicit(&l->key_delay, server->config.key_load_delay, memory_order_relaxed);
    int phase = atomic_load_explicit(&l->phase, memory_order_acquire);
    if (phase == LOAD_PLANNED)
        start_thread(l);
    load_look_after_session(l, c);
    if (atomic_load_explicit(&l->phase, memory_order_acquire) != LOAD_READ)
        return;
    load_drop_session(l, c);
    atomic_store_explicit(&l->phase, LOAD_ENDING, memory_order_relaxed);
    bundle_dispatch(c, bundle_create_act(c, end, l));
}

/* True where the batch is through. */
static bool work_on(struct load *l, struct core *c, struct load_batch *b, int64_t until_us)
{
    switch (b->kind) {
    case LOAD_RECORDS:
        if (!load_is_over(l) && !load_insert(l, c, b, until_us))
            return false;
        load_batch_done(l, b);
        return true;
    case LOAD_FUNCTION:
        load_add_function(c, b);
        return true;
    case LOAD_COMMANDS:
        load_feed(l, c, b);
        return true;
    }
    return true;
}

static void step(struct load *l, struct core *c)
{
    /* What was loaded so far is not saved, and what is not stays in its file. */
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed)) {
        if (c->index == 0 && l->session && session_is_idle(l->session))
            load_drop_session(l, c);
        return;
    }
    struct load_lane *lane = &l->lanes[c->index];
    int64_t until_us = load_monotonic_us() + SLICE_US;
    do {
        if (c->index == 0 && !load_can_feed(l))
            break;
        if (!lane->in_hand)
            lane->in_hand = load_take(lane);
        if (!lane->in_hand || !work_on(l, c, lane->in_hand, until_us))
            break;
        lane->in_hand = NULL;
    } while (load_monotonic_us() < until_us);
    if (c->index == 0)
        lead(l, c);
}

void load_step(struct core *c)
{
    if (__builtin_expect(server->keyspace.options.loading, 0))
        step(server->load, c);
}

bool load_in_haste(const struct core *c)
{
    if (__builtin_expect(!server->keyspace.options.loading, 1))
        return false;
    const struct load *l = server->load;
    const struct load_lane *lane = &l->lanes[c->index];
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed))
        return false;
    bool waits = lane->in_hand || atomic_load_explicit(&lane->count, memory_order_relaxed);
    if (c->index)
        return waits;
    int phase = atomic_load_explicit(&l->phase, memory_order_relaxed);
    return (waits && load_can_feed(l)) || phase == LOAD_PLANNED || phase == LOAD_READ ||
           (l->fed && session_is_idle(l->session));
}

void load_report(struct load_report *r)
{
    const struct load *l = server->load;
    *r = (struct load_report){
        .loading = load_in_progress(),
        .start_s = atomic_load_explicit(&l->start_s, memory_order_relaxed),
        .total_bytes = atomic_load_explicit(&l->total_bytes, memory_order_relaxed),
        .loaded_bytes = atomic_load_explicit(&l->loaded_bytes, memory_order_relaxed),
        .rdb_used_memory = atomic_load_explicit(&l->used_memory, memory_order_relaxed),
        .keys_loaded = atomic_load_explicit(&l->keys_loaded, memory_order_relaxed),
        .keys_expired = atomic_load_explicit(&l->keys_expired, memory_order_relaxed),
        .keys_empty = atomic_load_explicit(&l->keys_empty, memory_order_relaxed),
        .last_ms = atomic_load_explicit(&l->last_ms, memory_order_relaxed),
        .eta_s = 1,
    };
    int64_t used_us = load_monotonic_us() - atomic_load_explicit(&l->started_us,
                                                                 memory_order_relaxed);
    if (r->loaded_bytes)
        r->eta_s = (int64_t)((double)used_us / 1e6 / (double)r->loaded_bytes *
                             (double)(r->total_bytes - r->loaded_bytes));
}
