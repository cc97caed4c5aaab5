"""Pub/Sub, notifications and cached reads under load, from several processes.

One server with one thread hands every message to all its subscribers before the next one: so all of
them hear the same messages in the same order, whichever core each of them lives on.
"""

import contextlib
import random
import time

import pytest

from harness import Push, encode
from workers import FORK, run_all

CHANNELS = [f"news:{i}" for i in range(6)]
SUBSCRIBERS_EACH = 2  # connections of a subscribing process

PUBLISH_COMPUTED = """
local counts = {}
for i = 2, #ARGV do
    counts[i - 1] = redis.call('PUBLISH', 'news:' .. (tonumber(ARGV[1]) + i) % 6, ARGV[i])
end
redis.call('INCRBY', 'published', #ARGV - 1)
return counts"""


class Rounds:
    """Who has subscribed, who has published all: the two moments that workers wait for."""

    def __init__(self, subscribers, publishers):
        self.subscribers, self.publishers = subscribers, publishers
        self.ready, self.done = FORK.Value("q", 0), FORK.Value("q", 0)

    @staticmethod
    def _count(value):
        with value.get_lock():
            value.value += 1
            return value.value

    def say_ready(self):
        self._count(self.ready)

    @contextlib.contextmanager
    def publishing(self, line):
        """Begins when all subscribers are ready; the last publisher to end tells them."""
        end = time.monotonic() + 20
        while self.ready.value < self.subscribers:
            assert time.monotonic() < end, "the subscribers do not get ready"
            time.sleep(0.005)
        try:
            yield
        finally:
            if self._count(self.done) == self.publishers:
                line.call("PUBLISH", "end", "end")


# One order for all.

def publish_numbered(line, clock, rounds, number, way, receivers):
    """Publishes its own numbers over all channels; returns how many."""
    lines = [line, type(line)(line.socket.getpeername()[1])]
    count = 0
    with rounds.publishing(line):
        while clock.running():
            words = [f"{number}:{count + i}" for i in range(random.randrange(1, 6))]
            requests = [("PUBLISH", random.choice(CHANNELS), word) for word in words]
            count += len(words)
            sender = random.choice(lines)
            if way == "single":
                counts = [random.choice(lines).call(*request) for request in requests]
            elif way == "pipeline":
                counts = sender.run(*requests, ("INCR", f"other:{number}"))[:-1]
            elif way == "exec":
                requests.append(("INCR", "published"))
                counts = sender.run(("MULTI",), *requests, ("EXEC",))[-1][:-1]
            else:
                counts = sender.call("EVAL", PUBLISH_COMPUTED, 0, random.randrange(6), *words)
            assert counts == [receivers] * len(words), f"{way}: {counts}, not {receivers} each"
    return count


def subscribe(line, kind):
    """Subscribes to all channels; True once everything is acknowledged."""
    if kind == "resp3":
        line.call("HELLO", "3")
    if kind == "pattern":
        line.run(("PSUBSCRIBE", "news:*"), ("SUBSCRIBE", "end"))
    else:
        requests = [("SUBSCRIBE", channel) for channel in CHANNELS] + [("SUBSCRIBE", "end")]
        line.run(*requests)


def hear(line):
    """(channel, message) of the next message."""
    kind, *rest = line.read_reply()
    assert kind in (b"message", b"pmessage"), kind
    return rest[-2].decode(), rest[-1].decode()


def listen(line, clock, rounds, kind):
    """What each of its connections heard until the end was told."""
    lines = [line] + [type(line)(line.socket.getpeername()[1])
                      for _ in range(SUBSCRIBERS_EACH - 1)]
    for each in lines:
        subscribe(each, kind)
    rounds.say_ready()
    heard = []
    for each in lines:
        heard.append([])
        while (message := hear(each))[0] != "end":
            heard[-1].append(message)
    return heard


def check_publishers_order(heard, counts):
    """Each publisher's messages came completely, and in the order sent, over all channels."""
    last = {}
    for _, message in heard:
        number, index = map(int, message.split(":"))
        assert index == last.get(number, -1) + 1, f"{message} came after {last.get(number)}"
        last[number] = index
    assert {number: index + 1 for number, index in last.items()} == counts


@pytest.mark.parametrize("ways", [
    ["single"] * 4, ["single", "pipeline", "exec", "script"]])
def test_all_subscribers_hear_one_order(server, ways):
    kinds = ["plain", "pattern", "resp3", "plain"]
    rounds = Rounds(len(kinds), len(ways))
    receivers = len(kinds) * SUBSCRIBERS_EACH
    results = run_all(server.port, [
        *[(listen, rounds, kind) for kind in kinds],
        *[(publish_numbered, rounds, i, way, receivers) for i, way in enumerate(ways)]])
    heard = [each for result in results[:len(kinds)] for each in result]
    counts = dict(enumerate(results[len(kinds):]))
    assert min(counts.values()) > 10
    check_publishers_order(heard[0], counts)
    for other in heard[1:]:
        same = next((i for i, (a, b) in enumerate(zip(heard[0], other)) if a != b), None)
        assert same is None, \
            f"orders part at {same}: {heard[0][same:same + 4]} and {other[same:same + 4]}"
        assert len(other) == len(heard[0])


