"""Transactions and scripts under load, from several processes.

Money moves between accounts on all shards by whatever takes effect as one: EXEC, WATCH and EXEC,
scripts and functions, those too that name none of their keys. Whoever sums the accounts up in one
go must find all of it, at any moment; and nothing that was acknowledged may be missed.
"""

import random

import pytest

from workers import FORK, run_all

ACCOUNTS = [f"account:{i}" for i in range(48)]
EACH = 1000
TOTAL = EACH * len(ACCOUNTS)


def at_least(results, least):
    """A load that did next to nothing has tested nothing."""
    assert min(results) >= least, f"too little was done: {results}"


# Ways to move money; each returns how often it has.

def move_by_exec(line, clock, depth):
    count = 0
    while clock.running():
        requests = []
        for _ in range(depth):
            a, b = random.sample(ACCOUNTS, 2)
            n = random.randrange(1, 50)
            requests += [("MULTI",), ("DECRBY", a, n), ("INCRBY", b, n), ("EXEC",)]
        replies = line.run(*requests)
        assert all(len(reply) == 2 for reply in replies[3::4])
        count += depth
    return count


def move_round_by_exec(line, clock):
    """Each account gives to the next: more commands than a shard is borrowed for."""
    count = 0
    while clock.running():
        requests = [("MULTI",)]
        for a, b in zip(ACCOUNTS, ACCOUNTS[1:] + ACCOUNTS[:1]):
            n = random.randrange(1, 50)
            requests += [("DECRBY", a, n), ("INCRBY", b, n)]
        assert len(line.run(*requests, ("EXEC",))[-1]) == 2 * len(ACCOUNTS)
        count += 1
    return count


def move_by_watch(line, clock):
    count = 0
    while clock.running():
        a, b = random.sample(ACCOUNTS, 2)
        n = random.randrange(1, 50)
        line.call("WATCH", a, b)
        had_a, had_b = (int(value) for value in line.call("MGET", a, b))
        done = line.run(("MULTI",), ("SET", a, had_a - n), ("SET", b, had_b + n), ("EXEC",))[-1]
        assert done in (None, ["OK", "OK"])
        count += done is not None
    return count


MOVE = """
local n = tonumber(ARGV[1])
redis.call('SET', KEYS[1], redis.call('GET', KEYS[1]) - n)
redis.call('SET', KEYS[2], redis.call('GET', KEYS[2]) + n)
return n"""

# Names no key, and writes the first account before it says which the second is.
MOVE_COMPUTED = """
local accounts = tonumber(ARGV[1])
local a = tonumber(ARGV[2])
redis.call('DECRBY', 'account:' .. a, ARGV[4])
redis.call('HINCRBY', 'moves', 'begun', 1)
local b = (a + 1 + tonumber(ARGV[3]) % (accounts - 1)) % accounts
redis.call('INCRBY', 'account:' .. b, ARGV[4])
redis.call('HINCRBY', 'moves', 'done', 1)
return tonumber(ARGV[4])"""

# Keeps to its key for most arguments; for some, computes another account after it has written.
MOVE_ASTRAY = """
local n = tonumber(ARGV[1])
redis.call('DECRBY', KEYS[1], n)
redis.call('RPUSH', 'log:' .. KEYS[1], n)
redis.call('LTRIM', 'log:' .. KEYS[1], -3, -1)
if ARGV[2] ~= '' then
    redis.call('INCRBY', 'account:' .. ARGV[2], n)
else
    redis.call('INCRBY', KEYS[1], n)
end
return n"""

# The same with its log in the key's own slot, so that it keeps to one shard but for the stray.
MOVE_ASTRAY_LATE = """
local n = tonumber(ARGV[1])
redis.call('INCRBY', KEYS[1], -n)
redis.call('APPEND', KEYS[1], '0')
redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, -2))
local to = KEYS[1]
if ARGV[2] ~= '' then
    to = 'account:' .. ARGV[2]
end
return redis.call('INCRBY', to, n)"""


def load_script(line, source):
    return line.call("SCRIPT", "LOAD", source)


def move_by_script(line, clock, depth):
    sha, count = load_script(line, MOVE), 0
    while clock.running():
        requests = []
        for _ in range(depth):
            requests.append(("EVALSHA", sha, 2, *random.sample(ACCOUNTS, 2),
                             random.randrange(1, 50)))
        for request, reply in zip(requests, line.run(*requests)):
            assert reply == request[-1]
        count += depth
    return count


