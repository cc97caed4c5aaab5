/* What the order log costs: publishing an entry and every core's walk over it, nanoseconds an
 * entry.
 *
 * One core; two threads, of which one or both publish; eight threads, more than there may be CPUs,
 * which yield when they have nothing to do. Every entry names all cores. An entry's figure is the
 * time of the whole run divided by the number of entries: with more threads it has that many walks
 * in it. */
#include "server/order.h"

#include "proto/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#define THREADS_MAX 8
#define RUNS 5

struct run {
    struct order *order;
    uint32_t threads;
    uint32_t publishers;
    uint32_t each; /* entries a publisher */
    uint32_t batch; /* published before the next walk */
};

struct walker {
    pthread_t thread;
    const struct run *run;
    uint32_t self;
    uint32_t passed;
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static bool walk(struct walker *w)
{
    uint64_t ticket;
    uint32_t before = w->passed;
    while (order_next(w->run->order, w->self, &ticket))
        w->passed++;
    return w->passed != before;
}

static void *publish_and_walk(void *at)
{
    struct walker *w = at;
    const struct run *r = w->run;
    uint32_t left = w->self < r->publishers ? r->each : 0;
    struct core_mask mask = {0};
    for (uint32_t i = 0; i < r->threads; i++)
        core_mask_add(&mask, i);
    while (w->passed < r->publishers * r->each) {
        for (uint32_t i = 0; i < r->batch && left && order_has_room(r->order, w->self); i++, left--)
            order_publish(r->order, w->self, w, &mask);
        if (!walk(w) && r->threads > 1)
            sched_yield();
    }
    return NULL;
}

static double entry_ns(struct run r)
{
    struct walker walkers[THREADS_MAX];
    r.order = order_create(r.threads, 0);
    double start_ns = now_ns();
    for (uint32_t i = 0; i < r.threads; i++) {
        walkers[i] = (struct walker){.run = &r, .self = i};
        pthread_create(&walkers[i].thread, NULL, publish_and_walk, &walkers[i]);
    }
    for (uint32_t i = 0; i < r.threads; i++)
        pthread_join(walkers[i].thread, NULL);
    double spent_ns = now_ns() - start_ns;
    order_destroy(r.order);
    return spent_ns / (r.publishers * r.each);
}

static void report(struct run r)
{
    double best_ns = entry_ns(r);
    for (int i = 1; i < RUNS; i++) {
        double ns = entry_ns(r);
        best_ns = ns < best_ns ? ns : best_ns;
    }
    printf("%u threads, %u publish, %2u before a walk: %8.1f ns\n", r.threads, r.publishers,
           r.batch, best_ns);
}

int main(void)
{
    static const struct run runs[] = {
        {.threads = 1, .publishers = 1, .each = 2000000, .batch = 1},
        {.threads = 1, .publishers = 1, .each = 2000000, .batch = 16},
        {.threads = 2, .publishers = 1, .each = 500000, .batch = 1},
        {.threads = 2, .publishers = 2, .each = 250000, .batch = 1},
        {.threads = 2, .publishers = 2, .each = 250000, .batch = 16},
        {.threads = 8, .publishers = 8, .each = 25000, .batch = 1},
        {.threads = 8, .publishers = 8, .each = 25000, .batch = 16},
    };
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        report(runs[i]);
    return 0;
}
