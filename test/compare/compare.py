#!/usr/bin/python3
"""Compares Lasca's replies, byte by byte, with those of Debian's redis-server.

    compare.py [--shards N] [CASE ...]               the case files of test/compare/cases
    compare.py --random SECONDS [--seed N] FAMILY... random commands of families
    compare.py --events ...                          the same, with keyspace notifications

A case file is lines of commands, quoted as redis-cli reads them ("\\x00" escapes):

    CMD args      both servers must answer with the same bytes
    ~CMD args     the same, but the order of an aggregate's elements does not matter
    ?CMD args     sent to both, the replies not compared
    = "reply"     right after a command: what Lasca must answer, as raw bytes; for what the
                  reference lacks, which is then not asked
    = "reply"     a second one: the reply over RESP3, where it differs
    # text        a comment

Each file runs over RESP2 and again over RESP3, with both servers emptied before. Each file is one
test: `ok NAME` or its differences and `FAILED NAME`. The exit status is 1 where one failed.
"""

import argparse
import itertools
import os
import random
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import collection_commands  # noqa: E402
import commands  # noqa: E402
import events  # noqa: E402
import harness  # noqa: E402
import script_commands  # noqa: E402
import session_commands  # noqa: E402

sys.setrecursionlimit(50000)  # replies may be nested deeply

FAMILIES = (commands.FAMILIES | collection_commands.FAMILIES | script_commands.FAMILIES
            | session_commands.FAMILIES)
UNORDERED = commands.UNORDERED | collection_commands.UNORDERED
CASES = os.path.join(HERE, "cases")
DIFFERENCES_SHOWN = 20
REPLY_SHOWN = 300  # bytes
TALK_MARK = b"-the mark-"
TALK_ATTEMPTS = 6
# How deep exactly depends on what else is on the stack of Lua.
TOO_DEEP = b"reached lua stack limit"

# The servers read their clocks at different moments, so what is counted from now may differ by so
# much. Everything else is compared to the byte.
CLOCK_TOLERANCE = {b"TTL": 1, b"EXPIRETIME": 1, b"PTTL": 200, b"PEXPIRETIME": 200}

_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "a": b"\a"}


class BadCase(Exception):
    pass


def _read_quoted(line, at):
    """A double-quoted word from behind its quote: (bytes, index behind the closing quote)."""
    out = bytearray()
    while at < len(line):
        c = line[at]
        if c == '"':
            return bytes(out), at + 1
        if c == "\\" and re.match(r"x[0-9a-fA-F]{2}", line[at + 1:at + 4]):
            out.append(int(line[at + 2:at + 4], 16))
            at += 4
        elif c == "\\" and at + 1 < len(line):
            out += _ESCAPES.get(line[at + 1], line[at + 1].encode())
            at += 2
        else:
            out += c.encode()
            at += 1
    raise BadCase("a quote is not closed")


def _read_single_quoted(line, at):
    out = bytearray()
    while at < len(line):
        if line[at] == "'":
            return bytes(out), at + 1
        if line.startswith("\\'", at):
            at += 1
        out += line[at].encode()
        at += 1
    raise BadCase("a quote is not closed")


def split_words(line):
    """Words as redis-cli reads them."""
    words = []
    at = 0
    while True:
        while at < len(line) and line[at].isspace():
            at += 1
        if at == len(line):
            return words
        if line[at] in "\"'":
            read = _read_quoted if line[at] == '"' else _read_single_quoted
            word, at = read(line, at + 1)
            if at < len(line) and not line[at].isspace():
                raise BadCase("a closing quote must be followed by a blank")
        else:
            start = at
            while at < len(line) and not line[at].isspace():
                at += 1
            word = line[start:at].encode()
        words.append(word)


class Case:
    """One line: a command and how its reply is judged."""

    def __init__(self, words, mode="", where="", connection=0):
        self.words = words
        self.mode = mode
        self.connection = connection
        self.where = where
        self.expected = []

    def text(self):
        words = " ".join(printable(word) for word in self.words)
        return f"(second connection) {words}" if self.connection else words


def printable(data):
    if data and re.fullmatch(rb"[!#-&(-\[\]-~]+", data):
        return data.decode()
    return '"' + repr(data)[2:-1].replace('"', '\\"').replace("\\'", "'") + '"'


def read_cases(path):
    cases = []
    name = os.path.relpath(path, harness.ROOT)
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.strip()
            where = f"{name}:{number}"
            if not line or line.startswith("#"):
                continue
            try:
                if line.startswith("= "):
                    if not cases or len(cases[-1].expected) == 2:
                        raise BadCase("an expected reply must follow its command")
                    cases[-1].expected.append(split_words(line[2:])[0])
                    continue
                mode = line[0] if line[0] in "~?" else ""
                cases.append(Case(split_words(line[len(mode):]), mode, where))
            except BadCase as problem:
                sys.exit(f"{where}: {problem}")
    return cases


