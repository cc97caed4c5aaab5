/* Keys and values: encodings as Redis names them, growth, expiry, clocks, moves between shards, and
 * a long random run against a simple model. */
#include "shard/db.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "proto/number.h"

#define SHARDS 2
#define DBS 3
#define START_MS INT64_C(1700000000123)
#define WIDE_KEY_SIZE 3000

static struct keyspace keyspace;
static struct shard shards[SHARDS];
static struct shard *shard_list[SHARDS];
static struct command command = {.name = "test", .first_key = 1};
static struct slice argv[2];
static struct call call;

static void start(void)
{
    unsigned char secret[HASH_SECRET_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 59 + 7);
    keyspace_init(&keyspace, SHARDS, DBS, secret);
    for (uint32_t i = 0; i < SHARDS; i++) {
        shard_init(&shards[i], i, &keyspace, i + 1);
        shards[i].now_ms = START_MS;
        shard_list[i] = &shards[i];
    }
    call = (struct call){
        .shards = shard_list,
        .keyspace = &keyspace,
        .command = &command,
        .argv = argv,
        .argc = 2,
        .now_ms = START_MS,
    };
}

static void advance(int64_t ms)
{
    call.now_ms += ms;
    for (uint32_t i = 0; i < SHARDS; i++)
        shards[i].now_ms = call.now_ms;
}

/* After a clear nothing may be left: every byte given to a key came back. */
static void stop(void)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        for (uint32_t db = 0; db < DBS; db++)
            db_clear(&shards[i], db, false);
        cr_assert_eq(shards[i].heap.used_bytes, 0);
        cr_assert_eq(shards[i].block_bytes, 0);
        heap_check(&shards[i].heap);
        shard_deinit(&shards[i]);
    }
}

TestSuite(db, .init = start, .fini = stop);

static struct place find(const char *key)
{
    return db_find_key(&call, slice_of(key), 0, DB_PEEK);
}

static struct place put(const char *key, const char *value)
{
    struct place p = find(key);
    db_put_string(&p, slice_of(value), DB_NO_EXPIRY);
    return p;
}

static void assert_value(const struct place *p, const char *expected)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    cr_assert(p->entry);
    struct slice value = db_string(p, scratch);
    cr_assert(slice_equal(value, slice_of(expected)), "%.*s", (int)value.size, value.data);
}

static void fill(char *to, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (char)('a' + (i * 7 + seed) % 26);
}

Test(db, an_absent_key_has_no_entry)
{
    struct place p = find("nothing");
    cr_assert_null(p.entry);
}

