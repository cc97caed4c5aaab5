/* Telling a service manager how the server is: systemd by its notification socket, upstart by
 * stopping once.
 *
 * systemd's protocol is spoken here rather than through libsystemd: a datagram of lines to the
 * socket that NOTIFY_SOCKET names is all there is to it, it is documented as stable (sd_notify(3)),
 * and the library would bring four others along.
 *
 * What is told: READY=1 once the data are loaded and clients served; before that, and while the
 * last snapshot is written, EXTEND_TIMEOUT_USEC every second, so that no dataset is too large for
 * TimeoutStartSec; STOPPING=1; and where the unit has WatchdogSec=, WATCHDOG=1 as long as every
 * core goes round (or is kept by a script that runs for long, which is not a core that hangs). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct supervisor;

/* By `supervised` (enum config_supervised) and the environment; NULL: nobody supervises. Main
 * thread. What was found, or is missing, is logged. */
struct supervisor *supervise_create(int mode);
void supervise_destroy(struct supervisor *s);

/* What INFO says: "systemd", "upstart", or "no". Any thread; of NULL too. */
const char *supervise_name(const struct supervisor *s);

/* Clients are served. Any thread, once. All of these take NULL. */
void supervise_ready(struct supervisor *s);
/* A stop is under way, and may yet fail; then it has begun. Main thread. */
void supervise_saving(struct supervisor *s);
void supervise_stopping(struct supervisor *s);

/* Main thread: says what is due, and how long it may wait until the next call; below 0: for ever.
 * `stops`: a stop is under way. */
int64_t supervise_tick(struct supervisor *s, bool stops);
