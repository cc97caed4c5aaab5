"""RESTORE: values of every type and encoding that redis-server dumps, those of versions before it
built from the format, bytes that make no value; and MIGRATE between servers."""

import glob
import os
import random
import shutil
import struct

import pytest

import harness
import rdb_build as rdb
from harness import ReplyError

REDIS = "/usr/bin/redis-server"

needs_redis = pytest.mark.skipif(not shutil.which(REDIS), reason="no redis-server is installed")


def start_redis(*args):
    return harness.Server(command=lambda port: [
        REDIS, "--port", str(port), "--save", "", "--enable-debug-command", "yes", *args])


@pytest.fixture(scope="module")
def redis_server():
    made = start_redis()
    yield made
    made.close_clients()
    made.stop()


def commands_of_values():
    """Key, encoding here, the commands that make it."""
    words = [f"word:{i}" for i in range(1000)]
    more = [f"more:{i}" for i in range(200)]
    texts = ["", "-0.5", "01", "\x00\xff", "x" * 300, "-9223372036854775808"]
    stream = [("XADD", "stream", f"{i}-{i % 3 + 1}", *(["temperature", i] if i % 5 else
                                                    ["other", "y", "second", i]))
              for i in range(1, 300)]
    groups = [("XDEL", "stream", "5-3", "170-3", "299-3"), ("XGROUP", "CREATE", "stream", "g", "0"),
              ("XGROUP", "CREATE", "stream", "h", "100"), ("XGROUP", "CREATE", "stream", "i", "$"),
              ("XREADGROUP", "GROUP", "g", "alice", "COUNT", 40, "STREAMS", "stream", ">"),
              ("XREADGROUP", "GROUP", "g", "bob", "COUNT", 30, "STREAMS", "stream", ">"),
              ("XACK", "stream", "g", "7-2", "50-3"),
              ("XGROUP", "CREATECONSUMER", "stream", "h", "carol")]
    return [
        ("int", "int", [("SET", "int", "-123456")]),
        ("int64", "int", [("SET", "int64", "-9223372036854775808")]),
        ("embstr", "embstr", [("SET", "embstr", "short")]),
        ("raw", "raw", [("SET", "raw", "abcabcabc" * 1000)]),
        ("empty", "embstr", [("SET", "empty", "")]),
        ("list", "listpack", [("RPUSH", "list", 1, -300, 70000, 1 << 40, *texts)]),
        ("list2", "quicklist", [("RPUSH", "list2", *words, *texts, *words)]),
        ("list3", "quicklist", [("RPUSH", "list3", "small", "l" * 100000, "small", *texts)]),
        ("intset16", "intset", [("SADD", "intset16", 1, -2, 300)]),
        ("intset32", "intset", [("SADD", "intset32", 1, 70000)]),
        ("intset64", "intset", [("SADD", "intset64", 1, 1 << 50)]),
        ("ints", "hashtable", [("SADD", "ints", *range(600))]),
        ("set", "listpack", [("SADD", "set", *texts[:4], 7)]),
        ("set2", "hashtable", [("SADD", "set2", *words)]),
        ("set3", "hashtable", [("SADD", "set3", "x" * 65)]),
        ("zset", "listpack", [("ZADD", "zset", 1, "a", 1, "b", -0.25, "c", "inf", "d", "-inf", "e",
                                1e300, "f", 3, 17, 1 << 53, "")]),
        ("zset2", "skiplist", [("ZADD", "zset2", *sum(([i / 7, w] for i, w in enumerate(words)),
                                                      []))]),
        ("hash", "listpack", [("HSET", "hash", *texts[:4], "n", -5, "m", 1 << 33)]),
        ("hash2", "hashtable", [("HSET", "hash2", *words, *more)]),
        ("hash3", "hashtable", [("HSET", "hash3", "f", "x" * 65)]),
        ("stream", "stream", stream + groups),
        ("stream2", "stream", [("XADD", "stream2", "1-1", "a", "b"), ("XDEL", "stream2", "1-1")]),
    ]


STREAM_QUESTIONS = [
    ("XRANGE", "-", "+"), ("XREVRANGE", "+", "-"), ("XPENDING", "g"), ("XINFO", "GROUPS")]


def ask_of_stream(raw, key):
    answers = [raw.call(q[0], *([key, *q[1:]] if q[0] != "XINFO" else [q[1], key]))
               for q in STREAM_QUESTIONS]
    pending = raw.call("XPENDING", key, "g", "-", "+", 100)
    return answers, isinstance(pending, list) and [[p[0], p[1], p[3]] for p in pending]


