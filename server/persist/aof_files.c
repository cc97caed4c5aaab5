/* The append-only file's directory on disk: see aof.h and aof_inside.h.
 *
 * Everything here may wait for the disk: it is for the helper, and for the start. */
#include "server/persist/aof_inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/crc64.h"
#include "proto/mem.h"
#include "server/server.h"
#include "server/start_check.h"
#include "shard/rdb.h"

#define FILE_MODE 0644
#define DIRECTORY_MODE 0755
#define MANIFEST_SIZE_MAX (16u << 20) /* bytes; what is larger is no manifest */

/* ---- Names ---- */

bool aof_files_locate(struct aof *a, char *error, size_t error_size)
{
    char here[AOF_PATH_SIZE], path[AOF_PATH_SIZE];
    if (!getcwd(here, sizeof(here)) ||
        snprintf(path, sizeof(path), "%s/%s", here, a->directory_name) >= (int)sizeof(path)) {
        snprintf(error, error_size, "Can't tell the working directory: %s", strerror(errno));
        return false;
    }
    if (a->known && strcmp(path, a->directory) != 0) {
        aof_manifest_deinit(&a->manifest);
        a->known = false;
    }
    memcpy(a->directory, path, sizeof(path));
    return true;
}

void aof_files_path(const struct aof *a, const char *name, char path[AOF_PATH_SIZE])
{
    if (snprintf(path, AOF_PATH_SIZE, "%s/%s", a->directory, name) >= AOF_PATH_SIZE)
        path[0] = '\0'; /* too long for any file system: nothing has that name */
}

void aof_files_temporary_base(const struct aof *a, char name[AOF_PATH_SIZE])
{
    snprintf(name, AOF_PATH_SIZE, "temp-rewriteaof-%s.base", a->file_name);
}

void aof_files_temporary_increment(const struct aof *a, char name[AOF_PATH_SIZE])
{
    snprintf(name, AOF_PATH_SIZE, "temp-%s.incr", a->file_name);
}

static void manifest_name(const struct aof *a, bool temporary, char name[AOF_PATH_SIZE])
{
    snprintf(name, AOF_PATH_SIZE, "%s%s.manifest", temporary ? "temp-" : "", a->file_name);
}

static bool is_listed(const struct aof_manifest *m, const char *name)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (strcmp(m->files[i].name, name) == 0)
            return true;
    return false;
}

void aof_files_next_base(const struct aof *a, const struct aof_manifest *m, uint64_t *sequence,
                         bool as_commands, char name[AOF_PATH_SIZE])
{
    do {
        ++*sequence;
        snprintf(name, AOF_PATH_SIZE, "%s.%llu.base.%s", a->file_name,
                 (unsigned long long)*sequence, as_commands ? "aof" : "rdb");
    } while (is_listed(m, name));
}

void aof_files_next_increment(const struct aof *a, const struct aof_manifest *m,
                              uint64_t *sequence, char name[AOF_PATH_SIZE])
{
    do {
        ++*sequence;
        snprintf(name, AOF_PATH_SIZE, "%s.%llu.incr.aof", a->file_name,
                 (unsigned long long)*sequence);
    } while (is_listed(m, name));
}

/* ---- Files ---- */

bool aof_files_make_directory(const struct aof *a, char *error, size_t error_size)
{
    struct stat s;
    if (mkdir(a->directory, DIRECTORY_MODE) == 0 ||
        (errno == EEXIST && stat(a->directory, &s) == 0 && S_ISDIR(s.st_mode)))
        return true;
    int failed = errno;
    char at[AOF_PATH_SIZE], user[START_USER_SIZE];
    start_user_name(user);
    snprintf(error, error_size,
             "Can't open or create append-only dir %s: %s: user %s must be able to write into %s",
             a->directory_name, strerror(failed), user,
             getcwd(at, sizeof(at)) ? at : "the directory dir");
    return false;
}

int aof_files_create(const struct aof *a, const char *name, char *error, size_t error_size)
{
    char path[AOF_PATH_SIZE];
    aof_files_path(a, name, path);
    /* Not emptied but made anew: a journal that was given up may still write to the old one. */
    unlink(path);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        snprintf(error, error_size, "Can't open the append-only file %s: %s", name,
                 strerror(errno));
    return fd;
}

bool aof_files_rename(const struct aof *a, const char *from, const char *to, char *error,
                      size_t error_size)
{
    char old[AOF_PATH_SIZE], new[AOF_PATH_SIZE];
    aof_files_path(a, from, old);
    aof_files_path(a, to, new);
    if (rename(old, new) == 0)
        return true;
    snprintf(error, error_size, "Error trying to rename the temporary AOF file %s into %s: %s",
             from, to, strerror(errno));
    return false;
}

