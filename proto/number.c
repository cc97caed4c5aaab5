/* Numbers in text.
 *
 * Integers are written two digits a step from a table. Doubles are written in the form that Redis
 * 7.2 uses, and that clients see in ZSCORE: the fewest digits that read back as the same double,
 * plain where that is short, and else with an exponent that has a sign and no padding (1e+20,
 * 1.5e-7). */
#include "proto/number.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/mem.h"

/* Any double reads back from this many digits; any text of so few digits survives a double. */
#define DOUBLE_DIGITS_MAX DBL_DECIMAL_DIG
#define DOUBLE_DIGITS_SURE DBL_DIG

static const char digit_pairs[] = "00010203040506070809"
                                  "10111213141516171819"
                                  "20212223242526272829"
                                  "30313233343536373839"
                                  "40414243444546474849"
                                  "50515253545556575859"
                                  "60616263646566676869"
                                  "70717273747576777879"
                                  "80818283848586878889"
                                  "90919293949596979899";

/* The powers of ten that a double holds exactly. */
static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define POWER_EXACT_MAX 22

bool number_parse_unsigned(struct slice s, uint64_t *value)
{
    if (s.size == 0 || s.size > NUMBER_INTEGER_SIZE_MAX)
        return false;
    uint64_t n = (unsigned char)s.data[0] - (uint64_t)'0';
    if (n > 9 || (n == 0 && s.size > 1))
        return false;
    /* Nineteen digits cannot overflow; only a twentieth has to be checked. */
    size_t unchecked = s.size < NUMBER_INTEGER_SIZE_MAX ? s.size : NUMBER_INTEGER_SIZE_MAX - 1;
    for (size_t i = 1; i < unchecked; i++) {
        unsigned digit = (unsigned char)s.data[i] - (unsigned)'0';
        if (digit > 9)
            return false;
        n = n * 10 + digit;
    }
    if (unchecked < s.size) {
        unsigned digit = (unsigned char)s.data[unchecked] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n))
            return false;
    }
    *value = n;
    return true;
}

bool number_parse_integer(struct slice s, int64_t *value)
{
    uint64_t n;
    if (s.size == 0)
        return false;
    if (s.data[0] != '-') {
        if (!number_parse_unsigned(s, &n) || n > INT64_MAX)
            return false;
        *value = (int64_t)n;
        return true;
    }
    if (!number_parse_unsigned((struct slice){s.data + 1, s.size - 1}, &n))
        return false;
    if (n == 0 || n > (uint64_t)INT64_MAX + 1)
        return false;
    *value = (int64_t)(0 - n);
    return true;
}

/* The common scores, [-]digits[.digits], without a copy: both the digits and the power of ten are
 * exact in a double, so their quotient is rounded once, as strtod's result is. */
static bool parse_plain_decimal(struct slice s, double *value)
{
    size_t at = s.size > 0 && s.data[0] == '-';
    if (s.size - at > DOUBLE_DIGITS_SURE + 1)
        return false;
    uint64_t n = 0;
    size_t digits = 0, point = SIZE_MAX;
    for (size_t i = at; i < s.size; i++) {
        unsigned digit = (unsigned char)s.data[i] - (unsigned)'0';
        if (digit <= 9) {
            n = n * 10 + digit;
            digits++;
        } else if (s.data[i] == '.' && point == SIZE_MAX) {
            point = digits;
        } else {
            return false;
        }
    }
    if (digits == 0 || digits > DOUBLE_DIGITS_SURE)
        return false;
    double magnitude = (double)n;
    if (point != SIZE_MAX)
        magnitude /= powers_of_ten[digits - point];
    *value = at ? -magnitude : magnitude;
    return true;
}

/* What strtod takes and Redis does not: leading blanks. A zero byte within would end the C string
 * early, so the comparison of ends finds it. */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool number_parse_double(struct slice s, double *value)
{
    if (s.size == 0 || is_blank(s.data[0]))
        return false;
    if (parse_plain_decimal(s, value))
        return true;
    char small[128];
    char *text = s.size < sizeof(small) ? small : mem_alloc(s.size + 1);
    memcpy(text, s.data, s.size);
    text[s.size] = '\0';
    char *end;
    errno = 0;
    double n = strtod(text, &end);
    bool whole = end == text + s.size;
    bool out_of_range = errno == ERANGE && (isinf(n) || n == 0);
    if (text != small)
        mem_free(text);
    if (!whole || out_of_range || isnan(n))
        return false;
    *value = n;
    return true;
}

