/* Streams: messages (pairs of fields and values) under ascending ids, and groups of consumers.
 *
 * One encoding, ENC_STREAM; `data` is a struct stream. Messages lie in nodes, each of them a
 * listpack in Redis's published stream format (which RDB files hold as it is), chained, and
 * found by their master id in a radix tree. A node's listpack:
 *
 *     count, deleted, n, field 1 .. field n, 0         the master: the first message's fields
 *     flags, ms, seq, value 1 .. value n, lp-count     a message with the master's fields
 *     flags, ms, seq, m, field 1, value 1 .. lp-count  any other message
 *
 * `ms` and `seq` are differences to the master's id, `lp-count` is how many elements of the message
 * stand before it: so it can be walked backward. A deleted message is only marked; a node goes with
 * its last message. A node is full at stream-node-max-bytes or -entries.
 *
 * Here are messages; stream_group.h has groups. Commands change a stream by these functions and set
 * last_id, entries_added and max_deleted_id themselves where they are told to (XSETID). */
#pragma once

#include "proto/number.h"
#include "shard/type/rax.h"
#include "shard/type/stream_id.h"
#include "shard/type/value.h"

struct view;

struct stream_node {
    unsigned char *listpack;
    struct stream_id master; /* the id that its messages count from */
    struct stream_node *next, *previous;
    uint32_t live; /* all messages before this position of the listpack are deleted; 0: unknown */
    uint32_t stamp; /* see view_hook.h */
};

/* Fields are for reading, but for those that the opening names. */
struct stream {
    struct rax nodes; /* struct stream_node by master id; .count and .nodes for XINFO */
    struct stream_node *first, *last;
    uint64_t length;  /* messages that are not deleted */
    struct stream_id last_id;        /* of the last ever added, or as set */
    struct stream_id first_id;       /* of the first message there is; 0-0 in an empty stream */
    struct stream_id max_deleted_id; /* the largest ever deleted (not: trimmed), or as set */
    uint64_t entries_added;          /* all that were ever added, or as set */
    struct rax groups;               /* struct stream_group by name; .count is how many */
    struct rax_account account;      /* all that the stream holds, itself included */
    struct view *view;               /* open on it, or NULL */
    uint32_t stamp; /* of nodes, groups and nacks that are new or not the view's any more */
    struct stream_node *moving; /* compaction goes on with it; NULL: none has begun */
};

static inline struct stream *stream_of(const struct value *v)
{
    return v->data;
}

/* Adds a message of `pairs` fields and values, which stand side by side in `fields`. The id is
 * above last_id, and becomes it. False, having changed nothing, where the message is too large
 * (1 GiB). */
bool stream_append(struct stream *s, const struct keyspace *k, struct stream_id id,
                   const struct slice *fields, uint32_t pairs);
/* True where the message is there. */
bool stream_find(const struct stream *s, struct stream_id id);
/* False where there was none. Groups are left alone. */
bool stream_delete(struct stream *s, struct stream_id id);
/* Of a node in no stream: what a view was left. */
void stream_free_node(struct stream_node *n);
/* Takes back the stream_append that was the last change of messages; last_id becomes what it
 * was. */
void stream_take_last(struct stream *s, struct stream_id last_id);
/* The last message that there is: false, giving 0-0, in an empty stream. */
bool stream_last_message(const struct stream *s, struct stream_id *id);

/* What trimming leaves. */
struct stream_trim {
    bool by_id;        /* what is below min_id goes; else all but the last max_length messages */
    bool approximate;  /* only whole nodes go */
    uint64_t max_length;
    struct stream_id min_id;
    uint64_t limit;    /* approximate: visits no more messages than that; 0: no limit */
};

/* Returns how many messages went. */
uint64_t stream_trim(struct stream *s, const struct stream_trim *trim);

/* A walk over the messages with ids from `start` to `end`, both included, or backward from
 * `end`. Each call of stream_walk_next gives a message, and stream_walk_field after it the
 * message's fields, one by one. Good until the stream's messages change (groups may). */
struct stream_walk {
    struct stream_id start, end;
    bool reverse;
    struct stream_node *node; /* NULL: at the end */
    uint32_t at;            /* the listpack's position of the message given last; 0: none yet */
    uint32_t next;          /* ... of the field to be given next, or of the value */
    uint32_t left;          /* elements from there on to the message's lp-count */
    uint32_t master_fields; /* ... of the master's first field */
    uint32_t master_count;  /* how many there are */
    uint32_t master_next;   /* the position of the master's field to be given next */
    bool same_fields;
    char scratch[2][NUMBER_INTEGER_SIZE_MAX];
};

void stream_walk_start(struct stream_walk *w, const struct stream *s, struct stream_id start,
                       struct stream_id end, bool reverse);
/* The next message that is not deleted: its id and how many fields it has. False at the end. */
bool stream_walk_next(struct stream_walk *w, struct stream_id *id, uint32_t *pairs);
/* The next field of that message with its value, in order; at most `pairs` times, or fewer. Both
 * are good until the next call. */
void stream_walk_field(struct stream_walk *w, struct slice *field, struct slice *value);

/* Loading. True where a well-formed listpack from outside is a node under this master id: each
 * number where it belongs, the counts right, and the messages that are not deleted in order. */
bool stream_node_valid(const unsigned char *listpack, struct stream_id master);
/* Appends a copy of such a node, unless all its messages are deleted; first_id, last_id and length
 * follow. False where it does not begin above last_id. */
bool stream_append_node(struct stream *s, struct stream_id master, const unsigned char *listpack);

/* For tests: aborts on a broken invariant. */
void stream_check(const struct stream *s);
