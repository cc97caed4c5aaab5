/* When waits end: a binary heap of a core's parked commands that have a timeout, the earliest
 * first. On the home core's thread. */
#pragma once

#include "server/blocked.h"

/* deadline_us is set; it is not in the heap. */
void blocked_timers_add(struct core *c, struct blocked *w);
/* It need not be there. */
void blocked_timers_remove(struct core *c, struct blocked *w);
/* One whose time has come at `now_us`, or NULL. It stays in the heap. */
struct blocked *blocked_timers_due(const struct core *c, int64_t now_us);
/* The earliest deadline, INT64_MAX for none. */
int64_t blocked_timers_next(const struct core *c);
