/* Pub/Sub, the subscriptions: see pubsub.h. A topic lives while it has subscribers. */
#include "server/pubsub.h"

#include <assert.h>

#include "proto/mem.h"
#include "server/pubsub_inside.h"
#include "server/server.h"

/* Slots of the filter of interest: a power of two. With 1,000 channels a core, one in seventeen of
 * the other cores is asked for nothing. */
#define INTEREST_SLOTS 16384

/* Each slot has a bit a core. Set and cleared by that core alone. */
struct interest {
    uint32_t words; /* a slot */
    _Atomic uint64_t patterns[ORDER_MASK_WORDS];
    _Atomic uint64_t slots[];
};

/* --- The filter --- */

struct interest *pubsub_create_interest(uint32_t core_count)
{
    uint32_t words = (core_count + 63) / 64;
    struct interest *x =
        mem_alloc_zeroed(sizeof(*x) + (size_t)INTEREST_SLOTS * words * sizeof(x->slots[0]));
    x->words = words;
    return x;
}

void pubsub_destroy_interest(struct interest *interest)
{
    mem_free(interest);
}

static uint64_t hash_name(enum pubsub_kind kind, struct slice name)
{
    return keyspace_hash(&server->keyspace, name) + kind * UINT64_C(0x9e3779b97f4a7c15);
}

static uint32_t slot_of(uint64_t hash)
{
    return (uint32_t)(hash >> 20) & (INTEREST_SLOTS - 1);
}

void pubsub_interest(struct slice channel, bool sharded, struct core_mask *mask)
{
    struct interest *x = server->interest;
    enum pubsub_kind kind = sharded ? PUBSUB_SHARD_CHANNEL : PUBSUB_CHANNEL;
    const _Atomic uint64_t *slot = &x->slots[slot_of(hash_name(kind, channel)) * x->words];
    *mask = (struct core_mask){0};
    for (uint32_t i = 0; i < x->words; i++) {
        /* Pairs with the setting in show_interest: a publisher that has heard of the subscription's
         * acknowledgement sees the bit. */
        mask->words[i] = atomic_load((_Atomic uint64_t *)&slot[i]);
        if (!sharded)
            mask->words[i] |= atomic_load(&x->patterns[i]);
    }
}

static void set_bit(_Atomic uint64_t *words, uint32_t core, bool on)
{
    uint64_t bit = UINT64_C(1) << (core % 64);
    if (on)
        atomic_fetch_or(&words[core / 64], bit);
    else
        atomic_fetch_and(&words[core / 64], ~bit);
}

/* A topic has come: its core is asked from now on. Pairs with the loads in pubsub_interest. */
static void show_interest(struct core *c, const struct topic *t)
{
    struct interest *x = server->interest;
    struct pubsub *p = c->pubsub;
    if (p->kind_counts[t->kind]++ == 0 && t->kind == PUBSUB_PATTERN)
        set_bit(x->patterns, c->index, true);
    if (t->kind != PUBSUB_PATTERN && p->slot_counts[slot_of(t->hash)]++ == 0)
        set_bit(&x->slots[slot_of(t->hash) * x->words], c->index, true);
}

static void lose_interest(struct core *c, const struct topic *t)
{
    struct interest *x = server->interest;
    struct pubsub *p = c->pubsub;
    if (--p->kind_counts[t->kind] == 0 && t->kind == PUBSUB_PATTERN)
        set_bit(x->patterns, c->index, false);
    if (t->kind != PUBSUB_PATTERN && --p->slot_counts[slot_of(t->hash)] == 0)
        set_bit(&x->slots[slot_of(t->hash) * x->words], c->index, false);
}

/* --- Topics --- */

static uint64_t hash_topic(const void *item, const void *context)
{
    return ((const struct topic *)item)->hash;
}

static uint64_t hash_pair(const struct topic *t, const struct session *s)
{
    uint64_t x = t->hash ^ s->id * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return x ^ (x >> 32);
}

static uint64_t hash_member(const void *item, const void *context)
{
    const struct subscription *x = item;
    return hash_pair(x->topic, x->session);
}

static struct pubsub *get(struct core *c)
{
    static const struct table_type topics = {hash_topic}, members = {hash_member};
    if (c->pubsub)
        return c->pubsub;
    struct pubsub *p = mem_alloc_zeroed(sizeof(*p));
    table_init(&p->topics, &topics, NULL);
    table_init(&p->members, &members, NULL);
    p->slot_counts = mem_alloc_zeroed(INTEREST_SLOTS * sizeof(*p->slot_counts));
    c->pubsub = p;
    return p;
}

static struct table_place find_topic(const struct pubsub *p, enum pubsub_kind kind,
                                     struct slice name, uint64_t hash)
{
    struct table_probe probe;
    struct topic *t;
    table_probe_start(&probe, &p->topics, hash);
    while ((t = table_probe_next(&probe)) != NULL)
        if (t->kind == kind && slice_equal(topic_name(t), name))
            break;
    return table_probe_place(&probe);
}

