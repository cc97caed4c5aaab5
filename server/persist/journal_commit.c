/* The journal, commits: sealing, merging, writing. See journal_inside.h for who may do it.
 *
 * Errors. What a write left out is tried again each second, and nothing else is written before it:
 * the file is a clean prefix at any time, with one incomplete command or transaction at its end at
 * most. Commands that write are refused meanwhile, so that what waits does not grow.
 *
 * With appendfsync always a sync that fails ends the process: the kernel may have dropped what it
 * could not write, and nobody can be told any more what is durable. */
#include <assert.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "server/effects.h"
#include "server/latency.h"
#include "server/persist/journal_inside.h"
#include "server/persist/save.h"
#include "server/server.h"
#include "shard/journal.h"

/* How long what was appended may wait for a commit, where nobody waits for it. */
#define COMMIT_US 10000
#define RETRY_US 1000000
/* Buffers up to this size are kept for the next commit. */
#define SPARE_SIZE_MAX ((size_t)1 << 20)

/* --- Sealing --- */

static struct journal_piece *make_piece(void)
{
    struct journal *j = server->journal;
    uint32_t count = server->core_count;
    struct journal_piece *p = mem_alloc_zeroed(sizeof(*p) + count * sizeof(*p->parts));
    p->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        p->parts[i] = j->spares[i];
        buf_init(&j->spares[i]);
    }
    return p;
}

static void use_file(struct journal_piece *p)
{
    p->file = server->journal->file;
    if (p->file)
        atomic_fetch_add_explicit(&p->file->uses, 1, memory_order_relaxed);
}

/* A shard passes a commit. Its number and its file are the same for all: shard 0 says them. */
static void give(struct shard *s, struct journal_piece *p)
{
    assert(!journal_has_open(s));
    s->journal.passed++;
    if (s->journal.out.size)
        journal_take(s, &p->parts[s->index]);
    if (s->index != 0)
        return;
    p->number = s->journal.passed;
    use_file(p);
}

static void enqueue(struct journal_piece *p)
{
    struct journal_piece **at = &server->journal->queue;
    while (*at && (*at)->number < p->number)
        at = &(*at)->next;
    p->next = *at;
    *at = p;
}

static void pump(struct core *c);

static void act_on_seal(struct core *c, struct shard *s, struct bundle *b)
{
    (void)c;
    (void)b;
    give(s, server->journal->sealed);
}

static void seal_done(struct core *c, struct bundle *b)
{
    struct journal *j = server->journal;
    (void)b;
    c->dispatched--;
    j->sealing = false;
    enqueue(j->sealed);
    pump(c);
}

static void publish_seal(struct core *c)
{
    struct journal *j = server->journal;
    j->sealing = true;
    j->seal = (struct bundle){
        .message.receive = bundle_come_home, .kind = BUNDLE_SPLIT, .home = c->index,
        .borrowable = true, .act = act_on_seal, .done = seal_done,
    };
    for (uint32_t i = 0; i < server->core_count; i++)
        core_mask_add(&j->seal.mask, i);
    j->seal.reach = j->seal.mask;
    atomic_init(&j->seal.pending, server->core_count);
    c->dispatched++;
    bundle_dispatch(c, &j->seal);
    if (journal_is_always())
        core_walk(c);
}

static bool become_committer(struct core *c)
{
    uint32_t none = 0;
    /* Pairs with the release of the one before: all that is the committer's. */
    return atomic_compare_exchange_strong(&server->journal->committer, &none, c->index + 1);
}

static void begin(struct core *c)
{
    struct journal *j = server->journal;
    if (!become_committer(c))
        return;
    c->journal.want_us = 0;
    atomic_fetch_add(&j->begun, 1);
    j->sealed = make_piece();
    if (server->core_count > 1) {
        publish_seal(c);
        return;
    }
    give(&c->shard, j->sealed);
    enqueue(j->sealed);
    pump(c);
}

void journal_commit_rest(struct core *c)
{
    struct journal *j = server->journal;
    struct shard *shards[SHARD_COUNT_MAX];
    for (uint32_t i = 0; i < server->core_count; i++)
        shards[i] = &server->cores[i]->shard;
    journal_look(c, NULL, shards); /* within a transaction */
    atomic_fetch_add(&j->begun, 1);
    struct journal_piece *p = make_piece();
    for (uint32_t i = 0; i < server->core_count; i++)
        give(shards[i], p);
    p->last = true;
    enqueue(p);
}

/* --- Writing --- */

