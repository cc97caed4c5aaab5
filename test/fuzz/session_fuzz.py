#!/usr/bin/env python3
"""Fuzzes a whole server over real sockets.

    session_fuzz.py --seconds 60 --seed 7 --server build/lasca-server --shards 3 --backend epoll

It starts the server (best one with sanitizers), asks COMMAND and COMMAND DOCS what there is, and
sends requests made from the rows (session_requests.py): right ones and broken ones, in pipelines
cut into random pieces, on connections that end in every way a connection can end. Meanwhile a
checker keeps reading back data of its own, in a database that no fuzzed request selects.

A finding is: the server ends or a sanitizer speaks; a reply that is not RESP; more or fewer replies
than requests on a connection that sent whole requests; a reply with another request's content; data
of the checker lost; a user who sees or changes what its rules forbid; a connection on which nothing
moves for STUCK_SECONDS though replies are due; a stop that is not clean. It is printed with the
seed and the last requests, and the exit status is 1.

Each episode (one connection's life) is generated from the seed, the worker and its number alone;
how the workers' episodes interleave is up to the scheduler.
"""

import argparse
import collections
import multiprocessing
import os
import random
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "integration"))

import harness  # noqa: E402
import session_admin  # noqa: E402
import session_scripts  # noqa: E402
from harness import encode  # noqa: E402
from session_requests import (  # noqa: E402
    BULK_MAX, CHECKED_DB, DISORDERING, PASSWORD, Generator, read_rows)

STUCK_SECONDS = 30  # PFSELFTEST with sanitizers on a busy machine takes long
WORKERS = 6
FORK = multiprocessing.get_context("fork")
READ_SIZE = 1 << 16
KEPT_REQUESTS = 12
RESP3_MARKS = {b"%", b"~", b"_", b"#", b",", b"(", b"=", b"|", b">", b"!"}

class Finding(Exception):
    """What the fuzzer is for."""


# ---- replies ----

class Replies:
    """Reads replies strictly from pieces, without ever starting over."""

    MARKS = {b"+", b"-", b":", b"$", b"*", b"_", b"#", b",", b"(", b"=", b"!", b"~", b"%", b">",
             b"|"}
    PLAIN = {b"+", b"-", b":", b"_", b"#", b",", b"("}

    def __init__(self):
        self.bytes = bytearray()
        self.at = 0
        self.open = []  # aggregates under way: [mark, elements left, elements]
        self.bulk = None  # (mark, size) of the one under way
        self.marks = set()

    def feed(self, data):
        """Returns the replies that are now whole."""
        self.bytes += data
        whole = []
        while True:
            value = self._step()
            if value is None:
                break
            value = self._settle(value[0])
            if value is not None:
                whole.append(value[0])
        del self.bytes[:self.at]
        self.at = 0
        return whole

    def nothing_left(self):
        return not self.bytes and not self.open and self.bulk is None

    def _fail(self, why):
        raise Finding(f"not RESP: {why}, at {bytes(self.bytes[self.at:self.at + 120])!r}")

    def _step(self):
        """One element that is no aggregate with elements, as a 1-tuple; None: bytes are missing."""
        while True:
            if self.bulk is not None:
                return self._take_bulk()
            end = self.bytes.find(b"\r\n", self.at)
            if end < 0:
                if len(self.bytes) - self.at > 1 << 26:  # MONITOR shows whole requests
                    self._fail("a line without end")
                return None
            line = bytes(self.bytes[self.at:end])
            mark, rest = line[:1], line[1:]
            if mark not in self.MARKS:
                self._fail("unknown type")
            if b"\r" in rest or b"\n" in rest:
                self._fail("a line break within a line")
            value = self._line_value(mark, rest)
            self.marks.add(mark)
            self.at = end + 2
            if value is not None:
                return value

    def _line_value(self, mark, rest):
        if mark in self.PLAIN:
            return (self._plain(mark, rest),)
        if not (rest.isdigit() or rest == b"-1"):
            self._fail("a bad length")
        size = int(rest)
        if size < 0:
            if mark not in (b"$", b"*"):
                self._fail("a negative length")
            return (None,)
        if mark in (b"$", b"=", b"!"):
            self.bulk = (mark, size)
            return None
        count = size * 2 if mark in (b"%", b"|") else size
        if count == 0:
            return ([],)
        self.open.append([mark, count, []])
        return None

    def _plain(self, mark, rest):
        try:
            if mark == b":":  # a script may send any text as a big number
                int(rest)
            elif mark == b",":
                float(rest)
        except ValueError:
            self._fail("a bad number")
        if (mark == b"_" and rest) or (mark == b"#" and rest not in (b"t", b"f")):
            self._fail("a bad null or boolean")
        if mark == b"_":
            return None
        return mark + rest

    def _take_bulk(self):
        mark, size = self.bulk
        if len(self.bytes) - self.at < size + 2:
            return None
        if self.bytes[self.at + size:self.at + size + 2] != b"\r\n":
            self._fail("a bulk without its end")
        data = bytes(self.bytes[self.at:self.at + size])
        if mark == b"=" and data[3:4] != b":":
            self._fail("a verbatim string without format")
        self.at += size + 2
        self.bulk = None
        return (data,)

    def _settle(self, value):
        """Adds an element to the aggregate it belongs to; a 1-tuple where a reply is whole."""
        while self.open:
            aggregate = self.open[-1]
            aggregate[2].append(value)
            aggregate[1] -= 1
            if aggregate[1]:
                return None
            self.open.pop()
            if aggregate[0] == b"|":
                return None  # an attribute is no reply: one follows
            value = aggregate[2]
        return (value,)


