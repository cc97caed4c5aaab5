/* RDB: what is written is read as the same, old forms are read, and what is no value is told from
 * what only ends too early. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/type/hash.h"
#include "shard/type/intset.h"
#include "shard/type/list.h"
#include "shard/type/listpack.h"
#include "shard/type/set.h"
#include "shard/type/stream_group.h"
#include "shard/type/zset.h"

#define BYTES(literal) ((struct slice){(literal), sizeof(literal) - 1})
#define NOW_MS 1700000000000

static struct keyspace keyspace;
static struct rdb_options options = {.keyspace = &keyspace};

static void setup(void)
{
    static const unsigned char secret[HASH_SECRET_SIZE] = {7};
    keyspace_init(&keyspace, 1, 16, secret);
    options.now_ms = 0;
}

TestSuite(rdb_read, .init = setup);

static enum rdb_end read_as(uint8_t type, struct slice bytes, struct rdb_value *v)
{
    struct rdb_reader r = {bytes.data, bytes.data + bytes.size, NULL};
    enum rdb_end end = rdb_read_value(&r, type, &options, v);
    cr_assert(end != RDB_DONE || r.at == r.end);
    cr_assert_eq(end == RDB_CORRUPT, r.error != NULL);
    return end;
}

static void check(const struct value *v)
{
    if (v->type == TYPE_LIST)
        list_check(v);
    else if (v->type == TYPE_SET)
        set_check(v, &keyspace);
    else if (v->type == TYPE_ZSET)
        zset_check(v, &keyspace);
    else if (v->type == TYPE_HASH)
        hash_check(v, &keyspace);
    else
        stream_check(stream_of(v));
}

/* Writes the value and reads it again: the result has as many elements, and is written alike where
 * the encoding has an order. Every part of what was written ends too early. */
static void round_trip(struct value *v, uint8_t encoding)
{
    struct buf first = {0}, second = {0};
    struct rdb_value read;
    rdb_write_value(&first, v, true);
    uint8_t type = rdb_type_of_value(v);
    size_t step = first.size / 200 + 1;
    for (size_t cut = 0; cut < first.size; cut += step) {
        struct slice part = {first.data, cut};
        cr_assert_eq(read_as(type, part, &read), RDB_MORE, "type %u cut at %zu", type, cut);
    }
    cr_assert_eq(read_as(type, buf_slice(&first), &read), RDB_DONE);
    cr_assert_eq(read.type, v->type);
    cr_assert_eq(read.value.encoding, encoding);
    check(&read.value);
    cr_assert_eq(value_count(&read.value), value_count(v));
    rdb_write_value(&second, &read.value, true);
    if (encoding != ENC_TABLE)
        cr_assert(slice_equal(buf_slice(&first), buf_slice(&second)));
    rdb_value_deinit(&read);
    value_free(v);
    buf_deinit(&first);
    buf_deinit(&second);
}

static struct slice word(char *to, unsigned i)
{
    return (struct slice){to, (size_t)sprintf(to, i % 3 ? "word:%u" : "%u", i * 37)};
}

Test(rdb_read, lists_of_all_encodings_come_back)
{
    static const unsigned counts[] = {1, 20, 3000};
    char text[32], large[20000];
    memset(large, 'x', sizeof(large));
    for (int c = 0; c < 3; c++) {
        struct value v = list_ops.create(&keyspace);
        for (unsigned i = 0; i < counts[c]; i++) {
            struct slice s = i % 1000 == 999 ? (struct slice){large, sizeof(large)} : word(text, i);
            list_push(&v, &keyspace.options, LIST_TAIL, &s, 1);
        }
        round_trip(&v, c < 2 ? ENC_LISTPACK : ENC_QUICKLIST);
    }
}

Test(rdb_read, sets_of_all_encodings_come_back)
{
    static const uint8_t encodings[] = {ENC_INTSET, ENC_LISTPACK, ENC_TABLE};
    for (int e = 0; e < 3; e++) {
        char text[32];
        struct value v = set_ops.create(&keyspace);
        for (unsigned i = 0; i < (e == 2 ? 1000u : 50u); i++)
            set_add(&v, &keyspace, word(text, e == 0 ? 3 * i : i));
        cr_assert_eq(v.encoding, encodings[e]);
        round_trip(&v, encodings[e]);
    }
}

