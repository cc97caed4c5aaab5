/* The insides of view.h: what a view is, and what the kinds of views share.
 *
 *   view.c         which kind a collection has, opening, handing over, closing
 *   view_table.c   sets, hashes, sorted sets: elements of a table, in any order
 *   view_chain.c   chains of nodes, in their order: what lists and streams share
 *   view_list.c    lists
 *   view_stream.c  streams: their nodes, and the groups with what is pending
 *   view_queue.c   bytes that wait to be written */
#pragma once

#include "proto/buf.h"
#include "shard/type/value.h"

struct view;

struct view_kind {
    /* As view_write. */
    bool (*write)(struct view *w, struct buf *out, size_t budget);
    size_t (*memory)(const struct view *w);
    /* Frees the view, but not the collection. */
    void (*destroy)(struct view *w);
};

/* What every view begins with. */
struct view {
    const struct view_kind *kind;
    struct value value; /* data is NULL where the collection is no more, nor any value of it */
    bool compress;
    bool owned;         /* the collection is the view's */
    bool whole;         /* all is written */
};

/* Each makes a view of its kind, which knows nothing yet of `value` but its contents. */
struct view *view_table_open(const struct value *v, bool compress);
struct view *view_list_open(const struct value *v, bool compress);
struct view *view_stream_open(const struct value *v, bool compress);

/* --- Bytes that wait: view_queue.c --- */

/* Pieces of bytes, first in, first out. Adding never moves more than a piece. All zeros: empty. */
struct view_queue {
    struct view_piece *first, *last;
    size_t size;   /* bytes that wait */
    size_t memory; /* held for them */
};

/* Where to append to: room for one thing more, to be followed by view_queue_end. */
struct buf *view_queue_begin(struct view_queue *q);
void view_queue_end(struct view_queue *q);
/* Moves pieces to `out` until it has grown to `size_max` or the queue is empty; true where it is
 * empty. */
bool view_queue_drain(struct view_queue *q, struct buf *out, size_t size_max);
void view_queue_deinit(struct view_queue *q);
