"""Users: what they may do, wherever the command runs; what becomes of sessions when users change;
where users are kept."""

import hashlib
import os
import stat
import subprocess
import threading
import time

import pytest

from harness import BINARY, SHARDS, Closed, ReplyError, Server, encode

NO_KEY = "NOPERM No permissions to access a key"
NO_CHANNEL = "NOPERM No permissions to access a channel"
REVOKED = ("NOPERM ACLs rules changed between the moment the transaction was accumulated and the "
           "EXEC call. This command is no longer allowed for the following reason: ")


def no_command(user, name):
    return f"NOPERM User {user} has no permissions to run the '{name}' command"


@pytest.fixture
def admin(server):
    """A session that may do everything; the users of the test are gone behind it."""
    with server.raw() as r:
        r.call("ACL", "LOG", "RESET")
        yield r
    with server.raw() as r:
        r.call("CONFIG", "SET", "requirepass", "")
        for name in r.call("ACL", "USERS"):
            if name != b"default":
                r.call("ACL", "DELUSER", name)


def login(server, name, password="pw"):
    r = server.raw()
    assert r.call("AUTH", name, password) == "OK"
    return r


def keys_everywhere(prefix):
    """Keys on all shards, most likely."""
    return [f"{prefix}{i}" for i in range(8 * SHARDS)]


def entries(raw):
    fields = [dict(zip(e[::2], e[1::2])) if isinstance(e, list) else e
              for e in raw.call("ACL", "LOG")]
    return [{k.decode(): v.decode() if isinstance(v, bytes) else v for k, v in e.items()}
            for e in fields]


# ---- Requests ----

