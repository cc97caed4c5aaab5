/* Compaction: all keys keep their values, and thin pages become empty. */
#include "shard/compact.h"

#include "proto/mem.h"
#include "shard/db.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream.h"
#include "shard/type/zset.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define KEYS 6000
#define NOW_MS INT64_C(1700000000000)

static struct keyspace keyspace;
static struct shard shard;
static struct command command = {.name = "test", .first_key = 1};
static struct call call;
static char text[8000];

static void start(void)
{
    unsigned char secret[HASH_SECRET_SIZE] = {7, 1, 99};
    keyspace_init(&keyspace, 1, 2, secret);
    shard_init(&shard, 0, &keyspace, 1);
    shard.now_ms = NOW_MS;
    call = (struct call){
        .shard = &shard, .keyspace = &keyspace, .command = &command, .now_ms = NOW_MS,
    };
    memset(text, 'x', sizeof(text));
}

static void stop(void)
{
    shard_deinit(&shard);
}

TestSuite(compact, .init = start, .fini = stop);

static struct place find(int number, enum db_mode mode)
{
    static char key[32];
    int size = snprintf(key, sizeof(key), "key %d", number);
    return db_find_key(&call, (struct slice){key, (size_t)size}, (uint32_t)number % 2, mode);
}

/* Every size of string, with and without an expiry. */
static size_t size_of(int number)
{
    return (size_t)number * 7919 % sizeof(text);
}

static void fill_and_thin(void)
{
    for (int i = 0; i < KEYS; i++) {
        struct place p = find(i, DB_WRITE);
        db_put_string(&p, (struct slice){text, size_of(i)},
                      i % 3 ? DB_NO_EXPIRY : NOW_MS + 1000 + i);
    }
    for (int i = 0; i < KEYS; i++) {
        struct place p = find(i, DB_WRITE);
        if (i % 5)
            db_delete(&p);
    }
}

static void check(void)
{
    char scratch[32];
    for (int i = 0; i < KEYS; i++) {
        struct place p = find(i, DB_PEEK);
        cr_assert_eq(p.entry != NULL, i % 5 == 0);
        if (!p.entry)
            continue;
        struct slice value = db_string(&p, scratch);
        cr_assert_eq(value.size, size_of(i));
        cr_assert_eq(memcmp(value.data, text, value.size), 0);
        cr_assert_eq(db_expiry(&p), i % 3 ? DB_NO_EXPIRY : NOW_MS + 1000 + i);
    }
    heap_check(&shard.heap);
    table_check(&shard.dbs[0].keys);
    table_check(&shard.dbs[1].keys);
}

Test(compact, leaves_every_key_as_it_was)
{
    fill_and_thin();
    struct mem_move moving = {0};
    struct mem_map thin = {0};
    mem_move_look(&moving);
    mem_move_start(&moving, &thin, 1, 0);
    compact_start(&shard, &moving);
    mem_move_begin(&moving);
    while (compact_step(&shard, 16)) {
        mem_move_pause(&moving);
        heap_check(&shard.heap);
        mem_move_begin(&moving);
    }
    mem_move_pause(&moving);
    mem_move_end(&moving);
    mem_map_end(&thin);
    check();
}

/* --- Collections --- */

#define COLLECTIONS 400
#define ELEMENTS 400 /* more than are moved in one step */

/* What element `i` of a collection is: of many sizes. */
static struct slice element(int number, int i)
{
    static char bytes[200];
    size_t size = 20 + (size_t)(number * 7 + i * 31) % 150;
    memset(bytes, 'a' + (number + i) % 26, sizeof(bytes));
    int head = snprintf(bytes, sizeof(bytes), "%d:%d", number, i);
    bytes[head] = ' ';
    return (struct slice){bytes, size};
}

static void add(struct value *v, int number, int i)
{
    struct slice bytes = element(number, i);
    switch (v->type) {
    case TYPE_HASH:
        hash_set(v, &keyspace, bytes, bytes, i % 9 ? HASH_NO_EXPIRY : NOW_MS + 1000, NOW_MS);
        break;
    case TYPE_SET:
        set_add(v, &keyspace, bytes);
        break;
    case TYPE_ZSET:
        zset_put(v, &keyspace, bytes, i / 3);
        break;
    case TYPE_LIST:
        list_push(v, &keyspace.options, LIST_TAIL, &bytes, 1);
        break;
    default:
        cr_assert(stream_append(v->data, &keyspace, (struct stream_id){1 + (uint64_t)i, 0},
                                (struct slice[2]){bytes, bytes}, 1));
    }
}

