"""Where the server listens: addresses, ports and a Unix socket, at the start and changed while
clients are connected."""

import os
import socket
import stat

import pytest

import harness
from harness import Raw

PORT_ERROR = ("ERR CONFIG SET failed (possibly related to argument 'port') - "
              "Unable to listen on this port. Check server logs.")
BIND_ERROR = ("ERR CONFIG SET failed (possibly related to argument 'bind') - "
              "Failed to bind to specified addresses.")


def refuses(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError:
        return False
    return True


def fields(line):
    return dict(part.split("=", 1) for part in line.decode().split())


@pytest.fixture
def unix_server(fresh_server):
    server = fresh_server("--unixsocket", "server.sock", "--unixsocketperm", "700")
    server.path = os.path.join(server.directory.name, "server.sock")
    return server


def test_a_unix_socket_has_its_permissions_and_serves(unix_server):
    assert stat.S_IMODE(os.stat(unix_server.path).st_mode) == 0o700
    with Raw(unix_server.path) as r:
        assert r.call("PING") == "PONG"
        line = fields(r.call("CLIENT", "INFO"))
        assert line["addr"] == line["laddr"] == "server.sock:0"
        assert line["flags"] == "U"
        info = r.call("INFO", "server").decode()
        assert f"listener0:name=tcp,bind=127.0.0.1,port={unix_server.port}\r\n" in info
        assert "listener1:name=unix,bind=server.sock\r\n" in info


def test_a_unix_socket_goes_with_the_server_and_a_stale_one_is_replaced(unix_server):
    unix_server.stop()
    assert not os.path.exists(unix_server.path)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(unix_server.path)
    unix_server.start(*unix_server.args)
    with Raw(unix_server.path) as r:
        assert r.call("PING") == "PONG"


def test_a_path_that_is_taken_is_left_alone(unix_server):
    status, output = harness.run_to_end("--port", 0, "--unixsocket", unix_server.path)
    assert status == 1 and "another program listens there" in output
    plain = os.path.join(unix_server.directory.name, "plain")
    with open(plain, "w", encoding="ascii") as f:
        f.write("mine")
    status, output = harness.run_to_end("--port", 0, "--unixsocket", plain)
    assert status == 1 and "Failed opening Unix socket" in output
    assert os.path.getsize(plain) == 4


def test_nothing_to_listen_on_is_a_mistake():
    status, output = harness.run_to_end("--port", 0)
    assert status == 1 and "Configured to not listen anywhere" in output


def test_the_port_moves_and_connections_stay(fresh_server):
    server = fresh_server()
    first = server.port
    with server.raw() as before:
        for _ in range(3):
            server.port = harness.free_port()
            assert before.call("CONFIG", "SET", "port", server.port) == "OK"
            with server.raw() as r:
                assert r.call("PING") == "PONG"
            assert refuses(first)
            assert before.call("PING") == "PONG"
        assert before.call("CONFIG", "SET", "port", first) == "OK"
        server.port = first
        assert server.raw().call("CONFIG", "GET", "port") == [b"port", b"%d" % first]


def test_a_port_that_cannot_be_had_changes_nothing(fresh_server):
    server = fresh_server()
    with server.raw() as r, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert r.call("CONFIG", "SET", "timeout", 77, "port", port) == PORT_ERROR
        assert r.call("CONFIG", "GET", "port", "timeout") == [
            b"port", b"%d" % server.port, b"timeout", b"0"]
        assert "Could not create server TCP listening socket 127.0.0.1" in server.log()
        with server.raw() as other:
            assert other.call("PING") == "PONG"
        assert r.call("CONFIG", "SET", "bind", "127.0.0.1 192.0.2.1") == BIND_ERROR
        with server.raw() as other:
            assert other.call("PING") == "PONG"


def test_addresses_change_though_they_overlap(fresh_server):
    server = fresh_server()
    with server.raw() as r:
        assert r.call("CONFIG", "SET", "protected-mode", "yes") == "OK"
        for addresses in ("*", "localhost", "127.0.0.1 -192.0.2.1", "* -192.0.2.1", "127.0.0.1"):
            assert r.call("CONFIG", "SET", "bind", addresses) == "OK"
            with server.raw() as other:
                assert other.call("PING") == "PONG"
        # Every address cannot be had beside one of them: all comes back as it was.
        with socket.socket() as taken:
            taken.bind(("127.0.0.2", server.port))
            taken.listen(1)
            assert r.call("CONFIG", "SET", "bind", "*") == BIND_ERROR
        with server.raw() as other:
            assert other.call("PING") == "PONG"
        assert r.call("CONFIG", "GET", "bind") == [b"bind", b"127.0.0.1"]


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6_beside_ipv4(fresh_server):
    server = fresh_server("--bind", "127.0.0.1", "::1")
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, server.port), timeout=5) as s:
            s.sendall(b"PING\r\n")
            assert s.recv(7) == b"+PONG\r\n"
    server.raw().call("CONFIG", "SET", "bind", "127.0.0.1")
    assert refuses(server.port, "::1")
    assert not refuses(server.port)


def test_the_port_can_be_given_up_for_a_unix_socket(unix_server):
    port = unix_server.port
    with Raw(unix_server.path) as r:
        assert r.call("CONFIG", "SET", "port", 0) == "OK"
        assert refuses(port)
        assert r.call("CONFIG", "SET", "port", port) == "OK"
        assert not refuses(port)