@needs_redis
def test_what_redis_dumps_is_restored_as_the_same_value(redis_server, server):
    with redis_server.raw() as there, server.raw() as here:
        for key, encoding, commands in commands_of_values():
            for command in commands:
                assert not isinstance(there.call(*command), ReplyError), command
                here.call(*command)
            made = here.call("DEBUG", "DIGEST-VALUE", key)
            dumped = there.call("DUMP", key)
            assert here.call("RESTORE", key, 0, dumped, "REPLACE") == "OK", key
            assert here.call("OBJECT", "ENCODING", key).decode() == encoding, key
            assert here.call("DEBUG", "DIGEST-VALUE", key) == made, key
            if encoding == "stream":
                assert ask_of_stream(here, key) == ask_of_stream(there, key)


def zset_1(*pairs):
    """Sorted sets before Redis 4: scores as text."""
    def score(text):
        special = {"inf": b"\xfe", "-inf": b"\xff", "nan": b"\xfd"}
        return special.get(text) or string_of_byte(text.encode())

    def string_of_byte(text):
        return bytes([len(text)]) + text

    return rdb.length(len(pairs)) + b"".join(rdb.string(m) + score(s) for m, s in pairs)


LONG = b"long" * 5000
OLD_VALUES = [
    (rdb.STRING, b"\xc0\x85", "GET", b"-123"),
    (rdb.STRING, b"\xc1\x00\x80", "GET", b"-32768"),
    (rdb.STRING, b"\xc2\x00\x00\x00\x80", "GET", b"-2147483648"),
    (rdb.STRING, b"\xc3\x05\x2a\x00a\xe0\x20\x00", "GET", b"a" * 42),
    (rdb.LIST, rdb.length(3) + rdb.strings(b"a", b"1", LONG), "LRANGE", [b"a", b"1", LONG]),
    (rdb.SET, rdb.length(2) + rdb.strings(b"b", b"a"), "SMEMBERS", [b"a", b"b"]),
    (rdb.ZSET, zset_1((b"a", "1.5"), (b"b", "inf"), (b"c", "-inf")), "ZRANGE",
     [b"c", b"-inf", b"a", b"1.5", b"b", b"inf"]),
    (rdb.HASH, rdb.length(2) + rdb.strings(b"f", b"1", b"g", LONG), "HGETALL",
     [b"f", b"1", b"g", LONG]),
    (rdb.HASH_ZIPMAP, rdb.string(rdb.zipmap(f=b"1", g=b"x" * 300, h=b"")), "HGETALL",
     [b"f", b"1", b"g", b"x" * 300, b"h", b""]),
    (rdb.LIST_ZIPLIST, rdb.string(rdb.ziplist(
        b"a", 0, 12, -1, 300, -40000, 1 << 30, -(1 << 40), b"x" * 300, LONG, b"", b"17")),
     "LRANGE", [b"a", b"0", b"12", b"-1", b"300", b"-40000", b"1073741824", b"-1099511627776",
                b"x" * 300, LONG, b"", b"17"]),
    (rdb.HASH_ZIPLIST, rdb.string(rdb.ziplist(b"f", 1, b"g", b"v")), "HGETALL",
     [b"f", b"1", b"g", b"v"]),
    (rdb.ZSET_ZIPLIST, rdb.string(rdb.ziplist(b"a", -1, b"b", b"1.5", 7, 2)), "ZRANGE",
     [b"a", b"-1", b"b", b"1.5", b"7", b"2"]),
    (rdb.SET_INTSET, rdb.string(rdb.intset(4, -5, 6)), "SMEMBERS", [b"-5", b"6"]),
    (rdb.SET_LISTPACK, rdb.string(rdb.listpack(b"a", 5)), "SMEMBERS", [b"5", b"a"]),
    (rdb.LIST_QUICKLIST, rdb.length(3) + rdb.strings(
        rdb.ziplist(b"a", 1), rdb.ziplist(), rdb.ziplist(b"b")), "LRANGE", [b"a", b"1", b"b"]),
    (rdb.LIST_QUICKLIST_2, rdb.length(2) + b"\x02" + rdb.string(rdb.listpack(b"a", 1)) +
     b"\x01" + rdb.string(b"plain"), "LRANGE", [b"a", b"1", b"plain"]),
    (rdb.HASH_FIELDS, struct.pack("<Q", 1 << 44) + rdb.length(2) + b"\x01" +
     rdb.strings(b"f", b"1") + b"\x00" + rdb.strings(b"g", b"2"), "HGETALL",
     [b"f", b"1", b"g", b"2"]),
    (rdb.HASH_LISTPACK_EX, struct.pack("<Q", 1 << 44) + rdb.string(
        rdb.listpack(b"f", 1, 1 << 44, b"g", 2, 0)), "HGETALL", [b"f", b"1", b"g", b"2"]),
    (rdb.HASH_FIELDS_PRE, rdb.length(1) + rdb.length(1 << 44) + rdb.strings(b"f", b"1"), "HGETALL",
     [b"f", b"1"]),
    (rdb.HASH_LISTPACK_EX_PRE, rdb.string(rdb.listpack(b"f", 1, 1 << 44)), "HGETALL",
     [b"f", b"1"]),
]
READ_ARGS = {"LRANGE": (0, -1), "ZRANGE": (0, -1, "WITHSCORES")}


