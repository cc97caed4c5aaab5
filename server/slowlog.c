/* The slow log: see slowlog.h. */
#include "server/slowlog.h"

#include <stdio.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/server.h"
#include "server/session.h"
#include "server/session_table.h"

/* "... (18446744073709551615 more arguments)" */
#define CUT_TEXT_MAX 48

static void free_entry(struct slowlog_entry *e)
{
    mem_free((char *)e->name.data);
    mem_free(e);
}

static void cut(struct slowlog *log, uint64_t count)
{
    while (log->count > count) {
        struct slowlog_entry *e = log->oldest;
        log->oldest = e->newer;
        log->count--;
        free_entry(e);
    }
    if (!log->oldest)
        log->newest = NULL;
}

void slowlog_trim(struct core *c)
{
    if (c->slowlog)
        cut(c->slowlog, (uint64_t)server->config.slowlog_max_len);
}

void slowlog_reset(void)
{
    server->slowlog_begin = atomic_load_explicit(&server->slowlog_numbers, memory_order_relaxed);
    for (uint32_t i = 0; i < server->core_count; i++)
        if (server->cores[i]->slowlog)
            cut(server->cores[i]->slowlog, 0);
}

void slowlog_finish(struct core *c)
{
    if (!c->slowlog)
        return;
    cut(c->slowlog, 0);
    mem_free(c->slowlog);
    c->slowlog = NULL;
}

/* --- Making --- */

/* How argument `i` is shown; `text` has room for what is made up. `whole`: bytes of the argument
 * that are shown before that. */
static size_t show_arg(const struct call *call, uint32_t i, char *text, struct slice *whole)
{
    struct slice arg = call->argv[i];
    *whole = (struct slice){arg.data, arg.size};
    if (call->argc > SLOWLOG_ARGS_MAX && i == SLOWLOG_ARGS_MAX - 1) {
        *whole = (struct slice){0};
        return (size_t)snprintf(text, CUT_TEXT_MAX, "... (%u more arguments)",
                                call->argc - SLOWLOG_ARGS_MAX + 1);
    }
    if (acl_redacts(call->command, call->argv, call->argc, i)) {
        *whole = SLICE("(redacted)");
        return 0;
    }
    if (arg.size <= SLOWLOG_ARG_SIZE_MAX)
        return 0;
    whole->size = SLOWLOG_ARG_SIZE_MAX;
    return (size_t)snprintf(text, CUT_TEXT_MAX, "... (%zu more bytes)",
                            arg.size - SLOWLOG_ARG_SIZE_MAX);
}

/* Writes the arguments behind the entry; with `e` NULL only measures. */
static size_t put_args(struct slowlog_entry *e, const struct call *call, uint32_t argc, char *at)
{
    size_t size = 0;
    for (uint32_t i = 0; i < argc; i++) {
        char text[CUT_TEXT_MAX];
        struct slice whole;
        size_t more = show_arg(call, i, text, &whole);
        if (e) {
            e->argv[i] = (struct slice){at + size, whole.size + more};
            memcpy(at + size, whole.data ? whole.data : "", whole.size);
            memcpy(at + size + whole.size, text, more);
        }
        size += whole.size + more;
    }
    return size;
}

/* At home. */
static void keep(struct core_message *m)
{
    struct slowlog_entry *e = (struct slowlog_entry *)m;
    struct core *c = core_self();
    if (e->number < server->slowlog_begin) {
        free_entry(e);
        return;
    }
    const struct session *s = session_table_find(c, e->client);
    if (s)
        session_set_text(&e->name, s->name);
    if (!c->slowlog)
        c->slowlog = mem_alloc_zeroed(sizeof(*c->slowlog));
    if (c->slowlog->newest)
        c->slowlog->newest->newer = e;
    else
        c->slowlog->oldest = e;
    c->slowlog->newest = e;
    c->slowlog->count++;
    slowlog_trim(c);
}

void slowlog_add(struct core *c, const struct call *call, int64_t us)
{
    uint32_t argc = call->argc < SLOWLOG_ARGS_MAX ? call->argc : SLOWLOG_ARGS_MAX;
    const char *peer = call->session->peer ? call->session->peer : "?:0";
    size_t head = sizeof(struct slowlog_entry) + argc * sizeof(struct slice);
    size_t args = put_args(NULL, call, argc, NULL);
    struct slowlog_entry *e = mem_alloc(head + args + strlen(peer));
    *e = (struct slowlog_entry){
        .message.receive = keep, .client = call->session->id, .time_s = c->wall_ms / 1000,
        .us = us, .argc = argc,
        /* Relaxed: only that no two are the same matters. */
        .number = atomic_fetch_add_explicit(&server->slowlog_numbers, 1, memory_order_relaxed),
    };
    char *bytes = (char *)e + head;
    put_args(e, call, argc, bytes);
    e->peer = (struct slice){bytes + args, strlen(peer)};
    memcpy(bytes + args, peer, strlen(peer));
    core_post(c, call->session->home, &e->message);
}