void aof_files_remove(const struct aof *a, const char *name)
{
    char path[AOF_PATH_SIZE];
    aof_files_path(a, name, path);
    unlink(path);
}

int64_t aof_files_size(const struct aof *a, const char *name)
{
    char path[AOF_PATH_SIZE];
    struct stat s;
    aof_files_path(a, name, path);
    return stat(path, &s) == 0 ? (int64_t)s.st_size : -1;
}

uint64_t aof_files_sum(const struct aof *a, const struct aof_manifest *m, bool but_last)
{
    const struct aof_file *last = but_last ? aof_manifest_last(m, AOF_INCREMENT) : NULL;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->files[i].type == AOF_HISTORY || &m->files[i] == last)
            continue;
        int64_t size = aof_files_size(a, m->files[i].name);
        sum += size > 0 ? (uint64_t)size : 0;
    }
    return sum;
}

static bool write_all(int fd, struct slice text)
{
    while (text.size) {
        ssize_t n = write(fd, text.data, text.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text.data += n;
        text.size -= (size_t)n;
    }
    return true;
}

/* A new file with this content, on disk. */
static bool write_file(const struct aof *a, const char *name, struct slice text, char *error,
                       size_t error_size)
{
    int fd = aof_files_create(a, name, error, error_size);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, text) && fsync(fd) == 0;
    if (!ok)
        snprintf(error, error_size, "Error trying to write the file %s: %s", name,
                 strerror(errno));
    close(fd);
    if (!ok)
        aof_files_remove(a, name);
    return ok;
}

/* The process that a save's temporary file is named for; 0: that is no such name. */
static pid_t writer_of(const char *name)
{
    long pid;
    int end = 0;
    if (sscanf(name, "temp-rewriteaof-bg-%ld.aof%n", &pid, &end) != 1 || name[end] || end == 0)
        return 0;
    return (pid_t)pid;
}

void aof_files_remove_stale(const struct aof *a)
{
    DIR *d = opendir(a->directory);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        pid_t writer = writer_of(e->d_name);
        if (writer > 0 && (writer == getpid() || (kill(writer, 0) != 0 && errno == ESRCH)))
            aof_files_remove(a, e->d_name);
    }
    if (d)
        closedir(d);
}

/* ---- The manifest ---- */

