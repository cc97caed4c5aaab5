/* Commands on whole databases: DBSIZE, FLUSHALL, FLUSHDB, SWAPDB. Each shard does its part. */
#include "proto/number.h"
#include "shard/db.h"
#include "shard/journal.h"

/* Expired keys that were not removed yet are counted, as in Redis. */
static void dbsize_run(struct call *c)
{
    c->value = (int64_t)db_key_count(c->shard, c->db);
}

/* Every shard frees its own keys, at once or in steps. */
static bool read_flush_options(struct call *c, bool *lazy)
{
    *lazy = c->keyspace->options.lazy_user_flush;
    if (c->argc == 1)
        return true;
    *lazy = call_arg_is(c, 1, "async");
    if (c->argc == 2 && (*lazy || call_arg_is(c, 1, "sync")))
        return true;
    reply_error_syntax(&c->reply);
    return false;
}

/* One part speaks for all, whether or not it had a key of its own. */
static void journal_whole(struct call *c)
{
    if (c->shard->index == 0)
        call_journal(c, c->shard, c->argv, c->argc);
    else
        call_journal_nothing(c);
}

/* Clients that cache are told once all shards have done their part. As in Redis they forget
 * everything, of whatever database. */
static void note_flush(struct call *c)
{
    track_forget_all(c->shard);
    c->flushed = true;
    journal_whole(c);
}

static void flushdb_run(struct call *c)
{
    bool lazy;
    if (!read_flush_options(c, &lazy))
        return;

    db_clear(c->shard, c->db, lazy);
    note_flush(c);
}

static void flushall_run(struct call *c)
{
    bool lazy;
    if (!read_flush_options(c, &lazy))
        return;

    for (uint32_t db = 0; db < c->keyspace->db_count; db++)
        db_clear(c->shard, db, lazy);
    note_flush(c);
}

/* Argument `arg` as an integer of 32 bits; `which` words the error. */
static bool read_index(struct call *c, uint32_t arg, const char *which, int64_t *index)
{
    if (number_parse_integer(c->argv[arg], index) && *index >= INT32_MIN && *index <= INT32_MAX)
        return true;
    reply_error(&c->reply, "ERR invalid %s DB index", which);
    return false;
}

static void swapdb_run(struct call *c)
{
    int64_t first, second;
    if (!read_index(c, 1, "first", &first) || !read_index(c, 2, "second", &second))
        return;
    int64_t count = c->keyspace->db_count;
    if (first < 0 || first >= count || second < 0 || second >= count) {
        reply_error(&c->reply, "ERR DB index is out of range");
        return;
    }

    if (first == second)
        return;
    db_swap(c->shard, (uint32_t)first, (uint32_t)second);
    journal_whole(c);
}

const struct command keyspace_commands[] = {
    {
        .name = "dbsize",
        .run = dbsize_run,
        .arity = 1,
        .route = ROUTE_ALL,
        .split = SPLIT_SUM,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_KEYSPACE,
        .group = "server",
        .since = "1.0.0",
        .complexity = "O(1)",
        .summary = "Returns the number of keys in the database.",
        .tips = "request_policy:all_shards response_policy:agg_sum",
    },
    {
        .name = "flushall",
        .run = flushall_run,
        .arity = -1,
        .route = ROUTE_ALL,
        .split = SPLIT_OK,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE | ACL_DANGEROUS,
        .group = "server",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of keys in all databases.",
        .syntax = "[ASYNC | SYNC]",
        .summary = "Removes all keys of all databases.",
        .tips = "request_policy:all_shards response_policy:all_succeeded",
    },
    {
        .name = "flushdb",
        .run = flushdb_run,
        .arity = -1,
        .route = ROUTE_ALL,
        .split = SPLIT_OK,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE | ACL_DANGEROUS,
        .group = "server",
        .since = "1.0.0",
        .complexity = "O(N) where N is the number of keys in the database.",
        .syntax = "[ASYNC | SYNC]",
        .summary = "Removes all keys of the database.",
        .tips = "request_policy:all_shards response_policy:all_succeeded",
    },
    {
        .name = "swapdb",
        .run = swapdb_run,
        .arity = 3,
        .route = ROUTE_ALL,
        .split = SPLIT_OK,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_KEYSPACE | ACL_DANGEROUS,
        .group = "server",
        .since = "4.0.0",
        .complexity = "O(N) where N is the number of clients that watch or wait for keys of the "
                      "two databases.",
        .syntax = "index1 index2",
        .summary = "Exchanges two databases.",
    },
    {0},
};
