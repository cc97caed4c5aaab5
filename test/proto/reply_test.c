/* Tests of the reply encodings in both protocols. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>

#include "proto/reply.h"

/* Replies of one test, in RESP2 and in RESP3. */
struct outputs {
    struct buf buf2, buf3;
    struct reply r2, r3;
};

static void start(struct outputs *o)
{
    buf_init(&o->buf2);
    buf_init(&o->buf3);
    o->r2 = (struct reply){.out = &o->buf2, .protocol = 2};
    o->r3 = (struct reply){.out = &o->buf3, .protocol = 3};
}

/* Compares, and empties the buffers for the next. */
static void expect(struct outputs *o, const char *resp2, const char *resp3)
{
    cr_assert(slice_equal(buf_slice(&o->buf2), slice_of(resp2)), "RESP2: %.*s, not %s",
              (int)o->buf2.size, o->buf2.data, resp2);
    cr_assert(slice_equal(buf_slice(&o->buf3), slice_of(resp3)), "RESP3: %.*s, not %s",
              (int)o->buf3.size, o->buf3.data, resp3);
    buf_deinit(&o->buf2);
    buf_deinit(&o->buf3);
}

#define BOTH(o, call, ...) (call(&(o).r2, ##__VA_ARGS__), call(&(o).r3, ##__VA_ARGS__))

Test(reply, writes_lines)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_ok);
    expect(&o, "+OK\r\n", "+OK\r\n");
    BOTH(o, reply_simple, "PONG");
    expect(&o, "+PONG\r\n", "+PONG\r\n");
    BOTH(o, reply_simple, "");
    expect(&o, "+\r\n", "+\r\n");
}

Test(reply, writes_integers)
{
    static const int64_t values[] = {0, 1, 9, 10, 99, 100, -1, -10, INT64_MAX, INT64_MIN};
    struct outputs o;
    start(&o);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), ":%lld\r\n", (long long)values[i]);
        BOTH(o, reply_integer, values[i]);
        expect(&o, expected, expected);
    }
}

Test(reply, writes_bulks)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_bulk, SLICE("hello"));
    expect(&o, "$5\r\nhello\r\n", "$5\r\nhello\r\n");
    BOTH(o, reply_bulk, (struct slice){0});
    expect(&o, "$0\r\n\r\n", "$0\r\n\r\n");
    BOTH(o, reply_bulk_text, "0123456789ab");
    expect(&o, "$12\r\n0123456789ab\r\n", "$12\r\n0123456789ab\r\n");
    BOTH(o, reply_bulk_integer, -1234);
    expect(&o, "$5\r\n-1234\r\n", "$5\r\n-1234\r\n");
}

Test(reply, bulks_of_all_sizes_are_framed)
{
    static char value[20000];
    memset(value, 'v', sizeof(value));
    for (size_t size = 0; size < sizeof(value); size = size * 9 / 8 + 1) {
        struct outputs o;
        start(&o);
        char header[32];
        size_t header_size = (size_t)snprintf(header, sizeof(header), "$%zu\r\n", size);
        reply_bulk(&o.r2, (struct slice){value, size});
        memcpy(reply_bulk_space(&o.r3, size), value, size);
        cr_assert_eq(o.buf2.size, header_size + size + 2);
        cr_assert_eq(memcmp(o.buf2.data, header, header_size), 0);
        cr_assert_eq(memcmp(o.buf2.data + header_size, value, size), 0);
        cr_assert_eq(memcmp(o.buf2.data + header_size + size, "\r\n", 2), 0);
        cr_assert(slice_equal(buf_slice(&o.buf2), buf_slice(&o.buf3)));
        buf_deinit(&o.buf2);
        buf_deinit(&o.buf3);
    }
}

Test(reply, bulks_are_binary_safe)
{
    struct outputs o;
    start(&o);
    reply_bulk(&o.r2, SLICE("a\0\r\nb"));
    cr_assert(slice_equal(buf_slice(&o.buf2), SLICE("$5\r\na\0\r\nb\r\n")));
    buf_deinit(&o.buf2);
}

Test(reply, writes_nulls)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_null);
    expect(&o, "$-1\r\n", "_\r\n");
    BOTH(o, reply_null_array);
    expect(&o, "*-1\r\n", "_\r\n");
}

