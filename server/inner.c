/* Inner commands: see inner.h. */
#include "server/inner.h"

#include <assert.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "server/blocked.h"
#include "server/broken.h"
#include "server/registry.h"
#include "server/serve.h"
#include "server/execute.h"
#include "server/monitor.h"
#include "server/persist/journal.h"
#include "server/pubsub.h"
#include "server/route.h"
#include "server/server.h"
#include "server/session.h"
#include "server/tracking.h"
#include "shard/journal.h"

/* Keys of one command that are kept on the stack. */
#define FEW_KEYS 32

/* --- What is at hand --- */

struct shard *inner_at_hand(const struct inner *in, uint32_t index)
{
    if (in->shards)
        return in->shards[index];
    return in->shard->index == index ? in->shard : NULL;
}

static bool has_all(const struct inner *in)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        if (!inner_at_hand(in, i))
            return false;
    return true;
}

static void note_marks(struct inner *in)
{
    in->marks = mem_alloc_zeroed(server->core_count * sizeof(*in->marks));
    for (uint32_t i = 0; i < server->core_count; i++) {
        const struct shard *s = inner_at_hand(in, i);
        if (s)
            in->marks[i] = (struct inner_mark){event_mark(&s->events), journal_mark(s)};
    }
}

void inner_begin(struct inner *in, struct call *outer, bool may_stray)
{
    struct core *c = core_self();
    *in = (struct inner){
        .core = c, .outer = outer, .session = outer->session, .shard = outer->shard,
        .shards = outer->shards, .db = outer->db,
        .at_home = outer->session && outer->session->home == c->index, .around = c->inner,
    };
    c->inner = in;
    /* It may reach beyond the shard of its keys, where others are held with that. */
    in->gathers = !in->around && in->shards && journal_gather(in->shards, server->core_count);
    call_journal_nothing(outer); /* what it causes is journaled */
    in->all = has_all(in);
    in->may_stray = may_stray && !in->all;
    assert(!in->around || in->around->may_stray == in->may_stray);
    if (!in->may_stray || in->around)
        return;
    undo_init(&in->undo);
    note_marks(in);
}

static struct inner *outermost(struct inner *in)
{
    return in->around ? in->around : in;
}

/* Messages that an undone script has published were never posted: see publish. */
static void take_back(struct inner *in)
{
    if (!broken(BROKEN_NO_UNDO))
        undo_take_back(&in->undo);
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct shard *s = inner_at_hand(in, i);
        if (!s)
            continue;
        event_cut(s, in->marks[i].event);
        journal_cut_back(s, in->marks[i].journal);
    }
    in->outer->strayed = true;
}

/* --- PUBLISH --- */

/* A message that is posted once it is certain that the script stands. */
struct inner_message {
    struct inner_message *next;
    bool sharded;
    size_t channel_size, message_size;
    char bytes[];
};

static void post(struct inner *in, const struct core_mask *mask, struct slice channel,
                 struct slice message, bool sharded)
{
    if (server->keyspace.options.journal)
        journal_precede(in->core, in->shard, in->shards);
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!core_mask_has(mask, i) || !inner_at_hand(in, i) ||
            !pubsub_post(server->cores[i], channel, message, sharded))
            continue;
        if (i != in->core->index)
            core_mask_add(&in->core->waking, i);
    }
}

static void keep_message(struct inner *in, struct slice channel, struct slice message,
                         bool sharded)
{
    struct inner_message *m = mem_alloc(sizeof(*m) + channel.size + message.size);
    *m = (struct inner_message){.sharded = sharded, .channel_size = channel.size,
                                .message_size = message.size};
    memcpy(m->bytes, channel.data, channel.size);
    memcpy(m->bytes + channel.size, message.data, message.size);
    in = outermost(in);
    if (in->messages_last)
        in->messages_last->next = m;
    else
        in->messages = m;
    in->messages_last = m;
}

static void end_messages(struct inner *in, bool stands)
{
    struct inner_message *m = in->messages;
    while (m) {
        struct inner_message *next = m->next;
        struct slice channel = {m->bytes, m->channel_size};
        struct slice message = {m->bytes + m->channel_size, m->message_size};
        struct core_mask mask;
        pubsub_interest(channel, m->sharded, &mask);
        if (stands)
            post(in, &mask, channel, message, m->sharded);
        mem_free(m);
        m = next;
    }
}

