/* RDB: Redis's format for values on disk and in DUMP payloads, in memory on both sides.
 *
 * Writers append to a buf; readers take bytes that lie in memory and never read beyond them. What
 * is written is version 10 (Redis 7.0), so that 7.0 and all later load it; only hashes with fields
 * that expire have types of version 12 (Redis 7.4). What is read is all that Redis 2.8 to 7.4
 * wrote. Source: the format as documented by rdb files themselves and "Redis RDB Dump File Format"
 * (S. Ramachandran), and as redis-server 7.0 reads and writes it.
 *
 *   rdb_write.c, rdb_write_value.c   numbers, strings, values, records
 *   rdb_read.c                       numbers, strings
 *   rdb_read_value.c, rdb_read_old.c, rdb_read_stream.c   values, each checked before it is used
 *   rdb_skip.c                       the extent of a value, without making it
 *
 * Any thread: nothing here knows a shard. */
#pragma once

#include "proto/buf.h"
#include "shard/type/entry.h"
#include "shard/type/value.h"

#define RDB_VERSION 10
#define RDB_VERSION_FIELDS 12 /* with fields that expire */
#define RDB_VERSION_READ_MAX 12

enum rdb_type {
    RDB_STRING = 0, RDB_LIST = 1, RDB_SET = 2, RDB_ZSET = 3, RDB_HASH = 4, RDB_ZSET_2 = 5,
    RDB_MODULE = 6, RDB_MODULE_2 = 7, RDB_HASH_ZIPMAP = 9, RDB_LIST_ZIPLIST = 10,
    RDB_SET_INTSET = 11, RDB_ZSET_ZIPLIST = 12, RDB_HASH_ZIPLIST = 13, RDB_LIST_QUICKLIST = 14,
    RDB_STREAM = 15, RDB_HASH_LISTPACK = 16, RDB_ZSET_LISTPACK = 17, RDB_LIST_QUICKLIST_2 = 18,
    RDB_STREAM_2 = 19, RDB_SET_LISTPACK = 20, RDB_STREAM_3 = 21, RDB_HASH_FIELDS_PRE = 22,
    RDB_HASH_LISTPACK_EX_PRE = 23, RDB_HASH_FIELDS = 24, RDB_HASH_LISTPACK_EX = 25,
};

enum rdb_opcode {
    RDB_OP_SLOT_INFO = 244, RDB_OP_FUNCTION = 245, RDB_OP_FUNCTION_PRE = 246,
    RDB_OP_MODULE_AUX = 247, RDB_OP_IDLE = 248, RDB_OP_FREQ = 249, RDB_OP_AUX = 250,
    RDB_OP_RESIZE_DB = 251, RDB_OP_EXPIRE_MS = 252, RDB_OP_EXPIRE_S = 253,
    RDB_OP_SELECT_DB = 254, RDB_OP_EOF = 255,
};

/* --- Writing --- */

void rdb_write_byte(struct buf *out, uint8_t byte);
void rdb_write_length(struct buf *out, uint64_t length);
/* Little-endian. */
void rdb_write_u64(struct buf *out, uint64_t n);
/* A string, as an integer where it is one that fits 32 bits, compressed (LZF) where `compress` is
 * set and it is longer than 20 bytes and gets shorter by it. */
void rdb_write_string(struct buf *out, struct slice s, bool compress);
/* The same of its decimal text. */
void rdb_write_integer(struct buf *out, int64_t n);
/* A string that is compressed already; `size` is that of the string. */
void rdb_write_compressed(struct buf *out, struct slice packed, size_t size);
/* The type (enum rdb_type) that the entry's value is written as. */
uint8_t rdb_type_of_entry(const struct entry *e);
uint8_t rdb_type_of_value(const struct value *v);
/* The value's bytes, without type and key. */
void rdb_write_entry_value(struct buf *out, const struct entry *e, bool compress);
void rdb_write_value(struct buf *out, const struct value *v, bool compress);
/* What stands before the value in a file: expiry, frequency (where `options` says that
 * maxmemory-policy uses it) or idle time (with `lru`), type, key. */
void rdb_write_head(struct buf *out, const struct entry *e, int64_t now_ms,
                    const struct keyspace_options *options, bool lru, bool compress);
/* The version that a file or payload with this value needs. */
static inline uint16_t rdb_version_of(const struct entry *e)
{
    return e->flags & ENTRY_FIELDS_EXPIRE ? RDB_VERSION_FIELDS : RDB_VERSION;
}

/* --- Reading --- */

enum rdb_end {
    RDB_DONE,
    RDB_MORE,    /* the bytes end within what is being read */
    RDB_CORRUPT, /* `error` says what */
    RDB_EMPTY,   /* a collection without elements: whoever loads a file leaves the key out */
};

struct rdb_reader {
    const char *at, *end;
    const char *error; /* constant text */
};

/* A value that was read: owned by the caller. */
struct rdb_value {
    uint8_t type;      /* enum entry_type_id */
    struct value value; /* no string */
    struct buf string;
};

struct rdb_options {
    const struct keyspace *keyspace; /* encodings follow its thresholds */
    int64_t now_ms;  /* of hashes: fields whose time has come are left out; 0: none are */
    bool unchecked;  /* a payload's checksum is not looked at */
};

enum rdb_end rdb_read_byte(struct rdb_reader *r, uint8_t *byte);
enum rdb_end rdb_read_length(struct rdb_reader *r, uint64_t *length);
/* A string; `scratch` takes what does not lie in the input as it is (integers, LZF). */
enum rdb_end rdb_read_string(struct rdb_reader *r, struct buf *scratch, struct slice *s);
/* Little-endian, as they stand in files. */
enum rdb_end rdb_read_u32(struct rdb_reader *r, uint32_t *n);
enum rdb_end rdb_read_u64(struct rdb_reader *r, uint64_t *n);
enum rdb_end rdb_read_value(struct rdb_reader *r, uint8_t type, const struct rdb_options *o,
                            struct rdb_value *v);
void rdb_value_deinit(struct rdb_value *v);
/* Moves behind a value, checking its framing alone. On RDB_MORE `at` is where it was. */
enum rdb_end rdb_skip_string(struct rdb_reader *r);
enum rdb_end rdb_skip_value(struct rdb_reader *r, uint8_t type);
/* Behind a module's self-describing data (RDB_MODULE_2, RDB_OP_MODULE_AUX). */
enum rdb_end rdb_skip_module(struct rdb_reader *r);

/* --- Payloads of DUMP --- */

/* Type, value, version, CRC64. */
void rdb_write_payload(struct buf *out, const struct entry *e);
/* False, with Redis's two ways of saying so told apart by `bad_data`, where it is refused: a wrong
 * version or checksum, or bytes that make no value. */
bool rdb_read_payload(struct slice payload, const struct rdb_options *o, struct rdb_value *v,
                      bool *bad_data);
