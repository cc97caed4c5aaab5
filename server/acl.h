/* Users and what they may do.
 *
 * The users are one sorted list for the process. It changes only while all cores stand still (ACL
 * SETUSER, DELUSER and LOAD, CONFIG SET requirepass are cross transactions of all shards), so every
 * core reads it as it is. Each session points at its user. A user that changes keeps its place in
 * memory; one that goes takes its sessions with it: they get the user `nobody`, who may do nothing,
 * and are closed.
 *
 * A session whose user may do everything costs nothing here (session_restrict clears its flag
 * `restricted`). One with limits is asked about each request when it is routed and again where it
 * runs. What is sent to another core carries the `version` of the users that it was admitted under:
 * where that has changed by the time it runs, it is asked about once more, so that what was revoked
 * before a request's place in the order is refused. A command that waited is asked about again as
 * well, when its turn comes.
 *
 * Files: acl.c the list, sessions · acl/user.h users and rules · acl/admit.c requests · acl/file.c
 * where users come from at start, the file · acl/log.c ACL LOG · cmd/acl.c, cmd/acl_show.c the
 * commands. */
#pragma once

#include "server/acl/user.h"
#include "server/session.h"

struct acl_log;

struct acl {
    struct acl_user **users; /* by name, as memcmp orders them */
    uint32_t count;
    struct acl_user *first;  /* "default": what new sessions are. Never moves */
    struct acl_user *nobody; /* of sessions whose user is gone */
    uint32_t version;        /* grows with each change */
    uint32_t most_hashes;    /* of any user: how often a password is compared */
    struct acl_log *log;
};

/* Made and filled before the cores start: from the configuration's `user` lines or its aclfile, and
 * requirepass. False with Redis's words where these are wrong. */
struct acl *acl_create(const struct registry *registry);
void acl_destroy(struct acl *acl);
bool acl_load_at_start(struct acl *acl, char *error, size_t error_size);

struct acl_terms acl_terms(void);
/* NULL where there is none. */
struct acl_user *acl_find(struct slice name);

/* --- Changes: while all cores stand still --- */

/* Creates or changes a user; false with the error's text, and nothing has changed. `by`, here and
 * below: the session that asks, which is answered before it is closed. */
bool acl_set_user(struct slice name, const struct slice *rules, uint32_t count, struct session *by,
                  struct buf *error);
/* False where there is none. */
bool acl_delete_user(struct slice name, struct session *by);
/* requirepass is the default user's password. */
void acl_set_default_password(struct slice password);
/* The file in place of all users there are, or an error and no change. */
bool acl_load_file(struct session *by, struct buf *error);

/* These in place of all users there are; without a default among them that is as in a new server.
 * They are taken over. */
void acl_replace(struct acl_user **users, uint32_t count, struct session *by);

/* --- At any time --- */

/* False where the file could not be written: the log says why. */
bool acl_save_file(void);
/* The users as lines of a configuration, where that is where they stand. For CONFIG REWRITE. */
void acl_append_config(struct buf *to);
/* True where clients that say nothing may use the server: for protected-mode. */
static inline bool acl_is_open(const struct acl *acl)
{
    return acl->first->no_password;
}

/* --- Sessions, on their home core --- */

/* A new session, or one that begins anew: the default user, who may have to say a password. */
void acl_begin_session(struct session *s);
/* Nothing but what needs no user may be done before AUTH. */
bool acl_is_stranger(const struct session *s);
/* True where the session is that user now; else the attempt is logged. `command`: as it was sent.
 */
bool acl_authenticate(struct core *c, struct session *s, struct slice user, struct slice password,
                      struct slice command);
/* The name of the user that a session runs as. On its home core. */
struct slice acl_user_name(const struct session *s);

/* --- Requests; any core that has them --- */

/* Sessions without a user (a replay's) may do everything. */
static inline bool acl_limits(const struct session *s)
{
    return s && s->user && !s->user->unlimited;
}
bool acl_permits(const struct session *s, const struct command *row, const struct slice *argv,
                 uint32_t argc);
bool acl_reads_all_keys(const struct call *call);
/* Why not, in the core's arena, as an error with its code; NULL where it may. */
const char *acl_refusal(struct core *c, const struct session *s, const struct command *row,
                  const struct slice *argv, uint32_t argc);

enum acl_context { ACL_TOPLEVEL, ACL_MULTI, ACL_LUA };

/* A request was refused: it is counted, and ACL LOG tells of it. */
void acl_note_refusal(struct core *c, struct session *s, enum acl_context context,
                      const struct command *row, const struct slice *argv, uint32_t argc);
/* Of a queued command when EXEC comes to it: writes the error where it is permitted no more. */
bool acl_refuses_queued(struct core *c, struct session *s, const struct command *row,
                        const struct slice *argv, uint32_t argc, struct reply *reply);
/* The same for what was on its way to another core, or has waited. */
bool acl_refuses_late(struct core *c, struct session *s, const struct command *row,
                      const struct slice *argv, uint32_t argc, struct reply *reply);
/* Of a script's command: the error without its code, in the core's arena, or NULL. */
const char *acl_refuse_in_script(struct core *c, struct session *s, const struct command *row,
                           const struct slice *argv, uint32_t argc);
/* Whether argument `arg` of a request is to be shown as "(redacted)", wherever requests are shown:
 * passwords, and rules that may hold some. */
bool acl_redacts(const struct command *row, const struct slice *argv, uint32_t argc, uint32_t arg);

/* --- ACL LOG --- */

struct acl_log *acl_log_create(void);
void acl_log_destroy(struct acl_log *log);
/* An entry about a session, from its own core; or from any other, which tells that one. */
void acl_log_add(struct core *c, struct session *s, enum acl_verdict reason,
                 enum acl_context context, struct slice object, struct slice user);
void acl_log_reset(struct acl_log *log);
/* The newest entries, as ACL LOG replies with them. */
void acl_log_reply(struct acl_log *log, struct reply *reply, uint64_t count, int64_t now_ms);
