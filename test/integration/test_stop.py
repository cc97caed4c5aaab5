"""The end: by signal or by SHUTDOWN, replies owed are sent, the status is 0, the port is free."""

import signal
import socket
import threading
import time

import pytest

from harness import Closed, encode, run_to_end


def assert_port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server(fresh_server, number):
    server = fresh_server()
    start = time.monotonic()
    server.signal(number)
    server.check_end()
    assert time.monotonic() - start < 5
    assert_port_is_free(server.port)


@pytest.mark.parametrize("words", [("SHUTDOWN",), ("SHUTDOWN", "NOSAVE"), ("shutdown", "now")])
def test_shutdown_ends_the_server_without_a_reply(fresh_server, words):
    server = fresh_server()
    with server.raw() as r:
        r.send(encode("SET", "a", "1") + encode(*words))
        assert r.read_reply() == "OK"
        r.expect_closed()
    server.check_end()
    assert_port_is_free(server.port)


@pytest.mark.parametrize("busy", [False, True])
def test_who_is_closed_by_the_stop_cannot_connect_again(fresh_server, busy):
    server = fresh_server("--busy-reply-threshold", "10")
    with server.raw() as r, server.raw() as other, server.raw() as script:
        if busy:
            script.send(encode("EVAL", "while true do end", 0))
            time.sleep(0.2)
        r.send(encode("SHUTDOWN", "NOSAVE"))
        for closed in (r, other):
            closed.expect_closed()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), timeout=5)
    server.check_end()


def test_idle_connections_are_closed(fresh_server):
    server = fresh_server()
    raws = [server.raw() for _ in range(300)]
    for r in raws[::3]:
        assert r.call("PING") == "PONG"
    raws[1].send(b"*2\r\n$3\r\nGET\r\n$100\r\nunfinished")
    server.signal(signal.SIGTERM)
    for r in raws:
        r.expect_closed()
        r.close()
    server.check_end()


@pytest.mark.parametrize("how", ["signal", "shutdown"])
def test_replies_owed_are_sent(fresh_server, how):
    server = fresh_server()
    value = b"v" * 20000
    count = 400
    with server.raw() as reader, server.raw() as other:
        reader.call("SET", "value", value)
        reader.send(encode("GET", "value") * count + encode("SET", "done", "1"))
        deadline = time.monotonic() + 10
        while other.call("GET", "done") is None:
            assert time.monotonic() < deadline, "the pipeline has not run"
            time.sleep(0.01)
        if how == "signal":
            server.signal(signal.SIGTERM)
        else:
            other.send(encode("SHUTDOWN", "NOSAVE"))
        time.sleep(0.2)
        assert [reader.read_reply() for _ in range(count + 1)] == [value] * count + ["OK"]
        reader.expect_closed()
    server.check_end()


def test_a_reader_that_does_not_read_delays_the_end_only_so_long(fresh_server):
    server = fresh_server()
    with server.raw() as stuck:
        stuck.call("SET", "big", b"x" * 1000000)
        stuck.send(encode("GET", "big") * 50)
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        server.check_end()


def test_the_server_ends_under_load(fresh_server):
    server = fresh_server()
    answered = []

    def load(number):
        count = 0
        try:
            with server.raw() as r:
                while True:
                    r.send(b"".join(encode("INCR", f"n:{number}:{i}") + encode("MGET", "n", f"{i}")
                                    for i in range(50)))
                    for _ in range(100):
                        r.read_reply()
                        count += 1
        except (Closed, OSError):
            answered.append(count)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    server.signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    server.check_end()
    assert min(answered) > 0


def test_a_server_starts_again_on_the_same_port(fresh_server):
    server = fresh_server()
    for turn in range(3):
        with server.raw() as r:
            assert r.call("DBSIZE") == 0
            assert r.call("SET", "turn", turn) == "OK"
        server.restart()


def test_shutdown_refuses_nonsense_and_goes_on(server):
    with server.raw() as r:
        assert r.call("SHUTDOWN", "NONSENSE") == "ERR syntax error"
        assert r.call("SHUTDOWN", "SAVE", "NOSAVE") == "ERR syntax error"
        assert r.call("SHUTDOWN", "ABORT") == "ERR No shutdown in progress."
        assert r.call("PING") == "PONG"


def test_version_and_help_need_no_server():
    status, output = run_to_end("--version")
    assert status == 0 and output.startswith("Lasca server v=")
    status, output = run_to_end("--help")
    assert status == 0 and "usage: lasca-server" in output


def test_many_shutdowns_at_once_end_cleanly(fresh_server):
    server = fresh_server()
    raws = [server.raw() for _ in range(8)]
    for r in raws:
        r.send(encode("SHUTDOWN", "NOSAVE"))
    server.check_end()
    for r in raws:
        r.close()


def test_a_stray_signal_does_not_stop_the_server(fresh_server):
    server = fresh_server()
    server.signal(signal.SIGUSR2)
    server.signal(signal.SIGHUP)
    time.sleep(0.2)
    with server.raw() as r:
        assert r.call("PING") == "PONG"


@pytest.mark.parametrize("forced", [False, True])
def test_the_first_append_only_file_is_waited_for(fresh_server, forced):
    """Until it is whole a start with appendonly would load none of the data."""
    server = fresh_server()
    with server.raw() as r:
        for i in range(100):
            r.call("SET", i, i)
        assert r.call("CONFIG", "SET", "rdb-key-save-delay", 100000) == "OK"
        assert r.call("CONFIG", "SET", "appendonly", "yes") == "OK"
        assert r.call("SHUTDOWN", "NOSAVE") == "ERR Errors trying to SHUTDOWN. Check logs."
        if forced:
            r.send(encode("SHUTDOWN", "FORCE"))
            r.expect_closed()
            server.check_end()
            return
        assert r.call("CONFIG", "SET", "rdb-key-save-delay", 0) == "OK"
        while b"aof_rewrite_in_progress:1" in r.call("INFO", "persistence"):
            time.sleep(0.01)
    server.restart("--appendonly", "yes")
    with server.raw() as r:
        assert r.call("DBSIZE") == 100
