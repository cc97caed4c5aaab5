/* MONITOR: see monitor.h. */
#include "server/monitor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/bundle.h"
#include "server/inner.h"
#include "server/latency.h"
#include "server/observe.h"
#include "server/server.h"
#include "server/session.h"

/* How long a line waits for older ones of other cores. */
#define HOLD_US 5000

struct monitor_line {
    struct core_message message; /* first */
    struct monitor_line *next;
    int64_t us;      /* when it ran, by latency_now_us */
    uint32_t index;  /* in the order of arrival: decides between equal times */
    size_t size;
    char bytes[];
};

static struct monitors *monitors_of(struct core *c)
{
    if (!c->monitors)
        c->monitors = mem_alloc_zeroed(sizeof(*c->monitors));
    return c->monitors;
}

/* --- Who --- */

void monitor_join(struct session *s)
{
    struct monitors *m = monitors_of(server->cores[s->home]);
    if (s->monitors)
        return;
    if (m->count == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 4;
        m->members = mem_realloc(m->members, m->cap * sizeof(*m->members));
    }
    m->members[m->count++] = (struct monitor_member){s, latency_now_us()};
    s->monitors = true;
    core_mask_add(&server->observing.monitors, s->home);
    observe_apply();
}

/* All shards stand still. */
static void count_again(struct core *c, struct shard *const *shards, void *context)
{
    (void)c;
    (void)shards;
    (void)context;
    server->observing.monitors = (struct core_mask){0};
    for (uint32_t i = 0; i < server->core_count; i++)
        if (server->cores[i]->monitors && server->cores[i]->monitors->count)
            core_mask_add(&server->observing.monitors, i);
    observe_apply();
}

void monitor_leave(struct core *c, struct session *s)
{
    if (__builtin_expect(!s->monitors, 1))
        return;
    s->monitors = false;
    struct monitors *m = c->monitors;
    uint32_t i = 0;
    while (m->members[i].session != s)
        i++;
    m->members[i] = m->members[--m->count];
    if (m->count == 0)
        bundle_dispatch(c, bundle_create_act(c, count_again, NULL));
}

/* --- Lines --- */

/* In quotes, with what cannot be printed escaped as redis-cli reads it. */
static void append_quoted(struct buf *to, struct slice text)
{
    static const char escaped[] = "\n\r\t\a\b\\\"", letters[] = "nrtab\\\"";
    buf_append_text(to, "\"");
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        const char *at = byte ? strchr(escaped, byte) : NULL;
        if (at) {
            char pair[2] = {'\\', letters[at - escaped]};
            buf_append(to, pair, 2);
        } else if (byte >= ' ' && byte < 127) {
            buf_append(to, &text.data[i], 1);
        } else {
            buf_printf(to, "\\x%02x", byte);
        }
    }
    buf_append_text(to, "\"");
}

static void append_caller(struct buf *to, const struct call *call)
{
    const char *peer = call->session->peer ? call->session->peer : "?:0";
    if (call->in_script)
        buf_printf(to, "[%u lua]", call->db);
    else if (peer[0] == '/')
        buf_printf(to, "[%u unix:%.*s]", call->db, (int)(strrchr(peer, ':') - peer), peer);
    else
        buf_printf(to, "[%u %s]", call->db, peer);
}

static int64_t wall_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void append_line(struct buf *to, const struct call *call)
{
    int64_t us = wall_us();
    buf_printf(to, "+%" PRId64 ".%06" PRId64 " ", us / 1000000, us % 1000000);
    append_caller(to, call);
    for (uint32_t i = 0; i < call->argc; i++) {
        buf_append_text(to, " ");
        bool hidden = acl_redacts(call->command, call->argv, call->argc, i);
        append_quoted(to, hidden ? SLICE("(redacted)") : call->argv[i]);
    }
    buf_append_text(to, "\r\n");
}

static struct monitor_line *make_line(struct slice text, int64_t us)
{
    struct monitor_line *line = mem_alloc(sizeof(*line) + text.size);
    *line = (struct monitor_line){.us = us, .size = text.size};
    memcpy(line->bytes, text.data, text.size);
    return line;
}

/* At a monitor's core. The session may have left while it was on its way. */
static void receive_line(struct core_message *message)
{
    struct monitor_line *line = (struct monitor_line *)message;
    struct monitors *m = core_self()->monitors;
    if (!m->count) {
        mem_free(line);
        return;
    }
    line->index = m->line_count++;
    if (m->last)
        m->last->next = line;
    else
        m->first = line;
    if (m->first == line || line->us + HOLD_US < m->due_us)
        m->due_us = line->us + HOLD_US;
    m->last = line;
}

