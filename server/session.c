/* Sessions: input, and how requests go on their way. Output is in session_output.c. */
#include "server/session.h"

#include <assert.h>
#include <stdio.h>

#include "net/listener.h"
#include "proto/mem.h"
#include "server/acl.h"
#include "server/blocked.h"
#include "server/config_option.h"
#include "server/effects.h"
#include "server/evict.h"
#include "server/bundle.h"
#include "server/client_memory.h"
#include "server/cmd/client.h"
#include "server/serve.h"
#include "server/cron.h"
#include "server/execute.h"
#include "server/monitor.h"
#include "server/pubsub.h"
#include "server/route.h"
#include "server/server.h"
#include "server/transaction.h"
#include "server/session_table.h"
#include "server/session_tls.h"
#include "server/tracking.h"
#include "server/write_fault.h"

/* Unread bytes behind a dispatch under way, above which the socket is left alone until it is done.
 * */
#define QUERY_PAUSE_SIZE ((size_t)64 * 1024)
#define BATCH_MIN 4
/* Bytes of one session, above which others have their turn before it is fed on. */
#define FEED_MAX ((size_t)64 * 1024)
/* How often the log tells of HTTP on this port. */
#define HTTP_TELL_US 60000000
#define UNAUTHENTICATED_BULK_MAX 16384
#define UNAUTHENTICATED_ARGS_MAX 10
#define INLINE_SIZE_MAX (64 * 1024)

struct session *session_create(struct core *c, int fd, uint64_t id)
{
    struct session *s = mem_alloc_zeroed(sizeof(*s));
    s->conn.fd = fd;
    s->id = id;
    s->home = c->index;
    s->protocol = 2;
    s->batch_max = BUNDLE_ITEMS_MAX;
    acl_begin_session(s);
    s->created_ms = s->last_active_ms = c->wall_ms;
    char peer[LISTENER_NAME_SIZE];
    listener_peer_name(fd, peer, sizeof(peer));
    s->peer = config_string_copy(slice_of(peer));
    resp_init(&s->parser);
    s->next = c->sessions;
    if (c->sessions)
        c->sessions->previous = s;
    c->sessions = s;
    c->session_count++;
    session_table_add(c, s);
    return s;
}

struct session *session_create_replay(struct core *c)
{
    struct session *s = mem_alloc_zeroed(sizeof(*s));
    s->conn.fd = -1;
    s->home = c->index;
    s->protocol = 2;
    s->batch_max = BUNDLE_ITEMS_MAX;
    s->authenticated = s->replay = true;
    s->reply_mode = REPLY_OFF;
    resp_init(&s->parser);
    return s;
}

static void free_slice(struct slice *s)
{
    mem_free((char *)s->data);
    *s = (struct slice){0};
}

static void leave_list(struct session **list, struct session *s, size_t next_offset)
{
    while (*list && *list != s)
        list = (struct session **)((char *)*list + next_offset);
    if (*list)
        *list = *(struct session **)((char *)s + next_offset);
}

static void destroy(struct core *c, struct session *s)
{
    assert(s->closed && !s->bundle && !s->queued);
    session_tls_destroy(c, s);
    pubsub_leave(c, s); /* of what a transaction has subscribed to since it was closed */
    monitor_leave(c, s);
    if (s->in_resume)
        leave_list(&c->resume, s, offsetof(struct session, next_resume));
    if (s->in_touched)
        leave_list(&c->touched_sessions, s, offsetof(struct session, next_touched));
    if (s->in_held)
        leave_list(&c->held, s, offsetof(struct session, next_held));
    if (s->in_gated)
        journal_await_end(c, s);
    if (s->previous)
        s->previous->next = s->next;
    else
        c->sessions = s->next;
    if (s->next)
        s->next->previous = s->previous;
    c->session_count--;
    session_table_remove(c, s);
    client_memory_forget(c, s);
    tracking_leave(c, s);
    atomic_fetch_sub_explicit(&server->session_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->load, 1, memory_order_relaxed);
    transaction_discard(c, s);
    resp_deinit(&s->parser);
    buf_deinit(&s->query);
    buf_deinit(&s->retired);
    session_drop_output(c, s);
    free_slice(&s->name);
    free_slice(&s->lib_name);
    free_slice(&s->lib_version);
    mem_free(s->peer);
    mem_free(s);
}

