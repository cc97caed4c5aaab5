/* Tests of numbers in text. */
#include <criterion/criterion.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/number.h"

/* xorshift64: all 64 bits vary, which rand() does not offer. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void expect_integer(const char *text, int64_t expected)
{
    int64_t value = 99;
    cr_assert(number_parse_integer(slice_of(text), &value), "%s", text);
    cr_assert_eq(value, expected, "%s", text);
    char formatted[NUMBER_INTEGER_SIZE_MAX];
    size_t size = number_format_integer(formatted, expected);
    cr_assert(slice_equal((struct slice){formatted, size}, slice_of(text)), "%s", text);
}

Test(number, reads_and_writes_integers)
{
    expect_integer("0", 0);
    expect_integer("7", 7);
    expect_integer("-1", -1);
    expect_integer("10", 10);
    expect_integer("99", 99);
    expect_integer("100", 100);
    expect_integer("-12345", -12345);
    expect_integer("9223372036854775807", INT64_MAX);
    expect_integer("-9223372036854775807", -INT64_MAX);
    expect_integer("-9223372036854775808", INT64_MIN);
}

Test(number, refuses_what_is_not_a_canonical_integer)
{
    static const char *const bad[] = {
        "", "-", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1.0", "1e3", "a", "1a", "--1", "0x1",
        "9223372036854775808", "-9223372036854775809", "18446744073709551615",
        "99999999999999999999", "100000000000000000000", "-100000000000000000000", "1\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t value = 99;
        cr_assert_not(number_parse_integer(slice_of(bad[i]), &value), "'%s'", bad[i]);
        cr_assert_eq(value, 99, "'%s' must leave the value alone", bad[i]);
    }
    int64_t value;
    cr_assert_not(number_parse_integer(SLICE("1\0"), &value));
}

Test(number, reads_no_further_than_the_slice)
{
    int64_t value;
    cr_assert(number_parse_integer((struct slice){"123456", 3}, &value));
    cr_assert_eq(value, 123);
    double number;
    cr_assert(number_parse_double((struct slice){"1.5e9", 3}, &number));
    cr_assert_eq(number, 1.5);
    cr_assert(number_parse_double((struct slice){"1e123", 3}, &number));
    cr_assert_eq(number, 10);
}

Test(number, reads_unsigned_to_the_last)
{
    uint64_t value = 99;
    cr_assert(number_parse_unsigned(SLICE("18446744073709551615"), &value));
    cr_assert_eq(value, UINT64_MAX);
    cr_assert_not(number_parse_unsigned(SLICE("18446744073709551616"), &value));
    cr_assert_not(number_parse_unsigned(SLICE("20000000000000000000"), &value));
    cr_assert_not(number_parse_unsigned(SLICE("1844674407370955161x"), &value));
    cr_assert_not(number_parse_unsigned(SLICE("-1"), &value));
    cr_assert_not(number_parse_unsigned(SLICE(""), &value));
    cr_assert_not(number_parse_unsigned(SLICE("007"), &value));
    cr_assert(number_parse_unsigned(SLICE("0"), &value));
    cr_assert_eq(value, 0);
}

Test(number, integers_come_back_from_their_text)
{
    uint64_t state = 42;
    for (int i = 0; i < 300000; i++) {
        uint64_t n = next_random(&state) >> (i % 64);
        char text[NUMBER_INTEGER_SIZE_MAX], expected[32];
        struct slice s = {text, number_format_unsigned(text, n)};
        snprintf(expected, sizeof(expected), "%" PRIu64, n);
        cr_assert(slice_equal(s, slice_of(expected)), "%s", expected);
        uint64_t unsigned_back;
        cr_assert(number_parse_unsigned(s, &unsigned_back));
        cr_assert_eq(unsigned_back, n);
        int64_t back;
        s.size = number_format_integer(text, (int64_t)n);
        snprintf(expected, sizeof(expected), "%" PRId64, (int64_t)n);
        cr_assert(slice_equal(s, slice_of(expected)), "%s", expected);
        cr_assert(number_parse_integer(s, &back));
        cr_assert_eq(back, (int64_t)n);
    }
}

Test(number, every_power_of_ten_has_the_right_size)
{
    uint64_t power = 1;
    char text[NUMBER_INTEGER_SIZE_MAX];
    for (size_t digits = 1; digits <= 20; digits++) {
        cr_assert_eq(number_format_unsigned(text, power), digits);
        cr_assert_eq(number_format_unsigned(text, power - 1), digits > 1 ? digits - 1 : 1);
        power *= digits < 20 ? 10 : 1;
    }
    cr_assert_eq(number_format_unsigned(text, UINT64_MAX), 20);
    cr_assert_eq(number_format_integer(text, INT64_MIN), 20);
}

static void expect_double(const char *text, double expected)
{
    double value = 99;
    cr_assert(number_parse_double(slice_of(text), &value), "%s", text);
    cr_assert_eq(value, expected, "%s read as %.17g", text, value);
    long double long_value = 99;
    cr_assert(number_parse_long_double(slice_of(text), &long_value), "%s", text);
    cr_assert_eq((double)long_value, expected, "%s", text);
}

Test(number, reads_floats_as_strtod_does)
{
    expect_double("0", 0);
    expect_double("-0", 0);
    expect_double("1", 1);
    expect_double("+1", 1);
    expect_double("3.25", 3.25);
    expect_double("-3.25", -3.25);
    expect_double(".5", 0.5);
    expect_double("5.", 5);
    expect_double("007.50", 7.5);
    expect_double("1e3", 1000);
    expect_double("1E-3", 0.001);
    expect_double("0x1p4", 16);
    expect_double("inf", INFINITY);
    expect_double("-inf", -INFINITY);
    expect_double("+INF", INFINITY);
    expect_double("infinity", INFINITY);
    expect_double("123456789012345", 123456789012345.0);
    expect_double("0.1", 0.1);
    expect_double("9007199254740993.0", 9007199254740992.0);
    double value;
    cr_assert(number_parse_double(SLICE("-0"), &value));
    cr_assert(signbit(value));
    cr_assert(number_parse_double(SLICE("4.9406564584124654e-324"), &value));
    cr_assert_gt(value, 0);
}

Test(number, refuses_what_is_not_a_float)
{
    static const char *const bad[] = {
        "", " ", " 1", "\t1", "1 ", "nan", "NaN", "-nan", "nan(1)", "abc", "1a", "1.2.3", "-", ".",
        "-.", "--1", "1e", "0x", "1\n", "1,5", "1e9999", "-1e9999", "1e-9999", "1e5000", "in",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        double value = 99;
        long double long_value = 99;
        cr_assert_not(number_parse_double(slice_of(bad[i]), &value), "'%s'", bad[i]);
        cr_assert_not(number_parse_long_double(slice_of(bad[i]), &long_value), "'%s'", bad[i]);
    }
    double value;
    long double long_value;
    cr_assert_not(number_parse_double(SLICE("1.5\0"), &value));
    cr_assert_not(number_parse_double(SLICE("1e5\0007"), &value));
    cr_assert_not(number_parse_double(SLICE("1e400"), &value));
    cr_assert(number_parse_long_double(SLICE("1e400"), &long_value));
}

Test(number, reads_long_texts_of_floats)
{
    char text[6000];
    memset(text, '0', sizeof(text));
    memcpy(text, "1.5", 3);
    double value;
    long double long_value;
    cr_assert(number_parse_double((struct slice){text, sizeof(text)}, &value));
    cr_assert_eq(value, 1.5);
    cr_assert(number_parse_long_double((struct slice){text, 5000}, &long_value));
    cr_assert_eq(long_value, 1.5L);
    cr_assert_not(number_parse_long_double((struct slice){text, sizeof(text)}, &long_value));
}

Test(number, the_quick_float_path_agrees_with_strtod)
{
    uint64_t state = 3;
    for (int i = 0; i < 200000; i++) {
        char text[40];
        uint64_t whole = next_random(&state) >> (20 + i % 44);
        int places = (int)(next_random(&state) % 14);
        snprintf(text, sizeof(text), "%s%" PRIu64 ".%0*" PRIu64, i & 1 ? "-" : "", whole, places,
                 next_random(&state) % 1000);
        double value;
        cr_assert(number_parse_double(slice_of(text), &value), "%s", text);
        cr_assert_eq(value, strtod(text, NULL), "%s", text);
    }
}

static void expect_text(double value, const char *expected)
{
    char text[NUMBER_DOUBLE_SIZE_MAX];
    struct slice s = {text, number_format_double(text, value)};
    cr_assert(slice_equal(s, slice_of(expected)), "%.17g: %.*s, not %s", value, (int)s.size, text,
              expected);
}

Test(number, writes_doubles_in_plain_form)
{
    expect_text(0, "0");
    expect_text(-0.0, "-0");
    expect_text(1, "1");
    expect_text(-1, "-1");
    expect_text(3.5, "3.5");
    expect_text(0.1, "0.1");
    expect_text(-0.3, "-0.3");
    expect_text(0.1 + 0.2, "0.30000000000000004");
    expect_text(1.0 / 3, "0.3333333333333333");
    expect_text(3.14159265358979, "3.14159265358979");
    expect_text(INFINITY, "inf");
    expect_text(-INFINITY, "-inf");
    expect_text(NAN, "nan");
    expect_text(-NAN, "nan");
    expect_text(1e15, "1000000000000000");
    expect_text(1e18, "1000000000000000000");
    expect_text(0x1p62, "4611686018427387904");
    expect_text(-0x1p62, "-4611686018427387904");
    expect_text(1234567890123456789.0, "1234567890123456768");
}

/* As Redis 7.2 prints them: neither %.17g's forms nor JavaScript's. */
Test(number, writes_doubles_with_an_exponent_where_redis_does)
{
    expect_text(1e19, "1e+19");
    expect_text(1e20, "1e+20");
    expect_text(1.5e100, "1.5e+100");
    expect_text(-1e300, "-1e+300");
    expect_text(DBL_MAX, "1.7976931348623157e+308");
    expect_text(1e-6, "0.000001");
    expect_text(1e-7, "1e-7");
    expect_text(1.5e-7, "1.5e-7");
    expect_text(0.00012, "0.00012");
    expect_text(0.0012345678, "0.0012345678");
    expect_text(0.00012345678, "1.2345678e-4");
    expect_text(1234.5678901234, "1234.5678901234");
    expect_text(12345.678901, "12345.678901");
    expect_text(12345.6789012, "1.23456789012e+4");
    expect_text(DBL_MIN, "2.2250738585072014e-308");
    expect_text(5e-324, "5e-324");
    expect_text(1.2345e22, "1.2345e+22");
    expect_text(1.2345678901234568e22, "12345678901234568000000");
    expect_text(1.2345678901234569e23, "123456789012345690000000");
    expect_text(1.2345678901234568e24, "1.2345678901234568e+24");
    expect_text(0x1p-24, "5.960464477539063e-8");
}

