"""Pub/Sub over all cores: who gets what, how often, in what order, and what a slow reader costs."""

import select
import socket
import threading
import time

import pytest

from harness import Closed, Push, ReplyError, encode

MANY = 12  # connections: on several cores where there are several


def subscribe(raw, *names, word="SUBSCRIBE"):
    """Subscribes and reads the replies; returns the last count."""
    raw.send(encode(word, *names))
    replies = [raw.read_reply() for _ in names]
    assert [r[:2] for r in replies] == [[word.lower().encode(), n.encode()] for n in names]
    return replies[-1][2]


def nothing_waits(raw):
    """True where no byte has come that was not read."""
    return raw.at == len(raw.received) and not select.select([raw.socket], [], [], 0.05)[0]


def fields(line):
    return dict(field.split("=", 1) for field in line.strip().split(" "))


def info(raw, name):
    for line in raw.call("INFO", "stats").decode().split("\r\n"):
        if line.startswith(name + ":"):
            return int(line.split(":")[1])
    raise AssertionError(name)


@pytest.fixture
def many(server):
    made = [server.raw() for _ in range(MANY)]
    yield made
    for r in made:
        r.close()


# Who gets what.

def test_every_subscriber_gets_a_message_once_and_publish_counts_them(raw, many):
    for r in many:
        assert subscribe(r, "news", "other") == 2
    assert raw.call("PUBLISH", "news", "hello") == MANY
    assert raw.call("PUBLISH", "nobody", "hello") == 0
    for r in many:
        assert r.read_reply() == [b"message", b"news", b"hello"]
        assert nothing_waits(r)


def test_patterns_bring_the_channel_along_and_count_apart(raw, many):
    for r in many:
        subscribe(r, "news")
        assert subscribe(r, "n*", "*s", "x*", word="PSUBSCRIBE") == 4
    assert raw.call("PUBLISH", "news", "hello") == 3 * MANY
    for r in many:
        got = sorted(map(tuple, (r.read_reply() for _ in range(3))))
        assert got == [(b"message", b"news", b"hello"), (b"pmessage", b"*s", b"news", b"hello"),
                       (b"pmessage", b"n*", b"news", b"hello")]
        assert nothing_waits(r)


def test_shard_channels_are_apart_from_channels_and_patterns(raw, many):
    for r in many:
        subscribe(r, "c")
        subscribe(r, "*", word="PSUBSCRIBE")
        assert subscribe(r, "c", word="SSUBSCRIBE") == 1
    assert raw.call("SPUBLISH", "c", "shard") == MANY
    assert raw.call("PUBLISH", "c", "all") == 2 * MANY
    for r in many:
        assert r.read_reply() == [b"smessage", b"c", b"shard"]
        assert r.read_reply() == [b"message", b"c", b"all"]
        assert r.read_reply() == [b"pmessage", b"*", b"c", b"all"]


def test_names_and_messages_are_binary(raw, server):
    name, text = bytes(range(256)), b"\r\n$5\r\n\0" * 10
    with server.raw() as r:
        r.send(encode("SUBSCRIBE", name, b""))
        assert r.read_reply() == [b"subscribe", name, 1]
        assert r.read_reply() == [b"subscribe", b"", 2]
        assert raw.call("PUBLISH", name, text) == 1
        assert raw.call("PUBLISH", b"", b"") == 1
        assert r.read_reply() == [b"message", name, text]
        assert r.read_reply() == [b"message", b"", b""]


def test_unsubscribed_and_closed_ones_get_nothing(raw, many):
    for r in many:
        subscribe(r, "c")
    for r in many[:4]:
        assert r.call("UNSUBSCRIBE", "c") == [b"unsubscribe", b"c", 0]
    assert raw.call("PUBLISH", "c", "1") == MANY - 4
    for r in many[4:8]:
        r.close()
    deadline = time.monotonic() + 5
    while raw.call("PUBSUB", "NUMSUB", "c") != [b"c", MANY - 8]:
        assert time.monotonic() < deadline
    assert raw.call("PUBLISH", "c", "2") == MANY - 8
    assert all(nothing_waits(r) for r in many[:4])
    for r in many[8:]:
        assert r.read_reply() == [b"message", b"c", b"1"]
        assert r.read_reply() == [b"message", b"c", b"2"]


