/* Fields read or written together with their expiry: HGETDEL, HGETEX, HSETEX, as in Redis 8.0. */
#include "shard/cmd/hash_cmd.h"
#include "shard/cmd/told.h"

/* --- When the fields shall end --- */

enum ending {
    ENDING_NONE,
    ENDING_EX,
    ENDING_PX,
    ENDING_EXAT,
    ENDING_PXAT,
    ENDING_KEEPTTL,
    ENDING_PERSIST,
};

/* The option that argument `at` is, up to `last`. */
static enum ending find_ending(const struct call *c, uint32_t at, enum ending last)
{
    static const char *const words[] = {
        [ENDING_EX] = "ex",     [ENDING_PX] = "px",           [ENDING_EXAT] = "exat",
        [ENDING_PXAT] = "pxat", [ENDING_KEEPTTL] = "keepttl",
    };
    for (enum ending i = ENDING_EX; i <= last; i++)
        if (call_arg_is(c, at, words[i]))
            return i;
    return ENDING_NONE;
}

/* Reads the time of EX to PXAT; of the others, what they mean to hash_set. */
static bool read_time(struct call *c, enum ending ending, uint32_t at, int64_t *expires_ms)
{
    if (ending < ENDING_EX || ending > ENDING_PXAT) {
        *expires_ms = ending == ENDING_KEEPTTL ? HASH_KEEP_EXPIRY : HASH_NO_EXPIRY;
        return true;
    }
    bool seconds = ending == ENDING_EX || ending == ENDING_EXAT;
    bool from_now = ending == ENDING_EX || ending == ENDING_PX;
    return hash_expiry_read(c, at, seconds ? HASH_UNIT_SECONDS : HASH_UNIT_MS,
                            from_now ? c->now_ms : 0, expires_ms);
}

/* --- HGETDEL and HGETEX --- */

static void hgetdel_run(struct call *c)
{
    struct place p;
    uint32_t first;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p) ||
        !hash_fields_read(c, 2, "Number of fields must be a positive integer", &first))
        return;

    struct value v;
    bool present = p.entry != NULL, changed = false;
    if (present)
        v = db_value(&p, TYPE_HASH);
    reply_array(&c->reply, c->argc - first);
    for (uint32_t i = first; i < c->argc; i++) {
        struct hash_pair found;
        if (!present || !hash_get(&v, c->keyspace, c->argv[i], call_due_ms(c), &found)) {
            reply_null(&c->reply);
            continue;
        }
        reply_bulk(&c->reply, found.value);
        changed |= hash_remove(&v, c->keyspace, c->argv[i], call_due_ms(c));
    }
    if (changed)
        told_fields(c, &p, SLICE("HDEL"), first, 1);
    if (present)
        hash_keep(c, &p, &v, changed ? "hdel" : NULL);
}

/* What HGETEX does to a field that it has read. True where it changed. */
static bool change_expiry(const struct call *c, struct value *v, struct slice field,
                          int64_t present_ms, int64_t expires_ms)
{
    if (hash_expiry_past(c, expires_ms))
        return hash_remove(v, c->keyspace, field, call_due_ms(c));
    if (present_ms == expires_ms)
        return false;
    return hash_set_expiry(v, c->keyspace, field, expires_ms, call_due_ms(c));
}

static void reply_nulls(struct call *c, uint32_t count)
{
    reply_array(&c->reply, count);
    for (uint32_t i = 0; i < count; i++)
        reply_null(&c->reply);
}

/* HGETEX's options from argument 2 on. */
static bool read_getex(struct call *c, enum ending *ending, int64_t *expires_ms, uint32_t *first)
{
    *ending = find_ending(c, 2, ENDING_PXAT);
    if (*ending == ENDING_NONE && call_arg_is(c, 2, "persist"))
        *ending = ENDING_PERSIST;
    uint32_t taken = *ending == ENDING_NONE ? 0 : *ending == ENDING_PERSIST ? 1 : 2;
    return read_time(c, *ending, 3, expires_ms) &&
           hash_fields_read(c, 2 + taken, "Number of fields must be a positive integer", first);
}

