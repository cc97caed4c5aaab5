/* Bundles: their one allocation, laid out so that participants do not share cache lines they write.
 * */
#include <assert.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/bundle.h"
#include "server/server.h"
#include "server/session.h"
#include "server/tracking.h"
#include "server/transaction.h"

/* Reply room given to each item in advance: a short value and its frame. */
#define REPLY_ROOM 56
/* A bundle of so many commands costs about what waking a thread does. */
#define BORROW_ITEMS_MAX 64

/* Carves the one allocation; with `at` NULL it only measures. */
struct carver {
    char *at;
    size_t size;
};

static void *carve(struct carver *w, size_t size)
{
    size_t offset = (w->size + 7) & ~(size_t)7;
    w->size = offset + size;
    return w->at ? w->at + offset : NULL;
}

static uint32_t count_keys(const struct request *r)
{
    struct call call = {.command = r->command, .argv = r->argv, .argc = r->argc};
    uint32_t n = 0;
    for (uint32_t at = 0; call_next_key(&call, &at, NULL) != 0;)
        n++;
    return n;
}

static void note_key_shards(const struct request *r, uint16_t *shards)
{
    struct call call = {.command = r->command, .argv = r->argv, .argc = r->argc};
    uint32_t arg, n = 0;
    for (uint32_t at = 0; (arg = call_next_key(&call, &at, NULL)) != 0;)
        shards[n++] = (uint16_t)keyspace_shard(&server->keyspace, r->argv[arg]);
}

/* What is to be laid out. */
struct plan {
    const struct request *requests;
    uint32_t count;
    struct slice source;
    bool copy;
    ptrdiff_t moved; /* from `source` to the bundle's copy of it */
    uint32_t parts;
    struct core_mask mask;
    uint32_t items[SHARD_COUNT_MAX]; /* a part */
    uint32_t args[SHARD_COUNT_MAX];
    uint8_t ranks[SHARD_COUNT_MAX];  /* of each participant */
    bool plain; /* no split commands, all arguments in `source`: nothing beside items and args */
};

static bool is_split(const struct request *r)
{
    return r->shard == BUNDLE_SHARD_MANY && r->command->route != ROUTE_CROSS;
}

static uint32_t rank_of(const struct plan *p, const struct request *r)
{
    return p->parts == 1 ? 0 : p->ranks[r->shard];
}

static void rank_parts(struct plan *p)
{
    uint8_t rank = 0;
    for (uint32_t w = 0; p->parts > 1 && w < ORDER_MASK_WORDS; w++)
        for (uint64_t left = p->mask.words[w]; left; left &= left - 1)
            p->ranks[w * 64 + (uint32_t)__builtin_ctzll(left)] = rank++;
}

static bool lies_in(struct slice range, const char *p)
{
    return (uintptr_t)p - (uintptr_t)range.data <= range.size;
}

static void count_parts(struct plan *p)
{
    memset(p->items, 0, p->parts * sizeof(*p->items));
    memset(p->args, 0, p->parts * sizeof(*p->args));
    p->plain = true;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct request *r = &p->requests[i];
        if (is_split(r)) {
            for (uint32_t k = 0; k < p->parts; k++)
                p->items[k]++;
            p->plain = false;
        } else {
            uint32_t rank = rank_of(p, r);
            p->items[rank]++;
            p->args[rank] += r->argc;
            p->plain &= lies_in(p->source, r->argv[0].data);
        }
    }
}

/* The arguments of one request, written to `argv` (NULL: only measured). */
static void carve_args(struct carver *w, const struct plan *p, const struct request *r,
                       struct slice *argv)
{
    if (lies_in(p->source, r->argv[0].data)) {
        for (uint32_t i = 0; argv && i < r->argc; i++)
            argv[i] = (struct slice){r->argv[i].data + p->moved, r->argv[i].size};
        return;
    }
    for (uint32_t i = 0; i < r->argc; i++) {
        char *own = carve(w, r->argv[i].size);
        if (!argv)
            continue;
        memcpy(own, r->argv[i].data, r->argv[i].size);
        argv[i] = (struct slice){own, r->argv[i].size};
    }
}

static struct bundle_item carve_split(struct carver *w, const struct plan *p,
                                      const struct request *r)
{
    bool by_key = r->command->route == ROUTE_SPLIT;
    uint32_t keys = by_key ? count_keys(r) : 0;
    struct bundle_split *split = carve(w, sizeof(*split));
    struct slice *argv = carve(w, r->argc * sizeof(*argv));
    uint16_t *key_shards = by_key ? carve(w, keys * sizeof(*key_shards)) : NULL;
    uint32_t *item_sizes = by_key ? carve(w, keys * sizeof(*item_sizes)) : NULL;
    struct bundle_section *sections = carve(w, p->parts * sizeof(*sections));
    carve_args(w, p, r, argv);
    if (split) {
        *split = (struct bundle_split){keys, key_shards, item_sizes, sections};
        memset(sections, 0, p->parts * sizeof(*sections));
        if (by_key) {
            memset(item_sizes, 0, keys * sizeof(*item_sizes));
            note_key_shards(r, key_shards);
        }
    }
    return (struct bundle_item){r->command, argv, r->argc, split, r->track == TRACKING_READS};
}

/* Room for each part's items, their arguments, sizes and replies; cursors for filling it. */
struct part_room {
    struct bundle_item *items;
    struct slice *args;
};