Test(rdb_read, sorted_sets_of_all_encodings_come_back)
{
    static const double scores[] = {0, -1, 1.5, INFINITY, -INFINITY, DBL_MAX, DBL_TRUE_MIN};
    for (int e = 0; e < 2; e++) {
        char text[32];
        struct value v = zset_ops.create(&keyspace);
        for (unsigned i = 0; i < (e ? 1000u : 100u); i++)
            zset_put(&v, &keyspace, word(text, i), i < 7 ? scores[i] : i / 7.0);
        round_trip(&v, e ? ENC_TREE : ENC_LISTPACK);
    }
}

Test(rdb_read, hashes_of_all_encodings_come_back_with_their_expiries)
{
    static const uint8_t encodings[] = {ENC_LISTPACK, ENC_TABLE, ENC_LISTPACK_EX, ENC_TABLE};
    for (int e = 0; e < 4; e++) {
        char text[32];
        struct value v = hash_ops.create(&keyspace);
        for (unsigned i = 0; i < (e % 2 ? 1000u : 60u); i++)
            hash_set(&v, &keyspace, word(text, i), SLICE("value"),
                     e >= 2 && i % 4 == 0 ? NOW_MS + i : HASH_NO_EXPIRY, NOW_MS);
        round_trip(&v, encodings[e]);
    }
}

Test(rdb_read, fields_whose_time_has_come_are_left_out)
{
    struct value v = hash_ops.create(&keyspace);
    hash_set(&v, &keyspace, SLICE("a"), SLICE("1"), NOW_MS - 1, 0);
    hash_set(&v, &keyspace, SLICE("b"), SLICE("2"), NOW_MS, 0);
    struct buf out = {0};
    rdb_write_value(&out, &v, false);
    struct rdb_value read;
    options.now_ms = NOW_MS;
    cr_assert_eq(read_as(rdb_type_of_value(&v), buf_slice(&out), &read), RDB_DONE);
    cr_assert_eq(value_count(&read.value), 1);
    rdb_value_deinit(&read);
    options.now_ms = NOW_MS + 1;
    cr_assert_eq(read_as(rdb_type_of_value(&v), buf_slice(&out), &read), RDB_EMPTY);
    value_free(&v);
    buf_deinit(&out);
}

static struct value make_stream(void)
{
    struct value v = stream_ops.create(&keyspace);
    struct stream *s = stream_of(&v);
    for (uint64_t i = 1; i <= 300; i++) {
        struct slice pair[] = {i % 7 ? SLICE("field") : SLICE("other"), SLICE("12")};
        stream_append(s, &keyspace, (struct stream_id){i / 3, i % 3 + 1}, pair, 1);
    }
    stream_delete(s, (struct stream_id){20, 1});
    stream_delete(s, (struct stream_id){0, 2});
    struct stream_group *g = stream_group_create(s, SLICE("group"), (struct stream_id){50, 1}, 40);
    struct stream_consumer *a = stream_consumer_create(g, SLICE("a"), NOW_MS);
    struct stream_consumer *b = stream_consumer_create(g, SLICE("b"), NOW_MS + 5);
    for (uint64_t i = 1; i < 50; i++)
        stream_pel_deliver(g, i % 3 ? a : b, (struct stream_id){i, 2}, NOW_MS)->deliveries = i;
    stream_group_create(s, SLICE(""), STREAM_ID_MIN, STREAM_UNKNOWN);
    return v;
}

Test(rdb_read, streams_come_back_with_their_groups)
{
    struct value v = make_stream();
    struct buf out = {0};
    struct rdb_value read;
    rdb_write_value(&out, &v, true);
    cr_assert_eq(read_as(rdb_type_of_value(&v), buf_slice(&out), &read), RDB_DONE);
    const struct stream *s = stream_of(&v), *t = stream_of(&read.value);
    cr_assert_eq(s->length, t->length);
    cr_assert_eq(s->entries_added, t->entries_added);
    cr_assert(stream_id_equal(s->first_id, t->first_id) && stream_id_equal(s->last_id, t->last_id));
    cr_assert(stream_id_equal(s->max_deleted_id, t->max_deleted_id));
    const struct stream_group *g = stream_group_find(t, SLICE("group"));
    cr_assert_eq(g->pel.count, 49);
    cr_assert_eq(g->entries_read, 40);
    cr_assert_eq(stream_pel_find(&g->pel, (struct stream_id){48, 2})->deliveries, 48);
    cr_assert_eq(stream_consumer_find(g, SLICE("b"))->pel.count, 16);
    cr_assert_eq(stream_group_find(t, SLICE(""))->entries_read, STREAM_UNKNOWN);
    rdb_value_deinit(&read);
    buf_deinit(&out);
    round_trip(&v, ENC_STREAM);
}