class Pair:
    """The two servers, with connections to each: those that cases use, and second ones."""

    def __init__(self, shards, with_events=False):
        self.with_events = with_events
        self.listeners = []
        self.lasca = harness.Server("--shards", str(shards))
        self.redis = start_reference()
        self.ours = self.theirs = []

    def reset(self, protocol):
        """Empties both and opens new connections that speak the protocol."""
        for raw in self.ours + self.theirs:
            raw.close()
        self.ours, self.theirs = ([server.raw(), server.raw()]
                                  for server in (self.lasca, self.redis))
        for raw in self.ours + self.theirs:
            raw.call("FLUSHALL")
            raw.call("SCRIPT", "FLUSH")
            if protocol == 3:
                raw.call("HELLO", "3")
        for listener in self.listeners:
            listener.close()
        if self.with_events:
            self.listeners = [events.listen(self.lasca), events.listen(self.redis)]

    def judge(self, case, protocol):
        """None, or (what came from Lasca, what was due)."""
        difference = self.judge_reply(case, protocol)
        if not self.with_events:
            return difference
        got, due = (listener.take() for listener in self.listeners)
        return difference or events.difference(case.words, got, due)

    def judge_reply(self, case, protocol):
        """None, or (Lasca's reply, the reply that was due)."""
        if case.mode == ">":
            return self.judge_talk(case)
        request = harness.encode(*case.words)
        ours, theirs = self.ours[case.connection], self.theirs[case.connection]
        ours.send(request)
        if case.expected:
            got = ours.read_raw()
            due = case.expected[min(protocol - 2, len(case.expected) - 1)]
            return None if got == due else (got, due)
        theirs.send(request)
        due, due_parts = theirs.read_raw_parts()
        got, got_parts = ours.read_raw_parts()
        if case.mode == "?" or same_time(case, got, due):
            return None
        if case.mode == "~":
            got_parts, due_parts = in_any_order(got, got_parts), in_any_order(due, due_parts)
        got += b"".join(got_parts)
        due += b"".join(due_parts)
        if TOO_DEEP in got and TOO_DEEP in due:
            return None
        if b"nan" in got and without_nan(got) == without_nan(due):
            return None
        same = got == due or (protocol == 3 and same_doubles(got, due))
        return None if same else (got, due)

    def judge_talk(self, case):
        """The same where a command has any number of replies, and messages may come: what both
        connections get, before the answer to a PING behind. Messages from Lasca may be later."""
        request = harness.encode(*case.words)
        for raws in (self.ours, self.theirs):
            raws[case.connection].send(request)
        got, due = ([[], []] for _ in range(2))
        for attempt in range(TALK_ATTEMPTS):
            time.sleep(0.02 * attempt)
            for raws, came in ((self.ours, got), (self.theirs, due)):
                for i in (case.connection, 1 - case.connection):
                    came[i] = by_pattern(came[i] + until_mark(raws[i]))
            if got == due:
                return None
        return tuple(b" | ".join(map(b"".join, came)) for came in (got, due))

    def revive(self):
        """Whether it was the reference that ended; it then runs again."""
        try:
            self.redis.process.wait(2)
        except subprocess.TimeoutExpired:
            return False
        print("    the reference ended", flush=True)
        self.redis.destroy()
        self.redis = start_reference()
        return True

    def stop(self):
        for listener in self.listeners:
            listener.close()
        for raw in self.ours + self.theirs:
            raw.close()
        self.redis.stop()
        self.redis.destroy()
        try:
            self.lasca.stop()
        finally:
            self.lasca.destroy()


def start_reference():
    return harness.Server(command=lambda port: [
        "/usr/bin/redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--enable-debug-command", "yes", "--crash-log-enabled", "no"])


def without_nan(reply):
    """Whether what computations give as no number has a sign is up to the compiler."""
    return re.sub(rb"\$\d+\r\n", b"", reply.replace(b"-nan", b"nan"))


def until_mark(raw):
    """All that comes before the answer to a PING."""
    raw.send(harness.encode("PING", TALK_MARK))
    came = []
    while TALK_MARK not in (reply := raw.read_raw()):
        came.append(reply)
    return came


def by_pattern(replies):
    """With what one message gave, for several patterns, in one order."""
    ordered = []
    for is_message, run in itertools.groupby(replies, lambda r: b"\r\npmessage\r\n" in r[:40]):
        ordered += sorted(run) if is_message else run
    return ordered


DOUBLE = re.compile(rb"(?<=\n),[^\r\n]*(?=\r\n)|^,[^\r\n]*(?=\r\n)")


def same_doubles(got, due):
    """7.0 writes a double of RESP3 with seventeen digits, 7.2 with as few as it takes."""
    def shortest(match):
        return b",%a" % float(match.group(0)[1:])
    return DOUBLE.sub(shortest, got) == DOUBLE.sub(shortest, due)


