/* Bytes that wait to be written: see view_inside.h. */
#include "shard/type/view_inside.h"

#include <assert.h>

#include "proto/mem.h"

/* A piece is closed when it has so many bytes: what is moved at once, where elements are small. */
#define PIECE_SIZE 16384

struct view_piece {
    struct view_piece *next;
    struct buf bytes;
};

static struct view_piece *add_piece(struct view_queue *q)
{
    struct view_piece *p = mem_alloc_zeroed(sizeof(*p));
    *(q->last ? &q->last->next : &q->first) = p;
    q->last = p;
    q->memory += mem_usable(p);
    return p;
}

struct buf *view_queue_begin(struct view_queue *q)
{
    struct view_piece *p = q->last;
    if (!p || p->bytes.size >= PIECE_SIZE)
        p = add_piece(q);
    q->size -= p->bytes.size;
    q->memory -= p->bytes.cap;
    return &p->bytes;
}

void view_queue_end(struct view_queue *q)
{
    q->size += q->last->bytes.size;
    q->memory += q->last->bytes.cap;
}

bool view_queue_drain(struct view_queue *q, struct buf *out, size_t size_max)
{
    while (q->first && out->size < size_max) {
        struct view_piece *p = q->first;
        buf_append_slice(out, buf_slice(&p->bytes));
        q->first = p->next;
        if (!q->first)
            q->last = NULL;
        q->size -= p->bytes.size;
        q->memory -= p->bytes.cap + mem_usable(p);
        buf_deinit(&p->bytes);
        mem_free(p);
    }
    assert(q->first || (q->size == 0 && q->memory == 0));
    return !q->first;
}

void view_queue_deinit(struct view_queue *q)
{
    while (q->first) {
        struct view_piece *p = q->first;
        q->first = p->next;
        buf_deinit(&p->bytes);
        mem_free(p);
    }
    *q = (struct view_queue){0};
}
