/* Lists: one listpack or a quicklist, and when it is which. */
#include "shard/type/list.h"

#include <assert.h>

#include "proto/mem.h"

/* Room in a new list for a short first element, so that adding it does not move the listpack. */
#define CREATE_RESERVE 16
/* Bytes of a node where list-max-listpack-size counts elements. */
#define COUNTED_SIZE_MAX 8192
/* What a plain node is for at the latest: a listpack cannot be much larger. */
#define PLAIN_MIN_MAX (LISTPACK_SIZE_MAX / 2)

/* The bound of list-max-listpack-size: one of elements or one of bytes. */
struct bound {
    uint32_t count_max; /* UINT32_MAX: none */
    size_t size_max;    /* SIZE_MAX: none */
};

static struct bound bound_of(const struct keyspace_options *o)
{
    static const size_t sizes[] = {4096, 8192, 16384, 32768, 65536};
    int32_t setting = o->list_max_listpack_size;
    if (setting >= 0)
        return (struct bound){setting > 0 ? (uint32_t)setting : 1, SIZE_MAX};
    return (struct bound){UINT32_MAX, sizes[setting >= -5 ? -setting - 1 : 4]};
}

static struct quicklist_limits limits_of(const struct keyspace_options *o)
{
    struct bound b = bound_of(o);
    size_t size_max = b.size_max == SIZE_MAX ? COUNTED_SIZE_MAX : b.size_max;
    size_t plain_min = o->list_packed_max ? o->list_packed_max : size_max + 1;
    if (plain_min > PLAIN_MIN_MAX)
        plain_min = PLAIN_MIN_MAX;
    return (struct quicklist_limits){size_max, b.count_max, plain_min};
}

static unsigned char *listpack_of(const struct value *v)
{
    assert(v->encoding == ENC_LISTPACK);
    return v->data;
}

static struct quicklist *quicklist_of(const struct value *v)
{
    assert(v->encoding == ENC_QUICKLIST);
    return v->data;
}

/* Encodings. */

static void chain(struct value *v, const struct keyspace_options *o)
{
    unsigned char *lp = listpack_of(v);
    struct quicklist *q = quicklist_create(o->list_compress_depth);
    if (listpack_first(lp) == LISTPACK_NONE)
        mem_free(lp);
    else
        quicklist_append_listpack(q, lp);
    v->encoding = ENC_QUICKLIST;
    v->data = q;
}

/* Before `count` elements, of `size` bytes of text together, are added. */
static void prepare_growth(struct value *v, const struct keyspace_options *o, size_t size,
                           uint32_t count)
{
    if (v->encoding != ENC_LISTPACK)
        return;
    struct bound b = bound_of(o);
    size_t grown = listpack_size(v->data) + size;
    bool exceeds;
    if (b.size_max != SIZE_MAX)
        exceeds = grown > b.size_max;
    else
        exceeds = grown > COUNTED_SIZE_MAX ||
                  (uint64_t)listpack_count(v->data) + count > b.count_max;
    if (exceeds)
        chain(v, o);
}

/* After elements were removed. Half of the bound, so that a list at the bound does not change its
 * encoding with every command. */
static void settle_shrunk(struct value *v, const struct keyspace_options *o)
{
    if (v->encoding != ENC_QUICKLIST)
        return;
    struct quicklist *q = v->data;
    if (q->node_count != 1 || q->first->plain)
        return;
    struct bound b = bound_of(o);
    size_t size_max = b.size_max / 2;
    uint32_t count_max = b.count_max / 2;
    if (q->first->size > size_max || q->count > count_max)
        return;
    v->data = quicklist_into_listpack(q);
    v->encoding = ENC_LISTPACK;
}

/* Changes. */

uint64_t list_count(const struct value *v)
{
    return v->encoding == ENC_LISTPACK ? listpack_count(v->data) : quicklist_of(v)->count;
}

void list_push(struct value *v, const struct keyspace_options *o, enum list_end end,
               const struct slice *values, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += values[i].size;
    prepare_growth(v, o, size, count);
    if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        for (uint32_t i = 0; i < count; i++)
            listpack_insert(&lp, end == LIST_HEAD ? LISTPACK_HEADER_SIZE : listpack_end(lp),
                            values[i]);
        v->data = lp;
        return;
    }
    struct quicklist_limits limits = limits_of(o);
    for (uint32_t i = 0; i < count; i++)
        quicklist_push(v->data, &limits, end == LIST_HEAD, values[i]);
}

