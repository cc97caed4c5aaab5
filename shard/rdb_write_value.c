/* RDB: values written.
 *
 * What is packed in memory (listpacks, intsets) is in Redis's published forms and written as one
 * string. Redis 7.0 has no packed sets but of integers: those of ours are written member by member.
 * Large collections are walked, and written whole; for what must not take long, see type/view.h. */
#include <assert.h>

#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/type/hash.h"
#include "shard/type/intset.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream_group.h"
#include "shard/type/zset.h"

/* How a node of a list is held. */
enum container { CONTAINER_PLAIN = 1, CONTAINER_PACKED = 2 };

/* --- Types --- */

static bool fields_expire(const struct value *v)
{
    return hash_ops.next_due_ms(v) != HASH_NO_EXPIRY;
}

static uint8_t type_of_hash(const struct value *v)
{
    if (fields_expire(v))
        return v->encoding == ENC_TABLE ? RDB_HASH_FIELDS : RDB_HASH_LISTPACK_EX;
    return v->encoding == ENC_LISTPACK ? RDB_HASH_LISTPACK : RDB_HASH;
}

uint8_t rdb_type_of_value(const struct value *v)
{
    switch (v->type) {
    case TYPE_LIST:
        return RDB_LIST_QUICKLIST_2;
    case TYPE_SET:
        return v->encoding == ENC_INTSET && v->data ? RDB_SET_INTSET : RDB_SET;
    case TYPE_ZSET:
        return v->encoding == ENC_LISTPACK ? RDB_ZSET_LISTPACK : RDB_ZSET_2;
    case TYPE_HASH:
        return type_of_hash(v);
    default:
        assert(v->type == TYPE_STREAM);
        return RDB_STREAM_2;
    }
}

static struct value value_of(const struct entry *e)
{
    return (struct value){(uint8_t)e->type, (uint8_t)e->encoding, entry_pointer(e)};
}

uint8_t rdb_type_of_entry(const struct entry *e)
{
    if (e->type == TYPE_STRING)
        return RDB_STRING;
    struct value v = value_of(e);
    return rdb_type_of_value(&v);
}

/* --- Collections --- */

static struct slice listpack_bytes(const unsigned char *lp)
{
    return (struct slice){(const char *)lp, listpack_size(lp)};
}

static void write_listpack(struct buf *out, const unsigned char *lp, bool compress)
{
    rdb_write_string(out, listpack_bytes(lp), compress);
}

static void write_list_node(struct buf *out, const struct quicklist_node *n, bool compress)
{
    rdb_write_length(out, n->plain ? CONTAINER_PLAIN : CONTAINER_PACKED);
    if (n->compressed)
        rdb_write_compressed(out, quicklist_packed(n), n->size);
    else
        rdb_write_string(out, (struct slice){(const char *)n->bytes, n->size}, compress);
}

static void write_list(struct buf *out, const struct value *v, bool compress)
{
    if (v->encoding == ENC_LISTPACK) {
        rdb_write_length(out, 1);
        rdb_write_length(out, CONTAINER_PACKED);
        write_listpack(out, v->data, compress);
        return;
    }
    const struct quicklist *q = v->data;
    rdb_write_length(out, q->node_count);
    for (const struct quicklist_node *n = q->first; n; n = n->next)
        write_list_node(out, n, compress);
}

static void write_set(struct buf *out, const struct value *v, bool compress)
{
    if (v->encoding == ENC_INTSET && v->data) {
        rdb_write_string(out, (struct slice){v->data, intset_size(v->data)}, compress);
        return;
    }
    rdb_write_length(out, set_count(v));
    struct set_walk walk;
    struct set_member m;
    set_walk_start(&walk, v);
    while (set_walk_next(&walk, &m)) {
        if (m.text.data)
            rdb_write_string(out, m.text, compress);
        else
            rdb_write_integer(out, m.integer);
    }
}

/* From the highest score on, as Redis does: a reader that adds to a list then does so in front. */
static void write_zset(struct buf *out, const struct value *v, bool compress)
{
    if (v->encoding == ENC_LISTPACK) {
        write_listpack(out, v->data, compress);
        return;
    }
    rdb_write_length(out, zset_count(v));
    struct zset_walk walk;
    struct slice member;
    double score;
    zset_walk_start(&walk, v, 0, true);
    while (zset_walk_next(&walk, &member, &score)) {
        rdb_write_string(out, member, compress);
        buf_append(out, &score, sizeof(score));
    }
}

struct hash_writing {
    struct buf *out;
    bool compress;
    bool dated;     /* each field with its expiry, ... */
    int64_t due_ms; /* ... as counted from this */
};

