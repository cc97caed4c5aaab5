/* A core's sessions by their ids. On the core's thread, or by whoever holds its shard. */
#pragma once

#include "server/core.h"

void session_table_init(struct core *c);
void session_table_deinit(struct core *c);
void session_table_add(struct core *c, struct session *s);
void session_table_remove(struct core *c, struct session *s);
/* The session with the id, or NULL. */
struct session *session_table_find(const struct core *c, uint64_t id);
