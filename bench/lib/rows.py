"""The rows of GET and SET (pipelines, value sizes, connections, latency), memory and idleness.

Each function runs its servers and returns plain figures; tables.py and plots.py make something to
look at of them. Figures are {what varies: {server: [a dictionary of each round]}}, with strings
for keys, as they are after a way through JSON.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import load
import replay
from load import Shape
from processes import allow_open_files, start_dragonfly, start_lasca, start_memcached, start_redis

PIPELINES = (1, 10, 50)
CONNECTIONS = (50, 1000, 10_000)
SIZES = (Shape(), Shape(keys=100_000, value_size=1024), Shape(keys=20_000, value_size=16_384))
SIZE_PIPELINES = (1, 10)
SIZE_ROUNDS_MAX = 2
WARM_SECONDS = 1
SPARE_FILES = 200
PIECES = 200_000
VALUE_WORDS = f"{Shape.keys:,} keys with {Shape.value_size} bytes"

MEMORY_KEYS = 2 * Shape.keys
MEMORY_KEY_SIZE = 16
MEMCACHED_MEGABYTES = 2048

IDLE_SHARDS = 8


def say(text):
    """Progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def shard_counts(cpus):
    """1, 2, 4, 8 .. up to the CPUs, and the CPUs; one and two in any case."""
    counts = {1, 2, max(2, cpus)}
    count = 4
    while count <= cpus:
        counts.add(count)
        count *= 2
    return sorted(counts)


OTHERS = {
    "valkey-server": lambda path, _cpus: start_redis(path, name="valkey"),
    "dragonfly": start_dragonfly,
    "memcached": lambda path, cpus: start_memcached(path, cpus, MEMCACHED_MEGABYTES),
}


def _others(options, with_memcached):
    """Servers of other makers that the PATH has."""
    for name, start in OTHERS.items():
        path = shutil.which(name)
        if path and (name != "memcached" or with_memcached):
            yield lambda start=start, path=path: start(path, options.cpus)


def starters(options, tool):
    """What starts each server that GET and SET are measured on."""
    yield lambda: start_redis(options.redis)
    for count in options.shards:
        yield lambda count=count: start_lasca(options.server, count, options.backend)
    if options.others:
        yield from _others(options, tool.any_shape)


@contextmanager
def filled_servers(options, tool, shape):
    """All servers run at once and idle while another is measured."""
    with ExitStack() as stack:
        servers = [stack.enter_context(start()) for start in starters(options, tool)]
        for server in servers:
            say(f"{server.name}: setting {shape.keys:,} keys of {shape.value_size:,} bytes")
            load.fill(server, shape.keys, tool.key, shape.value_size)
            tool.run(server, replace(shape, pipeline=PIPELINES[-1]), WARM_SECONDS)
        yield servers


def _rounds(count, servers, points, measure, name):
    """A round measures every server at one point, one right after the other, before it goes on to
    the next: so the machine's moods meet all of them."""
    samples = {str(point): {server.name: [] for server in servers} for point in points}
    for number in range(count):
        for point in points:
            for server in servers:
                figures = measure(server, point)
                samples[str(point)][server.name].append(figures)
                say(f"round {number + 1}/{count}, {name} {point}, {server.name}: "
                    f"{figures['cpu_us']:.3f} us CPU, {figures['per_second']:,.0f}/s, "
                    f"p99.9 {figures['p999_ms']:.2f} ms")
    return samples


def _run_pipelines(options, tool, servers):
    def measure(server, pipeline):
        shape = Shape(keys=options.keys, pipeline=pipeline)
        return load.measure(server, tool, shape, options.seconds)
    return _rounds(options.rounds, servers, PIPELINES, measure, "pipeline")


def connection_counts():
    """Those for which enough files may be open."""
    most = allow_open_files() - SPARE_FILES
    for count in CONNECTIONS:
        if count > most:
            say(f"{count:,} connections are left out: the hard limit of open files (ulimit -Hn) "
                f"is {most + SPARE_FILES:,} and must be {count + SPARE_FILES:,}")
    return [count for count in CONNECTIONS if count <= most]


