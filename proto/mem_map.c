/* See mem_map.h: an open-addressed table of segments, in memory straight from the system. */
#include "proto/mem_map.h"

#include <sys/mman.h>

#define CAP_MIN 64

static size_t size_of(uint32_t cap)
{
    return cap * sizeof(struct mem_segment);
}

void mem_map_start(struct mem_map *m, uint32_t room)
{
    uint32_t cap = CAP_MIN;
    while (cap / 2 < room)
        cap *= 2;
    mem_map_end(m);
    void *at = mmap(NULL, size_of(cap), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at != MAP_FAILED)
        *m = (struct mem_map){.slots = at, .cap = cap};
}

void mem_map_end(struct mem_map *m)
{
    if (m->slots)
        munmap(m->slots, size_of(m->cap));
    *m = (struct mem_map){0};
}

/* NULL where half of the slots are taken. */
static struct mem_segment *slot_for(struct mem_map *m, uintptr_t start)
{
    if (!m->slots)
        return NULL;
    struct mem_segment *s = mem_map_slot(m, start);
    if (!s->start && m->count == m->cap / 2)
        return NULL;
    m->count += !s->start;
    s->start = start;
    return s;
}

void mem_map_mark(struct mem_map *m, uintptr_t from, uintptr_t end)
{
    struct mem_segment *s = slot_for(m, from - from % MAP_SEGMENT_SIZE);
    m->full |= !s;
    if (!s)
        return;
    for (uintptr_t i = from % MAP_SEGMENT_SIZE / MAP_SLICE_SIZE;
         i < MAP_SLICES && s->start + i * MAP_SLICE_SIZE < end; i++)
        s->marks[i / 64] |= UINT64_C(1) << i % 64;
}

void mem_map_add(struct mem_map *m, const struct mem_map *from)
{
    for (uint32_t i = 0; i < from->cap; i++) {
        const struct mem_segment *segment = &from->slots[i];
        struct mem_segment *s = segment->start ? slot_for(m, segment->start) : NULL;
        m->full |= segment->start && !s;
        for (uint32_t k = 0; s && k < MAP_SLICES / 64; k++)
            s->marks[k] |= segment->marks[k];
    }
}

void mem_map_reserve(struct mem_map *m, uint32_t more)
{
    struct mem_map bigger = {0};
    mem_map_start(&bigger, m->count + more);
    mem_map_add(&bigger, m);
    mem_map_end(m);
    *m = bigger;
}
