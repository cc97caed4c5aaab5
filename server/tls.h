/* TLS for the server: from the configuration to the context that new connections are made from.
 *
 * server->tls is changed only while all cores stand still, so each reads it without atomics.
 * Connections keep the context that they were made from. */
#pragma once

#include "server/config.h"

struct tls_context;

/* True where a configuration asks for no TLS, or for one that works; else the cure is in `error`.
 * Touches nothing. */
bool tls_check(const struct config *config, char *error, size_t error_size);
/* At start: puts what the configuration says in force. False with the cure in `error`. */
bool tls_start(char *error, size_t error_size);
/* Gives up the context and stops the helpers, once no connection is left. */
void tls_stop(void);

/* CONFIG SET: the context that `changed` asks for, in *fresh, or NULL there where the present one
 * stays; files are read anew where one of `count` pairs names an option of TLS. False where it
 * cannot be had: the log says why, and *first which pair was the first of them. */
bool tls_prepare(const struct config *changed, const struct slice *pairs, uint32_t count,
                 uint32_t *first, struct tls_context **fresh);
/* Puts it in force for connections to come. */
void tls_take(struct tls_context *fresh);
