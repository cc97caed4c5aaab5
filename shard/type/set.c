/* Sets: their encodings, and the changes from one to another. Walks, samples and scans are in
 * set_walk.c. */
#include "shard/type/set.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/type/intset.h"
#include "shard/type/listpack.h"
#include "shard/type/set_table.h"
#include "shard/type/view_hook.h"

/* Whatever the options say, an intset moves its members about in one piece. */
#define INTSET_COUNT_MAX (1u << 30)
/* Bytes of an integer in a listpack, at most. */
#define INTEGER_ITEM_MAX 10u

/* ---- Tables of members ---- */

static void *member_create(struct slice text)
{
    size_t head = text.size < MEMBER_SHORT ? 1 : text.size <= UINT16_MAX ? 3 : 9;
    char *item = mem_alloc(head + text.size);
    uint64_t size = text.size;
    item[0] = (char)(head == 1 ? size : head == 3 ? MEMBER_SHORT : MEMBER_LONG);
    memcpy(item + 1, &size, head - 1);
    if (text.size)
        memcpy(item + head, text.data, text.size);
    return item;
}

static uint64_t member_hash(const void *item, const void *context)
{
    return keyspace_hash(context, set_table_text(item));
}

static const struct table_type member_type = {.hash = member_hash};

static struct set_table *table_create(const void *keyspace)
{
    struct set_table *t = mem_alloc(sizeof(*t));
    table_init(&t->members, &member_type, keyspace);
    t->member_bytes = 0;
    t->view = NULL;
    return t;
}

static struct table_place find_member(const struct set_table *t, uint64_t hash, struct slice text)
{
    struct table_probe probe;
    table_probe_start(&probe, &t->members, hash);
    const void *item;
    while ((item = table_probe_next(&probe)) && !slice_equal(set_table_text(item), text))
        continue;
    return table_probe_place(&probe);
}

/* Before the members of this hash change. */
static inline void note_change(const struct set_table *t, uint64_t hash)
{
    if (__builtin_expect(t->view != NULL, 0))
        view_note_hash(t->view, hash);
}

/* Adds a member known to be absent. */
static void table_add_member(struct set_table *t, uint64_t hash, struct slice text)
{
    note_change(t, hash);
    void *item = member_create(text);
    t->member_bytes += mem_usable(item);
    table_add(&t->members, hash, item, false);
}

static void table_remove_member(struct set_table *t, struct table_place at, uint64_t hash)
{
    note_change(t, hash);
    void *item = table_item(at);
    table_remove(&t->members, at, hash);
    t->member_bytes -= mem_usable(item);
    mem_free(item);
}

/* ---- Changes of encoding ---- */

static void free_block(struct value *v)
{
    mem_free(v->data);
    v->data = NULL;
}

static void convert_to_table(struct value *v, const struct keyspace *k)
{
    struct set_table *t = table_create(k);
    struct set_walk w;
    struct set_member m;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m)) {
        struct slice text = set_member_text(&m, scratch);
        table_add_member(t, keyspace_hash(k, text), text);
    }
    free_block(v);
    v->encoding = ENC_TABLE;
    v->data = t;
}

/* `room`: bytes of elements to come. */
static void convert_to_listpack(struct value *v, size_t room)
{
    const struct intset *s = v->data;
    uint32_t count = s ? intset_count(s) : 0;
    unsigned char *lp = listpack_create(room + (s ? intset_size(s) : 0));
    for (uint32_t i = 0; i < count; i++)
        listpack_append_integer(&lp, intset_get(s, i));
    free_block(v);
    v->encoding = ENC_LISTPACK;
    v->data = lp;
}

static uint32_t intset_max(const struct keyspace *k)
{
    uint32_t max = k->options.set_max_intset_entries;
    return max < INTSET_COUNT_MAX ? max : INTSET_COUNT_MAX;
}

/* Chooses the encoding of an empty set. */
static void begin(struct value *v, const struct keyspace *k, struct slice first, uint64_t count)
{
    int64_t integer;
    assert(v->encoding == ENC_INTSET && !v->data);
    if (count <= intset_max(k) && number_parse_integer(first, &integer))
        v->data = intset_create();
    else if (count <= k->options.set_max_listpack_entries)
        convert_to_listpack(v, listpack_item_size(first));
    else
        convert_to_table(v, k);
}

void set_expect(struct value *v, const struct keyspace *k, struct slice first, uint64_t count)
{
    if (v->encoding == ENC_TABLE)
        return;
    if (!v->data)
        begin(v, k, first, count);
    else if (count > (v->encoding == ENC_INTSET ? intset_max(k)
                                                : k->options.set_max_listpack_entries))
        convert_to_table(v, k);
}

/* ---- Adding ---- */

static bool fits_listpack(const struct keyspace *k, uint64_t count, size_t size)
{
    return count < k->options.set_max_listpack_entries &&
           size <= k->options.set_max_listpack_value;
}

static bool add_to_table(struct value *v, const struct keyspace *k, struct slice member)
{
    struct set_table *t = v->data;
    uint64_t hash = keyspace_hash(k, member);
    if (find_member(t, hash, member).bucket)
        return false;
    table_add_member(t, hash, member);
    return true;
}

