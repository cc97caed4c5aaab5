/* The allocator. All of Lasca allocates through these; any thread may call them.
 *
 * mimalloc behind them, or the C library's in sanitizer builds. An allocation that cannot be served
 * ends the process with a message: like Redis, Lasca bounds memory by policy, not by failed calls.
 * */
#pragma once

#include <stddef.h>

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
/* Usable bytes of an allocation of ours, at least the size asked for; 0 for NULL. */
size_t mem_usable(const void *p);
