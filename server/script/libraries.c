/* The libraries that scripts have: see libraries.h. */
#include "server/script/libraries.h"

static void open_as(lua_State *l, lua_CFunction open, const char *name)
{
    lua_pushcfunction(l, open);
    lua_call(l, 0, 1);
    lua_setglobal(l, name);
}

void script_open_libraries(lua_State *l)
{
    open_as(l, script_open_json, "cjson");
    open_as(l, script_open_msgpack, "cmsgpack");
    open_as(l, script_open_struct, "struct");
    open_as(l, script_open_bit, "bit");
}
