"""The loss surface as a landscape, with trajectories at the height of their true loss."""

import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import MaxNLocator

from .labels import LETTER, caption, foot, place, wrapped
from .maps import LETTERS, finite_losses, landscape, levels, title, tokens_of, top_of
from .styles import WIDTH, colors, figure, look, save, style

HIGH = 4.9                     # inches of a panel
ELEVATION, AZIMUTHS = 38, (-115, -65, 65, 115)
BOX = 1.25, 1, 0.72            # proportions
NEAR = 16                      # points from an edge of the base to the middle of its numbers
ROOM, LEAST = 0.22, 0.15       # headroom above the trajectories, in parts of their range; least height, in parts of the maps'


def relief(surface, path, dark=False):
    """Draw the landscapes of both tasks over one plane, and the trajectories at the *true* loss of the recorded weights.

    Recorded weights lie off the plane, so their true loss is not the height of the surface there: the difference is drawn as a
    stem. What is higher than the labelled top is cut off. The surface is translucent, so that it hides no trajectory.
    """
    surface = landscape(surface)
    with style(dark):
        color = colors([*surface.points, *surface.trajectories])
        tops = {task: height_of(surface, task) for task in surface.loss}
        lines = wrapped(_caption(surface), WIDTH - 0.7, 11)
        width, height = WIDTH * len(surface.loss) / 2, HIGH + foot(lines)
        fig = figure(width, height)
        for k, task in enumerate(surface.loss):
            ax = fig.add_axes([k / len(surface.loss), foot(lines) / height, 1 / len(surface.loss), (HIGH - 0.4) / height],
                              projection="3d", computed_zorder=False)
            _head(fig, surface, task, k, tops[task])
            _ground(ax, surface, task, tops[task])
            _name_axes(ax, surface.info["labels"])
            _trajectories(ax, surface, task, tops[task], color)
            for artist in (*ax.collections, *ax.lines):          # the axes are a square, the landscape is wider
                artist.set_clip_on(False)
        caption(fig, lines)
        save(fig, path)


def height_of(surface, task):
    """The loss at which the landscape is cut off: a little above all trajectories, so that their rise and fall can be seen.

    Without trajectories, or with a trained curve, which goes around high ground, it is that of the maps.
    """
    S = np.ma.masked_invalid(surface.loss[task])
    low, top = S.min(), top_of(surface, task)
    if not surface.trajectories or surface.info.get("curve"):
        return top
    highest = max(finite_losses(surface, task), default=top)
    return min(S.max(), max(highest + ROOM * (highest - low), low + LEAST * (top - low)))


def view_of(surface, task, Z):
    """The azimuth from which the landscape hides the fewest points of trajectories and models. Of several, the one from which
    the near side is lowest, to look into the valley.   Z: the heights, cut off"""
    b, a = (np.linspace(-1, 1, n) for n in Z.shape)
    known = np.nan_to_num(Z - np.nanmean(Z))
    near = {angle: np.cos(np.radians(angle)) * a + np.sin(np.radians(angle)) * b[:, None] for angle in AZIMUTHS}
    points = [[*ab, surface.point_loss[name][task]] for name, ab in surface.points.items()]
    points = np.concatenate([points, *(np.column_stack([trajectory.ab, trajectory.loss[task]])
                                       for trajectory in surface.trajectories.values())])
    points = points[visible(points, surface, np.nanmax(Z))]
    return min(AZIMUTHS, key=lambda angle: (round(hidden(points, surface, Z, angle), 1),
                                            round(float(np.sum(known * near[angle])), 6)))


