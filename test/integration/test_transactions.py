"""Transactions as their clients see them: what is queued and refused, what runs as one, what breaks
a WATCH, and who sees what while many do this at once. Keys are spread over the shards as they fall.
"""

import random
import threading
import time

import pytest

from harness import Closed, ReplyError, encode

ABORTED = ReplyError("EXECABORT Transaction discarded because of previous errors.")
KEYS = [f"key{i}" for i in range(40)]
# Far enough off that a slow machine still watches a key before it expires.
SOON_MS = 300


def transaction(raw, *commands):
    """MULTI, the commands and EXEC as one packet; EXEC's reply."""
    raw.send(encode("MULTI") + b"".join(encode(*c) for c in commands) + encode("EXEC"))
    assert raw.read_reply() == "OK"
    for c in commands:
        assert raw.read_reply() == "QUEUED", c
    return raw.read_reply()


def fields(raw):
    """This connection's line of CLIENT LIST."""
    text = raw.call("CLIENT", "INFO").decode()
    return dict(f.split("=", 1) for f in text.split())


# --- Queueing ---


def test_commands_are_queued_and_run_as_one(raw):
    assert raw.call("MULTI") == "OK"
    for i, key in enumerate(KEYS):
        assert raw.call("SET", key, i) == "QUEUED"
    assert raw.call("MGET", *KEYS) == "QUEUED"
    with_values = [b"%d" % i for i in range(len(KEYS))]
    assert raw.call("EXEC") == ["OK"] * len(KEYS) + [with_values]


def test_an_empty_transaction_has_an_empty_reply(raw):
    assert transaction(raw) == []


def test_nothing_is_done_before_exec(server, raw):
    with server.raw() as other:
        raw.call("MULTI")
        raw.call("SET", "a", 1)
        assert other.call("GET", "a") is None
        assert raw.call("EXEC") == ["OK"]
        assert other.call("GET", "a") == b"1"


def test_discard_forgets_what_was_queued(raw):
    raw.call("MULTI")
    raw.call("SET", "a", 1)
    assert raw.call("DISCARD") == "OK"
    assert raw.call("EXEC") == ReplyError("ERR EXEC without MULTI")
    assert raw.call("DISCARD") == ReplyError("ERR DISCARD without MULTI")
    assert raw.call("GET", "a") is None


