"""Blocking commands under load, from several processes: each element is got exactly once, whatever
the shards, and in whatever way the waits end."""

import random
from collections import Counter

from harness import encode
from workers import FORK, run_all

QUEUES = [f"queue:{i}" for i in range(12)]


def push_numbers(line, clock, worker, pushed):
    """Pushes numbers of its own."""
    count = 0
    while clock.running():
        requests = []
        for _ in range(random.randrange(1, 8)):
            words = [f"{worker}:{count + i}" for i in range(random.randrange(1, 4))]
            count += len(words)
            requests.append((random.choice(["LPUSH", "RPUSH"]), random.choice(QUEUES), *words))
        line.run(*requests)
    with pushed.get_lock():
        pushed.value += count
    return count


def consume(line, clock, way):
    """Takes elements until the load is over."""
    got = []
    while clock.running():
        keys = random.sample(QUEUES, random.randrange(1, 6))
        timeout = random.choice(["0.001", "0.01", "0.3"])
        if way == "pop":
            reply = line.call(random.choice(["BLPOP", "BRPOP"]), *keys, timeout)
            words = [reply[1]] if reply else []
        elif way == "several":
            reply = line.call("BLMPOP", timeout, len(keys), *keys, "LEFT", "COUNT", 3)
            words = reply[1] if reply else []
        else:
            own = f"own:{way}"
            line.call("BLMOVE", keys[0], own, "LEFT", "RIGHT", timeout)
            words = line.call("LPOP", own, 100) or []
        got += words
    return got


def take_rest(client):
    rest = []
    for key in QUEUES:
        rest += client.lrange(key, 0, -1)
    return rest


def test_each_element_is_got_exactly_once(server):
    pushed = FORK.Value("q", 0)
    results = run_all(server.port, [
        (push_numbers, 1, pushed), (push_numbers, 2, pushed),
        (consume, "pop"), (consume, "pop"), (consume, "several"),
        (consume, "move1"), (consume, "move2"),
    ])
    got = Counter(word for result in results[2:] for word in result)
    got.update(take_rest(server.client()))
    twice = [word for word, count in got.items() if count > 1]
    assert not twice, f"got more than once: {twice[:5]}"
    assert len(got) == pushed.value
    assert pushed.value > 100


def interrupt(line, clock, numbers):
    """Unblocks whoever may wait, while they are being served."""
    count = 0
    while clock.running():
        for number in list(numbers):
            if number:
                count += line.call("CLIENT", "UNBLOCK", number)
    return count


def consume_interrupted(line, clock, numbers, place):
    numbers[place] = line.call("CLIENT", "ID")
    got = []
    while clock.running():
        keys = random.sample(QUEUES, 4)
        if random.random() < 0.5:
            reply = line.call("BLPOP", *keys, "0.5")
            words = [reply[1]] if reply else []
        else:
            word = line.call("BLMOVE", keys[0], f"own:{place}", "LEFT", "LEFT", "0.5")
            words = line.call("LPOP", f"own:{place}", 10) or []
            assert word is None or words == [word]
        got += words
    return got


def test_a_wait_that_is_ended_loses_nothing(server):
    pushed = FORK.Value("q", 0)
    numbers = FORK.Array("q", 4)
    results = run_all(server.port, [
        (push_numbers, 1, pushed), (interrupt, numbers),
        *[(consume_interrupted, numbers, i) for i in range(4)],
    ])
    got = Counter(word for result in results[2:] for word in result)
    got.update(take_rest(server.client()))
    assert not [word for word, count in got.items() if count > 1]
    assert len(got) == pushed.value


def ring(line, clock, start):
    """Hands one token on round a ring of lists, each hop by whoever waits there."""
    count = 0
    while clock.running():
        if line.call("BLMOVE", f"ring:{start}", f"ring:{(start + 1) % 4}", "LEFT", "RIGHT",
                     "0.2"):
            count += 1
    return count


def watch_ring(line, clock):
    """The token is always in exactly one list."""
    count = 0
    while clock.running():
        found = line.call("EXISTS", *[f"ring:{i}" for i in range(4)])
        assert found == 1, f"the token is in {found} lists"
        count += 1
    return count


def test_a_move_is_never_seen_half_done(server):
    server.client().rpush("ring:0", "token")
    results = run_all(server.port, [*[(ring, i) for i in range(4)], (watch_ring,)])
    assert sum(results[:4]) > 20 and results[4] > 20


def come_and_go(line, clock, port):
    """Clients that block and leave at once, or a little later."""
    count = 0
    while clock.running():
        other = type(line)(port)
        other.send(encode("BLPOP", *random.sample(QUEUES, 5), random.choice(["0", "0.01"])))
        if random.random() < 0.5:
            line.call("PING")
        other.close()
        count += 1
    return count


def test_clients_that_come_and_go_leave_nothing_behind(server):
    """What they got in the moment they left is lost, as in Redis; nothing else is."""
    results = run_all(server.port, [
        (come_and_go, server.port), (come_and_go, server.port), (consume, "pop"),
    ])
    assert results[0] > 20
    info = server.client().info("clients")
    assert info["blocked_clients"] == 0


def disturb(line, clock):
    """Makes the line of a key ready again and again for those whom it has nothing for."""
    count = 0
    while clock.running():
        line.run(*[("XADD", "stream:a", "MAXLEN", 1, "*", "f", "v")] * 64)
        count += 64
    return count


def wait_for_another(line, clock, port):
    """One adds to a stream what another waits for, who waits for the first stream as well."""
    count = 0
    with type(line)(port, timeout=10) as waiter:
        while clock.running():
            last = line.call("XADD", "stream:b", "MAXLEN", 1, "*", "f", "v")
            waiter.send(encode("XREAD", "BLOCK", 0, "STREAMS", "stream:a", "stream:b",
                               "99999999999999-0", last))
            line.call("XADD", "stream:b", "MAXLEN", 1, "*", "f", "v")
            assert waiter.read_reply() is not None
            count += 1
    return count


def test_no_element_is_passed_over_for_who_is_looked_at_elsewhere(server):
    results = run_all(server.port, [(disturb,), (disturb,), (wait_for_another, server.port)],
                      rounds=22)
    assert results[2] > 20