static void hgetex_run(struct call *c)
{
    struct place p;
    enum ending ending;
    int64_t expires_ms;
    uint32_t first;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p) ||
        !read_getex(c, &ending, &expires_ms, &first))
        return;
    if (!p.entry) {
        reply_nulls(c, c->argc - first);
        return;
    }

    struct value v = db_value(&p, TYPE_HASH);
    bool changed = false;
    reply_array(&c->reply, c->argc - first);
    for (uint32_t i = first; i < c->argc; i++) {
        struct hash_pair found;
        if (!hash_get(&v, c->keyspace, c->argv[i], call_due_ms(c), &found)) {
            reply_null(&c->reply);
            continue;
        }
        reply_bulk(&c->reply, found.value);
        if (ending != ENDING_NONE)
            changed |= change_expiry(c, &v, c->argv[i], found.expires_ms, expires_ms);
    }
    bool past = hash_expiry_past(c, expires_ms);
    const char *event = ending == ENDING_PERSIST ? "hpersist" : past ? "hdel" : "hexpire";
    if (changed && ending == ENDING_PERSIST)
        told_fields(c, &p, SLICE("HPERSIST"), first, 1);
    else if (changed && past)
        told_fields(c, &p, SLICE("HDEL"), first, 1);
    else if (changed)
        told_fields_expiry(c, &p, expires_ms, first, 1);
    hash_keep(c, &p, &v, changed ? event : NULL);
}

/* --- HSETEX --- */

enum condition { CONDITION_NONE, CONDITION_FNX, CONDITION_FXX };

struct options {
    enum condition condition;
    enum ending ending;
    int64_t expires_ms; /* as hash_set takes it */
    uint32_t first;     /* the first field */
    uint32_t count;     /* pairs */
};

static bool wrong_count(struct call *c)
{
    reply_error(&c->reply, "ERR wrong number of arguments for '%s' command", c->command->name);
    return false;
}

/* The pairs after FIELDS, which is argument `at`: the rest of the arguments. */
static bool take_pairs(struct call *c, uint32_t at, struct options *o)
{
    int64_t count;
    if (at + 3 >= c->argc)
        return wrong_count(c);
    if (!number_parse_integer(c->argv[at + 1], &count) || count < 1 || count > INT32_MAX) {
        reply_error(&c->reply, "ERR invalid number of fields");
        return false;
    }
    o->first = at + 2;
    o->count = (uint32_t)count;
    return 2 * (uint64_t)count == c->argc - o->first || wrong_count(c);
}

static bool take_condition(struct call *c, enum condition condition, struct options *o)
{
    if (o->condition != CONDITION_NONE) {
        reply_error(&c->reply, "ERR Only one of FXX or FNX arguments can be specified");
        return false;
    }
    o->condition = condition;
    return true;
}

