/* The ring's front: picks a backend, checks the caller, and holds what both backends share.
 *
 * Wake-up: an eventfd that the backend watches edge-triggered (multishot poll, EPOLLET), so that
 * it is never read; each write makes one event. `woken` lets only the first of many wakers write:
 * the others pay 5 ns. A write that starts a sleeper on another CPU cost its caller 7 to 9 us on a
 * busy two-CPU guest, nearly all of it the scheduler's; a message from ring to ring
 * (IORING_OP_MSG_RING) cost the same there, and needs a ring on the caller's side. */
#include "net/ring_backend.h"

#include "proto/mem.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void assert_owner(const struct ring *r)
{
    assert(r != NULL && pthread_equal(r->owner, pthread_self()));
}

static void assert_open(const struct ring *r, const struct conn *c)
{
    assert_owner(r);
    assert(c->fd >= 0 && (c->state & CONN_CLOSING) == 0);
}

bool ring_init(struct ring *r, const struct ring_ops *ops, const struct ring_options *options)
{
    r->ops = ops;
    r->handler = *options->handler;
    r->context = options->context;
    r->owner = pthread_self();
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return r->wake_fd >= 0;
}

void ring_deinit(struct ring *r)
{
    while (r->listeners != NULL) {
        struct ring_listener *l = r->listeners;
        r->listeners = l->next;
        mem_free(l);
    }
    if (r->wake_fd >= 0)
        close(r->wake_fd);
}

void ring_woken(struct ring *r)
{
    (void)__atomic_exchange_n(&r->woken, false, __ATOMIC_SEQ_CST);
}

void *ring_map(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    /* A huge page would make the first byte received cost 2 MB. */
    madvise(at, size, MADV_NOHUGEPAGE);
    return at;
}

void ring_unmap(void *at, size_t size)
{
    if (at != NULL)
        munmap(at, size);
}

bool ring_rest_listener(struct ring *r, struct ring_listener *l, int error)
{
    if (error == ECONNABORTED || error == EINTR || error == EAGAIN || error == EPROTO)
        return false;
    l->waiting = true;
    if (r->retry_at_us == 0)
        r->retry_at_us = now_us() + RING_RETRY_US;
    return true;
}

static void listeners_free_stopped(struct ring *r)
{
    for (struct ring_listener **at = &r->listeners; *at != NULL;) {
        struct ring_listener *l = *at;
        if (!l->stopped || l->armed) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        mem_free(l);
    }
}

static void listeners_retry(struct ring *r)
{
    r->retry_at_us = 0;
    for (struct ring_listener *l = r->listeners; l != NULL; l = l->next) {
        if (l->waiting && !l->stopped) {
            l->waiting = false;
            r->ops->listen(r, l);
        }
    }
}

int64_t ring_tend_listeners(struct ring *r, int64_t timeout_us)
{
    listeners_free_stopped(r);
    if (r->retry_at_us == 0)
        return timeout_us;
    int64_t wait_us = r->retry_at_us - now_us();
    if (wait_us <= 0) {
        listeners_retry(r);
        return timeout_us;
    }
    return timeout_us < 0 || timeout_us > wait_us ? wait_us : timeout_us;
}

enum ring_backend ring_probe(char *why, size_t why_size)
{
    return ring_uring_probe(why, why_size) ? RING_URING : RING_EPOLL;
}

struct ring *ring_create(const struct ring_options *options)
{
    assert(options->backend != RING_AUTO && options->handler != NULL);
    assert(options->buffer_count >= 1 && options->buffer_count <= 32768);
    assert((options->buffer_count & (options->buffer_count - 1)) == 0 && options->buffer_size > 0);
    return options->backend == RING_URING ? ring_uring_create(options) : ring_epoll_create(options);
}

void ring_destroy(struct ring *r)
{
    if (r == NULL)
        return;
    assert_owner(r);
    assert(r->file_count == 0);
    r->ops->destroy(r);
}

void ring_listen(struct ring *r, int fd, unsigned tag)
{
    assert_owner(r);
    assert(fd >= 0);
    struct ring_listener *l = mem_alloc_zeroed(sizeof(*l));
    l->fd = fd;
    l->tag = tag;
    l->next = r->listeners;
    r->listeners = l;
    r->ops->listen(r, l);
}

void ring_unlisten(struct ring *r, int fd)
{
    assert_owner(r);
    struct ring_listener *l = r->listeners;
    while (l != NULL && (l->fd != fd || l->stopped))
        l = l->next;
    assert(l != NULL);
    l->stopped = true;
    if (l->armed)
        r->ops->unlisten(r, l);
}

void ring_add(struct ring *r, struct conn *c)
{
    assert_owner(r);
    assert(c->fd >= 0);
    *c = (struct conn){.fd = c->fd, .receiving = true, .single = c->single};
    r->ops->add(r, c);
}

void ring_pause(struct ring *r, struct conn *c)
{
    assert_open(r, c);
    if (!c->receiving)
        return;
    c->receiving = false;
    r->ops->pause(r, c);
}

void ring_resume(struct ring *r, struct conn *c)
{
    assert_open(r, c);
    if (c->receiving)
        return;
    c->receiving = true;
    r->ops->resume(r, c);
}

void ring_send(struct ring *r, struct conn *c, const char *data, size_t size)
{
    assert_open(r, c);
    assert(!ring_sending(c) && data != NULL && size > 0);
    c->send_data = data;
    c->send_size = size;
    r->ops->send(r, c);
}

size_t ring_send_now(const struct conn *c, const char *data, size_t size)
{
    ssize_t sent = send(c->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent > 0 ? (size_t)sent : 0;
}

void ring_close(struct ring *r, struct conn *c)
{
    assert_open(r, c);
    r->ops->close(r, c);
}

unsigned ring_poll(struct ring *r, int64_t timeout_us)
{
    assert_owner(r);
    r->call_count = 0;
    return r->ops->poll(r, timeout_us);
}

void ring_hold(struct ring *r)
{
    assert_owner(r);
    r->ops->hold(r);
}

void ring_let_go(struct ring *r)
{
    assert_owner(r);
    r->ops->let_go(r);
}

void ring_submit(struct ring *r)
{
    assert_owner(r);
    r->ops->submit(r);
}

static void start_file(struct file_write *w)
{
    assert(w->size > 0 || w->sync);
    w->written = 0;
    w->synced = false;
    w->pending = 0;
    w->error = 0;
}

int ring_write_file_now(struct file_write *w)
{
    start_file(w);
    ring_file_do(w);
    return w->error;
}

void ring_write_file(struct ring *r, struct file_write *w)
{
    assert_owner(r);
    assert(w->done != NULL);
    start_file(w);
    r->file_count++;
    r->ops->write_file(r, w);
}

unsigned ring_file_count(const struct ring *r)
{
    return r->file_count;
}

void ring_wake(struct ring *r)
{
    /* Pairs with the exchange in ring_woken: whoever finds it set leaves the write to the one who
     * set it, and the owner's exchange comes later than ours. */
    if (__atomic_exchange_n(&r->woken, true, __ATOMIC_SEQ_CST))
        return;
    int saved = errno;
    uint64_t one = 1;
    ssize_t written = write(r->wake_fd, &one, sizeof(one));
    assert(written == sizeof(one) || errno == EAGAIN);
    errno = saved;
}

enum ring_backend ring_backend(const struct ring *r)
{
    return r->ops->backend;
}
