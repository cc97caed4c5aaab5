"""Hostile clients of every kind at once, on every way in, while a checker keeps verifying data of
its own and how long the server takes to answer. When they are gone, so is what they cost."""

import multiprocessing
import os
import random
import socket
import ssl
import struct
import time

import pytest

from harness import Closed, Raw, encode, free_port
from test_info_config import wait_for
from test_tls import authority  # noqa: F401, a fixture; pylint: disable=unused-import

PASSWORD = "secret"
ATTACKERS = 2
OPEN_MAX = 60
# Of answers to the checker, on a machine that runs its attackers as well.
P99_SECONDS = 0.5
WORST_SECONDS = 5
# The attackers' memory, once they have gone.
KEPT_BYTES = 4 << 20
FORK = multiprocessing.get_context("fork")


# ---- The checker ----

class Checker:
    """Values, counters and the order of a stream, as a model has them."""

    def __init__(self, port):
        self.raw = Raw(port)
        self.rng = random.Random(3)
        self.values, self.counters, self.entries = {}, {}, 0
        self.times = []
        assert self.raw.call("AUTH", PASSWORD) == "OK"

    def expect(self, wanted, *args):
        begin = time.monotonic()
        got = self.raw.call(*args)
        self.times.append(time.monotonic() - begin)
        assert got == wanted, f"{args!r:.100}: {got!r:.100}, not {wanted!r:.100}"

    def round(self):
        key = b"check:%d" % self.rng.randrange(300)
        self.expect(self.values.get(key), "GET", key)
        self.values[key] = self.rng.randbytes(self.rng.choice([3, 100, 20000]))
        self.expect("OK", "SET", key, self.values[key])
        counter = b"count:%d" % self.rng.randrange(20)
        self.counters[counter] = self.counters.get(counter, 0) + 1
        self.expect(self.counters[counter], "INCR", counter)
        self.entries += 1
        entry = b"1-%d" % self.entries
        self.expect(entry, "XADD", "check:stream", entry, "n", self.entries)

    def end(self):
        for key, value in self.values.items():
            self.expect(value, "GET", key)
        for key, count in self.counters.items():
            self.expect(b"%d" % count, "GET", key)
        entries = self.raw.call("XRANGE", "check:stream", "-", "+")
        wanted = [[b"1-%d" % i, [b"n", b"%d" % i]] for i in range(1, self.entries + 1)]
        assert entries == wanted


def check(port, seconds, pipe):
    try:
        checker = Checker(port)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            checker.round()
            time.sleep(0.001)
        checker.end()
        times = sorted(checker.times)
        pipe.send((times[int(len(times) * 0.99)], times[-1], checker.entries))
    except (AssertionError, Closed, OSError) as error:
        pipe.send(repr(error))


# ---- The attackers ----

