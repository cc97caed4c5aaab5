/* The helpers' queue and their loop: see tls_helper.h. */
#include "server/tls_helper.h"

#include <assert.h>
#include <sys/resource.h>

#include "proto/mem.h"
#include "server/server.h"
#include "server/session_tls.h"

#define HELPERS_MAX 16
#define CORES_PER_HELPER 4
#define HELPER_NICE 5

struct tls_helpers {
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t work;
    struct session_tls *first, *last;
    pthread_t threads[HELPERS_MAX];
    uint32_t count;
    bool stopping;
};

static struct session_tls *await_job(struct tls_helpers *h)
{
    pthread_mutex_lock(&h->mutex);
    while (!h->first && !h->stopping)
        pthread_cond_wait(&h->work, &h->mutex);
    struct session_tls *t = h->first;
    if (t)
        h->first = t->next_job;
    pthread_mutex_unlock(&h->mutex);
    return t;
}

/* The core's list is emptied as a whole, so no place in it is ever mistaken for another. */
static void give_back(struct session_tls *t)
{
    struct core *c = server->cores[t->home];
    struct session_tls *before = atomic_load_explicit(&c->tls.done, memory_order_relaxed);
    do
        t->next_job = before;
    /* Pairs with the exchange in tls_helper_take. */
    while (!atomic_compare_exchange_weak_explicit(&c->tls.done, &before, t, memory_order_release,
                                                  memory_order_relaxed));
    ring_wake(c->ring);
}

static void *run(void *argument)
{
    struct tls_helpers *h = argument;
    struct session_tls *t;
    setpriority(PRIO_PROCESS, 0, HELPER_NICE); /* Linux: of this thread */
    while ((t = await_job(h)) != NULL) {
        /* Whoever has gone meanwhile gets no signature. */
        if (!atomic_load_explicit(&t->gone, memory_order_relaxed))
            tls_shake(t->conn);
        give_back(t);
    }
    return NULL;
}

static void start(struct tls_helpers *h)
{
    uint32_t wanted = 1 + (server->core_count - 1) / CORES_PER_HELPER;
    if (wanted > HELPERS_MAX)
        wanted = HELPERS_MAX;
    while (h->count < wanted && pthread_create(&h->threads[h->count], NULL, run, h) == 0)
        h->count++;
}

struct tls_helpers *tls_helpers_create(void)
{
    struct tls_helpers *h = mem_alloc_zeroed(sizeof(*h));
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->work, NULL);
    return h;
}

void tls_helper_shake(struct session_tls *t)
{
    struct tls_helpers *h = server->tls_helpers;
    t->next_job = NULL;
    pthread_mutex_lock(&h->mutex);
    if (h->count == 0)
        start(h);
    bool helped = h->count > 0;
    if (helped) {
        if (h->first)
            h->last->next_job = t;
        else
            h->first = t;
        h->last = t;
        pthread_cond_signal(&h->work);
    }
    pthread_mutex_unlock(&h->mutex);
    if (helped)
        return;
    tls_shake(t->conn); /* no thread is to be had */
    give_back(t);
}

struct session_tls *tls_helper_take(struct core *c)
{
    /* Pairs with the exchange in give_back: what the helper has written is seen. */
    return atomic_exchange_explicit(&c->tls.done, NULL, memory_order_acquire);
}

void tls_helpers_stop(struct tls_helpers *h)
{
    pthread_mutex_lock(&h->mutex);
    h->stopping = true;
    pthread_cond_broadcast(&h->work);
    pthread_mutex_unlock(&h->mutex);
    for (uint32_t i = 0; i < h->count; i++)
        pthread_join(h->threads[i], NULL);
    h->count = 0;
}

void tls_helpers_destroy(struct tls_helpers *h)
{
    assert(h->count == 0 && !h->first);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->mutex);
    mem_free(h);
}
