/* The server's journal, on every core: places, what output waits for, the files. See journal.h. */
#include <assert.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "proto/reply.h"
#include "server/blocked.h"
#include "server/persist/aof.h"
#include "server/persist/journal_inside.h"
#include "server/server.h"
#include "server/session.h"
#include "shard/journal.h"

/* So much may wait to be written before replies wait, too. */
#define WAITING_MAX ((uint64_t)64 << 20)
/* How long what was appended may wait for a commit, where nobody waits for it. */
#define COMMIT_US 10000

struct journal *journal_create(void)
{
    struct journal *j = mem_alloc_aligned(sizeof(*j), 64);
    memset(j, 0, sizeof(*j));
    j->share = WAITING_MAX / server->core_count;
    j->spares = mem_alloc_zeroed(server->core_count * sizeof(*j->spares));
    return j;
}

void journal_destroy(struct journal *j)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        buf_deinit(&j->spares[i]);
    buf_deinit(&j->spare_bytes);
    while (j->queue) {
        struct journal_piece *p = j->queue;
        j->queue = p->next;
        for (uint32_t i = 0; i < p->part_count; i++)
            buf_deinit(&p->parts[i]);
        buf_deinit(&p->bytes);
        if (p->file)
            journal_file_drop(p->file);
        mem_free(p);
    }
    if (j->file && atomic_load(&j->unsynced))
        fdatasync(j->file->fd);
    if (j->file)
        journal_file_drop(j->file);
    mem_free(j->spares);
    mem_free(j);
}

/* --- Places --- */

static uint64_t clock_ns(struct core *c)
{
    if (c->journal.clock_ns == 0) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        c->journal.clock_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    }
    return c->journal.clock_ns;
}

/* Later than all that this core has placed and, given the last stamp of the shards at hand, than
 * what was done on these. */
static uint64_t stamp_after(struct core *c, uint64_t last)
{
    uint64_t stamp = clock_ns(c);
    stamp = c->journal.stamp > stamp ? c->journal.stamp : stamp;
    stamp = last > stamp ? last : stamp;
    return c->journal.stamp = stamp + 1;
}

static void close_unit(struct core *c, struct shard *s, uint64_t stamp)
{
    struct journal_buffer *b = &s->journal;
    bool in_order = c->journal.ticket != JOURNAL_NO_TICKET;
    uint64_t place = in_order ? c->journal.ticket : order_cursor(server->order, s->index);
    journal_close_unit(s, place, in_order, stamp);
    b->commit = b->passed + 1;
    if (b->commit > c->journal.want)
        c->journal.want = b->commit;
    if (__builtin_expect(b->out.size > server->journal->share, 0))
        atomic_store_explicit(&server->journal->overloaded, true, memory_order_relaxed);
}

static void note(struct core *c, uint64_t commit)
{
    c->journal.looked = commit;
    if (commit > c->journal.must)
        c->journal.must = commit;
}

static void look_at_many(struct core *c, struct shard *const *shards)
{
    uint64_t last = 0, commit = 0;
    bool open = false;
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!shards[i])
            continue;
        open |= journal_has_open(shards[i]);
        last = shards[i]->journal.stamp > last ? shards[i]->journal.stamp : last;
    }
    for (uint32_t i = 0; i < server->core_count; i++) {
        struct shard *s = shards[i];
        if (!s)
            continue;
        if (journal_has_open(s))
            close_unit(c, s, last = stamp_after(c, last));
        commit = s->journal.commit > commit ? s->journal.commit : commit;
    }
    for (uint32_t i = 0; open && i < server->core_count; i++)
        if (shards[i])
            shards[i]->journal.stamp = last;
    note(c, commit);
}

void journal_look(struct core *c, struct shard *shard, struct shard *const *shards)
{
    if (shards && server->core_count > 1) {
        look_at_many(c, shards);
        return;
    }
    shard = shard ? shard : shards[0];
    if (journal_has_open(shard)) {
        shard->journal.stamp = stamp_after(c, shard->journal.stamp);
        close_unit(c, shard, shard->journal.stamp);
    }
    note(c, shard->journal.commit);
}

void journal_act(struct core *c, uint64_t ticket)
{
    c->journal.ticket = ticket;
}

/* --- What output waits for --- */

static uint64_t commit_of(const struct shard *s)
{
    return journal_has_open(s) ? s->journal.passed + 1 : s->journal.commit;
}

void journal_precede(struct core *c, struct shard *shard, struct shard *const *shards)
{
    uint64_t commit = shard ? commit_of(shard) : 0;
    for (uint32_t i = 0; shards && i < server->core_count; i++)
        if (shards[i] && commit_of(shards[i]) > commit)
            commit = commit_of(shards[i]);
    note(c, commit);
}

