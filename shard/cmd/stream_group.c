/* Groups of consumers: XGROUP, and acknowledging by XACK and XACKDEL.
 *
 * XGROUP is a container command; its rows are the subcommands. Redis checks their options before
 * the key, the key before the group, and the group before the id. */
#include "shard/cmd/stream_group_cmd.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/cmd/told.h"

/* --- Shared: see the header --- */

bool group_place_find(struct call *c, uint32_t key_arg, uint32_t group_arg, enum db_mode mode,
                      struct group_place *g)
{
    g->stream = NULL;
    g->group = NULL;
    g->changed = false;
    if (!db_find_type(c, key_arg, mode, TYPE_STREAM, &g->place))
        return false;
    if (!g->place.entry)
        return true;
    g->value = db_value(&g->place, TYPE_STREAM);
    g->stream = stream_of(&g->value);
    g->group = stream_group_find(g->stream, c->argv[group_arg]);
    return true;
}

bool group_place_require(struct call *c, uint32_t key_arg, uint32_t group_arg, enum db_mode mode,
                         struct group_place *g)
{
    if (!group_place_find(c, key_arg, group_arg, mode, g))
        return false;
    if (!g->group) {
        struct slice key = c->argv[key_arg], group = c->argv[group_arg];
        reply_error(&c->reply, "NOGROUP No such key '%.*s' or consumer group '%.*s'",
                    (int)key.size, key.data, (int)group.size, group.data);
    }
    return g->group;
}

struct stream_consumer *group_place_consumer(struct call *c, struct group_place *g,
                                             struct slice name)
{
    struct stream_consumer *consumer = stream_consumer_find(g->group, name);
    if (!consumer) {
        consumer = stream_consumer_create(g->group, name, c->now_ms);
        g->changed = true;
        told(c, &g->place, SLICE("XGROUP"), SLICE("CREATECONSUMER"), g->place.key,
             stream_group_name(g->group), name);
        db_notify(&g->place, NOTIFY_STREAM, "xgroup-createconsumer");
    }
    consumer->seen_ms = c->now_ms;
    return consumer;
}

void group_place_keep(struct call *c, struct group_place *g)
{
    if (!g->changed)
        return;
    db_keep(&g->place, &g->value);
    db_changed_quietly(c, &g->place);
}

void group_place_tell_read(struct call *c, const struct group_place *g)
{
    char id[STREAM_ID_SIZE_MAX], count[NUMBER_INTEGER_SIZE_MAX];
    told(c, &g->place, SLICE("XGROUP"), SLICE("SETID"), g->place.key, stream_group_name(g->group),
         (struct slice){id, stream_id_format(id, g->group->last_id)}, SLICE("ENTRIESREAD"),
         told_number(count, g->group->entries_read));
}

void group_claims_start(struct group_claims *m, struct call *c, const struct group_place *g,
                        const struct stream_consumer *consumer)
{
    m->call = c;
    m->at = g;
    m->consumer = consumer;
    m->count = 0;
}

/* A claim says nothing of ids that are gone, makes pending what is not, and leaves the group's last
 * id alone. */
void group_claims_end(struct group_claims *m)
{
    if (m->count == 0)
        return;
    char text[STREAM_ID_SIZE_MAX], time[NUMBER_INTEGER_SIZE_MAX], often[NUMBER_INTEGER_SIZE_MAX];
    uint64_t deliveries = m->deliveries < INT64_MAX ? m->deliveries : INT64_MAX;
    struct journal_writing w;
    call_journal_nothing(m->call);
    journal_start(&w, m->at->place.shard, m->call->db, 11 + m->count);
    journal_word(&w, SLICE("XCLAIM"));
    journal_word(&w, m->at->place.key);
    journal_word(&w, stream_group_name(m->at->group));
    journal_word(&w, stream_consumer_name(m->consumer));
    journal_word(&w, SLICE("0"));
    for (uint32_t i = 0; i < m->count; i++)
        journal_word(&w, (struct slice){text, stream_id_format(text, m->ids[i])});
    journal_word(&w, SLICE("TIME"));
    journal_word(&w, told_number(time, m->delivered_ms));
    journal_word(&w, SLICE("RETRYCOUNT"));
    journal_word(&w, told_number(often, (int64_t)deliveries));
    journal_word(&w, SLICE("FORCE"));
    journal_word(&w, SLICE("JUSTID"));
    journal_end(&w);
    m->count = 0;
}

