/* The sandbox: what scripts see is read-only, and what could lead out of it is replaced.
 *
 * Lua 5.1 has no read-only tables (Redis has patched its copy). So scripts are given *stands*:
 * empty tables whose metatable reads from the real one and refuses assignments. As a stand has no
 * field that could be assigned to, every assignment meets __newindex. The few functions of Lua's
 * libraries that go past metatables know stands, and treat them as Redis's treat read-only tables;
 * no script gets to see a real table, or the metatable of a stand.
 *
 * Also replaced: what catches errors (a run that strays or is killed must not be caught), what
 * loads code (compiled code is refused, as it could do anything), what governs the collector. */
#include <lauxlib.h>

#include "server/script/interpreter.h"

#define READ_ONLY_ERROR "Attempt to modify a readonly table"

/* Bytes of a pattern, as opposed to a plain text to look for. */
#define PATTERN_SIZE_MAX 10000

/* In a stand's metatable its address is the key of the real table: no script can make that key. */
static const char stand_key;

/* True where the value is a stand; then the real table is pushed. */
static bool push_real(lua_State *l, int index)
{
    if (!lua_istable(l, index) || !lua_getmetatable(l, index))
        return false;
    lua_pushlightuserdata(l, (void *)&stand_key);
    lua_rawget(l, -2);
    lua_remove(l, -2);
    if (!lua_isnil(l, -1))
        return true;
    lua_pop(l, 1);
    return false;
}

static bool is_stand(lua_State *l, int index)
{
    if (!push_real(l, index))
        return false;
    lua_pop(l, 1);
    return true;
}

static int refuse_assignment(lua_State *l)
{
    return luaL_error(l, READ_ONLY_ERROR);
}

static bool has_any(const char *text, size_t size, const char *set)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] && strchr(set, text[i]))
            return true;
    return false;
}

/* As a function of Lua's own would: without a place. */
static int refuse(lua_State *l)
{
    lua_pushliteral(l, READ_ONLY_ERROR);
    return lua_error(l);
}

static int refuse_unknown_global(lua_State *l)
{
    if (!lua_isstring(l, 2))
        return luaL_error(l, "Second argument to luaProtectedTableError must be a string or "
                             "number");
    return luaL_error(l, "Script attempted to access nonexistent global variable '%s'",
                      lua_tostring(l, 2));
}

/* Functions that are Lua's own but for stands. The original, which has no upvalues itself, is the
 * first upvalue: it is called as if the script had called it. */

static int original(lua_State *l)
{
    return lua_tocfunction(l, lua_upvalueindex(1))(l);
}

static int changing(lua_State *l)
{
    return is_stand(l, 1) ? refuse(l) : original(l);
}

static int reading(lua_State *l)
{
    if (push_real(l, 1))
        lua_replace(l, 1);
    return original(l);
}

/* A stand has the metatable that the real one shows, if any. */
static int get_metatable(lua_State *l)
{
    if (!push_real(l, 1))
        return original(l);
    if (!luaL_getmetafield(l, -1, "__metatable"))
        lua_pushnil(l);
    return 1;
}

static int pairs(lua_State *l)
{
    luaL_checktype(l, 1, LUA_TTABLE);
    lua_pushvalue(l, lua_upvalueindex(is_stand(l, 1) ? 2 : 1));
    lua_pushvalue(l, 1);
    lua_pushnil(l);
    return 3;
}

/* 5.1 matches patterns by recursion on the C stack, as deep as the pattern has items. */
static int matching(lua_State *l)
{
    size_t size = lua_isstring(l, 2) ? lua_objlen(l, 2) : 0;
    if (size > PATTERN_SIZE_MAX && has_any(lua_tostring(l, 2), size, "^$*+?.([%-"))
        return luaL_error(l, "pattern too complex");
    return original(l);
}

/* 5.1 counts the results in an int, and where that overflows writes far beyond its stack
 * (CVE-2025-46817). */
static int unpack_table(lua_State *l)
{
    luaL_checktype(l, 1, LUA_TTABLE);
    int64_t first = luaL_optint(l, 2, 1);
    int64_t last = lua_isnoneornil(l, 3) ? (int64_t)lua_objlen(l, 1) : luaL_checkint(l, 3);
    if (last - first >= LUAI_MAXCSTACK)
        return luaL_error(l, "too many results to unpack");
    return original(l);
}