def move_by_computed_keys(line, clock):
    sha, count = load_script(line, MOVE_COMPUTED), 0
    while clock.running():
        n = random.randrange(1, 50)
        assert line.call("EVALSHA", sha, 0, len(ACCOUNTS), random.randrange(len(ACCOUNTS)),
                         random.randrange(1000), n) == n
        count += 1
    return count


def move_astray(line, clock, source, often):
    """One call in `often` leaves the keys that it has declared. Every now and then the script is
    another, of which nothing is known yet."""
    count = 0
    while clock.running():
        requests = []
        for _ in range(4):
            to = random.randrange(len(ACCOUNTS)) if random.randrange(often) == 0 else ""
            requests.append(("EVAL", f"{source} -- {count // 200}", 1, random.choice(ACCOUNTS),
                             random.randrange(1, 50), to))
        replies = line.run(*requests)
        assert all(isinstance(reply, int) for reply in replies), replies
        count += len(requests)
    return count


def move_by_function(line, clock):
    count = 0
    while clock.running():
        a, b = random.sample(ACCOUNTS, 2)
        n = random.randrange(1, 50)
        assert line.call("FCALL", "move", 2, a, b, n) == n
        count += 1
    return count


FUNCTIONS = """#!lua name=bank
redis.register_function('move', function(keys, args)
    redis.call('DECRBY', keys[1], args[1])
    redis.call('INCRBY', keys[2], args[1])
    return tonumber(args[1])
end)
redis.register_function{function_name = 'audit', flags = {'no-writes'}, callback =
function(keys, args)
    local sum = 0
    for _, value in ipairs(redis.call('MGET', unpack(keys))) do sum = sum + value end
    return sum
end}
"""

# Auditors: each sums up in another way, `(requests, the sum of their replies)`.

SUM = """
local sum = 0
for i = 0, ARGV[1] - 1 do sum = sum + redis.call('GET', 'account:' .. i) end
return sum"""

SUM_DECLARED = """
local sum = 0
for _, key in ipairs(KEYS) do sum = sum + redis.call('GET', key) end
return sum"""


def sum_of(values):
    return sum(int(value) for value in values)


AUDITS = {
    "mget": ([("MGET", *ACCOUNTS)], lambda replies: sum_of(replies[-1])),
    "exec": ([("MULTI",), *[("GET", key) for key in ACCOUNTS], ("EXEC",)],
             lambda replies: sum_of(replies[-1])),
    "exec of mget": ([("MULTI",), ("MGET", *ACCOUNTS[:20]), ("MGET", *ACCOUNTS[20:]), ("EXEC",)],
                     lambda replies: sum(map(sum_of, replies[-1]))),
    "script": ([("EVAL", SUM_DECLARED, len(ACCOUNTS), *ACCOUNTS)], lambda replies: replies[-1]),
    "computed": ([("EVAL_RO", SUM, 0, len(ACCOUNTS))], lambda replies: replies[-1]),
    "function": ([("FCALL_RO", "audit", len(ACCOUNTS), *ACCOUNTS)],
                 lambda replies: replies[-1]),
}


def audit(line, clock, way):
    requests, total = AUDITS[way]
    count = 0
    while clock.running():
        replies = line.run(*requests)
        assert total(replies) == TOTAL, f"{way} finds {total(replies)} of {TOTAL}"
        count += 1
    return count


@pytest.fixture
def bank(server):
    client = server.client()
    client.mset({key: EACH for key in ACCOUNTS})
    return server


MOVERS = {
    "exec": [(move_by_exec, 1), (move_by_exec, 8), (move_round_by_exec,)],
    "watch": [(move_by_watch,), (move_by_watch,), (move_by_exec, 1)],
    "script": [(move_by_script, 1), (move_by_script, 10)],
    "computed": [(move_by_computed_keys,), (move_by_computed_keys,)],
    "astray": [(move_astray, MOVE_ASTRAY, 10), (move_astray, MOVE_ASTRAY_LATE, 5),
               (move_astray, MOVE_ASTRAY_LATE, 10)],
    "function": [(move_by_function,), (move_by_function,)],
    "all": [(move_by_exec, 2), (move_by_watch,), (move_by_script, 3), (move_by_computed_keys,),
            (move_astray, MOVE_ASTRAY_LATE, 5), (move_by_function,)],
}


