/* Pub/Sub, the messages: see pubsub.h.
 *
 * A message is encoded where it is posted, once, as RESP2 has it; RESP3's form differs in the first
 * byte. Its receivers are known by then too: a topic that stands in the inbox cannot go, since what
 * is there is given out before a subscription changes. Messages to one channel that come one behind
 * the other, and match no pattern, are put together while they are small: its subscribers, however
 * many, get them as one piece. */
#include <assert.h>

#include "proto/glob.h"
#include "proto/mem.h"
#include "proto/number.h"
#include "server/pubsub_inside.h"
#include "server/server.h"

/* Bytes of messages put together. */
#define RUN_SIZE_MAX 16384
/* A type byte, a length, a line break. */
#define HEADER_SIZE_MAX (1 + NUMBER_INTEGER_SIZE_MAX + 2)

struct message {
    struct output_shared shared; /* first */
    struct message *next;
    struct topic *topic;      /* NULL: only patterns match */
    struct topic **patterns;  /* owned; NULL: none */
    uint32_t pattern_count;
    uint32_t front;           /* bytes of a message before its channel's length */
    size_t head;              /* ... before the length of its text */
    size_t cap;
    char bytes[];
};

/* --- Encoding --- */

static char *put(char *to, struct slice text)
{
    if (text.size)
        memcpy(to, text.data, text.size);
    return to + text.size;
}

static char *put_bulk(char *to, struct slice text)
{
    *to++ = '$';
    to += number_format_unsigned(to, text.size);
    to = put(put(to, SLICE("\r\n")), text);
    return put(to, SLICE("\r\n"));
}

static struct slice front_of(bool sharded)
{
    return sharded ? SLICE("*3\r\n$8\r\nsmessage\r\n") : SLICE("*3\r\n$7\r\nmessage\r\n");
}

static size_t size_max(struct slice channel, struct slice text)
{
    return 64 + channel.size + text.size + 2 * HEADER_SIZE_MAX;
}

static void encode(struct message *m, struct slice channel, struct slice text, bool sharded)
{
    struct slice front = front_of(sharded);
    char *start = m->bytes + m->shared.size;
    char *to = put_bulk(put(start, front), channel);
    m->front = (uint32_t)front.size;
    m->head = (size_t)(to - start);
    to = put_bulk(to, text);
    m->shared.size = (size_t)(to - m->bytes);
    assert(m->shared.size <= m->cap);
}

/* The end of the encoded message at `at`: behind its head stands the length of its text. */
static size_t message_end(const struct message *m, size_t at)
{
    size_t size = 0;
    at += m->head + 1;
    for (; m->bytes[at] != '\r'; at++)
        size = size * 10 + (size_t)(m->bytes[at] - '0');
    return at + 2 + size + 2;
}

static struct output_shared *make_shared(size_t size)
{
    struct output_shared *x = mem_alloc(sizeof(*x) + size);
    *x = (struct output_shared){.references = 1, .size = size, .bytes = (char *)(x + 1)};
    return x;
}

/* The same as RESP3 has it. */
static struct output_shared *make_push(const struct message *m)
{
    struct output_shared *x = make_shared(m->shared.size);
    memcpy(x->bytes, m->bytes, x->size);
    for (size_t at = 0; at < x->size; at = message_end(m, at))
        x->bytes[at] = '>';
    return x;
}

/* What the subscribers of a pattern get: its name before the channel. */
static struct output_shared *make_pattern(const struct message *m, const struct topic *pattern,
                                          unsigned protocol)
{
    struct slice tail = {m->bytes + m->front, m->shared.size - m->front};
    struct slice front = SLICE("*4\r\n$8\r\npmessage\r\n");
    struct output_shared *x =
        make_shared(front.size + HEADER_SIZE_MAX + pattern->size + 2 + tail.size);
    char *to = put(put_bulk(put(x->bytes, front), topic_name(pattern)), tail);
    x->size = (size_t)(to - x->bytes);
    if (protocol > 2)
        x->bytes[0] = '>';
    return x;
}

/* --- Posting --- */

static bool matches(const struct topic *pattern, struct slice channel)
{
    size_t literal = pattern->literal;
    if (literal && (channel.size < literal || memcmp(channel.data, pattern->name, literal) != 0))
        return false;
    return glob_match(topic_name(pattern), channel, false);
}

/* Fills p->matched; returns how many, and adds their subscribers to *receivers. */
static uint32_t match(const struct pubsub *p, struct slice channel, uint32_t *receivers)
{
    uint32_t n = 0;
    for (uint64_t i = 0; i < p->kind_counts[PUBSUB_PATTERN]; i++) {
        if (!matches(p->patterns[i], channel))
            continue;
        p->matched[n++] = p->patterns[i];
        *receivers += p->patterns[i]->count;
    }
    return n;
}

/* Room behind the last message, where this one goes to the same sessions; or NULL. */
static struct message *extend_last(struct pubsub *p, const struct topic *t, size_t size)
{
    struct message *m = p->last;
    if (!m || m->topic != t || m->pattern_count || m->shared.size + size > RUN_SIZE_MAX)
        return NULL;
    if (m->cap - m->shared.size >= size)
        return m;
    m->cap = (m->shared.size + size) * 2;
    struct message *moved = mem_realloc(m, sizeof(*m) + m->cap);
    moved->shared.bytes = moved->bytes;
    if (p->first == m)
        p->first = moved;
    else
        p->before_last->next = moved;
    p->last = moved;
    return moved;
}

