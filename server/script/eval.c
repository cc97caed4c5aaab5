/* EVAL and EVALSHA: finding a script, compiling it, running it, learning where it goes. */
#include "server/script/eval.h"

#include <assert.h>
#include <lauxlib.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "server/pubsub.h"
#include "server/script/local.h"
#include "server/script/script.h"
#include "server/server.h"
#include "server/evict.h"
#include "server/write_fault.h"

#define SLOTS_MIN 64
#define FIRST_KEY 3 /* argument */
/* With more keys than that it is not worth finding out whether a script keeps to them. */
#define LEARN_KEYS_MAX 64

/* The core's own. */

static struct script_core *create(void)
{
    struct script_core *s = mem_alloc_zeroed(sizeof(*s));
    interpreter_init(&s->interpreter, NULL);
    s->sha1 = sha1_create();
    s->epoch = scripts_epoch(server->scripts);
    s->slot_count = SLOTS_MIN;
    s->slots = mem_alloc_zeroed(SLOTS_MIN * sizeof(*s->slots));
    return s;
}

/* After SCRIPT FLUSH: the records are gone, so nothing of them is looked at. */
static void start_anew(struct script_core *s)
{
    mem_free(s->slots);
    s->slots = mem_alloc_zeroed(SLOTS_MIN * sizeof(*s->slots));
    s->slot_count = SLOTS_MIN;
    s->count = 0;
    s->epoch = scripts_epoch(server->scripts);
    interpreter_deinit(&s->interpreter);
    interpreter_init(&s->interpreter, NULL);
}

struct script_core *script_core_of(struct core *c)
{
    if (!c->scripts)
        c->scripts = create();
    else if (c->scripts->epoch != scripts_epoch(server->scripts))
        start_anew(c->scripts);
    return c->scripts;
}

uint64_t script_core_memory(const struct core *c)
{
    return c->scripts ? c->scripts->interpreter.bytes : 0;
}

void script_core_finish(struct core *c)
{
    struct script_core *s = c->scripts;
    if (!s)
        return;
    interpreter_deinit(&s->interpreter);
    sha1_destroy(s->sha1);
    mem_free(s->slots);
    mem_free(s);
    c->scripts = NULL;
}

/* Finding. */

static struct compiled *slot_of(const struct script_core *s, const unsigned char *sha)
{
    uint64_t first;
    memcpy(&first, sha, sizeof(first));
    for (uint64_t i = first;; i++) {
        struct compiled *slot = &s->slots[i & (s->slot_count - 1)];
        if (!slot->script || memcmp(slot->script->sha, sha, SCRIPT_SHA_SIZE) == 0)
            return slot;
    }
}

static struct compiled *enter(struct script_core *s, struct script *script)
{
    if (s->count * 2 >= s->slot_count) {
        struct compiled *old = s->slots;
        uint32_t old_count = s->slot_count;
        s->slot_count *= 2;
        s->slots = mem_alloc_zeroed(s->slot_count * sizeof(*s->slots));
        for (uint32_t i = 0; i < old_count; i++)
            if (old[i].script)
                *slot_of(s, old[i].script->sha) = old[i];
        mem_free(old);
    }
    struct compiled *slot = slot_of(s, script->sha);
    assert(!slot->script);
    *slot = (struct compiled){script, LUA_NOREF};
    s->count++;
    return slot;
}

/* Known here, or to another core; else NULL. */
static struct compiled *find(struct script_core *s, const unsigned char *sha)
{
    struct compiled *found = slot_of(s, sha);
    if (found->script)
        return found;
    struct script *script = scripts_find(server->scripts, sha);
    return script ? enter(s, script) : NULL;
}

static bool takes_sha(const struct command *row)
{
    return row->name[4] == 's'; /* evalsha, evalsha_ro */
}

static bool read_sha(struct script_core *s, bool named, struct slice argument, unsigned char *sha)
{
    if (named)
        return script_read_name(argument, sha);
    sha1_of(s->sha1, argument, sha);
    return true;
}

/* Compiling. */

