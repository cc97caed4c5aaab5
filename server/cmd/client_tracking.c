/* CLIENT TRACKING, CACHING, TRACKINGINFO, GETREDIR: see tracking.h.
 *
 * TRACKING runs on the connection's own core, but with all shards at hand where it concerns them:
 * they are told of prefixes, and the connection redirected to is looked for on all cores. */
#include "server/cmd/client.h"
#include "server/server.h"
#include "server/session_table.h"
#include "server/tracking.h"

/* What CLIENT TRACKING asks for. */
struct options {
    bool bcast, optin, optout, noloop;
    uint64_t redirect;
    uint32_t redirect_home;
    const struct slice *argv; /* the prefixes are among them */
    uint32_t argc;
    uint32_t prefix_count;
};

/* The argument that is the next prefix behind argument `at` (0 to start), 0 at the end. Options
 * were checked. */
static uint32_t next_prefix(const struct options *o, uint32_t at)
{
    for (uint32_t i = at ? at + 1 : 3; i + 1 < o->argc; i++) {
        if (slice_is(o->argv[i], "prefix"))
            return i + 1;
        if (slice_is(o->argv[i], "redirect"))
            i++;
    }
    return 0;
}

void client_tracking_reach(struct session *s, const struct slice *argv, uint32_t argc,
                           struct core_mask *mask)
{
    bool all = s->tracking && s->tracking->bcast;
    for (uint32_t i = 3; i < argc && !all; i++)
        all = slice_is(argv[i], "bcast") || slice_is(argv[i], "redirect");
    core_mask_add(mask, s->home);
    for (uint32_t i = 0; all && i < server->core_count; i++)
        core_mask_add(mask, i);
}

static bool read_redirect(struct call *c, uint32_t arg, struct options *o)
{
    int64_t id;
    if (o->redirect) {
        reply_error(&c->reply, "ERR A client can only redirect to a single other client");
        return false;
    }
    if (!call_arg_integer(c, arg, &id))
        return false;
    struct session *target = NULL;
    for (uint32_t i = 0; i < server->core_count && !target; i++)
        target = session_table_find(server->cores[i], (uint64_t)id);
    if (!target || client_is_gone(target)) {
        reply_error(&c->reply, "ERR The client ID you want redirect to does not exist");
        return false;
    }
    o->redirect = target->id;
    o->redirect_home = target->home;
    return true;
}

