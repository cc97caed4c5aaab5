/* What the commands on groups of consumers share: finding a group, its errors, its consumers, and
 * several ids. Called by command bodies. Defined in stream_group.c. */
#pragma once

#include "shard/cmd/stream_cmd.h"
#include "shard/db.h"
#include "shard/type/stream_group.h"

/* Where a command works: a key, its stream, a group of that. */
struct group_place {
    struct place place;
    struct value value;
    struct stream *stream;      /* NULL: no such key */
    struct stream_group *group; /* NULL: no such key or group */
    bool changed;               /* to be said by group_place_keep */
};

/* Finds the stream that is argument `key_arg` and the group `group_arg` of it. False, having
 * replied, where the key is of another type. */
bool group_place_find(struct call *c, uint32_t key_arg, uint32_t group_arg, enum db_mode mode,
                      struct group_place *g);
/* The same, but false having replied -NOGROUP where there is no such key or group, too. */
bool group_place_require(struct call *c, uint32_t key_arg, uint32_t group_arg, enum db_mode mode,
                         struct group_place *g);
/* The consumer, which is created if need be, and has been seen now. */
struct stream_consumer *group_place_consumer(struct call *c, struct group_place *g,
                                             struct slice name);
/* Messages that have become pending for a consumer, or were delivered to it again, are told to the
 * journal as claims, several in one where they can be. Nothing else is told of them meanwhile. */
#define GROUP_CLAIMS_MAX 64

struct group_claims {
    struct call *call;
    const struct group_place *at;
    const struct stream_consumer *consumer;
    int64_t delivered_ms; /* of those gathered */
    uint64_t deliveries;
    uint32_t count;
    struct stream_id ids[GROUP_CLAIMS_MAX];
};

void group_claims_start(struct group_claims *m, struct call *c, const struct group_place *g,
                        const struct stream_consumer *consumer);
void group_claims_add(struct group_claims *m, struct stream_id id, const struct stream_nack *n);
void group_claims_end(struct group_claims *m);
/* Tells what the group has read: XGROUP SETID. */
void group_place_tell_read(struct call *c, const struct group_place *g);
/* Puts the stream back, and says that it changed where `changed`: in a way that concerns nobody who
 * waits, as no message came and no group went. */
void group_place_keep(struct call *c, struct group_place *g);

/* "NOGROUP No such consumer group ..." of commands that have checked the key before. */
void stream_error_no_group(struct call *c, struct slice group, struct slice key);

/* Ids that are arguments. Few of them take no allocation. */
#define STREAM_IDS_FEW 8

struct stream_ids {
    struct stream_id few[STREAM_IDS_FEW];
    struct stream_id *ids;
    uint32_t count;
};

/* Room for `count` ids. */
void stream_ids_init(struct stream_ids *ids, uint32_t count);
/* Reads `count` ids from argument `arg` on; false, having replied and freed, where one is wrong. */
bool stream_ids_read(struct call *c, uint32_t arg, uint32_t count, struct stream_ids *ids);
void stream_ids_deinit(struct stream_ids *ids);
