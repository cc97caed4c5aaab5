"""Huge collections in a snapshot: written by BGSAVE while clients change, empty, rename and drop
them. The file, as redis-server loads it, has them as they were when BGSAVE was answered."""

import random
import shutil
import time

import pytest

import harness

REDIS = "/usr/bin/redis-server"
needs_redis = pytest.mark.skipif(not shutil.which(REDIS), reason="no redis-server is installed")

ELEMENTS = 3000
CHANGES = 3000
# Those that are dropped, overwritten, moved and emptied while they are being written.
VARIANTS = ("kept", "dropped", "replaced", "renamed", "emptied")


def fill(client, variant):
    numbers = range(ELEMENTS)
    requests = []
    for first in range(0, ELEMENTS, 500):
        some = numbers[first:first + 500]
        requests += [
            ("HSET", f"hash:{variant}") + tuple(x for i in some
                                                for x in (f"f{i}", f"value{i}" * 3)),
            ("SADD", f"set:{variant}") + tuple(f"m{i}" for i in some),
            ("ZADD", f"zset:{variant}") + tuple(x for i in some for x in (i * 1.5, f"m{i}")),
            ("RPUSH", f"list:{variant}") + tuple(f"element{i}" * 4 for i in some),
        ]
        requests += [("XADD", f"stream:{variant}", f"{i + 1}-1", "f", f"v{i}") for i in some]
    requests.append(("XGROUP", "CREATE", f"stream:{variant}", "g", "0"))
    requests += [("XREADGROUP", "GROUP", "g", f"c{n}", "COUNT", ELEMENTS // 8, "STREAMS",
                  f"stream:{variant}", ">") for n in range(4)]
    pipeline(client, requests)


def pipeline(client, requests):
    client.send(b"".join(harness.encode(*request) for request in requests))
    for request in requests:
        reply = client.read_reply()
        assert not isinstance(reply, harness.ReplyError), (request[:2], reply)


def change(pick, variant):
    i = pick.randrange(ELEMENTS * 3 // 2)
    h, s, z, l, x = (f"{name}:{variant}" for name in ("hash", "set", "zset", "list", "stream"))
    return pick.choice([
        ("HSET", h, f"f{i}", f"new{i}"), ("HDEL", h, f"f{i}"),
        ("SADD", s, f"m{i}"), ("SREM", s, f"m{i}"), ("SPOP", s),
        ("ZINCRBY", z, "1000", f"m{i}"), ("ZREM", z, f"m{i}"), ("ZPOPMIN", z),
        ("LPUSH", l, f"new{i}"), ("RPOP", l), ("LSET", l, i % 1000, f"set{i}"),
        ("LINSERT", l, "BEFORE", f"element{i % 300}" * 4, "between"),
        ("XADD", x, "*", "f", "new"), ("XDEL", x, f"{i}-1"), ("XACK", x, "g", f"{i}-1"),
        ("XCLAIM", x, "g", "c5", "0", f"{i % (ELEMENTS // 2) + 1}-1"),
        ("XREADGROUP", "GROUP", "g", "c0", "COUNT", "1", "STREAMS", x, ">"),
        ("XTRIM", x, "MAXLEN", "~", ELEMENTS - i // 4),
    ])


def change_all(client):
    """All keys, at the moments when some are about halfway."""
    pick = random.Random(1)
    names = ("hash", "set", "zset", "list", "stream")
    endings = [("DEL",) + tuple(f"{n}:dropped" for n in names)]
    endings += [("SET", f"{n}:replaced", "a string") for n in names]
    endings += [("RENAME", f"{n}:renamed", f"other:{n}") for n in names]
    endings += [("SPOP", "set:emptied", ELEMENTS - 10), ("LTRIM", "list:emptied", 0, 3),
                ("ZREMRANGEBYRANK", "zset:emptied", 0, -2),
                ("XTRIM", "stream:emptied", "MAXLEN", 1),
                ("XGROUP", "DESTROY", "stream:emptied", "g")]
    pipeline(client, [change(pick, variant) for variant in VARIANTS for _ in range(200)])
    pipeline(client, endings)
    for _ in range(CHANGES // 500):
        pipeline(client, [change(pick, "kept") for _ in range(500)])


def content(client):
    """Of all keys; `DEBUG DIGEST-VALUE` would leave out what is pending."""
    found = {}
    for key in sorted(client.call("KEYS", "*")):
        name = key.split(b":")[0]
        if name == b"hash":
            flat = client.call("HGETALL", key)
            found[key] = sorted(zip(flat[::2], flat[1::2]))
        elif name == b"set":
            found[key] = sorted(client.call("SMEMBERS", key))
        elif name == b"zset":
            found[key] = client.call("ZRANGE", key, "0", "-1", "WITHSCORES")
        elif name == b"list":
            found[key] = client.call("LRANGE", key, "0", "-1")
        else:
            pending = client.call("XPENDING", key, "g", "-", "+", ELEMENTS)
            found[key] = [client.call("XRANGE", key, "-", "+"),
                          [(id, consumer, count) for id, consumer, _, count in pending],
                          client.call("XINFO", "GROUPS", key)]
    return found


def wait_for_save(client):
    while b"rdb_bgsave_in_progress:1" in client.call("INFO", "persistence"):
        time.sleep(0.01)
    assert b"rdb_last_bgsave_status:ok" in client.call("INFO", "persistence")


def content_in_redis(directory):
    redis = harness.Server(command=lambda port: [REDIS, "--port", str(port), "--save", "",
                                                 "--dir", directory])
    try:
        with redis.raw() as client:
            return content(client)
    finally:
        redis.stop()
        redis.destroy()


@needs_redis
def test_huge_collections_are_saved_as_they_were(fresh_server, tmp_path):
    """The delay makes the save wait for the changes."""
    server = fresh_server("--dir", str(tmp_path))
    with server.raw() as client:
        for variant in VARIANTS:
            fill(client, variant)
        before = content(client)
        client.call("CONFIG", "SET", "rdb-key-save-delay", "10000")
        assert client.call("BGSAVE") == "Background saving started"
        change_all(client)
        wait_for_save(client)
        assert client.call("EXISTS", "hash:dropped") == 0
    after = content_in_redis(str(tmp_path))
    assert after.keys() == before.keys()
    for key in before:
        assert after[key] == before[key], key