static bool read_options(struct call *c, struct options *o)
{
    *o = (struct options){.argv = c->argv, .argc = c->argc};
    for (uint32_t i = 3; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        if (more && call_arg_is(c, i, "redirect")) {
            if (!read_redirect(c, ++i, o))
                return false;
        } else if (call_arg_is(c, i, "bcast")) {
            o->bcast = true;
        } else if (call_arg_is(c, i, "optin")) {
            o->optin = true;
        } else if (call_arg_is(c, i, "optout")) {
            o->optout = true;
        } else if (call_arg_is(c, i, "noloop")) {
            o->noloop = true;
        } else if (more && call_arg_is(c, i, "prefix")) {
            o->prefix_count++;
            i++;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

/* What does not go together; NULL where all does. */
static const char *conflict(const struct options *o, const struct tracking *t)
{
    if (!o->bcast && o->prefix_count)
        return "PREFIX option requires BCAST mode to be enabled";
    if (t && t->bcast != o->bcast)
        return "You can't switch BCAST mode on/off before disabling tracking for this client, and "
               "then re-enabling it with a different mode.";
    if (o->bcast && (o->optin || o->optout))
        return "OPTIN and OPTOUT are not compatible with BCAST";
    if (o->optin && o->optout)
        return "You can't specify both OPTIN mode and OPTOUT mode";
    if (t && ((o->optin && t->optout) || (o->optout && t->optin)))
        return "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and "
               "then re-enabling it with a different mode.";
    return NULL;
}

static bool overlap(struct slice a, struct slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    return size == 0 || memcmp(a.data, b.data, size) == 0;
}

static void reply_overlap(struct call *c, struct slice prefix, const char *which,
                          struct slice other)
{
    reply_error(&c->reply,
                "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single client "
                "must not overlap.",
                client_quote_size(prefix), prefix.data, which, client_quote_size(other),
                other.data);
}

/* A key shall make one invalidation for a client, not one for each of several prefixes. */
static bool check_prefixes(struct call *c, const struct options *o, const struct tracking *t)
{
    for (uint32_t i = 0; (i = next_prefix(o, i)) != 0;) {
        for (uint32_t k = 0; t && k < t->prefix_count; k++) {
            if (!overlap(t->prefixes[k], o->argv[i]))
                continue;
            reply_overlap(c, o->argv[i], "an existing", t->prefixes[k]);
            return false;
        }
        for (uint32_t k = i; (k = next_prefix(o, k)) != 0;) {
            if (!overlap(o->argv[i], o->argv[k]))
                continue;
            reply_overlap(c, o->argv[i], "another provided", o->argv[k]);
            return false;
        }
    }
    return true;
}

static bool has_all_prefix(const struct tracking *t)
{
    return t->prefix_count && t->prefixes[0].size == 0;
}

static void turn_on(struct session *s, const struct options *o)
{
    struct tracking *t = s->tracking ? s->tracking : tracking_start(s);
    t->broken = false;
    t->bcast = o->bcast;
    t->optin = o->optin;
    t->optout = o->optout;
    t->noloop = o->noloop;
    t->redirect = o->redirect;
    t->redirect_home = o->redirect_home;
    for (uint32_t i = 0; (i = next_prefix(o, i)) != 0;)
        tracking_add_prefix(t, o->argv[i]);
    if (o->bcast && !o->prefix_count && !has_all_prefix(t))
        tracking_add_prefix(t, SLICE(""));
}

void client_tracking(struct call *c)
{
    struct session *s = c->session;
    struct options o;
    if (!read_options(c, &o))
        return;
    bool on = call_arg_is(c, 2, "ON");
    if (!on && !call_arg_is(c, 2, "OFF")) {
        reply_error_syntax(&c->reply);
        return;
    }
    const char *why_not = on ? conflict(&o, s->tracking) : NULL;
    if (why_not) {
        reply_error(&c->reply, "ERR %s", why_not);
        return;
    }
    if (on && !check_prefixes(c, &o, s->tracking))
        return;

    if (on)
        turn_on(s, &o);
    else if (s->tracking)
        tracking_stop(s);
    reply_ok(&c->reply);
}

/* Within a transaction it lasts to the end of that at most. */
void client_caching(struct call *c)
{
    struct tracking *t = c->session->tracking;
    bool yes = call_arg_is(c, 2, "YES");
    if (!t) {
        reply_error(&c->reply, "ERR CLIENT CACHING can be called only when the client is in "
                               "tracking mode with OPTIN or OPTOUT mode enabled");
        return;
    }
    if (!yes && !call_arg_is(c, 2, "NO")) {
        reply_error_syntax(&c->reply);
        return;
    }
    if (yes && !t->optin) {
        reply_error(&c->reply, "ERR CLIENT CACHING YES is only valid when tracking is enabled in "
                               "OPTIN mode.");
        return;
    }
    if (!yes && !t->optout) {
        reply_error(&c->reply, "ERR CLIENT CACHING NO is only valid when tracking is enabled in "
                               "OPTOUT mode.");
        return;
    }

    t->caching = true;
    t->caching_spent = !c->may_wait;
    reply_ok(&c->reply);
}

void client_getredir(struct call *c)
{
    reply_integer(&c->reply, tracking_redirect(c->session));
}

/* The words for how a session tracks. */
static uint32_t list_flags(const struct tracking *t, const char **flags)
{
    uint32_t n = 0;
    flags[n++] = t ? "on" : "off";
    if (!t)
        return n;
    if (t->bcast)
        flags[n++] = "bcast";
    if (t->optin)
        flags[n++] = "optin";
    if (t->optin && t->caching)
        flags[n++] = "caching-yes";
    if (t->optout)
        flags[n++] = "optout";
    if (t->optout && t->caching)
        flags[n++] = "caching-no";
    if (t->noloop)
        flags[n++] = "noloop";
    if (t->broken)
        flags[n++] = "broken_redirect";
    return n;
}

void client_trackinginfo(struct call *c)
{
    enum { FLAGS_MAX = 8 };
    const struct tracking *t = c->session->tracking;
    const char *flags[FLAGS_MAX];
    uint32_t count = list_flags(t, flags);

    reply_map(&c->reply, 3);
    reply_bulk_text(&c->reply, "flags");
    reply_set(&c->reply, count);
    for (uint32_t i = 0; i < count; i++)
        reply_bulk_text(&c->reply, flags[i]);
    reply_bulk_text(&c->reply, "redirect");
    reply_integer(&c->reply, tracking_redirect(c->session));
    reply_bulk_text(&c->reply, "prefixes");
    reply_array(&c->reply, t ? t->prefix_count : 0);
    for (uint32_t i = 0; t && i < t->prefix_count; i++)
        reply_bulk(&c->reply, t->prefixes[i]);
}
