/* Tracking: see track.h. A key's clients are a sorted array, of which the first one needs no block
 * of its own: most keys are cached by few, and those that are cached by many are read again by the
 * same ones, which costs a binary search. */
#include "shard/track.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/shard.h"

#define CORE_WORDS (SHARD_COUNT_MAX / 64)

struct track_key {
    uint64_t hash;
    uint64_t *clients; /* sorted; &one, or a block */
    uint64_t one;
    uint32_t count, cap;
    uint32_t key_size;
    char key[];
};

struct track_prefix {
    struct track_prefix *next;
    uint32_t core;
    uint32_t count; /* clients there that have it */
    size_t size;
    char bytes[];
};

/* The cores whose clients in BCAST mode are concerned. */
struct concerned {
    uint64_t words[CORE_WORDS];
    uint32_t count;
};

static uint64_t hash_of(const void *item, const void *context)
{
    return ((const struct track_key *)item)->hash;
}

static const struct table_type keys_type = {.hash = hash_of};

static void free_key(void *context, void *item)
{
    struct tracks *t = context;
    struct track_key *k = item;
    t->bytes -= sizeof(*k) + k->key_size;
    if (k->clients != &k->one) {
        t->bytes -= k->cap * sizeof(*k->clients);
        mem_free(k->clients);
    }
    mem_free(k);
}

void track_init(struct shard *s)
{
    s->tracks = (struct tracks){0};
    table_init(&s->tracks.keys, &keys_type, NULL);
    table_init(&s->tracks.old, &keys_type, NULL);
}

void track_deinit(struct shard *s)
{
    struct tracks *t = &s->tracks;
    table_drain(&t->keys, UINT64_MAX, free_key, t);
    table_drain(&t->old, UINT64_MAX, free_key, t);
    table_deinit(&t->keys);
    table_deinit(&t->old);
    assert(t->bytes == 0);
    while (t->prefixes) {
        struct track_prefix *next = t->prefixes->next;
        mem_free(t->prefixes);
        t->prefixes = next;
    }
}

size_t track_memory(const struct tracks *t)
{
    return t->bytes + table_memory(&t->keys) + table_memory(&t->old);
}

/* --- Keys --- */

static struct slice name_of(const struct track_key *k)
{
    return (struct slice){k->key, k->key_size};
}

static struct track_key *find(const struct tracks *t, struct slice key, uint64_t hash,
                              struct table_place *at)
{
    struct table_probe probe;
    table_probe_start(&probe, &t->keys, hash);
    struct track_key *k;
    while ((k = table_probe_next(&probe)) && !slice_equal(name_of(k), key))
        continue;
    *at = table_probe_place(&probe);
    return k;
}

static struct track_key *add_key(struct tracks *t, struct slice key, uint64_t hash)
{
    struct track_key *k = mem_alloc(sizeof(*k) + key.size);
    *k = (struct track_key){.hash = hash, .cap = 1, .key_size = (uint32_t)key.size};
    k->clients = &k->one;
    if (key.size)
        memcpy(k->key, key.data, key.size);
    t->bytes += sizeof(*k) + key.size;
    table_add(&t->keys, hash, k, false);
    return k;
}