def in_any_order(head, parts):
    if head[:1] in b"%|":
        parts = [key + value for key, value in zip(parts[::2], parts[1::2])]
    return sorted(parts)


def same_time(case, got, due):
    tolerance = CLOCK_TOLERANCE.get(case.words[0].upper() if case.words else b"")
    if tolerance is None or got[:1] != b":" or due[:1] != b":":
        return False
    got, due = int(got[1:]), int(due[1:])
    return got == due or (got > 0 and due > 0 and abs(got - due) <= tolerance)


def excerpt(reply, other):
    """Of a long reply, what stands about the first byte that differs."""
    if len(reply) <= REPLY_SHOWN:
        return repr(reply)
    same = len(os.path.commonprefix([reply, other]))
    start = max(0, same - REPLY_SHOWN // 2)
    return f"at byte {same} of {len(reply)}: ...{reply[start:start + REPLY_SHOWN]!r}..."


def report(case, protocol, difference):
    got, due = difference
    print(f"{case.where}: RESP{protocol}: {case.text()}")
    print(f"    Lasca: {excerpt(got, due)}")
    print(f"    {'due:  ' if case.expected else 'Redis:'} {excerpt(due, got)}")


def run_cases(pair, cases):
    """The number of differences."""
    differences = 0
    if pair.with_events:
        # What only Lasca is asked leaves the two with different keys.
        cases = [case for case in cases if not case.expected]
    for protocol in (2, 3):
        pair.reset(protocol)
        for case in cases:
            try:
                difference = pair.judge(case, protocol)
            except harness.Closed:
                print(f"{case.where}: RESP{protocol}: {case.text()}: a connection was closed")
                return differences + 1
            if difference:
                differences += 1
                if differences <= DIFFERENCES_SHOWN:
                    report(case, protocol, difference)
    if differences > DIFFERENCES_SHOWN:
        print(f"... and {differences - DIFFERENCES_SHOWN} more")
    return differences


def related(history):
    """The commands before the last that share a key with it, or any word where it has none."""
    keys = {k if isinstance(k, bytes) else k.encode() for k in commands.KEYS}
    words = set(history[-1].words[1:])
    words = words & keys or words
    return [case for case in history[:-1] if words.intersection(case.words[1:])]


def run_random(pair, family, seconds, seed):
    """Random commands until the time is over or a reply differs. The number of differences."""
    rng = random.Random(f"{family} {seed}")
    make = FAMILIES[family]
    deadline = time.monotonic() + seconds
    count = 0
    while time.monotonic() < deadline:
        protocol = rng.choice((2, 3))
        pair.reset(protocol)
        history = []
        for _ in range(500):
            made = make(rng)
            words = [w if isinstance(w, bytes) else str(w).encode() for w in made]
            mode = "~" if words[0].upper() in UNORDERED else ""
            if family in session_commands.TALKING:
                mode = ">"
            case = Case(words, mode, f"{family}, seed {seed}, command {count}",
                        int(isinstance(made, session_commands.Other)))
            history.append(case)
            count += 1
            try:
                difference = pair.judge(case, protocol)
            except harness.Closed:
                if pair.revive():
                    break
                difference = b"the connection is open", b"a connection was closed"
            if difference:
                print("what led there:")
                for earlier in related(history)[-20:]:
                    print(f"    {earlier.text()}")
                report(case, protocol, difference)
                return 1
    print(f"    {count} random commands, seed {seed}")
    return 0


def conclude(name, differences):
    print(f"FAILED {name}" if differences else f"ok {name}", flush=True)
    return bool(differences)


def chosen_files(names):
    files = sorted(f for f in os.listdir(CASES) if f.endswith(".txt"))
    wanted = {n if n.endswith(".txt") else n + ".txt" for n in names}
    missing = wanted - set(files)
    if missing:
        sys.exit(f"no such case file in {CASES}: {', '.join(sorted(missing))}")
    return [f for f in files if not wanted or f in wanted]


def main():
    parser = argparse.ArgumentParser(description="compares replies with redis-server's")
    parser.add_argument("--shards", type=int, default=harness.SHARDS)
    parser.add_argument("--random", type=float, metavar="SECONDS")
    parser.add_argument("--seed", default=None)
    parser.add_argument("--events", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    seed = args.seed or random.randrange(10 ** 9)
    pair = Pair(args.shards, args.events)
    failed = 0
    try:
        if args.random is None:
            for file in chosen_files(args.names):
                cases = read_cases(os.path.join(CASES, file))
                failed += conclude(f"compare/{file[:-4]}", run_cases(pair, cases))
        else:
            for family in args.names or sorted(FAMILIES):
                failed += conclude(f"compare/random-{family}",
                                   run_random(pair, family, args.random, seed))
    finally:
        pair.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
