/* ACL LOG: who was refused what.
 *
 * One log for the process, behind a mutex: refusals are rare, or somebody's mistake. What repeats
 * an entry among the newest within a minute is counted with it. An entry tells of its session as
 * CLIENT LIST would; only the session's own core may look at that, so whoever refuses on another
 * core sends word there. The message goes ahead of the reply: who has read that finds the entry. */
#include <assert.h>
#include <pthread.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/cmd/client.h"
#include "server/server.h"
#include "server/session_table.h"

/* Newest entries that are looked through for the same refusal, and for how long it counts. */
#define SAME_LOOKS 10
#define SAME_MS 60000

struct refusal {
    struct refusal *next; /* the next older one */
    uint64_t count;
    enum acl_verdict reason;
    enum acl_context context;
    struct slice object, user, client; /* owned */
    uint64_t id;
    int64_t created_ms, updated_ms;
};

struct acl_log {
    pthread_mutex_t mutex; /* of all below */
    struct refusal *newest;
    uint64_t count;
    uint64_t next_id;
};

struct acl_log *acl_log_create(void)
{
    struct acl_log *log = mem_alloc_zeroed(sizeof(*log));
    pthread_mutex_init(&log->mutex, NULL);
    return log;
}

static void free_refusal(struct refusal *e)
{
    acl_text_free(&e->object);
    acl_text_free(&e->user);
    acl_text_free(&e->client);
    mem_free(e);
}

/* Frees what is behind the first `count`. */
static void cut(struct acl_log *log, uint64_t count)
{
    struct refusal **at = &log->newest;
    for (uint64_t i = 0; i < count && *at; i++)
        at = &(*at)->next;
    while (*at) {
        struct refusal *e = *at;
        *at = e->next;
        free_refusal(e);
        log->count--;
    }
}

void acl_log_destroy(struct acl_log *log)
{
    cut(log, 0);
    pthread_mutex_destroy(&log->mutex);
    mem_free(log);
}

void acl_log_reset(struct acl_log *log)
{
    pthread_mutex_lock(&log->mutex);
    cut(log, 0);
    pthread_mutex_unlock(&log->mutex);
}

static bool is_same(const struct refusal *a, const struct refusal *b)
{
    int64_t apart = a->updated_ms - b->updated_ms;
    return a->reason == b->reason && a->context == b->context && apart <= SAME_MS &&
           apart >= -SAME_MS && slice_equal(a->object, b->object) && slice_equal(a->user, b->user);
}

/* Takes an entry like this one out of the list, or NULL. */
static struct refusal *take_same(struct acl_log *log, const struct refusal *e)
{
    struct refusal **at = &log->newest;
    for (int looks = 0; *at && looks < SAME_LOOKS; looks++, at = &(*at)->next) {
        struct refusal *same = *at;
        if (!is_same(same, e))
            continue;
        *at = same->next;
        log->count--;
        return same;
    }
    return NULL;
}

/* Takes the entry over. */
static void add(struct acl_log *log, struct refusal *e)
{
    pthread_mutex_lock(&log->mutex);
    struct refusal *same = take_same(log, e);
    if (same) {
        acl_text_free(&same->client);
        same->client = e->client;
        e->client = (struct slice){0};
        same->updated_ms = e->updated_ms;
        same->count++;
        free_refusal(e);
        e = same;
    } else {
        e->id = log->next_id++;
    }
    e->next = log->newest;
    log->newest = e;
    log->count++;
    if (log->count > (uint64_t)server->config.acllog_max_len)
        cut(log, (uint64_t)server->config.acllog_max_len);
    pthread_mutex_unlock(&log->mutex);
}

static void describe_client(struct refusal *e, const struct session *s)
{
    struct buf text;
    buf_init(&text);
    client_describe(&text, s, e->created_ms);
    e->client = acl_text_copy(buf_slice(&text));
    buf_deinit(&text);
}

/* An entry on its way to its session's core. */
struct word {
    struct core_message message; /* first */
    uint64_t session;
    struct refusal *entry;
};

static void receive(struct core_message *m)
{
    struct word *w = (struct word *)m;
    const struct session *s = session_table_find(core_self(), w->session);
    if (s)
        describe_client(w->entry, s);
    add(server->acl->log, w->entry);
    mem_free(w);
}

static void count(struct core *c, enum acl_verdict reason)
{
    switch (reason) {
    case ACL_PERMITTED:
        assert(!"a permission is not logged");
        break;
    case ACL_DENIED_COMMAND:
        c->stats.acl_denied_command++;
        break;
    case ACL_DENIED_KEY:
        c->stats.acl_denied_key++;
        break;
    case ACL_DENIED_CHANNEL:
        c->stats.acl_denied_channel++;
        break;
    case ACL_DENIED_AUTH:
        c->stats.auth_failures++;
        break;
    }
}

void acl_log_add(struct core *c, struct session *s, enum acl_verdict reason,
                 enum acl_context context, struct slice object, struct slice user)
{
    count(c, reason);
    struct refusal *e = mem_alloc_zeroed(sizeof(*e));
    *e = (struct refusal){.count = 1, .reason = reason, .context = context,
                        .object = acl_text_copy(object), .user = acl_text_copy(user),
                        .created_ms = c->wall_ms, .updated_ms = c->wall_ms};
    if (s->home == c->index) {
        describe_client(e, s);
        add(server->acl->log, e);
        return;
    }
    struct word *w = mem_alloc(sizeof(*w));
    *w = (struct word){.message.receive = receive, .session = s->id, .entry = e};
    core_post(c, s->home, &w->message);
}

static void reply_text_field(struct reply *r, const char *name, const char *value)
{
    reply_bulk_text(r, name);
    reply_bulk_text(r, value);
}

static void reply_number_field(struct reply *r, const char *name, int64_t value)
{
    reply_bulk_text(r, name);
    reply_integer(r, value);
}

static void reply_refusal(struct reply *r, const struct refusal *e, int64_t now_ms)
{
    static const char *const reasons[] = {
        [ACL_DENIED_COMMAND] = "command", [ACL_DENIED_KEY] = "key",
        [ACL_DENIED_CHANNEL] = "channel", [ACL_DENIED_AUTH] = "auth",
    };
    static const char *const contexts[] = {
        [ACL_TOPLEVEL] = "toplevel", [ACL_MULTI] = "multi", [ACL_LUA] = "lua",
    };
    reply_map(r, 10);
    reply_number_field(r, "count", (int64_t)e->count);
    reply_text_field(r, "reason", reasons[e->reason]);
    reply_text_field(r, "context", contexts[e->context]);
    reply_bulk_text(r, "object");
    reply_bulk(r, e->object);
    reply_bulk_text(r, "username");
    reply_bulk(r, e->user);
    reply_bulk_text(r, "age-seconds");
    reply_double(r, (double)(now_ms - e->updated_ms) / 1000);
    reply_bulk_text(r, "client-info");
    reply_bulk(r, e->client);
    reply_number_field(r, "entry-id", (int64_t)e->id);
    reply_number_field(r, "timestamp-created", e->created_ms);
    reply_number_field(r, "timestamp-last-updated", e->updated_ms);
}

void acl_log_reply(struct acl_log *log, struct reply *reply, uint64_t count, int64_t now_ms)
{
    pthread_mutex_lock(&log->mutex);
    if (count > log->count)
        count = log->count;
    reply_array(reply, count);
    const struct refusal *e = log->newest;
    for (uint64_t i = 0; i < count; i++, e = e->next)
        reply_refusal(reply, e, now_ms);
    pthread_mutex_unlock(&log->mutex);
}