def hidden(points, surface, Z, azimuth):
    """The share of points (n, 3) that the landscape hides from a viewer at this azimuth."""
    if not len(points):
        return 0.0
    around, up = np.radians(azimuth), np.radians(ELEVATION)
    size = np.array([np.ptp(surface.a), np.ptp(surface.b), max(np.nanmax(Z) - np.nanmin(Z), 1e-9)])
    sight = size / BOX * [np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)]
    ray = points[:, None] + np.linspace(0.05, 1.5, 40)[:, None] * sight                 # (n, 40, 3)
    i, j = (np.rint((ray[..., k] - axis[0]) / (axis[1] - axis[0])).astype(int) for k, axis in enumerate((surface.a, surface.b)))
    over = (i >= 0) & (i < len(surface.a)) & (j >= 0) & (j < len(surface.b))
    ground = Z[np.where(over, j, 0), np.where(over, i, 0)]
    return float((over & (ground > ray[..., 2])).any(1).mean())


def _head(fig, surface, task, k, top):
    width, height = fig.get_size_inches()
    left = (WIDTH / 2 * k + 0.35) / width
    fig.text(left, 1 - 0.3 / height, title(task, k), size=14.5, weight="bold", va="center")
    cut = f", cut off at {top:.2f}" if np.ma.masked_invalid(surface.loss[task]).max() > top else ""
    fig.text(left, 1 - 0.58 / height, f"height: loss in nats per token{cut}", size=11.5, va="center")


def _ground(ax, surface, task, top):
    """Draw the surface below its top, in the colours of the maps. Losses that are not finite leave holes."""
    S = surface.loss[task]
    low = min([S[np.isfinite(S)].min(), *finite_losses(surface, task)])    # a trajectory may run below all that the plane shows
    Z = np.where(np.isfinite(S), np.minimum(S, top), np.nan)
    heights = levels(np.ma.masked_invalid(Z), top)
    cells = _cells(Z)
    shade = look().ground(BoundaryNorm(heights, look().ground.N, extend="max")(np.nan_to_num(cells, nan=top)))
    shade[..., 3] = np.where(np.isfinite(cells), 0.8, 0)          # mplot3d would draw the rest of a cell that lacks a corner
    A, B = np.meshgrid(surface.a, surface.b)
    ax.plot_surface(A, B, Z, rcount=len(A), ccount=len(A[0]), facecolors=shade, shade=False, linewidth=0, antialiased=False,
                    zorder=1)
    ax.plot_wireframe(A, B, Z, rcount=len(A), ccount=len(A[0]), color=look().ink, linewidth=0.4, alpha=0.45, zorder=2)
    room = 0.06 * (top - low)
    ax.set(xlim=surface.a[[0, -1]], ylim=surface.b[[0, -1]], zlim=(low - room, top))
    ax.set_box_aspect(BOX, zoom=0.98)
    ax.view_init(ELEVATION, view_of(surface, task, Z))
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((*look().ground(0.0)[:3], 0))
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], prune="both" if axis is not ax.zaxis else None))
        axis.set_major_formatter("{x:g}")
        axis._axinfo["grid"].update(color=look().rule, linewidth=0.8)
    ax.tick_params(labelsize=10.5, pad=1)
    numbers = ax.zaxis.get_major_formatter().format_ticks(ax.zaxis.get_majorticklocs())
    ax.tick_params(axis="z", pad=1 + 1.8 * max(0, max(map(len, numbers)) - 3))


def _name_axes(ax, labels):
    """Write the names of the axes beside the two near edges of the base, beyond the numbers."""
    ends = [np.array(ax.get_xlim()), np.array(ax.get_ylim())]
    low, azimuth = ax.get_zlim()[0], np.radians(ax.azim)
    near = [ends[0][int(np.cos(azimuth) > 0)], ends[1][int(np.sin(azimuth) > 0)]]
    middle = ax.transData.transform(flat(ax, [ends[0].mean(), ends[1].mean(), low]))[0]
    edges = [[x, near[1], low] for x in ends[0]], [[near[0], y, low] for y in ends[1]]
    for axis, text, edge, width in zip((ax.xaxis, ax.yaxis), labels, edges, (1.6, 0.85)):
        numbers = axis.get_major_formatter().format_ticks(axis.get_majorticklocs())
        away = NEAR + LETTER / 2 * 10.5 * max(map(len, numbers))
        start, end = ax.transData.transform(flat(ax, edge))
        out = np.array([start[1] - end[1], end[0] - start[0]]) / np.linalg.norm(end - start)
        out *= np.sign(out @ (start - middle)) * away
        ax.annotate("\n".join(wrapped(text, width, 10.5)), ax.transData.inverted().transform((start + end) / 2), out, va="top",
                    textcoords="offset points", ha="left" if out[0] > 0 else "right", size=10.5)


