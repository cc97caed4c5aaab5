"""Caches kept by invalidations, under load: once all is quiet, no cache may hold what is not so.

All work on the same few keys, on others every moment: what goes wrong with a key then stays so to
the end."""

import random
import select
import time

import pytest

from harness import Push, encode
from workers import run_all

HOT = 12
MOMENT = 0.04


def hot(count):
    """Some of the keys of this moment."""
    moment = int(time.monotonic() / MOMENT)
    return [f"cached:{moment}:{i}" for i in random.sample(range(HOT), count)]


class Cache:
    """What a client holds. A read under way is noted before it is sent; an invalidation that comes
    before its reply does not touch it, since the server sends it again behind the reply where the
    reply may be old."""

    def __init__(self, line):
        self.line = line
        self.values = {}
        self.pushes = 0

    def take_push(self, push):
        assert push[0] == b"invalidate", push
        self.pushes += 1
        if push[1] is None:
            self.values.clear()
            return
        for key in push[1]:
            self.values.pop(key.decode(), None)

    def reply(self):
        while True:
            reply = self.line.read_reply()
            if not isinstance(reply, Push):
                return reply
            self.take_push(reply)

    def take_what_comes(self, seconds):
        while self.line.at < len(self.line.received) or \
                select.select([self.line.socket], [], [], seconds)[0]:
            self.take_push(self.line.read_reply())

    def read(self):
        """Reads in a pipeline, in all the ways that keys are read."""
        requests, wanted = [], []
        for _ in range(random.randrange(1, 6)):
            keys = hot(random.choice([1, 1, 1, 3, 8]))
            requests.append(("GET", *keys) if len(keys) == 1 else ("MGET", *keys))
            wanted.append(keys)
        if random.random() < 0.3:
            requests = [("MULTI",), *requests, ("EXEC",)]
        self.line.send(b"".join(encode(*request) for request in requests))
        if requests[0][0] == "MULTI":
            for _ in requests[:-1]:
                self.reply()
            replies = self.reply()
        else:
            replies = None
        for i, keys in enumerate(wanted):
            reply = replies[i] if replies else self.reply()
            for key, value in zip(keys, reply if len(keys) > 1 else [reply]):
                self.values[key] = value


def keep_cache(line, clock, mode):
    """Feeds a cache from reads, and at the end, when nobody writes any more, compares."""
    line.call("HELLO", 3)
    line.call("CLIENT", "TRACKING", "ON", *mode)
    cache = Cache(line)
    while clock.running():
        cache.read()
        if random.random() < 0.1:
            cache.take_what_comes(0.002)
    time.sleep(1)
    cache.take_what_comes(0.5)
    line.call("CLIENT", "TRACKING", "OFF")
    compare(line, cache.values)
    return cache.pushes, len(cache.values)


def compare(line, values):
    keys = ["nothing", *values]
    now = dict(zip(keys, line.call("MGET", *keys)))
    stale = {key: (value, now[key]) for key, value in values.items() if now[key] != value}
    assert not stale, f"{len(stale)} of {len(values)} are stale: {stale}"


def keep_redirected(line, clock):
    """The same with a connection for the invalidations."""
    from workers import Line
    with Line(line.socket.getpeername()[1]) as other:
        other.call("HELLO", 3)
        line.call("CLIENT", "TRACKING", "ON", "REDIRECT", other.call("CLIENT", "ID"))
        values, pushes = {}, Cache(other)
        pushes.values = values
        while clock.running():
            keys = hot(5)
            for key in keys:
                values[key] = "awaited"
            line.send(encode("MGET", *keys))
            replies = line.read_reply()
            pushes.take_what_comes(0)
            for key, value in zip(keys, replies):
                if values.get(key) == "awaited":
                    values[key] = value
        time.sleep(1)
        pushes.take_what_comes(0.5)
        compare(line, {k: v for k, v in values.items() if v != "awaited"})
        return pushes.pushes, len(values)


def write(line, clock, worker):
    """Changes values in all the ways that keys change, each to one that never was."""
    count = 0
    while clock.running():
        count += 1
        value = f"{worker}:{count}"
        keys = hot(4)
        way = random.randrange(12)
        if way < 4:
            line.run(*[("SET", key, value) for key in keys])
        elif way < 6:
            line.call("MSET", *[word for key in keys for word in (key, value)])
        elif way == 6:
            line.call("DEL", *keys)
        elif way == 7:
            line.run(*[("SET", key, value, "PX", random.randrange(1, 40)) for key in keys])
        elif way == 8:
            line.run(("COPY", keys[0], keys[1], "REPLACE"), ("RENAME", keys[2], keys[3]))
        elif way == 9:
            line.run(("MULTI",), *[("SET", key, value) for key in keys], ("EXEC",))
        elif way == 10:
            line.call("MSETNX", *[word for key in keys for word in (key, value)])
        elif random.random() < 0.005:
            line.call("FLUSHALL")
        if random.random() < 0.3:
            time.sleep(random.random() / 500)
    return count


@pytest.mark.parametrize("options", [[], ["--tracking-table-max-keys", 20]])
def test_no_cache_keeps_what_has_changed(fresh_server, options):
    server = fresh_server(*options)
    modes = [[], [], ["NOLOOP"], ["OPTOUT"], ["BCAST"], ["BCAST", "PREFIX", "cached:"]]
    results = run_all(server.port, [*[(keep_cache, mode) for mode in modes],
                                    *[(keep_redirected,)] * 2,
                                    *[(write, worker) for worker in range(3)]], rounds=150)
    pushes = [result[0] for result in results[:8]]
    assert min(pushes) > 50, results
