/* CLIENT INFO and CLIENT LIST: sessions as lines of text.
 *
 * The fields, their order and their meaning are Redis 7.2's. What does not exist has the value that
 * means so: no subscriptions, one user.
 *
 * A part of LIST leaves one record a session: struct record, then its line. The merge sorts the
 * records of all cores by id, which is the order in which clients connected. Whether a watched key
 * has changed is known to the key's shard alone, by the session's token: each part leaves the
 * tokens that are broken there, and the merge puts the flag into the lines of their sessions. */
#include <inttypes.h>
#include <stdlib.h>

#include "net/listener.h"
#include "proto/number.h"
#include "server/acl.h"
#include "server/cmd/client.h"
#include "server/pubsub.h"
#include "server/server.h"
#include "server/tracking.h"
#include "server/transaction.h"
#include "shard/command.h"
#include "shard/watch.h"

bool client_read_type(struct call *c, uint32_t arg, enum client_type *type)
{
    static const char *const types[] = {"normal", "master", "slave", "replica", "pubsub"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (call_arg_is(c, arg, types[i])) {
            *type = i == 0 ? CLIENT_NORMAL : i == 4 ? CLIENT_PUBSUB : CLIENT_OTHER;
            return true;
        }
    }
    reply_error(&c->reply, "ERR Unknown client type '%.*s'", client_quote_size(c->argv[arg]),
                c->argv[arg].data);
    return false;
}

static void append_text_field(struct buf *to, const char *name, struct slice value)
{
    buf_append_text(to, name);
    buf_append_slice(to, value);
}

/* Returns where in `to` the flag 'd' belongs, of a watched key that has changed. */
static size_t append_flags(struct buf *to, const struct session *s)
{
    size_t before = to->size;
    if (s->monitors)
        buf_append_text(to, "O");
    if (s->subscriptions)
        buf_append_text(to, "P");
    if (s->transaction)
        buf_append_text(to, "x");
    if (s->in_held || s->blocked)
        buf_append_text(to, "b");
    tracking_append_flags(to, s);
    size_t dirty_at = to->size;
    if (s->close_after_reply)
        buf_append_text(to, "c");
    if (s->close_asked)
        buf_append_text(to, "A");
    if (s->kind == LISTENER_UNIX)
        buf_append_text(to, "U");
    if (s->no_evict)
        buf_append_text(to, "e");
    if (s->no_touch)
        buf_append_text(to, "T");
    if (to->size == before)
        buf_append_text(to, "N");
    return dirty_at;
}

static size_t append_who(struct buf *to, const struct session *s, int64_t now_ms)
{
    char peer[LISTENER_NAME_SIZE], own[LISTENER_NAME_SIZE];
    listener_peer_name(s->conn.fd, peer, sizeof(peer));
    listener_own_name(s->conn.fd, own, sizeof(own));
    buf_printf(to, "id=%" PRIu64 " addr=%s laddr=%s fd=%d", s->id, peer, own, s->conn.fd);
    append_text_field(to, " name=", s->name);
    buf_printf(to, " age=%" PRId64 " idle=%" PRId64, (now_ms - s->created_ms) / 1000,
               (now_ms - s->last_active_ms) / 1000);
    buf_append_text(to, " flags=");
    return append_flags(to, s);
}

/* What a client has in its reply buffer, with Redis: more is in the list. */
#define REPLY_BUFFER_SIZE ((size_t)16384)

static uint64_t count_chunks(const struct session *s)
{
    uint64_t n = (uint64_t)ring_sending(&s->conn) + (s->pending != NULL) +
                 (s->out.size > REPLY_BUFFER_SIZE);
    for (const struct output_chunk *chunk = s->chunks; chunk; chunk = chunk->next)
        n++;
    return n;
}

/* The bytes of a request in the protocol's form: what an inline one took is not known any more. */
static size_t request_size(const struct call *c)
{
    char digits[NUMBER_INTEGER_SIZE_MAX];
    size_t size = 3 + number_format_unsigned(digits, c->argc);
    for (uint32_t i = 0; i < c->argc; i++)
        size += 5 + number_format_unsigned(digits, c->argv[i].size) + c->argv[i].size;
    return size;
}

/* Of a request of which only a part has come, the arguments that are whole are argv-mem. The query
 * buffer (qbuf) holds the request that asks, too, though ours is out of it by now.
 * The reply buffer (rbs its size, obl what is in it) is the one that commands write to. Full ones,
 * this one where it holds more than Redis's can, and what the kernel has, are the output list
 * (oll, omem). Who asks is about to be given a reply buffer, and it counts already. No peak of the
 * reply buffer is kept apart from its size: it never shrinks while it has something in it. */