void session_destroy_replay(struct core *c, struct session *s)
{
    assert(s->replay && !s->bundle && !s->queued && !s->in_held);
    if (s->in_resume)
        leave_list(&c->resume, s, offsetof(struct session, next_resume));
    if (s->in_touched)
        leave_list(&c->touched_sessions, s, offsetof(struct session, next_touched));
    transaction_discard(c, s);
    resp_deinit(&s->parser);
    buf_deinit(&s->query);
    buf_deinit(&s->retired);
    session_drop_output(c, s);
    mem_free(s);
}

void session_closed(struct core *c, struct session *s)
{
    s->closed = true;
    if (s->blocked && c->serving) {
        session_touch(c, s);
        return;
    }
    if (s->blocked)
        blocked_cancel(c, s, BLOCKED_GONE, false);
    if (!s->bundle && !s->queued && !session_tls_away(s))
        destroy(c, s);
}

/* The query buffer. */

static size_t query_size(const struct session *s)
{
    return s->query.size - s->query_at;
}

/* Pinned bytes stay where they are: the rest moves to a new buffer with room for more. */
static void query_part(struct session *s, size_t more)
{
    assert(s->pinned && !s->retired.data);
    struct buf fresh;
    buf_init(&fresh);
    buf_reserve(&fresh, query_size(s) + more);
    buf_append(&fresh, s->query.data + s->query_at, query_size(s));
    s->retired = s->query;
    s->query = fresh;
    s->query_at = 0;
}

/* Grows by as much again, but where it is known how much is missing, by no more than that: a large
 * request then takes its own size, and never more than twice what has come of it. */
static void query_grow(struct session *s, size_t more)
{
    size_t least = s->query.size + more, cap = 2 * s->query.cap;
    size_t whole = s->query_at + s->parser.needed;
    if (s->pinned || s->query.cap < QUERY_PAUSE_SIZE || whole < least || whole > cap)
        return;
    s->query.data = mem_realloc(s->query.data, whole);
    s->query.cap = whole;
}

static void query_append(struct session *s, const char *data, size_t size)
{
    bool fits = s->query.cap - s->query.size >= size;
    if (!fits && s->pinned && !s->retired.data)
        query_part(s, size);
    else if (!fits && s->query_at) {
        buf_consume(&s->query, s->query_at);
        s->query_at = 0;
    }
    if (s->query.cap - s->query.size < size)
        query_grow(s, size);
    buf_append(&s->query, data, size);
}

static void query_unpin(struct session *s)
{
    s->pinned = false;
    buf_deinit(&s->retired);
    if (s->query.data && s->query_at == s->query.size) {
        buf_deinit(&s->query);
        s->query_at = 0;
    }
}

/* Feeding. */

static struct resp_limits limits_of(const struct session *s)
{
    if (s->replay)
        return (struct resp_limits){INT64_MAX, INT32_MAX, INLINE_SIZE_MAX};
    if (!s->restricted || !acl_is_stranger(s))
        return (struct resp_limits){(uint64_t)server->config.proto_max_bulk_len, INT32_MAX,
                                    INLINE_SIZE_MAX};
    return (struct resp_limits){UNAUTHENTICATED_BULK_MAX, UNAUTHENTICATED_ARGS_MAX,
                                INLINE_SIZE_MAX};
}

/* What runs and is journaled has the row's own name; what an append-only file names so is known by
 * it, whatever clients call it. */
static __attribute__((noinline)) void settle_name(const struct session *s, struct request *r,
                                                  struct slice *argv)
{
    if (s->replay)
        r->command = registry_resolve_proper(server->registry, argv, r->argc);
    if (r->command && r->command->flags & CMD_RENAMED)
        argv[0] = command_proper_name(r->command);
}

