/* Routing: see route.h. The prefix taken is the longest that can go as one dispatch: data commands
 * that need other cores go together (one hop, or one ticket); a session or cross command among them
 * ends the prefix, and is taken by itself when those before it are done. */
#include "server/route.h"

#include <assert.h>

#include "proto/mem.h"
#include "server/bundle.h"
#include "server/serve.h"
#include "server/server.h"
#include "server/session.h"
#include "server/stand_in.h"
#include "server/transaction.h"
#include "shard/cmd/scan.h"

/* Scripts of one session that run together: others have their turn behind them. */
#define GROUP_MAX 64

enum route_kind {
    ROUTED_HERE,  /* not on data, or refused: the home core answers */
    ROUTED_DATA,  /* one shard or parts on several */
    ROUTED_CROSS,
};

static void add_all(struct core_mask *mask)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        core_mask_add(mask, i);
}

static void add_key(const struct request *r, uint32_t arg, struct core_mask *mask)
{
    core_mask_add(mask, keyspace_shard(&server->keyspace, r->argv[arg]));
}

/* The shards of a request's keys. False where its keys cannot be told: the body says what is wrong.
 * Keys that are one range may leave a spec without any: PFMERGE's sources. */
static bool mask_of_keys(const struct request *r, struct core_mask *mask)
{
    enum { FEW = 32 };
    struct key_range range;
    if (command_key_range(r->command, r->argc, &range)) {
        for (uint32_t i = range.first; i < range.end; i += range.step)
            add_key(r, i, mask);
        return range.first < range.end;
    }
    struct command_key few[FEW];
    struct core *c = core_self();
    int64_t n = command_keys(r->command, r->argv, r->argc, few, FEW);
    if (n <= 0)
        return false;
    struct command_key *keys = few;
    if (n > FEW) {
        keys = arena_alloc(&c->arena, (size_t)n * sizeof(*keys));
        command_keys(r->command, r->argv, r->argc, keys, (uint32_t)n);
    }
    for (int64_t i = 0; i < n; i++)
        add_key(r, keys[i].arg, mask);
    return true;
}

/* True where an argument stands for keys that only the run will tell. */
static bool has_pattern(const struct request *r)
{
    if (!(r->command->flags & CMD_PATTERN_KEYS))
        return false;
    for (uint32_t i = 2; i < r->argc; i++)
        if (memchr(r->argv[i].data, '*', r->argv[i].size))
            return true;
    return false;
}

void route_mask(const struct core *c, const struct request *r, struct core_mask *mask)
{
    *mask = (struct core_mask){0};
    if (r->command->reach) {
        r->command->reach(r->session, r->argv, r->argc, mask);
        if (core_mask_empty(mask))
            core_mask_add(mask, c->index);
        return;
    }
    if (r->command->flags & CMD_CURSOR) {
        struct call call = {.keyspace = &server->keyspace, .argv = r->argv, .argc = r->argc};
        core_mask_add(mask, scan_cursor_shard(&call));
        return;
    }
    bool every = r->command->route == ROUTE_ALL || (r->command->flags & CMD_EVERY_SHARD);
    bool told = true;
    if (every || has_pattern(r))
        add_all(mask);
    else
        told = mask_of_keys(r, mask);
    if (!told)
        core_mask_add(mask, c->index);
}

/* Settles a request that may concern several shards. */
static void classify_many(const struct core *c, struct request *r, struct core_mask *mask)
{
    route_mask(c, r, mask);
    r->kind = r->command->route == ROUTE_CROSS ? ROUTED_CROSS : ROUTED_DATA;
    r->shard = BUNDLE_SHARD_MANY;
    if (core_mask_count(mask) > 1)
        return;
    r->kind = ROUTED_DATA;
    r->shard = core_mask_first(mask);
}

uint32_t route_single_shard(const struct core *c, const struct request *r)
{
    const struct command *command = r->command;
    if (command->first_key > 0 && (uint32_t)command->first_key < r->argc)
        return keyspace_shard(&server->keyspace, r->argv[command->first_key]);
    return c->index;
}

void route_classify(struct core *c, struct session *s, struct request *r, struct core_mask *many)
{
    r->kind = ROUTED_HERE;
    r->shard = c->index;
    if (!r->refusal && !session_admits(s, r->command, r->argv, r->argc))
        r->refusal = session_refusal(c, s, r->command, r->argv, r->argc);
    if (r->refusal)
        return;
    if (r->command->route == ROUTE_SESSION)
        return;
    if (r->command->route != ROUTE_KEY) {
        classify_many(c, r, many);
        return;
    }
    r->kind = ROUTED_DATA;
    r->shard = route_single_shard(c, r);
}

