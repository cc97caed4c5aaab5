/* Watches: see watch.h.
 *
 * A watch stands in two lists: that of its line (a key, and all who watch it) and that of its
 * client (a token, and all that it watches here). Lines and clients go with their last watch, but
 * for a client whose watches are broken: it drops them all and stays as the mark of that, so that
 * what is changed over and over costs nothing more. */
#include "shard/watch.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/shard.h"
#include "shard/db_value.h"

struct line {
    struct watch *first;
    uint64_t hash;
    uint32_t db;
    size_t key_size;
    char key[];
};

struct client {
    struct watch *first;
    uint64_t token;
    bool broken;
};

struct watch {
    struct line *line;
    struct client *client;
    struct watch *next_in_line, *previous_in_line;
    struct watch *next; /* of its client */
    bool expired;       /* the key had expired when WATCH came, and is not removed yet */
};

/* The same key has another line in each database. */
static uint64_t hash_key(const struct keyspace *k, uint32_t db, struct slice key)
{
    return keyspace_hash(k, key) + db * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t hash_line(const void *item, const void *context)
{
    return ((const struct line *)item)->hash;
}

/* Tokens count up: a multiplication and a fold spread them over all bits. */
static uint64_t hash_token(uint64_t token)
{
    uint64_t x = token * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 32;
}

static uint64_t hash_client(const void *item, const void *context)
{
    return hash_token(((const struct client *)item)->token);
}

static const struct table_type lines_type = {.hash = hash_line};
static const struct table_type clients_type = {.hash = hash_client};

/* --- Look-up --- */

static struct slice line_key(const struct line *line)
{
    return (struct slice){line->key, line->key_size};
}

static struct line *find_line(const struct shard *s, uint32_t db, struct slice key, uint64_t hash,
                              struct table_place *at)
{
    struct table_probe probe;
    table_probe_start(&probe, &s->watches.keys, hash);
    struct line *line;
    while ((line = table_probe_next(&probe)) &&
           !(line->db == db && slice_equal(line_key(line), key)))
        continue;
    *at = table_probe_place(&probe);
    return line;
}

static struct client *find_client(const struct shard *s, uint64_t token, struct table_place *at)
{
    struct table_probe probe;
    table_probe_start(&probe, &s->watches.tokens, hash_token(token));
    struct client *client;
    while ((client = table_probe_next(&probe)) && client->token != token)
        continue;
    *at = table_probe_place(&probe);
    return client;
}

/* The key as it lies in the database, though it may have expired. */
static struct entry *find_entry(const struct shard *s, uint32_t db, struct slice key)
{
    struct table_probe probe;
    table_probe_start(&probe, &s->dbs[db].keys, keyspace_hash(s->keyspace, key));
    struct entry *e;
    while ((e = table_probe_next(&probe)) && !slice_equal(entry_key(e), key))
        continue;
    return e;
}

static bool has_expired(const struct shard *s, uint32_t db, struct slice key, int64_t now_ms)
{
    const struct entry *e = find_entry(s, db, key);
    return e && entry_expired(e, now_ms);
}

/* Whether time alone has changed what is watched. */
static bool time_changed(const struct shard *s, const struct watch *w, int64_t now_ms)
{
    const struct entry *e = find_entry(s, w->line->db, line_key(w->line));
    return e && !w->expired && (entry_expired(e, now_ms) || db_fields_due(e, now_ms));
}

/* --- Adding and dropping --- */

static struct line *open_line(struct shard *s, uint32_t db, struct slice key)
{
    struct table_place at;
    uint64_t hash = hash_key(s->keyspace, db, key);
    struct line *line = find_line(s, db, key, hash, &at);
    if (line)
        return line;
    line = mem_alloc(sizeof(*line) + key.size);
    *line = (struct line){.hash = hash, .db = db, .key_size = key.size};
    if (key.size)
        memcpy(line->key, key.data, key.size);
    table_add(&s->watches.keys, hash, line, false);
    return line;
}

static struct client *open_client(struct shard *s, uint64_t token)
{
    struct table_place at;
    struct client *client = find_client(s, token, &at);
    if (client)
        return client;
    client = mem_alloc(sizeof(*client));
    *client = (struct client){.token = token};
    table_add(&s->watches.tokens, hash_token(token), client, false);
    return client;
}

static void close_line(struct shard *s, struct line *line)
{
    struct table_place at;
    struct line *found = find_line(s, line->db, line_key(line), line->hash, &at);
    assert(found == line);
    table_remove(&s->watches.keys, at, line->hash);
    mem_free(line);
}

static void drop(struct shard *s, struct watch *w)
{
    struct line *line = w->line;
    if (w->previous_in_line)
        w->previous_in_line->next_in_line = w->next_in_line;
    else
        line->first = w->next_in_line;
    if (w->next_in_line)
        w->next_in_line->previous_in_line = w->previous_in_line;
    mem_free(w);
    if (!line->first)
        close_line(s, line);
}

static void drop_all(struct shard *s, struct client *client)
{
    struct watch *w = client->first;
    client->first = NULL;
    while (w) {
        struct watch *next = w->next;
        drop(s, w);
        w = next;
    }
}

/* So that their removal later is no change. */
static void remove_fields_due(struct shard *s, uint32_t db, struct slice key, int64_t now_ms)
{
    struct entry *e = find_entry(s, db, key);
    if (!e || !db_fields_due(e, now_ms))
        return;
    struct place p = db_place_of(s, &s->dbs[db], e);
    db_expire_fields(&p, now_ms, UINT64_MAX);
}

static bool watches(const struct client *client, const struct line *line)
{
    for (const struct watch *w = client->first; w; w = w->next)
        if (w->line == line)
            return true;
    return false;
}

void watch_add(struct shard *s, uint64_t token, uint32_t db, struct slice key, int64_t now_ms)
{
    remove_fields_due(s, db, key, now_ms);
    struct client *client = open_client(s, token);
    if (client->broken)
        return;
    struct line *line = open_line(s, db, key);
    if (watches(client, line))
        return;
    struct watch *w = mem_alloc(sizeof(*w));
    *w = (struct watch){
        .line = line, .client = client, .next_in_line = line->first, .next = client->first,
        .expired = has_expired(s, db, key, now_ms),
    };
    if (line->first)
        line->first->previous_in_line = w;
    line->first = w;
    client->first = w;
}

void watch_forget(struct shard *s, uint64_t token)
{
    struct table_place at;
    struct client *client = find_client(s, token, &at);
    if (!client)
        return;
    table_remove(&s->watches.tokens, at, hash_token(token));
    drop_all(s, client);
    mem_free(client);
}

bool watch_broken(const struct shard *s, uint64_t token, int64_t now_ms)
{
    struct table_place at;
    const struct client *client = find_client(s, token, &at);
    if (!client)
        return false;
    if (client->broken)
        return true;
    for (const struct watch *w = client->first; w; w = w->next)
        if (time_changed(s, w, now_ms))
            return true;
    return false;
}

struct broken_visit {
    void (*visit)(void *context, uint64_t token);
    void *context;
};

static void visit_broken(void *context, void *item, struct table_place at)
{
    (void)at;
    const struct broken_visit *v = context;
    const struct client *client = item;
    if (client->broken)
        v->visit(v->context, client->token);
}

void watch_each_broken(struct shard *s, void (*visit)(void *context, uint64_t token),
                       void *context)
{
    struct broken_visit v = {visit, context};
    if (s->watches.tokens.count)
        table_scan(&s->watches.tokens, 0, 0, 0, false, visit_broken, &v);
}

/* --- Changes --- */

/* A client stands in a line once, so the next in line outlives this one's drop; the line itself may
 * go with the last. An expired key is removed before anything else can be done to it: the first
 * change is that removal, and no change. */
void watch_touch(struct shard *s, uint32_t db, struct slice key)
{
    struct table_place at;
    struct line *line = find_line(s, db, key, hash_key(s->keyspace, db, key), &at);
    struct watch *w = line ? line->first : NULL;
    while (w) {
        struct watch *next = w->next_in_line;
        if (w->expired) {
            w->expired = false;
        } else {
            w->client->broken = true;
            drop_all(s, w->client);
        }
        w = next;
    }
}

/* A database that takes the place of another; NULL at `other`: nothing does. */
struct change {
    struct shard *shard;
    uint32_t db;
    const uint32_t *other;
};

/* What a key is in a database. */
enum presence { ABSENT, EXPIRED, PRESENT };

static enum presence presence(const struct shard *s, uint32_t db, struct slice key)
{
    const struct entry *e = find_entry(s, db, key);
    if (!e)
        return ABSENT;
    return entry_expired(e, s->now_ms) ? EXPIRED : PRESENT;
}

/* An expired key is to those who watch it as good as none, as long as they knew. The table is being
 * scanned: nothing is dropped. */
static void change_watch(struct watch *w, enum presence before, enum presence after)
{
    if (before == ABSENT && after == ABSENT)
        return;
    bool none_before = w->expired || before == ABSENT;
    if (none_before && after != PRESENT)
        w->expired = after == EXPIRED;
    else
        w->client->broken = true;
}

static void change_line(void *context, void *item, struct table_place at)
{
    const struct change *change = context;
    const struct line *line = item;
    if (line->db != change->db)
        return;
    const struct shard *s = change->shard;
    enum presence before = presence(s, line->db, line_key(line));
    enum presence after = change->other ? presence(s, *change->other, line_key(line)) : ABSENT;
    for (struct watch *w = line->first; w; w = w->next_in_line)
        change_watch(w, before, after);
}

static void change_db(struct shard *s, uint32_t db, const uint32_t *other)
{
    struct change change = {s, db, other};
    if (watch_any(&s->watches))
        table_scan(&s->watches.keys, 0, 0, 0, false, change_line, &change);
}

void watch_touch_db(struct shard *s, uint32_t db)
{
    change_db(s, db, NULL);
}

void watch_touch_swap(struct shard *s, uint32_t a, uint32_t b)
{
    change_db(s, a, &b);
    change_db(s, b, &a);
}

/* --- The whole --- */

void watch_init(struct shard *s)
{
    table_init(&s->watches.keys, &lines_type, s->keyspace);
    table_init(&s->watches.tokens, &clients_type, s->keyspace);
}

static void free_client(void *context, void *item)
{
    drop_all(context, item);
    mem_free(item);
}

void watch_deinit(struct shard *s)
{
    table_drain(&s->watches.tokens, UINT64_MAX, free_client, s);
    assert(s->watches.keys.count == 0);
    table_deinit(&s->watches.keys);
    table_deinit(&s->watches.tokens);
}
