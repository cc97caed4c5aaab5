/* Records of a save as commands: a base without RDB. See aof.h.
 *
 * A snapshot hands over RDB records whatever the base shall be; here each is decoded again, beside
 * the cores, and told by commands: the ones that Redis's own rewrite uses, so that whatever loads
 * or reads such files finds nothing new in them. Collections go in groups of at most 64
 * elements. */
#include "server/persist/aof.h"

#include "shard/rdb.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream_group.h"
#include "shard/type/zset.h"

#define GROUP_MAX 64 /* elements in a command */

void aof_commands_init(struct aof_commands *a, const struct keyspace *k)
{
    *a = (struct aof_commands){.keyspace = k, .db = -1};
}

void aof_commands_deinit(struct aof_commands *a)
{
    buf_deinit(&a->scratch);
}

/* ---- Words ---- */

static void put_count(struct buf *out, uint64_t count)
{
    buf_printf(out, "*%llu\r\n", (unsigned long long)count);
}

static void put(struct buf *out, struct slice word)
{
    buf_printf(out, "$%zu\r\n", word.size);
    buf_append_slice(out, word);
    buf_append(out, "\r\n", 2);
}

static void put_text(struct buf *out, const char *word)
{
    put(out, slice_of(word));
}

static void put_integer(struct buf *out, int64_t n)
{
    char text[NUMBER_INTEGER_SIZE_MAX];
    put(out, (struct slice){text, number_format_integer(text, n)});
}

static void put_double(struct buf *out, double n)
{
    char text[NUMBER_DOUBLE_SIZE_MAX];
    put(out, (struct slice){text, number_format_double(text, n)});
}

static void put_id(struct buf *out, struct stream_id id)
{
    char text[STREAM_ID_SIZE_MAX];
    put(out, (struct slice){text, stream_id_format(text, id)});
}

/* A collection told in groups: each begins with a command of its own. */
struct groups {
    struct buf *out;
    const char *command;
    struct slice key;
    uint32_t words; /* an element has */
    uint64_t left;  /* elements not yet told */
    uint32_t room;  /* in the open group */
};

static void begin_element(struct groups *g)
{
    if (g->room == 0) {
        g->room = g->left < GROUP_MAX ? (uint32_t)g->left : GROUP_MAX;
        put_count(g->out, 2 + (uint64_t)g->room * g->words);
        put_text(g->out, g->command);
        put(g->out, g->key);
    }
    g->room--;
    g->left--;
}

/* ---- Values ---- */

static void tell_list(struct buf *out, struct slice key, const struct value *v)
{
    struct groups g = {out, "RPUSH", key, 1, list_count(v), 0};
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor at;
    for (list_cursor_start(&at, v, 0, false); !list_cursor_ended(&at); list_cursor_next(&at)) {
        begin_element(&g);
        put(out, list_cursor_text(&at, scratch));
    }
    list_cursor_stop(&at);
}

static void tell_set(struct buf *out, struct slice key, const struct value *v)
{
    struct groups g = {out, "SADD", key, 1, set_count(v), 0};
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct set_walk walk;
    struct set_member member;
    set_walk_start(&walk, v);
    while (set_walk_next(&walk, &member)) {
        begin_element(&g);
        put(out, set_member_text(&member, scratch));
    }
}

static void tell_zset(struct buf *out, struct slice key, const struct value *v)
{
    struct groups g = {out, "ZADD", key, 2, zset_count(v), 0};
    struct zset_walk walk;
    struct slice member;
    double score;
    zset_walk_start(&walk, v, 0, false);
    while (zset_walk_next(&walk, &member, &score)) {
        begin_element(&g);
        put_double(out, score);
        put(out, member);
    }
}

static void tell_pair(void *context, const struct hash_pair *pair)
{
    struct groups *g = context;
    begin_element(g);
    put(g->out, pair->field);
    put(g->out, pair->value);
}

static void tell_expiry(void *context, const struct hash_pair *pair)
{
    struct groups *g = context;
    if (pair->expires_ms == HASH_NO_EXPIRY)
        return;
    put_count(g->out, 6);
    put_text(g->out, "HPEXPIREAT");
    put(g->out, g->key);
    put_integer(g->out, pair->expires_ms);
    put_text(g->out, "FIELDS");
    put_text(g->out, "1");
    put(g->out, pair->field);
}

