/* Records of an RDB file put into a shard: see rdb_load.h. */
#include "shard/rdb_load.h"

#include "shard/db_value.h"

/* Keys hashed and prefetched ahead of the one that is inserted. */
#define PREFETCH_DEPTH 16

/* A record whose key was read. */
struct ahead {
    struct rdb_reader reader; /* at the value */
    struct buf scratch;       /* of the key, where it does not lie in the file as it is */
    struct slice key;
    uint64_t hash;
};

static bool fail(struct rdb_load *l, const struct rdb_record *r, const char *error)
{
    l->failed = r;
    l->error = error ? error : "corrupt value";
    return false;
}

static bool read_key(const struct shard *s, struct rdb_load *l, const struct rdb_record *r,
                     struct ahead *a)
{
    a->reader = (struct rdb_reader){.at = r->at, .end = r->at + r->size};
    if (rdb_read_string(&a->reader, &a->scratch, &a->key) != RDB_DONE)
        return fail(l, r, a->reader.error);
    a->hash = keyspace_hash(s->keyspace, a->key);
    shard_prefetch_bucket(s, r->db, a->hash);
    return true;
}

/* What the file says of the last use is worth something only under the policy that it is of. */
static void set_clock(const struct shard *s, const struct rdb_record *r, struct entry *e)
{
    if (s->keyspace->options.lfu) {
        if (r->frequency >= 0)
            e->clock = (db_clock_fresh(s) & ~UINT32_C(0xff)) | (uint32_t)r->frequency;
    } else if (r->idle_s > 0) {
        e->clock = (db_clock_fresh(s) - (uint32_t)r->idle_s) & ENTRY_CLOCK_MAX;
    }
}

static int64_t expiry_of(const struct rdb_record *r)
{
    if (r->expires_ms == -1)
        return DB_NO_EXPIRY;
    return r->expires_ms < 0 ? 0 : r->expires_ms;
}

static enum rdb_end put_string(struct place *p, const struct rdb_record *r, struct ahead *a)
{
    struct buf scratch;
    struct slice value;
    buf_init(&scratch);
    enum rdb_end end = rdb_read_string(&a->reader, &scratch, &value);
    if (end == RDB_DONE)
        db_put_string(p, value, expiry_of(r));
    buf_deinit(&scratch);
    return end;
}

static enum rdb_end put_collection(struct place *p, const struct rdb_load *l,
                                   const struct rdb_record *r, struct ahead *a)
{
    struct rdb_options options = {.keyspace = p->shard->keyspace, .now_ms = l->now_ms};
    struct rdb_value v;
    enum rdb_end end = rdb_read_value(&a->reader, r->type, &options, &v);
    if (end == RDB_DONE)
        db_put_value(p, v.value, expiry_of(r));
    return end;
}

static bool insert(struct shard *s, struct rdb_load *l, const struct rdb_record *r,
                   struct ahead *a)
{
    if (l->now_ms && r->expires_ms != -1 && r->expires_ms < l->now_ms) {
        l->expired++;
        return true;
    }
    struct place p = db_place_as_is(s, r->db, a->key, a->hash);
    if (p.entry && !l->replaces)
        return fail(l, r, "the key is there twice");
    enum rdb_end end =
        r->type == RDB_STRING ? put_string(&p, r, a) : put_collection(&p, l, r, a);
    if (end == RDB_EMPTY) {
        l->empty++;
        if (l->leaves_out)
            l->leaves_out(l->context, a->key);
        return true;
    }
    if (end != RDB_DONE)
        return fail(l, r, a->reader.error);
    set_clock(s, r, p.entry);
    l->loaded++;
    return true;
}

static bool load_window(struct shard *s, struct rdb_load *l, const struct rdb_record *records,
                        uint32_t count, struct ahead *ahead)
{
    for (uint32_t i = 0; i < count; i++)
        if (!read_key(s, l, &records[i], &ahead[i]))
            return false;
    for (uint32_t i = 0; i < count; i++)
        shard_prefetch_entry(s, records[i].db, ahead[i].hash);
    for (uint32_t i = 0; i < count; i++)
        if (!insert(s, l, &records[i], &ahead[i]))
            return false;
    return true;
}

bool rdb_load_records(struct shard *s, struct rdb_load *l, const struct rdb_record *records,
                      uint32_t count)
{
    struct ahead ahead[PREFETCH_DEPTH];
    struct event *mark = event_mark(&s->events);
    bool good = true;
    for (uint32_t i = 0; i < PREFETCH_DEPTH; i++)
        buf_init(&ahead[i].scratch);
    for (uint32_t i = 0; good && i < count; i += PREFETCH_DEPTH) {
        uint32_t left = count - i;
        good = load_window(s, l, records + i, left < PREFETCH_DEPTH ? left : PREFETCH_DEPTH, ahead);
    }
    for (uint32_t i = 0; i < PREFETCH_DEPTH; i++)
        buf_deinit(&ahead[i].scratch);
    event_cut(s, mark); /* of new keys: nobody is told of what is loaded */
    return good;
}