void list_insert(struct value *v, const struct keyspace_options *o, uint64_t index,
                 struct slice value)
{
    prepare_growth(v, o, value.size, 1);
    if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        uint32_t at = listpack_seek(lp, (int64_t)index);
        listpack_insert(&lp, at == LISTPACK_NONE ? listpack_end(lp) : at, value);
        v->data = lp;
        return;
    }
    struct quicklist_limits limits = limits_of(o);
    quicklist_insert(v->data, &limits, index, value);
}

/* As in Redis, the new value counts as one more while the growth is judged. */
void list_replace(struct value *v, const struct keyspace_options *o, uint64_t index,
                  struct slice value)
{
    prepare_growth(v, o, value.size, 1);
    if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        listpack_replace(&lp, listpack_seek(lp, (int64_t)index), value);
        v->data = lp;
        return;
    }
    struct quicklist_limits limits = limits_of(o);
    quicklist_replace(v->data, &limits, index, value);
    settle_shrunk(v, o);
}

void list_drop(struct value *v, const struct keyspace_options *o, enum list_end end)
{
    if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        listpack_delete(&lp, end == LIST_HEAD ? listpack_first(lp) : listpack_last(lp), 1);
        v->data = lp;
        return;
    }
    quicklist_drop(v->data, end == LIST_HEAD);
    settle_shrunk(v, o);
}

/* The element comes to its new place before it leaves the old one, so that a quicklist is not
 * judged without it; a listpack keeps its size. */
static void rotate_with(struct value *v, const struct keyspace_options *o, enum list_end from,
                        struct slice value)
{
    bool to_head = from == LIST_TAIL;
    if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        listpack_delete(&lp, to_head ? listpack_last(lp) : listpack_first(lp), 1);
        listpack_insert(&lp, to_head ? LISTPACK_HEADER_SIZE : listpack_end(lp), value);
        v->data = lp;
        return;
    }
    struct quicklist_limits limits = limits_of(o);
    quicklist_push(v->data, &limits, to_head, value);
    quicklist_drop(v->data, !to_head);
    settle_shrunk(v, o);
}

void list_rotate(struct value *v, const struct keyspace_options *o, enum list_end from)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX], small[128];
    struct slice value = list_peek(v, from, scratch);
    char *text = value.size <= sizeof(small) ? small : mem_alloc(value.size);
    memcpy(text, value.data, value.size);
    rotate_with(v, o, from, (struct slice){text, value.size});
    if (text != small)
        mem_free(text);
}

void list_delete(struct value *v, const struct keyspace_options *o, uint64_t index,
                 uint64_t count)
{
    if (count == 0)
        return;
    if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        listpack_delete(&lp, listpack_seek(lp, (int64_t)index), (uint32_t)count);
        v->data = lp;
        return;
    }
    struct quicklist_limits limits = limits_of(o);
    quicklist_delete(v->data, &limits, index, count);
    settle_shrunk(v, o);
}

uint64_t list_remove(struct value *v, const struct keyspace_options *o, struct slice value,
                     uint64_t max, bool backward)
{
    if (v->encoding == ENC_LISTPACK) {
        unsigned char *lp = v->data;
        uint64_t removed = quicklist_remove_packed(&lp, value, max, backward);
        v->data = lp;
        return removed;
    }
    struct quicklist_limits limits = limits_of(o);
    uint64_t removed = quicklist_remove(v->data, &limits, value, max, backward);
    if (removed > 0)
        settle_shrunk(v, o);
    return removed;
}

/* Loading. */

void list_append_node(struct value *v, const struct keyspace_options *o, unsigned char *lp)
{
    struct bound b = bound_of(o);
    bool within = listpack_size(lp) <= b.size_max && listpack_count(lp) <= b.count_max;
    if (within && v->encoding == ENC_LISTPACK && listpack_first(v->data) == LISTPACK_NONE) {
        mem_free(v->data);
        v->data = lp;
        return;
    }
    if (v->encoding == ENC_LISTPACK)
        chain(v, o);
    quicklist_append_listpack(v->data, lp);
}

void list_append_plain(struct value *v, const struct keyspace_options *o, struct slice value)
{
    if (v->encoding == ENC_LISTPACK)
        chain(v, o);
    struct quicklist_limits all_large = {.plain_min = 0};
    quicklist_push(v->data, &all_large, false, value);
}

/* Reading. */

