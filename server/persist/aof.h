/* The append-only file as a directory: base, increments and a manifest, as Redis 7 has them.
 *
 * appenddirname/appendfilename.manifest lists, in order, one base file (an RDB, or commands) and
 * the increments that follow it. A rewrite prepares the next increment and a manifest with it,
 * switches the journal to that at the cut of a save of all shards, writes the save as a new base,
 * puts the manifest with base and increment in place, and removes what is no longer listed. A crash
 * at any point leaves a manifest whose files make a whole. Each change of the manifest: a temporary
 * file, synced, renamed, the directory synced.
 *
 *   manifest.c      the manifest as data: parsing and printing (any thread; no files)
 *   aof_files.c     the manifest on disk; names, sizes, removal
 *   aof_load.c      what is to be loaded, in order; old single files are taken over as the base
 *   aof.c           the start, CONFIG SET appendonly, INFO
 *   aof_rewrite.c   the rewrite
 *   aof_commands.c  records of a save as commands: a base without RDB */
#pragma once

#include "server/core.h"

struct aof;

enum aof_file_type { AOF_BASE = 'b', AOF_HISTORY = 'h', AOF_INCREMENT = 'i' };

struct aof_file {
    char *name;
    uint64_t sequence;
    enum aof_file_type type;
};

struct aof_manifest {
    struct aof_file *files; /* base first, then history, then increments in order */
    uint32_t count;
};

/* False with Redis's reason in `error` (size `error_size`), behind it the line and its number. */
bool aof_manifest_parse(struct aof_manifest *m, struct slice text, char *error, size_t error_size);
void aof_manifest_print(const struct aof_manifest *m, struct buf *to);
void aof_manifest_deinit(struct aof_manifest *m);
void aof_manifest_copy(struct aof_manifest *to, const struct aof_manifest *from);
/* Lists a file (the name is copied) in the place of its type, behind others of it. */
void aof_manifest_add(struct aof_manifest *m, const char *name, uint64_t sequence,
                      enum aof_file_type type);
void aof_manifest_remove(struct aof_manifest *m, uint32_t index);
/* The one with the highest sequence of that type; NULL: there is none. */
const struct aof_file *aof_manifest_last(const struct aof_manifest *m, enum aof_file_type type);

struct aof *aof_create(void);
void aof_destroy(struct aof *a);
/* The helper thread has ended, and none is started again. The cores are there still. */
void aof_stop(struct aof *a);

/* Before the cores run, with `appendonly yes`: reads the manifest (or takes an old single file
 * over, or begins anew), false with the cure in `error`. */
bool aof_open(char *error, size_t error_size);
/* The files to load, in order: full paths, owned by aof. */
uint32_t aof_load_list(const char *const **paths);
/* The load has ended well: the journal is switched to the last increment (or a new one). All cores
 * stand still, or do not run yet. */
bool aof_start(struct core *c, char *error, size_t error_size);

/* BGREWRITEAOF: false with Redis's error text. `scheduled`: a snapshot is under way, it begins
 * after that. */
bool aof_rewrite_ask(struct core *c, bool *scheduled, const char **error);
/* CONFIG SET appendonly: within its cross transaction. */
bool aof_turn_on(struct core *c, char *error, size_t error_size);
void aof_turn_off(struct core *c);
/* The first base since it was turned on is being written, or will be: what is listed is not what is
 * there now, and a stop would lose that. Any thread. */
bool aof_awaits_base(void);
/* Ten times a second, on core 0: automatic and scheduled rewrites. */
void aof_cron(struct core *c);

struct aof_report {
    bool enabled, rewriting, scheduled, last_rewrite_ok;
    int64_t last_rewrite_s, current_rewrite_s; /* -1: none */
    uint64_t rewrites, consecutive_failures;
    uint64_t current_size, base_size;
};
void aof_report(struct aof_report *r);
/* Any thread: CONFIG RESETSTAT. Failures are forgotten: an automatic rewrite is tried again. */
void aof_reset_stats(void);

/* A base without RDB (aof-use-rdb-preamble no): what a save hands over, turned into commands that
 * make the same. On the saver's thread. */
struct aof_commands {
    const struct keyspace *keyspace;
    int64_t db;           /* selected at the end of what was written; -1: none */
    struct buf scratch;
};

void aof_commands_init(struct aof_commands *a, const struct keyspace *k);
void aof_commands_deinit(struct aof_commands *a);
/* Appends the commands of whole RDB records: pieces of a snapshot (shard/snapshot.h), functions
 * (RDB_OP_FUNCTION). RDB_OP_AUX and RDB_OP_RESIZE_DB are passed over. False with the cause where
 * the records are broken. */
bool aof_commands_of_records(struct aof_commands *a, struct slice records, struct buf *out,
                             const char **error);
