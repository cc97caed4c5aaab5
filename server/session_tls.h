/* A session's TLS: between its socket and itself.
 *
 * What the ring receives goes through session_tls_received, which gives the session plaintext; what
 * the session sends is sealed (session_tls_seal) on its way to the ring, several replies in a
 * record. All that was received is read at once, so nothing waits in here while the session or its
 * socket is paused: what is kept is at most a part of a record.
 *
 * The handshake is done by a helper (tls_helper.h). Meanwhile the conn is `away`: nobody here may
 * touch it, and a session that ends is kept until it is back. One whose handshake takes too long is
 * closed. Who has not finished one has sent no request, and is owed nothing but an alert. */
#pragma once

#include "net/tls.h"
#include "server/core.h"
#include "server/session.h"

struct session_tls {
    struct tls_conn *conn;
    struct session *session;
    uint32_t home;
    bool shaking;      /* in core->tls */
    bool away;         /* a helper has the conn */
    bool ended;        /* ... and meanwhile the peer has ended */
    bool any;          /* something was received */
    _Atomic bool gone; /* the session has: a helper need not begin */
    struct session_tls *next, *previous; /* core->tls, while shaking */
    struct session_tls *next_job;        /* the helpers' */
    int64_t deadline_us;                 /* of the handshake */
    struct buf fed;    /* what a helper was given, or has left */
    struct buf early;  /* received meanwhile */
    struct buf plain;  /* output that is being sealed, from plain_at on */
    size_t plain_at;
    struct output_shared *plain_shared; /* where it is borrowed */
};

/* A new connection on a port for TLS. */
void session_tls_begin(struct core *c, struct session *s);
/* The ring has received: as session_received. */
void session_tls_received(struct core *c, struct session *s, const char *data, size_t size);
/* Goes on with those whose handshakes came back from the helpers. */
void session_tls_take_all(struct core *c);
static inline void session_tls_take(struct core *c)
{
    /* A look; the exchange in tls_helper_take is what pairs with the helper's. */
    if (__builtin_expect(atomic_load_explicit(&c->tls.done, memory_order_relaxed) != NULL, 0))
        session_tls_take_all(c);
}
/* Closes those whose handshakes take too long. */
void session_tls_close_late(struct core *c);
/* The session is closing: tells the peer, as far as the socket takes it at once. */
void session_tls_end(struct session *s); /* at once, or not at all */
/* Frees it with its session. Not while it is away. */
void session_tls_destroy(struct core *c, struct session *s);

static inline bool session_tls_away(const struct session *s)
{
    return s->tls && s->tls->away;
}
/* True where replies may be sealed. */
static inline bool session_tls_open(const struct session_tls *t)
{
    return !t->away && (t->conn->state == TLS_OPEN || t->conn->state == TLS_ENDED);
}
/* Bytes for the peer that are here, sealed or not. */
static inline size_t session_tls_output(const struct session_tls *t)
{
    return t->plain.size - t->plain_at + (t->away ? 0 : t->conn->out.size);
}
size_t session_tls_memory(const struct session_tls *t);