# Counts are exact: the sum of what PUBLISH said is the sum of what was received.

def come_and_go(line, clock, rounds, number):
    """Subscribes and unsubscribes; returns how many messages came."""
    lines = [line] + [type(line)(line.socket.getpeername()[1]) for _ in range(2)]
    rounds.say_ready()
    received = 0

    def acknowledge(each, verb):
        """Reads up to the acknowledgement; what comes before are messages."""
        nonlocal received
        while (reply := each.read_reply())[0] != verb:
            assert reply[0] in (b"message", b"pmessage")
            received += 1

    while rounds.done.value < rounds.publishers:
        each = random.choice(lines)
        channel = random.choice(CHANNELS)
        verb = random.choice(["subscribe", "psubscribe"])
        each.send(encode(verb, channel))
        acknowledge(each, verb.encode())
        if random.random() < 0.5:
            time.sleep(random.random() * 0.003)
        verb = "un" + verb if verb == "subscribe" else "punsubscribe"
        each.send(encode(verb, channel))
        acknowledge(each, verb.encode())
    return received


def publish_and_count(line, clock, rounds, way):
    said = 0
    with rounds.publishing(line):
        while clock.running():
            requests = [("PUBLISH", random.choice(CHANNELS), "x") for _ in range(4)]
            if way == "single":
                said += sum(line.call(*request) for request in requests)
            elif way == "pipeline":
                said += sum(line.run(*requests))
            elif way == "exec":
                said += sum(line.run(("MULTI",), *requests, ("EXEC",))[-1])
            else:
                said += sum(line.call("EVAL", PUBLISH_COMPUTED, 0, random.randrange(6), "x", "y"))
    return said


def test_publish_counts_exactly_who_receives(server):
    ways = ["single", "pipeline", "exec", "script"]
    rounds = Rounds(4, len(ways))
    results = run_all(server.port, [
        *[(come_and_go, rounds, i) for i in range(4)],
        *[(publish_and_count, rounds, way) for way in ways]])
    assert sum(results[:4]) == sum(results[4:]) > 50


def own_channel(line, clock, number, port):
    """Knows who is subscribed to its channel, and so what PUBLISH must say."""
    channel = f"own:{number}"
    lines = [type(line)(port) for _ in range(6)]
    subscribed, count = set(), 0
    while clock.running():
        i = random.randrange(len(lines))
        verb = "unsubscribe" if i in subscribed else "subscribe"
        assert lines[i].call(verb, channel)[0] == verb.encode()
        subscribed ^= {i}
        for _ in range(3):
            count += 1
            assert line.call("PUBLISH", channel, count) == len(subscribed)
            for j in subscribed:
                assert lines[j].read_reply() == [b"message", channel.encode(), b"%d" % count]
    counted = line.call("PUBSUB", "NUMSUB", channel)
    assert counted == [channel.encode(), len(subscribed)]
    return count


def test_a_subscription_counts_from_its_acknowledgement_on(server):
    results = run_all(server.port, [(own_channel, i, server.port) for i in range(4)])
    assert min(results) > 10


# Who hears of a change finds it made.

CHANGE = """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PUBLISH', 'changes', ARGV[1])
redis.call('SET', KEYS[2], ARGV[1])
return 1"""


def change_and_tell(line, clock, rounds):
    version = 0
    with rounds.publishing(line):
        while clock.running():
            version += 1
            way = version % 3
            if way == 0:
                line.run(("MSET", "version:a", version, "version:b", version),
                         ("PUBLISH", "changes", version))
            elif way == 1:
                line.run(("MULTI",), ("SET", "version:a", version),
                         ("PUBLISH", "changes", version), ("SET", "version:b", version),
                         ("EXEC",))
            else:
                assert line.call("EVAL", CHANGE, 2, "version:a", "version:b", version) == 1
    return version


def hear_and_look(line, clock, rounds, port):
    asking = [type(line)(port) for _ in range(4)]
    line.run(("SUBSCRIBE", "changes"), ("SUBSCRIBE", "end"))
    rounds.say_ready()
    last = 0
    while (message := hear(line))[0] != "end":
        version = int(message[1])
        assert version == last + 1
        last = version
        key = random.choice(["version:a", "version:b"])
        found = int(random.choice(asking).call("GET", key))
        assert found >= version, f"heard of {version}, but {key} is {found}"
    return last


def test_who_hears_of_a_change_finds_it(server):
    rounds = Rounds(3, 1)
    results = run_all(server.port, [(change_and_tell, rounds),
                                    *[(hear_and_look, rounds, server.port)] * 3])
    assert len(set(results)) == 1 and results[0] > 10


# Keyspace notifications: all of them, in one order, wherever the subscriber lives.

@pytest.fixture
def notifying(server):
    client = server.client()
    client.config_set("notify-keyspace-events", "KA")
    yield server
    server.client().config_set("notify-keyspace-events", "")


