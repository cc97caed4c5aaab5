"""The requests of session_fuzz.py that govern: users, the configuration, what is observed.

Users are of three kinds. `low` has rules that nobody changes: it may do much, but not with the
SECRETS, whose text it must never see and never change. fu0 to fu3 get any rules at any time. And
`default` may do everything; nobody touches that.
"""

SECRET = b"S3CRET-THAT-LOW-MUST-NOT-SEE"
LOW = b"low"
LOW_PASSWORD = b"low-pass"
LOW_RULES = [b"reset", b"on", b">" + LOW_PASSWORD, b"~[klhzxpg]*", b"~s[0-9]*", b"~{t}*", b"&ch*",
             b"+@all", b"-@admin", b"-@dangerous"]
GET_SECRET = [b"GET", b"secret:0"]
SECRETS = [
    [b"SET", b"secret:0", SECRET], [b"HSET", b"secret:1", b"m1", SECRET],
    [b"RPUSH", b"secret:2", SECRET, SECRET], [b"SADD", b"secret:3", SECRET, b"m1"],
    [b"ZADD", b"secret:4", b"1", SECRET, b"2", b"m1"],
    [b"XADD", b"secret:5", b"1-1", b"m1", SECRET]]
USERS = [b"fu0", b"fu1", b"fu2", b"fu3"]
# Everything but that it may end the server, lose the checker's data or lock connections out.
UNTOUCHED = {
    b"requirepass", b"maxmemory", b"maxclients", b"timeout", b"port", b"bind", b"tls-port",
    b"unixsocket", b"dir", b"proto-max-bulk-len", b"client-query-buffer-limit", b"masterauth",
    b"maxmemory-clients", b"client-output-buffer-limit", b"appendonly", b"save", b"databases",
    b"dbfilename", b"protected-mode", b"logfile", b"aclfile", b"tls-cert-file", b"tls-key-file",
    b"acl-pubsub-default", b"min-replicas-to-write", b"replicaof", b"slaveof", b"unixsocketperm",
    b"metrics-port", b"metrics-bind", b"rdb-del-sync-files", b"active-expire-effort",
    b"stop-writes-on-bgsave-error", b"shutdown-timeout", b"busy-reply-threshold",
    b"lua-time-limit", b"crash-log-enabled", b"pidfile", b"maxmemory-policy"}
_CATEGORIES = [b"all", b"read", b"write", b"keyspace", b"admin", b"dangerous", b"scripting",
               b"pubsub", b"connection", b"stream", b"transaction", b"blocking", b"nosuch", b""]
_COMMANDS = [b"get", b"set", b"config|get", b"client|id", b"xadd", b"eval", b"sort", b"acl",
             b"acl|whoami", b"debug", b"nosuch", b"get|x", b"client|nosuch", b"select|0", b""]
_PATTERNS = [b"*", b"k*", b"[", b"h[0-9]*", b"{t}*", b"\\", b"", b"a b", b"?" * 40, b"\xff"]
_TYPES = [b"normal", b"pubsub", b"replica", b"master", b"nosuch"]
_SECTIONS = [b"all", b"everything", b"default", b"server", b"clients", b"memory", b"stats",
             b"commandstats", b"errorstats", b"latencystats", b"shards", b"keyspace", b"nosuch"]
_EVENTS = [b"command", b"fast-command", b"expire-cycle", b"nosuch", b""]


