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
/* A sanitizer's allocator keeps what it has; the C library's own malloc_trim is not to be called
 * beside it. */
bool mem_trim(const struct mem_move *m, uintptr_t *from)
{
    (void)m, (void)from;
    return false;
}
#else
#include <mimalloc.h>
#include <sys/mman.h>

#include "proto/mem_map.h"

/* The version whose segments are known to be laid out like this. */
#define VERSION 209
/* A segment's head takes one slice or two. */
#define HEAD_SLICES 4
/* Blocks of about so much on have segments of their own, of other sizes: nothing is given back. */
#define LARGE_MIN (MAP_SEGMENT_SIZE / 4)
#define PAGE_SIZE ((uintptr_t)4096)
/* Room for 4 GB at first. */
#define ROOM_MIN 128

static bool note_page(const mi_heap_t *heap, const mi_heap_area_t *area, void *block,
                      size_t block_size, void *context)
{
    uintptr_t from = (uintptr_t)area->blocks;
    uintptr_t segment = from - from % MAP_SEGMENT_SIZE;
    if (area->reserved < LARGE_MIN)
        mem_map_mark(context, from, from + area->reserved);
    else
        mem_map_mark(context, segment, segment + MAP_SEGMENT_SIZE);
    return true;
}

static bool is_used(const struct mem_segment *s, uintptr_t slice)
{
    return s->marks[slice / 64] >> slice % 64 & 1;
}

/* Bytes of a stretch that are resident: what giving it back takes time for. */
static size_t resident(uintptr_t at, size_t size)
{
    unsigned char in_core[MAP_SLICE_SIZE / PAGE_SIZE];
    size_t pages = 0;
    if (mincore((void *)at, size, in_core) != 0)
        return size;
    for (size_t i = 0; i < size / PAGE_SIZE; i++)
        pages += in_core[i] & 1;
    return pages * PAGE_SIZE;
}

/* From *from on, which lies in the segment. True where the step ended before the segment did. */
static bool give_back(const struct mem_segment *s, uintptr_t *from, size_t *given)
{
    uintptr_t i = (*from - s->start) / MAP_SLICE_SIZE;
    for (; i < MAP_SLICES && *given < MEM_TRIM_STEP; i++) {
        uintptr_t at = s->start + i * MAP_SLICE_SIZE;
        size_t size = i < HEAD_SLICES || is_used(s, i) ? 0 : resident(at, MAP_SLICE_SIZE);
        *given += size;
        if (size)
            madvise((void *)at, MAP_SLICE_SIZE, MADV_DONTNEED);
    }
    *from = s->start + i * MAP_SLICE_SIZE;
    return i < MAP_SLICES;
}

/* The first segment that does not end at the address or before. */
static const struct mem_segment *segment_from(const struct mem_map *used, uintptr_t from)
{
    const struct mem_segment *first = NULL;
    for (const struct mem_segment *s = used->slots; s < used->slots + used->cap; s++)
        if (s->start && s->start + MAP_SEGMENT_SIZE > from && (!first || s->start < first->start))
            first = s;
    return first;
}

static bool step(const struct mem_map *used, uintptr_t *from)
{
    size_t given = 0;
    const struct mem_segment *s;
    while ((s = segment_from(used, *from))) {
        if (*from < s->start)
            *from = s->start;
        if (give_back(s, from, &given))
            return true;
    }
    return false;
}

/* False where the map was too small. */
static bool note_pages(struct mem_map *used, const struct mem_move *m)
{
    mi_heap_visit_blocks(mi_heap_get_backing(), false, note_page, used);
    if (m->fresh)
        mi_heap_visit_blocks(m->fresh, false, note_page, used);
    return !used->full;
}

/* What other threads have freed of this one's memory becomes pages only now. */
bool mem_trim(const struct mem_move *m, uintptr_t *from)
{
    struct mem_map used = {0};
    if (*from == 0)
        mi_collect(true);
    if (mi_version() != VERSION)
        return false;
    bool noted = false;
    for (uint32_t room = ROOM_MIN; !noted; room *= 2) {
        mem_map_start(&used, room);
        noted = !used.slots || note_pages(&used, m);
    }
    bool more = step(&used, from);
    mem_map_end(&used);
    return more;
}
#endif
