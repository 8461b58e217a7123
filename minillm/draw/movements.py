"""Pictures of which parts of a model moved, how far, and in how many directions."""

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from .labels import BOLD, caption, foot, line_ends, place, wrapped
from .styles import WIDTH, colors, display, figure, look, save, style

ROW, LEFT, GAP = 1.55, 0.95, 0.8         # height of a row and left margin in inches; gap between layers in bars
CUT = 1e-6                               # relative to the first singular value: smaller ones are only rounding
PANELS = 4
LAYERS = {"start": "words,\npositions", "end": "final\nnorm"}


def movement(moves, path, dark=False):
    """Draw a row of bars for each run: how far each part of the model moved, in per cent of its length. No bar: it did not move.

    moves       {run: {(layer, kind): (|moved|, |size|)}}, of `surface.movement.movement`
    """
    parts = list(dict.fromkeys(part for move in moves.values() for part in move))
    with style(dark):
        kinds = dict(zip(dict.fromkeys(kind for _, kind in parts), [look().others[k] for k in (3, 0, 1, 2, 4)]))
        at, layers = layout(parts)
        color = colors(moves)
        lines = wrapped("How far the weights of each part moved: |change| in per cent of |weights at the start|. Each row has "
                        "its own scale: within a row compare bars, between rows compare numbers.", WIDTH - 0.7, 11)
        height = foot(lines) + 0.4 + ROW * len(moves) + 0.5
        fig = figure(WIDTH, height)
        for row, (name, move) in enumerate(moves.items()):
            ax = fig.add_axes([LEFT / WIDTH, (height - 0.5 - ROW * (row + 1) + 0.25) / height, (WIDTH - LEFT - 0.2) / WIDTH,
                               (ROW - 0.5) / height])
            _bars(ax, move, at, kinds)
            ax.set_title(display(name), color=color[name], size=13, pad=6)
            ax.set_xticks(list(layers.values()), list(layers) if row == len(moves) - 1 else [""] * len(layers), size=12)
        left = LEFT
        for kind, shade in kinds.items():
            fig.text(left / WIDTH, 1 - 0.22 / height, f"■ {kind}", color=shade, size=12, weight="bold", va="center")
            left += 0.55 + BOLD * 12 / 72 * len(kind)
        caption(fig, lines)
        save(fig, path)


def layout(parts):
    """({part: x of its bar}, {name of a layer: the middle of its bars})"""
    at, x = {}, 0.0
    for k, part in enumerate(parts):
        x += 1 if k == 0 or part[0] == parts[k - 1][0] else 1 + GAP
        at[part] = x
    names = {layer: LAYERS.get(layer, f"block {layer}") for layer in dict.fromkeys(layer for layer, _ in parts)}
    return at, {names[layer]: float(np.mean([at[part] for part in parts if part[0] == layer])) for layer in names}


def shares(move):
    """{part: how far it moved in per cent of its length}; infinity for a part that began as zero and moved."""
    return {part: 100 * moved / size if size else np.inf if moved else 0.0 for part, (moved, size) in move.items()}


def _bars(ax, move, at, kinds):
    shares_of = shares(move)
    top = max([value for value in shares_of.values() if np.isfinite(value)], default=0) or 1.0
    for part, value in shares_of.items():
        if value:
            ax.bar(at[part], min(value, top), 0.86, color=kinds[part[1]], hatch=None if np.isfinite(value) else "//",
                   edgecolor=look().paper, linewidth=0)
            ax.annotate(brief(value), (at[part], min(value, top)), (0, 2), textcoords="offset points", ha="center", size=10.5)
        else:
            ax.plot(at[part] + np.array([-0.43, 0.43]), [0, 0], color=kinds[part[1]], lw=2, solid_capstyle="butt")
    ax.set(xlim=(min(at.values()) - 0.8, max(at.values()) + 0.8), ylim=(0, 1.16 * top), ylabel="% of\nits length")
    ax.yaxis.set_major_locator(MaxNLocator(3))
    ax.yaxis.label.set_size(11.5)
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="y")


