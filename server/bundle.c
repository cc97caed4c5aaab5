/* Bundles under way: see bundle.h for who may touch one when. Made in bundle_make.c, answered in
 * bundle_replies.c. */
#include "server/bundle.h"

#include <assert.h>
#include <ck_pr.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/blocked.h"
#include "server/broken.h"
#include "server/serve.h"
#include "server/effects.h"
#include "server/evict.h"
#include "server/execute.h"
#include "server/persist/save.h"
#include "server/owner.h"
#include "server/server.h"
#include "server/session.h"
#include "server/tracking.h"
#include "server/transaction.h"
#include "server/write_fault.h"
#include "shard/journal.h"

/* Keys hashed and prefetched ahead of the one that runs. */
#define PREFETCH_DEPTH 16
/* Looks at the release word before a core that stands still goes to sleep on it. */
#define SPIN_LOOKS 200
/* Entries of the order that who runs a cross transaction acts on for those who stand still. */
#define CARRY_MAX 256
/* How long a core that stands still sleeps at a time. */
#define STAND_WAIT_NS 50000000

/* Other cores. */

/* The break: each part goes to its shard by a message, without a place in the order. */
struct piece {
    struct core_message message;
    struct bundle *bundle;
};

static void act_on_piece(struct core_message *m)
{
    struct piece *p = (struct piece *)m;
    struct core *c = core_self();
    bundle_act(c, &c->shard, p->bundle, 0);
    mem_free(p);
}

static void send_in_pieces(struct core *c, struct bundle *b)
{
    const struct core_mask reach = b->reach;
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!core_mask_has(&reach, i))
            continue;
        struct piece *p = mem_alloc(sizeof(*p));
        *p = (struct piece){.message.receive = act_on_piece, .bundle = b};
        core_post(c, i, &p->message);
    }
}

static bool is_in_pieces(const struct bundle *b)
{
    if (b->kind != BUNDLE_SPLIT || b->part_count <= 1)
        return false;
    return broken(BROKEN_SPLIT_IN_PIECES) ||
           (broken(BROKEN_PUBLISH_IN_PIECES) &&
            b->parts[0].items[0].command->flags & CMD_PUBSUB);
}

