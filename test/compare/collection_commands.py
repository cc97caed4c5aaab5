"""Random commands on collections, by family: few keys of few elements, so that they meet.

Left out, or exempt from wrong numbers of arguments: what is chosen at random (SPOP, ...) but where
all elements are asked for, the order of what has none, and encodings, which differ between versions
of Redis.
"""

from commands import (KEYS, VALUES, INTEGERS, FLOATS, _case, _options, _some, _wrong_arity,
                      _expire)

# Redis orders by strcoll, to which what follows a zero byte is nothing.
BINARY = b"\x00\xfe"
ELEMENTS = ["", "0", "1", "-1", "42", "a", "b", "c", "abc", "9223372036854775807", "1.5",
            BINARY, "e" * 63, "e" * 64, "e" * 65]
MANY = [str(i) for i in range(200)]
SCORES = ["0", "1", "2", "3", "-1", "1.5", "0.25", "inf", "-inf", "+inf", "nan", "abc", "", "1e15",
          "-1e15", "3.0", "100"]
SCORE_BOUNDS = SCORES + ["(1", "(2", "(-inf", "(inf", "(1.5", "((1"]
LEX_BOUNDS = ["-", "+", "[a", "(a", "[b", "(c", "[abc", "[", "(", "a", "", "[42", "[\x7f"]
LEX = "lex"  # all its members have one score: ranges of members mean nothing else
SIDES = ["LEFT", "RIGHT", "left", "MIDDLE"]
COUNTS = ["0", "1", "2", "3", "10", "-1", "abc", "9223372036854775807"]


def _numkeys(rng, keys):
    """The count of keys, mostly right."""
    return str(len(keys)) if rng.random() < 0.95 else rng.choice(["0", "-1", "9", "abc", "1"])


def _elements(rng):
    if rng.random() < 0.06:
        return rng.sample(MANY, rng.randint(50, 150))
    return _some(rng, ELEMENTS)


_OTHERS = [
    lambda rng, key: ["DEL", *_some(rng, KEYS, 3)],
    lambda rng, key: [rng.choice(["TYPE", "EXISTS", "TTL", "PERSIST"]), key],
    lambda rng, key: ["SET", key, rng.choice(VALUES)],
    lambda rng, key: [rng.choice(["RENAME", "RENAMENX", "COPY"]), key, rng.choice(KEYS)],
    lambda rng, key: ["COPY", key, rng.choice(KEYS), "REPLACE"],
    _expire,
]


# Chosen at random with other arguments, or worded otherwise by the reference.
EXEMPT = {"SPOP", "SRANDMEMBER", "HRANDFIELD", "XREAD", "XREADGROUP",
          "ZRANK", "ZREVRANK"}


def _family(commands):
    def make(rng):
        pool = _OTHERS if rng.random() < 0.08 else commands
        words = rng.choice(pool)(rng, rng.choice(KEYS))
        return words if words[0] in EXEMPT else _wrong_arity(rng, words)
    return make


def _lpos(rng, key):
    return ["LPOS", key, rng.choice(ELEMENTS),
            *_options(rng, ["RANK", INTEGERS[:12]], ["COUNT", COUNTS], ["MAXLEN", COUNTS])]


