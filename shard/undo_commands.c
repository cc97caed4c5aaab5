/* Undo: what is noted for which command.
 *
 * A command without a row here has all its keys noted whole. The others leave out keys that they
 * only read, or are noted in parts where a key is large. What a row says of a command must hold
 * whatever its arguments are, wrong ones included: "certain" means that nothing of what follows in
 * the argument list can keep the command from it. */
#include <assert.h>

#include "shard/cmd/zset_result.h"
#include "shard/type/list.h"
#include "shard/undo_record.h"

/* --- Keys as a whole --- */

static bool note_all(const struct undo_noting *n)
{
    bool noted = true;
    for (uint32_t i = 0; i < n->key_count && noted; i++) {
        struct place p = undo_place(n->call, n->keys[i]);
        noted = undo_note_whole(n->undo, &p);
    }
    return noted;
}

/* The first key is where the result goes, the others are read. */
static bool note_target(const struct undo_noting *n)
{
    struct place p = undo_place(n->call, n->keys[0]);
    return undo_note_whole(n->undo, &p);
}

/* The key behind the last STORE, if there is one; the first is read. */
static bool note_stored(const struct undo_noting *n)
{
    if (n->key_count < 2)
        return true;
    struct place p = undo_place(n->call, n->keys[n->key_count - 1]);
    return undo_note_whole(n->undo, &p);
}

/* All keys are certain to be removed. */
static bool note_all_lost(const struct undo_noting *n)
{
    bool noted = true;
    for (uint32_t i = 0; i < n->key_count && noted; i++) {
        struct place p = undo_place(n->call, n->keys[i]);
        noted = undo_note_lost(n->undo, &p);
    }
    return noted;
}

/* SET, MSET: without options, or with all the values there are, they overwrite. */
static bool note_set(const struct undo_noting *n)
{
    return n->call->argc == 3 ? note_all_lost(n) : note_all(n);
}

static bool note_mset(const struct undo_noting *n)
{
    return n->call->argc % 2 ? note_all_lost(n) : note_all(n);
}

/* --- Expiries --- */

static bool note_front(const struct undo_noting *n)
{
    struct place p = undo_place(n->call, n->keys[0]);
    return undo_note_front(n->undo, &p);
}

/* A time that is not to come removes the key. One that is wrong changes nothing. */
static bool may_remove(const struct call *c, uint32_t arg, int64_t unit, int64_t base_ms)
{
    int64_t value;
    return number_parse_integer(c->argv[arg], &value) &&
           !__builtin_mul_overflow(value, unit, &value) &&
           !__builtin_add_overflow(value, base_ms, &value) && value <= c->now_ms;
}

/* EXPIRE and its kin: `first` is the unit, `step` is 1 where it counts from now. */
static bool note_expire(const struct undo_noting *n)
{
    struct place p = undo_place(n->call, n->keys[0]);
    if (may_remove(n->call, 2, n->first, n->step ? n->call->now_ms : 0))
        return n->call->argc == 3 ? undo_note_lost(n->undo, &p) : undo_note_whole(n->undo, &p);
    return undo_note_front(n->undo, &p);
}

static bool note_getex(const struct undo_noting *n)
{
    const struct call *c = n->call;
    struct place p = undo_place(n->call, n->keys[0]);
    bool removed = false;
    for (uint32_t i = 2; i + 1 < c->argc; i++)
        removed |= (call_arg_is(c, i, "exat") && may_remove(c, i + 1, 1000, 0)) ||
                   (call_arg_is(c, i, "pxat") && may_remove(c, i + 1, 1, 0));
    return removed ? undo_note_whole(n->undo, &p) : undo_note_front(n->undo, &p);
}

/* --- Keys that move --- */

/* That it moves is certain, and what was at `to` goes. */
static bool note_moved(const struct undo_noting *n, struct place *from, struct place *to)
{
    return undo_note_lost(n->undo, to) && undo_note_moved(n->undo, from, to);
}

/* `first`: only where there is no key of the new name. */
static bool note_rename(const struct undo_noting *n)
{
    struct call *c = n->call;
    struct place from = undo_place(c, 1), to = undo_place(c, 2);
    if (!from.entry || from.entry == to.entry || (n->first && to.entry))
        return true;
    return note_moved(n, &from, &to);
}

static bool is_db(const struct call *c, uint32_t arg, int64_t *db)
{
    return number_parse_integer(c->argv[arg], db) && *db >= 0 &&
           *db < (int64_t)c->keyspace->db_count;
}

static bool note_move(const struct undo_noting *n)
{
    struct call *c = n->call;
    int64_t db;
    if (!is_db(c, 2, &db) || db == c->db)
        return true;
    struct place from = undo_place(c, 1), to = undo_place_of(c, c->argv[1], (uint32_t)db);
    if (!from.entry || to.entry)
        return true;
    return note_moved(n, &from, &to);
}

static bool note_copy(const struct undo_noting *n)
{
    struct call *c = n->call;
    int64_t db = c->db;
    for (uint32_t i = 3; i + 1 < c->argc; i++)
        if (call_arg_is(c, i, "db") && !is_db(c, ++i, &db))
            return true;
    struct place to = undo_place_of(c, c->argv[2], (uint32_t)db);
    return undo_note_whole(n->undo, &to);
}

/* --- The commands --- */

struct undo_command {
    const char *name; /* struct command's full_name */
    undo_notes *note;
    int16_t first, step; /* what they mean is the note's own: see undo_record.h */
};

