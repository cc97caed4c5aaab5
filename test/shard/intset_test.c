/* Intsets against a model: a sorted array of the integers that should be there. */
#include <criterion/criterion.h>
#include <string.h>

#include "proto/mem.h"
#include "shard/type/intset.h"

#define MODEL_MAX 700

struct model {
    int64_t values[MODEL_MAX];
    uint32_t count;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Of the given width, from few enough values that many are met again. */
static int64_t random_value(uint64_t *state, unsigned width)
{
    uint64_t bits = next_random(state);
    int64_t value = (int64_t)(bits % 600) - 300;
    if (width == 8)
        return value * 30000000000000000;
    return width == 4 ? value * 7000000 : value * 100;
}

static uint32_t model_index(const struct model *m, int64_t value)
{
    uint32_t i = 0;
    while (i < m->count && m->values[i] < value)
        i++;
    return i;
}

static bool model_has(const struct model *m, int64_t value)
{
    uint32_t i = model_index(m, value);
    return i < m->count && m->values[i] == value;
}

static void model_add(struct model *m, int64_t value)
{
    uint32_t i = model_index(m, value);
    memmove(&m->values[i + 1], &m->values[i], (m->count - i) * sizeof(value));
    m->values[i] = value;
    m->count++;
}

static void model_remove(struct model *m, int64_t value)
{
    uint32_t i = model_index(m, value);
    m->count--;
    memmove(&m->values[i], &m->values[i + 1], (m->count - i) * sizeof(value));
}

static void compare(const struct intset *s, const struct model *m)
{
    intset_check(s);
    cr_assert_eq(intset_count(s), m->count);
    for (uint32_t i = 0; i < m->count; i++)
        cr_assert_eq(intset_get(s, i), m->values[i]);
}

/* One random addition, removal or question. */
static void step(struct intset **s, struct model *m, uint64_t *state, unsigned width, bool grow)
{
    int64_t value = random_value(state, width);
    bool present = model_has(m, value);
    cr_assert_eq(intset_has(*s, value), present);
    if (next_random(state) % 8 < (grow ? 6 : 2)) {
        if (m->count == MODEL_MAX - 1)
            return;
        cr_assert_eq(intset_add(s, value), !present);
        if (!present)
            model_add(m, value);
    } else if (next_random(state) % 4 == 0 && m->count > 0) {
        uint32_t index = (uint32_t)(next_random(state) % m->count);
        model_remove(m, intset_get(*s, index));
        intset_remove_at(s, index);
    } else {
        cr_assert_eq(intset_remove(s, value), present);
        if (present)
            model_remove(m, value);
    }
}

Test(intset, holds_what_a_sorted_array_holds)
{
    static const unsigned widths[] = {2, 2, 4, 2, 8, 4, 2};
    uint64_t state = 1;
    for (int run = 0; run < 4; run++) {
        struct model m = {.count = 0};
        struct intset *s = intset_create();
        for (int i = 0; i < 7000; i++) {
            step(&s, &m, &state, widths[i / 1000], i / 500 % 2 == 0);
            compare(s, &m);
        }
        struct intset *copy = intset_copy(s);
        mem_free(s);
        compare(copy, &m);
        mem_free(copy);
    }
}

Test(intset, takes_the_width_of_its_widest)
{
    struct intset *s = intset_create();
    cr_expect_eq(intset_size(s), 8);
    intset_add(&s, INT16_MAX);
    intset_add(&s, INT16_MIN);
    cr_expect_eq(intset_size(s), 8 + 2 * 2);
    intset_add(&s, INT16_MAX + 1);
    cr_expect_eq(intset_size(s), 8 + 3 * 4);
    intset_add(&s, INT16_MIN - 1);
    intset_add(&s, INT32_MIN);
    intset_add(&s, INT32_MAX);
    cr_expect_eq(intset_size(s), 8 + 6 * 4);
    intset_add(&s, (int64_t)INT32_MIN - 1);
    cr_expect_eq(intset_size(s), 8 + 7 * 8);
    intset_add(&s, INT64_MIN);
    intset_add(&s, INT64_MAX);
    cr_expect_eq(intset_get(s, 0), INT64_MIN);
    cr_expect_eq(intset_get(s, 8), INT64_MAX);
    cr_expect(intset_has(s, (int64_t)INT32_MIN - 1));
    cr_expect_not(intset_has(s, 0));
    cr_expect_not(intset_add(&s, INT16_MIN));
    cr_expect(intset_remove(&s, INT64_MIN));
    cr_expect_not(intset_remove(&s, INT64_MIN));
    cr_expect_eq(intset_size(s), 8 + 8 * 8);
    intset_check(s);
    mem_free(s);
}

Test(intset, widens_around_members_on_both_sides)
{
    for (int side = 0; side < 2; side++) {
        struct intset *s = intset_create();
        for (int64_t i = -50; i < 50; i++)
            intset_add(&s, i);
        intset_add(&s, side ? INT64_MAX : INT64_MIN);
        intset_check(s);
        cr_expect_eq(intset_get(s, side ? 100 : 0), side ? INT64_MAX : INT64_MIN);
        for (uint32_t i = 0; i < 100; i++)
            cr_expect_eq(intset_get(s, i + !side), (int64_t)i - 50);
        mem_free(s);
    }
}

/* The layout of the RDB format, written out. */
Test(intset, bytes_from_outside_are_checked)
{
    unsigned char good[] = {2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 5, 0};
    cr_expect(intset_valid(good, sizeof(good)));
    cr_expect_not(intset_valid(good, sizeof(good) - 1));
    for (size_t size = 0; size < 8; size++)
        cr_expect_not(intset_valid(good, size));
    struct intset *s = intset_create();
    cr_expect(intset_valid(s, 8));
    intset_add(&s, 5);
    intset_add(&s, -1);
    cr_expect_arr_eq(s, good, sizeof(good));
    mem_free(s);

    unsigned char bad[sizeof(good)];
    static const struct {
        size_t at;
        unsigned char byte;
    } changes[] = {{0, 3}, {0, 0}, {0, 4}, {1, 1}, {4, 1}, {4, 3}, {7, 128}, {9, 0x7f}, {11, 0x80}};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(bad, good, sizeof(good));
        bad[changes[i].at] = changes[i].byte;
        cr_expect_not(intset_valid(bad, sizeof(bad)), "change %zu", i);
    }
    memcpy(bad, good, sizeof(good));
    memcpy(bad + 8, bad + 10, 2);
    cr_expect_not(intset_valid(bad, sizeof(bad)));
}
