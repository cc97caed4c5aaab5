/* CONFIG: the options that server/config.h reads, seen and changed by clients; the statistics. */
#include "server/config.h"

#include <errno.h>

#include "net/tls.h"
#include "server/accept.h"
#include "server/acl.h"
#include "server/cmd/config.h"
#include "server/cmd/tables.h"
#include "server/core.h"
#include "server/evict.h"
#include "server/listeners.h"
#include "server/observe.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/persist/save.h"
#include "server/server.h"
#include "server/session.h"
#include "server/tls.h"
#include "server/tracking.h"
#include "shard/call.h"

/* ---- CONFIG GET ---- */

struct pairs {
    struct reply reply; /* into a buffer of its own: the map's size comes first */
    size_t count;
};

static void add_pair(void *context, const char *name, const char *value)
{
    struct pairs *pairs = context;
    reply_bulk_text(&pairs->reply, name);
    reply_bulk_text(&pairs->reply, value);
    pairs->count++;
}

static void config_get_run(struct call *c)
{
    struct buf body;
    buf_init(&body);
    struct pairs pairs = {.reply = {.out = &body, .protocol = c->reply.protocol}};
    config_get(&server->config, c->argv + 2, c->argc - 2, add_pair, &pairs);
    reply_map(&c->reply, pairs.count);
    buf_append_slice(c->reply.out, buf_slice(&body));
    buf_deinit(&body);
}

/* ---- CONFIG SET ---- */

/* Raises the limit on open files where more clients shall be served. False where the system does
 * not allow it; the limit it does allow is then in server->config. */
static bool make_room_for_clients(int64_t before)
{
    int64_t wanted = server->config.maxclients;
    char why[CONFIG_ERROR_SIZE];
    if (wanted > before && !server_raise_file_limit(why, sizeof(why)))
        return false;
    return server->config.maxclients == wanted;
}

static void reply_no_room(struct call *c)
{
    reply_error(&c->reply,
                "ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating "
                "system is not able to handle the specified number of clients, try with %lld",
                (long long)server->config.maxclients);
}

/* Whether the append-only file is on is more than a value. False, having replied with the error,
 * where it cannot be turned on. */
static bool turn_append_only(struct call *c, bool before)
{
    char why[CONFIG_ERROR_SIZE];
    if (before && !server->config.appendonly)
        aof_turn_off(core_self());
    if (before || !server->config.appendonly || aof_turn_on(core_self(), why, sizeof(why)))
        return true;
    reply_error(&c->reply,
                "ERR CONFIG SET failed (possibly related to argument 'appendonly') - %s", why);
    return false;
}

static bool binds_alike(const struct config *a, const struct config *b)
{
    bool alike = a->bind_count == b->bind_count;
    for (uint32_t i = 0; alike && i < a->bind_count; i++)
        alike = strcmp(a->bind[i], b->bind[i]) == 0;
    return alike;
}

/* Moves to other addresses and ports. False, having replied with the error, where they cannot be
 * had. */
static bool move_listeners(struct call *c, const struct config *before)
{
    const struct config *changed = &server->config;
    bool rebound = !binds_alike(before, changed);
    bool moved = before->port != changed->port;
    if (!rebound && !moved && before->tls_port == changed->tls_port)
        return true;
    if (listeners_change(core_self()))
        return true;
    reply_error(&c->reply, "ERR CONFIG SET failed (possibly related to argument '%s') - %s",
                rebound ? "bind" : moved ? "port" : "tls-port",
                rebound ? "Failed to bind to specified addresses."
                        : "Unable to listen on this port. Check server logs.");
    return false;
}

static enum config_setter setter(const struct call *c)
{
    bool trusted = accept_allows(server->config.enable_protected_configs, c->session);
    return (trusted ? SETTER_TRUSTED : 0) | (load_in_progress() ? SETTER_LOADING : 0);
}

