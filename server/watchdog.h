/* The software watchdog: while a core has not gone round for watchdog-period milliseconds, the
 * stacks of all threads go to the log, once a period. For who looks for what holds a server up;
 * else it is off.
 *
 * The main thread looks. Cores tell when they went round (core.turned_ms), and with the watchdog on
 * they do so ten times a second even where they have nothing to do. */
#pragma once

#include <stdint.h>

struct watchdog {
    int64_t next_ms; /* when to look; 0: it is off */
};

/* Looks if it is time. Returns the microseconds until the next look; below 0: there is none. */
int64_t watchdog_look(struct watchdog *w);
/* Puts the option in force; any thread. */
void watchdog_apply_config(void);
