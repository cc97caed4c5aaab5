"""The requests of session_fuzz.py: made from what COMMAND and COMMAND DOCS say of each command.

A command's keys are mostly of its own family, so they hold the type that it wants; the words of
its arguments (ids, scores, members, ranges, counts) are mostly such as reach deep into it, and
counts say how many arguments follow. Some requests are then broken, in ways that leave them close
to right ones. Blocking commands get timeouts of milliseconds.
"""

import session_admin
import session_scripts
from harness import encode

CHECKED_DB = 15
PASSWORD = b"fuzz-pass"
BULK_MAX = 4 << 20  # keeps SETRANGE and SETBIT from making half a gigabyte

# Commands that end or stop the server, change what other connections get, or answer with other
# than one reply. FIXED_REQUESTS has forms of some that do no harm.
EXCLUDED = {
    "shutdown", "flushall", "swapdb", "monitor", "sync", "psync", "replconf", "replicaof",
    "slaveof", "failover", "wait", "waitaof", "migrate", "cluster", "save", "bgsave",
    "bgrewriteaof", "acl", "module", "subscribe", "psubscribe", "ssubscribe",
    "unsubscribe", "punsubscribe", "sunsubscribe", "quit", "auth", "hello", "reset", "select",
    "multi", "exec", "discard"}
EXCLUDED_SUBCOMMANDS = {
    "client|kill", "client|pause", "client|reply", "client|tracking", "client|caching",
    "config|set", "config|rewrite", "script|kill", "function|kill"}
EXCLUDED_FLAGS = {"pubsub"}

EDGE_NUMBERS = [
    b"0", b"1", b"-1", b"2", b"7", b"8", b"63", b"64", b"100", b"-100", b"255", b"1000", b"65535",
    b"65536", b"2147483647", b"-2147483648", b"4294967295", b"4294967296", b"9223372036854775807",
    b"-9223372036854775808", b"9223372036854775808", b"18446744073709551616", b"-0", b"+1", b"01",
    b" 1", b"1 ", b"", b"1e3", b"0x10", b"nan", b"inf", b"-inf", b"1.5", b"3.0e-10", b"1e308",
    b"1e4932", b"abc", b"1\x00", b"536870911", b"4294967294", b"1700000000", b"1700000000000"]
PATTERNS = [b"*", b"k*", b"*[0-9]", b"?", b"[", b"[^a]*", b"\\", b"a*b*c*d*", b"*" * 60, b"h[a-",
            b"\\*", b"", b"*\x00*"]
