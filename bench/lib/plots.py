"""The plots: SVG, written by hand, with no library.

A plot is a grid of small panels. Each has a horizontal bar for each server, its value beside it,
and a thin line from the least to the greatest of the rounds; the servers' names stand at the left
of a line of panels and hold for all of it. Every panel has a scale of its own, from zero: what is
compared is servers, within a panel.

A plot brings its own ground, light or dark as the reader's system asks for, so that it can be read
on any page.
"""

from dataclasses import dataclass
from html import escape
from statistics import median

from report import number, server_words
from rows import SIZES, VALUE_WORDS
from types_load import BIG, SHAPES, SMALL

WIDTH = 880
MARGIN = 20
GUTTER = 118  # for the servers' names
TITLE_HEIGHT = 58
COLUMN_HEIGHT = 28
ROW_HEAD_HEIGHT = 24
BAR_HEIGHT = 15
BAR_STEP = 20
ROW_GAP = 14
PANEL_GAP = 18
VALUE_WIDTH = 62  # what a bar leaves for its value

STYLE = """
text { font: 12px -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif }
.ground { fill: #ffffff; stroke: #d1d9e0 }
.text { fill: #1f2328 } .faint { fill: #59636e } .title { font-size: 16px; font-weight: 600 }
.head { font-weight: 600 } .base { stroke: #d1d9e0 } .range { stroke: #1f2328; opacity: .55 }
.redis { fill: #a3abb4 } .lasca-a { fill: #0969da } .lasca-b { fill: #54aeff }
.lasca-c { fill: #80ccff } .valkey { fill: #8250df } .dragonfly { fill: #2da44e }
.memcached { fill: #bf8700 }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117; stroke: #3d444d }
.text { fill: #f0f6fc } .faint { fill: #9198a1 } .base { stroke: #3d444d }
.range { stroke: #f0f6fc }
.redis { fill: #7d8590 } .lasca-a { fill: #388bfd } .lasca-b { fill: #79c0ff }
.lasca-c { fill: #a5d6ff } .valkey { fill: #a371f7 } .dragonfly { fill: #3fb950 }
.memcached { fill: #d29922 }
}
"""


@dataclass
class Row:
    """A line of panels: its head, and for each column {server: [a value of each round]}."""

    head: str
    panels: list


def _color(server):
    if server.startswith("lasca-"):
        shards = int(server.split("-")[1])
        return "lasca-a" if shards == 1 else "lasca-b" if shards == 2 else "lasca-c"
    return server


def _text(x, y, words, style, anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
            f"{escape(words)}</text>")


def _bar(x, y, width, greatest, server, values):
    scale = (width - VALUE_WIDTH) / greatest if greatest else 0
    middle, low, high = median(values), min(values), max(values)
    line = y + BAR_HEIGHT / 2
    out = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1, middle * scale):.1f}" '
           f'height="{BAR_HEIGHT}" rx="2" class="{_color(server)}"/>']
    if high > low:
        out.append(f'<path d="M{x + low * scale:.1f} {line}H{x + high * scale:.1f}" '
                   'class="range"/>')
    out.append(_text(x + max(middle, high) * scale + 6, y + BAR_HEIGHT - 3, number(middle), "text"))
    return out


def _panel(x, y, width, servers):
    greatest = max((max(values) for values in servers.values()), default=0)
    height = len(servers) * BAR_STEP
    out = [f'<path d="M{x - 0.5:.1f} {y - 3}v{height}" class="base"/>']
    for at, (server, values) in enumerate(servers.items()):
        out += _bar(x, y + at * BAR_STEP, width, greatest, server, values)
    return out


