/* The heap against a model: an array of blocks filled with patterns that must stay intact. */
#include <criterion/criterion.h>
#include <string.h>

#include "proto/mem.h"
#include "shard/type/heap.h"

#define BLOCK_COUNT 3000

struct block {
    uint8_t *bytes; /* NULL: not allocated */
    size_t size;
    uint8_t pattern;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Mostly small sizes, some in the wider classes, a few large ones. */
static size_t random_size(uint64_t *state)
{
    uint64_t bits = next_random(state);
    switch (bits % 16) {
    case 0:
        return (bits >> 8) % 20000;
    case 1:
    case 2:
        return (bits >> 8) % (HEAP_BLOCK_MAX + 1);
    default:
        return (bits >> 8) % 257;
    }
}

static void fill(struct heap *h, struct block *b, uint64_t *state)
{
    b->size = random_size(state);
    b->pattern = (uint8_t)next_random(state);
    b->bytes = heap_alloc(h, b->size);
    cr_assert_eq((uintptr_t)b->bytes % 8, 0);
    memset(b->bytes, b->pattern, heap_class_size(b->size));
}

static void empty(struct heap *h, struct block *b)
{
    for (size_t i = 0; i < heap_class_size(b->size); i++)
        cr_assert_eq(b->bytes[i], b->pattern);
    heap_free(h, b->bytes, b->size);
    b->bytes = NULL;
}

static size_t used_bytes(const struct block *blocks)
{
    size_t used = 0;
    for (int i = 0; i < BLOCK_COUNT; i++)
        used += blocks[i].bytes ? heap_class_size(blocks[i].size) : 0;
    return used;
}

Test(heap, blocks_keep_their_bytes)
{
    static struct block blocks[BLOCK_COUNT];
    struct heap h;
    uint64_t state = 1;
    heap_init(&h);
    for (int step = 0; step < 150000; step++) {
        struct block *b = &blocks[next_random(&state) % BLOCK_COUNT];
        /* Now mostly allocating, now mostly freeing, so that pages come and go. */
        bool grow = next_random(&state) % 8 < (step / 20000 % 2 ? 1 : 7);
        if (b->bytes && !grow)
            empty(&h, b);
        else if (!b->bytes && grow)
            fill(&h, b, &state);
        if (step % 3000 == 0) {
            cr_assert_eq(h.used_bytes, used_bytes(blocks));
            cr_assert_geq(h.held_bytes, h.used_bytes);
            heap_check(&h);
        }
    }
    for (int i = 0; i < BLOCK_COUNT; i++)
        if (blocks[i].bytes)
            empty(&h, &blocks[i]);
    heap_check(&h);
    cr_assert_eq(h.used_bytes, 0);
    cr_assert_leq(h.held_bytes, HEAP_EMPTY_MAX * HEAP_PAGE_SIZE);
    heap_deinit(&h);
    cr_assert_eq(h.held_bytes, 0);
}

Test(heap, classes_are_close_and_fit)
{
    size_t classes = 0;
    size_t last = 0;
    cr_assert_eq(heap_class_size(0), 8);
    for (size_t size = 1; size <= HEAP_BLOCK_MAX; size++) {
        size_t class_size = heap_class_size(size);
        cr_assert_geq(class_size, size);
        cr_assert_eq(class_size % 8, 0);
        cr_assert_leq(class_size - size, size <= 256 ? 7 : size / 8);
        cr_assert_eq(heap_class_size(class_size), class_size);
        classes += class_size != last;
        last = class_size;
    }
    cr_assert_eq(last, HEAP_BLOCK_MAX);
    cr_assert_eq(classes, HEAP_CLASS_COUNT);
}

Test(heap, every_size_can_be_allocated_and_freed)
{
    static uint8_t *blocks[HEAP_BLOCK_MAX + 100];
    const size_t count = sizeof(blocks) / sizeof(blocks[0]);
    struct heap h;
    heap_init(&h);
    for (size_t size = 0; size < count; size++) {
        blocks[size] = heap_alloc(&h, size);
        memset(blocks[size], (int)size, heap_class_size(size));
    }
    heap_check(&h);
    for (size_t size = 0; size < count; size++) {
        cr_assert_eq(blocks[size][0], (uint8_t)size);
        heap_free(&h, blocks[size], size);
    }
    heap_check(&h);
    cr_assert_eq(h.used_bytes, 0);
    heap_deinit(&h);
}

#ifndef LASCA_SYSTEM_MALLOC
Test(heap, empty_pages_serve_other_classes)
{
    enum { COUNT = 2000 };
    static void *blocks[COUNT];
    struct heap h;
    heap_init(&h);
    for (size_t size = 8; size <= 96; size += 8) {
        for (int i = 0; i < COUNT; i++)
            blocks[i] = heap_alloc(&h, size);
        for (int i = 0; i < COUNT; i++)
            heap_free(&h, blocks[i], size);
        heap_check(&h);
    }
    cr_assert_eq(h.page_count, h.empty_count);
    cr_assert_leq(h.page_count, HEAP_EMPTY_MAX);
    heap_deinit(&h);
}

Test(heap, blocks_of_a_new_page_are_taken_in_address_order)
{
    struct heap h;
    heap_init(&h);
    char *last = heap_alloc(&h, 56);
    for (int i = 0; i < 1000; i++) {
        char *block = heap_alloc(&h, 56);
        cr_assert_eq(block - last, 56);
        last = block;
    }
    heap_deinit(&h);
    cr_assert_eq(h.page_count, 0);
}

Test(heap, what_is_moved_out_of_thin_pages_leaves_them_empty)
{
    struct heap h;
    heap_init(&h);
    enum { COUNT = 40000 };
    static char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        blocks[i] = heap_alloc(&h, 56);
    for (int i = 0; i < COUNT; i++)
        if (i % 4)
            heap_free(&h, blocks[i], 56);
    size_t idle = heap_idle(&h);
    cr_assert_gt(idle, (size_t)COUNT * 56 / 2);
    int moved = 0;
    for (int i = 0; i < COUNT; i += 4) {
        if (!heap_evacuates(&h, blocks[i], 56))
            continue;
        char *block = heap_alloc(&h, 56);
        cr_assert_not(heap_evacuates(&h, block, 56));
        heap_free(&h, blocks[i], 56);
        blocks[i] = block;
        moved++;
    }
    heap_evacuate_end(&h);
    heap_check(&h);
    cr_assert(moved > 0 && moved < COUNT / 4);
    cr_assert_lt(heap_idle(&h), idle / 6);
    heap_deinit(&h);
}

Test(heap, small_blocks_cost_little_more_than_their_size)
{
    struct heap h;
    heap_init(&h);
    for (int i = 0; i < 100000; i++)
        heap_alloc(&h, 56);
    cr_assert_eq(h.used_bytes, 5600000);
    cr_assert_lt(h.held_bytes, 5600000 + 5600000 / 50);
    heap_check(&h);
    heap_deinit(&h);
}
#endif
