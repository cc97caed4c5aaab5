"""Scripts past busy-reply-threshold: what their own clients have sent behind them, and what others
and the rest of a transaction see meanwhile and afterwards."""

import threading
import time

import pytest

from harness import Closed, ReplyError, encode

# Runs for about ARGV[1] milliseconds without a write: TIME stands still within a script.
LONG = """
for i = 1, tonumber(ARGV[1]) * 200000 do end
return 'over'"""


@pytest.fixture
def busy_server(server):
    with server.raw() as r:
        r.call("CONFIG", "SET", "busy-reply-threshold", 30)
    yield server
    with server.raw() as r:
        r.call("CONFIG", "SET", "busy-reply-threshold", 5000)


@pytest.mark.parametrize("keys", [(), ("a",)], ids=["all shards", "one key"])
def test_what_its_client_sends_meanwhile_waits_for_it(busy_server, keys):
    with busy_server.raw() as r, busy_server.raw() as other:
        r.call("EVAL", LONG, len(keys), *keys, 1)
        r.send(encode("EVAL", LONG, len(keys), *keys, 400))
        time.sleep(0.15)
        r.send(encode("PING") + encode("SET", "a", 1))
        time.sleep(0.05)
        r.send(encode("GET", "a"))
        assert [r.read_reply() for _ in range(4)] == [b"over", "PONG", "OK", b"1"]
        assert other.call("PING") == "PONG"


@pytest.mark.parametrize("behind, reply", [("RESET", "RESET"), ("DISCARD", None)])
def test_a_transaction_is_not_given_up_while_its_script_runs(busy_server, behind, reply):
    with busy_server.raw() as r:
        for _ in range(3):
            r.send(encode("MULTI") + encode("EVAL", LONG, 0, 200) + encode("SET", "a", "x" * 3000) +
                   encode("GET", "a") + encode("EXEC"))
            time.sleep(0.1)
            r.send(encode(behind) + encode("MULTI") + encode("SET", "b", "y" * 3000))
            replies = [r.read_reply() for _ in range(8)]
            assert replies[4] == [b"over", "OK", b"x" * 3000]
            assert replies[5] == (reply or ReplyError("ERR DISCARD without MULTI"))
            assert replies[6:] == ["OK", "QUEUED"]
            assert r.call("DISCARD") == "OK"


def test_its_client_may_leave_meanwhile(busy_server):
    with busy_server.raw() as other:
        for _ in range(5):
            with busy_server.raw() as r:
                r.send(encode("MULTI") + encode("EVAL", LONG, 1, "a", 200) + encode("INCR", "n") +
                       encode("EXEC"))
                time.sleep(0.1)
            while isinstance(other.call("FUNCTION", "STATS"), ReplyError):
                time.sleep(0.01)
        assert other.call("GET", "n") == b"5"


def test_what_follows_it_in_a_transaction_may_look_at_all_clients(busy_server):
    """While others come, go and are answered by the cores that the script holds."""
    stop = threading.Event()

    def come_and_go():
        while not stop.is_set():
            try:
                with busy_server.raw() as r:
                    for _ in range(20):
                        r.send(encode("CLIENT", "SETNAME", "x") + encode("PING"))
                        r.read_reply()
                        r.read_reply()
            except (Closed, ConnectionError):
                pass

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        with busy_server.raw() as r:
            for _ in range(10):
                r.send(encode("MULTI") + encode("EVAL", LONG, 0, 60) + encode("CLIENT", "LIST") +
                       encode("INFO") + encode("PUBSUB", "CHANNELS") + encode("EXEC"))
                replies = [r.read_reply() for _ in range(6)][-1]
                assert replies[0] == b"over"
                assert b"cmd=exec" in replies[1]
                assert b"connected_clients" in replies[2]
    finally:
        stop.set()
        for t in threads:
            t.join()