static uint32_t find_in_listpack(const unsigned char *lp, struct slice member)
{
    uint32_t first = listpack_first(lp);
    return first == LISTPACK_NONE ? LISTPACK_NONE : listpack_find(lp, first, member, 0);
}

static bool add_to_listpack(struct value *v, const struct keyspace *k, struct slice member)
{
    unsigned char *lp = v->data;
    if (find_in_listpack(lp, member) != LISTPACK_NONE)
        return false;
    if (fits_listpack(k, listpack_count(lp), member.size) &&
        listpack_has_room(lp, member.size)) {
        listpack_append(&lp, member);
        v->data = lp;
        return true;
    }
    convert_to_table(v, k);
    return add_to_table(v, k, member);
}

static bool add_integer(struct value *v, const struct keyspace *k, int64_t integer)
{
    struct intset *s = v->data;
    bool added = intset_add(&s, integer);
    v->data = s;
    if (intset_count(s) > intset_max(k))
        convert_to_table(v, k);
    return added;
}

/* Bytes of the longest text of an intset's members. */
static size_t text_size_max(const struct intset *s)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    uint32_t count = intset_count(s);
    if (count == 0)
        return 0;
    size_t lowest = number_format_integer(scratch, intset_get(s, 0));
    size_t highest = number_format_integer(scratch, intset_get(s, count - 1));
    return lowest > highest ? lowest : highest;
}

/* A member that is no integer makes an intset something else. */
static bool add_text_to_intset(struct value *v, const struct keyspace *k, struct slice member)
{
    const struct intset *s = v->data;
    size_t longest = text_size_max(s);
    if (member.size > longest)
        longest = member.size;
    uint64_t count_now = intset_count(s);
    bool room = count_now * INTEGER_ITEM_MAX + longest < LISTPACK_SIZE_MAX / 2;
    if (!room || !fits_listpack(k, count_now, longest)) {
        convert_to_table(v, k);
        return add_to_table(v, k, member);
    }
    convert_to_listpack(v, listpack_item_size(member));
    unsigned char *lp = v->data;
    listpack_append(&lp, member);
    v->data = lp;
    return true;
}

bool set_add(struct value *v, const struct keyspace *k, struct slice member)
{
    if (v->encoding == ENC_TABLE)
        return add_to_table(v, k, member);
    if (!v->data)
        begin(v, k, member, 1);
    if (v->encoding == ENC_LISTPACK)
        return add_to_listpack(v, k, member);
    if (v->encoding == ENC_TABLE)
        return add_to_table(v, k, member);
    int64_t integer;
    if (number_parse_integer(member, &integer))
        return add_integer(v, k, integer);
    return add_text_to_intset(v, k, member);
}

bool set_add_member(struct value *v, const struct keyspace *k, const struct set_member *m)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (v->encoding == ENC_INTSET && v->data && !m->text.data)
        return add_integer(v, k, m->integer);
    return set_add(v, k, set_member_text(m, scratch));
}

/* ---- Looking up and removing ---- */

bool set_has(const struct value *v, const struct keyspace *k, struct slice member)
{
    if (v->encoding == ENC_TABLE)
        return find_member(v->data, keyspace_hash(k, member), member).bucket;
    if (v->encoding == ENC_LISTPACK)
        return find_in_listpack(v->data, member) != LISTPACK_NONE;
    int64_t integer;
    return v->data && number_parse_integer(member, &integer) && intset_has(v->data, integer);
}

bool set_has_member(const struct value *v, const struct keyspace *k, const struct set_member *m)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (v->encoding == ENC_INTSET && !m->text.data)
        return v->data && intset_has(v->data, m->integer);
    return set_has(v, k, set_member_text(m, scratch));
}

static bool remove_from_table(struct value *v, const struct keyspace *k, struct slice member)
{
    uint64_t hash = keyspace_hash(k, member);
    struct table_place at = find_member(v->data, hash, member);
    if (!at.bucket)
        return false;
    table_remove_member(v->data, at, hash);
    return true;
}

static bool remove_from_listpack(struct value *v, struct slice member)
{
    unsigned char *lp = v->data;
    uint32_t at = find_in_listpack(lp, member);
    if (at == LISTPACK_NONE)
        return false;
    listpack_delete(&lp, at, 1);
    v->data = lp;
    return true;
}

static bool remove_integer(struct value *v, int64_t integer)
{
    struct intset *s = v->data;
    if (!s)
        return false;
    bool removed = intset_remove(&s, integer);
    v->data = s;
    return removed;
}

bool set_remove(struct value *v, const struct keyspace *k, struct slice member)
{
    if (v->encoding == ENC_TABLE)
        return remove_from_table(v, k, member);
    if (v->encoding == ENC_LISTPACK)
        return remove_from_listpack(v, member);
    int64_t integer;
    return number_parse_integer(member, &integer) && remove_integer(v, integer);
}

