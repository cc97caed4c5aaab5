/* A log-linear histogram of durations: each power of two is divided into HISTOGRAM_PARTS buckets of
 * the same width, so a value is known to within 1/HISTOGRAM_PARTS of itself, whatever its size. The
 * idea is HdrHistogram's (G. Tene).
 *
 * Noting a value is part of every command, so it has to cost next to nothing: the bucket's number
 * is the exponent and the first bits of the fraction of the value as an IEEE 754 double, which the
 * processor works out in one instruction.
 *
 * Values are in whatever unit the caller counts in; 0 counts as 1. Plain data: several are added up
 * bucket by bucket. Nothing else is allocated. */
#pragma once

#include <stdint.h>
#include <string.h>

#define HISTOGRAM_PART_BITS 4
#define HISTOGRAM_PARTS (1u << HISTOGRAM_PART_BITS)
#define HISTOGRAM_BUCKETS (64 * HISTOGRAM_PARTS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
};

#define HISTOGRAM_DOUBLE_FRACTION 52 /* bits */
#define HISTOGRAM_DOUBLE_BIAS 1023   /* of the exponent */

/* The bucket of a value below 2^63. */
static inline uint32_t histogram_bucket(uint64_t value)
{
    double d = (double)(int64_t)(value | 1);
    uint64_t bits;
    memcpy(&bits, &d, sizeof(bits));
    return (uint32_t)(bits >> (HISTOGRAM_DOUBLE_FRACTION - HISTOGRAM_PART_BITS)) -
           HISTOGRAM_DOUBLE_BIAS * HISTOGRAM_PARTS;
}

static inline void histogram_note(struct histogram *h, uint64_t value)
{
    h->counts[histogram_bucket(value)]++;
}

/* The least and the greatest value of a bucket that has any. */
uint64_t histogram_low(uint32_t bucket);
uint64_t histogram_high(uint32_t bucket);

uint64_t histogram_total(const struct histogram *h);
/* The greatest value of the bucket that holds the value at a percentile (0 to 100), at least the
 * first one; 0 where there are none. */
uint64_t histogram_percentile(const struct histogram *h, double percentile);