def test_forms_of_old_and_new_versions_are_read(server):
    with server.raw() as r:
        for kind, body, command, expected in OLD_VALUES:
            reply = r.call("RESTORE", "k", 0, rdb.payload(kind, body, 12), "REPLACE")
            assert reply == "OK", (kind, reply)
            found = r.call(command, "k", *READ_ARGS.get(command, ()))
            if command == "SMEMBERS":
                found = sorted(found)
            assert found == expected, kind
            if kind in (rdb.HASH_FIELDS, rdb.HASH_LISTPACK_EX):
                assert r.call("HPEXPIRETIME", "k", "FIELDS", 2, "f", "g") == [1 << 44, -1]


EMPTY_OR_WRONG = [
    (rdb.LIST, b"\x00"), (rdb.SET, b"\x00"), (rdb.ZSET_2, b"\x00"), (rdb.HASH, b"\x00"),
    (rdb.HASH_LISTPACK, rdb.string(rdb.listpack())), (rdb.SET_INTSET, rdb.string(rdb.intset(2))),
    (rdb.LIST_QUICKLIST, b"\x01" + rdb.string(rdb.ziplist())),
    (rdb.HASH_ZIPMAP, rdb.string(rdb.zipmap())),
    # Twice.
    (rdb.SET, b"\x02" + rdb.strings(b"a", b"a")), (rdb.HASH, b"\x02" + rdb.strings(*[b"a"] * 4)),
    (rdb.SET_LISTPACK, rdb.string(rdb.listpack(1, b"1"))),
    (rdb.HASH_LISTPACK, rdb.string(rdb.listpack(b"a", 1, b"a", 2))),
    (rdb.ZSET_LISTPACK, rdb.string(rdb.listpack(b"a", 1, b"a", 2))),
    (rdb.HASH_ZIPLIST, rdb.string(rdb.ziplist(1, 1, b"1", 1))),
    (rdb.SET_INTSET, rdb.string(rdb.intset(2, 1, 1))),
    # Odd, unsorted, no number.
    (rdb.HASH_LISTPACK, rdb.string(rdb.listpack(b"a"))),
    (rdb.ZSET_LISTPACK, rdb.string(rdb.listpack(b"a", b"x"))),
    (rdb.ZSET_LISTPACK, rdb.string(rdb.listpack(b"a", b"nan"))),
    (rdb.ZSET, zset_1((b"a", "nan"))),
    (rdb.ZSET_2, b"\x01" + rdb.string(b"a") + struct.pack("<d", float("nan"))),
    (rdb.SET_INTSET, rdb.string(rdb.intset(2, 2, 1))),
    (rdb.HASH_LISTPACK_EX, struct.pack("<Q", 1) + rdb.string(rdb.listpack(b"f", 1, -1))),
    (rdb.HASH_LISTPACK_EX, struct.pack("<Q", 1) + rdb.string(rdb.listpack(b"f", 1, b"x"))),
    (rdb.HASH_FIELDS, struct.pack("<Q", 1 << 60) + b"\x01\x01" + rdb.strings(b"f", b"v")),
    (rdb.LIST_QUICKLIST_2, b"\x01\x03" + rdb.string(rdb.listpack(b"a"))),
    (rdb.LIST_QUICKLIST_2, b"\x01\x01\x00"),
    # More than there is.
    (rdb.STRING, b"\x81\x00\x00\x00\xff\xff\xff\xff\xff"), (rdb.STRING, b"\x80\xff\xff\xff\xff"),
    (rdb.STRING, b"\xc3\x02\x81\x00\x00\x00\x7f\xff\xff\xff\xff\x00a"), (rdb.STRING, b"\xc4a"),
    (rdb.HASH, b"\x80\xff\xff\xff\xff\x01a\x01b"), (rdb.STREAM, b"\x80\xff\xff\xff\xff"),
    (rdb.STRING, rdb.string(b"a") + b"more"), (rdb.MODULE_2, b"\x00" * 9), (99, b"\x01a"),
]