void group_claims_add(struct group_claims *m, struct stream_id id, const struct stream_nack *n)
{
    if (!journal_is_on(m->call))
        return;
    if (m->count == GROUP_CLAIMS_MAX || m->delivered_ms != n->delivered_ms ||
        m->deliveries != n->deliveries)
        group_claims_end(m);
    m->delivered_ms = n->delivered_ms;
    m->deliveries = n->deliveries;
    m->ids[m->count++] = id;
}

void stream_error_no_group(struct call *c, struct slice group, struct slice key)
{
    reply_error(&c->reply, "NOGROUP No such consumer group '%.*s' for key name '%.*s'",
                (int)group.size, group.data, (int)key.size, key.data);
}

void stream_ids_init(struct stream_ids *ids, uint32_t count)
{
    ids->count = count;
    ids->ids = ids->few;
    if (count > STREAM_IDS_FEW)
        ids->ids = mem_alloc(count * sizeof(*ids->ids));
}

bool stream_ids_read(struct call *c, uint32_t arg, uint32_t count, struct stream_ids *ids)
{
    assert(arg + count <= c->argc);
    stream_ids_init(ids, count);
    for (uint32_t i = 0; i < count; i++) {
        if (!stream_arg_id(c, arg + i, 0, &ids->ids[i])) {
            stream_ids_deinit(ids);
            return false;
        }
    }
    return true;
}

void stream_ids_deinit(struct stream_ids *ids)
{
    if (ids->ids != ids->few)
        mem_free(ids->ids);
}

/* --- XGROUP --- */

struct group_options {
    bool make_stream;
    int64_t entries_read;
};

static bool is_subcommand(const struct call *c, const char *subcommand)
{
    return strcmp(c->command->name, subcommand) == 0;
}

static void error_usage(struct call *c)
{
    struct slice word = c->argv[1];
    reply_error(&c->reply,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try XGROUP HELP.",
                (int)(word.size < 128 ? word.size : 128), word.data);
}

/* The options of CREATE, and of SETID, which makes no stream. */
static bool read_group_options(struct call *c, struct group_options *o)
{
    for (uint32_t i = 5; i < c->argc; i++) {
        if (is_subcommand(c, "create") && call_arg_is(c, i, "MKSTREAM")) {
            o->make_stream = true;
        } else if (i + 1 < c->argc && call_arg_is(c, i, "ENTRIESREAD")) {
            i++;
            if (!call_arg_integer(c, i, &o->entries_read))
                return false;
            if (o->entries_read < 0 && o->entries_read != STREAM_UNKNOWN) {
                reply_error(&c->reply, "ERR value for ENTRIESREAD must be positive or -1");
                return false;
            }
        } else {
            error_usage(c);
            return false;
        }
    }
    return true;
}

/* Finds the key and the group of a subcommand; false, having replied, where there is no key. */
static bool find_for_xgroup(struct call *c, struct group_place *g)
{
    if (!group_place_find(c, 2, 3, DB_WRITE, g))
        return false;
    if (!g->stream)
        reply_error(&c->reply,
                    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you "
                    "may want to use the MKSTREAM option to create an empty stream automatically.");
    return g->stream;
}

/* ... or no group. */
static bool require_for_xgroup(struct call *c, struct group_place *g)
{
    if (!find_for_xgroup(c, g))
        return false;
    if (!g->group)
        stream_error_no_group(c, c->argv[3], c->argv[2]);
    return g->group;
}

/* Each option at most once, give or take: Redis counts arguments. */
#define CREATE_ARGS_MAX 8
#define SETID_ARGS_MAX 7

static void create(struct call *c)
{
    struct group_options o = {.entries_read = STREAM_UNKNOWN};
    struct group_place g;
    if (!read_group_options(c, &o))
        return;
    if (o.make_stream ? !group_place_find(c, 2, 3, DB_WRITE, &g) : !find_for_xgroup(c, &g))
        return;
    if (c->argc > CREATE_ARGS_MAX) {
        error_usage(c);
        return;
    }
    struct stream_id id = g.stream ? g.stream->last_id : STREAM_ID_MIN;
    if (!call_arg_is(c, 4, "$") && !stream_arg_id(c, 4, 0, &id))
        return;
    if (g.group) {
        reply_error(&c->reply, "BUSYGROUP Consumer Group name already exists");
        return;
    }

    if (!g.stream)
        g.value = db_value(&g.place, TYPE_STREAM);
    stream_group_create(stream_of(&g.value), c->argv[3], id, o.entries_read);
    g.changed = true;
    group_place_keep(c, &g);
    db_notify(&g.place, NOTIFY_STREAM, "xgroup-create");

    reply_ok(&c->reply);
}