/* The digits of a formatted double: what is neither sign, point, exponent nor leading zero. */
static int count_digits(struct slice s)
{
    int count = 0, zeros = 0;
    for (size_t i = 0; i < s.size && s.data[i] != 'e'; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || (s.data[i] == '0' && count == 0))
            continue;
        zeros = s.data[i] == '0' ? zeros + 1 : 0;
        count++;
    }
    return count - zeros;
}

static void expect_shortest(double value)
{
    char text[NUMBER_DOUBLE_SIZE_MAX], other[NUMBER_DOUBLE_SIZE_MAX + 1];
    struct slice s = {text, number_format_double(text, value)};
    cr_assert_leq(s.size, NUMBER_DOUBLE_SIZE_MAX);
    double back;
    cr_assert(number_parse_double(s, &back), "%.*s", (int)s.size, text);
    cr_assert_eq(back, value, "%.*s for %.17g", (int)s.size, text, value);
    if (fabs(value) <= 0x1p62 && value == (double)(int64_t)value)
        return;
    int digits = count_digits(s);
    if (digits > 1) {
        snprintf(other, sizeof(other), "%.*e", digits - 2, value);
        cr_assert_neq(strtod(other, NULL), value, "%.*s for %s", (int)s.size, text, other);
    }
}

Test(number, doubles_come_back_from_the_shortest_text)
{
    uint64_t state = 9;
    for (int i = 0; i < 40000; i++) {
        uint64_t bits = next_random(&state);
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (isfinite(value))
            expect_shortest(value);
        expect_shortest((double)(int64_t)(bits % 2000000000000) / 1000);
        expect_shortest((double)(bits % 100000) / 1e9);
        expect_shortest(-(double)(bits >> 20) / 1e7);
        expect_shortest(ldexp((double)(bits % 7 + 1), (int)(bits >> 8) % 1000));
    }
    for (int exponent = -1074; exponent < 1024; exponent++)
        expect_shortest(ldexp(1, exponent));
}

