"""Snapshots: SAVE and BGSAVE, save points, what fails and how that is told, the save at the end.
What a file holds is asked of Redis itself, which loads it."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

import harness
from harness import Closed, encode

REDIS = "/usr/bin/redis-server"
needs_redis = pytest.mark.skipif(not os.path.exists(REDIS), reason="no redis-server here")

MISCONF = ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
           "persist to disk. Commands that may modify the data set are disabled, because this "
           "instance is configured to report errors during writes if RDB snapshotting fails "
           "(stop-writes-on-bgsave-error option). Please check the Redis logs for details about "
           "the RDB error.")


def path_of(server, name="dump.rdb"):
    return os.path.join(server.directory.name, name)


def persistence(raw):
    text = raw.call("INFO", "persistence").decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def wait_until(what, seconds=20):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


def wait_for_save(raw):
    wait_until(lambda: persistence(raw)["rdb_bgsave_in_progress"] == "0")


def slowed(server, keys=100, delay_us=10000):
    """Keys, and a delay for each: a snapshot that takes a second."""
    with server.raw() as r:
        for i in range(keys):
            r.call("SET", f"slow:{i}", i)
        r.call("CONFIG", "SET", "rdb-key-save-delay", delay_us)


class loaded_by_redis:
    """A Redis that has loaded a file."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        def command(port):
            return [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--dbfilename", "loaded.rdb", "--dir", self.directory,
                    "--enable-debug-command", "yes"]

        self.directory = os.path.dirname(self.path)
        shutil.copy(self.path, os.path.join(self.directory, "loaded.rdb"))
        self.redis = harness.Server(command=command)
        self.raw = self.redis.raw()
        wait_until(lambda: persistence(self.raw)["loading"] == "0")
        return self.raw

    def __exit__(self, *_):
        self.raw.close()
        self.redis.kill()
        self.redis.destroy()


