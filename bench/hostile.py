#!/usr/bin/python3
"""Clients that are slow, silent or hostile, and what others notice of them.

    hostile.py PORT [PID]    a running server on this machine; PID: its memory is shown, too

One process of its own asks the server for a key again and again, a millisecond apart; for each
attack, its latency while that goes on is printed. The server needs --maxclients 11000, and both it
and this script as many open files.
"""

import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from processes import allow_open_files, rss_bytes  # noqa: E402
from prober import Prober  # noqa: E402

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 6379
PID = sys.argv[2] if len(sys.argv) > 2 else None
IDLE = 10000
SECONDS = 4


def connect():
    return socket.create_connection(("127.0.0.1", PORT), timeout=30)


def call(s, request):
    s.sendall(request)
    return s.recv(1 << 16)


def resident():
    return rss_bytes(PID) if PID else 0


def report(prober, name):
    p50, p99, most = prober.latency_us(0.5, 0.99, 1)
    print(f"{name:36} p50 {p50:7.0f} us  p99 {p99:7.0f} us  max {most / 1000:6.1f} ms  "
          f"RSS {resident() / 1e6:6.1f} MB", flush=True)


def close_all(sockets):
    for s in sockets:
        s.close()
    time.sleep(1)


def idle(prober):
    before = resident()
    sockets = [connect() for _ in range(IDLE)]
    time.sleep(1)
    print(f"bytes a connection that never spoke: {(resident() - before) / IDLE:.0f}")
    report(prober, f"{IDLE} connect, and are idle")
    for s in sockets:
        s.sendall(b"PING\r\n")
    for s in sockets:
        s.recv(16)
    time.sleep(1)
    print(f"bytes one that is idle: {(resident() - before) / IDLE:.0f}")
    report(prober, f"{IDLE} ask once")
    close_all(sockets)
    prober.latency_us()


def storm(prober):
    end, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        sockets = []
        for _ in range(2000):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", PORT))
            sockets.append(s)
        for s in sockets:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        count += len(sockets)
    report(prober, f"connect and reset, {count // SECONDS} a second")


def announced(prober):
    for name, request in (("512 MB", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc"),
                          ("1M arguments", b"*1000000\r\n$3\r\n")):
        sockets = [connect() for _ in range(500)]
        for s in sockets:
            s.sendall(request)
        time.sleep(2)
        report(prober, f"500 announce {name}")
        close_all(sockets)


def slow_senders(prober):
    sockets = [connect() for _ in range(1000)]
    for byte in b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$5\r\nabcde\r\n":
        for s in sockets:
            s.sendall(bytes([byte]))
        time.sleep(0.05)
    answered = sum(s.recv(16) == b"+OK\r\n" for s in sockets)
    report(prober, f"1000 send byte by byte, {answered} answered")
    close_all(sockets)


def garbage(prober):
    noise = os.urandom(1 << 20).replace(b"\n", b"x")
    unknown = b"foo bar\r\n" * 20000

    def attack():
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                with connect() as s:
                    s.sendall(unknown)
                    s.sendall(noise)
                    s.recv(1000)
            except OSError:
                pass

    threads = [threading.Thread(target=attack) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    report(prober, "4 send garbage, pipelined")


def slow_readers(prober):
    s = connect()
    call(s, b"SETRANGE hostile:big 1000000 x\r\n")
    sockets = [connect() for _ in range(200)]
    for s in sockets:
        s.sendall(b"GET hostile:big\r\n" * 3)
    time.sleep(3)
    report(prober, "200 do not read 3 MB each")
    close_all(sockets)
    time.sleep(2)
    report(prober, "... and are gone")


def main():
    allow_open_files()
    prober = Prober(PORT)
    time.sleep(2)
    report(prober, "nobody else")
    for attack in (idle, storm, announced, slow_senders, garbage, slow_readers):
        attack(prober)
    prober.stop()


if __name__ == "__main__":
    main()