struct topic *pubsub_find(const struct pubsub *p, enum pubsub_kind kind, struct slice name)
{
    if (!p->kind_counts[kind])
        return NULL;
    struct table_place at = find_topic(p, kind, name, hash_name(kind, name));
    return at.bucket ? table_item(at) : NULL;
}

/* Bytes before the first that is special in a pattern. */
static uint32_t literal_size(struct slice pattern)
{
    uint32_t n = 0;
    while (n < pattern.size && !memchr("*?[\\", pattern.data[n], 4))
        n++;
    return n;
}

static void add_pattern(struct pubsub *p, struct topic *t)
{
    uint32_t count = (uint32_t)p->kind_counts[PUBSUB_PATTERN] - 1;
    if (count == p->pattern_cap) {
        p->pattern_cap = count ? count * 2 : 8;
        p->patterns = mem_realloc(p->patterns, p->pattern_cap * sizeof(*p->patterns));
        p->matched = mem_realloc(p->matched, p->pattern_cap * sizeof(*p->matched));
    }
    t->index = count;
    t->literal = literal_size(topic_name(t));
    p->patterns[count] = t;
}

static void remove_pattern(struct pubsub *p, struct topic *t)
{
    struct topic *last = p->patterns[p->kind_counts[PUBSUB_PATTERN]];
    last->index = t->index;
    p->patterns[t->index] = last;
}

static struct topic *open_topic(struct core *c, enum pubsub_kind kind, struct slice name)
{
    struct pubsub *p = get(c);
    uint64_t hash = hash_name(kind, name);
    struct table_place at = find_topic(p, kind, name, hash);
    if (at.bucket)
        return table_item(at);
    struct topic *t = mem_alloc(sizeof(*t) + name.size);
    *t = (struct topic){.hash = hash, .kind = (uint8_t)kind, .size = (uint32_t)name.size};
    if (name.size)
        memcpy(t->name, name.data, name.size);
    table_add(&p->topics, hash, t, false);
    p->topic_bytes += sizeof(*t) + t->size;
    show_interest(c, t);
    if (kind == PUBSUB_PATTERN)
        add_pattern(p, t);
    return t;
}

static void close_topic(struct core *c, struct topic *t)
{
    struct pubsub *p = c->pubsub;
    lose_interest(c, t);
    if (t->kind == PUBSUB_PATTERN)
        remove_pattern(p, t);
    table_remove(&p->topics, find_topic(p, (enum pubsub_kind)t->kind, topic_name(t), t->hash),
                 t->hash);
    p->topic_bytes -= sizeof(*t) + t->size;
    mem_free(t->subscribers);
    mem_free(t);
}

static void add_subscriber(struct topic *t, struct subscription *x)
{
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1;
        t->subscribers = mem_realloc(t->subscribers, t->cap * sizeof(*t->subscribers));
    }
    x->index = t->count;
    t->subscribers[t->count++] = (struct subscriber){x->session, x};
}

static void remove_subscriber(struct topic *t, struct subscription *x)
{
    struct subscriber last = t->subscribers[--t->count];
    last.subscription->index = x->index;
    t->subscribers[x->index] = last;
}

/* --- A session's subscriptions --- */

static struct table_place find_member(const struct pubsub *p, const struct topic *t,
                                      const struct session *s)
{
    struct table_probe probe;
    struct subscription *x;
    table_probe_start(&probe, &p->members, hash_pair(t, s));
    while ((x = table_probe_next(&probe)) != NULL)
        if (x->topic == t && x->session == s)
            break;
    return table_probe_place(&probe);
}

static void link_to(struct subscriptions *to, struct subscription *x)
{
    uint32_t kind = x->topic->kind;
    x->previous = to->last[kind];
    if (x->previous)
        x->previous->next = x;
    else
        to->first[kind] = x;
    to->last[kind] = x;
    to->count[kind]++;
}

static void unlink_from(struct subscriptions *from, struct subscription *x)
{
    uint32_t kind = x->topic->kind;
    if (x->previous)
        x->previous->next = x->next;
    else
        from->first[kind] = x->next;
    if (x->next)
        x->next->previous = x->previous;
    else
        from->last[kind] = x->previous;
    from->count[kind]--;
}

bool pubsub_join(struct core *c, struct session *s, enum pubsub_kind kind, struct slice name)
{
    struct topic *t = open_topic(c, kind, name);
    struct pubsub *p = c->pubsub;
    if (find_member(p, t, s).bucket)
        return false;
    struct subscription *x = mem_alloc_zeroed(sizeof(*x));
    x->topic = t;
    x->session = s;
    add_subscriber(t, x);
    table_add(&p->members, hash_pair(t, s), x, false);
    if (!s->subscriptions)
        s->subscriptions = mem_alloc_zeroed(sizeof(*s->subscriptions));
    link_to(s->subscriptions, x);
    return true;
}

