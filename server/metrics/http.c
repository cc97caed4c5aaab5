/* The port of metrics: requests, answers, limits. libmicrohttpd parses HTTP, on a thread of its own
 * for each address; its limits keep slow clients, long headers and many connections in bounds. */
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <unistd.h>

#include "net/listener.h"
#include "proto/mem.h"
#include "server/metrics/inside.h"
#include "server/metrics/page.h"
#include "server/server.h"

#define BACKLOG 16
/* A client that neither sends nor reads for so long is cut off. */
#define TIMEOUT_S 10
/* Of a request's line and headers, and of what is sent at a time. */
#define CONNECTION_BYTES ((size_t)32 * 1024)

#define PLAIN "text/plain; charset=utf-8"

/* ---- Answers ---- */

/* The page has its style and script within itself, and asks nobody but us. */
static void add_headers(struct MHD_Response *r, const char *type)
{
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Content-Security-Policy",
                            "default-src 'none'; style-src 'unsafe-inline'; "
                            "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
                            "frame-ancestors 'none'");
}

static enum MHD_Result finish(struct MHD_Connection *connection, struct MHD_Response *r,
                              unsigned status, const char *type)
{
    if (!r)
        return MHD_NO;
    add_headers(r, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *type, const char *text, size_t size)
{
    /* It is a constant, which is not written to. */
    struct MHD_Response *r =
        MHD_create_response_from_buffer(size, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    return finish(connection, r, status, type);
}

/* What is written anew for each request. */
static enum MHD_Result answer_figures(struct MHD_Connection *connection, const char *type,
                                      bool (*write)(const struct metrics *m, struct buf *to))
{
    struct metrics *m = server->metrics;
    struct buf text;
    buf_init(&text);
    pthread_mutex_lock(&m->mutex);
    metrics_sample(m);
    bool well = write(m, &text);
    pthread_mutex_unlock(&m->mutex);
    struct MHD_Response *r =
        MHD_create_response_from_buffer_with_free_callback(text.size, text.data, mem_free);
    if (!r)
        buf_deinit(&text);
    return finish(connection, r, well ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, type);
}

static bool write_metrics(const struct metrics *m, struct buf *to)
{
    metrics_write_text(m, to);
    return true;
}

static bool write_status(const struct metrics *m, struct buf *to)
{
    metrics_write_status(m, to);
    return true;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload_data,
                              size_t *upload_size, void **state)
{
    static const char not_found[] = "Not found. There are /, /metrics, /healthz, /status.json.\n";
    static const char not_allowed[] = "Only GET and HEAD are answered.\n";
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, PLAIN, not_allowed,
                           sizeof(not_allowed) - 1);
    /* The first call comes before the request's end: who answers then closes the connection. */
    if (!*state) {
        *state = server->metrics;
        return MHD_YES;
    }
    if (strcmp(url, "/metrics") == 0)
        return answer_figures(connection, "text/plain; version=0.0.4; charset=utf-8",
                              write_metrics);
    if (strcmp(url, "/healthz") == 0)
        return answer_figures(connection, PLAIN, metrics_write_health);
    if (strcmp(url, "/status.json") == 0)
        return answer_figures(connection, "application/json", write_status);
    if (strcmp(url, "/") == 0)
        return answer_text(connection, MHD_HTTP_OK, "text/html; charset=utf-8",
                           (const char *)metrics_page, metrics_page_size);
    return answer_text(connection, MHD_HTTP_NOT_FOUND, PLAIN, not_found, sizeof(not_found) - 1);
}

/* ---- The port ---- */

uint32_t metrics_files(const struct config *c)
{
    uint32_t addresses = 1;
    for (const char *p = c->metrics_bind; *p; p++)
        addresses += *p == ' ';
    return c->metrics_port ? addresses * METRICS_FILES : 0;
}

static bool bind_one(struct metrics *m, const char *address, char *error, size_t error_size)
{
    bool optional = address[0] == '-';
    char why[256];
    int fd = listener_open(address + optional, m->port, BACKLOG, why, sizeof(why));
    if (fd >= 0) {
        m->listeners[m->listener_count++] = fd;
        return true;
    }
    snprintf(error, error_size,
             "metrics cannot be offered on %s, port %u: %s: choose another with --metrics-port or "
             "--metrics-bind, or none with --metrics-port 0",
             address + optional, m->port, strerror(errno));
    return optional && errno != EADDRINUSE;
}

bool metrics_open(char *error, size_t error_size)
{
    if (server->config.metrics_port == 0)
        return true;
    struct metrics *m = mem_alloc_zeroed(sizeof(*m));
    server->metrics = m;
    m->port = (unsigned)server->config.metrics_port;
    pthread_mutex_init(&m->mutex, NULL);
    metrics_sample_init(m);
    struct slice left = slice_of(server->config.metrics_bind);
    snprintf(error, error_size, "metrics-bind names no address: give one, or --metrics-port 0");
    while (left.size) {
        char address[64];
        size_t size = 0;
        while (size < left.size && left.data[size] != ' ')
            size++;
        bool fits = size < sizeof(address) && m->listener_count < METRICS_LISTENERS_MAX;
        snprintf(address, sizeof(address), "%.*s", (int)size, left.data);
        left = (struct slice){left.data + size, left.size - size};
        while (left.size && left.data[0] == ' ')
            left = (struct slice){left.data + 1, left.size - 1};
        if (size == 0)
            continue;
        if (!fits || !bind_one(m, address, error, error_size))
            return false;
    }
    return m->listener_count > 0;
}

bool metrics_start(char *error, size_t error_size)
{
    struct metrics *m = server->metrics;
    for (uint32_t i = 0; m && i < m->listener_count; i++) {
        struct MHD_Daemon *d = MHD_start_daemon(
            MHD_USE_AUTO_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL,
            MHD_OPTION_LISTEN_SOCKET, m->listeners[i],
            MHD_OPTION_CONNECTION_LIMIT, (unsigned)METRICS_CONNECTIONS_MAX,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_END);
        if (!d) {
            snprintf(error, error_size, "Metrics are not offered: no thread for them: %s",
                     strerror(errno));
            return false;
        }
        m->listeners[i] = -1; /* now the daemon's */
        m->daemons[m->daemon_count++] = d;
    }
    if (m)
        log_write(&server->log, LOG_NOTICE, "Metrics on port %u: /metrics, /healthz and /",
                  m->port);
    return true;
}

void metrics_stop(void)
{
    struct metrics *m = server->metrics;
    while (m && m->daemon_count)
        MHD_stop_daemon(m->daemons[--m->daemon_count]);
}

void metrics_destroy(void)
{
    struct metrics *m = server->metrics;
    if (!m)
        return;
    for (uint32_t i = 0; i < m->listener_count; i++)
        if (m->listeners[i] >= 0)
            close(m->listeners[i]);
    metrics_sample_deinit(m);
    pthread_mutex_destroy(&m->mutex);
    mem_free(m);
    server->metrics = NULL;
}
