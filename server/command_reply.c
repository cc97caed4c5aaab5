/* COMMAND INFO and COMMAND DOCS, field by field. Source: the Redis documentation of both, and the
 * replies of Redis 7. Flag words are simple strings in sets, all other words are bulks. */
#include "server/command_reply.h"

#include <assert.h>

#include "server/command_history.h"
#include "server/syntax.h"

struct flag_word {
    uint32_t flag;
    const char *word; /* NULL ends a table */
};

/* In the order Redis shows them; may_replicate and sentinel are not shown. */
static const struct flag_word command_flags[] = {
    {CMD_WRITE, "write"},
    {CMD_READONLY, "readonly"},
    {CMD_DENYOOM, "denyoom"},
    {CMD_ADMIN, "admin"},
    {CMD_PUBSUB, "pubsub"},
    {CMD_NOSCRIPT, "noscript"},
    {CMD_BLOCKING, "blocking"},
    {CMD_LOADING, "loading"},
    {CMD_STALE, "stale"},
    {CMD_SKIP_MONITOR, "skip_monitor"},
    {CMD_SKIP_SLOWLOG, "skip_slowlog"},
    {CMD_ASKING, "asking"},
    {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"},
    {CMD_NO_MANDATORY_KEYS, "no_mandatory_keys"},
    {CMD_NO_ASYNC_LOADING, "no_async_loading"},
    {CMD_NO_MULTI, "no_multi"},
    {CMD_MOVABLE_KEYS, "movablekeys"},
    {CMD_ALLOW_BUSY, "allow_busy"},
    {0, NULL},
};

static const struct flag_word categories[] = {
    {ACL_KEYSPACE, "@keyspace"},
    {ACL_READ, "@read"},
    {ACL_WRITE, "@write"},
    {ACL_SET, "@set"},
    {ACL_SORTEDSET, "@sortedset"},
    {ACL_LIST, "@list"},
    {ACL_HASH, "@hash"},
    {ACL_STRING, "@string"},
    {ACL_BITMAP, "@bitmap"},
    {ACL_HYPERLOGLOG, "@hyperloglog"},
    {ACL_GEO, "@geo"},
    {ACL_STREAM, "@stream"},
    {ACL_PUBSUB, "@pubsub"},
    {ACL_ADMIN, "@admin"},
    {ACL_FAST, "@fast"},
    {ACL_SLOW, "@slow"},
    {ACL_BLOCKING, "@blocking"},
    {ACL_DANGEROUS, "@dangerous"},
    {ACL_CONNECTION, "@connection"},
    {ACL_TRANSACTION, "@transaction"},
    {ACL_SCRIPTING, "@scripting"},
    {0, NULL},
};

static const struct flag_word key_flags[] = {
    {KEY_RO, "RO"},
    {KEY_RW, "RW"},
    {KEY_OW, "OW"},
    {KEY_RM, "RM"},
    {KEY_ACCESS, "access"},
    {KEY_UPDATE, "update"},
    {KEY_INSERT, "insert"},
    {KEY_DELETE, "delete"},
    {KEY_NOT_KEY, "not_key"},
    {KEY_INCOMPLETE, "incomplete"},
    {KEY_VARIABLE_FLAGS, "variable_flags"},
    {0, NULL},
};

static const struct flag_word argument_flags[] = {
    {SYNTAX_OPTIONAL, "optional"},
    {SYNTAX_MULTIPLE, "multiple"},
    {SYNTAX_MULTIPLE_TOKEN, "multiple_token"},
    {0, NULL},
};

static void reply_flags(struct reply *r, uint32_t flags, const struct flag_word *words)
{
    size_t count = 0;
    for (const struct flag_word *w = words; w->word; w++)
        count += (flags & w->flag) != 0;
    reply_set(r, count);
    for (const struct flag_word *w = words; w->word; w++)
        if (flags & w->flag)
            reply_simple(r, w->word);
}

static void reply_text_field(struct reply *r, const char *name, const char *text)
{
    reply_bulk_text(r, name);
    reply_bulk_text(r, text);
}

static void reply_optional_text(struct reply *r, const char *name, const char *text)
{
    if (text)
        reply_text_field(r, name, text);
}

static void reply_integer_field(struct reply *r, const char *name, int64_t value)
{
    reply_bulk_text(r, name);
    reply_integer(r, value);
}

void command_reply_key_flags(struct reply *r, uint32_t flags)
{
    reply_flags(r, flags, key_flags);
}

void command_reply_categories(struct reply *r)
{
    reply_array(r, sizeof(categories) / sizeof(categories[0]) - 1);
    for (const struct flag_word *w = categories; w->word; w++)
        reply_bulk_text(r, w->word + 1);
}

uint32_t command_category(struct slice name)
{
    for (const struct flag_word *w = categories; w->word; w++)
        if (slice_is(name, w->word + 1))
            return w->flag;
    return 0;
}

/* ---- COMMAND INFO ---- */

/* The tips of a row, which are words separated by single blanks. */
static void reply_tips(struct reply *r, const char *tips)
{
    size_t count = tips != NULL;
    for (const char *c = tips; c && *c; c++)
        count += *c == ' ';
    reply_set(r, count);
    for (const char *c = tips; count; count--) {
        size_t size = strcspn(c, " ");
        reply_bulk(r, (struct slice){c, size});
        c += size + 1;
    }
}

/* A step of a key spec: a type, and a spec of `fields` fields that the caller writes next. */
static void reply_step(struct reply *r, const char *name, const char *type, size_t fields)
{
    reply_bulk_text(r, name);
    reply_map(r, 2);
    reply_text_field(r, "type", type);
    reply_bulk_text(r, "spec");
    reply_map(r, fields);
}

static void reply_key_spec(struct reply *r, const struct key_spec *spec)
{
    reply_map(r, 3 + (spec->notes != NULL));
    reply_optional_text(r, "notes", spec->notes);
    reply_bulk_text(r, "flags");
    command_reply_key_flags(r, spec->flags);
    if (spec->find == KEY_FIND_UNKNOWN) {
        reply_step(r, "begin_search", "unknown", 0);
        reply_step(r, "find_keys", "unknown", 0);
        return;
    }
    if (spec->keyword) {
        reply_step(r, "begin_search", "keyword", 2);
        reply_text_field(r, "keyword", spec->keyword);
        reply_integer_field(r, "startfrom", spec->begin);
    } else {
        reply_step(r, "begin_search", "index", 1);
        reply_integer_field(r, "index", spec->begin);
    }
    if (spec->find == KEY_FIND_RANGE) {
        reply_step(r, "find_keys", "range", 3);
        reply_integer_field(r, "lastkey", spec->last);
        reply_integer_field(r, "keystep", spec->step);
        reply_integer_field(r, "limit", spec->limit);
    } else {
        reply_step(r, "find_keys", "keynum", 3);
        reply_integer_field(r, "keynumidx", 0);
        reply_integer_field(r, "firstkey", spec->first);
        reply_integer_field(r, "keystep", spec->step);
    }
}

static void reply_key_specs(struct reply *r, const struct command *row)
{
    size_t count = 0;
    while (count < KEY_SPECS_MAX && row->keys[count].find != KEY_FIND_NONE)
        count++;
    reply_set(r, count);
    for (size_t i = 0; i < count; i++)
        reply_key_spec(r, &row->keys[i]);
}

void command_reply_info(struct reply *r, const struct command *row)
{
    if (!row) {
        reply_null(r);
        return;
    }
    reply_array(r, 10);
    reply_bulk_text(r, row->full_name);
    reply_integer(r, row->arity);
    reply_flags(r, row->flags, command_flags);
    reply_integer(r, row->first_key);
    reply_integer(r, row->last_key);
    reply_integer(r, row->key_step);
    reply_flags(r, row->acl, categories);
    reply_tips(r, row->tips);
    reply_key_specs(r, row);
    if (row->subcommand_count)
        reply_array(r, row->subcommand_count);
    else
        reply_set(r, 0);
    for (uint32_t i = 0; i < row->subcommand_count; i++)
        command_reply_info(r, &row->subcommands[i]);
}

/* ---- COMMAND DOCS ---- */

static const char *const argument_types[] = {
    [SYNTAX_STRING] = "string",
    [SYNTAX_INTEGER] = "integer",
    [SYNTAX_DOUBLE] = "double",
    [SYNTAX_KEY] = "key",
    [SYNTAX_PATTERN] = "pattern",
    [SYNTAX_UNIX_TIME] = "unix-time",
    [SYNTAX_PURE_TOKEN] = "pure-token",
    [SYNTAX_ONEOF] = "oneof",
    [SYNTAX_BLOCK] = "block",
};

struct changes {
    const struct command_change *first;
    uint32_t count;
};

static void reply_arguments(struct reply *r, const struct syntax_list *list,
                            const struct changes *changes)
{
    reply_array(r, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct syntax_arg *arg = &list->args[i];
        bool group = arg->type == SYNTAX_ONEOF || arg->type == SYNTAX_BLOCK;
        const char *since = command_arg_since(changes->first, changes->count, arg);
        size_t optional = (size_t)(arg->key_spec >= 0) + (arg->token != NULL) +
                          (since != NULL) + (arg->flags != 0);
        reply_map(r, 3 + optional);
        reply_text_field(r, "name", arg->name);
        reply_text_field(r, "type", argument_types[arg->type]);
        if (!group)
            reply_text_field(r, "display_text", arg->name);
        if (arg->key_spec >= 0)
            reply_integer_field(r, "key_spec_index", arg->key_spec);
        if (arg->token)
            reply_text_field(r, "token", arg->token);
        reply_optional_text(r, "since", since);
        if (arg->flags) {
            reply_bulk_text(r, "flags");
            reply_flags(r, arg->flags, argument_flags);
        }
        if (group) {
            reply_bulk_text(r, "arguments");
            reply_arguments(r, &arg->children, changes);
        }
    }
}

static size_t doc_flags(const struct command *row)
{
    return (size_t)(row->deprecated_since != NULL) + (size_t)(row->flags & CMD_SYSTEM ? 1 : 0);
}

static void reply_history(struct reply *r, const struct changes *changes)
{
    if (changes->count == 0)
        return;
    reply_bulk_text(r, "history");
    reply_set(r, changes->count);
    for (uint32_t i = 0; i < changes->count; i++) {
        reply_array(r, 2);
        reply_bulk_text(r, changes->first[i].version);
        reply_bulk_text(r, changes->first[i].text);
    }
}

static size_t docs_fields(const struct command *row, const struct syntax_list *arguments,
                          const struct changes *changes)
{
    return 1 + (size_t)(row->summary != NULL) + (row->since != NULL) + (row->complexity != NULL) +
           (row->deprecated_since != NULL) + (doc_flags(row) != 0) + (row->replaced_by != NULL) +
           (changes->count != 0) + (arguments->count != 0) + (row->subcommand_count != 0);
}

void command_reply_docs(struct reply *r, const struct command *row)
{
    struct syntax_list arguments;
    bool well_formed = syntax_parse(row, &arguments);
    assert(well_formed);
    struct changes changes;
    changes.first = command_changes(row->full_name, &changes.count);
    reply_map(r, docs_fields(row, &arguments, &changes));
    reply_optional_text(r, "summary", row->summary);
    reply_optional_text(r, "since", row->since);
    reply_text_field(r, "group", row->group);
    reply_optional_text(r, "complexity", row->complexity);
    if (doc_flags(row)) {
        reply_bulk_text(r, "doc_flags");
        reply_set(r, doc_flags(row));
        if (row->deprecated_since)
            reply_simple(r, "deprecated");
        if (row->flags & CMD_SYSTEM)
            reply_simple(r, "syscmd");
    }
    reply_optional_text(r, "deprecated_since", row->deprecated_since);
    reply_optional_text(r, "replaced_by", row->replaced_by);
    reply_history(r, &changes);
    if (arguments.count) {
        reply_bulk_text(r, "arguments");
        reply_arguments(r, &arguments, &changes);
    }
    if (row->subcommand_count) {
        reply_bulk_text(r, "subcommands");
        reply_map(r, row->subcommand_count);
    }
    for (uint32_t i = 0; i < row->subcommand_count; i++) {
        reply_bulk_text(r, row->subcommands[i].full_name);
        command_reply_docs(r, &row->subcommands[i]);
    }
    syntax_deinit(&arguments);
}
