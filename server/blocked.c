/* Commands that block: see blocked.h. */
#include "server/blocked.h"

#include <assert.h>
#include <ck_pr.h>
#include <sched.h>

#include "proto/mem.h"
#include "server/blocked_timers.h"
#include "server/effects.h"
#include "server/execute.h"
#include "server/persist/journal.h"
#include "server/server.h"
#include "server/session.h"
#include "server/tracking.h"
#include "shard/db.h"

/* Looks at a waiter that another shard has claimed, before the CPU is left to its thread. */
#define CLAIM_LOOKS 200

/* --- Claims --- */

static bool move_state(struct blocked *w, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong_explicit(&w->state, &from, to, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* For the home core: true where it has ended the wait. What is asked back keeps the first `how`. */
static bool take_back(struct blocked *w, enum blocked_end how, bool recall)
{
    for (;;) {
        if (move_state(w, BLOCKED_WAITING, BLOCKED_ENDED))
            return true;
        if (!recall)
            return false;
        if (move_state(w, BLOCKED_CLAIMED, BLOCKED_RECALLED)) {
            w->how = how;
            return false;
        }
        if (atomic_load_explicit(&w->state, memory_order_acquire) > BLOCKED_CLAIMED)
            return false;
    }
}

/* --- Lines --- */

static uint32_t key_shard(const struct blocked *w, uint32_t i)
{
    return w->links[i].shard;
}

static void join_lines(struct bundle *b, const struct call *call)
{
    struct blocked *w = b->blocked;
    const struct bundle_item *item = &b->parts[0].items[0];
    uint32_t first = call->wait.first_key;
    for (uint32_t i = 0; i < call->wait.key_count; i++) {
        struct slice key = item->argv[first + i];
        uint32_t index = keyspace_shard(&server->keyspace, key);
        struct shard *s = call->shard ? call->shard : call->shards[index];
        assert(s && s->index == index);
        struct blocked_link *link = &w->links[w->link_count];
        if (!wait_join(s, b->db, key, &link->link, b, w->on_removal))
            continue; /* the same key once more */
        link->shard = index;
        core_mask_add(&w->linked, index);
        w->link_count++;
    }
}

/* Takes it out of all its lines on a shard. */
static void leave_lines(struct blocked *w, struct shard *s)
{
    for (uint32_t i = 0; i < w->link_count; i++)
        if (key_shard(w, i) == s->index && w->links[i].link.line)
            wait_leave(s, &w->links[i].link);
    w->linked.words[s->index / 64] &= ~(UINT64_C(1) << (s->index % 64));
}

/* --- Parking --- */

/* The arguments that a repeated run shall find changed. Their memory is kept with the bundle. */
static void change_args(struct bundle *b, struct call *call)
{
    struct slice *argv = (struct slice *)b->parts[0].items[0].argv;
    for (struct call_wait_arg *a = call->wait.args; a; a = a->next)
        argv[a->arg] = (struct slice){a->text, a->size};
    b->blocked->args = call->wait.args;
    call->wait.args = NULL;
}

static void free_args(struct call_wait_arg *a)
{
    while (a) {
        struct call_wait_arg *next = a->next;
        mem_free(a);
        a = next;
    }
}

/* At home: the session learns that it waits. By now it may be over already. */
static void note_parked(struct core *c, struct bundle *b)
{
    struct blocked *w = b->blocked;
    struct session *s = b->session;
    w->noted = true;
    if (!s) {
        blocked_dispose(c, b);
        return;
    }
    s->blocked = b;
    c->blocked_count++;
    session_waits(c, s);
    if (w->timeout_ms) {
        w->deadline_us = c->now_us + (w->deadline_ms - c->wall_ms) * 1000;
        blocked_timers_add(c, w);
    }
    if (w->for_sync)
        journal_await_sync(c, w);
    if (s->close_asked || s->closing || s->closed || s->peer_gone)
        session_touch(c, s);
}

static void receive_parked(struct core_message *m)
{
    struct blocked *w = (struct blocked *)((char *)m - offsetof(struct blocked, parked));
    note_parked(core_self(), w->bundle);
}

/* Longer timeouts than this are for ever, and would overflow. */
#define TIMEOUT_MS_MAX (INT64_MAX / 4000)

void blocked_park(struct core *c, struct bundle *b, struct call *call)
{
    const struct call_wait *wait = &call->wait;
    assert(!b->blocked && b->item_count == 1 && b->part_count == 1);
    size_t links_size = wait->key_count * sizeof(struct blocked_link);
    struct blocked *w = mem_alloc_zeroed(sizeof(*w) + links_size);
    w->bundle = b;
    w->type = wait->type;
    w->on_removal = wait->on_removal;
    w->reply = wait->reply;
    w->for_sync = wait->for_sync;
    w->commit = wait->commit;
    w->timeout_ms = wait->timeout_ms < TIMEOUT_MS_MAX ? wait->timeout_ms : TIMEOUT_MS_MAX;
    w->deadline_ms = call->now_ms + w->timeout_ms;
    w->parked.receive = receive_parked;
    b->blocked = w;
    b->message.receive = bundle_come_home;
    change_args(b, call);
    join_lines(b, call);
    if (b->home == c->index)
        note_parked(c, b);
    else
        core_post(c, b->home, &w->parked);
}

/* --- Serving --- */

/* The shards at hand. */
struct reach {
    struct shard *one;
    struct shard *const *many;
};

static struct shard *reach_shard(const struct reach *r, uint32_t index)
{
    if (r->one)
        return r->one->index == index ? r->one : NULL;
    return r->many[index];
}

static bool reaches_all(const struct reach *r, const struct core_mask *mask)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(mask, i) && !reach_shard(r, i))
            return false;
    return true;
}

