/* Transactions: see transaction.h. A transaction is its commands in a list, each in one piece with
 * its arguments, in chunks of memory that go with it as a whole; the first chunk is the
 * transaction's own end. */
#include "server/transaction.h"

#include <assert.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/broken.h"
#include "server/bundle.h"
#include "server/execute.h"
#include "server/inner.h"
#include "server/route.h"
#include "server/script/script.h"
#include "server/server.h"
#include "server/session.h"

#define FIRST_SIZE 2048
#define CHUNK_SIZE 32768
/* Commands hashed and prefetched ahead of the one that runs. */
#define PREFETCH_DEPTH 16

struct queued {
    struct queued *next;
    const struct command *command;
    uint32_t argc;
    struct slice argv[];
};

struct chunk {
    struct chunk *next;
    char bytes[];
};

struct transaction {
    struct queued *first, *last;
    uint32_t count;
    uint32_t flags;    /* of all its commands together */
    bool needs_data;   /* some command may not run while data are loaded */
    bool dirty;        /* a command was refused: EXEC will be */
    bool has_script;   /* whose shards only the run can tell */
    bool has_publish;  /* whose cores may be more by the time of the run */
    bool has_whole;    /* a command of every shard */
    bool has_other;    /* than those of one shard's key, or of parts on each */
    bool needs_home;   /* looks at the session, or at all of the server */
    bool refused;      /* EXEC was: it is over */
    bool ran;          /* by EXEC: there is nothing left of it */
    uint32_t db;       /* ... the session's database from then on */
    size_t memory;
    struct chunk *chunks;
    char *at;          /* free room in the newest chunk */
    size_t left;
    char first_chunk[FIRST_SIZE];
};

/* --- Memory --- */

static void open(struct session *s)
{
    struct transaction *t = mem_alloc(sizeof(*t));
    memset(t, 0, offsetof(struct transaction, first_chunk));
    t->at = t->first_chunk;
    t->left = FIRST_SIZE;
    t->memory = sizeof(*t);
    s->transaction = t;
}

static void close(struct session *s)
{
    struct transaction *t = s->transaction;
    s->transaction = NULL;
    while (t->chunks) {
        struct chunk *chunk = t->chunks;
        t->chunks = chunk->next;
        mem_free(chunk);
    }
    mem_free(t);
}

static void *allocate(struct transaction *t, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (t->left < size) {
        size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        struct chunk *chunk = mem_alloc(sizeof(*chunk) + room);
        chunk->next = t->chunks;
        t->chunks = chunk;
        t->at = chunk->bytes;
        t->left = room;
        t->memory += sizeof(*chunk) + room;
    }
    void *p = t->at;
    t->at += size;
    t->left -= size;
    return p;
}

/* --- Queueing --- */

/* Commands that need the session's core though they are not on data, less those that do not. */
static bool looks_at_session(const struct command *row)
{
    static const char *const others[] = {"select", "ping", "echo", "time"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(row->full_name, others[i]) == 0)
            return false;
    return true;
}

static bool publishes(const struct command *row)
{
    return row->reach && (row->flags & CMD_PUBSUB);
}

static void note_needs(struct transaction *t, const struct request *r)
{
    const struct command *row = r->command;
    t->flags |= script_command_flags(r);
    if (row->route == ROUTE_SESSION)
        t->needs_home |= looks_at_session(row);
    t->has_script |= command_may_stray(row);
    t->has_publish |= publishes(row);
    t->has_other |= row->route == ROUTE_SESSION || row->route == ROUTE_CROSS;
    bool whole = (row->route == ROUTE_ALL && !row->reach) || (row->flags & CMD_EVERY_SHARD);
    t->has_whole |= whole || row->route == ROUTE_ALL;
    t->needs_home |= whole;
}

static void enqueue(struct transaction *t, const struct request *r)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < r->argc; i++)
        bytes += r->argv[i].size;
    struct queued *q = allocate(t, sizeof(*q) + r->argc * sizeof(q->argv[0]) + bytes);
    q->next = NULL;
    q->command = r->command;
    q->argc = r->argc;
    char *at = (char *)&q->argv[r->argc];
    for (uint32_t i = 0; i < r->argc; i++) {
        memcpy(at, r->argv[i].data, r->argv[i].size);
        q->argv[i] = (struct slice){at, r->argv[i].size};
        at += r->argv[i].size;
    }
    if (t->last)
        t->last->next = q;
    else
        t->first = q;
    t->last = q;
    t->count++;
    t->needs_data |= !(r->command->flags & CMD_LOADING);
    if (r->command->route != ROUTE_KEY)
        note_needs(t, r);
    else
        t->flags |= r->command->flags;
}

