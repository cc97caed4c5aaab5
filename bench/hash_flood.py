#!/usr/bin/python3
"""Keys that collide in a known hash: do they cost more than random ones?

    hash_flood.py [--server PATH] [--redis] [--keys N]

Makes N keys of each kind: random ones; such as collide, all of them, in XXH3 (64 bits) with its
published secret, in FNV-1a (32 bits), and in djb2; and random ones of one hash tag. Stores and
reads them as keys, as fields of one hash and as members of one set, and prints the server's CPU
time for each in nanoseconds. `--redis`: PATH is a redis-server, for comparison.
"""

import argparse
import os
import random
import re
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from processes import start_lasca, start_redis, use_ports_from  # noqa: E402
from wire import ROOT, encode  # noqa: E402

PORT = 8742
PART = 1000


# ---- Kinds of keys ----

def random_keys(count, size=32):
    rng = random.Random(1)
    return [b"%0*x" % (size, rng.getrandbits(4 * size)) for _ in range(count)]


def tagged_keys(count):
    return [b"{t}" + key[3:] for key in random_keys(count)]


def xxh3_keys(count):
    """Of 32 bytes, XXH3 multiplies the first eight, less the secret's, with the next: where that is
    zero, the next may be anything."""
    with open("/usr/include/xxhash.h", encoding="utf-8") as f:
        secret = re.search(r"kSecret\[XXH_SECRET_DEFAULT_SIZE\] = \{([^}]*)\}", f.read()).group(1)
    first = bytes(int(byte, 16) for byte in re.findall(r"0x[0-9a-f]{2}", secret)[:8])
    return [first + b"%08x" % i + b"the same for all" for i in range(count)]


def blocks_to_keys(pairs, count):
    """All ways to choose one of each pair."""
    keys = [b""]
    for a, b in pairs:
        if len(keys) >= count:
            break
        keys = [key + block for key in keys for block in (a, b)]
    return keys[:count]


def djb2_keys(count):
    return blocks_to_keys([(b"Ez", b"FY")] * 20, count)


def fnv_keys(count):
    """Of each state of 32 bits two blocks that lead to the same next one are soon found."""
    rng, state, pairs = random.Random(2), 0x811C9DC5, []
    for _ in range(20):
        seen = {}
        while True:
            block, h = b"%08x" % rng.getrandbits(32), state
            for byte in block:
                h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
            other = seen.setdefault(h, block)
            if other != block:
                break
        pairs.append((other, block))
        state = h
    return blocks_to_keys(pairs, count)


KINDS = [("random", random_keys), ("random, 160 bytes", lambda count: random_keys(count, 160)),
         ("collide in XXH3", xxh3_keys), ("collide in FNV-1a", fnv_keys),
         ("collide in djb2", djb2_keys), ("of one hash tag", tagged_keys)]


# ---- The server ----

class Sender:
    """A server's one client."""

    def __init__(self, server, raw):
        self.server, self.raw = server, raw

    def send(self, requests):
        """The server's CPU seconds for all of them; their replies are only waited for."""
        begin = sum(self.server.cpu_seconds())
        sender = threading.Thread(target=self.raw.send, args=(
            requests + encode(b"ECHO", b"the-end-of-all"),))
        sender.start()
        tail = b""
        while not tail.endswith(b"the-end-of-all\r\n"):
            tail = tail[-20:] + self.raw.socket.recv(1 << 20)
        sender.join()
        return sum(self.server.cpu_seconds()) - begin


def in_parts(name, keys, value=None):
    requests = []
    for at in range(0, len(keys), PART):
        words = keys[at:at + PART]
        if value is not None:
            words = [word for key in words for word in (key, value)]
        requests.append(encode(name, b"the-key", *words))
    return b"".join(requests)


def measure(sender, keys):
    yield sender.send(b"".join(encode(b"SET", key, b"v") for key in keys))
    yield sender.send(b"".join(encode(b"GET", key) for key in keys))
    sender.send(encode(b"FLUSHALL"))
    yield sender.send(in_parts(b"HSET", keys, b"v"))
    yield sender.send(in_parts(b"HMGET", keys))
    sender.send(encode(b"FLUSHALL"))
    yield sender.send(in_parts(b"SADD", keys))
    yield sender.send(in_parts(b"SMISMEMBER", keys))
    sender.send(encode(b"FLUSHALL"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default=os.path.join(ROOT, "build", "lasca-server"))
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--keys", type=int, default=1000000)
    args = parser.parse_args()
    use_ports_from(PORT)
    path = os.path.abspath(args.server)
    with (start_redis(path) if args.redis else start_lasca(path, 2, "auto")) as server:
        with server.raw() as raw:
            sender = Sender(server, raw)
            print(f"{'ns each':20}" + "".join(f"{word:>8}" for word in (
                "SET", "GET", "HSET", "HMGET", "SADD", "SMISM.")))
            for _ in measure(sender, random_keys(10000)):
                pass
            for name, make in KINDS:
                keys = make(args.keys)
                assert len(set(keys)) == args.keys
                times = [seconds / args.keys * 1e9 for seconds in measure(sender, keys)]
                print(f"{name:20}" + "".join(f"{t:8.0f}" for t in times), flush=True)


if __name__ == "__main__":
    sys.exit(main())
