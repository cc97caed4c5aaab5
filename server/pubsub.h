/* Pub/Sub: who has subscribed to what, and how messages get to them.
 *
 * Each core knows the subscriptions of its own sessions: channels, patterns, shard channels. What
 * the cores share is a filter of *interest*: for a channel's hash, the set of cores where somebody
 * may have subscribed, and the set of cores with patterns. A core adds itself before it
 * acknowledges a subscription, so a publisher that begins after that sees it; a bit that is no
 * longer needed costs a look, and is cleared by its own core.
 *
 * PUBLISH is a split command over the interested cores: one ticket in the order log where there are
 * several, so all cores see all messages in one order; the sum of its parts is the exact number of
 * receivers. Within a transaction or script the cores concerned are at hand (inner.h).
 *
 * A core puts a message into its *inbox* where it runs its part (for a core that sleeps, whoever
 * holds its shard does), and gives it to its sessions before it flushes, or before a subscription
 * changes: so the receivers are those that were counted. It is stored once a core, encoded once a
 * protocol; sessions send it from where it stands (session_push). Messages to one channel that come
 * side by side are one to them.
 *
 * A session with a dispatch under way gets its messages behind the replies of that: who publishes
 * to itself reads the reply first. */
#pragma once

#include "server/core.h"
#include "server/order.h"

struct call;
struct interest;

enum pubsub_kind { PUBSUB_CHANNEL, PUBSUB_PATTERN, PUBSUB_SHARD_CHANNEL, PUBSUB_KINDS };

/* The filter, made before the cores start. */
struct interest *pubsub_create_interest(uint32_t core_count);
void pubsub_destroy_interest(struct interest *interest);

/* The cores that may have receivers; `sharded`: of SPUBLISH. Any thread. */
void pubsub_interest(struct slice channel, bool sharded, struct core_mask *mask);
/* Puts a message into the inbox of a core that is the caller's, or whose shard it holds; returns
 * the number of receivers there. The owner must be woken afterwards where it is not the caller. */
uint32_t pubsub_post(struct core *to, struct slice channel, struct slice message, bool sharded);
/* Receivers of a channel on a core, of which the same is true. */
uint32_t pubsub_count(const struct core *c, struct slice channel, bool sharded);
/* Subscribers of a channel itself, patterns not counted. */
uint32_t pubsub_subscribers(const struct core *c, struct slice channel, bool sharded);
/* Visits what the sessions of such a core have subscribed to. `hash`: the same on all cores. */
void pubsub_visit(struct core *c, enum pubsub_kind kind,
                  void (*visit)(void *context, struct slice name, uint64_t hash), void *context);
/* How many different ones there are. */
uint64_t pubsub_topic_count(const struct core *c, enum pubsub_kind kind);

/* Gives what is in the inbox to its receivers. By whoever has the shard. */
void pubsub_deliver(struct core *c);
/* Whether that gives messages to at most so many, nothing of which is held back. By the same. */
bool pubsub_has_few(const struct core *c, uint32_t receivers_max);
/* Frees what the core has, at its end. On its thread, as all below. */
void pubsub_finish(struct core *c);

/* Before a command changes the subscriptions of a session: what was published before reaches those
 * who were counted. `within`: the command runs within another one, whose reply is being written;
 * the session's own messages then come behind that. */
void pubsub_settle(struct core *c, struct session *s, bool within);
/* Both false where nothing changes. After pubsub_settle. */
bool pubsub_join(struct core *c, struct session *s, enum pubsub_kind kind, struct slice name);
bool pubsub_part(struct core *c, struct session *s, enum pubsub_kind kind, struct slice name);
/* The name of one of a session's subscriptions, the oldest; false where it has none. The name is
 * good until that is parted with. */
bool pubsub_oldest(const struct session *s, enum pubsub_kind kind, struct slice *name);
/* Visits a session's subscriptions, which must not change meanwhile. */
void pubsub_visit_own(const struct session *s, enum pubsub_kind kind,
                      void (*visit)(void *context, struct slice name), void *context);
uint32_t pubsub_subscription_count(const struct session *s, enum pubsub_kind kind);
/* Bytes of a session's subscriptions; and of what a core has beside those. */
size_t pubsub_memory(const struct session *s);
size_t pubsub_core_memory(const struct core *c);
/* A session is over, or reset: its subscriptions go. */
void pubsub_leave(struct core *c, struct session *s);