@pytest.mark.parametrize("way", list(MOVERS))
def test_money_is_never_made_nor_lost(bank, way):
    client = bank.client()
    audits = ["mget", "exec", "script"] + (["computed"] if way in ("computed", "all") else [])
    if way in ("function", "all"):
        client.function_load(FUNCTIONS, replace=True)
        audits.append("function")
    if way == "exec":
        audits.append("exec of mget")
    results = run_all(bank.port, MOVERS[way] + [(audit, a) for a in audits])
    at_least(results, 3)
    assert sum_of(client.mget(ACCOUNTS)) == TOTAL
    if way == "computed":
        moves = client.hgetall("moves")
        assert int(moves[b"begun"]) == int(moves[b"done"]) == sum(results[:2])


# What has been acknowledged is seen by whoever asks afterwards, in whatever way.

SET_ALL = "for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[1]) end return ARGV[1]"
SET_COMPUTED = "for i = 0, 47 do redis.call('SET', 'account:' .. i, ARGV[1]) end return ARGV[1]"


def write_versions(line, clock, acknowledged, pace):
    version, way = 0, 0
    while clock.running():
        version, way = version + 1, (way + 1) % pace
        if way == 1:
            line.call("EVAL", SET_ALL, len(ACCOUNTS), *ACCOUNTS, version)
        elif way == 2:
            line.call("EVAL", SET_COMPUTED, 0, version)
        else:
            keys = ACCOUNTS * random.randrange(1, 3)  # twice: too long for a shard to be borrowed
            line.run(("MULTI",), *[("SET", key, version) for key in keys], ("EXEC",))
        acknowledged.value = version
    return version


def read_versions_at_once(line, clock, acknowledged, way):
    requests = {
        "exec": [("MULTI",), *[("GET", key) for key in ACCOUNTS], ("EXEC",)],
        "script": [("EVAL_RO", "return redis.call('MGET', unpack(KEYS))", len(ACCOUNTS),
                    *ACCOUNTS)],
    }[way]
    count, least = 0, 0
    while clock.running():
        least = max(least, acknowledged.value)
        values = line.run(*requests)[-1]
        assert len(set(values)) == 1, f"versions are mixed: {values}"
        assert int(values[0]) >= least, f"version {values[0]} after {least} was acknowledged"
        least = int(values[0])
        count += 1
    return count


def read_versions_singly(line, clock, acknowledged):
    """One key after the other, each by a request of its own, never goes back in time."""
    count, least = 0, 0
    while clock.running():
        for key in random.sample(ACCOUNTS, 8):
            least = max(least, acknowledged.value)
            version = int(line.call("GET", key))
            assert version >= least, f"{key} has version {version} after {least} had been seen"
            least = version
        count += 1
    return count


def read_versions_from_several(line, clock, acknowledged, port):
    """The same by several connections of one client in turn: they live on different cores."""
    lines = [type(line)(port) for _ in range(8)]
    count, least = 0, 0
    while clock.running():
        for other in random.sample(lines, 8):
            key = random.choice(ACCOUNTS)
            least = max(least, acknowledged.value)
            version = int(other.call("GET", key))
            assert version >= least, f"{key} has version {version} after {least} had been seen"
            least = version
        count += 1
    return count


@pytest.mark.parametrize("pace", [1, 3])
def test_what_was_acknowledged_is_seen(server, pace):
    server.client().mset({key: 0 for key in ACCOUNTS})
    acknowledged = FORK.Value("q", 0)
    at_least(run_all(server.port, [
        (write_versions, acknowledged, pace),
        (read_versions_at_once, acknowledged, "exec"),
        (read_versions_at_once, acknowledged, "script"),
        (read_versions_singly, acknowledged), (read_versions_singly, acknowledged),
        (read_versions_from_several, acknowledged, server.port),
        (read_versions_from_several, acknowledged, server.port),
    ]), 3)


# WATCH: no increment is lost, and a broken watch is noticed whoever broke it.

