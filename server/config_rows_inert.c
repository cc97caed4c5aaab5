/* Options of Redis that have nothing to act on here: known, kept and shown, so that a configuration
 * written for Redis starts this server and a tool that sets them is not told of an error.
 *
 * A row has Redis's type, default, bounds and names, and the reason why it has no effect, which the
 * log gives where one is set to something else. Their values have no fields in struct config: each
 * is a member of the union at its place in config.inert. */
#include "server/config_rows.h"

#include <assert.h>
#include <string.h>

#include "proto/number.h"

enum inert_place {
    INERT_IO_THREADS, INERT_IO_THREADS_DO_READS, INERT_DYNAMIC_HZ,
    INERT_ACTIVEREHASHING, INERT_JEMALLOC_BG_THREAD, INERT_ACTIVEDEFRAG,
    INERT_ACTIVE_DEFRAG_IGNORE_BYTES, INERT_ACTIVE_DEFRAG_THRESHOLD_LOWER,
    INERT_ACTIVE_DEFRAG_THRESHOLD_UPPER, INERT_ACTIVE_DEFRAG_CYCLE_MIN,
    INERT_ACTIVE_DEFRAG_CYCLE_MAX, INERT_ACTIVE_DEFRAG_MAX_SCAN_FIELDS,
    INERT_RDB_SAVE_INCREMENTAL_FSYNC, INERT_AOF_REWRITE_INCREMENTAL_FSYNC,
    INERT_AOF_DISABLE_AUTO_GC, INERT_SANITIZE_DUMP_PAYLOAD, INERT_BIO_CPULIST,
    INERT_AOF_REWRITE_CPULIST, INERT_BGSAVE_CPULIST, INERT_REPLICAOF, INERT_MASTERAUTH,
    INERT_MASTERUSER, INERT_REPLICA_SERVE_STALE_DATA, INERT_REPLICA_READ_ONLY,
    INERT_REPLICA_PRIORITY, INERT_REPLICA_ANNOUNCED, INERT_REPLICA_ANNOUNCE_IP,
    INERT_REPLICA_ANNOUNCE_PORT, INERT_REPLICA_IGNORE_MAXMEMORY, INERT_REPLICA_LAZY_FLUSH,
    INERT_REPLICA_IGNORE_DISK_WRITE_ERRORS, INERT_REPL_DISKLESS_SYNC,
    INERT_REPL_DISKLESS_SYNC_DELAY, INERT_REPL_DISKLESS_SYNC_MAX_REPLICAS,
    INERT_REPL_DISKLESS_LOAD, INERT_REPL_PING_REPLICA_PERIOD, INERT_REPL_TIMEOUT,
    INERT_REPL_DISABLE_TCP_NODELAY, INERT_REPL_BACKLOG_SIZE, INERT_REPL_BACKLOG_TTL,
    INERT_PROPAGATION_ERROR_BEHAVIOR,
    INERT_RDB_DEL_SYNC_FILES, INERT_TLS_REPLICATION, INERT_BIND_SOURCE_ADDR,
    INERT_SHUTDOWN_TIMEOUT, INERT_CLUSTER_ENABLED, INERT_CLUSTER_CONFIG_FILE,
    INERT_CLUSTER_NODE_TIMEOUT, INERT_CLUSTER_PING_INTERVAL, INERT_CLUSTER_PORT,
    INERT_CLUSTER_MIGRATION_BARRIER, INERT_CLUSTER_ALLOW_REPLICA_MIGRATION,
    INERT_CLUSTER_REPLICA_VALIDITY_FACTOR, INERT_CLUSTER_REPLICA_NO_FAILOVER,
    INERT_CLUSTER_REQUIRE_FULL_COVERAGE, INERT_CLUSTER_ALLOW_READS_WHEN_DOWN,
    INERT_CLUSTER_ALLOW_PUBSUBSHARD_WHEN_DOWN, INERT_CLUSTER_LINK_SENDBUF_LIMIT,
    INERT_CLUSTER_ANNOUNCE_IP, INERT_CLUSTER_ANNOUNCE_HOSTNAME,
    INERT_CLUSTER_ANNOUNCE_HUMAN_NODENAME, INERT_CLUSTER_ANNOUNCE_PORT,
    INERT_CLUSTER_ANNOUNCE_TLS_PORT, INERT_CLUSTER_ANNOUNCE_BUS_PORT,
    INERT_CLUSTER_PREFERRED_ENDPOINT_TYPE, INERT_TLS_CLUSTER, INERT_CRASH_MEMCHECK_ENABLED,
    INERT_IGNORE_WARNINGS, INERT_USE_EXIT_ON_PANIC,
    INERT_LOADING_PROCESS_EVENTS_INTERVAL_BYTES,
    INERT_COUNT,
};

