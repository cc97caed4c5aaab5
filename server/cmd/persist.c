/* SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF. */
#include "server/bundle.h"
#include "server/cmd/tables.h"
#include "server/persist/aof.h"
#include "server/persist/save_inside.h"
#include "server/server.h"
#include "shard/call.h"

/* SAVE is answered when the file has its name. */

static void write_saved(struct reply *r, void *context)
{
    const bool *ok = context;
    if (*ok)
        reply_ok(r);
    else
        reply_error(r, "ERR");
}

static void answer_save(void *context, bool ok, const char *error)
{
    struct bundle **waiter = context;
    bundle_answer(core_self(), *waiter, write_saved, &ok);
    *waiter = NULL;
}

static void run_save(struct call *c)
{
    struct save *s = server->save;
    struct save_plan plan;
    save_plan_rdb(&plan);
    plan.foreground = true;
    plan.done = answer_save;
    plan.context = &s->save_waiter;
    bool rewrites = save_in_progress() && save_kind_now() == SAVE_AOF_BASE;
    if (save_in_progress() && (!rewrites || !save_ask_next(&plan)))
        reply_error(&c->reply, "ERR Background save already in progress");
    else if (!rewrites && !save_begin(core_self(), c->shards, &plan))
        reply_error(&c->reply, "ERR");
    else
        c->later = &s->save_waiter;
}

/* A rewrite that has begun and not come to its cut counts. */
static bool rewrites(void)
{
    struct aof_report r;
    aof_report(&r);
    return r.rewriting || (save_in_progress() && save_kind_now() == SAVE_AOF_BASE);
}

/* Within a transaction it comes behind that, as in Redis. */
static void begin_background(struct call *c, bool schedule)
{
    struct save_plan plan;
    save_plan_rdb(&plan);
    if (save_in_progress() && save_kind_now() == SAVE_RDB) {
        reply_error(&c->reply, "ERR Background save already in progress");
    } else if (!c->may_wait || (schedule && rewrites())) {
        save_schedule();
        reply_simple(&c->reply, "Background saving scheduled");
    } else if (rewrites()) {
        reply_error(&c->reply, "ERR Another child process is active (AOF?): can't BGSAVE right "
                               "now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever "
                               "possible.");
    } else if (save_begin(core_self(), c->shards, &plan)) {
        reply_simple(&c->reply, "Background saving started");
    } else {
        reply_error(&c->reply, "ERR");
    }
}

static void run_bgsave(struct call *c)
{
    bool schedule = c->argc == 2 && call_arg_is(c, 1, "schedule");
    if (c->argc > 1 && !schedule)
        reply_error_syntax(&c->reply);
    else
        begin_background(c, schedule);
}

static void run_lastsave(struct call *c)
{
    struct save_report r;
    save_report(&r);
    reply_integer(&c->reply, r.last_save_s);
}

static void run_bgrewriteaof(struct call *c)
{
    bool scheduled = false;
    const char *error = "ERR Can't execute an AOF background rewriting. Please check the server "
                        "logs for more information.";
    if (!aof_rewrite_ask(core_self(), &scheduled, &error))
        reply_error(&c->reply, "%s", error);
    else if (scheduled || !c->may_wait) /* within a transaction it comes behind that */
        reply_simple(&c->reply, "Background append only file rewriting scheduled");
    else
        reply_simple(&c->reply, "Background append only file rewriting started");
}

#define SAVING(f) \
    .route = ROUTE_CROSS, .group = "server", \
    .flags = CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_ASYNC_LOADING | CMD_EVERY_SHARD | (f)

const struct command persist_commands[] = {
    {.name = "bgrewriteaof", .run = run_bgrewriteaof, .arity = 1, SAVING(0),
     .since = "1.0.0", .complexity = "O(1)", .syntax = "",
     .summary = "Writes the append-only file anew, as short as it can be, in the background."},
    {.name = "bgsave", .run = run_bgsave, .arity = -1, SAVING(0),
     .since = "1.0.0", .complexity = "O(1)", .syntax = "[SCHEDULE]",
     .summary = "Writes a snapshot in the background."},
    {.name = "lastsave", .run = run_lastsave, .arity = 1, .route = ROUTE_SESSION,
     .flags = CMD_LOADING | CMD_STALE | CMD_FAST, .acl = ACL_ADMIN | ACL_DANGEROUS,
     .group = "server", .since = "1.0.0", .complexity = "O(1)", .syntax = "",
     .summary = "Returns when the last snapshot was written: seconds since 1970.",
     .tips = "nondeterministic_output"},
    {.name = "save", .run = run_save, .arity = 1, SAVING(CMD_NO_MULTI | CMD_LATER),
     .since = "1.0.0",
     .complexity = "O(N) where N is the total number of keys in all databases", .syntax = "",
     .summary = "Writes a snapshot and waits for its end."},
    {0},
};
