"""Labels that stand beside what they name, and not on each other."""

import numpy as np

from .style import look

CORNERS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
HORIZONTAL, VERTICAL = {1: "left", 0: "center", -1: "right"}, {1: "bottom", 0: "center", -1: "top"}


def spread(positions, gap):
    """Positions moved as little as possible (least squares) so that neighbours are at least `gap` apart.

    With y_i = z_i + i gap this asks for z that does not fall, which is isotonic regression: merge neighbours that are in the
    wrong order into blocks at their mean until none is left.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    blocks = []                                                  # [mean, count]
    for z in np.asarray(positions, float)[order] - steps:
        blocks.append([z, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, n = blocks.pop()
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + mean * n) / (blocks[-1][1] + n), blocks[-1][1] + n]
    apart = np.empty(len(order))
    apart[order] = np.repeat([mean for mean, _ in blocks], [n for _, n in blocks]) + steps
    return apart


def line_ends(ax, ends, size=12):
    """Names each line at its right end. ends: {text: (x, y, colour)}. The limits of the axes must be final."""
    pixels = np.array([ax.transData.transform((x, y)) for x, y, _ in ends.values()])
    points = 72 / ax.figure.dpi
    heights = spread(pixels[:, 1], 1.2 * size / points)
    for (text, (x, y, color)), shift in zip(ends.items(), heights - pixels[:, 1]):
        ax.annotate(text, (x, y), (8, shift * points), textcoords="offset points", va="center", color=color, size=size,
                    annotation_clip=False)


def place(ax, points, avoid=(), distance=9, size=12.5):
    """A label beside each point, on that side where it covers least. The limits of the axes must be final.

    points      [(xy, text, colour)]
    avoid       curves (n, 2) that should stay visible
    """
    renderer = ax.figure.canvas.get_renderer()
    seen = np.concatenate([_dots(ax.transData.transform(curve)) for curve in [*avoid, *([xy] for xy, _, _ in points)]])
    frame, taken = ax.get_window_extent(renderer), []

    def put(label, corner):
        dx, dy = corner
        label.set(position=(dx * distance, dy * distance), ha=HORIZONTAL[dx], va=VERTICAL[dy])
        return label.get_window_extent(renderer).padded(3)

    def cost(box):
        covered = ((seen > box.min) & (seen < box.max)).all(1).sum()
        outside = not (frame.contains(*box.min) and frame.contains(*box.max))
        return covered + 1000 * (outside + sum(box.overlaps(other) for other in taken))

    for xy, text, color in points:
        label = ax.annotate(text, xy, textcoords="offset points", xytext=(0, 0), color=color, size=size, weight="bold",
                            path_effects=look().halo, zorder=9)
        taken.append(put(label, min(CORNERS, key=lambda corner: cost(put(label, corner)))))


def _dots(curve, every=4):
    """Pixels along a curve (n, 2), about `every` pixels apart."""
    length = np.r_[0, np.hypot(*np.diff(curve, axis=0).T).cumsum()]
    at = np.linspace(0, length[-1], 2 + int(length[-1] / every))
    return np.stack([np.interp(at, length, curve[:, k]) for k in (0, 1)], axis=1)
