/* The check value, and every length and split against one bit at a time. */
#include "proto/crc64.h"

#include <criterion/criterion.h>

#define POLYNOMIAL_REFLECTED 0x95ac9329ac4bc9b5U

static uint64_t bit_by_bit(uint64_t crc, struct slice data)
{
    for (size_t i = 0; i < data.size; i++) {
        crc ^= (unsigned char)data.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL_REFLECTED : crc >> 1;
    }
    return crc;
}

Test(crc64, has_the_published_check_value)
{
    cr_assert_eq(crc64(0, SLICE("123456789")), 0xe9c6d914c4b8d9caU);
    cr_assert_eq(crc64(0, SLICE("")), 0);
}

Test(crc64, is_the_same_as_bit_by_bit_at_every_length)
{
    char bytes[256];
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = (char)(state >> 24);
    }
    for (size_t size = 0; size <= sizeof(bytes); size++)
        cr_assert_eq(crc64(7, (struct slice){bytes, size}),
                     bit_by_bit(7, (struct slice){bytes, size}), "size %zu", size);
}

Test(crc64, goes_on_where_it_ended)
{
    struct slice text = SLICE("a library of functions, in two pieces");
    for (size_t cut = 0; cut <= text.size; cut++) {
        uint64_t crc = crc64(0, (struct slice){text.data, cut});
        crc = crc64(crc, (struct slice){text.data + cut, text.size - cut});
        cr_assert_eq(crc, crc64(0, text));
    }
}
