"""What a comparison has found: rows of numbers with their intervals, as text, Markdown, CSV and JSON."""

import csv
import io
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from ..files import write_json, write_text
from ..train.samples import TEMPERATURES

# Student's t for an interval of 95 %, by the degrees of freedom; the last of them does for more.
T_95 = (math.nan, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
LEVEL = 0.8          # share of the gap that is closed, at which forgetting is compared


@dataclass(frozen=True)
class Row:
    """A method with a remedy.

    lr, at_edge   its best learning rate, and whether that was the first or last of those tried
    cells         its results, one for each seed; of those that diverged nothing is averaged in
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
    """Losses of methods in nats a token; less is better.

    untouched   the result of the base itself
    new, old    name of what was learned, names of what was known before
    measures    of the new and of the old: "excess", over the floor, or "loss" where nobody knows the floor
    """

    untouched: dict
    rows: list
    new: str
    old: list
    settings: dict
    measures: tuple = ("excess", "excess")

    def learned(self, cell):
        return cell["test"][self.new]["excess"]

    def forgot(self, cell):
        """The mean over all that was known before."""
        return statistics.fmean(cell["test"][name]["excess"] for name in self.old)

    def flawless(self, cell):
        """{column: share of the texts that it writes, new and old, in which there is no mistake}; {} if none were judged."""
        found = cell.get("flawless", {})
        return {f"{age}_flawless_{temperature:g}": statistics.fmean(found[name][f"{temperature:g}"]["share"] for name in names)
                for age, names in (("new", [self.new]), ("old", self.old)) if found.keys() >= set(names)
                for temperature in TEMPERATURES}

    def closed(self, cell):
        """The share of the way from the untouched base to the floor."""
        return 1 - self.learned(cell) / self.learned(self.untouched)

    def forgotten_at_level(self, row, level=LEVEL):
        """Excess on the old where a method has closed `level` of the gap, as its learning rate grows; None if it never does.

        Between two rates a straight line is drawn. With the least rate there already, it is what is forgotten there.
        """
        before = None
        for lr in sorted(row.sweep):
            if row.sweep[lr]["status"] != "done":
                continue
            here = self.closed(row.sweep[lr]), self.forgot(row.sweep[lr])
            if here[0] >= level:
                if before is None:
                    return here[1]
                t = (level - before[0]) / (here[0] - before[0])
                return before[1] + t * (here[1] - before[1])
            before = here
        return None

    def there_at_once(self, row, level=LEVEL):
        """Has already the least rate closed that much? Then a lesser one might do so too, and forget less."""
        done = [row.sweep[lr] for lr in sorted(row.sweep) if row.sweep[lr]["status"] == "done"]
        return bool(done) and self.closed(done[0]) >= level

    def entries(self, row):
        """One line of the table: {column: value}; None where there is none."""
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
        for name, of in (("new", self.learned), ("old", self.forgot), ("closed", self.closed)):
            entries[name], entries[f"{name}_interval"] = mean_and_interval([of(cell) for cell in done])
        for name in self.flawless(first):
            entries[name], entries[f"{name}_interval"] = mean_and_interval([self.flawless(cell)[name] for cell in done])
        accuracies = [cell["test"][self.new]["accuracy"] for cell in done]
        if None not in accuracies:
            entries["accuracy"], entries["accuracy_interval"] = mean_and_interval(accuracies)
        entries["old_at_level"] = self.forgotten_at_level(row)
        return entries

    def base_entries(self):
        found = {"method": "untouched", "new": self.learned(self.untouched), "old": self.forgot(self.untouched), "closed": 0.0}
        found |= self.flawless(self.untouched)
        accuracy = self.untouched["test"][self.new]["accuracy"]
        return found if accuracy is None else found | {"accuracy": accuracy}

    def facts(self):
        """All of it, for JSON."""
        return {"settings": self.settings, "new": self.new, "old": self.old, "measures": self.measures,
                "untouched": self.untouched,
                "rows": [self.entries(row) | {"cells": row.cells, "sweep": {f"{lr:g}": cell for lr, cell in row.sweep.items()}}
                         for row in self.rows]}

    def table(self):
        """Headings, and lines of texts as a reader wants them."""
        answers, (new, old) = "accuracy" in self.base_entries(), self.measures
        flawless = [age for age in ("new", "old") if f"{age}_flawless_1" in self.base_entries()]
        headings = ["method", "trains", "%", "file KiB", "step ms", "memory MB", "best lr", f"{new} on {self.new}",
                    *["right %"] * answers, f"{old} on the old",
                    "gap closed %" if new == "excess" else "loss gone %",
                    *(f"{self.new if age == 'new' else 'old'} flawless % at {' / '.join(f'{t:g}' for t in TEMPERATURES)}"
                      for age in flawless), f"old at {100 * LEVEL:.0f} % closed"]
        lines = []
        for row, found in [(None, self.base_entries()), *((row, self.entries(row)) for row in self.rows)]:
            name = found["method"] if row is None else row.name
            lr = "" if row is None else f"{row.lr:.2g}{' (edge)' if row.at_edge else ''}"
            if "new" not in found:
                lines.append([name, *[""] * 5, lr, "diverged", *[""] * (3 + answers + len(flawless))])
                continue
            costs = [""] * 5 if row is None else [
                f"{found['trainable']:,d}", f"{found['trainable_percent']:.2f}", f"{found['file_kib']:,.1f}",
                f"{found['step_ms']:.1f}", f"{found['memory_mb']:.1f}"]
            note = f" ({found['diverged']} of {found['seeds']} diverged)" if found.get("diverged") else ""
            at_level = "" if found.get("old_at_level") is None else f"{found['old_at_level']:.3f}"
            bound = "<= " if row and at_level and self.there_at_once(row) else ""
            lines.append([name, *costs, lr, with_interval(found, "new") + note,
                          *([with_interval(found, "accuracy", 100, 1)] if answers else []), with_interval(found, "old"),
                          with_interval(found, "closed", 100, 1),
                          *(" / ".join(with_interval(found, f"{age}_flawless_{t:g}", 100, 0) for t in TEMPERATURES
                                       if f"{age}_flawless_{t:g}" in found) for age in flawless), bound + at_level])
        return headings, lines

    def text(self):
        headings, lines = self.table()
        widths = [max(map(len, column)) for column in zip(headings, *lines)]
        shown = [[cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))]
                 for line in (headings, *lines)]
        return "\n".join("  ".join(line).rstrip() for line in shown)

    def markdown(self):
        headings, lines = self.table()
        rows = [headings, ["---"] + ["---:"] * (len(headings) - 1), *lines]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{self.caption()}\n"

    def caption(self):
        s = self.settings
        flawless = (" Flawless: the share of texts, written at these two temperatures, in which the grammar finds no mistake."
                    if self.flawless(self.untouched) else "")
        return (f"Nats a token on {s['test_documents']} test texts of each kind; mean and 95 % interval over "
                f"{s['seeds']} seeds (Student's t), each with its own documents. {s['steps']} steps of {s['batch']} for "
                f"everybody, with AdamW; of {s['rates']} or more learning rates the best for each method, on validation texts "
                f"and the first seed (edge: it was the first or last of those tried).{flawless} Last column: what the first seed "
                f"has forgotten at the learning rate at which {100 * LEVEL:.0f} % of the gap is closed (<=: the least of those "
                "tried closes more).")

    def save(self, folder):
        """comparison.md, .csv and .json; returns their paths."""
        folder = Path(folder)
        paths = [folder / f"comparison.{kind}" for kind in ("md", "csv", "json")]
        for path, text in zip(paths, (self.markdown(), self.csv())):
            write_text(path, text)
        write_json(paths[2], self.to_json())
        return paths

    def csv(self):
        lines = [self.base_entries(), *map(self.entries, self.rows)]
        columns = list(dict.fromkeys(column for line in lines for column in line))
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return out.getvalue()


def mean_and_interval(values):
    """The mean, and half the width of its 95 % interval; None for that of a single value."""
    if len(values) == 1:
        return values[0], None
    t = T_95[min(len(values) - 1, len(T_95) - 1)]
    return statistics.fmean(values), t * statistics.stdev(values) / math.sqrt(len(values))


def with_interval(entries, name, scale=1, digits=3):
    """0.052 +- 0.004"""
    interval = entries.get(f"{name}_interval")
    shown = f"{scale * entries[name]:.{digits}f}"
    return shown if interval is None else f"{shown} +- {scale * interval:.{digits}f}"
