/* HyperLogLog sketches: the layout, adding in both encodings, estimates, and bytes that lie. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "proto/buf.h"
#include "proto/mem.h"
#include "shard/type/hyperloglog.h"

static unsigned char *resize(void *owner, size_t size)
{
    unsigned char **bytes = owner;
    return *bytes = mem_realloc(*bytes, size);
}

/* A sketch that owns its bytes. `bytes` outlives it. */
static struct hyperloglog sketch_of(unsigned char **bytes, const void *from, size_t size,
                                    size_t sparse_max)
{
    *bytes = mem_alloc(size);
    memcpy(*bytes, from, size);
    return (struct hyperloglog){*bytes, size, sparse_max, resize, bytes};
}

static struct hyperloglog empty_sketch(unsigned char **bytes, size_t sparse_max)
{
    unsigned char empty[HYPERLOGLOG_EMPTY_SIZE];
    hyperloglog_clear(empty);
    return sketch_of(bytes, empty, sizeof(empty), sparse_max);
}

static struct slice bytes_of(const struct hyperloglog *h)
{
    return (struct slice){(const char *)h->bytes, h->size};
}

static uint64_t count_of(const struct hyperloglog *h)
{
    uint64_t count;
    cr_assert(hyperloglog_count(bytes_of(h), &count));
    return count;
}

/* The runs, as PFDEBUG DECODE shows them. */
static struct buf decode(const struct hyperloglog *h)
{
    struct buf text;
    buf_init(&text);
    struct hyperloglog_run run;
    size_t at = HYPERLOGLOG_HEADER_SIZE;
    for (; hyperloglog_run_at(bytes_of(h), at, &run); at += run.size)
        buf_printf(&text, "%c:%u,%u ", run.value ? 'v' : run.wide ? 'Z' : 'z', run.value,
                   run.length);
    cr_assert_eq(at, h->size);
    buf_append(&text, "", 1);
    return text;
}

static void expect_runs(const struct hyperloglog *h, const char *runs)
{
    struct buf text = decode(h);
    cr_expect_str_eq(text.data, runs);
    buf_deinit(&text);
}

static void add_text(struct hyperloglog *h, const char *text)
{
    hyperloglog_add(h, slice_of(text));
}

static enum hyperloglog_result raise_one(struct hyperloglog *h, uint32_t index, uint8_t value)
{
    static struct hyperloglog_registers r;
    memset(&r, 0, sizeof(r));
    r.at[index] = value;
    return hyperloglog_raise(h, &r);
}

Test(hyperloglog, elements_choose_the_registers_that_they_choose_in_redis)
{
    unsigned char *bytes;
    struct hyperloglog h = empty_sketch(&bytes, 3000);
    for (char name[] = "a"; *name <= 'g'; ++*name)
        add_text(&h, name);
    expect_runs(&h, "Z:0,1646 v:1,1 Z:0,5645 v:1,1 Z:0,1085 v:2,1 z:0,57 v:1,1 Z:0,4274 v:2,1 "
                    "Z:0,2445 v:1,1 Z:0,622 v:1,1 Z:0,603 ");
    cr_expect_eq(count_of(&h), 7);
    mem_free(bytes);

    h = empty_sketch(&bytes, 3000);
    add_text(&h, "");
    add_text(&h, "12345678");
    add_text(&h, "123456789");
    add_text(&h, "hello world, hello world");
    expect_runs(&h, "Z:0,5938 v:2,1 Z:0,3274 v:1,1 Z:0,79 v:2,1 Z:0,1285 v:3,1 Z:0,5804 ");
    cr_expect_eq(count_of(&h), 4);
    mem_free(bytes);
}

Test(hyperloglog, an_empty_one_is_18_bytes_and_counts_nothing)
{
    unsigned char *bytes;
    struct hyperloglog h = empty_sketch(&bytes, 3000);
    cr_expect_eq(h.size, 18);
    cr_expect_eq(memcmp(bytes, "HYLL\1\0\0\0\0\0\0\0\0\0\0\0\x7f\xff", 18), 0);
    cr_expect_eq(count_of(&h), 0);
    uint64_t count = 1;
    cr_expect(hyperloglog_cached(bytes_of(&h), &count));
    cr_expect_eq(count, 0);
    hyperloglog_forget(bytes);
    cr_expect_not(hyperloglog_cached(bytes_of(&h), &count));
    hyperloglog_cache(bytes, 0x1122334455);
    cr_expect(hyperloglog_cached(bytes_of(&h), &count));
    cr_expect_eq(count, 0x1122334455);
    mem_free(bytes);
}

