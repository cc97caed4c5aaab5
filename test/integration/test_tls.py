"""TLS: what clients may do over it, who is let in, certificates renewed under load, and peers that
do not keep to the protocol."""

import concurrent.futures
import os
import socket
import ssl
import subprocess
import time

import pytest
import redis

import harness

HELLO_SECONDS = 5


class Authority:
    """Certificates for the tests, made with the openssl tool: `path("server.crt")`."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.make_root("ca")
        self.make_root("foreign")
        for name in ("server", "client", "renewed"):
            self.make(name, "ca")
        self.make("stranger", "foreign")
        self.openssl("ec", "-in", "server.key", "-aes128", "-passout", "pass:secret", "-out",
                     "locked.key")

    def openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.directory, check=True, capture_output=True)

    def make_root(self, name):
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2",
                     "-subj", f"/CN={name}")

    def make(self, name, signer):
        with open(self.path("ext"), "w", encoding="ascii") as f:
            f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.crt", "-CAkey",
                     f"{signer}.key", "-CAcreateserial", "-out", f"{name}.crt", "-days", "2",
                     "-extfile", "ext")

    def path(self, name):
        return os.path.join(self.directory, name)

    def options(self, name="server", clients="no"):
        return ["--tls-cert-file", self.path(f"{name}.crt"), "--tls-key-file",
                self.path(f"{name}.key"), "--tls-ca-cert-file", self.path("ca.crt"),
                "--tls-auth-clients", clients]

    def context(self, client=None, version=None):
        c = ssl.create_default_context(cafile=self.path("ca.crt"))
        if client:
            c.load_cert_chain(self.path(f"{client}.crt"), self.path(f"{client}.key"))
        if version:
            c.minimum_version = c.maximum_version = version
        return c


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


class Secure(harness.Raw):
    """A socket with TLS, and its own certificate where it has one."""

    def __init__(self, port, context, session=None):
        super().__init__(port)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost",
                                          session=session)


class TlsServer:
    def __init__(self, make, authority, *args, clients="no"):
        self.port = harness.free_port()
        self.authority = authority
        self.server = make("--tls-port", self.port, *authority.options(clients=clients), *args)

    def connect(self, client=None, version=None, session=None, context=None):
        return Secure(self.port, context or self.authority.context(client, version), session)

    def client(self, **kw):
        client = redis.Redis("localhost", self.port, ssl=True,
                             ssl_ca_certs=self.authority.path("ca.crt"),
                             socket_timeout=harness.REPLY_SECONDS, **kw)
        self.server.clients.append(client)
        return client

    def log_has(self, text):
        deadline = time.monotonic() + HELLO_SECONDS
        while text not in self.server.log() and time.monotonic() < deadline:
            time.sleep(0.01)
        return text in self.server.log()


@pytest.fixture
def tls(fresh_server, authority):
    return lambda *args, **kw: TlsServer(fresh_server, authority, *args, **kw)


def subject(connection):
    return dict(pair[0] for pair in connection.socket.getpeercert()["subject"])["commonName"]


# ---- what clients do ----

def talk(t):
    client = t.client()
    pipe = client.pipeline(transaction=False)
    for i in range(3000):
        pipe.set(f"k{i}", i)
        pipe.get(f"k{i}")
    assert pipe.execute() == [v for i in range(3000) for v in (True, b"%d" % i)]
    large = os.urandom(10_000_000)
    assert client.set("large", large) and client.get("large") == large
    with client.pipeline() as pipe:
        pipe.incr("a").incr("b").rename("a", "c").get("c")
        assert pipe.execute() == [1, 1, True, b"1"]


def talk_with_others(t):
    client, listener = t.client(), t.client().pubsub()
    listener.subscribe("news")
    assert listener.get_message(timeout=5)["type"] == "subscribe"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(t.client().blpop, "queue", 5)
        with t.server.raw() as plain:
            message = "x" * 40000
            for i in range(50):
                assert plain.call("PUBLISH", "news", f"{i}{message}") == 1
                assert listener.get_message(timeout=5)["data"] == f"{i}{message}".encode()
            while plain.call("RPUSH", "queue", "job") == 0:
                pass
        assert waiting.result() == (b"queue", b"job")


def test_clients_talk_as_over_tcp(tls):
    t = tls()
    talk(t)
    talk_with_others(t)
    clients = t.client().client_list()
    assert f"127.0.0.1:{t.port}" in {c["laddr"] for c in clients}
    listeners = t.client().info("server")
    assert listeners["listener2"]["name"] == "tls"
    assert listeners["listener2"]["port"] == t.port


def test_many_connections_at_once_are_all_served(tls):
    t = tls()

    def work(i):
        with t.connect() as c:
            c.send(harness.encode("INCR", "sum") * 50)
            replies = [c.read_reply() for _ in range(50)]
            assert replies == sorted(replies)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    with t.connect() as c:
        assert c.call("GET", "sum") == b"2000"


def test_replies_of_a_pipeline_share_records(tls):
    t = tls()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = t.authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("localhost", t.port)) as s:
        def until(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    s.sendall(outgoing.read())
                    incoming.write(s.recv(1 << 16))
        until(connection.do_handshake)
        connection.write(b"PING\r\n" * 500)
        s.sendall(outgoing.read())
        received, replies = 0, b""
        while len(replies) < 3500:
            data = s.recv(1 << 16)
            received += len(data)
            incoming.write(data)
            try:
                replies += connection.read(1 << 16)
            except ssl.SSLWantReadError:
                pass
        assert replies == b"+PONG\r\n" * 500
        assert received < 3500 + 1000, "each record adds 22 bytes"


# ---- who is let in ----

def refused(t, **kw):
    """With TLS 1.3 a client learns that its certificate was refused when it reads."""
    try:
        with t.connect(**kw) as c:
            return c.call("PING") != "PONG"
    except (ssl.SSLError, harness.Closed, OSError):
        return True


def test_clients_show_certificates_where_they_must(tls):
    t = tls(clients="yes")
    assert refused(t)
    assert t.log_has("Error accepting a client connection: peer did not return a certificate")
    assert refused(t, client="stranger")
    with t.connect(client="client") as c:
        assert c.call("PING") == "PONG"
        assert c.call("CONFIG", "SET", "tls-auth-clients", "optional") == "OK"
    assert refused(t, client="stranger")
    for client in (None, "client"):
        with t.connect(client=client) as c:
            assert c.call("PING") == "PONG"
    with t.connect() as c:
        assert c.call("CONFIG", "SET", "tls-auth-clients", "no") == "OK"
    assert not refused(t, client="stranger")


def test_protocols_can_be_narrowed(tls):
    t = tls("--tls-protocols", "TLSv1.2", "--tls-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256")
    assert refused(t, version=ssl.TLSVersion.TLSv1_3)
    with t.connect(version=ssl.TLSVersion.TLSv1_2) as c:
        assert c.socket.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
        assert c.call("CONFIG", "SET", "tls-protocols", "TLSv1.3", "tls-ciphersuites",
                      "TLS_CHACHA20_POLY1305_SHA256") == "OK"
        assert c.call("PING") == "PONG"
    assert refused(t, version=ssl.TLSVersion.TLSv1_2)
    with t.connect() as c:
        assert c.socket.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
        reply = c.call("CONFIG", "SET", "tls-protocols", "SSLv9")
        assert reply == ("ERR CONFIG SET failed (possibly related to argument 'tls-protocols') - "
                         "Unable to update TLS configuration. Check server logs.")
        assert c.call("CONFIG", "GET", "tls-protocols") == [b"tls-protocols", b"TLSv1.3"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_on_any_core(tls, version):
    t = tls("--shards", 4)
    context = t.authority.context(version=version)
    with t.connect(context=context) as c:
        assert c.call("PING") == "PONG" and not c.socket.session_reused
        session = c.socket.session
    held = []
    for _ in range(8):
        held.append(t.connect(context=context, session=session))
        assert held[-1].call("PING") == "PONG"
        assert held[-1].socket.session_reused
        session = held[-1].socket.session
    assert held[0].call("CONFIG", "SET", "tls-session-caching", "no") == "OK"
    with t.connect(context=context, session=session) as c:
        assert c.call("PING") == "PONG" and not c.socket.session_reused
    for c in held:
        c.close()


# ---- configuration ----

def test_certificates_are_renewed_under_load(tls, authority, tmp_path):
    t = tls()
    for name in ("crt", "key"):
        os.link(authority.path(f"server.{name}"), tmp_path / f"now.{name}")
    cert, key = tmp_path / "now.crt", tmp_path / "now.key"
    pair = ("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key)
    ends = time.monotonic() + 0.7

    def work(_):
        n = 0
        with t.connect() as c:
            while time.monotonic() < ends:
                n += 1
                assert c.call("INCR", "n").__class__ is int
                if n % 20 == 0:
                    with t.connect() as other:
                        assert other.call("PING") == "PONG"
        return n

    with concurrent.futures.ThreadPoolExecutor(4) as pool, t.server.raw() as admin:
        counts = [pool.submit(work, i) for i in range(3)]
        assert admin.call(*pair) == "OK"
        with t.connect() as before:
            assert subject(before) == "server"
            cert.unlink()
            key.unlink()
            os.link(authority.path("renewed.crt"), cert)
            refusal = admin.call(*pair)
            assert refusal == ("ERR CONFIG SET failed (possibly related to argument "
                               "'tls-cert-file') - Unable to update TLS configuration. "
                               "Check server logs.")
            os.link(authority.path("renewed.key"), key)
            with t.connect() as c:
                assert subject(c) == "server", "nothing changes where not all is well"
            assert admin.call(*pair) == "OK"
            with t.connect() as c:
                assert subject(c) == "renewed"
            assert before.call("PING") == "PONG"
        assert sum(c.result() for c in counts) == int(admin.call("GET", "n"))


def test_the_port_is_opened_and_closed_while_the_server_runs(fresh_server, authority):
    server, port = fresh_server(), harness.free_port()
    with server.raw() as r:
        refusal = r.call("CONFIG", "SET", "tls-port", port)
        assert refusal.startswith("ERR CONFIG SET failed (possibly related to argument 'tls-port'")
        assert "No tls-cert-file configured!" in server.log()
        options = [o.removeprefix("--") for o in authority.options()]
        assert r.call("CONFIG", "SET", "tls-port", port, *options) == "OK"
        with Secure(port, authority.context()) as c:
            assert c.call("PING") == "PONG"
            assert r.call("CONFIG", "SET", "tls-port", 0) == "OK"
            assert c.call("PING") == "PONG"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()


def test_a_port_that_is_taken_is_said_by_its_option(server, authority):
    status, output = harness.run_to_end("--port", 0, "--tls-port", server.port, "--bind",
                                        "127.0.0.1", *authority.options(clients="no"))
    assert status == 1
    assert (f"port {server.port} is in use by another program: stop it or choose another with "
            "--tls-port") in output


def test_what_is_wrong_at_the_start_is_named(authority):
    def told(*args):
        status, output = harness.run_to_end("--port", 0, "--tls-port", harness.free_port(), *args)
        assert status == 1
        return output

    path = authority.path
    assert "No tls-cert-file configured!" in told()
    good = ["--tls-cert-file", path("server.crt"), "--tls-auth-clients", "no"]
    assert "No tls-key-file configured!" in told(*good)
    assert "No such file" in told(*good, "--tls-key-file", path("nowhere"))
    assert "not the key of" in told(*good, "--tls-key-file", path("client.key"))
    locked = [*good, "--tls-key-file", path("locked.key"), "--tls-key-file-pass"]
    assert "tls-key-file-pass" in told(*locked, "wrong")
    good += ["--tls-key-file", path("server.key")]
    assert "tls-ca-cert-file" in told(*good, "--tls-auth-clients", "yes")
    assert "ciphers" in told(*good, "--tls-ciphers", "NONSENSE")
    assert "dhparam" in told(*good, "--tls-dh-params-file", path("server.key"))
    status, output = harness.run_to_end("--check-config", "--tls-port", harness.free_port(),
                                        *good[:4], "--tls-key-file", path("client.key"))
    assert status == 1 and "not the key of" in output


def test_a_key_with_a_password_is_opened(tls, authority):
    t = tls("--tls-key-file", authority.path("locked.key"), "--tls-key-file-pass", "secret")
    with t.connect() as c:
        assert c.call("PING") == "PONG"


# ---- peers that do not keep to the protocol ----

def test_peers_without_tls_are_turned_away_and_told_of_once(tls):
    t = tls()
    for data in (b"PING\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70000,
                 b"\x16\x03\x01\x00\x05hello", os.urandom(300)):
        with socket.create_connection(("localhost", t.port), timeout=HELLO_SECONDS) as s:
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(1 << 16):
                    pass
            except OSError as e:  # closed already
                assert not isinstance(e, TimeoutError)
    assert t.server.log().count("Error accepting a client connection") == 1
    socket.create_connection(("localhost", t.port)).close()
    with t.connect() as c:
        assert c.call("PING") == "PONG"
        assert c.call("INFO", "clients").count(b"connected_clients:1\r\n") == 1


def test_garbage_behind_the_handshake_ends_the_connection(tls):
    t = tls()
    with t.connect() as c, t.connect() as other:
        assert c.call("SET", "k", "v") == "OK"
        fd = os.dup(c.socket.fileno())
        os.write(fd, b"\x17\x03\x03\x00\x20" + b"x" * 32)
        os.close(fd)
        with pytest.raises((ssl.SSLError, harness.Closed)):
            c.read_reply()
        assert other.call("GET", "k") == b"v"


def test_the_end_is_said_on_both_sides(tls):
    t = tls()
    with t.connect() as c:
        c.send(b"PING\r\n" * 3)
        assert [c.read_reply() for _ in range(3)] == ["PONG"] * 3
        c.send(harness.encode("QUIT"))
        assert c.read_reply() == "OK"
        assert c.socket.recv(100) == b"", "without a close_notify this would be an error"
    with t.connect() as c:
        c.send(b"INCR n\r\n" * 3)
        try:
            c.socket.unwrap()
        except ssl.SSLError:
            pass  # the replies, which nobody reads
    with t.connect() as c:
        while c.call("GET", "n") != b"3":
            time.sleep(0.01)


def test_a_client_that_does_not_read_is_limited(tls):
    t = tls("--client-output-buffer-limit", "normal 4mb 0 0")
    with t.connect() as c, t.connect() as other:
        assert other.call("SET", "big", "x" * 1000000) == "OK"
        c.send(harness.encode("GET", "big") * 40)
        while b"client_output_buffer_limit_disconnections:1" not in other.call("INFO", "stats"):
            time.sleep(0.01)


def test_handshakes_that_stall_hold_up_nobody_and_end(tls):
    t = tls("--maxclients", 50)
    stalled = [socket.create_connection(("localhost", t.port)) for _ in range(20)]
    for s in stalled:
        s.sendall(b"\x16\x03\x01")
    with t.connect() as c:
        assert c.call("PING") == "PONG"
        assert len(c.call("CLIENT", "LIST").splitlines()) == 21
        assert c.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") == 20
        for s in stalled:
            s.settimeout(HELLO_SECONDS)
            try:
                assert s.recv(100) == b""
            except ConnectionError:
                pass
            s.close()


@pytest.mark.skipif("LASCA_LONG" not in os.environ, reason="takes ten seconds")
def test_handshakes_have_a_deadline(tls):
    t = tls()
    with socket.create_connection(("localhost", t.port), timeout=20) as s:
        started = time.monotonic()
        s.sendall(b"\x16\x03\x01")
        assert s.recv(100) == b""
        assert 9 < time.monotonic() - started < 14
    assert t.log_has("the TLS handshake took too long")
