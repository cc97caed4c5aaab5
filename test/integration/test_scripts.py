"""Scripts as their clients see them: on which shards they run must not be seen. A script that is
known to keep to its keys runs with their shards alone; where it then asks for another key, what it
wrote is taken back and it runs again with all. The first run of a script is with all shards.
"""

import hashlib
import re
import threading
import time

import pytest

from harness import SHARDS, ReplyError, encode

# Counts KEYS[1]; with ARGV[1] also a key that it does not declare, in a way that ARGV[2] says. All
# ways catch errors: a run that strays must not be caught.
WANDERER = """
local function elsewhere() return redis.call('INCR', ARGV[1]) end
local way = {
    plain = function() return elsewhere() end,
    pcall = function() local ok, v = pcall(elsewhere) return ok and v or 'caught' end,
    xpcall = function()
        local ok, v = xpcall(elsewhere, function(e) return e end) return ok and v or 'caught' end,
    handler = function()
        local ok, v = xpcall(elsewhere, function(e) while true do end end)
        return ok and v or 'caught' end,
    redis_pcall = function() local v = redis.pcall('INCR', ARGV[1])
        return type(v) == 'table' and 'caught' or v end,
    coroutine = function()
        local ok, v = coroutine.resume(coroutine.create(elsewhere)) return ok and v or 'caught' end,
    wrap = function()
        local ok, v = pcall(coroutine.wrap(elsewhere))
        return ok and v or 'caught'
    end,
    load = function()
        local v
        load(function() v = elsewhere() return nil end)
        return v or 'caught'
    end,
    sort = function() local v table.sort({2, 1}, function(a, b)
        v = v or elsewhere() return a < b end) return v end,
    gsub = function() local v string.gsub('x', 'x', function() v = elsewhere() end) return v end,
}
local n = redis.call('INCR', KEYS[1])
redis.call('APPEND', KEYS[1] .. '', '')
local m = ARGV[1] and way[ARGV[2]]() or 0
return {n, m, redis.call('GET', KEYS[1])}
"""
WAYS = ["plain", "pcall", "xpcall", "handler", "redis_pcall", "coroutine", "wrap", "load", "sort",
        "gsub"]


def sha(script):
    return hashlib.sha1(script.encode()).hexdigest()


def variant(script, name):
    """The same script under another SHA1: nothing is known of it."""
    return f"-- {name}\n" + script


# --- Where scripts run ---


def test_keys_that_are_not_declared_are_found(raw):
    for i in range(50):
        assert raw.call("EVAL", "return redis.call('INCR', 'k' .. ARGV[1])", 0, i) == 1
    assert raw.call("EVAL", "return redis.call('DBSIZE')", 0) == 50
    assert sum(int(v) for v in raw.call("MGET", *[f"k{i}" for i in range(50)])) == 50


@pytest.mark.parametrize("way", WAYS)
def test_a_script_that_strays_after_writing_has_written_once(raw, way):
    script = variant(WANDERER, way)
    for i in range(1, 6):
        assert raw.call("EVAL", script, 1, "own") == [i, 0, b"%d" % i]
    for i in range(20):
        assert raw.call("EVAL", script, 1, f"own{i}", f"other{i}", way) == [1, 1, b"1"]
    assert raw.call("EVAL", script, 1, "own") == [6, 0, b"6"]


