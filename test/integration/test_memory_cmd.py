"""MEMORY: what keys take, what the server takes, and giving back what is free."""

import time

import pytest

from harness import ReplyError, encode
from test_info_config import info, wait_for


@pytest.mark.parametrize("command, add", [
    (["RPUSH", "k"], lambda i: [f"value:{i}"]),
    (["SADD", "k"], lambda i: [f"value:{i}"]),
    (["HSET", "k"], lambda i: [f"field:{i}", f"value:{i}"]),
    (["ZADD", "k"], lambda i: [i, f"value:{i}"]),
    (["XADD", "k", "*"], lambda i: ["field", f"value:{i}"]),
])
def test_usage_grows_with_the_value(raw, command, add):
    before = 0
    for count in (1, 1000, 10000):
        raw.send(b"".join(encode(*command, *add(i)) for i in range(count)))
        for _ in range(count):
            raw.read_reply()
        usage = raw.call("MEMORY", "USAGE", "k")
        assert usage > before
        before = usage
    used = int(info(raw, "memory")["used_memory"])
    assert 10000 * 8 < before < used
    raw.call("DEL", "k")
    wait_for(lambda: used - int(info(raw, "memory")["used_memory"]) > 0.9 * before)


def test_usage_of_strings_is_what_is_allocated(raw):
    raw.call("SET", "a", "x")
    small = raw.call("MEMORY", "USAGE", "a")
    assert 16 <= small <= 64
    raw.call("SET", "a", "x" * 100000)
    assert 100000 <= raw.call("MEMORY", "USAGE", "a") <= 140000
    assert raw.call("MEMORY", "USAGE", "nosuch") is None


def test_samples_change_nothing(raw):
    raw.call("RPUSH", "a", *range(1000))
    usage = raw.call("MEMORY", "USAGE", "a")
    for samples in (0, 1, 1000000):
        assert raw.call("MEMORY", "USAGE", "a", "SAMPLES", samples) == usage


def test_usage_is_no_use_of_the_key(raw):
    raw.call("SET", "a", 1)
    raw.call("CONFIG", "RESETSTAT")
    raw.call("MEMORY", "USAGE", "a")
    raw.call("MEMORY", "USAGE", "nosuch")
    x = info(raw, "stats")
    assert (x["keyspace_hits"], x["keyspace_misses"]) == ("0", "0")


def test_stats_say_what_info_says(raw):
    raw.call("HELLO", 3)
    raw.call("DEBUG", "POPULATE", 10000, "key", 100)
    raw.call("SELECT", 3)
    raw.call("SET", "a", 1)
    stats = {k.decode(): v for k, v in raw.call("MEMORY", "STATS").items()}
    x = {n: v for n, v in info(raw, "memory").items()}
    assert stats["keys.count"] == 10001
    assert stats["dataset.bytes"] == int(x["used_memory_dataset"])
    assert stats["total.allocated"] == pytest.approx(int(x["used_memory"]), rel=0.05)
    assert stats["overhead.total"] + stats["dataset.bytes"] == stats["total.allocated"]
    assert stats["startup.allocated"] == int(x["used_memory_startup"])
    assert 100 <= stats["keys.bytes-per-key"] <= 400
    assert 0 < stats["dataset.percentage"] <= 100
    assert stats["fragmentation"] == pytest.approx(float(x["mem_fragmentation_ratio"]), rel=0.1)
    assert set(stats["db.0"]) == {b"overhead.hashtable.main", b"overhead.hashtable.expires",
                                  b"overhead.hashtable.slot-to-keys"}
    assert stats["db.0"][b"overhead.hashtable.main"] > stats["db.3"][b"overhead.hashtable.main"] > 0
    assert "db.1" not in stats


def test_redis_py_reads_stats(server):
    client = server.client()
    client.set("a", 1)
    stats = client.memory_stats()
    assert stats["keys.count"] == 1
    assert client.memory_usage("a", samples=3) > 0
    assert client.memory_purge()


def skip_other_allocators(raw):
    if info(raw, "memory")["mem_allocator"] == "libc":
        pytest.skip("a sanitizer keeps what is free")


def test_the_doctor_wants_data_first(fresh_server):
    with fresh_server().raw() as raw:
        skip_other_allocators(raw)
        assert b"very little memory" in raw.call("MEMORY", "DOCTOR")
        raw.call("DEBUG", "POPULATE", 60000, "key", 600)
        assert b"No memory issue was found" in raw.call("MEMORY", "DOCTOR")
        raw.call("DEBUG", "POPULATE", 60000, "more", 600)
        time.sleep(0.25)  # the peak is what cron has seen
        raw.call("FLUSHALL", "SYNC")
        raw.call("DEBUG", "POPULATE", 30000, "key", 600)
        assert b"* Peak memory" in raw.call("MEMORY", "DOCTOR")


def test_purge_gives_back_what_is_free(fresh_server):
    with fresh_server("--lazyfree-lazy-user-flush", "no").raw() as raw:
        skip_other_allocators(raw)
        raw.call("DEBUG", "POPULATE", 10000, "key", 3000)
        raw.call("DEBUG", "PAUSE-CRON", 1)  # which would give it back by itself
        full = int(info(raw, "memory")["used_memory_rss"])
        raw.call("FLUSHALL", "SYNC")
        time.sleep(0.25)
        assert int(info(raw, "memory")["used_memory_rss"]) > full - 10e6

        def purge():
            assert raw.call("MEMORY", "PURGE") == "OK"
            return int(info(raw, "memory")["used_memory_rss"]) < full - 25e6

        wait_for(purge)


def test_purge_within_a_transaction(raw):
    raw.call("MULTI")
    raw.call("MEMORY", "PURGE")
    raw.call("MEMORY", "USAGE", "nosuch")
    assert raw.call("EXEC") == ["OK", None]


def test_malloc_stats_are_a_text(raw):
    text = raw.call("MEMORY", "MALLOC-STATS")
    assert len(text) > 100 and (b"committed" in text or b"malloc" in text)


def test_help_and_errors(raw):
    assert raw.call("MEMORY", "HELP")[0].startswith("MEMORY <subcommand>")
    assert raw.call("MEMORY", "NOSUCH") == ReplyError(
        "ERR unknown subcommand 'NOSUCH'. Try MEMORY HELP.")
    assert raw.call("MEMORY", "USAGE", "a", "SAMPLES", -1) == ReplyError("ERR syntax error")
