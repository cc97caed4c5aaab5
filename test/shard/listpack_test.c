/* Listpacks against a model (an array of texts), their bytes, and bytes from outside. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/type/listpack.h"

#define MODEL_MAX 200

struct model {
    struct slice items[MODEL_MAX]; /* each allocated */
    uint32_t count;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct slice own(struct slice value)
{
    char *data = mem_alloc(value.size);
    memcpy(data, value.data, value.size);
    return (struct slice){data, value.size};
}

static struct slice random_value(uint64_t *state)
{
    static char text[20000];
    uint64_t bits = next_random(state);
    if (bits % 2) {
        /* Integers of every width, near their bounds. */
        int64_t integer = (int64_t)(next_random(state) >> (bits >> 8) % 64);
        integer = bits & 4 ? -(integer / 2) : integer / 2;
        return (struct slice){text, number_format_integer(text, integer)};
    }
    static const size_t sizes[] = {0, 1, 5, 62, 63, 64, 125, 126, 127, 200};
    size_t size = sizes[(bits >> 8) % 10];
    if (bits % 64 == 0)
        size = 4090 + (bits >> 16) % 10;
    if (bits % 512 == 2)
        size = 16370 + (bits >> 16) % 20;
    memset(text, 'a' + (int)((bits >> 32) % 3), size);
    return (struct slice){text, size};
}

static void compare_item(const unsigned char *lp, uint32_t at, struct slice expected)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    int64_t integer, held;
    cr_assert(slice_equal(listpack_text(lp, at, scratch), expected));
    cr_assert(listpack_equal(lp, at, expected));
    bool is_integer = number_parse_integer(expected, &integer);
    cr_assert_eq(listpack_integer(lp, at, &held), is_integer);
    struct listpack_item item = listpack_get(lp, at);
    cr_assert_eq(item.text.data == NULL, is_integer);
    if (is_integer)
        cr_assert(held == integer && item.integer == integer);
}

static void compare_all(const unsigned char *lp, const struct model *m)
{
    listpack_check(lp);
    cr_assert_eq(listpack_count(lp), m->count);
    uint32_t at = listpack_first(lp), back = listpack_last(lp);
    size_t size = LISTPACK_HEADER_SIZE + 1;
    for (uint32_t i = 0; i < m->count; i++) {
        compare_item(lp, at, m->items[i]);
        cr_assert(listpack_equal(lp, back, m->items[m->count - 1 - i]));
        size += listpack_item_size(m->items[i]);
        at = listpack_next(lp, at);
        back = listpack_previous(lp, back);
    }
    cr_assert_eq(at, LISTPACK_NONE);
    cr_assert_eq(back, LISTPACK_NONE);
    cr_assert_eq(listpack_size(lp), size);
}

static void model_insert(struct model *m, uint32_t index, struct slice value)
{
    memmove(&m->items[index + 1], &m->items[index], (m->count - index) * sizeof(m->items[0]));
    m->items[index] = own(value);
    m->count++;
}

static void model_delete(struct model *m, uint32_t index, uint32_t count)
{
    for (uint32_t i = index; i < index + count; i++)
        mem_free((char *)m->items[i].data);
    m->count -= count;
    memmove(&m->items[index], &m->items[index + count],
            (m->count - index) * sizeof(m->items[0]));
}

static void insert_one(unsigned char **lp, struct model *m, uint64_t *state)
{
    struct slice value = random_value(state);
    int64_t integer;
    bool is_integer = number_parse_integer(value, &integer);
    uint32_t index = (uint32_t)(next_random(state) % (m->count + 1));
    uint32_t at = index < m->count ? listpack_seek(*lp, index) : listpack_end(*lp);
    if (is_integer && index % 2)
        at = listpack_insert_integer(lp, at, integer);
    else
        at = listpack_insert(lp, at, value);
    compare_item(*lp, at, value);
    model_insert(m, index, value);
}

static void replace_one(unsigned char **lp, struct model *m, uint64_t *state)
{
    struct slice value = random_value(state);
    uint32_t index = (uint32_t)(next_random(state) % m->count);
    int64_t integer;
    uint32_t at = listpack_seek(*lp, (int64_t)index - m->count);
    if (number_parse_integer(value, &integer) && index % 2)
        listpack_replace_integer(lp, at, integer);
    else
        listpack_replace(lp, at, value);
    model_delete(m, index, 1);
    model_insert(m, index, value);
}

