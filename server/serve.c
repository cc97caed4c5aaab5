/* Scripts that run for long: see serve.h. */
#include "server/serve.h"

#include <assert.h>
#include <time.h>

#include "server/accept.h"
#include "server/bundle.h"
#include "server/effects.h"
#include "server/execute.h"
#include "server/inner.h"
#include "server/owner.h"
#include "server/pubsub.h"
#include "server/route.h"
#include "server/server.h"
#include "server/session.h"
#include "server/session_tls.h"
#include "server/stand_in.h"
#include "server/transaction.h"

/* How long a core waits at a time for its shard, which a script has borrowed. */
#define SERVE_WAIT_US 5000
/* How long a core that stands still looks away between two looks at what has arrived. */
#define SERVE_PAUSE_NS 1000000

const char *serve_refusal(enum held_kind kind)
{
    return kind == HELD_BY_FUNCTION ? "BUSY Redis is busy running a script. You can only call "
                                   "FUNCTION KILL or SHUTDOWN NOSAVE."
                                 : "BUSY Redis is busy running a script. You can only call "
                                   "SCRIPT KILL or SHUTDOWN NOSAVE.";
}

/* The kind of any script that runs for long. */
enum held_kind serve_busy(void)
{
    enum held_kind kind = HELD_NOT;
    for (uint32_t i = 0; i < server->core_count && kind == HELD_NOT; i++)
        kind = serve_held(server->cores[i]);
    return kind;
}

/* The kind of the script that this core waits for. */
static enum held_kind held_for(const struct core *c)
{
    enum held_kind kind = serve_held(c);
    return kind != HELD_NOT ? kind : serve_busy();
}

enum held_kind serve_held_of(const struct core_mask *mask)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(mask, i) && serve_held(server->cores[i]))
            return serve_held(server->cores[i]);
    return HELD_NOT;
}

/* --- Announcing --- */

/* The core that runs the script is held by it though it may have borrowed all its shards. */
static bool is_held(const struct inner *in, uint32_t index)
{
    return index == in->core->index || inner_at_hand(in, index);
}

static void announce(struct inner *in, enum held_kind kind)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (is_held(in, i))
            atomic_store_explicit(&server->cores[i]->held_by, kind, memory_order_release);
}

void serve_announce(struct inner *in, enum held_kind kind)
{
    assert(!in->announced && kind != HELD_NOT);
    in->announced = true;
    atomic_fetch_add(&server->held_count, 1); /* before: see serve_stand_back */
    announce(in, kind);
}

/* Waits until a core that serves has ended. It looks once more under its mutex before it begins. */
static void await_end(const struct core *c, uint32_t index)
{
    if (index == c->index)
        return;
    pthread_mutex_lock(&server->cores[index]->serve_mutex);
    pthread_mutex_unlock(&server->cores[index]->serve_mutex);
}

void serve_end(struct inner *in)
{
    in->announced = false;
    announce(in, HELD_NOT);
    for (uint32_t i = 0; i < server->core_count; i++)
        await_end(in->core, i);
    atomic_fetch_sub(&server->held_count, 1);
}

/* Who serves though its own shard is not held has seen a script held, and so has been counted, and
 * then `begun` false: either it sees that set, or we see the count, which outlasts its serving. All
 * four are sequentially consistent. */
void serve_stand_back(struct core *c, const struct core_mask *reach)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (i != c->index && core_mask_has(reach, i))
            atomic_store(&server->cores[i]->begun, true);
    if (__builtin_expect(atomic_load(&server->held_count) == 0, 1))
        return;
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(reach, i))
            await_end(c, i);
}

/* --- Requests --- */

void serve_refuse(struct core *c, struct request *r, enum held_kind kind)
{
    session_refuse(c, r, serve_refusal(kind));
}

/* Sends a request for one key to the core whose shard that is, where that core is not busy. */
static bool send_on(struct core *c, struct request *r)
{
    if (r->command->route != ROUTE_KEY || command_may_block(r->command, r->argv, r->argc))
        return false;
    r->shard = route_single_shard(c, r);
    if (r->shard == c->index || serve_held(server->cores[r->shard]))
        return false;
    struct core_mask mask = {0};
    core_mask_add(&mask, r->shard);
    struct bundle *b = bundle_create(c, r->session, BUNDLE_HOP, &mask, r, 1,
                                     (struct slice){NULL, 0}, false);
    c->stats.hops_sent++;
    core_post(c, r->shard, &b->message);
    return true;
}