static void answer(struct core *c, struct session *s, const char *text)
{
    size_t mark;
    struct reply r = {.out = session_reply_begin(c, s, &mark), .protocol = s->protocol};
    reply_simple(&r, text);
    session_reply_end(s, mark);
    s->commands++;
}

bool transaction_acts_at_once(const struct command *row)
{
    if (row->acl & ACL_TRANSACTION)
        return strcmp(row->name, "unwatch") != 0;
    return (row->flags & CMD_NO_AUTH) &&
           (strcmp(row->full_name, "quit") == 0 || strcmp(row->full_name, "reset") == 0);
}

/* MULTI, and an EXEC whose commands went their ways apart. */
static void count(struct core *c, struct session *s, const struct command *command,
                  const struct slice *argv, uint32_t argc)
{
    struct call call = {.db = s->db};
    execute_prepare(c, &call, NULL, command, argv, argc);
    call.session = s;
    call.client = s->id;
    execute_count_inner(c, &call);
}

static enum transaction_step begin(struct core *c, struct session *s, const struct request *r,
                                   uint32_t before)
{
    if (before > 0)
        return TRANSACTION_LATER; /* an UNSUBSCRIBE before it may decide whether it is admitted */
    if (!session_admits(s, r->command, r->argv, r->argc))
        return TRANSACTION_ROUTE;
    open(s);
    s->last_command = r->command;
    answer(c, s, "OK");
    count(c, s, r->command, r->argv, r->argc);
    return TRANSACTION_TAKEN;
}

enum transaction_step transaction_take(struct core *c, struct session *s, struct request *r,
                                       uint32_t before)
{
    struct transaction *t = s->transaction;
    if (!t)
        return begin(c, s, r, before);
    if (__builtin_expect(!session_admits(s, r->command, r->argv, r->argc), 0))
        r->refusal = session_refusal(c, s, r->command, r->argv, r->argc);
    if (__builtin_expect(r->refusal != NULL, 0)) {
        transaction_spoil(s);
        return TRANSACTION_ROUTE;
    }
    if (transaction_acts_at_once(r->command))
        return TRANSACTION_ROUTE;
    if (!t->dirty)
        enqueue(t, r);
    s->last_command = r->command;
    answer(c, s, "QUEUED");
    return TRANSACTION_TAKEN;
}

/* --- Where it goes --- */

static struct request request_of(struct session *s, const struct queued *q)
{
    return (struct request){
        .session = s, .command = q->command, .argv = q->argv, .argc = q->argc};
}

static void add_reach(const struct core *c, const struct request *r, struct core_mask *mask)
{
    struct core_mask one;
    switch ((enum command_route)r->command->route) {
    case ROUTE_SESSION:
        return;
    case ROUTE_KEY:
        core_mask_add(mask, route_single_shard(c, r));
        return;
    case ROUTE_SPLIT:
    case ROUTE_ALL:
    case ROUTE_CROSS:
        route_mask(c, r, &one);
        core_mask_unite(mask, &one);
    }
}

void transaction_reach(struct session *s, const struct slice *argv, uint32_t argc,
                       struct core_mask *mask)
{
    const struct transaction *t = s->transaction;
    if (!t || t->dirty)
        return;
    const struct core *c = core_self();
    for (const struct queued *q = t->first; q; q = q->next) {
        struct request r = request_of(s, q);
        add_reach(c, &r, mask);
    }
    core_mask_unite(mask, &s->watching);
    if (t->needs_home)
        core_mask_add(mask, s->home);
    /* What is done to the session could not be taken back if a script strayed. */
    for (uint32_t i = 0; t->needs_home && t->has_script && i < server->core_count; i++)
        core_mask_add(mask, i);
}

/* What EXEC is to run; NULL: the request is none, or there is nothing. */
static const struct transaction *of(const struct request *r)
{
    return r->command->run == transaction_run_exec ? r->session->transaction : NULL;
}

uint32_t transaction_flags(const struct request *r)
{
    const struct transaction *t = of(r);
    return t ? r->command->flags | t->flags : script_command_flags(r);
}

bool transaction_needs_data(const struct session *s)
{
    return s->transaction && s->transaction->needs_data;
}

