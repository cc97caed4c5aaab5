/* Undo: parts of large values: members, fields, bytes, messages. Lists are in undo_list.c.
 *
 * Each note says how what the arguments touch is now; restoring puts just that back, and changes
 * nothing where the command has not. Where the value has gone with its last part, it is made anew.
 * Arguments that turn out not to be members do no harm: they are recorded as absent. */
#include <assert.h>

#include "shard/cmd/zset_result.h"
#include "shard/type/hash.h"
#include "shard/type/set.h"
#include "shard/type/stream.h"
#include "shard/type/zset.h"
#include "shard/undo_record.h"

/* What a command may remove of which its arguments say only how much. */
#define RANGE_MAX 4096

struct items_record {
    struct undo_record base;
    struct undo_items items;
    int64_t now_ms; /* hashes: which fields have expired */
};

/* --- Records --- */

bool undo_wants_parts(struct undo *u, struct place *p, enum entry_type_id type, bool *noted)
{
    bool parts = false;
    if (undo_is_covered(u, p))
        *noted = true;
    else if (p->entry && p->entry->type != type)
        *noted = undo_note_front(u, p);
    else if (!p->entry || undo_is_cheap(p))
        *noted = undo_note_whole(u, p);
    else
        parts = true;
    return parts;
}

static struct items_record *items_record_of(const struct undo_noting *n, const struct place *p,
                                            void (*restore)(struct undo_record *r,
                                                            struct place *p))
{
    struct items_record *r =
        (struct items_record *)undo_record_of(n->undo, p, sizeof(*r), restore);
    if (r)
        r->now_ms = n->call->now_ms;
    return r;
}

struct value undo_restore_begin(struct undo_record *r, struct place *p)
{
    struct value v = db_value(p, r->was->type);
    p->held = p->entry ? value_memory(&v) : DB_HELD_NOW;
    return v;
}

void undo_restore_end(struct undo_record *r, struct place *p, struct value *v)
{
    db_keep(p, v);
    if (p->entry)
        undo_restore_front(r, p);
}

/* The arguments that the command's row in undo_commands.c names: from `first` in steps; a step of 0
 * is that one alone, one below 0 goes from the last argument down to `first`. */
static uint32_t first_arg(const struct undo_noting *n)
{
    uint32_t first = (uint32_t)n->first, last = n->call->argc - 1;
    return last < first ? 0 : n->step < 0 ? last : first;
}

static uint32_t next_arg(const struct undo_noting *n, uint32_t arg)
{
    int64_t next = (int64_t)arg + n->step;
    return n->step && next >= n->first && next < n->call->argc ? (uint32_t)next : 0;
}

uint64_t undo_pop_count(const struct undo_noting *n)
{
    uint32_t arg = (uint32_t)n->first;
    int64_t count;
    if (n->first == UNDO_POP_ONE)
        return 1;
    if (n->first == UNDO_POP_ANY)
        arg = n->keys[n->key_count - 1] + 3;
    if (arg >= n->call->argc)
        return 1;
    return number_parse_integer(n->call->argv[arg], &count) && count > 0 ? (uint64_t)count : 0;
}

bool undo_pops_last(const struct undo_noting *n, const char *last)
{
    uint32_t arg = n->keys[n->key_count - 1] + 1;
    if (n->step != UNDO_END_SAID)
        return n->step == UNDO_END_LAST;
    return arg < n->call->argc && call_arg_is(n->call, arg, last);
}

/* --- Sets --- */

static void restore_members(struct undo_record *r, struct place *p)
{
    const struct keyspace *k = r->shard->keyspace;
    struct value v = undo_restore_begin(r, p);
    for (const struct undo_item *i = ((struct items_record *)r)->items.first; i; i = i->next) {
        if (i->present)
            set_add(&v, k, i->text);
        else
            set_remove(&v, k, i->text);
    }
    undo_restore_end(r, p, &v);
}

static bool note_members_of(const struct undo_noting *n, struct place *p)
{
    struct items_record *r = items_record_of(n, p, restore_members);
    if (!r)
        return false;
    struct value v = db_value(p, TYPE_SET);
    for (uint32_t arg = first_arg(n); arg; arg = next_arg(n, arg)) {
        struct undo_item *i = undo_item_add(n->undo, &r->items, n->call->argv[arg]);
        if (!i)
            return false;
        i->present = set_has(&v, n->call->keyspace, i->text);
    }
    undo_add(n->undo, &r->base);
    return true;
}

