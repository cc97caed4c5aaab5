/* The server's journal: the shards' journals merged in the serial order, written and synced for
 * all.
 *
 * Places. A unit stands at (cursor, stamp) if a single shard's request, at its ticket if a
 * transaction of the order; (c, request) comes before transaction c, which comes before (c + 1,
 * request). A stamp is a time in nanoseconds, read after what the core gathered in this iteration
 * and made greater than the last stamp of this core and of every shard at hand. So if one request
 * was answered before another was sent, its place is lower (docs/proof.md): whatever part of the
 * journal from its beginning is on disk is a state that existed.
 *
 * Commits. A core that finds units waiting publishes a *seal*, an entry of the order that names all
 * shards (with one shard, it needs none). Each shard, on passing it, gives its closed units to the
 * commit. Whoever is last sends it home; the core that published it merges the units by their
 * places, wraps those of several commands in MULTI and EXEC, and gives the bytes to its ring to
 * append to the file and, by appendfsync, to sync. One commit is under way at a time: while it is,
 * the next one gathers.
 *
 * Without appendfsync always, a commit is begun 10 ms after something was appended, and replies do
 * not wait for it: a process that is killed loses so much at most. With everysec the file is synced
 * once a second, beside the writes; a machine that fails loses a second and what its disk is
 * behind.
 *
 * appendfsync always. Every commit has a number. A shard's journal knows the number of the commit
 * that its latest unit will be part of. Nothing that was run on a shard (a read as well) is told to
 * anybody before that one is durable: a reply waits for the shards of its own command
 * (session.must), a message for all that its core has run or been told of (core.journal.must).
 * Output waits session by session, behind a gate (session_output.c), so that a busy core's early
 * replies do not wait for commits that come after theirs.
 *
 * Where more waits to be written than 64 MB, replies wait for their commits with the other
 * policies, too: clients then go at the pace of the disk, and memory grows no further.
 *
 * A write that fails (disk full) is tried again each second, with all that comes behind it;
 * meanwhile commands that write get MISCONF, and with `always` nobody is told that what waits
 * was done. A sync that fails is tried again and means MISCONF, too; with `always` it ends the
 * process, as in Redis: what the kernel could not write it may have dropped, and nobody can tell
 * what is durable. */
#pragma once

#include "server/core.h"

struct blocked;
struct journal;
struct buf;
struct reply;

struct journal *journal_create(void);
void journal_destroy(struct journal *j);

/* After each command, of a transaction or script after the whole: closes the open units of the
 * shards at hand, and notes what this core's output must wait for. Part of effects_look. */
void journal_look(struct core *c, struct shard *shard, struct shard *const *shards);
/* The entry of the order that this core acts on from here on; JOURNAL_NO_TICKET: none. */
#define JOURNAL_NO_TICKET UINT64_MAX
void journal_act(struct core *c, uint64_t ticket);
/* Where c->journal.writes is set: writes the commit that is due and waits for it. Nothing but the
 * journal's own is touched. */
void journal_write_now(struct core *c);
/* Each iteration: starts a commit where one is due. */
void journal_step(struct core *c);
/* When the next commit of what this core has appended is due, in its monotonic us; INT64_MAX: there
 * is none. */
int64_t journal_next_us(const struct core *c);

/* All cores stand still. From here on everything is journaled to this file (open, positioned at its
 * end by O_APPEND; owned from now on). What was journaled before goes to the file before. */
void journal_switch(struct core *c, int fd, uint64_t size);
/* All cores stand still: what was journaled so far is written and synced, then the file is closed,
 * and nothing is journaled any more. */
void journal_turn_off(struct core *c);
/* Asks for all that was journaled so far to be written and synced; `done` is called on core `c`. */
void journal_flush(struct core *c, void (*done)(void *context, bool ok), void *context);

/* Turns sealed parts into the bytes of the file: by place, with SELECT, MULTI and EXEC, and #TS
 * lines where asked for (`now_s` is not negative). `db` is the database selected in the file (-1:
 * none), `ts` the second last told; both are kept by the caller. For tests too. */
void journal_merge(const struct buf *const *parts, uint32_t count, int64_t *db, int64_t *ts,
                   int64_t now_s, struct buf *out);

/* Before a core's log, or that of a shard which it has borrowed, is walked: what it runs from
 * here on was gathered before, and stamps are read anew. */
static inline void journal_note_walk(struct core *c)
{
    c->journal.clock_ns = 0;
}
/* What was done on the shards at hand is about to be told by a message, though its unit is open
 * still: notes what the message must wait for. The commit is in c->journal.looked, too. */
void journal_precede(struct core *c, struct shard *shard, struct shard *const *shards);

/* True for commands whose replies tell of data or functions. Others (INFO, CONFIG, SHUTDOWN, ...)
 * are answered at once: above all where commits cannot be written, and somebody looks why. */
static inline bool journal_concerns(const struct command *row)
{
    return (row->flags & (CMD_READONLY | CMD_WRITE | CMD_MAY_REPLICATE)) ||
           (row->acl & (ACL_TRANSACTION | ACL_SCRIPTING));
}

/* True where output that needs this commit must not leave yet. */
bool journal_still_holds(struct core *c, uint64_t must);
static inline bool journal_holds(struct core *c, uint64_t must)
{
    return __builtin_expect(must > c->journal.durable, 0) && journal_still_holds(c, must);
}
/* What is part of this commit, and all before it, is on disk. With the journal off nothing is, nor
 * while the first base of a file that was turned on is being written. */
bool journal_has_synced(uint64_t commit);
/* WAITAOF's answer for a commit. */
void journal_reply_synced(struct reply *r, uint64_t commit);
#define JOURNAL_IS_OFF_TEXT \
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
/* A WAITAOF whose wait is ended, as by its timeout, when its commit is synced or the journal is
 * turned off; until journal_await_sync_end, which may be called for any wait. */
void journal_await_sync(struct core *c, struct blocked *w);
void journal_await_sync_end(struct blocked *w);
/* Ends those whose commit is synced, or whose journal is off. */
void journal_end_sync_waits(struct core *c);
/* Wakes the cores that listen: what they wait for may have come. */
void journal_tell(struct core *c);
/* The session has output that waits; it is touched when there are news. */
void journal_await(struct core *c, struct session *s);
/* ... no more. */
void journal_await_end(struct core *c, struct session *s);
/* The last look before sleeping: journal_step has something new to do. */
bool journal_has_news(const struct core *c);
/* True where nothing of this core's is waiting for the journal: it may stop. */
bool journal_is_idle(const struct core *c);
/* At the end of a core: waits for its file writes. */
void journal_core_finish(struct core *c);

struct journal_report {
    bool on, last_write_ok, fsync_pending;
    int last_error;      /* errno of what went wrong, where last_write_ok is false */
    uint64_t size;       /* of the file now written to */
    uint64_t buffered;   /* bytes in memory */
    uint64_t delayed_fsync;
    uint64_t commits;
};
void journal_report(struct journal_report *r);
/* Any thread: CONFIG RESETSTAT. */
void journal_reset_stats(void);
