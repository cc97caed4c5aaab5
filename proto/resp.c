/* The request parser.
 *
 * Two paths read the bulks of an array. The fast one, take_whole_bulks, keeps everything in
 * registers and takes bulks that are there in full with a plain length line: nearly all of them. At
 * the first thing out of the ordinary (a bulk that is not all here, a long or odd length line) it
 * writes its progress down and the careful one, take_bulk, settles that one bulk: it waits,
 * complains or takes it. All progress is in offsets from the command's first byte, so the bytes may
 * move between calls.
 *
 * Lenience is Redis's: of the two bytes that end a length line only the CR is looked at, and the
 * two that end a bulk not at all: a client that Redis understands must not fail here. */
#include "proto/resp.h"

#include <assert.h>
#include <stdio.h>

#include "proto/mem.h"
#include "proto/number.h"

#define AT_FIRST_BYTE (-1)
#define AT_LENGTH_LINE (-1)
#define ARGS_CAP_MIN 8
#define BREAK_SIZE 2

/* What resp_trim lets a session keep, besides RESP_ARGS_CAP_KEPT. */
#define SCRATCH_SIZE_KEPT 1024

static void restart(struct resp_parser *p)
{
    p->args_left = AT_FIRST_BYTE;
    p->bulk_size = AT_LENGTH_LINE;
    p->at = 0;
    p->scanned = 0;
    p->needed = 0;
}

void resp_init(struct resp_parser *p)
{
    *p = (struct resp_parser){0};
    restart(p);
}

void resp_deinit(struct resp_parser *p)
{
    mem_free(p->args);
    mem_free(p->scratch);
    resp_init(p);
}

bool resp_trim(struct resp_parser *p)
{
    if (p->args_left != AT_FIRST_BYTE)
        return false;
    if (p->args_cap > RESP_ARGS_CAP_KEPT) {
        mem_free(p->args);
        p->args = NULL;
        p->args_cap = 0;
        p->args_count = 0;
    }
    if (mem_usable(p->scratch) > SCRATCH_SIZE_KEPT) {
        mem_free(p->scratch);
        p->scratch = NULL;
        p->args_count = 0;
    }
    return true;
}

size_t resp_memory(const struct resp_parser *p)
{
    return mem_usable(p->args) + mem_usable(p->scratch);
}

/* The steps below answer RESP_COMMAND for "this step is done, go on"; the others end the call. */

static enum resp_status more(struct resp_parser *p, size_t needed)
{
    p->needed = needed;
    return RESP_MORE;
}

static enum resp_status fail(struct resp_parser *p, const char *error)
{
    restart(p);
    p->error = error;
    return RESP_ERROR;
}

static enum resp_status complete(struct resp_parser *p, const char *base, size_t consumed)
{
    restart(p);
    p->base = base;
    p->consumed = consumed;
    return RESP_COMMAND;
}

__attribute__((cold, noinline)) static void grow_args(struct resp_parser *p)
{
    assert(p->args_cap <= UINT32_MAX / 2);
    p->args_cap = p->args_cap ? p->args_cap * 2 : ARGS_CAP_MIN;
    p->args = mem_realloc(p->args, p->args_cap * sizeof(p->args[0]));
}

static inline void push_arg(struct resp_parser *p, size_t offset, size_t size)
{
    if (__builtin_expect(p->args_count == p->args_cap, 0))
        grow_args(p);
    p->args[p->args_count++] = (struct resp_span){offset, size};
}

static bool before_auth(const struct resp_limits *limits)
{
    return limits->args_count_max < INT32_MAX;
}

/* Finds the `mark` that ends the line at p->at. The line is too big where its first size_max + 1
 * bytes hold none; that depends on the bytes alone, not on the pieces that they came in. */
static enum resp_status find_line_end(struct resp_parser *p, struct slice in, char mark,
                                      size_t size_max, const char *too_big, size_t *line_end)
{
    size_t from = p->scanned > p->at ? p->scanned : p->at;
    size_t to = in.size - p->at > size_max ? p->at + size_max + 1 : in.size;
    const char *found = from < to ? memchr(in.data + from, mark, to - from) : NULL;
    if (found) {
        *line_end = (size_t)(found - in.data);
        p->scanned = *line_end;
        return RESP_COMMAND;
    }
    if (in.size - p->at > size_max)
        return fail(p, too_big);
    p->scanned = to;
    return more(p, in.size + 1);
}

