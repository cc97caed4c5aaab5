"""The rows of several keys, transactions, scripts and Pub/Sub: CPU time a request.

The load is bench/replay's: pipelines made here beforehand, the same for every server. A MULTI with
its commands and its EXEC counts as one request. Keys on two shards are so for two shards: one in
the lower half of the slots, one in the upper.
"""

import binascii
import os
import re
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass

import replay
from load import CONNECTIONS
from processes import Failed, start_lasca, start_redis
from rows import say
from wire import encode, replies_to

PIPELINES = (1, 16)
SHARDS = (1, 2)
VARIANTS = 256
WARM_SHARE = 10
ROUNDS_MAX = 2
SLOTS = 16384
CPU_RATIO_MAX = 0.80

RATE_LIMITER = b"""
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return count <= tonumber(ARGV[1]) and 1 or 0"""

TWO_KEYS = b"""
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[1])
return 1"""


def slot(key):
    tagged = re.search(rb"\{([^}]+)\}", key)
    return binascii.crc_hqx(tagged.group(1) if tagged else key, 0) % SLOTS


def key_of_half(number, half):
    """The number-th key, with a name of one length, whose slot is in that half of all."""
    for attempt in range(100):
        key = b"key:%06d:%02d" % (number, attempt)
        if slot(key) // (SLOTS // 2) == half:
            return key
    raise Failed("no key of that half was found")


def tagged_sets(variant):
    keys = [b"key:{%06d}:%02d" % (variant, i) for i in range(10)]
    return transaction(keys)


def spread_sets(variant):
    return transaction([key_of_half(variant * 10 + i, i % 2) for i in range(10)])


def spread_keys(variant):
    return [b"many:%06d" % (variant * 10 + i) for i in range(10)]


def mget(variant):
    return encode(b"MGET", *spread_keys(variant))


def mset(variant):
    return encode(b"MSET", *(word for key in spread_keys(variant) for word in (key, b"v" * 32)))


def transaction(keys):
    commands = [encode(b"SET", key, b"v" * 32) for key in keys]
    return encode(b"MULTI") + b"".join(commands) + encode(b"EXEC")


def rate_limiter(variant, sha):
    return encode(b"EVALSHA", sha, b"1", b"limit:%06d" % variant, b"1000000000", b"60000")


def two_key_script(variant, sha):
    return encode(b"EVALSHA", sha, b"2", key_of_half(variant, 0), key_of_half(variant, 1),
                  b"v" * 32)


def publish(_variant):
    return encode(b"PUBLISH", b"channel", b"m" * 32)


MESSAGE_SIZE = len(encode(b"message", b"channel", b"m" * 32))


@dataclass
class Load:
    """One kind of request."""

    name: str
    make: object  # the request of a variant's number
    requests: dict  # by pipeline
    bar: float = None
    script: bytes = None
    subscribers: int = 0
    prepare: object = None  # what comes before: a request of a variant's number


LOADS = [
    Load("MGET of 10, all shards", mget, {1: 100_000, 16: 300_000}, prepare=mset),
    Load("MSET of 10, all shards", mset, {1: 100_000, 16: 200_000}),
    Load("MULTI of 10 SET, one shard", tagged_sets, {1: 60_000, 16: 100_000}),
    Load("MULTI of 10 SET, two shards", spread_sets, {1: 60_000, 16: 100_000}),
    Load("EVALSHA, rate limiter", rate_limiter, {1: 150_000, 16: 300_000}, CPU_RATIO_MAX,
         RATE_LIMITER),
    Load("EVALSHA, a key on each of two shards", two_key_script, {1: 100_000, 16: 200_000},
         None, TWO_KEYS),
    Load("PUBLISH to 1", publish, {1: 150_000, 16: 400_000}, CPU_RATIO_MAX, None, 1),
    Load("PUBLISH to 100", publish, {1: 20_000, 16: 30_000}, CPU_RATIO_MAX, None, 100),
    Load("PUBLISH to 1,000", publish, {1: 3_000, 16: 5_000}, CPU_RATIO_MAX, None, 1000),
]


def _reply_to(server, request):
    """As bytes."""
    with server.raw() as r:
        got = replies_to(r, request)
    if b"-" in got:
        raise Failed(f"{server.name}: {got[:200]!r}")
    return got


class Replayed:
    """One load on one server: its files, and the replies' size as the server gives them."""

    def __init__(self, tool, directory, server, load, pipeline):
        self.tool, self.server, self.load, self.pipeline = tool, server, load, pipeline
        self.requests = os.path.join(directory, "requests")
        self.subscribe = os.path.join(directory, "subscribe")
        more = (server.call("SCRIPT", "LOAD", load.script),) if load.script else ()
        variants = [b"".join(load.make(v * pipeline + i, *more) for i in range(pipeline))
                    for v in range(VARIANTS)]
        if load.prepare:
            with server.raw() as r:
                for v in range(VARIANTS * pipeline):
                    replies_to(r, load.prepare(v))
        reply_size = len(_reply_to(server, variants[0]))
        if load.subscribers:  # which are not there yet
            reply_size = len(b":%d\r\n" % load.subscribers) * pipeline
        replay.write_pieces(self.requests, [(variant, reply_size) for variant in variants])
        with open(self.subscribe, "wb") as f:
            f.write(encode(b"SUBSCRIBE", b"channel"))

    def run(self, requests):
        """CPU microseconds a request."""
        rounds = max(CONNECTIONS, requests // self.pipeline)
        subscribers = ()
        if self.load.subscribers:
            heard = rounds * self.pipeline * MESSAGE_SIZE
            subscribers = (self.load.subscribers, heard, self.subscribe)
        figures = replay.run(self.tool, self.server, CONNECTIONS, rounds, self.requests,
                             *subscribers)
        return figures["cpu_us"] / self.pipeline


def _measure(replayed, share):
    count = int(replayed.load.requests[replayed.pipeline] * share)
    replayed.run(count // WARM_SHARE)
    return replayed.run(count)


def run_transactions(options):
    """{load: {pipeline: {server: [CPU us a request, a round]}}}"""
    share = 0.2 if options.quick else 1
    samples = {load.name: {str(p): {} for p in PIPELINES} for load in LOADS}
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="lasca-bench-"))
        tool = replay.build(directory)
        servers = [stack.enter_context(start_redis(options.redis))]
        servers += [stack.enter_context(start_lasca(options.server, n, options.backend))
                    for n in SHARDS]
        for number in range(min(options.rounds, ROUNDS_MAX)):
            for load in LOADS:
                for pipeline in PIPELINES:
                    for server in servers:
                        replayed = Replayed(tool, directory, server, load, pipeline)
                        cpu_us = _measure(replayed, share)
                        samples[load.name][str(pipeline)].setdefault(server.name, []).append(cpu_us)
                        say(f"round {number + 1}, {load.name}, pipeline {pipeline}, "
                            f"{server.name}: {cpu_us:.3f} us CPU")
    return samples
