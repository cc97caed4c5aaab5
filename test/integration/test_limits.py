"""Limits and refusals, of clients while it runs and of options at the start."""

import time

import pytest

from harness import Closed, encode, free_port, run_to_end


def test_too_many_clients_are_told_so(fresh_server):
    server = fresh_server("--maxclients", 10)
    raws = []
    try:
        deadline = time.monotonic() + 5
        while len(raws) < 10 and time.monotonic() < deadline:
            r = server.raw()
            raws.append(r)
            try:
                assert r.call("PING") == "PONG"
            except (Closed, AssertionError):
                raws.pop().close()  # the harness's first connection was not gone yet
        assert len(raws) == 10
        with server.raw() as late:
            assert late.read_reply() == "ERR max number of clients reached"
            late.expect_closed()
        raws.pop().close()
        deadline = time.monotonic() + 5
        while True:
            with server.raw() as r:
                r.send(b"PING\r\n")
                if r.read_reply() == "PONG":
                    break
            assert time.monotonic() < deadline, "a place that became free is not given away"
    finally:
        for r in raws:
            r.close()


def test_a_password_is_asked_for(fresh_server):
    server = fresh_server("--requirepass", "secret")
    with server.raw() as r:
        assert r.call("GET", "a") == "NOAUTH Authentication required."
        assert r.call("NOSUCH").startswith("ERR unknown command")
        assert r.call("AUTH", "wrong") == (
            "WRONGPASS invalid username-password pair or user is disabled.")
        assert r.call("AUTH", "nobody", "secret").startswith("WRONGPASS ")
        assert r.call("AUTH", "secret") == "OK"
        assert r.call("GET", "a") is None
        assert r.call("AUTH", "default", "secret") == "OK"
    client = server.client(password="secret")
    assert client.ping()


def test_auth_without_a_password_is_an_error(raw):
    assert raw.call("AUTH", "x").startswith("ERR AUTH <password> called without any password")


def test_unauthenticated_commands_change_nothing(fresh_server):
    server = fresh_server("--requirepass", "secret")
    with server.raw() as r:
        r.send(encode("SET", "a", "1") * 100 + encode("AUTH", "secret") + encode("DBSIZE"))
        replies = [r.read_reply() for _ in range(102)]
    assert set(replies[:100]) == {"NOAUTH Authentication required."}
    assert replies[100:] == ["OK", 0]


def test_the_query_buffer_is_limited(fresh_server):
    server = fresh_server("--client-query-buffer-limit", "1mb")
    with server.raw() as r:
        try:
            r.send(b"*2\r\n$4\r\nECHO\r\n$10000000\r\n" + b"x" * 4000000)
            r.expect_closed()
        except (ConnectionResetError, BrokenPipeError):
            pass
    with server.raw() as r:
        assert r.call("ECHO", "y" * 500000) == b"y" * 500000


def test_a_slow_reader_is_cut_off_at_the_output_limit(fresh_server):
    server = fresh_server("--client-output-buffer-limit", "normal", "5mb", "0", "0")
    with server.raw() as slow, server.raw() as other:
        other.call("SET", "big", b"x" * 1000000)
        try:
            slow.send(encode("GET", "big") * 200)
            received = len(slow.read_until_closed())
            assert received < 200 * 1000000
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert other.call("PING") == "PONG"


def test_bulk_length_follows_its_option(fresh_server):
    server = fresh_server("--proto-max-bulk-len", "2mb")
    with server.raw() as r:
        assert r.call("SET", "a", b"x" * (2 << 20)) == "OK"
        r.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2097153\r\n")
        assert r.read_reply() == "ERR Protocol error: invalid bulk length"
        r.expect_closed()


def test_strings_do_not_grow_above_the_limit(raw):
    text = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    assert raw.call("SETRANGE", "a", "536870911", "xx") == text
    assert raw.call("SETBIT", "a", "4294967296", "1") == (
        "ERR bit offset is not an integer or out of range")
    assert raw.call("EXISTS", "a") == 0


