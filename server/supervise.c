/* Service managers: see supervise.h. */
#include "server/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/core.h"
#include "server/serve.h"
#include "server/server.h"

#define TICK_US 1000000
/* What systemd is asked for at each tick: enough for a tick that comes late. */
#define EXTEND_TEXT "EXTEND_TIMEOUT_USEC=30000000"

struct supervisor {
    int mode;            /* enum config_supervised: systemd or upstart */
    struct sockaddr_un address;
    socklen_t address_size;
    int64_t watchdog_us; /* how often systemd wants to hear of us; 0: it does not */
    uint64_t rounds[SHARD_COUNT_MAX]; /* of each core, when last looked at */
    _Atomic bool ready;  /* set by supervise_ready on some core, read by the main thread's ticks */
};

/* A lost message is not fatal: systemd then acts as for a service that says nothing. */
static void tell(const struct supervisor *s, const char *text)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t sent = -1;
    if (fd >= 0)
        sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&s->address,
                      s->address_size);
    if (sent < 0)
        log_write(&server->log, LOG_WARNING, "systemd supervision error: sd_notify: %s",
                  strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* "/path", or "@name": an abstract socket. */
static bool find_socket(struct supervisor *s, const char *path)
{
    size_t size = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || size < 2 || size >= sizeof(s->address.sun_path))
        return false;
    s->address.sun_family = AF_UNIX;
    memcpy(s->address.sun_path, path, size);
    if (path[0] == '@')
        s->address.sun_path[0] = '\0';
    s->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    return true;
}

static void find_watchdog(struct supervisor *s)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (us && (!pid || atol(pid) == (long)getpid()))
        s->watchdog_us = atoll(us);
}

/* The variables are for this process alone, and not for what it may start. */
static bool begin_systemd(struct supervisor *s)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || !find_socket(s, path)) {
        log_write(&server->log, LOG_WARNING, "systemd supervision error: NOTIFY_SOCKET not found!");
        return false;
    }
    find_watchdog(s);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    log_write(&server->log, LOG_NOTICE,
              "Supervised by systemd. Please make sure you set appropriate values for "
              "TimeoutStartSec and TimeoutStopSec in your service unit.");
    tell(s, "STATUS=Lasca is loading...\n" EXTEND_TEXT);
    return true;
}

static bool begin_upstart(void)
{
    if (!getenv("UPSTART_JOB")) {
        log_write(&server->log, LOG_WARNING,
                  "upstart supervision requested, but UPSTART_JOB not found!");
        return false;
    }
    log_write(&server->log, LOG_NOTICE, "supervised by upstart, will stop to signal readiness.");
    unsetenv("UPSTART_JOB");
    return true;
}

static int detect(void)
{
    if (getenv("UPSTART_JOB")) {
        log_write(&server->log, LOG_VERBOSE, "Upstart supervision detected.");
        return SUPERVISED_UPSTART;
    }
    if (getenv("NOTIFY_SOCKET")) {
        log_write(&server->log, LOG_VERBOSE, "Systemd supervision detected.");
        return SUPERVISED_SYSTEMD;
    }
    return SUPERVISED_NO;
}

struct supervisor *supervise_create(int mode)
{
    if (mode == SUPERVISED_AUTO)
        mode = detect();
    if (mode == SUPERVISED_NO)
        return NULL;
    struct supervisor *s = mem_alloc_zeroed(sizeof(*s));
    s->mode = mode;
    if (mode == SUPERVISED_SYSTEMD ? begin_systemd(s) : begin_upstart())
        return s;
    mem_free(s);
    return NULL;
}

void supervise_destroy(struct supervisor *s)
{
    mem_free(s);
}

const char *supervise_name(const struct supervisor *s)
{
    if (!s)
        return "no";
    return s->mode == SUPERVISED_SYSTEMD ? "systemd" : "upstart";
}

void supervise_ready(struct supervisor *s)
{
    if (!s || atomic_exchange(&s->ready, true))
        return;
    if (s->mode == SUPERVISED_UPSTART)
        kill(getpid(), SIGSTOP);
    else
        tell(s, "READY=1\nSTATUS=Ready to accept connections\n");
}

void supervise_saving(struct supervisor *s)
{
    if (s && s->mode == SUPERVISED_SYSTEMD)
        tell(s, "STATUS=Stopping: the data are made safe...\n" EXTEND_TEXT);
}

void supervise_stopping(struct supervisor *s)
{
    if (s && s->mode == SUPERVISED_SYSTEMD)
        tell(s, "STOPPING=1\nSTATUS=Stopping...\n");
}

/* A core that has nothing to do goes round once a second; one that loads goes round, too. */
static bool all_go_round(struct supervisor *s)
{
    bool all = true;
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct core *c = server->cores[i];
        uint64_t rounds = atomic_load_explicit(&c->rounds, memory_order_relaxed);
        all &= rounds != s->rounds[i];
    }
    all |= serve_busy() != HELD_NOT;
    for (uint32_t i = 0; all && i < server->core_count; i++)
        s->rounds[i] = atomic_load_explicit(&server->cores[i]->rounds, memory_order_relaxed);
    return all;
}

int64_t supervise_tick(struct supervisor *s, bool stops)
{
    if (!s || s->mode != SUPERVISED_SYSTEMD)
        return -1;
    if (stops || !atomic_load(&s->ready)) {
        tell(s, EXTEND_TEXT);
        if (s->watchdog_us)
            tell(s, "WATCHDOG=1");
        return TICK_US;
    }
    if (!s->watchdog_us)
        return -1;
    if (all_go_round(s))
        tell(s, "WATCHDOG=1");
    return s->watchdog_us / 4 > TICK_US ? s->watchdog_us / 4 : TICK_US;
}
