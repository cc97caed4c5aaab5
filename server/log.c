/* The log. See log.h for what is promised. */
#include "server/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/log_syslog.h"

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

/* False with errno set when the current directory has no name. */
static bool set_path(struct log *l, const char *path)
{
    char at[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(at, sizeof at))
        return false;
    size_t size = strlen(at) + 1 + strlen(path) + 1;
    l->path = mem_alloc(size);
    snprintf(l->path, size, "%s%s%s", at, path[0] == '/' ? "" : "/", path);
    return true;
}

bool log_init(struct log *l, int level, const char *path)
{
    atomic_init(&l->level, level);
    l->path = l->ident = NULL;
    tzset();
    if (!path[0])
        return true;
    if (!set_path(l, path))
        return false;
    int fd = open_file(l->path);
    if (fd < 0) {
        int error = errno;
        log_deinit(l);
        errno = error;
        return false;
    }
    close(fd);
    return true;
}

void log_deinit(struct log *l)
{
    if (l->ident)
        log_syslog_close();
    mem_free(l->ident);
    mem_free(l->path);
    l->path = l->ident = NULL;
}

void log_use_syslog(struct log *l, const char *ident, unsigned facility)
{
    assert(!l->ident);
    size_t size = strlen(ident) + 1;
    l->ident = mem_alloc(size);
    memcpy(l->ident, ident, size);
    log_syslog_open(l->ident, facility);
}

int log_open_raw(const struct log *l)
{
    return l->path ? open_file(l->path) : STDOUT_FILENO;
}

void log_close_raw(const struct log *l, int fd)
{
    if (l->path && fd >= 0)
        close(fd);
}

void log_set_level(struct log *l, int level)
{
    atomic_store_explicit(&l->level, level, memory_order_relaxed);
}

/* "PID:M DD Mon YYYY HH:MM:SS.mmm * ". Month names are English whatever the locale. */
static size_t write_head(char *to, size_t size, int level)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    int n = snprintf(to, size, "%d:M %02d %.3s %d %02d:%02d:%02d.%03d %c ", (int)getpid(),
                     tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                     tm.tm_sec, (int)(now.tv_nsec / 1000000), ".-*#"[level]);
    assert(n > 0 && (size_t)n < size);
    return (size_t)n;
}

static void write_line(const struct log *l, const char *line, size_t size)
{
    int fd = log_open_raw(l);
    if (fd < 0)
        return;
    ssize_t n;
    do
        n = write(fd, line, size);
    while (n < 0 && errno == EINTR);
    log_close_raw(l, fd);
}

void log_write(struct log *l, int level, const char *format, ...)
{
    assert(level >= LOG_DEBUG && level <= LOG_WARNING);
    if (level < atomic_load_explicit(&l->level, memory_order_relaxed))
        return;
    char line[LOG_LINE_SIZE_MAX];
    size_t head = write_head(line, sizeof line, level);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + head, sizeof line - head, format, args);
    va_end(args);
    size_t room = sizeof line - head - 1; /* the terminator's byte becomes the line break */
    size_t size = head + (n < 0 ? 0 : (size_t)n < room ? (size_t)n : room);
    for (size_t i = head; i < size; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = ' ';
    }
    if (l->ident) {
        line[size] = '\0';
        log_syslog_write(level, line + head);
    }
    line[size++] = '\n';
    write_line(l, line, size);
}
