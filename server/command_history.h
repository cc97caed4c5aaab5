/* What changed in commands since they were there: COMMAND DOCS tells it. Versions are Redis's. */
#pragma once

#include <stdint.h>

#include "server/syntax.h"

struct command_change {
    const char *command; /* its full name: "client|list" */
    const char *version;
    const char *args;    /* arguments that came with it: tokens, or names of those that have none,
                          * blanks between; or NULL */
    const char *text;
};

/* The changes of a command, the oldest first: `*count` of them side by side. */
const struct command_change *command_changes(const char *full_name, uint32_t *count);
/* The version that an argument came with, or NULL: with the command. */
const char *command_arg_since(const struct command_change *changes, uint32_t count,
                              const struct syntax_arg *arg);
