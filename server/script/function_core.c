/* The functions of one core: see function_core.h. */
#include "server/script/function_core.h"

#include <assert.h>
#include <lauxlib.h>
#include <time.h>

#include "proto/mem.h"
#include "server/script/function_register.h"
#include "server/script/interpreter.h"
#include "server/server.h"

/* Lua instructions between two looks at the clock. */
#define HOOK_COUNT 100000

struct function_core {
    struct interpreter interpreter; /* first: interpreter_of finds it */
    int load_globals; /* registry references: what a library's text sees, ... */
    int environment;  /* ... and the table that is the environment of it and its functions */
    struct function_load *load; /* what is run now, or NULL */
};

static struct function_core *of(lua_State *l)
{
    return (struct function_core *)interpreter_of(l);
}

struct function_load *function_core_load(lua_State *l)
{
    return of(l)->load;
}

/* --- The environment --- */

/* `redis` as a library's text sees it: of the full table on top, which it takes. */
static void push_load_api(lua_State *l)
{
    static const char *const names[] = {"log", "LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE",
                                        "LOG_WARNING", "REDIS_VERSION", "REDIS_VERSION_NUM"};
    lua_newtable(l);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        lua_getfield(l, -2, names[i]);
        lua_setfield(l, -2, names[i]);
    }
    lua_pushcfunction(l, function_register);
    lua_setfield(l, -2, "register_function");
    lua_remove(l, -2);
}

/* Sets which table the environment, on top of the stack, reads from. */
static void read_from(lua_State *l, int ref)
{
    lua_getmetatable(l, -1);
    lua_rawgeti(l, LUA_REGISTRYINDEX, ref);
    lua_setfield(l, -2, "__index");
    lua_pop(l, 1);
}

/* sandbox_close leaves the stand of a table, whose metatable says where it reads from. It looks for
 * `string`, which shows in the metatable of strings; a library's text does not see that, nor _G. */
static void make_environment(struct function_core *f)
{
    lua_State *l = f->interpreter.lua;
    lua_newtable(l);
    lua_rawgeti(l, LUA_REGISTRYINDEX, f->interpreter.globals);
    lua_getfield(l, -1, "string");
    lua_setfield(l, -3, "string");
    lua_getfield(l, -1, "redis");
    push_load_api(l);
    lua_setfield(l, -3, "redis");
    lua_pop(l, 1);
    lua_pushvalue(l, -1);
    f->load_globals = luaL_ref(l, LUA_REGISTRYINDEX);
    sandbox_close(l);
    f->environment = luaL_ref(l, LUA_REGISTRYINDEX);
    lua_rawgeti(l, LUA_REGISTRYINDEX, f->load_globals);
    lua_pushnil(l);
    lua_setfield(l, -2, "string");
    lua_pushnil(l);
    lua_setfield(l, -2, "_G");
    /* What `redis` lacks while loading is a mistake as well, and worded as one. */
    lua_getfield(l, -1, "redis");
    lua_getmetatable(l, -1);
    lua_getfield(l, -1, "__index");
    lua_getmetatable(l, -4);
    lua_setmetatable(l, -2);
    lua_settop(l, 0);
}

static struct function_core *get(struct core *c)
{
    if (!c->functions) {
        c->functions = mem_alloc_zeroed(sizeof(*c->functions));
        interpreter_init(&c->functions->interpreter, NULL);
        make_environment(c->functions);
    }
    return c->functions;
}

/* --- Running a library's text --- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void on_count(lua_State *l, lua_Debug *at)
{
    static const char text[] = "FUNCTION LOAD timeout";
    const struct function_load *load = of(l)->load;
    if (load->deadline_ms == 0 || now_ms() < load->deadline_ms)
        return;
    api_push_error(l, text, sizeof(text) - 1);
    lua_error(l);
}

/* The text of the error on top: of a table, its field. */
static void append_error(lua_State *l, struct buf *error)
{
    buf_append_text(error, "Error registering functions: ");
    if (lua_istable(l, -1)) {
        lua_pushliteral(l, "err");
        lua_rawget(l, -2);
    } else {
        buf_append_text(error, "ERR ");
    }
    const char *text = lua_tostring(l, -1);
    buf_append_text(error, text ? text : "unknown error");
}

