/* Bundles come home: replies of many parts, written in request order. */
#include "server/bundle.h"
#include "server/execute.h"
#include "server/server.h"
#include "server/session.h"

/* How far the replies of each part have been written. */
struct reply_cursor {
    uint32_t item;
    size_t at;
};

/* The replies to each key of a SPLIT_ITEMS command, in key order. */
static void gather_items(const struct bundle *b, const struct bundle_split *split,
                         const struct reply_cursor *cursors, struct slice *items)
{
    size_t at[SHARD_COUNT_MAX];
    for (uint32_t k = 0; k < b->part_count; k++)
        at[k] = cursors[k].at;
    for (uint32_t k = 0; k < split->key_count; k++) {
        uint32_t rank = core_mask_rank(&b->mask, split->key_shards[k]);
        items[k] = (struct slice){b->parts[rank].out.data + at[rank], split->item_sizes[k]};
        at[rank] += split->item_sizes[k];
    }
}

/* The sections of all parts; an error in one of them is written as the whole reply. */
static void gather_sections(const struct bundle *b, const struct bundle_split *split,
                            const struct reply_cursor *cursors, struct split_section *sections,
                            struct reply *reply)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!core_mask_has(&b->mask, i))
            continue;
        const struct bundle_section *x = &split->sections[rank];
        const char *data = b->parts[rank].out.data + cursors[rank].at;
        sections[rank++] = (struct split_section){data, x->size, x->value, i};
        if (x->errors && !reply->errors) {
            buf_append(reply->out, data, x->size);
            reply->errors = x->errors;
        }
    }
}

static void write_split(struct core *c, struct bundle *b, const struct bundle_item *item,
                        const struct reply_cursor *cursors, struct buf *out)
{
    struct split_section sections[SHARD_COUNT_MAX];
    struct split_parts parts = {sections, b->part_count};
    struct call call;
    size_t start = out->size;
    call.db = b->db;
    call.no_touch = b->no_touch;
    call.reply = (struct reply){.out = out, .protocol = b->protocol};
    execute_prepare(c, &call, NULL, item->command, item->argv, item->argc);
    gather_sections(b, item->split, cursors, sections, &call.reply);
    if (!call.reply.errors) {
        struct slice *items = NULL;
        if (item->command->split == SPLIT_ITEMS) {
            items = arena_alloc(&c->arena, item->split->key_count * sizeof(*items));
            gather_items(b, item->split, cursors, items);
        }
        execute_merge(c, &call, &parts, items, item->split->key_count);
    }
    uint64_t ticks = 0;
    for (uint32_t k = 0; k < b->part_count; k++)
        ticks += item->split->sections[k].ticks;
    call.session = b->session;
    call.client = b->session ? b->session->id : 0;
    execute_count_split(c, &call, start, ticks);
}

static void pass_item(const struct bundle *b, struct reply_cursor *cursors, uint32_t rank)
{
    cursors[rank].at += b->parts[rank].sizes[cursors[rank].item++];
}

static void write_reply(struct core *c, struct bundle *b, uint32_t rank,
                        struct reply_cursor *cursors, struct buf *out)
{
    if (rank == BUNDLE_RANK_ALL) {
        write_split(c, b, &b->parts[0].items[cursors[0].item], cursors, out);
        for (uint32_t k = 0; k < b->part_count; k++)
            pass_item(b, cursors, k);
        return;
    }
    const struct bundle_part *part = &b->parts[rank];
    buf_append(out, part->out.data + cursors[rank].at, part->sizes[cursors[rank].item]);
    pass_item(b, cursors, rank);
}

/* EXEC's reply: that of each item, in one array. */
static void write_array(struct core *c, struct bundle *b, struct session *s)
{
    struct reply_cursor cursors[SHARD_COUNT_MAX];
    memset(cursors, 0, b->part_count * sizeof(*cursors));
    size_t mark;
    struct reply reply = {.out = session_reply_begin(c, s, &mark), .protocol = b->protocol};
    reply_array(&reply, b->item_count);
    for (uint32_t i = 0; i < b->item_count; i++)
        write_reply(c, b, b->order[i], cursors, reply.out);
    session_reply_end(s, mark);
}

void bundle_write_replies(struct core *c, struct bundle *b, struct session *s)
{
    if (b->transaction) {
        write_array(c, b, s);
        return;
    }
    size_t mark;
    if (b->part_count == 1 && s->reply_mode == REPLY_ON) {
        buf_append_slice(session_reply_begin(c, s, &mark), buf_slice(&b->parts[0].out));
        return;
    }
    struct reply_cursor cursors[SHARD_COUNT_MAX];
    memset(cursors, 0, b->part_count * sizeof(*cursors));
    for (uint32_t i = 0; i < b->item_count; i++) {
        struct buf *out = session_reply_begin(c, s, &mark);
        write_reply(c, b, b->order ? b->order[i] : 0, cursors, out);
        session_reply_end(s, mark);
    }
}