/* The right column is what redis-server 7.0 answers to OBJECT ENCODING after SET. */
Test(db, encodings_are_those_of_redis)
{
    static const struct {
        const char *value, *encoding;
    } cases[] = {
        {"", "embstr"}, {"a", "embstr"}, {"1", "int"}, {"-1", "int"}, {"0", "int"},
        {"-0", "embstr"}, {"007", "embstr"}, {"+5", "embstr"}, {" 1", "embstr"},
        {"1.5", "embstr"}, {"-", "embstr"}, {"9223372036854775807", "int"},
        {"9223372036854775808", "embstr"}, {"-9223372036854775808", "int"},
        {"-9223372036854775809", "embstr"}, {"12345678901234567890", "embstr"},
        {"xxxxxxxxxxxxxxxxxxxx", "embstr"},
        {"01234567890123456789012345678901234567890123", "embstr"},
        {"012345678901234567890123456789012345678901234", "raw"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct place p = put("k", cases[i].value);
        cr_assert_str_eq(db_encoding_name(&p), cases[i].encoding, "%s", cases[i].value);
        cr_assert_str_eq(db_type_name(&p), "string");
        assert_value(&p, cases[i].value);
        p = find("k");
        assert_value(&p, cases[i].value);
    }
}

Test(db, written_bytes_are_raw_until_the_value_is_replaced)
{
    struct place p = put("k", "12");
    memcpy(db_string_bytes(&p, 3) + 2, "3", 1);
    cr_assert_str_eq(db_encoding_name(&p), "raw");
    assert_value(&p, "123");
    int64_t integer;
    cr_assert_not(db_string_integer(&p, &integer));
    struct place copy = find("copy");
    db_copy(&p, &copy);
    cr_assert_str_eq(db_encoding_name(&copy), "raw");
    db_put_integer(&p, 124, DB_KEEP_EXPIRY);
    cr_assert_str_eq(db_encoding_name(&p), "int");
    db_put_string(&p, SLICE("x"), DB_NO_EXPIRY);
    cr_assert_str_eq(db_encoding_name(&p), "embstr");
}

Test(db, integers_come_back_as_integers)
{
    const int64_t values[] = {0, 1, -1, 10000, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct place p = find("k");
        db_put_integer(&p, values[i], DB_NO_EXPIRY);
        int64_t value;
        cr_assert(db_string_integer(&p, &value));
        cr_assert_eq(value, values[i]);
        char text[32];
        snprintf(text, sizeof(text), "%lld", (long long)values[i]);
        assert_value(&p, text);
        db_put_string(&p, slice_of(text), DB_NO_EXPIRY);
        cr_assert(db_string_integer(&p, &value));
        cr_assert_eq(value, values[i]);
    }
}

Test(db, a_value_of_about_the_same_size_stays_in_its_entry)
{
    struct place p = put("key", "0123456789abcdef");
    struct entry *e = p.entry;
    db_put_string(&p, SLICE("fedcba987654321x"), DB_NO_EXPIRY);
    cr_assert_eq(p.entry, e);
    assert_value(&p, "fedcba987654321x");
    db_put_string(&p, SLICE("fedcba98765432x"), DB_KEEP_EXPIRY);
    cr_assert_eq(p.entry, e);
    assert_value(&p, "fedcba98765432x");
}

Test(db, sizes_around_the_block_threshold_keep_their_bytes)
{
    char value[2300];
    for (size_t size = 900; size < sizeof(value); size += 31) {
        fill(value, size, (uint32_t)size);
        struct place p = find("k");
        db_put_string(&p, (struct slice){value, size}, DB_NO_EXPIRY);
        cr_assert(slice_equal(db_string(&p, NULL), (struct slice){value, size}));
        cr_assert_str_eq(db_encoding_name(&p), "raw");
    }
    struct place p = put("k", "short");
    cr_assert_eq(p.shard->block_bytes, 0);
}

Test(db, replacing_keeps_sets_or_drops_the_expiry)
{
    struct place p = find("k");
    db_put_string(&p, SLICE("a"), START_MS + 1000);
    cr_assert_eq(db_expiry(&p), START_MS + 1000);
    cr_assert_eq(p.db->expiring_count, 1);
    db_put_string(&p, SLICE("a longer value than it was"), DB_KEEP_EXPIRY);
    cr_assert_eq(db_expiry(&p), START_MS + 1000);
    db_put_integer(&p, 5, START_MS + 2000);
    cr_assert_eq(db_expiry(&p), START_MS + 2000);
    cr_assert_eq(p.db->expiring_count, 1);
    memset(db_string_bytes(&p, 5000), 'x', 5000);
    cr_assert_eq(db_expiry(&p), START_MS + 2000);
    db_put_string(&p, SLICE("b"), DB_NO_EXPIRY);
    cr_assert_eq(db_expiry(&p), DB_NO_EXPIRY);
    cr_assert_eq(p.db->expiring_count, 0);
    assert_value(&p, "b");
}

Test(db, an_expiry_comes_and_goes_without_touching_the_value)
{
    char large[4000];
    fill(large, sizeof(large) - 1, 3);
    large[sizeof(large) - 1] = 0;
    const char *values[] = {"", "12", "short", large};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct place p = put("k", values[i]);
        for (int64_t round = 1; round < 4; round++) {
            db_set_expiry(&p, START_MS + round);
            cr_assert_eq(db_expiry(&p), START_MS + round);
            cr_assert(table_mark(p.at));
            assert_value(&p, values[i]);
            db_set_expiry(&p, START_MS + 2 * round);
            cr_assert_eq(db_expiry(&p), START_MS + 2 * round);
            cr_assert_eq(p.db->expiring_count, 1);
            db_set_expiry(&p, DB_NO_EXPIRY);
            cr_assert_eq(db_expiry(&p), DB_NO_EXPIRY);
            cr_assert_eq(p.db->expiring_count, 0);
            cr_assert_not(table_mark(p.at));
            assert_value(&p, values[i]);
        }
    }
}