def fill(raw, seed):
    """Keys of all types and encodings, small and large, in two databases, some with a time."""
    r = random.Random(seed)

    def words(n):
        return [f"{r.random()}"[:r.randrange(3, 18)] for _ in range(n)]

    for db in (0, 3):
        raw.call("SELECT", db)
        for i in range(12):
            n = (1, 5, 40, 700)[i % 4]
            raw.call("SET", f"string:{i}", "x" * r.randrange(100) + str(r.random()))
            raw.call("SET", f"number:{i}", r.randrange(-10 ** 12, 10 ** 12))
            raw.call("RPUSH", f"list:{i}", *words(n))
            raw.call("SADD", f"set:{i}", *words(n))
            raw.call("SADD", f"integers:{i}", *[r.randrange(10 ** 7) for _ in range(n)])
            raw.call("HSET", f"hash:{i}", *words(2 * n))
            raw.call("ZADD", f"zset:{i}",
                     *[x for w in words(n) for x in (r.randrange(1000) / 4, w)])
            for k in range(n // 4 + 1):
                raw.call("XADD", f"stream:{i}", f"{k + 1}-1", "field", k, "other", "text")
            raw.call("XGROUP", "CREATE", f"stream:{i}", "group", "0")
            raw.call("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 3, "STREAMS",
                     f"stream:{i}", ">")
            raw.call("PEXPIRE", f"string:{i}", 10 ** 8 + i)
        raw.call("PFADD", "hyperloglog", *words(300))
    raw.call("SELECT", 0)
    raw.call("SET", "large", "abc" * 10 ** 6)
    raw.call("FUNCTION", "LOAD", "REPLACE", "#!lua name=kept\n"
             "redis.register_function('f', function() return 'f' end)")


@needs_redis
@pytest.mark.parametrize("options", [(), ("--rdbcompression", "no"), ("--rdbchecksum", "no")])
def test_redis_loads_what_is_saved(fresh_server, options):
    server = fresh_server(*options)
    with server.raw() as raw:
        fill(raw, 7)
        digest = raw.call("DEBUG", "DIGEST")
        assert raw.call("SAVE") == "OK"
        with loaded_by_redis(path_of(server)) as redis:
            assert redis.call("DEBUG", "DIGEST") == digest
            assert redis.call("FCALL", "f", 0) == b"f"
            assert abs(redis.call("PTTL", "string:3") - raw.call("PTTL", "string:3")) < 2000
    with open(path_of(server), "rb") as f:
        data = f.read()
    assert data.startswith(b"REDIS0010")
    assert (data[-8:] == bytes(8)) == ("--rdbchecksum" in options)


@needs_redis
def test_huge_records_of_several_shards_go_out_in_pieces(fresh_server):
    """Each is several pieces of the file, and they change as they are written."""
    server = fresh_server("--rdbcompression", "no", "--shards", "3")
    with server.raw() as raw:
        for name in range(6):
            for start in range(0, 8000, 2000):
                pairs = [text for i in range(start, start + 2000)
                         for text in (f"field:{i}", f"{i:0100}")]
                raw.call("HSET", f"huge:{name}", *pairs)
        digest = raw.call("DEBUG", "DIGEST")
        assert raw.call("BGSAVE") == "Background saving started"
        for i in range(300):
            raw.call("HSET", f"huge:{i % 6}", f"field:{i * 17}", "changed")
        raw.call("RENAME", "huge:1", "moved")
        raw.call("RENAME", "huge:2", "elsewhere")
        raw.call("DEL", "huge:3")
        wait_for_save(raw)
        with loaded_by_redis(path_of(server)) as redis:
            assert redis.call("DEBUG", "DIGEST") == digest


@needs_redis
def test_a_snapshot_is_one_moment_while_clients_write(fresh_server):
    """Transactions move amounts between keys and within a hash: each is in the file, or not."""
    server = fresh_server()
    accounts, fields, over = 5000, 5000, threading.Event()
    with server.raw() as raw:
        for i in range(0, accounts, 500):
            raw.call("MSET", *[x for k in range(i, i + 500) for x in (f"account:{k}", 1000)])
        raw.call("HSET", "hash", *[x for k in range(fields) for x in (k, 100)])

        def move(seed):
            r = random.Random(seed)
            with server.raw() as mine:
                turn = 0
                while not over.is_set():
                    amount = r.randrange(1, 100)
                    mine.send(encode("MULTI") +
                              encode("DECRBY", f"account:{r.randrange(accounts)}", amount) +
                              encode("INCRBY", f"account:{r.randrange(accounts)}", amount) +
                              encode("HINCRBY", "hash", r.randrange(fields), amount) +
                              encode("HINCRBY", "hash", r.randrange(fields), -amount) +
                              encode("SET", f"seen:{seed}:{turn}", 1) +
                              encode("DEL", f"seen:{seed}:{turn - 20}") + encode("EXEC"))
                    for _ in range(8):
                        mine.read_reply()
                    turn += 1

        threads = [threading.Thread(target=move, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.2)
            assert raw.call("BGSAVE") == "Background saving started"
            wait_for_save(raw)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        with loaded_by_redis(path_of(server)) as redis:
            amounts = redis.call("MGET", *[f"account:{k}" for k in range(accounts)])
            assert sum(map(int, amounts)) == 1000 * accounts
            assert sum(map(int, redis.call("HVALS", "hash"))) == 100 * fields
            for seed in range(3):
                turns = sorted(int(k.split(b":")[2]) for k in redis.call("KEYS", f"seen:{seed}:*"))
                assert len(turns) <= 20 and turns == list(range(turns[0], turns[0] + len(turns)))


def test_one_save_at_a_time(fresh_server):
    server = fresh_server()
    slowed(server)
    with server.raw() as raw, server.raw() as other:
        before = raw.call("LASTSAVE")
        assert raw.call("BGSAVE") == "Background saving started"
        figures = persistence(raw)
        assert figures["rdb_bgsave_in_progress"] == "1"
        assert figures["current_save_keys_total"] == "100"
        for command in ("SAVE", "BGSAVE"):
            assert raw.call(command) == "ERR Background save already in progress"
        assert raw.call("BGSAVE", "SCHEDULE") == "ERR Background save already in progress"
        assert raw.call("BGSAVE", "NONSENSE") == "ERR syntax error"
        assert other.call("SET", "slow:1", "later") == "OK"
        raw.call("CONFIG", "SET", "rdb-key-save-delay", 0)
        wait_for_save(raw)
        assert raw.call("LASTSAVE") >= before
        figures = persistence(raw)
        assert figures["rdb_changes_since_last_save"] == "1"
        assert (figures["rdb_last_bgsave_status"], figures["rdb_saves"]) == ("ok", "1")
        assert raw.call("SAVE") == "OK"
        assert persistence(raw)["rdb_changes_since_last_save"] == "0"
    log = server.log()
    assert "Background saving started" in log
    assert "Background saving terminated with success" in log


def test_bgsave_in_a_transaction_comes_behind_it(fresh_server):
    server = fresh_server()
    with server.raw() as raw:
        assert raw.call("MULTI") == "OK"
        assert raw.call("SAVE") == "ERR Command not allowed inside a transaction"
        assert raw.call("DISCARD") == "OK"
        raw.send(encode("MULTI") + encode("BGSAVE") + encode("SET", "a", 1) + encode("EXEC"))
        assert raw.read_reply() == "OK"
        assert [raw.read_reply(), raw.read_reply()] == ["QUEUED", "QUEUED"]
        assert raw.read_reply() == ["Background saving scheduled", "OK"]
        wait_until(lambda: persistence(raw)["rdb_saves"] == "1")
        wait_for_save(raw)
        assert persistence(raw)["rdb_changes_since_last_save"] == "0"
        assert raw.call("EVAL", "return redis.call('BGSAVE')", 0).startswith(
            "ERR This Redis command is not allowed from script")


def test_save_points_fire(fresh_server):
    server = fresh_server("--save", "1", "3")
    with server.raw() as raw:
        raw.call("MSET", "a", 1, "b", 2)
        time.sleep(2.3)
        assert not os.path.exists(path_of(server))
        raw.call("SET", "c", 3)
        wait_until(lambda: os.path.exists(path_of(server)))
        wait_until(lambda: persistence(raw)["rdb_changes_since_last_save"] == "0")
    assert "3 changes in 1 seconds. Saving..." in server.log()


def test_what_fails_is_told_and_refuses_writes(fresh_server):
    server = fresh_server("--save", "3600", "1000000", "--enable-protected-configs", "yes")
    with server.raw() as raw:
        away = path_of(server, "away")
        os.mkdir(away)
        assert raw.call("CONFIG", "SET", "dir", away) == "OK"
        assert raw.call("SET", "a", 1) == "OK"
        os.rmdir(away)
        assert raw.call("SAVE") == "ERR"
        assert raw.call("SET", "a", 2) == "OK"
        assert raw.call("BGSAVE") == "Background saving started"
        wait_until(lambda: persistence(raw)["rdb_last_bgsave_status"] == "err")
        assert raw.call("SET", "a", 3) == MISCONF
        assert raw.call("PING") == MISCONF
        assert raw.call("GET", "a") == b"2"
        raw.call("MULTI")
        assert raw.call("SET", "a", 4) == MISCONF
        assert raw.call("EXEC").startswith("EXECABORT")
        assert raw.call("EVAL", "return redis.call('SET', 'a', 5)", 0).startswith("MISCONF")
        assert raw.call("EVAL", "#!lua\nreturn 1", 0).startswith(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
            "persist to disk. Writable scripts are blocked.")
        assert raw.call("EVAL", "#!lua flags=no-writes\nreturn 1", 0) == 1
        assert raw.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no") == "OK"
        assert raw.call("SET", "a", 6) == "OK"
        assert raw.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes") == "OK"
        assert raw.call("SET", "a", 7) == MISCONF
        assert raw.call("SHUTDOWN") == "ERR Errors trying to SHUTDOWN. Check logs."
        server.signal(signal.SIGTERM)
        wait_until(lambda: server.log().count("Errors trying to shut down the server") == 2)
        os.mkdir(away)
        assert raw.call("BGSAVE") == "Background saving started"
        wait_until(lambda: persistence(raw)["rdb_last_bgsave_status"] == "ok")
        assert raw.call("SET", "a", 8) == "OK"
        assert os.listdir(away) == ["dump.rdb"]
    assert "temp-" in server.log() and "No such file or directory" in server.log()


def test_a_full_disk_keeps_the_old_file(fresh_server):
    server = fresh_server("--enable-protected-configs", "yes", "--rdbcompression", "no")
    small = path_of(server, "small")
    os.mkdir(small)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with server.raw() as raw:
            assert raw.call("CONFIG", "SET", "dir", small) == "OK"
            raw.call("SET", "a", 1)
            assert raw.call("SAVE") == "OK"
            with open(os.path.join(small, "dump.rdb"), "rb") as f:
                old = f.read()
            for i in range(200):
                raw.call("SET", f"large:{i}", "x" * 100000)
            assert raw.call("BGSAVE") == "Background saving started"
            wait_until(lambda: persistence(raw)["rdb_last_bgsave_status"] == "err")
            assert raw.call("SAVE") == "ERR"
            assert os.listdir(small) == ["dump.rdb"]
            with open(os.path.join(small, "dump.rdb"), "rb") as f:
                assert f.read() == old
            raw.call("DEL", *[f"large:{i}" for i in range(200)])
            assert raw.call("SAVE") == "OK"
            raw.call("CONFIG", "SET", "dir", server.directory.name)
    finally:
        subprocess.run(["umount", small], check=False)
    assert "No space left on device" in server.log()


@pytest.mark.parametrize("how", ["SHUTDOWN", "SIGTERM", "SHUTDOWN SAVE", "SHUTDOWN NOSAVE"])
def test_the_end_saves_where_it_should(fresh_server, how):
    server = fresh_server(*(("--save", "3600", "1") if how != "SHUTDOWN SAVE" else ()))
    slowed(server, keys=5, delay_us=1000)
    with server.raw() as raw:
        if how == "SIGTERM":
            server.signal(signal.SIGTERM)
        else:
            raw.send(encode(*how.split()))
        raw.expect_closed()
    server.check_end()
    assert os.path.exists(path_of(server)) == (how != "SHUTDOWN NOSAVE")
    assert not [name for name in os.listdir(server.directory.name) if name.startswith("temp")]


def test_the_end_gives_up_a_snapshot_under_way(fresh_server):
    server = fresh_server()
    slowed(server, delay_us=1000000)
    with server.raw() as raw:
        assert raw.call("BGSAVE") == "Background saving started"
        wait_until(lambda: [n for n in os.listdir(server.directory.name) if n.startswith("temp")])
        raw.send(encode("SHUTDOWN", "NOSAVE"))
        raw.expect_closed()
    server.check_end()
    assert os.listdir(server.directory.name) == ["log"]


@needs_redis
def test_what_was_told_done_before_the_end_is_in_the_file(fresh_server):
    server = fresh_server("--save", "3600", "1")
    told = [0] * 4

    def count(number):
        try:
            with server.raw() as mine:
                while True:
                    mine.send(encode("INCR", f"n:{number}") + encode("MSET", f"a:{number}", "x",
                                                                     f"b:{number}", "y"))
                    value = mine.read_reply()
                    mine.read_reply()
                    told[number] = value
        except (Closed, OSError):
            pass

    threads = [threading.Thread(target=count, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    server.signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    server.check_end()
    with loaded_by_redis(path_of(server)) as redis:
        kept = [int(value) for value in redis.call("MGET", *[f"n:{n}" for n in range(4)])]
    assert min(told) > 0 and all(k in (t, t + 1) for k, t in zip(kept, told)), (kept, told)


@needs_redis
def test_flushall_gives_up_a_snapshot_and_leaves_an_empty_file(fresh_server):
    server = fresh_server("--save", "3600", "1000000")
    slowed(server, delay_us=1000000)
    with server.raw() as raw:
        raw.call("FUNCTION", "LOAD", "#!lua name=kept\n"
                 "redis.register_function('f', function() return 'f' end)")
        assert raw.call("BGSAVE") == "Background saving started"
        assert raw.call("FLUSHALL") == "OK"
        with loaded_by_redis(path_of(server)) as redis:
            assert redis.call("DBSIZE") == 0
            assert redis.call("FCALL", "f", 0) == b"f"
        wait_for_save(raw)
        figures = persistence(raw)
        assert figures["rdb_changes_since_last_save"] == "0"
        assert figures["rdb_last_bgsave_status"] == "ok"
        raw.call("SET", "a", 1)
        raw.send(encode("MULTI") + encode("FLUSHALL") + encode("SET", "b", 1) + encode("EXEC"))
        assert [raw.read_reply() for _ in range(4)][-1] == ["OK", "OK"]
        assert persistence(raw)["rdb_changes_since_last_save"] == "1"
        raw.call("CONFIG", "SET", "rdb-key-save-delay", 0)


def test_names_and_places_may_be_protected(fresh_server):
    server = fresh_server()
    with server.raw() as raw:
        for name in ("dir", "dbfilename"):
            assert raw.call("CONFIG", "SET", name, "x") == (
                f"ERR CONFIG SET failed (possibly related to argument '{name}') - "
                "can't set protected config")
    server.restart("--enable-protected-configs", "yes", "--dbfilename", "first.rdb")
    with server.raw() as raw:
        assert raw.call("CONFIG", "SET", "dir", "/no/such/place") == (
            "ERR CONFIG SET failed (possibly related to argument 'dir') - "
            "No such file or directory")
        assert raw.call("CONFIG", "SET", "dbfilename", "a/b").startswith(
            "ERR CONFIG SET failed (possibly related to argument 'dbfilename') - ")
        assert raw.call("SAVE") == "OK"
        assert raw.call("CONFIG", "SET", "dbfilename", "second.rdb", "save", "900 1") == "OK"
        assert raw.call("CONFIG", "GET", "save") == [b"save", b"900 1"]
        assert raw.call("SAVE") == "OK"
        raw.send(encode("SHUTDOWN", "NOSAVE"))
        raw.expect_closed()
    server.check_end()
    assert {"first.rdb", "second.rdb"} <= set(os.listdir(server.directory.name))
