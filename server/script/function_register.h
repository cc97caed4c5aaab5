/* redis.register_function: what a library's text calls while it is loaded.
 *
 * A library that is new gets the function; one that is only run again, on another core, finds the
 * function that it has by its name. */
#pragma once

#include <lua.h>

#include "server/script/function.h"

/* A library's text that is being run. */
struct function_load {
    struct library *library;
    bool fresh;          /* its functions are not known yet */
    int64_t deadline_ms; /* monotonic; 0: none */
    int *refs;           /* of its functions, by index */
};

void function_load_begin(struct function_load *load);
/* What is run in the interpreter that a state belongs to, or NULL. */
struct function_load *function_core_load(lua_State *l);
/* As Lua calls it. */
int function_register(lua_State *l);
