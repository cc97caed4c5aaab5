/* Streams' messages: see stream.h, which has the layout of a node.
 *
 * The stream owns its nodes, and they their listpacks; all is entered in its account. Adding looks
 * at the last node alone. */
#include "shard/type/stream.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/type/listpack.h"
#include "shard/type/stream_group.h"
#include "shard/type/view_hook.h"

/* Flags of a message, as the format has them. */
#define MESSAGE_DELETED 1
#define MESSAGE_SAME_FIELDS 2

/* Elements of a message beside fields and values, without and with their count. */
#define SAME_FIELDS_EXTRA 3
#define OWN_FIELDS_EXTRA 4

/* A message's flags and numbers take no more than this, its back length included. */
#define MESSAGE_HEAD_SIZE_MAX 64
#define ELEMENT_HEAD_SIZE_MAX 10

static int64_t integer_at(const unsigned char *lp, uint32_t at)
{
    int64_t value;
    bool integer = listpack_integer(lp, at, &value);
    assert(integer);
    return value;
}

static uint32_t skip(const unsigned char *lp, uint32_t at, uint64_t count)
{
    while (count-- > 0)
        at = listpack_next(lp, at);
    return at;
}

/* --- Nodes --- */

/* The master as it is read. */
struct master {
    uint32_t count, deleted; /* messages */
    uint32_t fields;         /* position of the first field */
    uint32_t field_count;
};

static struct master read_master(const unsigned char *lp)
{
    uint32_t count = listpack_first(lp), deleted = listpack_next(lp, count);
    uint32_t field_count = listpack_next(lp, deleted);
    return (struct master){
        .count = (uint32_t)integer_at(lp, count),
        .deleted = (uint32_t)integer_at(lp, deleted),
        .field_count = (uint32_t)integer_at(lp, field_count),
        .fields = listpack_next(lp, field_count),
    };
}

/* Writes a number of the master, whose size may change by it. */
static void write_master(struct stream_node *n, uint32_t at, int64_t value)
{
    size_t size = listpack_size(n->listpack);
    listpack_replace_integer(&n->listpack, at, value);
    if (n->live)
        n->live += (uint32_t)(listpack_size(n->listpack) - size);
}

static void write_counts(struct stream_node *n, uint32_t count, uint32_t deleted)
{
    uint32_t at = listpack_first(n->listpack);
    write_master(n, at, count);
    write_master(n, listpack_next(n->listpack, at), deleted);
}

static void account_node(struct stream *s, const struct stream_node *n)
{
    s->account.bytes += mem_usable(n) + mem_usable(n->listpack);
    s->account.allocations += 2;
}

static void unaccount_node(struct stream *s, const struct stream_node *n)
{
    s->account.bytes -= mem_usable(n) + mem_usable(n->listpack);
    s->account.allocations -= 2;
}

/* Adds a node at the end; takes the listpack over. */
static struct stream_node *node_create(struct stream *s, struct stream_id master,
                                       unsigned char *listpack)
{
    struct stream_node *n = mem_alloc(sizeof(*n));
    *n = (struct stream_node){.listpack = listpack, .master = master, .previous = s->last,
                              .stamp = s->stamp};
    if (s->last)
        s->last->next = n;
    else
        s->first = n;
    s->last = n;
    unsigned char key[STREAM_ID_KEY_SIZE];
    stream_id_write_key(key, master);
    void *former = rax_put(&s->nodes, (struct slice){(char *)key, sizeof(key)}, n);
    assert(!former);
    account_node(s, n);
    return n;
}

void stream_free_node(struct stream_node *n)
{
    mem_free(n->listpack);
    mem_free(n);
}

static void node_unlink(struct stream *s, struct stream_node *n)
{
    if (n->previous)
        n->previous->next = n->next;
    else
        s->first = n->next;
    if (n->next)
        n->next->previous = n->previous;
    else
        s->last = n->previous;
    if (s->moving == n)
        s->moving = n->next;
    unaccount_node(s, n);
}

