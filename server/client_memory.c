/* maxmemory-clients: see client_memory.h. */
#include "server/client_memory.h"

#include <assert.h>

#include "proto/mem.h"
#include "server/cmd/client.h"

#define CLASS_MIN_BITS 15
/* The least limit that is taken seriously: below, connections as such would be too much. */
#define LIMIT_MIN ((int64_t)128 * 1024)
/* Shares of the limit that a core may have unsaid, all cores together; and at most so much. */
#define UNSAID_SHARES 64
#define UNSAID_MAX ((int64_t)64 * 1024)
/* Of a class, so many are looked at for the largest. */
#define LOOK_MAX 16

struct client_memory *client_memory_create(void)
{
    return mem_alloc_zeroed(sizeof(struct client_memory));
}

void client_memory_destroy(struct client_memory *m)
{
    mem_free(m);
}

static uint32_t class_of(size_t size)
{
    uint32_t bits = size ? 64 - (uint32_t)__builtin_clzll(size) : 0; /* size < 1 << bits */
    if (bits <= CLASS_MIN_BITS)
        return 0;
    uint32_t class = bits - CLASS_MIN_BITS;
    return class < CLIENT_MEMORY_CLASSES ? class : CLIENT_MEMORY_CLASSES - 1;
}

static void tell_top(struct client_memory *m)
{
    uint32_t top = m->used ? 32 - (uint32_t)__builtin_clz(m->used) : 0;
    if (atomic_load_explicit(&m->top, memory_order_relaxed) != top)
        atomic_store_explicit(&m->top, top, memory_order_relaxed);
}

static void leave_class(struct client_memory *m, struct session *s)
{
    struct session_memory_place *at = &s->memory;
    if (!at->listed)
        return;
    at->listed = false;
    if (at->next)
        at->next->memory.previous = at->previous;
    if (at->previous)
        at->previous->memory.next = at->next;
    else
        m->classes[at->class] = at->next;
    if (!m->classes[at->class]) {
        m->used &= ~(1u << at->class);
        tell_top(m);
    }
}

static void join_class(struct client_memory *m, struct session *s, uint32_t class)
{
    struct session *first = m->classes[class];
    s->memory = (struct session_memory_place){
        .size = s->memory.size, .next = first, .class = (uint8_t)class, .listed = true,
    };
    if (first)
        first->memory.previous = s;
    m->classes[class] = s;
    if (!(m->used & 1u << class)) {
        m->used |= 1u << class;
        tell_top(m);
    }
}

void client_memory_note(struct core *c, struct session *s)
{
    struct client_memory *m = c->client_memory;
    bool ends = s->close_asked || s->closing;
    size_t size = ends || s->replay ? 0 : session_memory(s);
    m->unsaid += (int64_t)size - (int64_t)s->memory.size;
    s->memory.size = size;
    uint32_t class = class_of(size);
    bool listed = !ends && !s->replay && !s->no_evict;
    if (listed == s->memory.listed && (!listed || class == s->memory.class))
        return;
    leave_class(m, s);
    if (listed)
        join_class(m, s, class);
}

void client_memory_forget(struct core *c, struct session *s)
{
    c->client_memory->unsaid -= (int64_t)s->memory.size;
    leave_class(c->client_memory, s);
    s->memory.size = 0;
}

/* ---- Eviction ---- */

static int64_t say(struct client_memory *m)
{
    int64_t said = m->unsaid;
    m->unsaid = 0;
    return atomic_fetch_add_explicit(&server->client_memory, said, memory_order_relaxed) + said;
}

/* Near enough the largest. */
static struct session *largest(const struct client_memory *m)
{
    struct session *s = m->classes[31 - (uint32_t)__builtin_clz(m->used)];
    struct session *best = s;
    for (uint32_t i = 0; s && i < LOOK_MAX; i++, s = s->memory.next)
        if (s->memory.size > best->memory.size)
            best = s;
    return best;
}