def test_unsubscribing_from_all_names_each(server):
    with server.raw() as r:
        subscribe(r, "a", "b", "c")
        subscribe(r, "p*", word="PSUBSCRIBE")
        r.send(encode("UNSUBSCRIBE"))
        got = [r.read_reply() for _ in range(3)]
        assert sorted(g[1] for g in got) == [b"a", b"b", b"c"]
        assert [g[2] for g in got] == [3, 2, 1]
        assert r.call("UNSUBSCRIBE") == [b"unsubscribe", None, 1]
        assert r.call("PUNSUBSCRIBE") == [b"punsubscribe", b"p*", 0]
        assert r.call("GET", "k") is None


def test_thousands_of_channels_of_one_client(raw, server):
    names = [f"channel:{i}" for i in range(5000)]
    with server.raw() as r:
        assert subscribe(r, *names) == 5000
        assert raw.call("PUBLISH", names[4321], "x") == 1
        assert r.read_reply() == [b"message", names[4321].encode(), b"x"]
        assert len(raw.call("PUBSUB", "CHANNELS")) == 5000
        assert info(raw, "pubsub_channels") == 5000
        r.send(encode("UNSUBSCRIBE"))
        assert [r.read_reply()[2] for _ in names] == list(range(4999, -1, -1))
    assert raw.call("PUBSUB", "CHANNELS") == []


# What the server says of it.

def test_what_several_cores_have_counts_once(raw, many):
    for i, r in enumerate(many):
        subscribe(r, "same", f"own:{i}")
        subscribe(r, "p*", f"q{i % 2}*", word="PSUBSCRIBE")
        subscribe(r, "same", word="SSUBSCRIBE")
    assert sorted(raw.call("PUBSUB", "CHANNELS")) == sorted(
        [b"same"] + [b"own:%d" % i for i in range(MANY)])
    assert sorted(raw.call("PUBSUB", "CHANNELS", "own:1*")) == [b"own:1", b"own:10", b"own:11"]
    assert raw.call("PUBSUB", "NUMSUB", "same", "own:3", "none", "same") == [
        b"same", MANY, b"own:3", 1, b"none", 0, b"same", MANY]
    assert raw.call("PUBSUB", "NUMPAT") == 3
    assert raw.call("PUBSUB", "SHARDCHANNELS") == [b"same"]
    assert raw.call("PUBSUB", "SHARDNUMSUB", "same", "own:1") == [b"same", MANY, b"own:1", 0]
    assert info(raw, "pubsub_channels") == MANY + 1
    assert info(raw, "pubsub_patterns") == 3
    assert info(raw, "pubsubshard_channels") == 1


def test_help_names_the_subcommands(raw):
    lines = raw.call("PUBSUB", "HELP")
    assert lines[0].startswith("PUBSUB <subcommand>")
    assert [line.split(" ")[0] for line in lines[1:] if not line.startswith(" ")] == [
        "CHANNELS", "NUMPAT", "NUMSUB", "SHARDCHANNELS", "SHARDNUMSUB", "HELP"]


def test_client_list_shows_subscriptions(raw, server):
    with server.raw() as r:
        subscribe(r, "a", "b")
        subscribe(r, "p*", word="PSUBSCRIBE")
        subscribe(r, "s", "t", "u", word="SSUBSCRIBE")
        lines = raw.call("CLIENT", "LIST", "TYPE", "pubsub").decode().splitlines()
        assert len(lines) == 1
        line = fields(lines[0])
        assert (line["flags"], line["sub"], line["psub"], line["ssub"]) == ("P", "2", "1", "3")
        normal = raw.call("CLIENT", "LIST", "TYPE", "normal").decode().splitlines()
        assert len(normal) == 1 and fields(normal[0])["flags"] == "N"


