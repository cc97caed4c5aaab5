/* Inner commands: those that run within another one, EXEC's and a script's.
 *
 * The outer command's body runs on a core that holds one or more shards; inner commands run there
 * and then, one after the other, and nobody else sees what is between. Their bodies are the same as
 * ever: here each is given the shard of its keys, or all shards at hand, and commands of every
 * shard (KEYS, DBSIZE, FLUSHALL, ...) are run on each and merged.
 *
 * A command may need a shard, or the subscribers of a core, that are not at hand. A transaction
 * knows its commands before, so that does not happen to it; a script *strays*: `strayed` is set,
 * nothing more runs, and the outer command ends with inner_end, which takes back what was written
 * and asks for all shards (call.strayed): then the whole outer command runs again.
 *
 * A script within a transaction has an outer command with an outer command. What both have written
 * and published is kept with the outermost, which takes back all or nothing. */
#pragma once

#include "server/core.h"
#include "shard/undo.h"

struct inner_message;

/* Where a shard's events and its journal ended at the begin. */
struct inner_mark {
    struct event *event;
    size_t journal;
};

struct inner {
    struct core *core;
    struct inner *around;     /* of the transaction that this is a script of; or NULL */
    struct call *outer;
    struct session *session;  /* of the outer call; at its home core only, else its id alone */
    struct shard *shard;      /* the only one at hand; NULL: those in `shards` */
    struct shard *const *shards; /* by index, NULL where not at hand */
    uint32_t db;              /* SELECT changes it */
    bool all;                 /* every shard is at hand */
    bool at_home;             /* this thread may touch the session: its home core's own, or that
                               * stands still */
    bool may_stray;           /* undo records are kept, with the outermost */
    bool in_script;           /* the commands are a script's */
    bool strayed;             /* a shard was missing, or a write too large to be taken back */
    bool read_only;           /* commands that write are refused: EVAL_RO, flag no-writes */
    uint32_t written;         /* commands that write which have run: then no script is killed */
    const struct slice *declared; /* the keys that the script says it uses */
    uint32_t declared_count;
    bool announced;           /* it runs for long: see serve.h */
    bool beyond;              /* a key was used that is not among them */
    bool channels_known;      /* each PUBLISH to come was asked for: inner_knows_channel */
    bool published;           /* PUBLISH was used */
    /* Of the outermost alone: */
    struct inner_message *messages, *messages_last; /* published, not yet posted */
    struct undo undo;
    struct inner_mark *marks; /* by shard */
    bool gathers;             /* all that is journaled goes to one shard */
};

/* Begins: finds out what is at hand. `may_stray` false: the outer command has named all that it
 * needs. */
void inner_begin(struct inner *in, struct call *outer, bool may_stray);
/* Ends. False where it strayed: everything was taken back (or will be, by the outermost),
 * outer->strayed is set, and the body returns without a reply. */
bool inner_end(struct inner *in);

/* The shard of that index, or NULL where it is not at hand. */
struct shard *inner_at_hand(const struct inner *in, uint32_t index);
/* For a transaction, before it runs anything, of each PUBLISH or SPUBLISH in it: false where not
 * all cores with subscribers are at hand. It then sets outer->strayed and returns: others have
 * subscribed since it was sent on its way. */
bool inner_knows_channel(struct inner *in, const struct command *command, struct slice channel);
/* Runs one command and writes its reply (an error too). The command's arity has been checked, and
 * that it may be used here. False where the outer command strays: there is no reply then, and the
 * body goes to inner_end. */
bool inner_run(struct inner *in, const struct command *command, const struct slice *argv,
               uint32_t argc, struct reply *reply);
