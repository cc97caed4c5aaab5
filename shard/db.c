/* Keys: finding, removing and expiring them, and what goes over whole databases.
 *
 * How a value is held is db_value.c's; here an entry is a key, a clock and an expiry. */
#include "shard/db_value.h"

#include <assert.h>

#include "shard/journal.h"

/* Redis's logarithmic counter of accesses (its LFU documentation): a key starts with a few, so
 * that it is not evicted before it had a chance. */
#define LFU_INITIAL 5u
#define LFU_MAX 255u
/* Draws of a key that is not due, while what is due must stay. */
#define RANDOM_TRIES 100
#define LFU_MINUTES_MASK 0xffffu
/* Keys a database scan asks of the table in one go, at most; more are as well served by further
 * calls. */
#define SCAN_COUNT_MAX (UINT64_MAX / 16)

/* --- The clock --- */

static uint32_t lru_seconds(int64_t now_ms)
{
    return (uint32_t)((uint64_t)now_ms / 1000) & ENTRY_CLOCK_MAX;
}

static uint32_t lfu_minutes(int64_t now_ms)
{
    return (uint32_t)(now_ms / 60000) & LFU_MINUTES_MASK;
}

uint32_t db_clock_fresh(const struct shard *s)
{
    if (s->keyspace->options.lfu)
        return lfu_minutes(s->now_ms) << 8 | LFU_INITIAL;
    return lru_seconds(s->now_ms);
}

uint32_t db_clock_idle_s(uint32_t clock, int64_t now_ms)
{
    return (lru_seconds(now_ms) - clock) & ENTRY_CLOCK_MAX;
}

/* The counter less one for each decay period that passed without an access. */
uint32_t db_clock_frequency(const struct keyspace_options *o, uint32_t clock, int64_t now_ms)
{
    uint32_t counter = clock & LFU_MAX;
    if (o->lfu_decay_minutes == 0)
        return counter;
    uint32_t elapsed = (lfu_minutes(now_ms) - (clock >> 8)) & LFU_MINUTES_MASK;
    uint32_t periods = elapsed / o->lfu_decay_minutes;
    return periods < counter ? counter - periods : 0;
}

/* One more access, counted with the chance 1 / ((counter - initial) * factor + 1). */
static uint32_t lfu_counted(struct shard *s, uint32_t counter)
{
    if (counter == LFU_MAX)
        return counter;
    uint64_t base = counter > LFU_INITIAL ? counter - LFU_INITIAL : 0;
    uint64_t odds = base * s->keyspace->options.lfu_log_factor + 1;
    return counter + (odds == 1 || shard_random(s) < UINT64_MAX / odds);
}

/* Notes an access. Writes only what changes: most reads then leave the entry's cache line clean. */
static void touch(struct shard *s, struct entry *e, int64_t now_ms)
{
    const struct keyspace_options *o = &s->keyspace->options;
    uint32_t clock = o->lfu ? lfu_minutes(now_ms) << 8 |
                                  lfu_counted(s, db_clock_frequency(o, e->clock, now_ms))
                            : lru_seconds(now_ms);
    if (e->clock != clock)
        e->clock = clock & ENTRY_CLOCK_MAX;
}

uint64_t db_idle_ms(const struct place *p)
{
    return (uint64_t)db_clock_idle_s(p->entry->clock, p->shard->now_ms) * 1000;
}

uint32_t db_frequency(const struct place *p)
{
    const struct shard *s = p->shard;
    return db_clock_frequency(&s->keyspace->options, p->entry->clock, s->now_ms);
}

void db_set_idle(struct place *p, uint64_t idle_s)
{
    const struct shard *s = p->shard;
    if (idle_s > ENTRY_CLOCK_MAX)
        idle_s = ENTRY_CLOCK_MAX;
    if (!s->keyspace->options.lfu)
        p->entry->clock = (lru_seconds(s->now_ms) - (uint32_t)idle_s) & ENTRY_CLOCK_MAX;
}

void db_set_frequency(struct place *p, uint32_t frequency)
{
    const struct shard *s = p->shard;
    if (s->keyspace->options.lfu)
        p->entry->clock = (lfu_minutes(s->now_ms) << 8 | frequency) & ENTRY_CLOCK_MAX;
}

/* --- Places --- */

