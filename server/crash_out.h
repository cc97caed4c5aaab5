/* Text made and written within a signal's handler: no locks, no memory, no locale. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_out {
    int fd;
    size_t used;
    char bytes[1024];
};

void crash_flush(struct crash_out *o);
void crash_text(struct crash_out *o, const char *text);
void crash_bytes(struct crash_out *o, const char *bytes, size_t size);
void crash_number(struct crash_out *o, int64_t value);
/* At least `digits` hexadecimal digits behind 0x. */
void crash_hex(struct crash_out *o, uint64_t value, unsigned digits);
/* "name: value\n". */
void crash_line(struct crash_out *o, const char *name, int64_t value);

/* Copies memory that may not be there; false where it is not. */
bool crash_peek(void *to, const void *from, size_t size);
/* Reads up to `size` - 1 bytes of a file and ends them with a zero byte; how many. */
size_t crash_read_file(const char *path, char *to, size_t size);
