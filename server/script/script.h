/* Scripts and functions: Lua.
 *
 * Every core has an interpreter of its own, made when it first runs a script. The sources are
 * shared: a table of scripts by SHA1 and of function libraries, guarded by a mutex that no running
 * script holds; what cores have compiled of them is thrown away when `epoch` says that SCRIPT FLUSH
 * or FUNCTION * came by. Both of those are cross transactions of all shards, so no script runs
 * meanwhile.
 *
 * Which shards a script runs with: those of its declared keys where it is known to keep to them,
 * else all. What is known is learned in runs with all shards, and forgotten when it strays (see
 * inner.h); it is kept with the shared script. */
#pragma once

#include "server/core.h"
#include "server/order.h"

/* The cores a script needs: for the rows' `reach`. */
void script_reach(struct session *s, const struct slice *argv, uint32_t argc,
                  struct core_mask *mask);
void function_reach(struct session *s, const struct slice *argv, uint32_t argc,
                    struct core_mask *mask);
/* A request's flags, with CMD_WRITE as the script or function that it runs has declared it: CLIENT
 * PAUSE holds back what may write. At home, in the gather step. */
uint32_t script_command_flags(const struct request *r);
/* Bytes of a core's interpreter: on the core's thread, or while it stands still. */
uint64_t script_core_memory(const struct core *c);
/* What a core's math.random starts with: Redis's start on the first core, and another sequence on
 * each, so that scripts on two cores do not draw the same numbers. */
uint64_t script_random_start(uint32_t core);
/* Frees a core's interpreter. */
void script_core_finish(struct core *c);
