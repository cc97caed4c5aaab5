/* Contexts: a configuration of TLS made ready, or what is wrong with it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net/tls_inside.h"
#include "proto/mem.h"

/* Those of one context are told from those of other services that have the same certificate. */
static const unsigned char session_id_context[] = "lasca";

/* What went wrong is said here. */
struct fault {
    char *text;
    size_t size;
};

/* OpenSSL's own word for the last error of this thread. The first in its queue is the cause. */
static const char *reason(void)
{
    unsigned long code = ERR_get_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : "unknown error";
}

__attribute__((format(printf, 2, 3))) static bool fail(const struct fault *f, const char *format,
                                                       ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(f->text, f->size, format, args);
    va_end(args);
    ERR_clear_error();
    return false;
}

static bool given(const char *text)
{
    return text && text[0];
}

/* ---- memory ---- */

static void *allocate(size_t size, const char *file, int line)
{
    return size ? mem_alloc(size) : NULL;
}

static void *reallocate(void *at, size_t size, const char *file, int line)
{
    if (size)
        return mem_realloc(at, size);
    mem_free(at);
    return NULL;
}

static void release(void *at, const char *file, int line)
{
    mem_free(at);
}

void tls_init_library(void)
{
    CRYPTO_set_mem_functions(allocate, reallocate, release);
}

/* ---- certificate and key ---- */

/* Also where the key has no password, or OpenSSL would ask for one at the terminal. */
static int give_password(char *to, int size, int writing, void *context)
{
    const char *password = context;
    size_t length = password ? strlen(password) : 0;
    if (length > (size_t)size)
        return -1;
    memcpy(to, password ? password : "", length);
    return (int)length;
}

static bool readable(const char *path, const char *option, const struct fault *f)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return fail(f, "%s: cannot read '%s': %s: name a PEM file that this user may read", option,
                    path, strerror(errno));
    fclose(file);
    return true;
}

static bool load_certificate(SSL_CTX *ssl, const struct tls_options *o, const struct fault *f)
{
    if (!given(o->cert_file))
        return fail(f, "No tls-cert-file configured! TLS needs a certificate: give one with "
                       "tls-cert-file, and its key with tls-key-file");
    if (!given(o->key_file))
        return fail(f, "No tls-key-file configured! Give the private key of tls-cert-file");
    if (!readable(o->cert_file, "tls-cert-file", f) || !readable(o->key_file, "tls-key-file", f))
        return false;
    if (SSL_CTX_use_certificate_chain_file(ssl, o->cert_file) != 1)
        return fail(f, "Failed to load certificate: %s: %s: tls-cert-file must be PEM",
                    o->cert_file, reason());
    SSL_CTX_set_default_passwd_cb(ssl, give_password);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, (void *)o->key_file_pass);
    int loaded = SSL_CTX_use_PrivateKey_file(ssl, o->key_file, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
    /* A key that fits no certificate is refused here already. */
    unsigned long code = ERR_peek_last_error();
    if (loaded != 1 && ERR_GET_LIB(code) == ERR_LIB_X509)
        return fail(f, "Failed to load private key: %s: %s: it is not the key of tls-cert-file %s",
                    o->key_file, reason(), o->cert_file);
    if (loaded != 1)
        return fail(f, "Failed to load private key: %s: %s: tls-key-file must be PEM, and "
                       "tls-key-file-pass its password where it has one",
                    o->key_file, reason());
    if (SSL_CTX_check_private_key(ssl) != 1)
        return fail(f, "tls-key-file %s is not the key of tls-cert-file %s", o->key_file,
                    o->cert_file);
    return true;
}

/* ---- whom to trust ---- */

static bool load_authorities(SSL_CTX *ssl, const struct tls_options *o, const struct fault *f)
{
    bool file = given(o->ca_cert_file), directory = given(o->ca_cert_dir);
    if (o->peers != TLS_PEERS_NAMELESS && !file && !directory)
        return fail(f, "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when "
                       "tls-auth-clients is enabled: give one, or set tls-auth-clients no");
    if (file && !readable(o->ca_cert_file, "tls-ca-cert-file", f))
        return false;
    if ((file && SSL_CTX_load_verify_file(ssl, o->ca_cert_file) != 1) ||
        (directory && SSL_CTX_load_verify_dir(ssl, o->ca_cert_dir) != 1))
        return fail(f, "Failed to configure CA certificate(s) file/directory: %s: "
                       "tls-ca-cert-file must be PEM", reason());
    /* What a client that has several certificates chooses by. */
    if (o->peers != TLS_PEERS_NAMELESS && file)
        SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(o->ca_cert_file));
    int mode = SSL_VERIFY_NONE;
    if (o->peers == TLS_PEERS_EITHER)
        mode = SSL_VERIFY_PEER;
    else if (o->peers == TLS_PEERS_CERTIFIED)
        mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ssl, mode, NULL);
    return true;
}

/* ---- protocols and ciphers ---- */

static const struct protocol {
    const char *name;
    uint64_t without; /* the option that turns it off */
    bool usual;
} protocols[] = {
    {"TLSv1", SSL_OP_NO_TLSv1, false},
    {"TLSv1.1", SSL_OP_NO_TLSv1_1, false},
    {"TLSv1.2", SSL_OP_NO_TLSv1_2, true},
    {"TLSv1.3", SSL_OP_NO_TLSv1_3, true},
};

