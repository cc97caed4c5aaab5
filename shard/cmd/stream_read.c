/* XREAD and XREADGROUP: reading several streams at once, and waiting for what comes.
 *
 * Both go over their keys twice, as Redis does: first all keys, groups and ids are checked, then
 * what there is is read. Where nothing is there to read they wait, and are run again with the same
 * arguments for each change of one of their keys; but "$" is by then the id that it stood for.
 *
 * A message that is read for a group becomes pending for the consumer until it acknowledges it. */
#include "proto/mem.h"
#include "shard/cmd/stream_group_cmd.h"

#define NO_BLOCK ((int64_t)-1)
/* How "only what no consumer of the group got" is held: as Redis does, by the one id that nothing
 * can be above. */
#define NEW_ONES STREAM_ID_MAX
#define KEYS_FEW 4

struct read_args {
    bool grouped;        /* XREADGROUP */
    bool noack;
    uint32_t group_arg;  /* and the consumer after it; 0: not given */
    uint32_t first_key;  /* 0: not given */
    uint32_t key_count;
    uint64_t count;      /* of messages from each stream; 0: all */
    int64_t timeout_ms;  /* 0: for ever */
};

/* A stream to be read. */
struct read_source {
    bool in_reach;
    struct group_place at;
    struct stream_id after; /* what is above it is asked for */
};

/* Arguments. */

static bool read_count(struct call *c, uint32_t arg, struct read_args *a)
{
    int64_t count;
    if (!call_arg_integer(c, arg, &count))
        return false;
    a->count = count < 0 ? 0 : (uint64_t)count;
    return true;
}

/* The keys and their ids, which are all that is left from `arg` on. */
static bool read_streams(struct call *c, uint32_t arg, struct read_args *a)
{
    uint32_t left = c->argc - arg;
    if (left % 2) {
        reply_error(&c->reply,
                    "ERR Unbalanced '%s' list of streams: for each stream key an ID or '%c' must "
                    "be specified.",
                    c->command->name, a->grouped ? '>' : '$');
        return false;
    }
    a->first_key = arg;
    a->key_count = left / 2;
    return true;
}

static bool group_option(struct call *c, const struct read_args *a, const char *option)
{
    if (!a->grouped)
        reply_error(&c->reply,
                    "ERR The %s option is only supported by XREADGROUP. You called XREAD instead.",
                    option);
    return a->grouped;
}

/* Reads the option at *i and moves *i to its last argument; false having replied. */
static bool read_option(struct call *c, uint32_t *i, struct read_args *a)
{
    uint32_t operands = c->argc - *i - 1, at = *i;
    if (operands >= 1 && call_arg_is(c, at, "COUNT")) {
        *i += 1;
        return read_count(c, at + 1, a);
    }
    if (operands >= 1 && call_arg_is(c, at, "BLOCK")) {
        *i += 1;
        return call_arg_timeout_ms(c, at + 1, &a->timeout_ms);
    }
    if (operands >= 1 && call_arg_is(c, at, "STREAMS")) {
        *i = c->argc - 1;
        return read_streams(c, at + 1, a);
    }
    if (operands >= 2 && call_arg_is(c, at, "GROUP")) {
        *i += 2;
        a->group_arg = at + 1;
        return group_option(c, a, "GROUP");
    }
    if (call_arg_is(c, at, "NOACK")) {
        a->noack = true;
        return group_option(c, a, "NOACK");
    }
    reply_error_syntax(&c->reply);
    return false;
}

static bool read_args(struct call *c, struct read_args *a)
{
    for (uint32_t i = 1; i < c->argc; i++)
        if (!read_option(c, &i, a))
            return false;
    if (!a->first_key) {
        reply_error_syntax(&c->reply);
        return false;
    }
    if (a->grouped && !a->group_arg) {
        reply_error(&c->reply, "ERR Missing GROUP option for XREADGROUP");
        return false;
    }
    return true;
}

/* Sources. */

/* When it is run again, only the shard of the key that changed may stand still. */
static bool in_reach(const struct call *c, uint32_t arg)
{
    if (!c->repeated)
        return true;
    uint32_t shard = keyspace_shard(c->keyspace, c->argv[arg]);
    return c->shard ? c->shard->index == shard : c->shards[shard] != NULL;
}

