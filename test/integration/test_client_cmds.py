"""CLIENT: who is connected, closing connections, pauses, replies turned off."""

import threading
import time

import pytest

from harness import Closed, encode

FIELDS = ["id", "addr", "laddr", "fd", "name", "age", "idle", "flags", "db", "sub", "psub", "ssub",
          "multi", "qbuf", "qbuf-free", "argv-mem", "multi-mem", "rbs", "rbp", "obl", "oll", "omem",
          "tot-mem", "events", "cmd", "user", "redir", "resp", "lib-name", "lib-ver"]


def parse(line):
    return dict(field.split("=", 1) for field in line.split(" "))


def listed(raw, *options):
    """CLIENT LIST as dictionaries."""
    text = raw.call("CLIENT", "LIST", *options).decode()
    assert text == "" or text.endswith("\n")
    return [parse(line) for line in text.split("\n")[:-1]]


def listed_ids(raw, *options):
    return [int(entry["id"]) for entry in listed(raw, *options)]


def address(raw):
    return "%s:%d" % raw.socket.getsockname()


def own_id(raw):
    return raw.call("CLIENT", "ID")


@pytest.fixture
def others(server):
    """Eight more connections: on several cores where there are several."""
    made = [server.raw() for _ in range(8)]
    for r in made:
        assert r.call("PING") == "PONG"
    yield made
    for r in made:
        r.close()


def test_ids_are_never_given_twice(server, raw, others):
    ids = [own_id(r) for r in others]
    assert len(set(ids)) == len(ids)
    with server.raw() as late:
        assert own_id(late) > max(ids)


def test_a_line_has_redis_fields_in_redis_order(raw):
    line = raw.call("CLIENT", "INFO").decode()
    assert line.endswith("\n")
    assert [field.split("=", 1)[0] for field in line[:-1].split(" ")] == FIELDS


def test_the_query_buffer_holds_the_request_that_asks(raw):
    assert parse(raw.call("CLIENT", "INFO").decode()[:-1])["qbuf"] == "26"
    options = ["ID", own_id(raw), 1234567890]
    assert listed(raw, *options)[0]["qbuf"] == str(len(encode("CLIENT", "LIST", *options)))


def test_a_line_tells_the_truth(server, raw):
    raw.call("SELECT", 3)
    raw.call("CLIENT", "SETNAME", "bob")
    raw.call("CLIENT", "SETINFO", "LIB-NAME", "some-lib")
    raw.call("CLIENT", "SETINFO", "LIB-VER", "1.2")
    raw.call("CLIENT", "NO-TOUCH", "ON")
    raw.call("CLIENT", "NO-EVICT", "ON")
    me = parse(raw.call("CLIENT", "INFO").decode()[:-1])
    assert me["id"] == str(own_id(raw))
    assert me["addr"] == address(raw)
    assert me["laddr"] == f"127.0.0.1:{server.port}"
    assert (me["name"], me["db"], me["lib-name"], me["lib-ver"]) == ("bob", "3", "some-lib", "1.2")
    assert (me["flags"], me["events"]) == ("eT", "r")
    assert (me["cmd"], me["user"]) == ("client|info", "default")
    assert (me["resp"], me["multi"], me["redir"]) == ("2", "-1", "-1")
    assert int(me["age"]) <= 5 and me["idle"] == "0" and int(me["tot-mem"]) > 0


def test_list_shows_all_connections_in_the_order_of_their_ids(raw, others):
    ids = listed_ids(raw)
    assert ids == sorted(ids)
    assert {own_id(r) for r in others} | {own_id(raw)} <= set(ids)


def test_list_shows_what_each_connection_did_last(raw, others):
    others[0].call("GET", "nosuch")
    others[1].call("MGET", "a", "b", "c", "d", "e", "f")
    others[2].call("CLIENT", "GETNAME")
    by_id = {int(entry["id"]): entry["cmd"] for entry in listed(raw)}
    assert by_id[own_id(raw)] == "client|list"
    shown = [parse(raw.call("CLIENT", "LIST", "ID", i).decode()[:-1])["cmd"] for i in by_id]
    assert {"get", "mget", "client|getname", "client|list"} <= set(shown)


