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
import multiprocessing
import os
import resource
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HELD_SECONDS = 3
SLOW_SECONDS = 10
PORT, TLS_PORT = 8740, 8741


def encode(*args):
    parts = [b"%d\r\n%s\r\n" % (len(arg), arg) for arg in args]
    return b"*%d\r\n$" % len(args) + b"$".join(parts)


def connect(port=PORT):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def probe(pipe):
    s = connect()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(encode(b"AUTH", b"secret"))
    s.recv(100)
    times = []
    while True:
        begin = time.perf_counter()
        s.sendall(b"GET probe\r\n")
        s.recv(100)
        times.append(time.perf_counter() - begin)
        time.sleep(0.001)
        if pipe.poll():
            pipe.recv()
            pipe.send(sorted(times))
            times = []


class Server:
    def __init__(self, args, directory):
        command = [args.server, "--port", PORT, "--requirepass", "secret", "--save", "",
                   "--maxclients", max(args.clients, args.slow) + 100, "--tls-port", TLS_PORT,
                   "--tls-cert-file", f"{directory}/crt", "--tls-key-file", f"{directory}/key",
                   "--tls-auth-clients", "no", "--dir", directory]
        command += [] if args.redis else ["--shards", args.shards]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                connect().close()
                break
            except OSError:
                time.sleep(0.05)
        self.pipe, theirs = multiprocessing.Pipe()
        self.prober = multiprocessing.Process(target=probe, args=(theirs,), daemon=True)
        self.prober.start()
        time.sleep(1)

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def latency(self):
        self.pipe.send(None)
        times = self.pipe.recv()
        return [times[min(int(len(times) * part), len(times) - 1)] * 1e6 for part in (0.5, 0.99)]

    def stop(self):
        self.prober.kill()
        self.process.kill()
        self.process.wait()


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


def attack(server, args, name, port, data, most):
    before = server.resident()
    server.latency()
    sockets = [connect(port) for _ in range(args.clients)]
    hold(sockets, data, most or len(data))
    time.sleep(0.5)
    held = server.resident() - before
    p50, p99 = server.latency()
    left = sum(map(alive, sockets))
    for s in sockets:
        s.close()
    time.sleep(1.5)
    print(f"{name:32}{held / args.clients / 1024:10.1f}{left:8}{p50:9.0f}{p99:9.0f}"
          f"{(server.resident() - before) / 1e6:9.1f}", flush=True)


def slow(server, args):
    sockets = [connect() for _ in range(args.slow)]
    text = encode(b"AUTH", b"x" * 100)
    server.latency()
    cpu, begin = server.cpu(), time.monotonic()
    for at in range(SLOW_SECONDS):
        part = max(1, len(sockets) // 50)
        for first in range(0, len(sockets), part):
            for s in sockets[first:first + part]:
                s.sendall(text[at:at + 1])
            wake = begin + at + first / len(sockets)
            time.sleep(max(0, wake - time.monotonic()))
    elapsed = time.monotonic() - begin
    used = (server.cpu() - cpu) / elapsed
    p50, p99 = server.latency()
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
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
             f"{directory}/key", "-out", f"{directory}/crt", "-days", "2", "-subj", "/CN=x"],
            check=True, capture_output=True)
        server = Server(args, directory)
        try:
            p50, p99 = server.latency()
            print(f"{args.clients} clients: a quiet server p50 {p50:.0f} us, p99 {p99:.0f} us")
            print(f"{'':32}{'KB each':>10}{'left':>8}{'p50 us':>9}{'p99 us':>9}{'MB kept':>9}")
            for each in attacks():
                attack(server, args, *each)
            slow(server, args)
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