@pytest.mark.parametrize("write, read, before, after", [
    (["LPUSH", "x"], ["LRANGE", 0, -1], ["RPUSH", "a", "b"], [b"x", b"a", b"b"]),
    (["LPOP"], ["LRANGE", 0, -1], ["RPUSH", "a", "b"], [b"b"]),
    (["HSET", "f", "2"], ["HGETALL"], ["HSET", "f", "1", "g", "1"], [b"f", b"2", b"g", b"1"]),
    (["SADD", "m2"], ["SCARD"], ["SADD", "m1"], 2),
    (["ZINCRBY", 2, "m"], ["ZRANGE", 0, -1, "WITHSCORES"], ["ZADD", 1, "m"], [b"m", b"3"]),
    (["DEL"], ["EXISTS"], ["SET", "v"], 0),
    (["EXPIRE", 100], ["TTL"], ["SET", "v"], 100),
    (["SET", "new"], ["GET"], ["SET", "old"], b"new"),
])
def test_every_kind_of_write_is_taken_back(raw, write, read, before, after):
    script = (f"-- {write[0]}\nlocal a = {{unpack(ARGV, 3)}}\n"
              "redis.call(ARGV[2], KEYS[1], unpack(a))\n"
              "if ARGV[1] ~= '' then redis.call('INCR', ARGV[1]) end return 1")
    for _ in range(3):  # it keeps to its key
        raw.call("DEL", "k")
        raw.call(before[0], "k", *before[1:])
        assert raw.call("EVAL", script, 1, "k", "", write[0], *write[1:]) == 1
    for i in range(8):
        key = f"key{i}"
        raw.call(before[0], key, *before[1:])
        assert raw.call("EVAL", script, 1, key, f"far{i}", write[0], *write[1:]) == 1
        assert raw.call(read[0], key, *read[1:]) == after
        assert raw.call("GET", f"far{i}") == b"1"


def test_a_run_that_is_taken_back_is_seen_by_nobody(server):
    """Readers see the two keys equal: what strays is undone, and done again, in one step."""
    script = ("redis.call('INCR', KEYS[1]) if ARGV[1] then redis.call('INCR', ARGV[1]) end "
              "return 1 -- ")
    pairs = [(f"a{i}", f"b{i}") for i in range(8)]
    failures = []

    def write(number):
        with server.raw() as raw:
            for i in range(150):
                mine = script + f"{number} {i // 10}"
                a, b = pairs[i % len(pairs)]
                raw.call("EVAL", mine, 1, f"warm{number}")
                raw.call("EVAL", mine, 1, a, b)

    def read(stop):
        with server.raw() as raw:
            while not stop.is_set():
                for a, b in pairs:
                    seen = raw.call("MGET", a, b)
                    if seen[0] != seen[1]:
                        failures.append((a, seen))

    stop = threading.Event()
    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    reader = threading.Thread(target=read, args=(stop,))
    for t in [*writers, reader]:
        t.start()
    for t in writers:
        t.join()
    stop.set()
    reader.join()
    assert not failures
    with server.raw() as raw:
        values = raw.call("MGET", *[k for p in pairs for k in p])
        assert sum(int(v) for v in values) == 2 * 3 * 150


def test_scripts_of_many_clients_count_exactly(server):
    script = ("for _, k in ipairs(KEYS) do redis.call('INCR', k) end "
              "return redis.call('GET', KEYS[1])")
    keys = [f"count{i}" for i in range(10)]

    def work(number):
        with server.raw() as raw:
            for i in range(200):
                chosen = [keys[(number + i * j) % len(keys)] for j in range(1 + i % 3)]
                raw.call("EVAL", script, len(chosen), *chosen)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with server.raw() as raw:
        expected = sum(1 + i % 3 for i in range(200)) * 6
        assert sum(int(v) for v in raw.call("MGET", *keys) if v) == expected


def test_commands_of_every_shard_work_within_a_script(raw):
    raw.call("MSET", *[x for i in range(30) for x in (f"k{i}", i)])
    assert raw.call("EVAL", "return redis.call('DBSIZE')", 0) == 30
    assert len(raw.call("EVAL", "return redis.call('KEYS', '*')", 0)) == 30
    assert raw.call("EVAL", "return redis.call('RANDOMKEY')", 0).startswith(b"k")
    scan = """local seen, cursor = {}, '0'
              repeat local r = redis.call('SCAN', cursor)
                  cursor = r[1] for _, k in ipairs(r[2]) do seen[k] = true end
              until cursor == '0'
              local n = 0 for _ in pairs(seen) do n = n + 1 end return n"""
    for _ in range(3):
        assert raw.call("EVAL", scan, 0) == 30
    flush = "redis.call('FLUSHALL') redis.call('SET', KEYS[1], 1) return redis.call('DBSIZE')"
    assert raw.call("EVAL", flush, 1, "left") == 1
    assert raw.call("DBSIZE") == 1


