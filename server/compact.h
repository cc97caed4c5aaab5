/* When memory lies idle in thinly filled pages: passes of shard/compact.h, by the cores' crons.
 *
 * A core looks now and then at what its shard's slabs, and its thread's part of the allocator, hold
 * beyond what is in use. Where that is much, it compacts in slices between iterations, with a tenth
 * of its time. Not while a snapshot is made, nor data are loaded. On the core's thread. */
#pragma once

#include "server/core.h"

struct compact_shared;
struct compact_shared *compact_create(uint32_t core_count);
void compact_destroy(struct compact_shared *s, uint32_t core_count);

/* Gives the system back what is free, in slices as well. */
void compact_trim(struct core *c);
/* Each cron. */
void compact_look(struct core *c);
/* Between iterations, where c->compacting. */
void compact_slice(struct core *c);
void compact_finish(struct core *c);
