"""CONFIG, INFO and DEBUG: what the server says of itself, and what it lets be changed."""

import re
import time

import pytest

from harness import BACKEND, SHARDS, ReplyError, encode

DEFAULT_SECTIONS = ["Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU",
                    "Modules", "Errorstats", "Cluster", "Keyspace"]


def info(raw, *sections):
    """INFO's fields, as text."""
    text = raw.call("INFO", *sections).decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def headings(raw, *sections):
    return re.findall(r"^# (\w+)\r$", raw.call("INFO", *sections).decode(), re.M)


def figures(field):
    """"a=1,b=2" as a dictionary."""
    return {k: float(v) for k, v in (pair.split("=") for pair in field.split(","))}


def wait_for(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# ---- INFO ----

def test_sections_are_redis_sections(raw):
    assert headings(raw) == DEFAULT_SECTIONS
    assert headings(raw, "default") == DEFAULT_SECTIONS
    everything = headings(raw, "everything")
    assert set(everything) == set(DEFAULT_SECTIONS) | {"Commandstats", "Latencystats", "Shards"}
    assert headings(raw, "all") == everything
    assert headings(raw, "KEYSPACE", "server", "nosuch") == ["Server", "Keyspace"]
    assert headings(raw, "default", "shards")[-2:] == ["Shards", "Keyspace"]


def test_sections_are_separated_by_one_empty_line(raw):
    text = raw.call("INFO").decode()
    assert text.startswith("# Server\r\n") and text.endswith("\r\n")
    assert text.count("\r\n\r\n") == len(DEFAULT_SECTIONS) - 1
    assert not re.search(r"[^\r]\n", text)


def test_info_is_verbatim_in_resp3(raw):
    raw.call("HELLO", 3)
    raw.send(encode("INFO", "cluster"))
    assert raw.read_raw() == b"=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n"


def test_the_server_section_says_what_runs(server, raw):
    x = info(raw, "server")
    assert re.fullmatch(r"\d+\.\d+\.\d+", x["redis_version"])
    assert x["redis_mode"] == "standalone" and x["lasca_version"]
    assert int(x["process_id"]) == server.pid
    assert int(x["tcp_port"]) == server.port
    assert int(x["shards"]) == SHARDS
    assert x["multiplexing_api"] == x["io_backend"]
    assert x["io_backend"] in (["io_uring", "epoll"] if BACKEND == "auto" else [BACKEND])
    assert re.fullmatch(r"[0-9a-f]{40}", x["run_id"])
    assert abs(int(x["server_time_usec"]) / 1e6 - time.time()) < 5


def test_clients_are_counted(server, raw):
    def connected():
        return int(info(raw, "clients")["connected_clients"])

    wait_for(lambda: connected() == 1)  # the tests before this one have left
    more = [server.raw() for _ in range(7)]
    for r in more:
        r.call("PING")
    assert connected() == 8
    for r in more:
        r.close()
    wait_for(lambda: connected() == 1)


def test_keys_are_counted_over_all_shards(raw):
    for i in range(100):
        raw.call("SET", f"k{i}", i)
    for i in range(30):
        raw.call("EXPIRE", f"k{i}", 1000)
    raw.call("SELECT", 5)
    raw.call("SET", "x", 1)
    x = info(raw, "keyspace")
    assert set(x) == {"db0", "db5"}
    db0 = figures(x["db0"])
    assert (db0["keys"], db0["expires"]) == (100, 30)
    assert figures(x["db5"]) == {"keys": 1, "expires": 0, "avg_ttl": 0}


def test_the_mean_time_to_live_is_estimated(raw):
    for i in range(500):
        raw.call("SET", f"k{i}", i, "EX", 1000)
    wait_for(lambda: 500000 < figures(info(raw, "keyspace")["db0"])["avg_ttl"] <= 1000000)


def test_hits_misses_and_commands_are_counted(raw):
    raw.call("CONFIG", "RESETSTAT")
    raw.call("SET", "a", 1)
    for _ in range(10):
        raw.call("GET", "a")
    raw.call("MGET", "a", "b", "c")
    raw.call("GET", "nosuch")
    x = info(raw, "stats")
    assert int(x["keyspace_hits"]) == 11
    assert int(x["keyspace_misses"]) == 3
    assert 13 <= int(x["total_commands_processed"]) <= 15


def test_expired_keys_are_counted(raw):
    raw.call("CONFIG", "RESETSTAT")
    for i in range(20):
        raw.call("SET", f"k{i}", i, "PX", 1)
    wait_for(lambda: int(info(raw, "stats")["expired_keys"]) == 20)


def test_command_statistics(raw):
    raw.call("CONFIG", "RESETSTAT")
    for _ in range(5):
        raw.call("SET", "a", "text")
    raw.call("MGET", *[f"k{i}" for i in range(20)])
    raw.call("INCR", "a")
    raw.call("GET")
    raw.call("CLIENT", "GETNAME")
    x = info(raw, "commandstats")
    assert figures(x["cmdstat_set"])["calls"] == 5
    assert figures(x["cmdstat_mget"])["calls"] == 1
    assert figures(x["cmdstat_client|getname"])["calls"] == 1
    assert figures(x["cmdstat_incr"])["failed_calls"] == 1
    get = figures(x["cmdstat_get"])
    assert (get["calls"], get["rejected_calls"]) == (0, 1)
    assert figures(x["cmdstat_set"])["usec"] > 0


def test_errors_are_counted_by_code(raw):
    raw.call("CONFIG", "RESETSTAT")
    raw.call("SET", "a", "text")
    for _ in range(3):
        raw.call("INCR", "a")
    raw.call("DEBUG", "ERROR", "MYCODE of mine")
    raw.call("NOSUCH")
    x = info(raw, "errorstats")
    assert figures(x["errorstat_ERR"])["count"] == 4
    assert figures(x["errorstat_MYCODE"])["count"] == 1
    assert int(info(raw, "stats")["total_error_replies"]) == 5


def test_rates_follow_the_load(raw):
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        raw.send(encode("SET", "a", "x" * 100) * 200)
        for _ in range(200):
            raw.read_reply()
    x = info(raw, "stats")
    assert int(x["instantaneous_ops_per_sec"]) > 500
    assert float(x["instantaneous_input_kbps"]) > 50
    assert float(x["instantaneous_output_kbps"]) > 1
    wait_for(lambda: int(info(raw, "stats")["instantaneous_ops_per_sec"]) < 500)


def test_traffic_is_counted(raw):
    before = info(raw, "stats")
    raw.call("ECHO", "x" * 10000)
    after = info(raw, "stats")
    for field in ("total_net_input_bytes", "total_net_output_bytes"):
        assert int(after[field]) - int(before[field]) >= 10000


def test_used_memory_follows_the_data(raw):
    empty = int(info(raw, "memory")["used_memory"])
    count, size = 1000, 1000
    raw.call("DEBUG", "POPULATE", count, "key", size)
    x = info(raw, "memory")
    used = int(x["used_memory"]) - empty
    assert count * size <= used <= 1.5 * count * size
    assert int(x["used_memory_rss"]) > count * size
    assert int(x["used_memory_peak"]) >= int(x["used_memory"])
    assert int(x["used_memory_dataset"]) >= count * size
    assert x["mem_allocator"].startswith(("mimalloc-", "libc"))
    raw.call("FLUSHALL")
    x = info(raw, "memory")
    assert int(x["used_memory"]) < empty + 100000
    assert int(x["used_memory_dataset"]) == 0


def test_a_shard_has_a_line(raw):
    raw.call("DEBUG", "POPULATE", 200)
    x = info(raw, "shards")
    assert set(x) == {f"shard{i}" for i in range(SHARDS)}
    lines = [figures(line) for line in x.values()]
    assert sum(line["keys"] for line in lines) == 200
    assert sum(line["sessions"] for line in lines) == int(
        info(raw, "clients")["connected_clients"])
    assert list(lines[0]) == ["keys", "sessions", "commands", "hops_sent", "splits", "crosses",
                              "sleeps", "wakes", "borrows", "hops_received", "memory", "hits",
                              "misses", "expired", "evicted", "ops_per_sec", "busy_perc",
                              "cpu_seconds", "mesh_depth", "order_depth"]


def test_a_stand_alone_master(raw):
    x = info(raw, "replication")
    assert (x["role"], x["connected_slaves"]) == ("master", "0")
    assert info(raw, "persistence")["loading"] == "0"


def test_resetstat_forgets_statistics_and_keeps_data(raw):
    raw.call("SET", "a", 1)
    raw.call("GET", "a")
    raw.call("INCR", "b", "c")
    changes = info(raw, "persistence")["rdb_changes_since_last_save"]
    assert raw.call("CONFIG", "RESETSTAT") == "OK"
    x = info(raw, "everything")
    assert (x["keyspace_hits"], x["total_error_replies"], x["expired_keys"]) == ("0", "0", "0")
    assert x["total_connections_received"] == "0"
    assert x["rdb_changes_since_last_save"] == changes
    assert "cmdstat_get" not in x
    assert figures(x["db0"])["keys"] == 1


def test_redis_py_reads_info(server):
    x = server.client().info()
    assert x["redis_mode"] == "standalone" and x["role"] == "master"


# ---- CONFIG ----

def test_config_get_knows_patterns_and_spellings(raw):
    assert raw.call("CONFIG", "GET", "nosuch") == []
    assert raw.call("CONFIG", "GET", "TIMEOUT") == [b"TIMEOUT", b"0"]
    names = raw.call("CONFIG", "GET", "lfu-*", "timeout", "time*")[::2]
    assert sorted(names) == [b"lfu-decay-time", b"lfu-log-factor", b"timeout"]
    assert len(raw.call("CONFIG", "GET", "*")) > 40


def test_config_get_is_a_map_in_resp3(raw):
    raw.call("HELLO", 3)
    assert raw.call("CONFIG", "GET", "shards") == {b"shards": str(SHARDS).encode()}


@pytest.fixture
def settings(raw):
    """Puts back what a test changes."""
    names = ["timeout", "maxmemory-policy", "requirepass", "maxclients", "loglevel",
             "proto-max-bulk-len", "client-query-buffer-limit"]
    pairs = raw.call("CONFIG", "GET", *names)
    yield
    assert raw.call("CONFIG", "SET", *pairs) == "OK"


def test_config_set_takes_effect_on_every_core(server, raw, settings):
    others = [server.raw() for _ in range(6)]
    assert raw.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu", "timeout", 1000) == "OK"
    for i, r in enumerate(others):
        assert r.call("CONFIG", "GET", "timeout") == [b"timeout", b"1000"]
        assert r.call("SET", f"k{i}", 1) == "OK"
        assert r.call("OBJECT", "FREQ", f"k{i}") == 5
        r.close()


def test_config_set_is_all_or_nothing(raw, settings):
    assert raw.call("CONFIG", "SET", "timeout", 7, "maxmemory-policy", "nosuch").startswith(
        "ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy')")
    assert raw.call("CONFIG", "GET", "timeout") == [b"timeout", b"0"]
    assert raw.call("CONFIG", "SET", "timeout", 7, "nosuch", 1) == (
        "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'")
    assert raw.call("CONFIG", "SET", "timeout", 7, "shards", 9).startswith(
        "ERR CONFIG SET failed (possibly related to argument 'shards')")
    assert raw.call("CONFIG", "GET", "timeout") == [b"timeout", b"0"]


def test_a_password_set_is_asked_of_new_connections(server, raw, settings):
    assert raw.call("CONFIG", "SET", "requirepass", "secret") == "OK"
    with server.raw() as r:
        assert r.call("GET", "a") == "NOAUTH Authentication required."
        assert r.call("AUTH", "secret") == "OK"
        assert r.call("GET", "a") is None
    assert raw.call("GET", "a") is None
    assert raw.call("CONFIG", "GET", "requirepass") == [b"requirepass", b"secret"]


def test_more_clients_than_the_system_allows_are_refused(raw, settings):
    reply = raw.call("CONFIG", "SET", "maxclients", 4000000000)
    if reply == "OK":
        return  # a system without limits
    assert re.fullmatch(r"ERR CONFIG SET failed \(possibly related to argument 'maxclients'\) - "
                        r"The operating system is not able to handle the specified number of "
                        r"clients, try with \d+", reply.text)
    assert raw.call("CONFIG", "GET", "maxclients") == [b"maxclients", b"10000"]


def test_config_set_under_load(server, raw, settings):
    others = [server.raw() for _ in range(4)]
    for i in range(50):
        for r in others:
            r.send(encode("SET", f"k{i}", i) + encode("MGET", "k1", "k2", "k3"))
        assert raw.call("CONFIG", "SET", "timeout", 100 + i, "loglevel", "notice") == "OK"
        for r in others:
            assert r.read_reply() == "OK"
            assert len(r.read_reply()) == 3
    for r in others:
        r.close()


def test_config_help_and_unknown_subcommands(raw):
    assert raw.call("CONFIG", "HELP")[0].startswith("CONFIG <subcommand>")
    assert raw.call("CONFIG", "REDO") == "ERR unknown subcommand 'REDO'. Try CONFIG HELP."


# ---- DEBUG ----

def test_debug_is_refused_unless_allowed(fresh_server):
    server = fresh_server("--enable-debug-command", "no")
    with server.raw() as r:
        assert r.call("DEBUG", "SLEEP", 0) == (
            'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", '
            'you can run it from a local connection, otherwise you need to set this option in the '
            'configuration file, and then restart the server.')
    server.restart("--enable-debug-command", "local")
    with server.raw() as r:
        assert r.call("DEBUG", "SLEEP", 0) == "OK"


def test_debug_sleep_stops_the_whole_server(server, raw):
    others = [server.raw() for _ in range(6)]
    for r in others:
        r.call("PING")
    start = time.monotonic()
    raw.send(encode("DEBUG", "SLEEP", 0.4))
    time.sleep(0.1)
    for i, r in enumerate(others):
        r.send(encode("SET", f"k{i}", i))
    for r in others:
        assert r.read_reply() == "OK"
        assert time.monotonic() - start > 0.35
        r.close()
    assert raw.read_reply() == "OK"


def test_debug_object(raw):
    raw.call("SET", "a", 12)
    text = raw.call("DEBUG", "OBJECT", "a")
    assert re.fullmatch(r"Value at:0x[0-9a-f]+ refcount:1 encoding:int serializedlength:2 "
                        r"lru:\d+ lru_seconds_idle:0", text)
    assert raw.call("DEBUG", "OBJECT", "nosuch") == "ERR no such key"


def test_debug_object_sees_what_has_expired(raw):
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    try:
        raw.call("SET", "k", "v", "PX", 1)
        time.sleep(0.01)
        assert "encoding:embstr" in raw.call("DEBUG", "OBJECT", "k")
        assert raw.call("GET", "k") is None
        assert raw.call("DEBUG", "OBJECT", "k") == "ERR no such key"
    finally:
        raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 1)


