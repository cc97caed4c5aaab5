/* The commands whose key specs do not say exactly which arguments are keys: a word that looks like
 * the keyword may be another option's value. Their options are read as the command reads them. */
#pragma once

#include "server/registry.h"

struct command_parser {
    const char *name;
    /* As command_keys. */
    int64_t (*keys)(const struct command *row, const struct slice *argv, uint32_t argc,
                    struct command_key *keys, uint32_t max);
};

/* NULL for a row whose specs are exact. */
const struct command_parser *command_parser_of(const struct command *row);
