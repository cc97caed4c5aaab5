/* The server group's small commands: TIME, LOLWUT, SHUTDOWN. */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "server/cmd/tables.h"
#include "server/persist/save.h"
#include "server/serve.h"
#include "server/server.h"
#include "server/session.h"
#include "shard/call.h"

static int64_t wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Time stands still within a script or a transaction, as it does for what expires. */
static void run_time(struct call *c)
{
    const struct core *core = core_self();
    int64_t now_us = c->may_wait ? wall_us() : core->now_us + core->wall_offset_us;
    reply_array(&c->reply, 2);
    reply_bulk_integer(&c->reply, now_us / 1000000);
    reply_bulk_integer(&c->reply, now_us % 1000000);
}

/* A shard of glass breaking: columns of random heights, as many as the client asks for. */
static void draw(struct buf *text, uint32_t columns, uint64_t random)
{
    for (int row = 4; row > 0; row--) {
        uint64_t state = random;
        for (uint32_t i = 0; i < columns; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            buf_append_text(text, (int)(state >> 61) / 2 + 1 >= row ? "/\\" : "  ");
        }
        buf_append_text(text, "\n");
    }
}

static void run_lolwut(struct call *c)
{
    int64_t columns = 20;
    for (uint32_t i = 1; i < c->argc; i++) {
        if (call_arg_is(c, i, "VERSION") && i + 1 < c->argc) {
            int64_t version;
            if (!call_arg_integer(c, ++i, &version))
                return;
        } else if (!call_arg_integer(c, i, &columns)) {
            return;
        }
    }
    if (columns < 1)
        columns = 1;
    if (columns > 60)
        columns = 60;

    struct buf text;
    buf_init(&text);
    draw(&text, (uint32_t)columns, shard_random(&core_self()->shard));
    buf_printf(&text, "\nRedis ver. %s (Lasca %s)\n", SERVER_REDIS_VERSION, LASCA_VERSION);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

static bool read_shutdown(struct call *c, struct shutdown_plan *plan, bool *abort_it)
{
    for (uint32_t i = 1; i < c->argc; i++) {
        if (call_arg_is(c, i, "NOSAVE"))
            plan->nosave = true;
        else if (call_arg_is(c, i, "SAVE"))
            plan->save = true;
        else if (call_arg_is(c, i, "FORCE"))
            plan->force = true;
        else if (call_arg_is(c, i, "ABORT"))
            *abort_it = true;
        else if (!call_arg_is(c, i, "NOW")) /* there are no replicas to wait for */
            return false;
    }
    return !(plan->save && plan->nosave) && !(*abort_it && c->argc > 2);
}

/* There is nothing to be written, or a script that runs for long is in its way: ends at once. */
static void stop_now(struct call *c)
{
    log_write(&server->log, LOG_NOTICE, "User requested shutdown...");
    atomic_store(&server->shutdown_asked, true);
    kill(getpid(), SIGUSR2);
    session_end(core_self(), c->session, true);
}

/* From its begin on clients are held, so nobody who could ABORT one is heard. */
static void run_shutdown(struct call *c)
{
    struct shutdown_plan plan = {.waited = true};
    bool abort_it = false;
    if (!read_shutdown(c, &plan, &abort_it)) {
        reply_error_syntax(&c->reply);
        return;
    }
    enum held_kind busy = serve_busy();
    if (abort_it) {
        reply_error(&c->reply, "ERR No shutdown in progress.");
    } else if (busy != HELD_NOT && !plan.nosave) {
        reply_error(&c->reply, "%s", serve_refusal(busy));
    } else if (busy != HELD_NOT || shutdown_is_trivial(&plan)) {
        stop_now(c);
    } else {
        c->later = shutdown_begin(&plan);
        if (!c->later)
            reply_error(&c->reply, "ERR Errors trying to SHUTDOWN. Check logs.");
    }
}

#define SERVER(f, categories) .flags = (f), .acl = (categories), .group = "server"

const struct command server_commands[] = {
    {.name = "lolwut", .run = run_lolwut, .arity = -1, .route = ROUTE_SESSION,
     SERVER(CMD_READONLY | CMD_FAST, 0),
     .since = "5.0.0", .complexity = "O(1)", .syntax = "[VERSION version]",
     .summary = "Draws something, and tells the version."},
    {.name = "shutdown", .run = run_shutdown, .arity = -1, .route = ROUTE_SESSION,
     SERVER(CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_MULTI | CMD_SENTINEL |
            CMD_ALLOW_BUSY | CMD_LATER, 0),
     .since = "1.0.0", .complexity = "O(N) when saving, where N is the number of keys",
     .syntax = "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
     .summary = "Writes a last snapshot, where save points are set, and stops the server."},
    {.name = "time", .run = run_time, .arity = 1, .route = ROUTE_SESSION,
     SERVER(CMD_LOADING | CMD_STALE | CMD_FAST, 0),
     .since = "2.6.0", .complexity = "O(1)", .syntax = "",
     .summary = "Returns the server's time: seconds and microseconds.",
     .tips = "nondeterministic_output"},
    {0},
};
