/* FUNCTION DUMP's payload: see function_dump.h. */
#include "server/script/function_dump.h"

#include <liblzf/lzf.h>
#include <limits.h>

#include "proto/crc64.h"
#include "proto/number.h"

#define OPCODE_FUNCTION 245
#define OPCODE_FUNCTION_OLD 246 /* of release candidates of 7.0 */
#define VERSION_WRITTEN 10      /* 7.0's: the payload is the same since */
#define VERSION_MAX 11          /* 7.2's */

/* What a length's first byte says in its two highest bits, or as a whole. */
#define LENGTH_14_BITS 0x40
#define LENGTH_32_BITS 0x80
#define LENGTH_64_BITS 0x81
#define ENCODED_INT8 0xc0
#define ENCODED_INT16 0xc1
#define ENCODED_INT32 0xc2
#define ENCODED_LZF 0xc3

/* Shorter texts do not get shorter; and what saves less than that is left as it is. */
#define COMPRESS_MIN 21
#define COMPRESS_SAVES_MIN 4
/* Three bytes of LZF stand for so many at most. */
#define LZF_RUN_MAX 264

/* --- Writing --- */

static void put_bytes(struct buf *to, uint64_t bits, unsigned size)
{
    char *p = buf_reserve(to, size);
    for (unsigned i = 0; i < size; i++)
        p[i] = (char)(bits >> 8 * (size - 1 - i));
    to->size += size;
}

static void put_length(struct buf *to, uint64_t length)
{
    if (length < 1U << 6) {
        put_bytes(to, length, 1);
    } else if (length < 1U << 14) {
        put_bytes(to, LENGTH_14_BITS << 8 | length, 2);
    } else if (length <= UINT32_MAX) {
        put_bytes(to, LENGTH_32_BITS, 1);
        put_bytes(to, length, 4);
    } else {
        put_bytes(to, LENGTH_64_BITS, 1);
        put_bytes(to, length, 8);
    }
}

/* False where that saves nothing. */
static bool put_compressed(struct buf *to, struct slice s)
{
    if (s.size < COMPRESS_MIN || s.size > UINT_MAX)
        return false;
    struct buf packed;
    buf_init(&packed);
    unsigned room = (unsigned)s.size - COMPRESS_SAVES_MIN;
    packed.size = lzf_compress(s.data, (unsigned)s.size, buf_reserve(&packed, room), room);
    if (packed.size) {
        put_bytes(to, ENCODED_LZF, 1);
        put_length(to, packed.size);
        put_length(to, s.size);
        buf_append_slice(to, buf_slice(&packed));
    }
    bool done = packed.size > 0;
    buf_deinit(&packed);
    return done;
}

/* A library's text begins with its first line: it is never one of the short integers that the
 * format has a form for. */
static void put_string(struct buf *to, struct slice s, bool compress)
{
    if (compress && put_compressed(to, s))
        return;
    put_length(to, s.size);
    buf_append_slice(to, s);
}

static void put_low_first(struct buf *to, uint64_t bits, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        put_bytes(to, bits >> 8 * i & 0xff, 1);
}

void function_dump(const struct functions *f, bool compress, struct buf *to)
{
    for (uint32_t i = 0; i < f->library_count; i++) {
        put_bytes(to, OPCODE_FUNCTION, 1);
        put_string(to, f->libraries[i]->code, compress);
    }
    put_low_first(to, VERSION_WRITTEN, 2);
    put_low_first(to, crc64(0, buf_slice(to)), 8);
}

/* --- Reading --- */

static uint64_t low_first(const char *bytes, unsigned size)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < size; i++)
        bits |= (uint64_t)(unsigned char)bytes[i] << 8 * i;
    return bits;
}

bool function_payload_open(struct function_payload *p, struct slice payload)
{
    if (payload.size < FUNCTION_DUMP_FOOTER_SIZE)
        return false;
    p->left = (struct slice){payload.data, payload.size - FUNCTION_DUMP_FOOTER_SIZE};
    const char *footer = payload.data + p->left.size;
    if (low_first(footer, 2) > VERSION_MAX)
        return false;
    return low_first(footer + 2, 8) == crc64(0, (struct slice){payload.data, p->left.size + 2});
}

