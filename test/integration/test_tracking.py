"""CLIENT TRACKING as its clients see it: who is told of what, when, and what is not told. Keys are
spread over the shards as they fall, and connections over the cores."""

import time

import pytest

from harness import Closed, Push, ReplyError, encode

# By then an invalidation that is on its way has come.
SOON = 0.1
BROKEN = b"tracking-redir-broken"
KEYS = [f"key:{i}" for i in range(24)]


@pytest.fixture
def connect(server):
    """Makes connections, in RESP3 unless told."""
    made = []

    def make(protocol=3, track=None):
        line = server.raw()
        made.append(line)
        line.id = line.call("CLIENT", "ID")
        if protocol == 3:
            line.call("HELLO", 3)
        if track is not None:
            assert line.call("CLIENT", "TRACKING", "ON", *track) == "OK"
        return line

    yield make
    for line in made:
        line.close()


def invalidated(line, count=1):
    """The keys of the next pushes, as many as there are, sorted; None: all keys."""
    keys = []
    while len(keys) < count:
        push = line.read_reply()
        assert isinstance(push, Push) and push[0] == b"invalidate", push
        keys += [None] if push[1] is None else [key.decode() for key in push[1]]
    assert len(keys) == count
    return keys if None in keys else sorted(keys)


def expect_nothing(*lines):
    time.sleep(SOON)
    for line in lines:
        assert line.call("PING") == "PONG"


def stats(line):
    text = (line.call("INFO", "stats") + line.call("INFO", "clients")).decode()
    return {name: int(value) for name, value in
            (row.split(":") for row in text.split("\r\n") if row.startswith("tracking_"))}


def wait_for(line, **wanted):
    """Until INFO says so."""
    for _ in range(400):
        found = stats(line)
        if all(found[f"tracking_{name}"] == value for name, value in wanted.items()):
            return
        time.sleep(0.01)
    pytest.fail(f"{wanted} never came: {found}")


# --- Default mode ---


def test_what_was_read_is_told_once_when_it_changes(connect, raw):
    line = connect(track=[])
    for key in KEYS:
        line.call("GET", key)
    for key in KEYS:
        raw.call("SET", key, 1)
        raw.call("SET", key, 2)
    assert invalidated(line, len(KEYS)) == sorted(KEYS)
    expect_nothing(line)
    line.call("GET", KEYS[0])
    raw.call("DEL", KEYS[0])
    assert invalidated(line) == [KEYS[0]]


def test_all_keys_of_a_read_are_tracked(connect, raw):
    line = connect(track=[])
    line.call("MGET", *KEYS[:6])
    line.call("SUNION", *KEYS[6:9])
    line.call("ZUNION", 2, *KEYS[9:11])
    line.call("EXISTS", *KEYS[11:13])
    line.call("XREAD", "STREAMS", KEYS[13], "0")
    line.call("OBJECT", "ENCODING", KEYS[14])
    line.call("SORT_RO", KEYS[15])
    raw.call("MSET", *[word for key in KEYS for word in (key, 1)])
    assert invalidated(line, 16) == sorted(KEYS[:16])
    expect_nothing(line)


def test_writes_are_no_reads(connect, raw):
    line = connect(track=[])
    line.call("SET", "a", 1)
    line.call("SET", "a", 2, "GET")
    line.call("INCR", "a")
    line.call("LPUSH", "l", 1)
    line.call("LPOP", "l")
    raw.call("DEL", "a", "l")
    expect_nothing(line)


def test_a_key_of_another_database_counts_as_the_same(connect, raw):
    line = connect(track=[])
    line.call("GET", "a")
    raw.call("SELECT", 3)
    raw.call("SET", "a", 1)
    assert invalidated(line) == ["a"]
    raw.call("FLUSHDB")
    assert invalidated(line) == [None]


def test_ones_own_write_is_told_behind_its_reply(connect):
    line = connect(track=[])
    for key in KEYS:
        line.call("GET", key)
        line.send(encode("SET", key, 1) + encode("GET", "other"))
        assert line.read_reply() == "OK"
        replies = [line.read_reply(), line.read_reply()]
        assert [b"invalidate", [key.encode()]] in replies and None in replies


