"""The figures as tables: plain text, or Markdown.

Of several rounds the median stands, with the least and the greatest beside it. A ratio is taken
within each round, where both servers met the same machine, and then its median: it may differ a
little from the ratio of the medians.
"""

from dataclasses import dataclass, field
from statistics import median

import durability_load
import rows
import transactions_load
import types_load

# The bars that Lasca is held to.
CPU_RATIO_MAX = {1: 0.85, 10: 0.60, 50: 0.45}
SHARDS_RATIO_MAX = 1.15
BYTES_PER_KEY_MAX = 72
EMPTY_RSS_MAX = 30_000_000  # bytes

# A load tool that takes this much of its CPU, and not the server, set the throughput.
TOOL_BUSY_CPUS = 0.95

# Measure, name in the table.
MEASURES = (
    ("cpu_us", "CPU us/request"),
    ("user_us", "  user"),
    ("system_us", "  system"),
    ("per_second", "requests/s"),
    ("p50_ms", "p50 ms"),
    ("p99_ms", "p99 ms"),
    ("p999_ms", "p99.9 ms"),
)


@dataclass
class Table:
    title: str
    labels: int  # columns at the left that name the row
    columns: list
    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def as_text(self):
        widths = [max(len(row[i]) for row in [self.columns] + self.rows)
                  for i in range(len(self.columns))]
        lines = [self.title]
        lines += [self._aligned(row, widths) for row in [self.columns] + self.rows]
        return "\n".join(lines + self.notes)

    def _aligned(self, row, widths):
        cells = [cell.ljust(width) if i < self.labels else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        return "  ".join(cells).rstrip()

    def as_markdown(self):
        lines = [f"**{self.title}**", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("|" + " --- |" * self.labels +
                     " ---: |" * (len(self.columns) - self.labels))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += [""] + self.notes if self.notes else []
        return "\n".join(lines)


def _number(value):
    """Three figures that count, without an exponent."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:.2f}M"
    if value >= 10_000:
        return f"{value / 1000:.0f}k" if value >= 100_000 else f"{value / 1000:.1f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _spread(values, number=_number):
    """Median and, where there are several rounds, least and greatest."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))}..{number(max(values))})"


def _ratio(value):
    return f"{value:.2f}"


def _verdict(value, bar):
    return "ok" if value <= bar else "over"


def _load_rows(depth, base, other, bar):
    """The rows of one pipeline depth; the bar is that of the CPU time."""
    out = []
    for measure, name in MEASURES:
        a = [figures[measure] for figures in base]
        b = [figures[measure] for figures in other]
        ratios = [y / x for x, y in zip(a, b) if x > 0]
        row = ["" if out else str(depth), name, _spread(a), _spread(b)]
        row.append(_spread(ratios, _ratio) if ratios else "")
        held = measure == "cpu_us" and ratios
        row += [f"{bar:.2f}", _verdict(median(ratios), bar)] if held else ["", ""]
        out.append(row)
    return out


def _busy_note(samples, names):
    depths = [str(depth) for depth, servers in samples.items()
              if any(median(f["tool_cpus"] for f in servers[name]) >= TOOL_BUSY_CPUS
                     for name in names)]
    if not depths:
        return []
    return [f"At pipeline {', '.join(depths)} the load tool used up a CPU: requests/s and latency",
            "are partly its own limit there. CPU time is the server's alone."]


def load_table(samples, base, other, title, columns, bars):
    table = Table(title, 2, ["pipeline", "", *columns, "ratio", "bar", ""])
    for depth, servers in samples.items():
        table.rows += _load_rows(depth, servers[base], servers[other], bars[depth])
    table.notes = _busy_note(samples, (base, other))
    return table


def one_shard_table(samples):
    title = f"One shard: {rows.LOAD_KEYS:,} keys, 32-byte values, 50 connections, SET:GET 1:1"
    return load_table(samples, "redis", "lasca-1", title, ["redis", "lasca"], CPU_RATIO_MAX)


def shards_table(samples, count):
    title = f"{count} shards against Lasca's own one shard, the same load"
    bars = {depth: SHARDS_RATIO_MAX for depth in samples}
    return load_table(samples, "lasca-1", f"lasca-{count}", title, ["1 shard", f"{count} shards"],
                      bars)


def memory_table(per_key):
    redis, lasca = per_key["redis"], per_key["lasca-1"]
    title = f"Memory: {rows.MEMORY_KEYS:,} keys of {rows.MEMORY_KEY_SIZE} bytes, 32-byte values"
    table = Table(title, 1, ["", "redis", "lasca", "ratio", "bar", ""])
    table.rows.append(["bytes of RSS a key", f"{redis:.1f}", f"{lasca:.1f}",
                       _ratio(lasca / redis), str(BYTES_PER_KEY_MAX),
                       _verdict(lasca, BYTES_PER_KEY_MAX)])
    return table


def idle_table(idle, seconds):
    redis, lasca = idle["redis"], idle[f"lasca-{rows.IDLE_SHARDS}"]
    table = Table(f"Idle and empty: Lasca with {rows.IDLE_SHARDS} shards", 1,
                  ["", "redis", "lasca", "bar", ""])
    table.rows.append([f"CPU seconds in {seconds} s", f"{redis['cpu_seconds']:.2f}",
                       f"{lasca['cpu_seconds']:.2f}", "", ""])
    table.rows.append(["RSS, MB", f"{redis['rss_bytes'] / 1e6:.1f}",
                       f"{lasca['rss_bytes'] / 1e6:.1f}", f"{EMPTY_RSS_MAX / 1e6:.0f}",
                       _verdict(lasca["rss_bytes"], EMPTY_RSS_MAX)])
    return table


def types_table(samples):
    title = "Data types, one shard: CPU us a command"
    table = Table(title, 2, ["command", "pipeline", "redis", "lasca", "ratio", "bar", ""])
    for step in types_load.STEPS:
        for pipeline, servers in samples[step.name].items():
            redis, lasca = servers["redis"], servers["lasca-1"]
            ratio = median(b / a for a, b in zip(redis, lasca))
            bar = step.bars[pipeline]
            table.rows.append([step.name if pipeline == 1 else "", str(pipeline), _spread(redis),
                               _spread(lasca), _ratio(ratio), f"{bar:.2f}", _verdict(ratio, bar)])
    return table


def collections_table(figures):
    table = Table("Collections: bytes of RSS an element", 1,
                  ["", "redis", "lasca", "ratio", "bar", ""])
    for shape in types_load.collections():
        redis, lasca = figures[shape.name]["redis"], figures[shape.name]["lasca-1"]
        row = [shape.name, f"{redis:.1f}", f"{lasca:.1f}", _ratio(lasca / redis)]
        row += [f"{shape.bar:.2f}", _verdict(lasca / redis, shape.bar)] if shape.bar else ["", ""]
        table.rows.append(row)
    return table


def transactions_table(samples):
    """The bar is one shard's; two shards stand beside it."""
    title = "Transactions, scripts, Pub/Sub: CPU us a request, 50 connections"
    table = Table(title, 2, ["request", "pipeline", "redis", "1 shard", "ratio", "bar", "",
                             "2 shards", "ratio"])
    for load in transactions_load.LOADS:
        for pipeline, servers in samples[load.name].items():
            redis, one, two = servers["redis"], servers["lasca-1"], servers["lasca-2"]
            ratio, ratio_of_two = (median(b / a for a, b in zip(redis, other))
                                   for other in (one, two))
            held = [f"{load.bar:.2f}", _verdict(ratio, load.bar)] if load.bar else ["", ""]
            table.rows.append([load.name if pipeline == 1 else "", str(pipeline),
                               _spread(redis), _spread(one), _ratio(ratio), *held, _spread(two),
                               _ratio(ratio_of_two)])
    return table


def durability_tables(figures):
    """Snapshots and loading with two shards; SETs that are logged with one, and two beside it."""
    files = Table(f"Loading and snapshots: {durability_load.KEYS:,} keys, 32-byte values, 2 shards",
                  1, ["", "redis", "lasca", "ratio", "bar", ""])
    for name, title, bar in durability_load.MEASURES:
        redis, lasca = (figures["snapshots"][name][server] for server in ("redis", "lasca-2"))
        ratio = median(b / a for a, b in zip(redis, lasca) if a > 0)
        files.rows.append([title, _spread(redis), _spread(lasca), _ratio(ratio), f"{bar:.2f}",
                           _verdict(ratio, bar)])
    sets = Table("SET with appendonly yes: CPU us a request, 50 connections", 2,
                 ["appendfsync", "pipeline", "redis", "1 shard", "ratio", "bar", "", "2 shards",
                  "ratio"])
    for policy in durability_load.POLICIES:
        for pipeline in durability_load.PIPELINES:
            samples = figures["sets"][f"{policy} {pipeline}"]
            redis, one, two = (samples[name] for name in ("redis", "lasca-1", "lasca-2"))
            ratio, of_two = (median(b / a for a, b in zip(redis, other)) for other in (one, two))
            bar = durability_load.SET_CPU_RATIO_MAX
            sets.rows.append([policy if pipeline == 1 else "", str(pipeline), _spread(redis),
                              _spread(one), _ratio(ratio), f"{bar:.2f}", _verdict(ratio, bar),
                              _spread(two), _ratio(of_two)])
    return [files, sets]