static_assert(INERT_COUNT <= CONFIG_INERT_MAX, "a place for each");

#define PLACE(at) (offsetof(struct config, inert) + (at) * sizeof(union config_inert))
#define YES(at) OPTION_BOOL, PLACE(at)
#define NUMBER(at) OPTION_INTEGER, PLACE(at)
#define SIZE(at) OPTION_MEMORY, PLACE(at)
#define WORD(at) OPTION_ENUM, PLACE(at)
#define TEXT(at) OPTION_STRING, PLACE(at)

#define WHY_CORES "each core reads and writes its own clients: see shards"
#define WHY_HZ "nothing runs at a fixed rate: cores wake when there is work"
#define WHY_TABLE "tables grow in small steps with the requests that fill them"
#define WHY_ALLOC "data are moved together by themselves where much memory lies idle"
#define WHY_FSYNC "files are written by threads that hold up no request"
#define WHY_CHECK "packed values are checked element by element in any case"
#define WHY_CPUS "threads that write files are placed by the kernel: see server-cpulist"
#define WHY_REPL "there are no replicas, and this server is none"
#define WHY_CLUSTER "there is no cluster mode: one port serves all keys"
#define WHY_DEBUG "there is nothing in this server for it to act on"

/* "host port", or empty. */
static const char *check_master(const char *value)
{
    const char *blank = strchr(value, ' ');
    int64_t port;
    if (!value[0])
        return NULL;
    if (!blank || strchr(blank + 1, ' '))
        return "wrong number of arguments";
    bool ok = number_parse_integer(slice_of(blank + 1), &port) && port >= 0 && port <= UINT16_MAX;
    return ok ? NULL : "Invalid master port";
}

static const struct option_name sanitizing[] = {
    {"no", 0}, {"yes", 1}, {"clients", 2}, {NULL, 0},
};

static const struct option_name diskless_loading[] = {
    {"disabled", 0}, {"on-empty-db", 1}, {"swapdb", 2}, {NULL, 0},
};

static const struct option_name propagating[] = {
    {"ignore", 0}, {"panic", 1}, {"panic-on-replicas", 2}, {NULL, 0},
};

static const struct option_name endpoints[] = {
    {"ip", 0}, {"hostname", 1}, {"unknown-endpoint", 2}, {NULL, 0},
};

#define HOST_SIZE_MAX 256

static const char *check_host_name(const char *value)
{
    if (strlen(value) >= HOST_SIZE_MAX)
        return "Hostnames must be less than 256 characters";
    for (; *value; value++) {
        char lower = (char)(*value | 0x20);
        if (!(lower >= 'a' && lower <= 'z') && !(*value >= '0' && *value <= '9') &&
            *value != '-' && *value != '.')
            return "Hostnames may only contain alphanumeric characters, hyphens or dots";
    }
    return NULL;
}

