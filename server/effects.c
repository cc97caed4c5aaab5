/* Effects: see effects.h. */
#include "server/effects.h"

#include <stdio.h>

#include "proto/mem.h"
#include "server/bundle.h"
#include "server/pubsub.h"
#include "server/server.h"
#include "server/tracking.h"

/* Messages that one bundle takes. */
#define BUNDLE_EFFECTS_MAX 64

/* A message that waits to be published. */
struct effect {
    struct effect *next;
    struct slice argv[3]; /* as PUBLISH has them */
    char bytes[];
};

struct effects {
    struct effect *first, *last;
    uint32_t count;
    uint32_t under_way; /* bundles published and not yet home */
    bool deferred;      /* bundles may wait for room in the order log */
};

/* --- Taking --- */

static void add(struct core *c, const char *prefix, uint32_t db, struct slice name,
                struct slice message)
{
    char channel[64];
    int size = snprintf(channel, sizeof(channel), "__%s@%u__:", prefix, db);
    struct effect *e = mem_alloc(sizeof(*e) + (size_t)size + name.size + message.size);
    char *at = e->bytes;
    memcpy(at, channel, (size_t)size);
    memcpy(at + size, name.data, name.size);
    e->next = NULL;
    e->argv[0] = SLICE("publish");
    e->argv[1] = (struct slice){at, (size_t)size + name.size};
    at += e->argv[1].size;
    memcpy(at, message.data, message.size);
    e->argv[2] = (struct slice){at, message.size};
    struct core_mask mask;
    pubsub_interest(e->argv[1], false, &mask);
    if (core_mask_empty(&mask)) {
        mem_free(e);
        return;
    }
    if (!c->effects)
        c->effects = mem_alloc_zeroed(sizeof(*c->effects));
    if (c->effects->last)
        c->effects->last->next = e;
    else
        c->effects->first = e;
    c->effects->last = e;
    c->effects->count++;
}

static void notify(struct core *c, const struct event *e)
{
    struct slice key = {e->key, e->key_size};
    struct slice name = slice_of(e->name);
    if (e->channels & NOTIFY_KEYSPACE)
        add(c, "keyspace", e->db, key, name);
    if (e->channels & NOTIFY_KEYEVENT)
        add(c, "keyevent", e->db, name, key);
}

static void take_from(struct core *c, struct shard *s)
{
    struct event *e = event_take(s);
    while (e) {
        struct event *next = e->next;
        if (e->kind == EVENT_NOTIFY)
            notify(c, e);
        else
            tracking_post(c, e);
        event_free(e);
        e = next;
    }
}

void effects_take(struct core *c, struct shard *shard, struct shard *const *shards)
{
    if (shard)
        take_from(c, shard);
    for (uint32_t i = 0; shards && i < server->core_count; i++)
        if (shards[i])
            take_from(c, shards[i]);
}

/* --- Sending --- */

/* Takes the first of what waits as requests for one bundle; returns how many. */
static uint32_t make_requests(const struct effects *x, struct request *requests,
                              struct core_mask *mask)
{
    const struct command *publish = registry_find_proper(server->registry, SLICE("publish"));
    uint32_t n = 0;
    for (struct effect *e = x->first; e && n < BUNDLE_EFFECTS_MAX; e = e->next) {
        struct core_mask one;
        pubsub_interest(e->argv[1], false, &one);
        core_mask_unite(mask, &one);
        requests[n++] = (struct request){
            .command = publish, .argv = e->argv, .argc = 3, .shard = BUNDLE_SHARD_MANY};
    }
    return n;
}

static void drop_first(struct effects *x, uint32_t count)
{
    while (count-- > 0) {
        struct effect *e = x->first;
        x->first = e->next;
        x->count--;
        mem_free(e);
    }
    if (!x->first)
        x->last = NULL;
}

/* Nobody but this core's sessions hears of them, and nothing older is under way. */
static void post_here(struct core *c, struct effects *x)
{
    for (struct effect *e = x->first; e; e = e->next)
        pubsub_post(c, e->argv[1], e->argv[2], false);
    drop_first(x, x->count);
}

static bool order_is_full(const struct core *c)
{
    return c->deferred_first || !order_has_room(server->order, c->index);
}

static void come_home(struct core *c, struct bundle *b)
{
    c->effects->under_way--;
    bundle_dispose(c, b);
}

/* Where the order is full, the bundle waits among those that were deferred. */
static void send_some(struct core *c, struct effects *x)
{
    struct request requests[BUNDLE_EFFECTS_MAX];
    struct core_mask mask = {0}, own = {0};
    uint32_t n = make_requests(x, requests, &mask);
    core_mask_add(&own, c->index);
    if (core_mask_empty(&mask)) {
        drop_first(x, n);
        return;
    }
    bool here = n == x->count && memcmp(&mask, &own, sizeof(mask)) == 0;
    if (here && x->under_way == 0) {
        post_here(c, x);
        return;
    }
    x->deferred |= order_is_full(c);
    struct bundle *b = bundle_create(c, NULL, BUNDLE_SPLIT, &mask, requests, n,
                                     (struct slice){NULL, 0}, false);
    b->done = come_home;
    bundle_dispatch(c, b);
    x->under_way++;
    drop_first(x, n);
}

void effects_precede(struct core *c, struct shard *shard, struct shard *const *shards)
{
    effects_take(c, shard, shards);
    effects_settle(c);
}

void effects_settle(struct core *c)
{
    while (c->effects && c->effects->first)
        send_some(c, c->effects);
}

bool effects_flush(struct core *c)
{
    struct effects *x = c->effects;
    while (x && (x->first || x->deferred)) {
        if (order_is_full(c)) {
            bundle_dispatch_deferred(c);
            bundle_wake_behind(c);
            if (order_is_full(c))
                return false;
        }
        x->deferred = false;
        if (x->first)
            send_some(c, x);
    }
    return true;
}

void effects_finish(struct core *c)
{
    if (c->effects)
        drop_first(c->effects, c->effects->count);
    mem_free(c->effects);
    c->effects = NULL;
}
