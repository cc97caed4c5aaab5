/* The hash type: its encodings, and what it tells the keyspace. See hash.h. */
#include "shard/type/hash_inside.h"

#include <assert.h>

#include "proto/mem.h"

/* What a packed field takes beside its bytes, and more: encodings, back lengths, an expiry. */
#define PACKED_OVERHEAD 64

/* Before every time. */
#define MOMENT_FIRST INT64_MIN

/* --- Encodings --- */

static void fill(void *context, const struct hash_pair *pair)
{
    fields_set(context, pair->field, pair->value, pair->expires_ms, MOMENT_FIRST);
}

static void become_table(struct value *v, const struct keyspace *k)
{
    struct fields *f = fields_create(k);
    packed_each(v, MOMENT_FIRST, fill, f);
    packed_destroy(v);
    v->encoding = ENC_TABLE;
    v->data = f;
}

/* Makes a packed hash able to hold expiries, as long as it can stay packed. */
static void become_expiring(struct value *v, const struct keyspace *k)
{
    size_t more = (size_t)listpack_count(packed_bytes(v)) * PACKED_OVERHEAD;
    if (v->encoding == ENC_LISTPACK && listpack_has_room(packed_bytes(v), more))
        packed_widen(v);
    else if (v->encoding == ENC_LISTPACK)
        become_table(v, k);
}

static uint32_t packed_count(const struct value *v)
{
    return listpack_count(packed_bytes(v)) / packed_width(v);
}

static bool fits_packed(const struct value *v, const struct keyspace *k, struct slice field,
                        struct slice value)
{
    size_t max = k->options.hash_max_listpack_value;
    return field.size <= max && value.size <= max &&
           listpack_has_room(packed_bytes(v), field.size + value.size + PACKED_OVERHEAD);
}

void hash_prepare(struct value *v, const struct keyspace *k, const struct slice *pairs,
                  uint64_t count)
{
    if (!hash_is_packed(v))
        return;
    bool fits = count <= k->options.hash_max_listpack_entries;
    for (uint64_t i = 0; fits && i < 2 * count; i++)
        fits = pairs[i].size <= k->options.hash_max_listpack_value;
    if (!fits)
        become_table(v, k);
}

/* --- Fields --- */

bool hash_get(const struct value *v, const struct keyspace *k, struct slice field, int64_t now_ms,
              struct hash_pair *found)
{
    assert(hash_is_packed(v) || ((struct fields *)v->data)->table.context == k);
    return hash_is_packed(v) ? packed_get(v, field, now_ms, found)
                             : fields_get(v->data, field, now_ms, found);
}

bool hash_set(struct value *v, const struct keyspace *k, struct slice field, struct slice value,
              int64_t expires_ms, int64_t now_ms)
{
    bool expires = expires_ms != HASH_NO_EXPIRY && expires_ms != HASH_KEEP_EXPIRY;
    if (hash_is_packed(v) && !fits_packed(v, k, field, value))
        become_table(v, k);
    if (hash_is_packed(v) && expires)
        become_expiring(v, k);
    if (!hash_is_packed(v))
        return fields_set(v->data, field, value, expires_ms, now_ms);

    bool added = packed_set(v, field, value, expires_ms, now_ms);
    if (added && packed_count(v) > k->options.hash_max_listpack_entries)
        become_table(v, k);
    return added;
}

bool hash_set_expiry(struct value *v, const struct keyspace *k, struct slice field,
                     int64_t expires_ms, int64_t now_ms)
{
    assert(expires_ms != HASH_KEEP_EXPIRY);
    if (hash_is_packed(v) && expires_ms != HASH_NO_EXPIRY) {
        struct hash_pair pair;
        if (!packed_get(v, field, now_ms, &pair))
            return false;
        if (!listpack_has_room(packed_bytes(v), PACKED_OVERHEAD))
            become_table(v, k);
        else
            become_expiring(v, k);
    }
    return hash_is_packed(v) ? packed_set_expiry(v, field, expires_ms, now_ms)
                             : fields_set_expiry(v->data, field, expires_ms, now_ms);
}

