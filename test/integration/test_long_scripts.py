"""Scripts that run for long: who is answered meanwhile, and that nothing is mixed up by it."""

import time

import pytest

from harness import ReplyError, encode

BUSY = ReplyError("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN "
                  "NOSAVE.")
LOOP = "if ARGV[1] then while true do end end return redis.call('get', KEYS[1])"
COUNT = "local n = 0 while n < 30000000 do n = n + 1 end return n"


@pytest.fixture
def impatient(fresh_server):
    return fresh_server("--busy-reply-threshold", 100)


def await_busy(raw, key):
    deadline = time.monotonic() + 20
    while raw.call("GET", key) != BUSY:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("key", "abcd")
def test_cores_that_wait_behind_a_long_script_answer(impatient, key):
    """Transactions of several shards stand still for the script's; its killer may come by any."""
    raws = [impatient.raw() for _ in range(20)]
    raws[0].call("EVAL", LOOP, 1, key)
    raws[0].send(encode("EVAL", LOOP, 1, key, "1"))
    time.sleep(0.02)
    for i, raw in enumerate(raws[1:10]):
        raw.send(encode("MSETNX", key, "", f"other{i}", ""))
    time.sleep(0.3)
    for raw in raws[10:]:
        await_busy(raw, key)
        raw.call("PING")
    assert impatient.raw().call("SCRIPT", "KILL") == "OK"
    assert "Script killed by user" in raws[0].read_reply().text
    replies = [raw.read_reply() for raw in raws[1:10]]
    assert all(reply in (0, 1, BUSY) for reply in replies)
    assert replies.count(1) <= 1
    assert raws[0].call("EVAL", COUNT, 0) == 30000000


@pytest.mark.parametrize("end", ["close", "RESET"])
def test_no_message_comes_between_the_parts_of_a_reply(impatient, end):
    """Who leaves while another's script runs makes the core give out the messages that it has."""
    with impatient.raw() as listener:
        listener.call("HELLO", 3)
        listener.call("SUBSCRIBE", "told")
        others = [impatient.raw() for _ in range(16)]
        for other in others:
            other.call("SUBSCRIBE", "other")
        for command in (["MULTI"], ["PUBLISH", "told", "message"], ["EVAL", COUNT, 0]):
            listener.call(*command)
        listener.send(encode("EXEC"))
        time.sleep(0.15)
        for other in others:
            if end == "close":
                other.close()
            else:
                other.send(encode("RESET"))
        assert listener.read_reply() == [1, 30000000]
        assert listener.read_reply() == [b"message", b"told", b"message"]
