/* A core's ring: its sockets, its wake-up, its sleep. io_uring, or epoll in its place.
 *
 * One ring belongs to one thread, which makes every call but ring_wake. ring_poll is the only call
 * that enters the kernel to wait; everything that happened is told to the handler from within it
 * (never from within another call). Bytes given to `received` stay good until the next ring_poll.
 *
 * A conn is embedded in its user's struct and freed by the user after `closed`, which comes
 * exactly once after ring_close, when the kernel can no longer touch it. One send is in flight a
 * conn at most.
 *
 * io_uring: SINGLE_ISSUER, DEFER_TASKRUN, COOP_TASKRUN, TASKRUN_FLAG, SUBMIT_ALL; multishot accept
 * and receive into a ring of provided buffers. A conn that found no buffer (-ENOBUFS) waits on a
 * re-arm list. Source: io_uring_enter(2), io_uring_setup(2), liburing 2.3.
 *
 * Files are appended to and synced without waiting, too: by the kernel's own threads (io_uring), or
 * by one thread of the ring's that lives from the first such request on (epoll). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring;

enum ring_backend { RING_AUTO, RING_URING, RING_EPOLL };

struct conn {
    int fd;
    uint8_t state;         /* the ring's own bits */
    uint8_t pending;       /* completions still to come (io_uring) */
    bool receiving;        /* wanted: not paused */
    bool single;           /* the user's, also before ring_add: a ring_poll gives it a buffer or
                            * two, never a window full of them, and after ring_pause no more */
    const char *send_data; /* what is being sent; NULL: no send in flight */
    size_t send_size;
    struct conn *next;     /* in the ring's own lists */
    struct conn *previous;
    struct conn *next_send; /* ... of sends not begun yet (epoll) */
};

/* An append to a file, a sync, or both, in that order. */
struct file_write {
    int fd; /* opened with O_APPEND */
    const char *data; /* stays untouched until `done`; size 0: only a sync */
    size_t size;
    bool sync; /* fdatasync, once all bytes are written */
    /* It has ended: 0 or errno. `written` says how much of it is in the file; all of it: then it
     * was the sync that failed. The ring does not look at it any more. */
    void (*done)(void *context, struct file_write *w, int error);
    void *context;
    size_t written;

    /* The ring's own. */
    bool synced;
    uint8_t pending;
    int error;
    struct file_write *next;
};

struct ring_handler {
    /* A connection came in on listener `tag`; the handler owns fd. */
    void (*accepted)(void *context, int fd, unsigned tag);
    /* Bytes arrived; size 0: the peer has shut down its side, or the connection broke. Nothing
     * follows a size of 0. Not called between ring_pause and ring_resume, except for what was
     * under way. */
    void (*received)(void *context, struct conn *c, const char *data, size_t size);
    /* The send is over: all bytes (error 0), or the connection broke (errno). */
    void (*sent)(void *context, struct conn *c, int error);
    /* The conn is the user's again; its fd is closed. */
    void (*closed)(void *context, struct conn *c);
};

struct ring_options {
    enum ring_backend backend; /* RING_AUTO has been decided by ring_probe */
    const struct ring_handler *handler;
    void *context;
    unsigned buffer_count; /* receive buffers, a power of two */
    unsigned buffer_size;  /* bytes each */
};

/* Tries what the io_uring backend needs. Returns RING_URING, or RING_EPOLL with the reason in `why`
 * ("io_uring_setup: Operation not permitted", ...) and errno. Any thread. */
enum ring_backend ring_probe(char *why, size_t why_size);

/* NULL with errno set when the kernel refuses. Called by the owning thread. */
struct ring *ring_create(const struct ring_options *options);
void ring_destroy(struct ring *r);

/* Accepts on a listening, non-blocking socket until ring_unlisten; `tag` comes back in `accepted`.
 * A lack of file descriptors is waited out, not spun on. */
void ring_listen(struct ring *r, int fd, unsigned tag);
/* The user closes the fd; its port is free once a ring_poll has run. */
void ring_unlisten(struct ring *r, int fd);

/* Starts to receive on a connected socket, which the ring now owns. The fd is in c->fd. */
void ring_add(struct ring *r, struct conn *c);
void ring_pause(struct ring *r, struct conn *c);
void ring_resume(struct ring *r, struct conn *c);
/* Sends all the bytes, which stay untouched until `sent`. No other send may be in flight. */
void ring_send(struct ring *r, struct conn *c, const char *data, size_t size);
static inline bool ring_sending(const struct conn *c)
{
    return c->send_data != NULL;
}
/* Hands the kernel as many of the bytes as it takes at once; returns how many, 0 on an error too.
 * Any thread, where it is certain that the owner touches the conn neither now nor before this has
 * returned, has no send in flight and has not begun to close it: the ring does not learn of it. */
size_t ring_send_now(const struct conn *c, const char *data, size_t size);
/* Closes the connection, cutting off a send in flight (`sent` is not called for it any more). */
void ring_close(struct ring *r, struct conn *c);

/* Between the two, bytes given to `received` before ring_hold stay good over further calls of
 * ring_poll; those given since are good until ring_let_go. */
void ring_hold(struct ring *r);
void ring_let_go(struct ring *r);
/* Submits what is waiting, waits up to timeout_us for something to happen (0: not at all,
 * negative: without bound), and tells the handler. Skips the kernel where there is nothing to
 * submit, to reap or to wait for. Returns the number of handler calls made. */
unsigned ring_poll(struct ring *r, int64_t timeout_us);
/* Begins what was asked for so far, as sends, where the next ring_poll may be long in coming. Tells
 * the handler nothing. */
void ring_submit(struct ring *r);
/* Makes a ring_poll of this ring return soon, now or the next. Any thread; async-signal-safe. */
void ring_wake(struct ring *r);

/* Begins to write; `done` is called from within a ring_poll. Writes that are under way at the same
 * time have no order among them. A ring is not destroyed before all have ended. */
void ring_write_file(struct ring *r, struct file_write *w);
/* The same at once, by the caller, who waits for it: returns what `done` would be told. Any
 * thread; no ring has to do with it. */
int ring_write_file_now(struct file_write *w);
/* How many are under way. */
unsigned ring_file_count(const struct ring *r);

enum ring_backend ring_backend(const struct ring *r);