def test_list_by_id_answers_in_the_order_asked(raw, others):
    a, b = own_id(others[0]), own_id(others[5])
    assert listed_ids(raw, "ID", b, a, 999999, b) == [b, a, b]


def test_list_marks_whose_watched_keys_have_changed(raw, others):
    ids = [own_id(r) for r in others]
    keys = [f"watched:{i}" for i in range(6)]
    for r in others[:3]:
        r.call("WATCH", *keys)
    others[1].call("MULTI")
    others[3].call("WATCH", "watched:unchanged")
    flags = lambda: [entry["flags"] for entry in listed(raw, "ID", *ids)][:4]
    assert flags() == ["N", "x", "N", "N"]
    others[2].call("CLIENT", "NO-EVICT", "ON")
    raw.call("MSET", *(word for key in keys for word in (key, "value")))
    assert flags() == ["d", "xd", "de", "N"]
    assert [entry["flags"] for entry in listed(raw) if int(entry["id"]) == ids[1]] == ["xd"]
    others[0].call("UNWATCH")
    assert others[1].call("EXEC") is None
    assert flags() == ["N", "N", "de", "N"]


def test_list_by_type(raw, others):
    assert listed_ids(raw, "TYPE", "NORMAL") == listed_ids(raw)
    assert listed(raw, "TYPE", "pubsub") == []


def test_list_is_verbatim_in_resp3(raw):
    raw.call("HELLO", 3)
    raw.send(encode("CLIENT", "LIST"))
    assert raw.read_raw().split(b"\r\n", 1)[1].startswith(b"txt:id=")
    raw.send(encode("CLIENT", "INFO"))
    assert raw.read_raw().split(b"\r\n", 1)[1].startswith(b"txt:id=")


def test_redis_py_reads_the_list(server):
    client = server.client(client_name="reader")
    assert any(entry["name"] == "reader" for entry in client.client_list())


def test_unread_requests_show_as_query_buffer(server, raw):
    with server.raw() as slow:
        i = own_id(slow)
        slow.send(b"*2\r\n$3\r\nGET\r\n$100\r\nabc")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if int(listed(raw, "ID", i)[0]["qbuf"]) > 0:
                return
            time.sleep(0.01)
        pytest.fail("the query buffer is not shown")


def test_kill_by_id_closes_that_connection_only(raw, others):
    victim = own_id(others[3])
    assert raw.call("CLIENT", "KILL", "ID", victim) == 1
    others[3].expect_closed()
    assert raw.call("CLIENT", "KILL", "ID", victim) == 0
    assert victim not in listed_ids(raw)
    for r in others[:3] + others[4:]:
        assert r.call("PING") == "PONG"


def test_kill_by_address_in_the_old_form(raw, others):
    assert raw.call("CLIENT", "KILL", address(others[6])) == "OK"
    others[6].expect_closed()
    assert raw.call("CLIENT", "KILL", address(others[6])) == "ERR No such client"


def test_kill_by_address(raw, others):
    assert raw.call("CLIENT", "KILL", "ADDR", address(others[2])) == 1
    others[2].expect_closed()


def test_kill_by_own_address_spares_the_caller(server, raw, others):
    killed = raw.call("CLIENT", "KILL", "LADDR", f"127.0.0.1:{server.port}")
    assert killed >= len(others)
    for r in others:
        r.expect_closed()
    assert raw.call("PING") == "PONG"
    assert listed_ids(raw) == [own_id(raw)]


def test_kill_by_type_and_user(raw, others):
    assert raw.call("CLIENT", "KILL", "TYPE", "pubsub") == 0
    i = own_id(others[0])
    assert raw.call("CLIENT", "KILL", "TYPE", "normal", "USER", "default", "ID", i) == 1
    others[0].expect_closed()


