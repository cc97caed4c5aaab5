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

#include "net/listener.h"
#include "proto/mem.h"
#include "server/accept.h"
#include "server/core.h"
#include "server/cpus.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/pubsub.h"
#include "server/script/busy.h"
#include "server/script/function.h"
#include "server/script/store.h"

/* Descriptors kept for what is not a client: listeners, rings, the log. */
#define SPARE_FILES 32
#define FILES_PER_CORE 4
/* On few CPUs a pinned thread is in the way of whatever else runs: two pinned threads beside a load
 * generator on two CPUs cost 10 % more CPU a request, and throughput fell by a quarter. */
#define PIN_CPUS_MIN 4
/* A port in use is tried again for a second. */
#define BIND_TRIES 20
#define BIND_WAIT_US 50000

struct server *server;

struct start {
    pthread_barrier_t ready; /* all cores have tried; the main thread decides */
    pthread_barrier_t go;
    pthread_barrier_t done;  /* nobody wakes another's ring any more */
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

static void make_run_id(char *to)
{
    unsigned char bytes[20];
    fill_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(to + i * 2, 3, "%02x", bytes[i]);
}

/* The classes of notifications that can go out: none without a kind of channel. */
static uint32_t notify_classes(const struct config *c)
{
    uint32_t channels = NOTIFY_KEYSPACE | NOTIFY_KEYEVENT;
    uint32_t set = (uint32_t)c->notify_keyspace_events;
    return (set & channels) && (set & ~channels) ? set : 0;
}

void server_apply_config(void)
{
    const struct config *c = &server->config;
    server->keyspace.options = (struct keyspace_options){
        .bulk_size_max = (uint64_t)c->proto_max_bulk_len,
        .lfu_log_factor = (uint32_t)c->lfu_log_factor,
        .lfu_decay_minutes = (uint32_t)c->lfu_decay_time,
        .lfu = c->maxmemory_policy == POLICY_ALLKEYS_LFU ||
               c->maxmemory_policy == POLICY_VOLATILE_LFU,
        .active_expire = server->active_expire,
        .active_expire_effort = (uint32_t)c->active_expire_effort,
        .notify = notify_classes(c),
        .journal = server->keyspace.options.journal,
        .loading = server->keyspace.options.loading,
        .sanitize = c->sanitize_dump_payload != SANITIZE_NO,
        .hash_max_listpack_entries = (uint32_t)c->hash_max_listpack_entries,
        .hash_max_listpack_value = (uint32_t)c->hash_max_listpack_value,
        .set_max_listpack_entries = (uint32_t)c->set_max_listpack_entries,
        .set_max_listpack_value = (uint32_t)c->set_max_listpack_value,
        .set_max_intset_entries = (uint32_t)c->set_max_intset_entries,
        .zset_max_listpack_entries = (uint32_t)c->zset_max_listpack_entries,
        .zset_max_listpack_value = (uint32_t)c->zset_max_listpack_value,
        .list_max_listpack_size = (int32_t)c->list_max_listpack_size,
        .list_compress_depth = (uint32_t)c->list_compress_depth,
        .list_packed_max = server->list_packed_max,
        .stream_node_max_bytes = (uint64_t)c->stream_node_max_bytes,
        .stream_node_max_entries = (uint32_t)c->stream_node_max_entries,
        .hll_sparse_max_bytes = (uint32_t)c->hll_sparse_max_bytes,
        .lazy_expire = c->lazyfree_lazy_expire,
        .lazy_server_del = c->lazyfree_lazy_server_del,
        .lazy_user_del = c->lazyfree_lazy_user_del,
        .lazy_user_flush = c->lazyfree_lazy_user_flush,
    };
    log_set_level(&server->log, c->log_level);
}

bool server_create(const struct config *config, char *error, size_t error_size)
{
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
    uint32_t count = config->shards ? (uint32_t)config->shards : cpus_usable();
    if (count > SHARD_COUNT_MAX)
        count = SHARD_COUNT_MAX;
    unsigned char secret[HASH_SECRET_SIZE];
    fill_random(secret, sizeof(secret));
    keyspace_init(&server->keyspace, count, (uint32_t)config->databases, secret);
    server->active_expire = true;
    server_apply_config();
    server->registry = registry_create();
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
    make_run_id(server->run_id);
    ssize_t n = readlink("/proc/self/exe", server->executable, sizeof(server->executable) - 1);
    server->executable[n > 0 ? n : 0] = '\0';
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    server->started_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    server->ticks_per_us = core_ticks_per_us();
    return true;
}

void server_destroy(void)
{
    functions_destroy(server->functions);
    load_destroy(server->load);
    for (uint32_t i = 0; i < server->core_count; i++)
        core_destroy(server->cores[i]);
    mem_free(server->cores);
    scripts_destroy(server->scripts);
    busy_destroy(server->busy);
    aof_destroy(server->aof);
    journal_destroy(server->journal);
    save_destroy(server->save);
    mesh_destroy(server->mesh);
    pubsub_destroy_interest(server->interest);
    order_destroy(server->order);
    registry_destroy(server->registry);
    for (uint32_t i = 0; i < server->listener_count; i++)
        close(server->listeners[i]);
    log_deinit(&server->log);
    config_deinit(&server->config);
    mem_free(server);
    server = NULL;
}

/* Opens one address. A port that a server killed a moment ago still holds (the kernel takes its
 * ring down in the background) is waited for. */
static int open_listener(const char *address, char *error, size_t error_size)
{
    const struct config *c = &server->config;
    for (int tries = 0;; tries++) {
        int fd = listener_open(address, (unsigned)c->port, (unsigned)c->tcp_backlog, error,
                               error_size);
        if (fd >= 0 || errno != EADDRINUSE || tries == BIND_TRIES)
            return fd;
        usleep(BIND_WAIT_US);
    }
}

bool server_open_listeners(char *error, size_t error_size)
{
    const struct config *c = &server->config;
    snprintf(error, error_size, "Configured to not listen anywhere: give a port and an address "
             "(--port 6379 --bind 127.0.0.1)");
    for (uint32_t i = 0; c->port && i < c->bind_count; i++) {
        bool optional = c->bind[i][0] == '-';
        int fd = open_listener(c->bind[i] + optional, error, error_size);
        if (fd >= 0)
            server->listeners[server->listener_count++] = fd;
        else if (!optional)
            return false;
    }
    return server->listener_count > 0;
}

bool server_raise_file_limit(char *error, size_t error_size)
{
    struct rlimit limit;
    uint64_t own = SPARE_FILES + (uint64_t)server->core_count * FILES_PER_CORE;
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
                 "only %llu open files are allowed, and %u shards need more than %llu: raise the "
                 "limit (ulimit -n, LimitNOFILE=) or use fewer --shards",
                 (unsigned long long)limit.rlim_cur, server->core_count, (unsigned long long)own);
        return false;
    }
    server->config.maxclients = (int64_t)(limit.rlim_cur - own);
    log_write(&server->log, LOG_WARNING,
              "Only %llu open files are allowed, so maxclients is %lld: raise the limit "
              "(ulimit -n, LimitNOFILE=) for more",
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
        return NULL;
    }
    if (t->index == 0)
        accept_start(c);
    core_run(c);
    pthread_barrier_wait(&t->start->done);
    core_finish(c);
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
    struct core_thread *threads = start_cores(&start);
    pthread_barrier_wait(&start.ready);
    int error = atomic_load(&start.error);
    if (error)
        log_write(&server->log, LOG_WARNING, "Cannot set up a ring: %s: try io-backend epoll",
                  strerror(error));
    else if (!load_in_progress())
        log_write(&server->log, LOG_NOTICE, "Ready to accept connections tcp");
    pthread_barrier_wait(&start.go);
    if (!error) {
        wait_for_stop();
        load_stop(server->load);
        aof_stop(server->aof);
        save_stop();
        pthread_barrier_wait(&start.done);
    }
    for (uint32_t i = 0; i < count; i++)
        pthread_join(threads[i].thread, NULL);
    pthread_barrier_destroy(&start.ready);
    pthread_barrier_destroy(&start.go);
    pthread_barrier_destroy(&start.done);
    mem_free(threads);
    return error ? 1 : 0;
}
