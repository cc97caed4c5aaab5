"""maxmemory: the limit is kept under each policy, by whoever writes and wherever the keys lie; what
cannot be kept within it is refused in Redis's words; what was evicted is told and journaled."""

import random
import threading
import time

import pytest

import harness
from harness import ReplyError

OOM = "OOM command not allowed when used memory > 'maxmemory'."
ALLKEYS = ["allkeys-lru", "allkeys-lfu", "allkeys-random"]
VOLATILE = ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"]
MB = 1 << 20


def info(raw, field):
    text = raw.call("INFO").decode()
    return text.split(f"\n{field}:")[1].split("\r")[0]


def used(raw):
    return int(info(raw, "used_memory"))


def limit(raw, policy, more):
    """Lets the server take `more` bytes beyond what it uses now; returns the limit."""
    raw.call("CONFIG", "SET", "maxmemory-policy", policy)
    bytes_max = used(raw) + more
    assert raw.call("CONFIG", "SET", "maxmemory", bytes_max) == "OK"
    return bytes_max


@pytest.fixture(autouse=True)
def no_limit(server):
    yield
    with server.raw() as r:
        r.call("CONFIG", "SET", "maxmemory", 0)
        r.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        r.call("FLUSHALL")


def fill(raw, count, *options, size=200, name="key"):
    """SETs, a pipeline at a time; returns the errors."""
    errors = []
    for start in range(0, count, 100):
        for i in range(start, start + 100):
            raw.send(harness.encode("SET", f"{name}:{i}", "v" * size, *options))
        errors += [x for x in (raw.read_reply() for _ in range(100)) if x != "OK"]
    return errors


def used_after_writes(raw):
    """What is used right after two SETs that INFO comes with: the buffers of this connection, which
    INFO's reply needs, are there when room is made for the second."""
    write = harness.encode("SET", "key:0", "v", "EX", 10000)
    raw.send(write * 2 + harness.encode("INFO", "memory"))
    assert [raw.read_reply(), raw.read_reply()] == ["OK", "OK"]
    return int(raw.read_reply().decode().split("\nused_memory:")[1].split("\r")[0])


@pytest.mark.parametrize("policy", ALLKEYS + VOLATILE)
def test_the_limit_is_kept(raw, policy):
    bytes_max = limit(raw, policy, MB)
    assert fill(raw, 8000, "EX", 10000) == []
    assert used_after_writes(raw) < bytes_max + 32768
    assert int(info(raw, "evicted_keys")) > 1000
    assert 2000 < raw.call("DBSIZE") < 7000


@pytest.mark.parametrize("policy", VOLATILE)
def test_volatile_policies_leave_other_keys_alone_and_refuse_when_these_are_all(raw, policy):
    limit(raw, policy, MB)
    assert fill(raw, 1500, name="stays") == []
    assert fill(raw, 4000, "EX", 10000, name="goes") == []
    assert raw.call("EXISTS", *(f"stays:{i}" for i in range(1500))) == 1500
    errors = fill(raw, 4000, name="more")
    assert errors and set(errors) == {OOM}
    assert not raw.call("KEYS", "goes:*")


def test_without_a_policy_what_takes_memory_is_refused_and_the_rest_is_not(raw):
    raw.call("SET", "key", "value")
    limit(raw, "noeviction", 0)
    assert set(fill(raw, 2000)[100:]) == {OOM}
    for command in ("SET key x", "APPEND key x", "LPUSH list x", "MSET a b c d", "HSET h f v"):
        assert raw.call(*command.split()) == OOM
    assert raw.call("GET", "key") == b"value"
    assert raw.call("EXPIRE", "key", "1000") == 1
    assert raw.call("DEL", "key") == 1
    assert int(info(raw, "evicted_keys")) >= 0
    assert int(info(raw, "current_eviction_exceeded_time")) >= 0
    assert "errorstat_OOM" in raw.call("INFO", "errorstats").decode()
    raw.call("CONFIG", "SET", "maxmemory", 0)
    assert raw.call("SET", "key", "x") == "OK"


def test_transactions_are_refused_when_queued_and_when_run(server, raw):
    raw.call("SET", "counter", 1)
    raw.call("MULTI")
    assert raw.call("SET", "a", "b") == "QUEUED"
    with server.raw() as other:
        limit(other, "noeviction", 0)
        fill(other, 1000)
    assert raw.call("PING") == OOM
    assert raw.call("EXEC") == f"EXECABORT Transaction discarded because of: {OOM}"
    with server.raw() as other:
        other.call("CONFIG", "SET", "maxmemory", 0)
        raw.call("MULTI")
        assert raw.call("SET", "a", "b") == "QUEUED"
        limit(other, "noeviction", 0)
        fill(other, 1000)
    assert raw.call("EXEC") == f"EXECABORT Transaction discarded because of: {OOM}"
    assert raw.call("EXISTS", "a") == 0
    raw.call("CONFIG", "SET", "maxmemory", 0)


