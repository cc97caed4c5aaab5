/* RDB written, to the byte; and the extents of values of all types, ours and those that others
 * wrote. */
#include <criterion/criterion.h>

#include "proto/crc64.h"
#include "shard/rdb.h"
#include "shard/type/intset.h"
#include "test/shard/cmd_driver.h"

#define BYTES(text) ((struct slice){(text), sizeof(text) - 1})

static void expect_bytes(struct buf *is, struct slice should)
{
    cr_expect(slice_equal(buf_slice(is), should), "%zu bytes, should be %zu", is->size,
              should.size);
    buf_deinit(is);
}

/* --- Numbers and strings --- */

static void expect_length(uint64_t length, struct slice should)
{
    struct buf out = {0};
    rdb_write_length(&out, length);
    expect_bytes(&out, should);
}

Test(rdb_write, lengths_take_as_few_bytes_as_they_can)
{
    expect_length(0, BYTES("\x00"));
    expect_length(63, BYTES("\x3f"));
    expect_length(64, BYTES("\x40\x40"));
    expect_length(16383, BYTES("\x7f\xff"));
    expect_length(16384, BYTES("\x80\x00\x00\x40\x00"));
    expect_length(UINT32_MAX, BYTES("\x80\xff\xff\xff\xff"));
    expect_length((uint64_t)1 << 32, BYTES("\x81\x00\x00\x00\x01\x00\x00\x00\x00"));
    expect_length(UINT64_MAX, BYTES("\x81\xff\xff\xff\xff\xff\xff\xff\xff"));
}

static void expect_string(struct slice s, struct slice should)
{
    struct buf out = {0};
    rdb_write_string(&out, s, true);
    expect_bytes(&out, should);
}

Test(rdb_write, strings_that_are_integers_of_32_bits_are_written_as_such)
{
    expect_string(BYTES("0"), BYTES("\xc0\x00"));
    expect_string(BYTES("127"), BYTES("\xc0\x7f"));
    expect_string(BYTES("-128"), BYTES("\xc0\x80"));
    expect_string(BYTES("128"), BYTES("\xc1\x80\x00"));
    expect_string(BYTES("-32768"), BYTES("\xc1\x00\x80"));
    expect_string(BYTES("32768"), BYTES("\xc2\x00\x80\x00\x00"));
    expect_string(BYTES("-2147483648"), BYTES("\xc2\x00\x00\x00\x80"));
    expect_string(BYTES("2147483648"), BYTES("\x0a" "2147483648"));
    expect_string(BYTES("-0"), BYTES("\x02-0"));
    expect_string(BYTES("01"), BYTES("\x02" "01"));
    expect_string(BYTES(""), BYTES("\x00"));
}

Test(rdb_write, an_integer_is_written_as_its_text_would_be)
{
    static const int64_t numbers[] = {0, -1, 127, 128, -32769, INT32_MIN, INT32_MAX,
                                      (int64_t)INT32_MAX + 1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char text[NUMBER_INTEGER_SIZE_MAX];
        struct buf out = {0}, of_text = {0};
        rdb_write_integer(&out, numbers[i]);
        size_t size = number_format_integer(text, numbers[i]);
        rdb_write_string(&of_text, (struct slice){text, size}, true);
        expect_bytes(&out, buf_slice(&of_text));
        buf_deinit(&of_text);
    }
}

Test(rdb_write, strings_over_20_bytes_are_compressed_where_that_makes_them_shorter)
{
    expect_string(BYTES("aaaaaaaaaaaaaaaaaaaa"), BYTES("\x14" "aaaaaaaaaaaaaaaaaaaa"));
    expect_string(BYTES("aaaaaaaaaaaaaaaaaaaaa"),
                  BYTES("\xc3\x06\x15\x01" "aa\xe0\x0a\x00"));
    expect_string(BYTES("abcdefghijklmnopqrstuvwxyz"), BYTES("\x1a" "abcdefghijklmnopqrstuvwxyz"));
    struct buf out = {0};
    rdb_write_string(&out, BYTES("aaaaaaaaaaaaaaaaaaaaa"), false);
    expect_bytes(&out, BYTES("\x15" "aaaaaaaaaaaaaaaaaaaaa"));
}

/* --- Values --- */

struct written {
    struct world w;
    struct buf out;
};

