/* The process: what is made before the cores start and shared by them.
 *
 * Everything here is either constant once the cores run, atomic, or changed only in a cross
 * transaction of all shards (config, pause), when no other core runs. `server` is the one global
 * pointer. */
#pragma once

#include <stdatomic.h>

#include "server/config.h"
#include "server/log.h"
#include "server/observe.h"
#include "server/order.h"
#include "server/process.h"
#include "server/registry.h"
#include "shard/keyspace.h"

/* The Redis version whose behaviour this is: what clients that look at versions get to see. */
#define SERVER_REDIS_VERSION "7.2.6"

struct acl;
struct aof;
struct busy_scripts;
struct core;
struct crash;
struct evict;
struct compact_shared;
struct functions;
struct interest;
struct journal;
struct load;
struct mesh;
struct metrics;
struct save;
struct scripts;
struct supervisor;
struct tls_context;
struct tls_helpers;

/* How clients come in. */
enum listener_kind { LISTENER_TCP, LISTENER_UNIX, LISTENER_TLS };

struct listener; /* listeners.h */

#define WRITE_FAULT_SAVE (1u << 0) /* the last snapshot failed: stop-writes-on-bgsave-error */
#define WRITE_FAULT_AOF (1u << 1)  /* the append-only file cannot be written */
#define WRITE_FAULT_MEMORY (1u << 2) /* memory is over maxmemory: see evict.h */
#define WRITE_FAULT_OOM (1u << 3)  /* ... and there is nothing to evict */
#define WRITE_FAULT_REPLICAS (1u << 4) /* min-replicas-to-write asks for what is not there */

struct server {
    struct config config;
    struct log log;
    struct process process;   /* how it stands in its system */
    struct crash *crash;      /* the crash report's; NULL: there is none */
    struct supervisor *supervisor; /* who is told how it is, or NULL */
    struct keyspace keyspace;
    struct registry *registry;
    struct acl *acl;           /* acl.h */
    struct order *order;
    struct mesh *mesh;
    struct interest *interest; /* of subscribers: see pubsub.h */
    struct core **cores;      /* keyspace.shard_count of them; core i owns shard i */
    uint32_t core_count;
    struct functions *functions; /* script/function.h; changed while all cores stand still */
    struct scripts *scripts;  /* script/store.h */
    struct busy_scripts *busy; /* script/busy.h */
    struct save *save;         /* persist/save.h, and so on */
    struct load *load;
    struct journal *journal;
    struct aof *aof;
    struct tls_context *tls;   /* of connections to come; NULL: none. See tls.h */
    struct tls_helpers *tls_helpers;
    _Atomic int64_t tls_told_us;   /* when the log last told of a handshake that failed; 0: never */
    _Atomic uint64_t tls_untold;   /* ... and how many have failed since */
    _Atomic uint32_t write_faults; /* WRITE_FAULT_...: why commands that write may be refused */
    struct listener *listeners; /* see listeners.h */
    struct metrics *metrics;   /* metrics/metrics.h; NULL: none */
    struct evict *evict;       /* evict.h */
    struct compact_shared *compaction; /* compact.h */
    int backend;              /* enum ring_backend in use */
    int64_t started_ms;       /* wall clock */
    double ticks_per_us;      /* of core_ticks */
    char run_id[41], replication_id[41];
    char executable[4096];
    _Atomic uint64_t next_session_id;
    _Atomic uint64_t session_count;      /* connected clients */
    _Atomic uint64_t tracking_count;     /* ... of them, that track */
    _Atomic uint64_t tracked_keys;       /* as far as the shards have said: see tracking.c */
    _Atomic uint64_t accepted_count;     /* connections ever accepted */
    _Atomic uint64_t rejected_count;     /* refused: maxclients */
    _Atomic uint32_t stopping;           /* enum server_stop: set once, by SHUTDOWN or a signal */
    _Atomic int64_t watchdog_ms; /* watchdog-period in force: set with all shards standing still,
                                  * read by the main thread */
    _Atomic uint32_t on_sigint, on_sigterm; /* enum process_shutdown: what these ask for; set with
                               * the configuration, read by the main thread */
    _Atomic bool shutdown_asked;         /* by SHUTDOWN, which then wakes the main thread */
    _Atomic bool deaf; /* nobody is accepted any more: set once by core 0 while stopping, before any
                        * session is closed; pairs with the load in cron.c */
    _Atomic uint32_t cores_drained;      /* cores that owe no reply any more, while stopping */
    _Atomic uint32_t held_count; /* scripts that have run for long: see serve.h */
    /* maxmemory-clients: see client_memory.h. */
    int64_t client_memory_max;     /* bytes; 0: no limit */
    int64_t client_memory_quantum; /* a core adds to the sum from so many bytes on */
    _Atomic int64_t client_memory; /* the sum of all cores */
    _Atomic bool evicting;         /* some core has the right to evict */
    bool active_expire;       /* DEBUG SET-ACTIVE-EXPIRE */
    bool cron_paused;         /* DEBUG PAUSE-CRON */
    bool restores_unchecked;  /* DEBUG SET-SKIP-CHECKSUM-VALIDATION */
    bool scripts_debug;       /* DEBUG SET-DISABLE-DENY-SCRIPTS */
    uint32_t list_packed_max; /* DEBUG QUICKLIST-PACKED-THRESHOLD */
    struct observing observing; /* changed while all cores stand still, as what follows */
    _Atomic uint64_t slowlog_numbers; /* entries of the slow log ever made */
    uint64_t slowlog_begin;           /* those before were forgotten; changed like `observing` */
    /* CLIENT PAUSE. */
    int64_t pause_until_ms;   /* wall clock; 0: no pause */
    bool pause_all;           /* all commands, else writes only */
};

extern struct server *server;

/* Makes `server` from a configuration, or says why not. Main thread, before any core runs. */
bool server_create(const struct config *config, char *error, size_t error_size);
void server_destroy(void);
/* Lets the process open as many files as maxclients needs, or lowers maxclients, saying so; false
 * where not even the cores' own files can be opened. */
bool server_raise_file_limit(char *error, size_t error_size);
/* Puts changed values in force where they are kept a second time. All cores stand still. */
void server_apply_config(void);
/* Another master_replid. At the start, or while all cores stand still. */
void server_change_replication_id(void);
/* Tells the log of each option that has no effect here and was changed from `before` (NULL: from
 * the defaults). */
void server_tell_inert(const struct config *before);
/* Runs the cores until they have stopped; returns the exit status. `wait_for_stop` returns when
 * server_stop has been called. */
int server_run(void (*wait_for_stop)(void));

/* Clients are served from now on: tells the log, and who supervises. */
void server_log_ready(void);

/* Begins a clean stop: no more commands are read, replies owed are sent, the cores end. Any thread;
 * async-signal-safe but for its wake-ups, which are. */
void server_stop(void);