static void append_buffers(struct buf *to, const struct session *s, size_t asking)
{
    size_t waits = s->query.size - s->query_at;
    size_t parsed = s->parser.at < waits && !s->pinned ? s->parser.at : 0;
    size_t reply = s->out.cap || !asking ? s->out.cap : CORE_OUTPUT_SIZE;
    buf_printf(to, " qbuf=%zu qbuf-free=%zu argv-mem=%zu multi-mem=%zu rbs=%zu rbp=%zu",
               waits - parsed + asking, s->query.cap - s->query.size,
               resp_memory(&s->parser) + parsed, transaction_memory(s), reply, reply);
    size_t list = session_output_size(s) - s->out.size;
    bool small = !list && s->out.size <= REPLY_BUFFER_SIZE;
    buf_printf(to, " obl=%zu oll=%" PRIu64 " omem=%zu tot-mem=%zu", small ? s->out.size : 0,
               count_chunks(s), small ? 0 : list + s->out.size,
               session_memory(s) + reply - s->out.cap);
}

/* `asking`: bytes of its own request that is being answered. Returns what append_flags did. */
static size_t append_session(struct buf *to, const struct session *s, int64_t now_ms,
                             size_t asking)
{
    size_t dirty_at = append_who(to, s, now_ms);
    buf_printf(to, " db=%u sub=%u psub=%u ssub=%u multi=%" PRId64, s->db,
               pubsub_subscription_count(s, PUBSUB_CHANNEL),
               pubsub_subscription_count(s, PUBSUB_PATTERN),
               pubsub_subscription_count(s, PUBSUB_SHARD_CHANNEL), transaction_count(s));
    append_buffers(to, s, asking);
    buf_printf(to, " events=%s%s cmd=%s", s->receiving_paused ? "" : "r",
               ring_sending(&s->conn) ? "w" : "",
               s->last_command ? s->last_command->full_name : "NULL");
    append_text_field(to, " user=", acl_user_name(s));
    buf_printf(to, " redir=%" PRId64 " resp=%u", tracking_redirect(s), s->protocol);
    append_text_field(to, " lib-name=", s->lib_name);
    append_text_field(to, " lib-ver=", s->lib_version);
    return dirty_at;
}

void client_describe(struct buf *to, const struct session *s, int64_t now_ms)
{
    append_session(to, s, now_ms, 0);
}

static size_t append_line(struct buf *to, const struct session *s, const struct call *c)
{
    size_t dirty_at = append_session(to, s, c->now_ms, s == c->session ? request_size(c) : 0);
    buf_append_text(to, "\n");
    return dirty_at;
}

