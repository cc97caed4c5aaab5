/* Fields of a hash at random: see hash.h.
 *
 * A table gives a random item by itself, and one that has expired is drawn again. A packed hash
 * does not, nor is drawing again of use where nearly all have expired: there the fields that can be
 * drawn are listed first, and the list is drawn from. A field is listed as its position or its
 * item's address. */
#include "shard/type/hash_inside.h"

#include <assert.h>

#include "proto/mem.h"

/* Draws from a table of which hardly any can be of an item that has not expired. */
#define VAIN_DRAWS_MAX 100

/* --- Lists of fields --- */

struct listing {
    uintptr_t *fields;
    uint64_t count;
};

static void list_item(void *context, const struct field_item *item)
{
    struct listing *l = context;
    l->fields[l->count++] = (uintptr_t)item;
}

static uintptr_t *list_fields(const struct value *v, int64_t now_ms, uint64_t *count)
{
    uint64_t held = value_count(v);
    struct listing l = {mem_alloc((held + 1) * sizeof(*l.fields)), 0};
    if (!hash_is_packed(v)) {
        fields_each_item(v->data, now_ms, list_item, &l);
    } else {
        struct hash_pair pair;
        for (uint32_t at = listpack_first(packed_bytes(v)); at != LISTPACK_NONE;) {
            uint32_t field = at;
            at = packed_read(v, at, &pair);
            if (pair.expires_ms >= now_ms)
                l.fields[l.count++] = field;
        }
    }
    assert(l.count <= held);
    *count = l.count;
    return l.fields;
}

static void read_listed(const struct value *v, uintptr_t field, struct hash_pair *pair)
{
    if (hash_is_packed(v))
        packed_read(v, (uint32_t)field, pair);
    else
        fields_read((const struct field_item *)field, pair);
}

/* --- Independent draws --- */

void hash_random_start(struct hash_random *r, const struct value *v, int64_t now_ms,
                       struct value_random random, uint64_t draws)
{
    *r = (struct hash_random){.v = v, .random = random, .now_ms = now_ms};
    r->count = hash_live_count(v, now_ms, 1) ? value_count(v) : 0;
    bool due = hash_ops.next_due_ms(v) < now_ms;
    if (hash_is_packed(v) && (due || draws > 1))
        r->fields = list_fields(v, now_ms, &r->count);
}

static bool draw_item(const struct hash_random *r, struct hash_pair *pair)
{
    for (int i = 0; i < VAIN_DRAWS_MAX; i++) {
        fields_read(fields_random(r->v->data, r->random), pair);
        if (pair->expires_ms >= r->now_ms)
            return true;
    }
    return false;
}

bool hash_random_next(struct hash_random *r, struct hash_pair *pair)
{
    if (r->count == 0)
        return false;
    if (!r->fields && !hash_is_packed(r->v)) {
        if (draw_item(r, pair))
            return true;
        r->fields = list_fields(r->v, r->now_ms, &r->count);
    }
    uint64_t nth = value_random_below(&r->random, r->count);
    uintptr_t field = r->fields ? r->fields[nth]
                                : listpack_seek(packed_bytes(r->v),
                                                (int64_t)nth * packed_width(r->v));
    read_listed(r->v, field, pair);
    return true;
}

void hash_random_end(struct hash_random *r)
{
    mem_free(r->fields);
    r->fields = NULL;
}

/* --- Different fields --- */

/* Draws from the list without putting back. */
static void sample_listed(const struct value *v, uintptr_t *fields, uint64_t listed,
                          uint64_t count, struct value_random random, hash_visit *visit,
                          void *context)
{
    struct hash_pair pair;
    for (uint64_t i = 0; i < count && i < listed; i++) {
        uint64_t other = i + value_random_below(&random, listed - i);
        uintptr_t field = fields[other];
        fields[other] = fields[i];
        read_listed(v, field, &pair);
        visit(context, &pair);
    }
}

/* Adds an address to an open-addressed set of at least twice as many; false where it is in it. */
static bool note_drawn(uintptr_t *set, uint64_t mask, uintptr_t address)
{
    uint64_t at = (address * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & mask;
    for (; set[at]; at = (at + 1) & mask)
        if (set[at] == address)
            return false;
    set[at] = address;
    return true;
}

/* Draws until there are enough different ones: for a small part of a table. False, with nothing
 * visited, where that takes too long. */
static bool sample_drawn(const struct fields *f, uint64_t count, int64_t now_ms,
                         struct value_random random, hash_visit *visit, void *context)
{
    uint64_t mask = 3;
    while (mask + 1 < 2 * count)
        mask = 2 * mask + 1;
    uintptr_t *set = mem_alloc_zeroed((mask + 1) * sizeof(*set));
    struct hash_pair pair;
    uint64_t drawn = 0;
    for (uint64_t i = 0; drawn < count && i < VAIN_DRAWS_MAX + 4 * count; i++) {
        const struct field_item *item = fields_random(f, random);
        fields_read(item, &pair);
        drawn += pair.expires_ms >= now_ms && note_drawn(set, mask, (uintptr_t)item);
    }
    for (uint64_t i = 0; drawn == count && i <= mask; i++) {
        if (!set[i])
            continue;
        fields_read((const struct field_item *)set[i], &pair);
        visit(context, &pair);
    }
    mem_free(set);
    return drawn == count;
}

void hash_sample(const struct value *v, uint64_t count, int64_t now_ms, struct value_random random,
                 hash_visit *visit, void *context)
{
    uint64_t held = value_count(v);
    if (count >= held) {
        hash_each(v, now_ms, visit, context);
        return;
    }
    if (!hash_is_packed(v) && count <= held / 3 &&
        sample_drawn(v->data, count, now_ms, random, visit, context))
        return;
    uint64_t listed;
    uintptr_t *fields = list_fields(v, now_ms, &listed);
    sample_listed(v, fields, listed, count, random, visit, context);
    mem_free(fields);
}
