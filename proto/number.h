/* Numbers as Redis reads and writes them. Pure functions; any thread. */
#pragma once

#include "proto/slice.h"

/* Longest texts, without a terminator (none is written). */
#define NUMBER_INTEGER_SIZE_MAX 20
#define NUMBER_DOUBLE_SIZE_MAX 32
#define NUMBER_LONG_DOUBLE_SIZE_MAX (5 * 1024)

/* The whole slice as a signed 64-bit decimal in its one canonical form: no sign but '-', no leading
 * zero, no blank, no "-0". This is also the test for the "int" encoding. */
bool number_parse_integer(struct slice s, int64_t *value);
bool number_parse_unsigned(struct slice s, uint64_t *value);
/* A float as Redis's float arguments allow (strtod's syntax, "inf" included); false on NaN, blanks,
 * an empty slice or trailing bytes, and where the value overflows to infinity or underflows to 0.
 * */
bool number_parse_double(struct slice s, double *value);
bool number_parse_long_double(struct slice s, long double *value);

/* Writes decimal digits to `to` (NUMBER_INTEGER_SIZE_MAX bytes); returns the count written. */
size_t number_format_integer(char *to, int64_t value);
size_t number_format_unsigned(char *to, uint64_t value);
/* The shortest text that reads back as the same double ("%.17g" shortened; "inf", "-inf", "nan").
 * */
size_t number_format_double(char *to, double value);
/* INCRBYFLOAT's form: 17 digits after the point, trailing zeros (and a bare point) removed, no
 * exponent. `to` has NUMBER_LONG_DOUBLE_SIZE_MAX bytes. */
size_t number_format_long_double(char *to, long double value);

/* A size with Redis's units: 100, 1k, 1kb, 5mb, 2g, ... (k = 1000, kb = 1024). False when
 * malformed. */
bool number_parse_memory(struct slice s, uint64_t *bytes);
