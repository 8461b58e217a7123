"""The loss surface as a landscape, with the weights moving through it at the height of their true loss."""

import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from mpl_toolkits.mplot3d.proj3d import proj_transform

from .labels import LETTER, caption, foot, place, wrapped
from .style import WIDTH, colors, figure, look, save, style
from .surface import LETTERS, landscape, levels, met, title, tokens_of, top_of

HIGH = 4.9                     # inches of a panel
ELEVATION, AZIMUTHS = 38, (-115, -65, 65, 115)
NEAR = 16                      # points from an edge of the floor to the middle of its numbers
ROOM = 0.22                    # of the heights that the paths take, so much is shown above them


def relief(surface, path, dark=False):
    """The landscapes of both tasks over one plane, and the paths at the *true* loss of the recorded weights.

    A path lies off the plane, so its true loss is not the height of the ground below it: the difference is drawn as a stem. What
    is higher than the labelled top is cut off there. The ground is translucent, so that nothing that is told by a path is hidden.
    """
    surface = landscape(surface)
    with style(dark):
        color = colors([*surface.points, *surface.paths])
        tops = {task: height_of(surface, task) for task in surface.loss}
        lines = wrapped(_caption(surface), WIDTH - 0.7, 11)
        width, height = WIDTH * len(surface.loss) / 2, HIGH + foot(lines)
        fig = figure(width, height)
        for k, task in enumerate(surface.loss):
            ax = Axes3D(fig, [k / len(surface.loss), foot(lines) / height, 1 / len(surface.loss), (HIGH - 0.4) / height],
                        computed_zorder=False)
            fig.add_axes(ax)
            _head(fig, surface, task, k, tops[task])
            _ground(ax, surface, task, tops[task])
            _name_axes(ax, surface.facts["labels"])
            _ways(ax, surface, task, tops[task], color)
            for artist in (*ax.collections, *ax.lines):          # the axes are a square, the landscape is wider
                artist.set_clip_on(False)
        caption(fig, lines)
        save(fig, path)


def height_of(surface, task):
    """The loss at which the landscape is cut off: a little above all that was met. Where that is at the bottom of a bowl, as high
    as on the maps, for then its walls are what there is to see."""
    S = np.ma.masked_invalid(surface.loss[task])
    highest = max(met(surface, task), default=S.min())
    if highest - S.min() < 0.1 * np.ptp(S) or surface.facts.get("curve"):     # of a curve, what it goes around
        return top_of(surface, task)
    return min(S.max(), highest + ROOM * (highest - S.min()))


def view_of(Z):
    """The azimuth from which the near side is lowest, so that one looks into the valley."""
    b, a = (np.linspace(-1, 1, n) for n in Z.shape)
    known = np.nan_to_num(Z - np.nanmean(Z))
    near = {angle: np.cos(np.radians(angle)) * a + np.sin(np.radians(angle)) * b[:, None] for angle in AZIMUTHS}
    return min(AZIMUTHS, key=lambda angle: round(float(np.sum(known * near[angle])), 6))


def _head(fig, surface, task, k, top):
    width, height = fig.get_size_inches()
    left = (WIDTH / 2 * k + 0.35) / width
    fig.text(left, 1 - 0.3 / height, title(task, k), size=14.5, weight="bold", va="center")
    cut = f", cut off at {top:.2f}" if np.ma.masked_invalid(surface.loss[task]).max() > top else ""
    fig.text(left, 1 - 0.58 / height, f"height: loss in nats per token{cut}", size=11.5, va="center")


def _ground(ax, surface, task, top):
    """The surface below its top, in the colours of the maps; losses that are no numbers leave holes."""
    S = surface.loss[task]
    low = np.nanmin(np.where(np.isfinite(S), S, np.nan))
    Z = np.where(np.isfinite(S), np.minimum(S, top), np.nan)
    heights = levels(np.ma.masked_invalid(Z), top)
    tint = look().ground(BoundaryNorm(heights, look().ground.N, extend="max")(np.nan_to_num(_patches(Z), nan=top)))
    A, B = np.meshgrid(surface.a, surface.b)
    ax.plot_surface(A, B, Z, rcount=len(A), ccount=len(A[0]), facecolors=tint, shade=False, edgecolor=(*tint[0, 0, :3], 0),
                    linewidth=0, antialiased=False, alpha=0.8, zorder=1)
    rows = [np.stack([x, y, z], axis=1) for x, y, z in (*zip(A, B, Z), *zip(A.T, B.T, Z.T))]
    ax.add_collection3d(Line3DCollection(rows, colors=look().ink, linewidths=0.4, alpha=0.45, zorder=2), autolim=False)
    room = 0.06 * (top - low)
    ax.set(xlim=surface.a[[0, -1]], ylim=surface.b[[0, -1]], zlim=(low - room, top))
    ax.set_box_aspect((1.25, 1, 0.72), zoom=0.98)
    ax.view_init(ELEVATION, view_of(Z))
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((*look().ground(0.0)[:3], 0))
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], prune="both" if axis is not ax.zaxis else None))
        axis.set_major_formatter("{x:g}")
        axis._axinfo["grid"].update(color=look().rule, linewidth=0.8)
    ax.tick_params(labelsize=10.5, pad=1)
    numbers = ax.zaxis.get_major_formatter().format_ticks(ax.zaxis.get_majorticklocs())
    ax.tick_params(axis="z", pad=1 + 1.8 * max(0, max(map(len, numbers)) - 3))