static void error_no_group(struct call *c, uint32_t key_arg, uint32_t group_arg)
{
    struct slice key = c->argv[key_arg], group = c->argv[group_arg];
    reply_error(&c->reply,
                "NOGROUP No such key '%.*s' or consumer group '%.*s' in XREADGROUP with GROUP "
                "option",
                (int)key.size, key.data, (int)group.size, group.data);
}

static void error_meaningless(struct call *c, char id)
{
    reply_error(&c->reply,
                "ERR The %c ID is meaningless in the context of XREADGROUP: you want to read the "
                "history of this consumer by specifying a proper ID, or use the > ID to get new "
                "messages. The %c ID would just return an empty result set.",
                id, id);
}

/* "$": what comes from now on. "+": the last message there is. */
static void resolve_edge(const struct stream *s, char edge, struct stream_id *after)
{
    *after = STREAM_ID_MIN;
    if (!s)
        return;
    if (edge == '$')
        *after = s->last_id;
    else if (stream_last_message(s, after))
        stream_id_decrement(after);
}

static bool read_id(struct call *c, uint32_t arg, const struct read_args *a, struct read_source *s)
{
    struct slice id = c->argv[arg];
    char word = id.size == 1 ? id.data[0] : '\0';
    if (word == '$' || word == '+') {
        if (a->grouped) {
            error_meaningless(c, word);
            return false;
        }
        resolve_edge(s->at.stream, word, &s->after);
        return true;
    }
    if (word == '>') {
        if (!a->grouped) {
            reply_error(&c->reply, "ERR The > ID can be specified only when calling XREADGROUP "
                                   "using the GROUP <group> <consumer> option.");
            return false;
        }
        s->after = NEW_ONES;
        return true;
    }
    return stream_arg_id(c, arg, 0, &s->after);
}

static bool find_source(struct call *c, uint32_t key_arg, const struct read_args *a,
                        struct read_source *s)
{
    if (a->grouped)
        return group_place_find(c, key_arg, a->group_arg, DB_UPDATE, &s->at);
    s->at = (struct group_place){0};
    if (!db_find_type(c, key_arg, DB_READ, TYPE_STREAM, &s->at.place))
        return false;
    if (s->at.place.entry) {
        s->at.value = db_value(&s->at.place, TYPE_STREAM);
        s->at.stream = stream_of(&s->at.value);
    }
    return true;
}

/* Finds the stream and reads its id; false having replied. */
static bool read_source(struct call *c, uint32_t nth, const struct read_args *a,
                        struct read_source *s)
{
    uint32_t key_arg = a->first_key + nth;
    *s = (struct read_source){.in_reach = in_reach(c, key_arg)};
    if (s->in_reach) {
        if (!find_source(c, key_arg, a, s))
            return false;
        if (a->grouped && !s->at.group) {
            error_no_group(c, key_arg, a->group_arg);
            return false;
        }
    }
    return read_id(c, key_arg + a->key_count, a, s);
}

/* Reading. */

static bool has_above(const struct stream *s, struct stream_id id)
{
    struct stream_id last;
    return stream_last_message(s, &last) && stream_id_compare(last, id) > 0;
}

static void walk_above(struct stream_walk *w, const struct stream *s, struct stream_id id)
{
    stream_id_increment(&id);
    stream_walk_start(w, s, id, STREAM_ID_MAX, false);
}

/* What no consumer of the group got: it becomes pending for this one, but for NOACK. */
static void reply_new(struct call *c, struct group_place *g, struct stream_consumer *consumer,
                      const struct read_args *a)
{
    struct stream_walk w;
    struct stream_id id;
    uint32_t pairs;
    uint64_t count = 0;
    struct group_claims claims;
    group_claims_start(&claims, c, g, consumer);
    size_t start = stream_array_begin(&c->reply);
    walk_above(&w, g->stream, g->group->last_id);
    while ((!a->count || count < a->count) && stream_walk_next(&w, &id, &pairs)) {
        stream_reply_message(&c->reply, &w, id, pairs);
        stream_group_delivered(g->stream, g->group, id);
        if (!a->noack) {
            group_claims_add(&claims, id,
                             stream_pel_deliver(g->group, consumer, id, c->now_ms));
            consumer->active_ms = c->now_ms;
        }
        count++;
    }
    stream_array_end(&c->reply, start, count);
    group_claims_end(&claims);
    group_place_tell_read(c, g);
    g->changed = true;
}

