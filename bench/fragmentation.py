#!/usr/bin/env python3
"""Resident memory against used memory, after churns, beside redis-server's with the same load.

Loads: strings that are written anew with other sizes, all 50 bytes, then 2,000, then 300, and
mixed; three of four keys deleted; hashes, lists and sorted sets that grow element by element,
then shrink, then go for the most part; FLUSHALL and a refill with other sizes. After each step the
ratio of RSS (/proc/PID/statm) to used_memory is followed: printed are the one at the end of the
load, the one after --settle seconds, and how many seconds after the load it came to 1.15.

    bench/fragmentation.py build/lasca-server [--keys 1000000] [--shards 1 8] [--only hashes]
"""
import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from processes import Server, use_ports_from  # noqa: E402
from wire import encode  # noqa: E402

PORT = int(os.environ.get("PORT", 8800))
GOAL = 1.15
SIZES = [40, 64, 100, 180, 300, 700, 1500, 3000]
BATCH = 200
CONNECTIONS = 8
ELEMENTS = 60


class Load:
    """One server under load: commands go out in batches, from several connections in turn."""

    def __init__(self, server, options):
        self.server, self.options = server, options
        self.chance = random.Random(2)
        self.clients = [server.raw() for _ in range(CONNECTIONS)]

    def send_all(self, commands):
        batch, owed, turn = [], [0] * CONNECTIONS, 0
        for command in commands:
            batch.append(command)
            if len(batch) == BATCH:
                self.flush(batch, owed, turn)
                turn = (turn + 1) % CONNECTIONS
        self.flush(batch, owed, turn)
        for turn in range(CONNECTIONS):
            self.flush([], owed, turn)

    def flush(self, batch, owed, turn):
        client = self.clients[turn]
        for _ in range(owed[turn]):
            client.read_reply()
        client.send(b"".join(batch))
        owed[turn] = len(batch)
        batch.clear()

    def shuffled(self, count):
        order = list(range(count))
        self.chance.shuffle(order)
        return order

    def most(self, count):
        return [k for k in self.shuffled(count) if self.chance.random() < 0.75]

    def report(self, step):
        begin, reached, first = time.time(), None, None
        while True:
            size, resident = self.server.used_memory(), self.server.rss_bytes()
            passed = time.time() - begin
            first = first or resident / size
            if reached is None and resident <= size * GOAL:
                reached = passed
            if passed >= self.options.settle:
                break
            time.sleep(0.1)
        print("%-16s %-22s used %7.1f MB  rss %7.1f MB  %.3f at first, %.3f then, %s"
              % (self.server.name, step, size / 1e6, resident / 1e6, first, resident / size,
                 "%.1f s" % reached if reached is not None else "not reached"), flush=True)


def overwrite(load, keys, size):
    load.send_all(encode("SET", "key:%d" % k, b"v" * size()) for k in load.shuffled(keys))


def strings(load, keys):
    for size in (50, 2000, 300, 50):
        overwrite(load, keys, lambda: size)
        load.report("all of %d bytes" % size)
    for number in range(2):
        overwrite(load, keys, lambda: load.chance.choice(SIZES))
    load.report("mixed, twice")
    load.send_all(encode("DEL", "key:%d" % k) for k in load.most(keys))
    load.report("3 of 4 deleted")
    load.clients[0].call("FLUSHALL")
    load.report("flushed")
    overwrite(load, keys, lambda: 120)
    load.report("refilled, 120 bytes")
    load.clients[0].call("FLUSHALL")


def collection(load, keys, name, grow, shrink):
    count = keys // ELEMENTS
    for element in range(ELEMENTS):
        load.send_all(grow(k, element) for k in load.shuffled(count))
    load.report(name + " grown")
    for element in range(ELEMENTS - ELEMENTS // 4):
        load.send_all(shrink(k, element) for k in load.shuffled(count))
    load.report(name + " shrunk to 1/4")
    for element in range(ELEMENTS):
        load.send_all(grow(k, element) for k in load.shuffled(count))
    load.send_all(encode("DEL", "%s:%d" % (name, k)) for k in load.most(count))
    load.report(name + " 3 of 4 deleted")
    load.clients[0].call("FLUSHALL")


def hashes(load, keys):
    collection(load, keys, "hashes",
               lambda k, e: encode("HSET", "hashes:%d" % k, "field:%d" % e, b"v" * 20),
               lambda k, e: encode("HDEL", "hashes:%d" % k, "field:%d" % e))


def tables(load, keys):
    """Hashes too large for the packed form: values of more than 64 bytes."""
    collection(load, keys, "tables",
               lambda k, e: encode("HSET", "tables:%d" % k, "field:%d" % e,
                                   b"v" * (70 + (k * 7 + e * 13) % 60)),
               lambda k, e: encode("HDEL", "tables:%d" % k, "field:%d" % e))


def lists(load, keys):
    collection(load, keys, "lists",
               lambda k, e: encode("RPUSH", "lists:%d" % k, b"v" * (20 + (k + e) % 300)),
               lambda k, e: encode("LPOP", "lists:%d" % k))


def zsets(load, keys):
    collection(load, keys, "zsets",
               lambda k, e: encode("ZADD", "zsets:%d" % k, e, b"member:%d:" % e + b"m" * 60),
               lambda k, e: encode("ZREM", "zsets:%d" % k, b"member:%d:" % e + b"m" * 60))


LOADS = {"strings": strings, "hashes": hashes, "tables": tables, "lists": lists, "zsets": zsets}


def measure(name, command, options):
    with Server(name, [*command, "--save", ""]) as server:
        load = Load(server, options)
        load.report("empty")
        for each in options.only:
            LOADS[each](load, options.keys)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("server")
    parser.add_argument("--shards", nargs="*", default=["1", "8"])
    parser.add_argument("--keys", type=int, default=1000000)
    parser.add_argument("--settle", type=float, default=10)
    parser.add_argument("--only", nargs="+", default=list(LOADS), choices=list(LOADS))
    parser.add_argument("--no-redis", action="store_true")
    options = parser.parse_args()
    use_ports_from(PORT)
    servers = [] if options.no_redis else [("redis-server", ["redis-server"])]
    servers += [("lasca, %s shards" % n, [os.path.abspath(options.server), "--shards", n])
                for n in options.shards]
    for name, command in servers:
        measure(name, command, options)


if __name__ == "__main__":
    main()
