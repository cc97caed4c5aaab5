/* What stands before the pieces of a save: see save_inside.h. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "server/persist/save_inside.h"
#include "server/script/function_dump.h"
#include "server/server.h"
#include "shard/rdb.h"

static void put_aux(struct buf *to, const char *name, const char *value)
{
    unsigned char op = RDB_OP_AUX;
    buf_append(to, &op, 1);
    rdb_write_string(to, slice_of(name), false);
    rdb_write_string(to, slice_of(value), false);
}

static void put_aux_integer(struct buf *to, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    put_aux(to, name, text);
}

static void put_magic(struct buf *to, unsigned version)
{
    buf_printf(to, "REDIS%04u", version);
}

static void put_facts(struct buf *to, uint64_t used_memory, bool aof_base)
{
    put_aux(to, "redis-ver", SERVER_REDIS_VERSION);
    put_aux_integer(to, "redis-bits", sizeof(void *) * 8);
    put_aux_integer(to, "ctime", (uint64_t)time(NULL));
    put_aux_integer(to, "used-mem", used_memory);
    put_aux_integer(to, "aof-base", aof_base);
}

/* FUNCTION DUMP's payload, without what it ends with. */
static void put_functions(struct buf *to)
{
    struct buf payload;
    buf_init(&payload);
    function_dump(server->functions, server->config.rdbcompression, &payload);
    buf_append(to, payload.data, payload.size - FUNCTION_DUMP_FOOTER_SIZE);
    buf_deinit(&payload);
}

static uint64_t used_memory(struct core *const *cores, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct core_memory m;
        core_measure(cores[i], &m);
        sum += m.entries + m.blocks + m.tables + m.fixed;
    }
    return sum;
}

/* Old readers need no more than their version, where nothing asks for a newer one. */
static unsigned version_needed(struct shard *const *shards)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        for (uint32_t db = 0; db < server->keyspace.db_count; db++)
            if (shards[i]->dbs[db].field_expiring_count)
                return RDB_VERSION_FIELDS;
    return RDB_VERSION;
}

/* How large each database is, so that a reader can make room at once. */
static void put_sizes(struct buf *to, struct shard *const *shards)
{
    for (uint32_t db = 0; db < server->keyspace.db_count; db++) {
        uint64_t keys = 0, expiring = 0;
        for (uint32_t i = 0; i < server->core_count; i++) {
            keys += shards[i]->dbs[db].keys.count;
            expiring += shards[i]->dbs[db].expiring_count;
        }
        if (!keys)
            continue;
        unsigned char op = RDB_OP_SELECT_DB;
        buf_append(to, &op, 1);
        rdb_write_length(to, db);
        op = RDB_OP_RESIZE_DB;
        buf_append(to, &op, 1);
        rdb_write_length(to, keys);
        rdb_write_length(to, expiring);
    }
}

void save_write_header(struct buf *to, const struct save_plan *plan, struct shard *const *shards)
{
    if (plan->as_commands) {
        put_functions(to);
        return;
    }
    put_magic(to, version_needed(shards));
    put_facts(to, used_memory(server->cores, server->core_count), plan->kind == SAVE_AOF_BASE);
    put_functions(to);
    put_sizes(to, shards);
}

void save_write_empty_header(struct buf *to)
{
    struct core *self = core_self();
    put_magic(to, RDB_VERSION);
    put_facts(to, used_memory(&self, 1), false);
    put_functions(to);
}
