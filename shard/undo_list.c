/* Undo: parts of large lists.
 *
 * A list's elements have no names but their places, so what a command has done is told by how many
 * there are before and after: where the count is the same, it has not removed or added any. */
#include "shard/type/list.h"

#include "shard/undo_record.h"

/* Elements that one command may remove. */
#define REMOVED_MAX 4096

struct list_record {
    struct undo_record base;
    uint64_t count; /* elements before */
    uint64_t index; /* where new ones come */
    enum list_end from;
    struct undo_items items; /* those that may go, or be replaced, in order of their places */
};

static struct list_record *record_of(const struct undo_noting *n, const struct place *p,
                                     void (*restore)(struct undo_record *r, struct place *p))
{
    struct list_record *l = (struct list_record *)undo_record_of(n->undo, p, sizeof(*l), restore);
    if (l) {
        struct value v = db_value(p, TYPE_LIST);
        l->count = list_count(&v);
    }
    return l;
}

static const struct keyspace_options *options_of(const struct undo_record *r)
{
    return &r->shard->keyspace->options;
}

/* --- Elements that are added --- */

static void restore_added(struct undo_record *r, struct place *p)
{
    const struct list_record *l = (struct list_record *)r;
    struct value v = undo_restore_begin(r, p);
    uint64_t count = list_count(&v);
    if (count > l->count)
        list_delete(&v, options_of(r), l->index, count - l->count);
    undo_restore_end(r, p, &v);
}

static bool note_added(const struct undo_noting *n, struct place *p, uint64_t index)
{
    struct list_record *l = record_of(n, p, restore_added);
    if (!l)
        return false;
    l->index = index < l->count ? index : l->count;
    undo_add(n->undo, &l->base);
    return true;
}

bool undo_note_push(const struct undo_noting *n)
{
    bool noted;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_LIST, &noted))
        return noted;
    return note_added(n, &p, n->first == LIST_HEAD ? 0 : UINT64_MAX);
}

bool undo_note_list_insert(const struct undo_noting *n)
{
    bool noted;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_LIST, &noted))
        return noted;
    struct value v = db_value(&p, TYPE_LIST);
    struct list_cursor at;
    uint64_t index = 0;
    list_cursor_start(&at, &v, 0, false);
    while (!list_cursor_ended(&at) && !list_cursor_equal(&at, n->call->argv[3])) {
        list_cursor_next(&at);
        index++;
    }
    list_cursor_stop(&at);
    return note_added(n, &p, index + call_arg_is(n->call, 2, "after"));
}

/* --- Elements that go --- */

static void restore_removed(struct undo_record *r, struct place *p)
{
    const struct list_record *l = (struct list_record *)r;
    struct value v = undo_restore_begin(r, p);
    if (list_count(&v) != l->count)
        for (const struct undo_item *i = l->items.first; i; i = i->next)
            list_insert(&v, options_of(r), i->index, i->text);
    undo_restore_end(r, p, &v);
}

/* Adds the elements from `first` to below `end`. */
static bool add_elements(const struct undo_noting *n, struct list_record *l, const struct value *v,
                         uint64_t first, uint64_t end)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor at;
    bool added = true;
    list_cursor_start(&at, v, first, false);
    for (; first < end && added; first++, list_cursor_next(&at)) {
        struct undo_item *i =
            undo_item_add(n->undo, &l->items, list_cursor_text(&at, scratch));
        added = i != NULL;
        if (added)
            i->index = first;
    }
    list_cursor_stop(&at);
    return added;
}

/* All but the elements from `first` to below `end`. */
static bool note_all_but(const struct undo_noting *n, struct place *p, uint64_t first, uint64_t end)
{
    struct value v = db_value(p, TYPE_LIST);
    uint64_t count = list_count(&v);
    if (count - (end - first) > REMOVED_MAX)
        return undo_note_whole(n->undo, p);
    struct list_record *l = record_of(n, p, restore_removed);
    if (!l || !add_elements(n, l, &v, 0, first) || !add_elements(n, l, &v, end, count))
        return false;
    undo_add(n->undo, &l->base);
    return true;
}

static bool note_popped(const struct undo_noting *n, struct place *p, bool last, uint64_t most)
{
    struct value v = db_value(p, TYPE_LIST);
    uint64_t count = list_count(&v), popped = most < count ? most : count;
    return last ? note_all_but(n, p, 0, count - popped) : note_all_but(n, p, popped, count);
}

bool undo_note_list_pop(const struct undo_noting *n)
{
    bool noted = true, last = undo_pops_last(n, "right");
    uint64_t most = undo_pop_count(n);
    for (uint32_t i = 0; i < n->key_count && noted; i++) {
        struct place p = undo_place(n->call, n->keys[i]);
        if (undo_wants_parts(n->undo, &p, TYPE_LIST, &noted))
            noted = note_popped(n, &p, last, most);
    }
    return noted;
}

/* An index as the client gives it, below 0 from the end; may come out outside of the list. */
static int64_t index_of(int64_t index, uint64_t count)
{
    return index < 0 ? index + (int64_t)count : index;
}

bool undo_note_list_trim(const struct undo_noting *n)
{
    bool noted;
    int64_t start, stop;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_LIST, &noted))
        return noted;
    if (!number_parse_integer(n->call->argv[2], &start) ||
        !number_parse_integer(n->call->argv[3], &stop))
        return undo_note_front(n->undo, &p);
    struct value v = db_value(&p, TYPE_LIST);
    int64_t count = (int64_t)list_count(&v);
    start = index_of(start, (uint64_t)count);
    stop = index_of(stop, (uint64_t)count);
    if (start < 0)
        start = 0;
    if (stop >= count)
        stop = count - 1;
    if (start > stop)
        return note_all_but(n, &p, 0, 0);
    return note_all_but(n, &p, (uint64_t)start, (uint64_t)stop + 1);
}

