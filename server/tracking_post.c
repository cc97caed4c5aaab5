/* Invalidations on their way: from the core that took the event to the home core of each client
 * concerned, from there, behind what is held back, to the client, or to the core of the one that it
 * redirects to.
 *
 * A *payload* is what a push carries behind "invalidate": an array of keys, or a null for all. It
 * is encoded once for all clients that get it. */
#include <assert.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "proto/reply.h"
#include "server/blocked.h"
#include "server/server.h"
#include "server/session_table.h"
#include "server/tracking_core.h"

#define CHANNEL "__redis__:invalidate"
/* More than this is not held: the client is told to forget all. */
#define HELD_MAX (1u << 20)

/* A message to another core. */
struct notice {
    struct core_message message;
    struct notice *next; /* a prefix: of the core's own */
    uint64_t client;  /* a key: who has changed it; redirected: to whom; broken: who redirects */
    uint64_t source;  /* redirected: who redirects */
    uint32_t home;    /* ... and the home of that; a prefix: of the clients that had it */
    uint32_t count;   /* a key: of `clients` */
    uint64_t *clients;
    size_t size;
    char bytes[];
};

static struct slice bytes_of(const struct notice *n)
{
    return (struct slice){n->bytes, n->size};
}

/* Once the server stops nobody may be there to take it, and the clients are being closed. */
static void post(struct core *c, uint32_t to, struct notice *n)
{
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed))
        mem_free(n);
    else
        core_post(c, to, &n->message);
    c->tells = true;
}

static struct notice *make_notice(void (*receive)(struct core_message *m), struct slice bytes)
{
    struct notice *n = mem_alloc(sizeof(*n) + bytes.size);
    *n = (struct notice){.message.receive = receive, .size = bytes.size};
    if (bytes.size)
        memcpy(n->bytes, bytes.data, bytes.size);
    return n;
}

/* --- To a client --- */

static bool hears(const struct session *s)
{
    return !s->closing && !s->close_asked && !s->closed;
}

/* A push may stand between any two replies; whoever is here is between two. */
static void push(struct core *c, struct session *s, struct slice payload)
{
    size_t mark;
    session_needs(s, c->journal.must);
    struct buf *out = session_reply_begin(c, s, &mark);
    buf_append_text(out, ">2\r\n$10\r\ninvalidate\r\n");
    buf_append_slice(out, payload);
}

/* As Redis, without a look at the channels: being subscribed to anything will do. */
static void redirected(struct core *c, struct session *target, struct slice payload)
{
    if (target->protocol > 2) {
        push(c, target, payload);
        return;
    }
    if (!target->subscriptions)
        return;
    size_t mark;
    session_needs(target, c->journal.must);
    struct buf *out = session_reply_begin(c, target, &mark);
    buf_append_text(out, "*3\r\n$7\r\nmessage\r\n$20\r\n" CHANNEL "\r\n");
    buf_append_slice(out, payload);
}

static void note_broken(struct core *c, struct session *s)
{
    size_t mark;
    s->tracking->broken = true;
    if (s->protocol < 3 || !hears(s))
        return;
    struct reply r = {.out = session_reply_begin(c, s, &mark), .protocol = s->protocol};
    reply_push(&r, 2);
    reply_bulk_text(&r, "tracking-redir-broken");
    reply_integer(&r, (int64_t)s->tracking->redirect);
}

static struct session *find_tracking(const struct core *c, uint64_t id)
{
    struct session *s = session_table_find(c, id);
    return s && s->tracking ? s : NULL;
}

static void receive_broken(struct core_message *m)
{
    struct notice *n = (struct notice *)m;
    struct session *s = find_tracking(core_self(), n->client);
    if (s && s->tracking->redirect == n->source)
        note_broken(core_self(), s);
    mem_free(n);
}

