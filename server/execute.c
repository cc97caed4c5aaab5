/* Running commands: see execute.h. A split command that is whole on one shard is framed here around
 * its body, so that bodies are the same on one shard and on many. */
#include "server/execute.h"

#include <assert.h>

#include "server/bundle.h"
#include "server/observe.h"
#include "server/persist/save.h"
#include "server/server.h"
#include "server/session.h"
#include "server/tracking.h"
#include "shard/journal.h"
#include "shard/type/histogram.h"

void execute_start_clock(struct core *c)
{
    c->clock_ticks = core_ticks();
}

void execute_prepare(struct core *c, struct call *call, struct shard *shard,
                     const struct command *command, const struct slice *argv, uint32_t argc)
{
    call->shard = shard;
    call->shards = NULL;
    call->keyspace = &server->keyspace;
    call->command = command;
    call->argv = argv;
    call->argc = argc;
    call->now_ms = c->wall_ms;
    call->reply.errors = 0;
    call->first_key_hashed = false;
    call->session = NULL;
    call->client = 0;
    call->track = 0;
    call->flushed = false;
    call->strayed = false;
    call->may_wait = true;
    call->in_script = false;
    call->journaled = CALL_JOURNAL_AS_IS;
    call->later = NULL;
    call->repeated = false;
    call->error_counted = false;
    call->wait.asked = false;
    call->wait.args = NULL;
    call->key_shards = NULL;
    call->value = 0;
    call->item_sizes = NULL;
}

/* Kinds beyond those that there is room for count as one: whoever makes codes up at will shall not
 * fill INFO. */
static void count_overflow(struct core *c)
{
    struct error_stats *e = &c->errors[ERROR_KINDS_MAX];
    if (c->error_kinds == ERROR_KINDS_MAX) {
        *e = (struct error_stats){.code = "ERRORSTATS_OVERFLOW"};
        c->error_kinds++;
    }
    e->count++;
}

void execute_count_error(struct core *c, struct slice text)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != ' ' && text.data[size] != '\r')
        size++;
    if (size >= sizeof(c->errors[0].code))
        size = sizeof(c->errors[0].code) - 1;
    c->stats.error_replies++;
    for (uint32_t i = 0; i < c->error_kinds; i++) {
        struct error_stats *e = &c->errors[i];
        if (strlen(e->code) == size && memcmp(e->code, text.data, size) == 0) {
            e->count++;
            return;
        }
    }
    if (c->error_kinds >= ERROR_KINDS_MAX) {
        count_overflow(c);
        return;
    }
    struct error_stats *e = &c->errors[c->error_kinds++];
    memcpy(e->code, text.data, size);
    e->code[size] = '\0';
    e->count = 1;
}

static inline void note_time(struct core *c, struct command_stats *st, uint64_t ticks)
{
    if (__builtin_expect(st->times != NULL, 1))
        histogram_note(st->times, ticks);
    else if (c->notes_times)
        observe_first_time(st, ticks);
}

static inline void count_call(struct core *c, const struct call *call)
{
    struct command_stats *st = &c->command_stats[call->command->id];
    uint64_t now = core_ticks();
    uint64_t ticks = now - c->clock_ticks;
    st->calls++;
    st->ticks += ticks;
    c->clock_ticks = now;
    c->stats.commands++;
    note_time(c, st, ticks);
    if (__builtin_expect(ticks >= c->look_ticks, 0))
        observe_call(c, call, ticks);
}

static void count_failure(struct core *c, struct call *call, size_t start)
{
    const struct buf *out = call->reply.out;
    c->command_stats[call->command->id].failed++;
    if (!call->error_counted && out->size > start && out->data[start] == '-')
        execute_count_error(c, (struct slice){out->data + start + 1, out->size - start - 1});
}

/* Keys of a whole command, by the row's triple. */
static uint32_t whole_key_count(const struct call *call)
{
    uint32_t n = 0;
    for (uint32_t at = 0; call_next_key(call, &at, NULL) != 0;)
        n++;
    return n;
}

