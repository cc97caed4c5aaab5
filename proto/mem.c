/* The allocator's two backs: mimalloc, or the C library where a sanitizer must see each call.
 *
 * Both sit behind the same six names, so that the rest of the file knows neither. Nobody else in
 * the tree may call an allocator directly: a block from one must never reach the other's free. */
#include "proto/mem.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef LASCA_SYSTEM_MALLOC
#include <malloc.h>

#define back_malloc malloc
#define back_realloc realloc
#define back_free free

static inline void *back_zalloc(size_t size)
{
    return calloc(1, size);
}

static inline void *back_aligned(size_t size, size_t alignment)
{
    void *p = NULL;
    if (alignment < sizeof(void *))
        alignment = sizeof(void *);
    return posix_memalign(&p, alignment, size) == 0 ? p : NULL;
}

/* The C library declares its argument without const, though it only reads. */
static inline size_t back_usable(const void *p)
{
    return malloc_usable_size((void *)p);
}
#else
#include <mimalloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define back_malloc mi_malloc
#define back_zalloc mi_zalloc
#define back_realloc mi_realloc
#define back_free mi_free
#define back_aligned mi_malloc_aligned
#define back_usable mi_usable_size
#endif

#ifdef LASCA_SYSTEM_MALLOC
void mem_free_now(void *p)
{
    free(p);
}
#else
/* mimalloc 2.0.9 gives freed pages back after a delay, and looks at them again only when their
 * segment is next used, which after a large removal may be never (mem_trim.c). So they are given
 * back here; that they read as zeros from then on is nothing that mimalloc minds. */
void mem_free_now(void *p)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)p + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)p + mi_usable_size(p)) & ~(page - 1);
    if (end > first)
        madvise((void *)first, end - first, MADV_DONTNEED);
    mi_free(p);
}
#endif

/* Freed pages wait 25 ms for their next use, and each further one that is freed would
 * put that off: after a steady stream of frees most would wait for ever. */
void mem_start(void)
{
#ifndef LASCA_SYSTEM_MALLOC
    mi_option_set(mi_option_decommit_extend_delay, 0);
#endif
}

#ifdef LASCA_SYSTEM_MALLOC
void mem_report(struct mem_report *r)
{
    struct mallinfo2 m = mallinfo2();
    *r = (struct mem_report){.committed = m.arena + m.hblkhd, .name = "libc"};
}

void mem_print_statistics(void (*write)(const char *text, void *context), void *context)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to)
        return;
    malloc_info(0, to);
    fclose(to);
    write(text, context);
    free(text);
}
#else
/* Its resident size is left out: 2.0.9 has the committed one in its place. */
void mem_report(struct mem_report *r)
{
    size_t elapsed_ms, user_ms, system_ms, faults;
    size_t resident, resident_peak, committed, committed_peak;
    mi_process_info(&elapsed_ms, &user_ms, &system_ms, &resident, &resident_peak, &committed,
                    &committed_peak, &faults);
    int version = mi_version();
    r->committed = committed;
    snprintf(r->name, sizeof(r->name), "mimalloc-%d.%d.%d", version / 100, version / 10 % 10,
             version % 10);
}

void mem_print_statistics(void (*write)(const char *text, void *context), void *context)
{
    mi_stats_merge();
    mi_stats_print_out(write, context);
}
#endif

__attribute__((cold, noreturn)) static void out_of_memory(size_t size)
{
    fprintf(stderr, "lasca: out of memory: cannot allocate %zu bytes\n", size);
    abort();
}

static inline void *checked(void *p, size_t size)
{
    if (__builtin_expect(!p, 0))
        out_of_memory(size);
    return p;
}

/* An allocator may answer NULL to a request of 0 bytes, which would read as a shortage. */
static inline size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

void *mem_alloc(size_t size)
{
    return checked(back_malloc(at_least_one(size)), size);
}

void *mem_alloc_zeroed(size_t size)
{
    return checked(back_zalloc(at_least_one(size)), size);
}

void *mem_alloc_aligned(size_t size, size_t alignment)
{
    return checked(back_aligned(at_least_one(size), alignment), size);
}

void *mem_realloc(void *p, size_t size)
{
    return checked(back_realloc(p, at_least_one(size)), size);
}

void mem_free(void *p)
{
    back_free(p);
}

size_t mem_usable(const void *p)
{
    return p ? back_usable(p) : 0;
}
