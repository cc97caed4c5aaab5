/* ACL LIST, USERS, GETUSER and CAT. */
#include "server/cmd/acl_show.h"

#include "server/acl.h"
#include "server/command_reply.h"
#include "server/server.h"
#include "shard/call.h"

void acl_reply_too_many(struct call *c)
{
    reply_error(&c->reply,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try ACL HELP.",
                (int)c->argv[1].size, c->argv[1].data);
}

void acl_list(struct call *c)
{
    const struct acl *acl = server->acl;
    reply_array(&c->reply, acl->count);
    struct buf line;
    buf_init(&line);
    for (uint32_t i = 0; i < acl->count; i++) {
        line.size = 0;
        buf_append_text(&line, "user ");
        buf_append_slice(&line, acl->users[i]->name);
        buf_append_text(&line, " ");
        acl_describe(acl->users[i], &line);
        reply_bulk(&c->reply, buf_slice(&line));
    }
    buf_deinit(&line);
}

void acl_users(struct call *c)
{
    reply_array(&c->reply, server->acl->count);
    for (uint32_t i = 0; i < server->acl->count; i++)
        reply_bulk(&c->reply, server->acl->users[i]->name);
}

static void reply_part(struct reply *r, const char *name, const struct acl_selector *s,
                       void (*describe)(const struct acl_selector *s, struct buf *to))
{
    struct buf text;
    buf_init(&text);
    describe(s, &text);
    reply_bulk_text(r, name);
    reply_bulk(r, buf_slice(&text));
    buf_deinit(&text);
}

/* Three pairs. */
static void reply_selector(struct reply *r, const struct acl_selector *s)
{
    reply_part(r, "commands", s, acl_describe_commands);
    reply_part(r, "keys", s, acl_describe_keys);
    reply_part(r, "channels", s, acl_describe_channels);
}

static void reply_flags(struct reply *r, const struct acl_user *u)
{
    reply_bulk_text(r, "flags");
    reply_set(r, u->no_password ? 3 : 2);
    reply_bulk_text(r, u->enabled ? "on" : "off");
    if (u->no_password)
        reply_bulk_text(r, "nopass");
    reply_bulk_text(r, u->skip_sanitize ? "skip-sanitize-payload" : "sanitize-payload");
}

void acl_getuser(struct call *c)
{
    const struct acl_user *u = acl_find(c->argv[2]);
    struct reply *r = &c->reply;
    if (!u) {
        reply_null(r);
        return;
    }
    reply_map(r, 6);
    reply_flags(r, u);
    reply_bulk_text(r, "passwords");
    reply_array(r, u->hash_count);
    for (uint32_t i = 0; i < u->hash_count; i++) {
        char text[ACL_HASH_TEXT_SIZE];
        acl_describe_hash(u->hashes[i], text);
        reply_bulk(r, (struct slice){text, sizeof(text)});
    }
    reply_selector(r, u->selectors[0]);
    reply_bulk_text(r, "selectors");
    reply_array(r, u->selector_count - 1);
    for (uint32_t i = 1; i < u->selector_count; i++) {
        reply_map(r, 3);
        reply_selector(r, u->selectors[i]);
    }
}

static void reply_category(struct call *c, uint32_t category)
{
    size_t count = 0;
    for (uint32_t id = 0; id < registry_count(server->registry); id++)
        count += (registry_at(server->registry, id)->acl & category) != 0;
    reply_array(&c->reply, count);
    for (uint32_t id = 0; id < registry_count(server->registry); id++) {
        const struct command *row = registry_at(server->registry, id);
        if (row->acl & category)
            reply_bulk_text(&c->reply, row->full_name);
    }
}

void acl_cat(struct call *c)
{
    if (c->argc > 3) {
        acl_reply_too_many(c);
        return;
    }
    if (c->argc == 2) {
        command_reply_categories(&c->reply);
        return;
    }
    uint32_t category = command_category(c->argv[2]);
    if (category)
        reply_category(c, category);
    else
        reply_error(&c->reply, "ERR Unknown category '%.*s'",
                    (int)(c->argv[2].size < 128 ? c->argv[2].size : 128), c->argv[2].data);
}
