/* Sessions: replies, from the buffer that commands write into to the ring. */
#include <assert.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/blocked.h"
#include "server/monitor.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "server/client_memory.h"
#include "server/cmd/client.h"
#include "server/pubsub.h"
#include "server/server.h"
#include "server/session.h"
#include "server/session_tls.h"
#include "server/tracking.h"
#include "server/transaction.h"

#define UNAUTHENTICATED_OUTPUT_MAX SESSION_CHUNK_SIZE
/* So many bytes of replies do not wait for more. */
#define GATHER_SIZE_MAX ((size_t)8 * 1024)
/* A message of others is copied up to this size where there is other output it can leave with. */
#define PUSH_COPY_MAX 4096
/* So many bytes are sealed at a time: what waits behind that is sealed when they were sent. */
#define SEAL_SIZE_MAX ((size_t)64 * 1024)

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
    c->stats.replies_grown += b->cap > 2 * CORE_OUTPUT_SIZE && !b->borrowed;
    if (usual && c->pool_count < CORE_POOL_SIZE) {
        b->size = 0;
        c->pool[c->pool_count++] = *b;
        buf_init(b);
    } else {
        c->dropped_bytes += b->cap;
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

static const struct config_output_limit *limit_of(const struct session *s)
{
    return &server->config.output_limits[s->subscriptions ? 2 : 0];
}

static void end_for_output(struct core *c, struct session *s)
{
    if (s->close_asked)
        return;
    struct buf line;
    buf_init(&line);
    client_describe(&line, s, c->wall_ms);
    log_write(&server->log, LOG_WARNING,
              "Client %.*s scheduled to be closed ASAP for overcoming of output buffer limits.",
              (int)line.size, line.data);
    buf_deinit(&line);
    c->stats.output_limit_closed++;
    session_end(c, s, false);
}

/* Whoever has not said the password, and does not take the errors that it earns. */
static bool is_strangers_excess(const struct session *s)
{
    return s->restricted && !s->was_authenticated && acl_is_stranger(s) &&
           session_output_size(s) > UNAUTHENTICATED_OUTPUT_MAX;
}

/* Above the hard limit, or with one reply that is longer than any may be: that was not written to
 * its end (call_reply_is_vain), also for a subscriber, whose own limit may be higher. */
static bool is_over(const struct session *s)
{
    uint64_t hard = limit_of(s)->hard, most = server->keyspace.options.reply_size_max;
    return (hard && session_output_size(s) > hard) || (most && s->out.size > most) ||
           is_strangers_excess(s);
}

/* Within a run of commands, where much has been written: the flush may be far. */
static void limit_output_early(struct core *c, struct session *s)
{
    if (is_over(s) && !s->replay)
        end_for_output(c, s);
}

struct buf *session_reply_begin_slow(struct core *c, struct session *s, size_t *mark)
{
    if (s->out.size >= SESSION_CHUNK_SIZE) {
        limit_output_early(c, s);
        put_chunk_aside(s);
    }
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
    size_t sealed = s->tls ? session_tls_output(s->tls) : 0;
    return s->sending.size + s->chunk_bytes + s->out.size + sealed;
}

size_t session_memory(const struct session *s)
{
    return sizeof(*s) + s->query.cap + s->retired.cap + s->out.cap + s->sending.cap +
           s->chunk_bytes + resp_memory(&s->parser) + s->name.size + s->lib_name.size +
           s->lib_version.size + pubsub_memory(s) + transaction_memory(s) + tracking_memory(s) +
           s->watch_memory + (s->tls ? session_tls_memory(s->tls) : 0);
}

/* Counts the sessions above their soft limit: cron looks after them while there are any. */
static void note_soft(struct core *c, struct session *s, int64_t since_us)
{
    c->over_soft_limit += (since_us != 0) - (s->soft_limit_since_us != 0);
    s->soft_limit_since_us = since_us;
}

static void drop_chunks(struct core *c, struct output_chunk **first, struct output_chunk **last)
{
    while (*first) {
        struct output_chunk *chunk = *first;
        *first = chunk->next;
        if (!chunk->shared)
            c->dropped_bytes += chunk->buf.cap;
        buf_deinit(&chunk->buf);
        if (chunk->shared)
            session_release_shared(chunk->shared);
        mem_free(chunk);
    }
    *last = NULL;
}

/* Lets go of a piece of output that was sent, or sealed. */
static void end_piece(struct core *c, struct buf *piece, struct output_shared **shared)
{
    if (*shared) {
        session_release_shared(*shared);
        *shared = NULL;
        buf_init(piece);
    } else {
        give_buffer(c, piece);
    }
}

static void end_sending(struct core *c, struct session *s)
{
    end_piece(c, &s->sending, &s->sending_shared);
}

void session_drop_output(struct core *c, struct session *s)
{
    note_soft(c, s, 0);
    drop_chunks(c, &s->chunks, &s->chunks_last);
    drop_chunks(c, &s->held, &s->held_last);
    if (s->pending)
        session_release_shared(s->pending);
    s->pending = NULL;
    s->chunk_bytes = 0;
    c->dropped_bytes += s->out.cap;
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
    if (s->out.size >= SESSION_CHUNK_SIZE)
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

/* Takes the next piece of output; false where there is none, or it must wait. */
static bool take_piece(struct core *c, struct session *s, struct buf *piece,
                       struct output_shared **shared)
{
    if (s->chunks) {
        struct output_chunk *chunk = s->chunks;
        if (journal_holds(c, chunk->must))
            return false;
        s->chunks = chunk->next;
        if (!s->chunks)
            s->chunks_last = NULL;
        s->chunk_bytes -= chunk->buf.size;
        *piece = chunk->buf;
        *shared = chunk->shared;
        mem_free(chunk);
    } else if (journal_holds(c, s->must)) {
        return false;
    } else if (s->pending) {
        s->chunk_bytes -= s->pending->size;
        *piece = borrow_shared(s->pending);
        *shared = s->pending;
        s->pending = NULL;
    } else if (s->out.size) {
        *piece = s->out;
        buf_init(&s->out);
    } else {
        if (s->out.data)
            give_buffer(c, &s->out);
        return false;
    }
    c->stats.output_bytes += piece->size;
    s->output_bytes += piece->size;
    return true;
}

/* Seals output for a peer of TLS, as much as shall leave together, behind what TLS itself has to
 * say; `sending` is then ciphertext. False where there is none. */
static bool seal_next(struct core *c, struct session *s)
{
    struct session_tls *t = s->tls;
    if (t->away)
        return false;
    struct buf *out = &t->conn->out;
    while (session_tls_open(t) && out->size < SEAL_SIZE_MAX) {
        if (!t->plain.size && !take_piece(c, s, &t->plain, &t->plain_shared))
            break;
        if (!out->data)
            *out = take_buffer(c);
        size_t left = t->plain.size - t->plain_at;
        size_t size = left < SEAL_SIZE_MAX ? left : SEAL_SIZE_MAX;
        tls_write(t->conn, t->plain.data + t->plain_at, size);
        t->plain_at += size;
        if (size < left)
            continue;
        end_piece(c, &t->plain, &t->plain_shared);
        t->plain_at = 0;
    }
    if (!out->size)
        return false;
    s->sending = *out;
    buf_init(out);
    return true;
}

/* Hands the next buffer to the ring, where none is with it. */
static void send_next(struct core *c, struct session *s)
{
    if (ring_sending(&s->conn) || s->closing)
        return;
    bool any = __builtin_expect(s->tls != NULL, 0)
                   ? seal_next(c, s)
                   : take_piece(c, s, &s->sending, &s->sending_shared);
    if (!any)
        return;
    c->stats.writes++;
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
    c->stats.writes++;
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

/* Sealing has its order from the conn: what the socket does not take stays there, sealed. */
static bool send_sealed_for(struct core *c, struct session *s)
{
    if (!session_tls_open(s->tls))
        return false;
    while (seal_next(c, s)) {
        size_t sent = ring_send_now(&s->conn, s->sending.data, s->sending.size);
        buf_consume(&s->sending, sent);
        if (s->sending.size) {
            s->tls->conn->out = s->sending;
            buf_init(&s->sending);
            return false;
        }
        end_sending(c, s);
    }
    return true;
}

static bool send_for(struct core *c, struct session *s)
{
    if (!may_send_for(s) || journal_holds(c, s->must))
        return false;
    if (__builtin_expect(s->tls != NULL, 0))
        return send_sealed_for(c, s);
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

/* client-output-buffer-limit, normal or pubsub. The core's time is that at which the iteration
 * began: as the beginning of the soft limit's time it would be early, as its end it is not. */
static void limit_output(struct core *c, struct session *s)
{
    const struct config_output_limit *limit = limit_of(s);
    size_t size = session_output_size(s);
    bool over = is_over(s);
    if (!limit->soft || size <= limit->soft)
        note_soft(c, s, 0);
    else if (!s->soft_limit_since_us)
        note_soft(c, s, core_clock_us());
    else if (c->now_us - s->soft_limit_since_us > (int64_t)limit->soft_s * 1000000)
        over = true;
    if (over)
        end_for_output(c, s);
}

/* See stops_listening in cron.c: whoever asked for the stop is closed with all others. */
static bool may_close(void)
{
    return !atomic_load_explicit(&server->shutdown_asked, memory_order_relaxed) ||
           atomic_load_explicit(&server->deaf, memory_order_relaxed);
}

static void close_where_due(struct core *c, struct session *s)
{
    bool idle = !s->bundle && !s->queued;
    if (s->peer_gone && idle && !s->more && !s->in_resume && !s->in_held)
        s->close_after_reply = true;
    bool owes = session_output_size(s) != 0 || ring_sending(&s->conn);
    if (s->closing || !(s->close_asked || (s->close_after_reply && idle && !owes)))
        return;
    if (!may_close())
        return;
    pubsub_leave(c, s);
    if (s->tls)
        session_tls_end(s);
    monitor_leave(c, s);
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
    if (__builtin_expect(server->client_memory_max != 0, 0))
        client_memory_note(c, s);
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