/* Any one byte of a stream replaced by any of some others makes another stream or none, but nothing
 * that breaks an invariant. */
Test(rdb_read, damaged_streams_are_refused_or_whole)
{
    static const unsigned char others[] = {0, 0x80, 0xff};
    keyspace.options.stream_node_max_entries = 10;
    struct value v = make_stream();
    stream_trim(stream_of(&v), &(struct stream_trim){.max_length = 20});
    struct buf out = {0};
    struct rdb_value read;
    rdb_write_value(&out, &v, false);
    for (size_t i = 0; i < out.size; i += i < 200 ? 1 : 3) {
        char was = out.data[i];
        for (size_t o = 0; o < sizeof(others); o++) {
            out.data[i] = (char)others[o];
            struct rdb_reader r = {out.data, out.data + out.size, NULL};
            if (rdb_read_value(&r, rdb_type_of_value(&v), &options, &read) != RDB_DONE)
                continue;
            check(&read.value);
            rdb_value_deinit(&read);
        }
        out.data[i] = was;
    }
    value_free(&v);
    buf_deinit(&out);
}

/* --- Strings --- */

static void reads_string(struct slice bytes, struct slice expected)
{
    struct rdb_value v;
    cr_assert_eq(read_as(RDB_STRING, bytes, &v), RDB_DONE);
    cr_assert(slice_equal(buf_slice(&v.string), expected));
    rdb_value_deinit(&v);
    for (size_t cut = 0; cut < bytes.size; cut++)
        cr_assert_eq(read_as(RDB_STRING, (struct slice){bytes.data, cut}, &v), RDB_MORE);
}

Test(rdb_read, strings_of_all_forms_are_read)
{
    reads_string(BYTES("\x00"), SLICE(""));
    reads_string(BYTES("\x03\x61\x62\x63"), SLICE("abc"));
    reads_string(BYTES("\x40\x03\x61\x62\x63"), SLICE("abc"));
    reads_string(BYTES("\x80\x00\x00\x00\x02\x61\x62"), SLICE("ab"));
    reads_string(BYTES("\x81\x00\x00\x00\x00\x00\x00\x00\x02\x61\x62"), SLICE("ab"));
    reads_string(BYTES("\xc0\x80"), SLICE("-128"));
    reads_string(BYTES("\xc1\xff\x7f"), SLICE("32767"));
    reads_string(BYTES("\xc2\x00\x00\x00\x80"), SLICE("-2147483648"));
    reads_string(BYTES("\xc3\x05\x0a\x00\x61\xe0\x00\x00"), SLICE("aaaaaaaaaa"));
}

/* What must be refused for what it says, and not for what is missing. */
static void is_corrupt(uint8_t type, struct slice bytes)
{
    struct rdb_value v;
    cr_assert_eq(read_as(type, bytes, &v), RDB_CORRUPT, "type %u", type);
}

Test(rdb_read, strings_that_cannot_be_are_refused)
{
    is_corrupt(RDB_STRING, BYTES("\x82\x00\x00\x00\x00\x00\x00\x00\x00"));
    is_corrupt(RDB_STRING, BYTES("\xc4\x00"));
    /* Compressed: more than its bytes can become, nothing, and another size than they become. */
    is_corrupt(RDB_STRING, BYTES("\xc3\x02\x80\x7f\xff\xff\xff\x00\x61"));
    is_corrupt(RDB_STRING, BYTES("\xc3\x02\x00\x00\x61"));
    is_corrupt(RDB_STRING, BYTES("\xc3\x02\x02\x00\x61"));
    is_corrupt(RDB_MODULE, BYTES("\x00\x00"));
    is_corrupt(RDB_MODULE_2, BYTES("\x00\x00"));
    is_corrupt(8, BYTES("\x00"));
    is_corrupt(26, BYTES("\x00"));
}

/* --- Packed forms made by hand --- */

