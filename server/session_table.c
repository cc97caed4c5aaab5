/* Sessions by id: see session_table.h. */
#include "server/session_table.h"

#include <assert.h>

#include "server/session.h"

/* Ids count up: multiplied by an odd number near 2^64 over the golden ratio, their low bits (which
 * address) and their high ones (which are the tag) are spread. */
static uint64_t hash_id(uint64_t id)
{
    return id * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t hash_session(const void *item, const void *context)
{
    return hash_id(((const struct session *)item)->id);
}

static const struct table_type type = {.hash = hash_session};

void session_table_init(struct core *c)
{
    table_init(&c->session_ids, &type, NULL);
}

void session_table_deinit(struct core *c)
{
    assert(c->session_ids.count == 0);
    table_deinit(&c->session_ids);
}

static struct session *find(const struct core *c, uint64_t id, struct table_place *at)
{
    struct table_probe probe;
    table_probe_start(&probe, &c->session_ids, hash_id(id));
    struct session *s;
    while ((s = table_probe_next(&probe)) && s->id != id)
        continue;
    *at = table_probe_place(&probe);
    return s;
}

void session_table_add(struct core *c, struct session *s)
{
    table_add(&c->session_ids, hash_id(s->id), s, false);
}

void session_table_remove(struct core *c, struct session *s)
{
    struct table_place at;
    struct session *found = find(c, s->id, &at);
    assert(found == s);
    table_remove(&c->session_ids, at, hash_id(s->id));
}

struct session *session_table_find(const struct core *c, uint64_t id)
{
    struct table_place at;
    return find(c, id, &at);
}
