"""A load whose state can be judged after a crash: what was acknowledged is there, and what is there
is a state that existed.

Each writer numbers its steps 1, 2, 3, ... over keys on several shards, one step after the reply to
the one before, so a state that existed shows all steps up to some number and none behind it.
`check` finds that number and compares it with what the writer was told (and, for readers, with what
they were shown). Transactions and scripts change several keys in one step: all of them show it or
none does. Money moves between accounts: its sum stays.
"""

import random
import threading
import time

from harness import Closed, Raw, ReplyError, encode

ACCOUNTS = 16
MONEY = 1000
TRANSFER = b"""
local amount = math.floor(tonumber(ARGV[1]))
redis.call('DECRBY', KEYS[1], amount)
redis.call('INCRBY', KEYS[2], amount)
return redis.call('INCR', KEYS[3])
"""


class Writer(threading.Thread):
    """One client that steps on until its connections break."""

    connections = 1

    def __init__(self, port, name, first):
        super().__init__(daemon=True)
        self.name_of_keys = name
        self.sent = first - 1
        self.acknowledged = [(time.monotonic(), first - 1)]
        self.sockets = [Raw(port, timeout=20) for _ in range(self.connections)]
        self.random = random.Random(f"{name} {first}")
        self.problem = None
        self.stopping = False

    def key(self, i):
        return f"{self.name_of_keys}:{i}"

    def run(self):
        try:
            while not self.stopping:
                n = self.sent + 1
                replies = self.step(n)
                errors = [r for r in replies if isinstance(r, ReplyError)]
                if errors:
                    self.problem = f"step {n}: {errors[0].text}"
                    return
                self.acknowledged.append((time.monotonic(), self.sent))
        except (Closed, OSError):
            pass
        finally:
            for s in self.sockets:
                s.close()

    def step(self, n):
        raise NotImplementedError

    def acknowledged_at(self, moment):
        """The last step that was acknowledged by then."""
        return max((n for at, n in self.acknowledged if at <= moment), default=0)


def chain_length(values, keys):
    """The step that a chain has come to, by what its keys hold; None where that never was."""
    last = max(values)
    for i, value in enumerate(values):
        expected = last - (last - i) % keys
        if value != max(expected, 0):
            return None
    return last


class Chain(Writer):
    """SET of one key after the other, over several connections."""

    connections = 3
    keys = 7

    def step(self, n):
        self.sent = n
        return [self.sockets[n % self.connections].call("SET", self.key(n % self.keys), n)]

    def reached(self, get):
        return chain_length([int(get(self.key(i)) or 0) for i in range(self.keys)], self.keys)


class Pipeline(Writer):
    """The same in pipelines over several shards."""

    keys = 11
    depth = 16

    def step(self, n):
        last = n + self.depth - 1
        self.sockets[0].send(b"".join(encode("SET", self.key(i % self.keys), i)
                                      for i in range(n, last + 1)))
        self.sent = last
        return [self.sockets[0].read_reply() for _ in range(self.depth)]

    reached = Chain.reached


class Transaction(Writer):
    """MULTI over keys of several shards, in one pipeline."""

    def step(self, n):
        commands = [("MULTI",), ("SET", self.key("a"), n), ("RPUSH", self.key("list"), n),
                    ("INCR", self.key("b")), ("HSET", self.key("hash"), "field", n), ("EXEC",)]
        self.sent = n
        self.sockets[0].send(b"".join(encode(*c) for c in commands))
        return [self.sockets[0].read_reply() for _ in commands]

    def reached(self, get):
        found = {int(get(self.key("a")) or 0), int(get(self.key("b")) or 0),
                 get(self.key("list"), "LLEN"), int(get(self.key("hash"), "HGET", "field") or 0)}
        return found.pop() if len(found) == 1 else None


class Transfers(Writer):
    """A script that moves money between two accounts and counts."""

    def step(self, n):
        a, b = self.random.sample(range(ACCOUNTS), 2)
        self.sent = n
        return [self.sockets[0].call("EVAL", TRANSFER, 3, f"account:{a}", f"account:{b}",
                                     self.key("done"), self.random.randint(1, 50))]

    def reached(self, get):
        return int(get(self.key("done")) or 0)


class Queue(Writer):
    """Elements pushed here and moved to a list elsewhere, every third time."""

    connections = 2

    def step(self, n):
        self.sent = n
        replies = [self.sockets[0].call("RPUSH", self.key("in"), n)]
        if n % 3 == 0:
            replies.append(self.sockets[1].call("LMOVE", self.key("in"), self.key("out"),
                                                "LEFT", "RIGHT"))
        return replies

    def reached(self, get):
        all_of = get(self.key("out"), "LRANGE", 0, -1) + get(self.key("in"), "LRANGE", 0, -1)
        values = [int(e) for e in all_of]
        return len(values) if values == list(range(1, len(values) + 1)) else None


