/* The shard's slabs: small blocks in size classes of 8 bytes, for entries.
 *
 * mimalloc rounds 56 bytes up to 64; at millions of keys that is an eighth of the memory. A heap
 * hands out blocks of exactly the class (8-byte steps up to 256, then 1/8 steps up to
 * HEAP_BLOCK_MAX), from pages of 64 KiB aligned to their size, which go back when they are empty.
 * Larger blocks come from mem_alloc. The size is passed to heap_free, so a block has no header.
 *
 * A heap belongs to a shard, not to a thread: a cross transaction that runs on another thread while
 * the owner stands still may use it. No locks. Blocks are 8-byte aligned. In sanitizer builds
 * (LASCA_SYSTEM_MALLOC) every block is an allocation of its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/mem.h"

#define HEAP_PAGE_SIZE MEM_PAGE_SIZE
#define HEAP_BLOCK_MAX ((size_t)2048)
#define HEAP_CLASS_COUNT 56
/* Empty pages kept for reuse; further ones are given back at once. */
#define HEAP_EMPTY_MAX 4

struct heap_page;

struct heap {
    struct heap_page *partial[HEAP_CLASS_COUNT]; /* pages with a free block, by class */
    struct heap_page *full;     /* pages without one, of all classes */
    struct heap_page *evacuating; /* pages that are to become empty: nothing is taken from them */
    struct heap_page *empty;    /* pages without a block, kept for reuse */
    struct mem_pages pages;     /* where all come from */
    uint32_t empty_count;
    uint32_t page_count;        /* all pages, of all classes */
    size_t used_bytes;          /* blocks in use, rounded to their class (large ones included) */
    size_t held_bytes;          /* what the heap has from mem_alloc */
};

void heap_init(struct heap *h);
/* Frees the pages. Blocks still in use are gone with them (large ones must be freed before; in
 * sanitizer builds every block must). */
void heap_deinit(struct heap *h);
/* `size` may be 0: a block of the smallest class. */
void *heap_alloc(struct heap *h, size_t size);
/* `size` is what the block was allocated with, or any other size of the same class. */
void heap_free(struct heap *h, void *block, size_t size);
/* The size of the class that `size` falls in: what a block of `size` may use. Above HEAP_BLOCK_MAX
 * it is `size` rounded up to 8. */
size_t heap_class_size(size_t size);
/* Bytes held beyond the blocks in use, but for the pages kept for reuse. */
size_t heap_idle(const struct heap *h);
/* Compaction: whoever goes through all blocks, and moves those of which heap_evacuates says so,
 * makes the thinly used pages empty. A page is chosen when its first block is met, so that all its
 * others are still to come; the page that is being filled stays. */
bool heap_evacuates(struct heap *h, const void *block, size_t size);
/* Those that are not empty by now are pages like others again. */
void heap_evacuate_end(struct heap *h);
/* Gives the empty pages that are kept back. */
void heap_trim(struct heap *h);
/* The self-check of tests: aborts on a broken invariant. */
void heap_check(const struct heap *h);
