/* Why commands that write are refused: the last snapshot, or the append-only file, could not be
 * written, or the data shall be on replicas, too; those that take memory: there is none left
 * (server->write_faults). Texts are Redis's. On a core's thread; they stay good until the end of
 * its iteration. */
#pragma once

#include <stdatomic.h>

#include "server/server.h"

static inline bool write_fault_any(void)
{
    return __builtin_expect(
        atomic_load_explicit(&server->write_faults, memory_order_relaxed) != 0, 0);
}
/* Of these, whether the disk is why. */
static inline bool write_fault_disk(void)
{
    uint32_t faults = atomic_load_explicit(&server->write_faults, memory_order_relaxed);
    return __builtin_expect((faults & (WRITE_FAULT_SAVE | WRITE_FAULT_AOF)) != 0, 0);
}
/* Whether nothing is to be written, however little it takes. */
static inline bool write_fault_all(void)
{
    uint32_t faults = atomic_load_explicit(&server->write_faults, memory_order_relaxed);
    return __builtin_expect(
        (faults & (WRITE_FAULT_SAVE | WRITE_FAULT_AOF | WRITE_FAULT_REPLICAS)) != 0, 0);
}
/* Memory is over the limit; and there is nothing to evict. */
static inline bool write_fault_is_memory(void)
{
    return atomic_load_explicit(&server->write_faults, memory_order_relaxed) & WRITE_FAULT_MEMORY;
}
static inline bool write_fault_is_oom(void)
{
    return atomic_load_explicit(&server->write_faults, memory_order_relaxed) & WRITE_FAULT_OOM;
}
/* There are no replicas: any number of them that is asked for is too many. */
void write_fault_apply_config(void);
const char *write_fault_text(void);
/* Of scripts that say what they do, and that they may write. */
const char *write_fault_script_text(void);
