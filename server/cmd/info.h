/* What INFO's two files share: the server's numbers, summed over the cores (info.c), and the texts
 * made from them (info_sections.c). All of it lives as long as one INFO. */
#pragma once

#include "proto/buf.h"
#include "server/core.h"
#include "server/pubsub.h"

enum info_section {
    INFO_SERVER, INFO_CLIENTS, INFO_MEMORY, INFO_PERSISTENCE, INFO_STATS, INFO_REPLICATION,
    INFO_CPU, INFO_MODULES, INFO_COMMANDSTATS, INFO_ERRORSTATS,
    INFO_LATENCYSTATS, INFO_CLUSTER, INFO_SHARDS,
    INFO_KEYSPACE, INFO_DEBUG,
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
    double iterations;
    double cpu_us;
};

/* One core's numbers; several added up. Plain data: a part of INFO leaves it as bytes. */
struct info_core {
    struct info_sessions sessions;
    struct info_rates rates;
    struct core_memory memory;
    uint64_t data_peak;
    uint64_t startup_bytes;
    uint64_t cpu_us;       /* CPU time of its thread, since the counters began */
    uint64_t command_us;   /* ... of it, in commands */
    double stale;          /* keys that have expired and are still there, about */
    uint64_t expiring;     /* keys with an expiry */
    uint64_t mesh_depth;   /* batches that wait for it, by now */
    uint64_t order_depth;  /* entries of the order log that it has not passed */
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
    bool with_times;        /* of the commands: see cmd/latency.h; last of all */
};

struct info_db {
    uint32_t db;
    uint64_t keys;
    uint64_t expiring;
    int64_t avg_ttl_ms;
    uint64_t table_bytes;
};

struct info {
    int64_t now_ms;
    struct info_core total;
    struct info_core *cores;
    uint32_t core_count;
    struct info_db *dbs; /* by database; total.db_count of them, empty ones included */
    struct command_stats *commands;
    struct buf topics[PUBSUB_KINDS]; /* hashes: several cores may have the same ones */
    struct histogram **times; /* of commands, by id; NULL in it: none */
    struct error_stats *errors; /* sorted by code */
    uint32_t error_count;
};

/* The parts of an entry that names all shards: a core's numbers, and all of them again. What
 * `collect` makes lives until the end of the iteration. */
#define INFO_WITH_COMMANDS 1u
#define INFO_WITH_TOPICS 2u
#define INFO_WITH_TIMES 4u
void info_leave_part(struct call *c, unsigned with);
void info_collect(struct call *c, const struct split_parts *parts, struct info *info);
/* A core's numbers, but for its sessions', of which there may be many. On its thread, or while it
 * stands still. */
void info_measure(const struct core *core, struct info_core *x);
struct info_sessions info_measure_sessions(const struct core *core);
void info_add_core(struct info_core *to, const struct info_core *x);

/* Appends a section, its heading included. */
void info_append_section(struct buf *to, const struct info *info, enum info_section section);
void info_append_memory(struct buf *to, const struct info *info);

/* What INFO's section `memory`, MEMORY STATS and MEMORY DOCTOR tell: bytes.
 *
 * `used` is what Lasca counts; `active` that with the free room in the shards' pages; `resident`
 * what of the process is in memory and in no file; `rss` that with the program and its libraries;
 * `committed` what the allocator may touch. */
struct info_memory_report {
    uint64_t used, peak, startup, clients, tables;
    uint64_t dataset, overhead; /* keys and values; all else */
    uint64_t eval, functions;   /* texts of scripts and functions */
    uint64_t aof_buffer;
    uint64_t active, resident, rss, committed;
    char allocator[32];
};
void info_report_memory(const struct info_core *total, struct info_memory_report *r);
/* The three parts of that: what only a core may look at, or whoever has them all stand still;
 * what any thread may; and what follows from the cores' numbers and these. */
void info_look_at_shared(struct info_memory_report *r);
void info_look_at_system(struct info_memory_report *r);
void info_count_memory(const struct info_core *total, struct info_memory_report *r);
double info_ratio(uint64_t a, uint64_t b); /* 0 where b is */
