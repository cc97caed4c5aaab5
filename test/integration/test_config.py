"""The configuration: files of Redis as they are, what is written back into them, commands under
other names, options without effect."""

import os
import subprocess

import pytest

from harness import (BACKEND, BINARY, SHARDS, Closed, Raw, ReplyError, Server, environment,
                     run_to_end)

DEBIAN_FILE = "/etc/redis/redis.conf"

# What the files that come with Redis say, comments apart: facts, one a line.
COMMON = """
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize no
pidfile /var/run/redis_6379.pid
loglevel notice
logfile ""
databases 16
always-show-logo no
set-proc-title yes
proc-title-template "{title} {listen-addr} {server-mode}"
stop-writes-on-bgsave-error yes
rdbcompression yes
rdbchecksum yes
dbfilename dump.rdb
rdb-del-sync-files no
dir ./
replica-serve-stale-data yes
replica-read-only yes
repl-diskless-sync-delay 5
repl-diskless-load disabled
repl-disable-tcp-nodelay no
replica-priority 100
acllog-max-len 128
lazyfree-lazy-eviction no
lazyfree-lazy-expire no
lazyfree-lazy-server-del no
replica-lazy-flush no
lazyfree-lazy-user-del no
lazyfree-lazy-user-flush no
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename "appendonly.aof"
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
slowlog-log-slower-than 10000
slowlog-max-len 128
latency-monitor-threshold 0
notify-keyspace-events ""
list-compress-depth 0
set-max-intset-entries 512
hll-sparse-max-bytes 3000
stream-node-max-bytes 4096
stream-node-max-entries 100
activerehashing yes
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
aof-rewrite-incremental-fsync yes
rdb-save-incremental-fsync yes
jemalloc-bg-thread yes
"""
OF_7_2 = COMMON + """
bind 127.0.0.1 -::1
repl-diskless-sync yes
repl-diskless-sync-max-replicas 0
appenddirname "appendonlydir"
aof-timestamp-enabled no
hash-max-listpack-entries 512
hash-max-listpack-value 64
list-max-listpack-size -2
set-max-listpack-entries 128
set-max-listpack-value 64
zset-max-listpack-entries 128
zset-max-listpack-value 64
"""
OF_6_2 = COMMON + """
bind 127.0.0.1 -::1
repl-diskless-sync no
lua-time-limit 5000
hash-max-ziplist-entries 512
hash-max-ziplist-value 64
list-max-ziplist-size -2
zset-max-ziplist-entries 128
zset-max-ziplist-value 64
"""


def start_with(path, *args):
    """A server with a file, as far as it can go without standing in the way of others."""
    return Server(command=lambda port: [
        BINARY, path, "--port", str(port), "--io-backend", BACKEND, "--shards", str(SHARDS),
        *map(str, args)])


@pytest.fixture
def with_file(tmp_path):
    """Makes a file and starts a server with it."""
    servers = []

    def start(text, *args):
        path = tmp_path / "lasca.conf"
        path.write_text(text)
        servers.append(start_with(path, *args))
        servers[-1].path = path
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        server.destroy()


def warnings(server):
    return [line.split("# ", 1)[1].split(":")[0] for line in server.log().splitlines()
            if "has no effect" in line]


# ---- Files of Redis ----

@pytest.mark.parametrize("text, without_effect", [
    (OF_7_2, []), (OF_6_2, ["repl-diskless-sync has no effect"])], ids=["7.2", "6.2"])
def test_a_file_of_redis_starts_the_server(with_file, text, without_effect):
    server = with_file(text, "--pidfile", "")
    assert warnings(server) == without_effect
    client = server.client(decode_responses=True)
    shown = client.config_get("*")
    for line in text.split("\n"):
        if not line or line.startswith(("client-output", "port", "dir", "pidfile")):
            continue
        name, value = line.split(None, 1)
        value = value.strip('"').replace("64mb", "67108864")
        assert shown[name] == value, name


def test_debian_s_file_starts_the_server(tmp_path):
    if not os.access(DEBIAN_FILE, os.R_OK):
        pytest.skip("redis-server is not installed, or its file cannot be read")
    # What needs its user's directories, and what would leave this test's sight.
    server = start_with(DEBIAN_FILE, "--logfile", "", "--dir", tmp_path, "--daemonize", "no",
                        "--pidfile", "")
    assert warnings(server) == []
    assert server.client(decode_responses=True).config_get("dir") == {"dir": str(tmp_path)}
    server.stop()
    server.destroy()


