"""The load: keys put in beforehand, then memtier_benchmark, or redis-benchmark in its absence.

Both tools ask for the keys that fill() put in, chosen evenly at random, so that every GET hits and
the server's caches see the whole set. Both run one thread.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

from processes import Failed, end_with_parent

FILL_BATCH = 500
CONNECTIONS = 50
LOAD_KEYS = 1_000_000
VALUE_SIZE = 32
MEMTIER_PREFIX = "bench:key:"  # with the six digits of nine keys in ten: 16 bytes
# memtier_benchmark lets a connection that is held to a rate send so often a second.
MEMTIER_TURNS = 50
CALIBRATION_REQUESTS = 50_000


@dataclass(frozen=True)
class Shape:
    """What a load asks for, and how."""

    keys: int = LOAD_KEYS
    pipeline: int = 1
    connections: int = CONNECTIONS
    value_size: int = VALUE_SIZE
    ratio: str = "1:1"  # of SET to GET
    key_prefix: str = MEMTIER_PREFIX
    per_second: int = None  # of all connections together; as fast as it goes


@dataclass
class Result:
    """What one run of a load tool saw, and the CPU seconds that the tool itself took."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    tool_cpu: float


def fill(server, count, key, value_size=VALUE_SIZE):
    """Sets key(0) to key(count - 1) through one pipelined connection, and checks the count."""
    value = b"v" * value_size
    batch_size = max(1, min(FILL_BATCH, (1 << 20) // value_size))
    with server.raw() as r:
        for start in range(0, count, batch_size):
            batch = range(start, min(start + batch_size, count))
            r.send(b"".join(server.set_request(key(i), value) for i in batch))
            expected = server.set_reply * len(batch)
            got = r.read_bytes(len(expected))
            if got != expected:
                raise Failed(f"{server.name}: unexpected reply to SET: {got[:80]!r}")
    held = server.key_count()
    if held != count:
        raise Failed(f"{server.name} holds {held} keys after {count} were set")


def run_tool(command):
    """Runs a tool to its end: (its output, CPU seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, preexec_fn=end_with_parent)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed:\n{text.strip()[-2000:]}")
    return text, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Memtier:
    """SET and GET one to one, mixed on each connection."""

    any_shape = True  # also a rate, and memcached's protocol

    def __init__(self, binary):
        self.binary = binary
        found = re.search(r"v=(\S+) (sha=\S+)", run_tool([binary, "--version"])[0])
        self.name = "memtier_benchmark " + (" ".join(found.groups()) if found else "")

    @staticmethod
    def key(index):
        return b"%s%d" % (MEMTIER_PREFIX.encode(), index + 1)

    def run(self, server, shape, seconds):
        with tempfile.TemporaryDirectory(prefix="lasca-bench-") as directory:
            out = os.path.join(directory, "out.json")
            _, cpu = run_tool(self._command(server, shape, seconds, out))
            with open(out, encoding="utf-8") as f:
                totals = json.load(f)["ALL STATS"]["Totals"]
        if totals["Connection Errors"] or totals["Misses/sec"]:
            raise Failed("memtier_benchmark met connection errors, or keys that were not there")
        percentiles = totals["Percentile Latencies"]
        return Result(totals["Count"], totals["Ops/sec"], percentiles["p50.00"],
                      percentiles["p99.00"], percentiles["p99.90"], cpu)

    def _command(self, server, shape, seconds, out):
        # Without a seed each, all connections would ask for the same keys in the same order, and
        # 49 of 50 requests would find their key in the CPU's cache.
        command = [self.binary, "--server=127.0.0.1", f"--port={server.port}",
                   f"--protocol={server.protocol}", "--threads=1",
                   f"--clients={shape.connections}", f"--ratio={shape.ratio}",
                   "--key-pattern=R:R", "--key-minimum=1", f"--key-maximum={shape.keys}",
                   f"--key-prefix={shape.key_prefix}", f"--data-size={shape.value_size}",
                   f"--pipeline={shape.pipeline}", f"--test-time={seconds}",
                   "--distinct-client-seed", "--hide-histogram", f"--json-out-file={out}"]
        return command + (self._rate(shape) if shape.per_second else [])

    @staticmethod
    def _rate(shape):
        """A connection that is held to a rate sends its share at each of its turns. They begin one
        after the other, so that the turns of all do not come at once."""
        turn_rate = shape.connections * MEMTIER_TURNS
        rate = max(1, round(shape.per_second / turn_rate)) * MEMTIER_TURNS
        apart_us = 1_000_000 // turn_rate
        return [f"--rate-limiting={rate}", f"--thread-conn-start-min-jitter-micros={apart_us}",
                f"--thread-conn-start-max-jitter-micros={apart_us + 1}"]


class RedisBenchmark:
    """SET, then as many GET. The tool counts requests, not seconds, so that a short run first finds
    how many fill the time. A latency is the mean of those of SET and GET."""

    any_shape = False

    def __init__(self, binary):
        self.binary = binary
        found = re.search(r"redis-benchmark (\S+)", run_tool([binary, "--version"])[0])
        self.name = "redis-benchmark " + (found.group(1) if found else "")

    @staticmethod
    def key(index):
        return b"key:%012d" % index

    def run(self, server, shape, seconds):
        trial, _ = self._measure(server, shape, CALIBRATION_REQUESTS)
        count = max(CALIBRATION_REQUESTS, int(trial.per_second * seconds / 2))
        result, text = self._measure(server, shape, count)
        if "Error" in text:
            raise Failed("redis-benchmark met errors:\n" + text.strip()[-500:])
        result.requests += trial.requests
        result.tool_cpu += trial.tool_cpu
        return result

    def _measure(self, server, shape, count):
        text, cpu = run_tool([self.binary, "-h", "127.0.0.1", "-p", str(server.port),
                              "-t", "set,get", "-c", str(shape.connections),
                              "-d", str(shape.value_size), "-r", str(shape.keys),
                              "-P", str(shape.pipeline), "-n", str(count)])
        rates = [float(rate) for rate in
                 re.findall(r"throughput summary: ([\d.]+) requests per second", text)]
        parts = re.split(r"====== (?:SET|GET) ======", text)[1:]
        if len(rates) != 2 or len(parts) != 2:
            raise Failed("redis-benchmark's output is not understood:\n" + text.strip()[-500:])
        percentiles = [_mean(_percentile(part, p) for part in parts) for p in (50, 99, 99.9)]
        rate = 2 / sum(1 / rate for rate in rates)
        return Result(2 * count, rate, *percentiles, cpu), text


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def _percentile(text, wanted):
    """The first latency that redis-benchmark lists at or above a percentile."""
    for percent, latency in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds", text):
        if float(percent) >= wanted:
            return float(latency)
    raise Failed("redis-benchmark's latencies are not understood")


def find_tool():
    """The load tool: memtier_benchmark if the PATH has it."""
    for name, tool in (("memtier_benchmark", Memtier), ("redis-benchmark", RedisBenchmark)):
        path = shutil.which(name)
        if path:
            return tool(path)
    raise Failed("neither memtier_benchmark nor redis-benchmark is on the PATH")


def measure(server, tool, shape, seconds):
    """One run of the load against a server: a dictionary of figures."""
    user, system = server.cpu_seconds()
    start = time.monotonic()
    result = tool.run(server, shape, seconds)
    wall = time.monotonic() - start
    user_end, system_end = server.cpu_seconds()
    user, system = user_end - user, system_end - system
    return {
        "cpu_us": (user + system) * 1e6 / result.requests,
        "user_us": user * 1e6 / result.requests,
        "system_us": system * 1e6 / result.requests,
        "per_second": result.per_second,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "p999_ms": result.p999_ms,
        "server_cpus": (user + system) / wall,
        "tool_cpus": result.tool_cpu / wall,
    }
