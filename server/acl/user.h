/* A user: a name, passwords, and rules.
 *
 * Rules stand in selectors. The first one, the root, takes the rules given to the user itself, each
 * "( ... )" makes another. A request is permitted where any one selector permits all of it: the
 * command, each of its keys (to be read, written or both, as the command's key specs say), each of
 * its channels. The language of the rules, its words, their order in descriptions and what is
 * refused are Redis 7.2's. Source: the Redis documentation on ACL.
 *
 * Files: user.c life and copies · rules.c a rule put in force · words.c rules from arguments and
 * lines · describe.c rules as text · check.c what is permitted · password.c. Nothing here knows
 * sessions or the server: unit tests and the fuzzer use it alone. Users that are in force change
 * only while all cores stand still (acl.h), so reading them takes no lock. */
#pragma once

#include "proto/buf.h"
#include "server/registry.h"

#define ACL_HASH_SIZE 32               /* of SHA-256 */
#define ACL_HASH_TEXT_SIZE (2 * ACL_HASH_SIZE)

/* What rules are read with. */
struct acl_terms {
    const struct registry *registry;
    bool all_channels; /* acl-pubsub-default: what a new selector begins with */
};

#define ACL_MAY_READ (1u << 0)
#define ACL_MAY_WRITE (1u << 1)

struct acl_key_pattern {
    struct slice text; /* owned */
    uint32_t may;      /* ACL_MAY_... */
};

/* `+select|0`: a command without subcommands, allowed with this first argument only. */
struct acl_first_arg {
    uint16_t command; /* id */
    struct slice text; /* owned */
};

/* A rule on commands as it is shown: "get", "config|set", "@admin". */
struct acl_command_rule {
    bool allows;
    struct slice text; /* owned, lower case */
};

struct acl_selector {
    bool all_commands; /* every command, without a look at the bits */
    bool all_keys, all_channels;
    bool from_all;     /* the rules begin with +@all, not with -@all */
    uint64_t *allowed; /* bits by command id */
    struct acl_first_arg *first_args;
    uint32_t first_arg_count;
    struct acl_command_rule *rules; /* behind +@all or -@all, in order */
    uint32_t rule_count;
    struct acl_key_pattern *keys;
    uint32_t key_count;
    struct slice *channels; /* owned */
    uint32_t channel_count;
};

struct acl_user {
    struct slice name; /* owned */
    const struct registry *registry;
    bool enabled;
    bool no_password;  /* any will do */
    bool skip_sanitize;
    bool unlimited;    /* a selector permits everything: the usual case; see acl_user_settle */
    unsigned char (*hashes)[ACL_HASH_SIZE];
    uint32_t hash_count;
    struct acl_selector **selectors; /* the root first */
    uint32_t selector_count;
};

/* A new user may do nothing, and is off. */
struct acl_user *acl_user_create(const struct acl_terms *terms, struct slice name);
/* The default user as a server without configuration has it: it may do everything. */
struct acl_user *acl_user_create_default(const struct acl_terms *terms);
void acl_user_destroy(struct acl_user *u);
/* A copy, but for the name. */
struct acl_user *acl_user_copy(const struct acl_user *u, struct slice name);
/* Gives `to` everything of `from` but the name; `from` is gone afterwards. */
void acl_user_take(struct acl_user *to, struct acl_user *from);
/* True where a name has neither blanks nor NULs. */
bool acl_name_valid(struct slice name);

/* Of selectors: what rules.c is made of. */
struct acl_selector *acl_selector_create(const struct acl_terms *terms);
void acl_selector_destroy(struct acl_selector *s);
void acl_selector_clear_keys(struct acl_selector *s);
void acl_selector_clear_channels(struct acl_selector *s);
void acl_selector_clear_commands(struct acl_selector *s, const struct registry *registry,
                                 bool allow);
struct slice acl_text_copy(struct slice text);
void acl_text_free(struct slice *text);

/* Rules. */

enum acl_fault {
    ACL_FINE,
    ACL_UNKNOWN,            /* no such command or category */
    ACL_SYNTAX,
    ACL_KEYS_AFTER_ALL,
    ACL_CHANNELS_AFTER_ALL,
    ACL_NO_SUCH_PASSWORD,
    ACL_BAD_HASH,
    ACL_DUPLICATE,
    ACL_ARG_OF_SUBCOMMAND,
};

/* Puts one rule in force; on a fault the user is as it was. */
enum acl_fault acl_user_rule(struct acl_user *u, const struct acl_terms *terms, struct slice rule);
/* In Redis's words. */
const char *acl_fault_text(enum acl_fault fault);

/* Rules as arguments: those of a selector may be spread over several, "(~a", "+get)". */
struct acl_words {
    struct slice *items; /* owned */
    uint32_t count;
};

/* False where a parenthesis is not closed: *open is the argument that it stands in. */
bool acl_words_merge(struct acl_words *w, const struct slice *argv, uint32_t argc, uint32_t *open);
void acl_words_deinit(struct acl_words *w);

/* Applies rules to a user, all or none. False with the error's text, without its code. */
bool acl_user_rules(struct acl_user *u, const struct acl_terms *terms, const struct slice *argv,
                    uint32_t argc, struct buf *error);

/* As text. */

/* Everything, as behind `user <name>` in a file. */
void acl_describe(const struct acl_user *u, struct buf *to);
void acl_describe_commands(const struct acl_selector *s, struct buf *to);
void acl_describe_keys(const struct acl_selector *s, struct buf *to);     /* "~* ..." */
void acl_describe_channels(const struct acl_selector *s, struct buf *to); /* "&* ..." */
void acl_describe_hash(const unsigned char *hash, char to[ACL_HASH_TEXT_SIZE]);

/* What is permitted. */

enum acl_verdict { ACL_PERMITTED, ACL_DENIED_COMMAND, ACL_DENIED_KEY, ACL_DENIED_CHANNEL,
                   ACL_DENIED_AUTH };

/* Whether a user may run a request; `arg` receives the argument that is denied (0: the command). */
enum acl_verdict acl_user_check(const struct acl_user *u, const struct command *row,
                                const struct slice *argv, uint32_t argc, uint32_t *arg);
/* Whether a selector permits the request and all keys to be read: for SORT's patterns. */
bool acl_user_reads_all(const struct acl_user *u, const struct command *row,
                        const struct slice *argv, uint32_t argc);
/* Whether a subscription may stay. `pattern`: matched as a literal. */
bool acl_channel_matches(const struct slice *channels, uint32_t count, struct slice channel,
                         bool pattern);
/* Settles `unlimited` after rules have changed. */
void acl_user_settle(struct acl_user *u);

/* Passwords. */

void acl_hash(struct slice password, unsigned char to[ACL_HASH_SIZE]);
/* Compares with all of a user's, and as often as `rounds` says where these are fewer; NULL: no such
 * user, at the same cost. */
bool acl_user_has_password(const struct acl_user *u, struct slice password, uint32_t rounds);