/* The session keeps its empty struct: see close_empty. */
static void end_subscription(struct core *c, struct subscription *x, struct table_place at)
{
    struct pubsub *p = c->pubsub;
    struct topic *t = x->topic;
    table_remove(&p->members, at, hash_pair(t, x->session));
    unlink_from(x->session->subscriptions, x);
    remove_subscriber(t, x);
    if (t->count == 0)
        close_topic(c, t);
    mem_free(x);
}

static void close_empty(struct session *s)
{
    for (uint32_t i = 0; i < PUBSUB_KINDS; i++)
        if (s->subscriptions->count[i])
            return;
    mem_free(s->subscriptions);
    s->subscriptions = NULL;
}

bool pubsub_part(struct core *c, struct session *s, enum pubsub_kind kind, struct slice name)
{
    struct topic *t = s->subscriptions ? pubsub_find(c->pubsub, kind, name) : NULL;
    if (!t)
        return false;
    struct table_place at = find_member(c->pubsub, t, s);
    if (!at.bucket)
        return false;
    end_subscription(c, table_item(at), at);
    close_empty(s);
    return true;
}

bool pubsub_oldest(const struct session *s, enum pubsub_kind kind, struct slice *name)
{
    if (!s->subscriptions || !s->subscriptions->first[kind])
        return false;
    *name = topic_name(s->subscriptions->first[kind]->topic);
    return true;
}

void pubsub_visit_own(const struct session *s, enum pubsub_kind kind,
                      void (*visit)(void *context, struct slice name), void *context)
{
    const struct subscription *each = s->subscriptions ? s->subscriptions->first[kind] : NULL;
    for (; each; each = each->next)
        visit(context, topic_name(each->topic));
}

uint32_t pubsub_subscription_count(const struct session *s, enum pubsub_kind kind)
{
    return s->subscriptions ? s->subscriptions->count[kind] : 0;
}

size_t pubsub_memory(const struct session *s)
{
    if (!s->subscriptions)
        return 0;
    size_t n = 0;
    for (uint32_t i = 0; i < PUBSUB_KINDS; i++)
        n += s->subscriptions->count[i];
    return sizeof(*s->subscriptions) +
           n * (sizeof(struct subscription) + sizeof(struct subscriber));
}

size_t pubsub_core_memory(const struct core *c)
{
    const struct pubsub *p = c->pubsub;
    if (!p)
        return 0;
    return sizeof(*p) + INTEREST_SLOTS * sizeof(*p->slot_counts) + table_memory(&p->topics) +
           table_memory(&p->members) + p->topic_bytes +
           2 * p->pattern_cap * sizeof(*p->patterns);
}

void pubsub_leave(struct core *c, struct session *s)
{
    struct pubsub *p = c->pubsub;
    if (!p)
        return;
    pubsub_deliver(c);
    if (!s->subscriptions)
        return;
    for (uint32_t i = 0; i < PUBSUB_KINDS; i++) {
        struct subscription *x;
        while ((x = s->subscriptions->first[i]) != NULL)
            end_subscription(c, x, find_member(p, x->topic, s));
    }
    close_empty(s);
}

/* --- What there is --- */

uint32_t pubsub_subscribers(const struct core *c, struct slice channel, bool sharded)
{
    if (!c->pubsub)
        return 0;
    const struct topic *t =
        pubsub_find(c->pubsub, sharded ? PUBSUB_SHARD_CHANNEL : PUBSUB_CHANNEL, channel);
    return t ? t->count : 0;
}

uint64_t pubsub_topic_count(const struct core *c, enum pubsub_kind kind)
{
    return c->pubsub ? c->pubsub->kind_counts[kind] : 0;
}

struct visitor {
    enum pubsub_kind kind;
    void (*visit)(void *context, struct slice name, uint64_t hash);
    void *context;
};

static void visit_topic(void *context, void *item, struct table_place at)
{
    const struct visitor *v = context;
    const struct topic *t = item;
    if (t->kind == v->kind)
        v->visit(v->context, topic_name(t), t->hash);
}

void pubsub_visit(struct core *c, enum pubsub_kind kind,
                  void (*visit)(void *context, struct slice name, uint64_t hash), void *context)
{
    struct visitor v = {kind, visit, context};
    if (c->pubsub && c->pubsub->kind_counts[kind])
        table_scan(&c->pubsub->topics, 0, 0, 0, false, visit_topic, &v);
}

void pubsub_finish(struct core *c)
{
    struct pubsub *p = c->pubsub;
    if (!p)
        return;
    assert(p->members.count == 0);
    pubsub_drop_inbox(p);
    table_deinit(&p->topics);
    table_deinit(&p->members);
    mem_free(p->patterns);
    mem_free(p->matched);
    mem_free(p->slot_counts);
    mem_free(p);
    c->pubsub = NULL;
}
