/* What INFO's two files share: the server's numbers, summed over the cores (info.c), and the texts
 * made from them (info_sections.c). All of it lives as long as one INFO. */
#pragma once

#include "proto/buf.h"
#include "server/core.h"
#include "server/pubsub.h"

enum info_section {
    INFO_SERVER, INFO_CLIENTS, INFO_MEMORY, INFO_PERSISTENCE, INFO_STATS, INFO_REPLICATION,
    INFO_CPU, INFO_MODULES, INFO_COMMANDSTATS, INFO_ERRORSTATS, INFO_CLUSTER, INFO_SHARDS,
    INFO_KEYSPACE,
    INFO_SECTION_COUNT,
};

/* A core's sessions. */
struct info_sessions {
    uint64_t count;
    uint64_t blocked;    /* by a command that waits, or held back by CLIENT PAUSE */
    uint64_t memory;     /* bytes of all */
    uint64_t input_max;  /* bytes: the largest query buffer */
    uint64_t output_max; /* bytes: the most output of one */
};

/* A second, over about the last two. */
struct info_rates {
    double commands;
    double input; /* bytes */
    double output;
};

/* One core's numbers; several added up. Plain data: a part of INFO leaves it as bytes. */
struct info_core {
    struct info_sessions sessions;
    struct info_rates rates;
    struct core_memory memory;
    uint64_t data_peak;
    struct core_stats stats;
    struct shard_stats shard;
    uint64_t keys;
    uint64_t timeouts;     /* waits that have one */
    uint64_t waited_keys;  /* keys that somebody waits for */
    uint64_t waited_removals; /* ... and would be told that they are gone */
    uint64_t tracking;     /* sessions that track */
    uint64_t tracked_keys; /* keys that were read by such, ... */
    uint64_t tracked_items; /* ... and how often by different ones */
    uint64_t prefixes;     /* of clients in BCAST mode; all shards have the same */
    uint64_t garbage;      /* values and databases being freed in steps */
    uint64_t topics[PUBSUB_KINDS]; /* subscribed to: channels, patterns, shard channels */
    uint32_t shard_index;
    /* What follows it in a part. */
    uint32_t db_count;      /* struct info_db: the databases that have keys */
    uint32_t error_count;   /* struct error_stats */
    uint32_t command_count; /* struct command_stats, by id; 0: not asked for */
    bool with_hashes;       /* of the topics, kind by kind */
};

struct info_db {
    uint32_t db;
    uint64_t keys;
    uint64_t expiring;
    int64_t avg_ttl_ms;
};

struct info {
    int64_t now_ms;
    struct info_core total;
    struct info_core *cores;
    uint32_t core_count;
    struct info_db *dbs; /* by database; total.db_count of them, empty ones included */
    struct command_stats *commands;
    struct buf topics[PUBSUB_KINDS]; /* hashes: several cores may have the same ones */
    struct error_stats *errors; /* sorted by code */
    uint32_t error_count;
};

/* Appends a section, its heading included. */
void info_append_section(struct buf *to, const struct info *info, enum info_section section);
