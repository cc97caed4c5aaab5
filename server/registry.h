/* The registry: all command rows, found by name.
 *
 * Built once at start from the families' tables and renamed as the configuration says; read-only
 * afterwards, by any thread. Rows are copied, so that their computed fields can be filled: id,
 * parent, full name, subcommand count, Redis's key triple (with CMD_MOVABLE_KEYS where it cannot
 * say it), and the ACL categories that flags imply. */
#pragma once

#include "proto/buf.h"
#include "proto/slice.h"
#include "server/config.h"
#include "shard/command.h"

struct registry;

/* The registry of all families, and one of the tables given (for tests). A row that breaks the
 * rules of command.h, or a name that two rows share, is our bug and ends the process. */
struct registry *registry_create(void);
struct registry *registry_create_from(const struct command *const *tables, uint32_t count);
void registry_destroy(struct registry *r);

/* rename-command: from now on clients find the command of the name `from` by `to`, or not at all
 * where that is empty. Before the cores start. False with a text in *error, in Redis's words; the
 * registry is good for registry_destroy only then. Rows keep their own names: those are what
 * statistics, ACL rules and the journal speak of. */
bool registry_rename(struct registry *r, struct slice from, struct slice to, const char **error);

/* All that the configuration asks for. False with a message that says where it does. */
bool registry_rename_all(struct registry *r, const struct config *c, char *error,
                         size_t error_size);

/* The row of a top-level command, any case, or NULL. The hot look-up: one hash, one compare. */
const struct command *registry_find(const struct registry *r, struct slice name);
/* The row of a subcommand of `parent`, any case, or NULL. As fast. */
const struct command *registry_find_sub(const struct registry *r, const struct command *parent,
                                        struct slice name);
/* The row by its full name, "get" or "client|list", any case, or NULL. */
const struct command *registry_find_full(const struct registry *r, struct slice full_name);
/* The same by the row's own name, whatever clients know it by. */
const struct command *registry_find_proper(const struct registry *r, struct slice full_name);
/* The row that a request names: the subcommand's where the command is a container and argv[1]
 * names one. Returns the container itself where argv[1] is missing or unknown, NULL for an
 * unknown name. */
const struct command *registry_resolve(const struct registry *r, const struct slice *argv,
                                       uint32_t argc);

/* ... and of one that the server wrote itself, or another one did: by the rows' own names, and
 * where there is no such command by the name that clients use. */
const struct command *registry_resolve_proper(const struct registry *r, const struct slice *argv,
                                              uint32_t argc);

/* The name to put in place of argv[0] of a request for a row with CMD_RENAMED. */
static inline struct slice command_proper_name(const struct command *row)
{
    return slice_of(row->parent ? row->parent->name : row->name);
}

/* Rows by id, 0 to count - 1; subcommands have ids of their own. */
uint32_t registry_count(const struct registry *r);
const struct command *registry_at(const struct registry *r, uint32_t id);
/* False where clients cannot call it: its name was taken from it. */
bool registry_is_listed(const struct registry *r, const struct command *row);
/* Top-level rows that are listed, for COMMAND and COMMAND COUNT. */
uint32_t registry_top_count(const struct registry *r);
const struct command *registry_top_at(const struct registry *r, uint32_t i);

/* docs/commands.md, made from the rows. */
void registry_write_documentation(const struct registry *r, struct buf *to);

/* A key among a request's arguments. */
struct command_key {
    uint32_t arg;
    uint32_t flags; /* KEY_... of its spec, or what the arguments make of KEY_VARIABLE_FLAGS */
};

/* The keys of a request, in argument order per spec, at most `max` of them into `keys` (which
 * may be NULL when max is 0). Returns how many there are in all, or -1 where the arguments do
 * not fit the specs (a key count that is no number or too large, a range that ends past the
 * arguments). */
int64_t command_keys(const struct command *row, const struct slice *argv, uint32_t argc,
                     struct command_key *keys, uint32_t max);
/* True where the command can have keys at all; channels (KEY_NOT_KEY) are none. */
bool command_has_keys(const struct command *row);

/* True where the request may have to wait. */
static inline bool command_may_block(const struct command *row, const struct slice *argv,
                                     uint32_t argc)
{
    if (!(row->flags & (CMD_BLOCKING | CMD_LATER)))
        return false;
    bool blocks = !(row->flags & CMD_BLOCK_OPTION);
    for (uint32_t i = 1; i < argc && !blocks; i++)
        blocks = slice_is(argv[i], "block");
    return blocks;
}

/* True where its parts look at the cores that they run on, or all its shards are to stand still:
 * nobody stands in for a sleeping core then. What is published only goes into its inbox. */
static inline bool command_is_for_owner(const struct command *row)
{
    return (row->route == ROUTE_ALL && !row->reach) || (row->flags & CMD_EVERY_SHARD);
}

/* True where it is run with the shards that it may need, and asks for all of them where that was
 * not enough (call.strayed): scripts, and SCAN at the end of a shard. */
static inline bool command_may_stray(const struct command *row)
{
    return row->route == ROUTE_CROSS && (row->reach || (row->flags & CMD_CURSOR));
}

/* The argument that is a request's first key, where that can be told at once: what is fetched
 * ahead. 0: none. */
static inline uint32_t command_first_key(const struct command *row, uint32_t argc)
{
    int32_t key = row->first_key;
    if (key == 0 && row->keys[0].find == KEY_FIND_COUNT && !row->keys[0].keyword)
        key = row->keys[0].begin + row->keys[0].first;
    return key > 0 && (uint32_t)key < argc ? (uint32_t)key : 0;
}

/* Keys as args first, first + step, ... below end. */
struct key_range {
    uint32_t first;
    uint32_t end;
    uint32_t step;
};

/* The fast form of command_keys, for routing: the keys of a request as one range. False where
 * the row needs command_keys or has no keys (nearly every row with keys is plain). The request's
 * arity has been checked. */
static inline bool command_key_range(const struct command *row, uint32_t argc,
                                     struct key_range *range)
{
    if (!(row->flags & CMD_PLAIN_KEYS))
        return false;
    int64_t end = (row->last_key < 0 ? (int64_t)argc : 0) + row->last_key + 1;
    range->first = (uint32_t)row->first_key;
    range->end = end < 0 ? 0 : end > argc ? argc : (uint32_t)end;
    range->step = (uint32_t)row->key_step;
    return true;
}