static bool sync_directory(const struct aof *a)
{
    int fd = open(a->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    /* Some file systems cannot, and need not. */
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == EBADF;
    int cause = errno;
    close(fd);
    errno = cause;
    return ok;
}

static bool place_manifest(const struct aof *a, struct slice text, bool *placed, char *error,
                           size_t error_size)
{
    char name[AOF_PATH_SIZE], temporary[AOF_PATH_SIZE];
    *placed = false;
    manifest_name(a, false, name);
    manifest_name(a, true, temporary);
    if (!write_file(a, temporary, text, error, error_size))
        return false;
    if (!aof_files_rename(a, temporary, name, error, error_size)) {
        aof_files_remove(a, temporary);
        return false;
    }
    *placed = true;
    if (sync_directory(a))
        return true;
    snprintf(error, error_size, "Fail to fsync AOF directory %s: %s", a->directory_name,
             strerror(errno));
    return false;
}

bool aof_files_persist(const struct aof *a, const struct aof_manifest *m, bool *placed, char *error,
                       size_t error_size)
{
    struct buf text;
    buf_init(&text);
    aof_manifest_print(m, &text);
    bool ok = place_manifest(a, buf_slice(&text), placed, error, error_size);
    buf_deinit(&text);
    return ok;
}

bool aof_files_begin(const struct aof *a, char *error, size_t error_size)
{
    char name[AOF_PATH_SIZE];
    bool placed;
    manifest_name(a, false, name);
    if (aof_files_size(a, name) >= 0)
        return true;
    return place_manifest(a, SLICE("# There are no files yet.\n"), &placed, error, error_size);
}

bool aof_files_move_in(const struct aof *a, char *error, size_t error_size)
{
    char path[AOF_PATH_SIZE];
    aof_files_path(a, a->file_name, path);
    if (rename(a->file_name, path) == 0 && sync_directory(a))
        return true;
    snprintf(error, error_size, "Error trying to move the old AOF file %s into dir %s: %s",
             a->file_name, a->directory_name, strerror(errno));
    return false;
}

static bool has_ending(const char *name, const char *ending)
{
    size_t size = strlen(name), part = strlen(ending);
    return size >= part && strcmp(name + size - part, ending) == 0;
}

/* Files of ours without the manifest that listed them: to begin anew would be to lose them. */
static bool check_no_files(const struct aof *a, char *error, size_t error_size)
{
    DIR *d = opendir(a->directory);
    size_t prefix = strlen(a->file_name);
    bool clean = true;
    for (struct dirent *e = d ? readdir(d) : NULL; e && clean; e = readdir(d)) {
        const char *name = e->d_name;
        if (strncmp(name, a->file_name, prefix) != 0 || name[prefix] != '.' ||
            (!has_ending(name, ".base.rdb") && !has_ending(name, ".base.aof") &&
             !has_ending(name, ".incr.aof")))
            continue;
        clean = false;
        snprintf(error, error_size,
                 "The directory %s has the append-only file %s, but no manifest (%s.manifest) that "
                 "lists it: put the manifest back, or move the files elsewhere to begin anew",
                 a->directory_name, name, a->file_name);
    }
    if (d)
        closedir(d);
    return clean;
}

static bool read_file(const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n;
    do {
        char *to = buf_reserve(text, 4096);
        n = read(fd, to, 4096);
        if (n > 0)
            text->size += (size_t)n;
    } while ((n > 0 && text->size < MANIFEST_SIZE_MAX) || (n < 0 && errno == EINTR));
    int cause = errno;
    close(fd);
    errno = cause;
    return n >= 0;
}

bool aof_files_read_manifest(const struct aof *a, struct aof_manifest *m, bool *found, char *error,
                             size_t error_size)
{
    char name[AOF_PATH_SIZE], path[AOF_PATH_SIZE];
    struct buf text;
    *m = (struct aof_manifest){0};
    manifest_name(a, false, name);
    aof_files_path(a, name, path);
    buf_init(&text);
    bool ok = read_file(path, &text);
    *found = ok || errno != ENOENT;
    if (!*found) {
        ok = check_no_files(a, error, error_size);
    } else if (!ok) {
        snprintf(error, error_size, "Fatal error: can't open the AOF manifest file %s for "
                 "reading: %s", name, strerror(errno));
    } else {
        char why[AOF_ERROR_SIZE];
        ok = aof_manifest_parse(m, buf_slice(&text), why, sizeof(why));
        if (!ok)
            snprintf(error, error_size,
                     "Reading the manifest file %s: %s. Put a copy of it back; lasca-check-aof %s "
                     "tells when it is good again",
                     name, why, path);
    }
    buf_deinit(&text);
    return ok;
}

/* ---- History ---- */

void aof_files_remove_history(const struct aof *a, struct aof_manifest *m, struct buf *kept)
{
    for (uint32_t i = m->count; i-- > 0;) {
        if (m->files[i].type != AOF_HISTORY)
            continue;
        log_write(&server->log, LOG_NOTICE, "Removing the history file %s in the background",
                  m->files[i].name);
        char path[AOF_PATH_SIZE];
        aof_files_path(a, m->files[i].name, path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            buf_append(kept, &fd, sizeof(fd));
        unlink(path);
        aof_manifest_remove(m, i);
    }
}

void aof_files_let_go(struct buf *kept)
{
    for (size_t at = 0; at < kept->size; at += sizeof(int)) {
        int fd;
        memcpy(&fd, kept->data + at, sizeof(fd));
        close(fd);
    }
    buf_deinit(kept);
}

/* ---- A base without keys ---- */

static void write_aux(struct buf *out, const char *key, const char *value)
{
    unsigned char op = RDB_OP_AUX;
    buf_append(out, &op, 1);
    rdb_write_string(out, slice_of(key), false);
    rdb_write_string(out, slice_of(value), false);
}

static void write_empty_rdb(struct buf *out)
{
    char now[32];
    snprintf(now, sizeof(now), "%lld", (long long)time(NULL));
    buf_printf(out, "REDIS%04d", RDB_VERSION);
    write_aux(out, "redis-ver", SERVER_REDIS_VERSION);
    write_aux(out, "redis-bits", "64");
    write_aux(out, "ctime", now);
    write_aux(out, "used-mem", "0");
    write_aux(out, "aof-base", "1");
    unsigned char op = RDB_OP_EOF;
    buf_append(out, &op, 1);
    uint64_t sum = crc64(0, buf_slice(out));
    buf_append(out, &sum, sizeof(sum)); /* little-endian, as the file has it */
}

bool aof_files_create_base(const struct aof *a, const char *name, bool as_commands, char *error,
                           size_t error_size)
{
    char temporary[AOF_PATH_SIZE];
    struct buf content;
    buf_init(&content);
    if (!as_commands)
        write_empty_rdb(&content);
    aof_files_temporary_base(a, temporary);
    bool ok = write_file(a, temporary, buf_slice(&content), error, error_size) &&
              aof_files_rename(a, temporary, name, error, error_size);
    buf_deinit(&content);
    return ok;
}
