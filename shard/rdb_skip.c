/* RDB: the extent of values, without making them.
 *
 * The loader cuts a file into records by these functions, so they are its inner loop: they look at
 * lengths alone, and touch no byte that they need not. Every loop takes at least one byte a round,
 * or ends: a count that lies costs no more than the bytes there are. */
#include "shard/rdb.h"

#define ID_KEY_SIZE 16u /* of a message: ms, seq, big-endian */
#define TIME_SIZE 8u

/* The first byte of an old score of which no text follows. */
#define SCORE_NAN 253u

enum module_part {
    MODULE_END = 0, MODULE_SIGNED = 1, MODULE_UNSIGNED = 2, MODULE_FLOAT = 3, MODULE_DOUBLE = 4,
    MODULE_STRING = 5,
};

static enum rdb_end corrupt(struct rdb_reader *r, const char *error)
{
    r->error = error;
    return RDB_CORRUPT;
}

/* `n` may be what a file says. */
static inline enum rdb_end skip_bytes(struct rdb_reader *r, uint64_t n)
{
    if (n > (uint64_t)(r->end - r->at))
        return RDB_MORE;
    r->at += n;
    return RDB_DONE;
}

static enum rdb_end read_long_length(struct rdb_reader *r, uint64_t *length)
{
    unsigned char first = (unsigned char)*r->at;
    size_t size = first == 0x80 ? 4 : 8;
    if (first != 0x80 && first != 0x81)
        return corrupt(r, "Unknown length encoding");
    if ((size_t)(r->end - r->at) < 1 + size)
        return RDB_MORE;
    if (size == 4) {
        uint32_t big_endian;
        memcpy(&big_endian, r->at + 1, size);
        *length = __builtin_bswap32(big_endian);
    } else {
        uint64_t big_endian;
        memcpy(&big_endian, r->at + 1, size);
        *length = __builtin_bswap64(big_endian);
    }
    r->at += 1 + size;
    return RDB_DONE;
}

/* Lengths below 64 and 16384 here, the others apart. */
static inline enum rdb_end read_length(struct rdb_reader *r, uint64_t *length)
{
    if (r->at == r->end)
        return RDB_MORE;
    unsigned char first = (unsigned char)*r->at;
    if (first < 0x40) {
        *length = first;
        r->at++;
        return RDB_DONE;
    }
    if (first < 0x80) {
        if (r->end - r->at < 2)
            return RDB_MORE;
        *length = (uint64_t)(first & 0x3f) << 8 | (unsigned char)r->at[1];
        r->at += 2;
        return RDB_DONE;
    }
    return read_long_length(r, length);
}

/* An integer, or bytes compressed. */
static enum rdb_end skip_special(struct rdb_reader *r)
{
    unsigned special = (unsigned char)*r->at++ & 0x3f;
    if (special < 3)
        return skip_bytes(r, 1u << special);
    if (special > 3)
        return corrupt(r, "Unknown string encoding");
    uint64_t packed, size;
    enum rdb_end end = read_length(r, &packed);
    if (end == RDB_DONE)
        end = read_length(r, &size);
    return end == RDB_DONE ? skip_bytes(r, packed) : end;
}

static inline enum rdb_end skip_string(struct rdb_reader *r)
{
    if (r->at == r->end)
        return RDB_MORE;
    if ((unsigned char)*r->at >= 0xc0)
        return skip_special(r);
    uint64_t size;
    enum rdb_end end = read_length(r, &size);
    return end == RDB_DONE ? skip_bytes(r, size) : end;
}

static inline enum rdb_end skip_lengths(struct rdb_reader *r, unsigned count)
{
    uint64_t ignored;
    enum rdb_end end = RDB_DONE;
    while (count-- > 0 && end == RDB_DONE)
        end = read_length(r, &ignored);
    return end;
}

/* As a text: the form of before version 8. */
static enum rdb_end skip_old_score(struct rdb_reader *r)
{
    if (r->at == r->end)
        return RDB_MORE;
    unsigned char size = (unsigned char)*r->at++;
    return size >= SCORE_NAN ? RDB_DONE : skip_bytes(r, size);
}

/* What each element of a collection is made of. */
enum element { ONE_STRING, TWO_STRINGS, OLD_SCORED, SCORED, CONTAINED, DATED_PAIR };

static inline enum rdb_end skip_element(struct rdb_reader *r, enum element element)
{
    enum rdb_end end = RDB_DONE;
    if (element == CONTAINED || element == DATED_PAIR)
        end = skip_lengths(r, 1);
    if (end == RDB_DONE)
        end = skip_string(r);
    if (end != RDB_DONE)
        return end;
    switch (element) {
    case TWO_STRINGS:
    case DATED_PAIR:
        return skip_string(r);
    case OLD_SCORED:
        return skip_old_score(r);
    case SCORED:
        return skip_bytes(r, sizeof(double));
    default:
        return RDB_DONE;
    }
}

static inline __attribute__((always_inline)) enum rdb_end skip_elements(struct rdb_reader *r,
                                                                        enum element element)
{
    uint64_t count;
    enum rdb_end end = read_length(r, &count);
    while (end == RDB_DONE && count-- > 0)
        end = skip_element(r, element);
    return end;
}

/* --- Streams --- */

/* Redis 5, 7.0, 7.2: each has more than the one before. */
enum stream_form { STREAM_FIRST, STREAM_COUNTED, STREAM_ACTIVE };

