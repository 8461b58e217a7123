"""The loss surface from above, with the weights moving over it, and beside it how far that picture can be believed."""

from dataclasses import replace

import numpy as np
from matplotlib.colors import BoundaryNorm, to_rgb
from matplotlib.ticker import MaxNLocator

from .labels import BOLD, caption, foot, leave, name_lines, pixels_of, place, wrapped
from .styles import WIDTH, colors, figure, look, save, style

HEADINGS = ("New task", "Old domains")
LETTERS = {"pretrained": "P", "full": "F", "adapter": "A"}
COLUMN, LEFT, MAP, HIGH = WIDTH / 2, 1.25, 3.2, 3.2       # inches: a column, room for its axis, greatest width, height of a map
EXTREME = 2                                    # one axis more than so many times as long: equal units would show a thin strip
NOTES = 3                                      # of the surface's own remarks, as many go into a caption


def surface(surface, path, dark=False):
    """Twin maps of one plane of weight space, and under each the check of its truth.

    Above: the loss on the new task (left) and on the old domains (right) at the same weights, so that forgetting is seen:
    downhill on one map, uphill on the other. Contours stand on geometric levels above the lowest point, close where the valley
    is; the loss of a blind guess among all words is dashed. A recorded point that lies off the plane is drawn where it projects
    to, the hollower the farther off it is.

    Below: the true loss of the recorded weights (solid) against the loss of the map at their projection (dashed). Where the two
    part, the map does not show what the model went through.
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
    """The same surface with its longer axis across: the axes of a plane may be swapped, and screens are wide."""
    if np.ptp(surface.a) >= np.ptp(surface.b):
        return surface
    return replace(
        surface, a=surface.b, b=surface.a, loss={task: S.T for task, S in surface.loss.items()},
        points={name: ab[::-1] for name, ab in surface.points.items()},
        trajectories={name: replace(path, ab=path.ab[:, ::-1]) for name, path in surface.trajectories.items()},
        info=surface.info | {"labels": surface.info["labels"][::-1],
                               "curve": [ab[::-1] for ab in surface.info.get("curve", ())]})


def extreme(surface):
    return np.ptp(surface.a) > EXTREME * np.ptp(surface.b)


def map_size(surface, across, up):
    """The largest width and height within these bounds at which both axes have the same unit."""
    ratio = np.ptp(surface.b) / np.ptp(surface.a) if not extreme(surface) else 0.7
    return min(across, up / ratio), min(up, across * ratio)


# The ground.

def finite_losses(surface, task):
    """The finite losses of all models and ways but those that were lost."""
    losses = [point[task] for point in surface.point_loss.values()]
    losses += [loss for name, trajectory in surface.trajectories.items() if name not in surface.info["away"]
               for loss in trajectory.loss[task]]
    return [loss for loss in losses if np.isfinite(loss)]


def top_of(surface, task, room=1.3):
    """The loss up to which a map tells heights apart: above chance and all that was met; far above, all is equally lost."""
    S = np.ma.masked_invalid(surface.loss[task])
    top = room * max([surface.info["chance"], *finite_losses(surface, task)])
    return top if S.min() < top < S.max() else S.max()


def levels(S, top, n=14):
    """Contour levels at geometric distances above the lowest point: from 1 % of the way to the top, n of them."""
    low = S.min()
    return low + max(top - low, 1e-9) * np.r_[0, np.geomspace(0.01, 1, n)]


def contours(ax, surface, task, k, title_pad=10):
    """The k-th map: filled contours, a colour bar in nats, and the level of chance dashed. Hatched: no numbers."""
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
    if not np.isfinite(surface.loss[task]).all():                # seen through what is left blank
        ax.patch.set(facecolor=look().paper, edgecolor=look().faint, hatch="xx", lw=0)
    bar = ax.figure.colorbar(filled, cax=ax.inset_axes([1.03, 0, 0.035, 1]), ticks=heights[::2])
    bar.ax.set_yticklabels(numbers([*heights[:-1:2], top], clipped))
    bar.ax.tick_params(labelsize=11, length=2)
    bar.ax.set_title("nats", size=11, weight="normal", loc="left", pad=8)
    bar.outline.set_visible(False)


def title(task, k):
    return HEADINGS[k] if task in HEADINGS[k].lower() else f"{HEADINGS[k]}: {task if len(task) < 20 else task[:18] + '…'}"


def numbers(values, clipped=False):
    """Rising values as text, with 2 to 4 decimals (from 10 on, one less), as many as tell them apart, and none told twice; the
    last says if it stands for more."""
    for n in (2, 3, 4):
        texts = [f"{value:.{n - (value >= 10)}f}" for value in values]
        if len(set(texts)) == len(texts):
            break
    texts = ["" if text == before else text for text, before in zip(texts, ["", *texts])]
    return [*texts[:-1], f"≥ {texts[-1]}" if clipped else texts[-1]]


def _name_level(ax, surface, line, text):
    """The name of a contour, as far as may be from models and ways; if there is no room for it, only the caption has it."""
    spots = np.concatenate([ax.transData.transform(path.vertices) for path in line.get_paths()])
    others = [*surface.points.values(), *(path.ab for path in surface.trajectories.values()), surface.info.get("curve", ())]
    avoided = np.concatenate([pixels_of(ax, np.reshape(curve, (-1, 2))) for curve in others])
    half = ax.figure.dpi / 72 * np.array([BOLD * 11 * len(text) / 2 + 4, 10])
    spots = spots[((spots > ax.bbox.min + half) & (spots < ax.bbox.max - half)).all(1)]
    away = (np.abs(spots[:, None] - avoided) / half).max(2).min(1)                # below 1 it would cover something
    if away.max(initial=0) > 1:
        ax.annotate(text, ax.transData.inverted().transform(spots[away.argmax()]), ha="center", va="center", size=11,
                    path_effects=look().halo, zorder=6)


# What stands and moves on it.

def dot_every(surface, n=10):
    """Steps between two dots, the same on all paths, n of them on the longest: where dots lie close, the weights moved slowly."""
    return max(1, round(max(int(path.steps[-1]) for path in surface.trajectories.values()) / n))


def dotted(path, every):
    """Which of the recorded points get a dot: those nearest to the multiples of `every` steps."""
    marks = np.arange(every, path.steps[-1] + 1, every)
    return np.unique(np.abs(path.steps[:, None] - marks).argmin(0))


def trail(ax, path, color, every):
    """A path as a line with dots, equal in steps: full where the point lies in the plane, hollow where the plane shows little of
    the way to it. Returns the line and the dots."""
    at = dotted(path, every)
    line, = ax.plot(*path.ab.T, color=color, path_effects=look().halo, zorder=4)
    return line, ax.scatter(*path.ab[at].T, s=44, c=[hollow(color, r) for r in path.residual[at]], edgecolors=[color],
                            linewidths=1.4, zorder=5)


def hollow(color, residual):
    """The colour, mixed with the paper's as far as the point lies off the plane."""
    return tuple((1 - residual) * np.array(to_rgb(color)) + residual * np.array(to_rgb(look().paper)))


