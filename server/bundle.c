/* Bundles: see bundle.h for who may touch one when. */
#include "server/bundle.h"

#include <assert.h>
#include <ck_pr.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/execute.h"
#include "server/server.h"
#include "server/session.h"

/* Reply room given to each item in advance: a short value and its frame. */
#define REPLY_ROOM 56
/* Keys hashed and prefetched ahead of the one that runs. */
#define PREFETCH_DEPTH 16
/* Looks at the release word before a core that stands still goes to sleep on it. */
#define SPIN_LOOKS 200

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

static void note_key_shards(const struct core *c, struct bundle_item *item)
{
    struct call call = {.command = item->command, .argv = item->argv, .argc = item->argc};
    uint32_t arg, n = 0;
    for (uint32_t at = 0; (arg = call_next_key(&call, &at, NULL)) != 0;)
        item->key_shards[n++] = (uint16_t)keyspace_shard(c->shard.keyspace, item->argv[arg]);
}

/* Where the bytes of arguments come from and go to. */
struct bytes_source {
    struct slice from;
    ptrdiff_t moved; /* from there to the bundle's copy; 0: not copied */
};

static bool lies_in(struct slice range, const char *p)
{
    return p >= range.data && p <= range.data + range.size;
}

static void carve_argv(struct carver *w, const struct request *r, const struct bytes_source *source,
                       struct slice *argv)
{
    bool inside = lies_in(source->from, r->argv[0].data);
    for (uint32_t i = 0; i < r->argc; i++) {
        struct slice arg = r->argv[i];
        char *own = inside ? NULL : carve(w, arg.size);
        if (!w->at)
            continue;
        if (own)
            memcpy(own, arg.data, arg.size);
        argv[i] = (struct slice){own ? own : arg.data + source->moved, arg.size};
    }
}

/* What one item needs beside its struct. Called twice: to measure, and to fill. */
static void carve_item(struct carver *w, const struct core *c, struct bundle_item *item,
                       const struct request *r, uint32_t parts, const struct bytes_source *source)
{
    struct slice *argv = carve(w, r->argc * sizeof(*argv));
    carve_argv(w, r, source, argv);
    bool many = r->shard == BUNDLE_SHARD_MANY && r->command->route != ROUTE_CROSS;
    bool by_key = many && r->command->route == ROUTE_SPLIT;
    uint32_t keys = by_key ? count_keys(r) : 0;
    uint16_t *key_shards = by_key ? carve(w, keys * sizeof(uint16_t)) : NULL;
    uint32_t *sizes = by_key ? carve(w, keys * sizeof(uint32_t)) : NULL;
    struct bundle_section *sections = many ? carve(w, parts * sizeof(*sections)) : NULL;
    if (!w->at)
        return;
    *item = (struct bundle_item){
        .command = r->command, .argv = argv, .argc = r->argc, .shard = r->shard,
        .key_count = keys, .key_shards = key_shards, .item_sizes = sizes, .sections = sections,
    };
    if (sizes)
        memset(sizes, 0, keys * sizeof(*sizes));
    if (sections)
        memset(sections, 0, parts * sizeof(*sections));
    if (key_shards)
        note_key_shards(c, item);
}

static void carve_parts(struct carver *w, struct bundle_part *parts, uint32_t count,
                        const uint32_t *per_part)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t room = (size_t)per_part[i] * REPLY_ROOM;
        char *at = carve(w, room);
        if (w->at)
            buf_init_borrowed(&parts[i].out, at, room);
    }
}

/* Lays the bundle out in `w`; returns it, or NULL while measuring. */
static struct bundle *lay_out(struct carver *w, struct core *c, const struct bundle *model,
                              const struct request *requests, struct slice from, bool copy,
                              const uint32_t *per_part)
{
    struct bundle *b = carve(w, sizeof(*b));
    w->size = (w->size + 63) & ~(size_t)63;
    struct bundle_part *parts = carve(w, model->part_count * sizeof(*parts));
    struct bundle_item *items = carve(w, model->item_count * sizeof(*items));
    char *bytes = copy ? carve(w, from.size) : NULL;
    if (b) {
        *b = *model;
        b->parts = parts;
        b->items = items;
        if (bytes)
            memcpy(bytes, from.data, from.size);
    }
    struct bytes_source source = {from, w->at && copy ? bytes - from.data : 0};
    for (uint32_t i = 0; i < model->item_count; i++)
        carve_item(w, c, items ? &items[i] : NULL, &requests[i], model->part_count,
                   &source);
    carve_parts(w, parts, model->part_count, per_part);
    return b;
}

