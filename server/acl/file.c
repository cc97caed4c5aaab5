/* Where users come from, and where they are kept: the aclfile, or `user` lines of the
 * configuration. Never both, so that there is one answer to what is in force.
 *
 * The file is read as a whole or not at all, and replaced as a whole. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/acl.h"
#include "server/config_option.h"
#include "server/file.h"
#include "server/server.h"

/* --- Reading --- */

/* Users as they are read. */
struct reading {
    const char *path;
    uint32_t line;
    struct acl_terms terms;
    struct acl_user **users;
    uint32_t count;
    struct buf *errors; /* one line, all that is wrong */
};

static struct slice trim(struct slice s)
{
    while (s.size && memchr(" \t\r\n", s.data[0], 4))
        s = (struct slice){s.data + 1, s.size - 1};
    while (s.size && memchr(" \t\r\n", s.data[s.size - 1], 4))
        s.size--;
    return s;
}

/* A line's words: no quotes, so two blanks have an empty word between them, which is no rule. */
static struct slice *split(struct slice line, uint32_t *count)
{
    struct slice *words = mem_alloc((line.size + 1) * sizeof(*words));
    *count = 0;
    for (;;) {
        const char *blank = line.size ? memchr(line.data, ' ', line.size) : NULL;
        size_t size = blank ? (size_t)(blank - line.data) : line.size;
        words[(*count)++] = (struct slice){line.data, size};
        if (!blank)
            return words;
        line = (struct slice){blank + 1, line.size - size - 1};
    }
}

static bool is_known(const struct reading *r, struct slice name)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (slice_equal(r->users[i]->name, name))
            return true;
    return false;
}

/* Of rules that name no command all are told, of other mistakes the first in each line: what
 * follows may come of it. */
static void apply_rules(struct reading *r, struct acl_user *u, const struct acl_words *words)
{
    bool told = false;
    for (uint32_t i = 0; i < words->count; i++) {
        enum acl_fault fault = acl_user_rule(u, &r->terms, trim(words->items[i]));
        if (fault == ACL_UNKNOWN) {
            buf_printf(r->errors, "%s:%u: Error in applying operation '%s': %s. ", r->path,
                       r->line, words->items[i].data, acl_fault_text(fault));
        } else if (fault != ACL_FINE && !told) {
            buf_printf(r->errors, "%s:%u: %s. ", r->path, r->line, acl_fault_text(fault));
            told = true;
        }
    }
}

static void read_user(struct reading *r, const struct slice *argv, uint32_t argc)
{
    struct slice name = argv[0];
    int shown = (int)name.size;
    if (!acl_name_valid(name)) {
        buf_printf(r->errors, "'%s:%u: username '%.*s' contains invalid characters. ", r->path,
                   r->line, shown, name.data);
        return;
    }
    if (is_known(r, name)) {
        buf_printf(r->errors, "WARNING: Duplicate user '%.*s' found on line %u. ", shown,
                   name.data, r->line);
        return;
    }
    struct acl_user *u = acl_user_create(&r->terms, name);
    r->users = mem_realloc(r->users, (r->count + 1) * sizeof(*r->users));
    r->users[r->count++] = u;
    struct acl_words words;
    uint32_t open;
    if (!acl_words_merge(&words, argv + 1, argc - 1, &open)) {
        buf_printf(r->errors, "%s:%u: Unmatched parenthesis in selector definition.", r->path,
                   r->line);
        return;
    }
    apply_rules(r, u, &words);
    acl_words_deinit(&words);
}

static void read_line(struct reading *r, struct slice line)
{
    r->line++;
    line = trim(line);
    if (line.size == 0)
        return;
    uint32_t count;
    struct slice *words = split(line, &count);
    if (count < 2 || !slice_equal(words[0], SLICE("user")))
        buf_printf(r->errors, "%s:%u should start with user keyword followed by the username. ",
                   r->path, r->line);
    else
        read_user(r, words + 1, count - 1);
    mem_free(words);
}

static void read_text(struct reading *r, struct slice text)
{
    while (text.size) {
        const char *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        read_line(r, (struct slice){text.data, size});
        size += end != NULL;
        text = (struct slice){text.data + size, text.size - size};
    }
}

bool acl_load_file(struct session *by, struct buf *error)
{
    struct buf text;
    buf_init(&text);
    struct reading r = {.path = server->config.aclfile, .terms = acl_terms(), .errors = error};
    if (!file_read(r.path, &text)) {
        buf_printf(error, "Error loading ACLs, opening file '%s': %s", r.path, strerror(errno));
        buf_deinit(&text);
        return false;
    }
    read_text(&r, buf_slice(&text));
    buf_deinit(&text);
    bool fine = error->size == 0;
    if (fine) {
        acl_replace(r.users, r.count, by);
    } else {
        for (uint32_t i = 0; i < r.count; i++)
            acl_user_destroy(r.users[i]);
        buf_append_text(error, "WARNING: ACL errors detected, no change to the previously active "
                               "ACL rules was performed");
    }
    mem_free(r.users);
    return fine;
}

/* --- At start --- */

