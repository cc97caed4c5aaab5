/* Views of collections: see view.h. */
#include "shard/type/view.h"

#include <assert.h>

#include "shard/type/hash_inside.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream.h"
#include "shard/type/view_hook.h"
#include "shard/type/view_inside.h"
#include "shard/type/zset_inside.h"

/* What has fewer parts and bytes is written in less than a fifth of a millisecond. */
#define NEEDED_PARTS 1000
#define NEEDED_BYTES ((size_t)64 << 10)

/* Where the collection holds its view; NULL: it can have none. */
static struct view **slot_of(const struct value *v)
{
    switch (v->encoding) {
    case ENC_TABLE:
        return v->type == TYPE_HASH ? &((struct fields *)v->data)->view
                                    : &((struct set_table *)v->data)->view;
    case ENC_TREE:
        return &((struct zset *)v->data)->view;
    case ENC_QUICKLIST:
        return &((struct quicklist *)v->data)->view;
    case ENC_STREAM:
        return &stream_of(v)->view;
    default:
        return NULL;
    }
}

bool view_is_needed(const struct value *v)
{
    return slot_of(v) && (value_ops_of(v->type)->parts(v) > NEEDED_PARTS ||
                          value_memory(v) > NEEDED_BYTES);
}

static struct view *open_kind(const struct value *v, bool compress)
{
    if (v->type == TYPE_LIST)
        return view_list_open(v, compress);
    if (v->type == TYPE_STREAM)
        return view_stream_open(v, compress);
    return view_table_open(v, compress);
}

struct view *view_open(const struct value *v, bool compress)
{
    struct view **slot = slot_of(v);
    assert(slot && !*slot);
    *slot = open_kind(v, compress);
    (*slot)->value = *v;
    return *slot;
}

bool view_write(struct view *w, struct buf *out, size_t budget)
{
    assert(budget > 0);
    if (!w->whole)
        w->whole = w->kind->write(w, out, budget);
    return w->whole;
}

struct view *view_of(const struct value *v)
{
    struct view **slot = slot_of(v);
    return slot ? *slot : NULL;
}

void view_adopt(struct view *w, const struct value *v)
{
    assert(view_of(v) == w && w->value.data == v->data && !w->owned);
    w->owned = true;
}

void view_leave(struct view *w)
{
    w->value.data = NULL;
}

bool view_close(struct view *w, struct value *v)
{
    bool owned = w->owned;
    if (w->value.data)
        *slot_of(&w->value) = NULL;
    if (owned)
        *v = w->value;
    w->kind->destroy(w);
    return owned;
}

size_t view_memory(const struct view *w)
{
    return w->kind->memory(w);
}