static void carve_part(struct carver *w, const struct plan *p, uint32_t rank,
                       struct bundle_part *part, struct part_room *room)
{
    uint32_t n = p->items[rank];
    w->size = (w->size + 63) & ~(size_t)63;
    room->items = carve(w, n * sizeof(*room->items));
    room->args = carve(w, p->args[rank] * sizeof(*room->args));
    w->size = (w->size + 63) & ~(size_t)63;
    size_t *sizes = carve(w, n * sizeof(*sizes));
    char *replies = carve(w, (size_t)n * REPLY_ROOM);
    if (!part)
        return;
    *part = (struct bundle_part){.items = room->items, .item_count = n, .sizes = sizes};
    buf_init_borrowed(&part->out, replies, (size_t)n * REPLY_ROOM);
}

static void lay_out_item(struct carver *w, const struct plan *p, const struct request *r,
                         struct part_room *rooms, uint16_t *order)
{
    if (is_split(r)) {
        struct bundle_item item = carve_split(w, p, r);
        for (uint32_t k = 0; w->at && k < p->parts; k++)
            *rooms[k].items++ = item;
        if (order)
            *order = BUNDLE_RANK_ALL;
        return;
    }
    uint32_t rank = rank_of(p, r);
    struct part_room *room = &rooms[rank];
    carve_args(w, p, r, w->at ? room->args : NULL);
    if (!w->at)
        return;
    *room->items++ = (struct bundle_item){r->command, room->args, r->argc, NULL,
                                            r->track == TRACKING_READS};
    room->args += r->argc;
    if (order)
        *order = (uint16_t)rank;
}

/* Lays the bundle out in `w`; returns it, or NULL while measuring. */
static struct bundle *lay_out(struct carver *w, struct plan *p, const struct bundle *model)
{
    struct part_room rooms[SHARD_COUNT_MAX];
    struct bundle *b = carve(w, sizeof(*b));
    w->size = (w->size + 63) & ~(size_t)63;
    struct bundle_part *parts = carve(w, p->parts * sizeof(*parts));
    uint16_t *order = p->parts > 1 ? carve(w, p->count * sizeof(*order)) : NULL;
    char *bytes = p->copy ? carve(w, p->source.size) : NULL;
    if (b) {
        *b = *model;
        b->parts = parts;
        b->order = order;
        if (bytes)
            memcpy(bytes, p->source.data, p->source.size);
    }
    p->moved = bytes ? bytes - p->source.data : 0;
    for (uint32_t k = 0; k < p->parts; k++)
        carve_part(w, p, k, parts ? &parts[k] : NULL, &rooms[k]);
    for (uint32_t i = 0; i < p->count && (b || !p->plain); i++)
        lay_out_item(w, p, &p->requests[i], rooms, order ? order + i : NULL);
    return b;
}

/* Whether another core may do a part of it: data commands only (those of the server room look at
 * the core they run on), and few enough that waking the owner would cost more. */
static bool is_borrowable(enum bundle_kind kind, const struct request *requests, uint32_t count)
{
    if (kind == BUNDLE_CROSS || count > BORROW_ITEMS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (command_is_for_owner(requests[i].command) ||
            !transaction_may_borrow(&requests[i], BORROW_ITEMS_MAX))
            return false;
    return true;
}

struct bundle *bundle_create(struct core *c, struct session *s, enum bundle_kind kind,
                             const struct core_mask *mask, struct request *requests,
                             uint32_t count, struct slice source, bool copy)
{
    assert(count > 0 && count <= BUNDLE_ITEMS_MAX);
    if (__builtin_expect(s && s->tracking, 0))
        tracking_mark(s, requests, count);
    struct plan p;
    p.requests = requests;
    p.count = count;
    p.source = source;
    p.copy = copy;
    p.mask = *mask;
    p.parts = kind == BUNDLE_CROSS ? 1 : core_mask_count(mask);
    rank_parts(&p);
    count_parts(&p);
    struct bundle model = {
        .kind = kind, .home = c->index, .borrowable = is_borrowable(kind, requests, count),
        .session = s, .mask = *mask, .reach = *mask, .part_count = p.parts, .item_count = count,
        .protocol = 2,
    };
    if (s) {
        model.db = s->db;
        model.protocol = s->protocol;
        model.no_touch = s->no_touch;
        model.acl_version = server->acl->version;
        model.at_home = transaction_needs_home(&requests[0]);
    }
    struct carver measure = {0};
    lay_out(&measure, &p, &model);
    struct carver w = {mem_alloc_aligned(measure.size, 64), 0};
    struct bundle *b = lay_out(&w, &p, &model);
    assert(w.size == measure.size);
    atomic_init(&b->pending, core_mask_count(mask));
    b->message.receive = kind == BUNDLE_HOP ? bundle_arrive : bundle_come_home;
    if (s)
        s->bundle = b;
    c->dispatched++;
    return b;
}

struct bundle *bundle_create_act(struct core *c, bundle_act_fn *act, void *context)
{
    struct bundle *b = mem_alloc_aligned(sizeof(*b), 64);
    *b = (struct bundle){
        .kind = BUNDLE_CROSS, .home = c->index, .protocol = 2, .stand = act, .context = context};
    for (uint32_t i = 0; i < server->core_count; i++)
        core_mask_add(&b->mask, i);
    b->reach = b->mask;
    atomic_init(&b->pending, server->core_count);
    b->message.receive = bundle_come_home;
    c->dispatched++;
    return b;
}

void bundle_destroy(struct bundle *b)
{
    for (uint32_t i = 0; i < b->part_count; i++)
        buf_deinit(&b->parts[i].out);
    mem_free(b);
}