Test(db, a_key_lives_in_the_millisecond_of_its_expiry_and_not_after)
{
    struct place p = find("k");
    db_put_string(&p, SLICE("v"), START_MS + 10);
    advance(10);
    p = find("k");
    assert_value(&p, "v");
    advance(1);
    p = find("k");
    cr_assert_null(p.entry);
    cr_assert_eq(p.shard->stats.expired, 1);
    cr_assert_eq(p.shard->stats.expired_swept, 0);
    cr_assert_eq(p.db->expiring_count, 0);
    cr_assert_eq(p.db->keys.count, 0);
    db_put_string(&p, SLICE("w"), DB_KEEP_EXPIRY);
    cr_assert_eq(db_expiry(&p), DB_NO_EXPIRY);
}

Test(db, a_string_grows_with_zeros_and_shrinks)
{
    const size_t sizes[] = {0,    1,    5,    44,   45,  300,    299, 1024,
                            1025, 1500, 5000, 4000, 900, 100000, 10};
    struct place p = find("k");
    char *model = mem_alloc_zeroed(100000);
    size_t size = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *bytes = db_string_bytes(&p, sizes[i]);
        if (sizes[i] < size)
            memset(model + sizes[i], 0, size - sizes[i]);
        size = sizes[i];
        cr_assert(slice_equal(db_string(&p, NULL), (struct slice){model, size}), "%zu", size);
        cr_assert_eq(db_string(&p, NULL).data, bytes);
        cr_assert_str_eq(db_encoding_name(&p), "raw");
        fill(bytes, size, (uint32_t)i);
        fill(model, size, (uint32_t)i);
    }
    mem_free(model);
}

Test(db, appending_byte_by_byte_moves_the_bytes_only_now_and_then)
{
    const size_t bytes_count = 300000;
    struct place p = find("k");
    const char *last = NULL;
    size_t moves = 0;
    for (size_t size = 1; size <= bytes_count; size++) {
        char *bytes = db_string_bytes(&p, size);
        bytes[size - 1] = (char)('a' + size % 26);
        moves += bytes != last;
        last = bytes;
    }
    cr_assert_lt(moves, 100);
    for (size_t size = 1; size <= bytes_count; size++)
        cr_assert_eq(last[size - 1], (char)('a' + size % 26));
}

Test(db, a_string_cut_short_gives_its_memory_back)
{
    struct place p = find("k");
    memset(db_string_bytes(&p, 1 << 20), 'x', 1 << 20);
    cr_assert_geq(db_memory(&p), 1 << 20);
    db_string_bytes(&p, 10);
    cr_assert_lt(db_memory(&p), 4096);
    assert_value(&p, "xxxxxxxxxx");
}

Test(db, memory_is_the_entry_and_its_block)
{
    struct place p = put("0123456789abcdef", "0123456789abcdef0123456789abcdef");
    cr_assert_geq(db_memory(&p), 56);
    cr_assert_leq(db_memory(&p), 72);
    memset(db_string_bytes(&p, 100000), 'x', 100000);
    cr_assert_geq(db_memory(&p), 100000);
    cr_assert_eq(p.shard->block_bytes + p.shard->heap.used_bytes, db_memory(&p) - 11);
}

