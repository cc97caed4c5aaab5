"""Metrics over HTTP: the text format, the health check, the page, and what bad clients do."""

import http.client
import json
import math
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from harness import ROOT, SHARDS, default_args, encode, free_port, run_to_end
from test_info_config import info, wait_for

FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Watched:
    """A server with metrics on a port of its own."""

    def __init__(self, make, *args):
        self.port = free_port()
        self.server = make("--metrics-port", self.port, "--metrics-bind", "127.0.0.1", *args)

    def get(self, path, method="GET", headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        c.request(method, path, headers=headers or {})
        reply = c.getresponse()
        body = reply.read()
        c.close()
        return reply, body

    def metrics(self):
        reply, body = self.get("/metrics")
        assert (reply.status, reply.headers["Content-Type"]) == (200, FORMAT)
        return parse(body.decode())


@pytest.fixture(name="watched")
def make_watched(fresh_server):
    return lambda *args: Watched(fresh_server, *args)


# ---- The format ----

SAMPLE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def parse(text):
    """{name: {labels: value}}, as strict as promtool: each metric once, with its samples together
    behind HELP and TYPE, names and suffixes as Prometheus wants them."""
    metrics, name, kind = {}, None, None
    assert text.endswith("\n") and "\r" not in text
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in metrics and len(line.split(" ", 3)[3]) > 5, line
            metrics[name], kind = {}, None
        elif line.startswith("# TYPE "):
            _, _, of, kind = line.split(" ")
            assert of == name and not metrics[name]
            assert kind in ("counter", "gauge", "histogram")
            assert (kind == "counter") == name.endswith("_total"), line
        else:
            m = SAMPLE.fullmatch(line)
            assert m and kind, line
            base = re.sub("_(bucket|sum|count)$", "", m[1]) if kind == "histogram" else m[1]
            assert base == name, line
            labels = tuple(sorted(LABEL.findall(m[2] or "")))
            if m[1] != name:
                labels += (("", m[1][len(name):]),)
            assert labels not in metrics[name], line
            metrics[name][labels] = float(m[3])
            assert kind == "gauge" or metrics[name][labels] >= 0, line
    return metrics


def by_label(metric):
    return {labels[0][1]: value for labels, value in metric.items()}


def test_figures_are_those_of_info(watched):
    w = watched()
    with w.server.raw() as r:
        for i in range(200):
            r.call("SET", f"k{i}", i, "EX", 1000) if i < 50 else r.call("SET", f"k{i}", i)
            r.call("GET", f"k{i}")
        r.call("GET", "nosuch")
        r.call("INCR", "k1", 2)
        r.call("LPUSH", "k1", 2)
        r.call("SELECT", 3)
        r.call("SET", "a", 1)
        m = w.metrics()
        x = info(r, "all")
    calls = by_label(m["lasca_command_calls_total"])
    assert (calls["set"], calls["get"], calls["lpush"], calls["select"]) == (201, 201, 1, 1)
    assert by_label(m["lasca_command_rejections_total"])["incr"] == 1
    assert by_label(m["lasca_command_failures_total"])["lpush"] == 1
    assert 0 < by_label(m["lasca_command_seconds_total"])["set"] < 10
    assert by_label(m["lasca_errors_total"]) == {"ERR": 1, "WRONGTYPE": 1}
    assert by_label(m["lasca_db_keys"]) == {"0": 200, "3": 1}
    assert by_label(m["lasca_db_expiring_keys"]) == {"0": 50, "3": 0}
    shards = [str(i) for i in range(SHARDS)]
    for name, total in (("keys", 201), ("keyspace_hits_total", 200),
                        ("keyspace_misses_total", 1), ("clients", 1), ("expiring_keys", 50)):
        of_each = by_label(m["lasca_shard_" + name])
        assert list(of_each) == shards and sum(of_each.values()) == total, name
    assert sum(by_label(m["lasca_shard_busy_seconds_total"]).values()) > 0
    assert m["lasca_memory_used_bytes"][()] == pytest.approx(
        int(x["used_memory"]), abs=20e3)  # INFO's own reply lies in a buffer of 16 KiB
    assert m["lasca_connected_clients"][()] == 1
    assert m["lasca_rdb_changes_since_last_save"][()] == int(x["rdb_changes_since_last_save"])
    assert abs(m["lasca_start_time_seconds"][()] - time.time()) < 60
    build = dict(next(iter(m["lasca_build_info"])))
    assert build["version"] == x["lasca_version"] and build["io_backend"] == x["io_backend"]


def test_alerts_ask_for_figures_that_there_are(watched):
    rules = os.path.join(ROOT, "conf", "prometheus", "lasca-alerts.yml")
    with open(rules, encoding="utf-8") as f:
        asked = set(re.findall(r"\blasca_\w+", f.read()))
    assert len(asked) > 8
    assert asked <= set(watched().metrics())


def test_times_are_a_histogram(watched):
    w = watched()
    with w.server.raw() as r:
        for _ in range(100):
            r.call("SET", "a", 1)
        r.call("DEBUG", "SLEEP", 0.03)
        times = w.metrics()["lasca_command_duration_seconds"]

    def of(command):
        buckets = {float(dict(k)["le"]): v for k, v in times.items()
                   if ("command", command) in k and k[-1] == ("", "_bucket")}
        assert list(buckets.values()) == sorted(buckets.values())
        assert list(buckets) == sorted(buckets) and list(buckets)[-1] == math.inf
        key = (("command", command),)
        assert buckets[math.inf] == times[key + (("", "_count"),)]
        return buckets, times[key + (("", "_sum"),)]

    buckets, total = of("set")
    assert buckets[math.inf] == 100 and buckets[1] == 100 and 0 < total < 1
    buckets, total = of("debug")
    assert buckets[0.025] == 0 and buckets[1] == buckets[math.inf] == 1 and total >= 0.03


def test_labels_from_clients_are_escaped(watched):
    w = watched()
    with w.server.raw() as r:
        r.call("DEBUG", "ERROR", 'a"b\\c text')
        r.send(encode("DEBUG", "ERROR", b"caf\xc3\xa9\xff text"))
        r.read_raw()
    reply, body = w.get("/metrics")
    text = body.decode()  # which it would not be with that \xff in it
    parse(text)
    assert 'code="a\\"b\\\\c"' in text and 'code="café\ufffd"' in text
    codes = {e["code"] for e in json.loads(w.get("/status.json")[1].decode(errors="replace"))
             ["by_error"]}
    assert codes == {'a"b\\c', "café\ufffd"}


# ---- Health ----

def test_health_says_why(watched, tmp_path):
    w = watched("--dir", tmp_path)
    reply, body = w.get("/healthz")
    assert (reply.status, body) == (200, b"ok\n")
    with w.server.raw() as r:
        r.call("CONFIG", "SET", "save", "1000 1000")
        r.call("SET", "a", 1)
        (tmp_path / "dump.rdb").mkdir()
        r.call("BGSAVE")
        wait_for(lambda: info(r, "persistence")["rdb_last_bgsave_status"] == "err")
        reply, body = w.get("/healthz")
        assert reply.status == 503 and body.startswith(b"misconf: the last snapshot")
        assert by_label(w.metrics()["lasca_writes_refused"])["snapshot"] == 1
        (tmp_path / "dump.rdb").rmdir()
        r.call("SAVE")
        assert w.get("/healthz")[0].status == 200


def test_health_while_loading(fresh_server):
    w = Watched(fresh_server)
    with w.server.raw() as r:
        r.call("DEBUG", "POPULATE", 1000)
        r.call("SAVE")
    w.server.stop()
    w.server.start(*w.server.args, "--key-load-delay", 2000, until_loaded=False)
    wait_for(lambda: w.get("/healthz")[0].status == 503)
    assert w.get("/healthz")[1].startswith(b"loading: ")
    assert w.metrics()["lasca_loading"][()] == 1
    with w.server.raw() as r:
        r.call("CONFIG", "SET", "key-load-delay", 0)
    wait_for(lambda: w.get("/healthz")[1] == b"ok\n", 20)


def test_busy_cores_do_not_keep_a_scrape_waiting(watched):
    w = watched()
    before = w.metrics()["lasca_shard_commands_total"]
    with w.server.raw() as r:
        r.send(encode("DEBUG", "SLEEP", 0.6))
        time.sleep(0.1)
        started = time.monotonic()
        m = w.metrics()
        assert time.monotonic() - started < 0.45
        assert set(m["lasca_shard_sample_stale"].values()) == {1}
        assert set(m["lasca_shard_commands_total"]) == set(before)
        r.read_reply()
    time.sleep(0.15)
    assert set(w.metrics()["lasca_shard_sample_stale"].values()) == {0}


@pytest.mark.skipif("LASCA_LONG" not in os.environ, reason="takes eight seconds")
def test_a_core_that_hangs_is_told(watched):
    w = watched()
    with w.server.raw() as r:
        r.send(encode("DEBUG", "SLEEP", 8))
        wait_for(lambda: w.get("/healthz")[1].find(b"stalled: core 0 has not gone") >= 0, 8)
        r.read_reply()
        wait_for(lambda: w.get("/healthz")[0].status == 200)


# ---- HTTP ----

def test_paths_and_methods(watched):
    w = watched()
    reply, body = w.get("/")
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<svg" not in body and b"status.json" in body
    assert not re.search(rb"(src|href)=\"?(https?:)?//", body)  # all of it is here
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    for path in ("/", "/metrics", "/healthz", "/status.json"):
        head, empty = w.get(path, "HEAD")
        assert head.status == 200 and empty == b"" and int(head.headers["Content-Length"]) > 0
    assert w.get("/nosuch")[0].status == 404
    assert w.get("/metrics/")[0].status == 404
    assert w.get("/metrics?a=b")[0].status == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "NOSUCH"):
        reply, _ = w.get("/metrics", method)
        assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD"


