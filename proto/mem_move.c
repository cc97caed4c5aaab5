/* Moving blocks together: see mem.h. The allocator's heaps know which of their pages are used how
 * much; a heap of its own is what gives copies pages of their own. */
#include "proto/mem.h"

#include <stdlib.h>
#include <string.h>

#ifdef LASCA_SYSTEM_MALLOC
void mem_move_start(struct mem_move *m)
{
    (void)m;
}

void mem_move_share(struct mem_move *m, struct mem_thin *all, uint32_t count, uint32_t own)
{
    (void)m, (void)all, (void)count, (void)own;
}

bool mem_move_wants(const struct mem_move *m, const void *block)
{
    (void)block;
    return m != NULL; /* every block is moved, so that a sanitizer sees it */
}

void mem_move_begin(struct mem_move *m)
{
    (void)m;
}

void mem_move_pause(struct mem_move *m)
{
    (void)m;
}

void mem_move_end(struct mem_move *m)
{
    (void)m;
}

uint64_t mem_idle(void)
{
    return 0;
}
#else
#include <mimalloc.h>

#define DECOMMIT_DELAY_MS 25 /* mimalloc's default */
/* Pages are thin that are used less than that: eighths. */
#define THIN_EIGHTHS 6

/* Of a page's blocks. */
struct mem_range {
    const char *start, *end;
};

static uint64_t used_of(const mi_heap_area_t *area)
{
    return (uint64_t)area->used * area->full_block_size;
}

static void note(struct mem_move *m, struct mem_range range)
{
    if (m->thin_count == m->thin_cap) {
        m->thin_cap = m->thin_cap ? m->thin_cap * 2 : 256;
        m->thin = mem_realloc(m->thin, m->thin_cap * sizeof(*m->thin));
    }
    m->thin[m->thin_count++] = range;
}

static bool note_thin(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                      size_t block_size, void *context)
{
    if (area->used && used_of(area) < area->reserved / 8 * THIN_EIGHTHS)
        note(context, (struct mem_range){area->blocks, (char *)area->blocks + area->committed});
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct mem_range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

void mem_move_start(struct mem_move *m)
{
    *m = (struct mem_move){0};
    mi_heap_visit_blocks(mi_heap_get_default(), false, note_thin, m);
}

void mem_move_share(struct mem_move *m, struct mem_thin *all, uint32_t count, uint32_t own)
{
    struct mem_thin *place = &all[own];
    size_t size = m->thin_count * sizeof(*m->thin);
    place->ranges = mem_realloc(place->ranges, size);
    place->count = m->thin_count;
    if (size)
        memcpy(place->ranges, m->thin, size);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; i != own && k < all[i].count; k++)
            note(m, all[i].ranges[k]);
    if (!m->thin_count)
        return;
    qsort(m->thin, m->thin_count, sizeof(*m->thin), compare);
    m->fresh = mi_heap_new();
}

bool mem_move_wants(const struct mem_move *m, const void *block)
{
    const char *at = block;
    uint32_t low = 0, high = m->fresh ? m->thin_count : 0;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (m->thin[middle].start <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && at < m->thin[low - 1].end;
}

void mem_move_begin(struct mem_move *m)
{
    if (!m->fresh)
        return;
    m->before = mi_heap_set_default(m->fresh);
    mi_option_set(mi_option_decommit_delay, 0);
}

void mem_move_pause(struct mem_move *m)
{
    if (!m->fresh)
        return;
    mi_heap_set_default(m->before);
    mi_option_set(mi_option_decommit_delay, DECOMMIT_DELAY_MS);
}

/* The pages go to the thread's own heap. */
void mem_move_end(struct mem_move *m)
{
    if (m->fresh) {
        mi_heap_delete(m->fresh);
        mem_trim();
    }
    mem_free(m->thin);
    *m = (struct mem_move){0};
}

static bool add_idle(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                     size_t block_size, void *context)
{
    uint64_t *idle = context;
    uint64_t used = used_of(area);
    *idle += area->committed > used ? area->committed - used : 0;
    return true;
}

uint64_t mem_idle(void)
{
    uint64_t idle = 0;
    mi_heap_visit_blocks(mi_heap_get_default(), false, add_idle, &idle);
    return idle;
}
#endif
