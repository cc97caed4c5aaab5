/* Tests of the request parser. The error texts and the lenient cases were compared with a Redis
 * server over a socket. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/proto/resp_transcript.h"

static const struct resp_limits usual = {
    .bulk_size_max = 512u << 20, .args_count_max = INT32_MAX, .inline_size_max = 64 << 10};
static const struct resp_limits unauthenticated = {
    .bulk_size_max = 16384, .args_count_max = 10, .inline_size_max = 64 << 10};

static const struct pieces whole = {pieces_next_whole, NULL};
static const struct pieces bytewise = {pieces_next_byte, NULL};

static void expect_limited(struct slice stream, const char *expected,
                           const struct resp_limits *limits)
{
    const struct pieces ways[] = {whole, bytewise};
    for (size_t i = 0; i < 2; i++) {
        struct buf got;
        buf_init(&got);
        transcript_write(&got, stream, ways[i], limits);
        cr_assert(slice_equal(buf_slice(&got), slice_of(expected)), "%.*s, not %s", (int)got.size,
                  got.data, expected);
        buf_deinit(&got);
    }
}

static void expect(const char *stream, const char *expected)
{
    expect_limited(slice_of(stream), expected, &usual);
}

Test(resp, reads_an_array_of_bulks)
{
    expect("*1\r\n$4\r\nPING\r\n", "1 arguments: 4:PING\n");
    expect("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n0123456789ab\r\n",
           "3 arguments: 3:SET 1:k 12:0123456789ab\n");
    expect("*2\r\n$0\r\n\r\n$1\r\na\r\n", "2 arguments: 0: 1:a\n");
}

Test(resp, bulks_are_binary_safe)
{
    expect_limited(SLICE("*1\r\n$4\r\n\r\n$*\r\n"), "1 arguments: 4:\r\n$*\n", &usual);
    struct resp_parser p;
    resp_init(&p);
    struct slice in = SLICE("*1\r\n$3\r\na\0b\r\n");
    cr_assert_eq(resp_parse(&p, in.data, in.size, &usual), RESP_COMMAND);
    cr_assert_eq(memcmp(p.base + p.args[0].offset, "a\0b", 3), 0);
    resp_deinit(&p);
}

Test(resp, reads_a_pipeline_command_by_command)
{
    expect("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n",
           "1 arguments: 4:PING\n2 arguments: 3:GET 1:k\n1 arguments: 4:PING\n"
           "1 arguments: 4:QUIT\n");
}

Test(resp, empty_commands_have_no_arguments)
{
    expect("*0\r\n*-1\r\n*-99\r\n\r\n\n  \r\n*1\r\n$1\r\na\r\n",
           "0 arguments:\n0 arguments:\n0 arguments:\n0 arguments:\n0 arguments:\n0 arguments:\n"
           "1 arguments: 1:a\n");
}

Test(resp, points_into_the_bytes_it_was_given)
{
    struct resp_parser p;
    resp_init(&p);
    struct slice in = SLICE("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*1\r\n");
    cr_assert_eq(resp_parse(&p, in.data, in.size, &usual), RESP_COMMAND);
    cr_assert_eq(p.base, in.data);
    cr_assert_eq(p.args[1].offset, 17);
    cr_assert_eq(p.consumed, in.size - 4);
    resp_deinit(&p);
}

/* Of the bytes that end a line or a bulk, Redis looks at the first of a line's alone. */
Test(resp, is_as_lenient_as_redis_about_line_ends)
{
    expect("*1\rX$4\rXPINGXX", "1 arguments: 4:PING\n");
    expect("*1\r\r$4\r\rPING\n\n", "1 arguments: 4:PING\n");
}

Test(resp, has_many_arguments)
{
    struct buf stream, expected;
    buf_init(&stream);
    buf_init(&expected);
    buf_append_text(&stream, "*3000\r\n");
    buf_append_text(&expected, "3000 arguments:");
    for (int i = 0; i < 3000; i++) {
        buf_printf(&stream, "$5\r\n%05d\r\n", i);
        buf_printf(&expected, " 5:%05d", i);
    }
    buf_append(&expected, "\n", 2);
    struct buf got;
    buf_init(&got);
    transcript_write(&got, buf_slice(&stream), whole, &usual);
    cr_assert(slice_equal(buf_slice(&got), slice_of(expected.data)));
    buf_deinit(&got);
    buf_deinit(&stream);
    buf_deinit(&expected);
}