bool journal_still_holds(struct core *c, uint64_t must)
{
    struct journal *j = server->journal;
    if (!journal_is_always() && !atomic_load_explicit(&j->overloaded, memory_order_relaxed))
        return false;
    c->journal.durable = atomic_load_explicit(&j->durable, memory_order_acquire);
    return must > c->journal.durable;
}

/* The news that end the wait come after the commit, and whoever sees to that sees `listens`: both
 * are sequentially consistent, and this core looks once more before it sleeps. */
static void listen_on(struct core *c)
{
    if (!atomic_load_explicit(&c->journal.listens, memory_order_relaxed))
        atomic_store(&c->journal.listens, true);
}

void journal_await(struct core *c, struct session *s)
{
    if (s->must > c->journal.want)
        c->journal.want = s->must;
    if (s->in_gated)
        return;
    s->in_gated = true;
    s->next_gated = c->journal.gated;
    c->journal.gated = s;
    listen_on(c);
}

void journal_await_end(struct core *c, struct session *s)
{
    struct session **at = &c->journal.gated;
    while (*at != s)
        at = &(*at)->next_gated;
    *at = s->next_gated;
    s->in_gated = false;
}

void journal_tell(struct core *c)
{
    atomic_fetch_add(&server->journal->news, 1);
    for (uint32_t i = 0; i < server->core_count; i++)
        if (i != c->index && atomic_load(&server->cores[i]->journal.listens))
            core_wake(c, i);
}

bool journal_has_news(const struct core *c)
{
    return atomic_load_explicit(&c->journal.listens, memory_order_relaxed) &&
           atomic_load(&server->journal->news) != c->journal.news;
}

static void touch_gated(struct core *c)
{
    struct session *s = c->journal.gated;
    c->journal.gated = NULL;
    while (s) {
        struct session *next = s->next_gated;
        s->in_gated = false;
        session_touch(c, s);
        s = next;
    }
}

/* --- WAITAOF --- */

bool journal_has_synced(uint64_t commit)
{
    return server->keyspace.options.journal && !aof_awaits_base() &&
           atomic_load(&server->journal->synced) >= commit;
}

void journal_reply_synced(struct reply *r, uint64_t commit)
{
    reply_array(r, 2);
    reply_integer(r, journal_has_synced(commit));
    reply_integer(r, 0);
}

void journal_await_sync(struct core *c, struct blocked *w)
{
    w->sync_next = c->journal.sync_waits;
    w->sync_at = &c->journal.sync_waits;
    if (w->sync_next)
        w->sync_next->sync_at = &w->sync_next;
    c->journal.sync_waits = w;
    if (w->commit > c->journal.want)
        c->journal.want = w->commit;
    listen_on(c);
}

void journal_await_sync_end(struct blocked *w)
{
    if (!w->sync_at)
        return;
    *w->sync_at = w->sync_next;
    if (w->sync_next)
        w->sync_next->sync_at = w->sync_at;
    w->sync_at = NULL;
}

void journal_end_sync_waits(struct core *c)
{
    bool on = server->config.appendonly;
    for (struct blocked *w = c->journal.sync_waits, *next; w; w = next) {
        next = w->sync_next;
        if (!on || journal_has_synced(w->commit))
            blocked_cancel(c, w->bundle->session, on ? BLOCKED_TIMEOUT : BLOCKED_AOF_OFF, false);
    }
}

/* --- Flushes --- */

/* Commits that come from here on sync. */
static void want_flush(struct core *c, uint64_t number)
{
    struct journal *j = server->journal;
    uint64_t to = atomic_load(&j->flush_to);
    while (to < number && !atomic_compare_exchange_weak(&j->flush_to, &to, number))
        continue;
    if (number > c->journal.want)
        c->journal.want = number;
}

void journal_flush(struct core *c, void (*done)(void *context, bool ok), void *context)
{
    struct journal *j = server->journal;
    bool on = server->keyspace.options.journal;
    uint64_t number = atomic_load(&j->begun) + on;
    if (!on && atomic_load(&j->durable) >= number) {
        done(context, true);
        return;
    }
    struct journal_flush *f = mem_alloc(sizeof(*f));
    *f = (struct journal_flush){c->journal.flushes, number, atomic_load(&j->failures), done,
                                context};
    c->journal.flushes = f;
    listen_on(c);
    want_flush(c, number);
}

/* What was written before the flush was asked for, and has ended since, was perhaps not synced: one
 * more commit does that. */
static bool is_over(struct core *c, const struct journal_flush *f, bool *ok)
{
    struct journal *j = server->journal;
    *ok = atomic_load(&j->synced) >= f->number;
    if (*ok || atomic_load(&j->failures) != f->failures)
        return true;
    if (atomic_load(&j->durable) >= f->number)
        want_flush(c, atomic_load(&j->begun) + 1);
    return false;
}

static void answer_flushes(struct core *c)
{
    for (struct journal_flush **at = &c->journal.flushes; *at;) {
        struct journal_flush *f = *at;
        bool ok;
        if (!is_over(c, f, &ok)) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        f->done(f->context, ok);
        mem_free(f);
    }
}