/* What the key is written as, type first. */
static void write_key(struct written *x, const char *key)
{
    struct slice k = {key, strlen(key)};
    struct shard *s = &x->w.shards[0];
    struct call c = world_call(&x->w, world_row(BYTES("get")), &k, 1, NULL);
    c.shard = s;
    struct place p = db_find_key(&c, k, 0, DB_PEEK);
    cr_assert(p.entry, "%s", key);
    buf_deinit(&x->out);
    rdb_write_byte(&x->out, rdb_type_of_entry(p.entry));
    rdb_write_entry_value(&x->out, p.entry, false);
}

static void run_lines(struct world *w, const char *const *lines)
{
    for (; *lines; lines++) {
        const char *reply = world_run(w, *lines);
        cr_assert_neq(*reply, '-', "%s: %s", *lines, reply);
    }
}

static void expect_value(struct written *x, const char *key, struct slice should)
{
    write_key(x, key);
    cr_expect(slice_equal(buf_slice(&x->out), should), "%s", key);
}

Test(rdb_write, packed_values_are_written_as_they_are_and_packed_sets_member_by_member)
{
    static struct written x;
    world_init(&x.w, 1);
    static const char *const lines[] = {
        "RPUSH list a 1", "SADD ints 1 2", "SADD set a", "ZADD zset 1 a", "HSET hash f v", NULL,
    };
    run_lines(&x.w, lines);
    expect_value(&x, "list", BYTES("\x12\x01\x02\x0c\x0c\x00\x00\x00\x02\x00\x81" "a\x02\x01\x01"
                                   "\xff"));
    expect_value(&x, "ints", BYTES("\x0b\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00"));
    expect_value(&x, "set", BYTES("\x02\x01\x01" "a"));
    expect_value(&x, "zset", BYTES("\x11\x0c\x0c\x00\x00\x00\x02\x00\x81" "a\x02\x01\x01\xff"));
    expect_value(&x, "hash", BYTES("\x10\x0d\x0d\x00\x00\x00\x02\x00\x81" "f\x02\x81v\x02\xff"));
    buf_deinit(&x.out);
    world_deinit(&x.w);
}

Test(rdb_write, large_values_are_written_element_by_element)
{
    static struct written x;
    world_init(&x.w, 1);
    x.w.keyspace.options.zset_max_listpack_entries = 0;
    x.w.keyspace.options.hash_max_listpack_entries = 0;
    x.w.keyspace.options.list_packed_max = 4;
    x.w.keyspace.options.list_max_listpack_size = 1;
    static const char *const lines[] = {
        "ZADD zset 1 a 2.5 b", "HSET hash f 7", "RPUSH list plain b", NULL,
    };
    run_lines(&x.w, lines);
    expect_value(&x, "zset", BYTES("\x05\x02\x01" "b\0\0\0\0\0\0\x04\x40\x01" "a\0\0\0\0\0\0\xf0"
                                   "\x3f"));
    expect_value(&x, "hash", BYTES("\x04\x01\x01" "f\xc0\x07"));
    expect_value(&x, "list", BYTES("\x12\x02\x01\x05plain\x02"
                                   "\x0a\x0a\x00\x00\x00\x01\x00\x81" "b\x02\xff"));
    buf_deinit(&x.out);
    world_deinit(&x.w);
}

Test(rdb_write, fields_that_expire_stand_in_the_order_of_their_expiry_or_with_their_distance)
{
    static struct written x;
    world_init(&x.w, 1);
    static const char *const lines[] = {
        "HSET hash a 1 b 2 c 3", "HPEXPIREAT hash 1700000000007 FIELDS 1 c",
        "HPEXPIREAT hash 1700000000005 FIELDS 1 b", "COPY hash large", NULL,
    };
    run_lines(&x.w, lines);
    /* b, c, a; the earliest expiry in front. */
    expect_value(&x, "hash",
                 BYTES("\x19\x05\x68\xe5\xcf\x8b\x01\x00\x00\x2c\x2c\x00\x00\x00\x09\x00"
                       "\x81" "b\x02\x02\x01\xf4\x05\x68\xe5\xcf\x8b\x01\x00\x00\x09"
                       "\x81" "c\x02\x03\x01\xf4\x07\x68\xe5\xcf\x8b\x01\x00\x00\x09"
                       "\x81" "a\x02\x01\x01\x00\x01\xff"));
    x.w.keyspace.options.hash_max_listpack_value = 1;
    world_run(&x.w, "HDEL large b");
    world_run(&x.w, "HSET large a xx");
    world_run(&x.w, "HDEL large a");
    write_key(&x, "large");
    cr_expect(slice_equal(buf_slice(&x.out), BYTES("\x18\x07\x68\xe5\xcf\x8b\x01\x00\x00\x01\x01"
                                                   "\x01" "c\xc0\x03")));
    world_run(&x.w, "HPERSIST large FIELDS 1 c");
    expect_value(&x, "large", BYTES("\x04\x01\x01" "c\xc0\x03"));
    world_run(&x.w, "HDEL hash a b");
    world_run(&x.w, "HPERSIST hash FIELDS 1 c");
    expect_value(&x, "hash", BYTES("\x04\x01\x01" "c\xc0\x03"));
    buf_deinit(&x.out);
    world_deinit(&x.w);
}

