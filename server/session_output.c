/* Sessions: replies, from the buffer that commands write into to the ring. */
#include <assert.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/blocked.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/pubsub.h"
#include "server/server.h"
#include "server/session.h"
#include "server/transaction.h"

/* A buffer of this size is put aside and the next begun. */
#define CHUNK_SIZE ((size_t)64 * 1024)
/* So many bytes of replies do not wait for more. */
#define GATHER_SIZE_MAX ((size_t)8 * 1024)
/* A message of others is copied up to this size where there is other output it can leave with. */
#define PUSH_COPY_MAX 4096

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

static void add_chunk(struct session *s, struct buf buf, struct output_shared *shared)
{
    struct output_chunk *chunk = mem_alloc(sizeof(*chunk));
    *chunk = (struct output_chunk){.buf = buf, .shared = shared, .must = s->must};
    if (s->chunks_last)
        s->chunks_last->next = chunk;
    else
        s->chunks = chunk;
    s->chunks_last = chunk;
}

static struct buf borrow_shared(struct output_shared *m)
{
    struct buf b;
    buf_init_borrowed(&b, m->bytes, m->size);
    b.size = m->size;
    return b;
}

/* Puts what was written aside, so that no buffer grows without bound. */
static void put_chunk_aside(struct session *s)
{
    if (s->pending)
        add_chunk(s, borrow_shared(s->pending), s->pending);
    s->pending = NULL;
    if (!s->out.size)
        return;
    s->chunk_bytes += s->out.size;
    add_chunk(s, s->out, NULL);
    buf_init(&s->out);
}

void session_release_shared(struct output_shared *m)
{
    if (--m->references == 0)
        mem_free(m);
}

/* A small message that waits leaves together with what is written behind it. `out` is empty. */
static void absorb_pending(struct session *s)
{
    struct output_shared *m = s->pending;
    if (!m || m->size > PUSH_COPY_MAX)
        return;
    s->pending = NULL;
    s->chunk_bytes -= m->size;
    buf_append(&s->out, m->bytes, m->size);
    session_release_shared(m);
}

struct buf *session_reply_begin(struct core *c, struct session *s, size_t *mark)
{
    if (s->out.size >= CHUNK_SIZE)
        put_chunk_aside(s);
    if (!s->out.data) {
        s->out = take_buffer(c);
        absorb_pending(s);
    }
    *mark = s->out.size;
    session_touch(c, s);
    return &s->out;
}

void session_reply_end(struct session *s, size_t mark)
{
    if (__builtin_expect(s->reply_mode == REPLY_ON, 1))
        return;
    if (s->replay)
        load_replied((struct slice){s->out.data + mark, s->out.size - mark});
    if (!s->pushed)
        s->out.size = mark;
    s->pushed = false;
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
           s->lib_version.size + pubsub_memory(s) + transaction_memory(s);
}

/* Counts the sessions above their soft limit: cron looks after them while there are any. */
static void note_soft(struct core *c, struct session *s, int64_t since_ms)
{
    c->over_soft_limit += (since_ms != 0) - (s->soft_limit_since_ms != 0);
    s->soft_limit_since_ms = since_ms;
}

static void drop_chunks(struct output_chunk **first, struct output_chunk **last)
{
    while (*first) {
        struct output_chunk *chunk = *first;
        *first = chunk->next;
        buf_deinit(&chunk->buf);
        if (chunk->shared)
            session_release_shared(chunk->shared);
        mem_free(chunk);
    }
    *last = NULL;
}

static void end_sending(struct core *c, struct session *s)
{
    if (s->sending_shared) {
        session_release_shared(s->sending_shared);
        s->sending_shared = NULL;
        buf_init(&s->sending);
    } else {
        give_buffer(c, &s->sending);
    }
}

void session_drop_output(struct core *c, struct session *s)
{
    note_soft(c, s, 0);
    drop_chunks(&s->chunks, &s->chunks_last);
    drop_chunks(&s->held, &s->held_last);
    if (s->pending)
        session_release_shared(s->pending);
    s->pending = NULL;
    s->chunk_bytes = 0;
    buf_deinit(&s->out);
    end_sending(c, s);
}

/* --- Messages of others --- */

static bool holds_pushes(const struct session *s)
{
    return s->holds_pushes || (s->bundle && !s->blocked);
}

static void hold(struct session *s, struct output_shared *m)
{
    struct output_chunk *chunk = mem_alloc(sizeof(*chunk));
    *chunk = (struct output_chunk){.buf = borrow_shared(m), .shared = m, .must = s->must};
    m->references++;
    s->chunk_bytes += m->size;
    if (s->held_last)
        s->held_last->next = chunk;
    else
        s->held = chunk;
    s->held_last = chunk;
}

void session_release_held_pushes(struct core *c, struct session *s)
{
    if (!s->held || holds_pushes(s))
        return;
    put_chunk_aside(s);
    if (s->chunks_last)
        s->chunks_last->next = s->held;
    else
        s->chunks = s->held;
    s->chunks_last = s->held_last;
    s->held = s->held_last = NULL;
    session_touch(c, s);
}

/* One that has several messages to send, and no buffer for them, gets one that fits: a message may
 * have thousands of receivers. */