/* Fields whose time has come are told as well: at time 0 none has, and whoever loads the commands
 * lets them expire. */
static void tell_hash(struct buf *out, struct slice key, const struct value *v)
{
    struct groups g = {out, "HMSET", key, 2, value_count(v), 0};
    hash_each(v, 0, tell_pair, &g);
    hash_each(v, 0, tell_expiry, &g);
}

static void tell_messages(struct buf *out, struct slice key, const struct stream *s)
{
    struct stream_walk walk;
    struct stream_id id;
    uint32_t pairs;
    stream_walk_start(&walk, s, (struct stream_id){0, 0},
                      (struct stream_id){UINT64_MAX, UINT64_MAX}, false);
    while (stream_walk_next(&walk, &id, &pairs)) {
        put_count(out, 3 + 2 * (uint64_t)pairs);
        put_text(out, "XADD");
        put(out, key);
        put_id(out, id);
        for (uint32_t i = 0; i < pairs; i++) {
            struct slice field, value;
            stream_walk_field(&walk, &field, &value);
            put(out, field);
            put(out, value);
        }
    }
}

/* A message that is trimmed as it is added: what makes a stream without any. */
static void tell_no_messages(struct buf *out, struct slice key)
{
    put_count(out, 7);
    put_text(out, "XADD");
    put(out, key);
    put_text(out, "MAXLEN");
    put_text(out, "0");
    put_id(out, (struct stream_id){0, 1});
    put_text(out, "x");
    put_text(out, "y");
}

static void tell_pending(struct buf *out, struct slice key, const struct stream_group *group,
                         const struct stream_consumer *c)
{
    struct stream_id id;
    struct stream_nack *n = stream_pel_seek(&c->pel, (struct stream_id){0, 0}, &id);
    while (n) {
        put_count(out, 12);
        put_text(out, "XCLAIM");
        put(out, key);
        put(out, stream_group_name(group));
        put(out, stream_consumer_name(c));
        put_text(out, "0");
        put_id(out, id);
        put_text(out, "TIME");
        put_integer(out, n->delivered_ms);
        put_text(out, "RETRYCOUNT");
        put_integer(out, (int64_t)n->deliveries);
        put_text(out, "JUSTID");
        put_text(out, "FORCE");
        n = stream_id_increment(&id) ? stream_pel_seek(&c->pel, id, &id) : NULL;
    }
}

/* One without anything pending would not come to be by that alone. */
static void tell_consumer(struct buf *out, struct slice key, const struct stream_group *group,
                          const struct stream_consumer *c)
{
    if (c->pel.count) {
        tell_pending(out, key, group, c);
        return;
    }
    put_count(out, 5);
    put_text(out, "XGROUP");
    put_text(out, "CREATECONSUMER");
    put(out, key);
    put(out, stream_group_name(group));
    put(out, stream_consumer_name(c));
}

static void tell_group(struct buf *out, struct slice key, const struct stream_group *group)
{
    put_count(out, 7);
    put_text(out, "XGROUP");
    put_text(out, "CREATE");
    put(out, key);
    put(out, stream_group_name(group));
    put_id(out, group->last_id);
    put_text(out, "ENTRIESREAD");
    put_integer(out, group->entries_read);
    struct stream_consumer *c = stream_consumer_next(group, NULL);
    for (; c; c = stream_consumer_next(group, c))
        tell_consumer(out, key, group, c);
}

static void tell_stream(struct buf *out, struct slice key, const struct value *v)
{
    const struct stream *s = stream_of(v);
    if (s->length)
        tell_messages(out, key, s);
    else
        tell_no_messages(out, key);
    put_count(out, 7);
    put_text(out, "XSETID");
    put(out, key);
    put_id(out, s->last_id);
    put_text(out, "ENTRIESADDED");
    put_integer(out, (int64_t)s->entries_added);
    put_text(out, "MAXDELETEDID");
    put_id(out, s->max_deleted_id);
    struct stream_group *group = stream_group_next(s, NULL);
    for (; group; group = stream_group_next(s, group))
        tell_group(out, key, group);
}