static void leave_lines_at_hand(struct blocked *w, const struct reach *r)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(&w->linked, i) && reach_shard(r, i))
            leave_lines(w, reach_shard(r, i));
}

/* Its command has been run again: it waits on, or has ended. True where it goes home. */
static bool settle(struct bundle *b, struct call *call, const struct reach *r)
{
    struct blocked *w = b->blocked;
    if (call->wait.asked) {
        free_args(call->wait.args);
        if (move_state(w, BLOCKED_CLAIMED, BLOCKED_WAITING))
            return false;
        w->recalled = true;
    }
    leave_lines_at_hand(w, r);
    atomic_store_explicit(&w->state, BLOCKED_ENDED, memory_order_release);
    return true;
}

static void run_again(struct core *c, struct bundle *b, const struct reach *r)
{
    struct call call;
    bundle_start_repeat(c, b, &call);
    call.shard = r->one;
    call.shards = r->many;
    if (!bundle_refuse_repeat(c, b, &call))
        execute_whole(c, &call);
    b->parts[0].sizes[0] = b->parts[0].out.size;
    if (server->keyspace.options.journal) {
        journal_precede(c, r->one, r->many);
        b->parts[0].must = c->journal.looked;
    }
    if (settle(b, &call, r))
        bundle_send_home(c, b);
}

/* The line keeps the place for it until the transaction has run. */
static void publish_repeat(struct core *c, struct bundle *b, struct wait_link *link,
                           const struct reach *r)
{
    assert(b->kind == BUNDLE_CROSS);
    effects_precede(c, r->one, r->many);
    struct blocked_link *own = (struct blocked_link *)link;
    own->reserved = true;
    link->line->reserved++;
    atomic_store_explicit(&b->pending, core_mask_count(&b->mask), memory_order_relaxed);
    bundle_dispatch(c, b);
    c->repeat_published = true;
}

/* Where another shard has claimed it just now, the outcome is awaited: that run does not see this
 * shard's key, and if it finds nothing nobody else would come back to it. Such a run is short and
 * waits for nobody. (One that is published has a place in one line only, and that is reserved.) */
static bool claim(struct blocked *w)
{
    for (uint32_t looks = 0; !move_state(w, BLOCKED_WAITING, BLOCKED_CLAIMED); looks++) {
        uint32_t state = atomic_load_explicit(&w->state, memory_order_acquire);
        if (state == BLOCKED_RECALLED || state == BLOCKED_ENDED)
            return false;
        if (looks < CLAIM_LOOKS)
            ck_pr_stall();
        else
            sched_yield();
    }
    return true;
}

static void serve_one(struct core *c, struct wait_link *link, const struct reach *r)
{
    struct bundle *b = link->waiter;
    if (!claim(b->blocked))
        return;
    bool any_key = b->parts[0].items[0].command->flags & CMD_ANY_KEY;
    if (any_key || reaches_all(r, &b->mask))
        run_again(c, b, r);
    else
        publish_repeat(c, b, link, r);
}

/* Whether a key as it is now is of use to a waiter. `type` -1: there is none. */
static bool concerns(const struct bundle *b, int type)
{
    const struct blocked *w = b->blocked;
    return type == w->type || (w->on_removal && type != w->type);
}

static void serve_line(struct core *c, struct shard *s, struct wait_line *line,
                       const struct reach *r)
{
    struct wait_link *link = line->first, *next;
    /* Behind a reserved place nobody is served: the line goes on when that has run. */
    for (uint32_t n = line->count; n > 0 && link && !line->reserved; n--, link = next) {
        next = link->next;
        int type = db_type(s, line->db, wait_key(line), c->wall_ms);
        if (type < 0 && line->removal_count == 0)
            return;
        if (concerns(link->waiter, type))
            serve_one(c, link, r);
    }
}

static bool serve_shard(struct core *c, struct shard *s, const struct reach *r)
{
    struct wait_line *line = s ? wait_take_ready(s) : NULL;
    if (!line)
        return false;
    serve_line(c, s, line, r);
    wait_release(s, line);
    return true;
}

void blocked_serve(struct core *c, struct shard *shard, struct shard *const *shards)
{
    const struct reach r = {shard, shards};
    if (shard) {
        while (serve_shard(c, shard, &r))
            continue;
        return;
    }
    for (bool any = true; any;) {
        any = false;
        for (uint32_t i = 0; i < server->core_count; i++)
            any |= serve_shard(c, shards[i], &r);
    }
}

