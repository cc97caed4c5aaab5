"""Functions: libraries are every core's at once, and calls reach every shard."""

import random
import threading
import time

import pytest

import harness
from harness import ReplyError, encode

POLYNOMIAL = 0x95AC9329AC4BC9B5
CLIENTS = 6


def library(name, **functions):
    """The code of a library: functions by name, each given as the body of function(keys, args)."""
    lines = [f"#!lua name={name}"]
    for function, body in functions.items():
        lines.append(f"redis.register_function('{function}', function(keys, args) {body} end)")
    return "\n".join(lines)


def reading(name, **functions):
    """The same, with functions that do not write."""
    lines = [f"#!lua name={name}"]
    for function, body in functions.items():
        lines.append("redis.register_function{function_name='%s', flags={'no-writes'}, "
                     "callback=function(keys, args) %s end}" % (function, body))
    return "\n".join(lines)


def crc64(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ POLYNOMIAL if crc & 1 else crc >> 1
    return crc


def payload(body, version=10):
    data = body + version.to_bytes(2, "little")
    return data + crc64(data).to_bytes(8, "little")


def in_threads(*works):
    """Runs them side by side; an error of one is the test's."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as e:  # noqa: B902
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


@pytest.fixture(autouse=True)
def no_libraries(raw):
    assert raw.call("FUNCTION", "FLUSH") == "OK"
    yield


@pytest.fixture
def others(server):
    """More connections: on several cores where there are several."""
    made = [server.raw() for _ in range(8)]
    yield made
    for r in made:
        r.close()


# --- Every core ---

def test_a_library_is_there_on_every_connection(raw, others):
    assert raw.call("FUNCTION", "LOAD", library("l", f="return args[1] .. 1")) == b"l"
    for r in others:
        assert r.call("FCALL", "f", 0, "x") == b"x1"
    others[0].call("FUNCTION", "LOAD", "REPLACE", library("l", f="return args[1] .. 2"))
    for r in [raw, *others]:
        assert r.call("FCALL", "F", 0, "x") == b"x2"
    others[1].call("FUNCTION", "DELETE", "l")
    for r in [raw, *others]:
        assert r.call("FCALL", "f", 0) == ReplyError("ERR Function not found")
        assert r.call("FUNCTION", "LIST") == []


def test_a_pipeline_calls_what_it_has_just_loaded(raw):
    rounds = 50
    for i in range(rounds):
        raw.send(encode("FUNCTION", "LOAD", "REPLACE", library("l", f=f"return {i}")) +
                 encode("FCALL", "f", 0) + encode("FCALL", "f", 1, f"key{i}") +
                 encode("FUNCTION", "DELETE", "l") + encode("FCALL", "f", 0))
    for i in range(rounds):
        assert raw.read_reply() == b"l"
        assert raw.read_reply() == i
        assert raw.read_reply() == i
        assert raw.read_reply() == "OK"
        assert raw.read_reply() == ReplyError("ERR Function not found")


def test_who_sees_a_new_version_never_sees_the_old_one_again(server, raw):
    stop = threading.Event()
    published = [0]

    def replace():
        with server.raw() as r:
            for version in range(1, 120):
                code = library("l", f=f"return {version}", g="return redis.call('incr', keys[1])")
                assert r.call("FUNCTION", "LOAD", "REPLACE", code) == b"l"
                published[0] = version
        stop.set()

    def call(number):
        seen = 0
        with server.raw() as r:
            while not stop.is_set():
                least = published[0]
                version = r.call("FCALL", "f", 1, f"key{number}")
                assert version >= max(seen, least)
                seen = version
                assert isinstance(r.call("FCALL", "g", 1, f"counter{number}"), int)

    raw.call("FUNCTION", "LOAD", library("l", f="return 0", g="return 0"))
    in_threads(replace, *(lambda n=n: call(n) for n in range(CLIENTS)))


def test_many_libraries_come_and_go(raw, others):
    rng = random.Random(7)
    loaded = {}
    for step in range(600):
        r = rng.choice(others)
        name = f"l{rng.randrange(40)}"
        if rng.random() < 0.3 and name in loaded:
            assert r.call("FUNCTION", "DELETE", name) == "OK"
            del loaded[name]
        elif rng.random() < 0.5:
            code = library(name, **{f"{name}_a": f"return {step}", f"{name}_b": "return keys[1]"})
            assert r.call("FUNCTION", "LOAD", "REPLACE", code) == name.encode()
            loaded[name] = step
        elif name in loaded:
            assert r.call("FCALL", f"{name}_a", 0) == loaded[name]
            assert r.call("FCALL", f"{name}_b", 1, f"k{step}") == b"k%d" % step
        else:
            assert r.call("FCALL", f"{name}_a", 0) == ReplyError("ERR Function not found")
    assert {entry[1].decode() for entry in raw.call("FUNCTION", "LIST")} == set(loaded)


# --- Shards ---

def test_functions_reach_the_keys_of_every_shard(raw):
    raw.call("FUNCTION", "LOAD", library(
        "l", put="for i, key in ipairs(keys) do redis.call('set', key, args[i]) end return #keys",
        get="local r = {} for i, key in ipairs(keys) do r[i] = redis.call('get', key) end return r",
        undeclared="for i = 1, 30 do redis.call('set', args[1] .. i, i) end return 'done'"))
    keys = [f"key{i}" for i in range(30)]
    for _ in range(3):
        assert raw.call("FCALL", "put", 30, *keys, *range(30)) == 30
        assert raw.call("FCALL", "get", 30, *keys) == [b"%d" % i for i in range(30)]
        assert raw.call("FCALL", "put", 1, "one", "x") == 1
        assert raw.call("GET", "one") == b"x"
        assert raw.call("FCALL", "undeclared", 0, "u") == b"done"
        assert raw.call("FCALL", "undeclared", 1, "key1", "v") == b"done"
    assert raw.call("MGET", *[f"v{i}" for i in range(1, 31)]) == [b"%d" % i for i in range(1, 31)]


def test_a_function_that_keeps_to_its_keys_may_stray_later(raw):
    raw.call("FUNCTION", "LOAD", library(
        "l", f="local n = redis.call('incr', keys[1]) "
               "if args[1] then n = n + redis.call('incr', args[1]) end return n"))
    for i in range(1, 20):
        assert raw.call("FCALL", "f", 1, "own") == i
    for i in range(1, 40):
        assert raw.call("FCALL", "f", 1, "own", f"other{i}") == 19 + i + 1
    assert raw.call("GET", "own") == b"58"
    assert raw.call("MGET", *[f"other{i}" for i in range(1, 40)]) == [b"1"] * 39


def test_calls_are_atomic(server, raw):
    """Money moves between accounts of all shards; whoever adds them up always finds all of it."""
    accounts, rounds = 20, 150
    raw.call("FUNCTION", "LOAD", library(
        "bank", move="redis.call('decrby', keys[1], 5) redis.call('incrby', keys[2], 5)",
        move_undeclared="redis.call('decrby', args[1], 5) redis.call('incrby', args[2], 5)",
        total="local n = 0 for i = 1, 20 do n = n + redis.call('get', 'account' .. i) end "
              "return n"))
    for i in range(1, accounts + 1):
        raw.call("SET", f"account{i}", 100)

    def work(seed):
        rng = random.Random(seed)
        with server.raw() as r:
            for _ in range(rounds):
                pair = [f"account{rng.randint(1, accounts)}" for _ in range(2)]
                if rng.random() < 0.5:
                    assert r.call("FCALL", "move", 2, *pair) is None
                else:
                    assert r.call("FCALL", "move_undeclared", 0, *pair) is None
                assert r.call("FCALL", "total", 0) == accounts * 100

    in_threads(*(lambda s=s: work(s) for s in range(CLIENTS)))


def test_a_function_that_fails_keeps_what_it_wrote(raw):
    raw.call("FUNCTION", "LOAD", library(
        "l", f="redis.call('set', args[1], 1) redis.call('set', args[2], 2) error('after that')"))
    for i in range(20):
        reply = raw.call("FCALL", "f", 0, f"a{i}", f"b{i}")
        assert reply == ReplyError("ERR user_function:2: after that script: f, on "
                                   "@user_function:2.")
        assert raw.call("MGET", f"a{i}", f"b{i}") == [b"1", b"2"]


def test_functions_in_transactions(raw):
    raw.call("FUNCTION", "LOAD", library("l", f="return redis.call('incrby', keys[1], args[1])"))
    raw.send(encode("MULTI") + encode("FCALL", "f", 1, "a", 1) + encode("FCALL", "f", 1, "b", 2) +
             encode("FUNCTION", "LOAD", library("m", g="return 7")) + encode("FCALL", "g", 0) +
             encode("FUNCTION", "DELETE", "m") + encode("FCALL", "g", 0) + encode("EXEC"))
    replies = [raw.read_reply() for _ in range(8)]
    assert replies[:7] == ["OK"] + ["QUEUED"] * 6
    assert replies[7] == [1, 2, b"m", 7, "OK", ReplyError("ERR Function not found")]


def test_read_only_calls(raw):
    raw.call("FUNCTION", "LOAD", reading("l", r="return redis.call('get', keys[1])",
                                         w="return redis.call('set', keys[1], 1)"))
    raw.call("SET", "key", "x")
    assert raw.call("FCALL_RO", "r", 1, "key") == b"x"
    for command in ("FCALL", "FCALL_RO"):
        assert raw.call(command, "w", 1, "key").startswith(
            "ERR Write commands are not allowed from read-only scripts.")
    assert raw.call("GET", "key") == b"x"


# --- Loading ---

def test_a_library_that_does_not_end_is_ended(server, raw, others):
    begun = time.monotonic()
    reply = raw.call("FUNCTION", "LOAD", "#!lua name=l\nwhile true do end")
    assert reply == ReplyError("ERR Error registering functions: ERR FUNCTION LOAD timeout")
    assert 0.4 < time.monotonic() - begun < 20
    for r in others:
        assert r.call("FUNCTION", "LIST") == []
    assert raw.call("FUNCTION", "LOAD", library("l", f="return 1")) == b"l"
    assert raw.call("FCALL", "f", 0) == 1


def test_a_library_that_fails_changes_nothing(raw, others):
    raw.call("FUNCTION", "LOAD", library("l", f="return 'kept'"))
    for code in ("syntax error", "redis.call('ping')", "x = 1", "local x = nil; x.y = 1", "",
                 "redis.register_function('f', function() end) nothing()"):
        reply = raw.call("FUNCTION", "LOAD", "REPLACE", "#!lua name=l\n" + code)
        assert isinstance(reply, ReplyError)
    for r in others:
        assert r.call("FCALL", "f", 0) == b"kept"


def test_what_a_library_sees_while_it_is_loaded_and_later(raw, others):
    code = """#!lua name=l
local r = redis
local function helper(x) return string.upper(x) .. tostring(type(_G)) end
r.log(r.LOG_DEBUG, 'loading')
redis.register_function('calls', function() return {type(r.call), type(redis.call)} end)
redis.register_function('registers', function() return type(redis.register_function) end)
redis.register_function('late', function() r.register_function('x', function() end) end)
redis.register_function('helps', function(keys, args) return helper(args[1]) end)
"""
    assert raw.call("FUNCTION", "LOAD", code) == b"l"
    for r in others:
        assert r.call("FCALL", "registers", 0) == b"nil"
        assert r.call("FCALL", "helps", 0, "a") == b"Atable"
        assert r.call("FCALL", "late", 0).startswith(
            "ERR redis.register_function can only be called on FUNCTION LOAD command")


def test_functions_cannot_change_what_others_see(raw, others):
    attempts = {"a": "x = 1", "b": "redis.call = nil", "c": "rawset(_G, 'x', 1)",
                "d": "string.upper = nil", "e": "getmetatable(_G).__index = 1",
                "f": "setmetatable(_G, nil)", "g": "cjson.encode = 1",
                "h": "getmetatable('').__index = nil", "i": "table.insert(redis, 1)"}
    raw.call("FUNCTION", "LOAD", library("l", **attempts))
    for r in others:
        for name in attempts:
            reply = r.call("FCALL", name, 0)
            assert isinstance(reply, ReplyError) and "readonly table" in reply.text, name


def test_list_is_made_of_maps_and_sets_over_resp3(raw):
    raw.call("HELLO", 3)
    code = ("#!lua name=l\nredis.register_function{function_name='f', callback=function() end, "
            "description='what it does', flags={'no-writes', 'allow-stale'}}")
    raw.call("FUNCTION", "LOAD", code)
    function = {b"name": b"f", b"description": b"what it does",
                b"flags": {"no-writes", "allow-stale"}}
    assert raw.call("FUNCTION", "LIST", "WITHCODE") == [{
        b"library_name": b"l", b"engine": b"LUA", b"functions": [function],
        b"library_code": code.encode()}]
    assert raw.call("FUNCTION", "STATS") == {
        b"running_script": None,
        b"engines": {b"LUA": {b"libraries_count": 1, b"functions_count": 1}}}


# --- DUMP and RESTORE ---

@pytest.fixture
def reference():
    made = harness.Server(command=lambda port: ["/usr/bin/redis-server", "--port", str(port),
                                                "--save", ""])
    yield made
    made.stop()
    made.destroy()


def test_payloads_go_to_redis_and_back(raw, reference):
    codes = {name: library(name, **{f"{name}_f": f"return '{name}'"}) + tail
             for name, tail in (("short", ""), ("long", "\n--" + "x" * 500),
                                ("longer", "\n--" + "".join(map(chr, range(97, 120))) * 1500))}
    for code in codes.values():
        raw.call("FUNCTION", "LOAD", code)
    with reference.raw() as redis:
        assert redis.call("FUNCTION", "RESTORE", raw.call("FUNCTION", "DUMP")) == "OK"
        back = redis.call("FUNCTION", "DUMP")
        listed = redis.call("FUNCTION", "LIST", "WITHCODE")
        assert {entry[1].decode(): entry[7].decode() for entry in listed} == codes
    raw.call("FUNCTION", "FLUSH")
    assert raw.call("FUNCTION", "RESTORE", back) == "OK"
    listed = raw.call("FUNCTION", "LIST", "WITHCODE")
    assert {entry[1].decode(): entry[7].decode() for entry in listed} == codes
    for name in codes:
        assert raw.call("FCALL", f"{name}_f", 0) == name.encode()


def test_policies_of_restore(raw, others):
    raw.call("FUNCTION", "LOAD", library("a", f="return 'dumped'"))
    dump = raw.call("FUNCTION", "DUMP")
    raw.call("FUNCTION", "LOAD", "REPLACE", library("a", f="return 'newer'", g="return 1"))
    raw.call("FUNCTION", "LOAD", library("b", h="return 2"))
    assert raw.call("FUNCTION", "RESTORE", dump) == ReplyError("ERR Library a already exists")
    for r in others:
        assert r.call("FCALL", "f", 0) == b"newer"
    assert raw.call("FUNCTION", "RESTORE", dump, "REPLACE") == "OK"
    for r in others:
        assert r.call("FCALL", "f", 0) == b"dumped"
        assert r.call("FCALL", "g", 0) == ReplyError("ERR Function not found")
        assert r.call("FCALL", "h", 0) == 2
    assert raw.call("FUNCTION", "RESTORE", dump, "FLUSH") == "OK"
    for r in others:
        assert r.call("FCALL", "f", 0) == b"dumped"
        assert r.call("FCALL", "h", 0) == ReplyError("ERR Function not found")


def test_no_payload_does_harm(raw):
    rng = random.Random(11)
    raw.call("FUNCTION", "LOAD", library("a", f="return 1") + "\n--" + "y" * 200)
    raw.call("FUNCTION", "LOAD", library("b", g="return 1"))
    body = raw.call("FUNCTION", "DUMP")[:-10]
    for _ in range(400):
        broken = bytearray(body[:rng.randrange(1, len(body) + 1)])
        for _ in range(rng.randrange(4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        raw.send(encode("FUNCTION", "RESTORE", payload(bytes(broken)), "FLUSH"))
        assert raw.read_raw()[:4] in (b"+OK\r", b"-ERR")
    assert raw.call("FUNCTION", "RESTORE", payload(body), "FLUSH") == "OK"
    assert raw.call("FCALL", "g", 0) == 1


def test_info_counts_libraries_and_what_they_take(raw, others):
    def info():
        lines = raw.call("INFO", "memory").decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    before = info()
    assert (before["number_of_functions"], before["number_of_libraries"]) == ("0", "0")
    for name in ("a", "b"):
        raw.call("FUNCTION", "LOAD", library(name, **{name + "1": "return 1", name + "2": ""}))
    for r in others:
        assert r.call("FCALL", "a1", 0) == 1
    after = info()
    assert (after["number_of_functions"], after["number_of_libraries"]) == ("4", "2")
    for field in ("used_memory_vm_functions", "used_memory_functions"):
        assert int(after[field]) > int(before[field])
    raw.call("FUNCTION", "FLUSH")
    assert info()["used_memory_vm_functions"] == "0"


def test_pauses_of_writes_hold_back_functions_that_may_write(server, raw):
    raw.call("FUNCTION", "LOAD", reading("r", reads="return redis.call('get', keys[1])"))
    raw.call("FUNCTION", "LOAD", library("w", writes="return redis.call('set', keys[1], 2)"))
    raw.call("SET", "key", 1)
    with server.raw() as writer, server.raw() as reader:
        raw.call("CLIENT", "PAUSE", 60000, "WRITE")
        try:
            writer.send(encode("FCALL", "writes", 1, "key"))
            assert reader.call("FCALL", "reads", 1, "key") == b"1"
            assert reader.call("FCALL_RO", "reads", 1, "key") == b"1"
            assert reader.call("EVAL", "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])",
                               1, "key") == b"1"
            for command in (["MULTI"], ["FCALL", "reads", 1, "key"]):
                reader.call(*command)
            assert reader.call("EXEC") == [b"1"]
            assert reader.call("FCALL", "nosuch") == ReplyError(
                "ERR wrong number of arguments for 'fcall' command")
        finally:
            raw.call("CLIENT", "UNPAUSE")
        assert writer.read_reply() == "OK"
    assert raw.call("GET", "key") == b"2"


# --- Functions that run for long ---

def test_a_function_that_runs_for_long_is_told_of_and_killed(server, raw):
    raw.call("FUNCTION", "LOAD", library("l", f="while true do end", g="return 1"))
    raw.call("CONFIG", "SET", "busy-reply-threshold", 50)
    try:
        with server.raw() as caller, server.raw() as other:
            caller.send(encode("FCALL", "f", 1, "key", "argument"))
            time.sleep(0.2)  # what arrives in one piece with it waits behind it
            deadline = time.monotonic() + 20
            while True:
                reply = other.call("FCALL", "g", 0)
                if isinstance(reply, ReplyError):
                    break
                assert time.monotonic() < deadline
            assert reply == ReplyError("BUSY Redis is busy running a script. You can only call "
                                       "FUNCTION KILL or SHUTDOWN NOSAVE.")
            running = other.call("FUNCTION", "STATS")[1]
            assert running[:4] == [b"name", b"f", b"command",
                                   [b"FCALL", b"f", b"1", b"key", b"argument"]]
            assert running[4] == b"duration_ms" and running[5] >= 50
            assert other.call("SCRIPT", "KILL").startswith("BUSY ")
            assert other.call("FUNCTION", "KILL") == "OK"
            assert "Script killed by user" in caller.read_reply().text
            while isinstance(reply, ReplyError) and reply.startswith("BUSY "):
                reply = other.call("FCALL", "g", 0)  # a core may learn of the end later
                assert time.monotonic() < deadline
            assert reply == 1
            assert other.call("FUNCTION", "STATS")[1] is None
            assert other.call("FUNCTION", "KILL") == ReplyError(
                "NOTBUSY No scripts in execution right now.")
    finally:
        raw.call("CONFIG", "SET", "busy-reply-threshold", 5000)