static void count_items(const struct core_mask *mask, uint32_t parts,
                        const struct request *requests, uint32_t count, uint32_t *per_part)
{
    memset(per_part, 0, parts * sizeof(*per_part));
    for (uint32_t i = 0; i < count; i++) {
        if (requests[i].shard == BUNDLE_SHARD_MANY)
            for (uint32_t k = 0; k < parts; k++)
                per_part[k] += 2;
        else
            per_part[core_mask_rank(mask, requests[i].shard)]++;
    }
}

static void come_home(struct core_message *m);
static void arrive(struct core_message *m);

struct bundle *bundle_create(struct core *c, struct session *s, enum bundle_kind kind,
                             const struct core_mask *mask, const struct request *requests,
                             uint32_t count, struct slice source, bool copy)
{
    assert(count > 0 && count <= BUNDLE_ITEMS_MAX);
    uint32_t per_part[SHARD_COUNT_MAX];
    struct bundle model = {
        .kind = kind, .home = c->index, .db = s->db, .protocol = s->protocol,
        .no_touch = s->no_touch, .session = s, .mask = *mask,
        .part_count = kind == BUNDLE_CROSS ? 1 : core_mask_count(mask), .item_count = count,
    };
    if (kind == BUNDLE_CROSS)
        per_part[0] = 1;
    else
        count_items(mask, model.part_count, requests, count, per_part);
    struct carver measure = {0};
    lay_out(&measure, c, &model, requests, source, copy, per_part);
    struct carver w = {mem_alloc_aligned(measure.size, 64), 0};
    struct bundle *b = lay_out(&w, c, &model, requests, source, copy, per_part);
    assert(w.size == measure.size);
    atomic_init(&b->pending, core_mask_count(mask));
    b->message.receive = kind == BUNDLE_HOP ? arrive : come_home;
    s->bundle = b;
    c->dispatched++;
    return b;
}

void bundle_destroy(struct bundle *b)
{
    for (uint32_t i = 0; i < b->part_count; i++)
        buf_deinit(&b->parts[i].out);
    mem_free(b);
}

/* Other cores. */

static void publish(struct core *c, struct bundle *b)
{
    if (b->kind == BUNDLE_CROSS)
        c->stats.crosses++;
    else
        c->stats.splits++;
    struct core_mask mask = b->mask;
    order_publish(server->order, c->index, b, &mask);
    /* From here on the bundle is its participants'. They are woken before our own walk. */
    for (int i = 0; i < ORDER_MASK_WORDS; i++)
        c->touched.words[i] |= mask.words[i];
}

static void defer(struct core *c, struct bundle *b)
{
    b->next = NULL;
    if (c->deferred_last)
        c->deferred_last->next = b;
    else
        c->deferred_first = b;
    c->deferred_last = b;
}

static uint32_t only_core(const struct core_mask *mask)
{
    for (uint32_t i = 0; i < ORDER_MASK_WORDS; i++)
        if (mask->words[i])
            return i * 64 + (uint32_t)__builtin_ctzll(mask->words[i]);
    return 0;
}

void bundle_dispatch(struct core *c, struct bundle *b)
{
    if (b->kind == BUNDLE_HOP) {
        c->stats.hops_sent++;
        core_post(c, only_core(&b->mask), &b->message);
    } else if (!c->deferred_first && order_has_room(server->order, c->index)) {
        publish(c, b);
    } else {
        defer(c, b);
    }
}

void bundle_dispatch_deferred(struct core *c)
{
    while (c->deferred_first) {
        if (!order_has_room(server->order, c->index)) {
            struct core_mask behind = order_behind(server->order, c->index);
            for (uint32_t i = 0; i < server->core_count; i++)
                if (i != c->index && core_mask_has(&behind, i))
                    core_wake(c, i);
            return;
        }
        struct bundle *b = c->deferred_first;
        c->deferred_first = b->next;
        if (!c->deferred_first)
            c->deferred_last = NULL;
        publish(c, b);
    }
}

static void come_home(struct core_message *m)
{
    struct bundle *b = (struct bundle *)m;
    struct core *c = core_self();
    assert(b->home == c->index && c->dispatched > 0);
    c->dispatched--;
    session_bundle_done(c, b->session, b);
}

static void arrive(struct core_message *m)
{
    struct core *c = core_self();
    if (c->hop_count == c->hop_cap) {
        c->hop_cap = c->hop_cap ? c->hop_cap * 2 : 64;
        c->hops = mem_realloc(c->hops, c->hop_cap * sizeof(*c->hops));
    }
    c->hops[c->hop_count++] = (struct bundle *)m;
}

