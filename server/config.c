/* The configuration as a whole: defaults, copies, CONFIG GET and SET, the documented file.
 *
 * Everything here walks the table of rows (config_option.h); nothing names an option. */
#include "server/config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "proto/glob.h"
#include "proto/mem.h"
#include "server/config_option.h"

static void set_initial(const struct config_option *o, struct config *c)
{
    struct config_words words;
    bool balanced = config_words_split(&words, slice_of(o->initial));
    assert(balanced);
    struct config_fault fault = config_value_set(o, c, words.items, words.count);
    assert(fault.kind == FAULT_NONE);
    config_words_deinit(&words);
}

void config_init(struct config *c)
{
    *c = (struct config){0};
    for (uint32_t i = 0; i < config_option_count(); i++)
        set_initial(config_option_at(i), c);
    c->save_adds = false;
}

void config_deinit(struct config *c)
{
    for (uint32_t i = 0; i < config_option_count(); i++)
        config_value_free(config_option_at(i), c);
    config_lines_free(c);
    mem_free(c->config_file);
    c->config_file = NULL;
}

void config_copy(struct config *to, const struct config *from)
{
    *to = *from;
    for (uint32_t i = 0; i < config_option_count(); i++) {
        if (!(config_option_at(i)->flags & OPTION_ALIAS))
            config_value_unshare(config_option_at(i), to);
    }
    config_lines_unshare(to);
    if (from->config_file)
        to->config_file = config_string_copy(slice_of(from->config_file));
}

static bool refuse(char *error, size_t error_size, struct slice name, struct buf *why)
{
    struct buf text;
    buf_init(&text);
    buf_printf(&text, "ERR CONFIG SET failed (possibly related to argument '%.*s') - ",
               (int)name.size, name.data);
    buf_append_slice(&text, buf_slice(why));
    buf_deinit(why);
    config_error_take(&text, error, error_size);
    return false;
}

static bool refuse_with(char *error, size_t error_size, struct slice name, const char *why)
{
    struct buf text;
    buf_init(&text);
    buf_append_text(&text, why);
    return refuse(error, error_size, name, &text);
}

static bool is_duplicate(const struct slice *pairs, uint32_t pair)
{
    const struct config_option *o = config_option_find(pairs[2 * pair]);
    for (uint32_t i = 0; i < pair; i++) {
        if (config_option_find(pairs[2 * i]) == o)
            return true;
    }
    return false;
}

/* All names are judged before any value, in the order given: Redis's order of errors. */
static bool check_names(const struct slice *pairs, uint32_t count, enum config_setter who,
                        char *error, size_t error_size)
{
    for (uint32_t i = 0; i < count; i++) {
        struct slice name = pairs[2 * i];
        const struct config_option *o = config_option_find(name);
        if (!o) {
            struct buf text;
            buf_init(&text);
            buf_printf(&text, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                       (int)name.size, name.data);
            config_error_take(&text, error, error_size);
            return false;
        }
        if (!(o->flags & (OPTION_MUTABLE | OPTION_SAME)))
            return refuse_with(error, error_size, name, "can't set immutable config");
        if (o->flags & OPTION_PROTECTED && !(who & SETTER_TRUSTED))
            return refuse_with(error, error_size, name, "can't set protected config");
        if (o->flags & OPTION_NOT_LOADING && who & SETTER_LOADING) {
            snprintf(error, error_size, "LOADING Redis is loading the dataset in memory");
            return false;
        }
        if (is_duplicate(pairs, i))
            return refuse_with(error, error_size, name, "duplicate parameter");
    }
    return true;
}

