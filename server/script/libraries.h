/* The libraries that scripts have beside Lua's own: cjson, cmsgpack, struct, bit.
 *
 * Names, arguments, results and error texts are those of the libraries that Redis 7.2 carries.
 * cjson is Debian's lua-cjson, the same library; the others are small and written here. Each
 * opener leaves the library's table on the stack. */
#pragma once

#include <lua.h>

/* Makes the global tables. The interpreter protects them from scripts afterwards. */
void script_open_libraries(lua_State *l);

int script_open_json(lua_State *l);
int script_open_msgpack(lua_State *l);
int script_open_struct(lua_State *l);
int script_open_bit(lua_State *l);
