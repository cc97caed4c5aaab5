/* The interpreter: see interpreter.h. */
#include "server/script/interpreter.h"

#include <assert.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/observe.h"
#include "server/script/busy.h"
#include "server/script/libraries.h"
#include "server/server.h"

/* Lua instructions between two looks at the clock. */
#define HOOK_COUNT 100000
/* The collector goes on by itself as memory is asked for; where scripts have left much behind it is
 * given a step (of so many KiB) now and then, so that idle times do not keep it. */
#define COLLECT_RUNS 64
#define COLLECT_BYTES ((size_t)1024 * 1024)
#define COLLECT_STEP_KIB 256
/* A longer reply buffer is not kept for the next command. */
#define REPLY_CAP_KEPT ((size_t)256 * 1024)

static void *allocate(void *context, void *p, size_t old_size, size_t size)
{
    struct interpreter *i = context;
    if (i->unwinds && size > old_size) {
        i->unwinds = false;
        return NULL;
    }
    i->bytes += size - (p ? old_size : 0);
    if (size)
        return mem_realloc(p, size);
    mem_free(p);
    return NULL;
}

struct interpreter *interpreter_of(lua_State *l)
{
    void *context;
    lua_getallocf(l, &context);
    return context;
}

/* An error outside a protected call is a mistake of ours. */
static int panic(lua_State *l)
{
    const char *text = lua_tostring(l, -1);
    log_write(&server->log, LOG_WARNING, "Lua error outside a script: %s", text ? text : "(none)");
    assert(!"a Lua error outside a script");
    return 0;
}

/* "ERR " and the error at 1, worded as by tostring, in its place. */
static void push_worded(lua_State *l)
{
    if (lua_isboolean(l, 1))
        lua_pushfstring(l, "ERR %s", lua_toboolean(l, 1) ? "true" : "false");
    else if (lua_isnil(l, 1))
        lua_pushliteral(l, "ERR nil");
    else if (lua_isstring(l, 1))
        lua_pushfstring(l, "ERR %s", lua_tostring(l, 1));
    else
        lua_pushfstring(l, "ERR %s: %p", luaL_typename(l, 1), lua_topointer(l, 1));
}

/* Gives an error the place where it was raised. A function of C is not that: its caller is. */
static int handle_error(lua_State *l)
{
    lua_Debug at;
    bool placed = lua_getstack(l, 1, &at) && lua_getinfo(l, "Sl", &at);
    if (placed && strcmp(at.what, "C") == 0)
        placed = lua_getstack(l, 2, &at) && lua_getinfo(l, "Sl", &at);
    lua_settop(l, 1);
    if (!lua_istable(l, 1)) {
        push_worded(l);
        lua_createtable(l, 0, 3);
        lua_insert(l, -2);
        lua_setfield(l, -2, "err");
    } else if (lua_getmetatable(l, 1)) {
        return 1; /* it may be a table of ours, or run code of its own */
    }
    if (!placed)
        return 1;
    lua_pushstring(l, at.source);
    lua_setfield(l, -2, "source");
    lua_pushinteger(l, at.currentline);
    lua_setfield(l, -2, "line");
    return 1;
}

/* Where a run was when it was killed. A function of C is not that place: its caller is. */
static void note_place(lua_State *l, struct script_run *r)
{
    lua_Debug at;
    bool placed = lua_getstack(l, 0, &at) && lua_getinfo(l, "Sl", &at);
    if (placed && strcmp(at.what, "C") == 0)
        placed = lua_getstack(l, 1, &at) && lua_getinfo(l, "Sl", &at);
    snprintf(r->killed_at, sizeof(r->killed_at), "%s:%d", placed ? at.short_src : "?",
             placed ? at.currentline : 0);
}

void interpreter_unwind(lua_State *l)
{
    interpreter_of(l)->unwinds = true;
    lua_newuserdata(l, 1);
    assert(!"Lua goes on without memory");
}

