/* TLS on a connection, by OpenSSL: ciphertext in, plaintext out, and the other way.
 *
 * No socket is touched here: what came from the peer is fed in, what is to go to it is collected in
 * `out`, and whoever has the conn takes it from there. So it works over any ring, and any thread
 * may have the conn, one at a time: the handshake, which takes up to a millisecond of CPU, can be
 * done by another thread than the one that has the socket.
 *
 * A context is what connections are made from: certificate, key, whom to trust, and the key of the
 * session tickets, which lets a session that was begun with one core go on with another. It does
 * not change: another configuration is another context, with another ticket key, so that no session
 * made under old rules is taken up under new ones. Connections keep theirs for as long as they
 * live.
 *
 * Renegotiation, compression and early data, which can be replayed, are off.
 *
 * Source: RFC 8446, RFC 5246; SSL_CTX_new(3), SSL_read_ex(3), BIO_meth_new(3). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"

enum tls_peers { TLS_PEERS_NAMELESS, TLS_PEERS_CERTIFIED, TLS_PEERS_EITHER };

/* Strings may be NULL or "", both of which mean: not given. */
struct tls_options {
    const char *cert_file, *key_file, *key_file_pass; /* PEM; the certificate with its chain */
    const char *ca_cert_file, *ca_cert_dir;           /* who may vouch for peers */
    const char *dh_params_file;
    const char *protocols;                            /* words: TLSv1, TLSv1.1, TLSv1.2, TLSv1.3 */
    const char *ciphers, *ciphersuites;               /* up to TLS 1.2; of TLS 1.3 */
    enum tls_peers peers;                             /* whether they must show a certificate */
    bool prefer_server_ciphers;
    bool session_caching;
    long session_cache_size; /* sessions; 0: no limit */
    long session_cache_timeout_s;
};

struct tls_context;

/* Lets OpenSSL allocate as we do. Before anything else of OpenSSL is used. */
void tls_init_library(void);

/* Reads the files; NULL with a sentence in `error` that names the option and the cure. */
struct tls_context *tls_context_create(const struct tls_options *o, char *error, size_t size);
/* The caller's part of it: it goes when the last conn has. NULL is fine. Any thread. */
void tls_context_release(struct tls_context *context);

enum tls_state {
    TLS_SHAKING, /* nothing can be read or written yet */
    TLS_OPEN,
    TLS_ENDED,   /* the peer has said that it sends no more; we still may */
    TLS_BROKEN,  /* by the peer's mistake; `error` says which */
};

struct ssl_st;

struct tls_conn {
    struct ssl_st *ssl;
    struct tls_context *context;
    struct slice in; /* fed and not read yet */
    struct buf out;  /* for the peer: its user takes it away */
    enum tls_state state;
    char error[160];
};

/* The server's end of a connection. */
struct tls_conn *tls_create(struct tls_context *context);
void tls_destroy(struct tls_conn *t);

/* Gives it bytes of the peer, which stay untouched until all were read. */
static inline void tls_feed(struct tls_conn *t, const char *data, size_t size)
{
    t->in = (struct slice){data, size};
}
/* Goes on with the handshake, as far as the bytes go. While TLS_SHAKING. */
void tls_shake(struct tls_conn *t);
/* Reads plaintext, as much as is whole or as there is room for. 0: there is no more, and all that
 * was fed is taken. Sets the state where it ends. While TLS_OPEN. */
size_t tls_read(struct tls_conn *t, char *to, size_t room);
/* How much room a tls_read of all that was fed can need. */
size_t tls_read_max(const struct tls_conn *t);
/* Appends plaintext as records to `out`. While TLS_OPEN or TLS_ENDED. */
void tls_write(struct tls_conn *t, const char *data, size_t size);
/* Appends the word that nothing follows. */
void tls_end(struct tls_conn *t);
/* Bytes that it takes, about. */
size_t tls_memory(const struct tls_conn *t);
