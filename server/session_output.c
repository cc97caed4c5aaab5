/* Sessions: replies, from the buffer that commands write into to the ring. */
#include <assert.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/blocked.h"
#include "server/server.h"
#include "server/session.h"

/* A buffer of this size is put aside and the next begun. */
#define CHUNK_SIZE ((size_t)64 * 1024)

static struct buf take_buffer(struct core *c)
{
    if (c->pool_count)
        return c->pool[--c->pool_count];
    struct buf b;
    buf_init(&b);
    buf_reserve(&b, CORE_OUTPUT_SIZE);
    return b;
}

static void give_buffer(struct core *c, struct buf *b)
{
    bool usual = b->data && b->cap >= CORE_OUTPUT_SIZE && b->cap <= 2 * CORE_OUTPUT_SIZE;
    if (usual && c->pool_count < CORE_POOL_SIZE) {
        b->size = 0;
        c->pool[c->pool_count++] = *b;
        buf_init(b);
    } else {
        buf_deinit(b);
    }
}

/* Puts what was written aside, so that no buffer grows without bound. */
static void put_chunk_aside(struct session *s)
{
    struct output_chunk *chunk = mem_alloc(sizeof(*chunk));
    chunk->next = NULL;
    chunk->buf = s->out;
    buf_init(&s->out);
    if (s->chunks_last)
        s->chunks_last->next = chunk;
    else
        s->chunks = chunk;
    s->chunks_last = chunk;
    s->chunk_bytes += chunk->buf.size;
}

struct buf *session_reply_begin(struct core *c, struct session *s, size_t *mark)
{
    if (s->out.size >= CHUNK_SIZE)
        put_chunk_aside(s);
    if (!s->out.data)
        s->out = take_buffer(c);
    *mark = s->out.size;
    session_touch(c, s);
    return &s->out;
}

void session_reply_end(struct session *s, size_t mark)
{
    if (__builtin_expect(s->reply_mode == REPLY_ON, 1))
        return;
    s->out.size = mark;
    if (s->reply_mode == REPLY_SKIP)
        s->reply_mode = REPLY_ON;
    else if (s->reply_mode == REPLY_SKIP_NEXT)
        s->reply_mode = REPLY_SKIP;
}

void session_touch(struct core *c, struct session *s)
{
    if (s->in_touched)
        return;
    s->in_touched = true;
    s->next_touched = c->touched_sessions;
    c->touched_sessions = s;
}

void session_end(struct core *c, struct session *s, bool after_reply)
{
    if (after_reply)
        s->close_after_reply = true;
    else
        s->close_asked = true;
    session_touch(c, s);
}

size_t session_output_size(const struct session *s)
{
    return s->sending.size + s->chunk_bytes + s->out.size;
}

size_t session_memory(const struct session *s)
{
    return sizeof(*s) + s->query.cap + s->retired.cap + s->out.cap + s->sending.cap +
           s->chunk_bytes + resp_memory(&s->parser) + s->name.size + s->lib_name.size +
           s->lib_version.size;
}

/* Counts the sessions above their soft limit: cron looks after them while there are any. */
static void note_soft(struct core *c, struct session *s, int64_t since_ms)
{
    c->over_soft_limit += (since_ms != 0) - (s->soft_limit_since_ms != 0);
    s->soft_limit_since_ms = since_ms;
}

void session_drop_output(struct core *c, struct session *s)
{
    note_soft(c, s, 0);
    while (s->chunks) {
        struct output_chunk *chunk = s->chunks;
        s->chunks = chunk->next;
        buf_deinit(&chunk->buf);
        mem_free(chunk);
    }
    s->chunks_last = NULL;
    s->chunk_bytes = 0;
    buf_deinit(&s->out);
    buf_deinit(&s->sending);
}

/* Hands the next buffer to the ring, where none is with it. */
static void send_next(struct core *c, struct session *s)
{
    if (ring_sending(&s->conn) || s->closing)
        return;
    if (s->chunks) {
        struct output_chunk *chunk = s->chunks;
        s->chunks = chunk->next;
        if (!s->chunks)
            s->chunks_last = NULL;
        s->chunk_bytes -= chunk->buf.size;
        s->sending = chunk->buf;
        mem_free(chunk);
    } else if (s->out.size) {
        s->sending = s->out;
        buf_init(&s->out);
    } else {
        if (s->out.data)
            give_buffer(c, &s->out);
        return;
    }
    c->stats.output_bytes += s->sending.size;
    s->output_bytes += s->sending.size;
    ring_send(c->ring, &s->conn, s->sending.data, s->sending.size);
}

