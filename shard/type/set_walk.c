/* Sets: going through the members, all of them or some picked at random. */
#include <assert.h>

#include "proto/mem.h"
#include "shard/type/intset.h"
#include "shard/type/listpack.h"
#include "shard/type/set_table.h"

/* A sample of more than one in this many members of a table is taken in one pass over all. */
#define SAMPLE_PASS_RATIO 4

struct slice set_member_text(const struct set_member *m, char *scratch)
{
    if (m->text.data)
        return m->text;
    return (struct slice){scratch, number_format_integer(scratch, m->integer)};
}

static struct set_member member_of_item(void *item)
{
    return (struct set_member){.text = set_table_text(item), .at = (uintptr_t)item};
}

static struct set_member member_of_listpack(const unsigned char *lp, uint32_t at)
{
    struct listpack_item item = listpack_get(lp, at);
    return (struct set_member){.text = item.text, .integer = item.integer, .at = at};
}

static struct set_member member_of_intset(const struct intset *s, uint32_t index)
{
    return (struct set_member){.integer = intset_get(s, index), .at = index};
}

/* ---- Walking ---- */

/* Members of a large set lie anywhere: a bucket's are fetched while those of the one before are
 * used. */
static void prefetch_bucket(const struct table *t, uint64_t index)
{
    if (index + 1 < t->bucket_count)
        table_prefetch(table_bucket_at(t, index + 1));
    if (index >= t->bucket_count)
        return;
    const struct table_bucket *b = table_bucket_at(t, index);
    for (uint32_t slot = 0; slot < TABLE_SLOTS && b->tags[slot]; slot++)
        table_prefetch((const void *)(uintptr_t)table_slot(b, slot));
}

static bool next_in_table(struct set_walk *w, struct set_member *m)
{
    const struct table *t = &((const struct set_table *)w->v->data)->members;
    while (!w->bucket || w->slot == TABLE_SLOTS || !w->bucket->tags[w->slot]) {
        w->bucket = w->bucket ? table_chained(w->bucket) : NULL;
        w->slot = 0;
        if (w->bucket)
            continue;
        if (w->next >= t->bucket_count)
            return false;
        w->bucket = table_bucket_at(t, w->next++);
        prefetch_bucket(t, w->next);
    }
    *m = member_of_item(table_item((struct table_place){w->bucket, w->slot++}));
    return true;
}

static bool next_in_listpack(struct set_walk *w, struct set_member *m)
{
    uint32_t at = (uint32_t)w->next;
    if (at == LISTPACK_NONE)
        return false;
    *m = member_of_listpack(w->v->data, at);
    w->next = listpack_next(w->v->data, at);
    return true;
}

static bool next_in_intset(struct set_walk *w, struct set_member *m)
{
    const struct intset *s = w->v->data;
    if (!s || w->next == intset_count(s))
        return false;
    *m = member_of_intset(s, (uint32_t)w->next++);
    return true;
}

void set_walk_start(struct set_walk *w, const struct value *v)
{
    *w = (struct set_walk){.v = v};
    if (v->encoding == ENC_LISTPACK)
        w->next = listpack_first(v->data);
}

bool set_walk_next(struct set_walk *w, struct set_member *m)
{
    if (w->v->encoding == ENC_TABLE)
        return next_in_table(w, m);
    return w->v->encoding == ENC_LISTPACK ? next_in_listpack(w, m) : next_in_intset(w, m);
}

/* ---- Picking at random ---- */

void set_random(const struct value *v, const struct value_random *random, struct set_member *m)
{
    assert(set_count(v) > 0);
    if (v->encoding == ENC_TABLE) {
        const struct set_table *t = v->data;
        *m = member_of_item(table_random(&t->members, random->next, random->context));
        return;
    }
    uint64_t index = value_random_below(random, set_count(v));
    if (v->encoding == ENC_LISTPACK)
        *m = member_of_listpack(v->data, listpack_seek(v->data, (int64_t)index));
    else
        *m = member_of_intset(v->data, (uint32_t)index);
}

/* Selection sampling: goes through all members, and takes one with the chance of those still wanted
 * among those still to come, which makes every choice of `count` members equally likely. Source:
 * D. Knuth, "The Art of Computer Programming", vol. 2, 3.4.2, algorithm S. */
struct selection {
    uint64_t wanted, left;
    const struct value_random *random;
};

static bool selection_takes(struct selection *s)
{
    bool taken = value_random_below(s->random, s->left--) < s->wanted;
    s->wanted -= taken;
    return taken;
}

static void sample_pass(const struct value *v, uint64_t wanted, const struct value_random *random,
                        void (*visit)(void *context, const struct set_member *m), void *context)
{
    struct selection s = {.wanted = wanted, .left = set_count(v), .random = random};
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, v);
    while (s.wanted > 0 && set_walk_next(&w, &m))
        if (selection_takes(&s))
            visit(context, &m);
}

