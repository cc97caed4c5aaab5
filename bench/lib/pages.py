"""The pages that a whole run writes: benchmarks.md with its plots, and README's short table."""

import os
import re
from statistics import median

import plots
from report import bars_table, number, ratio, ratio_words
from tables import tables_and_bars
from wire import ROOT

HOW_TO_READ = """\
`scripts/bench` made this page: it builds Lasca, runs it and Redis side by side on one machine in
one run, gives each the same load in turn, and writes what it saw.
[bench/README.md](../bench/README.md) has its options, and each row in detail.

- **CPU a request is the figure to compare.** It is the server's user and system time as the kernel
  counted it, over the requests made. Throughput and latency at full load belong to the pair of
  server and load tool, which share the machine; where the tool was the limit, a note says so.
- A figure is the median of the rounds; behind ± is half the way from the least to the greatest.
  In the plots, the thin line goes from the least to the greatest. Where that is far, the machine
  was not quiet: run it again.
- A ratio is taken within each round, where both servers met the same machine; then the median.
- With fewer CPUs than threads of server and tool together, two shards compete with the tool."""

# The section of each row: its heading, what to know of it, its plots.
SECTIONS = {
    "pipelines": ("Pipelines", "A pipeline of 10 is ten requests sent at once, and ten replies "
                  "awaited.", ("pipelines", "latency")),
    "sizes": ("Sizes of values", "", ("sizes",)),
    "connections": ("Connections", "Requests made beforehand, sent by `bench/replay.c`: a general "
                    "load tool costs so much with ten thousand connections that the server idles. "
                    "CPU time counts from when all are connected. Every connection always has one "
                    "request on its way, so that latency is connections over throughput.",
                    ("connections",)),
    "latency": ("Latency at half of saturation", "Half of what Redis can do, as a rate that every "
                "server gets alike: what users of a server that is not overloaded see. Redis's "
                "saturation is measured anew in each round. A latency counts from the sending of "
                "its request, not from when it was due.", ("half",)),
    "memory": ("Memory of keys", "", ()),
    "collections": ("Memory of collections", "", ("memory",)),
    "types": ("Data types", "Load: redis-benchmark, 50 connections.", ()),
    "transactions": ("Several keys, transactions, scripts, Pub/Sub", "Requests made beforehand, "
                     "sent by `bench/replay.c`. A request is the whole MULTI with its EXEC; a "
                     "PUBLISH, the delivery to all subscribers.", ()),
    "durability": ("Durability", "Both load the same file, which Redis wrote.", ()),
    "idle": ("Idle", "", ()),
}


def head_lines(about):
    """What a figure means nothing without."""
    rounds = f"{about['rounds']} rounds of {about['seconds']} s, the servers in turn"
    lines = [
        f"{about['cpu']}, {about['cpus']} CPUs, {about['memory_gb']} GB, Linux {about['kernel']}, "
        f"load average {about['load_average']} at the start, {about['date']}, "
        f"{about['minutes']} minutes",
        f"{', '.join(about['servers'])} (io-backend {about['backend']}), {about['tool']}",
        f"Medians of {rounds}" if about["rounds"] > 1 else f"One round of {about['seconds']} s",
    ]
    if about["quick"]:
        lines.append("A quick run, to see that all works: these are no figures to compare.")
    return lines


def benchmarks_page(about, figures):
    tables, bars = tables_and_bars(figures)
    drawn = plots.plots(figures)
    parts = ["# Benchmarks", "  \n".join(head_lines(about)), HOW_TO_READ]
    for row, (heading, words, names) in SECTIONS.items():
        if row not in tables:
            continue
        parts += [f"## {heading}"] if heading else []
        parts += [words] if words else []
        parts += [f"![{SECTIONS[row][0]}: {name}](plots/{name}.svg)"
                  for name in names if name in drawn]
        parts += [table.as_markdown() for table in tables[row]]
    parts += ["## Bars", "What Lasca is held to. Where no unit stands, the figure is Lasca's over "
              "Redis's, or as named.", bars_table(bars).as_markdown(with_title=False)]
    return "\n\n".join(parts) + "\n"


