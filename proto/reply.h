/* Replies: RESP2 and RESP3 encodings, appended to a buf.
 *
 * Source: the Redis protocol specification, versions 2 and 3. A type that RESP2 lacks is written in
 * the form that Redis 7 gives RESP2 clients (a map as a flat array, a double as a bulk, ...). Used
 * by one thread at a time: the one that runs the command. */
#pragma once

#include "proto/buf.h"

struct reply {
    struct buf *out;
    unsigned protocol; /* 2 or 3 */
    unsigned errors;   /* error replies written so far */
};

void reply_ok(struct reply *r);
/* `text` has no line break. */
void reply_simple(struct reply *r, const char *text);
/* An error: "CODE message", without the leading '-'. Line breaks in it become blanks. */
__attribute__((format(printf, 2, 3))) void reply_error(struct reply *r, const char *format, ...);
void reply_error_syntax(struct reply *r);    /* ERR syntax error */
void reply_error_wrong_type(struct reply *r); /* WRONGTYPE ... */
void reply_error_integer(struct reply *r);   /* ERR value is not an integer or out of range */
void reply_error_float(struct reply *r);     /* ERR value is not a valid float */
void reply_integer(struct reply *r, int64_t value);
void reply_bulk(struct reply *r, struct slice value);
void reply_bulk_text(struct reply *r, const char *text);
void reply_bulk_integer(struct reply *r, int64_t value);
/* Room for a bulk of exactly `size` bytes that the caller fills before the next call. */
char *reply_bulk_space(struct reply *r, size_t size);
void reply_null(struct reply *r);       /* $-1, or _ */
void reply_null_array(struct reply *r); /* *-1, or _ */
void reply_array(struct reply *r, size_t count);
void reply_map(struct reply *r, size_t pairs);
void reply_set(struct reply *r, size_t count);
/* An array of simple strings: how HELP subcommands answer. */
void reply_lines(struct reply *r, const char *const *lines, size_t count);
void reply_push(struct reply *r, size_t count);
void reply_bool(struct reply *r, bool value); /* :1 and :0 in RESP2 */
void reply_double(struct reply *r, double value);
/* INCRBYFLOAT's number, as a bulk in both protocols. */
void reply_long_double(struct reply *r, long double value);
void reply_big_number(struct reply *r, struct slice digits);
/* `format` is three characters: txt or mkd. */
void reply_verbatim(struct reply *r, const char *format, struct slice text);
void reply_attribute(struct reply *r, size_t pairs); /* RESP3 only */