static void gather_request(struct core *c, struct session *s, struct request *r, const char *data,
                           size_t size)
{
    const struct resp_parser *p = &s->parser;
    uint32_t argc = p->args_count;
    struct slice *argv = arena_alloc(&c->arena, argc * sizeof(*argv));
    const char *base = p->base;
    if (base < data || base >= data + size) { /* an inline command: its words are the parser's */
        size_t bytes = p->args[argc - 1].offset + p->args[argc - 1].size;
        char *words = arena_alloc(&c->arena, bytes);
        memcpy(words, base, bytes);
        base = words;
    }
    for (uint32_t i = 0; i < argc; i++)
        argv[i] = (struct slice){base + p->args[i].offset, p->args[i].size};
    *r = (struct request){
        .session = s,
        .command = registry_resolve(server->registry, argv, argc),
        .argv = argv,
        .argc = argc,
    };
    if (__builtin_expect(!r->command || r->command->flags & CMD_RENAMED, 0))
        settle_name(s, r, argv);
}

static void tell_protocol_error(struct core *c, struct session *s, const char *text)
{
    size_t mark;
    struct reply r = {.out = session_reply_begin(c, s, &mark), .protocol = s->protocol};
    reply_error(&r, "ERR %s", text);
    session_end(c, s, true);
}

/* What comes behind a command that blocks waits for it; and behind one that may make the session
 * another user's, where the one it is now has limits. */
static bool ends_batch(const struct session *s, const struct request *r)
{
    return r->command && (command_may_block(r->command, r->argv, r->argc) ||
                          (s->restricted && (r->command->flags & CMD_NO_AUTH)));
}

/* True where nothing needs to be known of a request before the next is parsed: the usual case. */
static bool is_plain(const struct session *s, const struct request *r)
{
    return !s->transaction && (!r->command || !(r->command->flags & CMD_PARSED_APART));
}

static void parser_restart(struct session *s)
{
    resp_deinit(&s->parser);
    resp_init(&s->parser);
}

/* A request parsed that a transaction is concerned with. True where it goes with the batch; false
 * where it does not, and *at is behind it, or before it where it is to be parsed again. */
static bool gather_queued(struct core *c, struct session *s, uint32_t before, size_t *at,
                          enum transaction_step *step)
{
    struct request *r = &c->batch[before];
    bool held = before == 0 && route_holds_back(c, r);
    *step = held ? TRANSACTION_LATER : transaction_take(c, s, r, before);
    if (*step == TRANSACTION_LATER) {
        *at -= s->parser.consumed;
        parser_restart(s);
    }
    if (held)
        session_hold(c, s);
    return *step == TRANSACTION_ROUTE;
}

/* Parses as many requests as may go together. Returns how many; *at is left behind the last, *begun
 * before the first: what lies before that was queued. It is one where that may decide whether the
 * next is admitted, and so where it goes; and while the core serves (serve.h), when nothing is
 * queued. */
static uint32_t parse_batch(struct core *c, struct session *s, const char *data, size_t size,
                            size_t *begun, size_t *at, enum resp_status *status)
{
    struct resp_limits limits = limits_of(s);
    uint32_t max = !s->one_at_a_time && !c->serving ? s->batch_max : 1;
    uint32_t n = 0;
    *status = RESP_MORE;
    while (*at < size && n < max) {
        *status = resp_parse(&s->parser, data + *at, size - *at, &limits);
        if (*status != RESP_COMMAND)
            break;
        if (s->parser.args_count)
            gather_request(c, s, &c->batch[n], data, size);
        *at += s->parser.consumed;
        c->batch[n].end = *at - *begun;
        if (!s->parser.args_count)
            continue;
        if (__builtin_expect(is_plain(s, &c->batch[n]), 1)) {
            n++;
            continue;
        }
        if (transaction_concerns(s->transaction, c->batch[n].command) && !c->serving) {
            enum transaction_step step = TRANSACTION_TAKEN;
            if (gather_queued(c, s, n, at, &step))
                return n + 1;
            if (step != TRANSACTION_TAKEN)
                return n;
            *begun = *at;
            continue;
        }
        n++;
        if (ends_batch(s, &c->batch[n - 1]))
            break;
    }
    return n;
}

