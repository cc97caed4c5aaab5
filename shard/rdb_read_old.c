/* RDB: packed encodings of older versions read.
 *
 * Ziplists (all of lists, hashes, sorted sets before Redis 7), source: the format's description in
 * "Redis RDB Dump File Format" and the RDB files of those versions; numbers little-endian:
 *
 *     bytes 4, offset of the last entry 4, entries 2 (65535: count them), entries, 0xff
 *     an entry: the size of the entry before it (1 byte, or 254 and 4 bytes), then
 *     00nnnnnn                 a string of n bytes
 *     01nnnnnn + 1 byte        ... of a size of 14 bits, big-endian
 *     10...... + 4 bytes       ... of 32 bits, big-endian
 *     11000000 11010000 11100000 11110000 11111110
 *                              integers of 2, 4, 8, 3 and 1 bytes
 *     1111nnnn                 the integer n - 1, n from 1 to 13
 *
 * Zipmaps (small hashes before Redis 2.6): pairs (255: count them when 254 or more), then for each
 * a field's size (1 byte, or 254 and 4 bytes), the field, a value's size in the same way, a byte
 * that says how many unused bytes follow the value, the value, those; 0xff at the end.
 *
 * Both are walked forward once; whatever does not fit together is malformed. */
#include "proto/mem.h"
#include "shard/rdb_making.h"
#include "shard/type/hash.h"
#include "shard/type/listpack.h"

#define ZIPLIST_HEADER_SIZE 10u
#define END_BYTE 0xffu
#define WIDE_SIZE 254u
#define COUNT_UNKNOWN 65535u
#define ZIPMAP_COUNT_UNKNOWN 254u

struct ziplist_walk {
    const unsigned char *bytes;
    size_t at, end; /* the end byte's place */
    size_t last;    /* where the entry before this one is */
    uint64_t count;
};

static uint32_t load_32(const unsigned char *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

/* A little-endian integer of 1 to 8 bytes, its sign spread. */
static int64_t load_integer(const unsigned char *from, size_t size)
{
    uint64_t value = 0;
    memcpy((char *)&value + (sizeof(value) - size), from, size);
    return (int64_t)value >> (8 * (sizeof(value) - size));
}

/* A size of 1 byte, or of 5: what both forms have. Returns how many; 0 where it ends too early. */
static size_t read_size(const unsigned char *from, size_t left, uint64_t *size)
{
    if (left == 0 || *from == END_BYTE)
        return 0;
    *size = *from;
    if (*from < WIDE_SIZE)
        return 1;
    if (left < 5)
        return 0;
    *size = load_32(from + 1);
    return 5;
}

/* What the entry's encoding, with `left` bytes from it on, says: bytes of the encoding, and of data
 * behind. 0 where there is no such encoding. */
static size_t read_encoding(const unsigned char *e, size_t left, uint64_t *data)
{
    if (*e < 0x40) {
        *data = *e;
        return 1;
    }
    if (*e < 0x80) {
        *data = left < 2 ? 0 : (uint64_t)(*e & 0x3f) << 8 | e[1];
        return left < 2 ? 0 : 2;
    }
    if (*e < 0xc0) {
        *data = left < 5 ? 0 : __builtin_bswap32(load_32(e + 1));
        return left < 5 ? 0 : 5;
    }
    switch (*e) {
    case 0xc0:
        *data = 2;
        return 1;
    case 0xd0:
        *data = 4;
        return 1;
    case 0xe0:
        *data = 8;
        return 1;
    case 0xf0:
        *data = 3;
        return 1;
    case 0xfe:
        *data = 1;
        return 1;
    default:
        *data = 0;
        return *e >= 0xf1 && *e <= 0xfd;
    }
}

static bool unpack_entry(struct ziplist_walk *w, unsigned char **lp)
{
    const unsigned char *from = w->bytes + w->at;
    size_t left = w->end - w->at;
    uint64_t before, data;
    size_t head = read_size(from, left, &before);
    if (head == 0 || head == left || before != w->at - w->last)
        return false;
    const unsigned char *encoding = from + head;
    size_t encoded = read_encoding(encoding, left - head, &data);
    if (encoded == 0 || left - head - encoded < data)
        return false;
    const unsigned char *bytes = encoding + encoded;
    if (!listpack_has_room(*lp, data))
        return false;
    if (*encoding < 0xc0)
        listpack_append(lp, (struct slice){(const char *)bytes, data});
    else if (data > 0)
        listpack_append_integer(lp, load_integer(bytes, data));
    else
        listpack_append_integer(lp, (*encoding & 0x0f) - 1);
    w->last = w->at;
    w->at += head + encoded + data;
    w->count++;
    return true;
}

unsigned char *rdb_unpack_ziplist(struct slice s)
{
    const unsigned char *bytes = (const unsigned char *)s.data;
    if (s.size < ZIPLIST_HEADER_SIZE + 1 || s.size > LISTPACK_SIZE_MAX ||
        load_32(bytes) != s.size || bytes[s.size - 1] != END_BYTE)
        return NULL;
    struct ziplist_walk w = {bytes, ZIPLIST_HEADER_SIZE, s.size - 1, ZIPLIST_HEADER_SIZE, 0};
    unsigned char *lp = listpack_create(s.size + s.size / 8);
    bool good = true;
    while (good && w.at < w.end)
        good = unpack_entry(&w, &lp);
    uint16_t count;
    memcpy(&count, bytes + 8, sizeof(count));
    good = good && load_32(bytes + 4) == w.last && (count == COUNT_UNKNOWN || count == w.count);
    if (good)
        return mem_realloc(lp, listpack_size(lp));
    mem_free(lp);
    return NULL;
}

/* Field or value; `spare`: of a value, whose unused bytes are passed over. */
static bool read_zipmap_string(struct slice *left, bool spare, struct slice *s)
{
    uint64_t size;
    size_t head = read_size((const unsigned char *)left->data, left->size, &size);
    uint64_t unused = 0;
    if (head == 0)
        return false;
    if (spare && left->size == head)
        return false;
    if (spare)
        unused = (unsigned char)left->data[head++];
    if (left->size - head < size || left->size - head - size < unused)
        return false;
    *s = (struct slice){left->data + head, size};
    size_t whole = head + size + unused;
    *left = (struct slice){left->data + whole, left->size - whole};
    return true;
}

enum rdb_end rdb_read_zipmap(struct rdb_making *m)
{
    struct slice bytes, field, value;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &bytes);
    if (end != RDB_DONE)
        return end;
    if (bytes.size < 2 || (unsigned char)bytes.data[bytes.size - 1] != END_BYTE)
        return rdb_corrupt(m->r, "malformed zipmap");
    struct slice left = {bytes.data + 1, bytes.size - 2};
    uint64_t pairs = 0;
    rdb_begin(m, TYPE_HASH);
    for (; left.size > 0 && end == RDB_DONE; pairs++) {
        if (!read_zipmap_string(&left, false, &field) || !read_zipmap_string(&left, true, &value))
            return rdb_corrupt(m->r, "malformed zipmap");
        end = rdb_add_field(m, field, value, HASH_NO_EXPIRY);
    }
    unsigned char count = (unsigned char)bytes.data[0];
    if (end == RDB_DONE && count < ZIPMAP_COUNT_UNKNOWN && count != pairs)
        return rdb_corrupt(m->r, "malformed zipmap");
    return end;
}