Test(rdb_write, a_head_says_expiry_and_use_before_type_and_key)
{
    struct world w;
    world_init(&w, 1);
    w.now_ms = 1700000000000;
    world_run(&w, "SET k v PXAT 1700000100000");
    struct entry *e = db_random(&w.shards[0], 0);
    struct keyspace_options *o = &w.keyspace.options;
    struct buf out = {0};
    rdb_write_head(&out, e, w.now_ms + 70000, o, false, false);
    expect_bytes(&out, BYTES("\xfc\xa0\xee\xe6\xcf\x8b\x01\x00\x00\x00\x01k"));
    rdb_write_head(&out, e, w.now_ms + 70000, o, true, false);
    expect_bytes(&out, BYTES("\xfc\xa0\xee\xe6\xcf\x8b\x01\x00\x00\xf8\x40\x46\x00\x01k"));
    o->lfu = true;
    world_run(&w, "SET k v");
    world_run(&w, "DEL k");
    world_run(&w, "SET k v");
    rdb_write_head(&out, db_random(&w.shards[0], 0), w.now_ms, o, true, false);
    expect_bytes(&out, BYTES("\xf9\x05\x00\x01k"));
    world_deinit(&w);
}

Test(rdb_write, a_payload_ends_with_version_and_checksum)
{
    struct world w;
    world_init(&w, 1);
    world_run(&w, "SET mykey 10");
    struct buf out = {0};
    rdb_write_payload(&out, db_random(&w.shards[0], 0));
    /* The example in Redis's documentation of DUMP. */
    expect_bytes(&out, BYTES("\x00\xc0\n\n\x00n\x9fWE\x0e\xae" "c\xbb"));
    world_deinit(&w);
}

/* --- Extents --- */

/* Every part of the bytes is too short, from whose end on nothing was read; the whole is one
 * value. */
static void expect_extent(uint8_t type, struct slice bytes)
{
    for (size_t size = 0; size <= bytes.size; size++) {
        /* Its own block: a byte too far would be noticed. */
        char *copy = mem_alloc(size + 1);
        memcpy(copy, bytes.data, size);
        struct rdb_reader r = {.at = copy, .end = copy + size};
        enum rdb_end end = rdb_skip_value(&r, type);
        cr_expect_eq(end, size < bytes.size ? RDB_MORE : RDB_DONE, "type %u, %zu of %zu", type,
                     size, bytes.size);
        cr_expect_eq(r.at, end == RDB_MORE ? copy : copy + size, "type %u", type);
        mem_free(copy);
    }
}

Test(rdb_skip, knows_the_extent_of_all_that_is_written)
{
    static struct written x;
    world_init(&x.w, 1);
    x.w.keyspace.options.zset_max_listpack_entries = 2;
    x.w.keyspace.options.hash_max_listpack_entries = 2;
    x.w.keyspace.options.list_max_listpack_size = 2;
    static const char *const lines[] = {
        "SET s1 7", "SET s2 text", "SET s3 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "RPUSH l1 a b", "RPUSH l2 a b c d e", "SADD e1 1 2", "SADD e2 a b 3", "ZADD z1 1 a",
        "ZADD z2 1 a 2 b 3 c", "HSET h1 a b", "HSET h2 a b c d e f", "HSET h3 a b",
        "HEXPIRE h3 100 FIELDS 1 a", "HSET h4 a b c d e f", "HEXPIRE h4 100 FIELDS 1 c",
        "XADD x1 1-1 a b", "XADD x1 2-1 c d", "XADD x1 3-1 c d", "XGROUP CREATE x1 g 0",
        "XGROUP CREATE x1 h 2", "XREADGROUP GROUP g c COUNT 2 STREAMS x1 >",
        "XREADGROUP GROUP g d STREAMS x1 >", NULL,
    };
    static const char *const keys[] = {"s1", "s2", "s3", "l1", "l2", "e1", "e2", "z1", "z2",
                                       "h1", "h2", "h3", "h4", "x1"};
    run_lines(&x.w, lines);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        write_key(&x, keys[i]);
        expect_extent((uint8_t)x.out.data[0], (struct slice){x.out.data + 1, x.out.size - 1});
    }
    buf_deinit(&x.out);
    world_deinit(&x.w);
}