/* Takes the option at `*at` and leaves `*at` at its last argument. */
static bool take_ending(struct call *c, uint32_t *at, struct options *o)
{
    enum ending ending = find_ending(c, *at, ENDING_KEEPTTL);
    if (ending == ENDING_NONE) {
        struct slice word = c->argv[*at];
        reply_error(&c->reply, "ERR unknown argument: %.*s", (int)(word.size & INT32_MAX),
                    word.data);
        return false;
    }
    if (o->ending != ENDING_NONE) {
        reply_error(&c->reply,
                    "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
        return false;
    }
    o->ending = ending;
    if (ending != ENDING_KEEPTTL && ++*at == c->argc) {
        reply_error(&c->reply, "ERR missing expire time");
        return false;
    }
    return read_time(c, ending, *at, &o->expires_ms);
}

/* HSETEX's options in any order, then the fields. */
static bool read_setex(struct call *c, struct options *o)
{
    *o = (struct options){.expires_ms = HASH_NO_EXPIRY};
    for (uint32_t at = 2; at < c->argc; at++) {
        bool good;
        if (call_arg_is(c, at, "fields"))
            return take_pairs(c, at, o);
        if (call_arg_is(c, at, "fnx"))
            good = take_condition(c, CONDITION_FNX, o);
        else if (call_arg_is(c, at, "fxx"))
            good = take_condition(c, CONDITION_FXX, o);
        else
            good = take_ending(c, &at, o);
        if (!good)
            return false;
    }
    return wrong_count(c);
}

/* FNX: none of the fields is there; FXX: all are. */
static bool condition_holds(const struct call *c, const struct place *p, const struct options *o)
{
    if (o->condition == CONDITION_NONE)
        return true;
    if (!p->entry)
        return o->condition == CONDITION_FNX;
    struct value v = db_value(p, TYPE_HASH);
    for (uint32_t i = 0; i < o->count; i++) {
        struct hash_pair found;
        bool present = hash_get(&v, c->keyspace, c->argv[o->first + 2 * i], call_due_ms(c), &found);
        if (present != (o->condition == CONDITION_FXX))
            return false;
    }
    return true;
}

/* A time in the past only removes. Returns the event of what was done, or NULL where that is
 * nothing. */
static const char *set_fields(struct call *c, struct value *v, const struct options *o)
{
    const struct slice *pairs = c->argv + o->first;
    int64_t expires_ms = o->expires_ms;
    bool past = expires_ms != HASH_KEEP_EXPIRY && hash_expiry_past(c, expires_ms);
    bool removed = false;
    if (!past)
        hash_prepare(v, c->keyspace, pairs, o->count);
    for (uint32_t i = 0; i < o->count; i++, pairs += 2) {
        if (past)
            removed |= hash_remove(v, c->keyspace, pairs[0], call_due_ms(c));
        else
            hash_set(v, c->keyspace, pairs[0], pairs[1], expires_ms, call_due_ms(c));
    }
    return !past ? "hset" : removed ? "hdel" : NULL;
}

/* Fields that keep an expiry: HSET takes it from them. */
static void tell_kept(struct call *c, const struct place *p, const struct options *o)
{
    char text[NUMBER_INTEGER_SIZE_MAX];
    struct value v = db_value(p, TYPE_HASH);
    for (uint32_t i = o->first; i < c->argc; i += 2) {
        struct hash_pair found;
        hash_get(&v, c->keyspace, c->argv[i], call_due_ms(c), &found);
        if (found.expires_ms != HASH_NO_EXPIRY)
            told(c, p, SLICE("HPEXPIREAT"), p->key, told_number(text, found.expires_ms),
                 SLICE("FIELDS"), SLICE("1"), c->argv[i]);
    }
}

static void tell_setex(struct call *c, const struct place *p, const struct options *o)
{
    if (!journal_is_on(c))
        return;
    bool keeps = o->expires_ms == HASH_KEEP_EXPIRY;
    if (!keeps && hash_expiry_past(c, o->expires_ms)) {
        told_fields(c, p, SLICE("HDEL"), o->first, 2);
        return;
    }
    struct journal_writing w;
    call_journal_nothing(c);
    journal_start(&w, p->shard, c->db, 2 + c->argc - o->first);
    journal_word(&w, SLICE("HSET"));
    journal_word(&w, p->key);
    for (uint32_t i = o->first; i < c->argc; i++)
        journal_word(&w, c->argv[i]);
    journal_end(&w);
    if (keeps)
        tell_kept(c, p, o);
    else if (o->expires_ms != HASH_NO_EXPIRY)
        told_fields_expiry(c, p, o->expires_ms, o->first, 2);
}

static void hsetex_run(struct call *c)
{
    struct options o;
    struct place p;
    if (!read_setex(c, &o) || !db_find_type(c, 1, DB_WRITE, TYPE_HASH, &p))
        return;

    bool done = condition_holds(c, &p, &o);
    if (done) {
        struct value v = db_value(&p, TYPE_HASH);
        const char *event = set_fields(c, &v, &o);
        hash_keep(c, &p, &v, event);
        if (event)
            tell_setex(c, &p, &o);
        bool expires = o.expires_ms != HASH_NO_EXPIRY && o.expires_ms != HASH_KEEP_EXPIRY;
        if (expires && !hash_expiry_past(c, o.expires_ms))
            db_notify(&p, NOTIFY_HASH, "hexpire");
    }

    reply_integer(&c->reply, done);
}

const struct command hash_getex_commands[] = {
    {
        .name = "hgetdel",
        .run = hgetdel_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_DELETE),
        .group = "hash",
        .since = "8.0.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key FIELDS numfields field [field ...]",
        .summary = "Returns the values of fields of a hash, and removes the fields.",
    },
    {
        .name = "hgetex",
        .run = hgetex_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "hash",
        .since = "8.0.0",
        .complexity = "O(N) where N is the number of specified fields",
        .syntax = "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT "
                  "unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        .summary = "Returns the values of fields of a hash, and can set when the fields end.",
    },
    {
        .name = "hsetex",
        .run = hsetex_run,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_HASH,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "hash",
        .since = "8.0.0",
        .complexity = "O(N) where N is the number of fields being set.",
        .syntax = "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                  "PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field "
                  "value ...]",
        .summary = "Sets fields of a hash to values, and can set when the fields end.",
    },
    {0},
};