/* What is pending for the consumer: delivered once more, but where the message is deleted. */
static void reply_history(struct call *c, struct group_place *g, struct stream_consumer *consumer,
                          struct stream_id from, uint64_t max)
{
    struct stream_id id;
    struct stream_nack *nack;
    struct group_claims claims;
    group_claims_start(&claims, c, g, consumer);
    uint64_t count = 0;
    size_t start = stream_array_begin(&c->reply);
    bool more = stream_id_increment(&from);
    while (more && (!max || count < max) && (nack = stream_pel_seek(&consumer->pel, from, &id))) {
        struct stream_walk w;
        struct stream_id found;
        uint32_t pairs;
        stream_walk_start(&w, g->stream, id, id, false);
        if (stream_walk_next(&w, &found, &pairs)) {
            stream_reply_message(&c->reply, &w, id, pairs);
            stream_pel_touch(g->group, nack, id);
            nack->delivered_ms = c->now_ms;
            nack->deliveries++;
            group_claims_add(&claims, id, nack);
            g->changed = true;
        } else {
            reply_array(&c->reply, 2);
            stream_reply_id(&c->reply, id);
            reply_null_array(&c->reply);
        }
        count++;
        from = id;
        more = stream_id_increment(&from);
    }
    group_claims_end(&claims);
    stream_array_end(&c->reply, start, count);
}

static void reply_key(struct call *c, uint32_t key_arg)
{
    if (c->reply.protocol == 2)
        reply_array(&c->reply, 2);
    reply_bulk(&c->reply, c->argv[key_arg]);
}

/* Replies with the name and the messages of a stream; false, without a reply, where it has none. */
static bool reply_source(struct call *c, uint32_t key_arg, const struct read_args *a,
                         struct read_source *s)
{
    if (!s->at.stream) {
        /* As in Redis, which has looked for it twice by now. */
        db_notify(&s->at.place, NOTIFY_KEY_MISS, "keymiss");
        return false;
    }
    if (!has_above(s->at.stream, s->after))
        return false;
    struct stream_walk w;
    walk_above(&w, s->at.stream, s->after);
    reply_key(c, key_arg);
    stream_reply_range(&c->reply, &w, a->count);
    return true;
}

/* The same for a group. A consumer's own history is always there, if only empty. One that waits
 * does not overtake those who wait already; one that does not wait takes what there is. */
static bool reply_source_of_group(struct call *c, uint32_t key_arg, const struct read_args *a,
                                  struct read_source *s)
{
    struct group_place *g = &s->at;
    struct stream_consumer *consumer = group_place_consumer(c, g, c->argv[a->group_arg + 1]);
    bool history = !stream_id_equal(s->after, NEW_ONES);
    bool waits = a->timeout_ms != NO_BLOCK && c->may_wait;
    bool served = history || (has_above(g->stream, g->group->last_id) &&
                              (!waits || call_may_take(c, key_arg)));
    if (served)
        reply_key(c, key_arg);
    if (served && history)
        reply_history(c, g, consumer, s->after, a->count);
    else if (served)
        reply_new(c, g, consumer, a);
    group_place_keep(c, g);
    return served;
}

/* Replies with all sources that have something; returns how many did. A key may be named more than
 * once: then the place that was found for it may be outdated. */
static uint32_t reply_sources(struct call *c, const struct read_args *a,
                              struct read_source *sources)
{
    uint32_t served = 0;
    for (uint32_t i = 0; i < a->key_count; i++) {
        struct read_source *s = &sources[i];
        uint32_t key_arg = a->first_key + i;
        if (!s->in_reach)
            continue;
        if (a->grouped && i > 0)
            group_place_find(c, key_arg, a->group_arg, DB_WRITE, &s->at);
        served += a->grouped ? reply_source_of_group(c, key_arg, a, s)
                             : reply_source(c, key_arg, a, s);
    }
    return served;
}

