"""Locks, limiters, queues and boards: recipes that people build on Redis, the way they use them.

Each recipe is written as its documentation or the client libraries have it, and then held to what
it promises, with several processes at once where it promises anything to several.
"""

import random
import time
import uuid
from collections import Counter

import pytest
import redis

import workers
from workers import FORK, run_all

SECONDS = min(1.5, workers.SECONDS)  # of contention


def connect(port, **kw):
    return redis.Redis(host="127.0.0.1", port=port, socket_timeout=20, **kw)


# Redlock (redis.io/docs/manual/patterns/distributed-locks).

DELETE_IF_MINE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0"""

EXTEND_IF_MINE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0"""


class Redlock:
    """A lock over independent servers: held by who has it on most of them, for as long as is left
    of its time when the last has answered, less what clocks may drift."""

    DRIFT = 0.01

    def __init__(self, ports):
        self.clients = [redis.Redis(host="127.0.0.1", port=port, socket_timeout=2)
                        for port in ports]
        self.quorum = len(ports) // 2 + 1
        self.delete = [client.register_script(DELETE_IF_MINE) for client in self.clients]
        self.extend_to = [client.register_script(EXTEND_IF_MINE) for client in self.clients]

    def _count(self, ask):
        """On how many servers `ask` says yes; one that is away says no."""
        yes = 0
        for i in range(len(self.clients)):
            try:
                yes += bool(ask(i))
            except redis.RedisError:
                pass
        return yes

    def _validity_ms(self, ttl_ms, begun):
        return ttl_ms - (time.monotonic() - begun) * 1000 - (ttl_ms * self.DRIFT + 2)

    def acquire(self, name, ttl_ms):
        """(token, how long it is ours in ms), or None."""
        token, begun = uuid.uuid4().hex, time.monotonic()
        got = self._count(lambda i: self.clients[i].set(name, token, nx=True, px=ttl_ms))
        validity_ms = self._validity_ms(ttl_ms, begun)
        if got >= self.quorum and validity_ms > 0:
            return token, validity_ms
        self.release(name, token)
        return None

    def release(self, name, token):
        return self._count(lambda i: self.delete[i](keys=[name], args=[token]))

    def extend(self, name, token, ttl_ms):
        begun = time.monotonic()
        got = self._count(lambda i: self.extend_to[i](keys=[name], args=[token, ttl_ms]))
        validity_ms = self._validity_ms(ttl_ms, begun)
        return validity_ms if got >= self.quorum and validity_ms > 0 else None


@pytest.fixture
def three_servers(fresh_server):
    return [fresh_server() for _ in range(3)]


def test_a_redlock_is_held_by_one_and_released_by_its_holder_alone(three_servers):
    lock = Redlock([s.port for s in three_servers])
    token, validity_ms = lock.acquire("resource", 10_000)
    assert 0 < validity_ms < 10_000
    assert lock.acquire("resource", 10_000) is None
    assert [c.get("resource") for c in lock.clients] == [token.encode()] * 3
    assert lock.release("resource", "somebody else's") == 0
    assert lock.release("resource", token) == 3
    assert lock.acquire("resource", 10_000) is not None


def test_a_redlock_expires_unless_it_is_extended(three_servers):
    lock = Redlock([s.port for s in three_servers])
    token, _ = lock.acquire("resource", 400)
    for _ in range(4):
        time.sleep(0.15)
        assert lock.extend("resource", token, 400) is not None
        assert lock.acquire("resource", 400) is None
    time.sleep(0.5)
    assert lock.extend("resource", token, 150) is None
    other, _ = lock.acquire("resource", 10_000)
    assert lock.release("resource", token) == 0
    assert lock.release("resource", other) == 3


def test_a_redlock_that_got_no_majority_leaves_nothing_behind(three_servers):
    lock = Redlock([s.port for s in three_servers])
    for client in lock.clients[:2]:
        client.set("resource", "an older lock")
    assert lock.acquire("resource", 10_000) is None
    assert [c.get("resource") for c in lock.clients] == [b"an older lock"] * 2 + [None]


