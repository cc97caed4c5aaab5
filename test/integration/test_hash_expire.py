"""Expiry of hashes' fields: a field is gone when its time has come, and soon its memory is, too."""

import time

import pytest


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def run(client, line):
    return client.execute_command(*line.split())


def expired_fields(client):
    return client.info("stats")["expired_subkeys"]


@pytest.fixture
def unswept(server):
    """A client of the server without its sweep."""
    client = server.client()
    assert client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    yield client
    client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def make(client, key, size, dying, milliseconds):
    """A hash of fields f0, f1, ... of which the first `dying` have so long to live."""
    client.hset(key, mapping={f"f{i}": f"v{i}" for i in range(size)})
    for start in range(0, dying, 500):
        fields = [f"f{i}" for i in range(start, min(start + 500, dying))]
        client.execute_command("HPEXPIRE", key, milliseconds, "FIELDS", len(fields), *fields)


def scanned(client, key):
    return dict(client.hscan_iter(key, count=20))


@pytest.mark.parametrize("size", [20, 1000])
def test_expired_fields_are_not_there_though_not_swept(unswept, size):
    make(unswept, "h", size, size // 2, 30)
    encoding = unswept.object("ENCODING", "h")
    assert encoding == (b"listpackex" if size == 20 else b"hashtable")
    time.sleep(0.1)
    left = {b"f%d" % i: b"v%d" % i for i in range(size // 2, size)}
    assert unswept.hgetall("h") == left
    assert scanned(unswept, "h") == left
    assert sorted(unswept.hkeys("h")) == sorted(left)
    assert sorted(unswept.hvals("h")) == sorted(left.values())
    assert sorted(unswept.hrandfield("h", size)) == sorted(left)
    assert set(unswept.hrandfield("h", -200)) <= set(left)
    assert set(unswept.hrandfield("h", 3)) <= set(left)
    assert unswept.hmget("h", ["f0", f"f{size - 1}"]) == [None, b"v%d" % (size - 1)]
    assert not unswept.hexists("h", "f1")
    assert unswept.hstrlen("h", "f1") == 0
    assert run(unswept, "HTTL h FIELDS 2 f0 f19") == [-2, -1 if size == 20 else -2]
    assert run(unswept, "HPERSIST h FIELDS 1 f0") == [-2]
    assert run(unswept, "HEXPIRE h 100 FIELDS 1 f0") == [-2]
    assert unswept.hincrby("h", "f0", 7) == 7
    assert unswept.hget("h", "f0") == b"7"


@pytest.mark.parametrize("size", [10, 1000])
def test_the_sweep_takes_fields_and_their_last_one_the_key(client, size):
    before = expired_fields(client)
    make(client, "all", size, size, 150)
    make(client, "some", size, size // 2, 150)
    make(client, "none", size, 0, 0)
    assert client.hlen("all") == size
    assert wait_until(lambda: client.exists("all") == 0, 10)
    assert wait_until(lambda: client.hlen("some") == size - size // 2, 10)
    assert client.hlen("none") == size
    assert client.dbsize() == 2
    assert expired_fields(client) - before == size + size // 2


def test_the_sweep_takes_what_nobody_asks_for(unswept):
    before = expired_fields(unswept)
    pipe = unswept.pipeline(transaction=False)
    for i in range(2000):
        pipe.execute_command("HSETEX", f"h{i}", "PX", 200, "FIELDS", 2, "a", 1, "b", 2)
    pipe.execute()
    make(unswept, "large", 20000, 15000, 200)
    assert unswept.dbsize() == 2001
    unswept.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    assert wait_until(lambda: unswept.dbsize() == 1, 20)
    assert wait_until(lambda: unswept.hlen("large") == 5000, 20)
    assert expired_fields(unswept) - before == 2 * 2000 + 15000


def test_fields_go_one_after_another(client):
    for i in range(10):
        client.hset("h", f"f{i}", "v")
        run(client, f"HPEXPIRE h {100 + 60 * i} FIELDS 1 f{i}")
    seen = []
    while not seen or seen[-1]:
        seen.append(len(client.hgetall("h")))
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) > 4
    assert wait_until(lambda: client.exists("h") == 0, 5)


@pytest.mark.parametrize("size", [4, 700])
def test_copies_and_renamed_keys_keep_the_times(client, size):
    make(client, "h", size, 2, 100000)
    for i in range(8):
        assert client.copy("h", f"copy{i}")
        assert client.rename(f"copy{i}", f"other{i}")
        first, second, third = run(client, f"HPTTL other{i} FIELDS 3 f0 f1 f2")
        assert 90000 < first <= 100000 and 90000 < second <= 100000 and third == -1
    assert run(client, "HPEXPIRE h 1 FIELDS 1 f0") == [1]
    assert wait_until(lambda: client.hlen("h") == size - 1, 10)
    assert [client.hlen(f"other{i}") for i in range(8)] == [size] * 8
    for i in range(8):
        run(client, f"HPEXPIRE other{i} 50 FIELDS 1 f1")
        client.rename(f"other{i}", f"again{i}")
    assert wait_until(lambda: all(client.hlen(f"again{i}") == size - 1 for i in range(8)), 10)


def test_the_sweep_covers_databases_and_moved_keys(server):
    clients = [server.client(db=db) for db in (0, 3, 15)]
    for client in clients:
        make(client, "h", 5, 5, 100)
    make(clients[0], "moved", 5, 5, 200)
    assert clients[0].move("moved", 7)
    clients.append(server.client(db=7))
    assert wait_until(lambda: all(client.dbsize() == 0 for client in clients), 10)


def test_writing_over_the_key_forgets_the_times(client):
    make(client, "h", 5, 5, 100)
    client.set("h", "text")
    make(client, "h2", 5, 5, 100)
    client.delete("h2")
    client.hset("h2", "f1", "v")
    make(client, "h3", 5, 5, 100)
    client.hset("h3", mapping={f"f{i}": "new" for i in range(5)})
    time.sleep(0.4)
    assert client.get("h") == b"text"
    assert client.hgetall("h2") == {b"f1": b"v"}
    assert client.hgetall("h3") == {b"f%d" % i: b"new" for i in range(5)}


def test_the_key_s_own_expiry_and_its_fields_both_hold(client):
    make(client, "first", 5, 5, 50)
    client.pexpire("first", 100000)
    make(client, "second", 5, 5, 100000)
    client.pexpire("second", 50)
    assert wait_until(lambda: client.dbsize() == 0, 10)


def test_removing_the_last_field_that_lives_takes_the_expired_ones_along(unswept):
    make(unswept, "h", 3, 2, 20)
    time.sleep(0.05)
    assert unswept.exists("h")
    assert unswept.hdel("h", "f2") == 1
    assert not unswept.exists("h")
    assert unswept.dbsize() == 0
