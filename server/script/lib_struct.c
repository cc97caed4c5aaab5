/* struct for scripts: packs numbers and strings into bytes as C lays them out, and back.
 *
 * A format is a row of options, each with its size: b B h H l L T i[n] I[n] integers (lower
 * case: signed), f d floats, c[n] characters, s a string with a zero behind it, x a byte of
 * padding; > and < set the byte order, ![n] the alignment for what follows. Behaviour is that of
 * Roberto Ierusalimschy's "struct" 0.2 for Lua 5.1, by its manual and by trying. */
#include <lauxlib.h>

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "server/script/libraries.h"

#define INTEGER_SIZE_MAX 32
#define ALIGNMENT_DEFAULT 8
#define WORD_SIZE 8

/* A format as it is read. */
struct format {
    lua_State *l;
    const char *at;
    bool big;
    size_t alignment_max;
};

static struct format format_begin(lua_State *l)
{
    return (struct format){.l = l,
                           .at = luaL_checkstring(l, 1),
                           .big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__,
                           .alignment_max = 1};
}

static int read_number(struct format *f, int otherwise)
{
    if (!isdigit((unsigned char)*f->at))
        return otherwise;
    int n = 0;
    for (; isdigit((unsigned char)*f->at); f->at++) {
        int digit = *f->at - '0';
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n))
            luaL_error(f->l, "integral size overflow");
    }
    return n;
}

static size_t read_size(struct format *f, char option)
{
    switch (option) {
    case 'b': case 'B': case 'x':
        return 1;
    case 'h': case 'H':
        return sizeof(short);
    case 'l': case 'L':
        return sizeof(long);
    case 'T':
        return sizeof(size_t);
    case 'f':
        return sizeof(float);
    case 'd':
        return sizeof(double);
    case 'c':
        return (size_t)read_number(f, 1);
    case 'i': case 'I': {
        int size = read_number(f, sizeof(int));
        if (size > INTEGER_SIZE_MAX)
            luaL_error(f->l, "integral size %d is larger than limit of %d", size,
                       INTEGER_SIZE_MAX);
        return (size_t)size;
    }
    default:
        return 0;
    }
}

/* Bytes to skip before an item. Sizes that are no power of two (i3) are aligned by the same masks,
 * whatever that gives: formats in use may depend on it. */
static size_t padding(const struct format *f, size_t at, char option, size_t size)
{
    if (size == 0 || option == 'c')
        return 0;
    if (size > f->alignment_max)
        size = f->alignment_max;
    return (size - (at & (size - 1))) & (size - 1);
}

/* Options that are no item. */
static void control(struct format *f, char option)
{
    switch (option) {
    case ' ':
        return;
    case '>':
        f->big = true;
        return;
    case '<':
        f->big = false;
        return;
    case '!': {
        int n = read_number(f, ALIGNMENT_DEFAULT);
        if (n <= 0 || (n & (n - 1)))
            luaL_error(f->l, "alignment %d is not a power of 2", n);
        f->alignment_max = (size_t)n;
        return;
    }
    default:
        luaL_argerror(f->l, 1, lua_pushfstring(f->l, "invalid format option '%c'", option));
    }
}

static bool is_integer_option(char option)
{
    return option && strchr("bBhHlLTiI", option);
}

/* --- Packing --- */

/* What x86-64 makes of numbers that no word holds, and of NaN: formats are portable, so all
 * machines do the same here. */
static uint64_t word_of(double n)
{
    if (n < 0)
        return n >= -0x1p63 ? (uint64_t)(int64_t)n : (uint64_t)1 << 63;
    if (n < 0x1p64)
        return (uint64_t)n;
    return n != n ? (uint64_t)1 << 63 : 0;
}

static void pack_integer(const struct format *f, luaL_Buffer *to, double n, size_t size)
{
    char bytes[INTEGER_SIZE_MAX];
    uint64_t word = word_of(n);
    for (size_t i = 0; i < size; i++, word >>= 8)
        bytes[f->big ? size - 1 - i : i] = (char)(word & 0xff);
    luaL_addlstring(to, bytes, size);
}

static bool foreign_order(const struct format *f)
{
    return f->big != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

static void pack_float(const struct format *f, luaL_Buffer *to, float n)
{
    uint32_t bits;
    memcpy(&bits, &n, sizeof(bits));
    bits = foreign_order(f) ? __builtin_bswap32(bits) : bits;
    luaL_addlstring(to, (const char *)&bits, sizeof(bits));
}

static void pack_double(const struct format *f, luaL_Buffer *to, double n)
{
    uint64_t bits;
    memcpy(&bits, &n, sizeof(bits));
    bits = foreign_order(f) ? __builtin_bswap64(bits) : bits;
    luaL_addlstring(to, (const char *)&bits, sizeof(bits));
}

/* Returns the bytes added. */
static size_t pack_string(lua_State *l, luaL_Buffer *to, int arg, char option, size_t size)
{
    size_t length;
    const char *text = luaL_checklstring(l, arg, &length);
    if (size == 0)
        size = length;
    luaL_argcheck(l, length >= size, arg + 1, "string too short");
    luaL_addlstring(to, text, size);
    if (option == 's')
        luaL_addchar(to, '\0');
    return size + (option == 's');
}

static int pack(lua_State *l)
{
    struct format f = format_begin(l);
    size_t at = 0;
    int arg = 2;
    luaL_Buffer to;
    lua_pushnil(l); /* so that the argument behind the last is not the buffer's */
    luaL_buffinit(l, &to);
    while (*f.at) {
        char option = *f.at++;
        size_t size = read_size(&f, option);
        size_t skip = padding(&f, at, option, size);
        for (size_t i = 0; i < skip; i++)
            luaL_addchar(&to, '\0');
        at += skip;
        if (is_integer_option(option))
            pack_integer(&f, &to, luaL_checknumber(l, arg++), size);
        else if (option == 'x')
            luaL_addchar(&to, '\0');
        else if (option == 'f')
            pack_float(&f, &to, (float)luaL_checknumber(l, arg++));
        else if (option == 'd')
            pack_double(&f, &to, luaL_checknumber(l, arg++));
        else if (option == 'c' || option == 's')
            size = pack_string(l, &to, arg++, option, size);
        else
            control(&f, option);
        at += size;
    }
    luaL_pushresult(&to);
    return 1;
}

/* --- Unpacking --- */

/* Of integers wider than a word, the bytes that fit count; the place of the sign bit then is taken
 * modulo the word, as x86-64 shifts. */
static double unpack_integer(const struct format *f, const char *data, char option, size_t size)
{
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++)
        word = word << 8 | (unsigned char)data[f->big ? i : size - 1 - i];
    if (isupper((unsigned char)option))
        return (double)word;
    uint64_t above = ~(uint64_t)0 << ((size * 8 - 1) % (WORD_SIZE * 8));
    if (word & above)
        word |= above;
    return (double)(int64_t)word;
}