/* A view has yet to write the node as it is. */
static bool is_awaited(const struct stream *s, const struct stream_node *n)
{
    return __builtin_expect(s->view != NULL, 0) && n->stamp != s->stamp;
}

/* Before the node's messages change. */
static void keep_for_view(struct stream *s, struct stream_node *n)
{
    if (!is_awaited(s, n))
        return;
    struct stream_node *twin = mem_alloc(sizeof(*twin));
    *twin = (struct stream_node){.listpack = listpack_copy(n->listpack), .master = n->master};
    view_keep_node(s->view, n, twin);
    n->stamp = s->stamp;
}

static void node_destroy(struct stream *s, struct stream_node *n)
{
    unsigned char key[STREAM_ID_KEY_SIZE];
    stream_id_write_key(key, n->master);
    void *removed = rax_remove(&s->nodes, (struct slice){(char *)key, sizeof(key)});
    assert(removed == n);
    node_unlink(s, n);
    bool awaited = is_awaited(s, n);
    if (__builtin_expect(s->view != NULL, 0))
        view_remove_node(s->view, n, n->next, awaited ? n : NULL);
    if (!awaited)
        stream_free_node(n);
}

/* The last node whose master is not above the id; NULL: none. */
static struct stream_node *node_of(const struct stream *s, struct stream_id id)
{
    if (s->last && stream_id_compare(s->last->master, id) <= 0)
        return s->last;
    unsigned char key[STREAM_ID_KEY_SIZE];
    stream_id_write_key(key, id);
    return rax_seek(&s->nodes, (struct slice){(char *)key, sizeof(key)}, RAX_AT_MOST, NULL);
}

/* --- Adding --- */

/* What the elements take at most. */
static size_t elements_size(const struct slice *fields, uint32_t pairs)
{
    size_t size = MESSAGE_HEAD_SIZE_MAX;
    for (uint32_t i = 0; i < 2 * pairs; i++)
        size += fields[i].size + ELEMENT_HEAD_SIZE_MAX;
    return size;
}

static size_t bytes_of(const struct slice *fields, uint32_t pairs)
{
    size_t size = 0;
    for (uint32_t i = 0; i < 2 * pairs; i++)
        size += fields[i].size;
    return size;
}

static bool is_full(const struct stream_node *n, const struct keyspace *k, size_t added)
{
    size_t max = k->options.stream_node_max_bytes;
    if (max == 0 || max > LISTPACK_SIZE_MAX)
        max = LISTPACK_SIZE_MAX;
    if (listpack_size(n->listpack) + added >= max)
        return true;
    struct master m = read_master(n->listpack);
    uint32_t entries = k->options.stream_node_max_entries;
    return entries && m.count + m.deleted >= entries;
}

/* Room for `size` bytes more, and for half of all again: so that growth is amortized. */
static void make_room(struct stream_node *n, size_t size)
{
    size_t needed = listpack_size(n->listpack) + size;
    if (mem_usable(n->listpack) < needed)
        n->listpack = mem_realloc(n->listpack, needed + needed / 2);
}

/* Gives back the room of a node that is not added to any more. */
static void fit(struct stream *s, struct stream_node *n)
{
    size_t size = listpack_size(n->listpack), held = mem_usable(n->listpack);
    if (held - size <= size / 8)
        return;
    unsigned char *copy = listpack_copy(n->listpack);
    s->account.bytes += mem_usable(copy) - held;
    mem_free(n->listpack);
    n->listpack = copy;
}

static unsigned char *create_master(const struct slice *fields, uint32_t pairs)
{
    unsigned char *lp = listpack_create(2 * elements_size(fields, pairs));
    listpack_append_integer(&lp, 0);
    listpack_append_integer(&lp, 0);
    listpack_append_integer(&lp, pairs);
    for (uint32_t i = 0; i < pairs; i++)
        listpack_append(&lp, fields[2 * i]);
    listpack_append_integer(&lp, 0);
    return lp;
}

