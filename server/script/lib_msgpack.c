/* cmsgpack for scripts: MessagePack.
 *
 * Source: the MessagePack specification (strings, no bin and ext types). As lua-cmsgpack 0.4 has
 * it: numbers without a fraction are packed as the shortest integer, others as a float where
 * that loses nothing; a table whose keys are 1 to n is an array, any other a map; tables more
 * than 16 deep are nil. Integers are read as signed 64-bit ones. */
#include <lauxlib.h>

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/buf.h"
#include "server/script/libraries.h"

#define NESTING_MAX 16
/* Slots that packing a value takes at each depth: key, value, a copy of the key. */
#define SLOTS_EACH 4

/* --- Packing --- */

/* A type byte, then the low `size` bytes of `bits`, most significant first. */
static void put(struct buf *to, unsigned type, uint64_t bits, unsigned size)
{
    char *p = buf_reserve(to, 1 + sizeof(bits));
    *p++ = (char)type;
    for (unsigned i = size; i-- > 0;)
        *p++ = (char)(bits >> 8 * i & 0xff);
    to->size += 1 + size;
}

static void put_integer(struct buf *to, int64_t n)
{
    uint64_t bits = (uint64_t)n;
    if (n >= -32 && n <= 127)
        put(to, bits & 0xff, 0, 0);
    else if (n >= 0 && n <= UINT8_MAX)
        put(to, 0xcc, bits, 1);
    else if (n >= 0 && n <= UINT16_MAX)
        put(to, 0xcd, bits, 2);
    else if (n >= 0 && n <= UINT32_MAX)
        put(to, 0xce, bits, 4);
    else if (n >= 0)
        put(to, 0xcf, bits, 8);
    else if (n >= INT8_MIN)
        put(to, 0xd0, bits, 1);
    else if (n >= INT16_MIN)
        put(to, 0xd1, bits, 2);
    else if (n >= INT32_MIN)
        put(to, 0xd2, bits, 4);
    else
        put(to, 0xd3, bits, 8);
}

static void put_number(struct buf *to, double n)
{
    if (n >= -0x1p63 && n < 0x1p63 && (double)(int64_t)n == n) {
        put_integer(to, (int64_t)n);
        return;
    }
    float less = (float)n;
    if ((double)less == n) {
        uint32_t bits;
        memcpy(&bits, &less, sizeof(bits));
        put(to, 0xca, bits, 4);
        return;
    }
    uint64_t bits;
    memcpy(&bits, &n, sizeof(bits));
    put(to, 0xcb, bits, 8);
}

static void put_string(struct buf *to, struct slice s)
{
    if (s.size < 32)
        put(to, 0xa0 | (unsigned)s.size, 0, 0);
    else if (s.size <= UINT8_MAX)
        put(to, 0xd9, s.size, 1);
    else if (s.size <= UINT16_MAX)
        put(to, 0xda, s.size, 2);
    else
        put(to, 0xdb, s.size, 4);
    buf_append_slice(to, s);
}

/* `few`: the type of at most 15; `many`: of 16 bits, the next of 32. */
static void put_count(struct buf *to, unsigned few, unsigned many, size_t count)
{
    if (count <= 15)
        put(to, few | (unsigned)count, 0, 0);
    else if (count <= UINT16_MAX)
        put(to, many, count, 2);
    else
        put(to, many + 1, count, 4);
}

/* Counts the pairs of the table on top; true where their keys are 1 to that count. */
static bool is_array(lua_State *l, size_t *count)
{
    double last = 0;
    bool array = true;
    *count = 0;
    lua_pushnil(l);
    while (lua_next(l, -2)) {
        lua_pop(l, 1);
        double key = lua_type(l, -1) == LUA_TNUMBER ? lua_tonumber(l, -1) : 0;
        array &= key > 0 && key <= INT_MAX && (double)(int)key == key;
        last = key > last ? key : last;
        ++*count;
    }
    return array && last == (double)*count;
}

static void pack_value(lua_State *l, struct buf *to, int depth);

static void pack_table(lua_State *l, struct buf *to, int depth)
{
    size_t count;
    if (is_array(l, &count)) {
        put_count(to, 0x90, 0xdc, count);
        for (size_t i = 1; i <= count; i++) {
            lua_rawgeti(l, -1, (int)i);
            pack_value(l, to, depth + 1);
        }
        return;
    }
    put_count(to, 0x80, 0xde, count);
    lua_pushnil(l);
    while (lua_next(l, -2)) {
        lua_pushvalue(l, -2);
        pack_value(l, to, depth + 1);
        pack_value(l, to, depth + 1);
    }
}

