/* New connections: see accept.h. */
#include "server/accept.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/listener.h"
#include "proto/mem.h"
#include "server/server.h"
#include "server/session.h"

/* A connection on its way to its core. */
struct newcomer {
    struct core_message message; /* first */
    int fd;
    uint64_t id;
};

static void adopt(struct core_message *m)
{
    struct newcomer *n = (struct newcomer *)m;
    struct core *c = core_self();
    struct session *s = session_create(c, n->fd, n->id);
    mem_free(n);
    ring_add(c->ring, &s->conn);
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed))
        session_end(c, s, false);
}

bool accept_is_message(const struct core_message *m)
{
    return m->receive == adopt;
}

static bool is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)a;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)a;
        return IN6_IS_ADDR_LOOPBACK(&in->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) && in->sin6_addr.s6_addr[12] == 127);
    }
    return true;
}

bool accept_is_local(int fd)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof(a);
    return getpeername(fd, (struct sockaddr *)&a, &size) == 0 && is_loopback(&a);
}

static void refuse(int fd, const char *text)
{
    /* One attempt: the buffer of a new socket takes it whole. */
    ssize_t sent = send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent;
    close(fd);
    atomic_fetch_add_explicit(&server->rejected_count, 1, memory_order_relaxed);
}

static bool admit(int fd)
{
    const struct config *config = &server->config;
    if (atomic_load_explicit(&server->session_count, memory_order_relaxed) >=
        (uint64_t)config->maxclients) {
        refuse(fd, "-ERR max number of clients reached\r\n");
        return false;
    }
    if (config->protected_mode && config->requirepass[0] == '\0' && !accept_is_local(fd)) {
        refuse(fd, "-DENIED Lasca is running in protected mode: no password is set, so only "
                   "connections from the loopback interface are accepted. To connect from other "
                   "hosts, set a password (requirepass), or turn the protection off "
                   "(protected-mode no) where the network itself is trusted.\r\n");
        return false;
    }
    return true;
}

/* The core with the fewest sessions, beginning behind the one chosen last. */
static uint32_t least_loaded(struct core *c)
{
    uint32_t best = 0, best_load = UINT32_MAX;
    for (uint32_t i = 0; i < server->core_count; i++) {
        uint32_t at = (c->next_accept_core + i) % server->core_count;
        uint32_t load = atomic_load_explicit(&server->cores[at]->load, memory_order_relaxed);
        if (load < best_load) {
            best_load = load;
            best = at;
        }
    }
    c->next_accept_core = (best + 1) % server->core_count;
    return best;
}

void accept_connection(struct core *c, int fd, unsigned tag)
{
    atomic_fetch_add_explicit(&server->accepted_count, 1, memory_order_relaxed);
    if (!admit(fd))
        return;
    listener_prepare(fd, (unsigned)server->config.tcp_keepalive);
    uint32_t to = least_loaded(c);
    atomic_fetch_add_explicit(&server->session_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->cores[to]->load, 1, memory_order_relaxed);
    struct newcomer *n = mem_alloc(sizeof(*n));
    n->message.receive = adopt;
    n->fd = fd;
    n->id = atomic_fetch_add_explicit(&server->next_session_id, 1, memory_order_relaxed) + 1;
    core_post(c, to, &n->message);
}

void accept_start(struct core *c)
{
    for (uint32_t i = 0; i < server->listener_count; i++)
        ring_listen(c->ring, server->listeners[i], i);
}

void accept_stop(struct core *c)
{
    if (c->index != 0)
        return;
    for (uint32_t i = 0; i < server->listener_count; i++) {
        ring_unlisten(c->ring, server->listeners[i]);
        shutdown(server->listeners[i], SHUT_RD); /* the port is free at once */
    }
}
