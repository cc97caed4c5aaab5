/* DEBUG RELOAD: a save, then everything is removed and loaded from the file again. DEBUG LOADAOF:
 * the same with the append-only file, which is written to its end first. From the cut, or that end,
 * to the end of the load, clients get LOADING. */
#include "proto/mem.h"
#include "server/bundle.h"
#include "server/cmd/debug.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save_inside.h"
#include "server/persist/stand.h"
#include "server/server.h"
#include "shard/db.h"

struct reload {
    struct bundle *waiter;
    bool flushes, replaces, announced;
    char path[sizeof(((struct save_plan *)0)->path)];
};

static void write_ok(struct reply *r, void *context)
{
    reply_ok(r);
}

static void write_error(struct reply *r, void *context)
{
    reply_error(r, "%s", (const char *)context);
}

static void end(struct reload *r, const char *error)
{
    bundle_answer(core_self(), r->waiter, error ? write_error : write_ok, (void *)error);
    mem_free(r);
}

static void loaded(void *context, bool ok)
{
    if (ok)
        log_write(&server->log, LOG_NOTICE, "DB reloaded by DEBUG RELOAD");
    end(context, ok ? NULL : "ERR Error trying to load the RDB dump, check server logs.");
}

static void remove_all(struct shard *const *shards)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        for (uint32_t db = 0; db < server->keyspace.db_count; db++)
            db_clear(shards[i], db, false);
        track_forget_all(shards[i]);
    }
    event_invalidate_all(shards[0], 0);
}

static bool begin_load(struct reload *r, struct shard *const *shards)
{
    if (r->flushes)
        remove_all(shards);
    save_count_anew();
    return load_begin(r->path, r->replaces, loaded, r);
}

/* While all shards stand still, after the save. */
static void load_saved(struct core *c, struct shard *const *shards, void *context)
{
    struct reload *r = context;
    if (r->announced)
        load_announce(false);
    if (!begin_load(r, shards))
        loaded(r, false);
}

static void give_up(struct core *c, struct shard *const *shards, void *context)
{
    struct reload *r = context;
    if (r->announced)
        load_announce(false);
    end(r, "ERR");
}

static void saved(void *context, bool ok, const char *error)
{
    stand_want(ok ? load_saved : give_up, context);
}

/* ---- DEBUG LOADAOF ---- */

static void aof_loaded(void *context, bool ok)
{
    if (ok)
        log_write(&server->log, LOG_NOTICE, "Append Only File loaded by DEBUG LOADAOF");
    end(context, ok ? NULL : "ERR Error trying to load the AOF files, check server logs.");
}

static void load_aof(struct core *c, struct shard *const *shards, void *context)
{
    struct reload *r = context;
    if (r->announced)
        load_announce(false);
    remove_all(shards);
    if (!load_begin_aof(aof_loaded, r))
        aof_loaded(r, false);
}

static void flushed(void *context, bool ok)
{
    if (!ok)
        log_write(&server->log, LOG_WARNING, "DEBUG LOADAOF: the end of the append-only file "
                                             "cannot be written");
    struct core *c = core_self();
    bundle_dispatch(c, bundle_create_act(c, load_aof, context));
}

void debug_loadaof(struct call *c)
{
    if (!c->may_wait || load_in_progress()) {
        reply_error(&c->reply, "ERR DEBUG LOADAOF is not possible within a transaction or script, "
                               "or while loading");
        return;
    }
    struct reload *r = mem_alloc_zeroed(sizeof(*r));
    c->later = &r->waiter;
    if (!c->keyspace->options.journal) {
        load_aof(core_self(), c->shards, r);
        return;
    }
    r->announced = true;
    load_announce(true);
    journal_flush(core_self(), flushed, r);
}

/* ---- DEBUG RELOAD ---- */

struct reload_options {
    bool saves, flushes, merges;
};

static bool read_options(struct call *c, struct reload_options *o)
{
    *o = (struct reload_options){.saves = true, .flushes = true};
    for (uint32_t i = 2; i < c->argc; i++) {
        if (call_arg_is(c, i, "NOSAVE")) {
            o->saves = false;
        } else if (call_arg_is(c, i, "NOFLUSH")) {
            o->flushes = false;
        } else if (call_arg_is(c, i, "MERGE")) {
            o->merges = true;
        } else {
            reply_error(&c->reply, "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE "
                                   "options.");
            return false;
        }
    }
    return true;
}

static bool begin(struct call *c, struct reload *r, struct save_plan *plan, bool saves)
{
    if (!saves)
        return begin_load(r, c->shards);
    if (save_in_progress())
        return save_ask_next(plan);
    if (!save_begin(core_self(), c->shards, plan))
        return false;
    r->announced = true;
    load_announce(true);
    return true;
}

void debug_reload(struct call *c)
{
    struct reload_options o;
    if (!read_options(c, &o))
        return;
    if (!c->may_wait || load_in_progress()) {
        reply_error(&c->reply, "ERR DEBUG RELOAD is not possible within a transaction or script, "
                               "or while loading");
        return;
    }
    struct reload *r = mem_alloc_zeroed(sizeof(*r));
    struct save_plan plan;
    save_plan_rdb(&plan);
    plan.foreground = true;
    plan.done = saved;
    plan.context = r;
    r->flushes = o.flushes;
    r->replaces = o.flushes || o.merges;
    memcpy(r->path, plan.path, sizeof(r->path));
    if (begin(c, r, &plan, o.saves)) {
        c->later = &r->waiter;
        return;
    }
    reply_error(&c->reply, o.saves ? "ERR" : "ERR Error trying to load the RDB dump, check server "
                                             "logs.");
    mem_free(r);
}