/* Of all keys: SMOVE has two. */
bool undo_note_members(const struct undo_noting *n)
{
    bool noted = true;
    for (uint32_t i = 0; i < n->key_count && noted; i++) {
        struct place p = undo_place(n->call, n->keys[i]);
        if (undo_wants_parts(n->undo, &p, TYPE_SET, &noted))
            noted = note_members_of(n, &p);
    }
    return noted;
}

/* --- Sorted sets --- */

static void restore_scores(struct undo_record *r, struct place *p)
{
    const struct keyspace *k = r->shard->keyspace;
    struct value v = undo_restore_begin(r, p);
    for (const struct undo_item *i = ((struct items_record *)r)->items.first; i; i = i->next) {
        if (i->present)
            zset_put(&v, k, i->text, i->score);
        else
            zset_remove(&v, k, i->text);
    }
    undo_restore_end(r, p, &v);
}

bool undo_note_scores(const struct undo_noting *n)
{
    bool noted;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_ZSET, &noted))
        return noted;
    struct items_record *r = items_record_of(n, &p, restore_scores);
    if (!r)
        return false;
    struct value v = db_value(&p, TYPE_ZSET);
    for (uint32_t arg = first_arg(n); arg; arg = next_arg(n, arg)) {
        struct undo_item *i = undo_item_add(n->undo, &r->items, n->call->argv[arg]);
        if (!i)
            return false;
        i->present = zset_score(&v, n->call->keyspace, i->text, &i->score);
    }
    undo_add(n->undo, &r->base);
    return true;
}

/* The members of ranks from `first` to below `end`, which may be removed. */
static bool note_ranks(const struct undo_noting *n, struct place *p, uint64_t first, uint64_t end)
{
    if (end - first > RANGE_MAX)
        return undo_note_whole(n->undo, p);
    struct items_record *r = items_record_of(n, p, restore_scores);
    if (!r)
        return false;
    struct value v = db_value(p, TYPE_ZSET);
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, &v, first, false);
    for (; first < end && zset_walk_next(&w, &member, &score); first++) {
        struct undo_item *i = undo_item_add(n->undo, &r->items, member);
        if (!i)
            return false;
        i->present = true;
        i->score = score;
    }
    undo_add(n->undo, &r->base);
    return true;
}

bool undo_note_score_range(const struct undo_noting *n)
{
    bool noted;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_ZSET, &noted))
        return noted;
    struct value v = db_value(&p, TYPE_ZSET);
    uint64_t first = 0, end = 0;
    zset_removed_ranks(n->call, &v, (enum zset_range_kind)n->first, &first, &end);
    return note_ranks(n, &p, first, end);
}

/* Any of the keys may lose as many members as the command pops. */
bool undo_note_zset_pop(const struct undo_noting *n)
{
    bool noted = true;
    uint64_t most = undo_pop_count(n);
    bool highest = undo_pops_last(n, "max");
    for (uint32_t i = 0; i < n->key_count && noted; i++) {
        struct place p = undo_place(n->call, n->keys[i]);
        if (!undo_wants_parts(n->undo, &p, TYPE_ZSET, &noted))
            continue;
        struct value v = db_value(&p, TYPE_ZSET);
        uint64_t held = zset_count(&v), count = most < held ? most : held;
        uint64_t first = highest ? held - count : 0;
        noted = note_ranks(n, &p, first, first + count);
    }
    return noted;
}

/* --- Hashes --- */

static void restore_fields(struct undo_record *r, struct place *p)
{
    const struct items_record *record = (struct items_record *)r;
    const struct keyspace *k = r->shard->keyspace;
    struct value v = undo_restore_begin(r, p);
    for (const struct undo_item *i = record->items.first; i; i = i->next) {
        if (i->present)
            hash_set(&v, k, i->text, i->value, i->expires_ms, record->now_ms);
        else
            hash_remove(&v, k, i->text, record->now_ms);
    }
    undo_restore_end(r, p, &v);
}