static void post(struct core *c, struct slice text, int64_t us)
{
    for (uint32_t i = 0; i < server->core_count; i++) {
        if (!core_mask_has(&server->observing.monitors, i))
            continue;
        struct monitor_line *line = make_line(text, us);
        line->message.receive = receive_line;
        core_post(c, i, &line->message);
    }
}

static void keep(struct core *c, struct slice text, int64_t us)
{
    struct monitors *m = monitors_of(c);
    struct monitor_line *line = make_line(text, us);
    if (m->kept_last)
        m->kept_last->next = line;
    else
        m->kept = line;
    m->kept_last = line;
}

void monitor_show(struct core *c, const struct call *call)
{
    if (server->keyspace.options.loading)
        return;
    struct buf text;
    buf_init(&text);
    int64_t us = latency_now_us();
    append_line(&text, call);
    if (c->inner && c->inner->may_stray)
        keep(c, buf_slice(&text), us);
    else
        post(c, buf_slice(&text), us);
    buf_deinit(&text);
}

void monitor_settle(struct core *c, bool stands)
{
    struct monitors *m = c->monitors;
    if (!m || !m->kept)
        return;
    struct monitor_line *line = m->kept;
    m->kept = m->kept_last = NULL;
    while (line) {
        struct monitor_line *next = line->next;
        if (stands)
            post(c, (struct slice){line->bytes, line->size}, line->us);
        mem_free(line);
        line = next;
    }
}

/* --- Sending --- */

static int compare_lines(const void *a, const void *b)
{
    const struct monitor_line *x = *(struct monitor_line *const *)a;
    const struct monitor_line *y = *(struct monitor_line *const *)b;
    if (x->us != y->us)
        return x->us < y->us ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Puts what has come in order. */
static void sort_lines(struct core *c, struct monitors *m)
{
    struct monitor_line **lines =
        arena_alloc(&c->arena, m->line_count * sizeof(struct monitor_line *));
    uint32_t count = 0;
    for (struct monitor_line *line = m->first; line; line = line->next)
        lines[count++] = line;
    qsort(lines, count, sizeof(struct monitor_line *), compare_lines);
    for (uint32_t i = 0; i < count; i++) {
        lines[i]->next = i + 1 < count ? lines[i + 1] : NULL;
        lines[i]->index = i;
    }
    m->first = lines[0];
    m->last = lines[count - 1];
}

/* The first lines, up to a time, as one piece of output; they are freed. NULL: there are none. */
static struct output_shared *take_lines(struct monitors *m, int64_t until_us)
{
    size_t size = 0;
    for (struct monitor_line *line = m->first; line && line->us <= until_us; line = line->next)
        size += line->size;
    if (!size)
        return NULL;
    struct output_shared *out = mem_alloc(sizeof(*out) + size);
    *out = (struct output_shared){.references = 1, .bytes = (char *)(out + 1)};
    while (m->first && m->first->us <= until_us) {
        struct monitor_line *line = m->first;
        memcpy(out->bytes + out->size, line->bytes, line->size);
        out->size += line->size;
        m->first = line->next;
        m->line_count--;
        mem_free(line);
    }
    if (!m->first)
        m->last = NULL;
    return out;
}

/* Gives the first lines, up to a time, to whom they are for; false where there are none. Not beyond
 * the time from which on they are for others as well. */
static bool give_lines(struct core *c, struct monitors *m, int64_t until_us)
{
    if (!m->first)
        return false;
    int64_t from_us = m->first->us;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->members[i].since_us > from_us && m->members[i].since_us <= until_us)
            until_us = m->members[i].since_us - 1;
    struct output_shared *out = take_lines(m, until_us);
    if (!out)
        return false;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->members[i].since_us <= from_us)
            session_push(c, m->members[i].session, out);
    session_release_shared(out);
    return true;
}

void monitor_deliver(struct core *c)
{
    struct monitors *m = c->monitors;
    int64_t now_us = latency_now_us();
    if (server->core_count > 1 && now_us < m->due_us)
        return;
    sort_lines(c, m);
    int64_t until_us = server->core_count > 1 ? now_us - HOLD_US : INT64_MAX;
    while (give_lines(c, m, until_us))
        continue;
    if (m->first)
        m->due_us = m->first->us + HOLD_US;
}

int64_t monitor_next_us(const struct core *c)
{
    return monitor_has_lines(c) ? c->monitors->due_us : INT64_MAX;
}

static void drop(struct monitor_line *line)
{
    while (line) {
        struct monitor_line *next = line->next;
        mem_free(line);
        line = next;
    }
}

void monitor_finish(struct core *c)
{
    if (!c->monitors)
        return;
    drop(c->monitors->first);
    drop(c->monitors->kept);
    mem_free(c->monitors->members);
    mem_free(c->monitors);
    c->monitors = NULL;
}