static bool call_text(struct function_core *f, struct buf *error)
{
    lua_State *l = f->interpreter.lua;
    lua_Hook hook = lua_gethook(l);
    int mask = lua_gethookmask(l), count = lua_gethookcount(l);
    lua_sethook(l, on_count, LUA_MASKCOUNT, HOOK_COUNT);
    bool done = lua_pcall(l, 0, 0, 0) == 0;
    lua_sethook(l, hook, mask, count);
    if (!done)
        append_error(l, error);
    return done;
}

static bool run_text(struct function_core *f, const struct library *library, struct buf *error)
{
    lua_State *l = f->interpreter.lua;
    struct slice text = {library->code.data + library->line_size,
                         library->code.size - library->line_size};
    if (!interpreter_compile(l, text, "@user_function")) {
        buf_printf(error, "Error compiling function: %s", lua_tostring(l, -1));
        lua_settop(l, 0);
        return false;
    }
    lua_rawgeti(l, LUA_REGISTRYINDEX, f->environment);
    read_from(l, f->load_globals);
    lua_setfenv(l, -2);
    bool done = call_text(f, error);
    lua_rawgeti(l, LUA_REGISTRYINDEX, f->environment);
    read_from(l, f->interpreter.globals);
    lua_settop(l, 0);
    return done;
}

static bool load(struct core *c, struct library *library, bool fresh, int64_t timeout_ms,
                 struct buf *error)
{
    struct function_core *f = get(c);
    assert(!f->load && !f->interpreter.run && !library->refs[c->index]);
    struct function_load load = {
        .library = library, .fresh = fresh,
        .deadline_ms = timeout_ms ? now_ms() + timeout_ms : 0,
    };
    function_load_begin(&load);
    f->load = &load;
    bool done = run_text(f, library, error);
    f->load = NULL;
    library->refs[c->index] = load.refs;
    return done;
}

bool function_core_register(struct core *c, struct library *l, int64_t timeout_ms,
                            struct buf *error)
{
    if (!load(c, l, true, timeout_ms, error))
        return false;
    if (l->function_count)
        return true;
    buf_append_text(error, "No functions registered");
    return false;
}

struct interpreter *function_core_push(struct core *c, const struct function *function,
                                       struct buf *error)
{
    struct library *library = function->library;
    if (!library->refs[c->index] && !load(c, library, false, 0, error)) {
        function_core_release(c->index, library->refs[c->index], library->function_count);
        library->refs[c->index] = NULL;
        return NULL;
    }
    struct interpreter *i = &c->functions->interpreter;
    lua_rawgeti(i->lua, LUA_REGISTRYINDEX, library->refs[c->index][function->index]);
    if (lua_isfunction(i->lua, -1))
        return i;
    /* Its text does not register the same functions each time it is run. */
    lua_pop(i->lua, 1);
    buf_append_text(error, "Function not found");
    return NULL;
}

void function_core_release(uint32_t core, int *refs, uint32_t count)
{
    struct function_core *f = server->cores[core]->functions;
    for (uint32_t i = 0; i < count && f; i++)
        luaL_unref(f->interpreter.lua, LUA_REGISTRYINDEX, refs[i]);
    mem_free(refs);
}

uint64_t function_core_memory(const struct core *c)
{
    return c->functions ? c->functions->interpreter.bytes : 0;
}

void function_core_finish(struct core *c)
{
    if (!c->functions)
        return;
    interpreter_deinit(&c->functions->interpreter);
    mem_free(c->functions);
    c->functions = NULL;
}
