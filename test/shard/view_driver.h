/* What the tests of views share: random numbers, RDB's numbers and strings read back, and the
 * course of a view: opened, written in steps of random size with changes between them, perhaps
 * of a collection that is dropped on the way, perhaps given up. */
#pragma once

#include <criterion/criterion.h>
#include <liblzf/lzf.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/type/view.h"

struct driver {
    struct keyspace k;
    struct value v;
    uint64_t state; /* of the random sequence */
    int64_t now_ms;
    /* One change, or some. `trend` above 0: rather adds, below: rather removes. */
    void (*change)(struct driver *d, int trend);
    /* That the output is the collection that this is a copy of. */
    void (*compare)(struct driver *d, const struct value *was, struct slice output);
    void (*check)(struct driver *d);
};

static uint64_t next_random(void *context)
{
    uint64_t x = *(uint64_t *)context += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t below(struct driver *d, uint64_t bound)
{
    return next_random(&d->state) % bound;
}

static void driver_init(struct driver *d, uint64_t seed)
{
    unsigned char secret[HASH_SECRET_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 7 + seed);
    keyspace_init(&d->k, 1, 1, secret);
    d->state = seed * 1000003;
    d->now_ms = 100000;
}

/* A text that depends on nothing but the number: integers, short and long ones. */
static struct slice text_of(uint64_t number, char text[1200])
{
    size_t size = (size_t)sprintf(text, number % 4 == 0 ? "%lu" : "text-%lu-", number);
    if (number % 4 == 2 && number % 32 < 16)
        for (size_t target = number % 1150; size < target; size++)
            text[size] = (char)(number % 3 ? 'a' + number % 7 : number * size * size >> 3);
    return (struct slice){text, size};
}

/* --- Reading --- */

struct input {
    const unsigned char *at, *end;
};

static uint64_t read_bytes(struct input *in, unsigned count, bool big_endian)
{
    uint64_t n = 0;
    cr_assert(in->end - in->at >= (ptrdiff_t)count);
    for (unsigned i = 0; i < count; i++)
        n |= (uint64_t)in->at[i] << 8 * (big_endian ? count - 1 - i : i);
    in->at += count;
    return n;
}

static uint64_t read_length(struct input *in)
{
    uint64_t first = read_bytes(in, 1, false);
    switch (first >> 6) {
    case 0:
        return first;
    case 1:
        return (first & 63) << 8 | read_bytes(in, 1, false);
    default:
        cr_assert(first == 0x80 || first == 0x81);
        return read_bytes(in, first == 0x80 ? 4 : 8, true);
    }
}

/* The caller frees its data. */
static struct slice read_string(struct input *in)
{
    char *to;
    size_t size;
    if (*in->at >= 0xc0 && *in->at <= 0xc2) {
        unsigned width = 1u << (*in->at++ - 0xc0);
        int64_t integer = (int64_t)(read_bytes(in, width, false) << (64 - 8 * width));
        to = mem_alloc(32);
        size = (size_t)sprintf(to, "%ld", (long)(integer >> (64 - 8 * width)));
    } else if (*in->at == 0xc3) {
        in->at++;
        uint64_t packed = read_length(in);
        size = read_length(in);
        to = mem_alloc(size);
        cr_assert(lzf_decompress(in->at, (unsigned)packed, to, (unsigned)size) == size);
        in->at += packed;
    } else {
        size = read_length(in);
        cr_assert((size_t)(in->end - in->at) >= size);
        to = mem_alloc(size + 1);
        memcpy(to, in->at, size);
        in->at += size;
    }
    return (struct slice){to, size};
}

static void expect_string(struct input *in, struct slice expected)
{
    struct slice s = read_string(in);
    cr_assert(s.size == expected.size && memcmp(s.data, expected.data, s.size) == 0);
    mem_free((void *)s.data);
}

/* --- A view's course --- */

static void drop(struct driver *d, struct view *w)
{
    if (view_of(&d->v)) {
        cr_assert(view_of(&d->v) == w);
        view_adopt(w, &d->v);
    } else {
        value_free(&d->v);
    }
    d->v = value_ops_of(d->v.type)->create(&d->k);
}

/* Unchanged, the collection comes out as it does when it is written at once, but for the order in
 * tables. */
static void run_unchanged(struct driver *d)
{
    struct buf out = {0}, whole = {0};
    bool compress = below(d, 2);
    rdb_write_value(&whole, &d->v, compress);
    struct view *w = view_open(&d->v, compress);
    size_t budget = 1 + below(d, 5000);
    while (!view_write(w, &out, budget))
        continue;
    cr_assert(out.size == whole.size);
    if (d->v.encoding == ENC_QUICKLIST || d->v.encoding == ENC_STREAM)
        cr_assert(memcmp(out.data, whole.data, out.size) == 0);
    struct value owned;
    cr_assert(!view_close(w, &owned));
    buf_deinit(&out);
    buf_deinit(&whole);
}

/* Opens a view and writes it while the collection changes. */
static void run_view(struct driver *d)
{
    const struct value_ops *ops = value_ops_of(d->v.type);
    struct value was = ops->copy(&d->v);
    struct view *w = view_open(&d->v, below(d, 2));
    cr_assert(view_of(&d->v) == w && !view_of(&was));
    struct buf out = {0};
    size_t step_max = (size_t)1 << below(d, 16);
    uint64_t changes_max = below(d, 3) ? below(d, 40) + 1 : 1 + below(d, 400);
    int trend = (int)below(d, 3) - 1;
    bool dropped = false, given_up = below(d, 8) == 0;
    uint64_t steps = 0, steps_max = given_up ? below(d, 20) : UINT64_MAX;
    do {
        bool drops = below(d, 300) == 0;
        for (uint64_t n = below(d, changes_max); n > 0; n--)
            d->change(d, trend);
        if (drops && !dropped) {
            drop(d, w);
            dropped = true;
        }
        cr_assert(view_memory(w) > 0);
    } while (steps++ < steps_max && !view_write(w, &out, 1 + below(d, step_max)));
    if (!given_up)
        d->compare(d, &was, buf_slice(&out));
    struct value owned;
    if (view_close(w, &owned))
        value_free(&owned);
    cr_assert(!view_of(&d->v));
    d->check(d);
    value_free(&was);
    buf_deinit(&out);
}