/* The role ends. What others have asked for meanwhile is ours to see to. */
static void release(struct core *c)
{
    struct journal *j = server->journal;
    atomic_store(&j->committer, 0);
    uint64_t wanted = atomic_load(&j->wanted);
    if (wanted > c->journal.want)
        c->journal.want = wanted;
}

static void end_piece(struct core *c)
{
    struct journal *j = server->journal;
    struct journal_piece *p = j->queue;
    j->queue = p->next;
    j->state = JOURNAL_WRITE_NONE;
    if (j->write.sync)
        atomic_store(&j->unsynced, false);
    else if (p->wrote)
        journal_sync_note(c);
    if (j->write.sync || (!atomic_load(&j->unsynced) && !atomic_load(&j->syncing)))
        atomic_store(&j->synced, p->number);
    atomic_store_explicit(&j->buffered, 0, memory_order_relaxed);
    atomic_store_explicit(&j->overloaded, false, memory_order_relaxed);
    atomic_store(&j->durable, p->number);
    if (j->spare_bytes.cap == 0 && p->bytes.cap <= SPARE_SIZE_MAX) {
        p->bytes.size = 0;
        j->spare_bytes = p->bytes;
    } else {
        buf_deinit(&p->bytes);
    }
    if (p->file)
        journal_file_drop(p->file);
    mem_free(p);
    journal_tell(c);
}

static void merge(struct core *c, struct journal_piece *p)
{
    struct journal *j = server->journal;
    const struct buf *parts[SHARD_COUNT_MAX];
    p->bytes = j->spare_bytes;
    buf_init(&j->spare_bytes);
    p->everywhere = true;
    for (uint32_t i = 0; i < p->part_count; i++) {
        parts[i] = &p->parts[i];
        p->everywhere &= p->parts[i].size > 0;
    }
    int64_t now_s = server->config.aof_timestamp_enabled ? c->wall_ms / 1000 : -1;
    if (p->file)
        journal_merge(parts, p->part_count, &p->file->db, &p->file->ts, now_s, &p->bytes);
    for (uint32_t i = 0; i < p->part_count; i++) {
        p->parts[i].size = 0;
        if (j->spares[i].cap == 0 && p->parts[i].cap <= SPARE_SIZE_MAX)
            j->spares[i] = p->parts[i];
        else
            buf_deinit(&p->parts[i]);
    }
    p->part_count = 0;
}

static bool is_to_sync(const struct journal_piece *p)
{
    struct journal *j = server->journal;
    bool open = p->bytes.size > 0 || atomic_load(&j->unsynced) || atomic_load(&j->syncing);
    if (p->last || p->number <= atomic_load(&j->flush_to))
        return open;
    return journal_is_always() && p->bytes.size > 0 &&
           !(server->config.no_appendfsync_on_rewrite && save_in_progress());
}

static void on_written(void *context, struct file_write *w, int error)
{
    struct journal *j = context;
    (void)w;
    j->write_error = error;
    j->state = JOURNAL_WRITE_ENDED;
}

/* Writes what is left of the first piece.
 *
 * Where it is to be synced and has units of every shard, nothing that anybody might ask for
 * could leave before it is durable. Then the core does it itself, at the end of this iteration,
 * and waits: what arrives meanwhile is taken all at once behind it, which saves most of the
 * switches between threads. To others it is a core that sleeps. */
static void write_on(struct core *c)
{
    struct journal *j = server->journal;
    struct journal_piece *p = j->queue;
    j->state = JOURNAL_WRITE_UNDER_WAY;
    j->write_begun_us = latency_now_us();
    j->write = (struct file_write){
        .fd = p->file->fd, .data = p->bytes.data, .size = p->bytes.size, .sync = j->write.sync,
        .done = on_written, .context = j,
    };
    c->journal.writes = j->write.sync && p->everywhere &&
                        !atomic_load_explicit(&j->failing, memory_order_relaxed);
    if (!c->journal.writes)
        ring_write_file(c->ring, &j->write);
}

void journal_write_now(struct core *c)
{
    struct journal *j = server->journal;
    c->journal.writes = false;
    on_written(j, &j->write, ring_write_file_now(&j->write));
}

static void start_piece(struct core *c)
{
    struct journal *j = server->journal;
    struct journal_piece *p = j->queue;
    merge(c, p);
    atomic_store_explicit(&j->buffered, p->bytes.size, memory_order_relaxed);
    j->write.sync = p->file && is_to_sync(p);
    if (p->bytes.size || j->write.sync)
        write_on(c);
    else
        end_piece(c);
}

