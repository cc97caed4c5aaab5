/* Commands on the messages of a stream: XADD, XDEL, XDELEX, XLEN, XRANGE, XREVRANGE, XSETID, XTRIM.
 *
 * A stream stays when its last message goes: it still knows its last id and its groups. */
#include "shard/cmd/stream_cmd.h"

#include "proto/mem.h"
#include "shard/cmd/told.h"

/* Approximate trimming visits the messages of so many nodes unless told otherwise, ... */
#define TRIM_NODES_MAX 100
/* ... within these bounds; the first where nodes have no bound. */
#define TRIM_LIMIT_UNBOUNDED 10000
#define TRIM_LIMIT_MAX 1000000

/* Where the id of a new message comes from. */
enum id_source {
    ID_OF_CLOCK, /* "*" */
    ID_OF_MS,    /* "ms-*" */
    ID_GIVEN,
};

struct add_args {
    struct stream_trim trim;
    bool trims, limit_given;
    bool no_create;
    enum id_source source;
    struct stream_id id;
    uint32_t first_field;
};

/* --- Arguments of XADD and XTRIM --- */

/* Past "~" or "=", where one stands before a threshold. */
static uint32_t read_exactness(struct call *c, uint32_t arg, struct stream_trim *t)
{
    bool more = arg + 1 < c->argc;
    t->approximate = more && slice_equal(c->argv[arg], SLICE("~"));
    return arg + (t->approximate || (more && slice_equal(c->argv[arg], SLICE("="))));
}

/* MAXLEN or MINID at `*arg`, which then is the last argument of it. */
static bool read_threshold(struct call *c, uint32_t *arg, bool by_id, struct add_args *a)
{
    if (a->trims) {
        reply_error(&c->reply, "ERR syntax error, MAXLEN and MINID options at the same time are "
                               "not compatible");
        return false;
    }
    a->trims = true;
    a->trim.by_id = by_id;
    *arg = read_exactness(c, *arg + 1, &a->trim);
    if (by_id)
        return stream_arg_id(c, *arg, 0, &a->trim.min_id);
    int64_t length;
    if (!call_arg_integer(c, *arg, &length))
        return false;
    a->trim.max_length = (uint64_t)length;
    if (length < 0)
        reply_error(&c->reply, "ERR The MAXLEN argument must be >= 0.");
    return length >= 0;
}

static bool read_limit(struct call *c, uint32_t arg, struct add_args *a)
{
    int64_t limit;
    if (!call_arg_integer(c, arg, &limit))
        return false;
    a->limit_given = true;
    a->trim.limit = (uint64_t)limit;
    if (limit < 0)
        reply_error(&c->reply, "ERR The LIMIT argument must be >= 0.");
    return limit >= 0;
}

static bool read_new_id(struct call *c, uint32_t arg, struct add_args *a)
{
    struct slice text = c->argv[arg];
    a->source = ID_GIVEN;
    if (slice_equal(text, SLICE("*"))) {
        a->source = ID_OF_CLOCK;
        return true;
    }
    bool open = text.size > 2 && memcmp(text.data + text.size - 2, "-*", 2) == 0;
    if (!open || memchr(text.data, '-', text.size) != text.data + text.size - 2)
        return stream_arg_id(c, arg, 0, &a->id);
    a->source = ID_OF_MS;
    if (stream_id_parse((struct slice){text.data, text.size - 2}, 0, &a->id))
        return true;
    return stream_arg_id(c, arg, 0, &a->id);
}

static uint64_t default_limit(const struct call *c)
{
    uint64_t limit = (uint64_t)c->keyspace->options.stream_node_max_entries * TRIM_NODES_MAX;
    if (limit == 0)
        return TRIM_LIMIT_UNBOUNDED;
    return limit < TRIM_LIMIT_MAX ? limit : TRIM_LIMIT_MAX;
}

/* What can be said only when all options are known. */
static bool check_trim(struct call *c, bool adds, struct add_args *a)
{
    const char *error = NULL;
    if (a->trim.limit && !a->trims)
        error = "LIMIT cannot be used without specifying a trimming strategy";
    else if (!adds && !a->trims)
        error = "XTRIM must be called with a trimming strategy";
    else if (a->limit_given && !a->trim.approximate)
        error = "LIMIT cannot be used without the special ~ option";
    if (error) {
        reply_error(&c->reply, "ERR syntax error, %s", error);
        return false;
    }
    if (a->trim.approximate && !a->limit_given)
        a->trim.limit = default_limit(c);
    return true;
}