def test_a_connection_is_kept(watched):
    c = http.client.HTTPConnection("127.0.0.1", watched().port, timeout=20)
    for _ in range(3):
        c.request("GET", "/healthz")
        first = c.sock
        assert c.getresponse().read() == b"ok\n" and c.sock is first
    c.close()


def test_bad_requests_and_many_connections(watched):
    w = watched()
    for rubbish in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, b"GET\r\n\r\n",
                    b"*1\r\n$4\r\nPING\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 100000):
        with socket.create_connection(("127.0.0.1", w.port), timeout=5) as s:
            try:
                s.sendall(rubbish)
                s.settimeout(0.2)
                answer = s.recv(1000)
                assert answer == b"" or re.match(rb"HTTP/1\.[01] [45]\d\d", answer), rubbish[:20]
            except (ConnectionError, TimeoutError):  # or it waits for the request's end
                pass
    idle = [socket.create_connection(("127.0.0.1", w.port), timeout=5) for _ in range(40)]
    time.sleep(0.1)
    for s in idle:
        s.close()
    wait_for(lambda: w.get("/healthz")[0].status == 200)
    with w.server.raw() as r:
        assert r.call("PING") == "PONG"


def test_scrapes_under_load(watched):
    w = watched()
    stop = threading.Event()

    def load():
        with w.server.raw() as r:
            while not stop.is_set():
                r.send(b"".join(encode("SET", f"k{i}", i) for i in range(200)))
                for _ in range(200):
                    r.read_reply()

    threads = [threading.Thread(target=load) for _ in range(3)]
    for t in threads:
        t.start()
    last = -1
    for _ in range(10):
        m = w.metrics()
        count = by_label(m["lasca_command_calls_total"]).get("set", 0)
        assert count >= last
        last = count
        time.sleep(0.02)
    stop.set()
    for t in threads:
        t.join()
    assert last > 0