Test(resp, refuses_a_bad_count)
{
    static const char *const bad[] = {"*\r\n",   "*x\r\n",  "*+1\r\n",          "*01\r\n",
                                      "*1 \r\n", "*-0\r\n", "*2147483648\r\n",  "*1.5\r\n",
                                      "*-\r\n",  "**1\r\n", "*99999999999999999999999\r\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect(bad[i], "error: Protocol error: invalid multibulk length\n");
    expect("*2147483647\r\n", "");
}

Test(resp, refuses_a_bad_bulk_length)
{
    static const char *const bad[] = {
        "*1\r\n$\r\n",          "*1\r\n$x\r\n",         "*1\r\n$-1\r\n", "*1\r\n$04\r\nPING\r\n",
        "*1\r\n$536870913\r\n", "*1\r\n$+4\r\nPING\r\n", "*1\r\n$ 4\r\n", "*1\r\n$4x\r\nPING\r\n",
        "*1\r\n$9223372036854775808\r\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect(bad[i], "error: Protocol error: invalid bulk length\n");
    expect("*1\r\n$536870912\r\n", "");
}

Test(resp, refuses_what_is_not_a_bulk)
{
    expect("*1\r\n+PING\r\n", "error: Protocol error: expected '$', got '+'\n");
    expect("*3\r\n$3\r\nSET\r\nX\r\n", "error: Protocol error: expected '$', got 'X'\n");
    expect("*1\r\n*1\r\n", "error: Protocol error: expected '$', got '*'\n");
    expect("*1\r\n\r\n", "error: Protocol error: expected '$', got '\r'\n");
    expect_limited(SLICE("*1\r\n\0\r\n"), "error: Protocol error: expected '$', got ' '\n", &usual);
}

Test(resp, has_smaller_limits_before_authentication)
{
    expect_limited(SLICE("*10\r\n"), "", &unauthenticated);
    expect_limited(SLICE("*11\r\n$1"), "error: Protocol error: unauthenticated multibulk length\n",
                   &unauthenticated);
    expect_limited(SLICE("*2147483648\r\n"), "error: Protocol error: invalid multibulk length\n",
                   &unauthenticated);
    expect_limited(SLICE("*1\r\n$16384\r\n"), "", &unauthenticated);
    expect_limited(SLICE("*1\r\n$16385\r\n"),
                   "error: Protocol error: unauthenticated bulk length\n", &unauthenticated);
    expect_limited(SLICE("*1\r\n$-1\r\n"), "error: Protocol error: invalid bulk length\n",
                   &unauthenticated);
    expect_limited(SLICE("*-1\r\n"), "0 arguments:\n", &unauthenticated);
}

/* A head, then `size` bytes of filler without an end. */
static void expect_filled(const char *head, char filler, size_t size, const char *tail,
                          const char *expected)
{
    struct resp_limits limits = {512u << 20, INT32_MAX, 1000};
    struct buf stream;
    buf_init(&stream);
    buf_append_text(&stream, head);
    memset(buf_reserve(&stream, size), filler, size);
    stream.size += size;
    buf_append_text(&stream, tail);
    expect_limited(buf_slice(&stream), expected, &limits);
    buf_deinit(&stream);
}

Test(resp, limits_the_size_of_lines)
{
    expect_filled("*", '1', 999, "", "");
    expect_filled("*", '1', 1000, "", "error: Protocol error: too big mbulk count string\n");
    expect_filled("*", '1', 999, "\r\n", "error: Protocol error: invalid multibulk length\n");
    expect_filled("*1\r\n$", '1', 999, "", "");
    expect_filled("*1\r\n$", '1', 1000, "", "error: Protocol error: too big bulk count string\n");
    expect_filled("PING", ' ', 996, "", "");
    expect_filled("PING", ' ', 997, "", "error: Protocol error: too big inline request\n");
    expect_filled("PING", ' ', 996, "\n", "1 arguments: 4:PING\n");
    expect_filled("PING", ' ', 997, "\n", "error: Protocol error: too big inline request\n");
}

Test(resp, reads_inline_commands)
{
    expect("PING\r\n", "1 arguments: 4:PING\n");
    expect("PING\n", "1 arguments: 4:PING\n");
    expect("  set  key\tvalue  \r\n", "3 arguments: 3:set 3:key 5:value\n");
    expect("a\rb\r\n", "2 arguments: 1:a 1:b\n");
    expect("a\v\fb \v\fc\n", "2 arguments: 4:a\v\fb 1:c\n");
    expect("$3\r\n", "1 arguments: 2:$3\n");
}

Test(resp, unquotes_inline_arguments)
{
    expect("echo \"a b\" 'c d'\n", "3 arguments: 4:echo 3:a b 3:c d\n");
    expect("echo \"\\x41\\x6a\\n\\r\\t\\b\\a\\q\\\\\\\"\"\n",
           "2 arguments: 4:echo 10:Aj\n\r\t\b\aq\\\"\n");
    expect("echo \"\\xZZ\\x4\"\n", "2 arguments: 4:echo 5:xZZx4\n");
    expect("echo 'it\\'s \\n \"'\n", "2 arguments: 4:echo 9:it's \\n \"\n");
    expect("echo foo\"bar baz\" ''\n", "3 arguments: 4:echo 10:foobar baz 0:\n");
    expect("\"\"\r\n", "1 arguments: 0:\n");
    expect("'a'\v'b'\n", "2 arguments: 1:a 1:b\n");
}

Test(resp, refuses_unbalanced_quotes)
{
    static const char *const bad[] = {"echo \"a\r\n",  "echo 'a\r\n",    "echo \"a\"b\r\n",
                                      "echo 'a'b\r\n", "echo \"a\\\"\n", "echo \"a\\\n",
                                      "echo 'a\\'\n",  "\"\n",           "''''\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect(bad[i], "error: Protocol error: unbalanced quotes in request\n");
}

Test(resp, asks_for_a_whole_bulk_at_once)
{
    struct resp_parser p;
    resp_init(&p);
    struct slice in = SLICE("*2\r\n$3\r\nSET\r\n$536870912\r\nabc");
    cr_assert_eq(resp_parse(&p, in.data, in.size, &usual), RESP_MORE);
    cr_assert_eq(p.needed, in.size - 3 + 536870912 + 2);
    cr_assert_eq(resp_parse(&p, in.data, in.size, &usual), RESP_MORE, "an early call is harmless");
    cr_assert_eq(p.needed, in.size - 3 + 536870912 + 2);
    resp_deinit(&p);
}

Test(resp, asks_for_the_next_byte_of_a_line)
{
    static const char stream[] = "*1\r\n$4\r\n";
    struct resp_parser p;
    resp_init(&p);
    for (size_t size = 0; size < sizeof(stream) - 1; size++) {
        cr_assert_eq(resp_parse(&p, stream, size, &usual), RESP_MORE);
        cr_assert_eq(p.needed, size + 1);
    }
    resp_deinit(&p);
}

Test(resp, a_declared_size_allocates_nothing)
{
    struct resp_parser p;
    resp_init(&p);
    struct slice in = SLICE("*2147483647\r\n$536870912\r\n");
    cr_assert_eq(resp_parse(&p, in.data, in.size, &usual), RESP_MORE);
    cr_assert_eq(resp_memory(&p), 0);
    resp_deinit(&p);
}

Test(resp, a_link_without_a_bulk_limit_takes_any_length)
{
    struct resp_limits limits = {UINT64_MAX, INT32_MAX, 64 << 10};
    struct resp_parser p;
    resp_init(&p);
    struct slice in = SLICE("*1\r\n$9223372036854775807\r\n");
    cr_assert_eq(resp_parse(&p, in.data, in.size, &limits), RESP_MORE);
    cr_assert_eq(p.needed, in.size + 9223372036854775807u + 2);
    resp_deinit(&p);
}

Test(resp, trim_gives_back_what_a_large_command_took)
{
    struct buf stream;
    buf_init(&stream);
    buf_append_text(&stream, "*1000\r\n");
    for (int i = 0; i < 1000; i++)
        buf_append_text(&stream, "$1\r\nx\r\n");
    struct resp_parser p;
    resp_init(&p);
    cr_assert_eq(resp_parse(&p, stream.data, stream.size, &usual), RESP_COMMAND);
    cr_assert_geq(resp_memory(&p), 1000 * sizeof(struct resp_span));
    memset(stream.data, 'x', stream.size);
    stream.data[stream.size - 1] = '\n';
    cr_assert_eq(resp_parse(&p, stream.data, stream.size, &usual), RESP_COMMAND);
    cr_assert(resp_has_grown(&p));
    cr_assert_eq(resp_parse(&p, "*2\r\n$1\r\n", 8, &usual), RESP_MORE);
    cr_assert_not(resp_trim(&p), "not within a command");
    cr_assert_eq(resp_parse(&p, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", 18, &usual), RESP_COMMAND);
    cr_assert(resp_trim(&p));
    cr_assert_eq(resp_memory(&p), 0);
    cr_assert_not(resp_has_grown(&p));
    cr_assert_eq(resp_parse(&p, "PING\r\n", 6, &usual), RESP_COMMAND);
    size_t small = resp_memory(&p);
    cr_assert(resp_trim(&p));
    cr_assert_eq(resp_memory(&p), small, "little is kept");
    resp_deinit(&p);
    cr_assert_eq(resp_memory(&p), 0);
    buf_deinit(&stream);
}

/* Every byte of a length line, and every 16 KiB of a large bulk, in a call of its own: only a cost
 * quadratic in the size would take longer than the timeout. */
Test(resp, costs_time_linear_in_the_bytes, .timeout = 5)
{
    size_t size = 64 << 20;
    char *data = mem_alloc(size);
    memset(data, ' ', size);
    struct resp_limits limits = {512u << 20, INT32_MAX, UINT32_MAX};
    struct resp_parser p;
    resp_init(&p);
    for (size_t have = 1; have < 2000000; have++)
        cr_assert(resp_parse(&p, data, have, &limits) == RESP_MORE);
    resp_deinit(&p);
    resp_init(&p);
    size_t count = size / 7;
    size_t at = (size_t)sprintf(data, "*%zu\r\n", count);
    for (size_t i = 0; i < count - 2; i++, at += 7)
        memcpy(data + at, "$1\r\nx\r\n", 7);
    for (size_t have = 0; have < at; have += 16384)
        cr_assert(resp_parse(&p, data, have, &limits) == RESP_MORE);
    resp_deinit(&p);
    mem_free(data);
}

static size_t next_random_piece(void *state, size_t have)
{
    return have + 1 + (size_t)rand_r(state) % 40;
}

/* A stream of mostly sound commands with some mutilation. */
static void write_random_stream(struct buf *to, unsigned *seed)
{
    static const char *const inlines[] = {"PING\r\n", "\r\n",      "set 'a b' \"\\x41\"\n",
                                          "a b c\n",  "*-1\r\n",   "*0\r\n",
                                          "'x'y\n",   "*1\r\nX\r\n"};
    for (int commands = rand_r(seed) % 6; commands >= 0; commands--) {
        int count = rand_r(seed) % 5;
        buf_printf(to, "*%d\r\n", count);
        for (int i = 0; i < count; i++) {
            int size = rand_r(seed) % 8 ? rand_r(seed) % 20 : rand_r(seed) % 2000;
            buf_printf(to, "$%d\r\n%*s\r\n", size, size, size ? "v" : "");
        }
        if (rand_r(seed) % 3 == 0)
            buf_append_text(to, inlines[(size_t)rand_r(seed) % 8]);
    }
    if (rand_r(seed) % 3 == 0)
        to->data[(size_t)rand_r(seed) % to->size] = "\r\n$*19-x'\""[rand_r(seed) % 10];
}

Test(resp, reads_alike_whole_and_in_pieces)
{
    unsigned seed = 11, errors = 0;
    for (int round = 0; round < 1500; round++) {
        struct buf stream, expected;
        buf_init(&stream);
        buf_init(&expected);
        write_random_stream(&stream, &seed);
        transcript_write(&expected, buf_slice(&stream), whole, &usual);
        const struct pieces ways[] = {bytewise, {next_random_piece, &seed}};
        for (size_t i = 0; i < 2; i++) {
            struct buf got;
            buf_init(&got);
            transcript_write(&got, buf_slice(&stream), ways[i], &usual);
            cr_assert(slice_equal(buf_slice(&got), buf_slice(&expected)), "%.*s",
                      (int)stream.size, stream.data);
            buf_deinit(&got);
        }
        buf_append(&expected, "", 1);
        errors += strstr(expected.data, "error: ") != NULL;
        buf_deinit(&stream);
        buf_deinit(&expected);
    }
    cr_assert_gt(errors, 50, "the mutilation must reach the errors");
    cr_assert_lt(errors, 1000, "and leave sound streams");
}

Test(resp, survives_random_garbage)
{
    unsigned seed = 12;
    for (int round = 0; round < 20000; round++) {
        char data[64];
        size_t size = (size_t)rand_r(&seed) % sizeof(data);
        for (size_t i = 0; i < size; i++) {
            int any = rand_r(&seed);
            data[i] = any % 4 ? "*$123\r\n\"'\\x a"[(any >> 8) % 13] : (char)(any >> 8);
        }
        struct buf got, parts;
        buf_init(&got);
        buf_init(&parts);
        transcript_write(&got, (struct slice){data, size}, whole, &usual);
        transcript_write(&parts, (struct slice){data, size}, bytewise, &usual);
        cr_assert(slice_equal(buf_slice(&got), buf_slice(&parts)));
        buf_deinit(&got);
        buf_deinit(&parts);
    }
}
