/* The encodings of replies.
 *
 * Each reply reserves its room once, at its greatest size, and is then written straight into the
 * buffer. HEADER_SIZE_MAX covers every line of a type byte and a number. */
#include "proto/reply.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "proto/number.h"

/* A type byte, a number, CR LF. */
#define HEADER_SIZE_MAX (1 + NUMBER_INTEGER_SIZE_MAX + 2)
#define ERROR_SIZE_GUESS 128

static inline char *write_break(char *to)
{
    memcpy(to, "\r\n", 2);
    return to + 2;
}

/* Most lengths have one digit or two. */
static inline char *write_header(char *to, char type, uint64_t n)
{
    *to++ = type;
    if (n < 10) {
        *to++ = (char)('0' + n);
    } else if (n < 100) {
        *to++ = (char)('0' + n / 10);
        *to++ = (char)('0' + n % 10);
    } else {
        to += number_format_unsigned(to, n);
    }
    return write_break(to);
}

static inline void written_to(struct reply *r, const char *end)
{
    r->out->size = (size_t)(end - r->out->data);
    assert(r->out->size <= r->out->cap);
}

static void write_count(struct reply *r, char type, size_t count)
{
    written_to(r, write_header(buf_reserve(r->out, HEADER_SIZE_MAX), type, count));
}

/* A line of a type byte and text, for the types whose payload is not counted. */
static void write_line(struct reply *r, char type, struct slice text)
{
    char *to = buf_reserve(r->out, text.size + 3);
    *to++ = type;
    if (text.size)
        memcpy(to, text.data, text.size);
    written_to(r, write_break(to + text.size));
}

void reply_ok(struct reply *r)
{
    memcpy(buf_reserve(r->out, 5), "+OK\r\n", 5);
    r->out->size += 5;
}

void reply_simple(struct reply *r, const char *text)
{
    write_line(r, '+', slice_of(text));
}

/* Breaks at the end go, as in Redis; those within would end the line early and become blanks. */
static size_t without_breaks(char *text, size_t size)
{
    while (size > 0 && (text[size - 1] == '\r' || text[size - 1] == '\n'))
        size--;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r' || text[i] == '\n')
            text[i] = ' ';
    }
    return size;
}

void reply_error(struct reply *r, const char *format, ...)
{
    r->errors++;
    for (size_t room = ERROR_SIZE_GUESS;;) {
        char *to = buf_reserve(r->out, 1 + room + 2);
        va_list args;
        va_start(args, format);
        int size = vsnprintf(to + 1, room, format, args);
        va_end(args);
        assert(size >= 0);
        if ((size_t)size < room) {
            *to = '-';
            written_to(r, write_break(to + 1 + without_breaks(to + 1, (size_t)size)));
            return;
        }
        room = (size_t)size + 1;
    }
}

static void write_error(struct reply *r, struct slice text)
{
    r->errors++;
    write_line(r, '-', text);
}

void reply_error_syntax(struct reply *r)
{
    write_error(r, SLICE("ERR syntax error"));
}

void reply_error_wrong_type(struct reply *r)
{
    write_error(r, SLICE("WRONGTYPE Operation against a key holding the wrong kind of value"));
}

void reply_error_integer(struct reply *r)
{
    write_error(r, SLICE("ERR value is not an integer or out of range"));
}

void reply_error_float(struct reply *r)
{
    write_error(r, SLICE("ERR value is not a valid float"));
}

void reply_integer(struct reply *r, int64_t value)
{
    char *to = buf_reserve(r->out, HEADER_SIZE_MAX);
    if (value >= 0) {
        written_to(r, write_header(to, ':', (uint64_t)value));
        return;
    }
    *to++ = ':';
    written_to(r, write_break(to + number_format_integer(to, value)));
}

char *reply_bulk_space(struct reply *r, size_t size)
{
    char *body = write_header(buf_reserve(r->out, HEADER_SIZE_MAX + size + 2), '$', size);
    written_to(r, write_break(body + size));
    return body;
}

void reply_bulk(struct reply *r, struct slice value)
{
    char *to = buf_reserve(r->out, HEADER_SIZE_MAX + value.size + 2);
    char *body = write_header(to, '$', value.size);
    if (value.size)
        memcpy(body, value.data, value.size);
    written_to(r, write_break(body + value.size));
}

void reply_bulk_text(struct reply *r, const char *text)
{
    reply_bulk(r, slice_of(text));
}

void reply_bulk_integer(struct reply *r, int64_t value)
{
    char digits[NUMBER_INTEGER_SIZE_MAX];
    reply_bulk(r, (struct slice){digits, number_format_integer(digits, value)});
}

void reply_null(struct reply *r)
{
    buf_append_slice(r->out, r->protocol >= 3 ? SLICE("_\r\n") : SLICE("$-1\r\n"));
}

void reply_null_array(struct reply *r)
{
    buf_append_slice(r->out, r->protocol >= 3 ? SLICE("_\r\n") : SLICE("*-1\r\n"));
}

void reply_array(struct reply *r, size_t count)
{
    write_count(r, '*', count);
}

void reply_map(struct reply *r, size_t pairs)
{
    if (r->protocol >= 3)
        write_count(r, '%', pairs);
    else
        write_count(r, '*', pairs * 2);
}

void reply_set(struct reply *r, size_t count)
{
    write_count(r, r->protocol >= 3 ? '~' : '*', count);
}

/* RESP2 subscribers receive their messages as plain arrays. */
void reply_lines(struct reply *r, const char *const *lines, size_t count)
{
    reply_array(r, count);
    for (size_t i = 0; i < count; i++)
        reply_simple(r, lines[i]);
}

void reply_push(struct reply *r, size_t count)
{
    write_count(r, r->protocol >= 3 ? '>' : '*', count);
}

void reply_bool(struct reply *r, bool value)
{
    if (r->protocol >= 3)
        buf_append_slice(r->out, value ? SLICE("#t\r\n") : SLICE("#f\r\n"));
    else
        buf_append_slice(r->out, value ? SLICE(":1\r\n") : SLICE(":0\r\n"));
}

void reply_double(struct reply *r, double value)
{
    char text[NUMBER_DOUBLE_SIZE_MAX];
    struct slice s = {text, number_format_double(text, value)};
    if (r->protocol >= 3)
        write_line(r, ',', s);
    else
        reply_bulk(r, s);
}

void reply_long_double(struct reply *r, long double value)
{
    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    reply_bulk(r, (struct slice){text, number_format_long_double(text, value)});
}

void reply_big_number(struct reply *r, struct slice digits)
{
    if (r->protocol >= 3)
        write_line(r, '(', digits);
    else
        reply_bulk(r, digits);
}

void reply_verbatim(struct reply *r, const char *format, struct slice text)
{
    if (r->protocol < 3) {
        reply_bulk(r, text);
        return;
    }
    assert(strlen(format) == 3);
    char *to = buf_reserve(r->out, HEADER_SIZE_MAX + 4 + text.size + 2);
    to = write_header(to, '=', text.size + 4);
    memcpy(to, format, 3);
    to[3] = ':';
    to += 4;
    if (text.size)
        memcpy(to, text.data, text.size);
    written_to(r, write_break(to + text.size));
}

void reply_attribute(struct reply *r, size_t pairs)
{
    assert(r->protocol >= 3);
    write_count(r, '|', pairs);
}