def test_a_port_in_use_stops_the_start(watched):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        status, text = run_to_end(*default_args(), "--port", free_port(), "--metrics-bind",
                                  "127.0.0.1", "--metrics-port", s.getsockname()[1])
    assert status == 1 and "--metrics-port" in text and "in use" in text
    status, text = run_to_end(*default_args(), "--port", free_port(), "--metrics-bind",
                              "192.0.2.1", "--metrics-port", free_port())
    assert status == 1 and "--metrics-bind" in text


def test_it_is_off_by_default(server):
    with open(f"/proc/{server.pid}/status", encoding="ascii") as f:
        assert int(re.search(r"Threads:\s+(\d+)", f.read())[1]) <= SHARDS + 2
    assert "Metrics on port" not in server.log()


# ---- Those who watch ----

def test_status_adds_up(watched):
    w = watched()
    with w.server.raw() as r:
        r.call("DEBUG", "POPULATE", 100)
        x = json.loads(w.get("/status.json")[1])
    assert x["keys"] == 100 == sum(s["keys"] for s in x["shards"])
    assert len(x["shards"]) == SHARDS and x["healthy"] and x["health"] == "ok"
    assert {"name", "calls", "us", "failed", "rejected"} == set(x["by_command"][0])


@pytest.mark.skipif(not shutil.which("prometheus-redis-exporter"), reason="not installed")
def test_the_redis_exporter_finds_what_it_looks_for(fresh_server):
    server, port = fresh_server(), free_port()
    with server.raw() as r:
        r.call("SET", "a", 1)
        r.call("GET", "nosuch")
        r.call("SET", "t", 1, "EX", 100)
    exporter = subprocess.Popen(
        ["prometheus-redis-exporter", "-redis.addr", f"redis://127.0.0.1:{server.port}",
         "-web.listen-address", f"127.0.0.1:{port}", "-include-system-metrics",
         "-export-client-list"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        def answers():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        wait_for(answers, 10)
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", "/metrics")
        text = c.getresponse().read().decode()
    finally:
        exporter.terminate()
        _, log = exporter.communicate()
    assert "level=error" not in log, log
    for line in ("redis_up 1", 'redis_db_keys{db="db0"} 2',
                 'redis_db_keys_expiring{db="db0"} 1',
                 "redis_keyspace_misses_total 1", 'redis_exporter_last_scrape_error{err=""} 0'):
        assert line in text, line
    for name in ("redis_memory_used_bytes", "redis_mem_fragmentation_ratio",
                 "redis_cpu_sys_seconds_total", "redis_cpu_user_main_thread_seconds_total",
                 "redis_total_reads_processed",
                 "redis_allocator_active_bytes", "redis_memory_used_startup_bytes",
                 "redis_slowlog_length", "redis_commands_total"):
        assert re.search(rf"^{name}[ {{]", text, re.M), name


@pytest.mark.skipif("LASCA_LONG" not in os.environ or not shutil.which("chromium"),
                    reason="needs a browser, and seconds to start it")
def test_a_browser_shows_the_page(watched, tmp_path):
    w = watched()
    with w.server.raw() as r:
        r.call("DEBUG", "POPULATE", 4321)
        for _ in range(7):
            r.call("ECHO", "x")
        r.call("DEBUG", "ERROR", "<b>BOLD text")
        page = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={tmp_path}", "--virtual-time-budget=6000", "--dump-dom",
             f"http://127.0.0.1:{w.port}/"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=90, check=True, env={**os.environ, "HOME": str(tmp_path)}).stdout.decode()
    assert '<p id="health" role="status" aria-live="polite" class="good">serving</p>' in page
    assert "<figcaption>Keys</figcaption><strong>4,321</strong>" in page
    assert re.search(r"<td>echo</td>.*?<td>7</td>", page)
    assert len(re.findall(r"<td>\d+</td><td>(?:–|<span>)", page)) >= SHARDS
    assert "<td>&lt;b&gt;BOLD</td>" in page and "<b>" not in page
