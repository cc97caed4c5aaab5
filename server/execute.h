/* Running commands on this thread: the call's set-up, the split kinds on one shard, and statistics.
 * */
#pragma once

#include "server/core.h"

/* Fills what all calls have in common. `shard` NULL: a cross transaction. */
void execute_prepare(struct core *c, struct call *call, struct shard *shard,
                     const struct command *command, const struct slice *argv, uint32_t argc);
/* Runs a command whole, all its keys being reachable here, and writes its one reply. */
void execute_whole(struct core *c, struct call *call);
/* Counts a command that took no time to speak of, and was run without `call`: this says only who
 * has called what. */
void execute_count_inner(struct core *c, const struct call *call);
/* Counts a command that waited, when that has ended without a run. */
void execute_count_waited(struct core *c, const struct bundle *b, bool failed);
/* Runs a command of every shard on each of `shards`, which are all, and writes its one reply: where
 * it is a part of a transaction or script. */
void execute_everywhere(struct core *c, struct call *call, struct shard *const *shards);
/* Runs this shard's part of a split command: no framing around what the body leaves. Returns the
 * ticks that it took. `first`: of all parts. */
uint64_t execute_part(struct core *c, struct call *call, bool first);
/* Counts a split command once, at home, when its reply stands behind `start`; the parts have
 * counted only their time, which is `ticks` in all. */
void execute_count_split(struct core *c, struct call *call, size_t start, uint64_t ticks);
/* Writes the reply of a split command from its parts. */
void execute_merge(struct core *c, struct call *call, const struct split_parts *parts,
                   const struct slice *items, uint32_t item_count);
/* Counts an error reply by its code; `text` begins behind the '-'. */
void execute_count_error(struct core *c, struct slice text);
/* Starts the clock of the commands run next, one after the other. */
void execute_start_clock(struct core *c);

/* Of a command that has flushed databases: it is FLUSHALL. */
bool execute_flushes_all(const struct command *command);
