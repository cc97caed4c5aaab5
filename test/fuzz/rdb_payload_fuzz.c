/* Fuzzes RESTORE: any bytes, with a version and a checksum that fit, as a payload. Of what is
 * accepted the key is used and changed by commands of its type, dumped, and restored from that.
 *
 * The first input byte chooses the thresholds (odd: small ones); the rest is the payload without
 * its footer. */
#include "test/shard/cmd_driver.h"

#include "proto/crc64.h"
#include "shard/rdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const uses[] = {
    "OBJECT ENCODING k", "MEMORY USAGE k", "COPY k c REPLACE",
    "GETRANGE k 0 5", "APPEND k x", "SETRANGE k 2 y", "STRLEN k", "INCR k",
    "LRANGE k 0 5", "LINDEX k -1", "LPUSH k x", "LSET k 0 12", "LINSERT k BEFORE 12 y",
    "LREM k 0 x", "LTRIM k 1 -2", "RPOP k",
    "SRANDMEMBER k -3", "SADD k x 12", "SPOP k 2", "SREM k 12", "SMEMBERS k",
    "ZRANGE k 0 3 WITHSCORES", "ZRANGEBYSCORE k -inf +inf", "ZADD k 3 x", "ZINCRBY k -1e20 x",
    "ZRANK k x", "ZRANGEBYLEX k - +", "ZPOPMIN k", "ZREMRANGEBYRANK k 1 2",
    "HGETALL k", "HSET k x y", "HEXPIRE k 100 FIELDS 1 x", "HTTL k FIELDS 1 x", "HDEL k x",
    "HRANDFIELD k -3 WITHVALUES", "HPERSIST k FIELDS 1 f", "HINCRBY k n 3",
    "XRANGE k - +", "XREVRANGE k + -", "XINFO STREAM k FULL", "XADD k * f v", "XDEL k 1-1",
    "XGROUP CREATE k new 0", "XREADGROUP GROUP new c COUNT 2 STREAMS k >", "XPENDING k new",
    "XAUTOCLAIM k new d 0 0", "XCLAIM k g d 0 1-1 2-1", "XACK k g 1-1", "XTRIM k MAXLEN 2",
    "XSETID k 18446744073709551615-18446744073709551615", "XADD k * f v", "SORT k ALPHA",
    "SCAN 0", "EXPIRE k 100", "PERSIST k", "RENAME c d", "DEL c d",
};

/* The payload with its footer: owned by the caller. */
static struct buf payload_of(const uint8_t *data, size_t size)
{
    static const char version[2] = {RDB_VERSION_READ_MAX, 0};
    struct buf payload;
    buf_init(&payload);
    buf_append(&payload, data, size);
    buf_append(&payload, version, sizeof(version));
    uint64_t crc = crc64(0, buf_slice(&payload));
    buf_append(&payload, &crc, sizeof(crc));
    return payload;
}

static bool restore(struct world *w, struct slice payload)
{
    struct slice argv[] = {SLICE("RESTORE"), SLICE("k"), SLICE("0"), payload, SLICE("REPLACE")};
    return world_run_args(w, argv, 5)[0] == '+';
}

/* What DUMP says can be restored, too. */
static void dump_and_restore(struct world *w)
{
    const struct entry *e = db_random(&w->shards[0], 0);
    if (!e)
        return;
    struct buf again;
    buf_init(&again);
    rdb_write_payload(&again, e);
    bool restored = restore(w, buf_slice(&again));
    assert(restored);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct world w;
    world_init(&w, 1);
    struct keyspace_options *o = &w.keyspace.options;
    if (data[0] & 1) {
        o->hash_max_listpack_entries = o->set_max_listpack_entries = 3;
        o->set_max_intset_entries = o->zset_max_listpack_entries = 3;
        o->list_max_listpack_size = 3;
        o->list_compress_depth = 1;
        o->stream_node_max_entries = 3;
    }
    struct buf payload = payload_of(data + 1, size - 1);
    if (restore(&w, buf_slice(&payload))) {
        dump_and_restore(&w);
        for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
            world_run(&w, uses[i]);
    }
    buf_deinit(&payload);
    world_deinit(&w);
    return 0;
}
