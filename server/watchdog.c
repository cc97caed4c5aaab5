/* See watchdog.h. */
#include "server/watchdog.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "server/core.h"
#include "server/server.h"

/* Redis's, too: what is shorter cannot be told from the usual. */
#define PERIOD_MS_MIN 200
/* How far apart a core that is well goes round. */
#define ROUND_MS 100

static int64_t monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t held_up_ms(const struct core *c, int64_t now_ms)
{
    int64_t turned_ms = atomic_load_explicit(&c->turned_ms, memory_order_relaxed);
    return turned_ms ? now_ms - turned_ms : 0;
}

/* One report is enough: it has all stacks. */
static void look(int64_t now_ms, int64_t period_ms)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        int64_t ms = held_up_ms(server->cores[i], now_ms);
        if (ms <= period_ms + ROUND_MS)
            continue;
        log_write(&server->log, LOG_WARNING,
                  "--- WATCHDOG TIMER EXPIRED --- core %u has not gone round for %lld ms", i,
                  (long long)ms);
        if (server->crash) /* else nobody handles it */
            raise(SIGALRM);
        return;
    }
}

int64_t watchdog_look(struct watchdog *w)
{
    int64_t period_ms = atomic_load(&server->watchdog_ms);
    if (!period_ms) {
        w->next_ms = 0;
        return -1;
    }
    int64_t now_ms = monotonic_ms();
    if (w->next_ms && now_ms >= w->next_ms)
        look(now_ms, period_ms);
    if (now_ms >= w->next_ms)
        w->next_ms = now_ms + period_ms;
    return (w->next_ms - now_ms) * 1000;
}

void watchdog_apply_config(void)
{
    int64_t ms = server->config.watchdog_period;
    if (ms && ms < PERIOD_MS_MIN)
        ms = PERIOD_MS_MIN;
    if (atomic_exchange(&server->watchdog_ms, ms) != ms)
        kill(getpid(), SIGUSR2); /* the main thread sleeps */
}