# ---- Options without effect ----

def test_what_has_no_effect_is_kept_and_said_once(with_file):
    server = with_file("hz 50\nslave-priority 7\nio-threads 4\nhz 60\nactivedefrag yes\n")
    with server.raw() as raw:
        assert sorted(warnings(server)) == [f"{name} has no effect" for name in (
            "activedefrag", "hz", "io-threads", "replica-priority")]
        assert raw.call("CONFIG", "GET", "hz", "replica-priority") == [
            b"hz", b"60", b"replica-priority", b"7"]
        before = len(warnings(server))
        for value, said in ((60, 0), (70, 1), (70, 1), (10, 1)):
            assert raw.call("CONFIG", "SET", "hz", value) == "OK"
            assert len(warnings(server)) == before + said
        assert raw.call("CONFIG", "SET", "io-threads", 4) == ReplyError(
            "ERR CONFIG SET failed (possibly related to argument 'io-threads') - can't set "
            "immutable config")
        assert raw.call("CONFIG", "SET", "hz", 5, "activedefrag", "yes").startswith(
            "ERR CONFIG SET failed (possibly related to argument 'activedefrag') - Active "
            "defragmentation cannot be enabled")
        assert raw.call("CONFIG", "GET", "hz") == [b"hz", b"10"]


# ---- Values ----

def test_memory_may_be_a_share_of_what_there_is(raw):
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shown = []
    for value in ("100%", "50%"):
        assert raw.call("CONFIG", "SET", "maxmemory", value) == "OK"
        shown.append(int(raw.call("CONFIG", "GET", "maxmemory")[1]))
    assert 0 < shown[1] <= shown[0] / 2 <= pages / 2
    assert raw.call("CONFIG", "SET", "maxmemory", 0, "maxmemory-clients", "5%") == "OK"
    assert raw.call("CONFIG", "GET", "maxmemory-clients") == [b"maxmemory-clients", b"5%"]
    for name, value, why in (
            ("maxmemory", "5x", "argument must be a memory or percent value"),
            ("maxmemory-clients", "101%", "percentage argument must be less or equal to 100"),
            ("latency-tracking-info-percentiles", "1 101",
             "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"),
            ("latency-tracking-info-percentiles", "x",
             "Invalid latency-tracking-info-percentiles parameters"),
            ("save", "1", "Invalid save parameters")):
        assert raw.call("CONFIG", "SET", name, value) == ReplyError(
            f"ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    assert raw.call("CONFIG", "SET", "maxmemory-clients", 0,
                    "latency-tracking-info-percentiles", "50.0 99.90") == "OK"
    assert raw.call("CONFIG", "GET", "latency-tracking-info-percentiles")[1] == b"50 99.9"
    raw.call("CONFIG", "SET", "latency-tracking-info-percentiles", "50 99 99.9")


def test_some_options_wait_until_the_data_is_loaded(fresh_server):
    server = fresh_server()
    with server.raw() as raw:
        raw.call("DEBUG", "POPULATE", 400)
        assert raw.call("SAVE") == "OK"
    server.stop()
    server.start("--key-load-delay", 10000, "--enable-protected-configs", "yes",
                 until_loaded=False)
    with server.raw() as raw:
        loading = ReplyError("LOADING Redis is loading the dataset in memory")
        assert raw.call("CONFIG", "SET", "appendonly", "yes") == loading
        assert raw.call("CONFIG", "SET", "timeout", 7, "dir", "/") == loading
        assert raw.call("CONFIG", "GET", "timeout") == [b"timeout", b"0"]
        assert raw.call("CONFIG", "SET", "timeout", 0, "key-load-delay", 0) == "OK"


# ---- CONFIG REWRITE ----

