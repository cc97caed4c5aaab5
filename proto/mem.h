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
struct mem_move;
/* Gives memory that this thread has freed back to the system, as far as whole pages of it are free:
 * MEM_TRIM_STEP of it at the most, from the address *from on (0: the start). True where there may
 * be more, with *from moved on. `m` is the thread's own compaction, begun or not: the pages of its
 * copies are not free. Besides that, it takes time in proportion to what is held. */
#define MEM_TRIM_STEP ((size_t)1 << 20)
bool mem_trim(const struct mem_move *m, uintptr_t *from);

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

struct mem_segment;
/* A set of addresses, in units of 64 KiB: see mem_map.h. Zeroed memory is an empty one. */
struct mem_map {
    struct mem_segment *slots;
    uint32_t cap, count;
    bool full;
};

/* Compaction of this thread's memory. mem_move_look notes which pages are thinly filled; who holds
 * blocks in them (mem_move_wants) is to copy and free these between begin and pause, when
 * allocations come from pages of their own, so that the copies lie close together. The same thread
 * ends what it has started; copies are blocks like others. Zeroed memory is none that has begun. */
struct mem_move {
    void *fresh;  /* the allocator's heap; NULL: not started */
    void *before; /* what it stands in for */
    struct mem_map thin;
};
/* Walks this thread's pages. Returns the bytes that they hold beyond the blocks in use. */
uint64_t mem_move_look(struct mem_move *m);
/* Begins with what the last look has noted. `all` has a place for each thread: leaves it in this
 * one's, and takes what the others have left in theirs, for all threads may have blocks in them.
 * That may be out of date, which moves some blocks in vain. Nobody else uses `all` meanwhile. */
void mem_move_start(struct mem_move *m, struct mem_map *all, uint32_t count, uint32_t own);
/* Leaves what the last look has noted in this thread's place, for the others. */
void mem_move_tell(const struct mem_move *m, struct mem_map *place);
void mem_map_end(struct mem_map *m);
bool mem_move_wants(const struct mem_move *m, const void *block);
/* A copy of a block that lies in a thin page, of the same usable size, where whoever points to the
 * block points from now on and then frees it; NULL: it stays. */
void *mem_move_copy(const struct mem_move *m, const void *block);
/* The same for who has the only pointer: the block is freed. Returns where it is now. */
void *mem_move_block(const struct mem_move *m, void *block);
/* For a block of mem_alloc_aligned. */
void *mem_move_aligned(const struct mem_move *m, void *block, size_t size, size_t alignment);
void mem_move_begin(struct mem_move *m);
void mem_move_pause(struct mem_move *m);
void mem_move_end(struct mem_move *m);

/* Usable bytes of an allocation of ours, at least the size asked for; 0 for NULL. */
size_t mem_usable(const void *p);
