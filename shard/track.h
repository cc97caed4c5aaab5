/* Tracking: which clients may have cached which keys of this shard.
 *
 * A read of a client that tracks (CLIENT TRACKING, default mode) leaves the client with the key's
 * name; as in Redis the database does not matter. When the key changes, all its clients go with an
 * EVENT_INVALIDATE and the key is forgotten. In BCAST mode nothing is left here: the *prefixes* say
 * which keys are of interest to clients of which cores, and a change of such a key makes an event
 * too. Every shard has the same prefixes: they come while all shards stand still, and go
 * some time after the last client that had them.
 *
 * Clients are words that say where they are at home and who they are (track_client); the shard does
 * not look into them. All memory is the shard's. Single-threaded, like all of the shard. */
#pragma once

#include "proto/slice.h"
#include "shard/type/table.h"

struct shard;
struct track_prefix;

struct tracks {
    struct table keys;     /* of keys, each with the clients that may have cached it */
    struct table old;      /* what a flush has left, freed in steps */
    uint64_t client_count; /* clients in all of `keys` */
    uint64_t counted;      /* keys that whoever counts those of all shards knows of */
    uint64_t bytes;        /* of both, the tables' own not counted */
    struct track_prefix *prefixes; /* in force; "" is one. Alike ones stand together */
    uint32_t prefix_count; /* one for each core that has it */
};

/* A client: its home core above, its id below. Id 0: all clients of that core in BCAST mode. */
#define TRACK_ID_BITS 48

static inline uint64_t track_client(uint32_t home, uint64_t id)
{
    return (uint64_t)home << TRACK_ID_BITS | id;
}

static inline uint32_t track_home(uint64_t client)
{
    return (uint32_t)(client >> TRACK_ID_BITS);
}

static inline uint64_t track_id(uint64_t client)
{
    return client & ((UINT64_C(1) << TRACK_ID_BITS) - 1);
}

void track_init(struct shard *s);
void track_deinit(struct shard *s);

/* A client has read the key, whose keyspace_hash is `hash`. */
void track_read(struct shard *s, struct slice key, uint64_t hash, uint64_t client);
/* The key has changed, by the client with the id `by` (0: by nobody). */
void track_touch(struct shard *s, struct slice key, uint64_t by);
/* Forgets a key at random, as if it had changed; one at least is there. BCAST is not told. */
void track_forget_one(struct shard *s);
/* Forgets all keys and tells nobody: the databases were flushed. */
void track_forget_all(struct shard *s);
/* Frees about so many keys of what a flush has left; false at the end. */
bool track_collect(struct shard *s, uint64_t count);

/* A client of `core` wants to hear of keys with the prefix; one does no more. */
void track_prefix_add(struct shard *s, struct slice prefix, uint32_t core);
void track_prefix_remove(struct shard *s, struct slice prefix, uint32_t core);
/* Different prefixes in force. */
uint32_t track_prefix_kinds(const struct tracks *t);

size_t track_memory(const struct tracks *t);

/* True where a change may concern anybody: all that a change costs else. */
static inline bool track_any(const struct tracks *t)
{
    return t->keys.count != 0 || t->prefix_count != 0;
}