def http_lines(rng):
    return rng.choice([
        b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 5000, b"GET /" + b"x" * 100000,
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 50000,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100, rng.randbytes(5000),
        b"GET / HTTP/9.9\r\n\r\n", b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff"])


def attack_text(rng):
    """Malformed, oversized, unfinished; or right, and endless."""
    return rng.choice([
        rng.randbytes(rng.randrange(1, 60000)), b"x" * 200000, b"*-1\r\n" * 3 + b"*3\r\n$-1\r\n",
        b"*%d\r\n$4\r\nPING\r\n" % rng.choice([1 << 20, 1 << 31, 1 << 62]),
        b"*2\r\n$4\r\nAUTH\r\n$%d\r\nabc" % rng.choice([1 << 14, 1 << 29, 1 << 40]),
        b"*10\r\n" + (b"$16000\r\n" + b"y" * 16000 + b"\r\n") * 9, b'SET "unbalanced\r\n',
        b"nosuch command\r\n" * 5000 + rng.randbytes(100), encode("AUTH", "x" * 16000) * 20,
        b"GET hostile\r\n" * 20000, encode("SET", "hostile", b"z" * 500000)[:-3],
        encode("EVAL", "for i = 1, 1000 do redis.call('GET', 'hostile') end", 0) * 20,
        encode("MULTI") + encode("SET", "hostile", "q" * 100000) * 20,
        encode("SUBSCRIBE", *range(3000)), encode("MONITOR") + encode("PING") * 2000,
        encode("DEBUG", "SLEEP", "x") * 100, encode("HELLO", 3, "AUTH", "default", "y" * 9000) * 9,
        encode("BLPOP", "hostile:none", 0) + b"x" * 50000, b"\r\n" * 50000,
        encode("CLIENT", "TRACKING", "ON", "BCAST") + encode("MSET", *range(2000)) * 20])


class Attacker:
    """Opens connections by all ways in, misuses them, and drops them in every way."""

    def __init__(self, ways, seed):
        self.ways = ways
        self.rng = random.Random(seed)
        self.open = []
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    def connect(self, way):
        if way == "unix":
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(1)
            s.connect(self.ways[way])
            return s
        s = socket.create_connection(("127.0.0.1", self.ways[way]), timeout=1)
        if way == "tls" and self.rng.random() < 0.6:
            s = self.tls.wrap_socket(s)
        return s

    def strike(self):
        way = self.rng.choice(["plain", "plain", "tls", "unix", "metrics"])
        s = self.connect(way)
        self.open.append(s)
        data = http_lines(self.rng) if way == "metrics" else attack_text(self.rng)
        if way != "metrics" and self.rng.random() < 0.5:
            data = encode("AUTH", PASSWORD) + data
        s.settimeout(0.05)
        end = self.rng.choice([len(data), len(data), self.rng.randrange(len(data)), 0])
        s.sendall(data[:end])
        if self.rng.random() < 0.3:
            s.recv(100)

    def drip(self):
        """A byte to each of those that are open."""
        for s in self.open:
            try:
                s.settimeout(0)
                s.send(b"*")
            except OSError:
                pass

    def drop(self):
        s = self.open.pop(self.rng.randrange(len(self.open)))
        if self.rng.random() < 0.5:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    def run(self, seconds):
        end, strikes = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            try:
                self.strike()
            except OSError:
                pass
            strikes += 1
            if strikes % 10 == 0:
                self.drip()
            while len(self.open) > OPEN_MAX:
                self.drop()
        while self.open:
            self.drop()
        return strikes


def attack(ways, seed, seconds, pipe):
    pipe.send(Attacker(ways, seed).run(seconds))


# ---- The tests ----

@pytest.fixture(name="target")
def make_target(fresh_server, authority, tmp_path):  # noqa: F811
    ways = {"tls": free_port(), "metrics": free_port(), "unix": str(tmp_path / "s")}
    server = fresh_server("--requirepass", PASSWORD, "--tls-port", ways["tls"], "--unixsocket",
                          ways["unix"], "--metrics-port", ways["metrics"],
                          *authority.options())
    ways["plain"] = server.port
    server.ways = ways
    return server


def start(work, *args):
    mine, theirs = FORK.Pipe()
    FORK.Process(target=work, args=(*args, theirs), daemon=True).start()
    return mine


def figures(raw):
    info = raw.call("INFO", "everything").decode()
    pairs = dict(line.split(":", 1) for line in info.split("\r\n") if ":" in line)
    return int(pairs["used_memory"]), int(pairs["connected_clients"]), int(pairs["blocked_clients"])


def withstand(server, seconds):
    with Raw(server.port) as raw:
        assert raw.call("AUTH", PASSWORD) == "OK"
        raw.call("SET", "hostile", "h" * 2000)
        before = figures(raw)[0]
        checking = start(check, server.port, seconds)
        attacking = [start(attack, server.ways, seed, seconds) for seed in range(ATTACKERS)]
        checked = checking.recv()
        strikes = sum(pipe.recv() for pipe in attacking)
        assert isinstance(checked, tuple), checked
        p99, worst, rounds = checked
        print(f"{strikes} attacks, {rounds} checks: p99 {p99 * 1000:.1f} ms, {worst * 1000:.0f} ms")
        assert strikes > 4 * seconds and rounds > 4 * seconds
        assert p99 < P99_SECONDS and worst < WORST_SECONDS
        wait_for(lambda: figures(raw)[1:] == (1, 0), 10)
        assert raw.call("FLUSHALL") == "OK"
        wait_for(lambda: figures(raw)[0] < before + KEPT_BYTES, 10)


def test_hostile_clients_harm_nobody(target):
    withstand(target, 2.5)


@pytest.mark.skipif("LASCA_LONG" not in os.environ, reason="takes a minute")
def test_hostile_clients_harm_nobody_for_long(target):
    withstand(target, 60)


def test_a_stranger_that_does_not_read_is_cut_off(fresh_server):
    server = fresh_server("--requirepass", PASSWORD)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        with pytest.raises(OSError):
            for _ in range(3000):
                s.sendall(b"GET k\r\n" * 10000)
    with Raw(server.port) as raw:
        assert raw.call("AUTH", PASSWORD) == "OK"
        wait_for(lambda: figures(raw)[1] == 1)
        assert b"client_output_buffer_limit_disconnections:1\r\n" in raw.call("INFO", "stats")
        raw.send(encode("PING") * 100000)  # who has said it may be slower
        time.sleep(0.2)
        assert all(raw.read_reply() == "PONG" for _ in range(100000))


def test_strangers_that_flood_make_the_server_hold_little(fresh_server):
    """However fast they send, each is read a piece at a time: what waits is some 64 KB."""
    server = fresh_server("--requirepass", PASSWORD)
    flood = encode("AUTH", "x" * 16384) * 64
    strangers = []
    try:
        for _ in range(24):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            s.setblocking(False)
            strangers.append(s)
        with Raw(server.port) as raw:
            assert raw.call("AUTH", PASSWORD) == "OK"
            held = []
            for _ in range(30):
                for s in strangers:
                    try:
                        s.send(flood)
                    except OSError:
                        pass
                for line in raw.call("CLIENT", "LIST").splitlines():
                    fields = dict(field.split(b"=", 1) for field in line.split())
                    held.append(int(fields[b"qbuf"]) + int(fields[b"qbuf-free"]))
            assert max(held) > 4096, "the flood has not arrived"
            assert max(held) < 256 << 10
    finally:
        for s in strangers:
            s.close()