def test_debug_set_active_expire(raw):
    assert raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 0) == "OK"
    try:
        for i in range(20):
            raw.call("SET", f"k{i}", i, "PX", 1)
        time.sleep(0.4)
        assert raw.call("DBSIZE") == 20
    finally:
        assert raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 1) == "OK"
    wait_for(lambda: raw.call("DBSIZE") == 0)


def test_debug_pause_cron(raw):
    assert raw.call("DEBUG", "PAUSE-CRON", 1) == "OK"
    try:
        for i in range(20):
            raw.call("SET", f"k{i}", i, "PX", 1)
        time.sleep(0.4)
        assert raw.call("DBSIZE") == 20
    finally:
        assert raw.call("DEBUG", "PAUSE-CRON", 0) == "OK"
    wait_for(lambda: raw.call("DBSIZE") == 0)


def test_debug_replybuffer_is_accepted(raw):
    for words in (("RESIZING", 0), ("RESIZING", 1), ("PEAK-RESET-TIME", 100),
                  ("peak-reset-time", "never"), ("PEAK-RESET-TIME", "RESET")):
        assert raw.call("DEBUG", "REPLYBUFFER", *words) == "OK"
    assert "integer" in raw.call("DEBUG", "REPLYBUFFER", "PEAK-RESET-TIME", "soon").text
    assert "unknown subcommand" in raw.call("DEBUG", "REPLYBUFFER", "SIZE", 1).text
    assert "unknown subcommand" in raw.call("DEBUG", "REPLYBUFFER", "RESIZING").text


