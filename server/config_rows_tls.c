/* Options of TLS. */
#include "server/config_rows.h"

static const struct option_name client_certificates[] = {
    {"no", TLS_CLIENTS_NO}, {"yes", TLS_CLIENTS_YES}, {"optional", TLS_CLIENTS_OPTIONAL}, {NULL, 0},
};

/* MIGRATE is the only one, and Redis encrypts that in cluster mode alone. */
#define WHY_NO_CLIENT "connections that the server makes are not encrypted"

static const struct config_option options[] = {
    {"tls-port", INTEGER_FIELD(tls_port), "0", 0, 65535, .flags = OPTION_MUTABLE, .section = "TLS",
     .text = "The port for TLS, beside `port`, or instead of it where that is 0. 0: none. It "
             "needs a certificate and its key, and a CA unless tls-auth-clients is no."},
    {"tls-cert-file", STRING_FIELD(tls_cert_file), "\"\"", .flags = OPTION_MUTABLE,
     .text = "The server's certificate and chain, PEM. Set it again, with tls-key-file, to read "
             "renewed files: connections that there are go on."},
    {"tls-key-file", STRING_FIELD(tls_key_file), "\"\"", .flags = OPTION_MUTABLE,
     .text = "Its private key, PEM."},
    {"tls-key-file-pass", STRING_FIELD(tls_key_file_pass), "\"\"",
     .flags = OPTION_MUTABLE | OPTION_SECRET,
     .text = "The password of that key, where it has one."},
    {"tls-client-cert-file", STRING_FIELD(tls_client_cert_file), "\"\"", .flags = OPTION_MUTABLE,
     .inert = WHY_NO_CLIENT,
     .text = "The certificate for connections that the server makes."},
    {"tls-client-key-file", STRING_FIELD(tls_client_key_file), "\"\"", .flags = OPTION_MUTABLE,
     .inert = WHY_NO_CLIENT,
     .text = "Its private key."},
    {"tls-client-key-file-pass", STRING_FIELD(tls_client_key_file_pass), "\"\"",
     .flags = OPTION_MUTABLE | OPTION_SECRET, .inert = WHY_NO_CLIENT,
     .text = "The password of that key."},
    {"tls-dh-params-file", STRING_FIELD(tls_dh_params_file), "\"\"", .flags = OPTION_MUTABLE,
     .text = "Parameters for Diffie-Hellman, PEM, for ciphers of TLS 1.2 that need them."},
    {"tls-ca-cert-file", STRING_FIELD(tls_ca_cert_file), "\"\"", .flags = OPTION_MUTABLE,
     .text = "The certificates of those who may sign clients' certificates, PEM."},
    {"tls-ca-cert-dir", STRING_FIELD(tls_ca_cert_dir), "\"\"", .flags = OPTION_MUTABLE,
     .text = "A directory of such certificates, named as openssl rehash does."},
    {"tls-auth-clients", ENUM_FIELD(tls_auth_clients), "yes", .names = client_certificates,
     .flags = OPTION_MUTABLE,
     .text = "Whether clients must, need not or may (optional) show a certificate."},
    {"tls-protocols", STRING_FIELD(tls_protocols), "\"\"", .flags = OPTION_MUTABLE,
     .text = "The versions allowed, with blanks between: TLSv1.2 TLSv1.3. \"\": these."},
    {"tls-ciphers", STRING_FIELD(tls_ciphers), "\"\"", .flags = OPTION_MUTABLE,
     .text = "The ciphers of TLS up to 1.2, as OpenSSL names them. \"\": its choice."},
    {"tls-ciphersuites", STRING_FIELD(tls_ciphersuites), "\"\"", .flags = OPTION_MUTABLE,
     .text = "Those of TLS 1.3."},
    {"tls-prefer-server-ciphers", BOOL_FIELD(tls_prefer_server_ciphers), "no",
     .flags = OPTION_MUTABLE,
     .text = "Whether the server's order of ciphers counts, rather than the client's."},
    {"tls-session-caching", BOOL_FIELD(tls_session_caching), "yes", .flags = OPTION_MUTABLE,
     .text = "Whether a client that comes again is spared a full handshake. Tickets (TLS 1.3, and "
             "1.2 where the client knows them) need no memory here."},
    {"tls-session-cache-size", INTEGER_FIELD(tls_session_cache_size), "20480", 0, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "How many of those without a ticket are remembered. 0: no limit."},
    {"tls-session-cache-timeout", INTEGER_FIELD(tls_session_cache_timeout), "300", 0, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "For how many seconds a session can be taken up again."},
};

const struct config_rows config_rows_tls = CONFIG_ROWS(options);
