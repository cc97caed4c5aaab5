/* What the two backends of the ring share. Internal to ring*.c.
 *
 * A backend is a struct that begins with struct ring, and one table of functions. ring.c checks
 * the caller (right thread, right state) and goes through the table; it also owns what is the same
 * in both: the wake-up, the listeners' records, and the mapping for receive buffers. */
#pragma once

#include "net/ring.h"

#include <pthread.h>
#include <stdalign.h>

struct ring_listener;

struct ring_ops {
    enum ring_backend backend;
    void (*destroy)(struct ring *r);
    void (*listen)(struct ring *r, struct ring_listener *l);
    void (*unlisten)(struct ring *r, struct ring_listener *l);
    void (*add)(struct ring *r, struct conn *c);
    void (*pause)(struct ring *r, struct conn *c);
    void (*resume)(struct ring *r, struct conn *c);
    void (*send)(struct ring *r, struct conn *c);
    void (*close)(struct ring *r, struct conn *c);
    unsigned (*poll)(struct ring *r, int64_t timeout_us);
    void (*submit)(struct ring *r);
    void (*hold)(struct ring *r);
    void (*let_go)(struct ring *r);
    void (*write_file)(struct ring *r, struct file_write *w);
};

struct ring_listener {
    struct ring_listener *next;
    int fd;
    unsigned tag;
    bool armed;   /* the kernel watches it */
    bool stopped; /* ring_unlisten was called: freed as soon as it is no longer armed */
    bool waiting; /* for descriptors or memory, until retry_at_us */
};

struct ring {
    const struct ring_ops *ops;
    struct ring_handler handler;
    void *context;
    pthread_t owner;
    struct ring_listener *listeners;
    int64_t retry_at_us; /* when listeners that wait are tried again; 0: none waits */
    unsigned call_count; /* handler calls made by this ring_poll */
    unsigned file_count; /* file writes under way */
    int wake_fd;
    /* Set by the first waker, which writes to wake_fd; cleared by the owner when the write has come
     * through. Wakers in between have nothing to do. On a line of its own: other cores write it. */
    alignas(64) bool woken;
};

/* How long a listener rests that found no descriptor: what a client then waits at most. */
#define RING_RETRY_US 100000

/* The bit of conn.state that both backends have; theirs are below it. */
#define CONN_CLOSING 0x80

/* Prepares the common part; false with errno set. */
bool ring_init(struct ring *r, const struct ring_ops *ops, const struct ring_options *options);
void ring_deinit(struct ring *r);
/* Takes note that the write of a waker arrived. Pairs with the exchange in ring_wake: what was
 * written before any ring_wake that found `woken` set is seen by the owner after this. */
void ring_woken(struct ring *r);
/* Lets a listener rest after `error`, or not where trying again at once makes sense. True: it
 * rests. */
bool ring_rest_listener(struct ring *r, struct ring_listener *l, int error);
/* Starts listeners whose rest is over, frees those stopped, cuts a wait at the next retry. */
int64_t ring_tend_listeners(struct ring *r, int64_t timeout_us);
/* Zeroed memory that takes no room before it is touched, nor more than is touched. NULL: errno is
 * set. */
void *ring_map(size_t size);
void ring_unmap(void *at, size_t size);

struct ring *ring_uring_create(const struct ring_options *options);
/* False with the reason in `why` and errno. */
bool ring_uring_probe(char *why, size_t why_size);
struct ring *ring_epoll_create(const struct ring_options *options);

/* The thread that writes files where the kernel has none for it: ring_file.c. */
struct ring_files;
/* Made by the first write; NULL where there was none. */
void ring_files_destroy(struct ring_files *f);
void ring_files_write(struct ring *r, struct ring_files **f, struct file_write *w);
/* Writes and syncs, waiting for it. */
void ring_file_do(struct file_write *w);
/* Tells of those that have ended. */
void ring_files_reap(struct ring *r, struct ring_files *f);

/* Lists of conns, linked through the conn: a conn is in one list at most. */
struct conn_list {
    struct conn *first;
    struct conn *last;
    unsigned count;
};

static inline void conn_list_append(struct conn_list *list, struct conn *c)
{
    c->next = NULL;
    c->previous = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = c;
    list->last = c;
    list->count++;
}

static inline void conn_list_remove(struct conn_list *list, struct conn *c)
{
    *(c->previous != NULL ? &c->previous->next : &list->first) = c->next;
    *(c->next != NULL ? &c->next->previous : &list->last) = c->previous;
    c->next = NULL;
    c->previous = NULL;
    list->count--;
}

static inline struct conn *conn_list_pop(struct conn_list *list)
{
    struct conn *c = list->first;
    if (c != NULL)
        conn_list_remove(list, c);
    return c;
}

static inline void ring_tell_received(struct ring *r, struct conn *c, const char *data, size_t size)
{
    r->call_count++;
    r->handler.received(r->context, c, data, size);
}

/* The send is over: clears it first, so that the handler can start the next. */
static inline void ring_tell_sent(struct ring *r, struct conn *c, int error)
{
    c->send_data = NULL;
    c->send_size = 0;
    r->call_count++;
    r->handler.sent(r->context, c, error);
}

static inline void ring_tell_file(struct ring *r, struct file_write *w, int error)
{
    r->file_count--;
    r->call_count++;
    w->done(w->context, w, error);
}

static inline void ring_tell_accepted(struct ring *r, const struct ring_listener *l, int fd)
{
    r->call_count++;
    r->handler.accepted(r->context, fd, l->tag);
}

/* Gives the conns of a list back to their user, who may free them at once. Those that are added by
 * the handler meanwhile are left for the next ring_poll. */
static inline void ring_tell_closed(struct ring *r, struct conn_list *closed)
{
    for (unsigned left = closed->count; left > 0; left--) {
        struct conn *c = conn_list_pop(closed);
        r->call_count++;
        r->handler.closed(r->context, c);
    }
}