Test(rdb_skip, knows_the_extent_of_what_others_wrote)
{
    static const uint8_t one_string[] = {RDB_HASH_ZIPMAP, RDB_LIST_ZIPLIST, RDB_SET_INTSET,
                                         RDB_ZSET_ZIPLIST, RDB_HASH_ZIPLIST, RDB_SET_LISTPACK,
                                         RDB_HASH_LISTPACK_EX_PRE};
    for (size_t i = 0; i < sizeof(one_string); i++) {
        expect_extent(one_string[i], BYTES("\x03" "abc"));
        expect_extent(one_string[i], BYTES("\x80\x00\x00\x00\x03" "abc"));
        expect_extent(one_string[i], BYTES("\x81\0\0\0\0\0\0\0\x03" "abc"));
        expect_extent(one_string[i], BYTES("\xc3\x02\x40\x50" "ab"));
    }
    expect_extent(RDB_LIST, BYTES("\x03\x01" "a\xc0\x07\xc2\x01\x02\x03\x04"));
    expect_extent(RDB_LIST_QUICKLIST, BYTES("\x02\x01" "a\x01" "b"));
    expect_extent(RDB_ZSET, BYTES("\x04\x01" "a\x03" "1.5\x01" "b\xfd\x01" "c\xfe\x01" "d\xff"));
    expect_extent(RDB_HASH_FIELDS_PRE,
                  BYTES("\x01\x81\0\0\x01\x8b\xcf\xe5\x68\x07\x01" "a\x01" "b"));
    /* One node of a stream, two messages; a group with one pending message and its consumer. */
#define NODE "\x01\x10" "0123456789abcdef" "\x03" "abc"
#define PEL "\x01" "0123456789abcdef" "12345678\x01"
#define GROUP(read, active) "\x01\x01g\x01\x00" read PEL "\x01\x01" "c12345678" active "\x01" \
                            "0123456789abcdef"
    expect_extent(RDB_STREAM, BYTES(NODE "\x02\x01\x02" GROUP("", "")));
    expect_extent(RDB_STREAM_3,
                  BYTES(NODE "\x02\x01\x02\x03\x04\x05\x06\x07" GROUP("\x05", "12345678")));
    expect_extent(RDB_MODULE_2,
                  BYTES("\x81" "12345678\x01\x07\x02\x40\x50\x03" "1234\x04"
                        "12345678\x05\x02" "ab\x00"));
}

static void expect_corrupt(uint8_t type, struct slice bytes)
{
    struct rdb_reader r = {.at = bytes.data, .end = bytes.data + bytes.size};
    cr_expect_eq(rdb_skip_value(&r, type), RDB_CORRUPT, "type %u", type);
    cr_expect(r.error);
}

Test(rdb_skip, refuses_what_is_no_value)
{
    expect_corrupt(8, BYTES("\x00"));
    expect_corrupt(26, BYTES("\x00"));
    expect_corrupt(RDB_MODULE, BYTES("\x00"));
    expect_corrupt(RDB_OP_EOF, BYTES("\x00"));
    expect_corrupt(RDB_STRING, BYTES("\xc4\x00"));
    expect_corrupt(RDB_STRING, BYTES("\x82\x00"));
    expect_corrupt(RDB_LIST, BYTES("\xc0\x00"));
    expect_corrupt(RDB_MODULE_2, BYTES("\x00\x06\x00"));
}

Test(rdb_skip, a_count_beyond_all_bytes_ends_with_them)
{
    struct slice bytes = BYTES("\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01" "a\x01" "b");
    static const uint8_t types[] = {RDB_STRING, RDB_LIST, RDB_HASH, RDB_ZSET, RDB_ZSET_2,
                                    RDB_STREAM_2, RDB_LIST_QUICKLIST_2};
    for (size_t i = 0; i < sizeof(types); i++) {
        struct rdb_reader r = {.at = bytes.data, .end = bytes.data + bytes.size};
        cr_expect_eq(rdb_skip_value(&r, types[i]), RDB_MORE, "type %u", types[i]);
        cr_expect_eq(r.at, bytes.data);
    }
}