/* The options; of XADD (`adds`) the id too. */
static bool read_args(struct call *c, bool adds, struct add_args *a)
{
    *a = (struct add_args){0};
    uint32_t i = 2;
    for (; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        if (more && call_arg_is(c, i, "maxlen")) {
            if (!read_threshold(c, &i, false, a))
                return false;
        } else if (more && call_arg_is(c, i, "minid")) {
            if (!read_threshold(c, &i, true, a))
                return false;
        } else if (more && call_arg_is(c, i, "limit")) {
            if (!read_limit(c, ++i, a))
                return false;
        } else if (adds && call_arg_is(c, i, "nomkstream")) {
            a->no_create = true;
        } else if (adds) {
            if (!read_new_id(c, i, a))
                return false;
            break;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    a->first_field = i + 1;
    return check_trim(c, adds, a);
}

/* --- XADD --- */

static bool read_add(struct call *c, struct add_args *a)
{
    if (!read_args(c, true, a))
        return false;
    if (a->first_field + 2 > c->argc || (c->argc - a->first_field) % 2) {
        reply_error(&c->reply, "ERR wrong number of arguments for 'xadd' command");
        return false;
    }
    if (a->source == ID_GIVEN && stream_id_is_zero(a->id)) {
        reply_error(&c->reply, "ERR The ID specified in XADD must be greater than 0-0");
        return false;
    }
    return true;
}

/* The id that the message gets behind `last`; false having replied. */
static bool choose_id(struct call *c, struct stream_id last, struct add_args *a)
{
    if (stream_id_equal(last, STREAM_ID_MAX)) {
        reply_error(&c->reply, "ERR The stream has exhausted the last possible ID, unable to add "
                               "more items");
        return false;
    }
    if (a->source == ID_OF_CLOCK)
        a->id = (struct stream_id){(uint64_t)c->now_ms, 0};
    bool counts_on = (a->source == ID_OF_CLOCK && a->id.ms <= last.ms) ||
                     (a->source == ID_OF_MS && a->id.ms == last.ms && last.seq != UINT64_MAX);
    if (counts_on) {
        a->id = last;
        stream_id_increment(&a->id);
    }
    if (stream_id_compare(a->id, last) > 0)
        return true;
    reply_error(&c->reply, "ERR The ID specified in XADD is equal or smaller than the target "
                           "stream top item");
    return false;
}

/* Trimming is told by what it has left: in nodes of another size "about so many" would leave
 * others. */
static void tell_add(struct call *c, const struct place *p, const struct stream *s,
                     const struct add_args *a, bool trimmed)
{
    if (!journal_is_on(c) || (a->source == ID_GIVEN && !a->trims))
        return;
    char length[NUMBER_INTEGER_SIZE_MAX], id[STREAM_ID_SIZE_MAX];
    struct journal_writing w;
    call_journal_nothing(c);
    journal_start(&w, p->shard, c->db, 3 + 3 * trimmed + c->argc - a->first_field);
    journal_word(&w, SLICE("XADD"));
    journal_word(&w, p->key);
    if (trimmed) {
        journal_word(&w, SLICE("MAXLEN"));
        journal_word(&w, SLICE("="));
        journal_word(&w, told_number(length, (int64_t)s->length));
    }
    journal_word(&w, (struct slice){id, stream_id_format(id, a->id)});
    for (uint32_t i = a->first_field; i < c->argc; i++)
        journal_word(&w, c->argv[i]);
    journal_end(&w);
}

static void xadd_run(struct call *c)
{
    struct add_args a;
    if (!read_add(c, &a))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_STREAM, &p))
        return;
    if (!p.entry && a.no_create) {
        reply_null(&c->reply);
        return;
    }
    struct value v = db_value(&p, TYPE_STREAM);
    struct stream *s = stream_of(&v);
    if (!choose_id(c, s->last_id, &a))
        goto refused;
    uint32_t pairs = (c->argc - a.first_field) / 2;
    if (!stream_append(s, c->keyspace, a.id, c->argv + a.first_field, pairs)) {
        reply_error(&c->reply, "ERR Elements are too large to be stored");
        goto refused;
    }
    uint64_t trimmed = a.trims ? stream_trim(s, &a.trim) : 0;
    db_keep(&p, &v);
    db_changed(c, &p);
    tell_add(c, &p, s, &a, trimmed);
    db_notify(&p, NOTIFY_STREAM, "xadd");
    if (trimmed)
        db_notify(&p, NOTIFY_STREAM, "xtrim");

    stream_reply_id(&c->reply, a.id);
    return;
refused:
    if (!p.entry)
        value_free(&v);
}