static void receive_redirected(struct core_message *m)
{
    struct notice *n = (struct notice *)m;
    struct core *c = core_self();
    struct session *target = session_table_find(c, n->client);
    if (target && hears(target)) {
        redirected(c, target, bytes_of(n));
    } else {
        struct notice *answer = make_notice(receive_broken, (struct slice){NULL, 0});
        answer->client = n->source;
        answer->source = n->client;
        post(c, n->home, answer);
    }
    mem_free(n);
}

static void send(struct core *c, struct session *s, struct slice payload)
{
    const struct tracking *t = s->tracking;
    if (!t->redirect) {
        if (s->protocol > 2 && hears(s))
            push(c, s, payload);
        return;
    }
    if (t->redirect_home != c->index) {
        struct notice *n = make_notice(receive_redirected, payload);
        n->client = t->redirect;
        n->source = s->id;
        n->home = c->index;
        post(c, t->redirect_home, n);
        return;
    }
    struct session *target = session_table_find(c, t->redirect);
    if (target && hears(target))
        redirected(c, target, payload);
    else
        note_broken(c, s);
}

/* --- Holding --- */

static struct slice null_payload(const struct session *s)
{
    return s->protocol > 2 ? SLICE("_\r\n") : SLICE("$-1\r\n");
}

static void hold(struct session *s, struct slice payload)
{
    struct buf *held = &s->tracking->held;
    if (held->size + payload.size > HELD_MAX) {
        held->size = 0;
        payload = null_payload(s);
    }
    uint32_t size = (uint32_t)payload.size;
    buf_append(held, &size, sizeof(size));
    buf_append_slice(held, payload);
}

static void send_held(struct core *c, struct session *s)
{
    const struct buf *held = &s->tracking->held;
    for (size_t at = 0; at < held->size;) {
        uint32_t size;
        memcpy(&size, held->data + at, sizeof(size));
        at += sizeof(size);
        send(c, s, (struct slice){held->data + at, size});
        at += size;
    }
}

/* Whether the command that waits answers with what a client may cache. */
static bool waits_to_read(const struct session *s)
{
    return s->blocked->parts[0].items[0].command->flags & CMD_READONLY;
}

static void give(struct core *c, struct session *s, struct slice payload)
{
    if (s->bundle && !s->blocked) {
        hold(s, payload);
        return;
    }
    send(c, s, payload);
    if (s->blocked && waits_to_read(s))
        hold(s, payload);
}

void tracking_drop_held(struct session *s)
{
    if (s->tracking)
        buf_deinit(&s->tracking->held);
}

void tracking_release(struct core *c, struct session *s)
{
    if (__builtin_expect(!s->tracking || s->tracking->held.size == 0, 1))
        return;
    send_held(c, s);
    tracking_drop_held(s);
}

/* It may have to wait long, and has no reply yet: what was held meanwhile goes out. */
void tracking_wait(struct core *c, struct session *s)
{
    if (!s->tracking || s->tracking->held.size == 0)
        return;
    send_held(c, s);
    if (!waits_to_read(s))
        tracking_drop_held(s);
}

/* --- Keys --- */

static void append_key(struct buf *to, struct slice key)
{
    struct reply r = {.out = to, .protocol = 3};
    reply_bulk(&r, key);
}

static void change_for_bcast(struct core *c, struct slice key, uint64_t by);

/* At home: the key of these clients, all of this core, has changed. */
static void invalidate(struct core *c, const uint64_t *clients, uint32_t count, struct slice key,
                       uint64_t by)
{
    struct buf payload;
    buf_init(&payload);
    buf_append_text(&payload, "*1\r\n");
    append_key(&payload, key);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t id = track_id(clients[i]);
        if (id == 0) {
            change_for_bcast(c, key, by);
            continue;
        }
        struct session *s = find_tracking(c, id);
        if (s && !s->tracking->bcast && !(s->tracking->noloop && by == id))
            give(c, s, buf_slice(&payload));
    }
    buf_deinit(&payload);
}