static enum rdb_end skip_pel(struct rdb_reader *r, bool whole)
{
    uint64_t count;
    enum rdb_end end = read_length(r, &count);
    while (end == RDB_DONE && count-- > 0) {
        end = skip_bytes(r, ID_KEY_SIZE + (whole ? TIME_SIZE : 0));
        if (end == RDB_DONE && whole)
            end = skip_lengths(r, 1);
    }
    return end;
}

static enum rdb_end skip_consumer(struct rdb_reader *r, enum stream_form form)
{
    enum rdb_end end = skip_string(r);
    if (end == RDB_DONE)
        end = skip_bytes(r, form >= STREAM_ACTIVE ? 2 * TIME_SIZE : TIME_SIZE);
    return end == RDB_DONE ? skip_pel(r, false) : end;
}

static enum rdb_end skip_group(struct rdb_reader *r, enum stream_form form)
{
    enum rdb_end end = skip_string(r);
    if (end == RDB_DONE)
        end = skip_lengths(r, form >= STREAM_COUNTED ? 3 : 2);
    if (end == RDB_DONE)
        end = skip_pel(r, true);
    uint64_t consumers = 0;
    if (end == RDB_DONE)
        end = read_length(r, &consumers);
    while (end == RDB_DONE && consumers-- > 0)
        end = skip_consumer(r, form);
    return end;
}

static enum rdb_end skip_stream(struct rdb_reader *r, enum stream_form form)
{
    enum rdb_end end = skip_elements(r, TWO_STRINGS);
    /* The count of messages and the last id; the first id, the highest deleted, the count ever
     * added. */
    if (end == RDB_DONE)
        end = skip_lengths(r, form >= STREAM_COUNTED ? 8 : 3);
    uint64_t groups = 0;
    if (end == RDB_DONE)
        end = read_length(r, &groups);
    while (end == RDB_DONE && groups-- > 0)
        end = skip_group(r, form);
    return end;
}

/* --- Modules --- */

static enum rdb_end skip_module_part(struct rdb_reader *r, uint64_t part)
{
    switch (part) {
    case MODULE_SIGNED:
    case MODULE_UNSIGNED:
        return skip_lengths(r, 1);
    case MODULE_FLOAT:
        return skip_bytes(r, sizeof(float));
    case MODULE_DOUBLE:
        return skip_bytes(r, sizeof(double));
    case MODULE_STRING:
        return skip_string(r);
    default:
        return corrupt(r, "Unknown part of a module's data");
    }
}

/* The module's id, then parts, each behind a length that says what it is. */
static enum rdb_end skip_module(struct rdb_reader *r)
{
    enum rdb_end end = skip_lengths(r, 1);
    while (end == RDB_DONE) {
        uint64_t part;
        end = read_length(r, &part);
        if (end == RDB_DONE && part == MODULE_END)
            break;
        if (end == RDB_DONE)
            end = skip_module_part(r, part);
    }
    return end;
}

/* --- Values --- */

static enum rdb_end skip_value(struct rdb_reader *r, uint8_t type)
{
    enum rdb_end end = RDB_DONE;
    switch ((enum rdb_type)type) {
    case RDB_STRING: case RDB_HASH_ZIPMAP: case RDB_LIST_ZIPLIST: case RDB_SET_INTSET:
    case RDB_ZSET_ZIPLIST: case RDB_HASH_ZIPLIST: case RDB_HASH_LISTPACK: case RDB_ZSET_LISTPACK:
    case RDB_SET_LISTPACK: case RDB_HASH_LISTPACK_EX_PRE:
        return skip_string(r);
    case RDB_LIST: case RDB_SET: case RDB_LIST_QUICKLIST:
        return skip_elements(r, ONE_STRING);
    case RDB_HASH:
        return skip_elements(r, TWO_STRINGS);
    case RDB_ZSET:
        return skip_elements(r, OLD_SCORED);
    case RDB_ZSET_2:
        return skip_elements(r, SCORED);
    case RDB_LIST_QUICKLIST_2:
        return skip_elements(r, CONTAINED);
    case RDB_HASH_LISTPACK_EX:
        end = skip_bytes(r, TIME_SIZE);
        return end == RDB_DONE ? skip_string(r) : end;
    case RDB_HASH_FIELDS:
        end = skip_bytes(r, TIME_SIZE);
        return end == RDB_DONE ? skip_elements(r, DATED_PAIR) : end;
    case RDB_HASH_FIELDS_PRE:
        return skip_elements(r, DATED_PAIR);
    case RDB_STREAM:
        return skip_stream(r, STREAM_FIRST);
    case RDB_STREAM_2:
        return skip_stream(r, STREAM_COUNTED);
    case RDB_STREAM_3:
        return skip_stream(r, STREAM_ACTIVE);
    case RDB_MODULE_2:
        return skip_module(r);
    case RDB_MODULE:
        return corrupt(r, "A module's value of before Redis 4.0, whose extent nobody can tell");
    }
    return corrupt(r, "Unknown RDB encoding type");
}

/* Where it ended early nothing was read. */
static inline enum rdb_end ended(struct rdb_reader *r, const char *start, enum rdb_end end)
{
    if (end == RDB_MORE)
        r->at = start;
    return end;
}

enum rdb_end rdb_skip_string(struct rdb_reader *r)
{
    const char *start = r->at;
    return ended(r, start, skip_string(r));
}

enum rdb_end rdb_skip_value(struct rdb_reader *r, uint8_t type)
{
    const char *start = r->at;
    return ended(r, start, skip_value(r, type));
}

enum rdb_end rdb_skip_module(struct rdb_reader *r)
{
    const char *start = r->at;
    return ended(r, start, skip_module(r));
}
