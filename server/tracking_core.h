/* What tracking's two files share: tracking.c (sessions and shards) and tracking_post.c (how
 * invalidations travel). */
#pragma once

#include "server/tracking.h"

struct changed_key;
struct notice;

/* A core's. */
struct tracking_core {
    struct tracking *first;  /* of its sessions that track */
    uint32_t count;
    struct changed_key *changed, *changed_last; /* for clients in BCAST mode, of this iteration */
    uint32_t changed_count;
    struct notice *ended; /* prefixes that the core's own shard is to drop */
};

/* A client of this core wants the prefix no more: tells all shards. */
void tracking_post_prefix_end(struct core *c, struct slice prefix);
