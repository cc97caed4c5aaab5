#!/usr/bin/python3
"""What clients that have not said the password can make a server hold, and what others notice.

    strangers.py [--server PATH] [--redis] [--clients N] [--slow N]

Starts a server that wants a password. For each attack it opens N connections, lets them do their
worst, and prints the server's resident memory for each of them, how many connections are left, and
the latency of a client that asks for a key each millisecond meanwhile; then how much of the memory
stays when they have gone. At last `--slow` connections send a byte each second (slowloris), for ten
seconds: the server's CPU is shown, too. `--redis`: PATH is a redis-server, for comparison.
"""

import argparse
import os
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from processes import Server, allow_open_files, use_ports_from  # noqa: E402
from prober import Prober  # noqa: E402
from wire import ROOT, encode  # noqa: E402

HELD_SECONDS = 3
SLOW_SECONDS = 10
PORT, TLS_PORT = 8740, 8741
PASSWORD = "secret"


def connect(port=PORT):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def start(args, directory):
    command = [os.path.abspath(args.server), "--requirepass", PASSWORD, "--save", "",
               "--maxclients", max(args.clients, args.slow) + 100, "--tls-port", TLS_PORT,
               "--tls-cert-file", f"{directory}/crt", "--tls-key-file", f"{directory}/key",
               "--tls-auth-clients", "no"]
    return Server("redis" if args.redis else "lasca",
                  command + ([] if args.redis else ["--shards", args.shards]))


def hold(sockets, data, most):
    """Each sends `data`, again and again where `most` bytes are more, and reads nothing."""
    sockets = {s.fileno(): s for s in sockets}
    left = dict.fromkeys(sockets, most)
    poll = select.poll()
    for fd, s in sockets.items():
        s.setblocking(False)
        poll.register(fd, select.POLLOUT)
    deadline = time.monotonic() + HELD_SECONDS
    while left and time.monotonic() < deadline:
        for fd, _ in poll.poll(50):
            try:
                left[fd] -= sockets[fd].send(data[:left[fd]])
            except OSError:
                left[fd] = 0
            if left[fd] <= 0:
                del left[fd]
                poll.unregister(fd)


def alive(s):
    try:
        s.setblocking(False)
        while True:
            if not s.recv(1 << 16):
                return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def client_hello():
    """What a client of TLS says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context = ssl.create_default_context()
        context.wrap_bio(incoming, outgoing, server_hostname="x").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def attacks():
    hello = client_hello()
    yield "connect, say nothing", PORT, b"", 0
    yield "announce 512 MB", PORT, b"*2\r\n$4\r\nAUTH\r\n$536870912\r\nabc", 0
    yield "announce 1,000,000 arguments", PORT, b"*1000000\r\n$4\r\nAUTH\r\n", 0
    yield "a line without end", PORT, b"x" * 65000, 0
    argument = b"$16384\r\n%s\r\n" % (b"x" * 16384)
    yield "9 of 10 arguments of 16 KB", PORT, b"*10\r\n" + 9 * argument, 0
    yield "AUTH with 16 KB, unread", PORT, encode(b"AUTH", b"x" * 16384), 1 << 22
    yield "GETs, replies unread", PORT, b"GET k\r\n" * 10000, 1 << 22
    yield "half a TLS handshake", TLS_PORT, hello, 0
    yield "half a ClientHello", TLS_PORT, hello[:100], 0
    record = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + b"x" * 16000
    yield "a TLS record of 16 KB", TLS_PORT, record, 0


def attack(server, prober, args, name, port, data, most):
    before = server.rss_bytes()
    prober.latency_us()
    sockets = [connect(port) for _ in range(args.clients)]
    hold(sockets, data, most or len(data))
    time.sleep(0.5)
    held = server.rss_bytes() - before
    p50, p99 = prober.latency_us(0.5, 0.99)
    left = sum(map(alive, sockets))
    for s in sockets:
        s.close()
    time.sleep(1.5)
    print(f"{name:32}{held / args.clients / 1024:10.1f}{left:8}{p50:9.0f}{p99:9.0f}"
          f"{(server.rss_bytes() - before) / 1e6:9.1f}", flush=True)


def slow(server, prober, args):
    sockets = [connect() for _ in range(args.slow)]
    text = encode(b"AUTH", b"x" * 100)
    prober.latency_us()
    cpu, begin = sum(server.cpu_seconds()), time.monotonic()
    for at in range(SLOW_SECONDS):
        part = max(1, len(sockets) // 50)
        for first in range(0, len(sockets), part):
            for s in sockets[first:first + part]:
                s.sendall(text[at:at + 1])
            wake = begin + at + first / len(sockets)
            time.sleep(max(0, wake - time.monotonic()))
    elapsed = time.monotonic() - begin
    used = (sum(server.cpu_seconds()) - cpu) / elapsed
    p50, p99 = prober.latency_us(0.5, 0.99)
    print(f"{args.slow} send a byte a second, {elapsed:.0f} s: {used * 100:.1f} % of a CPU, "
          f"others p50 {p50:.0f} us, p99 {p99:.0f} us")
    for s in sockets:
        s.close()


def read_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default=os.path.join(ROOT, "build", "lasca-server"))
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--slow", type=int, default=5000)
    return parser.parse_args()


def main():
    args = read_args()
    allow_open_files()
    use_ports_from(PORT)
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
             f"{directory}/key", "-out", f"{directory}/crt", "-days", "2", "-subj", "/CN=x"],
            check=True, capture_output=True)
        with start(args, directory) as server:
            assert server.port == PORT, f"port {PORT} is taken"
            prober = Prober(PORT, PASSWORD)
            time.sleep(1)
            p50, p99 = prober.latency_us(0.5, 0.99)
            print(f"{args.clients} clients: a quiet server p50 {p50:.0f} us, p99 {p99:.0f} us")
            print(f"{'':32}{'KB each':>10}{'left':>8}{'p50 us':>9}{'p99 us':>9}{'MB kept':>9}")
            for each in attacks():
                attack(server, prober, args, *each)
            slow(server, prober, args)
            prober.stop()


if __name__ == "__main__":
    sys.exit(main())
