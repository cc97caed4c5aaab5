/* Giving free pages back to the system: see mem.h.
 *
 * mimalloc 2.0.9 notes of a page that was freed that it is to go back after a delay, and looks at
 * the note only when a page of the same segment is next taken or freed. What a large removal leaves
 * in segments that nobody uses any more stays resident for ever, and no call of mimalloc's makes it
 * look. So mem_trim finds out by itself what is free: what lies in a segment between the pages of
 * its thread's heaps, but for the segment's own head. To mimalloc the memory stays as it was; it
 * only reads as zeros from then on, which nobody minds of memory that is free.
 *
 * Invariant: every heap of the thread is visited, which are its own and that of its compaction's
 * copies; and no block is allocated or freed between the visit and the end of mem_trim. */
#include "proto/mem.h"

#ifdef LASCA_SYSTEM_MALLOC
#include <malloc.h>

void mem_trim(const struct mem_move *m)
{
    (void)m;
    malloc_trim(0);
}
#else
#include <mimalloc.h>
#include <sys/mman.h>

#include "proto/mem_map.h"

/* The version whose segments are known to be laid out like this. */
#define VERSION 209
/* A segment's head takes one slice or two. */
#define HEAD_SLICES 4
/* Larger blocks have segments of their own, of other sizes. */
#define LARGE_MAX (MAP_SEGMENT_SIZE / 2)
/* Room for 4 GB at first. */
#define ROOM_MIN 128

static bool note_page(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                      size_t block_size, void *context)
{
    uintptr_t from = (uintptr_t)area->blocks;
    if (area->reserved <= LARGE_MAX)
        mem_map_mark(context, from, from + area->reserved);
    return true;
}

static bool is_used(const struct mem_segment *s, uintptr_t slice)
{
    return s->marks[slice / 64] >> slice % 64 & 1;
}

static void give_back(const struct mem_segment *s)
{
    for (uintptr_t i = HEAD_SLICES; i < MAP_SLICES; i++) {
        uintptr_t first = i;
        while (i < MAP_SLICES && !is_used(s, i))
            i++;
        if (i > first)
            madvise((void *)(s->start + first * MAP_SLICE_SIZE), (i - first) * MAP_SLICE_SIZE,
                    MADV_DONTNEED);
    }
}

/* False where the map was too small. */
static bool trim(struct mem_map *used, const struct mem_move *m)
{
    mi_heap_visit_blocks(mi_heap_get_backing(), false, note_page, used);
    if (m->fresh)
        mi_heap_visit_blocks(m->fresh, false, note_page, used);
    for (uint32_t i = 0; !used->full && i < used->cap; i++)
        if (used->slots[i].start)
            give_back(&used->slots[i]);
    return !used->full;
}

/* What other threads have freed of this one's memory becomes pages only now. */
void mem_trim(const struct mem_move *m)
{
    struct mem_map used = {0};
    mi_collect(true);
    if (mi_version() != VERSION)
        return;
    bool done = false;
    for (uint32_t room = ROOM_MIN; !done; room *= 2) {
        mem_map_start(&used, room);
        done = !used.slots || trim(&used, m);
    }
    mem_map_end(&used);
}
#endif