void session_sent(struct core *c, struct session *s, int error)
{
    give_buffer(c, &s->sending);
    if (error)
        session_end(c, s, false);
    else
        session_touch(c, s);
}

/* client-output-buffer-limit normal. */
static void limit_output(struct core *c, struct session *s)
{
    const struct config_output_limit *limit = &server->config.output_limits[0];
    size_t size = session_output_size(s);
    bool over = limit->hard && size > limit->hard;
    if (!limit->soft || size <= limit->soft)
        note_soft(c, s, 0);
    else if (!s->soft_limit_since_ms)
        note_soft(c, s, c->wall_ms);
    else if (c->wall_ms - s->soft_limit_since_ms > (int64_t)limit->soft_s * 1000)
        over = true;
    if (!over || s->close_asked)
        return;
    c->stats.output_limit_closed++;
    s->close_asked = true;
}

static void close_where_due(struct core *c, struct session *s)
{
    bool idle = !s->bundle && !s->queued;
    if (s->peer_gone && idle && !s->more && !s->in_resume && !s->in_held)
        s->close_after_reply = true;
    bool owes = session_output_size(s) != 0 || ring_sending(&s->conn);
    if (s->closing || !(s->close_asked || (s->close_after_reply && idle && !owes)))
        return;
    s->closing = true;
    ring_close(c->ring, &s->conn);
}

/* Nobody is there any more for whom it would wait. A peer that has only shut down its sending side
 * looks the same: the wait gets no reply, so what comes behind it must not run either. */
static void stop_waiting(struct core *c, struct session *s)
{
    if (!s->close_asked && !s->close_after_reply && !s->closing && !s->peer_gone)
        return;
    s->close_after_reply = true;
    blocked_cancel(c, s, BLOCKED_GONE, false);
}

void session_flush(struct core *c, struct session *s)
{
    if (s->blocked)
        stop_waiting(c, s);
    if (!s->bundle && !s->queued)
        session_continue(c, s);
    limit_output(c, s);
    if (!s->close_asked)
        send_next(c, s);
    close_where_due(c, s);
    if (s->closed && !s->bundle && !s->queued)
        session_closed(c, s);
}

static size_t append_quoted(char *text, size_t at, size_t size, struct slice word)
{
    at += (size_t)snprintf(text + at, size - at, "'%.*s' ",
                           (int)(word.size < 128 ? word.size : 128), word.data);
    return at < size ? at : size - 1;
}

char *session_unknown_text(struct core *c, const struct slice *argv, uint32_t argc)
{
    enum { TEXT_SIZE = 512, ARGS_SIZE = 128 };
    char *text = arena_alloc(&c->arena, TEXT_SIZE);
    size_t at = (size_t)snprintf(text, TEXT_SIZE,
                                 "ERR unknown command '%.*s', with args beginning with: ",
                                 (int)(argv[0].size < 128 ? argv[0].size : 128), argv[0].data);
    size_t begin = at;
    for (uint32_t i = 1; i < argc && at - begin < ARGS_SIZE; i++)
        at = append_quoted(text, at, TEXT_SIZE, argv[i]);
    return text;
}

char *session_subcommand_text(struct core *c, const struct command *row,
                              const struct slice *argv, uint32_t argc)
{
    enum { TEXT_SIZE = 512 };
    char *text = arena_alloc(&c->arena, TEXT_SIZE);
    if (argc < 2) {
        snprintf(text, TEXT_SIZE, "ERR wrong number of arguments for '%s' command",
                 row->full_name);
        return text;
    }
    char name[64];
    snprintf(name, sizeof(name), "%s", row->name);
    for (char *p = name; *p; p++)
        *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    snprintf(text, TEXT_SIZE, "ERR unknown subcommand '%.*s'. Try %s HELP.",
             (int)(argv[1].size < 128 ? argv[1].size : 128), argv[1].data, name);
    return text;
}
