/* What tls.c and tls_context.c share. */
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "net/tls.h"

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio_method; /* must outlive the conns */
    uint32_t references;    /* atomic: conns of all cores hold it */
};

struct tls_context *tls_context_hold(struct tls_context *context);
BIO_METHOD *tls_create_bio_method(void);
