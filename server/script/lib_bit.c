/* bit for scripts: operations on 32-bit words.
 *
 * Semantics are those of Lua BitOp 1.0.2 by its documentation: arguments are numbers taken
 * modulo 2^32 (rounded to the nearest integer), results signed. Not Debian's lua-bitop: its
 * tohex writes below its buffer for the width -2^31. */
#include <lauxlib.h>

#include <stdint.h>
#include <string.h>

#include "server/script/libraries.h"

#define DIGITS_MAX 8

/* Adding 2^52 + 2^51 leaves the integer part in the low bits of the double. */
static uint32_t argument(lua_State *l, int i)
{
    double n = luaL_checknumber(l, i) + 0x1.8p52;
    uint64_t bits;
    memcpy(&bits, &n, sizeof(bits));
    return (uint32_t)bits;
}

static int result(lua_State *l, uint32_t word)
{
    lua_pushnumber(l, (int32_t)word);
    return 1;
}

static int tobit(lua_State *l)
{
    return result(l, argument(l, 1));
}

static int bnot(lua_State *l)
{
    return result(l, ~argument(l, 1));
}

static int bswap(lua_State *l)
{
    return result(l, __builtin_bswap32(argument(l, 1)));
}

static int band(lua_State *l)
{
    uint32_t word = argument(l, 1);
    for (int i = lua_gettop(l); i > 1; i--)
        word &= argument(l, i);
    return result(l, word);
}

static int bor(lua_State *l)
{
    uint32_t word = argument(l, 1);
    for (int i = lua_gettop(l); i > 1; i--)
        word |= argument(l, i);
    return result(l, word);
}

static int bxor(lua_State *l)
{
    uint32_t word = argument(l, 1);
    for (int i = lua_gettop(l); i > 1; i--)
        word ^= argument(l, i);
    return result(l, word);
}

/* Only the low five bits of a distance count. */
static int lshift(lua_State *l)
{
    uint32_t word = argument(l, 1);
    return result(l, word << (argument(l, 2) & 31));
}

static int rshift(lua_State *l)
{
    uint32_t word = argument(l, 1);
    return result(l, word >> (argument(l, 2) & 31));
}

static int arshift(lua_State *l)
{
    uint32_t word = argument(l, 1);
    return result(l, (uint32_t)((int32_t)word >> (argument(l, 2) & 31)));
}

static int rol(lua_State *l)
{
    uint32_t word = argument(l, 1), by = argument(l, 2) & 31;
    return result(l, word << by | word >> (-by & 31));
}

static int ror(lua_State *l)
{
    uint32_t word = argument(l, 1), by = argument(l, 2) & 31;
    return result(l, word >> by | word << (-by & 31));
}

/* As many digits as asked for, the lowest; a negative count asks for upper case. */
static int tohex(lua_State *l)
{
    uint32_t word = argument(l, 1);
    int64_t width = lua_isnone(l, 2) ? DIGITS_MAX : (int32_t)argument(l, 2);
    const char *digits = width < 0 ? "0123456789ABCDEF" : "0123456789abcdef";
    width = width < 0 ? -width : width;
    size_t count = width > DIGITS_MAX ? DIGITS_MAX : (size_t)width;
    char text[DIGITS_MAX];
    for (size_t i = count; i-- > 0; word >>= 4)
        text[i] = digits[word & 0xf];
    lua_pushlstring(l, text, count);
    return 1;
}

int script_open_bit(lua_State *l)
{
    static const luaL_Reg functions[] = {
        {"tobit", tobit},   {"bnot", bnot},     {"band", band},       {"bor", bor},
        {"bxor", bxor},     {"lshift", lshift}, {"rshift", rshift},   {"arshift", arshift},
        {"rol", rol},       {"ror", ror},       {"bswap", bswap},     {"tohex", tohex},
        {NULL, NULL}};
    lua_newtable(l);
    for (const luaL_Reg *r = functions; r->name; r++) {
        lua_pushcfunction(l, r->func);
        lua_setfield(l, -2, r->name);
    }
    return 1;
}