def contend_for_redlock(_line, clock, ports, inside, taken):
    lock, count = Redlock(ports), 0
    while clock.running():
        got = lock.acquire("resource", 20_000)
        if not got:
            time.sleep(random.random() * 0.004)
            continue
        inside.value += 1
        before = taken.value
        assert inside.value == 1, f"{inside.value} hold the lock"
        time.sleep(0)
        taken.value = before + 1
        inside.value -= 1
        assert lock.release("resource", got[0]) >= 2
        count += 1
    return count


@pytest.mark.parametrize("running", [3, 2])
def test_a_redlock_excludes_processes_also_with_a_server_down(three_servers, running):
    if running == 2:
        three_servers[1].stop()
    ports = [s.port for s in three_servers]
    inside, taken = FORK.RawValue("q", 0), FORK.RawValue("q", 0)
    counts = run_all(ports[0], [(contend_for_redlock, ports, inside, taken)] * 4, SECONDS)
    assert taken.value == sum(counts) > 20


def test_no_redlock_without_a_majority(three_servers):
    lock = Redlock([s.port for s in three_servers])
    for server in three_servers[1:]:
        server.stop()
    assert lock.acquire("resource", 10_000) is None
    assert lock.clients[0].get("resource") is None


# A reentrant lock whose waiters are woken over Pub/Sub, as Redisson's.

TAKE_LOCK = """
local free = redis.call('exists', KEYS[1]) == 0
if free or redis.call('hexists', KEYS[1], ARGV[2]) == 1 then
    redis.call('hincrby', KEYS[1], ARGV[2], 1)
    redis.call('pexpire', KEYS[1], ARGV[1])
    return nil
end
return redis.call('pttl', KEYS[1])"""

LEAVE_LOCK = """
if redis.call('hexists', KEYS[1], ARGV[2]) == 0 then
    return nil
end
if redis.call('hincrby', KEYS[1], ARGV[2], -1) > 0 then
    redis.call('pexpire', KEYS[1], ARGV[1])
    return 0
end
redis.call('del', KEYS[1])
redis.call('publish', KEYS[2], 'unlocked')
return 1"""


class WokenLock:
    LEASE_MS = 60_000

    def __init__(self, port, owner):
        self.client = connect(port)
        self.owner = owner
        self.take = self.client.register_script(TAKE_LOCK)
        self.leave = self.client.register_script(LEAVE_LOCK)

    def try_once(self, name):
        """None where it is ours now, else the ms for which it is somebody else's."""
        return self.take(keys=[name], args=[self.LEASE_MS, self.owner])

    def acquire(self, name, patience=10):
        """Waits for the holder's message, never for the lease to end; returns how often."""
        if self.try_once(name) is None:
            return 0
        waits, subscription = 0, self.client.pubsub(ignore_subscribe_messages=True)
        subscription.subscribe(f"unlocked:{{{name}}}")
        subscription.get_message(timeout=patience)
        while (left_ms := self.try_once(name)) is not None:
            assert 0 <= left_ms <= self.LEASE_MS
            assert subscription.get_message(timeout=patience), "nobody was woken"
            waits += 1
        subscription.close()
        return waits

    def release(self, name):
        return self.leave(keys=[name, f"unlocked:{{{name}}}"], args=[self.LEASE_MS, self.owner])


def test_a_woken_lock_is_reentrant_and_its_holders_own(server):
    mine, other = WokenLock(server.port, "me"), WokenLock(server.port, "you")
    assert mine.try_once("lock") is None and mine.try_once("lock") is None
    assert 0 < other.try_once("lock") <= WokenLock.LEASE_MS
    assert other.release("lock") is None
    assert mine.release("lock") == 0 and mine.release("lock") == 1
    assert mine.release("lock") is None
    assert other.try_once("lock") is None