/* Leaves the function on the stack; false, having replied with the error, where there is none. */
static bool compile(struct script_core *s, struct slice source, size_t shebang_size,
                    struct reply *reply)
{
    lua_State *l = s->interpreter.lua;
    struct slice code = {source.data + shebang_size, source.size - shebang_size};
    if (interpreter_compile(l, code, "@user_script"))
        return true;
    reply_error(reply, "ERR Error compiling script (new function): %s", lua_tostring(l, -1));
    lua_pop(l, 1);
    return false;
}

static bool keep_compiled(struct script_core *s, struct compiled *slot, struct reply *reply)
{
    struct script *script = slot->script;
    struct slice source = {script->source, script->size};
    if (slot->function != LUA_NOREF)
        return true;
    if (!compile(s, source, script->shebang_size, reply))
        return false;
    slot->function = luaL_ref(s->interpreter.lua, LUA_REGISTRYINDEX);
    return true;
}

/* A script that nobody knows yet: it is known once it compiles. */
static struct compiled *insert(struct script_core *s, const unsigned char *sha,
                               struct slice source, struct reply *reply)
{
    char error[SCRIPT_ERROR_SIZE];
    uint32_t flags;
    size_t shebang_size;
    if (!script_read_shebang(source, &flags, &shebang_size, error, sizeof(error))) {
        reply_error(reply, "ERR %s", error);
        return NULL;
    }
    if (!compile(s, source, shebang_size, reply))
        return NULL;
    struct script *script = scripts_insert(server->scripts, sha, source, flags, shebang_size);
    struct compiled *slot = enter(s, script);
    slot->function = luaL_ref(s->interpreter.lua, LUA_REGISTRYINDEX);
    return slot;
}

const struct script *eval_load(struct core *c, struct slice source, struct reply *reply)
{
    struct script_core *s = script_core_of(c);
    unsigned char sha[SCRIPT_SHA_SIZE];
    sha1_of(s->sha1, source, sha);
    struct compiled *slot = find(s, sha);
    if (!slot)
        slot = insert(s, sha, source, reply);
    return slot ? slot->script : NULL;
}

/* The script that a call names, compiled; NULL, having replied with the error. */
static struct compiled *ready(struct script_core *s, struct call *call)
{
    unsigned char sha[SCRIPT_SHA_SIZE];
    bool named = takes_sha(call->command);
    struct compiled *slot = NULL;
    if (read_sha(s, named, call->argv[1], sha))
        slot = find(s, sha);
    if (!slot && named)
        reply_error(&call->reply, "NOSCRIPT No matching script. Please use EVAL.");
    else if (!slot)
        slot = insert(s, sha, call->argv[1], &call->reply);
    return slot && keep_compiled(s, slot, &call->reply) ? slot : NULL;
}

/* Where it goes. */

bool script_read_key_count(const struct slice *argv, uint32_t argc, uint32_t *count,
                           struct reply *reply)
{
    int64_t keys;
    const char *error = NULL;
    if (!number_parse_integer(argv[2], &keys))
        error = "ERR value is not an integer or out of range";
    else if (keys > (int64_t)argc - FIRST_KEY)
        error = "ERR Number of keys can't be greater than number of args";
    else if (keys < 0)
        error = "ERR Number of keys can't be negative";
    else
        *count = (uint32_t)keys;
    if (error && reply)
        reply_error(reply, "%s", error);
    return !error;
}

void script_add_shards(enum script_conduct conduct, bool publishes, const struct slice *keys,
                       uint32_t key_count, struct core_mask *mask)
{
    if (conduct != SCRIPT_KEEPS) {
        for (uint32_t i = 0; i < server->core_count; i++)
            core_mask_add(mask, i);
        return;
    }
    for (uint32_t i = 0; i < key_count; i++) {
        struct core_mask listeners;
        core_mask_add(mask, keyspace_shard(&server->keyspace, keys[i]));
        if (!publishes)
            continue;
        pubsub_interest(keys[i], false, &listeners);
        core_mask_unite(mask, &listeners);
    }
}