/* Unlike CREATE it takes "-" and "+" for ids. */
static bool read_setid(struct call *c, const struct stream *s, struct stream_id *id)
{
    struct slice arg = c->argv[4];
    *id = s->last_id;
    if (slice_is(arg, "$"))
        return true;
    return stream_id_parse_bound(arg, 0, id) || stream_arg_id(c, 4, 0, id);
}

static void setid(struct call *c)
{
    struct group_options o = {.entries_read = STREAM_UNKNOWN};
    struct group_place g;
    if (!read_group_options(c, &o) || !require_for_xgroup(c, &g))
        return;
    if (c->argc > SETID_ARGS_MAX) {
        error_usage(c);
        return;
    }
    struct stream_id id;
    if (!read_setid(c, g.stream, &id))
        return;

    g.group->last_id = id;
    g.group->entries_read = o.entries_read;
    g.changed = true;
    group_place_keep(c, &g);
    db_notify(&g.place, NOTIFY_STREAM, "xgroup-setid");

    reply_ok(&c->reply);
}

/* Those who wait for the group are run again, and find that it is gone. */
static void destroy(struct call *c)
{
    struct group_place g;
    if (!find_for_xgroup(c, &g))
        return;

    if (g.group) {
        stream_group_destroy(g.stream, g.group);
        db_keep(&g.place, &g.value);
        db_changed(c, &g.place);
        db_notify(&g.place, NOTIFY_STREAM, "xgroup-destroy");
    }

    reply_integer(&c->reply, g.group != NULL);
}

static void createconsumer(struct call *c)
{
    struct group_place g;
    if (!require_for_xgroup(c, &g))
        return;

    g.changed = stream_consumer_create(g.group, c->argv[4], c->now_ms) != NULL;
    group_place_keep(c, &g);
    if (g.changed)
        db_notify(&g.place, NOTIFY_STREAM, "xgroup-createconsumer");

    reply_integer(&c->reply, g.changed);
}

static void delconsumer(struct call *c)
{
    struct group_place g;
    if (!require_for_xgroup(c, &g))
        return;

    uint64_t pending = 0;
    struct stream_consumer *consumer = stream_consumer_find(g.group, c->argv[4]);
    if (consumer) {
        pending = consumer->pel.count;
        stream_consumer_destroy(g.group, consumer);
        g.changed = true;
    }
    group_place_keep(c, &g);
    if (g.changed)
        db_notify(&g.place, NOTIFY_STREAM, "xgroup-delconsumer");

    reply_integer(&c->reply, (int64_t)pending);
}