static bool has_fields(const unsigned char *lp, const struct master *m, const struct slice *fields,
                       uint32_t pairs)
{
    if (m->field_count != pairs)
        return false;
    uint32_t at = m->fields;
    for (uint32_t i = 0; i < pairs; i++, at = listpack_next(lp, at))
        if (!listpack_equal(lp, at, fields[2 * i]))
            return false;
    return true;
}

static void append_message(struct stream_node *n, struct stream_id id, const struct slice *fields,
                           uint32_t pairs)
{
    struct master m = read_master(n->listpack);
    bool same = has_fields(n->listpack, &m, fields, pairs);
    unsigned char **lp = &n->listpack;
    write_master(n, listpack_first(*lp), (int64_t)m.count + 1);
    listpack_append_integer(lp, same ? MESSAGE_SAME_FIELDS : 0);
    listpack_append_integer(lp, (int64_t)(id.ms - n->master.ms));
    listpack_append_integer(lp, (int64_t)(id.seq - n->master.seq));
    if (same) {
        for (uint32_t i = 0; i < pairs; i++)
            listpack_append(lp, fields[2 * i + 1]);
        listpack_append_integer(lp, (int64_t)pairs + SAME_FIELDS_EXTRA);
        return;
    }
    listpack_append_integer(lp, pairs);
    for (uint32_t i = 0; i < 2 * pairs; i++)
        listpack_append(lp, fields[i]);
    listpack_append_integer(lp, (int64_t)pairs * 2 + OWN_FIELDS_EXTRA);
}

bool stream_append(struct stream *s, const struct keyspace *k, struct stream_id id,
                   const struct slice *fields, uint32_t pairs)
{
    assert(stream_id_compare(id, s->last_id) > 0);
    size_t added = bytes_of(fields, pairs), room = elements_size(fields, pairs);
    if (2 * room > LISTPACK_SIZE_MAX)
        return false;

    struct stream_node *n = s->last;
    if (n && (is_full(n, k, added) || !listpack_has_room(n->listpack, room))) {
        fit(s, n);
        n = NULL;
    }
    if (!n)
        n = node_create(s, id, create_master(fields, pairs));
    keep_for_view(s, n);
    size_t held = mem_usable(n->listpack);
    make_room(n, room);
    append_message(n, id, fields, pairs);
    s->account.bytes += mem_usable(n->listpack) - held;

    if (s->length++ == 0)
        s->first_id = id;
    s->last_id = id;
    s->entries_added++;
    return true;
}

/* --- Walking --- */

static void enter_node(struct stream_walk *w, struct stream_node *n)
{
    w->node = n;
    w->at = 0;
    if (!n)
        return;
    struct master m = read_master(n->listpack);
    w->master_fields = m.fields;
    w->master_count = m.field_count;
}

void stream_walk_start(struct stream_walk *w, const struct stream *s, struct stream_id start,
                       struct stream_id end, bool reverse)
{
    w->start = start;
    w->end = end;
    w->reverse = reverse;
    struct stream_node *n = node_of(s, reverse ? end : start);
    enter_node(w, n || reverse ? n : s->first);
}

/* The position behind the message given last; after entering, that of the first one that may not be
 * deleted. */
static uint32_t position_after(const struct stream_walk *w)
{
    const unsigned char *lp = w->node->listpack;
    if (w->at == 0 && w->node->live)
        return w->node->live;
    if (w->at == 0)
        return skip(lp, w->master_fields, (uint64_t)w->master_count + 1);
    return listpack_next(lp, skip(lp, w->next, w->left));
}

/* The position of the message that the lp-count at `at` ends; LISTPACK_NONE where it is the
 * master's. */
static uint32_t message_before(const unsigned char *lp, uint32_t at)
{
    int64_t steps = integer_at(lp, at);
    if (steps == 0)
        return LISTPACK_NONE;
    while (steps-- > 0)
        at = listpack_previous(lp, at);
    return at;
}

/* Goes to the next message in the node, a deleted one too, but for those at the node's start. */
static bool step(struct stream_walk *w)
{
    const unsigned char *lp = w->node->listpack;
    uint32_t at;
    if (w->reverse)
        at = message_before(lp, w->at ? listpack_previous(lp, w->at) : listpack_last(lp));
    else
        at = position_after(w);
    if (at == LISTPACK_NONE)
        return false;
    w->at = at;
    return true;
}

