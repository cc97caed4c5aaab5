"""SCAN's guarantee: what is there from beginning to end is returned, whatever else happens."""

import threading

import harness

STABLE = {b"stable:%d" % i for i in range(3000)}


def scan_all(client, **kw):
    cursor, keys, calls = 0, [], 0
    while True:
        cursor, some = client.scan(cursor, **kw)
        keys += some
        calls += 1
        assert calls < 100000, "the scan does not end"
        if cursor == 0:
            return keys


def test_a_scan_of_nothing_finds_nothing(client):
    assert scan_all(client) == []


def test_a_scan_returns_every_key_once_while_nothing_changes(client):
    client.mset({key: 1 for key in STABLE})
    for count in (1, 10, 1000, 100000):
        keys = scan_all(client, count=count)
        assert len(keys) == len(STABLE) and set(keys) == STABLE


def test_a_scan_may_match_and_name_a_type(client):
    client.mset({key: 1 for key in STABLE})
    client.set("other", "x")
    assert set(scan_all(client, match="stable:1?")) == {b"stable:%d" % i for i in range(10, 20)}
    assert set(scan_all(client, _type="string", match="o*")) == {b"other"}
    assert scan_all(client, _type="list") == []


def test_a_call_goes_on_to_the_next_shards_while_its_count_is_not_used_up(server):
    client = server.client()
    keys = {b"key:%d" % i for i in range(10)}
    client.mset(dict.fromkeys(keys, 1))
    assert [set(x) if x else x for x in client.scan(0, count=1000)] == [0, keys]
    cursor, some = client.scan(0, count=1000, match="key:3")
    assert (cursor, some) == (0, [b"key:3"])
    calls, cursor, found = 0, None, set()
    while cursor != 0:
        cursor, some = client.scan(cursor or 0, count=3)
        calls, found = calls + 1, found | set(some)
    assert found == keys and 1 < calls <= 4 + harness.SHARDS


def test_a_pass_takes_no_more_calls_than_count_says(client):
    client.mset({key: 1 for key in STABLE})
    cursor, calls = None, 0
    while cursor != 0:
        cursor, _ = client.scan(cursor or 0, count=100)
        calls += 1
    assert calls <= len(STABLE) // 100 + 1


def test_a_scan_in_transactions_and_scripts_sees_all_shards(client):
    keys = {b"key:%d" % i for i in range(10)}
    client.mset(dict.fromkeys(keys, 1))
    pipe = client.pipeline()
    pipe.incr("counter")
    pipe.scan(0, count=100)
    pipe.incr("counter")
    first, (cursor, found), second = pipe.execute()
    assert (first, cursor, set(found), second) == (1, 0, keys | {b"counter"}, 2)
    script = "redis.call('incr', KEYS[1]) return redis.call('scan', 0, 'count', 100)"
    for i in range(3):
        cursor, found = client.eval(script, 1, "counter")
        assert (cursor, set(found)) == (b"0", keys | {b"counter"})
        assert client.get("counter") == b"%d" % (3 + i)


def test_a_scan_within_a_pipeline_stands_where_it_was_sent(client):
    for i in range(50):
        pipe = client.pipeline(transaction=False)
        pipe.set(f"key:{i}", 1)
        pipe.scan(0, count=1000)
        pipe.delete(f"key:{i}")
        pipe.scan(0, count=1000)
        _, (_, with_it), _, (_, without) = pipe.execute()
        assert (with_it, without) == ([b"key:%d" % i], [])


def test_a_scan_sees_its_database_alone(server):
    zero, two = server.client(), server.client(db=2)
    zero.mset({key: 1 for key in STABLE})
    two.set("alone", 1)
    assert scan_all(two) == [b"alone"]


def test_a_scan_keeps_its_guarantee_while_keys_come_and_go(server):
    client = server.client()
    client.mset({key: 1 for key in STABLE})
    ended = threading.Event()
    problems = []

    def disturb(number):
        other = server.client()
        turn = 0
        try:
            while not ended.is_set():
                turn += 1
                names = {f"passing:{number}:{turn}:{i}": "x" for i in range(400)}
                other.mset(names)
                other.delete(*names)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=disturb, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        for count in (10, 50, 500):
            keys = set(scan_all(client, count=count))
            assert not STABLE - keys
            assert all(key.startswith(b"passing:") for key in keys - STABLE)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not problems
    assert client.dbsize() == len(STABLE)


def test_a_scan_keeps_its_guarantee_while_the_table_grows_and_shrinks(client):
    client.mset({key: 1 for key in STABLE})
    cursor, keys, step = 0, set(), 0
    grown = []
    while True:
        cursor, some = client.scan(cursor, count=20)
        keys.update(some)
        if cursor == 0:
            break
        step += 1
        if step % 40 < 20:
            names = [f"growth:{step}:{i}" for i in range(500)]
            client.mset({name: "y" for name in names})
            grown += names
        elif grown:
            client.delete(*grown)
            grown = []
        assert step < 20000
    assert not STABLE - keys


def test_a_cursor_of_nonsense_is_refused_or_ends(raw):
    assert raw.call("SCAN", "x") == "ERR invalid cursor"
    assert raw.call("SCAN", "0", "COUNT", "0") == "ERR syntax error"
    assert raw.call("SCAN", "0", "NONSENSE") == "ERR syntax error"
    raw.call("MSET", *[w for key in STABLE for w in (key, "1")])
    for cursor in ("1", "12345678901234567890", "18446744073709551615", "9223372036854775808"):
        reply = raw.call("SCAN", cursor)
        assert isinstance(reply, list) and len(reply) == 2
        for _ in range(100000):
            if reply[0] == b"0":
                break
            reply = raw.call("SCAN", reply[0], "COUNT", "1000")
        assert reply[0] == b"0"
