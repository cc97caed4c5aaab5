/* The append-only file's state, shared by its own files alone: aof*.c.
 *
 * A rewrite goes step by step:
 *
 *   PREPARING  the helper: a next increment is made and listed. (Without an append-only file there
 *              is none; while the first base is awaited it has a name of its own, is not listed,
 *              and replaces all that was listed once the base is whole.)
 *   ASKING     a save is asked for; refused while another is under way, so the cron asks again
 *   ASKED      its cut is to come
 *   WRITING    from the cut, where the journal was switched to the increment, to the save's end
 *   FINISHING  the helper: the base gets its name, the manifest is put in place, and what that no
 *              longer names is removed
 *
 * In PREPARING and FINISHING the helper alone changes the manifest: it works on a copy, and puts
 * that in place once it is on disk. The mutex is held for moments, not while anything waits for the
 * disk, nor while functions of the save or the journal are called. */
#pragma once

#include <pthread.h>

#include "server/persist/aof.h"

#define AOF_PATH_SIZE 4096
#define AOF_ERROR_SIZE 1024
/* Failures in a row from which on automatic rewrites wait. */
#define AOF_FAILURES_MAX 3

enum aof_mode {
    AOF_OFF,
    AOF_ON,
    AOF_WAITING, /* turned on; the first base is not whole yet, so what is listed is still loaded */
};

enum aof_step {
    REWRITE_NONE, REWRITE_PREPARING, REWRITE_ASKING, REWRITE_ASKED, REWRITE_WRITING,
    REWRITE_FINISHING,
};

struct aof {
    char *file_name;      /* appendfilename: constant, as is ... */
    char *directory_name; /* appenddirname */

    pthread_mutex_t mutex; /* of all below */
    char directory[AOF_PATH_SIZE]; /* absolute; changes only while nothing is under way */
    struct aof_manifest manifest;  /* as it is on disk, where `known` */
    bool known;
    enum aof_mode mode;
    bool journaling;      /* the journal was switched on by us */
    bool on_after_load;   /* CONFIG SET appendonly came while loading */
    uint64_t base_sequence, increment_sequence; /* the last ones used */

    enum aof_step step;
    enum aof_mode rewrite_mode; /* when it began */
    uint64_t turns;       /* times it was turned on or off, */
    uint64_t rewrite_turn; /* and that when the rewrite began */
    bool as_commands;     /* the base to come */
    bool abandoned;       /* nobody wants what is under way */
    bool scheduled;
    int fd;               /* the increment that the cut will switch to; -1: none */
    uint64_t fd_turn;     /* `turns` when it was made */
    bool stopping;             /* no helper is started any more */
    pthread_t helper;
    bool helper_started;  /* ... and not joined */

    bool last_ok;
    int64_t began_s, last_s; /* monotonic; of the last, -1: there was none */
    uint64_t rewrites, failures;
    uint64_t settled_size;   /* of all files but the one that is written to */
    uint64_t base_size;      /* of all, when last rewritten */
    int64_t retry_delay_s, retry_at_s;

    char **load_list;
    uint32_t load_count;
};

static inline void aof_lock(struct aof *a)
{
    pthread_mutex_lock(&a->mutex);
}

static inline void aof_unlock(struct aof *a)
{
    pthread_mutex_unlock(&a->mutex);
}

/* --- aof_files.c; none needs the mutex, but for aof_files_locate --- */

/* The directory, from the working directory of this moment. Where it was another one before, what
 * was known of that is forgotten. */
bool aof_files_locate(struct aof *a, char *error, size_t error_size);
void aof_files_path(const struct aof *a, const char *name, char path[AOF_PATH_SIZE]);
/* What stands only until a rewrite has ended. */
void aof_files_temporary_base(const struct aof *a, char name[AOF_PATH_SIZE]);
void aof_files_temporary_increment(const struct aof *a, char name[AOF_PATH_SIZE]);
/* The next name of its kind that the manifest does not list; *sequence moves on. */
void aof_files_next_base(const struct aof *a, const struct aof_manifest *m, uint64_t *sequence,
                         bool as_commands, char name[AOF_PATH_SIZE]);
void aof_files_next_increment(const struct aof *a, const struct aof_manifest *m,
                              uint64_t *sequence, char name[AOF_PATH_SIZE]);
bool aof_files_make_directory(const struct aof *a, char *error, size_t error_size);
/* Opens for appending, empty: whatever has the name is not listed, and goes. -1 with `error`. */
int aof_files_create(const struct aof *a, const char *name, char *error, size_t error_size);
/* *found false: there is no manifest (and no file that looks as if there should be one). */
bool aof_files_read_manifest(const struct aof *a, struct aof_manifest *m, bool *found, char *error,
                             size_t error_size);
/* Puts the manifest in place, durably. On failure *placed says whether it may be in place all the
 * same. */
bool aof_files_persist(const struct aof *a, const struct aof_manifest *m, bool *placed, char *error,
                       size_t error_size);
/* Where there is no manifest: one without files, so that files without a manifest are always a
 * sign that one was lost. */
bool aof_files_begin(const struct aof *a, char *error, size_t error_size);
/* An old single file, from the working directory into ours. */
bool aof_files_move_in(const struct aof *a, char *error, size_t error_size);
bool aof_files_rename(const struct aof *a, const char *from, const char *to, char *error,
                      size_t error_size);
void aof_files_remove(const struct aof *a, const char *name);
/* Removes what saves of processes that are gone have left behind. */
void aof_files_remove_stale(const struct aof *a);
/* Removes history, and takes it off the manifest. What takes long, giving back the blocks of large
 * files, is put off: *kept are descriptors to close, freed by aof_files_let_go. */
void aof_files_remove_history(const struct aof *a, struct aof_manifest *m, struct buf *kept);
void aof_files_let_go(struct buf *kept);
/* Bytes; -1 with errno. */
int64_t aof_files_size(const struct aof *a, const char *name);
/* Of base and increments, the one in use left out where `but_last`. */
uint64_t aof_files_sum(const struct aof *a, const struct aof_manifest *m, bool but_last);
/* A base without keys. */
bool aof_files_create_base(const struct aof *a, const char *name, bool as_commands, char *error,
                           size_t error_size);

/* --- aof_load.c --- */

/* Locates the directory and reads the manifest, unless that was done. */
bool aof_know(struct aof *a, char *error, size_t error_size);
/* An old single file becomes the base, where there is one to take over. */
bool aof_take_over(struct aof *a, char *error, size_t error_size);
/* All files that are listed are there. */
bool aof_check_files(const struct aof *a, char *error, size_t error_size);

/* --- aof_rewrite.c; each with the mutex held, and holding it again when it returns --- */

/* None is under way. */
void aof_rewrite_begin(struct aof *a);
/* Closes the increment that no cut has switched to. */
void aof_rewrite_drop_increment(struct aof *a);
void aof_rewrite_abandon(struct aof *a);
/* Takes the sequences from the manifest. */
void aof_count_on(struct aof *a);
