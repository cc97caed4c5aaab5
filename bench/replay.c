/* Sends requests made beforehand and reads their replies, for bench/run: as little as a client can
 * do, so that one thread of it keeps a server busy, also over ten thousand connections.
 *
 *   replay PORT CONNECTIONS ROUNDS|SECONDSs REQUESTS [SUBSCRIBERS HEARD_SIZE SUBSCRIBE]
 *
 * The file REQUESTS holds pieces: two words of 32 bits in this machine's order, the sizes of the
 * request and of its reply, then the request. A piece may be a pipeline. Every connection sends
 * one, awaits its reply, and sends the next, until all together have done ROUNDS, or SECONDS have
 * passed. SUBSCRIBERS further connections send the file SUBSCRIBE, await some answer, and hear
 * HEARD_SIZE bytes each afterwards: the run ends when they have heard it all.
 *
 * When all are connected it says "connected" and awaits a line, or the end, of its input. At last
 * it prints one line: rounds done, seconds, and of the rounds' times the percentiles 50, 99 and
 * 99.9 in microseconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define STALL_MS 20000

/* Times in buckets: 64 for each power of two, so that a percentile is off by less than 2 %. */
#define STEP_BITS 6
#define BUCKETS (64 << STEP_BITS)

struct piece {
    const char *request;
    uint32_t size, reply_size;
};

struct connection {
    int fd;
    bool subscriber;
    size_t next;     /* which piece is sent next */
    uint64_t wanted; /* bytes still to come before the connection's round, or its life, is over */
    uint64_t began_ns;
};

struct run {
    int epoll;
    uint16_t port;
    size_t connection_count, subscriber_count;
    struct connection *connections; /* the subscribers behind the others */
    uint64_t rounds_left, rounds_done;
    uint64_t begin_ns, end_ns; /* no round begins after the end; zero: ROUNDS decide */
    size_t busy;               /* connections that wait for something */
    struct piece *pieces;
    size_t piece_count;
    uint64_t heard_size;
    uint64_t times[BUCKETS];
};

static void fail(const char *what)
{
    fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static size_t bucket_of(uint64_t ns)
{
    if (ns < 2 << STEP_BITS)
        return ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - STEP_BITS;
    return ((size_t)shift << STEP_BITS) + (ns >> shift);
}

static uint64_t bucket_ns(size_t bucket)
{
    if (bucket < 2 << STEP_BITS)
        return bucket;
    unsigned shift = (unsigned)(bucket >> STEP_BITS) - 1;
    return (uint64_t)(bucket - ((size_t)shift << STEP_BITS)) << shift;
}

static double percentile_us(const struct run *r, double part)
{
    uint64_t below = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        below += r->times[i];
        if (below >= (double)r->rounds_done * part)
            return (double)bucket_ns(i) / 1000;
    }
    return 0;
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

static void read_pieces(struct run *r, const char *path)
{
    size_t size;
    const char *bytes = read_file(path, &size);
    for (size_t at = 0; at < size;) {
        struct piece piece;
        memcpy(&piece.size, bytes + at, sizeof(piece.size));
        memcpy(&piece.reply_size, bytes + at + sizeof(piece.size), sizeof(piece.reply_size));
        piece.request = bytes + at + 2 * sizeof(piece.size);
        at += 2 * sizeof(piece.size) + piece.size;
        if ((r->piece_count & (r->piece_count - 1)) == 0)
            r->pieces = realloc(r->pieces, (2 * r->piece_count + 1) * sizeof(*r->pieces));
        if (!r->pieces)
            fail("pieces");
        r->pieces[r->piece_count++] = piece;
    }
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

static void begin_round(struct run *r, struct connection *c, uint64_t now)
{
    if (r->end_ns ? now >= r->end_ns : r->rounds_left == 0) {
        r->busy--;
        return;
    }
    r->rounds_left--;
    const struct piece *piece = &r->pieces[c->next];
    c->wanted = piece->reply_size;
    c->began_ns = now;
    send_all(c->fd, piece->request, piece->size);
    c->next = (c->next + 1) % r->piece_count;
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
    if (c->subscriber) {
        r->busy--;
        return;
    }
    uint64_t now = now_ns();
    r->times[bucket_of(now - c->began_ns)]++;
    r->rounds_done++;
    begin_round(r, c, now);
}

static void watch(struct run *r, struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        fail("epoll_ctl");
    r->busy++;
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
    }
    free(request);
}

static void connect_all(struct run *r)
{
    for (size_t i = 0; i < r->connection_count; i++) {
        struct connection *c = &r->connections[i];
        *c = (struct connection){
            .fd = connect_to(r->port), .next = i * r->piece_count / r->connection_count};
        watch(r, c);
    }
}

static void await_word(void)
{
    char word[16];
    puts("connected");
    fflush(stdout);
    while (read(STDIN_FILENO, word, sizeof(word)) < 0 && errno == EINTR)
        continue;
}

static void go_on(struct run *r)
{
    struct epoll_event events[EVENTS_MAX];
    for (size_t i = 0; i < r->connection_count; i++)
        begin_round(r, &r->connections[i], now_ns());
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
    if (argc != 5 && argc != 8) {
        fprintf(stderr, "replay: 4 or 7 arguments, see the file's head\n");
        return 2;
    }
    struct run *r = calloc(1, sizeof(*r));
    r->epoll = epoll_create1(0);
    r->port = (uint16_t)atoi(argv[1]);
    r->connection_count = strtoul(argv[2], NULL, 10);
    char *unit;
    uint64_t length = strtoull(argv[3], &unit, 10);
    r->rounds_left = *unit ? UINT64_MAX : length;
    read_pieces(r, argv[4]);
    if (argc == 8) {
        r->subscriber_count = strtoul(argv[5], NULL, 10);
        r->heard_size = strtoull(argv[6], NULL, 10);
    }
    r->connections = calloc(r->connection_count + r->subscriber_count, sizeof(*r->connections));
    if (argc == 8)
        subscribe_all(r, argv[7]);
    connect_all(r);
    await_word();
    r->begin_ns = now_ns();
    r->end_ns = *unit ? r->begin_ns + length * 1000000000 : 0;
    go_on(r);
    printf("%llu %.6f %.1f %.1f %.1f\n", (unsigned long long)r->rounds_done,
           (double)(now_ns() - r->begin_ns) / 1e9, percentile_us(r, 0.5), percentile_us(r, 0.99),
           percentile_us(r, 0.999));
    return 0;
}
