/* Histograms: see histogram.h. Bucket n holds the values from (PARTS + n % PARTS) / PARTS times two
 * to the power of n / PARTS on. With PARTS of them to a power of two some of the first are empty:
 * there are not as many numbers. Small ones are odd: the lowest bit is always set. */
#include "shard/type/histogram.h"

uint64_t histogram_low(uint32_t bucket)
{
    uint32_t power = bucket / HISTOGRAM_PARTS;
    uint64_t parts = HISTOGRAM_PARTS + bucket % HISTOGRAM_PARTS;
    if (power >= HISTOGRAM_PART_BITS)
        return parts << (power - HISTOGRAM_PART_BITS);
    uint32_t shift = HISTOGRAM_PART_BITS - power;
    return (parts + (1u << shift) - 1) >> shift;
}

uint64_t histogram_high(uint32_t bucket)
{
    return histogram_low(bucket + 1) - 1;
}

uint64_t histogram_total(const struct histogram *h)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h->counts[i];
    return total;
}

uint64_t histogram_percentile(const struct histogram *h, double percentile)
{
    uint64_t total = histogram_total(h);
    if (!total)
        return 0;
    double share = percentile < 0 ? 0 : percentile > 100 ? 1 : percentile / 100;
    uint64_t rank = (uint64_t)(share * (double)total + 0.5);
    rank = rank < 1 ? 1 : rank > total ? total : rank;
    uint32_t i = 0;
    for (uint64_t seen = h->counts[0]; seen < rank; seen += h->counts[i])
        i++;
    return histogram_high(i);
}
