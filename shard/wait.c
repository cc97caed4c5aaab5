/* Lines of those who wait: see wait.h. */
#include "shard/wait.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/shard.h"

/* The same key has another line in each database. */
static uint64_t hash_key(const struct keyspace *k, uint32_t db, struct slice key)
{
    return keyspace_hash(k, key) + db * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t hash_line(const void *item, const void *context)
{
    return ((const struct wait_line *)item)->hash;
}

static const struct table_type lines_type = {.hash = hash_line};

void wait_init(struct shard *s)
{
    s->waits = (struct wait_lines){0};
    table_init(&s->waits.lines, &lines_type, s->keyspace);
}

void wait_deinit(struct shard *s)
{
    assert(s->waits.link_count == 0);
    for (struct wait_line *line; (line = wait_take_ready(s));)
        wait_release(s, line);
    assert(s->waits.lines.count == 0);
    table_deinit(&s->waits.lines);
}

static struct wait_line *find(const struct shard *s, uint32_t db, struct slice key, uint64_t hash,
                              struct table_place *at)
{
    struct table_probe probe;
    table_probe_start(&probe, &s->waits.lines, hash);
    struct wait_line *line;
    while ((line = table_probe_next(&probe)) &&
           !(line->db == db && slice_equal(wait_key(line), key)))
        continue;
    *at = table_probe_place(&probe);
    return line;
}

struct wait_line *wait_find(const struct shard *s, uint32_t db, struct slice key)
{
    struct table_place at;
    return find(s, db, key, hash_key(s->keyspace, db, key), &at);
}

static struct wait_line *open_line(struct shard *s, uint32_t db, struct slice key)
{
    struct table_place at;
    uint64_t hash = hash_key(s->keyspace, db, key);
    struct wait_line *line = find(s, db, key, hash, &at);
    if (line)
        return line;
    line = mem_alloc_zeroed(sizeof(*line) + key.size);
    line->hash = hash;
    line->db = db;
    line->key_size = key.size;
    if (key.size)
        memcpy(line->key, key.data, key.size);
    table_add(&s->waits.lines, hash, line, false);
    return line;
}

static void close_line(struct shard *s, struct wait_line *line)
{
    struct table_place at;
    struct wait_line *found = find(s, line->db, wait_key(line), line->hash, &at);
    assert(found == line && !line->reserved);
    table_remove(&s->waits.lines, at, line->hash);
    mem_free(line);
}

bool wait_join(struct shard *s, uint32_t db, struct slice key, struct wait_link *link,
               void *waiter, bool on_removal)
{
    struct wait_line *line = open_line(s, db, key);
    if (line->last && line->last->waiter == waiter)
        return false;
    *link = (struct wait_link){
        .line = line, .previous = line->last, .waiter = waiter, .on_removal = on_removal,
    };
    if (line->last)
        line->last->next = link;
    else
        line->first = link;
    line->last = link;
    line->count++;
    line->removal_count += on_removal;
    s->waits.removal_count += on_removal && line->removal_count == 1;
    s->waits.link_count++;
    return true;
}

void wait_leave(struct shard *s, struct wait_link *link)
{
    struct wait_line *line = link->line;
    assert(line && line->count > 0);
    if (link->previous)
        link->previous->next = link->next;
    else
        line->first = link->next;
    if (link->next)
        link->next->previous = link->previous;
    else
        line->last = link->previous;
    line->removal_count -= link->on_removal;
    s->waits.removal_count -= link->on_removal && line->removal_count == 0;
    *link = (struct wait_link){0};
    line->count--;
    s->waits.link_count--;
    if (line->count == 0 && !line->ready)
        close_line(s, line);
}

static void make_ready(struct wait_lines *w, struct wait_line *line)
{
    if (line->ready)
        return;
    line->ready = true;
    line->next_ready = NULL;
    if (w->ready_last)
        w->ready_last->next_ready = line;
    else
        w->ready_first = line;
    w->ready_last = line;
}

void wait_signal(struct shard *s, uint32_t db, struct slice key)
{
    struct wait_line *line = wait_find(s, db, key);
    if (line)
        make_ready(&s->waits, line);
}

struct signalling {
    struct wait_lines *waits;
    uint32_t db;
};

static void signal_in_db(void *context, void *item, struct table_place at)
{
    const struct signalling *g = context;
    struct wait_line *line = item;
    if (line->db == g->db)
        make_ready(g->waits, line);
}

void wait_signal_db(struct shard *s, uint32_t db)
{
    struct signalling g = {&s->waits, db};
    if (s->waits.lines.count)
        table_scan(&s->waits.lines, 0, 0, 0, false, signal_in_db, &g);
}

struct wait_line *wait_take_ready(struct shard *s)
{
    struct wait_lines *w = &s->waits;
    struct wait_line *line = w->ready_first;
    if (!line)
        return NULL;
    w->ready_first = line->next_ready;
    if (!w->ready_first)
        w->ready_last = NULL;
    line->next_ready = NULL;
    return line;
}

/* Until here it is marked ready, so that nobody closes it who leaves it meanwhile. */
void wait_release(struct shard *s, struct wait_line *line)
{
    assert(line->ready);
    line->ready = false;
    if (line->count == 0)
        close_line(s, line);
}
