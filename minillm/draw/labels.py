"""Labels beside the points and lines that they name, without overlaps."""

import textwrap

import numpy as np

from .styles import look

CORNERS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
HORIZONTAL, VERTICAL = {1: "left", 0: "center", -1: "right"}, {1: "bottom", 0: "center", -1: "top"}
LETTER, BOLD = 0.52, 0.65      # mean width of a letter, relative to the size of its font
ARROW = 24                     # points
DISTANT = 10                   # standing one distance farther away is as bad as covering this many dots of a line


def spread(positions, gap):
    """Positions moved as little as possible (least squares) so that neighbours are at least `gap` apart.

    With y_i = z_i + i gap, z must not decrease, which makes this isotonic regression: merge neighbours that are in the wrong
    order into groups at their mean, until all are in order.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    groups = []                                                  # [mean, count]
    for z in np.asarray(positions, float)[order] - steps:
        groups.append([z, 1])
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            mean, n = groups.pop()
            groups[-1] = [(groups[-1][0] * groups[-1][1] + mean * n) / (groups[-1][1] + n), groups[-1][1] + n]
    apart = np.empty(len(order))
    apart[order] = np.repeat([mean for mean, _ in groups], [n for _, n in groups]) + steps
    return apart


def line_ends(ax, ends, size=12):
    """Write the name of each line at its right end.   ends: {text: (x, y, colour)}. The limits of the axes must be final."""
    if not ends:
        return
    pixels = np.array([ax.transData.transform((x, y)) for x, y, _ in ends.values()])
    points = 72 / ax.figure.dpi
    foot = ax.bbox.y0 + 0.5 * size / points
    heights = spread(np.maximum(pixels[:, 1], foot), 1.2 * size / points)
    heights += max(0, foot - heights.min())
    for (text, (x, y, color)), shift in zip(ends.items(), heights - pixels[:, 1]):
        ax.annotate(text, (x, y), (8, shift * points), textcoords="offset points", va="center", color=color, size=size,
                    annotation_clip=False)


def name_lines(ax, lines, color, size=12):
    """Write the name of each line at its right end, or where it leaves the axes, with an arrow. The limits must be final.

    lines       {text: (x, y)}, arrays; a y that is not a number counts as far above the axes
    """
    far = ax.get_ylim()[1] + 1e3 * np.ptp(ax.get_ylim())
    curves = {text: np.stack([x, np.nan_to_num(y, nan=far, posinf=far)], axis=1) for text, (x, y) in lines.items()}
    leaving = [(leave(ax, curve, color[text]), text, color[text]) for text, curve in curves.items()]
    leaving = [(xy, text, shade) for xy, text, shade in leaving if xy is not None]
    named = [text for _, text, _ in leaving]
    line_ends(ax, {text: (*curve[-1], color[text]) for text, curve in curves.items() if text not in named}, size)
    place(ax, leaving, curves.values(), size=size)


def leave(ax, curve, color):
    """Draw an arrow where a curve (n, 2) finally leaves the axes. Returns the position for its name; None if it ends inside."""
    crossing = way_out(ax.transData.transform(curve[np.isfinite(curve).all(1)]), ax.bbox)
    if crossing is None:
        return None
    out, direction = crossing
    tip, tail, middle = ax.transData.inverted().transform([out - ARROW * part * ax.figure.dpi / 72 * direction
                                                           for part in (0, 1, 0.5)])
    ax.annotate("", tip, tail, zorder=8, annotation_clip=False, arrowprops=dict(
        arrowstyle="-|>", color=color, lw=2.4, mutation_scale=20, shrinkA=0, shrinkB=0, path_effects=look().halo))
    return middle


def way_out(curve, box):
    """(point, direction) where a curve (n, 2) leaves a box for the last time; None if it ends inside, or was never inside."""
    inside = ((curve >= box.min) & (curve <= box.max)).all(1)
    if not len(curve) or inside[-1] or not inside.any():
        return None
    last = np.flatnonzero(inside)[-1]
    step = curve[last + 1] - curve[last]
    room = np.where(step > 0, box.max, box.min) - curve[last]
    part = min(room[k] / step[k] for k in (0, 1) if step[k])
    return curve[last] + part * step, step / np.linalg.norm(step)


def place(ax, points, avoid=(), distance=9, size=12.5, taken=()):
    """Write a label beside each point, on the side where it covers least, or farther away and joined by a line. The limits must
    be final.

    points      [(xy, text, colour)]
    avoid       curves (n, 2) that should stay visible
    taken       boxes in pixels that other texts take; the texts of the axes are added
    """
    if not points:
        return
    renderer = ax.figure.canvas.get_renderer()
    curves = [np.asarray(curve, float) for curve in [*avoid, *([xy] for xy, _, _ in points)]]
    visible = np.concatenate([pixels_of(ax, curve) for curve in curves])
    frame = ax.get_window_extent(renderer)
    taken = list(taken) + [text.get_window_extent(renderer).padded(3) for text in ax.texts if text.get_text()]
    candidates = [(dx, dy, far) for far in (1, 2, 3.2) for dx, dy in CORNERS]

    def put(label, candidate):
        dx, dy, far = candidate
        label.set(position=(dx * far * distance, dy * far * distance), ha=HORIZONTAL[dx], va=VERTICAL[dy])
        return label.get_window_extent(renderer).padded(3)

    def cost(box, far):
        covered = ((visible > box.min) & (visible < box.max)).all(1).sum()
        outside = not (frame.contains(*box.min) and frame.contains(*box.max))
        return covered + DISTANT * far + 1000 * (outside + sum(box.overlaps(other) for other in taken))

    for xy, text, color in points:
        label = ax.annotate(text, xy, textcoords="offset points", xytext=(0, 0), color=color, size=size, weight="bold",
                            path_effects=look().halo, zorder=9)
        best = min(candidates, key=lambda candidate: cost(put(label, candidate), candidate[2]))
        taken.append(put(label, best))
        if best[2] > 1:
            ax.annotate("", xy, label.get_position(), textcoords="offset points", zorder=6,
                        arrowprops=dict(arrowstyle="-", color=color, lw=1.2, shrinkA=0, shrinkB=5))


def pixels_of(ax, curve, every=4):
    """Points (m, 2) along a curve (n, 2), in pixels and about `every` pixels apart."""
    curve = ax.transData.transform(curve[np.isfinite(curve).all(1)])
    if not len(curve):
        return curve
    length = np.r_[0, np.hypot(*np.diff(curve, axis=0).T).cumsum()]
    at = np.linspace(0, length[-1], 2 + int(min(length[-1], 1e5) / every))
    return np.stack([np.interp(at, length, curve[:, k]) for k in (0, 1)], axis=1)


def wrapped(text, inches, size):
    """The text as lines of about this width."""
    return textwrap.wrap(text, max(8, int(72 * inches / (LETTER * size))))


def foot(lines):
    """The height of a caption in inches."""
    return 0.2 + 0.19 * len(lines) if lines else 0


def caption(fig, lines, left=0.35, size=11):
    """Write lines at the foot of a figure."""
    width, height = fig.get_size_inches()
    fig.text(left / width, (foot(lines) - 0.08) / height, "\n".join(lines), va="top", size=size, color=look().faint,
             linespacing=1.25)
