/* cjson for scripts: lua-cjson 2.1 as Debian packs it, with a guard in front of it.
 *
 * That release counts bytes in ints: a text whose escaped form could pass 2 GiB would overflow its
 * buffer. So what `encode` gets is measured first, and what is too large refused; `decode` refuses
 * texts of that size. cjson.new makes guarded tables as well. */
#include <lauxlib.h>

#include <limits.h>
#include <math.h>
#include <stdbool.h>

#include "server/script/libraries.h"

extern int luaopen_cjson(lua_State *l);

/* The buffer doubles as it grows, and must not pass INT_MAX in doing so. */
#define ENCODED_BYTES_MAX (INT_MAX / 2)
/* What a byte becomes at most: "\u0000". */
#define BYTES_EACH 6
/* More than a number, a word or a pair of brackets takes, with what separates it from the next. */
#define VALUE_BYTES 40
#define NULL_BYTES 5 /* "null," where an array has a hole */

/* The settings of one cjson table, as its own functions say them. */
struct limits {
    int depth;
    double sparse_ratio, sparse_safe;
};

struct measure {
    struct limits limits;
    double bytes; /* the most that what was seen so far can encode to */
    bool too_deep; /* encode will say so, and go no further */
};

/* An array without keys for some of its elements gets a null for each of them. */
static void add_holes(struct measure *m, double last, double items)
{
    const struct limits *limits = &m->limits;
    bool refused = limits->sparse_ratio > 0 && last > items * limits->sparse_ratio &&
                   last > limits->sparse_safe;
    if (!refused && last > items && last <= INT_MAX)
        m->bytes += (last - items) * NULL_BYTES;
}

/* Adds the value on top of the stack. False where nothing more needs to be seen. */
static bool add_value(lua_State *l, struct measure *m, int depth)
{
    m->bytes += VALUE_BYTES;
    if (lua_type(l, -1) == LUA_TSTRING)
        m->bytes += (double)lua_objlen(l, -1) * BYTES_EACH;
    if (lua_type(l, -1) != LUA_TTABLE)
        return m->bytes <= ENCODED_BYTES_MAX;
    m->too_deep = depth >= m->limits.depth || !lua_checkstack(l, 4);
    if (m->too_deep)
        return false;
    double last = 0, items = 0;
    bool array = true;
    lua_pushnil(l);
    while (lua_next(l, -2)) {
        double key = lua_type(l, -2) == LUA_TNUMBER ? lua_tonumber(l, -2) : 0;
        if (lua_type(l, -2) == LUA_TSTRING)
            m->bytes += (double)lua_objlen(l, -2) * BYTES_EACH;
        array &= key >= 1 && floor(key) == key;
        last = key > last ? key : last;
        items++;
        if (!add_value(l, m, depth + 1)) {
            lua_pop(l, 2);
            return false;
        }
        lua_pop(l, 1);
    }
    if (array)
        add_holes(m, last, items);
    return m->bytes <= ENCODED_BYTES_MAX;
}

/* Upvalues: the library's encode, encode_max_depth and encode_sparse_array. */
static struct limits read_limits(lua_State *l)
{
    struct limits limits;
    lua_pushvalue(l, lua_upvalueindex(2));
    lua_call(l, 0, 1);
    lua_pushvalue(l, lua_upvalueindex(3));
    lua_call(l, 0, 3);
    limits.depth = (int)lua_tointeger(l, -4);
    limits.sparse_ratio = lua_tonumber(l, -2);
    limits.sparse_safe = lua_tonumber(l, -1);
    lua_pop(l, 4);
    return limits;
}

/* Calls the library's function, the first upvalue, with the one argument. Its errors are to name
 * the script's line, as if the script had called it and not this file. */
static int pass_on(lua_State *l)
{
    lua_pushvalue(l, lua_upvalueindex(1));
    lua_insert(l, 1);
    if (lua_pcall(l, 1, 1, 0) == 0)
        return 1;
    luaL_where(l, 1);
    lua_insert(l, 1);
    lua_concat(l, 2);
    return lua_error(l);
}

static int encode(lua_State *l)
{
    luaL_argcheck(l, lua_gettop(l) == 1, 1, "expected 1 argument");
    struct measure m = {.limits = {.depth = 0}};
    if (lua_type(l, 1) == LUA_TTABLE)
        m.limits = read_limits(l);
    if (!add_value(l, &m, 0) && !m.too_deep)
        return luaL_error(l, "Cannot serialise, the result may be too large");
    return pass_on(l);
}

static int decode(lua_State *l)
{
    luaL_argcheck(l, lua_gettop(l) == 1, 1, "expected 1 argument");
    size_t size;
    luaL_checklstring(l, 1, &size);
    if (size > ENCODED_BYTES_MAX)
        return luaL_error(l, "Cannot parse, the text is too large");
    return pass_on(l);
}

/* Upvalue: the function that makes the library's table. */
static int make(lua_State *l)
{
    lua_settop(l, 0);
    lua_pushvalue(l, lua_upvalueindex(1));
    lua_call(l, 0, 1);
    lua_getfield(l, 1, "encode");
    lua_getfield(l, 1, "encode_max_depth");
    lua_getfield(l, 1, "encode_sparse_array");
    lua_pushcclosure(l, encode, 3);
    lua_setfield(l, 1, "encode");
    lua_getfield(l, 1, "decode");
    lua_pushcclosure(l, decode, 1);
    lua_setfield(l, 1, "decode");
    lua_getfield(l, 1, "new");
    lua_pushcclosure(l, make, 1);
    lua_setfield(l, 1, "new");
    return 1;
}

int script_open_json(lua_State *l)
{
    lua_pushcfunction(l, luaopen_cjson);
    lua_pushcclosure(l, make, 1);
    lua_call(l, 0, 1);
    return 1;
}