/* What is parsed and not taken is parsed again: where commands that divide a pipeline come often,
 * less is parsed at a time. */
static void adapt_batch(struct session *s, uint32_t parsed, uint32_t taken)
{
    uint32_t max = 2 * (taken < parsed ? taken : s->batch_max);
    s->batch_max = max < BATCH_MIN ? BATCH_MIN : max < BUNDLE_ITEMS_MAX ? max : BUNDLE_ITEMS_MAX;
}

/* Feeds one batch: see feed. */
static size_t feed_batch(struct core *c, struct session *s, const char *data, size_t size,
                         bool copy)
{
    size_t begun = 0, at = 0;
    enum resp_status status;
    uint32_t n = parse_batch(c, s, data, size, &begun, &at, &status);
    c->parsers_grown |= resp_has_grown(&s->parser);
    s->more = false;
    if (n == 0) {
        if (status == RESP_ERROR)
            tell_protocol_error(c, s, s->parser.error);
        s->more = status == RESP_COMMAND && at < size;
        return at;
    }
    struct slice source = {data + begun, size - begun};
    uint32_t taken = route_requests(c, s, c->batch, n, source, copy);
    if (taken)
        s->last_command = c->batch[taken - 1].command;
    bool all = taken == n && status != RESP_ERROR;
    adapt_batch(s, n, taken);
    if (!all || status == RESP_COMMAND)
        s->more = taken < n || at < size;
    if (!all) {
        parser_restart(s);
        at = taken == n ? at : begun + (taken ? c->batch[taken - 1].end : 0);
    }
    if (taken == 0)
        session_hold(c, s);
    return at;
}

/* Bytes that come now must wait. Pinned alone: a bundle came home within the gather, and what it
 * points into is let go at the flush. */
static bool busy(const struct session *s)
{
    return s->bundle || s->queued || s->pinned || s->in_resume || s->in_held || s->closing ||
           s->close_after_reply || s->close_asked;
}

/* Feeds bytes that begin where a request begins; returns how many were taken. `copy`: they do not
 * outlive the iteration. Sets s->more. A transaction that was run at once lets the next one follow.
 * */
static size_t feed(struct core *c, struct session *s, const char *data, size_t size, bool copy)
{
    size_t at = 0;
    bool again;
    do {
        at += feed_batch(c, s, data + at, size - at, copy);
        again = s->more && at < FEED_MAX && s->last_command &&
                s->last_command->run == transaction_run_exec && !busy(s);
    } while (again);
    return at;
}

static void feed_query(struct core *c, struct session *s)
{
    assert(!s->pinned);
    if (query_size(s) == 0 || query_size(s) < s->parser.needed) {
        s->more = false;
        return;
    }
    size_t used = feed(c, s, s->query.data + s->query_at, query_size(s), false);
    s->query_at += used;
    s->pinned = s->bundle || s->queued;
    if (!s->pinned)
        query_unpin(s);
}

bool session_next_request(struct core *c, struct session *s, struct request *r)
{
    s->more = false;
    if (!busy(s) && query_size(s) > 0 && query_size(s) >= s->parser.needed) {
        size_t begun = 0, at = 0;
        enum resp_status status;
        uint32_t n = parse_batch(c, s, s->query.data + s->query_at, query_size(s), &begun, &at,
                                 &status);
        s->query_at += at;
        if (status == RESP_ERROR)
            tell_protocol_error(c, s, s->parser.error);
        if (n > 0) {
            *r = c->batch[0];
            s->last_command = r->command;
            return true;
        }
    }
    s->more = busy(s) && query_size(s) > 0;
    if (!s->pinned && query_size(s) == 0)
        query_unpin(s);
    return false;
}

