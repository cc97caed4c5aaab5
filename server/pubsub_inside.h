/* What Pub/Sub's two files share: pubsub.c keeps the subscriptions, pubsub_inbox.c brings the
 * messages to them. All of it is one core's. */
#pragma once

#include "server/pubsub.h"
#include "server/session.h"
#include "shard/type/table.h"

/* One session's subscription to one topic, in the lists of both. */
struct subscription {
    struct topic *topic;
    struct session *session;
    uint32_t index; /* in topic->subscribers */
    struct subscription *next, *previous; /* of this kind and session */
};

/* The session stands beside, so that giving out a message does not touch the subscription. */
struct subscriber {
    struct session *session;
    struct subscription *subscription;
};

/* A channel, pattern or shard channel that sessions of this core have subscribed to. */
struct topic {
    uint64_t hash;        /* of kind and name */
    struct subscriber *subscribers;
    uint32_t count, cap;
    uint32_t index;       /* a pattern: in pubsub->patterns */
    uint32_t literal;     /* a pattern: so many bytes at its front stand for themselves */
    uint8_t kind;         /* enum pubsub_kind */
    uint32_t size;
    char name[];
};

static inline struct slice topic_name(const struct topic *t)
{
    return (struct slice){t->name, t->size};
}

/* A session's; NULL in it while it has none. */
struct subscriptions {
    struct subscription *first[PUBSUB_KINDS], *last[PUBSUB_KINDS]; /* oldest first */
    uint32_t count[PUBSUB_KINDS];
};

struct message;

struct pubsub {
    struct table topics;  /* of struct topic, all kinds */
    struct table members; /* of struct subscription, by topic and session */
    uint64_t kind_counts[PUBSUB_KINDS]; /* topics */
    size_t topic_bytes;
    struct topic **patterns;
    uint32_t pattern_cap;
    struct topic **matched; /* room for as many, used while one message is posted */
    uint32_t *slot_counts;  /* topics a slot of the filter */
    struct message *first, *last; /* the inbox */
    struct message *before_last;  /* where `last` is not the first */
    struct session *within; /* its reply is being written: its messages are held back */
};

struct topic *pubsub_find(const struct pubsub *p, enum pubsub_kind kind, struct slice name);
/* Frees messages that nobody gets. */
void pubsub_drop_inbox(struct pubsub *p);
