/* Ids of messages in a stream: milliseconds, then a number that tells apart what came in one of
 * them; both are unsigned and 64 bits wide. Their order is that of (ms, seq). */
#pragma once

#include "proto/slice.h"

struct stream_id {
    uint64_t ms, seq;
};

/* Longest text: two numbers and the dash. */
#define STREAM_ID_SIZE_MAX 41
#define STREAM_ID_KEY_SIZE 16

#define STREAM_ID_MIN ((struct stream_id){0, 0})
#define STREAM_ID_MAX ((struct stream_id){UINT64_MAX, UINT64_MAX})

/* Below, at or above 0 as a is before, at or after b. */
static inline int stream_id_compare(struct stream_id a, struct stream_id b)
{
    if (a.ms != b.ms)
        return a.ms < b.ms ? -1 : 1;
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

static inline bool stream_id_equal(struct stream_id a, struct stream_id b)
{
    return a.ms == b.ms && a.seq == b.seq;
}

static inline bool stream_id_is_zero(struct stream_id id)
{
    return id.ms == 0 && id.seq == 0;
}

/* Makes it the next one, or the one before; false, leaving it alone, where there is none. */
bool stream_id_increment(struct stream_id *id);
bool stream_id_decrement(struct stream_id *id);

/* "ms-seq", or "ms" alone: then seq becomes `missing_seq`. False where it is no such text. */
bool stream_id_parse(struct slice text, uint64_t missing_seq, struct stream_id *id);
/* As it is, with "-" and "+" for the smallest and the largest one. */
bool stream_id_parse_bound(struct slice text, uint64_t missing_seq, struct stream_id *id);
/* "ms-seq" to STREAM_ID_SIZE_MAX bytes; returns how many were written. */
size_t stream_id_format(char *to, struct stream_id id);

/* The id as a key whose bytes sort as ids do: big-endian. */
static inline void stream_id_write_key(unsigned char key[STREAM_ID_KEY_SIZE], struct stream_id id)
{
    uint64_t words[2] = {__builtin_bswap64(id.ms), __builtin_bswap64(id.seq)};
    memcpy(key, words, sizeof(words));
}

static inline struct stream_id stream_id_of_key(const unsigned char key[STREAM_ID_KEY_SIZE])
{
    uint64_t words[2];
    memcpy(words, key, sizeof(words));
    return (struct stream_id){__builtin_bswap64(words[0]), __builtin_bswap64(words[1])};
}