def test_select_within_a_script_is_the_scripts_own(raw):
    script = "redis.call('SELECT', ARGV[1]) redis.call('SET', KEYS[1], ARGV[1]) return 1"
    for db in (3, 4, 5):
        assert raw.call("EVAL", script, 1, "k", db) == 1
    assert raw.call("GET", "k") is None
    raw.call("SELECT", 4)
    assert raw.call("GET", "k") == b"4"


def test_a_script_publishes_once_even_if_it_strays(server):
    script = ("redis.call('PUBLISH', KEYS[1], ARGV[1]) if ARGV[2] then redis.call('INCR', ARGV[2]) "
              "end return redis.call('PUBLISH', KEYS[1], 'end')")
    subscribers = []
    for _ in range(4):
        s = server.raw()
        assert s.call("SUBSCRIBE", "news")[0] == b"subscribe"
        subscribers.append(s)
    with server.raw() as raw:
        for _ in range(3):
            assert raw.call("EVAL", script, 1, "quiet", "x") == 0
        for i in range(5):
            args = [] if i < 3 else [f"far{i}"]
            assert raw.call("EVAL", script, 1, "news", i, *args) == 4
    for s in subscribers:
        for i in range(5):
            assert s.read_reply() == [b"message", b"news", b"%d" % i]
            assert s.read_reply() == [b"message", b"news", b"end"]
        s.close()


def test_scripts_within_a_transaction(raw):
    script = variant(WANDERER, "multi")
    for _ in range(2):
        raw.call("EVAL", script, 1, "own")
    raw.send(encode("MULTI") + encode("SET", "first", 1) + encode("EVAL", script, 1, "own") +
             encode("EVAL", script, 1, "own", "far", "pcall") + encode("GET", "far") +
             encode("EXEC"))
    assert [raw.read_reply() for _ in range(5)] == ["OK"] + ["QUEUED"] * 4
    assert raw.read_reply() == ["OK", [3, 0, b"3"], [4, 1, b"4"], b"1"]


def test_a_pipeline_of_scripts_takes_effect_in_the_order_sent(raw):
    script = variant(WANDERER, "pipeline")
    expected = []
    for i in range(100):
        args = ["far", "plain"] if i % 7 == 3 else []
        raw.send(encode("EVAL", script, 1, "own", *args) + encode("GET", "own"))
        expected.append(b"%d" % (i + 1))
    for value in expected:
        assert raw.read_reply()[2] == value
        assert raw.read_reply() == value


# --- The cache ---


def test_what_is_loaded_is_known_to_every_client_at_once(server):
    for i in range(20):
        script = f"return {i}"
        with server.raw() as one, server.raw() as other:
            assert one.call("SCRIPT", "LOAD", script) == sha(script).encode()
            assert other.call("SCRIPT", "EXISTS", sha(script)) == [1]
            assert other.call("EVALSHA", sha(script), 0) == i
            assert other.call("EVALSHA", sha(script).upper(), 0) == i


def test_flush_forgets_scripts_while_others_run_them(server):
    script = "return redis.call('INCR', KEYS[1])"
    stop = threading.Event()
    failures = []

    def work(number):
        with server.raw() as raw:
            while not stop.is_set():
                raw.call("EVAL", script, 1, f"n{number}")
                reply = raw.call("EVALSHA", sha(script), 1, f"n{number}")
                if not isinstance(reply, int) and not reply.startswith("NOSCRIPT"):
                    failures.append(reply)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    with server.raw() as raw:
        for i in range(100):
            assert raw.call("SCRIPT", "FLUSH", "ASYNC" if i % 2 else "SYNC") == "OK"
    stop.set()
    for t in threads:
        t.join()
    assert not failures
    with server.raw() as raw:
        raw.call("SCRIPT", "FLUSH")
        assert raw.call("SCRIPT", "EXISTS", sha(script)) == [0]
        assert raw.call("EVALSHA", sha(script), 1, "x").startswith("NOSCRIPT")


# --- The sandbox ---


