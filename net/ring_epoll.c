/* The ring on epoll, for where io_uring may not be used.
 *
 * Conns are registered once, edge-triggered, for everything: no system call follows when one is
 * paused, resumed or has a full socket. What an edge told is kept in conn.state until it is used
 * up, and conns with something to do stand in lists, which ring_poll works off before and after it
 * waits:
 *   - `sends`: those that ring_send was called for (begun there, not in ring_send, because only
 *     ring_poll may report it);
 *   - `agenda`: those whose socket may have bytes, one receive a turn, so that no conn keeps the
 *     others waiting.
 *
 * Received bytes go to slots of one region, used from its start in each ring_poll: the same few
 * pages while traffic is light. When the slots are used up, the agenda waits for the next
 * ring_poll, and is not looked at any further: with thousands of conns it may be long.
 *
 * Source: epoll(7), epoll_wait(2). */
#include "net/ring_backend.h"

#include "proto/mem.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENT_COUNT 256
#define ACCEPT_COUNT 64 /* a listener and ring_poll */

/* The pointer of an event: a conn, a listener with bit 0 set, or NULL for the wake-up. */
#define LISTENER_BIT 1

/* conn.state:
 *   bit 0  READABLE  the socket may have bytes, its end or an error
 *   bit 1  HUNG_UP   an end or an error is known to follow the bytes
 *   bit 2  BLOCKED   the socket had no room: wait for the edge before sending on
 *   bit 3  ENDED     the peer's end, or an error, was delivered
 *   bit 4  LISTED    in `agenda`
 *   bit 5  SERVED    in `served`
 *   bit 6  QUEUED    in `sends`
 *   bit 7  CONN_CLOSING: in `closed` */
#define READABLE 0x01
#define HUNG_UP 0x02
#define BLOCKED 0x04
#define ENDED 0x08
#define LISTED 0x10
#define SERVED 0x20
#define QUEUED 0x40

struct epoll_ring {
    struct ring base; /* first */
    int epoll_fd;
    bool coarse; /* the kernel has no epoll_pwait2: milliseconds */
    char *slots;
    unsigned slot_count;
    unsigned slot_size;
    unsigned slots_used; /* in this ring_poll */
    unsigned slots_held; /* ... of those before, held */
    /* Conns closed meanwhile stay until their turn, which comes before their end is told. */
    struct conn *sends, *sends_last;
    struct conn_list agenda;
    struct conn_list served; /* had a turn, and go to the agenda's end */
    struct conn_list closed;
    struct ring_files *files;
    struct epoll_event events[EVENT_COUNT];
};

static struct epoll_ring *epoll_of(struct ring *r)
{
    return (struct epoll_ring *)r;
}

static void agenda_add(struct epoll_ring *e, struct conn *c)
{
    if (c->state & (LISTED | SERVED))
        return;
    c->state |= LISTED;
    conn_list_append(&e->agenda, c);
}

static void sends_add(struct epoll_ring *e, struct conn *c)
{
    if (c->state & QUEUED)
        return;
    c->state |= QUEUED;
    c->next_send = NULL;
    *(e->sends ? &e->sends_last->next_send : &e->sends) = c;
    e->sends_last = c;
}

