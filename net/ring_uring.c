/* The ring on io_uring.
 *
 * One io_uring_enter an iteration submits everything that the iteration queued, runs the kernel's
 * deferred task work, and sleeps if asked to. With DEFER_TASKRUN completions appear only inside
 * such a call; IORING_SQ_TASKRUN in the shared flags says when one would bring any.
 *
 * user_data is the address of the conn, listener or file write with the kind of operation in its
 * low three bits. Nothing is freed before its last completion, so an address is never met again by
 * an old completion.
 *
 * Receive buffers: one buffer ring (group 0). The kernel gets a window of the buffers, which
 * doubles whenever the kernel ran out, so that a quiet server cycles through few pages and a busy
 * one has all. Buffers that came back in one ring_poll go to the kernel at the start of the next.
 *
 * A conn without a buffer (-ENOBUFS) waits in `hungry`, or in `fed` if it had got something since
 * it was armed; hungry conns are armed first, and no more of both than there are buffers in the
 * window. Thus a conn that can fill every buffer does not starve the others.
 *
 * A multishot receive goes on while the socket has bytes and there are buffers, so that a pause
 * comes too late for up to a whole window of them. A conn marked `single` is armed for one at a
 * time.
 *
 * Sources: io_uring_setup(2), io_uring_enter(2), io_uring_register(2), liburing 2.3. */
#include "net/ring_backend.h"

#include "proto/mem.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 4096
#define WINDOW_MIN 32           /* buffers that the kernel has from the start */
#define SEND_SIZE_MAX (1 << 30) /* bytes a submission: its length has 32 bits */
#define WRITE_SIZE_MAX (8 << 20) /* bytes a write: the file's lock is held for it */

/* The low bits of user_data. */
enum operation { OP_RECV, OP_SEND, OP_ACCEPT, OP_WAKE, OP_CANCEL, OP_WRITE, OP_SYNC };
#define OP_MASK 7

/* conn.state:
 *   bit 0  ARMED      a receive is with the kernel
 *   bit 1  CANCELLED  and has been told to end
 *   bit 2  ENDED      the peer's end, or an error, was delivered
 *   bit 3  FED        got bytes since it was armed
 *   bit 4  HUNGRY     in the list `hungry`
 *   bit 5  FULL       in the list `fed`
 *   bit 7  CONN_CLOSING */
#define ARMED 0x01
#define CANCELLED 0x02
#define ENDED 0x04
#define FED 0x08
#define HUNGRY 0x10
#define FULL 0x20

struct uring {
    struct ring base; /* first */
    struct io_uring io;
    unsigned enter_flags;
    struct io_uring_buf_ring *buffer_ring;
    char *buffers;
    unsigned buffer_count;
    unsigned buffer_size;
    unsigned window;     /* buffers 0..window-1 circulate */
    bool ran_out;        /* the window was too small */
    unsigned used_count; /* of `used`: buffers whose bytes the user may still read */
    unsigned held_count; /* ... of these, those that stay over further polls */
    uint16_t *used;
    struct conn_list hungry;
    struct conn_list fed;
    struct conn_list closed;
};

static struct uring *uring_of(struct ring *r)
{
    return (struct uring *)r;
}

static uint64_t user_data(const void *at, enum operation op)
{
    assert(((uintptr_t)at & OP_MASK) == 0);
    return (uintptr_t)at | op;
}

/* ---- submission ---- */

/* Shows the kernel the entries taken so far. Returns how many it has yet to consume. */
static unsigned sq_publish(struct uring *u)
{
    struct io_uring_sq *sq = &u->io.sq;
    sq->sqe_head = sq->sqe_tail;
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return sq->sqe_tail - IO_URING_READ_ONCE(*sq->khead);
}

static struct io_uring_sqe *sqe_take(struct uring *u)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(&u->io)) == NULL)
        io_uring_enter(u->io.enter_ring_fd, sq_publish(u), 0, u->enter_flags, NULL);
    return sqe;
}