/* The body writes items behind a header; an error replaces both. */
static void run_items(struct call *call)
{
    struct buf *out = call->reply.out;
    size_t start = out->size;
    reply_array(&call->reply, whole_key_count(call));
    size_t body = out->size;
    call->command->run(call);
    if (call->reply.errors) {
        memmove(out->data + start, out->data + body, out->size - body);
        out->size -= body - start;
    }
}

/* The body writes into the scratch buffer; the frame is made from that. */
static void run_framed(struct core *c, struct call *call)
{
    struct buf *out = call->reply.out;
    c->scratch.size = 0;
    call->reply.out = &c->scratch;
    call->command->run(call);
    call->reply.out = out;
    if (call->reply.errors) {
        buf_append(out, c->scratch.data, c->scratch.size);
        return;
    }
    struct split_section section = {c->scratch.data, c->scratch.size, call->value, c->index};
    execute_merge(c, call, &(struct split_parts){&section, 1}, NULL, 0);
}

void execute_merge(struct core *c, struct call *call, const struct split_parts *parts,
                   const struct slice *items, uint32_t item_count)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < parts->count; i++)
        sum += parts->sections[i].value;
    switch ((enum command_split)call->command->split) {
    case SPLIT_SUM:
        reply_integer(&call->reply, sum);
        break;
    case SPLIT_OK:
        reply_ok(&call->reply);
        break;
    case SPLIT_ITEMS:
        reply_array(&call->reply, item_count);
        for (uint32_t i = 0; i < item_count; i++)
            buf_append_slice(call->reply.out, items[i]);
        break;
    case SPLIT_CONCAT:
        reply_array(&call->reply, (size_t)sum);
        for (uint32_t i = 0; i < parts->count; i++)
            buf_append(call->reply.out, parts->sections[i].data, parts->sections[i].size);
        break;
    case SPLIT_MERGE:
        call->command->merge(call, parts);
        break;
    case SPLIT_NONE:
        assert(!"a split command says how its parts are merged");
    }
}

/* A part, journaled. */
static void run_body(struct call *call)
{
    bool journal = call->keyspace->options.journal;
    uint64_t changes = journal ? journal_changes(call) : 0;
    call->journaled = CALL_JOURNAL_AS_IS;
    call->command->run(call);
    if (__builtin_expect(journal, 0))
        journal_after(call, changes);
}

bool execute_flushes_all(const struct command *command)
{
    return strcmp(command->name, "flushall") == 0;
}

void execute_everywhere(struct core *c, struct call *call, struct shard *const *shards)
{
    struct split_section sections[SHARD_COUNT_MAX];
    size_t ends[SHARD_COUNT_MAX];
    struct buf parts;
    buf_init(&parts);
    struct buf *out = call->reply.out;
    size_t start = out->size;
    uint32_t count = 0;
    call->reply.out = &parts;
    call->shards = NULL;
    for (; count < server->core_count && !call->reply.errors; count++) {
        call->shard = shards[count];
        call->value = 0;
        parts.size = count ? ends[count - 1] : 0;
        run_body(call);
        ends[count] = parts.size;
        sections[count] = (struct split_section){.value = call->value, .shard = count};
    }
    for (uint32_t i = 0; i < count; i++) {
        size_t begin = i ? ends[i - 1] : 0;
        sections[i].data = parts.data + begin;
        sections[i].size = ends[i] - begin;
    }
    call->reply.out = out;
    if (call->reply.errors)
        buf_append(out, sections[count - 1].data, sections[count - 1].size);
    else
        execute_merge(c, call, &(struct split_parts){sections, count}, NULL, 0);
    buf_deinit(&parts);
    if (call->reply.errors)
        count_failure(c, call, start);
    if (call->flushed)
        event_invalidate_all(shards[0], call->client);
    if (__builtin_expect(call->flushed && execute_flushes_all(call->command), 0)) {
        for (uint32_t i = 0; i < server->core_count; i++)
            save_note_flushed(shards[i]);
        save_flushed();
    }
    count_call(c, call);
}