/* It cannot be interrupted, and 5.1 would go on until no memory is left. */
static int repeat(lua_State *l)
{
    size_t size;
    luaL_checklstring(l, 1, &size);
    if (size && luaL_checknumber(l, 2) > (double)(INTERPRETER_TEXT_MAX / size))
        return luaL_error(l, "resulting string too large");
    return original(l);
}

/* Catching errors. */

static void rethrow(lua_State *l)
{
    const struct script_run *r = interpreter_of(l)->run;
    if (r && r->unwinding)
        interpreter_unwind(l);
}

static int catching(lua_State *l)
{
    int results = original(l);
    rethrow(l);
    return results;
}

/* Redis 7 raises tables; scripts that were written for older versions get to see their text. */
static int protected_call(lua_State *l)
{
    luaL_checkany(l, 1);
    lua_pushboolean(l, true);
    lua_insert(l, 1);
    if (lua_pcall(l, lua_gettop(l) - 2, LUA_MULTRET, 0) == 0)
        return lua_gettop(l);
    rethrow(l);
    if (lua_istable(l, -1)) {
        lua_pushliteral(l, "err");
        lua_rawget(l, -2);
        if (!lua_isstring(l, -1))
            lua_pop(l, 1);
    }
    lua_pushboolean(l, false);
    lua_insert(l, -2);
    return 2;
}

/* Loading code. */

static int compile(lua_State *l, const char *text, size_t size, const char *chunk)
{
    if (interpreter_compile(l, (struct slice){text, size}, chunk))
        return 1;
    lua_pushnil(l);
    lua_insert(l, -2);
    return 2;
}

static int load_string(lua_State *l)
{
    size_t size;
    const char *text = luaL_checklstring(l, 1, &size);
    return compile(l, text, size, luaL_optstring(l, 2, text));
}

/* Pieces until nil or "". */
static int load_pieces(lua_State *l)
{
    const char *chunk = luaL_optstring(l, 2, "=(load)");
    luaL_checktype(l, 1, LUA_TFUNCTION);
    lua_settop(l, 2);
    lua_pushliteral(l, "");
    for (;;) {
        lua_pushvalue(l, 1);
        if (lua_pcall(l, 0, 1, 0) != 0) {
            rethrow(l);
            lua_pushnil(l);
            lua_insert(l, -2);
            return 2;
        }
        if (lua_isnil(l, -1) || (lua_isstring(l, -1) && lua_objlen(l, -1) == 0))
            break;
        if (!lua_isstring(l, -1)) {
            lua_pushnil(l);
            lua_pushliteral(l, "reader function must return a string");
            return 2;
        }
        lua_concat(l, 2);
    }
    lua_pop(l, 1);
    size_t size;
    const char *text = lua_tolstring(l, 3, &size);
    return compile(l, text, size, chunk);
}

/* How the collector goes is not a script's business: it would be the next one's too. */
static int collect_garbage(lua_State *l)
{
    static const char *const options[] = {"stop",  "restart",  "collect",    "count",
                                          "step", "setpause", "setstepmul", NULL};
    int option = luaL_checkoption(l, 1, "collect", options);
    int data = luaL_optint(l, 2, 0);
    if (option == LUA_GCCOUNT) {
        lua_pushnumber(l, lua_gc(l, LUA_GCCOUNT, 0) + lua_gc(l, LUA_GCCOUNTB, 0) / 1024.0);
        return 1;
    }
    bool harmless = option == 2 || option == 4;
    int result = harmless ? lua_gc(l, option == 2 ? LUA_GCCOLLECT : LUA_GCSTEP, data) : 0;
    if (option == 4)
        lua_pushboolean(l, result);
    else
        lua_pushinteger(l, result);
    return 1;
}

/* Installing them: the table whose functions are replaced is on top. */

struct replacement {
    const char *name;
    lua_CFunction function;
};

static void replace(lua_State *l, const struct replacement *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        lua_getfield(l, -1, list[i].name);
        lua_pushcclosure(l, list[i].function, 1);
        lua_setfield(l, -2, list[i].name);
    }
}

