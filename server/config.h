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
#define CONFIG_INERT_MAX 80

enum config_policy { /* maxmemory-policy */
    POLICY_NOEVICTION, POLICY_ALLKEYS_LRU, POLICY_ALLKEYS_LFU, POLICY_ALLKEYS_RANDOM,
    POLICY_VOLATILE_LRU, POLICY_VOLATILE_LFU, POLICY_VOLATILE_RANDOM, POLICY_VOLATILE_TTL,
};

enum config_log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING, LOG_NOTHING };
enum config_pin { PIN_NO, PIN_YES, PIN_AUTO };
enum config_sync { SYNC_EVERYSEC, SYNC_ALWAYS, SYNC_NO };
enum config_debug { DEBUG_NO, DEBUG_YES, DEBUG_LOCAL };

enum config_channels { ACL_CHANNELS_ALL, ACL_CHANNELS_NONE };
enum config_tls_clients { TLS_CLIENTS_NO, TLS_CLIENTS_YES, TLS_CLIENTS_OPTIONAL };
enum config_supervised { SUPERVISED_NO, SUPERVISED_AUTO, SUPERVISED_SYSTEMD, SUPERVISED_UPSTART };
enum config_oom_adj { OOM_ADJ_NO, OOM_ADJ_RELATIVE, OOM_ADJ_ABSOLUTE };

struct config_output_limit { /* client-output-buffer-limit of one class */
    uint64_t hard;   /* bytes; 0: none */
    uint64_t soft;   /* bytes; 0: none */
    uint64_t soft_s; /* seconds above soft */
};

/* A value in which a zero byte is one as any other. Owned. */
struct config_bytes {
    char *data; /* a zero byte follows */
    size_t size;
};

static inline struct slice config_bytes_slice(const struct config_bytes *b)
{
    return (struct slice){b->data, b->size};
}

/* A value that is only kept and shown: which member it is, its row says. */
union config_inert {
    bool yes;
    int word;
    int64_t number;
    char *text; /* owned */
};

/* The line with the first mistake, as Redis shows it, for what looks for Redis's texts. */
struct config_complaint {
    struct buf place;
    struct buf line;   /* empty: no line is to blame */
    struct buf reason; /* empty: Redis has no text for it */
};

struct config_rename { /* rename-command. All owned. */
    char *from;
    char *to;    /* "": the command is not to be had */
    char *place; /* where that was read, for messages */
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
    char *unixsocket;      /* "": none */
    int64_t unixsocketperm; /* 0: by the umask */
    int64_t socket_mark_id; /* 0: none */
    int io_backend;        /* enum ring_backend of net/ring.h: auto, io_uring, epoll */
    /* Cores. */
    int64_t shards;        /* 0: as many as the CPUs this process may use */
    int pin_cores;         /* enum config_pin */
    /* Data. */
    int64_t databases;
    int64_t maxmemory;     /* bytes; 0: no limit */
    int64_t maxmemory_samples, maxmemory_eviction_tenacity;
    int64_t min_replicas_to_write; /* 0, or writes are refused: there are none */
    int64_t min_replicas_max_lag;  /* seconds; 0: these do not matter */
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
    bool lazyfree_lazy_eviction, lazyfree_lazy_expire, lazyfree_lazy_server_del;
    bool lazyfree_lazy_user_del, lazyfree_lazy_user_flush;
    /* Scripts. */
    int64_t busy_reply_threshold; /* ms; 0: no script is slow */
    /* Clients. */
    int64_t client_query_buffer_limit; /* bytes */
    struct config_output_limit output_limits[3]; /* normal, replica, pubsub */
    int64_t maxmemory_clients; /* bytes; below 0: percent of maxmemory; 0: no limit */
    int64_t tracking_table_max_keys; /* 0: no limit */
    /* Access. */
    struct config_bytes requirepass; /* empty: none */
    char *aclfile;         /* "": none */
    int acl_pubsub_default; /* enum config_channels */
    int64_t acllog_max_len;
    int enable_debug_command, enable_protected_configs; /* enum config_debug */
    int enable_module_command;
    /* TLS. Strings "": none. */
    int64_t tls_port;      /* 0: none */
    char *tls_cert_file, *tls_key_file, *tls_key_file_pass;
    char *tls_client_cert_file, *tls_client_key_file, *tls_client_key_file_pass;
    char *tls_dh_params_file, *tls_ca_cert_file, *tls_ca_cert_dir;
    int tls_auth_clients;  /* enum config_tls_clients */
    char *tls_protocols, *tls_ciphers, *tls_ciphersuites;
    bool tls_prefer_server_ciphers, tls_session_caching;
    int64_t tls_session_cache_size, tls_session_cache_timeout; /* sessions; seconds */
    /* Watching. */
    int64_t slowlog_log_slower_than; /* us; -1: nothing is */
    int64_t slowlog_max_len;
    int64_t latency_monitor_threshold; /* ms; 0: off */
    bool latency_tracking;
    char *latency_tracking_info_percentiles;
    int64_t metrics_port;  /* 0: none */
    char *metrics_bind;
    /* Process. */
    int log_level;
    char *logfile;         /* "" : standard output */
    char *dir;             /* working directory; absolute after config_load */
    /* Persistence: see server/persist/. */
    char *save;            /* pairs of seconds and changes; "": no save points */
    bool save_adds;        /* a line was read: the next adds to it, as with Redis */
    char *dbfilename;
    bool rdbcompression, rdbchecksum, stop_writes_on_bgsave_error;
    int64_t rdb_key_save_delay, key_load_delay; /* us; below 0: keys a us */
    int64_t hz; /* without effect: INFO shows it */
    bool appendonly;
    char *appendfilename, *appenddirname;
    int appendfsync;       /* enum config_sync */
    bool no_appendfsync_on_rewrite;
    int64_t auto_aof_rewrite_percentage, auto_aof_rewrite_min_size; /* bytes */
    bool aof_load_truncated, aof_use_rdb_preamble, aof_timestamp_enabled;
    /* Running. */
    bool daemonize;
    int supervised;        /* enum config_supervised */
    char *pidfile;         /* "": none */
    bool syslog_enabled;
    char *syslog_ident;
    int syslog_facility;   /* as log_syslog.h counts */
    bool crash_log_enabled, always_show_logo, set_proc_title, disable_thp;
    char *proc_title_template;
    int oom_score_adj;     /* enum config_oom_adj */
    char *oom_score_adj_values;
    int64_t watchdog_period; /* ms; 0: off */
    char *shutdown_on_sigint, *shutdown_on_sigterm, *locale_collate, *server_cpulist;
    /* Lines that are no options, in the order read. */
    char **users;          /* "user alice on ...": as they stood there, for acl.c */
    char **user_places;    /* of each "lasca.conf:12" or "command line", for its errors */
    uint32_t user_count;
    struct config_rename *renames;
    uint32_t rename_count;
    /* Without effect here: the values of config_rows_inert.c. */
    union config_inert inert[CONFIG_INERT_MAX];
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
 * argument) and the cure; `c` is then good for config_deinit only. `complaint` may be NULL.
 * --version, -v, --help, -h are main's. */
