"""The command table: all of Redis 7.2's commands are there, as Redis describes them, and each is
exercised by a test."""

import ast
import functools
import os
import re
import sys

import pytest

import harness

sys.path.insert(0, os.path.join(harness.ROOT, "test", "compare"))

import compare  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(harness.ROOT, "test", "compare", "cases")
OWN = {"hotkeys", "hotkeys|get", "hotkeys|help", "hotkeys|reset", "hotkeys|start", "hotkeys|stop"}

FIELDS = ("name", "arity", "flags", "first key", "last key", "key step", "categories", "tips",
          "key specs")
NODES = {"request_policy:all_nodes", "response_policy:all_succeeded"}
# Where 7.2 differs from the reference, which is 7.0: what 7.2 says.
LATER = {
    "acl|deluser": {"tips": NODES},
    "acl|save": {"tips": NODES},
    "acl|setuser": {"tips": NODES},
    "blmove": {"flags": {"write", "denyoom", "blocking"}},
    "blpop": {"flags": {"write", "blocking"}},
    "brpop": {"flags": {"write", "blocking"}},
    "brpoplpush": {"flags": {"write", "denyoom", "blocking"}},
    "bzpopmax": {"flags": {"write", "fast", "blocking"}},
    "bzpopmin": {"flags": {"write", "fast", "blocking"}},
    "client|setname": {"tips": NODES},
    "cluster|shards": {"flags": {"loading", "stale"}},
    "cluster|slots": {"flags": {"loading", "stale"}},
    "command|getkeys": {"arity": -3},
    "command|getkeysandflags": {"arity": -3},
    "config|resetstat": {"tips": NODES},
    "config|rewrite": {"tips": NODES},
    "latency|reset": {"tips": {"request_policy:all_nodes", "response_policy:agg_sum"}},
    "msetnx": {"tips": set()},
    "randomkey": {"tips": {"request_policy:all_shards", "response_policy:special",
                           "nondeterministic_output"}},
    "scan": {"tips": {"nondeterministic_output", "request_policy:special",
                      "response_policy:special"}},
    "wait": {"flags": set()},
    "zrank": {"arity": -3},
    "zrevrank": {"arity": -3},
}


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def read_list():
    """The names of commands.txt."""
    names = set()
    with open(os.path.join(HERE, "commands.txt"), encoding="utf-8") as f:
        for line in f:
            if not line.startswith("#") and ":" in line:
                names |= set(line.split(":", 1)[1].lower().split())
    return names


def read_rows(server):
    """COMMAND's rows by name, subcommands among them; what has no order is a set."""
    rows = {}
    with server.raw() as raw:
        todo = raw.call("COMMAND")
    while todo:
        row = [text(value) for value in todo.pop()]
        todo += row[9]
        for i in (2, 6, 7):
            row[i] = {text(word) for word in row[i]}
        row[8] = [dict(zip(spec[::2], spec[1::2])) for spec in row[8]]
        for spec in row[8]:
            spec[b"flags"] = {text(word) for word in spec[b"flags"]}
        rows[row[0]] = dict(zip(FIELDS, row))
    return rows


@pytest.fixture(scope="module")
def reference():
    redis = compare.start_reference()
    yield redis
    redis.stop()
    redis.destroy()


def test_the_table_has_the_commands_of_the_list_and_no_others(server):
    names = set(read_rows(server))
    assert names - read_list() == OWN
    assert read_list() - names == set()


def test_rows_are_those_of_redis(server, reference):
    ours, theirs = read_rows(server), read_rows(reference)
    wrong = []
    for name, row in sorted(theirs.items()):
        due = row | LATER.get(name, {})
        wrong += [(name, field, ours[name][field], due[field])
                  for field in FIELDS if ours[name][field] != due[field]]
    assert not wrong


def test_every_difference_of_7_2_is_one(server, reference):
    theirs = read_rows(reference)
    assert not [name for name, fields in LATER.items()
                if all(theirs[name][field] == value for field, value in fields.items())]


def keys_and_flags(raw, words):
    """An error is the set of its text."""
    reply = raw.call("COMMAND", "GETKEYSANDFLAGS", *words)
    if isinstance(reply, harness.ReplyError):
        return {reply.text}
    return {(key, frozenset(map(text, flags))) for key, flags in reply}


@functools.lru_cache
def requests_of_cases():
    """The requests of the comparison cases."""
    return [case.words for name in sorted(os.listdir(CASES))
            for case in compare.read_cases(os.path.join(CASES, name))]


# Of requests that fit no specification each server has its own way to be wrong, and 7.0 does not
# know all commands. (Of two places to store in, GEORADIUS takes the last.)
NOT_COMPARED = {"ERR Invalid arguments specified for command", "ERR Invalid command specified"}


