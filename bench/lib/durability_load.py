"""The rows of durability: loading, snapshots, the append-only file.

Keys come from DEBUG POPULATE, which both servers have; the file that both load is Redis's own. What
a snapshot costs in memory is the growth of what the server's processes hold together (the sum of
their proportional set sizes, so that pages shared with a child count once), while a load overwrites
keys. Latency during a snapshot is measured under a load of fixed length, one snapshot following the
other.
"""

import json
import os
import re
import subprocess
import tempfile
import threading
import time

from load import CONNECTIONS, Memtier, run_tool
from processes import Failed, Server
from rows import say

KEYS = 5_000_000
QUICK_KEYS = 200_000
VALUE_SIZE = 32
SHARDS = 2
SAMPLE_SECONDS = 0.03
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
    common = ["--dir", directory, "--save", "", "--enable-debug-command", "yes", *args]
    if name == "redis":
        return Server(name, [options.redis, *common])
    return Server(name, [options.server, "--shards", str(shards), "--io-backend",
                         options.backend, *common])


def _field(server, section, name):
    text = subprocess.run(["redis-cli", "-p", str(server.port), "INFO", section],
                          capture_output=True, text=True, check=True).stdout
    found = re.search(rf"^{name}:(\S+)", text, re.M)
    if not found:
        raise Failed(f"{server.name}: INFO {section} has no {name}")
    return found.group(1)


def _await_save(server):
    while _field(server, "persistence", "rdb_bgsave_in_progress") != "0":
        time.sleep(SAMPLE_SECONDS)
    if _field(server, "persistence", "rdb_last_bgsave_status") != "ok":
        raise Failed(f"{server.name}: BGSAVE failed")


def _save_seconds(server):
    start = time.monotonic()
    if not server.call("BGSAVE").startswith(b"+Background saving started"):
        raise Failed(f"{server.name} does not begin a BGSAVE")
    _await_save(server)
    return time.monotonic() - start


def make_file(options, directory, keys):
    """Redis's own file of so many keys."""
    with _start(options, "redis", directory, 1) as server:
        server.call("DEBUG", "POPULATE", str(keys), "key", str(VALUE_SIZE))
        if server.call("SAVE") != b"+OK":
            raise Failed("redis cannot save")


def _load_seconds(options, name, directory, keys):
    """From the start of the process to its first answer; returns the running server, too."""
    start = time.monotonic()
    server = _start(options, name, directory, SHARDS)
    server.__enter__()
    seconds = time.monotonic() - start
    if server.call("DBSIZE") != b":%d" % keys:
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


def _memtier(server, keys, seconds, ratio):
    memtier = Memtier("memtier_benchmark")
    with tempfile.TemporaryDirectory(prefix="lasca-bench-") as directory:
        out = os.path.join(directory, "out.json")
        command = [a for a in memtier._command(server.port, keys - 1, 1, seconds)
                   if not a.startswith(("--key-prefix", "--ratio"))]
        run_tool(command + [f"--key-prefix={KEY_PREFIX}", f"--ratio={ratio}", "--json-out-file", out])
        with open(out, encoding="utf-8") as f:
            return json.load(f)["ALL STATS"]["Totals"]


def _latency(options, server, keys):
    """p99 while snapshots follow each other."""
    saves = _Repeated(server)
    saves.start()
    totals = _memtier(server, keys, max(options.seconds, 4), "1:1")
    saves.ends = True
    saves.join()
    return totals["Percentile Latencies"]["p99.00"]


def _extra_memory(server, keys):
    """The most that is held during a snapshot under writes, above what is held before."""
    load = threading.Thread(target=_memtier, args=(server, keys, 12, "1:0"), daemon=True)
    load.start()
    time.sleep(2)
    before = peak = _held_bytes(server.process.pid)
    server.call("BGSAVE")
    while _field(server, "persistence", "rdb_bgsave_in_progress") != "0":
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


def run_snapshots(options):
    """{figure: {server: [of each round]}}"""
    keys = QUICK_KEYS if options.quick else KEYS
    figures = {name: {"redis": [], "lasca-2": []} for name, *_ in MEASURES}
    for turn in range(min(options.rounds, 3)):
        with tempfile.TemporaryDirectory(prefix="lasca-bench-") as directory:
            make_file(options, directory, keys)
            for name in ("redis", "lasca-2"):
                say(f"durability, round {turn + 1}: {name}")
                seconds, server = _load_seconds(options, name, directory, keys)
                with server:
                    figures["load_seconds"][name].append(seconds)
                    figures["save_seconds"][name].append(_save_seconds(server))
                    figures["p99_ms"][name].append(_latency(options, server, keys))
                    figures["memory_mb"][name].append(_extra_memory(server, keys))
    return figures


def run_sets(options):
    """{(policy, pipeline): {server: [of each round]}}"""
    servers = (("redis", 1), ("lasca-1", 1), ("lasca-2", 2))
    figures = {}
    for policy in POLICIES:
        for pipeline in PIPELINES:
            say(f"durability: SET, {policy}, pipeline {pipeline}")
            samples = figures[f"{policy} {pipeline}"] = {name: [] for name, _ in servers}
            for _ in range(min(options.rounds, 3)):
                for name, shards in servers:
                    samples[name].append(_set_cpu(options, name, shards, policy, pipeline))
    return figures


def run_durability(options):
    return {"snapshots": run_snapshots(options), "sets": run_sets(options)}
