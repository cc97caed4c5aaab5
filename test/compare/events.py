"""Keyspace notifications beside the replies: compare.py --events.

Each server has a listener that has subscribed to all channels of notifications, with every class
on. After each command a message to a channel of the listener's own follows on another connection:
what came before it is what the command notified of. That must be the same, in the same order.
"""

MARK = b"__keyevent@0__:mark"
# Only what concerns one key has an order: parts of these run on the shards of their keys side by
# side, or (SORT of a sorted set) Redis goes through what is in no order.
UNORDERED = {b"DEL", b"UNLINK", b"MSET", b"EXISTS", b"TOUCH", b"MGET", b"SORT", b"SORT_RO"}
# Redis looks these keys up, and may tell of a miss, before it finds fault with other arguments.
EARLY_MISS = {b"XAUTOCLAIM"}
# 7.2 creates consumers where 7.0 does not yet.
CONSUMERS = (b"xgroup-createconsumer", b"xgroup-delconsumer")


class Listener:
    def __init__(self, server):
        self.subscriber = server.raw()
        self.publisher = server.raw()
        self.subscriber.call("PSUBSCRIBE", "__key*@*__:*")
        self.marks = 0

    def take(self):
        """All (channel, message) until now."""
        self.marks += 1
        mark = str(self.marks).encode()
        self.publisher.call("PUBLISH", MARK, mark)
        events = []
        while True:
            _, _, channel, message = self.subscriber.read_reply()
            if channel == MARK:
                assert message == mark, f"{message} came for the mark {mark}"
                # When a key that has expired is met differs from one run to the next.
                return without(events, b"expired")
            events.append((channel, message))

    def close(self):
        self.subscriber.close()
        self.publisher.close()


def listen(server):
    with server.raw() as r:
        # 7.0 knows n, too, but prints it with A as little as 7.2 does.
        assert r.call("CONFIG", "SET", "notify-keyspace-events", "KEA" + "nm") == "OK"
    return Listener(server)


def by_key(events):
    """In an order of keys: of one key as they came."""
    def key(event):
        channel, message = event
        return message if channel.startswith(b"__keyevent") else channel.split(b":", 1)[1]
    return sorted(events, key=key)


def without(events, name):
    return [e for e in events if e[1] != name and not e[0].endswith(b":" + name)]


def difference(words, got, due):
    """None, or both as bytes."""
    name = words[0].upper() if words else b""
    if name in UNORDERED:
        got, due = by_key(got), by_key(due)
    for event in CONSUMERS + ((b"keymiss",) if name in EARLY_MISS else ()):
        got, due = without(got, event), without(due, event)
    return None if got == due else (repr(got).encode(), repr(due).encode())
