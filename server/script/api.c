/* The table `redis`, and math's random functions.
 *
 * Names, arguments and error texts are Redis 7.2's. An error that redis.call raises and redis.pcall
 * returns is a table: err, and ignore_error_stats_update where the error has been counted. */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "server/acl.h"
#include "server/execute.h"
#include "server/script/busy.h"
#include "server/script/local.h"
#include "server/script/script.h"
#include "server/server.h"
#include "server/evict.h"
#include "server/write_fault.h"

#define ARGS_MIN 32
#define VERSION_NUMBER 0x00070206 /* of SERVER_REDIS_VERSION */
/* Integers beyond are written as floats: a double does not tell them apart. */
#define EXACT_MAX 0x1p52
#define REPL_AOF 1
#define REPL_REPLICA 2

void api_push_error(lua_State *l, const char *text, size_t size)
{
    struct slice code = SLICE("ERR"), rest = {text, size};
    if (size && text[0] == '-') {
        const char *blank = memchr(text, ' ', size);
        rest = (struct slice){text + 1, size - 1};
        if (blank) {
            code = (struct slice){text + 1, (size_t)(blank - text) - 1};
            rest = (struct slice){blank + 1, size - (size_t)(blank - text) - 1};
        }
    }
    while (rest.size && strchr("\r\n", rest.data[0]))
        rest = (struct slice){rest.data + 1, rest.size - 1};
    while (rest.size && strchr("\r\n", rest.data[rest.size - 1]))
        rest.size--;
    lua_createtable(l, 0, 2);
    lua_pushlstring(l, code.data, code.size);
    lua_pushliteral(l, " ");
    lua_pushlstring(l, rest.data, rest.size);
    lua_concat(l, 3);
    lua_setfield(l, -2, "err");
}

static void push_error_text(lua_State *l, const char *text)
{
    api_push_error(l, text, strlen(text));
}

static int raise(lua_State *l, const char *text)
{
    push_error_text(l, text);
    return lua_error(l);
}

/* Outside a run there is nothing to call: a script's leftovers, called by mistake. */
static struct script_run *running(lua_State *l)
{
    struct script_run *r = interpreter_of(l)->run;
    if (!r)
        luaL_error(l, "no script is running");
    return r;
}

/* redis.call */

static void reserve_arguments(struct interpreter *i, uint32_t count)
{
    if (count <= i->argv_cap)
        return;
    i->argv_cap = count < ARGS_MIN ? ARGS_MIN : count * 2;
    i->argv = mem_realloc(i->argv, i->argv_cap * sizeof(*i->argv));
    i->numbers = mem_realloc(i->numbers, i->argv_cap * sizeof(*i->numbers));
}

static struct slice format_number(lua_Number number, char *to)
{
    if (number > -EXACT_MAX && number <= EXACT_MAX && (lua_Number)(int64_t)number == number)
        return (struct slice){to, number_format_integer(to, (int64_t)number)};
    return (struct slice){to, number_format_double(to, number)};
}

/* The arguments on the stack, which hold on to their bytes while they stay there; they may fill it,
 * so nothing is pushed before they are gone. NULL where one is neither a string nor a number, or
 * none is there: then the error takes their place. */
static struct slice *read_arguments(lua_State *l, struct interpreter *i, uint32_t count)
{
    if (count == 0) {
        push_error_text(l, "Please specify at least one argument for this redis lib call");
        return NULL;
    }
    reserve_arguments(i, count);
    for (uint32_t n = 0; n < count; n++) {
        int type = lua_type(l, (int)n + 1);
        if (type == LUA_TSTRING) {
            i->argv[n].data = lua_tolstring(l, (int)n + 1, &i->argv[n].size);
        } else if (type == LUA_TNUMBER) {
            i->argv[n] = format_number(lua_tonumber(l, (int)n + 1), i->numbers[n]);
        } else {
            lua_settop(l, 0);
            push_error_text(l, "Lua redis lib command arguments must be strings or integers");
            return NULL;
        }
    }
    return i->argv;
}