void client_info(struct call *c)
{
    struct buf text;
    buf_init(&text);
    append_line(&text, c->session, c);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

/* CLIENT LIST. */

struct record {
    uint64_t id;       /* 0: of no session, but a token that is broken */
    uint64_t token;    /* of WATCH; 0: nothing is watched */
    uint64_t size;     /* of the line that follows it */
    uint64_t dirty_at; /* the line's offset at which the flag 'd' belongs */
};

/* True where LIST was given ids; they are its arguments from 3 on. */
static bool has_ids(const struct call *c)
{
    return c->argc > 3 && call_arg_is(c, 2, "ID");
}

static bool read_list(struct call *c, enum client_type *type)
{
    *type = CLIENT_ANY;
    if (c->argc == 4 && call_arg_is(c, 2, "TYPE"))
        return client_read_type(c, 3, type);
    if (has_ids(c)) {
        for (uint32_t i = 3; i < c->argc; i++) {
            int64_t id;
            if (!number_parse_integer(c->argv[i], &id)) {
                reply_error(&c->reply, "ERR Invalid client ID");
                return false;
            }
        }
    } else if (c->argc != 2) {
        reply_error_syntax(&c->reply);
        return false;
    }
    return true;
}

static bool is_asked_for(const struct call *c, uint64_t id)
{
    if (!has_ids(c))
        return true;
    for (uint32_t i = 3; i < c->argc; i++) {
        int64_t asked;
        if (number_parse_integer(c->argv[i], &asked) && (uint64_t)asked == id)
            return true;
    }
    return false;
}

static void append_record(struct buf *to, const struct session *s, const struct call *c)
{
    size_t start = to->size;
    struct record r = {.id = s->id, .token = s->watch_token};
    buf_append(to, &r, sizeof(r));
    r.dirty_at = append_line(to, s, c) - start - sizeof(r);
    r.size = to->size - start - sizeof(r);
    memcpy(to->data + start, &r, sizeof(r));
}

static void append_broken(void *context, uint64_t token)
{
    buf_append(context, &(struct record){.token = token}, sizeof(struct record));
}

void client_list(struct call *c)
{
    enum client_type type;
    if (!read_list(c, &type))
        return;

    for (const struct session *s = server->cores[c->shard->index]->sessions; s; s = s->next)
        if (!client_is_gone(s) && client_is_of(s, type) && is_asked_for(c, s->id))
            append_record(c->reply.out, s, c);
    watch_each_broken(c->shard, append_broken, c->reply.out);
}

struct line {
    struct record head;
    struct slice text;
};

struct lines {
    struct line *items; /* by id: those that are tokens first */
    size_t count;
    size_t tokens;
};

static int compare_lines(const void *a, const void *b)
{
    const struct record *x = &((const struct line *)a)->head, *y = &((const struct line *)b)->head;
    return x->id != y->id ? (x->id > y->id) - (x->id < y->id)
                          : (x->token > y->token) - (x->token < y->token);
}

/* The lines of one part, into `to` where it is not NULL. Returns how many. */
static size_t read_section(const struct split_section *section, struct line *to)
{
    size_t n = 0;
    struct record r;
    for (size_t at = 0; at < section->size; at += sizeof(r) + r.size) {
        memcpy(&r, section->data + at, sizeof(r));
        if (to)
            to[n] = (struct line){r, {section->data + at + sizeof(r), r.size}};
        n++;
    }
    return n;
}

static struct lines gather_lines(const struct split_parts *parts)
{
    struct lines lines = {0};
    for (uint32_t i = 0; i < parts->count; i++)
        lines.count += read_section(&parts->sections[i], NULL);
    lines.items = arena_alloc(&core_self()->arena, (lines.count + 1) * sizeof(*lines.items));
    size_t n = 0;
    for (uint32_t i = 0; i < parts->count; i++)
        n += read_section(&parts->sections[i], lines.items + n);
    qsort(lines.items, lines.count, sizeof(*lines.items), compare_lines);
    while (lines.tokens < lines.count && lines.items[lines.tokens].head.id == 0)
        lines.tokens++;
    return lines;
}

/* Of two shards each may leave the same token. */
static bool is_dirty(const struct lines *lines, const struct line *line)
{
    struct line key = {.head.token = line->head.token};
    return key.head.token &&
           bsearch(&key, lines->items, lines->tokens, sizeof(key), compare_lines) != NULL;
}

/* With the flag 'd' it takes the place of 'N', which says that there is none. */
static void append_text(struct buf *to, const struct lines *lines, const struct line *line)
{
    struct slice text = line->text;
    if (is_dirty(lines, line)) {
        size_t at = line->head.dirty_at;
        buf_append(to, text.data, at);
        buf_append_text(to, "d");
        at += text.data[at] == 'N';
        text = (struct slice){text.data + at, text.size - at};
    }
    buf_append_slice(to, text);
}

static int compare_id(const void *id, const void *line)
{
    uint64_t x = *(const uint64_t *)id, y = ((const struct line *)line)->head.id;
    return (x > y) - (x < y);
}

static const struct line *find_line(const struct lines *lines, uint64_t id)
{
    return bsearch(&id, lines->items, lines->count, sizeof(*lines->items), compare_id);
}

/* Ids are answered in the order given, each as often as it was given. */
static void append_asked(const struct call *c, const struct lines *lines, struct buf *to)
{
    for (uint32_t i = 3; i < c->argc; i++) {
        int64_t id;
        if (!number_parse_integer(c->argv[i], &id))
            continue;
        const struct line *found = id > 0 ? find_line(lines, (uint64_t)id) : NULL;
        if (found)
            append_text(to, lines, found);
    }
}

void client_list_merge(struct call *c, const struct split_parts *parts)
{
    struct lines lines = gather_lines(parts);
    struct buf text;
    buf_init(&text);
    if (has_ids(c))
        append_asked(c, &lines, &text);
    else
        for (size_t i = lines.tokens; i < lines.count; i++)
            append_text(&text, &lines, &lines.items[i]);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}