static void xtrim_run(struct call *c)
{
    struct add_args a;
    if (!read_args(c, false, &a))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_STREAM, &p))
        return;
    uint64_t removed = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_STREAM);
        removed = stream_trim(stream_of(&v), &a.trim);
        if (removed) {
            char length[NUMBER_INTEGER_SIZE_MAX];
            db_keep(&p, &v);
            db_changed(c, &p);
            told(c, &p, SLICE("XTRIM"), p.key, SLICE("MAXLEN"), SLICE("="),
                 told_number(length, (int64_t)stream_of(&v)->length));
            db_notify(&p, NOTIFY_STREAM, "xtrim");
        }
    }

    reply_integer(&c->reply, (int64_t)removed);
}

/* --- Reading --- */

static void xlen_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_STREAM, &p))
        return;
    uint64_t length = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_STREAM);
        length = stream_of(&v)->length;
    }

    reply_integer(&c->reply, (int64_t)length);
}

/* COUNT, as often as it is told; -1 without it. */
static bool read_count(struct call *c, int64_t *count)
{
    *count = -1;
    for (uint32_t i = 4; i < c->argc; i += 2) {
        if (i + 1 == c->argc || !call_arg_is(c, i, "count")) {
            reply_error_syntax(&c->reply);
            return false;
        }
        if (!call_arg_integer(c, i + 1, count))
            return false;
        if (*count < 0)
            *count = 0;
    }
    return true;
}

static void range(struct call *c, bool reverse)
{
    struct stream_id start, end;
    int64_t count;
    if (!stream_arg_bound(c, reverse ? 3 : 2, false, &start) ||
        !stream_arg_bound(c, reverse ? 2 : 3, true, &end) || !read_count(c, &count))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_STREAM, &p))
        return;
    if (!p.entry) {
        reply_array(&c->reply, 0);
    } else if (count == 0) {
        reply_null_array(&c->reply);
    } else {
        struct value v = db_value(&p, TYPE_STREAM);
        struct stream_walk w;
        stream_walk_start(&w, stream_of(&v), start, end, reverse);
        stream_reply_range(&c->reply, &w, count < 0 ? 0 : (uint64_t)count);
    }
}

static void xrange_run(struct call *c)
{
    range(c, false);
}

static void xrevrange_run(struct call *c)
{
    range(c, true);
}

/* --- Deleting --- */

/* Arguments from `first` on as ids. False having replied; else *ids is to be freed. */
static bool read_ids(struct call *c, uint32_t first, uint32_t count, struct stream_id **ids)
{
    *ids = mem_alloc(count * sizeof(**ids));
    for (uint32_t i = 0; i < count; i++) {
        if (!stream_arg_id(c, first + i, 0, &(*ids)[i])) {
            mem_free(*ids);
            return false;
        }
    }
    return true;
}

/* Ids are looked at only where there is a stream, as in Redis. */
static void xdel_run(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_STREAM, &p))
        return;
    uint32_t count = c->argc - 2;
    struct stream_id *ids;
    int64_t deleted = 0;
    if (p.entry) {
        if (!read_ids(c, 2, count, &ids))
            return;
        struct value v = db_value(&p, TYPE_STREAM);
        for (uint32_t i = 0; i < count; i++)
            deleted += stream_delete(stream_of(&v), ids[i]);
        mem_free(ids);
        if (deleted) {
            db_keep(&p, &v);
            db_changed(c, &p);
            db_notify(&p, NOTIFY_STREAM, "xdel");
        }
    }

    reply_integer(&c->reply, deleted);
}

static void xdelex_run(struct call *c)
{
    struct stream_delete_args a;
    struct stream_id *ids;
    if (!stream_args_delete(c, 2, &a) || !read_ids(c, a.first_id, a.id_count, &ids))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_STREAM, &p)) {
        mem_free(ids);
        return;
    }
    reply_array(&c->reply, a.id_count);
    struct value v = {0};
    struct rax_account before = {0};
    uint64_t length = 0;
    if (p.entry) {
        v = db_value(&p, TYPE_STREAM);
        before = stream_of(&v)->account;
        length = stream_of(&v)->length;
    }
    for (uint32_t i = 0; i < a.id_count; i++)
        reply_integer(&c->reply,
                      p.entry ? stream_delete_as(c, &p, stream_of(&v), ids[i], a.references) : -1);
    mem_free(ids);
    /* A message or an entry of a PEL has gone. */
    if (p.entry && (stream_of(&v)->length != length ||
                    stream_of(&v)->account.allocations != before.allocations)) {
        bool deleted = stream_of(&v)->length != length;
        db_keep(&p, &v);
        db_changed(c, &p);
        if (deleted)
            db_notify(&p, NOTIFY_STREAM, "xdel");
    }
}

/* --- XSETID --- */

struct setid_args {
    struct stream_id last_id, max_deleted_id;
    int64_t entries_added; /* -1: not told */
};

