"""What goes over the wire: both forms of requests, in any pieces; both versions of replies."""

import random
import time

import pytest

from harness import Closed, encode

MEGABYTE = 1 << 20


def test_inline_commands_are_answered(raw):
    raw.send(b"SET greeting hello\r\nGET greeting\r\n")
    assert raw.read_bytes(16) == b"+OK\r\n$5\r\nhello\r\n"


def test_inline_commands_may_end_with_a_bare_newline(raw):
    raw.send(b"PING\nECHO x\n")
    assert raw.read_bytes(14) == b"+PONG\r\n$1\r\nx\r\n"


def test_inline_commands_may_be_quoted(raw):
    raw.send(b'SET "a key" \'a \\\'value\\\'\'\r\nSET b "\\x00\\n\\"x"\r\nMGET "a key" b\r\n')
    assert [raw.read_reply() for _ in range(3)] == ["OK", "OK", [b"a 'value'", b'\x00\n"x']]


def test_empty_lines_and_empty_arrays_get_no_reply(raw):
    raw.send(b"\r\n\r\n*0\r\n*-1\r\n   \r\n\nPING\r\n*0\r\nECHO after\r\n")
    assert raw.read_bytes(18) == b"+PONG\r\n$5\r\nafter\r\n"


def test_forms_may_alternate_in_one_write(raw):
    raw.send((b"PING\r\n" + encode("ECHO", "x")) * 500)
    assert raw.read_bytes(14 * 500) == b"+PONG\r\n$1\r\nx\r\n" * 500


def test_ten_thousand_commands_in_one_write(raw):
    count = 10000
    raw.send(b"".join(encode("SET", f"key:{i}", i) for i in range(count)))
    assert raw.read_bytes(5 * count) == b"+OK\r\n" * count
    raw.send(b"".join(encode("GET", f"key:{i}") for i in range(count)))
    assert [raw.read_reply() for _ in range(count)] == [b"%d" % i for i in range(count)]


@pytest.mark.parametrize("most", [1, 2, 7, 100, 5000])
def test_requests_may_come_in_any_pieces(raw, most):
    rng = random.Random(most)
    count = 30 if most == 1 else 300
    requests, due = [], []
    for i in range(count):
        value = rng.randbytes(rng.choice((0, 1, 10, 200)))
        requests += [encode("SET", f"piece:{i}", value), encode("GET", f"piece:{i}"), b"PING\r\n"]
        due += ["OK", value, "PONG"]
    stream = b"".join(requests)
    at = 0
    while at < len(stream):
        size = rng.randint(1, most)
        raw.send(stream[at:at + size])
        at += size
    assert [raw.read_reply() for _ in due] == due


def test_keys_and_values_are_binary(raw):
    every_byte = bytes(range(256))
    keys = [every_byte, b"", b"\x00", b"\r\n", b"*3\r\n$3\r\n", b"\xff" * 300]
    for i, key in enumerate(keys):
        assert raw.call("SET", key, every_byte * i) == "OK"
    assert raw.call("MGET", *keys) == [every_byte * i for i in range(len(keys))]
    assert set(raw.call("KEYS", "*")) == set(keys)
    assert raw.call("DEL", *keys) == len(keys)


def test_a_bulk_of_64_megabytes_goes_in_and_comes_out(raw):
    value = random.Random(64).randbytes(MEGABYTE) * 64
    assert raw.call("SET", "big", value) == "OK"
    assert raw.call("STRLEN", "big") == len(value)
    assert raw.call("GET", "big") == value
    raw.send(encode("SET", "big2", value) + encode("GET", "big2") + encode("DEL", "big", "big2"))
    assert [raw.read_reply() for _ in range(3)] == ["OK", value, 2]


def test_a_command_of_many_arguments(raw):
    count = 100000
    words = [w for i in range(count) for w in (f"many:{i}", i)]
    assert raw.call("MSET", *words) == "OK"
    assert raw.call("DBSIZE") == count
    assert raw.call("MGET", *words[::2]) == [b"%d" % i for i in range(count)]
    assert raw.call("DEL", *words[::2]) == count


