/* Views of streams: as a value of type RDB_STREAM_2.
 *
 * First their nodes (view_chain.h), then numbers of the stream, as they were at the cut, then group
 * by group: what it was at the cut, what was pending, and its consumers, each with the ids pending
 * for it. Groups and consumers are put down when the view is opened. What is pending is read by and
 * by, in the order of ids; a nack that is about to change or go before that is put down by
 * view_keep_nack, told from others by its stamp. Either way its id goes to a queue of its
 * consumer's at the cut too, which is all that is left to be written when the group's own are.
 *
 * A nack that has not changed since the cut leads to a consumer that was there then, for it
 * would have been changed by that one's end. So indexes of consumers that such nacks lead to are
 * good. */
#include <assert.h>

#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/type/listpack.h"
#include "shard/type/stream_group.h"
#include "shard/type/view_chain.h"
#include "shard/type/view_hook.h"

/* What looking at a pending message costs, in the bytes of the budget. */
#define PASSING_COST 16

/* A part of `put_down`. */
struct extent {
    size_t at, size;
};

struct seen_group {
    const struct stream_group *group; /* NULL: destroyed since */
    struct extent head;               /* name, numbers, count of pending messages */
    uint64_t consumer_first, consumer_count;
    uint64_t left;           /* pending messages that are in neither the output nor the queue */
    struct view_queue early; /* those put down before they changed */
};

struct seen_consumer {
    struct extent head;    /* name, time, count of pending messages */
    struct view_queue ids; /* of those */
};

enum stage { STAGE_START, STAGE_NODES, STAGE_GROUP, STAGE_PENDING, STAGE_CONSUMERS, STAGE_END };

struct view_stream {
    struct view_nodes nodes;
    enum stage stage;
    struct buf put_down; /* of the stream, its groups and consumers */
    struct extent head;  /* numbers of the stream, count of groups */
    struct seen_group *groups;
    struct seen_consumer *consumers;
    uint64_t group_count, consumer_count;
    uint64_t group;        /* whose turn it is */
    uint64_t consumer;     /* the same; of all */
    bool consumer_begun;
    struct stream_id from; /* pending messages of the group below it are written or kept */
};

/* --- Nodes --- */

static void *next_node(const void *node)
{
    return ((const struct stream_node *)node)->next;
}

static uint32_t *node_stamp(void *node)
{
    return &((struct stream_node *)node)->stamp;
}

static void write_node(struct buf *out, const void *node, bool compress)
{
    const struct stream_node *n = node;
    unsigned char key[STREAM_ID_KEY_SIZE];
    stream_id_write_key(key, n->master);
    rdb_write_string(out, (struct slice){(char *)key, sizeof(key)}, false);
    rdb_write_string(out, (struct slice){(char *)n->listpack, listpack_size(n->listpack)},
                     compress);
}

static void destroy_node(void *node)
{
    stream_free_node(node);
}

static size_t node_memory(const void *node)
{
    return mem_usable(node) + mem_usable(((const struct stream_node *)node)->listpack);
}

static const struct view_chain_type node_type = {next_node, node_stamp, write_node, destroy_node,
                                                 node_memory};

/* --- Pending messages --- */

/* What is written of a message pending in a group, and of one in a consumer's list. */
static void write_nack(struct buf *out, const struct stream_nack *n, struct stream_id id)
{
    unsigned char key[STREAM_ID_KEY_SIZE];
    stream_id_write_key(key, id);
    buf_append(out, key, sizeof(key));
    buf_append(out, &n->delivered_ms, sizeof(n->delivered_ms));
    rdb_write_length(out, n->deliveries);
}

static void add_to_consumer(struct view_stream *w, const struct stream_nack *n,
                            struct stream_id id)
{
    unsigned char key[STREAM_ID_KEY_SIZE];
    assert(n->consumer->view_index < w->consumer_count);
    struct view_queue *ids = &w->consumers[n->consumer->view_index].ids;
    stream_id_write_key(key, id);
    buf_append(view_queue_begin(ids), key, sizeof(key));
    view_queue_end(ids);
}

