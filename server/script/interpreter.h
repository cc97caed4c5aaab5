/* The interpreter: a Lua state as scripts see it, and running a function in it.
 *
 * Lua 5.1, the interpreter that Redis has (docs/adr/005-lua.md says why). A core has one for
 * scripts; its own memory, its own compiled functions; used on its core's thread only, whichever
 * shards that holds. Scripts share it one after the other, so nothing of one may stay for the next:
 * the tables that they can reach are read-only (sandbox.c), their globals are refused.
 *
 * Lua raises errors by longjmp: no function that may raise one holds memory that would be lost. Out
 * of memory ends the process (proto/mem.h), so everything that can only fail by that may be called
 * outside a protected call. */
#pragma once

#include <lua.h>

#include "proto/buf.h"
#include "server/inner.h"
#include "server/script/store.h"

/* Longest text of a number that becomes an argument. */
#define SCRIPT_NUMBER_SIZE 32
#define SCRIPT_ERROR_SIZE 512
/* Of a script's source, and of what string.rep makes: 5.1 counts in an int in places. */
#define INTERPRETER_TEXT_MAX ((size_t)512 * 1024 * 1024)

struct script_run;

struct interpreter {
    lua_State *lua;
    size_t bytes;            /* that the state has allocated */
    bool unwinds;            /* the next allocation is refused: see interpreter_unwind */
    struct script_run *run;  /* what runs now, or NULL */
    int globals;             /* registry references: the table of all globals, ... */
    int environment;         /* ... and what scripts see of it */
    int error_handler;
    uint32_t runs;           /* since the last step of the collector */
    /* The arguments and the reply of the command that a script calls; kept for the next. */
    struct slice *argv;
    char (*numbers)[SCRIPT_NUMBER_SIZE];
    uint32_t argv_cap;
    struct buf reply;
};

/* One run of a script or a function. */
struct script_run {
    struct inner inner;
    struct interpreter *interpreter;
    struct call *call;
    const char *name;        /* SHA1 or function, for messages */
    const struct slice *keys, *args;
    uint32_t key_count, arg_count;
    bool is_function;        /* gets KEYS and ARGV as arguments; else they are globals */
    unsigned protocol;       /* of the replies that it sees: redis.setresp */
    bool unwinding;          /* it strayed, or was killed: nothing in it may catch that */
    bool killed;
    char killed_at[LUA_IDSIZE + 16]; /* "user_script:1" */
    bool oom;                /* memory was short when it began, and it has not said that it may go
                              * on all the same: only until it has written */
    bool busy;               /* it has run past busy-reply-threshold */
    int64_t started_us;
};

/* A state with all libraries, sandboxed. `extend` (or NULL) is called before the tables become
 * read-only, with the table of all globals on top of the stack. */
void interpreter_init(struct interpreter *i, void (*extend)(lua_State *l));
void interpreter_deinit(struct interpreter *i);
/* The interpreter that a state belongs to. */
struct interpreter *interpreter_of(lua_State *l);

/* Compiles: leaves a function on the stack and returns true, or a message and false. Never takes
 * bytecode. `chunk` is Lua's chunk name, "@user_script". */
bool interpreter_compile(lua_State *l, struct slice source, const char *chunk);

/* Runs the function on top of the stack, which it takes, and writes the reply to r->call, whose
 * inner commands are begun and ended here. The caller has set what is above `protocol`, but for
 * `inner`: of that `read_only` and the declared keys, by `limits`. False where the script strayed:
 * there is no reply (see inner.h). */
struct script_limits {
    bool read_only;
    const struct slice *declared; /* the keys whose use is to be learned; NULL: no matter */
    uint32_t declared_count;
};
bool interpreter_run(struct interpreter *i, struct script_run *r,
                     const struct script_limits *limits);

/* Ends the run from within it, since it has strayed, or is killed. None of these returns.
 *
 * What ends it must not be caught, nor be seen by an error handler, which could go on for ever. Of
 * all errors only the one that memory has run out is shown to no handler; so that is the one. What
 * would catch it (sandbox.c) looks at `unwinding` and lets it go on. */
void interpreter_stray(lua_State *l, struct script_run *r);
void interpreter_kill(lua_State *l, struct script_run *r);
void interpreter_unwind(lua_State *l);

/* sandbox.c: everything that scripts see is made read-only. The table of all globals is on top of
 * the stack; what scripts see of it takes its place. */
void sandbox_close(lua_State *l);
/* Replaces those functions of Lua's own libraries that could be used to get out. The same table. */
void sandbox_replace(lua_State *l);

/* api.c: the tables `redis` and math's random functions, put into the table of all globals on top
 * of the stack. */
void api_open(lua_State *l);
/* Pushes {err = "CODE message"}: of "-CODE message", or with the code ERR of "message". */
void api_push_error(lua_State *l, const char *text, size_t size);

/* convert.c: pushes a reply, which is whole and well-formed, as Lua values. */
void convert_to_lua(lua_State *l, struct slice reply);
/* Writes the value on top of the stack as a reply, and takes it. `protocol` is the script's. */
void convert_to_reply(lua_State *l, unsigned protocol, struct reply *to);
/* The error on top of the stack as Redis words it; `to` ends with a zero byte. */
void convert_error(lua_State *l, const char *name, struct buf *to);
