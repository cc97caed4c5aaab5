/* A shard's beginning and end, and the small things asked of it in between. */
#include "shard/shard.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/db.h"
#include "shard/snapshot.h"

static uint64_t hash_entry(const void *item, const void *context)
{
    return keyspace_hash(context, entry_key(item));
}

static const struct table_type keys_type = {.hash = hash_entry};

void shard_init(struct shard *s, uint32_t index, const struct keyspace *k, uint64_t random_seed)
{
    assert(index < k->shard_count);
    *s = (struct shard){.index = index, .keyspace = k};
    /* The state of a xorshift must not be 0. */
    s->random_state = random_seed ? random_seed : UINT64_MAX;
    heap_init(&s->heap);
    s->dbs = mem_alloc_zeroed(k->db_count * sizeof(*s->dbs));
    for (uint32_t i = 0; i < k->db_count; i++)
        table_init(&s->dbs[i].keys, &keys_type, k);
    wait_init(s);
    watch_init(s);
    track_init(s);
}

void shard_deinit(struct shard *s)
{
    snapshot_deinit(s);
    compact_stop(s);
    for (uint32_t i = 0; i < s->keyspace->db_count; i++) {
        db_clear(s, i, false);
        table_deinit(&s->dbs[i].keys);
    }
    garbage_collect(s, UINT64_MAX);
    wait_deinit(s);
    watch_deinit(s);
    track_deinit(s);
    for (struct event *e = event_take(s), *next; e; e = next) {
        next = e->next;
        event_free(e);
    }
    buf_deinit(&s->journal.out);
    assert(s->block_bytes == 0);
    mem_free(s->dbs);
    s->dbs = NULL;
    heap_deinit(&s->heap);
}

bool shard_has_expiring(const struct shard *s)
{
    for (uint32_t i = 0; i < s->keyspace->db_count; i++)
        if (s->dbs[i].expiring_count || s->dbs[i].field_expiring_count)
            return true;
    return false;
}

void shard_prefetch_bucket(const struct shard *s, uint32_t db, uint64_t hash)
{
    table_prefetch_bucket(&s->dbs[db].keys, hash);
}

void shard_prefetch_entry(const struct shard *s, uint32_t db, uint64_t hash)
{
    table_prefetch_items(&s->dbs[db].keys, hash);
}

uint64_t shard_table_bytes(const struct shard *s)
{
    uint64_t bytes = track_memory(&s->tracks);
    for (uint32_t i = 0; i < s->keyspace->db_count; i++)
        bytes += table_memory(&s->dbs[i].keys);
    return bytes;
}

uint64_t shard_bytes(const struct shard *s)
{
    return shard_data(s) + shard_table_bytes(s);
}

/* xorshift64*: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators,
 * scrambled", 2016. */
uint64_t shard_random(struct shard *s)
{
    uint64_t x = s->random_state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    s->random_state = x;
    return x * 0x2545f4914f6cdd1dull;
}
