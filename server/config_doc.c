/* The options as pages for others: lasca.conf(5), and the list that shells complete from. Both come
 * from the rows, so that they cannot say what the server does not do. */
#include "server/config_option.h"

#include <inttypes.h>

/* Text of a manual page: nothing in it is taken for a request or an escape. */
static void append_char(struct buf *to, char c)
{
    if (c == '\\')
        buf_append_text(to, "\\e");
    else if (c == '"')
        buf_append_text(to, "\\(dq");
    else if (c == '-')
        buf_append_text(to, "\\-");
    else
        buf_append(to, &c, 1);
}

static void append_literal(struct buf *to, const char *text)
{
    for (; *text; text++)
        append_char(to, *text);
}

static bool ends_sentence(const char *at)
{
    return (*at == '.' || *at == '?' || *at == '!') && at[1] == ' ' && at[2] != '.';
}

/* How long a line may grow before the next blank ends it. */
#define COLUMNS 60

/* A sentence begins a line, as roff wants to set the blanks between them. */
static void append_prose(struct buf *to, const char *text)
{
    size_t column = 0;
    for (; *text; text++) {
        if (*text == '\n') {
            buf_append_text(to, "\n.Pp\n");
            column = 0;
            continue;
        }
        if (*text == ' ' && (column > COLUMNS || ends_sentence(text - 1))) {
            buf_append(to, "\n", 1);
            column = 0;
            continue;
        }
        if (!column && (*text == '.' || *text == '\''))
            buf_append_text(to, "\\&");
        append_char(to, *text);
        column++;
    }
    buf_append(to, "\n", 1);
}

/* A row without a text is one without effect. */
static void append_text(struct buf *to, const struct config_option *o)
{
    if (o->text) {
        append_prose(to, o->text);
        return;
    }
    buf_append_text(to, "Without effect: ");
    append_prose(to, o->inert);
    to->size--; /* the line's end */
    buf_append_text(to, ".\n");
}

static void append_range(struct buf *to, const struct config_option *o, const char *unit)
{
    if (o->max >= INT32_MAX)
        buf_printf(to, "%" PRId64 " or more%s.\n", o->min, unit);
    else
        buf_printf(to, "%" PRId64 " to %" PRId64 "%s.\n", o->min, o->max, unit);
}

static void append_values(struct buf *to, const struct config_option *o)
{
    if (o->type == OPTION_BOOL) {
        buf_append_text(to, "Yes or no.\n");
    } else if (o->type == OPTION_INTEGER) {
        append_range(to, o, "");
    } else if (o->type == OPTION_MEMORY) {
        append_range(to, o, " bytes");
    } else if (o->type == OPTION_ENUM) {
        buf_append_text(to, "One of\n");
        for (const struct option_name *n = o->names; n->name; n++)
            buf_printf(to, "%s%s", n->name, !n[1].name ? ".\n" : n[2].name ? ",\n" : " or\n");
    }
    if (o->flags & OPTION_MUTABLE)
        buf_append_text(to, ".Ic CONFIG SET\nmay change it.\n");
    else
        buf_append_text(to, "Fixed at start.\n");
}

static const char manual_head[] =
    ".\\\" Written by lasca-server --conf-man.\n"
    ".Dd November 23, 2026\n"
    ".Dt LASCA.CONF 5\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm lasca.conf\n"
    ".Nd configuration of the Lasca data server\n"
    ".Sh DESCRIPTION\n"
    "The file that\n"
    ".Xr lasca-server 1\n"
    "reads when it is named on its command line, where options may follow that\n"
    "overrule it.\n"
    "The format is that of redis.conf.\n"
    "A line is a name, in any case, and its value; what begins with # is a comment.\n"
    "A value with blanks or escapes stands in quotes.\n"
    "Sizes take units, in any case: 1k is 1000 bytes, 1kb is 1024; so m and mb, g\n"
    "and gb.\n"
    ".Pp\n"
    "A line\n"
    ".Ql include path\n"
    "reads another file in its place; a relative path starts from the working\n"
    "directory, and the characters * ? [ ] match several files.\n"
    "Of several values for one option the last one counts.\n"
    "An unknown name or a wrong value stops the start, and the message names the\n"
    "line.\n"
    ".Pp\n"
    "Each option below stands with its default.\n";

static const char manual_tail[] =
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /etc/lasca/lasca.conf\n"
    "The configuration of the packaged service.\n"
    ".El\n"
    ".Sh SEE ALSO\n"
    ".Xr lasca-check-aof 1 ,\n"
    ".Xr lasca-check-rdb 1 ,\n"
    ".Xr lasca-server 1\n";

void config_write_manual(struct buf *to)
{
    buf_append_text(to, manual_head);
    bool listed = false;
    for (uint32_t i = 0; i < config_option_count(); i++) {
        const struct config_option *o = config_option_at(i);
        if (o->flags & (OPTION_ALIAS | OPTION_HIDDEN))
            continue;
        if (o->section || !listed) {
            buf_append_text(to, listed ? ".El\n" : "");
            buf_printf(to, ".Sh %s\n.Bl -tag -width Ds\n", o->section ? o->section : "OPTIONS");
            listed = true;
        }
        buf_append_text(to, ".It Ic ");
        append_literal(to, o->name);
        buf_append_text(to, " Li ");
        append_literal(to, o->initial);
        buf_append_text(to, "\n");
        append_text(to, o);
        append_values(to, o);
    }
    buf_append_text(to, listed ? ".El\n" : "");
    buf_append_text(to, manual_tail);
}

void config_write_names(struct buf *to)
{
    for (uint32_t i = 0; i < config_option_count(); i++) {
        const struct config_option *o = config_option_at(i);
        if (o->flags & (OPTION_ALIAS | OPTION_HIDDEN))
            continue;
        buf_printf(to, "%s\t", o->name);
        if (o->type == OPTION_BOOL)
            buf_append_text(to, "yes no");
        for (const struct option_name *n = o->names; o->type == OPTION_ENUM && n->name; n++)
            buf_printf(to, "%s%s", n == o->names ? "" : " ", n->name);
        const char *text = o->text ? o->text : "";
        size_t size = strcspn(text, ".\n:;");
        buf_append_text(to, "\t");
        buf_append(to, text, size);
        buf_append(to, "\n", 1);
    }
}
