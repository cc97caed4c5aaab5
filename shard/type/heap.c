/* Slabs of equal blocks, after J. Bonwick, "The Slab Allocator", USENIX Summer 1994.
 *
 * A page is on exactly one list: `partial` of its class, `full`, `evacuating`, or `empty`. Within a
 * page, blocks given back form a stack through their own first word; the others have never been
 * handed out and lie from `fresh` on. Fresh blocks are taken in address order and only when the
 * stack is empty, so what a page has not needed yet is never touched and costs no physical memory.
 */
#include "shard/type/heap.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "proto/mem.h"

/* Blocks above this size are allocations of their own. */
#ifdef LASCA_SYSTEM_MALLOC
#define SLAB_BLOCK_MAX ((size_t)0)
#else
#define SLAB_BLOCK_MAX HEAP_BLOCK_MAX
#endif

#define EXACT_MAX ((size_t)256) /* classes are 8 bytes apart up to here */
#define EXACT_COUNT 32
#define STEPS_LOG2 3 /* above, a doubling has 2^3 classes */

struct heap_page {
    struct heap_page *next;
    struct heap_page *prev;
    struct mem_chunk *chunk; /* where it is from */
    void *returned; /* stack of blocks given back */
    uint32_t fresh; /* offset in the page of the next block never handed out */
    uint16_t used;  /* blocks handed out */
    uint16_t block_size;
    uint16_t class;
    bool evacuating;
    char blocks[] __attribute__((aligned(8)));
};
_Static_assert(HEAP_CLASS_COUNT == EXACT_COUNT + 3 * (1 << STEPS_LOG2), "classes end at 2048");

/* log2 of the distance between the classes around a size above EXACT_MAX. */
static inline unsigned step_log2(size_t size)
{
    return 63 - (unsigned)__builtin_clzll(size - 1) - STEPS_LOG2;
}

size_t heap_class_size(size_t size)
{
    if (size <= EXACT_MAX)
        return size ? (size + 7) & ~(size_t)7 : 8;
    if (size > HEAP_BLOCK_MAX)
        return (size + 7) & ~(size_t)7;
    size_t step = (size_t)1 << step_log2(size);
    return (size + step - 1) & ~(step - 1);
}

static inline unsigned class_of(size_t class_size)
{
    if (class_size <= EXACT_MAX)
        return (unsigned)(class_size / 8) - 1;
    unsigned step = step_log2(class_size);
    unsigned doubling = step + STEPS_LOG2 - 8;
    unsigned in_doubling = (unsigned)((class_size - 1) >> step) - (1u << STEPS_LOG2);
    return EXACT_COUNT + (doubling << STEPS_LOG2) + in_doubling;
}

static inline struct heap_page *page_of(const void *block)
{
    return (struct heap_page *)((uintptr_t)block & ~(uintptr_t)(HEAP_PAGE_SIZE - 1));
}

static void put_first(struct heap_page **list, struct heap_page *p)
{
    p->prev = NULL;
    p->next = *list;
    if (p->next)
        p->next->prev = p;
    *list = p;
}

static void take_out(struct heap_page **list, struct heap_page *p)
{
    if (p->next)
        p->next->prev = p->prev;
    if (p->prev)
        p->prev->next = p->next;
    else
        *list = p->next;
}

static struct heap_page *page_create(struct heap *h)
{
    struct mem_chunk *chunk;
    struct heap_page *p = mem_page_take(&h->pages, &chunk);
    p->chunk = chunk;
    h->page_count++;
    h->held_bytes += HEAP_PAGE_SIZE;
    return p;
}

static void page_destroy(struct heap *h, struct heap_page *p)
{
    h->page_count--;
    h->held_bytes -= HEAP_PAGE_SIZE;
    mem_page_return(&h->pages, p->chunk, p);
}

static inline bool has_room(const struct heap_page *p)
{
    return p->returned || p->fresh + p->block_size <= HEAP_PAGE_SIZE;
}

/* Makes an empty page the class's current one. */
static struct heap_page *page_start(struct heap *h, unsigned class, size_t block_size)
{
    struct heap_page *p = h->empty;
    if (p) {
        take_out(&h->empty, p);
        h->empty_count--;
    } else {
        p = page_create(h);
    }
    p->returned = NULL;
    p->fresh = offsetof(struct heap_page, blocks);
    p->used = 0;
    p->class = (uint16_t)class;
    p->block_size = (uint16_t)block_size;
    p->evacuating = false;
    put_first(&h->partial[class], p);
    return p;
}

/* The page has no block in use any more. */
static void page_retire(struct heap *h, struct heap_page *p)
{
    take_out(p->evacuating ? &h->evacuating : &h->partial[p->class], p);
    if (h->empty_count == HEAP_EMPTY_MAX) {
        page_destroy(h, p);
        return;
    }
    put_first(&h->empty, p);
    h->empty_count++;
}

void heap_init(struct heap *h)
{
    memset(h, 0, sizeof(*h));
}

static void destroy_list(struct heap *h, struct heap_page *p)
{
    while (p) {
        struct heap_page *next = p->next;
        page_destroy(h, p);
        p = next;
    }
}

void heap_trim(struct heap *h)
{
    destroy_list(h, h->empty);
    h->empty = NULL;
    h->empty_count = 0;
}

void heap_deinit(struct heap *h)
{
    for (unsigned class = 0; class < HEAP_CLASS_COUNT; class++)
        destroy_list(h, h->partial[class]);
    destroy_list(h, h->full);
    destroy_list(h, h->evacuating);
    heap_trim(h);
    assert(h->page_count == 0);
    heap_init(h);
}