def test_scripts_and_functions(raw):
    raw.call("SET", "key", "value")
    load = ("#!lua name=lib\n"
            "redis.register_function('%s', function(k) redis.call('set', k[1], 'f') end)")
    allowed = ("#!lua name=lib2\nredis.register_function{function_name='may', callback=function(k) "
               "return redis.call('set', k[1], 'f') end, flags={'allow-oom'}}")
    raw.call("FUNCTION", "LOAD", "REPLACE", load % "may_not")
    raw.call("FUNCTION", "LOAD", "REPLACE", allowed)
    fill(raw, 1000)
    limit(raw, "noeviction", -100000)  # buffers come and go
    write = "return redis.call('set', KEYS[1], 'x')"
    raw.call("CONFIG", "RESETSTAT")
    error = raw.call("EVAL", write, 1, "key")
    assert b"errorstat_OOM:count=1\r\n" in raw.call("INFO", "errorstats")
    assert error.text.startswith(f"{OOM} script: ") and error.text.endswith("on @user_script:1.")
    assert raw.call("EVAL", "return redis.call('get', KEYS[1])", 1, "key") == b"value"
    assert raw.call("EVAL", "redis.call('del', KEYS[1]) " + write, 1, "key") == "OK"
    assert raw.call("EVAL", "#!lua\n" + write, 1, "key") == OOM
    assert raw.call("EVAL", "#!lua flags=allow-oom\n" + write, 1, "key") == "OK"
    get = "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])"
    assert raw.call("EVAL", get, 1, "key") == b"x"
    assert raw.call("FCALL", "may_not", 1, "key") == OOM
    assert raw.call("FCALL", "may", 1, "key") == "OK"
    assert raw.call("FUNCTION", "LOAD", "REPLACE", load % "other") == OOM
    raw.call("CONFIG", "SET", "maxmemory", 0)
    raw.call("FUNCTION", "FLUSH")


def test_a_lower_limit_is_reached_without_any_command(raw):
    fill(raw, 10000, size=300)
    bytes_max = limit(raw, "allkeys-lru", -MB)
    deadline = time.monotonic() + 10
    while used(raw) > bytes_max + 32768:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert 2000 < raw.call("DBSIZE") < 9000


def test_a_limit_that_is_lifted_in_the_middle_of_evicting_leaves_nothing_behind(fresh_server):
    """Nor a core that hurries on, and never comes to rest nor to its end."""
    server = fresh_server()
    with server.raw() as r:
        r.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        fill(r, 20000)
        for share in (0.9, 0.8, 0.7, 0.6):
            for bytes_max in (int(used(r) * share), 0):
                r.send(harness.encode("CONFIG", "SET", "maxmemory", bytes_max))
            assert [r.read_reply(), r.read_reply()] == ["OK", "OK"]
        assert r.call("DBSIZE") > 2000
    server.stop()


