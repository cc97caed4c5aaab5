"""The rows of the data types: CPU time a command, and memory an element.

The load is redis-benchmark's, whatever else is installed: it sends one command line over and over,
with `__rand_int__` replaced by a number of twelve digits. The steps of a type follow one another on
the same data, so that RPOP finds what LPUSH left.
"""

import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass

from load import CONNECTIONS, run_tool
from processes import Failed, start_lasca, start_redis
from rows import say
from wire import replies_to

PIPELINES = (1, 50)
CPU_RATIO_MAX = {1: 0.85, 50: 0.60}
BIG_ZSET_RATIO_MAX = 0.70
BIG_ZSET = 1_000_000
WARM_SHARE = 10  # a run is preceded by one of this part of its requests
FILL_BATCH = 500
ROUNDS_MAX = 2


@dataclass
class Step:
    """One command under load."""

    name: str
    command: str
    numbers: int  # below which `__rand_int__` is chosen
    bars: dict
    requests: dict = None  # by pipeline


USUAL = {1: 150_000, 50: 1_500_000}
STEPS = [
    Step("LPUSH", "LPUSH list:__rand_int__ element:xxxxxxxx", 1000, CPU_RATIO_MAX),
    Step("RPOP", "RPOP list:__rand_int__", 1000, CPU_RATIO_MAX),
    Step("SADD", "SADD set member:__rand_int__", 100_000, CPU_RATIO_MAX),
    Step("HSET", "HSET hash field:__rand_int__ value:xxxxxxxx", 100_000, CPU_RATIO_MAX),
    Step("HGET", "HGET hash field:__rand_int__", 100_000, CPU_RATIO_MAX),
    Step("ZADD", "ZADD zset __rand_int__ member:__rand_int__", 100_000, CPU_RATIO_MAX),
    Step("ZRANGE", "ZRANGE zset 100 109", 1, CPU_RATIO_MAX),
    Step("ZRANK", "ZRANK zset member:__rand_int__", 100_000, CPU_RATIO_MAX),
    Step("XADD", "XADD stream * field value:xxxxxxxx", 1, CPU_RATIO_MAX),
    Step("XREADGROUP", "XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >", 1,
         CPU_RATIO_MAX, {1: 200_000, 50: 1_000_000}),
    Step("PFADD", "PFADD hll element:__rand_int__", 1_000_000, CPU_RATIO_MAX),
    Step("ZADD, 1M members", "ZADD big __rand_int__ member:__rand_int__", BIG_ZSET,
         {1: CPU_RATIO_MAX[1], 50: BIG_ZSET_RATIO_MAX}),
    Step("ZRANK, 1M members", "ZRANK big member:__rand_int__", BIG_ZSET,
         {1: CPU_RATIO_MAX[1], 50: BIG_ZSET_RATIO_MAX}),
]


def _pipe(server, commands):
    """Sends inline commands through one pipelined connection; an error reply fails the run."""
    with server.raw() as r:
        for start in range(0, len(commands), FILL_BATCH):
            batch = commands[start:start + FILL_BATCH]
            got = replies_to(r, b"".join(command + b"\r\n" for command in batch))
            if b"-" in got:
                raise Failed(f"{server.name}: {got[:80]!r}")


def _fill(server, members):
    _pipe(server, [b"XGROUP CREATE stream group 0 MKSTREAM"])
    _pipe(server, [b"ZADD big %012d member:%012d" % (i * 7 % BIG_ZSET, i)
                   for i in range(members)])


def _load(tool, server, step, pipeline, count):
    text = run_tool([tool, "-h", "127.0.0.1", "-p", str(server.port), "-c", str(CONNECTIONS),
                 "-r", str(step.numbers), "-P", str(pipeline), "-n", str(count)] +
                step.command.split())[0]
    if not re.search(r"throughput summary", text) or "Error" in text:
        raise Failed(f"redis-benchmark, {step.name}:\n" + text.strip()[-500:])


def _measure(tool, server, step, pipeline, share):
    count = max(1000, int((step.requests or USUAL)[pipeline] * share))
    _load(tool, server, step, pipeline, count // WARM_SHARE)
    before = sum(server.cpu_seconds())
    _load(tool, server, step, pipeline, count)
    return (sum(server.cpu_seconds()) - before) * 1e6 / count


def run_types(options):
    """{step: {pipeline: {server: [CPU us a request, a round]}}}"""
    tool = shutil.which("redis-benchmark")
    if not tool:
        raise Failed("redis-benchmark is not on the PATH")
    share = 0.05 if options.quick else 1
    samples = {step.name: {str(p): {} for p in PIPELINES} for step in STEPS}
    with ExitStack() as stack:
        servers = [stack.enter_context(start_redis(options.redis)),
                   stack.enter_context(start_lasca(options.server, 1, options.backend))]
        members = BIG_ZSET // 10 if options.quick else BIG_ZSET
        for server in servers:
            say(f"{server.name}: a sorted set of {members:,} members")
            _fill(server, members)
        for number in range(min(options.rounds, ROUNDS_MAX)):
            for step in STEPS:
                for pipeline in PIPELINES:
                    for server in servers:
                        cpu_us = _measure(tool, server, step, pipeline, share)
                        samples[step.name][str(pipeline)].setdefault(server.name, []).append(cpu_us)
                        say(f"round {number + 1}, {step.name}, pipeline {pipeline}, "
                            f"{server.name}: {cpu_us:.3f} us CPU")
    return samples


@dataclass
class Collection:
    """Collections of one shape: how many of them, of how many elements, and what adds one."""

    name: str
    add: bytes  # the collection's and the element's number go in
    collections: int
    elements: int
    bar: float = None


SHAPES = [("list", b"RPUSH c:%d element:%08d"), ("set", b"SADD c:%d member:%09d"),
          ("set of integers", b"SADD c:%d %d"), ("hash", b"HSET c:%d field:%010d value:xxxxxxxxxx"),
          ("sorted set", b"ZADD c:%d 1.5 member:%09d")]
SMALL = (20_000, 20)
BIG = (10, 100_000)
BIG_BARS = {"set": 0.75, "hash": 0.75, "sorted set": 0.75}


def collections():
    out = [Collection(f"{name} of {SMALL[1]}", add, *SMALL, 1.0) for name, add in SHAPES]
    out += [Collection(f"{name} of {BIG[1]:,}", add, *BIG, BIG_BARS.get(name))
            for name, add in SHAPES]
    return out


def _element_bytes(server, shape, collections_made):
    before = server.settled_rss_bytes()
    for first in range(0, shape.elements, 10_000):
        last = min(first + 10_000, shape.elements)
        for c in range(collections_made):
            _pipe(server, [shape.add % (c, i) for i in range(first, last)])
    return (server.settled_rss_bytes() - before) / (collections_made * shape.elements)


def run_collections(options):
    """{shape: {server: bytes of RSS an element}}, each in a server of its own."""
    figures = {}
    for shape in collections():
        figures[shape.name] = {}
        for start in (lambda: start_redis(options.redis),
                      lambda: start_lasca(options.server, 1, options.backend)):
            with start() as server:
                count = shape.collections // 10 if options.quick else shape.collections
                size = _element_bytes(server, shape, count)
                figures[shape.name][server.name] = size
                say(f"{shape.name}, {server.name}: {size:.1f} bytes an element")
    return figures
