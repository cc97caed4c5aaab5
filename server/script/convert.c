/* Replies as Lua values, and Lua values as replies.
 *
 * The rules are Redis 7.2's, as its manual's page on the Lua API has them: what RESP3 alone knows
 * is a table with one field that names the type. Replies are our own commands', so they are not
 * checked again. */
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "server/script/interpreter.h"

/* A reply being read. */
struct reader {
    lua_State *lua;
    const char *at;
};

static void push_value(struct reader *r);

/* The rest of a line, without its end. */
static struct slice read_line(struct reader *r)
{
    const char *begin = r->at;
    const char *end = begin;
    while (*end != '\r')
        end++;
    r->at = end + 2;
    return (struct slice){begin, (size_t)(end - begin)};
}

static int64_t read_integer(struct reader *r)
{
    const char *p = r->at;
    bool negative = *p == '-';
    uint64_t value = 0;
    for (p += negative; *p != '\r'; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    r->at = p + 2;
    return (int64_t)(negative ? 0 - value : value);
}

static void push_slice(struct reader *r, struct slice s)
{
    lua_pushlstring(r->lua, s.data, s.size);
}

/* {name = the value on top} in its place. */
static void name_value(lua_State *l, const char *name)
{
    lua_createtable(l, 0, 1);
    lua_insert(l, -2);
    lua_setfield(l, -2, name);
}

static void push_bulk(struct reader *r)
{
    int64_t size = read_integer(r);
    if (size < 0) {
        lua_pushboolean(r->lua, false);
        return;
    }
    lua_pushlstring(r->lua, r->at, (size_t)size);
    r->at += size + 2;
}

static void push_array(struct reader *r)
{
    int64_t count = read_integer(r);
    if (count < 0) {
        lua_pushboolean(r->lua, false);
        return;
    }
    lua_createtable(r->lua, (int)count, 0);
    for (int64_t i = 1; i <= count; i++) {
        push_value(r);
        lua_rawseti(r->lua, -2, (int)i);
    }
}

static void push_map(struct reader *r)
{
    int64_t count = read_integer(r);
    lua_createtable(r->lua, 0, (int)count);
    for (int64_t i = 0; i < count; i++) {
        push_value(r);
        push_value(r);
        lua_rawset(r->lua, -3);
    }
    name_value(r->lua, "map");
}

static void push_set(struct reader *r)
{
    int64_t count = read_integer(r);
    lua_createtable(r->lua, 0, (int)count);
    for (int64_t i = 0; i < count; i++) {
        push_value(r);
        lua_pushboolean(r->lua, true);
        lua_rawset(r->lua, -3);
    }
    name_value(r->lua, "set");
}

static void push_verbatim(struct reader *r)
{
    int64_t size = read_integer(r);
    lua_createtable(r->lua, 0, 2);
    lua_pushlstring(r->lua, r->at, 3);
    lua_setfield(r->lua, -2, "format");
    lua_pushlstring(r->lua, r->at + 4, (size_t)size - 4);
    lua_setfield(r->lua, -2, "string");
    name_value(r->lua, "verbatim_string");
    r->at += size + 2;
}

/* The command has counted the error: it is not counted again where the script passes it on. */
static void push_error(struct reader *r)
{
    const char *begin = r->at - 1;
    struct slice line = read_line(r);
    api_push_error(r->lua, begin, line.size + 1);
    lua_pushboolean(r->lua, true);
    lua_setfield(r->lua, -2, "ignore_error_stats_update");
}

/* Attributes are not shown. */
static void skip_attribute(struct reader *r)
{
    for (int64_t i = read_integer(r) * 2; i > 0; i--) {
        push_value(r);
        lua_pop(r->lua, 1);
    }
    push_value(r);
}

static void push_double(struct reader *r)
{
    struct slice line = read_line(r);
    lua_pushnumber(r->lua, strtod(line.data, NULL));
    name_value(r->lua, "double");
}

static void push_value(struct reader *r)
{
    luaL_checkstack(r->lua, 4, "a reply nested too deep");
    switch (*r->at++) {
    case '$':
        push_bulk(r);
        break;
    case ':':
        lua_pushnumber(r->lua, (lua_Number)read_integer(r));
        break;
    case '+':
        push_slice(r, read_line(r));
        name_value(r->lua, "ok");
        break;
    case '-':
        push_error(r);
        break;
    case '*':
    case '>':
        push_array(r);
        break;
    case '%':
        push_map(r);
        break;
    case '~':
        push_set(r);
        break;
    case '#':
        lua_pushboolean(r->lua, *r->at == 't');
        r->at += 3;
        break;
    case ',':
        push_double(r);
        break;
    case '(':
        push_slice(r, read_line(r));
        name_value(r->lua, "big_number");
        break;
    case '=':
        push_verbatim(r);
        break;
    case '|':
        skip_attribute(r);
        break;
    default: /* '_' */
        read_line(r);
        lua_pushnil(r->lua);
    }
}

void convert_to_lua(lua_State *l, struct slice reply)
{
    struct reader r = {.lua = l, .at = reply.data};
    push_value(&r);
}

/* Lua values as replies. */

struct writer {
    lua_State *lua;
    struct reply *to;
    unsigned protocol; /* the script's: what its booleans mean */
};

static void write_value(struct writer *w);

/* The field of the table on top, without a look at metatables. It is pushed where it has the type;
 * else false. */
static bool push_field(lua_State *l, const char *name, int type)
{
    lua_pushstring(l, name);
    lua_rawget(l, -2);
    if (lua_type(l, -1) == type)
        return true;
    lua_pop(l, 1);
    return false;
}

/* Up to its first zero byte, as Redis has it; a line break would end the reply's line. */
static void write_line(struct writer *w, char mark, const char *text, size_t size)
{
    struct buf *out = w->to->out;
    char *to = buf_reserve(out, size + 3);
    *to++ = mark;
    for (size_t i = 0; i < size; i++)
        *to++ = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    memcpy(to, "\r\n", 2);
    out->size += size + 3;
}

static void write_boolean(struct writer *w, bool value)
{
    if (w->protocol == 3)
        reply_bool(w->to, value);
    else if (value)
        reply_integer(w->to, 1);
    else
        reply_null(w->to);
}

/* Cut off after the point. What no integer holds becomes what Redis's processor makes of it. */
static int64_t integer_of(lua_Number number)
{
    if (!(number >= -0x1p63 && number < 0x1p63))
        return INT64_MIN;
    return (int64_t)number;
}

static void write_big_number(struct writer *w)
{
    size_t size;
    const char *digits = lua_tolstring(w->lua, -1, &size);
    struct buf *scratch = &interpreter_of(w->lua)->reply;
    scratch->size = 0;
    for (size_t i = 0; i < size; i++)
        buf_append(scratch, digits[i] == '\r' || digits[i] == '\n' ? " " : &digits[i], 1);
    reply_big_number(w->to, buf_slice(scratch));
}

/* False where the table is none; it is on top. */
static bool write_verbatim(struct writer *w)
{
    lua_State *l = w->lua;
    char format[4] = "   ";
    bool whole = false;
    if (push_field(l, "format", LUA_TSTRING)) {
        const char *name = lua_tostring(l, -1);
        for (size_t i = 0; i < 3 && name[i]; i++)
            format[i] = name[i];
        lua_pop(l, 1);
        whole = push_field(l, "string", LUA_TSTRING);
    }
    if (!whole)
        return false;
    struct slice text;
    text.data = lua_tolstring(l, -1, &text.size);
    reply_verbatim(w->to, format, text);
    lua_pop(l, 1);
    return true;
}

static size_t count_fields(lua_State *l)
{
    size_t count = 0;
    lua_pushnil(l);
    for (; lua_next(l, -2); count++)
        lua_pop(l, 1);
    return count;
}

static void write_map(struct writer *w)
{
    lua_State *l = w->lua;
    reply_map(w->to, count_fields(l));
    lua_pushnil(l);
    while (lua_next(l, -2)) {
        lua_pushvalue(l, -2);
        write_value(w);
        write_value(w);
    }
}

static void write_set(struct writer *w)
{
    lua_State *l = w->lua;
    reply_set(w->to, count_fields(l));
    lua_pushnil(l);
    while (lua_next(l, -2)) {
        lua_pop(l, 1);
        lua_pushvalue(l, -1);
        write_value(w);
    }
}

/* Up to the first nil. */
static void write_array(struct writer *w)
{
    lua_State *l = w->lua;
    int count = 0;
    for (lua_rawgeti(l, -1, 1); !lua_isnil(l, -1); lua_rawgeti(l, -1, count + 1)) {
        lua_pop(l, 1);
        count++;
    }
    lua_pop(l, 1);
    reply_array(w->to, (size_t)count);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(l, -1, i);
        write_value(w);
    }
}

