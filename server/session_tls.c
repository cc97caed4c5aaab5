/* A session's TLS: see session_tls.h. Sealing is in session_output.c. */
#include "server/session_tls.h"

#include <assert.h>
#include <stdio.h>

#include "net/listener.h"
#include "proto/mem.h"
#include "server/accept.h"
#include "server/server.h"
#include "server/tls_helper.h"

/* How long a handshake may take, the peer's part of it included. */
#define SHAKE_US 10000000
/* What is received while a helper is at it, above which the socket is left alone. */
#define EARLY_MAX ((size_t)64 * 1024)
/* How often the log tells of handshakes that failed. */
#define TELL_US 5000000

/* ---- the list of handshakes ---- */

static void list_add(struct core *c, struct session_tls *t)
{
    t->shaking = true;
    t->previous = c->tls.last;
    *(c->tls.last ? &c->tls.last->next : &c->tls.first) = t;
    c->tls.last = t;
}

static void list_remove(struct core *c, struct session_tls *t)
{
    if (!t->shaking)
        return;
    t->shaking = false;
    *(t->previous ? &t->previous->next : &c->tls.first) = t->next;
    *(t->next ? &t->next->previous : &c->tls.last) = t->previous;
    t->next = t->previous = NULL;
}

void session_tls_begin(struct core *c, struct session *s)
{
    if (!server->tls) {
        session_end(c, s, false); /* the port was closed meanwhile */
        return;
    }
    struct session_tls *t = mem_alloc_zeroed(sizeof(*t));
    t->conn = tls_create(server->tls);
    t->session = s;
    t->home = c->index;
    t->deadline_us = c->now_us + SHAKE_US;
    s->tls = t;
    list_add(c, t);
}

void session_tls_destroy(struct core *c, struct session *s)
{
    struct session_tls *t = s->tls;
    if (!t)
        return;
    assert(!t->away);
    list_remove(c, t);
    tls_destroy(t->conn);
    buf_deinit(&t->fed);
    buf_deinit(&t->early);
    if (t->plain_shared)
        session_release_shared(t->plain_shared);
    else
        buf_deinit(&t->plain);
    mem_free(t);
    s->tls = NULL;
}

/* ---- what fails ---- */

/* Anybody can make a handshake fail, as often as they like: the log hears of one in five seconds,
 * and how many there were. */
static void tell(const struct core *c, const struct session *s, const char *why)
{
    int64_t told_us = atomic_load_explicit(&server->tls_told_us, memory_order_relaxed);
    if ((told_us && c->now_us - told_us < TELL_US) ||
        !atomic_compare_exchange_strong_explicit(&server->tls_told_us, &told_us, c->now_us,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&server->tls_untold, 1, memory_order_relaxed);
        return;
    }
    uint64_t untold = atomic_exchange_explicit(&server->tls_untold, 0, memory_order_relaxed);
    char peer[64], own[64], more[64] = "";
    listener_peer_name(s->conn.fd, peer, sizeof(peer));
    listener_own_name(s->conn.fd, own, sizeof(own));
    if (untold)
        snprintf(more, sizeof(more), ", and %llu more since the last such line",
                 (unsigned long long)untold);
    log_write(&server->log, LOG_WARNING,
              "Error accepting a client connection: %s (addr=%s laddr=%s)%s", why, peer, own, more);
}

/* Nothing was received: a look whether the port is open, as load balancers do, is no error. */
static void peer_left(struct core *c, struct session *s)
{
    if (s->tls->any)
        tell(c, s, "the peer closed the connection during the TLS handshake");
    list_remove(c, s->tls);
    session_received(c, s, "", 0);
}

void session_tls_close_late(struct core *c)
{
    struct session_tls *t;
    while ((t = c->tls.first) != NULL && t->deadline_us <= c->now_us) {
        struct session *s = t->session;
        if (!s->closing)
            tell(c, s, "the TLS handshake took too long");
        list_remove(c, t);
        session_end(c, s, false);
    }
}

/* ---- the handshake ---- */

/* What it leaves behind is for the peer, or is ours to read. */
static void shake(struct core *c, struct session *s)
{
    struct session_tls *t = s->tls;
    assert(!t->away && t->fed.size == 0);
    struct buf empty = t->fed;
    t->fed = t->early;
    t->early = empty;
    tls_feed(t->conn, t->fed.data, t->fed.size);
    t->away = true;
    tls_helper_shake(t);
}