bool inner_knows_channel(struct inner *in, const struct command *command, struct slice channel)
{
    struct core_mask mask;
    pubsub_interest(channel, command->name[0] == 's', &mask);
    in->channels_known = true;
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(&mask, i) && !inner_at_hand(in, i))
            return false;
    return true;
}

/* A command that is done here, not by its row's function. */
static void count_done_here(struct inner *in, const struct command *command,
                            const struct slice *argv, uint32_t argc)
{
    struct call call = {.db = in->db};
    execute_prepare(in->core, &call, NULL, command, argv, argc);
    call.session = in->outer->session;
    call.client = in->outer->client;
    call.in_script = in->in_script;
    execute_count_inner(in->core, &call);
}

/* The subscribers' cores are at hand with their shards: a core whose shard is held, or that stands
 * still, does nothing with its subscriptions meanwhile. */
static bool publish(struct inner *in, const struct command *command, const struct slice *argv,
                    uint32_t argc, struct reply *reply)
{
    bool sharded = command->name[0] == 's';
    struct core_mask mask;
    int64_t count = 0;
    in->published = true;
    pubsub_interest(argv[1], sharded, &mask);
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!core_mask_has(&mask, i))
            continue;
        if (!inner_at_hand(in, i) && in->channels_known)
            continue; /* somebody who subscribes during the run comes after it */
        if (!inner_at_hand(in, i)) {
            in->strayed = true;
            return false;
        }
        count += pubsub_count(server->cores[i], argv[1], sharded);
    }
    if (in->may_stray && count)
        keep_message(in, argv[1], argv[2], sharded);
    else if (count)
        post(in, &mask, argv[1], argv[2], sharded);
    reply_integer(reply, count);
    count_done_here(in, command, argv, argc);
    return true;
}

/* --- Shards and keys --- */

static bool is_declared(const struct inner *in, struct slice key)
{
    for (uint32_t i = 0; i < in->declared_count; i++)
        if (slice_equal(in->declared[i], key))
            return true;
    return false;
}

/* The arguments that are keys, in `few` or in the arena. */
static uint32_t *find_keys(struct inner *in, const struct call *call, uint32_t *few,
                           uint32_t *count)
{
    struct command_key keys[FEW_KEYS], *all = keys;
    int64_t n = command_keys(call->command, call->argv, call->argc, keys, FEW_KEYS);
    uint32_t *args = few;
    if (n > FEW_KEYS) {
        all = arena_alloc(&in->core->arena, (size_t)n * sizeof(*all));
        args = arena_alloc(&in->core->arena, (size_t)n * sizeof(*args));
        command_keys(call->command, call->argv, call->argc, all, (uint32_t)n);
    }
    *count = n < 0 ? 0 : (uint32_t)n;
    for (uint32_t i = 0; i < *count; i++)
        args[i] = all[i].arg;
    return args;
}

/* Whether the script keeps to its keys; and before a write, what it will change. */
static bool note_keys(struct inner *in, struct call *call)
{
    uint32_t few[FEW_KEYS], count;
    uint32_t *args = find_keys(in, call, few, &count);
    for (uint32_t i = 0; i < count && in->declared && !in->beyond; i++)
        in->beyond = !is_declared(in, call->argv[args[i]]);
    if (!in->may_stray || !(call->command->flags & CMD_WRITE))
        return true;
    return undo_note(&outermost(in)->undo, call, args, count);
}

/* The one shard that a command needs; with several, or none, NULL and `mask` says which. */
static struct shard *single_shard(struct inner *in, const struct command *command,
                                  const struct slice *argv, uint32_t argc, struct core_mask *mask)
{
    struct request r = {.session = in->session, .command = command, .argv = argv, .argc = argc};
    *mask = (struct core_mask){0};
    if (command->route == ROUTE_KEY)
        core_mask_add(mask, route_single_shard(in->core, &r));
    else
        route_mask(in->core, &r, mask);
    if (core_mask_count(mask) > 1)
        return NULL;
    return inner_at_hand(in, core_mask_first(mask));
}

static bool reaches(const struct inner *in, const struct core_mask *mask)
{
    if (in->all)
        return true;
    for (uint32_t i = 0; i < server->core_count; i++)
        if (core_mask_has(mask, i) && !inner_at_hand(in, i))
            return false;
    return true;
}

/* Sets the call's shards; false where one is missing. */
static bool place(struct inner *in, struct call *call)
{
    const struct command *command = call->command;
    call->shards = in->shards;
    if (server->core_count == 1) {
        call->shard = inner_at_hand(in, 0);
        return true;
    }
    struct core_mask mask;
    bool on_data = command->route != ROUTE_SESSION;
    call->shard =
        on_data ? single_shard(in, command, call->argv, call->argc, &mask) : in->shard;
    return !on_data || reaches(in, &mask);
}