static void tell_value(struct buf *out, struct slice key, const struct rdb_value *v)
{
    switch (v->type) {
    case TYPE_LIST: tell_list(out, key, &v->value); return;
    case TYPE_SET: tell_set(out, key, &v->value); return;
    case TYPE_ZSET: tell_zset(out, key, &v->value); return;
    case TYPE_HASH: tell_hash(out, key, &v->value); return;
    case TYPE_STREAM: tell_stream(out, key, &v->value); return;
    default:
        put_count(out, 3);
        put_text(out, "SET");
        put(out, key);
        put(out, buf_slice(&v->string));
    }
}

/* ---- Records ---- */

struct reading {
    struct aof_commands *a;
    struct rdb_reader r;
    struct buf *out;
    int64_t expires_ms; /* of the key to come; -1: none */
};

static enum rdb_end tell_key(struct reading *t, uint8_t type)
{
    struct slice key;
    struct rdb_value v;
    struct rdb_options options = {.keyspace = t->a->keyspace};
    t->a->scratch.size = 0;
    enum rdb_end end = rdb_read_string(&t->r, &t->a->scratch, &key);
    if (end != RDB_DONE)
        return end;
    end = rdb_read_value(&t->r, type, &options, &v);
    if (end == RDB_EMPTY) {
        t->expires_ms = -1;
        return RDB_DONE;
    }
    if (end != RDB_DONE)
        return end;
    tell_value(t->out, key, &v);
    rdb_value_deinit(&v);
    if (t->expires_ms >= 0) {
        put_count(t->out, 3);
        put_text(t->out, "PEXPIREAT");
        put(t->out, key);
        put_integer(t->out, t->expires_ms);
        t->expires_ms = -1;
    }
    return RDB_DONE;
}

static enum rdb_end select_db(struct reading *t)
{
    uint64_t db;
    enum rdb_end end = rdb_read_length(&t->r, &db);
    if (end != RDB_DONE || (int64_t)db == t->a->db)
        return end;
    t->a->db = (int64_t)db;
    put_count(t->out, 2);
    put_text(t->out, "SELECT");
    put_integer(t->out, (int64_t)db);
    return RDB_DONE;
}

static enum rdb_end tell_library(struct reading *t)
{
    struct slice code;
    t->a->scratch.size = 0;
    enum rdb_end end = rdb_read_string(&t->r, &t->a->scratch, &code);
    if (end != RDB_DONE)
        return end;
    put_count(t->out, 3);
    put_text(t->out, "FUNCTION");
    put_text(t->out, "LOAD");
    put(t->out, code);
    return RDB_DONE;
}

/* Behind what commands cannot tell, or need not. */
static enum rdb_end pass(struct reading *t, uint8_t op)
{
    uint64_t ignored;
    uint8_t byte;
    enum rdb_end end;
    switch (op) {
    case RDB_OP_IDLE: return rdb_read_length(&t->r, &ignored);
    case RDB_OP_FREQ: return rdb_read_byte(&t->r, &byte);
    case RDB_OP_RESIZE_DB:
        end = rdb_read_length(&t->r, &ignored);
        return end == RDB_DONE ? rdb_read_length(&t->r, &ignored) : end;
    default:
        end = rdb_skip_string(&t->r);
        return end == RDB_DONE ? rdb_skip_string(&t->r) : end;
    }
}

static enum rdb_end tell_record(struct reading *t)
{
    uint8_t op;
    uint64_t ms;
    enum rdb_end end = rdb_read_byte(&t->r, &op);
    if (end != RDB_DONE)
        return end;
    switch (op) {
    case RDB_OP_SELECT_DB: return select_db(t);
    case RDB_OP_EXPIRE_MS:
        end = rdb_read_u64(&t->r, &ms);
        t->expires_ms = (int64_t)ms;
        return end;
    case RDB_OP_FUNCTION: return tell_library(t);
    case RDB_OP_IDLE:
    case RDB_OP_FREQ:
    case RDB_OP_AUX:
    case RDB_OP_RESIZE_DB: return pass(t, op);
    default: return tell_key(t, op);
    }
}

bool aof_commands_of_records(struct aof_commands *a, struct slice records, struct buf *out,
                             const char **error)
{
    struct reading t = {.a = a, .r = {.at = records.data, .end = records.data + records.size},
                        .out = out, .expires_ms = -1};
    while (t.r.at < t.r.end) {
        enum rdb_end end = tell_record(&t);
        if (end == RDB_DONE)
            continue;
        *error = end == RDB_CORRUPT && t.r.error ? t.r.error : "a record is not whole";
        return false;
    }
    return true;
}
