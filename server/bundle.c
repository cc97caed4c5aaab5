/* Bundles under way: see bundle.h for who may touch one when. Made in bundle_make.c, answered in
 * bundle_replies.c. */
#include "server/bundle.h"

#include <assert.h>
#include <ck_pr.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/blocked.h"
#include "server/execute.h"
#include "server/owner.h"
#include "server/server.h"
#include "server/session.h"

/* Keys hashed and prefetched ahead of the one that runs. */
#define PREFETCH_DEPTH 16
/* Looks at the release word before a core that stands still goes to sleep on it. */
#define SPIN_LOOKS 200

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

void bundle_dispatch(struct core *c, struct bundle *b)
{
    if (b->kind == BUNDLE_HOP) {
        c->stats.hops_sent++;
        uint32_t to = core_mask_first(&b->mask);
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

void bundle_come_home(struct core_message *m)
{
    struct bundle *b = (struct bundle *)m;
    struct core *c = core_self();
    assert(b->home == c->index && c->dispatched > 0);
    session_bundle_done(c, b->session, b);
}

void bundle_arrive(struct core_message *m)
{
    struct core *c = core_self();
    if (c->hop_count == c->hop_cap) {
        c->hop_cap = c->hop_cap ? c->hop_cap * 2 : 64;
        c->hops = mem_realloc(c->hops, c->hop_cap * sizeof(*c->hops));
    }
    c->hops[c->hop_count++] = (struct bundle *)m;
}

void bundle_dispose(struct core *c, struct bundle *b)
{
    if (b->blocked) {
        blocked_dispose(c, b);
        return;
    }
    c->dispatched--;
    bundle_destroy(b);
}

void bundle_send_home(struct core *c, struct bundle *b)
{
    b->message.receive = bundle_come_home;
    core_post(c, b->home, &b->message);
}

/* Running on a shard. */

static void start_call(const struct bundle *b, struct call *call, struct buf *out)
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

void bundle_start_repeat(struct core *c, struct bundle *b, struct call *call)
{
    const struct bundle_item *item = &b->parts[0].items[0];
    start_call(b, call, &b->parts[0].out);
    execute_start_clock(c);
    execute_prepare(c, call, NULL, item->command, item->argv, item->argc);
    call->session = b->session;
    call->repeated = true;
}

/* An item has published a transaction that is to be run before the next item, where that can be.
 * False where it cannot here. */
static bool walk_between(struct core *c, const struct shard *s, const struct bundle *b)
{
    if (b->kind != BUNDLE_HOP)
        return true;
    if (s != &c->shard)
        return false;
    core_walk(c);
    return true;
}

/* Runs all that is one shard's in a bundle. False where it was parked, or is not at its end. */
static bool run_part(struct core *c, struct shard *s, struct bundle *b)
{
    uint32_t rank = core_mask_rank(&b->mask, s->index);
    struct bundle_part *part = &b->parts[rank];
    struct hash_window w;
    struct call call;
    start_call(b, &call, &part->out);
    execute_start_clock(c);
    const uint32_t start = part->done;
    for (uint32_t i = start; i < part->item_count; i++) {
        const struct bundle_item *item = &part->items[i];
        uint32_t in_window = (i - start) % PREFETCH_DEPTH;
        if (in_window == 0) {
            uint32_t left = part->item_count - i;
            prefetch_items(s, b->db, item, left < PREFETCH_DEPTH ? left : PREFETCH_DEPTH, &w);
        }
        execute_prepare(c, &call, s, item->command, item->argv, item->argc);
        call.session = b->session;
        call.first_key_hashed = w.hashed[in_window];
        call.first_key_hash = w.hashes[in_window];
        size_t reply = part->out.size;
        if (item->split)
            run_split_item(c, &call, item->split, rank);
        else
            execute_whole(c, &call);
        part->sizes[i] = part->out.size - reply;
        part->done = i + 1;
        if (__builtin_expect(call.wait.asked, 0)) {
            blocked_park(c, b, &call);
            blocked_look(c, s, NULL); /* the run may have met a key that has expired */
            return false;
        }
        blocked_look(c, s, NULL);
        if (__builtin_expect(c->repeat_published, 0) && part->done < part->item_count &&
            !walk_between(c, s, b)) {
            core_post(c, s->index, &b->message);
            return false;
        }
    }
    return true;
}

void bundle_run_hop(struct core *c, struct shard *s, struct bundle *b)
{
    assert(b->kind == BUNDLE_HOP && core_mask_has(&b->mask, s->index));
    if (run_part(c, s, b))
        bundle_send_home(c, b);
}

/* The order's transactions. */

/* A futex word has 32 bits: the low half of `released`, which lies first. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half lies first");

static void release_others(struct core *c, const struct core_mask *mask, uint64_t ticket)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (i == c->index || !core_mask_has(mask, i))
            continue;
        struct core *other = server->cores[i];
        /* Pairs with the acquire in stand_still: what the transaction wrote to that shard. */
        atomic_store_explicit(&other->released, ticket + 1, memory_order_release);
        syscall(SYS_futex, &other->released, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

/* Waits until the transaction of `ticket` has been run. Our shard is the runner's meanwhile. */
static void stand_still(struct core *c, uint64_t ticket)
{
    for (uint32_t looks = 0;; looks++) {
        /* Pairs with the release in release_others. */
        uint64_t seen = atomic_load_explicit(&c->released, memory_order_acquire);
        if (seen == ticket + 1)
            return;
        if (looks < SPIN_LOOKS && c->spins)
            ck_pr_stall();
        else
            syscall(SYS_futex, &c->released, FUTEX_WAIT_PRIVATE, (uint32_t)seen, NULL, NULL, 0);
    }
}

/* False where it was parked, or waits on. */
static bool run_cross(struct core *c, struct bundle *b)
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
    bool repeated = b->blocked != NULL;
    if (repeated) {
        bundle_start_repeat(c, b, &call);
    } else {
        start_call(b, &call, out);
        execute_start_clock(c);
        execute_prepare(c, &call, NULL, item->command, item->argv, item->argc);
        call.session = b->session;
    }
    call.shards = shards;
    execute_whole(c, &call);
    b->parts[0].sizes[0] = out->size;
    bool done = !call.wait.asked;
    if (repeated)
        done = blocked_settle_cross(c, b, &call, shards);
    else if (!done)
        blocked_park(c, b, &call);
    blocked_serve(c, NULL, shards);
    return done;
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
    bool done = true;
    if (cross) {
        done = run_cross(c, b);
        release_others(c, &mask, ticket);
    }
    if (done)
        bundle_send_home(c, b);
}
