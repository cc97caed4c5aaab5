/* Groups of consumers of a stream, and what was delivered to them and not yet acknowledged.
 *
 * A group has a list of pending messages (PEL) by id, and each of its consumers has one of its own;
 * both lead to the same nack, which knows its consumer. An id may be pending whose message is
 * deleted. PELs, groups and consumers are radix trees: `pel.count` says how many are pending,
 * `groups.count` and `consumers.count` how many there are. Groups belong to their stream, the rest
 * to its group. What is returned stays good until it is itself destroyed. */
#pragma once

#include "shard/type/stream.h"

/* entries_read of a group where it cannot be told; active_ms of a consumer that never got any. */
#define STREAM_UNKNOWN ((int64_t)-1)

/* Fields may be set by commands, but for PELs, trees and names. */
struct stream_group {
    struct stream_id last_id; /* the last delivered */
    int64_t entries_read;     /* messages ever added up to last_id, or STREAM_UNKNOWN */
    struct rax pel;           /* struct stream_nack by id */
    struct rax consumers;     /* struct stream_consumer by name */
    struct stream *stream;    /* to which it belongs */
    uint32_t stamp, view_index; /* which one it is of the view's groups, unless it is new */
    size_t name_size;
    char name[];
};

struct stream_consumer {
    int64_t seen_ms;   /* last tried to read or claim */
    int64_t active_ms; /* last got something by that, or STREAM_UNKNOWN */
    struct rax pel;    /* struct stream_nack by id: those of the group's that are its own */
    uint64_t view_index; /* as the group's */
    size_t name_size;
    char name[];
};

struct stream_nack {
    struct stream_consumer *consumer;
    int64_t delivered_ms;
    uint64_t deliveries; /* how often */
    uint32_t stamp;      /* see view_hook.h */
};

static inline struct slice stream_group_name(const struct stream_group *g)
{
    return (struct slice){g->name, g->name_size};
}

static inline struct slice stream_consumer_name(const struct stream_consumer *c)
{
    return (struct slice){c->name, c->name_size};
}

/* NULL: no such group. */
struct stream_group *stream_group_find(const struct stream *s, struct slice name);
/* NULL where there is one of that name already. */
struct stream_group *stream_group_create(struct stream *s, struct slice name,
                                         struct stream_id last_id, int64_t entries_read);
void stream_group_destroy(struct stream *s, struct stream_group *g);
/* The groups in order of their names: the one after `g`, the first for NULL; NULL at the end. */
struct stream_group *stream_group_next(const struct stream *s, const struct stream_group *g);

/* Notes that the message `id` was delivered: where it is above last_id it becomes that, and
 * entries_read is counted on, or estimated, as Redis 7 does. */
void stream_group_delivered(const struct stream *s, struct stream_group *g, struct stream_id id);
/* How many messages the group has yet to read: below 0 where entries_read was set to more than were
 * ever added. False where it cannot be told. */
bool stream_group_lag(const struct stream *s, const struct stream_group *g, int64_t *lag);
/* How many messages had ever been added when `id` was, as far as it can be told; else
 * STREAM_UNKNOWN. */
int64_t stream_entries_until(const struct stream *s, struct stream_id id);

/* NULL: no such consumer. */
struct stream_consumer *stream_consumer_find(const struct stream_group *g, struct slice name);
/* NULL where there is one of that name already. seen_ms is now_ms, active_ms STREAM_UNKNOWN. */
struct stream_consumer *stream_consumer_create(struct stream_group *g, struct slice name,
                                               int64_t now_ms);
/* Forgets the messages pending for it, too. */
void stream_consumer_destroy(struct stream_group *g, struct stream_consumer *c);
/* As stream_group_next. */
struct stream_consumer *stream_consumer_next(const struct stream_group *g,
                                             const struct stream_consumer *c);

/* NULL: not pending. `pel` is a group's or a consumer's. */
struct stream_nack *stream_pel_find(const struct rax *pel, struct stream_id id);
/* The first pending message at `from` or above, its id in *id; NULL: none. A walk goes on from
 * stream_id_increment of it; any change is allowed on the way. */
struct stream_nack *stream_pel_seek(const struct rax *pel, struct stream_id from,
                                    struct stream_id *id);
/* The last pending message; NULL: none. */
struct stream_nack *stream_pel_last(const struct rax *pel, struct stream_id *id);

/* To be called before a nack's time or count is changed. */
void stream_pel_touch(struct stream_group *g, struct stream_nack *n, struct stream_id id);
/* Makes the message pending for a consumer, delivered once, whether or not it was pending for
 * another one before: what XREADGROUP does. */
struct stream_nack *stream_pel_deliver(struct stream_group *g, struct stream_consumer *c,
                                       struct stream_id id, int64_t now_ms);
/* Gives a pending message to another consumer (or to the same); time and count stay. */
void stream_pel_move(struct stream_group *g, struct stream_nack *n, struct stream_id id,
                     struct stream_consumer *to);
/* Acknowledges: false where it was not pending. */
bool stream_pel_ack(struct stream_group *g, struct stream_id id);

/* Takes the message out of the PELs of all groups; returns of how many (XDELEX DELREF). */
uint64_t stream_forget_id(struct stream *s, struct stream_id id);
/* True where every group has read the message (its last_id is at or above it) and has it no longer
 * pending (XDELEX ACKED). True without groups. */
bool stream_acked_by_all(const struct stream *s, struct stream_id id);

/* For stream.c: frees the groups in steps, copies them, checks them. */
bool stream_groups_free_some(struct stream *s, uint64_t *budget);
void stream_groups_copy(struct stream *to, const struct stream *from);
void stream_groups_check(const struct stream *s);