class TlsSocket:
    """TLS over a socket, with a socket's ways: what it cannot do now is a BlockingIOError."""

    def __init__(self, plain, context):
        self.tls = context.wrap_socket(plain)
        self.unsent = None  # OpenSSL wants to be asked again for the same bytes
        for name in ("close", "fileno", "setblocking", "setsockopt", "settimeout", "sendall"):
            setattr(self, name, getattr(self.tls, name))

    def send(self, data):
        data = self.unsent or bytes(data)
        self.unsent = None
        try:
            return self.tls.send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self.unsent = data
            raise BlockingIOError from None
        except ssl.SSLError:
            raise BrokenPipeError from None

    def recv(self, size):
        try:
            data = self.tls.recv(size)
            while self.tls.pending():
                data += self.tls.recv(size)
            return data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLError:
            return b""


# ---- episodes ----

class Episode:
    """One connection's life: what is sent, what must come back, and how it ends."""

    def __init__(self, fuzzer, worker, number):
        self.fuzzer = fuzzer
        self.name = f"{fuzzer.seed}:{worker}:{number}"
        self.rng = random.Random(self.name)
        self.generator = Generator(self.rng, fuzzer.rows, fuzzer.dumps, fuzzer.options,
                                   fuzzer.debug)
        self.token = b"own-%d-%d-" % (worker, number)
        self.out = bytearray()
        self.expected = []  # a check of each reply, or None
        self.requests = []  # the requests, for the story of a finding
        self.spoke_resp3 = False
        self.open_ended = False  # any number of replies may follow those expected
        self.mark = None  # the reply that is the last, where their number is not known
        self.replies = Replies()
        self.received = 0
        self.last_replies = collections.deque(maxlen=KEPT_REQUESTS // 2)
        self.hidden = None  # what no byte that comes may hold
        self.socket = None

    # What is sent.

    def add(self, words, check=None, replies=1):
        self.spoke_resp3 |= words[0].lower() == b"hello"
        self.out += self.generator.bytes_of(words)
        self.requests.append(words)
        self.expected += [check] * replies

    def login(self):
        if self.fuzzer.password:
            self.add([b"AUTH", PASSWORD], is_ok)
        if self.rng.random() < 0.3:
            self.add([b"HELLO", b"3"])

    def add_probe(self, last):
        """A request whose reply can be told from all others."""
        mark = self.token + b"%d" % len(self.expected)
        kind = self.rng.randrange(3)
        key = b"%s%d" % (self.token, self.rng.randrange(8))
        if kind == 0:
            self.add([b"ECHO", mark], equals(mark))
        elif kind == 1:
            last[key] = mark
            self.add([b"SET", key, mark], is_ok)
        else:
            self.add([b"GET", key], equals(last.get(key), None))

    def fill(self):
        self.login()
        last = {}
        depth = self.rng.choice([1, 1, 2, 5, 20, 100, 600, 1500])
        while depth > 0 and len(self.out) < 6 << 20:
            if self.rng.random() < 0.4:
                self.add_probe(last)
            else:
                self.add(self.generator.request(ordered=True))
            depth -= 1

    def fill_disordered(self):
        self.login()
        for _ in range(self.rng.choice([1, 5, 50, 300])):
            self.add(self.generator.request())

    def fill_reply_modes(self):
        """CLIENT REPLY, with a model of it."""
        self.login()
        mode = "on"
        for _ in range(self.rng.randrange(1, 60)):
            if self.rng.random() < 0.3:
                word = self.rng.choice([b"ON", b"OFF", b"SKIP"])
                if word == b"ON":
                    mode = "on"
                    self.add([b"CLIENT", b"REPLY", word], is_ok)
                    continue
                if word == b"OFF":
                    mode = "off"
                elif mode != "off":
                    mode = "skip"
                self.add([b"CLIENT", b"REPLY", word], replies=0)
                continue
            mark = self.token + b"%d" % len(self.requests)
            words, check = self.rng.choice([
                ([b"ECHO", mark], equals(mark)),
                ([b"SET", self.generator.key(), b"v"], None), ([b"GET"], is_error),
                ([b"MGET", b"k1", b"k2", b"k3", b"k4"], None), ([b"DBSIZE"], None),
                ([b"NOSUCH", b"x"], is_error),
                ([b"MSETNX", self.generator.key(), b"1", self.generator.key(), b"2"], None)])
            self.add(words, check, replies=1 if mode == "on" else 0)
            if mode == "skip":
                mode = "on"
        self.add([b"CLIENT", b"REPLY", b"ON"], is_ok)

    def fill_transactions(self):
        """MULTI to EXEC, with a model of it: EXEC gives a reply for each that was queued, and each
        is the one of its request; or none where one was refused."""
        self.login()
        for _ in range(self.rng.choice([1, 3, 20])):
            if self.rng.random() < 0.3:
                self.add([b"WATCH", self.generator.key(), self.generator.key()])
            transaction = Transaction()
            self.add([b"MULTI"], is_ok)
            for _ in range(self.rng.choice([0, 1, 3, 10, 100])):
                if self.rng.random() < 0.4:
                    mark = self.token + b"%d" % len(self.expected)
                    self.add([b"ECHO", mark], transaction.queue(mark))
                elif self.rng.random() < 0.02:
                    self.add([b"MULTI"], is_error)
                else:
                    self.add(self.generator.request(ordered=True), transaction.queue(None))
            if self.rng.random() < 0.15:
                self.add([b"DISCARD"], is_ok)
            else:
                self.add([b"EXEC"], transaction.is_done)
        self.add([b"ECHO", self.token], equals(self.token))

    def garbage(self):
        kind = self.rng.randrange(8)
        if kind == 0:
            return self.rng.randbytes(self.rng.randrange(1, 2000))
        if kind == 1:
            return b"*%d\r\n" % self.rng.choice([-1, 0, 1 << 20, 1 << 31, 1 << 62]) * 3
        if kind == 2:
            return b"*1\r\n$%d\r\n" % self.rng.choice([-1, 0, 1 << 29, 1 << 31, 1 << 62]) + b"x\r\n"
        if kind == 3:
            return b"*2\r\n$3\r\nGET\r\n+k\r\n"
        if kind == 4:
            return b'GET "unbalanced\r\n'
        if kind == 5:
            return b"x" * 70000
        if kind == 6:
            return b"\r\n" * 50 + b"*0\r\n" * 50 + b"*x\r\n"
        cut = bytearray(encode(*self.generator.request()))
        for _ in range(3):
            cut[self.rng.randrange(len(cut))] = self.rng.randrange(256)
        return bytes(cut)

    # How it goes over the wire.

    def connect(self, may_be_tls):
        secure = may_be_tls and self.rng.random() < 0.25
        port = self.fuzzer.tls_port if secure else self.fuzzer.port
        self.socket = socket.create_connection(("127.0.0.1", port), STUCK_SECONDS)
        if secure:
            self.socket = TlsSocket(self.socket, self.fuzzer.tls)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.rng.random() < 0.1:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)

    def abort(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def piece(self, sent, style):
        left = len(self.out) - sent
        if style == "whole":
            return left
        if style == "bytes":
            return self.rng.randrange(1, 8)
        return min(left, self.rng.choice([1, 2, 10, 100, 1000, 16383, 16384, 16385, 70000]))

    def _send(self, sent, style):
        try:
            end = sent + self.piece(sent, style)
            return sent + self.socket.send(memoryview(self.out)[sent:end])
        except BlockingIOError:
            return sent

    def _receive(self):
        """True until the server has closed."""
        try:
            data = self.socket.recv(READ_SIZE)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self.take(data)
        return bool(data)

    def take(self, data):
        if self.hidden and self.hidden in data:
            raise Finding(f"forbidden data was sent: {data!r:.600}")
        for reply in self.replies.feed(data):
            self.last_replies.append(reply)
            if self.received >= len(self.expected) and not self.open_ended:
                raise Finding(f"a reply too many: {reply!r:.200}")
            if self.mark is not None and reply == self.mark:
                self.mark = None
            check = self.expected[self.received] if self.received < len(self.expected) else None
            if check and not check(reply):
                raise Finding(f"reply {self.received} is {reply!r:.200}, wanted {check.__doc__}")
            self.received += 1

    def exchange(self, until_closed=False, sent_max=None, half_close=False):
        """Sends all, or sent_max bytes, and reads what is due; true where the server closed."""
        style = self.rng.choice(["whole", "whole", "mixed", "bytes"])
        if style == "bytes" and len(self.out) > 5000:
            style = "mixed"
        end = len(self.out) if sent_max is None else sent_max
        lazy = self.rng.random() < 0.15  # reads nothing before all has been sent, or 3 MB
        sent = 0
        moved = time.monotonic()
        while sent < end or until_closed or self.mark is not None or \
                (sent_max is None and self.received < len(self.expected)):
            reads = [] if lazy and sent < min(end, 3 << 20) else [self.socket]
            writes = [self.socket] if sent < end else []
            wait = 0.05 if not reads else 1
            readable, writable, _ = select.select(reads, writes, [], wait)
            if not reads and not writable:
                lazy = False
            if readable:
                moved = time.monotonic()
                if not self._receive():
                    return True
            if writable:
                moved = time.monotonic()
                try:
                    sent = self._send(sent, style)
                except (BrokenPipeError, ConnectionResetError):
                    self.drain()
                    return True
                if sent == end and half_close:
                    self.socket.shutdown(socket.SHUT_WR)
            if time.monotonic() - moved > STUCK_SECONDS:
                raise Finding(f"stuck: {self.received} of {len(self.expected)} replies came, "
                              f"{sent} of {end} bytes were sent")
            if self.fuzzer.over():
                return False
        return False

    def drain(self):
        """What still stands in the socket, once sending failed."""
        self.socket.settimeout(1)
        try:
            while data := self.socket.recv(READ_SIZE):
                self.take(data)
        except OSError:
            pass

    def need_all(self, closed):
        if self.fuzzer.over():
            return
        if self.received != len(self.expected):
            raise Finding(f"{self.received} replies to {len(self.expected)} requests"
                          + (", then the server closed" if closed else ""))
        if not self.replies.nothing_left():
            raise Finding("bytes behind the last reply")
        if b">" in self.replies.marks:
            raise Finding("a push that nobody asked for")
        if not self.spoke_resp3 and self.replies.marks & RESP3_MARKS:
            raise Finding(f"RESP3 types for a client of RESP2: {self.replies.marks}")

    def story(self):
        """The requests around the one that was to be answered next."""
        start = max(0, self.received - KEPT_REQUESTS // 2)
        lines = [f"  episode {self.name}, from request {start}:"]
        lines += [f"    {words!r:.200}" for words in self.requests[start:start + KEPT_REQUESTS]]
        lines += ["  the last replies:"] + [f"    {reply!r:.200}" for reply in self.last_replies]
        return "\n".join(lines)

    # The kinds of lives.

    def live_and_close(self):
        self.rng.choice([self.fill, self.fill, self.fill_disordered, self.fill_reply_modes,
                         self.fill_transactions, self.fill_transactions])()
        closed = self.exchange()
        self.need_all(closed)
        self.rng.choice([self.socket.close, self.abort])()

    def live_half_closed(self):
        self.generator.may_wait = False  # that would end where the peer seems gone
        self.fill()
        if not self.exchange(until_closed=True, half_close=True):
            return
        self.need_all(True)

    def live_until_quit(self):
        self.fill()
        self.add([b"QUIT"], is_ok)
        tail = self.rng.choice([0, 0, 3, 300])
        for _ in range(tail):
            self.out += encode(*self.generator.request())
        closed = self.exchange(until_closed=True)
        # A tail that the server has not read makes the kernel reset the connection, and that may
        # destroy replies on their way.
        if not tail:
            self.need_all(closed)

    def live_broken(self):
        self.rng.choice([self.fill, self.fill_disordered])()
        whole = len(self.expected)
        self.out += self.garbage()
        self.out += b"".join(encode(*self.generator.request())
                             for _ in range(self.rng.choice([0, 1, 20])))
        self.open_ended = True
        self.exchange_broken(self.rng.choice([0.05, 0.3]), whole)
        self.socket.close()

    def exchange_broken(self, seconds, whole):
        """Sends all; reads for a while after the replies to the whole requests."""
        sent, style, end_at = 0, self.rng.choice(["whole", "mixed"]), None
        moved = time.monotonic()
        while end_at is None or time.monotonic() < end_at:
            writes = [self.socket] if sent < len(self.out) else []
            readable, writable, _ = select.select([self.socket], writes, [], 0.05)
            if readable:
                moved = time.monotonic()
                if not self._receive():
                    return
            if writable:
                moved = time.monotonic()
                try:
                    sent = self._send(sent, style)
                except (BrokenPipeError, ConnectionResetError):
                    self.drain()
                    return
            if end_at is None and sent == len(self.out) and self.received >= whole:
                end_at = time.monotonic() + seconds
            if time.monotonic() - moved > STUCK_SECONDS and self.received < whole:
                raise Finding(f"stuck: {self.received} of {whole} replies came before garbage")
            if self.fuzzer.over():
                return

    def live_half_request(self):
        self.fill()
        self.exchange(sent_max=self.rng.randrange(len(self.out) + 1))
        if self.rng.random() < 0.3:
            time.sleep(self.rng.random() * 0.02)
        self.rng.choice([self.socket.close, self.abort])()

    def live_without_reading(self):
        self.login()
        for _ in range(self.rng.choice([10, 300])):
            self.add(self.rng.choice([[b"COMMAND", b"DOCS"], [b"INFO", b"everything"],
                                      [b"GETRANGE", b"k1", b"0", b"-1"], [b"KEYS", b"*"]]))
        self.exchange(sent_max=len(self.out))
        time.sleep(self.rng.random() * 0.1)
        self.abort()

    def own_id(self):
        """The connection's id, asked before anything else."""
        self.socket.setblocking(True)
        self.socket.settimeout(STUCK_SECONDS)
        if self.fuzzer.password:
            self.socket.sendall(encode(b"AUTH", PASSWORD))
            self.socket.recv(100)
        self.socket.sendall(b"CLIENT ID\r\n")
        line = self.socket.recv(100)
        if not line.endswith(b"\r\n"):
            raise Finding(f"CLIENT ID gave {line!r}")
        self.socket.setblocking(False)
        return line[1:-2]

    def live_talking(self):
        """Subscriptions, tracking, transactions and modes of reply, in any order: any number of
        replies and messages, in order RESP all the same, and RESET leads out of everything."""
        own_id = self.own_id()
        self.login()
        self.open_ended = True
        for _ in range(self.rng.choice([3, 20, 200])):
            words = (self.generator.request() if self.rng.random() < 0.4
                     else session_scripts.session_request(self.rng, own_id))
            if words[:2] == [b"CLIENT", b"REPLY"]:
                self.add([b"DISCARD"], replies=0)  # in EXEC it leaves a hole, as in Redis
            self.add(words, replies=0)
            if words[0] == b"RESET" and self.fuzzer.password:
                self.add([b"AUTH", PASSWORD], replies=0)
        self.expected.clear()
        self.add([b"RESET"], replies=0)
        self.add([b"AUTH", PASSWORD], replies=0)
        self.mark = self.token + b"end"
        self.add([b"ECHO", self.mark], replies=0)
        if self.exchange():
            raise Finding("the server closed")
        self.rng.choice([self.socket.close, self.abort])()

    def live_and_be_killed(self):
        """Kills itself from another connection while its pipeline runs."""
        own_id = self.own_id()
        self.fill()
        killer = threading.Thread(target=self.fuzzer.kill_client,
                                  args=(own_id, self.rng.random() * 0.01))
        killer.start()
        try:
            if not self.exchange():
                self.drain()
        finally:
            killer.join()
            self.socket.close()

    def live_limited(self):
        """As a user who may do little: whatever it does, it sees and changes no secret. Others may
        change its rules, and that may end its connection."""
        low = self.rng.random() < 0.6
        user = session_admin.LOW if low else self.rng.choice(session_admin.USERS)
        if low:
            self.fuzzer.make_secrets()
            self.hidden = session_admin.SECRET
        else:
            self.fuzzer.ask(*session_admin.set_user(self.rng))
        self.generator.wants_secrets = low
        self.open_ended = True
        self.add([b"AUTH", user, session_admin.LOW_PASSWORD], replies=0)
        for _ in range(self.rng.choice([3, 30, 300])):
            words = (self.generator.request() if self.rng.random() < 0.8
                     else session_scripts.session_request(self.rng, b"1"))
            if words[0].upper() in (b"AUTH", b"HELLO", b"RESET", b"CLIENT"):
                continue
            self.add(words, replies=0)
        if low:
            self.add([b"RESET"], replies=0)
            self.mark = self.token + b"end"
            self.add([b"AUTH", PASSWORD] if self.fuzzer.password else [b"PING"], replies=0)
            self.add([b"ECHO", self.mark], replies=0)
        self.exchange()
        if low:
            kept = self.fuzzer.ask(*session_admin.GET_SECRET)
            if kept not in (None, session_admin.SECRET):
                raise Finding(f"a secret has become {kept!r:.100}")
        self.socket.close()

    def live_as_stranger(self):
        """Without a password nothing is done."""
        if not self.fuzzer.password:
            return self.live_limited()
        self.open_ended = True
        for _ in range(self.rng.choice([1, 10, 100])):
            words = self.generator.request(ordered=True)
            if words[0].lower() not in (b"auth", b"hello", b"reset", b"quit"):
                self.add(words, is_error)
        closed = self.exchange()
        if not closed and not self.fuzzer.over() and self.received != len(self.expected):
            raise Finding("replies are missing")
        return self.socket.close()

    def live_shortly(self):
        self.rng.choice([self.socket.close, self.abort])()

    def run(self):
        lives = [self.live_and_close] * 10 + [
            self.live_half_closed, self.live_half_closed, self.live_until_quit,
            self.live_until_quit, self.live_broken, self.live_broken, self.live_broken,
            self.live_half_request, self.live_half_request, self.live_without_reading,
            self.live_talking, self.live_talking, self.live_talking, self.live_talking,
            self.live_and_be_killed, self.live_shortly, self.live_limited, self.live_limited,
            self.live_limited, self.live_limited, self.live_as_stranger, self.live_as_stranger]
        life = self.rng.choice(lives)
        self.connect(life != self.live_half_closed)
        try:
            life()
        except Finding as finding:
            finding.args = (f"{finding.args[0]} ({life.__name__})",)
            raise
        finally:
            self.socket.close()


class Transaction:
    """What EXEC must give, as learnt from the replies before it."""

    def __init__(self):
        self.queued = []

    def queue(self, mark):
        def check(reply):
            if reply == b"+QUEUED":
                self.queued.append(mark)
            return reply == b"+QUEUED" or (is_error(reply) and mark is None)
        check.__doc__ = "QUEUED"
        return check

    def is_done(self, reply):
        """the replies of a transaction"""
        if isinstance(reply, list):
            return len(reply) == len(self.queued) and all(
                mark in (None, got) for mark, got in zip(self.queued, reply))
        return reply is None or reply.startswith(b"-EXECABORT")


def is_ok(reply):
    """OK"""
    return reply == b"+OK" or (isinstance(reply, bytes) and reply.startswith(b"-OOM"))


def is_error(reply):
    """an error"""
    return isinstance(reply, bytes) and reply.startswith(b"-")


def equals(*values):
    def check(reply):
        return reply in values
    check.__doc__ = " or ".join(map(repr, values))
    return check


# ---- the checker ----

class Checker:
    """Reads its own data back, beside the fuzzing. Only it empties the server, as only it knows
    then what is left."""

    def __init__(self, fuzzer):
        self.fuzzer = fuzzer
        self.rng = random.Random(f"{fuzzer.seed}:checker")
        self.data = {}
        self.slowest = 0.0
        self.rounds = 0
        self.socket = None
        self.connect()

    def connect(self):
        if self.socket:
            self.socket.close()
        self.socket = harness.Raw(self.fuzzer.port, timeout=STUCK_SECONDS)
        if self.fuzzer.password:
            self.call("AUTH", PASSWORD)
        self.expect("OK", "SELECT", CHECKED_DB)

    def call(self, *args):
        start = time.monotonic()
        try:
            reply = self.socket.call(*args)
        except TimeoutError:
            raise Finding(f"the checker waits {STUCK_SECONDS} s for {args[:3]!r:.200}") from None
        self.slowest = max(self.slowest, time.monotonic() - start)
        return reply

    def expect(self, wanted, *args):
        reply = self.call(*args)
        if reply != wanted:
            raise Finding(f"checker: {args!r:.300} gave {reply!r:.300}, wanted {wanted!r:.300}")

    def round(self):
        kind = self.rng.randrange(100)
        keys = [b"checker:%d" % self.rng.randrange(200) for _ in range(8)]
        if kind < 40:
            value = self.rng.randbytes(self.rng.choice([5, 30, 300, 20000]))
            self.expect("OK", "SET", keys[0], value)
            self.data[keys[0]] = value
        elif kind < 60:
            self.expect(self.data.get(keys[0]), "GET", keys[0])
        elif kind < 75:
            self.expect([self.data.get(key) for key in keys], "MGET", *keys)
        elif kind < 85:
            pairs = {key: b"%d" % self.rng.randrange(1000) for key in keys}
            self.expect("OK", "MSET", *[x for pair in pairs.items() for x in pair])
            self.data.update(pairs)
        elif kind < 93:
            self.expect(int(keys[0] in self.data), "DEL", keys[0])
            self.data.pop(keys[0], None)
        elif kind < 96:
            self.expect(len(self.data), "DBSIZE")
        elif kind < 99:
            self.connect()
        elif self.rng.random() < 0.1:
            self.expect("OK", "FLUSHALL")
            self.data.clear()

    def run(self):
        while not self.fuzzer.over():
            self.round()
            self.rounds += 1
            time.sleep(0.002)


# ---- the whole ----

class Fuzzer:
    """The server under test and the processes that fuzz it."""

    def __init__(self, options):
        self.seed = options.seed
        self.end = time.monotonic() + options.seconds
        self.password = options.seed % 2 == 1
        self.debug = options.seed % 4 < 2
        self.directory = tempfile.TemporaryDirectory(prefix="lasca-fuzz-")
        self.found = FORK.Event()
        self.problems = []
        harness.BINARY = os.path.abspath(options.server)
        harness.BACKEND, harness.SHARDS = options.backend, options.shards
        args = ["--proto-max-bulk-len", str(BULK_MAX)]
        if self.password:
            args += ["--requirepass", PASSWORD.decode()]
        if not self.debug:
            args += ["--enable-debug-command", "no"]
        if options.seed % 3 == 0:
            args += ["--aclfile", self._file("users", "user default on %s ~* &* +@all\n" % (
                f">{PASSWORD.decode()}" if self.password else "nopass"))]
        self.tls_port = harness.free_port()
        self.server = harness.Server(*args, *self._tls_options())
        self.port = self.server.port
        self.ask(b"ACL", b"SETUSER", session_admin.LOW, *session_admin.LOW_RULES)
        self.ask(b"ACL", b"SAVE")
        all_options = self.ask(b"CONFIG", b"GET", b"*")
        self.options = [pair for pair in zip(all_options[::2], all_options[1::2])
                        if pair[0] not in session_admin.UNTOUCHED and pair[0][:4] != b"tls-"]
        self.rows = read_rows(self.ask)
        self.dumps = [self.dump_of(count) for count in (0, 1, 3)]

    def _file(self, name, text=None):
        path = os.path.join(self.directory.name, name)
        if text is not None:
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
        return path

    def _tls_options(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", self._file("key"), "-out", self._file("crt"), "-days", "2",
             "-subj", "/CN=fuzz"], check=True, capture_output=True)
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE
        return ["--tls-port", self.tls_port, "--tls-cert-file", self._file("crt"),
                "--tls-key-file", self._file("key"), "--tls-auth-clients", "no"]

    def make_secrets(self):
        for request in session_admin.SECRETS:
            if request[0] == b"SET" or not self.ask(b"EXISTS", request[1]).endswith(b"1"):
                self.ask(*request)

    def over(self):
        return time.monotonic() >= self.end or self.found.is_set()

    def ask(self, *args):
        """One request on a connection of its own, its reply in the fuzzer's own form."""
        with socket.create_connection(("127.0.0.1", self.port), STUCK_SECONDS) as s:
            replies, got = Replies(), []
            requests = [[b"AUTH", PASSWORD]] * self.password + [args]
            s.sendall(b"".join(encode(*request) for request in requests))
            while len(got) < len(requests):
                data = s.recv(READ_SIZE)
                if not data:
                    raise Finding(f"closed on {args!r:.200}")
                got += replies.feed(data)
            return got[-1]

    def dump_of(self, count):
        """A dump of so many libraries."""
        for i in range(count):
            code = b"#!lua name=lib%d\nredis.register_function('f%d', function() return 1 end)"
            self.ask(b"FUNCTION", b"LOAD", b"REPLACE", code % (i, i) + b" -- " + b"x" * (60 * i))
        return self.ask(b"FUNCTION", b"DUMP")

    def kill_client(self, client_id, delay):
        time.sleep(delay)
        try:
            self.ask(b"CLIENT", b"KILL", b"ID", client_id)
        except OSError:
            pass

    def work(self, worker):
        """Runs episodes; returns what to print and what was found."""
        number = 0
        while not self.over():
            episode = Episode(self, worker, number)
            try:
                episode.run()
            except Finding as finding:
                return f"{finding}\n{episode.story()}"
            except OSError as error:
                if not self.over():
                    return f"{error!r}\n{episode.story()}"
            number += 1
        return number

    def check(self):
        checker = Checker(self)
        try:
            checker.run()
        except (Finding, OSError, harness.Closed) as error:
            return f"checker: {error!r}"
        return checker.rounds, checker.slowest

    def _run_process(self, pipe, work, args):
        result = work(*args)
        if isinstance(result, str):
            self.found.set()
        pipe.send(result)

    def start(self, work, *args):
        mine, theirs = FORK.Pipe()
        process = FORK.Process(target=self._run_process, args=(theirs, work, args), daemon=True)
        process.start()
        theirs.close()
        return process, mine

    def result_of(self, process, pipe):
        """What a process found; None where it found nothing or is lost."""
        try:
            if not pipe.poll(max(0, self.end - time.monotonic()) + 3 * STUCK_SECONDS):
                raise EOFError
            result = pipe.recv()
        except EOFError:
            process.kill()
            result = "a fuzzing process hangs or has failed"
        if isinstance(result, str):
            self.problems.append(result)
            return None
        return result

    def run(self):
        running = [self.start(self.work, i) for i in range(WORKERS)]
        checking = self.start(self.check)
        episodes = sum(self.result_of(*each) or 0 for each in running)
        rounds, slowest = self.result_of(*checking) or (0, 0)
        self.finish()
        print(f"{episodes} connections over {len(self.rows)} commands, {rounds} checks, "
              f"the slowest in {slowest * 1000:.0f} ms")

    def finish(self):
        if not self.server.alive():
            self.problems.insert(0, "the server has ended")
        try:
            self.server.stop()
        except AssertionError as problem:
            self.problems.append(str(problem))
        finally:
            self.server.destroy()


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--server", required=True)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--backend", default="auto")
    return parser.parse_args()


def main():
    options = read_options()
    print(f"seed {options.seed}, {options.shards} shards, {options.backend}", flush=True)
    fuzzer = Fuzzer(options)
    fuzzer.run()
    for problem in fuzzer.problems:
        print(f"FINDING (seed {options.seed}): {problem}")
    return 1 if fuzzer.problems else 0


if __name__ == "__main__":
    sys.exit(main())
