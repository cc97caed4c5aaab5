/* Loading: from files at the start (or DEBUG RELOAD), by all cores at once, while clients get
 * LOADING errors for all but the commands that Redis allows.
 *
 * A *loader* thread reads the file and finds the extent of each record; the record's key says its
 * shard, and the core of that shard decodes and inserts it in its own loop, many at a time.
 * Commands of an append-only file are run through the same way as a client's: one shard's commands
 * on that shard, in order; those that need several shards when all before them are done (a session
 * without a connection on core 0 that the file is fed to).
 *
 * While loading, nothing expires (keyspace.options.loading) and nothing is journaled. */
#pragma once

#include "server/core.h"

struct load;

struct load *load_create(void);
/* Before the cores are destroyed. */
void load_destroy(struct load *l);
/* The server stops: ends the loader. Main thread, while the cores still go round. */
void load_stop(struct load *l);

/* Called while all shards stand still. */
typedef void load_done(void *context, bool ok);

/* What to load at the start: the append-only file where `appendonly` is on (aof_load_list), else
 * dbfilename, where they exist. Called once, before the cores run; core 0 begins it. A file that
 * cannot be loaded stops the server with exit status 1, and one message that says which file, where
 * in it, and the cure. Once all is loaded, aof_start is called, where `appendonly` is on. */
void load_plan_start(void);
/* DEBUG RELOAD's second half, DEBUG LOADAOF: loads into what is there now (which the caller has
 * flushed). A key or a library of functions that is there gets what the file says, but where
 * `replaces` is false: then the load fails. While all shards stand still. False where a load is
 * under way, or there is nothing to load. */
bool load_begin(const char *rdb_path, bool replaces, load_done *done, void *context);
bool load_begin_aof(load_done *done, void *context);

/* While all shards stand still: from here on clients are told that data are loaded, though that
 * will begin later; or no longer. What was sent on its way before is refused, too. */
void load_announce(bool on);
/* True while a load is under way. For what runs while all cores stand still, or on core 0. */
bool load_in_progress(void);
/* What a command of an append-only file was answered. On core 0. */
void load_replied(struct slice reply);
/* Each iteration of each core: inserts what the loader has found for it. */
void load_step(struct core *c);
bool load_in_haste(const struct core *c);

struct load_report {
    bool loading;
    int64_t start_s;
    uint64_t total_bytes, loaded_bytes, rdb_used_memory;
    int64_t eta_s;
    uint64_t keys_loaded, keys_expired, keys_empty; /* of the last */
    int64_t last_ms;                                /* how long it took; -1: there was none */
};
void load_report(struct load_report *r);
