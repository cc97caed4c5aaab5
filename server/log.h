/* The log: one line an event, in Redis's form.
 *
 *   8126:M 23 Nov 2026 08:42:21.666 * Ready to accept connections
 *
 * Process id and role (M: this server is a master), local time, a mark of the level (. debug, -
 * verbose, * notice, # warning), the text. Lines go to standard output or are appended to a file.
 * The file is opened anew for each line, so it may be renamed and compressed under a running
 * server, as with Redis.
 *
 * Any thread may write: a line is built on its stack and leaves by one write(2) to an O_APPEND
 * descriptor, so lines never mix and no lock of ours is held. A line that cannot be written is
 * lost: the log never stops the server. Not async-signal-safe: the time of day is converted with
 * localtime_r; a handler that has something to say writes to log_open_raw. With `syslog-enabled`
 * the texts go to the system's log besides, as with Redis. */
#pragma once

#include <stdatomic.h>

#include "server/config.h"

#define LOG_LINE_SIZE_MAX 1024 /* bytes, the line break included; longer texts are cut */

struct log {
    _Atomic int level; /* enum config_log_level; relaxed: no other data hangs on it */
    char *path;        /* absolute, owned; NULL: standard output */
    char *ident;       /* owned; not NULL: syslog is on, and this is our name there */
};

/* `path` "" is standard output; a relative path is taken from the current directory, once. Returns
 * false with errno set when the file cannot be opened for appending; `l` is then empty. */
bool log_init(struct log *l, int level, const char *path);
void log_deinit(struct log *l);

/* What is written from now on goes to the system's log, too. Once, before there are threads.
 * `facility` counts as log_syslog.h does. */
void log_use_syslog(struct log *l, const char *ident, unsigned facility);

/* A descriptor that the next line would go to, for one who cannot use log_write: to be closed with
 * log_close_raw. Below 0: the file cannot be opened. Async-signal-safe. */
int log_open_raw(const struct log *l);
void log_close_raw(const struct log *l, int fd);

/* From now on only events of `level` and above. Any thread. */
void log_set_level(struct log *l, int level);

/* `level` is LOG_DEBUG to LOG_WARNING. Control characters in the text become blanks: an event is a
 * line, whatever a client's name or key has in it. */
__attribute__((format(printf, 3, 4))) void log_write(struct log *l, int level, const char *format,
                                                     ...);
