"""The tables of each row's figures, and the bars that the row is held to.

A row's function takes its figures and returns (tables, bars). TABLES names them all, in the order
in which they are printed.
"""

import durability_load
import rows
import transactions_load
import types_load
from report import Bar, Table, median, number, ratio, ratio_words, server_words, spread

CPU_RATIO_MAX = {"1": 0.85, "10": 0.60, "50": 0.45}
SHARDS_RATIO_MAX = 1.15
HALF_P999_RATIO_MAX = 1.0
MANY_CONNECTIONS_RATIO_MAX = 1.3
BYTES_PER_KEY_MAX = 72
EMPTY_RSS_MAX = 30_000_000  # bytes

# A load tool that takes this much of its CPU, and not the server, set the throughput.
TOOL_BUSY_CPUS = 0.95

# Measure, name in the table.
MEASURES = (
    ("cpu_us", "CPU µs a request"),
    ("user_us", "... of it user"),
    ("per_second", "requests/s"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("p999_ms", "p99.9 ms"),
)


def _of(rounds, measure):
    return [figures[measure] for figures in rounds]


def _pairs(names):
    """(base, other, words): what is set against what. The words end a column's head."""
    shards = [name for name in names if name.startswith("lasca-")]
    pairs = [("redis", "lasca-1", "1 shard / redis")] if {"redis", "lasca-1"} <= set(names) else []
    if "lasca-1" in names:
        pairs += [("lasca-1", name, f"{name[6:]} shards / 1") for name in shards[1:]]
    return pairs


def _load_rows(label, servers, measures):
    """The rows of one point; `servers` is {name: [figures of each round]}."""
    out = []
    for measure, name in measures:
        row = ["" if out else label, name]
        row += [spread(_of(rounds, measure)) for rounds in servers.values()]
        row += [ratio_words(ratio(_of(servers[base], measure), _of(servers[other], measure)))
                for base, other, _ in _pairs(servers)]
        out.append(row)
    return out


def _busy_note(samples, words):
    busy = [words(point) for point, servers in samples.items()
            if any(median(_of(rounds, "tool_cpus")) >= TOOL_BUSY_CPUS
                   for rounds in servers.values())]
    if not busy:
        return []
    return [f"At {', '.join(busy)} the load tool used up a CPU: requests/s and latency are partly "
            "its own limit there. CPU time is the server's alone."]


def _load_table(title, label, samples, words=str, measures=MEASURES):
    names = list(next(iter(samples.values())))
    columns = [label, "", *map(server_words, names), *(words for *_, words in _pairs(names))]
    table = Table(title, 2, columns)
    for point, servers in samples.items():
        table.rows += _load_rows(words(point), servers, measures)
    table.notes = _busy_note(samples, lambda point: f"{label} {words(point)}")
    return table


def _cpu_ratio(servers, base, other):
    return ratio(_of(servers[base], "cpu_us"), _of(servers[other], "cpu_us"))


def pipelines(samples):
    title = f"Pipelines: {rows.Shape.keys:,} keys, 32-byte values, 50 connections, SET:GET 1:1"
    bars = []
    for depth, servers in samples.items():
        for base, other, _ in _pairs(servers):
            most = CPU_RATIO_MAX[depth] if base == "redis" else SHARDS_RATIO_MAX
            bars.append(Bar(f"CPU a request, pipeline {depth}: {server_words(other)}, to "
                            f"{server_words(base)}", _cpu_ratio(servers, base, other), most))
    return [_load_table(title, "pipeline", samples)], bars


def sizes(samples):
    def words(point):
        size, pipeline = point.split()
        return f"{int(size):,} bytes, pipeline {pipeline}"

    keys = ", ".join(f"{shape.keys:,} keys of {shape.value_size:,}" for shape in rows.SIZES)
    title = f"Sizes of values: {keys} bytes; 50 connections, SET:GET 1:1"
    return [_load_table(title, "value", samples, words)], []


def connections(samples):
    title = f"Connections: {rows.Shape.keys:,} keys, 32-byte values, pipeline 1, SET:GET 1:1"
    bars = []
    few, many = str(rows.CONNECTIONS[0]), str(rows.CONNECTIONS[-1])
    for name in samples[few]:
        if many in samples and name.startswith("lasca-"):
            value = ratio(_of(samples[few][name], "cpu_us"), _of(samples[many][name], "cpu_us"))
            bars.append(Bar(f"CPU a request, {server_words(name)}: {int(many):,} connections, to "
                            f"{few}", value, MANY_CONNECTIONS_RATIO_MAX))
    table = _load_table(title, "connections", samples, lambda point: f"{int(point):,}")
    return [table], bars


def latency(samples):
    servers = samples["half"]
    asked = median(_of(servers["redis"], "asked_per_second"))
    title = (f"Latency at half of Redis's saturation, {number(asked)} requests/s for every server: "
             "50 connections, pipeline 1")
    bars = [Bar(f"p99.9 at half of Redis's saturation: {server_words(name)}, to redis",
                ratio(_of(servers["redis"], "p999_ms"), _of(servers[name], "p999_ms")),
                HALF_P999_RATIO_MAX)
            for name in servers if name.startswith("lasca-")]
    return [_load_table(title, "load", samples)], bars


def memory(per_key):
    redis, lasca = per_key["redis"], per_key["lasca-1"]
    title = f"Memory: {rows.MEMORY_KEYS:,} keys of {rows.MEMORY_KEY_SIZE} bytes, 32-byte values"
    table = Table(title, 1, ["", "redis", "lasca", "ratio"])
    table.rows.append(["bytes of RSS a key", f"{redis:.1f}", f"{lasca:.1f}",
                       ratio_words(lasca / redis)])
    return [table], [Bar("memory a key", lasca, BYTES_PER_KEY_MAX, " bytes")]


def idle(figures):
    redis, lasca = figures["redis"], figures[f"lasca-{rows.IDLE_SHARDS}"]
    table = Table(f"Idle and empty: Lasca with {rows.IDLE_SHARDS} shards", 1,
                  ["", "redis", "lasca"])
    table.rows.append(["CPU seconds", f"{redis['cpu_seconds']:.2f}", f"{lasca['cpu_seconds']:.2f}"])
    table.rows.append(["RSS, MB", f"{redis['rss_bytes'] / 1e6:.1f}",
                       f"{lasca['rss_bytes'] / 1e6:.1f}"])
    return [table], [Bar("memory of an empty server", lasca["rss_bytes"] / 1e6,
                         EMPTY_RSS_MAX / 1e6, " MB")]


def types(samples):
    table = Table("Data types, one shard: CPU µs a command", 2,
                  ["command", "pipeline", "redis", "lasca", "ratio"])
    bars = []
    for step in types_load.STEPS:
        for pipeline, servers in samples[step.name].items():
            value = ratio(servers["redis"], servers["lasca-1"])
            table.rows.append([step.name if pipeline == "1" else "", pipeline,
                               spread(servers["redis"]), spread(servers["lasca-1"]),
                               ratio_words(value)])
            bars.append(Bar(f"CPU a command, {step.name}, pipeline {pipeline}", value,
                            step.bars[int(pipeline)]))
    return [table], bars


def collections(figures):
    table = Table("Collections: bytes of RSS an element", 1, ["", "redis", "lasca", "ratio"])
    bars = []
    for shape in types_load.collections():
        redis, lasca = figures[shape.name]["redis"], figures[shape.name]["lasca-1"]
        table.rows.append([shape.name, f"{redis:.1f}", f"{lasca:.1f}", ratio_words(lasca / redis)])
        if shape.bar:
            bars.append(Bar(f"memory an element, {shape.name}", lasca / redis, shape.bar))
    return [table], bars


def transactions(samples):
    """The bar is one shard's; two shards stand beside it."""
    title = "Several keys, transactions, scripts, Pub/Sub: CPU µs a request, 50 connections"
    table = Table(title, 2, ["request", "pipeline", "redis", "lasca, 1 shard", "lasca, 2 shards",
                             "1 shard / redis", "2 shards / redis"])
    bars = []
    for load in transactions_load.LOADS:
        for pipeline, servers in samples[load.name].items():
            of_one, of_two = (ratio(servers["redis"], servers[name])
                              for name in ("lasca-1", "lasca-2"))
            table.rows.append([load.name if pipeline == "1" else "", pipeline,
                               *(spread(servers[name]) for name in ("redis", "lasca-1", "lasca-2")),
                               ratio_words(of_one), ratio_words(of_two)])
            if load.bar:
                bars.append(Bar(f"CPU a request, {load.name}, pipeline {pipeline}", of_one,
                                load.bar))
    return [table], bars


def durability(figures):
    """Snapshots and loading with two shards; SETs that are logged with one, and two beside it."""
    files = Table(f"Loading and snapshots: {durability_load.KEYS:,} keys, 32-byte values, 2 shards",
                  1, ["", "redis", "lasca", "ratio"])
    bars = []
    for name, title, most in durability_load.MEASURES:
        redis, lasca = (figures["snapshots"][name][server] for server in ("redis", "lasca-2"))
        value = ratio(redis, lasca)
        files.rows.append([title, spread(redis), spread(lasca), ratio_words(value)])
        bars.append(Bar(title, value, most))
    sets = Table("SET with appendonly yes: CPU µs a request, 50 connections", 2,
                 ["appendfsync", "pipeline", "redis", "lasca, 1 shard", "lasca, 2 shards",
                  "1 shard / redis", "2 shards / redis"])
    for point, servers in figures["sets"].items():
        policy, pipeline = point.split()
        of_one, of_two = (ratio(servers["redis"], servers[name]) for name in ("lasca-1", "lasca-2"))
        sets.rows.append([policy if pipeline == "1" else "", pipeline,
                          *(spread(servers[name]) for name in ("redis", "lasca-1", "lasca-2")),
                          ratio_words(of_one), ratio_words(of_two)])
        bars.append(Bar(f"CPU a SET, appendfsync {policy}, pipeline {pipeline}", of_one,
                        durability_load.SET_CPU_RATIO_MAX))
    return [files, sets], bars


TABLES = {
    "pipelines": pipelines, "sizes": sizes, "connections": connections, "latency": latency,
    "memory": memory, "collections": collections, "types": types, "transactions": transactions,
    "durability": durability, "idle": idle,
}


def tables_and_bars(figures):
    """Of all rows that there are figures of."""
    tables, bars = {}, []
    for row, make in TABLES.items():
        if row in figures:
            tables[row], more = make(figures[row])
            bars += more
    return tables, bars