static void expect_long_double(long double value, const char *expected)
{
    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    struct slice s = {text, number_format_long_double(text, value)};
    cr_assert(slice_equal(s, slice_of(expected)), "%.*s, not %s", (int)s.size, text, expected);
}

Test(number, writes_long_doubles_without_exponent_or_trailing_zeros)
{
    expect_long_double(0, "0");
    expect_long_double(-0.0L, "0");
    expect_long_double(3, "3");
    expect_long_double(100, "100");
    expect_long_double(-10.5L, "-10.5");
    expect_long_double(3.1L, "3.1");
    expect_long_double(5.0e3L, "5000");
    expect_long_double(1e20L, "100000000000000000000");
    expect_long_double(1e-10L, "0.0000000001");
    expect_long_double(1e-30L, "0");
    expect_long_double(-1e-30L, "0");
    expect_long_double(INFINITY, "inf");
    expect_long_double(-INFINITY, "-inf");
    expect_long_double(NAN, "nan");
    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    cr_assert_leq(number_format_long_double(text, -LDBL_MAX), sizeof(text));
}

Test(number, reads_sizes_with_units)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},           {"100", 100},           {"1b", 1},
        {"1k", 1000},       {"1kb", 1024},          {"1K", 1000},
        {"5mb", 5u << 20},  {"5M", 5000000},        {"2g", 2000000000},
        {"2Gb", 2ul << 30}, {"0064mb", 64u << 20},  {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t bytes = 99;
        cr_assert(number_parse_memory(slice_of(good[i].text), &bytes), "%s", good[i].text);
        cr_assert_eq(bytes, good[i].bytes, "%s", good[i].text);
    }
}

Test(number, refuses_malformed_sizes)
{
    static const char *const bad[] = {
        "", "kb", "-1", "+1", "1 kb", "1kib", "1t", "1.5g", "k1", "1kbx", " 1",
        "18446744073709551616", "18446744073709551615k",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t bytes;
        cr_assert_not(number_parse_memory(slice_of(bad[i]), &bytes), "'%s'", bad[i]);
    }
}
