/* What is wrong with an option's value, in words.
 *
 * Twice, for two readers. An operator whose server does not start reads what was given, what is
 * wanted and the cure. A client of CONFIG SET gets Redis's texts, which client libraries and tests
 * match on; faults that Redis lacks are worded in the same manner. */
#include "server/config_option.h"

#include <inttypes.h>
#include <stdio.h>

/* A value in a message, cut so that the cure after it still fits. */
#define SHOWN_MAX 100
#define SHOWN(s) (int)((s).size < SHOWN_MAX ? (s).size : SHOWN_MAX), (s).size ? (s).data : ""

static void list_names(const struct config_option *o, struct buf *to)
{
    for (const struct option_name *n = o->names; n->name; n++)
        buf_printf(to, "%s%s", n == o->names ? "" : ", ", n->name);
}

static void explain_count(const struct config_option *o, const struct config_fault *fault,
                          const char *dashes, struct buf *to)
{
    if (fault->count)
        buf_printf(to, "%s%s wants one value, got %" PRIu32, dashes, o->name, fault->count);
    else
        buf_printf(to, "%s%s wants a value", dashes, o->name);
}

static void explain_only(const struct config_option *o, const struct config_fault *fault,
                         const char *dashes, struct buf *to)
{
    buf_printf(to, "%s%s '%.*s': %s; use %s%s %s", dashes, o->name, SHOWN(fault->value),
               o->only_reason, dashes, o->name,
               o->only[0] ? o->only : o->flags & OPTION_NO_ONE ? "no one" : "\"\"");
}

static void explain_limits(const struct config_option *o, const struct config_fault *fault,
                           const char *dashes, struct buf *to)
{
    if (fault->kind == FAULT_LIMIT_COUNT)
        buf_printf(to, "%s%s wants groups of four values: class, hard limit, soft limit, "
                       "soft seconds", dashes, o->name);
    else if (fault->kind == FAULT_LIMIT_CLASS)
        buf_printf(to, "%s%s: '%.*s' is not normal, replica or pubsub", dashes, o->name,
                   SHOWN(fault->value));
    else
        buf_printf(to, "%s%s: '%.*s' is neither a size such as 32mb nor a number of seconds",
                   dashes, o->name, SHOWN(fault->value));
}

void config_fault_explain(const struct config_option *o, const struct config_fault *fault,
                          const char *dashes, struct buf *to)
{
    switch (fault->kind) {
    case FAULT_NONE: break;
    case FAULT_COUNT: explain_count(o, fault, dashes, to); break;
    case FAULT_ZERO_BYTE:
        buf_printf(to, "%s%s: a value may not contain a zero byte", dashes, o->name);
        break;
    case FAULT_BOOL:
        buf_printf(to, "%s%s wants yes or no, got '%.*s'", dashes, o->name, SHOWN(fault->value));
        break;
    case FAULT_INTEGER:
        buf_printf(to, "%s%s wants a number, got '%.*s'", dashes, o->name, SHOWN(fault->value));
        break;
    case FAULT_MEMORY:
        buf_printf(to, "%s%s wants a size such as 512mb, got '%.*s'", dashes, o->name,
                   SHOWN(fault->value));
        break;
    case FAULT_RANGE:
        buf_printf(to, "%s%s %.*s is not between %" PRId64 " and %" PRId64, dashes, o->name,
                   SHOWN(fault->value), o->min, o->max);
        break;
    case FAULT_ENUM:
        buf_printf(to, "%s%s '%.*s' is not one of ", dashes, o->name, SHOWN(fault->value));
        list_names(o, to);
        break;
    case FAULT_BIND_COUNT:
        buf_printf(to, "%s%s takes at most %d addresses, got %" PRIu32, dashes, o->name,
                   CONFIG_BIND_MAX, fault->count);
        break;
    case FAULT_BIND_ADDRESS:
        buf_printf(to, "%s%s: '%.*s' is not an address", dashes, o->name, SHOWN(fault->value));
        break;
    case FAULT_LIMIT_COUNT:
    case FAULT_LIMIT_CLASS:
    case FAULT_LIMIT_VALUE: explain_limits(o, fault, dashes, to); break;
    case FAULT_NOTIFY:
        buf_printf(to, "%s%s '%.*s' has a letter that is no class of events: use those of "
                       "Ag$lshzxeKEtmdn", dashes, o->name, SHOWN(fault->value));
        break;
    case FAULT_PATH:
        buf_printf(to, "%s%s '%.*s' is a path: give a name alone, and the directory as %sdir",
                   dashes, o->name, SHOWN(fault->value), dashes);
        break;
    case FAULT_EMPTY: buf_printf(to, "%s%s wants a name", dashes, o->name); break;
    case FAULT_SAVE:
        buf_printf(to, "%s%s wants pairs of seconds and changes such as 3600 1 300 100, or \"\"",
                   dashes, o->name);
        break;
    case FAULT_OCTAL:
        buf_printf(to, "%s%s wants an octal number such as 700, got '%.*s'", dashes, o->name,
                   SHOWN(fault->value));
        break;
    case FAULT_PERCENT:
        buf_printf(to, "%s%s wants a size such as 512mb or a percentage such as 75%%, got '%.*s'",
                   dashes, o->name, SHOWN(fault->value));
        break;
    case FAULT_PERCENT_RANGE:
        buf_printf(to, "%s%s %.*s is more than 100%%", dashes, o->name, SHOWN(fault->value));
        break;
    case FAULT_TEXT:
        buf_printf(to, "%s%s '%.*s': %s", dashes, o->name, SHOWN(fault->value), fault->why);
        break;
    case FAULT_ONLY: explain_only(o, fault, dashes, to); break;
    }
}

