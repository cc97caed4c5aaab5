/* What a world's data is, as one number: keys with their values, expiries and clocks, in whatever
 * order they lie; lists and streams in their own order; groups with what is pending.
 *
 * On the way all accounts are checked against what there is. */
#pragma once

#include <criterion/criterion.h>

#include "proto/mem.h"
#include "shard/db_value.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream_group.h"
#include "shard/type/zset.h"
#include "test/shard/cmd_driver.h"

static inline uint64_t digest_mix(uint64_t h, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    h = (h ^ size) * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static inline uint64_t digest_slice(uint64_t h, struct slice s)
{
    return digest_mix(h, s.data, s.size);
}

static inline uint64_t digest_number(uint64_t h, uint64_t number)
{
    return digest_mix(h, &number, sizeof(number));
}

static inline uint64_t digest_list(const struct value *v)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    uint64_t h = 1;
    struct list_cursor at;
    list_check(v);
    list_cursor_start(&at, v, 0, false);
    for (; !list_cursor_ended(&at); list_cursor_next(&at))
        h = digest_slice(h, list_cursor_text(&at, scratch));
    list_cursor_stop(&at);
    return h;
}

static inline uint64_t digest_set(const struct value *v, const struct keyspace *k)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    uint64_t h = 2;
    struct set_walk w;
    struct set_member m;
    set_check(v, k);
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m))
        h += digest_slice(1, set_member_text(&m, scratch));
    return h;
}

static inline uint64_t digest_zset(const struct value *v, const struct keyspace *k)
{
    uint64_t h = 3;
    struct zset_walk w;
    struct slice member;
    double score;
    zset_check(v, k);
    zset_walk_start(&w, v, 0, false);
    while (zset_walk_next(&w, &member, &score))
        h = digest_slice(digest_mix(h, &score, sizeof(score)), member);
    return h;
}

static inline void digest_field(void *context, const struct hash_pair *pair)
{
    uint64_t h = digest_slice(digest_slice(4, pair->field), pair->value);
    *(uint64_t *)context += digest_number(h, (uint64_t)pair->expires_ms);
}

static inline uint64_t digest_id(uint64_t h, struct stream_id id)
{
    return digest_number(digest_number(h, id.ms), id.seq);
}

static inline uint64_t digest_pel(uint64_t h, const struct rax *pel)
{
    struct stream_id id, from = STREAM_ID_MIN;
    struct stream_nack *n;
    while ((n = stream_pel_seek(pel, from, &id))) {
        h = digest_slice(digest_id(h, id), stream_consumer_name(n->consumer));
        h = digest_number(digest_number(h, (uint64_t)n->delivered_ms), n->deliveries);
        from = id;
        if (!stream_id_increment(&from))
            break;
    }
    return h;
}

static inline uint64_t digest_groups(uint64_t h, const struct stream *s, bool clocks)
{
    for (struct stream_group *g = NULL; (g = stream_group_next(s, g));) {
        h = digest_slice(digest_id(h, g->last_id), stream_group_name(g));
        h = digest_pel(digest_number(h, (uint64_t)g->entries_read), &g->pel);
        for (struct stream_consumer *c = NULL; (c = stream_consumer_next(g, c));) {
            uint64_t seen = clocks ? (uint64_t)c->seen_ms : 0;
            uint64_t active = clocks ? (uint64_t)c->active_ms : 0;
            h = digest_slice(digest_number(h, seen), stream_consumer_name(c));
            h = digest_pel(digest_number(h, active), &c->pel);
        }
    }
    return h;
}

static inline uint64_t digest_stream(const struct value *v, bool clocks)
{
    const struct stream *s = stream_of(v);
    struct stream_walk w;
    struct stream_id id;
    uint32_t pairs;
    uint64_t h = digest_id(digest_id(digest_id(5, s->last_id), s->first_id), s->max_deleted_id);
    h = digest_number(digest_number(h, s->entries_added), s->length);
    stream_check(s);
    stream_walk_start(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, false);
    while (stream_walk_next(&w, &id, &pairs)) {
        h = digest_id(h, id);
        while (pairs--) {
            struct slice field, value;
            stream_walk_field(&w, &field, &value);
            h = digest_slice(digest_slice(h, field), value);
        }
    }
    return digest_groups(h, s, clocks);
}

struct digest {
    struct world *world;
    struct shard *shard;
    struct db *db;
    uint64_t sum;
    uint64_t held, expiring, field_expiring; /* as there is */
};

/* A hash whose fields have all expired is as absent. */
static inline uint64_t digest_value(struct digest *d, const struct place *p, bool *absent)
{
    const struct keyspace *k = &d->world->keyspace;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (db_is_string(p))
        return digest_slice(6, db_string(p, scratch));
    struct value v = db_value_of(p->entry);
    uint64_t h = 4;
    switch (v.type) {
    case TYPE_LIST:
        return digest_list(&v);
    case TYPE_SET:
        return digest_set(&v, k);
    case TYPE_ZSET:
        return digest_zset(&v, k);
    case TYPE_HASH:
        hash_check(&v, k);
        hash_each(&v, d->world->now_ms, digest_field, &h);
        *absent = h == 4;
        return h;
    default:
        return digest_stream(&v, !d->world->no_clocks);
    }
}

static inline uint64_t digest_held(const struct entry *e)
{
    if (e->type == TYPE_STRING)
        return e->encoding == ENC_BLOCK ? mem_usable(entry_pointer(e)) : 0;
    struct value v = db_value_of(e);
    return value_memory(&v);
}

static inline void digest_entry(void *context, void *item, struct table_place at)
{
    struct digest *d = context;
    struct entry *e = item;
    struct place p = db_place_of(d->shard, d->db, e);
    d->expiring += entry_expires(e);
    d->field_expiring += (e->flags & ENTRY_FIELDS_EXPIRE) != 0;
    d->held += digest_held(e);
    if (entry_expired(e, d->world->now_ms))
        return;
    bool absent = false;
    uint64_t h = digest_value(d, &p, &absent);
    h = digest_number(digest_slice(h, p.key), (uint64_t)db_expiry(&p));
    h = digest_number(h, (uint64_t)(d->db - d->shard->dbs));
    if (!absent)
        d->sum += digest_number(h, d->world->no_clocks ? 0 : e->clock);
}

static inline uint64_t digest_world(struct world *w)
{
    struct digest d = {.world = w};
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++) {
        d.shard = &w->shards[i];
        d.held = 0;
        for (uint32_t db = 0; db < w->keyspace.db_count; db++) {
            d.db = &d.shard->dbs[db];
            d.expiring = d.field_expiring = 0;
            table_scan(&d.db->keys, 0, 0, 0, false, digest_entry, &d);
            cr_assert_eq(d.expiring, d.db->expiring_count);
            cr_assert_eq(d.field_expiring, d.db->field_expiring_count);
        }
        cr_assert_eq(d.held, d.shard->block_bytes);
    }
    return d.sum;
}