static void publish(struct core *c, struct bundle *b)
{
    if (b->kind == BUNDLE_CROSS)
        c->stats.crosses++;
    else
        c->stats.splits++;
    if (is_in_pieces(b)) {
        send_in_pieces(c, b);
        return;
    }
    struct core_mask mask = b->reach;
    b->message.must = c->journal.must;
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

void bundle_wake_behind(struct core *c)
{
    struct core_mask behind = order_behind(server->order, c->index);
    for (uint32_t i = 0; i < server->core_count; i++)
        if (i != c->index && core_mask_has(&behind, i))
            core_wake(c, i);
}

void bundle_dispatch_deferred(struct core *c)
{
    while (c->deferred_first) {
        if (!order_has_room(server->order, c->index)) {
            bundle_wake_behind(c);
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
    if (b->session)
        session_bundle_done(c, b->session, b);
    else if (b->stand)
        bundle_dispose(c, b);
    else
        b->done(c, b);
}

void bundle_arrive(struct core_message *m)
{
    struct core *c = core_self();
    if (c->hop_count == c->hop_cap) {
        c->hop_cap = c->hop_cap ? c->hop_cap * 2 : 64;
        c->hops = mem_realloc(c->hops, c->hop_cap * sizeof(*c->hops));
    }
    c->hops[c->hop_count++] = (struct bundle *)m;
    c->stats.hops_received++;
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

static void set_client(const struct bundle *b, const struct bundle_item *item, struct call *call)
{
    call->session = b->session;
    call->client = b->session ? b->session->id : 0;
    call->track = item->track && b->session ? track_client(b->home, call->client) : 0;
}

/* The users have changed since, and this may no longer be permitted. A split item is refused by
 * all its parts alike, and told of by the first. */
static bool refuse_revoked(struct core *c, const struct bundle *b, const struct bundle_item *item,
                           bool tells, struct call *call)
{
    struct session *s = b->session;
    if (!acl_limits(s))
        return false;
    if (item->command->run == transaction_run_exec) {
        const char *refusal = acl_refusal(c, s, item->command, item->argv, item->argc);
        if (refusal)
            transaction_refuse(s, refusal, &call->reply);
        return refusal;
    }
    if (!tells) {
        if (acl_permits(s, item->command, item->argv, item->argc))
            return false;
        reply_error(&call->reply, "NOPERM");
        return true;
    }
    if (b->transaction)
        return acl_refuses_queued(c, s, item->command, item->argv, item->argc, &call->reply);
    return acl_refuses_late(c, s, item->command, item->argv, item->argc, &call->reply);
}

/* A load has begun since it was sent on its way, or the users have changed, and it may not run
 * now. */
static bool refuse_late(struct core *c, const struct bundle *b, const struct bundle_item *item,
                        uint32_t rank, struct call *call)
{
    if (__builtin_expect(b->acl_version != server->acl->version, 0) &&
        refuse_revoked(c, b, item, !item->split || rank == 0, call))
        return true;
    if (__builtin_expect(!server->keyspace.options.loading, 1))
        return false;
    if (!b->session || session_admits_loading(b->session, item->command))
        return false;
    if (item->command->run == transaction_run_exec)
        transaction_refuse(b->session, SESSION_LOADING_TEXT, &call->reply);
    else
        reply_error(&call->reply, SESSION_LOADING_TEXT);
    return true;
}

/* Memory is over the limit: frees some before the item runs, where no other of its transaction has.
 * True where nothing can be freed and it was refused; of several parts none is. */
static bool refuse_memory(struct core *c, struct shard *s, const struct bundle *b,
                          const struct bundle_item *item, struct call *call)
{
    bool first = item == b->parts[core_mask_rank(&b->mask, s->index)].items;
    if (!write_fault_is_memory() || (b->transaction && !first) || !evict_make_room(c, s))
        return false;
    if (item->split || b->transaction || !b->session || b->session->replay ||
        !(item->command->flags & CMD_DENYOOM))
        return false;
    reply_error(&call->reply, "%s", EVICT_OOM_TEXT);
    execute_count_error(c, SLICE("OOM"));
    c->command_stats[item->command->id].rejected++;
    return true;
}

bool bundle_refuse_repeat(struct core *c, const struct bundle *b, struct call *call)
{
    return b->acl_version != server->acl->version &&
           refuse_revoked(c, b, &b->parts[0].items[0], true, call);
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
    uint64_t ticks = 0;
    if (!call->reply.errors) {
        if (!split->key_shards && (call->command->flags & CMD_WRITE))
            journal_next_round(call->shard);
        ticks = execute_part(c, call, rank == 0);
    }
    split->sections[rank] = (struct bundle_section){.size = out->size - start,
        .value = call->value, .ticks = ticks, .errors = call->reply.errors};
}

void bundle_start_repeat(struct core *c, struct bundle *b, struct call *call)
{
    const struct bundle_item *item = &b->parts[0].items[0];
    start_call(b, call, &b->parts[0].out);
    execute_start_clock(c);
    execute_prepare(c, call, NULL, item->command, item->argv, item->argc);
    set_client(b, item, call);
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

/* After an item and its effects; of a transaction, after the last. */
static inline void note_must(const struct core *c, const struct bundle *b,
                             struct bundle_part *part, const struct bundle_item *item)
{
    if (server->keyspace.options.journal && c->journal.looked > part->must &&
        (b->transaction || journal_concerns(item->command)))
        part->must = c->journal.looked;
}

/* Runs all that is one shard's in a bundle. False where it was parked, or is not at its end. */
static bool run_part(struct core *c, struct shard *s, struct bundle *b)
{
    const uint32_t rank = core_mask_rank(&b->mask, s->index);
    struct bundle_part *part = &b->parts[rank];
    struct hash_window w;
    struct call call;
    start_call(b, &call, &part->out);
    execute_start_clock(c);
    journal_start_rounds(s);
    const uint32_t start = part->done;
    for (uint32_t i = start; i < part->item_count; i++) {
        const struct bundle_item *item = &part->items[i];
        uint32_t in_window = (i - start) % PREFETCH_DEPTH;
        if (in_window == 0) {
            uint32_t left = part->item_count - i;
            prefetch_items(s, b->db, item, left < PREFETCH_DEPTH ? left : PREFETCH_DEPTH, &w);
        }
        execute_prepare(c, &call, s, item->command, item->argv, item->argc);
        set_client(b, item, &call);
        call.may_wait = !b->transaction;
        call.first_key_hashed = w.hashed[in_window];
        call.first_key_hash = w.hashes[in_window];
        if (b->session && b->session->replay)
            call.may_wait = false;
        size_t reply = part->out.size;
        bool refused = refuse_late(c, b, item, rank, &call);
        if (write_fault_any() && !refused)
            refused = refuse_memory(c, s, b, item, &call);
        if (item->split)
            run_split_item(c, &call, item->split, rank);
        else if (!refused)
            execute_whole(c, &call);
        if (__builtin_expect(call.strayed, 0)) {
            effects_look(c, s, NULL); /* a key that expired stays gone */
            bundle_run_with_all(c, b);
            return false;
        }
        part->sizes[i] = part->out.size - reply;
        part->flushed |= call.flushed;
        if (__builtin_expect(call.flushed && execute_flushes_all(item->command), 0))
            save_note_flushed(s);
        part->done = i + 1;
        if (__builtin_expect(call.wait.asked, 0)) {
            blocked_park(c, b, &call);
            effects_look(c, s, NULL); /* the run may have met a key that has expired */
            return false;
        }
        if (b->transaction && part->done < part->item_count)
            continue; /* others learn of it when it is over */
        effects_look(c, s, NULL);
        note_must(c, b, part, item);
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
    struct bundle *outer = c->acting;
    c->acting = b;
    if (run_part(c, s, b))
        bundle_send_home(c, b);
    c->acting = outer;
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

/* Not for ever: a script that runs for long is looked for now and then. */
static void wait_on(void *word, uint32_t seen)
{
    struct timespec timeout = {.tv_nsec = STAND_WAIT_NS};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, &timeout, NULL, 0);
}

/* Waits until the transaction of `ticket` has been run. Our shard is the runner's meanwhile. */
static void stand_still(struct core *c, uint64_t ticket)
{
    for (uint32_t looks = 0;; looks++) {
        /* Pairs with the release in release_others. */
        uint64_t seen = atomic_load_explicit(&c->released, memory_order_acquire);
        if (seen == ticket + 1) {
            atomic_store_explicit(&c->begun, false, memory_order_relaxed);
            return;
        }
        if (looks < SPIN_LOOKS && c->spins)
            ck_pr_stall();
        else if (!serve_wait(c))
            wait_on(&c->released, (uint32_t)seen);
    }
}

/* How a run of a cross transaction ended. */
enum cross_end {
    CROSS_DONE,
    CROSS_WAITS,   /* parked */
    CROSS_STRAYED, /* its next item needs all shards */
    CROSS_LATER,   /* an item has published a transaction that is to be run before the next */
};

static void find_shards(struct core *c, const struct bundle *b, struct shard **shards)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        shards[i] = core_mask_has(&b->reach, i) ? &server->cores[i]->shard : NULL;
    core_agree_on_times(c, shards);
}

/* Runs the next item. */
static enum cross_end run_cross_item(struct core *c, struct bundle *b, struct shard *const *shards)
{
    struct bundle_part *part = &b->parts[0];
    const struct bundle_item *item = &part->items[part->done];
    struct call call;
    start_call(b, &call, &part->out);
    execute_start_clock(c);
    execute_prepare(c, &call, NULL, item->command, item->argv, item->argc);
    set_client(b, item, &call);
    call.shards = shards;
    size_t before = part->out.size;
    if (!refuse_late(c, b, item, 0, &call))
        execute_whole(c, &call);
    if (call.strayed)
        return CROSS_STRAYED;
    if (call.later) {
        *call.later = b;
        return CROSS_WAITS;
    }
    part->sizes[part->done] = part->out.size - before;
    if (call.wait.asked) {
        blocked_park(c, b, &call);
        return CROSS_WAITS;
    }
    part->done++;
    return CROSS_DONE;
}

void bundle_answer(struct core *c, struct bundle *b, void (*write)(struct reply *r, void *context),
                   void *context)
{
    struct bundle_part *part = &b->parts[0];
    struct reply reply = {.out = &part->out, .protocol = b->protocol};
    size_t before = part->out.size;
    write(&reply, context);
    part->sizes[part->done++] = part->out.size - before;
    bundle_send_home(c, b);
}

/* A parked command, once more. */
static enum cross_end run_cross_again(struct core *c, struct bundle *b,
                                      struct shard *const *shards)
{
    struct call call;
    bundle_start_repeat(c, b, &call);
    call.shards = shards;
    if (!bundle_refuse_repeat(c, b, &call))
        execute_whole(c, &call);
    b->parts[0].sizes[0] = b->parts[0].out.size;
    return blocked_settle_cross(c, b, &call, shards) ? CROSS_DONE : CROSS_WAITS;
}

static enum cross_end run_cross(struct core *c, struct bundle *b)
{
    struct shard *shards[SHARD_COUNT_MAX];
    find_shards(c, b, shards);
    if (b->stand) {
        b->stand(c, shards, b->context);
        effects_look(c, NULL, shards);
        return CROSS_DONE;
    }
    if (b->blocked) {
        enum cross_end end = run_cross_again(c, b, shards);
        effects_look(c, NULL, shards);
        note_must(c, b, &b->parts[0], &b->parts[0].items[0]);
        return end;
    }
    struct bundle_part *part = &b->parts[0];
    enum cross_end end = CROSS_DONE;
    while (end == CROSS_DONE && part->done < part->item_count) {
        const struct bundle_item *item = &part->items[part->done];
        end = run_cross_item(c, b, shards);
        effects_look(c, NULL, shards);
        note_must(c, b, part, item);
        if (c->repeat_published && end == CROSS_DONE && part->done < part->item_count)
            end = CROSS_LATER;
    }
    return end;
}

static void publish_again(struct core *c, struct bundle *b)
{
    atomic_store_explicit(&b->pending, core_mask_count(&b->reach), memory_order_relaxed);
    bundle_dispatch(c, b);
}

void bundle_run_with_all(struct core *c, struct bundle *b)
{
    assert(b->part_count == 1 && b->parts[0].done < b->item_count);
    b->kind = BUNDLE_CROSS;
    b->borrowable = false;
    for (uint32_t i = 0; i < server->core_count; i++)
        core_mask_add(&b->reach, i);
    publish_again(c, b);
}

/* The home core is to run it: waits until the other participants have arrived. */
static void await_others(struct core *c, struct bundle *b)
{
    for (uint32_t looks = 0;; looks++) {
        uint32_t seen = atomic_load_explicit(&c->arrivals, memory_order_acquire);
        /* Pairs with the subtraction of those who arrive. */
        if (atomic_load_explicit(&b->pending, memory_order_acquire) == 1)
            return;
        if (looks < SPIN_LOOKS && c->spins)
            ck_pr_stall();
        else if (!serve_wait(c))
            wait_on(&c->arrivals, seen);
    }
}

/* Says that one more has arrived, without a look at the bundle: it may be gone by now. */
static void tell_home(uint32_t home)
{
    struct core *c = server->cores[home];
    atomic_fetch_add_explicit(&c->arrivals, 1, memory_order_release);
    syscall(SYS_futex, &c->arrivals, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* True where this core is to run the transaction: all others stand still. */
static bool arrive(struct core *c, struct bundle *b)
{
    bool at_home = b->at_home;
    uint32_t home = b->home;
    if (at_home && home == c->index) {
        await_others(c, b);
        return true;
    }
    bool last = atomic_fetch_sub_explicit(&b->pending, 1, memory_order_acq_rel) == 1;
    if (at_home)
        tell_home(home);
    return last;
}

/* All its shards stand still. */
static void run_to_end(struct core *c, struct bundle *b)
{
    enum cross_end end = run_cross(c, b);
    effects_settle(c);
    if (end == CROSS_STRAYED)
        bundle_run_with_all(c, b);
    else if (end == CROSS_LATER)
        publish_again(c, b);
    else if (end == CROSS_DONE)
        bundle_send_home(c, b);
}

/* While the shards of `held` stand still for this core: acts on a further entry for those that it
 * names. False where that cannot be, and nothing was done. What the server does by itself, and what
 * only one core may run, is left to the usual way. */
static bool act_for_held(struct core *c, const struct core_mask *held, struct bundle *b,
                         const struct core_mask *named, uint64_t ticket)
{
    struct core_mask both = *named;
    core_mask_intersect(&both, held);
    if (core_mask_empty(&both))
        return true;
    if (b->kind == BUNDLE_SPLIT && b->borrowable) {
        for (uint32_t i = 0; i < server->core_count; i++)
            if (core_mask_has(&both, i))
                bundle_act(c, &server->cores[i]->shard, b, ticket);
        return true;
    }
    if (b->kind != BUNDLE_CROSS || b->stand || b->blocked || !core_mask_equal(named, held) ||
        (b->at_home && b->home != c->index))
        return false;
    if (b->message.must > c->journal.must)
        c->journal.must = b->message.must;
    journal_act(c, ticket);
    c->acting = b;
    serve_stand_back(c, held);
    run_to_end(c, b);
    return true;
}

/* Before it lets the others go on, who has run a transaction carries them on along the log, as long
 * as what comes is theirs alone: a stop costs more than most transactions, and where many are
 * published, they share it. Each would have to pass these entries next, so nobody waits for more
 * than it would. */
static void carry_on(struct core *c, const struct core_mask *held, uint64_t ticket)
{
    struct bundle *acting = c->acting;
    uint64_t last = ticket;
    struct core_mask named;
    struct bundle *b;
    while (last - ticket < CARRY_MAX && !c->repeat_published &&
           (b = order_peek(server->order, last + 1, &named)) != NULL &&
           act_for_held(c, held, b, &named, last + 1)) {
        last++;
        for (uint32_t i = 0; i < server->core_count; i++)
            if (core_mask_has(held, i))
                order_carry(server->order, i, last);
    }
    c->acting = acting;
}

static void act_cross(struct core *c, struct bundle *b, uint64_t ticket)
{
    struct core_mask reach = b->reach;
    if (!arrive(c, b)) {
        stand_still(c, ticket);
        return;
    }
    serve_stand_back(c, &reach);
    if (broken(BROKEN_EARLY_RELEASE))
        release_others(c, &reach, ticket);
    run_to_end(c, b);
    if (broken(BROKEN_EARLY_RELEASE))
        return;
    carry_on(c, &reach, ticket);
    release_others(c, &reach, ticket);
}

/* All shards have done their parts of what is among these items. */
static void settle_flush(const struct bundle_part *part)
{
    for (uint32_t i = 0; i < part->item_count; i++)
        if (execute_flushes_all(part->items[i].command)) {
            save_flushed();
            return;
        }
}

static void act_split(struct core *c, struct shard *s, struct bundle *b)
{
    if (b->act) {
        b->act(c, s, b);
    } else {
        run_part(c, s, b);
        journal_start_rounds(s); /* none are counted but within a part */
        effects_settle(c);
    }
    if (atomic_fetch_sub_explicit(&b->pending, 1, memory_order_acq_rel) != 1)
        return;
    if (__builtin_expect(b->part_count && b->parts[0].flushed, 0)) {
        tracking_post_all(c);
        settle_flush(&b->parts[0]);
    }
    bundle_send_home(c, b);
}

void bundle_act(struct core *c, struct shard *s, struct bundle *b, uint64_t ticket)
{
    assert(core_mask_has(&b->reach, s->index));
    if (b->message.must > c->journal.must)
        c->journal.must = b->message.must;
    journal_act(c, ticket);
    struct bundle *outer = c->acting;
    c->acting = b;
    if (b->kind == BUNDLE_CROSS)
        act_cross(c, b, ticket);
    else
        act_split(c, s, b);
    c->acting = outer;
    journal_act(c, JOURNAL_NO_TICKET);
}
