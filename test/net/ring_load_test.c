/* The ring with many conns, few buffers and few descriptors. */
#include "ring_rig.h"

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