def test_the_file_is_rewritten_and_read_back(with_file):
    server = with_file("# mine\nsave 900 1\nsave 60 9\ntimeout 5\n\n# more\nslave-priority 6\n"
                       "rename-command FLUSHALL \"\"\nuser alice on nopass ~a* +get\n")
    with server.raw() as raw:
        assert raw.call("CONFIG", "SET", "save", "7 8", "maxmemory", "3mb",
                        "requirepass", "a \"b\0c",
                        "client-output-buffer-limit", "pubsub 1mb 2mb 3") == "OK"
        assert raw.call("CONFIG", "REWRITE") == "OK"
        shown = raw.call("CONFIG", "GET", "*")
    text = server.path.read_text()
    lines = text.split("\n")
    assert lines[:6] == ["# mine", "save 7 8", "", "timeout 5", "", "# more"]
    assert "replica-priority 6" in lines and 'rename-command FLUSHALL ""' in lines
    assert any(line.startswith("user alice ") for line in lines)
    appended = lines[lines.index("# Generated by CONFIG REWRITE"):]
    for line in ("maxmemory 3mb", 'requirepass "a \\"b\\x00c"',
                 "client-output-buffer-limit pubsub 1mb 2mb 3"):
        assert line in appended
    assert not [name for name in os.listdir(server.path.parent) if name != "lasca.conf"
                and not name.endswith((".rdb", "dir"))]
    server.stop()
    server.start()
    with server.raw() as raw:
        assert raw.call("AUTH", "a \"b").startswith("WRONGPASS")
        assert raw.call("AUTH", "a \"b\0c") == "OK"
        assert raw.call("CONFIG", "GET", "*") == shown
        assert raw.call("CONFIG", "REWRITE") == "OK"
        assert server.path.read_text() == text, "a second time changes nothing"


def test_rewrite_says_why_it_cannot(with_file, raw):
    assert raw.call("CONFIG", "REWRITE") == ReplyError(
        "ERR The server is running without a config file")
    server = with_file("timeout 5\n")
    server.path.unlink()
    server.path.mkdir()
    with server.raw() as other:
        assert other.call("CONFIG", "REWRITE") == ReplyError(
            "ERR Rewriting config file: Is a directory")


# ---- rename-command ----

LONG = "b840fc02d524045429941cc15f59e41cb7be6c52"


def test_commands_under_other_names(with_file):
    server = with_file(f"rename-command FLUSHALL \"\"\nrename-command config {LONG}\n"
                       "rename-command SET get2\nrename-command eval ev\n")
    with server.raw() as raw:
        unknown = ReplyError("ERR unknown command 'set', with args beginning with: 'a' 'b' ")
        assert raw.call("set", "a", "b") == unknown
        assert raw.call("flushall").startswith("ERR unknown command 'flushall'")
        assert raw.call("GET2", "a", "b") == "OK" and raw.call("get", "a") == b"b"
        assert raw.call(LONG.upper(), "GET", "hz") == [b"hz", b"10"]
        assert raw.call(LONG, "nope").startswith("ERR unknown subcommand 'nope'")
        assert raw.call("EV", "return redis.call('get2', KEYS[1], 1)", 1, "k") == {"ok": "OK"} or \
            raw.call("get", "k") == b"1"
        assert raw.call("EV", "return redis.pcall('set', 'k', 1)", 0).startswith("ERR Unknown")
        assert raw.call("COMMAND", "INFO", "set", "flushall", "get2")[:2] == [None, None]
        assert raw.call("COMMAND", "INFO", "get2")[0][0] == b"set"
        listed = raw.call("COMMAND", "LIST")
        assert b"flushall" not in listed and b"set" in listed
        assert raw.call("COMMAND", "COUNT") == len(raw.call("COMMAND"))
        assert raw.call("MULTI") == "OK" and raw.call("get2", "m", "1") == "QUEUED"
        assert raw.call("EXEC") == ["OK"]
        assert b"cmdstat_set:" in raw.call("INFO", "commandstats")


def test_names_do_not_matter_to_the_append_only_file(with_file):
    """What was logged is loaded by whoever knows the commands' own names."""
    server = with_file("appendonly yes\nrename-command SET s1\nrename-command GET set\n")
    with server.raw() as raw:
        for i in range(20):
            assert raw.call("s1", f"k{i}", i) == "OK"
        raw.call("MSET", "x", 1, "y", 2)
    server.stop()
    server.path.write_text("appendonly yes\nrename-command SET s2\n")
    server.start()
    with server.raw() as raw:
        assert raw.call("DBSIZE") == 22 and raw.call("get", "k7") == b"7"


def test_renames_that_cannot_be(tmp_path):
    path = tmp_path / "lasca.conf"
    for line, why in (
            ("rename-command nope x", 'No such command in rename-command: rename-command nope "x"'),
            ("rename-command get SET",
             'Target command name already exists: rename-command get "SET"')):
        path.write_text(f"port 1\n{line}\n")
        for option in ([], ["--check-config"]):
            assert run_to_end(*option, path) == (1, f"lasca-server: {path}:2: {why}\n")