def flat(ax, points):
    """Points (n, 3) as they appear in the axes' own two coordinates."""
    points = np.reshape(points, (-1, 3))
    projected = np.column_stack([points, np.ones(len(points))]) @ ax.get_proj().T            # homogeneous coordinates
    return projected[:, :2] / projected[:, 3:]


def _cells(Z):
    """The mean height of each cell of a grid, (n_b - 1, n_a - 1)."""
    return (Z[1:, 1:] + Z[:-1, 1:] + Z[1:, :-1] + Z[:-1, :-1]) / 4


def _trajectories(ax, surface, task, top, color):
    """Draw trajectories at their true loss, a stem from each recorded point to the surface, and the names of the models."""
    labels, curves = [], []
    for name, trajectory in surface.trajectories.items():
        points = np.column_stack([trajectory.ab, trajectory.loss[task]])
        shown = np.minimum(trajectory.shown[task], top)
        on_map = visible(points, surface, top)
        for (a, b, loss), ground in zip(points[on_map], shown[on_map]):
            ax.plot([a, a], [b, b], [loss, ground], color=color[name], lw=1.3, alpha=0.8, zorder=3)
        line = np.where(on_map[:, None], points, np.nan)
        ax.plot(*line.T, color=color[name], lw=2.6, path_effects=look().halo, zorder=5)
        ax.plot(*points[on_map].T, "o", color=color[name], ms=4, mec=look().paper, mew=0.7, zorder=6)
        if on_map.any():
            curves.append(flat(ax, points[on_map]))
            if not on_map[-1]:
                labels.append((curves[-1][-1], f"{name} ↑", color[name]))
    for name, ab in surface.points.items():
        point = np.array([*ab, surface.point_loss[name][task]])
        if visible(point[None], surface, top)[0]:
            ax.plot(*point[:, None], "o", ms=10, color=color[name], mec=look().paper, mew=1.4, zorder=7)
            labels.append((flat(ax, point)[0], f"{LETTERS[name]} {name}" if name in LETTERS else name, color[name]))
    ax.figure.draw_without_rendering()                           # this places the numbers at the axes
    numbers = [tick.label1.get_window_extent().padded(2) for axis in (ax.xaxis, ax.yaxis, ax.zaxis) for tick in axis.majorTicks]
    place(ax, labels, curves, size=12, taken=numbers)


def visible(points, surface, top):
    """Which of these points (n, 3) lie on the map and below its top: (n,) of bool."""
    a, b, loss = np.nan_to_num(points, nan=np.inf).T
    return ((surface.a[0] <= a) & (a <= surface.a[-1]) & (surface.b[0] <= b) & (b <= surface.b[-1]) & (loss <= top))


def _caption(surface):
    info = surface.info
    parts = []
    if surface.trajectories:
        errors = ", ".join(f"{name} {np.nanmax(trajectory.residual):.2f}" for name, trajectory in surface.trajectories.items())
        parts.append("Each trajectory is drawn at the true loss of the recorded weights. A stem leads from there to the surface: "
                     f"it is the part of the loss that the plane does not show. Largest projection error: {errors}.")
    parts += [f"Directions: {info['directions']}; each landscape is seen from the side that hides least.",
              f"Loss on the same tokens everywhere ({tokens_of(info)}), seed {info['seed']}."]
    if info["not_numbers"]:
        parts.append(f"Holes: {info['not_numbers']} of {sum(S.size for S in surface.loss.values())} losses are not numbers.")
    return " ".join(filter(None, parts))