static void receive_key(struct core_message *m)
{
    struct notice *n = (struct notice *)m;
    invalidate(core_self(), n->clients, n->count, bytes_of(n), n->client);
    mem_free(n);
}

static void post_key(struct core *c, uint32_t to, const struct event *e, const uint64_t *clients,
                     uint32_t count)
{
    size_t at = (sizeof(struct notice) + e->key_size + 7) & ~(size_t)7;
    struct notice *n = mem_alloc(at + count * sizeof(*clients));
    *n = (struct notice){
        .message.receive = receive_key, .client = e->client, .count = count, .size = e->key_size,
        .clients = (uint64_t *)((char *)n + at),
    };
    memcpy(n->bytes, e->key, e->key_size);
    memcpy(n->clients, clients, count * sizeof(*clients));
    post(c, to, n);
}

/* Clients of one core stand side by side: the words of track_client are sorted. */
void tracking_post(struct core *c, const struct event *e)
{
    if (e->kind == EVENT_INVALIDATE_ALL) {
        tracking_post_all(c);
        return;
    }
    for (uint32_t i = 0, n; i < e->client_count; i += n) {
        uint32_t to = track_home(e->clients[i]);
        for (n = 1; i + n < e->client_count && track_home(e->clients[i + n]) == to; n++)
            continue;
        if (to == c->index)
            invalidate(c, e->clients + i, n, (struct slice){e->key, e->key_size}, e->client);
        else
            post_key(c, to, e, e->clients + i, n);
    }
}

/* --- All keys --- */

static void invalidate_all(struct core *c)
{
    if (!c->tracking)
        return;
    for (struct tracking *t = c->tracking->first; t; t = t->next)
        give(c, t->session, null_payload(t->session));
}

static void receive_all(struct core_message *m)
{
    invalidate_all(core_self());
    mem_free(m);
}

void tracking_post_all(struct core *c)
{
    if (atomic_load_explicit(&server->tracking_count, memory_order_relaxed) == 0)
        return;
    for (uint32_t i = 0; i < server->core_count; i++)
        if (i != c->index)
            post(c, i, make_notice(receive_all, (struct slice){NULL, 0}));
    invalidate_all(c);
}

/* --- BCAST --- */

struct changed_key {
    struct changed_key *next;
    uint64_t by;      /* who was the last to change it */
    uint32_t place;   /* in the order of the changes */
    uint32_t size;
    char bytes[];
};

static void change_for_bcast(struct core *c, struct slice key, uint64_t by)
{
    struct tracking_core *x = c->tracking;
    if (!x || !x->first)
        return;
    struct changed_key *k = mem_alloc(sizeof(*k) + key.size);
    *k = (struct changed_key){.by = by, .place = x->changed_count++, .size = (uint32_t)key.size};
    if (key.size)
        memcpy(k->bytes, key.data, key.size);
    if (x->changed_last)
        x->changed_last->next = k;
    else
        x->changed = k;
    x->changed_last = k;
}

