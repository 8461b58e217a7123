"""The loss surface from above with trajectories on it, and below it how far the picture can be trusted."""

from dataclasses import replace

import numpy as np
from matplotlib.colors import BoundaryNorm, to_rgb
from matplotlib.ticker import MaxNLocator

from .labels import BOLD, caption, foot, leave, name_lines, pixels_of, place, wrapped
from .styles import WIDTH, colors, figure, look, save, style

HEADINGS = ("New task", "Old domains")
LETTERS = {"pretrained": "P", "full": "F", "adapter": "A"}
COLUMN, LEFT, MAP, HIGH = WIDTH / 2, 1.25, 3.2, 3.2       # inches: a column, room for its axis, largest width and height of a map
EXTREME = 2                                    # ratio of the axes above which equal units would show only a thin strip
NOTES = 3                                      # a caption quotes at most this many of the surface's notes


def surface(surface, path, dark=False):
    """Draw two maps of one plane of weight space, and below each a check of how true it is.

    Above: the loss on the new task (left) and on the old domains (right) at the same weights, which shows forgetting: downhill on
    one map, uphill on the other. Contours have geometric levels above the lowest point, close together in the valley; the loss of
    a uniform guess is dashed. A recorded point that lies off the plane is drawn at its projection, with a dot that is the
    hollower the farther off it is.

    Below: the true loss of the recorded weights (solid) and the loss of the map at their projections (dashed). Where the two
    differ, the map does not show what the model went through.
    """
    surface = landscape(surface)
    with style(dark):
        color = colors([*surface.points, *surface.trajectories])
        lines = wrapped(_caption(surface), WIDTH - 0.7, 11)
        across, up = map_size(surface, MAP, HIGH)
        maps = foot(lines) + (2.95 if surface.trajectories else 0.7)
        width, height = COLUMN * len(surface.loss), maps + up + 0.5
        fig = figure(width, height)
        for k, task in enumerate(surface.loss):
            left = COLUMN * k + LEFT
            ax = fig.add_axes([(left + (MAP - across) / 2) / width, maps / height, across / width, up / height])
            contours(ax, surface, task, k)
            for name, trajectory in surface.trajectories.items():
                trail(ax, trajectory, color[name], dot_every(surface))
            mark(ax, surface, color)
            if surface.trajectories:
                room = COLUMN - LEFT - 0.2 - BOLD * 12 / 72 * max(map(len, surface.trajectories))
                below = fig.add_axes([left / width, (foot(lines) + 0.6) / height, min(MAP, room) / width, 1.4 / height])
                _true_and_shown(below, surface, task, color)
        caption(fig, lines)
        save(fig, path)


def landscape(surface):
    """The same surface with its longer axis horizontal. (Swapping the axes of a plane changes nothing, and screens are wide.)"""
    if np.ptp(surface.a) >= np.ptp(surface.b):
        return surface
    return replace(
        surface, a=surface.b, b=surface.a, loss={task: S.T for task, S in surface.loss.items()},
        points={name: ab[::-1] for name, ab in surface.points.items()},
        trajectories={name: replace(trajectory, ab=trajectory.ab[:, ::-1]) for name, trajectory in surface.trajectories.items()},
        info=surface.info | {"labels": surface.info["labels"][::-1],
                               "curve": [ab[::-1] for ab in surface.info.get("curve", ())]})


def extreme(surface):
    """Is the map so elongated that its axes need different units?"""
    return np.ptp(surface.a) > EXTREME * np.ptp(surface.b)


def map_size(surface, across, up):
    """The largest width and height within these bounds at which both axes have the same unit, unless the map is extreme."""
    ratio = np.ptp(surface.b) / np.ptp(surface.a) if not extreme(surface) else 0.7
    return min(across, up / ratio), min(up, across * ratio)


# The map.

def finite_losses(surface, task):
    """The finite losses of all models and trajectories but those of failed runs."""
    losses = [point[task] for point in surface.point_loss.values()]
    losses += [loss for name, trajectory in surface.trajectories.items() if name not in surface.info["away"]
               for loss in trajectory.loss[task]]
    return [loss for loss in losses if np.isfinite(loss)]


def top_of(surface, task, room=1.3):
    """The loss at which the colours of a map end: above chance and above all models and trajectories."""
    S = np.ma.masked_invalid(surface.loss[task])
    top = room * max([surface.info["chance"], *finite_losses(surface, task)])
    return top if S.min() < top < S.max() else S.max()


def levels(S, top, n=14):
    """Contour levels: the lowest point, and n at geometric distances above it, from 1 % of the way to the top."""
    low = S.min()
    return low + max(top - low, 1e-9) * np.r_[0, np.geomspace(0.01, 1, n)]


