/* Loading commands: an append-only file's, which is what a client would send.
 *
 * The loader looks for the end of each command, so it knows where in the file the last whole one
 * and the last whole transaction end, and hands runs of whole commands to core 0. There a session
 * without a connection is fed with them: they are parsed, routed and run as a client's are, those
 * of other shards there, several shards at once. Its replies go nowhere; errors among them are
 * counted. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/mem.h"
#include "proto/resp.h"
#include "server/persist/load_inside.h"
#include "server/server.h"
#include "server/session.h"

/* A run goes out at this size. */
#define RUN_BYTES ((size_t)256 * 1024)
/* Bytes that wait in the session's query buffer, above which it is given no more. */
#define WAITING_MAX ((size_t)1 << 20)
#define NAME_SHOWN_MAX 64
#define LINE_SIZE_MAX (64 * 1024)

/* --- The loader --- */

struct reading {
    struct load *load;
    struct load_file *file;
    struct resp_parser parser;
    const char *run;      /* where the commands begin that are not handed out yet, in the buffer */
    bool in_transaction;
    uint64_t good;        /* offset behind the last whole command, or transaction */
};

static void hand_out_run(struct reading *r)
{
    size_t size = (size_t)(r->file->at - r->run);
    if (size) {
        struct load_batch *b = load_batch_create(LOAD_COMMANDS, 0, r->file->buffer);
        b->commands = (struct slice){r->run, size};
        load_hand_out(r->load, 0, b);
    }
    r->run = r->file->at;
}

/* More of the file, in another buffer. */
static enum load_file_end read_more(struct reading *r)
{
    hand_out_run(r);
    enum load_file_end end = load_file_more(r->file);
    r->run = r->file->at;
    return end;
}

static void fail_format(struct reading *r, const char *what)
{
    load_fail(r->load,
              "Bad file format reading the append only file %s: %s, at offset %" PRIu64
              ": make a backup of your AOF file, then use lasca-check-aof --fix "
              "<filename.manifest>, which cuts off all from there on",
              r->load->path, what, load_file_offset(r->file, r->file->at));
}

static void note_command(struct reading *r)
{
    const struct resp_parser *p = &r->parser;
    struct slice argv[2];
    uint32_t argc = p->args_count < 2 ? p->args_count : 2;
    for (uint32_t i = 0; i < argc; i++)
        argv[i] = (struct slice){p->base + p->args[i].offset, p->args[i].size};
    const struct command *row = argc ? registry_resolve_proper(server->registry, argv, argc) : NULL;
    if (!row || !row->run) {
        struct slice name = argc ? argv[0] : SLICE("");
        load_fail(r->load,
                  "Unknown command '%.*s' reading the append only file %s, at offset %" PRIu64
                  ": remove it from the file, or load it with a server that knows it",
                  (int)(name.size < NAME_SHOWN_MAX ? name.size : NAME_SHOWN_MAX), name.data,
                  r->load->path, load_file_offset(r->file, r->file->at));
        return;
    }
    if (row->acl & ACL_TRANSACTION) {
        r->in_transaction |= slice_is(argv[0], "multi");
        r->in_transaction &= !slice_is(argv[0], "exec") && !slice_is(argv[0], "discard");
    }
}

enum step { STEP_TAKEN, STEP_MORE, STEP_OVER };

/* A line that is no command, but a note: "#TS:" and a time. */
static enum step pass_line(struct reading *r)
{
    struct load_file *f = r->file;
    const char *end = memchr(f->at, '\n', (size_t)(f->end - f->at));
    if (!end)
        return STEP_MORE;
    hand_out_run(r);
    f->at = r->run = end + 1;
    return STEP_TAKEN;
}

static enum step take_command(struct reading *r)
{
    static const struct resp_limits limits = {INT64_MAX, INT32_MAX, LINE_SIZE_MAX};
    struct load_file *f = r->file;
    if (f->at == f->end)
        return STEP_MORE;
    if (*f->at == '#')
        return pass_line(r);
    if (*f->at != '*') {
        fail_format(r, "no command");
        return STEP_OVER;
    }
    switch (resp_parse(&r->parser, f->at, (size_t)(f->end - f->at), &limits)) {
    case RESP_MORE:
        return STEP_MORE;
    case RESP_ERROR:
        fail_format(r, r->parser.error);
        return STEP_OVER;
    case RESP_COMMAND:
        break;
    }
    note_command(r);
    f->at += r->parser.consumed;
    if ((size_t)(f->at - r->run) >= RUN_BYTES)
        hand_out_run(r);
    load_progress(r->load, f);
    return STEP_TAKEN;
}

