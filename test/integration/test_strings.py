"""Strings as a user of redis-py sees them, on keys that are spread over all shards."""

import time

import pytest
import redis


def names(prefix, count):
    return [f"{prefix}:{i}" for i in range(count)]


def test_what_is_set_is_got(client):
    keys = names("plain", 300)
    for i, key in enumerate(keys):
        assert client.set(key, f"value {i}")
    for i, key in enumerate(keys):
        assert client.get(key) == b"value %d" % i
    assert client.get("nokey") is None


def test_multi_key_commands_cover_all_shards(client):
    keys = names("multi", 1000)
    assert client.mset({key: i for i, key in enumerate(keys)})
    assert client.mget(keys) == [b"%d" % i for i in range(1000)]
    assert client.mget(["nokey", keys[3], "nokey", keys[3]]) == [None, b"3", None, b"3"]
    assert client.exists(*keys, "nokey", keys[0]) == 1001
    assert client.touch(*keys) == 1000
    assert client.dbsize() == 1000
    assert client.delete(*keys[:400], "nokey") == 400
    assert client.unlink(*keys[300:600]) == 200
    assert client.dbsize() == 400


def test_the_last_of_equal_keys_wins_in_mset(raw):
    assert raw.call("MSET", "a", "1", "b", "2", "a", "3") == "OK"
    assert raw.call("MGET", "a", "b") == [b"3", b"2"]


def test_msetnx_sets_all_or_nothing(client):
    keys = names("nx", 50)
    assert client.msetnx({key: "first" for key in keys})
    assert not client.msetnx({**{key: "second" for key in names("other", 50)}, keys[7]: "second"})
    assert client.mget(keys) == [b"first"] * 50
    assert client.exists(*names("other", 50)) == 0


def test_set_has_conditions_and_returns_what_was(client):
    assert client.set("c", "1", nx=True)
    assert client.set("c", "2", nx=True) is None
    assert client.set("c", "3", xx=True)
    assert client.set("nokey", "3", xx=True) is None
    assert client.set("c", "4", get=True) == b"3"
    assert client.get("c") == b"4"
    assert client.getset("c", "5") == b"4"
    assert client.getdel("c") == b"5"
    assert client.getdel("c") is None


def test_counters_count(client):
    for key in names("counter", 50):
        assert client.incr(key) == 1
        assert client.incrby(key, 41) == 42
        assert client.decr(key) == 41
        assert client.decrby(key, 50) == -9
        assert client.incrbyfloat(key, 0.5) == -8.5
    client.set("word", "abc")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incr("word")
    client.set("top", 2 ** 63 - 1)
    with pytest.raises(redis.ResponseError, match="increment or decrement would overflow"):
        client.incr("top")
    assert client.get("top") == b"9223372036854775807"


def test_parts_of_strings(client):
    assert client.append("s", "Hello") == 5
    assert client.append("s", " World") == 11
    assert client.getrange("s", 0, 4) == b"Hello"
    assert client.getrange("s", -5, -1) == b"World"
    assert client.setrange("s", 6, "Redis") == 11
    assert client.get("s") == b"Hello Redis"
    assert client.setrange("padded", 3, "x") == 4
    assert client.get("padded") == b"\x00\x00\x00x"
    assert client.strlen("nokey") == 0


@pytest.mark.parametrize("size", [0, 1, 43, 44, 45, 100, 1000, 4095, 4096, 65535, 65536, 1000000])
def test_values_of_any_size(client, size):
    value = bytes(i * 7 % 256 for i in range(min(size, 4096))) * (size // 4096 + 1)
    value = value[:size]
    client.set("sized", value)
    assert client.get("sized") == value
    client.append("sized", "!")
    assert client.get("sized") == value + b"!"
    client.set("sized", "short")
    assert client.get("sized") == b"short"


def test_bitmaps(client):
    for bit in (1, 5, 100, 1000):
        assert client.setbit("bits", bit, 1) == 0
    assert client.bitcount("bits") == 4
    assert client.getbit("bits", 100) == 1 and client.getbit("bits", 101) == 0
    assert client.bitpos("bits", 1) == 1


def test_bitop_meets_over_shards(client):
    keys = names("source", 20)
    for i, key in enumerate(keys):
        client.setbit(key, i, 1)
    assert client.bitop("OR", "dest", *keys) == 3
    assert client.bitcount("dest") == 20
    assert client.bitop("AND", "dest", *keys) == 3
    assert client.bitcount("dest") == 0
    assert client.bitop("NOT", "dest", "nokey") == 0
    assert not client.exists("dest")


def test_expiry_with_set_and_getex(client):
    for key in names("ex", 20):
        client.set(key, "v", ex=100)
        assert 99 <= client.ttl(key) <= 100
        client.set(key, "w", keepttl=True)
        assert client.ttl(key) > 0
        assert client.getex(key, persist=True) == b"w"
        assert client.ttl(key) == -1
        client.setex(key, 50, "x")
        assert 49 <= client.ttl(key) <= 50
        client.set(key, "y")
        assert client.ttl(key) == -1
    client.set("gone", "v", px=20)
    time.sleep(0.05)
    assert client.get("gone") is None
