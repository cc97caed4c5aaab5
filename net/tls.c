/* A connection's TLS: see tls.h. What OpenSSL takes for a socket is a BIO of ours: it reads from
 * what was fed, without a copy between, and writes to the end of `out`. */
#include "net/tls.h"

#include <assert.h>
#include <stdio.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "net/tls_inside.h"
#include "proto/mem.h"

/* ---- the BIO ---- */

static int bio_read(BIO *b, char *to, int size)
{
    struct tls_conn *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    size_t taken = t->in.size < (size_t)size ? t->in.size : (size_t)size;
    if (taken == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    memcpy(to, t->in.data, taken);
    t->in = (struct slice){t->in.data + taken, t->in.size - taken};
    return (int)taken;
}

static int bio_write(BIO *b, const char *data, int size)
{
    struct tls_conn *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    buf_append(&t->out, data, (size_t)size);
    return size;
}

static long bio_control(BIO *b, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_create_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lasca");
    if (m) {
        BIO_meth_set_read(m, bio_read);
        BIO_meth_set_write(m, bio_write);
        BIO_meth_set_ctrl(m, bio_control);
    }
    return m;
}

/* ---- connections ---- */

struct tls_conn *tls_create(struct tls_context *context)
{
    struct tls_conn *t = mem_alloc_zeroed(sizeof(*t));
    t->context = tls_context_hold(context);
    t->ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(context->bio_method);
    assert(t->ssl && bio); /* memory is never refused: see proto/mem.h */
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_accept_state(t->ssl);
    return t;
}

void tls_destroy(struct tls_conn *t)
{
    SSL_free(t->ssl);
    tls_context_release(t->context);
    buf_deinit(&t->out);
    mem_free(t);
}

/* The first error is the cause: those behind it say what could not be done for it. */
static void break_off(struct tls_conn *t)
{
    const char *reason = NULL;
    unsigned long code = ERR_get_error();
    if (code)
        reason = ERR_reason_error_string(code);
    long verified = SSL_get_verify_result(t->ssl);
    if (verified != X509_V_OK)
        snprintf(t->error, sizeof(t->error), "%s: %s", reason ? reason : "certificate refused",
                 X509_verify_cert_error_string(verified));
    else
        snprintf(t->error, sizeof(t->error), "%s", reason ? reason : "protocol error");
    t->state = TLS_BROKEN;
    t->in = (struct slice){0};
}

void tls_shake(struct tls_conn *t)
{
    assert(t->state == TLS_SHAKING);
    ERR_clear_error();
    int result = SSL_do_handshake(t->ssl);
    if (result == 1)
        t->state = TLS_OPEN;
    else if (SSL_get_error(t->ssl, result) != SSL_ERROR_WANT_READ)
        break_off(t);
    ERR_clear_error();
}

static void end_reading(struct tls_conn *t)
{
    switch (SSL_get_error(t->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return;
    case SSL_ERROR_ZERO_RETURN:
        t->state = TLS_ENDED;
        t->in = (struct slice){0};
        return;
    default:
        break_off(t);
    }
}

size_t tls_read(struct tls_conn *t, char *to, size_t room)
{
    assert(t->state == TLS_OPEN);
    size_t size = 0;
    ERR_clear_error();
    while (size < room) {
        size_t n = 0;
        if (SSL_read_ex(t->ssl, to + size, room - size, &n) != 1) {
            end_reading(t);
            break;
        }
        size += n;
    }
    ERR_clear_error();
    return size;
}

size_t tls_read_max(const struct tls_conn *t)
{
    return t->in.size + (SSL_has_pending(t->ssl) ? SSL3_RT_MAX_PLAIN_LENGTH : 0);
}

void tls_write(struct tls_conn *t, const char *data, size_t size)
{
    assert(t->state == TLS_OPEN || t->state == TLS_ENDED);
    size_t written = 0;
    ERR_clear_error();
    /* Its BIO takes everything, so all is written, or the conn is of no more use. */
    if (size > 0 && (SSL_write_ex(t->ssl, data, size, &written) != 1 || written != size))
        break_off(t);
}

void tls_end(struct tls_conn *t)
{
    if (t->state != TLS_OPEN && t->state != TLS_ENDED)
        return;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    ERR_clear_error();
}

/* OpenSSL's own part is an estimate, measured with version 3.0: it cannot be asked. */
#define SSL_MEMORY 14336

size_t tls_memory(const struct tls_conn *t)
{
    return sizeof(*t) + SSL_MEMORY + t->out.cap;
}
