/* The configuration: redis.conf's format, names and units.
 *
 * One row an option in config_options.c: name, type, default, bounds, whether CONFIG SET may
 * change it. The row feeds the file, the command line, CONFIG GET and SET, and the test that holds
 * conf/lasca.conf to the defaults. Values stand in struct config; they change only while every
 * core stands still in a cross transaction, so any core reads them without atomics. */
#pragma once

#include "proto/buf.h"
#include "proto/slice.h"

#define CONFIG_BIND_MAX 16
#define CONFIG_ERROR_SIZE 512

enum config_policy { /* maxmemory-policy */
    POLICY_NOEVICTION, POLICY_ALLKEYS_LRU, POLICY_ALLKEYS_LFU, POLICY_ALLKEYS_RANDOM,
    POLICY_VOLATILE_LRU, POLICY_VOLATILE_LFU, POLICY_VOLATILE_RANDOM, POLICY_VOLATILE_TTL,
};

enum config_log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING, LOG_NOTHING };
enum config_pin { PIN_NO, PIN_YES, PIN_AUTO };
enum config_sync { SYNC_EVERYSEC, SYNC_ALWAYS, SYNC_NO };
enum config_sanitize { SANITIZE_NO, SANITIZE_YES, SANITIZE_CLIENTS };
enum config_debug { DEBUG_NO, DEBUG_YES, DEBUG_LOCAL };

struct config_output_limit { /* client-output-buffer-limit of one class */
    uint64_t hard;   /* bytes; 0: none */
    uint64_t soft;   /* bytes; 0: none */
    uint64_t soft_s; /* seconds above soft */
};

struct config {
    char *config_file;     /* absolute path, or NULL */
    /* Network. */
    char *bind[CONFIG_BIND_MAX]; /* a leading '-' means: no error when not available */
    uint32_t bind_count;
    int64_t port;          /* 0: do not listen on TCP */
    int64_t tcp_backlog;
    int64_t tcp_keepalive; /* seconds; 0: off */
    int64_t timeout;       /* seconds idle; 0: never */
    int64_t maxclients;
    bool protected_mode;
    int io_backend;        /* enum ring_backend of net/ring.h: auto, io_uring, epoll */
    /* Cores. */
    int64_t shards;        /* 0: as many as the CPUs this process may use */
    int pin_cores;         /* enum config_pin */
    /* Data. */
    int64_t databases;
    int maxmemory_policy;  /* enum config_policy; decides what OBJECT FREQ and IDLETIME can say */
    int64_t lfu_log_factor;
    int64_t lfu_decay_time; /* minutes */
    int64_t active_expire_effort;
    int notify_keyspace_events; /* NOTIFY_... classes of shard/event.h */
    int64_t proto_max_bulk_len; /* bytes */
    /* Collections: see struct keyspace_options. */
    int64_t hash_max_listpack_entries, hash_max_listpack_value;
    int64_t set_max_listpack_entries, set_max_listpack_value, set_max_intset_entries;
    int64_t zset_max_listpack_entries, zset_max_listpack_value;
    int64_t list_max_listpack_size, list_compress_depth;
    int64_t stream_node_max_bytes, stream_node_max_entries;
    int64_t hll_sparse_max_bytes;
    bool lazyfree_lazy_expire, lazyfree_lazy_server_del;
    bool lazyfree_lazy_user_del, lazyfree_lazy_user_flush;
    /* Scripts. */
    int64_t busy_reply_threshold; /* ms; 0: no script is slow */
    /* Clients. */
    char *requirepass;     /* "" : none */
    int64_t client_query_buffer_limit; /* bytes */
    struct config_output_limit output_limits[3]; /* normal, replica, pubsub */
    int64_t tracking_table_max_keys; /* 0: no limit */
    int enable_debug_command, enable_protected_configs; /* enum config_debug */
    /* Process. */
    int log_level;
    char *logfile;         /* "" : standard output */
    char *dir;             /* working directory; absolute after config_load */
    /* Persistence: see server/persist/. */
    char *save;            /* pairs of seconds and changes; "": no save points */
    bool save_adds;        /* a line was read: the next adds to it, as with Redis */
    char *dbfilename;
    bool rdbcompression, rdbchecksum, stop_writes_on_bgsave_error;
    int sanitize_dump_payload; /* enum config_sanitize */
    int64_t rdb_key_save_delay, key_load_delay; /* us; below 0: keys a us */
    bool appendonly;
    char *appendfilename, *appenddirname;
    int appendfsync;       /* enum config_sync */
    bool no_appendfsync_on_rewrite;
    int64_t auto_aof_rewrite_percentage, auto_aof_rewrite_min_size; /* bytes */
    bool aof_load_truncated, aof_use_rdb_preamble, aof_timestamp_enabled;
    int64_t shutdown_timeout; /* seconds */
    bool daemonize;        /* only no so far */
};

void config_init(struct config *c); /* the defaults */
void config_deinit(struct config *c);
/* A deep copy. */
void config_copy(struct config *to, const struct config *from);

/* Reads the command line over the values that config_init set: an optional file first, then --name
 * value [value ...] as Redis takes them, `--` options over the file's. "-" as the first or last
 * argument is standard input, read after the file. `include` lines are followed (16 deep), and the
 * process moves to `dir` where it is set, so that later relative paths start there, as with Redis.
 * On a mistake returns false with one message in `error` that names the file and line (or the
 * argument) and the cure; `c` is then good for config_deinit only. --version, -v, --help, -h are
 * main's. */
bool config_load(struct config *c, int argc, char **argv, char *error, size_t error_size);
/* The text of a file, already read. `name` is for messages. Touches nothing outside `c`: `include`
 * is refused, `dir` only kept. Safe on any bytes. */
bool config_parse(struct config *c, struct slice text, const char *name, char *error,
                  size_t error_size);

/* CONFIG SET of `count` name/value pairs (2 * count slices): all or nothing. `changed` receives a
 * copy with the values set; the caller puts it in force. On failure `error` is the reply's text as
 * Redis words it ("ERR CONFIG SET failed (possibly related to argument 'x') - ..."), and there is
 * no `changed` to deinit. `trusted`: protected options (dir, dbfilename) may be set. */
bool config_set(const struct config *current, const struct slice *pairs, uint32_t count,
                bool trusted, struct config *changed, char *error, size_t error_size);
/* Moves the process to `dir` of `c`, and makes that absolute; false with errno. */
bool config_enter_directory(struct config *c);
/* The save points, which config_value_set has checked: the one at *at, which moves on. */
struct config_save_point {
    int64_t seconds, changes;
};
bool config_next_save_point(const char **at, struct config_save_point *point);
/* CONFIG GET: calls visit for each option that a pattern matches, once, values as Redis prints
 * them. `name` is the option's, or the client's spelling where the pattern was a plain name. */
void config_get(const struct config *c, const struct slice *patterns, uint32_t count,
                void (*visit)(void *context, const char *name, const char *value), void *context);
/* The documented file with every option at its default: what conf/lasca.conf must equal. */
void config_write_documented(struct buf *to);
