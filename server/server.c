/* The process's making and ending: see server.h. */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/client_memory.h"
#include "server/compact.h"
#include "server/core.h"
#include "server/cpus.h"
#include "server/crash.h"
#include "server/evict.h"
#include "server/listeners.h"
#include "server/metrics/metrics.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/process_words.h"
#include "server/pubsub.h"
#include "server/script/busy.h"
#include "server/script/function.h"
#include "server/script/store.h"
#include "server/supervise.h"
#include "server/tls.h"
#include "server/tls_helper.h"
#include "server/watchdog.h"
#include "server/slowlog.h"
#include "server/write_fault.h"

/* Descriptors kept for what is not a client: listeners, rings, the log. */
#define SPARE_FILES 32
#define FILES_PER_CORE 4
/* On few CPUs a pinned thread is in the way of whatever else runs: two pinned threads beside a load
 * generator on two CPUs cost 10 % more CPU a request, and throughput fell by a quarter. */
#define PIN_CPUS_MIN 4

struct server *server;

struct start {
    pthread_barrier_t ready; /* all cores have tried; the main thread decides */
    pthread_barrier_t go;
    pthread_barrier_t done;  /* no core wakes another's ring any more */
    pthread_barrier_t alone; /* ... nor does a helper */
    struct cpus_mask mask;
    bool spins;
    bool pins;
    _Atomic int error; /* errno of a core that could not start */
};

struct core_thread {
    pthread_t thread;
    uint32_t index;
    struct start *start;
    uint64_t seed;
};

static void fill_random(void *to, size_t size)
{
    if (getrandom(to, size, 0) != (ssize_t)size) {
        perror("getrandom");
        abort();
    }
}

static void make_id(char *to)
{
    unsigned char bytes[20];
    fill_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(to + i * 2, 3, "%02x", bytes[i]);
}

void server_change_replication_id(void)
{
    make_id(server->replication_id);
}

/* The classes of notifications that can go out: none without a kind of channel. */
static uint32_t notify_classes(const struct config *c)
{
    uint32_t channels = NOTIFY_KEYSPACE | NOTIFY_KEYEVENT;
    uint32_t set = (uint32_t)c->notify_keyspace_events;
    return (set & channels) && (set & ~channels) ? set : 0;
}

/* The rows have checked these words. */
static void apply_shutdown_words(const struct config *c)
{
    unsigned flags = 0;
    process_parse_shutdown(c->shutdown_on_sigint, &flags);
    atomic_store(&server->on_sigint, flags);
    process_parse_shutdown(c->shutdown_on_sigterm, &flags);
    atomic_store(&server->on_sigterm, flags);
}

/* Which keys go first where maxmemory is reached, and whether only those that expire. */
static enum evict_order evict_order(enum config_policy policy, bool *only_volatile)
{
    *only_volatile = policy >= POLICY_VOLATILE_LRU;
    switch (policy) {
    case POLICY_NOEVICTION: break;
    case POLICY_ALLKEYS_LRU:
    case POLICY_VOLATILE_LRU: return EVICT_BY_IDLE;
    case POLICY_ALLKEYS_LFU:
    case POLICY_VOLATILE_LFU: return EVICT_BY_FREQUENCY;
    case POLICY_ALLKEYS_RANDOM:
    case POLICY_VOLATILE_RANDOM: return EVICT_AT_RANDOM;
    case POLICY_VOLATILE_TTL: return EVICT_BY_TTL;
    }
    return EVICT_NOTHING;
}

