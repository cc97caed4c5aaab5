/* Runs commands on shards without a server, for the tests of command families.
 *
 * It does what the router does, on one thread: looks the row up, checks the arity, picks the
 * shards by the row's route, runs the parts and makes one reply of them. A failing invariant
 * aborts the test. */
#pragma once

#include <assert.h>
#include <stdio.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "shard/cmd/scan.h"
#include "shard/db.h"
#include "shard/journal.h"

#define WORLD_SHARDS_MAX 8
#define WORLD_ARGS_MAX 64

struct world {
    struct keyspace keyspace;
    struct shard shards[WORLD_SHARDS_MAX];
    struct shard *pointers[WORLD_SHARDS_MAX];
    uint32_t db;
    int64_t now_ms;
    unsigned protocol;
    bool no_touch;  /* the client asked for CLIENT NO-TOUCH */
    bool no_clocks; /* digests leave out when something was last used: undo_digest.h */
    struct buf out; /* the last reply, with a terminator */
};

static inline void world_init(struct world *w, uint32_t shard_count)
{
    assert(shard_count <= WORLD_SHARDS_MAX);
    unsigned char secret[HASH_SECRET_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 37 + 11);
    *w = (struct world){.now_ms = 1700000000000, .protocol = 2};
    keyspace_init(&w->keyspace, shard_count, 16, secret);
    for (uint32_t i = 0; i < shard_count; i++) {
        shard_init(&w->shards[i], i, &w->keyspace, 1 + i);
        w->pointers[i] = &w->shards[i];
    }
    buf_init(&w->out);
}

static inline void world_deinit(struct world *w)
{
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++)
        shard_deinit(&w->shards[i]);
    buf_deinit(&w->out);
}

static inline const struct command *world_row_in(const struct command *rows, struct slice name)
{
    for (; rows->name; rows++)
        if (slice_is(name, rows->name))
            return rows;
    return NULL;
}

/* The tables of rows that a world has; NULL at the end. */
static inline const struct command *const *world_tables(void)
{
    static const struct command *const tables[] = {
        string_commands,   string_range_commands, string_multi_commands, counter_commands,
        increx_commands,   bitmap_commands,       bitfield_commands,     bitop_commands,
        generic_commands,
        expire_commands,   scan_commands,         object_commands,       keyspace_commands,
        list_commands,     list_move_commands,    list_block_commands,   set_commands,
        set_algebra_commands, hash_commands,      hash_expire_commands,  zset_commands,
        hash_counter_commands, hash_random_commands, hash_getex_commands,
        zset_range_commands, zset_algebra_commands, zset_pop_commands,   stream_commands,
        stream_read_commands, stream_group_commands, stream_claim_commands,
        stream_info_commands,
        hyperloglog_commands, geo_commands,       geo_search_commands, sort_commands,
        restore_commands, dump_commands, NULL,
    };
    return tables;
}

static inline const struct command *world_row(struct slice name)
{
    for (const struct command *const *tables = world_tables(); *tables; tables++) {
        const struct command *row = world_row_in(*tables, name);
        if (row)
            return row;
    }
    return NULL;
}

static inline struct call world_call(struct world *w, const struct command *row,
                                     const struct slice *argv, uint32_t argc, struct buf *out)
{
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++)
        w->shards[i].now_ms = w->now_ms;
    return (struct call){
        .keyspace = &w->keyspace,
        .command = row,
        .argv = argv,
        .argc = argc,
        .db = w->db,
        .now_ms = w->now_ms,
        .no_touch = w->no_touch,
        .reply = {.out = out, .protocol = w->protocol},
    };
}

/* The shards of the keys that the row's first spec names. */
static inline void world_key_shards(struct world *w, const struct call *c, uint16_t *key_shards)
{
    uint32_t at = 0, nth;
    for (uint32_t arg; (arg = call_next_key(c, &at, &nth));)
        key_shards[nth] = (uint16_t)keyspace_shard(&w->keyspace, c->argv[arg]);
}