@pytest.mark.parametrize("escape", [
    "for _, t in pairs(_G) do if type(t) == 'table' then t.leak = 1 end end",
    "local f, t = pairs(redis) t.leak = 1",
    "local f, t = next, redis rawset(t, 'leak', 1)",
    "table.insert(string, 'leak')",
    "table.setn(redis, 3)",
    "getmetatable('').__index.leak = 1",
    "getmetatable('').leak = 1",
    "getmetatable(_G).__index = function() return 1 end",
    "setmetatable(_G, {})",
    "setfenv(0, {}) leak = 1 error('done')",
    "setfenv(1, {leak = 1}) redis.call('PING')",
    "getfenv().leak = 1",
    "getfenv(redis.call).leak = 1",
    "loadstring('leak = 1')()",
    "_G.leak = 1",
    "assert(loadstring(string.dump(function() end)))",
    "local d = string.dump(function() end) "
    "assert(load(function() local s = d d = nil return s end))",
    "return require('os')",
    "return debug.getregistry()",
    "return io.open('/etc/passwd')",
    "return os.execute('true')",
    "return newproxy(true)",
])
def test_nothing_can_be_left_for_the_next_script(raw, escape):
    assert isinstance(raw.call("EVAL", escape, 0), ReplyError)
    look = """local n = 0
              for _, t in ipairs({_G, redis, string, table, math, coroutine}) do
                  if rawget(t, 'leak') or rawget(t, 1) then n = n + 1 end end
              return {n, redis.call('PING').ok, ('x'):upper(), #KEYS}"""
    assert raw.call("EVAL", look, 0) == [0, b"PONG", b"X", 0]


# What scripts have broken Redis with, by its advisories. Each is refused or gives what it should;
# the server goes on, which is what most of them were about.
@pytest.mark.parametrize("name, script, wanted", [
    ("2022-0543", "return package", "nonexistent global variable 'package'"),
    ("2022-24735", "redis.call = function() end", "Attempt to modify a readonly table"),
    ("2022-24736", "return redis.call({})", "must be strings or integers"),
    ("2015-4335", "return loadstring(string.dump(function() end)) == nil", 1),
    ("2018-11218", "return cmsgpack.pack(unpack({1, 2, 3})) ~= nil and "
     "pcall(cmsgpack.unpack, '\\223' .. ('\\147'):rep(20000)) == false", 1),
    ("2018-11219", "return struct.unpack('>I4294967296', 'abcd')", "integral size overflow"),
    ("2018-11219", "return struct.unpack('s', 'abc')", "unfinished string"),
    ("2020-14147", "return struct.pack('>I2147483648', '10')", "integral size overflow"),
    ("2020-14147", "return struct.unpack('c0', 'abc', 2^31)", "out of range|too short"),
    ("2021-32626", "local t = {} for i = 1, 9000 do t = {t} end return cmsgpack.unpack("
     "cmsgpack.pack(t)) ~= nil", 1),
    ("2021-32626", "local s = ('['):rep(100000) return pcall(cjson.decode, s) == false", 1),
    ("2022-24834", "local s = ('\\0'):rep(2^25) return cjson.encode({s, s, s, s, s, s, s})",
     "may be too large"),
    ("2024-31449", "return bit.tohex(1, -2147483648) == bit.tohex(1, 8):upper()", 1),
    ("2024-46981", "local t = {} for i = 1, 1000 do t[i] = setmetatable({}, {__gc = error}) end "
     "t = nil collectgarbage() collectgarbage() return 1", 1),
    ("2025-49844", "for i = 1, 200 do loadstring(('x'):rep(i) .. ' = 1', 'name' .. i) "
     "collectgarbage() end return 1", 1),
    ("2025-46817", "return {unpack({}, 0, 2147483647)}", "too many results to unpack"),
    ("2025-46817", "return {unpack({}, -2147483648, 2147483647)}", "too many results to unpack"),
    ("2025-46817", "return {unpack({1, 2, 3}, 2147483647, 2147483647)}", []),
    ("2025-46817", "return {unpack({1, 2, 3}, 2)}", [2, 3]),
    ("2025-46817", "return {unpack({1, 2, 3}, nil, 2)}", [1, 2]),
    ("2025-46818", "getmetatable('').__index = function() return 'mine' end",
     "Attempt to modify a readonly table"),
    ("2025-46819", "return loadstring('x = [' .. ('='):rep(1e6)) == nil", 1),
    ("2025-46819", "return loadstring('--[' .. ('='):rep(1e6) .. '[') == nil", 1),
    ("memory", "return #string.rep('x', 2^29 + 1)", "resulting string too large"),
    ("memory", "return ('x'):rep(1e300)", "resulting string too large"),
    ("memory", "return {('ab'):rep(3), (''):rep(1e300), ('x'):rep(-1)}", [b"ababab", b"", b""]),
])
def test_what_has_broken_others_is_harmless(raw, name, script, wanted):
    reply = raw.call("EVAL", script, 0)
    if isinstance(wanted, str):
        assert isinstance(reply, ReplyError) and re.search(wanted, reply.text), (name, reply)
    else:
        assert reply == wanted, name
    assert raw.call("EVAL", "return {('x'):upper(), redis.call('PING').ok}", 0) == [b"X", b"PONG"]


