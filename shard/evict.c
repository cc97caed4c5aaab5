/* The pool of candidates and the choice: see evict.h. */
#include "shard/evict.h"

#include "shard/db_value.h"

/* Keys that one look takes in at most; a bucket's worth may come on top. */
#define SAMPLES_MAX 64
#define LOOKED_MAX (SAMPLES_MAX + 64)
/* Buckets that one look goes through where few keys have an expiry. */
#define BUCKETS_MAX 256
#define POSITION_MASK ((UINT64_C(1) << 48) - 1)
#define FREQUENCY_MAX 255u
/* Scores within these go as equal: the clocks are no finer. */
#define IDLE_TOLERANCE_S 0
#define IDLE_TOLERANCE_SHARE 16
#define FREQUENCY_TOLERANCE 1
#define TTL_TOLERANCE_MS 1000

static const struct keyspace_options *options_of(const struct shard *s)
{
    return &s->keyspace->options;
}

static uint64_t candidates_in(const struct shard *s, const struct db *db)
{
    return options_of(s)->evict_volatile ? db->expiring_count : db->keys.count;
}

uint64_t evict_count(const struct shard *s)
{
    uint64_t count = 0;
    if (options_of(s)->evict_order == EVICT_NOTHING)
        return 0;
    for (uint32_t i = 0; i < s->keyspace->db_count; i++)
        count += candidates_in(s, &s->dbs[i]);
    return count;
}

uint64_t evict_tolerance(const struct shard *s, uint64_t score)
{
    switch ((enum evict_order)options_of(s)->evict_order) {
    case EVICT_BY_IDLE: return IDLE_TOLERANCE_S + score / IDLE_TOLERANCE_SHARE;
    case EVICT_BY_FREQUENCY: return FREQUENCY_TOLERANCE;
    case EVICT_BY_TTL: return TTL_TOLERANCE_MS;
    case EVICT_AT_RANDOM:
    case EVICT_NOTHING: break;
    }
    return 0;
}

/* --- Scores --- */

static uint64_t score_of(const struct shard *s, const struct entry *e)
{
    const struct keyspace_options *o = options_of(s);
    if (entry_expired(e, s->now_ms))
        return EVICT_SCORE_EXPIRED;
    switch ((enum evict_order)o->evict_order) {
    case EVICT_BY_IDLE: return EVICT_SCORE_BASE + db_clock_idle_s(e->clock, s->now_ms);
    case EVICT_BY_FREQUENCY:
        return EVICT_SCORE_BASE + FREQUENCY_MAX - db_clock_frequency(o, e->clock, s->now_ms);
    case EVICT_BY_TTL: return EVICT_SCORE_BASE + (uint64_t)(INT64_MAX - entry_expiry(e));
    case EVICT_AT_RANDOM:
    case EVICT_NOTHING: break;
    }
    return EVICT_SCORE_BASE;
}

/* --- The pool --- */

static void pool_take_out(struct evict_pool *p, uint32_t at)
{
    p->count--;
    memmove(&p->candidates[at], &p->candidates[at + 1],
            (p->count - at) * sizeof(p->candidates[0]));
}

/* Where the pool is full the worst goes. */
static void pool_add(struct evict_pool *p, struct evict_candidate c)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->candidates[i].hash == c.hash && p->candidates[i].db == c.db) {
            pool_take_out(p, i);
            break;
        }
    if (p->count == EVICT_POOL_SIZE) {
        if (c.score <= p->candidates[0].score)
            return;
        pool_take_out(p, 0);
    }
    uint32_t at = p->count;
    while (at > 0 && p->candidates[at - 1].score > c.score)
        at--;
    memmove(&p->candidates[at + 1], &p->candidates[at],
            (p->count - at) * sizeof(p->candidates[0]));
    p->candidates[at] = c;
    p->count++;
}

/* Scores of another policy mean nothing. */
static void pool_settle(struct shard *s)
{
    const struct keyspace_options *o = options_of(s);
    struct evict_pool *p = &s->evict_pool;
    if (p->order == o->evict_order && p->volatile_only == o->evict_volatile)
        return;
    p->count = 0;
    p->order = o->evict_order;
    p->volatile_only = o->evict_volatile;
}

/* Two keys of one hash are as good as one. */
static struct entry *find_hash(const struct shard *s, struct db *db, uint64_t hash)
{
    struct table_probe probe;
    struct entry *e;
    if (db->keys.count == 0)
        return NULL;
    table_probe_start(&probe, &db->keys, hash);
    while ((e = table_probe_next(&probe)) && keyspace_hash(s->keyspace, entry_key(e)) != hash)
        continue;
    return e;
}

static bool may_go(const struct shard *s, const struct entry *e)
{
    return !options_of(s)->evict_volatile || entry_expires(e);
}

