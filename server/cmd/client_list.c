/* CLIENT INFO and CLIENT LIST: sessions as lines of text.
 *
 * The fields, their order and their meaning are Redis 7.2's. What does not exist has the value that
 * means so: no subscriptions, one user.
 *
 * A part of LIST leaves one record a session: struct record, then its line. The merge sorts the
 * records of all cores by id, which is the order in which clients connected. */
#include <inttypes.h>
#include <stdlib.h>

#include "net/listener.h"
#include "proto/number.h"
#include "server/cmd/client.h"
#include "server/pubsub.h"
#include "server/server.h"
#include "server/tracking.h"
#include "server/transaction.h"
#include "shard/command.h"

/* An IPv6 address in brackets, a colon and a port. */
#define ADDRESS_SIZE 64

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

static void append_flags(struct buf *to, const struct session *s)
{
    size_t before = to->size;
    if (s->transaction)
        buf_append_text(to, "x");
    if (s->in_held || s->blocked)
        buf_append_text(to, "b");
    tracking_append_flags(to, s);
    if (s->close_after_reply)
        buf_append_text(to, "c");
    if (s->subscriptions)
        buf_append_text(to, "P");
    if (s->no_evict)
        buf_append_text(to, "e");
    if (s->no_touch)
        buf_append_text(to, "T");
    if (to->size == before)
        buf_append_text(to, "N");
}

static void append_who(struct buf *to, const struct session *s, int64_t now_ms)
{
    char peer[ADDRESS_SIZE], own[ADDRESS_SIZE];
    listener_peer_name(s->conn.fd, peer, sizeof(peer));
    listener_own_name(s->conn.fd, own, sizeof(own));
    buf_printf(to, "id=%" PRIu64 " addr=%s laddr=%s fd=%d", s->id, peer, own, s->conn.fd);
    append_text_field(to, " name=", s->name);
    buf_printf(to, " age=%" PRId64 " idle=%" PRId64, (now_ms - s->created_ms) / 1000,
               (now_ms - s->last_active_ms) / 1000);
    buf_append_text(to, " flags=");
    append_flags(to, s);
}

static uint64_t count_chunks(const struct session *s)
{
    uint64_t n = (uint64_t)ring_sending(&s->conn) + (s->pending != NULL);
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

/* The query buffer (qbuf) holds the request that asks, too, though ours is out of it by now.
 * The reply buffer (rbs its size, obl what is in it) is the one that commands write to. Full ones,
 * and what the kernel has, are the output list (oll, omem). No peak of the reply buffer is kept
 * apart from its size: it never shrinks while it has something in it. */
static void append_buffers(struct buf *to, const struct session *s, const struct call *c)
{
    size_t query = s->query.size - s->query_at + (s == c->session ? request_size(c) : 0);
    buf_printf(to, " qbuf=%zu qbuf-free=%zu argv-mem=%zu multi-mem=%zu rbs=%zu rbp=%zu", query,
               s->query.cap - s->query.size, resp_memory(&s->parser), transaction_memory(s),
               s->out.cap, s->out.cap);
    buf_printf(to, " obl=%zu oll=%" PRIu64 " omem=%zu tot-mem=%zu", s->out.size, count_chunks(s),
               s->chunk_bytes + s->sending.size, session_memory(s));
}

static void append_session(struct buf *to, const struct session *s, const struct call *c)
{
    append_who(to, s, c->now_ms);
    buf_printf(to, " db=%u sub=%u psub=%u ssub=%u multi=%" PRId64, s->db,
               pubsub_subscription_count(s, PUBSUB_CHANNEL),
               pubsub_subscription_count(s, PUBSUB_PATTERN),
               pubsub_subscription_count(s, PUBSUB_SHARD_CHANNEL), transaction_count(s));
    append_buffers(to, s, c);
    buf_printf(to, " events=%s%s cmd=%s user=default redir=%" PRId64 " resp=%u",
               s->receiving_paused ? "" : "r", ring_sending(&s->conn) ? "w" : "",
               s->last_command ? s->last_command->full_name : "NULL", tracking_redirect(s),
               s->protocol);
    append_text_field(to, " lib-name=", s->lib_name);
    append_text_field(to, " lib-ver=", s->lib_version);
    buf_append_text(to, "\n");
}

void client_info(struct call *c)
{
    struct buf text;
    buf_init(&text);
    append_session(&text, c->session, c);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}

/* CLIENT LIST. */

struct record {
    uint64_t id;
    uint64_t size; /* of the line that follows it */
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
    struct record r = {.id = s->id};
    buf_append(to, &r, sizeof(r));
    append_session(to, s, c);
    r.size = to->size - start - sizeof(r);
    memcpy(to->data + start, &r, sizeof(r));
}

void client_list(struct call *c)
{
    enum client_type type;
    if (!read_list(c, &type))
        return;

    for (const struct session *s = server->cores[c->shard->index]->sessions; s; s = s->next)
        if (!client_is_gone(s) && client_is_of(s, type) && is_asked_for(c, s->id))
            append_record(c->reply.out, s, c);
}

struct line {
    uint64_t id;
    struct slice text;
};

struct lines {
    struct line *items;
    size_t count;
};

static int compare_lines(const void *a, const void *b)
{
    uint64_t x = ((const struct line *)a)->id, y = ((const struct line *)b)->id;
    return (x > y) - (x < y);
}

/* The lines of one part, into `to` where it is not NULL. Returns how many. */
static size_t read_section(const struct split_section *section, struct line *to)
{
    size_t n = 0;
    struct record r;
    for (size_t at = 0; at < section->size; at += sizeof(r) + r.size) {
        memcpy(&r, section->data + at, sizeof(r));
        if (to)
            to[n] = (struct line){r.id, {section->data + at + sizeof(r), r.size}};
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
    return lines;
}

/* Ids are answered in the order given, each as often as it was given. */
static void append_asked(const struct call *c, const struct lines *lines, struct buf *to)
{
    for (uint32_t i = 3; i < c->argc; i++) {
        int64_t id;
        if (!number_parse_integer(c->argv[i], &id))
            continue;
        struct line key = {.id = (uint64_t)id};
        const struct line *found =
            bsearch(&key, lines->items, lines->count, sizeof(key), compare_lines);
        if (found)
            buf_append_slice(to, found->text);
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
        for (size_t i = 0; i < lines.count; i++)
            buf_append_slice(&text, lines.items[i].text);
    reply_verbatim(&c->reply, "txt", buf_slice(&text));
    buf_deinit(&text);
}
