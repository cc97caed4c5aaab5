"""Random commands, by family: short words from small pools, so that they meet.

Left out is what two servers may rightly answer differently (SCAN's cursors, RANDOMKEY, the access
statistics and the reference count of OBJECT) and what the reference lacks. Expiries are far away
and hardly ever equal, so that the milliseconds between the two servers decide nothing.
"""

KEYS = ["k%d" % i for i in range(8)] + ["{a}1", "{a}2", b"\x00\xff"]
VALUES = ["", "0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808", "1.5", "-0",
          "3.0e3", " 1", "01", "abc", "ohmytext", "mynewtext", b"\x00\x01\xfe", "a" * 44, "a" * 45,
          "x" * 300, b"\xff" * 20]
INTEGERS = ["0", "1", "-1", "2", "3", "-2", "7", "8", "9", "15", "100", "-100", "1000", "abc", "",
            "1.5", "9223372036854775807", "-9223372036854775808", "9223372036854775808"]
# With OVERFLOW SAT the least integer of all becomes the largest value of the type in Redis.
BITFIELD_VALUES = [i for i in INTEGERS if i != "-9223372036854775808"]
FLOATS = ["0", "1", "-1.5", "3.14", "1e5", "1e400", "nan", "inf", "-inf", "abc", "0.1", "5e-324"]
OFFSETS = ["0", "1", "7", "8", "9", "31", "32", "63", "64", "100", "1000", "-1", "abc",
           "4294967296", "#0", "#1", "#5"]

UNORDERED = {b"KEYS"}


def _case(rng, word):
    return rng.choice((word, word.lower())) if rng.random() < 0.2 else word


def _some(rng, pool, most=4):
    return [rng.choice(pool) for _ in range(rng.randint(1, most))]


def _options(rng, *options):
    """Each option with a small chance, in any order; now and then a word that is none."""
    words = []
    for option in rng.sample(options, len(options)):
        if rng.random() < 0.25:
            words += [_case(rng, option[0]), *(rng.choice(pool) for pool in option[1:])]
    if rng.random() < 0.03:
        words.append("NONSENSE")
    return words


def _far(rng, word):
    """Seconds or milliseconds from now, or moments, far away."""
    unit = 1000 if word.upper().startswith("P") else 1
    base = 4000000000 if word.upper().endswith("AT") else 0
    bad = rng.random()
    if bad < 0.1:
        return rng.choice(["0", "-1", "abc", "9223372036854775807", "-9223372036854775808", ""])
    return str((base + rng.randint(10 ** 5, 10 ** 8)) * unit)


def _expiry(rng):
    if rng.random() > 0.3:
        return []
    word = rng.choice(["EX", "PX", "EXAT", "PXAT"])
    words = [_case(rng, word), _far(rng, word)]
    return words + (["KEEPTTL"] if rng.random() < 0.05 else [])


def _wrong_arity(rng, words):
    """Now and then an argument less or more."""
    chance = rng.random()
    if chance < 0.02 and len(words) > 1:
        return words[:-1]
    return words + ["extra"] if chance < 0.03 else words


def _set(rng, key):
    return ["SET", key, rng.choice(VALUES), *_expiry(rng),
            *_options(rng, ["NX"], ["XX"], ["GET"], ["KEEPTTL"])]


def _getex(rng, key):
    return ["GETEX", key, *(_expiry(rng) or _options(rng, ["PERSIST"]))]


def _setex(rng, key):
    word = rng.choice(["SETEX", "PSETEX"])
    return [word, key, _far(rng, word), rng.choice(VALUES)]


def _pairs(rng):
    return [w for key in _some(rng, KEYS) for w in (key, rng.choice(VALUES))]


_STRING = [
    _set, _set, _getex, _setex,
    lambda rng, key: [rng.choice(["GET", "GETDEL", "STRLEN", "INCR", "DECR", "TTL"]), key],
    lambda rng, key: ["GET", key],
    lambda rng, key: [rng.choice(["INCRBY", "DECRBY"]), key, rng.choice(INTEGERS)],
    lambda rng, key: ["INCRBYFLOAT", key, rng.choice(FLOATS)],
    lambda rng, key: [rng.choice(["APPEND", "SETNX", "GETSET"]), key, rng.choice(VALUES)],
    lambda rng, key: [rng.choice(["GETRANGE", "SUBSTR"]), key, rng.choice(INTEGERS),
                      rng.choice(INTEGERS)],
    lambda rng, key: ["SETRANGE", key, rng.choice(INTEGERS[:15]), rng.choice(VALUES)],
    lambda rng, key: ["MGET", *_some(rng, KEYS)],
    lambda rng, key: [rng.choice(["MSET", "MSETNX"]), *_pairs(rng)],
    lambda rng, key: ["LCS", key, rng.choice(KEYS),
                      *_options(rng, ["LEN"], ["IDX"], ["WITHMATCHLEN"],
                                ["MINMATCHLEN", INTEGERS[:6]])],
    lambda rng, key: ["OBJECT", "ENCODING", key],
    lambda rng, key: ["DEL", *_some(rng, KEYS, 2)],
]


