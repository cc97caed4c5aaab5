/* One shard without a server, and a call on it, for the tests of what a shard does by itself. */
#pragma once

#include "shard/db.h"

#define START_MS INT64_C(1700000000000)

static struct keyspace keyspace;
static struct shard shard;
static struct command command = {.name = "test", .first_key = 1};
static struct call call;

static void start_shard(uint32_t databases)
{
    unsigned char secret[HASH_SECRET_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 59 + 7);
    keyspace_init(&keyspace, 1, databases, secret);
    shard_init(&shard, 0, &keyspace, 1);
    shard.now_ms = START_MS;
    call = (struct call){
        .shard = &shard, .keyspace = &keyspace, .command = &command, .now_ms = START_MS,
    };
}

/* Checks what must hold at any time before all is freed. */
static void stop_shard(void)
{
    for (uint32_t db = 0; db < keyspace.db_count; db++)
        table_check(&shard.dbs[db].keys);
    heap_check(&shard.heap);
    shard_deinit(&shard);
}
