/* Views: a huge collection as it was at one moment, written in RDB's form piece by piece while it
 * goes on being changed.
 *
 * A view is attached to the collection; the collection's own functions tell it of each element (of
 * lists and streams: of each packed node) before they change or free it (view_hook.h), so that it
 * can keep what was there if it has not written that yet. What it keeps is bounded by what is
 * changed while it is open. It does not care who owns the collection or on which shard that is, but
 * all calls come from whoever holds the collection's shard.
 *
 * What takes how long: opening microseconds, of a stream in proportion to its groups and consumers
 * (but not to what is pending for them). A change of an element a copy of it more, once; of a
 * list's or stream's element a copy of its node. A write as its budget says, and one element or
 * node more. Destroying a group of a stream, which takes time in proportion to what is pending for
 * it anyway, about twice as long.
 *
 * The collection must not be freed under a view: it is adopted instead. Where a change makes
 * another encoding of it, the view leaves it, keeping what it needs: then view_of the value is
 * NULL, and the view goes on by itself. A copy of a collection has no view.
 *
 * Small collections have none: they are written at once. */
#pragma once

#include "proto/buf.h"
#include "shard/type/value.h"

struct view;

/* True for a collection that takes too long to be written at once: no packed one. */
bool view_is_needed(const struct value *v);
/* Opens one, at most one a collection, which is not packed. */
struct view *view_open(const struct value *v, bool compress);
/* Appends about `budget` bytes (at least 1) of its serialization (all of it is: what
 * rdb_write_value would have written at the moment of view_open, in any order that Redis loads);
 * true when it is whole. */
bool view_write(struct view *w, struct buf *out, size_t budget);
/* The collection, whose view this is, is about to go: from here on the view owns it. Nobody changes
 * it any more. */
void view_adopt(struct view *w, const struct value *v);
/* Ends it, whole or not. True with the value where it owned one, which the caller frees (lazily,
 * where it can: it is large). */
bool view_close(struct view *w, struct value *v);
/* The view that is attached to this collection, or NULL. */
struct view *view_of(const struct value *v);
/* Bytes that it holds, an adopted collection not counted. */
size_t view_memory(const struct view *w);
