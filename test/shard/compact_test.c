/* Compaction: all keys keep their values, and thin pages become empty. */
#include "shard/compact.h"

#include "proto/mem.h"
#include "shard/db.h"

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
