/* Fuzzes what takes scripts' bytes and values apart: cmsgpack, struct and cjson, and the way of Lua
 * values into replies and back.
 *
 * The first input byte picks the library and the protocol, the rest is what it reads; with struct
 * the first half is the format. The first value that comes out is written as a reply, which is read
 * as a value again, twice. Inputs are short, so that nothing is nested as no command's reply is. */
#include <lauxlib.h>
#include <lualib.h>

#include "server/script/interpreter.h"
#include "server/script/libraries.h"

#define INPUT_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lua_State *open_state(void)
{
    lua_State *l = luaL_newstate();
    luaL_openlibs(l);
    script_open_libraries(l);
    lua_settop(l, 0);
    return l;
}

/* The value on the top, over the protocol, and back; leaves it as it comes back. */
static void pass(lua_State *l, unsigned protocol)
{
    struct buf out;
    buf_init(&out);
    struct reply reply = {.out = &out, .protocol = (uint8_t)protocol};
    lua_settop(l, 1);
    convert_to_reply(l, protocol, &reply);
    lua_settop(l, 0);
    convert_to_lua(l, buf_slice(&out));
    buf_deinit(&out);
}

static void push_function(lua_State *l, const char *library, const char *name)
{
    lua_getglobal(l, library);
    lua_getfield(l, -1, name);
    lua_remove(l, -2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX)
        return 0;
    unsigned how = data[0] % 3, protocol = data[0] & 0x80 ? 3 : 2;
    const char *text = (const char *)data + 1;
    size_t left = --size, format = size / 2;
    lua_State *l = open_state();
    static const char *const libraries[] = {"cmsgpack", "struct", "cjson"};
    push_function(l, libraries[how], how == 2 ? "decode" : "unpack");
    if (how == 1) {
        lua_pushlstring(l, text, format);
        text += format;
        left -= format;
    }
    lua_pushlstring(l, text, left);
    if (lua_pcall(l, how == 1 ? 2 : 1, LUA_MULTRET, 0) == 0)
        for (int i = 0; i < 2 && lua_gettop(l) > 0; i++)
            pass(l, protocol);
    lua_close(l);
    return 0;
}
