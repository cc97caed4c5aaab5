/* The users of the process, and whose sessions are whose: see acl.h. */
#include "server/acl.h"

#include <assert.h>

#include "proto/mem.h"
#include "server/pubsub.h"
#include "server/server.h"

struct acl_terms acl_terms(void)
{
    return (struct acl_terms){
        .registry = server->registry,
        .all_channels = server->config.acl_pubsub_default == ACL_CHANNELS_ALL,
    };
}

/* --- The list --- */

static int compare(struct slice a, struct slice b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* The index of a name, or where it would stand. */
static uint32_t place_of(const struct acl *acl, struct slice name, bool *found)
{
    uint32_t low = 0, high = acl->count;
    *found = false;
    while (low < high && !*found) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare(name, acl->users[middle]->name);
        *found = order == 0;
        if (order < 0)
            high = middle;
        else if (order > 0)
            low = middle + 1;
        else
            low = middle;
    }
    return low;
}

static struct acl_user *find_in(const struct acl *acl, struct slice name)
{
    bool found;
    uint32_t at = place_of(acl, name, &found);
    return found ? acl->users[at] : NULL;
}

struct acl_user *acl_find(struct slice name)
{
    return find_in(server->acl, name);
}

static void insert(struct acl *acl, struct acl_user *u)
{
    bool found;
    uint32_t at = place_of(acl, u->name, &found);
    assert(!found);
    acl->users = mem_realloc(acl->users, (acl->count + 1) * sizeof(*acl->users));
    memmove(acl->users + at + 1, acl->users + at, (acl->count - at) * sizeof(*acl->users));
    acl->users[at] = u;
    acl->count++;
}

struct acl *acl_create(const struct registry *registry)
{
    struct acl *acl = mem_alloc_zeroed(sizeof(*acl));
    struct acl_terms terms = {.registry = registry};
    acl->first = acl_user_create_default(&terms);
    insert(acl, acl->first);
    acl->nobody = acl_user_create(&terms, SLICE("default"));
    acl->log = acl_log_create();
    return acl;
}

void acl_destroy(struct acl *acl)
{
    for (uint32_t i = 0; i < acl->count; i++)
        acl_user_destroy(acl->users[i]);
    mem_free(acl->users);
    acl_user_destroy(acl->nobody);
    acl_log_destroy(acl->log);
    mem_free(acl);
}

/* --- Sessions --- */

bool acl_is_stranger(const struct session *s)
{
    const struct acl_user *first = server->acl->first;
    return !s->authenticated && (!first->no_password || !first->enabled);
}

void acl_begin_session(struct session *s)
{
    s->user = server->acl->first;
    s->authenticated = s->user->no_password && s->user->enabled;
    s->was_authenticated |= s->authenticated;
    session_restrict(s);
}

struct slice acl_user_name(const struct session *s)
{
    return s->user ? s->user->name : SLICE("default");
}

bool acl_authenticate(struct core *c, struct session *s, struct slice user, struct slice password,
                      struct slice command)
{
    struct acl_user *u = acl_find(user);
    bool right = acl_user_has_password(u, password, server->acl->most_hashes);
    if (u && u->enabled && (right || u->no_password)) {
        s->user = u;
        s->authenticated = s->was_authenticated = true;
        session_restrict(s);
        return true;
    }
    acl_log_add(c, s, ACL_DENIED_AUTH, s->transaction ? ACL_MULTI : ACL_TOPLEVEL, command, user);
    return false;
}

/* What follows changes sessions of all cores, which stand still: a session marked here is looked at
 * by its own core before that sleeps. */

static void close_session(struct core *home, struct session *s, const struct session *by)
{
    s->user = server->acl->nobody;
    s->authenticated = false;
    if (s == by)
        s->close_after_reply = true;
    else
        s->close_asked = true;
    session_touch(home, s);
}

typedef void session_fn(struct core *home, struct session *s, void *context);

static void for_each_session(session_fn *visit, void *context)
{
    for (uint32_t i = 0; server->cores && i < server->core_count; i++)
        for (struct session *s = server->cores[i]->sessions; s; s = s->next)
            visit(server->cores[i], s, context);
}

static void settle_session(struct core *home, struct session *s, void *context)
{
    session_restrict(s);
}

/* The users have changed. */
static void settle_all(struct acl *acl)
{
    acl->version++;
    acl->most_hashes = 1;
    for (uint32_t i = 0; i < acl->count; i++) {
        acl_user_settle(acl->users[i]);
        if (acl->users[i]->hash_count > acl->most_hashes)
            acl->most_hashes = acl->users[i]->hash_count;
    }
    for_each_session(settle_session, NULL);
}

struct leaving {
    const struct acl_user *user; /* NULL: all but the default one */
    const struct session *by;
};

static void close_if_of(struct core *home, struct session *s, void *context)
{
    const struct leaving *l = context;
    if (l->user ? s->user == l->user : s->user != server->acl->first)
        close_session(home, s, l->by);
}

