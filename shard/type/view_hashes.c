/* Sets of hashes: see view_hashes.h. */
#include "shard/type/view_hashes.h"

#include "proto/mem.h"

#define PLACES_MIN 16u

static unsigned part_of(uint64_t hash)
{
    return (unsigned)(hash >> 56);
}

/* Where the hash is, or the free place that it would take. The low bits are not to be used: a table
 * is gone through in their order, so the hashes that are noted late share them. */
static uint32_t place_of(const uint64_t *places, uint32_t mask, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash >> 24) & mask;
    while (places[at] && places[at] != hash)
        at = (at + 1) & mask;
    return at;
}

static void grow(struct view_hashes *h, unsigned part)
{
    uint64_t *old = h->places[part];
    uint32_t cap = old ? h->masks[part] + 1 : 0, grown = cap ? 2 * cap : PLACES_MIN;
    uint64_t *places = mem_alloc_zeroed(grown * sizeof(*places));
    for (uint32_t i = 0; i < cap; i++)
        if (old[i])
            places[place_of(places, grown - 1, old[i])] = old[i];
    h->memory += mem_usable(places) - mem_usable(old);
    mem_free(old);
    h->places[part] = places;
    h->masks[part] = grown - 1;
}

bool view_hashes_have(const struct view_hashes *h, uint64_t hash)
{
    unsigned part = part_of(hash);
    if (hash == 0)
        return h->has_zero;
    return h->places[part] && h->places[part][place_of(h->places[part], h->masks[part], hash)];
}

bool view_hashes_add(struct view_hashes *h, uint64_t hash)
{
    if (hash == 0) {
        bool added = !h->has_zero;
        h->has_zero = true;
        h->count += added;
        return added;
    }
    unsigned part = part_of(hash);
    if (!h->places[part] || h->counts[part] >= (h->masks[part] + 1) / 4 * 3)
        grow(h, part);
    uint64_t *place = &h->places[part][place_of(h->places[part], h->masks[part], hash)];
    if (*place)
        return false;
    *place = hash;
    h->counts[part]++;
    h->count++;
    return true;
}

void view_hashes_deinit(struct view_hashes *h)
{
    for (unsigned part = 0; part < VIEW_HASHES_PARTS; part++)
        mem_free(h->places[part]);
    *h = (struct view_hashes){0};
}