def test_kill_by_age(raw, others):
    assert raw.call("CLIENT", "KILL", "MAXAGE", 100000) == 0
    i = own_id(others[0])
    time.sleep(1.1)
    assert raw.call("CLIENT", "KILL", "ID", i, "MAXAGE", 1) == 1
    others[0].expect_closed()


def test_one_can_kill_oneself_and_gets_the_reply(server):
    with server.raw() as r:
        assert r.call("CLIENT", "KILL", "ID", own_id(r)) == 0
        assert r.call("CLIENT", "KILL", "ID", own_id(r), "SKIPME", "no") == 1
        r.expect_closed()
    with server.raw() as r:
        assert r.call("CLIENT", "KILL", address(r)) == "OK"
        r.expect_closed()


def test_what_was_pipelined_behind_killing_oneself_is_not_run(server, raw):
    with server.raw() as r:
        i = own_id(r)
        r.send(encode("CLIENT", "KILL", "ID", i, "SKIPME", "NO") + b"CLIENT ID\r\n")
        assert r.read_reply() == 1
        r.expect_closed()


def test_connections_are_killed_while_they_work(server, raw):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            try:
                with server.raw() as r:
                    while not stop.is_set():
                        r.send(encode("SET", "a", 1) + encode("MGET", "a", "b", "c", "d"))
                        r.read_reply()
                        r.read_reply()
            except (Closed, OSError):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    killed = 0
    try:
        for _ in range(50):
            killed += raw.call("CLIENT", "KILL", "TYPE", "normal")
            time.sleep(0.01)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert killed > 0
    assert raw.call("PING") == "PONG"


def test_reply_off_until_on(raw):
    raw.send(encode("CLIENT", "REPLY", "OFF") + encode("SET", "a", 1) + encode("GET", "a") +
             encode("MGET", "a", "b", "c") + encode("NOSUCH") + encode("CLIENT", "REPLY", "ON") +
             encode("GET", "a"))
    assert raw.read_reply() == "OK"
    assert raw.read_reply() == b"1"


def test_reply_skip_drops_one_reply(raw):
    for n in (1, 5):
        keys = [f"k{i}" for i in range(n)]
        raw.send(encode("CLIENT", "REPLY", "SKIP") + encode("MGET", *keys) + encode("ECHO", "x"))
        assert raw.read_reply() == b"x"
    raw.send(encode("CLIENT", "REPLY", "SKIP"))
    raw.send(encode("PING"))
    assert raw.call("ECHO", "y") == b"y"


def test_reply_skip_does_not_end_off(raw):
    raw.send(encode("CLIENT", "REPLY", "OFF") + encode("CLIENT", "REPLY", "SKIP") + b"PING\r\n" +
             b"PING\r\n" + encode("CLIENT", "REPLY", "ON"))
    assert raw.read_reply() == "OK"
    assert raw.call("ECHO", "x") == b"x"


@pytest.fixture
def unpaused(server, raw):
    yield
    # A pause of all commands ends by itself in each test; one of writes is ended here.
    assert raw.call("CLIENT", "UNPAUSE") == "OK"


def test_a_pause_holds_back_all_and_ends_on_time(raw, others, unpaused):
    for pause_ms in (40, 250):
        assert raw.call("CLIENT", "PAUSE", pause_ms) == "OK"
        start = time.monotonic()
        for i, r in enumerate(others):
            r.send(encode("SET", f"k{i}", i) + encode("GET", f"k{i}"))
        for i, r in enumerate(others):
            assert r.read_reply() == "OK"
            took_ms = (time.monotonic() - start) * 1000
            assert r.read_reply() == str(i).encode()
            assert took_ms >= pause_ms - 10
        assert took_ms < pause_ms + 80


