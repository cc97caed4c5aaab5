/* Runs commands in a world as a script that may be taken back does: each is noted first. */
#pragma once

#include <criterion/criterion.h>

#include "shard/undo.h"
#include "test/shard/cmd_driver.h"

#define REQUEST_KEYS_MAX 16

/* A command being made: its arguments, and which of them are keys. */
struct request {
    struct slice argv[WORLD_ARGS_MAX];
    uint32_t argc;
    uint32_t keys[REQUEST_KEYS_MAX];
    uint32_t key_count;
};

/* --- Running with notes --- */

/* The command's row, and a copy of it as the registry makes one. */
static inline const struct command *row_of(const struct request *r, struct command *copy)
{
    char name[64];
    const struct command *row = world_row(r->argv[0]);
    snprintf(name, sizeof(name), "%.*s", (int)r->argv[0].size, r->argv[0].data);
    if (row && row->subcommands) {
        row = world_row_in(row->subcommands, r->argv[1]);
        snprintf(name, sizeof(name), "%.*s|%.*s", (int)r->argv[0].size, r->argv[0].data,
                 (int)r->argv[1].size, r->argv[1].data);
    }
    cr_assert(row, "%s", name);
    for (char *c = name; *c; c++)
        *c |= *c == '|' ? 0 : 0x20;
    *copy = *row;
    copy->undo = undo_command_of(name);
    copy->first_key = (int16_t)(r->key_count ? r->keys[0] : 0);
    return row;
}

/* Notes the command and runs it; false where it could not be noted: then it has not run. The reply
 * is in w->out. */
static inline bool run_noted(struct world *w, struct undo *u, const struct request *r)
{
    struct command copy;
    const struct command *row = row_of(r, &copy);
    buf_consume(&w->out, w->out.size);
    struct call c = world_call(w, &copy, r->argv, r->argc, &w->out);
    if (row->arity > 0 ? (int)r->argc != row->arity : (int)r->argc < -row->arity)
        return true;
    if (row->route == ROUTE_KEY)
        c.shard = &w->shards[keyspace_shard(&w->keyspace, c.argv[r->keys[0]])];
    else
        c.shards = w->pointers;
    if (!undo_note(u, &c, r->keys, r->key_count))
        return false;
    c.shard = NULL;
    world_run_row(w, &c);
    buf_append(&w->out, "", 1);
    return true;
}
