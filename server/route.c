/* Routing: see route.h. The prefix taken is the longest that can go as one dispatch: data commands
 * that need other cores go together (one hop, or one ticket); a session or cross command among them
 * ends the prefix, and is taken by itself when those before it are done. */
#include "server/route.h"

#include <assert.h>

#include "proto/mem.h"
#include "server/bundle.h"
#include "server/server.h"
#include "server/session.h"
#include "shard/cmd/scan.h"

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

/* The shards of a request's keys. False where its keys cannot be told: the body says what is wrong.
 * */
static bool mask_of_keys(const struct request *r, struct core_mask *mask)
{
    enum { FEW = 32 };
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
        core_mask_add(mask, keyspace_shard(&server->keyspace, r->argv[keys[i].arg]));
    return true;
}

/* Settles a request that may concern several shards. */
static void classify_many(struct core *c, struct request *r, struct core_mask *mask)
{
    bool every = r->command->route == ROUTE_ALL || (r->command->flags & CMD_EVERY_SHARD);
    bool told = true;
    if (every)
        add_all(mask);
    else
        told = mask_of_keys(r, mask);
    if (!told)
        core_mask_add(mask, c->index);
    r->kind = r->command->route == ROUTE_CROSS ? ROUTED_CROSS : ROUTED_DATA;
    r->shard = BUNDLE_SHARD_MANY;
    if (core_mask_count(mask) > 1)
        return;
    r->kind = ROUTED_DATA;
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(mask, i))
            r->shard = i;
}

static uint32_t single_shard(struct core *c, const struct request *r)
{
    const struct command *command = r->command;
    if (command->flags & CMD_CURSOR) {
        struct call call = {.keyspace = &server->keyspace, .argv = r->argv, .argc = r->argc};
        return scan_cursor_shard(&call);
    }
    if (command->first_key > 0 && (uint32_t)command->first_key < r->argc)
        return keyspace_shard(&server->keyspace, r->argv[command->first_key]);
    return c->index;
}

/* Sets r->kind and r->shard and adds the cores it needs to `mask`. */
static void classify(struct core *c, struct session *s, struct request *r, struct core_mask *mask)
{
    r->kind = ROUTED_HERE;
    r->shard = c->index;
    if (!r->command || r->command->route == ROUTE_SESSION)
        return;
    if (!session_admits(s, r->command, r->argc))
        return;
    if (r->command->route == ROUTE_KEY) {
        r->kind = ROUTED_DATA;
        r->shard = single_shard(c, r);
        core_mask_add(mask, r->shard);
    } else {
        classify_many(c, r, mask);
    }
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

/* The commands that CLIENT PAUSE holds back. */
static bool held_back(struct core *c, const struct request *r)
{
    if (server->pause_until_ms <= c->wall_ms || !r->command)
        return false;
    return server->pause_all || (r->command->flags & (CMD_WRITE | CMD_MAY_REPLICATE));
}

static uint32_t count_not_held(struct core *c, const struct request *requests, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (held_back(c, &requests[i]))
            return i;
    return count;
}

static bool only_here(const struct core_mask *mask, uint32_t self)
{
    uint32_t n = core_mask_count(mask);
    return n == 0 || (n == 1 && core_mask_has(mask, self));
}

static void dispatch(struct core *c, struct session *s, enum bundle_kind kind,
                     const struct core_mask *mask, const struct request *requests, uint32_t count,
                     struct slice source, bool copy)
{
    source.size = requests[count - 1].end;
    bundle_dispatch(c, bundle_create(c, s, kind, mask, requests, count, source, copy));
}

uint32_t route_requests(struct core *c, struct session *s, struct request *requests, uint32_t count,
                        struct slice source, bool copy)
{
    assert(!s->bundle && count > 0);
    if (__builtin_expect(server->pause_until_ms != 0, 0))
        count = count_not_held(c, requests, count);
    if (server->core_count == 1) {
        if (count)
            run_here(c, s, requests, count);
        return count;
    }
    struct core_mask mask = {0};
    bool has_here = false;
    uint32_t n;
    for (n = 0; n < count; n++) {
        struct core_mask with = mask;
        classify(c, s, &requests[n], &with);
        bool here = requests[n].kind == ROUTED_HERE;
        if (requests[n].kind == ROUTED_CROSS) {
            if (n > 0)
                break;
            dispatch(c, s, BUNDLE_CROSS, &with, requests, 1, source, copy);
            return 1;
        }
        if ((here || has_here) && !only_here(&with, c->index))
            break;
        has_here |= here;
        mask = with;
    }
    if (n == 0)
        return 0;
    if (only_here(&mask, c->index))
        run_here(c, s, requests, n);
    else
        dispatch(c, s, core_mask_count(&mask) == 1 ? BUNDLE_HOP : BUNDLE_SPLIT, &mask, requests, n,
                 source, copy);
    return n;
}
