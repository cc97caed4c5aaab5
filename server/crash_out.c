/* Text from within a handler: see crash_out.h. */
#include "server/crash_out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

void crash_flush(struct crash_out *o)
{
    size_t at = 0;
    while (at < o->used) {
        ssize_t n = write(o->fd, o->bytes + at, o->used - at);
        if (n < 0 && errno != EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
    o->used = 0;
}

void crash_bytes(struct crash_out *o, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (o->used == sizeof(o->bytes))
            crash_flush(o);
        o->bytes[o->used++] = bytes[i];
    }
}

void crash_text(struct crash_out *o, const char *text)
{
    crash_bytes(o, text, strlen(text));
}

void crash_number(struct crash_out *o, int64_t value)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (value < 0)
        digits[--at] = '-';
    crash_bytes(o, digits + at, sizeof(digits) - at);
}

void crash_hex(struct crash_out *o, uint64_t value, unsigned digits)
{
    char text[18] = "0x";
    unsigned count = digits < 16 ? digits : 16;
    while (count < 16 && value >> (count * 4))
        count++;
    for (unsigned i = 0; i < count; i++)
        text[2 + i] = "0123456789abcdef"[value >> ((count - 1 - i) * 4) & 15];
    crash_bytes(o, text, 2 + count);
}

void crash_line(struct crash_out *o, const char *name, int64_t value)
{
    crash_text(o, name);
    crash_text(o, ": ");
    crash_number(o, value);
    crash_text(o, "\n");
}

bool crash_peek(void *to, const void *from, size_t size)
{
    struct iovec local = {to, size}, remote = {(void *)(uintptr_t)from, size};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)size;
}

size_t crash_read_file(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, to, size - 1) : 0;
    if (fd >= 0)
        close(fd);
    to[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}
