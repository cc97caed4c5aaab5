/* What all shards agree on: how keys are spread over them, how keys are hashed, and the options
 * that commands heed.
 *
 * One for the process, created before the cores start. The spread and the secret never change
 * after that and are read by every thread. `options` changes only while every shard stands still
 * in a cross transaction (CONFIG SET), so shards read it without atomics. */
#pragma once

#include <locale.h>

#include "proto/slice.h"

struct call;

#define SLOT_COUNT 16384
#define SHARD_COUNT_MAX 256
#define HASH_SECRET_SIZE 192

struct keyspace_options {
    uint64_t bulk_size_max;      /* bytes: proto-max-bulk-len */
    uint64_t reply_size_max;     /* of one reply: who asks for more is closed; 0: no limit */
    uint32_t lfu_log_factor;
    uint32_t lfu_decay_minutes;
    bool lfu;                    /* maxmemory-policy is an LFU one */
    bool evict_volatile;         /* ... only evicts keys with an expiry */
    uint8_t evict_order;         /* ... which first: enum evict_order */
    uint32_t evict_samples;      /* maxmemory-samples */
    bool active_expire;          /* the sweep is on (DEBUG SET-ACTIVE-EXPIRE) */
    uint32_t active_expire_effort; /* 1 to 10 */

    bool limited;                /* maxmemory is set: what shards hold is followed */
    int64_t stays_until_ms;      /* what is due counts as absent, but stays: CLIENT PAUSE */
    bool journal;                /* effects of writes are recorded: journal.h */
    bool unchecked;              /* RESTORE takes a payload whose checksum is wrong (DEBUG) */
    bool loading;                /* nothing expires, and what has a time in the past is kept */

    uint32_t notify; /* NOTIFY_... classes of event.h; 0 where no notification can go out */

    /* Above which a collection leaves its packed encoding: elements, bytes of the longest. */
    uint32_t hash_max_listpack_entries, hash_max_listpack_value;
    uint32_t set_max_listpack_entries, set_max_listpack_value;
    uint32_t set_max_intset_entries;
    uint32_t zset_max_listpack_entries, zset_max_listpack_value;
    int32_t list_max_listpack_size; /* a list node: elements, or -1 to -5: 4 KiB to 64 KiB */
    uint32_t list_compress_depth;   /* nodes from each end that stay uncompressed; 0: all do */
    uint32_t list_packed_max;       /* bytes of an element that gets a list node of its own; 0:
                                     * the default (DEBUG QUICKLIST-PACKED-THRESHOLD) */
    uint64_t stream_node_max_bytes;   /* a stream node; 0: no such bound */
    uint32_t stream_node_max_entries; /* ... */
    uint32_t hll_sparse_max_bytes;  /* a longer HyperLogLog is held dense */

    locale_t collate;            /* the order of SORT ALPHA's texts; NULL: of their bytes */

    /* What is freed in slices between other work, rather than at once, where it is large. */
    bool lazy_evict, lazy_expire, lazy_server_del, lazy_user_del, lazy_user_flush;
};

struct keyspace {
    uint32_t shard_count; /* 1 to SHARD_COUNT_MAX */
    uint32_t db_count;    /* databases, 16 by default */
    uint16_t shard_of_slot[SLOT_COUNT];
    unsigned char hash_secret[HASH_SECRET_SIZE];
    struct keyspace_options options;
    /* Whether who runs this command may read any key, named or not; NULL: everybody. */
    bool (*reads_all_keys)(const struct call *call);
};

/* Spreads contiguous slot ranges over the shards. `secret` seeds the hash: random bytes. */
void keyspace_init(struct keyspace *k, uint32_t shard_count, uint32_t db_count,
                   const unsigned char secret[HASH_SECRET_SIZE]);

/* The Redis Cluster slot of a key: CRC16 (XMODEM) of its {tag}, or of the whole key, mod 16384. */
uint32_t keyspace_slot(struct slice key);

static inline uint32_t keyspace_shard(const struct keyspace *k, struct slice key)
{
    return k->shard_count == 1 ? 0 : k->shard_of_slot[keyspace_slot(key)];
}

/* The seeded hash that tables use: XXH3 with the process's secret. Never shown to clients. */
uint64_t keyspace_hash(const struct keyspace *k, struct slice key);