def test_bytecode_is_refused(raw):
    assert raw.call("EVAL", b"\x1bLua\x51\x00", 0).startswith("ERR Error compiling script")
    assert raw.call("EVAL", "return {loadstring('\\27Lua')}", 0) == [None] or \
        raw.call("EVAL", "return (loadstring('\\27Lua')) == nil", 0) == 1


def test_the_collector_is_nobodys_to_stop(raw):
    garbage = "local t = {} for i = 1, 10000 do t[i] = {i, 'x' .. i .. ARGV[1]} end return #t"
    assert raw.call("EVAL", "collectgarbage('stop') return 1", 0) == 1
    for i in range(100):
        assert raw.call("EVAL", garbage, 0, i) == 10000
    info = raw.call("INFO", "memory").decode()
    used = [line for line in info.split("\r\n") if line.startswith("used_memory_lua:")]
    assert 0 < int(used[0].split(":")[1]) < 60_000_000


def test_deep_recursion_is_an_error(raw):
    assert "stack overflow" in str(raw.call("EVAL", "local function f() return 1 + f() end f()", 0))
    assert isinstance(raw.call("EVAL", "return " + "(" * 5000 + "1" + ")" * 5000, 0), ReplyError)
    assert isinstance(raw.call("EVAL", "return (('x'):rep(300000)):match(('.-'):rep(300000)..'b')",
                               0), ReplyError)
    assert raw.call("EVAL", "return 1", 0) == 1


def test_a_table_that_contains_itself_ends(raw):
    raw.send(encode("EVAL", "local t = {} t[1] = t return t", 0))
    depth = 0
    while (head := raw.read_bytes(4)) == b"*1\r\n":
        depth += 1
    assert head == b"-ERR" and depth > 100
    rest = b""
    while not rest.endswith(b"\r\n"):
        rest += raw.read_bytes(1)
    assert b"reached lua stack limit" in rest
    assert raw.call("PING") == "PONG"


def test_large_replies_and_arguments(raw):
    big = "x" * 3_000_000
    assert raw.call("EVAL", "return ARGV[1] .. KEYS[1]", 1, "k", big) == (big + "k").encode()
    assert raw.call("EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])",
                    1, "k", big) == big.encode()
    numbers = raw.call("EVAL", "local t = {} for i = 1, 200000 do t[i] = i end return t", 0)
    assert numbers == list(range(1, 200001))
    keys = [f"k{i}" for i in range(3000)]
    assert raw.call("EVAL", "return #KEYS", len(keys), *keys) == 3000
    push = "redis.call('RPUSH', KEYS[1], unpack(ARGV)) return redis.call('LRANGE', KEYS[1], 0, -1)"
    values = [str(i) for i in range(5000)]
    assert raw.call("EVAL", push, 1, "l", *values) == [v.encode() for v in values]
    assert "too many results to unpack" in str(
        raw.call("EVAL", "local t = {} for i = 1, 9000 do t[i] = 1 end "
                         "return redis.call('RPUSH', 'l', unpack(t))", 0))


def test_resp3_within_and_without(server):
    with server.raw() as raw:
        raw.call("HELLO", 3)
        raw.call("HSET", "h", "f", "v")
        assert raw.call("EVAL", "redis.setresp(3) return redis.call('HGETALL', 'h')", 0) == \
            {b"f": b"v"}
        assert raw.call("EVAL", "return redis.call('HGETALL', 'h')", 0) == [b"f", b"v"]
        assert raw.call("EVAL", "redis.setresp(3) return {true, false}", 0) == [True, False]
        assert raw.call("EVAL", "return {double = 1.5}", 0) == 1.5
        # The next script begins with RESP2 again.
        assert raw.call("EVAL", "return type(redis.call('GET', 'nokey'))", 0) == b"boolean"