static void end_for_query(struct core *c, struct session *s)
{
    struct buf line;
    buf_init(&line);
    client_describe(&line, s, c->wall_ms);
    log_write(&server->log, LOG_WARNING,
              "Closing client that reached max query buffer length: %.*s", (int)line.size,
              line.data);
    buf_deinit(&line);
    c->stats.query_limit_closed++;
    session_end(c, s, false);
}

static void limit_query(struct core *c, struct session *s)
{
    size_t size = query_size(s) + transaction_memory(s);
    if (size > (uint64_t)server->config.client_query_buffer_limit) {
        end_for_query(c, s);
    } else if (busy(s) && query_size(s) > QUERY_PAUSE_SIZE && !s->receiving_paused && !s->closing &&
               !s->blocked) {
        s->receiving_paused = true;
        ring_pause(c->ring, &s->conn);
    }
}

/* Who waits is read on, however much stands behind the command: else nobody would learn that the
 * peer has gone, and it would be served. */
void session_waits(struct core *c, struct session *s)
{
    session_touch(c, s); /* the replies before it */
    session_release_held_pushes(c, s);
    tracking_wait(c, s);
    if (!s->receiving_paused || s->closing)
        return;
    s->receiving_paused = false;
    ring_resume(c->ring, &s->conn);
}

/* Nothing is under way and no whole request waits: what is missing must come from the socket. */
static void receive_again(struct core *c, struct session *s)
{
    if (!s->receiving_paused || busy(s))
        return;
    s->receiving_paused = false;
    ring_resume(c->ring, &s->conn);
}

/* True where what has come makes it a client that is evicted: then its request is not run. */
static bool is_too_much(struct core *c, struct session *s)
{
    client_memory_note(c, s);
    client_memory_limit(c, false);
    return s->close_asked;
}

void session_received(struct core *c, struct session *s, const char *data, size_t size)
{
    if (size == 0) {
        s->peer_gone = true; /* what it sent before is still answered: session_flush closes */
        session_touch(c, s);
        return;
    }
    s->input_bytes += size;
    c->stats.input_bytes += size;
    c->stats.reads++;
    s->last_active_ms = c->wall_ms;
    if (s->close_after_reply || s->close_asked || s->closing)
        return;
    if (busy(s) || query_size(s) || c->serving) {
        query_append(s, data, size);
        if (__builtin_expect(server->client_memory_max != 0, 0) && is_too_much(c, s))
            return;
        if (busy(s))
            s->more = true;
        else if (c->serving)
            serve_feed(c, s);
        else
            feed_query(c, s);
        limit_query(c, s);
    } else {
        size_t used = feed(c, s, data, size, true);
        if (used < size && !s->close_after_reply)
            query_append(s, data + used, size - used);
        if (s->transaction)
            limit_query(c, s);
    }
    if (s->more && !busy(s))
        core_resume(c, s);
    if (__builtin_expect(server->client_memory_max != 0, 0))
        session_touch(c, s); /* to be measured */
}

void session_feed(struct core *c, struct session *s, struct slice commands)
{
    query_append(s, commands.data, commands.size);
    if (busy(s))
        s->more = true;
    else
        feed_query(c, s);
    if (s->more && !busy(s))
        core_resume(c, s);
}

size_t session_waiting(const struct session *s)
{
    return query_size(s);
}

bool session_is_idle(const struct session *s)
{
    return !busy(s) && query_size(s) == 0;
}

void session_resume(struct core *c, struct session *s)
{
    if (busy(s))
        return;
    feed_query(c, s);
    if (s->more && !busy(s))
        core_resume(c, s);
    receive_again(c, s);
    if (s->peer_gone)
        session_touch(c, s); /* nothing else may come that would close it */
}

/* Lifts the pin and goes on with what waits, once nothing is under way. */
void session_continue(struct core *c, struct session *s)
{
    assert(!s->bundle && !s->queued);
    query_unpin(s);
    if (busy(s))
        return;
    if (s->more)
        core_resume(c, s);
    receive_again(c, s);
}

