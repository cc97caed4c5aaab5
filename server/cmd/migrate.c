/* MIGRATE: keys handed to another server, which is told to RESTORE them.
 *
 * It is a cross transaction of its keys' shards, so between the reading of a key and its removal
 * nobody sees or changes it. Those shards and the thread that runs it stand still until the target
 * has answered or a timeout has passed, as all of a Redis server does; the other shards go on. A
 * target that is one of the server's own addresses may need just that thread: such a MIGRATE ends
 * with the timeout.
 *
 * A connection of its own each time, by hiredis: AUTH and SELECT are answered before any key is
 * sent, so no key gets into a wrong database. */
#include <errno.h>
#include <hiredis/hiredis.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "server/cmd/tables.h"
#include "shard/db.h"
#include "shard/journal.h"
#include "shard/rdb.h"

#define TIMEOUT_DEFAULT_MS 1000

struct migration {
    struct call *call;
    redisContext *target;
    int64_t db, timeout_ms;
    bool copy, replace;
    uint32_t user, password;    /* args; 0: none */
    uint32_t first, end;        /* the keys: args */
    uint32_t *found;            /* args of the keys that there are */
    uint32_t found_count;
    bool told;                  /* an error of the target's is the reply */
};

/* --- Arguments --- */

/* The option at `i`; *i moves to its last argument. False, having replied, where it is none. */
static bool read_option(struct call *c, struct migration *m, uint32_t *i)
{
    uint32_t more = c->argc - 1 - *i;
    if (call_arg_is(c, *i, "copy")) {
        m->copy = true;
    } else if (call_arg_is(c, *i, "replace")) {
        m->replace = true;
    } else if (call_arg_is(c, *i, "auth") && more >= 1) {
        m->user = 0;
        m->password = ++*i;
    } else if (call_arg_is(c, *i, "auth2") && more >= 2) {
        m->user = ++*i;
        m->password = ++*i;
    } else if (call_arg_is(c, *i, "keys")) {
        m->first = *i + 1;
        m->end = c->argc;
        *i = c->argc;
    } else {
        reply_error_syntax(&c->reply);
        return false;
    }
    return true;
}

static bool read_arguments(struct call *c, struct migration *m)
{
    *m = (struct migration){.call = c, .first = 3, .end = 4};
    for (uint32_t i = 6; i < c->argc; i++)
        if (!read_option(c, m, &i))
            return false;
    if (m->first > 3 && c->argv[3].size > 0) {
        reply_error(&c->reply, "ERR When using MIGRATE KEYS option, the key argument must be set "
                               "to the empty string");
        return false;
    }
    if (!call_arg_integer(c, 5, &m->timeout_ms) || !call_arg_integer(c, 4, &m->db))
        return false;
    if (m->timeout_ms <= 0)
        m->timeout_ms = TIMEOUT_DEFAULT_MS;
    if (m->timeout_ms > INT32_MAX)
        m->timeout_ms = INT32_MAX;
    return true;
}

static void find_keys(struct migration *m)
{
    m->found = mem_alloc((m->end - m->first + 1) * sizeof(*m->found));
    for (uint32_t i = m->first; i < m->end; i++)
        if (db_find(m->call, i, DB_READ).entry)
            m->found[m->found_count++] = i;
}

/* --- The target --- */

static bool fail(struct migration *m, const char *what)
{
    if (!m->told)
        reply_error(&m->call->reply, "IOERR error or timeout %s", what);
    m->told = true;
    return false;
}

static bool dial(struct migration *m)
{
    struct call *c = m->call;
    struct timeval timeout = {m->timeout_ms / 1000, m->timeout_ms % 1000 * 1000};
    char host[256];
    int64_t port;
    if (c->argv[1].size >= sizeof(host) || !number_parse_integer(c->argv[2], &port) || port < 1 ||
        port > UINT16_MAX)
        return fail(m, "connecting to the client");
    memcpy(host, c->argv[1].data, c->argv[1].size);
    host[c->argv[1].size] = '\0';
    errno = 0;
    m->target = redisConnectWithTimeout(host, (int)port, timeout);
    /* As in Redis, which learns of a refusal when it writes. */
    if (m->target && m->target->err == REDIS_ERR_IO && errno != ETIMEDOUT)
        return fail(m, "writing to target instance");
    if (!m->target || m->target->err || redisSetTimeout(m->target, timeout) != REDIS_OK)
        return fail(m, "connecting to the client");
    return true;
}

static void append(struct migration *m, const struct slice *argv, int argc)
{
    const char *data[6];
    size_t sizes[6];
    for (int i = 0; i < argc; i++) {
        data[i] = argv[i].data;
        sizes[i] = argv[i].size;
    }
    redisAppendCommandArgv(m->target, argc, data, sizes);
}