def grid(title, subtitle, columns, rows):
    """An SVG document: `columns` are the heads of the panels' columns."""
    width = (WIDTH - 2 * MARGIN - GUTTER - PANEL_GAP * (len(columns) - 1)) / len(columns)
    lefts = [MARGIN + GUTTER + at * (width + PANEL_GAP) for at in range(len(columns))]
    y = TITLE_HEIGHT
    body = [_text(MARGIN, 28, title, "text title"), _text(MARGIN, 47, subtitle, "faint")]
    if any(columns):
        y += COLUMN_HEIGHT
        body += [_text(x, y - 9, words, "text head") for x, words in zip(lefts, columns)]
    for row in rows:
        body.append(_text(MARGIN, y + 15, row.head, "text head"))
        y += ROW_HEAD_HEIGHT
        servers = list(row.panels[0])
        for at, server in enumerate(servers):
            body.append(_text(MARGIN + GUTTER - 10, y + at * BAR_STEP + BAR_HEIGHT - 3,
                              server_words(server), "faint", "end"))
        for x, panel in zip(lefts, row.panels):
            body += _panel(x, y, width, panel)
        y += len(servers) * BAR_STEP + ROW_GAP
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
        f'height="{y}" role="img" aria-label="{escape(title, quote=True)}">',
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{y - 1}" rx="8" class="ground"/>',
        *body, "</svg>", ""])


# Measure, its head.
THROUGHPUT = ("per_second", "requests a second (more is better)")
CPU = ("cpu_us", "server's CPU µs a request (less is better)")
PERCENTILES = (("p50_ms", "p50, ms (less is better)"), ("p99_ms", "p99, ms"),
               ("p999_ms", "p99.9, ms"))


def _rows(measures, points):
    """`points`: for each column {server: [figures of each round]}."""
    return [Row(head, [{server: [figures[measure] for figures in rounds]
                        for server, rounds in servers.items()} for servers in points])
            for measure, head in measures]


def _load(name):
    return f"SET and GET one to one, {VALUE_WORDS}, {name}. Each panel has its own scale."


def pipelines(figures):
    samples = figures["pipelines"]
    return grid("Throughput and CPU by pipeline", _load("50 connections, one thread of load"),
                [f"pipeline {depth}" for depth in samples],
                _rows((THROUGHPUT, CPU), samples.values()))


def latency(figures):
    samples = figures["pipelines"]
    return grid("Latency by pipeline, at full load", _load("50 connections"),
                [f"pipeline {depth}" for depth in samples], _rows(PERCENTILES, samples.values()))


def half(figures):
    servers = figures["latency"]["half"]
    panels = [{server: [each[measure] for each in rounds] for server, rounds in servers.items()}
              for measure, _ in PERCENTILES]
    return grid("Latency at half of Redis's saturation",
                "Every server has the same rate of requests: 50 connections, pipeline 1. "
                "Each panel has its own scale.",
                ["p50", "p99", "p99.9"], [Row("ms (less is better)", panels)])


def sizes(figures):
    points = [figures["sizes"][f"{shape.value_size} 1"] for shape in SIZES]
    return grid("CPU and latency by size of value",
                "SET and GET one to one, 50 connections, pipeline 1. Each panel has its own scale.",
                [f"{shape.value_size:,} bytes" for shape in SIZES],
                _rows((CPU, *PERCENTILES), points))


def connections(figures):
    samples = figures["connections"]
    return grid("CPU and latency by connections", _load("pipeline 1"),
                [f"{int(count):,} connections" for count in samples],
                _rows((THROUGHPUT, CPU, *PERCENTILES), samples.values()))


def memory(figures):
    out = []
    for name, _ in SHAPES:
        panels = [figures["collections"][f"{name} of {count:,}"] for _, count in (SMALL, BIG)]
        out.append(Row(name, [{server: [max(0.0, size)] for server, size in panel.items()}
                              for panel in panels]))
    return grid("Memory an element", "Bytes of resident memory (less is better). "
                "Each panel has its own scale.",
                [f"collections of {SMALL[1]}", f"collections of {BIG[1]:,}"], out)


# File, the row whose figures it needs, what makes it.
PLOTS = (("pipelines", "pipelines", pipelines), ("latency", "pipelines", latency),
         ("half", "latency", half), ("sizes", "sizes", sizes),
         ("connections", "connections", connections), ("memory", "collections", memory))


def plots(figures):
    """{name: SVG} of all that there are figures for."""
    return {name: make(figures) for name, row, make in PLOTS if row in figures}
