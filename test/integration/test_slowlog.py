"""The slow log over all shards: what is logged, by whose name, in what order."""

import threading

import pytest

from harness import ReplyError

KEYS = [f"key:{i}" for i in range(16)]


@pytest.fixture
def log(server):
    """A client of a server that logs every command, with an empty log; put back afterwards."""
    r = server.raw()
    r.call("CONFIG", "SET", "slowlog-max-len", "1000", "slowlog-log-slower-than", "0")
    r.call("SLOWLOG", "RESET")
    yield r
    r.call("CONFIG", "SET", "slowlog-max-len", "128", "slowlog-log-slower-than", "10000")
    r.call("SLOWLOG", "RESET")


def entries(r, count=-1):
    """Newest first, without the commands that look at the log."""
    return [e for e in r.call("SLOWLOG", "GET", count)
            if e[3][0].upper() not in (b"SLOWLOG", b"CONFIG")]


def commands(r):
    return [b" ".join(e[3]) for e in reversed(entries(r))]


def test_entry_says_what_ran_when_for_how_long_and_for_whom(server, log):
    with server.raw() as other:
        other.call("CLIENT", "SETNAME", "worker")
        other.call("SET", "a", "b")
        address = other.call("CLIENT", "INFO").split(b" addr=")[1].split(b" ")[0]
        found = [e for e in entries(log) if e[3] == [b"SET", b"a", b"b"]]
    [(number, time, us, _, peer, name)] = found
    assert number > 0 and time > 1_600_000_000 and 0 <= us < 1_000_000
    assert (peer, name) == (address, b"worker")


def test_commands_of_all_shards_are_in_the_order_of_their_numbers(server, log):
    for key in KEYS:
        log.call("SET", key, "x")
    numbers = [e[0] for e in log.call("SLOWLOG", "GET", "-1")]
    assert numbers == sorted(numbers, reverse=True)
    assert commands(log) == [f"SET {key} x".encode() for key in KEYS]


def test_split_and_cross_commands_are_one_entry_each(server, log):
    pairs = [x for key in KEYS for x in (key, "1")][:20]
    log.call("MSET", *pairs)
    log.call("SUNIONSTORE", *KEYS[10:])
    assert [c.split()[0] for c in commands(log)] == [b"MSET", b"SUNIONSTORE"]


def test_arguments_are_cut(server, log):
    log.call("SADD", "set", *range(40))
    log.call("SET", "a", "x" * 200)
    first, second = [e[3] for e in reversed(entries(log))]
    assert len(first) == 32 and first[31] == b"... (11 more arguments)"
    assert second[2] == b"x" * 128 + b"... (72 more bytes)"


def test_transactions_and_scripts_show_their_commands(server, log):
    log.send(b"MULTI\r\nSET a 1\r\nGET key:1\r\nEXEC\r\n")
    for _ in range(4):
        log.read_reply()
    log.call("EVAL", "return redis.call('incr', KEYS[1])", "1", "a")
    shown = commands(log)
    assert shown[0] == b"MULTI"
    assert sorted(shown[1:3]) == [b"GET key:1", b"SET a 1"]  # on two shards at once
    assert shown[3:] == [b"incr a", b"EVAL return redis.call('incr', KEYS[1]) 1 a"]


def test_secrets_are_redacted(server, log):
    log.call("AUTH", "somebody", "secret")
    log.call("CONFIG", "SET", "requirepass", "")
    shown = [e[3] for e in log.call("SLOWLOG", "GET", "-1")]
    assert [b"AUTH", b"(redacted)", b"(redacted)"] in shown
    assert [b"CONFIG", b"SET", b"requirepass", b"(redacted)"] in shown


def test_a_wait_does_not_count_as_time(server, log):
    with server.raw() as waiter:
        waiter.send(b"BLPOP list 0\r\n")
        while b"blocked_clients:1" not in log.call("INFO", "clients"):
            pass
        assert not [e for e in entries(log) if e[3][0] == b"BLPOP"]
        log.call("EVAL", "local t = 0 for i = 1, 2000000 do t = t + i end", "0")
        log.call("RPUSH", "list", "x")
        assert waiter.read_reply() == [b"list", b"x"]
    [entry] = [e for e in entries(log) if e[3][0] == b"BLPOP"]
    script = [e for e in entries(log) if e[3][0] == b"EVAL"][0]
    assert entry[2] < script[2]


def test_threshold_and_length_hold_at_once(server, log):
    for key in KEYS:
        log.call("SET", key, "x")
    log.call("CONFIG", "SET", "slowlog-max-len", "3")
    assert log.call("SLOWLOG", "LEN") == 3
    assert len(log.call("SLOWLOG", "GET", "-1")) == 3
    assert len(log.call("SLOWLOG", "GET", "2")) == 2
    log.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
    log.call("SLOWLOG", "RESET")
    log.call("SET", "a", "b")
    assert log.call("SLOWLOG", "LEN") == 0
    assert log.call("SLOWLOG", "GET", "-2") == ReplyError(
        "ERR count should be greater than or equal to -1")


def test_a_reset_is_one_moment_for_all_shards(server, log):
    """What others had a reply to before the reset is gone, what they send after it is there."""
    log.call("CONFIG", "SET", "slowlog-max-len", "50000")  # whatever the others do meanwhile
    stop = threading.Event()

    def load():
        with server.raw() as r:
            while not stop.is_set():
                r.send(b"".join(b"SET %s x\r\n" % key.encode() for key in KEYS))
                for _ in KEYS:
                    r.read_reply()

    threads = [threading.Thread(target=load) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for i in range(30):
            log.call("SET", "before", i)
            log.call("SLOWLOG", "RESET")
            log.call("SET", "after", i)
            seen = commands(log)
            assert f"SET before {i}".encode() not in seen
            assert f"SET after {i}".encode() in seen
    finally:
        stop.set()
        for t in threads:
            t.join()
