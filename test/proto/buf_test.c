/* Tests of the growable run of bytes. */
#include <criterion/criterion.h>
#include <signal.h>

#include "proto/buf.h"

Test(buf, starts_empty_without_an_allocation)
{
    struct buf b;
    buf_init(&b);
    cr_assert_null(b.data);
    cr_assert_eq(b.size, 0);
    cr_assert_eq(b.cap, 0);
    buf_deinit(&b);
}

Test(buf, keeps_what_was_appended_through_growth)
{
    struct buf b;
    buf_init(&b);
    for (unsigned i = 0; i < 100000; i++) {
        unsigned char byte = (unsigned char)(i * 31);
        buf_append(&b, &byte, 1);
    }
    cr_assert_eq(b.size, 100000);
    for (unsigned i = 0; i < 100000; i++)
        cr_assert_eq((unsigned char)b.data[i], (unsigned char)(i * 31));
    buf_deinit(&b);
    cr_assert_null(b.data);
    cr_assert_eq(b.cap, 0);
}

Test(buf, doubles_so_that_growth_is_rare)
{
    struct buf b;
    buf_init(&b);
    unsigned growths = 0;
    for (unsigned i = 0; i < 1 << 20; i++) {
        size_t cap = b.cap;
        buf_append(&b, "x", 1);
        growths += b.cap != cap;
    }
    cr_assert_leq(growths, 15);
    cr_assert_leq(b.cap, 2 << 20);
    buf_deinit(&b);
}

Test(buf, reserves_a_large_room_at_once)
{
    struct buf b;
    buf_init(&b);
    buf_append_text(&b, "head");
    char *to = buf_reserve(&b, 1 << 20);
    cr_assert_eq(to, b.data + 4);
    cr_assert_geq(b.cap - b.size, 1 << 20);
    memset(to, 'x', 1 << 20);
    cr_assert_eq(memcmp(b.data, "headx", 5), 0);
    buf_deinit(&b);
}

Test(buf, moves_off_borrowed_memory_when_it_grows)
{
    char memory[8] = "????????";
    struct buf b;
    buf_init_borrowed(&b, memory, sizeof(memory));
    buf_append(&b, "12345678", 8);
    cr_assert_eq(b.data, memory);
    buf_append(&b, "9", 1);
    cr_assert_neq(b.data, memory);
    cr_assert_not(b.borrowed);
    cr_assert(slice_equal(buf_slice(&b), SLICE("123456789")));
    cr_assert_eq(memcmp(memory, "12345678", 8), 0);
    buf_deinit(&b);
}

Test(buf, leaves_borrowed_memory_alone_at_the_end)
{
    char memory[8];
    struct buf b;
    buf_init_borrowed(&b, memory, sizeof(memory));
    buf_append_text(&b, "abc");
    buf_deinit(&b);
    cr_assert_null(b.data);
    cr_assert_not(b.borrowed);
    cr_assert_eq(memcmp(memory, "abc", 3), 0);
}

Test(buf, appends_nothing_from_null)
{
    struct buf b;
    buf_init(&b);
    buf_append(&b, NULL, 0);
    buf_append_slice(&b, (struct slice){0});
    cr_assert_eq(b.size, 0);
    buf_deinit(&b);
}

Test(buf, prints_short_and_long_texts)
{
    struct buf b;
    buf_init(&b);
    buf_printf(&b, "%s=%d;", "a", 42);
    cr_assert(slice_equal(buf_slice(&b), SLICE("a=42;")));
    char text[5000];
    for (size_t size = 100; size < sizeof(text); size = size * 5 / 4) {
        memset(text, 'x', size);
        text[size] = '\0';
        b.size = 0;
        buf_printf(&b, "<%s>", text);
        cr_assert_eq(b.size, size + 2);
        cr_assert_eq(b.data[0], '<');
        cr_assert_eq(b.data[size], 'x');
        cr_assert_eq(b.data[size + 1], '>');
    }
    buf_printf(&b, "%s", "");
    buf_deinit(&b);
}

Test(buf, consume_moves_the_rest_to_the_front)
{
    struct buf b;
    buf_init(&b);
    buf_append_text(&b, "0123456789");
    buf_consume(&b, 0);
    cr_assert_eq(b.size, 10);
    buf_consume(&b, 3);
    cr_assert(slice_equal(buf_slice(&b), SLICE("3456789")));
    buf_consume(&b, 7);
    cr_assert_eq(b.size, 0);
    buf_deinit(&b);
}

Test(buf, consuming_more_than_there_is_is_a_bug, .signal = SIGABRT)
{
    struct buf b;
    buf_init(&b);
    buf_append_text(&b, "01");
    buf_consume(&b, 3);
}
