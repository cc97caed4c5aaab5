/* The mesh: order, visibility, full queues, and several threads at once. */
#include "net/mesh.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

struct note {
    struct mesh_message message; /* first */
    uint32_t from;
    uint32_t number;
};

struct handed_log {
    unsigned count;
    uint32_t last;
};

static void log_handed(void *context, uint32_t to)
{
    struct handed_log *log = context;
    log->count++;
    log->last = to;
}

static struct note *note_create(uint32_t from, uint32_t number)
{
    struct note *n = malloc(sizeof(*n));
    n->from = from;
    n->number = number;
    return n;
}

static void post(struct mesh *m, uint32_t from, uint32_t to, uint32_t number)
{
    mesh_post(m, from, to, &note_create(from, number)->message);
}

static bool flush(struct mesh *m, uint32_t self)
{
    struct handed_log log = {0};
    return mesh_flush(m, self, log_handed, &log);
}

/* Takes everything and checks that each sender's numbers continue at next[sender]. */
static unsigned take(struct mesh *m, uint32_t self, uint32_t *next)
{
    unsigned count = 0;
    for (struct mesh_message *at = mesh_receive(m, self); at != NULL; count++) {
        struct note *n = (struct note *)at;
        at = at->next;
        cr_assert_eq(n->number, next[n->from], "from %u: %u, not %u", n->from, n->number,
                     next[n->from]);
        next[n->from]++;
        free(n);
    }
    return count;
}

Test(mesh, nothing_is_visible_before_the_flush)
{
    struct mesh *m = mesh_create(2);
    uint32_t next[2] = {0};
    post(m, 0, 1, 0);
    cr_assert_not(mesh_has_messages(m, 1));
    cr_assert_null(mesh_receive(m, 1));
    cr_assert_not(flush(m, 0));
    cr_assert(mesh_has_messages(m, 1));
    cr_assert_not(mesh_has_messages(m, 0));
    cr_assert_eq(take(m, 1, next), 1);
    cr_assert_not(mesh_has_messages(m, 1));
    cr_assert_null(mesh_receive(m, 1));
    mesh_destroy(m);
}

Test(mesh, messages_arrive_in_the_order_posted)
{
    struct mesh *m = mesh_create(3);
    uint32_t next[3] = {0};
    for (uint32_t i = 0; i < 1000; i++) {
        post(m, 0, 2, i);
        post(m, 1, 2, i);
        if (i % 7 == 0)
            flush(m, 0);
        if (i % 11 == 0)
            flush(m, 1);
        if (i % 13 == 0)
            take(m, 2, next);
    }
    flush(m, 0);
    flush(m, 1);
    take(m, 2, next);
    cr_assert_eq(next[0], 1000);
    cr_assert_eq(next[1], 1000);
    mesh_destroy(m);
}

Test(mesh, flush_names_each_core_that_got_something)
{
    struct mesh *m = mesh_create(4);
    struct handed_log log = {0};
    uint32_t next[4] = {0};
    mesh_flush(m, 1, log_handed, &log);
    cr_assert_eq(log.count, 0);
    post(m, 1, 3, 0);
    post(m, 1, 3, 1);
    mesh_flush(m, 1, log_handed, &log);
    cr_assert_eq(log.count, 1);
    cr_assert_eq(log.last, 3);
    cr_assert_eq(take(m, 3, next), 2);
    mesh_destroy(m);
}

Test(mesh, a_full_queue_keeps_the_rest_for_the_next_flush)
{
    struct mesh *m = mesh_create(2);
    struct handed_log log = {0};
    uint32_t next[2] = {0};
    bool left = false;
    uint32_t number = 0;
    while (!left) {
        cr_assert_lt(number, 10000);
        post(m, 0, 1, number++);
        left = mesh_flush(m, 0, log_handed, &log);
    }
    cr_assert_eq(log.count, number - 1);
    post(m, 0, 1, number++);
    cr_assert(flush(m, 0));
    cr_assert_eq(take(m, 1, next), number - 2);
    cr_assert_not(flush(m, 0));
    cr_assert_eq(take(m, 1, next), 2);
    cr_assert_eq(next[0], number);
    mesh_destroy(m);
}

Test(mesh, reaches_more_cores_than_a_word_has_bits)
{
    enum { COUNT = 130 };
    struct mesh *m = mesh_create(COUNT);
    for (uint32_t from = 0; from < COUNT; from++) {
        for (uint32_t to = 0; to < COUNT; to += 43) {
            if (from != to)
                post(m, from, to, 0);
        }
        cr_assert_not(flush(m, from));
    }
    for (uint32_t to = 0; to < COUNT; to++) {
        uint32_t next[COUNT] = {0};
        cr_assert_eq(take(m, to, next), to % 43 == 0 ? COUNT - 1 : 0);
    }
    mesh_destroy(m);
}

enum { THREADS = 4, EACH = 20000 };

struct worker {
    pthread_t thread;
    struct mesh *mesh;
    uint32_t self;
};

/* Sends EACH notes to every other core in uneven batches, while taking what comes. */
static void *work(void *at)
{
    struct worker *w = at;
    uint32_t next[THREADS] = {0};
    uint32_t posted = 0;
    unsigned taken = 0;
    bool left = true;
    while (posted < EACH || left || taken < (THREADS - 1) * EACH) {
        for (uint32_t batch = 1 + posted % 5; batch > 0 && posted < EACH; batch--, posted++) {
            for (uint32_t to = 0; to < THREADS; to++) {
                if (to != w->self)
                    post(w->mesh, w->self, to, posted);
            }
        }
        left = flush(w->mesh, w->self);
        unsigned count = take(w->mesh, w->self, next);
        taken += count;
        if (count == 0)
            sched_yield();
    }
    cr_assert_null(mesh_receive(w->mesh, w->self));
    return NULL;
}

Test(mesh, several_threads_lose_nothing)
{
    struct mesh *m = mesh_create(THREADS);
    struct worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.mesh = m, .self = i};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    mesh_destroy(m);
}

static void *take_slowly(void *at)
{
    struct worker *w = at;
    uint32_t next[2] = {0};
    unsigned taken = 0;
    for (unsigned turn = 0; taken < EACH; turn++) {
        taken += take(w->mesh, w->self, next);
        if (turn % 64 == 0)
            usleep(200);
    }
    return NULL;
}

Test(mesh, a_slow_receiver_with_full_queues_loses_nothing)
{
    struct mesh *m = mesh_create(2);
    struct worker receiver = {.mesh = m, .self = 1};
    pthread_create(&receiver.thread, NULL, take_slowly, &receiver);
    unsigned full_count = 0;
    for (uint32_t i = 0; i < EACH; i++) {
        post(m, 0, 1, i);
        full_count += flush(m, 0);
    }
    while (flush(m, 0))
        sched_yield();
    pthread_join(receiver.thread, NULL);
    cr_assert_gt(full_count, 0);
    mesh_destroy(m);
}
