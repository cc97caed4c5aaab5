/* The arguments of a command as a tree, read from the `syntax` text of its row.
 *
 * The text is written as the Redis documentation writes it: a word in capitals (or without
 * letters) is a token, any other an argument; [x] is optional, <a | b> and [a | b] are choices,
 * and "[x ...]" says that x, where it stands right before, repeats. A token owns the arguments
 * right behind it. The types, and the names of choices and blocks, follow from the words; they
 * are Redis's own where one rule covers what Redis says command by command. The tree is what
 * COMMAND DOCS shows. Pure; any thread. */
#pragma once

#include "proto/slice.h"
#include "shard/command.h"

enum syntax_type {
    SYNTAX_STRING,
    SYNTAX_INTEGER,
    SYNTAX_DOUBLE,
    SYNTAX_KEY,
    SYNTAX_PATTERN,
    SYNTAX_UNIX_TIME,
    SYNTAX_PURE_TOKEN,
    SYNTAX_ONEOF, /* one of its children */
    SYNTAX_BLOCK, /* all of its children, in turn */
};

#define SYNTAX_OPTIONAL (1u << 0)
#define SYNTAX_MULTIPLE (1u << 1)
#define SYNTAX_MULTIPLE_TOKEN (1u << 2) /* each repetition repeats the token */

struct syntax_list {
    struct syntax_arg *args; /* owned, with all below them */
    uint32_t count;
    uint32_t cap;
};

struct syntax_arg {
    char *name;
    char *token; /* the word in front of it, or NULL */
    enum syntax_type type;
    unsigned flags;
    int key_spec; /* of a key: which of the row's key specs finds it; else -1 */
    struct syntax_list children;
};

/* Reads the row's syntax (none is an empty list). False where the text is malformed, which is a
 * mistake in the row; the list is empty then. */
bool syntax_parse(const struct command *row, struct syntax_list *list);
void syntax_deinit(struct syntax_list *list);
