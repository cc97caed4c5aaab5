"""What reports are made of: numbers in words, tables as plain text or Markdown, bars.

Of several rounds the median stands, with half of the way from the least to the greatest beside it,
in percent of the median. A ratio is taken within each round, where both servers met the same
machine, and then its median: it may differ a little from the ratio of the medians.
"""

from dataclasses import dataclass, field
from statistics import median


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

    def as_markdown(self, with_title=True):
        lines = [f"**{self.title}**", ""] if with_title else []
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("|" + " --- |" * self.labels +
                     " ---: |" * (len(self.columns) - self.labels))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += [""] + self.notes if self.notes else []
        return "\n".join(lines)


@dataclass
class Bar:
    """A figure that Lasca is held to: at most so much."""

    name: str
    value: float
    most: float
    unit: str = ""  # of a figure that is not a ratio

    @property
    def met(self):
        return self.value <= self.most

    def words(self):
        """[name, value, bar, verdict]"""
        show = number if self.unit else ratio_words
        return [self.name, show(self.value) + self.unit, show(self.most) + self.unit,
                "met" if self.met else "missed"]


def bars_table(bars):
    table = Table("Bars", 1, ["", "measured", "at most", ""])
    table.rows = [bar.words() for bar in bars]
    return table


def number(value):
    """Three figures that count, without an exponent."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:.2f}M"
    if value >= 10_000:
        return f"{value / 1000:.0f}k" if value >= 100_000 else f"{value / 1000:.1f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def spread(values):
    """Median and, where there are several rounds, how far they lie apart."""
    middle = median(values)
    if len(values) == 1 or not middle:
        return number(middle)
    return f"{number(middle)} ±{(max(values) - min(values)) / 2 / middle * 100:.0f} %"


def ratio_words(value):
    return f"{value:.2f}"


def ratio(base, other):
    """The median over rounds of `other` to `base`."""
    ratios = [b / a for a, b in zip(base, other) if a > 0]
    return median(ratios) if ratios else 0.0


def server_words(name):
    """A server's name in the figures, in words."""
    if name.startswith("lasca-"):
        shards = name.split("-")[1]
        return f"lasca, {shards} shard" + ("s" if shards != "1" else "")
    return name
