/* What the tests of the ring share: a server with one ring, and clients that are plain sockets.
 *
 * The rig's handler keeps count of every call for each conn. With `echo` it sends back what comes;
 * else it adds what comes to `bytes`. A test drives it with rig_poll_until. */
#pragma once

#include "net/listener.h"
#include "net/ring.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RIG_CONNS 600

struct rig_bytes {
    char *data;
    size_t size;
    size_t capacity;
};

struct rig_conn {
    struct conn conn;
    struct rig *rig;
    struct rig_bytes bytes;    /* received, and not yet echoed */
    struct rig_bytes outgoing; /* with the ring */
    const char *last_data;     /* of the last call of `received` */
    size_t received_size;
    unsigned received_count;
    unsigned end_count; /* calls of `received` with size 0 */
    unsigned sent_count;
    unsigned closed_count;
    int sent_error;
};

struct rig {
    struct ring *ring;
    int listen_fd;
    unsigned port;
    bool echo;
    bool pause_on_receive;
    unsigned conn_count;
    unsigned accepted_tag;
    unsigned closed_count;
    bool in_poll;
    struct rig_conn conns[RIG_CONNS];
};

static inline void rig_bytes_add(struct rig_bytes *b, const char *data, size_t size)
{
    while (b->capacity < b->size + size) {
        b->capacity = b->capacity == 0 ? 4096 : b->capacity * 2;
        b->data = realloc(b->data, b->capacity);
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void rig_echo(struct rig_conn *s)
{
    if (!s->rig->echo || s->bytes.size == 0 || ring_sending(&s->conn))
        return;
    struct rig_bytes free_bytes = s->outgoing;
    s->outgoing = s->bytes;
    s->bytes = free_bytes;
    s->bytes.size = 0;
    ring_send(s->rig->ring, &s->conn, s->outgoing.data, s->outgoing.size);
}

static inline void rig_accepted(void *context, int fd, unsigned tag)
{
    struct rig *rig = context;
    cr_assert(rig->in_poll);
    cr_assert_lt(rig->conn_count, RIG_CONNS);
    struct rig_conn *s = &rig->conns[rig->conn_count++];
    listener_prepare(fd, 0);
    rig->accepted_tag = tag;
    s->rig = rig;
    s->conn.fd = fd;
    ring_add(rig->ring, &s->conn);
}

static inline void rig_received(void *context, struct conn *c, const char *data, size_t size)
{
    struct rig_conn *s = (struct rig_conn *)c;
    cr_assert(s->rig->in_poll);
    cr_assert_eq(s->end_count, 0, "bytes after the end");
    cr_assert_eq(s->closed_count, 0);
    s->received_count++;
    s->received_size += size;
    s->last_data = data;
    if (size == 0) {
        s->end_count++;
        return;
    }
    rig_bytes_add(&s->bytes, data, size);
    if (s->rig->pause_on_receive)
        ring_pause(s->rig->ring, c);
    rig_echo(s);
}

static inline void rig_sent(void *context, struct conn *c, int error)
{
    struct rig_conn *s = (struct rig_conn *)c;
    cr_assert(s->rig->in_poll);
    cr_assert_not(ring_sending(c));
    s->sent_count++;
    s->sent_error = error;
    if (error == 0)
        rig_echo(s);
}

static inline void rig_closed(void *context, struct conn *c)
{
    struct rig_conn *s = (struct rig_conn *)c;
    cr_assert(s->rig->in_poll);
    s->closed_count++;
    s->rig->closed_count++;
    free(s->bytes.data);
    free(s->outgoing.data);
}

static const struct ring_handler rig_handler = {
    .accepted = rig_accepted,
    .received = rig_received,
    .sent = rig_sent,
    .closed = rig_closed,
};

static inline unsigned rig_port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t size = sizeof(at);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    return ntohs(at.sin_port);
}

static inline struct rig *rig_create(enum ring_backend backend, unsigned buffer_count,
                                     unsigned buffer_size)
{
    char why[200] = "";
    struct rig *rig = calloc(1, sizeof(*rig));
    struct ring_options options = {
        .backend = backend,
        .handler = &rig_handler,
        .context = rig,
        .buffer_count = buffer_count,
        .buffer_size = buffer_size,
    };
    rig->ring = ring_create(&options);
    cr_assert_not_null(rig->ring, "%s", strerror(errno));
    rig->listen_fd = listener_open("127.0.0.1", 0, 1024, why, sizeof(why));
    cr_assert_geq(rig->listen_fd, 0, "%s", why);
    rig->port = rig_port_of(rig->listen_fd);
    ring_listen(rig->ring, rig->listen_fd, 7);
    return rig;
}

static inline unsigned rig_poll(struct rig *rig, int64_t timeout_us)
{
    rig->in_poll = true;
    unsigned calls = ring_poll(rig->ring, timeout_us);
    rig->in_poll = false;
    return calls;
}

static inline int64_t rig_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Polls until the condition holds; fails after ten seconds. */
#define rig_poll_until(rig, condition)                                                             \
    do {                                                                                           \
        int64_t rig_end_us = rig_now_us() + 10000000;                                              \
        while (!(condition)) {                                                                     \
            cr_assert_lt(rig_now_us(), rig_end_us, "never: %s", #condition);                       \
            rig_poll(rig, 1000);                                                                   \
        }                                                                                          \
    } while (0)

/* Closes what is open, waits for it and frees the rig. */
static inline void rig_destroy(struct rig *rig)
{
    for (unsigned i = 0; i < rig->conn_count; i++) {
        struct rig_conn *s = &rig->conns[i];
        if (s->conn.fd >= 0 && s->closed_count == 0 && (s->conn.state & 0x80) == 0)
            ring_close(rig->ring, &s->conn);
    }
    rig_poll_until(rig, rig->closed_count == rig->conn_count);
    for (unsigned i = 0; i < rig->conn_count; i++)
        cr_assert_eq(rig->conns[i].closed_count, 1);
    ring_destroy(rig->ring);
    if (rig->listen_fd >= 0)
        close(rig->listen_fd);
    free(rig);
}

/* A blocking client socket; the ring has yet to accept it. */
static inline int rig_connect(const struct rig *rig)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons(rig->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0, "%s", strerror(errno));
    return fd;
}

/* A client whose server side is the rig's newest conn. */
static inline int rig_client(struct rig *rig)
{
    unsigned before = rig->conn_count;
    int fd = rig_connect(rig);
    rig_poll_until(rig, rig->conn_count > before);
    return fd;
}

static inline void rig_write(int fd, const char *data, size_t size)
{
    cr_assert_eq(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Reads exactly `size` bytes while the ring runs. */
static inline void rig_read(struct rig *rig, int fd, char *to, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n;
        rig_poll_until(rig, (n = recv(fd, to + got, size - got, MSG_DONTWAIT)) >= 0);
        cr_assert_gt(n, 0, "the server closed the connection");
        got += n;
    }
}

static inline void rig_fill(char *to, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (char)((seed = seed * 1664525 + 1013904223) >> 24);
}

static inline void rig_require_uring(void)
{
    char why[200] = "";
    if (ring_probe(why, sizeof(why)) != RING_URING)
        cr_skip_test("no io_uring here: %s", why);
}

/* A test of each backend. Not Criterion's parameterized tests: 2.4.1 does not mark their
 * registration as used, and link-time optimization drops them without a word. */
#define RING_TEST(suite, name)                                                                     \
    static void rig_test_##name(enum ring_backend backend);                                        \
    Test(suite, name##_on_epoll)                                                                   \
    {                                                                                              \
        rig_test_##name(RING_EPOLL);                                                               \
    }                                                                                              \
    Test(suite, name##_on_uring)                                                                   \
    {                                                                                              \
        rig_require_uring();                                                                       \
        rig_test_##name(RING_URING);                                                               \
    }                                                                                              \
    static void rig_test_##name(enum ring_backend backend)