def test_bytes_that_make_no_value_are_refused(server):
    with server.raw() as r:
        for kind, body in EMPTY_OR_WRONG:
            reply = r.call("RESTORE", "k", 0, rdb.payload(kind, body))
            assert reply == ReplyError("ERR Bad data format"), (kind, body)
        for wrong in (b"", b"short", rdb.payload(0, b"\x01a")[:-1] + b"x",
                      rdb.payload(0, b"\x01a", 13)):
            assert r.call("RESTORE", "k", 0, wrong) == \
                ReplyError("ERR DUMP payload version or checksum are wrong")
        assert r.call("EXISTS", "k") == 0


@needs_redis
def test_damaged_payloads_do_no_harm(redis_server, server):
    rng = random.Random(7)
    there, here = redis_server.raw(), server.raw()
    there.call("FLUSHALL")
    started = server.pid
    good = []
    for key, _, commands in commands_of_values():
        for command in commands:
            there.call(*command)
        good.append((key, there.call("DUMP", key)))
    for key, data in good:
        if len(data) > 30000:
            continue
        for _ in range(25):
            broken = bytearray(data)
            for _ in range(rng.choice((1, 1, 2, 5))):
                broken[rng.randrange(len(broken) - 10)] = rng.randrange(256)
            if here.call("RESTORE", key, 0, rdb.mended(bytes(broken)), "REPLACE") == "OK":
                here.call("DEBUG", "DIGEST-VALUE", key)
                here.call("SPOP", key, 2)
                here.call("LPOP", key, 2)
                here.call("ZPOPMAX", key, 2)
                here.call("XADD", key, "*", "a", "b")
                here.call("DEL", key)
    assert here.call("PING") == "PONG" and server.pid == started
    here.close()
    there.close()