static bool take(struct slice *from, uint64_t size, struct slice *taken)
{
    if (from->size < size)
        return false;
    *taken = (struct slice){from->data, (size_t)size};
    *from = (struct slice){from->data + size, from->size - (size_t)size};
    return true;
}

static bool take_number(struct slice *from, unsigned size, uint64_t *number)
{
    struct slice bytes;
    if (!take(from, size, &bytes))
        return false;
    *number = 0;
    for (unsigned i = 0; i < size; i++)
        *number = *number << 8 | (unsigned char)bytes.data[i];
    return true;
}

/* `encoded` (or NULL: not allowed here): the first byte, where it says an encoding instead. */
static bool take_length(struct slice *from, uint64_t *length, unsigned *encoded)
{
    uint64_t first, low;
    if (!take_number(from, 1, &first))
        return false;
    if (encoded)
        *encoded = 0;
    if (first < LENGTH_14_BITS) {
        *length = first;
        return true;
    }
    if (first < LENGTH_32_BITS) {
        if (!take_number(from, 1, &low))
            return false;
        *length = (first & 0x3f) << 8 | low;
        return true;
    }
    if (first >= ENCODED_INT8 && encoded)
        *encoded = (unsigned)first;
    if (first >= ENCODED_INT8)
        return encoded != NULL;
    return (first == LENGTH_32_BITS && take_number(from, 4, length)) ||
           (first == LENGTH_64_BITS && take_number(from, 8, length));
}

static bool read_compressed(struct slice *from, struct buf *to)
{
    uint64_t packed_size, size;
    struct slice packed;
    bool fits = take_length(from, &packed_size, NULL) && take_length(from, &size, NULL) &&
                take(from, packed_size, &packed) && packed_size <= UINT_MAX && size > 0 &&
                size <= packed_size * LZF_RUN_MAX && size <= UINT_MAX;
    if (!fits)
        return false;
    to->size = lzf_decompress(packed.data, (unsigned)packed.size, buf_reserve(to, size),
                              (unsigned)size);
    return to->size == size;
}

static bool read_integer(struct slice *from, unsigned size, struct buf *to)
{
    struct slice bytes;
    if (!take(from, size, &bytes))
        return false;
    unsigned unused = 64 - 8 * size;
    int64_t n = (int64_t)(low_first(bytes.data, size) << unused) >> unused;
    to->size = number_format_integer(buf_reserve(to, NUMBER_INTEGER_SIZE_MAX), n);
    return true;
}

static bool read_string(struct slice *from, struct buf *to)
{
    uint64_t length;
    unsigned encoded;
    struct slice bytes;
    if (!take_length(from, &length, &encoded))
        return false;
    switch (encoded) {
    case 0:
        if (!take(from, length, &bytes))
            return false;
        buf_append_slice(to, bytes);
        return true;
    case ENCODED_INT8:
        return read_integer(from, 1, to);
    case ENCODED_INT16:
        return read_integer(from, 2, to);
    case ENCODED_INT32:
        return read_integer(from, 4, to);
    case ENCODED_LZF:
        return read_compressed(from, to);
    default:
        return false;
    }
}

bool function_payload_next(struct function_payload *p, struct buf *code, struct buf *error)
{
    uint64_t opcode;
    code->size = 0;
    if (!take_number(&p->left, 1, &opcode))
        return false;
    if (opcode == OPCODE_FUNCTION_OLD) {
        buf_append_text(error, "Pre-GA function format not supported");
        return false;
    }
    if (opcode != OPCODE_FUNCTION) {
        buf_append_text(error, "given type is not a function");
        return false;
    }
    if (read_string(&p->left, code))
        return true;
    buf_append_text(error, "Failed loading library payload");
    return false;
}