static double unpack_float(const struct format *f, const char *data)
{
    uint32_t bits;
    float n;
    memcpy(&bits, data, sizeof(bits));
    bits = foreign_order(f) ? __builtin_bswap32(bits) : bits;
    memcpy(&n, &bits, sizeof(n));
    return n;
}

static double unpack_double(const struct format *f, const char *data)
{
    uint64_t bits;
    double n;
    memcpy(&bits, data, sizeof(bits));
    bits = foreign_order(f) ? __builtin_bswap64(bits) : bits;
    memcpy(&n, &bits, sizeof(n));
    return n;
}

/* What is unpacked, and how far. */
struct source {
    const char *data;
    size_t size;
    size_t at;
    int results;
};

static void check_left(lua_State *l, const struct source *s, size_t size)
{
    luaL_argcheck(l, size <= s->size && s->at <= s->size - size, 2, "data string too short");
}

/* "c0" takes the number before it as its size. Returns the bytes taken. */
static size_t unpack_characters(lua_State *l, struct source *s, size_t size)
{
    if (size == 0) {
        if (s->results == 0 || !lua_isnumber(l, -1))
            luaL_error(l, "format 'c0' needs a previous size");
        size = word_of(lua_tonumber(l, -1));
        lua_pop(l, 1);
        s->results--;
        check_left(l, s, size);
    }
    lua_pushlstring(l, s->data + s->at, size);
    return size;
}

static size_t unpack_string(lua_State *l, const struct source *s)
{
    const char *from = s->data + s->at;
    const char *end = memchr(from, '\0', s->size - s->at);
    if (!end)
        luaL_error(l, "unfinished string in data");
    lua_pushlstring(l, from, (size_t)(end - from));
    return (size_t)(end - from) + 1;
}

/* One item or option; returns the bytes taken. */
static size_t unpack_one(struct format *f, struct source *s, char option, size_t size)
{
    lua_State *l = f->l;
    const char *data = s->data + s->at;
    if (is_integer_option(option))
        lua_pushnumber(l, unpack_integer(f, data, option, size));
    else if (option == 'f')
        lua_pushnumber(l, unpack_float(f, data));
    else if (option == 'd')
        lua_pushnumber(l, unpack_double(f, data));
    else if (option == 'c')
        size = unpack_characters(l, s, size);
    else if (option == 's')
        size = unpack_string(l, s);
    else {
        if (option != 'x')
            control(f, option);
        return size;
    }
    s->results++;
    return size;
}

static int unpack(lua_State *l)
{
    struct format f = format_begin(l);
    struct source s = {0};
    s.data = luaL_checklstring(l, 2, &s.size);
    s.at = (size_t)luaL_optinteger(l, 3, 1);
    luaL_argcheck(l, s.at > 0, 3, "offset must be 1 or greater");
    s.at--;
    while (*f.at) {
        char option = *f.at++;
        size_t size = read_size(&f, option);
        s.at += padding(&f, s.at, option, size);
        check_left(l, &s, size);
        luaL_checkstack(l, 2, "too many results");
        s.at += unpack_one(&f, &s, option, size);
    }
    lua_pushinteger(l, (lua_Integer)s.at + 1);
    return s.results + 1;
}

static int size_of(lua_State *l)
{
    struct format f = format_begin(l);
    size_t at = 0;
    while (*f.at) {
        char option = *f.at++;
        size_t size = read_size(&f, option);
        at += padding(&f, at, option, size);
        if (option == 's')
            luaL_argerror(l, 1, "option 's' has no fixed size");
        else if (option == 'c' && size == 0)
            luaL_argerror(l, 1, "option 'c0' has no fixed size");
        if (!isalnum((unsigned char)option))
            control(&f, option);
        at += size;
    }
    lua_pushinteger(l, (lua_Integer)at);
    return 1;
}

int script_open_struct(lua_State *l)
{
    static const luaL_Reg functions[] = {
        {"pack", pack}, {"unpack", unpack}, {"size", size_of}, {NULL, NULL}};
    lua_newtable(l);
    for (const luaL_Reg *r = functions; r->name; r++) {
        lua_pushcfunction(l, r->func);
        lua_setfield(l, -2, r->name);
    }
    return 1;
}
