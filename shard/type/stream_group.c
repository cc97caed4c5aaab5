/* Groups of consumers: see stream_group.h.
 *
 * A nack belongs to its group's PEL; that of its consumer only refers to it. */
#include "shard/type/stream_group.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/type/view_hook.h"

static struct slice key_of(unsigned char key[STREAM_ID_KEY_SIZE], struct stream_id id)
{
    stream_id_write_key(key, id);
    return (struct slice){(char *)key, STREAM_ID_KEY_SIZE};
}

static void *allocate(struct rax_account *a, size_t size)
{
    void *p = mem_alloc(size);
    a->bytes += mem_usable(p);
    a->allocations++;
    return p;
}

static void release(struct rax_account *a, void *p)
{
    a->bytes -= mem_usable(p);
    a->allocations--;
    mem_free(p);
}

static void copy_name(char *to, struct slice name)
{
    if (name.size)
        memcpy(to, name.data, name.size);
}

/* --- Groups --- */

struct stream_group *stream_group_find(const struct stream *s, struct slice name)
{
    return rax_find(&s->groups, name);
}

struct stream_group *stream_group_create(struct stream *s, struct slice name,
                                         struct stream_id last_id, int64_t entries_read)
{
    if (stream_group_find(s, name))
        return NULL;
    struct stream_group *g = allocate(&s->account, sizeof(*g) + name.size);
    g->last_id = last_id;
    g->entries_read = entries_read;
    rax_init(&g->pel, &s->account);
    rax_init(&g->consumers, &s->account);
    g->stream = s;
    g->stamp = s->stamp;
    g->name_size = name.size;
    copy_name(g->name, name);
    rax_put(&s->groups, stream_group_name(g), g);
    return g;
}

void stream_pel_touch(struct stream_group *g, struct stream_nack *n, struct stream_id id)
{
    const struct stream *s = g->stream;
    if (__builtin_expect(!s->view, 1) || n->stamp == s->stamp)
        return;
    view_keep_nack(s->view, g, n, id);
    n->stamp = s->stamp;
}

/* Before a group goes. */
static void keep_for_view(struct stream_group *g)
{
    const struct stream *s = g->stream;
    if (__builtin_expect(!s->view, 1) || g->stamp == s->stamp)
        return;
    struct stream_id id = STREAM_ID_MIN;
    for (struct stream_nack *n; (n = stream_pel_seek(&g->pel, id, &id));) {
        stream_pel_touch(g, n, id);
        if (!stream_id_increment(&id))
            break;
    }
    view_remove_group(s->view, g);
}

static void drop_nack(void *context, void *nack)
{
    release(context, nack);
}

/* The group is gone where this is true. */
static bool group_free_some(struct stream *s, struct stream_group *g, uint64_t *budget)
{
    struct stream_consumer *c;
    while ((c = rax_first(&g->consumers, NULL))) {
        if (!rax_free_some(&c->pel, NULL, NULL, budget))
            return false;
        rax_remove(&g->consumers, stream_consumer_name(c));
        release(&s->account, c);
    }
    if (!rax_free_some(&g->pel, drop_nack, &s->account, budget))
        return false;
    rax_remove(&s->groups, stream_group_name(g));
    release(&s->account, g);
    return true;
}

void stream_group_destroy(struct stream *s, struct stream_group *g)
{
    uint64_t budget = UINT64_MAX;
    keep_for_view(g);
    bool freed = group_free_some(s, g, &budget);
    assert(freed);
}

struct stream_group *stream_group_next(const struct stream *s, const struct stream_group *g)
{
    return g ? rax_seek(&s->groups, stream_group_name(g), RAX_ABOVE, NULL)
             : rax_first(&s->groups, NULL);
}

/* --- How far a group has read ---
 *
 * Clients may set the numbers to anything, so they are added up without a sign, where an overflow
 * is defined. */

/* True where a message at `from` or above may have been deleted. */
static bool has_gaps_from(const struct stream *s, struct stream_id from)
{
    return s->length > 0 && !stream_id_is_zero(s->max_deleted_id) &&
           stream_id_compare(s->first_id, s->max_deleted_id) <= 0 &&
           stream_id_compare(from, s->max_deleted_id) <= 0;
}