static bool send_all(struct migration *m)
{
    int done = 0;
    while (!done)
        if (redisBufferWrite(m->target, &done) != REDIS_OK)
            return fail(m, "writing to target instance");
    return true;
}

/* False where no answer came, or it was an error: *refused tells. The first error is the reply. */
static bool take_answer(struct migration *m, bool *refused)
{
    redisReply *answer = NULL;
    *refused = false;
    if (redisGetReply(m->target, (void **)&answer) != REDIS_OK)
        return fail(m, "reading to target instance");
    *refused = answer->type == REDIS_REPLY_ERROR;
    if (*refused && !m->told)
        reply_error(&m->call->reply, "ERR Target instance replied with error: %s", answer->str);
    m->told |= *refused;
    freeReplyObject(answer);
    return !*refused;
}

static bool request(struct migration *m, const struct slice *argv, int argc)
{
    bool refused;
    append(m, argv, argc);
    return send_all(m) && take_answer(m, &refused);
}

static bool enter(struct migration *m)
{
    const struct slice *given = m->call->argv;
    char digits[NUMBER_INTEGER_SIZE_MAX];
    struct slice select[] = {SLICE("SELECT"), {digits, number_format_integer(digits, m->db)}};
    struct slice auth[3] = {SLICE("AUTH"), given[m->user ? m->user : m->password],
                            given[m->password]};
    if (m->password && !request(m, auth, m->user ? 3 : 2))
        return false;
    return request(m, select, 2);
}

/* --- Keys --- */

static void append_key(struct migration *m, uint32_t arg)
{
    struct call *c = m->call;
    struct place p = db_find(c, arg, DB_PEEK);
    int64_t expires_ms = db_expiry(&p), ttl_ms = 0;
    if (expires_ms != DB_NO_EXPIRY)
        ttl_ms = expires_ms > c->now_ms ? expires_ms - c->now_ms : 1;
    char digits[NUMBER_INTEGER_SIZE_MAX];
    struct buf payload;
    buf_init(&payload);
    rdb_write_payload(&payload, p.entry);
    struct slice argv[] = {SLICE("RESTORE"), c->argv[arg],
                           {digits, number_format_integer(digits, ttl_ms)},
                           buf_slice(&payload), SLICE("REPLACE")};
    append(m, argv, m->replace ? 5 : 4);
    buf_deinit(&payload);
}

/* The target has the key now. */
static void remove_key(struct call *c, uint32_t arg)
{
    struct place p = db_find(c, arg, DB_PEEK);
    if (!p.entry) /* it was named twice */
        return;
    db_delete(&p);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_GENERIC, "del");
    call_journal(c, p.shard, (struct slice[]){SLICE("DEL"), c->argv[arg]}, 2);
}

static void hand_over(struct migration *m)
{
    if (!dial(m) || !enter(m))
        return;
    for (uint32_t i = 0; i < m->found_count; i++)
        append_key(m, m->found[i]);
    if (!send_all(m))
        return;
    for (uint32_t i = 0; i < m->found_count; i++) {
        bool refused, taken = take_answer(m, &refused);
        if (!taken && !refused)
            return;
        if (taken && !m->copy)
            remove_key(m->call, m->found[i]);
    }
    if (!m->told)
        reply_ok(&m->call->reply);
}

static void migrate_run(struct call *c)
{
    struct migration m;
    if (!read_arguments(c, &m))
        return;
    find_keys(&m);
    if (m.found_count > 0)
        hand_over(&m);
    else
        reply_simple(&c->reply, "NOKEY");
    if (m.target)
        redisFree(m.target);
    mem_free(m.found);
}

const struct command migrate_commands[] = {
    {
        .name = "migrate",
        .run = migrate_run,
        .arity = -6,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE,
        .acl = ACL_KEYSPACE | ACL_DANGEROUS,
        .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 3, .find = KEY_FIND_RANGE,
                  .last = 0, .step = 1},
                 {.flags = KEY_RW | KEY_ACCESS | KEY_DELETE | KEY_INCOMPLETE, .begin = -2,
                  .keyword = "KEYS", .find = KEY_FIND_RANGE, .last = -1, .step = 1}},
        .group = "generic",
        .since = "2.6.0",
        .complexity = "What DUMP and DEL take here and RESTORE takes there, and the transfer, O(N) "
                      "in bytes.",
        .syntax = "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] [AUTH password | "
                  "AUTH2 username password] [KEYS key [key ...]]",
        .summary = "Moves keys to another server.",
        .tips = "nondeterministic_output",
    },
    {0},
};
