/* The slow log: commands that took long, the newest of each core's sessions.
 *
 * An entry is made on the core that ran the command, with the arguments copied, and kept on the
 * home core of the client, whose name is known there: it travels as a message, before the reply
 * does, so whoever has had the reply finds it. Numbers come from one counter: SLOWLOG GET sorts the
 * entries of all cores by them and shows the newest slowlog-max-len, which is what one log would
 * hold. */
#pragma once

#include "server/core.h"
#include "shard/call.h"

/* As in Redis: more arguments, and longer ones, are cut, and the last says by how much. */
#define SLOWLOG_ARGS_MAX 32
#define SLOWLOG_ARG_SIZE_MAX 128

struct slowlog_entry {
    struct core_message message; /* first: on its way home */
    struct slowlog_entry *newer;
    uint64_t number;
    uint64_t client;
    int64_t time_s;  /* since the epoch */
    int64_t us;
    struct slice peer, name; /* the name is found at home, and owned */
    uint32_t argc;
    struct slice argv[]; /* their bytes stand behind them */
};

struct slowlog {
    struct slowlog_entry *oldest, *newest;
    uint64_t count;
};

void slowlog_add(struct core *c, const struct call *call, int64_t us);
/* Lets go of what is beyond slowlog-max-len. */
void slowlog_trim(struct core *c);
/* Forgets what ran before now. All cores stand still. */
void slowlog_reset(void);
void slowlog_finish(struct core *c);
