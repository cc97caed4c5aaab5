"""Keyspace notifications, as their subscribers see them. Which command notifies of what is in
test/shard/notify_cases.h, and compare.py --events holds all of them against Redis; here is what
takes a server: channels, the option, one order for all, expiry, transactions, waiting clients."""

import threading
import time

import pytest

import harness
from harness import ReplyError, encode

MARK = b"__keyevent@0__:mark"


class Listener:
    """A subscriber to all notifications."""

    def __init__(self, server, *patterns):
        self.server = server
        self.raw = server.raw()
        for pattern in patterns or ("__key*@*__:*",):
            self.raw.call("PSUBSCRIBE", pattern)
        self.marks = 0

    def take(self):
        """All that came so far: what was published before the mark that is sent now."""
        self.marks += 1
        with self.server.raw() as r:
            r.call("PUBLISH", MARK, self.marks)
        return self.until_mark()

    def until_mark(self):
        messages = []
        while True:
            _, _, channel, message = self.raw.read_reply()
            if channel == MARK:
                return messages
            messages.append((channel.decode(), message.decode()))

    def events(self):
        """The same as "event key", of the keyevent channels of database 0."""
        prefix = "__keyevent@0__:"
        return [f"{channel[len(prefix):]} {message}" for channel, message in self.take()
                if channel.startswith(prefix)]

    def wait_for(self, channel, message, seconds=10):
        deadline = time.monotonic() + seconds
        seen = []
        while (channel, message) not in seen:
            assert time.monotonic() < deadline, f"{channel} {message} never came: {seen}"
            seen += self.take()
            time.sleep(0.01)
        return seen


@pytest.fixture
def listen(server):
    made = []

    def make(classes="KEA", *patterns):
        with server.raw() as r:
            assert r.call("CONFIG", "SET", "notify-keyspace-events", classes) == "OK"
        made.append(Listener(server, *patterns))
        return made[-1]

    yield make
    for listener in made:
        listener.raw.close()
    with server.raw() as r:
        assert r.call("CONFIG", "SET", "notify-keyspace-events", "") == "OK"


def some_keys(count):
    """Of which some are on each shard, where there are many."""
    return [f"key:{i}" for i in range(count)]


def test_an_event_goes_to_the_channel_of_its_key_and_to_that_of_its_name(listen, raw):
    listener = listen("KEA")
    raw.call("SET", "a:b", "v")
    assert listener.take() == [("__keyspace@0__:a:b", "set"), ("__keyevent@0__:set", "a:b")]


@pytest.mark.parametrize("classes,channels", [
    ("KA", ["__keyspace@0__:k"]),
    ("EA", ["__keyevent@0__:set"]),
    ("K$", ["__keyspace@0__:k"]),
    ("KEgl", []),
    ("A", []),
    ("KE", []),
    ("", []),
])
def test_what_is_not_asked_for_is_not_published(listen, raw, classes, channels):
    listener = listen(classes)
    raw.call("SET", "k", "v")
    assert [channel for channel, _ in listener.take()] == channels


def test_the_option_in_redis_form(server, listen, raw):
    def get():
        return raw.call("CONFIG", "GET", "notify-keyspace-events")[1]

    assert get() == b""
    for given, shown in [("KEA", b"AKE"), ("g$lshzxetd", b"A"), ("EK", b"KE"), ("xE", b"xE"),
                         ("AKEmn", b"AKEm"), ("nK", b"nK"), ("dtexzhsl$gm", b"Am"),
                         ("mKl$g", b"g$lKm"), ("KKK", b"K"), ("", b"")]:
        assert raw.call("CONFIG", "SET", "notify-keyspace-events", given) == "OK"
        assert get() == shown, given
    raw.call("CONFIG", "SET", "notify-keyspace-events", "Ex")
    assert raw.call("CONFIG", "SET", "notify-keyspace-events", "KEq") == ReplyError(
        "ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid "
        "event class character. Use 'Ag$lshzxeKEtmdn'.")
    assert get() == b"xE"
    raw.call("CONFIG", "SET", "notify-keyspace-events", "")