# ---- MODULE ----

def test_there_are_no_modules(fresh_server, raw):
    assert raw.call("MODULE", "LIST") == []
    refused = raw.call("MODULE", "LOAD", "/x.so")
    assert refused.startswith("ERR MODULE command not allowed. If the enable-module-command option "
                              'is set to "local"')
    assert raw.call("MODULE", "UNLOAD", "x") == refused
    with fresh_server("--enable-module-command", "local").raw() as allowed:
        failed = ReplyError("ERR Error loading the extension. Please check the server logs.")
        assert allowed.call("MODULE", "LOAD", "/x.so", "a") == failed
        assert allowed.call("MODULE", "LOADEX", "/x.so", "CONFIG", "a", "b", "ARGS") == failed
        assert allowed.call("MODULE", "UNLOAD", "x") == ReplyError(
            "ERR Error unloading module: no such module with that name")


# ---- --check-config ----

def test_a_configuration_is_checked_without_starting(tmp_path):
    path = tmp_path / "lasca.conf"
    path.write_text("timeout 5\nhz 50\n")
    status, said = run_to_end("--check-config", path, "--port", "0", "--unixsocket", "s.sock",
                              "--dir", tmp_path)
    assert (status, said.split("\n")[-2]) == (0, "configuration ok")
    assert said.startswith("hz has no effect: ")
    for args, why in (
            (["--timeot", 1], "command line: unknown option '--timeot': did you mean '--timeout'?"),
            (["--bind", "nowhere"], "bind 'nowhere' is not an IPv4 or IPv6 address"),
            (["--dir", "/nope"], "command line: --dir '/nope': No such file or directory: create "
             "it, or name another directory"),
            (["--aclfile", "/nope"], "aclfile '/nope': No such file or directory: name one that "
             "this user may read"),
            (["--logfile", "/nope/log"], "logfile '/nope/log': No such file or directory: name "
             "one that this user may write"),
            (["--port", 0], "Configured to not listen anywhere: give a port and an address (port "
                            "6379, bind 127.0.0.1)"),
            (["--tls-port", 9, "--tls-cert-file", "/nope", "--tls-key-file", "/nope"],
             "tls-cert-file: cannot read '/nope': No such file or directory: name a PEM file that "
             "this user may read"),
            (["--port", 9, "--tls-port", 9], "port and tls-port are both 9: give them two")):
        assert run_to_end("--check-config", path, *args) == (1, f"lasca-server: {why}\n")
    path.write_text("timeout 5\n\nport 7oo0\n")
    assert run_to_end("--check-config", path) == (
        1, f"lasca-server: {path}:3: port wants a number, got '7oo0'\n")


# ---- Mistakes in Redis's words ----

def test_a_mistake_at_the_start_is_said_in_redis_words_too(tmp_path):
    path = tmp_path / "lasca.conf"
    path.write_text("timeout 5\n\nport 7oo0\n")
    begin = "\n*** FATAL CONFIG FILE ERROR (Redis 7.2.6) ***\n"
    for args, lines in (
            ([path], ["Reading the configuration file, at line 3", ">>> 'port \"7oo0\"'",
                      "argument couldn't be parsed into an integer",
                      f"lasca-server: {path}:3: port wants a number, got '7oo0'"]),
            (["--invalid"], ["Reading the command line", ">>> 'invalid'",
                             "Bad directive or wrong number of arguments"]),
            (["--port", 1, 2], ["Reading the command line", ">>> 'port \"1\" \"2\"'",
                                "wrong number of arguments"]),
            (["--shutdown-on-sigint"], ["Reading the command line", ">>> 'shutdown-on-sigint'",
                                        "argument(s) must be one of the following: default, "
                                        "save, nosave, now, force"]),
            (["--requirepass", "a", "b"], ["Reading the command line",
                                           ">>> 'requirepass \"(redacted)\" \"(redacted)\"'"])):
        status, said = run_to_end(*args)
        assert status == 1 and said.startswith(begin + "\n".join(lines) + "\n"), said


# ---- CONFIG RESETSTAT ----

def test_resetstat_forgets_saves_too(raw):
    raw.call("SET", "k", 1)
    assert raw.call("SAVE") == "OK"
    assert b"rdb_saves:0" not in raw.call("INFO", "persistence")
    assert raw.call("CONFIG", "RESETSTAT") == "OK"
    assert b"rdb_saves:0\r\n" in raw.call("INFO", "persistence")
