/* Fuzzes the request parser: a stream must be read alike whole, byte by byte and in odd pieces.
 *
 * The first input byte picks the limits and the second the pieces; the rest is the stream. Build:
 *
 *     clang -D_GNU_SOURCE -DLASCA_SYSTEM_MALLOC -I. -g -O1 -fsanitize=fuzzer,address,undefined \
 *         test/fuzz/resp_fuzz.c proto/resp.c proto/number.c proto/buf.c proto/mem.c -lm */
#include "test/proto/resp_transcript.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct resp_limits all_limits[] = {
    {.bulk_size_max = 512u << 20, .args_count_max = INT32_MAX, .inline_size_max = 64 << 10},
    {.bulk_size_max = 16384, .args_count_max = 10, .inline_size_max = 64 << 10},
    {.bulk_size_max = 20, .args_count_max = INT32_MAX, .inline_size_max = 16},
    {.bulk_size_max = UINT64_MAX, .args_count_max = INT32_MAX, .inline_size_max = 32},
};

static size_t next_odd(void *state, size_t have)
{
    uint32_t *seed = state;
    *seed = *seed * 1664525 + 1013904223;
    return have + 1 + (*seed >> 16) % 23;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct resp_limits *limits =
        &all_limits[data[0] % (sizeof(all_limits) / sizeof(all_limits[0]))];
    uint32_t seed = data[1];
    struct slice stream = {(const char *)data + 2, size - 2};
    const struct pieces ways[] = {{pieces_next_byte, NULL}, {next_odd, &seed}};
    struct buf whole;
    buf_init(&whole);
    transcript_write(&whole, stream, (struct pieces){pieces_next_whole, NULL}, limits);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct buf parts;
        buf_init(&parts);
        transcript_write(&parts, stream, ways[i], limits);
        assert(slice_equal(buf_slice(&whole), buf_slice(&parts)));
        buf_deinit(&parts);
    }
    buf_deinit(&whole);
    return 0;
}