void session_bundle_done(struct core *c, struct session *s, struct bundle *b)
{
    assert(s->bundle == b);
    s->bundle = NULL;
    session_needs(s, bundle_must(b));
    if (bundle_must(b) > s->wrote && bundle_writes(b))
        s->wrote = bundle_must(b);
    if (!s->closing && !(b->blocked && blocked_answer_recalled(c, s, b)))
        bundle_write_replies(c, b, s);
    tracking_release(c, s);
    if (b->transaction)
        transaction_settle_split(c, s);
    else
        transaction_settle(c, s);
    tracking_release(c, s);
    bundle_dispose(c, b);
    session_release_held_pushes(c, s);
    if (s->closed) {
        destroy(c, s);
        return;
    }
    session_touch(c, s);
}

void session_hold(struct core *c, struct session *s)
{
    if (s->in_held)
        return;
    s->in_held = true;
    s->next_held = c->held;
    c->held = s;
    cron_await_pause_end(c);
}

void session_release_held(struct core *c)
{
    struct session *s = c->held;
    c->held = NULL;
    while (s) {
        struct session *next = s->next_held;
        s->in_held = false;
        s->more = true;
        if (!busy(s))
            core_resume(c, s);
        s = next;
    }
}

/* Running. */

#define NO_MULTI_TEXT "ERR Command not allowed inside a transaction"

static bool is_listener(const struct session *s)
{
    return s->subscriptions && s->protocol == 2;
}

/* The first of several reasons, in Redis's order. */
static const char *restriction_text(struct core *c, const struct session *s,
                                    const struct command *row, const struct slice *argv,
                                    uint32_t argc)
{
    enum { TEXT_SIZE = 256 };
    if (acl_is_stranger(s) && !(row->flags & CMD_NO_AUTH))
        return "NOAUTH Authentication required.";
    if (s->transaction && (row->flags & CMD_NO_MULTI))
        return NO_MULTI_TEXT;
    const char *denied = acl_refusal(c, s, row, argv, argc);
    if (denied)
        return denied;
    char *text = arena_alloc(&c->arena, TEXT_SIZE);
    snprintf(text, TEXT_SIZE,
             "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
             "RESET are allowed in this context",
             row->full_name);
    return text;
}

const char *session_refusal(struct core *c, struct session *s, const struct command *row,
                            const struct slice *argv, uint32_t argc)
{
    char *text = NULL;
    enum { TEXT_SIZE = 512 };
    if (!row)
        text = session_unknown_text(c, argv, argc);
    else if (row->subcommands && !row->run)
        text = session_subcommand_text(c, row, argv, argc);
    else if ((row->arity > 0 && argc != (uint32_t)row->arity) ||
             (row->arity < 0 && argc < (uint32_t)-row->arity)) {
        text = arena_alloc(&c->arena, TEXT_SIZE);
        snprintf(text, TEXT_SIZE, "ERR wrong number of arguments for '%s' command",
                 row->full_name);
    } else if (s->restricted && !session_still_admits(s, row, argv, argc)) {
        return restriction_text(c, s, row, argv, argc);
    } else if (s->transaction && (row->flags & CMD_NO_MULTI)) {
        return NO_MULTI_TEXT;
    } else if (server->keyspace.options.loading && !session_admits_loading(s, row)) {
        return SESSION_LOADING_TEXT;
    } else if (write_fault_any()) {
        return session_fault(s, row);
    }
    return text;
}

/* Of a transaction, those of all its commands. */
static uint32_t flags_of(const struct session *s, const struct command *row)
{
    if (row->run != transaction_run_exec || !s->transaction)
        return row->flags;
    struct request r = {.session = (struct session *)s, .command = row};
    return transaction_flags(&r);
}