/* What the system has to grant. */
static bool apply_to_process(struct call *c, const struct config *before)
{
    const char *option, *why;
    if (process_apply_config(&server->process, before, &server->config, &option, &why))
        return true;
    reply_error(&c->reply, "ERR CONFIG SET failed (possibly related to argument '%s') - %s",
                option, why);
    return false;
}

/* Reads what is in force for connections to come. Certificates are renewed by naming their files
 * once more. */
static bool prepare_tls(struct call *c, const struct config *changed, struct tls_context **fresh)
{
    uint32_t count = (c->argc - 2) / 2, first = 0;
    if (tls_prepare(changed, c->argv + 2, count, &first, fresh))
        return true;
    reply_error(&c->reply,
                "ERR CONFIG SET failed (possibly related to argument '%.*s') - Unable to update "
                "TLS configuration. Check server logs.",
                (int)c->argv[2 + 2 * first].size, c->argv[2 + 2 * first].data);
    return false;
}

static bool move_directory(struct call *c, const struct config *before)
{
    if (strcmp(before->dir, server->config.dir) == 0 || config_enter_directory(&server->config))
        return true;
    reply_error(&c->reply, "ERR CONFIG SET failed (possibly related to argument 'dir') - %s",
                strerror(errno));
    return false;
}

/* What may fail. False, having replied with the error. The file that cannot be closed again without
 * a trace comes last. */
static bool take_effect(struct call *c, const struct config *before)
{
    if (!make_room_for_clients(before->maxclients)) {
        reply_no_room(c);
        return false;
    }
    return move_directory(c, before) && move_listeners(c, before) &&
           apply_to_process(c, before) && turn_append_only(c, before->appendonly);
}

/* The values from before, and what was done for others undone. */
static void take_back(struct config *before)
{
    struct config refused = server->config;
    const char *option, *why;
    server->config = *before;
    config_enter_directory(&server->config);
    listeners_change(core_self());
    process_apply_config(&server->process, &refused, &server->config, &option, &why);
    config_deinit(&refused);
}

/* Runs while all cores stand still: each sees the old values or all the new ones. */
static void config_set_run(struct call *c)
{
    if (c->argc % 2) {
        reply_error_syntax(&c->reply);
        return;
    }
    struct config changed;
    char error[CONFIG_ERROR_SIZE];
    if (!config_set(&server->config, c->argv + 2, (c->argc - 2) / 2, setter(c), &changed, error,
                    sizeof(error))) {
        reply_error(&c->reply, "%s", error);
        return;
    }
    struct tls_context *fresh;
    if (!prepare_tls(c, &changed, &fresh)) {
        config_deinit(&changed);
        return;
    }
    struct config before = server->config;
    server->config = changed;
    if (!take_effect(c, &before)) {
        take_back(&before);
        tls_context_release(fresh);
        return;
    }
    tls_take(fresh);
    server_tell_inert(&before);
    server_apply_config();
    if (!slice_equal(config_bytes_slice(&before.requirepass),
                     config_bytes_slice(&changed.requirepass)))
        acl_set_default_password(config_bytes_slice(&changed.requirepass));
    save_apply_config();
    tracking_apply_limit();
    for (uint32_t i = 0; i < server->core_count; i++)
        server->cores[i]->next_cron_us = 0; /* where limits fell there is something to do */
    config_deinit(&before);
    reply_ok(&c->reply);
}

/* ---- CONFIG REWRITE ---- */

void config_reply_rewrite(struct call *c, bool everything)
{
    if (!server->config.config_file) {
        reply_error(&c->reply, "ERR The server is running without a config file");
        return;
    }
    struct buf users;
    buf_init(&users);
    acl_append_config(&users);
    if (config_rewrite_file(&server->config, buf_slice(&users), everything)) {
        log_write(&server->log, LOG_NOTICE, "CONFIG REWRITE executed with success.");
        reply_ok(&c->reply);
    } else {
        const char *why = strerror(errno);
        log_write(&server->log, LOG_WARNING, "CONFIG REWRITE failed: %s", why);
        reply_error(&c->reply, "ERR Rewriting config file: %s", why);
    }
    buf_deinit(&users);
}

