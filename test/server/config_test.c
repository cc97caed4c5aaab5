/* The configuration: every type of option from a file, the command line and CONFIG SET, the exact
 * text of mistakes, and conf/lasca.conf, which must be what config_write_documented writes. After a
 * change of the table, LASCA_WRITE_CONF=1 in the environment makes this test write it anew. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/ring.h"
#include "proto/mem.h"
#include "server/config.h"

static char error[CONFIG_ERROR_SIZE];

/* Parses text over the defaults; the caller deinits c where it succeeds. */
static bool parse(struct config *c, const char *text)
{
    config_init(c);
    error[0] = '\0';
    return config_parse(c, slice_of(text), "lasca.conf", error, sizeof error);
}

static void expect_refused(const char *text, const char *message)
{
    struct config c;
    cr_expect(!parse(&c, text), "accepted: %s", text);
    cr_expect_str_eq(error, message);
    config_deinit(&c);
}

/* A command line that ends with NULL, as argv. */
static bool load(struct config *c, ...)
{
    char *argv[32] = {"lasca-server"};
    int argc = 1;
    va_list args;
    va_start(args, c);
    while ((argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    config_init(c);
    error[0] = '\0';
    return config_load(c, argc, argv, NULL, error, sizeof error);
}

#define EXPECT_LOAD_REFUSED(message, ...)                                                          \
    do {                                                                                           \
        struct config refused;                                                                     \
        cr_expect(!load(&refused, __VA_ARGS__, NULL));                                             \
        cr_expect_str_eq(error, message);                                                          \
        config_deinit(&refused);                                                                   \
    } while (0)

struct got {
    uint32_t count;
    char name[64];
    char value[512];
    struct buf all; /* "name value\n" of each */
};

static void visit(void *context, const char *name, const char *value)
{
    struct got *g = context;
    g->count++;
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(g->value, sizeof g->value, "%s", value);
    buf_printf(&g->all, "%s %s\n", name, value);
}

static struct got get(const struct config *c, const char *pattern)
{
    struct got g = {0};
    struct slice s = slice_of(pattern);
    config_get(c, &s, 1, visit, &g);
    return g;
}

static void expect_value(const struct config *c, const char *name, const char *value)
{
    struct got g = get(c, name);
    cr_expect_eq(g.count, 1, "%s", name);
    cr_expect_str_eq(g.value, value, "%s is '%s'", name, g.value);
    buf_deinit(&g.all);
}

/* CONFIG SET of a NULL-terminated list of names and values over the defaults, changed by `base`. */
static bool set(struct config *changed, const char *base, ...)
{
    struct config c;
    cr_assert(parse(&c, base));
    struct slice pairs[16];
    uint32_t n = 0;
    va_list args;
    va_start(args, base);
    for (const char *s; (s = va_arg(args, const char *));)
        pairs[n++] = slice_of(s);
    va_end(args);
    bool ok = config_set(&c, pairs, n / 2, 0, changed, error, sizeof error);
    config_deinit(&c);
    return ok;
}

#define EXPECT_SET_REFUSED(message, ...)                                                           \
    do {                                                                                           \
        struct config refused;                                                                     \
        cr_expect(!set(&refused, "", __VA_ARGS__, NULL));                                          \
        cr_expect_str_eq(error, message);                                                          \
    } while (0)

#define RELATED "ERR CONFIG SET failed (possibly related to argument '"

static char scratch[] = "/tmp/lasca-config-XXXXXX";

static void enter_scratch(void)
{
    cr_assert(mkdtemp(scratch) && chdir(scratch) == 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

static void leave_scratch(void)
{
    if (access(scratch, F_OK) == 0)
        nftw(scratch, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(config, .fini = leave_scratch);

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    cr_assert(f);
    fputs(text, f);
    fclose(f);
}

static const char *source_path(const char *name)
{
    static char path[PATH_MAX];
    const char *root = getenv("LASCA_SOURCE_DIR");
#ifdef SOURCE_DIR
    if (!root)
        root = SOURCE_DIR;
#endif
    snprintf(path, sizeof path, "%s/%s", root ? root : ".", name);
    return path;
}

static void read_whole(const char *path, struct buf *to)
{
    FILE *f = fopen(path, "r");
    cr_assert(f, "%s", path);
    size_t n;
    do {
        n = fread(buf_reserve(to, 4096), 1, 4096, f);
        to->size += n;
    } while (n);
    fclose(f);
}

/* In the table's order. Redis's own are Redis 7.2's, but for lazyfree-* and syslog-ident. */
static const char *const expected[][2] = {
    {"bind", "* -::*"}, {"port", "6379"}, {"protected-mode", "yes"}, {"tcp-backlog", "511"},
    {"tcp-keepalive", "300"}, {"timeout", "0"}, {"maxclients", "10000"}, {"unixsocket", ""},
    {"unixsocketperm", "0"}, {"socket-mark-id", "0"}, {"io-backend", "auto"}, {"shards", "0"},
    {"pin-cores", "auto"}, {"databases", "16"}, {"maxmemory", "0"}, {"maxmemory-samples", "5"},
    {"maxmemory-eviction-tenacity", "10"}, {"maxmemory-policy", "noeviction"},
    {"lfu-log-factor", "10"}, {"lfu-decay-time", "1"}, {"active-expire-effort", "1"},
    {"notify-keyspace-events", ""}, {"proto-max-bulk-len", "536870912"},
    {"hash-max-listpack-entries", "512"}, {"hash-max-ziplist-entries", "512"},
    {"hash-max-listpack-value", "64"}, {"hash-max-ziplist-value", "64"},
    {"set-max-intset-entries", "512"}, {"set-max-listpack-entries", "128"},
    {"set-max-listpack-value", "64"}, {"zset-max-listpack-entries", "128"},
    {"zset-max-ziplist-entries", "128"}, {"zset-max-listpack-value", "64"},
    {"zset-max-ziplist-value", "64"}, {"list-max-listpack-size", "-2"},
    {"list-max-ziplist-size", "-2"}, {"list-compress-depth", "0"},
    {"stream-node-max-bytes", "4096"}, {"stream-node-max-entries", "100"},
    {"hll-sparse-max-bytes", "3000"}, {"lazyfree-lazy-eviction", "yes"},
    {"lazyfree-lazy-expire", "yes"}, {"lazyfree-lazy-server-del", "yes"},
    {"lazyfree-lazy-user-del", "yes"}, {"lazyfree-lazy-user-flush", "yes"},
    {"busy-reply-threshold", "5000"}, {"lua-time-limit", "5000"},
    {"client-query-buffer-limit", "1073741824"},
    {"client-output-buffer-limit",
     "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"},
    {"maxmemory-clients", "0"}, {"tracking-table-max-keys", "1000000"}, {"loglevel", "notice"},
    {"logfile", ""}, {"dir", "./"}, {"save", "3600 1 300 100 60 10000"},
    {"dbfilename", "dump.rdb"}, {"rdbcompression", "yes"}, {"rdbchecksum", "yes"},
    {"stop-writes-on-bgsave-error", "yes"}, {"appendonly", "no"},
    {"appendfilename", "appendonly.aof"}, {"appenddirname", "appendonlydir"},
    {"appendfsync", "everysec"}, {"no-appendfsync-on-rewrite", "no"},
    {"auto-aof-rewrite-percentage", "100"}, {"auto-aof-rewrite-min-size", "67108864"},
    {"aof-load-truncated", "yes"}, {"aof-use-rdb-preamble", "yes"},
    {"aof-timestamp-enabled", "no"}, {"tls-port", "0"}, {"tls-cert-file", ""},
    {"tls-key-file", ""}, {"tls-key-file-pass", ""}, {"tls-client-cert-file", ""},
    {"tls-client-key-file", ""}, {"tls-client-key-file-pass", ""}, {"tls-dh-params-file", ""},
    {"tls-ca-cert-file", ""}, {"tls-ca-cert-dir", ""}, {"tls-auth-clients", "yes"},
    {"tls-protocols", ""}, {"tls-ciphers", ""}, {"tls-ciphersuites", ""},
    {"tls-prefer-server-ciphers", "no"}, {"tls-session-caching", "yes"},
    {"tls-session-cache-size", "20480"}, {"tls-session-cache-timeout", "300"},
    {"requirepass", ""}, {"aclfile", ""}, {"acl-pubsub-default", "resetchannels"},
    {"acllog-max-len", "128"}, {"enable-debug-command", "no"},
    {"enable-protected-configs", "no"}, {"enable-module-command", "no"},
    {"slowlog-log-slower-than", "10000"}, {"slowlog-max-len", "128"},
    {"latency-monitor-threshold", "0"}, {"latency-tracking", "yes"},
    {"latency-tracking-info-percentiles", "50 99 99.9"}, {"metrics-port", "0"},
    {"metrics-bind", "127.0.0.1 -::1"}, {"daemonize", "no"}, {"supervised", "no"},
    {"pidfile", ""}, {"syslog-enabled", "no"}, {"syslog-ident", "lasca"},
    {"syslog-facility", "local0"}, {"crash-log-enabled", "yes"}, {"always-show-logo", "no"},
    {"set-proc-title", "yes"}, {"proc-title-template", "{title} {listen-addr} {server-mode}"},
    {"oom-score-adj", "no"}, {"oom-score-adj-values", "0 200 800"}, {"disable-thp", "yes"},
    {"shutdown-on-sigint", "default"}, {"shutdown-on-sigterm", "default"},
    {"locale-collate", ""}, {"server-cpulist", ""}, {"server_cpulist", ""},
    {"io-threads", "1"}, {"io-threads-do-reads", "no"}, {"hz", "10"}, {"dynamic-hz", "yes"},
    {"activerehashing", "yes"}, {"jemalloc-bg-thread", "yes"}, {"activedefrag", "no"},
    {"active-defrag-ignore-bytes", "104857600"}, {"active-defrag-threshold-lower", "10"},
    {"active-defrag-threshold-upper", "100"}, {"active-defrag-cycle-min", "1"},
    {"active-defrag-cycle-max", "25"}, {"active-defrag-max-scan-fields", "1000"},
    {"rdb-save-incremental-fsync", "yes"}, {"aof-rewrite-incremental-fsync", "yes"},
    {"sanitize-dump-payload", "no"}, {"bio_cpulist", ""}, {"aof_rewrite_cpulist", ""},
    {"bgsave_cpulist", ""}, {"replicaof", ""}, {"slaveof", ""}, {"masterauth", ""},
    {"masteruser", ""}, {"replica-serve-stale-data", "yes"}, {"slave-serve-stale-data", "yes"},
    {"replica-read-only", "yes"}, {"slave-read-only", "yes"}, {"replica-priority", "100"},
    {"slave-priority", "100"}, {"replica-announced", "yes"}, {"replica-announce-ip", ""},
    {"slave-announce-ip", ""}, {"replica-announce-port", "0"}, {"slave-announce-port", "0"},
    {"replica-ignore-maxmemory", "yes"}, {"slave-ignore-maxmemory", "yes"},
    {"replica-lazy-flush", "no"}, {"slave-lazy-flush", "no"},
    {"replica-ignore-disk-write-errors", "no"}, {"repl-diskless-sync", "yes"},
    {"repl-diskless-sync-delay", "5"}, {"repl-diskless-sync-max-replicas", "0"},
    {"repl-diskless-load", "disabled"}, {"repl-ping-replica-period", "10"},
    {"repl-ping-slave-period", "10"}, {"repl-timeout", "60"},
    {"repl-disable-tcp-nodelay", "no"}, {"repl-backlog-size", "1048576"},
    {"repl-backlog-ttl", "3600"}, {"min-replicas-to-write", "0"}, {"min-slaves-to-write", "0"},
    {"min-replicas-max-lag", "10"}, {"min-slaves-max-lag", "10"},
    {"propagation-error-behavior", "ignore"}, {"rdb-del-sync-files", "no"},
    {"tls-replication", "no"}, {"bind-source-addr", ""}, {"shutdown-timeout", "10"},
    {"cluster-enabled", "no"}, {"cluster-config-file", "nodes.conf"},
    {"cluster-node-timeout", "15000"}, {"cluster-port", "0"},
    {"cluster-migration-barrier", "1"}, {"cluster-allow-replica-migration", "yes"},
    {"cluster-replica-validity-factor", "10"}, {"cluster-slave-validity-factor", "10"},
    {"cluster-replica-no-failover", "no"}, {"cluster-slave-no-failover", "no"},
    {"cluster-require-full-coverage", "yes"}, {"cluster-allow-reads-when-down", "no"},
    {"cluster-allow-pubsubshard-when-down", "yes"}, {"cluster-link-sendbuf-limit", "0"},
    {"cluster-announce-ip", ""}, {"cluster-announce-hostname", ""},
    {"cluster-announce-human-nodename", ""}, {"cluster-announce-port", "0"},
    {"cluster-announce-tls-port", "0"}, {"cluster-announce-bus-port", "0"},
    {"cluster-preferred-endpoint-type", "ip"}, {"tls-cluster", "no"},
    {"crash-memcheck-enabled", "yes"}, {"ignore-warnings", ""},
};

Test(config, defaults_are_those_of_redis)
{
    struct config c;
    config_init(&c);
    uint32_t count = sizeof expected / sizeof expected[0];
    for (uint32_t i = 0; i < count; i++)
        expect_value(&c, expected[i][0], expected[i][1]);
    struct got all = get(&c, "*");
    cr_expect_eq(all.count, count, "an option is not in this list");
    buf_deinit(&all.all);
    cr_expect_null(c.config_file);
    expect_value(&c, "rdb-key-save-delay", "0"); /* of these, only by name */
    expect_value(&c, "key-load-delay", "0");
    config_deinit(&c);
}

Test(config, documented_file_is_current)
{
    struct buf text, file;
    buf_init(&text);
    buf_init(&file);
    config_write_documented(&text);
    const char *path = source_path("conf/lasca.conf");
    if (getenv("LASCA_WRITE_CONF")) {
        FILE *f = fopen(path, "w");
        cr_assert(f && fwrite(text.data, 1, text.size, f) == text.size && fclose(f) == 0);
    }
    read_whole(path, &file);
    cr_expect(slice_equal(buf_slice(&text), buf_slice(&file)),
              "conf/lasca.conf differs: run this test with LASCA_WRITE_CONF=1");
    buf_deinit(&text);
    buf_deinit(&file);
}

#define ALIAS_COUNT 20 /* older names of options, which the file leaves out */

Test(config, documented_file_sets_every_option_to_its_default)
{
    struct config initial, read;
    config_init(&initial);
    struct buf file;
    buf_init(&file);
    read_whole(source_path("conf/lasca.conf"), &file);
    buf_append(&file, "", 1);
    cr_assert(parse(&read, file.data), "%s", error);
    struct got a = get(&initial, "*"), b = get(&read, "*");
    cr_expect(slice_equal(buf_slice(&a.all), buf_slice(&b.all)));
    size_t lines = 0;
    for (char *line = strtok(file.data, "\n"); line; line = strtok(NULL, "\n"))
        lines += line[0] != '#';
    cr_expect_eq(lines + ALIAS_COUNT, a.count);
    buf_deinit(&a.all);
    buf_deinit(&b.all);
    buf_deinit(&file);
    config_deinit(&initial);
    config_deinit(&read);
}

Test(config, documented_lines_fit_a_terminal)
{
    struct buf text;
    buf_init(&text);
    config_write_documented(&text);
    buf_append(&text, "", 1);
    for (char *line = strtok(text.data, "\n"); line; line = strtok(NULL, "\n"))
        cr_expect(strlen(line) <= 82, "%s", line);
    buf_deinit(&text);
}

Test(config, file_sets_every_type)
{
    struct config c;
    cr_assert(parse(&c, "# comment\n"
                        "\n"
                        "   \t\n"
                        "  PORT 7000\r\n"
                        "Protected-Mode NO\n"
                        "proto-max-bulk-len 2MB\n"
                        "maxmemory-policy allkeys-lfu\n"
                        "io-backend epoll\n"
                        "requirepass hush#hush # not a comment? it is two words more\n") == false);
    cr_expect_str_eq(error, "lasca.conf:9: requirepass wants one value, got 10");
    config_deinit(&c);
    cr_assert(parse(&c, "  PORT 7000\r\n"
                        "Protected-Mode NO\n"
                        "proto-max-bulk-len 2MB\n"
                        "maxmemory-policy allkeys-lfu\n"
                        "io-backend epoll\n"
                        "bind 127.0.0.1 -::1 \"10.0.0.1\"\n"
                        "client-output-buffer-limit replica 1kb 1k 5\n"
                        "client-output-buffer-limit \"normal 1 2 3 pubsub 4 5 6\"\n"
                        "enable-debug-command Local\n"
                        "loglevel nothing\n"
                        "dir /nowhere\n"
                        "save \"\"\n"
                        "requirepass hush#hush"), "%s", error);
    cr_expect_eq(c.port, 7000);
    cr_expect_not(c.protected_mode);
    cr_expect_eq(c.proto_max_bulk_len, 2 << 20);
    cr_expect_eq(c.maxmemory_policy, POLICY_ALLKEYS_LFU);
    cr_expect_eq(c.io_backend, RING_EPOLL);
    cr_expect_eq(c.bind_count, 3);
    cr_expect_str_eq(c.bind[1], "-::1");
    cr_expect_eq(c.enable_debug_command, DEBUG_LOCAL);
    cr_expect_eq(c.log_level, LOG_NOTHING);
    cr_expect_str_eq(c.dir, "/nowhere");
    cr_expect_str_eq(c.requirepass.data, "hush#hush");
    expect_value(&c, "client-output-buffer-limit", "normal 1 2 3 slave 1024 1000 5 pubsub 4 5 6");
    expect_value(&c, "bind", "127.0.0.1 -::1 10.0.0.1");
    config_deinit(&c);
}

Test(config, last_of_several_values_counts)
{
    struct config c;
    cr_assert(parse(&c, "port 1\nport 2\nbind a b\nbind c\nrequirepass x\nrequirepass y\n"));
    cr_expect_eq(c.port, 2);
    expect_value(&c, "bind", "c");
    cr_expect_str_eq(c.requirepass.data, "y");
    config_deinit(&c);
}

Test(config, bind_may_be_empty)
{
    struct config c;
    cr_assert(parse(&c, "bind \"\"\n"));
    cr_expect_eq(c.bind_count, 0);
    expect_value(&c, "bind", "");
    config_deinit(&c);
}

Test(config, quotes_and_escapes_are_undone)
{
    const char *cases[][2] = {
        {"\"a b\"", "a b"}, {"'a b'", "a b"}, {"\"\"", ""}, {"''", ""}, {"\"a\\\"b\"", "a\"b"},
        {"'a\\'b'", "a'b"}, {"'a\\nb'", "a\\nb"}, {"\"a\\nb\\tc\\rd\"", "a\nb\tc\rd"},
        {"\"\\x41\\x6a\"", "Aj"}, {"\"\\xzz\"", "xzz"}, {"\"\\q\\\\\"", "q\\"}, {"a\\nb", "a\\nb"},
        {"pre\"fix d\"", "prefix d"}, {"#", "#"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[128];
        snprintf(line, sizeof line, "requirepass %s\n", cases[i][0]);
        struct config c;
        cr_assert(parse(&c, line), "%s", error);
        cr_expect_str_eq(c.requirepass.data, cases[i][1]);
        config_deinit(&c);
    }
}

Test(config, unbalanced_quotes_are_refused)
{
    const char *message =
        "lasca.conf:2: unbalanced quotes: a value in quotes must end with one, before a blank";
    expect_refused("port 1\nrequirepass \"abc\n", message);
    expect_refused("port 1\nrequirepass 'abc\n", message);
    expect_refused("port 1\nrequirepass \"abc\"d\n", message);
    expect_refused("port 1\nrequirepass \"abc\\\"\n", message);
    expect_refused("port 1\nrequirepass \"abc\\", message);
    expect_refused("bind \"'a b\"\n", "lasca.conf:1: bind: unbalanced quotes within its value");
}

Test(config, unknown_options_get_a_suggestion)
{
    expect_refused("\n\n\n\n\n\n\n\n\n\n\nprot 7000\n",
                   "lasca.conf:12: unknown option 'prot': did you mean 'port'?");
    expect_refused("MaxClient 1\n",
                   "lasca.conf:1: unknown option 'MaxClient': did you mean 'maxclients'?");
    expect_refused("bnid *\n", "lasca.conf:1: unknown option 'bnid': did you mean 'bind'?");
    expect_refused("ibdn *\n", "lasca.conf:1: unknown option 'ibdn': did you mean 'bind'?");
    expect_refused("client-output-bufer-limits normal 0 0 0",
                   "lasca.conf:1: unknown option 'client-output-bufer-limits': did you mean "
                   "'client-output-buffer-limit'?");
    expect_refused("gopher 10\n",
                   "lasca.conf:1: unknown option 'gopher': conf/lasca.conf lists those there are");
    expect_refused("port=7000\n", "lasca.conf:1: unknown option 'port=7000': write port 7000");
    expect_refused("\"\" 1\n", "lasca.conf:1: unknown option '': conf/lasca.conf lists those there "
                               "are");
}

Test(config, long_names_are_cut_and_control_characters_masked)
{
    char line[600];
    memset(line, 'x', sizeof line);
    line[599] = '\0';
    struct config c;
    cr_expect_not(parse(&c, line));
    cr_expect(strlen(error) < 200);
    config_deinit(&c);
    expect_refused("\"\\x1b[31m\" 1\n", "lasca.conf:1: unknown option '?[31m': conf/lasca.conf "
                                        "lists those there are");
}

Test(config, bad_values_say_what_is_wanted)
{
    expect_refused("\n\n\n\n\n\nport 70000\n",
                   "lasca.conf:7: port 70000 is not between 0 and 65535");
    expect_refused("port -1\n", "lasca.conf:1: port -1 is not between 0 and 65535");
    expect_refused("maxclients 0\n", "lasca.conf:1: maxclients 0 is not between 1 and 4294967295");
    expect_refused("timeout 1.5\n", "lasca.conf:1: timeout wants a number, got '1.5'");
    expect_refused("port 99999999999999999999\n",
                   "lasca.conf:1: port wants a number, got '99999999999999999999'");
    expect_refused("pin-cores maybe\n",
                   "lasca.conf:1: pin-cores 'maybe' is not one of no, yes, auto");
    expect_refused("proto-max-bulk-len lots\n",
                   "lasca.conf:1: proto-max-bulk-len wants a size such as 512mb, got 'lots'");
    expect_refused("proto-max-bulk-len 1kb\n", "lasca.conf:1: proto-max-bulk-len 1kb is not "
                                               "between 1048576 and 9223372036854775807");
    expect_refused("loglevel loud\n", "lasca.conf:1: loglevel 'loud' is not one of debug, verbose, "
                                      "notice, warning, nothing");
    expect_refused("port\n", "lasca.conf:1: port wants a value");
    expect_refused("bind\n", "lasca.conf:1: bind wants a value");
    expect_refused("port 1 2\n", "lasca.conf:1: port wants one value, got 2");
    expect_refused("bind 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7\n",
                   "lasca.conf:1: bind takes at most 16 addresses, got 17");
    expect_refused("bind 127.0.0.1 \"a b\"\n", "lasca.conf:1: bind: 'a b' is not an address");
    expect_refused("bind 127.0.0.1 \"\"\n", "lasca.conf:1: bind: '' is not an address");
    expect_refused("bind ::1 \"a'b\"\n", "lasca.conf:1: bind: 'a'b' is not an address");
    expect_refused("masterauth \"a\\x00b\"\n",
                   "lasca.conf:1: masterauth: a value may not contain a zero byte");
}

Test(config, bad_output_limits_say_what_is_wanted)
{
    expect_refused("client-output-buffer-limit normal 0 0\n",
                   "lasca.conf:1: client-output-buffer-limit wants groups of four values: class, "
                   "hard limit, soft limit, soft seconds");
    expect_refused("client-output-buffer-limit master 0 0 0\n",
                   "lasca.conf:1: client-output-buffer-limit: 'master' is not normal, replica or "
                   "pubsub");
    expect_refused("client-output-buffer-limit normal 0 x 0\n",
                   "lasca.conf:1: client-output-buffer-limit: 'x' is neither a size such as 32mb "
                   "nor a number of seconds");
    expect_refused("client-output-buffer-limit normal 0 0 -1\n",
                   "lasca.conf:1: client-output-buffer-limit: '-1' is neither a size such as 32mb "
                   "nor a number of seconds");
}

Test(config, what_this_version_lacks_is_said_plainly)
{
    expect_refused("replicaof 10.0.0.1 6379\n",
                   "lasca.conf:1: replicaof '10.0.0.1 6379': this server cannot be a replica: "
                   "leave the line out, and to take over data load an RDB or AOF file of that "
                   "server; use replicaof no one");
    expect_refused("cluster-enabled yes\n",
                   "lasca.conf:1: cluster-enabled 'yes': there is no cluster mode in this version: "
                   "one port serves all keys, on all cores; use cluster-enabled no");
    expect_refused("loadmodule /usr/lib/redis/modules/x.so\n",
                   "lasca.conf:1: loadmodule: this server has no modules: remove the line, and "
                   "what needs it");
    expect_refused("sentinel monitor a 127.0.0.1 6379 2\n",
                   "lasca.conf:1: sentinel directive while not in sentinel mode: this is "
                   "redis-sentinel's file, which redis-sentinel reads");
    struct config c;
    cr_expect(parse(&c, "slaveof no one\ncluster-enabled no\nlist-max-ziplist-entries 9\n"
                        "lua-replicate-commands no\n"), "%s", error);
    expect_value(&c, "replicaof", "");
    config_deinit(&c);
}

static void expect_save(const char *text, const char *points)
{
    struct config c;
    cr_assert(parse(&c, text), "%s", error);
    expect_value(&c, "save", points);
    config_deinit(&c);
}

Test(config, save_points_of_several_lines_add_up)
{
    expect_save("save 900 1\n", "900 1");
    expect_save("save 900 1\nsave 60 0\n", "900 1 60 0");
    expect_save("save \"900 1 300 10\"\nsave 60 7\n", "900 1 300 10 60 7");
    expect_save("save 900 1\nsave \"\"\n", "");
    expect_save("save 900 1\nsave \"\"\nsave 5 6\n", "5 6");
    const char *why = "lasca.conf:1: save wants pairs of seconds and changes such as 3600 1 300 "
                      "100, or \"\"";
    expect_refused("save 900\n", why);
    expect_refused("save 0 1\n", why);
    expect_refused("save 900 -1\n", why);
    expect_refused("save 900 x\n", why);
    expect_refused("save 900 4294967296\n", why);
}

Test(config, save_points_are_told_one_by_one)
{
    const char *at = "900 1 60 10000";
    struct config_save_point p;
    cr_assert(config_next_save_point(&at, &p));
    cr_expect(p.seconds == 900 && p.changes == 1);
    cr_assert(config_next_save_point(&at, &p));
    cr_expect(p.seconds == 60 && p.changes == 10000);
    cr_expect_not(config_next_save_point(&at, &p));
}

Test(config, names_of_files_are_no_paths)
{
    expect_refused("dbfilename a/b\n", "lasca.conf:1: dbfilename 'a/b' is a path: give a name "
                                       "alone, and the directory as dir");
    expect_refused("appendfilename ../b\n", "lasca.conf:1: appendfilename '../b' is a path: give a "
                                            "name alone, and the directory as dir");
    expect_refused("appenddirname \"\"\n", "lasca.conf:1: appenddirname wants a name");
    struct config c, changed;
    config_init(&c);
    struct slice pairs[] = {SLICE("dbfilename"), SLICE("a/b")};
    cr_expect_not(config_set(&c, pairs, 1, true, &changed, error, sizeof error));
    cr_expect_str_eq(error, RELATED "dbfilename') - dbfilename can't be a path, just a filename");
    pairs[1] = SLICE("other.rdb");
    cr_assert(config_set(&c, pairs, 1, true, &changed, error, sizeof error), "%s", error);
    cr_expect_str_eq(changed.dbfilename, "other.rdb");
    config_deinit(&changed);
    config_deinit(&c);
}

Test(config, parse_touches_no_file)
{
    expect_refused("include /etc/passwd\n", "lasca.conf:1: include is not possible here");
    struct config c;
    cr_assert(parse(&c, "dir /definitely/not/there\n"));
    config_deinit(&c);
}

Test(config, no_arguments_mean_the_defaults)
{
    struct config c;
    enter_scratch();
    cr_assert(load(&c, NULL));
    cr_expect_eq(c.port, 6379);
    cr_expect_null(c.config_file);
    cr_expect_eq(c.dir[0], '/', "dir is absolute");
    config_deinit(&c);
}

Test(config, command_line_overrules_the_file)
{
    struct config c;
    char path[PATH_MAX];
    enter_scratch();
    write_file("a.conf", "port 1\nmaxclients 5\n");
    cr_assert(load(&c, "./a.conf", "--port", "2", "--bind", "127.0.0.1", "::1", "--dir", "/",
                   "--save", "", "--appendonly", "no", NULL), "%s", error);
    cr_expect_eq(c.port, 2);
    cr_expect_eq(c.maxclients, 5);
    cr_expect_eq(c.bind_count, 2);
    cr_expect_str_eq(c.dir, "/");
    snprintf(path, sizeof path, "%s/a.conf", scratch);
    cr_expect_str_eq(c.config_file, path);
    config_deinit(&c);
}

Test(config, command_line_takes_the_forms_that_redis_takes)
{
    struct config c;
    cr_assert(load(&c, "--port 7001", "--save", "--client-output-buffer-limit normal 1 2 3",
                   "--bind", "1.1.1.1 2.2.2.2", "--LogLevel", "debug", NULL), "%s", error);
    cr_expect_eq(c.port, 7001);
    cr_expect_eq(c.output_limits[0].hard, 1);
    cr_expect_eq(c.bind_count, 2);
    cr_expect_eq(c.log_level, LOG_DEBUG);
    config_deinit(&c);
    cr_assert(load(&c, "--requirepass", "--looks-like-one", "--port", "1", "--save", NULL));
    cr_expect_str_eq(c.requirepass.data, "--looks-like-one");
    cr_expect_eq(c.port, 1);
    config_deinit(&c);
    cr_assert(load(&c, "--requirepass", "", "--logfile", "\"quoted\"", NULL));
    cr_expect_str_eq(c.requirepass.data, "");
    cr_expect_str_eq(c.logfile, "\"quoted\"", "a value of its own is taken as it stands");
    config_deinit(&c);
}

Test(config, mistakes_on_the_command_line_name_it)
{
    EXPECT_LOAD_REFUSED("command line: --maxclients wants a number, got 'many'", "--maxclients",
                        "many");
    EXPECT_LOAD_REFUSED("command line: --port 70000 is not between 0 and 65535", "--port", "70000");
    EXPECT_LOAD_REFUSED("command line: unknown option '--port=7000': write --port 7000",
                        "--port=7000");
    EXPECT_LOAD_REFUSED("command line: unknown option '--prot': did you mean '--port'?", "--prot",
                        "1");
    EXPECT_LOAD_REFUSED("command line: --port wants a value", "--port");
    EXPECT_LOAD_REFUSED("command line: --port wants one value, got 2", "--port", "1", "2");
    EXPECT_LOAD_REFUSED("command line: '-p' is not an option: write --name value", "-p", "7000");
    EXPECT_LOAD_REFUSED("command line: '--' names no option: write --name value", "--", "1");
    EXPECT_LOAD_REFUSED("command line: --save wants pairs of seconds and changes such as 3600 1 "
                        "300 100, or \"\"", "--save", "900");
    EXPECT_LOAD_REFUSED("command line: cannot open 'no.conf': No such file or directory: name a "
                        "configuration that is there",
                        "no.conf");
    EXPECT_LOAD_REFUSED("command line: cannot open 'port': No such file or directory: for the "
                        "option write --port VALUE",
                        "port", "1");
    EXPECT_LOAD_REFUSED("command line: --dir '/not/there': No such file or directory: create it, "
                        "or name another directory",
                        "--dir", "/not/there");
    EXPECT_LOAD_REFUSED("command line: cannot read '/': Is a directory: name a file in it", "/");
}

Test(config, mistakes_in_a_file_name_it_and_the_line)
{
    enter_scratch();
    write_file("a.conf", "port 1\nprot 2\n");
    EXPECT_LOAD_REFUSED("a.conf:2: unknown option 'prot': did you mean 'port'?", "a.conf");
}

Test(config, standard_input_is_read_between_file_and_options)
{
    struct config c;
    enter_scratch();
    write_file("a.conf", "port 1\ntimeout 1\nmaxclients 1\n");
    write_file("in.conf", "port 2\ntimeout 2\n");
    for (int i = 0; i < 2; i++) {
        int fd = open("in.conf", O_RDONLY);
        cr_assert(fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
        cr_assert(i ? load(&c, "-", "--port", "3", NULL)
                    : load(&c, "a.conf", "--port", "3", "-", NULL), "%s", error);
        cr_expect_eq(c.port, 3);
        cr_expect_eq(c.timeout, 2);
        cr_expect_eq(c.maxclients, i ? 10000 : 1);
        cr_expect_eq(c.config_file == NULL, i == 1);
        config_deinit(&c);
        close(fd);
    }
}

Test(config, includes_are_read_in_place)
{
    struct config c;
    enter_scratch();
    mkdir("sub", 0700);
    write_file("a.conf", "port 1\ninclude sub/b.conf\ntimeout 9\n");
    write_file("sub/b.conf", "port 2\ntimeout 8\ninclude sub/c.conf\n");
    write_file("sub/c.conf", "maxclients 7\n");
    cr_assert(load(&c, "a.conf", NULL), "%s", error);
    cr_expect_eq(c.port, 2);
    cr_expect_eq(c.timeout, 9);
    cr_expect_eq(c.maxclients, 7, "paths start from the working directory, not from the file");
    config_deinit(&c);
    cr_assert(load(&c, "--include", "sub/?.conf", "--include", "none/*.conf", NULL), "%s", error);
    cr_expect_eq(c.maxclients, 7);
    config_deinit(&c);
    write_file("d.conf", "dir sub\ninclude c.conf\n");
    cr_assert(load(&c, "d.conf", NULL), "%s", error);
    cr_expect_eq(c.maxclients, 7, "a later path starts from the new directory");
    config_deinit(&c);
}

Test(config, includes_that_fail_say_where)
{
    enter_scratch();
    write_file("a.conf", "\ninclude missing.conf\n");
    EXPECT_LOAD_REFUSED("a.conf:2: cannot open 'missing.conf': No such file or directory: name a "
                        "configuration that is there",
                        "a.conf");
    write_file("b.conf", "include c.conf\n");
    write_file("c.conf", "\n\nport x\n");
    EXPECT_LOAD_REFUSED("c.conf:3: port wants a number, got 'x'", "b.conf");
    write_file("d.conf", "include d.conf\n");
    EXPECT_LOAD_REFUSED("d.conf:1: include 'd.conf': more than 16 files deep: does a file include "
                        "itself?", "d.conf");
    EXPECT_LOAD_REFUSED("command line: --include wants one path, got 2", "--include", "a", "b");
    EXPECT_LOAD_REFUSED("command line: '/dev/zero' is larger than 16777216 bytes: is it a "
                        "configuration?", "/dev/zero");
}

Test(config, set_changes_a_copy)
{
    struct config changed;
    cr_assert(set(&changed, "requirepass old\nport 7\n", "REQUIREPASS", "new", "timeout", "5",
                  "protected-mode", "no", "proto-max-bulk-len", "2gb", "maxmemory-policy",
                  "volatile-ttl", "client-output-buffer-limit", "replica 1kb 2 3", NULL),
              "%s", error);
    cr_expect_str_eq(changed.requirepass.data, "new");
    cr_expect_eq(changed.timeout, 5);
    cr_expect_eq(changed.port, 7);
    cr_expect_not(changed.protected_mode);
    expect_value(&changed, "proto-max-bulk-len", "2147483648");
    expect_value(&changed, "maxmemory-policy", "volatile-ttl");
    expect_value(&changed, "client-output-buffer-limit",
                 "normal 0 0 0 slave 1024 2 3 pubsub 33554432 8388608 60");
    config_deinit(&changed);
    cr_assert(set(&changed, "", "client-output-buffer-limit", "", "save", "", "appendonly", "no",
                  NULL));
    cr_expect_str_eq(changed.save, "");
    config_deinit(&changed);
    cr_assert(set(&changed, "save 5 6\n", "save", "900 1 300 10", NULL));
    cr_expect_str_eq(changed.save, "900 1 300 10", "CONFIG SET does not add");
    config_deinit(&changed);
}

Test(config, set_is_all_or_nothing)
{
    struct config c, changed;
    config_init(&c);
    struct slice pairs[] = {SLICE("timeout"), SLICE("5"), SLICE("tcp-keepalive"), SLICE("x")};
    cr_expect_not(config_set(&c, pairs, 2, 0, &changed, error, sizeof error));
    cr_expect_str_eq(error, RELATED "tcp-keepalive') - argument couldn't be parsed into an "
                                    "integer");
    cr_expect_eq(c.timeout, 0);
    config_deinit(&c);
}

Test(config, set_refuses_in_the_words_of_redis)
{
    EXPECT_SET_REFUSED("ERR Unknown option or number of arguments for CONFIG SET - 'Nope'", "Nope",
                       "1", "port", "1");
    EXPECT_SET_REFUSED(RELATED "Databases') - can't set immutable config", "Databases", "1",
                       "nope", "1");
    EXPECT_SET_REFUSED(RELATED "databases') - can't set immutable config", "databases", "1");
    EXPECT_SET_REFUSED(RELATED "dir') - can't set protected config", "dir", "/");
    EXPECT_SET_REFUSED(RELATED "TIMEOUT') - duplicate parameter", "timeout", "1", "TIMEOUT", "1");
    EXPECT_SET_REFUSED(RELATED "timeout') - argument must be between 0 and 2147483647 inclusive",
                       "TimeOut", "-1");
    EXPECT_SET_REFUSED(RELATED "maxclients') - argument must be between 1 and 4294967295 inclusive",
                       "maxclients", "-1");
    EXPECT_SET_REFUSED(RELATED "timeout') - argument couldn't be parsed into an integer", "timeout",
                       "1 2");
    EXPECT_SET_REFUSED(RELATED "proto-max-bulk-len') - argument must be a memory value",
                       "proto-max-bulk-len", "-1");
    EXPECT_SET_REFUSED(RELATED "proto-max-bulk-len') - argument must be between 1048576 and "
                       "9223372036854775807 inclusive", "proto-max-bulk-len", "1");
    EXPECT_SET_REFUSED(RELATED "protected-mode') - argument must be 'yes' or 'no'",
                       "protected-mode", "x");
    EXPECT_SET_REFUSED(RELATED "loglevel') - argument(s) must be one of the following: debug, "
                       "verbose, notice, warning, nothing", "loglevel", "x");
}

Test(config, set_refuses_several_words_as_redis_does)
{
    EXPECT_SET_REFUSED(RELATED "client-output-buffer-limit') - Wrong number of arguments in buffer "
                       "limit configuration.", "client-output-buffer-limit", "normal  0 0 0");
    EXPECT_SET_REFUSED(RELATED "client-output-buffer-limit') - Invalid client class specified in "
                       "buffer limit configuration.", "client-output-buffer-limit", "foo 1 1 1");
    EXPECT_SET_REFUSED(RELATED "client-output-buffer-limit') - Error in hard, soft or soft_seconds "
                       "setting in buffer limit configuration.", "client-output-buffer-limit",
                       "normal 1 1 -1");
    EXPECT_SET_REFUSED(RELATED "save') - Invalid save parameters", "save", "900");
    EXPECT_SET_REFUSED(RELATED "dbfilename') - can't set protected config", "dbfilename", "x");
}

Test(config, get_matches_patterns_once)
{
    struct config c;
    config_init(&c);
    struct got g = {0};
    struct slice patterns[] = {SLICE("TCP-*"), SLICE("tcp-backlog"), SLICE("PoRt"), SLICE("port"),
                               SLICE("nope"), SLICE("")};
    config_get(&c, patterns, 6, visit, &g);
    buf_append(&g.all, "", 1);
    cr_expect_str_eq(g.all.data, "PoRt 6379\ntcp-backlog 511\ntcp-keepalive 300\n");
    buf_deinit(&g.all);
    g = get(&c, "p[ho]rt");
    cr_expect_str_eq(g.name, "port");
    buf_deinit(&g.all);
    config_deinit(&c);
}

Test(config, copy_is_deep)
{
    struct config a, b;
    cr_assert(parse(&a, "bind x y\nrequirepass one\n"));
    a.config_file = mem_alloc(2);
    strcpy(a.config_file, "f");
    config_copy(&b, &a);
    struct got of_a = get(&a, "*");
    config_deinit(&a);
    struct got of_b = get(&b, "*");
    cr_expect(slice_equal(buf_slice(&of_a.all), buf_slice(&of_b.all)));
    cr_expect_str_eq(b.config_file, "f");
    buf_deinit(&of_a.all);
    buf_deinit(&of_b.all);
    config_deinit(&b);
}
