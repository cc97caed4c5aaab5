/* Why commands that write are refused: the last snapshot, or the append-only file, could not be
 * written (server->write_faults). Texts are Redis's. On a core's thread; they stay good until the
 * end of its iteration. */
#pragma once

#include <stdatomic.h>

#include "server/server.h"

static inline bool write_fault_any(void)
{
    return __builtin_expect(
        atomic_load_explicit(&server->write_faults, memory_order_relaxed) != 0, 0);
}
const char *write_fault_text(void);
/* Of scripts that say what they do, and that they may write. */
const char *write_fault_script_text(void);