Test(db, keys_of_any_size_are_told_apart)
{
    const size_t sizes[] = {0, 1, 254, 255, 256, 257, 1000, 2040, WIDE_KEY_SIZE};
    char key[WIDE_KEY_SIZE], text[32];
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            fill(key, sizes[i], 0);
            struct place p = db_find_key(&call, (struct slice){key, sizes[i]}, 0, DB_PEEK);
            snprintf(text, sizeof(text), "value %zu", sizes[i]);
            if (pass == 0) {
                cr_assert_null(p.entry);
                db_put_string(&p, slice_of(text), DB_NO_EXPIRY);
                db_set_expiry(&p, START_MS + 5);
            } else {
                assert_value(&p, text);
                cr_assert(slice_equal(entry_key(p.entry), (struct slice){key, sizes[i]}));
                cr_assert_eq(db_expiry(&p), START_MS + 5);
                db_set_expiry(&p, DB_NO_EXPIRY);
                assert_value(&p, text);
                cr_assert_str_eq(db_encoding_name(&p), "embstr");
            }
        }
    }
}

Test(db, databases_are_apart)
{
    struct place a = db_find_key(&call, SLICE("k"), 0, DB_PEEK);
    db_put_string(&a, SLICE("zero"), DB_NO_EXPIRY);
    struct place b = db_find_key(&call, SLICE("k"), 1, DB_PEEK);
    cr_assert_null(b.entry);
    db_put_string(&b, SLICE("one"), DB_NO_EXPIRY);
    db_delete(&a);
    cr_assert_null(a.entry);
    assert_value(&b, "one");
    cr_assert_eq(db_key_count(b.shard, 0), 0);
    cr_assert_eq(db_key_count(b.shard, 1), 1);
}

Test(db, reads_count_hits_and_misses_in_the_shard_of_the_key)
{
    struct place p = put("k", "v");
    struct shard_stats *stats = &p.shard->stats, *other = &shards[1 - p.shard->index].stats;
    db_find_key(&call, SLICE("k"), 0, DB_READ);
    db_find_key(&call, SLICE("k"), 1, DB_READ);
    db_find_key(&call, SLICE("k"), 0, DB_WRITE);
    db_find_key(&call, SLICE("k"), 1, DB_PEEK);
    cr_assert_eq(stats->hits, 1);
    cr_assert_eq(stats->misses, 1);
    cr_assert_eq(other->hits + other->misses, 0);
    db_changed(&call, &p);
    cr_assert_eq(stats->changes, 1);
}

Test(db, the_first_keys_hash_is_taken_from_the_call)
{
    put("k", "v");
    argv[1] = SLICE("k");
    struct place p = db_find(&call, 1, DB_READ);
    assert_value(&p, "v");
    call.first_key_hashed = true;
    call.first_key_hash = keyspace_hash(&keyspace, argv[1]);
    p = db_find(&call, 1, DB_READ);
    assert_value(&p, "v");
    call.first_key_hash = keyspace_hash(&keyspace, SLICE("other"));
    p = db_find(&call, 1, DB_READ);
    cr_assert_null(p.entry);
    cr_assert_eq(p.hash, call.first_key_hash);
}

Test(db, idle_time_starts_anew_with_each_access_but_not_with_a_peek)
{
    struct place p = put("k", "v");
    advance(5000);
    p = find("k");
    cr_assert_eq(db_idle_ms(&p), 5000);
    call.no_touch = true;
    db_find_key(&call, SLICE("k"), 0, DB_READ);
    call.no_touch = false;
    cr_assert_eq(db_idle_ms(&p), 5000);
    db_find_key(&call, SLICE("k"), 0, DB_READ);
    cr_assert_eq(db_idle_ms(&p), 0);
    advance(3000);
    db_find_key(&call, SLICE("k"), 0, DB_WRITE);
    cr_assert_eq(db_idle_ms(&p), 0);
    advance(2000);
    db_put_string(&p, SLICE("w"), DB_NO_EXPIRY);
    cr_assert_eq(db_idle_ms(&p), 0);
}

