/* Requests of sessions whose user has limits: see acl.h. */
#include <stdio.h>

#include "server/acl.h"
#include "server/execute.h"
#include "server/server.h"

bool acl_permits(const struct session *s, const struct command *row, const struct slice *argv,
                 uint32_t argc)
{
    uint32_t arg;
    return !acl_limits(s) || acl_user_check(s->user, row, argv, argc, &arg) == ACL_PERMITTED;
}

bool acl_reads_all_keys(const struct call *call)
{
    const struct session *s = call->session;
    return !acl_limits(s) || acl_user_reads_all(s->user, call->command, call->argv, call->argc);
}

/* `format` has one %.*s for the user's name and one %s for the command's. */
static char *name_command(struct core *c, const struct acl_user *u, const struct command *row,
                          const char *format)
{
    size_t size = strlen(format) + u->name.size + strlen(row->full_name) + 1;
    char *text = arena_alloc(&c->arena, size);
    snprintf(text, size, format, (int)u->name.size, u->name.data, row->full_name);
    return text;
}

const char *acl_refusal(struct core *c, const struct session *s, const struct command *row,
                  const struct slice *argv, uint32_t argc)
{
    uint32_t arg;
    if (!acl_limits(s))
        return NULL;
    switch (acl_user_check(s->user, row, argv, argc, &arg)) {
    case ACL_PERMITTED:
    case ACL_DENIED_AUTH:
        break;
    case ACL_DENIED_COMMAND:
        return name_command(c, s->user, row,
                            "NOPERM User %.*s has no permissions to run the '%s' command");
    case ACL_DENIED_KEY:
        return "NOPERM No permissions to access a key";
    case ACL_DENIED_CHANNEL:
        return "NOPERM No permissions to access a channel";
    }
    return NULL;
}

static void note(struct core *c, struct session *s, enum acl_verdict verdict,
                 enum acl_context context, const struct command *row, struct slice arg)
{
    struct slice object = verdict == ACL_DENIED_COMMAND ? slice_of(row->full_name) : arg;
    acl_log_add(c, s, verdict, context, object, s->user->name);
}

void acl_note_refusal(struct core *c, struct session *s, enum acl_context context,
                      const struct command *row, const struct slice *argv, uint32_t argc)
{
    uint32_t arg;
    if (!acl_limits(s))
        return;
    enum acl_verdict verdict = acl_user_check(s->user, row, argv, argc, &arg);
    if (verdict != ACL_PERMITTED)
        note(c, s, verdict, context, row, argv[arg]);
}

static const char *reason_of(enum acl_verdict verdict)
{
    switch (verdict) {
    case ACL_DENIED_COMMAND:
        return "no permission to execute the command or subcommand";
    case ACL_DENIED_KEY:
        return "no permission to touch the specified keys";
    case ACL_DENIED_CHANNEL:
        return "no permission to access one of the channels used as arguments to the command";
    case ACL_PERMITTED:
    case ACL_DENIED_AUTH:
        break;
    }
    return "no permission";
}

bool acl_refuses_queued(struct core *c, struct session *s, const struct command *row,
                        const struct slice *argv, uint32_t argc, struct reply *reply)
{
    uint32_t arg;
    if (!acl_limits(s))
        return false;
    enum acl_verdict verdict = acl_user_check(s->user, row, argv, argc, &arg);
    if (verdict == ACL_PERMITTED)
        return false;
    reply_error(reply,
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and "
                "the EXEC call. This command is no longer allowed for the following reason: %s",
                reason_of(verdict));
    note(c, s, verdict, ACL_MULTI, row, argv[arg]);
    execute_count_error(c, SLICE("NOPERM"));
    return true;
}

bool acl_refuses_late(struct core *c, struct session *s, const struct command *row,
                      const struct slice *argv, uint32_t argc, struct reply *reply)
{
    const char *refusal = acl_refusal(c, s, row, argv, argc);
    if (!refusal)
        return false;
    reply_error(reply, "%s", refusal);
    acl_note_refusal(c, s, ACL_TOPLEVEL, row, argv, argc);
    execute_count_error(c, SLICE("NOPERM"));
    c->command_stats[row->id].rejected++;
    return true;
}

const char *acl_refuse_in_script(struct core *c, struct session *s, const struct command *row,
                           const struct slice *argv, uint32_t argc)
{
    static const char begin[] = "ACL failure in script: ";
    const char *refusal = acl_refusal(c, s, row, argv, argc);
    if (!refusal)
        return NULL;
    acl_note_refusal(c, s, ACL_LUA, row, argv, argc);
    refusal += sizeof("NOPERM ") - 1;
    size_t size = sizeof(begin) + strlen(refusal);
    char *text = arena_alloc(&c->arena, size);
    snprintf(text, size, "%s%s", begin, refusal);
    return text;
}