static void append_packed(struct buf *out, struct slice packed)
{
    buf_deinit(out);
    buf_init(out);
    rdb_write_string(out, packed, false);
}

static enum rdb_end read_packed(uint8_t type, struct slice packed, struct rdb_value *v)
{
    struct buf out = {0};
    append_packed(&out, packed);
    enum rdb_end end = read_as(type, buf_slice(&out), v);
    buf_deinit(&out);
    return end;
}

/* A listpack of words between blanks. */
static enum rdb_end read_words(uint8_t type, const char *words, struct rdb_value *v)
{
    unsigned char *lp = listpack_create(0);
    for (size_t size; *words; words += size + (words[size] == ' ')) {
        size = strcspn(words, " ");
        listpack_append(&lp, (struct slice){words, size});
    }
    struct slice packed = {(const char *)lp, listpack_size(lp)};
    enum rdb_end end = read_packed(type, packed, v);
    mem_free(lp);
    return end;
}

Test(rdb_read, packed_forms_are_kept_up_to_the_thresholds)
{
    struct rdb_value v;
    for (uint32_t max = 2; max < 4; max++) {
        keyspace.options.hash_max_listpack_entries = max;
        keyspace.options.set_max_listpack_entries = max;
        keyspace.options.zset_max_listpack_entries = max;
        cr_assert_eq(read_words(RDB_HASH_LISTPACK, "a 1 b 2 c 3", &v), RDB_DONE);
        cr_assert_eq(v.value.encoding, max == 2 ? ENC_TABLE : ENC_LISTPACK);
        check(&v.value);
        rdb_value_deinit(&v);
        cr_assert_eq(read_words(RDB_SET_LISTPACK, "a 1 b", &v), RDB_DONE);
        cr_assert_eq(v.value.encoding, max == 2 ? ENC_TABLE : ENC_LISTPACK);
        check(&v.value);
        rdb_value_deinit(&v);
        cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "a 1 b 1 c -0.5e3", &v), RDB_DONE);
        cr_assert_eq(v.value.encoding, max == 2 ? ENC_TREE : ENC_LISTPACK);
        check(&v.value);
        rdb_value_deinit(&v);
    }
}

Test(rdb_read, packed_forms_that_contradict_themselves_are_refused)
{
    struct rdb_value v;
    cr_assert_eq(read_words(RDB_HASH_LISTPACK, "a 1 a 2", &v), RDB_CORRUPT);
    cr_assert_eq(read_words(RDB_HASH_LISTPACK, "a 1 b", &v), RDB_CORRUPT);
    cr_assert_eq(read_words(RDB_SET_LISTPACK, "a b a", &v), RDB_CORRUPT);
    cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "a 1 a 2", &v), RDB_CORRUPT);
    cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "a x", &v), RDB_CORRUPT);
    cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "a nan", &v), RDB_CORRUPT);
    cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "a 1 b", &v), RDB_CORRUPT);
    cr_assert_eq(read_words(RDB_HASH_LISTPACK, "", &v), RDB_EMPTY);
    cr_assert_eq(read_words(RDB_SET_LISTPACK, "", &v), RDB_EMPTY);
    cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "", &v), RDB_EMPTY);
    cr_assert_eq(read_packed(RDB_SET_LISTPACK, SLICE("junk"), &v), RDB_CORRUPT);
    cr_assert_eq(read_packed(RDB_SET_INTSET, BYTES("\2\0\0\0\2\0\0\0\2\0\1\0"), &v), RDB_CORRUPT);
    cr_assert_eq(read_packed(RDB_SET_INTSET, BYTES("\2\0\0\0\2\0\0\0\1\0\1\0"), &v), RDB_CORRUPT);
    cr_assert_eq(read_packed(RDB_SET_INTSET, BYTES("\3\0\0\0\0\0\0\0"), &v), RDB_CORRUPT);
    cr_assert_eq(read_packed(RDB_SET_INTSET, BYTES("\2\0\0\0\0\0\0\0"), &v), RDB_EMPTY);
}

Test(rdb_read, an_unsorted_packed_set_is_sorted)
{
    struct rdb_value v;
    double score;
    cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "b 2 a 1 c -3", &v), RDB_DONE);
    check(&v.value);
    cr_assert(zset_score(&v.value, &keyspace, SLICE("c"), &score) && score == -3);
    rdb_value_deinit(&v);
    cr_assert_eq(read_words(RDB_ZSET_LISTPACK, "b 2 a 1 b -3", &v), RDB_CORRUPT);
}