static int compare_keys(const struct changed_key *a, const struct changed_key *b)
{
    uint32_t size = a->size < b->size ? a->size : b->size;
    int order = size ? memcmp(a->bytes, b->bytes, size) : 0;
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* By name, then the last change first. */
static int compare_changes(const void *x, const void *y)
{
    const struct changed_key *a = *(struct changed_key *const *)x;
    const struct changed_key *b = *(struct changed_key *const *)y;
    int order = compare_keys(a, b);
    return order ? order : (a->place < b->place) - (a->place > b->place);
}

/* The keys of the iteration, sorted, each once, with who was the last to change it. They stay the
 * caller's to free. */
static uint32_t take_changed(struct core *c, struct changed_key ***all)
{
    struct tracking_core *x = c->tracking;
    struct changed_key **keys = mem_alloc(x->changed_count * sizeof(*keys));
    uint32_t n = 0, kept = 0;
    for (struct changed_key *k = x->changed; k; k = k->next)
        keys[n++] = k;
    assert(n == x->changed_count);
    x->changed = x->changed_last = NULL;
    x->changed_count = 0;
    qsort(keys, n, sizeof(struct changed_key *), compare_changes);
    for (uint32_t i = 0; i < n; i++) {
        if (kept && compare_keys(keys[kept - 1], keys[i]) == 0)
            mem_free(keys[i]);
        else
            keys[kept++] = keys[i];
    }
    *all = keys;
    return kept;
}

static bool concerns(const struct changed_key *k, struct slice prefix, uint64_t not_by)
{
    return k->size >= prefix.size && memcmp(k->bytes, prefix.data, prefix.size) == 0 &&
           !(not_by && k->by == not_by);
}

/* The payload of the keys with a prefix, but for those that one client has changed itself (0: no
 * such); false where there are none. */
static bool write_changed(struct buf *payload, struct changed_key *const *keys, uint32_t count,
                          struct slice prefix, uint64_t not_by)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += concerns(keys[i], prefix, not_by);
    payload->size = 0;
    struct reply r = {.out = payload, .protocol = 3};
    reply_array(&r, n);
    for (uint32_t i = 0; n && i < count; i++)
        if (concerns(keys[i], prefix, not_by))
            append_key(payload, (struct slice){keys[i]->bytes, keys[i]->size});
    return n > 0;
}

/* Many clients have one prefix: its payload is made once where they come one behind the other. */
static void deliver_to_all(struct core *c, struct changed_key *const *keys, uint32_t count)
{
    struct buf payload;
    buf_init(&payload);
    const struct slice *made = NULL;
    bool any = false;
    for (struct tracking *t = c->tracking->first; t; t = t->next) {
        for (uint32_t i = 0; i < t->prefix_count; i++) {
            const struct slice *prefix = &t->prefixes[i];
            if (t->noloop || !made || !slice_equal(*made, *prefix)) {
                uint64_t not_by = t->noloop ? t->session->id : 0;
                any = write_changed(&payload, keys, count, *prefix, not_by);
                made = t->noloop ? NULL : prefix;
            }
            if (any)
                give(c, t->session, buf_slice(&payload));
        }
    }
    buf_deinit(&payload);
}

static void deliver_changed(struct core *c)
{
    struct changed_key **keys;
    uint32_t count = take_changed(c, &keys);
    deliver_to_all(c, keys, count);
    for (uint32_t i = 0; i < count; i++)
        mem_free(keys[i]);
    mem_free(keys);
}

/* --- Prefixes that nobody wants any more --- */

/* On the core whose shard it is. */
static void receive_prefix_end(struct core_message *m)
{
    struct notice *n = (struct notice *)m;
    track_prefix_remove(&core_self()->shard, bytes_of(n), n->home);
    mem_free(n);
}

/* Our own shard is left alone just now: a session may end while a script has that (serve.h). */
void tracking_post_prefix_end(struct core *c, struct slice prefix)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct notice *n = make_notice(receive_prefix_end, prefix);
        n->home = c->index;
        if (i != c->index) {
            post(c, i, n);
            continue;
        }
        n->next = c->tracking->ended;
        c->tracking->ended = n;
    }
}

static void take_ended(struct core *c)
{
    while (c->tracking->ended) {
        struct notice *n = c->tracking->ended;
        c->tracking->ended = n->next;
        receive_prefix_end(&n->message);
    }
}

void tracking_deliver(struct core *c)
{
    if (__builtin_expect(!c->tracking || (!c->tracking->changed && !c->tracking->ended), 1))
        return;
    take_ended(c);
    if (c->tracking->changed)
        deliver_changed(c);
}

void tracking_finish(struct core *c)
{
    struct tracking_core *x = c->tracking;
    if (!x)
        return;
    assert(!x->first);
    take_ended(c);
    while (x->changed) {
        struct changed_key *next = x->changed->next;
        mem_free(x->changed);
        x->changed = next;
    }
    mem_free(x);
    c->tracking = NULL;
}
