/* Packed hashes: fields in a listpack, see hash.h.
 *
 * A look-up walks from the first field on, which is why these hashes are short. Each field takes
 * two elements, or three with its expiry; which of the two it is holds for all fields of a hash, so
 * one walk serves both. The earliest expiry is kept exact: where its field goes, the rest are
 * walked for the next. */
#include "shard/type/hash_inside.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/mem.h"

static struct packed_expiring *expiring(const struct value *v)
{
    return v->encoding == ENC_LISTPACK_EX ? v->data : NULL;
}

/* The owner's pointer to the listpack. */
static unsigned char **owner(struct value *v)
{
    if (v->encoding == ENC_LISTPACK_EX)
        return &expiring(v)->lp;
    return (unsigned char **)&v->data;
}

static int64_t expiry_at(const unsigned char *lp, uint32_t at)
{
    int64_t held;
    bool integer = listpack_integer(lp, at, &held);
    assert(integer);
    return held ? held : HASH_NO_EXPIRY;
}

static int64_t expiry_held(int64_t expires_ms)
{
    return expires_ms == HASH_NO_EXPIRY ? 0 : expires_ms;
}

uint32_t packed_read(const struct value *v, uint32_t at, struct hash_pair *pair)
{
    const unsigned char *lp = packed_bytes(v);
    pair->field = listpack_text(lp, at, pair->scratch[0]);
    at = listpack_next(lp, at);
    pair->value = listpack_text(lp, at, pair->scratch[1]);
    at = listpack_next(lp, at);
    pair->expires_ms = HASH_NO_EXPIRY;
    if (v->encoding == ENC_LISTPACK_EX) {
        pair->expires_ms = expiry_at(lp, at);
        at = listpack_next(lp, at);
    }
    return at;
}

/* Where a field stands. */
struct spot {
    uint32_t field; /* LISTPACK_NONE: nowhere */
    uint32_t value;
    uint32_t expiry; /* in ENC_LISTPACK_EX */
    int64_t expires_ms;
};

static struct spot find(const struct value *v, struct slice field)
{
    const unsigned char *lp = packed_bytes(v);
    struct spot s = {.expires_ms = HASH_NO_EXPIRY};
    s.field = listpack_find(lp, listpack_first(lp), field, packed_width(v) - 1);
    if (s.field == LISTPACK_NONE)
        return s;
    s.value = listpack_next(lp, s.field);
    if (v->encoding == ENC_LISTPACK_EX) {
        s.expiry = listpack_next(lp, s.value);
        s.expires_ms = expiry_at(lp, s.expiry);
    }
    return s;
}

static bool is_live(const struct spot *s, int64_t now_ms)
{
    return s->field != LISTPACK_NONE && s->expires_ms >= now_ms;
}

bool packed_get(const struct value *v, struct slice field, int64_t now_ms, struct hash_pair *pair)
{
    struct spot s = find(v, field);
    if (!is_live(&s, now_ms))
        return false;
    pair->field = field;
    pair->value = listpack_text(packed_bytes(v), s.value, pair->scratch[1]);
    pair->expires_ms = s.expires_ms;
    return true;
}

/* --- The earliest expiry --- */

static int64_t earliest(const struct value *v)
{
    int64_t due_ms = HASH_NO_EXPIRY;
    struct hash_pair pair;
    for (uint32_t at = listpack_first(packed_bytes(v)); at != LISTPACK_NONE;) {
        at = packed_read(v, at, &pair);
        if (pair.expires_ms < due_ms)
            due_ms = pair.expires_ms;
    }
    return due_ms;
}

/* After a field's expiry was changed; `after_ms` is HASH_NO_EXPIRY where the field has gone. */
static void note_expiry(struct value *v, int64_t before_ms, int64_t after_ms)
{
    struct packed_expiring *e = expiring(v);
    if (!e || before_ms == after_ms)
        return;
    if (after_ms <= e->due_ms)
        e->due_ms = after_ms;
    else if (before_ms == e->due_ms)
        e->due_ms = earliest(v);
}

/* --- Changing --- */

static void append(struct value *v, struct slice field, struct slice value, int64_t expires_ms)
{
    unsigned char **lp = owner(v);
    listpack_append(lp, field);
    listpack_append(lp, value);
    if (v->encoding == ENC_LISTPACK_EX)
        listpack_append_integer(lp, expiry_held(expires_ms));
}

bool packed_set(struct value *v, struct slice field, struct slice value, int64_t expires_ms,
                int64_t now_ms)
{
    assert(expires_ms == HASH_NO_EXPIRY || expires_ms == HASH_KEEP_EXPIRY || expiring(v));
    struct spot s = find(v, field);
    bool live = is_live(&s, now_ms);
    if (expires_ms == HASH_KEEP_EXPIRY)
        expires_ms = live ? s.expires_ms : HASH_NO_EXPIRY;
    if (s.field == LISTPACK_NONE) {
        append(v, field, value, expires_ms);
    } else {
        /* The expiry first: it stands behind the value. */
        if (s.expires_ms != expires_ms)
            listpack_replace_integer(owner(v), s.expiry, expiry_held(expires_ms));
        listpack_replace(owner(v), s.value, value);
    }
    note_expiry(v, s.expires_ms, expires_ms);
    return !live;
}

