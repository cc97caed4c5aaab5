/* The ring with many conns, few buffers and few descriptors. */
#include "ring_rig.h"

#include <pthread.h>

RING_TEST(ring_load, serves_five_hundred_conns_at_once)
{
    enum { COUNT = 500, SIZE = 300 };
    static int fds[COUNT];
    struct rig *rig = rig_create(backend, 1024, 4096);
    rig->echo = true;
    for (int i = 0; i < COUNT; i++)
        fds[i] = rig_connect(rig);
    rig_poll_until(rig, rig->conn_count == COUNT);
    for (int round = 0; round < 3; round++) {
        char sent[SIZE], back[SIZE];
        for (int i = 0; i < COUNT; i++) {
            rig_fill(sent, SIZE, i + round);
            rig_write(fds[i], sent, SIZE);
        }
        for (int i = 0; i < COUNT; i++) {
            rig_fill(sent, SIZE, i + round);
            rig_read(rig, fds[i], back, SIZE);
            cr_assert_arr_eq(sent, back, SIZE);
        }
    }
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    rig_destroy(rig);
}

RING_TEST(ring_load, runs_out_of_buffers_and_loses_nothing)
{
    enum { COUNT = 100, SIZE = 20000 };
    static int fds[COUNT];
    static char sent[SIZE], back[SIZE];
    struct rig *rig = rig_create(backend, 4, 512);
    rig->echo = true;
    for (int i = 0; i < COUNT; i++)
        fds[i] = rig_client(rig);
    for (int i = 0; i < COUNT; i++) {
        rig_fill(sent, SIZE, i);
        rig_write(fds[i], sent, SIZE);
    }
    for (int i = 0; i < COUNT; i++) {
        rig_fill(sent, SIZE, i);
        rig_read(rig, fds[i], back, SIZE);
        cr_assert_arr_eq(sent, back, SIZE, "conn %d", i);
    }
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    rig_destroy(rig);
}

RING_TEST(ring_load, conns_that_could_fill_every_buffer_do_not_starve_the_others)
{
    enum { HOGS = 8 };
    int hogs[HOGS];
    static char flood[65536];
    struct rig *rig = rig_create(backend, 4, 512);
    for (int i = 0; i < HOGS; i++)
        hogs[i] = rig_client(rig);
    int fd = rig_client(rig);
    for (int round = 0; round < 20; round++) {
        size_t before = rig->conns[HOGS].received_size;
        rig_write(fd, "a word", 6);
        int polls = 0;
        for (; rig->conns[HOGS].received_size < before + 6; polls++) {
            cr_assert_lt(polls, 200);
            for (int i = 0; i < HOGS; i++)
                send(hogs[i], flood, sizeof(flood), MSG_DONTWAIT | MSG_NOSIGNAL);
            rig_poll(rig, 1000);
        }
    }
    for (int i = 0; i < HOGS; i++)
        close(hogs[i]);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring_load, pausing_and_closing_conns_that_wait_for_a_buffer_is_safe)
{
    enum { COUNT = 40, SIZE = 8192 };
    int fds[COUNT];
    static char data[SIZE];
    struct rig *rig = rig_create(backend, 2, 256);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = rig_client(rig);
        rig_write(fds[i], data, SIZE);
    }
    for (int i = 0; i < 3; i++)
        rig_poll(rig, 0);
    for (int i = 0; i < COUNT; i += 2)
        ring_pause(rig->ring, &rig->conns[i].conn);
    for (int i = 1; i < COUNT; i += 4)
        ring_close(rig->ring, &rig->conns[i].conn);
    for (int i = 3; i < COUNT; i += 4)
        rig_poll_until(rig, rig->conns[i].received_size == SIZE);
    for (int i = 0; i < COUNT; i += 2) {
        ring_resume(rig->ring, &rig->conns[i].conn);
        rig_poll_until(rig, rig->conns[i].received_size == SIZE);
    }
    cr_assert_eq(rig->closed_count, COUNT / 4);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    rig_destroy(rig);
}

/* More operations in one iteration than the submission queue has entries, and more completions than
 * fit beside them. */
RING_TEST(ring_load, queues_more_than_the_submission_queue_holds)
{
    enum { COUNT = 500 };
    static int fds[COUNT];
    struct rig *rig = rig_create(backend, 64, 1024);
    for (int i = 0; i < COUNT; i++)
        fds[i] = rig_connect(rig);
    rig_poll_until(rig, rig->conn_count == COUNT);
    for (int i = 0; i < COUNT; i++) {
        ring_pause(rig->ring, &rig->conns[i].conn);
        ring_send(rig->ring, &rig->conns[i].conn, "hello", 5);
    }
    for (int i = 0; i < COUNT; i++)
        ring_close(rig->ring, &rig->conns[i].conn);
    rig_poll_until(rig, rig->closed_count == COUNT);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    rig_destroy(rig);
}

RING_TEST(ring_load, waits_out_a_lack_of_descriptors)
{
    int taken[64], taken_count = 0;
    struct rlimit limit;
    struct rig *rig = rig_create(backend, 16, 4096);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 64;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int client = rig_connect(rig);
    while ((taken[taken_count] = dup(0)) >= 0)
        taken_count++;
    unsigned polls = 0;
    for (int64_t end_us = rig_now_us() + 250000; rig_now_us() < end_us; polls++)
        rig_poll(rig, 50000);
    cr_assert_lt(polls, 30);
    cr_assert_eq(rig->conn_count, 0);
    while (taken_count > 0)
        close(taken[--taken_count]);
    rig_poll_until(rig, rig->conn_count == 1);
    close(client);
    rig_destroy(rig);
}