/* One argument holds all of a value's words, with one blank between two; "" holds none. */
static struct config_fault set_words(const struct config_option *o, struct config *c,
                                     struct slice value)
{
    struct config_words words = {0};
    while (value.size) {
        const char *blank = memchr(value.data, ' ', value.size);
        size_t size = blank ? (size_t)(blank - value.data) : value.size;
        if (words.count == words.cap) {
            words.cap = words.cap ? words.cap * 2 : 16;
            words.items = mem_realloc(words.items, words.cap * sizeof words.items[0]);
        }
        words.items[words.count++] = (struct slice){value.data, size};
        size += blank != NULL;
        value = (struct slice){value.data + size, value.size - size};
    }
    struct config_fault fault = config_value_set(o, c, words.items, words.count);
    config_words_deinit(&words);
    return fault;
}

bool config_set(const struct config *current, const struct slice *pairs, uint32_t count,
                enum config_setter who, struct config *changed, char *error, size_t error_size)
{
    if (!check_names(pairs, count, who, error, error_size))
        return false;
    config_copy(changed, current);
    changed->save_adds = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct config_option *o = config_option_find(pairs[2 * i]);
        struct slice value = pairs[2 * i + 1];
        struct config_fault fault = o->flags & OPTION_MANY
                                        ? set_words(o, changed, value)
                                        : config_value_set(o, changed, &value, 1);
        if (fault.kind == FAULT_NONE && o->flags & OPTION_ONLY_SET &&
            !config_value_is(o, changed, slice_of(o->only)))
            fault.kind = FAULT_ONLY;
        if (fault.kind == FAULT_NONE && o->flags & OPTION_SAME &&
            !config_value_equal(o, changed, current))
            fault = (struct config_fault){FAULT_TEXT, value, 1, "can't set immutable config"};
        if (fault.kind != FAULT_NONE) {
            struct buf why;
            buf_init(&why);
            config_fault_reply(o, &fault, &why);
            config_deinit(changed);
            return refuse(error, error_size, slice_of(o->name), &why);
        }
    }
    return true;
}

/* A pattern without special characters is a name, and answered in the client's own spelling. */
static bool is_name(struct slice pattern)
{
    for (size_t i = 0; i < pattern.size; i++) {
        if (pattern.data[i] && strchr("*?[", pattern.data[i]))
            return false;
    }
    return true;
}

/* The name to answer `o` by, which the first pattern that matches decides; empty where none does.
 * */
static struct slice matching_name(const struct config_option *o, const struct slice *patterns,
                                  uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (slice_is(patterns[i], o->name))
            return patterns[i];
        if (!(o->flags & OPTION_HIDDEN) && glob_match(patterns[i], slice_of(o->name), true) &&
            !is_name(patterns[i]))
            return slice_of(o->name);
    }
    return (struct slice){0};
}

void config_get(const struct config *c, const struct slice *patterns, uint32_t count,
                void (*visit)(void *context, const char *name, const char *value), void *context)
{
    for (uint32_t i = 0; i < config_option_count(); i++) {
        const struct config_option *o = config_option_at(i);
        struct slice matching = matching_name(o, patterns, count);
        if (!matching.size)
            continue;
        char *name = config_string_copy(matching);
        struct buf value;
        buf_init(&value);
        config_value_print(o, c, &value);
        buf_append(&value, "", 1);
        visit(context, name, value.data);
        buf_deinit(&value);
        mem_free(name);
    }
}

bool config_is_secret(struct slice name)
{
    const struct config_option *o = config_option_find(name);
    return o && o->flags & OPTION_SECRET;
}

static bool is_initial(const struct config_option *o, const struct config *c)
{
    struct config initial = {0}; /* but for this option */
    set_initial(o, &initial);
    bool is = config_value_equal(o, c, &initial);
    config_value_free(o, &initial);
    return is;
}

void config_visit_inert(const struct config *before, const struct config *c,
                        void (*visit)(void *context, const char *name, const char *reason),
                        void *context)
{
    for (uint32_t i = 0; i < config_option_count(); i++) {
        const struct config_option *o = config_option_at(i);
        if (!o->inert || o->flags & OPTION_ALIAS || (before && config_value_equal(o, c, before)))
            continue;
        if (!is_initial(o, c))
            visit(context, o->name, o->inert);
    }
}