def test_restore_takes_a_time_to_live_and_clocks(server):
    data = rdb.payload(rdb.STRING, b"\x01a")
    with server.raw() as r:
        now = int(r.call("TIME")[0]) * 1000
        assert r.call("RESTORE", "k", 100000, data) == "OK"
        assert 90000 < r.call("PTTL", "k") <= 100000
        assert r.call("RESTORE", "k", now + 50000, data, "ABSTTL", "REPLACE") == "OK"
        assert r.call("PEXPIRETIME", "k") == now + 50000
        assert r.call("RESTORE", "k", 0, data) == \
            ReplyError("BUSYKEY Target key name already exists.")
        assert r.call("RESTORE", "k", 1, data, "ABSTTL", "REPLACE") == "OK"
        assert r.call("EXISTS", "k") == 0
        assert r.call("RESTORE", "k", 0, data, "IDLETIME", 1000) == "OK"
        assert 1000 <= r.call("OBJECT", "IDLETIME", "k") <= 1010
        r.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        try:
            assert r.call("RESTORE", "k", 0, data, "FREQ", 100, "REPLACE") == "OK"
            assert r.call("OBJECT", "FREQ", "k") == 100
        finally:
            r.call("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_restore_notifies_and_serves_those_who_wait(server):
    data = rdb.payload(rdb.STRING, b"\x01a")
    items = rdb.payload(rdb.LIST, rdb.length(2) + rdb.strings(b"x", b"y"))
    with server.raw() as r, server.raw() as listener, server.raw() as waiting:
        r.call("CONFIG", "SET", "notify-keyspace-events", "KEAn")
        try:
            listener.call("PSUBSCRIBE", "__keyevent@0__:*")
            waiting.send(harness.encode("BLPOP", "l", 0))
            while b"cmd=blpop" not in r.call("CLIENT", "LIST"):
                pass
            r.call("RESTORE", "k", 0, data)
            r.call("RESTORE", "k", 1000000, data, "REPLACE")
            r.call("RESTORE", "k", 1, data, "ABSTTL", "REPLACE")
            r.call("RESTORE", "k", 1, data, "ABSTTL")
            r.call("RESTORE", "l", 0, items)
            assert waiting.read_reply() == [b"l", b"x"]
            told = [listener.read_reply()[2:] for _ in range(8)]
            assert [(channel.decode().split(":")[1], key) for channel, key in told] == [
                ("new", b"k"), ("restore", b"k"), ("new", b"k"), ("restore", b"k"), ("del", b"k"),
                ("new", b"l"), ("restore", b"l"), ("lpop", b"l")]
        finally:
            r.call("CONFIG", "SET", "notify-keyspace-events", "")


@pytest.fixture
def target():
    made = start_redis("--databases", "4")
    yield made
    made.close_clients()
    made.stop()


@needs_redis
def test_migrate_hands_keys_to_redis_and_takes_them_back(target, server):
    with server.raw() as here, target.raw() as there:
        here.call("SET", "a", "1")
        here.call("SET", "b", "2", "PX", 100000)
        here.call("RPUSH", "c", *range(300))
        assert here.call("MIGRATE", "127.0.0.1", target.port, "nokey", 0, 1000) == "NOKEY"
        assert here.call("MIGRATE", "127.0.0.1", target.port, "", 1, 1000, "COPY", "KEYS", "a") == \
            "OK"
        assert here.call("MIGRATE", "127.0.0.1", target.port, "", 1, 1000, "KEYS", "a", "b", "c",
                         "nokey") == \
            ReplyError("ERR Target instance replied with error: BUSYKEY Target key name already "
                       "exists.")
        assert here.call("EXISTS", "a", "b", "c") == 1
        there.call("SELECT", 1)
        assert there.call("LLEN", "c") == 300 and 90000 < there.call("PTTL", "b") <= 100000
        assert here.call("MIGRATE", "127.0.0.1", target.port, "a", 1, 1000, "REPLACE") == "OK"
        assert here.call("DBSIZE") == 0
        assert there.call("MIGRATE", "127.0.0.1", server.port, "", 0, 5000, "KEYS", "a", "b", "c") \
            == "OK"
        assert here.call("LRANGE", "c", 298, -1) == [b"298", b"299"] and there.call("DBSIZE") == 0
        assert 90000 < here.call("PTTL", "b") <= 100000


@needs_redis
def test_migrate_tells_what_failed_and_keeps_the_keys(target, server):
    with server.raw() as here, target.raw() as there:
        here.call("SET", "a", "1")

        def migrate(*options, port=target.port, db=0, key="a", timeout=1000):
            return here.call("MIGRATE", "127.0.0.1", port, key, db, timeout, *options).text

        assert migrate(db=9) == \
            "ERR Target instance replied with error: ERR DB index is out of range"
        assert migrate(port=harness.free_port()) == \
            "IOERR error or timeout writing to target instance"
        assert migrate(port=server.port, timeout=100).startswith("IOERR error or timeout ")
        assert migrate("AUTH") == migrate("x") == "ERR syntax error"
        assert migrate("KEYS", "b").startswith("ERR When using MIGRATE KEYS option")
        there.call("CONFIG", "SET", "requirepass", "secret")
        assert migrate("AUTH", "wrong").startswith(
            "ERR Target instance replied with error: WRONGPASS")
        assert migrate().startswith("ERR Target instance replied with error: NOAUTH")
        assert here.call("GET", "a") == b"1"
        assert here.call("MIGRATE", "127.0.0.1", target.port, "a", 0, 1000, "AUTH2", "default",
                         "secret") == "OK"
        assert here.call("EXISTS", "a") == 0


def test_migrate_goes_on_beside_other_clients(fresh_server, server):
    other = fresh_server("--shards", 3)
    with server.raw() as here, other.raw() as there, server.raw() as beside:
        for i in range(200):
            here.call("SET", f"key:{i}", i)
        for i in range(0, 200, 10):
            keys = [f"key:{j}" for j in range(i, i + 10)]
            here.send(harness.encode("MIGRATE", "127.0.0.1", other.port, "", 0, 5000, "KEYS",
                                     *keys))
            assert beside.call("INCR", "count") == i // 10 + 1
            assert here.read_reply() == "OK"
        assert there.call("DBSIZE") == 200 and here.call("DBSIZE") == 1


@needs_redis
def test_what_was_restored_or_handed_over_is_journaled_as_that(target, fresh_server):
    journaling = fresh_server("--appendonly", "yes", "--appendfsync", "always")
    data = rdb.payload(rdb.STRING, b"\x01a")
    with journaling.raw() as r:
        assert r.call("RESTORE", "k", 1000000, data) == "OK"
        expires = r.call("PEXPIRETIME", "k")
        assert r.call("RESTORE", "k", 1, data, "REPLACE", "ABSTTL") == "OK"
        r.call("SET", "m", "1")
        assert r.call("MIGRATE", "127.0.0.1", target.port, "m", 0, 1000) == "OK"
    files = glob.glob(os.path.join(journaling.directory.name, "appendonlydir", "*.incr.aof"))
    with open(files[0], "rb") as f:
        journaled = f.read()
    assert journaled == b"".join(harness.encode(*command) for command in (
        ("SELECT", 0), ("RESTORE", "k", expires, data, "REPLACE", "ABSTTL"), ("DEL", "k"),
        ("SET", "m", "1"), ("DEL", "m")))
