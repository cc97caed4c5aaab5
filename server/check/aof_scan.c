/* See aof_scan.h. The messages are redis-check-aof's. */
#include "server/check/aof_scan.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#define COUNT_DIGITS_MAX 19
#define ANNOTATION_SIZE_MAX 1023 /* bytes, the line break included: more is not read as one line */

__attribute__((format(printf, 3, 4)))
static bool fail(struct aof_scan *s, size_t at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->error, sizeof(s->error), format, arguments);
    va_end(arguments);
    s->error_at = at;
    return false;
}

void aof_scan_start(struct aof_scan *s, struct slice file, size_t from, int64_t until_s)
{
    *s = (struct aof_scan){.data = file.data, .size = file.size, .at = from, .good = from,
                           .line = 1, .until_s = until_s};
}

static int byte_at(const struct aof_scan *s, size_t at)
{
    return at < s->size ? (unsigned char)s->data[at] : 0;
}

static bool read_newline(struct aof_scan *s, size_t begin)
{
    if (s->size - s->at >= 2 && s->data[s->at] == '\r' && s->data[s->at + 1] == '\n') {
        s->at += 2;
        s->line++;
        return true;
    }
    return fail(s, begin, "Expected \\r\\n, got: %02x%02x", byte_at(s, s->at),
                byte_at(s, s->at + 1));
}

/* A line of a prefix and a number. */
static bool read_number(struct aof_scan *s, char prefix, int64_t *number)
{
    size_t begin = s->at;
    if (s->at == s->size)
        return fail(s, begin, "Expected prefix '%c', got the end of the file", prefix);
    if (s->data[s->at] != prefix)
        return fail(s, begin, "Expected prefix '%c', got: '%c'", prefix,
                    isprint((unsigned char)s->data[s->at]) ? s->data[s->at] : '?');
    s->at++;
    bool negative = byte_at(s, s->at) == '-';
    s->at += negative;
    unsigned digits = 0;
    *number = 0;
    for (; isdigit(byte_at(s, s->at)) && digits < COUNT_DIGITS_MAX - 1; s->at++, digits++)
        *number = *number * 10 + (s->data[s->at] - '0');
    if (negative)
        *number = -*number;
    if (digits == 0)
        return fail(s, begin, "Expected a number behind '%c'", prefix);
    return read_newline(s, begin);
}

static bool read_bulk(struct aof_scan *s, struct slice *bulk)
{
    int64_t size;
    if (!read_number(s, '$', &size))
        return false;
    if (size < 0)
        return fail(s, s->at, "Expected to read string of %lld bytes, which is not in the suitable "
                    "range", (long long)size);
    size_t begin = s->at, left = s->size - s->at;
    if (left < 2 || (uint64_t)size > left - 2)
        return fail(s, begin, "Expected to read %lld bytes, got %zu bytes", (long long)size + 2,
                    left);
    *bulk = (struct slice){s->data + s->at, (size_t)size};
    s->at += (size_t)size;
    return read_newline(s, begin);
}

static bool note_name(struct aof_scan *s, struct slice name, size_t begin)
{
    if (slice_is(name, "multi")) {
        if (s->in_multi)
            return fail(s, begin, "Unexpected MULTI");
        s->in_multi = true;
    } else if (slice_is(name, "exec")) {
        if (!s->in_multi)
            return fail(s, begin, "Unexpected EXEC");
        s->in_multi = false;
    }
    return true;
}

static bool read_command(struct aof_scan *s)
{
    size_t begin = s->at;
    int64_t count;
    struct slice first = {0}, rest;
    if (!read_number(s, '*', &count))
        return false;
    if (count < 1)
        return fail(s, begin, "Expected a command of at least one argument, got: %lld",
                    (long long)count);
    if (!read_bulk(s, &first))
        return false;
    for (int64_t i = 1; i < count; i++)
        if (!read_bulk(s, &rest))
            return false;
    return note_name(s, first, begin);
}

/* False where it tells a time after the one asked for. What tells none that can be read says
 * nothing. */
static bool read_annotation(struct aof_scan *s)
{
    const char *start = s->data + s->at;
    size_t left = s->size - s->at;
    if (left > ANNOTATION_SIZE_MAX)
        left = ANNOTATION_SIZE_MAX;
    const char *end = memchr(start, '\n', left);
    size_t size = end ? (size_t)(end - start) + 1 : left;
    if (s->until_s && size > 4 && memcmp(start, "#TS:", 4) == 0) {
        int64_t told = 0;
        for (size_t i = 4; i < size && isdigit((unsigned char)start[i]) && i < 20; i++)
            told = told * 10 + (start[i] - '0');
        if (told > s->until_s)
            return false;
    }
    s->at += size;
    return true;
}

enum aof_scan_end aof_scan_next(struct aof_scan *s)
{
    if (!s->in_multi)
        s->good = s->at;
    if (s->at == s->size) {
        if (!s->in_multi)
            return AOF_SCAN_ENDED;
        fail(s, s->at, "Reached EOF before reading EXEC for MULTI");
        return AOF_SCAN_BAD;
    }
    if (s->data[s->at] == '#')
        return read_annotation(s) ? AOF_SCAN_COMMAND : AOF_SCAN_LATER;
    if (s->data[s->at] != '*') {
        s->error_at = s->at;
        return AOF_SCAN_BAD;
    }
    return read_command(s) ? AOF_SCAN_COMMAND : AOF_SCAN_BAD;
}
