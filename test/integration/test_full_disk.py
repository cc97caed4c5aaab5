"""A disk that is full: the journal waits, clients are told, and a stop loses nothing unasked."""

import contextlib
import os
import select
import subprocess
import time

import pytest

from harness import encode
from test_snapshots import path_of, persistence, wait_until

SIZE = 1 << 20
LARGE = "x" * 300000


@pytest.fixture
def small_disk(fresh_server):
    """A server whose append-only file lies on a disk of its own; and that directory."""
    server = fresh_server("--enable-protected-configs", "yes")
    small = path_of(server, "small")
    os.mkdir(small)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", small]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield server, small
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(small, "filler"))
    server.stop()
    subprocess.run(["umount", "-l", small], check=False)


def fill(directory):
    with open(os.path.join(directory, "filler"), "wb") as f:
        f.truncate(0)
        try:
            for size in (65536, 4096, 1):
                while True:
                    os.write(f.fileno(), b"x" * size)
        except OSError:
            pass


@pytest.mark.parametrize("policy", ["always", "everysec"])
def test_a_full_disk_delays_and_loses_nothing(small_disk, policy):
    server, small = small_disk
    args = ["--dir", small, "--appendonly", "yes", "--appendfsync", policy]
    server.restart(*args)
    with server.raw() as writer, server.raw() as raw:
        fill(small)
        writer.send(encode("SET", "large", LARGE))
        if policy == "everysec":
            assert writer.read_reply() == "OK"
        wait_until(lambda: persistence(raw)["aof_last_write_status"] == "err")
        assert raw.call("SET", "a", 1).startswith("MISCONF Errors writing to the AOF file")
        assert raw.call("SHUTDOWN") == "ERR Errors trying to SHUTDOWN. Check logs."
        os.unlink(os.path.join(small, "filler"))
        wait_until(lambda: persistence(raw)["aof_last_write_status"] == "ok")
        if policy == "always":
            assert writer.read_reply() == "OK"
        assert raw.call("SET", "a", 2) == "OK"
    server.restart(*args)
    with server.raw() as raw:
        assert raw.call("STRLEN", "large") == len(LARGE)
        assert raw.call("GET", "a") == b"2"


def test_a_forced_stop_does_not_wait_for_the_disk(small_disk):
    server, small = small_disk
    server.restart("--dir", small, "--appendonly", "yes")
    with server.raw() as raw:
        fill(small)
        assert raw.call("SET", "large", LARGE) == "OK"
        wait_until(lambda: persistence(raw)["aof_last_write_status"] == "err")
        raw.send(encode("SHUTDOWN", "FORCE"))
        raw.expect_closed()
    assert server.wait_for_end() == 0


def hearers(server):
    """Clients that are told of what others do, each waiting for that."""
    heard = []

    def hearer(*commands):
        r = server.raw()
        for command in commands[:-1]:
            r.call(*command)
        r.send(encode(*commands[-1]))
        if commands[-1][0] in ("SUBSCRIBE", "PSUBSCRIBE", "CLIENT", "GET"):
            r.read_reply()
        heard.append(r)

    for i in range(4):
        hearer(("BLPOP", f"list:{i}", 0))
        hearer(("BLMOVE", f"{{move:{i}}}", f"{{move:{i}}}to", "LEFT", "LEFT", 0))
        hearer(("BLMOVE", f"far:{i}", f"away:{i}", "LEFT", "LEFT", 0))
        hearer(("SUBSCRIBE", "news"))
        hearer(("SUBSCRIBE", f"script:{i}"))
        hearer(("SUBSCRIBE", f"exec:{i}"))
        hearer(("PSUBSCRIBE", f"__keyspace*:list:{i}"))
        hearer(("HELLO", 3), ("CLIENT", "TRACKING", "ON"), ("GET", f"list:{i}to"))
        hearer(("HELLO", 3), ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", f"list:{i}"))
    return heard


def work():
    """One pipeline: much of it is done before the disk is known to be full, the rest is refused."""
    for i in range(4):
        yield ("RPUSH", f"list:{i}", "x")
        yield ("SET", f"list:{i}to", "x")
        yield ("RPUSH", f"{{move:{i}}}", "x")
        yield ("RPUSH", f"far:{i}", "x")
        yield ("EVAL", "redis.call('SET', KEYS[1], 1) redis.call('PUBLISH', ARGV[1], 1)", 1,
               f"key:{i}", f"script:{i}")
        yield from [("MULTI",), ("SET", f"key:{i}", 1), ("PUBLISH", f"exec:{i}", 1), ("EXEC",)]
    yield ("PUBLISH", "news", "x")


def readable(sockets):
    return select.select([r.socket for r in sockets], [], [], 0)[0]


def test_nothing_is_told_of_what_cannot_be_written(small_disk):
    server, small = small_disk
    server.restart("--dir", small, "--appendonly", "yes", "--appendfsync", "always",
                   "--notify-keyspace-events", "KA")
    heard = hearers(server)
    pipeline = b"".join(encode(*command) for command in work())
    with server.raw() as raw, server.raw() as writer:
        fill(small)
        writer.send(pipeline)
        heard.append(writer)
        wait_until(lambda: persistence(raw)["aof_last_write_status"] == "err")
        heard.append(server.raw())
        heard[-1].send(encode("GET", "list:0to"))
        time.sleep(0.2)
        told = [i for i, r in enumerate(heard) if r.socket in readable(heard)]
        assert not told
        os.unlink(os.path.join(small, "filler"))
        wait_until(lambda: persistence(raw)["aof_last_write_status"] == "ok")
        writer.send(pipeline)
        wait_until(lambda: len(readable(heard)) == len(heard))
    for r in heard:
        r.close()
