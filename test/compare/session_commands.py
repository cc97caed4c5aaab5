"""Random transactions, scripts and subscriptions: what a connection keeps from command to command.

A transaction's or script's reply holds those of its commands, so of these only such take part as
have one answer to the byte: none whose elements have no order, and none that reads the clock.
Scripts are small programs from a grammar. They hold what is an error as readily as what is none.
"""

import re

import collection_commands
import commands
from commands import KEYS, VALUES, _case, _options, _some

_FAMILIES = commands.FAMILIES | collection_commands.FAMILIES
_NAMES = sorted(set(_FAMILIES))
_WITHOUT_ORDER = {name.decode() for name in commands.UNORDERED | collection_commands.UNORDERED}
_CLOCKS = {"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"}
_NOT_INSIDE = _WITHOUT_ORDER | _CLOCKS | collection_commands.EXEMPT | {"SELECT", "SWAPDB", "OBJECT"}


class Other(list):
    """Words for the second connection."""


def _fixed(rng):
    """A command with one answer to the byte."""
    while True:
        words = _FAMILIES[rng.choice(_NAMES)](rng)
        if words[0].upper() not in _NOT_INSIDE and not (words[0] == "MOVE" and len(words) > 3):
            return words


def _touch(rng):
    """A command on few keys, that watches meet."""
    key = rng.choice(KEYS[:3])
    return rng.choice([
        ["SET", key, rng.choice(VALUES)], ["DEL", key], ["LPUSH", key, "1"], ["LPOP", key],
        ["SADD", key, "m"], ["HSET", key, "f", "v"], ["GET", key], ["EXISTS", key],
        ["EXPIRE", key, "1000000"], ["EXPIRE", key, "-1"], ["PERSIST", key], ["TOUCH", key],
        ["RENAME", key, rng.choice(KEYS[:3])], ["COPY", key, rng.choice(KEYS[:3]), "REPLACE"],
        ["MSET", key, "1", rng.choice(KEYS[:3]), "2"], ["FLUSHALL"], ["FLUSHDB"],
        ["SWAPDB", "0", "1"], ["MOVE", key, "1"], ["GETDEL", key], ["SETRANGE", key, "0", ""],
        ["ZADD", key, "1", "m"], ["ZREM", key, "m"], ["XADD", key, "1-1", "f", "v"],
        ["PFADD", key, "e"], ["EVAL", "return redis.call('set', KEYS[1], ARGV[1])", "1", key, "x"],
        ["BLPOP", key, rng.choice(KEYS[:3]), "0.001"], ["SELECT", rng.choice("001")]])


_FAULTY = [["NOSUCH"], ["GET"], ["SET", "k"], ["CLIENT", "NOSUCH"], ["OBJECT"], ["MULTI", "x"],
           ["EXEC", "x"], ["DISCARD", "x"], ["WATCH"], ["UNWATCH", "x"], ["EVAL", "x"],
           ["RESET"], ["HELLO", "9"], ["SELECT", "99"], ["AUTH"], ["CONFIG", "NOSUCH"]]


def transaction(rng):
    chance = rng.random()
    if chance < 0.12:
        return [_case(rng, "MULTI")]
    if chance < 0.24:
        return [_case(rng, "EXEC")]
    if chance < 0.27:
        return ["DISCARD"]
    if chance < 0.36:
        return ["WATCH", *_some(rng, KEYS[:3] if rng.random() < 0.8 else KEYS)]
    if chance < 0.38:
        return ["UNWATCH"]
    if chance < 0.41:
        return rng.choice(_FAULTY)
    if chance < 0.5:
        return Other(_touch(rng))
    if chance < 0.54:
        return _script(rng)
    return _touch(rng) if chance < 0.75 else _fixed(rng)


# ---- scripts ----

def _quote(word):
    data = word if isinstance(word, bytes) else str(word).encode()
    return '"' + "".join("\\%03d" % b if b in b'"\\\r\n' or not 32 <= b < 127 else chr(b)
                         for b in data) + '"'


_NUMBER = ["0", "1", "2", "3", "-1", "10", "0.5", "3.99", "-2.5", "1e15", "1e17", "1e100",
           "2^53", "255", "#KEYS", "#ARGV", "tonumber(ARGV[2])", "math.huge"]
