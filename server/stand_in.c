/* Standing in for cores that sleep: see stand_in.h. */
#include "server/stand_in.h"

#include <assert.h>

#include "server/bundle.h"
#include "server/effects.h"
#include "server/execute.h"
#include "server/owner.h"
#include "server/pubsub.h"
#include "server/server.h"
#include "server/session.h"
#include "server/transaction.h"
#include "shard/journal.h"

/* Requests hashed and prefetched ahead of the one that runs. */
#define PREFETCH_DEPTH 16
/* So many requests cost about what waking a thread does. */
#define STAND_IN_MAX 64
/* Sending to so many costs less than waking does. */
#define DELIVER_MAX 4
/* Rounds of walking several shards' logs to one place. */
#define WALK_TRIES 4
/* When a core that has nothing to do is to look after keys that it was left with. */
#define HASTEN_US 100000

/* Walks the log for a borrowed shard. Stops before what only the owner may do: what stands still,
 * and what is long enough to be worth waking it. */
static bool walk_for(struct core *c, struct shard *s)
{
    uint64_t ticket;
    struct bundle *b;
    journal_note_walk(c);
    while ((b = order_next(server->order, s->index, &ticket)) != NULL) {
        if (!b->borrowable) {
            order_stay(server->order, s->index);
            return false;
        }
        bundle_act(c, s, b, ticket);
    }
    return !order_has_entries(server->order, s->index);
}

/* The borrowed shard with its log walked to the end, or NULL. */
static struct shard *borrow(struct core *c, uint32_t sleeper)
{
    struct core *other = server->cores[sleeper];
    if (!owner_borrow(&other->owner))
        return NULL;
    struct shard *s = &other->shard;
    core_agree_on_time(c, s);
    if (walk_for(c, s))
        return s;
    owner_return(&other->owner);
    return NULL;
}

/* Gives the shard back. A core with nothing that expires comes round once a second: the first keys
 * of `db` that do make it come sooner, once, since from then on it does so by itself. */
static void give_back(struct core *c, struct core *other, uint32_t db)
{
    const struct db *d = &other->shard.dbs[db];
    bool sooner = other->next_cron_us > c->now_us + HASTEN_US &&
                  (d->expiring_count || d->field_expiring_count);
    if (sooner)
        other->next_cron_us = c->now_us + HASTEN_US;
    owner_return(&other->owner);
    if (sooner)
        core_wake(c, other->index);
}

bool stand_in_walk(struct core *c, uint32_t sleeper)
{
    if (!borrow(c, sleeper))
        return false;
    c->stats.borrows++;
    owner_return(&server->cores[sleeper]->owner);
    return true;
}

/* Messages to its sessions. Invalidations that are on their way to it go before them. */
static bool deliver_for(struct core *other)
{
    if (other->touched_sessions || mesh_has_messages(server->mesh, other->index) ||
        !pubsub_has_few(other, DELIVER_MAX))
        return false;
    pubsub_deliver(other);
    return session_send_for(other);
}

bool stand_in_deliver(struct core *c, uint32_t sleeper)
{
    struct core *other = server->cores[sleeper];
    if (!owner_borrow(&other->owner))
        return false;
    c->stats.borrows++;
    bool done = deliver_for(other);
    owner_return(&other->owner);
    return done;
}

/* Running requests on several shards held together. */

/* The requests of one connection, and the shards that they need: each by its index, NULL where not
 * held. */
struct held {
    struct shard *shards[SHARD_COUNT_MAX];
    struct core_mask mask;
};

static void return_all(struct core *c, const struct core_mask *mask, uint32_t db)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (i == c->index || !core_mask_has(mask, i))
            continue;
        assert(!journal_has_open(&server->cores[i]->shard));
        give_back(c, server->cores[i], db);
    }
}

/* Borrows every shard of the mask but our own: all of them, or none. */
static bool hold_all(struct core *c, const struct core_mask *mask, uint32_t db, struct held *h)
{
    h->mask = (struct core_mask){0};
    for (uint32_t i = 0; i < server->core_count; i++) {
        h->shards[i] = NULL;
        if (!core_mask_has(mask, i))
            continue;
        struct core *other = server->cores[i];
        if (i != c->index && !owner_borrow(&other->owner)) {
            return_all(c, &h->mask, db);
            return false;
        }
        core_mask_add(&h->mask, i);
        h->shards[i] = &other->shard;
    }
    core_agree_on_times(c, h->shards);
    return true;
}