#define COLUMN_MAX 80

/* A paragraph as comment lines, broken at blanks. */
static void write_wrapped(struct buf *to, const char *text, size_t size)
{
    size_t column = 0;
    while (size) {
        const char *blank = memchr(text, ' ', size);
        size_t word = blank ? (size_t)(blank - text) : size;
        if (!column || column + 1 + word > COLUMN_MAX) {
            buf_append_text(to, column ? "\n#" : "#");
            column = 1;
        }
        buf_append(to, " ", 1);
        buf_append(to, text, word);
        column += 1 + word;
        word += blank != NULL;
        text += word;
        size -= word;
    }
    buf_append(to, "\n", 1);
}

static void write_text(struct buf *to, const char *text)
{
    const char *line_break;
    while ((line_break = strchr(text, '\n'))) {
        write_wrapped(to, text, (size_t)(line_break - text));
        text = line_break + 1;
    }
    write_wrapped(to, text, strlen(text));
}

static void append_bounds(struct buf *to, const struct config_option *o)
{
    if (o->max >= INT32_MAX)
        buf_printf(to, "%" PRId64 " or more", o->min);
    else
        buf_printf(to, "%" PRId64 " to %" PRId64, o->min, o->max);
}

/* "0 to 65535. Fixed at start.": what the row itself says. */
static void write_facts(struct buf *to, const struct config_option *o)
{
    struct buf facts;
    if (o->inert)
        return;
    buf_init(&facts);
    if (o->type == OPTION_BOOL) {
        buf_append_text(&facts, "yes or no. ");
    } else if (o->type == OPTION_INTEGER) {
        append_bounds(&facts, o);
        buf_append_text(&facts, ". ");
    } else if (o->type == OPTION_MEMORY) {
        append_bounds(&facts, o);
        buf_append_text(&facts, " bytes. ");
    } else if (o->type == OPTION_ENUM) {
        for (const struct option_name *n = o->names; n->name; n++)
            buf_printf(&facts, "%s%s", n->name, !n[1].name ? ". " : n[2].name ? ", " : " or ");
    }
    buf_append_text(&facts, o->flags & OPTION_MUTABLE ? "CONFIG SET may change it."
                                                      : "Fixed at start.");
    write_wrapped(to, facts.data, facts.size);
    buf_deinit(&facts);
}

static const char opening[] =
    "The configuration of Lasca, with every option at its default.\n"
    "lasca-server /path/to/lasca.conf reads it; --name value on the command line overrules it. "
    "The format is redis.conf's: a line is a name, in any case, and its value; a value with "
    "blanks or escapes stands in quotes. Sizes take units, in any case: 1k is 1000 bytes, 1kb "
    "is 1024; so m and mb, g and gb.\n"
    "A line 'include path' reads another file in its place; a relative path starts from the "
    "working directory, and * ? [ ] match several files. Of several values for one option the "
    "last one counts.\n"
    "Two more kinds of lines: 'user NAME RULE ...' makes a user, as ACL SETUSER does. "
    "'rename-command NAME NEW' gives a command another name, or with \"\" none at all, so that no "
    "client can call it; ACL rules are the better way.\n"
    "CONFIG REWRITE writes the present values back into this file, and keeps comments.";

void config_write_documented(struct buf *to)
{
    write_text(to, opening);
    for (uint32_t i = 0; i < config_option_count(); i++) {
        const struct config_option *o = config_option_at(i);
        if (o->flags & (OPTION_ALIAS | OPTION_HIDDEN))
            continue;
        if (o->section)
            buf_printf(to, "\n# ---- %s ----\n", o->section);
        if (o->text) {
            buf_append(to, "\n", 1);
            write_text(to, o->text);
            write_facts(to, o);
        }
        buf_printf(to, "%s %s\n", o->name, o->initial);
    }
}
