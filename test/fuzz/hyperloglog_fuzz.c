/* Fuzzes what reads HyperLogLogs that clients wrote: no bytes may lead beyond the string, and all
 * ways of reading a sketch must agree on whether it is one.
 *
 * The first input byte says how many of the last bytes are elements to add; the rest is the string.
 * Build:
 *
 *     clang -D_GNU_SOURCE -DLASCA_SYSTEM_MALLOC -I. -g -O1 -fsanitize=fuzzer,address,undefined \
 *         test/fuzz/hyperloglog_fuzz.c shard/type/hyperloglog.c proto/mem.c -lm */
#include <assert.h>

#include "proto/mem.h"
#include "shard/type/hyperloglog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned char *resize(void *owner, size_t size)
{
    unsigned char **bytes = owner;
    return *bytes = mem_realloc(*bytes, size);
}

static struct slice bytes_of(const struct hyperloglog *h)
{
    return (struct slice){(const char *)h->bytes, h->size};
}

/* Whether the sketch is well-formed: every reader says the same. */
static bool read_all_ways(const struct hyperloglog *h)
{
    struct hyperloglog_registers r = {.at = {0}};
    uint64_t count;
    bool well = hyperloglog_count(bytes_of(h), &count);
    bool merges = hyperloglog_merge(&r, bytes_of(h));
    assert(well == merges);
    if (well)
        assert(count == hyperloglog_count_registers(&r));
    struct hyperloglog_run run;
    uint64_t covered = 0;
    if (!hyperloglog_is_dense(bytes_of(h)))
        for (size_t at = HYPERLOGLOG_HEADER_SIZE; hyperloglog_run_at(bytes_of(h), at, &run);
             at += run.size)
            covered += run.length;
    assert(!well || hyperloglog_is_dense(bytes_of(h)) || covered == HYPERLOGLOG_REGISTERS);
    return well;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t elements = data[0] < size - 1 ? data[0] : size - 1;
    struct slice given = {(const char *)data + 1, size - 1 - elements};
    if (!hyperloglog_is(given))
        return 0;
    unsigned char *bytes = mem_alloc(given.size);
    memcpy(bytes, given.data, given.size);
    struct hyperloglog h = {bytes, given.size, given.size + 20, resize, &bytes};

    bool well = read_all_ways(&h);
    for (size_t i = 0; i < elements; i++) {
        struct slice element = {(const char *)data + size - 1 - i, 1};
        enum hyperloglog_result result = hyperloglog_add(&h, element);
        assert(!well || result != HYPERLOGLOG_CORRUPT);
    }
    assert(read_all_ways(&h) == well);
    enum hyperloglog_result result = hyperloglog_densify(&h);
    assert((result != HYPERLOGLOG_CORRUPT) == well);
    mem_free(bytes);
    return 0;
}
