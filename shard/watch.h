/* Watches: who shall learn, at EXEC, whether keys of this shard have changed since WATCH.
 *
 * A client that watches keys of a shard is known there by a *token*, drawn anew for the first WATCH
 * after each EXEC, DISCARD or UNWATCH: so what is left of an old round can be forgotten later. The
 * shard holds everything: a table from key to those who watch it, and one from token to its
 * watches. A change of a key marks its watches as broken; EXEC asks on each shard where the client
 * watches. A key that expires counts as changed, though nobody has looked at it yet; one that
 * had expired when WATCH came, and is only removed since, does not. FLUSHDB and SWAPDB break
 * those watches whose key is there before or after. Single-threaded, like all of the shard. */
#pragma once

#include "proto/slice.h"
#include "shard/type/table.h"

struct shard;

struct watches {
    struct table keys;   /* of lines: database and key, and who watches it */
    struct table tokens; /* of clients: their watches here */
};

void watch_init(struct shard *s);
void watch_deinit(struct shard *s);

/* Watches a key; once more does nothing. */
void watch_add(struct shard *s, uint64_t token, uint32_t db, struct slice key, int64_t now_ms);
/* True where one of the token's watches here is broken, or its key has expired meanwhile. */
bool watch_broken(const struct shard *s, uint64_t token, int64_t now_ms);
/* The tokens of which a watch here was broken by a change; what has expired is not looked at. */
void watch_each_broken(struct shard *s, void (*visit)(void *context, uint64_t token),
                       void *context);
/* The token's watches go. Nothing happens where there are none. */
void watch_forget(struct shard *s, uint64_t token);

/* A key has changed, or is gone. */
void watch_touch(struct shard *s, uint32_t db, struct slice key);
/* A database is about to be emptied; two are about to change places. */
void watch_touch_db(struct shard *s, uint32_t db);
void watch_touch_swap(struct shard *s, uint32_t a, uint32_t b);

/* True where anybody watches anything here: all that a change costs else. */
static inline bool watch_any(const struct watches *w)
{
    return w->keys.count != 0;
}