def test_a_pipeline_of_a_user_with_limits_is_answered_in_order(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~a*", "%R~r*", "+@all", "-flushall")
    with login(server, "lim") as r:
        wanted = []
        for i, key in enumerate(keys_everywhere("a") * 20):
            r.send(encode("SET", key, i) + encode("GET", "x" + key) + encode("GET", key))
            wanted += ["OK", ReplyError(NO_KEY), str(i).encode()]
        r.send(encode("SET", "r", 1) + encode("GET", "r") + encode("FLUSHALL"))
        wanted += [ReplyError(NO_KEY), None, ReplyError(no_command("lim", "flushall"))]
        assert [r.read_reply() for _ in wanted] == wanted


def test_every_key_of_a_command_counts(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~a*", "%R~r*", "%W~w*", "+@all")
    with login(server, "lim") as r:
        assert r.call("MSET", *sum(([k, 1] for k in keys_everywhere("a")), [])) == "OK"
        assert r.call("MSET", "a", 1, "b", 2) == NO_KEY
        assert r.call("COPY", "r", "w") == 0
        assert r.call("COPY", "w", "r") == NO_KEY
        assert r.call("SORT", "r", "STORE", "r2") == NO_KEY
        assert r.call("SORT", "r", "STORE", "w") == 0
        assert r.call("SET", "w", 1, "GET") == NO_KEY
        assert r.call("SET", "w", 1) == "OK"
        assert r.call("EXISTS", "w", "r", "a") == 1
        assert r.call("GEORADIUS", "r", 1, 1, 1, "m", "STORE", "r2") == NO_KEY
        assert r.call("MIGRATE", "127.0.0.1", 1, "", 0, 10, "KEYS", "a", "r") == NO_KEY
        assert r.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "a", "z", ">", ">") == NO_KEY
        assert r.call("EVAL", "return 1", 2, "a", "r") == NO_KEY
        assert r.call("SORT", "a", "BY", "x*") == (
            "ERR BY option of SORT denied due to insufficient ACL permissions.")
        assert r.call("SORT", "a", "GET", "x*") == (
            "ERR GET option of SORT denied due to insufficient ACL permissions.")


def test_auth_within_a_pipeline_decides_for_what_is_behind_it(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~a*", "+get", "+set")
    admin.call("ACL", "SETUSER", "all", "on", ">pw", "~*", "+@all")
    for key in keys_everywhere("z"):
        with login(server, "lim") as r:
            r.send(encode("GET", key) + encode("AUTH", "all", "pw") + encode("SET", key, 1) +
                   encode("AUTH", "lim", "pw") + encode("GET", key) + encode("RESET") +
                   encode("GET", key))
            assert [r.read_reply() for _ in range(7)] == [NO_KEY, "OK", "OK", "OK", NO_KEY,
                                                          "RESET", b"1"]


def test_a_subcommand_and_a_first_argument_are_rights_of_their_own(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "+client|id", "+select|1", "+config",
               "-config|set")
    with login(server, "lim") as r:
        assert isinstance(r.call("CLIENT", "ID"), int)
        assert r.call("CLIENT", "LIST") == no_command("lim", "client|list")
        assert r.call("SELECT", 1) == "OK"
        assert r.call("SELECT", 0) == no_command("lim", "select")
        assert len(r.call("CONFIG", "GET", "port")) == 2
        assert r.call("CONFIG", "SET", "port", 1) == no_command("lim", "config|set")


def test_selectors_do_not_add_up(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "+get", "~a", "(+set ~b)", "(%R~c +mget)")
    with login(server, "lim") as r:
        assert r.call("GET", "a") is None
        assert r.call("SET", "b", 1) == "OK"
        assert r.call("MGET", "c") == [None]
        assert r.call("SET", "a", 1) == NO_KEY
        assert r.call("GET", "b") == NO_KEY
        assert r.call("MGET", "a", "c") == NO_KEY
        assert r.call("DEL", "a") == no_command("lim", "del")


# ---- Channels ----

def test_channels(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "+@pubsub", "resetchannels", "&c*", "&p")
    with login(server, "lim") as r:
        assert r.call("PUBLISH", "c1", "x") == 0
        assert r.call("SPUBLISH", "d", "x") == NO_CHANNEL
        assert r.call("PSUBSCRIBE", "c1") == NO_CHANNEL  # a pattern is compared as it is
        assert r.call("SUBSCRIBE", "c1", "d") == NO_CHANNEL
        assert r.call("PSUBSCRIBE", "c*") == [b"psubscribe", b"c*", 1]
        assert r.call("SSUBSCRIBE", "p") == [b"ssubscribe", b"p", 1]


@pytest.mark.parametrize("command,channel", [("SUBSCRIBE", "c"), ("PSUBSCRIBE", "c*"),
                                             ("SSUBSCRIBE", "c")])
def test_subscribers_end_with_their_right(server, admin, command, channel):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "+@pubsub", "+ping", "resetchannels",
               "&" + channel)
    readers = [login(server, "lim") for _ in range(2 * SHARDS)]
    for r in readers:
        r.call(command, channel)
    assert admin.call("ACL", "SETUSER", "lim", "&other") == "OK"
    for r in readers:
        assert r.call("PING") == [b"pong", b""]
    assert admin.call("ACL", "SETUSER", "lim", "resetchannels", "&other") == "OK"
    for r in readers:
        r.expect_closed()
        r.close()


# ---- Transactions and scripts ----

def test_a_refused_command_spoils_a_transaction(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~a*", "+@all")
    with login(server, "lim") as r:
        r.call("MULTI")
        assert r.call("SET", "a", 1) == "QUEUED"
        assert r.call("SET", "b", 1) == NO_KEY
        assert r.call("EXEC") == "EXECABORT Transaction discarded because of previous errors."
    assert [(e["reason"], e["context"], e["object"]) for e in entries(admin)] == [
        ("key", "multi", "b")]


def test_rights_count_when_a_transaction_runs(server, admin):
    keys = keys_everywhere("a")
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~*", "&*", "+@all")
    with login(server, "lim") as r:
        r.call("MULTI")
        for key in keys:
            r.call("SET", key, 1)
        r.call("SET", "b", 1)
        r.call("PUBLISH", "c", 1)
        admin.call("ACL", "SETUSER", "lim", "resetkeys", "~a*", "-publish")
        assert r.call("EXEC") == ["OK"] * len(keys) + [
            ReplyError(REVOKED + "no permission to touch the specified keys"),
            ReplyError(REVOKED + "no permission to execute the command or subcommand")]
        r.call("MULTI")
        for key in keys:
            r.call("SET", key, 2)
        admin.call("ACL", "SETUSER", "lim", "-exec")
        assert r.call("EXEC").startswith("EXECABORT Transaction discarded because of: NOPERM")
    assert admin.call("GET", "b") is None


def test_a_script_has_its_caller_s_rights(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~a*", "+@all", "-append")
    code = "return redis.pcall(unpack(ARGV))"
    with login(server, "lim") as r:
        for key in keys_everywhere("a"):
            assert r.call("EVAL", code, 0, "SET", key, 1) == "OK"
        for key in keys_everywhere("z"):
            assert r.call("EVAL", code, 0, "SET", key, 1) == (
                "ERR ACL failure in script: No permissions to access a key")
        assert r.call("EVAL", code, 0, "APPEND", "a", 1) == (
            "ERR ACL failure in script: User lim has no permissions to run the 'append' command")
        check = "return redis.acl_check_cmd(unpack(ARGV))"
        assert r.call("EVAL", check, 0, "SET", "a", 1) == 1
        assert r.call("EVAL", check, 0, "SET", "z", 1) is None
        assert r.call("EVAL", check, 0, "APPEND", "a", 1) is None
        admin.call("FUNCTION", "LOAD", "REPLACE", "#!lua name=l\nredis.register_function('f', "
                   "function(k, a) return redis.call(unpack(a)) end)")
        assert r.call("FCALL", "f", 0, "SET", "a", 1) == "OK"
        assert "No permissions to access a key" in r.call("FCALL", "f", 0, "SET", "z", 1).text
    assert {(e["reason"], e["context"]) for e in entries(admin)} == {("key", "lua"),
                                                                    ("command", "lua")}
    admin.call("FUNCTION", "FLUSH")


# ---- Changes ----

def test_a_right_is_gone_for_what_is_on_its_way(server, admin):
    """Sessions on all cores write to keys on all shards; once SETUSER has been answered nothing
    more is written."""
    stop = threading.Event()
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~*", "+@all")

    def write(n):
        with login(server, "lim") as r:
            while not stop.is_set():
                batch = [encode("INCR", f"n{n}:{i}") for i in range(32)]
                r.send(b"".join(batch))
                for _ in batch:
                    r.read_reply()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    names = [f"n{n}:{i}" for n in range(3) for i in range(32)]
    try:
        for _ in range(10):
            time.sleep(0.01)
            assert admin.call("ACL", "SETUSER", "lim", "-incr") == "OK"
            before = admin.call("MGET", *names)
            time.sleep(0.005)
            assert admin.call("MGET", *names) == before
            admin.call("ACL", "SETUSER", "lim", "+incr")
    finally:
        stop.set()
        for t in threads:
            t.join()


def test_who_waits_needs_its_right_when_its_turn_comes(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~*", "+@all")
    for keys in [["q"], keys_everywhere("q")]:
        admin.call("ACL", "SETUSER", "lim", "~*" if keys == ["q"] else "allkeys")
        with login(server, "lim") as r:
            r.send(encode("BLPOP", *keys, 0))
            while b"cmd=blpop" not in admin.call("CLIENT", "LIST"):
                time.sleep(0.005)
            admin.call("ACL", "SETUSER", "lim", "resetkeys")
            assert admin.call("RPUSH", "q" if keys == ["q"] else keys[-1], "x") == 1
            assert r.read_reply() == NO_KEY
        assert admin.call("DEL", "q", keys[-1]) == 1


def test_a_deleted_user_s_sessions_end(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~*", "&*", "+@all")
    sessions = [login(server, "lim") for _ in range(2 * SHARDS + 1)]
    sessions[0].send(encode("BLPOP", "q", 0))
    sessions[1].call("SUBSCRIBE", "c")
    own = sessions.pop()
    assert own.call("ACL", "DELUSER", "lim", "nosuch") == 1
    for r in [own, *sessions]:
        r.expect_closed()
        r.close()
    assert admin.call("RPUSH", "q", "x") == 1
    assert admin.call("LLEN", "q") == 1
    with server.raw() as r:
        assert r.call("AUTH", "lim", "pw").startswith("WRONGPASS")


def test_a_user_s_connections_can_be_listed_and_killed(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~*", "+@all")
    sessions = [login(server, "lim") for _ in range(2 * SHARDS)]
    assert admin.call("CLIENT", "LIST").count(b" user=lim ") == len(sessions)
    assert admin.call("CLIENT", "KILL", "USER", "nosuch") == "ERR No such user 'nosuch'"
    assert admin.call("CLIENT", "KILL", "USER", "lim") == len(sessions)
    for r in sessions:
        r.expect_closed()
        r.close()


def test_the_default_user_s_password(server, admin):
    with server.raw() as before:
        assert before.call("PING") == "PONG"
        admin.call("CONFIG", "SET", "requirepass", "sesame")
        assert before.call("PING") == "PONG"  # it was let in
        with server.raw() as r:
            assert r.call("PING") == "NOAUTH Authentication required."
            assert r.call("AUTH", "wrong").startswith("WRONGPASS")
            assert r.call("HELLO", 3, "AUTH", "default", "sesame")[b"proto"] == 3
            assert r.call("PING") == "PONG"
        with server.raw() as r:
            admin.call("CONFIG", "SET", "requirepass", "")
            assert r.call("PING") == "PONG"
        admin.call("ACL", "SETUSER", "default", "off")
        with server.raw() as r:
            assert r.call("PING") == "NOAUTH Authentication required."
        admin.call("ACL", "SETUSER", "default", "on")


# ---- The log ----

def test_the_log(server, admin):
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~a*", "resetchannels", "+@all", "-append")
    with login(server, "lim") as r:
        r.call("CLIENT", "SETNAME", "me")
        for _ in range(3):
            r.call("APPEND", "a", 1)
        r.call("GET", "z")
        r.call("PUBLISH", "c", 1)
        r.call("AUTH", "who", "knows")
    log = entries(admin)
    assert [(e["reason"], e["context"], e["object"], e["username"], e["count"]) for e in log] == [
        ("auth", "toplevel", "AUTH", "who", 1), ("channel", "toplevel", "c", "lim", 1),
        ("key", "toplevel", "z", "lim", 1), ("command", "toplevel", "append", "lim", 3)]
    assert all(" name=me " in e["client-info"] and " user=lim " in e["client-info"] for e in log)
    ids = [e["entry-id"] for e in log]
    assert ids == list(range(ids[0], ids[0] - 4, -1))
    assert all(abs(e["timestamp-created"] / 1000 - time.time()) < 60 for e in log)
    assert len(admin.call("ACL", "LOG", 2)) == 2
    admin.call("CONFIG", "SET", "acllog-max-len", 1)
    admin.call("AUTH", "nobody", "x")
    assert [e["username"] for e in entries(admin)] == ["nobody"]
    admin.call("CONFIG", "SET", "acllog-max-len", 128)
    assert admin.call("ACL", "LOG", "RESET") == "OK"
    assert entries(admin) == []


def test_what_was_refused_is_counted(server, admin):
    admin.call("CONFIG", "RESETSTAT")
    admin.call("ACL", "SETUSER", "lim", "on", ">pw", "~a*", "resetchannels", "+@all", "-append")
    with login(server, "lim") as r:
        for request in [["APPEND", "a", 1], ["GET", "z"], ["GET", "y"], ["PUBLISH", "c", 1],
                        ["AUTH", "x", "y"]]:
            r.call(*request)
    stats = admin.call("INFO", "stats").decode()
    for line in ["auth:1", "cmd:1", "key:2", "channel:1"]:
        assert "acl_access_denied_" + line + "\r\n" in stats


# ---- Where users are kept ----

def hash_of(password):
    return hashlib.sha256(password.encode()).hexdigest()


def test_the_file_is_loaded_as_a_whole_and_saved(fresh_server, tmp_path):
    path = tmp_path / "users.acl"
    path.write_text("user alice on >pw ~a* +@all\n\nuser default on nopass ~* &* +@all\n")
    server = fresh_server("--aclfile", path)
    with server.raw() as admin:
        assert admin.call("ACL", "USERS") == [b"alice", b"default"]
        path.write_text("user bob on\nuser bob off\nuser carol +nosuch -nosuch &a ~* ~b bogus\n"
                        "nouser x\n")
        error = admin.call("ACL", "LOAD").text
        assert error == (
            f"ERR WARNING: Duplicate user 'bob' found on line 2. {path}:3: Error in applying "
            "operation '+nosuch': Unknown command or category name in ACL. "
            f"{path}:3: Error in applying operation '-nosuch': Unknown command or category name in "
            f"ACL. {path}:3: Adding a pattern after the * pattern (or the 'allkeys' flag) is not "
            "valid and does not have any effect. Try 'resetkeys' to start with an empty list of "
            f"patterns. {path}:4 should start with user keyword followed by the username. WARNING: "
            "ACL errors detected, no change to the previously active ACL rules was performed")
        assert admin.call("ACL", "USERS") == [b"alice", b"default"]
        admin.call("ACL", "SETUSER", "dave", "on", ">pw", "(%R~x +get)")
        listed = admin.call("ACL", "LIST")
        assert admin.call("ACL", "SAVE") == "OK"
        assert path.read_bytes().splitlines() == listed
        assert os.listdir(tmp_path) == ["users.acl"]
        with login(server, "alice") as alice, login(server, "dave") as dave:
            path.write_text("user alice on >pw ~b* +@all\n")
            assert admin.call("ACL", "LOAD") == "OK"
            alice.expect_closed()
            dave.expect_closed()
        assert admin.call("ACL", "LIST") == [
            f"user alice on sanitize-payload #{hash_of('pw')} ~b* resetchannels +@all".encode(),
            b"user default on nopass sanitize-payload ~* &* +@all"]
        os.chmod(tmp_path, stat.S_IRUSR | stat.S_IXUSR)
        try:
            if os.geteuid() != 0:
                assert admin.call("ACL", "SAVE").startswith("ERR There was an error")
        finally:
            os.chmod(tmp_path, stat.S_IRWXU)
    server.restart("--aclfile", path)
    with login(server, "alice") as r:
        assert r.call("SET", "b", 1) == "OK"


def test_users_of_the_configuration(tmp_path):
    conf = tmp_path / "lasca.conf"
    conf.write_text('requirepass first\nuser alice on >pw ~a* "(+get ~x)" +set\nuser bob\n')
    server = Server(command=lambda port: [BINARY, conf, "--port", str(port), "--shards",
                                          str(SHARDS)])
    try:
        with server.raw() as r:
            assert r.call("PING").startswith("NOAUTH")
            assert r.call("AUTH", "first") == "OK"
            listed = r.call("ACL", "LIST")
            assert listed == [
                f"user alice on sanitize-payload #{hash_of('pw')} ~a* resetchannels -@all +set "
                "(~x resetchannels -@all +get)".encode(),
                b"user bob off sanitize-payload resetchannels -@all",
                f"user default on sanitize-payload #{hash_of('first')} ~* &* +@all".encode()]
            r.call("ACL", "SETUSER", "bob", "on")
            listed[1] = listed[1].replace(b"off", b"on")
            assert r.call("CONFIG", "REWRITE") == "OK"
            assert [line.encode() for line in conf.read_text().splitlines()
                    if line.startswith("user ")] == listed
        assert "The user 'bob' is disabled" in server.log()
        server.restart()
        with server.raw() as r:
            assert r.call("AUTH", "first") == "OK"
            assert r.call("ACL", "LIST") == listed
        server.stop()
    finally:
        server.destroy()


@pytest.mark.parametrize("lines,complaint", [
    ("user a on\nuser a off\n", "Duplicate user found"),
    ("user a bogus\n", "Error in user declaration 'bogus': Syntax error"),
    ("user a on (+get ~x\n", "lasca.conf:2: Error in user declaration '(+get': Syntax error"),
    ("user a on\naclfile /tmp/x\n", "please define either an ACL file or declare users directly"),
    ("aclfile /nosuch/file\n", "Error loading ACLs, opening file '/nosuch/file'"),
])
def test_a_configuration_with_mistakes_does_not_start(tmp_path, lines, complaint):
    conf = tmp_path / "lasca.conf"
    conf.write_text("port 0\n" + lines)
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # it ends with what it has
    done = subprocess.run([BINARY, conf, "--shards", "1"], capture_output=True, timeout=20,
                          cwd=tmp_path, check=False, env=environment)
    assert done.returncode == 1
    assert complaint in (done.stdout + done.stderr).decode()


def test_hammering_changes_while_everybody_works(server, admin):
    """Users come, change and go on one session while others log in, work and are thrown out."""
    stop = threading.Event()
    bad = []

    def work(n):
        while not stop.is_set():
            try:
                with server.raw() as r:
                    if r.call("AUTH", f"u{n}", "pw") != "OK":
                        continue
                    for i in range(20):
                        r.send(encode("SET", f"a{i}", 1) + encode("GET", f"b{i}"))
                        first, second = r.read_reply(), r.read_reply()
                        if first not in ("OK", NO_KEY) or second != NO_KEY:
                            bad.append((first, second))
            except (Closed, OSError):
                pass

    threads = [threading.Thread(target=work, args=(n % 2,)) for n in range(4)]
    for t in threads:
        t.start()
    for i in range(60):
        name = f"u{i % 2}"
        admin.call("ACL", "SETUSER", name, "reset", "on", ">pw", "~a*", "+@all")
        admin.call("ACL", "SETUSER", name, "resetkeys", "~c*")
        admin.call("ACL", "SETUSER", name, "~a*")
        if i % 5 == 0:
            admin.call("ACL", "DELUSER", name)
    stop.set()
    for t in threads:
        t.join()
    assert bad == []