void db_place_again(struct place *p)
{
    struct table_probe probe;
    table_probe_start(&probe, &p->db->keys, p->hash);
    void *item;
    do {
        item = table_probe_next(&probe);
        assert(item);
    } while (item != p->entry);
    p->at = table_probe_place(&probe);
    p->version = p->db->version;
}

struct place db_place_of(struct shard *s, struct db *db, struct entry *e)
{
    struct slice key = entry_key(e);
    struct place p = {
        .shard = s, .db = db, .entry = e, .key = key, .hash = keyspace_hash(s->keyspace, key),
        .held = DB_HELD_NOW,
    };
    db_place_again(&p);
    return p;
}

/* While data are loaded nothing expires: what comes behind in the file may count on it. */
static bool is_expired(const struct shard *s, const struct entry *e, int64_t now_ms)
{
    return entry_expired(e, now_ms) && !s->keyspace->options.loading;
}

/* A pause removes nothing: a read finds what is due absent, and leaves it; a change, which only
 * comes from what began before the pause, makes room for itself. */
static bool stays(const struct shard *s, int64_t now_ms)
{
    return now_ms < s->keyspace->options.stays_until_ms;
}

static void meet_expired(struct place *p, int64_t now_ms, enum db_mode mode)
{
    if (stays(p->shard, now_ms) && !(mode & DB_CHANGES))
        p->entry = NULL;
    else
        db_expire(p);
}

/* Fields that are due count as absent, and whoever loads the journal cannot tell that: they go
 * before the command. */
static void prepare_change(const struct call *c, struct place *p)
{
    db_preserve(p);
    if (p->shard->keyspace->options.journal && db_fields_due(p->entry, call_due_ms(c)))
        db_expire_fields(p, c->now_ms, UINT64_MAX);
    if (!p->entry)
        return;
    struct value v = db_value_of(p->entry);
    p->held = value_memory(&v);
}

static inline struct place find(const struct call *c, struct slice key, uint32_t db, uint64_t hash,
                                enum db_mode mode)
{
    struct shard *s = c->shard ? c->shard : c->shards[keyspace_shard(c->keyspace, key)];
    assert(db < s->keyspace->db_count);
    struct place p = {
        .shard = s, .db = &s->dbs[db], .key = key, .hash = hash, .held = DB_HELD_NOW,
    };
    p.version = p.db->version;
    struct table_probe probe;
    table_probe_start(&probe, &p.db->keys, hash);
    struct entry *e;
    while ((e = table_probe_next(&probe)) && !slice_equal(entry_key(e), key))
        continue;
    if (e) {
        p.entry = e;
        p.at = table_probe_place(&probe);
        if (__builtin_expect(entry_expired(e, c->now_ms), 0) && !(mode & DB_KEEPS) &&
            !s->keyspace->options.loading)
            meet_expired(&p, c->now_ms, mode);
    }
    if ((mode & DB_CHANGES) && p.entry && p.entry->type != TYPE_STRING)
        prepare_change(c, &p);
    if (mode & DB_COUNTS) {
        *(p.entry ? &s->stats.hits : &s->stats.misses) += 1;
        if (!p.entry && (mode & DB_TELLS))
            db_notify(&p, NOTIFY_KEY_MISS, "keymiss");
    }
    if (p.entry && (mode & DB_TOUCHES) && !c->no_touch)
        touch(s, p.entry, c->now_ms);
    return p;
}

struct place db_find(struct call *c, uint32_t arg, enum db_mode mode)
{
    assert(arg < c->argc);
    struct slice key = c->argv[arg];
    bool hashed = c->first_key_hashed && (int)arg == c->command->first_key;
    uint64_t hash = hashed ? c->first_key_hash : keyspace_hash(c->keyspace, key);
    return find(c, key, c->db, hash, mode);
}

bool db_find_type(struct call *c, uint32_t arg, enum db_mode mode, enum entry_type_id type,
                  struct place *p)
{
    *p = db_find(c, arg, mode);
    if (!p->entry || p->entry->type == type)
        return true;
    reply_error_wrong_type(&c->reply);
    return false;
}

struct place db_find_key(struct call *c, struct slice key, uint32_t db, enum db_mode mode)
{
    return find(c, key, db, keyspace_hash(c->keyspace, key), mode);
}