/* An error that the script returns. */
static void write_error(struct writer *w)
{
    reply_error(w->to, "%s", lua_tostring(w->lua, -1));
}

/* The table on top by the field that names its type; the field's value is left behind it. False
 * where it has none of them. */
static bool write_named(struct writer *w)
{
    lua_State *l = w->lua;
    if (push_field(l, "err", LUA_TSTRING)) {
        write_error(w);
    } else if (push_field(l, "ok", LUA_TSTRING)) {
        const char *text = lua_tostring(l, -1);
        write_line(w, '+', text, strlen(text));
    } else if (push_field(l, "double", LUA_TNUMBER)) {
        reply_double(w->to, lua_tonumber(l, -1));
    } else if (push_field(l, "big_number", LUA_TSTRING)) {
        write_big_number(w);
    } else if (push_field(l, "verbatim_string", LUA_TTABLE)) {
        if (write_verbatim(w))
            return true;
        lua_pop(l, 1);
        return false;
    } else {
        return false;
    }
    return true;
}

static void write_table(struct writer *w)
{
    lua_State *l = w->lua;
    int table = lua_gettop(l);
    if (write_named(w)) {
        lua_settop(l, table);
        return;
    }
    if (push_field(l, "map", LUA_TTABLE))
        write_map(w);
    else if (push_field(l, "set", LUA_TTABLE))
        write_set(w);
    else
        write_array(w);
    lua_settop(l, table);
}

