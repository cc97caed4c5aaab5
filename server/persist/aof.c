/* The append-only file: its start, CONFIG SET appendonly, INFO. See aof.h. */
#include "server/persist/aof_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/server.h"

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

struct aof *aof_create(void)
{
    struct aof *a = mem_alloc_zeroed(sizeof(*a));
    a->file_name = copy_text(server->config.appendfilename);
    a->directory_name = copy_text(server->config.appenddirname);
    pthread_mutex_init(&a->mutex, NULL);
    a->fd = -1;
    a->last_s = -1;
    a->last_ok = true;
    return a;
}

void aof_destroy(struct aof *a)
{
    if (a->fd >= 0)
        close(a->fd);
    for (uint32_t i = 0; i < a->load_count; i++)
        mem_free(a->load_list[i]);
    mem_free(a->load_list);
    aof_manifest_deinit(&a->manifest);
    pthread_mutex_destroy(&a->mutex);
    mem_free(a->file_name);
    mem_free(a->directory_name);
    mem_free(a);
}

/* ---- The start ---- */

/* What a rewrite that was cut short has left behind. */
static void clean_up(struct aof *a)
{
    char name[AOF_PATH_SIZE];
    struct buf kept;
    bool placed;
    char error[AOF_ERROR_SIZE];
    aof_files_temporary_base(a, name);
    aof_files_remove(a, name);
    aof_files_temporary_increment(a, name);
    aof_files_remove(a, name);
    aof_files_remove_stale(a);

    uint32_t before = a->manifest.count;
    buf_init(&kept);
    aof_files_remove_history(a, &a->manifest, &kept);
    aof_files_let_go(&kept);
    if (a->manifest.count != before &&
        !aof_files_persist(a, &a->manifest, &placed, error, sizeof(error)))
        log_write(&server->log, LOG_WARNING, "%s", error);
}

bool aof_open(char *error, size_t error_size)
{
    struct aof *a = server->aof;
    if (!server->config.appendonly || a->known)
        return true;
    if (!aof_know(a, error, error_size) || !aof_take_over(a, error, error_size) ||
        !aof_check_files(a, error, error_size)) {
        log_write(&server->log, LOG_WARNING, "%s", error);
        return false;
    }
    clean_up(a);
    return true;
}

/* As with Redis; but whoever has just turned appendonly on may expect something else. */
static void tell_of_snapshot(void)
{
    const char *name = server->config.dbfilename;
    if (access(name, F_OK) == 0)
        log_write(&server->log, LOG_WARNING,
                  "There is a snapshot %s, which is not loaded: appendonly is on, and there was no "
                  "append-only file. To begin with the snapshot's data start with appendonly no, "
                  "then CONFIG SET appendonly yes", name);
}

/* Where nothing is listed a base without keys, and where no increment is, the first one. */
static bool complete_manifest(struct aof *a, char *error, size_t error_size)
{
    char name[AOF_PATH_SIZE];
    bool placed;
    bool as_commands = !server->config.aof_use_rdb_preamble;
    if (aof_manifest_last(&a->manifest, AOF_INCREMENT))
        return true;
    if (!aof_files_make_directory(a, error, error_size))
        return false;
    if (!aof_manifest_last(&a->manifest, AOF_BASE)) {
        aof_files_next_base(a, &a->manifest, &a->base_sequence, as_commands, name);
        tell_of_snapshot();
        if (!aof_files_begin(a, error, error_size) ||
            !aof_files_create_base(a, name, as_commands, error, error_size))
            return false;
        aof_manifest_add(&a->manifest, name, a->base_sequence, AOF_BASE);
        log_write(&server->log, LOG_NOTICE, "Creating AOF base file %s on server start", name);
    }
    aof_files_next_increment(a, &a->manifest, &a->increment_sequence, name);
    int fd = aof_files_create(a, name, error, error_size);
    if (fd < 0)
        return false;
    close(fd);
    aof_manifest_add(&a->manifest, name, a->increment_sequence, AOF_INCREMENT);
    log_write(&server->log, LOG_NOTICE, "Creating AOF incr file %s on server start", name);
    return aof_files_persist(a, &a->manifest, &placed, error, error_size);
}

static bool open_last(struct aof *a, int *fd, uint64_t *size, char *error, size_t error_size)
{
    char path[AOF_PATH_SIZE];
    struct stat s;
    const char *name = aof_manifest_last(&a->manifest, AOF_INCREMENT)->name;
    aof_files_path(a, name, path);
    *fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &s) != 0) {
        snprintf(error, error_size, "Can't open the append-only file %s: %s", name,
                 strerror(errno));
        return false;
    }
    *size = (uint64_t)s.st_size;
    if (*size)
        log_write(&server->log, LOG_NOTICE, "Opening AOF incr file %s on server start", name);
    return true;
}