def _rule(rng, depth=0):
    kind = rng.randrange(12)
    if kind < 3:
        return rng.choice([b"+@", b"-@"]) + rng.choice(_CATEGORIES)
    if kind < 5:
        return rng.choice([b"+", b"-"]) + rng.choice(_COMMANDS)
    if kind < 7:
        return rng.choice([b"~", b"%R~", b"%W~", b"%RW~", b"%X~", b"%~"]) + rng.choice(_PATTERNS)
    if kind == 7:
        return b"&" + rng.choice(_PATTERNS)
    if kind == 8 and depth == 0:
        inner = b" ".join(_rule(rng, 1) for _ in range(rng.randrange(4)))
        return rng.choice([b"(%s)", b"(%s)", b"(%s", b"%s)", b"((%s))"]) % inner
    if kind == 9:
        return rng.choice([b">", b"<", b"#", b"!"]) + rng.choice(
            [LOW_PASSWORD, b"0" * 64, b"ab" * 32, b"zz" * 32, b"", b"x" * 300])
    return rng.choice([b"on", b"off", b"nopass", b"resetpass", b"reset", b"resetkeys", b"allkeys",
                       b"resetchannels", b"allchannels", b"allcommands", b"nocommands",
                       b"clearselectors", b"sanitize-payload", b"", b"(", b")", b"+", b"%",
                       rng.randbytes(rng.randrange(9))])


def set_user(rng):
    """Mostly a user who can log in and do some things."""
    words = [b"ACL", b"SETUSER", rng.choice(USERS)]
    if rng.random() < 0.7:
        words += [b"on", b">" + LOW_PASSWORD]
    rules = [_rule(rng) for _ in range(rng.choice([0, 1, 3, 8, 60]))]
    if rng.random() < 0.6:
        rules = [rule for rule in rules if rule[:1] in b"+-~%&" and b"nosuch" not in rule]
    return words + rules


def _acl(rng, generator):
    kind = rng.randrange(10)
    user = rng.choice(USERS + [LOW, b"default", b"nobody", b"", b"a b"])
    if kind < 4:
        return set_user(rng)
    if kind == 4:
        return [b"ACL", b"DELUSER"] + rng.choices(USERS + [b"nobody"], k=rng.choice([1, 2, 5]))
    if kind == 5:
        return [b"ACL", b"DRYRUN", user, *(generator.request()[:50])]
    return rng.choice([
        [b"ACL", b"GETUSER", user], [b"ACL", b"LIST"], [b"ACL", b"USERS"], [b"ACL", b"LOG"],
        [b"ACL", b"LOG", generator.number()], [b"ACL", b"LOG", b"RESET"], [b"ACL", b"CAT"],
        [b"ACL", b"CAT", rng.choice(_CATEGORIES)], [b"ACL", b"GENPASS", generator.number()],
        [b"ACL", b"GENPASS"], [b"ACL", b"WHOAMI"], [b"ACL", b"SAVE"], [b"ACL", b"LOAD"],
        [b"ACL", b"HELP"], [b"ACL", b"SETUSER", b"a b"], [b"ACL", b"DELUSER", b"default"]])


def _config(rng, generator, options):
    name, value = rng.choice(options)
    kind = rng.randrange(6)
    if kind == 0:
        return [b"CONFIG", b"GET"] + [rng.choice([name, b"*", b"*max*", b"[", generator.value()])
                                      for _ in range(rng.choice([1, 1, 3, 40]))]
    if kind == 1:
        return [b"CONFIG", rng.choice([b"RESETSTAT", b"HELP", b"REWRITE", b"SET", b"NOSUCH"])]
    words = [b"CONFIG", b"SET"]
    for _ in range(rng.choice([1, 1, 1, 2, 6])):
        words += [name if rng.random() < 0.9 else generator.value()[:40],
                  rng.choice([value, value, generator.number(), generator.value()[:200], b"yes",
                              b"no", b"1mb", b"-1", b"10%", b"a b c", b'"', b"normal 0 0 0"])]
        name, value = rng.choice(options)
    return words


