#!/usr/bin/python3
"""The report of scripts/bench: tables, plots and pages made of figures that are made up here.

    report_test.py      runs all; unittest's options
"""

import json
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench", "lib"))

import durability_load  # noqa: E402
import pages  # noqa: E402
import plots  # noqa: E402
import rows  # noqa: E402
import tables  # noqa: E402
import transactions_load  # noqa: E402
import types_load  # noqa: E402

SHARES = {"redis": 1.0, "lasca-1": 0.5, "lasca-2": 0.6, "memcached": 0.9}
SMALL_SHARES = {name: SHARES[name] for name in ("redis", "lasca-1", "lasca-2")}
SVG = "{http://www.w3.org/2000/svg}"
ABOUT = {"date": "2026-01-02", "cpu": "A CPU", "cpus": 2, "memory_gb": 23, "kernel": "6.1",
         "load_average": 0.1, "servers": ["Redis 7.0.15", "Lasca 0.1.0"], "backend": "auto",
         "tool": "a tool", "rounds": 3, "seconds": 4, "quick": False, "minutes": 24.0}


def loads(base):
    """{server: three rounds}: each of other cost, but of the same ratio to the others'."""
    return {server: [{"cpu_us": cost, "user_us": cost / 4, "system_us": cost * 3 / 4,
                      "per_second": 1e6 / cost, "p50_ms": cost / 20, "p99_ms": cost / 10,
                      "p999_ms": cost, "server_cpus": 0.9, "tool_cpus": 0.97,
                      "asked_per_second": 50_000.0}
                     for cost in (base * share, base * share * 1.5, base * share * 1.1)]
            for server, share in SHARES.items()}


def costs(points):
    return {str(point): {server: [5 * share, 6 * share] for server, share in SMALL_SHARES.items()}
            for point in points}


def made_up_figures():
    return {
        "pipelines": {str(depth): loads(7 / depth) for depth in rows.PIPELINES},
        "sizes": {f"{shape.value_size} {pipeline}": loads(7) for shape in rows.SIZES
                  for pipeline in rows.SIZE_PIPELINES},
        "connections": {str(count): loads(7 + count / 1000) for count in rows.CONNECTIONS},
        "latency": {"half": loads(7)},
        "memory": {"redis": 144.7, "lasca-1": 69.8},
        "idle": {"redis": {"cpu_seconds": 0.02, "rss_bytes": 12e6},
                 "lasca-8": {"cpu_seconds": 0.0, "rss_bytes": 31e6}},
        "types": {step.name: costs(types_load.PIPELINES) for step in types_load.STEPS},
        "collections": {shape.name: {"redis": 80.0, "lasca-1": 40.0}
                        for shape in types_load.collections()},
        "transactions": {load.name: costs(transactions_load.PIPELINES)
                         for load in transactions_load.LOADS},
        "durability": {
            "snapshots": {name: {"redis": [3.0, 3.2], "lasca-2": [0.3, 0.4]}
                          for name, *_ in durability_load.MEASURES},
            "sets": {f"{policy} {pipeline}": costs([0])["0"] for policy in durability_load.POLICIES
                     for pipeline in durability_load.PIPELINES},
        },
    }


class Report(unittest.TestCase):
    def setUp(self):
        self.figures = json.loads(json.dumps(made_up_figures()))

    def test_every_row_has_tables_whose_lines_are_as_wide_as_their_heads(self):
        made, _ = tables.tables_and_bars(self.figures)
        self.assertEqual(set(made), set(self.figures))
        for table in [table for group in made.values() for table in group]:
            self.assertTrue(table.rows, table.title)
            for row in table.rows:
                self.assertEqual(len(row), len(table.columns), table.title)
            lines = table.as_markdown().split("\n\n")[1].split("\n")
            self.assertEqual(len({line.count("|") for line in lines}), 1, table.title)

    def test_bars_are_met_and_missed_as_the_ratios_within_rounds_say(self):
        _, bars = tables.tables_and_bars(self.figures)
        found = {bar.name: bar for bar in bars}
        deep = found["CPU a request, pipeline 50: lasca, 1 shard, to redis"]
        self.assertAlmostEqual(deep.value, 0.5)
        self.assertFalse(deep.met)
        self.assertTrue(found["CPU a request, pipeline 10: lasca, 1 shard, to redis"].met)
        self.assertEqual(found["memory of an empty server"].words()[1:],
                         ["31.0 MB", "30.0 MB", "missed"])

    def test_each_row_stands_alone(self):
        for row in self.figures:
            page = pages.benchmarks_page(ABOUT, {row: self.figures[row]})
            self.assertIn("| --- |", page)
            pages.short_table(ABOUT, {row: self.figures[row]})

    def test_plots_are_xml_with_a_bar_for_each_figure_inside_their_frame(self):
        drawn = plots.plots(self.figures)
        self.assertEqual(set(drawn), {name for name, *_ in plots.PLOTS})
        for name, text in drawn.items():
            root = xml.etree.ElementTree.fromstring(text)
            bars = root.findall(f"{SVG}rect")[1:]
            self.assertGreaterEqual(len(bars), 6, name)
            for bar in bars:
                self.assertGreaterEqual(float(bar.get("width")), 1)
                self.assertLess(float(bar.get("x")) + float(bar.get("width")), plots.WIDTH)
                self.assertIn(f".{bar.get('class')} ", text)
        lengths = [float(bar.get("width")) for bar in
                   xml.etree.ElementTree.fromstring(drawn["half"]).findall(f"{SVG}rect")[1:3]]
        self.assertAlmostEqual(lengths[1] / lengths[0], 0.5, places=2)

    def test_the_page_shows_every_plot_that_was_written(self):
        with tempfile.TemporaryDirectory() as directory:
            pages.write_pages(directory, ABOUT, self.figures)
            with open(os.path.join(directory, "benchmarks.md"), encoding="utf-8") as f:
                page = f.read()
            written = os.listdir(os.path.join(directory, "plots"))
        self.assertEqual(len(written), len(plots.PLOTS))
        for name in written:
            self.assertIn(f"(plots/{name})", page)

    def test_readme_changes_between_its_marks_only(self):
        before = "# A\n\n<!-- FIGURES BEGIN: old -->\nold\n<!-- FIGURES END -->\n\nrest\n"
        short = pages.short_table(ABOUT, self.figures)
        after = pages.with_figures(before, short)
        self.assertTrue(after.startswith("# A\n\n<!-- FIGURES BEGIN"))
        self.assertTrue(after.endswith("<!-- FIGURES END -->\n\nrest\n"))
        self.assertNotIn("old", after)
        self.assertEqual(pages.with_figures(after, short), after)
        self.assertIn("0.50 |", after)
        with self.assertRaises(ValueError):
            pages.with_figures("# A\n", short)

    def test_this_readme_has_the_marks(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            self.assertIn("a table", pages.with_figures(f.read(), "a table"))


if __name__ == "__main__":
    unittest.main()
