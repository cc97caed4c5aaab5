/* What a core does by the clock rather than by request: sweeping expired keys, closing idle
 * clients, samples for INFO, the end of CLIENT PAUSE, and a clean stop. On the core's own thread,
 * between iterations. */
#pragma once

#include "server/core.h"

/* Does what is due and sets c->next_cron_us. Cheap when nothing is. */
void cron_run(struct core *c);
/* Has the core wake when CLIENT PAUSE ends, to the millisecond: it holds sessions back. */
void cron_await_pause_end(struct core *c);
/* True where the core shall go round again without sleeping. */
bool cron_in_haste(const struct core *c);
/* True where this core may end: all cores owe nothing any more. */
bool cron_finished(const struct core *c);
