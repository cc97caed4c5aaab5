/* The ring, one conn at a time: what each call promises. */
#include "ring_rig.h"

Test(ring, probe_gives_a_reason_or_none)
{
    char why[200] = "";
    enum ring_backend backend = ring_probe(why, sizeof(why));
    cr_assert_eq(backend == RING_URING, why[0] == '\0', "%s", why);
}

Test(ring, probe_leaves_no_descriptor_behind)
{
    char why[200];
    int before = dup(0);
    close(before);
    for (int i = 0; i < 20; i++)
        ring_probe(why, sizeof(why));
    int after = dup(0);
    close(after);
    cr_assert_eq(before, after);
}

RING_TEST(ring, accepts_with_the_tag_of_the_listener)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    cr_assert_eq(ring_backend(rig->ring), backend);
    int fd = rig_client(rig);
    cr_assert_eq(rig->accepted_tag, 7);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, echoes_small_data)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    rig->echo = true;
    int fd = rig_client(rig);
    for (int i = 0; i < 100; i++) {
        char sent[32], back[32];
        int size = snprintf(sent, sizeof(sent), "message %d", i);
        rig_write(fd, sent, size);
        rig_read(rig, fd, back, size);
        cr_assert_arr_eq(sent, back, size);
    }
    cr_assert_eq(rig->conns[0].sent_count, 100);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, echoes_megabytes)
{
    struct rig *rig = rig_create(backend, 64, 16384);
    const size_t size = 8 << 20;
    char *sent = malloc(size), *back = malloc(size);
    rig_fill(sent, size, 1);
    rig->echo = true;
    int fd = rig_client(rig);
    size_t out = 0, in = 0;
    while (in < size) {
        ssize_t n = send(fd, sent + out, size - out, MSG_DONTWAIT | MSG_NOSIGNAL);
        out += n > 0 ? n : 0;
        rig_poll(rig, 100);
        n = recv(fd, back + in, size - in, MSG_DONTWAIT);
        cr_assert_neq(n, 0);
        in += n > 0 ? n : 0;
    }
    cr_assert_eq(memcmp(sent, back, size), 0);
    free(sent);
    free(back);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, sends_megabytes_to_a_slow_reader_as_one)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    const size_t size = 16 << 20;
    char *sent = malloc(size), *back = malloc(size);
    rig_fill(sent, size, 2);
    int fd = rig_client(rig);
    ring_send(rig->ring, &rig->conns[0].conn, sent, size);
    for (int i = 0; i < 10; i++)
        rig_poll(rig, 0);
    cr_assert(ring_sending(&rig->conns[0].conn));
    rig_read(rig, fd, back, size);
    rig_poll_until(rig, rig->conns[0].sent_count == 1);
    cr_assert_eq(rig->conns[0].sent_error, 0);
    cr_assert_eq(memcmp(sent, back, size), 0);
    free(sent);
    free(back);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, reports_a_finished_send_without_sleeping)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    int fd = rig_client(rig);
    while (rig_poll(rig, 1000) > 0)
        continue;
    int64_t start_us = rig_now_us();
    ring_send(rig->ring, &rig->conns[0].conn, "x", 1);
    cr_assert_eq(rig->conns[0].sent_count, 0);
    rig_poll(rig, 5000000);
    cr_assert_eq(rig->conns[0].sent_count, 1);
    cr_assert_lt(rig_now_us() - start_us, 1000000);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, delivers_nothing_while_paused_and_all_after)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    struct rig_conn *s = &rig->conns[0];
    int fd = rig_client(rig);
    ring_pause(rig->ring, &s->conn);
    rig_poll(rig, 1000);
    rig_poll(rig, 1000);
    rig_write(fd, "held back", 9);
    for (int i = 0; i < 5; i++)
        rig_poll(rig, 1000);
    cr_assert_eq(s->received_count, 0);
    ring_resume(rig->ring, &s->conn);
    rig_poll_until(rig, s->received_size == 9);
    cr_assert_arr_eq(s->bytes.data, "held back", 9);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, pausing_at_every_piece_loses_nothing)
{
    struct rig *rig = rig_create(backend, 16, 1024);
    struct rig_conn *s = &rig->conns[0];
    const size_t size = 1 << 20;
    char *sent = malloc(size);
    rig_fill(sent, size, 3);
    rig->pause_on_receive = true;
    int fd = rig_client(rig);
    size_t out = 0;
    for (unsigned turn = 0; s->received_size < size; turn++) {
        ssize_t n = send(fd, sent + out, size - out, MSG_DONTWAIT | MSG_NOSIGNAL);
        out += n > 0 ? n : 0;
        rig_poll(rig, 100);
        if (turn % 3 == 0)
            ring_resume(rig->ring, &s->conn);
        if (turn % 7 == 0) {
            ring_pause(rig->ring, &s->conn);
            ring_resume(rig->ring, &s->conn);
        }
    }
    cr_assert_eq(s->bytes.size, size);
    cr_assert_eq(memcmp(sent, s->bytes.data, size), 0);
    free(sent);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, one_at_a_time_all_conns_get_on_alike)
{
    enum { CONNS = 40, BUFFER = 1024, BYTES = 12 * BUFFER };
    struct rig *rig = rig_create(backend, 16, BUFFER);
    int fds[CONNS];
    char bytes[BYTES];
    rig_fill(bytes, BYTES, 5);
    for (unsigned i = 0; i < CONNS; i++) {
        rig->conns[i].conn.single = true;
        fds[i] = rig_client(rig);
    }
    for (unsigned i = 0; i < CONNS; i++)
        rig_write(fds[i], bytes, BYTES);
    size_t least = 0, most = 0;
    while (least < BYTES) {
        size_t before = rig->conns[0].received_size;
        rig_poll(rig, 100);
        cr_assert_leq(rig->conns[0].received_size - before, 2 * BUFFER);
        least = BYTES;
        for (unsigned i = 0; i < CONNS; i++) {
            size_t size = rig->conns[i].received_size;
            least = size < least ? size : least;
            most = size > most ? size : most;
        }
        cr_assert_leq(most - least, 4 * BUFFER);
    }
    for (unsigned i = 0; i < CONNS; i++) {
        cr_assert_arr_eq(rig->conns[i].bytes.data, bytes, BYTES);
        close(fds[i]);
    }
    rig_destroy(rig);
}