def string(rng):
    return _wrong_arity(rng, rng.choice(_STRING)(rng, rng.choice(KEYS)))


def _range(rng):
    words = rng.choices(INTEGERS, k=rng.choice((0, 2, 2, 2, 1)))
    if len(words) == 2 and rng.random() < 0.5:
        words.append(rng.choice(["BIT", "BYTE", "bit", "NIBBLE"]))
    return words


def _bitfield(rng, key):
    words = ["BITFIELD", key]
    types = ["u1", "i1", "u8", "i8", "u16", "i32", "u63", "i64", "u64", "i65", "u0", "x8", "i5"]
    for _ in range(rng.randint(0, 4)):
        word = rng.choice(["GET", "SET", "INCRBY", "OVERFLOW"])
        if word == "OVERFLOW":
            words += [word, rng.choice(["WRAP", "SAT", "FAIL", "sat", "NONE"])]
        else:
            words += [word, rng.choice(types), rng.choice(OFFSETS)]
            words += [] if word == "GET" else [rng.choice(BITFIELD_VALUES)]
    return words


_BITMAP = [
    lambda rng, key: ["SET", key, rng.choice(VALUES)],
    lambda rng, key: ["SETBIT", key, rng.choice(OFFSETS), rng.choice(["0", "1", "1", "2", ""])],
    lambda rng, key: ["GETBIT", key, rng.choice(OFFSETS)],
    lambda rng, key: ["BITCOUNT", key, *_range(rng)],
    lambda rng, key: ["BITPOS", key, rng.choice(["0", "1", "1", "2", "x"]), *_range(rng)],
    lambda rng, key: ["BITPOS", key, rng.choice(["0", "1"]), rng.choice(INTEGERS)],
    lambda rng, key: ["BITOP", rng.choice(["AND", "OR", "XOR", "NOT", "not", "NAND"]), key,
                      *_some(rng, KEYS, 3)],
    _bitfield, _bitfield,
    lambda rng, key: ["BITFIELD_RO", key, "GET", rng.choice(["u8", "i16"]), rng.choice(OFFSETS)],
    lambda rng, key: ["GET", key],
    lambda rng, key: ["DEL", key],
    lambda rng, key: ["OBJECT", "ENCODING", key],
]


def bitmap(rng):
    return _wrong_arity(rng, rng.choice(_BITMAP)(rng, rng.choice(KEYS)))


def _expire(rng, key):
    word = rng.choice(["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"])
    return [word, key, _far(rng, word), *_options(rng, ["NX"], ["XX"], ["GT"], ["LT"])]


_DATABASES = ["0", "1", "2", "15", "16", "-1", "abc"]

_GENERIC = [
    _set, _expire, _expire,
    lambda rng, key: [rng.choice(["DEL", "UNLINK", "EXISTS", "TOUCH"]), *_some(rng, KEYS)],
    lambda rng, key: [rng.choice(["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST", "TYPE",
                                  "GET"]), key],
    lambda rng, key: [rng.choice(["RENAME", "RENAMENX"]), key, rng.choice(KEYS)],
    lambda rng, key: ["COPY", key, rng.choice(KEYS),
                      *_options(rng, ["REPLACE"], ["DB", _DATABASES])],
    lambda rng, key: ["MOVE", key, rng.choice(_DATABASES)],
    lambda rng, key: ["KEYS", rng.choice(["*", "k*", "k[0-3]", "?1", "*1", "nokey", "[^k]*",
                                          "{a}*", "k\\1", ""])],
    lambda rng, key: ["DBSIZE"],
    lambda rng, key: ["OBJECT", "ENCODING", key],
]
_GENERIC_SELDOM = [
    lambda rng, key: ["SWAPDB", rng.choice(_DATABASES), rng.choice(_DATABASES)],
    lambda rng, key: ["SELECT", rng.choice(_DATABASES)],
    lambda rng, key: [rng.choice(["FLUSHDB", "FLUSHALL"]), *_options(rng, ["ASYNC"], ["SYNC"])],
]


def generic(rng):
    pool = _GENERIC_SELDOM if rng.random() < 0.04 else _GENERIC
    return _wrong_arity(rng, rng.choice(pool)(rng, rng.choice(KEYS)))


FAMILIES = {"string": string, "bitmap": bitmap, "generic": generic}
