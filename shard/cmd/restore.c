/* RESTORE: a key made of what DUMP wrote. */
#include "proto/number.h"
#include "shard/db.h"
#include "shard/journal.h"
#include "shard/rdb.h"

#define FREQUENCY_MAX 255

struct restore_options {
    bool replace;
    bool absolute;   /* the time to live is a moment, in ms since the epoch */
    int64_t idle_s;  /* -1: not given */
    int64_t frequency; /* -1: not given */
};

/* The number behind option `i`. */
static bool read_number(struct call *c, uint32_t i, const char *name, int64_t max,
                        const char *range, int64_t *value)
{
    if (!call_arg_integer(c, i + 1, value))
        return false;
    if (*value >= 0 && *value <= max)
        return true;
    reply_error(&c->reply, "ERR Invalid %s value, must be >= 0%s", name, range);
    return false;
}

static bool read_options(struct call *c, struct restore_options *o)
{
    *o = (struct restore_options){.idle_s = -1, .frequency = -1};
    for (uint32_t i = 4; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        if (call_arg_is(c, i, "replace")) {
            o->replace = true;
        } else if (call_arg_is(c, i, "absttl")) {
            o->absolute = true;
        } else if (call_arg_is(c, i, "idletime") && more && o->frequency < 0) {
            if (!read_number(c, i++, "IDLETIME", INT64_MAX, "", &o->idle_s))
                return false;
        } else if (call_arg_is(c, i, "freq") && more && o->idle_s < 0) {
            if (!read_number(c, i++, "FREQ", FREQUENCY_MAX, " and <= 255", &o->frequency))
                return false;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

/* The expiry that is asked for: DB_NO_EXPIRY where the key is to stay. */
static bool read_expiry(struct call *c, bool absolute, int64_t *expires_ms)
{
    int64_t ttl_ms;
    if (!call_arg_integer(c, 2, &ttl_ms))
        return false;
    if (ttl_ms < 0 || (!absolute && ttl_ms > INT64_MAX - c->now_ms)) {
        reply_error(&c->reply, "ERR Invalid TTL value, must be >= 0");
        return false;
    }
    *expires_ms = ttl_ms == 0 ? DB_NO_EXPIRY : absolute ? ttl_ms : ttl_ms + c->now_ms;
    return true;
}

static bool read_payload(struct call *c, struct rdb_value *v)
{
    const struct keyspace_options *o = &c->keyspace->options;
    struct rdb_options options = {c->keyspace, o->loading ? 0 : c->now_ms, o->unchecked};
    bool bad_data;
    c->shard->stats.payloads_checked++;
    if (rdb_read_payload(c->argv[3], &options, v, &bad_data))
        return true;
    reply_error(&c->reply, bad_data ? "ERR Bad data format"
                                    : "ERR DUMP payload version or checksum are wrong");
    return false;
}

/* The value came too late to live: what it would have replaced goes nevertheless. */
static void drop_replaced(struct call *c, struct place *p)
{
    if (!p->entry)
        return;
    db_delete(p);
    db_changed(c, p);
    db_notify(p, NOTIFY_GENERIC, "del");
    call_journal(c, p->shard, (struct slice[]){SLICE("DEL"), c->argv[1]}, 2);
}

static void journal_restore(struct call *c, struct place *p, int64_t expires_ms)
{
    if (!journal_is_on(c))
        return;
    char digits[NUMBER_INTEGER_SIZE_MAX];
    size_t size = number_format_integer(digits, expires_ms == DB_NO_EXPIRY ? 0 : expires_ms);
    struct slice argv[] = {SLICE("RESTORE"), c->argv[1], {digits, size},
                           c->argv[3],       SLICE("REPLACE"), SLICE("ABSTTL")};
    call_journal(c, p->shard, argv, sizeof(argv) / sizeof(argv[0]));
}

/* The value is the key's from here on. */
static void put(struct place *p, struct rdb_value *v, int64_t expires_ms)
{
    if (v->type == TYPE_STRING) {
        db_put_string(p, buf_slice(&v->string), expires_ms);
        rdb_value_deinit(v);
    } else {
        db_put_value(p, v->value, expires_ms);
    }
}

static void restore_run(struct call *c)
{
    struct restore_options o;
    int64_t expires_ms;
    struct rdb_value v;
    if (!read_options(c, &o))
        return;
    struct place p = db_find(c, 1, DB_WRITE);
    if (p.entry && !o.replace) {
        reply_error(&c->reply, "BUSYKEY Target key name already exists.");
        return;
    }
    if (!read_expiry(c, o.absolute, &expires_ms) || !read_payload(c, &v))
        return;

    bool late = expires_ms != DB_NO_EXPIRY && expires_ms <= c->now_ms;
    if (late && !c->keyspace->options.loading) {
        rdb_value_deinit(&v);
        drop_replaced(c, &p);
    } else {
        if (p.entry)
            db_delete(&p);
        put(&p, &v, expires_ms);
        if (o.idle_s >= 0)
            db_set_idle(&p, (uint64_t)o.idle_s);
        if (o.frequency >= 0)
            db_set_frequency(&p, (uint32_t)o.frequency);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_GENERIC, "restore");
        journal_restore(c, &p, expires_ms);
    }

    reply_ok(&c->reply);
}

#define RESTORE_COMPLEXITY                                                              \
    "O(1) to create the key and O(N*M) to rebuild the value of N elements of M bytes on " \
    "average; O(N*M*log(N)) for sorted sets."
#define RESTORE_SYNTAX \
    "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]"

const struct command restore_commands[] = {
    {
        .name = "restore",
        .run = restore_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_KEYSPACE | ACL_DANGEROUS,
        .keys = KEYS_ONE(KEY_OW | KEY_UPDATE),
        .group = "generic",
        .since = "2.6.0",
        .complexity = RESTORE_COMPLEXITY,
        .syntax = RESTORE_SYNTAX,
        .summary = "Creates a key from what DUMP returned.",
    },
    {
        .name = "restore-asking",
        .run = restore_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_ASKING | CMD_SYSTEM,
        .acl = ACL_KEYSPACE | ACL_DANGEROUS,
        .keys = KEYS_ONE(KEY_OW | KEY_UPDATE),
        .group = "server",
        .since = "3.0.0",
        .complexity = RESTORE_COMPLEXITY,
        .syntax = RESTORE_SYNTAX,
        .summary = "As RESTORE: what the nodes of a cluster use among themselves.",
    },
    {0},
};
