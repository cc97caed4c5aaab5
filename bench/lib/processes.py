"""The servers under test as processes: started, measured through /proc, stopped.

What a server costs is read from the kernel, never from the server: CPU time from /proc/PID/stat
(all its threads, those that have ended too), memory from /proc/PID/status.

However a run ends, its servers end, too. Each is stopped where its `with` is left; what is left
over is killed when Python exits; and should Python itself be killed, the kernel ends its children.
They are in process groups of their own, so that Ctrl-C reaches this program alone, which then
stops them in order.
"""

import atexit
import ctypes
import getpass
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

from wire import Closed, Raw, encode

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS = 20
STOP_SECONDS = 20
SETTLE_SECONDS = 10
SETTLE_STEP_SECONDS = 0.5
CLIENTS_MAX = 10_500
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)
_next_port = 6300
_running = set()


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


def allow_open_files():
    """Raises the limit of open files to what is allowed, for the servers too; returns it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def end_with_parent():
    """Runs in a child before it becomes another program."""
    os.setpgid(0, 0)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_signals():
    """SIGTERM and SIGHUP end Python as an exception does, so that the servers are stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


@atexit.register
def _kill_all():
    for process in list(_running):
        process.kill()
        process.wait()


def cpu_seconds(pid):
    """(user, system) of a process since its start."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        # The name in parentheses may contain blanks; user and system are fields 14 and 15.
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND


def rss_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Server:
    """A server process on a port of its own; a context that stops it."""

    protocol = "redis"  # as memtier_benchmark calls it
    set_reply = b"+OK\r\n"

    def __init__(self, name, command):
        self.name = name
        self.port = _take_port()
        self.directory = tempfile.TemporaryDirectory(prefix="lasca-bench-")
        self.log = open(os.path.join(self.directory.name, "log"), "wb+")
        command = [str(word) for word in [*command, *self._address()]]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log,
                                            stderr=subprocess.STDOUT, cwd=self.directory.name,
                                            preexec_fn=end_with_parent)
        except OSError as error:
            raise Failed(f"{command[0]}: {error.strerror}") from None
        _running.add(self.process)

    def __enter__(self):
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _address(self):
        return ["--port", self.port, "--bind", "127.0.0.1"]

    def _wait_until_ready(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self.log.seek(0)
                text = self.log.read().decode(errors="replace").strip()
                raise Failed(f"{self.name} did not start:\n{text}")
            try:
                if self._answers():
                    return
            except (OSError, Closed):
                pass
            time.sleep(0.02)
        raise Failed(f"{self.name} does not answer")

    def _answers(self):
        """One that wants a password answers, too; one that still loads its data does not."""
        reply = self.call("PING")
        return reply == "PONG" or reply.startswith("NOAUTH")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        _running.discard(self.process)
        self.log.close()
        self.directory.cleanup()

    def raw(self, **options):
        return Raw(self.port, **options)

    def call(self, *words):
        """Sends one command on a connection of its own; the reply as a Python value."""
        with self.raw() as r:
            return r.call(*words)

    def info(self, section):
        """INFO as a dictionary of strings."""
        text = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def used_memory(self):
        return int(self.info("memory")["used_memory"])

    def key_count(self):
        return self.call("DBSIZE")

    @staticmethod
    def set_request(key, value):
        return encode(b"SET", key, value)

    @staticmethod
    def get_request(key):
        return encode(b"GET", key)

    @staticmethod
    def get_reply(_key, value):
        return b"$%d\r\n%s\r\n" % (len(value), value)

    def cpu_seconds(self):
        """(user, system) since the start."""
        return cpu_seconds(self.process.pid)

    def rss_bytes(self):
        return rss_bytes(self.process.pid)

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


class Memcached(Server):
    """The same for a server that speaks memcached's text protocol."""

    protocol = "memcache_text"
    set_reply = b"STORED\r\n"

    def _address(self):
        return ["-p", self.port, "-l", "127.0.0.1", "-U", "0"]

    def _answers(self):
        with self.raw() as r:
            r.send(b"version\r\n")
            return bool(r.read_bytes(7))

    def key_count(self):
        with self.raw() as r:
            r.send(b"stats\r\nquit\r\n")
            stats = r.read_until_closed().decode().split()
        return int(stats[stats.index("curr_items") + 1])

    @staticmethod
    def set_request(key, value):
        return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)

    @staticmethod
    def get_request(key):
        return b"get %s\r\n" % key

    @staticmethod
    def get_reply(key, value):
        return b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)


def start_redis(binary, *options, name="redis"):
    """Redis (or Valkey) as its package configures it, but in memory only, as Lasca is here."""
    return Server(name, [binary, "--save", "", "--appendonly", "no", "--maxclients", CLIENTS_MAX,
                         *options])


def start_lasca(binary, shards, backend, *options):
    return Server(f"lasca-{shards}", [binary, "--save", "", "--shards", shards, "--io-backend",
                                      backend, "--maxclients", CLIENTS_MAX, *options])


def start_dragonfly(binary, threads):
    return Server("dragonfly", [binary, "--dbfilename", "", "--proactor_threads", threads,
                                "--logtostderr"])


def start_memcached(binary, threads, megabytes):
    return Memcached("memcached", [binary, "-t", threads, "-m", megabytes, "-c", CLIENTS_MAX,
                                   "-u", getpass.getuser()])
