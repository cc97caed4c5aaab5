/* Client-side caching: see tracking.h. This file has what sessions and shards do; how invalidations
 * travel is in tracking_post.c. */
#include "server/tracking.h"

#include <assert.h>

#include "proto/mem.h"
#include "server/registry.h"
#include "server/server.h"
#include "server/tracking_core.h"
#include "shard/db.h"

/* Keys of one command that are kept on the stack. */
#define FEW_KEYS 32

/* --- Beginning and end --- */

struct tracking *tracking_start(struct session *s)
{
    struct core *home = server->cores[s->home];
    if (!home->tracking)
        home->tracking = mem_alloc_zeroed(sizeof(*home->tracking));
    struct tracking *t = mem_alloc_zeroed(sizeof(*t));
    t->session = s;
    t->next = home->tracking->first;
    if (t->next)
        t->next->previous = t;
    home->tracking->first = t;
    home->tracking->count++;
    s->tracking = t;
    atomic_fetch_add_explicit(&server->tracking_count, 1, memory_order_relaxed);
    return t;
}

static void end(struct session *s)
{
    struct tracking *t = s->tracking;
    struct tracking_core *x = server->cores[s->home]->tracking;
    if (t->previous)
        t->previous->next = t->next;
    else
        x->first = t->next;
    if (t->next)
        t->next->previous = t->previous;
    x->count--;
    for (uint32_t i = 0; i < t->prefix_count; i++)
        mem_free((char *)t->prefixes[i].data);
    mem_free(t->prefixes);
    buf_deinit(&t->held);
    mem_free(t);
    s->tracking = NULL;
    atomic_fetch_sub_explicit(&server->tracking_count, 1, memory_order_relaxed);
}

void tracking_stop(struct session *s)
{
    struct tracking *t = s->tracking;
    for (uint32_t i = 0; i < t->prefix_count; i++)
        for (uint32_t k = 0; k < server->core_count; k++)
            track_prefix_remove(&server->cores[k]->shard, t->prefixes[i], s->home);
    end(s);
}

void tracking_leave(struct core *c, struct session *s)
{
    struct tracking *t = s->tracking;
    if (!t)
        return;
    for (uint32_t i = 0; i < t->prefix_count; i++)
        tracking_post_prefix_end(c, t->prefixes[i]);
    end(s);
}

static int compare(struct slice a, struct slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.data, b.data, size) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

void tracking_add_prefix(struct tracking *t, struct slice prefix)
{
    t->prefixes = mem_realloc(t->prefixes, (t->prefix_count + 1) * sizeof(*t->prefixes));
    uint32_t at = t->prefix_count++;
    for (; at > 0 && compare(t->prefixes[at - 1], prefix) > 0; at--)
        t->prefixes[at] = t->prefixes[at - 1];
    char *own = mem_alloc(prefix.size + 1);
    memcpy(own, prefix.data, prefix.size);
    t->prefixes[at] = (struct slice){own, prefix.size};
    for (uint32_t i = 0; i < server->core_count; i++)
        track_prefix_add(&server->cores[i]->shard, prefix, t->session->home);
}

/* --- What is tracked --- */

static bool wants(const struct tracking *t)
{
    return !t->bcast && (!t->optin || t->caching) && (!t->optout || !t->caching);
}

/* CLIENT's subcommands leave CLIENT CACHING as it is. (MULTI and what it queues are not seen.) */
static bool spends_caching(const struct command *row)
{
    return !row || strncmp(row->full_name, "client|", 7) != 0;
}

static enum tracking_mark decide(struct tracking *t, const struct command *row)
{
    if (t->caching_spent)
        t->caching = t->caching_spent = false;
    t->caching_spent = t->caching && spends_caching(row);
    return wants(t) ? TRACKING_READS : TRACKING_NOT;
}

void tracking_mark(struct session *s, struct request *requests, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct request *r = &requests[i];
        if (i > 0 && s->transaction)
            r->track = requests[0].track;
        if (r->track == TRACKING_UNDECIDED)
            r->track = decide(s->tracking, r->command);
    }
}

uint64_t tracking_inner(const struct session *s)
{
    return s && s->tracking && wants(s->tracking) ? track_client(s->home, s->id) : 0;
}

/* --- The limit ---
 *
 * The server's count of tracked keys is brought up to date by each shard now and then, lest every
 * read writes to it. A shard that finds it too high takes one off, for a key that it then forgets:
 * so no two do that for the same excess. Only those do that have more than their share; while the
 * count is too high there is one. */

