/* What CLIENT's files share.
 *
 *   client.c       the connection's own state; pauses; the rows
 *   client_tracking.c  TRACKING, CACHING and what they report
 *   client_list.c  INFO and LIST: a session as a line of text
 *   client_kill.c  KILL: filters, and closing what they match
 *
 * LIST and KILL run a part on every core, each on its own sessions. A session that was asked to
 * close is gone for both, though its socket may live a little longer. */
#pragma once

#include "server/session.h"
#include "shard/call.h"

/* A session as a line of LIST, without the line's end: for the log, too. On its core, or while that
 * stands still. */
void client_describe(struct buf *to, const struct session *s, int64_t now_ms);

void client_info(struct call *c);
void client_list(struct call *c);
void client_list_merge(struct call *c, const struct split_parts *parts);
void client_tracking(struct call *c);
void client_tracking_reach(struct session *s, const struct slice *argv, uint32_t argc,
                           struct core_mask *mask);
void client_caching(struct call *c);
void client_trackinginfo(struct call *c);
void client_getredir(struct call *c);
void client_kill(struct call *c);
void client_kill_merge(struct call *c, const struct split_parts *parts);

/* OTHER: masters and replicas, of which there are none. */
enum client_type { CLIENT_ANY, CLIENT_NORMAL, CLIENT_PUBSUB, CLIENT_OTHER };

/* Argument `arg` as one of TYPE's words; false, having replied, when it is none. */
bool client_read_type(struct call *c, uint32_t arg, enum client_type *type);

static inline bool client_is_of(const struct session *s, enum client_type type)
{
    return type == CLIENT_ANY || type == (s->subscriptions ? CLIENT_PUBSUB : CLIENT_NORMAL);
}

/* Longest text that errors quote of an argument. */
#define CLIENT_QUOTE_MAX 128
static inline int client_quote_size(struct slice s)
{
    return (int)(s.size < CLIENT_QUOTE_MAX ? s.size : CLIENT_QUOTE_MAX);
}

static inline bool client_is_gone(const struct session *s)
{
    return s->closing || s->close_asked;
}