/* Notes that an item has been picked; false where it was before. `seen` has a power of two of
 * places, half of them free at least. Addresses differ in their middle bits. */
static bool note_picked(uintptr_t *seen, uint64_t mask, uintptr_t item)
{
    uint64_t i = (uint64_t)item * 0x9e3779b97f4a7c15u >> 32;
    for (;; i++) {
        if (seen[i & mask] == item)
            return false;
        if (seen[i & mask] == 0)
            break;
    }
    seen[i & mask] = item;
    return true;
}

/* Picks until enough are different: of use where `wanted` is a small part of a table. */
static void sample_picks(const struct value *v, uint64_t wanted, const struct value_random *random,
                         void (*visit)(void *context, const struct set_member *m), void *context)
{
    uint64_t cap = 8;
    while (cap < 2 * wanted)
        cap *= 2;
    uintptr_t *seen = mem_alloc_zeroed(cap * sizeof(*seen));
    while (wanted > 0) {
        struct set_member m;
        set_random(v, random, &m);
        if (!note_picked(seen, cap - 1, m.at))
            continue;
        visit(context, &m);
        wanted--;
    }
    mem_free(seen);
}

void set_sample(const struct value *v, uint64_t count, const struct value_random *random,
                void (*visit)(void *context, const struct set_member *m), void *context)
{
    uint64_t all = set_count(v);
    uint64_t wanted = count < all ? count : all;
    if (v->encoding == ENC_TABLE && wanted < all / SAMPLE_PASS_RATIO)
        sample_picks(v, wanted, random, visit, context);
    else
        sample_pass(v, wanted, random, visit, context);
}

/* Seeking in a listpack takes time in proportion to its size, so for many picks the positions are
 * noted first. */
static void repeat_listpack(const unsigned char *lp, uint64_t count,
                            const struct value_random *random,
                            void (*visit)(void *context, const struct set_member *m), void *context)
{
    uint32_t all = listpack_count(lp), found = 0;
    uint32_t *positions = mem_alloc(all * sizeof(*positions));
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE; at = listpack_next(lp, at))
        positions[found++] = at;
    assert(found == all);
    while (count-- > 0) {
        struct set_member m = member_of_listpack(lp, positions[value_random_below(random, all)]);
        visit(context, &m);
    }
    mem_free(positions);
}

void set_sample_repeated(const struct value *v, uint64_t count, const struct value_random *random,
                         void (*visit)(void *context, const struct set_member *m), void *context)
{
    if (v->encoding == ENC_LISTPACK && count > 1) {
        repeat_listpack(v->data, count, random, visit, context);
        return;
    }
    while (count-- > 0) {
        struct set_member m;
        set_random(v, random, &m);
        visit(context, &m);
    }
}

/* Members of one listpack need not be looked up in another that gets some of them. */
static void append_member(struct value *v, const struct set_member *m)
{
    unsigned char *lp = v->data;
    if (m->text.data)
        listpack_append(&lp, m->text);
    else
        listpack_append_integer(&lp, m->integer);
    v->data = lp;
}

void set_split(const struct value *v, const struct keyspace *k, uint64_t count,
               const struct value_random *random, struct value *rest,
               void (*visit)(void *context, const struct set_member *m), void *context)
{
    assert(rest->encoding == ENC_INTSET && !rest->data);
    if (v->encoding != ENC_INTSET)
        *rest = (struct value){TYPE_SET, ENC_LISTPACK, listpack_create(0)};
    struct selection s = {.wanted = count, .left = set_count(v), .random = random};
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m)) {
        if (selection_takes(&s))
            visit(context, &m);
        else if (v->encoding == ENC_LISTPACK)
            append_member(rest, &m);
        else
            set_add_member(rest, k, &m);
    }
}

/* ---- Scanning ---- */

/* What set_scan passes through the table's scan. */
struct scanning {
    void (*visit)(void *context, const struct set_member *m);
    void *context;
};

static void scan_item(void *context, void *item, struct table_place at)
{
    const struct scanning *scanning = context;
    struct set_member m = member_of_item(item);
    scanning->visit(scanning->context, &m);
}

uint64_t set_scan(const struct value *v, uint64_t position, uint64_t count,
                  void (*visit)(void *context, const struct set_member *m), void *context)
{
    if (v->encoding == ENC_TABLE) {
        struct scanning scanning = {.visit = visit, .context = context};
        struct set_table *t = v->data;
        return table_scan(&t->members, position, count, count * 10, false, scan_item, &scanning);
    }
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m))
        visit(context, &m);
    return 0;
}
