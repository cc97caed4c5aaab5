/* An entry: one key with its value, in one allocation.
 *
 * Layout (sizes in bytes), goal 16-byte key + 32-byte value in 56:
 *
 *     0  header, 8:  clock 24 bits | type 4 | encoding 4 | flags 8 | key size 8 | value size 16
 *     8  expiry, 8, ms since the epoch, only with ENTRY_EXPIRES
 *        key size, 4, only with ENTRY_WIDE_KEY (then the header's key size is 0)
 *        key
 *        value: the bytes (ENC_INLINE), a 64-bit integer (ENC_INTEGER), or a pointer (unaligned),
 *               to a long string's block or to a collection
 *
 * `clock` is Redis's: LRU seconds, or LFU minutes (16 bits) and counter (8 bits). Entries are
 * created and freed by db.c with the shard's heap; this module is only their layout. */
#pragma once

#include "proto/slice.h"

enum entry_type_id { TYPE_STRING, TYPE_LIST, TYPE_SET, TYPE_ZSET, TYPE_HASH, TYPE_STREAM };

enum entry_encoding {
    ENC_INTEGER, /* string as an int64 */
    ENC_INLINE,  /* string bytes in the entry; ENTRY_RAW: shown as "raw" whatever its size */
    ENC_BLOCK,   /* string in a block of its own: struct entry_block */
    /* Collections: a pointer to ... */
    ENC_LISTPACK,    /* lists, sets, sorted sets, hashes: a listpack */
    ENC_INTSET,      /* sets */
    ENC_QUICKLIST,   /* lists: a chain of listpacks */
    ENC_TABLE,       /* sets, hashes: "hashtable" */
    ENC_TREE,        /* sorted sets: a B+ tree with a table of members, shown as "skiplist" */
    ENC_STREAM,      /* streams */
    ENC_LISTPACK_EX, /* hashes with fields that expire: "listpackex" */
};

#define ENTRY_EXPIRES 1u
#define ENTRY_WIDE_KEY 2u
#define ENTRY_RAW 4u
#define ENTRY_COLOUR 8u /* for snapshots */
#define ENTRY_FIELDS_EXPIRE 16u /* a hash with fields that expire */

#define ENTRY_CLOCK_MAX ((1u << 24) - 1)

struct entry {
    uint32_t clock : 24;
    uint32_t type : 4;
    uint32_t encoding : 4;
    uint8_t flags;
    uint8_t key_size;
    uint16_t value_size; /* ENC_INLINE */
    char bytes[];
};
_Static_assert(sizeof(struct entry) == 8, "the header is one word");

/* What a header says; the key's size is 0 with ENTRY_WIDE_KEY. */
struct entry_head {
    uint32_t clock;
    uint8_t type;
    uint8_t encoding;
    uint8_t flags;
    uint8_t key_size;
    uint16_t value_size;
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first field is the lowest");

/* Writes the header as the one word that it is: written field by field, it would make its next
 * reader wait until the parts have left the store buffer. */
static inline void entry_write_head(struct entry *e, struct entry_head h)
{
    uint64_t word = h.clock | (uint64_t)h.type << 24 | (uint64_t)h.encoding << 28 |
                    (uint64_t)h.flags << 32 | (uint64_t)h.key_size << 40 |
                    (uint64_t)h.value_size << 48;
    memcpy(e, &word, sizeof(word));
}

/* A long string, allocated by itself with mem_alloc. */
struct entry_block {
    size_t size;
    char bytes[];
};

static inline unsigned entry_type(const struct entry *e)
{
    return e->type;
}

static inline size_t entry_key_offset(const struct entry *e)
{
    return ((e->flags & ENTRY_EXPIRES) ? 8u : 0u) + ((e->flags & ENTRY_WIDE_KEY) ? 4u : 0u);
}

static inline struct slice entry_key(const struct entry *e)
{
    const char *at = e->bytes + entry_key_offset(e);
    if (__builtin_expect(e->flags & ENTRY_WIDE_KEY, 0)) {
        uint32_t size;
        memcpy(&size, at - 4, 4);
        return (struct slice){at, size};
    }
    return (struct slice){at, e->key_size};
}

static inline char *entry_value(const struct entry *e)
{
    struct slice key = entry_key(e);
    return (char *)key.data + key.size;
}

/* Bytes that a value takes in its entry. */
static inline size_t entry_area(unsigned encoding, size_t value_size)
{
    return encoding == ENC_INLINE ? value_size : sizeof(int64_t);
}

static inline size_t entry_value_area(const struct entry *e)
{
    return entry_area(e->encoding, e->value_size);
}

/* Bytes of the whole entry: what it was allocated with, or of the same heap class. */
static inline size_t entry_size(const struct entry *e)
{
    return (size_t)(entry_value(e) - (const char *)e) + entry_value_area(e);
}

/* ms since the epoch; only with ENTRY_EXPIRES. */
static inline int64_t entry_expiry(const struct entry *e)
{
    int64_t at;
    memcpy(&at, e->bytes, 8);
    return at;
}

static inline bool entry_expires(const struct entry *e)
{
    return e->flags & ENTRY_EXPIRES;
}

/* The table's mark: the sweep looks at such entries. */
static inline bool entry_marked(const struct entry *e)
{
    return e->flags & (ENTRY_EXPIRES | ENTRY_FIELDS_EXPIRE);
}

/* Redis's rule: a key still lives in the very millisecond of its expiry. */
static inline bool entry_expired(const struct entry *e, int64_t now_ms)
{
    return entry_expires(e) && now_ms > entry_expiry(e);
}

static inline int64_t entry_integer(const struct entry *e)
{
    int64_t value;
    memcpy(&value, entry_value(e), sizeof(value));
    return value;
}

static inline void *entry_pointer(const struct entry *e)
{
    void *p;
    memcpy(&p, entry_value(e), sizeof(p));
    return p;
}