def test_the_option_at_the_start(fresh_server):
    server = fresh_server("--notify-keyspace-events", "Kl")
    listener = Listener(server)
    with server.raw() as r:
        r.call("RPUSH", "l", "x")
        r.call("SET", "k", "v")
    assert listener.take() == [("__keyspace@0__:l", "rpush")]
    listener.raw.close()
    status, output = harness.run_to_end("--notify-keyspace-events", "KEy")
    assert status == 1 and "notify-keyspace-events 'KEy'" in output


def test_the_database_is_in_the_channel(listen, raw):
    listener = listen("KEA", "__key*@5__:*", MARK.decode())
    raw.call("SET", "k", "v")
    raw.call("SELECT", "5")
    raw.call("SET", "k", "v")
    raw.call("MOVE", "k", "7")
    assert listener.take() == [
        ("__keyspace@5__:k", "set"), ("__keyevent@5__:set", "k"),
        ("__keyspace@5__:k", "move_from"), ("__keyevent@5__:move_from", "k")]


def test_commands_of_one_client_are_told_of_in_their_order(server, listen, raw):
    listener = listen("EA")
    expected = []
    for i, key in enumerate(some_keys(40)):
        raw.call("SET", key, i)
        raw.call("EXPIRE", key, 100)
        raw.call("APPEND", key, "x")
        raw.call("DEL", key)
        expected += [f"set {key}", f"expire {key}", f"append {key}", f"del {key}"]
    assert listener.events() == expected


def test_events_of_two_keys_stay_in_order(server, listen, raw):
    listener = listen("EAn")
    for i in range(20):
        a, b = f"a:{i}", f"b:{i}"
        raw.call("RPUSH", a, "x")
        raw.call("LMOVE", a, b, "LEFT", "RIGHT")
        raw.call("RENAME", b, a)
        raw.call("COPY", a, b)
        raw.call("SORT", a, "ALPHA", "STORE", b)
        assert listener.events() == [
            f"new {a}", f"rpush {a}", f"new {b}", f"rpush {b}", f"lpop {a}", f"del {a}",
            f"new {a}", f"rename_from {b}", f"rename_to {a}", f"new {b}", f"copy_to {b}",
            f"sortstore {b}"]


def test_a_reply_is_given_after_its_event_has_its_place(server, listen):
    """Whoever knows of a change finds that its event is before all that he causes then."""
    listener = listen("E$")
    clients = [server.raw() for _ in range(6)]
    expected = []
    for i in range(300):
        key = f"key:{i % 17}"
        clients[i % 6].call("SET", key, i)
        clients[(i + 1) % 6].call("PUBLISH", "__keyevent@0__:own", i)
        expected += [f"set {key}", f"own {i}"]
    assert listener.events() == expected
    for client in clients:
        client.close()


def test_all_subscribers_see_one_order(server, listen):
    first = listen("KEA")
    listeners = [first] + [Listener(server) for _ in range(7)]
    rounds = 150

    def write(number):
        with server.raw() as r:
            for i in range(rounds):
                key = f"k:{(i * 7 + number) % 23}"
                r.send(encode("SET", key, i) + encode("LPUSH", f"l:{key}", i) +
                       encode("RPOP", f"l:{key}") + encode("EXPIRE", key, 100))
                for _ in range(4):
                    r.read_reply()

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    sequence = first.take()
    assert len([m for m in sequence if m[0] == "__keyevent@0__:lpush"]) == 4 * rounds
    assert len([m for m in sequence if m[0] == "__keyevent@0__:rpop"]) == 4 * rounds
    for listener in listeners[1:]:
        assert listener.until_mark() == sequence
        listener.raw.close()


def test_each_key_is_told_of_in_the_order_of_its_changes(server, listen):
    """Many clients at once: what the lengths that RPUSH returned say is what the events say."""
    listener = listen("Kl")

    def write(number):
        with server.raw() as r:
            for i in range(100):
                r.call("RPUSH" if (i + number) % 2 else "LPOP", f"l:{i % 5}", "x")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    length = {}
    for channel, event in listener.take():
        length[channel] = length.get(channel, 0) + (1 if event == "rpush" else -1)
        assert length[channel] >= 0, f"{channel} was popped from before it was pushed to"
    with server.raw() as r:
        for channel, count in length.items():
            assert r.call("LLEN", channel.split(":", 1)[1]) == count


