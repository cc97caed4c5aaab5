/* HyperLogLog sketches: see hyperloglog.h. */
#include "shard/type/hyperloglog.h"

#include <assert.h>
#include <math.h>

#define INDEX_BITS 14
/* Of a hash, what is not the index; a register is at most one more. */
#define RANK_BITS (64 - INDEX_BITS)
#define REGISTER_BITS 6
#define REGISTER_MAX 63u
#define HISTOGRAM_SIZE (REGISTER_MAX + 1)
#define HASH_SEED 0xadc83b19u

#define ENCODING_AT 4
#define CACHED_AT 8
#define CACHED_SIZE 8
#define DENSE 0
#define SPARSE 1
#define CACHED_STALE 0x80 /* in the last of the cached bytes */

#define RUN_WIDE 0x40
#define RUN_VALUE 0x80
#define ZERO_LENGTH_MAX 64u
#define VALUE_MAX 32u
#define VALUE_LENGTH_MAX 4u
/* Three runs in the place of one, two of them wide. */
#define SPLIT_SIZE_MAX 5

/* Eight bytes at once. */
#define EVERY_BYTE UINT64_C(0x0101010101010101)
#define EVERY_TOP_BIT (EVERY_BYTE << 7)
#define GROUP 8

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as the format has them");

/* ---- The hash ---- */