static void delete_some(unsigned char **lp, struct model *m, uint64_t *state)
{
    uint32_t index = (uint32_t)(next_random(state) % m->count);
    uint32_t count = (uint32_t)(next_random(state) % 4);
    uint32_t at = listpack_delete(lp, listpack_seek(*lp, index), count);
    if (count > m->count - index)
        count = m->count - index;
    model_delete(m, index, count);
    if (index == m->count)
        cr_assert_eq(at, LISTPACK_NONE);
    else
        compare_item(*lp, at, m->items[index]);
}

static void find_one(const unsigned char *lp, const struct model *m, uint64_t *state)
{
    struct slice value = random_value(state);
    uint32_t skip = (uint32_t)(next_random(state) % 3);
    uint32_t i = 0;
    while (i < m->count && !slice_equal(m->items[i], value))
        i += 1 + skip;
    uint32_t found = listpack_find(lp, listpack_first(lp), value, skip);
    if (i >= m->count)
        cr_assert_eq(found, LISTPACK_NONE);
    else
        cr_assert_eq(found, listpack_seek(lp, i));
}

Test(listpack, agrees_with_an_array)
{
    static struct model m;
    uint64_t state = 1;
    unsigned char *lp = listpack_create(100);
    for (int step = 0; step < 6000; step++) {
        uint64_t choice = next_random(&state) % 8;
        bool grow = step / 1000 % 2 == 0;
        if (m.count == 0 || (m.count < MODEL_MAX && choice < (grow ? 4 : 2)))
            insert_one(&lp, &m, &state);
        else if (choice < 5)
            replace_one(&lp, &m, &state);
        else if (choice < 6)
            delete_some(&lp, &m, &state);
        else
            find_one(lp, &m, &state);
        compare_all(lp, &m);
    }
    unsigned char *copy = listpack_copy(lp);
    compare_all(copy, &m);
    model_delete(&m, 0, m.count);
    mem_free(copy);
    mem_free(lp);
}

Test(listpack, bytes_are_those_of_the_format)
{
    static const unsigned char expected[] = {
        57, 0, 0, 0, 10, 0,
        0x7f, 1,                            /* 127 */
        0xc0, 0x80, 2,                      /* 128 */
        0xdf, 0xff, 2,                      /* -1 */
        0xf1, 0x00, 0x10, 3,                /* 4096 */
        0xf2, 0x00, 0x80, 0x00, 4,          /* 32768 */
        0xf2, 0x00, 0x00, 0x80, 4,          /* -8388608 */
        0xf3, 0x00, 0x00, 0x80, 0x00, 5,    /* 8388608 */
        0xf4, 0, 0, 0, 0x80, 0, 0, 0, 0, 9, /* 2147483648 */
        0x85, 'h', 'e', 'l', 'l', 'o', 6,
        0x83, '0', '1', '2', 4,
        0xff,
    };
    static const int64_t integers[] = {127, 128, -1, 4096, 32768, -8388608, 8388608, 2147483648};
    unsigned char *lp = listpack_create(0);
    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++)
        listpack_append_integer(&lp, integers[i]);
    listpack_append(&lp, SLICE("hello"));
    listpack_append(&lp, SLICE("012"));
    cr_assert_eq(listpack_size(lp), sizeof(expected));
    cr_assert_arr_eq(lp, expected, sizeof(expected));
    mem_free(lp);
}

Test(listpack, back_lengths_change_size_where_redis_has_it)
{
    /* Text sizes with a five-byte (two-byte below 4096) head, and what the whole element takes. */
    static const size_t sizes[][2] = {
        {125, 128},         {126, 130},         {16377, 16384},    {16378, 16386},
        {2097145, 2097153}, {2097146, 2097155},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *text = mem_alloc_zeroed(sizes[i][0]);
        struct slice value = {text, sizes[i][0]};
        unsigned char *lp = listpack_create(0);
        listpack_append(&lp, value);
        listpack_append(&lp, SLICE("x"));
        cr_assert_eq(listpack_item_size(value), sizes[i][1]);
        cr_assert_eq(listpack_size(lp), 7 + sizes[i][1] + 3);
        listpack_check(lp);
        cr_assert_eq(listpack_previous(lp, listpack_last(lp)), LISTPACK_HEADER_SIZE);
        mem_free(lp);
        mem_free(text);
    }
}

