"""Keys, databases and what spans them."""

import random

import pytest
import redis


@pytest.fixture
def pair_of_keys(client):
    """Pairs that meet every combination of shards before long."""
    rng = random.Random(1)
    return [(f"from:{rng.random()}", f"to:{rng.random()}") for _ in range(60)]


def test_rename_moves_between_shards(client, pair_of_keys):
    for source, target in pair_of_keys:
        client.set(source, source, ex=1000)
        client.set(target, "overwritten")
        assert client.rename(source, target)
        assert client.get(target) == source.encode()
        assert client.exists(source) == 0
        assert 990 <= client.ttl(target) <= 1000
    assert client.dbsize() == len(pair_of_keys)
    with pytest.raises(redis.ResponseError, match="no such key"):
        client.rename("nokey", "other")


def test_renamenx_does_not_overwrite(client, pair_of_keys):
    for source, target in pair_of_keys:
        client.set(source, "1")
        assert client.renamenx(source, target)
        client.set(source, "2")
        assert not client.renamenx(source, target)
        assert client.mget(source, target) == [b"2", b"1"]


def test_copy_copies_value_and_expiry(client, pair_of_keys):
    for source, target in pair_of_keys:
        client.set(source, source, ex=1000)
        assert client.copy(source, target)
        assert not client.copy(source, target)
        client.append(source, "!")
        assert client.get(target) == source.encode()
        assert 990 <= client.ttl(target) <= 1000
        assert client.copy(source, target, replace=True)
        assert client.get(target) == source.encode() + b"!"
        assert client.copy(source, target, destination_db=3)
    assert client.dbsize() == 2 * len(pair_of_keys)


def test_a_key_renamed_to_itself_stays(client):
    client.set("same", "v")
    assert client.rename("same", "same")
    assert not client.renamenx("same", "same")
    assert client.get("same") == b"v"


def test_keys_finds_on_all_shards(client):
    client.mset({f"user:{i}": i for i in range(500)})
    client.mset({f"item:{i}": i for i in range(500)})
    assert sorted(client.keys("user:*")) == sorted(b"user:%d" % i for i in range(500))
    assert len(client.keys("*:1?")) == 20
    assert client.keys("nothing*") == []
    assert len(client.keys()) == 1000


def test_databases_are_apart(server):
    zero, nine = server.client(db=0), server.client(db=9)
    zero.mset({f"k{i}": "zero" for i in range(100)})
    nine.mset({f"k{i}": "nine" for i in range(50)})
    assert (zero.dbsize(), nine.dbsize()) == (100, 50)
    assert zero.get("k1") == b"zero" and nine.get("k1") == b"nine"
    assert nine.flushdb()
    assert (zero.dbsize(), nine.dbsize()) == (100, 0)
    assert zero.move("k1", 9)
    assert not zero.move("k1", 9)
    assert nine.get("k1") == b"zero" and zero.get("k1") is None
    assert nine.flushall()
    assert zero.dbsize() == 0


def test_swapdb_swaps_for_all_connections(server):
    zero, one = server.client(db=0), server.client(db=1)
    zero.mset({f"k{i}": "zero" for i in range(100)})
    one.set("k0", "one")
    assert zero.swapdb(0, 1)
    assert zero.get("k0") == b"one" and zero.dbsize() == 1
    assert one.get("k0") == b"zero" and one.dbsize() == 100


def test_select_refuses_what_is_none(raw):
    assert raw.call("SELECT", "16") == "ERR DB index is out of range"
    assert raw.call("SELECT", "-1") == "ERR DB index is out of range"
    assert raw.call("SELECT", "x") == "ERR value is not an integer or out of range"
    assert raw.call("SELECT", "15") == "OK"


def test_randomkey_comes_from_all_of_them(client):
    assert client.randomkey() is None
    keys = {b"random:%d" % i for i in range(40)}
    client.mset({key: 1 for key in keys})
    seen = {client.randomkey() for _ in range(2000)}
    assert seen <= keys
    assert len(seen) > 30


def test_type_and_encoding(client):
    client.mset({"int": 12, "short": "abc", "long": "x" * 45})
    assert client.type("int") == b"string" and client.type("nokey") == b"none"
    assert client.object("ENCODING", "int") == b"int"
    assert client.object("ENCODING", "short") == b"embstr"
    assert client.object("ENCODING", "long") == b"raw"


def test_dbsize_stays_true_under_random_changes(client):
    rng = random.Random(7)
    model = {}
    pool = [f"model:{i}" for i in range(200)]
    for _ in range(3000):
        key = rng.choice(pool)
        what = rng.randrange(4)
        if what == 0:
            value = str(rng.random()).encode()
            client.set(key, value)
            model[key] = value
        elif what == 1:
            assert client.delete(key) == (model.pop(key, None) is not None)
        elif what == 2:
            assert client.get(key) == model.get(key)
        elif key in model:
            target = rng.choice(pool)
            client.rename(key, target)
            value = model.pop(key)
            model[target] = value
    assert client.dbsize() == len(model)
    assert client.mget(pool) == [model.get(key) for key in pool]
