/* Indexes of listpacks: see set_index.h. */
#include "shard/type/set_index.h"

#include "proto/mem.h"
#include "shard/type/listpack.h"

/* An index is built for so many members at least, after so many look-ups. */
#define COUNT_MIN 16u
#define ASKED_MIN 8u

void set_index_start(struct set_index *x, const struct value *v)
{
    *x = (struct set_index){.v = v};
}

void set_index_end(struct set_index *x)
{
    mem_free(x->positions);
    x->positions = NULL;
}

/* Of integers the number is hashed: a listpack holds every integer as one. */
static uint64_t hash_integer(int64_t integer)
{
    return (uint64_t)integer * 0x9e3779b97f4a7c15u >> 32;
}

static uint64_t hash_member(const struct keyspace *k, const struct set_member *m)
{
    return m->text.data ? keyspace_hash(k, m->text) : hash_integer(m->integer);
}

static struct set_member member_at(const unsigned char *lp, uint32_t at)
{
    struct listpack_item item = listpack_get(lp, at);
    return (struct set_member){.text = item.text, .integer = item.integer};
}

static void build(struct set_index *x, const struct keyspace *k)
{
    const unsigned char *lp = x->v->data;
    uint64_t cap = 2 * COUNT_MIN;
    while (cap < 2 * (uint64_t)listpack_count(lp))
        cap *= 2;
    x->positions = mem_alloc_zeroed(cap * sizeof(*x->positions));
    x->mask = (uint32_t)(cap - 1);
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE; at = listpack_next(lp, at)) {
        struct set_member m = member_at(lp, at);
        uint64_t i = hash_member(k, &m);
        while (x->positions[i & x->mask] != LISTPACK_NONE)
            i++;
        x->positions[i & x->mask] = at;
    }
}

static bool equal(const struct set_member *a, const struct set_member *b)
{
    if (!a->text.data || !b->text.data)
        return !a->text.data && !b->text.data && a->integer == b->integer;
    return slice_equal(a->text, b->text);
}

static bool find(const struct set_index *x, const struct keyspace *k, const struct set_member *m)
{
    uint32_t at;
    for (uint64_t i = hash_member(k, m); (at = x->positions[i & x->mask]) != LISTPACK_NONE; i++) {
        struct set_member there = member_at(x->v->data, at);
        if (equal(&there, m))
            return true;
    }
    return false;
}

/* A table's members are all text; those that are integers must be asked for as such. */
static struct set_member as_listpack_holds(const struct set_member *m)
{
    struct set_member held = *m;
    if (m->text.data && number_parse_integer(m->text, &held.integer))
        held.text = (struct slice){NULL, 0};
    return held;
}

bool set_index_has(struct set_index *x, const struct keyspace *k, const struct set_member *m)
{
    if (x->v->encoding != ENC_LISTPACK)
        return set_has_member(x->v, k, m);
    if (!x->positions) {
        if (++x->asked <= ASKED_MIN || listpack_count(x->v->data) < COUNT_MIN)
            return set_has_member(x->v, k, m);
        build(x, k);
    }
    struct set_member held = as_listpack_holds(m);
    return find(x, k, &held);
}
