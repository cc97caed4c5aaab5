/* The insides of load.h: what load.c, load_rdb.c and load_commands.c share. No one else includes
 * this.
 *
 *   load.c            plans, the loader thread, the end
 *   load_rdb.c        RDB files: the loader finds records, the cores insert them
 *   load_commands.c   commands: the loader finds whole ones, a session on core 0 is fed with them
 *
 * The loader hands *batches* to cores, each through a *lane*. It counts those that are under way,
 * so that it can wait until all that it has handed out is in place: before commands that come
 * behind an RDB file, and before the end. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "proto/buf.h"
#include "server/persist/load.h"
#include "server/persist/load_file.h"
#include "shard/rdb_load.h"

#define LOAD_RECORDS_MAX 1024 /* in a batch */

enum load_batch_kind {
    LOAD_RECORDS,  /* of one shard */
    LOAD_FUNCTION, /* to core 0: a library's code */
    LOAD_COMMANDS, /* to core 0: whole commands */
};

struct load_batch {
    struct load_batch *next;
    enum load_batch_kind kind;
    struct load_buffer *buffer; /* what it points into, kept */
    size_t bytes;               /* of its records */
    uint32_t count, done;       /* records; how many of them were inserted */
    struct buf code;            /* FUNCTION */
    struct slice commands;      /* COMMANDS */
    struct rdb_record records[];
};

/* From the loader to one core. */
struct load_lane {
    pthread_mutex_t mutex;
    struct load_batch *first, *last;
    _Atomic uint32_t count;     /* in it; relaxed: the mutex orders what it says */
    struct load_batch *in_hand; /* the core's own: begun */
} __attribute__((aligned(64)));

enum load_phase {
    LOAD_IDLE,
    LOAD_PLANNED, /* core 0 is to start the loader */
    LOAD_READING,
    LOAD_READ,    /* the loader has ended, and all it has handed out is in place */
    LOAD_ENDING,  /* the end is published */
};

struct load {
    /* Release by whoever ends a phase, acquire by core 0: all that was done in it. */
    _Atomic int phase;
    bool at_start;  /* failing ends the process */
    bool from_aof;
    bool replaces;  /* keys that are there get the value of the file */
    bool journaled; /* before: journaling is off meanwhile */
    bool verify, truncates; /* options, as they were at the begin */
    char rdb_path[4096];
    const char *const *aof_paths;
    uint32_t aof_count;
    load_done *done;
    void *context;

    /* The loader's. */
    pthread_t thread;
    bool has_thread;
    const char *path;        /* of the file being loaded; cores with work read it, too */
    int64_t now_ms;          /* what has expired before is left out; 0: nothing is */
    struct load_batch **open; /* by core: being filled */
    int64_t told_us;         /* when the log last told of progress */
    uint64_t records;        /* handed out */

    struct load_budget budget;
    struct load_lane *lanes; /* by core */
    pthread_mutex_t mutex;
    pthread_cond_t settled;
    uint32_t under_way;      /* batches handed out and not done; under `mutex` */

    struct session *session; /* core 0's: what commands are fed to */
    uint32_t fed;            /* batches that it was fed with and has not done yet */
    _Atomic uint64_t command_errors; /* relaxed: a count */

    /* Words that stand alone: relaxed, but for those that say otherwise. */
    _Atomic bool abandoned;  /* the server stops */
    _Atomic bool failed;
    _Atomic int64_t key_delay; /* option key-load-delay, as core 0 sees it */
    _Atomic int64_t started_us, start_s, last_ms;
    _Atomic uint64_t total_bytes, loaded_bytes, bytes_before, used_memory;
    _Atomic uint64_t keys_loaded, keys_expired, keys_empty;
};

int64_t load_monotonic_us(void);
/* It cannot go on: says why in the log, with what the cure is; at the start that is the end of the
 * process. Any thread. */
__attribute__((format(printf, 2, 3))) void load_fail(struct load *l, const char *format, ...);
/* True where the loader has to stop: it failed, or the server stops. */
bool load_is_over(struct load *l);

/* The loader's: */
struct load_batch *load_batch_create(enum load_batch_kind kind, uint32_t records,
                                     struct load_buffer *buffer);
void load_hand_out(struct load *l, uint32_t core, struct load_batch *b);
/* Waits until all that was handed out is in place. */
void load_settle(struct load *l);
/* After each record or command: tells of progress, and waits where key-load-delay says so. */
void load_progress(struct load *l, const struct load_file *f);

/* The cores': */
void load_batch_done(struct load *l, struct load_batch *b);
/* The next batch of the lane, or NULL. */
struct load_batch *load_take(struct load_lane *lane);

/* An RDB, from its header to its end: false having failed. `base`: of an append-only file. */
bool load_rdb(struct load *l, struct load_file *f, bool base);
/* Inserts what a batch still has, until the time is up; true when it is through. */
bool load_insert(struct load *l, struct core *c, struct load_batch *b, int64_t until_us);
/* The batch is done when all cores have stood still for it. */
void load_add_function(struct core *c, struct load_batch *b);

/* Commands to the end of the file, which may be cut short where it is the last. */
bool load_commands(struct load *l, struct load_file *f, bool last);
/* Core 0: feeds its session. */
void load_feed(struct load *l, struct core *c, struct load_batch *b);
/* True where the session can take another batch. */
bool load_can_feed(const struct load *l);
/* Says that what the session was fed with is done, where it is. */
void load_look_after_session(struct load *l, struct core *c);
void load_drop_session(struct load *l, struct core *c);
