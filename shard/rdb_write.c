/* RDB: numbers, strings and the heads of records written.
 *
 * A length takes 1, 2, 5 or 9 bytes; its first two bits say which. Where both are set a string in a
 * special form follows: an integer of 1, 2 or 4 bytes, or one compressed with LZF. */
#include <assert.h>
#include <liblzf/lzf.h>

#include "proto/number.h"
#include "shard/db.h"
#include "shard/rdb.h"

#define LENGTH_SIZE_MAX 9u
#define SPECIAL 0xc0
enum special { SPECIAL_INT8, SPECIAL_INT16, SPECIAL_INT32, SPECIAL_LZF };

/* The text of the smallest integer of 32 bits. */
#define INTEGER_SIZE_MAX 11u
/* A shorter string is not worth the work, a compressed one that does not save as much neither. */
#define COMPRESS_SIZE_MIN 21u
#define COMPRESS_SAVING_MIN 4u
/* Before a compressed string: the special byte and both sizes. */
#define COMPRESSED_HEAD_MAX (1 + 2 * LENGTH_SIZE_MAX)

static size_t put_length(char *to, uint64_t length)
{
    if (length < 1u << 6) {
        to[0] = (char)length;
        return 1;
    }
    if (length < 1u << 14) {
        to[0] = (char)(0x40 | length >> 8);
        to[1] = (char)length;
        return 2;
    }
    if (length <= UINT32_MAX) {
        uint32_t big_endian = __builtin_bswap32((uint32_t)length);
        to[0] = (char)0x80;
        memcpy(to + 1, &big_endian, sizeof(big_endian));
        return 1 + sizeof(big_endian);
    }
    uint64_t big_endian = __builtin_bswap64(length);
    to[0] = (char)0x81;
    memcpy(to + 1, &big_endian, sizeof(big_endian));
    return LENGTH_SIZE_MAX;
}

void rdb_write_length(struct buf *out, uint64_t length)
{
    out->size += put_length(buf_reserve(out, LENGTH_SIZE_MAX), length);
}

void rdb_write_byte(struct buf *out, uint8_t byte)
{
    buf_append(out, &byte, 1);
}

void rdb_write_u64(struct buf *out, uint64_t n)
{
    buf_append(out, &n, sizeof(n));
}

/* 0 where it takes more than 32 bits. */
static size_t put_integer(char *to, int64_t n)
{
    int32_t narrow = (int32_t)n;
    if (narrow != n)
        return 0;
    bool fits8 = n == (int8_t)n, fits16 = n == (int16_t)n;
    to[0] = (char)(SPECIAL | (fits8 ? SPECIAL_INT8 : fits16 ? SPECIAL_INT16 : SPECIAL_INT32));
    size_t size = fits8 ? 1 : fits16 ? 2 : 4;
    memcpy(to + 1, &narrow, size);
    return 1 + size;
}

/* 0 where it does not get shorter. `to` has room for as many bytes as the string, and a head. The
 * size of the head is known only afterwards, so what is behind it is put right then. */
static size_t put_compressed(char *to, struct slice s)
{
    char *body = to + COMPRESSED_HEAD_MAX;
    unsigned packed = lzf_compress(s.data, (unsigned)s.size, body,
                                   (unsigned)(s.size - COMPRESS_SAVING_MIN));
    if (packed == 0)
        return 0;
    to[0] = (char)(SPECIAL | SPECIAL_LZF);
    size_t head = 1 + put_length(to + 1, packed);
    head += put_length(to + head, s.size);
    memmove(to + head, body, packed);
    return head + packed;
}

void rdb_write_string(struct buf *out, struct slice s, bool compress)
{
    char *to = buf_reserve(out, s.size + COMPRESSED_HEAD_MAX);
    size_t size = 0;
    int64_t n;
    if (s.size <= INTEGER_SIZE_MAX) {
        if (number_parse_integer(s, &n))
            size = put_integer(to, n);
    } else if (compress && s.size >= COMPRESS_SIZE_MIN && s.size <= UINT32_MAX) {
        size = put_compressed(to, s);
    }
    if (size == 0) {
        size = put_length(to, s.size);
        if (s.size)
            memcpy(to + size, s.data, s.size);
        size += s.size;
    }
    out->size += size;
}

void rdb_write_integer(struct buf *out, int64_t n)
{
    size_t size = put_integer(buf_reserve(out, 1 + sizeof(int32_t)), n);
    out->size += size;
    if (size == 0) {
        char text[NUMBER_INTEGER_SIZE_MAX];
        rdb_write_string(out, (struct slice){text, number_format_integer(text, n)}, false);
    }
}

void rdb_write_compressed(struct buf *out, struct slice packed, size_t size)
{
    rdb_write_byte(out, SPECIAL | SPECIAL_LZF);
    rdb_write_length(out, packed.size);
    rdb_write_length(out, size);
    buf_append_slice(out, packed);
}

void rdb_write_head(struct buf *out, const struct entry *e, int64_t now_ms,
                    const struct keyspace_options *options, bool lru, bool compress)
{
    if (entry_expires(e)) {
        rdb_write_byte(out, RDB_OP_EXPIRE_MS);
        rdb_write_u64(out, (uint64_t)entry_expiry(e));
    }
    if (options->lfu) {
        rdb_write_byte(out, RDB_OP_FREQ);
        rdb_write_byte(out, (uint8_t)db_clock_frequency(options, e->clock, now_ms));
    } else if (lru) {
        rdb_write_byte(out, RDB_OP_IDLE);
        rdb_write_length(out, db_clock_idle_s(e->clock, now_ms));
    }
    rdb_write_byte(out, rdb_type_of_entry(e));
    rdb_write_string(out, entry_key(e), compress);
}
