/* What serializing costs: ns a key and MB/s of a snapshot's sweep over small strings and over
 * collections of all kinds, with and without compression; and of skipping what was written, which
 * is the loader's inner loop. The best of several rounds each. */
#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "shard/rdb.h"
#include "shard/snapshot.h"
#include "test/shard/cmd_driver.h"

#define KEYS 300000u
#define ELEMENTS 300000u
#define ROUNDS 5u
#define STEP_SIZE ((size_t)65536)
#define PIECE_SIZE ((size_t)1 << 20)

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t skip_all(struct slice piece, uint64_t *records)
{
    struct rdb_reader r = {.at = piece.data, .end = piece.data + piece.size};
    uint64_t start = now_ns();
    while (r.at < r.end) {
        uint8_t type = (uint8_t)*r.at++;
        if (type == RDB_OP_SELECT_DB) {
            r.at++;
            continue;
        }
        enum rdb_end end = rdb_skip_string(&r);
        assert(end == RDB_DONE);
        end = rdb_skip_value(&r, type);
        assert(end == RDB_DONE);
        ++*records;
    }
    return now_ns() - start;
}

struct figures {
    uint64_t sweep_ns, skip_ns, records;
    size_t bytes;
};

static struct figures sweep(struct shard *s, bool compress)
{
    struct figures f = {0};
    struct buf piece = {0};
    struct snapshot_piece at;
    snapshot_begin(s, &(struct snapshot_options){.compress = compress});
    for (bool more = true; more;) {
        uint64_t start = now_ns();
        do
            more = snapshot_step(s, STEP_SIZE);
        while (more && snapshot_output_size(s) < PIECE_SIZE);
        f.sweep_ns += now_ns() - start;
        snapshot_take_output(s, &piece, &at);
        f.bytes += piece.size;
        f.skip_ns += skip_all(buf_slice(&piece), &f.records);
        buf_deinit(&piece);
    }
    return f;
}

static void measure(struct world *w, const char *name, uint64_t elements)
{
    for (int compress = 0; compress < 2; compress++) {
        struct figures best = {.sweep_ns = UINT64_MAX, .skip_ns = UINT64_MAX};
        for (uint32_t i = 0; i < ROUNDS; i++) {
            struct figures f = sweep(&w->shards[0], compress);
            best.bytes = f.bytes;
            best.sweep_ns = f.sweep_ns < best.sweep_ns ? f.sweep_ns : best.sweep_ns;
            best.skip_ns = f.skip_ns < best.skip_ns ? f.skip_ns : best.skip_ns;
        }
        printf("%-28s %-4s %7.1f ns each %8.0f MB/s %8.1f MB   skipped %6.1f ns each\n", name,
               compress ? "LZF" : "", (double)best.sweep_ns / (double)elements,
               (double)best.bytes * 1e3 / (double)best.sweep_ns, (double)best.bytes / 1e6,
               (double)best.skip_ns / (double)elements);
    }
    world_run(w, "FLUSHALL");
}

/* `format` has the number once, or twice. */
static void fill(struct world *w, const char *format, uint32_t count)
{
    char line[512];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(line, sizeof(line), format, i, i * 2654435761u);
        world_run(w, line);
    }
}

int main(void)
{
    static struct world w;
    world_init(&w, 1);
    fill(&w, "SET key:%08u %u", KEYS);
    measure(&w, "integers", KEYS);
    fill(&w, "SET key:%08u value-%010u", KEYS);
    measure(&w, "strings of 16 bytes", KEYS);
    fill(&w, "SET key:%08u {\"id\":%010u,\"name\":\"some_one\",\"mail\":\"someone@example.org\"}",
         KEYS);
    measure(&w, "strings of 70 bytes", KEYS);
    fill(&w, "HSET key:%08u name some_one mail some_one@example.org visits %u", KEYS);
    measure(&w, "packed hashes", KEYS);
    fill(&w, "RPUSH list element:%08u:%010u", ELEMENTS);
    measure(&w, "elements of a list", ELEMENTS);
    fill(&w, "SADD set member:%08u", ELEMENTS);
    measure(&w, "members of a set", ELEMENTS);
    fill(&w, "ZADD zset %2$u member:%1$08u", ELEMENTS);
    measure(&w, "members of a sorted set", ELEMENTS);
    fill(&w, "HSET hash field:%08u value:%010u", ELEMENTS);
    measure(&w, "fields of a hash", ELEMENTS);
    world_deinit(&w);
}