struct slice list_peek(const struct value *v, enum list_end end, char *scratch)
{
    const unsigned char *lp = v->data;
    if (v->encoding == ENC_QUICKLIST) {
        const struct quicklist *q = v->data;
        const struct quicklist_node *n = end == LIST_HEAD ? q->first : q->last;
        lp = n->bytes;
        if (n->plain)
            return (struct slice){(const char *)lp, n->size};
    }
    return listpack_text(lp, end == LIST_HEAD ? listpack_first(lp) : listpack_last(lp), scratch);
}

/* The cursor's node becomes `n`; `offset` is the element's index in it, negative from the end. */
static void enter_node(struct list_cursor *c, const struct quicklist_node *n, int64_t offset)
{
    mem_free(c->unpacked);
    c->unpacked = NULL;
    c->node = n;
    c->at = LISTPACK_NONE;
    if (!n)
        return;
    c->bytes = quicklist_view(n, &c->unpacked);
    c->plain = n->plain;
    c->at = n->plain ? LISTPACK_HEADER_SIZE : listpack_seek(c->bytes, offset);
}

void list_cursor_start(struct list_cursor *c, const struct value *v, uint64_t index,
                       bool backward)
{
    *c = (struct list_cursor){.at = LISTPACK_NONE, .backward = backward};
    if (index >= list_count(v))
        return;
    if (v->encoding == ENC_LISTPACK) {
        c->bytes = v->data;
        c->at = listpack_seek(c->bytes, (int64_t)index);
        return;
    }
    uint32_t offset;
    const struct quicklist_node *n = quicklist_seek(v->data, index, &offset);
    enter_node(c, n, offset);
}

void list_cursor_next(struct list_cursor *c)
{
    if (c->plain)
        c->at = LISTPACK_NONE;
    else if (c->backward)
        c->at = listpack_previous(c->bytes, c->at);
    else
        c->at = listpack_next(c->bytes, c->at);
    if (c->at == LISTPACK_NONE && c->node)
        enter_node(c, c->backward ? c->node->previous : c->node->next, c->backward ? -1 : 0);
}

struct slice list_cursor_text(const struct list_cursor *c, char *scratch)
{
    if (c->plain)
        return (struct slice){(const char *)c->bytes, c->node->size};
    return listpack_text(c->bytes, c->at, scratch);
}

bool list_cursor_equal(const struct list_cursor *c, struct slice value)
{
    if (c->plain)
        return slice_equal((struct slice){(const char *)c->bytes, c->node->size}, value);
    return listpack_equal(c->bytes, c->at, value);
}

void list_cursor_stop(struct list_cursor *c)
{
    mem_free(c->unpacked);
    c->unpacked = NULL;
}

void list_check(const struct value *v)
{
    assert(v->type == TYPE_LIST);
    if (v->encoding == ENC_LISTPACK)
        listpack_check(v->data);
    else
        quicklist_check(quicklist_of(v));
}

/* The type. */

static struct value create(const struct keyspace *k)
{
    return (struct value){TYPE_LIST, ENC_LISTPACK, listpack_create(CREATE_RESERVE)};
}

static size_t memory(const struct value *v)
{
    return v->encoding == ENC_LISTPACK ? mem_usable(v->data) : quicklist_of(v)->memory;
}

static uint64_t parts(const struct value *v)
{
    return v->encoding == ENC_LISTPACK ? 1 : 1 + 2 * quicklist_of(v)->node_count;
}

static bool free_some(struct value *v, uint64_t *budget)
{
    if (v->encoding == ENC_QUICKLIST)
        return quicklist_free_some(v->data, budget);
    mem_free(v->data);
    *budget -= *budget > 0;
    return true;
}

static uint64_t move(struct value *v, uint64_t position, uint64_t *budget,
                     const struct mem_move *m)
{
    if (position == 0)
        v->data = mem_move_block(m, v->data);
    value_spend(budget, 1);
    return v->encoding == ENC_QUICKLIST && quicklist_move(v->data, position == 0, budget, m);
}

static struct value copy(const struct value *v)
{
    struct value twin = *v;
    if (v->encoding == ENC_LISTPACK)
        twin.data = listpack_copy(v->data);
    else
        twin.data = quicklist_copy(v->data);
    return twin;
}

static const char *encoding_name(const struct value *v)
{
    return v->encoding == ENC_LISTPACK ? "listpack" : "quicklist";
}

const struct value_ops list_ops = {
    .create = create,
    .count = list_count,
    .memory = memory,
    .parts = parts,
    .free_some = free_some,
    .move = move,
    .copy = copy,
    .encoding_name = encoding_name,
};
