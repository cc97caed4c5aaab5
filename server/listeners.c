/* Opening and changing what clients connect to: see listeners.h. */
#include "server/listeners.h"
#include "server/port_owner.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/listener.h"
#include "proto/mem.h"

/* A port in use is tried again for a second: one that a server killed a moment ago still holds (the
 * kernel takes its ring down in the background). */
#define BIND_TRIES 20
#define BIND_WAIT_US 50000
#define WHY_SIZE 256

static const char *const kind_names[] = {"tcp", "unix", "tls"};

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);
    memcpy(copy, text, size);
    return copy;
}

static struct listener *create(int fd, enum listener_kind kind, const char *address, unsigned port)
{
    struct listener *l = mem_alloc_zeroed(sizeof(*l));
    *l = (struct listener){.fd = fd, .kind = kind, .port = port, .address = copy_text(address)};
    return l;
}

static void destroy(struct listener *l)
{
    close(l->fd);
    mem_free(l->address);
    mem_free(l);
}

static void append(struct listener **list, struct listener *l)
{
    while (*list)
        list = &(*list)->next;
    *list = l;
}

/* What is being opened. */
struct opening {
    struct listener **to;   /* appended to this list ... */
    struct listener *have;  /* ... but what is in that one already */
    int tries;              /* again, while an address is in use */
    bool quiet;
    char *why;              /* CONFIG_ERROR_SIZE: the sentence on what failed */
};

/* Redis's words, for whoever looks for them. */
static void tell_failure(const char *address, unsigned port, int error)
{
    log_write(&server->log, LOG_WARNING,
              "Warning: Could not create server TCP listening socket %s:%u: bind: %s", address,
              port, strerror(error));
}

/* The sentence on a port that is taken names the option that chose it, and who has it. */
static void complete_sentence(enum listener_kind kind, unsigned port, char *why)
{
    char owner[PORT_OWNER_SIZE], said[CONFIG_ERROR_SIZE];
    const char *option = strstr(why, "--port");
    if (kind == LISTENER_TLS && option) {
        snprintf(said, sizeof(said), "%s", option + strlen("--port"));
        int kept = (int)(option - why);
        snprintf(why + kept, CONFIG_ERROR_SIZE - (size_t)kept, "--tls-port%s", said);
    }
    size_t size = strlen(why);
    if (port_owner_find(port, owner))
        snprintf(why + size, CONFIG_ERROR_SIZE - size, " (it is %s)", owner);
}

static void mark(int fd)
{
    unsigned id = (unsigned)server->config.socket_mark_id;
    if (id && !listener_mark(fd, id))
        log_write(&server->log, LOG_WARNING,
                  "Cannot set socket-mark-id: %s: it takes CAP_NET_ADMIN", strerror(errno));
}

static bool is_no_such_family(int error)
{
    return error == EAFNOSUPPORT || error == EPROTONOSUPPORT || error == ESOCKTNOSUPPORT ||
           error == EPFNOSUPPORT || error == ENOPROTOOPT;
}

/* Opens one address. True, too, where it is not there and need not be. */
static bool open_address(struct opening *o, const char *bind, unsigned port,
                         enum listener_kind kind)
{
    bool optional = bind[0] == '-';
    const char *address = bind + optional;
    unsigned backlog = (unsigned)server->config.tcp_backlog;
    int fd;
    while ((fd = listener_open(address, port, backlog, o->why, CONFIG_ERROR_SIZE)) < 0 &&
           errno == EADDRINUSE && o->tries > 0) {
        o->tries--;
        usleep(BIND_WAIT_US);
    }
    if (fd < 0) {
        int error = errno;
        if (!o->quiet && error != EINVAL)
            tell_failure(address, port, error);
        if (!o->quiet && error == EADDRINUSE)
            complete_sentence(kind, port, o->why);
        return (optional && error == EADDRNOTAVAIL) || is_no_such_family(error);
    }
    mark(fd);
    append(o->to, create(fd, kind, address, port));
    return true;
}

/* What was opened before and is the same. */
static struct listener *find(struct listener *l, const char *bind, unsigned port,
                             enum listener_kind kind)
{
    const char *address = bind + (bind[0] == '-');
    while (l && (l->gone || l->kind != kind || l->port != port || strcmp(l->address, address) != 0))
        l = l->next;
    return l;
}

static bool open_kind(struct opening *o, enum listener_kind kind)
{
    const struct config *c = &server->config;
    unsigned port = (unsigned)(kind == LISTENER_TLS ? c->tls_port : c->port);
    for (uint32_t i = 0; port && i < c->bind_count; i++)
        if (!find(o->have, c->bind[i], port, kind) && !open_address(o, c->bind[i], port, kind))
            return false;
    return true;
}

static bool open_ports(struct opening *o)
{
    return open_kind(o, LISTENER_TCP) && open_kind(o, LISTENER_TLS);
}

