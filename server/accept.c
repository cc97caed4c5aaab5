/* New connections: see accept.h. */
#include "server/accept.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/listener.h"
#include "proto/mem.h"
#include "server/acl.h"
#include "server/server.h"
#include "server/session.h"
#include "server/session_tls.h"

/* A connection on its way to its core. */
struct newcomer {
    struct core_message message; /* first */
    int fd;
    enum listener_kind kind;
    uint64_t id;
};

static void adopt(struct core_message *m)
{
    struct newcomer *n = (struct newcomer *)m;
    struct core *c = core_self();
    struct session *s = session_create(c, n->fd, n->id);
    s->kind = n->kind;
    if (s->kind == LISTENER_TLS)
        session_tls_begin(c, s);
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

bool accept_allows(int allowed, const struct session *s)
{
    return allowed == DEBUG_YES || (allowed == DEBUG_LOCAL && s && accept_is_local(s->conn.fd));
}

static const char protected_text[] =
    "-DENIED Redis is running in protected mode because protected mode is enabled "
    "and no password is set for the default user. In this mode connections are only "
    "accepted from the loopback interface or a Unix socket. To connect from other "
    "hosts, set a password (requirepass, or ACL SETUSER default), or turn the "
    "protection off (CONFIG SET protected-mode no, from this machine) where the "
    "network itself is trusted.\r\n";

static bool is_protected_from(int fd)
{
    return server->config.protected_mode && acl_is_open(server->acl) && !accept_is_local(fd);
}

/* Over TLS nothing can be said yet. */
static void refuse(int fd, enum listener_kind kind, const char *text)
{
    /* One attempt: the buffer of a new socket takes it whole. */
    if (kind != LISTENER_TLS && send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_write(&server->log, LOG_DEBUG, "Cannot tell a client why it is refused");
    close(fd);
    atomic_fetch_add_explicit(&server->rejected_count, 1, memory_order_relaxed);
}

static bool admit(int fd, enum listener_kind kind)
{
    const struct config *config = &server->config;
    if (atomic_load_explicit(&server->session_count, memory_order_relaxed) >=
        (uint64_t)config->maxclients) {
        refuse(fd, kind, "-ERR max number of clients reached\r\n");
        return false;
    }
    if (kind != LISTENER_TLS && is_protected_from(fd)) {
        refuse(fd, kind, protected_text);
        return false;
    }
    return true;
}

void accept_greet(struct core *c, struct session *s)
{
    size_t mark;
    if (!is_protected_from(s->conn.fd))
        return;
    buf_append_text(session_reply_begin(c, s, &mark), protected_text);
    session_end(c, s, true);
    atomic_fetch_add_explicit(&server->rejected_count, 1, memory_order_relaxed);
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
    enum listener_kind kind = (enum listener_kind)tag;
    atomic_fetch_add_explicit(&server->accepted_count, 1, memory_order_relaxed);
    if (!admit(fd, kind))
        return;
    listener_prepare(fd, (unsigned)server->config.tcp_keepalive);
    uint32_t to = least_loaded(c);
    atomic_fetch_add_explicit(&server->session_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->cores[to]->load, 1, memory_order_relaxed);
    struct newcomer *n = mem_alloc(sizeof(*n));
    n->message.receive = adopt;
    n->fd = fd;
    n->kind = kind;
    n->id = atomic_fetch_add_explicit(&server->next_session_id, 1, memory_order_relaxed) + 1;
    core_post(c, to, &n->message);
}
