/* What the mesh costs: a message one way and there and back between two threads, singly and in
 * batches of 32, and an empty look at 2, 8 and 64 cores.
 *
 * Prints one line a figure: nanoseconds, the best of five runs. Both threads spin, so it needs two
 * CPUs to itself. */
#include "net/mesh.h"

#include "proto/mem.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_MAX 32
#define RUNS 5
#define IN_FLIGHT 512 /* messages that a one-way run lets be under way */

struct pair {
    struct mesh *mesh;
    unsigned total;
    unsigned taken; /* by the second thread, for the first to keep its distance */
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static void ignore(void *context, uint32_t to)
{
}

static void flush(struct mesh *m, uint32_t self)
{
    while (mesh_flush(m, self, ignore, NULL))
        continue;
}

static void *take_all(void *at)
{
    struct pair *p = at;
    for (unsigned taken = 0; taken < p->total;) {
        for (struct mesh_message *next = mesh_receive(p->mesh, 1); next != NULL; next = next->next)
            taken++;
        __atomic_store_n(&p->taken, taken, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *send_all_back(void *at)
{
    struct pair *p = at;
    for (unsigned taken = 0; taken < p->total;) {
        for (struct mesh_message *next = mesh_receive(p->mesh, 1); next != NULL;) {
            struct mesh_message *message = next;
            next = next->next;
            mesh_post(p->mesh, 1, 0, message);
            taken++;
        }
        flush(p->mesh, 1);
    }
    return NULL;
}

static struct mesh_message *messages_create(unsigned count)
{
    /* One to a cache line, as real messages are. */
    return mem_alloc_aligned((size_t)count * 64, 64);
}

static struct mesh_message *message_at(struct mesh_message *messages, unsigned index)
{
    return (struct mesh_message *)((char *)messages + (size_t)index * 64);
}

static double one_way_ns(unsigned batch, unsigned total)
{
    struct pair p = {.mesh = mesh_create(2), .total = total};
    struct mesh_message *messages = messages_create(IN_FLIGHT * 2);
    pthread_t receiver;
    pthread_create(&receiver, NULL, take_all, &p);
    double start_ns = now_ns();
    for (unsigned sent = 0; sent < total;) {
        while (sent - __atomic_load_n(&p.taken, __ATOMIC_ACQUIRE) > IN_FLIGHT)
            continue;
        for (unsigned i = 0; i < batch; i++, sent++)
            mesh_post(p.mesh, 0, 1, message_at(messages, sent % (IN_FLIGHT * 2)));
        flush(p.mesh, 0);
    }
    pthread_join(receiver, NULL);
    double spent_ns = now_ns() - start_ns;
    mem_free(messages);
    mesh_destroy(p.mesh);
    return spent_ns / total;
}

static double round_trip_ns(unsigned batch, unsigned total)
{
    struct pair p = {.mesh = mesh_create(2), .total = total};
    struct mesh_message *messages = messages_create(BATCH_MAX);
    pthread_t other;
    pthread_create(&other, NULL, send_all_back, &p);
    double start_ns = now_ns();
    for (unsigned sent = 0; sent < total; sent += batch) {
        for (unsigned i = 0; i < batch; i++)
            mesh_post(p.mesh, 0, 1, message_at(messages, i));
        flush(p.mesh, 0);
        for (unsigned back = 0; back < batch;) {
            for (struct mesh_message *at = mesh_receive(p.mesh, 0); at != NULL; at = at->next)
                back++;
        }
    }
    pthread_join(other, NULL);
    double spent_ns = now_ns() - start_ns;
    mem_free(messages);
    mesh_destroy(p.mesh);
    return spent_ns / total;
}

static double empty_ns(unsigned core_count, unsigned total)
{
    struct mesh *m = mesh_create(core_count);
    unsigned found = 0;
    double start_ns = now_ns();
    for (unsigned i = 0; i < total; i++)
        found += mesh_receive(m, 0) != NULL;
    double spent_ns = now_ns() - start_ns;
    assert(found == 0);
    mesh_destroy(m);
    return spent_ns / total;
}

/* The figure of one message, or of one look. */
static void report(const char *what, double (*measure)(unsigned argument, unsigned total),
                   unsigned argument, unsigned total)
{
    double best_ns = measure(argument, total);
    for (int run = 1; run < RUNS; run++) {
        double ns = measure(argument, total);
        best_ns = ns < best_ns ? ns : best_ns;
    }
    printf("%-22s %3u: %8.1f ns\n", what, argument, best_ns);
}

int main(void)
{
    report("one way, batch of", one_way_ns, 1, 640000);
    report("one way, batch of", one_way_ns, BATCH_MAX, 6400000);
    report("round trip, batch of", round_trip_ns, 1, 128000);
    report("round trip, batch of", round_trip_ns, BATCH_MAX, 1280000);
    report("empty look, cores", empty_ns, 2, 10000000);
    report("empty look, cores", empty_ns, 8, 10000000);
    report("empty look, cores", empty_ns, 64, 10000000);
    return 0;
}