/* MULTI, or a command behind it. False where it is to be answered like any other. */
static bool answer_multi(struct core *c, struct request *r)
{
    struct session *s = r->session;
    const struct command *row = r->command;
    if (!session_admits(s, row, r->argv, r->argc) || (row->flags & CMD_ALLOW_BUSY))
        return transaction_take(c, s, r, 0) == TRANSACTION_TAKEN;
    transaction_spoil(s);
    serve_refuse(c, r, held_for(c));
    return true;
}

/* `others`: it may go to the core whose shard it needs; nothing of its session stands behind it. */
static void answer(struct core *c, struct request *r, bool others)
{
    const struct command *row = r->command;
    const struct transaction *t = r->session->transaction;
    if (transaction_concerns(t, row) && answer_multi(c, r))
        return;
    bool may_run = row && (row->flags & CMD_ALLOW_BUSY) && (t || row->route == ROUTE_SESSION);
    if (may_run || !session_admits(r->session, row, r->argv, r->argc))
        session_answer_alone(c, r);
    else if (!others || !send_on(c, r))
        serve_refuse(c, r, held_for(c));
}

void serve_feed(struct core *c, struct session *s)
{
    struct request r;
    while (session_next_request(c, s, &r))
        answer(c, &r, true);
}

static void feed_resumed(struct core *c)
{
    struct session *s = c->resume;
    c->resume = NULL;
    while (s) {
        struct session *next = s->next_resume;
        s->in_resume = false;
        serve_feed(c, s);
        session_touch(c, s); /* replies may have waited for more */
        s = next;
    }
}

/* --- What was gathered --- */

/* Those of the session whose reply is being written stay, to be run behind it. */
static void answer_requests(struct core *c, const struct session *running)
{
    uint32_t kept = c->request_next;
    for (uint32_t i = kept; i < c->request_count; i++) {
        struct request *r = &c->requests[i];
        struct session *s = r->session;
        if (s == running) {
            r->hashed = false;
            c->requests[kept++] = *r;
            continue;
        }
        s->queued--;
        if (!s->closing && !s->close_after_reply && !s->close_asked)
            answer(c, r, false);
    }
    c->request_count = kept;
}

/* --- Messages --- */

/* A hop that has arrived and not begun. */
static void refuse_hop(struct core *c, struct bundle *b)
{
    struct bundle_part *part = &b->parts[0];
    struct reply reply = {.out = &part->out, .protocol = b->protocol};
    const char *text = serve_refusal(held_for(c));
    for (; part->done < part->item_count; part->done++) {
        size_t before = part->out.size;
        if (part->items[part->done].command->run == transaction_run_exec)
            transaction_refuse(b->session, text, &reply);
        else
            reply_error(&reply, "%s", text);
        part->sizes[part->done] = part->out.size - before;
        execute_count_error(c, slice_of(text));
        c->command_stats[part->items[part->done].command->id].rejected++;
    }
    bundle_send_home(c, b);
}

/* Takes what can be taken without a shard; the rest is kept in the order in which it came. */
static bool take_message(struct core *c, struct core_message *m)
{
    struct bundle *b = (struct bundle *)m;
    if (m->receive == bundle_arrive && b->parts[0].done == 0) {
        refuse_hop(c, b);
        return true;
    }
    if (accept_is_message(m) || (m->receive == bundle_come_home && !b->blocked)) {
        core_receive(c, m);
        return true;
    }
    return false;
}

void serve_take(struct core *c, struct core_message *m)
{
    if (take_message(c, m))
        return;
    m->link.next = NULL;
    if (c->kept_last)
        c->kept_last->link.next = &m->link;
    else
        c->kept_first = m;
    c->kept_last = m;
}

static void refuse_hops(struct core *c)
{
    uint32_t kept = c->hop_next;
    for (uint32_t i = kept; i < c->hop_count; i++) {
        if (c->hops[i]->parts[0].done == 0)
            refuse_hop(c, c->hops[i]);
        else
            c->hops[kept++] = c->hops[i];
    }
    c->hop_count = kept;
}