static void send_home(struct core *c, struct bundle *b)
{
    b->message.receive = come_home;
    core_post(c, b->home, &b->message);
}

/* Running on a shard. */

static void start_call(struct core *c, struct bundle *b, struct call *call, struct buf *out)
{
    call->db = b->db;
    call->no_touch = b->no_touch;
    call->reply = (struct reply){.out = out, .protocol = b->protocol};
}

/* Whether a shard takes part in an item. */
static bool concerns(const struct bundle *b, const struct bundle_item *item, uint32_t shard)
{
    return item->shard == shard || item->shard == BUNDLE_SHARD_MANY;
}

struct hash_window {
    uint64_t hashes[PREFETCH_DEPTH];
    bool hashed[PREFETCH_DEPTH];
};

/* Hashes the first keys of the next items and asks for their buckets, then for their entries. */
static void prefetch_items(struct core *c, const struct bundle *b, uint32_t from, uint32_t to,
                           struct hash_window *w)
{
    const struct shard *s = &c->shard;
    for (uint32_t i = from; i < to; i++) {
        const struct bundle_item *item = &b->items[i];
        int16_t key = item->command->first_key;
        w->hashed[i - from] = item->shard == c->index && key > 0 && (uint32_t)key < item->argc;
        if (!w->hashed[i - from])
            continue;
        w->hashes[i - from] = keyspace_hash(s->keyspace, item->argv[key]);
        shard_prefetch_bucket(s, b->db, w->hashes[i - from]);
    }
    for (uint32_t i = from; i < to; i++)
        if (w->hashed[i - from])
            shard_prefetch_entry(s, b->db, w->hashes[i - from]);
}

static void run_split_item(struct core *c, struct call *call, struct bundle_item *item,
                           uint32_t rank)
{
    struct buf *out = call->reply.out;
    size_t start = out->size;
    call->key_shards = item->key_shards;
    call->item_sizes = item->item_sizes;
    execute_part(c, call);
    item->sections[rank] = (struct bundle_section){
        .size = out->size - start, .value = call->value, .errors = call->reply.errors};
}

/* Runs all that is this shard's in a bundle. */
static void run_part(struct core *c, struct bundle *b)
{
    uint32_t rank = core_mask_rank(&b->mask, c->index);
    struct buf *out = &b->parts[rank].out;
    struct hash_window w;
    struct call call;
    start_call(c, b, &call, out);
    execute_start_clock(c);
    for (uint32_t i = 0; i < b->item_count; i++) {
        uint32_t in_window = i % PREFETCH_DEPTH;
        if (in_window == 0) {
            uint32_t end = i + PREFETCH_DEPTH;
            prefetch_items(c, b, i, end < b->item_count ? end : b->item_count, &w);
        }
        struct bundle_item *item = &b->items[i];
        if (!concerns(b, item, c->index))
            continue;
        execute_prepare(c, &call, &c->shard, item->command, item->argv, item->argc);
        call.session = b->session;
        call.first_key_hashed = w.hashed[in_window];
        call.first_key_hash = w.hashes[in_window];
        size_t start = out->size;
        if (item->shard == BUNDLE_SHARD_MANY) {
            run_split_item(c, &call, item, rank);
        } else {
            execute_whole(c, &call);
            item->size = out->size - start;
        }
    }
}

void bundle_run_hop(struct core *c, struct bundle *b)
{
    assert(b->kind == BUNDLE_HOP && core_mask_has(&b->mask, c->index));
    run_part(c, b);
    send_home(c, b);
}

/* The order's transactions. */