/* Packs and pops the value on top of the stack. */
static void pack_value(lua_State *l, struct buf *to, int depth)
{
    int type = lua_type(l, -1);
    if (type == LUA_TSTRING) {
        struct slice s;
        s.data = lua_tolstring(l, -1, &s.size);
        put_string(to, s);
    } else if (type == LUA_TBOOLEAN) {
        put(to, lua_toboolean(l, -1) ? 0xc3 : 0xc2, 0, 0);
    } else if (type == LUA_TNUMBER) {
        put_number(to, lua_tonumber(l, -1));
    } else if (type == LUA_TTABLE && depth < NESTING_MAX) {
        pack_table(l, to, depth);
    } else {
        put(to, 0xc0, 0, 0);
    }
    lua_pop(l, 1);
}

static int pack(lua_State *l)
{
    int count = lua_gettop(l);
    if (count == 0)
        return luaL_argerror(l, 0, "MessagePack pack needs input.");
    /* Room for all depths: then nothing fails while the buffer is ours. */
    if (!lua_checkstack(l, SLOTS_EACH * (NESTING_MAX + 2)))
        return luaL_argerror(l, 0, "Too many arguments for MessagePack pack.");
    struct buf to;
    buf_init(&to);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(l, i);
        pack_value(l, &to, 0);
    }
    lua_pushlstring(l, to.data, to.size);
    buf_deinit(&to);
    return 1;
}

/* --- Unpacking --- */

struct source {
    lua_State *l;
    const unsigned char *at, *end;
};

static const unsigned char *take(struct source *s, size_t size)
{
    if ((size_t)(s->end - s->at) < size)
        luaL_error(s->l, "Missing bytes in input.");
    const unsigned char *p = s->at;
    s->at += size;
    return p;
}

static uint64_t take_unsigned(struct source *s, size_t size)
{
    const unsigned char *p = take(s, size);
    uint64_t n = 0;
    for (size_t i = 0; i < size; i++)
        n = n << 8 | p[i];
    return n;
}

static void unpack_value(struct source *s);

static void unpack_array(struct source *s, size_t count)
{
    lua_newtable(s->l);
    for (size_t i = 1; i <= count; i++) {
        lua_pushnumber(s->l, (double)i);
        unpack_value(s);
        lua_rawset(s->l, -3);
    }
}

static void unpack_map(struct source *s, size_t count)
{
    lua_newtable(s->l);
    for (size_t i = 0; i < count; i++) {
        unpack_value(s);
        unpack_value(s);
        lua_rawset(s->l, -3);
    }
}

static void unpack_text(struct source *s, size_t size)
{
    lua_pushlstring(s->l, (const char *)take(s, size), size);
}

static void unpack_float(struct source *s)
{
    uint32_t bits = (uint32_t)take_unsigned(s, 4);
    float n;
    memcpy(&n, &bits, sizeof(n));
    lua_pushnumber(s->l, n);
}

static void unpack_double(struct source *s)
{
    uint64_t bits = take_unsigned(s, 8);
    double n;
    memcpy(&n, &bits, sizeof(n));
    lua_pushnumber(s->l, n);
}

