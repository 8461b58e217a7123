"""The results of a comparison: rows of numbers with their intervals, as text, Markdown, CSV and JSON."""

import csv
import io
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from ..ground.files import write_json, write_text
from ..tasks.samples import TEMPERATURES

# Student's t for an interval of 95 %, by the degrees of freedom; the last one is used for more than that.
T_95 = (math.nan, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
LEVEL = 0.8          # forgetting is compared where this share of the gap is closed


@dataclass(frozen=True)
class Row:
    """A method with a remedy.

    lr, at_edge   its best learning rate, and whether that was the first or last one tried
    cells         its results, one for each seed; those that diverged are left out of all averages
    sweep         {learning rate: result} of the search
    """

    method: str
    remedy: str
    lr: float
    at_edge: bool
    cells: list
    sweep: dict

    @property
    def name(self):
        return self.method if self.remedy == "none" else f"{self.method} + {self.remedy}"

    @property
    def done(self):
        return [cell for cell in self.cells if cell["status"] == "done"]


@dataclass(frozen=True)
class Comparison:
    """The results of all methods. Losses are in nats a token; less is better.

    untouched   the result of the base itself
    new, old    the name of the new domain; the names of those that the base knew
    measures    for the new and for the old, what "excess" means: "excess" over the floor, or "loss" where the floor is unknown
    """

    untouched: dict
    rows: list
    new: str
    old: list
    settings: dict
    measures: tuple = ("excess", "excess")

    def excess_new(self, cell):
        """The excess on the new domain."""
        return cell["test"][self.new]["excess"]

    def excess_old(self, cell):
        """The mean excess on the old domains."""
        return statistics.fmean(cell["test"][name]["excess"] for name in self.old)

    def flawless(self, cell):
        """{column: share of the written texts that have no mistake}, for new and old; {} if no texts were judged."""
        judged = cell.get("flawless", {})
        return {f"{age}_flawless_{temperature:g}": statistics.fmean(judged[name][f"{temperature:g}"]["share"] for name in names)
                for age, names in (("new", [self.new]), ("old", self.old)) if judged.keys() >= set(names)
                for temperature in TEMPERATURES}

    def closed(self, cell):
        """The share of the gap between the untouched base and the floor that is closed."""
        return 1 - self.excess_new(cell) / self.excess_new(self.untouched)

    def forgotten_at_level(self, row, level=LEVEL):
        """The excess on the old where a method closes `level` of the gap, as its learning rate grows; None if it never does.

        Between two learning rates it is interpolated linearly. If the lowest one closes more, it is the excess there.
        """
        points = self.sweep_points(row)
        for i, (closed, old) in enumerate(points):
            if closed >= level:
                if i == 0:
                    return old
                closed_before, old_before = points[i - 1]
                t = (level - closed_before) / (closed - closed_before)
                return old_before + t * (old - old_before)
        return None

    def is_upper_bound(self, row, level=LEVEL):
        """Whether the lowest learning rate closes that much: then a lower one might as well, and forget less."""
        points = self.sweep_points(row)
        return bool(points) and points[0][0] >= level

    def sweep_points(self, row):
        """[(share of the gap closed, excess on the old)] by rising learning rate, without those that diverged."""
        cells = [row.sweep[lr] for lr in sorted(row.sweep)]
        return [(self.closed(cell), self.excess_old(cell)) for cell in cells if cell["status"] == "done"]

    def entries(self, row):
        """The values of a row, {column: value}. A row of which every cell diverged has only the first few."""
        done = row.done
        entries = {"method": row.method, "remedy": row.remedy, "lr": row.lr, "lr_at_edge": row.at_edge,
                   "seeds": len(row.cells), "diverged": len(row.cells) - len(done)}
        if not done:
            return entries
        first = done[0]
        entries |= {"trainable": first["trainable_parameters"],
                    "trainable_percent": 100 * first["trainable_parameters"] / first["total_parameters"],
                    "file_kib": first["file_bytes"] / 1024, "step_ms": statistics.median(cell["step_ms"] for cell in done),
                    "memory_mb": sum(size for part, size in first["memory"].items() if part != "weights") / 1e6}
        for name, measure in (("new", self.excess_new), ("old", self.excess_old), ("closed", self.closed)):
            entries[name], entries[f"{name}_interval"] = mean_and_interval([measure(cell) for cell in done])
        for name in self.flawless(first):
            entries[name], entries[f"{name}_interval"] = mean_and_interval([self.flawless(cell)[name] for cell in done])
        accuracies = [cell["test"][self.new]["accuracy"] for cell in done]
        if None not in accuracies:
            entries["accuracy"], entries["accuracy_interval"] = mean_and_interval(accuracies)
        entries["old_at_level"] = self.forgotten_at_level(row)
        return entries

    def base_entries(self):
        """The values of the row of the untouched base."""
        base = self.untouched
        entries = {"method": "untouched", "new": self.excess_new(base), "old": self.excess_old(base), "closed": 0.0}
        entries |= self.flawless(base)
        accuracy = base["test"][self.new]["accuracy"]
        return entries if accuracy is None else entries | {"accuracy": accuracy}

    def to_json(self):
        """The whole comparison, for JSON."""
        return {"settings": self.settings, "new": self.new, "old": self.old, "measures": self.measures,
                "untouched": self.untouched,
                "rows": [self.entries(row) | {"cells": row.cells, "sweep": {f"{lr:g}": cell for lr, cell in row.sweep.items()}}
                         for row in self.rows]}

    def table(self):
        """The headings and the rows of the table, as texts."""
        base, (new, old) = self.base_entries(), self.measures
        with_accuracy, flawless = "accuracy" in base, [age for age in ("new", "old") if f"{age}_flawless_1" in base]
        headings = ["method", "trains", "%", "file KiB", "step ms", "memory MB", "best lr", f"{new} on {self.new}",
                    *["right %"] * with_accuracy, f"{old} on the old",
                    "gap closed %" if new == "excess" else "loss gone %",
                    *(f"{self.new if age == 'new' else 'old'} flawless % at {' / '.join(f'{t:g}' for t in TEMPERATURES)}"
                      for age in flawless), f"old at {100 * LEVEL:.0f} % closed"]
        lines = [["untouched", *[""] * 6, *self.losses_as_text(base, with_accuracy, flawless), ""]]
        for row in self.rows:
            entries, lr = self.entries(row), f"{row.lr:.2g}{' (edge)' if row.at_edge else ''}"
            if not row.done:
                lines.append([row.name, *[""] * 5, lr, "diverged", *[""] * (3 + with_accuracy + len(flawless))])
                continue
            costs = [f"{entries['trainable']:,d}", f"{entries['trainable_percent']:.2f}", f"{entries['file_kib']:,.1f}",
                     f"{entries['step_ms']:.1f}", f"{entries['memory_mb']:.1f}"]
            losses = self.losses_as_text(entries, with_accuracy, flawless)
            if entries["diverged"]:
                losses[0] += f" ({entries['diverged']} of {entries['seeds']} diverged)"
            at_level = entries["old_at_level"]
            bound = "<= " if self.is_upper_bound(row) else ""
            lines.append([row.name, *costs, lr, *losses, "" if at_level is None else f"{bound}{at_level:.3f}"])
        return headings, lines

    def losses_as_text(self, entries, with_accuracy, flawless):
        """The columns from the loss on the new domain to the shares of flawless texts, of the ages `flawless`."""
        return [with_interval(entries, "new"),
                *([with_interval(entries, "accuracy", 100, 1)] if with_accuracy else []), with_interval(entries, "old"),
                with_interval(entries, "closed", 100, 1),
                *(" / ".join(with_interval(entries, f"{age}_flawless_{t:g}", 100, 0) for t in TEMPERATURES
                             if f"{age}_flawless_{t:g}" in entries) for age in flawless)]

    def text(self):
        headings, lines = self.table()
        widths = [max(map(len, column)) for column in zip(headings, *lines)]
        padded = [[cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))]
                  for line in (headings, *lines)]
        return "\n".join("  ".join(line).rstrip() for line in padded)

    def markdown(self):
        headings, lines = self.table()
        rows = [headings, ["---"] + ["---:"] * (len(headings) - 1), *lines]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{self.caption()}\n"

    def caption(self):
        """What the table shows and how it was measured, in words."""
        s = self.settings
        flawless = (" Flawless: the share of texts, written at these two temperatures, in which the grammar finds no mistake."
                    if self.flawless(self.untouched) else "")
        return (f"Nats a token on {s['test_documents']} test texts of each kind; mean and 95 % interval over "
                f"{s['seeds']} seeds (Student's t), each with its own documents. {s['steps']} steps of {s['batch']} for "
                f"every method, with AdamW; for each method the best of {s['rates']} or more learning rates, on validation texts "
                f"and the first seed (edge: it was the first or last one tried).{flawless} Last column: the excess on the old, "
                f"for the first seed, at the learning rate at which {100 * LEVEL:.0f} % of the gap is closed (<=: the lowest one "
                "tried closes more).")

    def save(self, folder):
        """Write comparison.md, .csv and .json; returns their paths."""
        folder = Path(folder)
        paths = [folder / f"comparison.{kind}" for kind in ("md", "csv", "json")]
        for path, text in zip(paths, (self.markdown(), self.csv())):
            write_text(path, text)
        write_json(paths[2], self.to_json())
        return paths

    def csv(self):
        rows = [self.base_entries(), *map(self.entries, self.rows)]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()


def mean_and_interval(values):
    """The mean, and half the width of its 95 % interval; None for that of a single value."""
    if len(values) == 1:
        return values[0], None
    t = T_95[min(len(values) - 1, len(T_95) - 1)]
    return statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(len(values))


def with_interval(entries, name, scale=1, digits=3):
    """An entry as text: 0.052 +- 0.004"""
    interval = entries.get(f"{name}_interval")
    mean = f"{scale * entries[name]:.{digits}f}"
    return mean if interval is None else f"{mean} +- {scale * interval:.{digits}f}"