struct place db_place_as_is(struct shard *s, uint32_t db, struct slice key, uint64_t hash)
{
    assert(db < s->keyspace->db_count);
    struct place p = {
        .shard = s, .db = &s->dbs[db], .key = key, .hash = hash, .held = DB_HELD_NOW,
    };
    p.version = p.db->version;
    struct table_probe probe;
    table_probe_start(&probe, &p.db->keys, hash);
    while ((p.entry = table_probe_next(&probe)) && !slice_equal(entry_key(p.entry), key))
        continue;
    p.at = table_probe_place(&probe);
    return p;
}

int db_type(const struct shard *s, uint32_t db, struct slice key, int64_t now_ms)
{
    struct table_probe probe;
    table_probe_start(&probe, &s->dbs[db].keys, keyspace_hash(s->keyspace, key));
    const struct entry *e;
    while ((e = table_probe_next(&probe)) && !slice_equal(entry_key(e), key))
        continue;
    return e && !is_expired(s, e, now_ms) ? (int)e->type : -1;
}

/* --- Removing --- */

void db_drop(struct place *p)
{
    struct entry *e = p->entry;
    table_remove(&p->db->keys, db_place_at(p), p->hash);
    p->db->version++;
    p->db->expiring_count -= entry_expires(e);
    p->db->field_expiring_count -= (e->flags & ENTRY_FIELDS_EXPIRE) != 0;
    heap_free(&p->shard->heap, e, entry_size(e));
    p->entry = NULL;
    p->at = (struct table_place){0};
}

void db_delete_as(struct place *p, bool lazy)
{
    assert(p->entry);
    db_preserve(p);
    struct shard *s = p->shard;
    if (p->held != DB_HELD_NOW) {
        /* What was accounted for it may differ from what it holds by now. */
        struct value v = db_value_of(p->entry);
        s->block_bytes += value_memory(&v) - p->held;
        p->held = DB_HELD_NOW;
    }
    db_release_value(s, p->entry, lazy);
    db_drop(p);
}

void db_delete(struct place *p)
{
    db_delete_as(p, p->shard->keyspace->options.lazy_server_del);
}

static uint32_t db_index(const struct place *p)
{
    return (uint32_t)(p->db - p->shard->dbs);
}

void db_notify_asked(const struct place *p, const char *name)
{
    event_notify(p->shard, db_index(p), p->key, name);
}

/* Those who wait for a key learn that it is there, or gone. */
static void tell_waiting(struct place *p)
{
    struct shard *s = p->shard;
    if (__builtin_expect(s->waits.link_count != 0, 0))
        wait_signal(s, db_index(p), p->key);
}

/* The usual case, that nobody asks, is decided before any call. */
static inline void tell_watching(struct place *p, uint64_t client)
{
    struct shard *s = p->shard;
    if (__builtin_expect(watch_any(&s->watches), 0))
        watch_touch(s, db_index(p), p->key);
    if (__builtin_expect(track_any(&s->tracks), 0))
        track_touch(s, p->key, client);
}

void db_tell_watching(struct place *p, uint64_t client)
{
    tell_watching(p, client);
}

/* All of the telling first: the place's key may be the entry's own. */
static void vanish(struct place *p, uint32_t class, const char *name, bool lazy)
{
    tell_waiting(p);
    db_tell_watching(p, 0);
    db_notify(p, class, name);
    if (__builtin_expect(p->shard->keyspace->options.journal, 0))
        journal_removed(p->shard, db_index(p), p->key, lazy);
    db_delete_as(p, lazy);
}

void db_expire(struct place *p)
{
    vanish(p, NOTIFY_EXPIRED, "expired", p->shard->keyspace->options.lazy_expire);
    p->shard->stats.expired++;
}

void db_evict(struct place *p)
{
    vanish(p, NOTIFY_EVICTED, "evicted", p->shard->keyspace->options.lazy_evict);
    p->shard->stats.evicted++;
}

void db_changed_quietly(struct call *c, struct place *p)
{
    p->shard->stats.changes++;
    tell_watching(p, c->client);
}

void db_changed(struct call *c, struct place *p)
{
    p->shard->stats.changes++;
    tell_watching(p, c->client);
    tell_waiting(p);
}

void db_changed_too(struct call *c, struct place *p)
{
    tell_watching(p, c->client);
    tell_waiting(p);
}

/* --- Whole databases --- */