/* Reads what stands at the walk's position. */
static int64_t read_message(struct stream_walk *w, struct stream_id *id, uint32_t *pairs)
{
    const unsigned char *lp = w->node->listpack;
    int64_t flags = integer_at(lp, w->at);
    uint32_t ms = listpack_next(lp, w->at), seq = listpack_next(lp, ms);
    id->ms = w->node->master.ms + (uint64_t)integer_at(lp, ms);
    id->seq = w->node->master.seq + (uint64_t)integer_at(lp, seq);
    w->next = listpack_next(lp, seq);
    w->same_fields = flags & MESSAGE_SAME_FIELDS;
    if (w->same_fields) {
        *pairs = w->left = w->master_count;
        w->master_next = w->master_fields;
    } else {
        *pairs = (uint32_t)integer_at(lp, w->next);
        w->next = listpack_next(lp, w->next);
        w->left = 2 * *pairs;
    }
    return flags;
}

bool stream_walk_next(struct stream_walk *w, struct stream_id *id, uint32_t *pairs)
{
    while (w->node) {
        if (!step(w)) {
            enter_node(w, w->reverse ? w->node->previous : w->node->next);
            continue;
        }
        int64_t flags = read_message(w, id, pairs);
        bool below = stream_id_compare(*id, w->start) < 0;
        bool above = stream_id_compare(*id, w->end) > 0;
        if (flags & MESSAGE_DELETED)
            continue; /* its id may be out of order: XSETID may go back behind it */
        if (w->reverse ? below : above)
            w->node = NULL;
        else if (!below && !above)
            return true;
    }
    return false;
}

void stream_walk_field(struct stream_walk *w, struct slice *field, struct slice *value)
{
    const unsigned char *lp = w->node->listpack;
    assert(w->left > 0);
    if (w->same_fields) {
        *field = listpack_text(lp, w->master_next, w->scratch[0]);
        w->master_next = listpack_next(lp, w->master_next);
    } else {
        *field = listpack_text(lp, w->next, w->scratch[0]);
        w->next = listpack_next(lp, w->next);
        w->left--;
    }
    *value = listpack_text(lp, w->next, w->scratch[1]);
    w->next = listpack_next(lp, w->next);
    w->left--;
}

bool stream_find(const struct stream *s, struct stream_id id)
{
    struct stream_walk w;
    uint32_t pairs;
    stream_walk_start(&w, s, id, id, false);
    return stream_walk_next(&w, &id, &pairs);
}

bool stream_last_message(const struct stream *s, struct stream_id *id)
{
    struct stream_walk w;
    uint32_t pairs;
    stream_walk_start(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, true);
    if (stream_walk_next(&w, id, &pairs))
        return true;
    *id = STREAM_ID_MIN;
    return false;
}

/* --- Deleting --- */

static void find_first_id(struct stream *s)
{
    struct stream_walk w;
    uint32_t pairs;
    stream_walk_start(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, false);
    if (stream_walk_next(&w, &s->first_id, &pairs))
        w.node->live = w.at;
    else
        s->first_id = STREAM_ID_MIN;
}

/* Marks the message at the walk's position. */
static void mark_deleted(struct stream *s, struct stream_walk *w)
{
    keep_for_view(s, w->node);
    unsigned char **lp = &w->node->listpack;
    listpack_replace_integer(lp, w->at, integer_at(*lp, w->at) | MESSAGE_DELETED);
}

/* Counts `deleted` messages as deleted that were marked; the node goes with the last one. */
static void count_deleted(struct stream *s, struct stream_node *n, uint32_t deleted)
{
    struct master m = read_master(n->listpack);
    assert(deleted <= m.count);
    s->length -= deleted;
    if (deleted == m.count) {
        node_destroy(s, n);
        return;
    }
    size_t held = mem_usable(n->listpack);
    write_counts(n, m.count - deleted, m.deleted + deleted);
    s->account.bytes += mem_usable(n->listpack) - held;
}