_TEXT = ["''", "'abc'", "'10'", "'0x10'", "' 7 '", "'1e2'", "ARGV[1]", "KEYS[1]", "'%d %s'",
         "'a,b,,c'", "'x\\0y'", "'\\255\\254'", "string.rep('ab', 20)", "'OK'", "'ERR my fault'",
         "'-CODE text'", "'two\\r\\nlines'"]
_ANY = ["nil", "true", "false", "n", "s", "t", "r", "{}", "KEYS", "ARGV", "undefined", "nosuch.x"]


class Program:
    """One script: n is mostly a number, s a text, t a table and r a reply."""

    def __init__(self, rng):
        self.rng = rng

    def number(self, depth=0):
        if depth > 2 or self.rng.random() < 0.4:
            return self.rng.choice(_NUMBER + ["n"] * 8)
        a, b = self.number(depth + 1), self.number(depth + 1)
        return self.rng.choice([
            f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"({a} / {b})", f"({a} % {b})",
            f"({a} ^ 2)", f"-{self.rng.choice(['n', '(n)', '3'])}", f"math.floor({a})",
            f"math.max({a}, {b})", f"math.min({a}, {b})", f"math.abs({a})", f"math.fmod({a}, {b})",
            "#t", f"#{self.text(depth + 1)}" if self.rng.random() < 0.5 else "#s",
            f"string.byte({self.text(depth + 1)}, {self.rng.randint(-2, 3)})",
            f"string.len({self.text(depth + 1)})", f"tonumber({self.any(depth + 1)})",
            f"select('#', unpack({self.table(depth + 1)}))", f"math.ceil({a})",
            "(math.randomseed(5) or math.random(10))",
            "(math.randomseed(n) or math.random())", f"(tonumber({self.text(depth + 1)}, 16) or 0)",
            f"bit.band({a}, {b})", f"bit.bxor({a}, 255)", f"bit.lshift({a}, 3)",
            f"(string.find({self.text(depth + 1)}, {self.pattern()}))", f"table.getn(t)",
            f"math.modf({a})", f"math.sqrt(math.abs({a}))", f"({a} and {b})"])

    def whole(self):
        """A number as an argument: 7.0 writes others with seventeen digits."""
        return f"math.floor({self.number(1)} % 100)"

    def pattern(self):
        return self.rng.choice(["'a'", "'%d+'", "'(%a)(%w*)'", "'^x'", "'.-,'", "'%'", "'[a-'",
                                "'%bxy'", "'%f[%w]%w+'", "'()b'", "'(a'", "'$'"])

    def text(self, depth=0):
        if depth > 2 or self.rng.random() < 0.4:
            return self.rng.choice(_TEXT + ["s"] * 8)
        a, n = self.text(depth + 1), self.number(depth + 1)
        return self.rng.choice([
            f"({a} .. {self.text(depth + 1)})", f"({a} .. {n})", f"string.sub({a}, {n})",
            f"string.sub({a}, {self.rng.randint(-3, 3)}, {self.rng.randint(-3, 5)})",
            f"string.upper({a})", f"string.reverse({a})", f"string.rep({a}, 3)",
            f"tostring({self.rng.choice([n, a, 'nil', 'true', 'n', 's'])})",
            f"string.format('%d|%5.2f|%s', {n}, {n}, {a})", f"string.format('%q', {a})",
            f"string.format('%x %g %c', {n}, {n}, 65)", f"string.format({a}, {n}, {a})",
            f"(string.gsub({a}, {self.pattern()}, '<%0>'))", f"string.match({a}, {self.pattern()})",
            f"(string.gsub({a}, {self.pattern()}, string.upper))", f"string.char({n}, 66)",
            f"table.concat({self.table(depth + 1)}, ',')", f"type({self.any(depth + 1)})",
            f"redis.sha1hex({a})", f"cjson.encode({self.rng.choice([n, a, '{1,2,{3}}', 'nil'])})",
            f"redis.sha1hex()", f"bit.tohex({n})", f"({a} or {n})", "t[1]", "t.x", "r.err",
            "r.ok", "r[1]", f"s:upper()", f"s:sub(2)", f"t:nosuch()"])

    def table(self, depth=0):
        if depth > 2 or self.rng.random() < 0.35:
            return self.rng.choice(["t", "t", "t", "{}", "KEYS", "ARGV", "{1,2,3}", "{'a','b'}"])
        items = [self.any(depth + 1) for _ in range(self.rng.randint(0, 4))]
        return self.rng.choice([
            "{" + ", ".join(items) + "}", "{" + ", ".join(items) + "}",
            "{" + self.any(depth + 1) + ", x=" + self.any(depth + 1) + "}",
            f"{{ok={self.any(depth + 1)}}}", f"{{err={self.any(depth + 1)}}}",
            "{double=%s}" % self.rng.choice(["1.5", "-0.25", "3", "1e100", "s"]),
            f"{{map={{[{_quote('f')}]={self.any(depth + 1)}}}}}",
            f"{{set={{[{self.text(depth + 1)}]=true}}}}", f"{{big_number={self.text(depth + 1)}}}",
            f"{{verbatim_string={{format='txt', string={self.text(depth + 1)}}}}}",
            f"{{err={self.text(depth + 1)}, ignore_error_stats_update=true}}",
            f"redis.error_reply({self.any(depth + 1)})",
            f"redis.status_reply({self.any(depth + 1)})",
            f"redis.error_reply({self.text(depth + 1)})",
            f"redis.status_reply({self.text(depth + 1)})",
            f"{{cjson.decode('[1,{{\"a\":null}},2.5]')[1]}}",
            f"{{pcall(function() return {self.any(depth + 1)} end)}}", f"{{unpack({'t'})}}",
            f"{{cmsgpack.unpack(cmsgpack.pack({self.number(depth + 1)}))}}", self.call()])

    def any(self, depth=0):
        chance = self.rng.random()
        if chance < 0.2 or depth > 3:
            return self.rng.choice(_ANY)
        if chance < 0.45:
            return self.number(depth)
        if chance < 0.7:
            return self.text(depth)
        if chance < 0.8:
            return self.condition(depth)
        return self.table(depth)

    def condition(self, depth=0):
        a, b = self.number(depth + 1), self.number(depth + 1)
        return self.rng.choice([
            f"({a} < {b})", f"({a} == {b})", f"({self.any(depth + 2)} == {self.any(depth + 2)})",
            f"(not {self.any(depth + 2)})", f"({self.text(depth + 2)} < {self.text(depth + 2)})",
            f"({a} <= s)", "(t ~= nil)", f"(type(r) == 'table')"])

    def command(self):
        words = _fixed(self.rng)
        while words[0][0].upper() == "B" and words[0][1].upper() != "I":
            words = _fixed(self.rng)  # 7.0 lets no script call what blocks
        chance = self.rng.random()
        if chance < 0.06:
            words = self.rng.choice([
                ["MULTI"], ["EXEC"], ["SUBSCRIBE", "c"], ["NOSUCH"], [""],
                ["WATCH", "k0"], ["EVAL", "return 1", "0"], ["SELECT", "1"], ["SELECT", "0"],
                ["CLIENT", "NO-EVICT", "on"], ["HELLO", "3"], ["AUTH", "x"], ["PUBLISH", "c", "m"],
                ["CONFIG", "GET", "nosuch"], ["OBJECT", "NOSUCH", "x"], ["DEBUG", "ERROR", "X y"],
                ["SCRIPT", "LOAD", "return 1"], ["QUIT"], ["RESET"], ["SHUTDOWN"], ["FLUSHALL"],
                ["DBSIZE"], ["TYPE", "k0"], ["PING"], ["ECHO", "x"], ["GET"]])
        elif chance < 0.12:
            words = self.rng.choice([
                ["DEL", "one"], ["HSET", "one", "f", "1"], ["HGETALL", "one"], ["SADD", "two", "m"],
                ["SMEMBERS", "two"], ["ZADD", "three", "1.5", "m"], ["ZSCORE", "three", "m"],
                ["ZRANGE", "three", "0", "-1", "WITHSCORES"], ["GEOPOS", "three", "m"],
                ["XADD", "four", "1-1", "f", "v"], ["XREAD", "STREAMS", "four", "0"],
                ["HRANDFIELD", "one", "1", "WITHVALUES"], ["DEBUG", "PROTOCOL", "BIGNUM"],
                ["DEBUG", "PROTOCOL", "VERBATIM"], ["DEBUG", "PROTOCOL", "MAP"],
                ["DEBUG", "PROTOCOL", "SET"], ["DEBUG", "PROTOCOL", "TRUE"],
                ["DEBUG", "PROTOCOL", "DOUBLE"], ["DEBUG", "PROTOCOL", "NULL"],
                ["DEBUG", "PROTOCOL", "ATTRIB"], ["INCRBYFLOAT", "five", "0.1"]])
        elif chance < 0.3:
            words = _touch(self.rng)
            if words[0] in ("EVAL", "SELECT", "BLPOP"):
                words = ["GET", "k0"]
        args = [_quote(w) for w in words]
        if self.rng.random() < 0.08:
            args[self.rng.randrange(len(args))] = self.rng.choice(
                [self.text(2), "nil", "{}", "true", "redis", self.whole()])
        if len(args) > 1 and self.rng.random() < 0.2:
            args[1] = "KEYS[1]"
        if self.rng.random() < 0.1 and words[0] != "XREAD":
            args.append(self.whole())
        return ", ".join(args[:100])

    def call(self):
        how = "redis.pcall" if self.rng.random() < 0.75 else "redis.call"
        if self.rng.random() < 0.02:
            return f"{how}()"
        return f"{how}({self.command()})"

    def element(self):
        """What goes into t: never t, as replies with cycles have no end."""
        while re.search(r"\b[tr]\b", value := self.any()):
            pass
        return value

    def block(self, depth):
        return " ".join(self.statement(depth + 1) for _ in range(self.rng.randint(1, 2)))

    def statement(self, depth=0):
        # A table without a text as err, when raised, ends 7.0.
        chance = self.rng.random()
        if chance < 0.3:
            return f"r = {self.call()}"
        if chance < 0.4:
            return f"t[{self.rng.choice(['1', '2', '#t + 1', 's', 'n', 'r'])}] = {self.element()}"
        if chance < 0.5:
            return f"n = {self.number()}"
        if chance < 0.6:
            return f"s = {self.text()}"
        if chance < 0.65:
            return f"t = {self.table()}"
        if chance < 0.68:
            return f"table.insert(t, ({self.element()}))"  # one value: a place may be far away
        if depth > 1 or chance < 0.74:
            return self.rng.choice([
                "t[#t + 1] = r", "t[#t + 1] = r", "table.remove(t)", "table.sort(t)",
                "t = {t}", f"s = s .. {self.text()}", "n = n + 1", "redis.setresp(3)",
                "redis.setresp(2)", "redis.setresp(3)", f"redis.setresp({self.any()})",
                f"error({self.rng.choice(_TEXT + _NUMBER + ['nil', 'false', '{err=s}', 's'])})",
                f"error({self.rng.choice(_TEXT)}, 0)", f"assert({self.any()})",
                f"g = {self.any()}", f"redis.log(redis.LOG_DEBUG, {self.any()})",
                f"redis.set_repl({self.rng.choice(['redis.REPL_ALL', '9', 'nil'])})",
                "redis.replicate_commands()", f"KEYS[1] = {self.text()}", "string.x = 1",
                "redis.call = nil", f"setmetatable(t, {{__index = function() return 7 end}})",
                f"loadstring('return {self.rng.randint(1, 9)}')()", f"{self.any()}()",
                "setmetatable(_G, nil)", "rawset(_G, 'x', 1)", "getmetatable('').x = 1"])
        if chance < 0.82:
            return f"if {self.condition()} then {self.block(depth)} else {self.block(depth)} end"
        if chance < 0.88:
            return f"for i = 1, {self.rng.choice(['3', '2', '0'])} do {self.block(depth)} end"
        if chance < 0.92:
            return (f"for i, v in ipairs({self.table()}) do if i > 3 then break end "
                    f"{self.block(depth)} end")
        if chance < 0.97:
            return (f"local done, e = pcall(function() {self.block(depth)} end) "
                    "r = done and 'done' or e")
        return f"do return {self.result()} end"

    def result(self):
        return self.rng.choice([
            "r", "r", "t", "{n, s, t, r}", "{s, r}", "n", "s", self.any(), self.table(),
            self.call(), "{r, {r, {r}}}", "{tostring(n), r}", "redis.pcall('get', KEYS[1])"])

    def source(self):
        parts = ["local n, s, t, r = 3, 'abc', {1, 'x'}, false"]
        if self.rng.random() < 0.05:
            parts.insert(0, self.rng.choice(
                ["#!lua\n", "#!lua flags=no-writes\n", "#!lua flags=nosuch\n", "#!js\n", "#!\n",
                 "#!lua flags=no-writes,allow-stale\n", "#!lua name=x\n", "#!lua",
                 "#!lua flags=allow-cross-slot-keys\n", "#!lua flags=\n"]))
        parts += [self.statement() for _ in range(self.rng.randint(0, 6))]
        parts.append(f"return {self.result()}")
        text = self.rng.choice([" ", "\n"]).join(parts)
        if self.rng.random() < 0.03:
            at = self.rng.randrange(len(text))
            text = text[:at] + self.rng.choice(["", "end", "'", "(", "\x00", "--"]) + text[at + 1:]
        return text