bool set_remove_member(struct value *v, const struct keyspace *k, const struct set_member *m)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (v->encoding == ENC_INTSET && !m->text.data)
        return remove_integer(v, m->integer);
    return set_remove(v, k, set_member_text(m, scratch));
}

void set_remove_at(struct value *v, const struct keyspace *k, const struct set_member *m)
{
    if (v->encoding == ENC_TABLE) {
        bool removed = remove_from_table(v, k, m->text);
        assert(removed);
    } else if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        listpack_delete(&lp, (uint32_t)m->at, 1);
        v->data = lp;
    } else {
        struct intset *s = v->data;
        intset_remove_at(&s, (uint32_t)m->at);
        v->data = s;
    }
}

/* ---- The type, as the keyspace sees it ---- */

static struct value create(const struct keyspace *k)
{
    return (struct value){.type = TYPE_SET, .encoding = ENC_INTSET};
}

static uint64_t count(const struct value *v)
{
    if (v->encoding == ENC_TABLE)
        return ((const struct set_table *)v->data)->members.count;
    if (v->encoding == ENC_LISTPACK)
        return listpack_count(v->data);
    return v->data ? intset_count(v->data) : 0;
}

static size_t memory(const struct value *v)
{
    size_t bytes = mem_usable(v->data);
    if (v->encoding == ENC_TABLE) {
        const struct set_table *t = v->data;
        bytes += table_memory(&t->members) + t->member_bytes;
    }
    return bytes;
}

static uint64_t parts(const struct value *v)
{
    if (v->encoding != ENC_TABLE)
        return 1;
    const struct set_table *t = v->data;
    return 1 + t->members.count + t->members.chained_count + t->members.segments_cap;
}

static void free_member(void *context, void *item)
{
    mem_free(item);
}

static bool free_some(struct value *v, uint64_t *budget)
{
    uint64_t freed = 1;
    bool done = true;
    if (v->encoding == ENC_TABLE) {
        struct set_table *t = v->data;
        assert(!t->view);
        uint64_t before = t->members.count;
        table_drain(&t->members, *budget, free_member, NULL);
        freed += before - t->members.count;
        done = t->members.count == 0;
        if (done)
            table_deinit(&t->members);
    }
    if (done)
        free_block(v);
    *budget -= freed < *budget ? freed : *budget;
    return done;
}

struct moving {
    const struct mem_move *m;
    uint64_t looked_at;
};

static void move_member(void *context, void *item, struct table_place at)
{
    struct moving *moving = context;
    void *moved = mem_move_block(moving->m, item);
    if (moved != item)
        table_replace(at, moved, false);
    moving->looked_at++;
}

static uint64_t move(struct value *v, uint64_t position, uint64_t *budget,
                     const struct mem_move *m)
{
    struct moving moving = {.m = m, .looked_at = 1};
    if (position == 0)
        v->data = mem_move_block(m, v->data);
    if (v->encoding == ENC_TABLE) {
        struct set_table *t = v->data;
        assert(!t->view);
        do {
            moving.looked_at++;
            position = table_move(&t->members, position, 1, m, move_member, &moving);
        } while (position && moving.looked_at < *budget);
    }
    value_spend(budget, moving.looked_at);
    return position;
}

static struct value copy(const struct value *v)
{
    struct value copied = *v;
    if (!v->data)
        return copied;
    if (v->encoding == ENC_LISTPACK) {
        copied.data = listpack_copy(v->data);
    } else if (v->encoding == ENC_INTSET) {
        copied.data = intset_copy(v->data);
    } else {
        const struct set_table *from = v->data;
        struct set_table *to = table_create(from->members.context);
        struct set_walk w;
        struct set_member m;
        set_walk_start(&w, v);
        while (set_walk_next(&w, &m))
            table_add_member(to, keyspace_hash(from->members.context, m.text), m.text);
        copied.data = to;
    }
    return copied;
}

static const char *encoding_name(const struct value *v)
{
    if (v->encoding == ENC_TABLE)
        return "hashtable";
    return v->encoding == ENC_LISTPACK ? "listpack" : "intset";
}

const struct value_ops set_ops = {
    .create = create,
    .count = count,
    .memory = memory,
    .parts = parts,
    .free_some = free_some,
    .move = move,
    .copy = copy,
    .encoding_name = encoding_name,
};

/* ---- Self-check ---- */

void set_check(const struct value *v, const struct keyspace *k)
{
    assert(v->type == TYPE_SET);
    struct set_walk w;
    struct set_member m;
    uint64_t members = 0;
    size_t member_bytes = 0;
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m)) {
        assert(set_has_member(v, k, &m));
        members++;
        if (v->encoding == ENC_TABLE)
            member_bytes += mem_usable((const void *)m.at);
    }
    assert(members == set_count(v));
    if (v->encoding == ENC_TABLE) {
        const struct set_table *t = v->data;
        table_check(&t->members);
        assert(t->member_bytes == member_bytes && t->members.context == k);
    } else if (v->encoding == ENC_LISTPACK) {
        listpack_check(v->data);
    } else {
        assert(v->encoding == ENC_INTSET);
        if (v->data)
            intset_check(v->data);
    }
}
