"""The servers under test as processes: started, measured through /proc, stopped.

What a server costs is read from the kernel, never from the server: CPU time from /proc/PID/stat
(all its threads, those that have ended too), memory from /proc/PID/status.
"""

import os
import signal
import socket
import subprocess
import tempfile
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS = 20
STOP_SECONDS = 20
SETTLE_SECONDS = 10
SETTLE_STEP_SECONDS = 0.5

_next_port = None


class Failed(Exception):
    """The run cannot go on; the text names the cause."""


def use_ports_from(first):
    """Servers started from now on listen on free ports from `first` upwards."""
    global _next_port
    _next_port = first


def _take_port():
    global _next_port
    while True:
        port = _next_port
        _next_port += 1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Server:
    """A server process on a port of its own; a context that stops it."""

    def __init__(self, name, command):
        self.name = name
        self.port = _take_port()
        self.directory = tempfile.TemporaryDirectory(prefix="lasca-bench-")
        self.log = open(os.path.join(self.directory.name, "log"), "wb+")
        command = command + ["--port", str(self.port), "--bind", "127.0.0.1"]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log,
                                            stderr=subprocess.STDOUT, cwd=self.directory.name)
        except OSError as error:
            raise Failed(f"{command[0]}: {error.strerror}") from None

    def __enter__(self):
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _wait_until_ready(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self.log.seek(0)
                text = self.log.read().decode(errors="replace").strip()
                raise Failed(f"{self.name} did not start:\n{text}")
            try:
                if self.call("PING") == b"+PONG":
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise Failed(f"{self.name} does not answer")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.directory.cleanup()

    def call(self, *words):
        """Sends one command without arguments that need quoting; the first line of its reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as s:
            s.sendall(" ".join(words).encode() + b"\r\n")
            return s.makefile("rb").readline().rstrip()

    def cpu_seconds(self):
        """(user, system) since the start."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            # The name in parentheses may contain blanks; user and system are fields 14 and 15.
            fields = f.read().rpartition(")")[2].split()
        return int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise Failed(f"{self.name} has ended")

    def settled_rss_bytes(self):
        """The same when it has stopped changing: a server may tidy up after a load."""
        last = self.rss_bytes()
        for _ in range(int(SETTLE_SECONDS / SETTLE_STEP_SECONDS)):
            time.sleep(SETTLE_STEP_SECONDS)
            now = self.rss_bytes()
            if abs(now - last) <= last // 1000:
                return now
            last = now
        return last


def start_redis(binary):
    """Redis as its package configures it, but in memory only, as Lasca is here."""
    return Server("redis", [binary, "--save", "", "--appendonly", "no"])


def start_lasca(binary, shards, backend):
    name = f"lasca-{shards}"
    return Server(name, [binary, "--save", "", "--shards", str(shards), "--io-backend", backend])