def test_a_pipeline_of_reads_and_writes_ends_up_told(connect):
    """Where the last thing is a write nothing may be taken for good."""
    line = connect(track=[])
    line.send(b"".join(encode("GET", key) + encode("SET", key, 1) for key in KEYS))
    told = set()
    replies = 0
    while replies < 2 * len(KEYS) or len(told) < len(KEYS):
        reply = line.read_reply()
        if isinstance(reply, Push):
            told |= {key.decode() for key in reply[1]}
        else:
            replies += 1
    assert told == set(KEYS)
    expect_nothing(line)


def test_noloop_spares_the_writer_alone(connect, raw):
    first, second = connect(track=["NOLOOP"]), connect(track=["NOLOOP"])
    for line in first, second:
        line.call("MGET", *KEYS)
    for key in KEYS[:12]:
        first.call("SET", key, 1)
    assert invalidated(second, 12) == sorted(KEYS[:12])
    raw.call("DEL", *KEYS[:12])
    raw.call("MSET", *[word for key in KEYS[12:] for word in (key, 1)])
    assert invalidated(first, 12) == invalidated(second, 12) == sorted(KEYS[12:])
    expect_nothing(first, second)


def test_tracking_turned_off_is_silent(connect, raw):
    line = connect(track=[])
    line.call("GET", "a")
    assert line.call("CLIENT", "TRACKING", "OFF") == "OK"
    assert line.call("CLIENT", "TRACKING", "OFF") == "OK"
    raw.call("SET", "a", 1)
    line.call("GET", "a")
    raw.call("SET", "a", 2)
    raw.call("FLUSHALL")
    expect_nothing(line)


def test_reset_turns_tracking_off(connect, raw):
    for mode in [], ["BCAST", "PREFIX", "a"]:
        line = connect(track=mode)
        line.call("GET", "a")
        assert line.call("RESET") == "RESET"
        assert line.call("HELLO", 3)[b"proto"] == 3
        raw.call("SET", "a", 1)
        expect_nothing(line)
        assert line.call("CLIENT", "TRACKINGINFO")[b"flags"] == {b"off"}
    wait_for(raw, clients=0, total_prefixes=0)


def test_resp2_without_redirection_hears_nothing(connect, raw):
    line = connect(protocol=2, track=[])
    line.call("GET", "a")
    raw.call("SET", "a", 1)
    raw.call("FLUSHALL")
    expect_nothing(line)


def test_replies_switched_off_leave_the_pushes(connect, raw):
    line = connect(track=[])
    line.call("GET", "a")
    line.send(encode("CLIENT", "REPLY", "OFF") + encode("GET", "b"))
    wait_for(raw, total_keys=2)
    raw.call("MSET", "a", 1, "b", 1)
    assert invalidated(line, 2) == ["a", "b"]


# --- Expiry and flushes ---


def test_keys_that_expire_are_told(connect, raw):
    line = connect(track=[])
    bcast = connect(track=["BCAST", "PREFIX", "key:"])
    for key in KEYS:
        raw.call("SET", key, 1, "PX", 400)
    assert invalidated(bcast, len(KEYS)) == sorted(KEYS)
    line.call("MGET", *KEYS)
    started = time.monotonic()
    assert invalidated(line, len(KEYS)) == sorted(KEYS)
    assert invalidated(bcast, len(KEYS)) == sorted(KEYS)
    assert time.monotonic() - started < 20


def test_keys_found_expired_are_told(connect, fresh_server):
    server = fresh_server()
    with server.raw() as line, server.raw() as other:
        other.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        line.call("HELLO", 3)
        line.call("CLIENT", "TRACKING", "ON")
        for key in KEYS:
            other.call("SET", key, 1, "PX", 300)
        assert line.call("MGET", *KEYS) == [b"1"] * len(KEYS)
        time.sleep(0.4)
        assert other.call("MGET", *KEYS) == [None] * len(KEYS)
        assert invalidated(line, len(KEYS)) == sorted(KEYS)


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"])
def test_a_flush_tells_everybody_once(connect, raw, command):
    reader, bcast = connect(track=[]), connect(track=["BCAST", "PREFIX", "nothing"])
    idle, old = connect(track=["OPTIN"]), connect(protocol=2, track=[])
    reader.call("MGET", *KEYS)
    assert raw.call(*command.split()) == "OK"
    for line in reader, bcast, idle:
        assert invalidated(line) == [None]
    expect_nothing(reader, bcast, idle, old)
    wait_for(raw, total_keys=0, total_items=0)
    assert reader.call("FLUSHALL") == "OK"
    assert invalidated(reader) == [None]
    assert isinstance(raw.call("FLUSHALL", "NOSUCH"), ReplyError)
    assert [invalidated(line) for line in (bcast, idle)] == [[None], [None]]
    expect_nothing(reader, bcast, idle, old)