static void config_rewrite_run(struct call *c)
{
    config_reply_rewrite(c, false);
}

/* ---- CONFIG RESETSTAT ---- */

/* What stands for the server as a whole is the first core's to reset. The count of changes is no
 * statistic: it says what a snapshot would lack. Peaks stay, as with Redis. */
static void config_resetstat(struct call *c)
{
    struct core *core = server->cores[c->shard->index];
    core->stats = (struct core_stats){.cpu_base_us = core_cpu_us(core)};
    core->stale_share = 0;
    observe_forget_times(core);
    memset(core->command_stats, 0,
           registry_count(server->registry) * sizeof(*core->command_stats));
    core->error_kinds = 0;
    core->shard.stats = (struct shard_stats){
        .changes = core->shard.stats.changes, .freed_later = core->shard.garbage.count,
    };
    if (core->index != 0)
        return;
    atomic_store_explicit(&server->accepted_count, 0, memory_order_relaxed);
    atomic_store_explicit(&server->rejected_count, 0, memory_order_relaxed);
    evict_reset_stats();
    save_reset_stats();
    aof_reset_stats();
    journal_reset_stats();
}

/* ---- CONFIG HELP ---- */

static void config_help(struct call *c)
{
    static const char *const lines[] = {
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern> [<pattern> ...]",
        "    Return the options whose names match a glob-style <pattern>, and their values.",
        "SET <option> <value> [<option> <value> ...]",
        "    Change options: all of them, or none where one cannot be changed.",
        "RESETSTAT",
        "    Set the statistics that INFO reports back to zero.",
        "REWRITE",
        "    Write the options into the file that the server was started with.",
        "HELP",
        "    Print this help.",
    };
    reply_lines(&c->reply, lines, sizeof(lines) / sizeof(lines[0]));
}

#define ADMIN_FLAGS (CMD_ADMIN | CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)
#define SUBCOMMAND(word, body, args, f) \
    .name = word, .run = body, .arity = args, .flags = (f), .group = "server"
#define SET_ON_ALL_NODES "request_policy:all_nodes response_policy:all_succeeded"

static const struct command config_subcommands[] = {
    {SUBCOMMAND("get", config_get_run, -3, ADMIN_FLAGS),
     .since = "2.0.0",
     .complexity = "O(N) when N is the number of configuration parameters provided",
     .syntax = "parameter [parameter ...]",
     .summary = "Returns options and their values."},
    {SUBCOMMAND("help", config_help, 2, CMD_LOADING | CMD_STALE),
     .since = "5.0.0", .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {SUBCOMMAND("resetstat", config_resetstat, 2, ADMIN_FLAGS),
     .route = ROUTE_ALL, .split = SPLIT_OK, .since = "2.0.0", .complexity = "O(1)",
     .summary = "Sets the statistics that INFO reports back to zero.", .tips = SET_ON_ALL_NODES},
    {SUBCOMMAND("rewrite", config_rewrite_run, 2, ADMIN_FLAGS),
     .since = "2.8.0", .complexity = "O(1)",
     .summary = "Writes the configuration back into its file.", .tips = SET_ON_ALL_NODES},
    {SUBCOMMAND("set", config_set_run, -4, ADMIN_FLAGS | CMD_EVERY_SHARD),
     .route = ROUTE_CROSS, .since = "2.0.0",
     .complexity = "O(N) when N is the number of configuration parameters provided",
     .syntax = "parameter value [parameter value ...]",
     .summary = "Changes options while the server runs.", .tips = SET_ON_ALL_NODES},
    {.name = NULL},
};

const struct command config_commands[] = {
    {.name = "config", .arity = -2, .route = ROUTE_SESSION, .group = "server",
     .since = "2.0.0", .complexity = "Depends on subcommand.",
     .summary = "A container for commands on the configuration.",
     .subcommands = config_subcommands},
    {.name = NULL},
};
