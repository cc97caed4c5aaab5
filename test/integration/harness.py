"""What the tests over real sockets share: a server process, and a client that hides nothing.

Server starts a binary on a free port, waits until it answers and stops it, holding it to a clean
exit. Raw is a socket with a reader of RESP2 and RESP3: either as Python values or as the bytes
that came. The comparison harness (test/compare/compare.py) uses the same two.
"""

import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("LASCA_SERVER") or os.path.join(ROOT, "build-test", "lasca-server")
BACKEND = os.environ.get("LASCA_BACKEND", "auto")
SHARDS = int(os.environ.get("LASCA_SHARDS", "2"))

START_SECONDS = 20
STOP_SECONDS = 15
REPLY_SECONDS = 60

SANITIZER_REPORT = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed")
SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=97",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "exitcode=98:second_deadlock_stack=1",
}


class ReplyError:
    """An error reply as a value: equal to another with the same text, or to the text."""

    def __init__(self, text):
        self.text = text

    def __eq__(self, other):
        return self.text == (other.text if isinstance(other, ReplyError) else other)

    def __hash__(self):
        return hash(self.text)

    def __repr__(self):
        return f"ReplyError({self.text!r})"

    def startswith(self, prefix):
        return self.text.startswith(prefix)


class Push(list):
    """A RESP3 push: not the reply to anything."""


class Closed(Exception):
    """The server closed the connection where a reply was due."""


def encode(*args):
    """A request as the protocol's array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        if not isinstance(arg, bytes):
            arg = str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


class Raw:
    """A socket to a server: `port` is one of this machine, or the path of a Unix socket."""

    def __init__(self, port, timeout=REPLY_SECONDS):
        if isinstance(port, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(port)
        else:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.at = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def call(self, *args):
        """Sends one request and returns its reply."""
        self.send(encode(*args))
        return self.read_reply()

    def _fill(self):
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed
        if self.at > 1 << 16:
            del self.received[:self.at]
            self.at = 0
        self.received += data

    def _line(self):
        start = 0
        while True:
            end = self.received.find(b"\r\n", self.at + start)
            if end >= 0:
                line = bytes(self.received[self.at:end])
                self.at = end + 2
                return line
            start = max(0, len(self.received) - self.at - 1)
            self._fill()

    def read_bytes(self, count):
        """Exactly `count` bytes."""
        while len(self.received) - self.at < count:
            self._fill()
        data = bytes(self.received[self.at:self.at + count])
        self.at += count
        return data

    def read_until_closed(self):
        """All that still comes."""
        try:
            while True:
                self._fill()
        except Closed:
            data = bytes(self.received[self.at:])
            self.at = len(self.received)
            return data

    def expect_closed(self):
        """Fails unless the server closes without another byte."""
        rest = self.read_until_closed()
        assert rest == b"", f"more came before the connection closed: {rest[:200]!r}"

    def read_reply(self):
        """The next reply as a Python value. Strings are bytes but for simple strings, maps are
        dicts, sets are sets where their elements can be, nulls None, errors ReplyError."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind in _SIMPLE:
            return _SIMPLE[kind](rest)
        size = int(rest)
        if kind in b"$=!":
            if size < 0:
                return None
            data = self.read_bytes(size + 2)
            assert data[-2:] == b"\r\n", f"a bulk string ends with {data[-2:]!r}"
            if kind == b"!":
                return ReplyError(data[:-2].decode())
            return data[4:-2] if kind == b"=" else data[:-2]
        if size < 0:
            return None
        return self._aggregate(kind, size)

    def _aggregate(self, kind, size):
        if kind == b"*":
            return [self.read_reply() for _ in range(size)]
        if kind == b">":
            return Push(self.read_reply() for _ in range(size))
        if kind == b"~":
            items = [self.read_reply() for _ in range(size)]
            return set(map(_hashable, items))
        if kind in b"%|":
            pairs = {}
            for _ in range(size):
                key = _hashable(self.read_reply())
                pairs[key] = self.read_reply()
            return pairs if kind == b"%" else self.read_reply()
        raise AssertionError(f"no reply begins with {kind!r}")

    def read_raw_parts(self):
        """The next reply as the bytes that came: (head, [parts]), where an aggregate's parts are
        its elements (for a map its keys and values) and other replies have none."""
        line = self._line()
        kind = line[:1]
        head = line + b"\r\n"
        if kind in b"$=!" and not line.startswith(b"$-"):
            return head + self.read_bytes(int(line[1:]) + 2), []
        if kind in b"*~>%|" and int(line[1:]) > 0:
            count = int(line[1:]) * (2 if kind in b"%|" else 1)
            return head, [self.read_raw() for _ in range(count)]
        assert kind in b"+-:$*_#,(~%", f"no reply begins with {kind!r}"
        return head, []

    def read_raw(self):
        """The next reply as the bytes that came."""
        head, parts = self.read_raw_parts()
        return head + b"".join(parts)


def _hashable(value):
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


_SIMPLE = {
    b"+": lambda rest: rest.decode(),
    b"-": lambda rest: ReplyError(rest.decode()),
    b":": int,
    b"(": int,
    b",": float,
    b"#": lambda rest: rest == b"t",
    b"_": lambda rest: None,
}


