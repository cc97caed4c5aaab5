/* Tests of the allocator's front. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "proto/mem.h"

Test(mem, gives_at_least_what_was_asked_for)
{
    for (size_t size = 0; size < 5000; size += 7) {
        char *p = mem_alloc(size);
        cr_assert_geq(mem_usable(p), size);
        memset(p, 0xab, size);
        mem_free(p);
    }
}

Test(mem, zeroes_on_request)
{
    for (int i = 0; i < 50; i++) {
        unsigned char *dirty = mem_alloc(300);
        memset(dirty, 0xff, 300);
        mem_free(dirty);
        unsigned char *p = mem_alloc_zeroed(300);
        for (size_t at = 0; at < 300; at++)
            cr_assert_eq(p[at], 0);
        mem_free(p);
    }
}

Test(mem, aligns_to_any_power_of_two)
{
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        void *p = mem_alloc_aligned(100, alignment);
        cr_assert_eq((uintptr_t)p % alignment, 0);
        cr_assert_geq(mem_usable(p), 100);
        mem_free(p);
    }
}

Test(mem, realloc_keeps_the_bytes_both_ways)
{
    char *p = mem_realloc(NULL, 10);
    memcpy(p, "0123456789", 10);
    p = mem_realloc(p, 100000);
    cr_assert_eq(memcmp(p, "0123456789", 10), 0);
    p = mem_realloc(p, 5);
    cr_assert_eq(memcmp(p, "01234", 5), 0);
    mem_free(p);
}

Test(mem, a_size_of_zero_is_an_allocation_too)
{
    void *p = mem_realloc(mem_alloc(0), 0);
    void *zeroed = mem_alloc_zeroed(0);
    cr_assert_not_null(p);
    cr_assert_not_null(zeroed);
    mem_free(p);
    mem_free(zeroed);
}

Test(mem, takes_null_for_nothing)
{
    mem_free(NULL);
    cr_assert_eq(mem_usable(NULL), 0);
}

/* A sanitizer's allocator ends the process in its own way. */
#ifndef LASCA_SYSTEM_MALLOC
Test(mem, a_shortage_ends_the_process, .signal = SIGABRT)
{
    mem_alloc(SIZE_MAX / 4);
}

Test(mem, a_shortage_in_realloc_ends_the_process, .signal = SIGABRT)
{
    mem_realloc(mem_alloc(10), SIZE_MAX / 4);
}
#endif
