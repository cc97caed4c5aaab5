"""Strict serializability under load, from several processes.

Whatever the shards, every history must look like one server running one command at a time, in an
order that agrees with real time. Each test states an invariant that any other history breaks.
"""

import random
import socket
import struct

import pytest

from harness import encode
from workers import FORK, Line, run_all

# Enough keys that every shard has several.
KEYS = [f"key:{i}" for i in range(24)]


def at_least(results, least):
    """A load that did next to nothing has tested nothing."""
    assert min(results) >= least, f"too little was done: {results}"


# MSET against MGET.

def write_versions(line, clock, acknowledged):
    version = 0
    while clock.running():
        version += 1
        pairs = [word for key in KEYS for word in (key, version)]
        assert line.call("MSET", *pairs) == "OK"
        acknowledged.value = version
    return version


def read_versions(line, clock, acknowledged, depth):
    count = 0
    last = 0
    while clock.running():
        least = max(last, acknowledged.value)
        for values in line.run(*[("MGET", *KEYS)] * depth):
            count += 1
            assert len(set(values)) == 1, f"versions are mixed: {values}"
            version = int(values[0])
            assert version >= least, f"version {version} after {least} had been acknowledged"
            least = version
        last = least
    return count


def test_mset_is_never_seen_in_part_nor_late(server):
    server.client().mset({key: 0 for key in KEYS})
    acknowledged = FORK.Value("q", 0)
    at_least(run_all(server.port, [
        (write_versions, acknowledged),
        (read_versions, acknowledged, 1),
        (read_versions, acknowledged, 1),
        (read_versions, acknowledged, 20),
    ]), 20)


def write_own_versions(line, clock, number):
    count = 0
    while clock.running():
        requests = []
        for _ in range(10):
            count += 1
            pairs = [word for key in KEYS for word in (key, f"{number}:{count}")]
            requests.append(("MSET", *pairs))
        assert set(line.run(*requests)) == {"OK"}
    return count


def read_unmixed(line, clock, depth):
    count = 0
    while clock.running():
        for values in line.run(*[("MGET", *random.sample(KEYS, len(KEYS)))] * depth):
            assert len(set(values)) == 1, f"writers are mixed: {values}"
            count += 1
    return count


def test_msets_of_several_writers_do_not_mix(server):
    server.client().mset({key: 0 for key in KEYS})
    at_least(run_all(server.port, [
        *((write_own_versions, number) for number in range(3)),
        (read_unmixed, 1), (read_unmixed, 30),
    ]), 20)


# The order within a pipeline, seen from outside.

def write_in_order(line, clock, keys):
    version = 0
    while clock.running():
        version += 1
        assert set(line.run(*[("SET", key, version) for key in keys])) == {"OK"}
    return version


def read_backwards_singly(line, clock, keys):
    count = 0
    while clock.running():
        later = 0
        for key in reversed(keys):
            version = int(line.call("GET", key))
            assert version >= later, f"{key} has {version}, a key set after it had {later}"
            later = version
        count += 1
    return count


def read_backwards_in_a_pipeline(line, clock, keys):
    count = 0
    while clock.running():
        versions = [int(v) for v in line.run(*[("GET", key) for key in reversed(keys)])]
        assert versions == sorted(versions), f"later writes without earlier ones: {versions}"
        count += 1
    return count


def read_backwards_at_once(line, clock, keys):
    count = 0
    while clock.running():
        versions = [int(v) for v in line.call("MGET", *reversed(keys))]
        assert versions == sorted(versions), f"later writes without earlier ones: {versions}"
        assert versions[-1] - versions[0] <= 1, f"a pipeline overtook another: {versions}"
        count += 1
    return count


@pytest.mark.parametrize("count", [8, 1500])
def test_a_pipeline_takes_effect_in_the_order_sent(server, count):
    keys = [f"ordered:{i}" for i in range(count)]
    server.client().mset({key: 0 for key in keys})
    results = run_all(server.port, [
        (write_in_order, keys),
        (read_backwards_singly, keys[:60]),
        (read_backwards_in_a_pipeline, keys),
        (read_backwards_at_once, keys),
    ])
    at_least(results, 1)


