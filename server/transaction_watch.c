/* WATCH and UNWATCH: the session's part of it, its token and on which shards that is known. See
 * transaction.h; what the shards keep is in shard/watch.h. */
#include "proto/mem.h"
#include "server/server.h"
#include "server/session.h"
#include "server/transaction.h"

/* A watch's record and its places in lists, beside the key. */
#define WATCH_SIZE 96

/* The session's token: unique over all cores and rounds. */
static void ensure_token(struct core *c, struct session *s)
{
    if (!s->watch_token)
        s->watch_token = ++c->watch_rounds * SHARD_COUNT_MAX + c->index;
}

void transaction_reach_watch(struct session *s, const struct slice *argv, uint32_t argc,
                             struct core_mask *mask)
{
    if (s->transaction)
        return; /* the body says that it is not allowed */
    ensure_token(core_self(), s);
    for (uint32_t i = 1; i < argc; i++) {
        core_mask_add(mask, keyspace_shard(&server->keyspace, argv[i]));
        s->watch_memory += WATCH_SIZE + argv[i].size;
    }
    core_mask_unite(&s->watching, mask);
}

static bool is_home(const struct session *s)
{
    return core_self()->index == s->home;
}

/* Its keys may all be ours and WATCH behind an UNWATCH: then the token is drawn here. */
void transaction_run_watch(struct call *call)
{
    struct session *s = call->session;
    if (s->transaction) {
        reply_error(&call->reply, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    bool home = is_home(s);
    if (home)
        ensure_token(core_self(), s);
    uint32_t arg;
    for (uint32_t at = 0; (arg = call_next_key(call, &at, NULL)) != 0;) {
        struct slice key = call->argv[arg];
        struct shard *shard = call->shard;
        if (!shard)
            shard = call->shards[keyspace_shard(call->keyspace, key)];
        if (home)
            core_mask_add(&s->watching, shard->index);
        if (server->core_count == 1)
            s->watch_memory += WATCH_SIZE + key.size; /* nobody asked for the reach */
        watch_add(shard, s->watch_token, call->db, key, call->now_ms);
    }
}

struct forget_message {
    struct core_message message; /* first */
    uint64_t token;
};

static void receive_forget(struct core_message *m)
{
    struct forget_message *forget = (struct forget_message *)m;
    watch_forget(&core_self()->shard, forget->token);
    mem_free(forget);
}

void transaction_unwatch(struct core *c, struct session *s)
{
    if (!s->watch_token)
        return;
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!core_mask_has(&s->watching, i))
            continue;
        struct forget_message *forget = mem_alloc(sizeof(*forget));
        *forget = (struct forget_message){{.receive = receive_forget}, s->watch_token};
        core_post(c, i, &forget->message);
    }
    s->watch_token = 0;
    s->watch_memory = 0;
    s->watching = (struct core_mask){0};
}
