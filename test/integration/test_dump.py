"""DUMP: values of every type and encoding go to redis-server and are there what they were here;
those that both hold alike have the same payloads to the byte."""

import shutil

import pytest

import harness

REDIS = "/usr/bin/redis-server"

pytestmark = pytest.mark.skipif(not shutil.which(REDIS), reason="no redis-server is installed")


@pytest.fixture(scope="module")
def redis():
    made = harness.Server(command=lambda port: [
        REDIS, "--port", str(port), "--save", "", "--enable-debug-command", "yes"])
    with made.raw() as conn:
        yield conn
    made.close_clients()
    made.stop()
    made.destroy()


WORDS = [f"word:{i}" for i in range(1000)]
TEXTS = ["", "-0.5", "01", b"\x00\xff", "x" * 300, "-9223372036854775808"]

# Key: the commands that make it. What begins with "unordered" is in no order that Redis would keep.
# What is compressed may be so in more than one way: LZF begins with whatever its table held before.
VALUES = {
    **{f"string:{i}": [("SET", f"string:{i}", value)] for i, value in enumerate([
        "", 0, 127, -128, 128, 32767, -32769, 2147483647, -2147483648, 2147483648, "-0", "01",
        "a" * 20, "a" * 21, "a" * 63, "abcabcabc" * 1000, b"\x00\xff" * 40, "x" * 100000])},
    "hyperloglog": [("PFADD", "hyperloglog", *WORDS)],
    "list": [("RPUSH", "list", 1, -300, 70000, 1 << 40, *TEXTS)],
    "list:long": [("RPUSH", "list:long", *WORDS, *TEXTS, *WORDS)],
    "list:large": [("RPUSH", "list:large", "small", "l" * 100000, "small", *TEXTS)],
    "list:compressed": [("CONFIG", "SET", "list-compress-depth", 1),
                        ("RPUSH", "list:compressed", *WORDS, *WORDS, *WORDS)],
    "set:16": [("SADD", "set:16", 1, -2, 300)],
    "set:32": [("SADD", "set:32", 1, 70000)],
    "set:64": [("SADD", "set:64", 1, 1 << 50)],
    "unordered:ints": [("SADD", "unordered:ints", *range(600))],
    "unordered:set": [("SADD", "unordered:set", *TEXTS)],
    "unordered:large": [("SADD", "unordered:large", *WORDS)],
    "zset": [("ZADD", "zset", 1, "a", -0.25, "b", "inf", "c", 3, 17, 1 << 53, "")],
    "zset:large": [("ZADD", "zset:large", *sum(([i / 8, w] for i, w in enumerate(WORDS)), []))],
    "hash": [("HSET", "hash", *TEXTS[:4], "n", -5, "m", 1 << 33)],
    "unordered:hash": [("HSET", "unordered:hash", *sum(([w, w] for w in WORDS), []))],
    "hash:one": [("HSET", "hash:one", "f", "x" * 65)],
    "stream": [("XADD", "stream", f"{i}-{i % 3 + 1}",
                *(["temperature", i] if i % 5 else ["other", "y", "second", i]))
               for i in range(1, 300)] + [
        ("XDEL", "stream", "5-3", "170-3", "299-3"), ("XGROUP", "CREATE", "stream", "g", "0"),
        ("XGROUP", "CREATE", "stream", "h", "100"), ("XGROUP", "CREATE", "stream", "i", "$"),
        ("XREADGROUP", "GROUP", "g", "alice", "COUNT", 40, "STREAMS", "stream", ">"),
        ("XREADGROUP", "GROUP", "g", "bob", "COUNT", 30, "STREAMS", "stream", ">"),
        ("XACK", "stream", "g", "7-2", "50-3"),
        ("XGROUP", "CREATECONSUMER", "stream", "h", "carol")],
    "stream:empty": [("XADD", "stream:empty", "1-1", "a", "b"), ("XDEL", "stream:empty", "1-1")],
}


@pytest.mark.parametrize("key", VALUES)
def test_redis_restores_the_value(server, raw, redis, key):
    for command in VALUES[key]:
        raw.call(*command)
    raw.call("CONFIG", "SET", "list-compress-depth", 0)
    payload = raw.call("DUMP", key)
    assert redis.call("RESTORE", key, 0, payload, "REPLACE") == "OK"
    again = redis.call("DUMP", key)
    if not key.startswith("unordered") and b"\xc3" not in payload:
        assert again == payload
    assert redis.call("DEBUG", "DIGEST-VALUE", key) == raw.call("DEBUG", "DIGEST-VALUE", key)


def test_an_absent_key_has_no_payload(server, raw):
    assert raw.call("DUMP", "absent") is None
