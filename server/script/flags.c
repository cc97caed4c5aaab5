/* What EVAL and FCALL count as while writes are held back: see script.h. */
#include "server/script/function.h"
#include "server/script/script.h"
#include "server/script/store.h"
#include "server/server.h"

/* False where what is run is not known, or has not said what it does. */
static bool declared_by_script(const struct request *r, uint32_t *flags)
{
    unsigned char sha[SCRIPT_SHA_SIZE];
    char error[1];
    size_t size;
    if (r->command->name[4] != 's') /* the source itself, not its SHA1 */
        return script_read_shebang(r->argv[1], flags, &size, error, sizeof(error)) &&
               !(*flags & SCRIPT_COMPAT);
    const struct script *script =
        script_read_name(r->argv[1], sha) ? scripts_find(server->scripts, sha) : NULL;
    *flags = script ? script->flags : SCRIPT_COMPAT;
    return !(*flags & SCRIPT_COMPAT);
}

static bool declared_by_function(const struct request *r, uint32_t *flags)
{
    const struct function *f = functions_find(server->functions, r->argv[1]);
    *flags = f ? f->flags : 0;
    return f != NULL;
}

uint32_t script_command_flags(const struct request *r)
{
    uint32_t flags = r->command->flags, declared;
    bool known = false;
    if (r->command->reach == script_reach)
        known = declared_by_script(r, &declared);
    else if (r->command->reach == function_reach)
        known = declared_by_function(r, &declared);
    if (!known)
        return flags;
    flags &= ~(CMD_WRITE | CMD_MAY_REPLICATE);
    if (declared & SCRIPT_NO_WRITES)
        return flags;
    return flags | CMD_WRITE | (declared & SCRIPT_ALLOW_OOM ? 0 : CMD_DENYOOM);
}