static uint64_t load_word(const void *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

/* MurmurHash64A, by Austin Appleby, who put it into the public domain. */
static uint64_t hash_element(struct slice element)
{
    const uint64_t m = UINT64_C(0xc6a4a7935bd1e995);
    uint64_t h = HASH_SEED ^ (element.size * m);
    const char *p = element.data;
    size_t left = element.size;
    for (; left >= sizeof(h); p += sizeof(h), left -= sizeof(h)) {
        uint64_t k = load_word(p) * m;
        k ^= k >> 47;
        h = (h ^ k * m) * m;
    }
    if (left) {
        uint64_t tail = 0;
        memcpy(&tail, p, left);
        h = (h ^ tail) * m;
    }
    h ^= h >> 47;
    h *= m;
    return h ^ h >> 47;
}

/* ---- Dense registers ---- */

/* The register's byte; the register goes on in the next one where `shift` exceeds 2. That of the
 * last register does not. */
static unsigned char *dense_byte(unsigned char *bytes, uint32_t index, unsigned *shift)
{
    uint32_t bit = index * REGISTER_BITS;
    *shift = bit & 7;
    return bytes + HYPERLOGLOG_HEADER_SIZE + (bit >> 3);
}

static bool dense_raise(unsigned char *bytes, uint32_t index, unsigned value)
{
    unsigned shift;
    unsigned char *p = dense_byte(bytes, index, &shift);
    bool spans = shift > 8 - REGISTER_BITS;
    unsigned word = p[0] | (spans ? (unsigned)p[1] << 8 : 0);
    if ((word >> shift & REGISTER_MAX) >= value)
        return false;
    word = (word & ~(REGISTER_MAX << shift)) | value << shift;
    p[0] = (unsigned char)word;
    if (spans)
        p[1] = (unsigned char)(word >> 8);
    return true;
}

/* Eight registers from their six bytes, one a byte. The load takes the six and the two before: in
 * front of the first register is the header, behind the last one nothing. */
static uint64_t dense_group(const unsigned char *bytes, uint32_t group)
{
    uint64_t x = load_word(bytes + HYPERLOGLOG_HEADER_SIZE + group * REGISTER_BITS - 2) >> 16;
    x = (x & 0xffffff) | (x & UINT64_C(0xffffff000000)) << 8;
    x = (x & UINT64_C(0x00000fff00000fff)) | (x & UINT64_C(0x00fff00000fff000)) << 4;
    return (x & UINT64_C(0x003f003f003f003f)) | (x & UINT64_C(0x0fc00fc00fc00fc0)) << 2;
}

/* Writes what dense_group reads. */
static void dense_group_set(unsigned char *bytes, uint32_t group, uint64_t x)
{
    x = (x & UINT64_C(0x003f003f003f003f)) | (x >> 2 & UINT64_C(0x0fc00fc00fc00fc0));
    x = (x & UINT64_C(0x00000fff00000fff)) | (x >> 4 & UINT64_C(0x00fff00000fff000));
    x = (x & 0xffffff) | (x >> 8 & UINT64_C(0xffffff000000));
    memcpy(bytes + HYPERLOGLOG_HEADER_SIZE + group * REGISTER_BITS, &x, REGISTER_BITS);
}

/* The greater of each pair of bytes, none of which has its top bit. */
static uint64_t bytes_max(uint64_t a, uint64_t b)
{
    uint64_t not_below = ((a | EVERY_TOP_BIT) - b) & EVERY_TOP_BIT;
    uint64_t mask = (not_below >> 7) * 0xff;
    return (a & mask) | (b & ~mask);
}

/* ---- Sparse runs ---- */

static bool read_run(const unsigned char *p, const unsigned char *end, struct hyperloglog_run *run)
{
    if (p >= end)
        return false;
    *run = (struct hyperloglog_run){.size = 1};
    if (*p & RUN_VALUE) {
        run->value = (uint8_t)((*p >> 2 & 31) + 1);
        run->length = (*p & 3u) + 1;
    } else if (*p & RUN_WIDE) {
        if (end - p < 2)
            return false;
        run->wide = true;
        run->size = 2;
        run->length = ((*p & 63u) << 8 | p[1]) + 1;
    } else {
        run->length = *p + 1u;
    }
    return true;
}

bool hyperloglog_run_at(struct slice bytes, size_t at, struct hyperloglog_run *run)
{
    const unsigned char *p = (const unsigned char *)bytes.data;
    return read_run(p + at, p + bytes.size, run);
}

static unsigned char value_run(unsigned value, uint32_t length)
{
    return (unsigned char)(RUN_VALUE | (value - 1) << 2 | (length - 1));
}

/* Writes a run of `length` registers (none: nothing); returns where it ends. */
static unsigned char *write_run(unsigned char *to, unsigned value, uint32_t length)
{
    if (length == 0)
        return to;
    if (value) {
        *to++ = value_run(value, length);
    } else if (length <= ZERO_LENGTH_MAX) {
        *to++ = (unsigned char)(length - 1);
    } else {
        *to++ = (unsigned char)(RUN_WIDE | (length - 1) >> 8);
        *to++ = (unsigned char)(length - 1);
    }
    return to;
}

/* Calls for each run of a sparse sketch; false where they do not cover the registers exactly. */
static inline __attribute__((always_inline)) bool
each_run(struct slice bytes,
         void (*visit)(void *context, uint32_t first, unsigned value, uint32_t length),
         void *context)
{
    const unsigned char *p = (const unsigned char *)bytes.data + HYPERLOGLOG_HEADER_SIZE;
    const unsigned char *end = (const unsigned char *)bytes.data + bytes.size;
    uint32_t first = 0;
    struct hyperloglog_run run;
    for (; read_run(p, end, &run); p += run.size) {
        if (run.length > HYPERLOGLOG_REGISTERS - first)
            return false;
        visit(context, first, run.value, run.length);
        first += run.length;
    }
    return p == end && first == HYPERLOGLOG_REGISTERS;
}

/* How many registers eight runs of one byte cover; 0 where a byte may be of a wide run. */
static uint32_t group_length(uint64_t runs)
{
    uint64_t values = (runs & EVERY_TOP_BIT) >> 7;
    if (runs & ~(values << 6) & EVERY_BYTE << 6)
        return 0;
    /* Of the bits of a length, those of a value keep two. */
    uint64_t lengths = runs & (EVERY_BYTE * 0x3f ^ values * 0x3c);
    uint64_t pairs = (lengths & UINT64_C(0x00ff00ff00ff00ff)) +
                     (lengths >> 8 & UINT64_C(0x00ff00ff00ff00ff));
    return (uint32_t)(pairs * UINT64_C(0x0001000100010001) >> 48) + GROUP;
}

/* A register's run in a sparse sketch. */
struct found_run {
    unsigned char *at;
    unsigned char *before; /* the run before it; of the first run, itself */
    uint32_t first;        /* its first register */
    struct hyperloglog_run run;
};

/* The run that covers a register; false where there is none. Most steps take eight runs. */
static bool find_run(const struct hyperloglog *h, uint32_t index, struct found_run *f)
{
    unsigned char *p = h->bytes + HYPERLOGLOG_HEADER_SIZE;
    unsigned char *end = h->bytes + h->size;
    f->before = p;
    f->first = 0;
    for (;;) {
        while (end - p > GROUP) {
            uint32_t length = group_length(load_word(p));
            if (length == 0 || f->first + length > index)
                break;
            f->first += length;
            p += GROUP;
            f->before = p - 1;
        }
        /* The group has the run, or a wide one. */
        do {
            if (!read_run(p, end, &f->run))
                return false;
            f->at = p;
            if (index - f->first < f->run.length)
                return true;
            f->first += f->run.length;
            f->before = p;
            p += f->run.size;
        } while (!f->run.wide);
    }
}

/* The register in a run of its own, with what is left of the run on both sides. Returns the bytes
 * written. */
static size_t split_run(const struct found_run *f, uint32_t index, unsigned value,
                        unsigned char to[SPLIT_SIZE_MAX])
{
    unsigned char *end = write_run(to, f->run.value, index - f->first);
    end = write_run(end, value, 1);
    end = write_run(end, f->run.value, f->first + f->run.length - 1 - index);
    return (size_t)(end - to);
}

static void resize(struct hyperloglog *h, size_t size)
{
    h->bytes = h->resize(h->owner, size);
    h->size = size;
}

/* Joins neighbouring runs of the same value, near a change, from `at` on. Five steps, as Redis
 * takes them: a run that is left or joined to the next one. */
static void join_runs(struct hyperloglog *h, size_t at)
{
    size_t size = h->size;
    unsigned char *p = h->bytes + at, *end = h->bytes + size;
    struct hyperloglog_run run, next;
    for (int steps = 0; steps < 5 && read_run(p, end, &run); steps++) {
        bool joins = run.value && read_run(p + 1, end, &next) && next.value == run.value &&
                     run.length + next.length <= VALUE_LENGTH_MAX;
        if (!joins) {
            p += run.size;
            continue;
        }
        *p = value_run(run.value, run.length + next.length);
        memmove(p + 1, p + 2, (size_t)(end - p) - 2);
        end--;
    }
    size_t joined = (size_t)(end - h->bytes);
    if (joined != size)
        resize(h, joined);
}

static enum hyperloglog_result raise_register(struct hyperloglog *h, uint32_t index,
                                              unsigned value);

static enum hyperloglog_result sparse_raise(struct hyperloglog *h, uint32_t index, unsigned value)
{
    struct found_run f;
    bool fits = value <= VALUE_MAX;
    unsigned char split[SPLIT_SIZE_MAX];
    size_t split_size = 0;
    if (fits) {
        if (!find_run(h, index, &f))
            return HYPERLOGLOG_CORRUPT;
        if (f.run.value >= value)
            return HYPERLOGLOG_SAME;
        split_size = split_run(&f, index, value, split);
        fits = split_size <= f.run.size || h->size + split_size - f.run.size <= h->sparse_max;
    }
    if (!fits) {
        enum hyperloglog_result done = hyperloglog_densify(h);
        return done == HYPERLOGLOG_CORRUPT ? done : raise_register(h, index, value);
    }

    size_t at = (size_t)(f.at - h->bytes), before = (size_t)(f.before - h->bytes);
    size_t rest = h->size - at - f.run.size, size = at + split_size + rest;
    if (size > h->size)
        resize(h, size);
    memmove(h->bytes + at + split_size, h->bytes + at + f.run.size, rest);
    memcpy(h->bytes + at, split, split_size);
    if (size < h->size)
        resize(h, size);
    join_runs(h, before);
    return HYPERLOGLOG_CHANGED;
}

/* ---- Changing ---- */

bool hyperloglog_is(struct slice bytes)
{
    if (bytes.size < HYPERLOGLOG_HEADER_SIZE || memcmp(bytes.data, "HYLL", 4) != 0)
        return false;
    return bytes.data[ENCODING_AT] == SPARSE ||
           (bytes.data[ENCODING_AT] == DENSE && bytes.size == HYPERLOGLOG_DENSE_SIZE);
}

bool hyperloglog_is_dense(struct slice bytes)
{
    return bytes.data[ENCODING_AT] == DENSE;
}

void hyperloglog_clear(unsigned char *bytes)
{
    memset(bytes, 0, HYPERLOGLOG_HEADER_SIZE);
    memcpy(bytes, "HYLL", 4);
    bytes[ENCODING_AT] = SPARSE;
    write_run(bytes + HYPERLOGLOG_HEADER_SIZE, 0, HYPERLOGLOG_REGISTERS);
}

static enum hyperloglog_result raise_register(struct hyperloglog *h, uint32_t index,
                                              unsigned value)
{
    if (h->bytes[ENCODING_AT] == SPARSE)
        return sparse_raise(h, index, value);
    return dense_raise(h->bytes, index, value) ? HYPERLOGLOG_CHANGED : HYPERLOGLOG_SAME;
}

enum hyperloglog_result hyperloglog_add(struct hyperloglog *h, struct slice element)
{
    uint64_t hash = hash_element(element);
    uint32_t index = hash & (HYPERLOGLOG_REGISTERS - 1);
    /* The bit set above the others ends a run that takes all of them. */
    uint64_t rest = hash >> INDEX_BITS | UINT64_C(1) << RANK_BITS;
    return raise_register(h, index, (unsigned)__builtin_ctzll(rest) + 1);
}

static enum hyperloglog_result dense_raise_all(unsigned char *bytes,
                                               const struct hyperloglog_registers *r)
{
    enum hyperloglog_result result = HYPERLOGLOG_SAME;
    for (uint32_t i = 0; i < HYPERLOGLOG_REGISTERS / GROUP; i++) {
        uint64_t now = dense_group(bytes, i), raised = bytes_max(now, load_word(r->at + i * GROUP));
        if (raised == now)
            continue;
        dense_group_set(bytes, i, raised);
        result = HYPERLOGLOG_CHANGED;
    }
    return result;
}

enum hyperloglog_result hyperloglog_raise(struct hyperloglog *h,
                                          const struct hyperloglog_registers *r)
{
    if (h->bytes[ENCODING_AT] == DENSE)
        return dense_raise_all(h->bytes, r);
    struct hyperloglog_registers now = {.at = {0}};
    if (!hyperloglog_merge(&now, (struct slice){(const char *)h->bytes, h->size}))
        return HYPERLOGLOG_CORRUPT;
    bool changed = false;
    for (uint32_t i = 0; i < HYPERLOGLOG_REGISTERS; i++)
        if (r->at[i] > now.at[i])
            changed |= raise_register(h, i, r->at[i]) == HYPERLOGLOG_CHANGED;
    return changed ? HYPERLOGLOG_CHANGED : HYPERLOGLOG_SAME;
}

enum hyperloglog_result hyperloglog_densify(struct hyperloglog *h)
{
    struct slice bytes = {(const char *)h->bytes, h->size};
    if (hyperloglog_is_dense(bytes))
        return HYPERLOGLOG_SAME;
    struct hyperloglog_registers r = {.at = {0}};
    if (!hyperloglog_merge(&r, bytes))
        return HYPERLOGLOG_CORRUPT;
    resize(h, HYPERLOGLOG_DENSE_SIZE);
    h->bytes[ENCODING_AT] = DENSE;
    for (uint32_t i = 0; i < HYPERLOGLOG_REGISTERS / GROUP; i++)
        dense_group_set(h->bytes, i, load_word(r.at + i * GROUP));
    return HYPERLOGLOG_CHANGED;
}

/* ---- The cached estimate ---- */

bool hyperloglog_cached(struct slice bytes, uint64_t *count)
{
    memcpy(count, bytes.data + CACHED_AT, CACHED_SIZE);
    return !(bytes.data[CACHED_AT + CACHED_SIZE - 1] & CACHED_STALE);
}

void hyperloglog_cache(unsigned char *bytes, uint64_t count)
{
    memcpy(bytes + CACHED_AT, &count, CACHED_SIZE);
}

void hyperloglog_forget(unsigned char *bytes)
{
    bytes[CACHED_AT + CACHED_SIZE - 1] |= CACHED_STALE;
}

/* ---- Estimating ---- */

/* Ertl's sigma (equation 13): x + the sum of x^(2^k) * 2^(k-1), k from 1, until it stands still. */
static double sigma(double x)
{
    if (x == 1)
        return INFINITY;
    double factor = 1, sum = x, before;
    do {
        x *= x;
        before = sum;
        sum += x * factor;
        factor += factor;
    } while (sum != before);
    return sum;
}

/* Ertl's tau (equation 16): (1 - x - the sum of (1 - x^(2^-k))^2 * 2^-k, k from 1) / 3. */
static double tau(double x)
{
    if (x == 0 || x == 1)
        return 0;
    double factor = 1, sum = 1 - x, before;
    do {
        x = sqrt(x);
        before = sum;
        factor *= 0.5;
        sum -= (1 - x) * (1 - x) * factor;
    } while (sum != before);
    return sum / 3;
}

/* The estimate for so many registers of each value (Ertl, algorithm 6). */
static uint64_t estimate(const uint32_t histogram[HISTOGRAM_SIZE])
{
    const double alpha = 0.721347520444481703680; /* 1 / (2 ln 2) */
    const double m = HYPERLOGLOG_REGISTERS;
    double z = m * tau((m - histogram[RANK_BITS + 1]) / m);
    for (unsigned i = RANK_BITS; i >= 1; i--)
        z = (z + histogram[i]) * 0.5;
    z += m * sigma(histogram[0] / m);
    double count = alpha * m * m / z;
    /* Registers beyond what a hash can give may leave nothing to divide by. */
    return count < (double)INT64_MAX ? (uint64_t)llround(count) : INT64_MAX;
}

static void count_run(void *context, uint32_t first, unsigned value, uint32_t length)
{
    uint32_t *histogram = context;
    histogram[value] += length;
}

/* A register often has its neighbour's value: two histograms keep one count from waiting for the
 * other. */
static void count_group(uint32_t histograms[2][HISTOGRAM_SIZE], uint64_t group)
{
    for (unsigned i = 0; i < GROUP; i++)
        histograms[i & 1][group >> (8 * i) & REGISTER_MAX]++;
}

static uint64_t estimate_both(uint32_t histograms[2][HISTOGRAM_SIZE])
{
    for (unsigned i = 0; i < HISTOGRAM_SIZE; i++)
        histograms[0][i] += histograms[1][i];
    return estimate(histograms[0]);
}

bool hyperloglog_count(struct slice bytes, uint64_t *count)
{
    uint32_t histograms[2][HISTOGRAM_SIZE] = {{0}};
    if (!hyperloglog_is_dense(bytes)) {
        if (!each_run(bytes, count_run, histograms[0]))
            return false;
    } else {
        const unsigned char *p = (const unsigned char *)bytes.data;
        for (uint32_t i = 0; i < HYPERLOGLOG_REGISTERS / GROUP; i++)
            count_group(histograms, dense_group(p, i));
    }
    *count = estimate_both(histograms);
    return true;
}

uint64_t hyperloglog_count_registers(const struct hyperloglog_registers *r)
{
    uint32_t histograms[2][HISTOGRAM_SIZE] = {{0}};
    for (uint32_t i = 0; i < HYPERLOGLOG_REGISTERS; i += GROUP)
        count_group(histograms, load_word(r->at + i));
    return estimate_both(histograms);
}

static void raise_run(void *context, uint32_t first, unsigned value, uint32_t length)
{
    struct hyperloglog_registers *r = context;
    for (uint32_t i = first; value && i < first + length; i++)
        if (r->at[i] < value)
            r->at[i] = (uint8_t)value;
}

bool hyperloglog_merge(struct hyperloglog_registers *r, struct slice bytes)
{
    if (!hyperloglog_is_dense(bytes))
        return each_run(bytes, raise_run, r);
    const unsigned char *p = (const unsigned char *)bytes.data;
    for (uint32_t i = 0; i < HYPERLOGLOG_REGISTERS / GROUP; i++) {
        uint8_t *at = r->at + i * GROUP;
        uint64_t merged = bytes_max(load_word(at), dense_group(p, i));
        memcpy(at, &merged, sizeof(merged));
    }
    return true;
}