/* An error with a code of its own. */
static const char *with_dash(const char *text)
{
    size_t size = strlen(text);
    char *own = arena_alloc(&core_self()->arena, size + 2);
    own[0] = '-';
    memcpy(own + 1, text, size + 1);
    return own;
}

/* Why a script may not run a command now; NULL where it may. */
static const char *refusal(const struct script_run *r, const struct command *row,
                           const struct slice *argv, uint32_t argc)
{
    struct session *s = r->inner.outer->session;
    if (!row || (argc > 1 && row->subcommand_count && !row->parent))
        return "Unknown Redis command called from script";
    bool fits = row->arity > 0 ? argc == (uint32_t)row->arity : argc >= (uint32_t)-row->arity;
    if (!fits)
        return "Wrong number of args calling Redis command from script";
    if (row->flags & CMD_NOSCRIPT && !(server->scripts_debug && strcmp(row->name, "debug") == 0))
        return "This Redis command is not allowed from script";
    if (__builtin_expect(acl_limits(s), 0)) {
        const char *denied = acl_refuse_in_script(r->inner.core, s, row, argv, argc);
        if (denied)
            return denied;
    }
    if (r->inner.read_only && (row->flags & (CMD_WRITE | CMD_MAY_REPLICATE)))
        return "Write commands are not allowed from read-only scripts.";
    if (write_fault_all() && (row->flags & CMD_WRITE) && !r->inner.written)
        return with_dash(write_fault_text());
    if (r->oom && (row->flags & CMD_DENYOOM) && !r->inner.written)
        return with_dash(EVICT_OOM_TEXT);
    return NULL;
}

static void push_refusal(lua_State *l, struct script_run *r, const struct command *row,
                         const char *text)
{
    lua_settop(l, 0);
    push_error_text(l, text);
    lua_pushboolean(l, true);
    lua_setfield(l, -2, "ignore_error_stats_update");
    execute_count_error(r->inner.core, text[0] == '-' ? slice_of(text + 1) : SLICE("ERR"));
    if (row)
        r->inner.core->command_stats[row->id].rejected++;
}

/* The commands that always may block find nothing instead; those with an option BLOCK refuse it. */
static bool asks_to_block(const struct command *row, const struct slice *argv, uint32_t argc)
{
    if (__builtin_expect(!(row->flags & CMD_BLOCK_OPTION), 1))
        return false;
    for (uint32_t i = 1; i + 1 < argc && !slice_is(argv[i], "streams"); i++)
        if (slice_is(argv[i], "block"))
            return true;
    return false;
}

static void push_block_refusal(lua_State *l, struct script_run *r, const struct command *row,
                               struct slice name)
{
    char text[96];
    snprintf(text, sizeof(text), "%.*s command is not allowed with BLOCK option from scripts",
             (int)name.size, name.data);
    push_refusal(l, r, row, text);
}

/* Leaves the reply's value on the stack; true where it is an error. */
static bool run_command(lua_State *l, struct interpreter *i, struct slice *argv, uint32_t argc)
{
    struct script_run *r = i->run;
    const struct command *row = registry_resolve(server->registry, argv, argc);
    if (__builtin_expect(row && row->flags & CMD_RENAMED, 0))
        argv[0] = command_proper_name(row);
    const char *refused = refusal(r, row, argv, argc);
    if (__builtin_expect(refused != NULL, 0)) {
        push_refusal(l, r, row, refused);
        return true;
    }
    if (__builtin_expect(r->busy, 0) && (row->flags & CMD_WRITE) && !busy_write(r))
        interpreter_kill(l, r);
    if (asks_to_block(row, argv, argc)) {
        push_block_refusal(l, r, row, argv[0]);
        return true;
    }
    i->reply.size = 0;
    struct reply reply = {.out = &i->reply, .protocol = r->protocol};
    if (!inner_run(&r->inner, row, argv, argc, &reply))
        interpreter_stray(l, r);
    lua_settop(l, 0);
    convert_to_lua(l, buf_slice(&i->reply));
    return i->reply.data[0] == '-';
}

static int call_command(lua_State *l, bool raises)
{
    struct interpreter *i = running(l)->interpreter;
    uint32_t argc = (uint32_t)lua_gettop(l);
    struct slice *argv = read_arguments(l, i, argc);
    bool failed = !argv || run_command(l, i, argv, argc);
    return failed && raises ? lua_error(l) : 1;
}