def test_keys_and_their_flags_are_those_of_redis(server, reference):
    """Of requests as the comparison cases make them: a few of each command and length."""
    seen, wrong = {}, []
    known = set(read_rows(reference)) - set(LATER)
    with server.raw() as ours, reference.raw() as theirs:
        for words in requests_of_cases():
            kind = words[0].decode("latin-1").lower() if words else "", len(words)
            seen[kind] = seen.get(kind, 0) + 1
            if kind[0] not in known or len(words) < 2 or seen[kind] > 3:
                continue
            got, due = keys_and_flags(ours, words), keys_and_flags(theirs, words)
            both_stores = {b"STORE", b"STOREDIST"} <= set(words)
            if got != due and not (got | due) & NOT_COMPARED and not both_stores:
                wrong.append((words, got, due))
    assert not wrong


def pairs(words):
    return {text(key): value for key, value in zip(words[::2], words[1::2])}


def read_docs(server):
    """COMMAND DOCS by name, subcommands among them."""
    docs = {}
    with server.raw() as raw:
        todo = [pairs(raw.call("COMMAND", "DOCS"))]
    while todo:
        for name, doc in todo.pop().items():
            docs[name] = pairs(doc)
            if "subcommands" in docs[name]:
                todo.append(pairs(docs[name]["subcommands"]))
    return docs


def versions_of_arguments(arguments):
    """Of those that came later than their command: by their tokens or names."""
    found = set()
    for argument in map(pairs, arguments):
        if "since" in argument:
            word = argument.get("token", argument["name"])
            found.add((text(word).lower(), text(argument["since"])))
        found |= versions_of_arguments(argument.get("arguments", []))
    return found


# What 7.2 calls otherwise.
RENAMED = {("bitcount", "index_unit"): "unit", ("bitpos", "index_unit"): "unit",
           ("cluster|meet", "cluster_bus_port"): "cluster-bus-port",
           ("script|flush", "async"): "flush-type"}


def later_than_the_reference(version):
    return tuple(map(int, version.split("."))) > (7, 0, 15)


def test_the_history_of_commands_and_arguments_is_redis_own(server, reference):
    ours, theirs = read_docs(server), read_docs(reference)
    wrong = []
    for name, doc in sorted(theirs.items()):
        due = [text(version) for version, _ in doc.get("history", [])]
        got = [text(version) for version, _ in ours[name].get("history", [])]
        if [v for v in got if not later_than_the_reference(v)] != due:
            wrong.append((name, got, due))
        due = {(RENAMED.get((name, word), word), version)
               for word, version in versions_of_arguments(doc.get("arguments", []))}
        got = {(word, version) for word, version in
               versions_of_arguments(ours[name].get("arguments", []))
               if not later_than_the_reference(version)}
        if got != due:
            wrong.append((name, got, due))
    assert not wrong


# What exercises a command: a line of a case file that is a request of it, or a call in a test.

def names_in_words(words):
    """The command of a request, and the subcommand that it may be."""
    words = [word.decode("latin-1").lower() for word in words[:2]]
    return {words[0], "|".join(words)} if words else set()


CALLERS = {"call", "execute_command", "encode"}


def constant_words(arguments):
    words = []
    for argument in arguments:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, (str, bytes)):
            break
        value = argument.value
        words += (value if isinstance(value, bytes) else value.encode()).split(b" ")
    return words


def names_in_call(call):
    """Of x.call("SET", ...), x.execute_command("CLIENT LIST"), encode("SET", ...), and of
    parametrize("words", ["CLIENT HELP", ...])."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name == "parametrize" and isinstance(call.args[1], ast.List):
        return set().union(*(names_in_words(constant_words([e])) for e in call.args[1].elts))
    return names_in_words(constant_words(call.args)) if name in CALLERS else set()


def names_in_scripts(source):
    """redis.call('SET', ...) within the text of a script."""
    return set(map(str.lower, re.findall(r"redis\.p?call\(['\"](\w+)['\"]", source)))


def exercised():
    names = set()
    for words in requests_of_cases():
        names |= names_in_words(words)
    for file in sorted(os.listdir(HERE)):
        if not file.startswith("test_") or not file.endswith(".py") or \
                file == os.path.basename(__file__):
            continue
        with open(os.path.join(HERE, file), encoding="utf-8") as f:
            source = f.read()
        names |= names_in_scripts(source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                names |= names_in_call(node)
    return names


def test_every_command_is_exercised_by_a_test(server):
    assert sorted(set(read_rows(server)) - exercised()) == []