/* Finds the length line at p->at with both bytes of its end. */
static enum resp_status find_length_line(struct resp_parser *p, struct slice in, size_t size_max,
                                         const char *too_big, struct slice *line)
{
    size_t end;
    enum resp_status status = find_line_end(p, in, '\r', size_max, too_big, &end);
    if (status != RESP_COMMAND)
        return status;
    if (in.size - end < BREAK_SIZE)
        return more(p, end + BREAK_SIZE);
    *line = (struct slice){in.data + p->at, end - p->at};
    return RESP_COMMAND;
}

/* Reads an ordinary length line, of up to nine digits, without a call. Returns what is behind it,
 * or NULL for a line that the careful path must judge. */
static inline const char *read_short_length(const char *at, const char *end, char type,
                                            uint64_t *length)
{
    if (end - at < 6 || at[0] != type)
        return NULL;
    unsigned first = (unsigned char)at[1] - (unsigned)'0';
    if (first > 9)
        return NULL;
    if (at[2] == '\r') {
        *length = first;
        return at + 4;
    }
    unsigned second = (unsigned char)at[2] - (unsigned)'0';
    if (first == 0 || second > 9)
        return NULL;
    uint64_t n = first * 10 + second;
    const char *digits_end = end - at > 10 ? at + 10 : end - 1;
    for (at += 3; at < digits_end; at++) {
        unsigned digit = (unsigned char)*at - (unsigned)'0';
        if (digit > 9)
            break;
        n = n * 10 + digit;
    }
    if (*at != '\r' || end - at < BREAK_SIZE)
        return NULL;
    *length = n;
    return at + BREAK_SIZE;
}

static enum resp_status take_args_count(struct resp_parser *p, struct slice in,
                                        const struct resp_limits *limits)
{
    uint64_t ordinary;
    const char *rest = read_short_length(in.data, in.data + in.size, '*', &ordinary);
    if (__builtin_expect(rest && ordinary <= limits->args_count_max, 1)) {
        p->args_left = (int64_t)ordinary;
        p->at = (size_t)(rest - in.data);
        return RESP_COMMAND;
    }
    struct slice line;
    enum resp_status status = find_length_line(p, in, limits->inline_size_max,
                                               "Protocol error: too big mbulk count string", &line);
    if (status != RESP_COMMAND)
        return status;
    int64_t count;
    if (!number_parse_integer((struct slice){line.data + 1, line.size - 1}, &count) ||
        count > INT32_MAX)
        return fail(p, "Protocol error: invalid multibulk length");
    if (count > 0 && (uint64_t)count > limits->args_count_max)
        return fail(p, "Protocol error: unauthenticated multibulk length");
    p->args_left = count > 0 ? count : 0;
    p->at += line.size + BREAK_SIZE;
    return RESP_COMMAND;
}

static void take_whole_bulks(struct resp_parser *p, struct slice in,
                             const struct resp_limits *limits)
{
    const char *at = in.data + p->at, *end = in.data + in.size;
    uint64_t size_max = limits->bulk_size_max;
    int64_t left = p->args_left;
    for (; left > 0; left--) {
        uint64_t size;
        const char *body = read_short_length(at, end, '$', &size);
        if (!body || size > size_max || (size_t)(end - body) < size + BREAK_SIZE)
            break;
        push_arg(p, (size_t)(body - in.data), size);
        at = body + size + BREAK_SIZE;
    }
    p->args_left = left;
    p->at = (size_t)(at - in.data);
}

static enum resp_status take_bulk_size(struct resp_parser *p, struct slice in,
                                       const struct resp_limits *limits)
{
    struct slice line;
    enum resp_status status = find_length_line(p, in, limits->inline_size_max,
                                               "Protocol error: too big bulk count string", &line);
    if (status != RESP_COMMAND)
        return status;
    if (line.data[0] != '$') {
        /* A zero byte would end the text too early. */
        char got = line.data[0] ? line.data[0] : ' ';
        snprintf(p->error_text, sizeof(p->error_text),
                 "Protocol error: expected '$', got '%c'", got);
        return fail(p, p->error_text);
    }
    int64_t size;
    if (!number_parse_integer((struct slice){line.data + 1, line.size - 1}, &size) || size < 0)
        return fail(p, "Protocol error: invalid bulk length");
    if ((uint64_t)size > limits->bulk_size_max)
        return fail(p, before_auth(limits) ? "Protocol error: unauthenticated bulk length"
                                           : "Protocol error: invalid bulk length");
    p->bulk_size = size;
    p->at += line.size + BREAK_SIZE;
    return RESP_COMMAND;
}