bool transaction_needs_home(const struct request *r)
{
    const struct transaction *t = of(r);
    return t && t->needs_home;
}

bool transaction_may_borrow(const struct request *r, uint32_t commands_max)
{
    const struct transaction *t = of(r);
    return !t || (t->count <= commands_max && !t->has_whole);
}

bool transaction_may_stray(const struct request *r)
{
    const struct transaction *t = r->command ? of(r) : NULL;
    return !t || t->has_script;
}

/* Not with watches: whether it runs at all is decided in one place. Nor with messages: somebody who
 * has subscribed since it was sent on its way, and then has seen its keys as they were, is to get
 * them; so the run looks once more who hears. */
static bool can_split(const struct transaction *t, const struct session *s)
{
    bool in_order = server->keyspace.options.notify; /* over its shards too */
    return !in_order && !t->has_other && !t->has_publish && !s->watch_token &&
           t->count <= BUNDLE_ITEMS_MAX;
}

bool transaction_dispatch(struct core *c, const struct request *r, const struct core_mask *mask)
{
    struct session *s = r->session;
    const struct transaction *t = of(r);
    if (!t || !can_split(t, s))
        return false;
    struct request *requests = arena_alloc(&c->arena, t->count * sizeof(*requests));
    uint32_t n = 0;
    for (const struct queued *q = t->first; q; q = q->next) {
        struct core_mask many;
        requests[n] = request_of(s, q);
        route_classify(c, s, &requests[n], &many);
        if (requests[n++].refusal)
            return false; /* permitted no more: its error goes among the others' replies */
    }
    struct bundle *b =
        bundle_create(c, s, BUNDLE_SPLIT, mask, requests, n, BUNDLE_SOURCE_KEPT, false);
    b->transaction = true;
    bundle_dispatch(c, b);
    return true;
}

/* --- EXEC --- */

static bool is_home(const struct session *s)
{
    return core_self()->index == s->home;
}

static struct shard *at_hand(const struct call *call, uint32_t index)
{
    if (call->shards)
        return call->shards[index];
    return call->shard->index == index ? call->shard : NULL;
}

static bool is_broken(const struct call *call, const struct session *s)
{
    if (broken(BROKEN_NO_WATCH))
        return false;
    for (uint32_t i = 0; s->watch_token && i < server->core_count; i++)
        if (core_mask_has(&s->watching, i) &&
            watch_broken(at_hand(call, i), s->watch_token, call->now_ms))
            return true;
    return false;
}

static void forget_watches(const struct call *call, uint64_t token, const struct core_mask *mask)
{
    for (uint32_t i = 0; token && i < server->core_count; i++)
        if (core_mask_has(mask, i))
            watch_forget(at_hand(call, i), token);
}

/* False where somebody has subscribed, since EXEC was sent on its way, on a core not at hand. */
static bool knows_channels(struct inner *in, const struct transaction *t)
{
    for (const struct queued *q = t->first; t->has_publish && q; q = q->next)
        if (publishes(q->command) && !inner_knows_channel(in, q->command, q->argv[1]))
            return false;
    return true;
}

/* Asks for the buckets of the next commands' first keys, then for their entries. A guess where the
 * database changes among them. */
static void prefetch(const struct call *call, uint32_t db, const struct queued *q)
{
    struct {
        const struct shard *shard;
        uint64_t hash;
    } ahead[PREFETCH_DEPTH];
    uint32_t n = 0;
    for (uint32_t i = 0; q && i < PREFETCH_DEPTH; q = q->next, i++) {
        int16_t key = q->command->first_key;
        if (key <= 0 || (uint32_t)key >= q->argc)
            continue;
        ahead[n].shard = at_hand(call, keyspace_shard(call->keyspace, q->argv[key]));
        if (!ahead[n].shard)
            continue;
        ahead[n].hash = keyspace_hash(call->keyspace, q->argv[key]);
        shard_prefetch_bucket(ahead[n].shard, db, ahead[n].hash);
        n++;
    }
    for (uint32_t i = 0; i < n; i++)
        shard_prefetch_entry(ahead[i].shard, db, ahead[i].hash);
}

/* CLIENT REPLY may be among the commands: what is behind `mark` goes where replies are off now, but
 * for pushes. */
static void drop_unwanted(struct session *s, struct reply *reply, size_t mark)
{
    bool off = s->reply_mode == REPLY_OFF || s->reply_mode == REPLY_SKIP;
    if (off && !s->pushed)
        reply->out->size = mark;
    s->pushed = false;
}

