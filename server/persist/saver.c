/* The saver: see saver.h. */
#include "server/persist/saver.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/crc64.h"
#include "proto/mem.h"
#include "server/persist/aof.h"
#include "server/server.h"
#include "shard/rdb.h"

/* The kernel is asked to begin writing so many bytes at a time, so that the sync at the end does
 * not find all of them waiting. */
#define WRITEBACK_SIZE ((off_t)32 << 20)
#define ERROR_TEXT_SIZE 128

/* A file on its way. */
struct output {
    const struct saver_options *options;
    int fd;
    uint64_t crc;
    off_t size, started; /* bytes written, and of these, those that the kernel was asked to write */
    struct aof_commands commands;
    struct buf text;     /* as commands */
    char *error;         /* of SAVER_ERROR_SIZE */
};

/* --- The file --- */

static bool fail(struct output *o, const char *what, const char *path)
{
    char why[ERROR_TEXT_SIZE];
    const char *text = strerror_r(errno, why, sizeof(why));
    snprintf(o->error, SAVER_ERROR_SIZE, "%s: %s", what, text);
    log_write(&server->log, LOG_WARNING, "Write error while saving DB to the disk(%s) %s: %s", what,
              path, text);
    return false;
}

static bool write_all(struct output *o, const char *data, size_t size)
{
    while (size) {
        ssize_t n = write(o->fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(o, "write", o->options->temp);
        data += n;
        size -= (size_t)n;
        o->size += n;
    }
    if (o->size - o->started >= WRITEBACK_SIZE) {
        sync_file_range(o->fd, o->started, o->size - o->started, SYNC_FILE_RANGE_WRITE);
        o->started = o->size;
    }
    return true;
}

static bool write_commands(struct output *o, struct slice records)
{
    const char *why = "";
    o->text.size = 0;
    if (aof_commands_of_records(&o->commands, records, &o->text, &why))
        return write_all(o, o->text.data, o->text.size);
    snprintf(o->error, SAVER_ERROR_SIZE, "a record cannot be told as commands: %s", why);
    log_write(&server->log, LOG_WARNING, "Cannot write %s: %s", o->options->temp, o->error);
    return false;
}

static bool write_piece(struct output *o, struct slice piece)
{
    if (o->options->as_commands)
        return write_commands(o, piece);
    if (o->options->checksum)
        o->crc = crc64(o->crc, piece);
    return write_all(o, piece.data, piece.size);
}

/* aof-timestamp-enabled: so that a base of commands, too, says from when on its file is. */
static bool write_time(struct output *o)
{
    char line[48];
    if (!o->options->as_commands || o->options->told_s < 0)
        return true;
    int size = snprintf(line, sizeof(line), "#TS:%" PRId64 "\r\n", o->options->told_s);
    return write_all(o, line, (size_t)size);
}

/* The end of an RDB file: its opcode, and the checksum of all before, 0 where there is none. */
static bool write_end(struct output *o)
{
    if (o->options->as_commands)
        return true;
    unsigned char end[9] = {RDB_OP_EOF};
    if (!write_piece(o, (struct slice){(const char *)end, 1}))
        return false;
    for (unsigned i = 0; i < 8; i++)
        end[i] = (unsigned char)(o->crc >> 8 * i);
    return write_all(o, (const char *)end, 8);
}

static bool open_output(struct output *o, const struct saver *s,
                        const struct saver_options *options, char *error)
{
    *o = (struct output){.options = options, .error = error, .fd = -1};
    error[0] = '\0';
    aof_commands_init(&o->commands, &s->keyspace);
    o->fd = open(options->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (o->fd >= 0)
        return true;
    fail(o, "open", options->temp);
    return false;
}

static bool sync_output(struct output *o)
{
    bool ok = fsync(o->fd) == 0 || fail(o, "fsync", o->options->temp);
    int failed = close(o->fd);
    o->fd = -1;
    return ok && (failed == 0 || fail(o, "close", o->options->temp));
}

static void close_output(struct output *o, bool ok)
{
    if (o->fd >= 0)
        close(o->fd);
    if (!ok)
        unlink(o->options->temp);
    aof_commands_deinit(&o->commands);
    buf_deinit(&o->text);
}

/* The name itself is to be durable. */
static bool sync_directory(struct output *o)
{
    char directory[SAVER_PATH_SIZE];
    snprintf(directory, sizeof(directory), "%s", o->options->path);
    char *slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = '\0';
    int fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(o, "open directory", directory);
    /* Some file systems have no such thing for directories: EINVAL. */
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == EBADF;
    if (!ok)
        fail(o, "fsync directory", directory);
    close(fd);
    return ok;
}

/* --- The queue --- */

void saver_init(struct saver *s)
{
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->work, NULL);
}

static void free_pieces(struct saver_piece *piece)
{
    while (piece) {
        struct saver_piece *next = piece->next;
        buf_deinit(&piece->buf);
        mem_free(piece);
        piece = next;
    }
}

static void enqueue(struct saver *s, struct buf *bytes, struct snapshot_piece at)
{
    struct saver_piece *piece = mem_alloc(sizeof(*piece));
    *piece = (struct saver_piece){.buf = *bytes, .at = at};
    buf_init(bytes);
    if (s->last)
        s->last->next = piece;
    else
        s->first = piece;
    s->last = piece;
    atomic_fetch_add(&s->queued, piece->buf.size);
    if (s->record && at.record == s->record)
        s->record_queued += piece->buf.size;
    pthread_cond_signal(&s->work);
}

void saver_give(struct saver *s, struct buf *piece, struct snapshot_piece at)
{
    pthread_mutex_lock(&s->mutex);
    bool wanted = s->running && !s->unwanted && !atomic_load(&s->over) &&
                  (piece->size || at.record);
    if (wanted)
        enqueue(s, piece, at);
    pthread_mutex_unlock(&s->mutex);
    if (!wanted)
        buf_deinit(piece);
}

bool saver_is_full(struct saver *s, uint32_t core, uint64_t record)
{
    if (atomic_load_explicit(&s->queued, memory_order_relaxed) < SAVER_QUEUE_SIZE)
        return false;
    pthread_mutex_lock(&s->mutex);
    bool awaited = record && record == s->record && s->record_queued < SAVER_RECORD_SIZE;
    bool full = !awaited && atomic_load(&s->queued) >= SAVER_QUEUE_SIZE;
    s->told_full[core] = full;
    s->told_record[core] = record;
    pthread_mutex_unlock(&s->mutex);
    return full;
}

/* Where the piece hangs that is to be written next: the first, but that of a record under way what
 * goes on with it. */
static struct saver_piece **find_next(struct saver *s)
{
    struct saver_piece **at = &s->first;
    while (*at && s->record && (*at)->at.record != s->record)
        at = &(*at)->next;
    return at;
}

static struct saver_piece *unqueue(struct saver *s, struct saver_piece **at)
{
    struct saver_piece *piece = *at;
    *at = piece->next;
    piece->next = NULL;
    if (s->last == piece) {
        s->last = s->first;
        while (s->last && s->last->next)
            s->last = s->last->next;
    }
    return piece;
}

/* What waits of the record that has begun. */
static size_t count_queued(const struct saver *s)
{
    size_t size = 0;
    for (const struct saver_piece *p = s->first; p; p = p->next)
        size += s->record && p->at.record == s->record ? p->buf.size : 0;
    return size;
}

/* Waits for something to write. NULL at the end, or where nobody wants the rest. */
static struct saver_piece *take_piece(struct saver *s)
{
    struct saver_piece **at, *piece = NULL;
    pthread_mutex_lock(&s->mutex);
    while (!*(at = find_next(s)) && !s->input_ended && !s->unwanted)
        pthread_cond_wait(&s->work, &s->mutex);
    if (*at && !s->unwanted) {
        piece = unqueue(s, at);
        s->record = piece->at.goes_on ? piece->at.record : 0;
        s->record_queued = count_queued(s);
    }
    assert(piece || s->unwanted || (!s->first && !s->record));
    pthread_mutex_unlock(&s->mutex);
    return piece;
}

/* So many bytes were written. */
static void make_room(struct saver *s, size_t size)
{
    bool tell[SHARD_COUNT_MAX] = {false};
    pthread_mutex_lock(&s->mutex);
    bool room = atomic_fetch_sub(&s->queued, size) - size <= SAVER_QUEUE_SIZE / 2;
    bool awaited = s->record && s->record_queued < SAVER_RECORD_SIZE;
    for (uint32_t i = 0; (room || awaited) && i < server->core_count; i++) {
        tell[i] = s->told_full[i] && (room || s->told_record[i] == s->record);
        s->told_full[i] &= !tell[i];
    }
    pthread_mutex_unlock(&s->mutex);
    for (uint32_t i = 0; i < server->core_count; i++)
        if (tell[i])
            s->options.room(i);
}

static bool write_pieces(struct saver *s, struct output *o)
{
    struct saver_piece *piece;
    bool ok = true;
    while (ok && (piece = take_piece(s)) != NULL) {
        ok = write_piece(o, buf_slice(&piece->buf));
        make_room(s, piece->buf.size);
        free_pieces(piece);
    }
    return ok;
}

/* --- The thread --- */

static bool still_wanted(struct saver *s)
{
    pthread_mutex_lock(&s->mutex);
    bool wanted = !s->unwanted;
    pthread_mutex_unlock(&s->mutex);
    return wanted;
}

/* A file that was given up in the meantime does not get the name: whoever gave it up may have
 * written another since. */
static bool rename_wanted(struct saver *s, struct output *o)
{
    pthread_mutex_lock(&s->mutex);
    bool renamed = !s->unwanted && rename(o->options->temp, o->options->path) == 0;
    bool failed = !s->unwanted && !renamed;
    int cause = errno;
    pthread_mutex_unlock(&s->mutex);
    errno = cause;
    if (failed)
        fail(o, "rename", o->options->path);
    return renamed;
}

static bool write_file(struct saver *s, char *error)
{
    struct output o;
    bool renamed = false, ok = open_output(&o, s, &s->options, error);
    ok = ok && write_time(&o) && write_pieces(s, &o) && still_wanted(s) && write_end(&o) &&
         sync_output(&o);
    if (ok)
        ok = renamed = rename_wanted(s, &o);
    ok = ok && sync_directory(&o);
    close_output(&o, renamed);
    return ok;
}

static void *run(void *argument)
{
    struct saver *s = argument;
    char error[SAVER_ERROR_SIZE];
    bool ok = write_file(s, error);
    pthread_mutex_lock(&s->mutex);
    s->ok = ok;
    snprintf(s->error, sizeof(s->error), "%s", s->unwanted ? "given up" : error);
    /* From here on nothing is taken: what was given is nobody's. */
    free_pieces(s->first);
    s->first = s->last = NULL;
    atomic_store(&s->queued, 0);
    memset(s->told_full, 0, sizeof(s->told_full));
    atomic_store(&s->over, true);
    pthread_mutex_unlock(&s->mutex);
    s->options.ended();
    return NULL;
}

bool saver_start(struct saver *s, const struct saver_options *o, struct buf *header)
{
    pthread_mutex_lock(&s->mutex);
    assert(!s->running);
    s->options = *o;
    s->keyspace = server->keyspace;
    s->input_ended = s->unwanted = s->ok = false;
    s->error[0] = '\0';
    s->record = 0;
    s->record_queued = 0;
    atomic_store(&s->queued, 0);
    atomic_store(&s->over, false);
    if (header->size)
        enqueue(s, header, (struct snapshot_piece){0});
    int failed = s->closed ? ECANCELED : pthread_create(&s->thread, NULL, run, s);
    s->running = failed == 0;
    if (failed) {
        free_pieces(s->first);
        s->first = s->last = NULL;
    }
    pthread_mutex_unlock(&s->mutex);
    errno = failed;
    return failed == 0;
}

void saver_end_input(struct saver *s)
{
    pthread_mutex_lock(&s->mutex);
    s->input_ended = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->mutex);
}

