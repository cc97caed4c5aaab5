/* Sends requests made beforehand and reads their replies, for bench/run: as little as a client can
 * do, so that one thread of it keeps a server busy.
 *
 *   replay PORT CONNECTIONS ROUNDS VARIANTS REPLY_SIZE REQUESTS [SUBSCRIBERS HEARD_SIZE SUBSCRIBE]
 *
 * The file REQUESTS holds VARIANTS pieces of the same size, each a pipeline whose replies are
 * REPLY_SIZE bytes. Every connection sends one, awaits its replies, and sends the next, until all
 * together have done ROUNDS. SUBSCRIBERS further connections send the file SUBSCRIBE, await some
 * answer, and hear HEARD_SIZE bytes each afterwards: the run ends when they have heard it all. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define STALL_MS 20000

struct connection {
    int fd;
    bool subscriber;
    size_t next;    /* which variant is sent next */
    uint64_t wanted; /* bytes still to come before the connection's round, or its life, is over */
};

struct run {
    int epoll;
    uint16_t port;
    size_t connection_count, subscriber_count;
    struct connection *connections; /* the subscribers behind the others */
    uint64_t rounds_left;
    size_t busy; /* connections that wait for something */
    const char *requests;
    size_t variant_size, variant_count;
    uint64_t reply_size, heard_size;
};

static void fail(const char *what)
{
    fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        fail(path);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size);
    if (!bytes || fread(bytes, 1, *size, f) != *size)
        fail(path);
    fclose(f);
    return bytes;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* The pipelines are small enough for the socket's buffer. */
static void send_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);
        if (n <= 0)
            fail("send");
        bytes += n;
        size -= (size_t)n;
    }
}

static void begin_round(struct run *r, struct connection *c)
{
    if (r->rounds_left == 0) {
        r->busy--;
        return;
    }
    r->rounds_left--;
    c->wanted = r->reply_size;
    send_all(c->fd, r->requests + c->next * r->variant_size, r->variant_size);
    c->next = (c->next + 1) % r->variant_count;
}

static void on_readable(struct run *r, struct connection *c)
{
    static char bytes[1 << 16];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        fail("recv");
    if ((uint64_t)n > c->wanted) {
        fprintf(stderr, "replay: more came than was asked for: %.*s\n", n < 200 ? (int)n : 200,
                bytes);
        exit(1);
    }
    c->wanted -= (uint64_t)n;
    if (c->wanted)
        return;
    if (c->subscriber)
        r->busy--;
    else
        begin_round(r, c);
}

static void watch(struct run *r, struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        fail("epoll_ctl");
}

static void subscribe_all(struct run *r, const char *path)
{
    size_t size;
    char *request = read_file(path, &size);
    for (size_t i = 0; i < r->subscriber_count; i++) {
        struct connection *c = &r->connections[r->connection_count + i];
        char answer[4096];
        *c = (struct connection){
            .fd = connect_to(r->port), .subscriber = true, .wanted = r->heard_size};
        send_all(c->fd, request, size);
        if (recv(c->fd, answer, sizeof(answer), 0) <= 0)
            fail("recv");
        watch(r, c);
        r->busy++;
    }
    free(request);
}

static void connect_all(struct run *r)
{
    for (size_t i = 0; i < r->connection_count; i++) {
        struct connection *c = &r->connections[i];
        *c = (struct connection){
            .fd = connect_to(r->port), .next = i * r->variant_count / r->connection_count};
        watch(r, c);
        r->busy++;
    }
}

static void go_on(struct run *r)
{
    struct epoll_event events[EVENTS_MAX];
    while (r->busy) {
        int n = epoll_wait(r->epoll, events, EVENTS_MAX, STALL_MS);
        if (n == 0) {
            fprintf(stderr, "replay: %zu connections wait in vain\n", r->busy);
            exit(1);
        }
        for (int i = 0; i < n; i++)
            on_readable(r, events[i].data.ptr);
    }
}

int main(int argc, char **argv)
{
    if (argc != 7 && argc != 10) {
        fprintf(stderr, "replay: 6 or 9 arguments, see the file's head\n");
        return 2;
    }
    size_t size;
    char *requests = read_file(argv[6], &size);
    struct run r = {
        .epoll = epoll_create1(0),
        .port = (uint16_t)atoi(argv[1]),
        .connection_count = strtoul(argv[2], NULL, 10),
        .rounds_left = strtoull(argv[3], NULL, 10),
        .variant_count = strtoul(argv[4], NULL, 10),
        .reply_size = strtoull(argv[5], NULL, 10),
        .requests = requests,
    };
    r.variant_size = size / r.variant_count;
    if (argc == 10) {
        r.subscriber_count = strtoul(argv[7], NULL, 10);
        r.heard_size = strtoull(argv[8], NULL, 10);
    }
    r.connections = calloc(r.connection_count + r.subscriber_count, sizeof(*r.connections));
    if (argc == 10)
        subscribe_all(&r, argv[9]);
    connect_all(&r);
    for (size_t i = 0; i < r.connection_count; i++)
        begin_round(&r, &r.connections[i]);
    go_on(&r);
    free(r.connections);
    free(requests);
    return 0;
}