static int redis_call(lua_State *l)
{
    return call_command(l, true);
}

static int redis_pcall(lua_State *l)
{
    return call_command(l, false);
}

/* The small ones. */

static int redis_error_reply(lua_State *l)
{
    if (lua_gettop(l) != 1 || lua_type(l, 1) != LUA_TSTRING) {
        push_error_text(l, "wrong number or type of arguments");
        return 1;
    }
    if (lua_tostring(l, 1)[0] != '-') {
        lua_pushliteral(l, "-");
        lua_insert(l, 1);
        lua_concat(l, 2);
    }
    push_error_text(l, lua_tostring(l, 1));
    return 1;
}

static int redis_status_reply(lua_State *l)
{
    if (lua_gettop(l) != 1 || lua_type(l, 1) != LUA_TSTRING) {
        push_error_text(l, "wrong number or type of arguments");
        return 1;
    }
    lua_createtable(l, 0, 1);
    lua_insert(l, 1);
    lua_setfield(l, 1, "ok");
    return 1;
}

static int redis_sha1hex(lua_State *l)
{
    if (lua_gettop(l) != 1)
        return raise(l, "wrong number of arguments");
    unsigned char sha[SCRIPT_SHA_SIZE];
    char name[SCRIPT_NAME_SIZE + 1];
    size_t size = 0;
    const char *text = lua_tolstring(l, 1, &size);
    sha1_of(script_core_of(core_self())->sha1, (struct slice){text, size}, sha);
    script_write_name(sha, name);
    lua_pushlstring(l, name, SCRIPT_NAME_SIZE);
    return 1;
}