static inline void world_merge(struct call *whole, const struct split_parts *parts, int64_t sum)
{
    switch (whole->command->split) {
    case SPLIT_SUM:
        reply_integer(&whole->reply, sum);
        return;
    case SPLIT_OK:
        reply_ok(&whole->reply);
        return;
    case SPLIT_CONCAT:
        reply_array(&whole->reply, (size_t)sum);
        for (uint32_t i = 0; i < parts->count; i++)
            buf_append(whole->reply.out, parts->sections[i].data, parts->sections[i].size);
        return;
    default:
        assert(whole->command->split == SPLIT_MERGE);
        whole->command->merge(whole, parts);
    }
}

static inline void world_run_body(struct call *c)
{
    bool journals = c->keyspace->options.journal;
    uint64_t changes = journals ? journal_changes(c) : 0;
    c->command->run(c);
    if (journals)
        journal_after(c, changes);
}

/* Runs a part on every shard, one that has none of the keys included: it then has nothing to do. */
static inline void world_run_parts(struct world *w, struct call *whole)
{
    uint16_t key_shards[WORLD_ARGS_MAX];
    bool split = whole->command->route == ROUTE_SPLIT;
    if (split)
        world_key_shards(w, whole, key_shards);
    struct buf outs[WORLD_SHARDS_MAX];
    struct split_section sections[WORLD_SHARDS_MAX];
    const struct buf *failed = NULL;
    int64_t sum = 0;
    uint32_t count = w->keyspace.shard_count;
    for (uint32_t i = 0; i < count; i++) {
        buf_init(&outs[i]);
        struct call c = *whole;
        c.shard = &w->shards[i];
        c.reply.out = &outs[i];
        c.key_shards = split ? key_shards : NULL;
        world_run_body(&c);
        if (c.reply.errors)
            failed = &outs[i];
        sum += c.value;
        sections[i] = (struct split_section){outs[i].data, outs[i].size, c.value, i};
    }
    if (failed)
        buf_append_slice(whole->reply.out, buf_slice(failed));
    else
        world_merge(whole, &(struct split_parts){sections, count}, sum);
    for (uint32_t i = 0; i < count; i++)
        buf_deinit(&outs[i]);
}

static inline void world_run_row(struct world *w, struct call *c)
{
    const struct command *row = c->command;
    if (row->route == ROUTE_SPLIT || row->route == ROUTE_ALL) {
        world_run_parts(w, c);
        return;
    }
    bool gathers = row->route == ROUTE_CROSS &&
                   journal_gather(w->pointers, w->keyspace.shard_count);
    if (row->route == ROUTE_CROSS)
        c->shards = w->pointers;
    else if (row->flags & CMD_CURSOR)
        c->shard = &w->shards[scan_cursor_shard(c)];
    else if (row->keys[0].find)
        c->shard = &w->shards[keyspace_shard(&w->keyspace, c->argv[row->keys[0].begin])];
    world_run_body(c);
    if (gathers)
        journal_gather_end(w->pointers, w->keyspace.shard_count);
}

/* Runs one command; the reply as it would go to the client, good until the next. */
static inline const char *world_run_args(struct world *w, const struct slice *argv, uint32_t argc)
{
    const struct command *row = world_row(argv[0]);
    const char *parent = "";
    if (row && row->subcommands && argc > 1) {
        parent = row->name;
        row = world_row_in(row->subcommands, argv[1]);
    }
    buf_consume(&w->out, w->out.size);
    struct call c = world_call(w, row, argv, argc, &w->out);
    if (!row)
        reply_error(&c.reply, "ERR unknown %s '%.*s'", *parent ? "subcommand" : "command",
                    (int)argv[*parent != 0].size, argv[*parent != 0].data);
    else if (row->arity > 0 ? (int)argc != row->arity : (int)argc < -row->arity)
        reply_error(&c.reply, "ERR wrong number of arguments for '%s%s%s' command", parent,
                    *parent ? "|" : "", row->name);
    else
        world_run_row(w, &c);
    buf_append(&w->out, "", 1);
    return w->out.data;
}

/* The same for a line: words between single blanks, none of them quoted. An empty word is empty. */
static inline const char *world_run(struct world *w, const char *line)
{
    struct slice argv[WORLD_ARGS_MAX];
    uint32_t argc = 0;
    for (;;) {
        size_t size = strcspn(line, " ");
        assert(argc < WORLD_ARGS_MAX);
        argv[argc++] = (struct slice){line, size};
        if (!line[size])
            break;
        line += size + 1;
    }
    return world_run_args(w, argv, argc);
}