class Waiting(Queue):
    """Each element is waited for where it is pushed, and only that one is heard of: what it is told
    of is the push."""

    pushes = False

    def key(self, i):
        return f"{{{self.name_of_keys}}}:{i}"

    def step(self, n):
        pusher, waiter = self.sockets
        replies = [pusher.read_reply()] if self.pushes else []
        self.sent = n
        waiter.send(encode("BLMOVE", self.key("in"), self.key("out"), "LEFT", "RIGHT", 0))
        pusher.send(encode("RPUSH", self.key("in"), n))
        replies.append(waiter.read_reply())
        self.pushes = replies[-1] == b"%d" % n
        if not self.pushes: # one that was left over
            replies.append(pusher.read_reply())
        return replies


class Teller(Chain):
    """A chain whose steps are told to subscribers, in the same pipeline."""

    connections = 1

    def step(self, n):
        self.sent = n
        self.sockets[0].send(encode("SET", self.key(n % self.keys), n) +
                             encode("PUBLISH", self.name_of_keys, n))
        return [self.sockets[0].read_reply() for _ in range(2)]


class Listener(threading.Thread):
    """Hears what writers tell: that, too, must last."""

    def __init__(self, port, writers):
        super().__init__(daemon=True)
        self.socket = Raw(port, timeout=20)
        self.writers = {w.name_of_keys.encode(): w for w in writers}
        self.seen = {}
        self.socket.send(encode("SUBSCRIBE", *self.writers))
        for _ in self.writers:
            self.socket.read_reply()

    def run(self):
        try:
            while True:
                _, channel, value = self.socket.read_reply()
                self.seen[self.writers[channel]] = int(value)
        except (Closed, OSError):
            pass
        finally:
            self.socket.close()


class Reader(threading.Thread):
    """Reads what writers write: what it was shown must last, too, where all that is told does."""

    def __init__(self, port, writers):
        super().__init__(daemon=True)
        self.socket = Raw(port, timeout=20)
        self.writers = writers
        self.seen = {}

    def run(self):
        try:
            while True:
                w = random.choice(self.writers)
                value = self.socket.call("GET", w.key(random.randrange(w.keys)))
                if value:
                    self.seen[w] = max(self.seen.get(w, 0), int(value))
        except (Closed, OSError):
            pass
        finally:
            self.socket.close()


KINDS = [Chain, Pipeline, Transaction, Transfers, Queue, Waiting, Teller]


class Load:
    """Writers of all kinds, two of each, on a server."""

    def __init__(self, port, first_steps=None):
        with Raw(port) as r:
            for i in range(ACCOUNTS):
                r.call("SETNX", f"account:{i}", MONEY)
        first_steps = first_steps or {}
        self.writers = [kind(port, f"{kind.__name__.lower()}{i}",
                             first_steps.get(f"{kind.__name__.lower()}{i}", 0) + 1)
                        for kind in KINDS for i in range(2)]
        self.readers = [
            Reader(port, [w for w in self.writers if isinstance(w, (Chain, Pipeline))]),
            Listener(port, [w for w in self.writers if isinstance(w, Teller)])]
        for thread in [*self.writers, *self.readers]:
            thread.start()

    def join(self):
        for thread in [*self.writers, *self.readers]:
            thread.join(30)
            assert not thread.is_alive(), "a client is not told that the server has gone"
        problems = [w.problem for w in self.writers if w.problem]
        assert not problems, problems

    def check(self, raw, since=None, all_seen=False):
        """Holds what a recovered server has to what this load was told by `since` (None: nothing
        need have lasted). Returns the step that each writer had come to."""

        def get(key, command="GET", *rest):
            reply = raw.call(command, key, *rest)
            assert not isinstance(reply, ReplyError), reply
            return reply

        steps = {}
        for w in self.writers:
            reached = w.reached(get)
            state = {k.decode(): raw.call("GET", k) if raw.call("TYPE", k) == "string" else
                     raw.call("TYPE", k) for k in sorted(raw.call("KEYS", f"{w.name_of_keys}:*"))}
            assert reached is not None, f"{w.name_of_keys} is in a state that never was: {state}"
            told = w.acknowledged_at(since) if since is not None else 0
            assert reached >= told, f"{w.name_of_keys}: {told} was acknowledged, {reached} is there"
            assert reached <= w.sent, f"{w.name_of_keys}: {reached} is there, {w.sent} was sent"
            seen = max(r.seen.get(w, 0) for r in self.readers) if all_seen else 0
            assert reached >= seen, f"{w.name_of_keys}: {seen} was seen, {reached} is there"
            steps[w.name_of_keys] = reached
        accounts = [raw.call("GET", f"account:{i}") for i in range(ACCOUNTS)]
        money = sum(int(a) for a in accounts if a is not None)
        held = sum(a is not None for a in accounts)
        assert held in (0, ACCOUNTS) or since is None, accounts
        if held == ACCOUNTS:
            assert money == ACCOUNTS * MONEY, f"{money} is in all accounts: {accounts}"
        return steps