static int redis_log(lua_State *l)
{
    static const int levels[] = {LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING};
    int argc = lua_gettop(l);
    if (argc < 2)
        return raise(l, "redis.log() requires two arguments or more.");
    if (!lua_isnumber(l, 1))
        return raise(l, "First argument must be a number (log level).");
    lua_Number level = lua_tonumber(l, 1);
    if (!(level > -1 && level < 4))
        return raise(l, "Invalid debug level.");
    luaL_Buffer text;
    luaL_buffinit(l, &text);
    for (int i = 2; i <= argc; i++) {
        if (!lua_isstring(l, i))
            continue;
        if (i > 2)
            luaL_addchar(&text, ' ');
        lua_pushvalue(l, i);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    log_write(&server->log, levels[(int)level], "%s", lua_tostring(l, -1));
    return 0;
}

static int redis_setresp(lua_State *l)
{
    struct script_run *r = running(l);
    if (lua_gettop(l) != 1)
        return raise(l, "redis.setresp() requires one argument.");
    lua_Number protocol = trunc(lua_tonumber(l, 1));
    if (protocol != 2 && protocol != 3)
        return raise(l, "RESP version must be 2 or 3.");
    r->protocol = (unsigned)protocol;
    return 0;
}

/* What a script's writes become is no longer a script's choice: its effects are one. */
static int redis_set_repl(lua_State *l)
{
    if (lua_gettop(l) != 1)
        return raise(l, "redis.set_repl() requires one argument.");
    lua_Number flags = trunc(lua_tonumber(l, 1));
    if (!(flags >= 0 && flags <= (REPL_AOF | REPL_REPLICA)))
        return raise(l, "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or "
                        "REPL_NONE.");
    return 0;
}

static int redis_replicate_commands(lua_State *l)
{
    lua_pushboolean(l, true);
    return 1;
}

/* There is no debugger to stop in. */
static int redis_breakpoint(lua_State *l)
{
    lua_pushboolean(l, false);
    return 1;
}

static int redis_debug(lua_State *l)
{
    return 0;
}

static int redis_acl_check_cmd(lua_State *l)
{
    const struct script_run *r = running(l);
    struct interpreter *i = r->interpreter;
    uint32_t argc = (uint32_t)lua_gettop(l);
    const struct slice *argv = read_arguments(l, i, argc);
    if (!argv)
        return lua_error(l);
    const struct command *row = registry_resolve(server->registry, argv, argc);
    bool known = row && !(argc > 1 && row->subcommand_count && !row->parent);
    bool permits = known && acl_permits(r->inner.outer->session, row, argv, argc);
    lua_settop(l, 0);
    if (!known)
        return raise(l, "Invalid command passed to redis.acl_check_cmd()");
    lua_pushboolean(l, permits);
    return 1;
}

/* Random numbers: the generator of drand48, so that a seed gives the same sequence everywhere. Its
 * state is the core's: scripts and functions draw from one sequence. */

#define RANDOM_FACTOR UINT64_C(0x5DEECE66D)
#define RANDOM_ADDEND 0xB
#define RANDOM_MASK ((UINT64_C(1) << 48) - 1)
#define RANDOM_SEED_LOW 0x330E
#define RANDOM_START UINT64_C(0x1234ABCD330E)
#define RANDOM_STRIDE UINT64_C(0x9E3779B97F4A)

uint64_t script_random_start(uint32_t core)
{
    return (RANDOM_START ^ core * RANDOM_STRIDE) & RANDOM_MASK;
}

static lua_Number next_random(void)
{
    struct core *c = core_self();
    c->script_random = (c->script_random * RANDOM_FACTOR + RANDOM_ADDEND) & RANDOM_MASK;
    return (lua_Number)((c->script_random >> 17) % INT32_MAX) / INT32_MAX;
}

static int math_random(lua_State *l)
{
    lua_Number r = next_random();
    int low = 1, high;
    switch (lua_gettop(l)) {
    case 0:
        lua_pushnumber(l, r);
        return 1;
    case 1:
        high = luaL_checkint(l, 1);
        luaL_argcheck(l, 1 <= high, 1, "interval is empty");
        break;
    case 2:
        low = luaL_checkint(l, 1);
        high = luaL_checkint(l, 2);
        luaL_argcheck(l, low <= high, 2, "interval is empty");
        break;
    default:
        return luaL_error(l, "wrong number of arguments");
    }
    lua_pushnumber(l, floor(r * ((lua_Number)high - low + 1)) + low);
    return 1;
}

static int math_randomseed(lua_State *l)
{
    uint32_t seed = (uint32_t)luaL_checkint(l, 1);
    core_self()->script_random = (uint64_t)seed << 16 | RANDOM_SEED_LOW;
    return 0;
}

void api_open(lua_State *l)
{
    static const luaL_Reg functions[] = {
        {"call", redis_call}, {"pcall", redis_pcall}, {"log", redis_log},
        {"setresp", redis_setresp}, {"sha1hex", redis_sha1hex},
        {"error_reply", redis_error_reply}, {"status_reply", redis_status_reply},
        {"set_repl", redis_set_repl}, {"acl_check_cmd", redis_acl_check_cmd},
        {"breakpoint", redis_breakpoint}, {"debug", redis_debug},
        {"replicate_commands", redis_replicate_commands}, {NULL, NULL},
    };
    static const struct {
        const char *name;
        int value;
    } constants[] = {
        {"LOG_DEBUG", 0}, {"LOG_VERBOSE", 1}, {"LOG_NOTICE", 2}, {"LOG_WARNING", 3},
        {"REPL_NONE", 0}, {"REPL_AOF", REPL_AOF}, {"REPL_SLAVE", REPL_REPLICA},
        {"REPL_REPLICA", REPL_REPLICA}, {"REPL_ALL", REPL_AOF | REPL_REPLICA},
        {"REDIS_VERSION_NUM", VERSION_NUMBER},
    };
    lua_newtable(l);
    luaL_register(l, NULL, functions);
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        lua_pushinteger(l, constants[i].value);
        lua_setfield(l, -2, constants[i].name);
    }
    lua_pushliteral(l, SERVER_REDIS_VERSION);
    lua_setfield(l, -2, "REDIS_VERSION");
    lua_setfield(l, -2, "redis");
    lua_getfield(l, -1, "math");
    lua_pushcfunction(l, math_random);
    lua_setfield(l, -2, "random");
    lua_pushcfunction(l, math_randomseed);
    lua_setfield(l, -2, "randomseed");
    lua_pop(l, 1);
}