Test(listpack, counts_beyond_what_its_header_tells)
{
    unsigned char *lp = listpack_create(0);
    for (int64_t i = 0; i < 65540; i++)
        listpack_append_integer(&lp, i);
    cr_assert_eq(listpack_count(lp), 65540);
    int64_t value;
    cr_assert(listpack_integer(lp, listpack_seek(lp, 65539), &value) && value == 65539);
    cr_assert(listpack_integer(lp, listpack_seek(lp, -65540), &value) && value == 0);
    cr_assert_eq(listpack_seek(lp, 65540), LISTPACK_NONE);
    cr_assert_eq(listpack_seek(lp, -65541), LISTPACK_NONE);
    listpack_delete(&lp, listpack_seek(lp, 10), 60000);
    cr_assert_eq(listpack_count(lp), 5540);
    listpack_check(lp);
    mem_free(lp);
}

/* Else a message of many fields is copied for each of them, by an allocator that always moves. */
Test(listpack, grows_in_place_where_it_was_given_room)
{
    unsigned char *lp = listpack_create(5000);
    const unsigned char *place = lp;
    for (int i = 0; i < 100; i++) {
        listpack_append(&lp, SLICE("an element"));
        cr_assert_eq(lp, place);
    }
    cr_assert_eq(listpack_count(lp), 100);
    mem_free(lp);
}

Test(listpack, appends_another_one)
{
    unsigned char *lp = listpack_create(0), *other = listpack_create(0);
    listpack_append_all(&lp, other);
    cr_assert_eq(listpack_count(lp), 0);
    for (int64_t i = 0; i < 5; i++)
        listpack_append_integer(&other, i);
    listpack_prepend(&lp, SLICE("a"));
    listpack_append_all(&lp, other);
    listpack_check(lp);
    cr_assert_eq(listpack_count(lp), 6);
    cr_assert(listpack_equal(lp, listpack_last(lp), SLICE("4")));
    mem_free(lp);
    mem_free(other);
}

Test(listpack, has_no_room_beyond_its_bound)
{
    unsigned char *lp = listpack_create(0);
    cr_assert(listpack_has_room(lp, 1000));
    cr_assert(listpack_has_room(lp, LISTPACK_SIZE_MAX - 100));
    cr_assert_not(listpack_has_room(lp, LISTPACK_SIZE_MAX - 5));
    cr_assert_not(listpack_has_room(lp, SIZE_MAX));
    mem_free(lp);
}

/* Walks both ways over what was found valid; a wrong verdict would read outside of the block. */
static void walk(const unsigned char *lp)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    uint32_t count = 0;
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE; at = listpack_next(lp, at)) {
        struct slice text = listpack_text(lp, at, scratch);
        cr_assert(listpack_equal(lp, at, text));
        count++;
    }
    cr_assert_eq(listpack_count(lp), count);
    for (uint32_t at = listpack_last(lp); at != LISTPACK_NONE; at = listpack_previous(lp, at))
        count--;
    cr_assert_eq(count, 0);
}

Test(listpack, mutated_bytes_are_refused_or_harmless)
{
    uint64_t state = 5;
    unsigned accepted = 0;
    for (int round = 0; round < 20000; round++) {
        unsigned char *lp = listpack_create(0);
        for (uint64_t i = next_random(&state) % 6; i > 0; i--)
            listpack_append(&lp, random_value(&state));
        size_t size = listpack_size(lp);
        /* A block of exactly that size, so that a sanitizer sees each byte read outside of it. */
        unsigned char *bytes = memcpy(mem_alloc(size), lp, size);
        size_t changed = size < 40 ? size : 40;
        for (uint64_t i = 1 + next_random(&state) % 3; i > 0; i--)
            bytes[next_random(&state) % changed] = (unsigned char)next_random(&state);
        if (listpack_valid(bytes, size)) {
            walk(bytes);
            accepted++;
        }
        cr_assert_not(listpack_valid(lp, size - 1));
        mem_free(bytes);
        mem_free(lp);
    }
    cr_assert(accepted > 0);
}

Test(listpack, cut_bytes_are_refused)
{
    unsigned char *lp = listpack_create(0);
    listpack_append(&lp, SLICE("some text"));
    listpack_append_integer(&lp, INT64_MIN);
    for (size_t size = 0; size < listpack_size(lp); size++) {
        unsigned char *bytes = memcpy(mem_alloc(size), lp, size);
        if (size >= 4) {
            uint32_t claimed = (uint32_t)size;
            memcpy(bytes, &claimed, sizeof(claimed));
        }
        cr_assert_not(listpack_valid(bytes, size));
        mem_free(bytes);
    }
    mem_free(lp);
}