def contend_for_woken_lock(_line, clock, port, number, inside):
    lock, count, waits = WokenLock(port, f"owner:{number}"), 0, 0
    while clock.running():
        name = f"lock:{random.randrange(2)}"
        place = int(name[-1])
        waits += lock.acquire(name)
        inside[place] += 1
        assert inside[place] == 1, f"{inside[place]} hold {name}"
        time.sleep(random.random() * 0.003)
        inside[place] -= 1
        assert lock.release(name) == 1
        count += 1
    return count, waits


def test_a_woken_lock_loses_no_wake_up(server):
    inside = FORK.RawArray("q", 2)
    results = run_all(server.port, [
        (contend_for_woken_lock, server.port, i, inside) for i in range(5)], SECONDS)
    assert min(count for count, _ in results) > 2
    assert sum(waits for _, waits in results) > 5


# Rate limiters.

FIXED_WINDOW = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return count <= tonumber(ARGV[1]) and 1 or 0"""

SLIDING_WINDOW = """
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_us - ARGV[2] * 1000)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
    return 0
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now_us), ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1"""

TOKEN_BUCKET = """
local capacity, per_second, now_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted = tonumber(ARGV[4])
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at_ms')
local tokens = tonumber(state[1]) or capacity
local at_ms = tonumber(state[2]) or now_ms
tokens = math.min(capacity, tokens + math.max(0, now_ms - at_ms) * per_second / 1000)
local allowed = tokens >= wanted
if allowed then
    tokens = tokens - wanted
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at_ms', now_ms)
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / per_second * 2000))
return {allowed and 1 or 0, tostring(tokens)}"""


def call_by_sha(client, sha, source, keys, args):
    """What every client library does: by its SHA, and by its source where that is not known."""
    try:
        return client.evalsha(sha, len(keys), *keys, *args)
    except redis.exceptions.NoScriptError:
        return client.eval(source, len(keys), *keys, *args)


def hammer_limiter(_line, clock, port, name, source, limit):
    """Asks for each user until nobody is let in any more."""
    client = connect(port)
    sha = redis.Redis.register_script(client, source).sha
    allowed = Counter()
    for turn in range(limit):
        for user in random.sample(range(8), 8):
            word = f"{random.getrandbits(60)}"
            args = [limit, 60_000, word]
            allowed[user] += call_by_sha(client, sha, source, [f"{name}:{user}"], args)
        if turn == limit // 2 and random.random() < 0.5:
            client.script_flush()
    return allowed


@pytest.mark.parametrize("name, source", [
    ("fixed", FIXED_WINDOW), ("sliding", SLIDING_WINDOW)], ids=["fixed", "sliding"])
def test_a_window_lets_exactly_its_limit_in(server, name, source):
    limit = 40
    results = run_all(server.port, [(hammer_limiter, server.port, name, source, limit)] * 4)
    assert sum(results, Counter()) == Counter({user: limit for user in range(8)})
    client = server.client()
    assert all(0 < client.pttl(f"{name}:{user}") <= 60_000 for user in range(8))


def test_a_fixed_window_opens_again(client):
    limiter = client.register_script(FIXED_WINDOW)
    assert [limiter(keys=["w"], args=[2, 400]) for _ in range(4)] == [1, 1, 0, 0]
    time.sleep(0.5)
    assert [limiter(keys=["w"], args=[2, 400]) for _ in range(3)] == [1, 1, 0]


def test_a_sliding_window_slides(client):
    limiter = client.register_script(SLIDING_WINDOW)
    assert limiter(keys=["w"], args=[2, 300, "a"]) == 1
    time.sleep(0.18)
    assert [limiter(keys=["w"], args=[2, 300, word]) for word in "bc"] == [1, 0]
    time.sleep(0.18)
    assert [limiter(keys=["w"], args=[2, 300, word]) for word in "de"] == [1, 0]
    assert client.zrange("w", 0, -1) == [b"b", b"d"]


def test_a_token_bucket_fills_at_its_rate(client):
    bucket = client.register_script(TOKEN_BUCKET)

    def ask(now_ms, wanted=1):
        return bucket(keys=["bucket:user"], args=[5, 10, now_ms, wanted])

    assert [ask(1000) for _ in range(6)] == [
        [1, b"4"], [1, b"3"], [1, b"2"], [1, b"1"], [1, b"0"], [0, b"0"]]
    assert ask(1050) == [0, b"0.5"]
    assert ask(1100) == [1, b"0"]
    assert ask(1400, 3) == [1, b"0"]
    assert ask(60_000, 6) == [0, b"5"]
    assert 0 < client.pttl("bucket:user") <= 1000


def drain_bucket(_line, clock, port):
    client, got = connect(port), 0
    bucket = client.register_script(TOKEN_BUCKET)
    for _ in range(150):
        got += bucket(keys=["bucket"], args=[200, 0.001, 5_000, 1])[0]
    return got


def test_a_token_bucket_gives_no_token_twice(server):
    assert sum(run_all(server.port, [(drain_bucket, server.port)] * 4)) == 200


# Counting semaphores (the fair one is that of "Redis in Action", 6.3.2).

ACQUIRE_FAIR = """
local holders, turns, counter = KEYS[1], KEYS[2], KEYS[3]
redis.call('ZREMRANGEBYSCORE', holders, '-inf', ARGV[3] - ARGV[4])
redis.call('ZINTERSTORE', turns, 2, turns, holders, 'WEIGHTS', 1, 0)
local turn = redis.call('INCR', counter)
redis.call('ZADD', holders, ARGV[3], ARGV[2])
redis.call('ZADD', turns, turn, ARGV[2])
if redis.call('ZRANK', turns, ARGV[2]) < tonumber(ARGV[1]) then
    return 1