_LIST = [
    lambda rng, key: [rng.choice(["LPUSH", "RPUSH"]), key, *_elements(rng)],
    lambda rng, key: [rng.choice(["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]), key, *_elements(rng)],
    lambda rng, key: [rng.choice(["LPOP", "RPOP"]), key, *rng.sample(COUNTS, rng.randint(0, 1))],
    lambda rng, key: ["LRANGE", key, rng.choice(INTEGERS), rng.choice(INTEGERS)],
    lambda rng, key: ["LRANGE", key, "0", "-1"],
    lambda rng, key: ["LTRIM", key, rng.choice(INTEGERS[:10]), rng.choice(INTEGERS)],
    lambda rng, key: ["LLEN", key],
    lambda rng, key: ["LINDEX", key, rng.choice(INTEGERS)],
    lambda rng, key: ["LSET", key, rng.choice(INTEGERS), rng.choice(ELEMENTS)],
    lambda rng, key: ["LINSERT", key, rng.choice(["BEFORE", "after", "AT"]), rng.choice(ELEMENTS),
                      rng.choice(ELEMENTS)],
    lambda rng, key: ["LREM", key, rng.choice(INTEGERS[:12]), rng.choice(ELEMENTS)],
    _lpos, _lpos,
    lambda rng, key: ["LMOVE", key, rng.choice(KEYS), rng.choice(SIDES), rng.choice(SIDES)],
    lambda rng, key: ["RPOPLPUSH", key, rng.choice(KEYS)],
    lambda rng, key: [rng.choice(["BLPOP", "BRPOP"]), *_some(rng, KEYS), "0.001"],
    lambda rng, key: ["BLMOVE", key, rng.choice(KEYS), rng.choice(SIDES), rng.choice(SIDES),
                      "0.001"],
    lambda rng, key: (lambda keys: ["LMPOP", _numkeys(rng, keys), *keys, rng.choice(SIDES),
                                    *_options(rng, ["COUNT", COUNTS])])(_some(rng, KEYS)),
]

_SET = [
    lambda rng, key: ["SADD", key, *_elements(rng)],
    lambda rng, key: ["SADD", key, *_elements(rng)],
    lambda rng, key: ["SREM", key, *_elements(rng)],
    lambda rng, key: ["SMEMBERS", key],
    lambda rng, key: ["SCARD", key],
    lambda rng, key: ["SISMEMBER", key, rng.choice(ELEMENTS)],
    lambda rng, key: ["SMISMEMBER", key, *_some(rng, ELEMENTS)],
    lambda rng, key: ["SMOVE", key, rng.choice(KEYS), rng.choice(ELEMENTS)],
    lambda rng, key: [rng.choice(["SINTER", "SUNION", "SDIFF"]), *_some(rng, KEYS)],
    lambda rng, key: [rng.choice(["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]), key,
                      *_some(rng, KEYS)],
    lambda rng, key: (lambda keys: ["SINTERCARD", _numkeys(rng, keys), *keys,
                                    *_options(rng, ["LIMIT", COUNTS])])(_some(rng, KEYS)),
    lambda rng, key: [rng.choice(["SPOP", "SRANDMEMBER"]), key, "100000"],
]

_FIELDS = ["f1", "f2", "f3", "", "n", b"\x00f", "f" * 64, "f" * 65]


def _field_pairs(rng):
    if rng.random() < 0.05:
        return [w for i in rng.sample(MANY, 90) for w in (i, i)]
    return [w for f in _some(rng, _FIELDS) for w in (f, rng.choice(ELEMENTS))]


_HASH = [
    lambda rng, key: [rng.choice(["HSET", "HSET", "HMSET"]), key, *_field_pairs(rng)],
    lambda rng, key: ["HSETNX", key, rng.choice(_FIELDS), rng.choice(ELEMENTS)],
    lambda rng, key: [rng.choice(["HGET", "HEXISTS", "HSTRLEN"]), key, rng.choice(_FIELDS)],
    lambda rng, key: [rng.choice(["HMGET", "HDEL"]), key, *_some(rng, _FIELDS)],
    lambda rng, key: [rng.choice(["HGETALL", "HKEYS", "HVALS", "HLEN"]), key],
    lambda rng, key: ["HINCRBY", key, rng.choice(_FIELDS), rng.choice(INTEGERS)],
    lambda rng, key: ["HINCRBYFLOAT", key, rng.choice(_FIELDS), rng.choice(FLOATS)],
    lambda rng, key: ["HRANDFIELD", key, "100000"],
]


def _zadd(rng, key):
    pairs = [w for m in _elements(rng) for w in (rng.choice(SCORES[:9]), m)]
    return ["ZADD", key, *_options(rng, ["NX"], ["XX"], ["GT"], ["LT"], ["CH"], ["INCR"]), *pairs]


def _zrange(rng, key):
    by = rng.choice([[], ["BYSCORE"]]) if key != LEX else ["BYLEX"]
    pool = {"": INTEGERS, "BYSCORE": SCORE_BOUNDS, "BYLEX": LEX_BOUNDS}[by[0] if by else ""]
    return [rng.choice(pool), rng.choice(pool), *by,
            *_options(rng, ["REV"], ["LIMIT", INTEGERS[:10], INTEGERS[:10]])]


def _weights(rng, keys):
    words = []
    if rng.random() < 0.3:
        words += ["WEIGHTS", *[rng.choice(SCORES[:4] + ["inf", "abc"]) for _ in keys]]
    if rng.random() < 0.3:
        words += ["AGGREGATE", rng.choice(["SUM", "MIN", "max", "AVG"])]
    return words


def _zset_algebra(rng, key):
    keys = _some(rng, KEYS)
    what = rng.choice(["ZUNION", "ZINTER", "ZDIFF"])
    weights = _weights(rng, keys) if what != "ZDIFF" or rng.random() < 0.05 else []
    if rng.random() < 0.5:
        return [what + "STORE", key, _numkeys(rng, keys), *keys, *weights]
    return [what, _numkeys(rng, keys), *keys, *weights, *_options(rng, ["WITHSCORES"])]


_ZSET = [
    _zadd, _zadd, _zset_algebra, _zset_algebra,
    lambda rng, key: ["SADD", key, *_some(rng, ELEMENTS)],
    lambda rng, key: ["ZREM", key, *_elements(rng)],
    lambda rng, key: ["ZINCRBY", key, rng.choice(SCORES), rng.choice(ELEMENTS)],
    lambda rng, key: [rng.choice(["ZSCORE", "ZRANK", "ZREVRANK"]), key, rng.choice(ELEMENTS)],
    lambda rng, key: ["ZMSCORE", key, *_some(rng, ELEMENTS)],
    lambda rng, key: ["ZCARD", key],
    lambda rng, key: ["ZRANGE", key, *_zrange(rng, key), *_options(rng, ["WITHSCORES"])],
    lambda rng, key: ["ZRANGE", LEX, *_zrange(rng, LEX)],
    lambda rng, key: ["ZRANGESTORE", key, LEX, *_zrange(rng, LEX)],
    lambda rng, key: ["ZRANGESTORE", key, rng.choice(KEYS), *_zrange(rng, "")],
    lambda rng, key: [rng.choice(["ZREVRANGE", "ZRANGE"]), key, rng.choice(INTEGERS),
                      rng.choice(INTEGERS), *_options(rng, ["WITHSCORES"])],
    lambda rng, key: [rng.choice(["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]), key,
                      rng.choice(SCORE_BOUNDS), rng.choice(SCORE_BOUNDS),
                      *_options(rng, ["WITHSCORES"], ["LIMIT", INTEGERS[:10], INTEGERS[:10]])],
    lambda rng, key: ["ZADD", LEX, *[w for m in _elements(rng) for w in ("0", m)]],
    lambda rng, key: ["ZREM", LEX, *_elements(rng)],
    lambda rng, key: [rng.choice(["ZRANGEBYLEX", "ZREVRANGEBYLEX"]), LEX, rng.choice(LEX_BOUNDS),
                      rng.choice(LEX_BOUNDS),
                      *_options(rng, ["LIMIT", INTEGERS[:10], INTEGERS[:10]])],
    lambda rng, key: [rng.choice(["ZCOUNT", "ZREMRANGEBYSCORE"]), key, rng.choice(SCORE_BOUNDS),
                      rng.choice(SCORE_BOUNDS)],
    lambda rng, key: [rng.choice(["ZLEXCOUNT", "ZREMRANGEBYLEX"]), LEX, rng.choice(LEX_BOUNDS),
                      rng.choice(LEX_BOUNDS)],
    lambda rng, key: ["ZREMRANGEBYRANK", key, rng.choice(INTEGERS[:12]), rng.choice(INTEGERS)],
    lambda rng, key: [rng.choice(["ZPOPMIN", "ZPOPMAX"]), key,
                      *rng.sample(COUNTS, rng.randint(0, 1))],
    lambda rng, key: (lambda keys: ["ZMPOP", _numkeys(rng, keys), *keys,
                                    rng.choice(["MIN", "MAX", "MID"]),
                                    *_options(rng, ["COUNT", COUNTS])])(_some(rng, KEYS)),
    lambda rng, key: [rng.choice(["BZPOPMIN", "BZPOPMAX"]), *_some(rng, KEYS), "0.001"],
    lambda rng, key: (lambda keys: ["ZINTERCARD", _numkeys(rng, keys), *keys,
                                    *_options(rng, ["LIMIT", COUNTS])])(_some(rng, KEYS)),
]

_IDS = ["0", "1", "5-1", "1-1", "2-2", "3-0", "3-1", "10", "0-0", "-", "+", "(1-1", "(2", "5",
        "18446744073709551615-18446744073709551615", "abc", "1-abc", "*", "3-*"]
_GROUPS = ["g1", "g2"]
_CONSUMERS = ["c1", "c2"]
_TRIM = [["MAXLEN", ["0", "1", "3", "10", "-1", "abc"]], ["MINID", _IDS[:8]]]


def _xadd(rng, key):
    number = "%d-%d" % (rng.randint(1, 60), rng.randint(0, 3))
    words = ["XADD", key, *(["NOMKSTREAM"] if rng.random() < 0.05 else [])]
    if rng.random() < 0.15:
        option = rng.choice(_TRIM)
        words += [option[0], *rng.choice([[], ["="], ["~"]]), rng.choice(option[1])]
    words.append(number if rng.random() < 0.9 else rng.choice([i for i in _IDS if i != "*"]))
    return words + [w for _ in range(rng.randint(1, 2))
                    for w in (rng.choice(["f", "g", "1"]), rng.choice(ELEMENTS))]


def _xread(rng, key):
    keys = _some(rng, KEYS, 2)
    return ["XREAD", *_options(rng, ["COUNT", COUNTS]), "STREAMS", *keys,
            *[rng.choice(_IDS[:10]) for _ in keys]]


def _xreadgroup(rng, key):
    keys = _some(rng, KEYS, 2)
    return ["XREADGROUP", "GROUP", rng.choice(_GROUPS), rng.choice(_CONSUMERS),
            *_options(rng, ["COUNT", COUNTS], ["NOACK"]), "STREAMS", *keys,
            *[rng.choice([">", ">", ">", "0", "1-1"]) for _ in keys]]


_STREAM = [
    _xadd, _xadd, _xadd, _xread, _xreadgroup, _xreadgroup,
    lambda rng, key: ["XLEN", key],
    lambda rng, key: [rng.choice(["XRANGE", "XREVRANGE"]), key, rng.choice(_IDS),
                      rng.choice(_IDS), *_options(rng, ["COUNT", COUNTS])],
    lambda rng, key: ["XDEL", key, *_some(rng, _IDS[:11])],
    lambda rng, key: ["XTRIM", key, *(lambda o: [o[0], *rng.choice([[], ["="]]),
                                                 rng.choice(o[1])])(rng.choice(_TRIM))],
    lambda rng, key: ["XGROUP", "CREATE", key, rng.choice(_GROUPS),
                      rng.choice(["$", "0", "1-1", "abc"]), *_options(rng, ["MKSTREAM"])],
    lambda rng, key: ["XGROUP", "SETID", key, rng.choice(_GROUPS), rng.choice(["$", "0", "2-2"])],
    # A claim of nothing creates its consumer (c1), but not in the reference.
    lambda rng, key: ["XGROUP", "DELCONSUMER", key, rng.choice(_GROUPS), "c2"],
    lambda rng, key: ["XGROUP", "DESTROY", key, rng.choice(_GROUPS)] if rng.random() < 0.3
    else ["XLEN", key],
    lambda rng, key: ["XACK", key, rng.choice(_GROUPS), *_some(rng, _IDS[:9])],
    lambda rng, key: ["XPENDING", key, rng.choice(_GROUPS)],
    lambda rng, key: ["XCLAIM", key, "g1", "c1", "0",
                      *_some(rng, _IDS[:9]), *_options(rng, ["JUSTID"], ["FORCE"])],
    lambda rng, key: ["XGROUP", "CREATECONSUMER", key, "g1", "c%d" % rng.randint(9, 10 ** 9)],
    lambda rng, key: ["XAUTOCLAIM", key, "g1", "c1", "0",
                      rng.choice(_IDS[:9]), *_options(rng, ["COUNT", COUNTS], ["JUSTID"])],
]

_HLL = [
    lambda rng, key: ["PFADD", key, *_elements(rng)],
    lambda rng, key: ["PFADD", key, *rng.sample(MANY, 30)],
    lambda rng, key: ["PFCOUNT", *_some(rng, KEYS)],
    lambda rng, key: ["PFMERGE", key, *_some(rng, KEYS)],
    lambda rng, key: ["GET", key],
    lambda rng, key: ["STRLEN", key],
]

_PLACES = [("Palermo", "13.361389", "38.115556"), ("Catania", "15.087269", "37.502669"),
           ("Rome", "12.496366", "41.902782"), ("pole", "0", "85"), ("far", "-179.9", "-80"),
           ("edge", "180", "0"), ("bad", "181", "0"), ("word", "abc", "0")]
_UNITS = ["m", "km", "mi", "ft", "KM", "yd"]


def _search_options(rng):
    return _options(rng, ["WITHCOORD"], ["WITHDIST"], ["WITHHASH"], ["COUNT", COUNTS[:6]],
                    ["ASC"], ["DESC"])


def _geosearch(rng):
    place = rng.choice(_PLACES)
    start = (["FROMMEMBER", place[0]] if rng.random() < 0.5 else ["FROMLONLAT", *place[1:]])
    size = rng.choice(["0", "1", "100", "200", "2000", "-1", "abc", "1e9"])
    shape = (["BYRADIUS", size] if rng.random() < 0.5
             else ["BYBOX", size, rng.choice(["100", "400", "0"])])
    return [*start, *shape, rng.choice(_UNITS)]


_GEO = [
    lambda rng, key: ["GEOADD", key, *_options(rng, ["NX"], ["XX"], ["CH"]),
                      *[w for p in _some(rng, _PLACES[:6]) for w in (p[1], p[2], p[0])]],
    lambda rng, key: ["GEOADD", key, *(lambda p: (p[1], p[2], p[0]))(rng.choice(_PLACES))],
    lambda rng, key: ["GEODIST", key, rng.choice(_PLACES)[0], rng.choice(_PLACES)[0],
                      rng.choice(_UNITS)],
    lambda rng, key: [rng.choice(["GEOHASH", "GEOPOS"]), key,
                      *[p[0] for p in _some(rng, _PLACES)]],
    lambda rng, key: ["GEOSEARCH", key, *_geosearch(rng), *_search_options(rng)],
    lambda rng, key: ["GEOSEARCHSTORE", key, rng.choice(KEYS), *_geosearch(rng),
                      *_options(rng, ["COUNT", COUNTS[:6]], ["STOREDIST"])],
    lambda rng, key: ["GEORADIUS", key, *rng.choice(_PLACES)[1:], rng.choice(["100", "2000"]),
                      rng.choice(_UNITS), *_search_options(rng)],
    lambda rng, key: ["GEORADIUSBYMEMBER", key, rng.choice(_PLACES)[0],
                      rng.choice(["100", "2000"]), rng.choice(_UNITS), *_search_options(rng),
                      *_options(rng, ["STORE", KEYS], ["STOREDIST", KEYS])],
    lambda rng, key: ["ZRANGE", key, "0", "-1"],
]

_SORT = [
    lambda rng, key: [rng.choice(["RPUSH", "SADD"]), key, *_some(rng, MANY, 8)],
    lambda rng, key: ["RPUSH", key, *_some(rng, [e for e in ELEMENTS if e != BINARY], 8)],
    lambda rng, key: ["ZADD", key, *[w for m in _some(rng, MANY, 6)
                                     for w in (rng.choice(SCORES[:4]), m)]],
    lambda rng, key: ["MSET", *[w for m in _some(rng, MANY, 6)
                                for w in ("w:" + m, rng.choice(MANY))]],
    lambda rng, key: ["HSET", "h:" + rng.choice(MANY), "f", rng.choice(MANY)],
    lambda rng, key: ["SORT", key, *_options(
        rng, ["BY", ["w:*", "nosort", "h:*->f", "*", "w:*->x"]],
        ["GET", ["#", "w:*", "h:*->f", "nope"]], ["ASC"], ["DESC"], ["ALPHA"],
        ["LIMIT", INTEGERS[:8], INTEGERS[:8]], ["STORE", KEYS])],
    lambda rng, key: ["SORT_RO", key, *_options(rng, ["ALPHA"], ["DESC"], ["GET", ["#"]])],
    lambda rng, key: ["LRANGE", key, "0", "-1"],
]


def _ordered(make):
    """SORT of a set by nothing gives the set's order, and texts that are equal come in any."""
    def with_one_answer(rng):
        words = make(rng)
        if words[0] == "SORT" and "nosort" in words:
            words = [w if w != "nosort" else "w:*" for w in words]
        if words[0] == "SORT" and {"BY", "by"} & set(words):
            words = [w for w in words if w not in ("ALPHA", "alpha")]
        return words
    return with_one_answer


UNORDERED = {b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"SPOP", b"SRANDMEMBER", b"HGETALL",
             b"HKEYS", b"HVALS", b"HRANDFIELD"}

FAMILIES = {"list": _family(_LIST), "set": _family(_SET), "hash": _family(_HASH),
            "zset": _family(_ZSET), "stream": _family(_STREAM), "hyperloglog": _family(_HLL),
            "geo": _family(_GEO), "sort": _ordered(_family(_SORT))}