bool stream_delete(struct stream *s, struct stream_id id)
{
    struct stream_walk w;
    uint32_t pairs;
    stream_walk_start(&w, s, id, id, false);
    if (!stream_walk_next(&w, &id, &pairs))
        return false;

    mark_deleted(s, &w);
    count_deleted(s, w.node, 1);
    if (stream_id_compare(id, s->max_deleted_id) > 0)
        s->max_deleted_id = id;
    if (stream_id_equal(id, s->first_id))
        find_first_id(s);
    return true;
}

void stream_take_last(struct stream *s, struct stream_id last_id)
{
    struct stream_walk w;
    struct stream_id id;
    uint32_t pairs;
    stream_walk_start(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, true);
    bool found = stream_walk_next(&w, &id, &pairs);
    assert(found && stream_id_equal(id, s->last_id));
    struct stream_node *n = w.node;
    keep_for_view(s, n);
    struct master m = read_master(n->listpack);
    if (m.count == 1) {
        node_destroy(s, n);
    } else {
        uint32_t elements = 0;
        for (uint32_t at = w.at; at != LISTPACK_NONE; at = listpack_next(n->listpack, at))
            elements++;
        size_t held = mem_usable(n->listpack);
        listpack_delete(&n->listpack, w.at, elements);
        write_counts(n, m.count - 1, m.deleted);
        s->account.bytes += mem_usable(n->listpack) - held;
    }
    s->length--;
    s->entries_added--;
    s->last_id = last_id;
    if (s->length == 0)
        s->first_id = STREAM_ID_MIN;
}

/* --- Trimming --- */

/* The id of a node's last message, a deleted one too. */
static struct stream_id last_id_of(struct stream_node *n)
{
    struct stream_walk w = {.reverse = true};
    struct stream_id id;
    uint32_t pairs;
    enter_node(&w, n);
    bool found = step(&w);
    assert(found);
    read_message(&w, &id, &pairs);
    return id;
}

/* True where the whole node is to go. */
static bool trims_node(const struct stream *s, struct stream_node *n, uint32_t count,
                       const struct stream_trim *trim)
{
    if (!trim->by_id)
        return s->length - count >= trim->max_length;
    return stream_id_compare(last_id_of(n), trim->min_id) < 0;
}

/* Marks the messages of a node that have to go, the last of which stays. Returns how many went. */
static uint32_t trim_within(struct stream *s, struct stream_node *n,
                            const struct stream_trim *trim)
{
    struct stream_walk w = {0};
    uint32_t deleted = 0, pairs;
    struct stream_id id;
    enter_node(&w, n);
    while (step(&w)) {
        int64_t flags = read_message(&w, &id, &pairs);
        if (trim->by_id ? stream_id_compare(id, trim->min_id) >= 0
                        : s->length - deleted <= trim->max_length)
            break;
        if (flags & MESSAGE_DELETED)
            continue;
        mark_deleted(s, &w);
        deleted++;
    }
    if (deleted)
        count_deleted(s, n, deleted);
    return deleted;
}

uint64_t stream_trim(struct stream *s, const struct stream_trim *trim)
{
    uint64_t removed = 0;
    struct stream_node *n;
    while ((n = s->first) && (trim->by_id || s->length > trim->max_length)) {
        uint32_t count = read_master(n->listpack).count;
        if (trim->limit && removed + count > trim->limit)
            break;
        if (!trims_node(s, n, count, trim)) {
            if (!trim->approximate)
                removed += trim_within(s, n, trim);
            break;
        }
        node_destroy(s, n);
        s->length -= count;
        removed += count;
    }
    if (removed)
        find_first_id(s);
    return removed;
}

/* --- Loading --- */

/* A walk over elements that need not be there. */
struct elements {
    const unsigned char *lp;
    uint32_t at;
};

static bool take_integer(struct elements *e, int64_t *value)
{
    if (e->at == LISTPACK_NONE || !listpack_integer(e->lp, e->at, value))
        return false;
    e->at = listpack_next(e->lp, e->at);
    return true;
}