def change_counters(line, clock, rounds, way):
    """Returns how many events it caused."""
    count = 0
    with rounds.publishing(line):
        while clock.running():
            keys = random.sample([f"counter:{i}" for i in range(8)], 3)
            if way == "exec":
                line.run(("MULTI",), *[("INCR", key) for key in keys], ("EXEC",))
            elif way == "script":
                line.call("EVAL", "for _, key in ipairs(KEYS) do redis.call('INCR', key) end", 3,
                          *keys)
            elif way == "mset":
                line.call("MSET", *[word for key in keys for word in (key, 1)])
            else:
                line.run(*[("INCR", key) for key in keys])
            count += 3
    return count


def listen_to_events(line, clock, rounds):
    line.run(("PSUBSCRIBE", "__keyspace@0__:counter:*"), ("SUBSCRIBE", "end"))
    rounds.say_ready()
    heard = []
    while (message := hear(line))[0] != "end":
        heard.append((message[0].split(":", 1)[1], message[1]))
    return heard


def test_all_hear_the_same_notifications(notifying):
    ways = ["single", "exec", "script", "mset"]
    rounds = Rounds(3, len(ways))
    results = run_all(notifying.port, [
        *[(listen_to_events, rounds)] * 3, *[(change_counters, rounds, way) for way in ways]])
    heard, counts = results[:3], results[3:]
    assert min(counts) > 10
    assert len(heard[0]) == sum(counts)
    assert sum(event == "set" for _, event in heard[0]) == counts[3]
    for other in heard[1:]:
        assert other == heard[0]


# Client-side caching: no invalidation is missed.

KEYS = [f"cached:{i}" for i in range(16)]


class CachingReader:
    """Reads through a cache that the server's invalidations keep true."""

    def __init__(self, line, mode):
        self.line, self.cache = line, {}
        line.call("HELLO", "3")
        options = {"default": (), "prefix": ("BCAST", "PREFIX", "cached:")}[mode]
        assert line.call("CLIENT", "TRACKING", "ON", *options) == "OK"

    def reply(self):
        """The next reply; invalidations before it are carried out."""
        while isinstance(reply := self.line.read_reply(), Push):
            assert reply[0] == b"invalidate"
            for key in reply[1] or list(self.cache):
                self.cache.pop(key.decode(), None)
        return reply

    def get(self, key):
        if key not in self.cache:
            self.line.send(encode("GET", key))
            value = self.reply()
            self.cache[key] = value
        return self.cache[key]

    def settle(self):
        """Reads what has been sent so far; another connection's replies have all come before."""
        self.line.send(encode("PING"))
        assert self.reply() == "PONG"


def read_through_cache(line, clock, mode):
    reader, count = CachingReader(line, mode), 0
    while clock.running():
        for key in random.sample(KEYS, 4):
            reader.get(key)
        if random.random() < 0.2:
            reader.settle()
        count += 1
    # The writers have ended a moment ago; what they changed is told within this time.
    end = time.monotonic() + 1
    while time.monotonic() < end:
        reader.settle()
        time.sleep(0.02)
    with type(line)(line.socket.getpeername()[1]) as other:
        for key, value in reader.cache.items():
            found = other.call("GET", key)
            assert found == value, f"{mode}: {key} is {found}, the cache says {value}"
    return count


def change_cached(line, clock, way):
    count = 0
    while clock.running():
        count += 1
        keys = random.sample(KEYS, 2)
        if way == "exec":
            line.run(("MULTI",), *[("INCR", key) for key in keys], ("EXEC",))
        elif way == "script":
            line.call("EVAL", "redis.call('INCR', KEYS[1]) redis.call('INCR', KEYS[2])", 2, *keys)
        else:
            line.run(("DEL", keys[0]), ("INCR", keys[1]))
        time.sleep(random.random() * 0.002)
    return count


def test_no_invalidation_is_missed(server):
    results = run_all(server.port, [
        (read_through_cache, "default"), (read_through_cache, "default"),
        (read_through_cache, "prefix"), (change_cached, "single"), (change_cached, "exec"),
        (change_cached, "script")])
    assert min(results) > 10


# Subscribers that vanish in the midst of it do no harm.

def vanish(line, clock, port):
    count = 0
    while clock.running():
        with type(line)(port) as victim:
            victim.send(encode("SUBSCRIBE", *CHANNELS) + encode("PSUBSCRIBE", "news:*"))
            for _ in range(random.randrange(8)):
                victim.read_reply()
        count += 1
    return count


def publish_much(line, clock, size):
    count = 0
    while clock.running():
        line.run(*[("PUBLISH", random.choice(CHANNELS), "x" * size)] * 10)
        count += 10
    return count


def test_subscribers_that_vanish_leave_nothing(server):
    results = run_all(server.port, [
        (vanish, server.port), (vanish, server.port), (publish_much, 10), (publish_much, 3000)])
    assert min(results) > 5
    client, end = server.client(), time.monotonic() + 5
    while client.pubsub_channels() or client.pubsub_numpat():
        assert time.monotonic() < end, f"left: {client.pubsub_channels()}"
        time.sleep(0.02)
    assert client.publish(CHANNELS[0], "x") == 0
