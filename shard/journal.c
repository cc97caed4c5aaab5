/* The journal of a shard: see journal.h. */
#include "shard/journal.h"

#include <assert.h>

/* --- Writing --- */

void journal_start(struct journal_writing *w, struct shard *s, uint32_t db, uint32_t argc)
{
    struct journal_buffer *j = s->journal.instead ? &s->journal.instead->journal : &s->journal;
    if (j->commands == 0) {
        j->open = j->out.size;
        buf_append(&j->out, &(struct journal_unit){0}, sizeof(struct journal_unit));
    }
    *w = (struct journal_writing){
        .journal = j,
        .reply = {.out = &j->out, .protocol = 2},
        .head = {.db = db, .round = j->round},
        .at = j->out.size,
    };
    buf_append(&j->out, &w->head, sizeof(w->head));
    reply_array(&w->reply, argc);
}

void journal_word(struct journal_writing *w, struct slice word)
{
    reply_bulk(&w->reply, word);
}

void journal_end(struct journal_writing *w)
{
    struct journal_buffer *j = w->journal;
    w->head.size = j->out.size - w->at - sizeof(w->head);
    memcpy(j->out.data + w->at, &w->head, sizeof(w->head));
    j->commands++;
}

static void append(struct shard *s, uint32_t db, bool by_time, const struct slice *argv,
                   uint32_t argc)
{
    struct journal_writing w;
    journal_start(&w, s, db, argc);
    w.head.by_time = by_time;
    for (uint32_t i = 0; i < argc; i++)
        journal_word(&w, argv[i]);
    journal_end(&w);
}

void journal_append(struct shard *s, uint32_t db, const struct slice *argv, uint32_t argc)
{
    append(s, db, false, argv, argc);
}

void journal_append_by_time(struct shard *s, uint32_t db, const struct slice *argv, uint32_t argc)
{
    append(s, db, true, argv, argc);
}

void journal_removed(struct shard *s, uint32_t db, struct slice key, bool lazy)
{
    append(s, db, true, (struct slice[]){lazy ? SLICE("UNLINK") : SLICE("DEL"), key}, 2);
}

/* --- Commands --- */

static struct shard *first_at_hand(const struct call *c)
{
    struct shard *s = c->shard;
    for (uint32_t i = 0; !s && c->shards && i < c->keyspace->shard_count; i++)
        s = c->shards[i];
    return s;
}

void call_journal(struct call *c, struct shard *s, const struct slice *argv, uint32_t argc)
{
    if (!journal_is_on(c))
        return;
    c->journaled = CALL_JOURNAL_SPOKEN;
    s = s ? s : first_at_hand(c);
    assert(s);
    append(s, c->db, false, argv, argc);
}

void call_journal_nothing(struct call *c)
{
    c->journaled = CALL_JOURNAL_SPOKEN;
}

uint64_t journal_changes(const struct call *c)
{
    if (c->shard)
        return c->shard->stats.changes;
    uint64_t changes = 0;
    for (uint32_t i = 0; c->shards && i < c->keyspace->shard_count; i++)
        changes += c->shards[i] ? c->shards[i]->stats.changes : 0;
    return changes;
}

/* A part of a command all of whose arguments are keys, or keys each with its value. */
static void append_part(struct call *c)
{
    uint32_t step = (uint32_t)c->command->keys[0].step, keys = 0;
    assert(c->command->keys[0].begin == 1 && c->command->keys[0].last == -1);
    for (uint32_t at = 0; call_next_key(c, &at, NULL) != 0;)
        keys++;
    struct journal_writing w;
    journal_start(&w, c->shard, c->db, 1 + keys * step);
    journal_word(&w, c->argv[0]);
    uint32_t at = 0;
    for (uint32_t arg; (arg = call_next_key(c, &at, NULL)) != 0;)
        for (uint32_t i = 0; i < step; i++)
            journal_word(&w, c->argv[arg + i]);
    journal_end(&w);
}

void journal_after(struct call *c, uint64_t changes_before)
{
    const struct command *command = c->command;
    if (c->journaled == CALL_JOURNAL_SPOKEN || !journal_is_on(c) ||
        !(command->flags & (CMD_WRITE | CMD_MAY_REPLICATE)) ||
        journal_changes(c) == changes_before)
        return;
    if (c->shard && c->key_shards)
        append_part(c);
    else if (command->route != ROUTE_ALL || !c->shard || c->shard->index == 0)
        append(first_at_hand(c), c->db, false, c->argv, c->argc);
}

/* --- Units --- */

size_t journal_mark(const struct shard *s)
{
    return s->journal.out.size;
}

void journal_cut_back(struct shard *s, size_t mark)
{
    struct journal_buffer *j = &s->journal;
    if (j->commands == 0)
        return;
    assert(mark >= j->open && mark <= j->out.size);
    size_t to = mark == j->open ? mark + sizeof(struct journal_unit) : mark;
    struct journal_command head;
    for (size_t at = to, size; at < j->out.size; at += size) {
        memcpy(&head, j->out.data + at, sizeof(head));
        size = sizeof(head) + head.size;
        if (!head.by_time) {
            j->commands--;
            continue;
        }
        memmove(j->out.data + to, j->out.data + at, size);
        to += size;
    }
    j->out.size = j->commands ? to : j->open;
}

void journal_close_unit(struct shard *s, uint64_t cursor, bool in_order, uint64_t stamp)
{
    struct journal_buffer *j = &s->journal;
    assert(j->commands != 0 && !j->instead);
    struct journal_unit unit = {
        .size = j->out.size - j->open - sizeof(unit), .commands = j->commands,
        .cursor = cursor, .stamp = stamp, .in_order = in_order,
    };
    memcpy(j->out.data + j->open, &unit, sizeof(unit));
    j->commands = 0;
}

void journal_take(struct shard *s, struct buf *to)
{
    struct journal_buffer *j = &s->journal;
    assert(j->commands == 0);
    if (to->size == 0 && !to->borrowed) {
        struct buf taken = j->out;
        j->out = *to;
        *to = taken;
        return;
    }
    buf_append_slice(to, buf_slice(&j->out));
    j->out.size = 0;
}

/* --- Several shards --- */

bool journal_gather(struct shard *const *shards, uint32_t count)
{
    struct shard *first = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (shards[i] && shards[i]->journal.instead)
            return false; /* a command within a transaction or script that gathers already */
    for (uint32_t i = 0; i < count; i++) {
        if (!shards[i])
            continue;
        if (!shards[i]->keyspace->options.journal)
            return false;
        if (first)
            shards[i]->journal.instead = first;
        else
            first = shards[i];
    }
    return first;
}

void journal_gather_end(struct shard *const *shards, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (shards[i])
            shards[i]->journal.instead = NULL;
}
