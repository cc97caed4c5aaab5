/* The server's TLS configuration: see tls.h. */
#include "server/tls.h"

#include <strings.h>

#include "net/tls.h"
#include "server/server.h"
#include "server/tls_helper.h"

#define ERROR_SIZE 512

static struct tls_context *make(const struct config *c, char *error, size_t error_size)
{
    static const enum tls_peers peers[] = {
        [TLS_CLIENTS_NO] = TLS_PEERS_NAMELESS,
        [TLS_CLIENTS_YES] = TLS_PEERS_CERTIFIED,
        [TLS_CLIENTS_OPTIONAL] = TLS_PEERS_EITHER,
    };
    struct tls_options o = {
        .cert_file = c->tls_cert_file,
        .key_file = c->tls_key_file,
        .key_file_pass = c->tls_key_file_pass,
        .ca_cert_file = c->tls_ca_cert_file,
        .ca_cert_dir = c->tls_ca_cert_dir,
        .dh_params_file = c->tls_dh_params_file,
        .protocols = c->tls_protocols,
        .ciphers = c->tls_ciphers,
        .ciphersuites = c->tls_ciphersuites,
        .peers = peers[c->tls_auth_clients],
        .prefer_server_ciphers = c->tls_prefer_server_ciphers,
        .session_caching = c->tls_session_caching,
        .session_cache_size = (long)c->tls_session_cache_size,
        .session_cache_timeout_s = (long)c->tls_session_cache_timeout,
    };
    return tls_context_create(&o, error, error_size);
}

bool tls_check(const struct config *config, char *error, size_t error_size)
{
    if (config->tls_port == 0)
        return true;
    struct tls_context *context = make(config, error, error_size);
    tls_context_release(context);
    return context != NULL;
}

bool tls_start(char *error, size_t error_size)
{
    server->tls_helpers = tls_helpers_create();
    if (server->config.tls_port == 0)
        return true;
    server->tls = make(&server->config, error, error_size);
    return server->tls != NULL;
}

void tls_stop(void)
{
    if (server->tls_helpers)
        tls_helpers_destroy(server->tls_helpers);
    tls_context_release(server->tls);
    server->tls = NULL;
}

/* The first of the pairs that names an option of TLS; `count`: none does. */
static uint32_t find_tls(const struct slice *pairs, uint32_t count)
{
    uint32_t i = 0;
    while (i < count && (pairs[2 * i].size < 4 || strncasecmp(pairs[2 * i].data, "tls-", 4) != 0))
        i++;
    return i;
}

bool tls_prepare(const struct config *changed, const struct slice *pairs, uint32_t count,
                 uint32_t *first, struct tls_context **fresh)
{
    char error[ERROR_SIZE];
    *fresh = NULL;
    *first = find_tls(pairs, count);
    if (changed->tls_port == 0 || *first == count)
        return true;
    *fresh = make(changed, error, sizeof(error));
    if (!*fresh)
        log_write(&server->log, LOG_WARNING, "%s", error);
    return *fresh != NULL;
}

void tls_take(struct tls_context *fresh)
{
    if (!fresh)
        return;
    tls_context_release(server->tls);
    server->tls = fresh;
}
