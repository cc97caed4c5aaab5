/* What collections call while a view of them is open, before they change: see view.h.
 *
 * A collection holds a pointer to its view, NULL where there is none, and calls these only with
 * one. Nodes of lists and streams, and pending messages, carry the *stamp* of their collection:
 * a number that the opening of a view counts up. Whatever has another stamp was there when the
 * view was opened and has neither been written nor kept by it since; what is new has the
 * collection's, and gets no second look. (A stamp would come again with the 2^32nd view.) */
#pragma once

#include "shard/type/stream_id.h"

struct view;

/* Tables: elements of this hash are about to be changed or removed, or one is about to be added. */
void view_note_hash(struct view *w, uint64_t hash);

/* Chains: a node of the cut is about to change; `twin`, which the view takes, is a copy of it. */
void view_keep_node(struct view *w, void *node, void *twin);
/* A node has been unlinked whose next one is `next`; `kept` is the node itself where it is of the
 * cut, and becomes the view's, else NULL. */
void view_remove_node(struct view *w, const void *node, const void *next, void *kept);
/* The collection goes, what it holds goes on in another form. All its nodes are removed. */
void view_leave(struct view *w);

struct stream_group;
struct stream_nack;

/* Streams: a pending message of the cut is about to change or go. */
void view_keep_nack(struct view *w, const struct stream_group *g, const struct stream_nack *n,
                    struct stream_id id);
/* A group of the cut goes, after all its pending messages were kept. */
void view_remove_group(struct view *w, const struct stream_group *g);
