/* Looking a key up without making it look used.
 *
 * EXISTS, TYPE, TTL and OBJECT ask about a key rather than use it: in Redis they count as a hit or
 * a miss but leave LRU and LFU alone. Called by command bodies, on the call's own thread. */
#pragma once

#include "shard/db.h"

/* As db_find(c, arg, DB_READ), with the key's age and frequency left as they are. */
static inline struct place lookup_untouched(struct call *c, uint32_t arg)
{
    bool no_touch = c->no_touch;
    c->no_touch = true;
    struct place p = db_find(c, arg, DB_READ);
    c->no_touch = no_touch;
    return p;
}