def test_a_key_that_nobody_asks_for_expires_with_an_event(server, listen, raw):
    listener = listen("KEx")
    keys = some_keys(20)
    for key in keys:
        raw.call("SET", key, "v", "PX", 50)
    start = time.monotonic()
    seen = []
    while len(seen) < 2 * len(keys):
        seen += listener.take()
        assert time.monotonic() - start < 10, seen
        time.sleep(0.02)
    assert {m for c, m in seen if c == "__keyevent@0__:expired"} == set(keys)
    assert {c for c, m in seen if m == "expired"} == {f"__keyspace@0__:{key}" for key in keys}


def test_keys_left_with_a_core_that_sleeps_expire_in_time(server):
    with server.raw() as raw, server.raw() as listener:
        raw.call("CONFIG", "SET", "notify-keyspace-events", "Ex")
        listener.call("PSUBSCRIBE", "__keyevent@0__:expired")
        time.sleep(1.1)  # by now all cores have nothing to do
        keys = some_keys(20)
        start = time.monotonic()
        for key in keys:
            raw.call("SET", key, "v", "PX", 10)
        for _ in keys:
            listener.read_reply()
        took = time.monotonic() - start
        raw.call("CONFIG", "SET", "notify-keyspace-events", "")
    assert took < 0.7, "a core that has nothing to do comes round once a second"