static void write_pair(void *context, const struct hash_pair *pair)
{
    const struct hash_writing *w = context;
    if (w->dated) {
        bool expires = pair->expires_ms != HASH_NO_EXPIRY;
        assert(pair->expires_ms >= w->due_ms);
        rdb_write_length(w->out, expires ? (uint64_t)(pair->expires_ms - w->due_ms) + 1 : 0);
    }
    rdb_write_string(w->out, pair->field, w->compress);
    rdb_write_string(w->out, pair->value, w->compress);
}

/* Fields that have expired unseen are written as well: which they are is for the reader to say. */
static void write_hash(struct buf *out, const struct value *v, bool compress)
{
    bool dated = fields_expire(v);
    int64_t due_ms = hash_ops.next_due_ms(v);
    if (dated)
        rdb_write_u64(out, (uint64_t)due_ms);
    if (v->encoding == ENC_LISTPACK) {
        write_listpack(out, v->data, compress);
    } else if (v->encoding == ENC_LISTPACK_EX && dated) {
        unsigned char *lp = hash_listpack_by_expiry(v);
        write_listpack(out, lp, compress);
        mem_free(lp);
    } else {
        rdb_write_length(out, value_count(v));
        struct hash_writing w = {out, compress, dated, due_ms};
        hash_each(v, INT64_MIN, write_pair, &w);
    }
}

/* --- Streams --- */

static void write_id(struct buf *out, struct stream_id id)
{
    rdb_write_length(out, id.ms);
    rdb_write_length(out, id.seq);
}

static void write_id_key(struct buf *out, struct stream_id id)
{
    unsigned char key[STREAM_ID_KEY_SIZE];
    stream_id_write_key(key, id);
    buf_append(out, key, sizeof(key));
}

static void write_pel(struct buf *out, const struct rax *pel, bool whole)
{
    rdb_write_length(out, pel->count);
    struct stream_id id, from = STREAM_ID_MIN;
    const struct stream_nack *n;
    while ((n = stream_pel_seek(pel, from, &id))) {
        write_id_key(out, id);
        if (whole) {
            rdb_write_u64(out, (uint64_t)n->delivered_ms);
            rdb_write_length(out, n->deliveries);
        }
        from = id;
        if (!stream_id_increment(&from))
            break;
    }
}

static void write_group(struct buf *out, const struct stream_group *g, bool compress)
{
    rdb_write_string(out, stream_group_name(g), compress);
    write_id(out, g->last_id);
    rdb_write_length(out, (uint64_t)g->entries_read);
    write_pel(out, &g->pel, true);
    rdb_write_length(out, g->consumers.count);
    const struct stream_consumer *c = NULL;
    while ((c = stream_consumer_next(g, c))) {
        rdb_write_string(out, stream_consumer_name(c), compress);
        rdb_write_u64(out, (uint64_t)c->seen_ms);
        write_pel(out, &c->pel, false);
    }
}

static void write_stream(struct buf *out, const struct value *v, bool compress)
{
    const struct stream *s = stream_of(v);
    rdb_write_length(out, s->nodes.count);
    for (const struct stream_node *n = s->first; n; n = n->next) {
        rdb_write_length(out, STREAM_ID_KEY_SIZE);
        write_id_key(out, n->master);
        write_listpack(out, n->listpack, compress);
    }
    rdb_write_length(out, s->length);
    write_id(out, s->last_id);
    write_id(out, s->first_id);
    write_id(out, s->max_deleted_id);
    rdb_write_length(out, s->entries_added);
    rdb_write_length(out, s->groups.count);
    struct stream_group *g = NULL;
    while ((g = stream_group_next(s, g)))
        write_group(out, g, compress);
}

/* --- Values --- */

void rdb_write_value(struct buf *out, const struct value *v, bool compress)
{
    switch (v->type) {
    case TYPE_LIST:
        write_list(out, v, compress);
        return;
    case TYPE_SET:
        write_set(out, v, compress);
        return;
    case TYPE_ZSET:
        write_zset(out, v, compress);
        return;
    case TYPE_HASH:
        write_hash(out, v, compress);
        return;
    default:
        assert(v->type == TYPE_STREAM);
        write_stream(out, v, compress);
    }
}

void rdb_write_entry_value(struct buf *out, const struct entry *e, bool compress)
{
    if (e->type != TYPE_STRING) {
        struct value v = value_of(e);
        rdb_write_value(out, &v, compress);
    } else if (e->encoding == ENC_INTEGER) {
        rdb_write_integer(out, entry_integer(e));
    } else if (e->encoding == ENC_INLINE) {
        rdb_write_string(out, (struct slice){entry_value(e), e->value_size}, compress);
    } else {
        const struct entry_block *b = entry_pointer(e);
        rdb_write_string(out, (struct slice){b->bytes, b->size}, compress);
    }
}