def test_a_flush_within_a_pipeline_tells_once(connect):
    line = connect(track=["NOLOOP"])
    line.send(encode("SET", "a", 1) + encode("FLUSHALL") + encode("SET", "b", 2))
    replies = [line.read_reply() for _ in range(4)]
    assert replies.count("OK") == 3 and [b"invalidate", None] in replies
    assert replies.index([b"invalidate", None]) > 1
    expect_nothing(line)


# --- OPTIN, OPTOUT, CACHING ---


def test_optin_tracks_the_command_behind_caching_yes(connect, raw):
    line = connect(track=["OPTIN"])
    for key in KEYS:
        line.call("GET", key)
    for key in KEYS[::2]:
        assert line.call("CLIENT", "CACHING", "YES") == "OK"
        assert b"caching-yes" in line.call("CLIENT", "TRACKINGINFO")[b"flags"]
        line.call("GET", key)
        assert b"caching-yes" not in line.call("CLIENT", "TRACKINGINFO")[b"flags"]
    for key in KEYS:
        raw.call("SET", key, 1)
    assert invalidated(line, 12) == sorted(KEYS[::2])
    expect_nothing(line)


def test_optout_spares_the_command_behind_caching_no(connect, raw):
    line = connect(track=["OPTOUT"])
    line.send(b"".join((encode("CLIENT", "CACHING", "NO") if i % 2 else b"") + encode("GET", key)
                       for i, key in enumerate(KEYS)))
    assert [line.read_reply() for _ in range(36)].count("OK") == 12
    raw.call("MSET", *[word for key in KEYS for word in (key, 1)])
    assert invalidated(line, 12) == sorted(KEYS[::2])
    expect_nothing(line)


def test_caching_holds_for_one_command_of_a_pipeline(connect, raw):
    line = connect(track=["OPTIN"])
    line.send(b"".join(encode("CLIENT", "CACHING", "YES") + encode("GET", KEYS[i]) +
                       encode("GET", KEYS[i + 1]) for i in range(0, 24, 2)))
    for _ in range(36):
        line.read_reply()
    raw.call("MSET", *[word for key in KEYS for word in (key, 1)])
    assert invalidated(line, 12) == sorted(KEYS[::2])
    expect_nothing(line)


def test_a_refused_command_spends_caching_too(connect, raw):
    line = connect(track=["OPTIN"])
    line.call("CLIENT", "CACHING", "YES")
    assert isinstance(line.call("NOSUCH"), ReplyError)
    line.call("GET", "a")
    raw.call("SET", "a", 1)
    expect_nothing(line)


# --- BCAST ---


def test_bcast_tells_of_all_keys_without_a_read(connect, raw):
    line = connect(track=["BCAST"])
    raw.call("MSET", *[word for key in KEYS for word in (key, 1)])
    assert invalidated(line, len(KEYS)) == sorted(KEYS)
    raw.call("SELECT", 2)
    raw.call("SET", "", 1)
    assert invalidated(line) == [""]


def test_bcast_prefixes_choose(connect, raw):
    line = connect(track=["BCAST", "PREFIX", "a:", "PREFIX", "b:"])
    other = connect(track=["BCAST", "PREFIX", "a"])
    for key in "a:1", "b:1", "c:1", "a", "aa", ":a":
        raw.call("SET", key, 1)
    assert invalidated(line, 2) == ["a:1", "b:1"]
    assert invalidated(other, 3) == ["a", "a:1", "aa"]
    assert line.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "c:") == "OK"
    for key in "a:1", "b:1", "c:1":
        raw.call("SET", key, 1)
    assert invalidated(line, 3) == ["a:1", "b:1", "c:1"]
    assert invalidated(other) == ["a:1"]
    expect_nothing(line, other)


