/* Events: what happened to keys of a shard that somebody else wants to hear of.
 *
 * Command bodies leave them here, in the order in which they happened; the server takes them after
 * the command (of a transaction or script: once it has ended) and tells those concerned. Nothing is
 * recorded that nobody asked for. What a script did that is taken back leaves no notification: the
 * list is cut back to the mark that was taken before. Its invalidations stay, since the keys are
 * forgotten; one too many does no harm. Where one command works on several shards, all of its
 * notifications go to the first of them (event_gather), so that they stay in one order.
 * Single-threaded, like all of the shard. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/slice.h"

/* Classes of notify-keyspace-events, Redis's letters behind them. */
#define NOTIFY_KEYSPACE (1u << 0)  /* K */
#define NOTIFY_KEYEVENT (1u << 1)  /* E */
#define NOTIFY_GENERIC (1u << 2)   /* g */
#define NOTIFY_STRING (1u << 3)    /* $ */
#define NOTIFY_LIST (1u << 4)      /* l */
#define NOTIFY_SET (1u << 5)       /* s */
#define NOTIFY_HASH (1u << 6)      /* h */
#define NOTIFY_ZSET (1u << 7)      /* z */
#define NOTIFY_EXPIRED (1u << 8)   /* x */
#define NOTIFY_EVICTED (1u << 9)   /* e */
#define NOTIFY_STREAM (1u << 10)   /* t */
#define NOTIFY_KEY_MISS (1u << 11) /* m, not in A */
#define NOTIFY_MODULE (1u << 12)   /* d */
#define NOTIFY_NEW (1u << 13)      /* n, not in A */
#define NOTIFY_ALL                                                                                 \
    (NOTIFY_GENERIC | NOTIFY_STRING | NOTIFY_LIST | NOTIFY_SET | NOTIFY_HASH | NOTIFY_ZSET |       \
     NOTIFY_EXPIRED | NOTIFY_EVICTED | NOTIFY_STREAM | NOTIFY_MODULE) /* A */

enum event_kind {
    EVENT_NOTIFY,     /* a keyspace notification */
    EVENT_INVALIDATE, /* a key changed that clients may have cached: see track.h */
    EVENT_INVALIDATE_ALL, /* databases were flushed: whatever anybody has cached */
};

struct event {
    struct event *next;
    uint8_t kind;      /* enum event_kind */
    uint8_t channels;  /* EVENT_NOTIFY: NOTIFY_KEYSPACE, NOTIFY_KEYEVENT, or both */
    uint32_t db;
    const char *name;  /* EVENT_NOTIFY: "set", "del", ...; constant text */
    uint64_t client;   /* who caused it; 0: nobody */
    const uint64_t *clients; /* EVENT_INVALIDATE: those concerned, behind the key */
    uint32_t client_count;
    uint32_t key_size;
    char key[];
};

struct events {
    struct event *first, *last;
    struct events *instead; /* those of another shard, where notifications go for now; or NULL */
};

struct shard;

/* Records a notification. Call db_notify, which looks first whether anybody asked for its class. */
void event_notify(struct shard *s, uint32_t db, struct slice key, const char *name);
/* From here on, or no longer: notifications of all these shards (NULL where not at hand) go to the
 * first one's list. Nothing happens while none are asked for. True where there is anything to end.
 */
bool event_gather(struct shard *const *shards, uint32_t count);
void event_gather_end(struct shard *const *shards, uint32_t count);
/* Records that a key changed by `client`; returns room for those concerned. */
uint64_t *event_invalidate(struct shard *s, struct slice key, uint64_t client,
                           uint32_t client_count);
void event_invalidate_all(struct shard *s, uint64_t client);
/* Takes all events, in order; the caller frees each with event_free. */
struct event *event_take(struct shard *s);
void event_free(struct event *e);
/* Where the list ends now, and back to there: what commands have done behind it goes, not what time
 * has. */
static inline struct event *event_mark(const struct events *e)
{
    return e->last;
}
void event_cut(struct shard *s, struct event *mark);