/* A shard speaks up when it has so many more keys than the count knows of. */
#define COUNT_STEP 64
/* Keys forgotten or freed in one go. */
#define TRIM_STEP 256

static void count_keys(struct tracks *t)
{
    if (t->keys.count == t->counted)
        return;
    /* A number alone; nothing is published by it. Keys that went make it wrap round, rightly. */
    atomic_fetch_add_explicit(&server->tracked_keys, t->keys.count - t->counted,
                              memory_order_relaxed);
    t->counted = t->keys.count;
}

static bool take_excess(uint64_t max)
{
    /* As above: whoever takes one off has taken it. */
    uint64_t count = atomic_load_explicit(&server->tracked_keys, memory_order_relaxed);
    while (count > max)
        if (atomic_compare_exchange_weak_explicit(&server->tracked_keys, &count, count - 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    return false;
}

/* Forgets some keys where there are too many; true where there may be more to forget. */
static bool keep_limit(struct shard *s)
{
    struct tracks *t = &s->tracks;
    uint64_t max = (uint64_t)server->config.tracking_table_max_keys;
    count_keys(t);
    for (int i = 0; max && i < TRIM_STEP; i++) {
        if (t->keys.count <= max / server->core_count || !take_excess(max))
            return false;
        t->counted--;
        track_forget_one(s);
    }
    return max;
}

bool tracking_trim(struct core *c)
{
    bool more = keep_limit(&c->shard);
    return track_collect(&c->shard, TRIM_STEP) || more;
}

void tracking_apply_limit(void)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        count_keys(&server->cores[i]->shard.tracks);
    for (uint32_t i = 0; i < server->core_count; i++)
        server->cores[i]->trimming |= keep_limit(&server->cores[i]->shard);
}

/* --- What is read --- */

/* The key's shard where it is at hand: another part of the command, or its next run, sees to it
 * else. */
static struct shard *shard_of(const struct call *call, struct slice key)
{
    if (call->shard && call->command->route == ROUTE_KEY)
        return call->shard;
    uint32_t index = keyspace_shard(call->keyspace, key);
    if (call->shard)
        return call->shard->index == index ? call->shard : NULL;
    return call->shards[index];
}

static void remember(const struct call *call, uint32_t arg)
{
    struct slice key = call->argv[arg];
    struct shard *s = shard_of(call, key);
    if (!s)
        return;
    bool hashed = call->first_key_hashed && (int)arg == call->command->first_key;
    uint64_t hash = hashed ? call->first_key_hash : keyspace_hash(call->keyspace, key);
    track_read(s, key, hash, call->track);
    if (s->tracks.keys.count >= s->tracks.counted + COUNT_STEP)
        keep_limit(s);
}

/* Scripts and transactions are not reads themselves: what runs within them may be. */
static bool is_read(const struct command *row)
{
    return (row->flags & CMD_READONLY) && !(row->flags & CMD_PUBSUB) && !row->reach;
}

void tracking_remember(const struct call *call)
{
    struct key_range range;
    if (!is_read(call->command))
        return;
    if (command_key_range(call->command, call->argc, &range)) {
        for (uint32_t i = range.first; i < range.end; i += range.step)
            remember(call, i);
        return;
    }
    struct command_key few[FEW_KEYS], *keys = few;
    int64_t n = command_keys(call->command, call->argv, call->argc, few, FEW_KEYS);
    if (n > FEW_KEYS) {
        keys = arena_alloc(&core_self()->arena, (size_t)n * sizeof(*keys));
        command_keys(call->command, call->argv, call->argc, keys, (uint32_t)n);
    }
    for (int64_t i = 0; i < n; i++)
        remember(call, keys[i].arg);
}

/* --- What is told of it --- */

uint32_t tracking_count(const struct core *c)
{
    return c->tracking ? c->tracking->count : 0;
}

int64_t tracking_redirect(const struct session *s)
{
    return s->tracking ? (int64_t)s->tracking->redirect : -1;
}

void tracking_append_flags(struct buf *to, const struct session *s)
{
    const struct tracking *t = s->tracking;
    if (!t)
        return;
    buf_append_text(to, "t");
    if (t->broken)
        buf_append_text(to, "R");
    if (t->bcast)
        buf_append_text(to, "B");
}

size_t tracking_memory(const struct session *s)
{
    const struct tracking *t = s->tracking;
    if (!t)
        return 0;
    size_t size = sizeof(*t) + t->held.cap;
    for (uint32_t i = 0; i < t->prefix_count; i++)
        size += sizeof(*t->prefixes) + t->prefixes[i].size;
    return size;
}