/* Redis counts with 64 bits what fits 32 here: beyond, there is no difference to see. */
static uint32_t saturate(int64_t n)
{
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

void server_apply_config(void)
{
    const struct config *c = &server->config;
    bool only_volatile;
    enum evict_order order =
        evict_order((enum config_policy)c->maxmemory_policy, &only_volatile);
    server->keyspace.options = (struct keyspace_options){
        .bulk_size_max = (uint64_t)c->proto_max_bulk_len,
        .reply_size_max = c->output_limits[0].hard,
        .lfu_log_factor = (uint32_t)c->lfu_log_factor,
        .lfu_decay_minutes = (uint32_t)c->lfu_decay_time,
        .lfu = order == EVICT_BY_FREQUENCY,
        .evict_order = (uint8_t)order,
        .evict_volatile = only_volatile,
        .evict_samples = (uint32_t)c->maxmemory_samples,
        .limited = c->maxmemory != 0,
        .active_expire = server->active_expire,
        .active_expire_effort = (uint32_t)c->active_expire_effort,
        .notify = notify_classes(c),
        .stays_until_ms = server->keyspace.options.stays_until_ms,
        .journal = server->keyspace.options.journal,
        .unchecked = server->restores_unchecked,
        .loading = server->keyspace.options.loading,
        .hash_max_listpack_entries = saturate(c->hash_max_listpack_entries),
        .hash_max_listpack_value = saturate(c->hash_max_listpack_value),
        .set_max_listpack_entries = saturate(c->set_max_listpack_entries),
        .set_max_listpack_value = saturate(c->set_max_listpack_value),
        .set_max_intset_entries = saturate(c->set_max_intset_entries),
        .zset_max_listpack_entries = saturate(c->zset_max_listpack_entries),
        .zset_max_listpack_value = saturate(c->zset_max_listpack_value),
        .list_max_listpack_size = (int32_t)c->list_max_listpack_size,
        .list_compress_depth = (uint32_t)c->list_compress_depth,
        .list_packed_max = server->list_packed_max,
        .collate = server->process.collate,
        .stream_node_max_bytes = (uint64_t)c->stream_node_max_bytes,
        .stream_node_max_entries = saturate(c->stream_node_max_entries),
        .hll_sparse_max_bytes = saturate(c->hll_sparse_max_bytes),
        .lazy_evict = c->lazyfree_lazy_eviction,
        .lazy_expire = c->lazyfree_lazy_expire,
        .lazy_server_del = c->lazyfree_lazy_server_del,
        .lazy_user_del = c->lazyfree_lazy_user_del,
        .lazy_user_flush = c->lazyfree_lazy_user_flush,
    };
    log_set_level(&server->log, c->log_level);
    apply_shutdown_words(c);
    watchdog_apply_config();
    client_memory_apply_config();
    write_fault_apply_config();
    if (server->evict)
        evict_apply_config();
    observe_apply();
    for (uint32_t i = 0; server->cores && i < server->core_count; i++)
        slowlog_trim(server->cores[i]);
}

static void tell_inert(void *context, const char *name, const char *reason)
{
    (void)context;
    log_write(&server->log, LOG_WARNING, "%s has no effect: %s", name, reason);
}

void server_tell_inert(const struct config *before)
{
    config_visit_inert(before, &server->config, tell_inert, NULL);
}

bool server_create(const struct config *config, char *error, size_t error_size)
{
    mem_start();
    server = mem_alloc_zeroed(sizeof(*server));
    config_copy(&server->config, config);
    if (config->dir[0] && chdir(config->dir) != 0) {
        snprintf(error, error_size, "dir '%s': %s: create it, or name another directory",
                 config->dir, strerror(errno));
        return false;
    }
    if (!log_init(&server->log, config->log_level, config->logfile)) {
        snprintf(error, error_size, "logfile '%s': %s: choose a file that can be written",
                 config->logfile, strerror(errno));
        return false;
    }
    if (config->syslog_enabled)
        log_use_syslog(&server->log, config->syslog_ident, (unsigned)config->syslog_facility);
    uint32_t count = config->shards ? (uint32_t)config->shards : cpus_usable();
    if (count > SHARD_COUNT_MAX)
        count = SHARD_COUNT_MAX;
    unsigned char secret[HASH_SECRET_SIZE];
    fill_random(secret, sizeof(secret));
    keyspace_init(&server->keyspace, count, (uint32_t)config->databases, secret);
    server->active_expire = true;
    server_apply_config();
    server->registry = registry_create();
    if (!registry_rename_all(server->registry, config, error, error_size))
        return false;
    server->acl = acl_create(server->registry);
    server->keyspace.reads_all_keys = acl_reads_all_keys;
    if (!acl_load_at_start(server->acl, error, error_size))
        return false;
    server->order = order_create(count, 0);
    server->mesh = mesh_create(count);
    server->interest = pubsub_create_interest(count);
    server->core_count = count;
    server->functions = functions_create();
    server->scripts = scripts_create();
    server->busy = busy_create(count);
    server->save = save_create();
    server->load = load_create();
    server->journal = journal_create();
    server->aof = aof_create();
    server->cores = mem_alloc(count * sizeof(*server->cores));
    for (uint32_t i = 0; i < count; i++)
        server->cores[i] = core_create(i);
    client_memory_apply_config();
    server->evict = evict_create(count);
    server->compaction = compact_create(count);
    evict_apply_config();
    make_id(server->run_id);
    server_change_replication_id();
    ssize_t n = readlink("/proc/self/exe", server->executable, sizeof(server->executable) - 1);
    server->executable[n > 0 ? n : 0] = '\0';
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    server->started_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    server->ticks_per_us = core_ticks_per_us();
    observe_apply();
    return true;
}

void server_destroy(void)
{
    metrics_destroy();
    functions_destroy(server->functions);
    load_destroy(server->load);
    for (uint32_t i = 0; i < server->core_count; i++)
        core_destroy(server->cores[i]);
    mem_free(server->cores);
    evict_destroy(server->evict);
    compact_destroy(server->compaction, server->core_count);
    scripts_destroy(server->scripts);
    busy_destroy(server->busy);
    aof_destroy(server->aof);
    journal_destroy(server->journal);
    save_destroy(server->save);
    mesh_destroy(server->mesh);
    pubsub_destroy_interest(server->interest);
    order_destroy(server->order);
    acl_destroy(server->acl);
    registry_destroy(server->registry);
    listeners_close();
    tls_stop();
    supervise_destroy(server->supervisor);
    process_deinit(&server->process);
    log_deinit(&server->log);
    config_deinit(&server->config);
    mem_free(server);
    server = NULL;
}

bool server_raise_file_limit(char *error, size_t error_size)
{
    struct rlimit limit;
    uint64_t own = SPARE_FILES + (uint64_t)server->core_count * FILES_PER_CORE +
                   metrics_files(&server->config);
    uint64_t want = (uint64_t)server->config.maxclients + own;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return true;
    struct rlimit more = {want, limit.rlim_max < want ? want : limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return true;
    more = (struct rlimit){limit.rlim_max, limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &more);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur <= own) {
        snprintf(error, error_size,
                 "Your current 'ulimit -n' of %llu is not enough for the server to start: %u "
                 "shards need more than %llu open files. Raise it (ulimit -n, LimitNOFILE=) or "
                 "use fewer --shards",
                 (unsigned long long)limit.rlim_cur, server->core_count, (unsigned long long)own);
        return false;
    }
    log_write(&server->log, LOG_WARNING,
              "You requested maxclients of %lld requiring at least %llu max file descriptors.",
              (long long)server->config.maxclients, (unsigned long long)want);
    server->config.maxclients = (int64_t)(limit.rlim_cur - own);
    log_write(&server->log, LOG_WARNING,
              "Current maximum open files is %llu. maxclients has been reduced to %lld to "
              "compensate for low ulimit. If you need higher maxclients increase 'ulimit -n' "
              "(LimitNOFILE= of a systemd unit, --ulimit nofile= of a container).",
              (unsigned long long)limit.rlim_cur, (long long)server->config.maxclients);
    return true;
}

void server_stop(void)
{
    atomic_store(&server->stopping, 1);
    for (uint32_t i = 0; i < server->core_count; i++)
        ring_wake(server->cores[i]->ring);
}

static void *run_core(void *argument)
{
    struct core_thread *t = argument;
    struct core *c = server->cores[t->index];
    void *stack = crash_enter_thread(c);
    if (t->start->pins)
        cpus_pin(&t->start->mask, t->index);
    bool started = core_start(c, t->seed, t->start->spins);
    if (!started)
        atomic_store(&t->start->error, errno ? errno : ENOMEM);
    pthread_barrier_wait(&t->start->ready);
    pthread_barrier_wait(&t->start->go);
    if (atomic_load(&t->start->error)) {
        if (started)
            core_finish(c);
        crash_leave_thread(stack);
        return NULL;
    }
    if (t->index == 0)
        listeners_start(c);
    core_run(c);
    pthread_barrier_wait(&t->start->done);
    pthread_barrier_wait(&t->start->alone);
    core_finish(c);
    crash_leave_thread(stack);
    return NULL;
}

static struct core_thread *start_cores(struct start *start)
{
    uint32_t count = server->core_count;
    struct core_thread *threads = mem_alloc(count * sizeof(*threads));
    for (uint32_t i = 0; i < count; i++) {
        threads[i] = (struct core_thread){.index = i, .start = start};
        fill_random(&threads[i].seed, sizeof(threads[i].seed));
        int failed = pthread_create(&threads[i].thread, NULL, run_core, &threads[i]);
        if (failed) {
            fprintf(stderr, "cannot start thread %u of %u: %s: use fewer --shards\n", i + 1, count,
                    strerror(failed));
            exit(1);
        }
    }
    return threads;
}

void server_log_ready(void)
{
    listeners_log_ready();
    supervise_ready(server->supervisor);
}

/* A server that serves and cannot be watched is better than none. */
static void watch(void)
{
    char error[256];
    if (!metrics_start(error, sizeof(error)))
        log_write(&server->log, LOG_WARNING, "%s", error);
}

int server_run(void (*wait_for_stop)(void))
{
    struct start start = {0};
    uint32_t count = server->core_count;
    cpus_read_mask(&start.mask);
    uint32_t cpus = cpus_count(&start.mask);
    start.spins = count < cpus && !cpus_quota_set();
    start.pins = server->config.pin_cores == PIN_YES ||
                 (server->config.pin_cores == PIN_AUTO && count == cpus && cpus >= PIN_CPUS_MIN &&
                  !cpus_quota_set());
    pthread_barrier_init(&start.ready, NULL, count + 1);
    pthread_barrier_init(&start.go, NULL, count + 1);
    pthread_barrier_init(&start.done, NULL, count + 1);
    pthread_barrier_init(&start.alone, NULL, count + 1);
    struct core_thread *threads = start_cores(&start);
    pthread_barrier_wait(&start.ready);
    int error = atomic_load(&start.error);
    if (error)
        log_write(&server->log, LOG_WARNING, "Cannot set up a ring: %s: try io-backend epoll",
                  strerror(error));
    else
        log_write(&server->log, LOG_NOTICE, "Server initialized");
    if (!error && !load_in_progress())
        server_log_ready();
    pthread_barrier_wait(&start.go);
    if (!error) {
        watch();
        wait_for_stop();
        metrics_stop();
        load_stop(server->load);
        aof_stop(server->aof);
        save_stop();
        pthread_barrier_wait(&start.done);
        tls_helpers_stop(server->tls_helpers);
        pthread_barrier_wait(&start.alone);
    }
    for (uint32_t i = 0; i < count; i++)
        pthread_join(threads[i].thread, NULL);
    pthread_barrier_destroy(&start.ready);
    pthread_barrier_destroy(&start.go);
    pthread_barrier_destroy(&start.done);
    pthread_barrier_destroy(&start.alone);
    mem_free(threads);
    return error ? 1 : 0;
}
