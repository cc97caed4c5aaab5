/* The limit on memory (maxmemory): what counts, how it is followed, and who frees. ADR 10.
 *
 * What counts is INFO's used_memory: keys and values with their tables, what is being freed, what
 * clients' buffers and the cores themselves take. It leaves out what is not in used_memory either:
 * the journal's buffers, what a snapshot holds back, free room within pages.
 *
 * Invariants:
 *   - `used` is the sum of what each shard (told_bytes) and each core (told_other) has told. Who
 *     holds a shard tells after a command that has changed its data by `step` bytes or more; so of
 *     data it is short or long by less than shards * (step + one table segment of 16 KiB), where
 *     shards * step is at most maxmemory / 1024 or 512 bytes a shard. Buffers are told each 100 ms,
 *     the lower of two measurements: so what is sent within that time does not count.
 *   - WRITE_FAULT_MEMORY in server->write_faults is set soon after `used` rose above the limit, and
 *     cleared after it fell to it: whoever changes the bit looks at `used` once more afterwards. It
 *     is what makes commands look here at all; below the limit they cost nothing.
 *   - A shard is evicted from only by the thread that holds it, and only between commands: so never
 *     the key that a command works on, nor within a transaction or script, nor while data are
 *     loaded or clients are paused.
 *   - Shards choose alike (shard/evict.h), and tell the score of their best candidate (`best`). A
 *     shard is evicted from while no other's is better by more than the clocks' grain. A better one
 *     is borrowed where its core sleeps; an awake core comes to it itself, at its next iteration.
 *     Only beyond `margin` is the shard at hand evicted from whatever the others have.
 *   - OOM is said only where no shard has anything to evict: each was looked at a moment ago. */
#pragma once

#include "server/core.h"
#include "server/server.h"

#define EVICT_OOM_TEXT "OOM command not allowed when used memory > 'maxmemory'."

/* Of a shard, by whoever holds it; read by all. Relaxed: hints, each by itself. */
struct evict_shard {
    _Atomic uint64_t best;    /* evict_best */
    _Atomic uint64_t count;   /* evict_count */
    _Atomic int64_t looked_us; /* when these were looked at, monotonic */
} __attribute__((aligned(64)));

struct evict {
    /* Change only while all cores stand still. */
    uint64_t limit;     /* bytes; 0: none */
    uint64_t margin;    /* beyond the limit, bytes */
    uint64_t step;      /* bytes */
    int64_t budget_us;  /* how long a command may be held up */
    struct evict_shard *shards;
    /* Sum of what was told. Its changes pair with each other by way of write_faults: see mark. */
    _Atomic uint64_t used __attribute__((aligned(64)));
    _Atomic int64_t exceeded_since_us; /* 0: it was not, or could be helped at once */
    _Atomic uint64_t exceeded_us;      /* in all, before that */
};

struct evict *evict_create(uint32_t shard_count);
void evict_destroy(struct evict *e);
/* maxmemory and what belongs to it may have changed. All cores stand still, or do not run yet. */
void evict_apply_config(void);

/* For INFO: how long the limit was exceeded in all, and since it was last kept: microseconds. */
void evict_exceeded(int64_t now_us, uint64_t *total_us, uint64_t *current_us);

/* CONFIG RESETSTAT: what was exceeded so far counts no more. */
void evict_reset_stats(void);

/* After a command on `shard`, or on those in `shards`; where maxmemory is set. */
void evict_look(struct shard *shard, struct shard *const *shards);
/* What the core takes beside its shard, its clients' buffers above all. On its thread, or by who
 * may look at its sessions. */
void evict_tell_core(struct core *c);

/* Each iteration, where maxmemory is set: tells, and evicts for a while where that is due. */
void evict_step(struct core *c);
/* Before a command may run: frees what is over the limit. True where that could not be done: what
 * takes more memory is to be refused. On the core's thread, between commands. */
bool evict_admit(struct core *c);
/* The same for commands that were sent here, on the one shard at hand. True only where nothing can
 * be evicted anywhere. */
bool evict_make_room(struct core *c, struct shard *s);