/* What would be queued takes memory, whatever it is. As in Redis, reading needs no look. */
static bool takes_memory(const struct session *s, const struct command *row, uint32_t flags)
{
    return (flags & CMD_DENYOOM) || (s->transaction && !transaction_acts_at_once(row));
}

const char *session_fault(const struct session *s, const struct command *row)
{
    if (s->replay)
        return NULL;
    uint32_t flags = flags_of(s, row);
    bool looks = takes_memory(s, row, flags) || (flags & (CMD_WRITE | CMD_MAY_REPLICATE));
    if (write_fault_is_memory() && looks && evict_admit(core_self()) &&
        takes_memory(s, row, flags))
        return EVICT_OOM_TEXT;
    /* PING tells whoever watches over the server of its disk, as with Redis. */
    if ((write_fault_all() && (flags & CMD_WRITE)) ||
        (write_fault_disk() && strcmp(row->name, "ping") == 0))
        return write_fault_text();
    return NULL;
}

void session_restrict(struct session *s)
{
    s->one_at_a_time = acl_is_stranger(s) || is_listener(s);
    s->restricted = s->one_at_a_time || acl_limits(s);
    s->conn.single = acl_is_stranger(s); /* so that it makes us hold little that it says */
}

bool session_admits_loading(const struct session *s, const struct command *row)
{
    return s->replay || ((row->flags & CMD_LOADING) &&
                         !(row->run == transaction_run_exec && transaction_needs_data(s)));
}

bool session_still_admits(const struct session *s, const struct command *row,
                          const struct slice *argv, uint32_t argc)
{
    return (row->flags & CMD_NO_AUTH || !acl_is_stranger(s)) &&
           (!is_listener(s) || (row->flags & CMD_FOR_LISTENERS)) && acl_permits(s, row, argv, argc);
}

/* Parks a command that asked to wait when it was run here. */
static void park(struct core *c, struct request *r, struct call *call)
{
    struct core_mask mask;
    route_mask(c, r, &mask);
    enum bundle_kind kind = core_mask_count(&mask) == 1 ? BUNDLE_HOP : BUNDLE_CROSS;
    struct bundle *b =
        bundle_create(c, r->session, kind, &mask, r, 1, (struct slice){NULL, 0}, false);
    blocked_park(c, b, call);
}

/* A command that was run here is answered later. */
static void answer_later(struct core *c, struct request *r, struct bundle **later)
{
    struct core_mask own = {0};
    core_mask_add(&own, c->index);
    *later = bundle_create(c, r->session, BUNDLE_HOP, &own, r, 1, (struct slice){NULL, 0}, false);
}

/* A script strayed when it was run here. Those of its group behind it go with it. */
static void run_with_all(struct core *c, struct request *r)
{
    struct core_mask own = {0};
    core_mask_add(&own, c->index);
    uint32_t count = r->group ? r->group : 1;
    bundle_run_with_all(c, bundle_create(c, r->session, BUNDLE_HOP, &own, r, count,
                                         (struct slice){NULL, 0}, false));
}

/* False where it waits, or is run elsewhere: there is no reply yet. */
static bool run(struct core *c, struct request *r, struct shard *shard,
                struct shard *const *shards, struct buf *out)
{
    struct session *s = r->session;
    struct call call;
    call.db = s->db;
    call.no_touch = s->no_touch;
    call.reply = (struct reply){.out = out, .protocol = s->protocol};
    execute_prepare(c, &call, shard, r->command, r->argv, r->argc);
    call.shards = shards;
    call.session = s;
    call.may_wait = !s->replay;
    call.client = s->id;
    call.track = r->track == TRACKING_READS ? track_client(s->home, s->id) : 0;
    call.first_key_hash = r->hash;
    call.first_key_hashed = r->hashed;
    execute_whole(c, &call);
    if (__builtin_expect(!call.wait.asked && !call.strayed && !call.later, 1))
        return true;
    if (call.later)
        answer_later(c, r, call.later);
    else if (call.strayed)
        run_with_all(c, r);
    else
        park(c, r, &call);
    return false;
}

