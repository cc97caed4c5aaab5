"""The scripts, functions and sessions of session_fuzz.py: what its rows cannot say.

Scripts are the programs of the comparison with Redis, often with something thrown in. What
FUNCTION RESTORE gets are dumps of the server's own, changed, with a checksum that is right again.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "compare"))

from session_commands import Program  # noqa: E402

# They would take the checker's data, or that of other connections.
_UNWELCOME = [b"FLUSH", b"SWAPDB", b"MOVE", b"COPY"]
_PIECES = [b"end", b"\x00", b"'", b"\"", b"(", b"[[", b"\xff", b"--", b"]]", b"}", b"return ",
           b"\x1bLua", b"goto x", b"::x::", b"=", b" local a ", b"...", b"\r", b"\\", b"#!lua\n"]
_LIBRARY = [b"bit", b"cjson", b"cmsgpack", b"struct"]
_LIBRARY_CALLS = [
    b"cjson.decode(A)", b"cjson.encode(cjson.decode(A))", b"cmsgpack.unpack(A)",
    b"{cmsgpack.unpack_one(A, 1)}", b"{cmsgpack.unpack_limit(A, 2, 0)}", b"struct.unpack(A, B)",
    b"struct.pack(A, B, 1, 2, 3)", b"struct.size(A)", b"cmsgpack.pack({cmsgpack.unpack(A)})",
    b"cmsgpack.pack(A, {B, 1, {2}}, 1e300)", b"loadstring(A)", b"loadstring(A)()",
    b"string.format(A, B, 1, 2)", b"string.find(A, B)", b"string.gsub(A, B, A)",
    b"string.match(B, A)", b"bit.tohex(#A, -#B)", b"tonumber(A)", b"tonumber(A, 36)",
    b"redis.sha1hex(A)", b"{err=A}", b"{ok=A}", b"redis.error_reply(A)", b"redis.status_reply(A)",
    b"{double=A}", b"{big_number=A}", b"{verbatim_string={format=A, string=B}}", b"{map={[A]=B}}",
    b"{set={[A]=1}}", b"{map=A}", b"{set={{A}}}", b"error(A)", b"error({err=A})", b"error({A})",
    b"redis.call(A)", b"redis.pcall(A, B)", b"redis.log(2, A)", b"redis.setresp(A)",
    b"redis.acl_check_cmd(A, B)", b"redis.pcall('set', 'k1', A)", b"A", b"{A, {B, {A}}}",
    b"redis.error_reply({})", b"error({})", b"error(setmetatable({}, {__index = error}))",
    b"setmetatable({}, {__tostring = error})", b"cjson.new()", b"cjson.decode_max_depth(#A)",
    b"cjson.encode_max_depth(3)", b"cjson.encode_sparse_array(true, 1, 1)", b"newproxy(true)",
    b"coroutine.wrap(function() return redis.pcall('get', A) end)()", b"select(#A, A, B)",
    b"coroutine.create(function() coroutine.yield(1) end)", b"getfenv(0)", b"setfenv(1, {})",
    b"pcall(redis.call, A)", b"pcall(error, {err=A})", b"xpcall(function() error(A) end, error)",
    b"next(redis)", b"rawset(_G, A, B)", b"setmetatable(_G, nil)", b"collectgarbage(A)",
    b"string.rep(A, 100)", b"table.concat({A, B, 1}, A, 1, 3)", b"unpack({A, B}, -1, 5)",
    b"unpack({}, 1, 1e6)",
    b"unpack({}, 0, 2147483647)", b"unpack({A}, tonumber(A), tonumber(B))",
    b"string.rep(A, tonumber(B))", b"string.byte(A, tonumber(B), -1)",
    b"table.sort({3, 1, 2}, function() return true end)",
    b"redis.register_function(A, print)"]


def crc64(data):
    """The checksum of a dump's last eight bytes."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def _program(rng):
    while True:
        source = Program(rng).source().encode("latin-1", "replace")
        if not any(word in source.upper() for word in _UNWELCOME):
            return source


def _throw_in(rng, source):
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(source) + 1)
        source = source[:at] + rng.choice(_PIECES) + source[at + rng.choice([0, 0, 1, 5]):]
    return source


def _library_call(rng):
    call = rng.choice(_LIBRARY_CALLS).replace(b"A", b"ARGV[1]").replace(b"B", b"ARGV[2]")
    prefix = b"redis.setresp(3) " if rng.random() < 0.2 else b""
    if rng.random() < 0.4:
        return prefix + b"return {pcall(function() return " + call + b" end)}"
    return prefix + b"return " + call


def source(rng):
    kind = rng.random()
    if kind < 0.4:
        return _library_call(rng)
    if kind < 0.8:
        return _program(rng)
    return _throw_in(rng, _program(rng)) if kind < 0.95 else rng.randbytes(rng.randrange(60))


def _bytes(rng):
    """An argument that some library takes apart."""
    kind = rng.randrange(5)
    size = rng.choice([0, 1, 2, 5, 9, 40])
    if kind == 0:
        return rng.randbytes(size)
    if kind == 1:
        return bytes(rng.choice(b'[]{}:,"\\u0d8nulltrefas1e-.+ ') for _ in range(size))
    if kind == 2:
        return bytes(rng.choice(b"\x80\x81\x90\x93\xa3\xc0\xc4\xc6\xca\xcb\xcf\xd3\xd9\xdb\xdc\xdd"
                                b"\xde\xdf\xff\x00\x01") for _ in range(size))
    if kind == 3:
        return bytes(rng.choice(b"bBhHlLTi4I8fdsxc0!<>= z") for _ in range(size))
    return bytes(rng.choice(b"%.-*+?^$()[]{}sdqgb%%") for _ in range(size))


