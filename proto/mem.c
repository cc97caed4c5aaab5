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

#define back_malloc mi_malloc
#define back_zalloc mi_zalloc
#define back_realloc mi_realloc
#define back_free mi_free
#define back_aligned mi_malloc_aligned
#define back_usable mi_usable_size

#define DECOMMIT_DELAY_MS 25 /* mimalloc's default */
#endif

/* mimalloc 2.0.9 looks at freed pages again only when their segment is next used, which after a
 * large removal may be never. The delay is one option of the process: another thread's free that
 * falls between the two lines is given back early, which costs it time and nothing else. */
void mem_free_now(void *p)
{
#ifdef LASCA_SYSTEM_MALLOC
    free(p);
#else
    long delay_ms = mi_option_get(mi_option_decommit_delay);
    mi_option_set(mi_option_decommit_delay, 0);
    mi_free(p);
    mi_option_set(mi_option_decommit_delay, delay_ms ? delay_ms : DECOMMIT_DELAY_MS);
#endif
}

void mem_trim(void)
{
#ifdef LASCA_SYSTEM_MALLOC
    malloc_trim(0);
#else
    mi_collect(true);
#endif
}

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