static void submit_cancel(struct uring *u, uint64_t target)
{
    struct io_uring_sqe *sqe = sqe_take(u);
    io_uring_prep_cancel64(sqe, target, 0);
    sqe->user_data = OP_CANCEL;
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static void submit_recv(struct uring *u, struct conn *c)
{
    struct io_uring_sqe *sqe = sqe_take(u);
    if (c->single)
        io_uring_prep_recv(sqe, c->fd, NULL, 0, 0);
    else
        io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    sqe->user_data = user_data(c, OP_RECV);
    c->state = (c->state & ~FED) | ARMED;
    c->pending++;
}

/* `ioprio` is IORING_RECVSEND_POLL_FIRST where the socket has just said that it is full. */
static void submit_send(struct uring *u, struct conn *c, uint16_t ioprio)
{
    size_t size = c->send_size < SEND_SIZE_MAX ? c->send_size : SEND_SIZE_MAX;
    struct io_uring_sqe *sqe = sqe_take(u);
    io_uring_prep_send(sqe, c->fd, c->send_data, size, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->ioprio = ioprio;
    sqe->user_data = user_data(c, OP_SEND);
    c->pending++;
}

static void submit_wake_poll(struct uring *u)
{
    struct io_uring_sqe *sqe = sqe_take(u);
    io_uring_prep_poll_multishot(sqe, u->base.wake_fd, POLLIN);
    sqe->user_data = OP_WAKE;
}

static void uring_listen(struct ring *r, struct ring_listener *l)
{
    struct io_uring_sqe *sqe = sqe_take(uring_of(r));
    io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    sqe->user_data = user_data(l, OP_ACCEPT);
    l->armed = true;
}

static void uring_unlisten(struct ring *r, struct ring_listener *l)
{
    submit_cancel(uring_of(r), user_data(l, OP_ACCEPT));
}

/* ---- receiving ---- */

static void unlist(struct uring *u, struct conn *c)
{
    if (c->state & HUNGRY)
        conn_list_remove(&u->hungry, c);
    else if (c->state & FULL)
        conn_list_remove(&u->fed, c);
    c->state &= ~(HUNGRY | FULL);
}

static void wait_for_buffer(struct uring *u, struct conn *c)
{
    bool fed = c->state & FED;
    c->state |= fed ? FULL : HUNGRY;
    conn_list_append(fed ? &u->fed : &u->hungry, c);
}

/* Who may have one buffer at a time, and had one, stands behind those that had none. */
static void arm_again(struct uring *u, struct conn *c)
{
    if (c->single && c->state & FED)
        wait_for_buffer(u, c);
    else
        submit_recv(u, c);
}

static bool wants_arming(const struct conn *c)
{
    return c->receiving && (c->state & (ARMED | ENDED | HUNGRY | FULL | CONN_CLOSING)) == 0;
}

static void arm_listed(struct uring *u)
{
    for (unsigned left = u->window; left > 0; left--) {
        struct conn *c = u->hungry.first != NULL ? u->hungry.first : u->fed.first;
        if (c == NULL)
            return;
        unlist(u, c);
        submit_recv(u, c);
    }
}

static void cancel_recv(struct uring *u, struct conn *c)
{
    if ((c->state & (ARMED | CANCELLED)) != ARMED)
        return;
    c->state |= CANCELLED;
    submit_cancel(u, user_data(c, OP_RECV));
}

static void uring_add(struct ring *r, struct conn *c)
{
    submit_recv(uring_of(r), c);
}

/* What the kernel received before the cancellation reached it is still delivered. */
static void uring_pause(struct ring *r, struct conn *c)
{
    unlist(uring_of(r), c);
    cancel_recv(uring_of(r), c);
}

/* Where the cancellation is still under way, its completion arms the conn again. */
static void uring_resume(struct ring *r, struct conn *c)
{
    if (wants_arming(c))
        arm_again(uring_of(r), c);
}

static void buffer_provide(struct uring *u, unsigned index, unsigned offset)
{
    io_uring_buf_ring_add(u->buffer_ring, u->buffers + (size_t)index * u->buffer_size,
                          u->buffer_size, index, io_uring_buf_ring_mask(u->buffer_count), offset);
}

/* Gives the kernel the buffers of the last iteration, and more of them where it ran out. */
static void buffers_return(struct uring *u)
{
    unsigned count = 0;
    while (u->used_count > u->held_count)
        buffer_provide(u, u->used[--u->used_count], count++);
    if (u->ran_out) {
        unsigned wider = u->window * 2 < u->buffer_count ? u->window * 2 : u->buffer_count;
        while (u->window < wider)
            buffer_provide(u, u->window++, count++);
        u->ran_out = false;
    }
    if (count > 0)
        io_uring_buf_ring_advance(u->buffer_ring, count);
}

static void uring_hold(struct ring *r)
{
    uring_of(r)->held_count = uring_of(r)->used_count;
}

static void uring_let_go(struct ring *r)
{
    struct uring *u = uring_of(r);
    buffers_return(u);
    u->held_count = 0;
}

static const char *buffer_take(struct uring *u, uint32_t cqe_flags)
{
    if ((cqe_flags & IORING_CQE_F_BUFFER) == 0)
        return "";
    unsigned index = cqe_flags >> IORING_CQE_BUFFER_SHIFT;
    assert(index < u->window && u->used_count < u->window);
    u->used[u->used_count++] = index;
    return u->buffers + (size_t)index * u->buffer_size;
}

/* ---- closing ---- */

/* The kernel is done with a conn that is being closed: the last completion has come. */
static void close_if_idle(struct uring *u, struct conn *c)
{
    if (c->pending > 0)
        return;
    close(c->fd);
    c->fd = -1;
    conn_list_append(&u->closed, c);
}

/* A cancellation can miss: it does not find an operation that the kernel is about to try again, and
 * that then goes back to waiting for its socket, for as long as the peer likes. On a socket that is
 * shut down nothing waits. */
static void uring_close(struct ring *r, struct conn *c)
{
    struct uring *u = uring_of(r);
    unlist(u, c);
    cancel_recv(u, c);
    if (c->pending > 0)
        shutdown(c->fd, SHUT_RDWR);
    c->state |= CONN_CLOSING;
    c->receiving = false;
    close_if_idle(u, c);
}

/* ---- completions ---- */

static void complete_recv(struct uring *u, struct conn *c, int result, uint32_t flags)
{
    const char *data = buffer_take(u, flags);
    bool last = (flags & IORING_CQE_F_MORE) == 0;
    if (last) {
        assert(c->pending > 0);
        c->pending--;
        c->state &= ~(ARMED | CANCELLED);
    }
    if (c->state & CONN_CLOSING) {
        if (last)
            close_if_idle(u, c);
        return;
    }
    if (result > 0) {
        c->state |= FED;
        ring_tell_received(&u->base, c, data, result);
    } else if (result == -ENOBUFS) {
        u->ran_out = true;
        if (last && wants_arming(c))
            wait_for_buffer(u, c);
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
        c->state |= ENDED;
        ring_tell_received(&u->base, c, data, 0);
    }
    if (last && wants_arming(c))
        arm_again(u, c);
}

static void complete_send(struct uring *u, struct conn *c, int result)
{
    assert(c->pending > 0 && ring_sending(c));
    c->pending--;
    if (c->state & CONN_CLOSING) {
        c->send_data = NULL;
        close_if_idle(u, c);
        return;
    }
    if (result == -EINTR || result == -EAGAIN) {
        submit_send(u, c, IORING_RECVSEND_POLL_FIRST);
        return;
    }
    if (result <= 0) {
        ring_tell_sent(&u->base, c, result < 0 ? -result : EPIPE);
        return;
    }
    assert((size_t)result <= c->send_size);
    c->send_data += result;
    c->send_size -= result;
    if (c->send_size > 0)
        submit_send(u, c, 0);
    else
        ring_tell_sent(&u->base, c, 0);
}

static void complete_accept(struct uring *u, struct ring_listener *l, int result, uint32_t flags)
{
    l->armed = flags & IORING_CQE_F_MORE;
    if (result >= 0 && l->stopped)
        close(result);
    else if (result >= 0)
        ring_tell_accepted(&u->base, l, result);
    if (!l->armed && !l->stopped && (result >= 0 || !ring_rest_listener(&u->base, l, -result)))
        uring_listen(&u->base, l);
}

/* ---- files ---- */

/* A write that falls short breaks the link, and the sync comes back cancelled. */
static void submit_file(struct uring *u, struct file_write *w)
{
    size_t left = w->size - w->written;
    bool syncs = w->sync && left <= WRITE_SIZE_MAX;
    w->synced = false;
    if (io_uring_sq_space_left(&u->io) < 2) /* a link does not reach over two submissions */
        io_uring_enter(u->io.enter_ring_fd, sq_publish(u), 0, u->enter_flags, NULL);
    if (left > 0) {
        struct io_uring_sqe *sqe = sqe_take(u);
        size_t size = left < WRITE_SIZE_MAX ? left : WRITE_SIZE_MAX;
        io_uring_prep_write(sqe, w->fd, w->data + w->written, (unsigned)size, (uint64_t)-1);
        sqe->flags |= syncs ? IOSQE_IO_LINK : 0;
        sqe->user_data = user_data(w, OP_WRITE);
        w->pending++;
    }
    if (syncs) {
        struct io_uring_sqe *sqe = sqe_take(u);
        io_uring_prep_fsync(sqe, w->fd, IORING_FSYNC_DATASYNC);
        sqe->user_data = user_data(w, OP_SYNC);
        w->pending++;
    }
}

static void uring_write_file(struct ring *r, struct file_write *w)
{
    submit_file(uring_of(r), w);
}

static void complete_file(struct uring *u, struct file_write *w, int result, bool is_write)
{
    assert(w->pending > 0);
    w->pending--;
    if (result > 0 && is_write)
        w->written += (size_t)result;
    else if (result == 0 && is_write)
        w->error = ENOSPC; /* no file of ours says so without an error */
    else if (result == 0)
        w->synced = true;
    else if (result != -EINTR && result != -EAGAIN && result != -ECANCELED)
        w->error = -result;
    if (w->pending > 0)
        return;
    bool over = w->error != 0 || (w->written == w->size && (!w->sync || w->synced));
    if (over)
        ring_tell_file(&u->base, w, w->error);
    else
        submit_file(u, w);
}

/* ---- all ---- */

static void complete(struct uring *u, uint64_t data, int result, uint32_t flags)
{
    void *at = (void *)(uintptr_t)(data & ~(uint64_t)OP_MASK);
    switch ((enum operation)(data & OP_MASK)) {
    case OP_RECV:
        complete_recv(u, at, result, flags);
        return;
    case OP_SEND:
        complete_send(u, at, result);
        return;
    case OP_ACCEPT:
        complete_accept(u, at, result, flags);
        return;
    case OP_WAKE:
        ring_woken(&u->base);
        if ((flags & IORING_CQE_F_MORE) == 0)
            submit_wake_poll(u);
        return;
    case OP_CANCEL:
        return;
    case OP_WRITE:
        complete_file(u, at, result, true);
        return;
    case OP_SYNC:
        complete_file(u, at, result, false);
        return;
    }
}

/* Handlers may queue more, and a full submission queue then brings more completions: those beyond
 * the tail seen at the start are left for the next ring_poll. */
static void reap(struct uring *u)
{
    struct io_uring_cq *cq = &u->io.cq;
    unsigned head = *cq->khead;
    unsigned tail = io_uring_smp_load_acquire(cq->ktail);
    while (head != tail) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
        uint64_t data = cqe->user_data;
        int result = cqe->res;
        uint32_t flags = cqe->flags;
        io_uring_smp_store_release(cq->khead, ++head);
        complete(u, data, result, flags);
    }
}

/* ---- the loop ---- */

static void enter(struct uring *u, unsigned submit_count, int64_t timeout_us)
{
    struct __kernel_timespec timeout = {
        .tv_sec = timeout_us / 1000000,
        .tv_nsec = timeout_us % 1000000 * 1000,
    };
    struct io_uring_getevents_arg arg = {
        .sigmask_sz = _NSIG / 8,
        .ts = timeout_us > 0 ? (uintptr_t)&timeout : 0,
    };
    int rc = io_uring_enter2(u->io.enter_ring_fd, submit_count, timeout_us != 0,
                             IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | u->enter_flags,
                             (void *)&arg, sizeof(arg));
    /* The rest (-ETIME, -EINTR, -EAGAIN, -EBUSY) is made good by the next call. */
    assert(rc != -EBADF && rc != -EINVAL && rc != -EFAULT && rc != -EEXIST);
}

static unsigned uring_poll(struct ring *r, int64_t timeout_us)
{
    struct uring *u = uring_of(r);
    buffers_return(u);
    arm_listed(u);
    ring_tell_closed(r, &u->closed);
    timeout_us = ring_tend_listeners(r, timeout_us);
    if (r->call_count > 0 || u->hungry.count + u->fed.count > 0 || io_uring_cq_ready(&u->io) > 0)
        timeout_us = 0;
    unsigned submit_count = sq_publish(u);
    unsigned flags = IO_URING_READ_ONCE(*u->io.sq.kflags);
    if (submit_count > 0 || timeout_us != 0 || flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
        enter(u, submit_count, timeout_us);
    reap(u);
    return r->call_count;
}

static void uring_submit(struct ring *r)
{
    struct uring *u = uring_of(r);
    unsigned count = sq_publish(u);
    if (count > 0)
        io_uring_enter(u->io.enter_ring_fd, count, 0, u->enter_flags, NULL);
}

static void uring_send(struct ring *r, struct conn *c)
{
    submit_send(uring_of(r), c, 0);
}

/* ---- setting up ---- */

static int setup(struct io_uring *io, unsigned sq_entries, unsigned cq_entries)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE,
        .cq_entries = cq_entries,
    };
    return io_uring_queue_init_params(sq_entries, io, &params);
}

