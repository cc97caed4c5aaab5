"""The load of bench/replay.c: requests made beforehand, over as many connections as wanted.

CPU time is taken from when all are connected: to connect so many costs as much as some requests of
each.
"""

import os
import shutil
import struct
import subprocess
import time

from load import run_tool
from processes import Failed, cpu_seconds, end_with_parent
from wire import ROOT


def build(directory):
    """The load tool, compiled here: a build of the server need not have it."""
    compiler = shutil.which(os.environ.get("BENCH_CC", "cc"))
    if not compiler:
        raise Failed("a C compiler is missing: install gcc")
    path = os.path.join(directory, "replay")
    run_tool([compiler, "-O2", "-D_GNU_SOURCE", "-o", path, os.path.join(ROOT, "bench/replay.c")])
    return path


def write_pieces(path, pieces):
    """`pieces`: (request, size of its reply)."""
    with open(path, "wb") as f:
        for request, reply_size in pieces:
            f.write(struct.pack("=II", len(request), reply_size) + request)


def run(tool, server, connections, length, pieces, *subscribers):
    """`length`: rounds, or seconds as in "5s". A dictionary of figures, a round being a request;
    the caller knows better where it is a pipeline."""
    command = [tool, server.port, connections, length, pieces, *subscribers]
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, preexec_fn=end_with_parent) as process:
        process.stdout.readline()
        user, system = server.cpu_seconds()
        tool_cpu, begin = sum(cpu_seconds(process.pid)), time.monotonic()
        process.stdin.close()
        words = process.stdout.readline().split()
        user_end, system_end = server.cpu_seconds()
        wall, tool_cpu = time.monotonic() - begin, sum(cpu_seconds(process.pid)) - tool_cpu
        if len(words) != 5:
            raise Failed(process.stderr.read().decode().strip() or "replay: ended early")
    rounds, seconds, *percentiles_us = map(float, words)
    p50_ms, p99_ms, p999_ms = (us / 1000 for us in percentiles_us)
    user, system = user_end - user, system_end - system
    return {
        "requests": rounds,
        "cpu_us": (user + system) * 1e6 / rounds,
        "user_us": user * 1e6 / rounds,
        "system_us": system * 1e6 / rounds,
        "per_second": rounds / seconds,
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "p999_ms": p999_ms,
        "server_cpus": (user + system) / wall,
        "tool_cpus": tool_cpu / wall,
    }
