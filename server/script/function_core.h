/* The functions of one core: an interpreter for them, and what libraries have registered there.
 *
 * A library's text sees only `redis` with register_function, log and the constants while it is run;
 * its functions see what scripts see. Between runs the text's own locals stay, so a library that
 * keeps something in them keeps it for each core apart. */
#pragma once

#include "server/core.h"
#include "server/script/function.h"

struct interpreter;

/* FUNCTION LOAD ends a library that takes longer. */
#define FUNCTION_LOAD_MS 500

/* Runs the text of a library that has just been created, which registers its functions. False with
 * the reason in `error`. `timeout_ms` 0: none. */
bool function_core_register(struct core *c, struct library *l, int64_t timeout_ms,
                            struct buf *error);
/* Pushes a function on the stack of the core's interpreter, having run its library's text where
 * that was not run here before. NULL where it cannot be: `error` says why. */
struct interpreter *function_core_push(struct core *c, const struct function *function,
                                       struct buf *error);
/* Lets go of a library's functions: of any core that stands still. Frees `refs`. */
void function_core_release(uint32_t core, int *refs, uint32_t count);
/* Bytes of a core's interpreter: on the core's thread, or while it stands still. */
uint64_t function_core_memory(const struct core *c);
void function_core_finish(struct core *c);