int64_t stream_entries_until(const struct stream *s, struct stream_id id)
{
    int64_t added = (int64_t)s->entries_added;
    int to_last = stream_id_compare(id, s->last_id);
    if (added == 0 || to_last == 0 || (s->length == 0 && to_last < 0))
        return added;
    if (to_last > 0)
        return STREAM_UNKNOWN;

    bool gaps = !stream_id_is_zero(s->max_deleted_id) &&
                stream_id_compare(s->max_deleted_id, s->first_id) >= 0;
    int to_first = stream_id_compare(id, s->first_id);
    if (gaps || to_first > 0)
        return STREAM_UNKNOWN;
    return (int64_t)(s->entries_added - s->length + (to_first == 0));
}

void stream_group_delivered(const struct stream *s, struct stream_group *g, struct stream_id id)
{
    if (stream_id_compare(id, g->last_id) <= 0)
        return;
    if (g->entries_read != STREAM_UNKNOWN && !has_gaps_from(s, id))
        g->entries_read = (int64_t)((uint64_t)g->entries_read + 1);
    else if (s->entries_added)
        g->entries_read = stream_entries_until(s, id);
    g->last_id = id;
}

bool stream_group_lag(const struct stream *s, const struct stream_group *g, int64_t *lag)
{
    int64_t read = g->entries_read;
    if (s->entries_added == 0)
        read = 0;
    else if (read == STREAM_UNKNOWN || has_gaps_from(s, g->last_id))
        read = stream_entries_until(s, g->last_id);
    *lag = (int64_t)(s->entries_added - (uint64_t)read);
    return read != STREAM_UNKNOWN;
}

/* --- Consumers --- */

struct stream_consumer *stream_consumer_find(const struct stream_group *g, struct slice name)
{
    return rax_find(&g->consumers, name);
}

struct stream_consumer *stream_consumer_create(struct stream_group *g, struct slice name,
                                               int64_t now_ms)
{
    if (stream_consumer_find(g, name))
        return NULL;
    struct rax_account *account = g->pel.account;
    struct stream_consumer *c = allocate(account, sizeof(*c) + name.size);
    c->seen_ms = now_ms;
    c->active_ms = STREAM_UNKNOWN;
    rax_init(&c->pel, account);
    c->name_size = name.size;
    copy_name(c->name, name);
    rax_put(&g->consumers, stream_consumer_name(c), c);
    return c;
}

void stream_consumer_destroy(struct stream_group *g, struct stream_consumer *c)
{
    unsigned char key[STREAM_ID_KEY_SIZE];
    struct slice id = {(char *)key, sizeof(key)};
    while (rax_last(&c->pel, key)) {
        struct stream_nack *n = rax_remove(&g->pel, id);
        assert(n && n->consumer == c);
        stream_pel_touch(g, n, stream_id_of_key(key));
        rax_remove(&c->pel, id);
        release(g->pel.account, n);
    }
    rax_remove(&g->consumers, stream_consumer_name(c));
    release(g->pel.account, c);
}

struct stream_consumer *stream_consumer_next(const struct stream_group *g,
                                             const struct stream_consumer *c)
{
    return c ? rax_seek(&g->consumers, stream_consumer_name(c), RAX_ABOVE, NULL)
             : rax_first(&g->consumers, NULL);
}

/* --- Pending messages --- */

struct stream_nack *stream_pel_find(const struct rax *pel, struct stream_id id)
{
    unsigned char key[STREAM_ID_KEY_SIZE];
    return rax_find(pel, key_of(key, id));
}

struct stream_nack *stream_pel_seek(const struct rax *pel, struct stream_id from,
                                    struct stream_id *id)
{
    unsigned char key[STREAM_ID_KEY_SIZE], found[STREAM_ID_KEY_SIZE];
    struct stream_nack *n = rax_seek(pel, key_of(key, from), RAX_AT_LEAST, found);
    if (n)
        *id = stream_id_of_key(found);
    return n;
}

struct stream_nack *stream_pel_last(const struct rax *pel, struct stream_id *id)
{
    unsigned char found[STREAM_ID_KEY_SIZE];
    struct stream_nack *n = rax_last(pel, found);
    if (n)
        *id = stream_id_of_key(found);
    return n;
}