static void write_value(struct writer *w)
{
    lua_State *l = w->lua;
    if (!lua_checkstack(l, 6)) {
        reply_error(w->to, "ERR reached lua stack limit");
        lua_pop(l, 1);
        return;
    }
    struct slice text;
    switch (lua_type(l, -1)) {
    case LUA_TSTRING:
        text.data = lua_tolstring(l, -1, &text.size);
        reply_bulk(w->to, text);
        break;
    case LUA_TBOOLEAN:
        write_boolean(w, lua_toboolean(l, -1));
        break;
    case LUA_TNUMBER:
        reply_integer(w->to, integer_of(lua_tonumber(l, -1)));
        break;
    case LUA_TTABLE:
        write_table(w);
        break;
    default:
        reply_null(w->to);
    }
    lua_pop(l, 1);
}

void convert_to_reply(lua_State *l, unsigned protocol, struct reply *to)
{
    struct writer w = {.lua = l, .to = to, .protocol = protocol};
    write_value(&w);
}

/* The text of a field, or NULL. It stays good while the table holds it; numbers are made text. */
static const char *field_text(lua_State *l, const char *name)
{
    lua_pushstring(l, name);
    lua_rawget(l, -2);
    const char *text = lua_isstring(l, -1) ? lua_tostring(l, -1) : NULL;
    lua_insert(l, 1); /* keeps it from the collector */
    return text;
}

void convert_error(lua_State *l, const char *name, struct buf *to)
{
    if (!lua_istable(l, -1)) {
        const char *text = lua_isstring(l, -1) ? lua_tostring(l, -1) : "execution failure";
        buf_printf(to, "ERR Error running script %s, %.100s", name, text);
    } else {
        const char *text = field_text(l, "err");
        const char *source = field_text(l, "source");
        const char *line = field_text(l, "line");
        buf_append_text(to, text ? text : "ERR unknown error");
        if (source && line)
            buf_printf(to, " script: %s, on %s:%s.", name, source, line);
    }
    buf_append(to, "", 1);
}