/* The types that are a byte of their own, 0xc0 to 0xdf. */
static void unpack_typed(struct source *s, unsigned type)
{
    switch (type) {
    case 0xc0: lua_pushnil(s->l); break;
    case 0xc2: lua_pushboolean(s->l, false); break;
    case 0xc3: lua_pushboolean(s->l, true); break;
    case 0xca: unpack_float(s); break;
    case 0xcb: unpack_double(s); break;
    case 0xcc: lua_pushnumber(s->l, (double)take_unsigned(s, 1)); break;
    case 0xcd: lua_pushnumber(s->l, (double)take_unsigned(s, 2)); break;
    case 0xce: lua_pushnumber(s->l, (double)take_unsigned(s, 4)); break;
    case 0xd0: lua_pushnumber(s->l, (int8_t)take_unsigned(s, 1)); break;
    case 0xd1: lua_pushnumber(s->l, (int16_t)take_unsigned(s, 2)); break;
    case 0xd2: lua_pushnumber(s->l, (int32_t)take_unsigned(s, 4)); break;
    case 0xcf:
    case 0xd3: lua_pushnumber(s->l, (double)(int64_t)take_unsigned(s, 8)); break;
    case 0xd9: unpack_text(s, take_unsigned(s, 1)); break;
    case 0xda: unpack_text(s, take_unsigned(s, 2)); break;
    case 0xdb: unpack_text(s, take_unsigned(s, 4)); break;
    case 0xdc: unpack_array(s, take_unsigned(s, 2)); break;
    case 0xdd: unpack_array(s, take_unsigned(s, 4)); break;
    case 0xde: unpack_map(s, take_unsigned(s, 2)); break;
    case 0xdf: unpack_map(s, take_unsigned(s, 4)); break;
    default: luaL_error(s->l, "Bad data format in input.");
    }
}

/* Pushes one value. How deep the input nests is bounded by the stack check. */
static void unpack_value(struct source *s)
{
    unsigned type = *take(s, 1);
    luaL_checkstack(s->l, 2,
                    "too many return values at once; "
                    "use unpack_one or unpack_limit instead.");
    if (type < 0x80)
        lua_pushnumber(s->l, type);
    else if (type < 0x90)
        unpack_map(s, type & 0xf);
    else if (type < 0xa0)
        unpack_array(s, type & 0xf);
    else if (type < 0xc0)
        unpack_text(s, type & 0x1f);
    else if (type < 0xe0)
        unpack_typed(s, type);
    else
        lua_pushnumber(s->l, (int8_t)type);
}

/* At most `limit` values from `offset` on, behind the offset of the next one or -1; both 0: all
 * values, without that. */
static int unpack_some(lua_State *l, lua_Integer limit, lua_Integer offset)
{
    size_t size;
    const char *data = luaL_checklstring(l, 1, &size);
    bool all = limit == 0 && offset == 0;
    if (offset < 0 || limit < 0)
        return luaL_error(l, "Invalid request to unpack with offset of %d and limit of %d.",
                          (int)offset, (int)size);
    if ((size_t)offset > size)
        return luaL_error(l, "Start offset %d greater than input length %d.", (int)offset,
                          (int)size);
    struct source s = {l, (const unsigned char *)data + offset,
                       (const unsigned char *)data + size};
    int count = 0;
    for (; s.at < s.end && (all || count < limit); count++)
        unpack_value(&s);
    if (all)
        return count;
    luaL_checkstack(l, 1, "in function mp_unpack_full");
    lua_pushinteger(l, s.at == s.end ? -1 : s.at - (const unsigned char *)data);
    lua_insert(l, 2);
    return count + 1;
}

/* Leaves the first argument, or none, so that results are what is above it. */
static void drop_others(lua_State *l)
{
    if (lua_gettop(l) > 1)
        lua_settop(l, 1);
}

static int unpack(lua_State *l)
{
    drop_others(l);
    return unpack_some(l, 0, 0);
}

static int unpack_one(lua_State *l)
{
    lua_Integer offset = luaL_optinteger(l, 2, 0);
    drop_others(l);
    return unpack_some(l, 1, offset);
}

static int unpack_limit(lua_State *l)
{
    lua_Integer limit = luaL_checkinteger(l, 2);
    lua_Integer offset = luaL_optinteger(l, 3, 0);
    drop_others(l);
    return unpack_some(l, limit, offset);
}

int script_open_msgpack(lua_State *l)
{
    static const luaL_Reg functions[] = {{"pack", pack},
                                         {"unpack", unpack},
                                         {"unpack_one", unpack_one},
                                         {"unpack_limit", unpack_limit},
                                         {NULL, NULL}};
    lua_newtable(l);
    for (const luaL_Reg *r = functions; r->name; r++) {
        lua_pushcfunction(l, r->func);
        lua_setfield(l, -2, r->name);
    }
    lua_pushliteral(l, "cmsgpack");
    lua_setfield(l, -2, "_NAME");
    lua_pushliteral(l, "lua-cmsgpack 0.4.0");
    lua_setfield(l, -2, "_VERSION");
    lua_pushliteral(l, "MessagePack C implementation for Lua");
    lua_setfield(l, -2, "_DESCRIPTION");
    return 1;
}