static void check_type(const struct value *v)
{
    if (v->type == TYPE_HASH)
        hash_check(v, &keyspace);
    else if (v->type == TYPE_SET)
        set_check(v, &keyspace);
    else if (v->type == TYPE_ZSET)
        zset_check(v, &keyspace);
    else if (v->type == TYPE_LIST)
        list_check(v);
    else
        stream_check(v->data);
}

static const enum entry_type_id types[] = {TYPE_HASH, TYPE_SET, TYPE_ZSET, TYPE_LIST, TYPE_STREAM};

static enum entry_type_id type_of(int number)
{
    return types[number % 5];
}

/* Element by element, so that each collection lies all over the pages; then four of five go. */
static void fill_collections(void)
{
    for (int i = 0; i < ELEMENTS; i++) {
        for (int number = 0; number < COLLECTIONS; number++) {
            struct place p = find(number, DB_WRITE);
            struct value v = db_value(&p, type_of(number));
            add(&v, number, i);
            db_keep(&p, &v);
        }
    }
    for (int number = 0; number < COLLECTIONS; number++) {
        struct place p = find(number, DB_WRITE);
        if (number / 5 % 5)
            db_delete_as(&p, false);
    }
}

static void check_collections(void)
{
    for (int number = 0; number < COLLECTIONS; number++) {
        struct place p = find(number, DB_PEEK);
        cr_assert_eq(p.entry != NULL, number / 5 % 5 == 0);
        if (!p.entry)
            continue;
        struct value v = db_value(&p, type_of(number));
        cr_assert_eq(value_count(&v), ELEMENTS);
        check_type(&v);
        cr_assert(value_memory(&v) > 0);
    }
    heap_check(&shard.heap);
}

/* The invariant that server/compact.c's passes stand on: a pass over a shard that does not change
 * leaves its pages full, whatever lay in them. */
Test(compact, a_pass_leaves_no_pages_of_collections_thin)
{
    fill_collections();
    check_collections();
    struct mem_move moving = {0};
    struct mem_map thin = {0};
    size_t data = shard_data(&shard);
    uint64_t before = mem_move_look(&moving);
    mem_move_start(&moving, &thin, 1, 0);
    compact_start(&shard, &moving);
    for (bool more = true; more;) {
        mem_move_begin(&moving);
        more = compact_step(&shard, 1);
        mem_move_pause(&moving);
        heap_check(&shard.heap);
    }
    mem_move_end(&moving);
    cr_assert_eq(shard_data(&shard), data);
    check_collections();
    uint64_t after = mem_move_look(&moving);
    mem_move_end(&moving);
    mem_map_end(&thin);
    cr_assert(after <= before);
#ifndef LASCA_SYSTEM_MALLOC
    /* An eighth, and a page of each of the allocator's classes up to 16 KiB. */
    cr_assert_lt(after, data / 8 + 41 * (64 << 10));
#endif
}

/* Between two steps anything may become of a collection. */
Test(compact, large_collections_may_change_and_go_between_steps)
{
    fill_collections();
    struct mem_move moving = {0};
    struct mem_map thin = {0};
    mem_move_look(&moving);
    mem_move_start(&moving, &thin, 1, 0);
    compact_start(&shard, &moving);
    for (int i = 0; shard.compaction.on; i++) {
        mem_move_begin(&moving);
        compact_step(&shard, 1);
        mem_move_pause(&moving);
        int number = i % 3 * 25 + i % 5;
        struct place p = find(number, DB_WRITE);
        struct value v = db_value(&p, type_of(number));
        if (v.type == TYPE_LIST && list_count(&v) > 2)
            list_delete(&v, &keyspace.options, 0, 2);
        else if (v.type == TYPE_STREAM && v.data && value_count(&v))
            stream_trim(v.data, &(struct stream_trim){.max_length = value_count(&v) - 1});
        else
            add(&v, number, ELEMENTS + i);
        check_type(&v);
        db_keep(&p, &v);
        if (i % 40 == 39) {
            p = find(number, DB_WRITE);
            db_delete_as(&p, false);
        }
    }
    mem_move_end(&moving);
    mem_map_end(&thin);
    heap_check(&shard.heap);
}

Test(compact, goes_on_while_keys_come_and_go)
{
    fill_and_thin();
    compact_start(&shard, NULL);
    for (int i = 0; compact_step(&shard, 8); i++) {
        struct place p = find(i % KEYS / 5 * 5, DB_WRITE);
        size_t size = size_of(i % KEYS / 5 * 5);
        db_put_string(&p, (struct slice){text, size}, db_expiry(&p));
        heap_check(&shard.heap);
    }
    check();
}