static void count_nack(struct seen_group *g)
{
    assert(g->left > 0);
    g->left--;
}

void view_keep_nack(struct view *view, const struct stream_group *group,
                    const struct stream_nack *n, struct stream_id id)
{
    struct view_stream *w = (struct view_stream *)view;
    struct seen_group *g = &w->groups[group->view_index];
    assert(!view->owned && g->group == group);
    write_nack(view_queue_begin(&g->early), n, id);
    view_queue_end(&g->early);
    add_to_consumer(w, n, id);
    count_nack(g);
}

void view_remove_group(struct view *view, const struct stream_group *group)
{
    struct view_stream *w = (struct view_stream *)view;
    struct seen_group *g = &w->groups[group->view_index];
    assert(g->group == group && g->left == 0);
    g->group = NULL;
}

static uint32_t stamp_of(const struct view_stream *w)
{
    return w->nodes.chain.stamp;
}

/* True when all of the group's are written. */
static bool write_pending(struct view_stream *w, struct buf *out, size_t end)
{
    struct seen_group *g = &w->groups[w->group];
    if (!view_queue_drain(&g->early, out, end))
        return false;
    size_t passed = 0;
    while (g->left > 0) {
        if (out->size + passed >= end)
            return false;
        struct stream_id id;
        struct stream_nack *n = stream_pel_seek(&g->group->pel, w->from, &id);
        assert(n);
        if (n->stamp != stamp_of(w)) {
            write_nack(out, n, id);
            add_to_consumer(w, n, id);
            n->stamp = stamp_of(w);
            count_nack(g);
        }
        passed += PASSING_COST;
        w->from = id;
        if (!stream_id_increment(&w->from))
            assert(g->left == 0);
    }
    return true;
}

/* --- Writing --- */

static void write_extent(const struct view_stream *w, struct buf *out, struct extent e)
{
    buf_append(out, w->put_down.data + e.at, e.size);
}

/* True when all consumers of the group are written. */
static bool write_consumers(struct view_stream *w, struct buf *out, size_t end)
{
    const struct seen_group *g = &w->groups[w->group];
    while (w->consumer < g->consumer_first + g->consumer_count) {
        if (out->size >= end)
            return false;
        struct seen_consumer *c = &w->consumers[w->consumer];
        if (!w->consumer_begun)
            write_extent(w, out, c->head);
        w->consumer_begun = true;
        if (!view_queue_drain(&c->ids, out, end))
            return false;
        w->consumer_begun = false;
        w->consumer++;
    }
    return true;
}

static void begin_group(struct view_stream *w, struct buf *out)
{
    if (w->group == w->group_count) {
        w->stage = STAGE_END;
        return;
    }
    write_extent(w, out, w->groups[w->group].head);
    w->from = STREAM_ID_MIN;
    w->stage = STAGE_PENDING;
}

/* One stage, or as far as it gets. False where that is not to its end. */
static bool write_stage(struct view_stream *w, struct buf *out, size_t end)
{
    switch (w->stage) {
    case STAGE_START:
        rdb_write_length(out, w->nodes.chain.left);
        w->stage = STAGE_NODES;
        return true;
    case STAGE_NODES:
        if (!view_chain_write(&w->nodes.chain, out, end, w->nodes.view.compress))
            return false;
        write_extent(w, out, w->head);
        w->stage = STAGE_GROUP;
        return true;
    case STAGE_GROUP:
        begin_group(w, out);
        return true;
    case STAGE_PENDING:
        if (!write_pending(w, out, end))
            return false;
        rdb_write_length(out, w->groups[w->group].consumer_count);
        w->stage = STAGE_CONSUMERS;
        return true;
    default:
        if (!write_consumers(w, out, end))
            return false;
        w->group++;
        w->stage = STAGE_GROUP;
        return true;
    }
}

static bool write_stream(struct view *view, struct buf *out, size_t budget)
{
    struct view_stream *w = (struct view_stream *)view;
    size_t end = out->size + budget;
    while (w->stage != STAGE_END)
        if (!write_stage(w, out, end) || (out->size >= end && w->stage != STAGE_END))
            return false;
    return true;
}

