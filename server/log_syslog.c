/* The system's log: see log_syslog.h. */
#include "server/log_syslog.h"

#include <assert.h>
#include <syslog.h>

void log_syslog_open(const char *ident, unsigned facility)
{
    static const int facilities[LOG_SYSLOG_FACILITIES] = {
        LOG_USER,   LOG_LOCAL0, LOG_LOCAL1, LOG_LOCAL2, LOG_LOCAL3,
        LOG_LOCAL4, LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7,
    };
    assert(facility < LOG_SYSLOG_FACILITIES);
    openlog(ident, LOG_PID | LOG_NDELAY | LOG_NOWAIT, facilities[facility]);
}

void log_syslog_close(void)
{
    closelog();
}

/* From debug on, as enum config_log_level has them. */
void log_syslog_write(int level, const char *text)
{
    static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING};
    assert(level >= 0 && (unsigned)level < sizeof(priorities) / sizeof(priorities[0]));
    syslog(priorities[level], "%s", text);
}