static void copy(struct core *c, struct session *s, const struct output_shared *m)
{
    if (s->out.size >= CHUNK_SIZE)
        put_chunk_aside(s);
    if (!s->out.data) {
        if (c->pool_count)
            s->out = c->pool[--c->pool_count];
        else
            buf_reserve(&s->out, 2 * m->size + (s->pending ? s->pending->size : 0));
        absorb_pending(s);
    }
    buf_append(&s->out, m->bytes, m->size);
}

void session_push(struct core *c, struct session *s, struct output_shared *m)
{
    if (s->closing || s->close_asked || s->close_after_reply)
        return;
    session_touch(c, s);
    session_needs(s, c->journal.must);
    if (__builtin_expect(s->held || holds_pushes(s), 0)) {
        hold(s, m);
        return;
    }
    if ((s->pending || s->out.size) && m->size <= PUSH_COPY_MAX) {
        copy(c, s, m);
        return;
    }
    if (s->pending || s->out.size)
        put_chunk_aside(s);
    s->pending = m;
    m->references++;
    s->chunk_bytes += m->size;
}

/* --- Sending --- */

/* Hands the next buffer to the ring, where none is with it. */
static void send_next(struct core *c, struct session *s)
{
    if (ring_sending(&s->conn) || s->closing)
        return;
    if (s->chunks) {
        struct output_chunk *chunk = s->chunks;
        if (journal_holds(c, chunk->must))
            return;
        s->chunks = chunk->next;
        if (!s->chunks)
            s->chunks_last = NULL;
        s->chunk_bytes -= chunk->buf.size;
        s->sending = chunk->buf;
        s->sending_shared = chunk->shared;
        mem_free(chunk);
    } else if (journal_holds(c, s->must)) {
        return;
    } else if (s->pending) {
        s->chunk_bytes -= s->pending->size;
        s->sending = borrow_shared(s->pending);
        s->sending_shared = s->pending;
        s->pending = NULL;
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

/* Whether what is written now follows directly on what the socket has been given. `sending` is the
 * core's own word for what its ring is at: it changes only while the core has its shard. */
static bool may_send_for(const struct session *s)
{
    bool in_use = s->bundle || s->queued || s->held || s->holds_pushes;
    bool ends = s->closing || s->close_asked || s->close_after_reply || s->peer_gone || s->closed;
    return !in_use && !ends && !s->chunks && !s->sending.size && !(s->pending && s->out.size);
}

/* All that waits is `pending` or `out`: takes away what was sent. */
static void note_sent_for(struct core *c, struct session *s, size_t sent)
{
    struct output_shared *m = s->pending;
    c->stats.output_bytes += sent;
    s->output_bytes += sent;
    if (!m) {
        buf_consume(&s->out, sent);
    } else if (sent > 0) {
        s->pending = NULL;
        s->chunk_bytes -= m->size;
        if (sent < m->size)
            buf_append(&s->out, m->bytes + sent, m->size - sent);
        session_release_shared(m);
    }
    if (!s->pending && !s->out.size && s->out.data)
        give_buffer(c, &s->out);
}

static bool send_for(struct core *c, struct session *s)
{
    if (!may_send_for(s) || journal_holds(c, s->must))
        return false;
    struct slice all = s->pending ? (struct slice){s->pending->bytes, s->pending->size}
                                  : buf_slice(&s->out);
    if (all.size) {
        size_t sent = ring_send_now(&s->conn, all.data, all.size);
        note_sent_for(c, s, sent);
        return sent == all.size;
    }
    return true;
}

bool session_send_for(struct core *c)
{
    struct session *s = c->touched_sessions;
    c->touched_sessions = NULL;
    while (s) {
        struct session *next = s->next_touched;
        s->in_touched = false;
        if (!send_for(c, s))
            session_touch(c, s);
        s = next;
    }
    return c->touched_sessions == NULL;
}

void session_sent(struct core *c, struct session *s, int error)
{
    end_sending(c, s);
    if (error)
        session_end(c, s, false);
    else
        session_touch(c, s);
}

/* client-output-buffer-limit, normal or pubsub. */
static void limit_output(struct core *c, struct session *s)
{
    const struct config_output_limit *limit =
        &server->config.output_limits[s->subscriptions ? 2 : 0];
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
    pubsub_leave(c, s);
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

/* More of the pipeline is being answered: replies leave with those to come, as they would where one
 * thread runs it all. Whoever waits in a command that blocks gets those before it first. */
static bool more_replies_come(const struct session *s)
{
    bool answering = (s->bundle && !s->blocked) || s->in_resume;
    return answering && !s->chunks && !s->pending && s->out.size < GATHER_SIZE_MAX;
}

/* Its output waits for a commit. What has been written by now waits for no later one, however much
 * is written behind it: it stands at the gate, as the last of the chunks, and one at a time. */
static void wait_at_gate(struct core *c, struct session *s)
{
    if (!s->chunks_last || !journal_holds(c, s->chunks_last->must))
        put_chunk_aside(s);
    if (s->chunks)
        journal_await(c, s);
}

void session_flush(struct core *c, struct session *s)
{
    if (s->blocked)
        stop_waiting(c, s);
    if (!s->bundle && !s->queued)
        session_continue(c, s);
    if (__builtin_expect(s->replay, 0)) {
        if (s->out.data)
            give_buffer(c, &s->out);
        return;
    }
    limit_output(c, s);
    if (!s->close_asked && !more_replies_come(s)) {
        if (journal_holds(c, s->must))
            wait_at_gate(c, s);
        send_next(c, s);
    }
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
