/* Pages of 64 KiB for slabs: see mem.h.
 *
 * They come from the system in chunks of 64, so that one word says which of a chunk are free. What
 * is free is not written to: an allocator that chains free blocks through themselves keeps 4 KiB of
 * each page resident, which after a large removal is more than all that is left. */
#include "proto/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_PAGES 64
#define CHUNK_SIZE (CHUNK_PAGES * MEM_PAGE_SIZE)

struct mem_chunk {
    struct mem_chunk *next, *prev;
    char *start;
    uint64_t free; /* bit i: page i is not in use */
};

static void put_first(struct mem_chunk **list, struct mem_chunk *c)
{
    c->prev = NULL;
    c->next = *list;
    if (c->next)
        c->next->prev = c;
    *list = c;
}

static void take_out(struct mem_chunk **list, struct mem_chunk *c)
{
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        *list = c->next;
}

/* A stretch that is aligned to a page; what is mapped beside it goes back. */
static char *map_aligned(void)
{
    char *at = mmap(NULL, CHUNK_SIZE + MEM_PAGE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        fprintf(stderr, "lasca: out of memory: cannot map %zu bytes\n", CHUNK_SIZE);
        abort();
    }
    size_t before = (size_t)(-(uintptr_t)at % MEM_PAGE_SIZE);
    if (before)
        munmap(at, before);
    munmap(at + before + CHUNK_SIZE, MEM_PAGE_SIZE - before);
    return at + before;
}

static struct mem_chunk *chunk_create(struct mem_pages *p)
{
    struct mem_chunk *c = mem_alloc(sizeof(*c));
    *c = (struct mem_chunk){.start = map_aligned(), .free = UINT64_MAX};
    put_first(&p->partial, c);
    return c;
}

void *mem_page_take(struct mem_pages *p, struct mem_chunk **chunk)
{
    struct mem_chunk *c = p->partial ? p->partial : chunk_create(p);
    unsigned index = (unsigned)__builtin_ctzll(c->free);
    c->free &= c->free - 1;
    if (!c->free) {
        take_out(&p->partial, c);
        put_first(&p->full, c);
    }
    *chunk = c;
    return c->start + index * MEM_PAGE_SIZE;
}

void mem_page_return(struct mem_pages *p, struct mem_chunk *c, void *page)
{
    size_t offset = (size_t)((char *)page - c->start);
    uint64_t bit = UINT64_C(1) << offset / MEM_PAGE_SIZE;
    assert(offset < CHUNK_SIZE && offset % MEM_PAGE_SIZE == 0 && !(c->free & bit));
    if (!c->free) {
        take_out(&p->full, c);
        put_first(&p->partial, c);
    }
    c->free |= bit;
    if (c->free != UINT64_MAX) {
        madvise(page, MEM_PAGE_SIZE, MADV_DONTNEED);
        return;
    }
    take_out(&p->partial, c);
    munmap(c->start, CHUNK_SIZE);
    mem_free(c);
}