def _load_row(words, servers, measure, lasca="lasca-1"):
    redis, ours = ([figures[measure] for figures in servers[name]] for name in ("redis", lasca))
    return _row(words, redis, ours)


def _row(words, redis, ours):
    return [words, number(median(redis)), number(median(ours)), ratio_words(ratio(redis, ours))]


def short_rows(figures):
    """The figures that a reader wants first: (what, redis, lasca, ratio). What was not measured is
    left out."""
    makers = (
        ("pipelines", lambda f: [_load_row(f"CPU µs a request, pipeline {depth}", f[depth],
                                           "cpu_us") for depth in f]),
        ("pipelines", lambda f: [_load_row("requests a second, pipeline 50", f["50"],
                                           "per_second")]),
        ("latency", lambda f: [_load_row("p99.9 ms at half of Redis's saturation", f["half"],
                                         "p999_ms")]),
        ("connections", lambda f: [_load_row(f"CPU µs a request, {int(list(f)[-1]):,} connections",
                                             f[list(f)[-1]], "cpu_us")]),
        ("memory", lambda f: [_row("bytes of memory, a key with 32 bytes", [f["redis"]],
                                   [f["lasca-1"]])]),
        ("collections", lambda f: [_row(f"bytes of memory, an element of a {name}",
                                        [f[name]["redis"]], [f[name]["lasca-1"]])
                                   for name in ("hash of 100,000", "sorted set of 100,000")]),
        ("transactions", lambda f: [_row(f"CPU µs, {words}", f[name]["1"]["redis"],
                                         f[name]["1"]["lasca-1"])
                                    for name, words in (
                                        ("EVALSHA, rate limiter", "a rate limiter in Lua"),
                                        ("PUBLISH to 1,000", "PUBLISH to 1,000 subscribers"))]),
        ("durability", lambda f: [_row(words, f["snapshots"][name]["redis"],
                                       f["snapshots"][name]["lasca-2"])
                                  for name, words in (
                                      ("load_seconds", "seconds to load 5,000,000 keys, 2 shards"),
                                      ("memory_mb", "MB more while BGSAVE runs, 2 shards"))]),
    )
    return [row for name, make in makers if name in figures for row in make(figures[name])]


def short_table(about, figures):
    lines = ["  \n".join(head_lines(about)[:2]), "", "| | Redis | Lasca | Lasca / Redis |",
             "| --- | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(row) + " |" for row in short_rows(figures)]
    lines += ["", "Lasca with one shard, where no other number stands. All figures, plots, and how "
              "to read them: [docs/benchmarks.md](docs/benchmarks.md)."]
    return "\n".join(lines)


def with_figures(readme, text):
    """A page with what stands between its marks replaced."""
    marked = re.compile(r"(<!-- FIGURES BEGIN)[^\n]*-->\n.*?(<!-- FIGURES END -->)", re.DOTALL)
    if not marked.search(readme):
        raise ValueError("README.md has no marks for the figures")
    return marked.sub(lambda found: f"{found.group(1)}: scripts/bench writes this -->\n\n{text}\n\n"
                      f"{found.group(2)}", readme)


def _write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def write_pages(directory, about, figures):
    """benchmarks.md and plots/ in a directory; in docs/, README's table, too."""
    _write(os.path.join(directory, "benchmarks.md"), benchmarks_page(about, figures))
    for name, drawing in plots.plots(figures).items():
        _write(os.path.join(directory, "plots", f"{name}.svg"), drawing)
    if os.path.realpath(directory) == os.path.join(ROOT, "docs"):
        path = os.path.join(ROOT, "README.md")
        with open(path, encoding="utf-8") as f:
            readme = f.read()
        _write(path, with_figures(readme, short_table(about, figures)))
