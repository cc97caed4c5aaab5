"""A pipeline takes effect in the order sent, and is answered in it, over whatever shards."""

import random

from harness import encode


def run(raw, requests):
    raw.send(b"".join(encode(*request) for request in requests))
    return [raw.read_reply() for _ in requests]


def test_replies_come_in_the_order_sent(raw):
    count = 3000
    requests, due = [], []
    for i in range(count):
        requests += [("SET", f"order:{i}", i), ("GET", f"order:{i}")]
        due += ["OK", b"%d" % i]
    assert run(raw, requests) == due


def test_commands_of_every_route_keep_their_places(raw):
    requests, due = [], []
    for i in range(400):
        a, b = f"a:{i}", f"b:{i}"
        requests += [
            ("SET", a, i), ("PING",), ("RENAME", a, b), ("MGET", a, b), ("NOSUCH",), ("GET",),
            ("ECHO", i), ("INCR", b), ("DEL", a, b), ("EXISTS", a, b), ("DBSIZE",),
        ]
        due += [
            "OK", "PONG", "OK", [None, b"%d" % i],
            "ERR unknown command 'NOSUCH', with args beginning with: ",
            "ERR wrong number of arguments for 'get' command",
            b"%d" % i, i + 1, 1, 0, 0,
        ]
    assert run(raw, requests) == due


def test_a_pipeline_may_be_divided_anywhere(raw):
    """What is parsed at once next depends on how much went before the division."""
    for division in ("CLIENT", "ID"), ("RENAME", "key:0", "other"), ("SELECT", 0):
        for before in 5, 200, 300, 500:
            sets = [("SET", f"key:{i}", i) for i in range(before)]
            replies = run(raw, sets + [division] + [("ECHO", i) for i in range(2000)])
            assert replies[:before] == ["OK"] * before
            assert replies[before + 1:] == [b"%d" % i for i in range(2000)]
            replies = run(raw, sets + [division] + [("GET", f"key:{before - 1}")] * 2000)
            assert replies[before + 1:] == [b"%d" % (before - 1)] * 2000


def test_select_divides_a_pipeline_exactly(raw):
    requests, due = [], []
    for i in range(500):
        db = i % 16
        requests += [("SELECT", db), ("SET", f"k{i % 7}", i), ("SELECT", (db + 1) % 16),
                     ("SET", f"k{i % 7}", "x"), ("SELECT", db), ("GET", f"k{i % 7}")]
        due += ["OK", "OK", "OK", "OK", "OK", b"%d" % i]
    assert run(raw, requests) == due


def test_a_read_sees_all_writes_before_it_and_none_after(raw):
    keys = [f"see:{i}" for i in range(20)]
    requests, due = [], []
    for turn in range(60):
        requests += [("SET", key, turn) for key in keys]
        due += ["OK"] * len(keys)
        requests.append(("MGET", *reversed(keys)))
        due.append([b"%d" % turn] * len(keys))
        requests.append(("EXISTS", *keys))
        due.append(len(keys))
        requests.append(("BITOP", "AND", "and", *keys))
        due.append(len(str(turn)))
        requests.append(("GET", "and"))
        due.append(b"%d" % turn)
    assert run(raw, requests) == due


def test_everything_at_once_against_a_model(raw):
    rng = random.Random(11)
    pool = [f"m:{i}" for i in range(60)]
    model, requests, due = {}, [], []
    for _ in range(8000):
        key, other = rng.choice(pool), rng.choice(pool)
        what = rng.randrange(10)
        if what <= 2:
            value = b"%d" % rng.randrange(1000)
            requests.append(("SET", key, value))
            due.append("OK")
            model[key] = value
        elif what <= 4:
            requests.append(("GET", key))
            due.append(model.get(key))
        elif what == 5:
            some = rng.choices(pool, k=5)
            requests.append(("MGET", *some))
            due.append([model.get(k) for k in some])
        elif what == 6:
            some = rng.sample(pool, 3)
            requests.append(("DEL", *some))
            due.append(sum(model.pop(k, None) is not None for k in some))
        elif what == 7:
            requests.append(("INCR", key))
            model[key] = b"%d" % (int(model.get(key, 0)) + 1)
            due.append(int(model[key]))
        elif what == 8:
            requests.append(("RENAME", key, other))
            due.append("OK" if key in model else "ERR no such key")
            if key in model:
                model[other] = model[key]
                if key != other:
                    del model[key]
        else:
            requests.append(("DBSIZE",))
            due.append(len(model))
    assert run(raw, requests) == due


def test_pipelines_of_several_connections_do_not_mix(server):
    raws = [server.raw() for _ in range(20)]
    for n, r in enumerate(raws):
        r.send(b"".join(encode("SET", f"c:{n}:{i}", n) + encode("GET", f"c:{n}:{i}")
                        for i in range(500)))
    for n, r in enumerate(raws):
        assert [r.read_reply() for _ in range(1000)] == ["OK", b"%d" % n] * 500
        r.close()


def test_big_and_small_replies_alternate(raw):
    raw.call("SET", "big", "b" * 300000)
    raw.call("SET", "small", "s")
    assert run(raw, [("GET", "big"), ("GET", "small")] * 100) == [b"b" * 300000, b"s"] * 100


# Replies of a pipeline leave together, but none waits for what may take long.

INCREMENT = "return redis.call('INCR', KEYS[1])"


def test_scripts_for_many_shards_are_answered_in_order(server):
    with server.raw() as r:
        r.call("FLUSHALL")
        for _ in range(5):
            r.send(b"".join(encode("EVAL", INCREMENT, 1, "key:%d" % (i % 50)) for i in range(200)))
        got = [r.read_reply() for _ in range(1000)]
        assert got == [i // 50 + 1 for i in range(1000)]


def test_replies_do_not_wait_for_the_rest_of_a_request(server):
    with server.raw() as r:
        r.call("FLUSHALL")
        for i in range(40):
            request = encode("EVAL", INCREMENT, 1, "other:%d" % i)
            key = "key:%d" % i
            r.send(encode("INCR", key) + encode("EVAL", INCREMENT, 1, key) * 2 + request[:-5])
            assert [r.read_reply() for _ in range(3)] == [1, 2, 3]
            r.send(request[-5:])
            assert r.read_reply() == 1


def test_replies_do_not_wait_for_a_command_that_blocks(server):
    with server.raw() as r, server.raw() as other:
        r.call("FLUSHALL")
        for i in range(40):
            key, line = "key:%d" % i, "list:%d" % i
            r.send(encode("EVAL", INCREMENT, 1, key) + encode("INCR", key) +
                   encode("BLPOP", line, 0) + encode("INCR", key))
            assert [r.read_reply() for _ in range(2)] == [1, 2]
            other.call("RPUSH", line, "x")
            assert [r.read_reply() for _ in range(2)] == [[line.encode(), b"x"], 3]