bool blocked_settle_cross(struct core *c, struct bundle *b, struct call *call,
                          struct shard *const *shards)
{
    struct blocked *w = b->blocked;
    const struct reach r = {NULL, shards};
    for (uint32_t i = 0; i < w->link_count; i++) {
        struct blocked_link *link = &w->links[i];
        if (!link->reserved)
            continue;
        link->reserved = false;
        link->link.line->reserved--;
        /* Who came later has waited for this one. */
        wait_signal(shards[link->shard], link->link.line->db, wait_key(link->link.line));
    }
    return settle(b, call, &r);
}

/* --- Ending, at home --- */

static void answer_end(struct core *c, struct session *s, const struct bundle *b,
                       enum blocked_end how)
{
    size_t mark;
    struct reply r = {.out = session_reply_begin(c, s, &mark), .protocol = s->protocol};
    if (how == BLOCKED_ERROR) {
        reply_error(&r, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
        execute_count_error(c, SLICE("UNBLOCKED"));
    } else if (how == BLOCKED_AOF_OFF) {
        reply_error(&r, "%s", JOURNAL_IS_OFF_TEXT);
        execute_count_error(c, SLICE("ERR"));
    } else if (b->blocked->reply == WAIT_NULL) {
        reply_null(&r);
    } else if (b->blocked->reply == WAIT_REPLICAS) {
        reply_integer(&r, 0);
    } else if (b->blocked->reply == WAIT_SYNC) {
        journal_reply_synced(&r, b->blocked->commit);
    } else {
        reply_null_array(&r);
    }
    session_reply_end(s, mark);
    execute_count_waited(c, b, how != BLOCKED_TIMEOUT);
}

/* The session waits no more. */
static void release_session(struct core *c, struct bundle *b)
{
    struct session *s = b->session;
    s->last_active_ms = c->wall_ms; /* it was not idle meanwhile */
    if (s->blocked) {
        s->blocked = NULL;
        c->blocked_count--;
        blocked_timers_remove(c, b->blocked);
        journal_await_sync_end(b->blocked);
    }
    b->session = NULL;
}

bool blocked_cancel(struct core *c, struct session *s, enum blocked_end how, bool by_client)
{
    struct bundle *b = s->blocked;
    struct blocked *w = b->blocked;
    assert(b->home == c->index && s->bundle == b);
    if (!take_back(w, how, !by_client))
        return false;
    release_session(c, b);
    s->bundle = NULL;
    tracking_drop_held(s);
    if (how != BLOCKED_GONE)
        answer_end(c, s, b, how);
    session_touch(c, s);
    blocked_dispose(c, b);
    return true;
}

bool blocked_answer_recalled(struct core *c, struct session *s, struct bundle *b)
{
    const struct blocked *w = b->blocked;
    if (!w->recalled)
        return false;
    if (w->how != BLOCKED_GONE)
        answer_end(c, s, b, w->how);
    return true;
}

static void destroy_where_free(struct core *c, struct bundle *b)
{
    struct blocked *w = b->blocked;
    if (!w->noted || !core_mask_empty(&w->linked))
        return;
    free_args(w->args);
    mem_free(w);
    b->blocked = NULL;
    bundle_destroy(b);
    assert(c->dispatched > 0);
    c->dispatched--;
}

static struct blocked *recalled_from(struct core_message *m)
{
    return (struct blocked *)((char *)m - offsetof(struct blocked, recall));
}

static void receive_recalled(struct core_message *m)
{
    struct blocked *w = recalled_from(m);
    w->recalling = false;
    blocked_dispose(core_self(), w->bundle);
}

/* At a shard where it still stands in lines. */
static void receive_recall(struct core_message *m)
{
    struct core *c = core_self();
    struct blocked *w = recalled_from(m);
    leave_lines(w, &c->shard);
    m->receive = receive_recalled;
    core_post(c, w->bundle->home, m);
}

/* The shards are asked one after the other: few commands wait on several. */
void blocked_dispose(struct core *c, struct bundle *b)
{
    struct blocked *w = b->blocked;
    if (b->session)
        release_session(c, b);
    if (w->recalling)
        return;
    if (core_mask_has(&w->linked, c->index))
        leave_lines(w, &c->shard);
    if (!core_mask_empty(&w->linked)) {
        w->recalling = true;
        w->recall.receive = receive_recall;
        core_post(c, core_mask_first(&w->linked), &w->recall);
        return;
    }
    destroy_where_free(c, b);
}

void blocked_run_timers(struct core *c)
{
    for (struct blocked *w; (w = blocked_timers_due(c, c->now_us));) {
        blocked_timers_remove(c, w);
        blocked_cancel(c, w->bundle->session, BLOCKED_TIMEOUT, false);
    }
}

int64_t blocked_next_us(const struct core *c)
{
    return blocked_timers_next(c);
}
