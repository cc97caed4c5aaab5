/* RDB: numbers and strings read.
 *
 * A length tells by its first two bits how it goes on:
 *
 *     00nnnnnn                  6 bits
 *     01nnnnnn + 1 byte         14 bits, big-endian
 *     10000000 + 4 bytes        32 bits, big-endian
 *     10000001 + 8 bytes        64 bits, big-endian
 *     11eeeeee                  no length: a string follows in a form of its own; 0, 1, 2: an
 *                               integer of 1, 2, 4 bytes; 3: LZF, its two lengths, its bytes
 *
 * Whatever ends too early leaves the reader where it was. */
#include "shard/rdb.h"

#include <liblzf/lzf.h>

#include "proto/number.h"
#include "shard/rdb_making.h"

enum { FORM_INTEGER_8, FORM_INTEGER_16, FORM_INTEGER_32, FORM_LZF, FORM_NONE = 64 };

/* Three bytes of LZF give 264 at most. */
#define LZF_RATIO_MAX 88

enum rdb_end rdb_corrupt(struct rdb_reader *r, const char *error)
{
    r->error = error;
    return RDB_CORRUPT;
}

static enum rdb_end take(struct rdb_reader *r, size_t size, const char **bytes)
{
    if ((size_t)(r->end - r->at) < size)
        return RDB_MORE;
    *bytes = r->at;
    r->at += size;
    return RDB_DONE;
}

enum rdb_end rdb_read_byte(struct rdb_reader *r, uint8_t *byte)
{
    if (r->at == r->end)
        return RDB_MORE;
    *byte = (uint8_t)*r->at++;
    return RDB_DONE;
}

enum rdb_end rdb_read_u32(struct rdb_reader *r, uint32_t *n)
{
    const char *bytes;
    enum rdb_end end = take(r, sizeof(*n), &bytes);
    if (end == RDB_DONE)
        memcpy(n, bytes, sizeof(*n));
    return end;
}

enum rdb_end rdb_read_u64(struct rdb_reader *r, uint64_t *n)
{
    const char *bytes;
    enum rdb_end end = take(r, sizeof(*n), &bytes);
    if (end == RDB_DONE)
        memcpy(n, bytes, sizeof(*n));
    return end;
}

static uint64_t big_endian(const char *bytes, size_t size)
{
    uint64_t n = 0;
    for (size_t i = 0; i < size; i++)
        n = n << 8 | (uint8_t)bytes[i];
    return n;
}

/* A length, or where *form becomes another than FORM_NONE a string's form (6 bits). */
static enum rdb_end read_head(struct rdb_reader *r, uint64_t *length, unsigned *form)
{
    *form = FORM_NONE;
    if (r->at == r->end)
        return RDB_MORE;
    uint8_t first = (uint8_t)*r->at;
    size_t size = 0; /* of what stands behind the first byte */
    if (first >> 6 == 1)
        size = 1;
    else if (first == 0x80)
        size = 4;
    else if (first == 0x81)
        size = 8;
    else if (first >> 6 == 2)
        return rdb_corrupt(r, "unknown form of a length");
    if ((size_t)(r->end - r->at) <= size)
        return RDB_MORE;
    *length = first & 0x3f;
    if (first >> 6 == 1)
        *length = *length << 8 | (uint8_t)r->at[1];
    else if (first >> 6 == 2)
        *length = big_endian(r->at + 1, size);
    else if (first >> 6 == 3)
        *form = first & 0x3f;
    r->at += 1 + size;
    return RDB_DONE;
}

enum rdb_end rdb_read_length(struct rdb_reader *r, uint64_t *length)
{
    const char *start = r->at;
    unsigned form;
    enum rdb_end end = read_head(r, length, &form);
    if (end == RDB_DONE && form != FORM_NONE) {
        r->at = start;
        return rdb_corrupt(r, "a string where a length should be");
    }
    return end;
}

static enum rdb_end read_integer(struct rdb_reader *r, unsigned form, struct buf *scratch)
{
    const char *bytes;
    int8_t narrow;
    int16_t middle;
    int32_t wide;
    enum rdb_end end = take(r, (size_t)1 << form, &bytes);
    if (end != RDB_DONE)
        return end;
    if (form == FORM_INTEGER_8) {
        memcpy(&narrow, bytes, sizeof(narrow));
        wide = narrow;
    } else if (form == FORM_INTEGER_16) {
        memcpy(&middle, bytes, sizeof(middle));
        wide = middle;
    } else {
        memcpy(&wide, bytes, sizeof(wide));
    }
    scratch->size = number_format_integer(buf_reserve(scratch, NUMBER_INTEGER_SIZE_MAX), wide);
    return RDB_DONE;
}

static enum rdb_end read_lzf(struct rdb_reader *r, struct buf *scratch)
{
    uint64_t packed, size;
    const char *bytes;
    enum rdb_end end = rdb_read_length(r, &packed);
    if (end == RDB_DONE)
        end = rdb_read_length(r, &size);
    if (end == RDB_DONE)
        end = take(r, packed, &bytes);
    if (end != RDB_DONE)
        return end;
    if (packed > UINT32_MAX || size > UINT32_MAX || size == 0 || size / LZF_RATIO_MAX > packed)
        return rdb_corrupt(r, "impossible lengths of a compressed string");
    char *to = buf_reserve(scratch, size);
    if (lzf_decompress(bytes, (unsigned)packed, to, (unsigned)size) != size)
        return rdb_corrupt(r, "a compressed string that does not unpack");
    scratch->size = size;
    return RDB_DONE;
}

enum rdb_end rdb_read_string(struct rdb_reader *r, struct buf *scratch, struct slice *s)
{
    const char *start = r->at;
    uint64_t size = 0;
    unsigned form;
    enum rdb_end end = read_head(r, &size, &form);
    if (end != RDB_DONE)
        return end;
    scratch->size = 0;
    if (form == FORM_NONE) {
        end = take(r, size, &s->data);
        s->size = size;
    } else if (form < FORM_LZF) {
        end = read_integer(r, form, scratch);
        *s = buf_slice(scratch);
    } else if (form == FORM_LZF) {
        end = read_lzf(r, scratch);
        *s = buf_slice(scratch);
    } else {
        end = rdb_corrupt(r, "unknown form of a string");
    }
    if (end == RDB_MORE)
        r->at = start;
    return end;
}

void rdb_value_deinit(struct rdb_value *v)
{
    if (v->type == TYPE_STRING)
        buf_deinit(&v->string);
    else
        value_free(&v->value);
    *v = (struct rdb_value){.type = TYPE_STRING};
}