void interpreter_stray(lua_State *l, struct script_run *r)
{
    r->unwinding = true;
    interpreter_unwind(l);
}

void interpreter_kill(lua_State *l, struct script_run *r)
{
    log_write(&server->log, LOG_NOTICE, "Lua script killed by user with SCRIPT KILL.");
    note_place(l, r);
    r->unwinding = r->killed = true;
    interpreter_unwind(l);
}

/* Every HOOK_COUNT instructions. */
static void on_count(lua_State *l, lua_Debug *at)
{
    struct script_run *r = interpreter_of(l)->run;
    if (r && busy_look(r))
        interpreter_kill(l, r);
}

static void open_library(lua_State *l, lua_CFunction open, const char *name)
{
    lua_pushcfunction(l, open);
    lua_pushstring(l, name);
    lua_call(l, 1, 0);
}

static void open_libraries(lua_State *l)
{
    static const char *const removed[] = {"dofile", "loadfile", "print", "newproxy"};
    open_library(l, luaopen_base, "");
    open_library(l, luaopen_table, LUA_TABLIBNAME);
    open_library(l, luaopen_string, LUA_STRLIBNAME);
    open_library(l, luaopen_math, LUA_MATHLIBNAME);
    for (size_t i = 0; i < sizeof(removed) / sizeof(removed[0]); i++) {
        lua_pushnil(l);
        lua_setglobal(l, removed[i]);
    }
}

void interpreter_init(struct interpreter *i, void (*extend)(lua_State *l))
{
    *i = (struct interpreter){0};
    lua_State *l = i->lua = lua_newstate(allocate, i);
    assert(l);
    lua_atpanic(l, panic);
    open_libraries(l);
    script_open_libraries(l);
    lua_pushcfunction(l, handle_error);
    lua_pushvalue(l, -1);
    lua_setglobal(l, "__redis__err__handler");
    i->error_handler = luaL_ref(l, LUA_REGISTRYINDEX);
    lua_pushvalue(l, LUA_GLOBALSINDEX);
    api_open(l);
    if (extend)
        extend(l);
    sandbox_replace(l);
    lua_pushvalue(l, -1);
    i->globals = luaL_ref(l, LUA_REGISTRYINDEX);
    sandbox_close(l);
    i->environment = luaL_ref(l, LUA_REGISTRYINDEX);
    lua_sethook(l, on_count, LUA_MASKCOUNT, HOOK_COUNT);
    assert(lua_gettop(l) == 0);
}

void interpreter_deinit(struct interpreter *i)
{
    assert(!i->run);
    lua_close(i->lua);
    mem_free(i->argv);
    mem_free(i->numbers);
    buf_deinit(&i->reply);
}

/* Compiling. */

struct source {
    struct slice text;
    bool begun;
};

/* Compiled code begins with an escape character. Behind a blank it is text that is refused. */
static const char *read_source(lua_State *l, void *context, size_t *size)
{
    struct source *s = context;
    if (!s->begun && s->text.size && s->text.data[0] == LUA_SIGNATURE[0]) {
        s->begun = true;
        *size = 1;
        return " ";
    }
    const char *data = s->text.data;
    *size = s->text.size;
    s->begun = true;
    s->text.size = 0;
    return *size ? data : NULL;
}

bool interpreter_compile(lua_State *l, struct slice source, const char *chunk)
{
    struct source from = {.text = source};
    if (source.size > INTERPRETER_TEXT_MAX) {
        lua_pushliteral(l, "script too large");
        return false;
    }
    /* The parser of 5.1 does not hold on to the chunk's name: nothing may be collected now. */
    lua_gc(l, LUA_GCSTOP, 0);
    int status = lua_load(l, read_source, &from, chunk);
    lua_gc(l, LUA_GCRESTART, 0);
    return status == 0;
}

/* Running. */

static void push_array(lua_State *l, const struct slice *values, uint32_t count)
{
    lua_createtable(l, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushlstring(l, values[i].size ? values[i].data : "", values[i].size);
        lua_rawseti(l, -2, (int)i + 1);
    }
}

