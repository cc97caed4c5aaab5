/* Which parts of the address space something is true of, in units of 64 KiB: a bitmap for each
 * stretch of 32 MiB that has any. That is how mimalloc 2.0 divides memory: a *slice* belongs to one
 * page, and a *segment*, aligned to its size, to one thread.
 *
 * The map lies in no heap, so that it may be filled while the pages of one are visited: an
 * allocation would change their queues, and some would be passed over. Of proto/mem_*.c alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/mem.h"

#define MAP_SEGMENT_SIZE ((uintptr_t)32 << 20)
#define MAP_SLICE_SIZE ((uintptr_t)64 << 10)
#define MAP_SLICES (MAP_SEGMENT_SIZE / MAP_SLICE_SIZE)

struct mem_segment {
    uintptr_t start; /* 0: a free slot */
    uint64_t marks[MAP_SLICES / 64];
};

/* Drops what there is and makes room for some segments; `full` says afterwards that there were
 * more. A map without room is empty. */
void mem_map_start(struct mem_map *m, uint32_t room);
void mem_map_end(struct mem_map *m);
/* Within one segment; longer stretches are cut there. */
void mem_map_mark(struct mem_map *m, uintptr_t from, uintptr_t end);
/* Adds all of another map's. */
void mem_map_add(struct mem_map *m, const struct mem_map *from);
/* Makes room for so many segments more, keeping all. */
void mem_map_reserve(struct mem_map *m, uint32_t more);

static inline struct mem_segment *mem_map_slot(const struct mem_map *m, uintptr_t start)
{
    uint32_t mask = m->cap - 1;
    uint32_t i = (uint32_t)(start / MAP_SEGMENT_SIZE * 0x9e3779b1u) >> 7;
    while (m->slots[i & mask].start && m->slots[i & mask].start != start)
        i++;
    return &m->slots[i & mask];
}

static inline bool mem_map_has(const struct mem_map *m, uintptr_t at)
{
    if (!m->count)
        return false;
    uintptr_t slice = at % MAP_SEGMENT_SIZE / MAP_SLICE_SIZE;
    return mem_map_slot(m, at - at % MAP_SEGMENT_SIZE)->marks[slice / 64] >> slice % 64 & 1;
}
