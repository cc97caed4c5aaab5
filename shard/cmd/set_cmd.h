/* What the files of the set family share. Called by command bodies, on the call's own thread. */
#pragma once

#include "shard/db.h"
#include "shard/type/set.h"

/* A member as an element of the reply. */
static inline void set_reply_member(struct reply *r, const struct set_member *m)
{
    if (m->text.data)
        reply_bulk(r, m->text);
    else
        reply_bulk_integer(r, m->integer);
}

static inline void set_reply_members(struct reply *r, const struct value *v)
{
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m))
        set_reply_member(r, &m);
}