#define PROTOCOL_COUNT (sizeof(protocols) / sizeof(protocols[0]))

static const struct protocol *find_protocol(const char *name, size_t size)
{
    for (size_t i = 0; i < PROTOCOL_COUNT; i++)
        if (strlen(protocols[i].name) == size && strncasecmp(protocols[i].name, name, size) == 0)
            return &protocols[i];
    return NULL;
}

static bool choose_protocols(SSL_CTX *ssl, const char *words, const struct fault *f)
{
    uint64_t without = 0;
    for (size_t i = 0; i < PROTOCOL_COUNT; i++)
        if (given(words) || !protocols[i].usual)
            without |= protocols[i].without;
    for (const char *at = words ? words : ""; *(at += strspn(at, " \t"));) {
        size_t size = strcspn(at, " \t");
        const struct protocol *p = find_protocol(at, size);
        if (!p)
            return fail(f, "Invalid tls-protocols specified. Use a combination of 'TLSv1', "
                           "'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'.");
        without &= ~p->without;
        at += size;
    }
    SSL_CTX_set_options(ssl, without);
    return true;
}

static bool load_dh(SSL_CTX *ssl, const char *path, const struct fault *f)
{
    if (!given(path)) {
        SSL_CTX_set_dh_auto(ssl, 1);
        return true;
    }
    if (!readable(path, "tls-dh-params-file", f))
        return false;
    BIO *file = BIO_new_file(path, "r");
    EVP_PKEY *key = file ? PEM_read_bio_Parameters(file, NULL) : NULL;
    BIO_free(file);
    if (!key || !EVP_PKEY_is_a(key, "DH")) {
        EVP_PKEY_free(key);
        return fail(f, "tls-dh-params-file: %s has no Diffie-Hellman parameters: make some with "
                       "openssl dhparam, or leave the option out", path);
    }
    if (SSL_CTX_set0_tmp_dh_pkey(ssl, key) == 1)
        return true;
    EVP_PKEY_free(key);
    return fail(f, "tls-dh-params-file: Failed to load DH params file: %s: %s", path, reason());
}

static bool choose_ciphers(SSL_CTX *ssl, const struct tls_options *o, const struct fault *f)
{
    if (given(o->ciphers) && SSL_CTX_set_cipher_list(ssl, o->ciphers) != 1)
        return fail(f, "Failed to configure ciphers: %s: tls-ciphers takes names as "
                       "`openssl ciphers -s -tls1_2` prints them", o->ciphers);
    if (given(o->ciphersuites) && SSL_CTX_set_ciphersuites(ssl, o->ciphersuites) != 1)
        return fail(f, "Failed to configure ciphersuites: %s: tls-ciphersuites takes names as "
                       "`openssl ciphers -s -tls1_3` prints them", o->ciphersuites);
    if (o->prefer_server_ciphers)
        SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
    return load_dh(ssl, o->dh_params_file, f);
}

/* ---- the whole ---- */

/* OpenSSL reads a certificate's extensions when it first needs them: now, rather than in the first
 * handshakes, several of which would wait for the one that does. */
static void read_extensions(SSL_CTX *ssl)
{
    STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ssl));
    for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
        X509 *certificate = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
        if (certificate)
            X509_check_purpose(certificate, -1, 0);
    }
    X509_check_purpose(SSL_CTX_get0_certificate(ssl), -1, 0);
}

static void set_sessions(SSL_CTX *ssl, const struct tls_options *o)
{
    /* Needed even where nothing is cached: OpenSSL refuses certified clients that ask without. */
    SSL_CTX_set_session_id_context(ssl, session_id_context, sizeof(session_id_context) - 1);
    if (!o->session_caching) {
        SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ssl, 0);
        return;
    }
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER);
    SSL_CTX_sess_set_cache_size(ssl, o->session_cache_size);
    SSL_CTX_set_timeout(ssl, o->session_cache_timeout_s);
    SSL_CTX_set_num_tickets(ssl, 1); /* a client that is done with it gets another */
}

static bool set_up(SSL_CTX *ssl, const struct tls_options *o, const struct fault *f)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_SSLv3 | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_SINGLE_DH_USE);
    SSL_CTX_set_mode(ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    set_sessions(ssl, o);
    return choose_protocols(ssl, o->protocols, f) && load_certificate(ssl, o, f) &&
           load_authorities(ssl, o, f) && choose_ciphers(ssl, o, f);
}

struct tls_context *tls_context_create(const struct tls_options *o, char *error, size_t size)
{
    struct fault f = {error, size};
    ERR_clear_error();
    struct tls_context *context = mem_alloc_zeroed(sizeof(*context));
    context->references = 1;
    context->bio_method = tls_create_bio_method();
    context->ssl = SSL_CTX_new(TLS_server_method());
    if (!context->bio_method || !context->ssl)
        fail(&f, "OpenSSL does not start: %s", reason());
    else if (set_up(context->ssl, o, &f)) {
        read_extensions(context->ssl);
        return context;
    }
    tls_context_release(context);
    return NULL;
}

struct tls_context *tls_context_hold(struct tls_context *context)
{
    __atomic_fetch_add(&context->references, 1, __ATOMIC_RELAXED);
    return context;
}

void tls_context_release(struct tls_context *context)
{
    /* Each release pairs with the last one's, so that all use of it comes before its end. */
    if (!context || __atomic_sub_fetch(&context->references, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio_method);
    mem_free(context);
}