def _script(rng):
    keys = _some(rng, KEYS, 3) if rng.random() < 0.8 else []
    words = [_case(rng, "EVAL" if rng.random() < 0.9 else "EVAL_RO"), Program(rng).source(),
             str(len(keys)), *keys, *rng.choice([[], ["a"], ["x y", "12"], ["", "1.5", "z"]])]
    return words


def script(rng):
    chance = rng.random()
    if chance < 0.12:
        return _fixed(rng)
    if chance < 0.16:
        return ["SCRIPT", *rng.choice([["LOAD", Program(rng).source()], ["FLUSH"],
                                       ["EXISTS", "x"]])]
    return _script(rng)


# ---- subscriptions ----

_CHANNELS = ["a", "b", "c", "", b"\x00", "news.1", "news.2"]
_PATTERNS = ["a*", "*", "news.?", "[ab]", "", "\\*", "news.*", "n[^x]ws*"]
_SUBSCRIPTIONS = {
    "SUBSCRIBE": _CHANNELS, "PSUBSCRIBE": _PATTERNS, "SSUBSCRIBE": _CHANNELS,
    "UNSUBSCRIBE": _CHANNELS, "PUNSUBSCRIBE": _PATTERNS, "SUNSUBSCRIBE": _CHANNELS}


def pubsub(rng):
    chance = rng.random()
    if chance < 0.55:
        name = rng.choice([*_SUBSCRIPTIONS, "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"])
        # What goes without arguments has no order of its own.
        return [_case(rng, name), *_some(rng, _SUBSCRIPTIONS[name], 3)]
    if chance < 0.7:
        # To itself a client's message comes before PUBLISH's reply in 7.0, behind it in 7.2.
        return Other([rng.choice(["PUBLISH", "SPUBLISH"]), rng.choice(_CHANNELS),
                      rng.choice(VALUES)])
    if chance < 0.85:
        return Other(["PUBSUB", *rng.choice([
            ["NUMPAT"], ["NUMSUB", *_some(rng, _CHANNELS)], ["SHARDNUMSUB", *_some(rng, _CHANNELS)],
            ["CHANNELS", rng.choice(_CHANNELS)], ["SHARDCHANNELS", "a"], ["NOSUCH"],
            ["NUMPAT", "x"], ["CHANNELS", "a", "b"]])])
    if chance < 0.87:
        return rng.choice([["UNSUBSCRIBE", "nosuch"], ["PUNSUBSCRIBE", "nosuch"], ["RESET"],
                           ["SUBSCRIBE"], ["UNSUBSCRIBE", "a", "a"]])
    return rng.choice([["PING"], ["PING", "x"], ["PING", "x", "y"], ["GET", "k"], ["NOSUCH"],
                       ["SET", "k", "v"], ["GET"], ["PUBSUB", "NUMPAT"],
                       ["CLIENT", "NOSUCH"], ["ECHO", "x"],
                       ["EVAL", "return redis.pcall('subscribe', 'a')", "0"], ["SELECT", "1"],
                       ["WATCH", "k"]])


FAMILIES = {"transaction": transaction, "script": script, "pubsub": pubsub}
# Families whose commands may be answered with any number of replies, or be followed by messages.
TALKING = {"pubsub"}