bool aof_start(struct core *c, char *error, size_t error_size)
{
    struct aof *a = server->aof;
    int fd;
    uint64_t size;
    if (!server->config.appendonly || a->mode != AOF_OFF)
        return true;
    if (!aof_know(a, error, error_size) || !complete_manifest(a, error, error_size) ||
        !open_last(a, &fd, &size, error, error_size))
        return false;
    const struct aof_file *base = aof_manifest_last(&a->manifest, AOF_BASE);
    int64_t base_size = base ? aof_files_size(a, base->name) : 0;
    aof_lock(a);
    a->settled_size = aof_files_sum(a, &a->manifest, true);
    a->base_size = base_size > 0 ? (uint64_t)base_size : 0;
    a->mode = AOF_ON;
    a->journaling = true;
    aof_unlock(a);
    journal_switch(c, fd, size);
    return true;
}

/* ---- CONFIG SET appendonly ---- */

/* That the directory can be written to is seen at once: else CONFIG SET fails. */
static bool try_directory(struct aof *a, char *error, size_t error_size)
{
    char name[AOF_PATH_SIZE];
    aof_rewrite_drop_increment(a);
    if (!aof_files_locate(a, error, error_size) || !aof_files_make_directory(a, error, error_size))
        return false;
    aof_files_temporary_increment(a, name);
    a->fd = aof_files_create(a, name, error, error_size);
    a->fd_turn = a->turns;
    return a->fd >= 0;
}

bool aof_turn_on(struct core *c, char *error, size_t error_size)
{
    struct aof *a = server->aof;
    char why[AOF_ERROR_SIZE];
    bool busy = save_in_progress();
    aof_lock(a);
    if (load_in_progress()) {
        a->on_after_load = true;
        aof_unlock(a);
        return true;
    }
    a->turns++;
    a->mode = AOF_WAITING;
    a->failures = 0;
    if (busy || a->step != REWRITE_NONE) {
        log_write(&server->log, LOG_NOTICE,
                  "AOF was enabled but there is already another background operation. An AOF "
                  "background was scheduled to start when possible.");
        aof_rewrite_abandon(a);
        a->scheduled = true;
    } else if (try_directory(a, why, sizeof(why))) {
        aof_rewrite_begin(a);
    } else {
        a->mode = AOF_OFF;
        log_write(&server->log, LOG_WARNING, "%s", why);
        snprintf(error, error_size, "Unable to turn on AOF. Check server logs.");
    }
    bool on = a->mode != AOF_OFF;
    aof_unlock(a);
    return on;
}

void aof_turn_off(struct core *c)
{
    struct aof *a = server->aof;
    aof_lock(a);
    a->on_after_load = false;
    bool journaling = a->journaling;
    if (a->mode != AOF_OFF) {
        a->turns++;
        a->mode = AOF_OFF;
        a->journaling = false;
        a->scheduled = false;
        aof_rewrite_abandon(a);
    }
    aof_unlock(a);
    if (journaling)
        journal_turn_off(c);
}

bool aof_awaits_base(void)
{
    struct aof *a = server->aof;
    aof_lock(a);
    bool awaits = a->mode == AOF_WAITING && (a->step != REWRITE_NONE || a->scheduled);
    aof_unlock(a);
    return awaits;
}

/* ---- INFO ---- */

static int64_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec;
}

void aof_reset_stats(void)
{
    struct aof *a = server->aof;
    aof_lock(a);
    a->rewrites = 0;
    a->failures = 0;
    aof_unlock(a);
}

void aof_report(struct aof_report *r)
{
    struct aof *a = server->aof;
    struct journal_report j = {0};
    bool snapshot = save_in_progress() && save_kind_now() == SAVE_RDB;
    journal_report(&j);
    aof_lock(a);
    /* One that waits for nothing but the end of what was given up, or for the next cron, is as good
     * as under way: there, Redis would have begun it at once. */
    bool waits = a->scheduled && a->failures < AOF_FAILURES_MAX && !snapshot;
    bool rewriting = waits || (a->step != REWRITE_NONE && (!a->abandoned || a->scheduled));
    *r = (struct aof_report){
        .enabled = a->mode != AOF_OFF,
        .rewriting = rewriting,
        .scheduled = a->scheduled,
        .last_rewrite_ok = a->last_ok,
        .last_rewrite_s = a->last_s,
        .current_rewrite_s = !rewriting ? -1 : a->step == REWRITE_NONE ? 0 : now_s() - a->began_s,
        .rewrites = a->rewrites,
        .consecutive_failures = a->failures,
        .current_size = a->settled_size + (a->journaling ? j.size : 0),
        .base_size = a->base_size,
    };
    aof_unlock(a);
}
