"""Memory goes back to the system after a churn: whatever the values are, within seconds, on any
number of shards. Ratios on larger data: bench/fragmentation.py."""

import os
import random
import time

import pytest

from harness import encode
from test_info_config import info

KEYS = 400
ELEMENTS = 300
SETTLE_SECONDS = 20

GROW = {
    "string": lambda k, e: ["SET", f"string:{k}:{e}", "v" * (20 + k * e % 3000)],
    "hash": lambda k, e: ["HSET", f"hash:{k}", f"field:{e}", "v" * (70 + k * e % 200)],
    "set": lambda k, e: ["SADD", f"set:{k}", f"{e}:" + "m" * (k * e % 200)],
    "zset": lambda k, e: ["ZADD", f"zset:{k}", e % 50, f"{e}:" + "m" * (k * e % 200)],
    "list": lambda k, e: ["RPUSH", f"list:{k}", "v" * (k * e % 400)],
    "stream": lambda k, e: ["XADD", f"stream:{k}", f"{e + 1}-0", "f", "v" * (k * e % 400)],
}


def resident(server):
    with open(f"/proc/{server.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def send(client, commands):
    for at in range(0, len(commands), 500):
        part = commands[at:at + 500]
        client.send(b"".join(encode(*command) for command in part))
        for _ in part:
            client.read_reply()


def churn(client, kind, chance):
    """Three of four go, spread over all."""
    for element in range(ELEMENTS):
        send(client, [GROW[kind](k, element) for k in range(KEYS)])
    if kind == "string":
        names = [f"string:{k}:{e}" for k in range(KEYS) for e in range(ELEMENTS)]
    else:
        names = [f"{kind}:{k}" for k in range(KEYS)]
    send(client, [["DEL", name] for name in names if chance.random() < 0.75])


@pytest.mark.skipif("LASCA_LONG" not in os.environ, reason="takes long: LASCA_LONG")
@pytest.mark.parametrize("kind", list(GROW))
def test_what_is_resident_follows_what_is_used(fresh_server, kind):
    server = fresh_server("--enable-debug-command", "yes")
    with server.raw() as client:
        if info(client, "memory")["mem_allocator"] == "libc":
            pytest.skip("a sanitizer's allocator")
        send(client, [["PING"]] * 1000)
        empty = resident(server)
        shards = int(info(client, "server")["shards"])
        churn(client, kind, random.Random(1))
        before = client.call("DEBUG", "DIGEST")
        deadline = time.monotonic() + SETTLE_SECONDS
        # An eighth, and on each core some pages of each size, and its receive buffers.
        while True:
            used = int(info(client, "memory")["used_memory"])
            held = resident(server) - empty
            if held < used * 1.125 + (2 + shards) * 2**20:
                break
            assert time.monotonic() < deadline, (held, used)
            time.sleep(0.2)
        assert client.call("DEBUG", "DIGEST") == before
