/* The sweep: removes expired keys that no one asks for.
 *
 * It goes round each database's table by scan position, a few buckets at a time, and the table's
 * marks let it touch only entries with an expiry. A scan must not remove, so what is due is
 * gathered first; a slice is small enough that the gathered entries fit on the stack. The
 * databases with expiring keys share a call's buckets evenly, and a call that runs out lets the
 * next begin where it stopped. */
#include "shard/db_value.h"

/* A slice is about a hundred keys at the table's usual fill. What is due beyond DUE_MAX is met
 * again on the next round. */
#define SLICE_BUCKETS 16
#define DUE_MAX 256
/* Fields of hashes that a call removes at most. */
#define FIELDS_MAX 1024
/* A slice's share in the running estimate of the TTL: one in this many. */
#define TTL_WEIGHT 16

struct gathering {
    int64_t now_ms;
    uint32_t fields_due_count; /* hashes with fields that are due */
    uint32_t due_count;
    uint32_t live_count;
    double ttl_sum; /* ms, of the live ones */
    struct entry *due[DUE_MAX];
    struct entry *fields_due[DUE_MAX];
};

static void gather(void *context, void *item, struct table_place at)
{
    struct gathering *g = context;
    struct entry *e = item;
    if (!entry_expired(e, g->now_ms)) {
        if (db_fields_due(e, g->now_ms) && g->fields_due_count < DUE_MAX)
            g->fields_due[g->fields_due_count++] = e;
        if (!entry_expires(e))
            return;
        g->live_count++;
        g->ttl_sum += (double)(entry_expiry(e) - g->now_ms);
    } else if (g->due_count < DUE_MAX) {
        g->due[g->due_count++] = e;
    }
}

static void estimate_ttl(struct db *db, const struct gathering *g)
{
    if (g->live_count == 0)
        return;
    double mean = g->ttl_sum / g->live_count, known = (double)db->avg_ttl_ms;
    double estimate = db->avg_ttl_ms ? known + (mean - known) / TTL_WEIGHT : mean;
    double max = (double)(INT64_MAX / 2);
    db->avg_ttl_ms = (int64_t)(estimate < max ? estimate : max);
}

/* Removes the fields that are due, as far as *left goes; a hash may round that up a little. */
static uint64_t sweep_fields(struct shard *s, struct db *db, const struct gathering *g,
                             uint64_t *left)
{
    uint64_t removed = 0;
    for (uint32_t i = 0; i < g->fields_due_count && *left > 0; i++) {
        struct place p = db_place_of(s, db, g->fields_due[i]);
        uint64_t n = db_expire_fields(&p, s->now_ms, *left);
        *left -= n < *left ? n : *left;
        removed += n;
    }
    return removed;
}

/* Sweeps `buckets` buckets on from the database's position. Where more fields are due than
 * *fields_left, it stays there. */
static uint64_t sweep_slice(struct shard *s, struct db *db, uint64_t buckets,
                            uint64_t *fields_left)
{
    struct gathering g;
    uint64_t from = db->sweep_position;
    g.now_ms = s->now_ms;
    g.due_count = g.live_count = g.fields_due_count = 0;
    g.ttl_sum = 0;
    db->sweep_position =
        table_scan(&db->keys, db->sweep_position, 0, buckets, true, gather, &g);
    uint64_t removed = g.due_count;
    for (uint32_t i = 0; i < g.due_count; i++) {
        struct place p = db_place_of(s, db, g.due[i]);
        db_expire(&p);
    }
    removed += sweep_fields(s, db, &g, fields_left);
    if (*fields_left == 0)
        db->sweep_position = from;
    s->stats.expired_swept += g.due_count;
    s->stats.swept_live += g.live_count;
    estimate_ttl(db, &g);
    return removed;
}

static bool expires(const struct db *db)
{
    return db->expiring_count || db->field_expiring_count;
}

static uint64_t expiring_dbs(const struct shard *s)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < s->keyspace->db_count; i++)
        count += expires(&s->dbs[i]);
    return count;
}

uint64_t shard_sweep(struct shard *s, uint64_t buckets_max, uint64_t *visited)
{
    uint32_t db_count = s->keyspace->db_count;
    uint64_t removed = 0, left = buckets_max, fields_left = FIELDS_MAX;
    uint64_t dbs_left = s->keyspace->options.loading ? 0 : expiring_dbs(s);
    for (uint32_t i = 0; i < db_count && dbs_left > 0 && left > 0 && fields_left > 0; i++) {
        struct db *db = &s->dbs[s->sweep_db];
        s->sweep_db = (s->sweep_db + 1) % db_count;
        if (!expires(db))
            continue;
        /* Its share, rounded up, but not a second round of the same buckets. */
        uint64_t share = (left + dbs_left - 1) / dbs_left;
        dbs_left--;
        if (share > db->keys.bucket_count)
            share = db->keys.bucket_count;
        for (uint64_t n; share > 0 && expires(db) && fields_left > 0; share -= n, left -= n) {
            n = share < SLICE_BUCKETS ? share : SLICE_BUCKETS;
            removed += sweep_slice(s, db, n, &fields_left);
        }
        if (db->expiring_count == 0)
            db->avg_ttl_ms = 0;
    }
    *visited = buckets_max - left;
    return removed;
}
