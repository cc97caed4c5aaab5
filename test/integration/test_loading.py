"""Loading: RDB files and append-only files, as redis-server writes them and as crashes leave them;
what clients are told meanwhile; lasca-check-rdb."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

import harness
from harness import ReplyError, encode

REDIS = "/usr/bin/redis-server"
needs_redis = pytest.mark.skipif(not shutil.which(REDIS), reason="no redis-server is installed")
LOADING = "LOADING Redis is loading the dataset in memory"
CHECK_RDB = os.path.join(os.path.dirname(harness.BINARY), "lasca-check-rdb")


@pytest.fixture
def stopped():
    """A server that was stopped, with its directory."""
    made = harness.Server()
    made.stop()
    os.truncate(made.log_path, 0)
    yield made
    made.destroy()


def path_of(server, name="dump.rdb"):
    return os.path.join(server.directory.name, name)


def write(server, data, name="dump.rdb"):
    os.makedirs(os.path.dirname(path_of(server, name)), exist_ok=True)
    with open(path_of(server, name), "wb") as f:
        f.write(data)


def wait_until_loaded(server):
    with server.raw() as r:
        while r.call("PING") != "PONG":
            time.sleep(0.01)


def start(server, *args):
    server.start(*args)
    wait_until_loaded(server)


def fails_to_start(server, *args):
    """Starts, and returns what the log says of why that failed."""
    status, output = harness.run_to_end(*harness.default_args(), "--port", server.port, "--dir",
                                        server.directory.name, *args)
    assert status == 1, output
    assert "Ready to accept connections" not in output
    return output


def check_rdb(path):
    done = subprocess.run([CHECK_RDB, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=harness.environment(), timeout=30, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


# ---- RDB by hand ----

def rdb_string(data):
    assert len(data) < 1 << 14
    if len(data) < 64:
        return bytes([len(data)]) + data
    return bytes([0x40 | len(data) >> 8, len(data) & 255]) + data


def rdb(*parts, version=10, checksum=bytes(8)):
    return b"REDIS%04d" % version + b"".join(parts) + b"\xff" + checksum


def pair(key, value, before=b""):
    return before + b"\x00" + rdb_string(key) + rdb_string(value)


def expires(ms):
    return b"\xfc" + ms.to_bytes(8, "little")


# ---- redis-server's files ----

def fill(client, rnd):
    """Keys of every type, in every encoding."""
    for i in range(60):
        client.set(f"s{i}", rnd.randbytes(rnd.randrange(60)))
        client.set(f"n{i}", rnd.randrange(-2**40, 2**40))
        client.set(f"z{i}", b"abc" * rnd.randrange(300), ex=100000 if i % 2 else None)
    client.set("big", rnd.randbytes(2_500_000))
    client.set("k" * 300, "a long key")
    client.pfadd("hll", *range(1000))
    for i, n in enumerate((3, 60, 700)):
        client.rpush(f"l{i}", *[b"x" * rnd.randrange(200) for _ in range(n)])
        client.sadd(f"i{i}", *[rnd.randrange(100000) for _ in range(n)])
        client.sadd(f"m{i}", *[b"m%d" % rnd.randrange(100000) for _ in range(n)])
        client.hset(f"h{i}", mapping={b"f%d" % k: k * 7 for k in range(n)})
        client.zadd(f"o{i}", {b"m%d" % k: rnd.choice([k, -k, float("inf")]) for k in range(n)})
        for k in range(n):
            client.xadd(f"x{i}", {"a": k, "b": "c" * (k % 9)})
        client.xgroup_create(f"x{i}", "g", "0")
        client.xreadgroup("g", "me", {f"x{i}": ">"}, count=5)
        client.xack(f"x{i}", "g", client.xrange(f"x{i}", count=1)[0][0])
        client.xdel(f"x{i}", client.xrange(f"x{i}", count=2)[1][0])


class Written:
    """Files of redis-server, and the digest of what they hold."""

    def __init__(self, directory, *args):
        self.directory = directory
        self.server = harness.Server(command=lambda port: [
            REDIS, "--port", str(port), "--save", "", "--dir", directory,
            "--enable-debug-command", "yes", *args])

    def end(self):
        with self.server.raw() as r:
            self.digest = r.call("DEBUG", "DIGEST")
        self.server.kill()
        self.server.destroy()

    def copy_to(self, server):
        shutil.copytree(self.directory, server.directory.name, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    made = Written(str(tmp_path_factory.mktemp("dump")), "--list-compress-depth", "1")
    for db in (0, 3, 15):
        fill(made.server.client(db=db), random.Random(db))
    r = made.server.client()
    r.function_load("#!lua name=lib\nredis.register_function('seven', function() return 7 end)")
    r.save()
    made.end()
    return made


def change(client, rnd, count):
    """Commands of many kinds, on keys of several shards."""
    for i in range(count):
        k, n = rnd.randrange(100), rnd.randrange(100)
        kind = rnd.randrange(9)
        if kind == 0:
            client.set(f"s{k}", rnd.randbytes(n))
        elif kind == 1:
            client.rpush(f"l{k}", *range(n + 1))
        elif kind == 2:
            client.lmove(f"l{k}", f"l{n}")
        elif kind == 3:
            client.hset(f"h{k}", f"f{n}", i)
        elif kind == 4:
            client.eval("redis.call('set', KEYS[1], ARGV[1]) redis.call('incr', KEYS[2])", 2,
                        f"s{k}", f"n{n}", i)
        elif kind == 5:
            client.mset({f"s{j}": j for j in range(k, k + 4)})
        elif kind == 6:
            client.sunionstore(f"e{k}", f"e{n}", "e0")
            client.sadd(f"e{k}", n)
        elif kind == 7:
            client.delete(f"s{k}")
        else:
            pipe = client.pipeline(transaction=True)
            pipe.incr("t").rpush(f"l{k}", "x").set(f"s{n}", "t").execute()


@pytest.fixture(scope="module")
def aof(tmp_path_factory):
    """With a base, an increment behind it, and notes of the time."""
    made = Written(str(tmp_path_factory.mktemp("aof")), "--appendonly", "yes",
                   "--aof-timestamp-enabled", "yes", "--appendfsync", "no")
    rnd = random.Random(3)
    client = made.server.client()
    change(client, rnd, 700)
    client.bgrewriteaof()
    while client.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.01)
    change(made.server.client(db=2), rnd, 300)
    change(client, rnd, 700)
    time.sleep(1.2)  # the buffer is written each second at the latest
    made.end()
    return made


def increment_of(server):
    directory = path_of(server, "appendonlydir")
    name, = [n for n in os.listdir(directory) if n.endswith(".incr.aof")]
    return os.path.join(directory, name)


def write_aof(server, *files):
    """As increments, the first behind no base."""
    lines = ""
    for i, data in enumerate(files, 1):
        name = f"appendonly.aof.{i}.incr.aof"
        write(server, data, f"appendonlydir/{name}")
        lines += f"file {name} seq {i} type i\n"
    write(server, lines.encode(), "appendonlydir/appendonly.aof.manifest")


AOF = ("--appendonly", "yes")


# ---- Loading into what is there ----

LIBRARY = "#!lua name=l\nredis.register_function('f', function() return 7 end)"


@pytest.mark.parametrize("there", [("SET", "a", 1), ("FUNCTION", "LOAD", LIBRARY)])
def test_a_reload_into_what_is_there_replaces_only_with_merge(fresh_server, there):
    server = fresh_server()
    with server.raw() as r:
        r.call(*there)
        failed = "ERR Error trying to load the RDB dump, check server logs."
        assert r.call("DEBUG", "RELOAD", "NOFLUSH") == failed
        assert r.call("DEBUG", "RELOAD", "NOFLUSH", "MERGE") == "OK"
        assert r.call("PING") == "PONG"


# ---- Loading what redis-server wrote ----

@needs_redis
def test_a_dump_of_redis_has_the_same_digest(stopped, dump):
    dump.copy_to(stopped)
    start(stopped)
    with stopped.raw() as r:
        assert r.call("DEBUG", "DIGEST") == dump.digest
        assert r.call("FCALL", "seven", 0) == 7
        assert r.call("DEBUG", "RELOAD") == "OK"
        assert r.call("DEBUG", "DIGEST") == dump.digest
        assert r.call("FCALL", "seven", 0) == 7
    log = stopped.log()
    assert "Loading RDB produced by version" in log and "DB loaded from disk: " in log
    assert log.index("DB loaded from disk") < log.index("Ready to accept connections")
    stopped.stop()


@needs_redis
def test_an_append_only_file_of_redis_has_the_same_digest(stopped, aof):
    aof.copy_to(stopped)
    start(stopped, *AOF)
    with stopped.raw() as r:
        assert r.call("DEBUG", "DIGEST") == aof.digest
        assert r.call("DEBUG", "LOADAOF") == "OK"
        assert r.call("DEBUG", "DIGEST") == aof.digest
    assert "DB loaded from append only file: " in stopped.log()
    stopped.stop()


@needs_redis
def test_an_old_file_with_a_dump_before_its_commands_is_loaded(stopped, dump):
    with open(os.path.join(dump.directory, "dump.rdb"), "rb") as f:
        data = f.read()
    write(stopped, data + encode("SELECT", 3) + encode("SET", "behind", "it"), "appendonly.aof")
    start(stopped, *AOF)
    client = stopped.client(db=3)
    assert client.get("behind") == b"it" and client.llen("l2") == 700
    stopped.stop()


# ---- While it loads ----

def test_clients_are_told_that_data_are_loaded(stopped):
    write(stopped, rdb(b"\xfe\x00", *[pair(b"k%d" % i, b"v") for i in range(3000)]))
    stopped.start("--key-load-delay", 20000, until_loaded=False)
    with stopped.raw() as r, stopped.raw() as other:
        for command in (("GET", "k1"), ("PING",), ("MSET", "a", 1, "b", 2), ("DBSIZE",),
                        ("EVAL", "return 1", 0), ("RENAME", "k1", "k2"), ("SAVE",)):
            assert r.call(*command) == LOADING, command
        assert r.call("SELECT", 1) == "OK"
        assert r.call("NOSUCH").startswith("ERR unknown command")
        assert r.call("MULTI") == "OK"
        assert r.call("GET", "k1") == LOADING
        assert r.call("EXEC").startswith("EXECABORT")
        info = other.call("INFO", "persistence").decode()
        assert "\r\nloading:1\r\n" in info and "loading_total_bytes:" in info
        assert "Ready to accept" not in stopped.log()
        assert r.call("CONFIG", "SET", "key-load-delay", 0) == "OK"
        r.call("SELECT", 0)
        wait_until_loaded(stopped)
        assert r.call("GET", "k2999") == b"v"
        assert r.call("DBSIZE") == 3000
        assert "\r\nloading:0\r\n" in other.call("INFO", "persistence").decode()
    stopped.stop()


def test_a_stop_while_loading_leaves_the_file_as_it_is(stopped):
    data = rdb(b"\xfe\x00", *[pair(b"k%d" % i, b"v") for i in range(3000)])
    write(stopped, data)
    stopped.start("--key-load-delay", 20000, "--save", "1 1", until_loaded=False)
    stopped.signal(signal.SIGTERM)
    stopped.check_end()
    with open(path_of(stopped), "rb") as f:
        assert f.read() == data


def test_what_was_queued_before_a_reload_is_refused(stopped):
    start(stopped)
    with stopped.raw() as r, stopped.raw() as other:
        r.call("DEBUG", "POPULATE", 300)
        r.call("MULTI")
        r.call("GET", "key:1")
        other.call("CONFIG", "SET", "key-load-delay", 20000)
        other.send(encode("DEBUG", "RELOAD"))
        with stopped.raw() as third:
            while third.call("GET", "key:1") != LOADING:
                time.sleep(0.01)
            assert r.call("EXEC") == "EXECABORT Transaction discarded because of: " + LOADING
            third.call("CONFIG", "SET", "key-load-delay", 0)
        assert other.read_reply() == "OK"
        assert r.call("DBSIZE") == 300
    stopped.stop()


def test_commands_of_others_around_a_reload_are_not_lost(stopped):
    start(stopped)
    clients = [stopped.raw() for _ in range(4)]
    counts = [0] * len(clients)
    with stopped.raw() as r:
        r.call("DEBUG", "POPULATE", 2000)
        for _ in range(3):
            r.send(encode("DEBUG", "RELOAD"))
            for _ in range(20):
                for c in clients:
                    c.send(b"".join(encode("INCR", f"c{i}") for i in range(8)))
                for i, c in enumerate(clients):
                    counts[i] += sum(c.read_reply() != LOADING for _ in range(8))
            assert r.read_reply() == "OK"
        assert sum(int(r.call("GET", f"c{i}") or 0) for i in range(8)) == sum(counts)
        assert r.call("DBSIZE") == 2000 + r.call("EXISTS", *[f"c{i}" for i in range(8)])
    for c in clients:
        c.close()
    stopped.stop()


# ---- Records ----

def test_keys_that_have_expired_are_left_out(stopped):
    later = int(time.time() * 1000) + 1000000
    write(stopped, rdb(b"\xfe\x00", pair(b"gone", b"1", expires(1000)),
                       pair(b"here", b"2", expires(later)),
                       b"\xfd\x01\x00\x00\x00" + pair(b"too", b"3")))
    start(stopped)
    with stopped.raw() as r:
        assert r.call("DBSIZE") == 1
        assert r.call("PEXPIRETIME", "here") == later
        assert "rdb_last_load_keys_expired:2\r\nrdb_last_load_keys_loaded:1\r\n" in \
            r.call("INFO", "persistence").decode()
    assert "keys loaded: 1, keys expired: 2." in stopped.log()
    stopped.stop()


def test_empty_collections_are_left_out(stopped):
    write(stopped, rdb(b"\xfe\x00", b"\x02" + rdb_string(b"nothing") + b"\x00",
                       pair(b"here", b"2")))
    start(stopped)
    with stopped.raw() as r:
        assert r.call("KEYS", "*") == [b"here"]
    assert "skipping empty key: nothing" in stopped.log()
    assert "empty keys skipped: 1." in stopped.log()
    stopped.stop()


def test_idle_times_are_kept(stopped):
    write(stopped, rdb(b"\xfe\x00", pair(b"k", b"v", b"\xf8\x40\xc8")))
    start(stopped)
    with stopped.raw() as r:
        assert 200 <= r.call("OBJECT", "IDLETIME", "k") <= 260
    stopped.stop()


# ---- Bad files ----

GOOD = rdb(b"\xfa" + rdb_string(b"redis-ver") + rdb_string(b"7.0.0"), b"\xfe\x00",
           pair(b"key", b"value"), pair(b"other", b"v" * 100))


@pytest.mark.parametrize("data, reason", [
    (b"REDIX0010\xff" + bytes(8), "Wrong signature trying to load DB from file"),
    (rdb(version=99), "Can't handle RDB format version 99"),
    (GOOD[:9], "ends too early, at offset 9"),
    (GOOD[:60], "ends too early, at offset 60"),
    (GOOD[:-3], "ends too early"),
    (rdb(b"\xfe\x00", pair(b"a", b"1"), checksum=b"\x01" * 8), "Wrong RDB checksum"),
    (rdb(b"\xfe\x40\xff", pair(b"a", b"1")), "more databases than"),
    (rdb(b"\xfe\x00", pair(b"a", b"1"), pair(b"a", b"2")), "twice, in key 'a' of database 0"),
    (rdb(b"\xfe\x00", b"\x0b" + rdb_string(b"bad") + rdb_string(b"\x02\0\0\0\x09\0\0\0ab")),
     "in key 'bad' of database 0, at offset 11"),
    (rdb(b"\xfe\x00", b"\x07" + rdb_string(b"mod") + b"\x05\x00"), "a value of a module"),
    (rdb(b"\xf6"), "Pre-release function format not supported"),
    (rdb(b"\xf5" + rdb_string(b"no library")), "failed loading a library of functions"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_file_stops_the_start_and_is_told_of(stopped, data, reason):
    write(stopped, data)
    log = fails_to_start(stopped)
    assert reason in log, log
    told = log.partition("Server initialized\n")[2]
    assert 1 <= told.count("\n") <= 3, log
    assert "Terminating server after rdb file reading failure." in told, log
    if "library" in reason or "twice" in reason or "databases" in reason:
        return  # good by itself
    assert "lasca-check-rdb" in log
    status, output = check_rdb(path_of(stopped))
    assert status == 1 and "--- RDB ERROR DETECTED ---" in output, output


def test_a_checksum_is_not_looked_at_where_that_is_switched_off(stopped):
    write(stopped, rdb(b"\xfe\x00", pair(b"a", b"1"), checksum=b"\x01" * 8))
    start(stopped, "--rdbchecksum", "no")
    with stopped.raw() as r:
        assert r.call("GET", "a") == b"1"
    stopped.stop()


@needs_redis
def test_the_tool_tells_what_a_good_file_holds(dump):
    status, output = check_rdb(os.path.join(dump.directory, "dump.rdb"))
    assert status == 0, output
    assert "Checksum OK" in output and "\\o/ RDB looks OK! \\o/" in output
    assert "[info] 9 streams\n" in output and "[info] 1 libraries of functions\n" in output


# ---- Append-only files ----

def test_what_expired_in_between_counts_until_all_is_loaded(stopped):
    write_aof(stopped, b"#TS:1700000000\r\n" + encode("SET", "k", "v") +
              encode("PEXPIREAT", "k", 1000) + encode("APPEND", "k", "w") +
              encode("PERSIST", "k") + b"#TS:1700000001\r\n" +
              encode("SET", "gone", "v", "PXAT", 1000) +
              encode("HSET", "h", "f", "1") + encode("HPEXPIREAT", "h", 1000, "FIELDS", 1, "f") +
              encode("HINCRBY", "h", "f", 2) + encode("HPERSIST", "h", "FIELDS", 1, "f"))
    start(stopped, *AOF)
    with stopped.raw() as r:
        assert r.call("GET", "k") == b"vw"
        assert r.call("HGET", "h", "f") == b"3"
        assert r.call("EXISTS", "gone") == 0
    stopped.stop()


CUT = encode("SET", "b", "2")
OPEN = encode("MULTI") + encode("SET", "c", "3") + encode("SET", "d", "4")


@pytest.mark.parametrize("rest", [CUT[:9], CUT[:-1], b"*", b"#TS:17", OPEN, OPEN + b"*1\r\n$4\r\n"],
                         ids=range(6))
def test_a_cut_end_is_cut_off(stopped, rest):
    good = encode("SET", "a", "1") + encode("MULTI") + encode("INCR", "a") + encode("EXEC")
    write_aof(stopped, good, good + rest)
    log = fails_to_start(stopped, *AOF, "--aof-load-truncated", "no")
    assert "Unexpected end of file reading the append only file" in log
    start(stopped, *AOF)
    assert "!!! Warning: short read while loading the AOF file" in stopped.log()
    with open(path_of(stopped, "appendonlydir/appendonly.aof.2.incr.aof"), "rb") as f:
        assert f.read() == good
    with stopped.raw() as r:
        assert r.call("KEYS", "*") == [b"a"] and r.call("GET", "a") == b"2"
        assert r.call("SET", "more", "1") == "OK"
    stopped.stop()
    start(stopped, *AOF)
    with stopped.raw() as r:
        assert r.call("GET", "more") == b"1"
    stopped.stop()


@pytest.mark.parametrize("files, reason", [
    ((CUT[:-1], CUT), "is not the last of its files"),
    ((CUT + b"SET b 2\r\n",), "Bad file format reading the append only file"),
    ((CUT + b"*1\r\n:5\r\n",), "Bad file format reading the append only file"),
    ((CUT + encode("NOSUCH", "b"),), "Unknown command 'NOSUCH' reading the append only file"),
], ids=range(4))
def test_a_bad_append_only_file_stops_the_start(stopped, files, reason):
    write_aof(stopped, *files)
    assert reason in fails_to_start(stopped, *AOF)


def test_errors_of_commands_are_counted_and_told(stopped):
    write_aof(stopped, encode("SET", "a", "x") + encode("INCR", "a") + encode("SET", "b", "1"))
    start(stopped, *AOF)
    assert "sending an error to its AOF-loading-client" in stopped.log()
    with stopped.raw() as r:
        assert r.call("GET", "b") == b"1"
    stopped.stop()


@needs_redis
def test_a_file_cut_anywhere_gives_what_was_before(stopped, aof):
    aof.copy_to(stopped)
    path = increment_of(stopped)
    with open(path, "rb") as f:
        whole = f.read()
    rnd = random.Random(1)
    for _ in range(3):
        size = rnd.randrange(len(whole))
        with open(path, "wb") as f:
            f.write(whole[:size])
        start(stopped, *AOF)
        stopped.kill()
        left = os.path.getsize(path)
        assert left <= size
        with open(path, "rb") as f:
            assert f.read() == whole[:left]