/* --- The loop --- */

static void take_news(struct core *c)
{
    uint32_t news = atomic_load(&server->journal->news);
    if (news == c->journal.news)
        return;
    c->journal.news = news;
    touch_gated(c);
    answer_flushes(c);
    journal_end_sync_waits(c);
    if (!c->journal.gated && !c->journal.flushes && !c->journal.sync_waits)
        atomic_store(&c->journal.listens, false);
}

void journal_step(struct core *c)
{
    const struct journal *j = server->journal;
    if (!server->keyspace.options.journal && !atomic_load_explicit(&j->begun, memory_order_relaxed))
        return;
    journal_commit_step(c);
    journal_sync_step(c);
    if (atomic_load_explicit(&c->journal.listens, memory_order_relaxed))
        take_news(c);
}

int64_t journal_next_us(const struct core *c)
{
    const struct journal *j = server->journal;
    uint64_t begun = atomic_load_explicit(&j->begun, memory_order_relaxed);
    int64_t next_us = INT64_MAX;
    uint32_t committer = atomic_load(&j->committer);
    if (begun == 0 && c->journal.want == 0)
        return next_us;
    if (committer == c->index + 1 && j->state == JOURNAL_WRITE_ENDED)
        return c->now_us;
    if (committer == c->index + 1 && j->state == JOURNAL_WRITE_WAITS)
        next_us = j->retry_us;
    else if (committer == 0 && atomic_load(&j->durable) < begun)
        next_us = c->now_us;
    if (c->journal.want > begun) {
        int64_t due_us = c->journal.want_us + (journal_is_always() ? 0 : COMMIT_US);
        if (c->journal.want_us == 0 || (due_us <= c->now_us && committer != 0))
            due_us = c->now_us + COMMIT_US;
        next_us = due_us < next_us ? due_us : next_us;
    }
    int64_t sync_us = journal_sync_next_us(c);
    return sync_us < next_us ? sync_us : next_us;
}

/* What cannot be written is not waited for: whoever stops the server then has asked for that. */
bool journal_is_idle(const struct core *c)
{
    const struct journal *j = server->journal;
    bool has_work = atomic_load(&j->committer) == c->index + 1 ||
                    c->journal.want > atomic_load(&j->begun) || c->journal.flushes;
    return ring_file_count(c->ring) == 0 && (!has_work || atomic_load(&j->failing));
}

void journal_core_finish(struct core *c)
{
    while (ring_file_count(c->ring) > 0)
        ring_poll(c->ring, COMMIT_US);
    while (c->journal.flushes) {
        struct journal_flush *f = c->journal.flushes;
        c->journal.flushes = f->next;
        mem_free(f);
    }
}

/* --- Files --- */

void journal_file_drop(struct journal_file *f)
{
    /* The last one sees what the others did with it. */
    if (atomic_fetch_sub_explicit(&f->uses, 1, memory_order_acq_rel) != 1)
        return;
    close(f->fd);
    mem_free(f);
}

static void leave_file(struct core *c)
{
    struct journal *j = server->journal;
    struct journal_file *f = j->file;
    if (!f)
        return;
    journal_commit_rest(c);
    j->file = NULL;
    journal_file_drop(f);
}

void journal_switch(struct core *c, int fd, uint64_t size)
{
    struct journal *j = server->journal;
    leave_file(c);
    j->file = mem_alloc(sizeof(*j->file));
    *j->file = (struct journal_file){.fd = fd, .db = -1};
    atomic_init(&j->file->uses, 1);
    atomic_store_explicit(&j->size, size, memory_order_relaxed);
    server->keyspace.options.journal = true;
}

void journal_turn_off(struct core *c)
{
    leave_file(c);
    server->keyspace.options.journal = false;
    atomic_fetch_and(&server->write_faults, ~WRITE_FAULT_AOF);
    atomic_store(&server->journal->overloaded, false);
}

void journal_reset_stats(void)
{
    atomic_store_explicit(&server->journal->delayed_fsync, 0, memory_order_relaxed);
}

void journal_report(struct journal_report *r)
{
    const struct journal *j = server->journal;
    bool ok = !(atomic_load(&server->write_faults) & WRITE_FAULT_AOF);
    *r = (struct journal_report){
        .on = j->file != NULL, .last_write_ok = ok,
        .fsync_pending = atomic_load(&j->syncing),
        .last_error = atomic_load_explicit(&j->last_error, memory_order_relaxed),
        .size = atomic_load_explicit(&j->size, memory_order_relaxed),
        .buffered = atomic_load_explicit(&j->buffered, memory_order_relaxed),
        .delayed_fsync = atomic_load_explicit(&j->delayed_fsync, memory_order_relaxed),
        .commits = atomic_load(&j->durable),
    };
}