def test_a_script_logs_at_its_level(server, raw):
    raw.call("EVAL", "redis.log(redis.LOG_WARNING, 'a', 'warning', 5)", 0)
    raw.call("EVAL", "redis.log(redis.LOG_DEBUG, 'too quiet')", 0)
    assert "# a warning 5" in server.log()
    assert "too quiet" not in server.log()


def test_info_counts_scripts(raw):
    raw.call("SCRIPT", "FLUSH")
    for i in range(3):
        raw.call("SCRIPT", "LOAD", f"return {i}")
    info = raw.call("INFO", "memory").decode()
    fields = dict(line.split(":", 1) for line in info.split("\r\n") if ":" in line)
    assert fields["number_of_cached_scripts"] == "3"
    assert int(fields["used_memory_scripts_eval"]) > 0
    assert int(fields["used_memory_vm_eval"]) > 10_000
    assert fields["used_memory_lua"] == fields["used_memory_vm_eval"]


def test_commands_of_one_script_leave_no_memory_behind(raw):
    script = """
    local function used()
        return tonumber(redis.call('info', 'memory'):match('used_memory:(%d+)'))
    end
    local keys = {}
    for i = 1, 100 do keys[i] = 'key' .. i end
    local before = used()
    for i = 1, 20000 do redis.call('exists', unpack(keys)) end
    return used() - before
    """
    assert raw.call("EVAL", script, 0) < 8_000_000


def test_what_arrives_together_with_an_endless_script_is_answered(server, raw):
    """Requests that were gathered in the same step, behind the script, do not wait for its end."""
    raw.call("CONFIG", "SET", "busy-reply-threshold", 10)
    others = [server.raw() for _ in range(12)]
    try:
        with server.raw() as sleeper, server.raw() as caller:
            sleeper.send(encode("DEBUG", "SLEEP", "0.3"))
            time.sleep(0.1)
            caller.send(encode("EVAL", "while true do end", 1, "key") + encode("PING"))
            time.sleep(0.05)
            for other in others:
                other.send(encode("PING") + encode("GET", "key") + encode("PING"))
            assert sleeper.read_reply() == "OK"
            for other in others:
                for expected in ("PONG", None, "PONG"):
                    reply = other.read_reply()
                    assert reply == expected or reply.text.startswith("BUSY ")
            assert raw.call("SCRIPT", "KILL") == "OK"
            assert "Script killed by user" in caller.read_reply().text
            assert caller.read_reply() == "PONG"
            for other in others:
                while isinstance(other.call("PING"), ReplyError):
                    pass  # its core has yet to notice
    finally:
        for other in others:
            other.close()
        raw.call("CONFIG", "SET", "busy-reply-threshold", 5000)


def test_scripts_on_all_cores_draw_other_random_numbers(server):
    drawn = []
    for _ in range(4 * SHARDS):  # connections go to all cores
        with server.raw() as r:
            drawn.append(r.call("EVAL", "return tostring(math.random())", 0))
            assert r.call("SCRIPT", "FLUSH") == "OK"
            drawn.append(r.call("EVAL", "return tostring(math.random())", 0))
    r = server.client()
    r.function_load("#!lua name=dice\nredis.register_function('draw', "
                    "function() return tostring(math.random()) end)", replace=True)
    drawn += [r.fcall("draw", 0) for _ in range(8)]
    r.function_flush()
    assert len(set(drawn)) == len(drawn)


def test_time_stands_still_within_a_script_and_a_transaction(raw):
    before, after = raw.call("EVAL", "local a, b = redis.call('TIME') for i = 1, 2e6 do end "
                               "b = redis.call('TIME') return {a, b}", 0)
    assert before == after
    raw.send(encode("MULTI") + encode("TIME") + encode("EVAL", "for i = 1, 2e6 do end", 0)
             + encode("TIME") + encode("EXEC"))
    for _ in range(4):
        raw.read_reply()
    before, _, after = raw.read_reply()
    assert before == after
    time.sleep(0.01)
    assert raw.call("TIME") > before
