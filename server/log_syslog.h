/* The way to syslog(3). A file of its own, because <syslog.h> has macros with the names of our
 * levels. Any thread. */
#pragma once

#include <stdbool.h>

/* Facilities by their place in `syslog-facility`: user, then local0 to local7. */
#define LOG_SYSLOG_FACILITIES 9

/* `ident` is not copied. */
void log_syslog_open(const char *ident, unsigned facility);
void log_syslog_close(void);
/* `level` as log_write takes it. */
void log_syslog_write(int level, const char *text);
