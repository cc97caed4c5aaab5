"""What the journal says is what was done: its commands, loaded by Lasca and by Redis 7.0, give the
same data.

Several clients send random commands of all families at once, among them what is random or goes by
the clock; then the file of the journal is loaded again, by Lasca with another number of shards and
by the reference, and all keys are compared.

LASCA_STRESS_SECONDS says how long the clients send, LASCA_EFFECTS_SEED what they choose.
"""

import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time

import harness

COMPARE = os.path.join(harness.ROOT, "test", "compare")
TEMPLATES = os.path.join(harness.ROOT, "test", "shard", "journal_templates.h")
REFERENCE = "/usr/bin/redis-server"
SECONDS = float(os.environ.get("LASCA_STRESS_SECONDS", "1"))
SEED = os.environ.get("LASCA_EFFECTS_SEED", "1")
CLIENTS = 4
BATCH = 40
# Longer than the times that commands of the templates set; the sweep has come round by then.
SETTLE_SECONDS = 1.3
# What Redis 7.0 does not know: expiries of fields.
UNKNOWN = {b"HPEXPIREAT", b"HPERSIST"}
# What is random, goes by the clock or waits, and what runs others.
NEVER = set(b"SPOP INCRBYFLOAT HINCRBYFLOAT SORT EVAL EVALSHA FCALL PUBLISH EXPIRE PEXPIRE "
            b"EXPIREAT SETEX PSETEX GETEX GETDEL GETSET DELEX MSETEX HEXPIRE HPEXPIRE "
            b"HEXPIREAT HGETEX HSETEX HGETDEL BLPOP BRPOP BLMOVE BRPOPLPUSH BLMPOP LMPOP "
            b"BZPOPMIN BZPOPMAX BZMPOP ZMPOP XREADGROUP XAUTOCLAIM XDELEX XACKDEL WATCH".split())

sys.path.insert(0, COMPARE)
import collection_commands  # noqa: E402
import commands  # noqa: E402
import session_commands  # noqa: E402

FAMILIES = {**commands.FAMILIES, **collection_commands.FAMILIES,
            "transaction": session_commands.transaction, "script": session_commands.script}
LIBRARY = ("#!lua name=effects{0}\n"
           "redis.register_function('take{0}', function(keys) "
           "redis.call('incr', keys[1]) return redis.call('spop', keys[2]) end)\n")


# ---- Commands ----


def read_templates():
    with open(TEMPLATES, encoding="ascii") as f:
        return re.findall(r'"([^"]*)"', f.read())