def test_bcast_keys_of_one_shard_come_together(connect, raw):
    line = connect(track=["BCAST"])
    raw.call("MSET", "{t}b", 1, "{t}a", 1, "{t}b", 2)
    assert line.read_reply() == [b"invalidate", [b"{t}a", b"{t}b"]]


def test_bcast_noloop(connect, raw):
    line = connect(track=["BCAST", "NOLOOP"])
    assert line.call("SET", "own", 1) == "OK"
    raw.call("SET", "a", 1)
    assert invalidated(line) == ["a"]
    assert line.call("MSET", "own", 2, "b", 1) == "OK"
    raw.call("SET", "b", 1)
    assert invalidated(line) == ["b"]
    expect_nothing(line)


def test_bcast_does_not_hear_of_what_was_read_before(connect, raw):
    line = connect(track=[])
    line.call("GET", "a")
    line.call("CLIENT", "TRACKING", "OFF")
    line.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b")
    raw.call("SET", "a", 1)
    expect_nothing(line)


def test_prefixes_go_with_their_clients(connect, raw):
    lines = [connect(track=["BCAST", "PREFIX", prefix]) for prefix in ("a", "b", "a", "c", "a")]
    assert stats(raw)["tracking_clients"] == 5
    assert stats(raw)["tracking_total_prefixes"] == 3
    lines[0].close()
    lines[3].close()
    wait_for(raw, clients=3, total_prefixes=2)
    assert lines[1].call("CLIENT", "TRACKING", "OFF") == "OK"
    wait_for(raw, clients=2, total_prefixes=1)
    raw.call("MSET", "a", 1, "b", 1, "c", 1)
    assert invalidated(lines[2]) == invalidated(lines[4]) == ["a"]
    lines[2].close()
    lines[4].close()
    wait_for(raw, clients=0, total_prefixes=0)


# --- Redirection ---


def test_redirected_to_resp3(connect, raw):
    for _ in range(4):
        target = connect()
        line = connect(protocol=2, track=["REDIRECT", target.id])
        assert line.call("CLIENT", "GETREDIR") == target.id
        line.call("MGET", *KEYS)
        raw.call("MSET", *[word for key in KEYS for word in (key, 1)])
        assert invalidated(target, len(KEYS)) == sorted(KEYS)
        raw.call("FLUSHALL")
        assert target.read_reply() == [b"invalidate", None]
        expect_nothing(line, target)


def test_redirected_to_a_subscriber_of_resp2(connect, raw):
    target = connect(protocol=2)
    line = connect(track=["REDIRECT", target.id])
    line.call("GET", "a")
    raw.call("SET", "a", 1)
    expect_nothing(line, target)
    channel = b"__redis__:invalidate"
    assert target.call("SUBSCRIBE", channel) == [b"subscribe", channel, 1]
    line.call("GET", "a")
    raw.call("SET", "a", 2)
    assert target.read_reply() == [b"message", channel, [b"a"]]
    raw.call("FLUSHALL")
    assert target.read_reply() == [b"message", channel, None]
    assert target.call("UNSUBSCRIBE") == [b"unsubscribe", channel, 0]
    line.call("GET", "a")
    raw.call("SET", "a", 3)
    expect_nothing(line, target)


def test_bcast_is_redirected_too(connect, raw):
    target = connect()
    first = connect(protocol=2, track=["BCAST", "PREFIX", "a", "REDIRECT", target.id])
    second = connect(track=["BCAST", "PREFIX", "b", "REDIRECT", target.id])
    raw.call("MSET", "a", 1, "b", 1)
    assert invalidated(target, 2) == ["a", "b"]
    expect_nothing(first, second, target)