def call(rng, generator):
    """EVAL and kin."""
    keys = [generator.key() for _ in range(rng.choice([0, 1, 1, 2, 9]))]
    name = rng.choice([b"EVAL", b"EVAL", b"EVAL", b"EVAL_RO", b"eval"])
    words = [name, source(rng), b"%d" % len(keys), *keys, _bytes(rng), _bytes(rng)]
    return words[:-1] if rng.random() < 0.1 else words


def _library_code(rng):
    code = b"#!lua name=lib%d\n" % rng.randrange(4)
    for i in range(rng.randrange(3)):
        name = b"f%d" % rng.randrange(5)
        code += rng.choice([
            b"redis.register_function('%s', function(KEYS, ARGV) %s end)\n",
            b"redis.register_function{function_name='%s', flags={'no-writes'}, "
            b"callback=function(KEYS, ARGV) %s end}\n"]) % (name, _library_call(rng))
    return _throw_in(rng, code) if rng.random() < 0.2 else code


def changed_dump(rng, dump):
    body = bytearray(dump[:-8])
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(body)) if rng.random() < 0.6 else rng.randrange(min(20, len(body)))
        how = rng.randrange(4)
        if how == 0:
            body[at] = rng.choice([0, 1, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xf5, 0xf6, 255])
        elif how == 1:
            del body[at:at + rng.randrange(1, 9)]
        elif how == 2:
            body[at:at] = rng.randbytes(rng.randrange(1, 5))
        else:
            body[at] ^= 1 << rng.randrange(8)
        if not body:
            return b""
    body = bytes(body)
    return body + (crc64(body).to_bytes(8, "little") if rng.random() < 0.95 else b"12345678")


def function(rng, generator, dumps):
    kind = rng.random()
    if kind < 0.35:
        return [b"FUNCTION", b"LOAD", *rng.choice([[], [b"REPLACE"]]), _library_code(rng)]
    if kind < 0.65:
        keys = [generator.key() for _ in range(rng.choice([0, 1, 2]))]
        return [rng.choice([b"FCALL", b"FCALL_RO"]), b"f%d" % rng.randrange(5), b"%d" % len(keys),
                *keys, _bytes(rng), _bytes(rng)]
    if kind < 0.9:
        return [b"FUNCTION", b"RESTORE", changed_dump(rng, rng.choice(dumps)),
                *rng.choice([[], [b"FLUSH"], [b"APPEND"], [b"REPLACE"], [b"REPLACE"], [b"x"]])]
    return rng.choice([[b"FUNCTION", b"DUMP"], [b"FUNCTION", b"LIST", b"WITHCODE"],
                       [b"FUNCTION", b"STATS"], [b"FUNCTION", b"DELETE", b"lib1"],
                       [b"FUNCTION", b"FLUSH"], [b"FUNCTION", b"LIST", b"LIBRARYNAME", b"l*"]])


def session_request(rng, own_id):
    """A request that changes what its connection is: answered by any number of replies."""
    channels = [b"ch%d" % rng.randrange(4) for _ in range(rng.choice([0, 1, 1, 2, 5]))]
    patterns = [rng.choice([b"ch*", b"*", b"c?[0-2]", b"", b"["]) for _ in range(len(channels))]
    kind = rng.randrange(20)
    if kind < 4:
        name = rng.choice([b"SUBSCRIBE", b"UNSUBSCRIBE", b"SSUBSCRIBE", b"SUNSUBSCRIBE"])
        return [name, *channels]
    if kind < 6:
        return [rng.choice([b"PSUBSCRIBE", b"PUNSUBSCRIBE"]), *patterns]
    if kind < 8:
        return [rng.choice([b"PUBLISH", b"SPUBLISH"]), b"ch%d" % rng.randrange(4),
                b"m" * rng.choice([0, 1, 500])]
    if kind < 12:
        return [rng.choice([b"MULTI", b"MULTI", b"EXEC", b"EXEC", b"DISCARD"])]
    if kind < 13:
        return rng.choice([[b"WATCH", b"k1", b"l1", b"{t}1"], [b"UNWATCH"], [b"WATCH"]])
    if kind < 16:
        words = [b"CLIENT", b"TRACKING", rng.choice([b"on", b"ON", b"on", b"off", b"x"])]
        options = [[b"BCAST"], [b"PREFIX", rng.choice([b"k", b"l", b"", b"ke"])], [b"OPTIN"],
                   [b"OPTOUT"], [b"NOLOOP"], [b"PREFIX", b"x"], [b"NONSENSE"], [b"REDIRECT"],
                   [b"REDIRECT", rng.choice([own_id, own_id, b"0", b"-1", b"999999999", b"x"])]]
        for option in rng.sample(options, rng.choice([0, 0, 1, 2, 3])):
            words += option
        return words
    return rng.choice([
        [b"CLIENT", b"CACHING", b"yes"], [b"CLIENT", b"CACHING", b"no"], [b"CLIENT", b"CACHING"],
        [b"CLIENT", b"TRACKINGINFO"], [b"CLIENT", b"GETREDIR"], [b"RESET"], [b"HELLO", b"3"],
        [b"HELLO", b"2"], [b"HELLO", b"3"], [b"CLIENT", b"REPLY", b"SKIP"],
        [b"CLIENT", b"REPLY", b"OFF"], [b"CLIENT", b"REPLY", b"ON"], [b"PUBSUB", b"NUMPAT"],
        [b"PUBSUB", b"CHANNELS"], [b"PING"], [b"CLIENT", b"INFO"],
        [b"BLPOP", b"none", b"0.005"], [b"SCRIPT", b"FLUSH"],
        [b"CLIENT", b"UNBLOCK", own_id], [b"SELECT", b"3"], [b"MONITOR"]])