def test_a_pause_of_writes_lets_reads_through(raw, others, unpaused):
    assert raw.call("SET", "k", "before") == "OK"
    assert raw.call("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
    for r in others:
        assert r.call("GET", "k") == b"before"
        assert r.call("MGET", "k", "a", "b", "c") == [b"before", None, None, None]
    others[0].send(encode("SET", "k", "after"))
    others[1].send(encode("DEL", "a", "b", "c", "d", "e"))
    time.sleep(0.1)
    assert raw.call("GET", "k") == b"before"
    start = time.monotonic()
    assert raw.call("CLIENT", "UNPAUSE") == "OK"
    assert others[0].read_reply() == "OK"
    assert others[1].read_reply() == 0
    assert time.monotonic() - start < 1
    assert raw.call("GET", "k") == b"after"


def test_who_is_held_back_is_counted_and_marked(raw, others, unpaused):
    assert raw.call("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
    for r in others:
        r.send(encode("SET", "k", 1))
    deadline = time.monotonic() + 5
    while b"blocked_clients:8\r\n" not in raw.call("INFO", "clients"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [e["flags"] for e in listed(raw)].count("b") == 8
    assert raw.call("CLIENT", "UNPAUSE") == "OK"
    assert [r.read_reply() for r in others] == ["OK"] * 8
    assert not any("b" in e["flags"] for e in listed(raw))
    assert b"blocked_clients:0\r\n" in raw.call("INFO", "clients")


def test_a_pipeline_waits_at_its_first_write(raw, others, unpaused):
    assert raw.call("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
    others[0].send(encode("GET", "k") + encode("SET", "k", 1) + encode("GET", "k"))
    assert others[0].read_reply() is None
    assert raw.call("CLIENT", "UNPAUSE") == "OK"
    assert others[0].read_reply() == "OK"
    assert others[0].read_reply() == b"1"


def test_a_pause_is_not_shortened(raw, others, unpaused):
    assert raw.call("CLIENT", "PAUSE", 300, "WRITE") == "OK"
    assert raw.call("CLIENT", "PAUSE", 1, "WRITE") == "OK"
    start = time.monotonic()
    assert others[0].call("SET", "k", 1) == "OK"
    assert time.monotonic() - start > 0.25


def test_a_connection_may_end_while_it_is_held_back(server, raw, unpaused):
    assert raw.call("CLIENT", "PAUSE", 60000, "WRITE") == "OK"
    with server.raw() as r:
        i = own_id(r)
        r.send(encode("SET", "k", 1))
        time.sleep(0.05)
        assert raw.call("CLIENT", "KILL", "ID", i) == 1
        r.expect_closed()
    assert raw.call("CLIENT", "UNPAUSE") == "OK"
    assert raw.call("GET", "k") is None


def test_the_server_stops_during_a_pause(fresh_server):
    server = fresh_server()
    with server.raw() as r, server.raw() as held:
        assert r.call("CLIENT", "PAUSE", 60000) == "OK"
        held.send(encode("SET", "k", 1))
        time.sleep(0.05)
        server.stop()


def test_help_and_unknown_subcommands(raw):
    lines = raw.call("CLIENT", "HELP")
    assert lines[0] == "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    assert lines[-1] == "    Print this help."
    for name in "NOSUCH", "TRACKIN":
        assert raw.call("CLIENT", name, "x") == (
            f"ERR unknown subcommand '{name}'. Try CLIENT HELP.")


@pytest.mark.parametrize("words", ["ACL HELP", "CLIENT HELP", "CONFIG HELP", "HOTKEYS HELP",
                                   "LATENCY HELP", "MEMORY HELP", "MODULE HELP",
                                   "SLOWLOG HELP"])
def test_help_names_every_subcommand(raw, words):
    container = words.split()[0]
    told = {line.split()[0].lower() for line in raw.call(*words.split())[1:]
            if not line.startswith(" ")}
    rows = raw.call("COMMAND", "INFO", container)[0][9]
    assert told == {row[0].decode().split("|")[1] for row in rows}