static void receive_early(struct core *c, struct session *s, const char *data, size_t size)
{
    struct session_tls *t = s->tls;
    t->any = true;
    if (s->closing || s->close_asked || s->close_after_reply)
        return;
    buf_append(&t->early, data, size);
    if (!t->away)
        shake(c, s);
    else if (t->early.size > EARLY_MAX && !s->receiving_paused) {
        s->receiving_paused = true;
        ring_pause(c->ring, &s->conn);
    }
}

/* ---- once it is done ---- */

/* Gives the session all that was fed. It may end by what it is given. */
static void read_all(struct core *c, struct session *s)
{
    struct tls_conn *conn = s->tls->conn;
    size_t size;
    do {
        size_t room = tls_read_max(conn);
        if (room == 0)
            return;
        char *to = arena_alloc(&c->arena, room);
        size = tls_read(conn, to, room);
        arena_shrink(&c->arena, to, size);
        if (size)
            session_received(c, s, to, size);
    } while (size && conn->state == TLS_OPEN && !s->closing);
}

static void read(struct core *c, struct session *s, const char *data, size_t size)
{
    struct tls_conn *conn = s->tls->conn;
    if (conn->state != TLS_OPEN || s->peer_gone)
        return; /* nothing counts behind the end */
    tls_feed(conn, data, size);
    read_all(c, s);
    if (conn->out.size)
        session_touch(c, s);
    if (conn->state == TLS_ENDED) {
        session_received(c, s, "", 0);
    } else if (conn->state == TLS_BROKEN) {
        log_write(&server->log, LOG_VERBOSE, "TLS: %s: closing client %llu", conn->error,
                  (unsigned long long)s->id);
        session_end(c, s, false);
    }
}

static void open(struct core *c, struct session *s)
{
    struct session_tls *t = s->tls;
    list_remove(c, t);
    if (!t->conn->out.size)
        listener_acknowledge(s->conn.fd); /* it may wait for that before it asks */
    accept_greet(c, s);
    struct slice rest = t->conn->in;
    read(c, s, rest.data, rest.size);
    read(c, s, t->early.data, t->early.size);
    buf_deinit(&t->fed);
    buf_deinit(&t->early);
}

static void go_on(struct core *c, struct session *s)
{
    struct session_tls *t = s->tls;
    switch (t->conn->state) {
    case TLS_SHAKING:
        t->fed.size = 0;
        if (t->early.size)
            shake(c, s);
        break;
    case TLS_BROKEN:
        tell(c, s, t->conn->error);
        list_remove(c, t);
        session_end(c, s, false); /* the alert goes with session_tls_end */
        return;
    default:
        open(c, s);
    }
    if (t->ended && !t->away)
        t->shaking ? peer_left(c, s) : session_received(c, s, "", 0);
}

void session_tls_take_all(struct core *c)
{
    struct session_tls *t = tls_helper_take(c);
    while (t) {
        struct session_tls *next = t->next_job;
        struct session *s = t->session;
        t->away = false;
        if (s->closed) {
            session_closed(c, s);
        } else if (!s->closing) {
            session_touch(c, s);
            go_on(c, s);
        }
        t = next;
    }
}

void session_tls_received(struct core *c, struct session *s, const char *data, size_t size)
{
    struct session_tls *t = s->tls;
    if (size == 0 && t->away)
        t->ended = true;
    else if (size == 0 && t->shaking)
        peer_left(c, s);
    else if (size == 0 && !s->peer_gone)
        session_received(c, s, data, 0);
    else if (t->shaking)
        receive_early(c, s, data, size);
    else if (size)
        read(c, s, data, size);
}

/* ---- the end ---- */

void session_tls_end(struct session *s)
{
    struct session_tls *t = s->tls;
    atomic_store_explicit(&t->gone, true, memory_order_relaxed);
    if (t->away || ring_sending(&s->conn) || s->sending.size)
        return;
    tls_end(t->conn);
    if (t->conn->out.size)
        ring_send_now(&s->conn, t->conn->out.data, t->conn->out.size);
}

size_t session_tls_memory(const struct session_tls *t)
{
    return sizeof(*t) + t->fed.cap + t->early.cap + t->plain.cap +
           (t->away ? 0 : tls_memory(t->conn));
}
