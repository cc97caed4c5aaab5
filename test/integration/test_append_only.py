"""The append-only file while the server runs: what is acknowledged is in it, in one order, and what
becomes of a disk that is full. What is loaded from it is in test_crash.py and test_load.py."""

import glob
import os
import resource
import threading
import time

import pytest

import harness
from harness import ReplyError

POLICIES = ["always", "everysec", "no"]


def increment(server):
    """The bytes of the newest increment."""
    files = glob.glob(os.path.join(server.directory.name, "appendonlydir", "*.incr.aof"))
    newest = max(files, key=lambda f: int(f.split(".")[-3]))
    with open(newest, "rb") as f:
        return f.read()


def commands(data):
    """Its commands as tuples of words; an incomplete one at the end is left out."""
    made, at = [], 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        if data[at:at + 1] == b"#":
            made.append((data[at:end],))
            at = end + 2
            continue
        assert data[at:at + 1] == b"*", data[at:at + 40]
        count, at, words = int(data[at + 1:end]), end + 2, []
        for _ in range(count):
            end = data.find(b"\r\n", at)
            if end < 0:
                return made
            size = int(data[at + 1:end])
            words.append(data[end + 2:end + 2 + size])
            at = end + 2 + size + 2
        if at > len(data):
            return made
        made.append(tuple(words))
    return made


def keys_set(data):
    return [c[1] for c in commands(data) if c[0].lower() == b"set"]


def wait_until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.mark.parametrize("policy", POLICIES)
def test_each_write_stands_in_the_file(fresh_server, policy):
    server = fresh_server("--appendonly", "yes", "--appendfsync", policy)
    with server.raw() as r:
        assert r.call("SET", "a", 1) == "OK"
        assert r.call("SELECT", 3) == "OK"
        assert r.call("MSET", *[w for i in range(20) for w in (f"k{i}", i)]) == "OK"
        assert r.call("GET", "k1") == b"1"
        assert r.call("EVAL", "redis.call('set', KEYS[1], 1) redis.call('incr', KEYS[2])", 2, "x",
                      "y") is None
        assert r.call("SET", "end", "1") == "OK"
    wait_until(lambda: b"end" in keys_set(increment(server)), "the last write never came")
    made = commands(increment(server))
    assert made[:2] == [(b"SELECT", b"0"), (b"SET", b"a", b"1")]
    assert made[2] == (b"SELECT", b"3")
    stored = [w for c in made if c[0] == b"MSET" for w in c[1::2]]
    assert sorted(stored) == sorted(b"k%d" % i for i in range(20))
    script = made.index((b"set", b"x", b"1"))
    assert [c[0] for c in made[script - 1:script + 3]] == [b"MULTI", b"set", b"incr", b"EXEC"]
    assert made[-1] == (b"SET", b"end", b"1")


def test_always_what_is_acknowledged_is_in_the_file_by_then(fresh_server):
    """Each client looks for its key once it has the reply, while others write."""
    server = fresh_server("--appendonly", "yes", "--appendfsync", "always")
    missing = []

    def write(name):
        with server.raw() as r:
            for i in range(20):
                key = b"%s:%d" % (name, i)
                if i % 2:
                    assert r.call("SET", key, i) == "OK"
                else:
                    r.send(harness.encode("SET", key, i) + harness.encode("GET", key))
                    assert r.read_reply() == "OK"
                if b"\r\n%s\r\n" % key not in increment(server):
                    missing.append(key)
                if not i % 2:
                    assert r.read_reply() == b"%d" % i

    threads = [threading.Thread(target=write, args=(b"w%d" % i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert missing == []


def test_always_a_message_does_not_tell_of_what_may_be_lost(fresh_server):
    server = fresh_server("--appendonly", "yes", "--appendfsync", "always")
    with server.raw() as listener, server.raw() as r:
        listener.call("SUBSCRIBE", "c")
        for i in range(50):
            r.send(harness.encode("SET", f"k{i}", i) + harness.encode("PUBLISH", "c", f"k{i}"))
            assert listener.read_reply()[2] == b"k%d" % i
            assert b"k%d" % i in keys_set(increment(server))
            assert [r.read_reply() for _ in range(2)] == ["OK", 1]


def test_the_time_is_told_where_that_is_asked_for(fresh_server):
    server = fresh_server("--appendonly", "yes", "--appendfsync", "always",
                          "--aof-timestamp-enabled", "yes")
    before = int(time.time())
    with server.raw() as r:
        assert r.call("SET", "a", 1) == "OK"
    told = commands(increment(server))[0][0]
    assert told.startswith(b"#TS:") and before <= int(told[4:]) <= int(time.time())


BULK = "x" * 50000  # so that the log stays below the limit


def limit_files(server, size):
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY if size is None else size, resource.RLIM_INFINITY))


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_full_disk_refuses_writes_and_loses_nothing(fresh_server, policy):
    """A limit on files' size stands for the disk: the last write fits by half."""
    server = fresh_server("--appendonly", "yes", "--appendfsync", policy)
    with server.raw() as r, server.raw() as late:
        assert r.call("SET", "before", BULK) == "OK"
        wait_until(lambda: keys_set(increment(server)) == [b"before"], "it never came")
        size = len(increment(server))
        limit_files(server, size + 20)
        late.send(harness.encode("SET", "late", "y" * 100))
        wait_until(lambda: "Error writing to the AOF file: File too large" in server.log(),
                   "nothing was logged")
        reply = r.call("SET", "refused", 1)
        assert isinstance(reply, ReplyError)
        assert reply.text == "MISCONF Errors writing to the AOF file: File too large"
        if policy == "everysec":
            assert r.call("GET", "before") == BULK.encode()
        assert len(increment(server)) == size + 20
        if policy == "always":
            late.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.socket.recv(1)
            late.socket.settimeout(10)
        limit_files(server, None)
        assert late.read_reply() == "OK"
        wait_until(lambda: "AOF write error looks solved" in server.log(), "it stays broken")
        assert r.call("SET", "after", 1) == "OK"
    wait_until(lambda: keys_set(increment(server)) == [b"before", b"late", b"after"], "lost")


def test_a_full_disk_holds_up_nobody_who_asks_for_no_data(fresh_server):
    server = fresh_server("--appendonly", "yes", "--appendfsync", "always")
    with server.raw() as r, server.raw() as late:
        assert r.call("SET", "before", BULK) == "OK"
        limit_files(server, len(increment(server)))
        late.send(harness.encode("SET", "{a}late", 1))
        wait_until(lambda: "Error writing to the AOF file" in server.log(), "nothing was logged")
        assert r.call("ECHO", "x") == b"x"
        limit_files(server, None)
        assert late.read_reply() == "OK"


def test_a_clean_stop_writes_what_waits(fresh_server):
    server = fresh_server("--appendonly", "yes")
    with server.raw() as r:
        for i in range(200):
            r.send(harness.encode("SET", f"k{i}", i))
        r.send(harness.encode("SHUTDOWN", "NOSAVE"))
        assert [r.read_reply() for _ in range(200)] == ["OK"] * 200
    server.wait_for_end()
    assert len(keys_set(increment(server))) == 200
    server.start()
