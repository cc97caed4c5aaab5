/* What the commands on streams share: arguments that are ids, and replies that are messages.
 * Called by command bodies. */
#pragma once

#include "shard/call.h"
#include "shard/db.h"
#include "shard/type/stream.h"

/* Argument `arg` as a full id, or milliseconds alone with `missing_seq`. False, having replied
 * "ERR Invalid stream ID specified as stream command argument". */
bool stream_arg_id(struct call *c, uint32_t arg, uint64_t missing_seq, struct stream_id *id);
/* A bound of a range: the same, and "-", "+", and exclusive with "(" in front. `end`: milliseconds
 * alone are the last id of theirs, else the first. False having replied. */
bool stream_arg_bound(struct call *c, uint32_t arg, bool end, struct stream_id *id);

/* What becomes of the entries that PELs have for a message that is to be deleted. */
enum stream_references {
    STREAM_REFERENCES_KEEP,
    STREAM_REFERENCES_DELETE,
    STREAM_REFERENCES_ACKED, /* a message that a group has yet to read or acknowledge stays */
};

/* [KEEPREF | DELREF | ACKED] IDS numids id [id ...] */
struct stream_delete_args {
    enum stream_references references;
    uint32_t first_id, id_count; /* args */
};

/* Reads them from argument `from` to the end, but for the ids themselves. False having replied. */
bool stream_args_delete(struct call *c, uint32_t from, struct stream_delete_args *a);
/* Deletes the message of the stream at the place as asked, and tells the journal: 1, or -1 where
 * there is none, or 2 where it stays. */
int stream_delete_as(struct call *c, const struct place *p, struct stream *s, struct stream_id id,
                     enum stream_references references);
/* Tells the journal that a message is not pending any more in a group. */
void stream_tell_acked(struct call *c, const struct place *p, struct slice group,
                       struct stream_id id);

void stream_reply_id(struct reply *r, struct stream_id id);
/* The message that the walk has just given: [id, [field, value, ...]]. */
void stream_reply_message(struct reply *r, struct stream_walk *w, struct stream_id id,
                          uint32_t pairs);
/* All that the walk has left, at most `count` of it (0: all), as an array that may be empty.
 * Returns how many messages. */
uint64_t stream_reply_range(struct reply *r, struct stream_walk *w, uint64_t count);

/* An array whose count is known only at its end: what is written between the two is its elements.
 * `start` is what stream_array_begin returned. */
size_t stream_array_begin(struct reply *r);
void stream_array_end(struct reply *r, size_t start, uint64_t count);