end
redis.call('ZREM', holders, ARGV[2])
redis.call('ZREM', turns, ARGV[2])
return 0"""


def acquire_fair_in_transactions(client, name, limit, timeout, now):
    """The two transactions of the book; the three keys lie where they lie."""
    word = uuid.uuid4().hex
    holders, turns, counter = f"{name}:holders", f"{name}:turns", f"{name}:counter"
    pipe = client.pipeline(transaction=True)
    pipe.zremrangebyscore(holders, "-inf", now - timeout)
    pipe.zinterstore(turns, {turns: 1, holders: 0})
    pipe.incr(counter)
    turn = pipe.execute()[-1]
    pipe.zadd(holders, {word: now}).zadd(turns, {word: turn}).zrank(turns, word)
    if pipe.execute()[-1] < limit:
        return word
    pipe.zrem(holders, word).zrem(turns, word)
    assert pipe.execute() == [1, 1]
    return None


def test_a_fair_semaphore_counts_and_times_out(client):
    def acquire(now):
        return acquire_fair_in_transactions(client, "semaphore", 3, 10, now)

    first = [acquire(100 + i) for i in range(3)]
    assert all(first) and acquire(104) is None
    client.pipeline().zrem("semaphore:holders", first[1]).zrem("semaphore:turns",
                                                              first[1]).execute()
    assert acquire(105) and acquire(106) is None
    assert acquire(111) and acquire(111.5) is None  # the first holder's time is over
    assert client.zcard("semaphore:holders") == client.zcard("semaphore:turns") == 3
    assert int(client.get("semaphore:counter")) == 8


def contend_for_semaphore(_line, clock, port, inside, limit):
    client, count = connect(port), 0
    acquire = client.register_script(ACQUIRE_FAIR)
    keys = ["gate:holders", "gate:turns", "gate:counter"]
    while clock.running():
        word = uuid.uuid4().hex
        if not acquire(keys=keys, args=[limit, word, time.time(), 60]):
            continue
        with inside.get_lock():
            inside.value += 1
            assert inside.value <= limit, f"{inside.value} are inside"
        time.sleep(random.random() * 0.003)
        with inside.get_lock():
            inside.value -= 1
        pipe = client.pipeline().zrem(keys[0], word).zrem(keys[1], word)
        assert pipe.execute() == [1, 1]
        count += 1
    return count


def test_a_semaphore_lets_no_more_than_its_limit_in(server):
    inside = FORK.Value("q", 0)
    counts = run_all(server.port,
                     [(contend_for_semaphore, server.port, inside, 3)] * 5, SECONDS)
    assert sum(counts) > 30 and inside.value == 0
    assert server.client().exists("gate:holders", "gate:turns") == 0


# Leaderboards.

def around(client, board, player, reach):
    """The players ranked beside one, from the best."""
    rank = client.zrevrank(board, player)
    return client.zrevrange(board, max(0, rank - reach), rank + reach, withscores=True)


def test_a_leaderboard_ranks_and_breaks_ties_by_name(client):
    board = "board"
    client.zadd(board, {f"player:{i:03d}": i * 10 for i in range(100)})
    assert client.zrevrange(board, 0, 2, withscores=True) == [
        (b"player:099", 990), (b"player:098", 980), (b"player:097", 970)]
    assert client.zincrby(board, 1000, "player:050") == 1500
    assert client.zrevrank(board, "player:050") == 0 and client.zrank(board, "player:050") == 99
    assert client.zadd(board, {"player:050": 980}) == 0
    assert [name for name, _ in around(client, board, "player:050", 1)] == [
        b"player:098", b"player:050", b"player:097"]
    assert client.zadd(board, {"player:098": 5}, gt=True, ch=True) == 0
    assert client.zcount(board, 970, "+inf") == 4
    assert around(client, board, "player:099", 1) == [(b"player:099", 990), (b"player:098", 980)]
    assert client.zrevrank(board, "nobody") is None


def score_points(line, clock, number):
    count = 0
    while clock.running():
        points = [(random.randrange(20), random.randrange(1, 9)) for _ in range(10)]
        line.run(*[request for player, n in points for request in (
            ("MULTI",), ("ZINCRBY", "day", n, player), ("ZINCRBY", "week", n, player),
            ("HINCRBY", f"player:{player}", "points", n), ("EXEC",))])
        count += sum(n for _, n in points)
    return count


def compare_boards(line, clock):
    count = 0
    while clock.running():
        line.run(("MULTI",), ("ZREVRANGE", "day", 0, -1, "WITHSCORES"),
                 ("ZREVRANGE", "week", 0, -1, "WITHSCORES"))
        day, week = line.call("EXEC")
        assert day == week
        scores = [int(score) for score in day[1::2]]
        assert scores == sorted(scores, reverse=True)
        count += 1
    return count


def test_leaderboards_changed_together_agree_at_any_moment(server):
    results = run_all(server.port, [(score_points, 0), (score_points, 1), (compare_boards,)],
                      SECONDS)
    client = server.client()
    assert min(results) > 10
    for board in ("day", "week"):
        assert sum(score for _, score in client.zrange(board, 0, -1, withscores=True)) == \
            sum(results[:2])
    assert sum(int(client.hget(f"player:{i}", "points") or 0) for i in range(20)) == \
        sum(results[:2])


# WATCH.

def count_by_watch(_line, clock, port):
    client, count = connect(port), 0

    def increment(pipe):
        value = int(pipe.get("counter") or 0)
        pipe.multi()
        pipe.set("counter", value + 1)

    while clock.running():
        client.transaction(increment, "counter")
        count += 1
    return count


def test_a_counter_by_watch_loses_nothing(server):
    counts = run_all(server.port, [(count_by_watch, server.port)] * 4, SECONDS)
    assert int(server.client().get("counter")) == sum(counts) > 20


def list_item(client, seller, item, price):
    """Offers an item on the market, if the seller still has it ("Redis in Action", 4.4)."""
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch(f"inventory:{seller}")
                if not pipe.sismember(f"inventory:{seller}", item):
                    pipe.unwatch()
                    return False
                pipe.multi()
                pipe.zadd("market", {f"{item}.{seller}": price})
                pipe.srem(f"inventory:{seller}", item)
                pipe.execute()
                return True
            except redis.WatchError:
                continue


def buy_item(client, buyer, item, seller, price):
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch("market", f"user:{buyer}")
                offered = pipe.zscore("market", f"{item}.{seller}")
                funds = int(pipe.hget(f"user:{buyer}", "funds"))
                if offered != price or funds < price:
                    pipe.unwatch()
                    return False
                pipe.multi()
                pipe.hincrby(f"user:{seller}", "funds", price)
                pipe.hincrby(f"user:{buyer}", "funds", -price)
                pipe.sadd(f"inventory:{buyer}", item)
                pipe.zrem("market", f"{item}.{seller}")
                pipe.execute()
                return True
            except redis.WatchError:
                continue


def trade(_line, clock, port, users):
    client, trades = connect(port), 0
    while clock.running():
        me = random.choice(users)
        owned = client.srandmember(f"inventory:{me}")
        if owned and random.random() < 0.6:
            list_item(client, me, owned.decode(), random.randrange(1, 30))
            continue
        offers = client.zrange("market", 0, -1, withscores=True)
        if offers:
            offer, price = random.choice(offers)
            item, seller = offer.decode().split(".")
            trades += seller != me and buy_item(client, me, item, seller, int(price))
    return trades


def test_a_market_by_watch_loses_neither_goods_nor_money(server):
    users, client = [f"u{i}" for i in range(6)], server.client()
    for user in users:
        client.hset(f"user:{user}", "funds", 200)
        client.sadd(f"inventory:{user}", *[f"item-{user}-{i}" for i in range(5)])
    trades = run_all(server.port, [(trade, server.port, users)] * 4, SECONDS)
    assert sum(trades) > 10
    funds = [int(client.hget(f"user:{user}", "funds")) for user in users]
    assert sum(funds) == 200 * len(users) and min(funds) >= 0
    items = [i.decode() for user in users for i in client.smembers(f"inventory:{user}")]
    items += [offer.decode().split(".")[0] for offer in client.zrange("market", 0, -1)]
    assert sorted(items) == sorted(f"item-{user}-{i}" for user in users for i in range(5))


# A job queue with acknowledgement.

def make_jobs(line, clock, made):
    count = 0
    while clock.running():
        words = [f"job:{count + i}" for i in range(5)]
        line.run(("MULTI",), ("LPUSH", "jobs", *words), ("INCRBY", "jobs:made", 5), ("EXEC",))
        count += 5
        time.sleep(0.002)
    made.value = count
    return count


def work_on_jobs(line, clock, number, mover):
    """Takes jobs to a list of its own; dies now and then with a job in hand."""
    own, done, port = f"processing:{number}", [], line.socket.getpeername()[1]
    connection = type(line)(port)
    while clock.running():
        if mover == "BRPOPLPUSH":
            job = connection.call("BRPOPLPUSH", "jobs", own, "0.05")
        else:
            job = connection.call("BLMOVE", "jobs", own, "RIGHT", "LEFT", "0.05")
        if job is None:
            continue
        if random.random() < 0.05:
            connection.close()
            connection = type(line)(port)
            while connection.call("LMOVE", own, "jobs", "LEFT", "RIGHT") is not None:
                pass
            continue
        # Acknowledged and counted as done in one, or not at all.
        connection.run(("MULTI",), ("LREM", own, 1, job), ("SADD", "jobs:done", job),
                       ("HINCRBY", "jobs:times", job, 1))
        assert connection.call("EXEC")[:2] == [1, 1], f"{job} was done twice"
        done.append(job)
    connection.close()
    return done


def test_a_queue_with_acknowledgement_does_each_job_once(server):
    made = FORK.Value("q", 0)
    results = run_all(server.port, [
        (make_jobs, made), (work_on_jobs, 0, "BRPOPLPUSH"), (work_on_jobs, 1, "BLMOVE"),
        (work_on_jobs, 2, "BLMOVE")], SECONDS)
    client = server.client()
    done = [job for jobs in results[1:] for job in jobs]
    left = client.lrange("jobs", 0, -1)
    assert len(done) > 50 and int(client.get("jobs:made")) == made.value
    assert len(done) + len(left) == len(set(done) | set(left)) == made.value
    assert client.scard("jobs:done") == len(done)
    assert set(client.hvals("jobs:times")) == {b"1"}
    assert client.exists(*[f"processing:{i}" for i in range(3)]) == 0