static void run_here(struct core *c, struct session *s, const struct request *requests,
                     uint32_t count)
{
    if (c->request_count + count > c->request_cap) {
        c->request_cap = (c->request_count + count) * 2;
        c->requests = mem_realloc(c->requests, c->request_cap * sizeof(*c->requests));
    }
    memcpy(c->requests + c->request_count, requests, count * sizeof(*requests));
    c->request_count += count;
    s->queued += count;
    session_touch(c, s);
}

bool route_holds_back(const struct core *c, const struct request *r)
{
    if (__builtin_expect(server->pause_until_ms <= c->wall_ms, 1) || !r->command ||
        r->session->replay)
        return false;
    if (!session_admits(r->session, r->command, r->argv, r->argc))
        return false; /* what is wrong with it can be said at once */
    return server->pause_all || (transaction_flags(r) & (CMD_WRITE | CMD_MAY_REPLICATE));
}

static uint32_t count_not_held(struct core *c, const struct request *requests, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (route_holds_back(c, &requests[i]))
            return i;
    return count;
}

static void dispatch(struct core *c, struct session *s, enum bundle_kind kind,
                     const struct core_mask *mask, struct request *requests, uint32_t count,
                     struct slice source, bool copy)
{
    source.size = requests[count - 1].end;
    bundle_dispatch(c, bundle_create(c, s, kind, mask, requests, count, source, copy));
}

/* What a prefix needs, as it grows. */
struct prefix {
    struct core_mask mask; /* cores with data of it */
    uint32_t only;         /* the one shard with data, BUNDLE_SHARD_MANY for several */
    bool has_data;
    bool away;             /* some of its data are not this core's */
    bool here;             /* something in it must be answered by this core */
    bool publishes;        /* all of it are messages to subscribers; else none */
};

/* Messages go by themselves: who hears them was found just now, and what runs before them in the
 * same bundle might see the work of somebody who has subscribed since. */
static bool is_publish(const struct request *r)
{
    return r->command && r->command->reach && r->command->route == ROUTE_ALL;
}

/* Adds a request to the prefix, or leaves it as it is where the two cannot go together. */
static bool extend(const struct core *c, struct prefix *p, const struct request *r,
                   const struct core_mask *many)
{
    if ((p->here || p->has_data) && p->publishes != is_publish(r))
        return false;
    p->publishes = is_publish(r);
    bool here = r->kind == ROUTED_HERE;
    bool away = !here && r->shard != c->index;
    if ((here || p->here) && (away || p->away))
        return false;
    p->here |= here;
    p->away |= away;
    if (here)
        return true;
    if (r->shard == BUNDLE_SHARD_MANY)
        core_mask_unite(&p->mask, many);
    else
        core_mask_add(&p->mask, r->shard);
    p->only = !p->has_data || p->only == r->shard ? r->shard : BUNDLE_SHARD_MANY;
    p->has_data = true;
    return true;
}

/* What may stray (scripts, transactions with some, SCAN) runs in the run step: within the ring's
 * handlers nobody could look after what arrives while scripts run. */
static bool runs_later(const struct request *r)
{
    return r->command && command_may_stray(r->command) && transaction_may_stray(r);
}

/* EXEC does not wait for the run step where it can be run as if the shard were borrowed: then more
 * of the session's pipeline may follow in this step. */
static bool run_at_once(struct core *c, struct session *s, struct request *requests,
                        uint32_t count, const struct core_mask *mask)
{
    return count == 1 && s->transaction && !transaction_may_stray(&requests[0]) &&
           stand_in_run(c, s, requests, 1, mask);
}

/* Those that go with the first of these requests, which runs later: scripts that come one behind
 * the other. One may stray, and then takes those behind it along. */
static uint32_t count_group(const struct session *s, const struct request *requests,
                            uint32_t count)
{
    uint32_t n = 1;
    if (s->transaction)
        return 1;
    while (n < count && n < GROUP_MAX && runs_later(&requests[n]) &&
           session_admits(s, requests[n].command, requests[n].argv, requests[n].argc))
        n++;
    return n;
}

static uint32_t run_later(struct core *c, struct session *s, struct request *requests,
                          uint32_t count)
{
    uint32_t n = count_group(s, requests, count);
    for (uint32_t i = 0; i < n; i++) {
        requests[i].away = true;
        requests[i].group = (uint16_t)(n - i);
    }
    run_here(c, s, requests, n);
    return n;
}