def test_debug_populate_spares_what_exists(raw):
    raw.call("SET", "key:3", "mine")
    assert raw.call("DEBUG", "POPULATE", 100, "key", 20) == "OK"
    assert raw.call("DBSIZE") == 100
    assert raw.call("GET", "key:3") == b"mine"
    assert raw.call("GET", "key:99") == b"value:99" + bytes(12)


def test_the_digest_depends_on_data_alone(fresh_server):
    digests = set()
    for shards in (1, 3):
        with fresh_server("--shards", shards).raw() as r:
            assert r.call("DEBUG", "DIGEST") == "0" * 40
            for i in range(100):
                r.call("SET", f"k{i if shards == 1 else 99 - i}", "v")
            digests.add(r.call("DEBUG", "DIGEST"))
            before = r.call("DEBUG", "DIGEST")
            r.call("APPEND", "k7", "x")
            assert r.call("DEBUG", "DIGEST") != before
    assert len(digests) == 1
    # What Redis 7.0 says of the same keys.
    assert digests == {"4a2fed8ee1d0798713ed0e0e00b323f4cc52ff3a"}


def test_debug_htstats_counts_keys_by_shard(raw):
    raw.call("DEBUG", "POPULATE", 100)
    lines = raw.call("DEBUG", "HTSTATS", 0).decode().split("\n")
    found = [re.match(r"Shard \d+: elements (\d+)", line) for line in lines]
    counts = [int(m.group(1)) for m in found if m]
    assert len(counts) == SHARDS and sum(counts) == 100


def test_what_debug_lacks_is_an_error(raw):
    for name in ("JMAP", "NOSUCH"):
        reply = raw.call("DEBUG", name)
        assert isinstance(reply, ReplyError)
        assert reply.text == ("ERR unknown subcommand or wrong number of arguments for "
                              f"'{name}'. Try DEBUG HELP.")


def test_debug_matches_hostile_patterns_in_bounded_time(fresh_server):
    server = fresh_server("--enable-debug-command", "yes")
    client = server.client()
    assert client.execute_command("DEBUG", "STRINGMATCH-LEN", 10, "a*a") == 1
    assert client.execute_command("DEBUG", "STRINGMATCH-LEN", 10, "a*b") == 0
    assert client.execute_command("DEBUG", "STRINGMATCH-LEN", 100000, "a*" * 30 + "b") == 0
    assert b"passed" in client.execute_command("DEBUG", "STRINGMATCH-TEST")