def count_by_watch(line, clock, keys):
    """Increments a counter by WATCH, GET and SET; the watched keys live on several shards."""
    count = 0
    while clock.running():
        key = random.choice(keys)
        line.call("WATCH", *random.sample(keys, 2), key)
        value = int(line.call("GET", key) or 0)
        if line.run(("MULTI",), ("SET", key, value + 1), ("EXEC",))[-1] is not None:
            count += 1
    return count


def count_by_other_means(line, clock, keys):
    count = 0
    increment = load_script(line, "return redis.call('INCR', KEYS[1])")
    while clock.running():
        key = random.choice(keys)
        way = random.randrange(3)
        if way == 0:
            assert line.call("INCR", key) > 0
        elif way == 1:
            assert line.call("EVALSHA", increment, 1, key) > 0
        else:
            replies = line.run(("MULTI",), ("INCR", key), ("INCR", "other"), ("EXEC",))[-1]
            assert min(replies) > 0
        count += 1
    return count


@pytest.mark.parametrize("others", [False, True])
def test_no_increment_by_watch_is_lost(server, others):
    keys = [f"counter:{i}" for i in range(4)]
    works = [(count_by_watch, keys)] * 5 + [(count_by_other_means, keys)] * others
    totals = run_all(server.port, works)
    assert sum(int(value or 0) for value in server.client().mget(keys)) == sum(totals)
    assert sum(totals[:5]) > 20


SEEN = "return redis.call('MGET', unpack(KEYS))"


def enter_alone(line, clock, doors, own):
    """Opens its own door only while all others are shut: write skew breaks it."""
    count = 0
    while clock.running():
        line.call("WATCH", *random.sample(doors, len(doors)))
        if any(line.call("GET", door) == b"open" for door in doors if door != own):
            line.call("UNWATCH")
        elif line.run(("MULTI",), ("SET", own, "open"), ("EXEC",))[-1] is not None:
            seen = line.call("EVAL", SEEN, len(doors), *doors)
            assert seen.count(b"open") == 1, f"several are open: {seen}"
            assert line.call("SET", own, "shut") == "OK"
            count += 1
    return count


def test_watch_sees_keys_of_other_shards(server):
    doors = [f"door:{i}" for i in range(4)]
    counts = run_all(server.port, [(enter_alone, doors, own) for own in doors])
    assert sum(counts) > 20


def watch_and_stray(line, clock, number):
    """Watches what its own script writes, before that leaves its key and begins again."""
    mine, count = f"mine:{number}", 0
    while clock.running():
        line.call("WATCH", mine)
        before = int(line.call("GET", mine) or 0)
        to = random.randrange(len(ACCOUNTS))
        replies = line.run(("MULTI",), ("EVAL", f"{MOVE_ASTRAY_LATE} -- {number} {count // 50}",
                                        1, mine, 1, to), ("EXEC",))[-1]
        assert replies is not None and isinstance(replies[0], int), replies
        assert int(line.call("GET", mine)) == before - 1
        count += 1
    return count


def test_a_script_that_begins_again_breaks_no_watch_of_its_own(server):
    server.client().mset({key: 0 for key in ACCOUNTS})
    counts = run_all(server.port, [(watch_and_stray, i) for i in range(4)])
    at_least(counts, 5)
    assert sum_of(server.client().mget(ACCOUNTS)) == sum(counts)


# Elements put in by EXEC and by scripts are got exactly once.

QUEUES = [f"queue:{i}" for i in range(8)]

PUSH_COMPUTED = """
for i = 1, #ARGV do
    redis.call('RPUSH', 'queue:' .. (redis.sha1hex(ARGV[i]):byte(1) % 8), ARGV[i])
end
return #ARGV"""

PUSH_DECLARED = """
for i, key in ipairs(KEYS) do redis.call('LPUSH', key, ARGV[i]) end
return #KEYS"""


def feed_lists(line, clock, number, fed, way):
    """Feeds lists, and a sorted set and a stream with the same words."""
    count = 0
    while clock.running():
        words = [f"{number}:{count + i}" for i in range(random.randrange(1, 4))]
        targets = random.sample(QUEUES, len(words))
        if way == "exec":
            replies = line.run(("MULTI",), *[("RPUSH", q, w) for q, w in zip(targets, words)],
                               ("ZADD", "sorted", count, words[0]),
                               ("XADD", "stream", "*", "word", words[0]), ("EXEC",))[-1]
            assert len(replies) == len(words) + 2
        else:
            if way == "declared":
                reply = line.call("EVAL", PUSH_DECLARED, len(words), *targets, *words)
            else:
                reply = line.call("EVAL", PUSH_COMPUTED, 0, *words)
            assert reply == len(words)
            line.call("EVAL", "redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) "
                              "redis.call('XADD', KEYS[2], '*', 'word', ARGV[2])",
                      2, "sorted", "stream", count, words[0])
        count += len(words)
        fed.put_words(len(words), 1)
    return count


