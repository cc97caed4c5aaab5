"""MONITOR: commands of all shards as lines, in order, and at no cost once nobody looks."""

import re
import threading
import time

import pytest

LINE = re.compile(rb'^(\d+\.\d{6}) \[(\d+) (lua|[^ \]]+)\] (.*)$')
KEYS = [f"key:{i}" for i in range(16)]


class Monitor:
    def __init__(self, server):
        self.raw = server.raw()
        assert self.raw.call("MONITOR") == "OK"

    def line(self):
        """The next line's parts: time, database, who, command."""
        text = self.raw.read_reply()
        match = LINE.match(text.encode("latin1") if isinstance(text, str) else text)
        assert match, text
        return match.groups()

    def commands(self, end):
        """Up to the command `end`, which is not among them."""
        seen = []
        while True:
            command = self.line()[3].decode()
            if command == end:
                return seen
            seen.append(command)


@pytest.fixture
def monitor(server):
    m = Monitor(server)
    yield m
    m.raw.close()


def wait_for_flag(server, expected):
    with server.raw() as r:
        deadline = time.monotonic() + 5
        while (b"flags=O" in r.call("CLIENT", "LIST")) != expected:
            assert time.monotonic() < deadline


def test_line_says_when_where_who_and_what(server, monitor):
    with server.raw() as r:
        address = r.call("CLIENT", "INFO").split(b" addr=")[1].split(b" ")[0]
        r.call("SELECT", "3")
        r.call("SET", "a\r\n\"\\", b"\x01\xff\t\a\b")
        monitor.line(), monitor.line()
        at, db, who, command = monitor.line()
    assert abs(float(at) - time.time()) < 60
    assert (db, who) == (b"3", address)
    assert command == rb'"SET" "a\r\n\"\\" "\x01\xff\t\a\b"'


def test_one_connections_commands_come_in_order_from_all_shards(server, monitor):
    with server.raw() as r:
        expected = []
        for key in KEYS:
            r.call("SET", key, "x")
            r.call("GET", key)
            expected += [f'"SET" "{key}" "x"', f'"GET" "{key}"']
        r.call("MGET", *KEYS)
        r.call("ECHO", "end")
    assert monitor.commands('"ECHO" "end"') == expected + [
        '"MGET" ' + " ".join(f'"{key}"' for key in KEYS)]


def test_commands_on_one_key_come_in_the_order_of_execution(server, monitor):
    """APPENDs of several clients: the value says in which order they ran."""
    def load(name):
        with server.raw() as r:
            for i in range(100):
                r.call("APPEND", "key", f"{name}{i:02}")

    threads = [threading.Thread(target=load, args=(name,)) for name in "abcd"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with server.raw() as r:
        value = r.call("GET", "key").decode()
        r.call("ECHO", "end")
    shown = [c.split('"')[5] for c in monitor.commands('"ECHO" "end"') if "APPEND" in c]
    assert sorted(shown) == sorted(value[i:i + 3] for i in range(0, len(value), 3))
    assert len(shown) == 400
    for name in "abcd":
        assert [x for x in shown if x[0] == name] == [f"{name}{i:02}" for i in range(100)]


def test_scripts_and_transactions_show_what_they_run(server, monitor):
    script = "redis.call('set', KEYS[1], 1) return redis.call('get', 'key:7')"
    with server.raw() as r:
        r.call("EVAL", script, "1", "key:1")
        r.send(b"MULTI\r\nSET key:1 1\r\nMGET key:1 key:2 key:3\r\nPUBLISH c m\r\nEXEC\r\n")
        for _ in range(5):
            r.read_reply()
        r.call("ECHO", "end")
    shown = monitor.commands('"ECHO" "end"')
    assert shown[:4] == [
        f'"EVAL" "{script}" "1" "key:1"', '"set" "key:1" "1"', '"get" "key:7"', '"MULTI"']
    assert sorted(shown[4:7]) == [  # on several shards at once
        '"MGET" "key:1" "key:2" "key:3"', '"PUBLISH" "c" "m"', '"SET" "key:1" "1"']
    assert shown[7:] == ['"EXEC"']


def test_who_runs_within_a_script_is_lua(server, monitor):
    with server.raw() as r:
        r.call("EVAL", "return redis.call('get', 'a')", "0")
    assert monitor.line()[2] != b"lua"
    assert monitor.line()[2] == b"lua"


def test_secrets_and_administration_are_not_shown(server, monitor):
    with server.raw() as r:
        r.call("AUTH", "somebody", "secret")
        r.call("HELLO", "2", "AUTH", "somebody", "secret")
        r.call("CONFIG", "GET", "port")
        r.call("SLOWLOG", "LEN")
        r.call("NOSUCH", "x")
        r.call("ECHO", "end")
    assert monitor.commands('"ECHO" "end"') == [
        '"AUTH" "(redacted)" "(redacted)"',
        '"HELLO" "2" "AUTH" "(redacted)" "(redacted)"']


def test_a_command_that_waits_is_shown_once(server, monitor):
    with server.raw() as waiter, server.raw() as r:
        waiter.send(b"BLPOP list 0\r\n")
        while b"blocked_clients:1" not in r.call("INFO", "clients"):
            pass
        r.call("RPUSH", "list", "x")
        waiter.read_reply()
        r.call("ECHO", "end")
    shown = [c for c in monitor.commands('"ECHO" "end"') if "INFO" not in c]
    assert sorted(shown) == ['"BLPOP" "list" "0"', '"RPUSH" "list" "x"']


def test_flag_goes_with_reset_and_with_the_connection(server):
    m = Monitor(server)
    wait_for_flag(server, True)
    m.raw.send(b"RESET\r\n")
    while m.raw.read_reply() != "RESET":
        pass
    wait_for_flag(server, False)
    assert m.raw.call("PING") == "PONG"
    m.raw.call("MONITOR")
    wait_for_flag(server, True)
    m.raw.close()
    wait_for_flag(server, False)


def test_several_monitors_see_the_same(server):
    monitors = [Monitor(server) for _ in range(5)]
    with server.raw() as r:
        for key in KEYS:
            r.call("SET", key, "x")
        r.call("ECHO", "end")
    seen = [m.commands('"ECHO" "end"') for m in monitors]
    assert all(s == [f'"SET" "{key}" "x"' for key in KEYS] for s in seen)
    for m in monitors:
        m.raw.close()


def test_what_ran_before_is_not_shown(server, monitor):
    with server.raw() as r:
        for i in range(20):
            r.call("SET", KEYS[i % 16], i)
            late = Monitor(server)
            r.call("ECHO", i)
            assert late.line()[3].decode() == f'"ECHO" "{i}"'
            late.raw.close()
        r.call("ECHO", "end")
    assert len(monitor.commands('"ECHO" "end"')) == 40
