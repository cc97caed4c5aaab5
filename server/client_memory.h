/* What clients' buffers may take in all (maxmemory-clients): above, those that take the most are
 * disconnected until the rest fits, as Redis 7 does.
 *
 * Each core knows what its sessions take: a session is measured when it is flushed, so after
 * anything that changed it, and stands in a list of those of its size (by powers of two). The sum
 * of all cores is one atomic, which a core adds to where its own share has changed by a certain
 * amount; so it is exact to that. Who finds it above the limit begins to evict: on the core that
 * has the largest class of all, and from core to core while there is too much, one core at a time.
 * So the largest goes first, but for the choice within a class.
 *
 * While there is no limit nothing is measured. */
#pragma once

#include "server/session.h"

/* Sizes: below 32 KB, below 64 KB, ..., 4 GB and more. */
#define CLIENT_MEMORY_CLASSES 19

/* The sessions of one core, by size. */
struct client_memory {
    int64_t unsaid; /* bytes not yet added to the sum */
    uint32_t used;  /* bit i: class i has sessions */
    struct session *classes[CLIENT_MEMORY_CLASSES];
    _Atomic uint32_t top; /* the largest class in use and 1; 0: none. Written by the core, read by
                           * whoever looks for the largest: a stale value costs one message */
    struct core_message right; /* brings the right to evict, which only one core has at a time */
};

struct client_memory *client_memory_create(void);
void client_memory_destroy(struct client_memory *m);

/* Measures a session anew; a session that ends counts nothing. Call where there is a limit. */
void client_memory_note(struct core *c, struct session *s);
/* It is not to be found in any list any more. */
void client_memory_forget(struct core *c, struct session *s);
/* In the flush step, and from cron (`all`: whatever the amount): adds to the sum, and begins to
 * evict where that is too much. Call where there is a limit. */
void client_memory_limit(struct core *c, bool all);
/* What the core's clients take, without those that end, and without what is over the limit: that is
 * about to go, so no key need go for it. By the core, or while all cores stand still. */
uint64_t client_memory_lasting(struct core *c);
/* A change of maxmemory-clients or maxmemory. All cores stand still. */
void client_memory_apply_config(void);
