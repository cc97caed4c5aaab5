/* FCALL: finding a function, running it, learning where it goes. */
#include "server/script/function_call.h"

#include "proto/number.h"
#include "server/script/function_core.h"
#include "server/script/local.h"
#include "server/script/script.h"
#include "server/server.h"
#include "server/evict.h"
#include "server/write_fault.h"

#define FIRST_KEY 3 /* argument */
/* With more keys than that it is not worth finding out whether a function keeps to them. */
#define LEARN_KEYS_MAX 64

/* Why the key count does not fit; NULL where it does. */
static const char *read_key_count(const struct slice *argv, uint32_t argc, uint32_t *count)
{
    int64_t keys;
    if (!number_parse_integer(argv[2], &keys))
        return "ERR Bad number of keys provided";
    if (keys > (int64_t)argc - FIRST_KEY)
        return "ERR Number of keys can't be greater than number of args";
    if (keys < 0)
        return "ERR Number of keys can't be negative";
    *count = (uint32_t)keys;
    return NULL;
}

void function_reach(struct session *s, const struct slice *argv, uint32_t argc,
                    struct core_mask *mask)
{
    uint32_t keys;
    const struct function *f = functions_find(server->functions, argv[1]);
    if (!f || read_key_count(argv, argc, &keys))
        return;
    enum script_conduct conduct = atomic_load_explicit(&f->conduct, memory_order_relaxed);
    bool publishes = atomic_load_explicit(&f->publishes, memory_order_relaxed);
    script_add_shards(conduct, publishes, argv + FIRST_KEY, keys, mask);
}

static void run(struct interpreter *i, struct call *call, struct function *f, uint32_t keys)
{
    struct script_run r = {
        .call = call, .name = f->name.data, .keys = call->argv + FIRST_KEY, .key_count = keys,
        .args = call->argv + FIRST_KEY + keys, .arg_count = call->argc - FIRST_KEY - keys,
        .is_function = true,
    };
    bool read_only = (call->command->flags & CMD_READONLY) || (f->flags & SCRIPT_NO_WRITES);
    struct script_limits limits = {.read_only = read_only};
    if (atomic_load_explicit(&f->conduct, memory_order_relaxed) == SCRIPT_UNKNOWN &&
        keys <= LEARN_KEYS_MAX) {
        limits.declared = r.keys;
        limits.declared_count = keys;
    }
    interpreter_run(i, &r, &limits);
    script_learn(&f->conduct, &f->publishes, &r);
}

void function_call_run(struct call *call)
{
    struct function *f = functions_find(server->functions, call->argv[1]);
    uint32_t keys;
    const char *refusal = f ? read_key_count(call->argv, call->argc, &keys)
                            : "ERR Function not found";
    if (!refusal && write_fault_all() && !(f->flags & SCRIPT_NO_WRITES))
        refusal = write_fault_script_text();
    if (!refusal && write_fault_is_oom() && !(f->flags & (SCRIPT_ALLOW_OOM | SCRIPT_NO_WRITES)))
        refusal = EVICT_OOM_TEXT;
    if (!refusal && (call->command->flags & CMD_READONLY) && !(f->flags & SCRIPT_NO_WRITES))
        refusal = "ERR Can not execute a script with write flag using *_ro command.";
    if (refusal) {
        reply_error(&call->reply, "%s", refusal);
        return;
    }
    struct buf error;
    buf_init(&error);
    struct interpreter *i = function_core_push(core_self(), f, &error);
    if (i)
        run(i, call, f, keys);
    else
        reply_error(&call->reply, "ERR %.*s", (int)error.size, error.data);
    buf_deinit(&error);
}
