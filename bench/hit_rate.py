#!/usr/bin/env python3
"""Hit rates of a cache under maxmemory, beside redis-server's on the same trace.

Cache-aside: GET, and on a miss SET. Keys by Zipf (0.99), whose favourites move on a little all the
time; sizes of values differ by key: 90 % have 100 bytes, 9 % 1,000, 1 % 10,000. Each server may use
the same number of bytes above what it uses empty. Printed: the rate over the second half.

    bench/hit_rate.py build/lasca-server [--policies allkeys-lru allkeys-lfu] [--shards 1 8]
"""
import argparse
import bisect
import itertools
import random
import socket
import subprocess
import time

PORT = 8190
BATCH = 64


class Client:
    def __init__(self, port):
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.05)
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        self.socket.sendall(encode(*words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if line[:1] != b"$":
            return line[1:-2]
        size = int(line[1:])
        return None if size < 0 else self.file.read(size + 2)[:-2]


def encode(*words):
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(out)


def make_trace(keys, count, exponent, seed):
    chance = random.Random(seed)
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(keys)))
    order = list(range(keys))
    chance.shuffle(order)
    for i in range(count):
        if i % 100 == 0:
            a, b = chance.randrange(keys // 100), chance.randrange(keys)
            order[a], order[b] = order[b], order[a]
        yield order[bisect.bisect(weights, chance.random() * weights[-1])]


def size_of(key):
    kind = (key * 2654435761) % 100
    return 10000 if kind == 0 else 1000 if kind < 10 else 100


def run(client, trace, pause):
    hits = looks = 0
    half = len(trace) // 2
    for start in range(0, len(trace), BATCH):
        batch = trace[start:start + BATCH]
        client.socket.sendall(b"".join(encode("GET", "key:%d" % key) for key in batch))
        missing = [key for key in batch if client.reply() is None]
        if start >= half:
            looks += len(batch)
            hits += len(batch) - len(missing)
        if missing:
            client.socket.sendall(b"".join(
                encode("SET", "key:%d" % key, b"v" * size_of(key)) for key in missing))
            for _ in missing:
                client.reply()
        time.sleep(pause)
    return 100 * hits / looks


def used(client):
    info = client.send("INFO", "memory").decode()
    return int(info.split("used_memory:")[1].split("\r")[0])


def measure(command, policy, trace, options):
    process = subprocess.Popen(command + ["--port", str(PORT), "--save", ""],
                               stdout=subprocess.DEVNULL)
    try:
        client = Client(PORT)
        client.send("CONFIG", "SET", "maxmemory-policy", policy)
        client.send("CONFIG", "SET", "maxmemory-samples", options.samples)
        client.send("CONFIG", "SET", "maxmemory", used(client) + (options.megabytes << 20))
        began = time.time()
        rate = run(client, trace, options.pause)
        keys = client.send("DBSIZE").decode()
        return rate, keys, time.time() - began
    finally:
        process.terminate()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("server")
    parser.add_argument("--policies", nargs="+", default=["allkeys-lru", "allkeys-lfu"])
    parser.add_argument("--shards", nargs="+", default=["1", "8"])
    parser.add_argument("--keys", type=int, default=200000)
    parser.add_argument("--requests", type=int, default=600000)
    parser.add_argument("--exponent", type=float, default=0.99)
    parser.add_argument("--megabytes", type=int, default=12)
    parser.add_argument("--samples", default="5")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between batches")
    options = parser.parse_args()
    trace = list(make_trace(options.keys, options.requests, options.exponent, 1))
    servers = [("redis-server", ["redis-server", "--appendonly", "no"])]
    servers += [("lasca, %s shards" % n, [options.server, "--shards", n]) for n in options.shards]
    for policy in options.policies:
        for name, command in servers:
            rate, keys, seconds = measure(command, policy, trace, options)
            print("%-14s %-18s hits %5.2f %%   %s keys   %.1f s"
                  % (policy, name, rate, keys, seconds), flush=True)


if __name__ == "__main__":
    main()