def test_idle_clients_are_closed_after_the_timeout(fresh_server):
    server = fresh_server("--timeout", 1)
    with server.raw() as idle, server.raw() as busy:
        idle.call("PING")
        start = time.monotonic()
        idle.socket.settimeout(0.05)
        while True:
            assert busy.call("PING") == "PONG"
            try:
                idle.expect_closed()
                break
            except TimeoutError:
                assert time.monotonic() - start < 5, "the idle client stays"
        assert time.monotonic() - start > 0.9
        assert busy.call("PING") == "PONG"


def test_a_port_in_use_is_said_with_the_cure(server):
    status, output = run_to_end("--port", server.port, "--bind", "127.0.0.1")
    assert status == 1
    assert f"port {server.port} is in use by another program" in output
    assert "--port" in output
    assert (f"Could not create server TCP listening socket 127.0.0.1:{server.port}: bind: "
            "Address already in use") in output
    assert len(output.strip().splitlines()) == 2


def check_complaint(output, words):
    """The last line names the cure, alone or behind a few in Redis's words."""
    *before, last = output.strip().splitlines()
    assert last.startswith("lasca-server: ")
    for word in words:
        assert word in last
    if before:
        assert len(before) <= 4
        assert before[0].startswith(("*** FATAL CONFIG FILE ERROR (Redis 7.2.", "# "))


@pytest.mark.parametrize("text, line, words", [
    ("port 7000\nprot 1\n", 2, ["'prot'", "'port'"]),
    ("\n# comment\nmaxclients many\n", 3, ["maxclients", "number", "'many'"]),
    ("timeout -1\n", 1, ["timeout"]),
    ("databases 0\n", 1, ["databases"]),
    ("io-backend select\n", 1, ["io-backend", "epoll"]),
    ("protected-mode maybe\n", 1, ["protected-mode", "yes"]),
    ("requirepass \"open\n", 1, ["quot"]),
])
def test_a_mistake_in_the_file_stops_the_start(tmp_path, text, line, words):
    path = tmp_path / "lasca.conf"
    path.write_text(text)
    status, output = run_to_end(path, "--port", free_port())
    assert status == 1
    assert f"lasca.conf:{line}: " in output
    check_complaint(output, words)


@pytest.mark.parametrize("args, words", [
    (("--prot", "1"), ["--prot", "--port"]),
    (("--port", "70000"), ["--port", "65535"]),
    (("--shards", "x"), ["--shards", "'x'"]),
    (("/no/such/file.conf",), ["/no/such/file.conf"]),
    (("--bind", "example"), ["example", "--bind"]),
    (("--dir", "/no/such/directory"), ["/no/such/directory"]),
])
def test_a_mistake_on_the_command_line_stops_the_start(args, words):
    status, output = run_to_end(*args)
    assert status == 1
    check_complaint(output, words)


def test_options_come_from_file_and_command_line(fresh_server, tmp_path):
    path = tmp_path / "lasca.conf"
    path.write_text("databases 4\nrequirepass \"two words\"\n")
    server = fresh_server("--include", path, "--databases", 5)
    with server.raw() as r:
        assert r.call("AUTH", "two words") == "OK"
        assert r.call("SELECT", 4) == "OK"
        assert r.call("SELECT", 5) == "ERR DB index is out of range"


def test_the_soft_output_limit_holds_for_a_client_that_is_quiet(fresh_server):
    server = fresh_server("--client-output-buffer-limit", "normal 0 1mb 1")
    with server.raw() as quiet, server.raw() as other:
        other.call("SET", "big", b"x" * 20000000)
        quiet.send(encode("GET", "big"))
        deadline = time.monotonic() + 10
        while b"cmd=get" in other.call("CLIENT", "LIST"):
            assert time.monotonic() < deadline, "the client is still connected"
            time.sleep(0.1)


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n"])
def test_http_is_not_served(server, line):
    with server.raw() as r:
        r.send(line + b"SET attacked 1\r\n")
        r.expect_closed()
    with server.raw() as r:
        assert r.call("EXISTS", "attacked") == 0


@pytest.mark.parametrize("args", [("--port", "0"), ("--bind", "")])
def test_listening_nowhere_stops_the_start(args):
    status, output = run_to_end(*args)
    assert status == 1
    assert "not listen anywhere" in output