/* One `user` line; false with what is wrong with it. */
static bool read_declared(struct reading *r, const struct slice *argv, uint32_t argc)
{
    struct acl_words words;
    uint32_t at = 0;
    enum acl_fault fault = ACL_SYNTAX; /* of a parenthesis that is not closed */
    if (!acl_name_valid(argv[0])) {
        buf_append_text(r->errors, "Spaces not allowed in ACL usernames");
        return false;
    }
    if (is_known(r, argv[0])) {
        fault = ACL_DUPLICATE;
    } else if (acl_words_merge(&words, argv + 1, argc - 1, &at)) {
        struct acl_user *u = acl_user_create(&r->terms, argv[0]);
        r->users = mem_realloc(r->users, (r->count + 1) * sizeof(*r->users));
        r->users[r->count++] = u;
        fault = ACL_FINE;
        for (at = 0; at < words.count && fault == ACL_FINE; at++)
            fault = acl_user_rule(u, &r->terms, words.items[at]);
        acl_words_deinit(&words);
        if (fault == ACL_FINE && !u->enabled)
            log_write(&server->log, LOG_NOTICE,
                      "The user '%s' is disabled (there is no 'on' modifier in the user "
                      "description). Make sure this is not a configuration error.",
                      u->name.data);
    } else {
        at++;
    }
    struct slice culprit = fault == ACL_DUPLICATE ? argv[0] : argv[at < argc ? at : argc - 1];
    if (fault != ACL_FINE)
        buf_printf(r->errors, "Error in user declaration '%.*s': %s", (int)culprit.size,
                   culprit.data, acl_fault_text(fault));
    return fault == ACL_FINE;
}

/* The configuration has divided the lines into words once, and joined them again. */
static bool read_lines(struct reading *r)
{
    const struct config *config = &server->config;
    bool fine = true;
    for (uint32_t i = 0; i < config->user_count && fine; i++) {
        struct config_words words;
        bool whole = config_words_split(&words, slice_of(config->users[i]));
        assert(whole && words.count >= 2);
        buf_printf(r->errors, "%s: ", config->user_places[i]);
        fine = read_declared(r, words.items + 1, words.count - 1);
        if (fine)
            r->errors->size = 0;
        config_words_deinit(&words);
    }
    return fine;
}

/* `user` lines add to the default user, or change it. */
static bool load_lines(struct acl *acl, struct buf *error)
{
    struct reading r = {.terms = acl_terms(), .errors = error};
    bool fine = read_lines(&r);
    bool named = is_known(&r, acl->first->name);
    if (fine && !named) {
        r.users = mem_realloc(r.users, (r.count + 1) * sizeof(*r.users));
        r.users[r.count++] = acl_user_copy(acl->first, acl->first->name);
    }
    if (fine)
        acl_replace(r.users, r.count, NULL);
    for (uint32_t i = 0; i < r.count && !fine; i++)
        acl_user_destroy(r.users[i]);
    mem_free(r.users);
    return fine;
}

bool acl_load_at_start(struct acl *acl, char *error, size_t error_size)
{
    const struct config *config = &server->config;
    struct buf text;
    buf_init(&text);
    acl_set_default_password(config_bytes_slice(&config->requirepass));
    bool fine = true;
    if (config->aclfile[0] && config->user_count) {
        fine = false;
        buf_append_text(&text,
                        "Configuring Redis with users defined in redis.conf and at the same "
                        "setting an ACL file path is invalid. This setup is very likely to lead "
                        "to configuration errors and security holes, please define either an ACL "
                        "file or declare users directly in your redis.conf, but not both.");
    } else if (config->aclfile[0]) {
        fine = acl_load_file(NULL, &text);
        if (!fine)
            log_write(&server->log, LOG_WARNING,
                      "Aborting Redis startup because of ACL errors: %.*s", (int)text.size,
                      text.data);
        if (!fine && access(config->aclfile, R_OK) != 0)
            buf_append_text(&text, errno == ENOENT ? ": create it, an empty file will do"
                                                   : ": this user must be able to read it");
    } else if (config->user_count) {
        fine = load_lines(acl, &text);
    }
    snprintf(error, error_size, "%.*s", (int)text.size, text.data ? text.data : "");
    buf_deinit(&text);
    return fine;
}

/* --- Writing --- */

static void append_users(struct buf *to)
{
    for (uint32_t i = 0; i < server->acl->count; i++) {
        const struct acl_user *u = server->acl->users[i];
        buf_append_text(to, "user ");
        buf_append_slice(to, u->name);
        buf_append_text(to, " ");
        acl_describe(u, to);
        buf_append_text(to, "\n");
    }
}

void acl_append_config(struct buf *to)
{
    if (!server->config.aclfile[0])
        append_users(to);
}

bool acl_save_file(void)
{
    struct buf text;
    buf_init(&text);
    append_users(&text);
    bool fine = file_replace(server->config.aclfile, buf_slice(&text));
    if (!fine)
        log_write(&server->log, LOG_WARNING, "Writing ACL file for ACL SAVE: %s", strerror(errno));
    buf_deinit(&text);
    return fine;
}