static struct message *add_message(struct pubsub *p, struct topic *t, uint32_t pattern_count,
                                   size_t size)
{
    struct message *m = mem_alloc(sizeof(*m) + size);
    *m = (struct message){
        .shared = {.references = 1, .bytes = m->bytes}, .topic = t, .cap = size,
        .pattern_count = pattern_count,
    };
    if (pattern_count) {
        m->patterns = mem_alloc(pattern_count * sizeof(struct topic *));
        memcpy(m->patterns, p->matched, pattern_count * sizeof(struct topic *));
    }
    p->before_last = p->last;
    if (p->last)
        p->last->next = m;
    else
        p->first = m;
    p->last = m;
    return m;
}

uint32_t pubsub_post(struct core *to, struct slice channel, struct slice message, bool sharded)
{
    struct pubsub *p = to->pubsub;
    if (!p)
        return 0;
    struct topic *t = pubsub_find(p, sharded ? PUBSUB_SHARD_CHANNEL : PUBSUB_CHANNEL, channel);
    uint32_t receivers = t ? t->count : 0;
    uint32_t pattern_count = sharded ? 0 : match(p, channel, &receivers);
    if (!receivers)
        return 0;
    const struct core *self = core_self();
    if (self && self->journal.must > to->journal.must)
        to->journal.must = self->journal.must; /* it may tell of what is not durable yet */
    size_t size = size_max(channel, message);
    struct message *m = pattern_count ? NULL : extend_last(p, t, size);
    if (!m)
        m = add_message(p, t, pattern_count, size);
    encode(m, channel, message, sharded);
    return receivers;
}

uint32_t pubsub_count(const struct core *c, struct slice channel, bool sharded)
{
    uint32_t receivers = pubsub_subscribers(c, channel, sharded);
    if (c->pubsub && !sharded)
        match(c->pubsub, channel, &receivers);
    return receivers;
}

/* --- Giving out --- */

static void give_channel(struct core *c, struct message *m)
{
    struct output_shared *push = NULL;
    for (uint32_t i = 0; i < m->topic->count; i++) {
        struct session *s = m->topic->subscribers[i].session;
        if (s->protocol > 2 && !push)
            push = make_push(m);
        session_push(c, s, s->protocol > 2 ? push : &m->shared);
    }
    if (push)
        session_release_shared(push);
}

static void give_pattern(struct core *c, const struct message *m, const struct topic *pattern)
{
    struct output_shared *forms[2] = {NULL, NULL};
    for (uint32_t i = 0; i < pattern->count; i++) {
        struct session *s = pattern->subscribers[i].session;
        struct output_shared **form = &forms[s->protocol > 2];
        if (!*form)
            *form = make_pattern(m, pattern, s->protocol);
        session_push(c, s, *form);
    }
    for (uint32_t i = 0; i < 2; i++)
        if (forms[i])
            session_release_shared(forms[i]);
}

static struct message *take_first(struct pubsub *p)
{
    struct message *m = p->first;
    p->first = m->next;
    if (!p->first)
        p->last = NULL;
    return m;
}

static void drop(struct message *m)
{
    mem_free(m->patterns);
    m->patterns = NULL;
    session_release_shared(&m->shared);
}

/* With p->within set, the messages of that session are held back. */
static void work_off(struct core *c, struct pubsub *p)
{
    while (p->first) {
        struct message *m = take_first(p);
        if (m->topic)
            give_channel(c, m);
        for (uint32_t i = 0; i < m->pattern_count; i++)
            give_pattern(c, m, m->patterns[i]);
        drop(m);
    }
}

static void end_within(struct core *c, struct pubsub *p)
{
    struct session *s = p->within;
    if (!s)
        return;
    p->within = NULL;
    s->holds_pushes = false;
    session_release_held_pushes(c, s);
}

void pubsub_deliver(struct core *c)
{
    struct pubsub *p = c->pubsub;
    if (!p)
        return;
    if (!c->serving) /* else that reply is still being written */
        end_within(c, p);
    work_off(c, p);
}

bool pubsub_has_few(const struct core *c, uint32_t receivers_max)
{
    const struct pubsub *p = c->pubsub;
    if (!p || p->within)
        return false;
    uint64_t n = 0;
    for (const struct message *m = p->first; m && n <= receivers_max; m = m->next) {
        n += m->topic ? m->topic->count : 0;
        for (uint32_t i = 0; i < m->pattern_count; i++)
            n += m->patterns[i]->count;
    }
    return n <= receivers_max;
}

void pubsub_settle(struct core *c, struct session *s, bool within)
{
    struct pubsub *p = c->pubsub;
    if (!p)
        return;
    if (p->within != s)
        end_within(c, p);
    if (within) {
        p->within = s;
        s->holds_pushes = true;
    }
    work_off(c, p);
}

void pubsub_drop_inbox(struct pubsub *p)
{
    while (p->first)
        drop(take_first(p));
}