def contours(ax, surface, task, k, title_pad=10):
    """Draw the k-th map: filled contours, a colour bar in nats, the level of chance dashed. Hatched: the loss is not finite."""
    S, chance, ink = np.ma.masked_invalid(surface.loss[task]), surface.info["chance"], look().ink
    top = top_of(surface, task)
    heights = levels(S, top)
    clipped = S.max() > top
    ax.set(xlim=surface.a[[0, -1]], ylim=surface.b[[0, -1]], aspect="auto" if extreme(surface) else "equal")
    filled = ax.contourf(surface.a, surface.b, S, heights, cmap=look().ground, extend="max" if clipped else "neither",
                         norm=BoundaryNorm(heights, look().ground.N, extend="max"), corner_mask=False)
    ax.contour(surface.a, surface.b, S, heights[1:], colors=[ink], linewidths=0.7, alpha=0.5, corner_mask=False)
    if S.min() < chance < S.max():
        line = ax.contour(surface.a, surface.b, S, [chance], colors=[look().paper], linestyles="--", linewidths=2.2,
                          corner_mask=False)
        _name_level(ax, surface, line, f"chance {chance:.1f}")
    for axis, axis_label, length in ((ax.xaxis, surface.info["labels"][0], ax.bbox.width),
                                     (ax.yaxis, surface.info["labels"][1], ax.bbox.height)):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        if axis is ax.xaxis or k == 0:
            axis.set_label_text("\n".join(wrapped(axis_label, length / ax.figure.dpi, 12.5)), size=12.5)
            axis.labelpad = 3
    ax.tick_params(labelsize=11.5)
    ax.set_title(title(task, k), pad=title_pad)
    ax.spines[:].set_visible(False)
    if not np.isfinite(surface.loss[task]).all():                # shows where the contours leave holes
        ax.patch.set(facecolor=look().paper, edgecolor=look().faint, hatch="xx", lw=0)
    bar = ax.figure.colorbar(filled, cax=ax.inset_axes([1.03, 0, 0.035, 1]), ticks=heights[::2])
    bar.ax.set_yticklabels(numbers([*heights[:-1:2], top], clipped))
    bar.ax.tick_params(labelsize=11, length=2)
    bar.ax.set_title("nats", size=11, weight="normal", loc="left", pad=8)
    bar.outline.set_visible(False)


def title(task, k):
    return HEADINGS[k] if task in HEADINGS[k].lower() else f"{HEADINGS[k]}: {task if len(task) < 20 else task[:18] + '…'}"


def numbers(values, clipped=False):
    """Rising values as texts, with as many decimals as tell them apart: 2 to 4, from 10 on one less. Repeated ones are left out;
    the last gets a ≥ if larger values were `clipped` to it."""
    for n in (2, 3, 4):
        texts = [f"{value:.{n - (value >= 10)}f}" for value in values]
        if len(set(texts)) == len(texts):
            break
    texts = ["" if text == before else text for text, before in zip(texts, ["", *texts])]
    return [*texts[:-1], f"≥ {texts[-1]}" if clipped else texts[-1]]


def _name_level(ax, surface, line, text):
    """Write the name of a contour as far as possible from models and trajectories, or leave it out if there is no room."""
    spots = np.concatenate([ax.transData.transform(path.vertices) for path in line.get_paths()])
    others = [*surface.points.values(), *(trajectory.ab for trajectory in surface.trajectories.values()),
              surface.info.get("curve", ())]
    avoided = np.concatenate([pixels_of(ax, np.reshape(curve, (-1, 2))) for curve in others])
    half = ax.figure.dpi / 72 * np.array([BOLD * 11 * len(text) / 2 + 4, 10])
    spots = spots[((spots > ax.bbox.min + half) & (spots < ax.bbox.max - half)).all(1)]
    away = (np.abs(spots[:, None] - avoided) / half).max(2).min(1)                # below 1 it would cover something
    if away.max(initial=0) > 1:
        ax.annotate(text, ax.transData.inverted().transform(spots[away.argmax()]), ha="center", va="center", size=11,
                    path_effects=look().halo, zorder=6)


# Models and trajectories.

def dot_every(surface, n=10):
    """Steps between two dots, the same on all trajectories, for n dots on the longest: close dots mean slow movement."""
    return max(1, round(max(int(trajectory.steps[-1]) for trajectory in surface.trajectories.values()) / n))


def dotted(trajectory, every):
    """Indices of the recorded points that get a dot: those nearest to the multiples of `every` steps."""
    marks = np.arange(every, trajectory.steps[-1] + 1, every)
    return np.unique(np.abs(trajectory.steps[:, None] - marks).argmin(0))


def trail(ax, trajectory, color, every):
    """Draw a trajectory as a line with a dot `every` so many steps: full where the point lies in the plane, hollow where its
    projection error is large. Returns the line and the dots."""
    at = dotted(trajectory, every)
    line, = ax.plot(*trajectory.ab.T, color=color, path_effects=look().halo, zorder=4)
    return line, ax.scatter(*trajectory.ab[at].T, s=44, c=[hollow(color, r) for r in trajectory.residual[at]], edgecolors=[color],
                            linewidths=1.4, zorder=5)


def hollow(color, residual):
    """The colour, mixed with that of the paper in proportion to the projection error."""
    return tuple((1 - residual) * np.array(to_rgb(color)) + residual * np.array(to_rgb(look().paper)))


