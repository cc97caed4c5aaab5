/* The journal, merging: the units of all shards, by their places, as the bytes of a file.
 *
 * Each part has its units in order; a heap of parts yields the lowest. Units of one ticket are
 * the parts of one transaction and become one unit: by round (shard/journal.h), in each round by
 * shard. */
#include <stdio.h>

#include "proto/mem.h"
#include "server/persist/journal.h"
#include "shard/journal.h"

/* A part, as far as it has been taken. */
struct source {
    const char *at, *end;
    struct journal_unit unit; /* the first that was not taken */
    uint32_t part;
};

/* The units that become one: where their commands stand. */
struct group {
    struct slice *units;
    uint32_t count, cap;
    uint64_t commands;
    uint32_t rounds; /* the highest */
};

struct merge {
    struct source *heap; /* the lowest first */
    uint32_t count;
    struct group group;
    struct buf *out;
    int64_t *db;
};

/* --- Sources --- */

static bool is_before(const struct source *a, const struct source *b)
{
    if (a->unit.cursor != b->unit.cursor)
        return a->unit.cursor < b->unit.cursor;
    if (a->unit.in_order != b->unit.in_order)
        return a->unit.in_order < b->unit.in_order;
    if (!a->unit.in_order && a->unit.stamp != b->unit.stamp)
        return a->unit.stamp < b->unit.stamp;
    return a->part < b->part;
}

/* Lets the first sink to its place. */
static void sift(struct merge *m)
{
    struct source moved = m->heap[0];
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < m->count; at = child) {
        if (child + 1 < m->count && is_before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!is_before(&m->heap[child], &moved))
            break;
        m->heap[at] = m->heap[child];
    }
    m->heap[at] = moved;
}

static void read_unit(struct source *s)
{
    memcpy(&s->unit, s->at, sizeof(s->unit));
}

static void add_source(struct merge *m, const struct buf *part, uint32_t index)
{
    struct source s = {.at = part->data, .end = part->data + part->size, .part = index};
    read_unit(&s);
    uint32_t at = m->count++;
    for (uint32_t parent; at && is_before(&s, &m->heap[parent = (at - 1) / 2]); at = parent)
        m->heap[at] = m->heap[parent];
    m->heap[at] = s;
}

/* The commands of the lowest unit, which is taken. */
static struct slice take_unit(struct merge *m)
{
    struct source *s = &m->heap[0];
    struct slice commands = {s->at + sizeof(s->unit), s->unit.size};
    s->at += sizeof(s->unit) + s->unit.size;
    if (s->at < s->end)
        read_unit(s);
    else
        m->heap[0] = m->heap[--m->count];
    if (m->count > 1)
        sift(m);
    return commands;
}

/* --- Writing --- */

static struct journal_command read_command(const char *at)
{
    struct journal_command command;
    memcpy(&command, at, sizeof(command));
    return command;
}

static void select_db(struct merge *m, uint32_t db)
{
    if (*m->db == (int64_t)db)
        return;
    char digits[16];
    int size = snprintf(digits, sizeof(digits), "%u", db);
    buf_printf(m->out, "*2\r\n$6\r\nSELECT\r\n$%d\r\n%s\r\n", size, digits);
    *m->db = db;
}

static void write_commands(struct merge *m, struct slice unit, uint32_t round, bool all)
{
    for (const char *at = unit.data; at < unit.data + unit.size;) {
        struct journal_command command = read_command(at);
        at += sizeof(command);
        if (all || command.round == round) {
            select_db(m, command.db);
            buf_append(m->out, at, command.size);
        }
        at += command.size;
    }
}

static void add_to_group(struct group *g, struct slice unit, uint32_t commands)
{
    if (g->count == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 16;
        g->units = mem_realloc(g->units, g->cap * sizeof(*g->units));
    }
    g->units[g->count++] = unit;
    g->commands += commands;
    for (const char *at = unit.data; at < unit.data + unit.size;) {
        struct journal_command command = read_command(at);
        g->rounds = command.round > g->rounds ? command.round : g->rounds;
        at += sizeof(command) + command.size;
    }
}

static void write_group(struct merge *m)
{
    struct group *g = &m->group;
    bool whole = g->commands > 1;
    if (whole) {
        select_db(m, read_command(g->units[0].data).db);
        buf_append_text(m->out, "*1\r\n$5\r\nMULTI\r\n");
    }
    for (uint32_t round = 0; round <= g->rounds; round++)
        for (uint32_t i = 0; i < g->count; i++)
            write_commands(m, g->units[i], round, g->rounds == 0);
    if (whole)
        buf_append_text(m->out, "*1\r\n$4\r\nEXEC\r\n");
    g->count = 0;
    g->commands = 0;
    g->rounds = 0;
}

/* A request of one command, the usual case, is written at once. */
static void write_next(struct merge *m)
{
    struct journal_unit first = m->heap[0].unit;
    if (!first.in_order && first.commands == 1) {
        write_commands(m, take_unit(m), 0, true);
        return;
    }
    do {
        uint32_t commands = m->heap[0].unit.commands;
        add_to_group(&m->group, take_unit(m), commands);
    } while (first.in_order && m->count && m->heap[0].unit.in_order &&
             m->heap[0].unit.cursor == first.cursor);
    if (!first.in_order)
        m->group.rounds = 0; /* one shard's: in its own order */
    write_group(m);
}

void journal_merge(const struct buf *const *parts, uint32_t count, int64_t *db, int64_t *ts,
                   int64_t now_s, struct buf *out)
{
    struct source heap[SHARD_COUNT_MAX];
    struct merge m = {.heap = heap, .out = out, .db = db};
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += parts[i]->size;
        if (parts[i]->size)
            add_source(&m, parts[i], i);
    }
    if (m.count == 0)
        return;
    buf_reserve(out, size);
    if (now_s >= 0 && now_s != *ts) {
        buf_printf(out, "#TS:%lld\r\n", (long long)now_s);
        *ts = now_s;
    }
    while (m.count)
        write_next(&m);
    mem_free(m.group.units);
}
