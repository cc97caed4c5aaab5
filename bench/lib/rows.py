"""What is measured: the load rows (one shard, more shards), memory and idleness.

Each function runs its servers and returns plain figures; report.py makes tables of them.
"""

import sys
import time
from contextlib import ExitStack

import load
from processes import start_lasca, start_redis

PIPELINES = (1, 10, 50)
LOAD_KEYS = 1_000_000
WARM_SECONDS = 1

MEMORY_KEYS = 2_000_000
MEMORY_KEY_SIZE = 16

IDLE_SHARDS = 8


def say(text):
    """Progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def shard_counts(cpus):
    """2, 4, 8 .. up to the CPUs, and the CPUs; two in any case."""
    counts = {2, max(2, cpus)}
    count = 4
    while count <= cpus:
        counts.add(count)
        count *= 2
    return sorted(counts)


def run_loads(options, tool, with_redis, shards):
    """All servers run at once and idle while another is measured. A round measures every server at
    one depth, one right after the other, before it goes deeper: so the machine's moods meet all
    of them. Returns {pipeline: {server: [figures of each round]}}."""
    with ExitStack() as stack:
        servers = [stack.enter_context(start_redis(options.redis))] if with_redis else []
        for count in shards:
            server = start_lasca(options.server, count, options.backend)
            servers.append(stack.enter_context(server))
        for server in servers:
            say(f"{server.name}: setting {LOAD_KEYS:,} keys")
            load.fill(server, LOAD_KEYS, tool.key)
            tool.run(server.port, LOAD_KEYS, PIPELINES[-1], WARM_SECONDS)
        samples = {depth: {server.name: [] for server in servers} for depth in PIPELINES}
        for number in range(options.rounds):
            for depth in PIPELINES:
                for server in servers:
                    figures = load.measure(server, tool, LOAD_KEYS, depth, options.seconds)
                    samples[depth][server.name].append(figures)
                    say(f"round {number + 1}/{options.rounds}, pipeline {depth}, {server.name}: "
                        f"{figures['cpu_us']:.3f} us CPU, {figures['per_second']:,.0f}/s")
    return samples


def _memory_key(index):
    return b"%0*d" % (MEMORY_KEY_SIZE, index)


def run_memory(options):
    """{server: bytes of RSS that a key added}."""
    per_key = {}
    for start in (lambda: start_redis(options.redis),
                  lambda: start_lasca(options.server, 1, options.backend)):
        with start() as server:
            say(f"{server.name}: setting {MEMORY_KEYS:,} keys")
            before = server.settled_rss_bytes()
            load.fill(server, MEMORY_KEYS, _memory_key)
            per_key[server.name] = (server.settled_rss_bytes() - before) / MEMORY_KEYS
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
