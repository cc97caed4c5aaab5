/* What the files of saving share: see save.h. */
#pragma once

#include <pthread.h>

#include "server/persist/save.h"
#include "server/persist/saver.h"
#include "server/persist/stand.h"

/* What save_step is to look at, besides a sweep. */
#define SAVE_CALL_CORE_0 (1u << 0) /* something has changed that core 0 acts on */
#define SAVE_DRAINING (1u << 1)    /* each core says when it has nothing under way any more */

/* A core's part. Each on lines of its own. */
struct save_core {
    bool dropped;    /* it knows that nobody wants the rest */
    bool full;       /* the disk is behind: it waits to be told */
    uint64_t commands; /* the core's count of them at its last slice */
    int64_t asked_us;  /* when that was last seen to have changed */
    int64_t window_us; /* requests are counted from here on, ... */
    uint64_t window_commands; /* when there had been so many */
    int64_t next_us;   /* it pauses until then: for clients, or for rdb-key-save-delay; 0: not */
    int64_t share;     /* ... which is so many times what a slice took */
    /* Told to core 0 and to INFO; relaxed, but where it says else. */
    _Atomic uint64_t changes;  /* as the shard has counted, at the last cron */
    _Atomic uint64_t flushed;  /* ... when it did its part of FLUSHALL. Pairs with the subtraction
                                * by which parts of a bundle come to their end */
    _Atomic uint64_t memory, keys_done;
    _Atomic bool quiet; /* while draining: it has nothing under way. Sequentially consistent */
} __attribute__((aligned(64)));

enum shutdown_state {
    SHUTDOWN_NONE,
    SHUTDOWN_ASKED,
    SHUTDOWN_TAKEN,
    SHUTDOWN_HOLDING,  /* the transaction from which on no command is taken */
    SHUTDOWN_DRAINING, /* what was taken before comes to its end */
    SHUTDOWN_CUTTING,  /* the last cut */
    SHUTDOWN_SAVING,
    SHUTDOWN_SAVED,
    SHUTDOWN_FLUSHING, /* the journal */
    SHUTDOWN_FLUSHED,
    SHUTDOWN_REFUSED,  /* clients are to go on */
    SHUTDOWN_REFUSING, /* the transaction that lets them */
    SHUTDOWN_STOPPING,
};

struct shutdown {
    _Atomic int state;      /* enum shutdown_state; NONE to ASKED by anybody, else core 0 */
    struct shutdown_plan plan;
    struct bundle *waiter;  /* set by the client's core, which core 0 hears from before it looks */
    uint32_t home;          /* the client's core */
    bool saves;
    bool ok;
};

struct save {
    struct saver saver;
    _Atomic uint32_t attention;   /* SAVE_...; whatever is told is stored before. Any thread */
    _Atomic bool in_progress;
    _Atomic bool given_up;
    _Atomic int64_t loaded_us;    /* when a core last saw a load. Relaxed: it orders nothing */
    _Atomic uint32_t sweeping;    /* cores that have not ended their sweep */
    _Atomic int kind;             /* enum save_kind of the one under way */
    struct save_plan plan;        /* likewise: set at the cut, used by core 0 */
    int64_t begun_us;             /* monotonic */
    uint64_t cut_changes;         /* counted by the shards at its cut */
    pthread_mutex_t mutex;        /* of what follows, to the blank line */
    bool asked, scheduled;
    struct save_plan asked_plan;
    struct save_report report;
    int64_t begun_s, last_try_s;  /* wall clock */

    /* stand.h; core 0's, but that `stand_over` and the run belong to who runs it. */
    bool stand;
    stand_run *stand_run, *wanted_run;
    void *stand_context, *wanted_context;
    bool stand_over;
    uint32_t holds;               /* while all stand still */
    int64_t pause_before_ms;
    bool pause_all_before;

    struct shutdown shutdown;
    struct bundle *save_waiter;   /* SAVE's client */
    struct save_core cores[];
};

/* Tells core 0 to look around. Any thread. */
void save_call_core_0(void);
/* Appends what stands before the pieces: of a file of commands, the functions alone. All shards
 * stand still. */
void save_write_header(struct buf *to, const struct save_plan *plan, struct shard *const *shards);
/* That of an empty file. Any core. */
void save_write_empty_header(struct buf *to);
/* The temporary file of a plan. */
void save_name_temp(struct saver_options *o, const struct save_plan *plan);
/* On core 0. */
void save_begin_asked(struct core *c);
void save_note_begun(const struct save_plan *plan, bool ok);
void save_note_ended(const struct save_plan *plan, bool ok, bool given_up);
void shutdown_step(struct core *c);
/* Any core, while draining. */
void shutdown_drain(struct core *c);