def test_a_lost_target_is_told_of(connect, raw):
    for mode in [], ["BCAST"]:
        target = connect()
        line, old = (connect(protocol, [*mode, "REDIRECT", target.id]) for protocol in (3, 2))
        for reader in line, old:
            reader.call("GET", "a")
        target.close()
        time.sleep(SOON)
        raw.call("SET", "a", 1)
        assert line.read_reply() == [BROKEN, target.id]
        info = line.call("CLIENT", "TRACKINGINFO")
        assert b"broken_redirect" in info[b"flags"] and info[b"redirect"] == target.id
        deadline = time.monotonic() + 5
        while b"broken_redirect" not in old.call("CLIENT", "TRACKINGINFO")[1]:
            assert time.monotonic() < deadline
        assert f" flags={'tRB' if mode else 'tR'} " in line.call("CLIENT", "INFO").decode()
        raw.call("FLUSHALL")
        assert line.read_reply() == [BROKEN, target.id]
        assert line.call("CLIENT", "TRACKING", "ON", *mode) == "OK"
        assert b"broken_redirect" not in line.call("CLIENT", "TRACKINGINFO")[b"flags"]
        line.close()
        old.close()


# --- Waiting ---


def test_who_waits_is_told_at_once(connect, raw):
    line = connect(track=[])
    line.call("MGET", *KEYS)
    line.send(encode("BLPOP", "list", 0))
    time.sleep(SOON)
    for key in KEYS:
        raw.call("SET", key, 1)
    assert invalidated(line, len(KEYS)) == sorted(KEYS)
    raw.call("RPUSH", "list", "x")
    assert line.read_reply() == [b"list", b"x"]
    expect_nothing(line)


def test_what_was_read_by_a_wait_is_told(connect, raw):
    line = connect(track=[])
    line.send(encode("XREAD", "BLOCK", 0, "STREAMS", "s", "$"))
    time.sleep(SOON)
    raw.call("XADD", "s", "1-1", "f", "v")
    replies = [line.read_reply()]
    while isinstance(replies[-1], Push):
        replies.append(line.read_reply())
    assert replies[-1] == {b"s": [[b"1-1", [b"f", b"v"]]]}
    assert [b"invalidate", [b"s"]] in replies or line.read_reply() == [b"invalidate", [b"s"]]
    time.sleep(SOON)
    while line.call("PING") != "PONG":
        pass
    raw.call("XADD", "s", "1-2", "f", "v")
    assert invalidated(line) == ["s"]


def test_a_wait_that_ends_empty_leaves_nothing_behind(connect, raw):
    line = connect(track=["BCAST", "PREFIX", "a"])
    line.send(encode("XREAD", "BLOCK", 300, "STREAMS", "s", "$"))
    time.sleep(SOON)
    raw.call("SET", "a", 1)
    assert invalidated(line) == ["a"]
    assert line.read_reply() is None
    line.call("GET", "b")
    expect_nothing(line)


# --- Transactions and scripts ---


def test_reads_in_a_transaction_are_tracked(connect, raw):
    line = connect(track=[])
    line.send(b"".join(encode(*words) for words in (
        ("MULTI",), ("GET", "a"), ("GET", "b"), ("SET", "c", 1), ("EXEC",))))
    assert [line.read_reply() for _ in range(5)][-1] == [None, None, "OK"]
    raw.call("MSET", "a", 1, "b", 1, "c", 1)
    assert invalidated(line, 2) == ["a", "b"]
    expect_nothing(line)


def test_a_transaction_is_answered_before_what_it_invalidates(connect):
    line = connect(track=[])
    for key in "a", "b", "c":
        line.call("GET", key)
    line.send(b"".join(encode(*words) for words in (
        ("MULTI",), ("SET", "a", 1), ("GET", "b"), ("SET", "b", 1), ("FLUSHALL",), ("EXEC",))))
    replies = [line.read_reply() for _ in range(6)]
    assert replies[-1] == ["OK", None, "OK", "OK"]
    told = [line.read_reply() for _ in range(3)]
    assert sorted(told, key=str) == [
        [b"invalidate", None], [b"invalidate", [b"a"]], [b"invalidate", [b"b"]]] or \
        all(push[0] == b"invalidate" for push in told)
    expect_nothing(line)