static const struct config_option options[] = {
    {"io-threads", NUMBER(INERT_IO_THREADS), "1", 1, 128, .inert = WHY_CORES,
     .section = "Without effect",
     .text = "Redis moves bytes of clients with threads beside the one that executes; here "
             "every core does all for its own clients (see shards)."},
    {"io-threads-do-reads", YES(INERT_IO_THREADS_DO_READS), "no", .inert = WHY_CORES},
    {"hz", OPTION_INTEGER, offsetof(struct config, hz), "10", 0, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_HZ, .inert = WHY_HZ,
     .text = "How often Redis looks after itself. Here nothing runs at a fixed rate: cores wake "
             "when there is work."},
    {"dynamic-hz", YES(INERT_DYNAMIC_HZ), "yes", .flags = OPTION_MUTABLE, .inert = WHY_HZ},
    {"activerehashing", YES(INERT_ACTIVEREHASHING), "yes", .flags = OPTION_MUTABLE,
     .inert = WHY_TABLE,
     .text = "Here tables grow in small steps, with the requests that fill them."},
    {"jemalloc-bg-thread", YES(INERT_JEMALLOC_BG_THREAD), "yes", .flags = OPTION_MUTABLE,
     .inert = WHY_ALLOC,
     .text = "Moving data together, to give memory back to the system: here that is done "
             "wherever much memory lies idle, and needs no option. CONFIG SET activedefrag yes is "
             "refused, as by a Redis that was built without it."},
    {"activedefrag", YES(INERT_ACTIVEDEFRAG), "no", .flags = OPTION_MUTABLE | OPTION_ONLY_SET,
     .inert = WHY_ALLOC,
     .only = "no",
     .only_reason = "Active defragmentation cannot be enabled: this server does without it"},
    {"active-defrag-ignore-bytes", SIZE(INERT_ACTIVE_DEFRAG_IGNORE_BYTES), "100mb", 1, INT64_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_ALLOC},
    {"active-defrag-threshold-lower", NUMBER(INERT_ACTIVE_DEFRAG_THRESHOLD_LOWER), "10", 0, 1000,
     .flags = OPTION_MUTABLE, .inert = WHY_ALLOC},
    {"active-defrag-threshold-upper", NUMBER(INERT_ACTIVE_DEFRAG_THRESHOLD_UPPER), "100", 0, 1000,
     .flags = OPTION_MUTABLE, .inert = WHY_ALLOC},
    {"active-defrag-cycle-min", NUMBER(INERT_ACTIVE_DEFRAG_CYCLE_MIN), "1", 1, 99,
     .flags = OPTION_MUTABLE, .inert = WHY_ALLOC},
    {"active-defrag-cycle-max", NUMBER(INERT_ACTIVE_DEFRAG_CYCLE_MAX), "25", 1, 99,
     .flags = OPTION_MUTABLE, .inert = WHY_ALLOC},
    {"active-defrag-max-scan-fields", NUMBER(INERT_ACTIVE_DEFRAG_MAX_SCAN_FIELDS),
     "1000", 1, INT64_MAX, .flags = OPTION_MUTABLE, .inert = WHY_ALLOC},
    {"rdb-save-incremental-fsync", YES(INERT_RDB_SAVE_INCREMENTAL_FSYNC), "yes",
     .flags = OPTION_MUTABLE, .inert = WHY_FSYNC,
     .text = "How files are made durable while they are written. Here threads write them that "
             "hold up no request."},
    {"aof-rewrite-incremental-fsync", YES(INERT_AOF_REWRITE_INCREMENTAL_FSYNC), "yes",
     .flags = OPTION_MUTABLE, .inert = WHY_FSYNC},
    {"aof-disable-auto-gc", YES(INERT_AOF_DISABLE_AUTO_GC), "no",
     .flags = OPTION_MUTABLE | OPTION_HIDDEN, .inert = WHY_FSYNC},
    {"sanitize-dump-payload", WORD(INERT_SANITIZE_DUMP_PAYLOAD), "no", .names = sanitizing,
     .flags = OPTION_MUTABLE, .inert = WHY_CHECK,
     .text = "Whether RESTORE and loading check packed values element by element. Here they "
             "always do."},
    {"bio_cpulist", TEXT(INERT_BIO_CPULIST), "\"\"", .inert = WHY_CPUS,
     .text = "The CPUs of threads and processes beside those that serve, which server-cpulist "
             "places."},
    {"aof_rewrite_cpulist", TEXT(INERT_AOF_REWRITE_CPULIST), "\"\"", .inert = WHY_CPUS},
    {"bgsave_cpulist", TEXT(INERT_BGSAVE_CPULIST), "\"\"", .inert = WHY_CPUS},
    {"replicaof", TEXT(INERT_REPLICAOF), "\"\"", .flags = OPTION_MANY | OPTION_NO_ONE,
     .inert = WHY_REPL, .check = check_master,
     .only = "",
     .only_reason = "this server cannot be a replica: leave the line out, and to take over data "
                    "load an RDB or AOF file of that server",
     .text = "On replication. There is none in this version: replicaof with an address stops "
             "the start."},
    {"slaveof", TEXT(INERT_REPLICAOF), "\"\"",
     .flags = OPTION_MANY | OPTION_NO_ONE | OPTION_ALIAS, .inert = WHY_REPL,
     .check = check_master,
     .only = "",
     .only_reason = "this server cannot be a replica: leave the line out, and to take over data "
                    "load an RDB or AOF file of that server"},
    {"masterauth", TEXT(INERT_MASTERAUTH), "\"\"", .flags = OPTION_MUTABLE | OPTION_SECRET,
     .inert = WHY_REPL},
    {"masteruser", TEXT(INERT_MASTERUSER), "\"\"", .flags = OPTION_MUTABLE | OPTION_SECRET,
     .inert = WHY_REPL},
    {"replica-serve-stale-data", YES(INERT_REPLICA_SERVE_STALE_DATA), "yes",
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"slave-serve-stale-data", YES(INERT_REPLICA_SERVE_STALE_DATA), "yes",
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"replica-read-only", YES(INERT_REPLICA_READ_ONLY), "yes", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"slave-read-only", YES(INERT_REPLICA_READ_ONLY), "yes",
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"replica-priority", NUMBER(INERT_REPLICA_PRIORITY), "100", 0, INT32_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"slave-priority", NUMBER(INERT_REPLICA_PRIORITY), "100", 0, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"replica-announced", YES(INERT_REPLICA_ANNOUNCED), "yes", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"replica-announce-ip", TEXT(INERT_REPLICA_ANNOUNCE_IP), "\"\"", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"slave-announce-ip", TEXT(INERT_REPLICA_ANNOUNCE_IP), "\"\"",
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"replica-announce-port", NUMBER(INERT_REPLICA_ANNOUNCE_PORT), "0", 0, 65535,
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"slave-announce-port", NUMBER(INERT_REPLICA_ANNOUNCE_PORT), "0", 0, 65535,
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"replica-ignore-maxmemory", YES(INERT_REPLICA_IGNORE_MAXMEMORY), "yes",
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"slave-ignore-maxmemory", YES(INERT_REPLICA_IGNORE_MAXMEMORY), "yes",
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"replica-lazy-flush", YES(INERT_REPLICA_LAZY_FLUSH), "no", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"slave-lazy-flush", YES(INERT_REPLICA_LAZY_FLUSH), "no",
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"replica-ignore-disk-write-errors", YES(INERT_REPLICA_IGNORE_DISK_WRITE_ERRORS), "no",
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"repl-diskless-sync", YES(INERT_REPL_DISKLESS_SYNC), "yes", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"repl-diskless-sync-delay", NUMBER(INERT_REPL_DISKLESS_SYNC_DELAY), "5", 0, INT32_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"repl-diskless-sync-max-replicas", NUMBER(INERT_REPL_DISKLESS_SYNC_MAX_REPLICAS),
     "0", 0, INT32_MAX, .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"repl-diskless-load", WORD(INERT_REPL_DISKLESS_LOAD), "disabled", .names = diskless_loading,
     .flags = OPTION_MUTABLE | OPTION_NOT_LOADING, .inert = WHY_REPL},
    {"repl-ping-replica-period", NUMBER(INERT_REPL_PING_REPLICA_PERIOD), "10", 1, INT32_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"repl-ping-slave-period", NUMBER(INERT_REPL_PING_REPLICA_PERIOD), "10", 1, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_REPL},
    {"repl-timeout", NUMBER(INERT_REPL_TIMEOUT), "60", 1, INT32_MAX, .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"repl-disable-tcp-nodelay", YES(INERT_REPL_DISABLE_TCP_NODELAY), "no",
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"repl-backlog-size", SIZE(INERT_REPL_BACKLOG_SIZE), "1mb", 1, INT64_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"repl-backlog-ttl", NUMBER(INERT_REPL_BACKLOG_TTL), "3600", 0, INT64_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"propagation-error-behavior", WORD(INERT_PROPAGATION_ERROR_BEHAVIOR), "ignore",
     .names = propagating, .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"rdb-del-sync-files", YES(INERT_RDB_DEL_SYNC_FILES), "no", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"tls-replication", YES(INERT_TLS_REPLICATION), "no", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"bind-source-addr", TEXT(INERT_BIND_SOURCE_ADDR), "\"\"", .flags = OPTION_MUTABLE,
     .inert = WHY_REPL},
    {"shutdown-timeout", NUMBER(INERT_SHUTDOWN_TIMEOUT), "10", 0, INT32_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_REPL},
    {"cluster-enabled", YES(INERT_CLUSTER_ENABLED), "no", .inert = WHY_CLUSTER,
     .only = "no",
     .only_reason = "there is no cluster mode in this version: one port serves all keys, on all "
                    "cores",
     .text = "On Redis Cluster. There is none in this version: cluster-enabled yes stops the "
             "start."},
    {"cluster-config-file", TEXT(INERT_CLUSTER_CONFIG_FILE), "nodes.conf", .inert = WHY_CLUSTER},
    {"cluster-node-timeout", NUMBER(INERT_CLUSTER_NODE_TIMEOUT), "15000", 0, INT64_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-ping-interval", NUMBER(INERT_CLUSTER_PING_INTERVAL), "0", 0, INT64_MAX,
     .flags = OPTION_MUTABLE | OPTION_HIDDEN, .inert = WHY_CLUSTER},
    {"cluster-port", NUMBER(INERT_CLUSTER_PORT), "0", 0, 65535, .inert = WHY_CLUSTER},
    {"cluster-migration-barrier", NUMBER(INERT_CLUSTER_MIGRATION_BARRIER), "1", 0, INT32_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-allow-replica-migration", YES(INERT_CLUSTER_ALLOW_REPLICA_MIGRATION), "yes",
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-replica-validity-factor", NUMBER(INERT_CLUSTER_REPLICA_VALIDITY_FACTOR),
     "10", 0, INT32_MAX, .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-slave-validity-factor", NUMBER(INERT_CLUSTER_REPLICA_VALIDITY_FACTOR),
     "10", 0, INT32_MAX, .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_CLUSTER},
    {"cluster-replica-no-failover", YES(INERT_CLUSTER_REPLICA_NO_FAILOVER), "no",
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-slave-no-failover", YES(INERT_CLUSTER_REPLICA_NO_FAILOVER), "no",
     .flags = OPTION_MUTABLE | OPTION_ALIAS, .inert = WHY_CLUSTER},
    {"cluster-require-full-coverage", YES(INERT_CLUSTER_REQUIRE_FULL_COVERAGE), "yes",
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-allow-reads-when-down", YES(INERT_CLUSTER_ALLOW_READS_WHEN_DOWN), "no",
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-allow-pubsubshard-when-down", YES(INERT_CLUSTER_ALLOW_PUBSUBSHARD_WHEN_DOWN), "yes",
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-link-sendbuf-limit", SIZE(INERT_CLUSTER_LINK_SENDBUF_LIMIT), "0", 0, INT64_MAX,
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-announce-ip", TEXT(INERT_CLUSTER_ANNOUNCE_IP), "\"\"", .flags = OPTION_MUTABLE,
     .inert = WHY_CLUSTER},
    {"cluster-announce-hostname", TEXT(INERT_CLUSTER_ANNOUNCE_HOSTNAME), "\"\"",
     .flags = OPTION_MUTABLE, .check = check_host_name, .inert = WHY_CLUSTER},
    {"cluster-announce-human-nodename", TEXT(INERT_CLUSTER_ANNOUNCE_HUMAN_NODENAME), "\"\"",
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-announce-port", NUMBER(INERT_CLUSTER_ANNOUNCE_PORT), "0", 0, 65535,
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-announce-tls-port", NUMBER(INERT_CLUSTER_ANNOUNCE_TLS_PORT), "0", 0, 65535,
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-announce-bus-port", NUMBER(INERT_CLUSTER_ANNOUNCE_BUS_PORT), "0", 0, 65535,
     .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"cluster-preferred-endpoint-type", WORD(INERT_CLUSTER_PREFERRED_ENDPOINT_TYPE), "ip",
     .names = endpoints, .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"tls-cluster", YES(INERT_TLS_CLUSTER), "no", .flags = OPTION_MUTABLE, .inert = WHY_CLUSTER},
    {"crash-memcheck-enabled", YES(INERT_CRASH_MEMCHECK_ENABLED), "yes", .flags = OPTION_MUTABLE,
     .inert = WHY_DEBUG,
     .text = "What remains: there is nothing here that these could act on."},
    {"ignore-warnings", TEXT(INERT_IGNORE_WARNINGS), "\"\"", .flags = OPTION_MUTABLE,
     .inert = WHY_DEBUG},
    {"use-exit-on-panic", YES(INERT_USE_EXIT_ON_PANIC), "no",
     .flags = OPTION_MUTABLE | OPTION_HIDDEN, .inert = WHY_DEBUG},
    {"loading-process-events-interval-bytes", NUMBER(INERT_LOADING_PROCESS_EVENTS_INTERVAL_BYTES),
     "2097152", 1024, INT32_MAX, .flags = OPTION_MUTABLE | OPTION_HIDDEN, .inert = WHY_DEBUG},
};

const struct config_rows config_rows_inert = CONFIG_ROWS(options);