static const struct undo_command commands[] = {
    {"append", undo_note_bytes, UNDO_BYTES_BEHIND, 0},
    {"bitop", note_target, 0, 0},
    {"blmove", undo_note_list_move, UNDO_MOVE_WAITS, 0},
    {"blmpop", undo_note_list_pop, UNDO_POP_ANY, UNDO_END_SAID},
    {"blpop", undo_note_list_pop, UNDO_POP_ONE, UNDO_END_FIRST},
    {"brpop", undo_note_list_pop, UNDO_POP_ONE, UNDO_END_LAST},
    {"brpoplpush", undo_note_list_move, UNDO_MOVE_WAITS, 1},
    {"bzmpop", undo_note_zset_pop, UNDO_POP_ANY, UNDO_END_SAID},
    {"bzpopmax", undo_note_zset_pop, UNDO_POP_ONE, UNDO_END_LAST},
    {"bzpopmin", undo_note_zset_pop, UNDO_POP_ONE, UNDO_END_FIRST},
    {"copy", note_copy, 0, 0},
    {"del", note_all_lost, 0, 0},
    {"expire", note_expire, 1000, 1},
    {"expireat", note_expire, 1000, 0},
    {"geoadd", undo_note_scores, 4, -3},
    {"georadius", note_stored, 0, 0},
    {"georadiusbymember", note_stored, 0, 0},
    {"geosearchstore", note_target, 0, 0},
    {"getex", note_getex, 0, 0},
    {"hdel", undo_note_fields, 2, 1},
    {"hexpire", undo_note_fields, 2, 1},
    {"hexpireat", undo_note_fields, 2, 1},
    {"hgetdel", undo_note_fields, 2, 1},
    {"hgetex", undo_note_fields, 2, 1},
    {"hincrby", undo_note_fields, 2, 0},
    {"hincrbyfloat", undo_note_fields, 2, 0},
    {"hmset", undo_note_fields, 2, 2},
    {"hpersist", undo_note_fields, 2, 1},
    {"hpexpire", undo_note_fields, 2, 1},
    {"hpexpireat", undo_note_fields, 2, 1},
    {"hset", undo_note_fields, 2, 2},
    {"hsetex", undo_note_fields, 2, 1},
    {"hsetnx", undo_note_fields, 2, 0},
    {"linsert", undo_note_list_insert, 0, 0},
    {"lmove", undo_note_list_move, UNDO_MOVE_CERTAIN, 0},
    {"lmpop", undo_note_list_pop, UNDO_POP_ANY, UNDO_END_SAID},
    {"lpop", undo_note_list_pop, 2, UNDO_END_FIRST},
    {"lpush", undo_note_push, LIST_HEAD, 0},
    {"lpushx", undo_note_push, LIST_HEAD, 0},
    {"lrem", undo_note_list_remove, 0, 0},
    {"lset", undo_note_list_set, 0, 0},
    {"ltrim", undo_note_list_trim, 0, 0},
    {"move", note_move, 0, 0},
    {"mset", note_mset, 0, 0},
    {"persist", note_front, 0, 0},
    {"pexpire", note_expire, 1, 1},
    {"pexpireat", note_expire, 1, 0},
    {"pfmerge", note_target, 0, 0},
    {"rename", note_rename, false, 0},
    {"renamenx", note_rename, true, 0},
    {"rpop", undo_note_list_pop, 2, UNDO_END_LAST},
    {"rpoplpush", undo_note_list_move, UNDO_MOVE_CERTAIN, 1},
    {"rpush", undo_note_push, LIST_TAIL, 0},
    {"rpushx", undo_note_push, LIST_TAIL, 0},
    {"sadd", undo_note_members, 2, 1},
    {"sdiffstore", note_target, 0, 0},
    {"set", note_set, 0, 0},
    {"setbit", undo_note_bytes, UNDO_BYTES_BIT, 0},
    {"setrange", undo_note_bytes, UNDO_BYTES_AT, 0},
    {"sinterstore", note_target, 0, 0},
    {"smove", undo_note_members, 3, 0},
    {"sort", note_stored, 0, 0},
    {"srem", undo_note_members, 2, 1},
    {"sunionstore", note_target, 0, 0},
    {"unlink", note_all_lost, 0, 0},
    {"xadd", undo_note_message, 0, 0},
    {"zadd", undo_note_scores, 3, -2},
    {"zdiffstore", note_target, 0, 0},
    {"zincrby", undo_note_scores, 3, 0},
    {"zinterstore", note_target, 0, 0},
    {"zmpop", undo_note_zset_pop, UNDO_POP_ANY, UNDO_END_SAID},
    {"zpopmax", undo_note_zset_pop, 2, UNDO_END_LAST},
    {"zpopmin", undo_note_zset_pop, 2, UNDO_END_FIRST},
    {"zrangestore", note_target, 0, 0},
    {"zrem", undo_note_scores, 2, 1},
    {"zremrangebylex", undo_note_score_range, ZSET_RANGE_LEX, 0},
    {"zremrangebyrank", undo_note_score_range, ZSET_RANGE_RANK, 0},
    {"zremrangebyscore", undo_note_score_range, ZSET_RANGE_SCORE, 0},
    {"zunionstore", note_target, 0, 0},
};

const struct undo_command *undo_command_of(const char *full_name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(full_name, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

/* A command without keys may write to any. */
bool undo_command_note(struct undo *u, struct call *c, const uint32_t *keys, uint32_t key_count)
{
    if (key_count == 0)
        return false;
    const struct undo_command *command = c->command->undo;
    struct undo_noting n = {.undo = u, .call = c, .keys = keys, .key_count = key_count};
    if (!command)
        return note_all(&n);
    n.first = command->first;
    n.step = command->step;
    return command->note(&n);
}