static int register_buffers(struct io_uring *io, void *ring, unsigned count)
{
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)ring, .ring_entries = count, .bgid = 0};
    return io_uring_register_buf_ring(io, &reg, 0);
}

static void uring_destroy(struct ring *r)
{
    struct uring *u = uring_of(r);
    if (u->io.ring_fd >= 0)
        io_uring_queue_exit(&u->io);
    ring_unmap(u->buffer_ring, u->buffer_count * sizeof(struct io_uring_buf));
    ring_unmap(u->buffers, (size_t)u->buffer_count * u->buffer_size);
    mem_free(u->used);
    ring_deinit(r);
    mem_free(u);
}

static bool uring_open(struct uring *u)
{
    int rc = setup(&u->io, SQ_ENTRIES, CQ_ENTRIES);
    if (rc < 0) {
        u->io.ring_fd = -1;
        errno = -rc;
        return false;
    }
    /* Saves the look-up of the descriptor at each enter; the ring works without it. */
    if (io_uring_register_ring_fd(&u->io) == 1)
        u->enter_flags = IORING_ENTER_REGISTERED_RING;
    u->buffer_ring = ring_map(u->buffer_count * sizeof(struct io_uring_buf));
    u->buffers = ring_map((size_t)u->buffer_count * u->buffer_size);
    if (u->buffer_ring == NULL || u->buffers == NULL)
        return false;
    rc = register_buffers(&u->io, u->buffer_ring, u->buffer_count);
    errno = -rc;
    return rc == 0;
}

