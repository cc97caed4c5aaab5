"""Expiry: a key is gone when its time has come, and soon its memory is, too."""

import time


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_an_expired_key_is_gone_at_once(client):
    keys = [f"lazy:{i}" for i in range(200)]
    for key in keys:
        client.set(key, "v", px=100)
    assert wait_until(lambda: client.get(keys[-1]) is None, 2)
    assert client.mget(keys) == [None] * 200
    assert client.exists(*keys) == 0
    assert client.keys("*") == []
    assert client.ttl(keys[0]) == -2


def test_without_the_sweep_a_key_goes_when_it_is_looked_at(server):
    client = server.client()
    assert client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    try:
        keys = [f"unswept:{i}" for i in range(100)]
        for key in keys:
            client.set(key, "v", px=1)
        time.sleep(0.5)
        assert client.dbsize() == 100
        assert client.get(keys[0]) is None
        assert client.mget(keys[1:50]) == [None] * 49
        assert client.dbsize() == 50
    finally:
        client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    assert wait_until(lambda: client.dbsize() == 0, 10)


def test_the_sweep_takes_expired_keys_nobody_asks_for(client):
    at = int(time.time() * 1000) + 300
    pipe = client.pipeline(transaction=False)
    pipe.mset({f"kept:{i}": "v" for i in range(1000)})
    pipe.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    for i in range(20000):
        pipe.set(f"swept:{i}", "v", pxat=at)
    pipe.dbsize()
    pipe.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "1")
    assert pipe.execute()[-2] == 21000
    assert wait_until(lambda: client.dbsize() == 1000, 15)


def test_the_sweep_covers_all_databases(server):
    clients = [server.client(db=db) for db in (0, 5, 15)]
    for client in clients:
        for i in range(300):
            client.set(f"k{i}", "v", px=50)
    assert wait_until(lambda: all(client.dbsize() == 0 for client in clients), 15)


def test_a_past_moment_deletes(client):
    for word, argument in (("EXPIRE", 0), ("EXPIRE", -1), ("PEXPIRE", -5), ("EXPIREAT", 1),
                           ("PEXPIREAT", 1000)):
        client.set("past", "v")
        assert client.execute_command(word, "past", argument) == 1
        assert client.dbsize() == 0


def test_time_to_live_is_kept_and_taken_away(client):
    client.set("t", "v")
    assert client.pexpire("t", 100000)
    assert 99000 < client.pttl("t") <= 100000
    moment = int(time.time()) + 500
    assert client.expireat("t", moment)
    assert client.execute_command("EXPIRETIME", "t") == moment
    assert client.persist("t")
    assert not client.persist("t")
    assert client.pttl("t") == -1


def test_writing_over_an_expired_key_begins_anew(client):
    client.set("again", "10", px=1)
    time.sleep(0.02)
    assert client.incr("again") == 1
    assert client.ttl("again") == -1
    client.set("moved", "v", px=1)
    time.sleep(0.02)
    client.set("target", "t")
    assert not client.execute_command("COPY", "moved", "target", "REPLACE")
    assert client.get("target") == b"t"