static inline void run_whole(struct core *c, struct call *call)
{
    const struct command *command = call->command;
    switch ((enum command_split)command->split) {
    case SPLIT_NONE:
        command->run(call);
        break;
    case SPLIT_SUM:
        command->run(call);
        if (!call->reply.errors)
            reply_integer(&call->reply, call->value);
        break;
    case SPLIT_OK:
        command->run(call);
        if (!call->reply.errors)
            reply_ok(&call->reply);
        if (call->flushed)
            event_invalidate_all(call->shard, call->client);
        if (__builtin_expect(call->flushed && execute_flushes_all(command), 0)) {
            save_note_flushed(call->shard);
            save_flushed();
        }
        break;
    case SPLIT_ITEMS:
        run_items(call);
        break;
    case SPLIT_CONCAT:
    case SPLIT_MERGE:
        run_framed(c, call);
        break;
    }
}

static __attribute__((noinline)) void run_journaled(struct core *c, struct call *call)
{
    uint64_t changes = journal_changes(call);
    run_whole(c, call);
    journal_after(call, changes);
}

/* On several shards, whose notifications and journal stay in one order. */
static __attribute__((noinline)) void run_on_many(struct core *c, struct call *call)
{
    struct shard *const *shards = call->shards;
    bool gathers = shards && event_gather(shards, server->core_count);
    bool journals = shards && journal_gather(shards, server->core_count);
    if (call->keyspace->options.journal)
        run_journaled(c, call);
    else
        run_whole(c, call);
    if (gathers)
        event_gather_end(shards, server->core_count);
    if (journals)
        journal_gather_end(shards, server->core_count);
}

void execute_whole(struct core *c, struct call *call)
{
    size_t start = call->reply.out->size;
    if (__builtin_expect(!call->shard, 0))
        run_on_many(c, call);
    else if (__builtin_expect(call->keyspace->options.journal, 0))
        run_journaled(c, call);
    else
        run_whole(c, call);
    if (__builtin_expect(call->track != 0, 0))
        tracking_remember(call);
    if (__builtin_expect(call->wait.asked || call->strayed, 0)) {
        if (call->wait.asked && c->look_ticks == 0)
            observe_wait(c, call);
        return; /* it counts once it has ended */
    }
    if (__builtin_expect(call->reply.errors != 0, 0))
        count_failure(c, call, start);
    count_call(c, call);
}

void execute_count_waited(struct core *c, const struct bundle *b, bool failed)
{
    const struct bundle_item *item = &b->parts[0].items[0];
    struct command_stats *st = &c->command_stats[item->command->id];
    st->calls++;
    st->failed += failed;
    c->stats.commands++;
}

void execute_count_inner(struct core *c, const struct call *call)
{
    struct command_stats *st = &c->command_stats[call->command->id];
    st->calls++;
    c->stats.commands++;
    note_time(c, st, 0);
    if (__builtin_expect(c->look_ticks == 0, 0))
        observe_call(c, call, 0);
}

uint64_t execute_part(struct core *c, struct call *call, bool first)
{
    run_body(call);
    if (__builtin_expect(call->track != 0, 0))
        tracking_remember(call);
    uint64_t now = core_ticks();
    uint64_t ticks = now - c->clock_ticks;
    c->command_stats[call->command->id].ticks += ticks;
    c->clock_ticks = now;
    if (__builtin_expect(c->look_ticks == 0, 0))
        observe_part(c, call, first);
    return ticks;
}

void execute_count_split(struct core *c, struct call *call, size_t start, uint64_t ticks)
{
    struct command_stats *st = &c->command_stats[call->command->id];
    st->calls++;
    c->stats.commands++;
    note_time(c, st, ticks);
    if (call->reply.errors)
        count_failure(c, call, start);
    if (__builtin_expect(ticks >= c->look_ticks, 0))
        observe_split(c, call, ticks);
}
