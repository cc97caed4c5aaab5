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
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from processes import Server, use_ports_from  # noqa: E402
from wire import encode  # noqa: E402

PORT = 8190
BATCH = 64


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
        client.send(b"".join(encode("GET", "key:%d" % key) for key in batch))
        missing = [key for key in batch if client.read_reply() is None]
        if start >= half:
            looks += len(batch)
            hits += len(batch) - len(missing)
        if missing:
            client.send(b"".join(
                encode("SET", "key:%d" % key, b"v" * size_of(key)) for key in missing))
            for _ in missing:
                client.read_reply()
        time.sleep(pause)
    return 100 * hits / looks


def measure(name, command, policy, trace, options):
    with Server(name, [*command, "--save", ""]) as server, server.raw() as client:
        limit = server.used_memory() + (options.megabytes << 20)
        client.call("CONFIG", "SET", "maxmemory-policy", policy, "maxmemory-samples",
                    options.samples, "maxmemory", limit)
        began = time.time()
        rate = run(client, trace, options.pause)
        return rate, server.key_count(), time.time() - began


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
    use_ports_from(PORT)
    trace = list(make_trace(options.keys, options.requests, options.exponent, 1))
    servers = [("redis-server", ["redis-server", "--appendonly", "no"])]
    servers += [("lasca, %s shards" % n, [os.path.abspath(options.server), "--shards", n])
                for n in options.shards]
    for policy in options.policies:
        for name, command in servers:
            rate, keys, seconds = measure(name, command, policy, trace, options)
            print("%-14s %-18s hits %5.2f %%   %s keys   %.1f s"
                  % (policy, name, rate, keys, seconds), flush=True)


if __name__ == "__main__":
    main()
