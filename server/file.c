/* See file.h. */
#include "server/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_SIZE 65536

static void close_quietly(int fd)
{
    int why = errno;
    close(fd);
    errno = why;
}

bool file_read(const char *path, struct buf *to)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n;
    do {
        n = read(fd, buf_reserve(to, READ_SIZE), READ_SIZE);
        if (n > 0)
            to->size += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EINTR));
    close_quietly(fd);
    return n == 0;
}

static bool write_whole(int fd, struct slice text)
{
    while (text.size) {
        ssize_t n = write(fd, text.data, text.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = (struct slice){text.data + n, text.size - (size_t)n};
    }
    return true;
}

/* A rename is durable once the directory is. */
static bool sync_directory(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    /* Some file systems have no such thing for directories: EINVAL. */
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    close_quietly(fd);
    return ok;
}

static bool take_after(int fd, const char *path)
{
    struct stat old;
    if (stat(path, &old) != 0)
        return errno == ENOENT;
    if (fchown(fd, old.st_uid, old.st_gid) != 0 && errno != EPERM)
        return false;
    return fchmod(fd, old.st_mode & 07777) == 0;
}

bool file_replace(const char *path, struct slice text)
{
    char temp[PATH_MAX], target[PATH_MAX];
    if (realpath(path, target))
        path = target;
    int n = snprintf(temp, sizeof(temp), "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof(temp)) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = write_whole(fd, text) && take_after(fd, path) && fsync(fd) == 0 &&
              rename(temp, path) == 0;
    close_quietly(fd);
    if (!ok) {
        int why = errno;
        unlink(temp);
        errno = why;
    }
    return ok && sync_directory(path);
}
