"""Crashes: the process is killed at random moments under load, again and again.

LASCA_CRASH_ROUNDS says how many rounds each test has (few by default; hundreds for a proof).
"""

import glob
import os
import random
import re
import shutil
import time

import pytest

from crash_load import Load

ROUNDS = int(os.environ.get("LASCA_CRASH_ROUNDS", "3"))
LOAD_SECONDS = (0.1, 0.7)
# What everysec may lose: a second, and what a slow machine takes to get to it.
LOST_SECONDS = 1.5
START_SECONDS = 0.2


def newest_increment(directory):
    files = glob.glob(os.path.join(directory, "appendonlydir", "*.incr.aof"))
    return max(files, key=lambda f: int(f.split(".")[-3]))


def crash_rounds(server, args, lost_seconds, rewrites):
    """Loads, kills and checks, on the data that the last round left."""
    chance = random.Random(os.environ.get("LASCA_CRASH_SEED"))
    steps = {}
    for turn in range(ROUNDS):
        load = Load(server.port, steps)
        if rewrites and turn % 2:
            with server.raw() as r:
                r.call("BGREWRITEAOF")
        time.sleep(chance.uniform(*LOAD_SECONDS))
        server.kill()
        killed = time.monotonic()
        load.join()
        server.start(*args)
        with server.raw() as r:
            steps = load.check(r, since=killed - lost_seconds, all_seen=lost_seconds == 0)


@pytest.mark.parametrize("policy,lost_seconds", [("always", 0), ("everysec", LOST_SECONDS)])
def test_what_was_acknowledged_survives(fresh_server, policy, lost_seconds):
    args = ["--appendonly", "yes", "--appendfsync", policy]
    server = fresh_server(*args)
    crash_rounds(server, args, lost_seconds, rewrites=True)


def test_a_snapshot_is_a_state_that_existed(fresh_server):
    """BGSAVE under load, killed some time after it: the file has one moment of all shards."""
    server = fresh_server()
    for _ in range(ROUNDS):
        load = Load(server.port)
        time.sleep(random.uniform(0.05, 0.3))
        with server.raw() as r:
            before = time.monotonic()
            assert r.call("BGSAVE") == "Background saving started"
            while b"rdb_bgsave_in_progress:1" in r.call("INFO", "persistence"):
                time.sleep(0.01)
        server.kill()
        load.join()
        server.start()
        with server.raw() as r:
            load.check(r, since=before)
            r.call("FLUSHALL")


def cut_points(size, count):
    """Every byte of the tail, or as many places in it as there is time for."""
    tail = range(max(0, size - 4 * count), size + 1)
    return list(tail) if ROUNDS > 20 else random.sample(tail, min(count, len(tail)))


def assert_chains_in_order(path):
    """Steps that follow each other stand in the file like that: no cut could show one without those
    before it."""
    with open(path, "rb") as f:
        steps = re.findall(rb"SET\r\n\$\d+\r\n(chain\d+):\d+\r\n\$\d+\r\n(\d+)\r\n", f.read())
    last = {}
    for name, n in steps:
        assert int(n) == last.get(name, 0) + 1, f"{name}: {n} stands behind {last.get(name)}"
        last[name] = int(n)
    assert len(last) == 2


def test_every_cut_of_the_tail_is_a_state_that_existed(fresh_server, tmp_path):
    args = ["--appendonly", "yes", "--appendfsync", "everysec"]
    server = fresh_server(*args)
    load = Load(server.port)
    time.sleep(START_SECONDS)
    server.kill()
    load.join()
    directory = os.path.join(server.directory.name, "appendonlydir")
    whole = tmp_path / "whole"
    shutil.copytree(directory, whole)
    assert_chains_in_order(newest_increment(server.directory.name))
    size = os.path.getsize(newest_increment(server.directory.name))
    for cut in cut_points(size, 12 if ROUNDS <= 20 else 500):
        shutil.rmtree(directory)
        shutil.copytree(whole, directory)
        os.truncate(newest_increment(server.directory.name), cut)
        server.start(*args)
        with server.raw() as r:
            load.check(r)
        server.kill()
    server.start(*args)