static struct db *db_of(const struct shard *s, uint32_t db)
{
    assert(db < s->keyspace->db_count);
    return &s->dbs[db];
}

uint64_t db_key_count(const struct shard *s, uint32_t db)
{
    return db_of(s, db)->keys.count;
}

static uint64_t random_of(void *context)
{
    return shard_random(context);
}

/* Ends, because every round but the last removes a key, or because nothing may be removed now: then
 * a key that is due may be what is left. */
struct entry *db_random(struct shard *s, uint32_t db)
{
    struct db *d = db_of(s, db);
    struct entry *e;
    uint32_t tries = 0;
    while ((e = table_random(&d->keys, random_of, s)) && is_expired(s, e, s->now_ms)) {
        if (stays(s, s->now_ms)) {
            if (++tries == RANDOM_TRIES)
                return e;
            continue;
        }
        struct place p = db_place_of(s, d, e);
        db_expire(&p);
    }
    return e;
}

struct clearing {
    struct shard *shard;
    bool lazy;
};

/* Few keys are freed at once, but for what is large in them. */
static void clear_entry(void *context, void *item, struct table_place at)
{
    const struct clearing *clearing = context;
    struct shard *s = clearing->shard;
    struct entry *e = item;
    db_release_value(s, e, clearing->lazy);
    heap_free(&s->heap, e, entry_size(e));
}

void db_clear(struct shard *s, uint32_t db, bool lazy)
{
    struct db *d = db_of(s, db);
    const struct table_type *type = d->keys.type;
    const void *context = d->keys.context;
    wait_signal_db(s, db);
    watch_touch_db(s, db);
    if (snapshot_active(s))
        snapshot_take_keys(s, d);
    if (lazy && d->keys.count > GARBAGE_PARTS_MIN)
        garbage_add_keys(s, &d->keys);
    else if (d->keys.count)
        table_scan(&d->keys, 0, 0, 0, false, clear_entry, &(struct clearing){s, lazy});
    table_deinit(&d->keys);
    uint64_t version = d->version;
    *d = (struct db){.version = version + 1, .cut_swept = true};
    table_init(&d->keys, type, context);
}

/* All tables of a shard have the same context, so they may change places as they are. */
void db_swap(struct shard *s, uint32_t a, uint32_t b)
{
    struct db *da = db_of(s, a), *db = db_of(s, b);
    assert(da->keys.context == db->keys.context);
    wait_signal_db(s, a);
    wait_signal_db(s, b);
    watch_touch_swap(s, a, b);
    struct db kept = *da;
    *da = *db;
    *db = kept;
}

/* Expired keys that a scan removes at most; what is left is the sweep's. */
#define SCAN_EXPIRED_MAX 64

/* What db_scan passes through the table's scan. */
struct scanning {
    const struct shard *shard;
    int64_t now_ms;
    struct entry *expired[SCAN_EXPIRED_MAX]; /* met on the way, to be removed at its end */
    uint32_t expired_count;
    uint64_t seen;
    void (*visit)(void *context, struct entry *e);
    void *context;
};

static void scan_entry(void *context, void *item, struct table_place at)
{
    struct scanning *scanning = context;
    scanning->seen++;
    if (!is_expired(scanning->shard, item, scanning->now_ms))
        scanning->visit(scanning->context, item);
    else if (scanning->expired_count < SCAN_EXPIRED_MAX)
        scanning->expired[scanning->expired_count++] = item;
}

uint64_t db_scan(struct shard *s, uint32_t db, uint64_t *position, uint64_t count,
                 void (*visit)(void *context, struct entry *e), void *context)
{
    struct scanning scanning;
    scanning.shard = s;
    scanning.now_ms = s->now_ms;
    scanning.expired_count = 0;
    scanning.seen = 0;
    scanning.visit = visit;
    scanning.context = context;
    uint64_t items = count == 0 ? 1 : count < SCAN_COUNT_MAX ? count : SCAN_COUNT_MAX;
    struct db *d = db_of(s, db);
    *position = table_scan(&d->keys, *position, items, items * 10, false, scan_entry, &scanning);
    for (uint32_t i = 0; i < scanning.expired_count && !stays(s, s->now_ms); i++) {
        struct place p = db_place_of(s, d, scanning.expired[i]);
        db_expire(&p);
    }
    return scanning.seen;
}