def _client(rng, generator):
    some = generator.number()
    kill = [b"CLIENT", b"KILL"]
    for _ in range(rng.choice([1, 2, 4])):  # one that nobody has is among them
        kill += rng.choice([[b"TYPE", rng.choice(_TYPES)], [b"USER", rng.choice(USERS)],
                            [b"ADDR", some], [b"LADDR", b"1.2.3.4:5"], [b"SKIPME", b"yes"],
                            [b"MAXAGE", some], [b"NOSUCH", some], [b"TYPE"]])
    return rng.choice([
        kill + [b"ID", b"999999999"], [b"CLIENT", b"LIST", b"TYPE", rng.choice(_TYPES)],
        [b"CLIENT", b"LIST", b"ID"] + [generator.number() for _ in range(rng.randrange(9))],
        [b"CLIENT", b"NO-EVICT", rng.choice([b"on", b"off", b"x"])],
        [b"CLIENT", b"NO-TOUCH", rng.choice([b"on", b"off", b"x"])],
        [b"CLIENT", b"SETINFO", rng.choice([b"LIB-NAME", b"lib-ver", b"x"]), generator.value()],
        [b"CLIENT", b"SETNAME", generator.value()], [b"CLIENT", b"GETNAME"],
        [b"CLIENT", b"UNBLOCK", some, rng.choice([b"ERROR", b"TIMEOUT", b"x"])],
        [b"CLIENT", b"INFO"], [b"CLIENT", b"UNPAUSE"], [b"CLIENT", b"HELP"]])


def _observed(rng, generator):
    number = generator.number()
    return rng.choice([
        [b"SLOWLOG", b"GET", number], [b"SLOWLOG", b"LEN"], [b"SLOWLOG", b"RESET"],
        [b"CONFIG", b"SET", b"slowlog-log-slower-than", rng.choice([b"0", b"-1", b"10000"])],
        [b"CONFIG", b"SET", b"latency-monitor-threshold", rng.choice([b"0", b"1"])],
        [b"CONFIG", b"SET", b"latency-tracking", rng.choice([b"yes", b"no"])],
        [b"LATENCY", rng.choice([b"HISTORY", b"GRAPH", b"RESET"]), rng.choice(_EVENTS)],
        [b"LATENCY", b"HISTOGRAM"] + rng.choices([b"get", b"client", b"config|get", b"nosuch"],
                                                 k=rng.choice([0, 1, 4])),
        [b"LATENCY", rng.choice([b"LATEST", b"DOCTOR", b"RESET", b"HELP"])],
        [b"HOTKEYS", b"START"], [b"HOTKEYS", b"START", b"SAMPLE", number],
        [b"HOTKEYS", rng.choice([b"STOP", b"HELP", b"RESET", b"NOSUCH"])],
        [b"HOTKEYS", b"GET", b"COUNT", number], [b"HOTKEYS", b"GET"],
        [b"MEMORY", b"USAGE", generator.key(), b"SAMPLES", number],
        [b"MEMORY", rng.choice([b"STATS", b"DOCTOR", b"PURGE", b"MALLOC-STATS", b"HELP"])],
        [b"INFO"] + rng.choices(_SECTIONS, k=rng.choice([0, 1, 3, 30])),
        [b"MODULE", b"LOAD", generator.value()], [b"MODULE", b"LIST"],
        [b"DEBUG", b"STRINGMATCH-LEN", b"2000", rng.choice(_PATTERNS)],
        [b"DEBUG", b"LISTPACK", generator.key()], [b"DEBUG", b"HTSTATS-KEY", generator.key()],
        [b"DEBUG", b"LOG", generator.value()[:200]], [b"DEBUG", b"STRUCTSIZE"],
        [b"OBJECT", b"FREQ", generator.key()], [b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT",
                                                rng.choice(_CATEGORIES)],
        [b"COMMAND", b"GETKEYSANDFLAGS", *generator.request()[:50]]])


def request(rng, generator, options):
    """One that is answered with one reply."""
    kind = rng.randrange(10)
    if kind < 4:
        return _acl(rng, generator)
    if kind < 6:
        return _config(rng, generator, options)
    return _client(rng, generator) if kind < 8 else _observed(rng, generator)


def forbidden_debug(rng, generator):
    """Where DEBUG is off, even this does no harm."""
    return [b"DEBUG", rng.choice([b"SEGFAULT", b"PANIC", b"ASSERT", b"OOM", b"RELOAD", b"LOADAOF",
                                  b"SLEEP", b"POPULATE", b"NOSUCH", b""]),
            *[generator.value()[:50] for _ in range(rng.randrange(3))]]
