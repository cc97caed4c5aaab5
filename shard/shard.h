/* A shard: one core's part of the keyspace, single-threaded.
 *
 * Every function here and in db.h is called by the thread that owns the shard, or by the one
 * thread that runs a cross transaction while the owner stands still. The time is passed in; the
 * shard makes no system call. */
#pragma once

#include "proto/buf.h"
#include "shard/compact.h"
#include "shard/keyspace.h"
#include "shard/type/heap.h"
#include "shard/event.h"
#include "shard/evict.h"
#include "shard/garbage.h"
#include "shard/track.h"
#include "shard/type/table.h"
#include "shard/wait.h"
#include "shard/watch.h"

struct shard_stats {
    uint64_t hits;
    uint64_t misses;
    uint64_t expired;       /* keys removed because their time had come */
    uint64_t expired_swept; /* ... of these, by the sweep */
    uint64_t swept_live;    /* keys with an expiry that the sweep left, counted again each time */
    uint64_t evicted;       /* keys removed because memory was short */
    uint64_t expired_fields; /* fields of hashes, likewise */
    uint64_t freed_later;   /* values and databases freed in steps */
    uint64_t changes;       /* writes that changed something */
    uint64_t payloads_checked; /* of DUMP, by RESTORE */
};

/* See journal.h. */
struct journal_buffer {
    struct buf out;     /* closed units, then the open one */
    size_t open;        /* where that begins: its header, then its commands */
    uint32_t commands;  /* in it */
    uint32_t round;     /* of what is appended: see struct journal_command */
    uint64_t stamp;     /* the last one given */
    uint64_t commit;    /* that the latest unit will be, or was, part of */
    uint64_t passed;    /* the last commit that units were taken for */
    struct shard *instead; /* what is appended goes to that shard's; NULL: here */
};

struct db {
    struct table keys;      /* of struct entry */
    uint64_t version;       /* counts keys added and removed: each may move others in the table */
    uint64_t expiring_count; /* keys with an expiry */
    uint64_t field_expiring_count; /* hashes with fields that have one */
    uint64_t sweep_position; /* hash position the next sweep slice starts from */
    uint64_t evict_position; /* hash position the next look for what to evict starts from */
    int64_t avg_ttl_ms;      /* running estimate over what the sweep sees; 0: unknown */
    /* For snapshot.c: */
    uint64_t cut_position;   /* how far its sweep is */
    uint32_t cut_db;         /* the number that the database had at the cut */
    bool cut_swept;          /* no old entry is left */
};

struct shard {
    uint32_t index;
    const struct keyspace *keyspace;
    struct heap heap;
    uint64_t block_bytes;  /* mem_usable of what values hold beside their entries */
    struct db *dbs;        /* keyspace->db_count of them */
    uint32_t sweep_db;     /* the database that the next sweep begins with */
    int64_t now_ms;        /* wall clock of this iteration, set by the core */
    uint64_t random_state; /* xorshift, seeded by the core */
    struct shard_stats stats;
    struct garbage garbage; /* what is freed in steps */
    struct evict_pool evict_pool;
    struct compaction compaction;
    uint64_t told_bytes;   /* server/evict.h: of all that it holds, what the server was told ... */
    uint64_t told_data;    /* ... and shard_data at that time */
    struct wait_lines waits; /* who waits for which keys */
    struct watches watches;  /* who watches which keys */
    struct tracks tracks;    /* who may have cached which keys */
    struct events events;    /* what was done and is to be told */
    struct journal_buffer journal; /* effects of writes: journal.h */
    struct snapshot *snapshot; /* NULL: there was none yet; see snapshot.h */
    uint8_t colour;          /* ENTRY_COLOUR or 0: of entries that the snapshot needs no more */
};

void shard_init(struct shard *s, uint32_t index, const struct keyspace *k, uint64_t random_seed);
void shard_deinit(struct shard *s);

/* Removes keys whose time has come, visiting at most `buckets_max` buckets over all databases
 * (fewer when nothing expires). Returns the number removed and, in *visited, buckets looked at. */
uint64_t shard_sweep(struct shard *s, uint64_t buckets_max, uint64_t *visited);
/* True while any key has an expiry: whether sweeping is of use. */
bool shard_has_expiring(const struct shard *s);

/* Prefetches for a key about to be used: first its bucket, later (bucket now in cache) its
 * entry. */
void shard_prefetch_bucket(const struct shard *s, uint32_t db, uint64_t hash);
void shard_prefetch_entry(const struct shard *s, uint32_t db, uint64_t hash);

uint64_t shard_random(struct shard *s);

/* Bytes of keys and values, those among them that are being freed; kept as they change. */
static inline uint64_t shard_data(const struct shard *s)
{
    return s->heap.used_bytes + s->block_bytes + s->garbage.bytes;
}
/* The same with the tables. Goes through the databases, not through keys. */
uint64_t shard_bytes(const struct shard *s);
/* Bytes of the tables alone. */
uint64_t shard_table_bytes(const struct shard *s);
