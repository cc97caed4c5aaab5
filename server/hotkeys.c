/* Hot keys: see hotkeys.h. */
#include "server/hotkeys.h"

#include "proto/mem.h"
#include "server/registry.h"
#include "server/server.h"

#define KEYS_MAX 64 /* of one command; what comes behind is not looked at */

/* Between 1 and twice the interval: a workload that repeats itself shall not run in step. */
static uint32_t next_distance(struct shard *s)
{
    return 1 + (uint32_t)(shard_random(s) % (2 * (uint64_t)server->observing.hot_interval));
}

static void note_key(struct core *owner, const struct call *call, struct slice key)
{
    if (--owner->hot_countdown > 0)
        return;
    owner->hot_countdown = next_distance(&owner->shard);
    heavy_note(owner->hot_keys, call->db, key, keyspace_hash(&server->keyspace, key));
}

/* A script's keys count where it uses them. */
void hotkeys_note(const struct call *call)
{
    if ((call->command->acl & ACL_SCRIPTING) || !command_has_keys(call->command))
        return;
    struct command_key keys[KEYS_MAX];
    int64_t count = command_keys(call->command, call->argv, call->argc, keys, KEYS_MAX);
    for (int64_t i = 0; i < count && i < KEYS_MAX; i++) {
        struct slice key = call->argv[keys[i].arg];
        uint32_t index = keyspace_shard(&server->keyspace, key);
        bool here = call->shard ? call->shard->index == index
                                : call->shards && call->shards[index];
        if (here)
            note_key(server->cores[index], call, key);
    }
}

void hotkeys_begin(struct core *c)
{
    if (!c->hot_keys)
        c->hot_keys = mem_alloc_zeroed(sizeof(*c->hot_keys));
    heavy_reset(c->hot_keys);
    c->hot_countdown = next_distance(&c->shard);
}

void hotkeys_finish(struct core *c)
{
    if (!c->hot_keys)
        return;
    heavy_deinit(c->hot_keys);
    mem_free(c->hot_keys);
    c->hot_keys = NULL;
}
