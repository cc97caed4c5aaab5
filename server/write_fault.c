/* Why commands that write are refused: see write_fault.h. */
#include "server/write_fault.h"

#include <stdio.h>

#include "server/core.h"
#include "server/persist/journal.h"

#define TEXT_SIZE 512
#define ERROR_TEXT_SIZE 128

#define NO_REPLICAS_TEXT "NOREPLICAS Not enough good replicas to write."

static bool by_save(void)
{
    return atomic_load_explicit(&server->write_faults, memory_order_relaxed) & WRITE_FAULT_SAVE;
}

void write_fault_apply_config(void)
{
    if (server->config.min_replicas_to_write && server->config.min_replicas_max_lag)
        atomic_fetch_or(&server->write_faults, WRITE_FAULT_REPLICAS);
    else
        atomic_fetch_and(&server->write_faults, ~WRITE_FAULT_REPLICAS);
}

/* `before`, and why the append-only file could not be written. */
static const char *with_cause(const char *before)
{
    struct journal_report r;
    char why[ERROR_TEXT_SIZE];
    char *text = arena_alloc(&core_self()->arena, TEXT_SIZE);
    journal_report(&r);
    snprintf(text, TEXT_SIZE, "%s%s", before, strerror_r(r.last_error, why, sizeof(why)));
    return text;
}

const char *write_fault_text(void)
{
    if (!write_fault_disk())
        return NO_REPLICAS_TEXT;
    if (by_save())
        return "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
               "persist to disk. Commands that may modify the data set are disabled, because this "
               "instance is configured to report errors during writes if RDB snapshotting fails "
               "(stop-writes-on-bgsave-error option). Please check the Redis logs for details "
               "about the RDB error.";
    return with_cause("MISCONF Errors writing to the AOF file: ");
}

const char *write_fault_script_text(void)
{
    if (!write_fault_disk())
        return NO_REPLICAS_TEXT;
    if (by_save())
        return "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
               "persist to disk. Writable scripts are blocked. Use 'no-writes' flag for read only "
               "scripts.";
    return with_cause("MISCONF Redis is configured to persist data to AOF, but it's currently "
                      "unable to persist to disk. Writable scripts are blocked. Use 'no-writes' "
                      "flag for read only scripts. AOF error: ");
}