def _name_axes(ax, labels):
    """Beside the two near edges of the floor, beyond the numbers."""
    ends = [np.array(ax.get_xlim()), np.array(ax.get_ylim())]
    low, towards = ax.get_zlim()[0], np.radians(ax.azim)
    near = [ends[0][int(np.cos(towards) > 0)], ends[1][int(np.sin(towards) > 0)]]
    middle = ax.transData.transform(flat(ax, [ends[0].mean(), ends[1].mean(), low]))[0]
    edges = [[x, near[1], low] for x in ends[0]], [[near[0], y, low] for y in ends[1]]
    for axis, text, edge, width in zip((ax.xaxis, ax.yaxis), labels, edges, (1.6, 0.95)):
        numbers = axis.get_major_formatter().format_ticks(axis.get_majorticklocs())
        away = NEAR + LETTER / 2 * 10.5 * max(map(len, numbers))
        start, end = ax.transData.transform(flat(ax, edge))
        out = np.array([start[1] - end[1], end[0] - start[0]]) / np.linalg.norm(end - start)
        out *= np.sign(out @ (start - middle)) * away
        ax.annotate("\n".join(wrapped(text, width, 11)), ax.transData.inverted().transform((start + end) / 2), out, va="top",
                    textcoords="offset points", ha="left" if out[0] > 0 else "right", size=11)


def flat(ax, points):
    """Points (n, 3) as they appear in the axes' own two coordinates."""
    return np.stack(proj_transform(*np.reshape(points, (-1, 3)).T, ax.get_proj())[:2], axis=1)


def _patches(Z):
    """The mean height of each cell of a grid: one less each way."""
    return (Z[1:, 1:] + Z[:-1, 1:] + Z[1:, :-1] + Z[:-1, :-1]) / 4


def _ways(ax, surface, task, top, color):
    """Paths at their true loss, a stem from each recorded point to the surface below or above it, and the names of the models."""
    labels, curves = [], []
    for name, way in surface.paths.items():
        points = np.column_stack([way.ab, way.loss[task]])
        shown = np.minimum(way.shown[task], top)
        seen = visible(points, surface, top)
        ax.add_collection3d(Line3DCollection([[point, [*point[:2], ground]] for point, ground in zip(points[seen], shown[seen])],
                                             colors=color[name], linewidths=1.3, alpha=0.8, zorder=3), autolim=False)
        line = np.where(seen[:, None], points, np.nan)
        ax.plot(*line.T, color=color[name], lw=2.6, path_effects=look().halo, zorder=5)
        ax.plot(*points[seen].T, "o", color=color[name], ms=4, mec=look().paper, mew=0.7, zorder=6)
        if seen.any():
            curves.append(flat(ax, points[seen]))
            if not seen[-1]:
                labels.append((curves[-1][-1], f"{name} ↑", color[name]))
    for name, ab in surface.points.items():
        point = np.array([*ab, surface.point_loss[name][task]])
        if visible(point[None], surface, top)[0]:
            ax.plot(*point[:, None], "o", ms=10, color=color[name], mec=look().paper, mew=1.4, zorder=7)
            labels.append((flat(ax, point)[0], f"{LETTERS[name]} {name}" if name in LETTERS else name, color[name]))
    ax.figure.draw_without_rendering()                           # only then do the numbers at the axes know where they are
    numbers = [tick.label1.get_window_extent().padded(2) for axis in (ax.xaxis, ax.yaxis, ax.zaxis) for tick in axis.majorTicks]
    place(ax, labels, curves, size=12, taken=numbers)


def visible(points, surface, top):
    """Which of some points (n, 3) lie on the map and below its top."""
    a, b, loss = np.nan_to_num(points, nan=np.inf).T
    return ((surface.a[0] <= a) & (a <= surface.a[-1]) & (surface.b[0] <= b) & (b <= surface.b[-1]) & (loss <= top))


def _caption(surface):
    facts = surface.facts
    parts = []
    if surface.paths:
        errors = ", ".join(f"{name} {np.nanmax(path.residual):.2f}" for name, path in surface.paths.items())
        parts.append("Each path runs at the true loss of the recorded weights. A stem leads from there to the surface: it is "
                     f"what the plane does not tell of them. Largest projection error: {errors}.")
    parts += [f"Directions: {facts['directions']}; each landscape is seen from its lower side.",
              f"Loss on the same tokens everywhere ({tokens_of(facts)}), seed {facts['seed']}."]
    if facts["not_numbers"]:
        parts.append(f"Holes: {facts['not_numbers']} of {sum(S.size for S in surface.loss.values())} losses are no numbers.")
    return " ".join(filter(None, parts))