bool undo_note_fields(const struct undo_noting *n)
{
    bool noted;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_HASH, &noted))
        return noted;
    struct items_record *r = items_record_of(n, &p, restore_fields);
    if (!r)
        return false;
    struct value v = db_value(&p, TYPE_HASH);
    for (uint32_t arg = first_arg(n); arg; arg = next_arg(n, arg)) {
        struct hash_pair pair;
        struct undo_item *i = undo_item_add(n->undo, &r->items, n->call->argv[arg]);
        if (!i)
            return false;
        i->present = hash_get(&v, n->call->keyspace, i->text, n->call->now_ms, &pair);
        if (i->present && !undo_copy(n->undo, pair.value, &i->value))
            return false;
        i->expires_ms = i->present ? pair.expires_ms : HASH_NO_EXPIRY;
    }
    undo_add(n->undo, &r->base);
    return true;
}

/* --- Strings --- */

struct bytes_record {
    struct undo_record base;
    size_t size, offset;
    struct slice bytes; /* at the offset */
};

static void restore_bytes(struct undo_record *r, struct place *p)
{
    const struct bytes_record *b = (struct bytes_record *)r;
    char *to = db_string_bytes(p, b->size);
    if (b->bytes.size)
        memcpy(to + b->offset, b->bytes.data, b->bytes.size);
    undo_restore_front(r, p);
}

/* Where the command writes and how much. APPEND only behind the end; what is wrong with an offset
 * is for the command to say, which then writes nothing. */
static void written_bytes(const struct undo_noting *n, uint64_t *offset, uint64_t *size)
{
    const struct call *c = n->call;
    int64_t at;
    *size = 0;
    *offset = 0;
    if (n->first == UNDO_BYTES_BEHIND || !number_parse_integer(c->argv[2], &at) || at < 0)
        return;
    bool bit = n->first == UNDO_BYTES_BIT;
    *offset = bit ? (uint64_t)at / 8 : (uint64_t)at;
    *size = bit ? 1 : c->argv[3].size;
}

bool undo_note_bytes(const struct undo_noting *n)
{
    bool noted;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_STRING, &noted))
        return noted;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice value = db_string(&p, scratch);
    uint64_t offset, size;
    written_bytes(n, &offset, &size);
    if (offset > value.size)
        offset = value.size;
    if (size > value.size - offset)
        size = value.size - offset;
    struct bytes_record *b =
        (struct bytes_record *)undo_record_of(n->undo, &p, sizeof(*b), restore_bytes);
    if (!b || !undo_copy(n->undo, (struct slice){value.data + offset, size}, &b->bytes))
        return false;
    b->size = value.size;
    b->offset = offset;
    undo_add(n->undo, &b->base);
    return true;
}

/* --- Streams --- */

struct message_record {
    struct undo_record base;
    struct stream_id last_id;
};

static void restore_message(struct undo_record *r, struct place *p)
{
    struct stream_id last_id = ((struct message_record *)r)->last_id;
    struct value v = undo_restore_begin(r, p);
    struct stream *s = stream_of(&v);
    if (!stream_id_equal(s->last_id, last_id))
        stream_take_last(s, last_id);
    undo_restore_end(r, p, &v);
}

/* Whether older messages may go for the one that is added. */
static bool trims(const struct call *c)
{
    uint32_t at = 2;
    while (at < c->argc && (call_arg_is(c, at, "nomkstream") || call_arg_is(c, at, "limit")))
        at += call_arg_is(c, at, "limit") ? 2 : 1;
    return at < c->argc && (call_arg_is(c, at, "maxlen") || call_arg_is(c, at, "minid"));
}

bool undo_note_message(const struct undo_noting *n)
{
    bool noted;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_STREAM, &noted))
        return noted;
    if (trims(n->call))
        return undo_note_whole(n->undo, &p);
    struct message_record *m =
        (struct message_record *)undo_record_of(n->undo, &p, sizeof(*m), restore_message);
    if (!m)
        return false;
    struct value v = db_value(&p, TYPE_STREAM);
    m->last_id = stream_of(&v)->last_id;
    undo_add(n->undo, &m->base);
    return true;
}