void sandbox_replace(lua_State *l)
{
    static const struct replacement base[] = {
        {"getmetatable", get_metatable}, {"setmetatable", changing}, {"rawset", changing},
        {"rawget", reading},             {"pcall", protected_call},  {"xpcall", catching},
        {"loadstring", load_string},     {"load", load_pieces},
        {"collectgarbage", collect_garbage}, {"unpack", unpack_table},
    };
    static const struct replacement table[] = {{"insert", changing}, {"setn", changing}};
    static const struct replacement string[] = {
        {"find", matching}, {"match", matching}, {"gmatch", matching}, {"gfind", matching},
        {"gsub", matching}, {"rep", repeat},
    };
    static const struct replacement coroutine[] = {{"resume", catching}};
    lua_getfield(l, -1, "next");
    lua_pushvalue(l, -1);
    lua_pushvalue(l, -1);
    lua_pushcclosure(l, reading, 1);
    lua_pushvalue(l, -1);
    lua_setfield(l, -5, "next");
    lua_pushcclosure(l, pairs, 2);
    lua_setfield(l, -3, "pairs");
    lua_pop(l, 1);
    replace(l, base, sizeof(base) / sizeof(base[0]));
    lua_getfield(l, -1, "table");
    replace(l, table, sizeof(table) / sizeof(table[0]));
    lua_pop(l, 1);
    lua_getfield(l, -1, "string");
    replace(l, string, sizeof(string) / sizeof(string[0]));
    lua_pop(l, 1);
    lua_getfield(l, -1, "coroutine");
    replace(l, coroutine, sizeof(coroutine) / sizeof(coroutine[0]));
    lua_pop(l, 1);
}

/* Stands. */

/* Puts a stand in place of the table on top. */
static void make_stand(lua_State *l)
{
    lua_newtable(l);
    lua_createtable(l, 0, 3);
    lua_pushvalue(l, -3);
    lua_setfield(l, -2, "__index");
    lua_pushcfunction(l, refuse_assignment);
    lua_setfield(l, -2, "__newindex");
    lua_pushlightuserdata(l, (void *)&stand_key);
    lua_pushvalue(l, -4);
    lua_rawset(l, -3);
    lua_setmetatable(l, -2);
    lua_remove(l, -2);
}

/* Puts stands in place of the tables that are fields of the table on top, and of theirs; `globals`
 * (an absolute index) refers to itself. */
static void close_fields(lua_State *l, int globals)
{
    luaL_checkstack(l, 8, "nested libraries");
    lua_pushnil(l);
    while (lua_next(l, -2)) {
        if (lua_istable(l, -1) && !lua_rawequal(l, -1, globals) && !is_stand(l, -1)) {
            close_fields(l, globals);
            make_stand(l);
            lua_pushvalue(l, -2);
            lua_pushvalue(l, -2);
            lua_rawset(l, -5); /* a field that exists: the traversal goes on */
        }
        lua_pop(l, 1);
    }
}

/* The metatable of all strings is shown as one whose __index is the stand. */
static void close_strings(lua_State *l)
{
    lua_pushliteral(l, "");
    lua_getmetatable(l, -1);
    lua_newtable(l);
    lua_getfield(l, -4, "string");
    lua_setfield(l, -2, "__index");
    make_stand(l);
    lua_setfield(l, -2, "__metatable");
    lua_pop(l, 2);
}

void sandbox_close(lua_State *l)
{
    close_fields(l, lua_gettop(l));
    close_strings(l);
    lua_createtable(l, 0, 2);
    lua_pushcfunction(l, refuse_unknown_global);
    lua_setfield(l, -2, "__index");
    lua_newtable(l);
    lua_pushcfunction(l, refuse_unknown_global);
    lua_setfield(l, -2, "__index");
    make_stand(l);
    lua_setfield(l, -2, "__metatable");
    lua_setmetatable(l, -2);
    lua_pushvalue(l, -1);
    make_stand(l);
    lua_pushvalue(l, -1);
    lua_setfield(l, -3, "_G");
    lua_remove(l, -2);
}
