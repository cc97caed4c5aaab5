/* Waking a ring from another thread. */
#include "ring_rig.h"

#include <pthread.h>

/* Two threads hand a counter to and fro, each asleep until the other wakes it. A lost wake-up is a
 * sleep without end. */
struct player {
    pthread_t thread;
    enum ring_backend backend;
    struct ring *ring;
    struct player *other;
    unsigned *counter; /* even: the first player's turn */
    unsigned *ready_count;
    unsigned parity;
    unsigned limit;
};

static void *play(void *at)
{
    struct player *p = at;
    struct ring_options options = {
        .backend = p->backend,
        .handler = &rig_handler,
        .buffer_count = 2,
        .buffer_size = 64,
    };
    p->ring = ring_create(&options);
    __atomic_fetch_add(p->ready_count, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(p->ready_count, __ATOMIC_SEQ_CST) < 2)
        sched_yield();
    for (;;) {
        unsigned now = __atomic_load_n(p->counter, __ATOMIC_SEQ_CST);
        if (now >= p->limit)
            break;
        if (now % 2 != p->parity) {
            ring_poll(p->ring, -1);
            continue;
        }
        __atomic_store_n(p->counter, now + 1, __ATOMIC_SEQ_CST);
        ring_wake(p->other->ring);
    }
    __atomic_fetch_add(p->ready_count, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(p->ready_count, __ATOMIC_SEQ_CST) < 4)
        sched_yield();
    ring_destroy(p->ring);
    return NULL;
}

RING_TEST(ring_wake, a_hundred_thousand_turns_lose_no_wake_up)
{
    unsigned counter = 0, ready_count = 0;
    struct player players[2];
    for (unsigned i = 0; i < 2; i++)
        players[i] = (struct player){.backend = backend, .other = &players[1 - i],
            .counter = &counter, .ready_count = &ready_count, .parity = i, .limit = 100000};
    for (int i = 0; i < 2; i++)
        pthread_create(&players[i].thread, NULL, play, &players[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(players[i].thread, NULL);
    cr_assert_eq(counter, 100000);
}

RING_TEST(ring_wake, a_wake_before_the_poll_counts)
{
    struct rig *rig = rig_create(backend, 2, 64);
    ring_wake(rig->ring);
    int64_t start_us = rig_now_us();
    rig_poll(rig, 5000000);
    cr_assert_lt(rig_now_us() - start_us, 1000000);
    rig_destroy(rig);
}

RING_TEST(ring_wake, many_wakes_are_one_and_are_over_then)
{
    struct rig *rig = rig_create(backend, 2, 64);
    rig_poll(rig, 1000);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++)
            ring_wake(rig->ring);
        int64_t start_us = rig_now_us();
        cr_assert_eq(rig_poll(rig, 5000000), 0);
        cr_assert_lt(rig_now_us() - start_us, 1000000);
        start_us = rig_now_us();
        rig_poll(rig, 10000);
        cr_assert_geq(rig_now_us() - start_us, 9000);
    }
    rig_destroy(rig);
}

struct crowd {
    struct ring *ring;
    unsigned posted;
};

static void *post(void *at)
{
    struct crowd *crowd = at;
    for (int i = 0; i < 20000; i++) {
        __atomic_fetch_add(&crowd->posted, 1, __ATOMIC_RELEASE);
        ring_wake(crowd->ring);
    }
    return NULL;
}

RING_TEST(ring_wake, sees_all_that_several_wakers_left)
{
    struct rig *rig = rig_create(backend, 2, 64);
    struct crowd crowd = {.ring = rig->ring};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, post, &crowd);
    while (__atomic_load_n(&crowd.posted, __ATOMIC_ACQUIRE) < 60000)
        rig_poll(rig, -1);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    rig_destroy(rig);
}