RING_TEST(ring, waiting_while_paused_does_not_spin)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    int fd = rig_client(rig);
    ring_pause(rig->ring, &rig->conns[0].conn);
    rig_write(fd, "unread", 6);
    close(fd);
    for (int i = 0; i < 5; i++)
        rig_poll(rig, 1000);
    int64_t start_us = rig_now_us();
    rig_poll(rig, 20000);
    cr_assert_geq(rig_now_us() - start_us, 19000);
    ring_resume(rig->ring, &rig->conns[0].conn);
    rig_poll_until(rig, rig->conns[0].end_count == 1);
    cr_assert_eq(rig->conns[0].received_size, 6);
    rig_destroy(rig);
}

RING_TEST(ring, tells_the_end_once)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    struct rig_conn *s = &rig->conns[0];
    int fd = rig_client(rig);
    rig_write(fd, "last words", 10);
    close(fd);
    rig_poll_until(rig, s->end_count == 1);
    cr_assert_eq(s->received_size, 10);
    ring_pause(rig->ring, &s->conn);
    ring_resume(rig->ring, &s->conn);
    for (int i = 0; i < 5; i++)
        rig_poll(rig, 1000);
    cr_assert_eq(s->end_count, 1);
    rig_destroy(rig);
}

RING_TEST(ring, answers_a_peer_that_shut_down_its_side)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    char back[8];
    rig->echo = true;
    int fd = rig_client(rig);
    rig_write(fd, "question", 8);
    shutdown(fd, SHUT_WR);
    rig_read(rig, fd, back, 8);
    cr_assert_arr_eq(back, "question", 8);
    rig_poll_until(rig, rig->conns[0].end_count == 1);
    close(fd);
    rig_destroy(rig);
}

static void reset(int fd)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
}

RING_TEST(ring, tells_a_reset_as_an_end)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    reset(rig_client(rig));
    rig_poll_until(rig, rig->conns[0].end_count == 1);
    cr_assert_eq(rig->conns[0].received_size, 0);
    rig_destroy(rig);
}