bool acl_delete_user(struct slice name, struct session *by)
{
    struct acl *acl = server->acl;
    bool found;
    uint32_t at = place_of(acl, name, &found);
    if (!found)
        return false;
    struct acl_user *u = acl->users[at];
    assert(u != acl->first);
    for_each_session(close_if_of, &(struct leaving){u, by});
    acl->count--;
    memmove(acl->users + at, acl->users + at + 1, (acl->count - at) * sizeof(*acl->users));
    acl_user_destroy(u);
    settle_all(acl);
    return true;
}

/* --- Subscriptions that a user may have no more --- */

struct channels {
    struct slice *items; /* borrowed */
    uint32_t count;
    bool all;
};

static struct channels channels_of(const struct acl_user *u)
{
    struct channels c = {0};
    for (uint32_t i = 0; i < u->selector_count; i++) {
        c.count += u->selectors[i]->channel_count;
        c.all |= u->selectors[i]->all_channels;
    }
    c.items = mem_alloc((c.count + 1) * sizeof(*c.items));
    uint32_t n = 0;
    for (uint32_t i = 0; i < u->selector_count; i++)
        for (uint32_t k = 0; k < u->selectors[i]->channel_count; k++)
            c.items[n++] = u->selectors[i]->channels[k];
    return c;
}

static bool has_all_of(const struct channels *c, const struct channels *before)
{
    bool all = !before->all;
    for (uint32_t i = 0; i < before->count && all; i++)
        all = acl_channel_matches(c->items, c->count, before->items[i], true);
    return c->all || all;
}

struct revoked {
    const struct acl_user *user;
    const struct channels *channels; /* that are left */
    const struct session *by;
    bool pattern, denied;
};

static void judge_subscription(void *context, struct slice name)
{
    struct revoked *r = context;
    r->denied |=
        !acl_channel_matches(r->channels->items, r->channels->count, name, r->pattern);
}

static void close_if_denied(struct core *home, struct session *s, void *context)
{
    struct revoked *r = context;
    if (s->user != r->user || !s->subscriptions)
        return;
    r->denied = false;
    for (int kind = 0; kind < PUBSUB_KINDS; kind++) {
        r->pattern = kind == PUBSUB_PATTERN;
        pubsub_visit_own(s, (enum pubsub_kind)kind, judge_subscription, r);
    }
    if (r->denied)
        close_session(home, s, r->by);
}

/* --- Changes --- */

/* Subscribers of what the user may hear no more are closed. */
static void close_revoked(const struct acl_user *u, const struct acl_user *before,
                          struct session *by)
{
    struct channels had = channels_of(before), has = channels_of(u);
    if (!has_all_of(&has, &had))
        for_each_session(close_if_denied,
                         &(struct revoked){.user = u, .channels = &has, .by = by});
    mem_free(had.items);
    mem_free(has.items);
}

static bool change_user(struct acl_user *u, const struct slice *rules, uint32_t count,
                        struct session *by, struct buf *error)
{
    struct acl_terms terms = acl_terms();
    struct acl_user *before = acl_user_copy(u, u->name);
    bool fine = acl_user_rules(u, &terms, rules, count, error);
    if (fine)
        close_revoked(u, before, by);
    acl_user_destroy(before);
    return fine;
}

static bool add_user(struct slice name, const struct slice *rules, uint32_t count,
                     struct buf *error)
{
    struct acl_terms terms = acl_terms();
    struct acl_user *u = acl_user_create(&terms, name);
    bool fine = acl_user_rules(u, &terms, rules, count, error);
    if (fine)
        insert(server->acl, u);
    else
        acl_user_destroy(u);
    return fine;
}

bool acl_set_user(struct slice name, const struct slice *rules, uint32_t count, struct session *by,
                  struct buf *error)
{
    struct acl_user *u = acl_find(name);
    bool fine = u ? change_user(u, rules, count, by, error) : add_user(name, rules, count, error);
    if (fine)
        settle_all(server->acl);
    return fine;
}

static void set_password(struct acl *acl, struct slice password)
{
    struct acl_user *u = acl->first;
    u->no_password = password.size == 0;
    u->hash_count = 0;
    if (u->no_password)
        return;
    u->hashes = mem_realloc(u->hashes, sizeof(*u->hashes));
    acl_hash(password, u->hashes[0]);
    u->hash_count = 1;
}

void acl_set_default_password(struct slice password)
{
    set_password(server->acl, password);
    settle_all(server->acl);
}

void acl_replace(struct acl_user **users, uint32_t count, struct session *by)
{
    struct acl *acl = server->acl;
    for_each_session(close_if_of, &(struct leaving){NULL, by});
    for (uint32_t i = 0; i < acl->count; i++)
        if (acl->users[i] != acl->first)
            acl_user_destroy(acl->users[i]);
    acl->users[0] = acl->first;
    acl->count = 1;
    bool named = false;
    for (uint32_t i = 0; i < count; i++) {
        bool is_first = slice_equal(users[i]->name, acl->first->name);
        named |= is_first;
        if (is_first)
            acl_user_take(acl->first, users[i]);
        else
            insert(acl, users[i]);
    }
    if (!named) {
        struct acl_terms terms = acl_terms();
        acl_user_take(acl->first, acl_user_create_default(&terms));
    }
    settle_all(acl);
}
