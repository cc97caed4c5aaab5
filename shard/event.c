/* Events: see event.h. */
#include "shard/event.h"

#include "proto/mem.h"
#include "shard/shard.h"

static void append(struct events *to, struct event *e)
{
    if (to->last)
        to->last->next = e;
    else
        to->first = e;
    to->last = e;
}

void event_notify(struct shard *s, uint32_t db, struct slice key, const char *name)
{
    struct event *e = mem_alloc(sizeof(*e) + key.size);
    *e = (struct event){
        .kind = EVENT_NOTIFY,
        .channels = s->keyspace->options.notify & (NOTIFY_KEYSPACE | NOTIFY_KEYEVENT),
        .db = db,
        .name = name,
        .key_size = (uint32_t)key.size,
    };
    if (key.size)
        memcpy(e->key, key.data, key.size);
    append(s->events.instead ? s->events.instead : &s->events, e);
}

bool event_gather(struct shard *const *shards, uint32_t count)
{
    struct events *first = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (shards[i] && shards[i]->events.instead)
            return false; /* a command within a transaction or script that gathers already */
    for (uint32_t i = 0; i < count; i++) {
        if (!shards[i])
            continue;
        if (!shards[i]->keyspace->options.notify)
            return false;
        if (first)
            shards[i]->events.instead = first;
        else
            first = &shards[i]->events;
    }
    return first;
}

void event_gather_end(struct shard *const *shards, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (shards[i])
            shards[i]->events.instead = NULL;
}

uint64_t *event_invalidate(struct shard *s, struct slice key, uint64_t client,
                           uint32_t client_count)
{
    size_t at = (offsetof(struct event, key) + key.size + 7) & ~(size_t)7;
    struct event *e = mem_alloc(at + client_count * sizeof(uint64_t));
    uint64_t *clients = (uint64_t *)((char *)e + at);
    *e = (struct event){
        .kind = EVENT_INVALIDATE, .client = client, .clients = clients,
        .client_count = client_count, .key_size = (uint32_t)key.size,
    };
    if (key.size)
        memcpy(e->key, key.data, key.size);
    append(&s->events, e);
    return clients;
}

void event_invalidate_all(struct shard *s, uint64_t client)
{
    struct event *e = mem_alloc(sizeof(*e));
    *e = (struct event){.kind = EVENT_INVALIDATE_ALL, .client = client};
    append(&s->events, e);
}

struct event *event_take(struct shard *s)
{
    struct event *first = s->events.first;
    s->events.first = s->events.last = NULL;
    return first;
}

void event_free(struct event *e)
{
    mem_free(e);
}

/* What time has done is not taken back with a script: the key stays gone. */
static bool goes(const struct event *e)
{
    return e->kind == EVENT_NOTIFY && strcmp(e->name, "expired") != 0 &&
           strcmp(e->name, "hexpired") != 0;
}

void event_cut(struct shard *s, struct event *mark)
{
    struct event **link = mark ? &mark->next : &s->events.first;
    s->events.last = mark;
    while (*link) {
        struct event *e = *link;
        if (goes(e)) {
            *link = e->next;
            event_free(e);
        } else {
            s->events.last = e;
            link = &e->next;
        }
    }
}
