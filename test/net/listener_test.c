/* Listening sockets: what they are set to, and what is said when they cannot be had. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char why[200];

static int open_on(const char *address, unsigned port)
{
    why[0] = '\0';
    return listener_open(address, port, 16, why, sizeof(why));
}

static unsigned port_of(int fd)
{
    char name[80];
    unsigned port = 0;
    listener_own_name(fd, name, sizeof(name));
    cr_assert_eq(sscanf(strrchr(name, ':'), ":%u", &port), 1, "%s", name);
    return port;
}

static int connect_to(int family, unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port),
        .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(family, SOCK_STREAM, 0);
    int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&in, sizeof(in))
                               : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
    cr_assert_eq(rc, 0, "%s", strerror(errno));
    return fd;
}

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t size = sizeof(value);
    cr_assert_eq(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

Test(listener, accepts_on_an_address_and_on_all)
{
    const char *addresses[] = {"127.0.0.1", "*"};
    for (int i = 0; i < 2; i++) {
        int fd = open_on(addresses[i], 0);
        cr_assert_geq(fd, 0, "%s", why);
        cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
        cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        int client = connect_to(AF_INET, port_of(fd));
        int server = accept(fd, NULL, NULL);
        cr_assert_geq(server, 0);
        close(server);
        close(client);
        close(fd);
    }
}

Test(listener, names_both_ends)
{
    char peer[80], own[80];
    int fd = open_on("127.0.0.1", 0);
    int client = connect_to(AF_INET, port_of(fd));
    int server = accept(fd, NULL, NULL);
    listener_peer_name(server, peer, sizeof(peer));
    listener_own_name(client, own, sizeof(own));
    cr_assert_str_eq(peer, own);
    cr_assert_eq(strncmp(peer, "127.0.0.1:", 10), 0, "%s", peer);
    close(server);
    close(client);
    close(fd);
}

Test(listener, writes_ipv6_in_brackets)
{
    char name[80];
    int fd = open_on("::*", 0);
    if (fd < 0)
        cr_skip_test("no IPv6 here: %s", why);
    cr_assert_eq(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    listener_own_name(fd, name, sizeof(name));
    cr_assert_eq(strncmp(name, "[::]:", 5), 0, "%s", name);
    close(fd);
}

Test(listener, has_a_name_for_what_is_no_connection)
{
    char name[80];
    listener_peer_name(-1, name, sizeof(name));
    cr_assert_str_eq(name, "?:0");
}

Test(listener, says_that_a_port_is_taken)
{
    int fd = open_on("127.0.0.1", 0);
    unsigned port = port_of(fd);
    char expected[200];
    snprintf(expected, sizeof(expected),
             "port %u is in use by another program: stop it or choose another with --port", port);
    cr_assert_eq(open_on("127.0.0.1", port), -1);
    cr_assert_str_eq(why, expected);
    close(fd);
}

Test(listener, says_what_is_wrong_with_an_address)
{
    cr_assert_eq(open_on("no host:", 0), -1);
    cr_assert_not_null(strstr(why, "'no host:' is neither"), "%s", why);
    cr_assert_not_null(strstr(why, "--bind"), "%s", why);
    cr_assert_eq(open_on("192.0.2.1", 0), -1);
    cr_assert_not_null(strstr(why, "does not belong to this machine"), "%s", why);
    cr_assert_eq(open_on("127.0.0.1", 65536), -1);
    cr_assert_not_null(strstr(why, "out of range"), "%s", why);
}

Test(listener, prepares_accepted_sockets)
{
    int fd = open_on("127.0.0.1", 0);
    int client = connect_to(AF_INET, port_of(fd));
    int server = accept(fd, NULL, NULL);
    listener_prepare(server, 300);
    cr_assert(fcntl(server, F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(server, F_GETFD) & FD_CLOEXEC);
    cr_assert_neq(option(server, IPPROTO_TCP, TCP_NODELAY), 0);
    cr_assert_neq(option(server, SOL_SOCKET, SO_KEEPALIVE), 0);
    cr_assert_eq(option(server, IPPROTO_TCP, TCP_KEEPIDLE), 300);
    cr_assert_eq(option(server, IPPROTO_TCP, TCP_KEEPINTVL), 100);
    listener_prepare(client, 0);
    cr_assert_eq(option(client, SOL_SOCKET, SO_KEEPALIVE), 0);
    close(server);
    close(client);
    close(fd);
}