/* Waiting. */

static void wait_for_more(struct call *c, const struct read_args *a,
                          const struct read_source *sources)
{
    for (uint32_t i = 0; i < a->key_count; i++) {
        uint32_t id_arg = a->first_key + a->key_count + i;
        char text[STREAM_ID_SIZE_MAX];
        if (call_arg_is(c, id_arg, "$"))
            call_wait_arg(c, id_arg,
                          (struct slice){text, stream_id_format(text, sources[i].after)});
    }
    call_wait(c, (struct call_wait){
                     .type = TYPE_STREAM,
                     .on_removal = a->grouped,
                     .reply = WAIT_NULL_ARRAY,
                     .first_key = a->first_key,
                     .key_count = a->key_count,
                     .timeout_ms = a->timeout_ms,
                 });
}

static void read_all(struct call *c, const struct read_args *a, struct read_source *sources)
{
    for (uint32_t i = 0; i < a->key_count; i++)
        if (!read_source(c, i, a, &sources[i]))
            return;

    struct buf *out = c->reply.out;
    size_t header = out->size, start = stream_array_begin(&c->reply);
    uint32_t served = reply_sources(c, a, sources);
    if (served) {
        stream_array_end(&c->reply, start, served);
        /* The header of a map of so many pairs differs from that by its type alone. */
        if (c->reply.protocol == 3)
            out->data[header] = '%';
        return;
    }
    out->size = header;
    if (a->timeout_ms != NO_BLOCK)
        wait_for_more(c, a, sources);
    else
        reply_null_array(&c->reply);
}

static void read_run(struct call *c, bool grouped)
{
    struct read_args a = {.grouped = grouped, .timeout_ms = NO_BLOCK};
    if (!read_args(c, &a))
        return;

    struct read_source few[KEYS_FEW], *sources = few;
    if (a.key_count > KEYS_FEW)
        sources = mem_alloc(a.key_count * sizeof(*sources));
    read_all(c, &a, sources);
    if (sources != few)
        mem_free(sources);
}

static void xread(struct call *c)
{
    read_run(c, false);
}

static void xreadgroup(struct call *c)
{
    read_run(c, true);
}

/* The keys are the first half of what follows STREAMS. */
#define KEYS_STREAMS(from)                                                                     \
    {{.flags = KEY_RO | KEY_ACCESS, .begin = (from), .keyword = "STREAMS",                     \
      .find = KEY_FIND_RANGE, .last = -1, .step = 1, .limit = 2}}

const struct command stream_read_commands[] = {
    {
        .name = "xread",
        .run = xread,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY | CMD_BLOCKING | CMD_BLOCK_OPTION | CMD_MOVABLE_KEYS | CMD_ANY_KEY,
        .acl = ACL_STREAM,
        .keys = KEYS_STREAMS(1),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "For each stream: O(N) with N the number of messages returned, so that a "
                      "call with a fixed COUNT is O(1). With BLOCK, XADD pays O(M) to serve the M "
                      "clients that wait for the stream.",
        .syntax = "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
        .summary = "Returns messages from several streams with IDs above the ones given. Blocks, "
                   "where asked to, until there is a message.",
    },
    {
        .name = "xreadgroup",
        .run = xreadgroup,
        .arity = -7,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_BLOCKING | CMD_BLOCK_OPTION | CMD_MOVABLE_KEYS | CMD_ANY_KEY,
        .acl = ACL_STREAM,
        .keys = KEYS_STREAMS(4),
        .group = "stream",
        .since = "5.0.0",
        .complexity = "For each stream: O(M) with M the number of messages returned, so that a "
                      "call with a fixed COUNT is O(1). With BLOCK, XADD pays O(N) to serve the N "
                      "clients that wait for the stream.",
        .syntax = "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key "
                  "[key ...] id [id ...]",
        .summary = "Returns new messages, or those pending, from streams to a consumer of a group. "
                   "Blocks, where asked to, until there is a message.",
    },
    {0},
};