@pytest.mark.parametrize("command, error", [
    (["NOSUCH", "x"], "ERR unknown command 'NOSUCH', with args beginning with: 'x' "),
    (["GET"], "ERR wrong number of arguments for 'get' command"),
    (["CLIENT", "NOSUCH"], "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
    (["SHUTDOWN"], "ERR Command not allowed inside a transaction"),
])
def test_a_refused_command_aborts_the_whole(raw, command, error):
    raw.call("MULTI")
    assert raw.call("SET", "a", 1) == "QUEUED"
    assert raw.call(*command) == ReplyError(error)
    assert raw.call("SET", "b", 1) == "QUEUED"
    assert raw.call("EXEC") == ABORTED
    assert raw.call("EXISTS", "a", "b") == 0
    assert transaction(raw, ["SET", "a", 2]) == ["OK"]


def test_nesting_and_watching_are_refused_without_harm(raw):
    raw.call("MULTI")
    assert raw.call("MULTI") == ReplyError("ERR MULTI calls can not be nested")
    assert raw.call("WATCH", *KEYS) == ReplyError("ERR WATCH inside MULTI is not allowed")
    assert raw.call("SET", "a", 1) == "QUEUED"
    assert raw.call("EXEC") == ["OK"]


def test_exec_that_is_refused_ends_the_transaction(raw):
    text = ("EXECABORT Transaction discarded because of: "
            "wrong number of arguments for 'exec' command")
    assert raw.call("EXEC", "x") == ReplyError(text)
    raw.call("MULTI")
    raw.call("SET", "a", 1)
    assert raw.call("EXEC", "x") == ReplyError(text)
    assert raw.call("GET", "a") is None


def test_errors_of_commands_stand_among_the_replies(raw):
    raw.call("SET", "s", "text")
    wrong = ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert transaction(raw, ["SET", "a", 1], ["LPUSH", "s", 1], ["INCR", "s"], ["INCR", "a"]) == [
        "OK", wrong, ReplyError("ERR value is not an integer or out of range"), 2]


def test_an_error_and_a_success_over_shards(raw):
    raw.call("SET", "s", "text")
    replies = transaction(raw, *[["LPUSH", "s", 1] if i % 3 == 0 else ["SET", key, i]
                                 for i, key in enumerate(KEYS)])
    for i, reply in enumerate(replies):
        assert reply == "OK" if i % 3 else reply.startswith("WRONGTYPE")


def test_a_pipeline_may_be_cut_anywhere(server):
    data = b"".join(encode(*c) for c in [
        ("SET", "a", 1), ("MULTI",), ("INCR", "a"), ("SET", "b", "x" * 50), ("MGET", "a", "b"),
        ("EXEC",), ("GET", "a"), ("MULTI",), ("DEL", "a", "b"), ("DISCARD",), ("GET", "a"),
        ("MULTI",), ("EXEC",), ("WATCH", "a", "b"), ("MULTI",), ("GET", "a"), ("EXEC",),
        ("DEL", "a", "b")])
    data += b"MULTI\r\nPING x\r\nEXEC\r\n"
    long = b"x" * 50
    expected = ["OK", "OK", "QUEUED", "QUEUED", "QUEUED", [2, "OK", [b"2", long]], b"2",
                "OK", "QUEUED", "OK", b"2", "OK", [], "OK", "OK", "QUEUED", [b"2"], 2,
                "OK", "QUEUED", [b"x"]]
    with server.raw() as r:
        for step in [len(data), 1, 2, 3, 7, 31, 64, 100, 150]:
            for at in range(0, len(data), step):
                r.send(data[at:at + step])
                if step < 64 and at % 16 == 0:
                    time.sleep(0.0005)
            assert [r.read_reply() for _ in expected] == expected, step


def test_many_transactions_in_one_packet(raw):
    rounds = 200
    raw.send(b"".join(encode("MULTI") + encode("INCR", f"n{i % 7}") + encode("INCR", "all") +
                      encode("EXEC") + encode("GET", "all") for i in range(rounds)))
    for i in range(rounds):
        assert [raw.read_reply() for _ in range(3)] == ["OK", "QUEUED", "QUEUED"]
        assert raw.read_reply() == [i // 7 + 1, i + 1]
        assert raw.read_reply() == b"%d" % (i + 1)


def test_a_large_transaction(raw):
    count = 3000
    value = "v" * 300
    replies = transaction(raw, *[["SET", f"k{i}", value] for i in range(count)])
    assert replies == ["OK"] * count
    assert raw.call("DBSIZE") == count
    assert transaction(raw, *[["STRLEN", f"k{i}"] for i in range(count)]) == [300] * count


def test_the_queue_counts_to_the_query_buffer(fresh_server):
    server = fresh_server("--client-query-buffer-limit", "1mb")
    with server.raw() as r:
        r.call("MULTI")
        with pytest.raises((Closed, OSError)):
            for _ in range(40):
                assert r.call("SET", "a", "x" * 50000) == "QUEUED"
    with server.raw() as r:
        assert r.call("GET", "a") is None


# --- Whatever runs inside ---


def test_databases_are_chosen_inside(raw):
    assert transaction(raw, ["SET", "a", "of 0"], ["SELECT", 5], ["SET", "a", "of 5"],
                       ["SELECT", 99], ["GET", "a"]) == [
        "OK", "OK", "OK", ReplyError("ERR DB index is out of range"), b"of 5"]
    assert raw.call("GET", "a") == b"of 5"
    assert fields(raw)["db"] == "5"
    assert raw.call("SELECT", 0) == "OK"
    assert raw.call("GET", "a") == b"of 0"


def test_databases_are_chosen_inside_over_shards(raw):
    transaction(raw, *[["SET", key, 1] for key in KEYS], ["SELECT", 1],
                *[["SET", key, 2] for key in KEYS])
    assert raw.call("MGET", *KEYS) == [b"2"] * len(KEYS)
    raw.call("SELECT", 0)
    assert raw.call("MGET", *KEYS) == [b"1"] * len(KEYS)


def test_commands_of_every_shard_run_inside(raw):
    assert transaction(raw, ["SET", "a", 1], ["SET", "b", 2], ["SET", "c", 3], ["DBSIZE"],
                       ["FLUSHALL"], ["KEYS", "*"], ["SET", "d", 4], ["KEYS", "*"]) == [
        "OK", "OK", "OK", 3, "OK", [], "OK", [b"d"]]
    first = transaction(raw, ["SCAN", 0, "COUNT", 1000])[0]
    assert first[1] == [b"d"] or first[0] != b"0"


def test_commands_over_shards_run_inside(raw):
    replies = transaction(
        raw, ["MSET", "a", 1, "b", 2, "c", 3], ["RENAME", "a", "z"], ["MSETNX", "a", 5, "d", 6],
        ["SADD", "s1", 1, 2, 3], ["SADD", "s2", 2, 3, 4], ["SINTERSTORE", "s3", "s1", "s2"],
        ["SMEMBERS", "s3"], ["MGET", "a", "b", "c", "d", "z"], ["DEL", "a", "b", "c", "d", "z"],
        ["COPY", "s3", "s4"], ["SORT", "s4", "BY", "w_*"])
    replies[6] = sorted(replies[6])
    assert replies == ["OK", "OK", 1, 3, 3, 2, [b"2", b"3"], [b"5", b"2", b"3", b"6", b"1"], 5, 1,
                       [b"2", b"3"]]


def test_commands_of_the_connection_run_inside(raw):
    replies = transaction(raw, ["CLIENT", "SETNAME", "me"], ["CLIENT", "GETNAME"], ["PING"],
                          ["ECHO", "x"], ["CONFIG", "GET", "maxmemory-policy"], ["UNWATCH"],
                          ["SET", "a", 1], ["CLIENT", "INFO"], ["INFO", "server"],
                          ["COMMAND", "COUNT"], ["TIME"])
    assert replies[:7] == ["OK", b"me", "PONG", b"x", [b"maxmemory-policy", b"noeviction"], "OK",
                           "OK"]
    for field in (b" name=me ", b" flags=x ", b" multi=11 "):
        assert field in replies[7]
    assert b"redis_version" in replies[8]
    assert fields(raw)["name"] == "me"
    assert fields(raw)["flags"] == "N"


def test_settings_may_be_changed_inside(raw):
    assert transaction(raw, ["CONFIG", "SET", "set-max-intset-entries", 3],
                       ["SADD", "s", 1, 2, 3, 4], ["OBJECT", "ENCODING", "s"],
                       ["CONFIG", "SET", "set-max-intset-entries", 512]) == [
        "OK", 4, b"listpack", "OK"]


def test_the_protocol_may_change_inside(raw):
    raw.call("HSET", "h", "f", "v")
    replies = transaction(raw, ["HGETALL", "h"], ["HELLO", "3"], ["HGETALL", "h"])
    assert replies[0] == [b"f", b"v"] and replies[2] == {b"f": b"v"}
    assert raw.call("WATCH", "h") == "OK"
    raw.call("HSET", "h", "g", "v")
    raw.send(encode("MULTI") + encode("EXEC"))
    assert raw.read_raw() + raw.read_raw() == b"+OK\r\n_\r\n"


@pytest.mark.parametrize("command, reply", [
    (["BLPOP", "none", "none2", 0], None),
    (["BLMOVE", "none", "none2", "LEFT", "LEFT", 0], None),
    (["BZPOPMIN", "none", "none2", 0], None),
    (["XREAD", "BLOCK", 0, "STREAMS", "none", "$"], None),
    (["BLMPOP", 0, 2, "none", "none2", "LEFT"], None),
])
def test_commands_that_block_do_not_wait_inside(raw, command, reply):
    assert transaction(raw, ["SET", "a", 1], command, ["GET", "a"]) == ["OK", reply, b"1"]


SPREAD = "for i = 1, 20 do redis.call('incr', ARGV[1] .. i) end return redis.call('get', 'n1')"


def test_scripts_run_inside(raw):
    assert transaction(raw, ["SET", "a", 1], ["EVAL", SPREAD, 0, "n"], ["INCR", "n1"],
                       ["EVAL", "return redis.call('incr', KEYS[1])", 1, "n1"],
                       ["SELECT", 3], ["EVAL", SPREAD, 0, "n"], ["GET", "n7"]) == [
        "OK", b"1", 2, 3, "OK", b"1", b"1"]
    raw.call("SELECT", 0)
    assert raw.call("MGET", "n1", "n7", "a") == [b"3", b"1", b"1"]


def test_a_script_inside_heeds_watches(server, raw):
    raw.call("WATCH", "w", "v")
    with server.raw() as other:
        other.call("SET", "v", 1)
    assert transaction(raw, ["EVAL", SPREAD, 0, "n"]) is None
    assert raw.call("EXISTS", "n1") == 0
    raw.call("WATCH", "n3", "v")
    assert transaction(raw, ["EVAL", SPREAD, 0, "n"], ["CLIENT", "GETNAME"]) == [b"1", None]
    assert transaction(raw, ["EVAL", SPREAD, 0, "n"]) == [b"2"]


INCREMENT = "return redis.call('incr', KEYS[1])"
TELL = "return redis.call('publish', KEYS[1], ARGV[1])"
STRAY = "redis.call('set', KEYS[1], 1) if ARGV[1] then redis.call('get', ARGV[1]) end return 'ok'"


@pytest.mark.parametrize("other", "abcdefgh")
def test_what_a_script_inside_did_is_undone_where_another_strays(server, raw, other):
    """Both are known to keep to their keys, then one asks for another shard's."""
    with server.raw() as listener:
        listener.call("SUBSCRIBE", "{a}told")
        raw.call("EVAL", INCREMENT, 1, "{a}count")
        raw.call("EVAL", STRAY, 1, "{a}")
        raw.call("EVAL", TELL, 1, "{a}told", "before")
        assert transaction(raw, ["EVAL", INCREMENT, 1, "{a}count"],
                           ["EVAL", TELL, 1, "{a}told", "now"],
                           ["EVAL", STRAY, 1, "{a}", other]) == [2, 1, b"ok"]
        assert raw.call("GET", "{a}count") == b"2"
        raw.call("PUBLISH", "{a}told", "after")
        told = [listener.read_reply()[2] for _ in range(3)]
        assert told == [b"before", b"now", b"after"]


@pytest.mark.parametrize("channel", "abcdefgh")
def test_a_script_inside_publishes_in_its_turn(server, raw, channel):
    with server.raw() as listener:
        listener.call("SUBSCRIBE", channel)
        raw.call("EVAL", TELL, 1, channel, "0")
        transaction(raw, ["PUBLISH", channel, "1"], ["EVAL", TELL, 1, channel, "2"],
                    ["PUBLISH", channel, "3"])
        assert [listener.read_reply()[2] for _ in range(4)] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("key", "abcdefgh")
def test_a_script_that_strays_inside_does_nothing_to_the_session_twice(raw, key):
    raw.call("HELLO", 3)
    for other in "stuv":
        raw.call("SCRIPT", "FLUSH")
        raw.call("EVAL", STRAY, 1, key)
        raw.call("SUBSCRIBE", "channel")
        assert transaction(raw, ["UNSUBSCRIBE"], ["EVAL", STRAY, 1, key, other]) == [
            [b"unsubscribe", b"channel", 0], b"ok"]


def test_messages_are_published_inside(server, raw):
    lines = [server.raw() for _ in range(4)]
    for line in lines:
        assert line.call("SUBSCRIBE", "news") == ["subscribe".encode(), b"news", 1]
    assert transaction(raw, ["SET", "a", 1], ["PUBLISH", "news", "one"], ["PUBLISH", "none", "x"],
                       ["SET", "b", 1], ["PUBLISH", "news", "two"]) == ["OK", 4, 0, "OK", 4]
    for line in lines:
        assert line.read_reply() == [b"message", b"news", b"one"]
        assert line.read_reply() == [b"message", b"news", b"two"]
        line.close()


def test_subscribing_inside(raw):
    raw.send(encode("MULTI") + encode("SUBSCRIBE", "c") + encode("SET", "a", 1) + encode("EXEC"))
    assert [raw.read_reply() for _ in range(4)] == [
        "OK", "QUEUED", "QUEUED", [[b"subscribe", b"c", 1], "OK"]]
    assert raw.call("MULTI").startswith("ERR Can't execute 'multi'")
    assert raw.call("UNSUBSCRIBE", "c") == [b"unsubscribe", b"c", 0]
    assert transaction(raw, ["GET", "a"]) == [b"1"]


def test_who_waits_is_served_at_the_end(server, raw):
    with server.raw() as waiter:
        waiter.send(encode("BLPOP", "list", 0))
        while b"blocked_clients:1\r\n" not in raw.call("INFO", "clients"):
            time.sleep(0.005)
        assert transaction(raw, ["RPUSH", "list", "a"], ["SET", "x", 1], ["DEL", "list"],
                           ["RPUSH", "list", "b", "c"], ["SET", "y", 1]) == [1, "OK", 1, 2, "OK"]
        assert waiter.read_reply() == [b"list", b"b"]
        assert raw.call("LRANGE", "list", 0, -1) == [b"c"]


# --- Replies that are not wanted ---


def test_no_reply_is_sent_while_replies_are_off(raw):
    raw.send(encode("CLIENT", "REPLY", "OFF") + encode("MULTI") + encode("SET", "a", 1) +
             encode("SET", "b", 1) + encode("EXEC") + encode("CLIENT", "REPLY", "ON"))
    assert raw.read_reply() == "OK"
    assert raw.call("EXISTS", "a", "b") == 2


def test_one_reply_is_skipped(raw):
    raw.send(encode("CLIENT", "REPLY", "SKIP") + encode("MULTI") + encode("SET", "a", 1) +
             encode("EXEC"))
    assert [raw.read_reply() for _ in range(2)] == ["QUEUED", ["OK"]]


# --- WATCH ---


CHANGES = {
    "SET": [["SET", "w", 2]],
    "the same value": [["SET", "w", "1"]],
    "DEL": [["DEL", "w"]],
    "UNLINK": [["UNLINK", "x", "w"]],
    "APPEND": [["APPEND", "w", "x"]],
    "MSET": [["MSET", "x", 1, "w", 2, "y", 3]],
    "MSETNX": [["DEL", "x"], ["DEL", "w"], ["MSETNX", "w", 1, "x", 1]],
    "EXPIRE": [["EXPIRE", "w", 100]],
    "expiry in the past": [["PEXPIREAT", "w", 1]],
    "RENAME from": [["RENAME", "w", "other"]],
    "RENAME to": [["SET", "other", 1], ["RENAME", "other", "w"]],
    "COPY to": [["SET", "other", 1], ["COPY", "other", "w", "REPLACE"]],
    "MOVE": [["MOVE", "w", 7]],
    "FLUSHDB": [["FLUSHDB"]],
    "FLUSHALL": [["FLUSHALL", "ASYNC"]],
    "SWAPDB": [["SWAPDB", 0, 3]],
    "a transaction": [["MULTI"], ["SET", "w", 3], ["EXEC"]],
    "SINTERSTORE": [["SADD", "s", 1], ["SINTERSTORE", "w", "s", "s"]],
    "BITOP": [["BITOP", "NOT", "w", "w"]],
    "SORT": [["RPUSH", "l", 1], ["SORT", "l", "STORE", "w"]],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_breaks_a_watch(server, raw, change):
    raw.call("SET", "w", 1)
    assert raw.call("WATCH", "x", "w", "y") == "OK"
    with server.raw() as other:
        for command in CHANGES[change]:
            reply = other.call(*command)
            assert not isinstance(reply, ReplyError), (command, reply)
    assert transaction(raw, ["SET", "done", 1], ["SET", "other", 1]) is None
    assert raw.call("EXISTS", "done") == 0
    assert transaction(raw, ["SET", "done", 1]) == ["OK"]


@pytest.mark.parametrize("create, change", [
    (["RPUSH", "w", 1, 2], ["LPOP", "w"]),
    (["RPUSH", "w", 1, 2], ["LSET", "w", 0, 5]),
    (["RPUSH", "w", 1, 2], ["LMOVE", "w", "elsewhere", "LEFT", "LEFT"]),
    (["SADD", "w", 1, 2], ["SPOP", "w"]),
    (["HSET", "w", "f", 1], ["HINCRBY", "w", "f", 0]),
    (["ZADD", "w", 1, "m"], ["ZADD", "w", 2, "m"]),
    (["ZADD", "w", 1, "m"], ["ZPOPMIN", "w"]),
    (["XADD", "w", "*", "f", "v"], ["XTRIM", "w", "MAXLEN", 0]),
    (["PFADD", "w", 1], ["PFADD", "w", 2, 3, 4]),
    (["SET", "w", 1, "PX", 100000], ["PERSIST", "w"]),
    (["SETBIT", "w", 1, 1], ["SETBIT", "w", 1, 0]),
])
def test_a_change_of_a_collection_breaks_a_watch(server, raw, create, change):
    raw.call(*create)
    raw.call("WATCH", "w")
    with server.raw() as other:
        assert not isinstance(other.call(*change), ReplyError)
    assert transaction(raw, ["PING"]) is None


@pytest.mark.parametrize("command", [
    ["GET", "w"], ["SET", "other", 1], ["SET", "w", 1, "NX"], ["EXPIRE", "none", 5],
    ["DEL", "none"], ["SELECT", 1], ["EXISTS", "w"], ["TYPE", "w"], ["SETRANGE", "none", 0, ""],
    ["HDEL", "none", "f"], ["COPY", "w", "z"], ["TOUCH", "w"], ["PERSIST", "w"],
])
def test_what_changes_nothing_breaks_no_watch(server, raw, command):
    raw.call("SET", "w", 1)
    raw.call("WATCH", "w", "none")
    with server.raw() as other:
        other.call(*command)
    assert transaction(raw, ["GET", "w"]) == [b"1"]


def test_ones_own_change_breaks_the_watch(raw):
    raw.call("WATCH", "w")
    raw.call("SET", "w", 1)
    assert transaction(raw, ["GET", "w"]) is None


def test_expiry_breaks_a_watch_before_anybody_looks(raw):
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    raw.call("SET", "w", 1, "PX", SOON_MS)
    raw.call("WATCH", "w")
    time.sleep(SOON_MS / 1000 + 0.05)
    assert transaction(raw, ["PING"]) is None
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 1)


def test_expiry_by_the_sweep_breaks_a_watch(raw):
    raw.call("SET", "w", 1, "PX", SOON_MS)
    raw.call("WATCH", "w")
    deadline = time.monotonic() + 10
    while raw.call("DBSIZE") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert transaction(raw, ["PING"]) is None


def test_a_key_that_had_expired_when_it_was_watched_is_none(raw):
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    raw.call("SET", "w", 1, "PX", 10)
    time.sleep(0.03)
    assert raw.call("DBSIZE") == 1
    raw.call("WATCH", "w")
    assert raw.call("GET", "w") is None
    assert transaction(raw, ["PING"]) == ["PONG"]
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", 1)


def test_fields_that_expire_break_a_watch(server, raw):
    raw.call("HSET", "w", "f", 1, "g", 2)
    if isinstance(raw.call("HPEXPIRE", "w", SOON_MS, "FIELDS", 1, "f"), ReplyError):
        pytest.skip("fields do not expire here")
    raw.call("WATCH", "w")
    with server.raw() as other:
        deadline = time.monotonic() + 10
        while other.call("HLEN", "w") == 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert transaction(raw, ["PING"]) is None


def test_unwatch_discard_and_exec_forget_watches(raw):
    for forget in (["UNWATCH"], ["MULTI", "DISCARD"], ["MULTI", "EXEC"], ["RESET"]):
        raw.call("WATCH", *KEYS)
        for command in forget:
            raw.call(command)
        raw.call("SET", KEYS[0], 1)
        raw.call("SET", KEYS[-1], 1)
        assert transaction(raw, ["PING"]) == ["PONG"], forget


def test_an_aborted_transaction_forgets_its_watches(raw):
    raw.call("WATCH", "a", "b")
    raw.call("SET", "b", 1)
    raw.call("MULTI")
    raw.call("NOSUCH")
    assert raw.call("EXEC") == ABORTED
    assert transaction(raw, ["PING"]) == ["PONG"]


def test_watches_are_of_a_database(server, raw):
    raw.call("WATCH", "w")
    with server.raw() as other:
        other.call("SELECT", 1)
        other.call("SET", "w", 1)
    raw.call("SELECT", 1)
    assert transaction(raw, ["PING"]) == ["PONG"]


def test_watch_unwatch_and_watch_in_one_packet(raw):
    commands = [("WATCH", "a"), ("UNWATCH",), ("WATCH", "b"), ("SET", "a", 1), ("MULTI",),
                ("GET", "a"), ("EXEC",), ("WATCH", "b"), ("UNWATCH",), ("WATCH", "a"),
                ("SET", "a", 2), ("MULTI",), ("EXEC",)]
    raw.send(b"".join(encode(*c) for c in commands))
    assert [raw.read_reply() for _ in commands] == [
        "OK", "OK", "OK", "OK", "OK", "QUEUED", [b"1"], "OK", "OK", "OK", "OK", "OK", None]


# --- The session ---


def test_reset_and_quit_end_a_transaction(server, raw):
    raw.call("MULTI")
    raw.call("SET", "a", 1)
    assert raw.call("RESET") == "RESET"
    assert raw.call("EXEC") == ReplyError("ERR EXEC without MULTI")
    raw.call("MULTI")
    raw.call("SET", "a", 1)
    assert raw.call("QUIT") == "OK"
    raw.expect_closed()
    with server.raw() as other:
        assert other.call("GET", "a") is None


def test_client_list_tells_of_a_transaction(server, raw):
    number = raw.call("CLIENT", "ID")
    with server.raw() as other:
        def line():
            text = other.call("CLIENT", "LIST", "ID", number).decode()
            return dict(f.split("=", 1) for f in text.split())
        before = line()
        assert before["multi"] == "-1" and before["flags"] == "N"
        raw.call("MULTI")
        for _ in range(3):
            raw.call("SET", "a", "x" * 5000)
        during = line()
        assert during["multi"] == "3" and during["flags"] == "x" and during["cmd"] == "set"
        assert int(during["multi-mem"]) > 15000
        assert int(during["tot-mem"]) >= int(before["tot-mem"]) + 15000
        raw.call("DISCARD")
        assert line()["multi"] == "-1" and line()["multi-mem"] == "0"


def test_commands_are_counted_when_they_run(raw):
    raw.call("CONFIG", "RESETSTAT")
    raw.call("MULTI")
    raw.call("SET", "a", 1)
    raw.call("NOSUCH")
    raw.call("EXEC")
    transaction(raw, ["SET", "a", 1], ["LPUSH", "a", 1], ["SET", "b", 2])
    stats = raw.call("INFO", "commandstats").decode()
    calls = {line.split(":")[0][8:]: line for line in stats.split("\r\n") if ":" in line}
    assert "calls=2," in calls["set"] and "calls=2," in calls["multi"]
    assert "calls=2," in calls["exec"] and "failed_calls=1" in calls["exec"]
    assert "failed_calls=1" in calls["lpush"]


def test_a_pause_holds_exec_with_writes(server, raw):
    raw.call("MULTI")
    raw.call("SET", "a", 1)
    with server.raw() as other:
        other.call("CLIENT", "PAUSE", 60000, "WRITE")
        assert transaction(other, ["GET", "a"]) == [None]
        raw.send(encode("EXEC") + encode("GET", "a"))
        time.sleep(0.1)
        assert other.call("GET", "a") is None
        other.call("CLIENT", "UNPAUSE")
        assert raw.read_reply() == ["OK"]
        assert raw.read_reply() == b"1"


def test_a_pause_holds_writes_that_would_be_queued(server, raw):
    with server.raw() as other:
        other.call("CLIENT", "PAUSE", 60000, "WRITE")
        raw.send(encode("MULTI") + encode("GET", "a") + encode("SET", "a", 1) + encode("EXEC"))
        assert [raw.read_reply() for _ in range(2)] == ["OK", "QUEUED"]
        time.sleep(0.05)
        assert other.call("GET", "a") is None
        other.call("CLIENT", "UNPAUSE")
        assert [raw.read_reply() for _ in range(2)] == ["QUEUED", [None, "OK"]]


def test_connections_may_go_at_any_time(server, raw):
    commands = [encode("WATCH", *KEYS), encode("MULTI")]
    commands += [encode("SET", key, 1) for key in KEYS[:10]] + [encode("EXEC")]
    for count in list(range(len(commands) + 1)) * 8:
        other = server.raw()
        other.send(b"".join(commands[:count]))
        if random.random() < 0.5:
            time.sleep(random.random() / 500)
        other.close()
    assert transaction(raw, ["PING"]) == ["PONG"]


def test_clients_may_be_killed_within(server, raw):
    for _ in range(10):
        with server.raw() as other:
            number = other.call("CLIENT", "ID")
            other.call("WATCH", "a", "b", "c")
            other.call("MULTI")
            other.call("SET", "a", 1)
            assert raw.call("CLIENT", "KILL", "ID", number) == 1
            other.expect_closed()
    assert raw.call("GET", "a") is None


# --- Many at once ---


def run_all(workers):
    """Runs functions side by side; what one of them raises is raised."""
    failures = []

    def guard(work):
        try:
            work()
        except BaseException as e:  # noqa: B902
            failures.append(e)

    threads = [threading.Thread(target=guard, args=(w,)) for w in workers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


ACCOUNTS = [f"account{i}" for i in range(12)]
START = 1000


def transfer(raw, chooser):
    """Moves money between two accounts as seen under WATCH. True where it came to pass."""
    a, b = chooser.sample(ACCOUNTS, 2)
    raw.call("WATCH", a, b)
    first, second = (int(v) for v in raw.call("MGET", a, b))
    amount = chooser.randrange(20)
    reply = transaction(raw, ["SET", a, first - amount], ["SET", b, second + amount])
    assert reply in (None, ["OK", "OK"])
    return reply is not None


def test_money_is_neither_made_nor_lost(server):
    with server.raw() as r:
        for account in ACCOUNTS:
            r.call("SET", account, START)
    done = [0]
    stop = time.monotonic() + 2

    def move(seed):
        chooser = random.Random(seed)
        with server.raw() as r:
            while time.monotonic() < stop:
                done[0] += transfer(r, chooser)

    def audit(use_mget):
        with server.raw() as r:
            while time.monotonic() < stop:
                if use_mget:
                    values = r.call("MGET", *ACCOUNTS)
                else:
                    values = transaction(r, *[["GET", account] for account in ACCOUNTS])
                assert sum(map(int, values)) == START * len(ACCOUNTS)

    run_all([lambda s=s: move(s) for s in range(6)] + [lambda: audit(True), lambda: audit(False),
                                                       lambda: audit(False)])
    assert done[0] > 5


def test_unwatched_transactions_are_seen_whole(server):
    stop = time.monotonic() + 2

    def write(seed):
        with server.raw() as r:
            n = 0
            while time.monotonic() < stop:
                n += 1
                value = f"{seed}.{n}"
                if n % 3 == 0:
                    commands = [["MSET", *[w for k in KEYS[:8] for w in (k, value)]]]
                elif n % 3 == 1:
                    commands = [["SET", k, value] for k in KEYS[:8]]
                else:
                    commands = [["SET", KEYS[0], value]] + [
                        ["COPY", KEYS[0], k, "REPLACE"] for k in KEYS[1:8]]
                assert len(transaction(r, *commands)) == len(commands)

    def read(whole):
        with server.raw() as r:
            while time.monotonic() < stop:
                if whole:
                    values = r.call("MGET", *KEYS[:8])
                else:
                    values = transaction(r, *[["GET", k] for k in KEYS[:8]])
                assert len(set(values)) == 1, values

    run_all([lambda s=s: write(s) for s in range(5)] + [lambda: read(True), lambda: read(False)])


def test_watched_counters_lose_no_increment(server):
    clients, rounds = 6, 40

    def count():
        with server.raw() as r:
            for _ in range(rounds):
                while True:
                    r.call("WATCH", "n", "m")
                    n = int(r.call("GET", "n") or 0)
                    if transaction(r, ["SET", "n", n + 1], ["SET", "m", n + 1]) is not None:
                        break

    run_all([count] * clients)
    with server.raw() as r:
        assert r.call("MGET", "n", "m") == [b"%d" % (clients * rounds)] * 2


def test_transactions_of_all_kinds_side_by_side(server):
    stop = time.monotonic() + 2

    def work(seed):
        chooser = random.Random(seed)
        with server.raw() as r:
            while time.monotonic() < stop:
                keys = chooser.sample(KEYS, 3)
                kind = chooser.randrange(9)
                if kind == 0:
                    transaction(r, ["INCR", "one"], ["SELECT", 1], ["INCR", "one"], ["SELECT", 0])
                elif kind == 1:
                    transaction(r, *[["INCR", k] for k in keys], ["CLIENT", "GETNAME"])
                elif kind == 2:
                    transaction(r, ["DBSIZE"], ["INCR", keys[0]], ["KEYS", "key1*"],
                                ["CLIENT", "LIST"], ["INFO"])
                elif kind == 3:
                    r.call("WATCH", *keys)
                    transaction(r, *[["INCR", k] for k in keys])
                elif kind == 4:
                    r.call("WATCH", *keys)
                    r.call("INCR", keys[1])
                    assert transaction(r, ["INCR", keys[2]]) is None
                elif kind == 5:
                    transaction(r, ["LPUSH", "list", 1], ["BLPOP", "list", 0], ["GET", keys[0]])
                elif kind == 6:
                    reply = transaction(r, ["INCR", keys[0]], ["PUBLISH", "news", "x"],
                                        ["COPY", keys[0], keys[1], "REPLACE"])
                    assert isinstance(reply[1], int)
                elif kind == 7:
                    transaction(r, ["EVAL", SPREAD, 0, chooser.choice("xyz")], ["INCR", keys[0]])
                else:
                    with server.raw() as listener:
                        listener.call("SUBSCRIBE", "news")

    run_all([lambda s=s: work(s) for s in range(8)])
    with server.raw() as r:
        assert r.call("PING") == "PONG"
        assert r.call("LLEN", "list") == 0