static void run_each(struct inner *in, struct reply *reply, const struct transaction *t)
{
    size_t mark = reply->out->size;
    reply_array(reply, t->count);
    if (t->needs_home)
        drop_unwanted(in->session, reply, mark);
    uint32_t i = 0;
    for (const struct queued *q = t->first; q; q = q->next) {
        if (i++ % PREFETCH_DEPTH == 0)
            prefetch(in->outer, in->db, q);
        mark = reply->out->size;
        if (!acl_refuses_queued(in->core, in->outer->session, q->command, q->argv, q->argc,
                                reply) &&
            !inner_run(in, q->command, q->argv, q->argc, reply))
            return;
        if (t->needs_home) {
            in->session->db = in->db;
            reply->protocol = in->session->protocol;
            drop_unwanted(in->session, reply, mark);
        }
    }
    /* What is left stays, whatever session_reply_end finds the mode to be. */
    if (t->needs_home)
        in->session->pushed = in->session->reply_mode != REPLY_ON;
}

/* Runs what is queued; false where that strayed: it is to be run again, with all shards. */
static bool run_queued(struct call *call, struct session *s, struct transaction *t)
{
    struct inner in;
    size_t start = call->reply.out->size;
    enum session_reply mode = t->needs_home ? s->reply_mode : REPLY_ON;
    inner_begin(&in, call, t->has_script);
    if (knows_channels(&in, t))
        run_each(&in, &call->reply, t);
    else if (in.may_stray)
        in.strayed = true;
    else
        call->strayed = true;
    t->db = in.db;
    if (inner_end(&in) && !call->strayed)
        return true;
    call->reply.out->size = start;
    if (t->needs_home) {
        s->db = call->db;
        s->reply_mode = mode;
        s->pushed = false;
    }
    return false;
}

/* What its commands have made of errors is counted as theirs. */
void transaction_run_exec(struct call *call)
{
    struct session *s = call->session;
    struct transaction *t = s->transaction;
    if (!t) {
        reply_error(&call->reply, "ERR EXEC without MULTI");
        return;
    }
    if (is_home(s))
        s->last_command = call->command; /* what is queued may look at it */
    if (t->dirty) {
        t->refused = true;
        transaction_settle(core_self(), s);
        reply_error(&call->reply, "EXECABORT Transaction discarded because of previous errors.");
        return;
    }

    uint64_t token = s->watch_token;
    struct core_mask watching = s->watching;
    t->db = call->db;
    bool changed = is_broken(call, s);
    bool once = !t->has_script && !t->has_publish;
    if (once)
        forget_watches(call, token, &watching); /* its own changes then mark nothing */
    if (changed)
        reply_null_array(&call->reply);
    else if (!run_queued(call, s, t))
        return;
    if (!once)
        forget_watches(call, token, &watching);
    call->reply.errors = 0;
    t->ran = true;
    if (is_home(s))
        transaction_settle(core_self(), s);
}

void transaction_settle(struct core *c, struct session *s)
{
    const struct transaction *t = s->transaction;
    if (!t || !(t->ran || t->refused))
        return;
    if (t->refused) {
        transaction_discard(c, s);
        return;
    }
    s->db = t->db;
    s->watch_token = 0;
    s->watch_memory = 0;
    s->watching = (struct core_mask){0};
    close(s);
}

void transaction_settle_split(struct core *c, struct session *s)
{
    const struct slice argv[] = {SLICE("EXEC")};
    count(c, s, registry_find_proper(server->registry, argv[0]), argv, 1);
    close(s);
}

void transaction_discard(struct core *c, struct session *s)
{
    transaction_unwatch(c, s);
    if (s->transaction)
        close(s);
}

void transaction_refuse(struct session *s, const char *refusal, struct reply *reply)
{
    if (strncmp(refusal, "ERR ", 4) == 0)
        refusal += 4;
    if (s->transaction)
        s->transaction->refused = true;
    reply_error(reply, "EXECABORT Transaction discarded because of: %s", refusal);
}

void transaction_spoil(struct session *s)
{
    s->transaction->dirty = true;
}

int64_t transaction_count(const struct session *s)
{
    return s->transaction ? (int64_t)s->transaction->count : -1;
}

size_t transaction_memory(const struct session *s)
{
    return s->transaction ? s->transaction->memory : 0;
}