/* Walks the log for all shards held, to one common place: only then do requests on several of them
 * take effect in the order sent, as far as work of others that lies between could tell. False where
 * something in the log is not for us, or others publish faster than we walk. */
static bool walk_together(struct core *c, const struct held *h)
{
    for (int tries = 0; tries < WALK_TRIES; tries++) {
        uint64_t lowest = UINT64_MAX, highest = 0;
        for (uint32_t i = 0; i < server->core_count; i++) {
            if (!h->shards[i])
                continue;
            if (!walk_for(c, h->shards[i]))
                return false;
            uint64_t cursor = order_cursor(server->order, i);
            lowest = cursor < lowest ? cursor : lowest;
            highest = cursor > highest ? cursor : highest;
        }
        if (lowest == highest)
            return true;
    }
    return false;
}

static struct shard *shard_of(const struct held *h, const struct request *r)
{
    return r->shard == BUNDLE_SHARD_MANY ? NULL : h->shards[r->shard];
}

static void prefetch(const struct held *h, struct request *requests, uint32_t count, uint32_t db)
{
    for (uint32_t i = 0; i < count; i++) {
        struct request *r = &requests[i];
        uint32_t key = command_first_key(r->command, r->argc);
        r->hashed = r->shard != BUNDLE_SHARD_MANY && key != 0;
        if (!r->hashed)
            continue;
        r->hash = keyspace_hash(&server->keyspace, r->argv[key]);
        shard_prefetch_bucket(shard_of(h, r), db, r->hash);
    }
    for (uint32_t i = 0; i < count; i++)
        if (requests[i].hashed)
            shard_prefetch_entry(shard_of(h, &requests[i]), db, requests[i].hash);
}

static bool may_stand_in(const struct request *requests, uint32_t count)
{
    if (count > STAND_IN_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (command_is_for_owner(requests[i].command) ||
            !transaction_may_borrow(&requests[i], STAND_IN_MAX))
            return false;
    return true;
}

uint32_t stand_in_run(struct core *c, struct session *s, struct request *requests, uint32_t count,
                  const struct core_mask *mask)
{
    struct held h;
    if (!may_stand_in(requests, count) || !hold_all(c, mask, s->db, &h))
        return 0;
    bool here = walk_together(c, &h);
    c->repeat_published = false;
    if (here) {
        c->stats.borrows += core_mask_count(mask) > 1 || !core_mask_has(mask, c->index);
        execute_start_clock(c);
    }
    uint32_t i = 0;
    for (; here && i < count && !c->repeat_published && !s->bundle; i++) {
        if (i % PREFETCH_DEPTH == 0)
            prefetch(&h, requests + i,
                     count - i < PREFETCH_DEPTH ? count - i : PREFETCH_DEPTH, s->db);
        session_answer(c, &requests[i], shard_of(&h, &requests[i]), h.shards);
    }
    effects_settle(c);
    return_all(c, &h.mask, s->db);
    return i;
}

/* Hops, once they are to be sent. */

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
    uint32_t db = 0;
    c->stats.borrows++;
    while (b) {
        struct bundle *next = b->next;
        db = b->db;
        bundle_run_hop(c, s, b);
        b = next;
    }
    effects_settle(c);
    assert(!journal_has_open(s));
    give_back(c, server->cores[s->index], db);
}

static bool all_borrowable(const struct bundle *b)
{
    while (b && b->borrowable)
        b = b->next;
    return b == NULL;
}

static void send_to(struct core *c, uint32_t to, bool may_borrow)
{
    struct bundle *b = in_order_sent(c->outgoing[to]);
    c->outgoing[to] = NULL;
    struct shard *s = may_borrow && all_borrowable(b) ? borrow(c, to) : NULL;
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

static void send_all(struct core *c, bool may_borrow)
{
    for (uint32_t w = 0; w < ORDER_MASK_WORDS; w++) {
        while (c->outgoing_mask.words[w]) {
            uint32_t to = w * 64 + (uint32_t)__builtin_ctzll(c->outgoing_mask.words[w]);
            c->outgoing_mask.words[w] &= c->outgoing_mask.words[w] - 1;
            send_to(c, to, may_borrow);
        }
    }
}

void stand_in_send_outgoing(struct core *c)
{
    send_all(c, true);
}

void stand_in_post_outgoing(struct core *c)
{
    send_all(c, false);
}
