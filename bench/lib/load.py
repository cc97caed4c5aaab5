"""The load: keys put in beforehand, then memtier_benchmark, or redis-benchmark in its absence.

Both tools ask for the keys that fill() put in, chosen evenly at random, so that every GET hits and
the server's caches see the whole set. Both run one thread.
"""

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

from processes import Failed

FILL_BATCH = 500
CONNECTIONS = 50
VALUE_SIZE = 32
MEMTIER_PREFIX = "bench:key:"  # with the six digits of nine keys in ten: 16 bytes
CALIBRATION_REQUESTS = 50_000


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
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as s:
        for start in range(0, count, FILL_BATCH):
            batch = range(start, min(start + FILL_BATCH, count))
            s.sendall(b"".join(_set_request(key(i), value) for i in batch))
            _read_ok(s, len(batch))
    held = server.call("DBSIZE")
    if held != b":%d" % count:
        raise Failed(f"{server.name} holds {held.decode()} keys after {count} were set")


def _set_request(key, value):
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(value), value)


def _read_ok(s, count):
    expected = b"+OK\r\n" * count
    got = bytearray()
    while len(got) < len(expected):
        part = s.recv(1 << 16)
        if not part:
            raise Failed("the connection closed while keys were set")
        got += part
    if got != expected:
        raise Failed(f"unexpected reply to SET: {bytes(got[:80])!r}")


def _run(command):
    """Runs a tool to its end: (its output, CPU seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed:\n{text.strip()[-2000:]}")
    return text, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Memtier:
    """SET and GET one to one, mixed on each connection."""

    def __init__(self, binary):
        self.binary = binary
        self.name = "memtier_benchmark " + _version(binary, r"v=(\S+)")

    @staticmethod
    def key(index):
        return b"%s%d" % (MEMTIER_PREFIX.encode(), index + 1)

    def run(self, port, keys, pipeline, seconds):
        with tempfile.TemporaryDirectory(prefix="lasca-bench-") as directory:
            out = os.path.join(directory, "out.json")
            _, cpu = _run(self._command(port, keys, pipeline, seconds) + ["--json-out-file", out])
            with open(out, encoding="utf-8") as f:
                totals = json.load(f)["ALL STATS"]["Totals"]
        if totals["Connection Errors"] or totals["Misses/sec"]:
            raise Failed("memtier_benchmark met connection errors, or keys that were not there")
        percentiles = totals["Percentile Latencies"]
        return Result(totals["Count"], totals["Ops/sec"], percentiles["p50.00"],
                      percentiles["p99.00"], percentiles["p99.90"], cpu)

    def _command(self, port, keys, pipeline, seconds):
        # Without a seed each, all connections would ask for the same keys in the same order, and
        # 49 of 50 requests would find their key in the CPU's cache.
        return [self.binary, "--server=127.0.0.1", f"--port={port}", "--threads=1",
                f"--clients={CONNECTIONS}", "--ratio=1:1", "--key-pattern=R:R",
                "--key-minimum=1", f"--key-maximum={keys}", f"--key-prefix={MEMTIER_PREFIX}",
                f"--data-size={VALUE_SIZE}", f"--pipeline={pipeline}",
                f"--test-time={seconds}", "--distinct-client-seed", "--hide-histogram"]


class RedisBenchmark:
    """SET, then as many GET. The tool counts requests, not seconds, so that a short run first finds
    how many fill the time. A latency is the mean of those of SET and GET."""

    def __init__(self, binary):
        self.binary = binary
        self.name = "redis-benchmark " + _version(binary, r"redis-benchmark (\S+)")

    @staticmethod
    def key(index):
        return b"key:%012d" % index

    def run(self, port, keys, pipeline, seconds):
        trial, _ = self._measure(port, keys, pipeline, CALIBRATION_REQUESTS)
        count = max(CALIBRATION_REQUESTS, int(trial.per_second * seconds / 2))
        result, text = self._measure(port, keys, pipeline, count)
        if "Error" in text:
            raise Failed("redis-benchmark met errors:\n" + text.strip()[-500:])
        result.requests += trial.requests
        result.tool_cpu += trial.tool_cpu
        return result

    def _measure(self, port, keys, pipeline, count):
        text, cpu = _run([self.binary, "-h", "127.0.0.1", "-p", str(port), "-t", "set,get",
                          "-c", str(CONNECTIONS), "-d", str(VALUE_SIZE), "-r", str(keys),
                          "-P", str(pipeline), "-n", str(count)])
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


def _version(binary, pattern):
    text, _ = _run([binary, "--version"])
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def find_tool():
    """The load tool: memtier_benchmark if the PATH has it."""
    for name, tool in (("memtier_benchmark", Memtier), ("redis-benchmark", RedisBenchmark)):
        path = shutil.which(name)
        if path:
            return tool(path)
    raise Failed("neither memtier_benchmark nor redis-benchmark is on the PATH")


def measure(server, tool, keys, pipeline, seconds):
    """One run of the load against a server: a dictionary of figures."""
    user, system = server.cpu_seconds()
    start = time.monotonic()
    result = tool.run(server.port, keys, pipeline, seconds)
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