static void evict(struct core *c, struct session *s)
{
    struct buf line;
    buf_init(&line);
    client_describe(&line, s, c->wall_ms);
    log_write(&server->log, LOG_NOTICE, "Evicting client: %.*s", (int)line.size, line.data);
    buf_deinit(&line);
    c->stats.evicted_clients++;
    session_end(c, s, false);
    client_memory_note(c, s); /* it counts no more: what it has is on its way out */
}

/* The core that has the largest class of all, this one before others; core_count where nobody can
 * be evicted. */
static uint32_t find_top(const struct core *c)
{
    uint32_t best = server->core_count;
    uint32_t top = atomic_load_explicit(&c->client_memory->top, memory_order_relaxed);
    if (top)
        best = c->index;
    for (uint32_t i = 0; i < server->core_count; i++) {
        uint32_t other =
            atomic_load_explicit(&server->cores[i]->client_memory->top, memory_order_relaxed);
        if (other > top) {
            top = other;
            best = i;
        }
    }
    return best;
}

static void evict_here(struct core *c);

static void receive_right(struct core_message *m)
{
    (void)m;
    evict_here(core_self());
}

static void evict_here(struct core *c)
{
    while (server->client_memory_max && say(c->client_memory) > server->client_memory_max) {
        uint32_t at = find_top(c);
        if (at == server->core_count)
            break;
        if (at != c->index) {
            struct core_message *m = &server->cores[at]->client_memory->right;
            *m = (struct core_message){.receive = receive_right};
            core_post(c, at, m);
            return;
        }
        evict(c, largest(c->client_memory));
    }
    /* Pairs with the exchange in client_memory_limit: the message is free again. */
    atomic_store_explicit(&server->evicting, false, memory_order_release);
}

void client_memory_limit(struct core *c, bool all)
{
    struct client_memory *m = c->client_memory;
    int64_t unsaid = m->unsaid < 0 ? -m->unsaid : m->unsaid;
    if (unsaid == 0 ? !all : unsaid < server->client_memory_quantum && !all)
        return;
    if (say(m) <= server->client_memory_max ||
        atomic_load_explicit(&server->stopping, memory_order_relaxed))
        return;
    /* Pairs with the store in evict_here. */
    if (!atomic_exchange_explicit(&server->evicting, true, memory_order_acquire))
        evict_here(c);
}

/* What was written since the last flush has not been noted yet. */
uint64_t client_memory_lasting(struct core *c)
{
    int64_t max = server->client_memory_max;
    uint64_t kept = 0, evictable = 0;
    for (struct session *s = c->sessions; s; s = s->next) {
        if (max)
            client_memory_note(c, s);
        if (!s->close_asked && !s->closing)
            *(s->no_evict ? &kept : &evictable) += session_memory(s);
    }
    int64_t all = c->client_memory->unsaid +
                  atomic_load_explicit(&server->client_memory, memory_order_relaxed);
    if (max && all > max)
        evictable = (uint64_t)((double)evictable * (double)max / (double)all);
    return kept + evictable;
}

/* ---- The limit ---- */

static int64_t effective_limit(void)
{
    const struct config *c = &server->config;
    int64_t limit = c->maxmemory_clients;
    if (limit < 0)
        limit = (int64_t)((double)c->maxmemory * (double)-limit / 100);
    return limit && limit < LIMIT_MIN ? LIMIT_MIN : limit;
}

static void note_all(struct core *c)
{
    for (struct session *s = c->sessions; s; s = s->next)
        client_memory_note(c, s);
}

static void forget_all(struct core *c)
{
    for (struct session *s = c->sessions; s; s = s->next)
        client_memory_forget(c, s);
}

void client_memory_apply_config(void)
{
    if (!server->core_count)
        return;
    bool was_on = server->client_memory_max != 0;
    int64_t limit = effective_limit();
    server->client_memory_max = limit;
    server->client_memory_quantum = limit / UNSAID_SHARES / server->core_count;
    if (server->client_memory_quantum > UNSAID_MAX)
        server->client_memory_quantum = UNSAID_MAX;
    if (server->core_count == 1)
        server->client_memory_quantum = 1;
    if (was_on == (limit != 0))
        return;
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (limit)
            note_all(server->cores[i]);
        else
            forget_all(server->cores[i]);
        say(server->cores[i]->client_memory);
    }
}