static void release_others(struct core *c, const struct core_mask *mask, uint64_t ticket)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (i == c->index || !core_mask_has(mask, i))
            continue;
        struct core *other = server->cores[i];
        /* Pairs with the acquire in stand_still: what the transaction wrote to that shard. */
        atomic_store_explicit(&other->released, (uint32_t)(ticket + 1), memory_order_release);
        syscall(SYS_futex, &other->released, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

/* Waits until the transaction of `ticket` has been run. Our shard is the runner's meanwhile. */
static void stand_still(struct core *c, uint64_t ticket)
{
    uint32_t want = (uint32_t)(ticket + 1);
    for (uint32_t looks = 0;; looks++) {
        /* Pairs with the release in release_others. */
        uint32_t seen = atomic_load_explicit(&c->released, memory_order_acquire);
        if (seen == want)
            return;
        if (looks < SPIN_LOOKS && c->spins)
            ck_pr_stall();
        else
            syscall(SYS_futex, &c->released, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
}

static void run_cross(struct core *c, struct bundle *b)
{
    struct shard *shards[SHARD_COUNT_MAX];
    for (uint32_t i = 0; i < server->core_count; i++) {
        shards[i] = core_mask_has(&b->mask, i) ? &server->cores[i]->shard : NULL;
        if (shards[i] && shards[i]->now_ms < c->shard.now_ms)
            shards[i]->now_ms = c->shard.now_ms;
    }
    struct bundle_item *item = &b->items[0];
    struct buf *out = &b->parts[0].out;
    struct call call;
    start_call(c, b, &call, out);
    execute_start_clock(c);
    execute_prepare(c, &call, NULL, item->command, item->argv, item->argc);
    call.shards = shards;
    call.session = b->session;
    execute_whole(c, &call);
    item->size = out->size;
}

void bundle_act(struct core *c, struct bundle *b, uint64_t ticket)
{
    assert(core_mask_has(&b->mask, c->index));
    struct core_mask mask = b->mask;
    if (b->kind == BUNDLE_SPLIT)
        run_part(c, b);
    bool cross = b->kind == BUNDLE_CROSS;
    if (atomic_fetch_sub_explicit(&b->pending, 1, memory_order_acq_rel) != 1) {
        if (cross)
            stand_still(c, ticket);
        return;
    }
    if (cross) {
        run_cross(c, b);
        release_others(c, &mask, ticket);
    }
    send_home(c, b);
}

/* Home again. */

/* The replies to each key of a SPLIT_ITEMS command, in key order. `at` is where each part's section of
 * this item begins. */
static void gather_items(const struct bundle *b, const struct bundle_item *item,
                         const size_t *at, struct slice *items)
{
    size_t used[SHARD_COUNT_MAX];
    memcpy(used, at, b->part_count * sizeof(*used));
    for (uint32_t k = 0; k < item->key_count; k++) {
        uint32_t rank = core_mask_rank(&b->mask, item->key_shards[k]);
        items[k] = (struct slice){b->parts[rank].out.data + used[rank], item->item_sizes[k]};
        used[rank] += item->item_sizes[k];
    }
}

static void write_split(struct core *c, struct bundle *b, const struct bundle_item *item,
                        const size_t *at, struct buf *out)
{
    struct split_section sections[SHARD_COUNT_MAX];
    struct split_parts parts = {sections, b->part_count};
    struct call call;
    size_t start = out->size;
    execute_prepare(c, &call, NULL, item->command, item->argv, item->argc);
    start_call(c, b, &call, out);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!core_mask_has(&b->mask, i))
            continue;
        const struct bundle_section *x = &item->sections[rank];
        sections[rank] = (struct split_section){b->parts[rank].out.data + at[rank], x->size,
                                                x->value, i};
        if (x->errors && !call.reply.errors) {
            buf_append(out, sections[rank].data, x->size);
            call.reply.errors = x->errors;
        }
        rank++;
    }
    if (!call.reply.errors) {
        struct slice *items = NULL;
        if (item->command->split == SPLIT_ITEMS) {
            items = arena_alloc(&c->arena, item->key_count * sizeof(*items));
            gather_items(b, item, at, items);
        }
        execute_merge(c, &call, &parts, items, item->key_count);
    }
    execute_count_split(c, &call, start);
}

static void write_reply(struct core *c, struct bundle *b, const struct bundle_item *item,
                        size_t *at, struct buf *out)
{
    if (item->shard == BUNDLE_SHARD_MANY && b->kind == BUNDLE_SPLIT) {
        write_split(c, b, item, at, out);
        for (uint32_t i = 0; i < b->part_count; i++)
            at[i] += item->sections[i].size;
        return;
    }
    uint32_t rank = b->part_count == 1 ? 0 : core_mask_rank(&b->mask, item->shard);
    buf_append(out, b->parts[rank].out.data + at[rank], item->size);
    at[rank] += item->size;
}

void bundle_write_replies(struct core *c, struct bundle *b, struct session *s)
{
    if (b->kind == BUNDLE_HOP && s->reply_mode == REPLY_ON) {
        size_t mark;
        buf_append_slice(session_reply_begin(c, s, &mark), buf_slice(&b->parts[0].out));
        return;
    }
    size_t at[SHARD_COUNT_MAX] = {0};
    for (uint32_t i = 0; i < b->item_count; i++) {
        size_t mark;
        struct buf *out = session_reply_begin(c, s, &mark);
        write_reply(c, b, &b->items[i], at, out);
        session_reply_end(s, mark);
    }
}