def _pieces(server, key, keys):
    """Requests made beforehand, SET and GET in turn on random keys, with their replies' sizes."""
    chance = random.Random(1)
    value = b"v" * Shape.value_size
    for number in range(PIECES):
        name = key(chance.randrange(keys))
        if number % 2:
            yield server.get_request(name), len(server.get_reply(name, value))
        else:
            yield server.set_request(name, value), len(server.set_reply)


def _run_connections(options, tool, servers):
    """With the load tool that costs least: memtier_benchmark takes a hundred microseconds for a
    request where it has ten thousand connections, and the server waits for it."""
    with tempfile.TemporaryDirectory(prefix="lasca-bench-") as directory:
        sender = replay.build(directory)
        for server in servers:
            replay.write_pieces(os.path.join(directory, server.name),
                                _pieces(server, tool.key, options.keys))

        def measure(server, connections):
            return replay.run(sender, server, connections, f"{options.seconds}s",
                              os.path.join(directory, server.name))

        return _rounds(options.rounds, servers, connection_counts(), measure, "connections")


def _run_latency(options, tool, servers):
    """All servers get half of what saturates Redis, found anew in each round."""
    redis, half = servers[0], {}

    def measure(server, point):
        if server is redis:
            full = load.measure(redis, tool, Shape(keys=options.keys), options.seconds)
            half[point] = full["per_second"] / 2
        shape = Shape(keys=options.keys, per_second=half[point])
        figures = load.measure(server, tool, shape, options.seconds)
        return {**figures, "asked_per_second": half[point]}

    return _rounds(options.rounds, servers, ("half",), measure, "saturation:")


def run_loads(options, tool):
    """The rows that share servers with a million keys: {row: figures}."""
    runs = {"pipelines": _run_pipelines, "connections": _run_connections, "latency": _run_latency}
    wanted = [name for name in runs if name in options.rows]
    figures = {}
    if wanted:
        with filled_servers(options, tool, Shape(keys=options.keys)) as servers:
            for name in wanted:
                if name == "latency" and not tool.any_shape:
                    say("latency is left out: it needs memtier_benchmark")
                    continue
                begin = time.monotonic()
                figures[name] = runs[name](options, tool, servers)
                say(f"{name}: {time.monotonic() - begin:.0f} s")
    return figures


def run_sizes(options, tool):
    """{"SIZE PIPELINE": {server: [figures of each round]}}"""
    samples = {}
    for shape in SIZES:
        shape = replace(shape, keys=min(shape.keys, options.keys))
        with filled_servers(options, tool, shape) as servers:
            def measure(server, point, shape=shape):
                pipeline = int(point.split()[1])
                return load.measure(server, tool, replace(shape, pipeline=pipeline),
                                    options.seconds)
            points = [f"{shape.value_size} {pipeline}" for pipeline in SIZE_PIPELINES]
            rounds = min(options.rounds, SIZE_ROUNDS_MAX)
            samples.update(_rounds(rounds, servers, points, measure, "size and pipeline"))
    return samples


def _memory_key(index):
    return b"%0*d" % (MEMORY_KEY_SIZE, index)


def run_memory(options):
    """{server: bytes of RSS that a key added}."""
    per_key = {}
    count = options.keys * 2
    for start in (lambda: start_redis(options.redis),
                  lambda: start_lasca(options.server, 1, options.backend)):
        with start() as server:
            say(f"{server.name}: setting {count:,} keys")
            before = server.settled_rss_bytes()
            load.fill(server, count, _memory_key)
            per_key[server.name] = (server.settled_rss_bytes() - before) / count
    return per_key


def run_idle(options):
    """{server: {"cpu_seconds", "rss_bytes"}}, the servers empty and without clients."""
    with ExitStack() as stack:
        servers = [stack.enter_context(start_redis(options.redis)),
                   stack.enter_context(start_lasca(options.server, IDLE_SHARDS, options.backend))]
        say(f"idle for {options.idle_seconds} seconds")
        time.sleep(1)
        before = [sum(server.cpu_seconds()) for server in servers]
        time.sleep(options.idle_seconds)
        return {server.name: {"cpu_seconds": sum(server.cpu_seconds()) - start,
                              "rss_bytes": server.rss_bytes()}
                for server, start in zip(servers, before)}
