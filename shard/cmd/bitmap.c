/* Bitmaps: strings seen as arrays of bits. GETBIT, SETBIT, BITCOUNT, BITPOS.
 *
 * Bit 0 is the most significant bit of byte 0. A missing key, and all that lies beyond a string's
 * end, reads as zeros. Counting and searching take a range of bits; a range of bytes is turned
 * into one first, so the partial bytes at both ends are dealt with in one place each. */
#include "shard/cmd/bitmap.h"

#include "proto/number.h"

bool bitmap_read_offset(struct call *c, uint32_t arg, unsigned width, uint64_t *offset)
{
    struct slice text = c->argv[arg];
    bool in_fields = width > 0 && text.size > 0 && text.data[0] == '#';
    if (in_fields)
        text = (struct slice){text.data + 1, text.size - 1};
    int64_t value;
    bool valid = number_parse_integer(text, &value) && value >= 0;
    if (valid && in_fields)
        valid = !__builtin_mul_overflow(value, (int64_t)width, &value);
    if (!valid || (uint64_t)value >> 3 >= c->keyspace->options.bulk_size_max) {
        reply_error(&c->reply, "ERR bit offset is not an integer or out of range");
        return false;
    }
    *offset = (uint64_t)value;
    return true;
}

struct bitmap_bytes bitmap_make_room(struct place *p, uint64_t last)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    size_t size = p->entry ? db_string(p, scratch).size : 0;
    size_t needed = (size_t)(last >> 3) + 1;
    bool grown = size < needed;
    if (grown)
        size = needed;
    return (struct bitmap_bytes){(unsigned char *)db_string_bytes(p, size), size, grown};
}

static void getbit_run(struct call *c)
{
    uint64_t offset;
    if (!bitmap_read_offset(c, 2, 0, &offset))
        return;

    struct place p = db_find(c, 1, DB_READ);
    if (p.entry && !db_is_string(&p)) {
        reply_error_wrong_type(&c->reply);
        return;
    }
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice value = p.entry ? db_string(&p, scratch) : (struct slice){NULL, 0};
    unsigned char byte = offset >> 3 < value.size ? (unsigned char)value.data[offset >> 3] : 0;

    reply_integer(&c->reply, byte >> (7 - (offset & 7)) & 1);
}

static void setbit_run(struct call *c)
{
    uint64_t offset;
    if (!bitmap_read_offset(c, 2, 0, &offset))
        return;
    int64_t bit;
    if (!number_parse_integer(c->argv[3], &bit) || (bit & ~(int64_t)1)) {
        reply_error(&c->reply, "ERR bit is not an integer or out of range");
        return;
    }

    struct place p = db_find(c, 1, DB_WRITE);
    if (p.entry && !db_is_string(&p)) {
        reply_error_wrong_type(&c->reply);
        return;
    }
    struct bitmap_bytes bytes = bitmap_make_room(&p, offset);
    unsigned char *byte = bytes.data + (offset >> 3);
    unsigned shift = 7 - (offset & 7);
    int64_t before = *byte >> shift & 1;
    *byte = (unsigned char)((*byte & ~(1u << shift)) | (unsigned)bit << shift);
    if (bytes.grown || before != bit) {
        db_changed(c, &p);
        db_notify(&p, NOTIFY_STRING, "setbit");
    }

    reply_integer(&c->reply, before);
}

/* Eight bytes a step. Inlined into a body for each instruction set. */
static inline __attribute__((always_inline)) uint64_t count_words(const unsigned char *p,
                                                                  size_t size)
{
    uint64_t count = 0;
    uint64_t word;
    for (; size >= sizeof(word); p += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        count += (uint64_t)__builtin_popcountll(word);
    }
    for (; size; p++, size--)
        count += (uint64_t)__builtin_popcountll(*p);
    return count;
}

#ifdef __x86_64__
/* The x86-64 baseline has no POPCNT; any machine since 2008 does. */
__attribute__((target("popcnt"))) static uint64_t count_with_popcnt(const unsigned char *p,
                                                                    size_t size)
{
    return count_words(p, size);
}
#endif

static uint64_t count_bytes(const unsigned char *p, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("popcnt"))
        return count_with_popcnt(p, size);
#endif
    return count_words(p, size);
}

/* Both ends of a range of bits are inclusive, and inside the string. */
struct bit_range {
    uint64_t first;
    uint64_t last;
};

/* The bits of the first and the last byte that belong to the range. */
static unsigned first_mask(struct bit_range r)
{
    return 0xffu >> (r.first & 7);
}

static unsigned last_mask(struct bit_range r)
{
    return 0xffu << (7 - (r.last & 7)) & 0xffu;
}

static uint64_t count_bits(const unsigned char *p, struct bit_range r)
{
    uint64_t from = r.first >> 3, to = r.last >> 3;
    if (from == to)
        return (uint64_t)__builtin_popcount(p[from] & first_mask(r) & last_mask(r));
    return (uint64_t)__builtin_popcount(p[from] & first_mask(r)) +
           count_bytes(p + from + 1, to - from - 1) +
           (uint64_t)__builtin_popcount(p[to] & last_mask(r));
}

/* The first bit of the range that is `bit`, or -1. Looks for a one in the string, or in its
 * complement. */
static int64_t find_bit(const unsigned char *p, struct bit_range r, bool bit)
{
    const unsigned flip = bit ? 0 : 0xff;
    const uint64_t nothing = bit ? 0 : UINT64_MAX;
    uint64_t from = r.first >> 3, to = r.last >> 3;
    for (uint64_t i = from; i <= to; i++) {
        uint64_t word;
        while (to - i >= sizeof(word)) {
            memcpy(&word, p + i, sizeof(word));
            if (word != nothing)
                break;
            i += sizeof(word);
        }
        unsigned byte = p[i] ^ flip;
        if (i == from)
            byte &= first_mask(r);
        if (i == to)
            byte &= last_mask(r);
        if (byte)
            return (int64_t)(i * 8) + __builtin_clz(byte) - ((int)sizeof(unsigned) - 1) * 8;
    }
    return -1;
}

