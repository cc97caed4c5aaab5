"""LATENCY, the statistics of INFO, HOTKEYS and DEBUG's part in them, over all shards."""

import pytest

import harness
from harness import ReplyError, encode

SANITIZER_STATUSES = (97, 98)  # where a sanitizer has met the fault first
KEYS = [f"key:{i}" for i in range(16)]


@pytest.fixture
def r(server):
    raw = server.raw()
    raw.call("CONFIG", "RESETSTAT")
    raw.call("LATENCY", "RESET")
    yield raw
    raw.call("CONFIG", "SET", "latency-monitor-threshold", "0", "latency-tracking", "yes")
    raw.call("LATENCY", "RESET")


def info(r, section):
    lines = r.call("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def fields(text):
    return {k: float(v) for k, v in (pair.split("=") for pair in text.split(","))}


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def spin(r, count=3_000_000):
    r.call("EVAL", f"local t = 0 for i = 1, {count} do t = t + i end", "0")


def test_slow_commands_are_events_of_the_monitor(server, r):
    spin(r)
    assert r.call("LATENCY", "LATEST") == []
    r.call("CONFIG", "SET", "latency-monitor-threshold", "1")
    spin(r)
    [event] = r.call("LATENCY", "LATEST")
    assert event[0] == b"command" and event[2] >= 1 and event[3] >= event[2]
    history = r.call("LATENCY", "HISTORY", "command")
    assert [event[1], event[2]] == history[-1]
    graph = r.call("LATENCY", "GRAPH", "command").decode()
    assert graph.startswith("command - high ") and "all time high" in graph
    assert "slow log" in r.call("LATENCY", "DOCTOR").decode()


def test_events_of_several_cores_are_one_series(server, r):
    r.call("CONFIG", "SET", "latency-monitor-threshold", "1")
    others = [server.raw() for _ in range(8)]
    for other in others:
        spin(other)
        other.close()
    latest = r.call("LATENCY", "LATEST")
    assert [event[0] for event in latest] == [b"command"]
    times = [sample[0] for sample in r.call("LATENCY", "HISTORY", "command")]
    assert times == sorted(set(times))
    assert r.call("LATENCY", "RESET", "nosuch") == 0
    assert r.call("LATENCY", "RESET", "command", "nosuch") == 1
    assert r.call("LATENCY", "LATEST") == []
    assert r.call("LATENCY", "GRAPH", "command") == ReplyError(
        "ERR No samples available for event 'command'")


def test_histogram_counts_each_call_of_all_shards_once(server, r):
    for key in KEYS:
        r.call("SET", key, "x")
    r.call("MGET", *KEYS)
    reply = pairs(r.call("LATENCY", "HISTOGRAM", "set", "mget", "nosuch", "config"))
    assert set(reply) == {b"set", b"mget", b"config|resetstat"}
    calls = {name: pairs(value)[b"calls"] for name, value in reply.items()}
    assert calls == {b"set": 16, b"mget": 1, b"config|resetstat": 1}
    bounds = pairs(reply[b"set"])[b"histogram_usec"]
    assert bounds[::2] == sorted(bounds[::2]) and bounds[-1] == 16


def test_latencystats_show_the_percentiles_asked_for(server, r):
    r.call("CONFIG", "SET", "latency-tracking-info-percentiles", "50 99 99.9")
    r.call("SET", "a", "b")
    spin(r)
    stats = info(r, "latencystats")
    line = fields(stats["latency_percentiles_usec_eval"])
    assert list(line) == ["p50", "p99", "p99.9"] and line["p50"] > 100
    assert "latency_percentiles_usec_set" in stats
    r.call("CONFIG", "SET", "latency-tracking-info-percentiles", "0 50.5 100")
    assert list(fields(info(r, "latencystats")["latency_percentiles_usec_set"])) == [
        "p0", "p50.5", "p100"]
    r.call("CONFIG", "SET", "latency-tracking-info-percentiles", "50 99 99.9")
    r.call("CONFIG", "SET", "latency-tracking", "no")
    r.call("SET", "a", "b")
    assert info(r, "latencystats") == {}


def test_errors_count_once_as_calls_rejected_or_failed(server, r):
    r.call("SET", "text", "x")
    r.call("INCR", "text")                                             # fails
    r.call("GET")                                                      # rejected
    r.call("EVAL", "return redis.call('incr', KEYS[1])", "1", "text")  # both fail, one error
    r.call("EVAL", "return redis.pcall('incr', KEYS[1])", "1", "text")
    r.call("EVAL", "return redis.error_reply('OWN error')", "0")
    r.call("LPUSH", "text", "x")
    stats = info(r, "commandstats")
    assert fields(stats["cmdstat_incr"])["failed_calls"] == 3
    assert fields(stats["cmdstat_get"]) == {
        "calls": 0, "usec": 0, "usec_per_call": 0, "rejected_calls": 1, "failed_calls": 0}
    assert fields(stats["cmdstat_eval"])["failed_calls"] == 3
    errors = info(r, "errorstats")
    assert errors == {"errorstat_ERR": "count=4", "errorstat_OWN": "count=1",
                      "errorstat_WRONGTYPE": "count=1"}
    assert info(r, "stats")["total_error_replies"] == "6"


def test_a_select_within_a_script_or_transaction_counts(server, r):
    r.call("EVAL", "redis.call('select', 1) return redis.pcall('select', 99)['err']", "0")
    r.call("MULTI")
    r.call("SELECT", "2")
    r.call("SELECT", "x")
    assert r.call("EXEC") == ["OK", "ERR value is not an integer or out of range"]
    stats = fields(info(r, "commandstats")["cmdstat_select"])
    assert (stats["calls"], stats["failed_calls"], stats["rejected_calls"]) == (4, 2, 0)
    assert info(r, "errorstats") == {"errorstat_ERR": "count=2"}


def test_kinds_of_errors_beyond_room_count_as_one(server, r):
    count = 128 * harness.SHARDS + 12  # too many for all cores, whoever runs the scripts
    with server.raw() as other:
        for i in range(count):
            other.send(encode("EVAL", "return redis.error_reply(ARGV[1])", "0", f"KIND{i} x"))
        for i in range(count):
            assert other.read_reply() == f"KIND{i} x"
    errors = {kind: fields(text)["count"] for kind, text in info(r, "errorstats").items()}
    assert errors["errorstat_KIND0"] == 1
    assert errors["errorstat_ERRORSTATS_OVERFLOW"] >= 12
    assert len(errors) <= 128 * harness.SHARDS + 1
    assert sum(errors.values()) == count
    r.call("CONFIG", "RESETSTAT")
    assert info(r, "errorstats") == {}


def test_hot_keys_are_found_on_their_shards(server, r):
    assert "HOTKEYS" in r.call("HOTKEYS", "HELP")[0]
    r.call("HOTKEYS", "START", "SAMPLE", "1")
    for key in KEYS:
        r.call("SET", key, "x")
    for _ in range(100):
        r.send(b"GET key:3\r\n" * 4)
        for _ in range(4):
            r.read_reply()
    r.call("EVAL", "for i = 1, 200 do redis.call('get', KEYS[1]) end", "1", "key:5")
    r.call("HOTKEYS", "STOP")
    r.call("GET", "key:9")
    shards = [pairs(shard) for shard in r.call("HOTKEYS", "GET", "COUNT", "3")]
    assert [s[b"shard"] for s in shards] == list(range(len(shards)))
    keys = {k[0]: float(k[2]) / 100 * s[b"samples"] for s in shards for k in s[b"keys"]}
    noted = sum(s[b"samples"] for s in shards)
    assert 300 < noted <= 616  # SAMPLE 1: one in about one and a half
    assert keys[b"key:3"] > keys[b"key:5"] > 60
    assert abs(sum(float(s[b"share"]) for s in shards) - 100) < 1
    r.call("HOTKEYS", "RESET")
    assert all(pairs(s)[b"samples"] == 0 for s in r.call("HOTKEYS", "GET"))
    assert r.call("HOTKEYS", "START", "SAMPLE", "0").startswith("ERR")


@pytest.mark.parametrize("way, signal", [("ASSERT", 6), ("PANIC", 6), ("SEGFAULT", 11)])
def test_debug_ends_the_server_where_asked(way, signal):
    server = harness.Server("--enable-debug-command", "yes")
    try:
        with server.raw() as r:
            r.send(f"DEBUG {way}\r\n".encode())
            r.expect_closed()
        assert server.wait_for_end() in (-signal, *SANITIZER_STATUSES)
    finally:
        server.destroy()


def test_restore_takes_a_wrong_checksum_where_debug_says_so(fresh_server):
    server = fresh_server("--enable-debug-command", "yes")
    with server.raw() as r:
        r.call("SET", "a", "value")
        dump = bytearray(r.call("DUMP", "a"))
        dump[-1] ^= 1
        assert r.call("RESTORE", "b", "0", bytes(dump)).startswith("ERR DUMP payload")
        assert r.call("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "1") == "OK"
        assert r.call("RESTORE", "b", "0", bytes(dump)) == "OK"
        assert r.call("GET", "b") == b"value"
