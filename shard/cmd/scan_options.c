/* Cursors, options and replies of the SCAN family: see scan_options.h. */
#include "shard/cmd/scan_options.h"

#include "proto/glob.h"
#include "proto/number.h"

#define COUNT_DEFAULT 10
#define COUNT_MAX (INT64_C(1) << 32)

/* Cursors are read as Redis reads them, with strtoul: a sign and leading zeros are allowed, and an
 * empty text is 0. */
bool scan_cursor_parse(struct slice text, uint64_t *cursor)
{
    size_t i = text.size > 1 && (text.data[0] == '-' || text.data[0] == '+');
    uint64_t value = 0;
    bool negative = i && text.data[0] == '-';
    for (; i < text.size; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return false;
    }
    *cursor = negative ? 0 - value : value;
    return true;
}

bool scan_cursor_read(struct call *c, uint32_t arg, uint64_t *cursor)
{
    if (scan_cursor_parse(c->argv[arg], cursor))
        return true;
    reply_error(&c->reply, "ERR invalid cursor");
    return false;
}

static uint64_t reverse(uint64_t bits)
{
    uint64_t reversed = 0;
    for (unsigned i = 0; i < SCAN_POSITION_BITS; i++)
        reversed |= (bits >> i & 1) << (SCAN_POSITION_BITS - 1 - i);
    return reversed;
}

uint64_t scan_cursor_position(uint64_t cursor)
{
    return cursor >> SCAN_POSITION_BITS ? UINT64_MAX : reverse(cursor);
}

uint64_t scan_position_cursor(uint64_t position)
{
    return reverse(position);
}

static bool read_count(struct call *c, uint32_t arg, uint64_t *count)
{
    int64_t value;
    if (!call_arg_integer(c, arg, &value))
        return false;
    if (value < 1) {
        reply_error_syntax(&c->reply);
        return false;
    }
    *count = (uint64_t)(value < COUNT_MAX ? value : COUNT_MAX);
    return true;
}

static void set_pattern(struct scan_options *o, struct slice pattern)
{
    o->pattern = pattern;
    o->any = slice_equal(pattern, SLICE("*"));
}

void scan_options_match_only(struct scan_options *o, struct slice pattern)
{
    *o = (struct scan_options){.count = COUNT_MAX, .any_type = true};
    set_pattern(o, pattern);
}

bool scan_options_read(struct call *c, uint32_t first, unsigned allowed, struct scan_options *o)
{
    *o = (struct scan_options){.count = COUNT_DEFAULT, .any = true, .any_type = true};
    for (uint32_t i = first; i < c->argc; i++) {
        bool has_value = i + 1 < c->argc;
        if (has_value && call_arg_is(c, i, "count")) {
            if (!read_count(c, ++i, &o->count))
                return false;
        } else if (has_value && call_arg_is(c, i, "match")) {
            set_pattern(o, c->argv[++i]);
        } else if (has_value && (allowed & SCAN_TYPE) && call_arg_is(c, i, "type")) {
            o->type = c->argv[++i];
            o->any_type = false;
        } else if ((allowed & SCAN_NOVALUES) && call_arg_is(c, i, "novalues")) {
            o->no_values = true;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

bool scan_options_match(const struct scan_options *o, struct slice text)
{
    return o->any || glob_match(o->pattern, text, false);
}

void scan_reply_start(struct scan_reply *r, const struct call *c)
{
    buf_init(&r->buf);
    r->elements = (struct reply){.out = &r->buf, .protocol = c->reply.protocol};
    r->count = 0;
}

void scan_reply_end(struct scan_reply *r, struct call *c, uint64_t cursor)
{
    char digits[NUMBER_INTEGER_SIZE_MAX];
    reply_array(&c->reply, 2);
    reply_bulk(&c->reply, (struct slice){digits, number_format_unsigned(digits, cursor)});
    reply_array(&c->reply, r->count);
    buf_append_slice(c->reply.out, buf_slice(&r->buf));
    buf_deinit(&r->buf);
}

void scan_reply_drop(struct scan_reply *r)
{
    buf_deinit(&r->buf);
}

void scan_reply_empty(struct call *c)
{
    struct scan_reply r;
    scan_reply_start(&r, c);
    scan_reply_end(&r, c, 0);
}