_ports = {}  # by number: what holds it against the tests that run beside this process


def _hold(port):
    """Whether it is free, and is now held by the name of a socket."""
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0lasca-test-port-{port}")
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))
    except OSError:
        held.close()
        return False
    _ports[port] = held
    return True


def free_ports(count):
    """The first of so many in a row. They stay free until a server takes them, and while that
    restarts: outside of the range from which the system gives clients theirs, and held."""
    while True:
        first = random.randrange(12000, 32000 - count)
        row = range(first, first + count)
        if all(map(_hold, row)):
            return first
        for port in row:
            release_port(port)


def free_port():
    return free_ports(1)


def release_port(port):
    if port in _ports:
        _ports.pop(port).close()


def default_args():
    """Options that every server under test has; those of a test come behind and prevail."""
    return ["--bind", "127.0.0.1", "--save", "", "--io-backend", BACKEND,
            "--shards", str(SHARDS), "--enable-debug-command", "yes"]


def environment():
    return {**SANITIZER_ENVIRONMENT, **os.environ}


def run_to_end(*args, timeout=START_SECONDS, stdin=b""):
    """Runs the binary with exactly these arguments until it ends: (status, output)."""
    done = subprocess.run([BINARY, *map(str, args)], input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout, env=environment(),
                          check=False)
    return done.returncode, done.stdout.decode(errors="replace")


class Server:
    """One process of the server under test."""

    def __init__(self, *args, command=None):
        """`command` makes another command line from a port: for the reference server."""
        self.port = free_port()
        self.process = None
        self.command = command
        self.directory = tempfile.TemporaryDirectory(prefix="lasca-test-")
        self.log_path = os.path.join(self.directory.name, "log")
        self.clients = []
        self.args = ()
        self.start(*args)

    @property
    def pid(self):
        return self.process.pid

    def cpu_ticks(self):
        """CPU time so far, in clock ticks."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    @staticmethod
    def open_files_max():
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def start(self, *args, until_loaded=True):
        self.args = args
        if self.command:
            command = self.command(self.port)
        else:
            command = [BINARY, *default_args(), "--port", str(self.port), *map(str, args)]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env=environment(),
                                            cwd=self.directory.name)
        self._wait_until_it_answers(until_loaded)

    def _wait_until_it_answers(self, until_loaded):
        """Also an error will do; `until_loaded`: but that of a server that still loads its data."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with self.raw(timeout=5) as r:
                    r.send(b"PING\r\n")
                    reply = r.read_reply()
                    loads = isinstance(reply, ReplyError) and reply.startswith("LOADING")
                    if not (until_loaded and loads):
                        return
            except (OSError, Closed):
                pass
            time.sleep(0.01)
        self.kill()
        raise AssertionError(f"the server does not start:\n{self.log()}")

    def client(self, **kw):
        """A redis-py client with one connection pool of its own; closed with the server."""
        import redis
        kw.setdefault("socket_timeout", REPLY_SECONDS)
        client = redis.Redis(host="127.0.0.1", port=self.port, **kw)
        self.clients.append(client)
        return client

    def raw(self, **kw):
        return Raw(self.port, **kw)

    def close_clients(self):
        for client in self.clients:
            client.connection_pool.disconnect()
        self.clients.clear()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def wait_for_end(self, seconds=STOP_SECONDS):
        """The exit status, once the process has ended by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._report_threads()
            self.kill()
            raise AssertionError(
                f"the server has not ended after {seconds} s:\n{self.log()[-4000:]}") from None

    def _report_threads(self):
        """Where the threads of a server that hangs stand, for the log."""
        names = []
        for task in sorted(os.listdir(f"/proc/{self.pid}/task")):
            with open(f"/proc/{self.pid}/task/{task}/status") as f:
                state = [line.split()[1] for line in f if line.startswith(("Name", "State"))]
            names.append(f"{task} {' '.join(state)}")
        with open(self.log_path, "a") as log:
            log.write("threads: " + ", ".join(names) + "\n")

    def stop(self):
        """SIGTERM; the server must end with status 0 and nothing to complain of."""
        self.close_clients()
        if self.process is None:
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        self.check_end()

    def check_end(self):
        """Waits for an end already asked for and holds it to a clean one."""
        status = self.wait_for_end()
        self.process = None
        log = self.log()
        assert not SANITIZER_REPORT.search(log), f"the server reported:\n{log[-20000:]}"
        assert status == 0, f"the server ended with status {status}:\n{log[-20000:]}"

    def restart(self, *args):
        self.stop()
        self.start(*args)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def destroy(self):
        self.close_clients()
        self.kill()
        self.directory.cleanup()
        release_port(self.port)


def backend_in_use(server):
    return re.search(r"shards, (io_uring|epoll)", server.log()).group(1)


def main():
    """`harness.py BACKEND` exits 0 where the server can use the backend here."""
    server = Server("--io-backend", sys.argv[1])
    found = backend_in_use(server)
    server.stop()
    server.destroy()
    return found != sys.argv[1]


if __name__ == "__main__":
    sys.exit(main())
