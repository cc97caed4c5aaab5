/* /healthz: whether the server serves, and if not, why: a line for each reason. That memory is
 * short is none: it is what maxmemory is for, and no restart or other server helps. */
#include "server/metrics/inside.h"
#include "server/persist/save.h"
#include "server/serve.h"
#include "server/server.h"
#include "server/write_fault.h"

static void append_stalls(const struct metrics *m, struct buf *to)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        /* Relaxed: a time, and nothing is read through it. */
        int64_t turned_ms = atomic_load_explicit(&server->cores[i]->turned_ms,
                                                 memory_order_relaxed);
        if (m->now_ms - turned_ms <= METRICS_STALL_MS || !turned_ms)
            continue;
        bool busy = serve_held(server->cores[i]) != HELD_NOT;
        buf_printf(to, busy ? "busy: core %u has been kept by a script for %lld s\n"
                            : "stalled: core %u has not gone round for %lld s\n",
                   i, (long long)(m->now_ms - turned_ms) / 1000);
    }
}

bool metrics_write_health(const struct metrics *m, struct buf *to)
{
    const struct metrics_core *first = m->slots[0].latest;
    uint32_t faults = atomic_load_explicit(&server->write_faults, memory_order_relaxed);
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed) || shutdown_in_progress())
        buf_append_text(to, "stopping: the server is shutting down\n");
    if (!first->taken_ms)
        buf_append_text(to, "starting: no core has answered yet\n");
    if (first->load.loading)
        buf_printf(to, "loading: %.0f%% of the dataset is in memory\n",
                   100 * info_ratio(first->load.loaded_bytes, first->load.total_bytes));
    if (faults & WRITE_FAULT_SAVE)
        buf_append_text(to, "misconf: the last snapshot could not be written, "
                            "writes are refused\n");
    if (faults & WRITE_FAULT_AOF)
        buf_append_text(to, "misconf: the append-only file cannot be written, "
                            "writes are refused\n");
    append_stalls(m, to);
    if (to->size)
        return false;
    buf_append_text(to, "ok\n");
    return true;
}
