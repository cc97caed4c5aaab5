/* The table of options. To add one: a field in struct config, a row here, and the text of
 * conf/lasca.conf anew (test/server/config_test.c says how).
 *
 * Names, defaults, bounds and what CONFIG SET may change are Redis 7.2's where the option is
 * Redis's. */
#include "server/config_rows.h"

#include "net/ring.h"
#include "shard/keyspace.h"

/* In the order in which Redis lists them in its error. */
static const struct option_name policies[] = {
    {"volatile-lru", POLICY_VOLATILE_LRU},
    {"volatile-lfu", POLICY_VOLATILE_LFU},
    {"volatile-random", POLICY_VOLATILE_RANDOM},
    {"volatile-ttl", POLICY_VOLATILE_TTL},
    {"allkeys-lru", POLICY_ALLKEYS_LRU},
    {"allkeys-lfu", POLICY_ALLKEYS_LFU},
    {"allkeys-random", POLICY_ALLKEYS_RANDOM},
    {"noeviction", POLICY_NOEVICTION},
    {NULL, 0},
};

static const struct option_name log_levels[] = {
    {"debug", LOG_DEBUG},     {"verbose", LOG_VERBOSE}, {"notice", LOG_NOTICE},
    {"warning", LOG_WARNING}, {"nothing", LOG_NOTHING}, {NULL, 0},
};

static const struct option_name pinning[] = {
    {"no", PIN_NO}, {"yes", PIN_YES}, {"auto", PIN_AUTO}, {NULL, 0},
};

static const struct option_name syncing[] = {
    {"everysec", SYNC_EVERYSEC}, {"always", SYNC_ALWAYS}, {"no", SYNC_NO}, {NULL, 0},
};

static const struct option_name backends[] = {
    {"auto", RING_AUTO}, {"io_uring", RING_URING}, {"epoll", RING_EPOLL}, {NULL, 0},
};

#define DATABASES_MAX (1 << 20)