Test(hyperloglog, runs_are_split_and_joined)
{
    unsigned char *bytes;
    struct hyperloglog h = empty_sketch(&bytes, 3000);
    cr_expect_eq(raise_one(&h, 100, 5), HYPERLOGLOG_CHANGED);
    cr_expect_eq(raise_one(&h, 100, 4), HYPERLOGLOG_SAME);
    expect_runs(&h, "Z:0,100 v:5,1 Z:0,16283 ");
    raise_one(&h, 102, 5);
    expect_runs(&h, "Z:0,100 v:5,1 z:0,1 v:5,1 Z:0,16281 ");
    raise_one(&h, 101, 5);
    expect_runs(&h, "Z:0,100 v:5,3 Z:0,16281 ");
    raise_one(&h, 103, 5);
    raise_one(&h, 104, 5);
    expect_runs(&h, "Z:0,100 v:5,4 v:5,1 Z:0,16279 ");
    raise_one(&h, 101, 32);
    expect_runs(&h, "Z:0,100 v:5,1 v:32,1 v:5,3 Z:0,16279 ");
    raise_one(&h, 0, 1);
    raise_one(&h, 16383, 1);
    raise_one(&h, 65, 2);
    expect_runs(&h, "v:1,1 z:0,64 v:2,1 z:0,34 v:5,1 v:32,1 v:5,3 Z:0,16278 v:1,1 ");
    mem_free(bytes);
}

Test(hyperloglog, a_sparse_one_becomes_dense_where_it_must)
{
    unsigned char *bytes;
    struct hyperloglog h = empty_sketch(&bytes, 3000);
    add_text(&h, "a");
    uint64_t count = count_of(&h);
    cr_expect_eq(raise_one(&h, 5, 33), HYPERLOGLOG_CHANGED);
    cr_expect(hyperloglog_is_dense(bytes_of(&h)));
    cr_expect_eq(h.size, 12304);
    cr_expect_geq(count_of(&h), count);
    cr_expect_eq(hyperloglog_densify(&h), HYPERLOGLOG_SAME);
    mem_free(bytes);

    /* A run in the midst of zeros takes three bytes more. */
    for (size_t limit = 18; limit <= 22; limit++) {
        h = empty_sketch(&bytes, limit);
        add_text(&h, "a");
        cr_expect_eq(hyperloglog_is_dense(bytes_of(&h)), limit < 21);
        mem_free(bytes);
    }
}

/* Random registers raised to random values, against an array. */
static void run_model(unsigned seed, size_t sparse_max, uint32_t indexes, int steps)
{
    static struct hyperloglog_registers model, now;
    memset(&model, 0, sizeof(model));
    unsigned char *bytes;
    struct hyperloglog h = empty_sketch(&bytes, sparse_max);
    for (int i = 0; i < steps; i++) {
        uint32_t index = (uint32_t)rand_r(&seed) % indexes;
        uint8_t value = (uint8_t)(1 + __builtin_ctz((unsigned)rand_r(&seed) | 1u << 30));
        bool raises = value > model.at[index];
        cr_assert_eq(raise_one(&h, index, value),
                     raises ? HYPERLOGLOG_CHANGED : HYPERLOGLOG_SAME);
        if (raises)
            model.at[index] = value;
        cr_assert(h.bytes == bytes && hyperloglog_is(bytes_of(&h)));
        memset(&now, 0, sizeof(now));
        cr_assert(hyperloglog_merge(&now, bytes_of(&h)));
        cr_assert_eq(memcmp(&now, &model, sizeof(now)), 0);
    }
    cr_expect_eq(count_of(&h), hyperloglog_count_registers(&model));
    mem_free(bytes);
}