static void help(struct call *c)
{
    static const char *const lines[] = {
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> <group> <id|$> [MKSTREAM] [ENTRIESREAD <count>]",
        "    Create a group that has read all up to <id>, or all there is ($).",
        "    MKSTREAM creates an empty stream where there is no key; ENTRIESREAD says how",
        "    many messages were ever added up to <id>.",
        "CREATECONSUMER <key> <group> <consumer>",
        "    Create a consumer in a group.",
        "DELCONSUMER <key> <group> <consumer>",
        "    Remove a consumer and forget what is pending for it.",
        "DESTROY <key> <group>",
        "    Remove a group.",
        "SETID <key> <group> <id|$> [ENTRIESREAD <count>]",
        "    Set what a group has read.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

/* --- Acknowledging --- */

static void xack(struct call *c)
{
    struct group_place g;
    if (!group_place_find(c, 1, 2, DB_UPDATE, &g))
        return;
    if (!g.group) {
        reply_integer(&c->reply, 0);
        return;
    }
    struct stream_ids ids;
    if (!stream_ids_read(c, 3, c->argc - 3, &ids))
        return;

    uint32_t acked = 0;
    for (uint32_t i = 0; i < ids.count; i++)
        acked += stream_pel_ack(g.group, ids.ids[i]);
    stream_ids_deinit(&ids);
    g.changed = acked;
    group_place_keep(c, &g);

    reply_integer(&c->reply, acked);
}

/* XACKDEL's answers for an id. */
#define ACKDEL_NOT_PENDING (-1)
#define ACKDEL_DELETED 1
#define ACKDEL_KEPT 2

/* Where the message was deleted before, the answer is the same as if it were now. */
static int ack_and_delete(struct call *c, struct group_place *g, struct stream_id id,
                          enum stream_references references)
{
    if (!stream_pel_ack(g->group, id))
        return ACKDEL_NOT_PENDING;
    g->changed = true;
    stream_tell_acked(c, &g->place, stream_group_name(g->group), id);
    int deleted = stream_delete_as(c, &g->place, g->stream, id, references);
    return deleted == ACKDEL_KEPT ? ACKDEL_KEPT : ACKDEL_DELETED;
}

/* Redis 8.2's. */
static void xackdel(struct call *c)
{
    struct group_place g;
    struct stream_delete_args a;
    if (!group_place_find(c, 1, 2, DB_UPDATE, &g) || !stream_args_delete(c, 3, &a))
        return;
    struct stream_ids ids;
    if (!stream_ids_read(c, a.first_id, a.id_count, &ids))
        return;

    uint64_t length = g.group ? g.stream->length : 0;
    reply_array(&c->reply, ids.count);
    for (uint32_t i = 0; i < ids.count; i++)
        reply_integer(&c->reply, g.group ? ack_and_delete(c, &g, ids.ids[i], a.references)
                                         : ACKDEL_NOT_PENDING);
    stream_ids_deinit(&ids);
    bool deleted = g.group && g.stream->length != length;
    group_place_keep(c, &g);
    if (deleted)
        db_notify(&g.place, NOTIFY_STREAM, "xdel");
}

/* The key of a subcommand is its second argument. */
#define KEYS_XGROUP(f) {{.flags = (f), .begin = 2, .find = KEY_FIND_RANGE, .step = 1}}

static const struct command xgroup_subcommands[] = {
    {
        .name = "create",
        .run = create,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STREAM,
        .keys = KEYS_XGROUP(KEY_RW | KEY_INSERT),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1)",
        .syntax = "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
        .summary = "Creates a consumer group.",
    },
    {
        .name = "createconsumer",
        .run = createconsumer,
        .arity = 5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_STREAM,
        .keys = KEYS_XGROUP(KEY_RW | KEY_INSERT),
        .group = "stream",
        .since = "6.2.0",
        .complexity = "O(1)",
        .syntax = "key group consumer",
        .summary = "Creates a consumer in a consumer group.",
    },
    {
        .name = "delconsumer",
        .run = delconsumer,
        .arity = 5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_STREAM,
        .keys = KEYS_XGROUP(KEY_RW | KEY_DELETE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) with N the number of messages pending for the consumer.",
        .syntax = "key group consumer",
        .summary = "Removes a consumer from a consumer group.",
    },
    {
        .name = "destroy",
        .run = destroy,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_STREAM,
        .keys = KEYS_XGROUP(KEY_RW | KEY_DELETE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(N) with N the number of messages pending in the group.",
        .syntax = "key group",
        .summary = "Removes a consumer group.",
    },
    {
        .name = "help",
        .run = help,
        .arity = 2,
        .route = ROUTE_SESSION,
        .flags = CMD_LOADING | CMD_STALE,
        .acl = ACL_STREAM,
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1)",
        .summary = "Returns a text on the subcommands.",
    },
    {
        .name = "setid",
        .run = setid,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_STREAM,
        .keys = KEYS_XGROUP(KEY_RW | KEY_UPDATE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1)",
        .syntax = "key group <id | $> [ENTRIESREAD entries-read]",
        .summary = "Sets the ID of the last message that a consumer group has read.",
    },
    {0},
};

const struct command stream_group_commands[] = {
    {
        .name = "xgroup",
        .arity = -2,
        .route = ROUTE_KEY,
        .group = "stream",
        .since = "5.0.0",
        .complexity = "Depends on subcommand.",
        .summary = "A container for commands on consumer groups.",
        .subcommands = xgroup_subcommands,
    },
    {
        .name = "xack",
        .run = xack,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "O(1) for each message ID.",
        .syntax = "key group id [id ...]",
        .summary = "Acknowledges messages: they are no longer pending in the consumer group. "
                   "Returns how many were.",
    },
    {
        .name = "xackdel",
        .run = xackdel,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_STREAM,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE | KEY_DELETE),
        .group = "stream",
        .since = "8.2.0",
        .complexity = "O(1) for each message ID.",
        .syntax = "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        .summary = "Acknowledges messages of a consumer group and deletes them from the stream.",
    },
    {0},
};