# RENAME.

PAIRS = [(f"left:{i}", f"right:{i}") for i in range(8)]


def rename_back_and_forth(line, clock, pairs):
    count = 0
    while clock.running():
        for left, right in pairs:
            assert line.run(("RENAME", left, right), ("RENAME", right, left)) == ["OK", "OK"]
            assert line.call("RENAMENX", left, right) == 1
            assert line.call("RENAME", right, left) == "OK"
            count += 1
    return count


def see_exactly_one(line, clock, depth):
    count = 0
    while clock.running():
        left, right = random.choice(PAIRS)
        replies = line.run(*[("MGET", left, right), ("EXISTS", left, right)] * depth)
        for values, existing in zip(replies[::2], replies[1::2]):
            assert sorted(values, key=bool) == [None, b"here"], f"{left}, {right}: {values}"
            assert existing == 1
        count += 1
    return count


def test_a_key_being_renamed_is_always_there_once(server):
    server.client().mset({left: "here" for left, _ in PAIRS})
    at_least(run_all(server.port, [
        (rename_back_and_forth, PAIRS[:4]), (rename_back_and_forth, PAIRS[4:]),
        (see_exactly_one, 1), (see_exactly_one, 10),
    ]), 10)
    assert server.client().dbsize() == len(PAIRS)


# Counters.

def count_up(line, clock, depth):
    total = 0
    while clock.running():
        assert all(reply > 0 for reply in
                   line.run(*[("INCR", random.choice(KEYS)) for _ in range(depth)]))
        total += depth
    return total


def test_no_increment_is_lost(server):
    totals = run_all(server.port, [(count_up, depth) for depth in (1, 1, 7, 100, 600)])
    at_least(totals, 100)
    assert sum(int(v or 0) for v in server.client().mget(KEYS)) == sum(totals)


# BITOP, COPY and MSETNX: transactions whose keys meet.

def write_equal_pairs(line, clock, number):
    count = 0
    while clock.running():
        value = random.randbytes(16)
        pairs = [word for key in KEYS[:6] for word in (key, value)]
        assert line.call("MSET", *pairs) == "OK"
        count += 1
    return count


def xor_equal_pairs(line, clock, number):
    count = 0
    while clock.running():
        a, b = random.sample(KEYS[:6], 2)
        dest, copy = f"xor:{number}", f"copy:{number}"
        size, result, copied, *values = line.run(
            ("BITOP", "XOR", dest, a, b), ("GET", dest),
            ("COPY", a, copy, "REPLACE"), ("GET", copy))
        assert size == 16 and result == bytes(16), f"{a} and {b} differed: {result}"
        assert copied == 1 and len(values[0]) == 16
        count += 1
    return count


def test_bitop_sees_one_moment(server):
    server.client().mset({key: bytes(16) for key in KEYS})
    at_least(run_all(server.port, [
        (write_equal_pairs, 0), (write_equal_pairs, 1), (xor_equal_pairs, 0),
        (xor_equal_pairs, 1),
    ]), 20)


def lock_and_unlock(line, clock, number):
    count = 0
    locks = ["lock:a", "lock:b", "lock:c"]
    while clock.running():
        order = random.sample(locks, 2)
        if line.call("MSETNX", order[0], number, order[1], number) != 1:
            continue
        holders = line.run(*[("INCR", f"holders:{lock}") for lock in order])
        assert holders == [1, 1], f"two hold {order}: {holders}"
        assert line.call("MGET", *order) == [b"%d" % number] * 2
        assert line.run(*[("DECR", f"holders:{lock}") for lock in order]) == [0, 0]
        assert line.call("DEL", *order) == 2
        count += 1
    return count


def test_msetnx_is_a_lock_over_several_keys(server):
    assert sum(run_all(server.port, [(lock_and_unlock, n) for n in range(4)])) > 20


# DEL and EXISTS of many keys are one moment, too.

def make_and_delete(line, clock, keys):
    count = 0
    pairs = [word for key in keys for word in (key, "x")]
    while clock.running():
        assert line.run(("MSET", *pairs), ("DEL", *keys)) == ["OK", len(keys)]
        count += 1
    return count


