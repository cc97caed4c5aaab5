/* Saving: one snapshot of all shards written to one RDB file while commands go on.
 *
 * A save begins at its cut: an entry of the order at which all shards stand still for an instant
 * and turn their colours (shard/snapshot.h). From then on each core serializes its shard in slices
 * between its other work and hands pieces to the *saver*, a thread that lives as long as the save:
 * it writes them to a temporary file as they come, sums up the checksum, and in the end syncs it,
 * renames it, and syncs the directory. Cores that are ahead of the disk wait with their sweep, not
 * with their commands. One save is under way at a time, of either kind.
 *
 * Whatever fails (disk full, permissions) leaves the old file as it was, is logged with its cause,
 * and sets the status that INFO shows and stop-writes-on-bgsave-error looks at.
 *
 *   save.c         the cut, the sweep of each core, the end
 *   save_points.c  when: save points, what was asked for, what FLUSHALL leaves, status and figures
 *   save_header.c  what stands before the pieces
 *   saver.c        the thread and the file
 *   stand.c        the server's own transactions of all shards, published by core 0
 *   shutdown.c     a clean stop */
#pragma once

#include "server/core.h"

struct bundle;
struct save;

enum save_kind {
    SAVE_RDB,      /* dbfilename */
    SAVE_AOF_BASE, /* the base of a rewritten append-only file: aof.h */
};

/* How a save ended; on the thread of core 0. */
typedef void save_done(void *context, bool ok, const char *error);

struct save_plan {
    enum save_kind kind;
    char path[4096];      /* where the file goes in the end */
    bool as_commands;     /* SAVE_AOF_BASE without aof-use-rdb-preamble: the saver turns records
                           * into commands */
    bool foreground;      /* somebody waits for it: SAVE, the end; INFO's status is not its */
    void (*at_cut)(struct core *c, struct shard *const *shards, void *context); /* or NULL: called
                           * at the cut, while all shards stand still */
    save_done *done;      /* or NULL; called on core 0 */
    void *context;
};

/* Makes what server->save points to. Main thread, before the cores run; destroy after them. */
struct save *save_create(void);
void save_destroy(struct save *s);
/* Main thread, when the server stops, while the cores' rings are there: gives up what is under way,
 * and nothing begins any more. */
void save_stop(void);
/* The core ends: lets go of its part. */
void save_core_finish(struct core *c);

/* dbfilename in dir. */
void save_plan_rdb(struct save_plan *plan);
/* The cut, within a cross transaction of all shards (`shards` by index, all of them). False where
 * a save is under way, or cannot begin. */
bool save_begin(struct core *c, struct shard *const *shards, const struct save_plan *plan);
/* True from the cut until the file has its name, or the save has failed. Any thread. */
bool save_in_progress(void);
enum save_kind save_kind_now(void);
/* Gives up the one under way, as a killed child process would be. Any core. */
void save_abandon(void);

/* Asks core 0 to publish a cut for a plan as soon as it can; any thread. False where one is under
 * way or asked for. */
bool save_ask(const struct save_plan *plan);
/* The same, once the one under way has ended: false only where another is asked for. */
bool save_ask_next(const struct save_plan *plan);
/* BGSAVE SCHEDULE: as soon as nothing is under way. */
void save_schedule(void);

/* Each iteration of each core: what has changed is acted on. */
void save_step(struct core *c);
/* While c->saving, when nothing else is to be done: a slice of the sweep. */
void save_sweep(struct core *c);
/* True while save_sweep wants to be called again at once. */
bool save_in_haste(const struct core *c);
/* When it wants to be called next, in the core's monotonic us; INT64_MAX: it is told, or has
 * nothing to do. */
int64_t save_next_us(const struct core *c);
/* Ten times a second, on each core: figures; on core 0 save points, what was scheduled. */
void save_cron(struct core *c);

/* FLUSHALL as Redis has it: gives up a snapshot under way, which would bring back what is gone, and
 * with save points writes an empty file before the reply. First each shard says that it did its
 * part, then who was last calls save_flushed. */
void save_note_flushed(const struct shard *s);
void save_flushed(void);

/* What has changed so far counts as saved: after a load, while all cores stand still. */
void save_count_anew(void);
/* Options have changed: whether commands that write are refused. All cores stand still. */
void save_apply_config(void);

/* A clean stop: with `save` (SHUTDOWN SAVE, or save points are set) writes a last snapshot, of
 * which everything is part that anybody was told was done; lets the journal write and sync what it
 * has; then stops the server. From the begin on no command is taken. On failure without `force`
 * nothing stops, and the waiter is answered Redis's error. */
struct shutdown_plan {
    bool save, nosave, force;
    bool waited;  /* a client waits: the slot for its bundle is what shutdown_begin returns */
};
/* There is nothing to be written. */
bool shutdown_is_trivial(const struct shutdown_plan *plan);
/* Any core. NULL where one is in progress (or nobody waits). */
struct bundle **shutdown_begin(const struct shutdown_plan *plan);
/* Main thread: a signal asks for one; `flags` are enum process_shutdown. */
void shutdown_by_signal(unsigned flags);
bool shutdown_in_progress(void);
/* Any thread, when the process ends without one: what was being written is removed. */
void save_remove_temp(void);

/* Any thread, for INFO. */
struct save_report {
    bool in_progress, scheduled;
    enum save_kind kind;
    bool last_ok;           /* of BGSAVE and SAVE */
    int64_t last_save_s;    /* LASTSAVE */
    int64_t last_time_s, current_time_s; /* -1: none */
    uint64_t saves;
    uint64_t changes_saved; /* what the shards had counted at the cut of the last good one */
    uint64_t memory, memory_peak; /* extra bytes held for it: what Redis calls copy-on-write */
    uint64_t last_memory_peak[2]; /* by kind */
    uint64_t keys_done, keys_total;
};
void save_report(struct save_report *r);
/* Any thread: CONFIG RESETSTAT. */
void save_reset_stats(void);