Test(db, idle_time_survives_the_wrap_of_the_clock)
{
    advance((((int64_t)1 << 24) - START_MS / 1000 % (1 << 24) - 2) * 1000);
    struct place p = put("k", "v");
    advance(7000);
    cr_assert_eq(db_idle_ms(&p), 7000);
}

Test(db, frequency_grows_with_accesses_and_decays_by_the_minute)
{
    keyspace.options.lfu = true;
    struct place p = put("k", "v");
    cr_assert_eq(db_frequency(&p), 5);
    for (int i = 0; i < 1000; i++)
        db_find_key(&call, SLICE("k"), 0, DB_READ);
    uint32_t counter = db_frequency(&p);
    cr_assert_gt(counter, 10);
    cr_assert_lt(counter, 40);
    db_put_string(&p, SLICE("a longer value than before"), DB_NO_EXPIRY);
    cr_assert_eq(db_frequency(&p), counter);
    advance(3 * 60000);
    cr_assert_eq(db_frequency(&p), counter - 3);
    advance(1000 * 60000);
    cr_assert_eq(db_frequency(&p), 0);
    keyspace.options.lfu_decay_minutes = 0;
    cr_assert_eq(db_frequency(&p), counter);
    keyspace.options.lfu_log_factor = 0;
    for (int i = 0; i < 300; i++)
        db_find_key(&call, SLICE("k"), 0, DB_READ);
    cr_assert_eq(db_frequency(&p), 255);
}

Test(db, a_place_finds_itself_again_after_others_come_and_go)
{
    struct place p = put("k", "v");
    char key[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "other %d", i);
        put(key, "x");
    }
    db_set_expiry(&p, START_MS + 9);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "other %d", i);
        struct place other = find(key);
        db_delete(&other);
    }
    assert_value(&p, "v");
    db_put_string(&p, SLICE("a value in another class of the heap"), DB_NO_EXPIRY);
    struct place again = find("k");
    cr_assert_eq(again.entry, p.entry);
    db_delete(&p);
    again = find("k");
    cr_assert_null(again.entry);
}

static void assert_moves(const char *value, int64_t expires_ms, bool exists)
{
    for (int n = 0; n < 8; n++) {
        char to_key[16];
        snprintf(to_key, sizeof(to_key), "to %d", n);
        struct place from = db_find_key(&call, SLICE("from"), 0, DB_PEEK);
        db_put_string(&from, slice_of(value), expires_ms);
        advance(2000);
        struct place to = db_find_key(&call, slice_of(to_key), (uint32_t)n % DBS, DB_PEEK);
        if (exists)
            db_put_string(&to, SLICE("what was there before"), START_MS + 100000);
        const char *encoding = db_encoding_name(&from);
        db_move(&from, &to);
        cr_assert_null(from.entry);
        from = find("from");
        cr_assert_null(from.entry);
        to = db_find_key(&call, slice_of(to_key), (uint32_t)n % DBS, DB_PEEK);
        assert_value(&to, value);
        cr_assert_eq(db_expiry(&to), expires_ms);
        cr_assert_str_eq(db_encoding_name(&to), encoding);
        cr_assert_eq(db_idle_ms(&to), 2000);
        cr_assert_eq(to.db->expiring_count, expires_ms != DB_NO_EXPIRY);
        db_delete(&to);
        cr_assert_eq(to.db->expiring_count, 0);
    }
}

Test(db, a_move_takes_value_and_expiry_to_any_shard_and_database)
{
    char large[5000];
    fill(large, sizeof(large) - 1, 1);
    large[sizeof(large) - 1] = 0;
    const char *values[] = {"short", "123", large};
    for (size_t i = 0; i < 3; i++) {
        assert_moves(values[i], DB_NO_EXPIRY, false);
        assert_moves(values[i], START_MS + 900000, false);
        assert_moves(values[i], DB_NO_EXPIRY, true);
        assert_moves(values[i], START_MS + 900000, true);
    }
}

