/* Bundles: see bundle.h for who may touch one when. */
#include "server/bundle.h"

#include <assert.h>
#include <ck_pr.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/execute.h"
#include "server/owner.h"
#include "server/server.h"
#include "server/session.h"

/* Reply room given to each item in advance: a short value and its frame. */
#define REPLY_ROOM 56
/* Keys hashed and prefetched ahead of the one that runs. */
#define PREFETCH_DEPTH 16
/* A bundle of so many commands costs about what waking a thread does. */
#define BORROW_ITEMS_MAX 64
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
};

static bool is_split(const struct request *r)
{
    return r->shard == BUNDLE_SHARD_MANY && r->command->route != ROUTE_CROSS;
}

static uint32_t rank_of(const struct plan *p, const struct request *r)
{
    return p->parts == 1 ? 0 : core_mask_rank(&p->mask, r->shard);
}

static void count_parts(struct plan *p)
{
    memset(p->items, 0, p->parts * sizeof(*p->items));
    memset(p->args, 0, p->parts * sizeof(*p->args));
    for (uint32_t i = 0; i < p->count; i++) {
        const struct request *r = &p->requests[i];
        if (is_split(r)) {
            for (uint32_t k = 0; k < p->parts; k++)
                p->items[k]++;
        } else {
            uint32_t rank = rank_of(p, r);
            p->items[rank]++;
            p->args[rank] += r->argc;
        }
    }
}

static bool lies_in(struct slice range, const char *p)
{
    return p >= range.data && p <= range.data + range.size;
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
    return (struct bundle_item){r->command, argv, r->argc, split};
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
    *room->items++ = (struct bundle_item){r->command, room->args, r->argc, NULL};
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
    for (uint32_t i = 0; i < p->count; i++)
        lay_out_item(w, p, &p->requests[i], rooms, order ? order + i : NULL);
    return b;
}

/* Whether another core may do a part of it: data commands only (those of the server room look at the
 * core they run on), and few enough that waking the owner would cost more. */
static bool is_borrowable(enum bundle_kind kind, const struct request *requests, uint32_t count)
{
    if (kind == BUNDLE_CROSS || count > BORROW_ITEMS_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (requests[i].command->route == ROUTE_ALL)
            return false;
    return true;
}

static void come_home(struct core_message *m);
static void arrive(struct core_message *m);

struct bundle *bundle_create(struct core *c, struct session *s, enum bundle_kind kind,
                             const struct core_mask *mask, const struct request *requests,
                             uint32_t count, struct slice source, bool copy)
{
    assert(count > 0 && count <= BUNDLE_ITEMS_MAX);
    struct plan p;
    p.requests = requests;
    p.count = count;
    p.source = source;
    p.copy = copy;
    p.mask = *mask;
    p.parts = kind == BUNDLE_CROSS ? 1 : core_mask_count(mask);
    count_parts(&p);
    struct bundle model = {
        .kind = kind, .home = c->index, .db = s->db, .protocol = s->protocol,
        .no_touch = s->no_touch, .borrowable = is_borrowable(kind, requests, count),
        .session = s, .mask = *mask, .part_count = p.parts, .item_count = count,
    };
    struct carver measure = {0};
    lay_out(&measure, &p, &model);
    struct carver w = {mem_alloc_aligned(measure.size, 64), 0};
    struct bundle *b = lay_out(&w, &p, &model);
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
    /* From here on the bundle is its participants'. They are attended before our own walk. */
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
        uint32_t to = only_core(&b->mask);
        b->next = c->outgoing[to];
        c->outgoing[to] = b;
        core_mask_add(&c->outgoing_mask, to);
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

struct hash_window {
    uint64_t hashes[PREFETCH_DEPTH];
    bool hashed[PREFETCH_DEPTH];
};

/* Hashes the first keys of the next items and asks for their buckets, then for their entries. */
static void prefetch_items(const struct shard *s, uint32_t db, const struct bundle_item *items,
                           uint32_t count, struct hash_window *w)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct bundle_item *item = &items[i];
        int16_t key = item->command->first_key;
        w->hashed[i] = !item->split && key > 0 && (uint32_t)key < item->argc;
        if (!w->hashed[i])
            continue;
        w->hashes[i] = keyspace_hash(s->keyspace, item->argv[key]);
        shard_prefetch_bucket(s, db, w->hashes[i]);
    }
    for (uint32_t i = 0; i < count; i++)
        if (w->hashed[i])
            shard_prefetch_entry(s, db, w->hashes[i]);
}

static void run_split_item(struct core *c, struct call *call, struct bundle_split *split,
                           uint32_t rank)
{
    struct buf *out = call->reply.out;
    size_t start = out->size;
    call->key_shards = split->key_shards;
    call->item_sizes = split->item_sizes;
    execute_part(c, call);
    split->sections[rank] = (struct bundle_section){
        .size = out->size - start, .value = call->value, .errors = call->reply.errors};
}