/* The best candidate as it is now; NULL: the pool is empty. Candidates that are gone leave it, and
 * those that were used since find their place anew. */
static struct entry *pool_best(struct shard *s, uint64_t *score)
{
    struct evict_pool *p = &s->evict_pool;
    while (p->count > 0) {
        struct evict_candidate c = p->candidates[p->count - 1];
        struct entry *e = find_hash(s, &s->dbs[c.db], c.hash);
        *score = e && may_go(s, e) ? score_of(s, e) : EVICT_SCORE_NONE;
        if (*score >= c.score)
            return e;
        p->count--;
        c.score = *score;
        if (c.score)
            pool_add(p, c);
    }
    return NULL;
}

/* --- Looking --- */

struct looking {
    struct entry *entries[LOOKED_MAX];
    uint32_t count;
};

/* What a bucket's entries say is asked for together. */
static void look_at(void *context, void *item, struct table_place at)
{
    struct looking *looking = context;
    if (looking->count == LOOKED_MAX)
        return;
    looking->entries[looking->count++] = item;
    __builtin_prefetch(item);
}

/* Entries from a position on; returns the next one. */
static uint64_t look(struct shard *s, struct db *db, uint64_t position, uint64_t samples,
                     struct looking *looking)
{
    looking->count = 0;
    return table_scan(&db->keys, position, samples < SAMPLES_MAX ? samples : SAMPLES_MAX,
                      BUCKETS_MAX, options_of(s)->evict_volatile, look_at, looking);
}

static void look_for_candidates(struct shard *s, uint32_t index)
{
    struct db *db = &s->dbs[index];
    struct looking looking;
    db->evict_position =
        look(s, db, db->evict_position, options_of(s)->evict_samples, &looking);
    for (uint32_t i = 0; i < looking.count; i++) {
        struct entry *e = looking.entries[i];
        if (!may_go(s, e))
            continue;
        uint64_t score = score_of(s, e);
        struct evict_pool *p = &s->evict_pool;
        if (p->count == EVICT_POOL_SIZE && score <= p->candidates[0].score)
            continue; /* spares the hash */
        pool_add(p, (struct evict_candidate){
                        score, keyspace_hash(s->keyspace, entry_key(e)), index});
    }
}

static void look_everywhere(struct shard *s)
{
    pool_settle(s);
    for (uint32_t i = 0; i < s->keyspace->db_count; i++)
        if (candidates_in(s, &s->dbs[i]))
            look_for_candidates(s, i);
}

uint64_t evict_best(struct shard *s)
{
    uint64_t score;
    if (!evict_count(s))
        return EVICT_SCORE_NONE;
    if (options_of(s)->evict_order == EVICT_AT_RANDOM)
        return EVICT_SCORE_BASE;
    pool_settle(s);
    if (pool_best(s, &score))
        return score;
    look_everywhere(s);
    return pool_best(s, &score) ? score : EVICT_SCORE_UNSEEN;
}

/* --- Evicting --- */

static void remove_key(struct shard *s, struct db *db, struct entry *e)
{
    struct place p = db_place_of(s, db, e);
    if (entry_expired(e, s->now_ms))
        db_expire(&p);
    else
        db_evict(&p);
}

/* A random one of a few from a random position on: short buckets are no likelier than full ones. */
static bool evict_random_of(struct shard *s, struct db *db)
{
    struct looking looking;
    uint32_t count = 0;
    uint64_t samples = options_of(s)->evict_samples;
    if (look(s, db, shard_random(s) & POSITION_MASK, samples, &looking) == 0 && !looking.count)
        look(s, db, 0, samples, &looking);
    for (uint32_t i = 0; i < looking.count; i++)
        if (may_go(s, looking.entries[i]))
            looking.entries[count++] = looking.entries[i];
    if (!count)
        return false;
    remove_key(s, db, looking.entries[shard_random(s) % count]);
    return true;
}

static bool evict_at_random(struct shard *s)
{
    uint32_t db_count = s->keyspace->db_count;
    for (uint32_t i = 0; i < db_count; i++) {
        uint32_t index = s->evict_pool.next_db++ % db_count;
        if (candidates_in(s, &s->dbs[index]) && evict_random_of(s, &s->dbs[index]))
            return true;
    }
    return false;
}

bool evict_one(struct shard *s)
{
    uint64_t score;
    if (!evict_count(s))
        return false;
    if (options_of(s)->evict_order == EVICT_AT_RANDOM)
        return evict_at_random(s);
    look_everywhere(s);
    struct entry *e = pool_best(s, &score);
    if (!e)
        return false;
    struct evict_candidate c = s->evict_pool.candidates[--s->evict_pool.count];
    remove_key(s, &s->dbs[c.db], e);
    return true;
}