bool hash_remove(struct value *v, const struct keyspace *k, struct slice field, int64_t now_ms)
{
    assert(hash_is_packed(v) || ((struct fields *)v->data)->table.context == k);
    return hash_is_packed(v) ? packed_remove(v, field, now_ms)
                             : fields_remove(v->data, field, now_ms);
}

/* --- All fields --- */

static void count_pair(void *context, const struct hash_pair *pair)
{
    ++*(uint64_t *)context;
}

uint64_t hash_live_count(const struct value *v, int64_t now_ms, uint64_t max)
{
    if (!hash_is_packed(v))
        return fields_count_live(v->data, now_ms, max);
    uint64_t count = packed_count(v);
    if (packed_due_ms(v) < now_ms) {
        count = 0;
        packed_each(v, now_ms, count_pair, &count);
    }
    return count < max ? count : max;
}

uint64_t hash_scan(const struct value *v, uint64_t position, uint64_t count, int64_t now_ms,
                   hash_visit *visit, void *context)
{
    if (!hash_is_packed(v))
        return fields_scan(v->data, position, count, now_ms, visit, context);
    packed_each(v, now_ms, visit, context);
    return 0;
}

void hash_each(const struct value *v, int64_t now_ms, hash_visit *visit, void *context)
{
    uint64_t position = hash_scan(v, 0, 0, now_ms, visit, context);
    assert(position == 0);
}

void hash_check(const struct value *v, const struct keyspace *k)
{
    assert(v->type == TYPE_HASH);
    if (!hash_is_packed(v)) {
        const struct fields *f = v->data;
        assert(f->table.context == k);
        fields_check(f);
        return;
    }
    assert(v->encoding == ENC_LISTPACK || v->encoding == ENC_LISTPACK_EX);
    packed_check(v);
}

/* --- What the keyspace asks --- */

static struct value create(const struct keyspace *k)
{
    return (struct value){TYPE_HASH, ENC_LISTPACK, listpack_create(0)};
}

static uint64_t count(const struct value *v)
{
    return hash_is_packed(v) ? packed_count(v) : ((struct fields *)v->data)->table.count;
}

static size_t memory(const struct value *v)
{
    return hash_is_packed(v) ? packed_memory(v) : fields_memory(v->data);
}

static uint64_t parts(const struct value *v)
{
    return hash_is_packed(v) ? 1 : ((struct fields *)v->data)->table.count;
}

static bool free_some(struct value *v, uint64_t *budget)
{
    if (!hash_is_packed(v))
        return fields_free_some(v->data, budget);
    packed_destroy(v);
    *budget -= *budget > 0;
    return true;
}

static struct value copy(const struct value *v)
{
    if (hash_is_packed(v))
        return packed_copy(v);
    return (struct value){v->type, v->encoding, fields_copy(v->data)};
}

static uint64_t move(struct value *v, uint64_t position, uint64_t *budget,
                     const struct mem_move *m)
{
    if (position == 0)
        v->data = mem_move_block(m, v->data);
    if (v->encoding == ENC_TABLE)
        return fields_move(v->data, position, budget, m);
    if (v->encoding == ENC_LISTPACK_EX) {
        struct packed_expiring *p = v->data;
        p->lp = mem_move_block(m, p->lp);
    }
    value_spend(budget, 1);
    return 0;
}

static const char *encoding_name(const struct value *v)
{
    switch (v->encoding) {
    case ENC_LISTPACK:
        return "listpack";
    case ENC_LISTPACK_EX:
        return "listpackex";
    default:
        assert(v->encoding == ENC_TABLE);
        return "hashtable";
    }
}

static int64_t next_due_ms(const struct value *v)
{
    return hash_is_packed(v) ? packed_due_ms(v) : ((struct fields *)v->data)->due_ms;
}

static uint64_t remove_due(struct value *v, int64_t now_ms, uint64_t max,
                           const struct value_gone *gone)
{
    return hash_is_packed(v) ? packed_remove_due(v, now_ms, max, gone)
                             : fields_remove_due(v->data, now_ms, max, gone);
}

const struct value_ops hash_ops = {
    .create = create,
    .count = count,
    .memory = memory,
    .parts = parts,
    .free_some = free_some,
    .move = move,
    .copy = copy,
    .encoding_name = encoding_name,
    .next_due_ms = next_due_ms,
    .remove_due = remove_due,
};