/* Where the client is in the key's array, or would be. */
static uint32_t position(const struct track_key *k, uint64_t client)
{
    uint32_t low = 0, high = k->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (k->clients[middle] < client)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void grow(struct tracks *t, struct track_key *k)
{
    bool own = k->clients != &k->one;
    uint32_t cap = own ? k->cap * 2 : 4;
    k->clients = mem_realloc(own ? k->clients : NULL, cap * sizeof(*k->clients));
    if (!own)
        k->clients[0] = k->one;
    t->bytes += (cap - (own ? k->cap : 0)) * sizeof(*k->clients);
    k->cap = cap;
}

void track_read(struct shard *s, struct slice key, uint64_t hash, uint64_t client)
{
    struct tracks *t = &s->tracks;
    struct table_place at;
    struct track_key *k = find(t, key, hash, &at);
    if (!k)
        k = add_key(t, key, hash);
    uint32_t i = position(k, client);
    if (i < k->count && k->clients[i] == client)
        return;
    if (k->count == k->cap)
        grow(t, k);
    memmove(k->clients + i + 1, k->clients + i, (k->count - i) * sizeof(*k->clients));
    k->clients[i] = client;
    k->count++;
    t->client_count++;
}

static void forget(struct tracks *t, struct track_key *k, struct table_place at)
{
    t->client_count -= k->count;
    table_remove(&t->keys, at, k->hash);
    free_key(t, k);
}

/* --- Changes --- */

static bool has_prefix(struct slice key, const struct track_prefix *p)
{
    return key.size >= p->size && memcmp(key.data, p->bytes, p->size) == 0;
}

static void find_concerned(const struct tracks *t, struct slice key, struct concerned *x)
{
    *x = (struct concerned){0};
    for (const struct track_prefix *p = t->prefixes; p; p = p->next) {
        uint64_t bit = UINT64_C(1) << (p->core % 64);
        if ((x->words[p->core / 64] & bit) || (p->size && !has_prefix(key, p)))
            continue;
        x->words[p->core / 64] |= bit;
        x->count++;
    }
}

static void write_concerned(const struct concerned *x, uint64_t *clients)
{
    for (uint32_t w = 0; w < CORE_WORDS; w++)
        for (uint64_t left = x->words[w]; left; left &= left - 1)
            *clients++ = track_client(w * 64 + (uint32_t)__builtin_ctzll(left), 0);
}

/* A command that changes one key many times tells of it once. */
static bool repeats_last(const struct events *events, struct slice key, uint64_t by,
                         const struct concerned *x)
{
    const struct event *e = events->last;
    return e && e->kind == EVENT_INVALIDATE && e->client == by && e->client_count == x->count &&
           track_id(e->clients[0]) == 0 && track_id(e->clients[e->client_count - 1]) == 0 &&
           slice_equal((struct slice){e->key, e->key_size}, key);
}

void track_touch(struct shard *s, struct slice key, uint64_t by)
{
    struct tracks *t = &s->tracks;
    struct concerned x;
    find_concerned(t, key, &x);
    struct track_key *k = NULL;
    struct table_place at;
    if (t->keys.count)
        k = find(t, key, keyspace_hash(s->keyspace, key), &at);
    if (!k && (x.count == 0 || repeats_last(&s->events, key, by, &x)))
        return;
    uint32_t readers = k ? k->count : 0;
    uint64_t *clients = event_invalidate(s, key, by, readers + x.count);
    write_concerned(&x, clients + readers);
    if (!k)
        return;
    memcpy(clients, k->clients, readers * sizeof(*clients));
    forget(t, k, at);
}

static uint64_t random_of(void *context)
{
    return shard_random(context);
}

void track_forget_one(struct shard *s)
{
    struct tracks *t = &s->tracks;
    struct table_place at;
    struct track_key *k = table_random(&t->keys, random_of, s);
    uint64_t *clients = event_invalidate(s, name_of(k), 0, k->count);
    memcpy(clients, k->clients, k->count * sizeof(*clients));
    find(t, name_of(k), k->hash, &at);
    forget(t, k, at);
}

/* One flush behind another frees what the first has left at once. */
void track_forget_all(struct shard *s)
{
    struct tracks *t = &s->tracks;
    if (t->keys.count == 0)
        return;
    while (track_collect(s, UINT64_MAX))
        continue;
    t->old = t->keys;
    t->client_count = 0;
    table_init(&t->keys, &keys_type, NULL);
}

bool track_collect(struct shard *s, uint64_t count)
{
    struct tracks *t = &s->tracks;
    if (t->old.count == 0)
        return false;
    table_drain(&t->old, count, free_key, t);
    if (t->old.count)
        return true;
    table_deinit(&t->old);
    table_init(&t->old, &keys_type, NULL);
    return false;
}

/* --- Prefixes --- */

static bool is_prefix(const struct track_prefix *p, struct slice prefix)
{
    return slice_equal((struct slice){p->bytes, p->size}, prefix);
}

/* The link to the entry of the core, or where a new one belongs: behind its like. */
static struct track_prefix **find_prefix(struct tracks *t, struct slice prefix, uint32_t core)
{
    struct track_prefix **at = &t->prefixes;
    while (*at && !is_prefix(*at, prefix))
        at = &(*at)->next;
    while (*at && is_prefix(*at, prefix) && (*at)->core != core)
        at = &(*at)->next;
    return at;
}

void track_prefix_add(struct shard *s, struct slice prefix, uint32_t core)
{
    struct tracks *t = &s->tracks;
    struct track_prefix **at = find_prefix(t, prefix, core);
    struct track_prefix *p = *at;
    if (!p || p->core != core || !is_prefix(p, prefix)) {
        p = mem_alloc(sizeof(*p) + prefix.size);
        *p = (struct track_prefix){.next = *at, .core = core, .size = prefix.size};
        if (prefix.size)
            memcpy(p->bytes, prefix.data, prefix.size);
        *at = p;
        t->prefix_count++;
    }
    p->count++;
}

void track_prefix_remove(struct shard *s, struct slice prefix, uint32_t core)
{
    struct tracks *t = &s->tracks;
    struct track_prefix **at = find_prefix(t, prefix, core);
    struct track_prefix *p = *at;
    assert(p && p->core == core && is_prefix(p, prefix));
    if (--p->count > 0)
        return;
    *at = p->next;
    mem_free(p);
    t->prefix_count--;
}

uint32_t track_prefix_kinds(const struct tracks *t)
{
    uint32_t n = 0;
    for (const struct track_prefix *p = t->prefixes; p; p = p->next)
        n += !p->next || !is_prefix(p->next, (struct slice){p->bytes, p->size});
    return n;
}