bool config_load(struct config *c, int argc, char **argv, struct config_complaint *complaint,
                 char *error, size_t error_size);
/* The text of a file, already read. `name` is for messages. Touches nothing outside `c`: `include`
 * is refused, `dir` only kept. Safe on any bytes. */
bool config_parse(struct config *c, struct slice text, const char *name, char *error,
                  size_t error_size);

enum config_setter { /* bits */
    SETTER_TRUSTED = 1 << 0, /* may set protected options: dir, dbfilename */
    SETTER_LOADING = 1 << 1, /* ... but those not that have to wait until the data is loaded */
};

/* CONFIG SET of `count` name/value pairs (2 * count slices): all or nothing. `changed` receives a
 * copy with the values set; the caller puts it in force. On failure `error` is the reply's text as
 * Redis words it ("ERR CONFIG SET failed (possibly related to argument 'x') - ..."), and there is
 * no `changed` to deinit. */
bool config_set(const struct config *current, const struct slice *pairs, uint32_t count,
                enum config_setter who, struct config *changed, char *error, size_t error_size);
/* True where what the option is set to is not to be shown to others: a password. */
bool config_is_secret(struct slice name);
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
/* Calls visit for each option that has no effect here and has neither Redis's default nor, where
 * there is a `before`, the value it had there. */
void config_visit_inert(const struct config *before, const struct config *c,
                        void (*visit)(void *context, const char *name, const char *reason),
                        void *context);
/* CONFIG REWRITE. The text of a file that was `old`, brought up to date: comments and order stay,
 * a line whose option changed is replaced in its place, a line too many goes, what has no line and
 * is not the default is appended, or with `everything` what is, too. `users` are all the user
 * lines there are to be. */
void config_rewrite_text(const struct config *c, struct slice old, struct slice users,
                         bool everything, struct buf *to);
/* ... of the file itself, which is replaced in one step and is durable on return. False with
 * errno. */
bool config_rewrite_file(const struct config *c, struct slice users, bool everything);
/* The documented file with every option at its default: what conf/lasca.conf must equal. */
void config_write_documented(struct buf *to);
/* lasca.conf(5), in mdoc. */
void config_write_manual(struct buf *to);
/* A line an option for shells to complete from: its name, a tab, the words that it takes (or
 * nothing), a tab, a few words on it. */
void config_write_names(struct buf *to);
