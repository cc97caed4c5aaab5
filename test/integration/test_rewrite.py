"""The append-only file as a directory: what a start makes and takes over, rewrites and their
failures, kills at any moment of one, appendonly turned on and off, lasca-check-aof, and that
redis-server reads what is written here and the other way round."""

import os
import random
import shutil
import subprocess
import threading
import time

import pytest
import redis

import harness
from harness import Server, run_to_end

CHECK = os.path.join(os.path.dirname(harness.BINARY), "lasca-check-aof")
REDIS = "/usr/bin/redis-server"
ON = ("--appendonly", "yes", "--appendfsync", "always")


class Files:
    """The directory of a server's append-only file."""

    def __init__(self, server):
        self.dir = os.path.join(server.directory.name, "appendonlydir")

    def path(self, name):
        return os.path.join(self.dir, name)

    def names(self):
        return sorted(os.listdir(self.dir))

    def manifest(self):
        with open(self.path("appendonly.aof.manifest"), encoding="ascii") as f:
            return f.read()

    def listed(self):
        return [line.split()[1] for line in self.manifest().splitlines() if line[0] != "#"]

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)


def rewritten(client):
    """Waits until no rewrite is under way or due; returns INFO persistence."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        info = client.info("persistence")
        if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
            return info
        time.sleep(0.005)
    raise AssertionError(f"the rewrite does not end: {info}")


def loaded(client):
    while client.info("persistence")["loading"]:
        time.sleep(0.01)


def again(server):
    """A client of the server, which was killed and started once more."""
    server.close_clients()
    server.kill()
    server.start(*ON)
    client = server.client()
    loaded(client)
    return client


def digest(client):
    return client.execute_command("DEBUG", "DIGEST")


def fill(client, count=200):
    """Something of every type, in two databases; integers for scores, which every version prints
    alike."""
    for db in (0, 3):
        p = client.pipeline(transaction=False)
        p.execute_command("SELECT", db)
        for i in range(count):
            p.set(f"s{i}", f"value {i}" * (i % 9))
            p.rpush(f"l{i % 20}", i, "x" * i)
            p.sadd(f"t{i % 10}", i, f"m{i}")
            p.sadd(f"i{i % 10}", i)
            p.zadd(f"z{i % 3}", {f"m{i}": i})
            p.hset(f"h{i % 3}", f"f{i}", i)
            p.execute_command("XADD", f"x{i % 5}", f"{i + 1}-1", "f", i, "g", "v")
        p.set("goes", 1, ex=1000)
        p.execute_command("XGROUP", "CREATE", "x0", "group", 0)
        p.execute_command("XREADGROUP", "GROUP", "group", "one", "COUNT", 3, "STREAMS", "x0", ">")
        p.execute_command("XGROUP", "CREATECONSUMER", "x0", "group", "two")
        p.execute_command("XGROUP", "CREATE", "empty", "group", "$", "MKSTREAM")
        p.execute_command("XDEL", "x1", "2-1")
        p.execute_command("SELECT", 0)
        p.execute()
    client.function_load("#!lua name=lib\nredis.register_function('f', function() return 7 end)",
                         replace=True)


def streams(client):
    """What DEBUG DIGEST does not see of them, but for times of last use."""
    full = client.execute_command("XINFO", "STREAM", "x0", "FULL")
    groups = client.execute_command("XINFO", "STREAM", "empty", "FULL")
    text = repr((full, groups))
    return [part for part in text.split("b'") if not part.startswith(("seen", "active"))]


@pytest.fixture
def aof(fresh_server):
    def make(*args):
        server = fresh_server(*ON, *args)
        return server, server.client(), Files(server)
    return make


def test_a_first_start_makes_a_base_without_keys_and_an_increment(aof):
    _, client, files = aof()
    assert files.manifest() == ("file appendonly.aof.1.base.rdb seq 1 type b\n"
                                "file appendonly.aof.1.incr.aof seq 1 type i\n")
    with open(files.path("appendonly.aof.1.base.rdb"), "rb") as f:
        base = f.read()
    assert base.startswith(b"REDIS0010") and b"aof-base" in base
    assert client.info("persistence")["aof_base_size"] == len(base)


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_a_rewrite_keeps_everything_and_leaves_two_files(aof, preamble):
    server, client, files = aof("--aof-use-rdb-preamble", preamble)
    fill(client)
    client.execute_command("HEXPIRE", "h0", 1000, "FIELDS", 2, "f0", "f3")
    before = digest(client), streams(client)
    assert client.bgrewriteaof()
    info = rewritten(client)
    suffix = "rdb" if preamble == "yes" else "aof"
    assert files.listed() == [f"appendonly.aof.2.base.{suffix}", "appendonly.aof.2.incr.aof"]
    assert files.names() == sorted(files.listed() + ["appendonly.aof.manifest"])
    assert info["aof_last_bgrewrite_status"] == "ok" and info["aof_rewrites"] == 1
    assert info["aof_current_size"] == sum(os.path.getsize(files.path(n)) for n in files.listed())
    client.set("later", 1)
    client = again(server)
    assert client.get("later") == b"1"
    client.delete("later")
    assert (digest(client), streams(client)) == before
    assert client.fcall("f", 0) == 7
    assert client.ttl("goes") > 900
    times = client.execute_command("HTTL", "h0", "FIELDS", 3, "f0", "f3", "f6")
    assert times[0] > 900 and times[1] > 900 and times[2] == -1


def test_a_base_of_commands_tells_the_time_where_that_is_asked_for(aof):
    _, client, files = aof("--aof-use-rdb-preamble", "no", "--aof-timestamp-enabled", "yes")
    client.set("a", 1)
    before = int(time.time())
    assert client.bgrewriteaof()
    rewritten(client)
    with open(files.path("appendonly.aof.2.base.aof"), "rb") as f:
        line = f.readline()
    assert line.startswith(b"#TS:") and before <= int(line[4:]) <= int(time.time())


def test_writes_during_a_rewrite_are_in_its_increment(aof):
    server, client, files = aof()
    fill(client)
    client.config_set("rdb-key-save-delay", 500)
    client.bgrewriteaof()
    writes = 0
    while client.info("persistence")["aof_rewrite_in_progress"]:
        writes += 1
        with client.pipeline(transaction=True) as p:
            p.set(f"s{writes % 200}", writes)
            p.rpush("during", writes)
            p.execute()
    assert writes > 10
    assert rewritten(client)["aof_last_bgrewrite_status"] == "ok"
    before = digest(client)
    assert digest(again(server)) == before


def test_automatic_rewrites_follow_growth(aof):
    _, client, files = aof("--auto-aof-rewrite-min-size", "10kb",
                           "--auto-aof-rewrite-percentage", "50")
    deadline = time.monotonic() + 10
    while client.info("persistence")["aof_rewrites"] == 0 and time.monotonic() < deadline:
        client.set("same", "x" * 1000)
    assert rewritten(client)["aof_rewrites"] >= 1
    assert os.path.getsize(files.path(files.listed()[0])) < 2000


def test_a_rewrite_waits_for_a_snapshot(aof):
    server, client, _ = aof()
    fill(client, 50)
    client.config_set("rdb-key-save-delay", 2000)
    client.bgsave()
    with server.raw() as r:
        assert r.call("BGREWRITEAOF") == "Background append only file rewriting scheduled"
    assert client.info("persistence")["aof_rewrite_scheduled"] == 1
    client.config_set("rdb-key-save-delay", 0)
    assert rewritten(client)["aof_rewrites"] == 1


def test_a_rewrite_that_a_transaction_asks_for_comes_behind_it(aof):
    server, client, _ = aof()
    with server.raw() as r:
        r.call("MULTI")
        r.call("BGREWRITEAOF")
        assert r.call("EXEC") == ["Background append only file rewriting scheduled"]
    assert rewritten(client)["aof_rewrites"] == 1


@pytest.mark.parametrize("what", ["increment", "temporary base", "base"])
def test_a_rewrite_that_fails_leaves_a_whole(aof, what):
    server, client, files = aof()
    fill(client, 20)
    obstacle = files.path({"increment": "appendonly.aof.2.incr.aof",
                           "temporary base": "temp-rewriteaof-appendonly.aof.base",
                           "base": "appendonly.aof.2.base.rdb"}[what])
    os.makedirs(os.path.join(obstacle, "full"))
    client.bgrewriteaof()
    info = rewritten(client)
    assert info["aof_last_bgrewrite_status"] == "err"
    assert info["aof_rewrites_consecutive_failures"] == 1
    shutil.rmtree(obstacle)
    client.set("after", 1)
    before = digest(client)
    client = again(server)
    assert digest(client) == before
    client.bgrewriteaof()
    assert rewritten(client)["aof_last_bgrewrite_status"] == "ok"
    assert len(files.listed()) == 2


def test_failures_slow_automatic_rewrites(aof):
    server, client, files = aof("--auto-aof-rewrite-min-size", "1kb")
    os.makedirs(files.path("temp-rewriteaof-appendonly.aof.base/full"))
    client.set("a", "x" * 3000)
    deadline = time.monotonic() + 10
    while "triggered the limit, will retry in 1 minutes" not in server.log():
        assert time.monotonic() < deadline
        client.set("a", "x" * 3000)
    assert client.info("persistence")["aof_rewrites_consecutive_failures"] == 3
    shutil.rmtree(files.path("temp-rewriteaof-appendonly.aof.base"))
    client.bgrewriteaof()
    assert rewritten(client)["aof_rewrites_consecutive_failures"] == 0


def kill_during_rewrites(server, client, rounds, seed):
    """Each writer knows what was acknowledged; nothing of it may be missing afterwards."""
    chance = random.Random(seed)
    acknowledged = [0, 0]

    def write(n):
        try:
            own = redis.Redis(port=server.port)
            while True:
                value = acknowledged[n] + 1
                own.mset({f"{n}:{i}": value for i in range(4)})
                acknowledged[n] = value
        except redis.exceptions.RedisError:
            return

    for _ in range(rounds):
        client.config_set("rdb-key-save-delay", chance.choice([0, 100, 500]))
        threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
        for t in threads:
            t.start()
        client.bgrewriteaof()
        time.sleep(chance.random() * 0.15)
        server.kill()
        for t in threads:
            t.join()
        client = again(server)
        for n, value in enumerate(acknowledged):
            values = client.mget([f"{n}:{i}" for i in range(4)])
            assert len(set(values)) == 1
            assert int(values[0] or 0) in (value, value + 1)
            acknowledged[n] = int(values[0] or 0)
        assert client.get("s7") == b"value 7" * 7


def test_a_kill_during_a_rewrite_loses_nothing_acknowledged(aof):
    server, client, files = aof()
    fill(client)
    kill_during_rewrites(server, client, 4, seed=os.getpid())
    assert not [name for name in files.names() if name.startswith("temp")]


def test_turned_on_it_begins_with_what_is_there(fresh_server):
    server = fresh_server()
    client, files = server.client(), Files(server)
    fill(client)
    client.config_set("rdb-key-save-delay", 500)
    client.config_set("appendonly", "yes")
    info = client.info("persistence")
    assert info["aof_enabled"] == 1 and info["aof_rewrite_in_progress"] == 1
    assert "appendonly.aof.manifest" not in files.names()
    client.config_set("rdb-key-save-delay", 0)
    client.set("later", 1)
    rewritten(client)
    assert files.listed() == ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"]
    client.config_set("appendfsync", "always")
    client.set("last", 1)
    before = digest(client)
    assert digest(again(server)) == before


def test_turned_off_files_stay_and_a_rewrite_is_given_up(aof):
    server, client, files = aof()
    fill(client)
    client.config_set("rdb-key-save-delay", 2000)
    client.bgrewriteaof()
    time.sleep(0.05)
    before = digest(client)
    client.config_set("appendonly", "no")
    info = client.info("persistence")
    assert info["aof_enabled"] == 0 and info["aof_rewrite_in_progress"] == 0
    client.set("not logged", 1)
    client.config_set("rdb-key-save-delay", 0)
    kept = files.listed()
    client = again(server)
    assert digest(client) == before
    assert kept[0] == "appendonly.aof.1.base.rdb" and files.listed() == kept
    client.config_set("appendonly", "no")
    client.config_set("appendonly", "yes")
    rewritten(client)
    assert len(files.listed()) == 2


def test_turning_on_fails_where_the_directory_cannot_be_made(fresh_server):
    server = fresh_server("--appenddirname", "taken")
    with open(os.path.join(server.directory.name, "taken"), "w", encoding="ascii"):
        pass
    client = server.client()
    with pytest.raises(redis.ResponseError, match="argument 'appendonly'.* Unable to turn on AOF"):
        client.config_set("appendonly", "yes")
    assert client.config_get("appendonly") == {"appendonly": "no"}
    assert client.info("persistence")["aof_enabled"] == 0


def fails_to_start(server, *args):
    server.kill()
    status, output = run_to_end(*harness.default_args(), "--port", server.port, "--dir",
                                server.directory.name, *ON, *args)
    assert status == 1, output
    return output


def test_what_makes_no_whole_stops_the_start(aof):
    server, client, files = aof()
    client.set("a", 1)
    manifest = files.manifest().encode()
    server.kill()
    files.write("appendonly.aof.manifest", manifest + b"file x/y seq 2 type i\n")
    assert "File can't be a path, just a filename, at line 3" in fails_to_start(server)
    files.write("appendonly.aof.manifest", manifest + b"file gone.aof seq 2 type i\n")
    assert "gone.aof length. stat: No such file or directory" in fails_to_start(server)
    os.remove(files.path("appendonly.aof.manifest"))
    assert "no manifest" in fails_to_start(server)
    files.write("appendonly.aof.manifest", manifest)
    server.start(*ON)
    assert server.client().get("a") == b"1"


def test_a_single_file_of_old_is_taken_over(fresh_server):
    server = fresh_server()
    server.kill()
    files = Files(server)
    old = os.path.join(server.directory.name, "appendonly.aof")
    with open(old, "wb") as f:
        f.write(harness.encode("SELECT", 0) + harness.encode("SET", "old", 1))
    server.start(*ON)
    assert not os.path.exists(old)
    client = server.client()
    assert client.get("old") == b"1"
    assert files.listed() == ["appendonly.aof", "appendonly.aof.1.incr.aof"]
    client.set("new", 1)
    client.bgrewriteaof()
    rewritten(client)
    assert "appendonly.aof" not in files.names()
    assert again(server).mget("old", "new") == [b"1", b"1"]


def check(*args, answer="n\n"):
    done = subprocess.run([CHECK, *args], input=answer, capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout


def test_the_check_tool_finds_and_mends_an_end_that_is_cut_off(aof, tmp_path):
    _, client, files = aof()
    fill(client, 20)
    client.bgrewriteaof()
    rewritten(client)
    client.set("a", 1)
    shutil.copytree(files.dir, tmp_path, dirs_exist_ok=True)
    files.dir = str(tmp_path)
    manifest, last = files.path("appendonly.aof.manifest"), files.path(files.listed()[-1])
    assert check(manifest)[0] == 0
    whole = os.path.getsize(last)
    with open(last, "ab") as f:
        f.write(b"*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nGET")
    status, output = check(manifest)
    assert status == 1 and f"ok_up_to={whole}" in output
    assert check("--fix", manifest)[0] == 1 and os.path.getsize(last) > whole
    status, output = check("--fix", manifest, answer="y\n")
    assert status == 0 and "Successfully truncated AOF" in output
    assert os.path.getsize(last) == whole
    with open(files.path(files.listed()[0]), "r+b") as f:
        f.seek(100)
        f.write(b"\xff\xff\xff")
    status, output = check(manifest)
    assert status == 1 and "RDB preamble of AOF file is not sane" in output


@pytest.mark.skipif(not os.path.exists(REDIS), reason="redis-server is not installed")
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_redis_goes_on_with_it_and_back(aof, preamble):
    server, client, files = aof("--aof-use-rdb-preamble", preamble)
    fill(client)
    client.bgrewriteaof()
    rewritten(client)
    client.rpush("l1", "after")
    client.spop("t1")
    before = digest(client)
    server.stop()
    other = Server(command=lambda port: [
        REDIS, "--port", str(port), "--save", "", "--appendonly", "yes", "--dir",
        server.directory.name, "--enable-debug-command", "yes",
        "--aof-use-rdb-preamble", preamble])
    try:
        there = other.client()
        loaded(there)
        assert digest(there) == before
        there.bgrewriteaof()
        rewritten(there)
        there.set("from", "redis")
        before = digest(there)
        other.stop()
    finally:
        other.destroy()
    server.start(*ON)
    client = server.client()
    assert digest(client) == before
    assert client.fcall("f", 0) == 7