/* Behind the function on top: its arguments, or the globals set. Returns the arguments' count. */
static int push_arguments(struct interpreter *i, const struct script_run *r)
{
    lua_State *l = i->lua;
    if (r->is_function) {
        push_array(l, r->keys, r->key_count);
        push_array(l, r->args, r->arg_count);
        return 2;
    }
    lua_rawgeti(l, LUA_REGISTRYINDEX, i->globals);
    lua_pushliteral(l, "KEYS");
    push_array(l, r->keys, r->key_count);
    lua_rawset(l, -3);
    lua_pushliteral(l, "ARGV");
    push_array(l, r->args, r->arg_count);
    lua_rawset(l, -3);
    lua_pop(l, 1);
    return 0;
}

/* A script may have given itself, or the whole state, another environment. */
static void restore_environment(struct interpreter *i, int function)
{
    lua_State *l = i->lua;
    lua_rawgeti(l, LUA_REGISTRYINDEX, i->environment);
    if (!lua_iscfunction(l, function)) {
        lua_pushvalue(l, -1);
        lua_setfenv(l, function);
    }
    lua_replace(l, LUA_GLOBALSINDEX);
}

static void reply_failure(struct interpreter *i, struct script_run *r)
{
    struct buf *text = &i->reply;
    text->size = 0;
    if (r->killed) {
        reply_error(&r->call->reply,
                    "ERR Script killed by user with SCRIPT KILL... script: %s, on @%s.", r->name,
                    r->killed_at);
        return;
    }
    convert_error(i->lua, r->name, text);
    reply_error(&r->call->reply, "%s", text->data);
}

static void collect(struct interpreter *i)
{
    if (++i->runs < COLLECT_RUNS)
        return;
    i->runs = 0;
    if (i->bytes > COLLECT_BYTES)
        lua_gc(i->lua, LUA_GCSTEP, COLLECT_STEP_KIB);
}

static void after_run(struct interpreter *i, struct script_run *r, int base)
{
    i->run = NULL;
    if (r->busy)
        busy_end(r);
    lua_settop(i->lua, base);
    if (i->reply.cap > REPLY_CAP_KEPT)
        buf_deinit(&i->reply);
    collect(i);
}

/* What the script returns, or was ended by, is the error of a command that it has called. */
static bool is_counted_error(lua_State *l)
{
    if (!lua_istable(l, -1))
        return false;
    lua_pushliteral(l, "ignore_error_stats_update");
    lua_rawget(l, -2);
    bool counted = lua_toboolean(l, -1);
    lua_pop(l, 1);
    return counted;
}

bool interpreter_run(struct interpreter *i, struct script_run *r,
                     const struct script_limits *limits)
{
    lua_State *l = i->lua;
    int function = lua_gettop(l);
    assert(!i->run && function > 0);
    inner_begin(&r->inner, r->call, true);
    r->inner.in_script = true;
    r->inner.read_only = limits->read_only;
    if (r->inner.all && server->core_count > 1) {
        r->inner.declared = limits->declared;
        r->inner.declared_count = limits->declared_count;
    }
    if (__builtin_expect(server->observing.monitored, 0))
        observe_script(r->inner.core, r->call);
    r->interpreter = i;
    r->protocol = 2;
    restore_environment(i, function);
    lua_rawgeti(l, LUA_REGISTRYINDEX, i->error_handler);
    lua_insert(l, function);
    int count = push_arguments(i, r);
    i->run = r;
    int status = lua_pcall(l, count, 1, function);
    size_t mark = r->call->reply.out->size;
    r->call->error_counted = is_counted_error(l);
    if (!r->inner.strayed && status == 0)
        convert_to_reply(l, r->protocol, &r->call->reply);
    else if (!r->inner.strayed)
        reply_failure(i, r);
    after_run(i, r, function - 1);
    if (inner_end(&r->inner))
        return true;
    r->call->reply.out->size = mark;
    return false;
}
