/* DUMP: a value in the form of RDB files, which RESTORE takes. */
#include "shard/db.h"
#include "shard/rdb.h"

static void dump_run(struct call *c)
{
    struct place p = db_find(c, 1, DB_READ);
    if (!p.entry) {
        reply_null(&c->reply);
        return;
    }

    struct buf payload;
    buf_init(&payload);
    rdb_write_payload(&payload, p.entry);
    reply_bulk(&c->reply, buf_slice(&payload));
    buf_deinit(&payload);
}

const struct command dump_commands[] = {
    {
        .name = "dump",
        .run = dump_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_KEYSPACE,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "generic",
        .since = "2.6.0",
        .complexity = "O(1) to access the key and additional O(N*M) to serialize it, where N is "
                      "the number of elements and M their average size.",
        .syntax = "key",
        .summary = "Returns the value of a key in the form of RDB files.",
        .tips = "nondeterministic_output",
    },
    {0},
};
