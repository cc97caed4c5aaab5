/* FUNCTION DUMP's payload: what is written is read again, and what is broken is refused. */
#include "server/script/function_dump.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/crc64.h"
#include "proto/mem.h"

#define FOOTER_SIZE 10

/* A library of `size` bytes; `noise`: such as do not compress. */
static void add_library(struct functions *f, unsigned number, size_t size, bool noise)
{
    struct buf code, error;
    buf_init(&code);
    buf_init(&error);
    buf_printf(&code, "#!lua name=library_%u\n--", number);
    uint32_t state = number + 1;
    while (code.size < size) {
        state = state * 1664525 + 1013904223;
        char c = noise ? (char)(state >> 24) : 'a';
        buf_append(&code, &c, 1);
    }
    struct library *l = library_create(buf_slice(&code), 1, &error);
    cr_assert(l, "%.*s", (int)error.size, error.data);
    functions_link(f, l);
    buf_deinit(&code);
    buf_deinit(&error);
}

static struct functions *sample(void)
{
    static const size_t sizes[] = {24, 63, 64, 100, 16383, 16384, 70000, 200000};
    struct functions *f = functions_create();
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        add_library(f, 2 * i, sizes[i], false);
        add_library(f, 2 * i + 1, sizes[i], true);
    }
    return f;
}

static void expect_read_back(const struct functions *f, struct slice payload)
{
    struct function_payload p;
    struct buf code, error;
    buf_init(&code);
    buf_init(&error);
    cr_assert(function_payload_open(&p, payload));
    for (uint32_t i = 0; i < f->library_count; i++) {
        cr_assert(function_payload_next(&p, &code, &error), "library %u: %.*s", i,
                  (int)error.size, error.data);
        cr_assert(slice_equal(buf_slice(&code), f->libraries[i]->code), "library %u", i);
    }
    cr_assert(!function_payload_next(&p, &code, &error));
    cr_assert_eq(error.size, 0);
    buf_deinit(&code);
    buf_deinit(&error);
}

Test(function_dump, reads_back_what_it_wrote)
{
    struct functions *f = sample();
    struct buf plain, packed;
    buf_init(&plain);
    buf_init(&packed);
    function_dump(f, false, &plain);
    function_dump(f, true, &packed);
    cr_assert_lt(packed.size, plain.size - 200000);
    expect_read_back(f, buf_slice(&plain));
    expect_read_back(f, buf_slice(&packed));
    buf_deinit(&plain);
    buf_deinit(&packed);
    functions_destroy(f);
}

Test(function_dump, refuses_every_byte_changed)
{
    struct functions *f = functions_create();
    struct function_payload p;
    struct buf payload;
    buf_init(&payload);
    add_library(f, 1, 100, true);
    function_dump(f, true, &payload);
    cr_assert(function_payload_open(&p, buf_slice(&payload)));
    for (size_t i = 0; i < payload.size; i++) {
        payload.data[i] ^= 0x20;
        cr_assert(!function_payload_open(&p, buf_slice(&payload)), "byte %zu", i);
        payload.data[i] ^= 0x20;
    }
    for (size_t size = 0; size < payload.size; size++)
        cr_assert(!function_payload_open(&p, (struct slice){payload.data, size}), "size %zu", size);
    buf_deinit(&payload);
    functions_destroy(f);
}

/* Whoever makes a payload can make its checksum. Each reading is of an allocation of its own, so
 * that the sanitizers see a byte beyond. */
Test(function_dump, ends_well_on_any_bytes_with_a_right_checksum)
{
    struct functions *f = functions_create();
    struct buf payload, code, error;
    buf_init(&payload);
    buf_init(&code);
    buf_init(&error);
    add_library(f, 1, 40, true);
    add_library(f, 2, 300, false);
    function_dump(f, true, &payload);
    srand(5);
    for (int round = 0; round < 20000; round++) {
        size_t size = payload.size - (round % 3 ? 0 : (size_t)rand() % (payload.size - 20));
        char *bytes = mem_alloc(size);
        memcpy(bytes, payload.data, size);
        for (int changes = rand() % 4; changes >= 0; changes--)
            bytes[(size_t)rand() % size] = (char)rand();
        bytes[size - FOOTER_SIZE] = 10;
        bytes[size - FOOTER_SIZE + 1] = 0;
        uint64_t crc = crc64(0, (struct slice){bytes, size - 8});
        for (unsigned i = 0; i < 8; i++)
            bytes[size - 8 + i] = (char)(crc >> 8 * i);
        struct function_payload p;
        cr_assert(function_payload_open(&p, (struct slice){bytes, size}));
        error.size = 0;
        while (function_payload_next(&p, &code, &error))
            cr_assert_leq(code.size, 1000000);
        mem_free(bytes);
    }
    buf_deinit(&payload);
    buf_deinit(&code);
    buf_deinit(&error);
    functions_destroy(f);
}
