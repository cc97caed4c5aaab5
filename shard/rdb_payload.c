/* RDB: payloads of DUMP.
 *
 * The value's type and bytes as in a file, the format's version (2 bytes), and a CRC64 of all that
 * (8 bytes), both little-endian. */
#include "proto/crc64.h"
#include "shard/rdb.h"

#define VERSION_SIZE 2
#define CRC_SIZE 8

void rdb_write_payload(struct buf *out, const struct entry *e)
{
    size_t start = out->size;
    rdb_write_byte(out, rdb_type_of_entry(e));
    rdb_write_entry_value(out, e, true);
    uint16_t version = rdb_version_of(e);
    buf_append(out, &version, sizeof(version));
    rdb_write_u64(out, crc64(0, (struct slice){out->data + start, out->size - start}));
}

static bool is_sound(struct slice payload, bool unchecked)
{
    uint16_t version;
    uint64_t crc;
    if (payload.size < VERSION_SIZE + CRC_SIZE)
        return false;
    size_t covered = payload.size - CRC_SIZE;
    memcpy(&version, payload.data + covered - VERSION_SIZE, sizeof(version));
    memcpy(&crc, payload.data + covered, sizeof(crc));
    return version <= RDB_VERSION_READ_MAX &&
           (unchecked || crc == crc64(0, (struct slice){payload.data, covered}));
}

bool rdb_read_payload(struct slice payload, const struct rdb_options *o, struct rdb_value *v,
                      bool *bad_data)
{
    uint8_t type;
    *bad_data = is_sound(payload, o->unchecked);
    if (!*bad_data)
        return false;
    struct rdb_reader r = {.at = payload.data,
                           .end = payload.data + payload.size - VERSION_SIZE - CRC_SIZE};
    if (rdb_read_byte(&r, &type) != RDB_DONE || rdb_read_value(&r, type, o, v) != RDB_DONE)
        return false;
    if (r.at == r.end)
        return true;
    rdb_value_deinit(v);
    return false;
}