/* --- Older versions --- */

static const char ziplist[] =
    "\x27\0\0\0\x23\0\0\0\x06\0"                /* bytes, last entry, entries */
    "\0\x01" "a" "\x03\xf1" "\x02\xfe\xff"      /* "a", 0, -1 */
    "\x03\xc0\x2c\x01" "\x04\xf0\xc0\x63\xff"   /* 300, -40000 */
    "\x05\x40\x05" "hello";

/* The same with its end byte, and `at` replaced by `byte` (`at` 0: none). */
static struct slice damaged(char *to, size_t at, int byte)
{
    size_t size = sizeof(ziplist);
    memcpy(to, ziplist, size);
    to[size - 1] = (char)0xff;
    to[0] = (char)size;
    to[4] = (char)(size - 9);
    if (at)
        to[at] = (char)byte;
    return (struct slice){to, size};
}

Test(rdb_read, ziplists_are_read)
{
    static const char *const expected[] = {"a", "0", "-1", "300", "-40000", "hello"};
    char bytes[sizeof(ziplist)], scratch[NUMBER_INTEGER_SIZE_MAX];
    struct rdb_value v;
    cr_assert_eq(read_packed(RDB_LIST_ZIPLIST, damaged(bytes, 0, 0), &v), RDB_DONE);
    struct list_cursor c;
    list_cursor_start(&c, &v.value, 0, false);
    for (int i = 0; i < 6; i++, list_cursor_next(&c))
        cr_assert(slice_equal(list_cursor_text(&c, scratch), slice_of(expected[i])));
    cr_assert(list_cursor_ended(&c));
    list_cursor_stop(&c);
    rdb_value_deinit(&v);
    cr_assert_eq(read_packed(RDB_HASH_ZIPLIST, damaged(bytes, 0, 0), &v), RDB_DONE);
    cr_assert_eq(value_count(&v.value), 3);
    rdb_value_deinit(&v);
    cr_assert_eq(read_packed(RDB_ZSET_ZIPLIST, damaged(bytes, 0, 0), &v), RDB_CORRUPT);
}

Test(rdb_read, damaged_ziplists_are_refused_or_whole)
{
    static const size_t fatal[] = {0, 4, 8, 10, 13, 15, 18, 22, sizeof(ziplist) - 1};
    char bytes[sizeof(ziplist)];
    struct rdb_value v;
    for (size_t at = 1; at < sizeof(ziplist); at++)
        for (int byte = 0; byte < 256; byte++) {
            struct slice packed = damaged(bytes, at, byte);
            if (read_packed(RDB_LIST_ZIPLIST, packed, &v) == RDB_DONE) {
                check(&v.value);
                rdb_value_deinit(&v);
            }
        }
    for (size_t i = 1; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        cr_assert_eq(read_packed(RDB_LIST_ZIPLIST, damaged(bytes, fatal[i], 0x55), &v),
                     RDB_CORRUPT, "byte %zu", fatal[i]);
}

Test(rdb_read, zipmaps_are_read)
{
    struct rdb_value v;
    struct hash_pair pair;
    struct slice zipmap = BYTES("\x02\x01" "f" "\x01\x02" "v??" "\x01" "g" "\x00\x00\xff");
    cr_assert_eq(read_packed(RDB_HASH_ZIPMAP, zipmap, &v), RDB_DONE);
    cr_assert(hash_get(&v.value, &keyspace, SLICE("f"), 0, &pair));
    cr_assert(slice_equal(pair.value, SLICE("v")));
    cr_assert_eq(value_count(&v.value), 2);
    rdb_value_deinit(&v);
    for (size_t cut = 0; cut < zipmap.size; cut++)
        cr_assert_eq(read_packed(RDB_HASH_ZIPMAP, (struct slice){zipmap.data, cut}, &v),
                     RDB_CORRUPT);
    cr_assert_eq(read_packed(RDB_HASH_ZIPMAP, BYTES("\x02\x01" "f" "\x01\x00" "v\x01" "f"
                                                    "\x00\x00\xff"), &v), RDB_CORRUPT);
    cr_assert_eq(read_packed(RDB_HASH_ZIPMAP, BYTES("\x00\xff"), &v), RDB_EMPTY);
}
