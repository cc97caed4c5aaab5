"""What clients may take: memory of all together (maxmemory-clients), output and query buffers, and
clients that are slow, idle, silent or hostile, beside which others must be served."""

import os
import time

import pytest

from harness import Closed, ReplyError, encode

MB = 1 << 20


def fields(line):
    return dict(part.split("=", 1) for part in line.decode().split())


def clients(raw, name=None):
    lines = [fields(line) for line in raw.call("CLIENT", "LIST").splitlines()]
    return [c for c in lines if name is None or c["name"] == name]


def stat(raw, name):
    for line in raw.call("INFO", "everything").decode().splitlines():
        if line.startswith(name + ":"):
            return int(line.split(":")[1])
    raise AssertionError(f"INFO has no {name}")


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def resident(server):
    with open(f"/proc/{server.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def holder(server, name, size):
    """A client with a request of so many bytes that never comes to its end."""
    r = server.raw()
    assert r.call("CLIENT", "SETNAME", name) == "OK"
    r.send(b"*2\r\n$%d\r\n" % (size + 1) + b"v" * size)
    return r


@pytest.fixture
def limited(fresh_server):
    server = fresh_server("--maxmemory-clients", 4 * MB)
    with server.raw() as r:
        assert r.call("CLIENT", "NO-EVICT", "ON") == "OK"
        server.control = r
        yield server


# --- maxmemory-clients ---


def test_a_large_request_costs_its_sender_the_connection_and_does_not_run(limited):
    with limited.raw() as r:
        assert r.call("SET", "k", "x" * MB) == "OK"
        try:
            r.send(encode("MSET", "k", "changed", "l", "x" * 5 * MB))
            assert r.read_until_closed() == b""
        except OSError:
            pass
    assert limited.control.call("STRLEN", "k") == MB
    assert stat(limited.control, "evicted_clients") == 1
    assert "Evicting client: id=" in limited.log()


def test_the_largest_go_first_and_no_more_than_must(limited):
    control = limited.control
    assert control.call("CONFIG", "SET", "maxmemory-clients", 0) == "OK"
    kept = [holder(limited, f"s{i}", 100_000) for i in range(6)]
    kept += [holder(limited, f"m{i}", 600_000) for i in range(4)]
    kept += [holder(limited, f"l{i}", 2_500_000) for i in range(2)]
    wait_until(lambda: sum(int(c["qbuf"]) for c in clients(control)) >= 8_000_000)
    assert control.call("CONFIG", "SET", "maxmemory-clients", 4 * MB) == "OK"
    wait_until(lambda: stat(control, "evicted_clients") == 2)
    names = sorted(c["name"][:1] for c in clients(control) if c["name"])
    assert names == ["m"] * 4 + ["s"] * 6
    assert control.call("CONFIG", "SET", "maxmemory-clients", 800_000) == "OK"
    wait_until(lambda: stat(control, "evicted_clients") == 6)
    names = sorted(c["name"][:1] for c in clients(control) if c["name"])
    assert names == ["s"] * 6
    for r in kept:
        r.close()


def test_no_evict_spares_and_can_be_taken_back(limited):
    with limited.raw() as r:
        assert r.call("CLIENT", "NO-EVICT", "ON") == "OK"
        assert r.call("CLIENT", "SETNAME", "spared") == "OK"
        limited.control.call("SET", "big", "x" * 6 * MB)
        r.send(encode("GET", "big") * 3)
        wait_until(lambda: int(clients(limited.control, "spared")[0]["tot-mem"]) > 4 * MB)
        assert stat(limited.control, "evicted_clients") == 0
        r.send(encode("CLIENT", "NO-EVICT", "OFF"))
        wait_until(lambda: stat(limited.control, "evicted_clients") == 1)
        assert not clients(limited.control, "spared")


@pytest.mark.parametrize("command", [
    lambda i: encode("SUBSCRIBE", f"channel-{i:030}"),
    lambda i: encode("WATCH", f"key-{i:030}"),
    lambda i: encode("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", f"prefix-{i:030}"),
], ids=["subscriptions", "watches", "prefixes"])
def test_what_clients_leave_elsewhere_counts(limited, command):
    assert limited.control.call("CONFIG", "SET", "maxmemory-clients", 200_000) == "OK"
    with limited.raw() as r, pytest.raises((Closed, OSError)):
        for i in range(0, 20000, 50):
            r.send(b"".join(command(j) for j in range(i, i + 50)))
            for _ in range(50):
                r.read_reply()
    assert stat(limited.control, "evicted_clients") == 1


def test_a_queue_of_multi_counts(limited):
    with limited.raw() as r, pytest.raises((Closed, OSError)):
        r.call("MULTI")
        for _ in range(8):
            r.call("SET", "k", "x" * MB)
    assert stat(limited.control, "evicted_clients") == 1


def test_subscribers_that_do_not_read_count_with_messages_that_they_share(limited):
    control = limited.control
    control.call("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
    slow = [limited.raw() for _ in range(3)]
    for r in slow:
        r.call("SUBSCRIBE", "c")
    for _ in range(40):
        control.call("PUBLISH", "c", "x" * MB)
        if stat(control, "evicted_clients"):
            break
    assert stat(control, "evicted_clients") >= 1
    for r in slow:
        r.close()


# --- Output and query buffers ---


def test_what_is_cut_for_its_output_is_told_in_the_log(fresh_server):
    server = fresh_server("--client-output-buffer-limit", "normal 1mb 0 0")
    with server.raw() as control, server.raw() as r:
        control.call("SET", "big", "x" * 300_000)
        r.send(encode("GET", "big") * 200)
        try:
            r.read_until_closed()
        except OSError:
            pass
        assert stat(control, "client_output_buffer_limit_disconnections") == 1
        log = server.log()
        assert "scheduled to be closed ASAP for overcoming of output buffer limits." in log
        assert "Client id=" in log


@pytest.mark.parametrize("args", [
    ("HRANDFIELD", "h", -999999999), ("SRANDMEMBER", "s", -999999999),
    ("ZRANDMEMBER", "z", -999999999, "WITHSCORES"),
])
def test_a_reply_without_end_is_not_written_to_its_end(fresh_server, args):
    server = fresh_server("--client-output-buffer-limit", "normal 1mb 0 0")
    with server.raw() as control:
        control.call("HSET", "h", "f", "v" * 100)
        control.call("SADD", "s", "m" * 100)
        control.call("ZADD", "z", 1, "m" * 100)
        with server.raw() as r:
            r.send(encode(*args))
            assert r.read_until_closed() == b""
        assert control.call("PING") == "PONG"
        assert resident(server) < 300 * MB


def test_a_query_buffer_above_its_limit_is_told_in_the_log(fresh_server):
    server = fresh_server("--client-query-buffer-limit", MB)
    with server.raw() as control, server.raw() as r:
        try:
            r.send(b"*2\r\n$3000000\r\n" + b"x" * 2 * MB)
            r.read_until_closed()
        except OSError:
            pass
        assert stat(control, "client_query_buffer_limit_disconnections") == 1
        assert "Closing client that reached max query buffer length: id=" in server.log()


def test_a_large_request_takes_its_own_size_and_not_twice(server, raw):
    size = 5 * MB
    r = holder(server, "large", size)
    wait_until(lambda: int(clients(raw, "large")[0]["qbuf"]) == size)
    assert size <= int(clients(raw, "large")[0]["tot-mem"]) < size * 1.1
    r.close()


# --- Weak and hostile clients ---


def test_what_is_announced_takes_no_memory(fresh_server):
    server = fresh_server()
    with server.raw() as control:
        before = resident(server)
        silent = [server.raw() for _ in range(60)]
        for i, r in enumerate(silent):
            r.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc" if i % 2 else
                   b"*1000000\r\n$3\r\n")
        wait_until(lambda: sum(int(c["qbuf"]) > 0 for c in clients(control)) >= 60)
        assert resident(server) - before < (100 * MB if "SANITIZER" in os.environ else 20 * MB)
        assert control.call("PING") == "PONG"
        for r in silent:
            r.close()


def test_clients_without_a_password_hold_little(fresh_server):
    server = fresh_server("--requirepass", "secret")
    with server.raw() as control:
        assert control.call("AUTH", "secret") == "OK"
        for request in (b"*11\r\n", b"*1\r\n$16385\r\n", b"x" * 70_000):
            with server.raw() as r:
                r.send(request)
                assert isinstance(r.read_reply(), ReplyError)
                r.expect_closed()
        with server.raw() as r:
            r.send(b"*10\r\n" + b"$16384\r\n%s\r\n" % (b"x" * 16384) * 9)
            wait_until(lambda: len(clients(control)) == 2)
            assert max(int(c["tot-mem"]) for c in clients(control)) < 400_000


def test_requests_byte_by_byte_are_answered(server):
    request = encode("ECHO", "slow")
    slow = [server.raw() for _ in range(50)]
    for i in range(len(request)):
        for r in slow:
            r.send(request[i:i + 1])
    for r in slow:
        assert r.read_reply() == b"slow"
        r.close()


def test_a_storm_of_connections_leaves_none_behind(server, raw):
    for _ in range(5):
        storm = [server.raw() for _ in range(100)]
        for i, r in enumerate(storm):
            if i % 2:
                r.send(b"PING\r\n*1\r\n$4\r\nPI")
            r.close()
        assert raw.call("PING") == "PONG"
    wait_until(lambda: len(clients(raw)) == 1)


def test_keys_that_are_due_stay_during_a_pause(server, raw):
    with server.raw() as other:
        removed = stat(raw, "expired_keys")
        for i in range(5):
            raw.call("SET", f"due{i}", "v", "PX", 150)
        assert raw.call("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
        try:
            time.sleep(0.4)
            assert [other.call("GET", f"due{i}") for i in range(5)] == [None] * 5
            assert other.call("EXISTS", "due1", "due2") == 0
            assert other.call("DBSIZE") == 5
            assert stat(raw, "expired_keys") == removed
        finally:
            assert raw.call("CLIENT", "UNPAUSE") == "OK"
        wait_until(lambda: raw.call("DBSIZE") == 0)
        assert stat(raw, "expired_keys") == removed + 5


def test_kill_by_user_takes_only_that_users(server, raw):
    assert raw.call("ACL", "SETUSER", "ann", "on", "nopass", "+@all", "~*") == "OK"
    with server.raw() as r:
        assert r.call("AUTH", "ann", "x") == "OK"
        assert raw.call("CLIENT", "KILL", "USER", "ann") == 1
        r.expect_closed()
    assert raw.call("CLIENT", "KILL", "USER", "nobody-here").startswith("ERR No such user")
    assert raw.call("ACL", "DELUSER", "ann") == 1
