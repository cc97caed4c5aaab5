/* redis.register_function: see function_register.h. Errors are raised by longjmp, so nothing
 * that is owned is held meanwhile. */
#include "server/script/function_register.h"

#include <lauxlib.h>

#include "proto/mem.h"
#include "server/script/interpreter.h"

void function_load_begin(struct function_load *load)
{
    uint32_t count = load->library->function_count;
    load->refs = mem_alloc((count + 1) * sizeof(*load->refs));
    for (uint32_t i = 0; i < count; i++)
        load->refs[i] = LUA_NOREF;
}

static int raise(lua_State *l, const char *text)
{
    api_push_error(l, text, strlen(text));
    return lua_error(l);
}

/* A string, or a number, which becomes one where it stands on the stack. */
static bool read_string(lua_State *l, int at, struct slice *to)
{
    to->data = lua_tolstring(l, at, &to->size);
    return to->data != NULL;
}

/* The flag on top, in any case; 0 where there is no such one. */
static uint32_t read_flag(lua_State *l)
{
    enum { LONGEST = 32 };
    char word[LONGEST];
    size_t size;
    const char *text = lua_tolstring(l, -1, &size);
    if (!text || size > LONGEST)
        return 0;
    for (size_t i = 0; i < size; i++)
        word[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 0x20) : text[i];
    return script_flag((struct slice){word, size});
}

/* The list of flags on top; false where one is not known. */
static bool read_flags(lua_State *l, uint32_t *flags)
{
    *flags = 0;
    for (int i = 1;; i++) {
        lua_pushinteger(l, i);
        lua_gettable(l, -2);
        bool end = lua_isnil(l, -1);
        uint32_t flag = read_flag(l);
        lua_pop(l, 1);
        if (end || !flag)
            return end;
        *flags |= flag;
    }
}

/* The arguments as a table holds them, and where on the stack they are kept meanwhile. */
struct named {
    struct function function;
    bool has_name, has_callback;
};

#define CALLBACK_AT 2
#define NAME_AT 3
#define DESCRIPTION_AT 4

/* Keeps the value on top. */
static void keep(lua_State *l, int at)
{
    lua_pushvalue(l, -1);
    lua_replace(l, at);
}

/* One pair of the table: the key below the value on top. */
static void read_named(lua_State *l, struct named *to)
{
    if (!lua_isstring(l, -2))
        raise(l, "named argument key given to redis.register_function is not a string");
    lua_pushvalue(l, -2); /* to have its text would change a key that is a number */
    struct slice key = slice_of(lua_tostring(l, -1));
    lua_pop(l, 1);
    if (slice_is(key, "function_name")) {
        keep(l, NAME_AT);
        to->has_name = read_string(l, NAME_AT, &to->function.name);
        if (!to->has_name)
            raise(l, "function_name argument given to redis.register_function must be a string");
    } else if (slice_is(key, "description")) {
        keep(l, DESCRIPTION_AT);
        to->function.described = read_string(l, DESCRIPTION_AT, &to->function.description);
        if (!to->function.described)
            raise(l, "description argument given to redis.register_function must be a string");
    } else if (slice_is(key, "callback")) {
        to->has_callback = lua_isfunction(l, -1);
        if (!to->has_callback)
            raise(l, "callback argument given to redis.register_function must be a function");
        keep(l, CALLBACK_AT);
    } else if (slice_is(key, "flags")) {
        if (!lua_istable(l, -1))
            raise(l, "flags argument to redis.register_function must be a table representing "
                     "function flags");
        if (!read_flags(l, &to->function.flags))
            raise(l, "unknown flag given");
    } else {
        raise(l, "unknown argument given to redis.register_function");
    }
}

static struct function read_table(lua_State *l)
{
    struct named named = {.has_name = false};
    if (!lua_istable(l, 1))
        raise(l, "calling redis.register_function with a single argument is only applicable to "
                 "Lua table (representing named arguments).");
    lua_settop(l, DESCRIPTION_AT);
    lua_pushnil(l);
    while (lua_next(l, 1)) {
        read_named(l, &named);
        lua_pop(l, 1);
    }
    if (!named.has_name)
        raise(l, "redis.register_function must get a function name argument");
    if (!named.has_callback)
        raise(l, "redis.register_function must get a callback argument");
    return named.function;
}

static struct function read_positions(lua_State *l)
{
    struct function function = {.described = false};
    if (!read_string(l, 1, &function.name))
        raise(l, "first argument to redis.register_function must be a string");
    if (!lua_isfunction(l, CALLBACK_AT))
        raise(l, "second argument to redis.register_function must be a function");
    return function;
}

/* Gives a new library the function, with the reason left on the stack where it cannot be. */
static bool add(lua_State *l, struct function_load *load, const struct function *function)
{
    struct buf error;
    buf_init(&error);
    bool added = library_add(load->library, function, &error);
    if (!added)
        api_push_error(l, error.data, error.size);
    buf_deinit(&error);
    if (!added)
        return false;
    uint32_t count = load->library->function_count;
    load->refs = mem_realloc(load->refs, count * sizeof(*load->refs));
    load->refs[count - 1] = LUA_NOREF;
    return true;
}

int function_register(lua_State *l)
{
    struct function_load *load = function_core_load(l);
    if (!load)
        return raise(l, "redis.register_function can only be called on FUNCTION LOAD command");
    int count = lua_gettop(l);
    if (count < 1 || count > 2)
        return raise(l, "wrong number of arguments to redis.register_function");
    struct function function = count == 1 ? read_table(l) : read_positions(l);
    if (load->fresh && !add(l, load, &function))
        return lua_error(l);
    const struct function *known = library_find(load->library, function.name);
    if (!known)
        return 0;
    lua_settop(l, CALLBACK_AT);
    int ref = luaL_ref(l, LUA_REGISTRYINDEX);
    luaL_unref(l, LUA_REGISTRYINDEX, load->refs[known->index]);
    load->refs[known->index] = ref;
    return 0;
}
