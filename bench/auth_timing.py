#!/usr/bin/python3
"""Does the time of a refused AUTH tell whether the user exists?

    auth_timing.py [--server PATH] [--attempts N]

Starts a server with users that have no password, one, or twenty, and times attempts with a wrong
password for each, for a user who does not exist, and for one that is off: in random order over one
connection, so that whatever else the machine does falls on all alike. Prints the median and the
middle half of each, and by how much the medians differ from that of the user who does not exist.
Differences below the spread of one user against itself (the row "again") say nothing.
"""

import argparse
import os
import random
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from processes import start_lasca, use_ports_from  # noqa: E402
from wire import ROOT, encode  # noqa: E402


def measure(raw, names, attempts):
    times = {name: [] for name in names}
    for _ in range(attempts):
        for name in random.sample(names, len(names)):
            request = encode("AUTH", name.split()[0], "wrong" * 6)
            begun = time.perf_counter_ns()
            raw.send(request)
            reply = raw.read_reply()
            times[name].append(time.perf_counter_ns() - begun)
            assert reply.startswith("WRONGPASS")
    return times


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--server", default=os.path.join(ROOT, "build", "lasca-server"))
    options.add_argument("--attempts", type=int, default=20000)
    options.add_argument("--port", type=int, default=8279)
    args = options.parse_args()
    use_ports_from(args.port)
    with start_lasca(os.path.abspath(args.server), 1, "auto") as server, server.raw() as raw:
        raw.call("CONFIG", "SET", "acllog-max-len", "0")
        raw.call("ACL", "SETUSER", "one", "on", ">secret")
        raw.call("ACL", "SETUSER", "off", "off", ">secret")
        raw.call("ACL", "SETUSER", "none", "on")
        raw.call("ACL", "SETUSER", "many", "on", *[f">secret{i}" for i in range(20)])
        names = ["nobody", "nobody again", "one", "many", "none", "off"]
        measure(raw, names, args.attempts // 20)
        times = measure(raw, names, args.attempts)
    base = statistics.median(times["nobody"])
    print(f"{'user':14}{'median us':>12}{'middle half':>18}{'less nobody ns':>16}")
    for name in names:
        low, middle, high = statistics.quantiles(times[name], n=4)
        print(f"{name:14}{middle / 1000:12.2f}{low / 1000:9.2f} -{high / 1000:7.2f}"
              f"{middle - base:16.0f}")


if __name__ == "__main__":
    main()