static bool open_unix(char *error)
{
    const struct config *c = &server->config;
    char why[WHY_SIZE];
    int tries = BIND_TRIES, fd;
    if (!c->unixsocket[0])
        return true;
    while ((fd = listener_open_unix(c->unixsocket, (unsigned)c->unixsocketperm,
                                    (unsigned)c->tcp_backlog, why, sizeof(why))) < 0 &&
           errno == EADDRINUSE && tries-- > 0)
        usleep(BIND_WAIT_US);
    if (fd < 0) {
        snprintf(error, CONFIG_ERROR_SIZE, "Failed opening Unix socket: %s", why);
        return false;
    }
    char path[PATH_MAX];
    const char *found = realpath(c->unixsocket, path) ? path : c->unixsocket;
    append(&server->listeners, create(fd, LISTENER_UNIX, found, 0));
    return true;
}

static void warn_of_backlog(void)
{
    FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
    long long most = 0;
    if (f && fscanf(f, "%lld", &most) == 1 && most > 0 && most < server->config.tcp_backlog)
        log_write(&server->log, LOG_WARNING,
                  "WARNING: The TCP backlog setting of %lld cannot be enforced because "
                  "/proc/sys/net/core/somaxconn is set to the lower value of %lld. "
                  "sysctl net.core.somaxconn=%lld raises it.",
                  (long long)server->config.tcp_backlog, most,
                  (long long)server->config.tcp_backlog);
    if (f)
        fclose(f);
}

bool listeners_open(char *error, size_t error_size)
{
    char why[CONFIG_ERROR_SIZE] =
        "Configured to not listen anywhere, exiting: give a port and an address (--port 6379 "
        "--bind 127.0.0.1) or a unixsocket";
    struct opening o = {.to = &server->listeners, .tries = BIND_TRIES, .why = why};
    warn_of_backlog();
    if (open_ports(&o) && open_unix(why) && server->listeners)
        return true;
    snprintf(error, error_size, "%s", why);
    return false;
}

static void close_all(struct listener **list)
{
    while (*list) {
        struct listener *l = *list;
        *list = l->next;
        destroy(l);
    }
}

void listeners_close(void)
{
    for (struct listener *l = server->listeners; l; l = l->next) {
        if (l->kind != LISTENER_UNIX)
            continue;
        log_write(&server->log, LOG_NOTICE, "Removing the unix socket file.");
        unlink(l->address);
    }
    close_all(&server->listeners);
}

void listeners_log_ready(void)
{
    bool told[sizeof(kind_names) / sizeof(kind_names[0])] = {false};
    for (const struct listener *l = server->listeners; l; l = l->next) {
        if (!told[l->kind])
            log_write(&server->log, LOG_NOTICE, "Ready to accept connections %s",
                      kind_names[l->kind]);
        told[l->kind] = true;
    }
}

/* ---- Changes ---- */

static bool is_wanted(const struct listener *l)
{
    const struct config *c = &server->config;
    unsigned port = (unsigned)(l->kind == LISTENER_TLS ? c->tls_port : c->port);
    if (l->kind == LISTENER_UNIX)
        return true;
    for (uint32_t i = 0; i < c->bind_count; i++)
        if (l->port == port && strcmp(c->bind[i] + (c->bind[i][0] == '-'), l->address) == 0)
            return true;
    return false;
}

/* Ends what is not wanted any more. Its port is free at once; the descriptor stays until core 0 has
 * let go of it. */
static void retire(void)
{
    for (struct listener *l = server->listeners; l; l = l->next) {
        if (l->gone || is_wanted(l))
            continue;
        l->gone = true;
        shutdown(l->fd, SHUT_RD);
    }
}

/* Core 0: takes up what is new, lets go of what is gone. However many changes there were since the
 * last time. */
static void attend(struct core *c)
{
    bool stopping = atomic_load_explicit(&server->stopping, memory_order_relaxed);
    for (struct listener **at = &server->listeners; *at;) {
        struct listener *l = *at;
        if (l->accepting && l->gone)
            ring_unlisten(c->ring, l->fd);
        else if (!l->accepting && !l->gone && !stopping)
            ring_listen(c->ring, l->fd, l->kind);
        l->accepting = !l->gone && !stopping;
        if (l->gone) {
            *at = l->next;
            destroy(l);
        } else {
            at = &l->next;
        }
    }
}

static void receive_change(struct core_message *m)
{
    mem_free(m);
    attend(core_self());
}

static void tell_core_0(struct core *c)
{
    struct core_message *m = mem_alloc_zeroed(sizeof(*m));
    m->receive = receive_change;
    core_post(c, 0, m);
}

/* The new ones are opened first. Where that fails because an old one is in the way (every address
 * instead of one, or the other way round), the old ones make room. */
bool listeners_change(struct core *c)
{
    char why[CONFIG_ERROR_SIZE];
    struct listener *fresh = NULL;
    struct opening o = {.to = &fresh, .have = server->listeners, .quiet = true, .why = why};
    bool opened = open_ports(&o);
    if (!opened) {
        close_all(&fresh);
        retire();
        o.quiet = false;
        opened = open_ports(&o);
    }
    if (!opened) {
        log_write(&server->log, LOG_WARNING, "%s", why);
        close_all(&fresh);
    }
    retire();
    append(&server->listeners, fresh);
    tell_core_0(c);
    return opened;
}

void listeners_start(struct core *c)
{
    attend(c);
}

void listeners_stop(struct core *c)
{
    for (struct listener *l = server->listeners; l; l = l->next) {
        if (l->accepting)
            ring_unlisten(c->ring, l->fd);
        l->accepting = false;
        shutdown(l->fd, SHUT_RD); /* the port is free at once */
    }
}