FIXED_REQUESTS = [
    [b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lfu"],
    [b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"],
    [b"CONFIG", b"SET", b"lfu-log-factor", b"5"],
    [b"CONFIG", b"SET", b"active-expire-effort", b"10"],
    [b"CONFIG", b"SET", b"no-such-option", b"x"],
    [b"CONFIG", b"SET", b"maxmemory-policy", b"nonsense"],
    [b"CLIENT", b"PAUSE", b"20"], [b"CLIENT", b"PAUSE", b"30", b"WRITE"],
    [b"CLIENT", b"PAUSE", b"-1"], [b"CLIENT", b"PAUSE", b"x"],
    [b"CLIENT", b"KILL", b"ID", b"999999999"], [b"CLIENT", b"KILL", b"1.2.3.4:5"],
    [b"CLIENT", b"KILL", b"ID", b"x"], [b"CLIENT", b"KILL", b"TYPE", b"replica"],
    [b"DEBUG", b"SLEEP", b"0.002"], [b"DEBUG", b"DIGEST"], [b"DEBUG", b"HTSTATS", b"0"],
    [b"DEBUG", b"OBJECT", b"k1"], [b"DEBUG", b"DIGEST-VALUE", b"k1", b"k2", b"{t}1"],
    [b"DEBUG", b"ERROR", b"one\r\ntwo\x00three"], [b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"],
    [b"DEBUG", b"SET-ACTIVE-EXPIRE", b"1"], [b"DEBUG", b"PROTOCOL", b"map"],
    [b"DEBUG", b"PROTOCOL", b"bignum"], [b"DEBUG", b"PROTOCOL", b"verbatim"], [b"DEBUG", b"HELP"],
    [b"SELECT", b"1"], [b"SELECT", b"14"], [b"SELECT", b"0"], [b"SELECT", b"16"],
    [b"SELECT", b"-1"], [b"SELECT", b"x"], [b"SWAPDB", b"3", b"4"], [b"SWAPDB", b"0", b"99"],
    [b"AUTH"], [b"AUTH", b"default", PASSWORD], [b"AUTH", b"a", b"b", b"c"],
    [b"HELLO"], [b"HELLO", b"4"], [b"HELLO", b"2"], [b"HELLO", b"3"],
    [b"HELLO", b"3", b"SETNAME", b"bad name"], [b"HELLO", b"3", b"SETNAME"],
    [b"FLUSHDB", b"SYNC"], [b"FLUSHDB", b"nonsense"], [b"NOSUCHCOMMAND"],
    [b"nosuch\r\ncommand", b"\x00" * 200], [b"", b""], [b"CLIENT"], [b"OBJECT"], [b"COMMAND"],
    [b"X" * 5000, b"Y" * 5000]]
# Thresholds between the encodings: a small value, and Redis's own.
for _option, _few, _usual in [
        (b"list-max-listpack-size", b"3", b"-2"), (b"set-max-intset-entries", b"6", b"512"),
        (b"set-max-listpack-entries", b"5", b"128"), (b"set-max-listpack-value", b"8", b"64"),
        (b"hash-max-listpack-entries", b"4", b"128"), (b"hash-max-listpack-value", b"8", b"64"),
        (b"zset-max-listpack-entries", b"5", b"128"), (b"zset-max-listpack-value", b"8", b"64"),
        (b"stream-node-max-entries", b"3", b"100"), (b"hll-sparse-max-bytes", b"60", b"3000")]:
    FIXED_REQUESTS += [[b"CONFIG", b"SET", _option, _few], [b"CONFIG", b"SET", _option, _usual]]

# Keys of a family begin with its letter; those of other groups take any.
FAMILIES = {
    b"string": [b"k"], b"bitmap": [b"k"], b"list": [b"l"], b"set": [b"s"], b"hash": [b"h"],
    b"sorted-set": [b"z"], b"stream": [b"x"], b"hyperloglog": [b"p"], b"geo": [b"z", b"g"]}
LETTERS = [b"k", b"l", b"s", b"h", b"z", b"x", b"p", b"g"]
IDS = [b"*", b"$", b">", b"-", b"+", b"0", b"0-0", b"0-1", b"0-*", b"1-*", b"(1-1", b"(5", b"5-",
       b"18446744073709551615-18446744073709551615", b"18446744073709551615-*", b"1-1-1", b"(-"]
SCORES = [b"-inf", b"+inf", b"(0", b"(1.5", b"(inf", b"nan", b"(", b"0", b"-0", b"1e308"]
LEX = [b"-", b"+", b"[", b"(", b"[m1", b"(m1", b"[m3", b"(m9", b"[zz", b"m", b""]
# Words that mean something to some command, for places where they mean something else.
KEYWORDS = [
    b"STORE", b"STOREDIST", b"STREAMS", b"BLOCK", b"GROUP", b"NOACK", b"COUNT", b"GET", b"BY",
    b"LIMIT", b"WEIGHTS", b"AGGREGATE", b"SUM", b"WITHSCORES", b"FROMMEMBER", b"FROMLONLAT",
    b"BYRADIUS", b"BYBOX", b"ANY", b"REPLACE", b"DB", b"FIELDS", b"NX", b"XX", b"GT", b"CH",
    b"INCR", b"BYSCORE", b"BYLEX", b"REV", b"MAXLEN", b"MINID", b"~", b"=", b"LEFT", b"RIGHT",
    b"MIN", b"MAX", b"ALPHA", b"ASC", b"*", b"#", b"JUSTID", b"FORCE", b"AND", b"NOT", b"IDLE",
    b"ID", b"PERSIST", b"KEEPTTL", b"EX", b"PX", b"MKSTREAM"]
# Counts of the arguments behind them.
COUNTED = {b"numkeys", b"numfields", b"numids"}
# The index, from the command's name, of what ends a blocking command's wait.
TIMEOUTS = {
    b"blpop": -1, b"brpop": -1, b"blmove": -1, b"brpoplpush": -1, b"bzpopmin": -1, b"bzpopmax": -1,
    b"blmpop": 1, b"bzmpop": 1}
BAD_TIMEOUTS = [b"-1", b"abc", b"", b"nan", b"1e4932", b"-inf", b"0.0.1"]
TALKATIVE = [b"command", b"info", b"keys", b"client", b"config", b"pfselftest", b"lolwut"]
REMOVING = [b"del", b"unlink", b"flushdb", b"move", b"rename", b"set", b"getdel"]
DISORDERING = {b"select", b"swapdb", b"auth", b"hello"}


class Row:
    """A command, or a subcommand."""

    def __init__(self, words, group, arity, flags, arguments):
        self.words = words
        self.group = group
        self.arity = arity
        self.flags = flags
        self.arguments = arguments


def _pairs(flat):
    return dict(zip(flat[::2], flat[1::2])) if flat else {}


def _argument(flat):
    """One of COMMAND DOCS' arguments, which RESP2 gives as a flat array."""
    argument = _pairs(flat)
    argument[b"arguments"] = [_argument(a) for a in argument.get(b"arguments", [])]
    argument[b"flags"] = {f.lstrip(b"+") for f in argument.get(b"flags", [])}
    return argument


def _usable(name, flags):
    return (name not in EXCLUDED and name not in EXCLUDED_SUBCOMMANDS and name != "debug"
            and not flags & EXCLUDED_FLAGS)


def read_rows(ask):
    """All rows of the server that may be fuzzed. `ask` sends a request and returns the reply."""
    docs = _pairs(ask(b"COMMAND", b"DOCS"))
    rows = []

    def add(info, doc):
        name = info[0].decode()
        flags = {flag.lstrip(b"+").decode() for flag in info[2]}
        words = [word.encode() for word in name.split("|")]
        subcommands = info[9] if len(info) > 9 else []
        doc = _pairs(doc)
        if subcommands:
            sub_docs = _pairs(doc.get(b"subcommands", []))
            for sub in subcommands:
                add(sub, sub_docs.get(sub[0], []))
        elif _usable(name, flags) and words[0].decode() not in EXCLUDED:
            arguments = [_argument(a) for a in doc.get(b"arguments", [])]
            rows.append(Row(words, doc.get(b"group"), int(info[1].lstrip(b":")), flags,
                            arguments))

    for info in ask(b"COMMAND"):
        add(info, docs.get(info[0], []))
    return rows


class Generator:
    """Requests of one episode."""

    def __init__(self, rng, rows, dumps, options=(), debug=True):
        self.rng = rng
        self.rows = rows
        self.options = options  # names and values, for CONFIG SET
        self.debug = debug  # DEBUG does what it is asked to
        self.wants_secrets = False
        self.dumps = dumps  # of functions
        self.row = None  # the command under way
        self.may_wait = True
        self.times = 1   # of the repeated argument before
        self.lex = False # its ranges are of members, not of scores

    def key(self):
        kind = self.rng.random()
        if self.wants_secrets and self.rng.random() < 0.15:
            return b"secret:%d" % self.rng.randrange(len(session_admin.SECRETS))
        if kind < 0.78:
            letters = FAMILIES.get(self.row.group if self.row else None, LETTERS)
            return b"%s%d" % (self.rng.choice(letters), self.rng.randrange(6))
        if kind < 0.8:
            return b"%s%d" % (self.rng.choice(LETTERS), self.rng.randrange(6))
        if kind < 0.93:
            return b"{t}%d" % self.rng.randrange(20)
        if kind < 0.97:
            return self.rng.choice([b"", b"{", b"{}", b"{}a", b"a{b", b"\x00", b"a b", b"k\r\n"])
        return self.rng.randbytes(self.rng.randrange(1, 300))

    def value(self):
        kind = self.rng.random()
        if kind < 0.35:
            return self.rng.choice(EDGE_NUMBERS)
        if kind < 0.7:
            return self.rng.randbytes(self.rng.randrange(0, 40))
        if kind < 0.95:
            return b"v" * self.rng.randrange(0, 3000)
        return self.rng.randbytes(16) * self.rng.randrange(1, 8000)

    def number(self):
        if self.rng.random() < 0.5:
            return b"%d" % self.rng.randrange(-5, 200)
        return self.rng.choice(EDGE_NUMBERS)

    def small(self):
        return b"%d" % self.rng.randrange(-3, 12)

    def member(self):
        kind = self.rng.random()
        if kind < 0.5:
            return b"m%d" % self.rng.randrange(40)
        if kind < 0.85:
            return b"%d" % self.rng.randrange(60)
        return self.value()

    def id(self):
        if self.rng.random() < 0.25:
            return self.rng.choice(IDS)
        return b"%d-%d" % (self.rng.randrange(12), self.rng.randrange(4))

    def score(self):
        if self.rng.random() < 0.2:
            return self.rng.choice(SCORES)
        return b"%.15g" % (self.rng.randrange(-20, 21) / self.rng.choice([1, 2, 3]))

    def limit(self):
        """An end of a range of a sorted set."""
        return self.rng.choice(LEX) if self.lex else self.score()

    def group(self):
        return b"g%d" % self.rng.randrange(3)

    def consumer(self):
        return b"c%d" % self.rng.randrange(4)

    def degrees(self):
        return b"%.4f" % self.rng.uniform(-90, 90)

    def metres(self):
        return b"%d" % self.rng.choice([0, 1, 1000, 5000000, 30000000])

    def bit(self):
        return self.rng.choice([b"0", b"1"])

    def encoding(self):
        return self.rng.choice([b"u8", b"i8", b"u1", b"i64", b"u63", b"i5", b"u64", b"i0"])

    def moment(self):
        """Milliseconds or seconds to an expiry."""
        return b"%d" % self.rng.choice([-1, 0, 1, 2, 5, 20, 100])

    def pattern(self):
        if self.row.words[0].startswith(b"sort"):
            return self.rng.choice([
                b"#", b"k*", b"*", b"h*->m1", b"h1->*", b"nosort", b"*->", b"z*", b"l*->m2"])
        return self.rng.choice(PATTERNS)

    # How arguments are made, by their names in the rows' syntax.
    MAKERS = {
        b"member": member, b"member1": member, b"member2": member, b"element": member,
        b"field": member, b"pivot": member, b"id": id, b"lastid": id, b"last-id": id,
        b"max-deleted-id": id, b"threshold": id, b"score": score, b"increment": score,
        b"weight": score, b"min": limit, b"max": limit, b"group": group, b"consumer": consumer,
        b"longitude": degrees, b"latitude": degrees, b"radius": metres, b"width": metres,
        b"height": metres, b"seconds": moment, b"milliseconds": moment, b"ms": moment,
        b"min-idle-time": moment, b"count": small, b"index": small, b"start": small,
        b"stop": small, b"rank": small, b"cursor": small, b"db": small, b"limit": small,
        b"bit": bit, b"encoding": encoding}

    def _leaf(self, argument):
        kind, name = argument.get(b"type"), argument.get(b"name")
        if kind == b"key":
            return self.key()
        if self.row.group == b"stream" and name in (b"start", b"end"):
            if self.rng.random() < 0.5:
                return self.rng.choice([b"-", b"+"])
            name = b"id"
        if name in self.MAKERS and self.rng.random() < 0.85:
            return self.MAKERS[name](self)
        if kind in (b"integer", b"double", b"unix-time"):
            return self.number()
        if kind == b"pattern":
            return self.pattern()
        return self.value()

    def _once(self, argument):
        kind = argument.get(b"type")
        if kind == b"pure-token":
            return [argument.get(b"token", b"")]
        if kind == b"oneof" and argument[b"arguments"]:
            return self.argument(self.rng.choice(argument[b"arguments"]), required=True)
        if kind == b"block":
            return self.sequence(argument[b"arguments"])
        return [self._leaf(argument)]

    def sequence(self, arguments):
        """Arguments one after the other. Where one counts those that follow, or two are repeated
        side by side, as XREAD's keys and ids, the numbers are mostly made to agree."""
        words, counted = [], None
        agree = self.rng.random() < 0.9
        for i, argument in enumerate(arguments):
            alike = agree and (argument.get(b"name") == b"weight" or (
                i > 0 and argument.get(b"name") == b"id" and b"multiple" in argument[b"flags"]
                and arguments[i - 1].get(b"type") == b"key"))
            if agree and argument.get(b"name") in COUNTED:
                counted = len(words)
                words.append(b"")
                continue
            words += self.argument(argument, times=self.times if alike else None)
            if counted is not None:
                words[counted] = b"%d" % self.times
                counted = None
        return words

    def argument(self, argument, required=False, times=None):
        flags = argument[b"flags"]
        if b"optional" in flags and not required and self.rng.random() < 0.5:
            return []
        if b"multiple" not in flags:
            times = 1
        elif times is None:
            times = self.rng.choice([1, 1, 2, 3, 5, 20] + [1000] * (self.rng.random() < 0.02))
        token = argument.get(b"token") if argument.get(b"type") != b"pure-token" else None
        words = []
        for i in range(times):
            if token is not None and (i == 0 or b"multiple_token" in flags):
                words.append(token)
            words += self._once(argument)
        if b"multiple" in flags:
            self.times = times
        return words

    def _break(self, words):
        """Makes a request wrong, or makes one that is wrong nearly right."""
        how = self.rng.randrange(11)
        at = self.rng.randrange(len(words))
        if how == 0:
            del words[at]
        elif how == 1:
            words.insert(at, self.value())
        elif how == 2:
            words[at] = self.number()
        elif how == 3:
            words += words[1:]
        elif how == 4 and len(words) > 3:
            tail = words[2:]
            self.rng.shuffle(tail)
            words[2:] = tail
        elif how == 5:
            words[at] = b""
        elif how == 6:
            words[at] = self.rng.choice(KEYWORDS)
        elif how == 7:
            words.insert(at, self.rng.choice(KEYWORDS))
        elif how == 8:
            end = at + self.rng.randrange(1, 5)
            to = self.rng.randrange(1, len(words) + 1)
            words[to:to] = words[at:end]
        elif how == 9 and words[at].isdigit() and len(words[at]) < 9:
            words[at] = b"%d" % (int(words[at]) + self.rng.choice([-2, -1, 1, 2]))
        else:
            words[at] = self.value()
        return words

    def _from_row(self):
        row = self.rng.choice(self.rows)
        if row.words[0] in TALKATIVE + REMOVING and self.rng.random() < 0.8:
            row = self.rng.choice(self.rows)
        while "blocking" in row.flags and not self.may_wait:
            row = self.rng.choice(self.rows)
        self.row = row
        self.lex = b"lex" in row.words[0] or self.rng.random() < 0.2
        tail = self.sequence(row.arguments)
        if self.rng.random() < 0.04:
            tail = [self.value() for _ in range(self.rng.randrange(0, 6))]
        if tail and self.rng.random() < 0.25:
            tail = self._break([b"-"] + tail)[1:]
        names = [self._case(word) for word in row.words]
        if names[0].lower() in (b"move", b"copy"):
            tail = [b"14" if word.strip() == b"%d" % CHECKED_DB else word for word in tail]
        return self._modest(self._wait_shortly(names + tail))

    def _modest(self, words):
        """Keeps replies of members drawn with repetition from being many gigabytes."""
        if words[0].lower() not in (b"hrandfield", b"srandmember", b"zrandmember"):
            return words
        return [b"-1000" if w[:1] == b"-" and len(w) > 5 else w for w in words]

    def _wait_shortly(self, words):
        """Keeps commands from waiting longer than the fuzzer does."""
        words = list(words)
        at = TIMEOUTS.get(words[0].lower())
        if at is not None and len(words) > 1 and (
                words[at] not in BAD_TIMEOUTS or self.rng.random() < 0.5):
            words[at] = self.rng.choice([b"0.001", b"0.005", b"0.01", b"1e-2"])
        if words[0].lower() in (b"xread", b"xreadgroup"):
            for i, word in enumerate(words[:-1]):
                if word.lower() == b"block" and words[i + 1] not in BAD_TIMEOUTS:
                    words[i + 1] = b"%d" % self.rng.randrange(1, 12)
        return words

    def _case(self, word):
        return word.upper() if self.rng.random() < 0.5 else word

    def _seed(self):
        """One that fills a key of some family, so that others find something there."""
        n, times = self.rng.randrange(6), self.rng.choice([1, 3, 10, 200])
        members = [self.member() for _ in range(times)]
        scored = [w for m in members for w in (b"%d" % self.rng.randrange(30), m)]
        return self.rng.choice([
            [b"DEL", b"%s%d" % (self.rng.choice(LETTERS), n)],
            [b"RPUSH", b"l%d" % n] + members, [b"SADD", b"s%d" % n] + members,
            [b"ZADD", b"z%d" % n] + scored, [b"HSET", b"h%d" % n] + scored,
            [b"PFADD", b"p%d" % n] + members, [b"SETRANGE", b"k%d" % n, b"5", b"12345"],
            [b"GEOADD", b"g%d" % n, self.degrees(), b"%d" % n, members[0]],
            [b"XADD", b"x%d" % n, self.rng.choice([b"*", b"3-*"]), b"f", members[0]],
            [b"XGROUP", b"CREATE", b"x%d" % n, self.group(), b"0", b"MKSTREAM"],
            [b"XREADGROUP", b"GROUP", self.group(), self.consumer(), b"COUNT", b"3", b"STREAMS",
             b"x%d" % n, b">"]])

    def request(self, ordered=False):
        """A request that is answered with exactly one reply. `ordered`: one that leaves the
        connection's database alone."""
        while True:
            kind = self.rng.random()
            if kind < 0.08:
                words = session_scripts.call(self.rng, self)
            elif kind < 0.13:
                words = session_scripts.function(self.rng, self, self.dumps)
            elif kind < 0.2 and self.options:
                words = session_admin.request(self.rng, self, self.options)
            elif kind < 0.21 and not self.debug:
                words = session_admin.forbidden_debug(self.rng, self)
            elif kind < 0.65:
                words = self._from_row()
            else:
                words = self._seed() if kind < 0.93 else list(self.rng.choice(FIXED_REQUESTS))
            if words and not (ordered and words[0].lower() in DISORDERING):
                return words

    def bytes_of(self, words):
        """As an array, or inline where that can say the same."""
        if self.rng.random() < 0.1 and sum(map(len, words)) < 10000 and words[0]:
            return b" ".join(quote(word) for word in words) + \
                self.rng.choice([b"\r\n", b"\n"])
        return encode(*words)


def quote(word):
    return b'"' + b"".join(b"\\x%02x" % c for c in word) + b'"'
