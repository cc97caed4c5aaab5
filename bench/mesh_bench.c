/* What the mesh costs: a message one way and there and back between two threads, singly and in batches
 * of 32, and an empty look at 2, 8 and 64 cores.
 *
 * Prints one line a figure: nanoseconds. Both threads spin, so it needs two CPUs to itself. */
#include "net/mesh.h"

#include "proto/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_MAX 32
#define IN_FLIGHT 512 /* messages that a one-way run lets be under way */

struct pair {
    struct mesh *mesh;
    unsigned batch;
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

static void measure_one_way(unsigned batch, unsigned total)
{
    struct pair p = {.mesh = mesh_create(2), .batch = batch, .total = total};
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
    printf("one way, batch %2u:      %7.1f ns a message\n", batch, (now_ns() - start_ns) / total);
    mem_free(messages);
    mesh_destroy(p.mesh);
}

static void measure_round_trip(unsigned batch, unsigned total)
{
    struct pair p = {.mesh = mesh_create(2), .batch = batch, .total = total};
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
    printf("round trip, batch %2u:   %7.1f ns a message\n", batch, (now_ns() - start_ns) / total);
    mem_free(messages);
    mesh_destroy(p.mesh);
}

static void measure_empty(uint32_t core_count)
{
    const unsigned total = 20000000;
    struct mesh *m = mesh_create(core_count);
    unsigned found = 0;
    double start_ns = now_ns();
    for (unsigned i = 0; i < total; i++)
        found += mesh_receive(m, 0) != NULL;
    printf("empty look, %3u cores:  %7.1f ns%s\n", core_count, (now_ns() - start_ns) / total,
           found > 0 ? " (found something?)" : "");
    mesh_destroy(m);
}

int main(void)
{
    measure_one_way(1, 3200000);
    measure_one_way(BATCH_MAX, 32000000);
    measure_round_trip(1, 320000);
    measure_round_trip(BATCH_MAX, 6400000);
    measure_empty(2);
    measure_empty(8);
    measure_empty(64);
    return 0;
}
