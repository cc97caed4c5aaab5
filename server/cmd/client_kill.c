/* CLIENT KILL, in its old form (an address) and its new one (filters that all must match). */
#include "net/listener.h"
#include "proto/number.h"
#include "server/acl.h"
#include "server/cmd/client.h"
#include "server/server.h"
#include "server/session_table.h"
#include "shard/command.h"

struct filter {
    bool by_id, by_address, by_own_address;
    enum client_type type;
    bool skip_me;
    uint64_t id;
    int64_t max_age_s; /* 0: any */
    struct slice address, own_address;
    const struct acl_user *user; /* NULL: any */
};

static bool read_id(struct call *c, uint32_t arg, struct filter *f)
{
    int64_t id;
    if (!number_parse_integer(c->argv[arg], &id) || id < 1) {
        reply_error(&c->reply, "ERR client-id should be greater than 0");
        return false;
    }
    f->by_id = true;
    f->id = (uint64_t)id;
    return true;
}

static bool read_max_age(struct call *c, uint32_t arg, struct filter *f)
{
    if (!number_parse_integer(c->argv[arg], &f->max_age_s)) {
        reply_error(&c->reply, "ERR maxage is not an integer or out of range");
        return false;
    }
    if (f->max_age_s <= 0) {
        reply_error(&c->reply, "ERR maxage should be greater than 0");
        return false;
    }
    return true;
}

static bool read_user(struct call *c, uint32_t arg, struct filter *f)
{
    f->user = acl_find(c->argv[arg]);
    if (f->user)
        return true;
    reply_error(&c->reply, "ERR No such user '%.*s'", client_quote_size(c->argv[arg]),
                c->argv[arg].data);
    return false;
}

static bool read_skip_me(struct call *c, uint32_t arg, struct filter *f)
{
    f->skip_me = call_arg_is(c, arg, "YES");
    if (f->skip_me || call_arg_is(c, arg, "NO"))
        return true;
    reply_error_syntax(&c->reply);
    return false;
}

/* The option at `i`, whose value is argument i + 1. */
static bool read_option(struct call *c, uint32_t i, struct filter *f)
{
    if (i + 1 < c->argc) {
        if (call_arg_is(c, i, "ID"))
            return read_id(c, i + 1, f);
        if (call_arg_is(c, i, "MAXAGE"))
            return read_max_age(c, i + 1, f);
        if (call_arg_is(c, i, "TYPE"))
            return client_read_type(c, i + 1, &f->type);
        if (call_arg_is(c, i, "USER"))
            return read_user(c, i + 1, f);
        if (call_arg_is(c, i, "SKIPME"))
            return read_skip_me(c, i + 1, f);
        if (call_arg_is(c, i, "ADDR")) {
            f->by_address = true;
            f->address = c->argv[i + 1];
            return true;
        }
        if (call_arg_is(c, i, "LADDR")) {
            f->by_own_address = true;
            f->own_address = c->argv[i + 1];
            return true;
        }
    }
    reply_error_syntax(&c->reply);
    return false;
}

/* With the old form one can kill oneself. */
static bool is_old_form(const struct call *c)
{
    return c->argc == 3;
}

static bool read_filter(struct call *c, struct filter *f)
{
    *f = (struct filter){.skip_me = true};
    if (is_old_form(c)) {
        *f = (struct filter){.by_address = true, .address = c->argv[2]};
        return true;
    }
    for (uint32_t i = 2; i < c->argc; i += 2)
        if (!read_option(c, i, f))
            return false;
    return true;
}

static bool matches(const struct filter *f, const struct session *s, int64_t now_ms)
{
    char name[LISTENER_NAME_SIZE];
    if (!client_is_of(s, f->type))
        return false;
    if (f->user && s->user != f->user)
        return false;
    if (f->max_age_s && (now_ms - s->created_ms) / 1000 < f->max_age_s)
        return false;
    if (f->by_address) {
        listener_peer_name(s->conn.fd, name, sizeof(name));
        if (!slice_equal(f->address, slice_of(name)))
            return false;
    }
    if (f->by_own_address) {
        listener_own_name(s->conn.fd, name, sizeof(name));
        if (!slice_equal(f->own_address, slice_of(name)))
            return false;
    }
    return true;
}

static void kill_where_matched(struct call *c, struct core *core, struct session *s,
                               const struct filter *f)
{
    bool me = s == c->session;
    if (client_is_gone(s) || (me && f->skip_me) || !matches(f, s, c->now_ms))
        return;
    session_end(core, s, me);
    c->value++;
}

/* The caller's session gets its reply before it ends. Of a session of another core only the address
 * is compared. */
void client_kill(struct call *c)
{
    struct filter f;
    if (!read_filter(c, &f))
        return;

    struct core *core = server->cores[c->shard->index];
    if (f.by_id) {
        struct session *s = session_table_find(core, f.id);
        if (s)
            kill_where_matched(c, core, s, &f);
        return;
    }
    for (struct session *s = core->sessions; s; s = s->next)
        kill_where_matched(c, core, s, &f);
}

void client_kill_merge(struct call *c, const struct split_parts *parts)
{
    int64_t killed = 0;
    for (uint32_t i = 0; i < parts->count; i++)
        killed += parts->sections[i].value;
    if (!is_old_form(c))
        reply_integer(&c->reply, killed);
    else if (killed)
        reply_ok(&c->reply);
    else
        reply_error(&c->reply, "ERR No such client");
}