def mark(ax, surface, color, size=12.5, names=None):
    """Every model by a disc and its name: those that span the plane, and the ends of paths that only project into it. A path that
    leaves the map gets an arrow where it does. `names` {model: text} if they are to be called otherwise.

    A trained curve between two models is drawn too, and the straight line that it goes around.
    """
    box = np.array([ax.get_xlim(), ax.get_ylim()]).T
    labels, lines = [], [path.ab for path in surface.trajectories.values()]
    for name, ab in ({name: _end(path) for name, path in surface.trajectories.items()} | surface.points).items():
        if not ((box[0] <= ab) & (ab <= box[1])).all():
            ab = leave(ax, surface.trajectories[name].ab, color[name]) if name in surface.trajectories else None
            if ab is None:                                       # neither it nor the way to it is on this map
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


def _end(path):
    """The last point of a path that has a place; weights that are no numbers have none."""
    there = path.ab[np.isfinite(path.ab).all(1)]
    return there[-1] if len(there) else np.full(2, np.nan)


# How far it can be believed.

def _true_and_shown(ax, surface, task, color):
    for name, path in surface.trajectories.items():
        ax.plot(path.steps, path.loss[task], color=color[name])
        ax.plot(path.steps, path.shown[task], color=color[name], ls=(0, (3, 2)), lw=1.8)
    frame_losses(ax, {name: np.r_[path.loss[task], path.shown[task]] for name, path in surface.trajectories.items()},
                 surface.info["away"])
    ax.set_title("true loss (solid), as the map shows it (dashed)", size=12, weight="normal")
    name_lines(ax, {name: (path.steps, path.loss[task]) for name, path in surface.trajectories.items()}, color)


def frame_losses(ax, losses, away):
    """Axes for losses over steps, {run: losses}. Runs that were lost leave at the top, and let the others be seen."""
    seen = np.concatenate([loss for name, loss in losses.items() if name not in away] or list(losses.values()))
    seen = seen[np.isfinite(seen)]
    low, high = seen.min(), seen.max()
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
    ways = ", ".join(f"‖{symbol(name)} − {origin}‖ = {d:.3g} ({percent(d / info['norm'])} of ‖{origin}‖)".replace(" ", "\u00a0")
                     for name, d in surface.distances.items() if d and np.isfinite(d))
    unit = "units of weight distance" if info["unit"] else "parts of the weights themselves, filter by filter"
    parts = [f"Axes in {unit}{', not to the same scale' if extreme(surface) else ''}; directions: {info['directions']}.",
             f"{ways}." if ways else "",
             f"Loss on the same tokens everywhere ({tokens_of(info)}), seed {info['seed']}."]
    if any(np.nanmin(S) < info["chance"] < np.nanmax(S) for S in surface.loss.values()):
        parts.append(f"Dashed: the loss of a blind guess, {info['chance']:.1f} nats.")
    parts += [f"{note[0].upper()}{note[1:]}." for note in info["notes"][:NOTES]]
    if surface.trajectories:
        errors = ", ".join(f"{name} {np.nanmax(path.residual):.2f}" for name, path in surface.trajectories.items())
        parts.append(f"A dot every {dot_every(surface)} steps, hollow where the plane shows little of the way from {origin}; "
                     f"largest projection error: {errors}.")
    if info["away"]:
        parts.append(f"Lost, and not fitted into the map: {', '.join(info['away'])}.")
    if info["not_numbers"]:
        parts.append(f"Hatched: {info['not_numbers']} of {sum(S.size for S in surface.loss.values())} losses are no numbers.")
    return " ".join(filter(None, parts))


def tokens_of(info):
    return ", ".join(f"{n} of {task}" for task, n in info["tokens"].items())