static const struct config_option options[] = {
    {"bind", OPTION_BIND, 0, "* -::*", .flags = OPTION_MUTABLE | OPTION_MANY,
     .section = "Network",
     .text = "The addresses to listen on: at most 16, IPv4, IPv6 or names of hosts, separated by "
             "blanks. An address that begins with '-' may be one that this machine does not have; "
             "any other that is stops the start. '*' is every IPv4 address, '::*' every IPv6 "
             "address.\n"
             "As long as protected-mode is on and no password is set, only clients that come "
             "over the loopback interface are served, whatever the addresses."},
    {"port", INTEGER_FIELD(port), "6379", 0, 65535, .flags = OPTION_MUTABLE,
     .text = "The TCP port. 0: no TCP, where there is a unixsocket or a tls-port."},
    {"protected-mode", BOOL_FIELD(protected_mode), "yes", .flags = OPTION_MUTABLE,
     .text = "With yes, and while requirepass is empty, connections from other hosts are "
             "refused with an error that names the cures. Say no only where nobody else can "
             "reach the port."},
    {"tcp-backlog", INTEGER_FIELD(tcp_backlog), "511", 0, INT32_MAX,
     .text = "How many connections may wait to be accepted. The kernel lowers it to "
             "/proc/sys/net/core/somaxconn."},
    {"tcp-keepalive", INTEGER_FIELD(tcp_keepalive), "300", 0, INT32_MAX, .flags = OPTION_MUTABLE,
     .text = "After so many idle seconds the kernel probes whether a client is still there. 0: "
             "it never does. A change holds for new connections."},
    {"timeout", INTEGER_FIELD(timeout), "0", 0, INT32_MAX, .flags = OPTION_MUTABLE,
     .text = "A client that has sent nothing for so many seconds is disconnected. 0: never."},
    {"maxclients", INTEGER_FIELD(maxclients), "10000", 1, UINT32_MAX, .flags = OPTION_MUTABLE,
     .text = "How many clients may be connected at once; one more is told an error and "
             "disconnected. The limit on open files (ulimit -n) is raised to suit; where that is "
             "not allowed, this is lowered, and the log says so."},
    {"unixsocket", STRING_FIELD(unixsocket), "\"\"",
     .text = "The path of a Unix socket to listen on besides. \"\": none."},
    {"unixsocketperm", OPTION_OCTAL, FIELD(unixsocketperm, int64_t), "0", 0, 0777,
     .text = "The permissions of that socket, octal. 0: as the umask has it."},
    {"socket-mark-id", INTEGER_FIELD(socket_mark_id), "0", 0, UINT32_MAX,
     .text = "A mark (SO_MARK) for the listening sockets and the connections made on them, for "
             "routing and filters; needs CAP_NET_ADMIN. 0: none."},
    {"io-backend", ENUM_FIELD(io_backend), "auto", .names = backends, .flags = OPTION_SAME,
     .text = "How sockets are driven. auto is io_uring where the kernel allows it, else epoll. "
             "io_uring refuses to start where it is not allowed, as under Docker's default "
             "seccomp profile."},

    {"shards", INTEGER_FIELD(shards), "0", 0, SHARD_COUNT_MAX,
     .flags = OPTION_SAME, .section = "Cores",
     .text = "How many threads serve, each with its own part of the keys. 0: one for each CPU "
             "that this process may use, by its affinity and its cgroup's CPU quota."},
    {"pin-cores", ENUM_FIELD(pin_cores), "auto", .names = pinning, .flags = OPTION_SAME,
     .text = "Whether each of those threads stays on one CPU: the first thread on the first CPU "
             "that this process may use, and so on. auto: where there are as many threads as "
             "CPUs, at least four, and no CPU quota is set. Say no where other busy processes "
             "share the CPUs."},

    {"databases", INTEGER_FIELD(databases), "16", 1, DATABASES_MAX, .section = "Data",
     .text = "How many databases SELECT can choose from, numbered from 0."},
    {"maxmemory", OPTION_MEMORY_SHARE, FIELD(maxmemory, int64_t), "0", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "How much memory keys and values, and what else counts, may take: bytes, with a unit, "
             "or percent (75%) of the machine's memory or of the cgroup's limit, whichever is "
             "less. 0: no limit."},
    {"maxmemory-samples", INTEGER_FIELD(maxmemory_samples), "5", 1, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "How many keys are looked at to find one to evict: more find better ones and take "
             "more time."},
    {"maxmemory-eviction-tenacity", INTEGER_FIELD(maxmemory_eviction_tenacity), "10", 0, 100,
     .flags = OPTION_MUTABLE,
     .text = "How long eviction may hold up requests at a time: 0 hardly, 100 until memory is "
             "below the limit."},
    {"maxmemory-policy", ENUM_FIELD(maxmemory_policy), "noeviction", .names = policies,
     .flags = OPTION_MUTABLE,
     .text = "Which use of keys is recorded: with an lfu policy how often each is used (OBJECT "
             "FREQ), else how long ago (OBJECT IDLETIME); and which keys go where maxmemory is "
             "reached."},
    {"lfu-log-factor", INTEGER_FIELD(lfu_log_factor), "10", 0, INT32_MAX, .flags = OPTION_MUTABLE,
     .text = "How slowly the counter of a key's use grows: with 10 about a million uses "
             "saturate it, with 0 every use counts until it is full at 255."},
    {"lfu-decay-time", INTEGER_FIELD(lfu_decay_time), "1", 0, INT32_MAX, .flags = OPTION_MUTABLE,
     .text = "After so many minutes without use that counter falls by one. 0: it does not fall."},
    {"active-expire-effort", INTEGER_FIELD(active_expire_effort), "1", 1, 10,
     .flags = OPTION_MUTABLE,
     .text = "How much CPU time goes into removing expired keys that nobody asks for. More "
             "effort keeps fewer of them in memory."},
    {"notify-keyspace-events", OPTION_NOTIFY, FIELD(notify_keyspace_events, int), "\"\"",
     .flags = OPTION_MUTABLE,
     .text = "Which changes of keys are published, each class of them a letter. K: to channels "
             "__keyspace@<db>__:<key>, the event as the message; E: to channels "
             "__keyevent@<db>__:<event>, the key as the message; at least one of the two. g: "
             "commands that suit every type (DEL, EXPIRE, RENAME, ...); $ l s h z t: those on "
             "strings, lists, sets, hashes, sorted sets, streams; x: keys whose time has come; "
             "e: keys evicted; d: modules; A: all of these. Besides, n: keys that come into "
             "being; m: keys looked for in vain."},
    {"proto-max-bulk-len", MEMORY_FIELD(proto_max_bulk_len), "512mb", MB, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The longest argument of a command, and the longest string value."},

    {"hash-max-listpack-entries", INTEGER_FIELD(hash_max_listpack_entries), "512", 0, INT64_MAX,
     .flags = OPTION_MUTABLE, .section = "Collections",
     .text = "A hash of at most so many fields, none of them nor of their values longer than "
             "hash-max-listpack-value, is packed in one block: small, and searched from its "
             "beginning. Sets and sorted sets have such bounds of their own."},
    {"hash-max-ziplist-entries", INTEGER_FIELD(hash_max_listpack_entries), "512", 0, INT64_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},
    {"hash-max-listpack-value", MEMORY_FIELD(hash_max_listpack_value), "64", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The longest field or value of a packed hash, in bytes."},
    {"hash-max-ziplist-value", MEMORY_FIELD(hash_max_listpack_value), "64", 0, INT64_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},
    {"set-max-intset-entries", INTEGER_FIELD(set_max_intset_entries), "512", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "A set of at most so many members, all of them integers of 64 bits, is a sorted "
             "array."},
    {"set-max-listpack-entries", INTEGER_FIELD(set_max_listpack_entries), "128", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The members of a packed set that are not all integers."},
    {"set-max-listpack-value", INTEGER_FIELD(set_max_listpack_value), "64", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The longest member of a packed set, in bytes."},
    {"zset-max-listpack-entries", INTEGER_FIELD(zset_max_listpack_entries), "128", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The members of a packed sorted set."},
    {"zset-max-ziplist-entries", INTEGER_FIELD(zset_max_listpack_entries), "128", 0, INT64_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},
    {"zset-max-listpack-value", MEMORY_FIELD(zset_max_listpack_value), "64", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The longest member of a packed sorted set, in bytes."},
    {"zset-max-ziplist-value", MEMORY_FIELD(zset_max_listpack_value), "64", 0, INT64_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},
    {"list-max-listpack-size", INTEGER_FIELD(list_max_listpack_size), "-2", INT32_MIN, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "How much of a list is packed together: so many elements, or with -1 to -5 at most "
             "4, 8, 16, 32 or 64 KiB. A list that is no longer than that is one packed block."},
    {"list-max-ziplist-size", INTEGER_FIELD(list_max_listpack_size), "-2", INT32_MIN, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},
    {"list-compress-depth", INTEGER_FIELD(list_compress_depth), "0", 0, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "With 1 or more, the blocks of a long list are compressed (LZF), but for so many at "
             "each end, where most lists are used. 0: none is."},
    {"stream-node-max-bytes", MEMORY_FIELD(stream_node_max_bytes), "4kb", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The messages of a stream are packed together up to this size. 0: no such bound."},
    {"stream-node-max-entries", INTEGER_FIELD(stream_node_max_entries), "100", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "... and up to this number. 0: no such bound."},
    {"hll-sparse-max-bytes", MEMORY_FIELD(hll_sparse_max_bytes), "3000", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "A HyperLogLog in its sparse form may take so many bytes; one that would take more "
             "becomes dense: 12 KiB, whatever it counts."},
    {"lazyfree-lazy-eviction", BOOL_FIELD(lazyfree_lazy_eviction), "yes",
     .flags = OPTION_MUTABLE,
     .text = "Whether the memory of a large collection that is evicted is freed in slices between "
             "requests, rather than at once, while others wait."},
    {"lazyfree-lazy-expire", BOOL_FIELD(lazyfree_lazy_expire), "yes", .flags = OPTION_MUTABLE,
     .text = "The same for one whose time has come."},
    {"lazyfree-lazy-server-del", BOOL_FIELD(lazyfree_lazy_server_del), "yes",
     .flags = OPTION_MUTABLE,
     .text = "The same for what a command replaces or empties: SET, RENAME, SUNIONSTORE, ..."},
    {"lazyfree-lazy-user-del", BOOL_FIELD(lazyfree_lazy_user_del), "yes", .flags = OPTION_MUTABLE,
     .text = "The same for DEL: with yes it is UNLINK."},
    {"lazyfree-lazy-user-flush", BOOL_FIELD(lazyfree_lazy_user_flush), "yes",
     .flags = OPTION_MUTABLE,
     .text = "The same for FLUSHALL and FLUSHDB that say neither SYNC nor ASYNC."},

    {"busy-reply-threshold", INTEGER_FIELD(busy_reply_threshold), "5000", 0, INT64_MAX,
     .flags = OPTION_MUTABLE, .section = "Scripts",
     .text = "A script or function that has run for so many milliseconds counts as busy: SCRIPT "
             "KILL or FUNCTION KILL can end it, as long as it has not written. 0: none does."},
    {"lua-time-limit", INTEGER_FIELD(busy_reply_threshold), "5000", 0, INT64_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},

    {"client-query-buffer-limit", MEMORY_FIELD(client_query_buffer_limit), "1gb", MB, INT64_MAX,
     .flags = OPTION_MUTABLE, .section = "Clients",
     .text = "A client whose requests not yet executed take more memory than this is "
             "disconnected."},
    {"client-output-buffer-limit", OPTION_OUTPUT_LIMITS, 0,
     "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60", .flags = OPTION_MUTABLE | OPTION_MANY,
     .text = "A client that does not read its replies is disconnected when they take more "
             "memory than the hard limit, or for some seconds without a break more than the "
             "soft limit. Groups of class (normal, replica or pubsub), hard limit, soft limit "
             "and those seconds; 0 is no limit, a class not named keeps its limits. There are no "
             "replicas in this version."},
    {"maxmemory-clients", OPTION_MEMORY_PERCENT, FIELD(maxmemory_clients, int64_t), "0", 0,
     INT64_MAX, .flags = OPTION_MUTABLE,
     .text = "How much memory all clients together may take: bytes, with a unit, or percent (5%) "
             "of maxmemory. Above, those that take the most are disconnected. 0: no limit."},
    {"tracking-table-max-keys", INTEGER_FIELD(tracking_table_max_keys), "1000000", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "How many keys are remembered as cached by clients (CLIENT TRACKING). Above, keys "
             "are forgotten at random, and clients told as if they had changed. 0: no limit."},
    {"loglevel", ENUM_FIELD(log_level), "notice", .names = log_levels, .flags = OPTION_MUTABLE,
     .section = "Process",
     .text = "The least important messages to log: debug is for developers, notice suits "
             "production, nothing logs nothing."},
    {"logfile", STRING_FIELD(logfile), "\"\"",
     .text = "The file that the log is appended to, relative to dir. It may be renamed at any "
             "time: the next message begins a new one. \"\": standard output."},
    {"dir", STRING_FIELD(dir), "./",
     .flags = OPTION_MUTABLE | OPTION_PROTECTED | OPTION_DIRECTORY | OPTION_NOT_LOADING,
     .text = "The working directory. The server moves there when it reads this line, so "
             "relative paths in later lines start from it."},
    {"save", OPTION_SAVE, FIELD(save, char *), "3600 1 300 100 60 10000",
     .flags = OPTION_MUTABLE | OPTION_MANY | OPTION_NO_WORDS, .section = "Persistence",
     .text = "When to write a snapshot: pairs of seconds and changes. After so many seconds, if at "
             "least so many keys were changed, a snapshot is written while clients go on being "
             "served. Several lines add up. \"\": never."},
    {"dbfilename", STRING_FIELD(dbfilename), "dump.rdb",
     .flags = OPTION_MUTABLE | OPTION_PROTECTED | OPTION_FILE_NAME,
     .text = "The name of the snapshot's file, in dir. A name, not a path."},
    {"rdbcompression", BOOL_FIELD(rdbcompression), "yes", .flags = OPTION_MUTABLE,
     .text = "Whether long strings are compressed (LZF) in snapshots. Costs some CPU time."},
    {"rdbchecksum", BOOL_FIELD(rdbchecksum), "yes",
     .text = "Whether snapshots end with a checksum (CRC64), and whether it is checked on "
             "loading."},
    {"min-replicas-to-write", INTEGER_FIELD(min_replicas_to_write), "0", 0, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "Commands that write are refused (NOREPLICAS) unless so many replicas have reported "
             "within min-replicas-max-lag seconds. This server has no replicas: with anything "
             "but 0, every write is refused."},
    {"min-slaves-to-write", INTEGER_FIELD(min_replicas_to_write), "0", 0, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},
    {"min-replicas-max-lag", INTEGER_FIELD(min_replicas_max_lag), "10", 0, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "See min-replicas-to-write. With 0 that refuses nothing."},
    {"min-slaves-max-lag", INTEGER_FIELD(min_replicas_max_lag), "10", 0, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_ALIAS},
    {"stop-writes-on-bgsave-error", BOOL_FIELD(stop_writes_on_bgsave_error), "yes",
     .flags = OPTION_MUTABLE,
     .text = "With yes, and while save points are set, commands that write are refused (MISCONF) "
             "when the last snapshot could not be written, until one can."},
    {"rdb-key-save-delay", INTEGER_FIELD(rdb_key_save_delay), "0", INT32_MIN, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_HIDDEN},
    {"key-load-delay", INTEGER_FIELD(key_load_delay), "0", INT32_MIN, INT32_MAX,
     .flags = OPTION_MUTABLE | OPTION_HIDDEN},
    {"appendonly", BOOL_FIELD(appendonly), "no", .flags = OPTION_MUTABLE | OPTION_NOT_LOADING,
     .text = "Whether every write is logged to the append-only file, which is what is loaded at "
             "the next start."},
    {"appendfilename", STRING_FIELD(appendfilename), "appendonly.aof",
     .flags = OPTION_FILE_NAME | OPTION_NOT_EMPTY,
     .text = "What the names of the append-only file's parts begin with. A name, not a path."},
    {"appenddirname", STRING_FIELD(appenddirname), "appendonlydir",
     .flags = OPTION_DIRECTORY_NAME | OPTION_NOT_EMPTY,
     .text = "The directory of these parts, in dir. A name, not a path."},
    {"appendfsync", ENUM_FIELD(appendfsync), "everysec", .names = syncing, .flags = OPTION_MUTABLE,
     .text = "When what was logged is made durable. always: before anybody is told that it was "
             "done; clients share a sync. everysec: once a second. no: when the system likes."},
    {"no-appendfsync-on-rewrite", BOOL_FIELD(no_appendfsync_on_rewrite), "no",
     .flags = OPTION_MUTABLE,
     .text = "With yes nothing is synced while a snapshot or rewrite is being written (always "
             "then is like no): less waiting for a slow disk, and less safety."},
    {"auto-aof-rewrite-percentage", INTEGER_FIELD(auto_aof_rewrite_percentage), "100", 0, INT32_MAX,
     .flags = OPTION_MUTABLE,
     .text = "The append-only file is rewritten by itself when it has grown by so many percent "
             "since the last rewrite. 0: never."},
    {"auto-aof-rewrite-min-size", MEMORY_FIELD(auto_aof_rewrite_min_size), "64mb", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "... and is at least so large."},
    {"aof-load-truncated", BOOL_FIELD(aof_load_truncated), "yes", .flags = OPTION_MUTABLE,
     .text = "Whether an append-only file whose end is cut off is loaded up to its last whole "
             "command or transaction, and cut there. With no the server does not start: "
             "lasca-check-aof --fix mends it."},
    {"aof-use-rdb-preamble", BOOL_FIELD(aof_use_rdb_preamble), "yes", .flags = OPTION_MUTABLE,
     .text = "Whether a rewritten append-only file begins with a snapshot in RDB format, which is "
             "smaller and loads faster, or with commands."},
    {"aof-timestamp-enabled", BOOL_FIELD(aof_timestamp_enabled), "no", .flags = OPTION_MUTABLE,
     .text = "Whether the append-only file has a line with the time for each second, by which it "
             "can be cut at a moment. Redis before 7.0 does not load such files."},
};

static const struct config_rows config_rows_main = CONFIG_ROWS(options);

static const struct config_rows *const tables[] = {
    &config_rows_main,    &config_rows_tls,   &config_rows_access, &config_rows_watch,
    &config_rows_process, &config_rows_inert,
};

uint32_t config_option_count(void)
{
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        count += tables[i]->count;
    return count;
}

const struct config_option *config_option_at(uint32_t i)
{
    size_t t = 0;
    while (i >= tables[t]->count)
        i -= tables[t++]->count;
    return &tables[t]->rows[i];
}

const struct config_option *config_option_proper(const struct config_option *o)
{
    while (o->flags & OPTION_ALIAS)
        o--;
    return o;
}

const struct config_option *config_option_find(struct slice name)
{
    for (uint32_t i = 0; i < config_option_count(); i++) {
        if (slice_is(name, config_option_at(i)->name))
            return config_option_at(i);
    }
    return NULL;
}

#define DISTANCE_NAME_MAX 40

static unsigned lower(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Edits from a to b: a letter added, dropped or replaced, or two neighbours swapped (optimal
 * string alignment: Damerau 1964, in the restricted form that edits no part twice). Both are at
 * most DISTANCE_NAME_MAX long. d[i][j] is the distance of a's first i letters from b's first j. */
static unsigned edit_distance(struct slice a, struct slice b)
{
    unsigned d[DISTANCE_NAME_MAX + 1][DISTANCE_NAME_MAX + 1];
    for (unsigned i = 0; i <= a.size; i++)
        d[i][0] = i;
    for (unsigned j = 0; j <= b.size; j++)
        d[0][j] = j;
    for (unsigned i = 1; i <= a.size; i++) {
        for (unsigned j = 1; j <= b.size; j++) {
            char x = fold(a.data[i - 1]), y = fold(b.data[j - 1]);
            d[i][j] = lower(lower(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (x != y));
            if (i > 1 && j > 1 && x == fold(b.data[j - 2]) && fold(a.data[i - 2]) == y)
                d[i][j] = lower(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[a.size][b.size];
}

const struct config_option *config_option_nearest(struct slice name)
{
    if (name.size > DISTANCE_NAME_MAX)
        return NULL;
    const struct config_option *nearest = NULL;
    unsigned least = (unsigned)name.size / 3 + 1; /* more edits than this: another word */
    for (uint32_t i = 0; i < config_option_count(); i++) {
        const struct config_option *o = config_option_at(i);
        unsigned distance = edit_distance(name, slice_of(o->name));
        if (distance < least || (distance == least && !nearest)) {
            least = distance;
            nearest = o;
        }
    }
    return nearest;
}
