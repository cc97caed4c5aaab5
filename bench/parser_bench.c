/* What parsing a request and encoding a reply cost, in nanoseconds each.
 *
 * The requests are those of a typical load: GET and SET with a 16-byte key and a 32-byte value,
 * alone and fifty deep in one buffer. Each line is the best of many rounds of CPU time, each well
 * under a scheduler's time slice: on a shared host that is the figure least disturbed by others.
 * Nothing is asserted about time; compare runs on one host.
 *
 *     parser_bench [rounds] */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/mem.h"
#include "proto/reply.h"
#include "proto/resp.h"

#define ROUNDS_DEFAULT 300
#define COMMANDS_PER_ROUND 20000
#define ARGS_MAX 8
#define PIPELINE_DEPTH 50

static const struct resp_limits limits = {512u << 20, INT32_MAX, 64 << 10};

static const char get[] = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n";
static const char set[] = "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000012345\r\n"
                          "$32\r\nvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n";
static const char ping[] = "PING\r\n";

struct subject {
    const char *name;
    /* Handles COMMANDS_PER_ROUND items; the sum keeps the work from being optimized away. */
    size_t (*run)(const struct subject *s);
    const char *request;                       /* parsed, */
    size_t depth;                              /* so many of it in the buffer; or */
    void (*encode)(struct reply *r, size_t i); /* the i-th reply is encoded */
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* What a session does with a command: its arguments become slices. Out of line, and hidden from the
 * optimizer, so that the copy is made. */
__attribute__((noinline)) static size_t copy_args(const struct resp_parser *p, struct slice *to)
{
    assert(p->args_count <= ARGS_MAX);
    for (uint32_t i = 0; i < p->args_count; i++)
        to[i] = (struct slice){p->base + p->args[i].offset, p->args[i].size};
    __asm__ volatile("" : : "r"(to) : "memory");
    return p->args_count;
}

/* Parses a buffer over and over, as a session does one after another. */
static size_t run_parser(const struct subject *s)
{
    size_t unit = strlen(s->request), size = unit * s->depth;
    char *data = mem_alloc(size);
    for (size_t i = 0; i < s->depth; i++)
        memcpy(data + i * unit, s->request, unit);
    struct resp_parser p;
    resp_init(&p);
    struct slice args[ARGS_MAX];
    size_t sum = 0;
    for (size_t done = 0; done < COMMANDS_PER_ROUND;) {
        for (size_t at = 0; at < size; at += p.consumed, done++) {
            enum resp_status status = resp_parse(&p, data + at, size - at, &limits);
            assert(status == RESP_COMMAND);
            sum += copy_args(&p, args);
        }
    }
    resp_deinit(&p);
    mem_free(data);
    return sum;
}

/* Encodes into a buffer that is emptied now and then, as a session's is at each flush. */
static size_t run_replies(const struct subject *s)
{
    struct buf out;
    buf_init(&out);
    struct reply r = {.out = &out, .protocol = 2};
    size_t sum = 0;
    for (size_t done = 0; done < COMMANDS_PER_ROUND; done++) {
        if (done % PIPELINE_DEPTH == 0) {
            sum += out.size;
            out.size = 0;
        }
        s->encode(&r, done);
    }
    buf_deinit(&out);
    return sum;
}

static void encode_bulk(struct reply *r, size_t i)
{
    reply_bulk(r, SLICE("vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"));
}

static void encode_integer(struct reply *r, size_t i)
{
    reply_integer(r, (int64_t)i);
}

static void encode_ok(struct reply *r, size_t i)
{
    reply_ok(r);
}

static void encode_double(struct reply *r, size_t i)
{
    reply_double(r, (double)i + 0.25);
}

int main(int argc, char **argv)
{
    static const struct subject subjects[] = {
        {"parse+copy GET", run_parser, get, 1},
        {"parse+copy SET", run_parser, set, 1},
        {"parse+copy GET, x50", run_parser, get, PIPELINE_DEPTH},
        {"parse+copy SET, x50", run_parser, set, PIPELINE_DEPTH},
        {"parse+copy inline", run_parser, ping, 1},
        {"reply bulk of 32", run_replies, .encode = encode_bulk},
        {"reply integer", run_replies, .encode = encode_integer},
        {"reply OK", run_replies, .encode = encode_ok},
        {"reply double", run_replies, .encode = encode_double},
    };
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS_DEFAULT;
    size_t sum = 0;
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        double best = 1e18;
        for (int round = 0; round < rounds; round++) {
            double start = now_ns();
            sum += subjects[i].run(&subjects[i]);
            double took = (now_ns() - start) / COMMANDS_PER_ROUND;
            best = took < best ? took : best;
        }
        printf("%-20s %6.1f ns\n", subjects[i].name, best);
    }
    return sum == 0;
}