void saver_give_up(struct saver *s)
{
    pthread_mutex_lock(&s->mutex);
    s->unwanted = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->mutex);
}

void saver_join(struct saver *s)
{
    pthread_mutex_lock(&s->mutex);
    bool mine = s->running;
    s->running = false;
    pthread_mutex_unlock(&s->mutex);
    if (mine)
        pthread_join(s->thread, NULL);
}

void saver_close(struct saver *s)
{
    pthread_mutex_lock(&s->mutex);
    s->closed = true;
    s->unwanted = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->mutex);
    saver_join(s);
}

void saver_deinit(struct saver *s)
{
    assert(!s->running);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->mutex);
}

bool saver_write_whole(struct saver *s, const struct saver_options *o, struct buf *text,
                       char error[SAVER_ERROR_SIZE])
{
    struct output out;
    bool ok = open_output(&out, s, o, error);
    ok = ok && write_piece(&out, buf_slice(text)) && write_end(&out) && sync_output(&out);
    bool renamed = false;
    if (ok) {
        /* Behind whatever the thread may be renaming now. */
        pthread_mutex_lock(&s->mutex);
        ok = renamed = rename(o->temp, o->path) == 0;
        int cause = errno;
        pthread_mutex_unlock(&s->mutex);
        errno = cause;
        if (!renamed)
            fail(&out, "rename", o->path);
    }
    ok = ok && sync_directory(&out);
    close_output(&out, renamed);
    return ok;
}
