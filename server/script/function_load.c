/* Bringing libraries in: see function_load.h. */
#include "server/script/function_load.h"

#include "server/script/function_core.h"
#include "server/script/function_dump.h"
#include "server/server.h"

/* False where a function of another library has the name of one of this. */
static bool is_free_of(const struct functions *f, const struct library *l, struct buf *error)
{
    for (uint32_t i = 0; i < l->function_count; i++) {
        struct slice name = l->functions[i]->name;
        if (functions_find(f, name)) {
            buf_printf(error, "Function %.*s already exists", (int)name.size, name.data);
            return false;
        }
    }
    return true;
}

struct library *function_load(struct functions *f, struct slice code, bool replace,
                              int64_t timeout_ms, struct buf *error)
{
    struct library *l = library_create(code, server->core_count, error);
    if (!l)
        return NULL;
    struct library *old = functions_find_library(f, l->name);
    if (old && !replace) {
        buf_printf(error, "Library '%.*s' already exists", (int)l->name.size, l->name.data);
        library_destroy(l);
        return NULL;
    }
    if (old)
        functions_unlink(f, old);
    bool good = function_core_register(core_self(), l, timeout_ms, error) &&
                is_free_of(f, l, error);
    struct library *gone = good ? old : l;
    struct library *stays = good ? l : old;
    if (stays)
        functions_link(f, stays);
    if (gone)
        library_destroy(gone);
    return good ? l : NULL;
}

static bool read_libraries(struct functions *to, struct slice payload, struct buf *error)
{
    struct function_payload p;
    if (!function_payload_open(&p, payload)) {
        buf_append_text(error, "DUMP payload version or checksum are wrong");
        return false;
    }
    struct buf code;
    buf_init(&code);
    while (function_payload_next(&p, &code, error))
        if (!function_load(to, buf_slice(&code), false, 0, error))
            break;
    buf_deinit(&code);
    return error->size == 0;
}

bool function_restore(struct slice payload, enum function_policy policy, struct buf *error)
{
    struct functions *fresh = functions_create();
    bool done = read_libraries(fresh, payload, error);
    if (done && policy == FUNCTION_FLUSH) {
        struct functions *old = server->functions;
        server->functions = fresh;
        fresh = old;
    } else if (done) {
        done = functions_join(server->functions, fresh, policy == FUNCTION_REPLACE, error);
    }
    functions_destroy(fresh);
    return done;
}

void function_flush(void)
{
    functions_destroy(server->functions);
    server->functions = functions_create();
    for (uint32_t i = 0; i < server->core_count; i++)
        function_core_finish(server->cores[i]);
}