void script_learn(_Atomic uint8_t *conduct, _Atomic bool *publishes, const struct script_run *r)
{
    if (r->inner.published && !atomic_load_explicit(publishes, memory_order_relaxed))
        atomic_store_explicit(publishes, true, memory_order_relaxed);
    bool strays = r->inner.strayed || (r->inner.declared && r->inner.beyond);
    if (strays)
        atomic_store_explicit(conduct, SCRIPT_STRAYS, memory_order_relaxed);
    else if (r->inner.declared)
        atomic_store_explicit(conduct, SCRIPT_KEEPS, memory_order_relaxed);
}

void script_reach(struct session *session, const struct slice *argv, uint32_t argc,
                  struct core_mask *mask)
{
    struct script_core *s = script_core_of(core_self());
    unsigned char sha[SCRIPT_SHA_SIZE];
    uint32_t keys;
    bool named = argv[0].size > 4 && (argv[0].data[4] | 0x20) == 's';
    if (!script_read_key_count(argv, argc, &keys, NULL) || !read_sha(s, named, argv[1], sha))
        return;
    const struct compiled *slot = find(s, sha);
    if (!slot && named)
        return;
    enum script_conduct conduct = SCRIPT_UNKNOWN;
    bool publishes = false;
    if (slot) {
        conduct = atomic_load_explicit(&slot->script->conduct, memory_order_relaxed);
        publishes = atomic_load_explicit(&slot->script->publishes, memory_order_relaxed);
    }
    script_add_shards(conduct, publishes, argv + FIRST_KEY, keys, mask);
}

/* Running. */

static void run(struct script_core *s, struct call *call, struct compiled *slot, uint32_t keys)
{
    struct script *script = slot->script;
    bool no_writes = !(script->flags & SCRIPT_COMPAT) && (script->flags & SCRIPT_NO_WRITES);
    bool read_only = call->command->flags & CMD_READONLY;
    if (write_fault_all() && !(script->flags & (SCRIPT_COMPAT | SCRIPT_NO_WRITES))) {
        reply_error(&call->reply, "%s", write_fault_script_text());
        return;
    }
    if (read_only && !(script->flags & (SCRIPT_COMPAT | SCRIPT_NO_WRITES))) {
        reply_error(&call->reply,
                    "ERR Can not execute a script with write flag using *_ro command.");
        return;
    }
    bool declared = !(script->flags & SCRIPT_COMPAT);
    bool oom = write_fault_is_oom() &&
               !(declared && script->flags & (SCRIPT_ALLOW_OOM | SCRIPT_NO_WRITES));
    if (oom && declared) {
        reply_error(&call->reply, "%s", EVICT_OOM_TEXT);
        return;
    }
    struct script_run r = {
        .oom = oom, .call = call, .name = script->name,
        .keys = call->argv + FIRST_KEY, .key_count = keys,
        .args = call->argv + FIRST_KEY + keys, .arg_count = call->argc - FIRST_KEY - keys,
    };
    struct script_limits limits = {.read_only = read_only || no_writes};
    if (atomic_load_explicit(&script->conduct, memory_order_relaxed) == SCRIPT_UNKNOWN &&
        keys <= LEARN_KEYS_MAX) {
        limits.declared = r.keys;
        limits.declared_count = keys;
    }
    lua_rawgeti(s->interpreter.lua, LUA_REGISTRYINDEX, slot->function);
    interpreter_run(&s->interpreter, &r, &limits);
    script_learn(&script->conduct, &script->publishes, &r);
}

void eval_run(struct call *call)
{
    struct script_core *s = script_core_of(core_self());
    uint32_t keys;
    if (takes_sha(call->command) && call->argv[1].size != SCRIPT_NAME_SIZE) {
        reply_error(&call->reply, "NOSCRIPT No matching script. Please use EVAL.");
        return;
    }
    if (!script_read_key_count(call->argv, call->argc, &keys, &call->reply))
        return;
    struct compiled *slot = ready(s, call);
    if (slot)
        run(s, call, slot, keys);
}
