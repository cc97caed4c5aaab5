"""The rows of durability: loading, snapshots, the append-only file.

Keys come from DEBUG POPULATE, which both servers have; the file that both load is Redis's own. What
a snapshot costs in memory is the growth of what the server's processes hold together (the sum of
their proportional set sizes, so that pages shared with a child count once), while a load overwrites
keys. Latency during a snapshot is measured under a load of fixed length, one snapshot following the
other.
"""

import os
import re
import tempfile
import threading
import time

from load import CONNECTIONS, Shape, run_tool
from processes import Failed, start_lasca, start_redis
from rows import say

KEYS = 5_000_000
QUICK_KEYS = 200_000
VALUE_SIZE = 32
SHARDS = 2
SAMPLE_SECONDS = 0.03
WRITE_SECONDS = 12  # the longest snapshot under writes and more
QUICK_WRITE_SECONDS = 3
ROUNDS_MAX = 2
KEY_PREFIX = "key:"  # DEBUG POPULATE's
PIPELINES = (1, 16)
LOAD_RATIO_MAX = 0.50
SAVE_RATIO_MAX = 0.70
LATENCY_RATIO_MAX = 0.50
MEMORY_RATIO_MAX = 0.25
SET_CPU_RATIO_MAX = 0.85
POLICIES = ("everysec", "always")

# Figure, its name in the table, its bar.
MEASURES = (
    ("load_seconds", "load, seconds", LOAD_RATIO_MAX),
    ("save_seconds", "BGSAVE, seconds", SAVE_RATIO_MAX),
    ("p99_ms", "p99 of GET and SET during BGSAVE, ms", LATENCY_RATIO_MAX),
    ("memory_mb", "extra memory during BGSAVE under writes, MB", MEMORY_RATIO_MAX),
)


def _start(options, name, directory, shards, *args):
    common = ["--dir", directory, "--enable-debug-command", "yes", *args]
    if name == "redis":
        return start_redis(options.redis, *common)
    return start_lasca(options.server, shards, options.backend, *common)


def _await_save(server):
    while server.info("persistence")["rdb_bgsave_in_progress"] != "0":
        time.sleep(SAMPLE_SECONDS)
    if server.info("persistence")["rdb_last_bgsave_status"] != "ok":
        raise Failed(f"{server.name}: BGSAVE failed")


def _save_seconds(server):
    start = time.monotonic()
    if not server.call("BGSAVE").startswith("Background saving started"):
        raise Failed(f"{server.name} does not begin a BGSAVE")
    _await_save(server)
    return time.monotonic() - start


def make_file(options, directory, keys):
    """Redis's own file of so many keys."""
    with _start(options, "redis", directory, 1) as server:
        server.call("DEBUG", "POPULATE", keys, "key", VALUE_SIZE)
        if server.call("SAVE") != "OK":
            raise Failed("redis cannot save")


def _load_seconds(options, name, directory, keys):
    """From the start of the process to its first answer; returns the running server, too."""
    start = time.monotonic()
    server = _start(options, name, directory, SHARDS)
    server.__enter__()
    seconds = time.monotonic() - start
    if server.key_count() != keys:
        server.stop()
        raise Failed(f"{name} has not loaded all keys")
    return seconds, server


class _Repeated(threading.Thread):
    """One BGSAVE after the other."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ends, self.count = server, False, 0

    def run(self):
        while not self.ends:
            _save_seconds(self.server)
            self.count += 1


def _processes(pid):
    """The process and its children."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                found += [int(child) for child in f.read().split()]
        except OSError:
            pass
    return found


def _held_bytes(pid):
    total = 0
    for process in _processes(pid):
        try:
            with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as f:
                total += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1)) * 1024
        except (OSError, AttributeError):
            pass
    return total


def _load(tool, server, keys, seconds, ratio):
    shape = Shape(keys=keys - 1, key_prefix=KEY_PREFIX, ratio=ratio)
    return tool.run(server, shape, seconds)


def _latency(options, tool, server, keys):
    """p99 while snapshots follow each other."""
    saves = _Repeated(server)
    saves.start()
    seen = _load(tool, server, keys, max(options.seconds, 4), "1:1")
    saves.ends = True
    saves.join()
    return seen.p99_ms


def _extra_memory(options, tool, server, keys):
    """The most that is held during a snapshot under writes, above what is held before."""
    seconds = QUICK_WRITE_SECONDS if options.quick else WRITE_SECONDS
    load = threading.Thread(target=_load, args=(tool, server, keys, seconds, "1:0"), daemon=True)
    load.start()
    time.sleep(seconds / 6)
    before = peak = _held_bytes(server.process.pid)
    server.call("BGSAVE")
    while server.info("persistence")["rdb_bgsave_in_progress"] != "0":
        peak = max(peak, _held_bytes(server.process.pid))
        time.sleep(SAMPLE_SECONDS)
    load.join()
    return (peak - before) / 1e6


def _set_cpu(options, name, shards, policy, pipeline):
    count = 40_000 * (1 if options.quick else 5) * (1 if pipeline == 1 else 5)
    with tempfile.TemporaryDirectory(prefix="lasca-bench-") as directory:
        with _start(options, name, directory, shards, "--appendonly", "yes",
                    "--appendfsync", policy) as server:
            def run(n):
                run_tool(["redis-benchmark", "-p", str(server.port), "-t", "set", "-c",
                          str(CONNECTIONS), "-d", str(VALUE_SIZE), "-r", "1000000", "-P",
                          str(pipeline), "-n", str(n), "-q"])
            run(count // 10)
            before = sum(server.cpu_seconds())
            run(count)
            return (sum(server.cpu_seconds()) - before) * 1e6 / count


def run_snapshots(options, tool):
    """{figure: {server: [of each round]}}"""
    keys = QUICK_KEYS if options.quick else KEYS
    figures = {name: {"redis": [], "lasca-2": []} for name, *_ in MEASURES}
    for turn in range(min(options.rounds, ROUNDS_MAX)):
        with tempfile.TemporaryDirectory(prefix="lasca-bench-") as directory:
            make_file(options, directory, keys)
            for name in ("redis", "lasca-2"):
                say(f"durability, round {turn + 1}: {name}")
                seconds, server = _load_seconds(options, name, directory, keys)
                with server:
                    figures["load_seconds"][name].append(seconds)
                    figures["save_seconds"][name].append(_save_seconds(server))
                    figures["p99_ms"][name].append(_latency(options, tool, server, keys))
                    figures["memory_mb"][name].append(_extra_memory(options, tool,
                                                                       server, keys))
    return figures


def run_sets(options):
    """{(policy, pipeline): {server: [of each round]}}"""
    servers = (("redis", 1), ("lasca-1", 1), ("lasca-2", 2))
    figures = {}
    for policy in POLICIES:
        for pipeline in PIPELINES:
            say(f"durability: SET, {policy}, pipeline {pipeline}")
            samples = figures[f"{policy} {pipeline}"] = {name: [] for name, _ in servers}
            for _ in range(min(options.rounds, ROUNDS_MAX)):
                for name, shards in servers:
                    samples[name].append(_set_cpu(options, name, shards, policy, pipeline))
    return figures


def run_durability(options, tool):
    return {"snapshots": run_snapshots(options, tool), "sets": run_sets(options)}