Test(db, a_moved_block_changes_its_owner_uncopied)
{
    struct place from = find("from"), to;
    const char *bytes = db_string_bytes(&from, 5000);
    char key[16];
    int n = 0;
    do {
        snprintf(key, sizeof(key), "to %d", n++);
        to = find(key);
    } while (to.shard == from.shard);
    db_move(&from, &to);
    cr_assert_eq(db_string(&to, NULL).data, bytes);
    cr_assert_eq(from.shard->block_bytes, 0);
    cr_assert_geq(to.shard->block_bytes, 5000);
}

Test(db, a_copy_is_independent)
{
    char large[5000];
    fill(large, sizeof(large) - 1, 1);
    large[sizeof(large) - 1] = 0;
    const char *values[] = {"short", "123", large};
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t db = 0; db < DBS; db++) {
            struct place from = put("from", values[i]);
            db_set_expiry(&from, START_MS + 77);
            struct place to = db_find_key(&call, SLICE("a copy"), db, DB_PEEK);
            db_copy(&from, &to);
            db_string_bytes(&from, 4)[0] = '!';
            assert_value(&to, values[i]);
            cr_assert_eq(db_expiry(&to), START_MS + 77);
            db_delete(&from);
            to = db_find_key(&call, SLICE("a copy"), db, DB_PEEK);
            assert_value(&to, values[i]);
        }
    }
}

Test(db, a_random_key_has_not_expired)
{
    struct shard *s = &shards[0];
    call.shard = s;
    cr_assert_null(db_random(s, 0));
    char key[16];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        struct place p = find(key);
        db_put_integer(&p, i, i % 100 == 7 ? DB_NO_EXPIRY : START_MS + 1);
    }
    advance(2);
    bool seen[2] = {false};
    for (int i = 0; i < 100; i++) {
        struct slice found = entry_key(db_random(s, 0));
        cr_assert(slice_equal(found, SLICE("key 7")) || slice_equal(found, SLICE("key 107")));
        seen[found.size == 7] = true;
    }
    cr_assert(seen[0] && seen[1]);
    struct place p = find("key 7");
    db_set_expiry(&p, START_MS + 1);
    p = find("key 107");
    db_set_expiry(&p, START_MS + 1);
    cr_assert_null(db_random(s, 0));
    cr_assert_eq(db_key_count(s, 0), 0);
}

Test(db, swapped_databases_keep_working)
{
    struct shard *s = &shards[0];
    call.shard = s;
    struct place p = db_find_key(&call, SLICE("a"), 0, DB_PEEK);
    db_put_string(&p, SLICE("zero"), START_MS + 5);
    p = db_find_key(&call, SLICE("b"), 1, DB_PEEK);
    db_put_string(&p, SLICE("one"), DB_NO_EXPIRY);
    db_swap(s, 0, 1);
    p = db_find_key(&call, SLICE("a"), 1, DB_PEEK);
    assert_value(&p, "zero");
    cr_assert_eq(s->dbs[1].expiring_count, 1);
    p = db_find_key(&call, SLICE("a"), 0, DB_PEEK);
    cr_assert_null(p.entry);
    for (int64_t i = 0; i < 1000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key %d", (int)i);
        p = find(key);
        db_put_integer(&p, i, DB_NO_EXPIRY);
    }
    table_check(&s->dbs[0].keys);
    db_swap(s, 2, 2);
    db_clear(s, 1, false);
    cr_assert_eq(s->dbs[1].expiring_count, 0);
    cr_assert_eq(db_key_count(s, 1), 0);
    cr_assert_eq(db_key_count(s, 0), 1001);
}

static void count_key(void *context, struct entry *e)
{
    unsigned *seen = context;
    struct slice key = entry_key(e);
    seen[atoi(key.data + 1)]++;
}

