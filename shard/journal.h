/* The journal of a shard: the effects of its writes, as commands that make the same of the same
 * data, in the order in which they happened.
 *
 * A *unit* is what must take effect as a whole: a command with what it caused, an EXEC, a script.
 * Commands append to the shard's open unit; whoever ran them closes it (server/persist/journal.h),
 * which gives it its place in the serial order. Nothing is random in it and nothing depends on the
 * time: a command is journaled in its own words only where these always do the same, else its body
 * says by which commands its effect is told (call_journal).
 *
 * Where a command works on several shards at once, all of it goes to the first of them
 * (journal_gather), so that it stays in one order.
 *
 * A unit in `out`: struct journal_unit, then for each command struct journal_command and the
 * command in RESP. Single-threaded, like all of the shard. */
#pragma once

#include "proto/buf.h"
#include "shard/call.h"

struct journal_unit {
    uint64_t size;     /* bytes behind this header */
    uint64_t cursor;   /* entries of the order that the shard had passed; or, of a transaction in
                        * the order, its ticket */
    uint64_t stamp;    /* nanoseconds: see server/persist/journal.h */
    uint32_t commands;
    uint32_t in_order; /* 1: a transaction of the order; parts with one ticket are one unit */
};

/* Parts with one ticket are put together by round, and in each round by shard: a command of every
 * shard (FLUSHALL) stands in shard 0's part alone, and comes behind what all the shards did before
 * it and ahead of what they did later. */
struct journal_command {
    uint64_t size; /* of the RESP behind it */
    uint32_t db;
    uint32_t round : 31;  /* writes of every shard in its part so far, itself among them */
    uint32_t by_time : 1; /* what time has done: it stays where a script is taken back */
};

/* True while effects are recorded at all: where it is false bodies need not build any. */
static inline bool journal_is_on(const struct call *c)
{
    return c->keyspace->options.journal;
}

/* A part begins; and a write of every shard is next in it. */
static inline void journal_start_rounds(struct shard *s)
{
    s->journal.round = 0;
}
static inline void journal_next_round(struct shard *s)
{
    s->journal.round++;
}

/* Instead of its own words the command is journaled as this one, on the key's shard: `s`, or where
 * that is NULL the call's own. May be called several times: one command each. */
void call_journal(struct call *c, struct shard *s, const struct slice *argv, uint32_t argc);
/* It is not journaled at all: it changed nothing that lasts. */
void call_journal_nothing(struct call *c);

/* Around a command's run: what the shards at hand have counted as changes before, and afterwards
 * (where that differs and the body has not spoken for itself) its own words. Split parts are
 * journaled with the keys of this shard only, commands of every shard by shard 0. */
uint64_t journal_changes(const struct call *c);
void journal_after(struct call *c, uint64_t changes_before);

/* One command word by word: `argc` of them between start and end, and nothing else is appended
 * meanwhile. */
struct journal_writing {
    struct journal_buffer *journal;
    struct reply reply;
    struct journal_command head;
    size_t at; /* where it begins: the buffer may move */
};
void journal_start(struct journal_writing *w, struct shard *s, uint32_t db, uint32_t argc);
void journal_word(struct journal_writing *w, struct slice word);
void journal_end(struct journal_writing *w);

/* One command, whatever the call. By time: expiry and eviction, which stay where a script is taken
 * back. */
void journal_append(struct shard *s, uint32_t db, const struct slice *argv, uint32_t argc);
void journal_append_by_time(struct shard *s, uint32_t db, const struct slice *argv, uint32_t argc);
/* A key has expired, or was evicted. */
void journal_removed(struct shard *s, uint32_t db, struct slice key, bool lazy);

/* Bytes in the open unit. */
static inline bool journal_has_open(const struct shard *s)
{
    return s->journal.commands != 0;
}
/* Where the open unit ends now, and back to there: for a script that is taken back. What time has
 * done stays. */
size_t journal_mark(const struct shard *s);
void journal_cut_back(struct shard *s, size_t mark);
/* Closes the open unit. */
void journal_close_unit(struct shard *s, uint64_t cursor, bool in_order, uint64_t stamp);
/* Takes all closed units; there is no open one. */
void journal_take(struct shard *s, struct buf *to);

/* From here on, or no longer: what is appended to any of these shards (NULL where not at hand) goes
 * to the first one's open unit. True where there is anything to end. */
bool journal_gather(struct shard *const *shards, uint32_t count);
void journal_gather_end(struct shard *const *shards, uint32_t count);