static const struct ring_ops uring_ops = {
    .backend = RING_URING,
    .destroy = uring_destroy,
    .listen = uring_listen,
    .unlisten = uring_unlisten,
    .add = uring_add,
    .pause = uring_pause,
    .resume = uring_resume,
    .send = uring_send,
    .close = uring_close,
    .poll = uring_poll,
    .submit = uring_submit,
    .hold = uring_hold,
    .let_go = uring_let_go,
    .write_file = uring_write_file,
};

struct ring *ring_uring_create(const struct ring_options *options)
{
    struct uring *u = mem_alloc_aligned(sizeof(*u), alignof(struct uring));
    memset(u, 0, sizeof(*u));
    u->io.ring_fd = -1;
    u->buffer_count = options->buffer_count;
    u->buffer_size = options->buffer_size;
    u->used = mem_alloc(u->buffer_count * sizeof(*u->used));
    if (!ring_init(&u->base, &uring_ops, options) || !uring_open(u)) {
        int saved = errno;
        uring_destroy(&u->base);
        errno = saved;
        return NULL;
    }
    unsigned window = u->buffer_count < WINDOW_MIN ? u->buffer_count : WINDOW_MIN;
    while (u->window < window) {
        buffer_provide(u, u->window, u->window);
        u->window++;
    }
    io_uring_buf_ring_advance(u->buffer_ring, window);
    submit_wake_poll(u);
    return &u->base;
}