/* A half-written piece goes on where it ended. One of a file that was turned off is given up. */
static void fail(struct core *c, int error, bool is_write)
{
    struct journal *j = server->journal;
    atomic_store_explicit(&j->last_error, error, memory_order_relaxed);
    if (!is_write && journal_is_always()) {
        log_write(&server->log, LOG_WARNING,
                  "Can't persist AOF for fsync error when the AOF fsync policy is 'always': %s. "
                  "Exiting...", strerror(error));
        exit(1);
    }
    if (!atomic_exchange(&j->failing, true))
        log_write(&server->log, LOG_WARNING,
                  is_write ? "Error writing to the AOF file: %s" : "Fail to fsync the AOF file: %s",
                  strerror(error));
    atomic_fetch_add(&j->failures, 1);
    if (!server->keyspace.options.journal) {
        atomic_store(&j->failing, false);
        j->write.sync = false;
        end_piece(c);
        return;
    }
    atomic_fetch_or(&server->write_faults, WRITE_FAULT_AOF);
    j->state = JOURNAL_WRITE_WAITS;
    j->retry_us = c->now_us + RETRY_US;
    journal_tell(c);
}

static void settle_write(struct core *c)
{
    struct journal *j = server->journal;
    struct journal_piece *p = j->queue;
    latency_note(c, j->write.sync ? "aof-fsync-always" : "aof-write",
                 latency_now_us() - j->write_begun_us);
    atomic_fetch_add_explicit(&j->size, p->file == j->file ? j->write.written : 0,
                              memory_order_relaxed);
    p->wrote |= j->write.written > 0;
    if (j->write_error) {
        bool is_write = j->write.written < j->write.size;
        buf_consume(&p->bytes, j->write.written);
        fail(c, j->write_error, is_write);
        return;
    }
    if (atomic_exchange(&j->failing, false)) {
        /* Of the two ways to fail, the last that is over sees that the other is. */
        if (!atomic_load(&j->sync_failed))
            atomic_fetch_and(&server->write_faults, ~WRITE_FAULT_AOF);
        log_write(&server->log, LOG_WARNING,
                  "AOF write error looks solved. The server can write again.");
    }
    end_piece(c);
}

/* Goes on with what is to be written, as far as that can be now. */
static void pump(struct core *c)
{
    struct journal *j = server->journal;
    for (;;) {
        if (j->state == JOURNAL_WRITE_ENDED)
            settle_write(c);
        if (j->state == JOURNAL_WRITE_WAITS && c->now_us >= j->retry_us)
            write_on(c);
        if (j->state != JOURNAL_WRITE_NONE)
            return;
        if (!j->queue || j->queue->number != atomic_load(&j->durable) + 1)
            break;
        start_piece(c);
    }
    if (!j->sealing)
        release(c);
}

/* --- The loop --- */

static bool is_due(struct core *c)
{
    struct journal *j = server->journal;
    uint64_t want = c->journal.want;
    if (want <= atomic_load_explicit(&j->begun, memory_order_acquire)) {
        c->journal.want_us = 0;
        return false;
    }
    uint64_t wanted = atomic_load_explicit(&j->wanted, memory_order_relaxed);
    while (wanted < want && !atomic_compare_exchange_weak(&j->wanted, &wanted, want))
        continue;
    if (c->journal.want_us == 0)
        c->journal.want_us = c->now_us;
    if (atomic_load(&j->committer) != 0)
        return false;
    return journal_is_always() || c->now_us - c->journal.want_us >= COMMIT_US ||
           atomic_load_explicit(&j->overloaded, memory_order_relaxed) ||
           atomic_load(&j->flush_to) >= want || atomic_load(&server->stopping);
}

void journal_commit_step(struct core *c)
{
    struct journal *j = server->journal;
    uint32_t committer = atomic_load_explicit(&j->committer, memory_order_acquire);
    bool others_go_first = false;
    if (committer == c->index + 1) {
        uint64_t durable = atomic_load_explicit(&j->durable, memory_order_relaxed);
        pump(c);
        /* Those that it answers have their next requests in the commit that follows. */
        others_go_first = journal_is_always() && c->journal.gated &&
                          durable != atomic_load_explicit(&j->durable, memory_order_relaxed);
    } else if (committer == 0 && atomic_load(&j->durable) < atomic_load(&j->begun) &&
             become_committer(c)) {
        pump(c);
    }
    if (is_due(c) && !others_go_first)
        begin(c);
}