static bool take_elements(struct elements *e, int64_t count)
{
    for (; count > 0 && e->at != LISTPACK_NONE; count--)
        e->at = listpack_next(e->lp, e->at);
    return count == 0;
}

/* `fields` is how many the master has. */
static bool take_message(struct elements *e, int64_t fields, struct stream_id master,
                         int64_t *flags, struct stream_id *id)
{
    int64_t ms, seq, count = fields, extra = SAME_FIELDS_EXTRA, steps;
    if (!take_integer(e, flags) || !take_integer(e, &ms) || !take_integer(e, &seq) ||
        *flags & ~(MESSAGE_DELETED | MESSAGE_SAME_FIELDS))
        return false;
    if (!(*flags & MESSAGE_SAME_FIELDS)) {
        if (!take_integer(e, &count) || count < 0 || count > UINT32_MAX / 2)
            return false;
        count *= 2;
        extra = OWN_FIELDS_EXTRA;
    }
    id->ms = master.ms + (uint64_t)ms;
    id->seq = master.seq + (uint64_t)seq;
    return count > 0 && take_elements(e, count) && take_integer(e, &steps) &&
           steps == count + extra;
}

bool stream_node_valid(const unsigned char *listpack, struct stream_id master)
{
    struct elements e = {listpack, listpack_first(listpack)};
    int64_t present, deleted, fields, end, flags;
    if (!take_integer(&e, &present) || !take_integer(&e, &deleted) || !take_integer(&e, &fields) ||
        fields < 0 || !take_elements(&e, fields) || !take_integer(&e, &end) || end != 0)
        return false;
    int64_t met = 0, met_deleted = 0;
    struct stream_id id, last = master;
    while (e.at != LISTPACK_NONE) {
        if (!take_message(&e, fields, master, &flags, &id))
            return false;
        if (flags & MESSAGE_DELETED) {
            met_deleted++;
            continue;
        }
        if (stream_id_compare(id, last) < (met > 0))
            return false;
        last = id;
        met++;
    }
    return met == present && met_deleted == deleted &&
           listpack_has_room(listpack, MESSAGE_HEAD_SIZE_MAX);
}

bool stream_append_node(struct stream *s, struct stream_id master, const unsigned char *listpack)
{
    struct master m = read_master(listpack);
    if (m.count == 0)
        return true;
    if (s->length > 0 && stream_id_compare(master, s->last_id) <= 0)
        return false;
    bool first = s->length == 0;
    node_create(s, master, listpack_copy(listpack));
    s->length += m.count;
    stream_last_message(s, &s->last_id);
    if (first)
        find_first_id(s);
    return true;
}

/* --- The type --- */

static struct value create(const struct keyspace *k)
{
    (void)k;
    struct stream *s = mem_alloc_zeroed(sizeof(*s));
    s->account = (struct rax_account){.bytes = mem_usable(s), .allocations = 1};
    rax_init(&s->nodes, &s->account);
    rax_init(&s->groups, &s->account);
    return (struct value){TYPE_STREAM, ENC_STREAM, s};
}

static uint64_t count(const struct value *v)
{
    return stream_of(v)->length;
}

static size_t memory(const struct value *v)
{
    return stream_of(v)->account.bytes;
}

static uint64_t parts(const struct value *v)
{
    return stream_of(v)->account.allocations;
}

static bool free_some(struct value *v, uint64_t *budget)
{
    struct stream *s = v->data;
    assert(!s->view);
    for (; s->first && *budget > 0; *budget -= *budget > 1 ? 2 : 1) {
        struct stream_node *n = s->first;
        node_unlink(s, n);
        stream_free_node(n);
    }
    if (s->first || !rax_free_some(&s->nodes, NULL, NULL, budget) ||
        !stream_groups_free_some(s, budget))
        return false;
    assert(s->account.allocations == 1 && s->account.bytes == mem_usable(s));
    mem_free(s);
    v->data = NULL;
    return true;
}