Test(db, a_scan_meets_every_key_that_has_not_expired)
{
    struct shard *s = &shards[0];
    call.shard = s;
    unsigned seen[1000] = {0};
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%06d", i);
        struct place p = db_find_key(&call, (struct slice){key, 8}, 0, DB_PEEK);
        db_put_integer(&p, i, i % 3 ? DB_NO_EXPIRY : START_MS + 1);
    }
    advance(2);
    uint64_t position = 0, calls = 0;
    do {
        db_scan(s, 0, &position, 10, count_key, seen);
        cr_assert_lt(position, UINT64_C(1) << 48);
        calls++;
    } while (position != 0);
    cr_assert_gt(calls, 50);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(seen[i], i % 3 ? 1 : 0, "%d", i);
    cr_assert_eq(db_key_count(s, 0), 666, "the expired ones were removed on the way");
    db_scan(s, 1, &position, UINT64_MAX, count_key, seen);
    cr_assert_eq(position, 0);
}

/* --- Against a model --- */

#define MODEL_KEYS 60
#define MODEL_SIZE_MAX 6000
#define MODEL_STEPS 60000

struct model_value {
    bool present;
    int64_t expires_ms;
    size_t size;
    char bytes[MODEL_SIZE_MAX];
};

static struct model_value model[DBS][MODEL_KEYS];
static uint64_t model_state;

static uint32_t pick(uint32_t bound)
{
    model_state = model_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(model_state >> 33) % bound;
}

/* Keys of all kinds of sizes: mostly short, every tenth wide. */
static struct slice model_key(uint32_t n)
{
    static char keys[MODEL_KEYS][WIDE_KEY_SIZE];
    size_t size = n % 10 == 9 ? (n / 10) * 500 + 250 : 3 + n % 30;
    memset(keys[n], 'k', size);
    keys[n][0] = (char)('0' + n / 10);
    keys[n][1] = (char)('0' + n % 10);
    return (struct slice){keys[n], size};
}

static bool model_alive(const struct model_value *m)
{
    return m->present && (m->expires_ms == DB_NO_EXPIRY || call.now_ms <= m->expires_ms);
}

static size_t model_size(void)
{
    uint32_t kind = pick(10);
    return kind < 6 ? pick(60) : kind < 8 ? pick(1200) : pick(MODEL_SIZE_MAX - 1000);
}

/* One of the expiries that a put takes, and what comes of it. */
static int64_t model_expiry(struct model_value *m, bool alive)
{
    switch (pick(3)) {
    case 0:
        m->expires_ms = DB_NO_EXPIRY;
        return DB_NO_EXPIRY;
    case 1:
        m->expires_ms = alive ? m->expires_ms : DB_NO_EXPIRY;
        return DB_KEEP_EXPIRY;
    default:
        return m->expires_ms = call.now_ms + pick(3000);
    }
}

static void model_put(struct place *p, struct model_value *m, bool alive)
{
    int64_t expires_ms = model_expiry(m, alive);
    m->present = true;
    if (pick(3) == 0) {
        int64_t value = (int64_t)pick(UINT32_MAX) - (int64_t)pick(UINT32_MAX);
        m->size = (size_t)sprintf(m->bytes, "%lld", (long long)value);
        if (pick(2))
            db_put_integer(p, value, expires_ms);
        else
            db_put_string(p, (struct slice){m->bytes, m->size}, expires_ms);
    } else {
        m->size = model_size();
        fill(m->bytes, m->size, pick(26));
        db_put_string(p, (struct slice){m->bytes, m->size}, expires_ms);
    }
}