class Fed:
    """How many words went to the lists, and to the sorted set and the stream each."""

    def __init__(self):
        self.lists, self.others = FORK.Value("q", 0), FORK.Value("q", 0)

    def put_words(self, lists, others):
        with self.lists.get_lock():
            self.lists.value += lists
            self.others.value += others


def take(line, clock, way, number):
    got = []
    own = f"own:{number}"
    while clock.running():
        queues = random.sample(QUEUES, random.randrange(1, 5))
        if way == "BLPOP":
            reply = line.call("BLPOP", *queues, "0.05")
            got += reply[1:] if reply else []
        elif way == "BLMOVE":
            line.call("BLMOVE", queues[0], own, "LEFT", "RIGHT", "0.02")
            got += line.call("LPOP", own, 10) or []
        elif way == "BZPOPMIN":
            reply = line.call("BZPOPMIN", "sorted", "0.05")
            got += reply[1:2] if reply else []
        else:
            reply = line.call("XREADGROUP", "GROUP", "group", own, "COUNT", 3, "BLOCK", 50,
                              "STREAMS", "stream", ">")
            got += [fields[1] for _, fields in reply[0][1]] if reply else []
    return way, got


def test_what_exec_and_scripts_feed_is_got_once(server):
    client, fed = server.client(), Fed()
    client.xgroup_create("stream", "group", mkstream=True)
    ways = ["BLPOP", "BLPOP", "BLMOVE", "BZPOPMIN", "BZPOPMIN", "XREADGROUP", "XREADGROUP"]
    results = run_all(server.port, [
        (feed_lists, 1, fed, "exec"), (feed_lists, 2, fed, "declared"),
        (feed_lists, 3, fed, "computed"), *[(take, way, i) for i, way in enumerate(ways)]])
    got = {way: [] for way in ways}
    for way, words in results[3:]:
        got[way] += words
    lists = got["BLPOP"] + got["BLMOVE"]
    lists += [word for queue in QUEUES for word in client.lrange(queue, 0, -1)]
    assert len(lists) == len(set(lists)) == fed.lists.value > 20
    rest = client.zrange("sorted", 0, -1)
    assert len(got["BZPOPMIN"] + rest) == len(set(got["BZPOPMIN"] + rest)) == fed.others.value
    unread = client.xreadgroup("group", "last", {"stream": ">"})
    rest = [fields[b"word"] for _, fields in unread[0][1]] if unread else []
    words = got["XREADGROUP"] + rest
    assert len(words) == len(set(words)) == fed.others.value


# A transaction takes back what it pushes itself, before whoever waits is served.

def push_and_take_back(line, clock, number):
    count = 0
    while clock.running():
        queue = random.choice(QUEUES)
        replies = line.run(("MULTI",), ("RPUSH", queue, f"mine:{number}"), ("INCR", "count"),
                           ("RPOP", queue), ("EXEC",))[-1]
        assert replies[2] == b"mine:%d" % number, f"taken from within: {replies}"
        assert line.call("EVAL", "redis.call('LPUSH', KEYS[1], 'x') redis.call('INCR', KEYS[2]) "
                                 "return redis.call('LPOP', KEYS[1])", 2, queue, "count") == b"x"
        count += 1
    return count


def wait_in_vain(line, clock):
    count = 0
    while clock.running():
        assert line.call("BLPOP", *random.sample(QUEUES, 3), "0.03") is None
        count += 1
    return count


def test_nobody_is_served_from_within_a_transaction(server):
    results = run_all(server.port, [(push_and_take_back, 0), (push_and_take_back, 1),
                                    (wait_in_vain,), (wait_in_vain,), (wait_in_vain,)])
    at_least(results, 3)
    assert int(server.client().get("count")) == 2 * sum(results[:2])