/* ---- probing ---- */

/* Receives one byte with a multishot receive into a provided buffer. */
static const char *probe_receive(struct io_uring *io, struct io_uring_buf_ring *ring, int fds[2])
{
    char buffer[8];
    int rc = register_buffers(io, ring, 1);
    if (rc < 0) {
        errno = -rc;
        return "io_uring_register (buffer ring)";
    }
    io_uring_buf_ring_add(ring, buffer, sizeof(buffer), 0, io_uring_buf_ring_mask(1), 0);
    io_uring_buf_ring_advance(ring, 1);
    struct io_uring_sqe *sqe = io_uring_get_sqe(io);
    io_uring_prep_recv_multishot(sqe, fds[0], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    struct __kernel_timespec timeout = {.tv_sec = 1};
    struct io_uring_cqe *cqe = NULL;
    rc = write(fds[1], "x", 1) == 1 ? io_uring_submit_and_wait_timeout(io, &cqe, 1, &timeout, NULL)
                                    : -errno;
    if (cqe == NULL || cqe->res < 0) {
        errno = cqe != NULL ? -cqe->res : -rc;
        return "io_uring multishot receive";
    }
    errno = EOPNOTSUPP;
    unsigned needed = IORING_CQE_F_BUFFER | IORING_CQE_F_MORE;
    bool works = cqe->res == 1 && (cqe->flags & needed) == needed;
    return works ? NULL : "io_uring multishot receive";
}

static const char *probe_ring(struct io_uring *io)
{
    const char *failed = "socketpair";
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return failed;
    size_t size = sysconf(_SC_PAGESIZE);
    void *ring = ring_map(size);
    failed = ring != NULL ? probe_receive(io, ring, fds) : "mmap";
    int saved = errno;
    close(fds[0]);
    close(fds[1]);
    /* The kernel holds the pages itself until the ring is gone. */
    ring_unmap(ring, size);
    errno = saved;
    return failed;
}

bool ring_uring_probe(char *why, size_t why_size)
{
    struct io_uring io;
    int rc = setup(&io, 4, 8);
    if (rc < 0) {
        snprintf(why, why_size, "io_uring_setup: %s", strerror(-rc));
        errno = -rc;
        return false;
    }
    const char *failed = probe_ring(&io);
    int saved = errno;
    io_uring_queue_exit(&io);
    if (failed != NULL)
        snprintf(why, why_size, "%s: %s", failed, strerror(saved));
    errno = saved;
    return failed == NULL;
}