static void reply_names(const struct config_option *o, struct buf *to)
{
    buf_append_text(to, "argument(s) must be one of the following: ");
    list_names(o, to);
}

static void reply_count(const struct config_option *o, struct buf *to)
{
    if (o->names && o->flags & OPTION_MANY)
        reply_names(o, to);
    else
        buf_append_text(to, "wrong number of arguments");
}

void config_fault_reply(const struct config_option *o, const struct config_fault *fault,
                        struct buf *to)
{
    switch (fault->kind) {
    case FAULT_NONE: break;
    case FAULT_COUNT: reply_count(o, to); break;
    case FAULT_ZERO_BYTE: buf_append_text(to, "argument must not contain a zero byte"); break;
    case FAULT_BOOL: buf_append_text(to, "argument must be 'yes' or 'no'"); break;
    case FAULT_INTEGER:
        buf_append_text(to, "argument couldn't be parsed into an integer");
        break;
    case FAULT_MEMORY: buf_append_text(to, "argument must be a memory value"); break;
    case FAULT_RANGE:
        buf_printf(to, "argument must be between %" PRId64 " and %" PRId64 " inclusive", o->min,
                   o->max);
        break;
    case FAULT_ENUM: reply_names(o, to); break;
    case FAULT_BIND_COUNT: buf_append_text(to, "Too many bind addresses specified."); break;
    case FAULT_BIND_ADDRESS: buf_append_text(to, "argument must be a list of addresses"); break;
    case FAULT_LIMIT_COUNT:
        buf_append_text(to, "Wrong number of arguments in buffer limit configuration.");
        break;
    case FAULT_LIMIT_CLASS:
        buf_append_text(to, "Invalid client class specified in buffer limit configuration.");
        break;
    case FAULT_LIMIT_VALUE:
        buf_append_text(to, "Error in hard, soft or soft_seconds setting in buffer limit "
                            "configuration.");
        break;
    case FAULT_NOTIFY:
        buf_append_text(to, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        break;
    case FAULT_PATH:
        buf_printf(to, "%s can't be a path, just a %s", o->name,
                   o->flags & OPTION_FILE_NAME ? "filename" : "dirname");
        break;
    case FAULT_EMPTY: buf_printf(to, "%s can't be empty", o->name); break;
    case FAULT_SAVE: buf_append_text(to, "Invalid save parameters"); break;
    case FAULT_OCTAL:
        buf_append_text(to, "argument couldn't be parsed as an octal number");
        break;
    case FAULT_PERCENT:
        buf_append_text(to, "argument must be a memory or percent value");
        break;
    case FAULT_PERCENT_RANGE:
        buf_append_text(to, "percentage argument must be less or equal to 100");
        break;
    case FAULT_TEXT: buf_append_text(to, fault->why); break;
    case FAULT_ONLY:
        buf_printf(to, "%s; use %s %s", o->only_reason, o->name, o->only[0] ? o->only : "\"\"");
        break;
    }
}

void config_error_take(struct buf *text, char *error, size_t error_size)
{
    snprintf(error, error_size, "%.*s", (int)text->size, text->size ? text->data : "");
    for (char *c = error; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
    buf_deinit(text);
}
