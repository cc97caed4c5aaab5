/* The heap of deadlines: see blocked_timers.h. Places are counted from 1; the parent of i is i / 2.
 */
#include "server/blocked_timers.h"

#include <assert.h>

#include "proto/mem.h"

static void put(struct core *c, uint32_t i, struct blocked *w)
{
    c->timers[i - 1] = w;
    w->timer = i;
}

static struct blocked *at(const struct core *c, uint32_t i)
{
    return c->timers[i - 1];
}

static void sift_up(struct core *c, uint32_t i, struct blocked *w)
{
    for (; i > 1 && at(c, i / 2)->deadline_us > w->deadline_us; i /= 2)
        put(c, i, at(c, i / 2));
    put(c, i, w);
}

static void sift_down(struct core *c, uint32_t i, struct blocked *w)
{
    for (uint32_t child; (child = 2 * i) <= c->timer_count; i = child) {
        if (child < c->timer_count && at(c, child + 1)->deadline_us < at(c, child)->deadline_us)
            child++;
        if (at(c, child)->deadline_us >= w->deadline_us)
            break;
        put(c, i, at(c, child));
    }
    put(c, i, w);
}

void blocked_timers_add(struct core *c, struct blocked *w)
{
    assert(w->timer == 0);
    if (c->timer_count == c->timer_cap) {
        c->timer_cap = c->timer_cap ? c->timer_cap * 2 : 64;
        c->timers = mem_realloc(c->timers, c->timer_cap * sizeof(*c->timers));
    }
    c->timer_count++;
    sift_up(c, c->timer_count, w);
}

void blocked_timers_remove(struct core *c, struct blocked *w)
{
    uint32_t i = w->timer;
    if (i == 0)
        return;
    assert(at(c, i) == w);
    w->timer = 0;
    struct blocked *last = at(c, c->timer_count--);
    if (last == w)
        return;
    if (i > 1 && at(c, i / 2)->deadline_us > last->deadline_us)
        sift_up(c, i, last);
    else
        sift_down(c, i, last);
}

struct blocked *blocked_timers_due(const struct core *c, int64_t now_us)
{
    if (c->timer_count == 0 || at(c, 1)->deadline_us > now_us)
        return NULL;
    return at(c, 1);
}

int64_t blocked_timers_next(const struct core *c)
{
    return c->timer_count ? at(c, 1)->deadline_us : INT64_MAX;
}
