/* The allocator. All of Lasca allocates through these; any thread may call them.
 *
 * mimalloc behind them, or the C library's in sanitizer builds. An allocation that cannot be served
 * ends the process with a message: like Redis, Lasca bounds memory by policy, not by failed calls.
 * */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);
void *mem_alloc_zeroed(size_t size);
/* `alignment` is a power of two. Freed with mem_free. */
void *mem_alloc_aligned(size_t size, size_t alignment);
void *mem_realloc(void *p, size_t size);
void mem_free(void *p);
/* Frees a block of whole pages (tens of KiB) that will not be needed again soon: its memory goes
 * back to the system at once. */
void mem_free_now(void *p);
/* Gives memory that this thread has freed back to the system, as far as whole pages of it are free.
 * Takes time in proportion to what is held: for after a lot was freed. */
void mem_trim(void);

/* Pages for slabs, straight from the system, aligned to their size; what is returned goes back to
 * it at once. Each owner (a shard's heap) has a set of its own, so there is no lock. All must be
 * returned before the set is dropped. */
#define MEM_PAGE_SIZE ((size_t)64 * 1024)
struct mem_chunk;
struct mem_pages {
    struct mem_chunk *partial, *full; /* chunks with a free page; others */
};
/* `chunk` is to be given back with the page. */
void *mem_page_take(struct mem_pages *p, struct mem_chunk **chunk);
void mem_page_return(struct mem_pages *p, struct mem_chunk *chunk, void *page);

/* What the allocator says of itself. Any thread. */
struct mem_report {
    size_t committed; /* bytes that it may write to: also those that it has not touched yet */
    char name[32]; /* "mimalloc-2.0.9" */
};
void mem_report(struct mem_report *r);
/* Its own statistics, as text for people, in pieces. Those of the calling thread are added to the
 * common ones first; of other threads only what these have added. */
void mem_print_statistics(void (*write)(const char *text, void *context), void *context);
/* Once, before threads allocate: what the allocator does with freed memory. */
void mem_start(void);

/* Compaction of this thread's memory. mem_move_start notes which pages are thinly filled; who holds
 * blocks in them (mem_move_wants) is to copy and free these between begin and pause, when
 * allocations come from pages of their own, so that the copies lie close together. The same thread
 * ends what it has started; copies are blocks like others. */
struct mem_move {
    void *fresh;  /* the allocator's heap; NULL: not started */
    void *before; /* what it stands in for */
    struct mem_range *thin; /* sorted */
    uint32_t thin_count, thin_cap;
};
/* A thread's thinly filled pages, for all threads that may have blocks in them. */
struct mem_thin {
    struct mem_range *ranges;
    uint32_t count;
};
/* Walks this thread's pages. */
void mem_move_start(struct mem_move *m);
/* Leaves what was noted in the thread's own place among all, and takes what the others have left in
 * theirs, which may be out of date: that moves some blocks in vain. Nobody else uses `all`
 * meanwhile. */
void mem_move_share(struct mem_move *m, struct mem_thin *all, uint32_t count, uint32_t own);
bool mem_move_wants(const struct mem_move *m, const void *block);
void mem_move_begin(struct mem_move *m);
void mem_move_pause(struct mem_move *m);
void mem_move_end(struct mem_move *m);
/* Bytes that this thread's pages hold beyond the blocks in use. Walks the pages. */
uint64_t mem_idle(void);

/* Usable bytes of an allocation of ours, at least the size asked for; 0 for NULL. */
size_t mem_usable(const void *p);