Test(hyperloglog, registers_are_those_of_a_model)
{
    run_model(1, 3000, HYPERLOGLOG_REGISTERS, 6000);
    run_model(2, 3000, 64, 2000);
    run_model(3, 30000, 200, 3000);
    run_model(4, 0, HYPERLOGLOG_REGISTERS, 3000);
}

Test(hyperloglog, estimates_are_within_a_few_standard_errors)
{
    unsigned char *sparse_bytes, *dense_bytes;
    struct hyperloglog sparse = empty_sketch(&sparse_bytes, 3000);
    struct hyperloglog dense = empty_sketch(&dense_bytes, 0);
    uint64_t checkpoint = 10;
    for (uint64_t i = 1; i <= 100000; i++) {
        struct slice element = {(const char *)&i, sizeof(i)};
        cr_assert_eq(hyperloglog_add(&sparse, element), hyperloglog_add(&dense, element));
        if (i != checkpoint)
            continue;
        checkpoint *= 10;
        cr_expect_eq(hyperloglog_is_dense(bytes_of(&sparse)), i > 1000);
        cr_expect_eq(count_of(&sparse), count_of(&dense));
        double off = fabs((double)count_of(&dense) - (double)i);
        cr_expect_leq(off, ceil(1.04 / 128 * 4 * (double)i), "%.0f", off);
    }
    mem_free(sparse_bytes);
    mem_free(dense_bytes);
}

Test(hyperloglog, headers_that_are_none_are_refused)
{
    unsigned char *bytes;
    struct hyperloglog h = empty_sketch(&bytes, 3000);
    cr_expect(hyperloglog_is(bytes_of(&h)));
    cr_expect_not(hyperloglog_is((struct slice){(const char *)bytes, 15}));
    cr_expect(hyperloglog_is((struct slice){(const char *)bytes, 16}));
    cr_expect_not(hyperloglog_is((struct slice){NULL, 0}));
    bytes[4] = 0;
    cr_expect_not(hyperloglog_is(bytes_of(&h)), "dense, but of the wrong size");
    bytes[4] = 2;
    cr_expect_not(hyperloglog_is(bytes_of(&h)));
    bytes[4] = 1;
    bytes[3] = 'l';
    cr_expect_not(hyperloglog_is(bytes_of(&h)));
    mem_free(bytes);
}

static void expect_corrupt(const char *runs, size_t size)
{
    char text[64] = "HYLL\1";
    memcpy(text + HYPERLOGLOG_HEADER_SIZE, runs, size);
    unsigned char *bytes;
    struct hyperloglog h = sketch_of(&bytes, text, HYPERLOGLOG_HEADER_SIZE + size, 3000);
    static struct hyperloglog_registers r;
    uint64_t count;
    cr_expect_not(hyperloglog_count(bytes_of(&h), &count));
    cr_expect_not(hyperloglog_merge(&r, bytes_of(&h)));
    cr_expect_eq(hyperloglog_raise(&h, &r), HYPERLOGLOG_CORRUPT);
    cr_expect_eq(hyperloglog_densify(&h), HYPERLOGLOG_CORRUPT);
    cr_expect_eq(h.size, HYPERLOGLOG_HEADER_SIZE + size);
    mem_free(bytes);
}

Test(hyperloglog, runs_that_do_not_fit_the_registers_are_corrupt)
{
    expect_corrupt("", 0);
    expect_corrupt("\x7f", 1);
    expect_corrupt("\x7f\xfe", 2);
    expect_corrupt("\x7f\xff\x00", 3);
    expect_corrupt("\x7f\xff\x80", 3);
    expect_corrupt("\x7f\xff\x7f", 3);
    expect_corrupt("\x7f\xfe\x81", 3);
    expect_corrupt("\x7f\xfe\x40", 3);
}

Test(hyperloglog, dense_registers_beyond_all_hashes_are_counted_somehow)
{
    unsigned char bytes[HYPERLOGLOG_DENSE_SIZE] = "HYLL";
    memset(bytes + HYPERLOGLOG_HEADER_SIZE, 0xff, sizeof(bytes) - HYPERLOGLOG_HEADER_SIZE);
    uint64_t count;
    cr_expect(hyperloglog_count((struct slice){(const char *)bytes, sizeof(bytes)}, &count));
    cr_expect_eq(count, INT64_MAX);
}