class Maker:
    """Commands of one client."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.templates = read_templates()
        self.step = 0

    def _fill(self, match):
        c, letter = self.chance, match.group(1)
        now = int(time.time() * 1000)
        values = ["a", "b", "7", "-3", "2.5", "x" * 90]
        recent = self.step - c.randrange(min(self.step, 60))
        return {
            "k": lambda: "k%d" % c.randrange(12), "v": lambda: c.choice(values),
            "m": lambda: "m%d" % c.randrange(9), "n": lambda: "%d" % c.randrange(-3, 9),
            "c": lambda: "%d" % c.randrange(1, 5), "f": lambda: "%.2f" % c.uniform(-4, 5),
            "t": lambda: "%d" % c.randrange(1, 120),
            "T": lambda: "%d" % (now + c.randrange(-20, 120)),
            "j": lambda: "%d-1" % self.step, "i": lambda: "%d-1" % recent,
            "G": lambda: "g%d" % c.randrange(2), "C": lambda: "c%d" % c.randrange(3),
            "d": lambda: "%d" % c.randrange(3), "o": lambda: "%d" % c.randrange(70),
        }.get(letter, lambda: "%s%d" % (letter, c.randrange(3)))()

    def _function(self):
        c = self.chance
        n = c.randrange(3)
        return c.choice([
            ["FUNCTION", "LOAD", "REPLACE", LIBRARY.format(n)],
            ["FUNCTION", "DELETE", f"effects{n}"],
            ["FCALL", f"take{n}", "2", "s0", "S%d" % c.randrange(3)],
            ["FCALL", f"take{n}", "2", "s1", "S%d" % c.randrange(3)]])

    def _any(self):
        c = self.chance
        self.step += 1
        which = c.random()
        if which < 0.55:
            line = re.sub("%(.)", self._fill, c.choice(self.templates))
            return line.split(" ")
        if which < 0.57:
            return self._function()
        return FAMILIES[c.choice(sorted(FAMILIES))](c)

    def command(self):
        """As bytes; what would wait for ever does not, and whole databases go seldom."""
        while True:
            words = [w if isinstance(w, bytes) else str(w).encode() for w in self._any()]
            name = words[0].upper()
            if name in (b"FLUSHALL", b"FLUSHDB") and self.chance.random() < 0.9:
                continue
            if name in (b"RESET", b"HELLO", b"AUTH", b"CONFIG") or b"BLOCK" in words:
                continue
            if name in (b"BLPOP", b"BRPOP", b"BZPOPMIN", b"BZPOPMAX", b"BLMOVE", b"BRPOPLPUSH"):
                words[-1] = b"0.01"
            if name in (b"BLMPOP", b"BZMPOP") and len(words) > 1:
                words[1] = b"0.01"
            return words


def send(server, seed, deadline, failures):
    maker = Maker(seed)
    try:
        with server.raw() as r:
            while time.monotonic() < deadline:
                batch = [maker.command() for _ in range(maker.chance.randrange(1, BATCH))]
                r.send(b"".join(harness.encode(*words) for words in batch))
                for _ in batch:
                    r.read_raw()
    except Exception as e:  # the threads' own would be lost
        failures.append(e)


def drive(server):
    failures = []
    deadline = time.monotonic() + SECONDS
    threads = [threading.Thread(target=send, args=(server, f"{SEED} {i}", deadline, failures))
               for i in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures
    time.sleep(SETTLE_SECONDS)


# ---- What a server holds ----


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def stream_facts(info):
    """What XINFO STREAM FULL tells, but for clocks and how it lies in memory."""
    info = pairs(info)
    for name in (b"radix-tree-keys", b"radix-tree-nodes"):
        del info[name]
    groups = []
    for group in map(pairs, info.pop(b"groups")):
        consumers = []
        for consumer in map(pairs, group.pop(b"consumers")):
            consumers.append((consumer[b"name"], consumer[b"pending"]))
        group.pop(b"lag")
        groups.append((sorted(group.items(), key=lambda i: i[0]), sorted(consumers)))
    return repr((sorted(info.items(), key=lambda i: i[0]), groups))


def value_facts(r, kind, key):
    """The digest; but 7.0 writes the scores in it otherwise."""
    if kind != "zset":
        return r.call("DEBUG", "DIGEST-VALUE", key)
    members = r.call("ZRANGE", key, "0", "-1", "WITHSCORES")
    return list(zip(members[::2], map(float, members[1::2])))


def contents(server, fields_expire=True):
    """All keys: {(database, key): what there is to say of it}."""
    found = {}
    with server.raw() as r:
        r.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        for db in range(16):
            r.call("SELECT", db)
            for key in r.call("KEYS", "*"):
                kind = r.call("TYPE", key)
                facts = [kind, r.call("PEXPIRETIME", key), value_facts(r, kind, key)]
                if kind == "stream":
                    facts.append(stream_facts(r.call("XINFO", "STREAM", key, "FULL", "COUNT", "0")))
                if kind == "hash" and fields_expire:
                    fields = sorted(r.call("HKEYS", key))
                    facts.append(r.call("HPEXPIRETIME", key, "FIELDS", len(fields), *fields))
                found[db, key] = facts
        libraries = r.call("FUNCTION", "LIST", "WITHCODE")
        found["functions"] = sorted(pairs(library)[b"library_code"] for library in libraries)
    return found


def expect_same(found, due, commands_read):
    for key in sorted({*found, *due}, key=repr):
        if found.get(key) == due.get(key):
            continue
        name = key[1] if isinstance(key, tuple) else b""
        story = [b" ".join(w) for w in commands_read if name in w or w[0][:4] in
                 (b"FLUS", b"SWAP")]
        story = "\n".join(repr(line[:300]) for line in story[-30:])
        raise AssertionError(f"{key}:\n{found.get(key)}\nis not\n{due.get(key)}\nafter\n{story}")


# ---- The file ----


def read_requests(data):
    """The commands of a file, as (bytes, words)."""
    at = 0
    while at < len(data):
        start = at
        if data[at:at + 1] == b"#":
            at = data.index(b"\r\n", at) + 2
            continue
        end = data.index(b"\r\n", at)
        count, at = int(data[at + 1:end]), end + 2
        words = []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1:end])
            words.append(data[end + 2:end + 2 + size])
            at = end + 4 + size
        yield data[start:at], words


def journal_bytes(directory):
    """All increments, in their order."""
    manifest = open(os.path.join(directory, "appendonly.aof.manifest"), encoding="ascii").read()
    names = re.findall(r"^file (\S+) seq \d+ type i", manifest, re.MULTILINE)
    return b"".join(open(os.path.join(directory, name), "rb").read() for name in names)


def start_reference(data):
    """Redis 7.0 with a file of these commands, which it loads as a file of its own."""
    directory = tempfile.mkdtemp(prefix="lasca-test-")
    files = os.path.join(directory, "appendonlydir")
    os.mkdir(files)
    with open(os.path.join(files, "appendonly.aof.1.incr.aof"), "wb") as f:
        f.write(data)
    with open(os.path.join(files, "appendonly.aof.manifest"), "w", encoding="ascii") as f:
        f.write("file appendonly.aof.1.incr.aof seq 1 type i\n")
    server = harness.Server(command=lambda port: [
        REFERENCE, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory,
        "--appendonly", "yes", "--enable-debug-command", "yes", "--crash-log-enabled", "no"])
    return server, directory


def wait_until_loaded(server):
    with server.raw() as r:
        while "LOADING" in repr(r.call("DBSIZE")):
            time.sleep(0.02)


OPTIONS = ["--appendonly", "yes", "--appendfsync", "always"]


def requests_of(server):
    return list(read_requests(journal_bytes(os.path.join(server.directory.name, "appendonlydir"))))


def test_what_is_loaded_is_what_there_was(fresh_server):
    server = fresh_server(*OPTIONS)
    drive(server)
    due = contents(server)
    requests = requests_of(server)
    read = [words for _, words in requests]
    kinds = {words[0].upper() for words in read}
    assert len(kinds) > 50, kinds
    assert not kinds & NEVER, kinds & NEVER
    assert not any(words[0] == b"XADD" and {b"*", b"~"} & set(words) for words in read)

    server.restart(*OPTIONS, "--shards", 1 if harness.SHARDS > 1 else 3)
    wait_until_loaded(server)
    expect_same(contents(server), due, read)

    if not os.path.exists(REFERENCE):
        return
    known = b"".join(raw for raw, words in requests if words[0].upper() not in UNKNOWN)
    reference, directory = start_reference(known)
    try:
        wait_until_loaded(reference)
        plain = {k: v[:3] + v[4:] if v and v[0] == "hash" else v for k, v in due.items()}
        expect_same(contents(reference, fields_expire=False), plain, read)
    finally:
        reference.stop()
        reference.destroy()
        shutil.rmtree(directory)


def test_a_script_that_begins_again_is_told_once(fresh_server):
    """It writes, asks for a key that it did not name, on another shard, and is taken back; but a
    key that has expired on the way stays gone."""
    server = fresh_server(*OPTIONS)
    script = ("redis.call('incr', KEYS[1]) redis.call('get', KEYS[1] .. ARGV[2]) "
              "return redis.call('incr', ARGV[1])")
    with server.raw() as r:
        r.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        for i in range(40):
            r.call("SET", f"{{{i}}}gone", "x", "PX", "1")
        time.sleep(0.01)
        for i in range(40):
            # One that has kept to its keys is run with their shard alone the next time.
            text = f"{script} -- {i}"
            assert r.call("EVAL", text, "1", f"{{{i}}}", f"{{{i}}}", "") == 2
            assert r.call("EVAL", text, "1", f"{{{i}}}", f"far{i}", "gone") == 1
    told = [words for _, words in requests_of(server)]
    for i in range(40):
        assert told.count([b"incr", b"{%d}" % i]) == 3
        assert told.count([b"incr", b"far%d" % i]) == 1
        assert told.count([b"UNLINK", b"{%d}gone" % i]) == 1


def test_whole_databases_have_their_place_among_parts(fresh_server):
    """Where each shard does its part of a pipeline or of a transaction, FLUSHALL and SWAPDB come
    between what they came between."""
    server = fresh_server(*OPTIONS)
    names = [f"k{i}" for i in range(30)]
    pairs_of = {word: [w for n in names for w in (word + n, word)] for word in "abcd"}
    for around in ([], [["MULTI"]]):
        batch = [*around, ["MSET", *pairs_of["a"]], ["FLUSHALL"], ["MSET", *pairs_of["b"]],
                 ["SWAPDB", "0", "1"], ["MSET", *pairs_of["c"]], ["FLUSHDB"],
                 ["MSET", *pairs_of["d"]], *(["EXEC"] for _ in around)]
        with server.raw() as r:
            r.send(b"".join(harness.encode(*words) for words in batch))
            for _ in batch:
                r.read_reply()
        due = contents(server)
        assert len(due) == 61
        server.restart(*OPTIONS)
        wait_until_loaded(server)
        assert contents(server) == due
