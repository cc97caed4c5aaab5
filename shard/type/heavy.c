/* Heavy hitters: see heavy.h. */
#include "shard/type/heavy.h"

#include <string.h>

#include "proto/mem.h"

void heavy_deinit(struct heavy *h)
{
    for (uint32_t i = 0; i < HEAVY_SLOTS; i++)
        mem_free(h->slots[i].key);
    memset(h, 0, sizeof(*h));
}

void heavy_reset(struct heavy *h)
{
    heavy_deinit(h);
}

static uint32_t find(const struct heavy *h, uint64_t hash)
{
    uint32_t i = 0;
    while (i < h->used && h->hashes[i] != hash)
        i++;
    return i;
}

static uint32_t smallest(const struct heavy *h)
{
    uint32_t least = 0;
    for (uint32_t i = 1; i < HEAVY_SLOTS; i++)
        if (h->slots[i].count < h->slots[least].count)
            least = i;
    return least;
}

static void keep_key(struct heavy_slot *slot, struct slice key)
{
    uint32_t kept = key.size < HEAVY_KEY_MAX ? (uint32_t)key.size : HEAVY_KEY_MAX;
    if (slot->room < kept) {
        mem_free(slot->key);
        slot->key = mem_alloc(kept);
        slot->room = kept;
    }
    if (kept)
        memcpy(slot->key, key.data, kept);
    slot->kept = kept;
    slot->size = (uint32_t)key.size;
}

void heavy_note(struct heavy *h, uint32_t db, struct slice key, uint64_t hash)
{
    hash ^= (uint64_t)db * UINT64_C(0x9e3779b97f4a7c15);
    h->total++;
    uint32_t i = find(h, hash);
    if (i == h->used) {
        if (h->used < HEAVY_SLOTS)
            h->used++;
        else
            i = smallest(h);
        struct heavy_slot *slot = &h->slots[i];
        h->hashes[i] = hash;
        slot->error = slot->count;
        slot->db = db;
        keep_key(slot, key);
    }
    h->slots[i].count++;
}
