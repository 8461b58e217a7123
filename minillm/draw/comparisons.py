"""Methods side by side: what each learned, what it forgot, and how both depend on its learning rate."""

import numpy as np

from .curves import RESOLVED, log_limits, plain_ticks
from .labels import place
from .styles import colors, display, figure, look, save, style

UNITS = {"excess": "nats per token above the floor", "loss": "nats per token"}


def comparison(compared, path, dark=False):
    """Left, learning against forgetting: each method's mean and intervals over seeds, on the curve of its learning rates.
    Right, the methods from best to worst, with the share of the weights that each trains.

    compared    a `Comparison` (finetune/table.py)
    """
    rows = [(row, compared.entries(row)) for row in compared.rows]
    rows = [(row, entries) for row, entries in rows if "new" in entries]
    color = colors(dict.fromkeys(row.name for row, _ in rows))
    with style(dark):
        fig = figure(14.4, 6.6)
        left, right = fig.subplots(1, 2, width_ratios=(1.5, 1))
        fig.subplots_adjust(left=0.06, right=0.985, bottom=0.115, top=0.92, wspace=0.38)
        _trade_off(left, compared, [(row, entries) for row, entries in rows if row.method != "scratch"], rows, color)
        _ranking(right, compared, rows, color)
        save(fig, path)


def _trade_off(ax, compared, rows, all_rows, color):
    base = compared.base_entries()
    start = max(base["new"], RESOLVED), max(base["old"], RESOLVED)
    points = {row.name: (max(entries["new"], RESOLVED), max(entries["old"], RESOLVED)) for row, entries in rows}
    sweeps = {row.name: np.maximum([(compared.excess_new(cell), compared.excess_old(cell))
                                    for _, cell in sorted(row.sweep.items()) if cell["status"] == "done"], RESOLVED)
              for row, _ in rows if row.sweep}
    x, y = zip(start, *points.values(), *(point for sweep in sweeps.values() for point in sweep))
    ax.set(xscale="log", yscale="log", xlim=log_limits(x, 0.12), ylim=log_limits(y, 0.1))
    plain_ticks(ax.xaxis)
    plain_ticks(ax.yaxis)
    for name, sweep in sweeps.items():
        ax.plot(*sweep.T, "-", color=color[name], lw=1.4, alpha=0.5, zorder=2)
        ax.plot(*sweep.T, "o", color=color[name], ms=4, alpha=0.6, mec="none", zorder=2)
    for row, entries in rows:
        intervals = [entries[f"{domain}_interval"] or 0 for domain in ("new", "old")]
        bars = {f"{axis}err": [[min(interval, at - RESOLVED / 2)], [interval]]
                for axis, interval, at in zip("xy", intervals, points[row.name])}
        ax.errorbar(*points[row.name], **bars, fmt="o", ms=11, color=color[row.name], mec=look().paper, mew=1.3, elinewidth=2,
                    zorder=5)
    ax.plot(*start, "o", ms=11, color=look().ink, mec=look().paper, mew=1.3, zorder=5)
    for row, entries in all_rows:
        if row.method == "scratch" and ax.get_xlim()[0] < entries["new"] < ax.get_xlim()[1]:
            ax.axvline(entries["new"], color=look().faint, ls=":", lw=2)
            ax.annotate("from scratch", (entries["new"], 0.99), (4, 0), xycoords=ax.get_xaxis_transform(),
                        textcoords="offset points", rotation=90, va="top", color=look().faint, size=11)
    ax.annotate("better", (0.012, 0.015), (0.1, 0.1), xycoords="axes fraction", ha="center", va="center",
                color=look().faint, size=13, arrowprops=dict(arrowstyle="-|>", color=look().faint, lw=2.5, mutation_scale=20))
    ax.set(xlabel=f"new task ({compared.new}): {UNITS[compared.measures[0]]}",
           ylabel=f"old domains (mean): {UNITS[compared.measures[1]]}", title="Learned, and forgotten")
    ax.grid()
    place(ax, [(start, "untouched", look().ink), *((xy, display(name), color[name]) for name, xy in points.items())],
          list(sweeps.values()), distance=10, size=11.5)


def _ranking(ax, compared, rows, color):
    rows = sorted(rows, key=lambda pair: pair[1]["new"])
    at = np.arange(len(rows))
    values = [max(entries["new"], RESOLVED) for _, entries in rows]
    ax.set(xscale="log", xlim=log_limits([*values, max(compared.base_entries()["new"], RESOLVED)], 0.12))
    plain_ticks(ax.xaxis)
    for i, ((row, entries), value) in enumerate(zip(rows, values)):
        interval = entries["new_interval"] or 0
        ax.errorbar(value, i, xerr=[[min(interval, value - RESOLVED / 2)], [interval]], fmt="o", ms=9, color=color[row.name],
                    mec=look().paper, mew=1, elinewidth=2)
    ax.axvline(max(compared.base_entries()["new"], RESOLVED), color=look().ink, ls="--", lw=1.5)
    ax.annotate("untouched", (max(compared.base_entries()["new"], RESOLVED), 0.01), (-4, 0), xycoords=ax.get_xaxis_transform(),
                textcoords="offset points", rotation=90, ha="right", va="bottom", color=look().ink, size=11)
    ax.set_yticks(at, [f"{display(row.name)}\n{entries['trainable_percent']:.3g} % trained" for row, entries in rows], size=10.5)
    ax.set(ylim=(max(len(rows), 1) - 0.5, -0.5), xlabel=UNITS[compared.measures[0]], title=f"The new task: {compared.new}")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