struct stream_nack *stream_pel_deliver(struct stream_group *g, struct stream_consumer *c,
                                       struct stream_id id, int64_t now_ms)
{
    unsigned char bytes[STREAM_ID_KEY_SIZE];
    struct slice key = key_of(bytes, id);
    struct stream_nack *n = allocate(g->pel.account, sizeof(*n));
    *n = (struct stream_nack){.consumer = c, .delivered_ms = now_ms, .deliveries = 1,
                              .stamp = g->stream->stamp};
    struct stream_nack *former = rax_put(&g->pel, key, n);
    if (former) {
        stream_pel_touch(g, former, id);
        rax_remove(&former->consumer->pel, key);
        release(g->pel.account, former);
    }
    rax_put(&c->pel, key, n);
    return n;
}

void stream_pel_move(struct stream_group *g, struct stream_nack *n, struct stream_id id,
                     struct stream_consumer *to)
{
    if (n->consumer == to)
        return;
    stream_pel_touch(g, n, id);
    unsigned char bytes[STREAM_ID_KEY_SIZE];
    struct slice key = key_of(bytes, id);
    void *moved = rax_remove(&n->consumer->pel, key);
    assert(moved == n);
    rax_put(&to->pel, key, n);
    n->consumer = to;
}

bool stream_pel_ack(struct stream_group *g, struct stream_id id)
{
    unsigned char bytes[STREAM_ID_KEY_SIZE];
    struct slice key = key_of(bytes, id);
    struct stream_nack *n = rax_remove(&g->pel, key);
    if (!n)
        return false;
    stream_pel_touch(g, n, id);
    void *removed = rax_remove(&n->consumer->pel, key);
    assert(removed == n);
    release(g->pel.account, n);
    return true;
}

uint64_t stream_forget_id(struct stream *s, struct stream_id id)
{
    uint64_t groups = 0;
    for (struct stream_group *g = NULL; (g = stream_group_next(s, g));)
        groups += stream_pel_ack(g, id);
    return groups;
}

bool stream_acked_by_all(const struct stream *s, struct stream_id id)
{
    for (const struct stream_group *g = NULL; (g = stream_group_next(s, g));)
        if (stream_id_compare(g->last_id, id) < 0 || stream_pel_find(&g->pel, id))
            return false;
    return true;
}

/* --- All groups of a stream --- */

bool stream_groups_free_some(struct stream *s, uint64_t *budget)
{
    for (struct stream_group *g; (g = rax_first(&s->groups, NULL));)
        if (!group_free_some(s, g, budget))
            return false;
    return true;
}

static void copy_consumer(struct stream_group *to, const struct stream_consumer *from)
{
    struct stream_consumer *c = stream_consumer_create(to, stream_consumer_name(from),
                                                       from->seen_ms);
    c->active_ms = from->active_ms;
    struct stream_id id = STREAM_ID_MIN;
    const struct stream_nack *n;
    while ((n = stream_pel_seek(&from->pel, id, &id))) {
        stream_pel_deliver(to, c, id, n->delivered_ms)->deliveries = n->deliveries;
        if (!stream_id_increment(&id))
            break;
    }
}

void stream_groups_copy(struct stream *to, const struct stream *from)
{
    for (const struct stream_group *g = NULL; (g = stream_group_next(from, g));) {
        struct stream_group *copied = stream_group_create(to, stream_group_name(g), g->last_id,
                                                          g->entries_read);
        for (const struct stream_consumer *c = NULL; (c = stream_consumer_next(g, c));)
            copy_consumer(copied, c);
    }
}

static void check_consumer(const struct stream_group *g, const struct stream_consumer *c)
{
    rax_check(&c->pel);
    struct stream_id id = STREAM_ID_MIN;
    const struct stream_nack *n;
    while ((n = stream_pel_seek(&c->pel, id, &id))) {
        assert(n->consumer == c && stream_pel_find(&g->pel, id) == n);
        if (!stream_id_increment(&id))
            break;
    }
}

void stream_groups_check(const struct stream *s)
{
    rax_check(&s->groups);
    for (const struct stream_group *g = NULL; (g = stream_group_next(s, g));) {
        uint64_t pending = 0;
        rax_check(&g->pel);
        rax_check(&g->consumers);
        for (const struct stream_consumer *c = NULL; (c = stream_consumer_next(g, c));) {
            check_consumer(g, c);
            pending += c->pel.count;
        }
        assert(pending == g->pel.count);
    }
}