def test_a_key_found_to_have_expired_is_told_of(server, listen, raw):
    listener = listen("EA" + "m")
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    raw.call("SET", "k", "v", "PX", 10)
    time.sleep(0.05)
    assert listener.events() == ["set k", "expire k"]
    assert raw.call("GET", "k") is None
    assert listener.events() == ["expired k", "keymiss k"]
    raw.call("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def test_a_field_that_expires_is_told_of(server, listen, raw):
    listener = listen("EA")
    raw.call("HSET", "h", "f", "1", "g", "2")
    raw.call("HPEXPIRE", "h", "30", "FIELDS", "1", "f")
    assert listener.wait_for("__keyevent@0__:hexpired", "h") == [
        ("__keyevent@0__:hset", "h"), ("__keyevent@0__:hexpire", "h"),
        ("__keyevent@0__:hexpired", "h")]
    raw.call("HPEXPIRE", "h", "30", "FIELDS", "1", "g")
    assert listener.wait_for("__keyevent@0__:del", "h") == [
        ("__keyevent@0__:hexpire", "h"), ("__keyevent@0__:hexpired", "h"),
        ("__keyevent@0__:del", "h")]


def test_a_client_that_waited_is_told_of_behind_what_served_it(server, listen, raw):
    listener = listen("EA")
    for i in range(10):
        key = f"l:{i}"
        with server.raw() as waiting:
            waiting.send(encode("BLMOVE", key, "d", "LEFT", "RIGHT", "0"))
            while b"blocked_clients:1\r\n" not in raw.call("INFO", "clients"):
                time.sleep(0.002)
            assert raw.call("RPUSH", key, "x") == 1
            assert waiting.read_reply() == b"x"
        assert listener.events() == [f"rpush {key}", "rpush d", f"lpop {key}", f"del {key}"]


def test_a_transaction_is_told_of_in_the_order_of_its_commands(server, listen, raw):
    listener = listen("EA")
    expected = []
    raw.call("MULTI")
    for key in some_keys(12):
        raw.call("SET", key, "v")
        raw.call("RPUSH", f"l{key}", "x")
        raw.call("LPOP", f"l{key}")
        expected += [f"set {key}", f"rpush l{key}", f"lpop l{key}", f"del l{key}"]
    assert listener.events() == []
    raw.call("EXEC")
    assert listener.events() == expected


def test_the_option_set_within_a_transaction_holds_from_there(listen, raw):
    listener = listen("EA")
    raw.call("MULTI")
    raw.call("SET", "a", "1")
    raw.call("CONFIG", "SET", "notify-keyspace-events", "")
    raw.call("SET", "b", "1")
    raw.call("EXEC")
    assert listener.events() == ["set a"]


def test_a_transaction_that_is_discarded_is_not_told_of(listen, raw):
    listener = listen("EA")
    raw.call("MULTI")
    raw.call("SET", "a", "1")
    raw.call("DISCARD")
    assert listener.events() == []


def test_a_script_is_told_of_in_the_order_of_its_commands(server, listen, raw):
    listener = listen("EA")
    keys = some_keys(12)
    script = ("for i, key in ipairs(KEYS) do redis.call('set', key, i) "
              "redis.call('expire', key, 9) end")
    raw.call("EVAL", script, len(keys), *keys)
    expected = [event for key in keys for event in (f"set {key}", f"expire {key}")]
    assert listener.events() == expected
    undeclared = "for i = 1, 12 do redis.call('set', 'key:' .. i, i) end"
    raw.call("EVAL", undeclared, 0)
    assert listener.events() == [f"set key:{i}" for i in range(1, 13)]


def test_switched_on_and_off_under_load(server, listen):
    """No message of a time when nobody wanted any; and what is on again works."""
    listener = listen("")
    stop = threading.Event()

    def write(number):
        with server.raw() as r:
            i = 0
            while not stop.is_set():
                i += 1
                r.send(encode("SET", f"k:{number}:{i % 50}", i) +
                       encode("MSET", f"m:{i % 9}", 1, f"n:{i % 7}", 2) +
                       encode("RPUSH", f"l:{number}", i) + encode("LPOP", f"l:{number}"))
                for _ in range(4):
                    r.read_reply()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    seen = 0
    with server.raw() as r:
        for i in range(30):
            r.call("CONFIG", "SET", "notify-keyspace-events", "KEA" if i % 2 == 0 else "")
            if i % 2 == 0:
                time.sleep(0.01)
                seen += len(listener.take())
            else:
                listener.take()
                time.sleep(0.01)
                assert listener.take() == []
    stop.set()
    for thread in threads:
        thread.join()
    assert seen > 0
    with server.raw() as r:
        r.call("CONFIG", "SET", "notify-keyspace-events", "EA")
        r.call("SET", "last", 1)
    assert listener.events() == ["set last"]


def test_a_client_hears_of_its_own_commands_behind_their_replies(listen, server):
    listen("EA")
    with server.raw() as r:
        r.call("HELLO", "3")
        r.call("PSUBSCRIBE", "__key*@*__:*")
        r.send(encode("SET", "k", "v") + encode("GET", "k"))
        came = [r.read_reply() for _ in range(3)]
    push = [b"pmessage", b"__key*@*__:*", b"__keyevent@0__:set", b"k"]
    assert came[0] == "OK" and push in came[1:] and b"v" in came[1:]


def keep_busy(server, key, done):
    """Long run steps on the key's core: more at a time than another core does for it."""
    with server.raw() as raw:
        while not done.is_set():
            raw.send(encode("SORT", key, "LIMIT", 0, 1) * 80)
            for _ in range(80):
                raw.read_reply()


def test_who_sees_a_change_comes_behind_its_notification(server, raw):
    """A core that ran what concerns several shards does other work before it sends replies."""
    raw.call("CONFIG", "SET", "notify-keyspace-events", "KA")
    raw.call("RPUSH", "busy", *range(1000))
    done = threading.Event()
    threads = [threading.Thread(target=keep_busy, args=(server, "busy", done)) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        listener = server.raw()
        listener.call("PSUBSCRIBE", "__keyspace*from", "__keyspace*{busy}to")
        listener.call("SUBSCRIBE", "seen")
        listener.read_reply()
        observers, movers = ([server.raw() for _ in range(2)] for _ in range(2))
        for i in range(20):
            movers[i // 2 % 2].call("SET", "from", "")
            movers[i // 2 % 2].send(encode("RENAME", "from", "{busy}to"))
            while observers[i % 2].call("EXISTS", "from"):
                pass
            observers[i % 2].call("PUBLISH", "seen", "")
            kinds = [listener.read_reply()[0] for _ in range(4)]
            assert kinds == [b"pmessage"] * 3 + [b"message"], i
            movers[i // 2 % 2].read_reply()
    finally:
        done.set()
        for thread in threads:
            thread.join()
        raw.call("CONFIG", "SET", "notify-keyspace-events", "")