def test_client_kill_by_type_spares_the_others(raw, many):
    for r in many[:5]:
        subscribe(r, "c")
    assert raw.call("CLIENT", "KILL", "TYPE", "pubsub") == 5
    for r in many[:5]:
        r.expect_closed()
    assert all(r.call("PING") == "PONG" for r in many[5:])
    assert raw.call("PUBLISH", "c", "x") == 0


# The state of a subscribed client.

def test_a_subscribed_resp2_client_has_few_commands(server):
    with server.raw() as r:
        subscribe(r, "c")
        assert r.call("GET", "k") == ReplyError(
            "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
            "RESET are allowed in this context")
        assert r.call("HELLO", 3).startswith("ERR Can't execute 'hello'")
        assert r.call("PING") == [b"pong", b""]
        assert r.call("PING", "x") == [b"pong", b"x"]
        assert r.call("RESET") == "RESET"
        assert r.call("PING") == "PONG"
        subscribe(r, "c", word="SSUBSCRIBE")
        assert r.call("CLIENT", "ID").startswith("ERR Can't execute 'client|id'")
        r.call("SUNSUBSCRIBE")
        assert isinstance(r.call("CLIENT", "ID"), int)
        subscribe(r, "c")
        assert r.call("QUIT") == "OK"
        r.expect_closed()


def test_a_subscribed_resp3_client_has_all_of_them(raw, server):
    with server.raw() as r:
        r.call("HELLO", 3)
        subscribe(r, "c")
        subscribe(r, "c*", word="PSUBSCRIBE")
        assert r.call("SET", "k", "v") == "OK"
        assert r.call("PING") == "PONG"
        assert raw.call("PUBLISH", "c", "x") == 2
        got = r.read_reply()
        assert isinstance(got, Push) and got == [b"message", b"c", b"x"]
        got = r.read_reply()
        assert isinstance(got, Push) and got == [b"pmessage", b"c*", b"c", b"x"]
        assert r.call("GET", "k") == b"v"
        r.call("HELLO", 2)
        assert r.call("GET", "k").startswith("ERR Can't execute 'get'")
        assert raw.call("PUBLISH", "c", "y") == 2
        got = r.read_reply()
        assert not isinstance(got, Push) and got == [b"message", b"c", b"y"]


def test_a_message_to_oneself_comes_behind_the_reply(raw, many):
    me = many[0]
    me.call("HELLO", 3)
    for r in many:
        subscribe(r, "c", "d")
    for i in range(50):
        assert me.call("PUBLISH", "c", i) == MANY
        assert me.read_reply() == [b"message", b"c", b"%d" % i]
    me.send(b"".join(encode("PUBLISH", "cd"[i % 2], i) + encode("SET", f"k{i}", i)
                     for i in range(100)))
    replies, pushes = [], []
    while len(replies) < 200 or len(pushes) < 100:
        got = me.read_reply()
        (pushes if isinstance(got, Push) else replies).append(got)
    assert replies == [MANY, "OK"] * 100
    assert [int(p[2]) for p in pushes] == list(range(100))


def test_both_protocols_get_the_same_run_of_messages(raw, many):
    for i, r in enumerate(many):
        r.call("HELLO", 2 + i % 2)
        subscribe(r, "c")
    texts = [b"x" * (i * 37 % 300) for i in range(400)] + [b"y" * 100_000, b"z" * 5000, b"end"]
    raw.send(b"".join(encode("PUBLISH", "c", t) for t in texts))
    assert [raw.read_reply() for _ in texts] == [MANY] * len(texts)
    for i, r in enumerate(many):
        for text in texts:
            got = r.read_reply()
            assert isinstance(got, Push) == (i % 2 == 1)
            assert got == [b"message", b"c", text]


# Transactions.