static int watch(struct epoll_ring *e, int fd, uint32_t events, uintptr_t what)
{
    struct epoll_event event = {.events = events, .data.ptr = (void *)what};
    return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* ---- what the user asks for ---- */

/* A listener is level-triggered: what one ring_poll leaves, the next one sees. */
static void epoll_listen(struct ring *r, struct ring_listener *l)
{
    l->armed = watch(epoll_of(r), l->fd, EPOLLIN, (uintptr_t)l | LISTENER_BIT) == 0;
    if (!l->armed)
        ring_rest_listener(r, l, errno);
}

static void epoll_unlisten(struct ring *r, struct ring_listener *l)
{
    epoll_ctl(epoll_of(r)->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
    l->armed = false;
}

/* Where the kernel has no memory to watch the conn, a first receive finds what is there and the
 * conn ends, as a broken one. */
static void epoll_add(struct ring *r, struct conn *c)
{
    struct epoll_ring *e = epoll_of(r);
    if (watch(e, c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, (uintptr_t)c) == 0)
        return;
    shutdown(c->fd, SHUT_RDWR);
    c->state |= READABLE | HUNG_UP;
    agenda_add(e, c);
}

/* Nothing to do: `receiving` keeps the conn out of the agenda, and edges do not repeat. */
static void epoll_pause(struct ring *r, struct conn *c)
{
}

static void epoll_resume(struct ring *r, struct conn *c)
{
    if (c->state & READABLE)
        agenda_add(epoll_of(r), c);
}

static void epoll_send(struct ring *r, struct conn *c)
{
    if ((c->state & BLOCKED) == 0)
        sends_add(epoll_of(r), c);
}

static void epoll_close(struct ring *r, struct conn *c)
{
    struct epoll_ring *e = epoll_of(r);
    if (c->state & LISTED)
        conn_list_remove(&e->agenda, c);
    else if (c->state & SERVED)
        conn_list_remove(&e->served, c);
    c->state = CONN_CLOSING | (c->state & QUEUED);
    c->receiving = false;
    c->send_data = NULL;
    /* Said explicitly: a forked child may still hold the descriptor, and then close would not do
     * it. */
    epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    c->fd = -1;
    conn_list_append(&e->closed, c);
}

/* ---- the agenda ---- */

static void send_now(struct epoll_ring *e, struct conn *c)
{
    while (c->send_size > 0) {
        ssize_t sent = send(c->fd, c->send_data, c->send_size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            c->send_data += sent;
            c->send_size -= sent;
        } else if (errno == EAGAIN) {
            c->state |= BLOCKED;
            return;
        } else if (errno != EINTR) {
            ring_tell_sent(&e->base, c, errno);
            return;
        }
    }
    ring_tell_sent(&e->base, c, 0);
}

static void receive_now(struct epoll_ring *e, struct conn *c)
{
    char *slot = e->slots + (size_t)e->slots_used * e->slot_size;
    ssize_t size = recv(c->fd, slot, e->slot_size, MSG_DONTWAIT);
    if (size > 0) {
        e->slots_used++;
        /* A slot not filled means that the socket is empty, and what comes next makes an edge - but
         * for an end whose edge has been. */
        if ((size_t)size < e->slot_size && (c->state & HUNG_UP) == 0)
            c->state &= ~READABLE;
        ring_tell_received(&e->base, c, slot, size);
    } else if (size < 0 && errno == EAGAIN) {
        c->state &= ~READABLE;
    } else if (size == 0 || errno != EINTR) {
        c->state = (c->state & ~READABLE) | ENDED;
        ring_tell_received(&e->base, c, "", 0);
    }
}

static bool wants_receive(const struct conn *c)
{
    return c->receiving && (c->state & (READABLE | ENDED | CONN_CLOSING)) == READABLE;
}

/* Its handler may have put it into the agenda already. */
static void move_to_served(struct epoll_ring *e, struct conn *c)
{
    if (c->state & LISTED)
        conn_list_remove(&e->agenda, c);
    c->state = (c->state & ~LISTED) | SERVED;
    conn_list_append(&e->served, c);
}

/* Gives each conn that stood in the agenda one turn, while there are slots. A handler may close any
 * conn, also one whose turn is to come. Those without a slot stay ahead of those that had one. */
static void agenda_work(struct epoll_ring *e)
{
    while (e->agenda.first != NULL && e->slots_used < e->slot_count) {
        struct conn *c = conn_list_pop(&e->agenda);
        c->state &= ~LISTED;
        if (!wants_receive(c))
            continue;
        receive_now(e, c);
        if (wants_receive(c))
            move_to_served(e, c);
    }
    while (e->served.first != NULL) {
        struct conn *c = conn_list_pop(&e->served);
        c->state &= ~SERVED;
        agenda_add(e, c);
    }
}

/* Begins each send queued so far. A handler may close any conn, and start sends, which are for a
 * later turn. */
static void sends_work(struct epoll_ring *e)
{
    struct conn *c = e->sends;
    e->sends = NULL;
    while (c != NULL) {
        struct conn *next = c->next_send;
        c->state &= ~QUEUED;
        if ((c->state & (CONN_CLOSING | BLOCKED)) == 0 && ring_sending(c))
            send_now(e, c);
        c = next;
    }
}

/* ---- the loop ---- */

static void accept_all(struct epoll_ring *e, struct ring_listener *l)
{
    for (unsigned left = ACCEPT_COUNT; left > 0 && !l->stopped; left--) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            ring_tell_accepted(&e->base, l, fd);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (ring_rest_listener(&e->base, l, errno)) {
            epoll_unlisten(&e->base, l);
            return;
        }
    }
}

static void note_conn_event(struct epoll_ring *e, struct conn *c, uint32_t events)
{
    /* Closed by a handler after this event was fetched. */
    if (c->state & CONN_CLOSING)
        return;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->state |= READABLE | HUNG_UP;
    if (events & EPOLLIN)
        c->state |= READABLE;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        c->state &= ~BLOCKED;
    if (ring_sending(c) && (c->state & BLOCKED) == 0)
        sends_add(e, c);
    if (wants_receive(c))
        agenda_add(e, c);
}

static void note_event(struct epoll_ring *e, const struct epoll_event *event)
{
    uintptr_t what = (uintptr_t)event->data.ptr;
    if (what == 0)
        ring_woken(&e->base);
    else if (what & LISTENER_BIT)
        accept_all(e, (struct ring_listener *)(what & ~(uintptr_t)LISTENER_BIT));
    else
        note_conn_event(e, event->data.ptr, event->events);
}

static int wait_for_events(struct epoll_ring *e, int64_t timeout_us)
{
    if (!e->coarse) {
        struct timespec timeout = {
            .tv_sec = timeout_us / 1000000,
            .tv_nsec = timeout_us % 1000000 * 1000,
        };
        int count = epoll_pwait2(e->epoll_fd, e->events, EVENT_COUNT,
                                 timeout_us < 0 ? NULL : &timeout, NULL);
        /* EPERM: a seccomp profile older than the call. */
        if (count >= 0 || (errno != ENOSYS && errno != EPERM))
            return count;
        e->coarse = true;
    }
    int64_t timeout_ms = timeout_us < 0 ? -1 : (timeout_us + 999) / 1000;
    return epoll_wait(e->epoll_fd, e->events, EVENT_COUNT,
                      timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms);
}

static unsigned epoll_poll(struct ring *r, int64_t timeout_us)
{
    struct epoll_ring *e = epoll_of(r);
    e->slots_used = e->slots_held;
    /* Before their end is told: they may stand there. Those closed by handlers now may, too. */
    struct conn_list closed = e->closed;
    e->closed = (struct conn_list){0};
    sends_work(e);
    ring_tell_closed(r, &closed);
    agenda_work(e);
    timeout_us = ring_tend_listeners(r, timeout_us);
    if (r->call_count > 0 || e->agenda.count + e->closed.count > 0 || e->sends != NULL)
        timeout_us = 0;
    int count = wait_for_events(e, timeout_us);
    for (int i = 0; i < count; i++)
        note_event(e, &e->events[i]);
    if (r->file_count > 0)
        ring_files_reap(r, e->files);
    sends_work(e);
    agenda_work(e);
    return r->call_count;
}

static void epoll_hold(struct ring *r)
{
    epoll_of(r)->slots_held = epoll_of(r)->slots_used;
}

static void epoll_let_go(struct ring *r)
{
    struct epoll_ring *e = epoll_of(r);
    e->slots_used = e->slots_held;
    e->slots_held = 0;
}

/* Who has sent all is told so in its next turn. */
static void epoll_submit(struct ring *r)
{
    for (struct conn *c = epoll_of(r)->sends; c != NULL; c = c->next_send) {
        if (!ring_sending(c) || c->send_size == 0 || (c->state & BLOCKED))
            continue;
        size_t sent = ring_send_now(c, c->send_data, c->send_size);
        c->send_data += sent;
        c->send_size -= sent;
    }
}

static void epoll_write_file(struct ring *r, struct file_write *w)
{
    ring_files_write(r, &epoll_of(r)->files, w);
}

/* ---- setting up ---- */

static void epoll_destroy(struct ring *r)
{
    struct epoll_ring *e = epoll_of(r);
    ring_files_destroy(e->files);
    if (e->epoll_fd >= 0)
        close(e->epoll_fd);
    ring_unmap(e->slots, (size_t)e->slot_count * e->slot_size);
    ring_deinit(r);
    mem_free(e);
}

static bool epoll_open(struct epoll_ring *e)
{
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->epoll_fd < 0 || watch(e, e->base.wake_fd, EPOLLIN | EPOLLET, 0) < 0)
        return false;
    e->slots = ring_map((size_t)e->slot_count * e->slot_size);
    return e->slots != NULL;
}

static const struct ring_ops epoll_ops = {
    .backend = RING_EPOLL,
    .destroy = epoll_destroy,
    .listen = epoll_listen,
    .unlisten = epoll_unlisten,
    .add = epoll_add,
    .pause = epoll_pause,
    .resume = epoll_resume,
    .send = epoll_send,
    .close = epoll_close,
    .poll = epoll_poll,
    .submit = epoll_submit,
    .hold = epoll_hold,
    .let_go = epoll_let_go,
    .write_file = epoll_write_file,
};

struct ring *ring_epoll_create(const struct ring_options *options)
{
    struct epoll_ring *e = mem_alloc_aligned(sizeof(*e), alignof(struct epoll_ring));
    memset(e, 0, sizeof(*e));
    e->epoll_fd = -1;
    e->slot_count = options->buffer_count;
    e->slot_size = options->buffer_size;
    if (!ring_init(&e->base, &epoll_ops, options) || !epoll_open(e)) {
        int saved = errno;
        epoll_destroy(&e->base);
        errno = saved;
        return NULL;
    }
    return &e->base;
}