static enum resp_status take_bulk(struct resp_parser *p, struct slice in,
                                  const struct resp_limits *limits)
{
    if (p->bulk_size == AT_LENGTH_LINE) {
        enum resp_status status = take_bulk_size(p, in, limits);
        if (status != RESP_COMMAND)
            return status;
    }
    size_t size = (size_t)p->bulk_size;
    if (in.size - p->at < size + BREAK_SIZE)
        return more(p, p->at + size + BREAK_SIZE);
    push_arg(p, p->at, size);
    p->at += size + BREAK_SIZE;
    p->bulk_size = AT_LENGTH_LINE;
    p->args_left--;
    return RESP_COMMAND;
}

static enum resp_status parse_array(struct resp_parser *p, struct slice in,
                                    const struct resp_limits *limits)
{
    for (;;) {
        if (p->bulk_size == AT_LENGTH_LINE)
            take_whole_bulks(p, in, limits);
        if (p->args_left == 0)
            return complete(p, in.data, p->at);
        enum resp_status status = take_bulk(p, in, limits);
        if (status != RESP_COMMAND)
            return status;
    }
}

/* Inline commands. Words are written unquoted to scratch one behind the other: a word is never
 * longer unquoted, so the line's size is room enough. */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Vertical tabs and form feeds are blanks between words, yet do not end a word. */
static bool ends_word(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 'a' - 'A';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The escape at `at`, which is behind the backslash and before `end`. Returns what is behind it. */
static const char *read_escape(const char *at, const char *end, char *to)
{
    if (*at == 'x' && end - at >= 3 && hex_value(at[1]) >= 0 && hex_value(at[2]) >= 0) {
        *to = (char)(hex_value(at[1]) * 16 + hex_value(at[2]));
        return at + 3;
    }
    switch (*at) {
    case 'n': *to = '\n'; break;
    case 'r': *to = '\r'; break;
    case 't': *to = '\t'; break;
    case 'b': *to = '\b'; break;
    case 'a': *to = '\a'; break;
    default: *to = *at; break;
    }
    return at + 1;
}

/* Reads from behind the opening quote to behind the closing one, which must end the word. NULL when
 * the quotes are unbalanced. */
static const char *read_quoted(const char *at, const char *end, char quote, char **out)
{
    while (at < end && *at != quote) {
        bool escaped = *at == '\\' && end - at >= 2;
        if (escaped && quote == '"') {
            at = read_escape(at + 1, end, (*out)++);
        } else if (escaped && at[1] == quote) {
            *(*out)++ = quote;
            at += 2;
        } else {
            *(*out)++ = *at++;
        }
    }
    if (at == end)
        return NULL;
    at++;
    return at == end || is_blank(*at) ? at : NULL;
}

static const char *read_word(const char *at, const char *end, char **out)
{
    for (; at < end && !ends_word(*at); at++) {
        if (*at == '"' || *at == '\'')
            return read_quoted(at + 1, end, *at, out);
        *(*out)++ = *at;
    }
    return at;
}

static bool split_line(struct resp_parser *p, const char *at, const char *end)
{
    size_t size = (size_t)(end - at);
    if (mem_usable(p->scratch) < size) {
        mem_free(p->scratch);
        p->scratch = mem_alloc(size);
    }
    char *out = p->scratch;
    for (;;) {
        while (at < end && is_blank(*at))
            at++;
        if (at == end)
            return true;
        char *word = out;
        at = read_word(at, end, &out);
        if (!at)
            return false;
        push_arg(p, (size_t)(word - p->scratch), (size_t)(out - word));
    }
}

static enum resp_status parse_inline(struct resp_parser *p, struct slice in,
                                     const struct resp_limits *limits)
{
    size_t end;
    enum resp_status status = find_line_end(p, in, '\n', limits->inline_size_max,
                                            "Protocol error: too big inline request", &end);
    if (status != RESP_COMMAND)
        return status;
    size_t size = end > 0 && in.data[end - 1] == '\r' ? end - 1 : end;
    if (!split_line(p, in.data, in.data + size))
        return fail(p, "Protocol error: unbalanced quotes in request");
    return complete(p, p->scratch, end + 1);
}

enum resp_status resp_parse(struct resp_parser *p, const char *data, size_t size,
                            const struct resp_limits *limits)
{
    assert(size >= p->at);
    struct slice in = {data, size};
    if (p->args_left == AT_FIRST_BYTE) {
        p->args_count = 0;
        if (size == 0)
            return more(p, 1);
        if (data[0] != '*')
            return parse_inline(p, in, limits);
        enum resp_status status = take_args_count(p, in, limits);
        if (status != RESP_COMMAND)
            return status;
    }
    return parse_array(p, in, limits);
}
