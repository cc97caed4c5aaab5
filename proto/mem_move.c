/* Moving blocks together: see mem.h. The allocator's heaps know which of their pages are used how
 * much; a heap of its own is what gives copies pages of their own. */
#include "proto/mem.h"

#include <assert.h>
#include <string.h>

#ifdef LASCA_SYSTEM_MALLOC
/* So much that passes are made. */
uint64_t mem_move_look(struct mem_move *m)
{
    (void)m;
    return UINT64_C(1) << 40;
}

void mem_move_tell(const struct mem_move *m, struct mem_map *place)
{
    (void)m, (void)place;
}

void mem_move_start(struct mem_move *m, struct mem_map *all, uint32_t count, uint32_t own)
{
    (void)m, (void)all, (void)count, (void)own;
}

bool mem_move_wants(const struct mem_move *m, const void *block)
{
    return m && block; /* every block is moved, so that a sanitizer sees it */
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
#else
#include <mimalloc.h>

#include "proto/mem_map.h"

#define DECOMMIT_DELAY_MS 25 /* mimalloc's default */
/* Pages are thin that are used less than that: sixteenths. What is left thin may so be an eighth of
 * what is held, at the worst. */
#define THIN_SHARE 14
#define SHARES 16
/* Room for the segments of 4 GB at first. */
#define ROOM_MIN 128

struct look {
    struct mem_map *thin;
    uint64_t idle;
};

static bool look_at(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                    size_t block_size, void *context)
{
    struct look *look = context;
    uint64_t used = (uint64_t)area->used * area->full_block_size;
    if (used >= area->committed)
        return true;
    look->idle += area->committed - used;
    uintptr_t from = (uintptr_t)area->blocks;
    if (area->used && used < area->committed / SHARES * THIN_SHARE)
        mem_map_mark(look->thin, from, from + area->committed);
    return true;
}

uint64_t mem_move_look(struct mem_move *m)
{
    struct look look = {.thin = &m->thin};
    for (uint32_t room = ROOM_MIN;; room *= 2) {
        look.idle = 0;
        mem_map_start(&m->thin, room);
        mi_heap_visit_blocks(mi_heap_get_backing(), false, look_at, &look);
        if (!m->thin.slots || !m->thin.full)
            return look.idle;
    }
}

void mem_move_tell(const struct mem_move *m, struct mem_map *place)
{
    mem_map_start(place, m->thin.count);
    mem_map_add(place, &m->thin);
}

void mem_move_start(struct mem_move *m, struct mem_map *all, uint32_t count, uint32_t own)
{
    uint32_t segments = 0;
    mem_move_tell(m, &all[own]);
    for (uint32_t i = 0; i < count; i++)
        segments += all[i].count;
    mem_map_reserve(&m->thin, segments);
    for (uint32_t i = 0; i < count; i++)
        if (i != own)
            mem_map_add(&m->thin, &all[i]);
    if (m->thin.count)
        m->fresh = mi_heap_new();
}

bool mem_move_wants(const struct mem_move *m, const void *block)
{
    return m->fresh && mem_map_has(&m->thin, (uintptr_t)block);
}

/* Pages that a pass empties go back at once, so that their number does not add up: the time that
 * takes is the slice's. The delay is one option of the process, which threads set across each other
 * at times: what is then given back early or not at all costs time, or waits for mem_trim. */
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
    if (m->fresh)
        mi_heap_delete(m->fresh);
    mem_map_end(&m->thin);
    *m = (struct mem_move){0};
}
#endif

void *mem_move_copy(const struct mem_move *m, const void *block)
{
    if (!mem_move_wants(m, block))
        return NULL;
    size_t size = mem_usable(block);
    void *copy = mem_alloc(size);
    assert(mem_usable(copy) == size);
    return memcpy(copy, block, size);
}

void *mem_move_block(const struct mem_move *m, void *block)
{
    void *copy = mem_move_copy(m, block);
    if (!copy)
        return block;
    mem_free(block);
    return copy;
}

void *mem_move_aligned(const struct mem_move *m, void *block, size_t size, size_t alignment)
{
    if (!mem_move_wants(m, block))
        return block;
    void *copy = mem_alloc_aligned(size, alignment);
    memcpy(copy, block, size);
    mem_free(block);
    return copy;
}