static void model_append(struct place *p, struct model_value *m, bool alive)
{
    size_t old_size = alive ? m->size : 0;
    bool cut = pick(8) == 0;
    size_t size = cut ? pick((uint32_t)old_size + 1) : old_size + model_size() / 4;
    size = size < MODEL_SIZE_MAX ? size : MODEL_SIZE_MAX;
    char *bytes = db_string_bytes(p, size);
    if (!alive)
        m->expires_ms = DB_NO_EXPIRY;
    if (size > old_size) {
        cr_assert(bytes[old_size] == 0 && bytes[size - 1] == 0);
        fill(bytes + old_size, size - old_size, 5);
        fill(m->bytes + old_size, size - old_size, 5);
    }
    m->present = true;
    m->size = size;
}

static void model_relocate(struct place *p, struct model_value *m)
{
    uint32_t db = pick(DBS), n = pick(MODEL_KEYS);
    struct model_value *to_model = &model[db][n];
    if (to_model == m)
        return;
    struct place to = db_find_key(&call, model_key(n), db, DB_WRITE);
    cr_assert_eq(to.entry != NULL, model_alive(to_model));
    *to_model = *m;
    if (pick(2)) {
        db_copy(p, &to);
    } else {
        db_move(p, &to);
        m->present = false;
    }
}

static void model_step(void)
{
    uint32_t db = pick(DBS), n = pick(MODEL_KEYS);
    struct model_value *m = &model[db][n];
    bool alive = model_alive(m);
    struct place p = db_find_key(&call, model_key(n), db, (enum db_mode)pick(3));
    cr_assert_eq(p.entry != NULL, alive);
    if (alive) {
        char scratch[NUMBER_INTEGER_SIZE_MAX];
        cr_assert(slice_equal(db_string(&p, scratch), (struct slice){m->bytes, m->size}));
        cr_assert_eq(db_expiry(&p), m->expires_ms);
    }
    uint32_t choice = pick(10);
    if (choice < 3) {
        model_put(&p, m, alive);
    } else if (choice < 6) {
        model_append(&p, m, alive);
    } else if (!alive) {
        advance(pick(20));
    } else if (choice == 6) {
        db_delete(&p);
        m->present = false;
    } else if (choice == 7) {
        m->expires_ms = pick(2) ? DB_NO_EXPIRY : call.now_ms + pick(3000);
        db_set_expiry(&p, m->expires_ms);
    } else {
        model_relocate(&p, m);
    }
}

struct census {
    uint64_t keys, expiring;
};

static void take_census(void *context, void *item, struct table_place at)
{
    struct census *census = context;
    census->keys++;
    census->expiring += entry_expires(item);
    cr_assert_eq(table_mark(at), entry_expires(item));
}

static void model_check(void)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        heap_check(&shards[i].heap);
        for (uint32_t db = 0; db < DBS; db++) {
            struct db *d = &shards[i].dbs[db];
            struct census census = {0};
            table_check(&d->keys);
            table_scan(&d->keys, 0, 0, 0, false, take_census, &census);
            cr_assert_eq(census.keys, d->keys.count);
            cr_assert_eq(census.expiring, d->expiring_count);
        }
    }
}

/* At the end all keys are as the model has them, and the sweep has removed what is not in it. */
static void model_check_end(void)
{
    uint64_t alive = 0, count = 0, visited;
    for (uint32_t i = 0; i < SHARDS; i++) {
        for (int round = 0; round < 10; round++)
            shard_sweep(&shards[i], 1000, &visited);
        for (uint32_t db = 0; db < DBS; db++)
            count += db_key_count(&shards[i], db);
    }
    for (uint32_t db = 0; db < DBS; db++)
        for (uint32_t n = 0; n < MODEL_KEYS; n++)
            alive += model_alive(&model[db][n]);
    cr_assert_eq(count, alive);
}

Test(db, random_changes_leave_what_the_model_says)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        model_state = seed;
        keyspace.options.lfu = seed == 2;
        for (int step = 0; step < MODEL_STEPS / 3; step++) {
            model_step();
            uint64_t visited;
            if (pick(50) == 0)
                shard_sweep(&shards[pick(SHARDS)], pick(30), &visited);
            if (step % 200 == 0)
                model_check();
        }
        model_check_end();
    }
}
