/* Undo: what a script has changed, so that it can be taken back.
 *
 * A script that runs with some shards only, and then asks for a key elsewhere, is taken back and
 * begins again with all shards. Before each of its writes undo_note records what that would change:
 * small values are copied whole, of large ones only the elements concerned, where the command is
 * one whose effect can be told beforehand; expiries alone where only they change. A large value
 * that is about to be overwritten or removed is set aside as it is, and one that gets another name
 * is moved back. What can be recorded in no way is said so before anything happens, and the script
 * begins again with all shards at once, where nothing needs taking back.
 *
 * A record says what was, never what to reverse: taking back is right whether or not the command
 * then did what it was asked. A key that was recorded whole needs no further records.
 *
 * Taking back restores keys, values, expiries and access clocks; not how a value is laid out
 * (encoding, order in a table), which no command promises. No events are caused, no changes
 * counted, nobody's watch broken. Used by whoever holds the shards, within one run: nobody else
 * sees what is between. */
#pragma once

#include "shard/call.h"

struct undo_chunk;
struct undo_command;
struct undo_record;

struct undo {
    struct undo_record *last; /* newest first */
    size_t bytes;             /* held by all of them */

    /* For undo.c. */
    struct undo_chunk *chunks; /* what records lie in */
    char *room;                /* of the newest chunk: what is left */
    size_t room_size;
    uint32_t owned;            /* records with a value of their own */
    uint32_t whole_count;      /* records of whole keys: */
    uint32_t bucket_count;     /* ... 0, or a power of two */
    struct undo_record **buckets; /* ... by the key's hash */
};

/* How a command is noted, by its full name: what the registry puts in its row. */
const struct undo_command *undo_command_of(const char *full_name);

void undo_init(struct undo *u);
/* Before a command that writes is run: notes what it may change. `call` is as its body will see it;
 * `keys` are the arguments that are its keys. False: that is too much to keep; nothing was noted.
 * Leaves the first key's hash in the call. True: the command must now run (or all be taken back),
 * as a large value that it overwrites may have been set aside. */
bool undo_note(struct undo *u, struct call *call, const uint32_t *keys, uint32_t key_count);
/* Takes all of it back, newest first; the shards are those that were written to. */
void undo_take_back(struct undo *u);
/* Lets the records go: what was done stays. */
void undo_drop(struct undo *u);