bool number_parse_long_double(struct slice s, long double *value)
{
    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    if (s.size == 0 || s.size >= sizeof(text) || is_blank(s.data[0]))
        return false;
    memcpy(text, s.data, s.size);
    text[s.size] = '\0';
    char *end;
    errno = 0;
    long double n = strtold(text, &end);
    bool out_of_range = errno == ERANGE && (isinf(n) || n == 0);
    if (end != text + s.size || out_of_range || isnan(n))
        return false;
    *value = n;
    return true;
}

static size_t count_digits(uint64_t n)
{
    size_t count = 1;
    for (; n >= 10000; n /= 10000)
        count += 4;
    return count + (n >= 10) + (n >= 100) + (n >= 1000);
}

size_t number_format_unsigned(char *to, uint64_t value)
{
    size_t size = count_digits(value);
    char *at = to + size;
    while (value >= 100) {
        at -= 2;
        memcpy(at, digit_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(to, digit_pairs + value * 2, 2);
    else
        *to = (char)('0' + value);
    return size;
}

size_t number_format_integer(char *to, int64_t value)
{
    if (value >= 0)
        return number_format_unsigned(to, (uint64_t)value);
    *to = '-';
    return 1 + number_format_unsigned(to + 1, 0 - (uint64_t)value);
}

/* A positive decimal: `digits` without leading or trailing zeros, times ten to `exponent`. */
struct decimal {
    char digits[NUMBER_DOUBLE_SIZE_MAX];
    size_t count;
    int exponent;
};

static bool decimal_range(double value)
{
    return value >= 1e-7 && value < 1e15;
}

/* Prices, distances, scores: values in decimal_range with at most 15 digits. Scaling by the right
 * power of ten is then off by less than a half, and dividing back, which rounds once, proves it.
 * False within decimal_range means that 15 digits do not do. */
static bool decimal_by_scaling(double value, struct decimal *d)
{
    for (int places = 1; places <= POWER_EXACT_MAX; places++) {
        double scaled = value * powers_of_ten[places];
        if (scaled >= 1e15)
            return false;
        uint64_t n = (uint64_t)(scaled + 0.5);
        if ((double)n / powers_of_ten[places] == value) {
            d->count = number_format_unsigned(d->digits, n);
            d->exponent = -places;
            return true;
        }
    }
    return false;
}

/* The doubles under a power of two lie twice as close as those over it. So the decimal nearest to
 * the power can miss it where the next one up, though farther, still reads back. */
static bool next_up_reads_back(char *text, double value)
{
    int exponent;
    char *last = strchr(text, 'e') - 1;
    if (frexp(value, &exponent) != 0.5 || *last == '9')
        return false;
    ++*last;
    return strtod(text, NULL) == value;
}

/* The general way: more and more digits until they read back. Fewer than 15 need no trial of their
 * own, for then the 15 end in zeros; only subnormal values, with their few bits, start from one. */
static void decimal_by_printing(double value, int precision, struct decimal *d)
{
    char text[NUMBER_DOUBLE_SIZE_MAX];
    for (;; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision - 1, value);
        if (precision == DOUBLE_DIGITS_MAX || strtod(text, NULL) == value ||
            next_up_reads_back(text, value))
            break;
    }
    /* The text is D[.DDD]e[+-]XX. */
    const char *mark = strchr(text, 'e');
    assert(mark);
    d->digits[0] = text[0];
    d->count = 1;
    for (const char *p = text + 2; p < mark; p++)
        d->digits[d->count++] = *p;
    while (d->count > 1 && d->digits[d->count - 1] == '0')
        d->count--;
    d->exponent = atoi(mark + 1) - (int)(d->count - 1);
}

static size_t write_with_exponent(char *to, const struct decimal *d, int leading)
{
    char *at = to;
    *at++ = d->digits[0];
    if (d->count > 1) {
        *at++ = '.';
        memcpy(at, d->digits + 1, d->count - 1);
        at += d->count - 1;
    }
    *at++ = 'e';
    *at++ = leading < 0 ? '-' : '+';
    at += number_format_unsigned(at, (uint64_t)abs(leading));
    return (size_t)(at - to);
}

/* Where the exponent form begins is Redis 7.2's choice: at eight zeros behind the digits; and, with
 * digits behind the point, at seven of them unless the first digit's power is under four. */
static size_t write_decimal(char *to, const struct decimal *d)
{
    int leading = d->exponent + (int)d->count - 1;
    if (d->exponent >= 0 && d->exponent < 8) {
        memcpy(to, d->digits, d->count);
        memset(to + d->count, '0', (size_t)d->exponent);
        return d->count + (size_t)d->exponent;
    }
    if (d->exponent >= 0 || (d->exponent <= -7 && abs(leading) >= 4))
        return write_with_exponent(to, d, leading);
    if (leading >= 0) {
        size_t whole = (size_t)leading + 1;
        memcpy(to, d->digits, whole);
        to[whole] = '.';
        memcpy(to + whole + 1, d->digits + whole, d->count - whole);
        return d->count + 1;
    }
    size_t zeros = (size_t)(-leading - 1);
    memcpy(to, "0.", 2);
    memset(to + 2, '0', zeros);
    memcpy(to + 2 + zeros, d->digits, d->count);
    return 2 + zeros + d->count;
}

static size_t write_text(char *to, const char *text)
{
    size_t size = strlen(text);
    memcpy(to, text, size);
    return size;
}

size_t number_format_double(char *to, double value)
{
    if (isnan(value))
        return write_text(to, "nan");
    if (isinf(value))
        return write_text(to, value < 0 ? "-inf" : "inf");
    if (value == 0)
        return write_text(to, signbit(value) ? "-0" : "0");
    /* All digits of whole numbers up to half of the 64-bit range are written, as Redis does. */
    if (fabs(value) <= 0x1p62 && value == (double)(int64_t)value)
        return number_format_integer(to, (int64_t)value);
    size_t sign = value < 0;
    if (sign)
        *to = '-';
    double magnitude = fabs(value);
    struct decimal d;
    if (!decimal_range(magnitude))
        decimal_by_printing(magnitude, magnitude < DBL_MIN ? 1 : DOUBLE_DIGITS_SURE, &d);
    else if (!decimal_by_scaling(magnitude, &d))
        decimal_by_printing(magnitude, DOUBLE_DIGITS_SURE + 1, &d);
    return sign + write_decimal(to + sign, &d);
}

size_t number_format_long_double(char *to, long double value)
{
    if (isnan(value))
        return write_text(to, "nan");
    if (isinf(value))
        return write_text(to, value < 0 ? "-inf" : "inf");
    int printed = snprintf(to, NUMBER_LONG_DOUBLE_SIZE_MAX, "%.17Lf", value);
    assert(printed > 0 && printed < NUMBER_LONG_DOUBLE_SIZE_MAX);
    size_t size = (size_t)printed;
    while (to[size - 1] == '0')
        size--;
    if (to[size - 1] == '.')
        size--;
    if (size == 2 && to[0] == '-' && to[1] == '0')
        return write_text(to, "0");
    return size;
}

bool number_parse_memory(struct slice s, uint64_t *bytes)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"", 1},        {"b", 1},         {"k", 1000},       {"kb", 1 << 10},
        {"m", 1000000}, {"mb", 1 << 20},  {"g", 1000000000}, {"gb", 1 << 30},
    };
    uint64_t n = 0;
    size_t at = 0;
    for (; at < s.size && s.data[at] >= '0' && s.data[at] <= '9'; at++) {
        unsigned digit = (unsigned)(s.data[at] - '0');
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n))
            return false;
    }
    if (at == 0)
        return false;
    struct slice unit = {s.data + at, s.size - at};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (slice_is(unit, units[i].name))
            return !__builtin_mul_overflow(n, units[i].bytes, bytes);
    }
    return false;
}