def see_all_or_none(line, clock, keys):
    count = 0
    while clock.running():
        existing, total, names = line.run(("EXISTS", *keys), ("DBSIZE",), ("KEYS", "all:*"))
        assert existing in (0, len(keys)), f"{existing} of {len(keys)} exist"
        assert total in (0, len(keys)), f"DBSIZE says {total}"
        assert len(names) in (0, len(keys)), f"KEYS finds {len(names)}"
        count += 1
    return count


def test_many_keys_appear_and_vanish_at_once(server):
    keys = [f"all:{i}" for i in range(50)]
    at_least(run_all(server.port, [
        (make_and_delete, keys), (see_all_or_none, keys), (see_all_or_none, keys),
    ]), 20)


# Clients that go away.

def abandon_pipelines(line, clock, number):
    count = 0
    port = line.socket.getpeername()[1]
    while clock.running():
        with Line(port) as victim:
            if count % 3 == 0:  # a reset, not an orderly end
                victim.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                         struct.pack("ii", 1, 0))
            requests = []
            for i in range(random.choice((1, 10, 300))):
                requests += [("SET", f"left:{number}:{i}", "x"), ("MGET", *KEYS),
                             ("RENAME", f"left:{number}:{i}", f"left:{number}:{i + 1}")]
            data = b"".join(encode(*request) for request in requests)
            size = random.randrange(1, len(data) + 1)
            victim.send(data[:size])
            if count % 2 and size >= len(encode(*requests[0])):
                victim.read_reply()
        count += 1
    return count


def test_clients_that_vanish_do_no_harm(server):
    client = server.client()
    client.mset({key: "x" * 1000 for key in KEYS})
    at_least(run_all(server.port, [(abandon_pipelines, n) for n in range(4)]), 10)
    assert client.ping()
    assert client.dbsize() == len(client.keys("*")) == len(set(client.scan_iter(count=1000)))
    assert client.mget(KEYS) == [b"x" * 1000] * len(KEYS)


# What stops all shards, in the midst of load.

def write_one_word(line, clock, db, word):
    """Every key of a database holds the same word, or none is there."""
    assert line.call("SELECT", db) == "OK"
    count = 0
    pairs = [w for key in KEYS for w in (key, word)]
    while clock.running():
        assert line.call("MSET", *pairs) == "OK"
        count += 1
    return count


def see_one_word(line, clock):
    count = 0
    while clock.running():
        assert line.call("SELECT", random.randrange(2)) == "OK"
        for values in line.run(*[("MGET", *KEYS)] * 5):
            assert len(set(values)) == 1, f"databases are mixed: {values}"
        count += 1
    return count


def swap_and_flush(line, clock, flush):
    count = 0
    while clock.running():
        assert line.call("SWAPDB", 0, 1) == "OK"
        if flush:
            assert line.run(("FLUSHALL",), ("SELECT", count % 2), ("FLUSHDB",)) == ["OK"] * 3
        count += 1
    return count


def change_options(line, clock):
    count = 0
    while clock.running():
        assert line.call("CONFIG", "SET", "maxclients", 5000 + count % 7) == "OK"
        assert line.call("CONFIG", "GET", "maxclients")[1] == b"%d" % (5000 + count % 7)
        count += 1
    assert line.call("CONFIG", "SET", "maxclients", 10000) == "OK"
    return count


@pytest.mark.parametrize("flush", [False, True])
def test_swapdb_and_flushes_in_the_midst_of_load(server, flush):
    at_least(run_all(server.port, [
        (write_one_word, 0, "zero"), (write_one_word, 1, "one"), (see_one_word,),
        (see_one_word,), (swap_and_flush, flush),
    ]), 5)


def test_config_set_in_the_midst_of_load(server):
    server.client().mset({key: 0 for key in KEYS})
    acknowledged = FORK.Value("q", 0)
    at_least(run_all(server.port, [
        (change_options,), (write_versions, acknowledged), (read_versions, acknowledged, 10),
        (count_other, "other"),
    ]), 5)


def count_other(line, clock, key):
    total = 0
    while clock.running():
        total += 1
        assert line.call("INCR", key) == total
    return total