/* --- Opening and closing --- */

static void put_id(struct buf *out, struct stream_id id)
{
    rdb_write_length(out, id.ms);
    rdb_write_length(out, id.seq);
}

static void see_stream(struct view_stream *w, const struct stream *s)
{
    struct buf *to = &w->put_down;
    w->head.at = to->size;
    rdb_write_length(to, s->length);
    put_id(to, s->last_id);
    put_id(to, s->first_id);
    put_id(to, s->max_deleted_id);
    rdb_write_length(to, s->entries_added);
    rdb_write_length(to, s->groups.count);
    w->head.size = to->size - w->head.at;
}

static void see_consumer(struct view_stream *w, struct stream_consumer *c)
{
    struct buf *to = &w->put_down;
    c->view_index = w->consumer_count;
    struct seen_consumer *seen = &w->consumers[w->consumer_count++];
    seen->head.at = to->size;
    rdb_write_string(to, stream_consumer_name(c), false);
    buf_append(to, &c->seen_ms, sizeof(c->seen_ms));
    rdb_write_length(to, c->pel.count);
    seen->head.size = to->size - seen->head.at;
}

static void see_group(struct view_stream *w, struct stream_group *g)
{
    struct buf *to = &w->put_down;
    g->view_index = (uint32_t)w->group_count;
    struct seen_group *seen = &w->groups[w->group_count++];
    seen->group = g;
    seen->left = g->pel.count;
    seen->head.at = to->size;
    rdb_write_string(to, stream_group_name(g), false);
    put_id(to, g->last_id);
    rdb_write_length(to, (uint64_t)g->entries_read);
    rdb_write_length(to, g->pel.count);
    seen->head.size = to->size - seen->head.at;
    seen->consumer_first = w->consumer_count;
    seen->consumer_count = g->consumers.count;
    for (struct stream_consumer *c = NULL; (c = stream_consumer_next(g, c));)
        see_consumer(w, c);
}

static size_t memory_of(const struct view *view)
{
    const struct view_stream *w = (const struct view_stream *)view;
    size_t memory = mem_usable(w) + view_chain_memory(&w->nodes.chain) + w->put_down.cap +
                    mem_usable(w->groups) + mem_usable(w->consumers);
    for (uint64_t i = 0; i < w->group_count; i++)
        memory += w->groups[i].early.memory;
    for (uint64_t i = 0; i < w->consumer_count; i++)
        memory += w->consumers[i].ids.memory;
    return memory;
}

static void destroy(struct view *view)
{
    struct view_stream *w = (struct view_stream *)view;
    view_chain_deinit(&w->nodes.chain);
    for (uint64_t i = 0; i < w->group_count; i++)
        view_queue_deinit(&w->groups[i].early);
    for (uint64_t i = 0; i < w->consumer_count; i++)
        view_queue_deinit(&w->consumers[i].ids);
    mem_free(w->groups);
    mem_free(w->consumers);
    buf_deinit(&w->put_down);
    mem_free(w);
}

static const struct view_kind stream_kind = {write_stream, memory_of, destroy};

struct view *view_stream_open(const struct value *v, bool compress)
{
    struct stream *s = v->data;
    struct view_stream *w = mem_alloc_zeroed(sizeof(*w));
    w->nodes.view = (struct view){.kind = &stream_kind, .compress = compress};
    view_chain_init(&w->nodes.chain, &node_type, s->first, s->nodes.count, ++s->stamp);
    see_stream(w, s);
    uint64_t consumers = 0;
    for (struct stream_group *g = NULL; (g = stream_group_next(s, g));)
        consumers += g->consumers.count;
    w->groups = mem_alloc_zeroed((s->groups.count + 1) * sizeof(*w->groups));
    w->consumers = mem_alloc_zeroed((consumers + 1) * sizeof(*w->consumers));
    for (struct stream_group *g = NULL; (g = stream_group_next(s, g));)
        see_group(w, g);
    return &w->nodes.view;
}