def test_caching_holds_for_the_whole_transaction(connect, raw):
    line = connect(track=["OPTIN"])

    def run(*inner):
        assert line.call("MULTI") == "OK"
        for words in inner:
            assert line.call(*words) == "QUEUED"
        return line.call("EXEC")

    line.call("CLIENT", "CACHING", "YES")
    run(("GET", "a"), ("GET", "b"), ("MGET", "c", "d"))
    line.call("GET", "e")
    run(("GET", "f"), ("CLIENT", "CACHING", "YES"), ("GET", "g"))
    line.call("GET", "h")
    raw.call("MSET", *[word for key in "abcdefgh" for word in (key, 1)])
    assert invalidated(line, 5) == ["a", "b", "c", "d", "g"]
    expect_nothing(line)


def test_tracking_can_be_turned_on_within_a_transaction(connect, raw):
    line = connect()
    target = connect()
    for mode in ["REDIRECT", target.id], ["REDIRECT", target.id, "BCAST"]:
        line.call("MULTI")
        line.call("GET", "a")
        line.call("CLIENT", "TRACKING", "ON", *mode)
        line.call("GET", "b")
        assert line.call("EXEC") == [None, "OK", None]
        raw.call("MSET", "a", 1, "b", 1)
        assert invalidated(target, 1 + ("BCAST" in mode))[-1] == "b"
        raw.call("DEL", "a", "b")
        if "BCAST" in mode:
            invalidated(target, 2)
        line.call("CLIENT", "TRACKING", "OFF")
    expect_nothing(line, target)


def test_what_scripts_read_is_tracked(connect, raw):
    line = connect(track=[])
    for script in "redis.call('get', KEYS[2])", "redis.call('get', 'b')":
        line.call("EVAL", script, 2, "a", "b")
        line.call("EVAL_RO", script, 2, "a", "b")
        line.call("EVAL", "redis.call('set', KEYS[1], 1)", 2, "c", "d")
        line.call("EVAL_RO", "return 1", 2, "e", "f")
        raw.call("MSET", *[word for key in "abcdef" for word in (key, 1)])
        assert invalidated(line) == ["b"]
        expect_nothing(line)


def test_what_scripts_change_is_told_behind_their_reply(connect):
    line = connect(track=[])
    noloop = connect(track=["NOLOOP"])
    script = "for _, key in ipairs(KEYS) do redis.call('set', key, 1) end return 'done'"
    for _ in range(3):
        line.call("MGET", *KEYS)
        noloop.call("MGET", *KEYS)
        assert line.call("EVAL", script, len(KEYS), *KEYS) == b"done"
        assert invalidated(line, len(KEYS)) == sorted(KEYS)
        assert invalidated(noloop, len(KEYS)) == sorted(KEYS)
        noloop.call("MGET", *KEYS)
        assert noloop.call("EVAL", script, len(KEYS), *KEYS) == b"done"
    expect_nothing(line, noloop)


# --- Errors and reports ---


def test_prefixes_of_one_client_must_not_overlap(connect):
    line = connect()

    def refused(*prefixes):
        words = [word for prefix in prefixes for word in ("PREFIX", prefix)]
        return line.call("CLIENT", "TRACKING", "ON", "BCAST", *words)

    rest = "Prefixes for a single client must not overlap."
    assert refused("FOOBAR", "FOO") == ReplyError(
        f"ERR Prefix 'FOOBAR' overlaps with another provided prefix 'FOO'. {rest}")
    assert refused("A", "FOO", "FOO") == ReplyError(
        f"ERR Prefix 'FOO' overlaps with another provided prefix 'FOO'. {rest}")
    assert line.call("CLIENT", "TRACKINGINFO")[b"flags"] == {b"off"}
    assert refused("FOO", "BAR") == "OK"
    assert refused("FO") == ReplyError(
        f"ERR Prefix 'FO' overlaps with an existing prefix 'FOO'. {rest}")
    assert refused("BARB") == ReplyError(
        f"ERR Prefix 'BARB' overlaps with an existing prefix 'BAR'. {rest}")
    assert line.call("CLIENT", "TRACKINGINFO") == {
        b"flags": {b"on", b"bcast"}, b"redirect": 0, b"prefixes": [b"BAR", b"FOO"]}


