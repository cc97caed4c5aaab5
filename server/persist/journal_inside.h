/* What the journal's files share. Internal to journal*.c.
 *
 * Commits are numbered in the order in which the shards pass them, from 1: by seals, and by changes
 * of the file, at which all cores stand still and what was journaled so far is taken on the spot.
 * All shards count alike, so a shard knows the number of the commit that its open unit will be part
 * of: one more than it has passed.
 *
 * Each commit is a *piece* of the file: the units of each shard, then the bytes made of them.
 * Pieces are written one after the other, in the order of their numbers, by the *committer*, the
 * core that began the last seal; its role ends when none is left. What only the committer uses
 * is also touched by a core that changes the file, while the committer stands still. */
#pragma once

#include "proto/buf.h"
#include "server/bundle.h"
#include "server/persist/journal.h"
#include "server/server.h"

struct journal_file {
    int fd;
    _Atomic uint32_t uses; /* pieces, syncs, and being the current one: the last to go closes it */
    int64_t db;            /* selected in it; -1: none */
    int64_t ts;            /* the second last told in it */
};

struct journal_piece {
    struct journal_piece *next;
    uint64_t number;
    struct journal_file *file; /* NULL: the journal was off by then */
    bool last;                 /* of that file: it is synced */
    bool everywhere;           /* each shard has units in it */
    bool wrote;                /* some of it is in the file */
    struct buf bytes;
    uint32_t part_count;
    struct buf parts[];        /* by shard */
};

enum journal_write {
    JOURNAL_WRITE_NONE,
    JOURNAL_WRITE_UNDER_WAY,
    JOURNAL_WRITE_ENDED, /* not yet looked at */
    JOURNAL_WRITE_WAITS, /* it failed, and is tried again at `retry_us` */
};

/* Asked for by journal_flush. */
struct journal_flush {
    struct journal_flush *next;
    uint64_t number; /* all commits up to this */
    uint32_t failures; /* journal.failures when it was asked for */
    void (*done)(void *context, bool ok);
    void *context;
};

struct journal {
    struct journal_file *file; /* now appended to; NULL: off. Changes while all stand still */
    uint64_t share;            /* bytes in a shard's journal that are too many */

    /* The committer's, as said above. */
    struct bundle seal;
    struct journal_piece *sealed; /* what the seal fills */
    bool sealing;              /* it is under way */
    struct buf *spares;        /* by shard: empty, with room */
    struct buf spare_bytes;
    struct journal_piece *queue; /* by number, not yet written */
    enum journal_write state;  /* of the first in it */
    struct file_write write;
    int write_error;
    int64_t write_begun_us;    /* by latency_now_us, as the next */
    int64_t retry_us;

    /* The sync of the second: of the core that wrote last. */
    struct file_write sync;
    struct journal_file *sync_file;
    uint64_t sync_number;
    int sync_error;
    int64_t sync_begun_us;

    /* Read by all. */
    _Atomic uint32_t committer __attribute__((aligned(64))); /* core + 1; 0: none */
    _Atomic uint64_t begun;    /* commits that have a number */
    _Atomic uint64_t wanted;   /* the latest that some core wants: read by the committer after it
                                * has let go of its role, written before a look at that */
    _Atomic uint64_t durable;  /* the last that is written; with `always`, and synced. Pairs with
                                * journal_still_holds: replies leave after it */
    _Atomic uint64_t synced;   /* all up to this are */
    _Atomic uint64_t flush_to; /* up to this they are to be synced at once */
    _Atomic uint32_t news;     /* counts changes of any of these, and failures */
    _Atomic uint32_t failures;
    _Atomic bool failing;      /* the last write failed, and the log has said so */
    _Atomic bool overloaded;   /* too much waits to be written: replies wait for it */
    _Atomic uint32_t syncer;   /* core + 1: who is to sync what was written */
    _Atomic bool unsynced;     /* something was written since the last sync began */
    _Atomic bool syncing;
    _Atomic uint32_t sync_ended; /* core + 1 that began it, and is to look at how it went */
    _Atomic bool sync_failed;  /* the last one did */
    _Atomic int64_t sync_due_us; /* monotonic */
    _Atomic uint64_t size, buffered, delayed_fsync; /* relaxed: for reports */
    _Atomic int last_error;
};

/* True where replies wait until their commit is synced. */
static inline bool journal_is_always(void)
{
    return server->config.appendfsync == SYNC_ALWAYS;
}

/* journal_commit.c: the committer's work, for journal_step. */
void journal_commit_step(struct core *c);
/* All cores stand still: what was journaled so far is the end of the current file, which is
 * left. */
void journal_commit_rest(struct core *c);
void journal_file_drop(struct journal_file *f);

/* journal_sync.c: appendfsync everysec, for journal_step. */
void journal_sync_step(struct core *c);
int64_t journal_sync_next_us(const struct core *c);
/* Something was written, by core `c`. */
void journal_sync_note(struct core *c);