def mark(ax, surface, color, size=12.5, names=None):
    """Mark every model, and the end of every trajectory, by a disc and its name. A trajectory that leaves the map gets an arrow
    there. A trained curve between two models is drawn too, with the straight line.

    names       {model: text} to show instead of its name
    """
    box = np.array([ax.get_xlim(), ax.get_ylim()]).T
    labels, lines = [], [trajectory.ab for trajectory in surface.trajectories.values()]
    for name, ab in ({name: _end(trajectory) for name, trajectory in surface.trajectories.items()} | surface.points).items():
        if not ((box[0] <= ab) & (ab <= box[1])).all():
            ab = leave(ax, surface.trajectories[name].ab, color[name]) if name in surface.trajectories else None
            if ab is None:                                       # neither it nor its trajectory is on this map
                continue
        else:
            ax.plot(*ab, "o", ms=11, mfc=hollow(color[name], surface.residuals.get(name, 0)), mec=color[name], mew=1.8,
                    path_effects=look().halo, zorder=7)
        labels.append((ab, (names or {}).get(name) or (f"{LETTERS[name]} {name}" if name in LETTERS else name), color[name]))
    if surface.info.get("curve"):
        curve = np.array(surface.info["curve"])
        straight = curve[0] + np.linspace(0, 1, len(curve))[:, None] * (curve[-1] - curve[0])
        for line, dashes, text in ((straight, (0, (3, 2)), "straight line"), (curve, "-", "trained curve")):
            ax.plot(*line.T, ls=dashes, color=look().ink, lw=2.4, path_effects=look().halo, zorder=4)
            lines.append(line)
            labels.append((line[len(line) // 2], text, look().ink))
    place(ax, labels, lines, size=size)


def _end(trajectory):
    """The last finite point of a trajectory, or nan if it has none."""
    finite = trajectory.ab[np.isfinite(trajectory.ab).all(1)]
    return finite[-1] if len(finite) else np.full(2, np.nan)


# How far it can be trusted.

def _true_and_shown(ax, surface, task, color):
    for name, trajectory in surface.trajectories.items():
        ax.plot(trajectory.steps, trajectory.loss[task], color=color[name])
        ax.plot(trajectory.steps, trajectory.shown[task], color=color[name], ls=(0, (3, 2)), lw=1.8)
    frame_losses(ax, {name: np.r_[trajectory.loss[task], trajectory.shown[task]]
                      for name, trajectory in surface.trajectories.items()}, surface.info["away"])
    ax.set_title("true loss (solid), as the map shows it (dashed)", size=12, weight="normal")
    name_lines(ax, {name: (trajectory.steps, trajectory.loss[task]) for name, trajectory in surface.trajectories.items()}, color)


def frame_losses(ax, losses, away):
    """Set up axes for losses over steps, {run: losses}. Runs in `away` may leave at the top, so that the others can be seen."""
    values = np.concatenate([loss for name, loss in losses.items() if name not in away] or list(losses.values()))
    values = values[np.isfinite(values)]
    low, high = values.min(), values.max()
    room = 0.1 * max(high - low, 1e-3)
    ax.set(xlabel="step", ylabel="nats per token", xlim=(0, None), ylim=(low - room, high + room))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.grid(axis="y")


def percent(share):
    return f"{100 * share:.{0 if share >= 0.0995 else 1}f} %"


def symbol(name):
    return LETTERS.get(name, name)


def _caption(surface):
    info = surface.info
    origin = symbol(info["origin"])
    distances = [f"‖{symbol(name)} − {origin}‖ = {d:.3g} ({percent(d / info['norm'])} of ‖{origin}‖)".replace(" ", "\u00a0")
                 for name, d in surface.distances.items() if d and np.isfinite(d)]
    unit = "units of weight distance" if info["unit"] else "units of the length of the weights, filter by filter"
    parts = [f"Axes in {unit}{', not to the same scale' if extreme(surface) else ''}; directions: {info['directions']}.",
             f"{', '.join(distances)}." if distances else "",
             f"Loss on the same tokens everywhere ({tokens_of(info)}), seed {info['seed']}."]
    if any(np.nanmin(S) < info["chance"] < np.nanmax(S) for S in surface.loss.values()):
        parts.append(f"Dashed: the loss of a uniform guess, {info['chance']:.1f} nats.")
    parts += [f"{note[0].upper()}{note[1:]}." for note in info["notes"][:NOTES]]
    if surface.trajectories:
        errors = ", ".join(f"{name} {np.nanmax(trajectory.residual):.2f}" for name, trajectory in surface.trajectories.items())
        parts.append(f"A dot every {dot_every(surface)} steps, hollow where the weights are far off the plane; "
                     f"largest projection error: {errors}.")
    if info["away"]:
        parts.append(f"Failed, and not fitted into the map: {', '.join(info['away'])}.")
    if info["not_numbers"]:
        parts.append(f"Hatched: {info['not_numbers']} of {sum(S.size for S in surface.loss.values())} losses are not numbers.")
    return " ".join(filter(None, parts))


def tokens_of(info):
    return ", ".join(f"{n} of {task}" for task, n in info["tokens"].items())