bool packed_set_expiry(struct value *v, struct slice field, int64_t expires_ms, int64_t now_ms)
{
    struct spot s = find(v, field);
    if (!is_live(&s, now_ms))
        return false;
    if (s.expires_ms != expires_ms) {
        listpack_replace_integer(owner(v), s.expiry, expiry_held(expires_ms));
        note_expiry(v, s.expires_ms, expires_ms);
    }
    return true;
}

bool packed_remove(struct value *v, struct slice field, int64_t now_ms)
{
    struct spot s = find(v, field);
    if (!is_live(&s, now_ms))
        return false;
    listpack_delete(owner(v), s.field, packed_width(v));
    note_expiry(v, s.expires_ms, HASH_NO_EXPIRY);
    return true;
}

uint64_t packed_remove_due(struct value *v, int64_t now_ms, uint64_t max,
                           const struct value_gone *gone)
{
    struct packed_expiring *e = expiring(v);
    if (!e || e->due_ms >= now_ms)
        return 0;
    uint64_t removed = 0;
    int64_t due_ms = HASH_NO_EXPIRY;
    struct hash_pair pair;
    for (uint32_t at = listpack_first(e->lp); at != LISTPACK_NONE;) {
        uint32_t next = packed_read(v, at, &pair);
        if (pair.expires_ms < now_ms && removed < max) {
            if (gone)
                gone->visit(gone->context, pair.field);
            at = listpack_delete(&e->lp, at, packed_width(v));
            removed++;
            continue;
        }
        if (pair.expires_ms < due_ms)
            due_ms = pair.expires_ms;
        at = next;
    }
    e->due_ms = due_ms;
    return removed;
}

void packed_each(const struct value *v, int64_t now_ms, hash_visit *visit, void *context)
{
    struct hash_pair pair;
    for (uint32_t at = listpack_first(packed_bytes(v)); at != LISTPACK_NONE;) {
        at = packed_read(v, at, &pair);
        if (pair.expires_ms >= now_ms)
            visit(context, &pair);
    }
}

/* --- By expiry --- */

struct dated {
    int64_t expires_ms;
    uint32_t at;
};

static int compare_dated(const void *left, const void *right)
{
    const struct dated *a = left, *b = right;
    if (a->expires_ms != b->expires_ms)
        return a->expires_ms < b->expires_ms ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

unsigned char *hash_listpack_by_expiry(const struct value *v)
{
    assert(v->encoding == ENC_LISTPACK_EX);
    const unsigned char *lp = packed_bytes(v);
    uint32_t count = 0;
    struct dated *all = mem_alloc(listpack_count(lp) / 3 * sizeof(*all) + 1);
    struct hash_pair pair;
    for (uint32_t at = listpack_first(lp), next; at != LISTPACK_NONE; at = next) {
        next = packed_read(v, at, &pair);
        all[count++] = (struct dated){pair.expires_ms, at};
    }
    qsort(all, count, sizeof(*all), compare_dated);
    unsigned char *sorted = listpack_create(listpack_size(lp));
    for (uint32_t i = 0; i < count; i++) {
        packed_read(v, all[i].at, &pair);
        listpack_append(&sorted, pair.field);
        listpack_append(&sorted, pair.value);
        listpack_append_integer(&sorted, expiry_held(pair.expires_ms));
    }
    mem_free(all);
    return sorted;
}

/* --- Whole values --- */

void packed_widen(struct value *v)
{
    assert(v->encoding == ENC_LISTPACK);
    unsigned char *narrow = v->data;
    struct value wide = {v->type, ENC_LISTPACK_EX, NULL};
    struct packed_expiring *e = mem_alloc(sizeof(*e));
    e->due_ms = HASH_NO_EXPIRY;
    e->lp = listpack_create(listpack_size(narrow) + listpack_count(narrow));
    wide.data = e;
    struct hash_pair pair;
    for (uint32_t at = listpack_first(narrow); at != LISTPACK_NONE;) {
        at = packed_read(v, at, &pair);
        append(&wide, pair.field, pair.value, HASH_NO_EXPIRY);
    }
    mem_free(narrow);
    *v = wide;
}

void packed_destroy(struct value *v)
{
    mem_free(packed_bytes(v));
    mem_free(expiring(v));
    v->data = NULL;
}

struct value packed_copy(const struct value *v)
{
    struct value copy = {v->type, v->encoding, listpack_copy(packed_bytes(v))};
    if (v->encoding == ENC_LISTPACK_EX) {
        struct packed_expiring *e = mem_alloc(sizeof(*e));
        *e = (struct packed_expiring){expiring(v)->due_ms, copy.data};
        copy.data = e;
    }
    return copy;
}

size_t packed_memory(const struct value *v)
{
    return mem_usable(packed_bytes(v)) + mem_usable(expiring(v));
}

void packed_check(const struct value *v)
{
    const unsigned char *lp = packed_bytes(v);
    listpack_check(lp);
    assert(listpack_count(lp) % packed_width(v) == 0);
    assert(earliest(v) == packed_due_ms(v));
    struct hash_pair pair;
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE;) {
        uint32_t field = at;
        at = packed_read(v, at, &pair);
        assert(find(v, pair.field).field == field);
    }
}