static struct stream_node *move_node(struct stream *s, struct stream_node *n,
                                     const struct mem_move *m)
{
    n->listpack = mem_move_block(m, n->listpack);
    struct stream_node *moved = mem_move_copy(m, n);
    if (!moved)
        return n;
    *(n->previous ? &n->previous->next : &s->first) = moved;
    *(n->next ? &n->next->previous : &s->last) = moved;
    unsigned char key[STREAM_ID_KEY_SIZE];
    stream_id_write_key(key, n->master);
    void *former = rax_put(&s->nodes, (struct slice){(char *)key, sizeof(key)}, moved);
    assert(former == n);
    mem_free(n);
    return moved;
}

/* The messages. The head stays, as the trees point to its account; so do the trees, and groups. */
static uint64_t move(struct value *v, uint64_t position, uint64_t *budget,
                     const struct mem_move *m)
{
    struct stream *s = v->data;
    assert(!s->view);
    if (position == 0)
        s->moving = s->first;
    value_spend(budget, 1);
    for (; s->moving && *budget > 0; value_spend(budget, 2))
        s->moving = move_node(s, s->moving, m)->next;
    return s->moving != NULL;
}

static struct value copy(const struct value *v)
{
    struct value copied = create(NULL);
    const struct stream *from = stream_of(v);
    struct stream *to = stream_of(&copied);
    for (const struct stream_node *n = from->first; n; n = n->next)
        node_create(to, n->master, listpack_copy(n->listpack));
    to->length = from->length;
    to->last_id = from->last_id;
    to->first_id = from->first_id;
    to->max_deleted_id = from->max_deleted_id;
    to->entries_added = from->entries_added;
    stream_groups_copy(to, from);
    return copied;
}

static const char *encoding_name(const struct value *v)
{
    (void)v;
    return "stream";
}

const struct value_ops stream_ops = {
    .create = create,
    .count = count,
    .memory = memory,
    .parts = parts,
    .free_some = free_some,
    .move = move,
    .copy = copy,
    .encoding_name = encoding_name,
};

/* --- Checking --- */

/* Returns how many messages of the node are there. Goes backward, so that no deleted one is passed
 * over. */
static uint64_t check_node(struct stream_node *n)
{
    struct master m = read_master(n->listpack);
    struct stream_walk w = {.reverse = true};
    uint32_t present = 0, deleted = 0, pairs;
    struct stream_id id, above = n->next ? n->next->master : STREAM_ID_MAX;
    bool live_seen = n->live == 0;
    listpack_check(n->listpack);
    enter_node(&w, n);
    while (step(&w)) {
        int64_t flags = read_message(&w, &id, &pairs);
        int order = stream_id_compare(id, above);
        bool ordered = order < 0 || (order == 0 && stream_id_equal(id, STREAM_ID_MAX));
        assert(ordered || flags & MESSAGE_DELETED);
        assert(message_before(n->listpack, skip(n->listpack, w.next, w.left)) == w.at);
        if (!(flags & MESSAGE_DELETED))
            above = id;
        live_seen |= w.at == n->live;
        assert(w.at >= n->live || flags & MESSAGE_DELETED);
        if (flags & MESSAGE_DELETED)
            deleted++;
        else
            present++;
    }
    assert(stream_id_compare(above, n->master) >= 0 && live_seen);
    assert(present > 0 && present == m.count && deleted == m.deleted);
    return present;
}

void stream_check(const struct stream *s)
{
    uint64_t length = 0, nodes = 0;
    struct stream_node *previous = NULL;
    rax_check(&s->nodes);
    for (struct stream_node *n = s->first; n; previous = n, n = n->next, nodes++) {
        assert(n->previous == previous && node_of(s, n->master) == n);
        length += check_node(n);
    }
    assert(s->last == previous && nodes == s->nodes.count && length == s->length);
    struct stream_id id;
    if (stream_last_message(s, &id))
        assert(stream_id_compare(id, s->last_id) <= 0 && stream_find(s, s->first_id));
    else
        assert(stream_id_is_zero(s->first_id));
    stream_groups_check(s);
}