@pytest.mark.parametrize("sent, text", [
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$x\r\n", "invalid bulk length"),
    (b"*x\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
    (b"*2\r\n$4\r\nECHO\r\n:1\r\n", "expected '$', got ':'"),
    (b"ECHO \"x\r\n", "unbalanced quotes in request"),
    (b"ECHO 'x'y\r\n", "unbalanced quotes in request"),
    (b"x" * 70000, "too big inline request"),
    (b"*" + b"1" * 70000, "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 70000, "too big bulk count string"),
], ids=lambda value: repr(value[:20]))
def test_a_protocol_error_is_told_and_closes_the_connection(server, sent, text):
    with server.raw() as r:
        r.send(b"SET before 1\r\n")
        r.send(sent)
        assert r.read_reply() == "OK"
        assert r.read_reply() == f"ERR Protocol error: {text}"
        r.expect_closed()
    with server.raw() as r:
        assert r.call("GET", "before") == b"1"


def test_commands_before_a_protocol_error_are_answered(raw):
    raw.send(b"".join(encode("SET", f"k{i}", i) for i in range(100)) + b"*1\r\n!oops\r\nPING\r\n")
    assert raw.read_bytes(500) == b"+OK\r\n" * 100
    assert raw.read_reply() == "ERR Protocol error: expected '$', got '!'"
    raw.expect_closed()


def test_quit_answers_and_closes(raw):
    raw.send(b"SET a 1\r\nQUIT\r\nSET a 2\r\n")
    assert raw.read_bytes(10) == b"+OK\r\n+OK\r\n"
    raw.expect_closed()


def test_a_half_closed_connection_gets_its_replies(raw):
    import socket
    raw.send(b"".join(encode("INCR", f"half:{i % 10}") for i in range(1000)))
    raw.socket.shutdown(socket.SHUT_WR)
    replies = [raw.read_reply() for _ in range(1000)]
    assert replies == [i // 10 + 1 for i in range(1000)]
    raw.expect_closed()


def test_unknown_commands_are_refused_in_redis_words(raw):
    assert raw.call("NOSUCH", "a", "b") == (
        "ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ")
    assert raw.call("GET") == "ERR wrong number of arguments for 'get' command"
    assert raw.call("gEt", "nokey") is None


def test_hello_changes_the_protocol_both_ways(raw):
    assert raw.call("GET", "nokey") is None
    reply = raw.call("HELLO", "3")
    assert reply[b"proto"] == 3 and reply[b"server"] == b"redis" and reply[b"modules"] == []
    raw.send(encode("GET", "nokey"))
    assert raw.read_bytes(3) == b"_\r\n"
    raw.send(encode("HELLO", "2") + encode("GET", "nokey"))
    reply = raw.read_reply()
    assert dict(zip(reply[::2], reply[1::2]))[b"proto"] == 2
    assert raw.read_bytes(5) == b"$-1\r\n"


def test_hello_refuses_other_versions_and_keeps_the_protocol(raw):
    assert raw.call("HELLO", "4") == "NOPROTO unsupported protocol version"
    assert raw.call("HELLO", "x") == (
        "ERR Protocol version is not an integer or out of range")
    raw.send(encode("GET", "nokey"))
    assert raw.read_bytes(5) == b"$-1\r\n"


def test_hello_takes_effect_within_a_pipeline(raw):
    raw.send(encode("GET", "nokey") + encode("HELLO", "3") + encode("GET", "nokey"))
    assert raw.read_bytes(5) == b"$-1\r\n"
    assert raw.read_reply()[b"proto"] == 3
    assert raw.read_bytes(3) == b"_\r\n"


def test_hello_authenticates_and_names(fresh_server):
    server = fresh_server("--requirepass", "secret")
    with server.raw() as r:
        assert r.call("HELLO", "3").startswith("NOAUTH HELLO must be called with the client")
        assert r.call("HELLO", "3", "AUTH", "default", "wrong").startswith("WRONGPASS ")
        assert r.call("GET", "a").startswith("NOAUTH ")
        reply = r.call("HELLO", "3", "AUTH", "default", "secret", "SETNAME", "tester")
        assert reply[b"proto"] == 3
        assert r.call("CLIENT", "GETNAME") == b"tester"
        assert r.call("GET", "a") is None


def test_before_authentication_requests_must_be_small(fresh_server):
    server = fresh_server("--requirepass", "secret")
    for sent, text in ((b"*11\r\n", "unauthenticated multibulk length"),
                       (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length")):
        with server.raw() as r:
            r.send(sent)
            assert r.read_reply() == f"ERR Protocol error: {text}"
            r.expect_closed()


def test_a_pipeline_may_begin_with_its_authentication(fresh_server):
    server = fresh_server("--requirepass", "secret")
    with server.raw() as r:
        big = b"x" * 20000
        r.send(encode("AUTH", "secret") + encode("SET", "big", big) + encode("GET", "big"))
        assert [r.read_reply() for _ in range(3)] == ["OK", "OK", big]


def test_a_connection_that_ends_within_a_request_changes_nothing(server):
    whole = encode("SET", "partial", "x" * 1000)
    for size in (1, 10, 30, len(whole) - 1):
        with server.raw() as r:
            r.send(whole[:size])
    with server.raw() as r:
        assert r.call("EXISTS", "partial") == 0


def test_reset_puts_the_connection_back(raw):
    raw.call("HELLO", "3")
    raw.call("SELECT", "5")
    assert raw.call("RESET") == "RESET"
    raw.send(encode("GET", "nokey"))
    assert raw.read_bytes(5) == b"$-1\r\n"
    raw.call("SET", "here", "0")
    assert raw.call("SELECT", "0") == "OK"
    assert raw.call("GET", "here") == b"0"


def test_a_closed_connection_is_seen_as_such(raw):
    raw.send(b"QUIT\r\n")
    assert raw.read_reply() == "OK"
    with pytest.raises(Closed):
        raw.read_reply()


def test_the_server_tells_its_time_and_version(raw):
    seconds, microseconds = map(int, raw.call("TIME"))
    assert abs(seconds - time.time()) < 5 and 0 <= microseconds < 1000000
    assert b"\nRedis ver. 7.2.6 " in raw.call("LOLWUT")
    assert raw.call("LOLWUT", "VERSION", "5", "10").count(b"\n") > 4
    assert raw.call("LOLWUT", "x") == "ERR value is not an integer or out of range"


@pytest.mark.parametrize("size", [16384, 6 * 16384, 6 * 16384 + 1, 65536, 200000])
def test_a_request_that_ends_where_a_read_ends_is_not_waited_behind(server, size):
    head = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n"
    value = size - len(head) - len(b"$%d\r\n\r\n" % size)
    request = head + b"$%d\r\n%s\r\n" % (value, b"v" * value)
    for _ in range(10):
        with server.raw() as r:
            r.send(request + encode("PING") + request + encode("STRLEN", "k"))
            assert [r.read_reply() for _ in range(4)] == ["OK", "PONG", "OK", value]