/* A browser that was led to this port by a hostile page sends HTTP: nothing of it may run. */
static bool is_http(const struct request *r)
{
    return !r->command && (slice_is(r->argv[0], "POST") || slice_is(r->argv[0], "Host:"));
}

static void refuse_http(struct core *c, struct session *s)
{
    if (c->now_us - c->http_told_us > HTTP_TELL_US || !c->http_told_us) {
        c->http_told_us = c->now_us;
        log_write(&server->log, LOG_WARNING,
                  "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or "
                  "Host: commands to this server. This is likely due to an attacker attempting to "
                  "use Cross Protocol Scripting to compromise it. Connection aborted.");
    }
    session_end(c, s, false);
}

static void write_refusal(struct core *c, const struct request *r, const char *refusal,
                          struct buf *out)
{
    struct session *s = r->session;
    struct reply reply = {.out = out, .protocol = s->protocol};
    if (strncmp(refusal, "NOPERM ", sizeof("NOPERM ") - 1) == 0)
        acl_note_refusal(c, s, s->transaction ? ACL_MULTI : ACL_TOPLEVEL, r->command, r->argv,
                         r->argc);
    if (r->command && r->command->run == transaction_run_exec) {
        transaction_refuse(s, refusal, &reply);
        transaction_discard(c, s);
        refusal = "EXECABORT";
    } else {
        reply_error(&reply, "%s", refusal);
    }
    execute_count_error(c, slice_of(refusal));
    if (r->command)
        c->command_stats[r->command->id].rejected++;
}

void session_refuse(struct core *c, const struct request *r, const char *refusal)
{
    size_t mark;
    write_refusal(c, r, refusal, session_reply_begin(c, r->session, &mark));
    session_reply_end(r->session, mark);
}

/* True where it has run: it was not refused. */
static bool answer(struct core *c, struct request *r, struct shard *shard,
                   struct shard *const *shards)
{
    struct session *s = r->session;
    size_t mark;
    struct buf *out = session_reply_begin(c, s, &mark);
    bool replied = true;
    if (__builtin_expect(s->tracking != NULL, 0))
        tracking_mark(s, r, 1);
    const char *refusal = r->refusal;
    if (__builtin_expect(!refusal && !session_admits(s, r->command, r->argv, r->argc), 0))
        refusal = session_refusal(c, s, r->command, r->argv, r->argc);
    if (__builtin_expect(!refusal, 1))
        replied = run(c, r, shard, shards, out);
    else
        write_refusal(c, r, refusal, out);
    s->commands++;
    if (__builtin_expect(replied, 1))
        session_reply_end(s, mark);
    return !refusal;
}

/* What a command that may write was run with must be durable before its reply leaves, and counts as
 * its client's for WAITAOF: more than that has written at times, never less. */
static void note_needs(struct session *s, const struct command *row, uint64_t must)
{
    session_needs(s, must);
    if (!(row->flags & CMD_READONLY) && must > s->wrote)
        s->wrote = must;
}

void session_answer(struct core *c, struct request *r, struct shard *shard,
                    struct shard *const *shards)
{
    bool ran = answer(c, r, shard, shards);
    effects_look(c, shard, shards);
    if (__builtin_expect(server->keyspace.options.journal, 0) && ran &&
        journal_concerns(r->command))
        note_needs(r->session, r->command, c->journal.looked);
}

void session_answer_alone(struct core *c, struct request *r)
{
    answer(c, r, NULL, NULL);
}

void session_run(struct core *c, struct request *r)
{
    struct session *s = r->session;
    s->queued -= request_span(r);
    if (s->closing || s->close_after_reply || s->close_asked)
        return;
    if (__builtin_expect(is_http(r), 0)) {
        refuse_http(c, s);
        return;
    }
    if (__builtin_expect(r->away, 0)) {
        route_away(c, r);
        return;
    }
    struct shard *own = &c->shard;
    session_answer(c, r, own, server->core_count == 1 ? &own : NULL);
}