void *heap_alloc(struct heap *h, size_t size)
{
    size = heap_class_size(size);
    h->used_bytes += size;
    if (__builtin_expect(size > SLAB_BLOCK_MAX, 0)) {
        h->held_bytes += size;
        return mem_alloc(size);
    }
    unsigned class = class_of(size);
    assert(class < HEAP_CLASS_COUNT);
    struct heap_page *p = h->partial[class];
    if (__builtin_expect(!p, 0))
        p = page_start(h, class, size);
    void *block = p->returned;
    if (block) {
        memcpy(&p->returned, block, sizeof(p->returned));
    } else {
        block = (char *)p + p->fresh;
        p->fresh += p->block_size;
    }
    p->used++;
    if (__builtin_expect(!has_room(p), 0)) {
        take_out(&h->partial[class], p);
        put_first(&h->full, p);
    }
    return block;
}

void heap_free(struct heap *h, void *block, size_t size)
{
    size = heap_class_size(size);
    h->used_bytes -= size;
    if (__builtin_expect(size > SLAB_BLOCK_MAX, 0)) {
        h->held_bytes -= size;
        mem_free(block);
        return;
    }
    struct heap_page *p = page_of(block);
    assert(p->block_size == size && p->used > 0);
    if (__builtin_expect(!has_room(p), 0)) {
        take_out(&h->full, p);
        put_first(&h->partial[p->class], p);
    }
    memcpy(block, &p->returned, sizeof(p->returned));
    p->returned = block;
    p->used--;
    if (__builtin_expect(p->used == 0, 0))
        page_retire(h, p);
}

/* --- Compaction --- */

/* Pages are thin that are used less than that: sixteenths. */
#define THIN_SHARE 14
#define SHARES 16

size_t heap_idle(const struct heap *h)
{
    return h->held_bytes - h->used_bytes - h->empty_count * HEAP_PAGE_SIZE;
}

#ifndef LASCA_SYSTEM_MALLOC
static bool is_thin(const struct heap *h, const struct heap_page *p)
{
    return (size_t)p->used * p->block_size < HEAP_PAGE_SIZE / SHARES * THIN_SHARE &&
           p != h->partial[p->class] && has_room(p);
}
#endif

bool heap_evacuates(struct heap *h, const void *block, size_t size)
{
#ifdef LASCA_SYSTEM_MALLOC
    return h && block && size; /* every one is moved, so that a sanitizer sees it */
#else
    if (heap_class_size(size) > SLAB_BLOCK_MAX)
        return false;
    struct heap_page *p = page_of(block);
    if (!p->evacuating && is_thin(h, p)) {
        take_out(&h->partial[p->class], p);
        p->evacuating = true;
        put_first(&h->evacuating, p);
    }
    return p->evacuating;
#endif
}

void heap_evacuate_end(struct heap *h)
{
    for (struct heap_page *p; (p = h->evacuating) != NULL;) {
        take_out(&h->evacuating, p);
        p->evacuating = false;
        put_first(&h->partial[p->class], p);
    }
}

static void check_page(const struct heap_page *p)
{
    assert((uintptr_t)p % HEAP_PAGE_SIZE == 0 && p->fresh <= HEAP_PAGE_SIZE);
    assert(class_of(p->block_size) == p->class);
    uint32_t handed_out = (uint32_t)(p->fresh - offsetof(struct heap_page, blocks)) / p->block_size;
    uint32_t returned = 0;
    const char *block = p->returned;
    while (block) {
        assert(page_of(block) == p && (const char *)p + p->fresh > block);
        assert((size_t)(block - p->blocks) % p->block_size == 0);
        assert(++returned <= handed_out);
        memcpy(&block, block, sizeof(const char *));
    }
    assert(p->used + returned == handed_out);
}

/* Checks the pages of a list, adds up the bytes of their blocks, and counts the pages. */
static uint32_t check_list(const struct heap_page *p, size_t *used_bytes)
{
    uint32_t count = 0;
    for (const struct heap_page *prev = NULL; p; prev = p, p = p->next) {
        assert(p->prev == prev);
        check_page(p);
        *used_bytes += (size_t)p->used * p->block_size;
        count++;
    }
    return count;
}

void heap_check(const struct heap *h)
{
    size_t used_bytes = 0;
    uint32_t page_count = check_list(h->full, &used_bytes);
    for (const struct heap_page *p = h->full; p; p = p->next)
        assert(!has_room(p));
    for (unsigned class = 0; class < HEAP_CLASS_COUNT; class++) {
        page_count += check_list(h->partial[class], &used_bytes);
        for (const struct heap_page *p = h->partial[class]; p; p = p->next)
            assert(p->class == class && has_room(p) && p->used > 0 && !p->evacuating);
    }
    page_count += check_list(h->evacuating, &used_bytes);
    for (const struct heap_page *p = h->evacuating; p; p = p->next)
        assert(p->evacuating && p->used > 0);
    size_t in_empty = 0;
    uint32_t empty_count = check_list(h->empty, &in_empty);
    assert(in_empty == 0 && empty_count == h->empty_count && empty_count <= HEAP_EMPTY_MAX);
    assert(page_count + empty_count == h->page_count);
    /* What is not in pages are the large blocks, which are held exactly as long as used. */
    size_t large_bytes = h->used_bytes - used_bytes;
    assert(h->used_bytes >= used_bytes);
    assert(h->held_bytes == h->page_count * HEAP_PAGE_SIZE + large_bytes);
}