RING_TEST(ring, tells_the_error_of_a_send_that_broke)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    const size_t size = 32 << 20;
    char *data = calloc(1, size);
    int fd = rig_client(rig);
    ring_send(rig->ring, &rig->conns[0].conn, data, size);
    for (int i = 0; i < 5; i++)
        rig_poll(rig, 1000);
    cr_assert_eq(rig->conns[0].sent_count, 0);
    reset(fd);
    rig_poll_until(rig, rig->conns[0].sent_count == 1);
    cr_assert_neq(rig->conns[0].sent_error, 0);
    rig_destroy(rig);
    free(data);
}

RING_TEST(ring, closing_cuts_off_a_send_that_nobody_reads)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    const size_t size = 32 << 20;
    char *data = calloc(1, size);
    int fd = rig_client(rig);
    ring_send(rig->ring, &rig->conns[0].conn, data, size);
    for (int i = 0; i < 5; i++)
        rig_poll(rig, 1000);
    ring_close(rig->ring, &rig->conns[0].conn);
    rig_poll_until(rig, rig->conns[0].closed_count == 1);
    free(data);
    cr_assert_eq(rig->conns[0].sent_count, 0);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, closing_before_the_send_was_submitted_is_safe)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    int fd = rig_client(rig);
    ring_send(rig->ring, &rig->conns[0].conn, "x", 1);
    ring_close(rig->ring, &rig->conns[0].conn);
    cr_assert_eq(rig->conns[0].closed_count, 0);
    rig_poll_until(rig, rig->conns[0].closed_count == 1);
    cr_assert_eq(rig->conns[0].sent_count, 0);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, the_peer_sees_the_close)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    char byte;
    int fd = rig_client(rig);
    ring_close(rig->ring, &rig->conns[0].conn);
    rig_poll_until(rig, rig->conns[0].closed_count == 1);
    cr_assert_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, waits_as_long_as_told)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    rig_poll(rig, 0);
    rig_poll(rig, 1000);
    int64_t start_us = rig_now_us();
    cr_assert_eq(rig_poll(rig, 20000), 0);
    int64_t waited_us = rig_now_us() - start_us;
    cr_assert_geq(waited_us, 19900);
    cr_assert_lt(waited_us, 500000);
    start_us = rig_now_us();
    rig_poll(rig, 0);
    cr_assert_lt(rig_now_us() - start_us, 10000);
    rig_destroy(rig);
}

RING_TEST(ring, unlisten_refuses_newcomers_and_keeps_the_rest)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    char back[2];
    rig->echo = true;
    int fd = rig_client(rig);
    ring_unlisten(rig->ring, rig->listen_fd);
    close(rig->listen_fd);
    rig->listen_fd = -1;
    for (int i = 0; i < 3; i++)
        rig_poll(rig, 1000);
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons(rig->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int late = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(late, (struct sockaddr *)&to, sizeof(to)), -1);
    cr_assert_eq(errno, ECONNREFUSED);
    close(late);
    rig_write(fd, "hi", 2);
    rig_read(rig, fd, back, 2);
    close(fd);
    rig_destroy(rig);
}

RING_TEST(ring, bytes_that_are_held_stay_over_further_polls)
{
    struct rig *rig = rig_create(backend, 16, 4096);
    struct rig_conn *s = &rig->conns[0];
    int fd = rig_client(rig);
    rig_write(fd, "held", 4);
    rig_poll_until(rig, s->received_size == 4);
    const char *held = s->last_data;
    ring_hold(rig->ring);
    for (size_t i = 1; i <= 40; i++) {
        rig_write(fd, "more", 4);
        rig_poll_until(rig, s->received_size == 4 + i * 4);
        cr_assert_arr_eq(held, "held", 4);
        /* Each round gives back what it took, and holds the rest anew. */
        ring_let_go(rig->ring);
        cr_assert_arr_eq(held, "held", 4);
        ring_hold(rig->ring);
    }
    ring_let_go(rig->ring);
    close(fd);
    rig_destroy(rig);
}