Test(reply, writes_the_heads_of_aggregates)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_array, 3);
    expect(&o, "*3\r\n", "*3\r\n");
    BOTH(o, reply_array, 0);
    expect(&o, "*0\r\n", "*0\r\n");
    BOTH(o, reply_map, 60);
    expect(&o, "*120\r\n", "%60\r\n");
    BOTH(o, reply_set, 12);
    expect(&o, "*12\r\n", "~12\r\n");
    BOTH(o, reply_push, 3);
    expect(&o, "*3\r\n", ">3\r\n");
    reply_attribute(&o.r3, 1);
    expect(&o, "", "|1\r\n");
}

Test(reply, an_attribute_in_resp2_is_a_bug, .signal = SIGABRT)
{
    struct outputs o;
    start(&o);
    reply_attribute(&o.r2, 1);
}

Test(reply, writes_bools)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_bool, true);
    BOTH(o, reply_bool, false);
    expect(&o, ":1\r\n:0\r\n", "#t\r\n#f\r\n");
}

Test(reply, writes_floats)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_double, 3.25);
    expect(&o, "$4\r\n3.25\r\n", ",3.25\r\n");
    BOTH(o, reply_double, 7);
    expect(&o, "$1\r\n7\r\n", ",7\r\n");
    BOTH(o, reply_double, -INFINITY);
    expect(&o, "$4\r\n-inf\r\n", ",-inf\r\n");
    BOTH(o, reply_long_double, 10.5L);
    expect(&o, "$4\r\n10.5\r\n", "$4\r\n10.5\r\n");
}

Test(reply, writes_big_numbers_and_verbatim_texts)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_big_number, SLICE("1234567999999999999999999999999999999"));
    expect(&o, "$37\r\n1234567999999999999999999999999999999\r\n",
           "(1234567999999999999999999999999999999\r\n");
    BOTH(o, reply_verbatim, "txt", SLICE("Some string"));
    expect(&o, "$11\r\nSome string\r\n", "=15\r\ntxt:Some string\r\n");
    BOTH(o, reply_verbatim, "mkd", SLICE(""));
    expect(&o, "$0\r\n\r\n", "=4\r\nmkd:\r\n");
}

Test(reply, writes_and_counts_errors)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_error, "ERR unknown command '%s'", "FOO");
    expect(&o, "-ERR unknown command 'FOO'\r\n", "-ERR unknown command 'FOO'\r\n");
    reply_error_syntax(&o.r2);
    reply_error_integer(&o.r2);
    reply_error_float(&o.r2);
    reply_error_wrong_type(&o.r3);
    expect(&o,
           "-ERR syntax error\r\n-ERR value is not an integer or out of range\r\n"
           "-ERR value is not a valid float\r\n",
           "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    cr_assert_eq(o.r2.errors, 4);
    cr_assert_eq(o.r3.errors, 2);
}

Test(reply, an_error_stays_on_one_line)
{
    struct outputs o;
    start(&o);
    BOTH(o, reply_error, "ERR got '%s'", "a\r\nb\nc");
    expect(&o, "-ERR got 'a  b c'\r\n", "-ERR got 'a  b c'\r\n");
    BOTH(o, reply_error, "ERR ends%s", "\r\n\n");
    expect(&o, "-ERR ends\r\n", "-ERR ends\r\n");
}

Test(reply, an_error_may_be_long)
{
    char text[3000];
    for (size_t size = 100; size < sizeof(text); size = size * 10 / 9) {
        memset(text, 'x', size);
        text[size] = '\0';
        struct outputs o;
        start(&o);
        reply_error(&o.r2, "ERR %s", text);
        cr_assert_eq(o.buf2.size, size + 7);
        cr_assert_eq(memcmp(o.buf2.data, "-ERR xx", 7), 0);
        cr_assert_eq(memcmp(o.buf2.data + o.buf2.size - 3, "x\r\n", 3), 0);
        buf_deinit(&o.buf2);
    }
}

Test(reply, replies_follow_each_other)
{
    char memory[16];
    struct buf b;
    buf_init_borrowed(&b, memory, sizeof(memory));
    struct reply r = {.out = &b, .protocol = 2};
    reply_array(&r, 2);
    reply_bulk(&r, SLICE("first value"));
    reply_integer(&r, 42);
    reply_ok(&r);
    cr_assert(slice_equal(buf_slice(&b), SLICE("*2\r\n$11\r\nfirst value\r\n:42\r\n+OK\r\n")));
    buf_deinit(&b);
}