def test_a_target_must_be_there(connect):
    line, gone = connect(), connect()
    gone.close()
    time.sleep(SOON)
    for target in gone.id, 0, -1, 10**15:
        assert line.call("CLIENT", "TRACKING", "ON", "REDIRECT", target) == ReplyError(
            "ERR The client ID you want redirect to does not exist")
    other = connect()
    assert line.call("CLIENT", "TRACKING", "ON", "REDIRECT", other.id, "REDIRECT", other.id) == \
        ReplyError("ERR A client can only redirect to a single other client")


def test_client_list_tells_how_it_tracks(connect, raw):
    target = connect()
    lines = [connect(), connect(track=[]), connect(track=["BCAST"]),
             connect(track=["REDIRECT", target.id])]
    wanted = [("N", -1), ("t", 0), ("tB", 0), ("t", target.id)]
    for line, (flags, redirect) in zip(lines, wanted):
        text = raw.call("CLIENT", "LIST", "ID", line.id).decode()
        assert f" flags={flags} " in text and f" redir={redirect} " in text


def test_unblock_and_kill_find_a_client_by_its_id(connect, raw):
    lines = [connect() for _ in range(9)]
    for line in lines:
        line.send(encode("BLPOP", "nothing", 0))
    time.sleep(SOON)
    for line in lines[:-1]:
        assert raw.call("CLIENT", "UNBLOCK", line.id) == 1
        assert line.read_reply() is None
        assert raw.call("CLIENT", "UNBLOCK", line.id) == 0
    for line in lines:
        assert raw.call("CLIENT", "KILL", "ID", line.id) == 1
        with pytest.raises(Closed):
            line.read_reply()
    time.sleep(SOON)
    assert raw.call("CLIENT", "KILL", "ID", lines[0].id) == 0


# --- The limit ---


def test_above_the_limit_keys_are_forgotten_and_told(connect, raw):
    line, count = connect(track=[]), 400
    for i in range(count):
        line.call("GET", f"many:{i}")
    assert stats(raw)["tracking_total_keys"] == count
    assert stats(raw)["tracking_total_items"] == count
    try:
        raw.call("CONFIG", "SET", "tracking-table-max-keys", 100)
        told = set(invalidated(line, count - 100))
        assert len(told) == count - 100
        wait_for(raw, total_keys=100, total_items=100)
        raw.call("MSET", *[word for i in range(count) for word in (f"many:{i}", 1)])
        told |= set(invalidated(line, 100))
        assert len(told) == count
        expect_nothing(line)
    finally:
        raw.call("CONFIG", "SET", "tracking-table-max-keys", 1000000)


def test_a_lower_limit_is_told_of_before_it_is_confirmed(connect, raw):
    line = connect(track=[])
    raw.call("DEBUG", "PAUSE-CRON", 1)
    try:
        line.call("MGET", *KEYS)
        line.call("MULTI")
        raw.call("CONFIG", "SET", "tracking-table-max-keys", 1)
        replies, keys = [], []
        for request in "PING", "EXEC":  # the first may pass what is on its way to its core
            line.send(encode(request))
            while isinstance(reply := line.read_reply(), Push):
                keys += reply[1]
            replies.append(reply)
        assert replies == ["QUEUED", ["PONG"]]
        assert len(keys) == len(set(keys)) == len(KEYS) - 1
    finally:
        raw.call("CONFIG", "SET", "tracking-table-max-keys", 1000000)
        raw.call("DEBUG", "PAUSE-CRON", 0)


def test_a_reader_of_many_keys_keeps_near_the_limit(connect, raw):
    line = connect(track=["BCAST", "PREFIX", "no"])
    line.call("CLIENT", "TRACKING", "OFF")
    line.call("CLIENT", "TRACKING", "ON")
    try:
        raw.call("CONFIG", "SET", "tracking-table-max-keys", 50)
        for start in range(0, 2000, 100):
            line.send(encode("MGET", *[f"many:{i}" for i in range(start, start + 100)]))
        replies = told = 0
        while replies < 20 or told < 1950:
            reply = line.read_reply()
            if isinstance(reply, Push):
                told += 1
            else:
                replies += 1
        wait_for(raw, total_keys=50)
    finally:
        raw.call("CONFIG", "SET", "tracking-table-max-keys", 1000000)
