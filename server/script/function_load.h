/* Bringing libraries in: FUNCTION LOAD and RESTORE. All cores stand still meanwhile.
 *
 * What cannot be brought in whole leaves everything as it was, and `error` says why. */
#pragma once

#include "server/script/function.h"

enum function_policy { FUNCTION_APPEND, FUNCTION_REPLACE, FUNCTION_FLUSH };

/* Returns the library, which is among `f` now; NULL where it cannot be. `replace`: the one of its
 * name goes. `timeout_ms`: see function_core_register. */
struct library *function_load(struct functions *f, struct slice code, bool replace,
                              int64_t timeout_ms, struct buf *error);
bool function_restore(struct slice payload, enum function_policy policy, struct buf *error);
/* Forgets all libraries, and frees the interpreters that they were run in. */
void function_flush(void);