def brief(value):
    return "new" if not np.isfinite(value) else f"{value:.{0 if value >= 9.95 else 1 if value >= 0.995 else 2}f}"


def spectrum(spectra, path, dark=False):
    """Draw the singular values of the changes of matrices, one panel for each of the first four matrices.

    spectra     {matrix: {run, or "chance": singular values, largest first}}; "chance" is noise of the same length, which has no
                preferred directions. Values below a millionth of the first are rounding and are left out; the line of a matrix
                of low rank ends there, with a dot and its rank
    """
    spectra = dict(list(spectra.items())[:PANELS])
    columns = min(2, len(spectra))
    rows = -(-len(spectra) // columns)
    with style(dark):
        names = dict.fromkeys(run for runs in spectra.values() for run in runs if run != "chance")
        color = colors(names) | {"chance": look().faint}
        lines = wrapped("The change of a matrix as a sum of directions: the k-th singular value is the length along the k-th. A "
                        "line that falls early means few directions; noise of the same length (dashed) has all. A dot: the rank.",
                        WIDTH * columns / 2 - 0.7, 11)
        width, height = WIDTH * columns / 2, foot(lines) + 3.3 * rows + 0.1
        fig = figure(width, height)
        for k, (name, runs) in enumerate(spectra.items()):
            row, column = divmod(k, columns)
            ax = fig.add_axes([(WIDTH / 2 * column + 1.0) / width, (height - 3.3 * (row + 1) + 0.65) / height,
                               (WIDTH / 2 - 2.15) / width, 2.2 / height])
            _values(ax, runs, color)
            ax.set_title(name, size=12.5)
            ax.set(xlabel="k" if row == rows - 1 or k + columns >= len(spectra) else "", ylabel="k-th singular value")
        caption(fig, lines)
        save(fig, path)


def _values(ax, runs, color):
    above_rounding = {run: np.asarray(values)[np.asarray(values) > CUT * max(np.max(values), 1e-30)]
                      for run, values in runs.items()}
    moved = {run: values for run, values in above_rounding.items() if len(values)}
    still = [run for run in above_rounding if run not in moved]
    n = max(map(len, runs.values()))
    everything = np.concatenate(list(moved.values())) if moved else np.ones(1)
    ax.set(xscale="log", yscale="log", xlim=(0.93, 1.08 * n), ylim=(0.6 * everything.min(), 1.7 * everything.max()))
    ticks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048) if k <= n][::1 if n <= 32 else 2]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid()
    if not moved:
        ax.set_yticks([])
    whole, cut = {}, []
    for run, values in moved.items():
        k = np.arange(1, len(values) + 1)
        ax.plot(k, values, color=color[run], ls="--" if run == "chance" else "-", lw=2 if run == "chance" else 2.4)
        if len(values) == len(runs[run]):
            whole[run] = k[-1], values[-1], color[run]
            continue
        ax.vlines(k[-1], ax.get_ylim()[0], values[-1], color=color[run], lw=2, ls=":")
        ax.plot(k[-1], values[-1], "o", ms=8, color=color[run], mec=look().paper, mew=1.2, zorder=5)
        cut.append(((k[-1], values[-1]), f"{run}: rank {k[-1]}", color[run]))
    line_ends(ax, whole)
    if still:
        ax.text(0.98, 0.97, f"did not move: {', '.join(still)}", transform=ax.transAxes, size=11, color=look().faint, ha="right",
                va="top", path_effects=look().halo)
    drops = [np.array([xy, (xy[0], ax.get_ylim()[0])]) for xy, *_ in cut]
    place(ax, cut, [np.column_stack([np.arange(1, len(values) + 1), values]) for values in moved.values()] + drops, size=12)
