/* The journal, appendfsync everysec: what was written is synced once a second, beside the writes
 * that come meanwhile, by the core that wrote last. */
#include "server/latency.h"
#include "server/persist/journal_inside.h"
#include "server/persist/save.h"
#include "server/server.h"

#define SYNC_US 1000000

void journal_sync_note(struct core *c)
{
    struct journal *j = server->journal;
    atomic_store(&j->syncer, c->index + 1);
    atomic_store(&j->unsynced, true);
}

static bool is_mine(const struct core *c)
{
    struct journal *j = server->journal;
    return atomic_load_explicit(&j->syncer, memory_order_relaxed) == c->index + 1 &&
           server->config.appendfsync == SYNC_EVERYSEC && atomic_load(&j->unsynced) && j->file;
}

static void on_synced(void *context, struct file_write *w, int error)
{
    struct core *c = context;
    (void)w;
    server->journal->sync_error = error;
    atomic_store(&server->journal->sync_ended, c->index + 1);
}

static void settle(struct core *c)
{
    struct journal *j = server->journal;
    atomic_store(&j->sync_ended, 0);
    latency_note(c, "aof-fsync-everysec", latency_now_us() - j->sync_begun_us);
    journal_file_drop(j->sync_file);
    if (j->sync_error) {
        atomic_store_explicit(&j->last_error, j->sync_error, memory_order_relaxed);
        if (!atomic_exchange(&j->sync_failed, true))
            log_write(&server->log, LOG_WARNING, "Fail to fsync the AOF file: %s",
                      strerror(j->sync_error));
        if (server->keyspace.options.journal)
            atomic_fetch_or(&server->write_faults, WRITE_FAULT_AOF);
        journal_sync_note(c); /* to be tried again */
    } else {
        if (atomic_exchange(&j->sync_failed, false) && !atomic_load(&j->failing))
            atomic_fetch_and(&server->write_faults, ~WRITE_FAULT_AOF);
        if (atomic_load(&j->synced) < j->sync_number)
            atomic_store(&j->synced, j->sync_number);
    }
    atomic_store(&j->syncing, false);
    journal_tell(c);
}

void journal_sync_step(struct core *c)
{
    struct journal *j = server->journal;
    if (atomic_load_explicit(&j->sync_ended, memory_order_relaxed) == c->index + 1)
        settle(c);
    if (!is_mine(c) || c->now_us < atomic_load_explicit(&j->sync_due_us, memory_order_relaxed))
        return;
    if (server->config.no_appendfsync_on_rewrite && save_in_progress())
        return;
    atomic_store_explicit(&j->sync_due_us, c->now_us + SYNC_US, memory_order_relaxed);
    if (atomic_exchange(&j->syncing, true)) {
        atomic_fetch_add_explicit(&j->delayed_fsync, 1, memory_order_relaxed);
        return;
    }
    atomic_store(&j->unsynced, false);
    j->sync_number = atomic_load(&j->durable);
    j->sync_file = j->file;
    j->sync_begun_us = latency_now_us();
    atomic_fetch_add_explicit(&j->sync_file->uses, 1, memory_order_relaxed);
    j->sync = (struct file_write){
        .fd = j->file->fd, .sync = true, .done = on_synced, .context = c,
    };
    ring_write_file(c->ring, &j->sync);
}

int64_t journal_sync_next_us(const struct core *c)
{
    struct journal *j = server->journal;
    if (!is_mine(c))
        return INT64_MAX;
    int64_t due_us = atomic_load_explicit(&j->sync_due_us, memory_order_relaxed);
    bool waits = server->config.no_appendfsync_on_rewrite && save_in_progress();
    return waits ? c->next_cron_us : due_us;
}
