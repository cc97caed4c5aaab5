/* Rows as COMMAND shows them: the replies of COMMAND INFO and COMMAND DOCS.
 *
 * Forms, names and order are Redis 7.2's, in both protocols. Called from bodies, on a home core. */
#pragma once

#include "proto/reply.h"
#include "server/registry.h"

/* COMMAND INFO's ten fields of a row, its subcommands' rows included; NULL is a null. */
void command_reply_info(struct reply *r, const struct command *row);
/* COMMAND DOCS' map of a row, its subcommands' maps included. */
void command_reply_docs(struct reply *r, const struct command *row);
/* The KEY_... flags as a set of words. */
void command_reply_key_flags(struct reply *r, uint32_t flags);
/* The names of all ACL categories, in Redis's order. */
void command_reply_categories(struct reply *r);
/* The bit of an ACL category's name, any case, without '@'; 0 where there is none such. */
uint32_t command_category(struct slice name);