def test_a_transaction_may_open_behind_the_last_unsubscribe(server):
    with server.raw() as r:
        subscribe(r, "c")
        r.send(encode("UNSUBSCRIBE") + encode("MULTI") + encode("PING") + encode("EXEC"))
        assert [r.read_reply() for _ in range(4)] == [
            [b"unsubscribe", b"c", 0], "OK", "QUEUED", ["PONG"]]
        r.send(encode("SUBSCRIBE", "c") + encode("MULTI"))
        assert r.read_reply() == [b"subscribe", b"c", 1]
        assert r.read_reply().startswith("ERR Can't execute 'multi'")


@pytest.mark.parametrize("keys", [[], ["a"], ["a", "b", "c", "d", "e"]])
def test_subscribing_within_a_transaction_replies_within_exec(server, raw, keys):
    """Whatever shards it needs, messages of its own come behind its reply."""
    with server.raw() as r:
        r.call("HELLO", 3)
        for i in range(5):
            commands = [("MULTI",), ("SUBSCRIBE", "c", "d"), ("PUBLISH", "c", "1"),
                        *(("SET", key, "v") for key in keys), ("PUBLISH", "d", "2"),
                        ("UNSUBSCRIBE", "c"), ("PUBLISH", "c", "3"), ("SSUBSCRIBE", "s"),
                        ("EXEC",)]
            r.send(b"".join(encode(*c) for c in commands))
            assert [r.read_reply() for _ in commands[:-1]] == ["OK"] + ["QUEUED"] * (
                len(commands) - 2)
            # SUBSCRIBE has two replies, and counts as one command.
            assert r._line() == b"*%d" % (len(commands) - 2)
            got = [r.read_reply() for _ in range(len(commands) - 1)]
            assert got == [[b"subscribe", b"c", 1 + (i > 0)], [b"subscribe", b"d", 2], 1,
                           *["OK"] * len(keys), 1, [b"unsubscribe", b"c", 1], 0,
                           ReplyError("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client")]
            assert r.read_reply() == [b"message", b"c", b"1"]
            assert r.read_reply() == [b"message", b"d", b"2"]
        assert raw.call("PUBLISH", "d", "4") == 1
        assert r.read_reply() == [b"message", b"d", b"4"]


def test_what_a_transaction_publishes_goes_to_all(raw, many):
    for r in many:
        subscribe(r, "c")
        subscribe(r, "c*", word="PSUBSCRIBE")
    for key in ("a", "b", "c"):
        commands = [("MULTI",), ("SET", key, "1"), ("PUBLISH", "c", "x"), ("PUBLISH", "c1", "y"),
                    ("EXEC",)]
        raw.send(b"".join(encode(*c) for c in commands))
        assert [raw.read_reply() for _ in commands][-1] == ["OK", 2 * MANY, MANY]
        for r in many:
            assert r.read_reply() == [b"message", b"c", b"x"]
            assert r.read_reply() == [b"pmessage", b"c*", b"c", b"x"]
            assert r.read_reply() == [b"pmessage", b"c*", b"c1", b"y"]


def test_client_reply_off_leaves_pushes(raw, server):
    with server.raw() as r:
        r.call("HELLO", 3)
        r.send(encode("CLIENT", "REPLY", "OFF") + encode("SET", "k", "v"))
        subscribe(r, "c")
        r.send(encode("GET", "k"))
        assert raw.call("PUBLISH", "c", "x") == 1
        assert r.read_reply() == [b"message", b"c", b"x"]
        assert r.call("UNSUBSCRIBE", "c") == [b"unsubscribe", b"c", 0]
        assert r.call("CLIENT", "REPLY", "ON") == "OK"


def test_authentication_comes_first(fresh_server):
    server = fresh_server("--requirepass", "secret")
    with server.raw() as r:
        assert r.call("SUBSCRIBE", "c") == ReplyError("NOAUTH Authentication required.")
        assert r.call("PUBLISH", "c", "x") == ReplyError("NOAUTH Authentication required.")
        assert r.call("AUTH", "secret") == "OK"
        subscribe(r, "c")
        assert r.call("RESET") == "RESET"
        assert r.call("SUBSCRIBE", "c") == ReplyError("NOAUTH Authentication required.")


