/* Slots and hashes of keys.
 *
 * CRC16 XMODEM: polynomial 0x1021, most significant bit first, from 0. It is linear, so eight
 * bytes can be looked up at once and the eight answers combined ("slicing-by-8": M. Kounavis and
 * F. Berry, "A Systematic Approach to Building High Performance Software-based CRC Generators",
 * ISCC 2005). Table k holds the CRC of each byte with k zero bytes behind it, and by the same
 * linearity each of its numbers is the sum (exclusive or) of those of its bits: x^(16 + 8k + b)
 * modulo the polynomial for bit b. The compiler builds the tables from these 64 numbers. */
#include "shard/keyspace.h"

#include <assert.h>
#include <xxhash.h>

#define CRC_BIT(i, b, v) ((i) >> (b) & 1 ? (v) : 0)
#define CRC_1(i, b0, b1, b2, b3, b4, b5, b6, b7)                                                   \
    CRC_BIT(i, 0, b0) ^ CRC_BIT(i, 1, b1) ^ CRC_BIT(i, 2, b2) ^ CRC_BIT(i, 3, b3) ^                \
        CRC_BIT(i, 4, b4) ^ CRC_BIT(i, 5, b5) ^ CRC_BIT(i, 6, b6) ^ CRC_BIT(i, 7, b7)
#define CRC_4(i, ...)                                                                              \
    CRC_1(i, __VA_ARGS__), CRC_1(i + 1, __VA_ARGS__), CRC_1(i + 2, __VA_ARGS__),                   \
        CRC_1(i + 3, __VA_ARGS__)
#define CRC_16(i, ...)                                                                             \
    CRC_4(i, __VA_ARGS__), CRC_4(i + 4, __VA_ARGS__), CRC_4(i + 8, __VA_ARGS__),                   \
        CRC_4(i + 12, __VA_ARGS__)
#define CRC_64(i, ...)                                                                             \
    CRC_16(i, __VA_ARGS__), CRC_16(i + 16, __VA_ARGS__), CRC_16(i + 32, __VA_ARGS__),              \
        CRC_16(i + 48, __VA_ARGS__)
#define CRC_TABLE(...)                                                                             \
    {                                                                                              \
        CRC_64(0, __VA_ARGS__), CRC_64(64, __VA_ARGS__), CRC_64(128, __VA_ARGS__),                 \
            CRC_64(192, __VA_ARGS__)                                                               \
    }

static const uint16_t crc_tables[8][256] = {
    CRC_TABLE(0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188),
    CRC_TABLE(0x3331, 0x6662, 0xccc4, 0x89a9, 0x0373, 0x06e6, 0x0dcc, 0x1b98),
    CRC_TABLE(0x3730, 0x6e60, 0xdcc0, 0xa9a1, 0x4363, 0x86c6, 0x1dad, 0x3b5a),
    CRC_TABLE(0x76b4, 0xed68, 0xcaf1, 0x85c3, 0x1ba7, 0x374e, 0x6e9c, 0xdd38),
    CRC_TABLE(0xaa51, 0x4483, 0x8906, 0x022d, 0x045a, 0x08b4, 0x1168, 0x22d0),
    CRC_TABLE(0x45a0, 0x8b40, 0x06a1, 0x0d42, 0x1a84, 0x3508, 0x6a10, 0xd420),
    CRC_TABLE(0xb861, 0x60e3, 0xc1c6, 0x93ad, 0x377b, 0x6ef6, 0xddec, 0xabf9),
    CRC_TABLE(0x47d3, 0x8fa6, 0x0f6d, 0x1eda, 0x3db4, 0x7b68, 0xf6d0, 0xfd81),
};

static uint32_t crc16(const char *data, size_t size)
{
    const uint16_t(*t)[256] = crc_tables;
    const unsigned char *at = (const unsigned char *)data;
    uint32_t crc = 0;
    for (; size >= 8; at += 8, size -= 8)
        crc = t[7][at[0] ^ crc >> 8] ^ t[6][at[1] ^ (crc & 0xff)] ^ t[5][at[2]] ^ t[4][at[3]] ^
              t[3][at[4]] ^ t[2][at[5]] ^ t[1][at[6]] ^ t[0][at[7]];
    for (; size > 0; at++, size--)
        crc = (crc << 8 & 0xffff) ^ t[0][*at ^ crc >> 8];
    return crc;
}

/* What of a key decides its slot, by Redis Cluster's specification: the bytes between the first
 * '{' and the first '}' after it, unless there are none; else the whole key. */
static struct slice hash_tag(struct slice key)
{
    const char *open = memchr(key.data, '{', key.size);
    if (!open)
        return key;
    const char *tag = open + 1;
    const char *close = memchr(tag, '}', key.size - (size_t)(tag - key.data));
    if (!close || close == tag)
        return key;
    return (struct slice){tag, (size_t)(close - tag)};
}

uint32_t keyspace_slot(struct slice key)
{
    if (key.size == 0)
        return 0;
    struct slice tag = hash_tag(key);
    return crc16(tag.data, tag.size) % SLOT_COUNT;
}

uint64_t keyspace_hash(const struct keyspace *k, struct slice key)
{
    return XXH3_64bits_withSecret(key.data, key.size, k->hash_secret, HASH_SECRET_SIZE);
}

void keyspace_init(struct keyspace *k, uint32_t shard_count, uint32_t db_count,
                   const unsigned char secret[HASH_SECRET_SIZE])
{
    assert(shard_count >= 1 && shard_count <= SHARD_COUNT_MAX && db_count >= 1);
    *k = (struct keyspace){
        .shard_count = shard_count,
        .db_count = db_count,
        .options = {
            .bulk_size_max = 512ull * 1024 * 1024,
            .lfu_log_factor = 10,
            .lfu_decay_minutes = 1,
            .active_expire = true,
            .active_expire_effort = 1,
            .hash_max_listpack_entries = 512,
            .hash_max_listpack_value = 64,
            .set_max_listpack_entries = 128,
            .set_max_listpack_value = 64,
            .set_max_intset_entries = 512,
            .zset_max_listpack_entries = 128,
            .zset_max_listpack_value = 64,
            .list_max_listpack_size = -2,
            .stream_node_max_bytes = 4096,
            .stream_node_max_entries = 100,
            .hll_sparse_max_bytes = 3000,
            .evict_samples = 5,
            .lazy_evict = true,
            .lazy_expire = true,
            .lazy_server_del = true,
            .lazy_user_del = true,
            .lazy_user_flush = true,
        },
    };
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        k->shard_of_slot[slot] = (uint16_t)(slot * shard_count / SLOT_COUNT);
    memcpy(k->hash_secret, secret, HASH_SECRET_SIZE);
}