/* Adds the elements that LREM finds; false: too many. Going backward the list of them is turned
 * round at the end. */
static bool add_found(const struct undo_noting *n, struct list_record *l, const struct value *v,
                      uint64_t max, bool backward)
{
    struct slice value = n->call->argv[3];
    struct list_cursor at;
    uint64_t found = 0;
    bool added = true;
    list_cursor_start(&at, v, backward ? l->count - 1 : 0, backward);
    for (uint64_t i = 0; added && found < max && !list_cursor_ended(&at); i++) {
        if (list_cursor_equal(&at, value)) {
            struct undo_item *item =
                ++found > REMOVED_MAX ? NULL : undo_item_add(n->undo, &l->items, value);
            added = item != NULL;
            if (added)
                item->index = backward ? l->count - 1 - i : i;
        }
        list_cursor_next(&at);
    }
    list_cursor_stop(&at);
    return added;
}

static void turn_round(struct undo_items *items)
{
    struct undo_item *i = items->first;
    items->first = NULL;
    while (i) {
        struct undo_item *next = i->next;
        i->next = items->first;
        items->first = i;
        i = next;
    }
}

bool undo_note_list_remove(const struct undo_noting *n)
{
    bool noted;
    int64_t count;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_LIST, &noted))
        return noted;
    if (!number_parse_integer(n->call->argv[2], &count))
        return undo_note_front(n->undo, &p);
    struct value v = db_value(&p, TYPE_LIST);
    struct list_record *l = record_of(n, &p, restore_removed);
    uint64_t max = count > 0 ? (uint64_t)count : count < 0 ? 0 - (uint64_t)count : UINT64_MAX;
    if (!l || !add_found(n, l, &v, max, count < 0))
        return false;
    if (count < 0)
        turn_round(&l->items);
    undo_add(n->undo, &l->base);
    return true;
}

/* --- One that is replaced --- */

static void restore_set(struct undo_record *r, struct place *p)
{
    const struct undo_item *i = ((struct list_record *)r)->items.first;
    struct value v = undo_restore_begin(r, p);
    list_replace(&v, options_of(r), i->index, i->text);
    undo_restore_end(r, p, &v);
}

bool undo_note_list_set(const struct undo_noting *n)
{
    bool noted;
    int64_t index;
    struct place p = undo_place(n->call, n->keys[0]);
    if (!undo_wants_parts(n->undo, &p, TYPE_LIST, &noted))
        return noted;
    struct value v = db_value(&p, TYPE_LIST);
    uint64_t count = list_count(&v);
    if (!number_parse_integer(n->call->argv[2], &index) || index_of(index, count) < 0 ||
        index_of(index, count) >= (int64_t)count)
        return undo_note_front(n->undo, &p);
    uint64_t at = (uint64_t)index_of(index, count);
    struct list_record *l = record_of(n, &p, restore_set);
    if (!l || !add_elements(n, l, &v, at, at + 1))
        return false;
    undo_add(n->undo, &l->base);
    return true;
}

/* --- One that moves to another list, or within one --- */

static void restore_rotated(struct undo_record *r, struct place *p)
{
    struct value v = undo_restore_begin(r, p);
    list_rotate(&v, options_of(r), ((struct list_record *)r)->from);
    undo_restore_end(r, p, &v);
}

/* That it happens is certain: it must be noted last. */
static bool note_rotated(const struct undo_noting *n, struct place *p, enum list_end to)
{
    struct list_record *l = record_of(n, p, restore_rotated);
    if (!l)
        return false;
    l->from = to;
    undo_add(n->undo, &l->base);
    return true;
}

/* False where they are none: the command then does nothing. */
static bool read_ends(const struct undo_noting *n, enum list_end *from, enum list_end *to)
{
    const struct call *c = n->call;
    *from = LIST_TAIL;
    *to = LIST_HEAD;
    if (n->step > 0)
        return true;
    *from = call_arg_is(c, 3, "left") ? LIST_HEAD : LIST_TAIL;
    *to = call_arg_is(c, 4, "left") ? LIST_HEAD : LIST_TAIL;
    return (*from == LIST_HEAD || call_arg_is(c, 3, "right")) &&
           (*to == LIST_HEAD || call_arg_is(c, 4, "right"));
}

bool undo_note_list_move(const struct undo_noting *n)
{
    bool noted = true;
    enum list_end from, to;
    if (!read_ends(n, &from, &to))
        return true;
    struct place source = undo_place(n->call, 1), target = undo_place(n->call, 2);
    bool within = source.entry == target.entry && source.entry;
    if (within && n->first == UNDO_MOVE_WAITS)
        return undo_note_whole(n->undo, &source);
    if (undo_wants_parts(n->undo, &source, TYPE_LIST, &noted)) {
        if (within)
            return from == to ? undo_note_front(n->undo, &source) : note_rotated(n, &source, to);
        noted = note_popped(n, &source, from == LIST_TAIL, 1);
    }
    if (noted && !within && undo_wants_parts(n->undo, &target, TYPE_LIST, &noted))
        noted = note_added(n, &target, to == LIST_HEAD ? 0 : UINT64_MAX);
    return noted;
}