static bool read_setid_option(struct call *c, uint32_t i, struct setid_args *a)
{
    if (i + 1 < c->argc && call_arg_is(c, i, "entriesadded")) {
        if (!call_arg_integer(c, i + 1, &a->entries_added))
            return false;
        if (a->entries_added < 0)
            reply_error(&c->reply, "ERR entries_added must be positive");
        return a->entries_added >= 0;
    }
    if (i + 1 < c->argc && call_arg_is(c, i, "maxdeletedid")) {
        if (!stream_arg_id(c, i + 1, 0, &a->max_deleted_id))
            return false;
        bool below = stream_id_compare(a->last_id, a->max_deleted_id) < 0;
        if (below)
            reply_error(&c->reply, "ERR The ID specified in XSETID is smaller than the provided "
                                   "max_deleted_entry_id");
        return !below;
    }
    reply_error_syntax(&c->reply);
    return false;
}

static bool read_setid(struct call *c, struct setid_args *a)
{
    *a = (struct setid_args){.entries_added = -1};
    if (!stream_arg_id(c, 2, 0, &a->last_id))
        return false;
    for (uint32_t i = 3; i < c->argc; i += 2)
        if (!read_setid_option(c, i, a))
            return false;
    return true;
}

/* True, having replied, where the stream has messages that the new facts would belie. */
static bool refuse_setid(struct call *c, const struct stream *s, const struct setid_args *a)
{
    struct stream_id top;
    const char *error = NULL;
    if (stream_id_compare(a->last_id, s->max_deleted_id) < 0)
        error = "ID specified in XSETID is smaller than current max_deleted_entry_id";
    else if (!stream_last_message(s, &top))
        return false;
    else if (stream_id_compare(a->last_id, top) < 0)
        error = "ID specified in XSETID is smaller than the target stream top item";
    else if (a->entries_added >= 0 && s->length > (uint64_t)a->entries_added)
        error = "entries_added specified in XSETID is smaller than the target stream length";
    if (error)
        reply_error(&c->reply, "ERR The %s", error);
    return error != NULL;
}

static void xsetid_run(struct call *c)
{
    struct setid_args a;
    if (!read_setid(c, &a))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_STREAM, &p))
        return;
    if (!p.entry) {
        reply_error(&c->reply, "ERR no such key");
        return;
    }
    struct value v = db_value(&p, TYPE_STREAM);
    struct stream *s = stream_of(&v);
    if (refuse_setid(c, s, &a))
        return;
    s->last_id = a.last_id;
    if (a.entries_added >= 0)
        s->entries_added = (uint64_t)a.entries_added;
    if (!stream_id_is_zero(a.max_deleted_id))
        s->max_deleted_id = a.max_deleted_id;
    db_keep(&p, &v);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_STREAM, "xsetid");

    reply_ok(&c->reply);
}

const struct command stream_commands[] = {
    {
        .name = "xadd",
        .run = xadd_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE_NOTED(KEY_RW | KEY_UPDATE,
                               "UPDATE instead of INSERT because of the optional trimming feature"),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1) when adding a message, O(N) when trimming, where N is the number of "
                      "messages that go.",
        .syntax = "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> "
                  "field value [field value ...]",
        .summary = "Adds a message to a stream, which is created where the key does not exist.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "xdel",
        .run = xdel_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1) for each message, whatever the size of the stream.",
        .syntax = "key id [id ...]",
        .summary = "Removes messages from a stream and returns how many there were.",
    },
    {
        .name = "xdelex",
        .run = xdelex_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "stream",
        .since = "8.2.0",
        .complexity = "O(1) for each message and group, whatever the size of the stream.",
        .syntax = "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        .summary = "Removes messages from a stream, heeding what groups have of them.",
    },
    {
        .name = "xlen",
        .run = xlen_run,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RO),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the number of messages in a stream.",
    },
    {
        .name = "xrange",
        .run = xrange_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) where N is the number of messages returned.",
        .syntax = "key start end [COUNT count]",
        .summary = "Returns the messages with ids within a range.",
    },
    {
        .name = "xrevrange",
        .run = xrevrange_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) where N is the number of messages returned.",
        .syntax = "key end start [COUNT count]",
        .summary = "Returns the messages with ids within a range, the last first.",
    },
    {
        .name = "xsetid",
        .run = xsetid_run,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1)",
        .syntax = "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        .summary = "Sets what a stream knows of its past: what replication and restoring use.",
    },
    {
        .name = "xtrim",
        .run = xtrim_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) where N is the number of messages that go; those of a whole node go at "
                      "once.",
        .syntax = "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]",
        .summary = "Removes the oldest messages of a stream.",
        .tips = "nondeterministic_output",
    },
    {0},
};
