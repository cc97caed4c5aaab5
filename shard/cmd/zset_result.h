/* What commands on sorted sets share: how members are replied, and results kept. */
#pragma once

#include "shard/db.h"
#include "shard/type/zset.h"

enum zset_range_kind { ZSET_RANGE_RANK, ZSET_RANGE_SCORE, ZSET_RANGE_LEX };

/* The ranks, from *first to below *end, that ZREMRANGEBYRANK and its kin remove from a set, by
 * arguments 2 and 3: none where these are wrong. Replies nothing. */
void zset_removed_ranks(struct call *c, const struct value *v, enum zset_range_kind kind,
                        uint64_t *first, uint64_t *end);

/* Opens an array of `count` members. With their scores it is flat in RESP2, and in RESP3 an array
 * of pairs. */
static inline void zset_reply_open(struct reply *r, uint64_t count, bool with_scores)
{
    reply_array(r, with_scores && r->protocol < 3 ? 2 * count : count);
}

static inline void zset_reply_member(struct reply *r, struct slice member, double score,
                                     bool with_scores)
{
    if (with_scores && r->protocol >= 3)
        reply_array(r, 2);
    reply_bulk(r, member);
    if (with_scores)
        reply_double(r, score);
}

/* Gives the key that is argument `arg` the sorted set for its value (in place of any other), or
 * removes the key where the set is empty; replies how many members there are. Takes the set over.
 * `event` is notified of where the key has the set. */
static inline void zset_store(struct call *c, uint32_t arg, struct value *v, const char *event)
{
    uint64_t count = zset_count(v);
    struct place p = db_find(c, arg, DB_WRITE);
    if (count) {
        db_put_value(&p, *v, DB_NO_EXPIRY);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_ZSET, event);
    } else {
        value_free(v);
        if (p.entry) {
            db_delete(&p);
            db_changed(c, &p);
            db_notify(&p, NOTIFY_GENERIC, "del");
        }
    }
    reply_integer(&c->reply, (int64_t)count);
}