static void mask_of_group(const struct core *c, struct request *requests, uint32_t count,
                          struct core_mask *mask)
{
    *mask = (struct core_mask){0};
    for (uint32_t i = 0; i < count; i++) {
        struct core_mask one;
        route_mask(c, &requests[i], &one);
        requests[i].shard =
            core_mask_count(&one) > 1 ? BUNDLE_SHARD_MANY : core_mask_first(&one);
        core_mask_unite(mask, &one);
    }
}

void route_away(struct core *c, struct request *requests)
{
    struct session *s = requests->session;
    const uint32_t count = requests->group;
    struct core_mask mask;
    mask_of_group(c, requests, count, &mask);
    for (uint32_t done = 0, n; done < count && !s->bundle; done += n) {
        if (c->repeat_published)
            core_walk(c);
        n = stand_in_run(c, s, requests + done, count - done, &mask);
        if (n > 0)
            continue;
        bool many = core_mask_count(&mask) > 1;
        bundle_dispatch(c, bundle_create(c, s, many ? BUNDLE_CROSS : BUNDLE_HOP, &mask,
                                         requests + done, count - done,
                                         (struct slice){NULL, 0}, false));
    }
}

/* While a script runs for long: what needs a shard that it holds is refused, so that nobody waits
 * for it. True where the request was answered. */
static bool refuse_busy(struct core *c, struct session *s, struct request *r)
{
    if (!session_admits(s, r->command, r->argv, r->argc) || r->command->route == ROUTE_SESSION)
        return false;
    struct core_mask mask = {0};
    if (r->command->route == ROUTE_KEY)
        core_mask_add(&mask, route_single_shard(c, r));
    else if (r->command->flags & CMD_CURSOR)
        add_all(&mask); /* it may go on to any of them */
    else
        route_mask(c, r, &mask);
    enum held_kind kind = serve_held_of(&mask);
    if (kind == HELD_NOT)
        return false;
    serve_refuse(c, r, kind);
    return true;
}

/* Routes where there are several cores. */
static uint32_t route_prefix(struct core *c, struct session *s, struct request *requests,
                             uint32_t count, struct slice source, bool copy)
{
    struct prefix p = {0};
    struct core_mask many;
    uint32_t n;
    for (n = 0; n < count; n++) {
        const struct request *r = &requests[n];
        if (n > 0 && r->command && command_may_block(r->command, r->argv, r->argc))
            break; /* what comes before it is answered while it waits */
        route_classify(c, s, &requests[n], &many);
        if (requests[n].kind != ROUTED_HERE && runs_later(&requests[n])) {
            if (n > 0)
                break;
            return run_later(c, s, requests, count);
        }
        if (requests[n].kind != ROUTED_CROSS) {
            if (!extend(c, &p, &requests[n], &many))
                break;
            continue;
        }
        if (n > 0)
            break;
        if (!stand_in_run(c, s, requests, 1, &many) &&
            !transaction_dispatch(c, &requests[0], &many))
            dispatch(c, s, BUNDLE_CROSS, &many, requests, 1, source, copy);
        return 1;
    }
    if (n == 0)
        return 0;
    if (!p.away) {
        if (!run_at_once(c, s, requests, n, &p.mask))
            run_here(c, s, requests, n);
        return n;
    }
    uint32_t done = stand_in_run(c, s, requests, n, &p.mask);
    if (done)
        return done;
    dispatch(c, s, p.only == BUNDLE_SHARD_MANY ? BUNDLE_SPLIT : BUNDLE_HOP, &p.mask, requests, n,
             source, copy);
    return n;
}

uint32_t route_requests(struct core *c, struct session *s, struct request *requests, uint32_t count,
                        struct slice source, bool copy)
{
    assert(!s->bundle && count > 0);
    if (__builtin_expect(server->pause_until_ms != 0, 0))
        count = count_not_held(c, requests, count);
    if (__builtin_expect(atomic_load_explicit(&server->held_count, memory_order_relaxed) != 0, 0)) {
        if (count && refuse_busy(c, s, &requests[0]))
            return 1;
        count = count ? 1 : 0;
    }
    if (server->core_count > 1)
        return route_prefix(c, s, requests, count, source, copy);
    struct core_mask own = {{1}};
    if (count && !run_at_once(c, s, requests, count, &own))
        run_here(c, s, requests, count);
    return count;
}
