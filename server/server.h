/* The process: what is made before the cores start and shared by them.
 *
 * Everything here is either constant once the cores run, atomic, or changed only in a cross
 * transaction of all shards (config, pause), when no other core runs. `server` is the one global
 * pointer. */
#pragma once

#include <stdatomic.h>

#include "server/config.h"
#include "server/log.h"
#include "server/order.h"
#include "server/registry.h"
#include "shard/keyspace.h"

/* The Redis version whose behaviour this is: what clients that look at versions get to see. */
#define SERVER_REDIS_VERSION "7.2.6"

struct aof;
struct busy_scripts;
struct core;
struct functions;
struct interest;
struct journal;
struct load;
struct mesh;
struct save;
struct scripts;

#define WRITE_FAULT_SAVE (1u << 0) /* the last snapshot failed: stop-writes-on-bgsave-error */
#define WRITE_FAULT_AOF (1u << 1)  /* the append-only file cannot be written */

struct server {
    struct config config;
    struct log log;
    struct keyspace keyspace;
    struct registry *registry;
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
    _Atomic uint32_t write_faults; /* WRITE_FAULT_...: why commands that write are refused */
    int listeners[CONFIG_BIND_MAX];
    uint32_t listener_count;
    int backend;              /* enum ring_backend in use */
    int64_t started_ms;       /* wall clock */
    double ticks_per_us;      /* of core_ticks */
    char run_id[41];
    char executable[4096];
    _Atomic uint64_t next_session_id;
    _Atomic uint64_t session_count;      /* connected clients */
    _Atomic uint64_t tracking_count;     /* ... of them, that track */
    _Atomic uint64_t tracked_keys;       /* as far as the shards have said: see tracking.c */
    _Atomic uint64_t accepted_count;     /* connections ever accepted */
    _Atomic uint64_t rejected_count;     /* refused: maxclients */
    _Atomic uint32_t stopping;           /* enum server_stop: set once, by SHUTDOWN or a signal */
    _Atomic bool shutdown_asked;         /* by SHUTDOWN, which then wakes the main thread */
    _Atomic uint32_t cores_drained;      /* cores that owe no reply any more, while stopping */
    _Atomic uint32_t held_count; /* scripts that have run for long: see serve.h */
    bool active_expire;       /* DEBUG SET-ACTIVE-EXPIRE */
    bool cron_paused;         /* DEBUG PAUSE-CRON */
    bool scripts_debug;       /* DEBUG SET-DISABLE-DENY-SCRIPTS */
    uint32_t list_packed_max; /* DEBUG QUICKLIST-PACKED-THRESHOLD */
    /* CLIENT PAUSE. */
    int64_t pause_until_ms;   /* wall clock; 0: no pause */
    bool pause_all;           /* all commands, else writes only */
};

extern struct server *server;

/* Makes `server` from a configuration, or says why not. Main thread, before any core runs. */
bool server_create(const struct config *config, char *error, size_t error_size);
void server_destroy(void);
/* Binds what the configuration names; false with the cure in `error`. */
bool server_open_listeners(char *error, size_t error_size);
/* Lets the process open as many files as maxclients needs, or lowers maxclients, saying so; false
 * where not even the cores' own files can be opened. */
bool server_raise_file_limit(char *error, size_t error_size);
/* Puts changed values in force where they are kept a second time. All cores stand still. */
void server_apply_config(void);
/* Runs the cores until they have stopped; returns the exit status. `wait_for_stop` returns when
 * server_stop has been called. */
int server_run(void (*wait_for_stop)(void));

/* Begins a clean stop: no more commands are read, replies owed are sent, the cores end. Any thread;
 * async-signal-safe but for its wake-ups, which are. */
void server_stop(void);
