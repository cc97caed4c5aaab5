/* Appending to files from a ring, and what becomes of errors. */
#include "ring_rig.h"

#include "proto/slice.h"

#include <signal.h>
#include <sys/resource.h>

struct outcome {
    struct file_write write;
    unsigned count;
    int error;
};

static void note(void *context, struct file_write *w, int error)
{
    struct outcome *o = context;
    cr_assert_eq(w, &o->write);
    o->count++;
    o->error = error;
}

static int open_temporary(void)
{
    char path[] = "/tmp/lasca-ring-file-XXXXXX";
    int fd = mkostemp(path, O_APPEND);
    cr_assert_geq(fd, 0, "%s", strerror(errno));
    unlink(path);
    return fd;
}

static void begin(struct rig *rig, struct outcome *o, int fd, struct slice data, bool sync)
{
    *o = (struct outcome){.write = {.fd = fd, .data = data.data, .size = data.size, .sync = sync,
                                    .done = note, .context = o}};
    ring_write_file(rig->ring, &o->write);
    cr_assert_eq(o->count, 0, "told before ring_poll");
}

static void write_and_wait(struct rig *rig, struct outcome *o, int fd, struct slice data, bool sync)
{
    begin(rig, o, fd, data, sync);
    rig_poll_until(rig, o->count == 1);
    cr_assert_eq(ring_file_count(rig->ring), 0);
}

static void expect_content(int fd, struct slice want)
{
    char *got = malloc(want.size + 1);
    cr_assert_eq(pread(fd, got, want.size + 1, 0), (ssize_t)want.size);
    cr_assert_eq(memcmp(got, want.data, want.size), 0);
    free(got);
}

RING_TEST(ring_file, appends_in_the_order_asked_for_one_at_a_time)
{
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o;
    int fd = open_temporary();
    write_and_wait(rig, &o, fd, SLICE("one "), false);
    cr_assert_eq(o.error, 0);
    write_and_wait(rig, &o, fd, SLICE("two "), true);
    cr_assert_eq(o.error, 0);
    cr_assert_eq(o.write.written, 4);
    expect_content(fd, SLICE("one two "));
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring_file, syncs_without_a_write)
{
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o;
    int fd = open_temporary();
    write_and_wait(rig, &o, fd, (struct slice){NULL, 0}, true);
    cr_assert_eq(o.error, 0);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring_file, writes_more_than_one_request_takes)
{
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o;
    size_t size = ((size_t)20 << 20) + 7;
    char *data = malloc(size);
    rig_fill(data, size, 5);
    int fd = open_temporary();
    write_and_wait(rig, &o, fd, (struct slice){data, size}, true);
    cr_assert_eq(o.error, 0);
    expect_content(fd, (struct slice){data, size});
    free(data);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring_file, says_that_the_disk_is_full)
{
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o;
    int fd = open("/dev/full", O_WRONLY | O_APPEND);
    cr_assert_geq(fd, 0);
    write_and_wait(rig, &o, fd, SLICE("lost"), true);
    cr_assert_eq(o.error, ENOSPC);
    cr_assert_eq(o.write.written, 0);
    close(fd);
    rig_destroy(rig);
}

/* Half of it fits: the rest, written again once there is room, continues what is there. */
RING_TEST(ring_file, says_how_much_was_written_before_an_error)
{
    struct rlimit limit, small;
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o;
    int fd = open_temporary();
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = (struct rlimit){6, limit.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    write_and_wait(rig, &o, fd, SLICE("0123456789"), true);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(o.error, EFBIG);
    cr_assert_eq(o.write.written, 6);
    write_and_wait(rig, &o, fd, SLICE("6789"), true);
    cr_assert_eq(o.error, 0);
    expect_content(fd, SLICE("0123456789"));
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring_file, says_that_the_file_is_not_open)
{
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o;
    int fd = open_temporary();
    close(fd);
    write_and_wait(rig, &o, fd, SLICE("lost"), true);
    cr_assert_eq(o.error, EBADF);
    write_and_wait(rig, &o, fd, (struct slice){NULL, 0}, true);
    cr_assert_eq(o.error, EBADF);
    rig_destroy(rig);
}

RING_TEST(ring_file, ends_a_sleep)
{
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o;
    int fd = open_temporary();
    begin(rig, &o, fd, SLICE("x"), true);
    int64_t start_us = rig_now_us();
    while (o.count == 0)
        rig_poll(rig, 5000000);
    cr_assert_lt(rig_now_us() - start_us, 4000000);
    close(fd);
    rig_destroy(rig);
}

/* Many at once, to one file each: all are told of, once. */
RING_TEST(ring_file, tells_of_each_write)
{
    enum { COUNT = 50 };
    struct rig *rig = rig_create(backend, 2, 64);
    struct outcome o[COUNT];
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = open_temporary();
        begin(rig, &o[i], fds[i], SLICE("abc"), i % 2);
    }
    rig_poll_until(rig, ring_file_count(rig->ring) == 0);
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(o[i].count, 1);
        cr_assert_eq(o[i].error, 0);
        expect_content(fds[i], SLICE("abc"));
        close(fds[i]);
    }
    rig_destroy(rig);
}

/* What was asked for is sent without a ring_poll, which tells of it later. */
RING_TEST(ring_file, submit_sends_before_the_next_poll)
{
    struct rig *rig = rig_create(backend, 2, 64);
    int client = rig_client(rig);
    char got[5];
    ring_send(rig->ring, &rig->conns[0].conn, "hello", 5);
    ring_submit(rig->ring);
    cr_assert_eq(recv(client, got, 5, MSG_WAITALL), 5);
    cr_assert_eq(rig->conns[0].sent_count, 0);
    rig_poll_until(rig, rig->conns[0].sent_count == 1);
    cr_assert_eq(rig->conns[0].sent_error, 0);
    close(client);
    rig_destroy(rig);
}

Test(ring_file, writes_at_once)
{
    int fd = open_temporary();
    struct file_write w = {.fd = fd, .data = "abc", .size = 3, .sync = true};
    cr_assert_eq(ring_write_file_now(&w), 0);
    cr_assert_eq(w.written, 3);
    expect_content(fd, SLICE("abc"));
    close(fd);
    cr_assert_eq(ring_write_file_now(&w), EBADF);
}