static long resident_kib(void)
{
    long size, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert_eq(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

RING_TEST(ring_load, an_idle_ring_takes_little_memory)
{
    struct rig *warm = rig_create(backend, 1024, 16384);
    rig_poll(warm, 0);
    long before = resident_kib();
    struct rig *rig = rig_create(backend, 1024, 16384);
    rig_poll(rig, 0);
    cr_assert_lt(resident_kib() - before, 1024);
    rig_destroy(rig);
    rig_destroy(warm);
}

/* A wait of this length that ends well before was ended by something. */
#define LONG_US 5000000
#define SOON_US 1000000

/* Nothing of the rig's own is left to happen. */
static void settle(struct rig *rig)
{
    while (rig_poll(rig, 2000) > 0)
        continue;
}

static unsigned poll_soon(struct rig *rig)
{
    int64_t start_us = rig_now_us();
    unsigned calls = rig_poll(rig, LONG_US);
    cr_assert_lt(rig_now_us() - start_us, SOON_US, "slept over an event");
    return calls;
}

/* The kernel has just begun the send, or is about to go on with it: a cancellation may miss it. */
RING_TEST(ring_load, closing_ends_a_send_that_is_between_two_waits)
{
    enum { COUNT = 20, SIZE = 1 << 20 };
    static char data[SIZE], some[1 << 14];
    struct rig *rig = rig_create(backend, 16, 4096);
    int fds[COUNT];
    int little = 4096;
    for (int i = 0; i < COUNT; i++) {
        fds[i] = rig_client(rig);
        setsockopt(rig->conns[i].conn.fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little));
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
    }
    settle(rig);
    for (int i = 0; i < COUNT; i++)
        ring_send(rig->ring, &rig->conns[i].conn, data, SIZE);
    for (int i = 0; i < COUNT; i += 2)
        ring_close(rig->ring, &rig->conns[i].conn);
    while (rig->closed_count < COUNT / 2)
        poll_soon(rig);
    for (int i = 1; i < COUNT; i += 2) {
        cr_assert_gt(recv(fds[i], some, sizeof(some), 0), 0);
        ring_close(rig->ring, &rig->conns[i].conn);
    }
    while (rig->closed_count < COUNT)
        poll_soon(rig);
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(rig->conns[i].sent_count, 0);
        close(fds[i]);
    }
    rig_destroy(rig);
}

/* Readers that let go of a little at a time, and one conn that asks and waits for the answer. */
enum { SLOW = 8, SLOW_SIZE = 3 << 20, ASKED = 50 };

struct slow_readers {
    int fds[SLOW];
    int asker;
    const char *expected;
    unsigned wrong;
    int64_t slowest_us; /* answer */
};

static void read_a_little(struct slow_readers *s, int i, size_t *got)
{
    static char bytes[256 * 1024];
    ssize_t n = recv(s->fds[i], bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n <= 0)
        return;
    s->wrong += memcmp(bytes, s->expected + *got, n) != 0;
    *got += n;
}

static void ask(struct slow_readers *s)
{
    char back;
    int64_t start_us = rig_now_us();
    s->wrong += send(s->asker, "?", 1, MSG_NOSIGNAL) != 1 || recv(s->asker, &back, 1, 0) != 1;
    int64_t took_us = rig_now_us() - start_us;
    if (took_us > s->slowest_us)
        s->slowest_us = took_us;
}

/* At first nobody reads, and the sockets stay full. */
static void *read_slowly(void *at)
{
    struct slow_readers *s = at;
    size_t got[SLOW] = {0};
    size_t sum = 0;
    for (int i = 0; i < ASKED; i++)
        ask(s);
    while (sum < (size_t)SLOW * SLOW_SIZE) {
        sum = 0;
        for (int i = 0; i < SLOW; i++) {
            read_a_little(s, i, &got[i]);
            sum += got[i];
        }
        ask(s);
    }
    close(s->asker);
    return NULL;
}

static void fill_sockets(struct rig *rig, struct slow_readers *s)
{
    int little = 65536;
    for (int i = 0; i < SLOW; i++) {
        s->fds[i] = rig_client(rig);
        setsockopt(rig->conns[i].conn.fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little));
        setsockopt(s->fds[i], SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
    }
    s->asker = rig_client(rig);
    settle(rig);
    for (int i = 0; i < SLOW; i++)
        ring_send(rig->ring, &rig->conns[i].conn, s->expected, SLOW_SIZE);
}

/* Each poll has full sockets, an answer to send and a conn to hear. */
RING_TEST(ring_load, full_sockets_hold_up_nobody)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    struct rig_conn *asker = &rig->conns[SLOW];
    static char data[SLOW_SIZE];
    struct slow_readers slow = {.expected = data};
    size_t answered = 0;
    pthread_t reader;
    rig_fill(data, SLOW_SIZE, 11);
    fill_sockets(rig, &slow);
    pthread_create(&reader, NULL, read_slowly, &slow);
    while (asker->end_count == 0) {
        poll_soon(rig);
        if (asker->received_size > answered && !ring_sending(&asker->conn)) {
            answered = asker->received_size;
            ring_send(rig->ring, &asker->conn, "!", 1);
        }
    }
    pthread_join(reader, NULL);
    cr_assert_eq(slow.wrong, 0);
    cr_assert_lt(slow.slowest_us, SOON_US);
    for (int i = 0; i < SLOW; i++) {
        cr_assert_eq(rig->conns[i].sent_count, 1);
        close(slow.fds[i]);
    }
    rig_destroy(rig);
}