/* A range as a client gives it: inclusive, negative indexes counting from the end. */
struct index_range {
    int64_t start;
    int64_t end;
    bool in_bits;
};

static bool read_unit(struct call *c, uint32_t arg, bool *in_bits)
{
    *in_bits = call_arg_is(c, arg, "bit");
    if (*in_bits || call_arg_is(c, arg, "byte"))
        return true;
    reply_error_syntax(&c->reply);
    return false;
}

/* False where no bit of a string of `size` bytes is in the range. */
static bool resolve_range(struct index_range r, size_t size, struct bit_range *bits)
{
    int64_t total = (int64_t)size * (r.in_bits ? 8 : 1);
    if (r.start < 0)
        r.start = r.start + total > 0 ? r.start + total : 0;
    if (r.end < 0)
        r.end = r.end + total > 0 ? r.end + total : 0;
    if (r.end >= total)
        r.end = total - 1;
    if (r.start > r.end)
        return false;
    uint64_t unit = r.in_bits ? 1 : 8;
    *bits = (struct bit_range){(uint64_t)r.start * unit, (uint64_t)r.end * unit + unit - 1};
    return true;
}

/* The key of BITCOUNT or BITPOS, as bytes. Redis answers for a missing key, or one of another type,
 * before it looks at the range; false when that was done. */
static bool read_string(struct call *c, int64_t when_missing, struct slice *value, char *scratch)
{
    struct place p = db_find(c, 1, DB_READ);
    if (!p.entry) {
        reply_integer(&c->reply, when_missing);
        return false;
    }
    if (!db_is_string(&p)) {
        reply_error_wrong_type(&c->reply);
        return false;
    }
    *value = db_string(&p, scratch);
    return true;
}

/* Two indexes from the end in the wrong order stay an empty range however short the string is,
 * where clamping would make both of them 0. */
static bool is_inverted(struct index_range r)
{
    return r.end < 0 && r.start < 0 && r.start > r.end;
}

static bool read_count_range(struct call *c, struct index_range *r)
{
    *r = (struct index_range){0, -1, false};
    if (c->argc == 2)
        return true;
    if (c->argc != 4 && c->argc != 5) {
        reply_error_syntax(&c->reply);
        return false;
    }
    if (!call_arg_integer(c, 2, &r->start) || !call_arg_integer(c, 3, &r->end))
        return false;
    /* Redis has its answer here, before it looks at the unit. */
    return c->argc == 4 || is_inverted(*r) || read_unit(c, 4, &r->in_bits);
}

static void bitcount_run(struct call *c)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice value;
    struct index_range range;
    if (!read_string(c, 0, &value, scratch) || !read_count_range(c, &range))
        return;

    struct bit_range bits;
    uint64_t count = 0;
    if (!is_inverted(range) && resolve_range(range, value.size, &bits))
        count = count_bits((const unsigned char *)value.data, bits);

    reply_integer(&c->reply, (int64_t)count);
}

static bool read_search_range(struct call *c, struct index_range *r)
{
    *r = (struct index_range){0, -1, false};
    if (c->argc > 6) {
        reply_error_syntax(&c->reply);
        return false;
    }
    return (c->argc < 4 || call_arg_integer(c, 3, &r->start)) &&
           (c->argc < 6 || read_unit(c, 5, &r->in_bits)) &&
           (c->argc < 5 || call_arg_integer(c, 4, &r->end));
}

static void bitpos_run(struct call *c)
{
    int64_t bit;
    if (!call_arg_integer(c, 2, &bit))
        return;
    if (bit & ~(int64_t)1) {
        reply_error(&c->reply, "ERR The bit argument must be 1 or 0.");
        return;
    }
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct slice value;
    struct index_range range;
    if (!read_string(c, bit ? -1 : 0, &value, scratch) || !read_search_range(c, &range))
        return;

    struct bit_range bits;
    int64_t position = -1;
    if (resolve_range(range, value.size, &bits)) {
        position = find_bit((const unsigned char *)value.data, bits, bit);
        /* Without an end the string is followed by zeros. */
        if (position < 0 && !bit && c->argc < 5)
            position = (int64_t)value.size * 8;
    }

    reply_integer(&c->reply, position);
}

const struct command bitmap_commands[] = {
    {
        .name = "bitcount",
        .run = bitcount_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_BITMAP,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "bitmap",
        .since = "2.6.0",
        .complexity = "O(N)",
        .syntax = "key [start end [BYTE | BIT]]",
        .summary = "Counts the bits that are set in a string.",
    },
    {
        .name = "bitpos",
        .run = bitpos_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_BITMAP,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "bitmap",
        .since = "2.8.7",
        .complexity = "O(N)",
        .syntax = "key bit [start [end [BYTE | BIT]]]",
        .summary = "Finds the first set or the first clear bit of a string.",
    },
    {
        .name = "getbit",
        .run = getbit_run,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_BITMAP,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "bitmap",
        .since = "2.2.0",
        .complexity = "O(1)",
        .syntax = "key offset",
        .summary = "Returns one bit of a string.",
    },
    {
        .name = "setbit",
        .run = setbit_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_BITMAP,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "bitmap",
        .since = "2.2.0",
        .complexity = "O(1)",
        .syntax = "key offset value",
        .summary = "Sets or clears one bit of a string, creating or lengthening it as needed.",
    },
    {0},
};