def test_the_idle_timeout_spares_subscribers(fresh_server):
    server = fresh_server("--timeout", 1)
    with server.raw() as r, server.raw() as idle, server.raw() as other:
        subscribe(r, "c")
        idle.call("PING")
        for _ in range(8):
            time.sleep(0.5)
            other.call("PING")
        idle.expect_closed()
        assert other.call("PUBLISH", "c", "x") == 1
        assert r.read_reply() == [b"message", b"c", b"x"]


# Slow readers.

def slow_subscriber(server, name):
    """A subscriber whose socket takes next to nothing."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", server.port))
    s.sendall(encode("SUBSCRIBE", name))
    assert s.recv(100)
    return s


@pytest.mark.parametrize("limit", ["pubsub 1mb 0 0", "pubsub 0 200kb 1"])
@pytest.mark.parametrize("size", [100, 2000, 50_000])
def test_a_slow_subscriber_is_cut_and_holds_up_nobody(fresh_server, limit, size):
    server = fresh_server("--client-output-buffer-limit", *limit.split(" "))
    text = b"x" * size
    with server.raw() as fast, server.raw() as r, slow_subscriber(server, "c"):
        subscribe(fast, "c")
        deadline = time.monotonic() + 30
        while r.call("PUBLISH", "c", text) == 2:
            assert fast.read_reply() == [b"message", b"c", text]
            batch = max(1, 100_000 // size)
            r.send(encode("PUBLISH", "c", text) * batch)
            for _ in range(batch):
                r.read_reply()
                assert fast.read_reply() == [b"message", b"c", text]
            time.sleep(0.02)
            assert time.monotonic() < deadline, "the slow subscriber is still there"
        assert fast.read_reply() == [b"message", b"c", text]
        stats = r.call("INFO", "stats").decode()
        assert "client_output_buffer_limit_disconnections:1\r\n" in stats


def test_what_waits_for_a_slow_subscriber_is_counted(raw, server):
    with slow_subscriber(server, "c"):
        for _ in range(20):
            raw.call("PUBLISH", "c", b"x" * 200_000)
        line = fields(raw.call("CLIENT", "LIST", "TYPE", "pubsub").decode())
        assert 1_000_000 < int(line["omem"]) < 5_000_000
        assert raw.call("CLIENT", "KILL", "TYPE", "pubsub") == 1


# Promises under load.

class Listener(threading.Thread):
    """Reads messages until told that no more come."""

    def __init__(self, server, *names):
        super().__init__(daemon=True)
        self.raw = server.raw()
        self.got = []
        subscribe(self.raw, *names)
        self.start()

    def run(self):
        while True:
            try:
                _, channel, text = self.raw.read_reply()
            except (Closed, OSError):
                return
            if text == b"end":
                return
            self.got.append((channel, text))


def publish_many(server, number, names, count, depth, sums):
    with server.raw() as r:
        total = 0
        for at in range(0, count, depth):
            r.send(b"".join(
                encode("PUBLISH", names[(number + i) % len(names)], f"{number}:{i}")
                + encode("INCR", f"count:{number}:{i % 5}") for i in range(at, at + depth)))
            for _ in range(depth):
                total += r.read_reply()
                r.read_reply()
        sums[number] = total


@pytest.mark.parametrize("depth", [1, 10])
def test_all_subscribers_see_one_order_and_the_exact_number(server, raw, depth):
    names = ["one", "two", "three", "four"]
    count = 300
    listeners = [Listener(server, *(names if i % 2 else names[:2])) for i in range(10)]
    sums = {}
    publishers = [threading.Thread(target=publish_many,
                                   args=(server, n, names, count, depth, sums)) for n in range(5)]
    for p in publishers:
        p.start()
    for p in publishers:
        p.join()
    for name in names[:1]:
        assert raw.call("PUBLISH", name, "end") == len(listeners)
    for x in listeners:
        x.join(30)
        assert not x.is_alive()
        x.raw.close()
    assert sum(sums.values()) == sum(len(x.got) for x in listeners)
    for x in listeners[1:]:
        # Of the channels that both have, all is the same and in the same order, channel by channel.
        for name in names[:2]:
            mine = [t for c, t in x.got if c == name.encode()]
            assert mine == [t for c, t in listeners[0].got if c == name.encode()]
    for x in listeners:
        for n in range(5):
            of_one = [int(t.split(b":")[1]) for _, t in x.got if t.startswith(b"%d:" % n)]
            assert of_one == sorted(of_one)
    assert all(len(x.got) == 5 * count for x in listeners[1::2])


def test_a_subscription_holds_from_its_reply_to_the_next(server):
    """Others come and go all the time; each sees all that was published in between, and no more."""
    stop = time.monotonic() + 2
    failures, rounds = [], []

    def come_and_go(number):
        with server.raw() as mine, server.raw() as publisher:
            done = 0
            name = f"c{number % 3}"
            while time.monotonic() < stop:
                subscribe(mine, name)
                least = publisher.call("PUBLISH", name, f"{number}")
                mine.send(encode("UNSUBSCRIBE", name))
                got = []
                while True:
                    reply = mine.read_reply()
                    if reply[0] == b"unsubscribe":
                        break
                    got.append(reply[2])
                if least < 1 or got.count(b"%d" % number) != 1:
                    failures.append((number, least, got))
                done += 1
                if mine.call("PING") != "PONG":
                    failures.append("a message after UNSUBSCRIBE")
            rounds.append(done)

    threads = [threading.Thread(target=come_and_go, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert len(rounds) == 8 and min(rounds) > 5


def test_what_is_sent_behind_the_last_unsubscribe_reaches_its_own_shard(server):
    keys = [f"behind:{i}" for i in range(16)]
    for leave in (encode("UNSUBSCRIBE", "a"), encode("RESET")):
        for key in keys:
            with server.raw() as r:
                assert r.call("SUBSCRIBE", "a") == [b"subscribe", b"a", 1]
                r.send(leave + encode("SET", key, "x") + encode("SCAN", 0))
                r.read_reply()
                assert r.read_reply() == "OK"
                assert isinstance(r.read_reply(), list)
        with server.raw() as r:
            assert r.call("MGET", *keys) == [b"x"] * len(keys)
            r.call("FLUSHALL")


# Cores that sleep: others send for them.

def test_messages_one_at_a_time_reach_sleeping_cores_in_order(server, many):
    readers, writers = many[:2], many[2:]
    for r in readers:
        subscribe(r, "c")
        r.call("PING")
    for i in range(300):
        assert writers[i % len(writers)].call("PUBLISH", "c", "%d" % i) == len(readers)
    for r in readers:
        for i in range(300):
            assert r.read_reply() == [b"message", b"c", b"%d" % i]
        assert nothing_waits(r)


def test_messages_larger_than_the_socket_takes_arrive_whole_and_in_order(server, many):
    slow, writers = many[0], many[1:]
    subscribe(slow, "c")
    count, size = 60, 300_000
    for i in range(count):
        text = b"%03d" % i * (size // 3) if i % 2 else b"%03d" % i
        assert writers[i % len(writers)].call("PUBLISH", "c", text) == 1
    for i in range(count):
        text = b"%03d" % i * (size // 3) if i % 2 else b"%03d" % i
        assert slow.read_reply() == [b"message", b"c", text]
    assert nothing_waits(slow)


def test_a_reader_that_has_gone_costs_others_nothing(server, many):
    for r in many[:4]:
        subscribe(r, "c")
    many[0].socket.close()
    for i in range(20):
        assert many[4 + i % 8].call("PUBLISH", "c", "%d" % i) in (3, 4)
    for r in many[1:4]:
        assert [r.read_reply()[2] for _ in range(20)] == [b"%d" % i for i in range(20)]
