/* Listening sockets: opening them, naming their ends, and the sentences for what goes wrong. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct endpoint {
    struct sockaddr_storage at;
    socklen_t size;
};

static bool parse_ipv4(struct endpoint *e, const char *address, unsigned port)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&e->at;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    in->sin_addr.s_addr = htonl(INADDR_ANY);
    e->size = sizeof(*in);
    return strcmp(address, "*") == 0 || inet_pton(AF_INET, address, &in->sin_addr) == 1;
}

static bool parse_ipv6(struct endpoint *e, const char *address, unsigned port)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&e->at;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_addr = in6addr_any;
    e->size = sizeof(*in6);
    return strcmp(address, "::*") == 0 || inet_pton(AF_INET6, address, &in6->sin6_addr) == 1;
}

/* A host's name stands for its first IPv4 address, as with Redis. */
static bool resolve(struct endpoint *e, const char *name, unsigned port)
{
    struct addrinfo hints = {
        .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE,
    };
    struct addrinfo *found;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return false;
    memcpy(&e->at, found->ai_addr, found->ai_addrlen);
    ((struct sockaddr_in *)&e->at)->sin_port = htons(port);
    e->size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool parse(struct endpoint *e, const char *address, unsigned port)
{
    memset(e, 0, sizeof(*e));
    if (parse_ipv4(e, address, port))
        return true;
    memset(e, 0, sizeof(*e));
    if (parse_ipv6(e, address, port))
        return true;
    memset(e, 0, sizeof(*e));
    return resolve(e, address, port);
}

static void explain(int error, const char *address, unsigned port, char *why, size_t why_size)
{
    switch (error) {
    case EADDRINUSE:
        snprintf(why, why_size,
                 "port %u is in use by another program: stop it or choose another with --port",
                 port);
        return;
    case EACCES:
        snprintf(why, why_size,
                 "port %u may not be opened by this user: choose one above 1023 with --port, "
                 "or grant CAP_NET_BIND_SERVICE",
                 port);
        return;
    case EADDRNOTAVAIL:
        snprintf(why, why_size,
                 "address %s does not belong to this machine: correct it with --bind", address);
        return;
    case EAFNOSUPPORT:
        snprintf(why, why_size,
                 "address %s is of a kind that is switched off on this machine: "
                 "leave it out of --bind",
                 address);
        return;
    case EMFILE:
    case ENFILE:
        snprintf(why, why_size, "no file descriptor is left: raise the limit with ulimit -n");
        return;
    default:
        snprintf(why, why_size,
                 "cannot listen on %s, port %u: %s: choose another with --bind or --port",
                 address, port, strerror(error));
    }
}

static bool set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

/* Returns a socket, or -1 with errno set. */
static int open_at(const struct endpoint *e, unsigned backlog)
{
    int fd = socket(e->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    bool ready = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
                 (e->at.ss_family != AF_INET6 || set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) &&
                 bind(fd, (const struct sockaddr *)&e->at, e->size) == 0 &&
                 listen(fd, (int)backlog) == 0;
    if (ready)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int listener_open(const char *address, unsigned port, unsigned backlog, char *why, size_t why_size)
{
    struct endpoint e;
    if (port > 65535) {
        snprintf(why, why_size, "port %u is out of range: choose one up to 65535 with --port",
                 port);
        errno = EINVAL;
        return -1;
    }
    if (!parse(&e, address, port)) {
        snprintf(why, why_size,
                 "'%s' is neither an IPv4 or IPv6 address nor the name of a host: give one with "
                 "--bind, or * for all",
                 address);
        errno = EINVAL;
        return -1;
    }
    int fd = open_at(&e, backlog);
    if (fd < 0) {
        int error = errno;
        explain(error, address, port, why, why_size);
        errno = error;
    }
    return fd;
}

/* What a server that was killed has left behind is removed; a socket that somebody listens on, or a
 * file of another kind, is not. */
static bool remove_stale(const struct sockaddr_un *at)
{
    struct stat st;
    if (lstat(at->sun_path, &st) != 0)
        return true;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool lives = fd >= 0 && (connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 ||
                             errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    errno = EADDRINUSE;
    return !lives && unlink(at->sun_path) == 0;
}

/* Nobody can connect before listen: until then the permissions are settled. */
static int open_unix_at(const struct sockaddr_un *at, unsigned mode, unsigned backlog)
{
    if (!remove_stale(at))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) == 0) {
        if ((mode == 0 || chmod(at->sun_path, mode) == 0) && listen(fd, (int)backlog) == 0)
            return fd;
        unlink(at->sun_path);
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int listener_open_unix(const char *path, unsigned mode, unsigned backlog, char *why,
                       size_t why_size)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    int fd = -1;
    if (size >= sizeof(at.sun_path)) {
        errno = ENAMETOOLONG;
    } else {
        memcpy(at.sun_path, path, size + 1);
        fd = open_unix_at(&at, mode, backlog);
    }
    if (fd < 0) {
        int error = errno;
        snprintf(why, why_size, "%s: %s: choose another path with --unixsocket", path,
                 error == EADDRINUSE ? "another program listens there"
                 : error == EEXIST   ? "a file that is no socket is there"
                                     : strerror(error));
        errno = error;
    }
    return fd;
}

bool listener_mark(int fd, unsigned mark)
{
    return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0;
}

void listener_prepare(int fd, unsigned keepalive_s)
{
    fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    /* Fails on a Unix socket, which has no such delay. */
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keepalive_s == 0)
        return;
    /* The first probe after the time given, then three more in as much time again. */
    int between_s = keepalive_s >= 3 ? (int)keepalive_s / 3 : 1;
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)keepalive_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, between_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

void listener_acknowledge(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
}

/* "?:0" where the peer is gone, or the family is none of ours. */
static void write_name(const struct endpoint *e, char *to, size_t size)
{
    char text[INET6_ADDRSTRLEN];
    if (e->at.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&e->at;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
        snprintf(to, size, "%s:%u", text, ntohs(in->sin_port));
    } else if (e->at.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&e->at;
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
        snprintf(to, size, "[%s]:%u", text, ntohs(in6->sin6_port));
    } else if (e->at.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&e->at;
        snprintf(to, size, "%.*s:0", (int)sizeof(un->sun_path), un->sun_path);
    } else {
        snprintf(to, size, "?:0");
    }
}

void listener_own_name(int fd, char *to, size_t size)
{
    struct endpoint e = {.size = sizeof(e.at)};
    if (getsockname(fd, (struct sockaddr *)&e.at, &e.size) < 0)
        e.at.ss_family = AF_UNSPEC;
    write_name(&e, to, size);
}

/* Who connects to a Unix socket has no name of its own. */
void listener_peer_name(int fd, char *to, size_t size)
{
    struct endpoint e = {.size = sizeof(e.at)};
    if (getpeername(fd, (struct sockaddr *)&e.at, &e.size) < 0)
        e.at.ss_family = AF_UNSPEC;
    if (e.at.ss_family == AF_UNIX)
        listener_own_name(fd, to, size);
    else
        write_name(&e, to, size);
}