/* --- Running --- */

static void execute(struct inner *in, struct call *call)
{
    struct core *c = in->core;
    uint64_t begun = c->clock_ticks;
    execute_start_clock(c);
    if (call->command->route == ROUTE_ALL && server->core_count > 1)
        execute_everywhere(c, call, in->shards);
    else
        execute_whole(c, call);
    c->clock_ticks = begun;
    if (broken(BROKEN_SERVE_WITHIN))
        blocked_look(c, in->shards ? NULL : in->shard, in->shards);
}

/* Cores that serve while a script runs for long touch their own sessions and subscriptions; the
 * commands that look at those take turns with them. */
static void lock_cores(struct inner *in, bool lock)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct core *c = server->cores[i];
        if (c == in->core || !inner_at_hand(in, i))
            continue;
        if (lock)
            pthread_mutex_lock(&c->serve_mutex);
        else
            pthread_mutex_unlock(&c->serve_mutex);
    }
}

static void select_db(struct inner *in, const struct command *command, const struct slice *argv,
                      uint32_t argc, struct reply *reply)
{
    int64_t db;
    const char *error = NULL;
    if (!number_parse_integer(argv[1], &db))
        error = "ERR value is not an integer or out of range";
    else if (db < 0 || db >= (int64_t)server->keyspace.db_count)
        error = "ERR DB index is out of range";
    count_done_here(in, command, argv, argc);
    if (error) {
        in->core->command_stats[command->id].failed++;
        execute_count_error(in->core, slice_of(error));
        reply_error(reply, "%s", error);
        return;
    }
    in->db = (uint32_t)db;
    reply_ok(reply);
}

static bool run(struct inner *in, const struct command *command, const struct slice *argv,
                uint32_t argc, struct reply *reply)
{
    if (command->reach && (command->flags & CMD_PUBSUB))
        return publish(in, command, argv, argc, reply);
    if (command->route == ROUTE_SESSION && strcmp(command->full_name, "select") == 0) {
        select_db(in, command, argv, argc, reply);
        return true;
    }
    struct call call;
    call.db = in->db;
    call.no_touch = in->outer->no_touch;
    call.reply = *reply;
    execute_prepare(in->core, &call, NULL, command, argv, argc);
    call.now_ms = in->outer->now_ms;
    call.session = in->session;
    call.client = in->outer->client;
    call.track = in->outer->track;
    call.may_wait = false;
    call.in_script = in->in_script;
    if (!place(in, &call) || ((in->declared || in->may_stray) && !note_keys(in, &call))) {
        in->strayed = true;
        return false;
    }
    bool elsewhere = command->route == ROUTE_ALL || (command->flags & CMD_CURSOR);
    in->beyond |= elsewhere;
    execute(in, &call);
    if (call.strayed) {
        in->strayed = true;
        return false;
    }
    reply->errors = call.reply.errors;
    if (__builtin_expect(tracking_is_changed_by(command), 0))
        in->outer->track = tracking_inner(in->session);
    in->written += (command->flags & CMD_WRITE) != 0;
    return true;
}

bool inner_run(struct inner *in, const struct command *command, const struct slice *argv,
               uint32_t argc, struct reply *reply)
{
    if (in->strayed)
        return false;
    struct arena *arena = &in->core->arena;
    struct arena_mark mark = arena_mark(arena);
    bool locks = in->announced && command->route == ROUTE_ALL;
    if (locks)
        lock_cores(in, true);
    bool here = run(in, command, argv, argc, reply);
    if (locks)
        lock_cores(in, false);
    arena_cut(arena, mark); /* a script may run millions of commands in one iteration */
    return here;
}

bool inner_end(struct inner *in)
{
    if (in->strayed && !in->may_stray)
        assert(!"a command that named all its shards has missed one");
    in->core->inner = in->around;
    if (in->gathers)
        journal_gather_end(in->shards, server->core_count);
    if (in->announced)
        serve_end(in);
    if (in->around) {
        in->outer->strayed = in->strayed;
        return !in->strayed;
    }
    end_messages(in, !in->strayed);
    monitor_settle(in->core, !in->strayed);
    if (!in->may_stray)
        return true;
    if (in->strayed)
        take_back(in);
    undo_drop(&in->undo);
    mem_free(in->marks);
    return !in->strayed;
}
