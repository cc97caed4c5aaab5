/* Log-linear histograms. */
#include "shard/type/histogram.h"

#include <criterion/criterion.h>

static struct histogram h;

static void clear(void)
{
    memset(&h, 0, sizeof(h));
}

Test(histogram, a_value_lies_within_its_bucket)
{
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < 100000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t value = (state >> (12 + state % 50)) | 1;
        uint32_t bucket = histogram_bucket(value);
        cr_assert_lt(bucket, HISTOGRAM_BUCKETS);
        cr_assert_geq(value, histogram_low(bucket), "%lu", value);
        cr_assert_leq(value, histogram_high(bucket), "%lu", value);
    }
}

Test(histogram, buckets_follow_one_another_without_a_gap)
{
    for (uint32_t i = 0; i < 60 * HISTOGRAM_PARTS; i++)
        cr_assert_eq(histogram_high(i) + 1, histogram_low(i + 1));
}

Test(histogram, a_bucket_is_no_wider_than_a_part_of_its_values)
{
    for (uint32_t i = 8 * HISTOGRAM_PARTS; i < 60 * HISTOGRAM_PARTS; i++)
        cr_assert_leq((histogram_high(i) - histogram_low(i)) * HISTOGRAM_PARTS, histogram_low(i));
}

Test(histogram, zero_and_the_largest_value_have_buckets)
{
    cr_assert_eq(histogram_bucket(0), histogram_bucket(1));
    cr_assert_lt(histogram_bucket(UINT64_MAX >> 1), HISTOGRAM_BUCKETS);
}

Test(histogram, percentiles_are_those_of_the_values_noted, .init = clear)
{
    for (uint64_t i = 1; i <= 1000; i++)
        histogram_note(&h, i * 1000);
    cr_assert_eq(histogram_total(&h), 1000);
    for (int p = 1; p <= 100; p++) {
        uint64_t exact = (uint64_t)p * 10000;
        uint64_t told = histogram_percentile(&h, p);
        cr_assert_geq(told, exact, "p%d", p);
        cr_assert_leq(told, exact + exact / 8, "p%d", p);
    }
    cr_assert_leq(histogram_percentile(&h, 0), 1100);
}

Test(histogram, an_empty_one_has_no_percentiles, .init = clear)
{
    cr_assert_eq(histogram_percentile(&h, 50), 0);
    cr_assert_eq(histogram_total(&h), 0);
}