/* Runs all that is one shard's in a bundle. */
static void run_part(struct core *c, struct shard *s, struct bundle *b)
{
    uint32_t rank = core_mask_rank(&b->mask, s->index);
    struct bundle_part *part = &b->parts[rank];
    struct hash_window w;
    struct call call;
    start_call(c, b, &call, &part->out);
    execute_start_clock(c);
    for (uint32_t i = 0; i < part->item_count; i++) {
        const struct bundle_item *item = &part->items[i];
        uint32_t in_window = i % PREFETCH_DEPTH;
        if (in_window == 0) {
            uint32_t left = part->item_count - i;
            prefetch_items(s, b->db, item, left < PREFETCH_DEPTH ? left : PREFETCH_DEPTH, &w);
        }
        execute_prepare(c, &call, s, item->command, item->argv, item->argc);
        call.session = b->session;
        call.first_key_hashed = w.hashed[in_window];
        call.first_key_hash = w.hashes[in_window];
        size_t start = part->out.size;
        if (item->split)
            run_split_item(c, &call, item->split, rank);
        else
            execute_whole(c, &call);
        part->sizes[i] = part->out.size - start;
    }
}

void bundle_run_hop(struct core *c, struct shard *s, struct bundle *b)
{
    assert(b->kind == BUNDLE_HOP && core_mask_has(&b->mask, s->index));
    run_part(c, s, b);
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
        if (shards[i] && shards[i]->now_ms < c->wall_ms)
            shards[i]->now_ms = c->wall_ms;
    }
    const struct bundle_item *item = &b->parts[0].items[0];
    struct buf *out = &b->parts[0].out;
    struct call call;
    start_call(c, b, &call, out);
    execute_start_clock(c);
    execute_prepare(c, &call, NULL, item->command, item->argv, item->argc);
    call.shards = shards;
    call.session = b->session;
    execute_whole(c, &call);
    b->parts[0].sizes[0] = out->size;
}

void bundle_act(struct core *c, struct shard *s, struct bundle *b, uint64_t ticket)
{
    assert(core_mask_has(&b->mask, s->index));
    struct core_mask mask = b->mask;
    if (b->kind == BUNDLE_SPLIT)
        run_part(c, s, b);
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

/* Standing in for cores that sleep. */

/* Walks the log for a borrowed shard. Stops before what only the owner may do: what stands still, and
 * what is long enough to be worth waking it. */
static bool walk_for(struct core *c, struct shard *s)
{
    uint64_t ticket;
    struct bundle *b;
    while ((b = order_next(server->order, s->index, &ticket)) != NULL) {
        if (!b->borrowable) {
            order_stay(server->order, s->index);
            return false;
        }
        bundle_act(c, s, b, ticket);
    }
    return true;
}

/* The borrowed shard with its log walked to the end, or NULL. */
static struct shard *borrow(struct core *c, uint32_t sleeper)
{
    struct core *other = server->cores[sleeper];
    if (!owner_borrow(&other->owner))
        return NULL;
    struct shard *s = &other->shard;
    if (s->now_ms < c->wall_ms)
        s->now_ms = c->wall_ms;
    if (walk_for(c, s))
        return s;
    owner_return(&other->owner);
    return NULL;
}

bool bundle_stand_in(struct core *c, uint32_t sleeper)
{
    if (!borrow(c, sleeper))
        return false;
    c->stats.borrows++;
    owner_return(&server->cores[sleeper]->owner);
    return true;
}

static struct bundle *in_order_sent(struct bundle *newest)
{
    struct bundle *first = NULL;
    while (newest) {
        struct bundle *before = newest->next;
        newest->next = first;
        first = newest;
        newest = before;
    }
    return first;
}

static void run_outgoing(struct core *c, struct shard *s, struct bundle *b)
{
    c->stats.borrows++;
    while (b) {
        struct bundle *next = b->next;
        bundle_run_hop(c, s, b);
        b = next;
    }
    owner_return(&server->cores[s->index]->owner);
}

static bool all_borrowable(const struct bundle *b)
{
    while (b && b->borrowable)
        b = b->next;
    return b == NULL;
}

static void send_to(struct core *c, uint32_t to)
{
    struct bundle *b = in_order_sent(c->outgoing[to]);
    c->outgoing[to] = NULL;
    struct shard *s = all_borrowable(b) ? borrow(c, to) : NULL;
    if (s) {
        run_outgoing(c, s, b);
        return;
    }
    while (b) {
        struct bundle *next = b->next;
        core_post(c, to, &b->message);
        b = next;
    }
}

void bundle_send_outgoing(struct core *c)
{
    for (uint32_t w = 0; w < ORDER_MASK_WORDS; w++) {
        while (c->outgoing_mask.words[w]) {
            uint32_t to = w * 64 + (uint32_t)__builtin_ctzll(c->outgoing_mask.words[w]);
            c->outgoing_mask.words[w] &= c->outgoing_mask.words[w] - 1;
            send_to(c, to);
        }
    }
}

/* Home again. */

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
    execute_prepare(c, &call, NULL, item->command, item->argv, item->argc);
    start_call(c, b, &call, out);
    gather_sections(b, item->split, cursors, sections, &call.reply);
    if (!call.reply.errors) {
        struct slice *items = NULL;
        if (item->command->split == SPLIT_ITEMS) {
            items = arena_alloc(&c->arena, item->split->key_count * sizeof(*items));
            gather_items(b, item->split, cursors, items);
        }
        execute_merge(c, &call, &parts, items, item->split->key_count);
    }
    execute_count_split(c, &call, start);
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

void bundle_write_replies(struct core *c, struct bundle *b, struct session *s)
{
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