static void receive(struct core *c)
{
    struct core_message *m = (struct core_message *)mesh_receive(server->mesh, c->index);
    while (m) {
        struct core_message *next = (struct core_message *)m->link.next;
        serve_take(c, m);
        m = next;
    }
}

void serve_kept(struct core *c)
{
    struct core_message *m = c->kept_first;
    c->kept_first = c->kept_last = NULL;
    while (m) {
        struct core_message *next = (struct core_message *)m->link.next;
        core_receive(c, m);
        m = next;
    }
}

/* --- Serving --- */

/* Whose replies may go out now: nothing of theirs is being written or is to run on this core, and
 * closing them takes no shard. */
static bool may_flush(const struct session *s, const struct session *running)
{
    return s != running && !s->queued && !s->blocked;
}

static void flush_answered(struct core *c, const struct session *running)
{
    if (!effects_flush(c))
        return;
    struct session *s = c->touched_sessions, *kept = NULL;
    c->touched_sessions = NULL;
    while (s) {
        struct session *next = s->next_touched;
        if (may_flush(s, running)) {
            s->in_touched = false;
            session_flush(c, s);
        } else {
            s->next_touched = kept;
            kept = s;
        }
        s = next;
    }
    while (kept) {
        struct session *next = kept->next_touched;
        kept->next_touched = c->touched_sessions;
        c->touched_sessions = kept;
        kept = next;
    }
}

static void on_handed(void *context, uint32_t to)
{
    core_wake(context, to);
}

enum serve_reason {
    SERVE_RUNS,       /* it runs the script, on whichever shards */
    SERVE_STANDS,     /* it waits within the order: nobody has our shard before that has begun */
    SERVE_LOCKED_OUT, /* it has woken, and its shard is borrowed */
};

/* False where the reason is gone by now. */
static bool begin(struct core *c, enum serve_reason why)
{
    pthread_mutex_lock(&c->serve_mutex);
    bool waits = why == SERVE_STANDS && serve_busy() != HELD_NOT && !atomic_load(&c->begun);
    c->serving = why == SERVE_RUNS || waits || serve_held(c) != HELD_NOT;
    if (!c->serving)
        pthread_mutex_unlock(&c->serve_mutex);
    return c->serving;
}

static void answer_all(struct core *c, const struct session *running)
{
    session_tls_take(c);
    receive(c);
    feed_resumed(c);
    flush_answered(c, running);
    mesh_flush(server->mesh, c->index, on_handed, c);
}

static void end(struct core *c)
{
    c->serving = false;
    pthread_mutex_unlock(&c->serve_mutex);
}

/* What has been received before is still to run: its bytes are held. */
static void serve(struct core *c, int64_t wait_us, const struct session *running,
                  enum serve_reason why)
{
    if (!begin(c, why))
        return;
    struct arena_mark mark = arena_mark(&c->arena);
    ring_hold(c->ring);
    answer_requests(c, running);
    refuse_hops(c);
    stand_in_post_outgoing(c);
    ring_poll(c->ring, wait_us);
    answer_all(c, running);
    ring_let_go(c->ring);
    arena_cut(&c->arena, mark);
    end(c);
}

/* What the running session sends now is behind the script: it waits, as for any that is queued. */
void serve_meanwhile(struct core *c, struct session *running)
{
    if (running) {
        pubsub_settle(c, running, true); /* nothing may come between the parts of its reply */
        running->queued++;
    }
    serve(c, 0, running, SERVE_RUNS);
    if (running)
        running->queued--;
}

bool serve_wait(struct core *c)
{
    if (atomic_load_explicit(&server->held_count, memory_order_relaxed) == 0)
        return false;
    bool held = serve_held(c) != HELD_NOT;
    serve(c, 0, NULL, SERVE_STANDS);
    /* Without the mutex, which the script may want meanwhile. */
    if (held)
        nanosleep(&(struct timespec){.tv_nsec = SERVE_PAUSE_NS}, NULL);
    return held;
}

bool serve_lock_out(struct core *c)
{
    c->locked_out = begin(c, SERVE_LOCKED_OUT);
    return c->locked_out;
}

void serve_locked_out(struct core *c)
{
    answer_all(c, NULL);
    end(c);
    while (!owner_claim_within(&c->owner, SERVE_WAIT_US))
        serve(c, 0, NULL, SERVE_LOCKED_OUT);
    c->locked_out = false;
    c->asleep = false;
}