static void truncate_file(struct reading *r)
{
    struct load *l = r->load;
    log_write(&server->log, LOG_WARNING,
              "!!! Warning: short read while loading the AOF file %s!!!", l->path);
    log_write(&server->log, LOG_WARNING, "!!! Truncating the AOF %s at offset %" PRIu64 " !!!",
              l->path, r->good);
    int fd = truncate(l->path, (off_t)r->good) == 0 ? r->file->fd : -1;
    if (fd < 0)
        load_fail(l, "Error truncating the AOF file %s: %s", l->path, strerror(errno));
    else if (fsync(fd) != 0)
        load_fail(l, "Error syncing the AOF file %s: %s", l->path, strerror(errno));
    else
        log_write(&server->log, LOG_WARNING,
                  "AOF %s loaded anyway because aof-load-truncated is enabled", l->path);
}

/* The file ends within a command or a transaction. */
static void end_short(struct reading *r, bool last)
{
    struct load *l = r->load;
    if (r->in_transaction)
        log_write(&server->log, LOG_WARNING,
                  "Revert incomplete MULTI/EXEC transaction from AOF file %s", l->path);
    if (last && l->truncates)
        truncate_file(r);
    else if (last)
        load_fail(l,
                  "Unexpected end of file reading the append only file %s, at offset %" PRIu64
                  ". You can: 1) Make a backup of your AOF file, then use lasca-check-aof --fix "
                  "<filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' "
                  "configuration option to yes and restart the server.",
                  l->path, r->good);
    else
        load_fail(l,
                  "Fatal error: the append only file %s ends too early, at offset %" PRIu64
                  ", and is not the last of its files. Make a backup of your AOF file, then use "
                  "lasca-check-aof --fix <filename.manifest>",
                  l->path, r->good);
}

static bool read_on(struct reading *r, bool last)
{
    enum step step = take_command(r);
    if (step == STEP_TAKEN && !r->in_transaction)
        r->good = load_file_offset(r->file, r->file->at);
    if (step != STEP_MORE)
        return step == STEP_TAKEN;
    enum load_file_end end = read_more(r);
    if (end == LOAD_FILE_READ)
        return true;
    if (end == LOAD_FILE_FAILED)
        load_fail(r->load, "Unrecoverable error reading the append only file %s: %s",
                  r->load->path, strerror(errno));
    else if (r->file->at < r->file->end || r->in_transaction)
        end_short(r, last);
    return false;
}

bool load_commands(struct load *l, struct load_file *f, bool last)
{
    struct reading r = {.load = l, .file = f, .run = f->at};
    r.good = load_file_offset(f, f->at);
    resp_init(&r.parser);
    while (!load_is_over(l) && read_on(&r, last))
        continue;
    if (!load_is_over(l))
        hand_out_run(&r);
    resp_deinit(&r.parser);
    load_settle(l);
    return !load_is_over(l);
}

/* --- Core 0 --- */

bool load_can_feed(const struct load *l)
{
    return !l->session || session_waiting(l->session) < WAITING_MAX;
}

void load_feed(struct load *l, struct core *c, struct load_batch *b)
{
    if (!l->session)
        l->session = session_create_replay(c);
    session_feed(c, l->session, b->commands);
    l->fed++;
    load_buffer_release(b->buffer);
    mem_free(b);
}

void load_look_after_session(struct load *l, struct core *c)
{
    if (!l->fed)
        return;
    if (l->session->close_after_reply)
        load_fail(l, "Cannot load %s: a command that cannot be parsed", l->path);
    else if (!session_is_idle(l->session))
        return;
    pthread_mutex_lock(&l->mutex);
    l->under_way -= l->fed;
    l->fed = 0;
    pthread_cond_signal(&l->settled);
    pthread_mutex_unlock(&l->mutex);
}

void load_drop_session(struct load *l, struct core *c)
{
    if (l->session)
        session_destroy_replay(c, l->session);
    l->session = NULL;
}

void load_replied(struct slice reply)
{
    if (!reply.size || reply.data[0] != '-')
        return;
    const char *end = memchr(reply.data, '\r', reply.size);
    struct load *l = server->load;
    if (atomic_fetch_add_explicit(&l->command_errors, 1, memory_order_relaxed) < 10)
        log_write(&server->log, LOG_WARNING,
                  "== CRITICAL == This server is sending an error to its AOF-loading-client: "
                  "'%.*s'",
                  (int)(end ? end - reply.data : 0), reply.data);
}