def test_cold_keys_of_other_shards_go_before_hot_ones(raw):
    """All writes go to one shard; the keys that nobody uses lie on all of them."""
    fill(raw, 4000, name="cold")
    time.sleep(1.3)
    limit(raw, "allkeys-lru", MB // 2)
    assert fill(raw, 4000, name="{hot}") == []
    cold = raw.call("EXISTS", *(f"cold:{i}" for i in range(4000)))
    hot = raw.call("EXISTS", *(f"{{hot}}:{i}" for i in range(4000)))
    assert hot > 3600 and cold < 3600, (hot, cold)


def test_nothing_is_evicted_nor_refused_while_clients_are_paused(server, raw):
    fill(raw, 5000)
    raw.call("CONFIG", "RESETSTAT")
    with server.raw() as other:
        other.call("CLIENT", "PAUSE", "1000", "WRITE")
        raw.send(harness.encode("SET", "late", "x"))
        limit(other, "allkeys-lru", -MB // 2)
        time.sleep(0.3)
        assert other.call("DBSIZE") == 5000
        other.call("CLIENT", "UNPAUSE")
    assert raw.read_reply() == "OK"
    deadline = time.monotonic() + 10
    while int(info(raw, "evicted_keys")) < 100:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_evictions_are_notified_and_invalidate(server, raw):
    raw.call("CONFIG", "SET", "notify-keyspace-events", "Ee")
    fill(raw, 2000)
    with server.raw() as listener, server.raw() as cache:
        cache.call("HELLO", "3")
        cache.call("CLIENT", "TRACKING", "ON")
        cache.call("GET", "key:7")
        listener.call("SUBSCRIBE", "__keyevent@0__:evicted")
        raw.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        raw.call("CONFIG", "SET", "maxmemory", 1)
        keys = {listener.read_reply()[2].decode() for _ in range(2000)}
        assert keys == {f"key:{i}" for i in range(2000)}
        assert cache.read_reply() == [b"invalidate", [b"key:7"]]
    raw.call("CONFIG", "SET", "notify-keyspace-events", "")


def test_watched_keys_that_are_evicted_break_the_transaction(server, raw):
    raw.call("SET", "key", "value")
    raw.call("WATCH", "key")
    with server.raw() as other:
        other.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        other.call("CONFIG", "SET", "maxmemory", 1)
        while other.call("EXISTS", "key"):
            time.sleep(0.01)
        other.call("CONFIG", "SET", "maxmemory", 0)
    raw.call("MULTI")
    raw.call("SET", "key", "other")
    assert raw.call("EXEC") is None


def writer(server, seed, stop, errors, share=0.8):
    """`share` of the keys are in one shard."""
    chance = random.Random(seed)
    with server.raw(timeout=5) as r:
        while not stop.is_set():
            for _ in range(50):
                tag = "{one}" if chance.random() < share else ""
                key = f"{tag}key:{chance.randrange(100000)}"
                r.send(harness.encode("SET", key, "v" * chance.choice([50, 300, 3000])))
            errors += [x for x in (r.read_reply() for _ in range(50)) if x != "OK"]
            tag = "{one}" if share == 1 else ""
            r.send(harness.encode("MSET", *(x for i in range(20) for x in
                                            (f"{tag}m:{chance.randrange(10000)}", "w" * 500))))
            errors += [x for x in [r.read_reply()] if x != "OK"]


def test_the_limit_is_kept_while_several_clients_write_mostly_to_one_shard():
    server = harness.Server("--shards", "8")
    try:
        with server.raw() as r:
            bytes_max = limit(r, "allkeys-lru", 8 * MB)
            stop, errors, over = threading.Event(), [], []
            threads = [threading.Thread(target=writer, args=(server, n, stop, errors))
                       for n in range(3)]
            for t in threads:
                t.start()
            end = time.monotonic() + 1.2
            while time.monotonic() < end:
                over.append(used(r) - bytes_max)
            stop.set()
            for t in threads:
                t.join()
            assert errors == []
            assert int(info(r, "evicted_keys")) > 1000
            # ... and a segment of a table a shard, which is much at so low a limit.
            assert max(over) < bytes_max * 0.02 + 8 * 16 * 1024, max(over)
    finally:
        server.destroy()


def change_settings(server, stop, replies):
    with server.raw(timeout=5) as r:
        while not stop.is_set():
            replies.append(r.call("CONFIG", "SET", "maxmemory-samples", 1 + len(replies) % 10))


def test_whoever_waits_for_others_to_evict_does_not_wait_for_those_that_wait_for_it():
    """All memory is in one shard, while all are made to stand still over and over."""
    server = harness.Server("--shards", "4", "--maxmemory-eviction-tenacity", "100")
    try:
        with server.raw() as r:
            limit(r, "allkeys-lru", MB)
            stop, errors, replies, ended = threading.Event(), [], [], []

            def run(work, *args):
                work(server, *args)
                ended.append(work)

            threads = [threading.Thread(target=run, args=(writer, n, stop, errors, 1))
                       for n in range(3)]
            threads.append(threading.Thread(target=run, args=(change_settings, stop, replies)))
            for t in threads:
                t.start()
            time.sleep(0.6)
            stop.set()
            for t in threads:
                t.join()
            assert len(ended) == len(threads), "no reply within 5 s"
            assert errors == [] and set(replies) == {"OK"}
    finally:
        server.destroy()


def test_what_was_evicted_is_journaled():
    server = harness.Server("--appendonly", "yes", "--appendfsync", "no")
    try:
        with server.raw() as r:
            r.call("CONFIG", "SET", "lazyfree-lazy-eviction", "no")
            limit(r, "allkeys-random", MB)
            fill(r, 8000)
            r.call("CONFIG", "SET", "maxmemory", 0)
            before = r.call("DEBUG", "DIGEST"), r.call("DBSIZE")
            assert before[1] < 7000
            r.call("DEBUG", "LOADAOF")
            assert (r.call("DEBUG", "DIGEST"), r.call("DBSIZE")) == before
    finally:
        server.destroy()


def test_a_load_beyond_the_limit_evicts_nothing_until_it_has_ended():
    server = harness.Server("--save", "")
    try:
        with server.raw() as r:
            fill(r, 5000)
            r.call("SAVE")
            bytes_max = used(r) // 2
        server.restart("--maxmemory", str(bytes_max), "--maxmemory-policy", "allkeys-lru")
        with server.raw() as r:
            assert int(info(r, "rdb_last_load_keys_loaded")) == 5000
            deadline = time.monotonic() + 10
            while used(r) > bytes_max + 32768:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert int(info(r, "evicted_keys")) > 1000
    finally:
        server.destroy()
