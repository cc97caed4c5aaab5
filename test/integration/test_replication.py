"""What a lone server says to those who would replicate it, and WAIT and WAITAOF."""

import subprocess
import threading
import time

import harness
import pytest
import redis

NO_REPLICAS = b"SYNC and PSYNC are not supported"
AOF_IS_OFF = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."


def seconds(function, *args):
    """Its result, and how long it took."""
    begun = time.monotonic()
    result = function(*args)
    return result, time.monotonic() - begun


class Waiter:
    """A client that waits in a command, on a thread."""

    def __init__(self, server, *words, before=()):
        self.raw = server.raw()
        self.id = self.raw.call("CLIENT", "ID")
        for request in before:
            self.raw.call(*request)
        self.reply = None
        self.thread = threading.Thread(target=self.run, args=words)
        self.thread.start()
        deadline = time.monotonic() + 10
        with server.raw() as other:
            while b"flags=b" not in other.call("CLIENT", "LIST", "ID", self.id):
                assert time.monotonic() < deadline, "it does not wait"
                time.sleep(0.005)

    def run(self, *words):
        try:
            self.reply = self.raw.call(*words)
        except harness.Closed:
            self.reply = "closed"

    def end(self):
        self.thread.join(10)
        assert not self.thread.is_alive(), "it waits still"
        self.raw.close()
        return self.reply


def test_becoming_a_replica_is_refused(raw):
    for name in ("REPLICAOF", "SLAVEOF"):
        reply = raw.call(name, "127.0.0.1", "6379")
        assert reply.startswith("ERR REPLICAOF is not supported")
    assert raw.call("ROLE") == [b"master", 0, []]
    assert b"role:master\r\nconnected_slaves:0\r\n" in raw.call("INFO", "replication")


def test_a_replica_and_redis_cli_are_told_why_there_is_nothing_to_copy(server, tmp_path):
    rdb = subprocess.run(
        ["redis-cli", "-p", str(server.port), "--rdb", str(tmp_path / "x.rdb")],
        capture_output=True, timeout=20)
    assert rdb.returncode != 0 and NO_REPLICAS in rdb.stdout + rdb.stderr
    with server.raw() as raw:
        assert raw.call("PING") == "PONG"
        assert raw.call("REPLCONF", "listening-port", "1234") == "OK"
        assert raw.call("REPLCONF", "capa", "eof", "capa", "psync2") == "OK"
        for words in (("PSYNC", "?", "-1"), ("SYNC",)):
            assert raw.call(*words).startswith("ERR " + NO_REPLICAS.decode())


def test_the_replication_id_changes_by_debug_alone(raw):
    def ids():
        info = dict(line.split(b":", 1) for line in raw.call("INFO").split(b"\r\n") if b":" in line)
        return info[b"run_id"], info[b"master_replid"]
    run_id, before = ids()
    assert ids() == (run_id, before) and before != run_id
    assert raw.call("DEBUG", "CHANGE-REPL-ID") == "OK"
    assert ids()[0] == run_id and ids()[1] != before


def test_replconf_ack_is_not_answered(raw):
    raw.send(harness.encode("REPLCONF", "ACK", "0") + harness.encode("REPLCONF", "GETACK", "*"))
    assert raw.call("PING") == "PONG"


def test_wait_ends_by_its_timeout(raw):
    assert raw.call("WAIT", 0, 0) == 0
    reply, took = seconds(raw.call, "WAIT", 1, 100)
    assert reply == 0 and 0.09 < took < 5


def test_what_stands_behind_a_wait_comes_after_it(raw):
    raw.send(b"".join(harness.encode(*words) for words in (
        ("SET", "k", "1"), ("WAIT", "1", "100"), ("GET", "k"))))
    assert raw.read_reply() == "OK"
    reply, took = seconds(raw.read_reply)
    assert reply == 0 and took > 0.05
    assert raw.read_reply() == b"1"


def test_a_wait_without_timeout_ends_by_client_unblock(server):
    with server.raw() as raw:
        waiter = Waiter(server, "WAIT", 1, 0)
        assert b"blocked_clients:1\r\n" in raw.call("INFO", "clients")
        assert raw.call("CLIENT", "UNBLOCK", waiter.id) == 1
        assert waiter.end() == 0
        waiter = Waiter(server, "WAIT", 1, 0)
        assert raw.call("CLIENT", "UNBLOCK", waiter.id, "ERROR") == 1
        assert waiter.end().startswith("UNBLOCKED")
        waiter = Waiter(server, "WAITAOF", 0, 1, 0)
        assert raw.call("CLIENT", "KILL", "ID", waiter.id) == 1
        assert waiter.end() == "closed"
        assert b"blocked_clients:0\r\n" in raw.call("INFO", "clients")


def test_nothing_waits_in_transactions_and_scripts(client):
    pipe = client.pipeline()
    pipe.execute_command("WAIT", 1, 0)
    pipe.execute_command("WAITAOF", 0, 1, 0)
    assert pipe.execute() == [0, [0, 0]]
    assert client.eval("return redis.call('WAIT', '1', '0')", 0) == 0
    with pytest.raises(redis.ResponseError, match="not allowed from script"):
        client.eval("return redis.call('WAITAOF', '0', '0', '0')", 0)


def test_waitaof_waits_for_the_sync_of_each_second(fresh_server):
    server = fresh_server("--appendonly", "yes", "--appendfsync", "everysec")
    with server.raw() as raw, server.raw() as other:
        raw.call("SET", "a", 1)
        assert raw.call("WAITAOF", 1, 0, 10000) == [1, 0]
        raw.call("SET", "b", 1)  # a second has just begun
        assert raw.call("WAITAOF", 1, 0, 1) == [0, 0]
        reply, took = seconds(other.call, "WAITAOF", 1, 0, 10000)
        assert reply == [1, 0] and took < 0.5, "it has written nothing"
        assert raw.call("WAITAOF", 1, 0, 10000) == [1, 0]


def test_waitaof_with_every_write_synced_does_not_wait(fresh_server):
    server = fresh_server("--appendonly", "yes", "--appendfsync", "always")
    with server.raw() as raw:
        raw.send(b"".join(harness.encode("SET", f"k{i}", "1") for i in range(50)) +
                 harness.encode("WAITAOF", 1, 0, 0) + harness.encode("PING"))
        assert [raw.read_reply() for _ in range(52)] == ["OK"] * 50 + [[1, 0], "PONG"]


def test_waitaof_of_what_is_not_synced(fresh_server):
    server = fresh_server("--appendonly", "yes", "--appendfsync", "no")
    with server.raw() as raw:
        assert raw.call("WAITAOF", 1, 0, 0) == [1, 0]
        raw.call("SET", "k", 1)
        assert raw.call("WAITAOF", 1, 0, 50) == [0, 0]
        waiter = Waiter(server, "WAITAOF", 1, 0, 0, before=[("SET", "x", "1")])
        assert raw.call("CONFIG", "SET", "appendonly", "no") == "OK"
        assert waiter.end() == AOF_IS_OFF
        assert raw.call("WAITAOF", 1, 0, 0) == AOF_IS_OFF
        # What was there before is on disk with the first base.
        assert raw.call("CONFIG", "SET", "appendonly", "yes") == "OK"
        assert raw.call("WAITAOF", 1, 0, 10000) == [1, 0]
